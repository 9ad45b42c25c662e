"""A working order gets other terms: over every gate the same reservation, the same answers, the same ids."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from conformance.gates import Gate, report_on, state_of

import pit
from pit import OrderState


def working(engine: pit.Engine, gate: Gate, **words: Any) -> pit.Order:
    order = gate.order(**words)
    held = engine.execute_pre_trade(order, sent=True)
    assert isinstance(held, pit.Reservation)
    held.commit()
    return order


def modified(engine: pit.Engine, order: pit.Order, **terms: Any) -> pit.Reservation:
    change = engine.modify_pre_trade(order.account, order.id, **terms)
    assert isinstance(change, pit.Reservation)
    return change


def test_a_modify_is_settled_as_an_order_is_and_the_venue_has_the_last_word(gate: Gate) -> None:
    engine = gate.connect()
    order = working(engine, gate)
    change = modified(engine, order, quantity=12, price="99.5", new_id=gate.name("o2"))
    assert (change.order.quantity, change.order.price, change.state) == (12, Decimal("99.5"), OrderState.HELD)
    change.mark_sent()
    change.commit(venue_order_id="V2")
    assert change.state is OrderState.WORKING
    engine.apply_execution_report(report_on(order, "replaced"))
    [found] = engine.open_orders(order.account)
    assert (found.order, found.modify, found.venue_order_id) == (change.order, None, "V2")
    for id in (order.id, change.order.id):
        assert engine.outcome(order.account, id).order_id == change.order.id
    engine.apply_execution_report(report_on(order, "fill", quantity=12, price=99, order_id=change.order.id))
    assert state_of(engine, order) is OrderState.CLOSED


def test_a_refused_replacement_leaves_the_order_as_it_was(gate: Gate) -> None:
    engine = gate.connect()
    order = working(engine, gate)
    change = modified(engine, order, quantity=20, sent=True)
    engine.apply_execution_report(report_on(order, "replace_rejected"))
    change.commit()
    [found] = engine.open_orders(order.account)
    assert (found.order, found.open_quantity, found.modify) == (order, 10, None)


def test_risk_says_no_to_a_modify_and_the_order_goes_on(gate: Gate) -> None:
    engine = gate.connect()
    order = working(engine, gate)
    refused = engine.modify_pre_trade(order.account, order.id, quantity=1001)
    assert isinstance(refused, pit.Rejected)
    assert refused.code is pit.RejectCode.ORDER_QTY_EXCEEDS_LIMIT
    assert modified(engine, order, quantity=1000, price=50)


def test_a_modify_that_is_let_go_of_is_taken_back(gate: Gate) -> None:
    engine = gate.connect()
    order = working(engine, gate)
    with modified(engine, order, quantity=12):
        pass
    [found] = engine.open_orders(order.account)
    assert (found.order, found.modify) == (order, None)


def test_a_sent_modify_that_nobody_settles_stays_counted_until_a_person_does(gate: Gate) -> None:
    engine = gate.connect()
    order = working(engine, gate)
    modified(engine, order, quantity=12, sent=True).quarantine()
    [found] = engine.open_orders(order.account)
    assert found.modify is not None
    assert (found.modify.order.quantity, found.modify.state) == (12, OrderState.QUARANTINED)
    again = engine.reservation(found, modify=True)
    assert again.id == found.modify.reservation_id
    gate.connect("ops").settle_modify(order.account, order.id, replaced=True, reason="asked the venue")
    [found] = engine.open_orders(order.account)
    assert (found.order.quantity, found.open_quantity, found.modify) == (12, 12, None)
    with pytest.raises(pit.AlreadyFinalized):
        again.rollback()


def test_the_same_modify_again_is_the_same_reservation(gate: Gate) -> None:
    engine = gate.connect()
    order = working(engine, gate)
    first = modified(engine, order, quantity=12)
    again = modified(engine, order, quantity=12)
    assert (again.id, again.replayed) == (first.id, True)
    with pytest.raises(pit.InvalidInput, match="not answered"):
        engine.modify_pre_trade(order.account, order.id, quantity=13)


def test_what_cannot_be_modified_says_why(gate: Gate) -> None:
    engine = gate.connect()
    with pytest.raises(pit.UnknownId):
        engine.modify_pre_trade(gate.name("alpha"), gate.name("never"), quantity=1)
    held = gate.order()
    reservation = engine.execute_pre_trade(held)
    with pytest.raises(pit.InvalidInput, match="held"):
        engine.modify_pre_trade(held.account, held.id, quantity=1)
    assert reservation
    order = working(engine, gate)
    with pytest.raises(pit.InvalidInput, match="changes nothing"):
        engine.modify_pre_trade(order.account, order.id)
    with pytest.raises(pit.InvalidInput, match="already"):
        engine.modify_pre_trade(order.account, order.id, quantity="10.0")
    engine.apply_execution_report(report_on(order, "fill", quantity=4, price=100))
    with pytest.raises(pit.InvalidInput, match="have traded"):
        engine.modify_pre_trade(order.account, order.id, quantity=4)
    engine.apply_execution_report(report_on(order, "cancelled"))
    with pytest.raises(pit.AlreadyFinalized):
        engine.modify_pre_trade(order.account, order.id, quantity=20)


def test_a_cancel_is_told_before_it_is_sent(gate: Gate) -> None:
    engine = gate.connect()
    order = working(engine, gate)
    may = engine.cancel_pre_trade(order.account, order.id)
    assert isinstance(may, pit.ClearedCancel)
    assert (may.order_id, may.open_quantity, may.ok) == (order.id, 10, True)
    assert state_of(engine, order) is OrderState.WORKING
    engine.apply_execution_report(report_on(order, "cancelled"))
    with pytest.raises(pit.AlreadyFinalized):
        engine.cancel_pre_trade(order.account, order.id)
    held = gate.order()
    reservation = engine.execute_pre_trade(held)
    with pytest.raises(pit.InvalidInput, match="roll it back"):
        engine.cancel_pre_trade(held.account, held.id)
    assert reservation


def test_only_an_operator_settles_a_modify(gate: Gate) -> None:
    if not gate.checks_roles:
        pytest.skip("who runs the engine in its own process may do everything with it")
    engine = gate.connect()
    order = working(engine, gate)
    modified(engine, order, quantity=12, sent=True)
    with pytest.raises(pit.NotAuthorized, match='"operate"'):
        engine.settle_modify(order.account, order.id, replaced=False, reason="a test")
    with pytest.raises(pit.NotAuthorized):
        gate.connect("clerk").modify_pre_trade(order.account, order.id, quantity=13)
