"""The life of an order: its states, what may happen in each, and the orders that are open or closed lately."""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from enum import StrEnum
from itertools import islice
from operator import itemgetter
from typing import Any, ClassVar

import msgspec

from pit.types import Order, OrderState, TimeInForce

from .entry import EndedBy, Failure, Fill, Hold
from .instruments import Instruments, Listed
from .numbers import ZERO
from .positions import Positions, units_of

HELD, SENT, QUARANTINED = OrderState.HELD, OrderState.SENT, OrderState.QUARANTINED
WORKING, ROLLED_BACK, CLOSED = OrderState.WORKING, OrderState.ROLLED_BACK, OrderState.CLOSED

LEASED = frozenset({HELD, SENT})
"""States in which a lease runs."""

ENDED = frozenset({ROLLED_BACK, CLOSED})

AT_ONCE = frozenset({TimeInForce.IOC, TimeInForce.FOK})
"""Good for a moment: what does not trade then never rests at the venue."""

_FOR_A_DAY = frozenset({TimeInForce.DAY, TimeInForce.GTD, TimeInForce.IOC, TimeInForce.FOK})
"""Good for their day, for several, or for a moment: what is still open of them then has no last report."""

SHARED_VENUE_ID = "shared_venue_id"
"""Flags open orders of one account that go by the same id at the venue: reports must name them by their own ids."""

LOST_LEASE = frozenset({EndedBy.LEASE, EndedBy.CLIENT_GONE, EndedBy.FENCED})


class Event(StrEnum):
    """What can happen to an order."""

    MARK_SENT = "mark_sent"
    TAKE = "take"
    """A gateway has it from here on, and is about to send it."""
    COMMIT = "commit"
    COMMIT_LATE = "commit_late"
    ROLLBACK = "rollback"
    QUARANTINE = "quarantine"
    RENEW = "renew"
    LAPSE = "lapse"
    """A lease end, a dead or fenced client, a reservation dropped."""
    ALIVE_REPORT = "alive_report"
    """The venue accepted or filled it."""
    FINAL_REPORT = "final_report"
    """The venue rejected, cancelled or expired it."""
    SETTLE_WORKING = "settle_working"
    SETTLE_NOT_SENT = "settle_not_sent"
    CLOSE = "close"
    DAY_END = "day_end"
    """The day that it was good for is over."""
    REPLACED = "replaced"
    """The venue goes by the new terms."""
    REPLACE_REJECTED = "replace_rejected"
    """The venue stays with the old terms."""
    ORDER_ENDED = "order_ended"
    """The order that it was to change is filled, cancelled or closed."""


_COMMIT_LATE = Event.COMMIT_LATE


class Step(msgspec.Struct, frozen=True, gc=False):
    """What an event does in a state: go to `to`; or nothing (`to` is None) and maybe `refuse`; or raise a `flag`."""

    to: OrderState | None = None
    refuse: Failure | None = None
    flag: str = ""


def _to(state: OrderState, flag: str = "") -> Step:
    return Step(to=state, flag=flag)


_SAME = Step()
_LOST = Step(refuse=Failure.LEASE_EXPIRED)
_OVER = Step(refuse=Failure.ALREADY_FINALIZED)
_ENDED = Step(refuse=Failure.UNKNOWN_ID)
"""Refused as LeaseExpired if a lease ended it, else as AlreadyFinalized: `step` decides by the order."""

_DAY_OVER = Step(flag="day_over")
"""Nobody knows whether it ever reached the venue: a person settles it, as ever."""

_STATES = (HELD, SENT, QUARANTINED, WORKING, ROLLED_BACK, CLOSED)


def _row(*steps: Step) -> dict[OrderState, Step]:
    return dict(zip(_STATES, steps, strict=True))


