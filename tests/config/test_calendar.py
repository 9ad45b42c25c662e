"""When days begin and end: what is meant by a time of day, and what a daemon makes of it that was away."""

from __future__ import annotations

import itertools
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from builders import Local, order

import pit
from pitd import config
from pitd.calendar import NO_CALENDAR, Calendar, Times
from pitd.clock import ManualClock
from pitd.core import entry as e
from pitd.local import LocalEngine

NEW_YORK = """
[calendar]
zone = "America/New_York"
start_of_day = "17:00"
"""


def ns(written: str) -> int:
    """ "2026-11-24 17:00 America/New_York" as a moment."""
    day, at, zone = (*written.split(), "UTC")[:3]
    return int(datetime.fromisoformat(f"{day} {at}").replace(tzinfo=ZoneInfo(zone)).timestamp()) * 10**9


class Desk(Local):
    """An engine whose clock on the wall can be set, apart from how much time goes by."""

    def __init__(self, settings: str = NEW_YORK, *, at: str) -> None:
        self.clock = _Clock(ns(at))
        self.house = LocalEngine(config.parse(settings, "test.toml"), clock=self.clock)
        self.rows: list[Any] = []
        self.house.sequencer.watchers.append(self.rows.extend)
        self.look()

    def at(self, moment: str) -> list[str]:
        """Sets the clock on the wall: what it makes begin and end, in order."""
        self.clock.wall = ns(moment)
        return self.look()

    def look(self) -> list[str]:
        self.rows.clear()
        self.house.sequencer.end_due()
        self.house.sequencer.release()
        self.house.sequencer.publish()
        told = []
        for row in self.rows:
            for effect in row.effects:
                if not isinstance(effect, e.DayBegan | e.DayEnded):
                    continue
                day = f" {effect.day}" if isinstance(effect, e.DayBegan) else ""
                told += [f"{type(effect).__name__}{day} {scope}" for scope in effect.scopes]
        return told

    def day(self, account: str = "alpha") -> str:
        found = self.core.days.of(account)
        return "" if found is None else found.name


class _Clock(ManualClock):
    def __init__(self, wall_ns: int) -> None:
        super().__init__(1)
        self.wall = wall_ns

    def wall_ns(self) -> int:
        return self.wall


# ---------------------------------------------------------------------------------------------- what is meant


@pytest.mark.parametrize(
    ("at", "zone", "now", "last", "day"),
    [
        ("17:00", "America/New_York", "2026-11-24 21:59:59", "2026-11-23 22:00", "2026-11-24"),
        ("17:00", "America/New_York", "2026-11-24 22:00", "2026-11-24 22:00", "2026-11-25"),
        ("17:00", "America/New_York", "2026-07-24 21:00", "2026-07-24 21:00", "2026-07-25"),
        ("08:00", "Asia/Tokyo", "2026-11-23 23:00", "2026-11-23 23:00", "2026-11-24"),
        ("00:00", "UTC", "2026-11-23 23:59:59", "2026-11-23 00:00", "2026-11-23"),
        # 02:30 is skipped on 2026-03-08: the clock jumps from 02:00 to 03:00, which is 07:00 UTC
        ("02:30", "America/New_York", "2026-03-08 06:59:59", "2026-03-07 07:30", "2026-03-07"),
        ("02:30", "America/New_York", "2026-03-08 07:00", "2026-03-08 07:00", "2026-03-08"),
        ("02:30", "America/New_York", "2026-03-09 06:30", "2026-03-09 06:30", "2026-03-09"),
        # 01:30 is shown twice on 2026-11-01: the first is 05:30 UTC
        ("01:30", "America/New_York", "2026-11-01 05:30", "2026-11-01 05:30", "2026-11-01"),
        ("01:30", "America/New_York", "2026-11-01 06:30", "2026-11-01 05:30", "2026-11-01"),
        # a date that never was: Samoa went from the 29th to the 31st
        ("17:00", "Pacific/Apia", "2011-12-31 02:59:59", "2011-12-30 10:00", "2011-12-31"),
        ("17:00", "Pacific/Apia", "2011-12-31 03:00", "2011-12-31 03:00", "2012-01-01"),
    ],
)
def test_a_time_of_day_is_the_moment_at_which_the_clock_there_first_shows_it(at, zone, now, last, day):
    found = Times(at, zone).last(ns(now))
    assert (found.wall_ns, found.day) == (ns(last), day)


