"""pit: the client of pitd, the pre-trade risk sidecar. `connect()` and `connect_async()` give an engine.

Importing it loads no socket.
"""

from __future__ import annotations

from . import events
from .aio import AsyncDeferredRequest, AsyncEngine, AsyncReservation, Connecting
from .engine import DeferredRequest, Engine, Reservation
from .errors import (
    AlreadyFinalized,
    AnswerGone,
    CapacityExceeded,
    Closed,
    Fenced,
    Forked,
    InvalidInput,
    JournalBehind,
    LeaseExpired,
    NotAuthorized,
    OutcomeUnknown,
    PitError,
    PostedFailed,
    ProtocolError,
    Unavailable,
    UnknownId,
)
from .places import default_endpoint
from .subscription import AsyncSubscription, Position, Subscription, subscribe
from .types import (
    Block,
    ExecutionReport,
    Instrument,
    Kind,
    LimitOverride,
    OpenOrder,
    Order,
    OrderState,
    Outcome,
    Reject,
    RejectCode,
    Rejected,
    ReloadResult,
    ReportKind,
    ReportResult,
    Restriction,
    Side,
    TradingState,
)


def connect(name: str, endpoint: str | None = None, *, timeout_s: float = 1.0, read_only: bool = False) -> Engine:
    """An engine that speaks to the daemon as client `name`, which must be this process's own.

    `read_only=True` only asks: it opens no session, so that many may look under one name, also while that one trades;
    its commands raise NotAuthorized.

    `endpoint` defaults to $PITD_ENDPOINT, else to the daemon's usual place. `timeout_s` bounds every call, this one
    included. Raises Unavailable, telling a missing socket, a missing permission and silence apart; ProtocolError;
    InvalidInput for a name or endpoint that can't be meant.
    """
    from ._zmq import ZmqTransport

    transport = ZmqTransport(name, endpoint or default_endpoint(), timeout_s, read_only=read_only)
    return Engine(transport, name, timeout_s=timeout_s)


def connect_async(
    name: str, endpoint: str | None = None, *, timeout_s: float = 1.0, read_only: bool = False
) -> Connecting:
    """The same for asyncio: an `AsyncEngine` for the running event loop, once it is awaited or entered.

    `async with pit.connect_async("mm1") as engine` closes it at the end. Raises what `connect` raises.
    """

    async def make() -> AsyncEngine:
        from ._zmq_asyncio import AsyncZmqTransport

        transport = AsyncZmqTransport(name, endpoint or default_endpoint(), read_only=read_only)
        await transport.open(timeout_s)
        return AsyncEngine(transport, name, timeout_s=timeout_s)

    return Connecting(make)


__all__ = [
    "AlreadyFinalized",
    "AnswerGone",
    "AsyncDeferredRequest",
    "AsyncEngine",
    "AsyncReservation",
    "AsyncSubscription",
    "Block",
    "CapacityExceeded",
    "Closed",
    "DeferredRequest",
    "Engine",
    "ExecutionReport",
    "Fenced",
    "Forked",
    "Instrument",
    "InvalidInput",
    "JournalBehind",
    "Kind",
    "LeaseExpired",
    "LimitOverride",
    "NotAuthorized",
    "OpenOrder",
    "Order",
    "OrderState",
    "Outcome",
    "OutcomeUnknown",
    "PitError",
    "Position",
    "PostedFailed",
    "ProtocolError",
    "Reject",
    "RejectCode",
    "Rejected",
    "ReloadResult",
    "ReportKind",
    "ReportResult",
    "Reservation",
    "Restriction",
    "Side",
    "Subscription",
    "TradingState",
    "Unavailable",
    "UnknownId",
    "connect",
    "connect_async",
    "default_endpoint",
    "events",
    "subscribe",
]
