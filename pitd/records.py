"""Rows as they stand in a journal's files, one record after another: in a segment's batches and in the tail alike.

A record is how long what follows is (4 bytes), the row's number (8) and chain value (16), and the row.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

CHAIN_SIZE = 16

Row = tuple[int, bytes, bytes]
"""Sequence number, row, chain value."""

_LENGTH_SIZE = 4
_HEAD = struct.Struct(f"<IQ{CHAIN_SIZE}s")

END = bytes(_LENGTH_SIZE)
"""A length that no record has."""


def head(seq: int, row: bytes, chain: bytes) -> bytes:
    """What stands before a row."""
    return _HEAD.pack(_HEAD.size - _LENGTH_SIZE + len(row), seq, chain)


def pack(rows: Iterable[Row]) -> bytes:
    return b"".join([part for seq, row, chain in rows for part in (head(seq, row, chain), row)])


def unpack(data: bytes) -> tuple[list[Row], int]:
    """The rows up to the first that cannot be a whole record, unchecked; and where that one begins."""
    rows: list[Row] = []
    read, size, at, end = _HEAD.unpack_from, _HEAD.size, 0, len(data)
    while (begin := at + size) <= end:
        length, seq, chain = read(data, at)
        behind = at + _LENGTH_SIZE + length
        if not begin <= behind <= end:
            break
        rows.append((seq, data[begin:behind], chain))
        at = behind
    return rows, at
