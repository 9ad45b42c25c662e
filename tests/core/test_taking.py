"""A gateway takes an order that a strategy holds: whose it is from then on, and for whom it is counted."""

from __future__ import annotations

from decimal import Decimal

import msgspec
from builders import Core, order, report, saved

from pitd.core import entry as e
from pitd.core.reading import Reader, encode
from pitd.core.snapshot import decode, load, take
from pitd.core.snapshot import encode as as_bytes

BY_CLIENT = """
[limits.open_usd]
control = "open_order_notional"
each = "client"
settlement = "USD"
max_notional = "1000000"
"""


def a_held_order(core: Core, *, lease_s: float = 5, sent: bool = False) -> int:
    return core.check(order(id="o1"), lease_s=lease_s, sent=sent).reservation_id


def owner(core: Core, id: int) -> tuple[str, str]:
    record = core.engine.orders.find(id)
    assert record is not None
    return record.client, record.taken_from


def test_what_is_taken_is_sent_and_the_gateways():
    core = Core()
    id = a_held_order(core)
    taken = core.take("o1")
    assert (taken.reservation_id, taken.order.id, taken.state, taken.replayed) == (id, "o1", "sent", False)
    assert owner(core, id) == ("fix", "mm1")
    assert id in core.session("fix").unsettled
    assert id not in core.session("mm1").unsettled
    assert list(core.engine.orders.by_client) == ["fix"]


def test_it_has_a_lease_of_its_own():
    core = Core()
    id = a_held_order(core, lease_s=1)
    assert core.take("o1", lease_s=30).lease_end_ns == core.now_ns + 30_000_000_000
    core.advance(2)
    assert core.end_leases() == 0
    core.advance(29)
    assert core.end_leases() == 1
    assert core.state(id) == "quarantined"


def test_what_the_strategy_has_marked_as_sent_can_be_taken():
    core = Core()
    id = a_held_order(core, sent=True)
    assert core.take("o1").reservation_id == id
    assert owner(core, id) == ("fix", "mm1")


def test_the_strategy_is_told_which_gateway_has_it():
    core = Core()
    id = a_held_order(core)
    core.take("o1")
    before = core.state(id)
    for touch in (core.mark_sent, core.commit, core.rollback, core.quarantine, core.renew):
        answer = touch(id)
        assert answer.failure == "NotAuthorized"
        assert "taken by the gateway fix" in answer.message
    assert core.drop(id) == e.Done(0)
    assert core.state(id) == before


def test_the_gateway_settles_it():
    core = Core()
    id = a_held_order(core)
    core.take("o1")
    assert core.commit(id, "V1", client="fix") == e.Stands("working")
    assert core.held() == 1000


def test_the_end_of_the_strategy_leaves_it_alone():
    for end in (Core.goodbye, Core.end_session, Core.open_session):
        core = Core()
        id = a_held_order(core)
        core.take("o1")
        end(core, "mm1")
        core.end_leases()
        assert core.state(id) == "sent"


def test_the_end_of_the_gateway_quarantines_it():
    core = Core()
    id = a_held_order(core)
    core.take("o1")
    core.end_session("fix")
    core.end_leases()
    assert core.state(id) == "quarantined"


def test_taking_it_again_is_the_same_answer():
    core = Core()
    a_held_order(core)
    first = core.take("o1")
    core.advance(1)
    again = core.take("o1")
    assert again.replayed
    assert again.lease_end_ns == first.lease_end_ns
    assert core.rows[-1].effects == ()


def test_another_gateway_cannot_take_it_too():
    core = Core()
    id = a_held_order(core)
    core.take("o1")
    answer = core.take("o1", client="fix2")
    assert answer.failure == "NotAuthorized"
    assert "gateway fix" in answer.message
    assert owner(core, id) == ("fix", "mm1")


def test_what_is_blocked_by_now_is_not_taken_and_stays_the_strategys():
    for sent in (False, True):
        core = Core()
        id = a_held_order(core, sent=sent)
        core.block("account alpha")
        before = core.state(id)
        assert isinstance(core.take("o1"), e.Refused)
        assert core.state(id) == before
        assert owner(core, id) == ("mm1", "")


def test_what_nobody_knows_cannot_be_taken():
    core = Core()
    assert core.take("o1").failure == "UnknownId"
    core.report(report("fill", order_id="stranger", quantity="1", price="1", instrument=order().instrument))
    assert core.take("stranger").failure == "UnknownId"


def test_a_lease_that_has_run_out_is_found_ended_though_no_entry_has_said_so():
    core = Core()
    id = a_held_order(core, lease_s=1)
    core.advance(1)
    assert core.take("o1").failure == "LeaseExpired"
    assert core.state(id) == "rolled_back"


def test_taking_moves_no_count_from_the_client_who_asked():
    core = Core(BY_CLIENT)
    id = a_held_order(core)
    core.take("o1")
    assert core.held("client mm1") == 1000
    core.configure(BY_CLIENT.replace("1000000", "2000000"))
    assert core.held("client mm1") == 1000
    core.report(report("cancelled", order_id="o1"), client="fix")
    assert core.held("client mm1") == Decimal(0)
    assert not core.engine.orders.open, id


def test_a_gateway_that_has_too_much_to_settle_takes_no_more():
    core = Core(unsettled_per_session=1)
    for id in ("o1", "o2"):
        core.check(order(id=id), client=f"for {id}")
    core.take("o1")
    why = core.engine.over_bound(core.session("fix"), e.TakeOrder("alpha", "o2", None))
    assert why is not None
    assert "settle first" in why
    assert core.engine.over_bound(core.session("fix"), e.TakeOrder("alpha", "o1", None)) is None


def test_a_gateway_with_too_many_open_orders_takes_no_more():
    core = Core(open_per_client=1)
    for id in ("o1", "o2"):
        core.check(order(id=id), client=f"for {id}")
    core.commit(core.take("o1").reservation_id, client="fix")
    why = core.engine.over_bound(core.session("fix"), e.TakeOrder("alpha", "o2", None))
    assert why is not None
    assert "open orders" in why


def test_rows_and_a_snapshot_know_whose_it_is():
    core = Core()
    a_held_order(core)
    core.take("o1")
    other = Core()
    for row in core.rows:
        other.engine.carry_out(Reader(other.engine.policies).deed(encode(row)))
    assert saved(other.engine) == saved(core.engine)
    third = Core()
    load(third.engine, decode(as_bytes(take(core.engine))))
    assert msgspec.to_builtins(take(third.engine)) == msgspec.to_builtins(take(core.engine))
