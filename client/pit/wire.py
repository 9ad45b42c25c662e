"""The client's language: commands, queries, replies, their envelopes, and the bytes they travel as.

A message is two frames: a header of fixed size and a msgpack body. The header says what kind of message it is, which
session speaks, its number, and (for commands) up to which number answers have been received. Replies carry the same
number and the daemon's sequence number. Bodies are tagged arrays; fields are only ever appended, with defaults.
"""

from __future__ import annotations

import struct
from decimal import Decimal
from enum import IntEnum, StrEnum
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from .errors import ProtocolError
from .types import Block, ExecutionReport, OpenOrder, Order, OrderState, Outcome, Rejected, ReportResult, check_name

PROTOCOL = 2
"""Since 2, answers carry the mark of the command that they are about."""

SPOKEN = (1, 2)
"""The protocols that both sides of this release speak: their own, and the one before it."""
MAX_MESSAGE_BYTES = 1 << 20
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


_HEADER = struct.Struct("<BQQQ")


class Header(NamedTuple):
    """`session` is 0 before the handshake. On the way back `acked` is what `told` makes of the daemon's sequence number,
    and `session` the mark of the command that is answered or refused (0 where there is none): a number that was refused
    is used again, so a late answer to the one must not pass for the other's.
    """

    message: int
    session: int
    number: int
    acked: int


def told(seq: int, epoch: bytes) -> int:
    """A sequence number with two bytes of the epoch that tells it; without an epoch the number alone."""
    return seq | int.from_bytes(epoch[:2], "little") << _SEQ_BITS


def heard(told: int, epoch: bytes | None = None) -> int:
    """The sequence number again; 0 when it was told in another epoch than the one given."""
    is_meant = epoch is None or told >> _SEQ_BITS == int.from_bytes(epoch[:2], "little")
    return told & (1 << _SEQ_BITS) - 1 if is_meant else 0


_SEQ_BITS = 48


def mark_of(digest: bytes) -> int:
    """What an answer is told by: a command's digest as a number, 0 for none."""
    return int.from_bytes(digest, "little")


def digest_of(body: bytes) -> bytes:
    """A command's digest: what tells it from another under the same number."""
    return blake2b(body, digest_size=8).digest()


def pack_header(message: int, session: int, number: int, acked: int) -> bytes:
    return _HEADER.pack(message, session, number, acked)


def unpack_header(frame: bytes) -> Header:
    """Raises ProtocolError when the frame is no header."""
    try:
        return Header._make(_HEADER.unpack(frame))
    except struct.error:
        raise ProtocolError(f"a header of {_HEADER.size} bytes is wanted, not {len(frame)}") from None


class Body(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """A tagged array on the wire."""


# ---------------------------------------------------------------------------------------------- the handshake


class Hello(Body, frozen=True):
    """Opens a session, or (`session` above 0) takes one up again after a lost connection.

    `token` is drawn by the client and proves that it is still the same one; `seen_seq` is the highest sequence
    number it has had from this daemon, and `epoch` names the daemon's start that it came from: what a cut journal has
    lost is told by both, however often the daemon has been started since.
    """

    protocol: int
    client: str
    token: bytes
    session: int = 0
    seen_seq: int = 0
    epoch: bytes = b""


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
    scope: str
    reason: str


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


Query = Ping | ListOpenOrders | AskOutcome | ListBlocks


# ---------------------------------------------------------------------------------------------- replies


class Deferred(Body, frozen=True):
    request_id: int
    order_id: str
    lease_ns: int


class Accepted(Body, frozen=True):
    """A reservation. `replayed`: this very order had been accepted before, and this is the same answer."""

    reservation_id: int
    order_id: str
    state: OrderState
    lease_ns: int
    replayed: bool = False


class Refused(Body, frozen=True):
    rejected: Rejected


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
)

_encoder = msgspec.msgpack.Encoder()
encode = _encoder.encode
"""The bytes of a body. An encoder holds no state between calls, so one serves all threads."""

decode_hello = msgspec.msgpack.Decoder(Hello).decode
decode_command = msgspec.msgpack.Decoder(Command).decode
decode_query = msgspec.msgpack.Decoder(Query).decode
decode_reply = msgspec.msgpack.Decoder(Reply).decode
