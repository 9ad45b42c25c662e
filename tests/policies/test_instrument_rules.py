"""instrument_rules: lists, sizes, prices and short sales, each at its bound and one unit beyond."""

from __future__ import annotations

from typing import Any

import pytest
from builders import BTC, INSTRUMENTS, Core, fill, order, report

from pitd.core import entry as e


def gate(rules: str) -> Core:
    return Core(f'{INSTRUMENTS}\n[limits]\nrule = {{ control = "instrument_rules", {rules} }}')


def codes(core: Core, **fields: Any) -> tuple[str, ...]:
    reply = core.check(order(**fields))
    return reply.rejected.codes if isinstance(reply, e.Refused) else ()


def holding(rules: str, quantity: str, side: str = "buy") -> Core:
    """A core in which account alpha has bought (or sold) so much before the rules were there."""
    core = Core(INSTRUMENTS)
    core.check(order(id="first", side=side, quantity=quantity))
    core.report(fill("first", quantity))
    core.configure(f'{INSTRUMENTS}\n[limits]\nrule = {{ control = "instrument_rules", {rules} }}')
    return core


NO = ("InstrumentRestricted",)


@pytest.mark.parametrize(
    ("rules", "fields", "refused"),
    [
        ('allow = ["AAPL/USD"]', {}, ()),
        ('allow = ["AAPL/USD"]', {"instrument": BTC}, NO),
        ('deny = ["AAPL/USD"]', {}, NO),
        ('deny = ["AAPL/USD"]', {"instrument": BTC}, ()),
        ('deny = ["ESZ6"]', {"instrument": "ESZ6", "quantity": 1}, NO),
        ('deny = ["AAPL/USD"], accounts = ["beta"]', {}, ()),
        ("max_quantity = 10", {"quantity": "10"}, ()),
        ("max_quantity = 10", {"quantity": "10.000000001"}, ("OrderQtyExceedsLimit",)),
        ("min_quantity = 10", {"quantity": "10"}, ()),
        ("min_quantity = 10", {"quantity": "9.999999999"}, ("InvalidFieldValue",)),
        ("min_quantity = 10", {"volume": "1000"}, ()),
        ("min_quantity = 10", {"volume": "999.999999999"}, ("InvalidFieldValue",)),
        ("max_quantity = 10", {"volume": "1000"}, ()),
        ("max_quantity = 10", {"volume": "1000.000000001"}, ("OrderQtyExceedsLimit",)),
        ("max_quantity = 10", {"volume": "5", "price": None}, ("MarkPriceUnavailable",)),
        ("max_quantity = 10", {"quantity": "10", "price": None}, ()),
        ('min_price = "99.5"', {"price": "99.5"}, ()),
        ('min_price = "99.5"', {"price": "99.499999999"}, ("InvalidFieldValue",)),
        ("max_price = 100", {"price": "100"}, ()),
        ("max_price = 100", {"price": "100.000000001"}, ("InvalidFieldValue",)),
        ("min_price = 99, max_price = 100", {"price": None}, ()),
        ('min_price = "-5"', {"instrument": "SPREAD", "price": "-5"}, ()),
        ('min_price = "-5"', {"instrument": "SPREAD", "price": "-5.01"}, ("InvalidFieldValue",)),
        (
            'deny = ["AAPL/USD"], max_quantity = 1, max_price = 1',
            {},
            (*NO, "OrderQtyExceedsLimit", "InvalidFieldValue"),
        ),
    ],
)
def test_the_table(rules: str, fields: dict[str, Any], refused: tuple[str, ...]) -> None:
    assert codes(gate(rules), **fields) == refused


def test_a_market_order_by_volume_is_told_in_units_by_the_quote() -> None:
    core = gate("max_quantity = 10")
    core.quote(ask="100")
    assert codes(core, volume="1000", price=None) == ()
    assert codes(core, volume="1000.01", price=None) == ("OrderQtyExceedsLimit",)


def test_an_inverse_volume_order_is_told_by_multiplying() -> None:
    core = gate("min_quantity = 10")
    assert codes(core, instrument="XBT", volume="333.333333334", price="3") == ()
    assert codes(core, instrument="XBT", volume="333.333333333", price="3") == ("InvalidFieldValue",)


@pytest.mark.parametrize(
    "rules", ['deny = ["AAPL/USD"]', 'allow = ["BTC/USDT"]', "min_quantity = 99", "max_quantity = 1"]
)
def test_an_order_that_reduces_passes_lists_and_sizes_unless_the_limit_says_reject(rules: str) -> None:
    assert codes(holding(rules, "10"), side="sell", quantity="10") == ()
    assert codes(holding(rules, "10"), side="sell", quantity="10.1") != ()
    assert codes(holding(f'{rules}, reducing = "reject"', "10"), side="sell", quantity="10") != ()


