"""The daemon is killed at random moments under load: its clients' own records and the journal agree, order by order."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from daemon import Daemon, folder, until

from pitd import bootstrap, history
from pitd.core import entry as e
from pitd.core.reading import decode
from pitd.journal import START, segments
from pitd.recovery import recover

SETTINGS = """
[journal]
directory = "{directory}"
segment_rows = 2000
snapshot_rows = 700

[limits.open_usd]
control = "open_order_notional"
each = "account"
settlement = "USD"
max_notional = "20000"
"""

TRADERS = 3
TRADER = str(Path(__file__).with_name("killed_trader.py"))


@pytest.mark.parametrize(
    "kills",
    [
        12,
        pytest.param(
            5_000 if os.environ.get("PITD_LONG") else 200, marks=[pytest.mark.slow, pytest.mark.timeout(7_200)]
        ),
    ],
)
def test_after_many_kills_the_clients_and_the_journal_agree(kills: int) -> None:
    seed = int(os.environ.get("PITD_SEED", "1"))
    dice = random.Random(seed)
    print(f"PITD_SEED={seed}")
    with folder() as home:
        daemon = Daemon(home, SETTINGS.format(directory=home / "journal")).start()
        names = [f"mm{at}" for at in range(TRADERS)]
        traders = {name: started(daemon, name, dice.randrange(1 << 30)) for name in names}
        try:
            for trader in traders.values():
                assert said(trader) == "ready"
            began, slowest_s = time.monotonic(), 0.0
            for count in range(1, kills + 1):
                time.sleep(dice.choice((0.0, 0.02, 0.1, 0.3)) * dice.random())
                daemon.kill()
                daemon.start()
                slowest_s = max(slowest_s, daemon.start_s)
                if count % 100 == 0:
                    taken_s = time.monotonic() - began
                    print(f"{count} kills of {kills} in {taken_s:.0f} s, slowest start {slowest_s:.1f} s", flush=True)
            for trader in traders.values():
                assert trader.stdin is not None
                trader.stdin.write(b"\n")
                trader.stdin.flush()
            for name, trader in traders.items():
                assert said(trader) == "done", name
                assert trader.wait(60) == 0
            assert daemon.stop() == 0
        finally:
            for trader in traders.values():
                trader.kill()
                trader.wait()
                for pipe in (trader.stdin, trader.stdout):
                    assert pipe is not None
                    pipe.close()
            daemon.kill()
        journal = Journal(home / "journal")
        asked: Counter[str] = Counter()
        for name in names:
            asked += journal.compare(home / name)
        assert asked["accepted"] > kills, asked
        print(dict(asked), len(segments(home / "journal")), journal.seq)
        unfinished(home)


def started(daemon: Daemon, name: str, seed: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, TRADER, daemon.endpoint, name, str(seed), str(daemon.folder / name)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def said(trader: subprocess.Popen[bytes]) -> str:
    assert trader.stdout is not None
    return trader.stdout.readline().decode().strip()


def unfinished(home: Path) -> None:
    """Waits for snapshots that children of killed daemons are still writing: on a busy disk that takes a while."""
    until(lambda: not list((home / "journal").glob("*.writing")), "the last snapshots to be written")


class Journal:
    """What the journal says of every order: each command about it, how it was answered, and where the order stands."""

    def __init__(self, directory: Path) -> None:
        self.steps: dict[tuple[str, str], list[e.Reply]] = defaultdict(list)
        ids: dict[int, str] = {}
        numbers: Counter[tuple[int, int]] = Counter()
        self.seq = 0
        for line in history.lines(history.read_segments(directory), START):
            row = decode(line.row)
            self.seq = line.seq
            body = row.entry.body
            if not isinstance(body, e.Commanded):
                continue
            numbers[body.session, body.number] += 1
            match body.command:
                case e.CheckOrder(order=order):
                    self.steps["check", order.id].append(row.reply)
                    if isinstance(row.reply, e.Accepted):
                        ids[row.reply.reservation_id] = order.id
                case e.ApplyReport(report=report):
                    assert report.order_id is not None
                    self.steps["fill", report.order_id].append(row.reply)
                case e.Commit() | e.Rollback() | e.Quarantine():
                    what = type(body.command).__name__.lower()
                    self.steps[what, ids[body.command.reservation_id]].append(row.reply)
        assert set(numbers.values()) == {1}, "every number was used once"
        self.engine = recover(directory, bootstrap.blank_engine).engine

    def compare(self, record: Path) -> Counter[str]:
        """Asserts that one client's record fits. How often it was told what."""
        told: dict[tuple[str, str], list[str]] = defaultdict(list)
        reservations = {}
        for line in record.read_text(encoding="utf-8").splitlines():
            what, id, came, *more = json.loads(line)
            told[what, id].append(came)
            if more:
                reservations[id] = more[0]
        counts: Counter[str] = Counter()
        for (what, id), came in told.items():
            replies = self.steps.get((what, id), [])
            last = came[-1]
            counts[last] += 1
            assert len(came) == 2, f"{what} of {id}: every step came to an end"
            match last:
                case "accepted":
                    assert [type(each) for each in replies] == [e.Accepted], (what, id, replies)
                    assert isinstance(replies[0], e.Accepted) and replies[0].reservation_id == reservations[id]
                    assert self.engine.orders.find(reservations[id]) is not None
                case "rejected":
                    assert [type(each) for each in replies] == [e.Refused], (what, id, replies)
                case "done":
                    assert [type(each) for each in replies] == [e.Applied if what == "fill" else e.Stands], (what, id)
                case "nothing":
                    assert replies == [], f"{what} of {id}: nothing was sent, and it happened"
                case "unknown":
                    assert len(replies) <= 1, (what, id, replies)
                case _:
                    assert [type(each) for each in replies] == [e.Failed], (what, id, last, replies)
        extra = {key for key in self.steps if key[1].startswith(record.name + "-")} - told.keys()
        assert not extra, f"nobody asked for {extra}"
        self._stands(told, reservations)
        return counts

    def _stands(self, told: dict[tuple[str, str], list[str]], reservations: dict[str, int]) -> None:
        """Where each order stands is what its client did last and was sure of."""
        for id, reservation in reservations.items():
            record = self.engine.orders.find(reservation)
            assert record is not None
            if told.get(("fill", id), ["", ""])[-1] == "done":
                assert record.state == "closed" and record.filled_quantity == 1, record
            elif told.get(("rollback", id), ["", ""])[-1] == "done":
                assert record.state == "rolled_back", record
            elif told.get(("commit", id), ["", ""])[-1] == "done":
                assert record.state in ("working", "closed"), record


def test_a_kill_while_a_segment_rolls_and_a_snapshot_is_written_loses_nothing() -> None:
    """So few rows a segment that most kills meet one of them."""
    dice = random.Random(5)
    with folder() as home:
        text = SETTINGS.format(directory=home / "journal").replace("= 2000", "= 100").replace("= 700", "= 100")
        daemon = Daemon(home, text).start()
        trader = started(daemon, "mm1", 5)
        try:
            assert said(trader) == "ready"
            for _ in range(8):
                time.sleep(0.2 * dice.random())
                daemon.kill()
                daemon.start()
            assert trader.stdin is not None
            trader.stdin.write(b"\n")
            trader.stdin.flush()
            assert said(trader) == "done"
            assert trader.wait(60) == 0
        finally:
            trader.kill()
            trader.wait()
            for pipe in (trader.stdin, trader.stdout):
                assert pipe is not None
                pipe.close()
            daemon.kill()
        assert len(segments(home / "journal")) >= 2
        journal = Journal(home / "journal")
        journal.compare(home / "mm1")
        unfinished(home)
