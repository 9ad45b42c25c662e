"""Days and hours, asked for over every transport: what is open, which day it is, and when that changes."""

from __future__ import annotations

from conformance.gates import Gate

import pit


def test_everybody_may_ask_which_day_it_is_and_what_is_open(gate: Gate) -> None:
    for name in ("mm1", "clerk"):
        told = gate.connect(name).calendar()
        (firm,) = [each for each in told.days if each.scope == "firm"]
        assert firm.day and firm.zone == "America/New_York" and not firm.is_over
        assert firm.began_wall_ns < firm.begins_wall_ns and firm.day < firm.next_day
        assert told.hours == (pit.MarketHours(limit="always", is_open=True, until_wall_ns=None, zone="Asia/Tokyo"),)


def test_an_order_for_the_day_is_kept_as_it_was_given(engine: pit.Engine, gate: Gate) -> None:
    order = gate.order(time_in_force="day", good_till=None)
    held = engine.execute_pre_trade(order, sent=True)
    assert isinstance(held, pit.Reservation)
    (kept,) = [each.order for each in engine.open_orders() if each.order.id == order.id]
    assert kept == order and kept.time_in_force is pit.TimeInForce.DAY
    held.rollback()


def test_an_order_good_till_a_day_that_is_past_is_refused(engine: pit.Engine, gate: Gate) -> None:
    refused = engine.execute_pre_trade(gate.order(good_till="1969-01-01"))
    assert isinstance(refused, pit.Rejected) and refused.code == "InvalidFieldValue"
