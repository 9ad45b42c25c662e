"""order_size_limit: the table of CONTROLS.md, and each sentence of its rule."""

from __future__ import annotations

from decimal import Decimal

import pytest
from builders import BTC, INSTRUMENTS, Core, order

from pitd.core import entry as e

TEN_THOUSAND = """
[limits]
fat_finger = { control = "order_size_limit", each = "account", max_quantity = "10", max_notional = "1000" }
"""


def size(limit: str, more: str = "") -> Core:
    return Core(f'{INSTRUMENTS}\n{more}\n[limits]\nfat_finger = {{ control = "order_size_limit", {limit} }}')


@pytest.mark.parametrize(
    ("quantity", "price", "codes"),
    [
        ("10", "100", ()),
        ("11", "1", ("OrderQtyExceedsLimit",)),
        ("10", "100.01", ("OrderNotionalExceedsLimit",)),
        ("11", "100", ("OrderExceedsLimit",)),
        ("10.000000001", "1", ("OrderQtyExceedsLimit",)),
        ("0.000000001", "1000000000.1", ()),
    ],
)
def test_the_table(quantity, price, codes):
    reply = Core(TEN_THOUSAND).check(order(quantity=quantity, price=price))
    assert (reply.rejected.codes if isinstance(reply, e.Refused) else ()) == codes


def test_the_reject_carries_the_numbers_and_a_sum_to_check():
    core = size('each = "account", settlement = "USD", max_notional = "250000"')
    no = core.check(order(instrument="ESZ6", quantity="6", price="4797.50")).rejected
    assert (no.policy, no.limit, no.scope) == ("order_size_limit", "fat_finger", "account alpha")
    assert (no.bound, no.requested) == (Decimal(250000), Decimal("1439250"))
    assert "6 ESZ6 × 4797.50 × 50 = 1439250 USD, limit 250000" in str(no)


def test_linear_notional_takes_the_multiplier():
    core = size('each = "account", settlement = "USD", max_notional = "239875"')
    assert isinstance(core.check(order(instrument="ESZ6", quantity="1", price="4797.50")), e.Accepted)
    assert core.check(order(instrument="ESZ6", quantity="1", price="4797.75")).rejected.code == (
        "OrderNotionalExceedsLimit"
    )


def test_inverse_notional_is_divided_by_the_price():
    core = size('each = "account", settlement = "BTC", max_notional = "0.01"')
    assert isinstance(core.check(order(instrument="XBT", quantity="5", price="50000")), e.Accepted)
    assert isinstance(core.check(order(instrument="XBT", quantity="5", price="49999.5")), e.Refused)


def test_a_negative_price_counts_by_its_size():
    core = size('each = "account", settlement = "USD", max_notional = "100"')
    assert isinstance(core.check(order(instrument="SPREAD", quantity="10", price="-10")), e.Accepted)
    assert isinstance(core.check(order(instrument="SPREAD", quantity="10", price="-10.01")), e.Refused)


def test_a_market_order_under_a_notional_cap_has_no_price_to_go_by():
    core = size('each = "account", max_notional = "1000"')
    assert core.check(order(price=None)).rejected.code == "MarkPriceUnavailable"


def test_a_market_order_under_a_quantity_cap_alone_needs_no_price():
    core = size('each = "account", max_quantity = "10"')
    assert isinstance(core.check(order(price=None, quantity="10")), e.Accepted)
    assert core.check(order(price=None, quantity="11")).rejected.code == "OrderQtyExceedsLimit"


def test_a_volume_order_is_its_own_notional():
    core = size('each = "account", max_notional = "1000"')
    assert isinstance(core.check(order(volume="1000", price=None)), e.Accepted)
    assert core.check(order(volume="1000.01", price=None)).rejected.code == "OrderNotionalExceedsLimit"


@pytest.mark.parametrize(
    ("instrument", "price", "passes", "refused"),
    [
        (BTC, "3", "30", "30.000000001"),
        ("XBT", "3", "333.333333333", "333.333333334"),  # 10 × 100 / 3, which no decimal hits
    ],
)
def test_a_volume_order_is_held_to_the_quantity_cap_by_its_price(instrument, price, passes, refused):
    core = size('each = "account", max_quantity = "10"')
    assert isinstance(core.check(order(instrument=instrument, volume=passes, price=price)), e.Accepted)
    reply = core.check(order(instrument=instrument, volume=refused, price=price))
    assert reply.rejected.code == "OrderQtyExceedsLimit"


