"""`pitctl bench`: what it measures, that it leaves nothing behind, and that it asks before it places orders."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from daemon import PATIENCE_S, folder, running, until

from pitd.bench.figures import Measured, figures, ratio
from pitd.bench.pacing import Pace

PITCTL = [sys.executable, "-m", "pitd.operator"]
SHORT = ("--duration", "0.3", "--rounds", "1")


def bench(*words: str, input: str = "", **options: Any) -> subprocess.CompletedProcess[str]:
    command = [*PITCTL, "bench", *words]
    return subprocess.run(command, input=input, capture_output=True, text=True, timeout=PATIENCE_S * 5, **options)


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A place of its own for what is left behind: others on this machine may measure as well."""
    with folder() as home:
        yield home


def test_it_tells_the_daemon_beside_the_bare_wire_and_leaves_nothing_behind(temporary: Path) -> None:
    where = {**os.environ, "TMPDIR": str(temporary)}
    ran = bench("--commit", "waited", "--steps", "2", "--clients", "2", "--json", *SHORT, env=where)
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert told["is_whole"] and told["rounds"] == 1 and told["refused"] == {}
    assert told["echo"]["count"] > 0 and told["order"]["count"] == told["check"]["count"] > 0
    assert told["order"]["p50_us"] > told["check"]["p50_us"] > 0
    assert told["ratios"]["check_p50"]["median"] > 0
    assert not [*temporary.iterdir()]


def test_many_orders_under_way_at_a_pace_take_as_long_as_the_pace_says() -> None:
    ran = bench(
        "--in-flight", "8", "--pace", "50/s", "--commit", "posted", "--json", "--duration", "1", "--rounds", "1"
    )
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert 1 <= told["check"]["count"] <= 52, "fifty are due in a second, however fast the answers are"
    assert told["check"]["p50_us"] >= told["check_sent"]["p50_us"]


@pytest.mark.parametrize("commit", ["none", "posted"])
def test_what_it_places_at_a_running_daemon_is_taken_out_of_its_books_again(commit: str) -> None:
    with running() as daemon:
        words = ("--endpoint", daemon.endpoint, "--account", "test1", "--commit", commit, "--yes", "--json", *SHORT)
        ran = bench(*words)
        assert ran.returncode == 0, ran.stderr
        told = json.loads(ran.stdout)
        assert told["check"]["count"] > 0 and told["left_open"] == 0
        with daemon.connect("bench1") as engine:
            assert engine.open_orders() == []


def test_it_asks_before_it_places_orders_at_a_running_daemon() -> None:
    with running() as daemon:
        ran = bench("--endpoint", daemon.endpoint, "--account", "test1", *SHORT, input="n\n")
        assert ran.returncode == 1 and "in account test1" in ran.stderr and "nothing was changed" in ran.stderr
        assert "session.opened" not in daemon.log()


def test_where_no_daemon_answers_it_ends_as_every_other_command_does() -> None:
    ran = bench("--endpoint", "ipc:///nowhere.sock", "--account", "test1", "--yes", *SHORT)
    assert ran.returncode == 2 and "ipc:///nowhere.sock" in ran.stderr and "in account test1" in ran.stderr


def test_it_wants_to_know_whose_account_it_places_orders_in() -> None:
    ran = bench("--endpoint", "ipc:///nowhere.sock")
    assert ran.returncode == 64 and "--account" in ran.stderr


def test_a_limits_no_is_told_and_measured_all_the_same() -> None:
    limits = '[limits]\nslow = { control = "rate_limit", each = "account", max_orders = 3, window = "60s" }\n'
    with running(limits) as daemon:
        ran = bench("--endpoint", daemon.endpoint, "--account", "test1", "--yes", "--json", *SHORT)
    told = json.loads(ran.stdout)
    assert told["refused"]["slow: RateLimitExceeded"] == told["check"]["count"] - 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_tells_what_it_has_and_ends_its_processes(temporary: Path, number: signal.Signals) -> None:
    command = [*PITCTL, "bench", "--duration", "1", "--rounds", "500", "--json"]
    where = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=where
    ) as running_bench:
        until(lambda: children_of(running_bench.pid) and [*temporary.iterdir()], "its processes to be there")
        children = children_of(running_bench.pid)
        time.sleep(3)
        running_bench.send_signal(number)
        out, err = running_bench.communicate(timeout=PATIENCE_S * 2)
    assert running_bench.returncode == 130, err
    assert not json.loads(out)["is_whole"] and err == ""
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    assert not [*temporary.iterdir()]


def children_of(pid: int) -> Sequence[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_what_waits_behind_a_slow_answer_counts_from_when_it_was_due() -> None:
    pace = Pace(0.010, begin=100.0)
    assert pace.due_by(100.0) == 100.0
    late = [pace.due_by(100.095) for _ in range(10)]  # the answer took 95 ms
    assert late == pytest.approx([100.01, 100.02, 100.03, 100.04, 100.05, 100.06, 100.07, 100.08, 100.09, None])


def test_figures_are_those_of_all_rounds_and_ratios_those_inside_each() -> None:
    fast, slow = array("d", [1e-6] * 99 + [5e-6]), array("d", [3e-6] * 100)
    told = figures([Measured(fast, 10.0), Measured(slow, 30.0)])
    assert (told.count, told.per_s, told.p50_us, told.p99_us, told.max_us) == (200, 20.0, 3.0, 3.0, 5.0)
    found = ratio([(2.0, 1.0), (30.0, 10.0), (8.0, 2.0)])
    assert found is not None and (found.median, found.least, found.most) == (3.0, 2.0, 4.0)
    assert ratio([]) is None
