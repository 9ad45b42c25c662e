"""Keeps rows in a directory of SQLite files, so that nothing acknowledged is lost when the process dies.

A segment is one file in WAL mode, named by its first sequence number. Each entry has a row of its own, with a hash
chained from the row before; SQLite keeps rows in batches, since one large value costs it a fraction of many small
ones. Until a batch is worth while its rows wait in a tail file, which takes them faster, and SQLite follows after the
replies have left. Beside the segments stand snapshots (the engine's whole state after one
entry), a lock, and a reserve file that is given up when the disk is full. What takes long (checkpoints, closing a
segment, pruning) happens in a thread with connections of its own; a snapshot is written by a forked child, which has
the state as it stood.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import queue
import sqlite3
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from . import log, records, tail
from .config import Journal as Settings
from .core import entry as e
from .core import reading, snapshot
from .core.engine import Engine
from .errors import JournalBusy, JournalDamaged, JournalFailed
from .records import CHAIN_SIZE
from .tail import Tail

FORMAT = 2
GENESIS = bytes(CHAIN_SIZE)

_FEW_ROWS = 64
"""A batch of more rows goes to SQLite at once: it is large enough by itself."""

_MANY_BATCHES = 32
_MANY_ROWS = 128
"""So many wait in the tail at the most: SQLite's share of a batch's time is then the same for small and large ones."""

_PAGE_BYTES = 4_096
_CHECKPOINT_PAGES = 1_000
"""So many pages, roughly, go into the WAL between two checkpoints: each of these costs about as much as 100 pages."""

_LONG_WAL_PAGES = 10_000
"""From here on a checkpoint makes writers wait for its last, short part: else under load the WAL never starts over."""

_RESTART_TRIES = 20
_SPACE_EVERY_S = 1.0
_SNAPSHOTS_KEPT = 2
"""How many snapshots are kept beside those that a segment begins with: the newest may turn out not to load."""

_FILE_MODE = 0o640
_DIRECTORY_MODE = 0o750
"""Whatever the umask: its group may read a journal (SQLite gives the files beside a segment its mode), nobody else."""

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE batches (first_seq INTEGER PRIMARY KEY, last_seq INTEGER NOT NULL, records BLOB NOT NULL);
"""


class Head(NamedTuple):
    """Where a journal ends: the last row's number and chain value."""

    seq: int
    chain: bytes


START = Head(0, GENESIS)


def chained(before: bytes, row: bytes) -> bytes:
    """A row's chain value: a hash over the one before it and the row's bytes."""
    return blake2b(before + row, digest_size=CHAIN_SIZE).digest()


