"""position_limit: each sentence of its rule, through the whole life of an order."""

from __future__ import annotations

from typing import Any

import pytest
from builders import AAPL, INSTRUMENTS, Core, Local, fill, order, report
from restarts import WAYS, come_back

import pit
from pitd.core import entry as e
from pitd.core.policy import Look

TEN = """
[limits]
pos = { control = "position_limit", each = "account+instrument", max_quantity = "10" }
"""


def bounded(limit: str, more: str = "") -> Core:
    return Core(f'{INSTRUMENTS}\n{more}\n[limits]\npos = {{ control = "position_limit", {limit} }}')


def buy(quantity: Any, **fields: Any) -> pit.Order:
    return order(quantity=quantity, **fields)


def sell(quantity: Any, **fields: Any) -> pit.Order:
    return order(quantity=quantity, side="sell", **fields)


def passes(core: Core, wanted: pit.Order) -> bool:
    return isinstance(core.check(wanted), e.Accepted)


def holds(core: Core, quantity: int, account: str = "alpha") -> None:
    """Gives an account a position, past every limit."""
    side = "buy" if quantity > 0 else "sell"
    core.report(fill(f"ghost-{core.engine.seq}", abs(quantity), instrument=AAPL, side=side, account=account))


def test_up_to_the_limit_passes_and_one_unit_more_does_not() -> None:
    core = Core(TEN)
    assert passes(core, buy(6))
    assert core.check(buy("4.000000001")).rejected.code == "PositionLimitExceeded"
    assert passes(core, buy(4))
    assert core.check(buy("0.000000001")).rejected.code == "PositionLimitExceeded"


def test_the_reject_carries_its_numbers() -> None:
    core = Core(TEN)
    holds(core, 3)
    core.check(buy(5))
    no = core.check(buy(4)).rejected
    assert (no.policy, no.limit, no.scope) == ("position_limit", "pos", "account alpha, instrument AAPL/USD")
    assert (no.bound, no.used, no.requested) == (10, 8, 4)
    assert "3 held, 5 more in open buy orders, this would make up to 12 long, limit 10" in no.reason


def test_open_orders_count_on_their_own_side_only() -> None:
    core = Core(TEN)
    assert passes(core, buy(10)) and passes(core, sell(10))
    assert not passes(core, buy(1)) and not passes(core, sell(1))


@pytest.mark.parametrize(
    ("ends", "more"),
    [
        (lambda core, id: None, 0),
        (lambda core, id: core.mark_sent(id), 0),
        (lambda core, id: core.commit(id), 0),
        (lambda core, id: core.quarantine(id), 0),
        (lambda core, id: core.rollback(id), 10),
        (lambda core, id: core.drop(id), 10),
        (lambda core, id: (core.advance(6), core.end_leases()), 10),
        (lambda core, id: core.report(report("cancelled", order_id="o1")), 10),
        (lambda core, id: core.report(report("expired", order_id="o1")), 10),
        (lambda core, id: core.report(report("rejected", order_id="o1")), 10),
        (lambda core, id: core.report(fill("o1", 4)), 0),
        (lambda core, id: core.report(fill("o1", 10)), 0),
        (lambda core, id: [core.report(fill("o1", 4, report_id="same")) for _ in range(3)], 0),
        (lambda core, id: [core.report(fill("o1", 4)), core.report(report("cancelled", order_id="o1"))], 6),
    ],
    ids=[
        "held",
        "sent",
        "working",
        "quarantined",
        "rolled_back",
        "dropped",
        "lease_over",
        "cancelled",
        "expired",
        "rejected",
        "part_filled",
        "filled",
        "same_report_thrice",
        "part_filled_then_cancelled",
    ],
)
@pytest.mark.parametrize("way", [None, *WAYS])
def test_what_is_held_and_what_is_open_counts_and_what_ended_does_not(ends: Any, more: int, way: str | None) -> None:
    core = Core(TEN)
    ends(core, core.check(buy(10, id="o1")).reservation_id)
    if way:
        core = come_back(core, TEN, way)
    assert core.check(buy(more + 1)).rejected.code == "PositionLimitExceeded"
    assert not more or passes(core, buy(more))


