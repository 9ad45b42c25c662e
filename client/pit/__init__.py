"""pit: the client of pitd, the pre-trade risk sidecar. `connect()` and `connect_async()` give an engine.

Importing it loads no socket.
"""

from __future__ import annotations

from pathlib import Path

from . import events, keys
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
from .explained import DryRun, Explanation, LimitExplained, LimitUse, LimitUser
from .places import default_endpoint
from .subscription import AsyncSubscription, Position, Subscription, subscribe
from .types import (
    AccountBalance,
    AccountPosition,
    AdjustmentResult,
    BalanceAdjustment,
    Block,
    Calendar,
    CalendarDay,
    CancelRequest,
    ClearedCancel,
    DropCopyResult,
    ExecutionReport,
    Instrument,
    Kind,
    LimitOverride,
    MarketHours,
    OpenModify,
    OpenOrder,
    Order,
    OrderState,
    OrderStatus,
    Outcome,
    PnlAdjustment,
    PositionAdjustment,
    Reject,
    RejectCode,
    Rejected,
    ReloadResult,
    ReportKind,
    ReportResult,
    Restriction,
    Side,
    TimeInForce,
    TradingState,
    VenueState,
)


def connect(
    name: str,
    endpoint: str | None = None,
    *,
    timeout_s: float = 1.0,
    read_only: bool = False,
    key_file: str | Path | None = None,
    server_key: str | Path | None = None,
) -> Engine:
    """An engine that speaks to the daemon as client `name`, which must be this process's own.

    `read_only=True` only asks: it opens no session, so that many may look under one name, also while that one trades;
    its commands raise NotAuthorized.

    `endpoint` defaults to $PITD_ENDPOINT, else to the daemon's usual place. `timeout_s` bounds every call, this one
    included. A daemon that asks for keys over tcp takes `key_file`, where this client's secret key is (made by
    `pitd keygen`), and `server_key`, the daemon's public key or its file; they default to $PITD_KEY_FILE and
    $PITD_SERVER_KEY. Raises Unavailable, telling a missing socket, a missing permission and silence apart;
    NotAuthorized when the name or key is not known there; ProtocolError; InvalidInput for a name, endpoint or key file
    that can't be meant.
    """
    from ._zmq import ZmqTransport

    endpoint = endpoint or default_endpoint()
    curve = keys.curve(endpoint, key_file, server_key)
    transport = ZmqTransport(name, endpoint, timeout_s, read_only=read_only, curve=curve)
    return Engine(transport, name, timeout_s=timeout_s)


def connect_async(
    name: str,
    endpoint: str | None = None,
    *,
    timeout_s: float = 1.0,
    read_only: bool = False,
    key_file: str | Path | None = None,
    server_key: str | Path | None = None,
) -> Connecting:
    """The same for asyncio: an `AsyncEngine` for the running event loop, once it is awaited or entered.

    `async with pit.connect_async("mm1") as engine` closes it at the end. Raises what `connect` raises.
    """

    async def make() -> AsyncEngine:
        from ._zmq_asyncio import AsyncZmqTransport

        place = endpoint or default_endpoint()
        curve = keys.curve(place, key_file, server_key)
        transport = AsyncZmqTransport(name, place, read_only=read_only, curve=curve)
        await transport.open(timeout_s)
        return AsyncEngine(transport, name, timeout_s=timeout_s)

    return Connecting(make)


__all__ = [
    "AccountBalance",
    "AccountPosition",
    "AdjustmentResult",
    "AlreadyFinalized",
    "AnswerGone",
    "AsyncDeferredRequest",
    "AsyncEngine",
    "AsyncReservation",
    "AsyncSubscription",
    "BalanceAdjustment",
    "Block",
    "Calendar",
    "CalendarDay",
    "CancelRequest",
    "CapacityExceeded",
    "ClearedCancel",
    "Closed",
    "DeferredRequest",
    "DropCopyResult",
    "DryRun",
    "Engine",
    "ExecutionReport",
    "Explanation",
    "Fenced",
    "Forked",
    "Instrument",
    "InvalidInput",
    "JournalBehind",
    "Kind",
    "LeaseExpired",
    "LimitExplained",
    "LimitOverride",
    "LimitUse",
    "LimitUser",
    "MarketHours",
    "NotAuthorized",
    "OpenModify",
    "OpenOrder",
    "Order",
    "OrderState",
    "OrderStatus",
    "Outcome",
    "OutcomeUnknown",
    "PitError",
    "PnlAdjustment",
    "Position",
    "PositionAdjustment",
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
    "TimeInForce",
    "TradingState",
    "Unavailable",
    "UnknownId",
    "VenueState",
    "connect",
    "connect_async",
    "default_endpoint",
    "events",
    "subscribe",
]
