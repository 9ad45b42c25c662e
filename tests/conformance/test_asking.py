"""What would be said to an order: dry runs of either stage, and what each limit has to do with it."""

from __future__ import annotations

import pytest
from conformance.gates import PACED, Gate, open_ids

import pit


def test_a_dry_run_says_yes_and_takes_nothing(engine: pit.Engine, gate: Gate) -> None:
    order = gate.order()
    assert engine.start_pre_trade_dry_run(order)
    would = engine.execute_pre_trade_dry_run(order)
    assert isinstance(would, pit.DryRun) and would.ok and not would.replayed
    assert order.id not in open_ids(engine)
    held = engine.execute_pre_trade(order)
    assert isinstance(held, pit.Reservation) and not held.replayed


def test_a_dry_run_says_no_as_the_real_thing_does(engine: pit.Engine, gate: Gate) -> None:
    order = gate.order(quantity=2000)
    would = engine.execute_pre_trade_dry_run(order)
    assert isinstance(would, pit.Rejected) and not would
    assert engine.execute_pre_trade(order) == would


def test_a_dry_run_counts_for_no_rate(engine: pit.Engine, gate: Gate) -> None:
    for _ in range(5):
        assert engine.execute_pre_trade_dry_run(gate.order(instrument=PACED))
    assert engine.execute_pre_trade(gate.order(instrument=PACED))
    assert engine.execute_pre_trade(gate.order(instrument=PACED))
    assert not engine.execute_pre_trade_dry_run(gate.order(instrument=PACED))


def test_an_order_that_is_open_would_be_answered_as_before(engine: pit.Engine, gate: Gate) -> None:
    order = gate.order()
    held = engine.execute_pre_trade(order)
    assert isinstance(held, pit.Reservation)
    would = engine.execute_pre_trade_dry_run(order)
    assert isinstance(would, pit.DryRun) and would.replayed
    held.rollback()
    again = engine.execute_pre_trade_dry_run(order)
    assert isinstance(again, pit.Rejected) and again.code is pit.RejectCode.DUPLICATE_CLIENT_ORDER_ID


def test_an_explanation_says_what_is_used_by_whom_and_the_largest_size(engine: pit.Engine, gate: Gate) -> None:
    held = engine.execute_pre_trade(gate.order(quantity=600, id="big"))
    assert isinstance(held, pit.Reservation)
    told = engine.explain(gate.order(quantity=500))
    assert not told.passes and told.largest == 400 and told.unit == "AAPL/USD"
    (notional,) = (each for each in told.limits if each.limit == "open_usd")
    assert not notional.passes and notional.requested == 50_000
    assert [(use.used, use.remaining, use.bound) for use in notional.uses] == [(60_000, 40_000, 100_000)]
    (user,) = notional.users
    assert (user.account, user.orders, user.order_ids) == (gate.name("alpha"), 1, ("big",))
    (size,) = (each for each in told.limits if each.limit == "size")
    assert size.passes and size.largest == 1000


def test_who_only_reports_may_not_ask(gate: Gate) -> None:
    if not gate.checks_roles:
        pytest.skip("who runs the engine in its own process may do everything with it")
    clerk = gate.connect("clerk")
    with pytest.raises(pit.NotAuthorized, match="trade"):
        clerk.explain(gate.order())


def test_a_client_asks_for_itself_and_an_operator_for_anybody(engine: pit.Engine, gate: Gate) -> None:
    assert gate.connect("ops").explain(gate.order(), client=gate.name("mm2")).passes
    assert gate.connect("ops").execute_pre_trade_dry_run(gate.order(), client=gate.name("mm2"))
    if gate.checks_roles:
        with pytest.raises(pit.NotAuthorized, match="operate"):
            engine.explain(gate.order(), client="somebody")
