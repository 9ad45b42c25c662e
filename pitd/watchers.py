"""Who waits for events, and what each is told when: in small pieces, after everybody's replies have left.

A watcher asks for the events from one row on, and is answered once there are some. What it does not ask for is not kept
for it, so a slow one costs nothing, and nothing can be lost on the way: what it missed is read from the journal, by a
process of its own, or is told to be gone. It is all a question and its answer, so that watching goes by the same
sessions and roles as everything else, over the same endpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from pit import wire

from .events import PAGE, Recent

_WATCHERS_MOST = 64

_WAIT_MOST_S = 10.0

_GATHERED_S = 0.01
"""Events are gathered for so long, for each watcher: one answer with many costs the loop less than many with one."""


class Asked(NamedTuple):
    """Which events, by whom: over which connection, under which number."""

    identity: bytes
    number: int
    client: str
    row: int
    skip: int
    most: int
    until: float
    """When it is answered even if nothing has happened."""
    looked_upto: int = 0
    """Rows before this one tell nothing, and need not be looked at again."""

    @property
    def at(self) -> int:
        return max(self.row, self.looked_upto)


class Told(NamedTuple):
    """An answer, or its bytes."""

    asked: Asked
    reply: wire.Reply | bytes


class Past(Protocol):
    """The events that are no longer kept at hand. Never keeps its caller waiting."""

    def ask(self, asked: Asked) -> None:
        """Takes a question, to be answered by `answers()`."""

    def answers(self) -> list[Told]:
        """What has been read since the last call."""


class Watchers:
    """The questions that are not answered yet: one for each connection."""

    def __init__(
        self, recent: Recent, past: Past | None = None, *, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        """`past` is None where no journal is kept: then what is no longer kept is gone."""
        self._clock_s = clock_s
        self._recent = recent
        self._past = past
        self._waiting: dict[bytes, Asked] = {}
        self._reading: dict[bytes, Asked] = {}
        self._next_at: dict[bytes, float] = {}

    def ask(self, identity: bytes, number: int, client: str, query: wire.AskEvents) -> wire.Reply | None:
        """Takes a question, to be answered by `due()`. Or the answer, where it can be given at once."""
        at_once = self._recent.at_once(query.row)
        if at_once is not None:
            return at_once
        before = self._waiting.get(identity) or self._reading.get(identity)
        if before is not None and before.number == number:
            return None  # said again by one that still waits
        if before is None and len(self) >= _WATCHERS_MOST:
            why = f"{_WATCHERS_MOST} watchers wait for events already; further ones find no room"
            return wire.Failed(wire.FailureCode.CAPACITY_EXCEEDED, why)
        wait_s = max(0.0, min(query.wait_ns / 1e9, _WAIT_MOST_S))
        until = self._clock_s() + wait_s
        asked = Asked(identity, number, client, query.row, max(0, query.skip), query.most, until)
        self._waiting.pop(identity, None)
        read = self._reading.pop(identity, None)
        if read is not None and _is_same(read, asked):
            self._reading[identity] = asked  # asked anew by one that had given up waiting
        elif query.row < self._recent.first_row and self._past is not None:
            self._read(asked)
        else:
            self._waiting[identity] = asked
        return None

    @property
    def are_there(self) -> bool:
        return bool(self._waiting or self._reading)

    def __len__(self) -> int:
        return len(self._waiting) + len(self._reading)

    def forget(self, identity: bytes) -> None:
        """That connection is no more."""
        self._waiting.pop(identity, None)
        self._reading.pop(identity, None)
        self._next_at.pop(identity, None)

    def due(self) -> list[Told]:
        """Whom to tell now, and what: so much as a moment of the loop allows."""
        if not self._waiting:
            return []
        told = []
        now = self._clock_s()
        room = PAGE
        for asked in list(self._waiting.values()):
            if room <= 0:
                break
            if self._due_at(asked, now) > now:
                continue
            del self._waiting[asked.identity]
            if asked.at < self._recent.first_row and self._past is not None:
                self._read(asked)
                continue
            page = self._recent.page(asked.at, asked.skip if asked.at == asked.row else 0, min(asked.most, room))
            room -= max(1, len(page.events))
            if not page.events and page.first_row == asked.at and now < asked.until:  # it waits on behind those rows
                self._waiting[asked.identity] = asked._replace(looked_upto=page.next_row)
                continue
            self._next_at[asked.identity] = now + _GATHERED_S
            first_row = asked.row if page.first_row == asked.at else page.first_row
            told.append(Told(asked, wire.EventsAre(first_row, page.events, page.next_row, page.next_skip)))
        return told

    def found(self) -> list[Told]:
        """What has been read from the journal, for those who still wait for it."""
        told = []
        for each in self._past.answers() if self._past is not None else ():
            asked = self._reading.get(each.asked.identity)
            if asked is not None and _is_same(asked, each.asked):
                del self._reading[asked.identity]
                told.append(Told(asked, each.reply))
        return told

    def wait_ms(self, most_ms: int) -> int:
        """How long nobody has to be told anything, if nothing happens."""
        if not self._waiting:
            return most_ms
        now = self._clock_s()
        first = min(self._due_at(asked, now) for asked in self._waiting.values())
        return max(0, min(most_ms, int((first - now) * 1e3) + 1)) if first > now else 0

    def _read(self, asked: Asked) -> None:
        assert self._past is not None
        self._reading[asked.identity] = asked
        self._past.ask(asked)

    def _due_at(self, asked: Asked, now: float) -> float:
        lag = self._recent.head + 1 - asked.at
        if lag <= 0:
            return asked.until
        if lag >= PAGE:
            return now
        return min(asked.until, self._next_at.get(asked.identity, now))


def _is_same(one: Asked, other: Asked) -> bool:
    return (one.row, one.skip, one.most) == (other.row, other.skip, other.most)
