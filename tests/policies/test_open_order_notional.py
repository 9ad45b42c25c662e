"""open_order_notional: each sentence of its rule, through the whole life of an order."""

from __future__ import annotations

from decimal import Decimal

import pytest
from builders import BTC, INSTRUMENTS, Core, fill, order, report

from pitd.core import entry as e

OPEN_1000 = """
[limits]
open_usd = { control = "open_order_notional", each = "account", settlement = "USD", max_notional = "1000" }
"""


def notional(limit: str, more: str = "") -> Core:
    return Core(f'{INSTRUMENTS}\n{more}\n[limits]\nopen_usd = {{ control = "open_order_notional", {limit} }}')


def test_up_to_the_limit_passes_and_above_it_does_not():
    core = Core(OPEN_1000)
    assert isinstance(core.check(order(quantity="6")), e.Accepted)
    assert core.check(order(quantity="4", price="100.01")).rejected.code == "RiskLimitExceeded"
    assert isinstance(core.check(order(quantity="4")), e.Accepted)
    assert core.held() == 1000


def test_the_reject_carries_its_numbers():
    core = Core(OPEN_1000)
    core.check(order(quantity="6"))
    no = core.check(order(quantity="5")).rejected
    assert (no.policy, no.limit, no.scope) == ("open_order_notional", "open_usd", "account alpha")
    assert (no.bound, no.used, no.requested) == (1000, 600, 500)
    assert "5 AAPL/USD × 100 = 500 USD on top of 600 open, limit 1000" in no.reason


def test_a_refused_order_holds_nothing():
    core = Core(OPEN_1000)
    core.check(order(quantity="11"))
    assert core.held() == 0


@pytest.mark.parametrize(
    ("ends", "counted"),
    [
        (lambda core, id: None, 1000),
        (lambda core, id: core.mark_sent(id), 1000),
        (lambda core, id: core.commit(id), 1000),
        (lambda core, id: core.quarantine(id), 1000),
        (lambda core, id: core.rollback(id), 0),
        (lambda core, id: core.drop(id), 0),
        (lambda core, id: core.report(report("accepted", order_id="o1")), 1000),
        (lambda core, id: core.report(report("cancelled", order_id="o1")), 0),
        (lambda core, id: core.report(report("expired", order_id="o1")), 0),
        (lambda core, id: core.report(report("rejected", order_id="o1")), 0),
        (lambda core, id: core.report(fill("o1", "10")), 0),
    ],
    ids=[
        "held",
        "sent",
        "working",
        "quarantined",
        "rolled_back",
        "dropped",
        "accepted",
        "cancelled",
        "expired",
        "rejected",
        "filled",
    ],
)
def test_open_orders_count_and_ended_ones_do_not(ends, counted):
    core = Core(OPEN_1000)
    held = core.check(order(id="o1"))
    ends(core, held.reservation_id)
    assert core.held() == counted


def test_a_fill_releases_its_share_at_the_orders_own_price():
    core = Core(OPEN_1000)
    core.check(order(id="o1", quantity="10", price="100"))
    core.report(fill("o1", "3", "97.5"))
    assert core.held() == 700


def test_a_close_releases_the_rest():
    core = Core(OPEN_1000)
    core.check(order(id="o1"))
    core.report(fill("o1", "3"))
    core.report(report("cancelled", order_id="o1"))
    assert core.held() == 0


def test_more_fills_than_there_was_never_count_below_zero():
    core = Core(OPEN_1000)
    core.check(order(id="o1", quantity="5"))
    core.check(order(id="o2", quantity="5"))
    core.report(fill("o1", "50"))
    assert core.held() == 500


def test_what_a_fill_gave_back_is_there_for_the_next_order():
    core = Core(OPEN_1000)
    core.check(order(id="o1", quantity="6"))
    core.report(fill("o1", "2"))
    assert isinstance(core.check(order(quantity="6")), e.Accepted)
    assert core.held() == 1000


def test_a_fill_while_it_is_held_counts_it_as_working_with_the_rest():
    core = Core(OPEN_1000)
    held = core.check(order(id="o1"))
    core.report(fill("o1", "4"))
    assert (core.state(held.reservation_id), core.held()) == ("working", 600)


@pytest.mark.parametrize(
    ("fields", "worth"),
    [
        ({"quantity": "3", "price": "33.33"}, "99.99"),
        ({"instrument": "ESZ6", "quantity": "2", "price": "4797.50"}, "479750"),
        ({"instrument": "SPREAD", "quantity": "4", "price": "-2.5"}, "10"),
        ({"volume": "250.5", "price": None}, "250.5"),
        ({"volume": "250.5", "price": "7"}, "250.5"),
    ],
)
def test_an_order_counts_with_its_own_worth(fields, worth):
    core = notional('each = "account", settlement = "USD", max_notional = "100000000"')
    assert isinstance(core.check(order(**fields)), e.Accepted)
    assert core.held() == Decimal(worth)


def test_an_inverse_order_counts_with_its_worth_rounded_up():
    core = notional('each = "account", settlement = "BTC", max_notional = "1"')
    core.check(order(id="o1", instrument="XBT", quantity="2", price="30000"))
    assert core.held() == Decimal("0.006666667")
    core.report(fill("o1", "1", "30000"))
    assert core.held() == Decimal("0.003333334")
    core.report(fill("o1", "1", "30000"))
    assert core.held() == 0


