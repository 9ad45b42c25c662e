"""What keeps a client waiting: `python tests/bench/check_stalls.py [--open N]`.

Beside a daemon with its journal on, one client checks and rolls back without a pause, and its longest waits are told:
with 10 and with 100,000 orders open, while snapshots are taken, segments rolled and checkpoints made, and while 100,000
leases end at once. Then: how soon what a killed client held is free again.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pit

CONFIG = """
[daemon]
endpoint = "{endpoint}"
[journal]
directory = "{folder}/journal"
segment_rows = {segment_rows}
snapshot_rows = {snapshot_rows}
[gate]
uncovered = "allow"
max_lease = "600s"
max_unsettled = 1000000
max_open = 1000000
[limits]
fat_finger = {{ control = "order_size_limit", each = "account", settlement = "USD", max_quantity = "500" }}
msg_rate   = {{ control = "rate_limit", each = "account", max_orders = 1000000, window = "1s" }}
day_loss   = {{ control = "pnl_kill_switch", each = "account", settlement = "USD", max_loss = "1000" }}
open_usd   = {{ control = "open_order_notional", each = "account", settlement = "USD", max_notional = "900000000000" }}
open_v     = {{ control = "open_order_notional", each = "account", settlement = "V", max_notional = "400" }}
"""


def order(account: str = "alpha", settlement: str = "USD") -> pit.Order:
    return pit.Order(account=account, instrument=pit.Instrument("X", settlement), side="buy", quantity=1, price=100)


class Daemon:
    def __init__(self, folder: str, *, segment_rows: int = 10_000_000, snapshot_rows: int = 10_000_000) -> None:
        self.endpoint = f"ipc://{folder}/pitd.sock"
        self.log = Path(folder, "log")
        config = Path(folder, "pitd.toml")
        config.write_text(
            CONFIG.format(endpoint=self.endpoint, folder=folder, segment_rows=segment_rows, snapshot_rows=snapshot_rows)
        )
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pitd.cli", "run", "--config", str(config)], stderr=log
            )

    def connect(self, name: str) -> pit.Engine:
        deadline = time.monotonic() + 30
        while True:
            try:
                return pit.connect(name, self.endpoint, timeout_s=10)
            except pit.Unavailable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)

    def count(self, event: str) -> int:
        return self.log.read_text().count(event)


def waits(engine: pit.Engine, until: Callable[[], bool]) -> list[float]:
    """How long each check took, one after another, until told to end."""
    taken = []
    while not until():
        wanted = order()
        began = time.perf_counter()
        held = engine.execute_pre_trade(wanted)
        taken.append(time.perf_counter() - began)
        assert held, held
        held.rollback()
    return taken


def for_seconds(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


def told(what: str, taken: list[float], more: str = "") -> None:
    ms = sorted(each * 1e3 for each in taken)
    p50, p99 = ms[len(ms) // 2], ms[int(len(ms) * 0.99)]
    print(f"{what:<44} {len(ms):>7} checks  p50 {p50:6.3f}  p99 {p99:6.3f}  longest {ms[-1]:7.2f} ms{more}", flush=True)


def fill(daemon: Daemon, count: int, *, lease_s: float | None, commit: bool) -> list[pit.Engine]:
    """Opens so many orders over four connections, and returns the engines that keep them."""
    engines = [daemon.connect(f"filler{n}") for n in range(4)]

    def some(engine: pit.Engine) -> None:
        for _ in range(count // 4):
            held = engine.execute_pre_trade(order("beta"), sent=commit, lease_s=lease_s)
            assert held, held
            held._is_settled = True  # it is let go, and stays as it is
            if commit:
                held.commit()

    threads = [threading.Thread(target=some, args=(engine,)) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return engines


def open_orders_cost(count: int) -> None:
    with tempfile.TemporaryDirectory(prefix="pitd-bench-") as folder:
        daemon = Daemon(folder)
        try:
            prober = daemon.connect("prober")
            waits(prober, for_seconds(1))
            few = waits(prober, for_seconds(4))
            told("10 orders open", few)
            keepers = fill(daemon, count, lease_s=None, commit=True)
            waits(prober, for_seconds(1))
            many = waits(prober, for_seconds(4))
            ratio = statistics.median(many) / statistics.median(few)
            told(f"{count:,} orders open", many, f"   {ratio:.2f} times; aim: 1.2")
            for keeper in keepers:
                keeper.close()
        finally:
            daemon.stop()


def journal_work(count: int) -> None:
    with tempfile.TemporaryDirectory(prefix="pitd-bench-") as folder:
        daemon = Daemon(folder, segment_rows=count * 2 + 20_000, snapshot_rows=count * 2 + 5_000)
        try:
            keepers = fill(daemon, count, lease_s=None, commit=True)
            prober = daemon.connect("prober")
            began = time.monotonic()
            is_over = lambda: daemon.count("snapshot.written") >= 3 or time.monotonic() > began + 40  # noqa: E731
            taken = waits(prober, is_over)
            what = f"{daemon.count('snapshot.written')} snapshots, {daemon.count('journal.segment')} rolls, checkpoints"
            told(what, taken, "   aim: 50 ms")
            for keeper in keepers:
                keeper.close()
        finally:
            daemon.stop()


def leases_end(count: int, lease_s: float) -> None:
    with tempfile.TemporaryDirectory(prefix="pitd-bench-") as folder:
        daemon = Daemon(folder)
        try:
            prober = daemon.connect("prober")
            began = time.monotonic()
            keepers = fill(daemon, count, lease_s=lease_s, commit=False)
            filled_s = time.monotonic() - began
            if filled_s > lease_s:
                print(f"the first leases had ended before the last began ({filled_s:.0f} s); raise --lease")
            waits(prober, for_seconds(1))
            for each in keepers:
                each.close()  # its session ends, and so does every lease that it kept
            taken = waits(prober, for_seconds(8))
            told(f"{count:,} leases ending at once", taken, "   aim: 50 ms")
        finally:
            daemon.stop()


def victim(endpoint: str, ready: multiprocessing.Queue) -> None:  # type: ignore[type-arg]
    engine = pit.connect("victim", endpoint, timeout_s=10)
    held = [engine.execute_pre_trade(order("gamma", "V"), lease_s=60) for _ in range(4)]
    assert all(held), held
    ready.put(1)
    time.sleep(600)


def killed(rounds: int) -> None:
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="pitd-bench-") as folder:
        daemon = Daemon(folder)
        try:
            watcher = daemon.connect("watcher")
            taken = []
            for _ in range(rounds):
                ready = context.Queue()
                process = context.Process(target=victim, args=(daemon.endpoint, ready), daemon=True)
                process.start()
                ready.get(timeout=30)
                assert not watcher.execute_pre_trade(order("gamma", "V")), "it holds all there is"
                assert process.pid is not None
                os.kill(process.pid, signal.SIGKILL)
                began = time.perf_counter()
                while not (held := watcher.execute_pre_trade(order("gamma", "V"))):
                    assert time.perf_counter() < began + 20
                taken.append(time.perf_counter() - began)
                held.rollback()
                process.join()
            told("a killed client's holds free again", taken, "   aim: 10 ms at the median")
        finally:
            daemon.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--open", type=int, default=100_000)
    parser.add_argument("--lease", type=float, default=120.0, help="seconds, long enough to open them all")
    parser.add_argument("--rounds", type=int, default=20, help="clients to kill")
    options = parser.parse_args()
    killed(options.rounds)
    open_orders_cost(options.open)
    journal_work(options.open)
    leases_end(options.open, options.lease)


if __name__ == "__main__":
    main()
