"""What the service manager hears of the daemon, what it holds for it, and that a restart disturbs no client."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from builders import Core, order
from daemon import PATIENCE_S, Daemon, folder, until
from journal.histories import kept
from manager import Managed, Notifications, managed
from process.conftest import LIMITS

import pit
from pitd import bootstrap, config, systemd
from pitd.clock import SystemClock
from pitd.core.engine import Engine
from pitd.health import Health, Unsound
from pitd.pulse import Pulse
from pitd.sequencer import Sequencer
from pitd.server import Server

AAPL = pit.Instrument("AAPL", "USD")
BEAT_US = {"WATCHDOG_USEC": "200000"}


def an_order(**words: Any) -> pit.Order:
    return pit.Order(**({"account": "alpha", "instrument": AAPL, "side": "buy", "quantity": 1, "price": 1} | words))


def reserve(engine: pit.Engine, **words: Any) -> pit.Reservation:
    held = engine.execute_pre_trade(an_order(**words), sent=True, lease_s=60)
    assert isinstance(held, pit.Reservation), str(held)
    return held


def listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


# ---------------------------------------------------------------------------------------------- what it says


def test_ready_is_said_when_the_endpoint_is_open_and_what_it_serves_follows() -> None:
    with managed(LIMITS, is_held=False) as one:
        one.start()
        assert listens(one.socket)
        assert f"STATUS=serving at {one.endpoint}: 0 sessions, 0 open orders, entry 2" in one.told.heard()


def test_recovery_is_told_before_it_is_ready_with_its_rows_and_a_wish_for_more_time() -> None:
    with managed(LIMITS + "[journal]\nsnapshot_rows = 1000000\n") as one:
        one.config.write_text(one.config.read_text() + f'directory = "{one.folder}/journal"\n', encoding="utf-8")
        one.start()
        with one.connect("mm1") as engine:
            for _ in range(600):
                reserve(engine).rollback()
        one.kill()
        one.start()
        heard = one.told.heard()
        before = heard[: heard.index("READY=1")]
        assert before[:2] == ["STATUS=recovering: looking at the journal", "EXTEND_TIMEOUT_USEC=60000000"]
        assert [line for line in heard if line.startswith("STATUS=recovering")] == [
            line for line in before if line.startswith("STATUS=")
        ]


def test_every_word_about_a_long_recovery_asks_for_more_time(tmp_path: Path) -> None:
    told = Notifications(tmp_path)
    manager = systemd.Manager({"NOTIFY_SOCKET": str(told.path)})
    for done in (1_000, 2_000, 3_000):
        manager.recovering(done, 3_000)
        time.sleep(0.3)
    manager.recovering(1, 3_000)
    manager.recovering(2, 3_000)  # at once after the last: not said
    manager.close()
    assert told.heard()[::2] == [f"STATUS=recovering: {n} of 3000 rows carried out" for n in (1_000, 2_000, 3_000, 1)]
    assert set(told.heard()[1::2]) == {"EXTEND_TIMEOUT_USEC=60000000"}
    told.close()


def test_recovery_tells_how_many_rows_of_how_many_it_has_carried_out() -> None:
    with managed(LIMITS) as one:
        one.start()
        with one.connect("mm1") as engine:
            for _ in range(600):
                reserve(engine).rollback()
        one.kill()
        told: list[tuple[int, int]] = []
        settings = config.load(one.config)
        _, kept = bootstrap.build_daemon(settings, progress=lambda done, rows: told.append((done, rows)))
        assert kept is not None
        kept.close()
    (rows,) = {rows for _, rows in told}
    dones = [done for done, _ in told]
    assert rows > 1_000 and len(dones) > 2
    assert dones[-1] == rows
    assert all(500 * at <= done < 500 * at + 256 for at, done in enumerate(dones[:-1], 1))


@pytest.mark.parametrize("trouble", ["journal", "endpoint"])
def test_who_cannot_serve_is_never_ready(trouble: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, folder() as home:
        endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}" if trouble == "endpoint" else None
        one = Managed(home, LIMITS, is_held=False, endpoint=endpoint)
        if trouble == "journal":
            (home / "journal").mkdir()
            (home / "journal" / "0000000000000001.segment").write_bytes(b"")
        one.launch()
        assert one.process is not None
        assert one.process.wait(PATIENCE_S) == (69 if trouble == "endpoint" else 65), one.log()
        assert "STATUS=recovering: looking at the journal" in one.told.heard()
        assert "READY=1" not in one.told.heard()
        one.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_end_is_announced(number: signal.Signals) -> None:
    with managed(LIMITS) as one:
        one.start()
        assert "STOPPING=1" not in one.told.heard()
        os.kill(one.pid, number)
        assert one.process is not None and one.process.wait(PATIENCE_S) == 0
        assert one.told.heard()[-2:] == ["STOPPING=1", "STATUS=stopping"]


def test_a_reload_is_announced_with_its_moment(tmp_path: Path) -> None:
    told = Notifications(tmp_path)
    manager = systemd.Manager({"NOTIFY_SOCKET": str(told.path)})
    before = time.monotonic_ns() // 1_000
    manager.reloading()
    manager.reloaded("serving")
    manager.close()
    reloading, moment, _, ready, status = told.heard()
    assert (reloading, ready, status) == ("RELOADING=1", "READY=1", "STATUS=serving")
    assert before <= int(moment.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1_000
    told.close()


def test_an_abstract_notify_socket_is_reached() -> None:
    name = f"pitd-test-{os.getpid()}-{time.monotonic_ns()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind("\0" + name)
        ear.settimeout(PATIENCE_S)
        manager = systemd.Manager({"NOTIFY_SOCKET": "@" + name})
        manager.ready("a status\nof two lines")
        manager.close()
        assert ear.recv(1_000) == b"READY=1\nSTATUS=a status of two lines"


def test_without_a_manager_nothing_is_said_and_nothing_fails() -> None:
    manager = systemd.Manager({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(os.getpid())})
    manager.recovering()
    manager.ready("")
    manager.alive("")
    manager.stopping()
    manager.close()
    assert manager.beat_every_s is None


def test_a_manager_that_is_gone_or_cannot_be_reached_harms_nobody(tmp_path: Path) -> None:
    for where in (str(tmp_path / "none"), "vsock:2:1234", "relative"):
        manager = systemd.Manager({"NOTIFY_SOCKET": where})
        manager.ready("")
        manager.alive("")
        manager.close()


def test_what_it_is_told_stays_with_it() -> None:
    """A child that inherited these would take itself for the service."""
    told = {"NOTIFY_SOCKET": "", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}
    told |= {"LISTEN_FDS": "1", "LISTEN_PID": "1", "LISTEN_FDNAMES": "x", "HOME": "/"}
    systemd.Manager(told)
    systemd.held_socket(told, "ipc:///nowhere")
    assert told == {"HOME": "/"}


# ---------------------------------------------------------------------------------------------- signs of life


def test_a_living_daemon_beats_and_tells_its_state() -> None:
    with managed(LIMITS) as one:
        one.start(environment=BEAT_US)
        with one.connect("mm1") as engine:
            reserve(engine)
            one.told.forget()
            until(lambda: one.told.count("WATCHDOG=1") >= 3, "three beats")
            assert any(": 1 sessions, 1 open orders, entry " in line for line in one.told.heard())


def test_it_beats_under_load_too() -> None:
    with managed(LIMITS) as one:
        one.start(environment=BEAT_US)
        with one.connect("mm1") as engine:
            one.told.forget()
            until(lambda: (reserve(engine).rollback(), one.told.count("WATCHDOG=1") >= 3)[1], "three beats")


def test_a_beat_is_due_twice_in_the_time_the_manager_waits() -> None:
    manager = systemd.Manager({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "10000000"})
    manager.close()
    assert manager.beat_every_s == 5.0


@pytest.mark.parametrize("environment", [{}, {"WATCHDOG_USEC": "200000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "0"}])
def test_nobody_beats_who_is_not_watched(environment: dict[str, str]) -> None:
    with managed(LIMITS) as one:
        one.start(environment=environment)
        with one.connect("mm1") as engine:
            reserve(engine).rollback()
        assert one.stop() == 0
        assert "WATCHDOG=1" not in one.told.heard()


class SometimesStuck(Sequencer):
    """A sequencer whose loop a test can hold up."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.may_go = threading.Event()
        self.may_go.set()

    def end_due(self) -> bool:
        assert self.may_go.wait(PATIENCE_S)
        return super().end_due()


