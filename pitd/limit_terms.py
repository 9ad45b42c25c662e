"""Which numbers of the configured limits a person may set at run time, and which of two is the tighter one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from pit.errors import InvalidInput
from pit.types import LimitOverride, exact

from . import own_policies
from .config import AnyLimit, number_of
from .core.numbers import canonical, text
from .core.overrides import Numbers, Override, Unreadable, disagreement, in_force
from .errors import ConfigError
from .own_policies import OwnLimit
from .policies.concentration_limit import Concentration
from .policies.duplicate_order import Duplicates
from .policies.exposure_limit import ExposureBound
from .policies.instrument_rules import Rules
from .policies.message_rate import Messages
from .policies.open_order_limit import OpenOrders
from .policies.open_order_notional import OpenNotional
from .policies.order_size_limit import OrderSize
from .policies.pnl_kill_switch import PnlBound
from .policies.position_limit import PositionBound
from .policies.price_collar import Collar
from .policies.rate_limit import Rate
from .policies.repeated_execution import Repeats
from .policies.self_trade import SelfTrades
from .policies.spot_funds import SpotFunds
from .policies.turnover_limit import Turnover

_KEYS: dict[type, tuple[str, ...]] = {
    PnlBound: ("max_loss", "max_profit", "max_drawdown"),
    Rate: ("max_orders", "window"),
    OrderSize: ("max_quantity", "max_notional"),
    OpenNotional: ("max_notional",),
    Collar: ("max_ticks", "max_percent", "max_absolute"),
    Duplicates: ("max_repeats", "window"),
    Repeats: ("max_executions", "window"),
    SelfTrades: (),
    Rules: ("min_quantity", "max_quantity", "min_price", "max_price"),
    PositionBound: ("max_quantity", "max_long", "max_short"),
    OpenOrders: ("max_orders",),
    ExposureBound: ("max_gross", "max_net"),
    Concentration: ("max_percent", "min_gross"),
    Turnover: ("max_notional", "max_quantity", "window"),
    SpotFunds: ("slippage_percent", "fee_percent"),
    Messages: ("max_messages", "window"),
}
"""Never whom a limit is for: that is the configuration's to say."""

_IN_ORDER: dict[type, tuple[tuple[str, str], ...]] = {
    Rules: (("min_quantity", "max_quantity"), ("min_price", "max_price")),
}
"""The numbers of which one must not be above the other."""

SHADOW = "shadow"
"""What every limit has beside its numbers: whether it refuses nothing, "true" or "false"."""

_FIELDS = {"window": "window_ns", "max_messages": "max_orders"}


class LimitTerms:
    """The terms of one configuration's limits (`core.overrides.Terms`)."""

    def __init__(self, limits: Sequence[AnyLimit], try_out: Callable[[Numbers], object] = lambda numbers: None) -> None:
        """`try_out` makes what goes by the limits, and raises Unusable where a control that is not pitd's won't have
        those numbers.
        """
        self._limits = {limit.name: limit for limit in limits}
        self._try_out = try_out

    def names(self) -> Sequence[str]:
        return tuple(self._limits)

    def keys(self, limit: str) -> Sequence[str]:
        known = self._limits.get(limit)
        if known is None:
            return ()
        if isinstance(known, OwnLimit):
            return (*known.numbers, SHADOW)
        keys = (*_KEYS[type(known)], SHADOW)
        if isinstance(known, Turnover):  # what it counts by may fit one of its bounds alone
            return tuple(key for key in keys if self.base(limit, key) is not None)
        return keys

    def base(self, limit: str, key: str) -> str | None:
        known = self._limits[limit]
        if isinstance(known, OwnLimit) and key != SHADOW:
            return self.read(limit, key, str(known.own[key]))
        value = getattr(self._limits[limit], _FIELDS.get(key, key))
        return None if value is None or (key == "window" and not value) else _written(key, value)

    def read(self, limit: str, key: str, value: str) -> str:
        known = self._limits[limit]
        try:
            if isinstance(known, OwnLimit) and key != SHADOW:
                return _read_own(known.numbers[key], key, value)
            return _written(key, _number(f"limits.{limit}", key, value))
        except ConfigError as trouble:
            raise Unreadable(str(trouble).removeprefix(f"limits.{limit}: ")) from trouble

    def tighter(self, key: str, one: str, other: str) -> str:
        """Of two windows the longer one: it counts more of what there was. Of two lower bounds the higher one, and of
        two shares to be held on top; of what a book must have before it is looked at, the lower one. A shadow lets
        everything through.
        """
        is_more = key.endswith("window") or key.startswith("min_") or key in ("slippage_percent", "fee_percent")
        if key == SHADOW:
            return "false" if "false" in (one, other) else "true"
        choose = max if is_more and key != "min_gross" else min
        return choose((one, other), key=_size)

    def contradiction(self, numbers: Numbers) -> str:
        for limit in with_numbers([self._limits[name] for name in numbers if name in self._limits], numbers):
            for low, high in _IN_ORDER.get(type(limit), ()):
                least, most = getattr(limit, low), getattr(limit, high)
                if least is not None and most is not None and least > most:
                    told = f"{low} {_written(low, least)} would be above {high} {_written(high, most)}"
                    return f"{limit.name}: {told}, and no order would pass"
        own = {name: each for name, each in numbers.items() if isinstance(self._limits.get(name), OwnLimit)}
        if own:
            try:
                self._try_out(own)
            except own_policies.Unusable as trouble:
                return f"{', '.join(own)}: {trouble}"
        return ""


