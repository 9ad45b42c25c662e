"""Clients that die or stop, as processes: what they held comes back, what they had sent stays counted."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from daemon import PATIENCE_S, Daemon, running, until
from process.conftest import LIMITS

import pit

STRATEGY = """
import sys, time
import pit

def order(id):
    pair = pit.Instrument("AAPL", "USD")
    return pit.Order(account="alpha", instrument=pair, side="buy", quantity=1, price=100, id=id)

engine = pit.connect(sys.argv[3], sys.argv[1], timeout_s=20)
lease_s = float(sys.argv[2])
held = engine.execute_pre_trade(order("held"), lease_s=lease_s)
sent = engine.execute_pre_trade(order("sent"), sent=True, lease_s=lease_s)
print("ready", flush=True)
sys.stdin.readline()
for one in (held, sent):
    try:
        one.commit()
        print("committed", flush=True)
    except pit.PitError as trouble:
        print(type(trouble).__name__, flush=True)
"""


@contextmanager
def strategy(daemon: Daemon, lease_s: float, name: str = "strategy") -> Iterator[subprocess.Popen[str]]:
    """A strategy process that holds one order and has sent another, and commits both when it is spoken to."""
    process = subprocess.Popen(
        [sys.executable, "-c", STRATEGY, daemon.endpoint, str(lease_s), name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def state(operator: pit.Engine, id: str) -> tuple[pit.OrderState, str | None]:
    outcome = operator.outcome("alpha", id)
    return outcome.state, outcome.ended_by


@pytest.mark.parametrize("endpoint", [None, "tcp://127.0.0.1:*"])
def test_a_killed_client_loses_what_it_held_long_before_its_lease_ends(endpoint: str | None) -> None:
    with running(LIMITS, endpoint=endpoint) as daemon, daemon.connect("ops") as operator:
        with strategy(daemon, 60) as process:
            assert state(operator, "held") == (pit.OrderState.HELD, None)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            until(lambda: state(operator, "held")[0] is not pit.OrderState.HELD, "the hold to be given back")
        assert state(operator, "held") == (pit.OrderState.ROLLED_BACK, "client_gone")
        assert state(operator, "sent") == (pit.OrderState.QUARANTINED, None)


def test_a_stopped_client_finds_its_leases_ended_when_it_goes_on(own_daemon: Daemon) -> None:
    with own_daemon.connect("ops") as operator, strategy(own_daemon, 0.3) as process:
        os.kill(process.pid, signal.SIGSTOP)
        until(lambda: state(operator, "sent")[0] is pit.OrderState.QUARANTINED, "the leases to end")
        assert state(operator, "held") == (pit.OrderState.ROLLED_BACK, "lease")
        os.kill(process.pid, signal.SIGCONT)
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("go on\n")
        process.stdin.flush()
        assert [process.stdout.readline(), process.stdout.readline()] == ["LeaseExpired\n", "committed\n"]
        assert state(operator, "sent") == (pit.OrderState.WORKING, None)


def test_a_death_in_another_container_ends_no_one_else_there(home: Path) -> None:
    """To a daemon in a container of its own the pid of each of its clients outside is 0."""
    apart = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if shutil.which("unshare") is None or subprocess.run([*apart, "true"], capture_output=True).returncode:
        pytest.skip("no container can be made here")
    daemon = Daemon(home, LIMITS)
    try:
        daemon.start(under=apart)
        with strategy(daemon, 60, "living") as living:
            with strategy(daemon, 60, "dying"):
                pass
            until(lambda: "session.ended client=dying" in daemon.log(), daemon.log)
            assert "its process has died" in daemon.log()
            output, _ = living.communicate("go on\n", timeout=PATIENCE_S)
            assert output.split() == ["committed", "committed"]
    finally:
        daemon.kill()
