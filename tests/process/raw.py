"""A client that speaks bytes: for what no honest client would say."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any

import msgspec
import zmq
from daemon import PATIENCE_S

from pit import wire


class Raw:
    """A connection to a daemon, one frame at a time."""

    def __init__(self, endpoint: str, *, receive_bound: int = 1_000) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVHWM, receive_bound)
        self.socket.setsockopt(zmq.RCVTIMEO, int(PATIENCE_S * 1000))
        self.socket.connect(endpoint)
        self.session = 0
        self.number = 0

    def __enter__(self) -> Raw:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close(linger=0)
        self._context.term()

    def send(self, *frames: bytes) -> None:
        self.socket.send_multipart(frames)

    def receive(self) -> tuple[wire.Header, wire.Reply]:
        header, body = self.socket.recv_multipart()
        return wire.unpack_header(header), wire.decode_reply(body)

    def ask(self, kind: int, body: bytes, *, session: int | None = None, number: int = 0, acked: int = 0) -> Any:
        """Says something and returns what is answered."""
        header = wire.pack_header(kind, self.session if session is None else session, number, acked)
        self.send(header, body)
        return self.receive()[1]

    def hello(self, client: str, **words: Any) -> wire.Reply:
        said: dict[str, Any] = {"protocol": wire.PROTOCOL, "client": client, "token": os.urandom(16)}
        reply = self.ask(wire.Message.HELLO, wire.encode(wire.Hello(**(said | words))))
        if isinstance(reply, wire.Welcome):
            self.session, self.number = reply.session, reply.next_number
        return reply

    def command(self, body: wire.Command | bytes, *, number: int | None = None) -> wire.Reply:
        """Gives a command under the next number, which is used up unless the command is refused."""
        packed = body if isinstance(body, bytes) else wire.encode(body)
        number = self.number if number is None else number
        header = wire.pack_header(wire.Message.COMMAND, self.session, number, number - 1)
        self.send(header, packed)
        back, reply = self.receive()
        if back.message == wire.Message.COMMAND and number == self.number:
            self.number += 1
        return reply

    def seq(self) -> int:
        """How many entries the daemon has had: what changes nothing adds none."""
        self.send(wire.pack_header(wire.Message.QUERY, self.session, 1, 0), wire.encode(wire.Ping()))
        return wire.heard(self.receive()[0].acked)


def altered(body: wire.Body, *path: int, to: Any) -> bytes:
    """The bytes of a body in which one place says something that no honest client would say."""
    plain = msgspec.msgpack.decode(wire.encode(body))
    place = plain
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = to
    return msgspec.msgpack.encode(plain)
