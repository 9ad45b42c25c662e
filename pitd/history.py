"""Reads a journal's files, of a stopped daemon or a live one, and says where they can't be what was written."""

from __future__ import annotations

import contextlib
import itertools
import os
import shlex
import sqlite3
import struct
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, NamedTuple
from urllib.parse import quote

from . import tail
from .errors import JournalDamaged, JournalFailed
from .journal import FORMAT, GENESIS, Head, chained, segment_start, segments, snapshots
from .records import CHAIN_SIZE, Row, unpack


class Segment(NamedTuple):
    """One file: which journal it belongs to, and the chain value that its first row goes on from."""

    path: Path
    journal: bytes
    first_seq: int
    chain: bytes
    wall_ns: int


class Line(NamedTuple):
    """One row as it stands in a file."""

    seq: int
    row: bytes
    chain: bytes


class Batch(NamedTuple):
    """Rows that were brought into a segment together."""

    first_seq: int
    rows: list[Row]
    """Those that stand where they should, in order and otherwise unchecked."""
    last_seq: int
    """The last row that it should hold, as far as it tells."""
    trouble: str
    """What is wrong with it; empty where it is whole."""


def show_more(directory: Path) -> str:
    return f"Nothing was changed; `pitd journal verify {directory}` shows more"


def read_segments(directory: Path) -> list[Segment]:
    """Every segment, oldest first. Raises JournalDamaged, naming the file, and JournalFailed."""
    found = [read_segment(path) for path in segments(directory)]
    for one, following in itertools.pairwise(found):
        if following.journal != one.journal:
            raise JournalDamaged(f"{following.path}: belongs to another journal than {one.path.name}")
    return found


def read_segment(path: Path) -> Segment:
    if not path.stat().st_size:  # before SQLite sees it: it would take the WAL of an empty file away
        raise JournalDamaged(f"{path}: is empty, and it was begun with a heading. {show_more(path.parent)}")
    with _open(path) as connection:
        try:
            meta = dict(connection.execute("SELECT name, value FROM meta"))
        except sqlite3.Error as trouble:
            raise _failed(path, trouble, "its heading") from trouble
    kind = meta.get("format")
    if not isinstance(kind, int) or kind > FORMAT:
        raise JournalDamaged(f"{path}: is of format {kind}, written by a newer pitd; this one reads format {FORMAT}")
    if kind < FORMAT:
        by_whom = "written by an older pitd that was never released"
        raise JournalDamaged(f"{path}: is of format {kind}, {by_whom}; this one reads format {FORMAT}")
    for name, wanted in (("journal", bytes), ("first_seq", int), ("chain", bytes), ("wall_ns", int)):
        if not isinstance(meta.get(name), wanted):
            raise JournalDamaged(f"{path}: its heading lacks {name}. {show_more(path.parent)}")
    segment = Segment(path, meta["journal"], meta["first_seq"], meta["chain"], meta["wall_ns"])
    if segment.first_seq != segment_start(path):
        why = f"begins with row {segment.first_seq}, and its name says otherwise"
        raise JournalDamaged(f"{path}: {why}. {show_more(path.parent)}")
    return segment


def lines(found: list[Segment], after: Head) -> Iterator[Line]:
    """The rows after that one, in order, each checked against the chain.

    Raises JournalDamaged, naming file and row, at the first that is missing, out of place or not what was written.
    """
    for some in batches(found, after):
        yield from map(Line._make, some)