def with_numbers(limits: Sequence[AnyLimit], numbers: Numbers) -> tuple[AnyLimit, ...]:
    """The limits, with those numbers in the place of their own."""
    return tuple(_with(limit, numbers[limit.name]) if limit.name in numbers else limit for limit in limits)


def would_be(overrides: Sequence[LimitOverride], limits: Sequence[AnyLimit]) -> list[str]:
    """Where other limits are not what a person's numbers were set over, and what would hold there, in words."""
    terms, told = LimitTerms(limits), []
    for each in overrides:
        one = Override(
            each.limit, each.key, each.value, each.set_over, None, each.author, each.reason, each.since_wall_ns
        )
        told.append(disagreement(msgspec.structs.replace(one, in_force=in_force(one, terms)), terms))
    return [line for line in told if line]


def _with(limit: AnyLimit, numbers: Any) -> AnyLimit:
    is_shadow = numbers.get(SHADOW)
    if is_shadow is not None:
        limit = msgspec.structs.replace(limit, shadow=is_shadow == "true")
        numbers = {key: value for key, value in numbers.items() if key != SHADOW}
    if isinstance(limit, OwnLimit):
        read = {key: int(value) if limit.numbers[key] == "count" else value for key, value in numbers.items()}
        return msgspec.structs.replace(limit, own=limit.own | read)
    read = {_FIELDS.get(key, key): number_of(f"limits.{limit.name}", key, value) for key, value in numbers.items()}
    return msgspec.structs.replace(limit, **read)


def _number(at: str, key: str, written: str) -> Decimal | int:
    """A number as it is typed; a shadow is 1. Raises ConfigError."""
    if key != SHADOW:
        return number_of(at, key, written)
    if written not in ("true", "false"):
        raise ConfigError(f"{at}.{key}: true or false is wanted, not {written!r}")
    return int(written == "true")


def _read_own(kind: str, key: str, value: str) -> str:
    """A number of a limit that is not pitd's own, as canonical text. Raises Unreadable."""
    try:
        if kind == "duration":
            return _written("window", own_policies.duration_ns(value, key))
        number = exact(value, key)
    except (own_policies.Unusable, InvalidInput) as trouble:
        raise Unreadable(str(trouble)) from trouble
    if kind == "count" and number != int(number):
        raise Unreadable(f"{key}: a whole number is wanted, not {value}")
    return text(canonical(number))


def _size(written: str) -> Decimal:
    """A number, or a window in seconds, to be compared."""
    return Decimal(written.removesuffix("s"))


def _written(key: str, value: Decimal | int) -> str:
    if key == SHADOW:
        return "true" if value else "false"
    if key == "window":
        return text(canonical(Decimal(value) / 10**9)) + "s"
    return text(canonical(Decimal(value)))
