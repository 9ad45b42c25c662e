"""The life of an order: every event in every state, what it answers, and what is counted after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from builders import Core, fill, order, report
from cases import table

from pitd.core import entry as e
from pitd.core.orders import LIFECYCLE, Event

LEASE_S = 5


def lease_end(core: Core, id: int) -> Any:
    core.advance(LEASE_S)
    core.end_leases()


def client_dead(core: Core, id: int) -> Any:
    core.end_session("mm1")
    core.end_leases()


def fenced(core: Core, id: int) -> Any:
    core.open_session("mm1")
    core.end_leases()


def day_end(core: Core, id: int) -> Any:
    core.begin_day("2026-11-23")
    core.begin_day("2026-11-24")
    return core.enter(e.DayOrdersDue(1_000))


def said_goodbye(core: Core, id: int) -> Any:
    core.goodbye("mm1")
    core.end_leases()


STATES: dict[str, Callable[[Core], Any]] = {
    "held": lambda core: None,
    "sent": lambda core: core.mark_sent(ID),
    "quarantined": lambda core: core.quarantine(ID),
    "quarantined by a lease": lambda core: (core.mark_sent(ID), lease_end(core, ID)),
    "working": lambda core: core.commit(ID),
    "rolled back": lambda core: core.rollback(ID),
    "rolled back by a lease": lambda core: lease_end(core, ID),
    "rolled back by a fence": lambda core: fenced(core, ID),
    "rolled back as dropped": lambda core: core.drop(ID),
    "cancelled after a rollback": lambda core: (core.rollback(ID), core.report(report("cancelled", order_id="o1"))),
    "cancelled": lambda core: (core.commit(ID), core.report(report("cancelled", order_id="o1"))),
    "filled": lambda core: core.report(fill("o1", "10")),
    "closed by a person": lambda core: core.close_order("o1"),
    "cancelled after a person closed it": lambda core: (
        core.close_order("o1"),
        core.report(report("cancelled", order_id="o1")),
    ),
    "filled after a person closed it": lambda core: (core.close_order("o1"), core.report(fill("o1", "10"))),
}
"""How a held order of id o1, quantity 10 at 100, comes to stand where the table begins."""

ID = 2
"""The reservation of the first order after the session's own entry."""

EVENTS: dict[str, Callable[[Core, int], Any]] = {
    "mark_sent": lambda core, id: core.mark_sent(id),
    "taken": lambda core, id: core.take("o1"),
    "commit": lambda core, id: core.commit(id),
    "commit late": lambda core, id: core.commit(id, late=True),
    "rollback": lambda core, id: core.rollback(id),
    "quarantine": lambda core, id: core.quarantine(id),
    "renew": lambda core, id: core.renew(id),
    "lease end": lease_end,
    "client dead": client_dead,
    "fenced": fenced,
    "goodbye": said_goodbye,
    "dropped": lambda core, id: core.drop(id),
    "accepted": lambda core, id: core.report(report("accepted", order_id="o1")),
    "fill": lambda core, id: core.report(fill("o1", "4")),
    "last fill": lambda core, id: core.report(fill("o1", "10")),
    "cancelled": lambda core, id: core.report(report("cancelled", order_id="o1")),
    "expired": lambda core, id: core.report(report("expired", order_id="o1")),
    "venue reject": lambda core, id: core.report(report("rejected", order_id="o1")),
    "settle: working": lambda core, id: core.settle("o1", working=True),
    "settle: not sent": lambda core, id: core.settle("o1", working=False),
    "close-order": lambda core, id: core.close_order("o1"),
    "day end": day_end,
}

HELD, SENT, QUARANTINED, WORKING = "held", "sent", "quarantined", "working"
ROLLED_BACK, CLOSED = "rolled_back", "closed"
SAME, OVER, LOST = "", "AlreadyFinalized", "LeaseExpired"

OPEN = ("held", "sent", "quarantined", "quarantined by a lease", "working")
ENDED = tuple(state for state in STATES if state not in OPEN)
FINAL_SEEN = ("cancelled after a rollback", "cancelled", "filled")
FINAL_SEEN += ("cancelled after a person closed it", "filled after a person closed it")
BY_LEASE = ("rolled back by a lease", "rolled back by a fence")


def _each(states: tuple[str, ...], to: str, said: str = "") -> dict[str, tuple[str, str]]:
    return dict.fromkeys(states, (to, said))


def _unchanged(*states: str, said: str = "") -> dict[str, tuple[str, str]]:
    return _each(states, SAME, said)


