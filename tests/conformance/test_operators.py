"""Blocks, the kill switch, and a person's word on an order."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conformance.gates import Gate, report_on, state_of

import pit
from pit import OrderState


def lose(engine: pit.Engine, gate: Gate, amount: str) -> pit.ReportResult:
    """Realises a loss on an order that is filled at once."""
    order = gate.order(quantity="1", price="1")
    held = engine.execute_pre_trade(order, sent=True)
    assert isinstance(held, pit.Reservation), str(held)
    return engine.apply_execution_report(report_on(order, "fill", quantity="1", price="1", pnl=f"-{amount}"))


def blocks_on(engine: pit.Engine, scope: str) -> list[pit.Block]:
    return [block for block in engine.blocks() if block.scope == scope]


def test_the_report_that_trips_the_kill_switch_names_the_block(engine: pit.Engine, gate: Gate) -> None:
    assert lose(engine, gate, "999.99").blocks == ()
    (block,) = lose(engine, gate, "0.01").blocks
    assert (block.scope, block.limit) == (f"account {gate.name('alpha')}", "day_loss")
    assert block.code is pit.RejectCode.PNL_KILL_SWITCH_TRIGGERED
    assert blocks_on(engine, block.scope) == [block]


def test_a_tripped_account_is_rejected_and_others_are_not(engine: pit.Engine, gate: Gate) -> None:
    lose(engine, gate, "1000")
    no = engine.execute_pre_trade(gate.order())
    assert isinstance(no, pit.Rejected)
    assert (no.code, no.limit) == (pit.RejectCode.PNL_KILL_SWITCH_TRIGGERED, "day_loss")
    assert not engine.start_pre_trade(gate.order())
    assert engine.execute_pre_trade(gate.order(account=gate.name("beta")))


def test_rearm_grants_new_room_from_where_the_pnl_stands(engine: pit.Engine, gate: Gate) -> None:
    lose(engine, gate, "1000")
    scope = f"account {gate.name('alpha')}"
    gate.connect("ops").rearm("day_loss", scope, "50", "talked to the desk")
    assert blocks_on(engine, scope) == []
    assert lose(engine, gate, "49").blocks == ()
    assert [block.limit for block in lose(engine, gate, "1").blocks] == ["day_loss"]


def test_rearm_of_what_has_not_tripped_is_refused(gate: Gate) -> None:
    with pytest.raises(pit.InvalidInput, match="nothing to rearm"):
        gate.connect("ops").rearm("day_loss", f"account {gate.name('alpha')}", "50", "just so")


def test_rearm_of_an_unknown_limit_is_refused(gate: Gate) -> None:
    with pytest.raises(pit.UnknownId, match="no limit is named"):
        gate.connect("ops").rearm("day_los", f"account {gate.name('alpha')}", "50", "just so")


def test_an_operators_block_stops_new_orders_with_author_and_reason(engine: pit.Engine, gate: Gate) -> None:
    scope = f"account {gate.name('alpha')}"
    gate.connect("ops").block(scope, "strategy misbehaves")
    no = engine.execute_pre_trade(gate.order())
    assert isinstance(no, pit.Rejected)
    assert (no.code, no.scope) == (pit.RejectCode.ACCOUNT_BLOCKED, scope)
    assert "strategy misbehaves" in no.reason
    (block,) = blocks_on(engine, scope)
    assert (block.author, block.reason) == ("ops", "strategy misbehaves")


def test_a_block_over_the_firm_stops_everybody_until_it_is_lifted(engine: pit.Engine, gate: Gate) -> None:
    ops = gate.connect("ops")
    ops.block("firm", "fire drill")
    try:
        assert not engine.execute_pre_trade(gate.order())
        assert not engine.execute_pre_trade(gate.order(account=gate.name("beta")))
    finally:
        ops.unblock("firm", "drill over")
    assert engine.execute_pre_trade(gate.order())


def test_a_blocked_client_sends_nothing_and_sees_why_until_it_is_unblocked(engine: pit.Engine, gate: Gate) -> None:
    mine = f"client {engine.name}"
    ops = gate.connect("ops")
    ops.block(mine, "it loops")
    try:
        no = engine.execute_pre_trade(gate.order())
        assert isinstance(no, pit.Rejected)
        assert (no.code, no.scope) == (pit.RejectCode.ACCOUNT_BLOCKED, mine)
        assert [block.reason for block in blocks_on(engine, mine)] == ["it loops"]
    finally:
        ops.unblock(mine, "it is mended")
    assert engine.execute_pre_trade(gate.order())


def test_a_block_is_looked_at_again_before_sending(engine: pit.Engine, gate: Gate) -> None:
    request, held = engine.start_pre_trade(gate.order()), engine.execute_pre_trade(gate.order())
    assert isinstance(request, pit.DeferredRequest) and isinstance(held, pit.Reservation)
    gate.connect("ops").block(f"account {gate.name('alpha')}", "stop")
    for answer in (request.execute(), held.mark_sent(), held.renew()):
        assert isinstance(answer, pit.Rejected)
        assert answer.code is pit.RejectCode.ACCOUNT_BLOCKED
    assert state_of(engine, held.order) is OrderState.HELD


def test_a_block_keeps_nobody_from_saying_what_happened(engine: pit.Engine, gate: Gate) -> None:
    kept = [engine.execute_pre_trade(gate.order(), sent=True) for _ in range(3)]
    gate.connect("ops").block(f"account {gate.name('alpha')}", "stop")
    one, two, three = (each for each in kept if isinstance(each, pit.Reservation))
    one.commit()
    two.rollback()
    three.quarantine()
    assert engine.apply_execution_report(report_on(one.order, "accepted")).state is OrderState.WORKING


def test_unblock_lifts_an_operators_block(engine: pit.Engine, gate: Gate) -> None:
    ops, scope = gate.connect("ops"), f"account {gate.name('alpha')}"
    ops.block(scope, "stop")
    ops.unblock(scope, "go on")
    assert blocks_on(engine, scope) == []
    assert engine.execute_pre_trade(gate.order())


def test_unblock_does_not_lift_a_tripped_limit_and_says_what_does(engine: pit.Engine, gate: Gate) -> None:
    lose(engine, gate, "1000")
    with pytest.raises(pit.UnknownId, match="day_loss: rearm"):
        gate.connect("ops").unblock(f"account {gate.name('alpha')}", "go on")
    assert not engine.execute_pre_trade(gate.order())


@pytest.mark.parametrize("scope", ["", "acount alpha", "account ", "everything"])
def test_a_scope_that_cannot_be_meant_is_refused(gate: Gate, scope: str) -> None:
    with pytest.raises(pit.InvalidInput, match="a scope is"):
        gate.connect("ops").block(scope, "stop")


def test_an_operators_word_needs_a_reason(gate: Gate) -> None:
    with pytest.raises(pit.InvalidInput, match="reason"):
        gate.connect("ops").block(f"account {gate.name('alpha')}", "  ")


@pytest.mark.parametrize(("working", "left"), [(True, OrderState.WORKING), (False, OrderState.ROLLED_BACK)])
def test_a_person_settles_a_quarantined_order(engine: pit.Engine, gate: Gate, working: bool, left: OrderState) -> None:
    held = engine.execute_pre_trade(gate.order(), sent=True)
    assert isinstance(held, pit.Reservation)
    held.quarantine()
    order = held.order
    assert gate.connect("ops").settle(order.account, order.id, working=working, reason="asked the venue") is left
    assert state_of(engine, order) is left


def test_a_person_closes_an_order(engine: pit.Engine, gate: Gate) -> None:
    held = engine.execute_pre_trade(gate.order(quantity="1000"), sent=True)
    assert isinstance(held, pit.Reservation)
    held.commit()
    order = held.order
    gate.connect("ops").close_order(order.account, order.id, reason="asked the venue")
    outcome = engine.outcome(order.account, order.id)
    assert (outcome.state, outcome.ended_by, outcome.reason) == (OrderState.CLOSED, "operator", "ops: asked the venue")
    assert engine.execute_pre_trade(gate.order(quantity="1000"))


def test_a_persons_word_on_an_unknown_order_is_refused(gate: Gate) -> None:
    ops = gate.connect("ops")
    with pytest.raises(pit.UnknownId):
        ops.settle(gate.name("alpha"), "nobody", working=True, reason="asked the venue")
    with pytest.raises(pit.UnknownId):
        ops.close_order(gate.name("alpha"), "nobody", reason="asked the venue")


@pytest.fixture
def scope(gate: Gate) -> str:
    return f"account {gate.name('alpha')}"


@pytest.fixture
def strict_gate(gate: Gate) -> Gate:
    """A gate that tells clients apart by their roles."""
    if not gate.checks_roles:
        pytest.skip("who runs the engine in its own process may do everything with it")
    return gate


OPERATOR_ACTS: dict[str, Callable[[pit.Engine, str], object]] = {
    "block": lambda engine, scope: engine.block(scope, "x"),
    "unblock": lambda engine, scope: engine.unblock(scope, "x"),
    "rearm": lambda engine, scope: engine.rearm("day_loss", scope, "50", "x"),
    "settle": lambda engine, scope: engine.settle("alpha", "o", working=False, reason="x"),
    "close_order": lambda engine, scope: engine.close_order("alpha", "o", reason="x"),
}


@pytest.mark.parametrize("act", OPERATOR_ACTS)
def test_only_an_operator_operates(strict_gate: Gate, scope: str, act: str) -> None:
    before = strict_gate.connect("ops").blocks()
    engine = strict_gate.connect("mm1")
    with pytest.raises(pit.NotAuthorized, match='"operate"'):
        OPERATOR_ACTS[act](engine, scope)
    assert engine.blocks() == before


def test_a_client_without_the_right_to_trade_is_refused(strict_gate: Gate) -> None:
    clerk = strict_gate.connect("clerk")
    for check in (clerk.execute_pre_trade, clerk.start_pre_trade):
        with pytest.raises(pit.NotAuthorized, match='"trade"'):
            check(strict_gate.order())
    assert clerk.open_orders() == []


def test_a_refused_command_leaves_the_session_usable(strict_gate: Gate, scope: str) -> None:
    engine = strict_gate.connect("mm1")
    for _ in range(3):
        with pytest.raises(pit.NotAuthorized):
            engine.block(scope, "x")
        held = engine.execute_pre_trade(strict_gate.order())
        assert held