@pytest.mark.parametrize("zone", ["America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kathmandu"])
@pytest.mark.parametrize("at", ["00:00", "02:15", "12:00", "23:59:59"])
def test_days_follow_one_another_through_the_years_and_each_date_has_one(zone, at):
    times = Times(at, zone)
    first = times.last(ns("2011-01-01 12:00"))
    moments = [first, *times.after(first.wall_ns)]
    for one, next_one in itertools.pairwise(moments):
        assert one.wall_ns < next_one.wall_ns and one.day < next_one.day
        assert times.last(next_one.wall_ns - 1) == one and times.last(next_one.wall_ns) == next_one
    assert len({each.day for each in moments}) == len(moments) > 395


# ---------------------------------------------------------------------------------------------- what becomes of it


def test_without_a_calendar_no_day_begins_and_nothing_is_looked_at():
    desk = Desk("", at="2026-11-24 12:00")
    assert desk.at("2027-11-24 12:00") == [] and desk.day() == ""
    assert NO_CALENDAR.rests(2**62)


def test_the_first_start_begins_the_day_that_it_is_and_the_next_begin_at_their_moments():
    desk = Desk(at="2026-11-24 12:00")
    assert desk.day() == "2026-11-24"
    assert desk.at("2026-11-24 21:59:59") == []
    assert desk.at("2026-11-24 22:00") == ["DayBegan 2026-11-25 firm"]
    assert desk.at("2026-11-24 22:00") == []
    assert desk.at("2026-11-25 22:00") == ["DayBegan 2026-11-26 firm"]


def test_an_account_with_a_rule_of_its_own_has_its_own_day():
    tokyo = '[accounts.beta]\nzone = "Asia/Tokyo"\nstart_of_day = "08:00"\n[accounts.alpha]\ncurrency = "USD"'
    desk = Desk(NEW_YORK + tokyo, at="2026-11-24 12:00")
    assert (desk.day("alpha"), desk.day("beta")) == ("2026-11-24", "2026-11-24")
    assert desk.at("2026-11-24 22:30") == ["DayBegan 2026-11-25 firm"]
    assert desk.at("2026-11-24 23:00") == ["DayBegan 2026-11-25 account beta"]
    assert desk.core.days.of("alpha") is desk.core.days.firm is not desk.core.days.of("beta")


def test_a_day_that_ends_early_ends_before_the_next_one_begins():
    desk = Desk(NEW_YORK + 'end_of_day = "16:15"', at="2026-11-24 12:00")
    assert desk.at("2026-11-24 21:15") == ["DayEnded firm"]
    assert desk.day() == "2026-11-24" and desk.core.days.firm.is_over
    assert desk.at("2026-11-24 21:59") == []
    assert desk.at("2026-11-24 22:00") == ["DayBegan 2026-11-25 firm"]
    assert not desk.core.days.firm.is_over


def test_who_starts_after_the_end_of_the_day_finds_it_over():
    desk = Desk(NEW_YORK + 'end_of_day = "16:15"', at="2026-11-24 21:30")
    assert desk.core.days.firm.is_over


def test_who_was_down_over_days_begins_the_one_that_it_is_once():
    desk = Desk(at="2026-11-24 12:00")
    assert desk.at("2026-12-03 12:00") == ["DayBegan 2026-12-03 firm"]


def test_a_clock_that_steps_back_over_the_beginning_does_not_begin_it_again():
    desk = Desk(at="2026-11-24 12:00")
    assert desk.at("2026-11-24 22:00") == ["DayBegan 2026-11-25 firm"]
    assert desk.at("2026-11-24 21:59:58") == []
    assert desk.at("2026-11-24 22:00:01") == []
    assert desk.at("2026-11-25 22:00") == ["DayBegan 2026-11-26 firm"]


