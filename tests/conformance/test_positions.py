"""What an account holds, what it cost and what it made: asked for through the engine."""

from __future__ import annotations

from decimal import Decimal

import pytest
from conformance.gates import Gate, report_on

import pit


def trade(engine: pit.Engine, gate: Gate, side: str, quantity: int, price: int, **words: object) -> None:
    """An order of this test, filled whole, with a fee of a half."""
    order = gate.order(side=side, quantity=quantity, price=price, **words)
    held = engine.execute_pre_trade(order)
    assert isinstance(held, pit.Reservation)
    held.commit()
    fill = report_on(order, "fill", quantity=quantity, price=price, fee="0.5", report_id=f"r-{order.id}")
    assert engine.apply_execution_report(fill)


def test_fills_come_to_a_position(engine: pit.Engine, gate: Gate) -> None:
    alpha = gate.name("alpha")
    assert engine.positions(alpha) == ()
    trade(engine, gate, "buy", 10, 100)
    trade(engine, gate, "buy", 5, 106)
    trade(engine, gate, "sell", 6, 110)
    [held] = engine.positions(alpha)
    assert (held.account, held.instrument, held.settlement) == (alpha, "AAPL/USD", "USD")
    assert (held.quantity, held.cost, held.average_price) == (9, 918, 102)
    assert (held.realised, held.fees) == (48, Decimal("1.5"))


def test_a_short_future_has_an_average_price_above_zero(engine: pit.Engine, gate: Gate) -> None:
    order = gate.order(instrument="ESZ6", side="sell", quantity=3, price="500.25")
    assert engine.execute_pre_trade(order, sent=True)
    assert engine.apply_execution_report(report_on(order, "fill", quantity=2, price="500.25", report_id="r1"))
    assert engine.apply_execution_report(report_on(order, "fill", quantity=1, price="500.5", report_id="r2"))
    [held] = engine.positions(order.account)
    assert (held.quantity, held.cost) == (-3, Decimal("-75050"))
    assert held.average_price == Decimal("500.333333333")


def test_what_is_flat_is_shown_with_what_it_made(engine: pit.Engine, gate: Gate) -> None:
    trade(engine, gate, "buy", 10, 100)
    trade(engine, gate, "sell", 10, 95)
    [held] = engine.positions(gate.name("alpha"))
    assert (held.quantity, held.cost, held.average_price, held.realised, held.fees) == (0, 0, None, -50, 1)


def test_without_an_account_all_are_told_in_order(engine: pit.Engine, gate: Gate) -> None:
    names = [gate.name(f"acc{n}") for n in range(3)]
    for name in reversed(names):
        trade(engine, gate, "buy", 1, 100, account=name)
        trade(engine, gate, "buy", 1, 100, account=name, instrument=pit.Instrument("MSFT", "USD"))
    told = [(each.account, each.instrument) for each in engine.positions() if each.account in names]
    assert told == [(name, symbol) for name in names for symbol in ("AAPL/USD", "MSFT/USD")]


def test_more_than_fit_into_one_answer_come_all_the_same(engine: pit.Engine, gate: Gate) -> None:
    clerk = gate.connect("clerk")
    alpha, symbols = gate.name("alpha"), [f"X{n:04}/USD" for n in range(610)]
    for symbol in symbols:
        report = pit.ExecutionReport(
            account=alpha,
            kind="fill",
            report_id="r",
            order_id=symbol,
            quantity=1,
            price=1,
            side="buy",
            instrument=pit.Instrument(symbol.removesuffix("/USD"), "USD"),
        )
        clerk.apply_execution_report(report)
    assert [each.instrument for each in engine.positions(alpha)] == symbols


def test_an_operator_sees_everybodys(engine: pit.Engine, gate: Gate) -> None:
    trade(engine, gate, "buy", 1, 100)
    assert gate.connect_read_only("ops").positions(gate.name("alpha"))[0].quantity == 1


@pytest.mark.parametrize("account", ["nobody", ""])
def test_an_account_that_has_nothing_has_no_positions(engine: pit.Engine, account: str) -> None:
    assert engine.positions(account) == ()
