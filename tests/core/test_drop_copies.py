"""Drop copies: what is at the venue is counted whatever limits say, breaches are flagged, and nothing counts twice."""

from __future__ import annotations

from typing import Any

import pytest
from builders import AAPL, Core, fill, order, report
from core.test_asking import ALL_CONTROLS, orders
from hypothesis import given
from hypothesis import strategies as st

import pit
from pit.types import RejectCode
from pitd.core import entry as e

OPEN = """[limits]
open_usd = { control = "open_order_notional", each = "account", settlement = "USD", max_notional = "1000" }
fast = { control = "rate_limit", each = "account", max_orders = 2, window = "1s" }
"""


def drop_copy(
    core: Core, wanted: pit.Order, *, client: str = "mm1", venue_id: str | None = None, by: str = "dc"
) -> Any:
    return core.command(e.DropCopy(wanted, venue_id, client), by)


def ghost(core: Core, order_id: str, quantity: str, **fields: Any) -> Any:
    return core.report(fill(order_id, quantity, instrument=AAPL, side="buy", **fields))


def test_an_order_that_never_passed_the_gate_is_counted_and_flagged():
    core = Core(OPEN)
    copied = drop_copy(core, order(id="g", quantity="8"), venue_id="v1")
    assert (copied.result.state, copied.result.flags, copied.breaches) == ("working", ("drop_copy",), ())
    assert core.held() == 800
    assert core.check(order(quantity="3")).rejected.code is RejectCode.RISK_LIMIT_EXCEEDED
    assert core.engine.orders.by_client["mm1"] == {copied.result.reservation_id: None}


def test_one_that_limits_would_refuse_is_counted_all_the_same_and_says_by_what():
    core = Core(OPEN)
    copied = drop_copy(core, order(id="g", quantity="11"))
    assert copied.result.flags == ("drop_copy", "over_limit")
    assert [no.limit for no in copied.breaches] == ["open_usd"]
    assert core.held() == 1100
    assert core.flags(copied.result.reservation_id) == ("drop_copy", "over_limit")


def test_a_block_does_not_keep_it_out():
    core = Core(OPEN)
    core.block("firm")
    copied = drop_copy(core, order(id="g", quantity="1"))
    assert copied.result.state == "working" and [no.limit for no in copied.breaches] == ["operator"]


def test_it_counts_as_an_attempt():
    core = Core(OPEN)
    drop_copy(core, order(quantity="1"))
    drop_copy(core, order(quantity="1"))
    assert core.check(order(quantity="1")).rejected.limit == "fast"


def test_the_same_again_changes_nothing():
    core = Core(OPEN)
    wanted = order(id="g", quantity="4")
    drop_copy(core, wanted, venue_id="v1")
    again = drop_copy(core, wanted, venue_id="v1")
    assert again.result.was_known and core.rows[-1].effects == () and core.held() == 400


def test_its_reports_apply_to_it_as_to_any_order():
    core = Core(OPEN)
    id = drop_copy(core, order(id="g", quantity="4"), venue_id="v1").result.reservation_id
    core.report(fill("g", "1", report_id="r1"))
    core.report(fill("g", "1", report_id="r1"))
    assert core.held() == 300 and core.engine.positions.of("alpha", "AAPL/USD").quantity == 1
    core.report(report("cancelled", venue_order_id="v1"))
    assert core.held() == 0 and core.state(id) == "closed"


def test_one_that_overtakes_the_strategys_commit_is_its_commit():
    core = Core(OPEN)
    wanted = order(id="a", quantity="4")
    accepted = core.check(wanted, sent=True)
    copied = drop_copy(core, wanted, venue_id="v1")
    assert copied.result.was_known and copied.result.state == "working" and copied.result.flags == ()
    assert core.commit(accepted.reservation_id, "v1").state == "working"
    assert core.held() == 400


def test_one_that_comes_after_a_rollback_brings_the_order_back_and_flags_it():
    core = Core(OPEN)
    wanted = order(id="a", quantity="4")
    core.rollback(core.check(wanted).reservation_id)
    copied = drop_copy(core, wanted)
    assert copied.result.state == "working" and copied.result.flags == ("after_rollback",)
    assert core.held() == 400


def test_one_that_comes_after_the_end_changes_nothing():
    core = Core(OPEN)
    wanted = order(id="a", quantity="4")
    core.check(wanted, sent=True)
    core.report(fill("a", "4"))
    copied = drop_copy(core, wanted)
    assert copied.result.was_known and copied.result.state == "closed" and core.held() == 0


def test_other_terms_than_are_known_are_flagged_and_nothing_else():
    core = Core(OPEN)
    core.check(order(id="a", quantity="4"), sent=True)
    copied = drop_copy(core, order(id="a", quantity="5"))
    assert copied.result.flags == ("terms_differ",) and core.held() == 400


@pytest.mark.parametrize("filled", ["3", "4", "5"])
def test_fills_that_come_first_are_counted_once(filled):
    core = Core(OPEN)
    ghost(core, "g", filled, report_id="r1")
    copied = drop_copy(core, order(id="g", quantity="4"))
    left = max(0, 4 - int(filled))
    assert (copied.result.open_quantity, copied.result.state) == (left, "working" if left else "closed")
    assert core.held() == 100 * left
    assert core.report(fill("g", filled, report_id="r1", instrument=AAPL, side="buy")).result.already_applied
    assert core.engine.positions.of("alpha", "AAPL/USD").quantity == int(filled)
    core.again("rows")
    core.again("snapshot")


def test_one_of_which_several_fills_came_first_is_as_open_as_any():
    core = Core(OPEN)
    ghost(core, "g", "1")
    ghost(core, "g", "2")
    id = drop_copy(core, order(id="g", quantity="8")).result.reservation_id
    core.close_order("g")
    assert core.commit(id, late=True).state == "working"
    assert core.held() == 500


def test_a_fill_that_came_first_is_undone_by_what_it_was_of_an_amount():
    core = Core(OPEN)
    core.report(fill("g", "3", price="100", instrument=AAPL, side="buy", report_id="f1"))
    id = drop_copy(core, order(id="g", volume="800", price="100")).result.reservation_id
    assert core.held() == 500
    core.report(report("bust", order_id="g", fill_id="f1"))
    assert core.held() == core.engine.orders.find(id).open_quantity == 800


def test_its_owner_settles_it_and_asks_for_it_again_as_its_own():
    core = Core(OPEN)
    wanted = order(id="g", quantity="4")
    id = drop_copy(core, wanted, client="mm1").result.reservation_id
    again = core.check(wanted, client="mm1")
    assert again.replayed and again.reservation_id == id
    assert core.check(wanted, client="mm2").rejected.code is RejectCode.DUPLICATE_CLIENT_ORDER_ID


@pytest.mark.parametrize("wanted", [order(instrument="NOPE"), order(quantity="0"), order(quantity="-1")])
def test_what_cannot_be_counted_is_said(wanted):
    assert drop_copy(Core(OPEN), wanted).failure == "InvalidInput"


@given(st.lists(orders, min_size=1, max_size=6, unique_by=lambda each: (each.account, each.id)))
def test_it_is_never_refused_and_replays_alike(wanted):
    core = Core(ALL_CONTROLS)
    for each in wanted:
        copied = drop_copy(core, each)
        assert isinstance(copied, e.DropCopied) or each.instrument == "NOPE"
    core.again("rows")
    core.again("snapshot")
    for each in wanted:
        core.report(report("cancelled", order_id=each.id, account=each.account))
    assert not core.engine.orders.open
