"""open_order_limit: each sentence of its rule, through the whole life of an order."""

from __future__ import annotations

from typing import Any

import pytest
from builders import AAPL, Core, fill, order, report
from restarts import WAYS, come_back

from pitd.core import entry as e
from pitd.core.policy import Look

TWO = """
[limits]
few = { control = "open_order_limit", each = "account", max_orders = 2 }
"""


def passes(core: Core, **fields: Any) -> bool:
    return isinstance(core.check(order(**fields)), e.Accepted)


def test_up_to_the_limit_passes_and_one_more_does_not() -> None:
    core = Core(TWO)
    assert passes(core) and passes(core)
    no = core.check(order(quantity="0.000000001")).rejected
    assert (no.code, no.policy, no.limit, no.scope) == ("RiskLimitExceeded", "open_order_limit", "few", "account alpha")
    assert (no.bound, no.used, no.requested) == (2, 2, 1)
    assert "2 orders are open, limit 2" in no.reason


def test_zero_lets_none_pass() -> None:
    assert not passes(Core(TWO.replace("max_orders = 2", "max_orders = 0")))


@pytest.mark.parametrize(
    ("ends", "is_open"),
    [
        (lambda core, id: None, True),
        (lambda core, id: core.mark_sent(id), True),
        (lambda core, id: core.commit(id), True),
        (lambda core, id: core.quarantine(id), True),
        (lambda core, id: core.report(report("accepted", order_id="o1")), True),
        (lambda core, id: core.report(fill("o1", "9.999999999")), True),
        (lambda core, id: [core.report(fill("o1", 5, report_id="same")) for _ in range(3)], True),
        (lambda core, id: core.report(fill("o1", 10)), False),
        (lambda core, id: core.rollback(id), False),
        (lambda core, id: core.drop(id), False),
        (lambda core, id: (core.advance(6), core.end_leases()), False),
        (lambda core, id: core.report(report("cancelled", order_id="o1")), False),
        (lambda core, id: [core.report(report("cancelled", order_id="o1", report_id="c")) for _ in range(3)], False),
        (lambda core, id: core.report(report("expired", order_id="o1")), False),
        (lambda core, id: core.report(report("rejected", order_id="o1")), False),
        (lambda core, id: (core.rollback(id), core.report(report("accepted", order_id="o1"))), True),
    ],
    ids=[
        "held",
        "sent",
        "working",
        "quarantined",
        "accepted",
        "part_filled",
        "same_report_thrice",
        "filled",
        "rolled_back",
        "dropped",
        "lease_over",
        "cancelled",
        "cancelled_thrice",
        "expired",
        "rejected",
        "alive_after_rollback",
    ],
)
@pytest.mark.parametrize("way", [None, *WAYS])
def test_an_order_counts_until_nothing_of_it_is_open(ends: Any, is_open: bool, way: str | None) -> None:
    core = Core(TWO)
    ends(core, core.check(order(id="o1")).reservation_id)
    if way:
        core = come_back(core, TWO, way)
    assert passes(core)
    assert passes(core) is not is_open


def test_an_order_that_reduces_is_counted_and_may_be_refused() -> None:
    core = Core(TWO)
    core.report(fill("ghost", 20, instrument=AAPL, side="buy"))
    assert passes(core, side="sell", quantity=1) and passes(core, side="sell", quantity=1)
    assert not passes(core, side="sell", quantity=1)


def test_a_refused_order_counts_nowhere() -> None:
    core = Core(TWO + 'all = { control = "open_order_limit", over = "firm", max_orders = 3 }')
    assert passes(core) and passes(core)
    assert [reject.limit for reject in core.check(order()).rejected.rejects] == ["few"]
    assert passes(core, account="beta")
    assert [reject.limit for reject in core.check(order()).rejected.rejects] == ["few", "all"]


def test_an_order_that_no_such_limit_is_for_passes() -> None:
    assert passes(Core(TWO.replace("max_orders", 'accounts = ["beta"], max_orders')))


def test_what_was_open_before_there_was_a_limit_counts() -> None:
    core = Core("")
    passes(core, id="o1")
    passes(core)
    core.configure(TWO)
    assert not passes(core)
    core.report(report("cancelled", order_id="o1"))
    assert passes(core)


def test_lowered_it_lets_nothing_pass_until_enough_has_ended() -> None:
    core = Core(TWO)
    first, second = core.check(order()), core.check(order())
    core.set_limit("few", {"max_orders": "1"})
    core.rollback(first.reservation_id)
    assert not passes(core)
    core.rollback(second.reservation_id)
    assert passes(core)


def test_people_see_the_count() -> None:
    core = Core(TWO)
    policy = core.engine.policies["open_order_limit"]
    assert [(each.scope, each.what, each.bound) for each in policy.bounds("few")] == [
        ("each account", "open orders", 2)
    ]
    core.check(order())
    [seen] = policy.counters("few", Look(0, "", 10, lambda _: None))
    assert (seen.scope, seen.bound, seen.used) == ("account alpha", 2, 1)
