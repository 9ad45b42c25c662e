"""Reads a journal page by page, oldest or newest first, of a live daemon or a stopped one, and checks nothing."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from .. import history
from ..core import entry as e
from ..core import reading
from ..core.reading import Reader
from ..errors import JournalFailed, NotFound, PitdError
from ..journal import segment_start, segments

PAGE = 4_000
"""So many rows are read through one connection. It is closed in between, so that the WAL may shrink meanwhile."""


class Pages:
    """The rows of a directory. Raises JournalFailed where no journal is, JournalDamaged where it can't be read."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._segments: list[Path] = []
        self._waiting: list[history.Line] = []
        self.look_again()
        if not self._segments:
            raise JournalFailed(f"{directory}: holds no journal" + ("" if directory.is_dir() else "; it is not there"))

    def look_again(self) -> None:
        """Takes in which segments a live daemon has begun or deleted meanwhile."""
        self._waiting = history.tail_lines(self.directory, 0)  # first: a live daemon brings them into its segments
        self._segments = segments(self.directory)

    @property
    def first_seq(self) -> int:
        """The oldest row that is kept: above 1 once older ones have been pruned."""
        return segment_start(self._segments[0])

    def last_seq(self) -> int:
        """The newest row."""
        last = self._segments[-1]
        waiting = self._waiting[-1].seq if self._waiting else 0
        return max(history.last_seq(last), segment_start(last) - 1, waiting)

    def rows(self, after_seq: int, upto_seq: int | None = None) -> Iterator[history.Line]:
        """The rows after that one, in order; up to the end that the journal has when it gets there."""
        for page in self.pages(after_seq, upto_seq):
            yield from page

    def pages(
        self, after_seq: int, upto_seq: int | None = None, containing: Sequence[bytes] = ()
    ) -> Iterator[list[history.Line]]:
        """The same in pages. `containing` may be a list that grows between two pages."""
        upto_seq = self.last_seq() if upto_seq is None else upto_seq
        after_seq = max(after_seq, self.first_seq - 1)
        while after_seq < upto_seq:
            path, ends = self._segment_of(after_seq + 1)
            to = min(after_seq + PAGE, upto_seq, ends)
            yield self._page(path, after_seq, to, containing)
            after_seq = to

    def pages_back(
        self, upto_seq: int, containing: Sequence[bytes], after_seq: int = 0
    ) -> Iterator[list[history.Line]]:
        """The same, newest first (within a page, rows are in order)."""
        after_seq = max(after_seq, self.first_seq - 1)
        while upto_seq > after_seq:
            path, _ = self._segment_of(upto_seq)
            after = max(upto_seq - PAGE, segment_start(path) - 1, after_seq)
            yield self._page(path, after, upto_seq, containing)
            upto_seq = after

    def line(self, seq: int) -> history.Line:
        """One row. Raises NotFound."""
        if seq >= self.first_seq:
            path, _ = self._segment_of(seq)
            found = self._page(path, seq - 1, seq, ())
            if found:
                return found[0]
        kept = f"its rows go from {self.first_seq} to {self.last_seq()}"
        raise NotFound(f"{self.directory}: row {seq} is not here; {kept}")

    def _segment_of(self, seq: int) -> tuple[Path, int]:
        """The segment that holds a row, and the last row that it may hold."""
        at = bisect.bisect_right(self._segments, seq, key=segment_start) - 1
        following = self._segments[at + 1 : at + 2]
        return self._segments[at], segment_start(following[0]) - 1 if following else 1 << 62

    def _page(self, path: Path, after: int, upto: int, containing: Sequence[bytes]) -> list[history.Line]:
        try:
            may_wait = path == self._segments[-1] and self._waiting and self._waiting[-1].seq > after
            kept = history.last_seq(path) if may_wait else 0  # first: what waits may reach the segment meanwhile
            page = history.page(path, after, upto, containing)
            if may_wait:
                kept = max(kept, after, page[-1].seq if page else 0)
                for line in self._waiting:
                    if kept < line.seq <= upto and (not containing or any(each in line.row for each in containing)):
                        page.append(line)
            return page
        except PitdError:
            if not path.exists():
                return []  # pruned meanwhile
            raise


class Clients:
    """Whose session it was: a session's id is the sequence number of the entry that opened it."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._names: dict[int, str | None] = {}

    def of(self, session: int) -> str | None:
        """The client's name, or None where the journal no longer tells."""
        if session not in self._names:
            if len(self._names) > 10_000:
                self._names.clear()
            self._names[session] = self._look_up(session)
        return self._names[session]

    def name_of(self, entry: e.Entry) -> str | None:
        """Who sent an entry: a client's name, "pitd" for the daemon itself, None where it no longer is told."""
        body = entry.body
        match body:
            case e.SessionOpened() | e.HistoryDisputed():
                return body.client
            case e.Commanded() | e.SessionEnded() | e.NumberVoided():
                return self.of(body.session)
            case e.Poisoned() if body.session:
                return self.of(body.session)
            case e.Configured():
                return body.author
            case _:
                return "pitd"

    def _look_up(self, session: int) -> str | None:
        try:
            body = reading.decode(self._pages.line(session).row).entry.body
        except (PitdError, msgspec.MsgspecError):
            return None
        return body.client if isinstance(body, e.SessionOpened) else None


def read(reader: Reader, line: history.Line) -> e.Row | None:
    """A row as far as it can be understood: with plain effects where a policy's own can't be; None where not at all."""
    for decode in (reader.row, reading.decode):
        try:
            return decode(line.row)
        except (msgspec.MsgspecError, ValueError, TypeError):
            continue
    return None
