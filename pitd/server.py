"""The ROUTER loop: reads a batch, has it put in order, lets the replies go. The only daemon file that knows ZeroMQ."""

from __future__ import annotations

import contextlib
import decimal
import fcntl
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import zmq

from pit import wire

from . import zap
from .config import Config
from .conversations import Conversations
from .core.engine import exact_context
from .errors import EndpointBusy, EndpointFailed
from .journal import SegmentJournal
from .journal_tools.archive import JournalArchive
from .journal_tools.past import JournalPast
from .keygen import own_pair
from .living import Living
from .peers import Proof, origin_of
from .reload import Reloader
from .sequencer import Sequencer

_EVENT = struct.Struct("=hi")
"""The first frame of what a socket monitor says: the event, and its value."""

_IDLE_MS = 1_000

_QUIET_MS = 5
"""After so long without a message SQLite catches up with the journal's tail."""


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

_HELLO = bytes([wire.Message.HELLO])

_POLLIN, _NOBLOCK, _SNDMORE, _SRCFD = int(zmq.POLLIN), int(zmq.NOBLOCK), int(zmq.SNDMORE), int(zmq.SRCFD)
"""As plain numbers: pyzmq's are enums, and `a | b` of two of those costs more than a send."""


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
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket: zmq.Socket[bytes] = self._context.socket(zmq.ROUTER)
        self._look = [(self._socket, _POLLIN)]
        """What `zmq_poll` is asked about: half the price of the socket's own EVENTS."""
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self._living = Living(self._conversations)
        self._living.expect(sequencer.engine.sessions.going())
        self._used_s: dict[bytes, float] = {}
        """How much of the batch in hand each connection has used."""
        self._now_s = 0.0
        self._answered_at = 0.0
        self._pause_s = _AWAKE_S / 2
        """About how long after a batch the next message has come of late."""
        self._is_stopping = False
        self._is_to_reload = False
        self._has_key = bool(config.daemon.key_file) and config.daemon.endpoint.startswith("tcp://")
        self._gate: zmq.Socket[bytes] = self._context.socket(zmq.ROUTER)
        self._gatekeeper = zap.Gatekeeper()
        self._conversations.house.keys_refused = lambda: self._gatekeeper.refused
        self.endpoint = config.daemon.endpoint

    def bind(self, held_fd: int | None = None) -> None:
        """Opens the endpoint, or takes over the listening socket that someone holds for it: that one's file stays.

        Raises EndpointBusy when another daemon serves it, EndpointFailed when it can't be, ConfigError when the
        daemon's key can't be read.
        """
        if held_fd is not None:
            self._socket.setsockopt(zmq.USE_FD, held_fd)
        if self._has_key:
            self._ask_for_keys()
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._socket.setsockopt(zmq.MAXMSGSIZE, wire.MAX_MESSAGE_BYTES)
        self._socket.setsockopt(zmq.LINGER, 200)
        self._socket.setsockopt(zmq.BACKLOG, 512)
        self._socket.setsockopt(zmq.SNDHWM, 2_000)
        if not self.endpoint.startswith("ipc://"):  # over ipc the kernel tells who has died
            self._socket.setsockopt(zmq.HEARTBEAT_IVL, 1_000)
            self._socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 5_000)
        try:
            self._socket.bind(self.endpoint)
        except zmq.ZMQError as trouble:
            if trouble.errno == zmq.EADDRINUSE:
                raise EndpointBusy(f"{self.endpoint}: another process listens there") from trouble
            raise EndpointFailed(f"{self.endpoint}: cannot be opened: {trouble}") from trouble
        self.endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def _ask_for_keys(self) -> None:
        """Lets in only whom the gatekeeper knows. It stands at its place before the endpoint is opened."""
        pair = own_pair(self._config.daemon.key_file)
        self._gate.setsockopt(zmq.LINGER, 0)
        self._gate.bind(zap.ENDPOINT)
        self._socket.setsockopt(zmq.CURVE_SERVER, 1)
        self._socket.setsockopt_string(zmq.CURVE_SECRETKEY, pair.secret)
        self._socket.setsockopt(zmq.ZAP_DOMAIN, zap.DOMAIN)

    def stop(self) -> None:
        """Asks the loop to finish the batch in hand and end. May be called from a signal handler or a thread."""
        self._is_stopping = True
        self._wake()

    def reload(self) -> None:
        """Asks the loop to read the configuration again. May be called from a signal handler or a thread."""
        self._is_to_reload = True
        self._wake()

    def run(self) -> None:
        """Serves until stopped. Raises CarryOutFailed when the engine's state can no longer be trusted."""
        decimal.setcontext(exact_context())
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        for fd in (self._wake_in.fileno(), self._living.fileno()):
            poller.register(fd, zmq.POLLIN)
        poller.register(self._monitor, zmq.POLLIN)
        poller.register(self._gate, zmq.POLLIN)
        sequencer = self._sequencer
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
            ready = poller.poll(wait_ms)
            sequencer.woke(back_by_ns)
            if ready and (len(ready) > 1 or ready[0][0] is not self._socket):
                self._let_in()
                self._hear_of_ends()
                self._hear_of_finds()
            rounds = 1 if self._one_batch() else 0

    def close(self) -> None:
        """Lets the last replies leave and gives the endpoint up."""
        if self._conversations.is_shut_down:
            time.sleep(_READ_BY_S)
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._gate.close(linger=0)
        self._socket.close(linger=200)
        self._context.term()
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
        """Whether a message comes within a moment after the last one: to sleep and be woken costs more than that. Who
        else wants the processor gets it meanwhile.
        """
        if self._pause_s > _AWAKE_S:
            return False
        until = time.perf_counter() + min(2 * self._pause_s, _AWAKE_S)
        while time.perf_counter() < until:
            if zmq.zmq_poll(self._look, 0):
                return True
            os.sched_yield()
        return False

    def _one_batch(self) -> bool:
        """Reads what is there, has it journaled and answers it. False when nothing was there."""
        left = most = self._config.daemon.batch
        self._now_s = began = time.perf_counter()
        try:
            while left and (identity := self._next()) is not None:
                if left == most:
                    self._pause_s += (min(began - self._answered_at, 2 * _AWAKE_S) - self._pause_s) / 8
                left -= 1
                self._read(identity)
                if self._is_over_its_share(identity):
                    break
                if left == most - 1 and not zmq.zmq_poll(self._look, 0):
                    break  # it came alone, as those of a quiet client do: to ask costs less than a receive in vain
            if self._living.has_dying:
                self._living.end_dead(has_more=not left)
            self._sequencer.end_due()
            self._conversations.tell_cancels()
        finally:
            self._used_s.clear()
            self._sequencer.release()
        answered = self._send_out()
        if left < most:
            self._answered_at = time.perf_counter()
        if self._conversations.is_shut_down:
            self._is_stopping = True
        if answered:
            self._sequencer.metrics.command_s.observe(self._answered_at - began, answered)
        if left == most or len(self._conversations.watchers):
            self._sequencer.publish()
            self._conversations.tell_watchers()
        self._conversations.pace()
        if self._conversations.out:
            self._send_out()
        if self._journal is not None:
            self._journal.maintain(self._sequencer.engine, is_quiet=left == most)
        return left < most

    def _is_over_its_share(self, identity: bytes) -> bool:
        """Whether the one who has just been read has had its share of this batch."""
        began, self._now_s = self._now_s, time.perf_counter()
        used = self._used_s[identity] = self._used_s.get(identity, 0.0) + self._now_s - began
        if used < _SHARE_S:
            return False
        self._conversations.tally(identity).over_share += 1
        return True

    def _next(self) -> bytes | None:
        """Who sent the next message, or None where there is none."""
        try:
            return self._socket.recv(_NOBLOCK)
        except zmq.Again:
            return None

    def _read(self, identity: bytes) -> None:
        """Takes in the rest of a message."""
        sock = self._socket
        header = sock.recv(copy=False)
        if not header.more:
            self._conversations.refuse_malformed(identity, "a message is a header and a body")
            return
        body = sock.recv(copy=False)
        if body.more:
            while sock.recv(copy=False).more:
                pass
            self._conversations.refuse_malformed(identity, "a message is two frames, no more")
            return
        head = header.bytes
        if head[:1] == _HELLO:
            self._conversations.take(identity, head, body.bytes, self._proof(header))
            self._watch(identity, header)
            return
        session = self._conversations.session_of(identity)
        if session is not None and not self._living.is_from(session, header.get(_SRCFD), header.get("Peer-Address")):
            self._conversations.lost(identity)  # a connection may choose its identity, also one that was another's
        self._conversations.take(identity, head, body.bytes)

    def _proof(self, frame: zmq.Frame) -> Proof:
        """What nobody can forge of who speaks: the kernel's word, or the key that we have checked ourselves."""
        if self.endpoint.startswith("ipc://"):
            return Proof(origin=origin_of(str(frame.get("Peer-Address"))))
        return Proof(key=str(frame.get("User-Id")) if self._has_key else None)

    def _watch(self, identity: bytes, frame: zmq.Frame) -> None:
        self._hear_of_disconnects()  # of who had this descriptor before, before it stands for the one who speaks now
        session = self._conversations.session_of(identity)
        if session is not None:
            address = str(frame.get("Peer-Address"))
            self._living.watch(session, origin_of(address), int(frame.get(zmq.SRCFD)), address)

    def _let_in(self) -> None:
        """Answers whose keys are known here."""
        while self._gate.getsockopt(zmq.EVENTS) & zmq.POLLIN:  # type: ignore[operator, arg-type]
            answer = self._gatekeeper.answer(self._config, self._gate.recv_multipart())
            if answer is not None:
                self._gate.send_multipart(answer)

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
        while self._monitor.getsockopt(zmq.EVENTS) & zmq.POLLIN:  # type: ignore[operator, arg-type]
            _, source_fd = _EVENT.unpack(self._monitor.recv_multipart()[0])
            self._living.disconnected(source_fd)

    def _send_out(self) -> int:
        """Lets everything go that has been answered: how much that was."""
        out, self._conversations.out = self._conversations.out, []
        for identity, header, body in out:
            self._send(identity, header, body)
        return len(out)

    def _send(self, identity: bytes, header: bytes, body: bytes) -> None:
        """Lets a reply go. Who is gone or does not read loses it, and can ask for it again; nobody is waited for."""
        try:
            self._socket.send(identity, _SNDMORE | _NOBLOCK)
            self._socket.send(header, _SNDMORE | _NOBLOCK)
            self._socket.send(body, _NOBLOCK)
        except zmq.ZMQError as trouble:
            self._sequencer.metrics.unsendable += 1
            if trouble.errno == zmq.EHOSTUNREACH:
                self._conversations.lost(identity)


@contextlib.contextmanager
def claimed(endpoint: str) -> Iterator[None]:
    """Keeps an ipc endpoint for this process while the block runs: libzmq alone would silently take it away from a
    running daemon. Raises EndpointBusy, EndpointFailed. Over tcp the port itself is the claim, taken by `bind()`.
    """
    if not endpoint.startswith("ipc://"):
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
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
    finally:
        os.close(fd)
