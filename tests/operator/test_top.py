"""The live screen: what it shows first, that it fits every terminal, and how a person halts by it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from builders import Local, money, order
from rich.cells import cell_len

import pit
from pitd import operator
from pitd.operator import top as operator_top
from pitd.operator.halting import Halting
from pitd.operator.top import Top

LIMITS = """
[accounts]
alpha.group = "us"
[limits]
day_loss = { control = "pnl_kill_switch", each = "account", settlement = "USD", max_loss = "100" }
rate = { control = "rate_limit", each = "account", max_orders = 9999, window = "10s" }
size = { control = "order_size_limit", each = "account", settlement = "USD", max_quantity = "500" }
open_usd = { control = "open_order_notional", over = "firm", settlement = "USD", max_notional = "50000" }
"""

SIZES = [(80, 24), (60, 20), (200, 50), (40, 10), (150, 24), (20, 5)]


class Screen:
    """A top beside an engine of this process, and keys for it."""

    def __init__(self, connect: Callable[[], pit.Engine] | None = None) -> None:
        self.local = Local(LIMITS)
        self.top = Top(connect or self._looking, lambda: self.local.house.connect("ops"), "ipc:///nowhere")

    def _looking(self) -> pit.Engine:
        return self.local.house.connect("ops", read_only=True)

    def hold(self, **fields: Any) -> pit.Reservation:
        held = self.local.engine.execute_pre_trade(order(**fields), sent=True)
        assert isinstance(held, pit.Reservation)
        return held

    def lines(self, width: int = 120, height: int = 40) -> list[str]:
        self.top.look()
        return [line.plain for line in self.top.drawn(width, height)]

    def type(self, words: str) -> None:
        for key in words:
            self.top.key(key)

    def halted(self) -> list[tuple[str, str, str]]:
        return [(each.scope, each.author, each.reason) for each in self.local.core.trading.restrictions()]


@pytest.fixture
def screen() -> Screen:
    return Screen()


def line_with(lines: list[str], word: str) -> int:
    return next(at for at, line in enumerate(lines) if word in line)


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("is_asking", [False, True])
def test_it_fits_every_terminal(screen: Screen, width: int, height: int, is_asking: bool) -> None:
    for at in range(60):
        held = screen.hold(id=f"o{at}", account=f"account-{at % 7}", price="1", quantity="1")
        held.quarantine() if at % 3 == 0 else held.commit()
    if is_asking:
        screen.type("hinstrument A VERY LONG NAME OF SOMETHING")
    lines = screen.lines(width, height)
    assert len(lines) == height
    assert {cell_len(line) for line in lines} == {width}


def test_a_small_screen_still_shows_some_of_everything(screen: Screen) -> None:
    for at in range(60):
        screen.hold(id=f"o{at}", price="1", quantity="1").commit()
    screen.local.engine.execute_pre_trade(order(quantity="501"))
    lines = screen.lines(60, 20)
    for word in ("LIMIT", "ACCOUNT", "ORDER", "REJECTS", "SESSION", "OrderQtyExceedsLimit", "alpha", "mm1", "+5"):
        assert any(word in line for line in lines), word


def test_a_limit_shows_how_far_it_is_from_its_bound_the_nearest_first(screen: Screen) -> None:
    screen.hold(quantity="400")
    lines = screen.lines()
    near = lines[line_with(lines, "open_usd")]
    assert "80%" in near and "████████░░" in near and "10000" in near
    assert line_with(lines, "open_usd") < line_with(lines, "size")


def test_an_account_shows_its_loss_against_its_bound(screen: Screen) -> None:
    screen.local.engine.apply_execution_report(money("x", pnl="-75"))
    lines = screen.lines()
    shown = lines[line_with(lines, "-75")]
    assert "alpha" in shown and "75%" in shown and "-100" in shown


def test_few_lines_show_both_what_is_lost_and_what_lease_ends_next(screen: Screen) -> None:
    for at in range(20):
        screen.hold(id=f"lost{at}", price="1").quarantine()
        screen.hold(id=f"works{at}", price="1").commit()
    screen.hold(id="later", price="1")
    assert screen.local.engine.execute_pre_trade(order(id="sooner", price="1"), lease_s=2)
    lines = screen.lines(120, 24)
    assert line_with(lines, "lost0") < line_with(lines, "sooner") < line_with(lines, "lost1")
    assert "2.0 s" in lines[line_with(lines, "sooner")]


def test_one_table_can_have_the_whole_screen(screen: Screen) -> None:
    for at in range(20):
        screen.hold(id=f"o{at}", price="1").commit()
    screen.type("3")
    lines = screen.lines(80, 30)
    assert sum("working" in line for line in lines) >= 20
    assert not any(line.startswith("LIMIT") for line in lines)
    screen.type("0")
    assert any(line.startswith("LIMIT") for line in screen.lines(80, 30))


def test_what_is_halted_or_blocked_stands_on_top(screen: Screen) -> None:
    ops = screen.local.connect("ops")
    ops.halt("instrument AAPL/USD", "no prices")
    ops.block("account beta", "being looked at")
    lines = screen.lines()
    assert "no prices" in lines[3] and "being looked at" in lines[4]
    ops.halt("firm", "all stop")
    assert "REFUSES NEW ORDERS: firm is halted by ops: all stop" in screen.lines()[0]


def test_rejects_are_counted_by_code_and_a_second(screen: Screen) -> None:
    screen.lines()
    for _ in range(3):
        screen.local.engine.execute_pre_trade(order(quantity="501"))
    lines = screen.lines()
    assert lines[line_with(lines, "OrderQtyExceedsLimit")].split()[1:3] == ["order_size_limit", "3"]


def test_what_names_hold_is_shown_and_never_obeyed(screen: Screen) -> None:
    screen.local.connect("ops").block("account [red]", "\x1b[2J wiped")
    lines = screen.lines()
    assert any("account [red]" in line for line in lines)
    assert not any("\x1b" in line for line in lines)


# ---------------------------------------------------------------------------------------------- nobody there


def test_without_a_daemon_it_says_so_and_goes_on_trying() -> None:
    there = False

    def connect() -> pit.Engine:
        if not there:
            raise pit.Unavailable("there is no socket")
        return screen._looking()

    screen = Screen(connect)
    lines = screen.lines()
    assert "there is no socket" in lines[0] and "goes on trying" in lines[1]
    there = True
    assert "takes new orders" in screen.lines()[0]


def test_a_daemon_that_goes_away_leaves_what_was_seen_last(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    screen.hold(id="seen")
    assert any("seen" in line for line in screen.lines())

    def silent(engine: pit.Engine) -> Any:
        raise pit.Unavailable("nobody listens")

    with monkeypatch.context() as gone:
        gone.setattr(operator_top, "look", silent)
        lines = screen.lines()
        assert "nobody listens" in lines[0] and "as it was at row" in lines[1]
        assert any("seen" in line for line in lines)
    assert "takes new orders" in screen.lines()[0]


def test_who_may_not_look_is_told_and_it_ends() -> None:
    def connect() -> pit.Engine:
        raise pit.NotAuthorized("not you")

    with pytest.raises(pit.NotAuthorized):
        Screen(connect).lines()


# ---------------------------------------------------------------------------------------------- halting


def test_three_answers_halt_a_scope_with_author_and_reason(screen: Screen) -> None:
    screen.lines()
    screen.type("hgroup us\rfire drill\ry")
    assert screen.halted() == [("group us", "ops", "fire drill")]
    assert "group us is halted" in screen.lines()[-1]


@pytest.mark.parametrize(
    "words",
    ["hfirm\rall stop\rn", "hfirm\rall stop\r\r", "hfirm\r\r", "h\r", "hfirm\x1b", "hfirm\rall\x1b", "hfirm\rx\r\x1b"],
)
def test_anything_else_halts_nothing_and_says_so(screen: Screen, words: str) -> None:
    screen.lines()
    screen.type(words)
    assert screen.halted() == []
    assert "nothing was changed" in screen.lines()[-1]


def test_what_cannot_be_halted_is_told(screen: Screen) -> None:
    screen.lines()
    screen.type("hinstrument NOPE\rtypo\ry")
    assert screen.halted() == []
    assert "NOT HALTED" in screen.lines()[-1] and "NOPE" in screen.lines()[-1]


def test_keys_are_letters_while_a_question_is_open(screen: Screen) -> None:
    screen.lines()
    screen.type("hq")
    assert not screen.top.is_over and "q_" in screen.lines()[-1]
    screen.type("\x7f\x7f\x15firm")
    assert "> firm_" in screen.lines()[-1]
    screen.type("\x1bq")
    assert screen.top.is_over


def test_a_question_names_the_scope_before_it_is_agreed_to() -> None:
    halting = Halting()
    for key in "account  alpha\rlost its way\r":
        halting.key(key)
    assert "halt account alpha? y/n" in halting.shown() and not halting.is_over
    halting.key("y")
    assert halting.wanted == ("account alpha", "lost its way", "halt")


def test_r_has_a_scope_reduce(screen: Screen) -> None:
    screen.lines()
    screen.type("rgroup us\rfire drill\ry")
    assert screen.halted() == [("group us", "ops", "fire drill")]
    assert "group us is reducing only" in screen.lines()[-1]


# ---------------------------------------------------------------------------------------------- without a screen


def run(screen: Screen, *words: str) -> int:
    def connect(name: str, endpoint: str, timeout_s: float, read_only: bool) -> pit.Engine:
        return screen.local.house.connect(name, read_only=read_only)

    return operator.main(["top", "--once", "--name", "ops", *words], connect)


def test_it_can_be_looked_at_once(screen: Screen, capsys: pytest.CaptureFixture[str]) -> None:
    screen.hold(id="lost").quarantine()
    assert run(screen) == 0
    said = capsys.readouterr().out
    assert "lost" in said and "1 QUARANTINED" in said and "\x1b" not in said


def test_a_look_as_json(screen: Screen, capsys: pytest.CaptureFixture[str]) -> None:
    screen.hold(id="lost").quarantine()
    screen.local.connect("ops").halt("firm", "all stop")
    assert run(screen, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["status"]["quarantined"] == 1 and told["stops"][0]["reason"] == "all stop"
    assert told["orders"][0]["order_id"] == "lost" and told["metrics"]["accepted"] == 1


def test_one_look_at_no_daemon_ends_with_2() -> None:
    def nobody(*_: object) -> pit.Engine:
        raise pit.Unavailable("nobody there")

    assert operator.main(["top", "--once"], nobody) == operator.NO_ANSWER
