"""Starts a real daemon in a temporary directory, and ends it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pit

PATIENCE_S = 200.0 if os.environ.get("PITD_LONG") else 20.0
"""How long a test waits for what should take milliseconds, on a machine that may be busy: long modes run for hours."""


LOAD_ALL = """
import importlib, pkgutil, shutil
import pit, pitd
for package in (pit, pitd):
    for each in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if each.name not in ("pitd.laws", "pitd.operator.__main__"):
            importlib.import_module(each.name)
"""
"""Loads what is loaded when it is wanted, before a test becomes another user, who can't read a Python of root's own."""


class Daemon:
    """A `pitd run` of its own, on an ipc endpoint of its own unless the configuration names another."""

    def __init__(self, folder: Path, limits: str = "", *, endpoint: str | None = None) -> None:
        self.folder = folder
        self.socket = folder / "pitd.sock"
        self.endpoint = endpoint or f"ipc://{self.socket}"
        self.config = folder / "pitd.toml"
        own = "" if "journal" in limits else f'journal.directory = "{folder}/journal"\n'
        self.config.write_text(f'daemon.endpoint = "{self.endpoint}"\n{own}{limits}', encoding="utf-8")
        self._log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self.start_s = 0.0
        """How long the last start took."""

    def start(self, *, environment: Mapping[str, str] | None = None, under: Sequence[str] = ()) -> Daemon:
        """Starts it, by the command `under` if there is one, and returns once it listens. Raises AssertionError with
        its log when it ends instead.
        """
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*under, sys.executable, "-m", "pitd.cli", "run", "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(environment or {})},
            )
        began = time.monotonic()
        until(lambda: "daemon.ready" in self.log() or self.has_ended(), lambda: f"the daemon to listen: {self.log()}")
        self.start_s = time.monotonic() - began
        found = re.search(r"daemon\.ready .*endpoint=(\S+)", self.log())
        assert found is not None, self.log()
        self.endpoint = found[1]
        return self

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def connect(self, name: str, *, timeout_s: float = 10.0, read_only: bool = False) -> pit.Engine:
        return pit.connect(name, self.endpoint, timeout_s=timeout_s, read_only=read_only)

    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def has_ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def stop(self) -> int:
        """Asks it to finish; returns its exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        """Ends it as a crash would."""
        return self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Stops it in its tracks: it is there, and does not answer."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def _end(self, number: signal.Signals) -> int:
        assert self.process is not None
        if not self.has_ended():
            self.process.send_signal(number)
            self.process.send_signal(signal.SIGCONT)
        return self.process.wait(PATIENCE_S)


@contextmanager
def running(limits: str = "", *, endpoint: str | None = None) -> Iterator[Daemon]:
    """A daemon that serves while the block runs. `limits` is its TOML, without `[daemon]`."""
    with folder() as home:
        daemon = Daemon(home, limits, endpoint=endpoint)
        try:
            yield daemon.start()
        finally:
            if daemon.process is not None:
                daemon.kill()


@contextmanager
def folder() -> Iterator[Path]:
    """A directory whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="pitd-", ignore_cleanup_errors=True) as name:  # readers may live on
        yield Path(name)


def until(
    is_so: Callable[[], object], what: str | Callable[[], str] = "it to be so", patience_s: float = PATIENCE_S
) -> None:
    """Waits until something is so. Raises AssertionError when it is not in time."""
    deadline = time.monotonic() + patience_s
    while not is_so():
        assert time.monotonic() < deadline, f"waited {patience_s:g} s for {what if isinstance(what, str) else what()}"
        time.sleep(0.01)
