"""Reports: applied once, by either name, and the engine's own count of what is left rules."""

from __future__ import annotations

import decimal
from decimal import Decimal

import pytest
from builders import AAPL, INSTRUMENTS, OPEN_USD, Core, fill, money, order, report, saved

import pit
from pitd.core import entry as e
from pitd.core import snapshot
from pitd.core.engine import exact_context

PNL = """
[limits]
open_usd = { control = "open_order_notional", each = "account", settlement = "USD", max_notional = "1000000" }
day_loss = { control = "pnl_kill_switch", each = "account", settlement = "USD", max_loss = "1000" }
"""


def working(**fields: object) -> Core:
    """A core in which order o1, 10 at 100, works at the venue as v1."""
    core = Core(PNL)
    held = core.check(order(**({"id": "o1"} | fields)))
    core.commit(held.reservation_id, "v1")
    return core


def pnl(core: Core) -> Decimal:
    return core.engine.policies["pnl_kill_switch"].pnl("alpha", "USD")


def what_counts(core: Core) -> dict[str, object]:
    parts = saved(core.engine)
    return {name: parts[name] for name in ("policies", "blocks", "open", "closed")}


def filled(core: Core, order_id: str = "o1") -> Decimal:
    return core.engine.orders.known_as("alpha", order_id).filled_quantity


# ---------------------------------------------------------------------------------------------- identity


def test_the_same_report_again_is_answered_as_already_applied():
    core = working()
    traded = fill("o1", "4", pnl="-5", report_id="f1")
    first = core.report(traded).result
    after = what_counts(core)
    again = core.report(traded).result
    assert (first.already_applied, again.already_applied) == (False, True)
    assert (again.state, again.open_quantity) == (first.state, first.open_quantity)
    assert what_counts(core) == after


def test_the_same_report_with_its_numbers_written_otherwise_is_the_same():
    core = working()
    core.report(fill("o1", "4", "100", report_id="f1"))
    assert core.report(fill("o1", "4.00", "100.0", report_id="f1")).result.already_applied


def test_the_same_report_by_the_venues_id_is_the_same():
    core = working()
    core.report(fill("o1", "4", report_id="f1"))
    again = report("fill", venue_order_id="v1", quantity="4", price="100", report_id="f1")
    assert core.report(again).result.already_applied


@pytest.mark.parametrize(
    "other",
    [{"quantity": "5"}, {"price": "101"}, {"pnl": "1"}, {"fee": "1"}, {"kind": "cancelled", "quantity": None}],
)
def test_the_same_identity_with_other_content_is_refused_and_changes_nothing(other):
    core = working()
    said = {"kind": "fill", "order_id": "o1", "quantity": "4", "price": "100", "report_id": "f1"}
    core.report(report(**said))
    after = what_counts(core)
    no = core.report(report(**(said | other)))
    assert (no.failure, "other content" in no.message) == ("InvalidInput", True)
    assert what_counts(core) == after


def test_the_report_id_is_of_one_order_only():
    core = working()
    core.check(order(id="o2"))
    core.report(fill("o1", "4", report_id="f1"))
    assert not core.report(fill("o2", "4", report_id="f1")).result.already_applied
    assert filled(core, "o2") == 4


def test_the_identity_is_remembered_after_the_close():
    core = working()
    last = fill("o1", "10", pnl="-7", report_id="f1")
    core.report(last)
    assert core.report(last).result.already_applied
    assert pnl(core) == -7


def test_reports_of_one_order_are_bounded():
    core = Core(reports_per_order=3)
    core.check(order(id="o1"))
    for _ in range(3):
        core.report(fill("o1", "1"))
    assert core.report(fill("o1", "1")).failure == "CapacityExceeded"
    assert filled(core) == 3


# ---------------------------------------------------------------------------------------------- counting what is left


def test_a_fill_leaves_the_rest_open():
    result = working().report(fill("o1", "4")).result
    assert (result.order_id, result.state, result.open_quantity) == ("o1", "working", 6)


def test_the_last_fill_closes():
    core = working()
    core.report(fill("o1", "4"))
    result = core.report(fill("o1", "6")).result
    assert (result.state, result.open_quantity, result.flags) == ("closed", 0, ())