# One row a line, however long: it is read as a table.
LIFECYCLE: dict[Event, dict[OrderState, Step]] = {
    # event                       HELD              SENT              QUARANTINED       WORKING       ROLLED_BACK                         CLOSED  # noqa: E501
    Event.MARK_SENT: _row(        _to(SENT),        _SAME,            _LOST,            _OVER,        _ENDED,                             _ENDED),  # noqa: E501
    Event.TAKE: _row(             _to(SENT),        _SAME,            _LOST,            _OVER,        _ENDED,                             _ENDED),  # noqa: E501
    Event.COMMIT: _row(           _to(WORKING),     _to(WORKING),     _to(WORKING),     _SAME,        _ENDED,                             _ENDED),  # noqa: E501
    Event.COMMIT_LATE: _row(      _to(WORKING),     _to(WORKING),     _to(WORKING),     _SAME,        _to(WORKING, "late_commit"),        _SAME),  # noqa: E501
    Event.ROLLBACK: _row(         _to(ROLLED_BACK), _to(ROLLED_BACK), _to(ROLLED_BACK), _OVER,        _SAME,                              _SAME),  # noqa: E501
    Event.QUARANTINE: _row(       _to(QUARANTINED), _to(QUARANTINED), _SAME,            _OVER,        _ENDED,                             _ENDED),  # noqa: E501
    Event.RENEW: _row(            _SAME,            _SAME,            _LOST,            _OVER,        _ENDED,                             _ENDED),  # noqa: E501
    Event.LAPSE: _row(            _to(ROLLED_BACK), _to(QUARANTINED), _SAME,            _SAME,        _SAME,                              _SAME),  # noqa: E501
    Event.ALIVE_REPORT: _row(     _to(WORKING),     _to(WORKING),     _to(WORKING),     _SAME,        _to(WORKING, "after_rollback"),     Step(flag="after_close")),  # noqa: E501
    Event.FINAL_REPORT: _row(     _to(CLOSED),      _to(CLOSED),      _to(CLOSED),      _to(CLOSED),  _SAME,                              _SAME),  # noqa: E501
    Event.SETTLE_WORKING: _row(   _to(WORKING),     _to(WORKING),     _to(WORKING),     _SAME,        _ENDED,                             _ENDED),  # noqa: E501
    Event.SETTLE_NOT_SENT: _row(  _to(ROLLED_BACK), _to(ROLLED_BACK), _to(ROLLED_BACK), _to(ROLLED_BACK), _ENDED,                         _ENDED),  # noqa: E501
    Event.CLOSE: _row(            _to(CLOSED),      _to(CLOSED),      _to(CLOSED),      _to(CLOSED),  _ENDED,                             _ENDED),  # noqa: E501
    Event.DAY_END: _row(          _SAME,            _SAME,            _DAY_OVER,        _to(CLOSED),  _SAME,                              _SAME),  # noqa: E501
}  # fmt: skip


# The same for a modify. Its reservation is HELD, SENT, QUARANTINED; WORKING: the venue has it and has not answered;
# ROLLED_BACK: the old terms stand, as nothing was sent; CLOSED: the venue answered, or the order is over. In the first
# four the order holds the worse of its old and its new terms. Reports often come before the answer to the call, so a
# commit finds it CLOSED and has nothing left to do.
MODIFY_LIFECYCLE: dict[Event, dict[OrderState, Step]] = {
    # event                        HELD              SENT              QUARANTINED       WORKING           ROLLED_BACK                     CLOSED  # noqa: E501
    Event.MARK_SENT: _row(         _to(SENT),        _SAME,            _LOST,            _OVER,            _ENDED,                         _ENDED),  # noqa: E501
    Event.COMMIT: _row(            _to(WORKING),     _to(WORKING),     _to(WORKING),     _SAME,            _ENDED,                         _SAME),  # noqa: E501
    Event.COMMIT_LATE: _row(       _to(WORKING),     _to(WORKING),     _to(WORKING),     _SAME,            _to(WORKING, "late_modify"),    _SAME),  # noqa: E501
    Event.ROLLBACK: _row(          _to(ROLLED_BACK), _to(ROLLED_BACK), _to(ROLLED_BACK), _OVER,            _SAME,                          _ENDED),  # noqa: E501
    Event.QUARANTINE: _row(        _to(QUARANTINED), _to(QUARANTINED), _SAME,            _OVER,            _ENDED,                         _SAME),  # noqa: E501
    Event.RENEW: _row(             _SAME,            _SAME,            _LOST,            _OVER,            _ENDED,                         _ENDED),  # noqa: E501
    Event.LAPSE: _row(             _to(ROLLED_BACK), _to(QUARANTINED), _SAME,            _SAME,            _SAME,                          _SAME),  # noqa: E501
    Event.REPLACED: _row(          _to(CLOSED),      _to(CLOSED),      _to(CLOSED),      _to(CLOSED),      _to(CLOSED, "after_rollback"),  _SAME),  # noqa: E501
    Event.REPLACE_REJECTED: _row(  _to(CLOSED),      _to(CLOSED),      _to(CLOSED),      _to(CLOSED),      _SAME,                          _SAME),  # noqa: E501
    Event.ORDER_ENDED: _row(       _to(ROLLED_BACK), _to(CLOSED),      _to(CLOSED),      _to(CLOSED),      _SAME,                          _SAME),  # noqa: E501
    Event.SETTLE_WORKING: _row(    _to(CLOSED),      _to(CLOSED),      _to(CLOSED),      _to(CLOSED),      _ENDED,                         _ENDED),  # noqa: E501
    Event.SETTLE_NOT_SENT: _row(   _to(ROLLED_BACK), _to(ROLLED_BACK), _to(ROLLED_BACK), _to(ROLLED_BACK), _ENDED,                         _ENDED),  # noqa: E501
}  # fmt: skip


