"""concentration_limit: each sentence of its rule. What counts as gross is exposure_limit's, and tested there."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from builders import AAPL, Core, fill, order, report
from marks import EUR, MSFT, SAP, holds, marked
from restarts import WAYS, come_back

import pit
from pit import RejectCode
from pitd import config
from pitd.core import entry as e
from pitd.core.policy import Look
from pitd.errors import ConfigError

LIMIT = """
[limits]
share = { control = "concentration_limit", each = "account", settlement = "USD", max_percent = 50, min_gross = 1000 }
"""
BTC_SPOT = pit.Instrument("BTC", "USD")
UNDERLYINGS = """
[instruments.BTCPERP]
underlying = "BTC"
settlement = "USD"
kind = "linear"
multiplier = "0.01"
"""


def concentrated(limit: str, more: str = "") -> Core:
    return marked(Core(f'{more}\n[limits]\nshare = {{ control = "concentration_limit", {limit} }}'))


def passes(core: Core, side: str, quantity: Any, instrument: Any = AAPL, **fields: Any) -> bool:
    answer = core.check(order(side=side, quantity=quantity, instrument=instrument, price=1, **fields))
    if isinstance(answer, e.Accepted):
        return True
    assert answer.rejected.code is RejectCode.CONCENTRATION_LIMIT_EXCEEDED, answer
    return False


def test_the_example_of_its_rule() -> None:
    core = marked(Core(LIMIT), MSFT_USD="100")
    assert passes(core, "buy", 10)
    no = core.check(order(quantity=1)).rejected.rejects[0]
    assert (no.bound, no.used, no.requested) == (50, 100, 0)
    assert "AAPL/USD would be 1100 of 1100 USD gross, 100 percent, limit 50" in no.reason
    assert passes(core, "buy", 10, MSFT)
    assert not passes(core, "buy", 1, MSFT) and not passes(core, "buy", "0.000000001", MSFT)


def test_up_to_the_floor_it_does_not_look_and_a_billionth_above_it_does() -> None:
    core = marked(Core(LIMIT))
    assert not passes(core, "buy", "10.000000001") and passes(core, "buy", 10)


def test_a_share_that_no_division_hits_is_exact() -> None:
    core = concentrated('each = "account", settlement = "USD", max_percent = "33.333333333", min_gross = 1')
    holds(core, 40, MSFT)
    assert not passes(core, "buy", 10) and passes(core, "buy", "9.99999999")


@pytest.mark.parametrize(
    ("ends", "most"),
    [
        (lambda core, id: core.commit(id), 0),
        (lambda core, id: core.rollback(id), 40),
        (lambda core, id: core.report(report("cancelled", order_id="o1")), 40),
        (lambda core, id: core.report(fill("o1", 15)), 0),
        (lambda core, id: core.report(fill("o1", 40)), 0),
        (lambda core, id: [core.report(fill("o1", 10)), core.report(report("expired", order_id="o1"))], 30),
    ],
    ids=["working", "rolled_back", "cancelled", "part_filled", "filled", "part_filled_then_expired"],
)
@pytest.mark.parametrize("way", [None, *WAYS])
def test_what_is_held_and_what_may_come_is_in_the_part(ends: Any, most: int, way: str | None) -> None:
    core = marked(Core(LIMIT))
    holds(core, 80, MSFT)
    ends(core, core.check(order(id="o1", quantity=40)).reservation_id)
    quotes = core.quotes
    if way:
        core = come_back(core, LIMIT, way)
        core.quotes = quotes
    assert not passes(core, "buy", most + 1)
    assert not most or passes(core, "buy", most)


def test_what_does_not_make_the_part_larger_passes_and_what_reduces_always_does() -> None:
    core = marked(Core(LIMIT))
    holds(core, 30)
    assert passes(core, "sell", 30), "it reduces"
    assert passes(core, "sell", 30), "30 long or 30 short: the part stays"
    assert not passes(core, "sell", 1)
    assert passes(core, "buy", 60, MSFT)
    marked(core, AAPL_USD=None)
    assert passes(core, "buy", 1, MSFT) is False


def test_by_underlying_all_its_instruments_are_one() -> None:
    limit = 'each = "account", settlement = "USD", max_percent = 50, min_gross = 1000, by = "%s"'
    for by, expected in (("underlying", False), ("instrument", True)):
        core = concentrated(limit % by, UNDERLYINGS)
        marked(core, BTC_USD="100", BTCPERP="10000")
        holds(core, 20)
        assert passes(core, "buy", 20, BTC_SPOT)
        assert passes(core, "buy", 1, "BTCPERP") is expected


def test_over_the_firm_and_in_its_currency_the_parts_are_converted() -> None:
    core = concentrated('over = "firm", currency = "firm", max_percent = 50, min_gross = 1', EUR)
    holds(core, 20, MSFT)
    holds(core, 5, SAP, "beta")
    assert not passes(core, "buy", 1, SAP)
    holds(core, 4, MSFT, "gamma")
    assert not passes(core, "buy", "0.000000001", SAP)
    holds(core, 1, MSFT, "gamma")
    assert passes(core, "buy", "0.16", SAP) and not passes(core, "buy", "0.01", SAP)


def test_a_mark_or_a_rate_that_is_missing_is_never_guessed() -> None:
    core = concentrated('over = "firm", currency = "firm", max_percent = 50, min_gross = 1', EUR)
    marked(core, EUR_USD=None, AAPL_USD=None)
    assert core.check(order()).rejected.code is RejectCode.MARK_PRICE_UNAVAILABLE
    assert core.check(order(instrument=SAP)).rejected.code is RejectCode.REFERENCE_DATA_UNAVAILABLE


def test_while_a_modify_is_not_answered_the_worse_of_old_and_new_counts() -> None:
    core = marked(Core(LIMIT))
    holds(core, 80, MSFT)
    core.commit(core.check(order(id="o1", quantity=20)).reservation_id)
    too_much = core.command(e.ModifyOrder("alpha", "o1", Decimal(41), None, None, "o2", True, None))
    assert isinstance(too_much, e.Refused)
    core.command(e.ModifyOrder("alpha", "o1", Decimal(40), None, None, "o2", True, None))
    assert not passes(core, "buy", 1)
    core.report(report("replace_rejected", order_id="o1"))
    assert passes(core, "buy", 20)


def test_people_see_the_largest_share_of_each_book_and_may_set_its_bound() -> None:
    core = marked(Core(LIMIT))
    holds(core, 5)
    holds(core, 30, MSFT)
    policy = core.engine.policies["concentration_limit"]
    look = Look(core.now_ns, "", 10, lambda _: None, core.engine.positions, valuation=core.engine.valuation)
    passes(core, "sell", 1)
    [seen] = policy.counters("share", look)
    assert (seen.scope, seen.what, seen.bound, seen.used) == (
        "account alpha",
        "percent of gross in one instrument",
        50,
        75,
    )
    core.set_limit("share", {"max_percent": "80"})
    assert passes(core, "buy", 5, MSFT)


@pytest.mark.parametrize(
    ("limit", "why"),
    [
        ("max_percent = 101, min_gross = 1", "up to 100"),
        ("max_percent = 10", "min_gross: is missing"),
        ('max_percent = 10, min_gross = 1, by = "sector"', '"instrument" or "underlying"'),
    ],
)
def test_a_limit_that_cannot_be_meant_is_refused_with_the_mend(limit: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        config.parse(
            f'[limits]\nx = {{ control = "concentration_limit", each = "account", settlement = "USD", {limit} }}', "t"
        )
