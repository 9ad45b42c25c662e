"""Answers questions about the engine, which change nothing and are not journaled."""

from __future__ import annotations

from pit import wire
from pit.types import OpenOrder, Outcome

from . import __version__
from .core.accounts import account_scope
from .core.engine import Engine
from .core.numbers import ZERO, canonical
from .core.orders import ENDED, LEASED, OrderRecord

PAGE = 1_000


def is_remembered(engine: Engine, query: wire.AskOutcome) -> bool:
    """Whether the engine itself can say what became of that order."""
    return (query.account, query.order_id) in engine.orders.by_key


def answer(engine: Engine, client: str, query: wire.Query, now_ns: int, *, sees_all: bool) -> wire.Reply:
    """The answer to a client's question; `sees_all` for operators, others see what is their own."""
    match query:
        case wire.Ping():
            return wire.Pong(now_ns, __version__)
        case wire.ListOpenOrders():
            return _open_orders(engine, client, query, now_ns)
        case wire.AskOutcome():
            return _outcome(engine, client, query, sees_all)
        case wire.ListBlocks():
            return wire.Blocks(engine.accounts.blocks())


def _open_orders(engine: Engine, client: str, query: wire.ListOpenOrders, now_ns: int) -> wire.Reply:
    most = max(1, min(query.most, PAGE))
    mine = sorted(id for id in engine.orders.by_client.get(client, ()) if id > query.after)
    page: list[OpenOrder] = []
    for at, id in enumerate(mine):
        if len(page) == most:
            return wire.OpenOrders(tuple(page), more=at < len(mine))
        record = engine.orders.open[id]
        if query.account is None or record.account == query.account:
            page.append(_open_order(record, now_ns))
    return wire.OpenOrders(tuple(page), more=False)


def _open_order(record: OrderRecord, now_ns: int) -> OpenOrder:
    assert record.order is not None
    left_s = max(0, record.lease_end_ns - now_ns) / 1e9 if record.state in LEASED else None
    return OpenOrder(
        reservation_id=record.reservation_id,
        order=record.order,
        state=record.state,
        open_quantity=canonical(record.open_quantity),
        venue_order_id=record.venue_order_id,
        lease_left_s=left_s,
        flags=record.flags,
    )


def _outcome(engine: Engine, client: str, query: wire.AskOutcome, sees_all: bool) -> wire.Reply:
    record = engine.orders.by_key.get((query.account, query.order_id))
    if record is None or not (sees_all or record.client in (client, "")):
        what = f"no order {query.order_id} of {account_scope(query.account)} is known for client {client}"
        return wire.Failed(wire.FailureCode.UNKNOWN_ID, f"{what}: rejected, never received, or closed long ago")
    return wire.OutcomeIs(
        Outcome(
            account=record.account,
            order_id=record.order_id,
            state=record.state,
            ended_by=None if record.ended_by is None else str(record.ended_by),
            reason=record.reason,
            filled_quantity=canonical(record.filled_quantity),
            open_quantity=ZERO if record.state in ENDED else canonical(record.open_quantity),
            venue_order_id=record.venue_order_id,
            flags=record.flags,
        )
    )
