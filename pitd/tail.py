"""A small mapped file that takes rows before their answers leave, so that SQLite can follow in larger transactions.

What is copied into it survives the death of the process, at the price of a copy. A record is a row with its number and
chain value; the file is written from its beginning again whenever SQLite has caught up.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Sequence
from pathlib import Path

Row = tuple[int, bytes, bytes]
"""Sequence number, row, chain value."""

NAME = "tail"
SIZE = 256 << 10

_LENGTH = struct.Struct("<I")
_RECORD = struct.Struct("<IQ16s")
"""How long what follows the length is, the sequence number, the chain value; then the row."""

_END = _LENGTH.pack(0)


class Tail:
    """The file of a running daemon, empty to begin with. Raises OSError when there is no room for it."""

    def __init__(self, path: Path, mode: int) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
        try:
            os.fchmod(fd, mode)  # whatever the umask
            os.posix_fallocate(fd, 0, SIZE)  # a hole that can't be filled later would kill the process
            self._map = mmap.mmap(fd, SIZE)
        finally:
            os.close(fd)
        self._at = 0
        self.reset()

    def fits(self, rows: Sequence[Row]) -> bool:
        return self._at + sum(_RECORD.size + len(row) for _, row, _ in rows) + len(_END) <= SIZE

    def add(self, rows: Sequence[Row]) -> None:
        """Takes rows, all or none: the length of the first, which makes them part of the file, is written last."""
        parts = []
        for seq, row, chain in rows:
            parts.append(_RECORD.pack(_RECORD.size - _LENGTH.size + len(row), seq, chain))
            parts.append(row)
        parts.append(_END)
        data = b"".join(parts)
        at, end = self._at, self._at + len(data)
        self._map[at + _LENGTH.size : end] = data[_LENGTH.size :]
        self._map[at : at + _LENGTH.size] = data[: _LENGTH.size]
        self._at = end - len(_END)

    def reset(self) -> None:
        """Begins anew: what was in it is in SQLite."""
        self._map[: _LENGTH.size] = _END
        self._at = 0

    def close(self) -> None:
        self._map.close()


def read(directory: Path) -> list[Row]:
    """The rows in a directory's tail file, in order and unchecked; some of them may be in SQLite by now.

    Raises OSError when there is one and it can't be read.
    """
    try:
        data = (directory / NAME).read_bytes()
    except FileNotFoundError:
        return []
    rows: list[Row] = []
    at = 0
    while at + _RECORD.size <= len(data):
        length, seq, chain = _RECORD.unpack_from(data, at)
        begin, at = at + _RECORD.size, at + _LENGTH.size + length
        if not length or begin > at or at > len(data) or (rows and seq != rows[-1][0] + 1):
            break  # its end, or something that was in the file before
        rows.append((seq, data[begin:at], chain))
    return rows
