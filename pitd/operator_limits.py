"""What pitctl does with the numbers of limits: reads what a person has typed, and says what it would let through."""

from __future__ import annotations

import argparse
import datetime
import re
from collections.abc import Mapping, Sequence

import pit
from pit.types import LimitOverride

from .core.overrides import Unreadable
from .limit_terms import LimitTerms
from .running import settings_of


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


def local_moment(wall_ns: int) -> str:
    return f"{datetime.datetime.fromtimestamp(wall_ns / 1e9).astimezone():%Y-%m-%d %H:%M:%S %Z}"


def value(text: str) -> tuple[str, str]:
    """KEY=VALUE, as typed."""
    key, sign, written = text.partition("=")
    if not (key and sign and written):
        raise argparse.ArgumentTypeError(f"KEY=VALUE is wanted, such as max_quantity=500, not {text!r}")
    return key, written


def until(text: str) -> datetime.datetime:
    """A moment, as typed: a date and a time, in local time unless it says its zone; or a time, when it comes next."""
    now = datetime.datetime.now().astimezone()
    if re.fullmatch(r"\d{1,2}:\d\d", text):
        hour, minute = map(int, text.split(":"))
        if hour > 23 or minute > 59:
            raise argparse.ArgumentTypeError(f"there is no such time: {text!r}")
        moment = now.replace(hour=hour, minute=minute, second=0, microsecond=0, tzinfo=None)
        day = datetime.timedelta(days=0 if moment.astimezone() > now else 1)
        return (moment + day).astimezone()
    try:
        return datetime.datetime.fromisoformat(text).astimezone()
    except ValueError:
        why = f'a moment is wanted, such as 18:00 or "2026-11-24 18:00", not {text!r}'
        raise argparse.ArgumentTypeError(why) from None
