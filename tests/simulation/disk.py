"""A disk that fails and fills, real journal files on it, and what a crash leaves of them."""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from pitd import config, journal
from pitd.core import entry as e
from pitd.core import snapshot
from pitd.core.engine import Engine

from .network import MS
from .power import Synced

if TYPE_CHECKING:
    from .world import World

RESERVED_WRITES = 300
"""How many transactions fit into what the reserve gives back."""


class Killed(Exception):
    """The daemon's process dies here: nothing after this line has happened."""


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A directory in memory where there is one, taken away afterwards."""
    home = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="pitd-simulation-", dir=home if home.is_dir() else None) as directory:
        yield Path(directory)


class Disk:
    """The daemon's directory. A crash leaves a copy of it as it stood at that moment, and the daemon goes on there."""

    def __init__(self, world: World, home: Path) -> None:
        self.world = world
        self.random = world.random("disk")
        self.home = home
        self.directory = home / "0"
        self.directory.mkdir()
        self.kill_at = ""
        """Where the process dies in this round of its loop; empty for nowhere."""
        self.is_full = False
        self.is_power_cut = False
        """Whether the next death is the whole machine's."""
        self.cuts = 0
        self.synced = Synced(world.random("power")) if world.weather.power_cut else None
        """What is on the disk itself, where that matters."""
        self._writes_left = 0
        self._image: Path | None = None
        self._generation = 0
        self.connections: list[sqlite3.Connection] = []

    def fsync(self, fd: int) -> None:
        """In place of `os.fsync`."""
        if self.synced is not None:
            self.synced.fsync(fd)

    def free_bytes(self, directory: Path) -> int:
        """In place of `pitd.journal.free_bytes`."""
        return 0 if self.is_full else 1 << 40

    def fill(self) -> None:
        self.is_full = True
        self._writes_left = 0

    def take_room(self, has_reserve: bool) -> None:
        """One transaction's room. Raises what SQLite raises when there is none."""
        if not self.is_full:
            return
        if has_reserve:
            raise _error("database or disk is full", sqlite3.SQLITE_FULL)
        if not self._writes_left:
            self._writes_left = RESERVED_WRITES
        self._writes_left -= 1
        if not self._writes_left:
            raise _error("database or disk is full", sqlite3.SQLITE_FULL)

    def kill(self, where: str) -> None:
        """Dies if this is where it should, and keeps the files as they are now."""
        if self.kill_at == where:
            self.take_image()
            raise Killed(where)

    def take_image(self) -> Path:
        self._generation += 1
        self._image = self.home / str(self._generation)
        shutil.copytree(self.directory, self._image)
        return self._image

    def opened(self, connection: sqlite3.Connection) -> None:
        self.connections.append(connection)

    def die(self) -> None:
        """The process is gone: what it left is what its image has."""
        image = self._image or self.take_image()
        self.abandon()
        shutil.rmtree(self.directory)
        self.directory, self._image = image, None
        if self.is_power_cut and self.synced is not None:
            self.is_power_cut = False
            self.cuts += 1
            for told in self.synced.cut(image):
                self.world.trace(f"power cut: {told}")
            self.synced.everything(image)
            self.world.power_failed()

    def abandon(self) -> None:
        for connection in self.connections:
            if self.synced is not None:
                self.synced.forget(connection)
            connection.close()
        self.connections.clear()


class Errands(journal._Behind):
    """What the journal has done behind the loop, without a thread: each at some later moment, or never."""

    def __init__(self, directory: Path, settings: config.Journal, disk: Disk) -> None:
        self._directory = directory
        self._settings = settings
        self._has_checkpoint = threading.Event()
        self._disk = disk
        self._waiting: list[Callable[[], object]] = []
        self._tasks: Any = self
        self._is_dead = False

    def put(self, task: Callable[[], object]) -> None:
        self._waiting.append(task)
        self._disk.world.after(self._disk.random.randrange(1, 200) * MS, self._run_one)

    def stop(self) -> None:
        while self._waiting:
            self._run_one()

    def die(self) -> None:
        self._waiting.clear()

    def close_segment(self, connection: sqlite3.Connection) -> None:
        if self._disk.synced is None or connection not in self._disk.connections:
            super().close_segment(connection)
            return
        segment = Path(connection.execute("PRAGMA database_list").fetchone()[2])
        self.put(lambda: self._close(connection, segment))

    def _close(self, connection: sqlite3.Connection, segment: Path) -> None:
        """The last one to close a file brings its WAL into it, and syncs that before the WAL goes."""
        assert self._disk.synced is not None
        connection.close()
        self._disk.synced.forget(connection)
        self._disk.synced.checkpointed(segment)

    def _checkpoint(self, segment: Path) -> None:
        super()._checkpoint(segment)
        if self._disk.synced is not None:
            self._disk.synced.checkpointed(segment)

    def _run_one(self) -> None:
        if self._waiting:
            self._waiting.pop(0)()


