"""The loop: reads a batch, has it put in order, lets the replies go. What it reads from is a door (door.py)."""

from __future__ import annotations

import contextlib
import decimal
import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pit import wire
from pit._look_out import LookOut

from .config import Config
from .conversations import Conversations
from .core.engine import exact_context
from .descriptors import room_for
from .door import Door
from .errors import EndpointBusy, EndpointFailed
from .journal import SegmentJournal
from .journal_tools.archive import JournalArchive
from .journal_tools.past import JournalPast
from .living import Living
from .pipes import Pipes
from .reload import Reloader
from .sequencer import Sequencer

_IDLE_MS = 1_000

_QUIET_MS = 100
"""After so long without a message SQLite catches up with the journal's tail. Orders that come one by one share its
transactions: one for each took a quarter of the daemon's time, and the cache's place of what the next order needs.
"""

_AWAKE_S = 300e-6
"""How long it looks out for the next message before it sleeps, at the most; never when nothing has come, nor when those
before it came later than that.
"""

_READ_BY_S = 0.2
"""Who asked for the end gets so long to read the answer: a client's socket loses with its connection what is unread."""

_SHARE_S = 1e-3
"""So much of a batch's time goes to one connection: then the batch ends, and what it has answered leaves. ZeroMQ takes
turns between connections, so whoever else has spoken is in it, or comes next.
"""

_ROUNDS = 16
"""So many batches at the most before the other descriptors are looked at."""

LOOKED_AFTER = 16
"""After so many commands of a batch the clock is read again, and what is due by then has its turn."""

_clock_s = time.perf_counter

_HELLO = int(wire.Message.HELLO)


