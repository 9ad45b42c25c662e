"""Connections over a Unix socket, in the loop's own thread: it reads and writes them itself, and speaks ZMTP.

libzmq would hand every message to a thread of its own and back: four wake-ups of a round trip's six, and more time than
a check takes. Its sockets are understood all the same.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from pit import wire, zmtp

from . import log
from .door import Frames, Message, Speaker
from .errors import EndpointBusy, EndpointFailed
from .peers import Origin, Proof
from .tally import Seldom

_AT_ONCE = 1 << 14
"""So many bytes are read from a connection at once: then the others have their turn."""

_UNREAD_BYTES = 1 << 20
"""So much waits for a client that does not read, beyond what the kernel keeps for it; what does not fit is lost."""

_HANDSHAKE_S = 30.0
"""So long a connection may take to be welcomed."""

_FULL_S = 0.1
"""So long nobody is let in when there are no descriptors left."""

_BACKLOG = 512
_WRITABLE = select.EPOLLOUT
_LINGER_S = 0.2
_IDENTITY = struct.Struct(">BI")
_OPENING = zmtp.opening(b"ROUTER")
_CREDENTIALS = struct.Struct("3i")


class _Connection:
    __slots__ = ("ended", "fd", "identity", "is_talking", "socket", "speaker", "splitter", "unsent")

    def __init__(self, sock: socket.socket, identity: bytes, speaker: Speaker) -> None:
        self.socket = sock
        self.fd = sock.fileno()
        self.identity = identity
        self.speaker = speaker
        self.splitter = zmtp.Splitter(wire.MAX_MESSAGE_BYTES)
        self.unsent = bytearray()
        self.is_talking = False
        """Whether messages of it wait for their turn."""
        self.ended = False


class Pipes:
    """The connections to one Unix socket."""

    names_connections = True
    keys_refused = 0
    has_begun = False
    """Whether somebody has begun to speak in the last wait, and had not ended."""

    def __init__(self, endpoint: str, most: int, is_known: Callable[[bytes], bool]) -> None:
        """`most` connections at once; `is_known`: whether one has been welcomed, and not been forgotten since."""
        self.endpoint = endpoint
        self._most = most
        self._is_known = is_known
        self._listening: socket.socket | None = None
        self._epoll = select.epoll()
        self._by_fd: dict[int, _Connection] = {}
        self._by_identity: dict[bytes, _Connection] = {}
        self._count = 0
        self._talking: deque[_Connection] = deque()
        self._over: list[_Connection] = []
        """Connections that have ended, and of which nobody has been told."""
        self._greeting: dict[int, float] = {}
        """By descriptor, oldest first: until when it may go on without being welcomed."""
        self._also: set[int] = set()
        self._is_news = False
        self._shut_until = 0.0
        self._seldom = Seldom()
        self._path = None if endpoint.startswith("ipc://@") else Path(endpoint[len("ipc://") :])
        """None for a name without a file."""
        self._file: tuple[int, int] | None = None
        """Which file is ours."""
        self._is_held = False
        """Whether it is someone else's who holds the socket for us."""

    def bind(self, held_fd: int | None) -> None:
        if held_fd is None:
            self._listening = self._opened()
        else:
            self._is_held = True
            try:
                self._listening = socket.socket(fileno=os.dup(held_fd))
            except OSError as trouble:
                raise EndpointFailed(f"{self.endpoint}: cannot be taken over: {trouble}") from trouble
            self._listening.setblocking(False)
        self._file = self._file_there()
        self._epoll.register(self._listening, select.EPOLLIN)

    def tend(self) -> None:
        if self._file is None or (there := self._file_there()) == self._file:
            return
        if there is not None:
            self._seldom.error("endpoint.taken", "", endpoint=self.endpoint, why="its file is another one by now")
        elif self._is_held:
            why = "its file is gone; start the socket unit again"
            self._seldom.error("endpoint.gone", "", endpoint=self.endpoint, why=why)
        else:
            self._open_again()

    def _open_again(self) -> None:
        """The old file was removed, and with it the way in: nobody would find it."""
        try:
            made = self._opened()
        except EndpointFailed as trouble:
            self._seldom.error("endpoint.gone", "", endpoint=self.endpoint, why=trouble)
            return
        assert self._listening is not None
        if not self._shut_until:
            self._epoll.unregister(self._listening)
            self._epoll.register(made, select.EPOLLIN)
        self._listening.close()
        self._listening, self._file = made, self._file_there()
        log.warning("endpoint.opened_again", endpoint=self.endpoint, why="its file was gone")

    def _opened(self) -> socket.socket:
        """Listens at the endpoint. A file that is left there of an earlier time is ours: `claimed` says so."""
        path = self._path
        try:
            if path is not None and path.is_socket():
                path.unlink()
            made = socket.socket(socket.AF_UNIX)
            try:
                made.setblocking(False)
                made.bind("\0" + self.endpoint[len("ipc://@") :] if path is None else str(path))
                made.listen(_BACKLOG)
            except BaseException:
                made.close()
                raise
        except (OSError, ValueError) as trouble:
            if not isinstance(trouble, OSError) or trouble.errno != errno.EADDRINUSE:
                raise EndpointFailed(f"{self.endpoint}: cannot be opened: {trouble}") from trouble
            if path is None:
                raise EndpointBusy(f"{self.endpoint}: another process listens there") from trouble
            why = "what is there is no socket; take it away, or give this daemon another [daemon] endpoint"
            raise EndpointFailed(f"{self.endpoint}: {why}") from trouble
        return made

    def _file_there(self) -> tuple[int, int] | None:
        """Which file stands for the endpoint now; None where there is none, also because it needs none."""
        try:
            found = None if self._path is None else self._path.stat()
        except OSError:
            return None
        return None if found is None else (found.st_dev, found.st_ino)

    def watch_also(self, fd: int) -> None:
        self._also.add(fd)
        self._epoll.register(fd, select.EPOLLIN)

    def wait(self, most_ms: int) -> bool:
        if self._greeting or self._shut_until:
            self._look_at_the_door(time.monotonic())
            most_ms = min(most_ms, int(_FULL_S * 1e3) if self._shut_until else 1_000)
        self.has_begun = False
        self._take(self._epoll.poll(0 if self._talking or self._over else most_ms / 1e3))
        is_news, self._is_news = self._is_news, False
        return is_news or bool(self._over)

    def is_spoken_to(self) -> bool:
        if events := self._epoll.poll(0):  # also while some have more to say: the others have their turn
            self._take(events)
        return bool(self._talking)

    def next(self, taken: int = 0) -> Message | None:
        talking = self._talking
        if not talking:
            return None
        connection = talking[0]
        come = connection.splitter.come
        header, body = come.popleft()
        if not come:
            talking.popleft()
            connection.is_talking = False
            if connection.ended:
                self._over.append(connection)
        elif len(talking) > 1:
            talking.rotate(-1)
        return connection.identity, header, body

    def speaker(self, identity: bytes) -> Speaker:
        return self._by_identity[identity].speaker

    def place(self, identity: bytes) -> tuple[int, str]:
        return self._by_identity[identity].fd, ""

    def send(self, out: Sequence[Frames], lost: Callable[[bytes], None]) -> int:
        if len(out) == 1:
            identity, header, body = out[0]
            return self._push(identity, zmtp.framed(header, body), 1, lost)
        of: dict[bytes, list[bytes]] = {}
        for identity, header, body in out:
            framed = zmtp.framed(header, body)
            if (told := of.get(identity)) is None:
                of[identity] = [framed]
            else:
                told.append(framed)
        return sum([self._push(identity, b"".join(told), len(told), lost) for identity, told in of.items()])

    def ended(self, tell: Callable[[int], None]) -> None:
        over, self._over = self._over, []
        for connection in over:
            tell(connection.fd)
            self._by_identity.pop(connection.identity, None)
            connection.socket.close()  # not before: another one might have got its descriptor

    def let_in(self) -> None:
        """Whoever may open the socket's file is let in."""

    def close(self) -> None:
        if self._path is not None and self._file is not None and not self._is_held:
            with contextlib.suppress(OSError):
                if self._file_there() == self._file:
                    self._path.unlink()
        until = time.monotonic() + _LINGER_S
        for connection in self._by_fd.values():
            if connection.unsent:
                with contextlib.suppress(OSError):
                    connection.socket.settimeout(max(0.001, until - time.monotonic()))
                    connection.socket.sendall(connection.unsent)
        for connection in (*self._by_fd.values(), *self._over, *self._talking):
            connection.socket.close()
        self._by_fd.clear()
        self._by_identity.clear()
        self._epoll.close()
        if self._listening is not None:
            self._listening.close()

    # ------------------------------------------------------------------------------------------ within

    def _take(self, events: Sequence[tuple[int, int]]) -> None:
        """Reads what has come, from each connection a little."""
        connection_of = self._by_fd.get
        for fd, event in events:
            connection = connection_of(fd)
            if connection is not None:
                if event & _WRITABLE:
                    self._flush(connection)
                if event != _WRITABLE and not connection.is_talking and not connection.ended:
                    self._read(connection)
            elif fd in self._also:
                self._is_news = True
            else:
                self._accept()

    def _read(self, connection: _Connection) -> None:
        splitter = connection.splitter
        try:
            data = connection.socket.recv(_AT_ONCE)
            if data:
                splitter.feed(data)
        except BlockingIOError:
            return
        except (OSError, zmtp.NotSpoken):
            data = b""
        if splitter.to_answer:
            answer, splitter.to_answer = splitter.to_answer, b""
            self._write(connection, answer)
        if splitter.come:
            connection.is_talking = True
            self._talking.append(connection)
        elif data:
            self.has_begun = True
        if not data:
            self._drop(connection)

    def _accept(self) -> None:
        """Lets in who knocks: one, the others come next."""
        assert self._listening is not None
        try:
            made, _ = self._listening.accept()
        except BlockingIOError:
            return
        except OSError:  # no descriptor is left: who is there goes on
            self._epoll.unregister(self._listening)
            self._shut_until = time.monotonic() + _FULL_S
            return
        if len(self._by_fd) >= self._most and not self._made_room():
            made.close()
            self._seldom.warning("connections.full", self.endpoint, endpoint=self.endpoint, open=self._most)
            return
        try:
            made.setblocking(False)
            pid, uid, gid = _CREDENTIALS.unpack(made.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            made.send(_OPENING)
            self._epoll.register(made, select.EPOLLIN)
        except OSError:
            made.close()
            return
        self._count += 1
        identity = _IDENTITY.pack(0, self._count & 0xFFFFFFFF)
        origin = Origin(uid, gid, pid)
        connection = _Connection(made, identity, Speaker(Proof(origin=origin), origin, made.fileno(), ""))
        self._by_fd[connection.fd] = self._by_identity[identity] = connection
        self._greeting[connection.fd] = time.monotonic() + _HANDSHAKE_S

    def _made_room(self) -> bool:
        """Whether one has been let go for another: the oldest one whom nobody knows. Who is known stays."""
        for connection in self._by_fd.values():
            if not self._is_known(connection.identity):
                self._drop(connection)
                return True
        return False

    def _push(self, identity: bytes, data: bytes, count: int, lost: Callable[[bytes], None]) -> int:
        """How many messages of these could not be sent."""
        connection = self._by_identity.get(identity)
        if connection is None or connection.ended:
            lost(identity)
            return count
        return 0 if self._write(connection, data) else count

    def _write(self, connection: _Connection, data: bytes) -> bool:
        """Hands data to the kernel, or keeps it until that takes it. False when it is lost."""
        if connection.unsent:
            if len(connection.unsent) + len(data) > _UNREAD_BYTES:
                return False
            connection.unsent += data
            return True
        try:
            sent = connection.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return False  # its end is read as well, after what it has said
        if sent < len(data):
            connection.unsent += data[sent:]
            self._epoll.modify(connection.fd, select.EPOLLIN | select.EPOLLOUT)
        return True

    def _flush(self, connection: _Connection) -> None:
        try:
            sent = connection.socket.send(connection.unsent)
        except BlockingIOError:
            return
        except OSError:
            connection.unsent.clear()
        else:
            del connection.unsent[:sent]
        if not connection.unsent:
            self._epoll.modify(connection.fd, select.EPOLLIN)

    def _drop(self, connection: _Connection) -> None:
        """It has ended. What it has said still has its turn."""
        connection.ended = True
        self._epoll.unregister(connection.fd)
        del self._by_fd[connection.fd]
        self._greeting.pop(connection.fd, None)
        if not connection.is_talking:
            self._over.append(connection)

    def _look_at_the_door(self, now: float) -> None:
        """Drops who takes too long to be welcomed, and lets people in again."""
        while self._greeting:
            fd, until = next(iter(self._greeting.items()))
            if until > now:
                break
            del self._greeting[fd]
            if not self._is_known(self._by_fd[fd].identity):
                self._drop(self._by_fd[fd])
        if self._shut_until and self._shut_until <= now:
            assert self._listening is not None
            self._shut_until = 0.0
            self._epoll.register(self._listening, select.EPOLLIN)
