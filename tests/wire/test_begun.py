"""A message whose beginning is sent before the rest is made: it wakes the daemon, and is part of the message."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator

import pytest
from daemon import PATIENCE_S, folder, running

import pit
from pit import wire, zmtp
from pit._session import Session
from pit._zmq_pipe import Pipe
from pitd.pipes import Pipes


@pytest.fixture
def endpoint() -> Iterator[str]:
    with folder() as home:
        yield f"ipc://{home}/far.sock"


def test_a_beginning_is_heard_at_once_and_its_message_comes_whole(endpoint: str) -> None:
    door = Pipes(endpoint, 10, lambda identity: True)
    pipe, session = Pipe(endpoint, endpoint[len("ipc://") :]), Session("mm1", os.urandom(16))
    door.bind(None)
    try:
        pipe.send(session)
        assert next_said(door) == wire.Message.HELLO and not door.has_begun
        pipe.begin()
        pipe.begin()  # once a message
        door.wait(1_000)
        assert door.has_begun and not door.is_spoken_to()
        for _ in range(2):
            session.greet()
            pipe.send(session)
            assert next_said(door) == wire.Message.HELLO
        door.wait(0)
        assert not door.has_begun
    finally:
        pipe.close()
        door.close()


def next_said(door: Pipes) -> int:
    until = time.monotonic() + PATIENCE_S
    while not door.is_spoken_to():
        assert time.monotonic() < until, "a message"
    said = door.next()
    assert said is not None
    return said[1][0]


def test_a_command_that_can_not_be_said_leaves_its_beginning_to_the_next_one() -> None:
    with running() as daemon, pit.connect("mm1", daemon.endpoint, timeout_s=PATIENCE_S) as engine:
        connection = connection_of(engine)
        large = wire.Adjust("a", (), "many", tuple(f"{n:0>60}" for n in range(30_000)))
        for _ in range(2):
            time.sleep(0.01)  # long enough for a beginning
            with pytest.raises(pit.InvalidInput):
                engine._transport.command(large, PATIENCE_S)  # type: ignore[attr-defined]
            assert engine.ping()
        assert connection_of(engine) is connection


class Interrupted:
    """A connection of which Ctrl-C interrupts one thing that is sent, before or after it has left."""

    def __init__(self, plain: socket.socket, at: int, *, has_left: bool) -> None:
        self.plain = plain
        self._left = at
        self._has_left = has_left

    def send(self, data: bytes) -> int:
        self._left -= 1
        if self._left:
            return self.plain.send(data)
        if self._has_left:
            self.plain.send(data)
        raise KeyboardInterrupt

    def __getattr__(self, name: str) -> object:
        return getattr(self.plain, name)


@pytest.mark.parametrize("at", [1, 2], ids=["beginning", "rest"])
@pytest.mark.parametrize("has_left", [True, False])
def test_an_interrupted_message_costs_the_connection_and_nothing_else(at: int, has_left: bool) -> None:
    with running() as daemon, pit.connect("mm1", daemon.endpoint, timeout_s=PATIENCE_S) as engine:
        connection = connection_of(engine)
        time.sleep(0.01)
        engine._transport._link._socket = Interrupted(connection, at, has_left=has_left)  # type: ignore[attr-defined]
        with pytest.raises(KeyboardInterrupt):
            engine.execute_pre_trade(an_order())
        held = engine.execute_pre_trade(an_order())
        assert held and held.commit() is None
        assert connection_of(engine) is not connection


def an_order() -> pit.Order:
    return pit.Order(account="alpha", instrument=pit.Instrument("AAPL", "USD"), side="buy", quantity=1, price=1)


def connection_of(engine: pit.Engine) -> socket.socket:
    found = engine._transport._link._socket  # type: ignore[attr-defined]
    assert found is not None
    return found  # type: ignore[no-any-return]


def test_every_message_begins_alike() -> None:
    bodies = (b"", b"x", bytes(300))
    assert all(zmtp.framed(bytes(wire.HEADER_SIZE), body).startswith(zmtp.BEGINNING) for body in bodies)
