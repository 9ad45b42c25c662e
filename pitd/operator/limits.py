"""Commands of pitctl that set and clear the numbers of limits, and what they let through that is told first."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from decimal import Decimal

import pit
from pit import wire
from pit.types import LimitOverride

from ..core.numbers import text
from ..core.overrides import Unreadable
from ..limit_terms import LimitTerms
from ..running import settings_of
from .acting import change
from .asking import acting, connected
from .codes import SAID_NO, Misused
from .output import changed, is_agreed
from .screen import local_moment


def set_limit(options: argparse.Namespace) -> int:
    limits = by_limit(options.limit, options.values)
    if sum(map(len, limits.values())) < len(options.values):
        raise Misused("limits set: a number is named twice")
    with connected(options) as engine:
        more = [told for limit, values in limits.items() for told in loosened(engine, limit, values)]
        more += [told for limit, values in limits.items() for told in tripping(engine, limit, values)]
    if not is_agreed(options, f"{'; '.join(more)}. Sure?" if more else ""):
        return SAID_NO
    with acting(options) as engine:
        lasts_s = None if options.lasts_ns is None else options.lasts_ns / 1e9
        overrides = engine.set_limits(limits, reason=options.reason, lasts_s=lasts_s, until=options.until)
        return changed(options, engine, told_set(overrides))


def clear_limit(options: argparse.Namespace) -> int:
    with connected(options) as engine:
        set_now = [
            each for each in engine.limit_overrides() if each.limit == options.limit and options.key in (None, each.key)
        ]
        base = {each.key: each.base for each in set_now if each.base is not None}
        more = "".join(f"; {told}" for told in tripping(engine, options.limit, base))
    back = ", ".join(f"{each.key} {each.base or 'nothing'} (was {each.in_force})" for each in set_now)
    risk = f"{options.limit} is as configured again: {back}{more}. Sure?" if set_now else ""
    return change(
        options,
        risk,
        lambda engine: engine.clear_limit(options.limit, options.key, reason=options.reason),
        f"{options.limit} is as configured again: {back}",
    )


def loosened(engine: pit.Engine, limit: str, values: Mapping[str, str]) -> list[str]:
    """Which of the numbers would let more through than now does, in words. What can't be meant is not among them: the
    daemon says so.
    """
    terms = LimitTerms(settings_of(engine).limits)
    holds = {(each.limit, each.key): each.in_force for each in engine.limit_overrides()}
    told = []
    for key, written in values.items():
        if key not in terms.keys(limit):
            continue
        now = holds.get((limit, key)) or terms.base(limit, key)
        try:
            value = terms.read(limit, key, written)
        except Unreadable:
            continue
        if now is not None and value != now and terms.tighter(key, value, now) == now:
            told.append(f"{limit} {key}: {now} now, and {value} lets more through")
    return told


def tripping(engine: pit.Engine, limit: str, values: Mapping[str, str]) -> list[str]:
    """Which of the bounds of a P&L limit are past already, so that it trips as soon as they hold, and for whom; or for
    whom nobody can say. One who was granted room goes by that, and is not among them.
    """
    terms = LimitTerms(settings_of(engine).limits)
    holds = {(each.limit, each.key): each.in_force for each in engine.limit_overrides()}
    told: list[str] = []
    counters: list[wire.LimitSeen] | None = None
    for key, written in values.items():
        side = _SIDES.get(key)
        if side is None or key not in terms.keys(limit):
            continue
        try:
            bound = Decimal(terms.read(limit, key, written))
        except Unreadable:
            continue
        if counters is None:
            counters = [each for each in engine.limits() if each.limit == limit and each.control == "pnl_kill_switch"]
        past: list[str] = []
        for each in counters:
            of, _, asset = each.what.partition(" in ")
            now = holds.get((limit, f"max_{of}")) or terms.base(limit, f"max_{of}")
            is_it = of == side or (of == _OTHER.get(side) and not any(_is_of(one, each, side) for one in counters))
            if not is_it or each.is_tripped or each.scope.startswith("each ") or now != text(each.bound):
                continue
            if each.used is None:
                past.append(f"nobody knows that of {each.scope} now")
                continue
            made = each.used if of == side else -each.used
            if made >= bound:
                past.append(f"{each.scope} stands at {text(made)} {asset}")
        if past:
            names = ", ".join(past[:_NAMED]) + (f" and {len(past) - _NAMED} more" if len(past) > _NAMED else "")
            told.append(f"{limit} {key}={written} trips as soon as it holds where the {side} is past it: {names}")
    return told


_SIDES = {"max_loss": "loss", "max_profit": "profit", "max_drawdown": "drawdown"}
_OTHER = {"loss": "profit", "profit": "loss"}
"""What a side is told by where it has no bound yet."""
_NAMED = 5


def _is_of(one: wire.LimitSeen, other: wire.LimitSeen, side: str) -> bool:
    return one.scope == other.scope and one.what.startswith(f"{side} in ")


def by_limit(limit: str, values: Sequence[tuple[str, str]]) -> dict[str, dict[str, str]]:
    """Numbers as typed, by limit: of the one named first, or, with a point before the key, of the one named there."""
    limits: dict[str, dict[str, str]] = {}
    for key, written in values:
        other, point, own = key.rpartition(".")
        limits.setdefault(other if point else limit, {})[own] = written
    return limits


def told_set(overrides: Sequence[LimitOverride]) -> str:
    """What was set, in a line."""
    by_name: dict[str, list[str]] = {}
    for each in overrides:
        told = f"{each.key} is {each.in_force} (configured: {each.base or 'nothing'})"
        by_name.setdefault(each.limit, []).append(told)
    until = overrides[0].until_wall_ns
    limits = "; ".join(f"{limit}: {', '.join(values)}" for limit, values in by_name.items())
    return f"{limits}{' until cleared' if until is None else f' until {local_moment(until)}'}"
