"""Halts of the firm, a group, an account and an instrument, by an operator, with author and reason."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from conformance.gates import Gate, report_on, state_of

import pit
from pit import OrderState, RejectCode, TradingState


@contextlib.contextmanager
def halted(ops: pit.Engine, scope: str) -> Iterator[None]:
    """Tests share a daemon: what is halted is let go again."""
    ops.halt(scope, "fire drill")
    try:
        yield
    finally:
        ops.resume(scope, "drill over")


@pytest.fixture
def ops(gate: Gate) -> pit.Engine:
    return gate.connect("ops")


def code_of(answer: object) -> RejectCode | None:
    return answer.code if isinstance(answer, pit.Rejected) else None


def test_a_halted_account_is_rejected_and_others_are_not(engine: pit.Engine, gate: Gate, ops: pit.Engine) -> None:
    with halted(ops, f"account {gate.name('alpha')}"):
        assert code_of(engine.execute_pre_trade(gate.order())) is RejectCode.ACCOUNT_BLOCKED
        assert code_of(engine.start_pre_trade(gate.order())) is RejectCode.ACCOUNT_BLOCKED
        assert engine.execute_pre_trade(gate.order(account=gate.name("beta")))
    assert engine.execute_pre_trade(gate.order())


def test_a_reducing_account_takes_only_what_reduces(engine: pit.Engine, gate: Gate, ops: pit.Engine) -> None:
    scope = f"account {gate.name('alpha')}"
    bought = engine.execute_pre_trade(gate.order(), sent=True)
    assert isinstance(bought, pit.Reservation)
    engine.apply_execution_report(report_on(bought.order, "fill", quantity=bought.order.quantity, price="100"))
    ops.reduce(scope, "earnings")
    try:
        (seen,) = [each for each in ops.restrictions() if each.scope == scope]
        assert (seen.state, seen.author) == (TradingState.REDUCING, "ops")
        no = engine.execute_pre_trade(gate.order())
        assert code_of(no) is RejectCode.ACCOUNT_BLOCKED and "earnings" in str(no)
        sold = engine.execute_pre_trade(gate.order(side="sell"))
        assert isinstance(sold, pit.Reservation) and sold.mark_sent()
        assert code_of(engine.execute_pre_trade(gate.order(side="sell"))) is RejectCode.ACCOUNT_BLOCKED
    finally:
        ops.resume(scope, "over")


def test_a_halted_firm_rejects_everybody(engine: pit.Engine, gate: Gate, ops: pit.Engine) -> None:
    with halted(ops, "firm"):
        for account in ("alpha", "beta"):
            no = engine.execute_pre_trade(gate.order(account=gate.name(account)))
            assert isinstance(no, pit.Rejected)
            assert (no.code, no.scope) == (RejectCode.ACCOUNT_BLOCKED, "firm")
            assert "fire drill" in no.reason and "ops" in no.reason


def test_a_halted_instrument_rejects_every_account(engine: pit.Engine, gate: Gate, ops: pit.Engine) -> None:
    pair = pit.Instrument(gate.name("XYZ"), "USD")
    with halted(ops, f"instrument {pair}"):
        for account in ("alpha", "beta"):
            no = engine.execute_pre_trade(gate.order(instrument=pair, account=gate.name(account)))
            assert code_of(no) is RejectCode.INSTRUMENT_RESTRICTED
        assert engine.execute_pre_trade(gate.order())
    assert engine.execute_pre_trade(gate.order(instrument=pair))


def test_a_halt_is_looked_at_again_before_sending(engine: pit.Engine, gate: Gate, ops: pit.Engine) -> None:
    request, held = engine.start_pre_trade(gate.order()), engine.execute_pre_trade(gate.order())
    assert isinstance(request, pit.DeferredRequest) and isinstance(held, pit.Reservation)
    with halted(ops, f"account {gate.name('alpha')}"):
        for answer in (request.execute(), held.mark_sent(), held.renew()):
            assert code_of(answer) is RejectCode.ACCOUNT_BLOCKED
    assert state_of(engine, held.order) is OrderState.HELD


def test_a_halt_keeps_nobody_from_saying_what_happened(engine: pit.Engine, gate: Gate, ops: pit.Engine) -> None:
    kept = [engine.execute_pre_trade(gate.order(), sent=True) for _ in range(3)]
    one, two, three = (each for each in kept if isinstance(each, pit.Reservation))
    with halted(ops, f"account {gate.name('alpha')}"):
        one.commit()
        two.rollback()
        three.quarantine()
        assert engine.apply_execution_report(report_on(one.order, "accepted")).state is OrderState.WORKING


def test_everybody_sees_what_is_halted_by_whom_and_why(engine: pit.Engine, gate: Gate, ops: pit.Engine) -> None:
    scope = f"account {gate.name('alpha')}"
    with halted(ops, scope):
        (seen,) = [each for each in engine.restrictions() if each.scope == scope]
        assert (seen.state, seen.author, seen.reason) == (TradingState.HALTED, "ops", "fire drill")
    assert scope not in {each.scope for each in engine.restrictions()}


def test_more_halts_than_a_page_holds_are_all_seen(engine: pit.Engine, gate: Gate, ops: pit.Engine) -> None:
    scopes = [f"account {gate.name(f'a{n}')}" for n in range(305)]
    for scope in scopes:
        ops.halt(scope, "fire drill")
    try:
        assert {each.scope for each in engine.restrictions()} >= set(scopes)
    finally:
        for scope in scopes:
            ops.resume(scope, "drill over")


def test_resuming_what_is_not_halted_is_refused(gate: Gate, ops: pit.Engine) -> None:
    with pytest.raises(pit.UnknownId, match="not halted"):
        ops.resume(f"account {gate.name('alpha')}", "go on")


@pytest.mark.parametrize("scope", ["", "acount alpha", "instrument AAPL", "group nobody"])
def test_a_halt_that_can_stop_nothing_is_refused(ops: pit.Engine, scope: str) -> None:
    with pytest.raises(pit.InvalidInput):
        ops.halt(scope, "stop")


def test_a_halt_needs_a_reason(gate: Gate, ops: pit.Engine) -> None:
    with pytest.raises(pit.InvalidInput, match="reason"):
        ops.halt(f"account {gate.name('alpha')}", "  ")


@pytest.mark.parametrize("act", [pit.Engine.halt, pit.Engine.reduce, pit.Engine.resume])
def test_only_an_operator_halts(gate: Gate, engine: pit.Engine, act: object) -> None:
    if not gate.checks_roles:
        pytest.skip("who runs the engine in its own process may do everything with it")
    before = engine.restrictions()
    with pytest.raises(pit.NotAuthorized, match='"operate"'):
        act(engine, "firm", "x")  # type: ignore[operator]
    assert engine.restrictions() == before
