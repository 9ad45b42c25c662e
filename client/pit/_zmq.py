"""The blocking socket: moves a session's messages, waits by the deadline, and tells the kinds of silence apart."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from pathlib import Path

import zmq

from . import _calls, wire
from ._session import Session
from .errors import Closed, Forked, InvalidInput, OutcomeUnknown, PitError, Unavailable

_AGAIN_S = 0.25
"""After so long without an answer everything is said again: a connection that was lost took its messages along."""

_GOODBYE_S = 0.3

_LOOK_OUT_S = 300e-6
"""How long the socket is watched for an answer, at the most, before sleeping until it comes."""

_FOR_ROOM = 0
"""Stands for a ticket: wait until the session takes one more command."""


class ZmqTransport:
    """One connection to a daemon. Calls from several threads take turns."""

    def __init__(self, client: str, endpoint: str, timeout_s: float) -> None:
        if not endpoint.startswith(("ipc://", "tcp://")):
            raise InvalidInput(f'endpoint: "ipc:///path" or "tcp://host:port" is wanted, not {endpoint!r}')
        self._endpoint = endpoint
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._is_closed = False
        self._round_trip_s = _LOOK_OUT_S / 2
        """About what an answer has taken of late."""
        self._session = Session(client, os.urandom(16))
        self._socket = _open_socket(endpoint)
        try:
            self._session.greet()
            self._wait(None, time.monotonic() + timeout_s)
        except BaseException:
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
                order_id = _calls.order_id_of(command)
                what = f"{type(command).__name__} of order {order_id}" if order_id else type(command).__name__
                raise OutcomeUnknown(
                    f"{what} was sent to {self._endpoint} and not answered within {timeout_s:g} s: "
                    "it may have happened; ask engine.outcome()",
                    order_id,
                )
            raise Unavailable(f"nothing was sent within {timeout_s:g} s: {self._why_silent()}")
        finally:
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
            self._lock.release()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def close(self) -> None:
        if os.getpid() != self._pid or self._is_closed or not self._lock.acquire(timeout=_GOODBYE_S):
            return
        try:
            if self._session.is_open and self._session.over is None:
                ticket = self._session.submit(wire.Goodbye())
                self._wait(ticket, time.monotonic() + _GOODBYE_S)
        except PitError:
            pass  # the daemon will notice by itself
        finally:
            self._is_closed = True
            self._socket.close(linger=0)
            self._lock.release()

    # ------------------------------------------------------------------------------------------ within

    def _take_turn(self, timeout_s: float) -> None:
        if os.getpid() != self._pid:
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
        again_at = began + _AGAIN_S
        while True:
            self._send_outbox()
            if session.over is not None:
                raise session.over
            if (ticket is None and session.is_open) or (ticket == _FOR_ROOM and session.has_room):
                return None
            now = time.monotonic()
            if now >= deadline:
                if ticket is None:
                    raise Unavailable(f"no welcome in time: {self._why_silent()}")
                if ticket == _FOR_ROOM:
                    why = f"nothing was sent: {session.in_flight} commands wait for their answers"
                    raise Unavailable(f"{why}: {self._why_silent()}")
                return None
            if now >= again_at:
                session.again()
                again_at = now + _AGAIN_S
                continue
            if session.outbox or deadline - now < _AGAIN_S:
                interest = zmq.POLLIN | (zmq.POLLOUT if session.outbox else 0)
                ready = sock.poll(max(1, int(min(deadline, again_at) * 1e3 - now * 1e3)), interest)
                if not ready & zmq.POLLIN:
                    continue
            if ticket is not None:
                self._look_out(now)
            try:
                header = sock.recv()  # for _AGAIN_S at the most; a poll before it would cost more than it
            except zmq.Again:
                continue
            answer = session.received(header, sock.recv())
            if answer is not None and answer.ticket == ticket:
                self._round_trip_s += (time.monotonic() - began - self._round_trip_s) / 8
                return answer.reply

    def _look_out(self, now: float) -> None:
        """Looks for the answer for a moment before it sleeps: to be woken costs more than a quick daemon takes. Who
        else wants the processor gets it meanwhile; a daemon that has been slow of late is not waited for in this way.
        """
        if self._round_trip_s > _LOOK_OUT_S:
            return
        until = now + min(2 * self._round_trip_s, _LOOK_OUT_S)
        while not self._socket.getsockopt(zmq.EVENTS) & zmq.POLLIN:  # type: ignore[operator, arg-type]
            os.sched_yield()
            if time.monotonic() > until:
                return

    def _send_outbox(self) -> None:
        session = self._session
        while session.outbox:
            frames = session.outbox[0]
            try:
                self._socket.send(frames[0], zmq.SNDMORE | zmq.NOBLOCK)
            except zmq.Again:
                return
            self._socket.send(frames[1])
            session.sent(frames)
            del session.outbox[0]

    def _why_silent(self) -> str:
        return why_silent(self._endpoint)


def _open_socket(endpoint: str) -> zmq.Socket[bytes]:
    sock: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
    sock.setsockopt(zmq.IMMEDIATE, 1)  # else messages queue up for nobody
    sock.setsockopt(zmq.LINGER, 0)
    sock.setsockopt(zmq.RCVTIMEO, int(_AGAIN_S * 1000))
    sock.setsockopt(zmq.RECONNECT_IVL, 20)
    sock.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
    sock.setsockopt(zmq.MAXMSGSIZE, 16 * wire.MAX_MESSAGE_BYTES)
    try:
        sock.connect(endpoint)
    except zmq.ZMQError as trouble:
        sock.close(linger=0)
        raise InvalidInput(f"endpoint: {endpoint!r} cannot be meant: {trouble}") from trouble
    return sock


def why_silent(endpoint: str) -> str:
    """What a plain connect finds at a silent endpoint: no socket, no permission, nobody listening, or no answer."""
    try:
        if endpoint.startswith("ipc://"):
            path = endpoint[len("ipc://") :]
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(0.2)
                probe.connect("\0" + path[1:] if path.startswith("@") else path)
        else:
            host, _, port = endpoint[len("tcp://") :].rpartition(":")
            with socket.create_connection((host.strip("[]"), int(port)), timeout=0.2):
                pass
    except FileNotFoundError:
        folder = Path(endpoint[len("ipc://") :]).parent
        where = "" if folder.exists() else f" (not even {folder})"
        return f"there is no socket at {endpoint}{where}; is pitd running, and with this endpoint?"
    except PermissionError:
        return f"no permission to reach {endpoint}; does this user belong to the socket's group?"
    except ConnectionRefusedError:
        return f"nobody listens at {endpoint}; pitd has stopped"
    except TimeoutError:
        return f"{endpoint} does not take the connection; pitd is stopped or overloaded"
    except (OSError, ValueError) as trouble:
        name = errno.errorcode.get(trouble.errno, "") if isinstance(trouble, OSError) and trouble.errno else ""
        return f"{endpoint} cannot be reached: {name} {trouble}"
    return f"{endpoint} is there and does not answer; pitd is stopped or overloaded"
