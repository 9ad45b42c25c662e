"""Takes in what a drop copy says is at the venue: never refused, counted in every control, breaches flagged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pit.types import DropCopyResult, Order, Reject

from . import entry as e
from .entry import EndedBy, Failed, Failure
from .numbers import ZERO, NotRepresentable, canonical
from .orders import ENDED, WORKING, Event, OrderRecord, step
from .policy import Unvalued, whole_quantity

if TYPE_CHECKING:
    from .engine import Engine
    from .sessions import Session

DROP_COPY = "drop_copy"
"""Flags an order that never passed the gate."""

OVER_LIMIT = "over_limit"
"""Flags one that limits would have refused."""

TERMS_DIFFER = "terms_differ"
"""Flags one whose terms at the venue are not those that are known here."""


def apply(engine: Engine, command: e.DropCopy, session: Session) -> e.Reply:
    """An order is at the venue, whoever sent it. One that is known is at the venue from here on, as by its own report;
    any other is counted as working. Its fills and its end come as reports, before or after.
    """
    order = command.order
    problem = _problem(engine, order)
    if problem:
        return Failed(Failure.INVALID_INPUT, f"drop copy of order {order.id}: {problem}")
    known = engine.known(order)
    try:
        if known is None:
            return _record(engine, command, command.client or session.client, session)
        if known.order is None and known.ended_by is EndedBy.NEVER_KNOWN:
            return _adopt(engine, known, command, command.client or session.client, session)
    except (NotRepresentable, Unvalued):
        why = f"drop copy of order {order.id}: a sum would be too large to be exact"
        return Failed(Failure.INVALID_INPUT, why)
    return _confirm(engine, known, command)


def _record(engine: Engine, command: e.DropCopy, client: str, session: Session) -> e.Reply:
    """An order that never passed the gate counts by every control, as if it had."""
    order = command.order
    effects, holds, breaches = _judged(engine, order, client)
    for effect in effects:
        engine.emit(effect)
    id = engine.seq
    engine.emit(e.OrderOpened(id, order, client, session.id, WORKING, 0, 0, holds))
    return _recorded(engine, engine.orders.open[id], command, effects, breaches)


def _adopt(engine: Engine, known: OrderRecord, command: e.DropCopy, client: str, session: Session) -> e.Reply:
    """Reports of it came first, and were booked: what is left of it counts from here on."""
    order, id = command.order, known.reservation_id
    effects, holds, breaches = _judged(engine, order, client)
    listed = engine.instruments.find(order.instrument)
    assert listed is not None
    traded = known.filled_quantity
    if order.volume is not None:
        traded = listed.notional(order.price, traded) if order.price else ZERO
    left = max(whole_quantity(order) - traded, ZERO)
    shrunk = engine.pipeline.shrink(holds, order, listed, left) if left else ()
    for effect in effects:
        engine.emit(effect)
    engine.emit(e.OrderAdopted(id, order, client, session.id, left))
    if shrunk:
        engine.emit(e.HoldsReplaced(id, shrunk))
    return _recorded(engine, known, command, effects, breaches if left else ())


def _recorded(
    engine: Engine,
    record: OrderRecord,
    command: e.DropCopy,
    effects: tuple[e.Effect, ...],
    breaches: tuple[Reject, ...],
) -> e.Reply:
    flags = [DROP_COPY, *([OVER_LIMIT] if breaches else [])]
    if command.venue_order_id is not None and engine.learn_name(record, command.venue_order_id):
        flags.append("shared_venue_id")
    for flag in flags:
        if flag not in record.flags:
            engine.emit(e.OrderFlagged(record.reservation_id, flag))
    blocks = tuple(effect.block for effect in effects if type(effect) is e.Blocked)
    return e.DropCopied(_result(record, tuple(flags)), breaches, blocks)


def _confirm(engine: Engine, record: OrderRecord, command: e.DropCopy) -> e.Reply:
    """The gate knows it: it is at the venue, as its own report would say."""
    does = step(Event.ALIVE_REPORT, record)
    flags = [does.flag] if does.flag and record.state not in ENDED else []
    is_news = does.to is not None and does.to is not record.state
    if is_news and does.to is not None:
        flags = [does.flag] if does.flag else []
        engine.emit(e.OrderMoved(record.reservation_id, does.to))
    if record.order is not None and record.order != command.order:
        flags.append(TERMS_DIFFER)
    if command.venue_order_id is not None and engine.learn_name(record, command.venue_order_id):
        flags.append("shared_venue_id")
    for flag in flags:
        if flag not in record.flags:
            engine.emit(e.OrderFlagged(record.reservation_id, flag))
    return e.DropCopied(_result(record, tuple(flags), is_known=True))


def _judged(
    engine: Engine, order: Order, client: str
) -> tuple[tuple[e.Effect, ...], tuple[e.Hold, ...], tuple[Reject, ...]]:
    """What the start stage does, what the order holds, and what it would have been refused for."""
    attempt = engine.attempt_of(order, client)
    effects, rejects = engine.judge_start(attempt, None)
    holds, more = engine.pipeline.main(attempt)
    return tuple(effects), holds, engine.pipeline.in_order((*rejects, *more))


def _problem(engine: Engine, order: Order) -> str:
    """Why nothing can be counted of it, or nothing."""
    if whole_quantity(order) <= 0:
        return "a quantity above zero is wanted"
    if engine.instruments.find(order.instrument) is None:
        return f"{order.instrument} is not declared"
    return ""


def _result(record: OrderRecord, flags: tuple[str, ...], *, is_known: bool = False) -> DropCopyResult:
    return DropCopyResult(
        order_id=record.order_id,
        reservation_id=record.reservation_id,
        state=record.state,
        open_quantity=ZERO if record.state in ENDED else canonical(record.open_quantity),
        was_known=is_known,
        flags=flags,
    )
