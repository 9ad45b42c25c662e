"""The ROUTER loop: reads a batch, has it put in order, lets the replies go. The only daemon file that knows ZeroMQ."""

from __future__ import annotations

import contextlib
import decimal
import fcntl
import os
import socket
import time
from hashlib import blake2b
from pathlib import Path

import msgspec
import zmq

from pit import wire
from pit.errors import ProtocolError

from . import log, peers, queries, translate
from .config import Config
from .core.engine import CarryOutFailed, exact_context
from .core.sessions import Session
from .errors import EndpointBusy, EndpointFailed
from .sequencer import Sequencer

_IDLE_S = 1.0
_AWAY_NS = 100_000_000
"""A loop that comes back so much later than it meant to was stopped: leases get another length. Half a least lease."""


class Peer:
    """A connection that has said hello."""

    __slots__ = ("identity", "session")

    def __init__(self, identity: bytes, session: Session) -> None:
        self.identity = identity
        self.session = session


class Server:
    """Serves one endpoint. `run()` returns after `stop()`, when the batch in hand is finished."""

    def __init__(self, sequencer: Sequencer, config: Config) -> None:
        self._sequencer = sequencer
        self._config = config
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket: zmq.Socket[bytes] = self._context.socket(zmq.ROUTER)
        self._by_identity: dict[bytes, Peer] = {}
        self._by_session: dict[int, Peer] = {}
        self._out: list[tuple[bytes, bytes, bytes]] = []
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_out.setblocking(False)
        self._lock_fd = -1
        self._is_stopping = False
        self.unsendable = 0
        self.malformed = 0
        self.endpoint = config.daemon.endpoint

    def bind(self) -> None:
        """Opens the endpoint. Raises EndpointBusy when another daemon serves it, EndpointFailed when it can't be."""
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._socket.setsockopt(zmq.MAXMSGSIZE, wire.MAX_MESSAGE_BYTES)
        self._socket.setsockopt(zmq.LINGER, 200)
        self._socket.setsockopt(zmq.BACKLOG, 512)
        self._socket.setsockopt(zmq.SNDHWM, 2_000)
        self._socket.setsockopt(zmq.HEARTBEAT_IVL, 1_000)
        self._socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 5_000)
        if self.endpoint.startswith("ipc://"):
            self._lock_ipc(Path(self.endpoint[len("ipc://") :]))
        try:
            self._socket.bind(self.endpoint)
        except zmq.ZMQError as trouble:
            if trouble.errno == zmq.EADDRINUSE:
                raise EndpointBusy(f"{self.endpoint}: another process listens there") from trouble
            raise EndpointFailed(f"{self.endpoint}: cannot be opened: {trouble}") from trouble
        self.endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def stop(self) -> None:
        """Asks the loop to finish the batch in hand and end. May be called from a signal handler or a thread."""
        self._is_stopping = True
        with contextlib.suppress(OSError):
            self._wake_out.send(b"x")

    def run(self) -> None:
        """Serves until stopped. Raises CarryOutFailed when the engine's state can no longer be trusted."""
        decimal.setcontext(exact_context())
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._wake_in.fileno(), zmq.POLLIN)
        came_ns = time.monotonic_ns()
        while not self._is_stopping:
            wait_ms = self._wait_ms()
            planned_ns = came_ns + wait_ms * 1_000_000
            poller.poll(wait_ms)
            now_ns = time.monotonic_ns()
            if now_ns > planned_ns + _AWAY_NS:
                self._sequencer.resume(now_ns - planned_ns)
                log.warning("daemon.resumed", away_ms=(now_ns - planned_ns) // 1_000_000)
            came_ns = now_ns
            self._one_batch()

    def close(self) -> None:
        """Lets the last replies leave and gives the endpoint up."""
        self._socket.close(linger=200)
        self._context.term()
        self._wake_in.close()
        self._wake_out.close()
        if self._lock_fd >= 0:
            with contextlib.suppress(OSError):
                Path(self.endpoint[len("ipc://") :]).unlink(missing_ok=True)
            os.close(self._lock_fd)

    # ------------------------------------------------------------------------------------------ the loop

    def _wait_ms(self) -> int:
        first_ns = self._sequencer.engine.first_lease_end_ns()
        if first_ns is None:
            return int(_IDLE_S * 1000)
        left_ns = first_ns - self._sequencer.read_clock_ns()
        return max(0, min(int(_IDLE_S * 1000), left_ns // 1_000_000 + 1)) if left_ns > 0 else 0

    def _one_batch(self) -> None:
        try:
            for _ in range(self._config.daemon.batch):
                if not self._socket.getsockopt(zmq.EVENTS) & zmq.POLLIN:  # type: ignore[operator, arg-type]
                    break
                self._read_one()
            self._sequencer.end_due()
        finally:
            self._sequencer.release()
        out, self._out = self._out, []
        for identity, header, body in out:
            self._send(identity, header, body)

    def _read_one(self) -> None:
        sock = self._socket
        identity = sock.recv()
        header_frame = sock.recv(copy=False)
        if not header_frame.more:
            self._refuse_malformed(identity, 0, "a message is a header and a body")
            return
        body_frame = sock.recv(copy=False)
        if body_frame.more:
            while sock.recv(copy=False).more:
                pass
            self._refuse_malformed(identity, 0, "a message is two frames, no more")
            return
        try:
            header = wire.unpack_header(header_frame.bytes)
        except ProtocolError as trouble:
            self._refuse_malformed(identity, 0, str(trouble))
            return
        try:
            self._take(identity, header, body_frame.bytes)
        except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as trouble:
            self._refuse_malformed(identity, header.number, str(trouble)[:300])

    def _take(self, identity: bytes, header: wire.Header, body: bytes) -> None:
        if header.message == wire.Message.HELLO:
            self._hello(identity, wire.decode_hello(body))
            return
        peer = self._by_identity.get(identity)
        if peer is None or peer.session.id != header.session:
            why = "this connection has no such session; say hello first"
            self._refuse(identity, header.number, wire.FailureCode.NO_SESSION, why)
            return
        match header.message:
            case wire.Message.COMMAND:
                self._command(peer, header, body)
            case wire.Message.QUERY:
                query = wire.decode_query(body)
                sees_all = "operate" in self._config.roles_of(peer.session.client)
                now_ns = self._sequencer.read_clock_ns()
                reply = queries.answer(self._sequencer.engine, peer.session.client, query, now_ns, sees_all=sees_all)
                self._reply(peer.identity, wire.Message.QUERY, header.number, reply)
            case wire.Message.SETTLE:
                known = self._sequencer.settle(peer.session, header.number)
                kind = wire.Message.REFUSAL if known.is_refusal else wire.Message.SETTLE
                self._reply(identity, kind, header.number, translate.reply_of(known.reply, self._sequencer.now_ns))
            case _:
                self._refuse_malformed(identity, header.number, f"there is no message of kind {header.message}")

    def _command(self, peer: Peer, header: wire.Header, body: bytes) -> None:
        command = wire.decode_command(body)
        session = peer.session
        why = peers.not_allowed(session.client, self._config.roles_of(session.client), command)
        if why:
            self._refuse(peer.identity, header.number, wire.FailureCode.NOT_AUTHORIZED, why)
            return
        digest = blake2b(body, digest_size=8).digest()
        known = self._sequencer.command(session, header.number, header.acked, digest, translate.command_of(command))
        kind = wire.Message.REFUSAL if known.is_refusal else wire.Message.COMMAND
        reply = translate.reply_of(known.reply, self._sequencer.now_ns)
        self._reply(peer.identity, kind, header.number, reply)
        if session.ended_by is not None:
            self._forget(session)
            log.info("session.closed", client=session.client, session=session.id)

    def _hello(self, identity: bytes, hello: wire.Hello) -> None:
        problem = self._welcome_problem(identity, hello)
        if problem is not None:
            self._reply(identity, wire.Message.HELLO, 0, problem)
            return
        engine = self._sequencer.engine
        session = engine.sessions.live(hello.client)
        if session is None or session.token != hello.token:
            id = self._sequencer.open_session(hello.client, hello.token)
            if session is not None:
                self._forget(session)  # its next word is answered: say hello; and that hello: fenced
            session = engine.sessions.get(id)
            assert session is not None
            log.info("session.opened", client=hello.client, session=id)
        before = self._by_session.get(session.id)
        if before is not None:
            self._by_identity.pop(before.identity, None)
        peer = Peer(identity, session)
        self._by_identity[identity] = peer
        self._by_session[session.id] = peer
        welcome = wire.Welcome(
            wire.PROTOCOL, session.id, session.next_number, engine.bounds.window, engine.bounds.lease_ns
        )
        self._reply(identity, wire.Message.HELLO, 0, welcome)

    def _welcome_problem(self, identity: bytes, hello: wire.Hello) -> wire.Failed | None:
        """Why a hello is turned away, or None."""
        failed = wire.Failed
        if hello.protocol != wire.PROTOCOL:
            why = f"this daemon speaks protocol {wire.PROTOCOL}, not {hello.protocol}; install the matching pit-client"
            return failed(wire.FailureCode.PROTOCOL, why)
        problem = peers.bad_name(hello.client)
        if problem or len(hello.token) != 16:
            return failed(wire.FailureCode.INVALID_INPUT, problem or "a token is 16 bytes")
        bound = self._by_identity.get(identity)
        if bound is not None and bound.session.client != hello.client:
            return failed(wire.FailureCode.INVALID_INPUT, f"this connection is client {bound.session.client} already")
        if hello.seen_seq > self._sequencer.seq:
            why = (
                f"client {hello.client} has seen entry {hello.seen_seq} and this daemon knows {self._sequencer.seq}: "
                "it was restarted without its history. Look at your open orders, then connect anew"
            )
            return failed(wire.FailureCode.JOURNAL_BEHIND, why)
        live = self._sequencer.engine.sessions.live(hello.client)
        if hello.session and (live is None or live.token != hello.token):
            return failed(wire.FailureCode.FENCED, f"a newer session of client {hello.client} has taken over")
        if live is None and len(self._sequencer.engine.sessions) >= self._config.daemon.max_sessions:
            why = f"{self._config.daemon.max_sessions} sessions are open; raise [daemon] max_sessions, or close some"
            return failed(wire.FailureCode.CAPACITY_EXCEEDED, why)
        return None

    def _forget(self, session: Session) -> None:
        peer = self._by_session.pop(session.id, None)
        if peer is not None:
            self._by_identity.pop(peer.identity, None)

    def _refuse_malformed(self, identity: bytes, number: int, why: str) -> None:
        self.malformed += 1
        self._refuse(identity, number, wire.FailureCode.INVALID_INPUT, f"malformed: {why}")

    def _refuse(self, identity: bytes, number: int, code: wire.FailureCode, why: str) -> None:
        self._reply(identity, wire.Message.REFUSAL, number, wire.Failed(code, why))

    def _reply(self, identity: bytes, kind: int, number: int, reply: wire.Reply) -> None:
        header = wire.pack_header(kind, 0, number, self._sequencer.seq)
        self._out.append((identity, header, wire.encode(reply)))

    def _send(self, identity: bytes, header: bytes, body: bytes) -> None:
        """Lets a reply go. Who is gone or does not read loses it, and can ask for it again; nobody is waited for."""
        try:
            self._socket.send(identity, zmq.SNDMORE | zmq.NOBLOCK)
            self._socket.send(header, zmq.SNDMORE | zmq.NOBLOCK)
            self._socket.send(body, zmq.NOBLOCK)
        except zmq.ZMQError as trouble:
            self.unsendable += 1
            if trouble.errno == zmq.EHOSTUNREACH:
                self._by_identity.pop(identity, None)

    # ------------------------------------------------------------------------------------------ the endpoint

    def _lock_ipc(self, path: Path) -> None:
        """Takes the endpoint for this process: libzmq alone would silently take it away from a running daemon."""
        lock = path.with_name(path.name + ".lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
            self._lock_fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as trouble:
            raise EndpointFailed(f"{self.endpoint}: {lock} cannot be opened: {trouble.strerror}") from trouble
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as trouble:
            holder = os.pread(self._lock_fd, 32, 0).decode(errors="replace").strip()
            os.close(self._lock_fd)
            self._lock_fd = -1
            raise EndpointBusy(
                f"{self.endpoint}: another pitd (process {holder or 'unknown'}) serves it; stop that one, "
                "or give this one another [daemon] endpoint"
            ) from trouble
        os.ftruncate(self._lock_fd, 0)
        os.pwrite(self._lock_fd, f"{os.getpid()}\n".encode(), 0)


__all__ = ["CarryOutFailed", "Server"]
