"""Reads old events from the journal's files, a page at a time, in a process of its own: the loop never waits for it.

A thread would keep the loop waiting: it may hold the interpreter for milliseconds. This one only carries questions to
the process and answers back, as they are.
"""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO

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

PAGE = 500
"""So many rows are read for one answer, and so many events are in it, at the most."""

_IDLE_S = 30.0
"""After so long without a question the process ends; the next one starts another."""

_NICE = 5
_KNOWN = 100_000

_QUESTION = struct.Struct("<QQI")
_LENGTH = struct.Struct("<I")


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
        self._reader: subprocess.Popen[bytes] | None = None

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
        """Ends the process, and answers nothing any more."""
        with self._changed:
            self._is_ending = True
            self._changed.notify()
            if self._reader is not None:
                self._reader.kill()
        if self._thread is not None:
            self._thread.join()

    # ------------------------------------------------------------------------------------------ in the thread

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._asked and not self._is_ending:
                    if not self._changed.wait(_IDLE_S) and not self._asked:
                        self._end_reader()
                if self._is_ending:
                    break
                asked = self._asked.popleft()
            reply = self._carry(asked)
            with self._changed:
                self._done.append(Told(asked, reply))
            self._wake()
        self._end_reader()

    def _carry(self, asked: Asked) -> wire.Reply | bytes:
        try:
            reader = self._reader or self._start_reader()
            assert reader.stdin is not None and reader.stdout is not None
            reader.stdin.write(_QUESTION.pack(asked.row, asked.skip, max(0, min(asked.most, PAGE))))
            reader.stdin.flush()
            return _read_exactly(reader.stdout, *_LENGTH.unpack(_read_exactly(reader.stdout, _LENGTH.size)))
        except (OSError, EOFError) as trouble:
            if not self._is_ending:
                log.warning("past.failed", row=asked.row, why=repr(trouble))
            self._end_reader()
            why = f"the events from row {asked.row} on cannot be read from the journal now; ask again"
            return wire.Failed(wire.FailureCode.SYSTEM_UNAVAILABLE, why)

    def _start_reader(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", "-m", "pitd.journal_tools.past", str(self._directory)]
        same_code = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        reader = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=same_code)
        with self._changed:
            self._reader = reader
            if self._is_ending:
                reader.kill()
        return reader

    def _end_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is None:
            return
        reader.kill()  # it only reads
        reader.wait()
        for pipe in (reader.stdin, reader.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):  # what could not be written any more
                pipe.close()


def _read_exactly(pipe: IO[bytes], count: int) -> bytes:
    found = pipe.read(count)
    if len(found) < count:
        raise EOFError("the process that reads the journal has ended")
    return found


# ---------------------------------------------------------------------------------------------- in the process


def serve(directory: Path, questions: IO[bytes], answers: IO[bytes]) -> None:
    """Answers until nobody asks any more."""
    past = ReadPast(directory)
    while len(asked := questions.read(_QUESTION.size)) == _QUESTION.size:
        row, skip, most = _QUESTION.unpack(asked)
        try:
            reply: wire.Reply = past.page(row, skip, most)
        except (PitdError, OSError, msgspec.MsgspecError) as trouble:
            why = f"the events from row {row} on cannot be read from the journal: {trouble}"
            reply = wire.Failed(wire.FailureCode.SYSTEM_UNAVAILABLE, why)
        body = wire.encode(reply)
        answers.write(_LENGTH.pack(len(body)) + body)
        answers.flush()


class ReadPast:
    """The events of a journal's files, of a live daemon or a stopped one."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._names: _Names | None = None

    def page(self, row: int, skip: int, most: int) -> wire.EventsAre:
        """One page from that row on. Raises PitdError where the journal can't be read."""
        if self._names is None:
            self._names = _Names(Pages(self._directory))
        names, pages = self._names, self._names.pages
        pages.look_again()
        begin = max(row, pages.first_seq)
        rows: dict[int, e.Row] = {}
        for line in pages.rows(begin - 1, begin - 1 + PAGE):
            rows[line.seq] = reading.decode(line.row)

        def events(seq: int) -> tuple[ev.AnyEvent, ...]:
            return events_of(rows[seq], names)

        last = begin - 1
        while last + 1 in rows:
            last += 1
        return collect(begin, skip if begin == row else 0, last, most, events)


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
            row = reading.decode(self.pages.line(e.row_of(seq)).row)
        except (PitdError, msgspec.MsgspecError):
            return NOBODY
        for effect in row.effects:
            match effect:
                case e.OrderOpened() if effect.reservation_id == seq:
                    return Whose(effect.order.account, effect.order.id, effect.client)
                case e.RequestOpened():
                    return Whose(effect.order.account, effect.order.id, self.client(effect.session))
                case e.StrangerNoted():
                    return Whose(effect.account, effect.order_id, "")
                case _:
                    pass
        return NOBODY


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the daemon's end is this one's
    with contextlib.suppress(OSError):  # not everywhere may a process step back
        os.nice(_NICE)
    serve(Path(sys.argv[1]), sys.stdin.buffer, sys.stdout.buffer)
