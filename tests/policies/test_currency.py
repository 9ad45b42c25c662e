"""Limits in the firm's currency: what an order counts, at which rate, and what happens where none is known."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from builders import AAPL, Core, Local, fill, order, report
from restarts import WAYS, come_back

import pit
from pit import RejectCode
from pitd import config
from pitd.core import entry as e
from pitd.core.prices import Quote
from pitd.errors import ConfigError

SAP = pit.Instrument("SAP", "EUR")
SONY = pit.Instrument("SONY", "JPY")
BOND = pit.Instrument("BOND", "GBP")

MONEY = """
[currency]
firm = "USD"
max_age = "10s"
[currency.rates]
EUR = { quote = "EUR/USD", haircut_percent = "2" }
JPY = { quote = "USD/JPY" }
CHF = "1.25"
GBP = { rate = "1.30", as_of = 1970-01-01T00:00:00Z, max_age = "1m" }
"""
OPEN = """
[limits]
open = { control = "open_order_notional", over = "firm", currency = "firm", max_notional = "2000" }
"""


def quotes(core: Core, **prices: Any) -> None:
    """Says what those pairs cost at this moment: EURUSD="1.10", or bid and ask as a pair of prices."""
    told = []
    for pair, price in prices.items():
        bid, ask = (price, price) if isinstance(price, str) else price
        told.append(Quote(f"{pair[:3]}/{pair[3:]}", None, Decimal(bid), Decimal(ask), core.now_ns))
    core.quotes = tuple(told)


def used(core: Core, scope: str = "firm", limit: str = "open") -> Decimal:
    return core.held(scope, limit)


def test_orders_of_different_assets_are_added_up_at_rate_and_haircut() -> None:
    core = Core(MONEY + OPEN)
    quotes(core, EURUSD="1.10", USDJPY="150")
    core.check(order(instrument=SAP, quantity=1, price=1000))
    assert used(core) == Decimal("1122")
    core.check(order(instrument=AAPL, quantity=1, price=100))
    assert used(core) == Decimal("1222")
    core.check(order(instrument=SONY, quantity=1, price=15_000))
    assert used(core) == Decimal("1322.000000001"), "1/150 is rounded up, against the firm"
    core.check(order(instrument=pit.Instrument("NESN", "CHF"), quantity=1, price=100))
    assert used(core) == Decimal("1447.000000001")


def test_exactly_at_the_limit_passes_and_a_billionth_more_does_not() -> None:
    core = Core(MONEY + OPEN)
    quotes(core, EURUSD="1.25")
    no = core.check(order(instrument=SAP, quantity=1, price="1568.627450981")).rejected
    assert no.code is RejectCode.RISK_LIMIT_EXCEEDED
    assert "= 1568.627450981 EUR = 2000.000000001 USD on top of 0 open, limit 2000" in no.reason
    assert isinstance(core.check(order(instrument=SAP, quantity=1, price="1568.62745098")), e.Accepted)


def test_an_order_counts_at_the_dearer_side_of_the_pair_whichever_way_it_is_quoted() -> None:
    core = Core(MONEY + OPEN)
    quotes(core, EURUSD=("1.00", "1.50"), USDJPY=("100", "200"))
    core.check(order(instrument=SAP, quantity=1, price=100))
    assert used(core) == Decimal("153")
    core.check(order(instrument=SONY, quantity=1, price=1000))
    assert used(core) == Decimal("163")


@pytest.mark.parametrize(
    ("instrument", "later_s", "why"),
    [
        (SAP, 10.001, "is younger than 10 s"),
        (BOND, 60, "too old"),
        (pit.Instrument("ABC", "SEK"), 0, "no rate of SEK in USD is configured"),
    ],
)
def test_without_a_fresh_rate_there_is_no_new_risk(instrument: pit.Instrument, later_s: float, why: str) -> None:
    core = Core(MONEY + OPEN)
    quotes(core, EURUSD="1.10")
    core.check(order(instrument=AAPL, quantity=1, price=1))
    core.advance(later_s)
    no = core.check(order(instrument=instrument, quantity=1, price=1)).rejected
    assert no.code is RejectCode.REFERENCE_DATA_UNAVAILABLE and why in no.reason
    assert used(core) == 1


@pytest.mark.parametrize("instrument", [SAP, BOND])
def test_up_to_its_age_a_rate_holds(instrument: pit.Instrument) -> None:
    core = Core(MONEY + OPEN)
    quotes(core, EURUSD="1.10")
    core.check(order(instrument=AAPL, quantity=1, price=1))
    core.advance(10)
    assert isinstance(core.check(order(instrument=instrument, quantity=1, price=1)), e.Accepted)


def test_what_reduces_passes_without_a_rate_and_is_not_counted() -> None:
    core = Core(MONEY + OPEN)
    core.report(fill("ghost", 10, instrument=SAP, side="buy"))
    assert isinstance(core.check(order(instrument=SAP, side="sell", quantity=10, price=1000)), e.Accepted)
    assert used(core) == 0


@pytest.mark.parametrize(
    ("ends", "left"),
    [
        (lambda core, id: None, "1122"),
        (lambda core, id: core.commit(id), "1122"),
        (lambda core, id: core.rollback(id), "0"),
        (lambda core, id: (core.advance(6), core.end_leases()), "0"),
        (lambda core, id: core.report(fill("o1", 4)), "673.2"),
        (lambda core, id: [core.report(fill("o1", 4, report_id="same")) for _ in range(2)], "673.2"),
        (lambda core, id: core.report(fill("o1", 10)), "0"),
        (lambda core, id: core.report(report("cancelled", order_id="o1")), "0"),
    ],
    ids=["held", "working", "rolled_back", "lease_over", "part_filled", "same_report_twice", "filled", "cancelled"],
)
@pytest.mark.parametrize("way", [None, *WAYS])
def test_an_order_is_given_back_at_the_rate_it_was_taken_at(ends: Any, left: str, way: str | None) -> None:
    core = Core(MONEY + OPEN)
    quotes(core, EURUSD="1.10")
    id = core.check(order(id="o1", instrument=SAP)).reservation_id
    quotes(core, EURUSD="1.90")
    ends(core, id)
    assert used(core) == Decimal(left)
    if way:
        assert used(come_back(core, MONEY + OPEN, way)) == Decimal(left)


def test_one_limit_may_count_in_the_asset_beside_one_in_the_firms_currency() -> None:
    core = Core(
        f'{MONEY}{OPEN}eur = {{ control = "open_order_notional", over = "firm", settlement = "EUR", '
        "max_notional = 500 }"
    )
    quotes(core, EURUSD="1.10")
    core.check(order(instrument=SAP, quantity=5, price=100))
    assert (used(core), used(core, limit="eur")) == (Decimal("561"), 500)
    assert [each.limit for each in core.check(order(instrument=SAP, quantity=20)).rejected.rejects] == ["open", "eur"]


@pytest.mark.parametrize(
    ("limit", "codes"),
    [
        ('control = "order_size_limit", each = "account", max_notional = 1121', ["OrderNotionalExceedsLimit"]),
        ('control = "order_size_limit", each = "account", max_notional = 1122', []),
        ('control = "turnover_limit", over = "firm", window = "1m", max_notional = 1121', ["RiskLimitExceeded"]),
        ('control = "turnover_limit", over = "firm", window = "1m", max_notional = 1122', []),
    ],
)
def test_size_and_turnover_count_in_it_too(limit: str, codes: list[str]) -> None:
    core = Core(f'{MONEY}\n[limits]\none = {{ {limit}, currency = "firm" }}')
    quotes(core, EURUSD="1.10")
    answer = core.check(order(instrument=SAP, quantity=10, price=100))
    assert (list(answer.rejected.codes) if isinstance(answer, e.Refused) else []) == codes


def test_an_order_over_a_limit_that_comes_in_later_counts_at_the_rate_of_that_moment() -> None:
    core = Core(MONEY)
    core.check(order(instrument=SAP))
    core.configure(MONEY + OPEN)
    assert used(core) == 0, "no rate was known"
    quotes(core, EURUSD="1.10")
    core.check(order(instrument=AAPL, quantity=1, price=1))
    core.configure(MONEY + OPEN.replace("open =", "other ="))
    assert used(core, limit="other") == Decimal("1123")


def test_a_rate_comes_with_the_entries_that_may_add_risk_when_it_is_a_new_one() -> None:
    gate = Local(MONEY + OPEN)
    rows: list[e.Row] = []
    gate.house.sequencer.watchers.append(lambda released: rows.extend(released))
    eur = pit.Instrument("EUR", "USD")
    for mark in ("1.10", "1.11"):
        gate.engine.push_quote(eur, mark=mark)
        gate.engine.push_quote(AAPL, mark=1)
        for _ in range(2):
            assert gate.engine.execute_pre_trade(order(instrument=SAP, quantity=1))
    gate.house.sequencer.publish()
    judged = [row for row in rows if isinstance(getattr(row.entry.body, "command", None), e.CheckOrder)]
    marks = [[str(quote.mark) for quote in row.entry.quotes] for row in judged]
    assert marks == [["1.10"], [], ["1.11"], []]
    kept = [[type(effect) for effect in row.effects].count(e.QuotesKept) for row in judged]
    assert kept == [1, 0, 1, 0]


def test_without_a_limit_that_asks_no_rate_is_brought_or_kept() -> None:
    gate = Local(MONEY)
    gate.engine.push_quote(pit.Instrument("EUR", "USD"), mark=1)
    assert gate.engine.execute_pre_trade(order(instrument=SAP))
    assert gate.core.valuation.marks.save() == () and not gate.house.sequencer.quotes.fresh(gate.core.valuation.marks)


def test_a_process_that_begins_knows_no_rate_from_before() -> None:
    core = Core(MONEY + OPEN)
    quotes(core, EURUSD="1.10")
    core.check(order(instrument=SAP))
    core.quotes = ()
    core.enter(e.Resumed(0, b"anew"))
    assert core.check(order(instrument=SAP)).rejected.code is RejectCode.REFERENCE_DATA_UNAVAILABLE


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[currency]\nmax_age = "1s"', "currency.firm"),
        ('[currency]\nfirm = "USD"\nrates = { USD = "1" }', "firm's currency itself"),
        ('[currency]\nfirm = "USD"\nrates = { EUR = {} }', "give rate"),
        ('[currency]\nfirm = "USD"\nrates = { EUR = "0" }', "above zero"),
        ('[currency]\nfirm = "USD"\nrates = { EUR = { quote = "GBP/USD" } }', '"EUR/USD" or "USD/EUR"'),
        ('[currency]\nfirm = "USD"\nrates = { EUR = { rate = "1", max_age = "1s" } }', "as_of"),
        ('[currency]\nfirm = "USD"\nrates = { EUR = { rate = "1", as_of = 2026-01-01, max_age = "1s" } }', "offset"),
        ('[currency]\nfirm = "USD"\nhaircut_percent = 100', "less than 100"),
        (OPEN, r"add \[currency\] firm"),
        (MONEY + OPEN.replace('"firm", max', '"EUR", max'), '"firm" is wanted'),
        (OPEN.replace('currency = "firm", ', ""), 'currency = "firm"'),
    ],
)
def test_a_configuration_that_says_too_little_is_refused_with_the_mend(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        config.parse(text, "test.toml")
