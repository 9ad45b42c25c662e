"""Several orders in one call: an answer for each, or all of them or none."""

from __future__ import annotations

import pytest
from conformance.gates import Gate, open_ids

import pit


def test_an_answer_for_each_in_order_and_each_counts_for_those_after_it(engine: pit.Engine, gate: Gate) -> None:
    wanted = [gate.order(quantity=600), gate.order(quantity=600), gate.order(quantity=400)]
    first, second, third = engine.execute_pre_trade_many(wanted)
    assert isinstance(first, pit.Reservation) and isinstance(third, pit.Reservation)
    assert isinstance(second, pit.Rejected) and second.limit == "open_usd"
    assert [each.order.id for each in (first, third)] == [wanted[0].id, wanted[2].id]
    first.commit()
    third.rollback()
    assert open_ids(engine) == [wanted[0].id]


def test_the_legs_of_a_spread_are_all_taken_or_none_is(engine: pit.Engine, gate: Gate) -> None:
    legs = [gate.order(quantity=600), gate.order(quantity=500)]
    answers = engine.execute_pre_trade_many(legs, all_or_none=True)
    assert not any(answers) and open_ids(engine) == []
    passes, is_refused = answers
    assert isinstance(passes, pit.Rejected) and passes.limit == "all_or_none" and legs[1].id in passes.reason
    assert isinstance(is_refused, pit.Rejected) and is_refused.limit == "open_usd"
    answers = engine.execute_pre_trade_many([legs[0], gate.order(quantity=400)], all_or_none=True, sent=True)
    assert all(answers) and [held.state for held in answers if held.ok] == [pit.OrderState.SENT] * 2


def test_the_same_orders_again_are_answered_as_before(engine: pit.Engine, gate: Gate) -> None:
    wanted = [gate.order(), gate.order()]
    before = engine.execute_pre_trade_many(wanted, lease_s=30)
    again = engine.execute_pre_trade_many(wanted)
    assert [held.id for held in before if held.ok] == [held.id for held in again if held.ok]
    assert all(held.ok and held.replayed for held in again)


def test_none_too_many_and_one_id_twice_are_refused(engine: pit.Engine, gate: Gate) -> None:
    one = gate.order()
    for wanted in ([], [one, one], [gate.order() for _ in range(101)]):
        with pytest.raises(pit.InvalidInput):
            engine.execute_pre_trade_many(wanted)


def test_what_became_of_each_is_known_by_its_id(engine: pit.Engine, gate: Gate) -> None:
    wanted = [gate.order(id="leg-1"), gate.order(id="leg-2")]
    first, second = engine.execute_pre_trade_many(wanted, all_or_none=True)
    assert isinstance(first, pit.Reservation) and isinstance(second, pit.Reservation)
    second.commit(venue_order_id="v2")
    assert engine.outcome(wanted[1].account, "leg-2").venue_order_id == "v2"
    assert engine.outcome(wanted[0].account, "leg-1").state is pit.OrderState.HELD
    assert second.id != first.id
