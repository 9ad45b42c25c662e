"""What a power cut leaves of a directory: what was synced, and of the rest what the kernel happened to have written."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

BLOCK = 512
"""What a disk writes whole."""


class Synced:
    """What of the daemon's directory is on the disk itself. It is told of every sync, and decides what a cut leaves."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._files: dict[str, bytes] = {}
        self._names: set[str] = set()
        self._is_full: dict[int, bool] = {}

    def file(self, path: Path) -> None:
        """A file's bytes have been synced."""
        if path.exists():
            self._files[path.name] = path.read_bytes()

    def names(self, directory: Path) -> None:
        """So has the directory: what is in it now stays in it, and what went is gone."""
        self._names = {path.name for path in directory.iterdir()}
        for name in self._names:
            written = self._files.get(name.replace(".snapshot", ".writing"))
            if written is not None:  # it was synced under the name that it had then
                self._files.setdefault(name, written)
        self._files = {name: data for name, data in self._files.items() if name in self._names}

    def everything(self, directory: Path) -> None:
        """After a start of the machine nothing is anywhere else."""
        self._files = {path.name: path.read_bytes() for path in directory.iterdir()}
        self._names = set(self._files)

    def fsync(self, fd: int) -> None:
        """In place of `os.fsync`."""
        path = Path(f"/proc/self/fd/{fd}").readlink()
        if path.is_dir():
            self.names(path)
        else:
            self.file(path)

    def committed(self, connection: sqlite3.Connection, segment: Path) -> None:
        """SQLite has committed: it syncs the WAL if it was asked to, and the directory when the WAL was new."""
        is_full = self._is_full.get(id(connection))
        if is_full is None:
            is_full = connection.execute("PRAGMA synchronous").fetchone()[0] >= 2
            self._is_full[id(connection)] = is_full
        if not is_full:
            return
        wal = segment.with_name(segment.name + "-wal")
        self.file(wal)
        if wal.name not in self._names:
            self.names(segment.parent)

    def checkpointed(self, segment: Path) -> None:
        """SQLite has brought the WAL into the file: it synced the one before, and the other after."""
        for path in (segment.with_name(segment.name + "-wal"), segment):
            self.file(path)

    def forget(self, connection: sqlite3.Connection) -> None:
        """A connection that is closed: another one may get its identity."""
        self._is_full.pop(id(connection), None)

    def cut(self, directory: Path) -> list[str]:
        """Leaves in the directory what a power cut would. Says what was changed."""
        draw, told = self._draw, []
        now = {path.name: path.read_bytes() for path in directory.iterdir()}
        unsure = sorted(now.keys() - self._names)
        for name in unsure[draw.randint(0, len(unsure)) :]:
            del now[name]
            told.append(f"{name} was never there")
        gone = sorted(name for name in self._names - now.keys() if name in self._files and name not in unsure)
        for name in gone[draw.randint(0, len(gone)) :]:
            if not name.endswith(("-wal", "-shm")):
                now[name] = self._files[name]
                told.append(f"{name} is back")
        how = draw.choice((_none, _all, _some, _first))
        for name in sorted(now):
            safe = self._files.get(name, b"")
            if name.endswith("-shm"):
                now.pop(name)
            elif name != "lock" and now[name] != safe:
                left = how(draw, safe, now[name])
                if left != now[name]:
                    told.append(f"{name} is torn ({len(now[name])} → {len(left)} bytes)")
                now[name] = left
        for path in directory.iterdir():
            path.unlink()
        for name, data in now.items():
            (directory / name).write_bytes(data)
        return told


How = Callable[[random.Random, bytes, bytes], bytes]


def _none(draw: random.Random, safe: bytes, written: bytes) -> bytes:
    return safe


def _all(draw: random.Random, safe: bytes, written: bytes) -> bytes:
    return written


def _first(draw: random.Random, safe: bytes, written: bytes) -> bytes:
    """It was written from the front, up to somewhere."""
    changed = next((at for at, (one, other) in enumerate(zip(safe, written, strict=False)) if one != other), len(safe))
    end = draw.randint(min(changed, len(written)), len(written))
    return written[:end] + safe[end:]


def _some(draw: random.Random, safe: bytes, written: bytes) -> bytes:
    """Any of its blocks was, in any order."""
    share = draw.choice((0.2, 0.5, 0.9))
    end = max(len(safe), draw.randint(0, len(written) // BLOCK) * BLOCK)
    left = bytearray(safe[:end].ljust(end, b"\0"))
    for at in range(0, min(end, len(written)), BLOCK):
        if written[at : at + BLOCK] != left[at : at + BLOCK] and draw.random() < share:
            left[at : at + BLOCK] = written[at : min(at + BLOCK, end)]
    return bytes(left)
