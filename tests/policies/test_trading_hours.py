"""instrument_rules: hours. What a session means, when a market opens and closes, and what becomes of an order then."""

from __future__ import annotations

from typing import Any

import pytest
from builders import Core, fill, order, report
from config.test_calendar import Desk, ns
from restarts import WAYS, come_back

import pit
from pitd import config
from pitd.calendar import Calendar
from pitd.core import entry as e
from pitd.errors import ConfigError
from pitd.hours import Market
from pitd.policies.instrument_rules import Hours

NYSE = """
[limits.nyse]
control = "instrument_rules"
instruments = ["AAPL/USD"]
zone = "America/New_York"
hours = ["mon-fri 09:30-16:00"]
holidays = ["2026-11-26"]
"""


def market(*sessions: str, zone: str = "America/New_York", **words: tuple[str, ...]) -> Market:
    return Market(Hours(sessions=sessions, zone=zone, **words))


@pytest.mark.parametrize(
    ("sessions", "at", "is_open", "until"),
    [
        # 2026-11-24 is a Tuesday; New York is at UTC-5
        (("mon-fri 09:30-16:00",), "2026-11-24 14:29:59", False, "Tue 2026-11-24 09:30 EST"),
        (("mon-fri 09:30-16:00",), "2026-11-24 14:30", True, "Tue 2026-11-24 16:00 EST"),
        (("mon-fri 09:30-16:00",), "2026-11-24 20:59:59", True, "Tue 2026-11-24 16:00 EST"),
        (("mon-fri 09:30-16:00",), "2026-11-24 21:00", False, "Wed 2026-11-25 09:30 EST"),
        (("mon-fri 09:30-16:00",), "2026-11-28 15:00", False, "Mon 2026-11-30 09:30 EST"),
        (("tue 09:30-12:00", "tue 13:00-16:00"), "2026-11-24 17:00", False, "Tue 2026-11-24 13:00 EST"),
        (("tue 09:30-12:00", "tue 12:00-16:00"), "2026-11-24 17:00", True, "Tue 2026-11-24 16:00 EST"),
        (("sun-thu 18:00-17:00",), "2026-11-24 21:59:59", True, "Tue 2026-11-24 17:00 EST"),
        (("sun-thu 18:00-17:00",), "2026-11-24 22:00", False, "Tue 2026-11-24 18:00 EST"),
        (("sun-thu 18:00-17:00",), "2026-11-27 21:59:59", True, "Fri 2026-11-27 17:00 EST"),
        (("sun-thu 18:00-17:00",), "2026-11-27 23:30", False, "Sun 2026-11-29 18:00 EST"),
        (("sat,mon 10:00-11:00",), "2026-11-24 15:30", False, "Sat 2026-11-28 10:00 EST"),
        (("00:00-00:00",), "2026-11-24 15:30", True, ""),
        # the clock jumps from 02:00 to 03:00 on 2026-03-08, and back from 02:00 to 01:00 on 2026-11-01
        (("02:30-04:00",), "2026-03-08 06:59:59", False, "Sun 2026-03-08 03:00 EDT"),
        (("02:30-04:00",), "2026-03-08 07:00", True, "Sun 2026-03-08 04:00 EDT"),
        (("00:30-01:30",), "2026-11-01 05:30", False, "Mon 2026-11-02 00:30 EST"),
    ],
)
def test_a_market_is_open_from_the_first_moment_of_a_session_up_to_its_last(sessions, at, is_open, until):
    now = market(*sessions).at(ns(at))
    assert (now.is_open, now.until) == (is_open, until)


def test_on_a_holiday_no_session_begins_and_the_one_of_the_evening_before_goes_on():
    day = market("mon-fri 09:30-16:00", holidays=("2026-11-26",))
    assert day.at(ns("2026-11-26 15:00")).until == "Fri 2026-11-27 09:30 EST"
    night = market("18:00-17:00", holidays=("2026-11-26",))
    assert night.at(ns("2026-11-26 15:00")).is_open
    assert night.at(ns("2026-11-27 00:00")).until == "Fri 2026-11-27 18:00 EST"


