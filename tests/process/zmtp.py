"""A peer that speaks ZMTP by hand: it says of itself whatever it likes, as no library lets it."""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from types import TracebackType

from pit import wire

_GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + b"\0" + bytes(31)


class Impostor:
    """A DEALER over a Unix socket that names its properties itself, such as its identity or a user's."""

    def __init__(self, path: Path, properties: dict[str, bytes], *, patience_s: float = 20) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(patience_s)
        self._socket.connect(str(path))
        self._socket.sendall(_GREETING)
        self._read(64)
        told = b"".join(
            struct.pack("B", len(name)) + name.encode() + struct.pack(">I", len(value)) + value
            for name, value in {"Socket-Type": b"DEALER", **properties}.items()
        )
        self._frame(0x04, b"\x05READY" + told)
        assert self._receive()[0] == 0x04

    def __enter__(self) -> Impostor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def say(self, header: bytes, body: bytes) -> tuple[wire.Header, wire.Reply]:
        self._frame(0x01, header)
        self._frame(0x00, body)
        told, answer = self._message(), self._message()
        return wire.unpack_header(told), wire.decode_reply(answer)

    def hello(self, client: str) -> wire.Reply:
        said = wire.encode(wire.Hello(wire.PROTOCOL, client, bytes(16)))
        return self.say(wire.pack_header(wire.Message.HELLO, 0, 0, 0), said)[1]

    def _message(self) -> bytes:
        while True:
            flags, frame = self._receive()
            if not flags & 0x04:  # a command, such as a heartbeat's ping
                return frame

    def _frame(self, flags: int, body: bytes) -> None:
        self._socket.sendall(struct.pack(">BQ", flags | 0x02, len(body)) + body)

    def _receive(self) -> tuple[int, bytes]:
        flags = self._read(1)[0]
        length = struct.unpack(">Q", self._read(8))[0] if flags & 0x02 else self._read(1)[0]
        return flags & ~0x02, self._read(length)

    def _read(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            more = self._socket.recv(count - len(found))
            assert more, "the daemon has closed the connection"
            found += more
        return found
