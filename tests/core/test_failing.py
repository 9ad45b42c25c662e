"""A policy that cannot say what a new day or other marks mean to it: new risk waits until it can, and what reduces does
not.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, ClassVar

import pytest
from builders import AAPL, Core, Local, fill, order

import pit
from pit import events as ev
from pitd import log
from pitd.core import entry as e
from pitd.core.days import IsNew
from pitd.core.numbers import NotRepresentable
from pitd.core.policy import Policy, Verdict
from pitd.core.prices import Quote
from pitd.core.unrealised import Unrealised
from pitd.events import _Names as NamesOf
from pitd.events import events_of
from pitd.journal_tools import words

FREE = '[gate]\nuncovered = "allow"\npnl = "computed"\n[calendar]\nstart_of_day = "00:00"\n'


def by_marks(more: str = "") -> str:
    limit = 'control = "pnl_kill_switch", each = "account", settlement = "USD", max_loss = 100, on = "both"'
    return f"{FREE}[limits]\nloss = {{ {limit}{more} }}"


class Brittle(Policy):
    """Fails where it is told to, and then remembers what it was asked about."""

    id: ClassVar[str] = "brittle"
    limit_names = ("brittle",)
    asks_for_unrealised = True

    def __init__(self) -> None:
        self.fails_at = ""
        self.asked: list[Any] = []

    def revalued(self, now_ns: int, group_of: Callable[[str], str | None]) -> Verdict:
        assert self.unrealised is not None
        return self._do("revalued", sorted(self.unrealised.moved))

    def day_began(self, is_new: IsNew) -> Verdict:
        return self._do("day_began", is_new(None))

    def _do(self, what: str, about: Any) -> Verdict:
        if self.fails_at == what:
            raise ZeroDivisionError("a mistake in the policy")
        self.asked.append(about)
        return Verdict()


def brittle(settings: str = FREE) -> tuple[Core, Brittle]:
    policy = Brittle()
    core = Core(settings, policies=[policy])
    core.session()
    marks(core, "100")
    trade(core, "10")
    return core, policy


def marks(core: Core, mark: str) -> None:
    core.quotes = (Quote(str(AAPL), Decimal(mark), None, None, core.now_ns),)
    core.enter(e.QuotesMoved())
    core.quotes = ()


def trade(core: Core, quantity: str, price: str = "100") -> None:
    core.report(fill("ghost", quantity, price, side="buy", instrument=AAPL))


def codes(core: Core, **fields: Any) -> tuple[str, ...]:
    reply = core.check(order(**fields))
    return reply.rejected.codes if isinstance(reply, e.Refused) else ()


def told(core: Core) -> list[str]:
    """The alarms of the rows, by what they are."""

    names = NamesOf(core.engine)
    events = [event for row in core.rows for event in events_of(row, names)]
    return [event.what for event in events if isinstance(event, ev.Alarmed)]


def happens(core: Core, at: str) -> None:
    marks(core, "101") if at == "revalued" else core.begin_day("2026-11-24")


@pytest.mark.parametrize("at", ["revalued", "day_began"])
def test_new_risk_is_refused_and_what_reduces_passes_until_it_answers(at):
    core, policy = brittle()
    policy.fails_at = at
    happens(core, at)
    assert codes(core, quantity="1") == ("SystemUnavailable",)
    assert codes(core, side="sell", quantity="10") == ()
    (block,) = core.engine.accounts.blocks()
    assert (block.scope, block.author, block.state) == ("firm", "brittle", pit.TradingState.REDUCING)
    assert "brittle failed when" in block.reason and "ZeroDivisionError" in block.reason
    for way in ("rows", "snapshot"):
        again = core.again(way)
        assert again.engine.failing.policies() == ("brittle",)
    policy.fails_at = ""
    assert codes(core, quantity="1") == ()
    assert core.engine.accounts.blocks() == () and not core.engine.failing
    assert told(core) == ["policy_failed", "policy_recovered"]


def test_what_was_held_before_does_not_go_out_while_it_fails():
    core, policy = brittle()
    held = core.check(order(quantity="1")).reservation_id
    policy.fails_at = "revalued"
    marks(core, "101")
    assert core.mark_sent(held).rejected.codes == ("SystemUnavailable",)


def test_it_is_asked_again_about_all_that_it_could_not_look_at_and_about_the_day_it_missed():
    core, policy = brittle()
    policy.fails_at = "revalued"
    marks(core, "101")
    core.report(fill("other", "1", "100", account="beta", side="buy", instrument=AAPL))
    policy.fails_at = "day_began"
    core = core.again("snapshot")
    policy.asked.clear()
    core.resume()
    assert policy.asked == [["alpha", "beta"]]
    core.begin_day("2026-11-24")
    core.resume()
    policy.fails_at, policy.asked = "", []
    core.resume()
    assert policy.asked == [True]


def test_a_failure_that_lasts_is_told_once_and_costs_no_effect_an_entry():
    core, policy = brittle()
    policy.fails_at = "revalued"
    marks(core, "101")
    before = len(core.rows)
    for _ in range(3):
        marks(core, "101")
        core.resume()
    effects = [effect for row in core.rows[before:] for effect in row.effects]
    assert not [each for each in effects if isinstance(each, e.PolicyFailed | e.PolicyRecovered | e.Blocked)]
    assert told(core) == ["policy_failed"]


def test_nobody_lifts_the_block_by_hand():
    core, policy = brittle()
    policy.fails_at = "revalued"
    marks(core, "101")
    refused = core.unblock("firm")
    assert refused.failure == "UnknownId" and "take it out of the configuration" in refused.message
    assert core.rearm("failed:brittle", "firm", "1").failure == "UnknownId"
    assert codes(core, quantity="1") == ("SystemUnavailable",)


def test_an_operators_own_block_of_the_same_scope_is_lifted_beside_it():
    core, policy = brittle()
    policy.fails_at = "revalued"
    marks(core, "101")
    core.block("firm")
    assert core.unblock("firm") == e.Done(1)
    assert codes(core, quantity="1") == ("SystemUnavailable",)


def test_a_history_with_failures_is_read_back_and_told_in_words():
    core, policy = brittle()
    policy.fails_at = "revalued"
    marks(core, "101")
    policy.fails_at = ""
    core.resume()
    effects = [effect for row in core.rows for effect in row.effects]
    lines = [words.effect(each) for each in effects if isinstance(each, e.PolicyFailed | e.PolicyRecovered)]
    assert lines == [
        "brittle failed when marks or positions moved (ZeroDivisionError): alpha not looked at",
        "brittle answers again, or is not asked any more, when marks or positions moved",
    ]


# ---------------------------------------------------------------------------------------------- the kill switch


def failing_switch(settings: str, monkeypatch: pytest.MonkeyPatch) -> Core:
    """A core whose kill switch has a mistake in it, and a position whose mark has moved."""
    core = Core(settings)
    core.session()
    marks(core, "100")
    trade(core, "10")
    switch = core.engine.policies["pnl_kill_switch"]
    monkeypatch.setattr(type(switch), "_revalue", _fails)
    marks(core, "80")
    return core


def _fails(*_: Any) -> Any:
    raise KeyError("a mistake")


def test_a_kill_switch_by_marks_that_fails_stops_those_it_is_for_and_trips_once_it_can(monkeypatch):
    core = failing_switch(by_marks(', accounts = ["alpha", "gamma"]'), monkeypatch)
    assert {block.scope for block in core.engine.accounts.blocks()} == {"account alpha", "account gamma"}
    assert codes(core, quantity="1") == ("SystemUnavailable",)
    assert codes(core, account="beta", quantity="1") == ()
    monkeypatch.undo()
    assert codes(core, quantity="1") == ("PnlKillSwitchTriggered",)


def test_one_that_is_a_shadow_stops_nobody_and_is_told(monkeypatch):
    core = failing_switch(by_marks(", shadow = true"), monkeypatch)
    assert codes(core, quantity="1") == () and not core.engine.accounts.blocks()
    (block,) = core.engine.accounts.shadow_blocks()
    assert block.limit == "failed:pnl_kill_switch"
    core.set_limit("loss", {"shadow": "false"})
    assert codes(core, quantity="1") == ("SystemUnavailable",) and not core.engine.accounts.shadow_blocks()
    core.set_limit("loss", {"shadow": "true"})
    assert codes(core, quantity="1") == ()


def test_one_that_is_taken_out_of_the_configuration_stops_nobody_any_more(monkeypatch):
    core = failing_switch(by_marks(""), monkeypatch)
    assert codes(core, quantity="1") == ("SystemUnavailable",)
    core.reload(f"{FREE}[limits]\n")
    assert codes(core, quantity="1") == () and not core.engine.failing
    core.again("rows")


def test_a_pnl_that_cannot_be_added_up_stops_only_whose_it_is(monkeypatch):
    core = Core(by_marks())
    core.session()
    marks(core, "100")
    trade(core, "10")
    exact = Unrealised.of

    def of(self: Unrealised, account: str, *words: Any) -> Decimal:
        if account == "alpha":
            raise NotRepresentable("too large")
        return exact(self, account, *words)

    monkeypatch.setattr(Unrealised, "of", of)
    marks(core, "101")
    core.begin_day("2026-11-24")
    assert not core.engine.failing
    assert codes(core, quantity="1") == ("ArithmeticOverflow",)
    assert codes(core, account="beta", quantity="1") == ()
    assert codes(core, side="sell", quantity="1") == ()


def test_the_log_says_once_that_it_fails_and_once_that_it_answers(monkeypatch):
    said: list[tuple[str, str, Any]] = []
    monkeypatch.setattr(log, "error", lambda event, **facts: said.append(("error", event, facts["why"])))
    monkeypatch.setattr(log, "info", lambda event, **facts: said.append(("info", event, facts.get("policy"))))
    policy = Brittle()
    local = Local(FREE, policies=[policy])
    local.engine.push_quote(AAPL, mark="100")
    local.engine.apply_execution_report(fill("ghost", "10", "100", side="buy", instrument=AAPL))
    policy.fails_at = "revalued"
    for _ in range(2):
        local.engine.apply_execution_report(fill("ghost", "10", "100", side="buy", instrument=AAPL))
    policy.fails_at = ""
    assert local.engine.execute_pre_trade(order(quantity="1"))
    told = [each for each in said if each[1].startswith("policy.")]
    assert told == [("error", "policy.failed", "ZeroDivisionError"), ("info", "policy.recovered", "brittle")]


def test_one_that_answers_about_others_alone_has_not_answered(monkeypatch):
    limit = 'over = "firm", accounts = ["alpha"], settlement = "USD", max_loss = 100, on = "both"'
    core = Core(f'{FREE}[limits]\nloss = {{ control = "pnl_kill_switch", {limit} }}')
    core.session()
    marks(core, "100")
    trade(core, "10")
    monkeypatch.setattr(type(core.engine.policies["pnl_kill_switch"]), "_revalue", _fails)
    core.quotes = (Quote(str(AAPL), Decimal(80), None, None, core.now_ns),)
    core.report(fill("other", "1", "100", account="beta", side="buy", instrument=AAPL))
    assert core.engine.failing.policies() == ("pnl_kill_switch",)
    core.quotes = ()
    monkeypatch.undo()
    assert codes(core, quantity="1") == ("PnlKillSwitchTriggered",)