@pytest.mark.parametrize(
    ("at", "is_open", "until"),
    [
        ("2026-11-27 14:30", True, "Fri 2026-11-27 13:00 EST"),
        ("2026-11-27 17:59", True, "Fri 2026-11-27 13:00 EST"),
        ("2026-11-27 18:00", False, "Mon 2026-11-30 09:30 EST"),
        ("2026-11-30 18:00", True, "Mon 2026-11-30 16:00 EST"),
    ],
)
def test_on_a_shortened_day_the_market_closes_early_and_opens_as_ever_on_the_next(at, is_open, until):
    now = market("mon-fri 09:30-16:00", shortened=("2026-11-27 09:30-13:00",)).at(ns(at))
    assert (now.is_open, now.until) == (is_open, until)


def test_an_overnight_market_shortens_the_session_of_the_evening_before():
    night = market("sun-thu 18:00-17:00", shortened=("2026-11-25 18:00-13:00", "2026-11-26 18:00-13:15"))
    assert night.at(ns("2026-11-26 17:59")).until == "Thu 2026-11-26 13:00 EST"
    assert night.at(ns("2026-11-26 18:00")).until == "Thu 2026-11-26 18:00 EST"
    assert night.at(ns("2026-11-26 23:00")).until == "Fri 2026-11-27 13:15 EST"
    assert night.at(ns("2026-11-27 18:15")).until == "Sun 2026-11-29 18:00 EST"


def test_a_shortened_day_may_have_several_sessions_a_late_opening_or_be_none_of_the_usual():
    several = market("mon-fri 09:30-16:00", shortened=("2026-11-27 11:00-12:00", "2026-11-27 13:00-14:00"))
    assert several.at(ns("2026-11-27 15:30")).until == "Fri 2026-11-27 11:00 EST"
    assert several.at(ns("2026-11-27 17:30")).until == "Fri 2026-11-27 13:00 EST"
    saturday = market("mon-fri 09:30-16:00", shortened=("2026-11-28 10:00-12:00",))
    assert saturday.at(ns("2026-11-28 16:00")).is_open


def test_a_market_that_is_closed_for_weeks_is_looked_at_again():
    days = tuple(f"2026-{month}-{day:02}" for month in (11, 12) for day in range(1, 31))
    closed = market("09:30-16:00", holidays=days).at(ns("2026-11-24 15:00"))
    assert (closed.is_open, closed.until) == (False, "") and closed.until_ns > ns("2026-11-24 15:00")


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ('hours = ["9:30-16:00"]', "limits.x.hours"),
        ('hours = ["mo-fr 09:30-16:00"]', "limits.x.hours"),
        ('hours = ["09:30-25:00"]', "limits.x.hours"),
        ("hours = []", "limits.x.hours"),
        ('hours = "09:30-16:00"', "limits.x.hours"),
        ('hours = ["09:30-16:00"], holidays = ["26.11.2026"]', "limits.x.holidays"),
        ('hours = ["09:30-16:00"], shortened = ["2026-11-27"]', "limits.x.shortened"),
        ('hours = ["09:30-16:00"], shortened = ["2026-11-27 mon 09:30-13:00"]', "limits.x.shortened"),
        ('hours = ["09:30-16:00"], shortened = ["2026-02-30 09:30-13:00"]', "limits.x.shortened"),
        (
            'hours = ["09:30-16:00"], holidays = ["2026-11-27"], shortened = ["2026-11-27 09:30-13:00"]',
            "limits.x.shortened: 2026-11-27 is a holiday as well",
        ),
        ('deny = ["AAPL/USD"], shortened = ["2026-11-27 09:30-13:00"]', "limits.x.shortened"),
        ('hours = ["09:30-16:00"], zone = "Mars/Olympus"', "limits.x.zone"),
        ('deny = ["AAPL/USD"], zone = "UTC"', "limits.x.zone"),
    ],
)
def test_hours_that_can_not_be_meant_are_refused_by_their_key(written, key):
    with pytest.raises(ConfigError, match=key):
        config.parse(f'[limits]\nx = {{ control = "instrument_rules", {written} }}')


