"""How a program follows what happens at a daemon: from where it begins, page by page, and what it has missed."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple, overload

from . import _calls, wire
from .aio import AsyncEngine
from .engine import Engine
from .events import AnyEvent, Missed


class Position(NamedTuple):
    """The next row that is wanted, and how many of its events have been had. To go on from it later, keep it."""

    row: int
    skip: int = 0


class _Following:
    """Where a subscription stands, without the waiting."""

    def __init__(self, timeout_s: float, position: Position | None) -> None:
        self.position = position
        """Behind the last event that was given out. None before the first answer to "from now on"."""
        self._wait_ns = int(timeout_s * 0.5e9)
        self._ready: deque[tuple[AnyEvent | Missed, Position]] = deque()
        self._asked = position

    @property
    def is_at_end(self) -> bool:
        """Whether everything that is known here has been given out: the next one has to be asked for."""
        return not self._ready

    def _question(self) -> wire.AskEvents:
        if self._asked is None:
            return wire.AskEvents()
        return wire.AskEvents(self._asked.row, self._asked.skip, self._wait_ns)

    def _take(self, reply: wire.Reply) -> None:
        page = _calls.expect(reply, wire.EventsAre)
        if self._asked is not None and page.first_row > self._asked.row:
            missed = Missed(self._asked.row, page.first_row - 1)
            self._ready.append((missed, Position(page.first_row)))
        self._ready += ((event, Position(event.seq, event.place + 1)) for event in page.events)
        self._asked = Position(page.next_row, page.next_skip)

    def _next(self) -> AnyEvent | Missed | None:
        if not self._ready:
            self.position = self._asked
            return None
        event, self.position = self._ready.popleft()
        return event


class Subscription(_Following):
    """The events of a daemon, in order, for ever: `for event in subscribe(engine)`.

    It waits for what is not there yet, and holds the engine while it waits: give it an engine of its own, under a name
    that may look at everybody's orders. Where the daemon no longer has what comes next, a `Missed` says so, and it goes
    on behind that. Nothing else is left out, however slow the reader and however often the daemon is started again.

    Raises what pit raises (Unavailable while no daemon answers); then ask for the next event again: it goes on where it
    was. JournalBehind when the daemon's history ends before `position`.
    """

    def __init__(self, engine: Engine, position: Position | None) -> None:
        super().__init__(engine.timeout_s, position)
        self._engine = engine

    def __iter__(self) -> Iterator[AnyEvent | Missed]:
        return self

    def __next__(self) -> AnyEvent | Missed:
        while True:
            event = self.poll()
            if event is not None:
                return event

    def poll(self) -> AnyEvent | Missed | None:
        """The next event, or None when nothing has happened for half of the engine's `timeout_s`."""
        if not self._ready:
            self._take(self._engine.ask(self._question()))
        return self._next()


class AsyncSubscription(_Following):
    """The same with `async for`. Other calls of its engine go on while it waits."""

    def __init__(self, engine: AsyncEngine, position: Position | None) -> None:
        super().__init__(engine.timeout_s, position)
        self._engine = engine

    def __aiter__(self) -> AsyncIterator[AnyEvent | Missed]:
        return self

    async def __anext__(self) -> AnyEvent | Missed:
        while True:
            event = await self.poll()
            if event is not None:
                return event

    async def poll(self) -> AnyEvent | Missed | None:
        """The next event, or None when nothing has happened for half of the engine's `timeout_s`."""
        if not self._ready:
            self._take(await self._engine.ask(self._question()))
        return self._next()


@overload
def subscribe(engine: Engine, since: int | tuple[int, int] | None = None) -> Subscription: ...
@overload
def subscribe(engine: AsyncEngine, since: int | tuple[int, int] | None = None) -> AsyncSubscription: ...
def subscribe(
    engine: Engine | AsyncEngine, since: int | tuple[int, int] | None = None
) -> Subscription | AsyncSubscription:
    """What happens at the daemon from now on, or `since`: a row of the journal (0: everything that is kept), an event's
    `number`, or the `position` that another subscription had got to.
    """
    position = _position(since)
    if isinstance(engine, AsyncEngine):
        return AsyncSubscription(engine, position)
    return Subscription(engine, position)


def _position(since: int | tuple[int, int] | None) -> Position | None:
    match since:
        case None | Position():
            return since
        case int():
            return Position(since + 1)
        case _:
            seq, place = since
            return Position(seq, place + 1)
