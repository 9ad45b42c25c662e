"""A connection over a Unix socket that speaks ZMTP by itself, as a DEALER does.

libzmq hands every message to a thread of its own and back, at either end: six wake-ups a round trip, and more time than
a check takes. Here the call that speaks writes, and the call that waits reads. Nobody reads in between, so nobody
answers a heartbeat: a daemon of this release sends none over ipc, where the kernel tells who has died.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

from . import wire
from ._look_out import LookOut
from ._session import Session
from .errors import InvalidInput, ProtocolError
from .zmtp import BEGINNING, Message, NotSpoken, Splitter, framed_all, opening

RECONNECT_S = 0.02
"""So long after a connection could not be made the next one is tried."""

_AT_ONCE = 1 << 16
"""So many bytes are read at once."""

_LONGEST_PATH = 107

_OPENING = opening(b"DEALER")

_MOST_BYTES = 16 * wire.MAX_MESSAGE_BYTES


class Link(Protocol):
    """What moves a session's messages: plain, or by libzmq."""

    def fileno(self) -> int:
        """A descriptor that turns readable when there may be something to take; -1 without a connection."""

    def begin(self) -> None:
        """Says what every message begins with, where that has the daemon wake up while the message is being made."""

    def send(self, session: Session) -> None:
        """Sends what a session has to say, as far as there is a connection that takes it."""

    def receive(self, session: Session, most_s: float, look_out_s: float = 0.0) -> Message | None:
        """The next message; None when none has come by then, or something can be sent. Raises ProtocolError.

        It is looked out for that long at first: to be woken costs more than a quick daemon takes. Who else wants the
        processor gets it meanwhile.
        """

    def take(self) -> Message | None:
        """The next message that is here. Raises ProtocolError."""

    def drain(self) -> Iterable[Message]:
        """What is here. Where the descriptor says only once that there is something: until nothing is left."""

    def check(self, endpoint: str) -> None:
        """Raises what is known of why nobody welcomes us."""

    def close(self) -> None: ...


