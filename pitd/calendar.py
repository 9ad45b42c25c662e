"""When days begin and end: times of day in zones, turned into moments, and these into entries for the engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

import msgspec

from .core import entry as e
from .core.accounts import FIRM, account_scope
from .core.days import Day, Days
from .hours import Market, Now
from .policies.instrument_rules import Hours
from .zones import Moment, Times

Turn = e.DayDue | e.DayEndDue | e.HoursDue

_SCOPES_AN_ENTRY = 500
_NEVER_NS = 2**63


class DayRule(msgspec.Struct, frozen=True, kw_only=True):
    """When a day begins and, where it ends before the next one begins, when that is: "17:00", in an IANA zone."""

    start_of_day: str
    zone: str = "UTC"
    end_of_day: str = ""


class Coming(NamedTuple):
    """When the day of a scope ends, where it does so before the next one begins; and when that is, by its name."""

    scope: str
    zone: str
    ends_ns: int | None
    begins_ns: int
    next_day: str


class _Rule:
    def __init__(self, rule: DayRule) -> None:
        self.zone = rule.zone
        self.begins = Times(rule.start_of_day, rule.zone)
        self.ends = Times(rule.end_of_day, rule.zone) if rule.end_of_day else None

    def end_of(self, day: Day) -> int | None:
        """When that day ends, where it does so before the next one begins and has not yet."""
        if self.ends is None or day.is_over:
            return None
        return next(self.ends.after(day.began_wall_ns)).wall_ns


class Has(Protocol):
    """A configuration, as far as it is looked at here."""

    @property
    def calendar(self) -> DayRule | None: ...

    def day_rules(self) -> Mapping[str, DayRule]:
        """The accounts that have a rule of their own."""

    def trading_hours(self) -> Mapping[str, Hours]:
        """The limits that go by the hours of a market."""


class Calendar:
    """Says which entries a moment of wall time asks for. Days are late where they must be, and never early:

    - A daemon that was down over one moment or many brings in the day that it is by then, once.
    - Daylight saving: `Times` says what is meant by a time that is skipped, or shown twice; each day begins once.
    - A wall clock that is set back, over the beginning of a day or many, begins none of them again: what has begun
      goes on until the first moment after that at which a day of another name begins.
    - A wall clock that is set forward over it begins the day, as if it were so late.
    - The hours of markets follow the clock on the wall, wherever it is set.
    - A rule that has changed holds from its next moment on at which a day of another name begins.
    """

    def __init__(self, config: Has) -> None:
        scopes: dict[DayRule, list[str]] = {}
        if config.calendar is not None:
            scopes[config.calendar] = [FIRM]
        for account, rule in config.day_rules().items():
            scopes.setdefault(rule, []).append(account_scope(account))
        self._scopes = [(_Rule(rule), tuple(of)) for rule, of in scopes.items()]
        self._markets = {name: Market(hours) for name, hours in config.trading_hours().items()}
        self._looked_ns: int | None = None
        self.next_ns = 0 if scopes or self._markets else _NEVER_NS
        """Nothing is to be done before, as long as the clock isn't set back."""
        self.is_used = bool(self._scopes or self._markets)

    def rests(self, wall_ns: int) -> bool:
        """Whether there is surely nothing to do: cheap."""
        return wall_ns < self.next_ns and (self._looked_ns is None or self._looked_ns <= wall_ns)

    def due(self, wall_ns: int, days: Days) -> list[Turn]:
        """The entries that are to be made now; then it is to be asked again, until there is none."""
        found: list[Turn] = []
        for rule, scopes in self._scopes:
            current = rule.begins.last(wall_ns)
            begin = [scope for scope in scopes if self._has_begun(days.at(scope), current)]
            found += [e.DayDue(some, current.day, current.wall_ns) for some in _pieces(begin)]
            begun = set(begin)
            ends: dict[int, list[str]] = {}
            for scope in scopes:
                day = days.at(scope)
                end_ns = None if day is None or scope in begun else rule.end_of(day)
                if end_ns is not None and end_ns <= wall_ns:
                    ends.setdefault(end_ns, []).append(scope)
            found += [e.DayEndDue(some, at_ns) for at_ns, of in ends.items() for some in _pieces(of)]
        now = {name: market.at(wall_ns) for name, market in self._markets.items()}
        for name, state in now.items():
            if days.hours_of(name) != (state.is_open, state.until):
                found.append(e.HoursDue(name, state.is_open, state.until))
        if not found:
            self._looked_ns = wall_ns
            moments = [state.until_ns for state in now.values()]
            for each in self.coming(wall_ns, days):
                moments += [each.begins_ns] if each.ends_ns is None else [each.begins_ns, each.ends_ns]
            self.next_ns = min(moments, default=_NEVER_NS)
        return found

    def markets(self, wall_ns: int) -> Iterator[tuple[str, str, Now]]:
        """How the hours of each limit stand at that moment: the limit, the zone, and whether it is open until when."""
        return ((name, market.zone, market.at(wall_ns)) for name, market in self._markets.items())

    def coming(self, wall_ns: int, days: Days) -> Iterator[Coming]:
        """The next moments of each scope."""
        for rule, scopes in self._scopes:
            begins = list(zip(rule.begins.after(wall_ns), range(4), strict=False))
            for scope in scopes:
                day = days.at(scope)
                end_ns = None if day is None else rule.end_of(day)
                begin = next(each for each, _ in begins if day is None or each.day != day.name)
                yield Coming(scope, rule.zone, end_ns, begin.wall_ns, begin.day)

    def _has_begun(self, day: Day | None, current: Moment) -> bool:
        if day is None:
            return True
        if day.name == current.day:
            return False
        return current.wall_ns > day.began_wall_ns or (
            self._looked_ns is not None and current.wall_ns > self._looked_ns  # the clock was set back meanwhile
        )


class _Nothing:
    calendar = None

    def trading_hours(self) -> Mapping[str, Hours]:
        return {}

    def day_rules(self) -> Mapping[str, DayRule]:
        return {}


NO_CALENDAR = Calendar(_Nothing())


def _pieces(scopes: list[str]) -> Iterable[tuple[str, ...]]:
    return (tuple(scopes[at : at + _SCOPES_AN_ENTRY]) for at in range(0, len(scopes), _SCOPES_AN_ENTRY))
