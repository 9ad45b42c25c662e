"""The blocking socket against a far end that is scripted, silent, mad, gone or late."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq
from daemon import PATIENCE_S, folder, running, until

import pit
from pit import wire

Answering = Callable[[wire.Header, bytes], list[bytes] | None]
WELCOME = wire.Welcome(wire.PROTOCOL, 42, 1, 64, 5_000_000_000)


def an_order() -> pit.Order:
    return pit.Order(account="alpha", instrument=pit.Instrument("AAPL", "USD"), side="buy", quantity=1, price=1)


def reply(header: wire.Header, body: wire.Reply) -> list[bytes]:
    return [wire.pack_header(header.message, 0, header.number, 0), wire.encode(body)]


def polite(header: wire.Header, body: bytes) -> list[bytes]:
    """Welcomes everybody, takes every order, and is done with everything else."""
    if header.message == wire.Message.HELLO:
        return reply(header, WELCOME)
    if header.message == wire.Message.QUERY:
        return reply(header, wire.Pong(1, "scripted"))
    if header.message == wire.Message.SETTLE:
        return reply(header, wire.Voided())
    command = wire.decode_command(body)
    if isinstance(command, wire.Check):
        return reply(header, wire.Accepted(7, command.order.id, pit.OrderState.HELD, 5_000_000_000))
    return reply(header, wire.Done())


class FarEnd:
    """A ROUTER that answers as it is told to; `heard` is what it was told."""

    def __init__(self, endpoint: str, answer: Answering) -> None:
        self.heard: list[tuple[wire.Header, bytes]] = []
        self._answer = answer
        self._is_over = threading.Event()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.bind(endpoint)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._is_over.is_set():
            if not self._socket.poll(10):
                continue
            identity, header_frame, body = self._socket.recv_multipart()
            header = wire.unpack_header(header_frame)
            self.heard.append((header, body))
            frames = self._answer(header, body)
            if frames is not None:
                self._socket.send_multipart([identity, *frames])

    def close(self) -> None:
        self._is_over.set()
        self._thread.join()
        self._socket.close(linger=0)
        self._context.term()

    def commands(self) -> list[wire.Header]:
        return [header for header, _ in self.heard if header.message == wire.Message.COMMAND]


@contextmanager
def far_end(endpoint: str, answer: Answering = polite) -> Iterator[FarEnd]:
    end = FarEnd(endpoint, answer)
    try:
        yield end
    finally:
        end.close()


@pytest.fixture
def endpoint() -> Iterator[str]:
    with folder() as home:
        yield f"ipc://{home}/far.sock"


def connect(endpoint: str, *, timeout_s: float = PATIENCE_S) -> pit.Engine:
    return pit.connect("mm1", endpoint, timeout_s=timeout_s)


def test_importing_pit_loads_no_socket() -> None:
    code = "import sys, pit; assert not [name for name in sys.modules if name.split('.')[0] in ('zmq', 'pitd')]"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_call_is_answered(endpoint: str) -> None:
    with far_end(endpoint), connect(endpoint) as engine:
        assert engine.ping() == "scripted"
        held = engine.execute_pre_trade(an_order())
        assert isinstance(held, pit.Reservation) and held.id == 7


def test_an_engine_may_be_made_before_the_daemon_is_there(endpoint: str) -> None:
    ends: list[FarEnd] = []
    timer = threading.Timer(0.3, lambda: ends.append(FarEnd(endpoint, polite)))
    timer.start()
    try:
        with connect(endpoint) as engine:
            assert engine.ping()
    finally:
        timer.join()
        for end in ends:
            end.close()


def test_a_far_end_that_never_welcomes_is_unavailable(endpoint: str) -> None:
    with far_end(endpoint, lambda header, body: None), pytest.raises(pit.Unavailable, match="no welcome in time"):
        connect(endpoint, timeout_s=0.4)


@pytest.mark.parametrize(
    "frames",
    [
        [b"short", wire.encode(WELCOME)],
        [wire.pack_header(wire.Message.HELLO, 0, 0, 0), b"\xc1 no msgpack"],
        [wire.pack_header(99, 0, 0, 0), wire.encode(WELCOME)],
        [wire.pack_header(wire.Message.HELLO, 0, 0, 0), wire.encode(wire.Done())],
    ],
)
def test_a_far_end_that_speaks_something_else_is_a_protocol_error(endpoint: str, frames: list[bytes]) -> None:
    with far_end(endpoint, lambda header, body: frames), pytest.raises(pit.ProtocolError):
        connect(endpoint)


def test_an_answer_of_the_wrong_kind_is_a_protocol_error(endpoint: str) -> None:
    def mad(header: wire.Header, body: bytes) -> list[bytes]:
        return polite(header, body) if header.message == wire.Message.HELLO else reply(header, wire.Pong(1, "x"))

    wrong = pytest.raises(pit.ProtocolError, match="Accepted was expected, not Pong")
    with far_end(endpoint, mad), connect(endpoint) as engine, wrong:
        engine.execute_pre_trade(an_order())


def test_a_lost_message_is_said_again_under_the_same_number(endpoint: str) -> None:
    heard: list[int] = []

    def deaf_at_first(header: wire.Header, body: bytes) -> list[bytes] | None:
        if header.message == wire.Message.COMMAND and header.number == 1:
            heard.append(header.number)
            if len(heard) < 3:
                return None
        return polite(header, body)

    with far_end(endpoint, deaf_at_first) as end, connect(endpoint) as engine:
        assert engine.execute_pre_trade(an_order())
        engine.ping()
        bodies = {body for header, body in end.heard if header.message == wire.Message.COMMAND and header.number == 1}
    assert len(heard) >= 3
    assert len(bodies) == 1


def test_a_connection_that_comes_back_goes_on_where_it_was(endpoint: str) -> None:
    with far_end(endpoint) as before:
        engine = connect(endpoint)
        assert engine.execute_pre_trade(an_order())
    assert [header.number for header in before.commands()] == [1]

    def knows_nobody_at_first(header: wire.Header, body: bytes) -> list[bytes]:
        if header.message == wire.Message.HELLO:
            hellos.append(wire.decode_hello(body))
        if not hellos:
            no = wire.Failed(wire.FailureCode.NO_SESSION, "say hello first")
            return [wire.pack_header(wire.Message.REFUSAL, 0, header.number, 0), wire.encode(no)]
        return polite(header, body)

    hellos: list[wire.Hello] = []
    with far_end(endpoint, knows_nobody_at_first), engine:
        held = engine.execute_pre_trade(an_order())
        assert isinstance(held, pit.Reservation)
        assert [hello.session for hello in hellos] == [42]


def test_a_call_without_an_answer_ends_in_time_and_is_settled_before_the_next(endpoint: str) -> None:
    is_deaf = threading.Event()

    def answer(header: wire.Header, body: bytes) -> list[bytes] | None:
        return None if is_deaf.is_set() else polite(header, body)

    with far_end(endpoint, answer) as end, connect(endpoint) as engine:
        is_deaf.set()
        order = an_order()
        engine.timeout_s = 0.2
        with pytest.raises(pit.OutcomeUnknown, match=f"Check of order {order.id}") as told:
            engine.execute_pre_trade(order)
        assert told.value.order_id == order.id
        is_deaf.clear()
        engine.timeout_s = PATIENCE_S
        assert engine.execute_pre_trade(an_order())
        kinds = [(header.message, header.number) for header, _ in end.heard]
        settled, following = kinds.index((wire.Message.SETTLE, 1)), kinds.index((wire.Message.COMMAND, 2))
        assert settled < following


def test_a_call_that_is_interrupted_leaves_the_engine_usable(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by Ctrl-C: what it asked for is settled, and the next call gets its own answer."""
    with far_end(endpoint) as end, connect(endpoint) as engine:
        session = engine._transport._session  # type: ignore[attr-defined]
        received = session.received

        def interrupted(header: bytes, body: bytes) -> object:
            monkeypatch.undo()
            raise KeyboardInterrupt

        monkeypatch.setattr(session, "received", interrupted)
        with pytest.raises(KeyboardInterrupt):
            engine.execute_pre_trade(an_order())
        assert session.received == received
        assert engine.ping() == "scripted"
        assert engine.execute_pre_trade(an_order())
        assert (wire.Message.SETTLE, 1) in [(header.message, header.number) for header, _ in end.heard]


