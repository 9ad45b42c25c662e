"""price_collar: at the bound, beyond it, what it is compared with, and where that is not known."""

from __future__ import annotations

from typing import Any

import pytest
from builders import INSTRUMENTS, Core, fill, order

from pitd.core import entry as e

RESTARTS = ("rows", "snapshot")


def collar(bounds: str, **quote: str) -> Core:
    core = Core(f'{INSTRUMENTS}\n[limits]\nnear = {{ control = "price_collar", {bounds} }}')
    if quote:
        core.quote(**quote)
    return core


def codes(core: Core, **fields: Any) -> tuple[str, ...]:
    reply = core.check(order(**fields))
    return reply.rejected.codes if isinstance(reply, e.Refused) else ()


FAR = ("RiskLimitExceeded",)


@pytest.mark.parametrize(
    ("bounds", "side", "price", "refused"),
    [
        ('max_percent = "5"', "buy", "105", ()),
        ('max_percent = "5"', "buy", "105.000000001", FAR),
        ('max_percent = "5"', "sell", "95", ()),
        ('max_percent = "5"', "sell", "94.999999999", FAR),
        ('max_percent = "5"', "buy", "0.01", ()),
        ('max_percent = "5"', "sell", "1000", ()),
        ('max_percent = "5", side = "both"', "buy", "95", ()),
        ('max_percent = "5", side = "both"', "buy", "94.99", FAR),
        ('max_percent = "5", side = "both"', "sell", "105.01", FAR),
        ('max_absolute = "2.5"', "buy", "102.5", ()),
        ('max_absolute = "2.5"', "buy", "102.51", FAR),
        ('max_absolute = "2.5", max_percent = "1"', "buy", "101.5", FAR),
        ('max_absolute = "0.5", max_percent = "1"', "buy", "101", FAR),
        ('max_absolute = "0.5", max_percent = "1"', "buy", "100.5", ()),
    ],
)
def test_the_table_with_a_reference_of_100(bounds: str, side: str, price: str, refused: tuple[str, ...]) -> None:
    assert codes(collar(bounds, mark="100"), side=side, price=price) == refused


def test_a_percentage_that_no_division_hits_is_exact() -> None:
    core = collar('max_percent = "33.333333333"', mark="3")
    assert codes(core, price="3.999999999") == ()
    assert codes(core, price="4") == FAR


@pytest.mark.parametrize(("price", "refused"), [("5001", ()), ("5001.25", FAR)])
def test_ticks_are_those_of_the_instrument(price: str, refused: tuple[str, ...]) -> None:
    core = collar("max_ticks = 4", mark="5000", symbol="ESZ6")
    assert codes(core, instrument="ESZ6", price=price) == refused


def test_ticks_of_an_instrument_that_declares_none_cannot_be_told() -> None:
    assert codes(collar("max_ticks = 4", mark="100")) == ("ReferenceDataUnavailable",)


@pytest.mark.parametrize(
    ("quote", "refused"),
    [
        ({"mark": "100", "bid": "1", "ask": "2"}, ()),
        ({"bid": "99", "ask": "101"}, ()),
        ({"bid": "98", "ask": "100"}, FAR),
        ({"bid": "100"}, ("ReferenceDataUnavailable",)),
        ({"ask": "100"}, ("ReferenceDataUnavailable",)),
        ({"mark": "100", "symbol": "OTHER/USD"}, ("ReferenceDataUnavailable",)),
        ({}, ("ReferenceDataUnavailable",)),
    ],
)
def test_the_reference_is_the_mark_else_the_middle_and_never_a_guess(
    quote: dict[str, str], refused: tuple[str, ...]
) -> None:
    assert codes(collar('max_percent = "5"', **quote), price="105") == refused


@pytest.mark.parametrize(("age_s", "refused"), [(5, ()), (5.000000001, ("ReferenceDataUnavailable",))])
def test_a_stale_reference_rejects(age_s: float, refused: tuple[str, ...]) -> None:
    core = collar('max_percent = "5"', mark="100")
    core.advance(age_s)
    assert codes(core) == refused


def test_a_market_order_passes_without_a_reference_unless_the_limit_says_reject() -> None:
    assert codes(collar('max_percent = "5"'), price=None) == ()
    assert codes(collar('max_percent = "5", market = "reject"'), price=None) == ("UnsupportedOrderType",)


def test_a_volume_order_is_held_by_its_price() -> None:
    core = collar('max_percent = "5"', mark="100")
    assert codes(core, volume="1000", price="105") == ()
    assert codes(core, volume="1000", price="106") == FAR


def test_a_price_below_zero_is_as_far_away_as_it_is() -> None:
    core = collar('max_absolute = "3"', mark="-1", symbol="SPREAD")
    assert codes(core, instrument="SPREAD", side="sell", price="-4") == ()
    assert codes(core, instrument="SPREAD", side="sell", price="-4.01") == FAR


def test_of_a_reference_of_zero_every_percentage_is_zero() -> None:
    core = collar('max_percent = "50"', mark="0", symbol="SPREAD")
    assert codes(core, instrument="SPREAD", price="0") == ()
    assert codes(core, instrument="SPREAD", price="0.01") == FAR


def test_an_order_that_reduces_is_held_to_it_too() -> None:
    core = collar('max_percent = "5"', mark="100")
    core.check(order(id="long"))
    core.report(fill("long", 10))
    assert codes(core, side="sell", price="50") == FAR


def test_the_reject_carries_its_numbers_and_a_sum_to_check() -> None:
    no = collar('max_percent = "5", max_absolute = "1"', mark="100").check(order(price="106")).rejected
    assert (no.policy, no.limit, no.scope, no.bound, no.requested) == (
        "price_collar",
        "near",
        "instrument AAPL/USD",
        5,
        106,
    )
    assert "buy AAPL/USD at 106: 6 from the reference 100, limit 5 percent and 1" in no.reason


def test_an_order_that_no_collar_is_for_needs_no_reference() -> None:
    assert codes(collar('max_percent = "5", instruments = ["MSFT/USD"]')) == ()


def test_the_price_asked_for_when_a_request_is_executed_is_not_looked_at_again() -> None:
    core = collar('max_percent = "5"', mark="100")
    request = core.start(order(price="105"))
    core.quote(mark="50")
    assert isinstance(core.execute(request.request_id), e.Accepted)


@pytest.mark.parametrize("way", RESTARTS)
def test_it_decides_alike_after_a_restart(way: str) -> None:
    core = collar('max_percent = "5"', mark="100")
    codes(core)
    again = core.again(way)
    assert (codes(again, price="105"), codes(again, price="106")) == ((), FAR)


def test_another_number_holds_from_the_next_order_on() -> None:
    core = collar('max_percent = "5"', mark="100")
    assert codes(core, price="106") == FAR
    core.set_limit("near", {"max_percent": "6"})
    assert codes(core, price="106") == ()
