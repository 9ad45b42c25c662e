"""The way of an order through the gate, in two stages and in one step."""

from __future__ import annotations

from decimal import Decimal

import pytest
from conformance.gates import PACED, Gate, open_ids, state_of

import pit
from pit import OrderState


def test_an_order_in_bounds_passes_both_stages(engine: pit.Engine, gate: Gate) -> None:
    order = gate.order()
    request = engine.start_pre_trade(order)
    assert isinstance(request, pit.DeferredRequest)
    assert request and request.ok and request.order == order
    held = request.execute()
    assert isinstance(held, pit.Reservation)
    assert held and held.ok and held.order == order and held.state is OrderState.HELD


def test_the_start_stage_alone_holds_nothing(engine: pit.Engine, gate: Gate) -> None:
    request = engine.start_pre_trade(gate.order())
    assert request
    assert engine.open_orders() == []


def test_one_step_does_what_two_stages_do(engine: pit.Engine, gate: Gate) -> None:
    held = engine.execute_pre_trade(gate.order())
    assert isinstance(held, pit.Reservation)
    assert held.state is OrderState.HELD


@pytest.mark.parametrize("sent", [False, True])
def test_sent_true_counts_it_as_sent_from_the_check_on(engine: pit.Engine, gate: Gate, sent: bool) -> None:
    one, two = gate.order(), gate.order()
    wanted = OrderState.SENT if sent else OrderState.HELD
    held = engine.execute_pre_trade(one, sent=sent)
    request = engine.start_pre_trade(two)
    assert isinstance(request, pit.DeferredRequest)
    executed = request.execute(sent=sent)
    assert isinstance(held, pit.Reservation) and isinstance(executed, pit.Reservation)
    assert [held.state, executed.state, state_of(engine, one), state_of(engine, two)] == [wanted] * 4


def test_a_request_is_executed_once(engine: pit.Engine, gate: Gate) -> None:
    request = engine.start_pre_trade(gate.order())
    assert isinstance(request, pit.DeferredRequest)
    held = request.execute()
    assert held
    with pytest.raises(pit.AlreadyFinalized, match="executed before"):
        request.execute()
    assert len(engine.open_orders()) == 1


def test_a_request_that_waited_too_long_is_not_executed(engine: pit.Engine, gate: Gate) -> None:
    request = engine.start_pre_trade(gate.order())
    assert isinstance(request, pit.DeferredRequest)
    gate.pass_time(request.lease_left_s + 0.1)
    assert request.lease_left_s == 0
    with pytest.raises(pit.LeaseExpired):
        request.execute()
    assert engine.open_orders() == []


def test_a_request_of_another_client_is_not_executed(engine: pit.Engine, gate: Gate) -> None:
    other = gate.connect("mm2")
    request = engine.start_pre_trade(gate.order())
    assert isinstance(request, pit.DeferredRequest)
    stolen = pit.DeferredRequest.__new__(pit.DeferredRequest)
    stolen.__dict__.update(request.__dict__, _engine=other)
    with pytest.raises(pit.NotAuthorized):
        stolen.execute()
    assert request.execute()


def test_a_request_let_go_is_over_with_the_next_call(engine: pit.Engine, gate: Gate) -> None:
    request = engine.start_pre_trade(gate.order())
    assert isinstance(request, pit.DeferredRequest)
    again = pit.DeferredRequest.__new__(pit.DeferredRequest)
    again.__dict__.update(request.__dict__, _is_over=True)
    del request
    engine.ping()
    with pytest.raises(pit.LeaseExpired, match="dropped"):
        again.execute()


def test_start_stage_controls_see_orders_that_another_control_rejects(engine: pit.Engine, gate: Gate) -> None:
    """Two attempts that are too large use up the rate of two."""
    for _ in range(2):
        no = engine.execute_pre_trade(gate.order(instrument=PACED, quantity="1001", price="1"))
        assert isinstance(no, pit.Rejected)
        assert no.code is pit.RejectCode.ORDER_QTY_EXCEEDS_LIMIT
    no = engine.execute_pre_trade(gate.order(instrument=PACED, quantity="1"))
    assert isinstance(no, pit.Rejected)
    assert no.code is pit.RejectCode.RATE_LIMIT_EXCEEDED
    assert no.retry_after_s is not None and 0 < no.retry_after_s <= 3600


def test_nothing_is_held_of_an_order_that_one_control_refuses(engine: pit.Engine, gate: Gate) -> None:
    assert not engine.execute_pre_trade(gate.order(quantity="1000", price="101"))
    assert engine.execute_pre_trade(gate.order(quantity="1000", price="100")), "all of the limit is still free"