def test_threads_take_turns_and_nobody_waits_longer_than_its_deadline(endpoint: str) -> None:
    release = threading.Event()

    def slow(header: wire.Header, body: bytes) -> list[bytes]:
        if header.message == wire.Message.COMMAND:
            release.wait(PATIENCE_S)
        return polite(header, body)

    with far_end(endpoint, slow) as end, connect(endpoint) as engine:
        busy = threading.Thread(target=engine.execute_pre_trade, args=(an_order(),))
        busy.start()
        until(lambda: end.commands(), "the first call to be under way")
        engine.timeout_s = 0.1
        try:
            with pytest.raises(pit.Unavailable, match="other threads kept this engine busy"):
                engine.ping()
        finally:
            release.set()
            busy.join(PATIENCE_S)
        engine.timeout_s = PATIENCE_S
        assert engine.ping()


def test_closing_says_goodbye(endpoint: str) -> None:
    with far_end(endpoint) as end:
        connect(endpoint).close()
        assert [wire.decode_command(body) for header, body in end.heard if header.message == wire.Message.COMMAND] == [
            wire.Goodbye()
        ]


def test_closing_does_not_wait_for_who_is_gone(endpoint: str) -> None:
    with far_end(endpoint):
        engine = connect(endpoint)
    before = time.monotonic()
    engine.close()
    assert time.monotonic() - before < PATIENCE_S
    with pytest.raises(pit.Closed):
        engine.ping()


