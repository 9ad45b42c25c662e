"""What became of an order, as the journal tells it: the rows that concern it, and where it stands after them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal

import msgspec

from pit.types import OrderState, Outcome, RejectCode, Rejected

from ..core import entry as e
from ..core import reading
from ..core.numbers import ZERO, canonical
from ..core.orders import ENDED, OrderRecord, unpacked
from ..core.policy import whole_quantity
from ..errors import JournalDamaged
from ..journal import read_snapshot
from .pages import Pages

_pack = msgspec.msgpack.encode

_PATTERNS_MOST = 200
"""SQLite looks for so many at once. Of an id that was used more often, every row is looked at."""

_BY_ID = tuple(
    _pack(kind.__name__)
    for kind in (
        e.ExecuteRequest,
        e.MarkSent,
        e.Commit,
        e.Rollback,
        e.Quarantine,
        e.Renew,
        e.RequestEnded,
        e.OrderMoved,
        e.OrderFilled,
        e.OrderNamed,
        e.OrderFlagged,
        e.ReportNoted,
        e.LeaseSet,
        e.OrderTaken,
        e.ModifyOpened,
        e.ModifyMoved,
        e.OrderReplaced,
        e.CancelAsked,
        e.CancelRefused,
        e.FillChanged,
        e.StatusNoted,
    )
)
"""What names a reservation or request does so right behind its tag. A drop is found by what it did."""

_OPENED_HERE = _pack(reading.OpenedHere.__name__)


class Refusal(msgspec.Struct, frozen=True):
    """One no that an order id was given."""

    seq: int
    wall_ns: int
    session: int
    rejected: Rejected


class Fate(msgspec.Struct, kw_only=True):
    """What became of one order id of one account. `state` is None while no order of that id was ever accepted."""

    account: str
    order_id: str
    client: str = ""
    taken_from: str = ""
    """The client that had it checked, where a gateway has taken it since."""
    reservation_id: int = 0
    state: OrderState | None = None
    ended_by: e.EndedBy | None = None
    reason: str = ""
    filled_quantity: Decimal = ZERO
    open_quantity: Decimal = ZERO
    venue_order_id: str | None = None
    flags: tuple[str, ...] = ()
    refusal: Refusal | None = None
    """The last one."""
    request: e.RequestOpened | None = None
    """The last one that passed the start stage."""
    request_ended_by: e.EndedBy | None = None
    wall_ns: int = 0
    """When it was last heard of."""
    decided: e.Row | None = None
    """The row that accepted it, or the last one that refused it."""

    def outcome(self) -> Outcome | None:
        """The same as the daemon answers while it remembers the order; None where none was accepted."""
        if self.state is None:
            return None
        return Outcome(
            account=self.account,
            order_id=self.order_id,
            state=self.state,
            ended_by=None if self.ended_by is None else str(self.ended_by),
            reason=self.reason,
            filled_quantity=canonical(self.filled_quantity),
            open_quantity=ZERO if self.state in ENDED else canonical(self.open_quantity),
            venue_order_id=self.venue_order_id,
            flags=self.flags,
        )


class Tale:
    """Takes rows in, in order, and keeps to those of one order id: in every account, or in the one given."""

    def __init__(self, order_id: str, account: str | None = None) -> None:
        self.fates: dict[str, Fate] = {}
        """By account."""
        self.patterns: list[bytes] = [_pack(order_id)]
        """The bytes of which a row must contain one. It grows with every reservation that is found."""
        self._order_id = order_id
        self._account = account
        self._ids: dict[int, Fate] = {}
        self._followed: set[int] = set()
        """Reservations of orders that came by this id later: by a modify."""
        self._tagged: list[bytes] = []

    def follow(self, reservation_id: int) -> None:
        """Takes an order in that has come by the id later: `reservation_id` is the row that accepted it."""
        self._followed.add(reservation_id)
        self.patterns.append(_pack(reservation_id))
        self._tagged += [tag + _pack(reservation_id) for tag in (*_BY_ID, _pack(e.OrderOpened.__name__), _OPENED_HERE)]

    def remember(self, record: OrderRecord) -> None:
        """Begins with an order as a snapshot knows it, since the rows before that were pruned."""
        fate = self._fate(record.account)
        fate.order_id = record.order_id
        for name in ("client", "reservation_id", "state", "ended_by", "reason", "filled_quantity", "open_quantity"):
            setattr(fate, name, getattr(record, name))
        fate.venue_order_id, fate.flags, fate.taken_from = record.venue_order_id, record.flags, record.taken_from
        self._know(record.reservation_id, fate)

    def may_concern(self, encoded: bytes) -> bool:
        """Whether it is worth decoding: small numbers stand in many rows that mean something else by them."""
        return self.patterns[0] in encoded or any(tagged in encoded for tagged in self._tagged)

    def take(self, row: e.Row) -> bool:
        """Whether the row concerns the order; then its fate is what the row made of it."""
        fates = {id(fate): fate for fate in (*self._by_entry(row), *self._by_effects(row))}
        for fate in fates.values():
            fate.wall_ns = row.entry.wall_ns
        return bool(fates)

    # ------------------------------------------------------------------------------------------ within

    def _by_entry(self, row: e.Row) -> Iterator[Fate]:
        body = row.entry.body
        if type(body) is not e.Commanded:
            return
        command = body.command
        account: str | None = None
        match command:
            case e.StartOrder() | e.CheckOrder() if command.order.id == self._order_id:
                account = command.order.account
            case e.ApplyReport():
                told = row.reply.result.order_id if isinstance(row.reply, e.Applied) else None
                if self._order_id in (command.report.order_id, told):
                    account = command.report.account
            case (
                e.SettleOrder() | e.CloseOrder() | e.TakeOrder() | e.ModifyOrder() | e.SettleModify() | e.CancelOrder()
            ) if command.order_id == self._order_id:
                account = command.account
            case e.ApplyStatus() if command.status.order_id == self._order_id:
                account = command.status.account
            case e.ExecuteRequest() if command.request_id in self._ids:
                account = self._ids[command.request_id].account
            case e.MarkSent() | e.Commit() | e.Rollback() | e.Quarantine() | e.Renew():
                if command.reservation_id in self._ids:
                    account = self._ids[command.reservation_id].account
        if isinstance(command, e.CheckMany):
            yield from self._by_one_of(row, command, body.session)
        if account is None or self._account not in (None, account):
            return
        fate = self._fate(account)
        if isinstance(row.reply, e.Refused) and isinstance(command, e.StartOrder | e.CheckOrder | e.ExecuteRequest):
            fate.refusal = Refusal(row.entry.seq, row.entry.wall_ns, body.session, row.reply.rejected)
            fate.decided = row
        yield fate

    def _by_one_of(self, row: e.Row, command: e.CheckMany, session: int) -> Iterator[Fate]:
        """The order's own refusal among those of several."""
        for order, answer in zip(command.orders, _answers(row.reply), strict=False):
            if order.id != self._order_id or self._account not in (None, order.account):
                continue
            fate = self._fate(order.account)
            if isinstance(answer, e.Refused):
                fate.refusal = Refusal(row.entry.seq, row.entry.wall_ns, session, answer.rejected)
                fate.decided = e.Row(row.entry, row.effects, answer)
            yield fate

    def _by_effects(self, row: e.Row) -> Iterator[Fate]:
        for effect in row.effects:
            match effect:
                case e.OrderOpened() | e.RequestOpened():
                    order = effect.order
                    is_followed = isinstance(effect, e.OrderOpened) and effect.reservation_id in self._followed
                    if (order.id != self._order_id and not is_followed) or self._account not in (None, order.account):
                        continue
                    fate = self._fate(order.account)
                    fate.order_id = order.id
                    if isinstance(effect, e.OrderOpened):
                        self._opened(fate, effect)
                        fate.decided = _alone(row, effect)
                        self._know(effect.reservation_id, fate)
                    else:
                        fate.request, fate.request_ended_by = effect, None
                        self._know(effect.request_id, fate)
                    yield fate
                case e.StrangerNoted():
                    if effect.order_id != self._order_id or self._account not in (None, effect.account):
                        continue
                    fate = self._fate(effect.account)
                    _renew(fate, effect.reservation_id, "", OrderState.CLOSED, ZERO)
                    fate.ended_by, fate.venue_order_id = e.EndedBy.NEVER_KNOWN, effect.venue_order_id
                    fate.flags = ("unknown_order",)
                    self._know(effect.reservation_id, fate)
                    yield fate
                case e.RequestEnded():
                    if effect.request_id in self._ids:
                        fate = self._ids[effect.request_id]
                        if fate.request is not None and fate.request.request_id == effect.request_id:
                            fate.request_ended_by = effect.ended_by
                        yield fate
                case (
                    e.OrderMoved()
                    | e.OrderFilled()
                    | e.OrderNamed()
                    | e.OrderFlagged()
                    | e.ReportNoted()
                    | e.LeaseSet()
                    | e.OrderTaken()
                    | e.ModifyOpened()
                    | e.ModifyMoved()
                    | e.OrderReplaced()
                    | e.CancelAsked()
                    | e.CancelRefused()
                    | e.FillChanged()
                    | e.StatusNoted()
                ):
                    if effect.reservation_id in self._ids:
                        fate = self._ids[effect.reservation_id]
                        if isinstance(effect, e.ModifyOpened):
                            self._know(effect.modify_id, fate)  # what settles the modify is about the order too
                        if fate.reservation_id == effect.reservation_id:
                            _carry_out(fate, effect)
                        yield fate

    def _opened(self, fate: Fate, effect: e.OrderOpened) -> None:
        _renew(fate, effect.reservation_id, effect.client, effect.state, whole_quantity(effect.order))

    def _fate(self, account: str) -> Fate:
        if account not in self.fates:
            self.fates[account] = Fate(account=account, order_id=self._order_id)
        return self.fates[account]

    def _know(self, id: int, fate: Fate) -> None:
        self._ids[id] = fate
        self.patterns.append(_pack(id))
        self._tagged += [tag + _pack(id) for tag in _BY_ID]


