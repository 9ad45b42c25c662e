"""Goes through everything a journal holds, names each place that is not what was written, and goes on behind it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from .. import history, journal, tail
from ..core import snapshot
from ..core.reading import Reader
from ..errors import JournalDamaged, JournalFailed, PitdError
from ..journal import GENESIS, chained
from .pages import PAGE

DAMAGES_TOLD = 100
"""So many damages are named; further ones are only counted."""


class Verdict(msgspec.Struct, kw_only=True):
    """What was found. A good journal has no `damages`; `unreadable` says where the system would not let us look."""

    directory: str
    rows: int = 0
    first_seq: int = 0
    last_seq: int = 0
    first_wall_ns: int = 0
    last_wall_ns: int = 0
    segments: int = 0
    snapshots: int = 0
    """Those that are whole and belong to their row."""
    pruned_before: int = 0
    """The first row that is kept, where older ones were pruned; else 0."""
    damages: list[str] = []
    damage_count: int = 0
    unreadable: list[str] = []
    notes: list[str] = []
    took_s: float = 0.0

    @property
    def is_good(self) -> bool:
        return not self.damage_count and not self.unreadable


def verify(directory: Path, reader: Reader, told: Callable[[int], object] = lambda rows: None) -> Verdict:
    """Reads every heading, row and snapshot. `told` hears how many rows have been read. Raises JournalFailed where
    there is no journal; whatever else is wrong stands in the verdict.
    """
    check = _Check(directory, reader, told)
    check.everything()
    return check.verdict


def row_count(directory: Path) -> int:
    """How many rows there are to read, roughly: by the names of the segments and the end of the last."""
    found = journal.segments(directory)
    for path in reversed(found):
        try:
            return max(history.last_seq(path), journal.segment_start(path) - 1) - journal.segment_start(found[0]) + 1
        except PitdError:
            continue
    return 0


class _Check:
    def __init__(self, directory: Path, reader: Reader, told: Callable[[int], object]) -> None:
        self.verdict = Verdict(directory=str(directory))
        self._directory = directory
        self._reader = reader
        self._told = told
        self._seq = 0
        self._chains: list[bytes] = []
        """What the next row may go on from: the last row's value as computed and, where it differs, as written."""
        self._lost_upto = 0
        """Rows up to there could not be read, and have been told of."""
        self._now_ns = 0
        self._journal_id = b""
        self._wanted: dict[int, bytes | None] = {}
        """The rows that a snapshot knows, and their chain values once they have been read."""

    def everything(self) -> None:
        began = time.monotonic()
        taken = journal.snapshots(self._directory)  # before the segments: a live daemon goes on
        waiting = history.tail_lines(self._directory, 0)  # first: a live daemon brings them into its segments
        found = journal.segments(self._directory)
        if not found and not taken:
            raise JournalFailed(f"{self._directory}: holds no journal")
        if not found:
            self._damage(f"{self._directory}: there are snapshots and no segments")
        self._wanted = {int(path.stem): None for path in taken}
        for path in found:
            self._segment(path)
        for line in waiting:
            if line.seq > self._seq:
                self._line(self._directory / tail.NAME, line)
        for path in taken:
            self._snapshot(path)
        self.verdict.last_seq = self._seq
        self.verdict.took_s = time.monotonic() - began

    # ------------------------------------------------------------------------------------------ segments

    def _segment(self, path: Path) -> None:
        heading = None
        try:
            heading = history.read_segment(path)
        except FileNotFoundError:
            self._is_gone(path)
            return
        except PitdError as trouble:
            if self._is_gone(path):
                return
            self._trouble(trouble)
        self.verdict.segments += 1
        start = journal.segment_start(path)
        if heading is not None:
            self._heading(heading)
        elif start > self._seq + 1:
            self._seq, self._chains = start - 1, []
        try:
            history.check_tail(path)
        except PitdError as trouble:
            self._trouble(trouble)
        self._rows(path, start)

    def _heading(self, heading: history.Segment) -> None:
        path, start = heading.path, heading.first_seq
        if not self._journal_id:
            self._journal_id = heading.journal
            self.verdict.pruned_before = start if start > 1 else 0
            self._seq = start - 1
            self._chains = [heading.chain]
            if start == 1 and heading.chain != GENESIS:
                self._damage(f"{path}: its heading is not that of a journal's beginning")
            if self._seq in self._wanted:
                self._wanted[self._seq] = heading.chain
            return
        if heading.journal != self._journal_id:
            self._damage(f"{path}: belongs to another journal than the segments before it")
        if start > self._seq + 1:
            first, last = self._seq + 1, start - 1
            self._damage(f"{path}: {_rows(first, last)} before it {_are(first, last)} missing")
        elif start <= self._seq:
            self._damage(f"{path}: begins with row {start}, and the segment before it goes to row {self._seq}")
        elif self._chains and heading.chain not in self._chains:
            self._damage(f"{path}: its heading does not go on from row {self._seq}")
        self._seq, self._chains = start - 1, [heading.chain]

    def _rows(self, path: Path, start: int) -> None:
        begun = -history.LAST
        while True:
            try:
                found = history.stored(path, begun, PAGE)
            except PitdError as trouble:
                if self._is_gone(path):
                    return
                found = self._behind(path, start, begun, trouble)
            if not found:
                return
            for batch in found:
                self._batch(path, batch)
                begun = max(begun, batch.first_seq)
            self._told(self.verdict.rows)

    def _behind(self, path: Path, start: int, begun: int, trouble: PitdError) -> list[history.Batch]:
        """The next batch behind what SQLite can't read; what lies between is told of."""
        first = max(self._seq, self._lost_upto) + 1
        try:
            newest = history.batch_of(path, history.LAST)
        except PitdError:
            newest = None
        if newest is None or newest.first_seq < first:
            self._trouble(trouble)
            return []
        last = min(newest.first_seq, start + path.stat().st_size)  # a row takes more than a byte
        found = []
        for seq in range(first, last + 1):
            with contextlib.suppress(PitdError):
                batch = history.batch_of(path, seq)
                if batch is not None and batch.first_seq > begun:
                    found, last = [batch], batch.first_seq - 1
                    break
        if last >= first:
            self._trouble(type(trouble)(f"{path}: {_rows(first, last)} cannot be read: {_why(trouble)}"))
            self._lost_upto = last
        else:
            self._trouble(trouble)
        return found

    def _batch(self, path: Path, batch: history.Batch) -> None:
        rows = batch.rows
        if rows and batch.first_seq <= self._seq:
            again = _rows(batch.first_seq, rows[-1][0])
            self._damage(f"{path}: {again} once more behind row {self._seq}")
            rows = [row for row in rows if row[0] > self._seq]
        for row in rows:
            self._line(path, history.Line(*row))
        if batch.trouble:
            self._damage(f"{path}: {batch.trouble}")
            self._lost_upto = batch.last_seq

    def _line(self, path: Path, line: history.Line) -> None:
        verdict = self.verdict
        verdict.rows += 1
        verdict.first_seq = verdict.first_seq or line.seq
        if line.seq > self._seq + 1:
            first, last = max(self._seq, self._lost_upto) + 1, line.seq - 1
            if first <= last:
                self._damage(f"{path}: {_rows(first, last)} {_are(first, last)} missing")
            self._chains = []
        self._lost_upto = 0
        self._seq = line.seq
        going_on = [chained(chain, line.row) for chain in self._chains]
        if line.chain in going_on or not going_on:
            self._chains = [line.chain]
        else:
            self._damage(f"{path}: row {line.seq} is not what was written: the chain breaks there")
            self._chains = [line.chain, *going_on]  # whichever of both was changed, the next row tells
        if line.seq in self._wanted:
            self._wanted[line.seq] = line.chain
        self._content(path, line)

    def _content(self, path: Path, line: history.Line) -> None:
        try:
            entry = self._reader.row(line.row).entry
        except (msgspec.MsgspecError, ValueError, TypeError) as trouble:
            self._damage(f"{path}: row {line.seq} cannot be understood: {trouble}")
            return
        if entry.seq != line.seq:
            self._damage(f"{path}: row {line.seq} says that it is row {entry.seq}")
        if entry.now_ns < self._now_ns:
            self._damage(f"{path}: row {line.seq} is earlier than the one before it")
        self._now_ns = entry.now_ns
        self.verdict.first_wall_ns = self.verdict.first_wall_ns or entry.wall_ns
        self.verdict.last_wall_ns = entry.wall_ns

    # ------------------------------------------------------------------------------------------ snapshots

    def _snapshot(self, path: Path) -> None:
        seq = int(path.stem)
        try:
            head, body = journal.read_snapshot(path)
            image = snapshot.spell_out(snapshot.decode(body))  # which reads every order
        except JournalDamaged as trouble:
            if not self._is_gone(path):
                self._trouble(trouble)
            return
        except (msgspec.MsgspecError, ValueError, TypeError) as trouble:
            self._damage(f"{path}: is whole, and this release cannot read it: {trouble}")
            return
        chain = self._wanted[seq]
        if image.seq != seq:
            self._damage(f"{path}: is the state after row {image.seq}, and its name says otherwise")
        elif self._journal_id and head.journal != self._journal_id:
            self._damage(f"{path}: belongs to another journal")
        elif seq > self._seq:
            self._damage(f"{path}: knows row {seq}, and the journal ends with row {self._seq}: its end is missing")
        elif chain is None and self.verdict.pruned_before and seq < self.verdict.pruned_before - 1:
            self.verdict.notes.append(f"{path}: its row was pruned")
        elif chain is None:
            self._damage(f"{path}: row {seq}, which it goes on from, is missing")
        elif chain != head.chain:
            self._damage(f"{path}: row {seq} was another when it was taken")
        else:
            self.verdict.snapshots += 1

    # ------------------------------------------------------------------------------------------ what is wrong

    def _is_gone(self, path: Path) -> bool:
        """Whether a live daemon has pruned the file meanwhile."""
        if path.exists():
            return False
        self.verdict.notes.append(f"{path}: was pruned meanwhile")
        return True

    def _trouble(self, trouble: PitdError) -> None:
        if isinstance(trouble, JournalDamaged):
            self._damage(_why(trouble))
        else:
            self.verdict.unreadable.append(str(trouble))

    def _damage(self, what: str) -> None:
        self.verdict.damage_count += 1
        if len(self.verdict.damages) < DAMAGES_TOLD:
            self.verdict.damages.append(what)


def _why(trouble: PitdError) -> str:
    """Without the advice to run what is running."""
    return str(trouble).split(". Nothing was changed;")[0]


def _rows(first: int, last: int) -> str:
    return f"row {first}" if first == last else f"rows {first} to {last}"


def _are(first: int, last: int) -> str:
    return "is" if first == last else "are"
