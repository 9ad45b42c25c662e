"""An engine that only asks: many may look under one name, and nobody is fenced."""

from __future__ import annotations

import pytest
from conformance.gates import Gate

import pit
from pit import wire


def test_one_that_only_asks_sees_what_its_name_may_see(engine: pit.Engine, gate: Gate) -> None:
    held = engine.execute_pre_trade(gate.order())
    assert isinstance(held, pit.Reservation)
    looking = gate.connect_read_only("mm1")
    assert [each.order.id for each in looking.open_orders()] == [held.order.id]
    assert looking.outcome(held.order.account, held.order.id).state is pit.OrderState.HELD
    assert looking.ping()


def test_looking_fences_nobody_of_the_same_name(engine: pit.Engine, gate: Gate) -> None:
    held = engine.execute_pre_trade(gate.order(), sent=True)
    assert isinstance(held, pit.Reservation)
    one, other = gate.connect_read_only("mm1"), gate.connect_read_only("mm1")
    assert [len(each.open_orders()) for each in (one, other)] == [1, 1]
    one.close()
    held.commit()
    assert other.open_orders()[0].state is pit.OrderState.WORKING


def test_a_trader_that_comes_fences_none_that_only_asks(gate: Gate) -> None:
    looking = gate.connect_read_only("mm1")
    gate.connect("mm1")
    gate.connect("mm1")
    assert looking.open_orders() == []


def test_one_that_only_asks_is_no_session(gate: Gate) -> None:
    looking = gate.connect_read_only("ops")
    page = looking.ask(wire.ListSessions())
    assert isinstance(page, wire.SessionsAre)
    assert "ops" not in {each.client for each in page.sessions}


def test_looking_leaves_no_row_in_the_journal(gate: Gate) -> None:
    def rows_left() -> int:
        first = gate.connect_read_only("ops").ask(wire.ListAccounts())
        status = gate.connect_read_only("ops").ask(wire.AskStatus())
        assert isinstance(first, wire.AccountsAre) and isinstance(status, wire.StatusIs)
        return status.seq - first.seq

    assert 0 in (rows_left() for _ in range(50)), (
        "a daemon that was kept waiting may note that meanwhile; looking may not"
    )


def test_one_that_only_asks_changes_nothing(engine: pit.Engine, gate: Gate) -> None:
    for name in ("mm1", "ops"):
        looking = gate.connect_read_only(name)
        with pytest.raises(pit.NotAuthorized, match="read_only"):
            looking.execute_pre_trade(gate.order())
        with pytest.raises(pit.NotAuthorized, match="read_only"):
            looking.block(f"account {gate.name('alpha')}", "stop")
        looking.close()
    assert engine.execute_pre_trade(gate.order())
