"""Rows for other programs: one object each with every field by name, or one flat record each. Numbers stay exact."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from typing import Any

import msgspec

from pit.types import Instrument

from ..core import entry as e
from ..core.orders import ENDED
from .words import answered, exact_moment

COLUMNS = (
    "seq",
    "wall",
    "now_ns",
    "client",
    "session",
    "number",
    "kind",
    "account",
    "order_id",
    "reservation_id",
    "venue_order_id",
    "instrument",
    "side",
    "quantity",
    "volume",
    "price",
    "report_id",
    "report_kind",
    "answer",
    "state",
    "code",
    "policy",
    "limit",
    "scope",
    "bound",
    "used",
    "requested",
    "text",
)
"""Of the flat form. New ones are only ever appended."""


def row_object(row: e.Row, client: str | None, chain: bytes) -> dict[str, Any]:
    """A row with every field by name. Decimals and nanoseconds are text, so that no reader rounds them."""
    entry = row.entry
    return {
        "seq": entry.seq,
        "wall": exact_moment(entry.wall_ns),
        "now_ns": str(entry.now_ns),
        "client": client,
        "entry": plain(entry.body),
        "effects": [plain(effect) for effect in row.effects],
        "reply": plain(row.reply),
        "chain": chain.hex(),
    }


def plain(value: Any, name: str = "") -> Any:
    """Any value of a row, as JSON has it."""
    match value:
        case Instrument():
            return str(value)
        case msgspec.Struct():
            tag = value.__struct_config__.tag
            kind = {"kind": tag} if isinstance(tag, str) else {}
            return kind | {each: plain(getattr(value, each), each) for each in value.__struct_fields__}
        case Decimal():
            return f"{value:f}"
        case bytes():
            return value.hex()
        case Enum():
            return value.value
        case bool() | None | str() | float():
            return value
        case int():
            return str(value) if name.endswith("_ns") else value
        case Mapping():
            return {str(key): plain(each) for key, each in value.items()}
        case tuple() | list():
            return [plain(each) for each in value]
        case _:
            return str(value)


_OF_REPORT = ("account", "order_id", "venue_order_id", "instrument", "side", "quantity", "price")


class Flat:
    """Makes flat records. It remembers which order an open reservation is, since most commands name only that."""

    def __init__(self) -> None:
        self._orders: dict[int, tuple[str, str]] = {}

    def record(self, row: e.Row, client: str | None) -> dict[str, str]:
        """The columns that say something about this row."""
        entry, body = row.entry, row.entry.body
        told: dict[str, Any] = {"seq": entry.seq, "wall": exact_moment(entry.wall_ns), "now_ns": entry.now_ns}
        told |= {"client": client, "kind": type(body).__name__}
        if isinstance(body, e.Commanded):
            told |= {"session": body.session, "number": body.number, "kind": type(body.command).__name__}
            told |= self._command(body.command)
        told |= self._effects(row.effects, told)
        told |= _reply(row.reply)
        return {name: _cell(value) for name, value in told.items() if value is not None}

    def _command(self, command: e.Command) -> dict[str, Any]:
        match command:
            case e.StartOrder() | e.CheckOrder():
                order = command.order
                shared = ("account", "instrument", "side", "quantity", "volume", "price")
                return {name: getattr(order, name) for name in shared} | {"order_id": order.id}
            case e.ApplyReport():
                report = command.report
                told = {name: getattr(report, name) for name in _OF_REPORT}
                return told | {"report_id": report.report_id, "report_kind": report.kind}
            case e.MarkSent() | e.Commit() | e.Rollback() | e.Quarantine() | e.Renew():
                venue_order_id = command.venue_order_id if isinstance(command, e.Commit) else None
                return self._named(command.reservation_id) | {"venue_order_id": venue_order_id}
            case e.SettleOrder() | e.CloseOrder():
                return {"account": command.account, "order_id": command.order_id}
            case e.BlockScope() | e.UnblockScope() | e.SetTradingState():
                return {"scope": command.scope}
            case e.Rearm():
                return {"scope": command.scope, "limit": command.limit}
            case _:
                return {}

    def _effects(self, effects: tuple[e.Effect, ...], told: dict[str, Any]) -> dict[str, Any]:
        """Which reservation it was about, where it was about one."""
        concerned = dict.fromkeys(each.reservation_id for each in effects if hasattr(each, "reservation_id"))
        found: dict[str, Any] = {}
        for effect in effects:
            match effect:
                case e.OrderOpened():
                    self._orders[effect.reservation_id] = (effect.order.account, effect.order.id)
                case e.OrderMoved():
                    found = {"state": effect.state} if len(concerned) == 1 else {}
        if len(concerned) == 1:
            found = self._named(next(iter(concerned))) | found
        for effect in effects:
            if isinstance(effect, e.OrderMoved) and effect.state in ENDED:
                self._orders.pop(effect.reservation_id, None)
        return {name: value for name, value in found.items() if told.get(name) is None}

    def _named(self, reservation_id: int) -> dict[str, Any]:
        account, order_id = self._orders.get(reservation_id, (None, None))
        return {"reservation_id": reservation_id, "account": account, "order_id": order_id}


def _reply(reply: e.Reply) -> dict[str, Any]:
    told: dict[str, Any] = {"answer": type(reply).__name__, "text": answered(reply)}
    match reply:
        case e.Refused():
            first = reply.rejected.rejects[0]
            shared = ("code", "policy", "limit", "scope", "bound", "used", "requested")
            return told | {name: getattr(first, name) for name in shared}
        case e.Failed():
            return told | {"code": reply.failure}
        case e.Accepted() | e.Taken():
            return told | {"state": reply.state, "reservation_id": reply.reservation_id}
        case e.Modified():
            return told | {"state": reply.state, "reservation_id": reply.modify_id, "order_id": reply.order.id}
        case e.Stands():
            return told | {"state": reply.state}
        case e.Applied() if reply.result.order_id is not None:
            return told | {"state": reply.result.state, "order_id": reply.result.order_id}
        case _:
            return told


def _cell(value: Any) -> str:
    found = plain(value)
    return found if isinstance(found, str) else str(found)