def test_a_volume_order_without_a_price_cannot_be_held_to_a_quantity():
    core = size('each = "account", max_quantity = "10"')
    assert core.check(order(volume="5", price=None)).rejected.code == "MarkPriceUnavailable"


def test_a_worth_that_no_exact_number_holds_is_refused():
    wide = '[instruments.WIDE]\nsettlement = "USD"\nmultiplier = "99999999999999.9999"'
    core = size('each = "account", max_notional = "1000"', wide)
    nines = "999999999.999999999"
    no = core.check(order(instrument="WIDE", quantity=nines, price=nines)).rejected
    assert (no.code, no.limit) == ("OrderValueCalculationFailed", "fat_finger")


def test_an_order_that_no_limit_is_for_is_refused():
    core = size('each = "account", settlement = "USD", max_quantity = "10"')
    no = core.check(order(instrument=BTC)).rejected
    assert (no.code, no.policy) == ("RiskConfigurationMissing", "order_size_limit")
    assert "uncovered" in no.reason


def test_uncovered_orders_pass_where_that_is_said_openly():
    core = size('each = "account", settlement = "USD", max_quantity = "10"', '[gate]\nuncovered = "allow"')
    assert isinstance(core.check(order(instrument=BTC, quantity="999")), e.Accepted)


def test_every_limit_that_matches_applies_in_the_order_of_the_configuration():
    core = Core(
        """
        [limits]
        b_notional = { control = "order_size_limit", each = "account", max_notional = "500" }
        a_quantity = { control = "order_size_limit", each = "account", accounts = ["alpha"], max_quantity = "5" }
        """
    )
    no = core.check(order(quantity="10", price="100")).rejected
    assert [reject.limit for reject in no.rejects] == ["b_notional", "a_quantity"]


def test_a_narrower_limit_never_loosens_a_wider_one():
    core = Core(
        """
        [limits]
        all = { control = "order_size_limit", each = "account", max_quantity = "5" }
        alpha = { control = "order_size_limit", each = "account", accounts = ["alpha"], max_quantity = "50" }
        """
    )
    assert core.check(order(quantity="10")).rejected.limit == "all"


def test_except_takes_an_account_out():
    core = Core(
        """
        [limits]
        all = { control = "order_size_limit", each = "account", max_quantity = "5", except = { accounts = ["alpha"] } }
        alpha = { control = "order_size_limit", each = "account", accounts = ["alpha"], max_quantity = "50" }
        """
    )
    assert isinstance(core.check(order(quantity="10")), e.Accepted)
    assert core.check(order(account="beta", quantity="10")).rejected.limit == "all"
    assert core.check(order(quantity="51")).rejected.limit == "alpha"


@pytest.mark.parametrize(
    ("selects", "other"),
    [
        ('accounts = ["alpha"]', {"account": "beta"}),
        ('instruments = ["AAPL/USD"]', {"instrument": "ESZ6"}),
        ('settlement = "USD"', {"instrument": BTC}),
        ('groups = ["equities"]', {"account": "beta"}),
    ],
)
def test_a_selection_keeps_a_limit_to_what_it_names(selects, other):
    more = '[accounts.alpha]\ngroup = "equities"\n[gate]\nuncovered = "allow"'
    core = size(f'each = "account", {selects}, max_quantity = "5"', more)
    assert isinstance(core.check(order(quantity="6")), e.Refused)
    assert isinstance(core.check(order(**({"quantity": "6"} | other))), e.Accepted)


def test_a_limit_may_be_for_one_client_only():
    core = size('each = "account", clients = ["mm1"], max_quantity = "5"', '[gate]\nuncovered = "allow"')
    assert isinstance(core.check(order(quantity="6")), e.Refused)
    assert isinstance(core.check(order(quantity="6"), client="mm2"), e.Accepted)
