"""What a day came to, for each account and asset, and what people and limits changed on it."""

from __future__ import annotations

import decimal
from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from pit.types import ExecutionReport, ReportKind

from .. import history
from ..core import entry as e
from ..core import reading
from ..core.engine import Engine, exact_context
from ..core.instruments import Listed
from ..core.numbers import ZERO, NotRepresentable, canonical
from ..core.reading import Reader
from ..errors import JournalDamaged, JournalFailed, NotFound
from ..recovery import newest_state
from . import words
from .pages import Pages

Progress = Callable[[int], None]
"""Told the row that it has come to, now and then."""

_SET_BACK_NS = 3_600_000_000_000
"""Rows are in the order of the engine's time. A wall clock may have been set back by so much and misses nothing."""


class Line(msgspec.Struct, kw_only=True):
    """One account in one asset (empty where an order's symbol is not declared): what settles in it, and fees paid in
    it.
    """

    account: str
    settlement: str
    orders: int = 0
    accepted: int = 0
    rejected: int = 0
    rejects: dict[str, int] = {}
    """By code; an order that several limits refuse stands under each code."""
    shadow_rejects: dict[str, int] = {}
    """By code, what shadow limits would have refused of the orders that were decided."""
    fills: int = 0
    quantity: Decimal = ZERO
    notional: Decimal = ZERO
    unpriced: int = 0
    """Fills whose price nobody told, which the notional lacks."""
    pnl: Decimal = ZERO
    """As it was reported, before fees."""
    fees: Decimal = ZERO


class Change(msgspec.Struct, kw_only=True):
    """What a person, a limit or a start of the daemon changed, in one row of the journal."""

    seq: int
    wall_ns: int
    author: str
    what: str
    reason: str


class Day(msgspec.Struct, kw_only=True):
    date: str
    zone: str
    first_seq: int = 0
    last_seq: int = 0
    """The rows of that day; 0 where it has none."""
    missing: str = ""
    """What of the day is no longer in the journal, or nothing."""
    accounts: list[Line]
    changes: list[Change]


def report(
    directory: Path, blank: Callable[[], Engine], day: date, zone: ZoneInfo, progress: Progress = lambda _: None
) -> Day:
    """Reads a journal's files, of a stopped daemon or a live one, and changes nothing.

    `blank` gives an engine without settings. Raises JournalFailed, JournalDamaged.
    """
    start_ns, end_ns = (_wall_ns(each, zone) for each in (day, day + timedelta(days=1)))
    found = history.read_segments(directory)
    if not found:
        raise JournalFailed(f"{directory}: there is no journal")
    pages = Pages(directory)
    begin_seq = _begin_seq(pages, [each.first_seq for each in found], start_ns - _SET_BACK_NS)
    with decimal.localcontext(exact_context()):
        engine, head = newest_state(directory, found, blank, upto=(begin_seq or found[0].first_seq) - 1)
        tally = _Tally(engine)
        told = Day(date=day.isoformat(), zone=str(zone), accounts=[], changes=tally.changes)
        if not begin_seq and found[0].first_seq > 1:
            told.missing = f"rows before {found[0].first_seq} were pruned; some of them may belong to this day"
        reader = Reader(engine.policies)
        for line in pages.rows(head.seq):
            try:
                row = reader.row(line.row)
                wall_ns = row.entry.wall_ns
                if wall_ns >= end_ns + _SET_BACK_NS:
                    break
                tally.take(row, is_meant=start_ns <= wall_ns < end_ns)
            except (msgspec.MsgspecError, ValueError, AssertionError) as trouble:
                raise JournalDamaged(
                    f"row {line.seq} of {directory} cannot be understood: {trouble!r}. {history.show_more(directory)}"
                ) from trouble
            if not line.seq % 1_000:
                progress(line.seq)
        told.first_seq, told.last_seq = tally.first_seq, tally.last_seq
        told.accounts = tally.lines()
    return told


