"""turnover_limit by days of the calendar: what is of which day, and against a model that is too simple to be wrong."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import pytest
from builders import Core, fill, order, report, saved
from cases import amounts
from restarts import WAYS, come_back

from pitd.core import entry as e
from pitd.core.asking import look_at
from pitd.core.policy import Counter

DAY = """
[calendar]
start_of_day = "17:00"
[accounts.beta]
start_of_day = "08:00"
[gate]
unknown_accounts = "allow"
[limits]
flow = { control = "turnover_limit", each = "account", settlement = "USD", max_notional = "1000", per = "day" }
"""
FIRM = (
    DAY
    + """
all = { control = "turnover_limit", over = "firm", settlement = "USD", max_notional = "1500", per = "day" }
"""
)


def begun(settings: str = DAY) -> Core:
    core = Core(settings)
    core.session()
    core.begin_day("2026-11-24")
    core.begin_day("2026-11-24", "account beta")
    return core


def passes(core: Core, quantity: Any = 10, **fields: Any) -> bool:
    return isinstance(core.check(order(quantity=quantity, **fields)), e.Accepted)


def seen(core: Core) -> dict[str, Counter]:
    policy = core.engine.policies["turnover_limit"]
    return {each.scope: each for each in policy.counters("flow", look_at(core.engine, core.now_ns, most=10))}


def test_up_to_the_limit_passes_in_a_day_and_not_one_unit_more_and_the_next_day_begins_with_nothing() -> None:
    core = begun()
    assert passes(core, 6) and not passes(core, "4.000000001") and passes(core, 4)
    no = core.check(order(quantity="0.01")).rejected.rejects[0]
    assert (no.code, no.bound, no.used, no.requested, no.retry_after_s) == ("RiskLimitExceeded", 1000, 1000, 1, None)
    assert no.reason.endswith("ordered in the day, limit 1000; it passes when the next day has begun")
    core.advance(86_400)
    assert not passes(core, "0.01"), "a day ends by its entry, and not by the lapse of time"
    core.begin_day("2026-11-25")
    assert passes(core, 10) and not passes(core, "0.01")


def test_what_is_too_much_by_itself_is_not_told_to_wait() -> None:
    assert begun().check(order(quantity=11)).rejected.reason.endswith("it is too much by itself")


def test_each_account_goes_by_its_own_day_and_the_firm_by_its_own() -> None:
    core = begun(FIRM)
    assert passes(core, 7) and passes(core, 8, account="beta") and not passes(core, 1)
    core.begin_day("2026-11-25", "account beta")
    assert not passes(core, 1, account="beta"), "the firm's counter goes by the firm's day"
    core.begin_day("2026-11-25")
    assert passes(core, 5) and passes(core, 10, account="beta") and not passes(core, 1)


@pytest.mark.parametrize("end", ["rolled back", "expired lease", "filled", "cancelled", "modified down"])
def test_what_is_in_flight_when_the_day_ends_counts_in_the_day_that_is_over(end: str) -> None:
    core = begun()
    id = core.check(order(id="o1", quantity=6)).reservation_id
    core.begin_day("2026-11-25")
    assert passes(core, 9, id="o2")
    match end:
        case "rolled back":
            core.rollback(id)
        case "expired lease":
            core.advance(6)
            core.end_leases()
        case "filled":
            core.report(fill("o1", 6))
        case "cancelled":
            core.report(report("cancelled", order_id="o1"))
        case "modified down":
            core.commit(id)
            core.modify("o1", quantity=5)
    left = "10" if end == "expired lease" else "1"  # that has taken back the second order too
    assert not passes(core, f"{left}.01") and passes(core, left)


def test_of_a_modify_in_a_new_day_the_increase_counts() -> None:
    core = begun()
    core.commit(core.check(order(id="o1", quantity=6)).reservation_id)
    core.begin_day("2026-11-25")
    assert passes(core, 7)
    assert isinstance(core.modify("o1", quantity="9.01"), e.Refused)
    assert not isinstance(core.modify("o1", quantity=9), e.Refused)
    assert not passes(core, "0.01")


def test_a_request_of_yesterday_that_is_executed_today_is_todays() -> None:
    core = begun()
    assert passes(core, 10)
    deferred = core.start(order(id="o1", quantity=10)).request_id
    core.begin_day("2026-11-25")
    assert core.execute(deferred).reservation_id
    assert not passes(core, "0.01")


def test_given_back_in_the_same_day_is_room_again() -> None:
    core = begun()
    core.rollback(core.check(order(quantity=10)).reservation_id)
    assert passes(core, 10)


def test_people_see_what_is_counted_in_the_day_that_it_is() -> None:
    core = begun()
    passes(core, 6)
    passes(core, 7, account="beta")
    assert {scope: each.used for scope, each in seen(core).items()} == {"account alpha": 600, "account beta": 700}
    assert seen(core)["account alpha"].what == "USD in the day"
    core.begin_day("2026-11-25")
    assert {scope: each.used for scope, each in seen(core).items()} == {"account alpha": 0, "account beta": 700}


@pytest.mark.parametrize("way", WAYS)
def test_restarts_in_the_middle_of_a_day_change_nothing(way: str) -> None:
    core = begun()
    passes(core, 3, id="o1")
    core.begin_day("2026-11-25")
    passes(core, 3)
    again = come_back(core, DAY, way)
    assert not passes(again, "7.01") and passes(again, 7)
    again.rollback(again.engine.orders.known_as("alpha", "o1").reservation_id)
    assert not passes(again, "0.01")


def test_an_account_whose_day_becomes_the_firms_again_gets_no_room_by_it() -> None:
    core = begun()
    core.begin_day("2026-11-25", "account beta")
    assert passes(core, 10, account="beta")
    core.configure(DAY.replace("[accounts.beta]\nstart_of_day", "[accounts.gamma]\nstart_of_day"))
    assert not passes(core, "0.01", account="beta")
    core.begin_day("2026-11-25")
    assert passes(core, 10, account="beta")


def test_a_window_that_becomes_a_day_and_a_day_that_becomes_a_window_begin_anew_and_give_back_nothing_twice() -> None:
    window = DAY.replace('per = "day"', 'window = "60s"')
    for first, then in ((DAY, window), (window, DAY)):
        core = begun(first)
        id = core.check(order(id="o1", quantity=6)).reservation_id
        core.configure(then)
        assert passes(core, 10)
        core.rollback(id)
        assert not passes(core, "0.01")


def test_a_limit_that_is_taken_out_and_comes_back_on_the_same_day_begins_with_nothing_and_counts_on() -> None:
    core = begun()
    id = core.check(order(id="o1", quantity=6)).reservation_id
    core.configure(DAY.replace("flow =", "other ="))
    core.configure(DAY)
    assert passes(core, 10)
    core.rollback(id)
    assert not passes(core, "0.01")


def _history(seed: int, steps: int) -> Core:
    """Random order flow over many days, each answer compared with a list of all orders."""
    draw = random.Random(seed)
    core = begun(FIRM)
    day = {"alpha": 0, "beta": 0, "gamma": 0, "firm": 0}
    counted: list[tuple[int, str, int, int, Decimal]] = []
    for n in range(steps):
        known = [each for each in counted[-20:] if each[0] in core.engine.orders.open]
        match draw.choice(("check",) * 8 + ("rollback", "fill", "cancel", "day", "commit", "lease")):
            case "check":
                account, worth = draw.choice(("alpha", "beta", "gamma")), Decimal(draw.randrange(1, 600))
                own = sum((each[4] for each in counted if each[1:3] == (account, day[account])), Decimal(0))
                firm = sum((each[4] for each in counted if each[3] == day["firm"]), Decimal(0))
                reply = core.check(order(id=f"o{n}", account=account, quantity=1, price=worth), lease_s=50)
                assert isinstance(reply, e.Accepted) == (own + worth <= 1000 and firm + worth <= 1500), n
                if isinstance(reply, e.Accepted):
                    counted.append((reply.reservation_id, account, day[account], day["firm"], worth))
            case "day":
                scope = draw.choice(("firm", "account beta"))
                core.begin_day(f"day {n}", scope)
                for who in ("beta",) if scope != "firm" else ("alpha", "gamma", "firm"):
                    day[who] = n + 1
                counted = [each for each in counted if each[2] == day[each[1]] or each[3] == day["firm"]]
            case "rollback" if known and core.state(known[0][0]) == "held":
                core.rollback(known[0][0])
                counted.remove(known[0])
            case "commit" if known:
                core.commit(known[-1][0])
            case "lease":
                core.advance(20)
                core.end_leases()
                counted = [each for each in counted if core.state(each[0]) != "rolled_back"]
            case ("fill" | "cancel") as what if known:
                record = core.engine.orders.open[known[-1][0]]
                said = {"order_id": record.order_id, "account": record.account}
                core.report(fill(said["order_id"], 1, account=record.account) if what == "fill" else _cancel(said))
    return core


def _cancel(said: dict[str, Any]) -> Any:
    return report("cancelled", **said)


@pytest.mark.parametrize("steps", amounts(10_000, quick=2_000))
def test_random_flow_over_many_days_agrees_with_a_list_of_all_orders(steps: int) -> None:
    core = _history(7, steps)
    assert saved(core.again("snapshot").engine) == saved(core.engine)
