"""Times of day and IANA zones as people write them, and the moments that they mean."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

_DAY = timedelta(days=1)
_NOON = time(12)


def is_known(zone: str) -> bool:
    """Whether there are rules for that zone on this machine, or in the tzdata package."""
    import zoneinfo

    try:
        zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def named(zone: str) -> ZoneInfo:
    """Its rules, for a zone that is known."""
    from zoneinfo import ZoneInfo  # many a daemon has no calendar

    return ZoneInfo(zone)


def all_names() -> list[str]:
    import zoneinfo

    return sorted(zoneinfo.available_timezones())


def time_of_day(written: str) -> time:
    """ "17:00" or "17:00:30". Raises ValueError."""
    if not re.fullmatch(r"\d\d:\d\d(:\d\d)?", written, re.ASCII):
        raise ValueError(written)
    return time.fromisoformat(written)


class Moment(NamedTuple):
    """When a day begins, or ends, in wall time; and the name of the day."""

    wall_ns: int
    day: str


class Times:
    """The moments at which a clock on a wall in that zone shows a time of day, one for each date.

    A time that a date's clock skips is the moment of the jump; of a time that it shows twice, the first is meant. What
    begins at noon or later goes by the next date: a day from 17:00 on Monday is Tuesday's.
    """

    def __init__(self, at: str, zone: str) -> None:
        self._at = time.fromisoformat(at)
        self._zone = named(zone)
        self._name_after = _DAY if self._at >= _NOON else timedelta()

    def last(self, wall_ns: int) -> Moment:
        """The latest one that has come."""
        return max(each for each in self._around(wall_ns) if each.wall_ns <= wall_ns)

    def after(self, wall_ns: int) -> Iterator[Moment]:
        """Those that are still to come, in order."""
        today = self._date(wall_ns)
        moment = self.on(today - _DAY)
        for ahead in range(400):
            next_one = self.on(today + ahead * _DAY)
            if wall_ns < moment.wall_ns < next_one.wall_ns:  # a date that never was begins with the one after it
                yield moment
            moment = next_one

    def _around(self, wall_ns: int) -> Iterator[Moment]:
        today = self._date(wall_ns)
        return (self.on(today + ahead * _DAY) for ahead in (-2, -1, 0, 1))

    def _date(self, wall_ns: int) -> date:
        return datetime.fromtimestamp(wall_ns // 10**9, self._zone).date()

    def on(self, day: date) -> Moment:
        """That of a date."""
        shown = datetime.combine(day, self._at, self._zone)
        seconds = int(shown.timestamp())
        if datetime.fromtimestamp(seconds, self._zone).replace(tzinfo=None) != shown.replace(tzinfo=None):
            seconds = self._jump(int(shown.replace(fold=1).timestamp()), seconds)
        return Moment(seconds * 10**9, (day + self._name_after).isoformat())

    def _jump(self, before: int, after: int) -> int:
        """The first second between these that goes by the later offset."""
        offset = self._offset(before)
        while after - before > 1:
            middle = (before + after) // 2
            before, after = (middle, after) if self._offset(middle) == offset else (before, middle)
        return after

    def _offset(self, seconds: int) -> timedelta | None:
        return datetime.fromtimestamp(seconds, self._zone).utcoffset()
