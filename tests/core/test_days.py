"""Days as the core knows them: they come in as entries, and what is told of them survives every way back."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
import pytest
from builders import Core, fill, order, report, saved

from pitd.core import entry as e
from pitd.core.days import IsNew
from pitd.core.policy import PASS, Attempt, Policy, Verdict

SETTINGS = """
[calendar]
start_of_day = "17:00"
[accounts.beta]
start_of_day = "08:00"
[limits]
open_usd = { control = "open_order_notional", each = "account", settlement = "USD", max_notional = "1000000" }
"""


class Noted(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    who: str


class Daily(Policy):
    """Notes whose day has begun, and which day an order was in."""

    id: ClassVar[str] = "daily"
    effect_types = (Noted,)

    def __init__(self) -> None:
        self.noted: list[str] = []

    def start(self, attempt: Attempt) -> Verdict:
        day = attempt.days.of(attempt.order.account)
        return PASS if day is None else Verdict((Noted(f"{attempt.order.id} in {day.name}"),))

    def day_began(self, is_new: IsNew) -> Verdict:
        return Verdict(tuple(Noted(str(each)) for each in (None, "alpha", "beta") if is_new(each)))

    def apply(self, effect: Noted) -> None:
        self.noted.append(effect.who)

    def save(self) -> Any:
        return list(self.noted)

    def load(self, saved: Any) -> None:
        self.noted = list(saved)


class Broken(Daily):
    id: ClassVar[str] = "broken"

    def day_began(self, is_new: IsNew) -> Verdict:
        raise RuntimeError("it can't say")


@pytest.fixture
def core() -> Core:
    return Core(SETTINGS, policies=(Daily(),))


def noted(core: Core) -> list[str]:
    found = core.engine.policies["daily"].save()
    assert isinstance(found, list)
    return found


def test_a_policy_is_told_whose_day_begins(core: Core) -> None:
    core.begin_day("2026-11-24")
    assert noted(core) == ["None", "alpha"], "beta has a day of its own"
    core.begin_day("2026-11-24", "account beta")
    assert noted(core) == ["None", "alpha", "beta"]


def test_an_order_is_in_the_day_of_its_account(core: Core) -> None:
    core.begin_day("2026-11-24")
    core.begin_day("2026-11-25", "account beta")
    core.check(order(id="o1"))
    core.check(order(id="o2", account="beta"))
    assert noted(core)[-2:] == ["o1 in 2026-11-24", "o2 in 2026-11-25"]


def test_no_two_days_share_a_number_and_a_later_one_is_greater(core: Core) -> None:
    numbers = []
    for name in ("2026-11-24", "2026-11-25", "2026-11-24"):
        core.begin_day(name)
        numbers.append(core.engine.days.firm.number)
    assert numbers == sorted(set(numbers))


def test_a_day_that_has_ended_is_over_until_the_next_one_begins(core: Core) -> None:
    core.begin_day("2026-11-24")
    core.end_day()
    assert core.engine.days.firm.is_over
    core.begin_day("2026-11-25")
    assert not core.engine.days.firm.is_over


def test_what_has_no_rule_of_its_own_has_no_day_of_its_own(core: Core) -> None:
    core.begin_day("2026-11-24", "account alpha", "account beta")
    assert [scope for scope, _ in core.engine.days.all()] == ["account beta"]
    core.end_day("firm", "account alpha")
    assert core.engine.days.firm is None


def test_an_account_whose_own_rule_is_taken_away_goes_by_the_firms_day(core: Core) -> None:
    core.begin_day("2026-11-24")
    core.begin_day("2026-11-25", "account beta")
    core.configure(SETTINGS.replace("[accounts.beta]\nstart_of_day", "[accounts.gamma]\nstart_of_day"))
    assert core.engine.days.of("beta") == core.engine.days.firm
    assert core.engine.days.of("gamma") is None, "its first day has not begun"


def test_a_control_that_fails_over_a_new_day_does_not_keep_it_from_beginning() -> None:
    core = Core(SETTINGS, policies=(Broken(), Daily()))
    core.begin_day("2026-11-24")
    assert core.engine.days.firm.name == "2026-11-24"
    assert noted(core) == ["None", "alpha"]


@pytest.mark.parametrize("way", ["rows", "snapshot"])
def test_days_come_back(core: Core, way: str) -> None:
    core.begin_day("2026-11-24")
    core.begin_day("2026-11-25", "account beta")
    core.end_day("account beta")
    other = Core(SETTINGS, policies=(Daily(),))
    core._made_of = (SETTINGS, (Daily(),), {})
    other = core.again(way)
    assert saved(other.engine) == saved(core.engine)
    assert other.engine.days.of("beta").is_over


# ---------------------------------------------------------------------------------------------- orders for a day


def working(core: Core, id: str, time_in_force: str | None = "day", **fields: Any) -> int:
    """An order that works at the venue."""
    accepted = core.check(order(id=id, time_in_force=time_in_force, **fields), sent=True)
    core.commit(accepted.reservation_id)
    return int(accepted.reservation_id)


def next_day(core: Core, day: str = "2026-11-25", *scopes: str, most: int = 1_000) -> None:
    core.begin_day(day, *scopes)
    while core.engine.days.closing:
        core.close_day_orders(most)


@pytest.fixture
def desk(core: Core) -> Core:
    core.session()
    core.begin_day("2026-11-24")
    core.begin_day("2026-11-24", "account beta")
    return core


def test_the_end_of_the_day_closes_what_works_and_was_good_for_it(desk: Core) -> None:
    ids = {each: working(desk, each, each) for each in ("day", "ioc", "fok", "gtc")}
    unsaid = working(desk, "unsaid", None)
    assert desk.held() == 5_000
    next_day(desk)
    assert [desk.state(ids[each]) for each in ("day", "ioc", "fok")] == ["closed"] * 3
    assert desk.ended_by(ids["day"]) == "day_end" and desk.state(ids["gtc"]) == desk.state(unsaid) == "working"
    assert desk.held() == 2_000


def test_the_end_of_the_day_closes_all_orders_of_one_row(desk: Core) -> None:
    legs = tuple(order(id=id, time_in_force="day") for id in ("a", "b", "c"))
    ids = [each.reservation_id for each in desk.command(e.CheckMany(legs, True, None)).answers]
    for id in ids:
        desk.commit(id)
    next_day(desk)
    assert [desk.state(id) for id in ids] == ["closed"] * 3


def test_an_order_good_till_a_date_is_closed_at_the_end_of_that_day(desk: Core) -> None:
    today, later = (working(desk, day, None, good_till=day) for day in ("2026-11-24", "2026-11-25"))
    next_day(desk)
    assert (desk.state(today), desk.state(later)) == ("closed", "working")
    next_day(desk, "2026-11-26")
    assert desk.state(later) == "closed"


def test_an_order_good_till_a_day_that_is_past_is_refused(desk: Core) -> None:
    refused = desk.check(order(good_till="2026-11-23"))
    assert refused.rejected.code == "InvalidFieldValue" and "the day is 2026-11-24" in refused.rejected.reason
    assert desk.check(order(good_till="2026-11-24", id="o1")).reservation_id
    desk.end_day()
    refused = desk.check(order(good_till="2026-11-24", id="o2"))
    assert "2026-11-24 and over" in refused.rejected.reason
    assert desk.check(order(good_till="2026-11-25", id="o3")).reservation_id


def test_an_account_of_its_own_day_keeps_its_orders_until_that_ends(desk: Core) -> None:
    own, firm = working(desk, "o1", account="beta"), working(desk, "o2")
    next_day(desk)
    assert (desk.state(own), desk.state(firm)) == ("working", "closed")
    next_day(desk, "2026-11-25", "account beta")
    assert desk.state(own) == "closed"


def test_a_day_that_ended_early_closes_once_and_what_comes_after_is_for_the_next_one(desk: Core) -> None:
    before = working(desk, "before")
    desk.end_day()
    after = working(desk, "after")
    while desk.engine.days.closing:
        desk.close_day_orders()
    assert (desk.state(before), desk.state(after)) == ("closed", "working")
    next_day(desk)
    assert desk.state(after) == "working", "it is good for the day that has just begun"
    next_day(desk, "2026-11-26")
    assert desk.state(after) == "closed"


def test_many_orders_are_closed_in_entries_of_bounded_size_and_each_survives_a_restart(desk: Core) -> None:
    ids = [working(desk, f"o{n}", quantity="1") for n in range(7)]
    desk.begin_day("2026-11-25")
    assert desk.engine.first_lease_end_ns() == desk.engine.now_ns, "there is something to do at once"
    assert desk.close_day_orders(3) == 3
    assert sum(desk.state(id) == "closed" for id in ids) == 3
    desk._made_of = (SETTINGS, (Daily(),), {})
    desk = desk.again("snapshot")
    assert [desk.close_day_orders(3), desk.close_day_orders(3)] == [3, 1]
    assert not desk.engine.days.closing and desk.held() == 0


@pytest.mark.parametrize("way", ["rows", "snapshot"])
def test_what_comes_to_the_venue_while_others_are_closed_is_good_for_the_day_to_come(desk: Core, way: str) -> None:
    sent = desk.check(order(id="sent", quantity="1", time_in_force="day"), sent=True).reservation_id
    ids = [working(desk, f"o{n}", quantity="1") for n in range(3)]
    desk.begin_day("2026-11-25")
    desk.close_day_orders(1)
    desk.commit(sent)
    desk._made_of = (SETTINGS, (Daily(),), {})
    desk = desk.again(way)
    while desk.engine.days.closing:
        desk.close_day_orders(1)
    assert desk.state(sent) == "working" and [desk.state(id) for id in ids] == ["closed"] * 3
    next_day(desk, "2026-11-26")
    assert desk.state(sent) == "closed"


def test_what_is_held_or_sent_when_the_day_ends_goes_by_its_lease(desk: Core) -> None:
    held = desk.check(order(id="o1", time_in_force="day")).reservation_id
    sent = desk.check(order(id="o2", time_in_force="day"), sent=True).reservation_id
    next_day(desk)
    assert (desk.state(held), desk.state(sent)) == ("held", "sent")
    desk.commit(sent)
    next_day(desk, "2026-11-26")
    assert desk.state(sent) == "closed"


def test_what_is_quarantined_stays_counted_and_is_flagged_once(desk: Core) -> None:
    id = desk.check(order(id="o1", time_in_force="day"), sent=True).reservation_id
    desk.quarantine(id)
    next_day(desk)
    next_day(desk, "2026-11-26")
    assert (desk.state(id), desk.flags(id), desk.held()) == ("quarantined", ("day_over",), 1_000)


def test_a_fill_that_comes_after_the_end_of_the_day_is_truth_and_flagged(desk: Core) -> None:
    id = working(desk, "o1")
    next_day(desk)
    result = desk.report(fill("o1", "4")).result
    assert result.flags == ("after_close",) and desk.state(id) == "closed"
    assert desk.engine.positions.of("alpha", "AAPL/USD").quantity == 4
    assert desk.held() == 0


def test_the_venues_own_word_on_the_end_comes_late_and_changes_nothing(desk: Core) -> None:
    id = working(desk, "o1")
    next_day(desk)
    assert desk.report(report("expired", order_id="o1")).result.flags == ()
    assert (desk.state(id), desk.ended_by(id)) == ("closed", "day_end")


def test_where_no_order_is_good_for_the_day_its_end_has_nothing_to_close(desk: Core) -> None:
    working(desk, "o1", "gtc")
    desk.begin_day("2026-11-25")
    assert not desk.engine.days.closing
