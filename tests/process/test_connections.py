"""Connections that end and begin at the same moment: the end of one is never taken for the end of another."""

from __future__ import annotations

import decimal
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq
from daemon import PATIENCE_S, until

from pit import wire, zmtp
from pitd import bootstrap, config
from pitd.clock import SystemClock
from pitd.core.engine import exact_context
from pitd.core.sessions import Session
from pitd.errors import EndpointBusy, EndpointFailed
from pitd.pipes import _HANDSHAKE_S, Pipes
from pitd.router import Router
from pitd.server import Server, claimed


@contextmanager
def serving(endpoint: str) -> Iterator[Server]:
    """A server that takes a step only when the test says so."""
    settings = config.parse(f'daemon.endpoint = "{endpoint}"\n')
    server = Server(bootstrap.build_sequencer(settings, SystemClock()), settings)
    try:
        server.bind()
        with decimal.localcontext(exact_context()):
            yield server
    finally:
        server.close()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving("tcp://127.0.0.1:*") as server:
        yield server


@contextmanager
def said_hello(server: Server, name: str) -> Iterator[None]:
    """A connection whose hello has been read, and nothing since; at the end it is closed, which is not read yet."""
    with zmq.Context.instance().socket(zmq.DEALER) as sock:
        sock.connect(server.endpoint)
        body = wire.encode(wire.Hello(wire.PROTOCOL, name, os.urandom(16), 0, 0))
        sock.send_multipart([wire.pack_header(wire.Message.HELLO, 0, 0, 0), body])
        until(lambda: router(server)._socket.poll(100), "a hello")
        server._one_batch()
        yield
    until(lambda: router(server)._monitor.poll(100), "the end of the connection")


def router(server: Server) -> Router:
    assert isinstance(server._door, Router)
    return server._door


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


# ---------------------------------------------------------------------------------------------- over a Unix socket


@pytest.fixture
def local(home: Path) -> Iterator[Server]:
    with serving(f"ipc://{home}/pitd.sock") as server:
        yield server


@contextmanager
def plain(server: Server) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE_S)
        sock.connect(server.endpoint.removeprefix("ipc://"))
        server._door.wait(1_000)
        yield sock


def hello(name: str) -> bytes:
    said = wire.Hello(wire.PROTOCOL, name, os.urandom(16))
    return zmtp.framed(wire.pack_header(wire.Message.HELLO, 0, 0, 0), wire.encode(said))


def session_of(server: Server, name: str) -> Session:
    session = server._sequencer.engine.sessions.live(name)
    assert session is not None
    return session


def a_batch(server: Server) -> None:
    server._door.wait(1_000)
    server._one_batch()


def test_what_was_said_before_the_end_is_taken_in_before_the_end(local: Server) -> None:
    with plain(local) as sock:
        sock.sendall(zmtp.opening(b"DEALER") + hello("mm1"))
        a_batch(local)
        session = session_of(local, "mm1")
        sock.sendall(zmtp.framed(wire.pack_header(wire.Message.COMMAND, session.id, 1, 0), wire.encode(wire.Goodbye())))
    local._door.wait(1_000)
    local._hear_of_ends()
    assert not lost(local), "its last words wait"
    local._one_batch()
    assert session.ended_by is not None
    local._door.wait(1_000)
    local._hear_of_ends()
    assert not lost(local), "it has said goodbye"


def test_a_connection_that_ends_without_a_word_is_lost(local: Server) -> None:
    with plain(local) as sock:
        sock.sendall(zmtp.opening(b"DEALER") + hello("mm1"))
        a_batch(local)
    assert local._door.wait(1_000), "there is something to look at"
    local._hear_of_ends()
    assert lost(local) == {"mm1"}


def test_who_says_hello_over_and_over_leaves_nothing_behind(local: Server) -> None:
    with plain(local) as sock:
        sock.sendall(zmtp.opening(b"DEALER"))
        for _ in range(20):
            sock.sendall(hello("mm1"))
            a_batch(local)
        assert [each.session for each in local._living._of_session.values()] == [session_of(local, "mm1")]


