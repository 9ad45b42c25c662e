"""Looks at the P&L of the accounts that a command is about, before it is judged: marks may have moved it since."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import entry as e

if TYPE_CHECKING:
    from .engine import Engine


def look_before(engine: Engine, command: e.Command) -> None:
    """All others that are due are looked at by an entry of their own (`core.unrealised`)."""
    for account in _about(engine, command):
        engine.valuation.unrealised.note(account)
    engine.revalue()


def _about(engine: Engine, command: e.Command) -> Iterable[str]:
    match command:
        case e.CheckOrder() | e.StartOrder() | e.DropCopy():
            return (command.order.account,)
        case e.CheckMany():
            return (order.account for order in command.orders)
        case e.ExecuteRequest():
            request = engine.requests.get(command.request_id)
            return () if request is None else (request.order.account,)
        case e.MarkSent() | e.Renew():
            record = engine.orders.find(command.reservation_id)
            return () if record is None else (record.account,)
        case e.ModifyOrder():
            return (command.account,)
        case _:
            return ()


__all__ = ["look_before"]