class SimulatedJournal(journal.SegmentJournal):
    """The real journal on that disk: its transactions fail or are torn where the weather says so."""

    def __init__(
        self, disk: Disk, settings: config.Journal, id: bytes, head: journal.Head, *, snapshot_seq: int
    ) -> None:
        self._disk = disk
        self.draw: random.Random = disk.random
        super().__init__(settings, id, head, snapshot_seq=snapshot_seq)
        self._behind.stop()
        self._behind = Errands(self._directory, settings, disk)
        disk.opened(self._connection)
        if disk.synced is not None:
            disk.synced.checkpointed(self._segment)

    def append(self, rows: Sequence[e.Row]) -> None:
        disk = self._disk
        disk.kill("before the rows")
        super().append(rows)
        disk.world.tape.extend(rows)
        if self.draw.random() < 0.01:
            self._pages_since_checkpoint = 1_000_000
        disk.kill("after the rows")

    def maintain(self, engine: Engine, *, is_quiet: bool = False) -> None:
        self._space_at = 0.0
        super().maintain(engine, is_quiet=is_quiet or self.draw.random() < 0.3)

    def take_snapshot(self, engine: Engine) -> None:
        """A snapshot of now, which appears a little later: its child lives on when the daemon dies."""
        disk = self._disk
        disk.kill("a new segment begun")
        if not self._is_whole(engine):
            return
        self.catch_up()
        self._snapshot_seq = self.head.seq
        body, head, cuts = snapshot.encode(snapshot.take(engine)), self.head, disk.cuts
        disk.world.after(self.draw.randrange(1, 300) * MS, lambda: self._appear(body, head, cuts))
        disk.kill("a snapshot begun")

    def die(self) -> None:
        assert isinstance(self._behind, Errands)
        self._behind.die()

    # ------------------------------------------------------------------------------------------ within

    def _appear(self, body: bytes, head: journal.Head, cuts: int) -> None:
        """What the child does with the state that it had when it began."""
        if self._disk.cuts != cuts:
            return
        with (
            mock.patch.object(snapshot, "take", lambda engine: engine),
            mock.patch.object(snapshot, "encode", lambda image: image),
        ):
            journal.write_snapshot(self._disk.directory, body, self.id, head)  # type: ignore[arg-type]
        self._behind.prune()

    def _write(self, first_seq: int, last_seq: int, batch: bytes) -> None:
        disk, weather, world = self._disk, self._disk.world.weather, self._disk.world
        disk.take_room(self._reserve.exists())
        drawn = 1.0 if world.is_calm else self.draw.random()
        if drawn < weather.io_error / 2:
            raise _error("disk I/O error", sqlite3.SQLITE_IOERR)
        wal = self._segment.with_name(self._segment.name + "-wal")
        before = wal.stat().st_size if wal.exists() else 0
        super()._write(first_seq, last_seq, batch)
        if disk.synced is not None:
            disk.synced.committed(self._connection, self._segment)
        if disk.kill_at == "inside the rows":
            self._tear(wal, before)
        if drawn < weather.io_error:
            raise _error("disk I/O error, after all", sqlite3.SQLITE_IOERR)

    def _tear(self, wal: Path, before: int) -> None:
        """The process dies between two writes of one transaction: a part of it is in the file."""
        image, after = self._disk.take_image(), wal.stat().st_size
        if after > before:
            with (image / wal.name).open("r+b") as file:
                file.truncate(self.draw.randrange(before, after))
        raise Killed("inside the rows")

    def _roll(self, engine: Engine) -> None:
        if self._disk.kill_at == "a segment unborn":
            (self._directory / f"{self.head.seq + 1:016d}.beginning").write_bytes(b"SQLite format 3")
            self._disk.kill("a segment unborn")
        try:
            super()._roll(engine)
        finally:
            self._disk.opened(self._connection)
            self._begun()

    def _begun(self) -> None:
        """A new segment is whole before it has its name: synced, unless only the process can die."""
        if self._disk.synced is not None and self._settings.durability == "power":
            self._disk.synced.file(self._segment)


def _error(message: str, code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(message)
    error.sqlite_errorcode = code
    return error
