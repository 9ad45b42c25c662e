"""From a strategy to a gateway: the strategy has it checked and holds it, the gateway takes it and sends it."""

from __future__ import annotations

import pytest
from conformance.gates import Gate, open_ids, report_on, state_of

import pit
from pit import OrderState


def test_a_gateway_takes_what_a_strategy_holds_and_settles_it(gate: Gate) -> None:
    strategy, gateway, order = gate.connect("mm1"), gate.connect("fix"), gate.order()
    assert strategy.execute_pre_trade(order)
    taken = gateway.take(order.account, order.id)
    assert isinstance(taken, pit.Reservation)
    assert (taken.order, taken.state, taken.replayed) == (order, OrderState.SENT, False)
    assert (open_ids(strategy), open_ids(gateway)) == ([], [order.id])
    taken.commit(venue_order_id="V1")
    gateway.apply_execution_report(report_on(order, "cancelled"))
    assert state_of(strategy, order) is OrderState.CLOSED
    assert state_of(gateway, order) is OrderState.CLOSED


def test_the_strategy_that_comes_too_late_is_told_who_has_it(gate: Gate) -> None:
    strategy, gateway, order = gate.connect("mm1"), gate.connect("fix"), gate.order()
    with strategy.execute_pre_trade(order) as held:
        assert isinstance(held, pit.Reservation)
        taken = gateway.take(order.account, order.id)
        for touch in (held.mark_sent, held.commit, held.rollback):
            with pytest.raises(pit.NotAuthorized, match="taken by the gateway fix"):
                touch()
    assert taken
    assert state_of(gateway, order) is OrderState.SENT


def test_a_blocked_account_is_not_taken_from(gate: Gate) -> None:
    strategy, gateway, order = gate.connect("mm1"), gate.connect("fix"), gate.order()
    held = strategy.execute_pre_trade(order)
    assert isinstance(held, pit.Reservation)
    gate.connect("ops").block(f"account {order.account}", "a test")
    refused = gateway.take(order.account, order.id)
    assert isinstance(refused, pit.Rejected)
    assert refused.codes == (pit.RejectCode.ACCOUNT_BLOCKED,)
    held.rollback()
    assert state_of(strategy, order) is OrderState.ROLLED_BACK


def test_an_order_that_is_over_cannot_be_taken(gate: Gate) -> None:
    strategy, gateway, order = gate.connect("mm1"), gate.connect("fix"), gate.order()
    held = strategy.execute_pre_trade(order)
    assert isinstance(held, pit.Reservation)
    held.rollback()
    with pytest.raises(pit.AlreadyFinalized):
        gateway.take(order.account, order.id)
    with pytest.raises(pit.UnknownId):
        gateway.take(order.account, gate.name("never"))


def test_only_a_gateway_takes(gate: Gate) -> None:
    if not gate.checks_roles:
        pytest.skip("who runs the engine in its own process may do everything with it")
    strategy, order = gate.connect("mm1"), gate.order()
    held = strategy.execute_pre_trade(order)
    assert held
    with pytest.raises(pit.NotAuthorized, match='"gateway"'):
        gate.connect("mm2").take(order.account, order.id)
    assert open_ids(strategy) == [order.id]
