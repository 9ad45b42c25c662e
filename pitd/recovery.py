"""Brings an engine back from a journal: the newest good snapshot, then the effects of every row after it."""

from __future__ import annotations

import contextlib
import decimal
import gc
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from pit.types import checked_before

from . import history, log
from .core import snapshot
from .core.engine import CarryOutFailed, Engine, exact_context
from .core.reading import Reader
from .errors import JournalDamaged, JournalFailed
from .journal import START, Head, read_snapshot, snapshots

Progress = Callable[[int, int], None]
"""Is told how many rows have been carried out, of how many."""


_TELL_ROWS = 500


class Recovered(NamedTuple):
    """An engine that stands where its journal ends."""

    engine: Engine
    journal: bytes | None
    """The journal's id, or None where there was none yet."""
    head: Head
    snapshot_seq: int
    """What the snapshot that it began with knew; 0 for none."""


def recover(directory: Path, build: Callable[[], Engine], progress: Progress | None = None) -> Recovered:
    """The engine as it was when the last row was kept. `build` gives a fresh one.

    Carries recorded effects out and decides nothing, so a newer version or a changed limit changes no past answer.
    Raises JournalDamaged, which names the place, or JournalFailed; the files are left as they are.
    """
    began = time.monotonic()
    found = history.read_segments(directory)
    if not found:
        if snapshots(directory):
            raise JournalDamaged(f"{directory}: there are snapshots and no segments. {history.show_more(directory)}")
        return Recovered(build(), None, START, 0)

    def uncounted() -> Engine:
        engine = build()
        engine.orders.count_later()  # `carry_on` counts all of them at its end
        return engine

    with decimal.localcontext(exact_context()), _uncollected():
        engine, head = newest_state(directory, found, uncounted)
        began_with = head.seq
        head = carry_on(engine, found, head, progress=progress)
    last_known = max((int(path.stem) for path in snapshots(directory)), default=0)
    if last_known > head.seq:
        raise JournalDamaged(
            f"{found[-1].path}: ends with row {head.seq}, and a snapshot knows row {last_known}: its end is missing. "
            + history.show_more(directory)
        )
    taken_s = time.monotonic() - began
    log.info("journal.recovered", seq=head.seq, rows=head.seq - began_with, snapshot=began_with, ms=int(taken_s * 1e3))
    return Recovered(engine, found[0].journal, head, began_with)


def newest_state(
    directory: Path, found: list[history.Segment], build: Callable[[], Engine], upto: int | None = None
) -> tuple[Engine, Head]:
    """An engine from the newest snapshot that is good (and not after row `upto`), or a fresh one at the beginning."""
    troubles = []
    for path in reversed(snapshots(directory)):
        if upto is not None and int(path.stem) > upto:
            continue
        try:
            return _load(path, found, build)
        except Exception as trouble:  # whatever a policy makes of a state that is not its own; the rows know better
            log.warning("snapshot.unusable", file=path.name, why=trouble)
            troubles.append(f"{path.name}: {trouble!r}")
    start = history.beginning(found)
    if start.seq:
        why = "; ".join(troubles) or "no snapshot is left"
        raise JournalDamaged(
            f"{found[0].path}: rows before {start.seq + 1} were pruned, and {why}. {history.show_more(directory)}"
        )
    return build(), START


def carry_on(
    engine: Engine,
    found: list[history.Segment],
    head: Head,
    upto: int | None = None,
    progress: Progress | None = None,
) -> Head:
    """Carries the rows after `head` out. Raises JournalDamaged, naming file and row."""
    read, carry_out = Reader(engine.policies).deed, engine.carry_out
    began_with, rows, tell_at = head.seq, 0, head.seq + _TELL_ROWS
    if progress is not None:
        with contextlib.suppress(JournalDamaged, JournalFailed):  # what is wrong there is said when its turn comes
            last = found[-1].path
            waiting = history.tail_lines(last.parent, head.seq)
            rows = max(history.last_seq(last), waiting[-1].seq if waiting else 0) - began_with
    with _uncollected(), checked_before(), _counted_afterwards(engine):
        for some in history.batches(found, head):
            if upto is not None and some and some[-1][0] > upto:
                some = [row for row in some if row[0] <= upto]
            for seq, row, _ in some:
                try:
                    deed = read(row)
                    if deed.seq != seq:
                        raise ValueError(f"it says it is row {deed.seq}")
                    carry_out(deed)
                except (msgspec.MsgspecError, CarryOutFailed, AssertionError, ValueError) as trouble:
                    raise JournalDamaged(
                        f"row {seq} of {found[0].path.parent} cannot be carried out: {trouble!r}. "
                        + history.show_more(found[0].path.parent)
                    ) from trouble
            if some:
                head = Head(some[-1][0], some[-1][2])
            if head.seq == upto:
                return head
            if progress is not None and (head.seq >= tell_at or head.seq - began_with >= rows):
                tell_at += _TELL_ROWS
                progress(head.seq - began_with, rows)
    return head


@contextlib.contextmanager
def _counted_afterwards(engine: Engine) -> Iterator[None]:
    engine.orders.count_later()
    try:
        yield
    finally:
        engine.orders.count_now()


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage collection meanwhile: nothing here builds cycles, and there is much of it."""
    was_collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_collecting:
            gc.freeze()  # else the next collection would look through all of it
            gc.enable()


def _load(path: Path, found: list[history.Segment], build: Callable[[], Engine]) -> tuple[Engine, Head]:
    told, body = read_snapshot(path)
    head = Head(int(path.stem), told.chain)
    if told.journal != found[0].journal:
        raise JournalDamaged("it belongs to another journal")
    at = history.head_at(found, head.seq)
    if at is None:
        raise JournalDamaged(f"row {head.seq} is not in the journal")
    if at != head:
        raise JournalDamaged(f"the journal's row {head.seq} is another")
    with checked_before():
        image = snapshot.decode(body)
    if image.seq != head.seq:
        raise JournalDamaged(f"it knows row {image.seq}")
    engine = build()
    snapshot.load(engine, image)
    return engine, head