def test_a_stuck_loop_does_not_beat(tmp_path: Path) -> None:
    with folder() as home:
        told = Notifications(home)
        manager = systemd.Manager({"NOTIFY_SOCKET": str(told.path), "WATCHDOG_USEC": "40000"})
        settings = config.parse(f'daemon.endpoint = "ipc://{home}/s"\njournal.durability = "none"')
        sequencer = SometimesStuck(bootstrap.build_engine(settings), SystemClock())
        server = Server(sequencer, settings)
        server.bind()
        server.between = Pulse(manager, sequencer, endpoint=server.endpoint)
        loop = threading.Thread(target=server.run)
        loop.start()
        try:
            until(lambda: told.count("WATCHDOG=1") >= 2, "beats")
            sequencer.may_go.clear()
            time.sleep(0.2)  # the round that was under way
            told.forget()
            time.sleep(0.5)
            assert told.heard() == []
            sequencer.may_go.set()
            until(lambda: told.count("WATCHDOG=1") >= 2, "beats")
        finally:
            sequencer.may_go.set()
            server.stop()
            loop.join(PATIENCE_S)
            server.close()
            manager.close()
            told.close()


def test_where_it_was_stuck_is_in_the_log_when_the_watchdog_ends_it() -> None:
    with managed(LIMITS) as one:
        one.start()
        os.kill(one.pid, signal.SIGABRT)
        assert one.process is not None and one.process.wait(PATIENCE_S) == -signal.SIGABRT
        assert "Fatal Python error: Aborted" in one.log()
        assert "server.py" in one.log()


