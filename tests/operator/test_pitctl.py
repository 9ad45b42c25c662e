"""pitctl beside an engine of this process: what it shows, what it asks, and what a person does by it."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import pytest
from builders import Local, fill, money, order, report, saved

import pit
from pit import wire
from pitd import operator, queries
from pitd.core import entry as e
from pitd.core.limits import Selection
from pitd.core.policy import Counter, Look, Money, Policy
from pitd.operator.arguments import WHICH, Later
from pitd.policies.pnl_kill_switch import PnlBound, PnlKillSwitch, Realised

LIMITS = """
[accounts]
alpha.group = "us"
idle.group = "us"
[limits]
day_loss = { control = "pnl_kill_switch", each = "account", settlement = "USD", max_loss = "100" }
rate = { control = "rate_limit", each = "account", max_orders = 4, window = "10s" }
size = { control = "order_size_limit", each = "account", settlement = "USD", max_quantity = "500" }
open_usd = { control = "open_order_notional", over = "firm", settlement = "USD", max_notional = "50000" }
"""

READING = ["ping", "isready", "status", "calendar", "sessions", "accounts", "positions", "orders", "limits", "blocks"]


class Desk:
    """An operator's terminal: `run()` gives the exit code, `read()` the object that a command prints."""

    def __init__(self, local: Local, capsys: pytest.CaptureFixture[str]) -> None:
        self.local = local
        self.trader = local.engine
        self._capsys = capsys

    def run(self, *words: str) -> int:
        try:
            return operator.main([*words, "--name", "ops"], self._connect)
        except SystemExit as ended:
            assert isinstance(ended.code, int)
            return ended.code

    def _connect(self, name: str, endpoint: str, timeout_s: float, read_only: bool) -> pit.Engine:
        return self.local.house.connect(name, read_only=read_only)

    def said(self) -> str:
        return self._capsys.readouterr().out

    def complained(self) -> str:
        return self._capsys.readouterr().err

    def read(self, *words: str) -> Any:
        self.said()
        assert self.run(*words, "--json") == 0
        return json.loads(self.said())


