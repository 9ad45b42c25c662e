"""What goes into the engine and what comes out of it: entries, effects and replies, in the journal's own language."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic

import msgspec

from pit.types import (
    Adjustment,
    AdjustmentResult,
    Block,
    ClearedCancel,
    DropCopyResult,
    ExecutionReport,
    Order,
    OrderState,
    OrderStatus,
    Reject,
    Rejected,
    ReportResult,
    Restriction,
    Side,
    TradingState,
)

from .instruments import Listed
from .overrides import Override
from .prices import Quote

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    E = TypeVar("E", default=Any)
else:
    from typing import TypeVar

    E = TypeVar("E")
# A policy's effect. Who reads rows says which there are: `Hold[A | B]`; everybody else leaves it open.


class Record(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """A tagged array in the journal. Fields are only ever appended, with defaults."""


class Configured(Record, frozen=True):
    """The effective configuration: whole, as JSON text, for people and for replay; and what the engine itself needs.

    `changes` says in words what is different from before, where it is known.
    """

    settings: str
    author: str
    reason: str
    instruments: tuple[Listed, ...] = ()
    groups: dict[str, str] = {}
    changes: tuple[str, ...] = ()


# ---------------------------------------------------------------------------------------------- commands


class StartOrder(Record, frozen=True):
    order: Order


class ExecuteRequest(Record, frozen=True):
    request_id: int
    sent: bool
    lease_ns: int | None


class CheckOrder(Record, frozen=True):
    """Both stages in one step."""

    order: Order
    sent: bool
    lease_ns: int | None


class CheckMany(Record, frozen=True):
    """Both stages for several orders, each of which counts for those after it; all of them or none, where that is
    wanted.
    """

    orders: tuple[Order, ...]
    sent: bool
    lease_ns: int | None
    all_or_none: bool = False


class DropCopy(Record, frozen=True):
    """An order is at the venue, whoever sent it: `client` has, where that is not the one who says so."""

    order: Order
    venue_order_id: str | None = None
    client: str = ""


class MarkSent(Record, frozen=True):
    reservation_id: int


class Commit(Record, frozen=True):
    reservation_id: int
    venue_order_id: str | None
    late: bool


class Rollback(Record, frozen=True):
    reservation_id: int
    reason: str


class Quarantine(Record, frozen=True):
    reservation_id: int
    reason: str


class Renew(Record, frozen=True):
    reservation_id: int
    lease_ns: int | None


class Drop(Record, frozen=True):
    reservation_ids: tuple[int, ...]
    request_ids: tuple[int, ...]


class ApplyReport(Record, frozen=True):
    report: ExecutionReport


class ApplyStatus(Record, frozen=True):
    status: OrderStatus


class EndOwnSession(Record, frozen=True):
    pass


class BlockScope(Record, frozen=True):
    """`cancel`: what is open of it is to be cancelled as well."""

    scope: str
    reason: str
    cancel: bool = False


class UnblockScope(Record, frozen=True):
    scope: str
    reason: str


class CancelAll(Record, frozen=True):
    """A person wants every open order of a scope cancelled, and stops nothing."""

    scope: str
    reason: str


class Rearm(Record, frozen=True):
    limit: str
    scope: str
    room: Decimal
    reason: str


class SettleOrder(Record, frozen=True):
    """A person's word on an order: it is working at the venue, or it was never sent."""

    account: str
    order_id: str
    working: bool
    reason: str


class CloseOrder(Record, frozen=True):
    account: str
    order_id: str
    reason: str


class AcceptHistory(Record, frozen=True):
    """A person's word that trading may go on from what this journal knows, though a client knew more."""

    reason: str


class SetTradingState(Record, frozen=True):
    scope: str
    state: TradingState
    reason: str
    cancel: bool = False


class ShutDown(Record, frozen=True):
    """Changes nothing here: it is the record of who ended the daemon, and why."""

    reason: str


