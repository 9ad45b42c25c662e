"""What is different between two configurations, key by key, in words."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import msgspec

from pit.types import TradingState

from .config import Config, control_of
from .core.numbers import canonical, text
from .own_policies import OwnLimit, OwnPolicy
from .policies.message_rate import Messages

_NOTHING = "-"

_GATE = {
    "lease_least_ns": "min_lease",
    "lease_most_ns": "max_lease",
    "unsettled_per_session": "max_unsettled",
    "open_per_client": "max_open",
    "closed_kept": "keep_closed",
    "closed_kept_ns": "keep_closed_for",
    "cancel_ns": "cancel_within",
}

_CHOICES = {"trips_cancel": ("on_trip", "cancel", "keep"), "busts_reopen": ("on_bust", "reopen", "close")}
"""By the name of a bound that is a choice: its key, and the words for yes and for no."""
"""The bounds that are written under another name than they have inside."""


class Difference(msgspec.Struct, frozen=True):
    """One key that is otherwise. `before` or `after` is "-" where it is not there."""

    key: str
    before: str
    after: str

    def __str__(self) -> str:
        if self.before == _NOTHING:
            return f"{self.key}: now {self.after}"
        if self.after == _NOTHING:
            return f"{self.key}: was {self.before}, now gone"
        return f"{self.key}: {self.before}, now {self.after}"


def differences(before: Config, after: Config) -> list[Difference]:
    """The keys of which the two say otherwise, as they are written in a file, in its order. Where they were read from
    is no difference.
    """
    one, other = dict(_keys(before)), dict(_keys(after))
    keys = [*one, *(key for key in other if key not in one)]
    return [
        Difference(key, one.get(key, _NOTHING), other.get(key, _NOTHING))
        for key in keys
        if one.get(key) != other.get(key)
    ]


def runs_on(running: Config, written: Config) -> tuple[Config, list[Difference]]:
    """What of a written configuration a running daemon can go on with, and what has to wait for the next start: where
    it is reached, and where its history is kept.
    """
    daemon = msgspec.structs.replace(written.daemon, endpoint=running.daemon.endpoint)
    policies = {name: _as_loaded(own, running.policies.get(name)) for name, own in written.policies.items()}
    fresh = msgspec.structs.replace(written, daemon=daemon, journal=running.journal, policies=policies)
    return fresh, differences(fresh, written)


def _as_loaded(written: OwnPolicy, running: OwnPolicy | None) -> OwnPolicy:
    """The policy with the code that runs: it is not exchanged under orders that are open."""
    if running is None or running.file != written.file:
        return written
    return msgspec.structs.replace(written, code=running.code)


def _keys(config: Config) -> Iterator[tuple[str, str]]:
    yield from _flat("daemon", config.daemon)
    yield from _flat("journal", config.journal)
    yield "gate.uncovered", config.gate.uncovered
    yield "gate.unknown_accounts", config.gate.unknown_accounts
    for name, value in _flat("", config.gate.bounds):
        if name in _CHOICES:
            key, when_true, else_ = _CHOICES[name]
            yield f"gate.{key}", when_true if value == "true" else else_
            continue
        yield f"gate.{_GATE.get(name, name.removesuffix('_ns'))}", value
    for flag, state in config.reactions.items():
        yield f"reports.{flag}", "halt" if state is TradingState.HALTED else "reduce"
    for symbol, listed in config.instruments.items():
        yield from _flat(f"instruments.{symbol}", listed)
    if config.calendar is not None:
        yield from _flat("calendar", config.calendar)
    if config.currency is not None:
        yield "currency.firm", config.currency.firm
        for asset, rate in config.currency.rates.items():
            yield from _flat(f"currency.rates.{asset}", rate)
    for name, declared in config.accounts.items():
        yield from ((key.replace(".day.", "."), value) for key, value in _flat(f"accounts.{name}", declared))
    for account, clients in config.reports_from.items():
        yield f"accounts.{account}.reports_from", ", ".join(sorted(clients))
    for client, told in config.clients.items():
        yield from _flat(f"clients.{client}", told)
    for policy in config.policies.values():
        at = f"policies.{policy.name}"
        yield f"{at}.file", policy.file or "of an installed package"
        yield f"{at}.code", policy.code
        for key, value in policy.settings.items():
            yield f"{at}.settings.{key}", str(value)
    for limit in config.limits:
        yield f"limits.{limit.name}.control", control_of(limit)
        for name, value in _flat(f"limits.{limit.name}", limit):
            last = name.rpartition(".")[2]
            if isinstance(limit, Messages) and last == "max_orders":
                name = name.removesuffix(last) + "max_messages"
            if last not in ("name", "position", "policy", "own", "numbers"):
                yield _as_written(name), value
        for key, value in limit.own.items() if isinstance(limit, OwnLimit) else ():
            yield f"limits.{limit.name}.{key}", str(value)
    if len(config.limits) > 1:
        yield "limits, in order", ", ".join(limit.name for limit in config.limits)


def _as_written(name: str) -> str:
    """How a limit's key is written in a file."""
    for inside, written in (
        (".only.", "."),
        (".without.", ".except."),
        (".hours.sessions", ".hours"),
        (".hours.", "."),
    ):
        name = name.replace(inside, written)
    return name


def _flat(key: str, value: Any) -> Iterator[tuple[str, str]]:
    """A struct's fields that say something, with dots between."""
    for name in value.__struct_fields__:
        field = getattr(value, name)
        at = f"{key}.{_written(name)}" if key else name
        if isinstance(field, msgspec.Struct):
            yield from _flat(at, field)
        elif field is not None and field not in ((), ""):
            yield at, _shown(name, field)


def _written(name: str) -> str:
    return name.removesuffix("_ns").removesuffix("_bytes")


def _shown(name: str, value: Any) -> str:
    if name.endswith("_ns"):
        return text(canonical(Decimal(value) / 10**9)) + "s"
    if isinstance(value, Decimal):
        return text(canonical(value))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (frozenset, set)):
        return ", ".join(sorted(map(str, value)))
    if name == "each":
        return "+".join(value)
    if isinstance(value, (tuple, list)):
        return ", ".join(map(str, value))
    return str(value)