def test_ten_that_would_each_reduce_do_not_all_pass() -> None:
    core = holding('deny = ["AAPL/USD"]', "10")
    passed = [codes(core, side="sell", quantity="3") for _ in range(10)]
    assert passed == [(), (), ()] + [NO] * 7


def test_prices_hold_for_an_order_that_reduces_too() -> None:
    assert codes(holding("min_price = 50", "10"), side="sell", price="49") == ("InvalidFieldValue",)


SHORT = ("ShortSaleRestriction",)
LONG_ONLY = 'short_sale = "reject"'


@pytest.mark.parametrize(
    ("held", "side", "sold", "refused"),
    [
        ("10", "buy", "10", ()),
        ("10", "buy", "10.000000001", SHORT),
        ("10", "sell", "1", SHORT),
    ],
)
def test_a_sell_that_makes_or_enlarges_a_short_position_is_refused(
    held: str, side: str, sold: str, refused: tuple[str, ...]
) -> None:
    assert codes(holding(LONG_ONLY, held, side), side="sell", quantity=sold) == refused


def test_flat_nothing_can_be_sold_and_anything_bought() -> None:
    core = gate(LONG_ONLY)
    assert codes(core, side="sell", quantity="0.000000001") == SHORT
    assert codes(core, quantity="1000") == ()


def test_what_is_on_its_way_to_be_bought_cannot_be_sold_yet() -> None:
    core = gate(LONG_ONLY)
    core.check(order(id="buy"))
    assert codes(core, side="sell") == SHORT
    core.report(fill("buy", 4))
    assert codes(core, side="sell", quantity=5) == SHORT
    assert codes(core, side="sell", quantity=4) == ()


@pytest.mark.parametrize("how", ["rollback", "cancel", "expiry"])
def test_open_sells_count_until_they_are_gone(how: str) -> None:
    core = holding(LONG_ONLY, "10")
    held = core.check(order(id="o1", side="sell", quantity=6), lease_s=1)
    assert codes(core, side="sell", quantity=5) == SHORT
    match how:
        case "rollback":
            core.rollback(held.reservation_id)
        case "cancel":
            core.report(report("cancelled", order_id="o1"))
        case "expiry":
            core.advance(2)
            core.end_leases()
    assert codes(core, side="sell", quantity=10) == ()


def test_a_fill_of_an_open_sell_moves_it_from_one_sum_to_the_other() -> None:
    core = holding(LONG_ONLY, "10")
    core.check(order(id="o1", side="sell", quantity=6))
    core.report(fill("o1", 3))
    assert codes(core, side="sell", quantity="4.000000001") == SHORT
    assert codes(core, side="sell", quantity=4) == ()


def test_requests_that_wait_cannot_all_be_executed_into_a_short_position() -> None:
    core = holding(LONG_ONLY, "10")
    requests = [core.start(order(side="sell", quantity=6)) for _ in range(2)]
    replies = [core.execute(each.request_id) for each in requests]
    assert isinstance(replies[0], e.Accepted)
    assert replies[1].rejected.codes == SHORT


def test_a_sale_of_nobody_knows_how_many_units_is_refused() -> None:
    core = holding(LONG_ONLY, "10")
    assert codes(core, side="sell", volume="1", price=None) == SHORT
    assert codes(core, side="sell", volume="1000", price="100") == ()


@pytest.mark.parametrize("way", ["rows", "snapshot"])
def test_a_short_sale_is_one_after_a_restart_too(way: str) -> None:
    core = gate(LONG_ONLY)
    core.check(order(id="buy"))
    core.report(fill("buy", 10))
    core.check(order(id="o1", side="sell", quantity=6))
    again = core.again(way)
    assert codes(again, side="sell", quantity="4.000000001") == SHORT
    assert codes(again, side="sell", quantity=4) == ()


def test_the_reject_carries_its_numbers() -> None:
    no = gate("max_quantity = 5").check(order()).rejected
    assert (no.policy, no.limit, no.scope) == ("instrument_rules", "rule", "instrument AAPL/USD")
    assert (no.bound, no.requested) == (5, 10)
    assert "quantity 10 of AAPL/USD, 5 at most" in no.reason


def test_another_number_holds_from_the_next_order_on() -> None:
    core = gate("min_quantity = 20")
    assert codes(core) == ("InvalidFieldValue",)
    core.set_limit("rule", {"min_quantity": "5"})
    assert codes(core) == ()
