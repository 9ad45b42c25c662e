"""Stands for the service manager: holds the socket, hears the notifications, starts and ends the daemon."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import daemon
from daemon import Daemon, until

_LAUNCH = """
import os, sys
fd, command = int(sys.argv[1]), sys.argv[2:]
if fd >= 0:
    os.dup2(fd, 3) if fd != 3 else os.set_inheritable(3, True)
    os.environ.update(LISTEN_FDS=os.environ.pop("TEST_FDS", "1"), LISTEN_PID=str(os.getpid()))
os.environ.setdefault("WATCHDOG_PID", str(os.getpid()))
os.execv(command[0], command)
"""
"""Some of what is told names the process that is told, so it is said after the fork."""


class Notifications:
    """A notify socket, and every word that came in, in order."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(str(self.path))
        self._heard: list[str] = []

    def heard(self) -> list[str]:
        with contextlib.suppress(BlockingIOError):
            while True:
                self._heard += self._socket.recv(65_536).decode().split("\n")
        return self._heard

    def forget(self) -> None:
        self.heard()
        self._heard = []

    def count(self, word: str) -> int:
        return self.heard().count(word)

    def close(self) -> None:
        self._socket.close()


class Managed(Daemon):
    """A daemon that is started as a service manager starts it. `command` is its own unless another is given."""

    def __init__(self, folder: Path, limits: str = "", *, is_held: bool = True, endpoint: str | None = None) -> None:
        super().__init__(folder, limits, endpoint=endpoint)
        self.told = Notifications(folder)
        self.held: socket.socket | None = None
        self.command = [sys.executable, "-m", "pitd.cli", "run", "--config", str(self.config)]
        if is_held:
            self.held = socket.socket(socket.AF_UNIX)
            self.held.bind(str(self.socket))
            self.held.listen(512)

    def start(self, *, environment: Mapping[str, str] | None = None) -> Managed:
        """Starts it and returns once it has said that it is ready. Raises AssertionError when it ends instead."""
        self.launch(environment)
        until(lambda: "READY=1" in self.told.heard() or self.has_ended(), "READY=1")
        assert "READY=1" in self.told.heard(), self.log()
        return self

    def launch(self, environment: Mapping[str, str] | None = None, *, wrapped: Sequence[str] = ()) -> None:
        """Starts it and does not wait."""
        self.told.forget()
        fd = -1 if self.held is None else self.held.fileno()
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [*wrapped, sys.executable, "-c", _LAUNCH, str(fd), *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[] if fd < 0 else [fd],
                env={**os.environ, "NOTIFY_SOCKET": str(self.told.path), **(environment or {})},
            )

    def close(self) -> None:
        if self.process is not None:
            self.kill()
        self.told.close()
        if self.held is not None:
            self.held.close()


@contextlib.contextmanager
def managed(limits: str = "", **how: object) -> Iterator[Managed]:
    """A daemon under a service manager of the test's own; not started yet."""
    with daemon.folder() as folder:
        one = Managed(folder, limits, **how)  # type: ignore[arg-type]
        try:
            yield one
        finally:
            one.close()
