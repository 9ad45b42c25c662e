"""Takes a segment's batches apart and writes them back changed, as another hand would: SQLite finds a perfect file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from pitd.journal import segment_start, segments
from pitd.records import Row, pack, unpack


def holding(directory: Path, seq: int) -> Path:
    """The segment that a row is in."""
    return next(path for path in reversed(segments(directory)) if segment_start(path) <= seq)


def change(path: Path, statement: str, *values: object) -> None:
    with _opened(path) as connection:
        connection.execute(statement, values)


def rows_in(path: Path) -> list[Row]:
    return [row for batch in batches_in(path) for row in batch]


def batches_in(path: Path) -> list[list[Row]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return [_rows(data) for (data,) in connection.execute("SELECT records FROM batches ORDER BY first_seq")]


def put(path: Path, rows: list[Row]) -> None:
    """One more batch."""
    change(path, "INSERT INTO batches VALUES (?, ?, ?)", rows[0][0], rows[-1][0], pack(rows))


def rewrite(path: Path, seq: int, *, row: bytes | None = None, chain: bytes | None = None) -> None:
    """Another row or chain value in a record's place."""
    _replace(path, seq, lambda old: (seq, old[1] if row is None else row, old[2] if chain is None else chain))


def renumber(path: Path, seq: int, number: int) -> None:
    """Another number in a record, where its batch has it."""
    _replace(path, seq, lambda old: (number, *old[1:]))


def without(path: Path, seqs: set[int]) -> None:
    """Takes rows away; what is left stands in batches that are whole."""
    kept: list[list[Row]] = []
    for batch in batches_in(path):
        last = 0
        for row in batch:
            if row[0] in seqs:
                continue
            if row[0] != last + 1 or row is batch[0]:
                kept.append([])
            kept[-1].append(row)
            last = row[0]
    _write(path, kept)


def without_last(path: Path, rows: int) -> None:
    """Takes the last rows away, as a disk that has forgotten its last writes would."""
    without(path, {seq for seq, _, _ in rows_in(path)[-rows:]})


def batched(path: Path, size: int) -> None:
    """The same rows in batches of so many."""
    rows = rows_in(path)
    _write(path, [rows[at : at + size] for at in range(0, len(rows), size)])


def _rows(data: bytes) -> list[Row]:
    rows, at = unpack(data)
    assert at == len(data)
    return rows


def _replace(path: Path, seq: int, by: Callable[[Row], Row]) -> None:
    (batch,) = [batch for batch in batches_in(path) if batch[0][0] <= seq <= batch[-1][0]]
    at = seq - batch[0][0]
    data = pack([*batch[:at], by(batch[at]), *batch[at + 1 :]])
    change(path, "UPDATE batches SET records = ? WHERE first_seq = ?", data, batch[0][0])


def _write(path: Path, batches: list[list[Row]]) -> None:
    with _opened(path) as connection:
        connection.execute("DELETE FROM batches")
        for rows in batches:
            connection.execute("INSERT INTO batches VALUES (?, ?, ?)", (rows[0][0], rows[-1][0], pack(rows)))


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")  # what is spoilt here need not outlive a power cut
        yield connection
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