def _renew(fate: Fate, reservation_id: int, client: str, state: OrderState, open_quantity: Decimal) -> None:
    """A new order of that id: an older one was let go before."""
    fate.reservation_id, fate.client, fate.state, fate.open_quantity = reservation_id, client, state, open_quantity
    fate.taken_from = ""
    fate.ended_by, fate.reason, fate.filled_quantity, fate.venue_order_id, fate.flags = None, "", ZERO, None, ()


def _carry_out(fate: Fate, effect: e.Effect) -> None:
    """What the engine does to its record, as far as an outcome shows it."""
    match effect:
        case e.OrderMoved():
            was_ended = fate.state in ENDED
            fate.state, fate.reason = effect.state, effect.reason
            if was_ended:
                fate.ended_by = None
            elif effect.state in ENDED:
                fate.ended_by = effect.ended_by
        case e.OrderFilled():
            fate.filled_quantity += effect.quantity
            fate.open_quantity = effect.open_quantity
        case e.OrderTaken():
            fate.taken_from, fate.client = fate.taken_from or fate.client, effect.client
        case e.OrderReplaced():
            fate.order_id, fate.open_quantity = effect.order.id, effect.open_quantity
        case e.OrderNamed():
            fate.venue_order_id = effect.venue_order_id
        case e.OrderFlagged():
            fate.flags = (*fate.flags, effect.flag)