class Pipe:
    """One connection at a time to the same place. It is made when there is something to send, again where it was lost.

    Whatever interrupts it between two bytes costs the connection and nothing else: all that is not answered is said
    again over the next one.
    """

    def __init__(self, endpoint: str, path: str) -> None:
        """Raises InvalidInput for a path that no socket can have."""
        if not path.strip("\0") or len(os.fsencode(path)) > _LONGEST_PATH:
            raise InvalidInput(
                f"endpoint: {endpoint!r} cannot be meant: a path of 1 to {_LONGEST_PATH} bytes is wanted"
            )
        self.opened: Callable[[int], object] = _nobody_asks
        """Told the descriptor of each connection."""
        self.dropped: Callable[[int], object] = _nobody_asks
        """Told it again before that is closed."""
        self._path = path
        self._socket: socket.socket | None = None
        self._poll = select.poll()
        self._is_there = partial(self._poll.poll, 0)
        self._next_try = 0.0
        self._look_out = LookOut()
        self._unsent = b""
        self._has_begun = False
        """Whether the beginning of the next message has been sent."""
        self._splitter = Splitter(_MOST_BYTES)
        self._come = self._splitter.come

    @property
    def has_unsent(self) -> bool:
        """Whether something waits until the other side has read."""
        return bool(self._unsent)

    def fileno(self) -> int:
        """The descriptor, readable while there is something to take; -1 without a connection."""
        return -1 if self._socket is None else self._socket.fileno()

    def begin(self) -> None:
        """Not where others want the processor: the daemon would be woken twice, and get it from the one who speaks."""
        if self._socket is None or self._unsent or self._has_begun or self._look_out.is_crowded:
            return
        try:
            self._socket.send(BEGINNING)  # whole or not at all: it is two bytes
            self._has_begun = True
        except BlockingIOError:
            return
        except OSError:
            self._drop()
        except BaseException:  # a signal handler raised: nobody knows whether it has left
            self._drop()
            raise

    def send(self, session: Session) -> None:
        """Sends what a session has to say. On a new connection it says hello first."""
        if self._socket is None and not self._connect(session):
            return
        if self._unsent:
            self._push(self._unsent)
        outbox = session.outbox
        if not outbox or self._unsent or self._socket is None:
            return
        data = framed_all(outbox)
        try:
            if self._has_begun:
                data = data[len(BEGINNING) :]
            has_left = self._push(data)
            self._has_begun = False
            if not has_left:
                return
        except BaseException:  # a signal handler raised: nobody knows whether it has left
            session.all_sent()
            if self._has_begun:
                self._drop()
            raise
        session.all_sent()

    def receive(self, session: Session, most_s: float, look_out_s: float = 0.0) -> Message | None:
        if self._come:
            return self._come.popleft()
        if self._socket is None:
            time.sleep(min(most_s, RECONNECT_S))
            return None
        is_there = look_out_s and self._look_out.sees(self._is_there, look_out_s)
        if is_there or self._poll.poll(max(1, int(most_s * 1e3))):
            self._read()
        return self._come.popleft() if self._come else None

    def check(self, endpoint: str) -> None:
        """Nothing is known that a plain connect would not tell."""

    def take(self) -> Message | None:
        if not self._come and self._socket is not None:
            self._read()
        return self._come.popleft() if self._come else None

    def drain(self) -> list[Message]:
        if self._socket is not None:
            self._read()
        come = list(self._come)
        self._come.clear()
        return come

    def close(self) -> None:
        self._drop()

    # ------------------------------------------------------------------------------------------ within

    def _connect(self, session: Session) -> bool:
        now = time.monotonic()
        if now < self._next_try:
            return False
        self._next_try = now + RECONNECT_S
        try:
            made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError:  # no descriptor is left: as if nobody were there
            return False
        try:
            made.setblocking(False)
            made.connect(self._path)
        except OSError:
            made.close()
            return False
        except BaseException:
            made.close()
            raise
        self._socket = made
        self._splitter = Splitter(_MOST_BYTES)
        self._splitter.come = self._come  # what has come over the one before is still to be taken
        self._poll.register(made, select.POLLIN)
        self.opened(made.fileno())
        session.greet()
        return self._push(_OPENING)

    def _push(self, data: bytes) -> bool:
        """Hands data to the kernel, or keeps it until that takes it. False when there is no connection any more."""
        assert self._socket is not None
        try:
            count = self._socket.send(data)
            if count < len(data) or self._unsent:
                self._unsent = data[count:]
                self._poll.modify(self._socket, select.POLLIN | (select.POLLOUT if self._unsent else 0))
            return True
        except BlockingIOError:
            if not self._unsent:
                self._poll.modify(self._socket, select.POLLIN | select.POLLOUT)
            self._unsent = data
            return True
        except OSError:
            self._drop()
            return False
        except BaseException:
            self._drop()
            raise

    def _read(self) -> None:
        assert self._socket is not None
        splitter = self._splitter
        try:
            data = self._socket.recv(_AT_ONCE)
            if not data:
                self._drop()
                return
            splitter.feed(data)
        except BlockingIOError:
            return
        except OSError:
            self._drop()
            return
        except NotSpoken as trouble:
            self._drop()
            raise ProtocolError(f"the daemon does not speak as it should: {trouble}") from trouble
        except BaseException:  # what was read may be lost
            self._drop()
            raise
        if splitter.to_answer:
            answer, splitter.to_answer = splitter.to_answer, b""
            if self._has_begun:
                self._drop()  # it can't stand within a message
                return
            self._push(self._unsent + answer)

    def _drop(self) -> None:
        """Gives the connection up. What has come is kept."""
        gone, self._socket = self._socket, None
        self._unsent, self._has_begun = b"", False
        if gone is not None:
            fd = gone.fileno()
            self._poll.unregister(fd)
            self.dropped(fd)
            gone.close()


def _nobody_asks(fd: int) -> None:
    pass
