"""Who is at the other end, what it may do, and whether it is still alive."""

from __future__ import annotations

import os
import select
import socket
import struct
from pathlib import Path
from typing import NamedTuple

from pit import wire

from .config import Role

_ROLE_FOR: dict[type, Role] = {
    wire.Start: "trade",
    wire.Execute: "trade",
    wire.Check: "trade",
    wire.MarkSent: "trade",
    wire.Commit: "trade",
    wire.Rollback: "trade",
    wire.Quarantine: "trade",
    wire.Renew: "trade",
    wire.Report: "report",
    wire.BlockScope: "operate",
    wire.UnblockScope: "operate",
    wire.Rearm: "operate",
    wire.SettleOrder: "operate",
    wire.CloseOrder: "operate",
    wire.AcceptHistory: "operate",
    wire.SetTradingState: "operate",
    wire.ShutDown: "operate",
    wire.SetLimit: "operate",
    wire.ClearLimit: "operate",
    wire.Reload: "operate",
}
"""Drop and Goodbye, which only give back, need no role."""


def not_allowed(client: str, roles: frozenset[Role], command: wire.Command) -> str:
    """Why this client may not give that command, or nothing."""
    needed = _ROLE_FOR.get(type(command))
    if needed is None or needed in roles:
        return ""
    has = ", ".join(sorted(roles))
    return f'client {client} has the roles {has}; this needs "{needed}": [clients.{client}] roles = [..., "{needed}"]'


class Origin(NamedTuple):
    """The process at the other end of a Unix socket, as the kernel tells it."""

    uid: int
    gid: int
    pid: int


def origin_of(peer_address: str) -> Origin | None:
    """What a frame's Peer-Address says ("localhost:uid:gid:pid"), or None for another transport."""
    parts = peer_address.split(":")
    if len(parts) == 4 and parts[0] == "localhost" and all(part.isdigit() for part in parts[1:]):
        return Origin(*map(int, parts[1:]))
    return None


class Processes:
    """Notices through the kernel that a connected process has died. `fileno()` turns readable when one has."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._pid_of: dict[int, int] = {}
        self._pidfd_of: dict[int, int] = {}

    def fileno(self) -> int:
        return self._epoll.fileno()

    def watch(self, pid: int, source_fd: int) -> bool:
        """Watches the process at the other end of that socket. False where the kernel can't tell, or it is another."""
        if pid in self._pidfd_of:
            return True
        pidfd = _pidfd_of_peer(source_fd)
        if pidfd is None:
            return False
        if _pid_of_pidfd(pidfd) not in (pid, -1):  # -1: it has died meanwhile, which is readable at once
            os.close(pidfd)
            return False
        self._epoll.register(pidfd, select.EPOLLIN)
        self._pid_of[pidfd] = pid
        self._pidfd_of[pid] = pidfd
        return True

    def dead(self) -> list[int]:
        """The watched processes that have died since the last call. They are no longer watched."""
        pids = [self._pid_of[pidfd] for pidfd, _ in self._epoll.poll(0)]
        for pid in pids:
            self.forget(pid)
        return pids

    def forget(self, pid: int) -> None:
        pidfd = self._pidfd_of.pop(pid, None)
        if pidfd is not None:
            del self._pid_of[pidfd]
            self._epoll.unregister(pidfd)
            os.close(pidfd)

    def close(self) -> None:
        for pid in list(self._pidfd_of):
            self.forget(pid)
        self._epoll.close()


_SO_PEERPIDFD = 77


def _pidfd_of_peer(source_fd: int) -> int | None:
    """A descriptor of the process at the other end. The socket is libzmq's, and may be gone or be another by now."""
    try:
        with socket.socket(fileno=os.dup(source_fd)) as own:
            if own.family != socket.AF_UNIX:
                return None
            try:
                return own.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
            except OSError:  # before Linux 6.5
                pid = struct.unpack("3i", own.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
                return os.pidfd_open(pid)
    except OSError:
        return None


def _pid_of_pidfd(pidfd: int) -> int | None:
    try:
        for line in Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines():
            if line.startswith("Pid:"):
                return int(line.split()[1])
    except (OSError, ValueError):
        return None
    return None
