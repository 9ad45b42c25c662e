"""Connections that end and begin at the same moment: the end of one is never taken for the end of another."""

from __future__ import annotations

import decimal
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq
from daemon import until

from pit import wire
from pitd import bootstrap, config
from pitd.clock import SystemClock
from pitd.core.engine import exact_context
from pitd.server import Server


@pytest.fixture
def server(home: Path) -> Iterator[Server]:
    """A server that takes a step only when the test says so."""
    settings = config.parse(f'daemon.endpoint = "ipc://{home}/pitd.sock"\n')
    server = Server(bootstrap.build_sequencer(settings, SystemClock()), settings)
    server.bind()
    with decimal.localcontext(exact_context()):
        yield server
    server.close()


@contextmanager
def said_hello(server: Server, name: str) -> Iterator[None]:
    """A connection whose hello has been read, and nothing since; at the end it is closed, which is not read yet."""
    with zmq.Context.instance().socket(zmq.DEALER) as socket:
        socket.connect(server.endpoint)
        body = wire.encode(wire.Hello(wire.PROTOCOL, name, os.urandom(16), 0, 0))
        socket.send_multipart([wire.pack_header(wire.Message.HELLO, 0, 0, 0), body])
        until(lambda: server._socket.poll(100), "a hello")
        server._one_batch()
        yield
    until(lambda: server._monitor.poll(100), "the end of the connection")


def lost(server: Server) -> set[str]:
    return {connection.session.client for connection in server._living._dying.values()}


def test_the_end_of_a_connection_is_not_taken_for_the_end_of_the_next_one(server: Server) -> None:
    """The next one may have got the same descriptor, and its hello may be read before the end of the first is."""
    for attempt in range(50):
        with said_hello(server, f"first{attempt}"):
            fd, before = next(reversed(server._living._of_fd.items()))
        until(lambda fd=fd: not Path(f"/proc/self/fd/{fd}").exists(), "its descriptor to be free")
        with said_hello(server, f"next{attempt}"):
            is_same = server._living._of_fd.get(fd) not in (None, before)
            server._hear_of_ends()
            assert f"first{attempt}" in lost(server)
            assert f"next{attempt}" not in lost(server)
        server._hear_of_ends()
        if is_same:
            assert f"next{attempt}" in lost(server)
            return
    pytest.skip("no connection got the descriptor of the one before it")