class SetLimit(Record, frozen=True):
    """Puts numbers of a limit, by their keys, in the place of the configured ones: until cleared, or for so long, or
    until a moment of wall time.
    """

    limit: str
    values: tuple[tuple[str, str], ...]
    reason: str
    lasts_ns: int | None = None
    until_wall_ns: int | None = None


class SetLimits(Record, frozen=True):
    """The same for several limits at once: all of it comes into force, or nothing."""

    limits: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    reason: str
    lasts_ns: int | None = None
    until_wall_ns: int | None = None


class ClearLimit(Record, frozen=True):
    """Lets the configured number hold again; without a key all of that limit."""

    limit: str
    key: str | None
    reason: str


class Reload(Record, frozen=True):
    """A person has the configuration read again. `waiting`: what was written, and comes with the next start only;
    `past`: the bounds that were reached before they held.
    """

    configured: Configured
    waiting: tuple[str, ...] = ()
    past: tuple[str, ...] = ()


class TakeOrder(Record, frozen=True):
    """A gateway will send an order that a strategy holds: it counts as sent, and is the gateway's from here on."""

    account: str
    order_id: str
    lease_ns: int | None


class AdjustAccounts(Record, frozen=True):
    """Sets or moves what accounts have, hold and have made: all of it, or nothing; by an id of the sender's."""

    id: str
    adjustments: tuple[Adjustment, ...]
    reason: str
    imported: tuple[str, ...] = ()


class ModifyOrder(Record, frozen=True):
    """A working order is to have other terms; what is None stays as it is."""

    account: str
    order_id: str
    quantity: Decimal | None
    price: Decimal | None
    volume: Decimal | None
    new_id: str | None
    sent: bool
    lease_ns: int | None


class CancelOrder(Record, frozen=True):
    """A client is about to send a cancel of an order."""

    account: str
    order_id: str


class SettleModify(Record, frozen=True):
    """A person's word on a modify: the venue goes by the new terms, or stays with the old ones."""

    account: str
    order_id: str
    replaced: bool
    reason: str


Command = (
    StartOrder
    | ExecuteRequest
    | CheckOrder
    | MarkSent
    | Commit
    | Rollback
    | Quarantine
    | Renew
    | Drop
    | ApplyReport
    | EndOwnSession
    | BlockScope
    | UnblockScope
    | Rearm
    | SettleOrder
    | CloseOrder
    | AcceptHistory
    | SetTradingState
    | ShutDown
    | SetLimit
    | ClearLimit
    | Reload
    | TakeOrder
    | AdjustAccounts
    | ModifyOrder
    | SettleModify
    | CancelOrder
    | ApplyStatus
    | CheckMany
    | DropCopy
    | CancelAll
    | SetLimits
)


# ---------------------------------------------------------------------------------------------- entries


class SessionOpened(Record, frozen=True):
    """The entry's own sequence number is the session's id."""

    client: str
    token: bytes


class SessionEnded(Record, frozen=True):
    session: int
    reason: str


class LeasesDue(Record, frozen=True):
    """Ends at most so many of the leases that have run out."""

    most: int


class OverridesDue(Record, frozen=True):
    """That moment of wall time has come: ends the overrides that last no longer."""

    wall_ns: int


class DayDue(Record, frozen=True):
    """By the calendar a day begins for these scopes (the firm, accounts), and the one before it ends if it has not."""

    scopes: tuple[str, ...]
    day: str
    at_wall_ns: int


class DayEndDue(Record, frozen=True):
    """By the calendar the day of these scopes ends; the next one begins later."""

    scopes: tuple[str, ...]
    at_wall_ns: int


class HoursDue(Record, frozen=True):
    """By its hours the market that a limit names is open, or closed, until then (for people)."""

    limit: str
    is_open: bool
    until: str


class DayOrdersDue(Record, frozen=True):
    """Closes at most so many of the orders that were good for a day that is over."""

    most: int


