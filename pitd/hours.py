"""When a market trades: sessions at times of day in a zone, turned into moments."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from .policies.instrument_rules import Hours
from .zones import Times, named, time_of_day

_WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = timedelta(days=1)
_DAY_NS = 86_400 * 10**9
_AHEAD = 15
"""So many days are looked at: where nothing changes for longer than that, it is looked at again each day."""


class _Timed(NamedTuple):
    """When a session begins and ends, and how many dates later that is."""

    begins: Times
    ends: Times
    lasts: timedelta


class Session(NamedTuple):
    days: frozenset[int]
    """Of the week, from 0 for Monday: those on which it begins."""
    begins: str
    ends: str


class Now(NamedTuple):
    """Whether a market is open, until when, and that moment as people there write it; "" where nobody can say yet."""

    is_open: bool
    until_ns: int
    until: str


def session(written: str) -> Session:
    """What "mon-fri 09:30-16:00" means, "sun-thu 18:00-17:00" (over midnight), or "09:30-16:00" (every day). Raises
    ValueError.
    """
    found = re.fullmatch(r"(?:([a-z,-]+) +)?(\d\d:\d\d(?::\d\d)?)-(\d\d:\d\d(?::\d\d)?)", written.strip().lower())
    if found is None:
        raise ValueError(written)
    time_of_day(found[2]), time_of_day(found[3])
    return Session(frozenset(_days(found[1])) if found[1] else frozenset(range(7)), found[2], found[3])


def holiday(written: str) -> date:
    """Raises ValueError."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", written, re.ASCII):
        raise ValueError(written)
    return date.fromisoformat(written)


class Shortened(NamedTuple):
    """A session that begins on that date, in the place of those that would."""

    day: date
    begins: str
    ends: str


def shortened(written: str) -> Shortened:
    """What "2026-11-27 09:30-13:00" means. Raises ValueError."""
    day, _, times = written.strip().partition(" ")
    if not re.match(r"\d\d:", times.strip()):
        raise ValueError(written)
    of = session(times)
    return Shortened(holiday(day), of.begins, of.ends)


class Market:
    """The moments at which one market opens and closes. It is open from the first moment of a session up to its end;
    sessions that touch or overlap are one. On a holiday none begins; one that began the evening before goes on. On a
    shortened day its own sessions begin, and no others.
    """

    def __init__(self, hours: Hours) -> None:
        self.zone = hours.zone
        self._zone = named(hours.zone)
        sessions = [session(each) for each in hours.sessions]
        self._times = [(each.days, _timed(each.begins, each.ends, hours.zone)) for each in sessions]
        self._holidays = frozenset(map(holiday, hours.holidays))
        self._shortened: dict[date, list[_Timed]] = {}
        for short in map(shortened, hours.shortened):
            self._shortened.setdefault(short.day, []).append(_timed(short.begins, short.ends, hours.zone))

    def at(self, wall_ns: int) -> Now:
        """How it stands at that moment."""
        today = datetime.fromtimestamp(wall_ns // 10**9, self._zone).date()
        horizon_ns = wall_ns + (_AHEAD - 4) * _DAY_NS
        for begins_ns, ends_ns in _merged(sorted(self._between(today - 2 * _DAY, _AHEAD))):
            if wall_ns < begins_ns <= horizon_ns:
                return Now(False, begins_ns, self._written(begins_ns))
            if begins_ns <= wall_ns < ends_ns:
                is_far = ends_ns > horizon_ns
                return Now(True, wall_ns + _DAY_NS, "") if is_far else Now(True, ends_ns, self._written(ends_ns))
        return Now(False, wall_ns + _DAY_NS, "")

    def _between(self, first: date, dates: int) -> Iterator[tuple[int, int]]:
        for day in (first + ahead * _DAY for ahead in range(dates)):
            if day in self._holidays:
                continue
            usual = [timed for days, timed in self._times if day.weekday() in days]
            for timed in self._shortened.get(day, usual):
                yield timed.begins.on(day).wall_ns, timed.ends.on(day + timed.lasts).wall_ns

    def _written(self, wall_ns: int) -> str:
        return f"{datetime.fromtimestamp(wall_ns // 10**9, UTC).astimezone(self._zone):%a %Y-%m-%d %H:%M %Z}"


def _timed(begins: str, ends: str, zone: str) -> _Timed:
    return _Timed(Times(begins, zone), Times(ends, zone), _DAY if ends <= begins else timedelta())


def _merged(sessions: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    begins, ends = 0, 0
    for one_begins, one_ends in sessions:
        if ends and one_begins <= ends:
            ends = max(ends, one_ends)
            continue
        if ends:
            yield begins, ends
        begins, ends = one_begins, one_ends
    if ends:
        yield begins, ends


def _days(written: str) -> Iterator[int]:
    for part in written.split(","):
        first, _, last = part.partition("-")
        begin, end = _WEEK.index(first), _WEEK.index(last or first)  # ValueError for what is no day
        yield from (each % 7 for each in range(begin, end + 1 + (7 if end < begin else 0)))
