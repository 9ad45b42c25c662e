"""One client that floods: the honest ones beside it are served, and it is named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from daemon import PATIENCE_S, Daemon, running, until

import pit
from pit import wire

TESTS = str(Path(__file__).parent.parent)
SETTINGS = '[clients."*"]\n\n[clients.ops]\nroles = ["operate"]\n'

LEAST_QUIET_US = 5_000
"""What a quiet p99 counts at least: on a machine that does much else, a moment of quiet proves little."""


def start(daemon: Daemon, name: str, *words: str) -> subprocess.Popen[str]:
    path = os.pathsep.join((TESTS, *filter(None, sys.path)))
    return subprocess.Popen(
        [sys.executable, "-m", "flooding", daemon.endpoint, name, *words],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )


def p99_us(daemon: Daemon, tag: str) -> float:
    """Of three honest clients' checks. Fails when one of them has met an error."""
    honest = [start(daemon, f"{tag}{n}", "honest", "2") for n in range(3)]
    told = [each.communicate(timeout=6 * PATIENCE_S)[0] for each in honest]
    assert [each.returncode for each in honest] == [0, 0, 0]
    took = sorted(us for each in told for us in json.loads(each))
    return float(took[len(took) * 99 // 100])


def seen(ops: pit.Engine, client: str) -> wire.SessionSeen:
    page = ops.ask(wire.ListSessions())
    assert isinstance(page, wire.SessionsAre)
    return {each.client: each for each in page.sessions}[client]


@pytest.mark.parametrize("kind", ["window", "junk"])
def test_honest_clients_are_served_beside_a_flooder_and_it_is_named(kind: str) -> None:
    with running(SETTINGS) as daemon:
        quiet = max(p99_us(daemon, "quiet"), LEAST_QUIET_US)
        flooder = start(daemon, "flooder", kind)
        try:
            assert flooder.stdout is not None
            assert flooder.stdout.readline() == "floods\n"
            beside = p99_us(daemon, "beside")
            with daemon.connect("ops") as ops, daemon.connect("honest") as honest:
                assert honest.ping()
                until(lambda: seen(ops, "flooder").per_s > 100, "its rate to be told")
                named, other = seen(ops, "flooder"), seen(ops, "honest")
                assert named.over_share > 0
                assert named.refused > 1_000
                assert named.messages > 100 * other.messages
                assert other.refused == 0
                assert named.commands == 0
        finally:
            flooder.kill()
            flooder.wait()
            flooder.stdout.close() if flooder.stdout is not None else None
        assert beside <= 10 * quiet