@pytest.fixture
def desk(capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(Local(LIMITS), capsys)


def hold(desk: Desk, **fields: Any) -> pit.Reservation:
    held = desk.trader.execute_pre_trade(order(**fields), sent=True)
    assert isinstance(held, pit.Reservation)
    return held


def quarantined(desk: Desk, **fields: Any) -> pit.Reservation:
    held = hold(desk, **fields)
    held.quarantine(reason="the venue did not answer")
    return held


def ids(told: Any) -> list[str]:
    return [each["order_id"] for each in told["orders"]]


# ---------------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize("command", READING)
def test_a_reading_command_shows_something_and_ends_well(desk: Desk, command: str) -> None:
    quarantined(desk)
    assert desk.run(command) == 0
    assert desk.said().strip()


@pytest.mark.parametrize("command", READING[1:])
def test_a_reading_says_at_which_row_it_was_read(desk: Desk, command: str) -> None:
    assert desk.read(command)["seq"] == desk.local.core.seq


@pytest.mark.parametrize("command", READING)
def test_a_reading_command_leaves_nothing_in_the_journal(desk: Desk, command: str) -> None:
    before = desk.local.core.seq
    assert desk.run(command) == 0
    assert desk.local.core.seq == before


def test_quarantined_orders_are_an_alarm_in_the_status(desk: Desk) -> None:
    assert desk.run("status") == 0 and "QUARANTINED" not in desk.said()
    quarantined(desk)
    assert desk.run("status") == 0 and "QUARANTINED" in desk.said()
    told = desk.read("status")
    assert told["quarantined"] == 1 and told["states"] == {"quarantined": 1}


def test_isready_is_not_when_history_is_disputed(desk: Desk) -> None:
    assert desk.run("isready", "--quiet") == operator.READY
    desk.local.house.sequencer.dispute("mm1", 4_711)
    assert desk.run("isready") == operator.NOT_READY
    assert "4711" in desk.said()
    assert desk.read("status")["is_ready"] is False
    assert desk.run("accept-history", "--reason", "compared with the venue", "--yes") == 0
    assert desk.run("isready") == operator.READY


def test_isready_is_not_while_the_whole_firm_is_blocked(desk: Desk) -> None:
    assert desk.run("block", "firm", "--reason", "all stop", "--yes") == 0
    assert desk.run("isready") == operator.NOT_READY
    assert "all stop" in desk.said()


@pytest.mark.parametrize("act", [("settle", "--working"), ("close-order",), ("settle-modify", "--replaced")])
def test_settling_an_order_that_is_not_open_says_where_to_look(desk: Desk, act: tuple[str, ...]) -> None:
    name, *how = act
    assert desk.run(name, "gone", *how, "--reason", "asked the venue", "--yes") == 1
    complaint = desk.complained()
    assert "no order gone is open" in complaint and "journal searched" not in complaint


def test_an_open_order_is_settled_though_another_account_has_closed_one_of_its_id(desk: Desk) -> None:
    desk.trader.apply_execution_report(
        report("cancelled", order_id=hold(desk, id="o1", account="beta").order.id, account="beta")
    )
    quarantined(desk, id="o1")
    assert desk.run("settle", "o1", "--working", "--reason", "asked the venue", "--yes") == 0
    assert "account alpha is working" in desk.said()


class LowOnSpace:
    """A journal that keeps nothing and has nearly no room for it."""

    why_low = "12 MB left"

    def append(self, rows: Sequence[e.Row]) -> None:
        pass


def test_isready_is_not_while_the_journal_has_no_room(desk: Desk) -> None:
    desk.local.house.sequencer._journal = LowOnSpace()
    assert desk.run("isready") == operator.NOT_READY
    assert "12 MB left" in desk.said()


def test_sessions_tell_what_is_unsettled_and_how_a_death_is_noticed(desk: Desk) -> None:
    hold(desk)
    found = {each["client"]: each for each in desk.read("sessions")["sessions"]}
    assert found["mm1"]["unsettled"] == 1 and found["mm1"]["commands"] == 1
    assert found["mm1"]["noticed_by"] == "process"


def test_accounts_stand_between_the_bounds_of_their_limits(desk: Desk) -> None:
    desk.trader.apply_execution_report(money("x", pnl="-60.5"))
    alpha, idle = desk.read("accounts")["accounts"]
    assert (alpha["account"], alpha["group"], idle["account"]) == ("alpha", "us", "idle")
    bounds = {"floor": "-100", "ceiling": None, "tripped": []}
    assert alpha["money"] == [{"settlement": "USD", "pnl": "-60.5", **bounds, "unrealised": "0"}]
    assert idle["money"] == []


def test_accounts_name_what_blocks_them(desk: Desk) -> None:
    assert desk.run("block", "group", "us", "--reason", "a test") == 0
    assert desk.run("block", "account", "new", "--reason", "a test") == 0
    assert desk.run("block", "client", "mm9", "--reason", "a test") == 0
    found = {
        each["account"]: [block["scope"] for block in each["blocks"]] for each in desk.read("accounts")["accounts"]
    }
    assert found == {"alpha": ["group us"], "idle": ["group us"], "new": ["account new"]}


def test_orders_are_everybodys_with_what_is_left_of_them(desk: Desk) -> None:
    hold(desk, id="one").commit(venue_order_id="V1")
    desk.trader.apply_execution_report(fill("one", 4))
    hold(desk, id="two", account="beta")
    one, two = desk.read("orders")["orders"]
    assert (one["state"], one["filled_quantity"], one["open_quantity"]) == ("working", "4", "6")
    assert one["venue_order_id"] == "V1" and one["lease_left_s"] is None
    assert (two["account"], two["state"]) == ("beta", "sent") and two["lease_left_s"] > 0


def test_orders_can_be_narrowed_down(desk: Desk) -> None:
    hold(desk, id="kept").commit()
    quarantined(desk, id="lost")
    hold(desk, id="gone").rollback()
    hold(desk, id="other", account="beta").commit()
    assert ids(desk.read("orders")) == ids(desk.read("orders", "--open")) == ["kept", "lost", "other"]
    assert ids(desk.read("orders", "--quarantined")) == ["lost"]
    assert ids(desk.read("orders", "--closed")) == ["gone"]
    assert ids(desk.read("orders", "--account", "beta")) == ["other"]
    assert ids(desk.read("orders", "--client", "nobody")) == []
    assert ids(desk.read("orders", "--order", "lost")) == ["lost"]


def test_an_order_is_abandoned_once_its_client_is_gone(desk: Desk) -> None:
    hold(desk, id="o1").commit()
    assert ids(desk.read("orders", "--abandoned")) == []
    desk.trader.close()
    (left,) = desk.read("orders", "--abandoned")["orders"]
    assert left["order_id"] == "o1" and not left["is_client_here"]


def test_an_order_is_stale_once_nothing_was_heard_of_it_for_so_long(desk: Desk) -> None:
    hold(desk, id="spoken_of").commit()
    hold(desk, id="silent").commit()
    quarantined(desk, id="lost")
    desk.local.advance(300)
    desk.trader.apply_execution_report(report("accepted", order_id="spoken_of"))
    desk.local.advance(300)
    assert ids(desk.read("orders", "--stale")) == ids(desk.read("orders", "--stale", "10m")) == ["silent", "lost"]
    assert ids(desk.read("orders", "--stale", "601s")) == []
    assert ids(desk.read("orders", "--stale", "5m")) == ["spoken_of", "silent", "lost"]
    assert desk.read("orders", "--order", "silent")["orders"][0]["quiet_s"] == 600


def test_what_is_merely_held_is_not_stale(desk: Desk) -> None:
    assert desk.trader.execute_pre_trade(order(id="held"), lease_s=60)
    desk.local.advance(10)
    assert ids(desk.read("orders", "--stale", "5s")) == []


@pytest.mark.parametrize("age", ["10", "0s", "-5m", "ten minutes", "5y"])
def test_an_age_that_cannot_be_meant_is_refused(desk: Desk, age: str) -> None:
    assert desk.run("orders", f"--stale={age}") == 64
    assert "90s, 10m or 2h" in desk.complained()


def test_every_page_of_many_orders_is_read(desk: Desk) -> None:
    """More than one answer holds, and more than one answer looks at."""
    local = Local(LIMITS.replace("max_orders = 4", "max_orders = 9999"))
    for at in range(2_400):
        held = local.engine.execute_pre_trade(order(id=f"o{at}", price="1", quantity="1"), sent=True)
        assert isinstance(held, pit.Reservation)
        held.quarantine() if at == 2_399 else held.commit()
    many = Desk(local, desk._capsys)
    assert ids(many.read("orders")) == [f"o{at}" for at in range(2_400)]
    assert ids(many.read("orders", "--quarantined")) == ["o2399"]


def test_limits_tell_used_bound_and_distance(desk: Desk) -> None:
    hold(desk)
    desk.trader.apply_execution_report(money("x", pnl="-61"))
    found = {
        (each["limit"], each["scope"]): (each["used"], each["bound"], each["distance"])
        for each in desk.read("limits")["limits"]
    }
    assert found == {
        ("day_loss", "account alpha"): ("61", "100", "39"),
        ("rate", "account alpha"): ("1", "4", "3"),
        ("size", "each account"): (None, "500", None),
        ("open_usd", "firm"): ("1000", "50000", "49000"),
    }


def test_limits_show_what_nobody_has_come_under(desk: Desk) -> None:
    found = desk.read("limits")["limits"]
    assert [each["limit"] for each in found] == ["day_loss", "rate", "size", "open_usd"]
    assert {each["used"] for each in found} == {None}


def test_what_left_the_window_is_not_counted_any_more(desk: Desk) -> None:
    hold(desk)
    desk.local.advance(10)
    rate = next(each for each in desk.read("limits")["limits"] if each["limit"] == "rate")
    assert rate["used"] == "0"


def test_every_page_of_many_counters_is_read(desk: Desk) -> None:
    local = Local(LIMITS)
    for at in range(700):
        local.engine.execute_pre_trade(order(account=f"a{at:03}", price="1", quantity="1"))
    scopes = [each["scope"] for each in Desk(local, desk._capsys).read("limits")["limits"] if each["limit"] == "rate"]
    assert scopes == [f"account a{at:03}" for at in range(700)]


def test_a_control_that_fails_to_tell_its_counters_harms_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    class Silent(Policy):
        id = "silent"
        limit_names = ("secret",)

        def counters(self, limit: str, look: Look) -> list[Counter]:
            raise RuntimeError("not today")

        def money(self, look: Look) -> list[Money]:
            raise RuntimeError("nor this")

    desk = Desk(Local(LIMITS, policies=[Silent()]), capsys)
    assert [each["limit"] for each in desk.read("limits")["limits"]] == ["day_loss", "rate", "size", "open_usd"]
    assert desk.run("accounts") == 0


def test_names_and_reasons_are_shown_and_never_obeyed(desk: Desk) -> None:
    quarantined(desk, id="[bold]x[/bold]")
    desk.run("block", "account", "[red]", "--reason", "\x1b[2J wiped")
    assert desk.run("orders") == 0 and "[bold]x[/bold]" in desk.said()
    assert desk.run("blocks") == 0
    said = desk.said()
    assert "account [red]" in said and "\x1b" not in said


# ---------------------------------------------------------------------------------------------- changing


def test_a_block_records_who_and_why(desk: Desk) -> None:
    assert desk.run("block", "account", "alpha", "--reason", "lost its way") == 0
    (block,) = desk.read("blocks")["blocks"]
    assert (block["scope"], block["author"], block["reason"]) == ("account alpha", "ops", "lost its way")
    assert not desk.trader.execute_pre_trade(order())


@pytest.mark.parametrize(
    "words",
    [
        ("block", "firm"),
        ("unblock", "firm"),
        ("halt", "firm"),
        ("reduce", "firm"),
        ("resume", "firm"),
        ("rearm", "day_loss", "firm", "--room", "5"),
        ("settle", "o1", "--working"),
        ("close-order", "o1"),
        ("accept-history",),
        ("shutdown",),
    ],
    ids=lambda words: words[0],
)
@pytest.mark.parametrize("reason", [(), ("--reason", " ")], ids=["none", "blank"])
def test_no_change_is_made_without_a_reason(desk: Desk, words: tuple[str, ...], reason: tuple[str, ...]) -> None:
    before = desk.local.core.seq
    assert desk.run(*words, *reason, "--yes") == 64
    assert "--reason" in desk.complained() and desk.local.core.seq == before


@pytest.mark.parametrize("answer", ["n\n", "\n", ""], ids=["no", "nothing", "end of input"])
def test_what_is_dangerous_asks_and_is_left_undone_unless_agreed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    held = quarantined(desk, id="o1")
    said_to(monkeypatch, answer)
    assert desk.run("settle", "o1", "--not-sent", "--reason", "asked the venue") == 1
    assert desk.local.core.orders.open[held.id].state == "quarantined"


def test_what_is_dangerous_is_done_when_agreed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    quarantined(desk, id="o1")
    said_to(monkeypatch, "y\n")
    assert desk.run("settle", "o1", "--not-sent", "--reason", "asked the venue") == 0
    assert desk.trader.outcome("alpha", "o1").state == "rolled_back"


def said_to(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    def read(_: str = "") -> str:
        if not answer:
            raise EOFError
        return answer

    monkeypatch.setattr("builtins.input", read)


def test_a_block_of_the_firm_asks_first_and_one_of_an_account_is_quick(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    said_to(monkeypatch, "")
    assert desk.run("block", "firm", "--reason", "all stop") == 1
    assert desk.run("block", "account", "alpha", "--reason", "this one stop") == 0
    assert [block["scope"] for block in desk.read("blocks")["blocks"]] == ["account alpha"]


def test_a_halt_is_seen_where_an_operator_looks_and_ends_by_resume(desk: Desk) -> None:
    assert desk.run("halt", "instrument", "AAPL/USD", "--reason", "no prices") == 0
    assert desk.run("halt", "group", "us", "--reason", "lunch") == 0
    (group, instrument) = desk.read("blocks")["restrictions"]
    assert (instrument["scope"], instrument["state"]) == ("instrument AAPL/USD", "halted")
    assert (group["author"], group["reason"]) == ("ops", "lunch")
    assert desk.read("status")["restrictions"] == 2
    for command in ("blocks", "accounts"):
        assert desk.run(command) == 0 and "halted" in desk.said()
    for scope in (("instrument", "AAPL/USD"), ("group", "us")):
        assert desk.run("resume", *scope, "--reason", "back", "--yes") == 0
    assert desk.trader.execute_pre_trade(order())


def test_a_scope_that_may_only_reduce_is_seen_as_such(desk: Desk) -> None:
    assert desk.run("reduce", "group", "us", "--reason", "earnings") == 0
    assert "takes only orders that reduce" in desk.said()
    (group,) = desk.read("blocks")["restrictions"]
    assert (group["state"], group["author"]) == ("reducing", "ops")
    status = desk.read("status")
    assert (status["restrictions"], status["reducing"], status["is_ready"]) == (1, 1, True)
    for command in ("status", "blocks", "accounts"):
        assert desk.run(command) == 0 and "reducing" in desk.said()
    assert not desk.trader.execute_pre_trade(order())
    assert desk.run("resume", "group", "us", "--reason", "over", "--yes") == 0
    assert desk.trader.execute_pre_trade(order())


def test_a_halt_of_the_firm_asks_first_and_isready_says_so(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    said_to(monkeypatch, "")
    assert desk.run("halt", "firm", "--reason", "all stop") == 1
    assert desk.run("isready") == operator.READY
    assert desk.run("halt", "firm", "--reason", "all stop", "--yes") == 0
    assert desk.run("isready") == operator.NOT_READY and "all stop" in desk.said()
    assert desk.run("resume", "firm", "--reason", "go on") == 1, "letting go asks as well"
    assert desk.run("resume", "firm", "--reason", "go on", "--yes") == 0
    assert desk.run("isready") == operator.READY


def test_a_quarantined_order_can_be_said_to_work_and_then_be_closed(desk: Desk) -> None:
    quarantined(desk, id="o1")
    assert desk.run("settle", "o1", "--working", "--reason", "asked the venue", "--yes") == 0
    assert desk.trader.outcome("alpha", "o1").state == "working"
    assert desk.run("close-order", "o1", "--reason", "asked again", "--yes") == 0
    assert desk.read("outcome", "o1")["outcome"]["state"] == "closed"


def test_a_tripped_limit_is_rearmed_with_new_room(desk: Desk) -> None:
    desk.trader.apply_execution_report(money("x", pnl="-121"))
    tripped = desk.read("limits")["limits"][0]
    assert tripped["is_tripped"] and tripped["distance"] == "-21"
    words = ("rearm", "day_loss", "account", "alpha", "--room", "50", "--reason", "talked to the desk", "--yes")
    assert desk.run(*words) == 0
    again = desk.read("limits")["limits"][0]
    assert (again["is_tripped"], again["bound"], again["distance"]) == (False, "171", "50")
    assert desk.trader.execute_pre_trade(order())


def test_lifting_a_block_says_what_still_stops_the_scope(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.trader.apply_execution_report(money("x", pnl="-121"))
    assert desk.run("block", "account", "alpha", "--reason", "look", "--yes") == 0
    capsys.readouterr()
    assert desk.run("unblock", "account", "alpha", "--reason", "looked", "--yes") == 0
    assert "the operator's block of account alpha is lifted; day_loss still stops it" in capsys.readouterr().out


def test_an_id_that_stands_in_two_accounts_needs_its_account_named(desk: Desk) -> None:
    quarantined(desk, id="o1")
    quarantined(desk, id="o1", account="beta")
    assert desk.run("settle", "o1", "--not-sent", "--reason", "asked", "--yes") == 1
    assert "alpha, beta" in desk.complained()
    assert desk.run("settle", "o1", "--account", "beta", "--not-sent", "--reason", "asked", "--yes") == 0
    assert desk.trader.outcome("alpha", "o1").state == "quarantined"


def test_what_cannot_be_done_says_why_and_ends_with_1(desk: Desk) -> None:
    assert desk.run("unblock", "account", "alpha", "--reason", "a test", "--yes") == 1
    assert "no operator has blocked account alpha" in desk.complained()
    assert desk.run("outcome", "never") == 1
    assert "--account" in desk.complained()


@pytest.mark.parametrize("trouble", [pit.Unavailable("nobody there"), pit.OutcomeUnknown("no answer")])
def test_no_answer_ends_every_command_with_2(trouble: pit.PitError, capsys: pytest.CaptureFixture[str]) -> None:
    def nobody(*_: object) -> pit.Engine:
        raise trouble

    for words in (["ping"], ["isready"], ["status"], ["block", "firm", "--reason", "stop", "--yes"]):
        assert operator.main(words, nobody) == operator.NO_ANSWER
    assert "Traceback" not in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------- who may ask


EVERYBODYS: list[wire.Query] = [
    wire.ListSessions(),
    wire.ListAccounts(),
    wire.ListOrders(),
    wire.ListLimits(),
    wire.ListAllBlocks(),
    wire.AskDecision("alpha", "o1"),
]


@pytest.mark.parametrize("query", [*EVERYBODYS, wire.AskStatus()], ids=lambda query: type(query).__name__)
def test_looking_changes_nothing(desk: Desk, query: wire.Query) -> None:
    quarantined(desk)
    desk.trader.apply_execution_report(money("x", pnl="-121", account="beta"))
    before = saved(desk.local.core)
    desk.trader.execute_pre_trade(order(quantity="501"))
    moved = saved(desk.local.core)
    assert moved != before, "so that a change would be seen"
    queries.answer(desk.local.core, "ops", query, 10**12, sees_all=True, house=desk.local.house.house)
    assert saved(desk.local.core) == moved


@pytest.mark.parametrize("query", EVERYBODYS, ids=lambda query: type(query).__name__)
def test_what_is_everybodys_is_shown_to_operators_only(desk: Desk, query: wire.Query) -> None:
    house = desk.local.house.house
    reply = queries.answer(desk.local.core, "mm1", query, 0, sees_all=False, house=house)
    assert isinstance(reply, wire.Failed) and reply.code is wire.FailureCode.NOT_AUTHORIZED
    assert '[clients.mm1] roles = [..., "observe"]' in reply.message


def test_every_subcommand_helps(capsys: pytest.CaptureFixture[str]) -> None:
    actions = operator.parser()._subparsers
    assert actions is not None
    names = list(actions._group_actions[0].choices)  # type: ignore[arg-type]
    assert len(names) >= 20
    for name in names:
        with pytest.raises(SystemExit) as ended:
            operator.parser().parse_args([name, "--help"])
        assert ended.value.code == 0 and name in capsys.readouterr().out


# ---------------------------------------------------------------------------------------------- the controls


def test_a_limit_of_some_accounts_counts_no_others() -> None:
    only = """
[limits]
a = { control = "pnl_kill_switch", each = "account", settlement = "USD", max_loss = "100", accounts = ["alpha"] }
b = { control = "pnl_kill_switch", each = "account", settlement = "USD", max_profit = "7", accounts = ["beta"] }
"""
    local = Local(only)
    for account in ("alpha", "beta"):
        local.engine.apply_execution_report(money("x", pnl="5", account=account))
    policy = local.core.policies["pnl_kill_switch"]
    look = Look(0, "", 10, local.core.accounts.group_of)
    assert [(each.scope, each.used) for each in policy.counters("a", look)] == [("account alpha", Decimal(-5))]
    assert [(each.scope, each.used) for each in policy.counters("b", look)] == [("account beta", Decimal(5))]


def test_a_page_of_counters_has_a_bound_and_goes_on_after_the_last() -> None:
    policy = PnlKillSwitch(
        [PnlBound(name="x", position=0, each=("account",), max_loss=Decimal(1), only=Selection(settlement="USD"))]
    )
    for name in ("c", "a", "d", "b"):
        policy.apply(Realised(name, "USD", Decimal(0), ()))
    first = policy.counters("x", Look(0, "", 2, lambda _: None))
    rest = policy.counters("x", Look(0, first[-1].scope, 9, lambda _: None))
    assert [each.scope[-1] for each in first] == ["a", "b"] and [each.scope[-1] for each in rest] == ["c", "d"]


def test_the_calendar_shows_which_day_it_is_what_is_open_and_when_that_changes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    days = '[calendar]\nzone = "America/New_York"\nstart_of_day = "17:00"\nend_of_day = "16:15"\n'
    hours = '[limits]\nnyse = { control = "instrument_rules", zone = "America/New_York", hours = ["09:30-16:00"] }\n'
    desk = Desk(Local(days + hours + '[accounts.beta]\nstart_of_day = "08:00"'), capsys)
    desk.local.clock.advance(86_400 * 20_000 + 3600 * 15)  # 2024-10-04, 11:00 in New York
    told = desk.read("calendar")
    assert [(each["scope"], each["day"], each["next_day"]) for each in told["days"]] == [
        ("firm", "2024-10-04", "2024-10-05"),
        ("account beta", "2024-10-04", "2024-10-05"),
    ]
    assert [(each["limit"], each["is_open"]) for each in told["hours"]] == [("nyse", True)]
    assert desk.run("calendar") == 0
    said = desk.said()
    assert "Fri 2024-10-04 16:15 EDT" in said and "Fri 2024-10-04 16:00 EDT" in said
    (beta,) = (line for line in said.splitlines() if "account beta" in line)
    assert beta.count("Sat 2024-10-05 08:00 EDT") == 2, "it ends when the next one begins"


def commands_in(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Every command, and every act of one."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield each
                yield from commands_in(each)


def test_every_command_is_found_when_it_is_run() -> None:
    later = [run for each in commands_in(operator.parser()) if isinstance(run := each.get_default("run"), Later)]
    assert len(later) >= 40
    for run in later:
        assert callable(run.found()), run


def test_the_words_for_which_orders_are_those_of_the_wire() -> None:
    assert set(WHICH) | {"stale"} == set(map(str, wire.Which))


def test_what_every_command_takes_may_stand_before_its_name(desk: Desk) -> None:
    hold(desk)
    assert desk.run("--json", "--timeout", "3", "orders") == 0
    assert len(json.loads(desk.said())["orders"]) == 1
    assert desk.run("--json", "limits", "set", "rate", "max_orders=3", "--reason", "less", "--yes") == 0
    assert json.loads(desk.said())["reason"] == "less"


def test_what_stands_after_a_commands_name_holds_over_what_stood_before() -> None:
    options = operator.parser().parse_args(["--name", "first", "--timeout", "3", "orders", "--name", "second"])
    assert (options.name, options.timeout) == ("second", 3.0)


class Slow:
    """Connects to an engine that looks so long for what became of an order that the first questions time out."""

    def __init__(self, desk: Desk, silent: int, *, is_there: bool = True) -> None:
        self.asked = 0
        self._desk, self._silent, self._is_there = desk, silent, is_there

    def __call__(self, name: str, endpoint: str, timeout_s: float, read_only: bool) -> pit.Engine:
        engine = self._desk._connect(name, endpoint, timeout_s, read_only)
        at_once = engine.outcome

        def outcome(account: str, order_id: str) -> pit.Outcome:
            self.asked += 1
            if self.asked > self._silent:
                return at_once(account, order_id)
            time.sleep(timeout_s)
            raise pit.Unavailable("no answer within the time")

        def gone() -> str:
            raise pit.Unavailable("nobody is there")

        engine.outcome = outcome  # type: ignore[method-assign]
        if not self._is_there:
            engine.ping = gone  # type: ignore[method-assign]
        return engine


ASKED = ("outcome", "o1", "--account", "alpha", "--name", "ops", "--timeout", "0.01")


def test_a_long_search_of_the_journal_is_waited_for_and_told(desk: Desk) -> None:
    hold(desk, id="o1")
    slow = Slow(desk, silent=3)
    assert operator.main(ASKED, slow) == 0
    assert slow.asked == 4 and desk.complained().count("the journal is being searched") == 1


def test_a_daemon_that_is_gone_is_not_waited_for(desk: Desk) -> None:
    slow = Slow(desk, silent=3, is_there=False)
    assert operator.main(ASKED, slow) == operator.NO_ANSWER
    assert slow.asked == 1
