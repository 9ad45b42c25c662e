"""A connection by libzmq's own socket: over tcp, with keys where they are wanted, and to a daemon that is older."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator

import zmq

from . import wire
from ._session import Session
from .errors import InvalidInput, NotAuthorized, ProtocolError, Unavailable
from .keys import Curve
from .zmtp import Message

AGAIN_S = 0.25

_POLLIN, _NOBLOCK, _MORE = int(zmq.POLLIN), int(zmq.NOBLOCK), int(zmq.SNDMORE | zmq.NOBLOCK)
"""As plain numbers: pyzmq's are enums, and `a | b` of two of those costs more than a send."""


class Dealer:
    """A socket that connects by itself, as often as it must."""

    def __init__(self, endpoint: str, curve: Curve | None = None) -> None:
        """Raises InvalidInput when the endpoint can't be meant."""
        self._socket, self._handshake = open_socket(endpoint, curve)
        self._to_look_at = [(self._socket, _POLLIN)]

    def fileno(self) -> int:
        """A descriptor that turns readable when something has changed, and says so but once."""
        return int(self._socket.getsockopt(zmq.FD))

    def begin(self) -> None:
        """libzmq sends whole messages alone."""

    def send(self, session: Session) -> None:
        """Sends what a session has to say, as far as there is a connection that takes it."""
        sock = self._socket
        while session.outbox:
            frames = session.outbox[0]
            try:
                sock.send(frames[0], _MORE)
            except zmq.Again:
                return
            sock.send(frames[1])
            session.sent(frames)
            del session.outbox[0]

    def receive(self, session: Session, most_s: float, look_out_s: float = 0.0) -> Message | None:
        """The next message; None when none has come by then, or something can be sent."""
        sock = self._socket
        if session.outbox or most_s < AGAIN_S:
            interest = zmq.POLLIN | (zmq.POLLOUT if session.outbox else 0)
            if not sock.poll(max(1, int(most_s * 1e3)), interest) & zmq.POLLIN:
                return None
        elif look_out_s:
            self._look_out(look_out_s)
        try:
            header = sock.recv()  # for AGAIN_S at the most; a poll before it would cost more than it
        except zmq.Again:
            return None
        return header, sock.recv()

    def take(self) -> Message | None:
        """The next message that is here. Raises ProtocolError."""
        try:
            header = self._socket.recv(_NOBLOCK)
        except zmq.Again:
            return None
        try:
            return header, self._socket.recv(_NOBLOCK)
        except zmq.Again:
            raise ProtocolError("the daemon's message is a header without a body") from None

    def drain(self) -> Iterator[Message]:
        if zmq.zmq_poll(self._to_look_at, 0):  # to ask costs less than a receive in vain, but more than one
            while (message := self.take()) is not None:
                yield message

    def check(self, endpoint: str) -> None:
        """Raises NotAuthorized when the daemon refused the key; Unavailable when it is not the daemon that is meant."""
        self._handshake.check(endpoint)

    def close(self) -> None:
        self._handshake.close()
        self._socket.close(linger=0)

    def _look_out(self, most_s: float) -> None:
        """Looks for a message for a moment before it sleeps: to be woken costs more than a quick daemon takes. Who
        else wants the processor gets it meanwhile.
        """
        until = time.perf_counter() + most_s
        while not zmq.zmq_poll(self._to_look_at, 0):
            os.sched_yield()
            if time.perf_counter() > until:
                return


class Handshake:
    """What becomes of the exchange of keys, which libzmq tells by a socket of its own; nothing where there are none."""

    def __init__(self, sock: zmq.Socket[bytes], curve: Curve | None) -> None:
        self._sock = sock
        self._monitor = None if curve is None else sock.get_monitor_socket(_HANDSHAKE_FAILED)

    def check(self, endpoint: str) -> None:
        """Raises NotAuthorized when the daemon refused the key; Unavailable when it is not the daemon that is meant."""
        failed = 0
        while self._monitor is not None and self._monitor.poll(0):
            failed |= struct.unpack("=hi", self._monitor.recv_multipart()[0])[0]
        if failed & zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            raise NotAuthorized(f"{endpoint} does not know this client's key: see [clients.NAME] key_file there")
        if failed:
            raise Unavailable(
                f"{endpoint} does not speak to this client: is server_key the public key of that daemon, and has it a "
                "[daemon] key_file?"
            )

    def close(self) -> None:
        if self._monitor is not None:
            self._sock.disable_monitor()
            self._monitor.close(linger=0)
            self._monitor = None


_HANDSHAKE_FAILED = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)


def open_socket(endpoint: str, curve: Curve | None = None) -> tuple[zmq.Socket[bytes], Handshake]:
    """A socket that connects by itself, as often as it must, and what tells of its handshake.

    Raises InvalidInput when the endpoint can't be meant.
    """
    if not endpoint.startswith(("ipc://", "tcp://")):
        raise InvalidInput(f'endpoint: "ipc:///path" or "tcp://host:port" is wanted, not {endpoint!r}')
    sock: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
    if curve is not None:
        sock.setsockopt_string(zmq.CURVE_SERVERKEY, curve.server)
        sock.setsockopt_string(zmq.CURVE_PUBLICKEY, curve.own.public)
        sock.setsockopt_string(zmq.CURVE_SECRETKEY, curve.own.secret)
    sock.setsockopt(zmq.IMMEDIATE, 1)  # else messages queue up for nobody
    sock.setsockopt(zmq.LINGER, 0)
    sock.setsockopt(zmq.RCVTIMEO, int(AGAIN_S * 1000))
    sock.setsockopt(zmq.RECONNECT_IVL, 20)
    sock.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
    sock.setsockopt(zmq.MAXMSGSIZE, 16 * wire.MAX_MESSAGE_BYTES)
    handshake = Handshake(sock, curve)
    try:
        sock.connect(endpoint)
    except zmq.ZMQError as trouble:
        handshake.close()
        sock.close(linger=0)
        raise InvalidInput(f"endpoint: {endpoint!r} cannot be meant: {trouble}") from trouble
    return sock, handshake