def test_reports_in_any_order_come_to_the_same():
    for reports in ([fill("o1", "4"), fill("o1", "6")], [fill("o1", "6"), report("accepted", order_id="o1")]):
        one, other = working(), working()
        for each in reports:
            one.report(each)
        for each in reversed(reports):
            other.report(each)
        assert filled(one) == filled(other)
        assert one.held() == other.held()


def test_an_overfill_is_taken_as_truth_flagged_and_counts_never_below_zero():
    core = working()
    result = core.report(fill("o1", "10.5")).result
    assert (result.state, result.open_quantity, result.flags) == ("closed", 0, ("overfill",))
    assert (filled(core), core.held()) == (Decimal("10.5"), 0)


def test_an_overfill_in_two_steps_is_found_by_the_engines_own_count():
    core = working()
    core.report(fill("o1", "9"))
    assert core.report(fill("o1", "2")).result.flags == ("overfill",)


def test_a_fill_after_the_close_is_booked_and_flagged_and_reopens_nothing():
    core = working()
    core.report(report("cancelled", order_id="o1"))
    result = core.report(fill("o1", "3", pnl="-5")).result
    assert (result.state, result.flags) == ("closed", ("after_close",))
    assert (filled(core), pnl(core), core.held()) == (3, -5, 0)


def test_money_of_a_cancel_counts():
    core = working()
    core.report(report("cancelled", order_id="o1", fee="1.5"))
    assert pnl(core) == Decimal("-1.5")


def test_a_cancel_that_comes_again_under_another_id_changes_nothing_but_its_money():
    core = working()
    core.report(report("cancelled", order_id="o1"))
    core.report(report("expired", order_id="o1", fee="1"))
    assert core.engine.orders.known_as("alpha", "o1").ended_by == "cancelled"
    assert pnl(core) == -1


def test_lots_of_partial_fills_leave_no_dust():
    core = Core()
    core.check(order(id="o1", quantity="1", price="33.333333333"))
    core.check(order(id="o2", quantity="3", price="0.1"))
    for n in range(1000):
        result = core.report(fill("o1", "0.001", "33.333333333")).result
        assert result.open_quantity == Decimal(999 - n) / 1000
    assert result.state == "closed"
    assert core.held() == Decimal("0.3")


def test_lots_of_partial_fills_of_an_inverse_order_leave_no_dust():
    settings = INSTRUMENTS + OPEN_USD.replace("USD", "BTC").replace("open_BTC", "open_usd")
    core = Core(settings)
    core.check(order(id="o1", instrument="XBT", quantity="700", price="30007"))
    for _ in range(700):
        core.report(fill("o1", "1", "30007"))
    assert core.held() == 0
    assert core.engine.policies["open_order_notional"].save() == []


def test_a_volume_order_is_filled_by_what_its_fills_were_worth():
    core = Core()
    core.check(order(id="o1", volume="1000", price=None))
    assert core.report(fill("o1", "3", "100")).result.open_quantity == 700
    assert core.report(fill("o1", "7", "100")).result.state == "closed"


# ---------------------------------------------------------------------------------------------- orders nobody asked for


def test_a_fill_of_an_unknown_order_is_taken_as_truth_and_flagged():
    core = Core(PNL)
    result = core.report(fill("ghost", "3", pnl="-40", instrument=AAPL)).result
    assert (result.order_id, result.state, result.flags) == ("ghost", "closed", ("unknown_order", "unknown_side"))
    assert (filled(core, "ghost"), pnl(core)) == (3, -40)


def test_it_is_booked_once():
    core = Core(PNL)
    ghost = fill("ghost", "3", pnl="-40", instrument=AAPL)
    core.report(ghost)
    assert core.report(ghost).result.already_applied
    assert pnl(core) == -40


def test_its_next_fill_is_booked_as_well():
    core = Core(PNL)
    core.report(fill("ghost", "3", pnl="-40", instrument=AAPL))
    core.report(fill("ghost", "2", pnl="-2", instrument=AAPL))
    assert (filled(core, "ghost"), pnl(core)) == (5, -42)


