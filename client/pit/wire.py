"""The client's language: commands, queries, replies, their envelopes, and the bytes they travel as.

A message is two frames: a header of fixed size and a msgpack body. The header says what kind of message it is, which
session speaks, its number, and (for commands) up to which number answers have been received. Replies carry the same
number and the daemon's sequence number. Bodies are tagged arrays; fields are only ever appended, with defaults.
"""

from __future__ import annotations

import struct
from decimal import Decimal
from enum import IntEnum, StrEnum
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

import msgspec
from msgspec.structs import force_setattr

from . import explained
from .errors import InvalidInput, ProtocolError
from .events import AnyEvent
from .types import (
    AccountBalance,
    AccountPosition,
    Adjustment,
    AdjustmentResult,
    Block,
    CalendarDay,
    CancelRequest,
    ClearedCancel,
    DropCopyResult,
    ExecutionReport,
    Instrument,
    LimitOverride,
    MarketHours,
    OpenModify,
    OpenOrder,
    Order,
    OrderState,
    OrderStatus,
    Outcome,
    Reject,
    Rejected,
    ReloadResult,
    ReportResult,
    Restriction,
    TradingState,
    check_name,
    exact,
)

PROTOCOL = 2
"""Since 2, answers carry the mark of the command that they are about."""

SPOKEN = (1, 2)
"""The protocols that both sides of this release speak: their own, and the one before it."""
MAX_MESSAGE_BYTES = 1 << 20
DIGEST_SIZE = 8
WINDOW = 64
"""How many commands of a session may be in flight."""


class Message(IntEnum):
    """The first byte of a header."""

    HELLO = 1
    COMMAND = 2
    QUERY = 3
    SETTLE = 4
    REFUSAL = 5
    """Replies only: refused before the engine; nothing changed and the number is still free."""
    POSTED = 6
    """A command whose answer is sent only when it is not `Settled`: it is confirmed by the answer to a later one."""
    CONFIRMED = 7
    """Replies only: the answer to a command, and no posted one before it was answered otherwise than is known there."""


_HEADER = struct.Struct("<BQQQ")
_ANSWER = struct.Struct(f"<B{DIGEST_SIZE}sQQ")
HEADER_SIZE = _HEADER.size
_NUMBER_AT = slice(9, 17)


class Header(NamedTuple):
    """`session` is 0 before the handshake. On the way back `acked` is what `told` makes of the daemon's sequence
    number, and `session` the mark of the command that is answered or refused (0 where there is none): a number that was
    refused is used again, so a late answer to the one must not pass for the other's.
    """

    message: int
    session: int
    number: int
    acked: int


_new = tuple.__new__
"""What `Header._make` comes to, which takes three times as long."""


def told(seq: int, epoch: bytes) -> int:
    """A sequence number with two bytes of the epoch that tells it; without an epoch the number alone."""
    return seq | _begun_in(epoch) << _SEQ_BITS


def heard(told: int, epoch: bytes | None = None) -> int:
    """The sequence number again; 0 when it was told in another epoch than the one given."""
    is_meant = epoch is None or told >> _SEQ_BITS == _begun_in(epoch)
    return told & MAX_SEQ if is_meant else 0


_SEQ_BITS = 48
MAX_SEQ = (1 << _SEQ_BITS) - 1


@lru_cache(maxsize=64)
def _begun_in(epoch: bytes) -> int:
    return int.from_bytes(epoch[:2], "little")


def mark_of(digest: bytes) -> int:
    """What an answer is told by: a command's digest as a number, 0 for none."""
    return int.from_bytes(digest, "little")


def digest_of(body: bytes) -> bytes:
    """A command's digest: what tells it from another under the same number."""
    return blake2b(body, digest_size=DIGEST_SIZE).digest()


pack_header = _HEADER.pack
"""A header's bytes from its four fields."""

pack_answer = _ANSWER.pack
"""The bytes of an answer's header: its kind, the digest of what it is about (empty for none), the number, and what
`told` makes of the daemon's sequence number. A digest stands there as it is: `mark_of` reads the same bytes.
"""