class Modify(msgspec.Struct, kw_only=True, array_like=True, gc=False):
    """A change of a working order, on its way to the venue or answered: the order as it is to be, what it would hold by
    its old and by its new terms, and how much may trade by the new ones.
    """

    modify_id: int
    order: Order
    client: str
    session: int
    state: OrderState
    open_quantity: Decimal
    old: tuple[Hold, ...]
    new: tuple[Hold, ...]
    lease_ns: int = 0
    lease_end_ns: int = 0
    restarts: int = 0
    venue_order_id: str | None = None
    ended_by: EndedBy | None = None
    reason: str = ""


class OrderRecord(msgspec.Struct, kw_only=True, array_like=True, gc=False):
    """One order as the engine keeps it. `order` and `listed` are None for a stranger that only the venue spoke of."""

    reservation_id: int
    account: str
    order_id: str
    order: Order | None
    listed: Listed | None
    client: str
    session: int
    state: OrderState
    open_quantity: Decimal
    lease_ns: int = 0
    lease_end_ns: int = 0
    restarts: int = 0
    holds: tuple[Hold, ...] = ()
    filled_quantity: Decimal = ZERO
    venue_order_id: str | None = None
    ended_by: EndedBy | None = None
    ended_ns: int = 0
    reason: str = ""
    flags: tuple[str, ...] = ()
    reports: dict[str, bytes] | None = None
    final_seen: bool = False
    """Whether the venue has said its last word: from then on nothing brings it back."""
    heard_ns: int = 0
    """When it was last heard of: opened, moved or reported on."""
    taken_from: str = ""
    """The client that had it checked, where a gateway has taken it since."""
    modify: Modify | None = None
    """The modify that is under way, or else the last one."""
    ids_before: tuple[str, ...] = ()
    """Ids of its own that it went by, or might have, before or beside `order_id`: reports may name them."""
    venue_ids_before: tuple[str, ...] = ()
    cancel_asked_ns: int = 0
    """When a cancel of it was let go out that the venue has not refused; 0 for never."""
    cancel_asked_by: str = ""
    fills: dict[str, Fill] | None = None
    """By the report that told each: what they did."""
    ahead: Decimal = ZERO
    """What statuses have counted of it that no report of a fill has told yet."""
    ahead_worth: Decimal = ZERO
    first_id: str = ""
    """The id that it began with, where a modify has given it another since."""
    peak: Decimal = ZERO
    """How much of it was known to have traded before a fill was undone; the most, of several times."""

    @property
    def began_as(self) -> str:
        """The id that it was accepted under: what events name it by, whatever it goes by now."""
        return self.first_id or self.order_id

    @property
    def pending(self) -> Modify | None:
        """The modify that the venue has not answered."""
        modify = self.modify
        return modify if modify is not None and modify.state not in ENDED else None

    @property
    def may_trade(self) -> Decimal:
        """How much of it may trade, by its old terms or those on their way."""
        modify = self.pending
        return self.open_quantity if modify is None else max(self.open_quantity, modify.open_quantity)

    @property
    def asked_by(self) -> str:
        """The client that limits count it for: taking it moves no count."""
        return self.taken_from or self.client


def step(event: Event, record: OrderRecord) -> Step:
    """What the event does to this order."""
    state = record.state
    if record.final_seen and state is ROLLED_BACK:
        state = CLOSED
    found = LIFECYCLE[event][state]
    if found is _ENDED:
        return _LOST if record.ended_by in LOST_LEASE else _OVER
    if event is _COMMIT_LATE and record.ended_by is EndedBy.OPERATOR and not record.final_seen:
        return _to(WORKING, "late_commit")  # a person ended it, and no final report was ever seen
    return found


