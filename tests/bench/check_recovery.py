"""How fast a journal comes back: `python tests/bench/check_recovery.py [--entries N] [--open N]`.

Writes a journal of so many entries through the real engine, then measures, several times: carrying every entry out
from the beginning, and a daemon's whole start (process, snapshot, what follows it) until it is ready.
"""

from __future__ import annotations

import argparse
import decimal
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pit
from pitd import bootstrap, config, recovery
from pitd.clock import ManualClock
from pitd.core import entry as e
from pitd.core.engine import exact_context
from pitd.journal import START, SegmentJournal, write_snapshot
from pitd.sequencer import Sequencer

CONFIG = """
[daemon]
endpoint = "ipc://{folder}/pitd.sock"
[journal]
directory = "{folder}/journal"
[limits]
fat_finger = {{ control = "order_size_limit", each = "account", settlement = "USD", max_quantity = "500" }}
msg_rate   = {{ control = "rate_limit", each = "account", max_orders = 100000, window = "1s" }}
day_loss   = {{ control = "pnl_kill_switch", each = "account", settlement = "USD", max_loss = "1000000000" }}
open_usd   = {{ control = "open_order_notional", each = "account", settlement = "USD", max_notional = "900000000000" }}
"""
ACCOUNTS = [f"account{n}" for n in range(20)]


class Writer:
    """Writes a history: checks, commits, fills and cancels, with about so many orders open."""

    def __init__(self, settings: config.Config, want_open: int) -> None:
        self._chance = random.Random(7)
        self._want_open = want_open
        self._directory = Path(settings.journal.directory)
        self._clock = ManualClock(1)
        self.engine = bootstrap.blank_engine()
        self.journal = SegmentJournal(settings.journal, b"benchmark-journal"[:16], START)
        self._sequencer = Sequencer(self.engine, self._clock, self.journal)
        self._sequencer.configure(bootstrap.configured(settings, "bench", "bench"))
        session = self.engine.sessions.get(self._sequencer.open_session("mm1", b"t" * 16))
        assert session is not None
        self._session = session
        self._open: list[pit.Order] = []

    def write(self, entries: int, snapshot_rows: int) -> None:
        next_snapshot = snapshot_rows
        while self.engine.seq < entries:
            self._clock.advance_ns(self._chance.randrange(2_000_000))
            if len(self._open) < self._want_open or self._chance.random() < 0.5:
                wanted = pit.Order(
                    account=self._chance.choice(ACCOUNTS),
                    instrument=pit.Instrument("AAPL", "USD"),
                    side="buy",
                    quantity=self._chance.randint(1, 400),
                    price=f"{self._chance.randint(18000, 19000) / 100:.2f}",
                )
                held = self._say(e.CheckOrder(wanted, True, None))
                self._say(e.Commit(held.reservation_id, f"v{held.reservation_id}", False))
                self._open.append(wanted)
            else:
                at = self._chance.randrange(len(self._open))
                self._open[at], self._open[-1] = self._open[-1], self._open[at]
                known = self._open.pop()
                facts: dict[str, Any] = {
                    "account": known.account,
                    "order_id": known.id,
                    "report_id": str(self.engine.seq),
                }
                if self._chance.random() < 0.5:
                    facts |= {"kind": "fill", "quantity": known.quantity, "price": known.price, "fee": "0.01"}
                else:
                    facts |= {"kind": "cancelled"}
                self._say(e.ApplyReport(pit.ExecutionReport(**facts)))
            if self.engine.seq % 64 < 2:
                self._sequencer.release()
            if self.engine.seq >= next_snapshot <= entries - snapshot_rows:
                self._sequencer.release()
                write_snapshot(self._directory, self.engine, self.journal.id, self.journal.head)
                next_snapshot += snapshot_rows
        self._sequencer.release()
        self.journal.close(None)

    def _say(self, command: e.Command) -> Any:
        number = self._session.next_number
        return self._sequencer.command(self._session, number, number - 1, bytes(8), command).reply


def ready_s(folder: str) -> float:
    """How long a daemon's start takes, from the process to its being ready.

    Its modules are compiled, as those of an installed one are, from the second start on: whatever the environment says
    about bytecode beside the sources.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    daemon = subprocess.Popen(
        [sys.executable, "-m", "pitd.cli", "run", "--config", f"{folder}/pitd.toml"],
        stderr=subprocess.PIPE,
        text=True,
        env=environment | {"PYTHONPYCACHEPREFIX": f"{folder}/bytecode"},
    )
    assert daemon.stderr is not None
    try:
        for line in daemon.stderr:
            if re.search(r"daemon\.ready", line):
                return time.perf_counter() - began
        raise SystemExit("the daemon did not come up")
    finally:
        daemon.kill()
        daemon.wait()
        daemon.stderr.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--open", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pitd-bench-") as folder, decimal.localcontext(exact_context()):
        path = Path(folder, "pitd.toml")
        path.write_text(CONFIG.format(folder=folder))
        settings = config.load(path)
        journal = Path(settings.journal.directory)
        journal.mkdir()
        began = time.perf_counter()
        writer = Writer(settings, options.open)
        # as a crash leaves it: the last snapshot is as old as it can get
        writer.write(options.entries, settings.journal.snapshot_rows)
        size = sum(path.stat().st_size for path in journal.glob("*.segment"))
        print(
            f"written: {writer.engine.seq} entries, {len(writer.engine.orders.open)} orders open, "
            f"{size / writer.engine.seq:.0f} bytes an entry, {writer.engine.seq / (time.perf_counter() - began):,.0f}/s"
        )
        ready_s(folder)
        starts = [ready_s(folder) for _ in range(options.rounds)]
        print(
            f"start to ready: median {statistics.median(starts):.2f} s ({min(starts):.2f} to {max(starts):.2f}); "
            "aim: 1 s"
        )
        for snapshot in journal.glob("*.snapshot"):
            snapshot.unlink()
        rates = []
        for _ in range(options.rounds):
            began = time.perf_counter()
            found = recovery.recover(journal, bootstrap.blank_engine)
            rates.append(found.head.seq / (time.perf_counter() - began))
        print(
            f"carried out: median {statistics.median(rates):,.0f} entries/s ({min(rates):,.0f} to {max(rates):,.0f}); "
            "aim: 100,000"
        )


if __name__ == "__main__":
    main()
