"""Who is told which orders are to be cancelled, and when: a question that waits until there is an answer.

A client asks from a place on, and is answered once there is something beyond it. What it does not ask for is not kept
for it: the answer is made of the engine's state, so a slow client costs nothing, and a lost answer is asked for again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from pit import wire
from pit.types import CancelRequest

from .core import kills
from .core.engine import Engine
from .core.kills import Place
from .core.numbers import canonical
from .house import House
from .sequencer import Sequencer

_WAIT_MOST_S = 10.0

_PAGE_MOST = 300


class Page(NamedTuple):
    """An answer, and those in it whom this client has not been told of before."""

    reply: wire.CancelsFor
    fresh: tuple[int, ...] = ()


class Asked(NamedTuple):
    """A question that waits: over which connection, under which number, by whom."""

    identity: bytes
    number: int
    client: str
    query: wire.AskCancels
    until: float
    is_counted: bool
    """Whether its answer counts as told; not for one that only looks."""


class Told(NamedTuple):
    """An answer, and to what."""

    asked: Asked
    reply: wire.CancelsFor


class CancelWatch:
    """The questions that are not answered yet: one for each connection."""

    def __init__(self, sequencer: Sequencer, house: House, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._sequencer = sequencer
        self._house = house
        self._clock_s = clock_s
        self.waiting: dict[bytes, Asked] = {}
        """By connection: what is not answered yet."""
        self._seen_version = 0

    def ask(
        self, identity: bytes, number: int, client: str, query: wire.AskCancels, *, is_counted: bool
    ) -> wire.Reply | None:
        """The answer, or None: then it comes by `due()`."""
        self.waiting.pop(identity, None)
        until = self._clock_s() + max(0.0, min(query.wait_ns / 1e9, _WAIT_MOST_S))
        asked = Asked(identity, number, client, query, until, is_counted)
        reply = self._answer(asked)
        if reply.cancels or query.wait_ns <= 0:
            return reply
        self.waiting[identity] = asked
        return None

    def forget(self, identity: bytes) -> None:
        """That connection is no more."""
        self.waiting.pop(identity, None)

    def due(self) -> list[Told]:
        """Whom to tell now. Enters who is being told: let go what it gives once that has been journaled."""
        now, version = self._clock_s(), self._sequencer.engine.cancels.version
        is_news, self._seen_version = version != self._seen_version, version
        told = []
        for asked in list(self.waiting.values()):
            if not is_news and asked.until > now:
                continue
            reply = self._answer(asked)
            if reply.cancels or asked.until <= now:
                del self.waiting[asked.identity]
                told.append(Told(asked, reply))
        return told

    def wait_ms(self, most_ms: int) -> int:
        """How long nobody has to be told anything, if nothing happens."""
        if not self.waiting:
            return most_ms
        first = min(asked.until for asked in self.waiting.values())
        return max(0, min(most_ms, int((first - self._clock_s()) * 1e3) + 1))

    def _answer(self, asked: Asked) -> wire.CancelsFor:
        engine = self._sequencer.engine
        found = page(engine, asked.client, asked.query, self._sequencer.now_ns, self._house)
        if found.fresh and asked.is_counted:
            self._sequencer.note_read(asked.client, found.fresh)
        return found.reply


def page(engine: Engine, client: str, query: wire.AskCancels, now_ns: int, house: House | None) -> Page:
    """What is beyond a place for a client, as far as one answer goes."""
    requests = engine.cancels.requests
    if not requests:
        return Page(wire.CancelsFor((), query.seq, query.reservation_id))
    who = None if house is None else house.config.client(client)
    may_cancel = who is not None and "cancel" in who.roles
    after = Place(query.seq, query.reservation_id)
    if after.seq > engine.seq:
        after = Place(0, 0)  # of a history that is no more
    found = kills.requests_for(engine, client, after, None if who is None else who.accounts, may_cancel=may_cancel)
    found = found[: max(1, min(query.most, _PAGE_MOST))]
    last = found[-1][0] if found else after
    told = tuple(_told(engine, client, request, now_ns) for _, request in found)
    fresh = tuple(each.reservation_id for _, each in found if client not in dict(each.told))
    return Page(wire.CancelsFor(told, last.seq, last.reservation_id), fresh)


def listed(engine: Engine, query: wire.ListCancels, now_ns: int) -> wire.Reply:
    """Everybody's, for operators."""
    ids = sorted(id for id in engine.cancels.requests if id > query.after)
    most = max(1, min(query.most, _PAGE_MOST))
    seen = []
    for id in ids[:most]:
        request = engine.cancels.requests[id]
        told = tuple((client, max(0, now_ns - at_ns) / 1e9) for client, at_ns in request.told)
        one = _told(engine, "", request, now_ns)
        seen.append(wire.CancelSeen(request=one, is_late=bool(request.escalated_seq), told=told))
    return wire.CancelsAre(engine.seq, tuple(seen), more=len(ids) > most)


def counted(engine: Engine) -> dict[str, Any]:
    """How many are to be confirmed, how many of them late, and how old the oldest is."""
    requests = engine.cancels.requests.values()
    oldest_ns = min((each.asked_ns for each in requests), default=engine.now_ns)
    return {
        "cancels": len(requests),
        "cancels_late": sum(bool(each.escalated_seq) for each in requests),
        "oldest_cancel_s": max(0, engine.now_ns - oldest_ns) / 1e9,
    }


def _told(engine: Engine, client: str, request: kills.CancelRequest, now_ns: int) -> CancelRequest:
    record = engine.orders.open[request.reservation_id]
    assert record.order is not None
    cause = request.cause
    return CancelRequest(
        order=record.order,
        reservation_id=record.reservation_id,
        client=record.client,
        is_own=record.client == client,
        state=record.state,
        open_quantity=canonical(record.open_quantity),
        scope=cause.scope,
        limit=cause.limit,
        author=cause.author,
        reason=cause.reason,
        asked_s=max(0, now_ns - request.asked_ns) / 1e9,
        venue_order_id=record.venue_order_id,
    )
