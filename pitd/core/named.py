"""Whether what a person names is there to be stopped: a block or a halt of a name that nobody has stops nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pit.types import MAX_ID_LENGTH

from .accounts import FIRM

if TYPE_CHECKING:
    from .engine import Engine

_SHOWN_MOST = 20


def nobody_in(engine: Engine, scope: str) -> str:
    """Why a stop of that scope would stop nobody, or nothing.

    Groups are configured. Accounts and clients are where they are listed at all; one that is no longer listed, and has
    orders open, may still be stopped.
    """
    kind, _, name = scope.partition(" ")
    match kind:
        case "group":
            known: Iterable[str] | None = set(engine.accounts.groups().values())
            mend = f"no account is in group {name}"
        case "account":
            known, mend = engine.accounts.declared, f"no account is named {name} in the configuration"
        case "client":
            known, mend = engine.clients, f"no client is named {name} in the configuration"
        case _:
            return ""
    if known is None or name in known or (kind != "group" and _has_orders(engine, kind, name)):
        return ""
    return f"{mend}, so nothing would be stopped; known: {_list(known)}"


def nothing_named(engine: Engine, scope: str) -> str:
    """Why a stop of that instrument would stop nothing, or nothing. Any pair may turn up; symbols are declared."""
    kind, _, name = scope.partition(" ")
    underlying, _, settlement = name.rpartition("/")
    if kind != "instrument" or (underlying and settlement) or engine.instruments.find(name) is not None:
        return ""
    known = _list(each.symbol for each in engine.instruments.declared())
    return (
        f"no instrument {name} is declared, so nothing would be halted; declared: {known}; a pair is written "
        "UNDERLYING/SETTLEMENT"
    )


def _has_orders(engine: Engine, kind: str, name: str) -> bool:
    if kind == "client":
        return name in engine.orders.by_client
    return any(record.account == name for record in engine.orders.open.values())


def _list(names: Iterable[str]) -> str:
    known = sorted(names)
    more = f" and {len(known) - _SHOWN_MOST} more" if len(known) > _SHOWN_MOST else ""
    return (", ".join(known[:_SHOWN_MOST]) or "none") + more


def bad_scope(scope: str) -> str:
    """Why that is no scope that can be blocked, or nothing."""
    kind, _, name = scope.partition(" ")
    if scope == FIRM or (kind in ("account", "group", "client") and name.strip() and len(name) <= MAX_ID_LENGTH):
        return ""
    return f'a scope is "firm", "group NAME", "account NAME" or "client NAME", not {scope[:80]!r}'


def bad_reason(reason: str) -> str:
    """Why that is no reason, or nothing."""
    return "" if reason.strip() else "a reason is wanted: it is recorded with your name"
