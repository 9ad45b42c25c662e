"""What the venue says, and what it does to an order."""

from __future__ import annotations

from decimal import Decimal

import pytest
from conformance.gates import AAPL, Gate, open_ids, report_on, state_of, until_state

import pit
from pit import OrderState


def commit(engine: pit.Engine, order: pit.Order, venue_order_id: str | None = None) -> pit.Order:
    held = engine.execute_pre_trade(order, sent=True)
    assert isinstance(held, pit.Reservation), str(held)
    held.commit(venue_order_id=venue_order_id)
    return order


def test_accepted_makes_a_sent_order_work(engine: pit.Engine, gate: Gate) -> None:
    order = gate.order()
    held = engine.execute_pre_trade(order, sent=True)
    assert held
    result = engine.apply_execution_report(report_on(order, "accepted"))
    assert result.ok and not result.already_applied
    assert (result.order_id, result.state, result.open_quantity) == (order.id, OrderState.WORKING, 10)


def test_fills_use_the_order_up_and_the_last_one_closes_it(engine: pit.Engine, gate: Gate) -> None:
    order = commit(engine, gate.order(quantity="10"))
    first = engine.apply_execution_report(report_on(order, "fill", report_id="f1", quantity="4", price="100"))
    last = engine.apply_execution_report(report_on(order, "fill", report_id="f2", quantity="6", price="100"))
    assert [(each.state, each.open_quantity) for each in (first, last)] == [
        (OrderState.WORKING, 6),
        (OrderState.CLOSED, 0),
    ]
    outcome = engine.outcome(order.account, order.id)
    assert (outcome.ended_by, outcome.filled_quantity, outcome.open_quantity) == ("filled", 10, 0)


def test_a_fill_releases_its_share_of_the_limit(engine: pit.Engine, gate: Gate) -> None:
    order = commit(engine, gate.order(quantity="1000", price="100"))
    assert not engine.execute_pre_trade(gate.order(quantity="400"))
    engine.apply_execution_report(report_on(order, "fill", quantity="400", price="100"))
    assert not engine.execute_pre_trade(gate.order(quantity="401"))
    assert engine.execute_pre_trade(gate.order(quantity="400"))


@pytest.mark.parametrize(
    ("kind", "state"),
    [("accepted", OrderState.WORKING), ("fill", OrderState.WORKING), ("cancelled", OrderState.CLOSED)],
)
def test_a_report_settles_an_order_that_was_quarantined(
    engine: pit.Engine, gate: Gate, kind: str, state: OrderState
) -> None:
    order = gate.order()
    held = engine.execute_pre_trade(order, sent=True)
    assert isinstance(held, pit.Reservation)
    held.quarantine()
    extra = {"quantity": "1", "price": "100"} if kind == "fill" else {}
    engine.apply_execution_report(report_on(order, kind, **extra))
    assert state_of(engine, order) is state


@pytest.mark.parametrize("kind", ["cancelled", "expired", "rejected"])
def test_a_final_report_closes_it_and_releases_the_rest(engine: pit.Engine, gate: Gate, kind: str) -> None:
    order = commit(engine, gate.order(quantity="1000"))
    result = engine.apply_execution_report(report_on(order, kind))
    assert (result.state, result.open_quantity) == (OrderState.CLOSED, 0)
    assert engine.outcome(order.account, order.id).ended_by == kind
    assert engine.execute_pre_trade(gate.order(quantity="1000"))


def test_the_same_report_again_is_applied_once(engine: pit.Engine, gate: Gate) -> None:
    order = commit(engine, gate.order())
    report = report_on(order, "fill", quantity="4", price="100", pnl="-100")
    first, again = engine.apply_execution_report(report), engine.apply_execution_report(report)
    assert (first.already_applied, again.already_applied) == (False, True)
    assert (again.state, again.open_quantity) == (OrderState.WORKING, 6)
    assert engine.outcome(order.account, order.id).filled_quantity == 4


def test_the_same_report_again_after_the_close_is_already_applied(engine: pit.Engine, gate: Gate) -> None:
    order = commit(engine, gate.order())
    report = report_on(order, "cancelled")
    engine.apply_execution_report(report)
    assert engine.apply_execution_report(report).already_applied


