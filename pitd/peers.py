"""Who is at the other end, what it may do, and whether it is still alive."""

from __future__ import annotations

import os
import select
import socket
import struct
from pathlib import Path
from typing import Final, NamedTuple

from pit import wire

from .config import Config, Role
from .core.engine import Engine

_TRADING: tuple[Role, ...] = ("trade",)
_SETTLING: tuple[Role, ...] = ("trade", "gateway")
_OPERATING: tuple[Role, ...] = ("operate",)

_ROLES_FOR: dict[type, tuple[Role, ...]] = {
    wire.Start: _TRADING,
    wire.Execute: _TRADING,
    wire.Check: _TRADING,
    wire.CheckMany: _TRADING,
    wire.MarkSent: _SETTLING,
    wire.Commit: _SETTLING,
    wire.Rollback: _SETTLING,
    wire.Quarantine: _SETTLING,
    wire.Renew: _SETTLING,
    wire.Take: ("gateway",),
    wire.Modify: _SETTLING,
    wire.Cancel: ("trade", "gateway", "operate"),
    wire.SettleModify: _OPERATING,
    wire.Report: ("report",),
    wire.Status: ("report",),
    wire.DropCopy: ("report",),
    wire.BlockScope: _OPERATING,
    wire.UnblockScope: _OPERATING,
    wire.Rearm: _OPERATING,
    wire.SettleOrder: _OPERATING,
    wire.CloseOrder: _OPERATING,
    wire.AcceptHistory: _OPERATING,
    wire.SetTradingState: _OPERATING,
    wire.CancelAll: _OPERATING,
    wire.ShutDown: _OPERATING,
    wire.SetLimit: _OPERATING,
    wire.SetLimits: _OPERATING,
    wire.ClearLimit: _OPERATING,
    wire.Reload: _OPERATING,
    wire.AskReload: _OPERATING,
    wire.Adjust: ("adjust", "operate"),
    wire.PushQuote: ("quote",),
    wire.DryRun: ("trade", "operate", "observe"),
    wire.Explain: ("trade", "operate", "observe"),
}
"""Of which roles one is needed. Drop and Goodbye, which only give back, need none."""

_BELIEVED = frozenset({wire.Report, wire.Status, wire.DropCopy})
"""What an account may believe of some clients only."""


Guarded = wire.PushQuote | wire.DryRun | wire.Explain | wire.AskReload
"""The questions that not everybody may ask."""


class Proof(NamedTuple):
    """What a connection shows of who speaks over it, told by the kernel and by our own check of keys: nothing of it
    comes from the one who speaks.
    """

    origin: Origin | None = None
    """The process at the other end, over ipc."""
    key: str | None = None
    """The public key that was checked, over tcp; None where no keys are."""


IN_PROCESS: Final = None
"""Stands for a proof where no connection is: who runs the engine in its own process is believed."""


def not_proven(config: Config, name: str, proof: Proof | None) -> str:
    """Why a connection may not speak for that name, or nothing."""
    client = config.client(name)
    if client is None:
        return f'no client is named {name}: add [clients.{name}], or [clients."*"] for every other name'
    if proof is IN_PROCESS:
        return ""
    if proof.origin is not None:
        if client.users and proof.origin.uid not in client.users:
            return f"user {proof.origin.uid} does not prove client {name}: see [clients.{name}] user"
        if client.keys and not client.users:
            return f"client {name} is proven by a key, over tcp; here it takes [clients.{name}] user"
        return ""
    if proof.key is not None:
        if proof.key not in client.keys:
            return f"this connection's key does not prove client {name}: see [clients.{name}] key"
        return ""
    if client.is_proven:
        return f"plain tcp proves nobody, and client {name} has to be proven: [daemon] key_file, or an ipc endpoint"
    return ""