def test_after_a_clock_was_far_ahead_the_next_day_begins_at_its_own_moment():
    desk = Desk(at="2026-11-24 12:00")
    assert desk.at("2030-01-01 12:00") == ["DayBegan 2030-01-01 firm"]
    assert desk.at("2026-11-24 12:05") == [], "late, and never early"
    assert desk.at("2026-11-24 21:59") == []
    assert desk.at("2026-11-24 22:00") == ["DayBegan 2026-11-25 firm"]
    assert desk.at("2026-11-25 22:00") == ["DayBegan 2026-11-26 firm"]


def test_a_start_with_a_clock_that_was_far_ahead_before_waits_for_the_next_moment():
    desk = Desk(at="2030-01-01 12:00")
    desk.house.sequencer.calendar = Calendar(config.parse(NEW_YORK))  # what a start begins with
    assert desk.at("2026-11-24 12:00") == []
    assert desk.at("2026-11-24 22:00") == ["DayBegan 2026-11-25 firm"]


def test_another_rule_holds_from_its_next_moment_on_and_no_day_begins_twice():
    desk = Desk(at="2026-11-24 22:30")
    assert desk.day() == "2026-11-25"
    desk.house.sequencer.go_by(Calendar(config.parse(NEW_YORK.replace("17:00", "18:00"))))
    assert desk.at("2026-11-24 23:00") == [], "it would be another 2026-11-25"
    assert desk.at("2026-11-25 22:59") == []
    assert desk.at("2026-11-25 23:00") == ["DayBegan 2026-11-26 firm"]


def test_many_accounts_of_one_rule_begin_their_day_in_entries_of_bounded_size():
    accounts = "\n".join(f'[accounts.a{n}]\nstart_of_day = "17:00"' for n in range(1_001))
    desk = Desk(NEW_YORK + accounts, at="2026-11-24 12:00")
    assert len(desk.at("2026-11-24 22:00")) == 1_002
    assert max(len(row.entry.body.scopes) for row in desk.rows) == 500 and len(desk.rows) == 3


def test_the_next_moments_are_told_with_the_days_that_they_begin():
    desk = Desk(NEW_YORK + 'end_of_day = "16:15"', at="2026-11-24 12:00")
    calendar = desk.house.sequencer.calendar
    assert list(calendar.coming(desk.clock.wall, desk.core.days)) == [
        ("firm", "America/New_York", ns("2026-11-24 21:15"), ns("2026-11-24 22:00"), "2026-11-25")
    ]
    assert calendar.next_ns == ns("2026-11-24 21:15")


def test_a_backtest_has_days_by_the_clock_that_it_brings():
    clock = ManualClock(ns("2026-03-06 20:00"))
    house = LocalEngine(config.parse(NEW_YORK), clock=clock)
    with house.connect("mm1") as engine:
        names = []
        for _ in range(96):
            clock.advance(3600)
            engine.open_orders()
            names.append(house.sequencer.engine.days.firm.name)
    assert list(dict.fromkeys(names)) == ["2026-03-06", "2026-03-07", "2026-03-08", "2026-03-09", "2026-03-10"]
    assert names.count("2026-03-08") == 23, "the day on which the clock jumps"


def test_what_was_good_for_the_day_is_closed_at_its_end_without_anybody_asking():
    desk = Desk(at="2026-11-24 12:00")
    with desk.connect("mm1") as engine:
        held = engine.execute_pre_trade(order(id="o1", time_in_force="day"), sent=True)
        assert isinstance(held, pit.Reservation)
        held.commit()
        desk.clock.wall = ns("2026-11-24 22:00")
        outcome = engine.outcome("alpha", "o1")
        assert (outcome.state, outcome.ended_by, outcome.reason) == ("closed", "day_end", "day 2026-11-24 is over")
