"""Events beside a real daemon: a watcher that is stopped, falls behind, outlives a restart, or may not watch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from builders import order
from daemon import Daemon, running, until

import pit
from pit import wire
from pitd.events import KEPT_ROWS

LIMITS = """
[clients.watch]
roles = ["observe"]
[clients."*"]
roles = ["trade"]
[limits]
size = { control = "order_size_limit", each = "account", settlement = "USD", max_quantity = "500" }
open_usd = { control = "open_order_notional", each = "account", settlement = "USD", max_notional = "50000" }
"""
WATCHER = Path(__file__).with_name("watcher.py")


class Watcher:
    """A process that watches, and what it has printed."""

    def __init__(self, daemon: Daemon, since: str) -> None:
        self._out = daemon.folder / "watched"
        with self._out.open("wb") as out:
            self.process = subprocess.Popen([sys.executable, str(WATCHER), daemon.endpoint, since], stdout=out)

    @property
    def lines(self) -> list[list[str]]:
        whole, _, _ = self._out.read_text().rpartition("\n")
        return [line.split() for line in whole.splitlines() if line != "watching"]

    @property
    def numbers(self) -> list[tuple[int, int]]:
        return [(int(line[0]), int(line[1])) for line in self.lines if line[0] != "missed"]

    @property
    def is_watching(self) -> bool:
        return "watching" in self._out.read_text()

    def has_seen(self, seq: int) -> bool:
        return bool(self.numbers) and self.numbers[-1][0] >= seq

    def stop(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)


@contextmanager
def watching(daemon: Daemon, since: str = "now") -> Iterator[Watcher]:
    watcher = Watcher(daemon, since)
    try:
        until(lambda: watcher.is_watching or watcher.lines, "the watcher to begin")
        yield watcher
    finally:
        watcher.process.kill()
        watcher.process.wait()


def refuse(engine: pit.Engine, count: int) -> None:
    """So many decisions, one row and one event each."""
    for _ in range(count):
        assert not engine.execute_pre_trade(order(quantity="501"))


def seq_of(engine: pit.Engine) -> int:
    status = engine.ask(wire.AskStatus())
    assert isinstance(status, wire.StatusIs)
    return status.seq


def test_a_stopped_watcher_keeps_nobody_waiting_and_later_catches_up_without_a_gap() -> None:
    with running(LIMITS) as daemon, daemon.connect("mm1") as engine, watching(daemon) as watcher:
        refuse(engine, 1)
        begun = seq_of(engine)
        until(lambda: watcher.has_seen(begun), "the first event")
        watcher.stop()
        engine.timeout_s = 10
        refuse(engine, KEPT_ROWS + 1_000)
        assert not watcher.has_seen(seq_of(engine))
        watcher.go_on()
        last = seq_of(engine)
        until(lambda: watcher.has_seen(last), "the watcher to catch up", 60)
        assert "missed" not in [line[0] for line in watcher.lines]
        assert watcher.numbers == [(seq, 0) for seq in range(begun, last + 1)]


def test_a_watcher_goes_on_over_a_crash_of_the_daemon_and_nothing_is_lost_or_doubled() -> None:
    with running(LIMITS) as daemon, watching(daemon, "0") as watcher:
        for _ in range(3):
            with daemon.connect("mm1") as engine:
                refuse(engine, 50)
                last = seq_of(engine)
            until(lambda upto=last: watcher.has_seen(upto), "the watcher to see it")  # type: ignore[misc]
            daemon.kill()
            daemon.start()
        with daemon.connect("watch2") as engine:
            last = seq_of(engine)
        until(lambda: watcher.has_seen(last), "the watcher to see the last start")
        seen = watcher.numbers
        assert len(set(seen)) == len(seen) and seen == sorted(seen)
        assert [line[2] for line in watcher.lines].count("Decided") == 150
        assert [line[2] for line in watcher.lines].count("DaemonStarted") == 4


def test_every_event_that_was_told_is_in_the_journal_after_a_crash() -> None:
    with running(LIMITS) as daemon:
        with daemon.connect("mm1") as engine, watching(daemon) as watcher:
            refuse(engine, 200)
            until(lambda: len(watcher.numbers) > 20, "some events")
            daemon.kill()
            told = watcher.numbers
        daemon.start()
        kept = set()
        with daemon.connect("watch") as engine:
            subscription = pit.subscribe(engine, since=0)
            while (event := subscription.poll()) is not None:
                assert not isinstance(event, pit.events.Missed)
                kept.add(tuple(event.number))
        assert set(told) <= kept


def test_without_a_journal_a_watcher_that_fell_behind_is_told_which_rows_it_missed() -> None:
    forgetful = f'{LIMITS}\n[journal]\ndurability = "none"\n'
    with running(forgetful) as daemon, daemon.connect("mm1") as engine, watching(daemon) as watcher:
        refuse(engine, 1)
        begun = seq_of(engine)
        until(lambda: watcher.has_seen(begun), "the first event")
        watcher.stop()
        refuse(engine, KEPT_ROWS + 500)
        last = seq_of(engine)
        watcher.go_on()
        until(lambda: watcher.has_seen(last), "the watcher to go on", 60)
        (missed,) = [line for line in watcher.lines if line[0] == "missed"]
        after = int(missed[2]) + 1
        assert watcher.numbers[-KEPT_ROWS:] == [(seq, 0) for seq in range(after, after + KEPT_ROWS)]


def test_who_may_not_see_everybodys_orders_is_refused() -> None:
    with running(LIMITS) as daemon, daemon.connect("mm1") as engine, pytest.raises(pit.NotAuthorized):
        pit.subscribe(engine, since=0).poll()
