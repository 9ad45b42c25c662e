"""Which orders are to be cancelled because a kill, or a person, wants it; whom that was told; and what is confirmed.

A stop (a trip, a block, a halt) that wants cancels looks through the open orders once, a bounded number an entry, and
asks for each that may be at the venue. What comes to be there later all the same, by a late commit or past the gate, is
asked for as long as the stop is in force. A request ends with its order, and with nothing else: lifting the stop lets
new orders pass, it does not un-ask what was asked.

Where the venue refuses the cancel, who had been told is told again: at once, and after further refusals no more often
than an owner has time to confirm (`[gate] cancel_within`), so that nobody floods a venue that goes on refusing.
Example, 2 s: asked at 0 s, refused at 0.1 s: asked again at 0.1 s; refused at 0.2 s: asked again at 2.1 s.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from pit.types import TradingState

from . import entry as e
from . import named, trading
from .accounts import FIRM
from .orders import HELD, QUARANTINED, WORKING, OrderRecord

if TYPE_CHECKING:
    from .engine import Engine

CANCEL_ALL = "cancel_all"
"""What stands for the limit in a request that a person has made without stopping anything."""

AN_ENTRY = 1_000
"""So many orders are looked at, or requests passed on, in one entry."""


class CancelRequest(msgspec.Struct, array_like=True, kw_only=True, gc=False):
    """One order that is to be cancelled: since when, why, and who has been told."""

    reservation_id: int
    cause: e.Cause
    asked_seq: int
    """Its place among what its owner is told; that of the entry that asked, or handed the order over."""
    asked_ns: int
    due_ns: int
    """When it goes to those with the cancel role as well."""
    escalated_seq: int = 0
    told: tuple[tuple[str, int], ...] = ()
    """The clients that have been told, and when."""
    refused_ns: int = 0
    """When it was last asked again, as the venue had refused the cancel; 0 for never."""
    again_ns: int = 0
    """When it is to be asked again; 0 for not at all."""


class Sweep(msgspec.Struct, array_like=True, gc=False):
    """A look through the open orders that is under way: those up to entry `upto`, after that one."""

    cause: e.Cause
    upto: int
    after: int = 0


class CancelImage(msgspec.Struct, frozen=True, array_like=True):
    """All of it, for a snapshot."""

    kills: Sequence[e.Cause] = ()
    sweeps: Sequence[Sweep] = ()
    requests: Sequence[CancelRequest] = ()
    asked: int = 0


class Place(NamedTuple):
    """A request's place among what somebody is told."""

    seq: int
    reservation_id: int