def test_other_content_under_the_same_report_id_is_refused(engine: pit.Engine, gate: Gate) -> None:
    order = commit(engine, gate.order())
    engine.apply_execution_report(report_on(order, "fill", report_id="f", quantity="4", price="100"))
    with pytest.raises(pit.InvalidInput, match="other content"):
        engine.apply_execution_report(report_on(order, "fill", report_id="f", quantity="5", price="100"))
    assert engine.outcome(order.account, order.id).filled_quantity == 4


def test_a_report_id_is_the_orders_own(engine: pit.Engine, gate: Gate) -> None:
    one, two = commit(engine, gate.order()), commit(engine, gate.order())
    for order in (one, two):
        result = engine.apply_execution_report(report_on(order, "fill", report_id="f", quantity="1", price="100"))
        assert not result.already_applied


def test_a_venue_id_from_commit_names_the_order(engine: pit.Engine, gate: Gate) -> None:
    order = commit(engine, gate.order(), venue_order_id="V1")
    report = report_on(order, "fill", order_id=None, venue_order_id="V1", quantity="1", price="100")
    result = engine.apply_execution_report(report)
    assert (result.order_id, result.open_quantity) == (order.id, 9)


def test_a_venue_id_from_a_report_names_the_order(engine: pit.Engine, gate: Gate) -> None:
    order = commit(engine, gate.order())
    engine.apply_execution_report(report_on(order, "accepted", venue_order_id="V2"))
    result = engine.apply_execution_report(report_on(order, "cancelled", order_id=None, venue_order_id="V2"))
    assert (result.order_id, result.state) == (order.id, OrderState.CLOSED)


def test_a_report_with_another_venue_id_is_refused(engine: pit.Engine, gate: Gate) -> None:
    order = commit(engine, gate.order(), venue_order_id="V1")
    with pytest.raises(pit.InvalidInput, match="V1"):
        engine.apply_execution_report(report_on(order, "cancelled", venue_order_id="V2"))
    assert state_of(engine, order) is OrderState.WORKING


def test_a_fill_of_an_unknown_order_is_taken_as_truth_and_flagged(engine: pit.Engine, gate: Gate) -> None:
    order = gate.order()
    report = report_on(order, "fill", instrument=AAPL, quantity="1", price="100", pnl="-1000")
    result = engine.apply_execution_report(report)
    assert result.flags == ("unknown_order", "unknown_side")
    assert [block.limit for block in result.blocks] == ["day_loss"]
    assert engine.apply_execution_report(report).already_applied


def test_a_cancel_of_an_unknown_order_changes_nothing(engine: pit.Engine, gate: Gate) -> None:
    order = gate.order()
    result = engine.apply_execution_report(report_on(order, "cancelled"))
    assert (result.state, result.flags) == (None, ("unknown_order",))
    assert open_ids(engine) == []
    assert engine.execute_pre_trade(order), "the id is still free"


def test_a_fill_after_rollback_brings_the_order_back_flagged(engine: pit.Engine, gate: Gate) -> None:
    order = gate.order(quantity="1000")
    held = engine.execute_pre_trade(order, lease_s=0.2)
    assert held
    gate.pass_time(0.3)
    until_state(engine, order, OrderState.ROLLED_BACK)
    result = engine.apply_execution_report(report_on(order, "fill", quantity="1", price="100"))
    assert (result.state, result.open_quantity, result.flags) == (OrderState.WORKING, 999, ("after_rollback",))
    assert not engine.execute_pre_trade(gate.order(quantity="2")), "the rest is counted again"


def test_a_fill_after_the_close_is_flagged_and_opens_nothing(engine: pit.Engine, gate: Gate) -> None:
    order = commit(engine, gate.order())
    engine.apply_execution_report(report_on(order, "cancelled"))
    result = engine.apply_execution_report(report_on(order, "fill", quantity="1", price="100"))
    assert (result.state, result.flags) == (OrderState.CLOSED, ("after_close",))
    outcome = engine.outcome(order.account, order.id)
    assert (outcome.filled_quantity, outcome.open_quantity, outcome.flags) == (1, 0, ("after_close",))


def test_more_filled_than_was_open_is_flagged_and_never_below_zero(engine: pit.Engine, gate: Gate) -> None:
    order = commit(engine, gate.order(quantity="10"))
    result = engine.apply_execution_report(report_on(order, "fill", quantity="11", price="100"))
    assert (result.state, result.open_quantity) == (OrderState.CLOSED, 0)
    assert "overfill" in result.flags
    assert engine.outcome(order.account, order.id).filled_quantity == 11