class SegmentJournal:
    """The journal of a running daemon. One thread appends; only that thread may call it."""

    def __init__(self, settings: Settings, id: bytes, head: Head, *, snapshot_seq: int = 0) -> None:
        """Goes on after `head`. The directory is locked by the caller (`lock`), and its history has been read."""
        self.why_low = ""
        self.id = id
        self.head = head
        self.began_with_seq = snapshot_seq
        """What the snapshot knew that recovery began with: the rows up to there have not been gone through."""
        self._settings = settings
        self._directory = Path(settings.directory)
        self._pages_since_checkpoint = 0
        self._snapshot_seq = snapshot_seq
        self._snapshot_pid = 0
        self._space_at = 0.0
        self._is_poisoned = False
        self._reserve = self._directory / "reserve"
        drop_unfinished(self._directory)
        last = segments(self._directory)[-1:]
        self._segment = last[0] if last else self._directory / _segment_name(head.seq + 1)
        self._roll_seq = segment_start(self._segment) + settings.segment_rows - 1
        """From that row on the next segment is due."""
        try:
            if not last:
                _create(self._segment, settings, id, head)
            self._connection = _connect(self._segment, settings)
            self._connection.execute("PRAGMA busy_timeout=0")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # what a crash has cut off goes for good
            self._connection.execute("PRAGMA busy_timeout=5000")
            left = self._left_in_tail()
        except (sqlite3.Error, OSError) as trouble:
            raise JournalFailed(f"{self._segment}: cannot be written: {trouble}") from trouble
        self._rows_waiting = 0
        """So many are in the tail and not yet in SQLite: the last ones."""
        self._batches_waiting = 0
        if left:
            self._keep(left[0][0], left[-1][0], records.pack(left))
        self._tail = self._begin_tail() if settings.durability == "process" else None
        self._behind = _Behind(self._directory, settings)
        self._look_at_space()

    def append(self, rows: Sequence[e.Row]) -> None:
        """Keeps rows, all or none. Raises JournalFailed when they can't be kept: then nothing may be acknowledged."""
        chain, encode, head = self.head.chain, reading.encode, records.head
        parts: list[bytes] = []
        for row in rows:
            encoded = encode(row)
            chain = blake2b(chain + encoded, digest_size=CHAIN_SIZE).digest()
            parts += (head(row.entry.seq, encoded, chain), encoded)
        batch, last, count = b"".join(parts), rows[-1].entry, len(rows)
        if self._tail is None:
            self._keep(rows[0].entry.seq, last.seq, batch)
        elif count <= _FEW_ROWS and self._tail.add(batch):
            self._rows_waiting += count
            self._batches_waiting += 1
        else:
            self._keep(rows[0].entry.seq - self._rows_waiting, last.seq, self._tail.records + batch)
            self._tail_is_done()
        self.head = Head(last.seq, chain)
        if type(last.body) is e.Poisoned:
            self._is_poisoned = True

    @property
    def is_waiting(self) -> bool:
        """Whether rows wait in the tail for a quiet moment."""
        return self._rows_waiting > 0

    def catch_up(self) -> None:
        """Brings SQLite up to the last row."""
        if self._rows_waiting:
            assert self._tail is not None
            self._keep(self.head.seq + 1 - self._rows_waiting, self.head.seq, self._tail.records)
            self._tail_is_done()

    def maintain(self, engine: Engine, *, is_quiet: bool = True) -> None:
        """Between two batches: what is due of the tail, checkpoints, segments, snapshots, a look at the free space.

        `is_quiet`: nobody has said anything for a moment. Raises JournalFailed.
        """
        waiting = self._batches_waiting
        if waiting and not is_quiet and waiting < _MANY_BATCHES and self._rows_waiting < _MANY_ROWS:
            return  # nothing has reached the files since the last look
        self.catch_up()
        if self._pages_since_checkpoint >= _CHECKPOINT_PAGES:
            self._pages_since_checkpoint = 0
            self._behind.checkpoint(self._segment)
        if self._snapshot_pid:
            self._reap()
        if not self._snapshot_pid and not self.why_low:
            if self.head.seq >= self._roll_seq:
                self._roll(engine)
            elif self.head.seq - self._snapshot_seq >= self._settings.snapshot_rows:
                self.take_snapshot(engine)
        now = time.monotonic()
        if now >= self._space_at:
            self._space_at = now + _SPACE_EVERY_S
            self._look_at_space()

    def take_snapshot(self, engine: Engine) -> None:
        """Has a forked child write the state as it stands now. The loop goes on at once."""
        if self._snapshot_pid or not self._is_whole(engine):
            return
        self.catch_up()
        self._snapshot_seq = self.head.seq
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # the child runs this thread alone, ends by _exit
                pid = os.fork()
        except OSError as trouble:
            log.warning("snapshot.failed", seq=self._snapshot_seq, why=trouble)
            return
        if pid == 0:
            code = 1
            try:
                os.closerange(3, 65_536)  # above all the locks: they must end with the parent
                write_snapshot(self._directory, engine, self.id, self.head)
                code = 0
            finally:
                os._exit(code)
        self._snapshot_pid = pid

    def close(self, engine: Engine | None = None) -> None:
        """Ends tidily: with a last snapshot of an engine that can be trusted, so that the next start is a quick one."""
        if self._snapshot_pid:
            self._reap(wait=True)
        try:
            self.catch_up()
        except JournalFailed as trouble:
            log.error("journal.not_caught_up", why=trouble)  # the rows are in the tail, and the next start finds them
            engine = None
        if self._tail is not None:
            self._tail.close()
        self._behind.close_segment(self._connection)
        self._behind.stop()
        if engine is not None and self._is_whole(engine) and engine.seq > self._snapshot_seq and not self.why_low:
            try:  # the last of all: it opens the files, and closing them would end SQLite's locks on them
                write_snapshot(self._directory, engine, self.id, self.head)
            except OSError as trouble:
                log.warning("snapshot.failed", seq=self.head.seq, why=trouble)

    # ------------------------------------------------------------------------------------------ within

    def _left_in_tail(self) -> list[records.Row]:
        """What the process before this one had not yet brought into SQLite."""
        newest = self._connection.execute("SELECT last_seq FROM batches ORDER BY first_seq DESC LIMIT 1").fetchone()
        last = newest[0] if newest else 0
        return [row for row in tail.read(self._directory) if last < row[0] <= self.head.seq]

    def _begin_tail(self) -> Tail | None:
        try:
            return Tail(self._directory / tail.NAME, _FILE_MODE)
        except OSError as trouble:
            log.warning("journal.no_tail", why=trouble)  # every batch goes to SQLite then, which takes a little longer
            return None

    def _tail_is_done(self) -> None:
        self._rows_waiting = self._batches_waiting = 0
        if self._tail is not None:
            self._tail.reset()

    def _keep(self, first_seq: int, last_seq: int, batch: bytes) -> None:
        """Brings rows into SQLite, all or none; into the reserve's room if there is no other. Raises JournalFailed."""
        try:
            self._write(first_seq, last_seq, batch)
        except sqlite3.Error as trouble:
            if not self._is_out_of_space(trouble):
                raise JournalFailed(f"{self._segment}: cannot be written: {trouble}") from trouble
            self._give_up_reserve()
            try:
                self._write(first_seq, last_seq, batch)
            except sqlite3.Error as again:
                raise JournalFailed(f"{self._segment}: no space, even without the reserve: {again}") from again
        self._pages_since_checkpoint += 1 + len(batch) // _PAGE_BYTES

    def _write(self, first_seq: int, last_seq: int, batch: bytes) -> None:
        self._connection.execute("INSERT INTO batches VALUES (?, ?, ?)", (first_seq, last_seq, batch))

    def _is_whole(self, engine: Engine) -> bool:
        """Whether the engine's state is that of the journal's last row; half of a poisoned entry may be carried out."""
        return engine.seq == self.head.seq and not self._is_poisoned

    def _roll(self, engine: Engine) -> None:
        self.catch_up()
        path = self._directory / _segment_name(self.head.seq + 1)
        try:
            _create(path, self._settings, self.id, self.head)
            connection = _connect(path, self._settings)
        except (sqlite3.Error, OSError) as trouble:
            if not self._is_out_of_space(trouble):
                raise JournalFailed(f"{path}: cannot be begun: {trouble}") from trouble
            drop_unfinished(self._directory)
            self._say_low(free_bytes(self._directory))  # the segment there is goes on
            return
        self._behind.close_segment(self._connection)
        self._connection, self._segment = connection, path
        self._roll_seq = self.head.seq + self._settings.segment_rows
        log.info("journal.segment", file=path.name)
        self.take_snapshot(engine)

    def _reap(self, *, wait: bool = False) -> None:
        pid, status = os.waitpid(self._snapshot_pid, 0 if wait else os.WNOHANG)
        if not pid:
            return
        self._snapshot_pid = 0
        if status:
            log.warning("snapshot.failed", seq=self._snapshot_seq, status=status)
        else:
            log.info("snapshot.written", seq=self._snapshot_seq)
            self._behind.prune()

    def _is_out_of_space(self, trouble: sqlite3.Error | OSError) -> bool:
        if getattr(trouble, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            return True
        if getattr(trouble, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            return True
        return isinstance(trouble, sqlite3.OperationalError) and free_bytes(self._directory) < 1 << 20

    def _give_up_reserve(self) -> None:
        self._reserve.unlink(missing_ok=True)
        self._say_low(free_bytes(self._directory))

    def _look_at_space(self) -> None:
        """Sets the reserve aside while there is room, and says when there soon is none."""
        free = free_bytes(self._directory)
        wanted = self._settings.reserve_bytes
        if free < wanted and not self.why_low:
            self._say_low(free)
        elif not self._reserve.exists() and free > 3 * wanted:
            try:
                with self._reserve.open("wb") as file:
                    os.posix_fallocate(file.fileno(), 0, wanted)
            except OSError as trouble:
                log.warning("journal.no_reserve", why=trouble)
                self._reserve.unlink(missing_ok=True)
        if self.why_low and free > 2 * wanted:
            self.why_low = ""
            log.info("journal.space", free_bytes=free)

    def _say_low(self, free: int) -> None:
        wanted = self._settings.reserve_bytes
        self.why_low = (
            f"the disk of {self._directory} is nearly full ({free >> 10} KiB free, {wanted >> 10} KiB wanted); "
            "it goes on by itself once there is room"
        )
        log.error("journal.low", directory=self._directory, free_bytes=free)


class _Behind:
    """Does what takes long in a thread of its own: checkpoints, closing files, pruning."""

    def __init__(self, directory: Path, settings: Settings) -> None:
        self._directory = directory
        self._settings = settings
        self._tasks: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._has_checkpoint = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def checkpoint(self, segment: Path) -> None:
        if not self._has_checkpoint.is_set():
            self._has_checkpoint.set()
            self._tasks.put(functools.partial(self._checkpoint, segment))

    def close_segment(self, connection: sqlite3.Connection) -> None:
        self._tasks.put(connection.close)

    def prune(self) -> None:
        oldest_ns = time.time_ns() - self._settings.keep_ns
        self._tasks.put(functools.partial(prune, self._directory, oldest_ns))

    def stop(self) -> None:
        self._tasks.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                task()
            except (sqlite3.Error, OSError) as trouble:
                log.warning("journal.behind_failed", why=trouble)

    def _checkpoint(self, segment: Path) -> None:
        self._has_checkpoint.clear()
        with contextlib.closing(sqlite3.connect(segment, isolation_level=None, timeout=0)) as own:
            own.execute("PRAGMA synchronous=NORMAL")
            own.execute("PRAGMA wal_autocheckpoint=0")
            _, pages, _ = own.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if pages < _LONG_WAL_PAGES:
                return
            for _ in range(_RESTART_TRIES):  # it never waits: that would keep the loop out as long as a reader is there
                is_in_the_way, pages, _ = own.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
                if not is_in_the_way:
                    return
                time.sleep(0.001)
        if pages >= 2 * _LONG_WAL_PAGES:
            log.warning("journal.reader_in_the_way", file=segment.name, wal_pages=pages)


def _create(path: Path, settings: Settings, id: bytes, head: Head) -> None:
    """Begins a segment after `head`: whole, with its heading, under another name; then it gets its own."""
    beginning = path.with_suffix(".beginning")
    with contextlib.closing(_connect(beginning, settings)) as connection:
        if settings.durability != "power":
            connection.execute("PRAGMA synchronous=OFF")
        connection.execute("BEGIN IMMEDIATE")
        for statement in filter(str.strip, _SCHEMA.split(";")):
            connection.execute(statement)
        meta = {
            "format": FORMAT,
            "journal": id,
            "first_seq": head.seq + 1,
            "chain": head.chain,
            "wall_ns": time.time_ns(),
        }
        connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        connection.execute("COMMIT")
    beginning.chmod(_FILE_MODE)
    beginning.rename(path)
    if settings.durability == "power":
        _sync(path.parent)


def _connect(path: Path, settings: Settings) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=16)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(f"PRAGMA synchronous={'FULL' if settings.durability == 'power' else 'NORMAL'}")
    connection.execute("PRAGMA wal_autocheckpoint=0")  # it would be done inside a COMMIT
    return connection


# ---------------------------------------------------------------------------------------------- the directory


def segments(directory: Path) -> list[Path]:
    """The segment files, oldest first."""
    return sorted(path for path in directory.glob("*.segment") if path.stem.isdigit())


def _segment_name(first_seq: int) -> str:
    return f"{first_seq:016d}.segment"


def segment_start(path: Path) -> int:
    """The sequence number that a segment begins with, by its name."""
    return int(path.stem)


def snapshots(directory: Path) -> list[Path]:
    """The snapshot files, oldest first."""
    return sorted(path for path in directory.glob("*.snapshot") if path.stem.isdigit())


def drop_unfinished(directory: Path) -> None:
    """Takes away what was only being made when a daemon died or a disk was full: nobody has relied on it."""
    for pattern in ("*.beginning*", "*.writing"):
        for path in directory.glob(pattern):
            path.unlink(missing_ok=True)


def free_bytes(directory: Path) -> int:
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize


@contextlib.contextmanager
def lock(directory: Path) -> Iterator[None]:
    """Keeps every other daemon away from the directory while the block runs. Raises JournalBusy, JournalFailed."""
    try:
        if not directory.exists():
            directory.mkdir(parents=True, exist_ok=True)
            directory.chmod(_DIRECTORY_MODE)
        fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE)
    except OSError as trouble:
        raise JournalFailed(f"{directory}: the journal cannot be kept there: {trouble.strerror}") from trouble
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as trouble:
            holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
            raise JournalBusy(
                f"{directory}: another pitd (process {holder}) keeps its journal there; stop that one, "
                "or give this one another [journal] directory"
            ) from trouble
        try:
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        except OSError as trouble:
            log.warning("journal.lock_unsigned", why=trouble)
        yield
    finally:
        os.close(fd)


