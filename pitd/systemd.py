"""What the service manager and the daemon tell each other: readiness, signs of life, the socket held for it.

Datagrams and environment variables as sd_notify(3) and sd_listen_fds(3) describe them; no library is needed. Who
started the daemon in another way is told nothing.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping

from . import log
from .errors import ConfigError

_FIRST_FD = 3

_MORE_TIME_S = 60
"""How much longer a start may take after each word about it."""

_STATUS_EVERY_S = 0.25

_SEND_S = 1.0
"""So long it waits for a manager that does not read, while nobody is served; a sign of life does not wait at all."""

_SEND_SERVING_S = 0.02
"""So long it waits while clients do."""


class Manager:
    """The service manager that started this process, or nobody: then nothing is said."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        """Takes its variables out of the environment: they are for this process and not for its children."""
        self.beat_every_s: float | None = None
        """How often a sign of life is wanted: twice in the time after which the manager gives the daemon up."""
        self._socket: socket.socket | None = None
        self._status_at = 0.0
        where = environment.pop("NOTIFY_SOCKET", "")
        watchdog_us = environment.pop("WATCHDOG_USEC", "")
        watched = environment.pop("WATCHDOG_PID", "")
        if not where:
            return
        if where[0] not in "/@":
            log.warning("systemd.notify_failed", socket=where, why="only a path or an abstract socket can be told")
            return
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._where = "\0" + where[1:] if where[0] == "@" else where
        if watchdog_us.isdigit() and int(watchdog_us) and watched in ("", str(os.getpid())):
            self.beat_every_s = int(watchdog_us) / 2e6

    def recovering(self, done: int = 0, rows: int = 0) -> None:
        """So many rows of the journal are carried out, of so many. Asks for more time with each word."""
        now = time.monotonic()
        if now < self._status_at:
            return
        self._status_at = now + _STATUS_EVERY_S
        text = (
            f"recovering: {done} of {max(done, rows)} rows carried out"
            if rows
            else "recovering: looking at the journal"
        )
        self._say(f"STATUS={text}", f"EXTEND_TIMEOUT_USEC={_MORE_TIME_S * 1_000_000}")

    def ready(self, status: str) -> None:
        """Everything is recovered and the endpoint is open."""
        self._say("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """A new configuration is being looked at; `reloaded` says that this is over."""
        moment = f"MONOTONIC_USEC={time.monotonic_ns() // 1_000}"
        self._say("RELOADING=1", moment, "STATUS=reloading", patience_s=_SEND_SERVING_S)

    def reloaded(self, status: str) -> None:
        """The configuration has been looked at, whatever came of it."""
        self._say("READY=1", f"STATUS={status}", patience_s=_SEND_SERVING_S)

    def stopping(self) -> None:
        self._say("STOPPING=1", "STATUS=stopping")

    def alive(self, status: str) -> None:
        """The loop goes round and has looked after itself."""
        self._say(*(["WATCHDOG=1"] if self.beat_every_s else []), f"STATUS={status}", patience_s=0)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _say(self, *lines: str, patience_s: float = _SEND_S) -> None:
        if self._socket is None:
            return
        words = "\n".join(line.replace("\n", " ") for line in lines).encode()
        try:
            self._socket.settimeout(patience_s)
            self._socket.sendto(words, self._where)
        except OSError as trouble:
            log.warning("systemd.notify_failed", word=lines[0], why=trouble)


def held_socket(environment: MutableMapping[str, str], endpoint: str) -> int | None:
    """The listening socket that the manager holds for that endpoint, or None where it holds none.

    Raises ConfigError when what it holds is not the endpoint's. Takes its variables out of the environment.
    """
    pid = environment.pop("LISTEN_PID", "")
    count = environment.pop("LISTEN_FDS", "")
    environment.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdigit() or not int(count):
        return None
    fds = range(_FIRST_FD, _FIRST_FD + int(count))
    for fd in fds:
        os.set_inheritable(fd, False)
    if len(fds) > 1:
        raise ConfigError(f"the service manager holds {len(fds)} sockets, and pitd serves one: see its socket unit")
    there = _listens_at(fds[0])
    if there != endpoint:
        raise ConfigError(
            f"the service manager holds {there}, and [daemon] endpoint says {endpoint}: make the socket unit's "
            "ListenStream and the endpoint the same"
        )
    os.set_blocking(fds[0], False)
    return fds[0]


def _listens_at(fd: int) -> str:
    """The endpoint that a descriptor listens at, or what it is instead."""
    try:
        with socket.socket(fileno=os.dup(fd)) as own:
            if own.type != socket.SOCK_STREAM or not own.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                return "a socket that does not listen for streams"
            name = own.getsockname()
            if own.family == socket.AF_UNIX:
                path = os.fsdecode(name)
                return "ipc://" + ("@" + path[1:] if path.startswith("\0") else path)
            host, port = name[:2]
            return f"tcp://[{host}]:{port}" if own.family == socket.AF_INET6 else f"tcp://{host}:{port}"
    except OSError as trouble:
        return f"no socket ({trouble.strerror})"
