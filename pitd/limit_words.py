"""A configured limit in words: what `pitd check-config` tells of it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from .config import control_of
from .core.limits import Limit, Selection
from .core.numbers import text
from .own_policies import OwnLimit
from .policies.instrument_rules import Hours
from .policies.message_rate import Messages
from .policies.turnover_limit import Turnover


def told(limit: Limit) -> str:
    """Its control, what it counts by, its numbers, and whom it is for."""
    by = f"over {'the firm' if limit.over == 'firm' else 'group ' + limit.over.group}" if limit.over else ""
    words = [control_of(limit), by or f"for each {' and '.join(limit.each)}"]
    if isinstance(limit, OwnLimit):
        words += [f"{key} {value}" for key, value in limit.own.items()]
    else:
        fields = [name for name in type(limit).__struct_fields__ if name not in Limit.__struct_fields__]
        words += [_field(limit, name) for name in fields]
    for title, selection in (("only", limit.only), ("except", limit.without)):
        words += [] if selection is None else _selected(title, selection)
    return "; ".join(filter(None, words))


def _field(limit: Limit, name: str) -> str:
    value: Any = getattr(limit, name)
    if isinstance(limit, Turnover) and limit.is_daily and name == "window_ns":
        return "per day"
    if isinstance(limit, Messages):  # by the names of the configuration
        if name == "refuses_cancels":
            return f"cancels {'refuse' if value else 'count'}"
        name = "max_messages" if name == "max_orders" else name
    match value:
        case None | False:
            return ""
        case True:
            return name
        case str():
            return f"{name} {value}"
        case frozenset() | tuple():
            return f"{name} {', '.join(sorted(value))}"
        case Hours():
            holidays = f", except on {', '.join(value.holidays)}" if value.holidays else ""
            return f"{name} {', '.join(value.sessions)} ({value.zone}){holidays}"
        case _ if name.endswith("_ns"):
            return f"{name.removesuffix('_ns')} {value / 1e9:g} s"
        case _:
            return f"{name} {text(Decimal(value))}"


def _selected(title: str, selection: Selection) -> list[str]:
    values = {name: getattr(selection, name) for name in selection.__struct_fields__}
    return [
        f"{title} {name} {value if isinstance(value, str) else ', '.join(sorted(value))}"
        for name, value in values.items()
        if value is not None
    ]