def test_it_can_trip_the_switch():
    core = Core(PNL)
    result = core.report(fill("ghost", "3", pnl="-1000", instrument=AAPL)).result
    assert [block.limit for block in result.blocks] == ["day_loss"]


def test_without_its_instrument_it_cannot_be_booked():
    core = Core(PNL)
    no = core.report(fill("ghost", "3"))
    assert (no.failure, "report.instrument" in no.message) == ("InvalidInput", True)
    assert ("alpha", "ghost") not in core.engine.orders.by_key


def test_in_an_undeclared_symbol_it_cannot_be_booked():
    assert Core(PNL).report(fill("ghost", "3", instrument="ESZ9")).failure == "InvalidInput"


@pytest.mark.parametrize("kind", ["accepted", "cancelled", "expired", "rejected"])
def test_anything_else_of_an_unknown_order_changes_nothing(kind):
    core = Core(PNL)
    before = what_counts(core)
    result = core.report(report(kind, order_id="ghost")).result
    assert (result.state, result.flags) == (None, ("unknown_order",))
    assert what_counts(core) == before


def test_an_unknown_orders_id_is_used_up():
    core = Core(PNL)
    core.report(fill("ghost", "3", instrument=AAPL))
    assert core.check(order(id="ghost")).rejected.code == "DuplicateClientOrderId"


def test_a_fill_of_another_accounts_order_is_a_strangers():
    core = working()
    core.report(fill("o1", "4", account="beta", instrument=AAPL))
    assert (filled(core), core.held()) == (0, 1000)


# ---------------------------------------------------------------------------------------------- the venue's id


def test_the_venues_id_is_learned_from_the_commit():
    core = working()
    core.report(report("fill", venue_order_id="v1", quantity="4", price="100"))
    assert core.held() == 600


def test_the_venues_id_is_learned_from_a_report():
    core = Core()
    core.check(order(id="o1"))
    core.report(report("accepted", order_id="o1", venue_order_id="v9"))
    assert core.report(report("cancelled", venue_order_id="v9")).result.order_id == "o1"
    assert core.held() == 0


def test_a_report_that_names_both_ids_as_they_are_is_applied():
    core = working()
    assert core.report(report("cancelled", order_id="o1", venue_order_id="v1")).result.state == "closed"


def test_a_report_whose_two_ids_contradict_is_refused():
    core = working()
    no = core.report(report("cancelled", order_id="o1", venue_order_id="v2"))
    assert (no.failure, "v1" in no.message) == ("InvalidInput", True)
    assert core.held() == 1000


def test_an_own_id_that_nobody_knows_is_not_overruled_by_the_venues():
    core = working()
    after = what_counts(core)
    no = core.report(fill("o7", "4", venue_order_id="v1", instrument=AAPL))
    assert (no.failure, "o7" in no.message, "o1" in no.message) == ("InvalidInput", True, True)
    assert what_counts(core) == after


def test_an_unknown_order_that_was_first_named_by_the_venues_id_is_the_same_under_both():
    core = working()
    core.report(report("fill", venue_order_id="v7", quantity="1", price="1", instrument=AAPL, report_id="f1"))
    result = core.report(fill("o7", "1", "1", venue_order_id="v7", instrument=AAPL, report_id="f1")).result
    assert (result.order_id, result.already_applied) == ("v7", True)


def test_a_second_commit_does_not_rename():
    core = working()
    core.commit(2, "v2")
    assert core.engine.orders.known_as("alpha", "o1").venue_order_id == "v1"


def test_the_venues_id_is_of_one_account_only():
    core = working()
    assert core.report(report("cancelled", venue_order_id="v1", account="beta")).result.flags == ("unknown_order",)
    assert core.held() == 1000


def test_a_venues_id_that_is_another_orders_own_id_names_nobody():
    core = working()
    no = core.report(report("fill", venue_order_id="o1", quantity="1", price="100", instrument=AAPL))
    assert no.failure == "InvalidInput"
    assert filled(core) == 0


# ---------------------------------------------------------------------------------------------- a venue id for several


SHARED = ("shared_venue_id",)


def two_as_v1(*, by: str = "commit") -> Core:
    """A core in which orders o1 and o2, 10 at 100 each, both work at the venue as v1."""
    core = working()
    held = core.check(order(id="o2"))
    if by == "commit":
        core.commit(held.reservation_id, "v1")
    else:
        core.report(report("accepted", order_id="o2", venue_order_id="v1"))
    return core


