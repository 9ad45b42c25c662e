"""A stop that acts: what it wants cancelled is asked of its owners, passed on when they don't, and tracked."""

from __future__ import annotations

from typing import Any

import pytest
from builders import AAPL, Core, fill, money, order, report, saved

from pitd.core import entry as e
from pitd.core import kills
from pitd.core.kills import Place

LIMITS = """
[accounts.alpha]
group = "us"
[limits]
loss = { control = "pnl_kill_switch", each = "account", settlement = "USD", max_loss = "100" }
"""


def desk(**bounds: int) -> Core:
    """mm1 has `work` working and `hold` held of alpha; mm2 has `other` working of beta. Both are connected."""
    core = Core(LIMITS, **bounds)
    for id, account, client in (("work", "alpha", "mm1"), ("other", "beta", "mm2")):
        core.commit(core.check(order(id=id, account=account), client=client).reservation_id, client=client)
    core.check(order(id="hold"))
    return core


def trip(core: Core) -> None:
    core.report(money("none", pnl="-100"))


def asked(core: Core) -> list[str]:
    return sorted(core.engine.orders.open[id].order_id for id in core.engine.cancels.requests)


def told(core: Core, client: str, after: Place = Place(0, 0), *, may_cancel: bool = False) -> list[str]:  # noqa: B008
    found = kills.requests_for(core.engine, client, after, None, may_cancel=may_cancel)
    return [core.engine.orders.open[request.reservation_id].order_id for _, request in found]


def let_time_pass(core: Core, seconds: float) -> None:
    core.advance(seconds)
    if core.engine.cancels.has_due(core.now_ns):
        core.enter(e.CancelsDue(1_000))


def test_a_trip_asks_for_what_its_account_has_at_the_venue_in_the_same_entry() -> None:
    core = desk()
    trip(core)
    assert asked(core) == ["work"]
    assert told(core, "mm1") == ["work"]
    assert told(core, "mm2") == []
    [request] = core.engine.cancels.requests.values()
    assert (request.cause.scope, request.cause.limit) == ("account alpha", "loss")


@pytest.mark.parametrize(
    ("stop", "wanted"),
    [
        (lambda core: core.command(e.BlockScope("firm", "why", True), "ops"), ["other", "work"]),
        (lambda core: core.command(e.BlockScope("client mm2", "why", True), "ops"), ["other"]),
        (lambda core: core.command(e.BlockScope("group us", "why", True), "ops"), ["work"]),
        (lambda core: core.command(e.BlockScope("firm", "why", False), "ops"), []),
        (lambda core: core.command(e.CancelAll("account beta", "why"), "ops"), ["other"]),
        (lambda core: core.command(e.CancelAll("instrument AAPL/USD", "why"), "ops"), ["other", "work"]),
    ],
)
def test_a_person_s_stop_asks_for_the_orders_of_its_scope(stop: Any, wanted: list[str]) -> None:
    core = desk()
    stop(core)
    assert asked(core) == wanted


def test_a_trip_may_leave_orders_where_they_are() -> None:
    core = desk(trips_cancel=False)
    trip(core)
    assert asked(core) == []


def test_a_cancel_all_stops_nothing_and_says_how_many() -> None:
    core = desk()
    assert core.command(e.CancelAll("firm", "why"), "ops") == e.Done(2)
    assert core.check(order(id="next")).state == "held"


@pytest.mark.parametrize("scope", ["account", "desk x", ""])
def test_a_cancel_all_of_what_is_no_scope_is_refused(scope: str) -> None:
    assert desk().command(e.CancelAll(scope, "why"), "ops").failure == "InvalidInput"


@pytest.mark.parametrize(
    "end",
    [
        lambda core: core.report(report("cancelled", order_id="work")),
        lambda core: core.report(fill("work", "10")),
        lambda core: core.report(report("rejected", order_id="work")),
        lambda core: core.close_order("work"),
    ],
)
def test_the_end_of_the_order_confirms_it_and_the_last_one_is_told(end: Any) -> None:
    core = desk()
    trip(core)
    core.report(fill("work", "4"))
    assert asked(core) == ["work"]
    end(core)
    assert asked(core) == []
    assert core.rows[-1].effects[-1] == e.CancelsConfirmed(1)