def batches(found: list[Segment], after: Head) -> Iterator[list[Row]]:
    """The same, many rows at a time. What was good before a bad row comes out before that is said."""
    seq, chain = after
    waiting = tail_lines(found[0].path.parent, seq) if found else []  # first: a live daemon brings them into SQLite
    for at, segment in enumerate(found):
        if at + 1 < len(found) and found[at + 1].first_seq <= seq + 1:
            continue
        if segment.first_seq == seq + 1 and segment.chain != chain:
            raise JournalDamaged(f"{segment.path}: does not go on from row {seq}. {show_more(segment.path.parent)}")
        check_tail(segment.path)
        with _open(segment.path) as connection:
            for batch in _stored(connection, segment.path, seq):
                some = [row for row in batch.rows if row[0] > seq] if batch.first_seq <= after.seq else batch.rows
                good = 0
                for own_seq, row, own_chain in some:
                    if own_seq != seq + 1 or blake2b(chain + row, digest_size=CHAIN_SIZE).digest() != own_chain:
                        break
                    seq, chain = own_seq, own_chain
                    good += 1
                if good < len(some):
                    yield some[:good]
                    raise _broken(segment.path, seq, some[good][0])
                yield some
                if batch.trouble:
                    raise JournalDamaged(f"{segment.path}: {batch.trouble}. {show_more(segment.path.parent)}")
        if at + 1 < len(found) and found[at + 1].first_seq != seq + 1:
            raise JournalDamaged(
                f"{segment.path}: ends with row {seq}, and {found[at + 1].path.name} begins later. "
                + show_more(segment.path.parent)
            )
    for line in waiting:
        if line.seq <= seq:
            continue
        if line.seq != seq + 1 or chained(chain, line.row) != line.chain:
            if line is waiting[-1] and line.seq == seq + 1:
                return  # cut off by a power cut, as a WAL's last frames may be: whoever was told of it will say so
            raise _broken(found[0].path.with_name(tail.NAME), seq, line.seq)
        seq, chain = line.seq, line.chain
        yield [line]


def _broken(path: Path, seq: int, following: int) -> JournalDamaged:
    if following <= seq:
        why = f"row {following} follows row {seq}"
    elif following != seq + 1:
        why = f"row {seq + 1} is missing; {following} follows {seq}"
    else:
        why = f"row {following} is not what was written: the chain breaks there"
    return JournalDamaged(f"{path}: {why}. {show_more(path.parent)}")


def _as_stored(first_seq: int, last_seq: object, data: object) -> Batch:
    """A batch taken apart: each row must have the number that its place gives it, and the bounds must be theirs."""
    last = last_seq if type(last_seq) is int and last_seq > first_seq else first_seq
    rows, at = unpack(data) if type(data) is bytes else ([], 0)
    good = 0
    for seq, _, _ in rows:
        if seq != first_seq + good:
            break
        good += 1
    following = first_seq + good
    lost = f"row {following}" if last <= following else f"rows {following} to {last}"
    if type(data) is not bytes:
        trouble = f"{lost} cannot be read: they are no bytes"
    elif good < len(rows):
        trouble = f"{lost} cannot be read: the record of row {following} says that it is row {rows[good][0]}"
    elif at < len(data) or not rows:
        trouble = f"{lost} cannot be read: the record of row {following} is cut, or not as long as it says"
    elif type(last_seq) is not int or last_seq != following - 1:
        trouble = f"the batch of rows {first_seq} to {following - 1} says that it ends with row {last_seq!r:.20}"
    else:
        trouble = ""
    return Batch(first_seq, rows[:good], last, trouble)


_SELECT = "SELECT first_seq, last_seq, records FROM batches"
_FROM_ITS_BATCH_ON = (
    f"{_SELECT} WHERE first_seq >= coalesce((SELECT max(first_seq) FROM batches WHERE first_seq <= ?), 0)"
)
"""From the batch that a row is in."""


def _stored(connection: sqlite3.Connection, path: Path, after_seq: int) -> Iterator[Batch]:
    """The batches with the rows after that one; the first may begin with older ones."""
    last = after_seq
    try:
        for each in connection.execute(f"{_FROM_ITS_BATCH_ON} ORDER BY first_seq", (after_seq + 1,)):
            batch = _as_stored(*each)
            yield batch
            last = max(last, batch.first_seq + len(batch.rows) - 1)
    except sqlite3.Error as trouble:
        raise _failed(path, trouble, f"what follows row {last}") from trouble


