"""A policy that breaks: while deciding it says no and nothing changes; while carrying out, the engine must stop."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
import pytest
from builders import OPEN_USD, Core, fill, money, order, report, saved

from pitd.core import entry as e
from pitd.core.engine import CarryOutFailed
from pitd.core.policy import PASS, Policy, Verdict

RATE = '[limits]\nmsg_rate = { control = "rate_limit", each = "account", max_orders = 1, window = "1s" }'


class Noted(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """What the broken policy would have held."""


class Broken(Policy):
    """Raises where it is told to: the name of one of its own methods."""

    id: ClassVar[str] = "broken"
    limit_names = ("broken",)
    effect_types = (Noted,)

    def __init__(self, at: str) -> None:
        self._at = at

    def start(self, attempt: Any) -> Verdict:
        return self._do("start", PASS)

    def main(self, attempt: Any) -> Verdict:
        return self._do("main", Verdict((Noted(),)))

    def report(self, reported: Any) -> Verdict:
        return self._do("report", PASS)

    def shrink(self, hold: Any, order: Any, listed: Any, open_quantity: Any) -> Any:
        return self._do("shrink", hold)

    def rearm(self, limit: str, scope: str, room: Any) -> Verdict:
        return self._do("rearm", PASS)

    def apply(self, effect: Any) -> None:
        self._do("apply", None)

    def undo(self, effect: Any) -> None:
        self._do("undo", None)

    def _do(self, what: str, answer: Any) -> Any:
        if self._at == what:
            raise ZeroDivisionError("a mistake in the policy")
        return answer


def broken(at: str, settings: str = OPEN_USD) -> Core:
    return Core(settings, policies=[Broken(at)])


def what_counts(core: Core) -> dict[str, Any]:
    """The state apart from the answers that sessions keep."""
    return {
        name: part for name, part in saved(core.engine).items() if name not in ("seq", "sessions", "ended sessions")
    }


@pytest.mark.parametrize("stage", ["start", "main"])
def test_one_that_raises_while_deciding_rejects_and_nothing_changes(stage):
    core = broken(stage)
    before = what_counts(core)
    no = core.check(order()).rejected
    assert (no.code, no.policy) == ("SystemUnavailable", "broken")
    assert "ZeroDivisionError" in no.reason
    assert what_counts(core) == before


def test_one_that_raises_in_the_start_stage_ends_the_order_there():
    assert isinstance(broken("start").start(order()), e.Refused)


def test_the_other_rejects_are_told_as_well():
    core = broken("start", RATE)
    core.check(order())
    assert core.check(order()).rejected.codes == ("RateLimitExceeded", "SystemUnavailable")


def test_the_next_order_is_decided_anew():
    core = broken("main")
    core.check(order(id="o1"))
    core.engine.policies["broken"]._at = "nowhere"  # type: ignore[attr-defined]
    assert isinstance(core.check(order(id="o1")), e.Accepted)


@pytest.mark.parametrize("at", ["report", "shrink"])
def test_one_that_raises_at_a_report_leaves_the_report_to_be_sent_again(at):
    core = broken(at)
    core.check(order(id="o1"))
    before = what_counts(core)
    traded = fill("o1", "4")
    assert core.report(traded).failure == "SystemUnavailable"
    assert what_counts(core) == before
    core.engine.policies["broken"]._at = "nowhere"  # type: ignore[attr-defined]
    assert core.report(traded).result.open_quantity == 6


def test_one_that_raises_at_a_strangers_report_changes_nothing():
    core = broken("report")
    before = what_counts(core)
    assert core.report(money("nobody", pnl="5")).failure == "SystemUnavailable"
    assert what_counts(core) == before


def test_one_that_raises_at_a_rearm_changes_nothing():
    core = broken("rearm")
    before = what_counts(core)
    assert core.rearm("broken", "account alpha", "50").failure == "SystemUnavailable"
    assert what_counts(core) == before


def test_one_that_raises_while_a_hold_is_carried_out_stops_the_engine():
    core = broken("apply")
    with pytest.raises(CarryOutFailed, match="OrderOpened") as stopped:
        core.check(order())
    assert isinstance(stopped.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("at", ["apply", "undo"])
def test_one_that_raises_while_orders_are_judged_by_one_another_stops_the_engine(at):
    core = broken(at)
    with pytest.raises(CarryOutFailed, match="check of order"):
        core.command(e.CheckMany((order(id="a"), order(id="b")), False, None, True))


def test_one_that_raises_while_a_hold_is_given_back_stops_the_engine():
    core = broken("undo")
    held = core.check(order())
    with pytest.raises(CarryOutFailed, match="OrderMoved"):
        core.rollback(held.reservation_id)


def test_one_that_raises_while_a_cancel_gives_the_rest_back_stops_the_engine():
    core = broken("undo")
    core.check(order(id="o1"))
    with pytest.raises(CarryOutFailed):
        core.report(report("cancelled", order_id="o1"))