def test_what_comes_to_the_venue_later_under_the_stop_is_asked_for_too() -> None:
    core = desk()
    trip(core)
    id = next(id for id, record in core.engine.orders.open.items() if record.order_id == "hold")
    core.commit(id)
    assert asked(core) == ["hold", "work"]


def test_what_a_drop_copy_finds_at_the_venue_under_the_stop_is_asked_for_too() -> None:
    core = desk()
    trip(core)
    core.command(e.DropCopy(order(id="past the gate")), "drops")
    core.report(fill("stranger", "1", instrument=AAPL, side="buy"))
    core.command(e.DropCopy(order(id="stranger")), "drops")
    assert asked(core) == ["past the gate", "stranger", "work"]


@pytest.mark.parametrize("most", [2, 1_000])
def test_all_orders_of_one_row_are_asked_for(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kills.sweep, "__defaults__", (most,))
    core = Core(LIMITS)
    core.command(e.CheckMany(tuple(order(id=f"o{n}") for n in range(4)), True, None))
    core.check(order(id="later"), sent=True)
    trip(core)
    for _ in range(3):
        let_time_pass(core, 0)
    assert asked(core) == ["later", "o0", "o1", "o2", "o3"]


def test_lifting_the_stop_lets_new_orders_pass_and_leaves_what_was_asked() -> None:
    core = desk()
    trip(core)
    core.rearm("loss", "account alpha", "50")
    assert asked(core) == ["work"]
    core.commit(core.check(order(id="next")).reservation_id)
    assert asked(core) == ["work"]


def test_what_its_owner_does_not_confirm_in_time_is_passed_on() -> None:
    core = desk(cancel_ns=1_000_000_000)
    trip(core)
    let_time_pass(core, 0.999)
    assert told(core, "fix", may_cancel=True) == []
    let_time_pass(core, 0.001)
    assert told(core, "fix", may_cancel=True) == ["work"]
    assert told(core, "fix") == []
    assert told(core, "mm1") == ["work"]
    assert kills.requests_for(core.engine, "fix", Place(0, 0), frozenset({"beta"}), may_cancel=True) == []


def refuse(core: Core) -> None:
    core.report(report("cancel_rejected", order_id="work"))


def here(core: Core) -> Place:
    return Place(core.engine.seq, 2**62)


@pytest.mark.parametrize("is_told", [True, False])
def test_what_the_venue_refuses_to_cancel_is_asked_for_again(is_told: bool) -> None:
    core = desk(cancel_ns=2_000_000_000)
    trip(core)
    place = here(core)
    core.enter(e.CancelsRead("mm1", tuple(core.engine.cancels.requests)))
    if is_told:
        core.command(e.CancelOrder("alpha", "work"))
    assert told(core, "mm1", place) == []
    refuse(core)
    assert told(core, "mm1", place) == ["work"]
    assert next(iter(core.engine.cancels.requests.values())).told == ()


def test_a_venue_that_goes_on_refusing_is_not_flooded() -> None:
    core = desk(cancel_ns=2_000_000_000)
    trip(core)
    core.advance(0.1)
    refuse(core)
    place = here(core)
    core.advance(0.1)
    refuse(core)
    refuse(core)
    assert told(core, "mm1", place) == []
    for way in ("rows", "snapshot"):
        again = core.again(way)
        let_time_pass(again, 1.899)
        assert told(again, "mm1", place) == []
        let_time_pass(again, 0.001)
        assert told(again, "mm1", place) == ["work"]
        assert again.engine.cancels.first_due_ns() is None


def test_who_has_the_cancel_role_is_asked_again_too_once_it_was_passed_on() -> None:
    core = desk(cancel_ns=1_000_000_000)
    trip(core)
    refuse(core)
    assert told(core, "fix", may_cancel=True) == []
    let_time_pass(core, 1)
    assert told(core, "fix", may_cancel=True) == ["work"]
    place = here(core)
    refuse(core)
    assert told(core, "fix", place, may_cancel=True) == ["work"] == told(core, "mm1", place)