def page(path: Path, after_seq: int, upto_seq: int, containing: Sequence[bytes] = ()) -> list[Line]:
    """The rows of one segment in that range, gapless; where bytes are given, only those that contain some of them.

    Their chain is not checked. Raises JournalDamaged, JournalFailed. The connection is closed again: what reads much of
    a journal that is being written reads it page by page, since a reader that stays keeps the WAL from shrinking.
    """
    matches = " OR ".join(["instr(records, ?)"] * len(containing))
    query = f"{_FROM_ITS_BATCH_ON} AND first_seq <= ?{f' AND ({matches})' if matches else ''} ORDER BY first_seq"
    try:
        with _open(path) as connection:
            found = [_as_stored(*each) for each in connection.execute(query, (after_seq + 1, upto_seq, *containing))]
    except sqlite3.Error as trouble:
        raise _failed(path, trouble, f"what follows row {after_seq}") from trouble
    for batch in found:
        if batch.trouble and batch.first_seq + len(batch.rows) <= upto_seq:
            raise JournalDamaged(f"{path}: {batch.trouble}. {show_more(path.parent)}")
    rows = [row for batch in found for row in batch.rows if after_seq < row[0] <= upto_seq]
    if containing:
        rows = [row for row in rows if any(each in row[1] for each in containing)]
        return [Line(*row) for row in rows]
    for last, row in enumerate(rows, after_seq):
        if row[0] != last + 1:
            raise _broken(path, last, row[0])
    return [Line(*row) for row in rows]


def stored(path: Path, after_first_seq: int, rows: int) -> list[Batch]:
    """The batches behind the one that begins so, in the file's order, until they have so many rows; none at its end.

    For who goes on behind a damage: it says of each batch what can't be read. Raises JournalDamaged where SQLite can't
    read on, and JournalFailed.
    """
    found: list[Batch] = []
    try:
        with _open(path) as connection:
            for each in connection.execute(f"{_SELECT} WHERE first_seq > ? ORDER BY first_seq", (after_first_seq,)):
                found.append(_as_stored(*each))
                rows -= len(found[-1].rows)
                if rows <= 0:
                    break
    except sqlite3.Error as trouble:
        if not found:  # else it is said when its turn comes
            raise _failed(path, trouble, f"what follows the batch of row {after_first_seq}") from trouble
    return found


def batch_of(path: Path, seq: int) -> Batch | None:
    """The batch that a row of a segment would be in. Raises JournalDamaged, JournalFailed."""
    try:
        with _open(path) as connection:
            query = f"{_SELECT} WHERE first_seq <= ? ORDER BY first_seq DESC LIMIT 1"
            found = connection.execute(query, (seq,)).fetchone()
    except sqlite3.Error as trouble:
        raise _failed(path, trouble, f"row {seq}") from trouble
    return None if found is None else _as_stored(*found)


def last_seq(path: Path) -> int:
    """The last row of a segment; 0 where there is none yet. Raises JournalDamaged, JournalFailed."""
    newest = batch_of(path, LAST)
    if newest is None:
        return 0
    if newest.trouble:
        raise JournalDamaged(f"{path}: {newest.trouble}. {show_more(path.parent)}")
    return newest.rows[-1][0]


def tail_lines(directory: Path, after_seq: int) -> list[Line]:
    """The rows after that one that wait in the tail file, unchecked. Raises JournalFailed."""
    try:
        waiting = tail.read(directory)
    except OSError as trouble:
        raise JournalFailed(f"{directory / tail.NAME}: cannot be read: {trouble.strerror}") from trouble
    return [Line(*row) for row in waiting if row[0] > after_seq]


def head_at(found: list[Segment], seq: int) -> Head | None:
    """The journal's head as it was after that row, or None where it does not reach there."""
    waiting = tail_lines(found[0].path.parent, 0) if found else []
    for segment in found:
        if segment.first_seq == seq + 1:
            return Head(seq, segment.chain)
    for segment in reversed(found):
        if segment.first_seq <= seq:
            batch = batch_of(segment.path, seq)
            if batch is not None:
                if seq - batch.first_seq < len(batch.rows):
                    return Head(seq, batch.rows[seq - batch.first_seq][2])
                if batch.trouble:
                    raise JournalDamaged(f"{segment.path}: {batch.trouble}. {show_more(segment.path.parent)}")
            break
    return next((Head(seq, line.chain) for line in waiting if line.seq == seq), None)