REFUSED_WHEN_ENDED = _unchanged(*ENDED, said=OVER) | _unchanged(*BY_LEASE, said=LOST)
REVIVED = tuple(state for state in ENDED if state.startswith("rolled back"))
LEFT_ALONE = _unchanged("quarantined", "quarantined by a lease", "working", *ENDED)
CLOSES = _each(OPEN, CLOSED) | _unchanged(*ENDED)
TAKEN_AS_TRUTH = _each(OPEN, WORKING) | _each(REVIVED, WORKING, "after_rollback")
TAKEN_AS_TRUTH |= _unchanged(*(state for state in ENDED if state not in REVIVED), said="after_close")

TABLE: dict[str, dict[str, tuple[str, str]]] = {
    "mark_sent": {
        **_each(("held",), SENT),
        **_unchanged("sent"),
        **_unchanged("quarantined", "quarantined by a lease", said=LOST),
        **_unchanged("working", said=OVER),
        **REFUSED_WHEN_ENDED,
    },
    "taken": {
        **_each(("held", "sent"), SENT),
        **_unchanged("quarantined", "quarantined by a lease", said=LOST),
        **_unchanged("working", said=OVER),
        **REFUSED_WHEN_ENDED,
    },
    "commit": _each(OPEN, WORKING) | REFUSED_WHEN_ENDED,
    "commit late": {
        **_each(OPEN, WORKING),
        **_each((*REVIVED, "closed by a person"), WORKING, "late_commit"),
        **_unchanged(*FINAL_SEEN),
    },
    "rollback": {
        **_each(OPEN, ROLLED_BACK),
        **_unchanged("working", said=OVER),
        **_unchanged(*ENDED),
    },
    "quarantine": {
        **_each(OPEN, QUARANTINED),
        **_unchanged("working", said=OVER),
        **REFUSED_WHEN_ENDED,
    },
    "renew": {
        **_unchanged("held", "sent"),
        **_unchanged("quarantined", "quarantined by a lease", said=LOST),
        **_unchanged("working", said=OVER),
        **REFUSED_WHEN_ENDED,
    },
    **{
        event: {**_each(("held",), ROLLED_BACK), **_each(("sent",), QUARANTINED), **LEFT_ALONE}
        for event in ("lease end", "client dead", "fenced", "goodbye", "dropped")
    },
    "accepted": TAKEN_AS_TRUTH,
    "fill": TAKEN_AS_TRUTH,
    "last fill": {state: (CLOSED if to == WORKING else to, said) for state, (to, said) in TAKEN_AS_TRUTH.items()},
    **dict.fromkeys(("cancelled", "expired", "venue reject"), CLOSES),
    "settle: working": _each(OPEN, WORKING) | REFUSED_WHEN_ENDED,
    "settle: not sent": _each(OPEN, ROLLED_BACK) | REFUSED_WHEN_ENDED,
    "close-order": _each(OPEN, CLOSED) | REFUSED_WHEN_ENDED,
    "day end": {**_each(("working",), CLOSED), **_unchanged(*(state for state in STATES if state != "working"))},
}
"""For each event, by the state before: the state after ("" is no change), and the failure or the flag."""

PAIRS = [(event, state) for event in EVENTS for state in STATES]


def arrange(state: str) -> Core:
    core = Core()
    held = core.check(order(id="o1", time_in_force="day"), lease_s=LEASE_S)
    assert held.reservation_id == ID
    STATES[state](core)
    return core


@table(("event", "state"), PAIRS)
def test_the_order_comes_to_stand_where_the_table_says(event, state):
    core = arrange(state)
    before = core.state(ID)
    EVENTS[event](core, ID)
    assert core.state(ID) == (TABLE[event][state][0] or before)


@table(("event", "state"), PAIRS)
def test_what_is_open_is_counted_and_nothing_else(event, state):
    core = arrange(state)
    EVENTS[event](core, ID)
    whole = 600 if event == "fill" else 1000
    assert core.held() == (whole if core.state(ID) in (HELD, SENT, QUARANTINED, WORKING) else 0)


@table(("event", "state"), PAIRS)
def test_the_answer_is_the_tables(event, state):
    core = arrange(state)
    said = TABLE[event][state][1]
    match EVENTS[event](core, ID):
        case e.Failed(failure=failure):
            assert failure == said
        case e.Applied(result=result):
            assert result.flags == ((said,) if said else ())
            assert result.state == core.state(ID)
        case e.Stands(state=told):
            assert told == core.state(ID)
            assert (said in core.flags(ID)) if said else True
        case _:
            assert said == ""


@table(("event", "state"), PAIRS)
def test_what_stays_open_can_be_ended_and_leaves_nothing_behind(event, state):
    core = arrange(state)
    EVENTS[event](core, ID)
    core.report(report("cancelled", order_id="o1"))
    assert core.state(ID) in (ROLLED_BACK, CLOSED)
    assert core.held() == 0
    assert not core.engine.orders.open