def test_a_cancel_that_nobody_wants_any_more_is_not_asked_for_again() -> None:
    core = desk()
    core.command(e.CancelOrder("alpha", "work"))
    refuse(core)
    assert told(core, "mm1") == []
    trip(core)
    core.report(report("cancelled", order_id="work"))
    refuse(core)
    assert asked(core) == [] and core.engine.cancels.first_due_ns() is None


def test_an_order_that_is_asked_for_anew_has_its_time_anew() -> None:
    core = desk()
    id = core.working(order(id="late"))
    trip(core)
    core.settle("late", working=False)
    core.advance(1.5)
    core.commit(id, late=True)
    let_time_pass(core, 1)
    assert told(core, "mm2", may_cancel=True) == ["work"], "the owner of the other one has a second left"
    let_time_pass(core, 1.5)
    assert told(core, "mm2", may_cancel=True) == ["work", "late"]


def test_what_nobody_is_there_to_cancel_is_passed_on_at_once() -> None:
    core = desk()
    core.end_session("mm1")
    trip_by_other = core.report(money("none", pnl="-100"), client="mm2")
    assert trip_by_other.result.blocks
    let_time_pass(core, 0)
    assert told(core, "fix", may_cancel=True) == ["work"]


def test_who_has_been_told_is_state_and_a_place_says_what_is_new() -> None:
    core = desk()
    trip(core)
    [(place, request)] = kills.requests_for(core.engine, "mm1", Place(0, 0), None, may_cancel=False)
    core.enter(e.CancelsRead("mm1", (request.reservation_id,)))
    assert request.told == (("mm1", core.now_ns),)
    assert told(core, "mm1", place) == []
    core.command(e.BlockScope("firm", "why", True), "ops")
    assert told(core, "mm1", place) == []
    assert told(core, "mm2") == ["other"]


@pytest.mark.parametrize("way", ["rows", "snapshot"])
@pytest.mark.parametrize("at", ["asked", "told", "passed on", "confirmed"])
def test_all_of_it_outlives_a_restart(way: str, at: str) -> None:
    core = desk()
    trip(core)
    if at != "asked":
        core.enter(e.CancelsRead("mm1", tuple(core.engine.cancels.requests)))
    if at in ("passed on", "confirmed"):
        let_time_pass(core, 2)
    if at == "confirmed":
        core.report(report("cancelled", order_id="work"))
    again = core.again(way)
    assert again.engine.cancels.image() == core.engine.cancels.image()
    let_time_pass(core, 5)
    let_time_pass(again, 5)
    assert saved(again.engine) == saved(core.engine)
    assert told(again, "fix", may_cancel=True) == told(core, "fix", may_cancel=True)


def test_many_orders_are_asked_for_a_bounded_number_an_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kills.sweep, "__defaults__", (2,))
    core = Core(LIMITS)
    for n in range(5):
        core.commit(core.check(order(id=f"o{n}")).reservation_id)
    trip(core)
    assert len(asked(core)) == 2
    for _ in range(3):
        let_time_pass(core, 0)
    assert len(asked(core)) == 5
    assert not core.engine.cancels.sweeps
    again = core.again("rows")
    assert again.engine.cancels.image() == core.engine.cancels.image()


def test_no_message_rate_refuses_a_cancel_that_was_asked_for() -> None:
    rate = 'rate = { control = "message_rate", each = "account", max_messages = 0, window = "1h" }'
    core = Core(f"{LIMITS}{rate}\n")
    core.commit(core.check(order(id="work")).reservation_id)
    assert isinstance(core.command(e.CancelOrder("alpha", "work")), e.Refused)
    core.command(e.CancelAll("account alpha", "why"), "ops")
    assert isinstance(core.command(e.CancelOrder("alpha", "work")), e.CancelCleared)
