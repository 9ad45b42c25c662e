"""The blocking transport: moves a session's messages, waits by the deadline, and tells the kinds of silence apart."""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import select
import socket
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Protocol

from . import _calls, _process, wire
from ._session import Flight, Session
from ._zmq_pipe import Link, Pipe
from .errors import CapacityExceeded, Closed, Forked, InvalidInput, PitError, PostedFailed, Unavailable
from .keys import Curve
from .types import CancelRequest

AGAIN_S = 0.25
"""After so long without an answer everything is said again: a connection that was lost took its messages along."""

GOODBYE_S = 0.3

PROBE_S = 0.2

_LOOK_OUT_S = 300e-6
"""How long an answer is looked out for, at the most, before sleeping until it comes. Not at all where answers have
taken longer of late.
"""

_COLD_AFTER_S = 2e-3
"""After so long without an answer all that is needed for the next has left the processor's caches, at both ends, and
the daemon sleeps: it is woken before the command is made, and the answer looked out for as long as such a one takes.
"""

_LOOK_OUT_COLD_S = 1e-3

SEE_THROUGH_S = 1.0
"""How long a close or the end of the process waits for what was posted, at the most."""

HEAR_NS = 9_000_000_000
"""How long a question for what is to be cancelled waits at the daemon, at the most."""

HEAR_AGAIN_S = 1.0
"""After so long it is said once more: a daemon that was started again has forgotten it."""

_now = time.monotonic

