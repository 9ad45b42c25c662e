"""The blocking socket: moves a session's messages, waits by the deadline, and tells the kinds of silence apart."""

from __future__ import annotations

import atexit
import errno
import os
import select
import socket
import struct
import threading
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import zmq

from . import _calls, _process, wire
from ._session import Session
from .errors import Closed, Forked, InvalidInput, NotAuthorized, PitError, PostedFailed, Unavailable
from .keys import Curve
from .types import CancelRequest

AGAIN_S = 0.25
"""After so long without an answer everything is said again: a connection that was lost took its messages along."""

GOODBYE_S = 0.3

PROBE_S = 0.2

_LOOK_OUT_S = 300e-6
"""How long the socket is watched for an answer, at the most, before sleeping until it comes."""

SEE_THROUGH_S = 1.0
"""How long a close or the end of the process waits for what was posted, at the most."""

_POLLIN, _NOBLOCK, _MORE = int(zmq.POLLIN), int(zmq.NOBLOCK), int(zmq.SNDMORE | zmq.NOBLOCK)
"""As plain numbers: pyzmq's are enums, and `a | b` of two of those costs more than a send."""

HEAR_NS = 9_000_000_000
"""How long a question for what is to be cancelled waits at the daemon, at the most."""

HEAR_AGAIN_S = 1.0
"""After so long it is said once more: a daemon that was started again has forgotten it."""

_FOR_ROOM = 0
"""Stands for a ticket: wait until the session takes one more command."""

_FOR_POSTED = -1
"""Stands for a ticket: wait until everything posted has been answered."""