class QuotesMoved(Record, frozen=True):
    """Nobody asked for anything: P&L is looked at by the quotes that it brings, or that entries before it have: that of
    the accounts that are due, by name after the one, up to the other ("" for the end).
    """

    after: str = ""
    upto: str = ""


class CancelsDue(Record, frozen=True):
    """Goes on asking for cancels, and passes on those that owners have not confirmed in time: so many at the most."""

    most: int


class CancelsRead(Record, frozen=True):
    """A client is being told that these orders are to be cancelled."""

    client: str
    reservation_ids: tuple[int, ...]


class Resumed(Record, frozen=True):
    """The loop was away: every lease that has not been ended gets one more full length.

    `epoch` is the name, drawn at random, of a process that begins to serve; empty for one that goes on.
    """

    away_ns: int
    epoch: bytes = b""


class Commanded(Record, frozen=True):
    """A session's command, by its number; `digest` tells a retry from another command under the same number."""

    session: int
    number: int
    acked: int
    digest: bytes
    command: Command


class NumberVoided(Record, frozen=True):
    """A session gave up on a number: unless it was executed before, it never will be."""

    session: int
    number: int
    acked: int = 0


class HistoryDisputed(Record, frozen=True):
    """A client has seen entries that this history does not have: its tail must have been cut."""

    client: str
    seen_seq: int


class Poisoned(Record, frozen=True):
    """What stands in the journal for an entry that could not be carried out: `scope` is blocked until a person looks.

    Its effects say so, and nothing else of that entry happened. A command's number is answered with a failure.
    """

    what: str
    scope: str
    why: str
    session: int = 0
    number: int = 0
    acked: int = 0
    digest: bytes = b""


Body = (
    Configured
    | SessionOpened
    | SessionEnded
    | LeasesDue
    | OverridesDue
    | QuotesMoved
    | DayDue
    | DayEndDue
    | DayOrdersDue
    | HoursDue
    | Resumed
    | Commanded
    | NumberVoided
    | HistoryDisputed
    | Poisoned
    | CancelsDue
    | CancelsRead
)


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One stamped input. `now_ns` is engine time and never goes back; `wall_ns` is for people and calendars.

    `quotes` are the newest ones of the instruments that it is about, where a policy asks for them.
    """

    seq: int
    now_ns: int
    wall_ns: int
    body: Body
    quotes: tuple[Quote, ...] = ()


# ---------------------------------------------------------------------------------------------- effects


class EndedBy(StrEnum):
    """What ended a request, or took an order out of the open ones."""

    LEASE = "lease"
    CLIENT_GONE = "client_gone"
    FENCED = "fenced"
    DROPPED = "dropped"
    OWNER = "owner"
    EXECUTED = "executed"
    FILLED = "filled"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    OPERATOR = "operator"
    NEVER_KNOWN = "never_known"
    DAY_END = "day_end"
    REPLACED = "replaced"
    REPLACE_REJECTED = "replace_rejected"
    ORDER_ENDED = "order_ended"


class Hold(msgspec.Struct, Generic[E], frozen=True, array_like=True, gc=False):
    """What one policy reserves for one order: the policy's id and its effect."""

    policy: str
    effect: E


if TYPE_CHECKING:
    H = TypeVar("H", bound=Hold, default=Hold)
else:
    H = TypeVar("H", bound=Hold)


class RequestOpened(Record, frozen=True):
    request_id: int
    order: Order
    session: int
    lease_end_ns: int


class RequestEnded(Record, frozen=True):
    request_id: int
    ended_by: EndedBy


class OrderOpened(Record, Generic[H], frozen=True):
    reservation_id: int
    order: Order
    client: str
    session: int
    state: OrderState
    lease_ns: int
    lease_end_ns: int
    holds: tuple[H, ...]


class OrderMoved(Record, frozen=True):
    reservation_id: int
    state: OrderState
    ended_by: EndedBy | None = None
    reason: str = ""