def test_a_volume_order_is_used_up_in_money(engine: pit.Engine, gate: Gate) -> None:
    order = commit(engine, gate.order(quantity=None, volume="1000", price="100"))
    result = engine.apply_execution_report(report_on(order, "fill", quantity="4", price="100"))
    assert result.open_quantity == Decimal(600)


def test_a_clerk_may_report_and_not_trade(gate: Gate) -> None:
    clerk = gate.connect("clerk")
    engine = gate.connect("mm1")
    order = commit(engine, gate.order())
    assert clerk.apply_execution_report(report_on(order, "cancelled")).state is OrderState.CLOSED


def test_a_report_by_a_venue_id_that_several_open_orders_share_is_refused(engine: pit.Engine, gate: Gate) -> None:
    orders = [commit(engine, gate.order(), "V9") for _ in range(2)]
    by_venue = pit.ExecutionReport(
        account=orders[0].account, kind="fill", report_id="f1", venue_order_id="V9", quantity="1", price="100"
    )
    with pytest.raises(pit.InvalidInput, match=f"{orders[0].id}.*{orders[1].id}.*give report.order_id"):
        engine.apply_execution_report(by_venue)
    assert engine.outcome(orders[1].account, orders[1].id).flags == ("shared_venue_id",)
    result = engine.apply_execution_report(report_on(orders[1], "fill", report_id="f1", quantity="1", price="100"))
    assert (result.order_id, result.open_quantity) == (orders[1].id, 9)


def test_a_fill_that_the_venue_undoes_or_tells_anew(gate: Gate) -> None:
    engine, order = gate.connect(), gate.order()
    held = engine.execute_pre_trade(order, sent=True)
    assert isinstance(held, pit.Reservation)
    held.commit()
    engine.apply_execution_report(report_on(order, "fill", quantity=4, price=100, report_id="f1"))
    corrected = engine.apply_execution_report(report_on(order, "correct", quantity=5, fill_id="f1"))
    assert (corrected.open_quantity, corrected.flags) == (5, ("corrected",))
    undone = engine.apply_execution_report(report_on(order, "bust", fill_id="f1"))
    assert (undone.open_quantity, undone.flags) == (10, ("bust",))
    with pytest.raises(pit.InvalidInput, match="not known here"):
        engine.apply_execution_report(report_on(order, "bust", fill_id="f9", report_id="b9"))
    engine.apply_execution_report(report_on(order, "cancelled"))


def test_a_filled_order_of_which_a_fill_is_undone_is_open_again_until_the_venue_says_otherwise(gate: Gate) -> None:
    engine, order = gate.connect(), gate.order()
    held = engine.execute_pre_trade(order, sent=True)
    assert isinstance(held, pit.Reservation)
    filled = engine.apply_execution_report(report_on(order, "fill", quantity=10, price=100))
    assert filled.state is pit.OrderState.CLOSED
    undone = engine.apply_execution_report(report_on(order, "bust", fill_id="r-fill"))
    assert (undone.state, undone.open_quantity) == (pit.OrderState.WORKING, 10)
    assert undone.flags == ("bust", "reopened")
    assert order.id in [each.order.id for each in engine.open_orders()]
    last = engine.apply_execution_report(report_on(order, "cancelled"))
    assert last.state is pit.OrderState.CLOSED


def test_a_source_that_knows_sums_alone(gate: Gate) -> None:
    engine, order = gate.connect(), gate.order()
    held = engine.execute_pre_trade(order, sent=True)
    assert isinstance(held, pit.Reservation)
    told = {"account": order.account, "order_id": order.id, "average_price": 100}
    first = engine.apply_order_status(pit.OrderStatus(cum_quantity=4, **told))
    assert (first.state, first.open_quantity, first.already_applied) == (pit.OrderState.WORKING, 6, False)
    assert engine.apply_order_status(pit.OrderStatus(cum_quantity=4, **told)).already_applied
    engine.apply_execution_report(report_on(order, "fill", quantity=4, price=100))
    last = engine.apply_order_status(pit.OrderStatus(cum_quantity=5, status="cancelled", **told))
    assert (last.state, engine.outcome(order.account, order.id).filled_quantity) == (pit.OrderState.CLOSED, 5)
