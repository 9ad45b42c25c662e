"""Several orders in one entry: one after the other, or all of them or none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from pit.types import Order, Reject, RejectCode, Rejected

from . import entry as e
from .entry import Failed, Failure, Hold
from .orders import HELD, SENT, OrderRecord
from .policy import whole_quantity

if TYPE_CHECKING:
    from .engine import Engine
    from .policy import Attempt
    from .sessions import Session

MOST = 100
"""So many orders are checked in one entry."""

ALL_OR_NONE = "all_or_none"
"""What stands for the limit that refuses an order because another one is refused."""


def check_many(engine: Engine, command: e.CheckMany, session: Session) -> e.Reply:
    """Answers for each order, in order. Each counts for those after it."""
    orders = command.orders
    if not 0 < len(orders) <= MOST:
        return Failed(Failure.INVALID_INPUT, f"1 to {MOST} orders are wanted, not {len(orders)}")
    keys = {(order.account, order.id) for order in orders}
    if len(keys) < len(orders):
        return Failed(Failure.INVALID_INPUT, "two of the orders have the same id; each needs one of its own")
    if command.all_or_none:
        return _all_or_none(engine, command, session)
    answers = []
    for leg, order in enumerate(orders):
        reply = engine.check_leg(e.CheckOrder(order, command.sent, command.lease_ns), session, leg)
        assert isinstance(reply, e.Accepted | e.Refused)
        answers.append(reply)
    return e.ManyChecked(tuple(answers))


class _Leg(NamedTuple):
    order: Order
    attempt: Attempt
    rejects: tuple[Reject, ...]
    holds: tuple[Hold, ...] = ()
    known: OrderRecord | None = None
    """The order as it is open already: it was asked for before."""


def _all_or_none(engine: Engine, command: e.CheckMany, session: Session) -> e.Reply:
    """Each order is judged as if those before it were held, and all of them are taken, or none. What the start stage
    does, such as counting an attempt, is done either way.
    """
    legs: list[_Leg] = []
    leaning: list[OrderRecord] = []
    try:
        for place, order in enumerate(command.orders):
            leg = _judged(engine, order, session, sent=command.sent)
            legs.append(leg)
            if leg.known is None and not leg.rejects:
                leaning.append(_lean(engine, leg, place, session))
    finally:
        for record in reversed(leaning):
            _lean_no_more(engine, record)
    refused = [leg for leg in legs if leg.rejects]
    if refused:
        return e.ManyChecked(tuple(_refused(leg, refused[0]) for leg in legs))
    answers: list[e.Accepted | e.Refused] = []
    for place, leg in enumerate(legs):
        if leg.known is not None:
            reply = engine.accepted_again(leg.known, command.sent)
        else:
            reply = engine.open_leg(place, leg.attempt, session, command.sent, command.lease_ns, leg.holds)
        assert isinstance(reply, e.Accepted | e.Refused)
        answers.append(reply)
    return e.ManyChecked(tuple(answers))


def _judged(engine: Engine, order: Order, session: Session, *, sent: bool) -> _Leg:
    """What both stages say to an order. What the start stage does is done."""
    known = engine.known(order)
    attempt = engine.attempt_of(order, session.client)
    if known is not None and engine.is_retry(known, order, session):
        stops = engine.stops_on_open(known) if sent and known.state is HELD else ()
        return _Leg(order, attempt, stops, known=known)
    rejects = engine.start_stage(attempt, known)
    if not rejects:  # the start stage itself may have tripped a switch
        rejects = engine.stops_on(order, attempt.listed, attempt.client)
    holds: tuple[Hold, ...] = ()
    if not rejects:
        holds, rejects = engine.pipeline.main(attempt)
    return _Leg(order, attempt, rejects, holds)


def _lean(engine: Engine, leg: _Leg, place: int, session: Session) -> OrderRecord:
    """Has those after it see an order as held, until all are judged."""
    record = OrderRecord(
        reservation_id=0,
        account=leg.order.account,
        order_id=leg.order.id,
        order=leg.order,
        listed=leg.attempt.listed,
        client=session.client,
        session=session.id,
        state=SENT,
        open_quantity=whole_quantity(leg.order),
        holds=leg.holds,
    )
    try:
        for hold in leg.holds:
            engine.policies[hold.policy].apply(hold.effect)
        engine.orders.expect(record)
    except Exception as trouble:
        raise engine.broken_off(record, trouble, "check") from trouble
    return record


def _lean_no_more(engine: Engine, record: OrderRecord) -> None:
    try:
        engine.orders.expect_no_more(record)
        for hold in reversed(record.holds):
            engine.policies[hold.policy].undo(hold.effect)
    except Exception as trouble:
        raise engine.broken_off(record, trouble, "check") from trouble


def _refused(leg: _Leg, first: _Leg) -> e.Refused:
    """An order's own noes; of one that would pass, that another one did not."""
    rejects: Sequence[Reject] = leg.rejects
    if not rejects:
        why = f"it would pass, and is refused with order {first.order.id}: {first.rejects[0]}"
        scope = f"account {leg.order.account}"
        rejects = (Reject(code=RejectCode.OTHER, policy="engine", limit=ALL_OR_NONE, scope=scope, reason=why),)
    noted = leg.attempt.shadow_rejects
    return e.Refused(Rejected(order_id=leg.order.id, rejects=tuple(rejects), shadow_rejects=noted))
