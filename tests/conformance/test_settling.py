"""How a reservation ends: by its owner's word, by its lease, or by being let go."""

from __future__ import annotations

import gc
import itertools
from decimal import Decimal

import msgspec
import pytest
from conformance.gates import Gate, open_ids, report_on, state_of, until_state

import pit
from pit import OrderState, wire

HELD, SENT, QUARANTINED = OrderState.HELD, OrderState.SENT, OrderState.QUARANTINED
WORKING, ROLLED_BACK, CLOSED = OrderState.WORKING, OrderState.ROLLED_BACK, OrderState.CLOSED


def reserve(
    engine: pit.Engine, order: pit.Order, *, sent: bool = False, lease_s: float | None = None
) -> pit.Reservation:
    held = engine.execute_pre_trade(order, sent=sent, lease_s=lease_s)
    assert isinstance(held, pit.Reservation), str(held)
    return held


def test_commit_makes_it_work(engine: pit.Engine, gate: Gate) -> None:
    order = gate.order()
    held = reserve(engine, order)
    held.mark_sent()
    assert state_of(engine, order) is SENT
    held.commit(venue_order_id="V1")
    outcome = engine.outcome(order.account, order.id)
    assert (held.state, outcome.state, outcome.venue_order_id) == (WORKING, WORKING, "V1")


def test_commit_twice_is_the_same_answer(engine: pit.Engine, gate: Gate) -> None:
    order = gate.order()
    held = reserve(engine, order)
    held.commit()
    held.commit()
    assert held.state is WORKING
    assert open_ids(engine) == [order.id]


def test_a_committed_order_outlives_its_lease(engine: pit.Engine, gate: Gate) -> None:
    order = gate.order()
    reserve(engine, order, lease_s=0.2).commit()
    gate.pass_time(0.3)
    assert state_of(engine, order) is WORKING


def test_a_reason_is_cut_where_a_client_does_not_do_so_itself(engine: pit.Engine, gate: Gate) -> None:
    order = gate.order()
    held = reserve(engine, order)
    engine._command(wire.Rollback(held.id, "x" * 1_000_000))
    assert engine.outcome(order.account, order.id).reason == "x" * 500


@pytest.mark.parametrize("sent", [False, True])
def test_rollback_gives_everything_back(engine: pit.Engine, gate: Gate, sent: bool) -> None:
    order = gate.order(quantity="1000")
    reserve(engine, order, sent=sent).rollback(reason="venue refused")
    outcome = engine.outcome(order.account, order.id)
    assert (outcome.state, outcome.ended_by, outcome.reason) == (ROLLED_BACK, "owner", "venue refused")
    assert engine.execute_pre_trade(gate.order(quantity="1000")), "all of the limit is free again"


def test_rollback_twice_is_the_same_answer(engine: pit.Engine, gate: Gate) -> None:
    held = reserve(engine, gate.order())
    held.rollback()
    held.rollback()
    assert held.state is ROLLED_BACK


def test_rollback_after_commit_is_refused_and_changes_nothing(engine: pit.Engine, gate: Gate) -> None:
    order = gate.order()
    held = reserve(engine, order)
    held.commit()
    with pytest.raises(pit.AlreadyFinalized, match="working at the venue"):
        held.rollback()
    assert state_of(engine, order) is WORKING


def test_commit_after_rollback_is_refused_and_changes_nothing(engine: pit.Engine, gate: Gate) -> None:
    order = gate.order()
    held = reserve(engine, order)
    held.rollback()
    with pytest.raises(pit.AlreadyFinalized, match="commit\\(late=True\\)"):
        held.commit()
    assert state_of(engine, order) is ROLLED_BACK