def by_v1(kind: str = "fill", report_id: str = "f1", **fields: object) -> pit.ExecutionReport:
    traded = {"quantity": "4", "price": "100"} if kind == "fill" else {}
    return report(kind, venue_order_id="v1", report_id=report_id, **(traded | fields))


@pytest.mark.parametrize("by", ["commit", "report"])
@pytest.mark.parametrize("kind", ["accepted", "fill", "cancelled", "expired", "rejected"])
def test_a_report_by_an_id_that_two_open_orders_share_is_refused_and_changes_nothing(by, kind):
    core = two_as_v1(by=by)
    after = what_counts(core)
    no = core.report(by_v1(kind, pnl="-5"))
    assert no.failure == "InvalidInput"
    assert "o1" in no.message and "o2" in no.message and "give report.order_id" in no.message
    assert what_counts(core) == after


def test_by_their_own_ids_both_go_on():
    core = two_as_v1()
    core.report(fill("o1", "4"))
    core.report(fill("o2", "7", venue_order_id="v1"))
    assert (filled(core, "o1"), filled(core, "o2"), core.held()) == (4, 7, 900)


@pytest.mark.parametrize("by", ["commit", "report"])
def test_both_open_orders_of_one_venue_id_are_flagged(by):
    core = two_as_v1(by=by)
    flags = [core.engine.orders.known_as("alpha", id).flags for id in ("o1", "o2")]
    assert flags == [SHARED, SHARED]


def test_the_report_that_brings_a_taken_venue_id_says_so_and_is_applied():
    core = working()
    core.check(order(id="o2"))
    result = core.report(fill("o2", "4", venue_order_id="v1")).result
    assert (result.order_id, result.flags, filled(core, "o2")) == ("o2", SHARED, 4)


def test_the_commit_that_brings_a_taken_venue_id_is_not_lost():
    core = two_as_v1()
    assert core.engine.orders.known_as("alpha", "o2").state == "working"
    assert core.engine.orders.known_as("alpha", "o2").venue_order_id == "v1"


def test_a_third_order_of_a_venue_id_is_flagged_as_well():
    core = two_as_v1()
    held = core.check(order(id="o3"))
    core.commit(held.reservation_id, "v1")
    assert [record.flags for record in core.engine.orders.open.values()] == [SHARED] * 3
    assert "o1, o2, o3" in core.report(by_v1()).message


@pytest.mark.parametrize(("ended", "left"), [("o1", "o2"), ("o2", "o1")])
def test_when_one_of_them_has_closed_the_venue_id_names_the_other(ended, left):
    core = two_as_v1()
    core.report(report("cancelled", order_id=ended))
    assert core.report(by_v1()).result.order_id == left
    assert (filled(core, ended), filled(core, left)) == (0, 4)


def test_a_venue_id_that_is_used_again_after_the_close_names_the_new_order_without_a_flag():
    core = working()
    core.report(report("cancelled", order_id="o1"))
    held = core.check(order(id="o2"))
    core.commit(held.reservation_id, "v1")
    result = core.report(by_v1()).result
    assert (result.order_id, result.flags, core.engine.orders.known_as("alpha", "o2").flags) == ("o2", (), ())


def test_a_late_copy_of_the_closed_orders_report_is_not_booked_on_the_new_one():
    core = working()
    last = by_v1(quantity="10", pnl="-7")
    core.report(last)
    held = core.check(order(id="o2"))
    core.commit(held.reservation_id, "v1")
    after = what_counts(core)
    no = core.report(last)
    assert (no.failure, "o1" in no.message, "o2" in no.message) == ("InvalidInput", True, True)
    assert what_counts(core) == after
    by_name = fill("o1", "10", report_id="f1", pnl="-7")
    assert core.report(by_name).result.already_applied


def test_another_report_under_the_closed_orders_report_id_is_the_new_ones():
    core = working()
    core.report(by_v1(quantity="10"))
    held = core.check(order(id="o2"))
    core.commit(held.reservation_id, "v1")
    core.report(by_v1(quantity="3"))
    assert filled(core, "o2") == 3


