"""Days as the core knows them: they come in as entries, and what is told of them survives every way back."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
import pytest
from builders import Core, order, saved

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