def test_connections_have_turns_however_much_one_has_said(local: Server) -> None:
    with plain(local) as loud, plain(local) as quiet:
        for sock, name in ((loud, "loud"), (quiet, "quiet")):
            sock.sendall(zmtp.opening(b"DEALER") + hello(name))
            a_batch(local)
        junk = zmtp.framed(wire.pack_header(wire.Message.QUERY, 1, 1, 0), wire.encode(wire.Ping()))
        loud.sendall(junk * 100)
        quiet.sendall(junk)
        local._door.wait(1_000)
        came = [message[0] for _ in range(4) if (message := local._door.next()) is not None]
        assert len(set(came)) == 2


def test_who_speaks_later_is_heard_before_all_that_was_said_earlier(local: Server) -> None:
    """Between two batches everybody is read from, also while one has much more to say."""
    with plain(local) as loud, plain(local) as quiet:
        for sock, name in ((loud, "loud"), (quiet, "quiet")):
            sock.sendall(zmtp.opening(b"DEALER") + hello(name))
            a_batch(local)
        junk = zmtp.framed(wire.pack_header(wire.Message.QUERY, 1, 1, 0), wire.encode(wire.Ping()))
        loud.sendall(junk * 100)
        local._door.wait(1_000)
        first = local._door.next()
        quiet.sendall(junk)
        assert local._door.is_spoken_to()
        came = [message[0] for _ in range(3) if (message := local._door.next()) is not None]
        assert first is not None and set(came) - {first[0]}


def test_who_does_not_read_loses_answers_and_holds_up_nobody(local: Server) -> None:
    with plain(local) as deaf, plain(local) as other:
        deaf.sendall(zmtp.opening(b"DEALER") + hello("deaf"))
        a_batch(local)
        identity = local._conversations._identity_of[session_of(local, "deaf").id]
        large = (identity, wire.pack_header(wire.Message.QUERY, 0, 1, 0), bytes(200_000))
        gone: list[bytes] = []
        assert sum(local._door.send([large], gone.append) for _ in range(20)) > 0
        assert not gone, "it is there, and may ask again"
        other.sendall(zmtp.opening(b"DEALER") + hello("other"))
        a_batch(local)
        assert other.recv(1 << 16)


def test_what_was_kept_for_a_slow_reader_comes_whole_and_in_order(local: Server) -> None:
    with plain(local) as slow:
        slow.sendall(zmtp.opening(b"DEALER") + hello("slow"))
        a_batch(local)
        identity = local._conversations._identity_of[session_of(local, "slow").id]
        header = wire.pack_header(wire.Message.QUERY, 0, 1, 0)
        bodies = [bytes([n]) * 60_000 for n in range(10)]
        assert local._door.send([(identity, header, body) for body in bodies], lambda _: None) == 0
        splitter = zmtp.Splitter(1 << 20)
        while len(splitter.come) < len(bodies) + 1:
            splitter.feed(slow.recv(1 << 16))
            local._door.wait(0)
        assert [body for _, body in splitter.come][1:] == bodies


def test_one_that_is_not_meant_is_let_go_and_nobody_else(local: Server) -> None:
    with plain(local) as stranger, plain(local) as other:
        stranger.sendall(b"GET / HTTP/1.1\r\nHost: here\r\nAccept: */*\r\nUser-Agent: somebody else\r\n\r\n")
        local._door.wait(1_000)
        local._hear_of_ends()
        while stranger.recv(1 << 16):
            pass
        other.sendall(zmtp.opening(b"DEALER") + hello("other"))
        a_batch(local)
        assert session_of(local, "other").ended_by is None


def test_an_answer_for_one_that_is_gone_is_counted_as_lost(local: Server) -> None:
    gone: list[bytes] = []
    assert local._door.send([(b"nobody", bytes(25), b"")], gone.append) == 1
    assert gone == [b"nobody"]