class OrderFilled(Record, Generic[H], frozen=True):
    """`open_quantity` and `holds` are what is left after it."""

    reservation_id: int
    quantity: Decimal
    open_quantity: Decimal
    holds: tuple[H, ...]


class OrderNamed(Record, frozen=True):
    reservation_id: int
    venue_order_id: str


class OrderTaken(Record, frozen=True):
    """Another client and session settle it from here on, under a lease of their own."""

    reservation_id: int
    client: str
    session: int
    lease_ns: int
    lease_end_ns: int


class ModifyOpened(Record, frozen=True):
    """A modify of an order: how much may trade by its new terms, what the order would hold by them alone, and what it
    holds until the venue answers.
    """

    reservation_id: int
    modify_id: int
    order: Order
    client: str
    session: int
    state: OrderState
    lease_ns: int
    lease_end_ns: int
    open_quantity: Decimal
    new: tuple[Hold, ...]
    holds: tuple[Hold, ...]


class ModifyMoved(Record, frozen=True):
    """Where a modify stands. Once it has ended the order holds what its old terms hold, unless it is replaced next."""

    reservation_id: int
    modify_id: int
    state: OrderState
    ended_by: EndedBy | None = None
    reason: str = ""


class ModifyNamed(Record, frozen=True):
    """What the venue will call the order once it is replaced."""

    reservation_id: int
    modify_id: int
    venue_order_id: str


class ModifyLeaseSet(Record, frozen=True):
    modify_id: int
    lease_ns: int
    lease_end_ns: int


class ModifyHolds(Record, frozen=True):
    """What is left of a modify's old and new terms: what each holds by itself, or held last where nothing of it is
    left, and how much may trade by the new.
    """

    modify_id: int
    open_quantity: Decimal
    old: tuple[Hold, ...]
    new: tuple[Hold, ...]


class OrderReplaced(Record, frozen=True):
    """The venue goes by these terms."""

    reservation_id: int
    order: Order
    open_quantity: Decimal
    holds: tuple[Hold, ...]


class CancelAsked(Record, frozen=True):
    """A cancel of it was let go out, to be sent by that client."""

    reservation_id: int
    client: str


class CancelRefused(Record, frozen=True):
    """The venue has refused the cancel; where it is wanted still, it is asked for again then."""

    reservation_id: int
    again_ns: int = 0


class OrderFlagged(Record, frozen=True):
    reservation_id: int
    flag: str


class StrangerNoted(Record, frozen=True):
    """An order that the venue spoke of and nobody here had asked for."""

    reservation_id: int
    account: str
    order_id: str
    venue_order_id: str | None