# ---------------------------------------------------------------------------------------------- the self-check


def core_with_orders() -> Core:
    """A core with 200 open orders of a client, every other one working."""
    core = Core()
    for at in range(200):
        held = core.check(order(id=f"o{at}", quantity="1"), sent=True)
        if at % 2:
            core.commit(held.reservation_id)
    return core


def lost_from_its_client(engine: Engine) -> None:
    del next(iter(engine.orders.by_client.values()))[next(iter(engine.orders.open))]


def moved_to_another_client(engine: Engine) -> None:
    id = list(engine.orders.open)[-1]
    del next(iter(engine.orders.by_client.values()))[id]
    engine.orders.by_client["somebody"] = {id: None}


def ended_and_still_open(engine: Engine) -> None:
    list(engine.orders.open.values())[-1].state = pit.OrderState.CLOSED


def not_found_by_its_id(engine: Engine) -> None:
    engine.orders.by_key.popitem()


def not_to_be_settled_by_anybody(engine: Engine) -> None:
    engine.sessions.going()[0].unsettled.popitem()


def without_ends(engine: Engine) -> None:
    engine.leases.rebuild(engine.live_leases()[:10])


@pytest.mark.parametrize(
    ("breaks", "says"),
    [
        (lost_from_its_client, "200 orders are open, and clients have 199"),
        (moved_to_another_client, "order o199 of alpha is not among those of client"),
        (ended_and_still_open, "order o199 of alpha is closed and stands among the open ones"),
        (not_found_by_its_id, "order o199 of alpha is not found by its id"),
        (not_to_be_settled_by_anybody, "order o198 of alpha is sent, and no session has it to settle"),
        (without_ends, "100 reservations and requests have a lease, and the ends of 10 are kept"),
    ],
)
def test_what_does_not_hold_together_is_found_within_a_few_looks(breaks: Callable[[Engine], None], says: str) -> None:
    core = core_with_orders()
    looks = Health(core.engine)
    for _ in range(10):
        looks.check(core.engine.now_ns)
    breaks(core.engine)
    with pytest.raises(Unsound, match=says):
        for _ in range(5):
            looks.check(core.engine.now_ns)


