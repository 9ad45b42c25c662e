"""Reports: what the venue says of orders, booked once; truth is never refused for what it says of a limit."""

from __future__ import annotations

from decimal import Decimal
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from pit.errors import InvalidInput
from pit.types import (
    MAX_SCALE,
    ExecutionReport,
    Order,
    ReportKind,
    ReportResult,
    Restriction,
    TradingState,
)

from . import balances, corrections, kills, pnl, positions, statuses
from . import entry as e
from .accounts import account_scope
from .entry import EndedBy, Failed, Failure
from .instruments import Listed
from .numbers import ZERO, NotRepresentable, canonical
from .orders import CLOSED, ENDED, SHARED_VENUE_ID, WORKING, Event, OrderRecord, Step, step
from .policy import Reported, Unvalued
from .results import result_of
from .sessions import Session

if TYPE_CHECKING:
    from .engine import Engine

REPORTS = "reports"
"""Who has set the trading state of an account that a fill of its own had set: the configuration's [reports]."""

LEAST_QUANTITY = Decimal(1).scaleb(-MAX_SCALE)
"""The smallest quantity that there is, where an instrument declares no lot."""


class _Moved(NamedTuple):
    effect: e.PositionChanged | None
    flags: tuple[str, ...]

    @property
    def realised(self) -> Decimal:
        return ZERO if self.effect is None else self.effect.realised


class _Fill(NamedTuple):
    effect: e.OrderFilled
    overfilled: bool
    of_modify: e.ModifyHolds | None = None


_STRICT = list(TradingState)
"""From loose to strict."""

_TRADED = frozenset({ReportKind.FILL, ReportKind.CORRECT, ReportKind.BUST})
"""The reports of what has traded: what they find closed, or unknown, or open again, is reacted to."""

_WITHOUT_STATE = frozenset({ReportKind.REPLACE_REJECTED, ReportKind.CANCEL_REJECTED})
"""What the venue refused to do says nothing of where the order stands: it may be unknown there, or be over."""

_FINAL = {
    ReportKind.CANCELLED: EndedBy.CANCELLED,
    ReportKind.EXPIRED: EndedBy.EXPIRED,
    ReportKind.REJECTED: EndedBy.REJECTED,
}


def _fingerprint(report: ExecutionReport) -> bytes:
    """What a report says, whatever zeros its numbers carry and by whichever id it names the order."""
    given = (report.quantity, report.price, report.pnl, report.fee)
    numbers = [None if number is None else str(canonical(number)) for number in given]
    about: tuple[str, ...] = () if report.fill_id is None else (report.fill_id,)
    if report.fee_asset is not None:
        about += ("fee in", report.fee_asset)
    return blake2b(msgspec.msgpack.encode((report.kind, *numbers, *about)), digest_size=8).digest()