class ZmqTransport:
    """One connection to a daemon. Calls from several threads take turns."""

    def __init__(
        self, client: str, endpoint: str, timeout_s: float, *, read_only: bool = False, curve: Curve | None = None
    ) -> None:
        self._endpoint = endpoint
        self._pid = _process.pid
        self._lock = threading.Lock()
        self._is_closed = False
        self._is_seen_through = False
        """Whether what it has posted is waited for when the process ends."""
        self._round_trip_s = _LOOK_OUT_S / 2
        """About what an answer has taken of late."""
        self._session = Session(client, os.urandom(16), read_only=read_only)
        self._bell: Bell | None = None
        self._is_hearing = False
        """Whether the daemon has been asked to tell what is to be cancelled."""
        self._asked_at = 0.0
        self._socket, self._handshake = open_socket(endpoint, curve)
        self._to_look_at = [(self._socket, _POLLIN)]
        try:
            self._session.greet()
            self._wait(None, time.monotonic() + timeout_s)
        except BaseException:
            self._handshake.close()
            self._socket.close(linger=0)
            self._is_closed = True
            raise

    def command(self, command: wire.Command, timeout_s: float) -> wire.Reply:
        deadline = time.monotonic() + timeout_s
        self._take_turn(timeout_s)
        try:
            if not self._session.has_room:
                self._wait(_FOR_ROOM, deadline)
            ticket = self._session.submit(command)
            try:
                reply = self._wait(ticket, deadline)
            except BaseException:
                self._session.give_up(ticket)  # a signal handler raised: its answer is settled before the next
                raise
            if reply is not None:
                return reply
            if self._session.give_up(ticket):
                raise _calls.unknown(command, self._endpoint, timeout_s)
            raise Unavailable(f"nothing was sent within {timeout_s:g} s: {self._why_silent()}")
        finally:
            if self._bell is not None:
                self._ring()
            self._lock.release()

    def query(self, query: wire.Query, timeout_s: float) -> wire.Reply:
        deadline = time.monotonic() + timeout_s
        self._take_turn(timeout_s)
        try:
            ticket = self._session.ask(query)
            reply = self._wait(ticket, deadline)
            if reply is not None:
                return reply
            self._session.give_up(ticket)
            raise Unavailable(f"no answer within {timeout_s:g} s: {self._why_silent()}")
        finally:
            if self._bell is not None:
                self._ring()
            self._lock.release()

    def post(self, command: wire.Command, order_id: str, timeout_s: float) -> None:
        self._take_turn(timeout_s)
        try:
            if not self._session.has_room:
                self._wait(_FOR_ROOM, time.monotonic() + timeout_s)
            self._session.post(command, order_id)
            send_outbox(self._session, self._socket)
            if not self._is_seen_through:
                self._is_seen_through = True
                at_exit.add(self)
        finally:
            if self._bell is not None:
                self._ring()
            self._lock.release()

    def flush(self, timeout_s: float) -> None:
        if not self._session.posted:
            return
        self._take_turn(timeout_s)
        try:
            self._session.confirm_posted()
            self._wait(_FOR_POSTED, time.monotonic() + timeout_s)
        finally:
            if self._bell is not None:
                self._ring()
            self._lock.release()

    def take_failures(self) -> Sequence[tuple[str, PitError]]:
        return self._session.take_failures(is_over=self._is_closed) if self._session.has_failures else ()

    def notices(self, wait_s: float, timeout_s: float) -> list[CancelRequest]:
        self._hear(timeout_s)
        deadline = time.monotonic() + wait_s
        while True:
            self._take_turn(timeout_s)
            try:
                self._move()
                found = self._session.take_notices()
                left_s = deadline - time.monotonic()
                if not found and left_s > 0 and self._bell is None:
                    self._bell = Bell(self._socket)
                bell = self._bell
            finally:
                if self._bell is not None:
                    self._ring()
                self._lock.release()
            if found or left_s <= 0 or bell is None:
                return found
            bell.wait(min(left_s, AGAIN_S))  # other threads have their turns meanwhile

    def fileno(self) -> int:
        if self._bell is None:
            self._take_turn(PROBE_S)
            try:
                self._bell = Bell(self._socket)
                self._bell.ring(True)  # somebody must look once
            finally:
                self._lock.release()
        return self._bell.fileno()

    def _hear(self, timeout_s: float) -> None:
        """Asks the daemon for the first time. Raises Unavailable."""
        if self._is_hearing:
            return
        reply = self.query(wire.AskCancels(), timeout_s)
        self._session.hear_first(_calls.expect(reply, wire.CancelsFor))
        self._is_hearing = True

    def _move(self) -> None:
        """Takes in what has come, and sees to it that a question is there. Raises what has ended the session."""
        session, now = self._session, time.monotonic()
        if session.is_watching and now - self._asked_at > HEAR_AGAIN_S:
            session.watch_again()
            self._asked_at = now
        self._take_in()
        if not session.is_watching and session.over is None:
            session.watch(HEAR_NS)
            self._asked_at = now
            self._take_in()
        if session.over is not None:
            raise session.over

    def _take_in(self) -> None:
        session, sock = self._session, self._socket
        send_outbox(session, sock)
        while sock.getsockopt(zmq.EVENTS) & zmq.POLLIN:  # type: ignore[operator, arg-type]
            session.received(sock.recv(), sock.recv())
        send_outbox(session, sock)

    def _ring(self) -> None:
        """Has the descriptor say what there is by now: the call may have taken libzmq's own notice away."""
        if self._bell is not None and not self._is_closed:
            self._take_in()
            session = self._session
            self._bell.ring(bool(session.notices) or not session.is_watching or session.over is not None)

    def leave(self) -> None:
        """Sees what was posted through before the process ends. Raises PostedFailed."""
        if _process.pid == self._pid and not self._is_closed:
            see_through(self._session, self._socket)

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def close(self) -> None:
        if _process.pid != self._pid or self._is_closed or not self._lock.acquire(timeout=GOODBYE_S):
            return
        try:
            if self._session.over is None and (self._session.is_open or self._session.posted):
                deadline = time.monotonic() + (SEE_THROUGH_S if self._session.posted else GOODBYE_S)
                if not self._session.has_room:
                    self._wait(_FOR_ROOM, deadline)
                ticket = self._session.submit(wire.Goodbye())  # its answer confirms what was posted before it
                self._wait(ticket, deadline)
        except PitError:
            pass  # the daemon will notice by itself
        finally:
            self._is_closed = True
            if self._bell is not None:
                self._bell.close()
                self._bell = None
            self._handshake.close()
            self._socket.close(linger=0)
            self._lock.release()

    # ------------------------------------------------------------------------------------------ within

    def _take_turn(self, timeout_s: float) -> None:
        if _process.pid != self._pid:
            raise Forked("this engine belongs to the parent process; connect anew in the child")
        if not self._lock.acquire(timeout=timeout_s):
            raise Unavailable(f"nothing was sent: other threads kept this engine busy for {timeout_s:g} s")
        if self._is_closed:
            self._lock.release()
            raise Closed("this engine has been closed")

    def _wait(self, ticket: int | None, deadline: float) -> wire.Reply | None:
        """The reply to a ticket, or None at the deadline. Without a ticket: until the daemon has welcomed us."""
        session, sock = self._session, self._socket
        began = time.monotonic()
        again_at = began + AGAIN_S
        while True:
            send_outbox(session, sock)
            if session.over is not None:
                raise session.over
            if (ticket is None and session.is_open) or (ticket == _FOR_ROOM and session.has_room):
                return None
            if ticket == _FOR_POSTED and not session.posted:
                return None
            now = time.monotonic()
            if now >= deadline:
                if ticket is None:
                    self._handshake.check(self._endpoint)
                    raise Unavailable(f"no welcome in time: {self._why_silent()}")
                if ticket == _FOR_ROOM:
                    why = f"nothing was sent: {session.in_flight} commands wait for their answers"
                    raise Unavailable(f"{why}: {self._why_silent()}")
                if ticket == _FOR_POSTED:
                    raise _calls.unconfirmed(session.posted)
                return None
            if now >= again_at:
                session.again()
                again_at = now + AGAIN_S
                continue
            if session.outbox or deadline - now < AGAIN_S:
                interest = zmq.POLLIN | (zmq.POLLOUT if session.outbox else 0)
                ready = sock.poll(max(1, int(min(deadline, again_at) * 1e3 - now * 1e3)), interest)
                if not ready & zmq.POLLIN:
                    continue
            if ticket is not None:
                self._look_out(now)
            try:
                header = sock.recv()  # for AGAIN_S at the most; a poll before it would cost more than it
            except zmq.Again:
                continue
            answer = session.received(header, sock.recv())
            if answer is not None and answer.ticket == ticket:
                self._round_trip_s += (min(time.monotonic() - began, 2 * _LOOK_OUT_S) - self._round_trip_s) / 8
                return answer.reply

    def _look_out(self, now: float) -> None:
        """Looks for the answer for a moment before it sleeps: to be woken costs more than a quick daemon takes. Who
        else wants the processor gets it meanwhile; a daemon that has been slow of late is not waited for in this way.
        """
        if self._round_trip_s > _LOOK_OUT_S:
            return
        until = now + min(2 * self._round_trip_s, _LOOK_OUT_S)
        while not zmq.zmq_poll(self._to_look_at, 0):
            os.sched_yield()
            if time.monotonic() > until:
                return

    def _why_silent(self) -> str:
        return why_silent(self._endpoint)