def test_each_side_has_a_bound_of_its_own_and_zero_allows_no_short_sale() -> None:
    core = bounded('each = "account+instrument", max_long = 5, max_short = 0')
    assert not passes(core, sell("0.000000001"))
    assert passes(core, buy(5)) and not passes(core, buy(1))
    assert not passes(core, sell(1)), "the purchase may never be filled"


def test_a_side_without_a_bound_is_free() -> None:
    core = bounded('each = "account+instrument", max_long = 5')
    assert passes(core, sell(1_000_000)) and not passes(core, buy(6))


def test_of_two_bounds_for_one_side_the_smaller_holds() -> None:
    core = bounded('each = "account+instrument", max_quantity = 8, max_long = 20, max_short = 5')
    assert not passes(core, buy(9)) and not passes(core, sell(6))
    assert passes(core, buy(8)) and passes(core, sell(5))


def test_an_order_may_go_through_zero_up_to_the_bound_of_the_other_side() -> None:
    core = Core(TEN)
    holds(core, 6)
    assert not passes(core, sell("16.000000001")) and passes(core, sell(16))


def test_what_reduces_a_position_past_its_limit_passes_and_nothing_else() -> None:
    core = Core(TEN)
    holds(core, 30)
    assert not passes(core, buy(1))
    assert passes(core, sell(12)) and passes(core, sell(18))
    assert not passes(core, sell("10.000000001")) and passes(core, sell(10)), "from there it goes short up to the limit"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"volume": 1000, "price": 100}, None),
        ({"volume": "1000.01", "price": 100}, "PositionLimitExceeded"),
        ({"volume": 1000, "price": None}, "MarkPriceUnavailable"),
        ({"volume": "999999999999999999", "price": "0.000000001"}, "OrderValueCalculationFailed"),
        ({"quantity": 10, "price": None}, None),
    ],
)
def test_a_volume_order_counts_with_the_units_that_are_known_of_it(fields: Any, code: str | None) -> None:
    answer = Core(TEN).check(order(**fields))
    assert (answer.rejected.code if isinstance(answer, e.Refused) else None) == code


def test_beside_an_open_order_of_nobody_knows_how_many_units_nothing_of_its_side_passes() -> None:
    core = Core("")
    core.check(order(id="o1", volume=100, price=None))
    core.configure(TEN)
    no = core.check(buy(1)).rejected
    assert no.code == "PositionLimitExceeded" and "any number of units" in no.reason
    assert passes(core, sell(1))
    core.report(report("cancelled", order_id="o1"))
    assert passes(core, buy(1))


def test_every_account_and_instrument_has_a_position_of_its_own() -> None:
    core = Core(TEN)
    assert passes(core, buy(10)) and passes(core, buy(10, account="beta"))
    assert passes(core, buy(10, instrument=pit.Instrument("MSFT", "USD")))


def test_the_firms_net_counts_all_accounts_long_against_short() -> None:
    core = bounded('each = "instrument", max_quantity = 10')
    holds(core, 8)
    holds(core, -5, "beta")
    assert core.check(buy(8, account="gamma")).rejected.scope == "instrument AAPL/USD"
    assert passes(core, buy(7, account="gamma"))
    assert not passes(core, buy(1, account="delta")), "what others have open counts"


def test_what_reduces_an_account_passes_although_the_firms_net_grows() -> None:
    core = bounded('each = "instrument", max_quantity = 10')
    holds(core, 5)
    holds(core, -20, "beta")
    assert not passes(core, sell(1, account="gamma"))
    assert passes(core, sell(5)), "alpha is not kept in its position by what beta did"
    assert not passes(core, sell(1))


GROUPED = '[accounts.alpha]\ngroup = "eq"\n[accounts.beta]\ngroup = "eq"\n[gate]\nuncovered = "allow"'


def test_over_a_group_one_instrument_is_counted_together() -> None:
    core = bounded('over = { group = "eq" }, instruments = ["AAPL/USD"], max_long = 10', GROUPED)
    assert passes(core, buy(6)) and not passes(core, buy(5, account="beta"))
    assert passes(core, buy(50, account="outsider"))
    assert core.check(buy(5, account="beta")).rejected.scope == "group eq"


