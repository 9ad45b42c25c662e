"""The asyncio transport: many calls under way on one session, no thread, one future a call.

A plain connection is readable as long as there is something to read. libzmq's descriptor says once that something has
changed, and any send or receive may take that notice away: that socket is emptied whenever it is touched, and looked at
once more after each send.
"""

from __future__ import annotations

import asyncio
import math
import os
import socket
import time
from collections import deque
from collections.abc import Sequence

from . import _calls, _process, wire
from ._session import Flight, Session
from ._zmq import (
    AGAIN_S,
    GOODBYE_S,
    HEAR_AGAIN_S,
    HEAR_NS,
    PROBE_S,
    SEE_THROUGH_S,
    Bell,
    at_exit,
    open_link,
    place_of,
    see_through,
    why_not_reached,
)
from ._zmq_pipe import RECONNECT_S, Pipe
from .errors import CapacityExceeded, Closed, Forked, PitError, ProtocolError, Unavailable
from .keys import Curve
from .types import CancelRequest

_NOBODY_WAITS_S = 4 * AGAIN_S
"""How often is said again what nobody waits for: its number is to be settled."""

_RECONNECT_FOR_NOBODY_S = 0.1
"""How often another connection is tried while nobody waits for an answer, but for what is to be cancelled."""


_Future, _running_loop = asyncio.Future, asyncio.get_running_loop


class _Call:
    """A task that waits for room, for the welcome, or until all that was posted is answered. `woken` is done once that
    is so, or never will be; what got room is answered by the same.
    """

    __slots__ = ("asked", "began", "deadline", "flight", "posted_for", "trouble", "woken")

    def __init__(self, asked: wire.Command | None, woken: asyncio.Future[None], began: float, deadline: float) -> None:
        self.asked = asked
        self.woken = woken
        self.began = began
        self.deadline = deadline
        self.flight: Flight | None = None
        """None while it waits for room."""
        self.posted_for: str | None = None
        """The order that it is about, where nobody waits for its answer."""
        self.trouble: PitError | None = None

    @property
    def tells(self) -> bool:
        """Whether it tells what is so: that is said even when its task is cancelled."""
        return self.asked is not None and not isinstance(self.asked, _calls.ASKING)


def _wake(call: _Call | Flight) -> None:
    if call.woken is not None and not call.woken.done():
        call.woken.set_result(None)


def _go_on(woken: asyncio.Future[None]) -> None:
    """Has the one task that waits for it go on now, and not with the loop's next turn: to arrange for that takes longer
    than to decode an answer. For a callback of the loop alone: within another task none can go on.
    """
    waiting = getattr(woken, "_callbacks", None)
    if waiting is None or len(waiting) != 1:
        woken.set_result(None)
        return
    ((callback, context),) = waiting
    woken.remove_done_callback(callback)
    woken.set_result(None)
    context.run(callback, woken)


