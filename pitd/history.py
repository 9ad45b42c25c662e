"""Reads a journal's files, of a stopped daemon or a live one, and says where they can't be what was written."""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
import struct
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from . import tail
from .errors import JournalDamaged, JournalFailed
from .journal import CHAIN_SIZE, FORMAT, GENESIS, Head, chained, segment_start, segments


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
        raise JournalDamaged(f"{path}: is of format {kind}, written by a newer pitd; this one reads up to {FORMAT}")
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


def batches(found: list[Segment], after: Head) -> Iterator[list[tail.Row]]:
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
            for some in _fetched(connection, segment.path, seq):
                good = 0
                for own_seq, row, own_chain in some:
                    if own_seq != seq + 1 or type(row) is not bytes:
                        break
                    if blake2b(chain + row, digest_size=CHAIN_SIZE).digest() != own_chain:
                        break
                    seq, chain = own_seq, own_chain
                    good += 1
                if good < len(some):
                    yield some[:good]
                    raise _broken(segment.path, seq, some[good][0])
                yield some
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
    if following != seq + 1:
        why = f"row {seq + 1} is missing; {following} follows {seq}"
    else:
        why = f"row {following} is not what was written: the chain breaks there"
    return JournalDamaged(f"{path}: {why}. {show_more(path.parent)}")


def _fetched(connection: sqlite3.Connection, path: Path, seq: int) -> Iterator[list[tail.Row]]:
    try:
        rows = connection.execute("SELECT seq, row, chain FROM rows WHERE seq > ? ORDER BY seq", (seq,))
        while some := rows.fetchmany(256):
            yield some
            seq = some[-1][0]
    except sqlite3.Error as trouble:
        raise _failed(path, trouble, f"what follows row {seq}") from trouble


def page(path: Path, after_seq: int, upto_seq: int, containing: Sequence[bytes] = ()) -> list[Line]:
    """The rows of one segment in that range, unchecked; where bytes are given, only those that contain some of them.

    Raises JournalDamaged, JournalFailed. The connection is closed again: what reads much of a journal that is being
    written reads it page by page, since a reader that stays keeps the WAL from shrinking.
    """
    matches = " OR ".join(["instr(row, ?)"] * len(containing))
    where = f" AND ({matches})" if matches else ""
    query = f"SELECT seq, row, chain FROM rows WHERE seq > ? AND seq <= ?{where} ORDER BY seq"
    try:
        with _open(path) as connection:
            return [Line(*row) for row in connection.execute(query, (after_seq, upto_seq, *containing))]
    except sqlite3.Error as trouble:
        raise _failed(path, trouble, f"what follows row {after_seq}") from trouble


def last_seq(path: Path) -> int:
    """The last row of a segment; 0 where there is none yet. Raises JournalDamaged, JournalFailed."""
    try:
        with _open(path) as connection:
            return int(connection.execute("SELECT max(seq) FROM rows").fetchone()[0] or 0)
    except sqlite3.Error as trouble:
        raise _failed(path, trouble, "its last row") from trouble


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
            with _open(segment.path) as connection:
                try:
                    row = connection.execute("SELECT chain FROM rows WHERE seq = ?", (seq,)).fetchone()
                except sqlite3.Error as trouble:
                    raise _failed(segment.path, trouble, f"row {seq}") from trouble
            if row is not None:
                return Head(seq, row[0])
            break
    return next((Head(seq, line.chain) for line in waiting if line.seq == seq), None)


def beginning(found: list[Segment]) -> Head:
    """What the first row goes on from: nothing, unless older segments have been pruned."""
    return Head(found[0].first_seq - 1, found[0].chain) if found else Head(0, GENESIS)


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
        why = _damage_of_wal(data)
        if not why or (why, data[: _WAL_HEADER.size]) == before:
            break
        before = (why, data[: _WAL_HEADER.size])
    if why:
        raise JournalDamaged(f"{wal}: {why}. {show_more(path.parent)}")


def _damage_of_wal(data: bytes) -> str:
    """What can't be the work of a crash in a WAL, or nothing."""
    if len(data) < _WAL_HEADER.size:
        return ""
    magic, _, page_bytes, _, salt, *sums = _WAL_HEADER.unpack_from(data)
    words = ">" if magic & 1 else "<"
    if magic >> 1 != 0x377F0682 >> 1 or not 512 <= page_bytes <= 65_536 or _sums(data[:24], words, [0, 0]) != sums:
        return "its heading is damaged"
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


def _sums(data: bytes, order: str, sums: list[int]) -> list[int]:
    """SQLite's WAL checksum (its file format, section 4.2)."""
    first, second = sums
    values = iter(struct.unpack(f"{order}{len(data) // 4}I", data))
    for even in values:
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + next(values) + first) & 0xFFFFFFFF
    return [first, second]


@contextlib.contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that only reads; closed at once after, since one left open keeps the WAL from shrinking."""
    how = "mode=ro"
    if not os.access(path.parent, os.W_OK) and not path.with_name(path.name + "-wal").exists():
        how += "&immutable=1"  # an archive that may only be read: SQLite could not even look whether it has a WAL
    try:
        connection = sqlite3.connect(f"file:{quote(str(path))}?{how}", uri=True, isolation_level=None)
    except sqlite3.Error as trouble:
        raise JournalFailed(f"{path}: cannot be opened: {trouble}") from trouble
    try:
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
