"""Has the history that a start did not go through verified by a process of its own, and logs what it finds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec

from .. import log

_LOGGED = 20

_ASKED_TO_END = (-signal.SIGTERM, -signal.SIGINT, 130)
"""By whoever ends the daemon as well: a terminal, or systemd for a whole group."""


class Verification:
    """`pitd journal verify` at low priority, beside a daemon that serves already."""

    def __init__(self, directory: Path) -> None:
        command = [sys.executable, "-P", "-m", "pitd.cli", "journal", "verify", str(directory), "--quiet", "--json"]
        command += [
            "--beside",
            str(os.getpid()),
        ]  # a killed daemon leaves none behind
        same_code = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._began = time.monotonic()
        self._is_ending = False
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=same_code
            )
        except OSError as trouble:
            log.warning("journal.not_verified", why=trouble)
            return
        self._thread = threading.Thread(target=self._wait, args=(self._process,), name="verify", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Ends it, if it still goes on."""
        if self._process is None:
            return
        self._is_ending = True
        if self._process.poll() is None:
            self._process.terminate()
        self._thread.join()

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        said, complained = process.communicate()
        from .verify import Verdict  # the daemon itself verifies nothing

        if self._is_ending or process.returncode in _ASKED_TO_END:
            return
        try:
            found = msgspec.json.decode(said, type=Verdict)
        except msgspec.MsgspecError:
            why = complained.decode(errors="replace").strip()[-500:] or "it said nothing"
            log.warning("journal.not_verified", code=process.returncode, why=why)
            return
        ms = int((time.monotonic() - self._began) * 1e3)
        if found.is_good:
            log.info("journal.verified", rows=found.rows, snapshots=found.snapshots, ms=ms)
            return
        for trouble in (*found.damages, *found.unreadable)[:_LOGGED]:
            log.error("journal.damaged", what=trouble)
        unreadable = len(found.unreadable)
        log.error("journal.damaged", damages=found.damage_count, unreadable=unreadable, rows=found.rows, ms=ms)
