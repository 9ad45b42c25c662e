"""What risk's no looks like, and what bad input is told."""

from __future__ import annotations

from decimal import Decimal

import pytest
from conformance.gates import Gate, report_on

import pit


def test_a_reject_is_falsy_printable_and_has_nothing_to_commit(engine: pit.Engine, gate: Gate) -> None:
    order = gate.order(quantity="1001", price="1")
    no = engine.execute_pre_trade(order)
    assert isinstance(no, pit.Rejected)
    assert not no and not no.ok and no.order_id == order.id
    for forbidden in ("commit", "rollback", "mark_sent", "execute", "quarantine"):
        assert not hasattr(no, forbidden)
    assert str(no).startswith("refused: size (OrderQtyExceedsLimit): ")
    assert "1001" in str(no) and "1000" in str(no)


def test_a_reject_tells_which_limit_with_what_numbers(engine: pit.Engine, gate: Gate) -> None:
    held = engine.execute_pre_trade(gate.order(quantity="600", price="100"))
    assert held
    no = engine.execute_pre_trade(gate.order(quantity="500", price="100"))
    assert isinstance(no, pit.Rejected)
    assert (no.code, no.policy, no.limit) == (pit.RejectCode.RISK_LIMIT_EXCEEDED, "open_order_notional", "open_usd")
    assert no.scope == f"account {gate.name('alpha')}"
    assert (no.bound, no.used, no.requested) == (Decimal(100_000), Decimal(60_000), Decimal(50_000))


def test_a_reject_of_the_start_stage_looks_the_same_in_both_forms(engine: pit.Engine, gate: Gate) -> None:
    order = gate.order(quantity="1001", price="1")
    assert engine.start_pre_trade(order) == engine.execute_pre_trade(order)


@pytest.mark.parametrize("quantity", ["0", "-1"])
def test_a_quantity_not_above_zero_is_a_reject(engine: pit.Engine, gate: Gate, quantity: str) -> None:
    no = engine.execute_pre_trade(gate.order(quantity=quantity))
    assert isinstance(no, pit.Rejected)
    assert no.code is pit.RejectCode.INVALID_FIELD_VALUE


def test_an_undeclared_symbol_is_a_reject_that_says_how_to_declare_it(engine: pit.Engine, gate: Gate) -> None:
    no = engine.execute_pre_trade(gate.order(instrument="NQZ6"))
    assert isinstance(no, pit.Rejected)
    assert no.code is pit.RejectCode.UNKNOWN_INSTRUMENT
    assert "[instruments.NQZ6]" in no.reason


def test_an_order_that_no_limit_is_for_is_refused(engine: pit.Engine, gate: Gate) -> None:
    no = engine.execute_pre_trade(gate.order(instrument=pit.Instrument("BTC", "EUR")))
    assert isinstance(no, pit.Rejected)
    assert pit.RejectCode.RISK_CONFIGURATION_MISSING in no.codes


@pytest.mark.parametrize("lease_s", [0, -1, float("nan"), float("inf"), True, "5"])
def test_a_lease_that_cannot_be_meant_is_raised(engine: pit.Engine, gate: Gate, lease_s: float) -> None:
    with pytest.raises(pit.InvalidInput, match="lease_s"):
        engine.execute_pre_trade(gate.order(), lease_s=lease_s)
    assert engine.open_orders() == []


def test_an_unknown_order_has_no_outcome(engine: pit.Engine, gate: Gate) -> None:
    with pytest.raises(pit.UnknownId, match="never received"):
        engine.outcome(gate.name("alpha"), "nobody")


def test_a_rejected_order_has_no_outcome(engine: pit.Engine, gate: Gate) -> None:
    order = gate.order(quantity="1001", price="1")
    assert not engine.execute_pre_trade(order)
    with pytest.raises(pit.UnknownId):
        engine.outcome(order.account, order.id)


def test_numbers_are_exact_to_the_last_place(engine: pit.Engine, gate: Gate) -> None:
    """0.1 three times is 0.3: with 99,999.7 open there is room for exactly that."""
    held = [engine.execute_pre_trade(gate.order(quantity="1", price="99999.7"))]
    for _ in range(3):
        held.append(engine.execute_pre_trade(gate.order(quantity=1, price=0.1)))
    assert all(held)
    no = engine.execute_pre_trade(gate.order(quantity=1, price="0.000000001"))
    assert isinstance(no, pit.Rejected)
    assert no.used == 100_000


def test_the_daemon_tells_its_version(engine: pit.Engine) -> None:
    assert engine.ping() == "0.1.0"


def test_a_report_of_an_order_nobody_knows_says_what_is_missing(engine: pit.Engine, gate: Gate) -> None:
    with pytest.raises(pit.InvalidInput, match=r"give report\.instrument"):
        engine.apply_execution_report(report_on(gate.order(), "fill", quantity=1, price=100))


def test_a_quote_values_market_orders_and_needs_its_role(engine: pit.Engine, gate: Gate) -> None:
    quoted = pit.Instrument(gate.name("QUOTED"), "USD")
    market = {"instrument": quoted, "price": None, "quantity": "1"}
    no = engine.execute_pre_trade(gate.order(**market))
    assert not no and no.code is pit.RejectCode.MARK_PRICE_UNAVAILABLE
    quoter = gate.connect("quoter")
    assert quoter.push_quote(quoted, mark="1.5", age_s=0.001)
    assert not quoter.push_quote(quoted, mark="2", age_s=60)
    assert engine.execute_pre_trade(gate.order(**market))
    if gate.checks_roles:
        with pytest.raises(pit.NotAuthorized, match="quote"):
            engine.push_quote(quoted, mark=2)