def test_quarantine_stays_counted_until_it_is_settled(engine: pit.Engine, gate: Gate) -> None:
    order = gate.order(quantity="1000")
    held = reserve(engine, order, sent=True, lease_s=0.2)
    held.quarantine(reason="venue timed out")
    gate.pass_time(0.3)
    assert (held.state, state_of(engine, order)) == (QUARANTINED, QUARANTINED)
    assert not engine.execute_pre_trade(gate.order(quantity="1", price="1"))
    held.commit()
    assert state_of(engine, order) is WORKING


def test_a_quarantined_order_is_rolled_back_by_its_owner(engine: pit.Engine, gate: Gate) -> None:
    held = reserve(engine, gate.order(), sent=True)
    held.quarantine()
    held.rollback(reason="the venue says it has nothing")
    assert held.state is ROLLED_BACK


def test_a_quarantined_order_is_not_sent(engine: pit.Engine, gate: Gate) -> None:
    held = reserve(engine, gate.order())
    held.quarantine()
    with pytest.raises(pit.LeaseExpired):
        held.mark_sent()


def test_mark_sent_twice_changes_nothing(engine: pit.Engine, gate: Gate) -> None:
    held = reserve(engine, gate.order())
    assert held.mark_sent() is held
    assert held.mark_sent() is held
    assert held.state is SENT


def test_mark_sent_after_commit_is_refused(engine: pit.Engine, gate: Gate) -> None:
    held = reserve(engine, gate.order())
    held.commit()
    with pytest.raises(pit.AlreadyFinalized):
        held.mark_sent()


# ---------------------------------------------------------------------------------------------- leases


def test_the_answer_says_which_lease_was_given(engine: pit.Engine, gate: Gate) -> None:
    """A wish is bounded by the configuration; without one it is the default."""
    given = [reserve(engine, gate.order(), lease_s=wish).lease_s for wish in (None, 1, 0.001, 3600)]
    assert given == pytest.approx([3, 1, 0.2, 60], abs=0.1)


def test_lease_left_counts_down_and_never_below_zero(engine: pit.Engine, gate: Gate) -> None:
    held = reserve(engine, gate.order(), lease_s=0.5)
    before = held.lease_left_s
    gate.pass_time(0.2)
    assert 0 <= held.lease_left_s <= before - 0.2
    gate.pass_time(0.5)
    assert held.lease_left_s == 0


def test_what_was_held_goes_back_when_its_lease_ends(engine: pit.Engine, gate: Gate) -> None:
    order = gate.order(quantity="1000")
    held = reserve(engine, order, lease_s=0.2)
    gate.pass_time(0.3)
    until_state(engine, order, ROLLED_BACK)
    assert engine.outcome(order.account, order.id).ended_by == "lease"
    assert held.lease_left_s == 0
    assert engine.execute_pre_trade(gate.order(quantity="1000"))


def test_what_was_sent_is_quarantined_when_its_lease_ends(engine: pit.Engine, gate: Gate) -> None:
    order = gate.order()
    held = reserve(engine, order, sent=True, lease_s=0.2)
    gate.pass_time(0.3)
    until_state(engine, order, QUARANTINED)
    held.commit()
    assert held.state is WORKING


@pytest.mark.parametrize("late", ["commit", "mark_sent", "renew"])
def test_nothing_ended_is_revived(engine: pit.Engine, gate: Gate, late: str) -> None:
    order = gate.order()
    held = reserve(engine, order, lease_s=0.2)
    gate.pass_time(0.3)
    until_state(engine, order, ROLLED_BACK)
    with pytest.raises(pit.LeaseExpired):
        getattr(held, late)()
    assert state_of(engine, order) is ROLLED_BACK


def test_rollback_after_the_lease_ended_is_the_same_answer(engine: pit.Engine, gate: Gate) -> None:
    order = gate.order()
    held = reserve(engine, order, lease_s=0.2)
    gate.pass_time(0.3)
    until_state(engine, order, ROLLED_BACK)
    held.rollback()
    assert held.state is ROLLED_BACK