_PROBE_EVERY_S = 0.1
"""How often is looked whether a daemon has come back, while somebody waits to be told by a descriptor."""


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
        """About what an answer has taken of late, where one came shortly before it."""
        self._answered_at = 0.0
        self._session = Session(client, os.urandom(16), read_only=read_only)
        self._bell: Bell | None = None
        self._is_hearing = False
        """Whether the daemon has been asked to tell what is to be cancelled."""
        self._asked_at = 0.0
        self._is_probing = False
        self._link = open_link(endpoint, curve)
        deadline = time.monotonic() + timeout_s
        try:
            self._session.greet()
            self._wait_for_welcome(deadline)
            if self._session.is_older and isinstance(self._link, Pipe):
                self._link.close()
                self._link = open_link(endpoint, curve, is_older=True)
                self._session.greet()
                self._wait_for_welcome(deadline)
        except BaseException:
            self._link.close()
            self._is_closed = True
            raise
        if isinstance(self._link, Pipe):
            self._link.opened, self._link.dropped = self._opened, self._dropped

    def command(self, command: wire.Command, timeout_s: float) -> wire.Reply:
        now = _now()
        deadline = now + timeout_s
        self._take_turn(timeout_s)
        try:
            if now - self._answered_at > _COLD_AFTER_S:
                self._link.begin()
            flight = self._submit(command, None, deadline)
            try:
                reply = self._wait(flight, deadline)
            except BaseException:
                self._session.give_up(flight)  # a signal handler raised: its answer is settled before the next
                raise
            if reply is not None:
                return reply
            if self._session.give_up(flight):
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
            flight = self._session.ask(query)
            reply = self._wait(flight, deadline)
            if reply is not None:
                return reply
            self._session.give_up(flight)
            raise Unavailable(f"no answer within {timeout_s:g} s: {self._why_silent()}")
        finally:
            if self._bell is not None:
                self._ring()
            self._lock.release()

    def post(self, command: wire.Command, order_id: str, timeout_s: float) -> None:
        deadline = _now() + timeout_s
        self._take_turn(timeout_s)
        try:
            self._submit(command, order_id, deadline)
            self._link.send(self._session)
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
            self._wait(None, _now() + timeout_s, lambda: not self._session.posted)
            if self._session.posted:
                raise _calls.unconfirmed(self._session.posted)
        finally:
            if self._bell is not None:
                self._ring()
            self._lock.release()

    def take_failures(self) -> Sequence[tuple[str, PitError]]:
        if not self._session.failures and not self._is_closed:
            return ()
        return self._session.take_failures(is_over=self._is_closed)

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
                    self._bell = Bell(self._link.fileno())
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
                self._bell = Bell(self._link.fileno())
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
        session, link = self._session, self._link
        link.send(session)
        while (message := link.take()) is not None:
            session.received(*message)
        link.send(session)

    def _ring(self) -> None:
        """Has the descriptor say what there is by now: the call may have taken libzmq's own notice away."""
        if self._bell is not None and not self._is_closed:
            self._take_in()
            session = self._session
            self._bell.ring(bool(session.notices) or not session.is_watching or session.over is not None)
            if self._link.fileno() < 0 and session.over is None and not self._is_probing:
                self._is_probing = True
                threading.Thread(target=self._probe, args=(self._bell,), name="pit", daemon=True).start()

    def _opened(self, fd: int) -> None:
        if self._bell is not None:
            self._bell.follow(fd)

    def _dropped(self, fd: int) -> None:
        if self._bell is not None:
            self._bell.leave(fd)

    def _probe(self, bell: Bell) -> None:
        """Rings once a daemon listens again: without a connection there is nothing that would turn readable."""
        while not self._is_closed and reached(self._endpoint) is not None:
            time.sleep(_PROBE_EVERY_S)
        self._is_probing = False
        bell.ring(True)

    def leave(self) -> None:
        """Sees what was posted through before the process ends. Raises PostedFailed."""
        if _process.pid == self._pid and not self._is_closed:
            see_through(self._session, self._link)

    monotonic_ns = staticmethod(time.monotonic_ns)

    def close(self) -> None:
        if _process.pid != self._pid or self._is_closed or not self._lock.acquire(timeout=GOODBYE_S):
            return
        try:
            if self._session.over is None and (self._session.is_open or self._session.posted):
                deadline = time.monotonic() + (SEE_THROUGH_S if self._session.posted else GOODBYE_S)
                # its answer confirms what was posted before it
                self._wait(self._submit(wire.Goodbye(), None, deadline), deadline)
        except PitError:
            pass  # the daemon will notice by itself
        finally:
            self._is_closed = True
            if self._bell is not None:
                self._bell.close()
                self._bell = None
            self._link.close()
            self._lock.release()

    # ------------------------------------------------------------------------------------------ within

    def _take_turn(self, timeout_s: float) -> None:
        if _process.pid != self._pid:
            raise Forked("this engine belongs to the parent process; connect anew in the child")
        if not self._lock.acquire(False):
            if self._is_interrupted():
                why = "it would wait for the call that it interrupts; let it set a flag that your loop looks at"
                raise Unavailable(f"nothing was sent: a signal handler called this engine in mid-call: {why}")
            if not self._lock.acquire(timeout=timeout_s):
                raise Unavailable(f"nothing was sent: other threads kept this engine busy for {timeout_s:g} s")
        if self._is_closed:
            self._lock.release()
            raise Closed("this engine has been closed")

    def _is_interrupted(self) -> bool:
        """Whether this thread is in a call of this engine already, so that a signal handler must have made this one."""
        frame: FrameType | None = sys._getframe(3)
        while frame is not None:
            if frame.f_code in _IN_TURN and frame.f_locals.get("self") is self:
                return True
            frame = frame.f_back
        return False

    def _submit(self, command: wire.Command, posted_for: str | None, deadline: float) -> Flight:
        """Takes a command on its way as soon as there is room for it. Raises Unavailable when there is none in time."""
        session = self._session
        try:
            return session.submit(command, posted_for)
        except CapacityExceeded:
            self._wait(None, deadline, lambda: session.has_room)
        if not session.has_room:
            why = f"nothing was sent: {session.in_flight} commands wait for their answers"
            raise Unavailable(f"{why}: {self._why_silent()}")
        return session.submit(command, posted_for)

    def _wait_for_welcome(self, deadline: float) -> None:
        self._wait(None, deadline, lambda: self._session.is_open)
        if not self._session.is_open:
            self._link.check(self._endpoint)
            raise Unavailable(f"no welcome in time: {self._why_silent()}")

    def _wait(
        self, flight: Flight | None, deadline: float, has_happened: Callable[[], object] | None = None
    ) -> wire.Reply | None:
        """The reply to what has been sent, or None at the deadline; or once what else is waited for has happened."""
        session, link, round_trip_s = self._session, self._link, self._round_trip_s
        now = began = _now()
        is_cold = began - self._answered_at > _COLD_AFTER_S
        look_out_s = 0.0
        if flight is None:
            pass
        elif is_cold:
            look_out_s = _LOOK_OUT_COLD_S
        elif round_trip_s <= _LOOK_OUT_S:
            look_out_s = 2 * round_trip_s if 2 * round_trip_s < _LOOK_OUT_S else _LOOK_OUT_S
        again_at = began + AGAIN_S
        while True:
            if session.outbox:
                link.send(session)
            if session.over is not None:
                raise session.over
            if has_happened is not None and has_happened():
                return None
            if now >= deadline:
                return None
            if now >= again_at:
                session.again()
                again_at = now + AGAIN_S
                continue
            message = link.receive(session, (deadline if deadline < again_at else again_at) - now, look_out_s)
            now = _now()
            if message is None:
                link.send(session)  # perhaps there is a connection again
                continue
            answered = session.received(*message)
            if answered is not None and answered is flight:
                self._answered_at = now
                if not is_cold:
                    took_s = now - began if now - began < 2 * _LOOK_OUT_S else 2 * _LOOK_OUT_S
                    self._round_trip_s += (took_s - round_trip_s) / 8
                return answered.reply

    def _why_silent(self) -> str:
        return why_silent(self._endpoint)


