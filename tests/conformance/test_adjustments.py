"""Balances, and a person's word on what accounts have, hold and have made: through the engine."""

from __future__ import annotations

from decimal import Decimal

import pytest
from conformance.gates import AAPL, Gate, report_on

import pit


def cash(gate: Gate, amount: str, **words: str) -> pit.BalanceAdjustment:
    return pit.BalanceAdjustment(**({"account": gate.name("alpha"), "asset": "USD", "set_to": amount} | words))


def test_what_is_told_is_there_and_is_moved_by_fills(engine: pit.Engine, gate: Gate) -> None:
    ops, alpha = gate.connect("ops"), gate.name("alpha")
    assert engine.balances(alpha) == ()
    done = ops.apply_account_adjustment(
        cash(gate, "5000"),
        pit.PositionAdjustment(account=alpha, instrument=AAPL, set_to="2", price="99.5"),
        pit.PnlAdjustment(account=alpha, settlement="USD", move_by="-12.5"),
        id=gate.name("day"),
        reason="start of day",
    )
    assert done == pit.AdjustmentResult(changed=3)
    [held] = engine.positions(alpha)
    assert (held.quantity, held.cost) == (2, 199)
    order = gate.order(quantity=3, price="100.25")
    assert engine.execute_pre_trade(order, sent=True)
    engine.apply_execution_report(report_on(order, "fill", quantity=3, price="100.25", fee="0.5"))
    shares, usd = engine.balances(alpha)
    assert (shares.asset, shares.total, usd.asset, usd.total) == ("AAPL", 3, "USD", Decimal("4698.75"))
    assert usd.available == usd.total and usd.held == 0


def test_the_same_adjustment_again_changes_nothing(engine: pit.Engine, gate: Gate) -> None:
    ops, id = gate.connect("ops"), gate.name("day")
    move = pit.BalanceAdjustment(account=gate.name("alpha"), asset="USD", move_by=5)
    assert not ops.apply_account_adjustment(move, id=id, reason="a test").already_applied
    assert ops.apply_account_adjustment(move, id=id, reason="a test").already_applied
    assert engine.balances(gate.name("alpha"))[0].total == 5
    with pytest.raises(pit.InvalidInput, match="other content"):
        ops.apply_account_adjustment(cash(gate, "1"), id=id, reason="a test")


def test_a_trader_may_not_say_what_its_account_has(engine: pit.Engine, gate: Gate) -> None:
    if not gate.checks_roles:
        pytest.skip("who runs the engine in its own process may")
    with pytest.raises(pit.NotAuthorized, match='needs "adjust"'):
        engine.apply_account_adjustment(cash(gate, "1"), id="x", reason="a test")
    assert engine.balances(gate.name("alpha")) == ()


def test_more_balances_than_fit_into_one_answer_come_all_the_same(engine: pit.Engine, gate: Gate) -> None:
    assets = [f"A{n:04}" for n in range(650)]
    gate.connect("ops").apply_account_adjustment(
        *(cash(gate, "1", asset=asset) for asset in assets), id=gate.name("many"), reason="a test"
    )
    assert [each.asset for each in engine.balances(gate.name("alpha"))] == assets


def test_what_can_not_be_meant_is_said_before_it_is_sent(engine: pit.Engine, gate: Gate) -> None:
    with pytest.raises(pit.InvalidInput, match="set_to or move_by"):
        pit.BalanceAdjustment(account="alpha", asset="USD")
    with pytest.raises(pit.InvalidInput, match="what the units cost"):
        pit.PositionAdjustment(account="alpha", instrument=AAPL, set_to=5)
    with pytest.raises(pit.InvalidInput, match="imported"):
        engine.apply_account_adjustment(id="x", reason="a test", imported="alpha")