# ---------------------------------------------------------------------------------------------- looking for it


def rows_of(
    pages: Pages, tale: Tale, after_seq: int = 0, told: Callable[[int], object] = lambda seq: None
) -> Iterator[e.Row]:
    """Every row that concerns the order, in time order; `tale.fates` tells what became of it once they are through."""
    for line in _lines_of(pages, tale, after_seq, told):
        try:
            row = reading.decode(line)
        except (msgspec.MsgspecError, ValueError, TypeError):
            continue  # `verify` tells of it; what can be read is still worth telling
        if tale.take(row):
            yield row


def _lines_of(pages: Pages, tale: Tale, after_seq: int, told: Callable[[int], object]) -> Iterator[bytes]:
    upto_seq = pages.last_seq()
    while True:
        known = len(tale.patterns)
        for page in pages.pages(after_seq, upto_seq, tale.patterns if len(tale.patterns) <= _PATTERNS_MOST else ()):
            for line in page:
                if tale.may_concern(line.row):
                    yield line.row
                    after_seq = line.seq
                if len(tale.patterns) > known:
                    break  # from here on there is more to look for: this page was read without it
            if len(tale.patterns) > known:
                break
            told(page[-1].seq if page else after_seq)
        else:
            return


def newest(
    pages: Pages,
    account: str,
    order_id: str,
    told: Callable[[int], object] = lambda seq: None,
    *,
    since_seq: int = 0,
) -> Fate | None:
    """What became of the last order of that id, or None where no row after `since_seq` names it.

    Looks from the end backwards for where that order began, since what is asked for is mostly not long ago. `told`
    hears of every page, and may raise to end it.
    """
    tale = Tale(order_id, account)
    named = False
    begin = pages.first_seq - 1
    for page in pages.pages_back(pages.last_seq(), tuple(tale.patterns), since_seq):
        starts = [line.seq for line in page if _begins(line.row, account, order_id)]
        named = named or bool(page)
        told(begin)
        if starts:
            begin = starts[-1] - 1
            break
        modified = next(filter(None, (_modified(line.row, account, order_id) for line in reversed(page))), 0)
        if modified >= pages.first_seq:
            tale.follow(modified)
            begin = modified - 1
            break
    else:
        if since_seq:
            return newest(pages, account, order_id, told) if named else None
        remembered = find_pruned(pages, order_id, account)
        if not named and not remembered:
            return None
        for record in remembered:
            tale.remember(record)
    for _ in rows_of(pages, tale, begin, told):
        pass
    return tale.fates.get(account)


