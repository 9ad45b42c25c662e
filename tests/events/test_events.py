"""What a row tells those who watch: which events, under which numbers, in memory as in the journal."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, get_args

import pytest
from builders import Core, Local, fill, order, report
from journal.histories import kept

import pit
from pit import events as ev
from pitd import events
from pitd.core import entry as e
from pitd.journal_tools.past import ReadPast

LIMITS = """
[limits]
size = { control = "order_size_limit", each = "account", settlement = "USD", max_quantity = "500" }
day_loss = { control = "pnl_kill_switch", each = "account", settlement = "USD", max_loss = "100" }
open_usd = { control = "open_order_notional", each = "account", settlement = "USD", max_notional = "1000000" }
"""


def told(core: Core, before: int = 0) -> list[ev.AnyEvent]:
    """The events of the rows after that one."""
    recent = events.Recent(core.engine)
    recent.take(core.rows)
    page = recent.page(before + 1, 0, 100)
    return list(page.events)


def names(found: list[ev.AnyEvent]) -> list[str]:
    return [type(each).__name__ for each in found]


@pytest.fixture
def core() -> Core:
    core = Core(LIMITS)
    core.session()
    core.session("ops")
    return core


def since(core: Core) -> int:
    return core.engine.seq


def test_an_orders_life_is_told_in_order_each_thing_once(core: Core) -> None:
    begun = since(core)
    id = core.check(order(id="o1")).reservation_id
    core.mark_sent(id)
    core.commit(id, "V1")
    core.report(fill("o1", "4"))
    core.report(fill("o1", "6"))
    found = told(core, begun)
    assert names(found) == [
        "Decided",
        "OrderMoved",
        "OrderMoved",
        "OrderNamed",
        "OrderFilled",
        "OrderFilled",
        "OrderMoved",
    ]
    assert {(each.account, each.order_id) for each in found if not isinstance(each, ev.DaemonStarted)} == {
        ("alpha", "o1")
    }
    assert {each.actor for each in found} == {"mm1"}


def test_a_number_is_the_row_of_the_journal_and_the_place_in_it(core: Core) -> None:
    id = core.check(order(id="o1"), sent=True).reservation_id
    core.commit(id, "V1")
    moved, named = told(core, since(core) - 1)
    assert (moved.number, named.number) == ((core.engine.seq, 0), (core.engine.seq, 1))


def test_a_refusal_carries_the_order_and_every_reject_with_its_numbers(core: Core) -> None:
    core.check(order(id="big", quantity="501"))
    (decided,) = told(core, since(core) - 1)
    assert isinstance(decided, ev.Decided) and decided.verdict is ev.Verdict.REFUSED
    assert decided.order is not None and decided.order.id == "big" and decided.asked == "check"
    assert decided.rejects[0].limit == "size" and decided.rejects[0].bound == 500


def test_a_refusal_of_a_deferred_request_names_the_order_though_the_request_is_over(core: Core) -> None:
    id = core.start(order(id="o1")).request_id
    core.block("account alpha")
    core.execute(id)
    (decided,) = told(core, since(core) - 1)
    assert isinstance(decided, ev.Decided)
    assert (decided.asked, decided.verdict, decided.account, decided.order_id) == ("execute", "refused", "alpha", "o1")


def test_a_request_is_deferred_and_then_accepted(core: Core) -> None:
    begun = since(core)
    core.execute(core.start(order(id="o1")).request_id, sent=True)
    first, then = told(core, begun)
    assert isinstance(first, ev.Decided) and first.verdict is ev.Verdict.DEFERRED
    assert isinstance(then, ev.Decided) and then.verdict is ev.Verdict.ACCEPTED
    assert then.state is pit.OrderState.SENT and then.order == first.order


def test_a_request_that_nobody_executes_is_told_to_be_over(core: Core) -> None:
    core.start(order(id="o1"))
    core.advance(6)
    core.end_leases()
    (ended,) = told(core, since(core) - 1)
    assert isinstance(ended, ev.RequestEnded)
    assert (ended.order_id, ended.client, ended.ended_by, ended.actor) == ("o1", "mm1", "lease", "pitd")


def test_the_end_of_a_lease_says_what_ended_it(core: Core) -> None:
    core.check(order(id="o1"))
    core.check(order(id="o2"), sent=True)
    core.advance(6)
    core.end_leases()
    held, sent = told(core, since(core) - 1)
    assert isinstance(held, ev.OrderMoved) and isinstance(sent, ev.OrderMoved)
    assert (held.state, sent.state) == (pit.OrderState.ROLLED_BACK, pit.OrderState.QUARANTINED)
    assert held.is_lease_end and sent.is_lease_end and held.client == "mm1"


def test_a_renewed_lease_is_told(core: Core) -> None:
    core.renew(core.check(order(id="o1")).reservation_id, 7)
    (renewed,) = told(core, since(core) - 1)
    assert isinstance(renewed, ev.LeaseRenewed) and renewed.lease_s == 7 and renewed.order_id == "o1"


def test_a_switch_that_trips_is_told_as_a_block_and_its_rearming_with_the_reason(core: Core) -> None:
    core.report(report(order_id="x", pnl="-101", instrument=pit.Instrument("AAPL", "USD")))
    stranger, blocked = told(core, since(core) - 1)
    assert isinstance(stranger, ev.OrderFlagged) and stranger.flag == "unknown_order"
    assert isinstance(blocked, ev.ScopeBlocked) and blocked.block.limit == "day_loss" and blocked.actor == "mm1"
    core.rearm("day_loss", "account alpha", "50")
    rearmed, unblocked = told(core, since(core) - 1)
    assert isinstance(rearmed, ev.LimitRearmed) and rearmed.room == 50 and rearmed.actor == "ops"
    assert isinstance(unblocked, ev.ScopeUnblocked) and unblocked.limit == "day_loss"


def test_a_persons_block_and_its_lifting_say_who_and_why(core: Core) -> None:
    begun = since(core)
    core.block("firm", "all stop")
    core.unblock("firm", "go on")
    blocked, lifted = told(core, begun)
    assert isinstance(blocked, ev.ScopeBlocked) and isinstance(lifted, ev.ScopeUnblocked)
    assert (blocked.block.author, blocked.block.reason) == ("ops", "all stop")
    assert (lifted.actor, lifted.reason) == ("ops", "go on")


def test_a_halt_and_a_resume_are_told_with_who_and_why() -> None:
    local = Local(LIMITS)
    subscription = pit.subscribe(local.connect("ops"), since=0)
    local.engine.halt("instrument AAPL/USD", "no prices")
    local.engine.resume("instrument AAPL/USD", "prices are back")
    halted, resumed = [each for each in everything(subscription) if isinstance(each, ev.TradingStateChanged)]
    assert (halted.restriction.state, halted.restriction.reason, halted.actor) == ("halted", "no prices", "mm1")
    assert resumed.restriction.state == "active"


def test_changed_limits_sessions_and_commands_that_fail_are_told(core: Core) -> None:
    begun = since(core)
    core.configure(LIMITS)
    core.open_session("mm2")
    core.end_session("mm2")
    core.commit(999)
    changed, started, ended, failed = told(core, begun)
    assert isinstance(changed, ev.LimitsChanged) and (changed.actor, changed.reason) == ("test", "test")
    assert isinstance(started, ev.SessionStarted) and started.client == "mm2"
    assert isinstance(ended, ev.SessionEnded) and (ended.client, ended.reason) == ("mm2", "gone")
    assert isinstance(failed, ev.CommandFailed) and (failed.asked, failed.code) == ("commit", "UnknownId")


def test_a_number_that_a_person_sets_and_its_end_are_told(core: Core) -> None:
    core.configure(LIMITS)
    begun = since(core)
    core.set_limit("size", {"max_quantity": "5"}, reason="a quiet day", lasts_s=1)
    core.reload(LIMITS, reason="all of it", changes=("gate.lease: 5s, now 6s",))
    core.enter(e.OverridesDue(2**60))
    found = [each for each in told(core, begun) if isinstance(each, ev.LimitsChanged)]
    assert [(each.actor, each.what, each.reason) for each in found] == [
        ("ops", "size max_quantity is 5", "a quiet day"),
        ("ops", "configuration; gate.lease: 5s, now 6s", "all of it"),
        ("pitd", "size max_quantity is as configured", "its time is over"),
    ]


def test_every_effect_is_told_or_stands_among_those_that_are_not() -> None:
    assert set(events._TELLERS) | events.UNTOLD == set(get_args(e.Effect))
    assert not set(events._TELLERS) & events.UNTOLD


def test_every_command_has_a_name_of_its_own_in_small_letters() -> None:
    named = {events.asked(each) for each in get_args(e.Command)}
    assert len(named) == len(get_args(e.Command)) and all(name.islower() for name in named)
    assert {"check", "mark_sent", "close_order"} <= named


# ---------------------------------------------------------------------------------------------- pages


def test_a_page_ends_within_a_row_and_the_next_one_goes_on_there(core: Core) -> None:
    for at in range(5):
        core.check(order(id=f"o{at}"))
    core.advance(6)
    core.end_leases()
    recent = events.Recent(core.engine)
    recent.take(core.rows)
    row, skip, found = core.engine.seq, 0, []
    while row <= core.engine.seq:
        page = recent.page(row, skip, 2)
        found += page.events
        row, skip = page.next_row, page.next_skip
    assert [each.place for each in found] == [0, 1, 2, 3, 4]


def test_only_the_latest_rows_are_kept_and_a_page_says_what_it_begins_with(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "KEPT_ROWS", 3)
    for at in range(6):
        core.check(order(id=f"o{at}"))
    recent = events.Recent(core.engine)
    recent.take(core.rows)
    page = recent.page(1, 0, 100)
    assert page.first_row == core.engine.seq - 2
    assert [each.seq for each in page.events] == [core.engine.seq - 2, core.engine.seq - 1, core.engine.seq]


def test_rows_with_very_many_effects_leave_less_room(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "KEPT_EFFECTS", 4)
    for at in range(6):
        core.check(order(id=f"o{at}"))
    recent = events.Recent(core.engine)
    recent.take(core.rows)
    assert recent.page(1, 0, 100).first_row > core.engine.seq - 5


def test_the_journal_tells_the_same_events_as_memory_did(tmp_path: Path) -> None:
    with kept(tmp_path / "journal", seed=7) as made:
        recent = events.Recent(made.engine)
        live: list[Any] = []
        while made.seq < 600:
            before = made.seq
            made.trade(1)
            rows = [row for row in made.rows if row.entry.seq > before]
            recent.take(rows)
            row, skip = before + 1, 0
            while row <= made.seq:
                page = recent.page(row, skip, 100)
                live += page.events
                row, skip = page.next_row, page.next_skip
        made.keep()
        past = ReadPast(tmp_path / "journal")
        begun = live[0].seq
        read: list[Any] = []
        row, skip = begun, 0
        while row <= made.seq:
            page = past.page(row, skip, 37)
            read += page.events
            row, skip = page.next_row, page.next_skip
    assert len(live) > 300
    assert read == live


# ---------------------------------------------------------------------------------------------- subscriptions


def everything(subscription: pit.Subscription) -> list[Any]:
    found = []
    while (event := subscription.poll()) is not None:
        found.append(event)
    return found


def test_a_subscription_begins_now_unless_it_is_told_since_when() -> None:
    local = Local(LIMITS)
    assert not local.engine.execute_pre_trade(order(id="before", quantity="501"))
    watcher = local.connect("watch")
    later, all_of_it = pit.subscribe(watcher), pit.subscribe(watcher, since=0)
    assert everything(later) == []
    assert not local.engine.execute_pre_trade(order(id="after", quantity="501"))
    assert [each.order_id for each in everything(later)] == ["after"]
    assert [each.order_id for each in everything(all_of_it) if isinstance(each, ev.Decided)] == ["before", "after"]


def test_a_subscription_goes_on_from_a_number_or_from_where_another_had_got_to() -> None:
    local = Local(LIMITS)
    for at in range(4):
        assert not local.engine.execute_pre_trade(order(id=f"o{at}", quantity="501"))
    watcher = local.connect("watch")
    first = pit.subscribe(watcher, since=0)
    decided = [each for each in everything(first) if isinstance(each, ev.Decided)]
    rest = everything(pit.subscribe(watcher, since=decided[1].number))
    assert [each.order_id for each in rest if isinstance(each, ev.Decided)] == ["o2", "o3"]
    assert everything(pit.subscribe(watcher, since=first.position)) == []


def test_what_is_no_longer_kept_is_told_to_be_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "KEPT_ROWS", 2)
    local = Local(LIMITS)
    watcher = local.connect("watch")
    subscription = pit.subscribe(watcher)
    assert subscription.poll() is None
    for at in range(5):
        assert not local.engine.execute_pre_trade(order(id=f"o{at}", quantity="501"))
    missed, *rest = everything(subscription)
    assert missed == ev.Missed(local.core.seq - 4, local.core.seq - 2)
    assert [each.order_id for each in rest] == ["o3", "o4"]


def test_a_subscription_to_what_has_not_happened_in_this_history_is_told_so() -> None:
    local = Local(LIMITS)
    with pytest.raises(pit.JournalBehind, match="begin anew"):
        pit.subscribe(local.connect("watch"), since=4_711).poll()


def test_an_asyncio_program_follows_the_same_events() -> None:
    local = Local(LIMITS)
    assert not local.engine.execute_pre_trade(order(id="big", quantity="501"))

    async def follow() -> list[Any]:
        async with local.house.connect_async("watch") as engine:
            found = []
            async for event in pit.subscribe(engine, since=0):
                found.append(event)
                if isinstance(event, ev.SessionStarted) and event.client == "watch":
                    return found
        raise AssertionError("its own beginning was not told")

    found = asyncio.run(follow())
    assert [each.order_id for each in found if isinstance(each, ev.Decided)] == ["big"]