def why_not(event: Event, record: OrderRecord) -> str:
    """What an event that may not happen to an order is answered."""
    who = f"order {record.order_id}"
    if record.state is WORKING:
        return f"{event} of {who}: it is working at the venue; only its reports or an operator end it"
    if record.state is QUARANTINED:
        return f"{event} of {who}: its lease ended and it is quarantined; commit it, or roll it back if it was not sent"
    hint = "; if it did reach the venue, commit(late=True)" if record.state is ROLLED_BACK else ""
    why = f", {record.reason}" if record.reason else ""
    return f"{event} of {who}: it was {record.state} before ({record.ended_by}{why}){hint}"


def modify_step(event: Event, modify: Modify) -> Step:
    """What the event does to this modify."""
    found = MODIFY_LIFECYCLE[event][modify.state]
    if found is not _ENDED:
        return found
    if event is Event.ROLLBACK and modify.ended_by not in (EndedBy.REPLACED, EndedBy.OPERATOR):
        return _SAME  # the venue refused it, or the order is over: there is nothing left to take back
    return _LOST if modify.ended_by in LOST_LEASE else _OVER


class _Shared(msgspec.Struct):
    """The orders of one account that go, or went, by the same id at the venue."""

    open: dict[int, None]
    ended: dict[int, None]
    """The last of them to end: a late copy of a report may still be about one."""


_ENDED_NAMESAKES_KEPT = 8

_IDS_KEPT = 64
"""So many ids that an order went by before are known by it; modifies may give it a new one each."""


