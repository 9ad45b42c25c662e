"""A small mapped file that takes rows before their answers leave, so that SQLite can follow in larger transactions.

What is copied into it survives the death of the process, at the price of a copy. It holds records (records.py), goes
to SQLite as it stands, and is written from its beginning again whenever SQLite has caught up.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from .records import END, Row, unpack

_END_SIZE = len(END)

NAME = "tail"
SIZE = 256 << 10


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

    def add(self, records: bytes) -> bool:
        """Takes records, all or none; False where they don't fit. The length of the first, which makes them part of the
        file, is written last.
        """
        at, room = self._at, self._map
        end, begin = at + len(records), at + _END_SIZE
        behind = end + _END_SIZE
        if behind > SIZE:
            return False
        room[begin:behind] = records[_END_SIZE:] + END
        room[at:begin] = records[:_END_SIZE]
        self._at = end
        return True

    @property
    def records(self) -> bytes:
        """Everything that was added."""
        return self._map[: self._at]

    def reset(self) -> None:
        """Begins anew: what was in it is in SQLite."""
        self._map[: len(END)] = END
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
    rows, _ = unpack(data)
    for at, (seq, _, _) in enumerate(rows):
        if seq != rows[0][0] + at:
            return rows[:at]  # something that was in the file before
    return rows