def is_over(sock: socket.socket) -> bool:
    """Whether the other end has closed it."""
    sock.settimeout(0.0)
    try:
        while sock.recv(1 << 16):
            pass
    except BlockingIOError:
        return False
    finally:
        sock.settimeout(PATIENCE_S)
    return True


def of_pipes(server: Server) -> Pipes:
    assert isinstance(server._door, Pipes)
    return server._door


def test_one_too_many_takes_the_place_of_the_oldest_that_has_not_been_welcomed(local: Server) -> None:
    of_pipes(local)._most = 3
    with plain(local) as known, plain(local) as oldest, plain(local) as stranger:
        for sock, said in ((known, hello("mm1")), (oldest, b""), (stranger, b"")):
            sock.sendall(zmtp.opening(b"DEALER") + said)
            a_batch(local)
        with plain(local) as ops:
            local._hear_of_ends()
            assert [is_over(each) for each in (known, oldest, stranger)] == [False, True, False]
            ops.sendall(zmtp.opening(b"DEALER") + hello("ops"))
            a_batch(local)
            assert session_of(local, "ops").ended_by is None


def test_nobody_who_is_known_makes_room_for_one_too_many(local: Server) -> None:
    of_pipes(local)._most = 2
    with plain(local) as first, plain(local) as second:
        for sock, name in ((first, "mm1"), (second, "mm2")):
            sock.sendall(zmtp.opening(b"DEALER") + hello(name))
            a_batch(local)
        with plain(local) as third:
            assert [is_over(each) for each in (first, second, third)] == [False, False, True]


def test_who_is_not_welcomed_in_time_is_let_go(local: Server) -> None:
    """However much of its opening it has said."""
    with plain(local) as half, plain(local) as silent, plain(local) as known:
        for sock, said in ((half, b"\xff"), (silent, zmtp.opening(b"DEALER")), (known, zmtp.opening(b"DEALER"))):
            sock.sendall(said)
            a_batch(local)
        known.sendall(hello("mm1"))
        a_batch(local)
        of_pipes(local)._look_at_the_door(time.monotonic() + _HANDSHAKE_S + 1)
        local._hear_of_ends()
        assert [is_over(each) for each in (half, silent, known)] == [True, True, False]


# ---------------------------------------------------------------------------------------------- the socket's file


def is_welcomed(server: Server, name: str) -> bool:
    with plain(server) as sock:
        sock.sendall(zmtp.opening(b"DEALER") + hello(name))
        a_batch(server)
        return server._sequencer.engine.sessions.live(name) is not None


def test_the_endpoint_is_found_again_after_its_file_was_removed(local: Server, home: Path) -> None:
    with plain(local) as before:
        before.sendall(zmtp.opening(b"DEALER"))
        (home / "pitd.sock").unlink()
        local.tend()
        assert is_welcomed(local, "newcomer")
        before.sendall(hello("mm1"))
        a_batch(local)
        assert session_of(local, "mm1").ended_by is None


def test_what_another_one_has_put_in_the_place_of_the_endpoint_is_left_there(home: Path) -> None:
    path = home / "pitd.sock"
    with serving(f"ipc://{path}") as server:
        path.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
        server.tend()
        there = path.stat().st_ino
    assert path.stat().st_ino == there


def test_a_file_that_is_no_socket_is_left_alone(home: Path) -> None:
    path = home / "precious"
    path.write_text("kept")
    told = pytest.raises(EndpointFailed, match="no socket; take it away")
    with claimed(f"ipc://{path}"), told, serving(f"ipc://{path}"):
        pass
    assert path.read_text() == "kept"


def test_a_name_without_a_file_is_one_daemons_and_leaves_no_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    endpoint = f"ipc://@{home.name}"
    Path(f"@{home.name}").write_text("somebody's")
    with claimed(endpoint), serving(endpoint), claimed(endpoint), pytest.raises(EndpointBusy), serving(endpoint):
        pass
    assert [each.name for each in home.iterdir()] == [f"@{home.name}"]