def not_allowed(config: Config, name: str, command: wire.Command | Guarded, engine: Engine) -> str:
    """Why this client may not give that command, or nothing. It depends on the configuration alone; `engine` tells
    whose account it is about.
    """
    client = config.client(name)
    if client is None:
        return f"no client is named {name} any more"
    needed = _ROLES_FOR.get(type(command))
    if needed is None:
        return ""
    if client.roles.isdisjoint(needed):
        has = ", ".join(sorted(client.roles))
        mend = config.how_to_grant(name, needed[0])
        return f'client {name} has the roles {has}; this needs "{needed[0]}": {mend}'
    if client.accounts is not None:
        account = _account_of(command, engine)
        if type(command) is wire.Adjust:
            account = next((each for each in _adjusted(command) if each not in client.accounts), None)
        if type(command) is wire.CheckMany:
            account = next((each.account for each in command.orders if each.account not in client.accounts), None)
        if account is not None and account not in client.accounts:
            return not_its_account(name, account)
    if config.reports_from and type(command) in _BELIEVED:
        account = _account_of(command, engine) or ""
        believed = config.reports_from.get(account)
        if believed is not None and name not in believed:
            return f"account {account} does not believe reports of client {name}: see [accounts.{account}] reports_from"
    return ""


def freely_allowed(config: Config, name: str) -> frozenset[type[wire.Command]]:
    """The commands that `not_allowed` has nothing against whatever they are about: none that depends on an account."""
    client = config.client(name)
    if client is None or client.accounts is not None:
        return frozenset()
    may = {of for of, needed in _ROLES_FOR.items() if not client.roles.isdisjoint(needed)}
    return frozenset(may - _BELIEVED if config.reports_from else may)


def not_its_account(name: str, account: str) -> str:
    """`account` is "" where every one is meant."""
    what = f"account {account}" if account else "every account"
    return f"client {name} may not touch {what}: see [clients.{name}] accounts"


def _account_of(command: wire.Command | Guarded, engine: Engine) -> str | None:
    """The account that a command is about; "" for what is about more than one, None for none that is known."""
    match command:
        case wire.Start() | wire.Check() | wire.DropCopy() | wire.DryRun() | wire.Explain():
            return command.order.account
        case wire.Report():
            return command.report.account
        case wire.Status():
            return command.status.account
        case wire.Take() | wire.SettleOrder() | wire.CloseOrder() | wire.Modify() | wire.Cancel() | wire.SettleModify():
            return command.account
        case wire.Execute():
            request = engine.requests.get(command.request_id)
            return None if request is None else request.order.account
        case wire.MarkSent() | wire.Commit() | wire.Rollback() | wire.Quarantine() | wire.Renew():
            record = engine.orders.find(command.reservation_id) or engine.orders.modified.get(command.reservation_id)
            return None if record is None else record.account
        case wire.BlockScope() | wire.UnblockScope() | wire.Rearm() | wire.SetTradingState() | wire.CancelAll():
            kind, _, account = command.scope.partition(" ")
            return account if kind == "account" else ""
        case (
            wire.AcceptHistory()
            | wire.ShutDown()
            | wire.SetLimit()
            | wire.SetLimits()
            | wire.ClearLimit()
            | wire.Reload()
            | wire.AskReload()
        ):
            return ""
        case wire.Drop() | wire.Goodbye() | wire.PushQuote() | wire.Adjust() | wire.CheckMany():
            return None


def _adjusted(command: wire.Adjust) -> tuple[str, ...]:
    """Every account that an adjustment is about."""
    return (*(each.account for each in command.adjustments), *command.imported)


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
    """Notices through the kernel that a connected process has died. `fileno()` turns readable when one has.

    Each is known by a number of its own: its pid, or a negative one where it has none here. The kernel calls every
    process of another container 0, so one that dies would take all of them along.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._pid_of: dict[int, int] = {}
        self._pidfd_of: dict[int, int] = {}
        self._last_stranger = 0

    def fileno(self) -> int:
        return self._epoll.fileno()

    def watch(self, pid: int, source_fd: int) -> int | None:
        """Watches the process at the other end of that socket, and says by which number `dead` tells of it. None where
        the kernel can't tell, or it is another one.
        """
        if pid in self._pidfd_of:
            return pid
        pidfd = _pidfd_of_peer(source_fd)
        if pidfd is None:
            return None
        if _pid_of_pidfd(pidfd) not in (pid, -1):  # -1: it has died meanwhile, which is readable at once
            os.close(pidfd)
            return None
        if not pid:
            self._last_stranger -= 1
            pid = self._last_stranger
        self._epoll.register(pidfd, select.EPOLLIN)
        self._pid_of[pidfd] = pid
        self._pidfd_of[pid] = pidfd
        return pid

    def dead(self) -> list[int]:
        """The watched processes that have died since the last call, by their numbers. They are no longer watched."""
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