class AsyncZmqTransport:
    """One connection to a daemon, for the tasks of the event loop that it is made in."""

    def __init__(self, client: str, endpoint: str, *, read_only: bool = False, curve: Curve | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._time = time.monotonic if type(self._loop).time is asyncio.BaseEventLoop.time else self._loop.time
        self._endpoint = endpoint
        self._pid = _process.pid
        self._is_closed = False
        self._is_seen_through = False
        """Whether what it has posted is waited for when the process ends."""
        self._session = Session(client, os.urandom(16), read_only=read_only)
        self._opening: _Call | None = None
        self._room: deque[_Call] = deque()
        """Commands that wait until the session takes one more, first come, first served."""
        self._flushing: list[_Call] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._said_again_at = -math.inf
        self._is_look_due = False
        self._bell: Bell | None = None
        self._is_hearing = False
        self._hearers: list[asyncio.Future[None]] = []
        """Who waits to hear what is to be cancelled."""
        self._curve = curve
        self._is_ended = False
        self._fd = -1
        self._is_writing = False
        """Whether the loop looks out for room to write."""
        self._use(is_older=False)

    async def open(self, timeout_s: float) -> None:
        """Returns once the daemon has welcomed this client. Raises Unavailable, ProtocolError, or its no."""
        call = self._opening = self._begin(None, timeout_s)
        try:
            self._session.greet()
            self._put(call.began, timeout_s)
            await call.woken
            self._raise_trouble(call)
            if not self._session.is_open:
                self._link.check(self._endpoint)
                raise Unavailable(f"no welcome in time: {await self._why_silent()}")
            if self._session.is_older and self._pipe is not None:
                self._link.close()
                self._use(is_older=True)
                await self.open(max(0.0, call.deadline - self._time()))
        except BaseException:
            self._end()
            raise
        finally:
            self._opening = None

    async def command(self, command: wire.Command, timeout_s: float) -> wire.Reply:
        self._check()
        flight = self._submit(command, None)
        if flight is None:
            flight = await self._in_turn(command, timeout_s)
        else:
            self._say(flight, timeout_s)
            try:
                await flight.woken
            except BaseException:
                self._abandon(flight)
                raise
        if flight.reply is not None:
            return flight.reply
        may_have_happened = self._session.give_up(flight)
        self._move()
        self._set_timer(self._time() + _NOBODY_WAITS_S)
        self._raise_trouble(flight)
        if may_have_happened:
            raise _calls.unknown(command, self._endpoint, timeout_s)
        if self._is_ended:
            raise Closed("nothing was sent: this engine has been closed")
        raise Unavailable(f"nothing was sent within {timeout_s:g} s: {await self._why_silent()}")

    async def query(self, query: wire.Query, timeout_s: float) -> wire.Reply:
        self._check()
        flight = self._session.ask(query)
        self._say(flight, timeout_s)
        try:
            await flight.woken
            if flight.reply is not None:
                return flight.reply
        finally:
            self._session.give_up(flight)
        self._raise_trouble(flight)
        raise Unavailable(f"no answer within {timeout_s:g} s: {await self._why_silent()}")

    async def post(self, command: wire.Command, order_id: str, timeout_s: float) -> None:
        self._check()
        if not self._is_seen_through:
            self._is_seen_through = True
            at_exit.add(self)
        if self._submit(command, order_id) is not None:
            self._put(self._time(), timeout_s)
            return
        call = self._begin(command, timeout_s)
        call.posted_for = order_id
        await self._got_room(call)
        self._raise_trouble(call)

    async def flush(self, timeout_s: float) -> None:
        if not self._session.posted:
            return
        self._check()
        call = self._begin(None, timeout_s)
        self._flushing.append(call)
        try:
            self._session.confirm_posted()
            self._put(call.began, timeout_s)
            await call.woken
        finally:
            self._flushing.remove(call)
        self._raise_trouble(call)
        if self._session.posted:
            raise _calls.unconfirmed(self._session.posted)

    def take_failures(self) -> Sequence[tuple[str, PitError]]:
        if not self._session.failures and not self._is_ended:
            return ()
        return self._session.take_failures(is_over=self._is_ended)

    async def notices(self, wait_s: float, timeout_s: float) -> list[CancelRequest]:
        if not self._is_hearing:
            reply = await self.query(wire.AskCancels(), timeout_s)
            self._session.hear_first(_calls.expect(reply, wire.CancelsFor))
            self._is_hearing = True
        self._check()
        deadline = self._time() + wait_s
        self._listen()
        while not self._session.notices and (left_s := deadline - self._time()) > 0:
            heard = self._loop.create_future()
            self._hearers.append(heard)
            await asyncio.wait([heard], timeout=min(left_s, HEAR_AGAIN_S))
            if heard in self._hearers:
                self._hearers.remove(heard)
                self._session.watch_again()
            self._listen()
        found = self._session.take_notices()
        self._ring()
        return found

    def fileno(self) -> int:
        if self._bell is None:
            self._bell = Bell(self._fd)
            self._bell.ring(True)  # somebody must look once
        return self._bell.fileno()

    def _listen(self) -> None:
        """Sees to it that a question is there. Raises what has ended the session."""
        if self._session.over is None:
            self._session.watch(HEAR_NS)
            self._move()
        if self._session.over is not None:
            raise self._session.over

    def _ring(self) -> None:
        is_news = bool(self._session.notices) or not self._session.is_watching or self._session.over is not None
        if is_news:
            for heard in self._hearers:
                if not heard.done():
                    heard.set_result(None)
            self._hearers.clear()
        if self._bell is not None and not self._is_ended:
            self._bell.ring(is_news)

    def leave(self) -> None:
        """Sees what was posted through before the process ends; its loop is over by then. Raises PostedFailed."""
        if _process.pid == self._pid and not self._is_ended:
            see_through(self._session, self._link)

    monotonic_ns = staticmethod(time.monotonic_ns)

    async def close(self) -> None:
        if self._is_closed or _process.pid != self._pid:
            return
        if asyncio.get_running_loop() is not self._loop:
            if not self._loop.is_closed():
                raise Closed("this engine belongs to another event loop; close it there")
            self._end()  # the daemon will notice by itself
            return
        self._is_closed = True  # nothing new is taken; what is under way may be answered still
        for waiting in tuple(self._room):
            waiting.trouble = Closed("nothing was sent: this engine has been closed")
            _wake(waiting)
        try:
            if self._session.over is None and (self._session.is_open or self._session.posted):
                most_s = SEE_THROUGH_S if self._session.posted else GOODBYE_S
                flight = self._session.submit(wire.Goodbye()) if self._session.has_room else None
                if flight is not None:
                    self._say(flight, most_s)
                    await flight.woken
                else:
                    call = self._begin(wire.Goodbye(), most_s)
                    self._room.append(call)
                    self._put(call.began, most_s)
                    await call.woken
        except PitError:
            pass  # the daemon will notice by itself
        finally:
            self._end()

    # ------------------------------------------------------------------------------------------ one call

    def _check(self) -> None:
        if _process.pid != self._pid:
            raise Forked("this engine belongs to the parent process; connect anew in the child")
        if self._is_closed:
            raise Closed("this engine has been closed")
        if _running_loop() is not self._loop:
            raise Closed("this engine belongs to another event loop; connect anew in this one")

    def _begin(self, asked: wire.Command | None, timeout_s: float) -> _Call:
        now = self._time()
        return _Call(asked, self._loop.create_future(), now, now + timeout_s)

    def _submit(self, command: wire.Command, posted_for: str | None) -> Flight | None:
        """Takes it on its way; None where it is to wait for room."""
        if self._room:
            return None
        try:
            return self._session.submit(command, posted_for)
        except CapacityExceeded:
            return None

    def _say(self, flight: Flight, timeout_s: float) -> None:
        flight.woken = _Future(loop=self._loop)
        flight.began = now = self._time()
        flight.deadline = now + timeout_s
        if not self._is_look_due or self._timer_at > now + AGAIN_S or timeout_s < AGAIN_S:
            self._put(now, timeout_s)

    def _put(self, began: float, timeout_s: float) -> None:
        """Sends what is to be said: at once when it is alone, else with all that is said in this turn of the loop.

        Each send on its own would wake libzmq's thread. In any case what has come in is looked at after it.
        """
        at = began + (timeout_s if timeout_s < AGAIN_S else AGAIN_S)
        if at < self._timer_at:
            self._set_timer(at)
        if self._is_look_due:
            return
        pipe = self._pipe
        if self._session.in_flight <= 1:
            self._link.send(self._session)
            if pipe is not None and self._fd >= 0 and not pipe.has_unsent:
                return  # what comes of it is told by the descriptor
        self._look_soon()

    async def _in_turn(self, command: wire.Command, timeout_s: float) -> Flight:
        """What has been answered, or will not be, of a command that waits for room first. Raises Unavailable."""
        call = self._begin(command, timeout_s)
        await self._got_room(call)
        if call.flight is None:
            self._raise_trouble(call)
            raise AssertionError("it has room, or trouble")
        return call.flight

    async def _got_room(self, call: _Call) -> None:
        """Returns once a call that waits for room is over. Raises Unavailable, or what has kept it from getting some,
        when it got none.
        """
        self._room.append(call)
        self._set_timer(call.deadline)
        try:
            await call.woken
        except BaseException:
            if call.flight is not None:
                self._abandon(call.flight)
            elif not call.tells:
                self._leave_queue(call)
            raise
        if call.flight is None and (call in self._room or call.posted_for is None):
            self._leave_queue(call)
            self._raise_trouble(call)
            why = f"nothing was sent: {self._session.in_flight} commands wait for their answers"
            raise Unavailable(f"{why}: {await self._why_silent()}")

    def _abandon(self, flight: Flight) -> None:
        """The task that waits has been cancelled: nobody gets the reply, if there is one, or will be."""
        if flight.reply is not None:
            self._session.undo(flight.reply)
        else:
            self._session.abandon(flight)
        if not self._is_ended and not self._loop.is_closed():
            self._move()
            self._set_timer(self._time() + _NOBODY_WAITS_S)

    def _leave_queue(self, call: _Call) -> None:
        if call in self._room:
            self._room.remove(call)

    def _raise_trouble(self, call: _Call | Flight) -> None:
        trouble = call.trouble or self._session.over
        if trouble is not None:
            raise trouble.with_traceback(None)

    # ------------------------------------------------------------------------------------------ moving messages

    def _look_soon(self) -> None:
        if not self._is_look_due:
            self._is_look_due = True
            self._loop.call_soon(self._look)

    def _look(self) -> None:
        """Sends what has been said in this turn of the loop."""
        self._is_look_due = False
        if self._pipe is None:
            self._move()
        elif not self._is_ended and _process.pid == self._pid:
            self._link.send(self._session)
            self._look_out_for_room(self._pipe)

    def _on_readable(self) -> None:
        """Takes in what has come, has each task that is answered go on at once, and sends all that they have said."""
        answered: list[Flight] = []
        self._move(answered)
        self._is_look_due = True  # once for all of them, below
        try:
            while answered:
                woken = answered.pop(0).woken
                if not woken.done():
                    _go_on(woken)
        finally:
            for flight in answered:  # somebody has ended the program, or the loop
                _wake(flight)
            self._look()

    def _move(self, answered: list[Flight] | None = None) -> None:
        """Takes in what has come and sends what is to be said, until neither is left. Who is answered is put there, to
        be woken by the caller, where that is wanted.
        """
        session, link = self._session, self._link
        if self._is_ended or _process.pid != self._pid:
            return
        if self._room and session.has_room:
            self._let_in()
        try:
            link.send(session)
            received = session.received
            for header, body in link.drain():
                flight = received(header, body)
                if flight is not None and flight.woken is not None and not flight.woken.done():
                    if answered is None:
                        flight.woken.set_result(None)
                    else:
                        answered.append(flight)
            self._wake_others()
            if session.outbox and self._pipe is not None:
                if self._fd >= 0 and not self._pipe.has_unsent:
                    self._look_soon()  # it goes together with what is said by those who are woken now
            elif waiting := len(session.outbox):
                link.send(session)
                if len(session.outbox) < waiting:
                    self._look_soon()
        except ProtocolError as trouble:
            self._wake_all(trouble)
            self._look_soon()
        if session.over is not None:
            self._wake_all(None)
        if self._pipe is not None:
            self._look_out_for_room(self._pipe)
        if self._is_hearing:
            self._ring()

    def _wake_others(self) -> None:
        """Wakes those who wait for something else than an answer, where it has happened."""
        session = self._session
        if self._room and session.has_room:
            self._let_in()
        if self._flushing and not session.posted:
            for each in self._flushing:
                _wake(each)
        if self._opening is not None and session.is_open:
            _wake(self._opening)

    def _let_in(self) -> None:
        """Takes commands that wait for room on their way."""
        while self._room and self._session.has_room:
            call = self._room.popleft()
            if call.woken.done() and not (call.woken.cancelled() and call.tells):
                continue
            assert call.asked is not None
            try:
                if call.posted_for is not None:
                    self._session.post(call.asked, call.posted_for)
                    _wake(call)
                    continue
                flight = call.flight = self._session.submit(call.asked)
            except PitError as trouble:
                call.trouble = trouble
                _wake(call)
                continue
            flight.woken, flight.began, flight.deadline = call.woken, self._time(), call.deadline

    def _waiting(self) -> list[_Call | Flight]:
        """All for which a task waits."""
        waiting: list[_Call | Flight] = [] if self._opening is None else [self._opening]
        waiting += self._session.under_way
        waiting += self._room
        waiting += self._flushing
        return [each for each in waiting if each.woken is not None and not each.woken.done()]

    def _wake_all(self, trouble: PitError | None) -> None:
        for call in self._waiting():
            call.trouble = call.trouble or trouble
            _wake(call)

    # ------------------------------------------------------------------------------------------ time

    def _set_timer(self, at: float) -> None:
        if at < self._timer_at and not self._is_ended:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = at
            self._timer = self._loop.call_at(at, self._on_time)

    def _on_time(self) -> None:
        """Wakes whose time is up, and says again what has not been answered for long."""
        self._timer, self._timer_at = None, math.inf
        if _process.pid != self._pid:
            return
        now = self._time()
        waiting: list[_Call | Flight] = []
        for call in self._waiting():
            if call.deadline <= now:
                _wake(call)
            else:
                waiting.append(call)
        if waiting:
            again_at = max(min(call.began for call in waiting), self._said_again_at) + AGAIN_S
        else:
            again_at = max(now, self._said_again_at + _NOBODY_WAITS_S)
        is_lost = self._fd < 0 and self._session.over is None
        if not waiting and not self._session.in_flight and not (is_lost and self._is_hearing):
            return  # quiet until the next call
        if now >= again_at and self._session.over is None:
            self._session.again()
            self._said_again_at = now
            again_at = now + (AGAIN_S if waiting else _NOBODY_WAITS_S)
        self._move()
        if is_lost and self._fd < 0:
            again_at = min(again_at, now + (RECONNECT_S if waiting else _RECONNECT_FOR_NOBODY_S))
        self._set_timer(min([again_at, *(call.deadline for call in waiting)]))

    # ------------------------------------------------------------------------------------------ the end

    def _end(self) -> None:
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._is_ended:
            return
        self._is_ended = True
        if not self._loop.is_closed():
            self._wake_all(None)
        self._forget_fd(self._fd)
        if self._bell is not None:
            self._bell.close()
            self._bell = None
        self._link.close()

    # ------------------------------------------------------------------------------------------ the descriptor

    def _use(self, *, is_older: bool) -> None:
        """Opens what moves messages, and has the loop watch its descriptor as soon as there is one."""
        self._link = open_link(self._endpoint, self._curve, is_older=is_older)
        self._pipe = self._link if isinstance(self._link, Pipe) else None
        if self._pipe is not None:
            self._pipe.opened, self._pipe.dropped = self._watch_fd, self._lost_fd
        else:
            self._watch_fd(self._link.fileno())

    def _watch_fd(self, fd: int) -> None:
        self._fd = fd
        if not self._loop.is_closed():
            self._loop.add_reader(fd, self._on_readable)
        if self._bell is not None:
            self._bell.follow(fd)

    def _lost_fd(self, fd: int) -> None:
        """A plain connection is about to be closed; another one is made as soon as there is somebody to speak to."""
        self._forget_fd(fd)
        if not self._is_ended and not self._loop.is_closed():
            self._set_timer(self._time() + RECONNECT_S)

    def _forget_fd(self, fd: int) -> None:
        if self._fd < 0:
            return
        self._fd = -1
        if not self._loop.is_closed():
            self._loop.remove_reader(fd)
            self._loop.remove_writer(fd)
        self._is_writing = False
        if self._bell is not None:
            self._bell.leave(fd)

    def _look_out_for_room(self, pipe: Pipe) -> None:
        """Has the loop tell when there is room for what a plain connection has not taken yet."""
        if self._is_writing is pipe.has_unsent or self._fd < 0:
            return
        self._is_writing = pipe.has_unsent
        if self._is_writing:
            self._loop.add_writer(self._fd, self._move)
        else:
            self._loop.remove_writer(self._fd)

    async def _why_silent(self) -> str:
        """What a plain connect finds at the endpoint, without holding up the loop."""
        try:
            place = place_of(self._endpoint)
            family = (
                socket.AF_UNIX if isinstance(place, str) else socket.AF_INET6 if ":" in place[0] else socket.AF_INET
            )
            with socket.socket(family) as probe:
                probe.setblocking(False)
                await asyncio.wait_for(self._loop.sock_connect(probe, place), PROBE_S)
        except (OSError, ValueError) as trouble:
            return why_not_reached(self._endpoint, trouble)
        return why_not_reached(self._endpoint, None)
