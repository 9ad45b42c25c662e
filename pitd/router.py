"""Connections by libzmq's ROUTER: over tcp, with keys where they are wanted. The only daemon file that knows ZeroMQ."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable, Sequence

import zmq

from pit import wire, zmtp

from . import zap
from .config import Config
from .door import Frames, Message, Speaker
from .errors import EndpointBusy, EndpointFailed
from .keygen import own_pair
from .peers import Proof, origin_of
from .tally import Seldom

_EVENT = struct.Struct("=hi")
"""The first frame of what a socket monitor says: the event, and its value."""

_ACCEPTED = int(zmq.EVENT_ACCEPTED)

_POLLIN, _NOBLOCK, _SNDMORE, _SRCFD = int(zmq.POLLIN), int(zmq.NOBLOCK), int(zmq.SNDMORE), int(zmq.SRCFD)
"""As plain numbers: pyzmq's are enums, and `a | b` of two of those costs more than a send."""


class Router:
    """One ROUTER socket. Identities are drawn by it, but a connection may choose one, also one that was another's."""

    names_connections = False
    has_begun = False  # libzmq takes in whole messages alone

    def __init__(self, config: Callable[[], Config], most: int, is_known: Callable[[int], bool]) -> None:
        """`config` gives the configuration in force; `most` connections are there at once; `is_known`: whether a
        session speaks over the one with that descriptor.
        """
        self._config = config
        self._most = most
        self._is_known = is_known
        self._open: dict[int, None] = {}
        """The descriptors of the connections, oldest first."""
        self._seldom = Seldom()
        settings = config().daemon
        self.endpoint = settings.endpoint
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket: zmq.Socket[bytes] = self._context.socket(zmq.ROUTER)
        self._look = [(self._socket, _POLLIN)]
        """What `zmq_poll` is asked about: half the price of the socket's own EVENTS."""
        self._monitor = self._socket.get_monitor_socket(_ACCEPTED | zmq.EVENT_DISCONNECTED)
        self._has_key = bool(settings.key_file) and settings.endpoint.startswith("tcp://")
        self._gate: zmq.Socket[bytes] = self._context.socket(zmq.ROUTER)
        self._gatekeeper = zap.Gatekeeper()
        self._poller = zmq.Poller()
        for each in (self._socket, self._monitor, self._gate):
            self._poller.register(each, zmq.POLLIN)
        self._frame: zmq.Frame | None = None
        """A frame of the message that was given last."""

    @property
    def keys_refused(self) -> int:
        return self._gatekeeper.refused

    def bind(self, held_fd: int | None) -> None:
        if held_fd is not None:
            self._socket.setsockopt(zmq.USE_FD, held_fd)
        if self._has_key:
            self._ask_for_keys()
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._socket.setsockopt(zmq.MAXMSGSIZE, wire.MAX_MESSAGE_BYTES)
        self._socket.setsockopt(zmq.LINGER, 200)
        self._socket.setsockopt(zmq.BACKLOG, 512)
        self._socket.setsockopt(zmq.SNDHWM, 2_000)
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
        pair = own_pair(self._config().daemon.key_file)
        self._gate.setsockopt(zmq.LINGER, 0)
        self._gate.bind(zap.ENDPOINT)
        self._socket.setsockopt(zmq.CURVE_SERVER, 1)
        self._socket.setsockopt_string(zmq.CURVE_SECRETKEY, pair.secret)
        self._socket.setsockopt(zmq.ZAP_DOMAIN, zap.DOMAIN)

    def watch_also(self, fd: int) -> None:
        self._poller.register(fd, zmq.POLLIN)

    def wait(self, most_ms: int) -> bool:
        ready = self._poller.poll(most_ms)
        return bool(ready) and (len(ready) > 1 or ready[0][0] is not self._socket)

    def is_spoken_to(self) -> bool:
        return bool(zmq.zmq_poll(self._look, 0))

    def next(self, taken: int = 0) -> Message | None:
        sock = self._socket
        if taken == 1 and not zmq.zmq_poll(self._look, 0):
            return None  # it came alone, as those of a quiet client do: to ask costs less than a receive in vain
        try:
            identity = sock.recv(_NOBLOCK)
        except zmq.Again:
            return None
        self._frame = header = sock.recv(copy=False)
        if not header.more:
            return identity, b"", zmtp.wrong(1)
        body = sock.recv(copy=False)
        if body.more:
            while sock.recv(copy=False).more:
                pass
            return identity, b"", zmtp.wrong(3)
        head = header.bytes
        return (identity, head, body.bytes) if head else (identity, b"", zmtp.wrong(2))

    def speaker(self, identity: bytes) -> Speaker:
        """It proves itself by the kernel's word (over ipc), or by the key that we have checked ourselves."""
        source_fd, address = self.place(identity)
        frame = self._frame
        assert frame is not None
        origin = origin_of(address)
        if origin is not None:
            proof = Proof(origin=origin)
        else:
            proof = Proof(key=str(frame.get("User-Id")) if self._has_key else None)
        return Speaker(proof, origin, source_fd, address)

    def place(self, identity: bytes) -> tuple[int, str]:
        frame = self._frame
        assert frame is not None
        return int(frame.get(_SRCFD)), str(frame.get("Peer-Address"))

    def send(self, out: Sequence[Frames], lost: Callable[[bytes], None]) -> int:
        sock, unsent = self._socket, 0
        for identity, header, body in out:
            try:
                sock.send(identity, _SNDMORE | _NOBLOCK)
                sock.send(header, _SNDMORE | _NOBLOCK)
                sock.send(body, _NOBLOCK)
            except zmq.ZMQError as trouble:
                unsent += 1
                if trouble.errno == zmq.EHOSTUNREACH:
                    lost(identity)
        return unsent

    def ended(self, tell: Callable[[int], None]) -> None:
        while self._monitor.getsockopt(zmq.EVENTS) & zmq.POLLIN:  # type: ignore[operator, arg-type]
            event, source_fd = _EVENT.unpack(self._monitor.recv_multipart()[0])
            if event == _ACCEPTED:
                self._open[source_fd] = None
                if len(self._open) > self._most:
                    self._make_room()
            else:
                self._open.pop(source_fd, None)
                tell(source_fd)

    def _make_room(self) -> None:
        """Ends the oldest connection that no session speaks over, else the newest: libzmq takes in whoever comes, and
        the journal needs descriptors, too.
        """
        cut = next((fd for fd in self._open if not self._is_known(fd)), next(reversed(self._open)))
        del self._open[cut]
        self._seldom.warning("connections.full", self.endpoint, endpoint=self.endpoint, open=self._most)
        with contextlib.suppress(OSError):
            own = socket.socket(fileno=cut)  # no copy: there may be no descriptor left for one
            try:
                own.shutdown(socket.SHUT_RDWR)
            finally:
                own.detach()

    def tend(self) -> None:
        """A port is found as long as it is open."""

    def let_in(self) -> None:
        while self._gate.getsockopt(zmq.EVENTS) & zmq.POLLIN:  # type: ignore[operator, arg-type]
            answer = self._gatekeeper.answer(self._config(), self._gate.recv_multipart())
            if answer is not None:
                self._gate.send_multipart(answer)

    def close(self) -> None:
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._gate.close(linger=0)
        self._socket.close(linger=200)
        self._context.term()