def test_a_lease_that_nobody_ends_is_found_by_the_second_look() -> None:
    core = core_with_orders()
    looks = Health(core.engine)
    long_after = core.engine.now_ns + 3_600_000_000_000
    looks.check(long_after)  # it may only just have become due
    with pytest.raises(Unsound, match="should have ended"):
        looks.check(long_after)


def test_a_journal_that_does_not_end_where_the_engine_stands_is_found(tmp_path: Path) -> None:
    with kept(tmp_path / "j") as live:
        live.trade(20)
        looks = Health(live.engine, live.journal)
        looks.check(live.engine.now_ns)
        live.journal.head = live.journal.head._replace(seq=live.journal.head.seq - 1)
        with pytest.raises(Unsound, match="the journal ends with row"):
            looks.check(live.engine.now_ns)


UNSOUND = """
import sys
from pitd import cli, health
rounds = 0
def check(self, now_ns):
    global rounds
    rounds += 1
    if rounds > 3:
        raise health.Unsound("seven orders are open, and clients have eight")
health.Health.check = check
sys.exit(cli.main(sys.argv[1:]))
"""


def test_a_daemon_that_is_not_sound_ends_with_70_and_keeps_nothing_of_its_state() -> None:
    with managed(LIMITS) as one:
        one.command[1:3] = ["-c", UNSOUND]
        one.start(environment=BEAT_US)
        with one.connect("mm1") as engine:
            reserve(engine).commit()
            assert one.process is not None
            assert one.process.wait(PATIENCE_S) == 70
        assert "daemon.invariant_broken why='seven orders are open, and clients have eight'" in one.log()
        assert not list((one.folder / "journal").glob("*.snapshot"))
        assert one.told.heard()[-2:] == ["STOPPING=1", "STATUS=stopping"]


# ---------------------------------------------------------------------------------------------- the held socket


def test_a_held_socket_is_served_and_stays_when_the_daemon_ends() -> None:
    with managed(LIMITS) as one:
        before = one.socket.stat().st_ino
        one.start()
        with one.connect("mm1") as engine:
            reserve(engine)
        assert one.stop() == 0
        assert stat.S_ISSOCK(one.socket.stat().st_mode) and one.socket.stat().st_ino == before
        assert not one.socket.with_name("pitd.sock.lock").exists()
        assert listens(one.socket)


def test_a_socket_that_is_meant_for_another_process_is_left_alone() -> None:
    with managed(LIMITS, is_held=False) as one:
        one.start(environment={"LISTEN_FDS": "1", "LISTEN_PID": "1"})
        with one.connect("mm1") as engine:
            reserve(engine)
        assert one.stop() == 0
        assert not one.socket.exists(), "its own socket, which it takes away again"


def test_a_held_socket_of_another_endpoint_is_a_configuration_error_that_names_both() -> None:
    with managed(LIMITS, endpoint="ipc:///nowhere/else.sock") as one:
        one.launch()
        assert one.process is not None and one.process.wait(PATIENCE_S) == 78
        assert f"holds ipc://{one.socket}, and [daemon] endpoint says ipc:///nowhere/else.sock" in one.log()


def test_two_held_sockets_are_a_configuration_error() -> None:
    with managed(LIMITS) as one:
        one.launch({"TEST_FDS": "2"})
        assert one.process is not None
        assert one.process.wait(PATIENCE_S) != 0
        assert "READY=1" not in one.told.heard()