def beginning(found: list[Segment]) -> Head:
    """What the first row goes on from: nothing, unless older segments have been pruned."""
    return Head(found[0].first_seq - 1, found[0].chain) if found else Head(0, GENESIS)


LAST = (1 << 63) - 1
"""No row has a higher number in SQLite."""

_WAL_HEADER = struct.Struct(">IIII8sII")
_FRAME_HEADER = struct.Struct(">II8sII")
_LOOKS = 3
"""How often a WAL is read that seems damaged: a daemon may just have been writing it."""


def check_tail(path: Path) -> None:
    """SQLite reads a WAL up to its first bad frame and says nothing. What a crash has left there is never committed;
    a commit behind a bad frame means damage. Raises JournalDamaged then.
    """
    wal = path.with_name(path.name + "-wal")
    before = None
    for _ in range(_LOOKS):
        try:
            data = wal.read_bytes()
        except FileNotFoundError:
            return
        except OSError as trouble:
            raise JournalFailed(f"{wal}: cannot be read: {trouble.strerror}") from trouble
        why = _damage_of_wal(data, path)
        if not why or (why, data[: _WAL_HEADER.size]) == before:
            break
        before = (why, data[: _WAL_HEADER.size])
    if why:
        raise JournalDamaged(f"{wal}: {why}. {show_more(path.parent)}")


def _damage_of_wal(data: bytes, segment: Path) -> str:
    """What can't be the work of a crash in a WAL, or nothing."""
    if len(data) < _WAL_HEADER.size:
        return ""
    magic, _, page_bytes, _, salt, *sums = _WAL_HEADER.unpack_from(data)
    words = ">" if magic & 1 else "<"
    if magic >> 1 != 0x377F0682 >> 1 or not 512 <= page_bytes <= 65_536 or _sums(data[:24], words, [0, 0]) != sums:
        return _unread(data, segment)
    size = _FRAME_HEADER.size + page_bytes
    bad = 0
    for frame, begin in enumerate(range(_WAL_HEADER.size, len(data) - size + 1, size), 1):
        _, pages, own_salt, *own_sums = _FRAME_HEADER.unpack_from(data, begin)
        if bad:
            if own_salt == salt and pages:  # only a commit tells how many pages there are
                return f"frame {bad} is damaged, and frame {frame} behind it was committed: what they hold is lost"
            continue
        if own_salt == salt:
            sums = _sums(data[begin : begin + 8], words, sums)
            sums = _sums(data[begin + _FRAME_HEADER.size : begin + size], words, sums)
        if own_salt != salt or sums != own_sums:
            bad = frame
    return ""


def _unread(data: bytes, segment: Path) -> str:
    """What a WAL holds that SQLite would pass over without a word, since the heading is damaged; or nothing.

    A heading is on the disk before a frame follows it, and a WAL is begun anew once the segment has all that it holds.
    So a power cut leaves such a heading with nothing behind it, or with frames whose pages the segment has: nothing is
    lost then. Otherwise the file itself was damaged.
    """
    with segment.open("rb") as file:
        page_bytes = int.from_bytes(file.read(18)[16:], "big")
        page_bytes = 65_536 if page_bytes == 1 else page_bytes
        size = _FRAME_HEADER.size + page_bytes
        begins = range(_WAL_HEADER.size, len(data) - size + 1, size)
        if page_bytes < 512 or (begins and any(_is_missing(data, begins, page_bytes, file))):
            return _what_is_lost(segment)
    return ""


