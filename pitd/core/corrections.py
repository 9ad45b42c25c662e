"""Corrections: a fill that the venue undoes, or tells anew. What it did is taken back by the very same numbers."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from pit.errors import InvalidInput
from pit.types import ExecutionReport, Order, ReportKind

from . import balances, positions
from . import entry as e
from .entry import EndedBy, Failed, Failure, Fill, Hold
from .instruments import Listed
from .numbers import ZERO, NotRepresentable
from .orders import AT_ONCE, CLOSED, WORKING, OrderRecord
from .policy import Unvalued, whole_quantity
from .positions import Change, Position
from .results import result_of

if TYPE_CHECKING:
    from .engine import Engine

FLAGS = {ReportKind.BUST: "bust", ReportKind.CORRECT: "corrected"}
"""An operator should look at orders with them: the venue has changed what it had told."""

REOPENED = "reopened"
"""Flags an order that had been filled and, as a fill of it was undone, may trade again: nobody knows yet."""


def apply(engine: Engine, report: ExecutionReport, record: OrderRecord, fingerprint: bytes) -> e.Reply:
    """Takes back what a fill did to the order, the position, balances and P&L, and books what the venue says instead.

    An order that works at the venue may trade again what was undone. One that was over because it was filled is not
    filled any more: by FIX its LeavesQty is its OrderQty less its CumQty again, and though many venues never put a
    busted quantity back on their books, a bust does not say so. Until somebody does, it works again and what was undone
    counts as open (flagged "reopened"): a cancel, an expiry, an order status or a person settles it, and the end of its
    day does. `[gate] on_bust = "close"` is for venues that never put it back. Example: buy 10 @ 100 is filled in fills
    of 4 and 6, and the 6 are busted: 4 are held and 600 USD open again; "cancelled" closes it, the 4 stay.

    An order that ended in any other way stays over, as FIX has it ("canceled" goes before "new"). So does one that
    could not rest at a venue: without a price, IOC or FOK, or of a day that is over.

    The position goes back by the differences that the fill had made, so that undoing the last one leaves
    no trace. Where others came after it, cost and realised P&L together are right to the last digit, and a position
    that is flat then has no cost.
    """
    who = f"report {report.report_id}: fill {report.fill_id} of order {record.order_id}"
    fill = None if record.fills is None or report.fill_id is None else record.fills.get(report.fill_id)
    if fill is None:
        known = ", ".join(list(record.fills or ())[-5:]) or "none"
        return Failed(Failure.INVALID_INPUT, f"{who} is not known here, and nothing was changed; known: {known}")
    if not fill.quantity:
        return Failed(Failure.INVALID_INPUT, f"{who} was undone before; nothing was changed")
    listed = record.listed or engine.instruments.named(fill.symbol)
    if listed is None:
        return Failed(Failure.INVALID_INPUT, f"{who}: {fill.symbol} is no longer declared, so it cannot be booked")
    by_volume = record.order is not None and record.order.volume is not None
    if report.kind is ReportKind.CORRECT and by_volume and not (report.price or fill.price):
        return Failed(Failure.INVALID_INPUT, f"{who}: a volume order's fill needs a price")
    if not fill.fee and report.fee_asset is not None:
        fill = msgspec.structs.replace(fill, fee_asset=report.fee_asset)  # it had none, so there is none to take back
    if report.fee and report.fee_asset not in (None, fill.fee_asset or listed.settlement):
        why = f"{who}: its fee was in {fill.fee_asset or listed.settlement}, and is corrected in that"
        return Failed(Failure.INVALID_INPUT, why)
    report = _whole(report, fill)
    pnl, fee = report.pnl or ZERO, report.fee or ZERO
    try:
        again = _told_anew(engine, report, record, fill, listed)
        net_fee = fee - fill.fee
        net = msgspec.structs.replace(report, pnl=pnl - fill.pnl, fee=net_fee, fee_asset=fill.fee_asset)
        fee_asset = "" if fill.fee_asset in (None, listed.settlement) else fill.fee_asset or ""
        wanted = engine.reports.policies_on(net, listed, again.realised - fill.realised)
        more = again.traded - _traded(record.order, listed, fill.quantity, fill.price)  # it may be known only since
        reopens = more < 0 and _may_reopen(engine, record)
        left = _left(record, more, is_open=reopens or record.state is WORKING)
        holds, of_modify = record.holds, None
        again_open: tuple[Hold, ...] = ()
        if reopens:
            holds = engine.modifies.hold_again(record, left)
            assert record.order is not None
            shrunk = engine.pipeline.shrink_what_counts_on(holds, record.order, listed, left)
            if shrunk is None:
                return engine.reports.policy_failed(report)
            again_open = shrunk
        elif record.state is WORKING and record.order is not None:
            if record.pending is not None:
                both = engine.modifies.fill(record, more, left)
                if both is None:
                    return engine.reports.policy_failed(report)
                holds, of_modify = both.holds, both.effect
            elif left:
                shrunk = engine.pipeline.shrink(holds, record.order, listed, left)
                if shrunk is None:
                    return engine.reports.policy_failed(report)
                holds = shrunk
        change = Change(again.moved - fill.moved, again.cost - fill.cost, again.realised - fill.realised)
        engine.positions.after(record.account, fill.symbol, change, net_fee, fee_asset)  # raises now, not when done
        moves = balances.added_up((*again.moves, *((asset, -amount) for asset, amount in fill.moves)))
        engine.balances.after(record.account, moves)
    except (NotRepresentable, Unvalued, InvalidInput):  # also a difference of more digits than a report may have
        return Failed(Failure.INVALID_INPUT, f"report {report.report_id}: a sum would be too large to be exact")
    if isinstance(wanted, Failed):
        return wanted
    id = record.reservation_id
    is_over = record.state is WORKING and more > record.may_trade
    if of_modify is not None:
        engine.emit(of_modify)
    engine.emit(e.OrderFilled(id, again.quantity - fill.quantity, left, holds))
    if any(change) or net_fee:
        engine.emit(e.PositionChanged(record.account, fill.symbol, *change, net_fee, record.asked_by, fee_asset))
    if moves:
        engine.emit(e.BalancesMoved(record.account, moves))
    if reopens:
        engine.emit(e.OrderMoved(id, WORKING, None, f"{FLAGS[report.kind]}: fill {report.fill_id}"))
        if again_open != holds:
            engine.emit(e.HoldsReplaced(id, again_open))
    elif record.state is WORKING and not record.open_quantity and not engine.modifies.may_go_on(record):
        engine.modifies.order_ends(record)
        engine.emit(e.OrderMoved(id, CLOSED, EndedBy.FILLED, ""))
    flags = (FLAGS[report.kind], *(("overfill",) if is_over else ()), *((REOPENED,) if reopens else ()))
    for flag in flags:
        if flag not in record.flags:
            engine.emit(e.OrderFlagged(id, flag))
    assert report.fill_id is not None
    engine.emit(e.FillChanged(id, report.fill_id, again))
    engine.emit(e.ReportNoted(id, report.report_id, fingerprint))
    blocks = engine.emit_wanted(wanted)
    engine.reports.react(record.account, flags, report)
    engine.valuation.unrealised.note(record.account)
    return e.Applied(result_of(record, flags, (*blocks, *engine.revalue())))


def _whole(report: ExecutionReport, fill: Fill) -> ExecutionReport:
    """A correction with all that a fill is from then on: what it leaves out is as it was."""
    if report.kind is not ReportKind.CORRECT:
        return report
    return msgspec.structs.replace(
        report,
        quantity=fill.quantity if report.quantity is None else report.quantity,
        pnl=fill.pnl if report.pnl is None else report.pnl,
        fee=fill.fee if report.fee is None else report.fee,
    )


def fill_of(
    report: ExecutionReport,
    order: Order | None,
    listed: Listed,
    change: Change,
    moves: balances.Moves,
    counted: Decimal,
) -> Fill:
    """A fill as it is remembered, so that it can be undone."""
    assert report.quantity is not None
    price = report.price if report.price is not None or order is None else order.price
    return Fill(
        symbol=listed.symbol,
        quantity=report.quantity,
        price=price,
        side=report.side if order is None else order.side,
        pnl=report.pnl or ZERO,
        fee=report.fee or ZERO,
        traded=_traded(order, listed, report.quantity, price),
        moved=change.quantity,
        cost=change.cost,
        realised=change.realised,
        moves=moves,
        counted=counted,
        fee_asset=report.fee_asset,
    )


def _told_anew(engine: Engine, report: ExecutionReport, record: OrderRecord, fill: Fill, listed: Listed) -> Fill:
    """What a fill is from now on; nothing at all where it is undone. Raises NotRepresentable."""
    held = engine.positions.of(record.account, fill.symbol)
    quantity, cost = held.quantity - fill.moved, held.cost - fill.cost
    shift = ZERO if quantity else -cost  # what is flat has no cost: it was made, or lost
    base = Position(quantity, cost + shift, held.realised - fill.realised + shift, held.fees)
    keeps = engine.pipeline.asks_for_balances or engine.balances.keeps(record.account)
    if report.kind is ReportKind.BUST:
        told = msgspec.structs.replace(report, fee_asset=fill.fee_asset)
        made = engine.reports.told_or_computed(report, shift)
        moves = balances.moved_by(told, record.order, listed, made) if keeps else ()
        return msgspec.structs.replace(
            fill,
            quantity=ZERO,
            counted=ZERO,
            pnl=report.pnl or ZERO,
            fee=report.fee or ZERO,
            traded=ZERO,
            moved=ZERO,
            cost=shift,
            realised=shift,
            moves=moves,
        )
    price = fill.price if report.price is None else report.price
    assert report.quantity is not None
    whole = msgspec.structs.replace(
        report, kind=ReportKind.FILL, price=price, side=fill.side, fill_id=None, fee_asset=fill.fee_asset
    )
    change = Change(ZERO, ZERO, ZERO)
    if fill.side is not None:
        change = positions.filled(base, listed, fill.side, report.quantity, price)
    change = Change(change.quantity, change.cost + shift, change.realised + shift)
    made = engine.reports.told_or_computed(report, change.realised)
    moves = balances.moved_by(whole, record.order, listed, made) if keeps else ()
    return fill_of(whole, record.order, listed, change, moves, report.quantity)


def _may_reopen(engine: Engine, record: OrderRecord) -> bool:
    """Whether an order that was filled may be open at the venue once it is filled no more."""
    if not engine.bounds.busts_reopen or record.state is not CLOSED or record.ended_by is not EndedBy.FILLED:
        return False
    order, listed = record.order, record.listed
    if order is None or listed is None or not _may_rest(order):
        return False
    return not engine.days.is_past(record.account, order, e.row_of(record.reservation_id))


def _may_rest(order: Order) -> bool:
    return order.price is not None and order.time_in_force not in AT_ONCE


def kept(engine: Engine, record: OrderRecord) -> tuple[Hold, ...]:
    """What an order that a final report closed remembers of its holds: where a bust may open it again, those that count
    on. Nothing else of it ever comes back.
    """
    counts_on = engine.pipeline.counts_on
    if not counts_on or not engine.bounds.busts_reopen or record.ended_by is not EndedBy.FILLED:
        return ()
    if record.order is None or not _may_rest(record.order):
        return ()
    return tuple(hold for hold in record.holds if hold.policy in counts_on)


def _left(record: OrderRecord, more: Decimal, *, is_open: bool) -> Decimal:
    """What may trade of an order once so much more of it has traded (below zero: less)."""
    if not is_open or record.order is None:
        return record.open_quantity
    whole = whole_quantity(record.order)
    if record.order.volume is None:
        return min(max(whole - record.filled_quantity - more, ZERO), whole)
    return min(max(record.open_quantity - more, ZERO), whole)


def _traded(order: Order | None, listed: Listed, quantity: Decimal, price: Decimal | None) -> Decimal:
    """How much of what the order is for: units, or an amount of the settlement asset."""
    if order is None or order.volume is None or not price:
        return quantity
    return listed.notional(price, quantity)


__all__ = ["FLAGS", "REOPENED", "apply", "fill_of", "kept"]