_IN_TURN = frozenset(
    each.__code__
    for each in (
        ZmqTransport.command,
        ZmqTransport.query,
        ZmqTransport.post,
        ZmqTransport.flush,
        ZmqTransport.close,
        ZmqTransport._move,
        ZmqTransport._ring,
    )
)
"""What runs while its engine is taken, and for how long that may be."""


class Bell:
    """A descriptor that is readable while there is something to be told: libzmq's own says so but once, and that of a
    plain connection goes with it.
    """

    def __init__(self, fd: int) -> None:
        self._lock = threading.Lock()
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._either = select.epoll()
        self._either.register(self._event, select.EPOLLIN)
        self._is_rung = False
        if fd >= 0:
            self.follow(fd)

    def fileno(self) -> int:
        return self._either.fileno()

    def follow(self, fd: int) -> None:
        """Is readable while that one is, too."""
        self._either.register(fd, select.EPOLLIN)

    def leave(self, fd: int) -> None:
        """That one is about to be closed."""
        with contextlib.suppress(FileNotFoundError):
            self._either.unregister(fd)

    def wait(self, most_s: float) -> None:
        """Returns when it is readable, or after so long."""
        self._either.poll(most_s, 1)

    def ring(self, is_on: bool) -> None:
        with self._lock:
            if self._either.closed:
                return
            if is_on and not self._is_rung:
                os.eventfd_write(self._event, 1)
            elif self._is_rung and not is_on:
                os.eventfd_read(self._event)
            self._is_rung = is_on

    def close(self) -> None:
        with self._lock:
            self._either.close()
            os.close(self._event)


def open_link(endpoint: str, curve: Curve | None = None, *, is_older: bool = False) -> Link:
    """What moves messages to and from that place. `is_older`: a daemon of the release before this one, which closes
    connections that answer no heartbeats. Raises InvalidInput when the endpoint can't be meant.
    """
    if not endpoint.startswith(("ipc://", "tcp://")):
        raise InvalidInput(f'endpoint: "ipc:///path" or "tcp://host:port" is wanted, not {endpoint!r}')
    if endpoint.startswith("ipc://") and not is_older:
        place = place_of(endpoint)
        assert isinstance(place, str)
        return Pipe(endpoint, place)
    from ._zmq_dealer import Dealer  # takes longer to load than to connect

    return Dealer(endpoint, curve)


def see_through(session: Session, link: Link) -> None:
    """Waits a bounded while until everything posted is answered. Raises PostedFailed for what is not, or has failed."""
    deadline = time.monotonic() + SEE_THROUGH_S
    session.confirm_posted()
    again_at = time.monotonic() + AGAIN_S
    while session.posted and session.over is None and (now := time.monotonic()) < deadline:
        if now >= again_at:
            session.again()
            again_at = now + AGAIN_S
        link.send(session)
        message = link.receive(session, min(deadline, again_at) - now)
        if message is not None:
            session.received(*message)
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
    return why_not_reached(endpoint, reached(endpoint))


def reached(endpoint: str) -> OSError | ValueError | None:
    """What keeps a plain connect from a place; None when it is reached."""
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
        return trouble
    return None


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
