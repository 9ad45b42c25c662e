"""The strategy loop as it is meant to be written, with every way that a send can end."""

from __future__ import annotations

import pytest
from conformance.gates import Gate, open_ids, report_on, state_of

import pit
from pit import OrderState


class VenueRefused(Exception):
    pass


class VenueSilent(Exception):
    pass


class Venue:
    """Answers a send as it was told to."""

    def __init__(self, ending: type[Exception] | None) -> None:
        self._ending = ending

    def send(self, order: pit.Order) -> str:
        if self._ending is not None:
            raise self._ending("no")
        return f"V-{order.id}"


def trade(engine: pit.Engine, venue: Venue, order: pit.Order) -> pit.Reservation | pit.Rejected:
    held = engine.execute_pre_trade(order, sent=True)
    if not held:
        return held
    try:
        venue_order_id = venue.send(order)
    except VenueRefused as no:
        held.rollback(reason=str(no))
    except VenueSilent:
        held.quarantine()
    else:
        held.commit(venue_order_id=venue_order_id)
    return held


@pytest.mark.parametrize(
    ("ending", "state"),
    [
        (None, OrderState.WORKING),
        (VenueRefused, OrderState.ROLLED_BACK),
        (VenueSilent, OrderState.QUARANTINED),
    ],
)
def test_a_send_ends_accepted_refused_or_unknown(
    engine: pit.Engine, gate: Gate, ending: type[Exception] | None, state: OrderState
) -> None:
    order = gate.order()
    assert trade(engine, Venue(ending), order)
    assert state_of(engine, order) is state


def test_a_strategy_that_crashes_in_a_send_leaves_it_counted(gate: Gate) -> None:
    order = gate.order(quantity="1000")
    with pytest.raises(RuntimeError), gate.connect("mm1") as crashed:
        trade(crashed, Venue(RuntimeError), order)
    engine = gate.connect("mm1")
    assert [each.state for each in engine.open_orders()] == [OrderState.QUARANTINED]
    assert not trade(engine, Venue(None), gate.order(quantity="1"))


def test_an_unknown_send_is_settled_by_the_venues_report(engine: pit.Engine, gate: Gate) -> None:
    order = gate.order()
    assert trade(engine, Venue(VenueSilent), order)
    engine.apply_execution_report(report_on(order, "fill", quantity="10", price="100"))
    assert state_of(engine, order) is OrderState.CLOSED


def test_the_two_stage_loop_with_mark_sent(engine: pit.Engine, gate: Gate) -> None:
    order = gate.order()
    request = engine.start_pre_trade(order)
    assert isinstance(request, pit.DeferredRequest)
    held = request.execute(lease_s=5)
    assert isinstance(held, pit.Reservation)
    with held:
        if held.mark_sent():
            held.commit(venue_order_id=Venue(None).send(order))
    assert state_of(engine, order) is OrderState.WORKING


def test_a_reject_ends_the_loop_with_nothing_held(engine: pit.Engine, gate: Gate) -> None:
    no = trade(engine, Venue(None), gate.order(quantity="1001", price="1"))
    assert isinstance(no, pit.Rejected)
    assert open_ids(engine) == []


def test_a_rejected_order_that_is_committed_by_mistake_fails_closed(engine: pit.Engine, gate: Gate) -> None:
    no = engine.execute_pre_trade(gate.order(quantity="1001", price="1"))
    with pytest.raises(AttributeError):
        no.commit()  # type: ignore[union-attr]