def test_an_engine_survives_more_unanswered_calls_than_the_window_holds() -> None:
    """A daemon that hangs for minutes: what is given up is bounded, and all of it is settled once it is back."""
    with running("[gate]\nuncovered = 'allow'\n") as daemon, daemon.connect("mm1") as engine:
        engine.ping()
        daemon.freeze()
        engine.timeout_s = 0.01
        unknown = unsent = 0
        for _ in range(wire.WINDOW + 10):
            try:
                engine.execute_pre_trade(an_order())
            except pit.OutcomeUnknown:
                unknown += 1
            except pit.Unavailable as told:
                assert "64 commands wait for their answers" in str(told)
                unsent += 1
        daemon.thaw()
        engine.timeout_s = PATIENCE_S
        held = engine.execute_pre_trade(an_order())
        assert isinstance(held, pit.Reservation)
        assert (unknown, unsent) == (wire.WINDOW, 10)
        assert held.order.id in [each.order.id for each in engine.open_orders()]


def test_a_refusal_that_was_said_twice_does_not_hit_the_next_call() -> None:
    """The daemon was away for so long that the call had been said again; each copy is refused."""
    with running("[gate]\nuncovered = 'allow'\n") as daemon, daemon.connect("mm1", timeout_s=PATIENCE_S) as engine:
        for _ in range(2):
            daemon.freeze()
            timer = threading.Timer(0.9, daemon.thaw)
            timer.start()
            with pytest.raises(pit.NotAuthorized):
                engine.block("firm", "not mine to say")
            timer.join()
            for _ in range(3):
                held = engine.execute_pre_trade(an_order())
                assert isinstance(held, pit.Reservation)
                held.rollback()


def of_before(header: wire.Header, body: bytes) -> list[bytes]:
    """A daemon of the release before this one."""
    if header.message == wire.Message.HELLO and wire.decode_hello(body).protocol != wire.PROTOCOL - 1:
        return reply(header, wire.Failed(wire.FailureCode.PROTOCOL, "the other one is spoken here"))
    return polite(header, body)


def test_a_daemon_of_the_release_before_hears_from_who_answers_its_heartbeats(endpoint: str) -> None:
    """It would take a connection for lost that is silent between two calls: libzmq's own is not."""
    with far_end(endpoint, of_before) as end:
        with connect(endpoint) as engine:
            assert type(engine._transport._link).__name__ == "Dealer"  # type: ignore[attr-defined]
            assert engine.execute_pre_trade(an_order())

        async def ask() -> None:
            async with pit.connect_async("mm2", endpoint, timeout_s=PATIENCE_S) as twin:
                assert type(twin._transport._link).__name__ == "Dealer"  # type: ignore[attr-defined]
                assert await twin.execute_pre_trade(an_order())

        asyncio.run(ask())
        assert len(end.commands()) == 4, "two orders and two goodbyes"


def test_what_is_larger_than_the_kernel_takes_at_once_arrives_whole(endpoint: str) -> None:
    """It waits here until the daemon reads; nobody else waits with it for longer than that."""
    with far_end(endpoint) as end, connect(endpoint) as engine:
        large = wire.Adjust("a", (), "many", tuple(f"{n:0>60}" for n in range(9_000)))
        assert engine._transport.command(large, PATIENCE_S) == wire.Done()
        assert max(len(body) for _, body in end.heard) > 500_000
        assert engine.ping()


def test_two_engines_of_one_process_do_not_disturb_each_other(endpoint: str) -> None:
    with far_end(endpoint), connect(endpoint) as one, pit.connect("mm2", endpoint, timeout_s=PATIENCE_S) as two:
        assert one.ping() == two.ping() == "scripted"


def test_the_default_endpoint_is_the_environments(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PITD_ENDPOINT", endpoint)
    assert pit.default_endpoint() == endpoint
    with far_end(endpoint), pit.connect("mm1", timeout_s=PATIENCE_S) as engine:
        assert engine.ping() == "scripted"


@pytest.mark.skipif(Path("/run/pitd/pitd.sock").exists(), reason="a daemon of this machine has the usual place")
def test_without_an_environment_it_is_the_usual_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PITD_ENDPOINT", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    assert pit.default_endpoint() == "ipc:///run/pitd/pitd.sock"
