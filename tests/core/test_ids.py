"""Order ids: unique among what is open and what closed lately, with a bounded memory."""

from __future__ import annotations

import pytest
from builders import Core, fill, order, report

from pitd.core import entry as e

SECOND = 1_000_000_000


def test_the_same_order_again_is_the_same_answer():
    core = Core()
    first = core.check(order(id="o1"))
    again = core.check(order(id="o1"))
    assert (again.reservation_id, again.lease_end_ns) == (first.reservation_id, first.lease_end_ns)
    assert (first.replayed, again.replayed) == (False, True)
    assert core.held() == 1000


def test_the_same_order_with_its_numbers_written_otherwise_is_the_same():
    core = Core()
    first = core.check(order(id="o1", quantity="10", price="100"))
    again = core.check(order(id="o1", quantity="10.0", price="100.00"))
    assert (again.reservation_id, again.replayed) == (first.reservation_id, True)


@pytest.mark.parametrize("state", ["sent", "quarantine", "commit"])
def test_the_same_order_again_says_where_it_stands(state):
    core = Core()
    first = core.check(order(id="o1"), sent=True)
    if state != "sent":
        getattr(core, state)(first.reservation_id)
    again = core.check(order(id="o1"), sent=True)
    assert (again.reservation_id, again.state) == (first.reservation_id, core.state(first.reservation_id))


def test_the_same_order_again_as_sent_marks_it_sent():
    core = Core()
    first = core.check(order(id="o1"))
    assert core.check(order(id="o1"), sent=True).state == "sent"
    assert core.state(first.reservation_id) == "sent"


def test_the_same_order_again_in_two_stages_is_the_same_answer():
    core = Core()
    first = core.check(order(id="o1"))
    request = core.start(order(id="o1"))
    assert core.execute(request.request_id).reservation_id == first.reservation_id


def test_two_requests_of_one_order_hold_once():
    core = Core()
    requests = [core.start(order(id="o1")) for _ in range(2)]
    first, again = (core.execute(request.request_id) for request in requests)
    assert (again.reservation_id, again.replayed) == (first.reservation_id, True)
    assert core.held() == 1000


@pytest.mark.parametrize(
    "other", [{"quantity": "11"}, {"price": "101"}, {"side": "sell"}, {"price": None}, {"volume": "1000"}]
)
def test_the_same_id_for_another_order_is_refused(other):
    core = Core('[gate]\nuncovered = "allow"')
    core.check(order(id="o1"))
    assert core.check(order(**({"id": "o1"} | other))).rejected.code == "DuplicateClientOrderId"


def test_the_same_id_for_another_order_is_refused_in_the_start_stage():
    core = Core()
    core.check(order(id="o1"))
    assert core.start(order(id="o1", quantity="1")).rejected.code == "DuplicateClientOrderId"


def test_a_request_whose_id_was_taken_meanwhile_is_refused():
    core = Core()
    request = core.start(order(id="o1"))
    core.check(order(id="o1", quantity="1"))
    assert core.execute(request.request_id).rejected.code == "DuplicateClientOrderId"


def test_the_same_order_of_another_client_is_refused():
    core = Core()
    core.check(order(id="o1"))
    assert core.check(order(id="o1"), client="mm2").rejected.code == "DuplicateClientOrderId"


def test_another_account_may_use_the_id():
    core = Core()
    core.check(order(id="o1"))
    assert isinstance(core.check(order(id="o1", account="beta")), e.Accepted)


def test_a_rejected_order_does_not_use_its_id_up():
    core = Core('[limits]\nsize = { control = "order_size_limit", each = "account", max_quantity = "10" }')
    core.check(order(id="o1", quantity="11"))
    assert isinstance(core.check(order(id="o1", quantity="10")), e.Accepted)


def test_an_order_refused_in_the_main_stage_does_not_use_its_id_up():
    core = Core()
    core.check(order(id="o1", quantity="100000"))
    assert isinstance(core.check(order(id="o1", quantity="10")), e.Accepted)


