"""Which bounds would be past already, so that they trip at once, if another configuration came into force?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

from . import entry as e
from .currency import Rates
from .numbers import text
from .overrides import numbers_of
from .policy import Counter, Look, Policy
from .prices import Marks
from .unrealised import Unrealised

if TYPE_CHECKING:
    from .engine import Engine, Setup

_NAMED = 5
"""So many scopes of a limit are named."""

_EVERYBODY = 1_000_000_000

_Key = tuple[str, str, str]
"""Limit, scope and what is counted."""


def brought_by(engine: Engine, configured: e.Configured) -> tuple[str, ...]:
    """In words: for each bound of a limit with a latch who has reached it, or of whom nobody can say. Changes nothing.

    What has tripped already is not told, nor what is past the bound that is in force now.
    """
    setup = engine.setup_of(configured.settings)
    if setup is None:
        return ()
    past: dict[tuple[str, str, Decimal], list[str]] = {}
    for fresh in setup.policies(numbers_of(engine.overrides.anew(setup.terms))):
        old = engine.policies.get(fresh.id)
        if not _latches(fresh) or old is None:
            continue
        seen = _seen(old, _look(engine, engine.accounts.groups()))
        _take_over(engine, fresh, old, setup, configured.groups)
        for key, counter in _seen(fresh, _look(engine, configured.groups)).items():
            why = _why(counter, seen.get(key))
            if why:
                past.setdefault((key[0], counter.what, counter.bound), []).append(why)
    return tuple(_told(*at, whys) for at, whys in past.items())


def _latches(policy: Policy) -> bool:
    return type(policy).rearm is not Policy.rearm


def _take_over(engine: Engine, fresh: Policy, old: Policy, setup: Setup, groups: Mapping[str, str]) -> None:
    """Has a policy that nobody goes by know what another knows, as if it came into force."""
    fresh.load(old.save())
    if fresh.asks_for_unrealised:
        marks, kept = Marks(), engine.valuation
        marks.keep(kept.marks.save())
        fresh.unrealised = Unrealised(engine.positions, marks, engine.instruments.named)
        fresh.rates = Rates(marks)
        fresh.rates.use(setup.currency)
        fresh.rates.wall_ns = kept.rates.wall_ns
        fresh.groups_of, fresh.currency_of = groups.get, setup.currencies.get
        fresh.unrealised.ask(True, by_account=fresh.asks_by_account, several=fresh.several)
    for effect in fresh.reconfigured(groups.get).effects:
        fresh.apply(effect)


def _look(engine: Engine, groups: Mapping[str, str]) -> Look:
    return Look(
        engine.now_ns, "", _EVERYBODY, groups.get, engine.positions, valuation=engine.valuation, days=engine.days
    )


def _seen(policy: Policy, look: Look) -> dict[_Key, Counter]:
    return {
        (limit, counter.scope, counter.what): counter
        for limit in policy.limit_names
        for counter in policy.counters(limit, look)
    }


def _why(counter: Counter, before: Counter | None) -> str:
    """Why it would trip, where it would not as things are; or that nobody can say."""
    is_same = before is not None and before.bound == counter.bound
    if counter.is_tripped or is_same:
        return ""
    if counter.used is None:
        return f"nobody knows that of {counter.scope} now"
    if counter.used < counter.bound or (before is not None and before.used is not None and before.used >= before.bound):
        return ""
    return f"{counter.scope} stands at {text(counter.used)}"


def _told(limit: str, what: str, bound: Decimal, whys: Iterable[str]) -> str:
    named = list(whys)
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    return (
        f"{limit} trips as soon as it holds where the {what} is past {text(bound)}: {', '.join(named[:_NAMED])}{more}"
    )


__all__ = ["brought_by"]