@pytest.mark.parametrize("way", WAYS)
def test_the_sums_of_groups_and_firm_come_back(way: str) -> None:
    settings = f'{GROUPED}\n{TEN}net = {{ control = "position_limit", each = "instrument", max_quantity = "12" }}'
    core = Core(settings)
    holds(core, 5)
    core.check(buy(4, account="beta"))
    again = come_back(core, settings, way)
    for name in ("_net", "_on_the_way", "_unknown"):
        assert getattr(again.engine.positions, name) == getattr(core.engine.positions, name)
    assert not passes(again, buy(4, account="gamma")) and passes(again, buy(3, account="gamma"))


def test_an_account_that_changes_its_group_takes_what_it_has_along() -> None:
    limit = '[limits]\npos = { control = "position_limit", over = { group = "%s" }, instruments = ["AAPL/USD"], '
    limit += "max_long = 10 }"
    core = Core(GROUPED + "\n" + limit % "eq")
    holds(core, 4)
    core.check(buy(3))
    moved = GROUPED.replace('[accounts.alpha]\ngroup = "eq"', '[accounts.alpha]\ngroup = "fx"')
    core.configure(moved + "\n" + limit % "eq")
    assert passes(core, buy(10, account="beta"))
    core.configure(moved + "\n" + limit % "fx")
    assert not passes(core, buy(4)) and passes(core, buy(3))


def test_sums_that_have_come_to_nothing_are_not_kept() -> None:
    core = Core(GROUPED + TEN)
    holds(core, 5)
    holds(core, -5, "beta")
    held = core.check(buy(3))
    core.rollback(held.reservation_id)
    assert core.engine.positions._net == {} == core.engine.positions._on_the_way


def test_an_order_that_no_limit_is_for_is_refused() -> None:
    core = bounded('each = "account+instrument", max_quantity = 5, accounts = ["beta"]')
    assert core.check(buy(1)).rejected.code == "RiskConfigurationMissing"


def test_a_start_that_passed_is_judged_again_when_it_is_executed() -> None:
    core = Core(TEN)
    requests = [core.start(buy(6)), core.start(buy(6))]
    answers = [core.execute(each.request_id) for each in requests]
    assert [isinstance(each, e.Accepted) for each in answers] == [True, False]


def test_a_person_may_set_its_bounds_while_it_runs() -> None:
    core = Core(TEN)
    core.set_limit("pos", {"max_long": "3"})
    assert not passes(core, buy(4)) and passes(core, buy(3)) and passes(core, sell(10))
    core.clear_limit("pos", "max_long")
    assert passes(core, buy(7))


def test_people_see_each_side_with_what_is_held_and_open() -> None:
    gate = Local(TEN + 'net = { control = "position_limit", over = "firm", instruments = ["AAPL/USD"], max_long = 50 }')
    policy = gate.core.policies["position_limit"]
    assert [(each.scope, each.what, each.bound, each.used) for each in policy.bounds("pos")] == [
        ("each account and instrument", "units long", 10, None),
        ("each account and instrument", "units short", 10, None),
    ]
    kept = [gate.engine.execute_pre_trade(order(quantity=4)), gate.engine.execute_pre_trade(sell(3))]
    assert all(kept)
    gate.engine.apply_execution_report(
        pit.ExecutionReport(
            account="beta", kind="fill", report_id="r", order_id="x", quantity=2, price=1, instrument=AAPL, side="buy"
        )
    )
    look = Look(0, "", 10, lambda _: None, gate.core.positions)
    own = [(each.scope, each.what, each.used) for each in policy.counters("pos", look)]
    assert own == [
        ("account alpha, instrument AAPL/USD", "units long", 4),
        ("account alpha, instrument AAPL/USD", "units short", 3),
        ("account beta, instrument AAPL/USD", "units long", 2),
        ("account beta, instrument AAPL/USD", "units short", 0),
    ]
    assert [(each.scope, each.what, each.used) for each in policy.counters("net", look)] == [("firm", "units long", 6)]