def test_a_late_commit_says_that_it_did_reach_the_venue(engine: pit.Engine, gate: Gate) -> None:
    order = gate.order(quantity="1000")
    held = reserve(engine, order, lease_s=0.2)
    gate.pass_time(0.3)
    until_state(engine, order, ROLLED_BACK)
    held.commit(late=True, venue_order_id="V9")
    (found,) = engine.open_orders()
    assert (found.order, found.state, found.venue_order_id) == (order, WORKING, "V9")
    assert found.flags == ("late_commit",)
    assert not engine.execute_pre_trade(gate.order(quantity="1", price="1")), "it is counted again"


def test_a_late_commit_of_another_clients_order_is_taken(engine: pit.Engine, gate: Gate) -> None:
    """It needs only the right to trade: counting too much is the safe side."""
    order = gate.order()
    held = reserve(engine, order, lease_s=0.2)
    gate.pass_time(0.3)
    until_state(engine, order, ROLLED_BACK)
    other = gate.connect("mm2")
    late = pit.Reservation(other, held.order, held._answer, 0)
    late.commit(late=True)
    assert state_of(engine, order) is WORKING


def test_a_late_commit_after_the_final_report_changes_nothing(engine: pit.Engine, gate: Gate) -> None:
    order = gate.order()
    held = reserve(engine, order, sent=True)
    engine.apply_execution_report(report_on(order, "cancelled"))
    held.commit(late=True)
    assert state_of(engine, order) is CLOSED


def test_renew_gives_a_new_lease_from_now(engine: pit.Engine, gate: Gate) -> None:
    order = gate.order()
    held = reserve(engine, order, lease_s=0.5)
    assert held.renew(30) is held
    assert held.lease_s == pytest.approx(30, abs=0.1)
    gate.pass_time(0.6)
    assert state_of(engine, order) is HELD
    assert 20 < held.lease_left_s < 30


def test_renew_of_a_committed_order_is_refused(engine: pit.Engine, gate: Gate) -> None:
    held = reserve(engine, gate.order())
    held.commit()
    with pytest.raises(pit.AlreadyFinalized):
        held.renew()


# ---------------------------------------------------------------------------------------------- let go


@pytest.mark.parametrize(("sent", "left"), [(False, ROLLED_BACK), (True, QUARANTINED)])
def test_leaving_with_unsettled_drops_it(engine: pit.Engine, gate: Gate, sent: bool, left: OrderState) -> None:
    order = gate.order()
    with reserve(engine, order, sent=sent):
        pass
    assert state_of(engine, order) is left


@pytest.mark.parametrize(
    ("settle", "left"), [("commit", WORKING), ("rollback", ROLLED_BACK), ("quarantine", QUARANTINED)]
)
def test_leaving_with_settled_changes_nothing(engine: pit.Engine, gate: Gate, settle: str, left: OrderState) -> None:
    order = gate.order()
    with reserve(engine, order, sent=True) as held:
        getattr(held, settle)()
    assert state_of(engine, order) is left


def test_an_error_inside_with_drops_it_and_goes_on(engine: pit.Engine, gate: Gate) -> None:
    order = gate.order()
    with pytest.raises(ZeroDivisionError), reserve(engine, order):
        _ = 1 / 0
    assert state_of(engine, order) is ROLLED_BACK


def test_what_the_garbage_collector_takes_is_dropped_with_the_next_call(engine: pit.Engine, gate: Gate) -> None:
    held, sent = gate.order(), gate.order()
    kept = [reserve(engine, held), reserve(engine, sent, sent=True)]
    kept.append(kept)  # type: ignore[arg-type]  # only the collector finds a ring
    del kept
    gc.collect()
    engine.ping()
    assert (state_of(engine, held), state_of(engine, sent)) == (ROLLED_BACK, QUARANTINED)
    assert engine.outcome(held.account, held.id).ended_by == "dropped"