def _begin_seq(pages: Pages, first_seqs: Sequence[int], wall_ns: int) -> int:
    """The first row of the last file that begins by then; 0 where even the oldest one begins later."""
    for seq in reversed(first_seqs):
        try:
            if reading.decode(pages.line(seq).row).entry.wall_ns <= wall_ns:
                return seq
        except NotFound:
            continue  # a file that has no row yet
    return 0


def _wall_ns(day: date, zone: ZoneInfo) -> int:
    """When a day begins there: with 23 or 25 hours to go, some days."""
    return int(datetime.combine(day, time(), zone).timestamp()) * 1_000_000_000


class _Tally:
    """Follows the rows with an engine, which knows what they are about, and counts those that are meant."""

    def __init__(self, engine: Engine) -> None:
        self.changes: list[Change] = []
        self.first_seq = 0
        self.last_seq = 0
        self._engine = engine
        self._lines: dict[tuple[str, str], Line] = {}

    def lines(self) -> list[Line]:
        """By account, then asset."""
        for line in self._lines.values():
            line.quantity, line.notional = canonical(line.quantity), canonical(line.notional)
            line.pnl, line.fees = canonical(line.pnl), canonical(line.fees)
            line.rejects = dict(sorted(line.rejects.items(), key=lambda each: (-each[1], each[0])))
            line.shadow_rejects = dict(sorted(line.shadow_rejects.items(), key=lambda each: (-each[1], each[0])))
        return [self._lines[key] for key in sorted(self._lines)]

    def take(self, row: e.Row, *, is_meant: bool) -> None:
        engine, body, reply = self._engine, row.entry.body, row.reply
        order = None
        settings = engine.settings
        if is_meant and isinstance(body, e.Commanded):
            match body.command:
                case e.CheckOrder():
                    order = body.command.order
                case e.StartOrder() if isinstance(reply, e.Refused):  # else it is counted when it is executed
                    order = body.command.order
                case e.ExecuteRequest():
                    request = engine.requests.get(body.command.request_id)
                    order = None if request is None else request.order
        before = self._corrected(row) if is_meant else None
        engine.carry_out(e.deed_of(row))
        if not is_meant:
            return
        self.first_seq = self.first_seq or row.entry.seq
        self.last_seq = row.entry.seq
        if isinstance(body, e.Commanded) and isinstance(body.command, e.CheckMany) and isinstance(reply, e.ManyChecked):
            for each, answer in zip(body.command.orders, reply.answers, strict=True):
                if not (isinstance(answer, e.Accepted) and answer.replayed):
                    self._ordered(self._line(each.account, engine.instruments.find(each.instrument)), answer)
        if order is not None and isinstance(reply, e.Accepted | e.Refused):
            listed = engine.instruments.find(order.instrument)
            if not (isinstance(reply, e.Accepted) and reply.replayed):
                self._ordered(self._line(order.account, listed), reply)
        elif isinstance(body, e.Commanded) and isinstance(body.command, e.ApplyReport):
            self._reported(body.command, row, before)
        self._changed(row, settings)

    @staticmethod
    def _fee_asset(report: ExecutionReport, before: e.Fill | None) -> str | None:
        """What a fee was paid in; None for the settlement asset. Another asset than the fill's own is not corrected."""
        if before is not None and (before.fee or report.fee_asset is None):
            return before.fee_asset
        return report.fee_asset

    def _line(self, account: str, listed: Listed | None) -> Line:
        return self._line_in(account, "" if listed is None else listed.settlement)

    def _line_in(self, account: str, asset: str) -> Line:
        key = (account, asset)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = Line(account=key[0], settlement=key[1], rejects={}, shadow_rejects={})
        return line

    def _ordered(self, line: Line, reply: e.Accepted | e.Refused) -> None:
        line.orders += 1
        for code in dict.fromkeys(str(reject.code) for reject in e.shadow_rejects_of(reply)):
            line.shadow_rejects[code] = line.shadow_rejects.get(code, 0) + 1
        if isinstance(reply, e.Accepted):
            line.accepted += 1
            return
        line.rejected += 1
        for code in dict.fromkeys(map(str, reply.rejected.codes)):
            line.rejects[code] = line.rejects.get(code, 0) + 1

    def _corrected(self, row: e.Row) -> e.Fill | None:
        """The fill that a row takes back or tells anew, as it was until then."""
        for effect in row.effects:
            if isinstance(effect, e.FillChanged):
                record = self._engine.orders.find(effect.reservation_id)
                return None if record is None or record.fills is None else record.fills.get(effect.fill_id)
        return None

    def _reported(self, command: e.ApplyReport, row: e.Row, before: e.Fill | None) -> None:
        report, reply = command.report, row.reply
        if not isinstance(reply, e.Applied) or reply.result.already_applied:
            return
        noted = next((each for each in row.effects if isinstance(each, e.ReportNoted)), None)
        if noted is None:
            return  # of an order that nobody knows, and without money
        record = self._engine.orders.find(noted.reservation_id)
        listed = None if record is None else record.listed
        if listed is None and report.instrument is not None:
            listed = self._engine.instruments.find(report.instrument)
        line = self._line(report.account, listed)
        pnl, fee = report.pnl or ZERO, report.fee or ZERO
        if before is not None:  # what a correction leaves out stays
            kept = report.kind is ReportKind.CORRECT
            pnl = (before.pnl if kept and report.pnl is None else pnl) - before.pnl
            fee = (before.fee if kept and report.fee is None else fee) - before.fee
        line.pnl += pnl
        if fee:
            asset = self._fee_asset(report, before)
            (line if asset is None else self._line_in(report.account, asset)).fees += fee
        if report.kind is not ReportKind.FILL or report.quantity is None:
            return
        line.fills += 1
        line.quantity += report.quantity
        order = None if record is None else record.order
        price = report.price if report.price is not None or order is None else order.price
        try:
            if price is None or listed is None:
                raise NotRepresentable
            line.notional += listed.notional(price, report.quantity)
        except (NotRepresentable, decimal.DecimalException):
            line.unpriced += 1

    def _changed(self, row: e.Row, settings: str) -> None:
        body = row.entry.body
        match body:
            case e.Configured():
                what = "started" if body.settings == settings else "configured anew"
                self._note(row, body.author, what, body.reason)
            case e.Poisoned():
                self._note(row, "pitd", f"poisoned {body.what}: {body.scope} is blocked", body.why)
            case e.Commanded() if not isinstance(row.reply, e.Failed | e.Refused) and _is_of_a_person(body.command):
                session = self._engine.sessions.get(body.session)
                author = session.client if session is not None else "unknown"
                self._note(row, author, words.command(body.command), getattr(body.command, "reason", ""))
                return
        for effect in row.effects:
            if isinstance(effect, e.Blocked) and not isinstance(body, e.Poisoned):
                block = effect.block
                self._note(row, block.author, f"{block.limit} tripped: {block.scope} is blocked", block.reason)
            elif isinstance(effect, e.ShadowBlocked):
                block = effect.block
                what = f"{block.limit} (shadow) tripped: {block.scope} would be blocked"
                self._note(row, block.author, what, block.reason)

    def _note(self, row: e.Row, author: str, what: str, reason: str) -> None:
        what = what.removesuffix(f" ({reason})")
        entry = row.entry
        self.changes.append(Change(seq=entry.seq, wall_ns=entry.wall_ns, author=author, what=what, reason=reason))


_OF_STRATEGIES = (e.Rollback, e.Quarantine)
"""Commands with a reason that are no change of rules, but the life of one order."""


def _is_of_a_person(command: e.Command) -> bool:
    return hasattr(command, "reason") and not isinstance(command, _OF_STRATEGIES)