class Bell:
    """A descriptor that is readable while there is something to be told: libzmq's own alone says so but once."""

    def __init__(self, sock: zmq.Socket[bytes]) -> None:
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._either = select.epoll()
        self._either.register(self._event, select.EPOLLIN)
        self._either.register(int(sock.getsockopt(zmq.FD)), select.EPOLLIN)
        self._is_rung = False

    def fileno(self) -> int:
        return self._either.fileno()

    def wait(self, most_s: float) -> None:
        """Returns when it is readable, or after so long."""
        self._either.poll(most_s, 1)

    def ring(self, is_on: bool) -> None:
        if is_on and not self._is_rung:
            os.eventfd_write(self._event, 1)
        elif self._is_rung and not is_on:
            os.eventfd_read(self._event)
        self._is_rung = is_on

    def close(self) -> None:
        self._either.close()
        os.close(self._event)


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


def send_outbox(session: Session, sock: zmq.Socket[bytes]) -> None:
    """Sends what a session has to say, as far as there is a connection that takes it."""
    while session.outbox:
        frames = session.outbox[0]
        try:
            sock.send(frames[0], _MORE)
        except zmq.Again:
            return
        sock.send(frames[1])
        session.sent(frames)
        del session.outbox[0]


def see_through(session: Session, sock: zmq.Socket[bytes]) -> None:
    """Waits a bounded while until everything posted is answered. Raises PostedFailed for what is not, or has failed."""
    deadline = time.monotonic() + SEE_THROUGH_S
    session.confirm_posted()
    again_at = time.monotonic() + AGAIN_S
    while session.posted and session.over is None and (now := time.monotonic()) < deadline:
        if now >= again_at:
            session.again()
            again_at = now + AGAIN_S
        send_outbox(session, sock)
        if sock.poll(max(1, int((min(deadline, again_at) - now) * 1e3))):
            session.received(sock.recv(), sock.recv())
    failures = session.take_failures(is_over=True)
    if failures:
        raise PostedFailed(failures)


