"""pnl_kill_switch by the day and by its peak, and what a trip lets pass: each sentence of its rule, and a model."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import pytest
from builders import AAPL, Core, fill, money, order
from cases import amounts
from restarts import WAYS, come_back

import pit
from pitd import config
from pitd.core import entry as e
from pitd.core.policy import Look
from pitd.errors import ConfigError

CALENDAR = '[calendar]\nstart_of_day = "00:00"\n'


def limited(limit: str, more: str = "") -> str:
    return f'{CALENDAR}{more}\n[limits]\nday_loss = {{ control = "pnl_kill_switch", settlement = "USD", {limit} }}'


DAILY = limited('each = "account", max_loss = "100", per = "day"')
FALL = limited('each = "account", max_drawdown = "100"')


def passes(core: Core, **fields: Any) -> bool:
    return isinstance(core.check(order(**fields)), e.Accepted)


def makes(core: Core, *amounts: str, account: str = "alpha") -> None:
    for amount in amounts:
        core.report(money("x", pnl=amount, account=account))


# ---------------------------------------------------------------------------------------------- the peak


@pytest.mark.parametrize(
    ("amounts", "is_open"),
    [
        (("70", "-169.99"), False),
        (("70", "-99.99"), True),
        (("70", "-100"), False),
        (("70", "-99", "150", "-99.99"), True),
        (("70", "-99", "150", "-100"), False),
        (("-99.99",), True),
        (("-100",), False),
        (("-50", "20", "-69.99"), True),
        (("-50", "20", "-70"), False),
    ],
)
def test_a_fall_from_the_peak_trips_at_exactly_the_bound(amounts: tuple[str, ...], is_open: bool) -> None:
    core = Core(FALL)
    makes(core, *amounts)
    assert passes(core) == is_open


def test_the_trip_says_from_where_and_how_far() -> None:
    core = Core(FALL)
    makes(core, "70")
    (block,) = core.report(money("x", pnl="-120")).result.blocks
    assert block.reason == (
        "account alpha: P&L -50 USD has reached the floor -30, 100 below its peak; an operator must rearm it"
    )


def test_rearmed_with_room_it_trips_that_much_below_where_it_stood_and_a_new_peak_counts_again() -> None:
    core = Core(FALL)
    makes(core, "-100")
    assert core.rearm("day_loss", "account alpha", "30") == e.Done(1)
    makes(core, "-29.99")
    assert passes(core)
    makes(core, "-0.01")
    assert not passes(core)
    core.rearm("day_loss", "account alpha", "100")
    makes(core, "500", "-99.99")
    assert passes(core)
    makes(core, "-0.01")
    assert not passes(core)


def test_more_room_than_the_drawdown_is_not_granted() -> None:
    core = Core(FALL)
    makes(core, "-100")
    no = core.rearm("day_loss", "account alpha", "100.01")
    assert no.failure == "InvalidInput" and "max_drawdown is 100" in no.message


def test_a_limit_that_comes_later_begins_its_peak_where_it_first_sees_the_account() -> None:
    core = Core(limited('each = "account", max_loss = "1000"'))
    makes(core, "-500")
    core.configure(FALL)
    makes(core, "-99.99")
    assert passes(core)
    makes(core, "-0.01")
    assert not passes(core)


# ---------------------------------------------------------------------------------------------- the day


def test_each_day_counts_from_what_the_one_before_has_left() -> None:
    core = Core(DAILY)
    core.begin_day("2026-11-23")
    makes(core, "-60")
    core.begin_day("2026-11-24")
    makes(core, "-99")
    assert passes(core)
    makes(core, "-1")
    assert not passes(core)


def test_a_new_day_lifts_the_trip_of_the_one_before_and_no_other_block() -> None:
    core = Core(DAILY)
    core.begin_day("2026-11-23")
    makes(core, "-100")
    core.block("account beta")
    assert not passes(core)
    core.begin_day("2026-11-24")
    assert passes(core) and not passes(core, account="beta")
    makes(core, "-100")
    assert not passes(core)


def test_a_limit_that_is_not_by_the_day_stays_tripped_over_it() -> None:
    core = Core(limited('each = "account", max_loss = "100"'))
    core.begin_day("2026-11-23")
    makes(core, "-100")
    core.begin_day("2026-11-24")
    assert not passes(core)


def test_an_account_with_a_day_of_its_own_goes_by_that_and_the_firm_by_its_own() -> None:
    own = '[accounts.alpha]\nstart_of_day = "09:00"\n'
    both = DAILY.replace(CALENDAR, CALENDAR + own)
    core = Core(
        both
        + '\nall = { control = "pnl_kill_switch", over = "firm", settlement = "USD", max_loss = "500", per = "day" }'
    )
    core.begin_day("2026-11-23", "firm", "account alpha")
    makes(core, "-100")
    makes(core, "-100", account="beta")
    core.begin_day("2026-11-24", "firm")
    assert not passes(core) and passes(core, account="beta")
    core.begin_day("2026-11-24", "account alpha")
    assert passes(core)
    makes(core, "-100")
    makes(core, "-399.99", account="beta")
    assert passes(core, account="gamma")
    makes(core, "-0.01", account="gamma")
    assert not passes(core, account="delta"), "the firm has lost 500 since its own day began"


def test_room_that_was_granted_ends_with_the_day() -> None:
    core = Core(DAILY)
    core.begin_day("2026-11-23")
    makes(core, "-100")
    core.rearm("day_loss", "account alpha", "500")
    makes(core, "-200")
    assert passes(core)
    core.begin_day("2026-11-24")
    makes(core, "-99")
    assert passes(core)
    makes(core, "-1")
    assert not passes(core)


def test_what_an_account_brings_along_counts_on_its_first_day_alone() -> None:
    core = Core(limited('each = "account", max_loss = "100", per = "day", initial_pnl = "-60"'))
    core.begin_day("2026-11-23")
    makes(core, "-39.99")
    assert passes(core)
    core.begin_day("2026-11-24")
    makes(core, "-99.99")
    assert passes(core)


def test_counters_show_what_was_lost_today_and_how_far_it_has_fallen() -> None:
    core = Core(limited('each = "account", max_loss = "100", max_drawdown = "80", per = "day"'))
    core.begin_day("2026-11-23")
    makes(core, "-60")
    core.begin_day("2026-11-24")
    makes(core, "30", "-20")
    policy = core.engine.policies["pnl_kill_switch"]
    look = Look(now_ns=0, after="", most=10, group_of=lambda account: None)
    loss, fall = policy.counters("day_loss", look)
    assert (loss.what, loss.bound, loss.used) == ("loss in USD", 100, -10)
    assert (fall.what, fall.bound, fall.used) == ("drawdown in USD", 80, 20)
    (told,) = policy.money(look)
    assert (told.pnl, told.floor) == (-50, -110)


def test_a_daily_limit_without_a_calendar_is_refused_with_the_mend() -> None:
    with pytest.raises(ConfigError, match=r"limits\.day_loss\.per.*\[calendar\] start_of_day"):
        config.parse(DAILY.replace(CALENDAR, ""))


# ---------------------------------------------------------------------------------------------- what passes


def test_a_trip_that_reduces_lets_pass_what_reduces() -> None:
    core = Core(limited('each = "account", max_loss = "100", then = "reduce"'))
    core.report(fill("ghost", "10", instrument=AAPL, side="buy"))
    makes(core, "-100")
    no = core.check(order(side="buy", quantity=1))
    assert no.rejected.code == "PnlKillSwitchTriggered"
    assert passes(core, side="sell", quantity=10)
    assert not passes(core, side="sell", quantity=1), "the other has taken it all"
    assert core.engine.accounts.blocks()[0].state is pit.TradingState.REDUCING


def test_a_trip_at_the_first_order_lets_pass_what_reduces_too() -> None:
    core = Core("")
    core.report(fill("ghost", "10", instrument=AAPL, side="buy"))
    core.configure(limited('each = "account", max_loss = "100", then = "reduce", initial_pnl = "-100"'))
    assert passes(core, side="sell", quantity=4)
    assert not passes(core, side="buy", quantity=1)


@pytest.mark.parametrize("way", WAYS)
def test_days_and_peaks_outlive_a_start(way: str) -> None:
    settings = limited('each = "account", max_loss = "100", max_drawdown = "80", per = "day"')
    core = Core(settings)
    core.begin_day("2026-11-23")
    makes(core, "-60")
    core.begin_day("2026-11-24")
    makes(core, "30")
    again = come_back(core, settings, way)
    again.session("mm1")
    makes(again, "-79.99")
    assert passes(again)
    makes(again, "-0.01")
    assert not passes(again)


# ---------------------------------------------------------------------------------------------- a model

USD = 'settlement = "USD",'
MODELLED = f"""{CALENDAR}
[accounts.alpha]
group = "eq"
[accounts.beta]
group = "eq"
[limits]
own = {{ control = "pnl_kill_switch", each = "account", {USD} max_loss = 300, max_drawdown = 250, per = "day" }}
ever = {{ control = "pnl_kill_switch", each = "account", settlement = "USD", max_loss = 700, max_profit = 800 }}
eq = {{ control = "pnl_kill_switch", over = {{ group = "eq" }}, {USD} max_drawdown = 500, then = "reduce" }}
all = {{ control = "pnl_kill_switch", over = "firm", settlement = "USD", max_loss = 600, per = "day" }}
"""


class Sum:
    """What one scope of a limit had made after each report, from the first to the last."""

    def __init__(self, loss: int = 0, profit: int = 0, fall: int = 0, *, daily: bool = False) -> None:
        self.loss, self.profit, self.fall, self.daily = loss, profit, fall, daily
        self.totals = [Decimal(0)]
        self.since = 0
        """Where the peak is looked for."""
        self.base = Decimal(0)
        self.granted: tuple[Decimal, Decimal] | None = None
        self.least_peak = Decimal(-(10**9))
        self.tripped = False

    def add(self, amount: Decimal) -> None:
        self.totals.append(self.totals[-1] + amount)
        now = self.totals[-1]
        floor, ceiling = self.granted or (self.base - self.loss, self.base + self.profit)
        is_lost, is_won = self.loss and now <= floor, self.profit and now >= ceiling
        peak = max([self.least_peak, *self.totals[self.since :]])
        self.tripped = bool(self.tripped or is_lost or is_won or (self.fall and peak - now >= self.fall))

    def turn(self) -> None:
        if self.daily:
            self.base, self.since = self.totals[-1], len(self.totals) - 1
            self.least_peak, self.granted, self.tripped = self.base, None, False

    def rearm(self, room: Decimal) -> None:
        now = self.totals[-1]
        self.tripped, self.granted = False, (now - room, now + room)
        self.since, self.least_peak = len(self.totals), now - room + self.fall


@pytest.mark.parametrize("steps", amounts(10_000, quick=2_000))
def test_every_trip_is_that_of_a_model(steps: int) -> None:
    draw, core = random.Random(1), Core(MODELLED)
    sums: dict[tuple[str, str], Sum] = {}
    for account in ("alpha", "beta", "gamma"):
        sums["own", f"account {account}"] = Sum(300, fall=250, daily=True)
        sums["ever", f"account {account}"] = Sum(700, 800)
    sums["eq", "group eq"], sums["all", "firm"] = Sum(fall=500), Sum(600, daily=True)
    trips = turns = 0
    for number in range(steps):
        what = draw.random()
        if what < 0.9:
            account, amount = draw.choice(("alpha", "beta", "gamma")), Decimal(draw.randint(-4_000, 4_000)).scaleb(-2)
            scopes = [("own", f"account {account}"), ("ever", f"account {account}"), ("all", "firm")]
            scopes += [("eq", "group eq")] if account != "gamma" else []
            was = {key for key, each in sums.items() if each.tripped}
            for key in scopes:
                sums[key].add(amount)
            blocks = core.report(money(f"x{number}", pnl=amount, account=account)).result.blocks
            now = {key for key, each in sums.items() if each.tripped}
            assert {(block.limit, block.scope) for block in blocks} == now - was, number
            trips += len(now - was)
        elif what < 0.95:
            core.begin_day(f"day {number}")
            for each in sums.values():
                each.turn()
            turns += 1
        else:
            for (limit, scope), each in sums.items():
                if each.tripped and draw.random() < 0.5:
                    room = Decimal(draw.randint(1, 250))
                    assert core.rearm(limit, scope, str(room)) == e.Done(1)
                    each.rearm(room)
        blocked = {(block.limit, block.scope) for block in core.engine.accounts.blocks()}
        assert blocked == {key for key, each in sums.items() if each.tripped}, number
        if number % 1_000 == 999:
            core = come_back(core, MODELLED, "snapshot")
    assert trips > steps // 400 and turns > steps // 40
