"""exposure_limit: each sentence of its rule, through the whole life of an order."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from builders import AAPL, INSTRUMENTS, Core, Local, fill, order, report
from marks import EUR, MSFT, SAP, holds, marked
from restarts import WAYS, come_back

import pit
from pit import RejectCode
from pitd import config
from pitd.core import entry as e
from pitd.core.policy import Look
from pitd.core.prices import Quote
from pitd.errors import ConfigError

LIMIT = """
[limits]
exposed = { control = "exposure_limit", each = "account", settlement = "USD", max_gross = 3000, max_net = 2000 }
"""
GROUPED = '[accounts.alpha]\ngroup = "eq"\n[accounts.beta]\ngroup = "eq"\n[gate]\nuncovered = "allow"\n'


def exposed(limit: str, more: str = "") -> Core:
    return marked(Core(f'{INSTRUMENTS}\n{more}\n[limits]\nexposed = {{ control = "exposure_limit", {limit} }}'))


def asks(core: Core, side: str, quantity: Any, instrument: Any = AAPL, **fields: Any) -> list[tuple[str, Any, Any]]:
    """What an order is refused with: bound, used and requested. Nothing where it passes."""
    answer = core.check(order(**({"side": side, "quantity": quantity, "instrument": instrument, "price": 1} | fields)))
    if isinstance(answer, e.Accepted):
        return []
    return [(str(each.code), each.used, each.requested) for each in answer.rejected.rejects]


NO = "RiskLimitExceeded"


def test_the_example_of_its_rule() -> None:
    core = marked(Core(LIMIT))
    assert asks(core, "buy", 15) == []
    assert asks(core, "sell", 25) == [(NO, 0, 2500)]
    assert asks(core, "sell", 20) == []
    assert asks(core, "sell", 21, MSFT) == [(NO, 2000, 1050), (NO, 2000, 1050)]
    assert asks(core, "buy", 10, MSFT) == []


def test_exactly_at_a_bound_passes_and_a_billionth_of_a_unit_more_does_not() -> None:
    core = marked(Core(LIMIT))
    assert asks(core, "buy", "20.000000001") == [(NO, 0, Decimal("2000.0000001"))]
    assert asks(core, "buy", 20) == []


def test_everything_counts_at_its_mark_whatever_an_order_asks() -> None:
    core = marked(Core(LIMIT))
    assert asks(core, "buy", 20, price="1000000") == []
    assert asks(marked(Core(LIMIT)), "buy", 21, price="0.01") == [(NO, 0, 2100)]


@pytest.mark.parametrize(
    ("ends", "left"),
    [
        (lambda core, id: None, 0),
        (lambda core, id: core.mark_sent(id), 0),
        (lambda core, id: core.commit(id), 0),
        (lambda core, id: core.quarantine(id), 0),
        (lambda core, id: core.rollback(id), 20),
        (lambda core, id: (core.advance(4), core.drop(id)), 20),
        (lambda core, id: core.report(report("cancelled", order_id="o1")), 20),
        (lambda core, id: core.report(report("rejected", order_id="o1")), 20),
        (lambda core, id: core.report(fill("o1", 4)), 0),
        (lambda core, id: core.report(fill("o1", 20)), 0),
        (lambda core, id: [core.report(fill("o1", 4, report_id="same")) for _ in range(3)], 0),
        (lambda core, id: [core.report(fill("o1", 4)), core.report(report("cancelled", order_id="o1"))], 16),
    ],
    ids=[
        "held",
        "sent",
        "working",
        "quarantined",
        "rolled_back",
        "dropped",
        "cancelled",
        "rejected",
        "part_filled",
        "filled",
        "same_report_thrice",
        "part_filled_then_cancelled",
    ],
)
@pytest.mark.parametrize("way", [None, *WAYS])
def test_what_is_held_and_what_may_come_counts_and_what_ended_does_not(ends: Any, left: int, way: str | None) -> None:
    core = marked(Core(LIMIT))
    ends(core, core.check(order(id="o1", quantity=20)).reservation_id)
    quotes = core.quotes
    if way:
        core = come_back(core, LIMIT, way)
        core.quotes = quotes
    assert asks(core, "buy", left + 1) != []
    assert not left or asks(core, "buy", left) == []


def test_a_lease_that_ends_gives_back_what_it_held() -> None:
    core = marked(Core(LIMIT))
    core.check(order(quantity=20), lease_s=1)
    core.advance(2)
    core.end_leases()
    assert asks(core, "buy", 20) == []


def test_while_a_modify_is_not_answered_the_worse_of_old_and_new_counts() -> None:
    core = marked(Core(LIMIT))
    id = core.check(order(id="o1", quantity=10)).reservation_id
    core.commit(id)
    no = core.command(e.ModifyOrder("alpha", "o1", Decimal(21), None, None, "o2", True, None))
    assert no.rejected.rejects[0].requested == 2100
    core.command(e.ModifyOrder("alpha", "o1", Decimal(16), None, None, "o2", True, None))
    assert asks(core, "buy", 5) != []
    core.report(report("replace_rejected", order_id="o1"))
    assert asks(core, "buy", 10) == []


def test_a_mark_that_moves_changes_what_is_held() -> None:
    core = marked(Core(LIMIT))
    holds(core, 10)
    assert asks(core, "buy", 11) == [(NO, 1000, 1100)]
    marked(core, AAPL_USD="50")
    assert asks(core, "buy", 31) == [(NO, 500, 1550)]
    assert asks(core, "buy", 30) == []


def test_past_a_bound_only_what_makes_it_worse_is_refused() -> None:
    core = marked(Core(LIMIT))
    holds(core, 10)
    holds(core, 30, MSFT)
    marked(core, AAPL_USD="300")
    assert asks(core, "buy", 1) == [(NO, 4500, 300), (NO, 4500, 300)]
    assert asks(core, "sell", 10) == [], "it reduces"
    assert asks(core, "sell", 10) == [], "gross stays: 10 long, or 10 short"
    assert asks(core, "sell", "0.1") == [(NO, 4500, 30)]


def test_reducing_orders_pass_without_any_mark() -> None:
    core = marked(Core(LIMIT), AAPL_USD=None)
    holds(core, 10)
    assert asks(core, "buy", 1)[0][0] == "MarkPriceUnavailable"
    assert asks(core, "sell", 10) == []
    assert asks(core, "sell", 1)[0][0] == "MarkPriceUnavailable"


def test_a_stale_mark_anywhere_in_the_book_is_no_mark() -> None:
    core = marked(Core(LIMIT))
    holds(core, 1, MSFT)
    assert asks(core, "buy", 1) == []
    core.quotes = core.quotes[:1]
    core.advance(5)
    assert asks(core, "buy", 1) == []
    core.advance(0.000000001)
    core.quotes = (Quote("AAPL/USD", Decimal(100), None, None, core.now_ns),)
    no = core.check(order(quantity=1)).rejected
    assert no.code is RejectCode.MARK_PRICE_UNAVAILABLE and "MSFT/USD: its mark is 5.000 s old" in no.reason
    assert asks(core, "buy", 1, account="beta") == [], "it holds none"


def test_a_stale_mark_counts_as_such_also_where_what_it_marks_is_worth_nothing() -> None:
    limit = 'control = "exposure_limit", each = "account", settlement = "USD", max_gross = 3000, max_age = "5s"'
    core = Core(f"{INSTRUMENTS}[limits]\nit = {{ {limit} }}\n")
    core.quote(mark="0", symbol="SPREAD")
    core.report(fill("ghost", 10, "0", instrument="SPREAD", side="buy"))
    assert isinstance(core.check(order(instrument="SPREAD", quantity=1)), e.Accepted)
    core.advance(4)
    core.quote(mark="100")
    assert isinstance(core.check(order(quantity=1)), e.Accepted)
    core.advance(1.001)
    core.quote(mark="100")
    no = core.check(order(quantity=1)).rejected
    assert no.code is RejectCode.MARK_PRICE_UNAVAILABLE and "SPREAD: its mark is 5.001 s old" in no.reason


def test_what_is_held_no_more_makes_no_mark_stale() -> None:
    core = marked(Core(LIMIT))
    holds(core, 1, MSFT)
    assert asks(core, "buy", 1) == []
    holds(core, -1, MSFT)
    core.advance(6)
    core.quotes = (Quote("AAPL/USD", Decimal(100), None, None, core.now_ns),)
    assert asks(core, "buy", 1) == []
    core.advance(5)
    core.quotes = ()
    assert asks(core, "buy", 1) == []
    core.advance(0.001)
    assert asks(core, "buy", 1)[0][0] == "MarkPriceUnavailable"


def test_a_limit_may_take_older_marks_than_the_gate() -> None:
    core = exposed('each = "account", settlement = "USD", max_gross = 3000, max_age = "1m"')
    asks(core, "buy", 1)
    core.advance(60)
    assert asks(core, "buy", 1) == []
    core.advance(1)
    assert asks(core, "buy", 1)[0][0] == "MarkPriceUnavailable"


def test_what_is_settled_in_another_asset_is_not_looked_at() -> None:
    core = exposed('each = "account", settlement = "USD", max_gross = 3000', '[gate]\nuncovered = "allow"')
    marked(core, SAP_EUR=None)
    holds(core, 100, SAP)
    assert asks(core, "buy", 30) == [] and asks(core, "buy", 100, SAP) == []


@pytest.mark.parametrize(
    ("instrument", "most", "more"), [("ESZ6", "2", "3"), ("XBT", "4000", "4001")], ids=["linear", "inverse"]
)
def test_a_multiplier_counts_and_inverse_contracts_are_worth_their_coin(instrument: str, most: str, more: str) -> None:
    asset, bound = ("USD", 400_000) if instrument == "ESZ6" else ("BTC", 20)
    core = exposed(f'each = "account", settlement = "{asset}", max_gross = {bound}')
    assert asks(core, "buy", more, instrument, price=4000)[0][0] == NO
    assert asks(core, "buy", most, instrument, price=4000) == []


def test_a_volume_order_without_a_price_counts_with_its_amount() -> None:
    core = marked(Core(LIMIT))
    assert asks(core, "buy", None, volume="2000.01", price=None) == [(NO, 0, Decimal("2000.01"))]
    assert asks(core, "buy", None, volume=1500, price=None) == []
    assert asks(core, "buy", 6) == [(NO, 1500, 600)]
    assert asks(core, "buy", 5) == []


def test_gross_does_not_set_accounts_off_against_one_another_and_net_does() -> None:
    core = exposed('over = "firm", settlement = "USD", max_gross = 3000, max_net = 1000')
    holds(core, 15)
    holds(core, -10, account="beta")
    assert asks(core, "buy", 6, account="gamma") == [(NO, 2500, 600), (NO, 500, 600)]
    assert asks(core, "buy", 5, account="gamma") == []


def test_a_group_is_its_accounts_and_an_account_that_moves_takes_its_book_along() -> None:
    limit = '[limits]\nexposed = { control = "exposure_limit", over = { group = "eq" }, settlement = "USD", '
    limit += "max_gross = 3000 }"
    core = marked(Core(GROUPED + limit))
    holds(core, 20)
    assert asks(core, "buy", 11, account="beta") == [(NO, 2000, 1100)]
    assert asks(core, "buy", 99, account="outsider") == []
    core.configure(GROUPED.replace('[accounts.alpha]\ngroup = "eq"', '[accounts.alpha]\ngroup = "fx"') + limit)
    assert asks(core, "buy", 30, account="beta") == []


@pytest.mark.parametrize("way", [None, *WAYS])
def test_a_strategy_is_what_the_orders_that_it_asked_for_came_to(way: str | None) -> None:
    settings = '[limits]\nexposed = { control = "exposure_limit", each = "client", settlement = "USD", max_net = 2000 }'
    core = marked(Core(settings))
    core.check(order(id="o1", quantity=12), client="mm1")
    core.report(fill("o1", 12), client="dropcopy")
    core.check(order(id="o2", quantity=4, account="beta"), client="mm1")
    quotes = core.quotes
    if way:
        core = come_back(core, settings, way)
        core.quotes = quotes
    no = core.check(order(quantity=5, account="gamma"), client="mm1").rejected
    assert (no.rejects[0].scope, no.rejects[0].used) == ("client mm1", 1600)
    assert isinstance(core.check(order(quantity=20), client="mm2"), e.Accepted)


def test_a_fill_that_is_undone_leaves_the_strategys_book_too() -> None:
    settings = '[limits]\nexposed = { control = "exposure_limit", each = "client", settlement = "USD", max_net = 2000 }'
    core = marked(Core(settings))
    core.check(order(id="o1", quantity=12), client="mm1")
    core.report(fill("o1", 12, report_id="f1"))
    assert asks(core, "buy", 9) != []
    core.report(report("bust", order_id="o1", fill_id="f1"))
    core.report(report("cancelled", order_id="o1"))
    assert asks(core, "buy", 20) == []


def test_in_the_firms_currency_what_is_set_off_counts_less_and_what_adds_counts_more() -> None:
    core = exposed('over = "firm", currency = "firm", max_gross = 5000, max_net = 1000', EUR)
    holds(core, -5, SAP)
    assert asks(core, "buy", "19.900000001") == [(NO, -990, Decimal("1990.0000001"))]
    assert asks(core, "buy", "19.9") == []
    assert asks(core, "sell", 1, SAP) == [(NO, 1210, 242)]


def test_without_a_rate_of_what_is_in_the_book_there_is_no_new_risk_and_reducing_passes() -> None:
    core = exposed('over = "firm", currency = "firm", max_gross = 5000', EUR)
    marked(core, EUR_USD=None)
    assert asks(core, "buy", 1) == []
    holds(core, 5, SAP)
    assert asks(core, "buy", 1)[0][0] == "ReferenceDataUnavailable"
    assert asks(core, "sell", 5, SAP) == []


def test_a_process_that_begins_knows_no_mark_from_before() -> None:
    core = marked(Core(LIMIT))
    assert asks(core, "buy", 1) == []
    core.quotes = ()
    core.enter(e.Resumed(0, b"anew"))
    assert asks(core, "buy", 1)[0][0] == "MarkPriceUnavailable"


def test_an_order_that_no_limit_is_for_needs_no_mark() -> None:
    core = exposed('each = "account", settlement = "EUR", max_gross = 1')
    marked(core, AAPL_USD=None)
    assert asks(core, "buy", 1) == []


def test_entries_bring_only_the_marks_that_are_new_and_of_what_is_in_a_book() -> None:
    gate = Local(LIMIT)
    rows: list[e.Row] = []
    gate.house.sequencer.watchers.append(lambda released: rows.extend(released))
    for pair in (AAPL, MSFT, pit.Instrument("GOOG", "USD")):
        gate.engine.push_quote(pair, mark=1)
    kept = [gate.engine.execute_pre_trade(order(instrument=pair)) for pair in (MSFT, AAPL)]
    gate.engine.push_quote(MSFT, mark=2)
    gate.engine.push_quote(pit.Instrument("GOOG", "USD"), mark=2)
    kept.append(gate.engine.execute_pre_trade(order()))
    assert all(kept)
    gate.house.sequencer.publish()
    judged = [row.entry for row in rows if isinstance(getattr(row.entry.body, "command", None), e.CheckOrder)]
    assert [[quote.symbol for quote in entry.quotes] for entry in judged] == [
        ["MSFT/USD"],
        ["AAPL/USD"],
        ["AAPL/USD", "MSFT/USD"],
    ]


def test_who_only_asks_is_told_by_the_newest_marks_and_leaves_nothing_behind() -> None:
    gate = Local(LIMIT)
    gate.engine.push_quote(AAPL, mark=100)
    assert not gate.engine.execute_pre_trade_dry_run(order(quantity=21))
    assert gate.core.valuation.marks.find("AAPL/USD") is not None
    assert gate.core.valuation.marks.save() == ()
    told = gate.engine.explain(order(quantity=21))
    assert told.largest == 20


def test_people_see_gross_and_net_of_each_book() -> None:
    core = marked(Core(LIMIT + 'firm = { control = "exposure_limit", over = "firm", settlement = "USD", max_net = 1 }'))
    core.set_limit("firm", {"max_net": "9000"})
    holds(core, -10, account="beta")
    asks(core, "buy", 15)
    policy = core.engine.policies["exposure_limit"]
    look = Look(core.now_ns, "", 10, lambda _: None, core.engine.positions, valuation=core.engine.valuation)
    shown = [(each.scope, each.what, each.bound, each.used) for each in policy.counters("exposed", look)]
    assert shown == [
        ("account alpha", "USD gross", 3000, 1500),
        ("account alpha", "USD net", 2000, 1500),
        ("account beta", "USD gross", 3000, 1000),
        ("account beta", "USD net", 2000, 1000),
    ]
    assert [(each.scope, each.used) for each in policy.counters("firm", look)] == [("firm", 1000)]


@pytest.mark.parametrize(
    ("limit", "why"),
    [
        ('each = "account", settlement = "USD"', "max_gross or max_net"),
        ('each = "account", max_gross = 1', 'currency = "firm"'),
        ('each = "instrument", settlement = "USD", max_gross = 1', '"account" or "client"'),
        ('each = "account", settlement = "USD", max_gross = 1, instruments = ["AAPL/USD"]', "looked at whole"),
        ('over = "firm", settlement = "USD", max_gross = 1, accounts = ["a"]', "over says whose"),
        ('each = "account", settlement = "USD", max_gross = 1, except = { settlement = "EUR" }', "looked at whole"),
    ],
)
def test_a_limit_that_cannot_be_meant_is_refused_with_the_mend(limit: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        config.parse(f'[limits]\nx = {{ control = "exposure_limit", {limit} }}', "test.toml")
