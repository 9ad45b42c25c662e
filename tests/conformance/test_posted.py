"""Commits that nobody waits for: confirmed later, late if they must be, and never a failure lost."""

from __future__ import annotations

from decimal import Decimal

import pytest
from conformance.gates import Gate, open_ids, state_of, until_state

import pit
from pit import OrderState, wire

SENT, WORKING, ROLLED_BACK = OrderState.SENT, OrderState.WORKING, OrderState.ROLLED_BACK


def sent(engine: pit.Engine, gate: Gate, **words: object) -> pit.Reservation:
    held = engine.execute_pre_trade(gate.order(quantity="1", price="1"), sent=True, **words)  # type: ignore[arg-type]
    assert isinstance(held, pit.Reservation)
    return held


def nobodys(engine: pit.Engine, gate: Gate) -> pit.Reservation:
    """A reservation that no engine has given: to commit it fails."""
    nobody = pit.OpenOrder(
        reservation_id=987_654_321, order=gate.order(), state=SENT, open_quantity=Decimal(10), lease_left_s=1
    )
    return engine.reservation(nobody)


def test_a_flush_confirms_what_was_posted(engine: pit.Engine, gate: Gate) -> None:
    held = sent(engine, gate)
    held.commit(venue_order_id="V1", wait=False)
    engine.flush()
    outcome = gate.connect("ops").outcome(held.order.account, held.order.id)
    assert (held.state, outcome.state, outcome.venue_order_id) == (WORKING, WORKING, "V1")


def test_any_later_call_confirms_what_was_posted(engine: pit.Engine, gate: Gate) -> None:
    held = sent(engine, gate)
    held.commit(wait=False)
    assert sent(engine, gate)
    assert state_of(gate.connect("ops"), held.order) is WORKING


def test_a_close_confirms_what_was_posted(gate: Gate) -> None:
    with gate.connect("mm1") as engine:
        held = sent(engine, gate)
        held.commit(wait=False)
    assert state_of(gate.connect("ops"), held.order) is WORKING


def test_a_flush_with_nothing_posted_is_nothing(engine: pit.Engine) -> None:
    engine.flush()
    engine.flush()


def test_more_than_the_window_can_be_posted_in_a_row(engine: pit.Engine, gate: Gate) -> None:
    held = [sent(engine, gate) for _ in range(3 * wire.WINDOW)]
    for each in held:
        each.commit(venue_order_id=each.order.id, wait=False)
    engine.flush()
    left = {each.order.id: each for each in engine.open_orders()}
    assert set(left) == {each.order.id for each in held}
    assert all(each.state is WORKING and each.venue_order_id == order_id for order_id, each in left.items())


def test_a_posted_commit_after_its_lease_is_counted_as_late(engine: pit.Engine, gate: Gate) -> None:
    order = gate.order()
    held = engine.execute_pre_trade(order, lease_s=0.2)
    assert isinstance(held, pit.Reservation)
    gate.pass_time(0.3)
    until_state(engine, order, ROLLED_BACK)
    held.commit(wait=False)
    engine.flush()
    (found,) = engine.open_orders()
    assert (found.state, found.flags) == (WORKING, ("late_commit",))


def test_a_posted_commit_settles_its_reservation(engine: pit.Engine, gate: Gate) -> None:
    """Leaving `with` sends nothing after it."""
    with sent(engine, gate) as held:
        held.commit(wait=False)
    assert open_ids(engine) == [held.order.id]
    assert state_of(engine, held.order) is WORKING


def test_a_failure_is_raised_by_the_flush_once_and_names_its_order(engine: pit.Engine, gate: Gate) -> None:
    lost = nobodys(engine, gate)
    lost.commit(wait=False)
    with pytest.raises(pit.PostedFailed, match=f"order {lost.order.id}: UnknownId: .*987654321") as told:
        engine.flush()
    ((order_id, error),) = told.value.failures
    assert order_id == lost.order.id and isinstance(error, pit.UnknownId)
    engine.flush()


def test_a_failure_is_raised_by_a_later_question_before_it_is_sent(engine: pit.Engine, gate: Gate) -> None:
    nobodys(engine, gate).commit(wait=False)
    engine.apply_execution_report(pit.ExecutionReport(account="x", kind="accepted", report_id="r", order_id="o"))
    order = gate.order()
    with pytest.raises(pit.PostedFailed):
        engine.execute_pre_trade(order)
    with pytest.raises(pit.UnknownId):
        engine.outcome(order.account, order.id)
    assert engine.execute_pre_trade(order), "it is told once"


def test_a_failure_does_not_hold_up_what_tells_what_is_so(engine: pit.Engine, gate: Gate) -> None:
    held, other = sent(engine, gate), sent(engine, gate)
    nobodys(engine, gate).commit(wait=False)
    held.rollback()
    other.commit()
    assert (held.state, other.state) == (ROLLED_BACK, WORKING)
    with pytest.raises(pit.PostedFailed):
        engine.flush()


def test_a_failure_nobody_has_heard_of_is_raised_by_the_close(gate: Gate) -> None:
    engine = gate.connect("mm1")
    nobodys(engine, gate).commit(wait=False)
    with pytest.raises(pit.PostedFailed, match="UnknownId"):
        engine.close()
    engine.close()
    with pytest.raises(pit.Closed):
        engine.ping()


def test_good_ones_among_the_bad_are_carried_out(engine: pit.Engine, gate: Gate) -> None:
    good = [sent(engine, gate) for _ in range(10)]
    for each in good:
        each.commit(wait=False)
        nobodys(engine, gate).commit(wait=False)
    with pytest.raises(pit.PostedFailed) as told:
        engine.flush()
    assert len(told.value.failures) == 10
    assert {state_of(engine, each.order) for each in good} == {WORKING}
