"""ZMTP 3, the language of ZeroMQ's connections, as far as messages of two frames over a plain connection need it.

Both ends of an ipc connection speak it by themselves here, and libzmq's sockets understand them.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable

from . import wire

Message = tuple[bytes, bytes]
"""Header and body. A message of more or fewer frames has an empty header, and why that is wrong as its body."""

_MORE, _LONG, _COMMAND = 1, 2, 4
"""The flags of a frame."""

_NULL = b"NULL".ljust(20, b"\0")
GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + _NULL + bytes(32)
_GREETING_SIZE = len(GREETING)

_ODD, _BYTES_EACH = 64, 64
"""So many frames at once, and one more for so many bytes, need not be the two short ones of a message. Each takes
longer than such a message does, and what is none at all, such as a heartbeat, has no turn to wait for.
"""

_LARGE = 4_096
"""The bytes of a frame that is put together piece by piece."""

_LENGTH = struct.Struct(">Q")
_LONG_AT = 1 + _LENGTH.size

_HEADER_SIZE = wire.HEADER_SIZE
_HEADER = bytes((_MORE, _HEADER_SIZE))
"""What stands before a header."""

BEGINNING = _HEADER
"""What every message begins with."""

_SHORT = [bytes((0, size)) for size in range(256)]
"""What stands before a short body, by its size."""

_LEAD = struct.Struct(f"<BB{wire.HEADER_SIZE}sBB")
"""All that stands before a short body: flags and size of the header's frame, the header, flags and size of its own."""

_LEAD_SIZE = _LEAD.size
_lead = _LEAD.unpack_from


class NotSpoken(Exception):
    """What came is no ZMTP that is meant here. The connection can't be used any more."""


def opening(socket_type: bytes) -> bytes:
    """What each side says first: its greeting, and that it is ready."""
    ready = b"\x05READY\x0bSocket-Type" + struct.pack(">I", len(socket_type)) + socket_type
    if socket_type == b"DEALER":
        ready += b"\x08Identity\0\0\0\0"
    return GREETING + bytes((_COMMAND, len(ready))) + ready


def framed(header: bytes, body: bytes) -> bytes:
    """A message as it travels."""
    size = len(body)
    return b"".join((_HEADER, header, _SHORT[size] if size < 256 else _long(size), body))


def framed_all(messages: Iterable[Message]) -> bytes:
    """Several, one behind the other."""
    parts: list[bytes] = []
    for header, body in messages:
        size = len(body)
        parts += (_HEADER, header, _SHORT[size] if size < 256 else _long(size), body)
    return b"".join(parts)


def _long(size: int) -> bytes:
    """What stands before a long body."""
    return b"%c%b" % (_LONG, _LENGTH.pack(size))


class Splitter:
    """Takes messages out of the bytes that come over one connection."""

    __slots__ = (
        "_count",
        "_frames",
        "_is_new",
        "_is_ready",
        "_large",
        "_most_bytes",
        "_rest",
        "_wanted",
        "come",
        "to_answer",
    )

    def __init__(self, most_bytes: int) -> None:
        """`most_bytes`: so large is a frame at the most."""
        self.come: deque[Message] = deque()
        self.to_answer = b""
        """What is to be sent for what has come: answers to heartbeats."""
        self._most_bytes = most_bytes
        self._rest = b""
        """What has come of a frame that is not whole yet."""
        self._large = bytearray()
        """The same of a large one, to which each piece is added: copied with each, it would keep everybody waiting."""
        self._wanted = 0
        """So many bytes make that one whole."""
        self._frames: list[bytes] = []
        self._count = 0
        """How many frames the message in hand has so far. No more than two of them are kept."""
        self._is_new = True
        self._is_ready = False

    @property
    def is_ready(self) -> bool:
        """Whether the other side has said all that comes before the first message."""
        return self._is_ready

    def feed(self, data: bytes) -> None:
        """Takes bytes. Raises NotSpoken."""
        odd_left = _ODD + len(data) // _BYTES_EACH
        if self._large:
            self._large += data
            if len(self._large) < self._wanted:
                return
            data, self._large = bytes(self._large), bytearray()
        elif self._rest:
            data = self._rest + data
        at, end = 0, len(data)
        if self._is_new:
            if end < _GREETING_SIZE:
                self._rest = data
                return
            if data[0] != 0xFF or data[9] != 0x7F or data[10] < 3 or data[12:32] != _NULL:
                raise NotSpoken("no greeting of ZMTP 3 without keys")
            self._is_new = False
            at = _GREETING_SIZE
        while True:
            if self._is_ready and not self._count:
                at = self._take_short(data, at, end)
            if (short_at := at + 2) > end:
                break
            flags = data[at]
            if flags & _LONG:
                begin = at + _LONG_AT
                if begin > end:
                    break
                size: int = _LENGTH.unpack_from(data, at + 1)[0]
            else:
                begin, size = short_at, data[at + 1]
            if size > self._most_bytes:
                raise NotSpoken(f"a frame of {size} bytes, more than {self._most_bytes}")
            after = begin + size
            if after > end:
                if size >= _LARGE:
                    self._large += data[at:]
                    self._wanted, at = after - at, end
                break
            odd_left -= 1
            if odd_left < 0:
                raise NotSpoken("too many frames for so few messages")
            self._frame(flags, data[begin:after])
            at = after
        self._rest = data[at:]

    def _take_short(self, data: bytes, at: int, end: int) -> int:
        """Takes messages as nearly all are, a header and a short body; where it met another, or one not whole."""
        append = self.come.append
        while (begin := at + _LEAD_SIZE) <= end:
            flags, size, header, body_flags, body_size = _lead(data, at)
            after = begin + body_size
            if body_flags or size != _HEADER_SIZE or flags != _MORE or after > end:
                return at
            append((header, data[begin:after]))
            at = after
        return at

    def _frame(self, flags: int, frame: bytes) -> None:
        if flags & _COMMAND:
            if frame.startswith(b"\x05READY"):
                self._is_ready = True
            elif frame.startswith(b"\x04PING"):
                pong = b"\x04PONG" + frame[7:23]
                self.to_answer += bytes((_COMMAND, len(pong))) + pong
            elif frame.startswith(b"\x05ERROR"):
                raise NotSpoken("the other side has refused the connection")
            return
        if not self._is_ready:
            raise NotSpoken("a message before READY")
        self._count += 1
        if self._count <= 2:
            self._frames.append(frame)
        if flags & _MORE:
            return
        count, frames = self._count, self._frames
        self._count, self._frames = 0, []
        if count == 2 and frames[0]:
            self.come.append((frames[0], frames[1]))
        else:
            self.come.append((b"", wrong(count)))


def wrong(count: int) -> bytes:
    """Why a message of so many frames can't be meant, as the body in its place."""
    if count == 2:
        return b"a header of %d bytes is wanted, not 0" % wire.HEADER_SIZE
    return b"a message is a header and a body" if count == 1 else b"a message is two frames, no more"