class Cancels:
    """What is asked for now. Changed by carrying effects out alone."""

    def __init__(self) -> None:
        self.kills: dict[tuple[str, str], e.Cause] = {}
        """Stops in force that want cancels, by scope and limit."""
        self.sweeps: list[Sweep] = []
        self.requests: dict[int, CancelRequest] = {}
        self.asked = 0
        """How many were asked for since there was last nothing to confirm."""
        self.version = 0
        """Goes up whenever somebody may have to be told something. No state: it is not saved."""
        self._due: list[tuple[int, int]] = []
        self._again: list[tuple[int, int]] = []

    def is_asked(self, reservation_id: int) -> bool:
        """Whether that order is to be cancelled: no limit on messages may refuse it."""
        return reservation_id in self.requests

    def first_due_ns(self) -> int | None:
        """When the next entry is due: 0 for at once."""
        if self.sweeps:
            return 0
        first = [each for each in (self._first_late_ns(), self._first_again_ns()) if each is not None]
        return min(first, default=None)

    def _first_again_ns(self) -> int | None:
        while self._again:
            again_ns, id = self._again[0]
            request = self.requests.get(id)
            if request is not None and request.again_ns == again_ns:
                return again_ns
            heapq.heappop(self._again)
        return None

    def _first_late_ns(self) -> int | None:
        while self._due:
            due_ns, id = self._due[0]
            request = self.requests.get(id)
            if request is not None and not request.escalated_seq and request.due_ns == due_ns:
                return due_ns
            heapq.heappop(self._due)
        return None

    def has_due(self, now_ns: int) -> bool:
        first = self.first_due_ns()
        return first is not None and first <= now_ns

    def due(self, now_ns: int, most: int) -> tuple[int, ...]:
        """The requests whose owners have had their time. Changes nothing."""
        if self._first_late_ns() is None:
            return ()
        late = [
            id
            for due_ns, id in heapq.nsmallest(most, self._due)
            if due_ns <= now_ns and (found := self.requests.get(id)) is not None and found.due_ns == due_ns
            if not found.escalated_seq
        ]
        return tuple(dict.fromkeys(late))

    def again(self, now_ns: int, most: int) -> tuple[int, ...]:
        """The requests whose cancels were refused, and that are to be asked again by now. Changes nothing."""
        if self._first_again_ns() is None:
            return ()
        found = [
            id
            for again_ns, id in heapq.nsmallest(most, self._again)
            if again_ns <= now_ns and (request := self.requests.get(id)) is not None and request.again_ns == again_ns
        ]
        return tuple(dict.fromkeys(found))

    def image(self) -> CancelImage:
        return CancelImage(tuple(self.kills.values()), tuple(self.sweeps), tuple(self.requests.values()), self.asked)

    def load(self, image: CancelImage) -> None:
        for cause in image.kills:
            self.kills[cause.scope, cause.limit] = cause
        self.sweeps = list(image.sweeps)
        self.requests.update((request.reservation_id, request) for request in image.requests)
        self.asked = image.asked
        self._due = [(request.due_ns, id) for id, request in self.requests.items() if not request.escalated_seq]
        heapq.heapify(self._due)
        self._again = [(request.again_ns, id) for id, request in self.requests.items() if request.again_ns]
        heapq.heapify(self._again)

    # ------------------------------------------------------------------------------------------ carrying out

    def begin(self, effect: e.CancelsWanted, seq: int) -> None:
        cause = effect.cause
        if effect.is_lasting:
            self.kills[cause.scope, cause.limit] = cause
        self.sweeps.append(Sweep(cause, seq))

    def lift(self, scope: str, limit: str) -> None:
        """That stop is over: what was asked for stays asked for."""
        self.kills.pop((scope, limit), None)

    def swept(self, after: int) -> None:
        if after:
            self.sweeps[0].after = after
        else:
            del self.sweeps[0]

    def ask(self, effect: e.CancelsRequested, seq: int, now_ns: int) -> None:
        for id in effect.reservation_ids:
            self.requests[id] = CancelRequest(
                reservation_id=id, cause=effect.cause, asked_seq=seq, asked_ns=now_ns, due_ns=effect.due_ns
            )
            heapq.heappush(self._due, (effect.due_ns, id))
        self.asked += len(effect.reservation_ids)
        self.version += 1

    def escalate(self, ids: Sequence[int], seq: int) -> None:
        for id in ids:
            self.requests[id].escalated_seq = seq
        self.version += 1

    def tell(self, client: str, ids: Sequence[int], now_ns: int) -> None:
        for id in ids:
            request = self.requests.get(id)
            if request is not None:
                request.told = (*request.told, (client, now_ns))

    def refused(self, id: int, again_ns: int, seq: int, now_ns: int) -> None:
        """The venue has refused the cancel: it is asked again then."""
        request = self.requests.get(id)
        if request is None or not again_ns:
            return
        if again_ns <= now_ns:
            self.ask_again((id,), seq, now_ns)
        elif request.again_ns != again_ns:
            request.again_ns = again_ns
            heapq.heappush(self._again, (again_ns, id))

    def ask_again(self, ids: Sequence[int], seq: int, now_ns: int) -> None:
        """Whoever has been told is told again."""
        for id in ids:
            request = self.requests[id]
            request.asked_seq, request.refused_ns, request.again_ns, request.told = seq, now_ns, 0, ()
            if request.escalated_seq:
                request.escalated_seq = seq
        self.version += 1

    def handed_over(self, id: int, seq: int) -> None:
        """Another client has the order: it has not heard of it yet."""
        request = self.requests.get(id)
        if request is not None:
            request.asked_seq = seq
            self.version += 1

    def over(self) -> None:
        self.asked = 0


# ---------------------------------------------------------------------------------------------- deciding


def follow_up(
    engine: Engine, body: e.Body, effects: Sequence[e.Effect], stopped: Sequence[e.Blocked | e.TradingStateSet]
) -> None:
    """What an entry that stopped something, or moved an order under a stop, asks to be cancelled."""
    for stop in tuple(stopped):
        cause = _cause_of(engine, body, stop)
        if cause is not None:
            engine.emit(e.CancelsWanted(cause, is_lasting=True))
    cancels = engine.cancels
    if cancels.kills:
        for effect in tuple(effects):
            match effect:
                case e.OrderMoved() | e.OrderOpened() if effect.state in (WORKING, QUARANTINED):
                    _ask_of(engine, effect.reservation_id)
                case e.OrderAdopted():
                    _ask_of(engine, effect.reservation_id)
    if cancels.sweeps:
        sweep(engine)
    if cancels.asked and not cancels.requests and not cancels.sweeps:
        engine.emit(e.CancelsConfirmed(cancels.asked))


def cancel_all(engine: Engine, command: e.CancelAll, author: str) -> e.Reply:
    """Asks for all open orders of a scope: how many the first look has found."""
    scope, problem = command.scope, "" if command.reason.strip() else "a reason is wanted: it is recorded"
    kind, _, name = scope.partition(" ")
    if scope != FIRM and not (kind in ("account", "group", "client", "instrument") and name.strip()):
        problem = f'a scope is "firm", or "group", "account", "client" or "instrument" and a name, not {scope[:80]!r}'
    problem = problem or named.nobody_in(engine, scope) or named.nothing_named(engine, scope)
    if problem:
        return e.Failed(e.Failure.INVALID_INPUT, problem)
    engine.emit(e.CancelsWanted(e.Cause(scope, CANCEL_ALL, author, command.reason)))
    return e.Done(sweep(engine) if len(engine.cancels.sweeps) == 1 else 0)


