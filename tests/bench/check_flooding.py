"""Measures what one flooding client costs three honest ones: their p99 beside it, against their quiet one.

Run it from the repository root: python tests/bench/check_flooding.py [SECONDS]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from daemon import Daemon, running
from flooding import KINDS

from pit import wire

TESTS = str(Path(__file__).parent.parent)
SETTINGS = '[clients."*"]\n[clients.ops]\nroles = ["operate"]\n'


def start(daemon: Daemon, name: str, *words: str) -> subprocess.Popen[str]:
    path = os.pathsep.join((TESTS, *filter(None, sys.path)))
    return subprocess.Popen(
        [sys.executable, "-m", "flooding", daemon.endpoint, name, *words],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )


def p99_us(daemon: Daemon, seconds: float, tag: str) -> tuple[float, int]:
    honest = [start(daemon, f"{tag}{n}", "honest", str(seconds)) for n in range(3)]
    took = sorted(us for each in honest for us in json.loads(each.communicate()[0]))
    return took[len(took) * 99 // 100], len(took)


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    with running(SETTINGS) as daemon:
        quiet, count = p99_us(daemon, seconds, "quiet")
        print(f"quiet: p99 {quiet:.0f} us of {count} checks")
        for kind in KINDS:
            flooder = start(daemon, f"flood-{kind}", kind)
            assert flooder.stdout is not None
            flooder.stdout.readline()
            try:
                beside, count = p99_us(daemon, seconds, kind)
                with daemon.connect("ops") as ops:
                    page = ops.ask(wire.ListSessions())
                assert isinstance(page, wire.SessionsAre)
                seen = {each.client: each for each in page.sessions}[f"flood-{kind}"]
            finally:
                flooder.kill()
                flooder.wait()
            print(
                f"{kind:>10}: p99 {beside:.0f} us ({beside / quiet:.1f} times) of {count} checks; "
                f"{seen.per_s} messages/s, {seen.refused} refused, {seen.over_share} times over its share"
            )


if __name__ == "__main__":
    main()
