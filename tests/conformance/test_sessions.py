"""One client name, one live session: fences, closes, threads and forks."""

from __future__ import annotations

import os
import threading
import warnings

import pytest
from conformance.gates import Gate, open_ids, state_of, until_state

import pit
from pit import OrderState


def test_a_newer_session_of_the_name_fences_the_older_one(gate: Gate) -> None:
    older = gate.connect("mm1")
    newer = gate.connect("mm1")
    with pytest.raises(pit.Fenced, match="newer session"):
        older.execute_pre_trade(gate.order())
    assert newer.execute_pre_trade(gate.order())


def test_a_fenced_engine_stays_fenced(gate: Gate) -> None:
    older = gate.connect("mm1")
    gate.connect("mm1")
    for _ in range(3):
        with pytest.raises(pit.Fenced):
            older.execute_pre_trade(gate.order())


def test_what_the_fenced_one_held_goes_and_what_it_sent_is_quarantined(gate: Gate) -> None:
    older = gate.connect("mm1")
    orders = [gate.order() for _ in range(3)]
    kept = [older.execute_pre_trade(order, sent=at > 0) for at, order in enumerate(orders)]
    assert isinstance(kept[2], pit.Reservation)
    kept[2].commit()
    newer = gate.connect("mm1")
    for order, state in zip(orders, (OrderState.ROLLED_BACK, OrderState.QUARANTINED, OrderState.WORKING), strict=True):
        until_state(newer, order, state)
    assert newer.outcome(orders[0].account, orders[0].id).ended_by == "fenced"
    assert open_ids(newer) == [order.id for order in orders[1:]]
    assert all(kept)


def test_the_newer_session_settles_what_the_fenced_one_had_sent(gate: Gate) -> None:
    older = gate.connect("mm1")
    held = older.execute_pre_trade(gate.order(), sent=True)
    assert isinstance(held, pit.Reservation)
    newer = gate.connect("mm1")
    with pytest.raises(pit.Fenced):
        held.commit()
    newer.reservation(newer.open_orders()[0]).commit(venue_order_id="V1")
    assert state_of(newer, held.order) is OrderState.WORKING


def test_closing_a_fenced_engine_disturbs_nobody(gate: Gate) -> None:
    older = gate.connect("mm1")
    newer = gate.connect("mm1")
    older.close()
    held = newer.execute_pre_trade(gate.order())
    assert held
    assert open_ids(newer) == [held.order.id]


def test_clients_of_different_names_live_side_by_side(gate: Gate) -> None:
    engines = [gate.connect(f"mm{at}") for at in range(5)]
    kept = [engine.execute_pre_trade(gate.order()) for engine in engines]
    assert all(kept)
    assert [len(engine.open_orders()) for engine in engines] == [1] * 5


def test_a_closed_engine_says_so(gate: Gate) -> None:
    engine = gate.connect("mm1")
    held = engine.execute_pre_trade(gate.order(), sent=True)
    assert isinstance(held, pit.Reservation)
    engine.close()
    for act in (held.commit, engine.ping, engine.open_orders, lambda: engine.execute_pre_trade(gate.order())):
        with pytest.raises(pit.Closed):
            act()


def test_closing_twice_is_fine(gate: Gate) -> None:
    engine = gate.connect("mm1")
    engine.close()
    engine.close()


@pytest.mark.parametrize("name", ["", "a b", "-x", "ä", "x" * 65, "a/b"])
def test_a_name_that_cannot_be_meant_is_refused(gate: Gate, name: str) -> None:
    with pytest.raises(pit.InvalidInput, match="client name"):
        gate._connect(name)


def test_threads_share_an_engine(engine: pit.Engine, gate: Gate) -> None:
    """Everyone gets the answer to its own order, and nothing is counted twice."""
    each, threads = 40, 4
    wrong: list[object] = []

    def trade() -> None:
        try:
            for at in range(each):
                order = gate.order(quantity="1", price="1")
                held = engine.execute_pre_trade(order, sent=bool(at % 2))
                assert isinstance(held, pit.Reservation) and held.order is order
                if at % 4 < 2:
                    held.commit(venue_order_id=order.id)
                else:
                    held.rollback()
        except BaseException as trouble:
            wrong.append(trouble)

    workers = [threading.Thread(target=trade) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert wrong == []
    left = engine.open_orders()
    assert len(left) == each * threads // 2
    assert all(each.venue_order_id == each.order.id and each.state is OrderState.WORKING for each in left)


def test_a_child_of_a_fork_is_told_to_connect_anew(engine: pit.Engine, gate: Gate) -> None:
    held = engine.execute_pre_trade(gate.order())
    assert isinstance(held, pit.Reservation)

    def in_child() -> bool:
        acts = (engine.ping, held.commit, engine.open_orders, lambda: engine.execute_pre_trade(gate.order()))
        for act in acts:
            try:
                act()
            except pit.Forked as told:
                assert "connect anew" in str(told)
            else:
                return False
        engine.close()  # the parent's session is not the child's to end
        return True

    assert _forked(in_child)
    assert state_of(engine, held.order) is OrderState.HELD
    held.commit()


def _forked(act: object) -> bool:
    """Runs something in a forked child: whether it came to True."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads may be there; the child leaves at once
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if act() else 1  # type: ignore[operator]
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) == 0