@pytest.mark.parametrize(
    ("family", "address", "endpoint"),
    [
        (socket.AF_UNIX, "\0pitd-held-{pid}", "ipc://@pitd-held-{pid}"),
        (socket.AF_INET, ("127.0.0.1", 0), "tcp://127.0.0.1:{port}"),
        (socket.AF_INET6, ("::1", 0), "tcp://[::1]:{port}"),
    ],
)
def test_a_held_socket_is_known_by_its_address(
    family: socket.AddressFamily, address: Any, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(family) as held:
        try:
            held.bind(address.format(pid=os.getpid()) if isinstance(address, str) else address)
        except OSError as trouble:
            pytest.skip(f"no such address here: {trouble}")
        held.listen()
        name = held.getsockname()
        port = name[1] if family != socket.AF_UNIX else 0
        assert systemd._listens_at(held.fileno()) == endpoint.format(pid=os.getpid(), port=port)


def test_a_socket_that_does_not_listen_is_not_taken_for_an_endpoint(tmp_path: Path) -> None:
    one, other = socket.socketpair()
    with one, other, (tmp_path / "file").open("w") as file:
        assert systemd._listens_at(one.fileno()) == "a socket that does not listen for streams"
        assert systemd._listens_at(file.fileno()).startswith("no socket")


class Trader(threading.Thread):
    """Trades until it is told to end; every trouble a call gives is kept."""

    def __init__(self, daemon: Daemon, name: str) -> None:
        super().__init__(name=name)
        self._daemon = daemon
        self.should_end = threading.Event()
        self.troubles: list[BaseException] = []
        self.committed: list[str] = []
        self.calls = 0

    def run(self) -> None:
        try:
            with self._daemon.connect(self.name, timeout_s=PATIENCE_S * 2) as engine:
                while not self.should_end.is_set():
                    held = reserve(engine, account=self.name)
                    if self.calls % 3:
                        held.rollback()
                    else:
                        held.commit(venue_order_id=f"V{held.order.id}")
                        self.committed.append(held.order.id)
                    self.calls += 1
        except BaseException as trouble:
            self.troubles.append(trouble)


@pytest.mark.parametrize("end", [Daemon.stop, Daemon.kill], ids=["stopped", "killed"])
def test_restarts_under_a_held_socket_give_no_trading_client_an_error(end: Callable[[Daemon], int]) -> None:
    with managed() as one:
        one.start()
        traders = [Trader(one, f"mm{at}") for at in range(4)]
        for trader in traders:
            trader.start()
        try:
            for _ in range(3):
                seen = [trader.calls for trader in traders]
                until(
                    lambda seen=seen: all(  # type: ignore[misc]
                        trader.troubles or trader.calls > before + 20
                        for trader, before in zip(traders, seen, strict=True)
                    ),
                    "everybody to trade",
                )
                end(one)
                time.sleep(0.3)  # with nobody there: they wait in the socket's queue
                one.start()
        finally:
            for trader in traders:
                trader.should_end.set()
            for trader in traders:
                trader.join(PATIENCE_S * 2)
        assert [trader.troubles for trader in traders] == [[]] * 4
        for trader in traders:
            with one.connect(trader.name) as engine:
                working = sorted(each.order.id for each in engine.open_orders())
            assert working == sorted(trader.committed), "no order lost, none doubled"


CALL = """
import sys, pit
pit.connect("anew", sys.argv[1], timeout_s=30).ping()
"""


def test_who_connects_while_nobody_is_there_is_served_when_the_daemon_has_started() -> None:
    with managed(LIMITS) as one:
        waiting = subprocess.Popen([sys.executable, "-c", CALL, one.endpoint])
        time.sleep(0.5)
        assert waiting.poll() is None
        one.start()
        assert waiting.wait(PATIENCE_S) == 0