def test_after_both_have_closed_a_copy_of_a_report_is_known_by_the_one_that_had_it():
    core = two_as_v1()
    core.report(fill("o1", "10", report_id="f1"))
    core.report(fill("o2", "10", report_id="f2"))
    for report_id, order_id in (("f1", "o1"), ("f2", "o2")):
        result = core.report(by_v1(report_id=report_id, quantity="10")).result
        assert (result.order_id, result.already_applied) == (order_id, True)


def test_after_both_have_closed_another_fill_fits_either_and_is_refused():
    core = two_as_v1()
    core.report(report("cancelled", order_id="o1"))
    core.report(report("cancelled", order_id="o2"))
    assert core.report(by_v1()).failure == "InvalidInput"
    assert (filled(core, "o1"), filled(core, "o2")) == (0, 0)


def test_an_order_that_comes_back_shares_its_venue_id_again():
    core = working()
    core.settle("o1", working=False)
    held = core.check(order(id="o2"))
    core.commit(held.reservation_id, "v1")
    core.report(fill("o1", "1"))
    assert core.report(by_v1()).failure == "InvalidInput"


def test_orders_of_one_venue_id_in_two_accounts_share_nothing():
    core = working()
    held = core.check(order(id="o2", account="beta"))
    core.commit(held.reservation_id, "v1")
    assert core.report(by_v1(account="beta")).result.order_id == "o2"
    assert core.report(by_v1()).result.order_id == "o1"


def test_one_venue_id_for_very_many_orders_stays_cheap_to_look_at():
    core = Core(PNL.replace("1000000", "100000000"))
    for n in range(300):
        held = core.check(order(id=f"o{n}", quantity="1", price="1"))
        core.commit(held.reservation_id, "0")
    no = core.report(report("fill", venue_order_id="0", quantity="1", price="1"))
    assert no.failure == "InvalidInput" and len(no.message) < 300


def test_shared_venue_ids_come_back_with_a_snapshot_and_with_the_rows():
    core = two_as_v1()
    core.report(report("cancelled", order_id="o2"))
    for id in ("o3", "o4"):
        held = core.check(order(id=id))
        core.commit(held.reservation_id, "v1")
    core.report(report("cancelled", order_id="o3"))
    wanted = core.engine.orders.venue_ids()
    assert [id for *_, id in wanted] == [4, 7, 2, 9]
    with decimal.localcontext(exact_context()):
        image = snapshot.decode(snapshot.encode(snapshot.take(core.engine)))
        loaded, replayed = Core(PNL).engine, Core(PNL).engine
        snapshot.load(loaded, image)
        for row in core.rows:
            replayed.carry_out(e.deed_of(row))
        for engine in (loaded, replayed):
            assert engine.orders.venue_ids() == wanted
            entry = e.Entry(engine.seq + 1, core.now_ns, 0, e.Commanded(1, 99, 0, b"", e.ApplyReport(by_v1())))
            session = engine.sessions.get(1)
            session.next_number = 99
            assert engine.apply(entry).reply.failure == "InvalidInput"


# ---------------------------------------------------------------------------------------------- money and who


def test_anyone_may_report_on_any_order():
    core = working()
    core.report(fill("o1", "4"), client="dropcopy")
    assert core.held() == 600


def test_pnl_of_an_unknown_order_needs_an_instrument_for_its_asset():
    core = Core(PNL)
    assert core.report(money("ghost", pnl="-1", instrument=None)).failure == "InvalidInput"
    assert pnl(core) == 0


def test_the_asset_of_pnl_is_the_orders_own():
    core = Core(INSTRUMENTS + PNL)
    core.check(order(id="o1", instrument="ESZ6", quantity="1", price="10"))
    core.report(fill("o1", "1", "10", pnl="-25"))
    assert pnl(core) == -25


def test_a_report_on_a_held_order_takes_it_from_its_lease():
    core = Core()
    held = core.check(order(id="o1"), lease_s=5)
    core.report(report("accepted", order_id="o1"))
    core.advance(100)
    assert core.end_leases() == 0
    assert core.commit(held.reservation_id) == e.Stands(pit.OrderState.WORKING)