def test_closing_the_engine_gives_back_what_it_held_and_keeps_what_it_sent(gate: Gate) -> None:
    watcher = gate.connect("ops")
    with gate.connect("mm1") as engine:
        orders = [gate.order() for _ in range(3)]
        kept = [reserve(engine, orders[0]), reserve(engine, orders[1], sent=True), reserve(engine, orders[2])]
        kept[2].commit()
    for order, state in zip(orders, (ROLLED_BACK, QUARANTINED, WORKING), strict=True):
        until_state(watcher, order, state)


# ---------------------------------------------------------------------------------------------- another's


@pytest.mark.parametrize("act", ["commit", "rollback", "quarantine", "mark_sent", "renew"])
def test_another_clients_order_is_not_touched(engine: pit.Engine, gate: Gate, act: str) -> None:
    order = gate.order()
    held = reserve(engine, order)
    other = gate.connect("mm2")
    stolen = pit.Reservation(other, held.order, msgspec.structs.replace(held._answer, replayed=True), 0)
    with pytest.raises(pit.NotAuthorized, match="another client"):
        getattr(stolen, act)()
    assert state_of(engine, order) is HELD


@pytest.mark.parametrize("act", ["commit", "rollback", "quarantine", "mark_sent", "renew"])
def test_an_unknown_reservation_is_said_to_be_unknown(engine: pit.Engine, gate: Gate, act: str) -> None:
    nobody = pit.OpenOrder(
        reservation_id=987_654_321, order=gate.order(), state=HELD, open_quantity=Decimal(10), lease_left_s=1
    )
    with pytest.raises(pit.UnknownId, match="987654321"):
        getattr(engine.reservation(nobody), act)()


# ---------------------------------------------------------------------------------------------- the venue's id


def test_a_venues_number_is_an_id(engine: pit.Engine, gate: Gate) -> None:
    order = gate.order()
    reserve(engine, order, sent=True).commit(venue_order_id=4711)
    assert engine.outcome(order.account, order.id).venue_order_id == "4711"
    result = engine.apply_execution_report(
        pit.ExecutionReport(account=order.account, kind="cancelled", report_id="r1", venue_order_id="4711")
    )
    assert result.order_id == order.id


NO_VENUE_IDS: tuple[object, ...] = ("", "x" * 65, "two\nlines", b"V1", 1.5, True, object())


def test_an_order_is_committed_whatever_its_venue_calls_it(engine: pit.Engine, gate: Gate) -> None:
    """The venue has it: an id that can't be kept must not leave it to its lease."""
    orders = []
    for bad, sent in itertools.product(NO_VENUE_IDS, (False, True)):
        orders.append(gate.order())
        held = reserve(engine, orders[-1], sent=sent, lease_s=0.2)
        with pytest.raises(pit.InvalidInput, match="committed without it"):
            held.commit(venue_order_id=bad)  # type: ignore[arg-type]
        assert held.state is WORKING, bad
    gate.pass_time(0.3)
    for order in orders:
        outcome = engine.outcome(order.account, order.id)
        assert (outcome.state, outcome.venue_order_id) == (WORKING, None)


def test_a_fill_that_overtakes_the_commit_leaves_nothing_to_commit(engine: pit.Engine, gate: Gate) -> None:
    order = gate.order()
    held = reserve(engine, order, sent=True)
    engine.apply_execution_report(report_on(order, "fill", quantity="10", price="100"))
    with pytest.raises(pit.AlreadyFinalized, match="filled"):
        held.commit(venue_order_id="V1")
    assert state_of(engine, order) is CLOSED


@pytest.mark.parametrize(("sent", "left"), [(False, ROLLED_BACK), (True, QUARANTINED)])
def test_a_handle_knows_what_dropping_it_came_to(engine: pit.Engine, gate: Gate, sent: bool, left: OrderState) -> None:
    order = gate.order()
    with reserve(engine, order, sent=sent) as held:
        pass
    assert held.state is left is state_of(engine, order)