class Request(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """An order that passed the start stage and waits to be executed."""

    request_id: int
    order: Order
    session: int
    lease_end_ns: int
    restarts: int = 0


class Leases:
    """When which lease ends. Entries that no longer hold are skipped when they surface, and swept when they pile up.

    Most leases are of one length, so that each ends after all that were granted before it: those stand in a queue, and
    only the others in a heap, which costs more the longer it is.
    """

    def __init__(self) -> None:
        self._queue: deque[tuple[int, int]] = deque()
        self._heap: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return len(self._queue) + len(self._heap)

    def add(self, end_ns: int, id: int) -> None:
        queue, lease = self._queue, (end_ns, id)
        if not queue or lease >= queue[-1]:
            queue.append(lease)
        else:
            heapq.heappush(self._heap, lease)

    def first_ns(self) -> int | None:
        first = self.first()
        return None if first is None else first[0]

    def first(self) -> tuple[int, int] | None:
        """The end and the id of the lease that ends first."""
        queue, heap = self._queue, self._heap
        if heap and (not queue or heap[0] < queue[0]):
            return heap[0]
        return queue[0] if queue else None

    def skip(self) -> None:
        """Takes out the one that ends first."""
        queue, heap = self._queue, self._heap
        if heap and (not queue or heap[0] < queue[0]):
            heapq.heappop(heap)
        else:
            queue.popleft()

    def due(self, now_ns: int) -> Iterator[tuple[int, int]]:
        """Takes out what is due, soonest first."""
        while (first := self.first()) is not None and first[0] <= now_ns:
            self.skip()
            yield first

    def rebuild(self, live: list[tuple[int, int]]) -> None:
        live.sort()
        self._queue, self._heap = deque(live), []


class Packed(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An order that has ended, unread: what it is found by, and the bytes of its record without its instrument's terms.

    It holds nothing any more, but for what counts on of one that was filled, and was never modified.
    """

    reservation_id: int
    account: str
    order_id: str
    venue_order_id: str | None
    ended_ns: int
    record: bytes

    ids_before: ClassVar[tuple[str, ...]] = ()
    venue_ids_before: ClassVar[tuple[str, ...]] = ()
    modify: ClassVar[None] = None


_encode = msgspec.msgpack.Encoder().encode
_decode_packed = msgspec.msgpack.Decoder(Packed).decode
_decode_record = msgspec.msgpack.Decoder(OrderRecord).decode


def unpacked(data: bytes) -> OrderRecord:
    """The record of an order that was packed, without its instrument's terms. Raises what msgspec does."""
    return _decode_record(_decode_packed(data).record)


def brief(record: OrderRecord, instruments: Instruments) -> OrderRecord:
    """Without what its instrument means, where the instruments in force say the same: orders are many."""
    if record.order is None or record.listed != instruments.find(record.order.instrument):
        return record
    return msgspec.structs.replace(record, listed=None)


def spelled_out(record: OrderRecord, instruments: Instruments) -> OrderRecord:
    """The same with what `brief` has left out."""
    if record.listed is None and record.order is not None:
        record.listed = instruments.find(record.order.instrument)
    return record


class Closed:
    """The orders that ended lately, by reservation id, oldest end first.

    A start brings tens of thousands, and hardly one of them is asked for again: each stays packed until it is. Whoever
    looks here meets records alone.
    """

    def __init__(self) -> None:
        self.kept: OrderedDict[int, OrderRecord | Packed] = OrderedDict()
        """As they stand, read or unread. A plain dict would look through all that was forgotten at its front."""
        self._instruments = Instruments({})
        """Those that were in force when the packed ones were packed."""
        self.read_holds: Callable[[tuple[Hold, ...]], tuple[Hold, ...]] = lambda holds: holds
        """Reads what one still knows of what it held."""

    def load(self, written: Sequence[OrderRecord | bytes], instruments: Instruments) -> list[OrderRecord]:
        """Takes up what `written` gave under those instruments: the records among it.

        Raises msgspec.ValidationError or msgspec.DecodeError where this release reads records otherwise: one is read to
        find that out while the journal's rows can still say better.
        """
        self._instruments = instruments
        kept, records, packed = self.kept, [], None
        for each in written:
            if isinstance(each, bytes):
                packed = _decode_packed(each)
                kept[packed.reservation_id] = packed
            else:
                kept[each.reservation_id] = each
                records.append(each)
        if packed is not None:
            _decode_record(packed.record)
        return records

    def written(self, instruments: Instruments) -> list[OrderRecord | bytes]:
        """All of them for a snapshot under those instruments: packed, but for those that may come back with all that
        they held, have another instrument's terms than those or were modified.
        """
        if instruments.declared() != self._instruments.declared():
            for id in self.kept:
                self[id]  # reads it under the instruments of its time
            self._instruments = instruments
        return [_written(each, instruments) for each in self.kept.values()]

    def __len__(self) -> int:
        return len(self.kept)

    def __iter__(self) -> Iterator[int]:
        return iter(self.kept)

    def __contains__(self, id: int) -> bool:
        return id in self.kept

    def __getitem__(self, id: int) -> OrderRecord:
        kept = self.kept[id]
        return self._read(kept) if isinstance(kept, Packed) else kept

    def get(self, id: int) -> OrderRecord | None:
        kept = self.kept.get(id)
        return self._read(kept) if isinstance(kept, Packed) else kept

    def values(self) -> Iterator[OrderRecord]:
        return (self[id] for id in tuple(self.kept))

    def holding(self) -> list[OrderRecord]:
        """Those that still know what they held: for when they come back."""
        return [each for each in self.kept.values() if isinstance(each, OrderRecord) and each.holds]

    def _read(self, packed: Packed) -> OrderRecord:
        record = spelled_out(_decode_record(packed.record), self._instruments)
        if record.holds:
            record.holds = self.read_holds(record.holds)
        self.kept[packed.reservation_id] = record
        return record


def _written(each: OrderRecord | Packed, instruments: Instruments) -> OrderRecord | bytes:
    if not isinstance(each, OrderRecord):
        return _encode(each)
    record = brief(each, instruments)
    is_plain = record.listed is None and record.modify is None and not record.ids_before
    may_come_back = bool(record.holds) and record.ended_by is not EndedBy.FILLED
    if may_come_back or not is_plain or record.venue_ids_before:
        return record
    names = record.reservation_id, record.account, record.order_id, record.venue_order_id
    return _encode(Packed(*names, record.ended_ns, _encode(record)))


class Orders:
    """The orders that are open, and those that closed lately (bounded in number and time)."""

    def __init__(self, positions: Positions, *, closed_kept: int, closed_kept_ns: int) -> None:
        """`positions` is told what open orders may still trade."""
        self._positions = positions
        self._is_counting = True
        self.open: dict[int, OrderRecord] = {}
        self.closed = Closed()
        self.by_key: dict[tuple[str, str], int] = {}
        """By account and order id, those from before among them: the reservation id."""
        self.modified: dict[int, OrderRecord] = {}
        """By the id of a modify's reservation: the order of each that is known still."""
        self.by_client: dict[str, dict[int, None]] = {}
        self.to_cancel: dict[int, Any] = {}
        """What is to be cancelled: the end of an order is what confirms it."""
        self.for_a_day: dict[int, None] = {}
        """Those open ones that the end of a day may close."""
        self._by_venue_id: dict[tuple[str, str], int | _Shared] = {}
        self._closed_kept = closed_kept
        self._closed_kept_ns = closed_kept_ns
        self.forget_at_ns = 0
        """Before that nothing has closed too long ago, and not too many have."""
        self._have_namesakes = False
        """Whether any orders ever went by one id at the venue."""

    def keep_closed(self, most: int, for_ns: int) -> None:
        """How many closed orders are remembered, and how long."""
        self._closed_kept, self._closed_kept_ns = most, for_ns
        self.forget_at_ns = 0

    def find(self, reservation_id: int) -> OrderRecord | None:
        return self.open.get(reservation_id) or self.closed.get(reservation_id)

    def known_as(self, account: str, order_id: str) -> OrderRecord | None:
        """The order that goes by that id, or went by it before."""
        id = self.by_key.get((account, order_id))
        return None if id is None else self.open.get(id) or self.closed[id]

    def behind(self, account: str, venue_order_id: str, report_id: str, fingerprint: bytes) -> Sequence[OrderRecord]:
        """The orders that a report by the venue's id alone can be about: with more than one, nobody knows which.

        One that has ended is among them only if it has had this very report, or if none of them is open.
        """
        alias = self._by_venue_id.get((account, venue_order_id))
        if alias is None:
            return ()
        if not isinstance(alias, _Shared):
            return (self.open.get(alias) or self.closed[alias],)
        ended = [self.closed[id] for id in alias.ended]
        knows = [record for record in ended if record.reports and record.reports.get(report_id) == fingerprint]
        return [*(self.open[id] for id in islice(alias.open, 5)), *knows] or ended

    def namesakes(self, record: OrderRecord, venue_order_id: str) -> Sequence[OrderRecord]:
        """Other open orders of the account that go by that id at the venue; a few of them, if there are many."""
        alias = self._by_venue_id.get((record.account, venue_order_id))
        if alias is None:
            return ()
        others = islice(alias.open, 3) if isinstance(alias, _Shared) else (alias,)
        return [self.open[id] for id in others if id != record.reservation_id and id in self.open]

    def add(self, record: OrderRecord) -> None:
        assert (record.account, record.order_id) not in self.by_key
        self.by_key[record.account, record.order_id] = record.reservation_id
        if record.ids_before or record.modify is not None:
            self._know(record)
        if record.state in ENDED:
            self.closed.kept[record.reservation_id] = record
            self.forget_at_ns = 0
        else:
            self._open(record)

    def begin(self, record: OrderRecord) -> None:
        """Takes an order in that has just been accepted."""
        key = (record.account, record.order_id)
        assert key not in self.by_key
        self.by_key[key] = record.reservation_id
        self._open(record)

    def load(self, open: Sequence[OrderRecord], venue_ids: Sequence[tuple[str, str, int]]) -> None:
        """Takes up all the orders that there are, and whom the venue's ids name: what `add` and `name` do for one, as a
        start has tens of thousands of them. Those that have ended are in `closed` already.
        """
        by_key, by_venue_id = self.by_key, self._by_venue_id
        told = {(account, venue_order_id) for account, venue_order_id, _ in venue_ids}
        for each in self.closed.kept.values():
            id, account, venue_order_id = each.reservation_id, each.account, each.venue_order_id
            by_key[account, each.order_id] = id
            if isinstance(each, OrderRecord):
                self._know(each)
            if venue_order_id is not None and (not told or (account, venue_order_id) not in told):
                by_venue_id[account, venue_order_id] = id
        assert len(by_key) >= len(self.closed)
        for record in open:
            self.add(record)
            if record.venue_order_id is not None and (record.account, record.venue_order_id) not in told:
                by_venue_id[record.account, record.venue_order_id] = record.reservation_id
        for account, venue_order_id, id in venue_ids:
            assert id in self.open or id in self.closed
            self._alias((account, venue_order_id), id)

    def name(self, record: OrderRecord, venue_order_id: str) -> None:
        before = record.venue_order_id
        if before is not None and before != venue_order_id:
            ids = tuple(id for id in (*record.venue_ids_before, before) if id != venue_order_id)
            for id in ids[:-_IDS_KEPT]:
                self._unname(record, id)
            record.venue_ids_before = ids[-_IDS_KEPT:]
        record.venue_order_id = venue_order_id
        named, own = (record.account, venue_order_id), record.reservation_id
        if self._by_venue_id.setdefault(named, own) != own:
            self._alias(named, own)

    def is_named(self, record: OrderRecord, venue_order_id: str) -> bool:
        """Whether it goes, or went, by that id at the venue."""
        return venue_order_id == record.venue_order_id or venue_order_id in record.venue_ids_before

    def also(self, record: OrderRecord, order_id: str) -> None:
        """Reports may name it by that id as well from here on."""
        if order_id == record.order_id:
            return
        ids = (*(id for id in record.ids_before if id != order_id), order_id)
        for id in ids[:-_IDS_KEPT]:
            del self.by_key[record.account, id]
        record.ids_before = ids[-_IDS_KEPT:]
        self.by_key[record.account, order_id] = record.reservation_id

    def modifies(self, record: OrderRecord, modify: Modify) -> None:
        """It has this modify now, and no longer the one before. Reports may name it by the new id already."""
        if record.modify is not None:
            del self.modified[record.modify.modify_id]
        self.modified[modify.modify_id] = record
        self.expect_no_more(record)
        record.modify = modify
        self.expect(record)
        self.also(record, modify.order.id)

    def change(self, record: OrderRecord, change: Callable[[], None]) -> None:
        """Changes what of an order may trade."""
        if record.state in ENDED:
            change()
            return
        self.expect_no_more(record)
        change()
        self.expect(record)

    def replace(self, record: OrderRecord, order: Order, open_quantity: Decimal) -> None:
        """The order goes by these terms from here on."""
        before = record.order_id
        if order.id != before:
            record.first_id = record.began_as
            record.order_id = order.id
            record.ids_before = tuple(id for id in record.ids_before if id != order.id)
            self.by_key[record.account, order.id] = record.reservation_id
            self.also(record, before)
        record.order, record.open_quantity = order, open_quantity

    def _alias(self, named: tuple[str, str], id: int) -> None:
        alias = self._by_venue_id.get(named)
        if alias is None or alias == id:
            self._by_venue_id[named] = id
            return
        if not isinstance(alias, _Shared):
            self._have_namesakes = True
            first, alias = alias, _Shared({}, {})
            self._by_venue_id[named] = alias
            self._place(alias, first)
        self._place(alias, id)

    def venue_ids(self) -> list[tuple[str, str, int]]:
        """Account, the venue's id, reservation id: what the aliases name now, where no record says it by itself.

        Of namesakes, those that ended first.
        """
        found: list[tuple[str, str, int]] = []
        for named, alias in self._by_venue_id.items():
            if isinstance(alias, _Shared):
                found += [(*named, id) for id in (*alias.ended, *alias.open)]
            elif (self.open.get(alias) or self.closed.kept[alias]).venue_order_id != named[1]:
                found.append((*named, alias))
        return sorted(found, key=itemgetter(0, 1))  # the same, whatever became of whom first

    def end(self, record: OrderRecord, now_ns: int) -> None:
        """Moves an order from the open ones to those closed lately."""
        if self._is_counting:
            self.expect_no_more(record)
        id = record.reservation_id
        del self.open[id]
        if self.for_a_day:
            self.for_a_day.pop(id, None)
        if self.to_cancel:
            self.to_cancel.pop(id, None)
        mine = self.by_client[record.client]
        del mine[id]
        if not mine:
            del self.by_client[record.client]
        record.ended_ns = now_ns
        closed = self.closed.kept
        closed[id] = record
        if len(closed) > self._closed_kept:
            self.forget_at_ns = 0
        if self._have_namesakes:
            self._place_again(record)

    def hand_over(self, record: OrderRecord, client: str) -> None:
        """Makes an open order another client's."""
        mine = self.by_client[record.client]
        del mine[record.reservation_id]
        if not mine:
            del self.by_client[record.client]
        record.taken_from, record.client = record.asked_by, client
        self.by_client.setdefault(client, {})[record.reservation_id] = None

    def filled(self, record: OrderRecord, quantity: Decimal, left: Decimal) -> None:
        """Counts what was traded of an order, and what of it is open."""
        record.filled_quantity += quantity
        if record.state in ENDED or not self._is_counting:
            record.open_quantity = left
            return
        self.expect_no_more(record)
        record.open_quantity = left
        self.expect(record)

    def revive(self, record: OrderRecord) -> None:
        del self.closed.kept[record.reservation_id]
        self._open(record)
        self._place_again(record)

    def forget(self, now_ns: int) -> None:
        """Lets go of what closed too long ago, or is one too many; at most two at a time, so that no step is long."""
        closed, most = self.closed.kept, self._closed_kept
        for _ in range(2):
            if not closed:
                self.forget_at_ns = now_ns + self._closed_kept_ns
                return
            record = next(iter(closed.values()))
            due_ns = record.ended_ns + self._closed_kept_ns
            if len(closed) <= most and now_ns < due_ns:
                self.forget_at_ns = due_ns
                return
            del closed[record.reservation_id]
            del self.by_key[record.account, record.order_id]
            for id in record.ids_before:
                del self.by_key[record.account, id]
            if record.modify is not None:
                del self.modified[record.modify.modify_id]
            if record.venue_order_id is not None:
                self._unname(record, record.venue_order_id)
                for id in record.venue_ids_before:
                    self._unname(record, id)
            if len(closed) <= most and now_ns < due_ns:
                self.forget_at_ns = due_ns  # no other ended before this one
                return
        self.forget_at_ns = 0

    def _unname(self, record: OrderRecord | Packed, venue_order_id: str) -> None:
        named = (record.account, venue_order_id)
        alias = self._by_venue_id.get(named)
        if isinstance(alias, _Shared):
            alias.ended.pop(record.reservation_id, None)
            if not alias.ended and not alias.open:
                del self._by_venue_id[named]
        elif alias == record.reservation_id:
            del self._by_venue_id[named]

    def _place_again(self, record: OrderRecord) -> None:
        """An order that goes by a shared id at the venue has ended, or come back."""
        if self._have_namesakes and record.venue_order_id is not None:
            alias = self._by_venue_id.get((record.account, record.venue_order_id))
            if isinstance(alias, _Shared):
                self._place(alias, record.reservation_id)

    def _place(self, alias: _Shared, id: int) -> None:
        """Puts one that goes by a shared id among those that are open, or among those that have ended."""
        if id in self.open:
            alias.ended.pop(id, None)
            alias.open[id] = None
            return
        alias.open.pop(id, None)
        alias.ended[id] = None
        if len(alias.ended) > _ENDED_NAMESAKES_KEPT:
            del alias.ended[next(iter(alias.ended))]

    def count_later(self) -> None:
        """Until `count_now`, nobody asks what is on the way: who carries much out has it counted once, at the end."""
        self._is_counting = False

    def count_now(self) -> None:
        self._is_counting = True
        self._positions.expect_nothing()
        for record in self.open.values():
            self.expect(record)

    def expect(self, record: OrderRecord) -> None:
        """Counts what an open order may trade as on its way."""
        if not self._is_counting:
            return
        order, listed = record.order, record.listed
        if order is None or listed is None:
            return
        if record.modify is None:
            self._positions.expect(order, listed, record.open_quantity, record.taken_from or record.client)
        else:
            self._positions.expect(*_most(record, order, listed), record.asked_by)

    def expect_no_more(self, record: OrderRecord) -> None:
        """Takes back what `expect` has counted."""
        if not self._is_counting:
            return
        order, listed = record.order, record.listed
        if order is None or listed is None:
            return
        if record.modify is None:
            self._positions.expect_no_more(order, listed, record.open_quantity, record.taken_from or record.client)
        else:
            self._positions.expect_no_more(*_most(record, order, listed), record.asked_by)

    def _know(self, record: OrderRecord) -> None:
        """By what else than its id, and the venue's, it may be named."""
        for id in record.ids_before:
            self.by_key[record.account, id] = record.reservation_id
        if record.modify is not None:
            self.modified[record.modify.modify_id] = record

    def _open(self, record: OrderRecord) -> None:
        if self._is_counting:
            self.expect(record)
        id, order = record.reservation_id, record.order
        self.open[id] = record
        if order is not None and order.time_in_force is not None and order.time_in_force in _FOR_A_DAY:
            self.for_a_day[id] = None
        mine = self.by_client.get(record.client)
        if mine is None:
            mine = self.by_client[record.client] = {}
        mine[id] = None


def _most(record: OrderRecord, order: Order, listed: Listed) -> tuple[Order, Listed, Decimal]:
    """The order, and how much of it may trade: by its old terms or those on their way, whichever is more units."""
    modify = record.modify
    if modify is None or modify.state in ENDED:
        return order, listed, record.open_quantity
    old = units_of(order, listed, record.open_quantity)
    new = units_of(modify.order, listed, modify.open_quantity)
    if old is not None and (new is None or new > old):
        return modify.order, listed, modify.open_quantity
    return order, listed, record.open_quantity
