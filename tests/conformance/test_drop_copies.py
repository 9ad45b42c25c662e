"""A drop copy records what is at the venue already, over every gate."""

from __future__ import annotations

import pytest
from conformance.gates import Gate, open_ids, report_on, state_of

import pit


def test_an_order_past_the_gate_counts_and_its_breaches_are_told(engine: pit.Engine, gate: Gate) -> None:
    order = gate.order(quantity=1001)
    copied = gate.connect("clerk").apply_drop_copy(order, venue_order_id="v1", client=gate.name("mm1"))
    assert copied.ok and copied.state is pit.OrderState.WORKING
    assert copied.flags == ("drop_copy", "over_limit")
    assert {no.limit for no in copied.breaches} == {"size", "open_usd"}
    assert open_ids(engine) == [order.id]
    assert not engine.execute_pre_trade(gate.order())
    engine.apply_execution_report(report_on(order, "cancelled"))
    assert engine.execute_pre_trade(gate.order())


def test_one_that_overtakes_the_strategy_is_counted_once(engine: pit.Engine, gate: Gate) -> None:
    order = gate.order(quantity=600)
    held = engine.execute_pre_trade(order, sent=True)
    assert isinstance(held, pit.Reservation)
    copied = gate.connect("clerk").apply_drop_copy(order, venue_order_id="v1")
    assert copied.was_known and state_of(engine, order) is pit.OrderState.WORKING
    held.commit(venue_order_id="v1")
    assert engine.execute_pre_trade(gate.order(quantity=400))


def test_who_does_not_report_may_not_say_so(gate: Gate) -> None:
    if not gate.checks_roles:
        pytest.skip("who runs the engine in its own process may do everything with it")
    with pytest.raises(pit.NotAuthorized, match="report"):
        gate.connect("quoter").apply_drop_copy(gate.order())
