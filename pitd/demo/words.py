"""What the demo's processes tell one another, as JSON: to the venue, from the venue, and to the demo itself."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

import pit


class Word(msgspec.Struct, frozen=True, tag=True):
    """One message. Prices and money are whole cents, so that sums are exact everywhere."""


# ---------------------------------------------------------------------------------------------- to the venue


class Logon(Word, frozen=True):
    """Executions of this client come to this connection from now on; `order_ids` asks how these stand just then."""

    client: str
    order_ids: tuple[str, ...] = ()


class NewOrder(Word, frozen=True):
    account: str
    order_id: str
    side: pit.Side
    quantity: int
    cents: int


class CancelOrder(Word, frozen=True):
    order_id: str


class AskStatus(Word, frozen=True):
    order_id: str


ToVenue = Logon | NewOrder | CancelOrder | AskStatus


# ---------------------------------------------------------------------------------------------- from the venue


class Status(Word, frozen=True):
    """How an order stands; `venue_order_id` is None when the venue has never seen it."""

    order_id: str
    venue_order_id: str | None
    filled: int
    is_open: bool


class LoggedOn(Word, frozen=True):
    cents: int
    statuses: tuple[Status, ...]


class Quote(Word, frozen=True):
    """The middle of the market."""

    cents: int


class Ack(Word, frozen=True):
    order_id: str
    venue_order_id: str


class Refusal(Word, frozen=True):
    order_id: str
    reason: str


class Execution(Word, frozen=True):
    """What happened to an order: sent to its strategy, and a second time on the drop copy."""

    account: str
    order_id: str
    venue_order_id: str
    report_id: str
    kind: pit.ReportKind
    quantity: int = 0
    cents: int = 0
    pnl_cents: int = 0
    fee_cents: int = 0


FromVenue = Status | LoggedOn | Quote | Ack | Refusal | Execution


def report_of(execution: Execution) -> pit.ExecutionReport:
    """The same report whoever sends it: the strategy, the drop copy, or both."""
    is_fill = execution.kind is pit.ReportKind.FILL
    return pit.ExecutionReport(
        account=execution.account,
        kind=execution.kind,
        report_id=execution.report_id,
        order_id=execution.order_id,
        venue_order_id=execution.venue_order_id,
        quantity=execution.quantity if is_fill else None,
        price=dollars(execution.cents) if is_fill else None,
        pnl=dollars(execution.pnl_cents),
        fee=dollars(execution.fee_cents),
    )


def dollars(cents: int) -> Decimal:
    return Decimal(cents).scaleb(-2)


# ---------------------------------------------------------------------------------------------- to the demo


class Ready(Word, frozen=True):
    who: str


class Said(Word, frozen=True):
    """One line for the log."""

    who: str
    text: str


class Mine(msgspec.Struct):
    """An accepted order as its strategy sees it."""

    quantity: int
    cents: int
    side: pit.Side
    state: str = "sent"
    """held, sent, unsure, working, then filled, cancelled or rolled back."""
    filled: int = 0
    born_s: float = 0.0
    cancel_sent_s: float | None = None


class Tally(msgspec.Struct):
    """A strategy's own count of what it did."""

    checks: int = 0
    accepted: int = 0
    rejected: dict[str, int] = {}
    filled: int = 0
    pnl_cents: int = 0
    refused_by_venue: int = 0
    unanswered: int = 0
    quarantined: int = 0
    reports_first: int = 0
    reports_again: int = 0

    def refused(self, code: str) -> None:
        self.rejected[code] = self.rejected.get(code, 0) + 1


class Progress(Word, frozen=True):
    who: str
    state: str
    tally: Tally


class Holding(Word, frozen=True):
    """The last words before a strategy is killed: everything it knows."""

    who: str
    tally: Tally
    orders: dict[str, Mine]
    held: tuple[str, ...]
    sent: tuple[str, ...]


class TookOver(Word, frozen=True):
    """What a successor found open, and what it made of it."""

    who: str
    found: dict[str, str]
    settled: dict[str, str]
    open_cents: int
    counted: Decimal | None


class Done(Word, frozen=True):
    who: str
    tally: Tally
    orders: dict[str, Mine]
    left_open: int
    counted: Decimal | None
    """What the open-notional limit still counts for its account; None when no probe was wanted."""


class VenueOrder(msgspec.Struct):
    account: str
    client: str
    side: pit.Side
    quantity: int
    cents: int
    venue_order_id: str
    filled: int = 0
    is_open: bool = True


class Ledger(Word, frozen=True):
    """The venue's own books at the end."""

    orders: dict[str, VenueOrder]
    reports: int
    refused: int
    silent: int


class TapeProgress(Word, frozen=True):
    who: str
    done: int
    total: int


class TapeDone(Word, frozen=True):
    who: str
    result: dict[str, Any]


News = Ready | Said | Progress | Holding | TookOver | Done | Execution | Ledger | TapeProgress | TapeDone

encode = msgspec.json.Encoder().encode
decode_to_venue = msgspec.json.Decoder[ToVenue](ToVenue).decode
decode_from_venue = msgspec.json.Decoder[FromVenue](FromVenue).decode
decode_news = msgspec.json.Decoder[News](News).decode