def test_every_control_that_says_no_is_heard(engine: pit.Engine, gate: Gate) -> None:
    for _ in range(2):
        assert engine.execute_pre_trade(gate.order(instrument=PACED, quantity="1"))
    no = engine.start_pre_trade(gate.order(instrument=PACED, quantity="1001", price="1"))
    assert isinstance(no, pit.Rejected)
    assert no.codes == (pit.RejectCode.ORDER_QTY_EXCEEDS_LIMIT, pit.RejectCode.RATE_LIMIT_EXCEEDED)


def test_the_main_stage_is_checked_when_it_is_executed(engine: pit.Engine, gate: Gate) -> None:
    """Both requests pass the start stage; there is room for one."""
    one = engine.start_pre_trade(gate.order(quantity="600", price="100"))
    two = engine.start_pre_trade(gate.order(quantity="600", price="100"))
    assert isinstance(one, pit.DeferredRequest) and isinstance(two, pit.DeferredRequest)
    held = one.execute()
    no = two.execute()
    assert held
    assert isinstance(no, pit.Rejected)
    assert no.code is pit.RejectCode.RISK_LIMIT_EXCEEDED


def test_the_same_order_again_is_the_same_answer(engine: pit.Engine, gate: Gate) -> None:
    order = gate.order(quantity="600")
    first, again = engine.execute_pre_trade(order), engine.execute_pre_trade(order)
    assert isinstance(first, pit.Reservation) and isinstance(again, pit.Reservation)
    assert (again.id, again.replayed, first.replayed) == (first.id, True, False)
    assert open_ids(engine) == [order.id]


def test_the_same_order_again_as_sent_marks_it_sent(engine: pit.Engine, gate: Gate) -> None:
    order = gate.order()
    first, again = engine.execute_pre_trade(order), engine.execute_pre_trade(order, sent=True)
    assert isinstance(first, pit.Reservation) and isinstance(again, pit.Reservation)
    assert again.state is OrderState.SENT


@pytest.mark.parametrize("other", [{"quantity": "11"}, {"price": "99"}, {"side": "sell"}])
def test_an_id_used_again_for_another_order_is_rejected(engine: pit.Engine, gate: Gate, other: dict[str, str]) -> None:
    order = gate.order(id="once")
    held = engine.execute_pre_trade(order)
    assert held
    changed = gate.order(id="once", **other)
    for answer in (engine.execute_pre_trade(changed), engine.start_pre_trade(changed)):
        assert isinstance(answer, pit.Rejected)
        assert answer.code is pit.RejectCode.DUPLICATE_CLIENT_ORDER_ID
        assert "once" in answer.reason
    assert [each.order for each in engine.open_orders()] == [order]


def test_an_id_of_a_closed_order_is_not_used_again(engine: pit.Engine, gate: Gate) -> None:
    order = gate.order()
    held = engine.execute_pre_trade(order)
    assert isinstance(held, pit.Reservation)
    held.rollback(reason="venue refused")
    no = engine.execute_pre_trade(order)
    assert isinstance(no, pit.Rejected)
    assert no.code is pit.RejectCode.DUPLICATE_CLIENT_ORDER_ID


def test_an_id_is_unique_for_an_account_not_for_all(engine: pit.Engine, gate: Gate) -> None:
    assert engine.execute_pre_trade(gate.order(id="one"))
    assert engine.execute_pre_trade(gate.order(id="one", account=gate.name("beta")))


def test_a_rejected_order_does_not_use_its_id_up(engine: pit.Engine, gate: Gate) -> None:
    assert not engine.execute_pre_trade(gate.order(id="retry", quantity="1001", price="1"))
    assert engine.execute_pre_trade(gate.order(id="retry", quantity="10"))


def test_an_id_that_is_not_given_is_made(engine: pit.Engine, gate: Gate) -> None:
    order = gate.order()
    held = engine.execute_pre_trade(order)
    assert held
    assert len(order.id) == 18 and order.id.isalnum() and order.id == order.id.lower()
    assert open_ids(engine) == [order.id]


def test_a_reservation_that_is_let_go_is_given_back_with_the_next_call(engine: pit.Engine, gate: Gate) -> None:
    order = gate.order()
    assert engine.execute_pre_trade(order)
    assert open_ids(engine) == []
    assert engine.outcome(order.account, order.id).ended_by == "dropped"


def test_a_declared_instrument_goes_by_its_symbol_and_multiplier(engine: pit.Engine, gate: Gate) -> None:
    held = engine.execute_pre_trade(gate.order(instrument="ESZ6", quantity="1", price="2000"))
    assert held, "50 × 2000 USD is all there is"
    no = engine.execute_pre_trade(gate.order(instrument="ESZ6", quantity="1", price="0.25"))
    assert isinstance(no, pit.Rejected)
    assert (no.used, no.requested) == (100_000, Decimal("12.5"))