class Reports:
    """Books what reports say. Deciding changes nothing; what is wanted goes through the engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def report(self, command: e.ApplyReport, session: Session) -> e.Reply:
        """Books a report of an order, or of one that only the venue knows, once."""
        engine = self._engine
        report = command.report
        fingerprint = _fingerprint(report)
        record = self.order_of(report, fingerprint)
        if record is None:
            return self.of_stranger(report, fingerprint)
        if isinstance(record, Failed):
            return record
        if (
            report.venue_order_id is not None
            and record.venue_order_id is not None
            and report.venue_order_id != record.venue_order_id
            and not self._may_be_called(record, report)
        ):
            return Failed(
                Failure.INVALID_INPUT,
                f"report {report.report_id}: order {record.order_id} is {record.venue_order_id} at the venue, "
                f"not {report.venue_order_id}",
            )
        before = None if record.reports is None else record.reports.get(report.report_id)
        if before is not None:
            if before != fingerprint:
                return Failed(
                    Failure.INVALID_INPUT,
                    f"report {report.report_id} of order {record.order_id} was applied before with other content; "
                    "this one changes nothing",
                )
            return e.Applied(result_of(record, (), (), already_applied=True))
        if record.reports is not None and len(record.reports) >= engine.bounds.reports_per_order:
            return Failed(Failure.CAPACITY_EXCEEDED, f"order {record.order_id} has had {len(record.reports)} reports")
        if report.kind in corrections.FLAGS:
            engine.lapse_if_due(record)
            return corrections.apply(engine, report, record, fingerprint)
        return self.book(report, record, fingerprint)

    def _may_be_called(self, record: OrderRecord, report: ExecutionReport) -> bool:
        """Whether the venue may call an order by another id than the last: by one from before, or by a modify's."""
        assert report.venue_order_id is not None
        return (
            report.kind is ReportKind.REPLACED
            or record.pending is not None
            or self._engine.orders.is_named(record, report.venue_order_id)
        )

    def order_of(self, report: ExecutionReport, fingerprint: bytes) -> OrderRecord | Failed | None:
        """The order that a report names by its own id, else by the venue's. One of several is never guessed."""
        engine = self._engine
        record = None if report.order_id is None else engine.orders.known_as(report.account, report.order_id)
        if record is not None or report.venue_order_id is None:
            return record
        fits = engine.orders.behind(report.account, report.venue_order_id, report.report_id, fingerprint)
        is_new_id = report.kind is ReportKind.REPLACED and len(fits) == 1  # the venue's own doing may give it one
        if (
            report.order_id is not None
            and not is_new_id
            and any(each.order_id != report.venue_order_id for each in fits)
        ):
            why = (
                f"report {report.report_id}: order {report.order_id} is not known here, and {report.venue_order_id} at "
                f"the venue is order {fits[0].order_id}; give the one that is right"
            )
            return Failed(Failure.INVALID_INPUT, why)
        if len(fits) > 1:
            named = ", ".join(each.order_id for each in fits)
            why = (
                f"report {report.report_id}: {report.venue_order_id} names several orders of account {report.account} "
                f"({named}), and nothing was booked; give report.order_id"
            )
            return Failed(Failure.INVALID_INPUT, why)
        return fits[0] if fits else None

    def book(
        self, report: ExecutionReport, record: OrderRecord, fingerprint: bytes, *, is_noted: bool = True
    ) -> e.Reply:
        """Books a report; one that stands for a status (not `is_noted`) has no identity of its own."""
        engine = self._engine
        id = record.reservation_id
        engine.lapse_if_due(record)
        final = _FINAL.get(report.kind)
        told_before = statuses.absorbed(record, report) if is_noted else ZERO
        whole = report
        try:
            report = statuses.without(report, told_before)
        except InvalidInput:
            return Failed(Failure.INVALID_INPUT, f"report {report.report_id}: a sum would be too large to be exact")
        if report.kind in _WITHOUT_STATE or (told_before and report.kind is not ReportKind.FILL):
            does = Step()
        else:
            does = step(Event.ALIVE_REPORT if final is None else Event.FINAL_REPORT, record)
        told = None
        listed = record.listed or (None if report.instrument is None else engine.instruments.find(report.instrument))
        try:
            fill = self._fill(report, record) if report.kind is ReportKind.FILL else None
            if report.kind is ReportKind.REPLACED and record.order is not None and record.state is not CLOSED:
                told = engine.modifies.replacement(report, record)
            moved = self._moved(report, record.order, listed, record.asked_by)
            paid = self._paid(report, record.order, listed, moved)
            wanted = self.policies_on(report, listed, moved.realised)
        except (NotRepresentable, Unvalued):
            return Failed(Failure.INVALID_INPUT, f"report {report.report_id}: a sum would be too large to be exact")
        if isinstance(wanted, Failed):
            return wanted
        if isinstance(fill, Failed):
            return fill
        if isinstance(told, Failed):
            return told
        flags = [*([does.flag] if does.flag else []), *moved.flags]
        if does.to is not None and does.to is not record.state:
            if does.to in ENDED:
                engine.modifies.order_ends(record)
            engine.emit(e.OrderMoved(id, does.to, final, ""))
        if report.venue_order_id is not None and engine.learn_name(record, report.venue_order_id):
            flags.append(SHARED_VENUE_ID)
        if told is not None:
            flags += told.flags
            engine.modifies.replaced(record, told, report.venue_order_id)
        elif report.kind is ReportKind.REPLACE_REJECTED:
            engine.modifies.replace_rejected(record)
        elif report.kind is ReportKind.CANCEL_REJECTED and (record.cancel_asked_ns or engine.cancels.is_asked(id)):
            engine.emit(e.CancelRefused(id, kills.again_ns(engine, id)))
        if fill is not None:
            if fill.of_modify is not None:
                engine.emit(fill.of_modify)
            engine.emit(fill.effect)
            if fill.overfilled:
                flags.append("overfill")
        if moved.effect is not None:
            engine.emit(moved.effect)
        if paid is not None:
            engine.emit(paid)
        is_filled = fill is not None and not record.open_quantity and not engine.modifies.may_go_on(record)
        if is_filled and record.state is WORKING:
            engine.modifies.order_ends(record)
            engine.emit(e.OrderMoved(id, CLOSED, EndedBy.FILLED, ""))
        for flag in flags:
            if flag not in record.flags:
                engine.emit(e.OrderFlagged(id, flag))
        is_final = final is not None or (not record.open_quantity and not engine.modifies.may_go_on(record))
        if is_noted:
            kept = None
            if whole.kind is ReportKind.FILL and listed is not None:
                kept = self._remembered(whole, record.order, listed, moved.effect, paid, told_before)
            engine.emit(e.ReportNoted(id, report.report_id, fingerprint, is_final, kept))
        if told_before:
            engine.emit(e.StatusNoted(id, record.ahead - told_before, record.ahead_worth))
        blocks = engine.emit_wanted(wanted)
        self.react(record.account, tuple(flags), report)
        engine.valuation.unrealised.note(report.account)
        return e.Applied(result_of(record, tuple(flags), (*blocks, *engine.revalue())))

    def _remembered(
        self,
        report: ExecutionReport,
        order: Order | None,
        listed: Listed,
        moved: e.PositionChanged | None,
        paid: e.BalancesMoved | None,
        told_before: Decimal,
    ) -> e.Fill:
        """A fill with what it did; the part that a status had counted before did so at the average of then."""
        engine = self._engine
        assert report.quantity is not None
        change = positions.Change(ZERO, ZERO, ZERO)
        if moved is not None:
            change = positions.Change(moved.quantity, moved.cost, moved.realised)
        side = report.side if order is None else order.side
        if told_before and side is not None:
            price = report.price if report.price is not None or order is None else order.price
            before = positions.filled(positions.FLAT, listed, side, told_before, price)
            change = positions.Change(change.quantity + before.quantity, change.cost + before.cost, change.realised)
        moves = () if paid is None else paid.moves
        if told_before and (engine.pipeline.asks_for_balances or engine.balances.keeps(report.account)):
            moves = balances.moved_by(report, order, listed, self.told_or_computed(report, change.realised))
        return corrections.fill_of(report, order, listed, change, moves, report.quantity - told_before)

    def react(self, account: str, flags: tuple[str, ...], report: ExecutionReport) -> None:
        """What the configuration wants done about fills that ought not to be: the account may only reduce, or halts."""
        engine = self._engine
        if not engine.reactions:
            return
        for flag in flags:
            state = engine.reactions.get(flag)
            if state is None or report.kind not in _TRADED:
                continue
            scope = account_scope(account)
            before = engine.trading.of(scope)
            if before is None or _STRICT.index(before.state) < _STRICT.index(state):
                named = report.order_id or report.venue_order_id
                why = f"{flag}: report {report.report_id} of order {named}"
                engine.emit(e.TradingStateSet(Restriction(scope=scope, state=state, author=REPORTS, reason=why)))

    def _fill(self, report: ExecutionReport, record: OrderRecord) -> _Fill | Failed:
        """What a fill leaves open, counted by the engine itself; never below zero."""
        engine = self._engine
        assert report.quantity is not None
        traded = report.quantity
        order, listed = record.order, record.listed
        if order is not None and order.volume is not None and listed is not None:
            if not report.price:
                return Failed(Failure.INVALID_INPUT, f"report {report.report_id}: a volume order's fill needs a price")
            traded = listed.notional(report.price, report.quantity)
        was_open = record.open_quantity
        overfilled = traded > record.may_trade and record.state is not CLOSED
        left = was_open - traded if traded < was_open else ZERO
        if traded is not report.quantity and listed is not None and report.price:
            least = listed.notional(report.price, listed.lot or LEAST_QUANTITY)
            left = left if left >= least else ZERO  # dust: not even the smallest quantity can trade for it
        holds = record.holds
        if record.pending is not None:
            shrunk_both = engine.modifies.fill(record, traded, left)
            if shrunk_both is None:
                return self.policy_failed(report)
            filled = e.OrderFilled(record.reservation_id, report.quantity, left, shrunk_both.holds)
            return _Fill(filled, overfilled, shrunk_both.effect)
        if left and order is not None and listed is not None:
            shrunk = engine.pipeline.shrink(holds, order, listed, left)
            if shrunk is None:
                return self.policy_failed(report)
            holds = shrunk
        return _Fill(e.OrderFilled(record.reservation_id, report.quantity, left, holds), overfilled)

    def _moved(self, report: ExecutionReport, order: Order | None, listed: Listed | None, client: str = "") -> _Moved:
        """What a report does to the position, and what about it has to be looked at."""
        engine = self._engine
        flags = [pnl.IGNORED] if report.pnl and engine.pnl_sources.computes(report.account) else []
        if listed is None or (report.kind is not ReportKind.FILL and not report.fee):
            return _Moved(None, tuple(flags))
        change = positions.Change(ZERO, ZERO, ZERO)
        if report.kind is ReportKind.FILL:
            assert report.quantity is not None
            side = report.side if order is None else order.side
            price = report.price if report.price is not None or order is None else order.price
            if side is None:
                flags.append("unknown_side")
            else:
                held = engine.positions.of(report.account, listed.symbol)
                change = positions.filled(held, listed, side, report.quantity, price)
            if report.price is None:
                flags.append("unpriced_fill")
        fee_asset = "" if report.fee_asset in (None, listed.settlement) else report.fee_asset or ""
        fee = report.fee or ZERO
        engine.positions.after(report.account, listed.symbol, change, fee, fee_asset)  # raises now, not when done
        effect = e.PositionChanged(report.account, listed.symbol, *change, fee, client, fee_asset)
        return _Moved(effect, tuple(flags))

    def _paid(
        self, report: ExecutionReport, order: Order | None, listed: Listed | None, moved: _Moved
    ) -> e.BalancesMoved | None:
        """What a report does to balances, where anybody keeps them. Raises NotRepresentable."""
        engine = self._engine
        if listed is None or not (engine.pipeline.asks_for_balances or engine.balances.keeps(report.account)):
            return None
        made = self.told_or_computed(report, moved.realised)
        moves = balances.added_up(balances.moved_by(report, order, listed, made))
        if not moves:
            return None
        engine.balances.after(report.account, moves)  # raises now rather than when it is done
        return e.BalancesMoved(report.account, moves)

    def policies_on(
        self, report: ExecutionReport, listed: Listed | None, realised: Decimal
    ) -> tuple[e.Effect, ...] | Failed:
        engine = self._engine
        if listed is None:
            if report.pnl or report.fee:
                return Failed(
                    Failure.INVALID_INPUT,
                    f"report {report.report_id}: the order is not known here, and without a known instrument its P&L "
                    "has no asset; give report.instrument",
                )
            return ()
        group = engine.accounts.group_of(report.account)
        made = self.made_by(report, listed.settlement, realised)
        wanted = engine.pipeline.report(Reported(report, group, listed.settlement, engine.now_ns, engine.days, made))
        return self.policy_failed(report) if wanted is None else wanted

    def told_or_computed(self, report: ExecutionReport, realised: Decimal) -> Decimal:
        """The P&L of a report whose fill has closed so much: by its account's rule, without the fee."""
        return realised if self._engine.pnl_sources.computes(report.account) else report.pnl or ZERO

    def made_by(self, report: ExecutionReport, settlement: str, realised: Decimal) -> pnl.Amounts:
        """What a report makes its account, of which so much was closed: by the account's own rule."""
        return pnl.made(report, settlement, realised, is_computed=self._engine.pnl_sources.computes(report.account))

    def policy_failed(self, report: ExecutionReport) -> Failed:
        return Failed(Failure.SYSTEM_UNAVAILABLE, f"report {report.report_id}: a policy failed; nothing changed")

    def of_stranger(self, report: ExecutionReport, fingerprint: bytes) -> e.Reply:
        """A fill of an unknown order is truth and flagged; anything else about one changes nothing, money apart."""
        engine = self._engine
        flags: tuple[str, ...] = ("unknown_order",)
        if report.kind in corrections.FLAGS:
            named = report.order_id or report.venue_order_id
            why = f"report {report.report_id}: fill {report.fill_id} of order {named} is not known here"
            return Failed(Failure.INVALID_INPUT, f"{why}, and nothing was changed")
        strange = () if engine.accounts.may_trade(report.account) else ("unknown_account",)
        if report.kind is not ReportKind.FILL and not report.pnl and not report.fee:
            return e.Applied(ReportResult(order_id=report.order_id, state=None, open_quantity=None, flags=flags))
        listed = None if report.instrument is None else engine.instruments.find(report.instrument)
        if report.instrument is not None and listed is None:
            return Failed(Failure.INVALID_INPUT, f"report {report.report_id}: {report.instrument} is not declared")
        if listed is None:
            return Failed(
                Failure.INVALID_INPUT,
                f"report {report.report_id}: order {report.order_id or report.venue_order_id} is not known here; "
                "give report.instrument, so that the fill can be booked",
            )
        try:
            moved = self._moved(report, None, listed)
            paid = self._paid(report, None, listed, moved)
            wanted = self.policies_on(report, listed, moved.realised)
        except NotRepresentable:
            return Failed(Failure.INVALID_INPUT, f"report {report.report_id}: a sum would be too large to be exact")
        if isinstance(wanted, Failed):
            return wanted
        order_id = report.order_id or report.venue_order_id
        assert order_id is not None
        if (
            report.account,
            order_id,
        ) in engine.orders.by_key:  # named by a venue id that is another order's own id
            return Failed(Failure.INVALID_INPUT, f"report {report.report_id}: {order_id} names another order here")
        engine.emit(e.StrangerNoted(engine.seq, report.account, order_id, report.venue_order_id))
        record = engine.orders.closed[engine.seq]
        if report.quantity is not None:
            engine.emit(e.OrderFilled(engine.seq, report.quantity, ZERO, ()))
        if moved.effect is not None:
            engine.emit(moved.effect)
        if paid is not None:
            engine.emit(paid)
        flags += (*strange, *moved.flags)
        for flag in flags[1:]:
            engine.emit(e.OrderFlagged(engine.seq, flag))
        is_fill = report.kind is ReportKind.FILL
        kept = self._remembered(report, None, listed, moved.effect, paid, ZERO) if is_fill and fingerprint else None
        if fingerprint:
            engine.emit(e.ReportNoted(engine.seq, report.report_id, fingerprint, False, kept))
        else:  # a status, which has no identity of its own
            assert report.quantity is not None
            worth = statuses.worth(listed, report.quantity, report.price)
            engine.emit(e.StatusNoted(engine.seq, report.quantity, worth))
        blocks = engine.emit_wanted(wanted)
        self.react(report.account, flags, report)
        engine.valuation.unrealised.note(report.account)
        return e.Applied(result_of(record, flags, (*blocks, *engine.revalue())))
