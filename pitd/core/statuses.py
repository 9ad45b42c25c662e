"""Cumulative sources: a status says how much of an order has traded so far, and is turned into what is missing here."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from pit.errors import InvalidInput
from pit.types import MAX_DIGITS, Block, ExecutionReport, Kind, OrderStatus, ReportKind, ReportResult, VenueState

from . import entry as e
from .entry import EndedBy, Failed, Failure
from .instruments import Listed
from .numbers import ZERO, NotRepresentable, canonical, divided_even, rounded_even
from .orders import CLOSED, ENDED, WORKING, OrderRecord
from .results import result_of
from .sessions import Session

if TYPE_CHECKING:
    from .engine import Engine

UNCLEAR = "unclear_status"
"""Flags an order of which a status says what was known before a fill was undone: it may be from before that."""

SHORT = "filled_short"
"""Flags an order that the venue calls filled with less than it was for."""

_FINAL = {
    VenueState.CANCELLED: ReportKind.CANCELLED,
    VenueState.EXPIRED: ReportKind.EXPIRED,
    VenueState.REJECTED: ReportKind.REJECTED,
}


def apply(engine: Engine, command: e.ApplyStatus, session: Session) -> e.Reply:
    """Books what a status knows and this engine does not, as one fill at the price that is missing, and what became of
    the order. A status with less traded than is known came late, and changes nothing at all.

    Neither does one that says no more than was known before a fill of the order was undone (flagged "unclear_status"):
    it may have been told before that, and nothing in it says so. By FIX a bust lowers CumQty, and an order that is back
    on the book may trade up to the same CumQty and AvgPx again; only the order of messages within one session tells the
    one from the other, and a status that comes after the bust that it knows nothing of came another way. Who tells
    busts tells fills as well: what has traded anew comes as a report. Until then it counts as open, so that nothing is
    lost of it; were it booked, what never was would stay in the position. Example: 10 are filled in 4 and 6, the 6 are
    busted: "10 have traded" changes nothing, "11 have traded" books 7, and "4 have traded, cancelled" ends it.
    """
    status = command.status
    bare = _report(status, ReportKind.ACCEPTED)
    record = engine.reports.order_of(bare, b"")
    if isinstance(record, Failed):
        return record
    if record is None:
        if not status.cum_quantity:
            return e.Applied(_unknown(status))
        fill = _report(status, ReportKind.FILL, status.cum_quantity, status.average_price)
        return engine.reports.of_stranger(fill, b"")
    engine.lapse_if_due(record)
    missing = status.cum_quantity - record.filled_quantity
    if missing < 0:
        return e.Applied(result_of(record, (), (), already_applied=True))
    if missing > 0 and status.cum_quantity <= record.peak:
        if UNCLEAR not in record.flags:
            engine.emit(e.OrderFlagged(record.reservation_id, UNCLEAR))
        return e.Applied(result_of(record, (UNCLEAR,), (), already_applied=True))
    flags: tuple[str, ...] = ()
    blocks: tuple[Block, ...] = ()
    is_news = False
    ahead, ahead_worth = record.ahead, record.ahead_worth
    if missing > 0:
        listed = record.listed or (None if status.instrument is None else engine.instruments.find(status.instrument))
        try:
            price = _missing_price(status, record, listed, missing)
            fill = _report(status, ReportKind.FILL, missing, price)
        except (NotRepresentable, InvalidInput):
            return Failed(
                Failure.INVALID_INPUT, f"status of order {record.order_id}: what is missing has no exact price"
            )
        reply = engine.reports.book(fill, record, b"", is_noted=False)
        if not isinstance(reply, e.Applied):
            return reply
        ahead, ahead_worth = ahead + missing, ahead_worth + worth(listed, missing, price)
        flags, blocks, is_news = reply.result.flags, reply.result.blocks, True
    kind = _FINAL.get(status.status)
    if kind is None and status.status is VenueState.WORKING and record.state not in (WORKING, *ENDED):
        kind = ReportKind.ACCEPTED
    if kind is not None and record.state not in ENDED:
        reply = engine.reports.book(_report(status, kind), record, b"", is_noted=False)
        if not isinstance(reply, e.Applied):
            return reply
        flags, is_news = (*flags, *reply.result.flags), True
    elif status.status is VenueState.FILLED and record.state not in ENDED and not engine.modifies.may_go_on(record):
        engine.modifies.order_ends(record)
        engine.emit(e.OrderMoved(record.reservation_id, CLOSED, EndedBy.FILLED, ""))
        flags, is_news = (*flags, SHORT), True
        if SHORT not in record.flags:
            engine.emit(e.OrderFlagged(record.reservation_id, SHORT))
    is_final = record.state is CLOSED and status.status is not VenueState.WORKING
    engine.emit(e.StatusNoted(record.reservation_id, ahead, ahead_worth, is_final))
    return e.Applied(result_of(record, flags, blocks, already_applied=not is_news))


def absorbed(record: OrderRecord, report: ExecutionReport) -> Decimal:
    """How much of a fill a status has counted before."""
    if report.kind is not ReportKind.FILL or not record.ahead:
        return ZERO
    assert report.quantity is not None
    return min(report.quantity, record.ahead)


def without(report: ExecutionReport, quantity: Decimal) -> ExecutionReport:
    """A fill without what a status has counted of it before: its money counts in any case."""
    if not quantity:
        return report
    assert report.quantity is not None
    if quantity < report.quantity:
        return msgspec.structs.replace(report, quantity=report.quantity - quantity)
    return msgspec.structs.replace(report, kind=ReportKind.ACCEPTED, quantity=None, price=None)


def _missing_price(status: OrderStatus, record: OrderRecord, listed: Listed | None, missing: Decimal) -> Decimal | None:
    """The price that brings the average to what the status says, rounded half-even to nine decimals; what the rounding
    takes, the next one gives. The average itself where that can be no price; None where the status says none.
    """
    average = status.average_price
    if average is None or not average:
        return None
    known = record.ahead_worth
    for fill in (record.fills or {}).values():
        known += worth(listed, fill.counted, average if fill.price is None else fill.price)
    missing_worth = worth(listed, status.cum_quantity, average) - known
    if listed is not None and listed.kind is Kind.INVERSE:
        price = divided_even(missing, missing_worth) if missing_worth else ZERO
    else:
        price = divided_even(missing_worth, missing)
    price = canonical(rounded_even(price))
    is_one = price > 0 or (listed is not None and listed.signed_price)
    return price if is_one and len(price.as_tuple().digits) <= MAX_DIGITS else average


def worth(listed: Listed | None, quantity: Decimal, price: Decimal | None) -> Decimal:
    """What adds up over fills to quantity × average price; of an inverse instrument quantity / average price."""
    if not price:
        return ZERO
    if listed is not None and listed.kind is Kind.INVERSE:
        return divided_even(quantity, price)
    return quantity * price


def _report(
    status: OrderStatus, kind: ReportKind, quantity: Decimal | None = None, price: Decimal | None = None
) -> ExecutionReport:
    """What a report would have said that the status stands for."""
    return ExecutionReport(
        account=status.account,
        kind=kind,
        report_id=f"status {status.cum_quantity:f}",
        order_id=status.order_id,
        venue_order_id=status.venue_order_id,
        quantity=quantity,
        price=price,
        instrument=status.instrument,
        side=status.side,
    )


def _unknown(status: OrderStatus) -> ReportResult:
    return ReportResult(order_id=status.order_id, state=None, open_quantity=None, flags=("unknown_order",))


__all__ = ["absorbed", "apply", "without", "worth"]
