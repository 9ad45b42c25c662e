"""Reads old events from the journal's files, in a thread of its own, a page at a time, so that the loop never waits."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec

from pit import events as ev
from pit import wire

from .. import log
from ..core import entry as e
from ..core import reading
from ..errors import PitdError
from ..events import NOBODY, Whose, collect, events_of
from ..watchers import Asked, Told
from .pages import Clients, Pages

_ROWS = 100
"""So many rows are read for one answer."""

_BREATHER_ROWS = 16
_BREATHER_S = 100e-6
"""A thread may keep the interpreter for 5 ms before another gets it: this one gives it away by itself, and often."""

_KNOWN = 10_000


class JournalPast:
    """The past of one journal. `wake` is called from its thread whenever there is an answer to fetch."""

    def __init__(self, directory: Path, wake: Callable[[], object]) -> None:
        self._directory = directory
        self._wake = wake
        self._changed = threading.Condition()
        self._asked: deque[Asked] = deque()
        self._done: list[Told] = []
        self._is_ending = False
        self._thread: threading.Thread | None = None
        self._names: _Names | None = None

    def ask(self, asked: Asked) -> None:
        with self._changed:
            self._asked.append(asked)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="past", daemon=True)
                self._thread.start()
            self._changed.notify()

    def answers(self) -> list[Told]:
        with self._changed:
            done, self._done = self._done, []
        return done

    def close(self) -> None:
        """Lets the page in hand be the last."""
        with self._changed:
            self._is_ending = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    # ------------------------------------------------------------------------------------------ in the thread

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._asked and not self._is_ending:
                    self._changed.wait()
                if self._is_ending:
                    return
                asked = self._asked.popleft()
            try:
                reply: wire.Reply = self._read(asked)
            except Exception as trouble:  # whatever a damaged file brings about: who asked is told
                if not isinstance(trouble, PitdError | OSError | msgspec.MsgspecError):
                    log.error("past.failed", row=asked.row, why=repr(trouble))
                why = f"the events from row {asked.row} on cannot be read from the journal: {trouble}"
                reply = wire.Failed(wire.FailureCode.SYSTEM_UNAVAILABLE, why)
            with self._changed:
                self._done.append(Told(asked, reply))
            self._wake()

    def _read(self, asked: Asked) -> wire.Reply:
        if self._names is None:
            self._names = _Names(Pages(self._directory))
        names, pages = self._names, self._names.pages
        pages.look_again()
        begin = max(asked.row, pages.first_seq)
        rows: dict[int, e.Row] = {}
        for line in pages.rows(begin - 1, begin - 1 + _ROWS):
            rows[line.seq] = reading.decode(line.row)
            _breathe(len(rows))

        def events(seq: int) -> tuple[ev.AnyEvent, ...]:
            _breathe(seq)
            return events_of(rows[seq], names)

        last = begin - 1
        while last + 1 in rows:
            last += 1
        return collect(begin, asked.skip if begin == asked.row else 0, last, asked.most, events)


class _Names:
    """What the journal tells of a number: it is that of the row which began the session, the request or the order."""

    def __init__(self, pages: Pages) -> None:
        self.pages = pages
        self._clients = Clients(pages)
        self._known: dict[int, Whose] = {}

    def order(self, reservation_id: int) -> Whose:
        return self._begun_in(reservation_id)

    def request(self, request_id: int) -> Whose:
        return self._begun_in(request_id)

    def client(self, session: int) -> str:
        return self._clients.of(session) or ""

    def _begun_in(self, seq: int) -> Whose:
        whose = self._known.get(seq)
        if whose is None:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            whose = self._known[seq] = self._look_up(seq)
        return whose

    def _look_up(self, seq: int) -> Whose:
        try:
            row = reading.decode(self.pages.line(seq).row)
        except (PitdError, msgspec.MsgspecError):
            return NOBODY
        for effect in row.effects:
            match effect:
                case e.OrderOpened():
                    return Whose(effect.order.account, effect.order.id, effect.client)
                case e.RequestOpened():
                    return Whose(effect.order.account, effect.order.id, self.client(effect.session))
                case e.StrangerNoted():
                    return Whose(effect.account, effect.order_id, "")
                case _:
                    pass
        return NOBODY


def _breathe(count: int) -> None:
    if count % _BREATHER_ROWS == 0:
        time.sleep(_BREATHER_S)