def test_the_table_of_the_code_has_every_event_in_every_state():
    assert set(LIFECYCLE) == set(Event) - {Event.REPLACED, Event.REPLACE_REJECTED, Event.ORDER_ENDED}
    assert all(len(row) == 6 for row in LIFECYCLE.values())


def test_the_table_of_this_test_has_every_pair():
    assert {(event, state) for event, row in TABLE.items() for state in row} == set(PAIRS)


@pytest.mark.parametrize(
    ("event", "ended_by"),
    [
        ("rollback", "owner"),
        ("lease end", "lease"),
        ("client dead", "client_gone"),
        ("fenced", "fenced"),
        ("goodbye", "dropped"),
        ("dropped", "dropped"),
        ("cancelled", "cancelled"),
        ("expired", "expired"),
        ("venue reject", "rejected"),
        ("last fill", "filled"),
        ("settle: not sent", "operator"),
        ("close-order", "operator"),
    ],
)
def test_an_order_remembers_what_ended_it(event, ended_by):
    core = arrange("held")
    EVENTS[event](core, ID)
    assert core.ended_by(ID) == ended_by


def test_a_rollback_keeps_its_reason():
    core = arrange("held")
    core.rollback(ID, "the venue said no")
    assert core.engine.orders.find(ID).reason == "the venue said no"


def test_a_persons_word_keeps_who_and_why():
    core = arrange("quarantined")
    core.settle("o1", working=False, reason="called the venue")
    assert core.engine.orders.find(ID).reason == "ops: called the venue"


@pytest.mark.parametrize(
    "say", [lambda core: core.settle("o1", working=True, reason=" "), lambda core: core.close_order("o1", reason="")]
)
def test_a_persons_word_without_a_reason_is_refused(say):
    core = arrange("quarantined")
    assert say(core).failure == "InvalidInput"
    assert core.state(ID) == QUARANTINED


def test_a_persons_word_on_an_order_that_nobody_knows():
    assert arrange("held").settle("nope", working=True).failure == "UnknownId"


def test_another_clients_order_cannot_be_touched():
    core = arrange("held")
    before = core.state(ID)
    for touch in (core.mark_sent, core.commit, core.rollback, core.quarantine, core.renew):
        assert touch(ID, client="mm2").failure == "NotAuthorized"
    assert core.drop(ID, client="mm2") == e.Done(0)
    assert core.state(ID) == before


def test_a_late_commit_is_anybodys_who_may_trade():
    core = arrange("rolled back by a lease")
    assert core.commit(ID, late=True, client="mm2") == e.Stands(WORKING)


def test_a_next_session_of_the_same_client_goes_on_with_its_orders():
    core = arrange("quarantined")
    core.open_session("mm1")
    assert core.commit(ID) == e.Stands(WORKING)


def test_an_id_that_nobody_knows():
    core = arrange("held")
    for touch in (core.mark_sent, core.commit, core.rollback, core.quarantine, core.renew):
        assert touch(99).failure == "UnknownId"


def test_a_request_is_executed_once():
    core = Core()
    request = core.start(order())
    core.execute(request.request_id)
    assert core.execute(request.request_id).failure == "AlreadyFinalized"
    assert core.held() == 1000


def test_a_request_of_another_client_cannot_be_executed():
    core = Core()
    request = core.start(order())
    assert core.execute(request.request_id, client="mm2").failure == "NotAuthorized"
    assert isinstance(core.execute(request.request_id), e.Accepted)


def test_a_request_that_nobody_knows():
    assert Core().execute(77).failure == "UnknownId"


def test_a_request_holds_nothing_until_it_is_executed():
    core = Core()
    core.start(order())
    assert core.held() == 0


def test_a_dropped_request_cannot_be_executed():
    core = Core()
    request = core.start(order())
    assert core.drop(requests=[request.request_id]) == e.Done(1)
    assert core.execute(request.request_id).failure == "LeaseExpired"


def test_the_same_drop_again_does_nothing():
    core = arrange("sent")
    assert (core.drop(ID), core.drop(ID)) == (e.Done(1), e.Done(0))
    assert core.state(ID) == QUARANTINED


def test_an_order_that_has_traded_cannot_be_settled_as_never_sent() -> None:
    core = Core()
    core.check(order(id="o1"), sent=True)
    core.report(fill("o1", "4"))
    refused = core.settle("o1", working=False)
    assert refused.failure == "AlreadyFinalized" and "has traded 4" in refused.message
    assert core.close_order("o1").state == CLOSED
