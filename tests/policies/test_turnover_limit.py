"""turnover_limit: each sentence of its rule, through the whole life of an order, and against a list of all orders."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from builders import AAPL, BTC, Core, Local, fill, order, report
from hypothesis import given
from hypothesis import strategies as st
from restarts import WAYS, come_back

from pitd.core import entry as e
from pitd.core.policy import Look
from pitd.policies.turnover_limit import SLICES, TurnoverLimit

MINUTE = """
[limits]
flow = { control = "turnover_limit", each = "account", settlement = "USD", max_notional = "1000", window = "60s" }
"""
UNITS = """
[limits]
flow = { control = "turnover_limit", each = "account+instrument", max_quantity = "10", window = "60s" }
"""


def gate(limit: str) -> Core:
    return Core(f'[limits]\nflow = {{ control = "turnover_limit", {limit} }}')


def at(core: Core, now_s: float) -> Core:
    core.now_ns = 1_800_000_000_000 + round(now_s * 1e9)
    return core


def passes(core: Core, quantity: Any = 10, **fields: Any) -> bool:
    return isinstance(core.check(order(quantity=quantity, **fields)), e.Accepted)


def policy(core: Core) -> TurnoverLimit:
    found = core.engine.policies["turnover_limit"]
    assert isinstance(found, TurnoverLimit)
    return found


def test_the_example_of_the_rule() -> None:
    core = at(Core(MINUTE), 0)
    assert passes(core, 6, id="o1")
    core.report(fill("o1", 6))
    no = at(core, 30).check(order(quantity=5)).rejected
    assert (no.code, no.rejects[0].retry_after_s) == ("RiskLimitExceeded", 30)
    assert passes(core, 4)
    assert not passes(at(core, 59.999), 6)
    assert passes(at(core, 60), 6)


def test_up_to_the_limit_passes_and_above_it_does_not() -> None:
    core = Core(MINUTE)
    assert passes(core, 6) and not passes(core, 4, price="100.01") and passes(core, 4)
    assert not passes(core, "0.000000001")


def test_units_are_counted_exactly_too() -> None:
    core = Core(UNITS)
    assert passes(core, 6) and not passes(core, "4.000000001") and passes(core, 4)
    assert passes(core, 10, instrument=BTC) and passes(core, 10, account="beta")


def test_the_reject_carries_its_numbers() -> None:
    core = at(Core(MINUTE), 0)
    passes(core, 6)
    no = at(core, 10).check(order(quantity=5)).rejected.rejects[0]
    assert (no.policy, no.limit, no.scope) == ("turnover_limit", "flow", "account alpha")
    assert (no.bound, no.used, no.requested, no.retry_after_s) == (1000, 600, 500, 50)
    assert "500 USD on top of 600 ordered in 60 s, limit 1000; it passes in 50.000 s" in no.reason


def test_what_is_too_much_by_itself_is_never_told_to_come_back() -> None:
    no = Core(MINUTE).check(order(quantity=11)).rejected.rejects[0]
    assert no.retry_after_s is None and "too much by itself" in no.reason


def test_coming_back_when_told_passes() -> None:
    core = at(Core(MINUTE), 0)
    for now_s, quantity in ((0, 3), (7.5, 3), (20.25, 4)):
        assert passes(at(core, now_s), quantity)
    wait_s = at(core, 30).check(order(quantity=5)).rejected.rejects[0].retry_after_s
    assert wait_s == 37.5
    assert not passes(at(core, 30 + wait_s - 0.000000001), 5)
    assert passes(at(core, 30 + wait_s), 5)


def test_an_order_leaves_at_most_a_thousandth_of_the_window_late_and_never_early() -> None:
    for after_s in (0.001, 0.02, 0.0599, 0.06):
        core = at(Core(MINUTE), after_s)
        passes(core, 10)
        assert not passes(at(core, after_s + 59.999999999), "0.01")
        assert passes(at(core, after_s + 60 + 60 / SLICES), 10)


ENDS: list[tuple[str, Callable[[Core, int], Any], bool]] = [
    ("held", lambda core, id: None, True),
    ("sent", lambda core, id: core.mark_sent(id), True),
    ("working", lambda core, id: core.commit(id), True),
    ("quarantined", lambda core, id: core.quarantine(id), True),
    ("rolled_back", lambda core, id: core.rollback(id), False),
    ("dropped", lambda core, id: core.drop(id), False),
    ("lease_over", lambda core, id: (core.advance(6), core.end_leases()), False),
    ("part_filled", lambda core, id: core.report(fill("o1", 4)), True),
    ("filled", lambda core, id: core.report(fill("o1", 10)), True),
    ("same_report_thrice", lambda core, id: [core.report(fill("o1", 10, report_id="x")) for _ in range(3)], True),
    ("cancelled", lambda core, id: core.report(report("cancelled", order_id="o1")), True),
    ("expired", lambda core, id: core.report(report("expired", order_id="o1")), True),
    ("rejected", lambda core, id: core.report(report("rejected", order_id="o1")), True),
    ("closed_by_hand", lambda core, id: core.close_order("o1"), True),
    ("alive_after_rollback", lambda core, id: (core.rollback(id), core.report(fill("o1", 1))), True),
]


@pytest.mark.parametrize(("ends", "counts"), [each[1:] for each in ENDS], ids=[each[0] for each in ENDS])
@pytest.mark.parametrize("way", [None, *WAYS])
def test_what_was_in_the_market_counts_on_and_what_never_was_does_not(ends: Any, counts: bool, way: str | None) -> None:
    core = at(Core(MINUTE), 0)
    ends(core, core.check(order(id="o1")).reservation_id)
    if way:
        core = come_back(core, MINUTE, way)
    assert passes(core, 10) is not counts
    at(core, 60.06)
    assert passes(core, 10) or not counts


def test_one_that_was_closed_by_hand_and_is_there_after_all_counts_once() -> None:
    core = at(Core(MINUTE), 0)
    id = core.check(order(id="o1", quantity=5)).reservation_id
    core.close_order("o1")
    core.command(e.Commit(id, None, True))
    assert core.state(id) == "working"
    assert not passes(core, "5.01") and passes(core, 5)
    core.report(report("cancelled", order_id="o1"))
    assert not passes(core, "0.01")


def test_a_refused_order_counts_nowhere() -> None:
    core = Core(
        MINUTE + 'all = { control = "turnover_limit", over = "firm", settlement = "USD", max_notional = 1500,'
        ' window = "60s" }'
    )
    passes(core, 6)
    assert not passes(core, 5)
    assert passes(core, 9, account="beta")
    assert not passes(core, "0.01", account="gamma")


def test_an_order_that_reduces_passes_and_is_counted() -> None:
    core = at(Core(MINUTE), 0)
    core.report(fill("ghost", 50, instrument=AAPL, side="buy"))
    assert passes(core, 30, side="sell") and passes(core, 20, side="sell")
    assert not passes(core, 1, side="sell") and not passes(core, "0.01")
    [seen] = policy(core).counters("flow", Look(core.now_ns, "", 10, lambda _: None))
    assert seen.used == 5000


@pytest.mark.parametrize(
    ("limit", "fields", "code"),
    [
        (MINUTE, {"price": None}, "MarkPriceUnavailable"),
        (UNITS, {"price": None}, None),
        (MINUTE, {"volume": 1000, "price": None}, None),
        (MINUTE, {"volume": "1000.01", "price": None}, "RiskLimitExceeded"),
        (UNITS, {"volume": 1000, "price": None}, "MarkPriceUnavailable"),
        (UNITS, {"volume": 1000, "price": 100}, None),
        (UNITS, {"volume": "1000.01", "price": 100}, "RiskLimitExceeded"),
        (UNITS, {"volume": "999999999999999999", "price": "0.000000001"}, "OrderValueCalculationFailed"),
    ],
)
def test_what_cannot_be_valued_is_refused(limit: str, fields: Any, code: str | None) -> None:
    answer = Core(limit).check(order(**fields))
    assert (answer.rejected.code if isinstance(answer, e.Refused) else None) == code


def test_a_market_order_counts_at_the_quote() -> None:
    local = Local(MINUTE)
    local.engine.push_quote(AAPL, mark=50)
    kept = local.engine.execute_pre_trade(order(price=None, quantity=20))
    assert kept and not local.engine.execute_pre_trade(order(price=None, quantity=1))


def test_an_order_that_no_limit_is_for_is_refused() -> None:
    assert Core(MINUTE).check(order(instrument=BTC)).rejected.code == "RiskConfigurationMissing"


def test_a_start_that_passed_is_judged_again_when_it_is_executed() -> None:
    core = Core(MINUTE)
    requests = [core.start(order(quantity=6)), core.start(order(quantity=6))]
    assert [isinstance(core.execute(each.request_id), e.Accepted) for each in requests] == [True, False]


def test_what_has_left_the_window_is_not_counted_where_no_start_stage_came_before() -> None:
    core = at(Core(MINUTE), 0)
    passes(core, 10)
    request = at(core, 59).start(order(quantity=10))
    assert isinstance(at(core, 60.06).execute(request.request_id), e.Accepted)


def test_its_numbers_can_be_set_and_no_bound_that_was_not_there() -> None:
    core = at(Core(MINUTE), 0)
    passes(core, 6)
    core.set_limit("flow", {"max_notional": "700", "window": "2m"})
    assert not passes(at(core, 100), 2) and passes(core, 1)
    core.clear_limit("flow", "window")
    assert passes(core, 6)
    no = core.set_limit("flow", {"max_quantity": "5"})
    assert isinstance(no, e.Failed) and "max_notional, window" in no.message


def test_a_limit_that_was_taken_out_begins_with_nothing_when_it_comes_back() -> None:
    core = at(Core(MINUTE), 0)
    id = core.check(order(quantity=10, id="o1")).reservation_id
    core.configure("")
    core.configure(MINUTE)
    assert passes(core, 6)
    core.rollback(id)
    assert not passes(core, 5) and passes(core, 4), "what is given back was forgotten before"


def test_whatever_comes_no_more_than_the_slices_of_a_window_are_kept() -> None:
    core = at(Core(MINUTE.replace('"1000"', '"1000000"')), 0)
    for n in range(3_000):
        assert passes(at(core, n * 0.05), "0.01")
    window = policy(core)._windows["flow"]
    assert len(window.slices) <= SLICES + 3
    at(core, 10_000)
    for _ in range(SLICES):
        passes(core, "0.01")
    assert len(window.slices) == 1 and list(window.totals) == ["account alpha"]


def test_people_see_what_was_ordered() -> None:
    both = 'each = "account+instrument", settlement = "USD", max_notional = 1000, max_quantity = 20, window = "90s"'
    core = at(gate(both), 0)
    assert [(each.scope, each.what, each.bound) for each in policy(core).bounds("flow")] == [
        ("each account and instrument", "USD in 90 s", 1000),
        ("each account and instrument", "units in 90 s", 20),
    ]
    passes(core, 5)
    for later_s, used in ((0, (500, 5)), (90, (0, 0))):
        seen = policy(core).counters("flow", Look(core.now_ns + later_s * 10**9, "", 10, lambda _: None))
        assert tuple(each.used for each in seen) == used


steps = st.lists(
    st.tuples(
        st.sampled_from(("check",) * 6 + ("rollback", "fill", "cancel")),
        st.integers(0, 700),
        st.sampled_from(("alpha", "beta")),
        st.integers(1, 400),
        st.integers(0, 1_000),
    ),
    max_size=60,
)


@given(steps)
def test_it_agrees_with_a_list_of_all_orders(history: list[Any]) -> None:
    """In steps of a slice, so that leaving late by up to a slice can't be seen."""
    core = Core(
        '[limits]\nflow = { control = "turnover_limit", each = "account", settlement = "USD", max_notional = 500,'
        ' window = "5s" }\nall = { control = "turnover_limit", over = "firm", settlement = "USD", max_notional = 800,'
        ' window = "3s" }'
    )
    core.now_ns = 15_000_000_000
    counted: list[tuple[int, str, Decimal, int]] = []
    for n, (what, step, account, size, pick) in enumerate(history):
        core.now_ns += step * 15_000_000
        core.end_leases()
        counted = [each for each in counted if core.state(each[3]) != "rolled_back"]
        known = [id for _, _, _, id in counted if id in core.engine.orders.open]
        if what == "check":
            wanted = order(account=account, quantity=1, price=size, id=f"o{n}")
            own = sum((worth for ns, who, worth, _ in counted if who == account and core.now_ns - ns < 5e9), Decimal(0))
            all_ = sum((worth for ns, _, worth, _ in counted if core.now_ns - ns < 3e9), Decimal(0))
            reply = core.check(wanted, lease_s=4)
            reply_is = isinstance(reply, e.Accepted)
            assert reply_is == (own + size <= 500 and all_ + size <= 800)
            if reply_is:
                counted.append((core.now_ns, account, Decimal(size), reply.reservation_id))
        elif known:
            id = known[pick % len(known)]
            record = core.engine.orders.find(id)
            assert record is not None
            if what == "rollback":
                core.rollback(id)
            elif what == "fill":
                core.report(fill(record.order_id, 1, 1, account=record.account))
            else:
                core.report(report("cancelled", order_id=record.order_id, account=record.account))


def test_restarts_in_the_middle_of_a_window_change_nothing() -> None:
    core = at(Core(MINUTE), 0)
    passes(core, 3)
    passes(at(core, 20), 3)
    at(core, 61)
    assert isinstance(core.check(order(quantity="0.01")), e.Accepted)
    for way in WAYS:
        again = come_back(core, MINUTE, way)
        assert not passes(again, 7) and passes(again, "6.99")