class _Leaves(Protocol):
    def leave(self) -> None: ...


class _AtExit:
    """Who has posted something, and sees it through when the process ends. What fails then is printed by Python."""

    def __init__(self) -> None:
        self._leaving: weakref.WeakSet[_Leaves] = weakref.WeakSet()
        self._is_registered = False

    def add(self, who: _Leaves) -> None:
        self._leaving.add(who)
        if not self._is_registered:
            self._is_registered = True
            atexit.register(self._leave)

    def _leave(self) -> None:
        failures: list[tuple[str, PitError]] = []
        for who in list(self._leaving):
            try:
                who.leave()
            except PostedFailed as told:
                failures += told.failures
        if failures:
            raise PostedFailed(failures)


at_exit = _AtExit()


def why_silent(endpoint: str) -> str:
    """What a plain connect finds at a silent endpoint: no socket, no permission, nobody listening, or no answer."""
    try:
        place = place_of(endpoint)
        if isinstance(place, str):
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(PROBE_S)
                probe.connect(place)
        else:
            with socket.create_connection(place, timeout=PROBE_S):
                pass
    except (OSError, ValueError) as trouble:
        return why_not_reached(endpoint, trouble)
    return why_not_reached(endpoint, None)


def place_of(endpoint: str) -> str | tuple[str, int]:
    """Where a plain socket connects to: a path, or host and port. Raises ValueError."""
    if endpoint.startswith("ipc://"):
        path = endpoint[len("ipc://") :]
        return "\0" + path[1:] if path.startswith("@") else path
    host, _, port = endpoint[len("tcp://") :].rpartition(":")
    return host.strip("[]"), int(port)


def why_not_reached(endpoint: str, trouble: OSError | ValueError | None) -> str:
    """What a plain connect to a silent endpoint has come to, in words. None: it went well."""
    match trouble:
        case None:
            return f"{endpoint} is there and does not answer; pitd is stopped or overloaded"
        case FileNotFoundError():
            folder = Path(endpoint[len("ipc://") :]).parent
            where = "" if folder.exists() else f" (not even {folder})"
            return f"there is no socket at {endpoint}{where}; is pitd running, and with this endpoint?"
        case PermissionError():
            return f"no permission to reach {endpoint}; does this user belong to the socket's group?"
        case ConnectionRefusedError():
            return f"nobody listens at {endpoint}; pitd has stopped"
        case TimeoutError():
            return f"{endpoint} does not take the connection; pitd is stopped or overloaded"
        case _:
            number = trouble.errno if isinstance(trouble, OSError) else None
            return f"{endpoint} cannot be reached: {errno.errorcode.get(number or 0, '')} {trouble}"
