"""Several orders in one entry: in order, each counted for those after it; or all of them, or none."""

from __future__ import annotations

import decimal
from typing import Any

import pytest
from builders import Core, fill, order, saved
from core.test_asking import ALL_CONTROLS, orders
from hypothesis import given
from hypothesis import strategies as st

import pit
from pitd.core import entry as e
from pitd.core import many
from pitd.core.engine import exact_context

OPEN = """[limits]
open_usd = { control = "open_order_notional", each = "account", settlement = "USD", max_notional = "1000" }
fast = { control = "rate_limit", each = "account", max_orders = 4, window = "1s" }
"""


def check_many(core: Core, *wanted: pit.Order, all_or_none: bool = False, sent: bool = False) -> Any:
    return core.command(e.CheckMany(wanted, sent, None, all_or_none))


def taken(reply: e.ManyChecked) -> list[bool]:
    return [isinstance(answer, e.Accepted) for answer in reply.answers]


def test_each_order_counts_for_those_after_it():
    core = Core(OPEN)
    reply = check_many(core, order(quantity="6"), order(quantity="6"), order(quantity="4"))
    assert taken(reply) == [True, False, True]
    assert core.held() == 1000
    assert len(core.rows) == 2, "one row, after that of the session"


def test_reservations_of_one_row_have_numbers_of_their_own():
    core = Core(OPEN)
    first, second = check_many(core, order(id="a", quantity="1"), order(id="b", quantity="2")).answers
    assert first.reservation_id != second.reservation_id
    assert e.row_of(first.reservation_id) == e.row_of(second.reservation_id) == core.engine.seq
    core.commit(second.reservation_id)
    core.rollback(first.reservation_id)
    core.report(fill("b", "2"))
    assert core.state(first.reservation_id) == "rolled_back" and core.state(second.reservation_id) == "closed"
    assert core.held() == 0


def test_all_or_none_takes_none_where_one_is_refused_and_says_why_for_each():
    core = Core(OPEN)
    reply = check_many(core, order(id="a", quantity="6"), order(id="b", quantity="5"), all_or_none=True)
    assert taken(reply) == [False, False]
    first, second = (answer.rejected for answer in reply.answers)
    assert (first.limit, first.code) == (many.ALL_OR_NONE, pit.RejectCode.OTHER) and "order b" in first.reason
    assert second.code is pit.RejectCode.RISK_LIMIT_EXCEEDED and second.used == 600
    assert core.held() == 0
    assert taken(check_many(core, order(id="a", quantity="6"), order(id="b", quantity="4"), all_or_none=True)) == [
        True,
        True,
    ], "the ids are not used up"


def test_attempts_count_whether_or_not_all_are_taken():
    core = Core(OPEN)
    check_many(core, order(quantity="6"), order(quantity="5"), all_or_none=True)
    assert taken(check_many(core, *(order(quantity="1") for _ in range(3)))) == [True, True, False]


def test_the_same_orders_again_are_answered_as_before():
    core = Core(OPEN)
    legs = (order(id="a", quantity="6"), order(id="b", quantity="4"))
    before = check_many(core, *legs, all_or_none=True)
    again = check_many(core, *legs, all_or_none=True)
    assert [answer.reservation_id for answer in again.answers] == [answer.reservation_id for answer in before.answers]
    assert all(answer.replayed for answer in again.answers) and core.held() == 1000


def test_leases_end_one_by_one():
    core = Core(OPEN)
    first, second = check_many(core, order(quantity="1"), order(quantity="2"), sent=False).answers
    core.commit(first.reservation_id)
    core.advance(10)
    assert core.end_leases() == 1
    assert core.state(second.reservation_id) == "rolled_back" and core.held() == 100


@pytest.mark.parametrize("all_or_none", [True, False])
def test_what_no_such_command_can_be_is_refused_whole(all_or_none):
    core = Core(OPEN)
    for wanted in ((), (order(id="a"), order(id="a")), tuple(order() for _ in range(many.MOST + 1))):
        reply = check_many(core, *wanted, all_or_none=all_or_none)
        assert isinstance(reply, e.Failed) and reply.failure == "InvalidInput"
    assert core.held() == 0


def test_a_block_refuses_all():
    core = Core(OPEN)
    core.block("account beta")
    reply = check_many(core, order(quantity="1"), order(quantity="1", account="beta"), all_or_none=True)
    assert taken(reply) == [False, False] and reply.answers[1].rejected.limit == "operator"


def test_its_session_is_bounded_by_how_many_there_are():
    core = Core(OPEN, unsettled_per_session=2)
    command = e.CheckMany(tuple(order() for _ in range(3)), False, None)
    assert core.engine.over_bound(core.session(), command) is not None
    assert core.engine.over_bound(core.session(), e.CheckMany(command.orders[:2], False, None)) is None


@given(st.lists(orders, min_size=1, max_size=6, unique_by=lambda each: (each.account, each.id)), st.booleans())
def test_it_says_what_orders_one_by_one_are_told_and_leaves_what_they_leave(wanted, sent):
    apart, together, atomic = Core(ALL_CONTROLS), Core(ALL_CONTROLS), Core(ALL_CONTROLS)
    one_by_one = [apart.check(each, sent=sent) for each in wanted]
    reply = check_many(together, *wanted, sent=sent)
    assert taken(reply) == [isinstance(answer, e.Accepted) for answer in one_by_one]
    assert [answer for answer in reply.answers if isinstance(answer, e.Refused)] == [
        answer for answer in one_by_one if isinstance(answer, e.Refused)
    ]
    assert _policies(apart) == _policies(together)
    all_or_none = check_many(atomic, *wanted, sent=sent, all_or_none=True)
    if all(taken(reply)):
        assert _policies(atomic) == _policies(together) and all(taken(all_or_none))
    else:
        assert not any(taken(all_or_none)) and not atomic.engine.orders.open
        with decimal.localcontext(exact_context()):
            assert _policies(atomic, "open_order_notional", "open_order_limit", "self_trade", "turnover_limit") == (
                _policies(Core(ALL_CONTROLS), "open_order_notional", "open_order_limit", "self_trade", "turnover_limit")
            )
    for core in (together, atomic):
        core.again("rows")
        core.again("snapshot")


def _policies(core: Core, *ids: str) -> Any:
    return {id: each for id, each in saved(core.engine)["policies"].items() if not ids or id in ids}
