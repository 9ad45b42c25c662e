"""pitctl monitor: which events it shows, and in what words."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from builders import Local, fill, order
from wire.samples import EVENTS

import pit
from pit import events as ev
from pitd import operator
from pitd.operator.monitor import Filter, line, said

LIMITS = """
[limits]
size = { control = "order_size_limit", each = "account", settlement = "USD", max_quantity = "500" }
open_usd = { control = "open_order_notional", each = "account", settlement = "USD", max_notional = "50000" }
"""


@pytest.fixture
def local() -> Local:
    local = Local(LIMITS)
    held = local.engine.execute_pre_trade(order(id="o1"), sent=True)
    assert isinstance(held, pit.Reservation)
    held.commit()
    assert not local.engine.execute_pre_trade(order(id="big", account="beta", quantity="501"))
    local.engine.apply_execution_report(fill("o1", "10"))
    local.engine.block("account beta", "asked to")
    return local


def shown(local: Local, capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """What it prints of all that there is."""
    upto = local.core.seq
    wanted = ["monitor", *words, "--since", "0", "--name", "ops"]
    assert operator.main(wanted, lambda *_: Ending(local, upto)) == 0
    return capsys.readouterr().out.splitlines()


class Ending(pit.Engine):
    """An engine whose user presses Ctrl-C once everything has been told."""

    def __init__(self, local: Local, upto: int) -> None:
        super().__init__(local.house.transport("ops", read_only=True), "ops")
        self._upto = upto

    def ask(self, query: Any) -> Any:
        if query.row > self._upto:
            raise KeyboardInterrupt
        return super().ask(query)


def test_it_shows_one_line_an_event_with_its_number(local: Local, capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(local, capsys)
    numbers = [line.split()[0] for line in lines]
    assert len(set(numbers)) == len(numbers) and "REFUSED" in "".join(lines)
    for each in ("accepted, sent  o1", "alpha o1 working", "filled 10, open 0", "BLOCKED account beta by mm1"):
        assert any(each in line for line in lines), each


def test_ctrl_c_ends_it_tidily(local: Local, capsys: pytest.CaptureFixture[str]) -> None:
    assert operator.main(["monitor", "--name", "ops"], lambda *_: Ending(local, 0)) == 0
    assert capsys.readouterr() == ("", "")


def test_it_leaves_after_so_many(local: Local, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(shown(local, capsys, "--most", "2")) == 2


@pytest.mark.parametrize(
    "words, kinds",
    [
        (["--rejects"], {"Decided"}),
        (["--code", "OrderQtyExceedsLimit"], {"Decided"}),
        (["--account", "beta"], {"Decided", "ScopeBlocked"}),
        (["--account", "beta", "--rejects"], {"Decided"}),
        (["--client", "nobody"], set()),
        (["--code", "RateLimitExceeded"], set()),
    ],
)
def test_filters_hold_together(
    local: Local, capsys: pytest.CaptureFixture[str], words: list[str], kinds: set[str]
) -> None:
    told = [json.loads(line) for line in shown(local, capsys, "--json", *words)]
    assert {each["kind"] for each in told} == kinds
    assert all(each.get("order_id", "big") == "big" for each in told)


def test_what_is_missing_is_said_where_it_is_missing(local: Local, capsys: pytest.CaptureFixture[str]) -> None:
    shown(local, capsys)
    kept = local.house.house.recent._rows
    while len(kept) > 1:
        kept.popleft()
    operator.main(["monitor", "--since", "0", "--most", "1", "--name", "ops"], lambda *_: Ending(local, 10_000))
    assert "are no longer kept" in capsys.readouterr().err


def test_every_kind_of_event_has_words() -> None:
    assert {type(each) for each in EVENTS} == set(get_args(ev.AnyEvent))
    for event in EVENTS:
        assert len(said(event)) > 5


def test_what_names_hold_is_never_obeyed_by_a_terminal() -> None:
    moved = ev.OrderMoved(1, 0, 0, "mm1", "al\x1b[2Jpha", "o1", "mm1", 7, pit.OrderState.SENT)
    assert "\x1b" not in line(moved)


def test_an_event_of_a_scope_belongs_to_its_account_alone() -> None:
    blocked = ev.ScopeUnblocked(1, 0, 0, "ops", "account alpha", "operator")
    assert Filter(account="alpha").lets_pass(blocked) and not Filter(account="beta").lets_pass(blocked)
    assert not Filter(account="alpha").lets_pass(ev.ScopeUnblocked(1, 0, 0, "ops", "firm", "operator"))


def test_a_code_that_does_not_exist_is_refused_with_its_neighbours(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        operator.main(["monitor", "--code", "OrderQtyExceedLimit"])
    assert left.value.code == 64 and "OrderQtyExceedsLimit" in capsys.readouterr().err