unpack_fields = _HEADER.unpack
"""The four fields of a header, as `Header` names them. Raises struct.error when the frame is no header."""


def unpack_header(frame: bytes) -> Header:
    """Raises ProtocolError when the frame is no header."""
    try:
        return _new(Header, _HEADER.unpack(frame))
    except struct.error:
        raise ProtocolError(no_header(frame)) from None


def no_header(frame: bytes) -> str:
    """Why a frame is no header."""
    return f"a header of {_HEADER.size} bytes is wanted, not {len(frame)}"


def number_in(header_frame: bytes) -> int:
    """The number in a header that is one."""
    return int.from_bytes(header_frame[_NUMBER_AT], "little")


class Body(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """A tagged array on the wire."""


# ---------------------------------------------------------------------------------------------- the handshake


class Hello(Body, frozen=True):
    """Opens a session, or (`session` above 0) takes one up again after a lost connection.

    `token` is drawn by the client and proves that it is still the same one; `seen_seq` is the highest sequence
    number it has had from this daemon, and `epoch` names the daemon's start that it came from: what a cut journal has
    lost is told by both, however often the daemon has been started since. `read_only` opens no session: what speaks
    so may ask and nothing else, is not journaled, and fences nobody.
    """

    protocol: int
    client: str
    token: bytes
    session: int = 0
    seen_seq: int = 0
    epoch: bytes = b""
    read_only: bool = False


class Welcome(Body, frozen=True):
    protocol: int
    session: int
    next_number: int
    window: int
    lease_ns: int
    epoch: bytes = b""


# ---------------------------------------------------------------------------------------------- commands


class Start(Body, frozen=True):
    order: Order


class Execute(Body, frozen=True):
    request_id: int
    sent: bool = False
    lease_ns: int | None = None


class Check(Body, frozen=True):
    """Both stages in one step."""

    order: Order
    sent: bool = False
    lease_ns: int | None = None


class CheckMany(Body, frozen=True):
    """Both stages for several orders, each of which counts for those after it; all of them or none, where that is
    wanted.
    """

    orders: tuple[Order, ...]
    sent: bool = False
    lease_ns: int | None = None
    all_or_none: bool = False


class DropCopy(Body, frozen=True):
    """An order is at the venue, whoever sent it: `client` has, where that is not the one who says so."""

    order: Order
    venue_order_id: str | None = None
    client: str = ""

    def __post_init__(self) -> None:
        if self.venue_order_id is not None:
            check_name(self.venue_order_id, "venue_order_id")
        if self.client:
            check_name(self.client, "client")


class MarkSent(Body, frozen=True):
    reservation_id: int


class Commit(Body, frozen=True):
    reservation_id: int
    venue_order_id: str | None = None
    late: bool = False

    def __post_init__(self) -> None:
        if self.venue_order_id is not None:
            check_name(self.venue_order_id, "venue_order_id")


class Rollback(Body, frozen=True):
    reservation_id: int
    reason: str = ""


class Quarantine(Body, frozen=True):
    reservation_id: int
    reason: str = ""


class Renew(Body, frozen=True):
    reservation_id: int
    lease_ns: int | None = None


class Drop(Body, frozen=True):
    """What a client let go without settling it."""

    reservation_ids: tuple[int, ...] = ()
    request_ids: tuple[int, ...] = ()


class Report(Body, frozen=True):
    report: ExecutionReport


class Goodbye(Body, frozen=True):
    """Ends the session: what it held goes back, what it had sent is quarantined."""


class BlockScope(Body, frozen=True):
    """`cancel`: the open orders of that scope are to be cancelled as well."""

    scope: str
    reason: str
    cancel: bool = True


class UnblockScope(Body, frozen=True):
    scope: str
    reason: str


class Rearm(Body, frozen=True):
    """Grants a tripped P&L limit new room from where the P&L stands."""

    limit: str
    scope: str
    room: Decimal
    reason: str


class SettleOrder(Body, frozen=True):
    account: str
    order_id: str
    working: bool
    reason: str


class CloseOrder(Body, frozen=True):
    account: str
    order_id: str
    reason: str


class AcceptHistory(Body, frozen=True):
    """A person's word that trading may go on though a client had seen entries that this journal does not have."""

    reason: str


class SetTradingState(Body, frozen=True):
    """Halts a scope (firm, group, account or instrument), or makes it active again."""

    scope: str
    state: TradingState
    reason: str
    cancel: bool = True


class ShutDown(Body, frozen=True):
    """Ends the daemon when the batch in hand is done."""

    reason: str


class SetLimit(Body, frozen=True):
    """Puts numbers of a limit, as text by their keys, in the place of the configured ones; without an end until
    somebody clears them.
    """

    limit: str
    values: tuple[tuple[str, str], ...]
    reason: str
    lasts_ns: int | None = None
    until_wall_ns: int | None = None


class SetLimits(Body, frozen=True):
    """The same for several limits at once: all of it comes into force, or nothing."""

    limits: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    reason: str
    lasts_ns: int | None = None
    until_wall_ns: int | None = None


class ClearLimit(Body, frozen=True):
    """Lets the configured number of a limit hold again; without a key all of them."""

    limit: str
    key: str | None
    reason: str


class Reload(Body, frozen=True):
    """Has the daemon read its configuration files again: all of it comes into force, or nothing."""

    reason: str


class Modify(Body, frozen=True):
    """A working order is to have other terms; what is None stays as it is."""

    account: str
    order_id: str
    quantity: Decimal | None = None
    price: Decimal | None = None
    volume: Decimal | None = None
    new_id: str | None = None
    sent: bool = False
    lease_ns: int | None = None

    def __post_init__(self) -> None:
        for name in ("quantity", "price", "volume"):
            value = getattr(self, name)
            if value is not None:
                force_setattr(self, name, exact(value, f"modify.{name}"))
        if self.new_id is not None:
            check_name(self.new_id, "modify.new_id")


class SettleModify(Body, frozen=True):
    """A person's word on a modify: the venue goes by the new terms, or stays with the old ones."""

    account: str
    order_id: str
    replaced: bool
    reason: str


class Status(Body, frozen=True):
    """How an order stands at the venue, from a source that knows sums only."""

    status: OrderStatus


class Cancel(Body, frozen=True):
    """A cancel of that order is about to be sent."""

    account: str
    order_id: str


class Take(Body, frozen=True):
    """A gateway will send an order that a strategy holds: it counts as sent, and is the gateway's from here on."""

    account: str
    order_id: str
    lease_ns: int | None = None


class Adjust(Body, frozen=True):
    """Sets or moves what accounts have, hold and have made: all of it, or nothing. The same id of the same client is
    carried out once. `imported` are the accounts whose positions are complete with that, for those that wait for it.
    """

    id: str
    adjustments: tuple[Adjustment, ...]
    reason: str
    imported: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_name(self.id, "adjustment.id")
        for account in self.imported:
            check_name(account, "adjustment.imported")


class CancelAll(Body, frozen=True):
    """Asks for the cancel of every open order of a scope, and stops nothing."""

    scope: str
    reason: str


Command = (
    Start
    | Execute
    | Check
    | MarkSent
    | Commit
    | Rollback
    | Quarantine
    | Renew
    | Drop
    | Report
    | Goodbye
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
    | Take
    | Adjust
    | Modify
    | SettleModify
    | Cancel
    | Status
    | CheckMany
    | DropCopy
    | CancelAll
    | SetLimits
)


# ---------------------------------------------------------------------------------------------- queries


class Ping(Body, frozen=True):
    pass


class ListOpenOrders(Body, frozen=True):
    """One page of this client's open orders, by reservation id, after the one given."""

    after: int = 0
    account: str | None = None
    most: int = 500


class AskOutcome(Body, frozen=True):
    account: str
    order_id: str


class ListBlocks(Body, frozen=True):
    pass


class AskStatus(Body, frozen=True):
    """How the daemon is: for everybody, since it names no client and no account."""


class ListSessions(Body, frozen=True):
    """One page of everybody's sessions, by id, after the one given. From here on, questions need the role "operate"."""

    after: int = 0
    most: int = 500


class ListAccounts(Body, frozen=True):
    """One page of the accounts that are known, by name, after the one given."""

    after: str = ""
    most: int = 500


class Which(StrEnum):
    """Which orders are meant. Stale: sent, quarantined or working, and nothing has been heard of them for some time.
    Abandoned: open, and their client has no session, so that nobody is there to settle them. Leased: held or sent.
    """

    OPEN = "open"
    STALE = "stale"
    QUARANTINED = "quarantined"
    CLOSED = "closed"
    ABANDONED = "abandoned"
    LEASED = "leased"


class ListOrders(Body, frozen=True):
    """One page of everybody's orders, by reservation id, after the one given; of stale ones those of which nothing has
    been heard for at least `quiet_ns`.
    """

    which: Which = Which.OPEN
    after: int = 0
    account: str | None = None
    client: str | None = None
    order_id: str | None = None
    most: int = 500
    quiet_ns: int = 0


class ListLimits(Body, frozen=True):
    """One page of the limits with what they have counted, after that scope of the limit at that position."""

    position: int = 0
    after: str = ""
    most: int = 500


class ListAllBlocks(Body, frozen=True):
    """One page of the scopes that may not trade, in order, after so many."""

    skip: int = 0
    most: int = 500


class AskDecision(Body, frozen=True):
    """Why was that order accepted or refused? It is looked up in the journal."""

    account: str
    order_id: str


class AskMetrics(Body, frozen=True):
    """What has been counted since the daemon began to serve: for exporters, and for screens."""


class ListRestrictions(Body, frozen=True):
    """One page of the scopes whose trading state is not ACTIVE, by name, after the one given. For everybody."""

    after: str = ""
    most: int = 300


class AskEvents(Body, frozen=True):
    """What has happened from a row of the journal on, without so many events of that row; -1: nothing, but where "from
    now on" begins. Where there is nothing yet, the answer waits for it, at the most so long (and then is empty).
    """

    row: int = -1
    skip: int = 0
    wait_ns: int = 0
    most: int = 500


class ListOverrides(Body, frozen=True):
    """One page of the numbers that persons have set, by limit and key, after so many."""

    skip: int = 0
    most: int = 300


class AskSettings(Body, frozen=True):
    """A piece of the configuration in force, as JSON text, from that character on."""

    begin: int = 0


class PushQuote(Body, frozen=True):
    """The newest that is known of an instrument's price, `age_ns` old. It is no command: it has no number, and is not
    journaled unless an order uses it.
    """

    instrument: Instrument | str
    mark: Decimal | None = None
    bid: Decimal | None = None
    ask: Decimal | None = None
    age_ns: int = 0

    def __post_init__(self) -> None:
        for name in ("mark", "bid", "ask"):
            value = getattr(self, name)
            if value is not None:
                force_setattr(self, name, exact(value, f"quote.{name}"))
        if self.age_ns < 0:
            raise InvalidInput(f"quote.age: zero or more is wanted, not {self.age_ns} ns")


class ListCalendar(Body, frozen=True):
    """One page of the days, by scope, after the one given: the firm's, and those of accounts that the client may touch.
    For everybody.
    """

    after: str = ""
    most: int = 300


class ListPositions(Body, frozen=True):
    """One page of the positions, by account and instrument, after the ones given: of the accounts that the client may
    touch, or of all for operators and observers.
    """

    account: str | None = None
    after_account: str = ""
    after_instrument: str = ""
    most: int = 300


class ListBalances(Body, frozen=True):
    """One page of the balances, by account and asset, after the ones given: of the accounts that the client may touch,
    or of all for operators and observers.
    """

    account: str | None = None
    after_account: str = ""
    after_asset: str = ""
    most: int = 300


class DryRun(Body, frozen=True):
    """What would be said to that order now, by the start stage or by both? Nothing is held or counted for it. `client`
    is who would send it, where that is not the one who asks: then it needs the role "operate" or "observe".
    """

    order: Order
    start_only: bool = False
    client: str = ""


class Explain(Body, frozen=True):
    """What would each limit say to that order now, who uses what of it, and what is the largest size that passes?"""

    order: Order
    client: str = ""


class AskCancels(Body, frozen=True):
    """Which of this client's orders are to be cancelled, beyond the place given (that of the last one it has had); with
    the role "cancel" also those of others that are late. While there are none the answer waits, at the most so long.
    """

    seq: int = 0
    reservation_id: int = 0
    wait_ns: int = 0
    most: int = 200


class ListCancels(Body, frozen=True):
    """One page of all orders that are to be cancelled, by reservation id, after the one given. For operators."""

    after: int = 0
    most: int = 300


class AskReload(Body, frozen=True):
    """What a reload would come to, and change nothing: `Reloaded`."""


Query = (
    Ping
    | ListOpenOrders
    | AskOutcome
    | ListBlocks
    | AskStatus
    | ListSessions
    | ListAccounts
    | ListOrders
    | ListLimits
    | ListAllBlocks
    | AskDecision
    | AskMetrics
    | ListRestrictions
    | AskEvents
    | ListOverrides
    | AskSettings
    | PushQuote
    | ListPositions
    | ListBalances
    | DryRun
    | Explain
    | ListCalendar
    | AskCancels
    | ListCancels
    | AskReload
)


# ---------------------------------------------------------------------------------------------- replies


class Deferred(Body, frozen=True):
    request_id: int
    order_id: str
    lease_ns: int
    shadow_rejects: tuple[Reject, ...] = ()


class Accepted(Body, frozen=True):
    """A reservation. `replayed`: this very order had been accepted before, and this is the same answer.
    `shadow_rejects`: what shadow limits would have refused it for.
    """

    reservation_id: int
    order_id: str
    state: OrderState
    lease_ns: int
    replayed: bool = False
    shadow_rejects: tuple[Reject, ...] = ()


class Taken(Body, frozen=True):
    """A reservation that is the gateway's now, and the order as it was checked. `replayed`: it was so before."""

    reservation_id: int
    order: Order
    state: OrderState
    lease_ns: int
    replayed: bool = False


class Modified(Body, frozen=True):
    """The reservation of a modify, and the order as it is to be. `replayed`: this very one is under way already.
    `shadow_rejects`: what shadow limits would have refused it for.
    """

    reservation_id: int
    order: Order
    state: OrderState
    lease_ns: int
    replayed: bool = False
    shadow_rejects: tuple[Reject, ...] = ()


class CancelCleared(Body, frozen=True):
    cleared: ClearedCancel


class Refused(Body, frozen=True):
    rejected: Rejected


class ManyChecked(Body, frozen=True):
    """The answers to several orders, in their order."""

    answers: tuple[Accepted | Refused, ...]


class DropCopied(Body, frozen=True):
    result: DropCopyResult


class Settled(Body, frozen=True):
    """Where the order stands after a command on its reservation; `lease_ns` is what is left, 0 when none runs."""

    state: OrderState
    lease_ns: int = 0


class Applied(Body, frozen=True):
    result: ReportResult


class Done(Body, frozen=True):
    count: int = 0


class FailureCode(StrEnum):
    """Every error that a daemon can answer with, by the name of the exception it becomes."""

    INVALID_INPUT = "InvalidInput"
    UNKNOWN_ID = "UnknownId"
    ALREADY_FINALIZED = "AlreadyFinalized"
    LEASE_EXPIRED = "LeaseExpired"
    NOT_AUTHORIZED = "NotAuthorized"
    CAPACITY_EXCEEDED = "CapacityExceeded"
    FENCED = "Fenced"
    ANSWER_GONE = "AnswerGone"
    JOURNAL_BEHIND = "JournalBehind"
    PROTOCOL = "ProtocolError"
    NO_SESSION = "NoSession"
    WRONG_NUMBER = "WrongNumber"
    SYSTEM_UNAVAILABLE = "SystemUnavailable"


class Failed(Body, frozen=True):
    """`number` is the one expected, where the one that came can't be meant: it is too high, or used by another."""

    code: FailureCode
    message: str
    number: int = 0


class Voided(Body, frozen=True):
    """The answer to a settle: that number was never executed, and never will be."""


class Pong(Body, frozen=True):
    now_ns: int
    version: str


class OpenOrders(Body, frozen=True):
    orders: tuple[OpenOrder, ...]
    more: bool


class OutcomeIs(Body, frozen=True):
    outcome: Outcome


class Blocks(Body, frozen=True):
    blocks: tuple[Block, ...]


class Seen(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """One line of what an operator sees."""


class StatusIs(Body, frozen=True, kw_only=True):
    """`why_refusing` says why no new orders are taken, and is empty while they are; `journal_low` why there may soon be
    no room. `states` counts the open orders by state; `not_authorized` and `malformed` how often anybody was refused
    for that, since this process began to serve.
    """

    seq: int
    version: str
    endpoint: str
    pid: int
    up_ns: int
    epoch: bytes
    why_refusing: str
    disputed_seq: int
    durability: str
    journal: str
    journal_seq: int
    journal_low: str
    sessions: int
    open_orders: int
    states: tuple[tuple[OrderState, int], ...]
    quarantined: int
    requests: int
    blocks: int
    limits: int
    settings_from: str = ""
    restrictions: int = 0
    not_authorized: int = 0
    malformed: int = 0
    overrides: int = 0
    reducing: int = 0
    """How many of the restrictions let orders pass that reduce a position."""
    cancels: int = 0
    """How many orders are to be cancelled and have not ended; of those `cancels_late` whose owners were not in time."""
    cancels_late: int = 0
    oldest_cancel_s: float = 0.0
    failing: tuple[str, ...] = ()
    """The policies that could not say what a new day or other marks mean to them: new risk is refused until they do."""


class SessionSeen(Seen, frozen=True, kw_only=True):
    """`in_flight`: commands whose answers are kept because they have not been acknowledged. `noticed_by` says how this
    client's death would be noticed: by the "kernel", by "heartbeats", by "leases" alone, or not at all ("process": it
    lives in the engine's own). `messages` came from it, `per_s` in the last second; `refused` of them without an entry;
    `over_share` times it had more to say than its share of a batch.
    """

    session: int
    client: str
    roles: tuple[str, ...]
    in_flight: int
    unsettled: int
    commands: int
    noticed_by: str
    messages: int = 0
    per_s: int = 0
    refused: int = 0
    over_share: int = 0


class SessionsAre(Body, frozen=True):
    seq: int
    sessions: tuple[SessionSeen, ...]
    more: bool


class MoneySeen(Seen, frozen=True, kw_only=True):
    """An account's realised P&L in one asset, and the nearest bounds of its own that it may reach on either side;
    `unrealised` is what it holds there would make at the newest marks, None where one is not known.
    """

    settlement: str
    pnl: Decimal
    floor: Decimal | None = None
    ceiling: Decimal | None = None
    tripped: tuple[str, ...] = ()
    unrealised: Decimal | None = None


class AccountSeen(Seen, frozen=True, kw_only=True):
    """`blocks` and `restrictions` also hold those of its group and of the firm. Of an account that is kept in a
    `currency`, `made` is all of its realised P&L in that, and `unrealised` what all that it holds would make at the
    newest marks; None where a rate or a mark is not known.
    """

    account: str
    group: str | None
    open_orders: int
    money: tuple[MoneySeen, ...]
    blocks: tuple[Block, ...]
    restrictions: tuple[Restriction, ...] = ()
    currency: str | None = None
    made: Decimal | None = None
    unrealised: Decimal | None = None
    is_declared: bool = False
    """Whether the configuration names it."""


class AccountsAre(Body, frozen=True):
    seq: int
    accounts: tuple[AccountSeen, ...]
    more: bool


class OrderSeen(Seen, frozen=True, kw_only=True):
    """`order` is None where only the venue has ever spoken of it. `quiet_s`: how long nothing has been heard of it,
    neither from its client nor from the venue.
    """

    reservation_id: int
    account: str
    order_id: str
    client: str
    is_client_here: bool
    state: OrderState
    order: Order | None
    open_quantity: Decimal
    filled_quantity: Decimal
    venue_order_id: str | None = None
    lease_left_s: float | None = None
    ended_by: str | None = None
    reason: str = ""
    flags: tuple[str, ...] = ()
    quiet_s: float | None = None
    modify: OpenModify | None = None
    cancel_asked: bool = False


class OrdersAre(Body, frozen=True):
    """`after` is where the next page begins, also when nothing of this one was meant; 0 when there is no more."""

    seq: int
    orders: tuple[OrderSeen, ...]
    after: int


class LimitSeen(Seen, frozen=True, kw_only=True):
    """One counter of a limit: what it counts (`what`), for whom (`scope`), how much, and its bound. `used` is None
    where nothing is counted: the bound is for every single order, or nobody has come under the limit yet.
    """

    limit: str
    control: str
    scope: str
    what: str
    bound: Decimal
    used: Decimal | None = None
    is_tripped: bool = False
    is_shadow: bool = False


class LimitsAre(Body, frozen=True):
    """`position` and `after` are where the next page begins; `position` -1 when there is no more."""

    seq: int
    limits: tuple[LimitSeen, ...]
    position: int
    after: str


class BlocksAre(Body, frozen=True):
    seq: int
    blocks: tuple[Block, ...]
    more: bool


class DecisionIs(Body, frozen=True, kw_only=True):
    """How an order was decided, in row `decided_seq` of the journal: `rejects` where it was refused, each with the
    limit's numbers; else `holds`: what each control has counted for it, as JSON. `row` is the row in words, `outcome`
    what became of it since. `shadow_rejects`: what shadow limits would have refused it for.
    """

    seq: int
    account: str
    order_id: str
    client: str
    decided_seq: int
    wall_ns: int
    is_accepted: bool
    rejects: tuple[Reject, ...] = ()
    holds: tuple[tuple[str, str], ...] = ()
    row: str = ""
    outcome: Outcome | None = None
    shadow_rejects: tuple[Reject, ...] = ()


class Histogram(Seen, frozen=True):
    """How many took up to so many seconds: one count for each of `upto_s`, not adding up, and one for all above."""

    upto_s: tuple[float, ...]
    counts: tuple[int, ...]
    sum_s: float


class RejectsSeen(Seen, frozen=True):
    control: str
    code: str
    count: int


class MetricsAre(Body, frozen=True, kw_only=True):
    """Counters since the daemon began to serve, and its status now. `entries`: rows of the journal; `commands` by their
    kind; `accepted` and `rejects` are what the risk pipeline said; `failed`: commands that could not be done, by their
    code; `refused`: what the engine never saw, by its code; `unsendable`: replies whose client was gone or did not
    read. `lapses`: leases that ended, by what ended them; `ends`: what else took orders out of the open ones. `logged`:
    warnings and errors by level and event; `watchers`: who waits for events now.
    `shadow_rejects`: what shadow limits would have refused.
    """

    status: StatusIs
    entries: int
    commands: tuple[tuple[str, int], ...]
    accepted: int
    rejects: tuple[RejectsSeen, ...]
    failed: tuple[tuple[str, int], ...]
    refused: tuple[tuple[str, int], ...]
    malformed: int
    unsendable: int
    lapses: tuple[tuple[str, int], ...]
    ends: tuple[tuple[str, int], ...]
    command_s: Histogram
    journal_s: Histogram
    logged: tuple[tuple[str, str, int], ...] = ()
    watchers: int = 0
    shadow_rejects: tuple[RejectsSeen, ...] = ()


class RestrictionsAre(Body, frozen=True):
    seq: int
    restrictions: tuple[Restriction, ...]
    more: bool


class EventsAre(Body, frozen=True):
    """One page of events. `first_row` is what it begins with: rows from the one asked for up to there are no longer
    kept. The next page begins with `next_row`, without so many of its events (`next_skip`).
    """

    first_row: int
    events: tuple[AnyEvent, ...]
    next_row: int
    next_skip: int = 0


class LimitSet(Body, frozen=True):
    overrides: tuple[LimitOverride, ...]


class OverridesAre(Body, frozen=True):
    seq: int
    overrides: tuple[LimitOverride, ...]
    more: bool


class Reloaded(Body, frozen=True):
    result: ReloadResult


class SettingsAre(Body, frozen=True):
    """`mark` is the same for all pieces of the same configuration; `more` says whether there are further ones."""

    seq: int
    mark: bytes
    piece: str
    more: bool


class CalendarIs(Body, frozen=True):
    """`hours` come with the first page."""

    seq: int
    days: tuple[CalendarDay, ...]
    hours: tuple[MarketHours, ...]
    more: bool


class PositionsAre(Body, frozen=True):
    seq: int
    positions: tuple[AccountPosition, ...]
    more: bool


class Adjusted(Body, frozen=True):
    result: AdjustmentResult


class BalancesAre(Body, frozen=True):
    seq: int
    balances: tuple[AccountBalance, ...]
    more: bool


class WouldPass(Body, frozen=True):
    """The order would have been taken: the answer to a dry run that is no `Refused`."""

    dry_run: explained.DryRun


class Explained(Body, frozen=True):
    explanation: explained.Explanation


class CancelsFor(Body, frozen=True):
    """`seq` and `reservation_id` are the place of the last one."""

    cancels: tuple[CancelRequest, ...]
    seq: int
    reservation_id: int


class CancelSeen(Seen, frozen=True, kw_only=True):
    """One order that is to be cancelled. `told`: who has been, and how many seconds ago; `is_late`: its owner did not
    confirm in time, and those with the role "cancel" are asked.
    """

    request: CancelRequest
    is_late: bool
    told: tuple[tuple[str, float], ...] = ()


class CancelsAre(Body, frozen=True):
    seq: int
    cancels: tuple[CancelSeen, ...]
    more: bool


Reply = (
    Welcome
    | Deferred
    | Accepted
    | Refused
    | Settled
    | Applied
    | Done
    | Failed
    | Voided
    | Pong
    | OpenOrders
    | OutcomeIs
    | Blocks
    | StatusIs
    | SessionsAre
    | AccountsAre
    | OrdersAre
    | LimitsAre
    | BlocksAre
    | DecisionIs
    | MetricsAre
    | RestrictionsAre
    | EventsAre
    | LimitSet
    | OverridesAre
    | Reloaded
    | SettingsAre
    | Taken
    | PositionsAre
    | Adjusted
    | BalancesAre
    | WouldPass
    | Explained
    | Modified
    | CancelCleared
    | ManyChecked
    | DropCopied
    | CalendarIs
    | CancelsFor
    | CancelsAre
)

_encoder = msgspec.msgpack.Encoder()
encode = _encoder.encode
"""The bytes of a body. An encoder holds no state between calls, so one serves all threads."""

decode_hello = msgspec.msgpack.Decoder(Hello).decode
decode_command = msgspec.msgpack.Decoder(Command).decode
decode_query = msgspec.msgpack.Decoder(Query).decode
decode_reply = msgspec.msgpack.Decoder(Reply).decode