class Fill(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """A fill as it is remembered, so that it can be undone: what was told, and what it did, as differences.

    `traded` is what it was of the order, `counted` the part that no status had counted before. `quantity` 0: undone.
    """

    symbol: str
    quantity: Decimal
    price: Decimal | None
    side: Side | None
    pnl: Decimal
    fee: Decimal
    traded: Decimal
    moved: Decimal
    cost: Decimal
    realised: Decimal
    moves: tuple[tuple[str, Decimal], ...]
    counted: Decimal
    fee_asset: str | None = None


class OrderAdopted(Record, frozen=True):
    """An order that only the venue had spoken of is known now; so much of it is open."""

    reservation_id: int
    order: Order
    client: str
    session: int
    open_quantity: Decimal


class ReportNoted(Record, frozen=True):
    reservation_id: int
    report_id: str
    fingerprint: bytes
    is_final: bool = False
    fill: Fill | None = None


class FillChanged(Record, frozen=True):
    """The venue has undone a fill, or told it anew."""

    reservation_id: int
    fill_id: str
    fill: Fill


class StatusNoted(Record, frozen=True):
    """What statuses have counted of an order ahead of the reports of its fills, and what that was worth."""

    reservation_id: int
    ahead: Decimal
    ahead_worth: Decimal
    is_final: bool = False


class LeaseSet(Record, frozen=True):
    reservation_id: int
    lease_ns: int
    lease_end_ns: int


class LeasesRestarted(Record, frozen=True):
    now_ns: int


class HoldsReplaced(Record, frozen=True):
    """What an order holds under other limits than those that it was accepted by."""

    reservation_id: int
    holds: tuple[Hold, ...]


class EpochBegan(Record, frozen=True):
    """Another process serves from here on."""

    epoch: bytes


class PositionChanged(Record, frozen=True):
    """What a report did to a position, as differences (`positions.Position`)."""

    account: str
    symbol: str
    quantity: Decimal
    cost: Decimal
    realised: Decimal
    fee: Decimal
    client: str = ""
    """Whose order it was, where one is known."""
    fee_asset: str = ""
    """Of a fee that is not in the settlement asset."""


class QuotesKept(Record, frozen=True):
    """What the entry has brought of prices that is new, where somebody values by it (`prices.Marks`)."""

    quotes: tuple[Quote, ...]


class BalancesMoved(Record, frozen=True):
    """What a report or a person did to an account's balances: (asset, difference) pairs. It keeps balances from here
    on, whether or not they come to anything.
    """

    account: str
    moves: tuple[tuple[str, Decimal], ...]


class AdjustmentNoted(Record, frozen=True):
    """A client's adjustment has been carried out: how much it changed, and what is told if it comes again."""

    client: str
    id: str
    fingerprint: bytes
    changed: int
    imported: tuple[str, ...] = ()
    """The accounts whose positions are complete with it."""


class PolicyChanged(Record, Generic[E], frozen=True):
    policy: str
    effect: E


class Blocked(Record, frozen=True):
    block: Block


class Unblocked(Record, frozen=True):
    scope: str
    limit: str


class ShadowBlocked(Record, frozen=True):
    """What a shadow limit would have blocked: it stops nobody, and is remembered for when the limit goes live."""

    block: Block


class ShadowUnblocked(Record, frozen=True):
    scope: str
    limit: str


class TradingStateSet(Record, frozen=True):
    """`state` ACTIVE: nothing of it is left."""

    restriction: Restriction


class Cause(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What wants orders cancelled: a stop, by its scope and limit, or a person."""

    scope: str
    limit: str
    author: str
    reason: str


class CancelsWanted(Record, frozen=True):
    """All open orders of that scope are to be cancelled. `is_lasting`: also what comes to be open there later."""

    cause: Cause
    is_lasting: bool = False


class CancelsRequested(Record, frozen=True):
    """Their owners are asked to cancel these orders, and others from that moment on."""

    cause: Cause
    reservation_ids: tuple[int, ...]
    due_ns: int


class CancelsSwept(Record, frozen=True):
    """The open orders up to that one have been looked at; 0: all of them."""

    after: int


class CancelsEscalated(Record, frozen=True):
    """From here on those with the cancel role are asked as well."""

    reservation_ids: tuple[int, ...]


class CancelsAskedAgain(Record, frozen=True):
    """The venue had refused to cancel these, and they are asked for again."""

    reservation_ids: tuple[int, ...]


class CancelsTold(Record, frozen=True):
    client: str
    reservation_ids: tuple[int, ...]


class CancelsConfirmed(Record, frozen=True):
    """The last of so many orders that were to be cancelled has ended."""

    count: int


class PolicyFailed(Record, frozen=True):
    """A policy could not say what `at` means to it; `names` are the accounts, or the scopes of a day, that it is yet to
    be asked about. Not news: it has failed before, and is to be asked about more.
    """

    policy: str
    at: str
    why: str
    names: tuple[str, ...]
    is_news: bool = True


class PolicyRecovered(Record, frozen=True):
    """It has said it by now, or nobody asks it any more."""

    policy: str
    at: str


class DayBegan(Record, frozen=True):
    scopes: tuple[str, ...]
    day: str
    at_wall_ns: int


class DayEnded(Record, frozen=True):
    scopes: tuple[str, ...]
    at_wall_ns: int


class HoursChanged(Record, frozen=True):
    limit: str
    is_open: bool
    until: str


class DayOrdersClosed(Record, frozen=True):
    """No order of a day that is over is left to close."""


class SessionStarted(Record, frozen=True):
    session: int
    client: str
    token: bytes


class SessionFinished(Record, frozen=True):
    session: int
    ended_by: EndedBy


class VoidedUpTo(Record, frozen=True):
    session: int
    number: int
    acked: int = 0


class Reconfigured(Record, frozen=True):
    """`overrides` are all there are, with what each of them comes to under these settings."""

    settings: str
    instruments: tuple[Listed, ...]
    groups: dict[str, str]
    overrides: tuple[Override, ...] = ()


class Overridden(Record, frozen=True):
    """Overrides that hold from here on, and (limit, key) of those that don't any more."""

    put: tuple[Override, ...]
    cleared: tuple[tuple[str, str], ...] = ()


class Disputed(Record, frozen=True):
    seen_seq: int


class HistoryAccepted(Record, frozen=True):
    seen_seq: int


Effect = (
    RequestOpened
    | RequestEnded
    | OrderOpened
    | OrderMoved
    | OrderFilled
    | OrderNamed
    | OrderFlagged
    | StrangerNoted
    | ReportNoted
    | LeaseSet
    | LeasesRestarted
    | PolicyChanged
    | Blocked
    | Unblocked
    | ShadowBlocked
    | ShadowUnblocked
    | SessionStarted
    | SessionFinished
    | VoidedUpTo
    | Reconfigured
    | Overridden
    | HoldsReplaced
    | EpochBegan
    | Disputed
    | HistoryAccepted
    | TradingStateSet
    | OrderTaken
    | PositionChanged
    | DayBegan
    | DayEnded
    | BalancesMoved
    | AdjustmentNoted
    | DayOrdersClosed
    | HoursChanged
    | ModifyOpened
    | ModifyMoved
    | ModifyNamed
    | ModifyLeaseSet
    | ModifyHolds
    | OrderReplaced
    | QuotesKept
    | CancelAsked
    | CancelRefused
    | FillChanged
    | StatusNoted
    | OrderAdopted
    | CancelsWanted
    | CancelsRequested
    | CancelsSwept
    | CancelsEscalated
    | CancelsTold
    | CancelsConfirmed
    | PolicyFailed
    | PolicyRecovered
    | CancelsAskedAgain
)


# ---------------------------------------------------------------------------------------------- replies


class Failure(StrEnum):
    """Why a command could not be done."""

    INVALID_INPUT = "InvalidInput"
    UNKNOWN_ID = "UnknownId"
    ALREADY_FINALIZED = "AlreadyFinalized"
    LEASE_EXPIRED = "LeaseExpired"
    NOT_AUTHORIZED = "NotAuthorized"
    CAPACITY_EXCEEDED = "CapacityExceeded"
    FENCED = "Fenced"
    ANSWER_GONE = "AnswerGone"
    JOURNAL_BEHIND = "JournalBehind"
    NO_SESSION = "NoSession"
    WRONG_NUMBER = "WrongNumber"
    SYSTEM_UNAVAILABLE = "SystemUnavailable"


class Failed(Record, frozen=True):
    """`number` is the one expected, where a command came under one that is too high or has been used by another."""

    failure: Failure
    message: str
    number: int = 0


class Deferred(Record, frozen=True):
    request_id: int
    order_id: str
    lease_end_ns: int
    shadow_rejects: tuple[Reject, ...] = ()


class Accepted(Record, frozen=True):
    reservation_id: int
    order_id: str
    state: OrderState
    lease_end_ns: int
    replayed: bool = False
    shadow_rejects: tuple[Reject, ...] = ()
    """What shadow limits would have refused it for."""


class Taken(Record, frozen=True):
    """A reservation that is the gateway's now, with the order as it was checked."""

    reservation_id: int
    order: Order
    state: OrderState
    lease_end_ns: int
    replayed: bool = False


class Modified(Record, frozen=True):
    """The reservation of a modify, and the order as it is to be."""

    modify_id: int
    order: Order
    state: OrderState
    lease_end_ns: int
    replayed: bool = False
    shadow_rejects: tuple[Reject, ...] = ()


class CancelCleared(Record, frozen=True):
    cleared: ClearedCancel


class Refused(Record, frozen=True):
    rejected: Rejected


class ManyChecked(Record, frozen=True):
    """The answers to several orders, in their order."""

    answers: tuple[Accepted | Refused, ...]


class DropCopied(Record, frozen=True):
    """What a drop copy came to; `breaches` are what limits would have refused it for."""

    result: DropCopyResult
    breaches: tuple[Reject, ...] = ()
    blocks: tuple[Block, ...] = ()


class Stands(Record, frozen=True):
    """Where the order stands; `lease_end_ns` is 0 when no lease runs."""

    state: OrderState
    lease_end_ns: int = 0


class Applied(Record, frozen=True):
    result: ReportResult


class Done(Record, frozen=True):
    count: int = 0


class LimitSet(Record, frozen=True):
    overrides: tuple[Override, ...]


class Reloaded(Record, frozen=True):
    """In words: what is different, what waits for a start, where the configuration is not what overrides were set
    over, and which bounds were past before they held.
    """

    changes: tuple[str, ...]
    waiting: tuple[str, ...]
    disagreements: tuple[str, ...]
    past: tuple[str, ...] = ()


class Opened(Record, frozen=True):
    session: int


class Void(Record, frozen=True):
    pass


class Adjusted(Record, frozen=True):
    result: AdjustmentResult


Reply = (
    Failed
    | Deferred
    | Accepted
    | Refused
    | Stands
    | Applied
    | Done
    | Opened
    | Void
    | LimitSet
    | Reloaded
    | Taken
    | Adjusted
    | Modified
    | CancelCleared
    | ManyChecked
    | DropCopied
)


LEG_BITS = 46
"""An order's reservation has the number of the row that accepted it; of several in one row, their places stand above so
many bits.
"""


def leg_id(seq: int, leg: int) -> int:
    """The reservation of the order at that place of a row."""
    return seq | leg << LEG_BITS


def row_of(reservation_id: int) -> int:
    """The row that accepted a reservation."""
    return reservation_id & (1 << LEG_BITS) - 1


def shadow_rejects_of(reply: Reply) -> tuple[Reject, ...]:
    """What shadow limits would have refused an order, a modify or a cancel for, by the answer to it."""
    match reply:
        case Accepted() | Deferred() | Modified():
            return reply.shadow_rejects
        case CancelCleared():
            return reply.cleared.shadow_rejects
        case Refused():
            return reply.rejected.shadow_rejects
        case _:
            return ()


class Row(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One line of the journal: what came in, what it did, and what was answered."""

    entry: Entry
    effects: tuple[Effect, ...]
    reply: Reply


class Deed(msgspec.Struct, frozen=True, gc=False):
    """What carrying a row out needs: what the entry did, and whose number its reply answers (session 0: nobody's)."""

    seq: int
    now_ns: int
    session: int
    number: int
    acked: int
    digest: bytes
    effects: tuple[Effect, ...]
    reply: Reply


def deed_of(row: Row) -> Deed:
    """The part of a row that is carried out."""
    entry, body = row.entry, row.entry.body
    if isinstance(body, Commanded | Poisoned):
        numbered = (body.session, body.number, body.acked, body.digest)
    else:
        numbered = (0, 0, 0, b"")
    return Deed(entry.seq, entry.now_ns, *numbered, row.effects, row.reply)