def _is_missing(data: bytes, begins: Sequence[int], page_bytes: int, segment: BinaryIO) -> Iterator[bool]:
    """Of each page that the newest frames have committed: whether the segment has another."""
    pages: dict[int, int] = {}
    open_pages: dict[int, int] = {}
    salt, is_over = data[begins[0] + 8 : begins[0] + 16], False
    for begin in begins:
        number, commits, own_salt, *_ = _FRAME_HEADER.unpack_from(data, begin)
        if own_salt != salt:
            is_over = True  # what follows was there before this WAL was begun anew
            continue
        if is_over or not number:
            yield True
            return
        open_pages[number] = begin + _FRAME_HEADER.size
        if commits:
            pages |= open_pages
            open_pages.clear()
    yield not pages
    for number, begin in pages.items():
        segment.seek((number - 1) * page_bytes)
        yield segment.read(page_bytes) != data[begin : begin + page_bytes]


def _what_is_lost(segment: Path) -> str:
    """The rows that are at stake where a WAL cannot be read, and how a person goes on without them."""
    try:
        with _open(segment, is_alone=True) as connection:
            newest = connection.execute("SELECT max(last_seq) FROM batches").fetchone()[0]
    except sqlite3.Error:
        newest = None
    last = newest or segment_start(segment) - 1
    waiting = tail_lines(segment.parent, last)
    is_apart = bool(waiting) and waiting[0].seq > last + 1
    upto = f" up to row {waiting[0].seq - 1}" if is_apart else ""
    beside = [path for path in snapshots(segment.parent) if int(path.stem) > last]
    aside = [segment.with_name(segment.name + "-wal"), *([segment.with_name(tail.NAME)] if is_apart else []), *beside]
    place = segment.parent / "damaged"
    command = f"mkdir {shlex.quote(str(place))} && mv {shlex.join(map(str, aside))} {shlex.quote(str(place))}"
    return (
        f"its heading is damaged, and it holds what {segment.name} has not: at most what follows row {last}{upto}. Put "
        "a copy of it there if you have one. To go on without these rows, ask the venue what is open, have the daemon "
        f"stopped, and put aside what knows of them: {command}; who has seen them is refused until accept-history"
    )


def _sums(data: bytes, order: str, sums: list[int]) -> list[int]:
    """SQLite's WAL checksum (its file format, section 4.2)."""
    first, second = sums
    values = iter(struct.unpack(f"{order}{len(data) // 4}I", data))
    for even in values:
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + next(values) + first) & 0xFFFFFFFF
    return [first, second]


def _has_wal(path: Path) -> bool:
    try:
        return path.with_name(path.name + "-wal").stat().st_size > 0
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _open(path: Path, *, is_alone: bool = False) -> Iterator[sqlite3.Connection]:
    """A connection that only reads; closed at once after, since one left open keeps the WAL from shrinking.

    `is_alone`: as if there were no WAL.
    """
    how = "mode=ro"
    if is_alone:
        how += "&immutable=1"
    elif not _has_wal(path):
        if not os.access(path.parent, os.W_OK):
            how += "&immutable=1"  # an archive that may only be read: SQLite could not even look whether it has a WAL
        elif os.access(path, os.W_OK):
            how = "mode=rw"  # nothing is written: but who only reads can't take away the files it has had made for it
    try:
        connection = sqlite3.connect(f"file:{quote(str(path))}?{how}", uri=True, isolation_level=None)
    except sqlite3.Error as trouble:
        raise JournalFailed(f"{path}: cannot be opened: {trouble}") from trouble
    try:
        connection.execute("PRAGMA query_only=1")
        yield connection
    finally:
        connection.close()


_TROUBLE_OF_THE_SYSTEM = (
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
)


def _failed(path: Path, trouble: sqlite3.Error, what: str) -> JournalDamaged | JournalFailed:
    """Damage, unless the system says otherwise: SQLite and its Python have many words for bytes that make no sense."""
    if getattr(trouble, "sqlite_errorcode", 0) & 0xFF in _TROUBLE_OF_THE_SYSTEM:
        return JournalFailed(f"{path}: {what} cannot be read: {trouble}")
    return JournalDamaged(f"{path}: {what} cannot be read: {trouble}. {show_more(path.parent)}")
