"""Market orders are valued by the newest quote that is fresh; what nobody knows is never guessed."""

from __future__ import annotations

from decimal import Decimal

import pytest
from builders import AAPL, Local, order

import pit
from pit import RejectCode
from pitd.core import entry as e

LIMITS = """
[gate]
max_quote_age = "2s"
[limits]
size = { control = "order_size_limit", each = "account", settlement = "USD", max_notional = "1000" }
open = { control = "open_order_notional", each = "account", settlement = "USD", max_notional = "1500" }
"""


def market(**fields: object) -> pit.Order:
    return order(**({"price": None, "quantity": 10} | fields))


def test_without_a_quote_a_market_order_is_refused_and_none_is_guessed() -> None:
    no = Local(LIMITS).engine.execute_pre_trade(market())
    assert not no and no.codes[0] is RejectCode.MARK_PRICE_UNAVAILABLE
    assert "no fresh quote" in no.reason


@pytest.mark.parametrize(
    ("quote", "side", "passes"),
    [
        ({"mark": 100}, "buy", True),
        ({"mark": "100.01"}, "buy", False),
        ({"mark": 1, "ask": "100.01"}, "buy", False),
        ({"mark": 100, "bid": "100.01"}, "buy", True),
        ({"mark": 100, "bid": "100.01"}, "sell", False),
        ({"bid": 100}, "sell", True),
    ],
)
def test_a_buy_is_valued_at_the_ask_a_sell_at_the_bid_else_at_the_mark(
    quote: dict[str, object], side: str, passes: bool
) -> None:
    gate = Local(LIMITS)
    assert gate.engine.push_quote(AAPL, **quote)  # type: ignore[arg-type]
    assert bool(gate.engine.execute_pre_trade(market(side=side))) is passes


def test_the_other_side_of_a_quote_is_no_price() -> None:
    gate = Local(LIMITS)
    gate.engine.push_quote(AAPL, bid=1)
    no = gate.engine.execute_pre_trade(market(side="buy"))
    assert not no and no.code is RejectCode.MARK_PRICE_UNAVAILABLE


@pytest.mark.parametrize(("age_s", "later_s", "passes"), [(0, 2, True), (0, 2.001, False), (1.5, 0.501, False)])
def test_a_quote_that_is_too_old_is_none(age_s: float, later_s: float, passes: bool) -> None:
    gate = Local(LIMITS)
    gate.engine.push_quote(AAPL, mark=1, age_s=age_s)
    gate.clock.advance(later_s)
    assert bool(gate.engine.execute_pre_trade(market())) is passes


def test_the_newer_quote_holds_in_whatever_order_they_come() -> None:
    gate = Local(LIMITS)
    assert gate.engine.push_quote(AAPL, mark=1)
    assert not gate.engine.push_quote(AAPL, mark=500, age_s=1)
    assert gate.engine.execute_pre_trade(market())


def test_what_a_market_order_holds_shrinks_at_the_price_it_was_taken_at() -> None:
    gate = Local(LIMITS)
    gate.engine.push_quote(AAPL, mark=100)
    held = gate.engine.execute_pre_trade(market(), sent=True)
    assert isinstance(held, pit.Reservation)
    gate.engine.push_quote(AAPL, mark=140)
    gate.engine.apply_execution_report(
        pit.ExecutionReport(account="alpha", kind="fill", report_id="r1", order_id=held.order.id, quantity=4, price=130)
    )
    no = gate.engine.execute_pre_trade(market(quantity=7))
    assert not no and (no.used, no.requested) == (Decimal(600), Decimal(980))
    assert gate.engine.execute_pre_trade(market(quantity=6))


def test_the_deferred_request_is_valued_when_it_is_executed() -> None:
    gate = Local(LIMITS.replace("1500", "500"))
    gate.engine.push_quote(AAPL, mark=40)
    request = gate.engine.start_pre_trade(market())
    assert isinstance(request, pit.DeferredRequest)
    gate.engine.push_quote(AAPL, mark=60)
    no = request.execute()
    assert not no and no.requested == 600


def test_the_entry_carries_the_quote_that_was_used_and_no_other_entry_any() -> None:
    gate = Local(LIMITS)
    rows = []
    gate.house.sequencer.watchers.append(lambda released: rows.extend(released))
    gate.engine.push_quote(AAPL, mark=40)
    gate.engine.execute_pre_trade(market())
    gate.engine.execute_pre_trade(order(price=1))
    gate.house.sequencer.publish()
    judged = [row.entry for row in rows if isinstance(getattr(row.entry.body, "command", None), e.CheckOrder)]
    assert [[quote.mark for quote in entry.quotes] for entry in judged] == [[40], []]


@pytest.mark.parametrize(
    ("instrument", "prices", "why"),
    [
        ("NOPE", {"mark": 1}, "not declared"),
        (AAPL, {}, "give mark, bid or ask"),
        (AAPL, {"mark": 0}, "above zero"),
        (AAPL, {"mark": -1}, "above zero"),
        (AAPL, {"bid": 2, "ask": 1}, "above ask"),
        (AAPL, {"mark": "nan"}, "finite"),
        (AAPL, {"mark": 1, "age_s": -1}, "age"),
        ("", {"mark": 1}, "not declared"),
    ],
)
def test_what_no_price_can_be_is_refused(instrument: object, prices: dict[str, object], why: str) -> None:
    with pytest.raises(pit.InvalidInput, match=why):
        Local(LIMITS).engine.push_quote(instrument, **prices)  # type: ignore[arg-type]
