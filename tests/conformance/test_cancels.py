"""What a stop, or a person, wants cancelled: told to whom it is for, once, until the venue has said the end."""

from __future__ import annotations

import select
import threading

import pytest
from builders import money
from conformance.gates import Gate, ZmqGate, report_on
from daemon import PATIENCE_S

import pit


@pytest.fixture
def ops(gate: Gate) -> pit.Engine:
    return gate.connect("ops")


@pytest.fixture
def working(engine: pit.Engine, gate: Gate) -> pit.Order:
    """An order that works at the venue."""
    held = engine.execute_pre_trade(gate.order(), sent=True)
    assert isinstance(held, pit.Reservation)
    held.commit(venue_order_id=gate.name("v1"))
    return held.order


def ids(found: list[pit.CancelRequest]) -> list[str]:
    return [each.order.id for each in found]


def is_readable(engine: pit.Engine, wait_s: float = 0) -> bool:
    return bool(select.select([engine.fileno()], [], [], wait_s)[0])


def test_a_trip_tells_the_owner_which_orders_to_cancel_and_once(
    engine: pit.Engine, gate: Gate, working: pit.Order
) -> None:
    assert engine.poll() == []
    engine.apply_execution_report(money("none", pnl="-1000", account=working.account))
    [request] = engine.poll(wait_s=5)
    assert request.order == working
    assert (request.scope, request.limit) == (f"account {working.account}", "day_loss")
    assert (request.is_own, request.state, request.venue_order_id) == (True, "working", gate.name("v1"))
    assert engine.poll() == []


@pytest.mark.parametrize("stop", ["block", "halt", "cancel_all"])
def test_a_person_s_stop_tells_it_too(engine: pit.Engine, ops: pit.Engine, working: pit.Order, stop: str) -> None:
    scope = f"account {working.account}"
    getattr(ops, stop)(scope, "a drill")
    assert ids(engine.poll(wait_s=5)) == [working.id]
    assert ops.poll() == []
    if stop == "block":
        ops.unblock(scope, "over")
    if stop == "halt":
        ops.resume(scope, "over")


def test_a_stop_may_keep_the_orders(engine: pit.Engine, ops: pit.Engine, working: pit.Order) -> None:
    scope = f"account {working.account}"
    ops.block(scope, "a look", cancel=False)
    ops.halt(scope, "a look", cancel=False)
    assert engine.poll() == []
    ops.unblock(scope, "over")
    ops.resume(scope, "over")


def test_a_cancel_all_says_how_many_and_stops_nothing(
    engine: pit.Engine, gate: Gate, ops: pit.Engine, working: pit.Order
) -> None:
    assert ops.cancel_all(f"account {working.account}", "a drill") == 1
    assert engine.execute_pre_trade(gate.order())
    with pytest.raises(pit.InvalidInput, match="a scope is"):
        ops.cancel_all("desk 7", "a drill")
    with pytest.raises(pit.NotAuthorized if gate.checks_roles else pit.InvalidInput):
        engine.cancel_all("firm" if gate.checks_roles else "", "mine")


def test_the_descriptor_says_when(engine: pit.Engine, ops: pit.Engine, working: pit.Order) -> None:
    engine.fileno()
    engine.poll()
    while is_readable(engine):
        assert engine.poll() == []
    ops.cancel_all(f"account {working.account}", "a drill")
    engine.ping()  # any call may fetch it
    assert is_readable(engine, 5)
    found: list[pit.CancelRequest] = []
    while not found and is_readable(engine, 5):
        found = engine.poll()
    assert ids(found) == [working.id]


def test_what_the_venue_refuses_to_cancel_comes_back(engine: pit.Engine, ops: pit.Engine, working: pit.Order) -> None:
    ops.cancel_all(f"account {working.account}", "a drill")
    assert ids(engine.poll(wait_s=5)) == [working.id]
    engine.apply_execution_report(report_on(working, "cancel_rejected"))
    assert ids(engine.poll(wait_s=5)) == [working.id]
    assert engine.poll() == []


def test_what_is_still_asked_for_is_told_to_the_next_process(
    engine: pit.Engine, gate: Gate, ops: pit.Engine, working: pit.Order
) -> None:
    ops.cancel_all(f"account {working.account}", "a drill")
    assert ids(engine.poll(wait_s=5)) == [working.id]
    again = gate.connect("mm1")
    assert ids(again.poll(wait_s=5)) == [working.id]
    again.apply_execution_report(report_on(working, "cancelled"))
    assert gate.connect("mm1").poll() == []


def test_what_is_late_is_told_to_who_may_cancel_for_others(
    engine: pit.Engine, gate: Gate, ops: pit.Engine, working: pit.Order
) -> None:
    ops.cancel_all(f"account {working.account}", "a drill")
    gate.pass_time(0.6)
    [late] = [each for each in gate.connect("canceller").poll(wait_s=5) if each.order.id == working.id]
    assert (late.is_own, late.client, late.order) == (False, engine.name, working)
    assert working.id not in ids(gate.connect("fix").poll())


def test_who_waits_in_one_thread_keeps_no_other_from_trading(
    engine: pit.Engine, gate: Gate, ops: pit.Engine, working: pit.Order
) -> None:
    heard: list[pit.CancelRequest] = []
    waiting = threading.Thread(target=lambda: heard.extend(engine.poll(wait_s=PATIENCE_S)))
    if type(gate) is not ZmqGate:
        pytest.skip("one event loop drives it, or it never waits")
    waiting.start()
    for _ in range(3):
        assert engine.execute_pre_trade(gate.order())
    ops.cancel_all(f"account {working.account}", "a drill")
    waiting.join(PATIENCE_S)
    assert ids(heard) == [working.id]