def test_a_volume_orders_fill_releases_what_it_was_worth():
    core = Core(OPEN_1000)
    core.check(order(id="o1", volume="1000", price=None))
    core.report(fill("o1", "3", "120"))
    assert core.held() == 640


def test_a_volume_orders_fill_needs_a_price():
    core = Core(OPEN_1000)
    core.check(order(id="o1", volume="1000", price=None))
    assert core.report(fill("o1", "3", None)).failure == "InvalidInput"
    assert core.held() == 1000


def test_a_market_order_cannot_be_valued():
    no = Core(OPEN_1000).check(order(price=None)).rejected
    assert (no.code, no.limit) == ("MarkPriceUnavailable", "open_usd")


def test_a_worth_that_no_exact_number_holds_is_refused():
    wide = '[instruments.WIDE]\nsettlement = "USD"\nmultiplier = "99999999999999.9999"'
    core = notional('each = "account", settlement = "USD", max_notional = "1000"', wide)
    nines = "999999999.999999999"
    assert core.check(order(instrument="WIDE", quantity=nines, price=nines)).rejected.code == (
        "OrderValueCalculationFailed"
    )


def test_a_fill_whose_rest_no_exact_number_holds_is_refused_and_changes_nothing():
    wide = '[instruments.WIDE]\nsettlement = "USD"\nmultiplier = "0.999999999"'
    core = notional('each = "account", settlement = "USD", max_notional = "999999999999999999"', wide)
    huge = core.check(order(id="o1", instrument="WIDE", quantity="999999999", price="999.999999999"))
    before = core.held()
    assert core.report(fill("o1", "0.000000001", "1")).failure == "InvalidInput"
    assert (core.state(huge.reservation_id), core.held()) == ("held", before)


def test_a_fill_whose_rest_is_dust_beside_a_large_sum_is_booked():
    dust = '[instruments.DUST]\nsettlement = "USD"\nkind = "linear"\nmultiplier = "0.000000001"'
    core = notional('each = "account", settlement = "USD", max_notional = "999999999999999999"', dust)
    core.check(order(quantity="999999999999999", price="999.999"))
    large = core.held()
    core.check(order(id="o2", instrument="DUST", quantity="1", price="0.000000001"))
    assert core.held() - large == Decimal("1e-18")
    assert core.report(fill("o2", "0.999999999", "0.000000001")).result.open_quantity == Decimal("1e-9")
    assert core.held() - large == Decimal("1e-18"), "what can't be told so finely is rounded up"
    core.report(report("cancelled", order_id="o2"))
    assert core.held() == large


def test_an_order_that_no_limit_is_for_is_refused():
    core = Core(OPEN_1000)
    no = core.check(order(instrument=BTC)).rejected
    assert (no.code, no.policy) == ("RiskConfigurationMissing", "open_order_notional")


def test_uncovered_orders_pass_where_that_is_said_openly():
    core = Core(f'[gate]\nuncovered = "allow"\n{OPEN_1000}')
    assert isinstance(core.check(order(instrument=BTC)), e.Accepted)


def test_each_account_has_a_counter_of_its_own():
    core = Core(OPEN_1000)
    core.check(order())
    assert isinstance(core.check(order(account="beta")), e.Accepted)
    assert (core.held(), core.held("account beta")) == (1000, 1000)


def test_over_the_firm_one_counter_is_shared():
    core = notional('over = "firm", settlement = "USD", max_notional = "1500"')
    core.check(order())
    assert core.check(order(account="beta"), client="mm2").rejected.scope == "firm"
    assert core.held("firm") == 1000


def test_over_a_group_its_accounts_share_one():
    more = '[accounts.alpha]\ngroup = "eq"\n[accounts.beta]\ngroup = "eq"\n[gate]\nuncovered = "allow"'
    core = notional('over = { group = "eq" }, settlement = "USD", max_notional = "1500"', more)
    core.check(order())
    assert core.check(order(account="beta")).rejected.scope == "group eq"
    assert isinstance(core.check(order(account="outsider")), e.Accepted)


def test_every_limit_that_matches_counts_and_each_that_is_over_says_so():
    core = Core(
        """
        [limits]
        firm = { control = "open_order_notional", over = "firm", settlement = "USD", max_notional = "900" }
        mine = { control = "open_order_notional", each = "account", settlement = "USD", max_notional = "800" }
        """
    )
    no = core.check(order()).rejected
    assert [reject.limit for reject in no.rejects] == ["firm", "mine"]
    core.check(order(quantity="5"))
    assert (core.held("firm", "firm"), core.held("account alpha", "mine")) == (500, 500)


def test_except_takes_a_client_out():
    core = notional(
        'each = "account", settlement = "USD", max_notional = "500", except = { clients = ["mm2"] }',
        '[gate]\nuncovered = "allow"',
    )
    assert isinstance(core.check(order()), e.Refused)
    assert isinstance(core.check(order(), client="mm2"), e.Accepted)


def test_the_main_stage_decides_and_the_start_stage_does_not():
    core = Core(OPEN_1000)
    request = core.start(order(quantity="11"))
    assert isinstance(request, e.Deferred)
    assert core.execute(request.request_id).rejected.code == "RiskLimitExceeded"
