"""Eight processes at once for one shared limit: never above it, and all of it given out while somebody wants it."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from daemon import Daemon, running, until

import pit

PROCESSES = 8
UNITS = 40
LIMITS = f"""
[gate]
lease = "10m"
max_lease = "10m"

[limits.firm_usd]
control = "open_order_notional"
over = "firm"
settlement = "USD"
max_notional = "{UNITS * 100}"
"""

LONG = pytest.param(
    2_000_000,
    marks=[
        pytest.mark.slow,
        pytest.mark.skipif(not os.environ.get("PITD_LONG"), reason="takes minutes; PITD_LONG=1 asks for it"),
    ],
)


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("attempts", [100_000, LONG])
def test_eight_processes_never_exceed_a_shared_limit_and_use_all_of_it(attempts: int) -> None:
    with running(LIMITS) as daemon, takers(daemon, attempts // PROCESSES) as crowd, watch(daemon) as seen:
        say(crowd)
        assert hear(crowd) == ["traded"] * PROCESSES
        say(crowd)
        assert sum(map(int, hear(crowd))) == UNITS, "once everybody has taken what is left, nothing is left"
        say(crowd)
        told = [json.loads(line) for line in hear(crowd)]
        assert [problems for _, _, problems in told] == [[]] * PROCESSES
        assert sum(accepted + rejected for accepted, rejected, _ in told) >= attempts // PROCESSES * PROCESSES
        assert all(accepted and rejected for accepted, rejected, _ in told), "everybody had its share, and a no"
        most = most_at_once(daemon.folder / f"audit-{at}" for at in range(PROCESSES))
        assert UNITS // 2 < most <= UNITS
    assert seen and max(seen) <= UNITS


def test_what_dead_takers_held_can_be_taken_again() -> None:
    with running(LIMITS) as daemon, takers(daemon, 200) as crowd:
        say(crowd)
        hear(crowd)
        say(crowd)
        hear(crowd)
        for taker in crowd:
            taker.kill()
        sent = sum(left_behind(daemon, f"w{at}") for at in range(PROCESSES))
        kept: list[pit.Reservation] = []
        with daemon.connect("heir") as heir:
            until(lambda: not take(heir, kept), "the heir to find nothing left")
            assert 0 < sent < UNITS
            assert len(kept) + sent == UNITS, "what was held is free again; what was sent stays counted"


def left_behind(daemon: Daemon, name: str) -> int:
    """The units that a dead taker had sent. Connecting under its name ends what it held, if that is still open."""
    with daemon.connect(name) as again:
        until(
            lambda: all(each.state is pit.OrderState.QUARANTINED for each in again.open_orders()),
            "what was held to be given back",
        )
        return sum(int(each.open_quantity) for each in again.open_orders())


def take(engine: pit.Engine, kept: list[pit.Reservation]) -> bool:
    held = engine.execute_pre_trade(an_order(1))
    if isinstance(held, pit.Reservation):
        kept.append(held)
    return bool(held)


def an_order(units: int) -> pit.Order:
    return pit.Order(
        account="watch", instrument=pit.Instrument("AAPL", "USD"), side=pit.Side.BUY, quantity=units, price=100
    )


@contextmanager
def takers(daemon: Daemon, attempts: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Strategy processes that are connected and wait for the word."""
    script = Path(__file__).with_name("taker.py")
    crowd = [
        subprocess.Popen(
            [sys.executable, script, daemon.endpoint, f"w{at}", str(at), str(attempts), daemon.folder / f"audit-{at}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for at in range(PROCESSES)
    ]
    try:
        assert hear(crowd) == ["ready"] * PROCESSES
        yield crowd
    finally:
        for taker in crowd:
            taker.kill()
            taker.communicate()


def say(crowd: list[subprocess.Popen[str]]) -> None:
    for taker in crowd:
        assert taker.stdin is not None
        taker.stdin.write("go\n")
        taker.stdin.flush()


def hear(crowd: list[subprocess.Popen[str]]) -> list[str]:
    """The next line of each."""
    return [taker.stdout.readline().strip() for taker in crowd if taker.stdout is not None]


@contextmanager
def watch(daemon: Daemon) -> Iterator[list[int]]:
    """What the daemon itself counts as used, in units, asked again and again: by an order that can never fit."""
    seen: list[int] = []
    is_over = threading.Event()

    def look() -> None:
        with daemon.connect("watch", timeout_s=30) as engine:
            while not is_over.wait(0.01):
                no = engine.execute_pre_trade(an_order(UNITS + 1))
                assert isinstance(no, pit.Rejected) and no.used is not None
                seen.append(int(no.used) // 100)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        is_over.set()
        watcher.join(60)


def most_at_once(files: Iterator[Path]) -> int:
    """The most units that all audits together show as held at one moment."""
    changes: list[tuple[int, int]] = []
    for file in files:
        audit = array("q")
        audit.frombytes(file.read_bytes())
        for at in range(0, len(audit), 3):
            since_ns, until_ns, units = audit[at : at + 3]
            changes += [(since_ns, units), (until_ns, -units)]
    return max(itertools.accumulate(units for _, units in sorted(changes)))