# ---------------------------------------------------------------------------------------------- snapshots

_MAGIC = b"pitd snapshot 1\n"


class SnapshotHead(NamedTuple):
    journal: bytes
    chain: bytes


def write_snapshot(directory: Path, engine: Engine, id: bytes, head: Head) -> None:
    """Writes the engine's state whole or not at all. What it knows is on the disk before it is."""
    body = snapshot.encode(snapshot.take(engine))
    path = directory / f"{head.seq:016d}.snapshot"
    fresh = path.with_suffix(".writing")
    try:
        with fresh.open("wb") as file:
            os.fchmod(file.fileno(), _FILE_MODE)
            file.write(_MAGIC + blake2b(id + head.chain + body, digest_size=32).digest() + id + head.chain + body)
            file.flush()
            os.fsync(file.fileno())
        for segment in segments(directory)[-2:]:
            for behind in (segment.with_name(segment.name + "-wal"), segment):
                with contextlib.suppress(FileNotFoundError):
                    _sync(behind)  # else a power cut could leave a snapshot that knows more than the rows
        fresh.rename(path)
        _sync(directory)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_snapshot(path: Path) -> tuple[SnapshotHead, bytes]:
    """Which journal and row a snapshot belongs to, and its body. Raises JournalDamaged when it is not whole."""
    try:
        data = path.read_bytes()
    except OSError as trouble:
        raise JournalDamaged(f"{path}: cannot be read: {trouble.strerror}") from trouble
    if not data.startswith(_MAGIC):
        raise JournalDamaged(f"{path}: is no snapshot of this release")
    digest, at = data[len(_MAGIC) : len(_MAGIC) + 32], len(_MAGIC) + 32
    if blake2b(memoryview(data)[at:], digest_size=32).digest() != digest:  # no copy: it may be large
        raise JournalDamaged(f"{path}: is damaged: its checksum is another")
    return SnapshotHead(data[at : at + 16], data[at + 16 : at + 32]), data[at + 32 :]


def prunable(directory: Path, oldest_ns: int) -> list[Path]:
    """The segments that ended before that moment and that no recovery needs, and the snapshots that are too many."""
    gone: list[Path] = []
    kept = segments(directory)
    taken = snapshots(directory)
    needed_seq = int(taken[-_SNAPSHOTS_KEPT].stem) if len(taken) >= _SNAPSHOTS_KEPT else 0
    while len(kept) > 1 and segment_start(kept[1]) <= needed_seq + 1 and _begun_ns(kept[1]) < oldest_ns:
        gone.append(kept.pop(0))
    begins = {segment_start(path) - 1 for path in kept}
    for path in taken[:-_SNAPSHOTS_KEPT]:
        if int(path.stem) not in begins:
            gone.append(path)
    return gone


def prune(directory: Path, oldest_ns: int) -> list[Path]:
    """Deletes what is prunable, and says what that was."""
    gone = prunable(directory, oldest_ns)
    for path in gone:
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        if path.suffix == ".segment":
            log.info("journal.pruned", file=path.name)
    return gone


def _begun_ns(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT value FROM meta WHERE name = 'wall_ns'").fetchone()[0])
