"""Cancels: what a client is about to send is counted, and noted until the venue has answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pit.types import ClearedCancel, Reject, Rejected

from . import entry as e
from .entry import Failed, Failure
from .numbers import canonical
from .orders import ENDED, HELD, OrderRecord
from .sessions import Session

if TYPE_CHECKING:
    from .engine import Engine


def cancel(engine: Engine, command: e.CancelOrder, session: Session) -> e.Reply:
    """Lets a cancel go out, or says which rate it would break. It may be any client's who may touch the account.

    Under a block, a halt or a reducing state a cancel always goes out, and so does one that a stop or a person has
    asked for: it is what brings risk down. It is counted, as what the venue sees, and no rate refuses it.
    """
    record = engine.orders.known_as(command.account, command.order_id)
    if record is None or record.order is None or record.listed is None:
        why = f"no order {command.order_id} of account {command.account} is known, or it closed long ago"
        return Failed(Failure.UNKNOWN_ID, why)
    engine.lapse_if_due(record)
    if record.state in ENDED:
        why = f"cancel of order {record.order_id}: it was {record.state} before ({record.ended_by})"
        return Failed(Failure.ALREADY_FINALIZED, why)
    if record.state is HELD:
        why = f"cancel of order {record.order_id}: it is held and was not sent; roll it back"
        return Failed(Failure.INVALID_INPUT, why)
    is_own = session.client in (record.client, record.asked_by)
    attempt = engine.attempt_of(record.order, record.asked_by if is_own else session.client)
    effects, rejects = engine.pipeline.cancel(attempt)
    for effect in effects:
        engine.emit(effect)
    noted = attempt.shadow_rejects
    if (rejects or noted) and (is_stopped(engine, record) or engine.cancels.is_asked(record.reservation_id)):
        rejects = noted = ()  # no limit, live or shadow, would refuse it
    if rejects:
        return e.Refused(Rejected(order_id=record.order_id, rejects=rejects, shadow_rejects=noted))
    engine.emit(e.CancelAsked(record.reservation_id, session.client))
    return e.CancelCleared(cleared(record, noted))


def is_stopped(engine: Engine, record: OrderRecord) -> bool:
    """Whether anything keeps new risk of this order's account, instrument or client from going out."""
    assert record.listed is not None
    group = engine.accounts.group_of(record.account)
    restricted = engine.trading.over(record.account, group, record.listed.symbol)
    return bool(restricted or engine.accounts.blocks_on(record.account, record.asked_by, record.client))


def cleared(record: OrderRecord, shadow_rejects: tuple[Reject, ...] = ()) -> ClearedCancel:
    return ClearedCancel(
        account=record.account,
        order_id=record.order_id,
        venue_order_id=record.venue_order_id,
        state=record.state,
        open_quantity=canonical(record.may_trade),
        shadow_rejects=shadow_rejects,
    )


def do_asked(engine: Engine, effect: e.CancelAsked) -> None:
    record = engine.orders.open[effect.reservation_id]
    record.cancel_asked_ns, record.cancel_asked_by = engine.now_ns, effect.client
    record.heard_ns = engine.now_ns


def do_refused(engine: Engine, effect: e.CancelRefused) -> None:
    record = engine.orders.find(effect.reservation_id)
    assert record is not None
    record.cancel_asked_ns, record.cancel_asked_by = 0, ""
    engine.cancels.refused(effect.reservation_id, effect.again_ns, engine.seq, engine.now_ns)


__all__ = ["cancel", "cleared", "do_asked", "do_refused", "is_stopped"]