def _alone(row: e.Row, opened: e.OrderOpened) -> e.Row:
    """The row as if it had taken that order alone."""
    if not isinstance(row.reply, e.ManyChecked):
        return row
    others = (effect for effect in row.effects if effect is opened or not isinstance(effect, e.OrderOpened))
    reply = next(each for each in row.reply.answers if getattr(each, "order_id", None) == opened.order.id)
    return e.Row(row.entry, tuple(others), reply)


def _answers(reply: e.Reply) -> tuple[e.Accepted | e.Refused, ...]:
    return reply.answers if isinstance(reply, e.ManyChecked) else ()


def _begins(encoded: bytes, account: str, order_id: str) -> bool:
    """Whether a row says all there was before of that id does not matter: it was accepted, or refused as unknown."""
    try:
        row = reading.decode(encoded)
    except (msgspec.MsgspecError, ValueError, TypeError):
        return False
    for effect in row.effects:
        if isinstance(effect, e.OrderOpened) and (effect.order.account, effect.order.id) == (account, order_id):
            return True
        if isinstance(effect, e.StrangerNoted) and (effect.account, effect.order_id) == (account, order_id):
            return True
    body, reply = row.entry.body, row.reply
    if isinstance(body, e.Commanded) and isinstance(body.command, e.StartOrder | e.CheckOrder):
        order = body.command.order
        if isinstance(reply, e.Refused) and (order.account, order.id) == (account, order_id):
            return RejectCode.DUPLICATE_CLIENT_ORDER_ID not in reply.rejected.codes
    return False


def _modified(encoded: bytes, account: str, order_id: str) -> int:
    """The row that accepted an order which this row lets go by that id; 0 where it does not."""
    try:
        row = reading.decode(encoded)
    except (msgspec.MsgspecError, ValueError, TypeError):
        return 0
    for effect in row.effects:
        if isinstance(effect, e.ModifyOpened | e.OrderReplaced):
            order = effect.order
            if (order.account, order.id) == (account, order_id) and effect.reservation_id != row.entry.seq:
                return effect.reservation_id
    return 0


class _Outline(msgspec.Struct, frozen=True, array_like=True):
    """A snapshot's first fields, with its orders still in bytes: nothing of them is built that nobody asked for."""

    seq: int
    now_ns: int
    settings: msgspec.Raw
    instruments: msgspec.Raw
    groups: msgspec.Raw
    disputed_seq: int
    accepted_seq: int
    open: list[msgspec.Raw]
    closed: list[msgspec.Raw]


_outline = msgspec.msgpack.Decoder(_Outline).decode
_whole_or_packed = msgspec.msgpack.Decoder(OrderRecord | bytes).decode


def _record(written: bytes) -> OrderRecord:
    found = _whole_or_packed(written)
    return found if isinstance(found, OrderRecord) else unpacked(found)


def find_pruned(pages: Pages, order_id: str, account: str | None = None) -> list[OrderRecord]:
    """Orders of that id which the snapshot at the journal's present beginning knows: their first rows were pruned."""
    if pages.first_seq == 1:
        return []
    try:
        _, body = read_snapshot(pages.directory / f"{pages.first_seq - 1:016d}.snapshot")
    except JournalDamaged:
        return []
    key = _pack(order_id)
    if key not in body:
        return []
    try:
        outline = _outline(body)
        found = [_record(raw) for raw in (*outline.closed, *outline.open) if key in bytes(raw)]
    except msgspec.MsgspecError:
        return []
    return [
        record
        for record in found
        if order_id in (record.order_id, *record.ids_before) and account in (None, record.account)
    ]