@pytest.mark.parametrize(
    "end",
    [
        lambda core, id: core.rollback(id),
        lambda core, id: core.report(report("cancelled", order_id="o1")),
        lambda core, id: core.report(fill("o1", "10")),
        lambda core, id: (core.advance(5), core.end_leases()),
        lambda core, id: core.advance(5),
    ],
    ids=["rolled back", "cancelled", "filled", "lease ended", "lease past its end"],
)
def test_what_has_ended_never_looks_accepted_again(end):
    core = Core()
    first = core.check(order(id="o1"))
    end(core, first.reservation_id)
    no = core.check(order(id="o1")).rejected
    assert no.code == "DuplicateClientOrderId"
    assert "has ended" in no.reason


# ---------------------------------------------------------------------------------------------- what is remembered


def closed(core: Core, order_id: str) -> None:
    core.rollback(core.check(order(id=order_id)).reservation_id)


def test_closed_orders_are_remembered_up_to_a_number():
    core = Core(closed_kept=2)
    for n in range(4):
        closed(core, f"o{n}")
    assert sorted(id for _, id in core.engine.orders.by_key) == ["o2", "o3"]


def test_closed_orders_are_remembered_for_a_time():
    core = Core(closed_kept_ns=10 * SECOND)
    closed(core, "o1")
    core.advance(9)
    assert core.check(order(id="o1")).rejected.code == "DuplicateClientOrderId"
    core.advance(1)
    core.end_leases()
    assert isinstance(core.check(order(id="o1")), e.Accepted)


def test_open_orders_are_never_forgotten():
    core = Core(closed_kept=1, closed_kept_ns=SECOND)
    held = core.check(order(id="o1"))
    core.commit(held.reservation_id, "v1")
    for n in range(10):
        core.advance(100)
        closed(core, f"x{n}")
    assert core.report(report("cancelled", venue_order_id="v1")).result.order_id == "o1"


def test_what_is_forgotten_takes_its_venue_id_along():
    core = Core(closed_kept=1)
    for n in range(3):
        held = core.check(order(id=f"o{n}"))
        core.commit(held.reservation_id, f"v{n}")
        core.report(report("cancelled", order_id=f"o{n}"))
    assert len(core.engine.orders._by_venue_id) == 1


def test_orders_that_share_a_venue_id_are_forgotten_with_it():
    core = Core(closed_kept=1)
    for n in range(30):
        held = core.check(order(id=f"o{n}"))
        core.commit(held.reservation_id, "v1")
        if n % 3:
            core.report(report("cancelled", order_id=f"o{n}"))
    for n in range(0, 30, 3):
        core.report(report("cancelled", order_id=f"o{n}"))
    closed(core, "another")
    assert not core.engine.orders._by_venue_id


def test_a_reservation_that_is_forgotten_is_unknown():
    core = Core(closed_kept=1)
    held = core.check(order(id="o1"))
    core.rollback(held.reservation_id)
    for n in range(3):
        closed(core, f"x{n}")
    assert core.commit(held.reservation_id, late=True).failure == "UnknownId"


def test_memory_does_not_grow_with_history():
    core = Core(closed_kept=10, requests_ended_kept=10, sessions_ended_kept=10)
    for n in range(300):
        core.execute(core.start(order(id=f"o{n}")).request_id)
        core.report(report("cancelled", order_id=f"o{n}", venue_order_id=f"v{n}"))
        core.open_session("mm1")
        core.end_leases()
    engine = core.engine
    kept = (engine.orders.by_key, engine.orders._by_venue_id, engine.orders.closed, engine.requests_ended)
    assert [len(each) for each in (*kept, engine.sessions._ended)] == [10] * 5
    assert not (engine.orders.open or engine.requests or engine.orders.by_client or engine.sessions.ending)


def test_ended_leases_do_not_pile_up():
    core = Core()
    for n in range(1500):
        core.rollback(core.check(order(id=f"o{n}")).reservation_id)
        if n % 100 == 0:
            core.end_leases()
    core.end_leases()
    assert len(core.engine.leases) <= 1_000