class Server:
    """Serves one endpoint. `run()` returns after `stop()`, when the batch in hand is finished."""

    def __init__(
        self,
        sequencer: Sequencer,
        config: Config,
        journal: SegmentJournal | None = None,
        reloader: Reloader | None = None,
    ) -> None:
        self.between: Callable[[], int] = lambda: _IDLE_MS
        """Called between two batches; says in how many milliseconds it wants to be called again."""
        self._sequencer = sequencer
        self._journal = journal
        self._config = config
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._archive = None if journal is None else JournalArchive(Path(config.journal.directory), self._wake)
        self._past = None if journal is None else JournalPast(Path(config.journal.directory), self._wake)
        self._conversations = Conversations(sequencer, config, self._archive, self._past, reloader)
        self._reloader = reloader
        if reloader is not None:
            reloader.adopted.append(self._go_by)
        self._door = self._make_door()
        self._living = Living(self._conversations)
        self._living.expect(sequencer.engine.sessions.going())
        self._answered_at = 0.0
        self._look_out = LookOut()
        self._pause_s = _AWAKE_S / 2
        """About how long after a batch the next message has come of late."""
        self._is_stopping = False
        self._is_to_reload = False
        self._conversations.house.keys_refused = lambda: self._door.keys_refused
        self.endpoint = config.daemon.endpoint

    def bind(self, held_fd: int | None = None) -> None:
        """Opens the endpoint, or takes over the listening socket that someone holds for it: that one's file stays.

        Raises EndpointBusy when another daemon serves it, EndpointFailed when it can't be, ConfigError when the
        daemon's key can't be read.
        """
        self._door.bind(held_fd)
        self.endpoint = self._door.endpoint

    def _make_door(self) -> Door:
        most = room_for(self._config.daemon.max_sessions)
        if self._config.daemon.endpoint.startswith("ipc://"):
            return Pipes(self._config.daemon.endpoint, most, self._conversations.is_known)
        from .router import Router  # takes long to load

        return Router(lambda: self._config, most, lambda fd: self._living.hears(fd))

    def stop(self) -> None:
        """Asks the loop to finish the batch in hand and end. May be called from a signal handler or a thread."""
        self._is_stopping = True
        self._wake()

    def reload(self) -> None:
        """Asks the loop to read the configuration again. May be called from a signal handler or a thread."""
        self._is_to_reload = True
        self._wake()

    def tend(self) -> None:
        """Sees to it that the endpoint can be found."""
        self._door.tend()

    def run(self) -> None:
        """Serves until stopped. Raises CarryOutFailed when the engine's state can no longer be trusted."""
        decimal.setcontext(exact_context())
        sequencer, door = self._sequencer, self._door
        for fd in (self._wake_in.fileno(), self._living.fileno()):
            door.watch_also(fd)
        sequencer.now_ns = sequencer.read_clock_ns()
        rounds = 0
        """Batches since the other descriptors were looked at: they have their turn under any load."""
        while not self._is_stopping:
            if 0 < rounds < _ROUNDS and self._is_spoken_to_soon():
                rounds = rounds + 1 if self._one_batch() else 0
                continue
            if self._is_to_reload:
                self._reload()
            idle_ms = self.between()
            wait_ms = 0 if rounds == _ROUNDS else self._wait_ms(idle_ms)
            back_by_ns = sequencer.now_ns + wait_ms * 1_000_000  # counted from the batch: it may stop before the poll
            is_news = door.wait(wait_ms)
            sequencer.woke(back_by_ns)
            if door.has_begun:
                self._look_out.sees(door.is_spoken_to, _AWAKE_S)
            if is_news:
                door.let_in()
                self._hear_of_ends()
                self._hear_of_finds()
            rounds = 1 if self._one_batch() else 0

    def close(self) -> None:
        """Lets the last replies leave and gives the endpoint up."""
        if self._conversations.is_shut_down:
            time.sleep(_READ_BY_S)
        self._door.close()
        self._living.close()
        if self._archive is not None:
            self._archive.close()
        if self._past is not None:
            self._past.close()
        self._wake_in.close()
        self._wake_out.close()

    # ------------------------------------------------------------------------------------------ the loop

    def _wait_ms(self, idle_ms: int) -> int:
        """How long nothing needs doing, if nobody speaks."""
        if self._journal is not None and self._journal.is_waiting:
            idle_ms = min(idle_ms, _QUIET_MS)
        wait_ms = self._conversations.watchers.wait_ms(self._living.wait_ms(min(idle_ms, _IDLE_MS)))
        day_ms = self._sequencer.next_day_ns() // 1_000_000 + 1
        wait_ms = max(0, min(wait_ms, day_ms))
        quotes_ns = self._sequencer.next_quotes_ns()
        if quotes_ns is not None:
            wait_ms = min(wait_ms, quotes_ns // 1_000_000 + 1)
        wait_ms = self._conversations.cancels.wait_ms(wait_ms)
        first_ns = self._sequencer.engine.first_lease_end_ns()
        if first_ns is None:
            return wait_ms
        left_ns = first_ns - self._sequencer.read_clock_ns()
        return max(0, min(wait_ms, left_ns // 1_000_000 + 1)) if left_ns > 0 else 0

    def _reload(self) -> None:
        self._is_to_reload = False
        if self._reloader is not None:
            with self._reloader.announced():
                self._reloader.by_signal(self._sequencer)
                self._sequencer.release()

    def _go_by(self, config: Config) -> None:
        self._config = config

    def _is_spoken_to_soon(self) -> bool:
        """Whether a message comes within a moment after the last one: to sleep and be woken costs more than that."""
        if self._pause_s > _AWAKE_S:
            return self._door.is_spoken_to()
        return self._look_out.sees(self._door.is_spoken_to, min(2 * self._pause_s, _AWAKE_S))

    def _one_batch(self) -> bool:
        """Reads what is there, has it journaled and answers it. False when nothing was there."""
        sequencer, conversations, most = self._sequencer, self._conversations, self._config.daemon.batch
        began = _clock_s()
        try:
            taken = self._take_some(began, most)
            if self._living.has_dying:
                self._living.end_dead(has_more=taken == most)
            if not taken:
                sequencer.end_due()
            conversations.tell_cancels()
        finally:
            sequencer.release()
        answered = self._send_out() if conversations.out else 0
        if taken:
            self._answered_at = _clock_s()
        if conversations.is_shut_down:
            self._is_stopping = True
        if answered:
            sequencer.metrics.command_s.observe(self._answered_at - began, answered)
        if not taken or conversations.watchers.are_there or sequencer.has_much_to_tell():
            sequencer.publish()
            conversations.tell_watchers()
            conversations.pace()
        if conversations.out:
            self._send_out()
        if self._journal is not None:
            self._journal.maintain(sequencer.engine, is_quiet=not taken)
        return taken > 0

    def _take_some(self, began: float, most: int) -> int:
        """Has what is there answered, so many messages at the most: how many there were."""
        next_message, clock, taken = self._door.next, _clock_s, 0
        message = next_message(taken)
        if message is None:
            return 0
        self._pause_s += (min(began - self._answered_at, 2 * _AWAKE_S) - self._pause_s) / 8
        take = self._conversations.take if self._door.names_connections else self._take_from
        used_s: dict[bytes, float] = {}
        """How much of this batch each connection has used."""
        before = began
        while message is not None:
            if not taken % LOOKED_AFTER:
                self._sequencer.begin_turn()
            taken += 1
            identity, header, body = message
            if header and header[0] != _HELLO:
                take(identity, header, body)
            else:
                self._take_other(identity, header, body)
            now = clock()
            used = used_s[identity] = used_s.get(identity, 0.0) + now - before
            if used >= _SHARE_S:
                self._conversations.tally(identity).over_share += 1
                break
            before = now
            message = next_message(taken) if taken < most else None
        return taken

    def _take_from(self, identity: bytes, header: bytes, body: bytes) -> None:
        """Has a message answered, of a connection that may have chosen an identity that was another's."""
        conversations = self._conversations
        session = conversations.session_of(identity)
        if session is not None and not self._living.is_from(session, *self._door.place(identity)):
            conversations.lost(identity)
        conversations.take(identity, header, body)

    def _take_other(self, identity: bytes, header: bytes, body: bytes) -> None:
        """Has a hello answered, or what is no message."""
        door, conversations = self._door, self._conversations
        if not header:
            conversations.refuse_malformed(identity, body.decode())
            return
        if not door.names_connections:
            self._hear_of_disconnects()  # of who had this descriptor before it stands for the one who speaks
        speaker = door.speaker(identity)
        conversations.take(identity, header, body, speaker.proof)
        session = conversations.session_of(identity)
        if session is not None:
            self._living.watch(session, speaker.origin, speaker.source_fd, speaker.address)

    def _hear_of_ends(self) -> None:
        """Takes in which processes have died and which connections have ended."""
        self._hear_of_disconnects()
        self._living.hear_of_deaths()

    def _hear_of_finds(self) -> None:
        """Takes in what the archive has found meanwhile."""
        with contextlib.suppress(BlockingIOError):
            while self._wake_in.recv(4_096):
                pass
        self._conversations.found()

    def _wake(self) -> None:
        """Has the loop look around. From any thread; where its socket is full, it will look anyway."""
        with contextlib.suppress(OSError):
            self._wake_out.send(b"x")

    def _hear_of_disconnects(self) -> None:
        self._door.ended(self._living.disconnected)

    def _send_out(self) -> int:
        """Lets everything go that has been answered: how much that was."""
        conversations = self._conversations
        out, conversations.out = conversations.out, []
        unsent = self._door.send(out, conversations.lost)
        if unsent:
            self._sequencer.metrics.unsendable += unsent
        return len(out)


@contextlib.contextmanager
def claimed(endpoint: str) -> Iterator[None]:
    """Keeps an ipc endpoint for this process while the block runs: libzmq alone would silently take it away from a
    running daemon. Raises EndpointBusy, EndpointFailed. A port, or a name without a file, is itself the claim, taken
    by `bind()`.
    """
    if not endpoint.startswith("ipc://") or endpoint.startswith("ipc://@"):
        yield
        return
    path = Path(endpoint[len("ipc://") :])
    lock = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as trouble:
        raise EndpointFailed(f"{endpoint}: {lock} cannot be opened: {trouble.strerror}") from trouble
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as trouble:
            holder = os.pread(fd, 32, 0).decode(errors="replace").strip()
            raise EndpointBusy(
                f"{endpoint}: another pitd (process {holder or 'unknown'}) serves it; stop that one, "
                "or give this one another [daemon] endpoint"
            ) from trouble
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)