def sweep(engine: Engine, most: int = AN_ENTRY) -> int:
    """Looks at some of the open orders for the oldest stop that has not seen them all: how many it asks for."""
    cancels = engine.cancels
    going = cancels.sweeps[0]
    after = _place_of(going.after)
    left = (id for id in engine.orders.open if after < _place_of(id) and e.row_of(id) <= going.upto)
    some = heapq.nsmallest(most, left, key=_place_of)
    wanted = [
        id
        for id in some
        if id not in cancels.requests
        and (record := engine.orders.open[id]).state is not HELD
        and covers(engine, going.cause, record)
    ]
    _ask(engine, going.cause, wanted)
    engine.emit(e.CancelsSwept(some[-1] if len(some) == most else 0))
    return len(wanted)


def _place_of(reservation_id: int) -> tuple[int, int]:
    """Where an order stands among all: by its row, however many were accepted in that."""
    return e.row_of(reservation_id), reservation_id


def escalate(engine: Engine, most: int = AN_ENTRY) -> int:
    """Passes on what owners have not confirmed in time, and asks again for what venues have refused: how many."""
    late = engine.cancels.due(engine.now_ns, most)
    if late:
        engine.emit(e.CancelsEscalated(late))
    again = engine.cancels.again(engine.now_ns, most)
    if again:
        engine.emit(e.CancelsAskedAgain(again))
    return len({*late, *again})


def again_ns(engine: Engine, reservation_id: int) -> int:
    """When an order whose cancel the venue has refused just now is asked for again; 0: it is not to be cancelled."""
    request = engine.cancels.requests.get(reservation_id)
    if request is None:
        return 0
    if request.again_ns:
        return request.again_ns
    return max(engine.now_ns, request.refused_ns + engine.bounds.cancel_ns) if request.refused_ns else engine.now_ns


def covers(engine: Engine, cause: e.Cause, record: OrderRecord) -> bool:
    """Whether an order is one of those that a stop is over."""
    if cause.scope == FIRM:
        return True
    kind, _, name = cause.scope.partition(" ")
    match kind:
        case "account":
            return record.account == name
        case "group":
            return engine.accounts.group_of(record.account) == name
        case "client":
            return name in (record.client, record.asked_by)
        case "instrument":
            return record.listed is not None and record.listed.symbol == name
        case _:
            return False


def requests_for(
    engine: Engine, client: str, after: Place, accounts: frozenset[str] | None, *, may_cancel: bool
) -> list[tuple[Place, CancelRequest]]:
    """What a client is to be told beyond that place, in order: of its own orders; with the cancel role also of those of
    others, in these accounts, that have been passed on.
    """
    found = []
    for id, request in engine.cancels.requests.items():
        record = engine.orders.open[id]
        if record.client == client:
            place = Place(request.asked_seq, id)
        elif may_cancel and request.escalated_seq and (accounts is None or record.account in accounts):
            place = Place(request.escalated_seq, id)
        else:
            continue
        if place > after:
            found.append((place, request))
    found.sort(key=lambda each: each[0])
    return found


def _cause_of(engine: Engine, body: e.Body, stop: e.Blocked | e.TradingStateSet) -> e.Cause | None:
    """Why a stop wants cancels, or None where it wants none."""
    command = body.command if isinstance(body, e.Commanded) else None
    if isinstance(stop, e.Blocked):
        block = stop.block
        cause = e.Cause(block.scope, block.limit, block.author, block.reason)
        stops, wants = block.state, command.cancel if isinstance(command, e.BlockScope) else engine.bounds.trips_cancel
    else:
        halt = stop.restriction
        cause = e.Cause(halt.scope, trading.LIMIT, halt.author, halt.reason)
        stops = halt.state
        wants = command.cancel if isinstance(command, e.SetTradingState) else engine.bounds.trips_cancel
    return cause if wants and stops is TradingState.HALTED else None


def _ask_of(engine: Engine, id: int) -> None:
    """An order has come to be at the venue, as far as anybody knows: under a stop it is to be cancelled."""
    record = engine.orders.open.get(id)
    if record is None or id in engine.cancels.requests:
        return
    for cause in engine.cancels.kills.values():
        if covers(engine, cause, record):
            _ask(engine, cause, [id])
            return


def _ask(engine: Engine, cause: e.Cause, ids: Sequence[int]) -> None:
    """Asks for these; where no owner is there to hear of it, those with the cancel role are asked at once."""
    here: list[int] = []
    gone: list[int] = []
    for id in ids:
        is_here = engine.sessions.live(engine.orders.open[id].client) is not None
        (here if is_here else gone).append(id)
    if here:
        engine.emit(e.CancelsRequested(cause, tuple(here), engine.now_ns + engine.bounds.cancel_ns))
    if gone:
        engine.emit(e.CancelsRequested(cause, tuple(gone), engine.now_ns))
