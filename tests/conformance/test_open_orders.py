"""How a strategy finds its own orders, and settles what an earlier process of it left behind."""

from __future__ import annotations

import pytest
from conformance.gates import Gate, open_ids, report_on, state_of, until_state

import pit
from pit import OrderState


def test_open_orders_are_listed_with_where_they_stand(engine: pit.Engine, gate: Gate) -> None:
    orders = [gate.order() for _ in range(4)]
    kept = [engine.execute_pre_trade(order, sent=at > 0) for at, order in enumerate(orders)]
    assert all(isinstance(each, pit.Reservation) for each in kept)
    assert isinstance(kept[2], pit.Reservation) and isinstance(kept[3], pit.Reservation)
    kept[2].quarantine()
    kept[3].commit(venue_order_id="V3")
    listed = engine.open_orders()
    assert [each.order for each in listed] == orders
    assert [each.state for each in listed] == [
        OrderState.HELD,
        OrderState.SENT,
        OrderState.QUARANTINED,
        OrderState.WORKING,
    ]
    assert [each.lease_left_s is None for each in listed] == [False, False, True, True]
    assert [each.venue_order_id for each in listed] == [None, None, None, "V3"]


def test_what_has_ended_is_not_listed(engine: pit.Engine, gate: Gate) -> None:
    one, two = engine.execute_pre_trade(gate.order()), engine.execute_pre_trade(gate.order())
    assert isinstance(one, pit.Reservation) and isinstance(two, pit.Reservation)
    one.rollback()
    two.commit()
    engine.apply_execution_report(report_on(two.order, "cancelled"))
    assert engine.open_orders() == []


def test_open_orders_show_what_may_still_trade(engine: pit.Engine, gate: Gate) -> None:
    held = engine.execute_pre_trade(gate.order(quantity="10"), sent=True)
    assert held
    engine.apply_execution_report(report_on(held.order, "fill", quantity="3", price="100"))
    assert [each.open_quantity for each in engine.open_orders()] == [7]


def test_open_orders_of_one_account(engine: pit.Engine, gate: Gate) -> None:
    here, there = gate.order(), gate.order(account=gate.name("beta"))
    kept = [engine.execute_pre_trade(order) for order in (here, there)]
    assert all(kept)
    assert [each.order for each in engine.open_orders(there.account)] == [there]
    assert engine.open_orders(gate.name("gamma")) == []


def test_each_client_sees_its_own(engine: pit.Engine, gate: Gate) -> None:
    other = gate.connect("mm2")
    mine, theirs = engine.execute_pre_trade(gate.order()), other.execute_pre_trade(gate.order())
    assert isinstance(mine, pit.Reservation) and isinstance(theirs, pit.Reservation)
    assert open_ids(engine) == [mine.order.id]
    assert open_ids(other) == [theirs.order.id]


def test_open_orders_come_whole_and_oldest_first_however_many(engine: pit.Engine, gate: Gate) -> None:
    """Around the edges of the pages that they are fetched in."""
    ids: list[str | None] = []
    for count in (499, 500, 501, 1_001):
        while len(ids) < count:
            held = engine.execute_pre_trade(gate.order(quantity="1", price="1"), sent=True)
            assert isinstance(held, pit.Reservation)
            held.commit()
            ids.append(held.order.id)
        assert open_ids(engine) == ids


def test_pages_are_whole_when_most_orders_are_another_accounts(engine: pit.Engine, gate: Gate) -> None:
    wanted = []
    for at in range(620):
        order = gate.order(quantity="1", price="1", account=gate.name("beta" if at % 100 == 0 else "alpha"))
        held = engine.execute_pre_trade(order, sent=True)
        assert isinstance(held, pit.Reservation)
        held.commit()
        if at % 100 == 0:
            wanted.append(order.id)
    assert [each.order.id for each in engine.open_orders(gate.name("beta"))] == wanted


@pytest.mark.parametrize(("settle", "left"), [("commit", OrderState.WORKING), ("rollback", OrderState.ROLLED_BACK)])
def test_a_restarted_strategy_settles_what_it_had_sent(gate: Gate, settle: str, left: OrderState) -> None:
    order = gate.order()
    with gate.connect("mm1") as before:
        held = before.execute_pre_trade(order, sent=True)
        assert held
    after = gate.connect("mm1")
    until_state(after, order, OrderState.QUARANTINED)
    (found,) = after.open_orders()
    assert found.order == order
    getattr(after.reservation(found), settle)()
    assert state_of(after, order) is left


def test_the_handle_of_an_open_order_drops_nothing_when_it_is_let_go(engine: pit.Engine, gate: Gate) -> None:
    held = engine.execute_pre_trade(gate.order())
    assert held
    for found in engine.open_orders():
        assert engine.reservation(found).lease_left_s > 0
    engine.ping()
    assert open_ids(engine) == [held.order.id]


def test_an_outcome_tells_what_became_of_an_order(engine: pit.Engine, gate: Gate) -> None:
    held = engine.execute_pre_trade(gate.order(), sent=True)
    assert isinstance(held, pit.Reservation)
    held.commit(venue_order_id="V1")
    engine.apply_execution_report(report_on(held.order, "fill", quantity="3", price="100"))
    engine.apply_execution_report(report_on(held.order, "expired"))
    outcome = engine.outcome(held.order.account, held.order.id)
    assert outcome == pit.Outcome(
        account=held.order.account,
        order_id=held.order.id,
        state=OrderState.CLOSED,
        ended_by="expired",
        reason="",
        filled_quantity=outcome.filled_quantity,
        open_quantity=outcome.open_quantity,
        venue_order_id="V1",
    )
    assert (outcome.filled_quantity, outcome.open_quantity) == (3, 0)