# ---------------------------------------------------------------------------------------------- orders


def answer(engine: pit.Engine, **fields: Any) -> str:
    found = engine.execute_pre_trade(order(**fields))
    return "" if found else str(found.code)


def test_an_order_passes_while_the_market_is_open_and_the_clock_moves_it_without_anybody_asking():
    desk = Desk(NYSE, at="2026-11-24 14:29:59")
    with desk.connect("mm1") as engine:
        no = engine.execute_pre_trade(order())
        assert isinstance(no, pit.Rejected) and no.code == "ExchangeClosed" and no.limit == "nyse"
        assert no.reason == "AAPL/USD: closed by the hours of nyse until Tue 2026-11-24 09:30 EST"
        assert answer(engine, instrument=pit.Instrument("BTC", "USDT")) == "", "the limit is for AAPL/USD alone"
        for moment, code in (
            ("2026-11-24 14:30", ""),
            ("2026-11-24 20:59:59.999999999", ""),
            ("2026-11-24 21:00", "ExchangeClosed"),
            ("2026-11-26 15:00", "ExchangeClosed"),
            ("2026-11-27 15:00", ""),
            ("2026-11-26 15:00", "ExchangeClosed"),  # the clock on the wall is set back
        ):
            desk.clock.wall = ns(moment)
            assert answer(engine) == code, moment


def test_a_request_that_started_before_the_close_is_refused_after_it():
    desk = Desk(NYSE, at="2026-11-24 20:59")
    with desk.connect("mm1") as engine:
        request = engine.start_pre_trade(order())
        assert isinstance(request, pit.DeferredRequest)
        desk.clock.wall = ns("2026-11-24 21:00")
        refused = request.execute()
        assert isinstance(refused, pit.Rejected) and refused.code == "ExchangeClosed"


def test_what_is_open_when_a_market_closes_can_be_settled_and_reported():
    desk = Desk(NYSE, at="2026-11-24 20:59")
    with desk.connect("mm1") as engine:
        held = engine.execute_pre_trade(order(id="o1"))
        assert isinstance(held, pit.Reservation)
        desk.clock.wall = ns("2026-11-24 21:00")
        held.mark_sent()
        held.commit()
        engine.apply_execution_report(fill("o1", 4))
        engine.apply_execution_report(report("cancelled", order_id="o1"))
        assert engine.outcome("alpha", "o1").state == "closed"


def test_other_hours_hold_from_the_moment_that_they_are_configured():
    desk = Desk(NYSE, at="2026-11-24 21:30")
    with desk.connect("mm1") as engine:
        assert answer(engine) == "ExchangeClosed"
        later = config.parse(NYSE.replace("16:00", "20:00"))
        desk.house.sequencer.go_by(Calendar(later))
        assert answer(engine) == ""


def test_while_nobody_has_said_whether_a_market_is_open_it_is_closed():
    core = Core(NYSE)
    assert core.check(order()).rejected.code == "ExchangeClosed"
    core.enter(e.HoursDue("nyse", True, "later"))
    assert isinstance(core.check(order()), e.Accepted)


@pytest.mark.parametrize("way", WAYS)
def test_which_markets_are_open_comes_back(way: str):
    core = Core(NYSE)
    core.enter(e.HoursDue("nyse", True, "Tue 2026-11-24 16:00 EST"))
    again = come_back(core, NYSE, way)
    assert isinstance(again.check(order()), e.Accepted)
    assert again.engine.days.hours() == [("nyse", True, "Tue 2026-11-24 16:00 EST")]


def test_hours_that_are_taken_out_are_forgotten():
    core = Core(NYSE)
    core.enter(e.HoursDue("nyse", True, "later"))
    core.configure("")
    assert core.engine.days.hours() == []
