"""Who is at the other end, and what it may do."""

from __future__ import annotations

import re

from pit import wire

from .config import Role

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

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
}
"""Drop and Goodbye, which only give back, need no role."""


def bad_name(client: str) -> str:
    """Why this is no client name, or nothing."""
    if _NAME.fullmatch(client):
        return ""
    return f"a client name is 1 to 64 of A-Z a-z 0-9 . _ - and begins with a letter or digit, not {client[:80]!r}"


def not_allowed(client: str, roles: frozenset[Role], command: wire.Command) -> str:
    """Why this client may not give that command, or nothing."""
    needed = _ROLE_FOR.get(type(command))
    if needed is None or needed in roles:
        return ""
    has = ", ".join(sorted(roles))
    return f'client {client} has the roles {has}; this needs "{needed}": [clients.{client}] roles = [..., "{needed}"]'
