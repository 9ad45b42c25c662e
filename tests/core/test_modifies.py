"""The life of a modify: every event in every state, what is counted meanwhile, and by which ids the order is found."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from builders import AAPL, BTC, OPEN_USD, Core, fill, order, report, saved
from cases import table

import pit
from pitd.core import entry as e
from pitd.core.orders import MODIFY_LIFECYCLE, Event

ORDER, MODIFY = 2, 4
"""The reservations of order o1 (buy 10 @ 100), and of its modify to 12 @ 110 with the new id o2."""

OLD, NEW = 1000, 1320

HELD, SENT, QUARANTINED, WORKING = "held", "sent", "quarantined", "working"
ROLLED_BACK, CLOSED = "rolled_back", "closed"
SAME, OVER, LOST = "", "AlreadyFinalized", "LeaseExpired"


def lease_end(core: Core) -> Any:
    core.advance(60)
    core.end_leases()


def client_dead(core: Core) -> Any:
    core.end_session("mm1")
    core.end_leases()


def fenced(core: Core) -> Any:
    core.open_session("mm1")
    core.end_leases()


STATES: dict[str, Callable[[Core], Any]] = {
    "held": lambda core: None,
    "sent": lambda core: core.mark_sent(MODIFY),
    "quarantined": lambda core: core.quarantine(MODIFY),
    "quarantined by a lease": lambda core: (core.mark_sent(MODIFY), lease_end(core)),
    "working": lambda core: core.commit(MODIFY),
    "rolled back": lambda core: core.rollback(MODIFY),
    "rolled back by a lease": lease_end,
    "replaced": lambda core: core.report(report("replaced", order_id="o1")),
    "refused": lambda core: core.report(report("replace_rejected", order_id="o1")),
    "order cancelled": lambda core: (core.mark_sent(MODIFY), core.report(report("cancelled", order_id="o1"))),
}
"""How a held modify comes to stand where the table begins."""

EVENTS: dict[str, Callable[[Core], Any]] = {
    "mark_sent": lambda core: core.mark_sent(MODIFY),
    "commit": lambda core: core.commit(MODIFY),
    "commit late": lambda core: core.commit(MODIFY, late=True),
    "rollback": lambda core: core.rollback(MODIFY),
    "quarantine": lambda core: core.quarantine(MODIFY),
    "renew": lambda core: core.renew(MODIFY),
    "lease end": lease_end,
    "client dead": client_dead,
    "fenced": fenced,
    "dropped": lambda core: core.drop(MODIFY),
    "replaced": lambda core: core.report(report("replaced", order_id="o1")),
    "refused": lambda core: core.report(report("replace_rejected", order_id="o2")),
    "order cancelled": lambda core: core.report(report("cancelled", order_id="o2")),
    "settle: replaced": lambda core: core.settle_modify("o1", replaced=True),
    "settle: not replaced": lambda core: core.settle_modify("o1", replaced=False),
}

OPEN = ("held", "sent", "quarantined", "quarantined by a lease", "working")
ENDED = tuple(state for state in STATES if state not in OPEN)
ROLLED = ("rolled back", "rolled back by a lease")
ANSWERED = ("replaced", "refused", "order cancelled")


def _each(states: tuple[str, ...], to: str, said: str = "") -> dict[str, tuple[str, str]]:
    return dict.fromkeys(states, (to, said))


REFUSED_WHEN_ENDED = _each(ENDED, SAME, OVER) | _each(("rolled back by a lease",), SAME, LOST)
QUARANTINES = _each(("quarantined", "quarantined by a lease"), SAME, LOST)
LAPSES = _each(("held",), ROLLED_BACK) | _each(("sent",), QUARANTINED) | _each((*OPEN[2:], *ENDED), SAME)

TABLE: dict[str, dict[str, tuple[str, str]]] = {
    "mark_sent": {
        **_each(("held", "sent"), SENT),
        **QUARANTINES,
        **_each(("working",), SAME, OVER),
        **REFUSED_WHEN_ENDED,
    },
    "commit": {**_each(OPEN, WORKING), **REFUSED_WHEN_ENDED, **_each(ANSWERED, SAME)},
    "commit late": {**_each(OPEN, WORKING), **_each(ROLLED, WORKING), **_each(ANSWERED, SAME)},
    "rollback": {
        **_each(OPEN, ROLLED_BACK),
        **_each(("working",), SAME, OVER),
        **_each(ENDED, SAME),
        **_each(("replaced",), SAME, OVER),
    },
    "quarantine": {
        **_each(OPEN, QUARANTINED),
        **_each(("working",), SAME, OVER),
        **REFUSED_WHEN_ENDED,
        **_each(ANSWERED, SAME),
    },
    "renew": {**_each(("held", "sent"), SAME), **QUARANTINES, **_each(("working",), SAME, OVER), **REFUSED_WHEN_ENDED},
    **dict.fromkeys(("lease end", "client dead", "fenced", "dropped"), LAPSES),
    "replaced": {**_each((*OPEN, *ROLLED), CLOSED), **_each(ANSWERED, SAME)},
    "refused": {**_each(OPEN, CLOSED), **_each(ENDED, SAME)},
    "order cancelled": {**_each(OPEN, CLOSED), **_each(("held",), ROLLED_BACK), **_each(ENDED, SAME)},
    "settle: replaced": {**_each(OPEN, CLOSED), **REFUSED_WHEN_ENDED},
    "settle: not replaced": {**_each(OPEN, ROLLED_BACK), **REFUSED_WHEN_ENDED},
}
"""For each event, by the modify's state before: the state after ("" is no change), and the failure."""

PAIRS = [(event, state) for event in EVENTS for state in STATES]


def modify_of(core: Core) -> Any:
    record = core.engine.orders.find(ORDER)
    assert record is not None
    assert record.modify is not None
    return record.modify


def arrange(state: str = "held") -> Core:
    core = Core()
    assert core.working(order(id="o1")) == ORDER
    assert core.modify("o1", quantity=12, price=110, new_id="o2", lease_s=5).modify_id == MODIFY
    STATES[state](core)
    return core


@table(("event", "state"), PAIRS)
def test_the_modify_comes_to_stand_where_the_table_says_and_answers_so(event, state):
    core = arrange(state)
    before = modify_of(core).state
    to, said = TABLE[event][state]
    reply = EVENTS[event](core)
    assert modify_of(core).state == (to or before)
    if event in ("replaced",) and state in ("refused",):
        assert reply.failure == "InvalidInput"  # the venue said both, and no terms
    elif said:
        assert reply.failure == said
    else:
        assert not isinstance(reply, e.Failed)


@table(("event", "state"), PAIRS)
def test_the_worse_of_both_counts_until_the_venue_has_answered(event, state):
    core = arrange(state)
    EVENTS[event](core)
    record, modify = core.engine.orders.find(ORDER), modify_of(core)
    if record.state == "closed":
        counted = 0
    elif modify.state in (HELD, SENT, QUARANTINED, WORKING) or record.order.quantity == 12:
        counted = NEW
    else:
        counted = OLD
    assert core.held() == counted
    for way in ("rows", "snapshot"):
        core.again(way)


@table(("event", "state"), PAIRS)
def test_whatever_has_happened_a_last_report_leaves_nothing_behind(event, state):
    core = arrange(state)
    EVENTS[event](core)
    core.report(report("cancelled", order_id="o1"))
    assert core.held() == 0
    assert not core.engine.orders.open
    assert not core.engine.positions._on_the_way
    assert modify_of(core).state in (ROLLED_BACK, CLOSED)


def test_the_tables_have_every_pair():
    assert set(MODIFY_LIFECYCLE) == set(Event) - {
        *(Event.TAKE, Event.ALIVE_REPORT, Event.FINAL_REPORT, Event.CLOSE, Event.DAY_END)
    }
    assert all(len(row) == 6 for row in MODIFY_LIFECYCLE.values())
    assert {(event, state) for event, row in TABLE.items() for state in row} == set(PAIRS)


# ---------------------------------------------------------------------------------------------- what counts


def test_a_modify_down_frees_nothing_before_the_venue_has_answered():
    core = Core()
    core.working(order(id="o1"))
    core.modify("o1", quantity=4, sent=True)
    assert core.held() == 1000
    core.report(report("replaced", order_id="o1"))
    assert core.held() == 400


def test_fills_shrink_the_old_and_the_new_terms_alike():
    core = arrange("sent")
    core.report(fill("o1", "4"))
    assert core.held() == 880
    core.report(report("replace_rejected", order_id="o1"))
    assert core.held() == 600


def test_an_order_filled_by_its_old_terms_waits_for_what_the_venue_says_of_the_new():
    core = arrange("sent")
    core.report(fill("o1", "10"))
    assert (core.state(ORDER), core.held()) == ("working", 220)
    core.report(report("replaced", order_id="o2"))
    assert (core.state(ORDER), core.held()) == ("working", 220)
    core.report(fill("o2", "2"))
    assert (core.state(ORDER), core.held(), core.ended_by(ORDER)) == ("closed", 0, "filled")


@pytest.mark.parametrize("end", [lambda core: core.rollback(MODIFY), lambda core: STATES["refused"](core)])
def test_an_order_filled_by_its_old_terms_is_over_once_the_new_ones_are_out_of_the_way(end):
    core = arrange("sent")
    core.report(fill("o1", "10"))
    end(core)
    assert (core.state(ORDER), core.held(), core.ended_by(ORDER)) == ("closed", 0, "filled")


def test_a_modify_that_was_never_sent_does_not_keep_a_filled_order_open():
    core = arrange("held")
    core.report(fill("o1", "10"))
    assert core.state(ORDER) == "closed"
    assert core.mark_sent(MODIFY).failure == OVER


def test_a_modify_is_judged_as_if_the_order_held_nothing():
    core = Core(OPEN_USD.replace("1000000", "1500"))
    core.working(order(id="o1"))
    refused = core.modify("o1", quantity=16)
    assert (refused.rejected.code, refused.rejected.used, refused.rejected.requested) == ("RiskLimitExceeded", 0, 1600)
    assert core.held() == 1000
    assert isinstance(core.modify("o1", quantity=15), e.Modified)
    assert core.held() == 1500


def test_a_limit_that_was_tightened_refuses_no_step_down():
    core = Core(OPEN_USD.replace("1000000", "1500"))
    core.working(order(id="o1"))
    core.set_limit("open_usd", {"max_notional": "500"})
    assert isinstance(core.modify("o1", price=101), e.Refused)
    assert isinstance(core.modify("o1", price=99), e.Modified)
    assert core.held() == 1000


@pytest.mark.parametrize(("side", "prices"), [("buy", ("111", "110", "109")), ("sell", ("89", "90", "91"))])
def test_a_step_down_of_a_price_is_one_towards_the_market(side, prices):
    further, placed, nearer = prices
    core = Core('[limits]\nnear = { control = "price_collar", max_percent = 5 }')
    core.quote(mark=placed)
    core.working(order(id="o1", side=side, price=placed))
    core.quote(mark="100")
    assert core.modify("o1", price=further).rejected.code == "RiskLimitExceeded"
    assert isinstance(core.modify("o1", price=nearer), e.Modified)


def test_a_step_down_in_worth_is_none_in_units():
    core = Core('[limits]\nsize = { control = "order_size_limit", each = "account", max_quantity = 40 }')
    core.working(order(id="o1", quantity=30, price=400))
    tight = "max_quantity = 40, max_notional = 9000"
    core.configure(f'[limits]\nsize = {{ control = "order_size_limit", each = "account", {tight} }}')
    assert core.modify("o1", quantity=41, price=1).rejected.code == "OrderQtyExceedsLimit"
    assert core.modify("o1", quantity=41, price=399).rejected.code == "OrderExceedsLimit"
    assert core.modify("o1", quantity=30, price=401).rejected.code == "OrderNotionalExceedsLimit"
    assert isinstance(core.modify("o1", quantity=31, price=300), e.Modified)


def test_the_start_stage_sees_the_whole_new_order():
    core = Core('[limits]\nbig = { control = "order_size_limit", each = "account", max_quantity = 20 }')
    core.working(order(id="o1"))
    core.report(fill("o1", "5"))
    assert core.modify("o1", quantity=21).rejected.code == "OrderQtyExceedsLimit"
    assert isinstance(core.modify("o1", quantity=20), e.Modified)


def test_more_units_of_both_are_on_their_way():
    core = Core('[limits]\nnet = { control = "position_limit", each = "account+instrument", max_quantity = 15 }')
    core.working(order(id="o1"))
    modify = core.modify("o1", quantity=15, sent=True)
    assert core.check(order(quantity=1)).rejected.code == "PositionLimitExceeded"
    core.rollback(modify.modify_id)
    assert isinstance(core.check(order(quantity=5)), e.Accepted)
    assert core.modify("o1", quantity=11).rejected.code == "PositionLimitExceeded"


def test_a_count_of_orders_counts_a_modified_one_once():
    core = Core('[limits]\nfew = { control = "open_order_limit", each = "account", max_orders = 1 }')
    core.working(order(id="o1"))
    assert isinstance(core.modify("o1", quantity=12, sent=True), e.Modified)
    assert core.check(order()).rejected.used == 1


def test_turnover_counts_the_most_that_an_order_ever_was():
    core = Core(
        "[limits]\n"
        'flow = { control = "turnover_limit", each = "account", settlement = "USD", max_notional = 2000, window="9s" }'
    )

    def used() -> Decimal:
        return core.check(order(quantity=100)).rejected.used

    core.working(order(id="o1"))
    first = core.modify("o1", quantity=15, sent=True)
    assert used() == 1500
    core.report(report("replaced", order_id="o1"))
    core.modify("o1", quantity=11, sent=True)
    core.report(report("replaced", order_id="o1"))
    assert used() == 1500
    core.modify("o1", quantity=15, sent=True)
    core.report(report("replaced", order_id="o1"))
    assert used() == 1500
    assert core.modify("o1", quantity=21).rejected.requested == 600
    last = core.modify("o1", quantity=20)
    assert used() == 2000
    core.rollback(last.modify_id)
    assert used() == 1500
    assert first.modify_id


def test_an_order_may_meet_its_own_side_at_either_price_while_nobody_knows():
    core = Core('[limits]\nown = { control = "self_trade", over = "firm" }')
    core.working(order(id="o1", price=100))
    core.modify("o1", price=105, sent=True)
    assert core.check(order(side="sell", price=103)).rejected.code == "SelfMatchPrevention"
    core.report(report("replace_rejected", order_id="o1"))
    assert isinstance(core.check(order(side="sell", price=103)), e.Accepted)


# ---------------------------------------------------------------------------------------------- clear answers


@pytest.mark.parametrize(
    ("stands", "says"),
    [("held", "roll it back"), ("sent", "commit it first"), ("quarantined", "have it settled")],
)
def test_an_order_that_is_not_working_says_what_to_do_first(stands, says):
    core = Core()
    id = core.check(order(id="o1")).reservation_id
    {"held": lambda _: None, "sent": core.mark_sent, "quarantined": core.quarantine}[stands](id)
    reply = core.modify("o1", quantity=12)
    assert reply.failure == "InvalidInput"
    assert f"which is {stands}" in reply.message
    assert says in reply.message


@pytest.mark.parametrize(
    ("terms", "failure", "says"),
    [
        ({"quantity": 10, "price": 100}, "InvalidInput", "the terms that it has already"),
        ({"new_id": "o2"}, "InvalidInput", "the terms that it has already"),
        ({"quantity": 3}, "InvalidInput", "3 of it have traded"),
        ({"quantity": 2}, "InvalidInput", "3 of it have traded"),
        ({"volume": 500}, "InvalidInput", "no volume"),
        ({"quantity": 12, "new_id": "other"}, "InvalidInput", "has been used"),
        ({"quantity": 12, "client": "mm2"}, "NotAuthorized", "another client"),
    ],
)
def test_a_modify_that_cannot_be_meant_changes_nothing_and_says_why(terms, failure, says):
    core = Core()
    core.working(order(id="o1"))
    core.check(order(id="other", quantity=1))
    core.report(fill("o1", "3"))
    core.session("mm2")
    before = saved(core.engine)
    reply = core.modify("o1", **terms)
    assert (reply.failure, says in reply.message) == (failure, True)
    after = saved(core.engine)
    assert {key: after[key] for key in ("open", "policies", "on the way")} == {
        key: before[key] for key in ("open", "policies", "on the way")
    }


def test_an_order_that_nobody_knows_or_that_has_ended():
    core = Core()
    assert core.modify("o1", quantity=12).failure == "UnknownId"
    core.working(order(id="o1"))
    core.report(report("cancelled", order_id="o1"))
    assert core.modify("o1", quantity=12).failure == "AlreadyFinalized"


def test_a_second_modify_waits_for_the_first():
    core = arrange("sent")
    reply = core.modify("o1", quantity=13)
    assert reply.failure == "InvalidInput"
    assert "modify 4 of it is sent and not answered" in reply.message


def test_the_same_modify_again_gets_the_same_answer():
    core = arrange("held")
    again = core.modify("o1", quantity=12, price=110, new_id="o2", sent=True)
    assert (again.modify_id, again.replayed, again.state) == (MODIFY, True, "sent")


@pytest.mark.parametrize("stop", [lambda core: core.block("account alpha"), lambda core: core.halt("firm")])
def test_a_block_or_a_halt_stops_a_modify_wherever_it_may_go_on(stop):
    core = arrange("held")
    stop(core)
    assert isinstance(core.mark_sent(MODIFY), e.Refused)
    assert isinstance(core.renew(MODIFY), e.Refused)
    core.rollback(MODIFY)
    assert isinstance(core.modify("o1", quantity=11), e.Refused)
    assert core.held() == OLD


# ---------------------------------------------------------------------------------------------- ids


def test_reports_may_name_the_old_or_the_new_id_at_any_time():
    core = arrange("sent")
    core.report(fill("o2", "1"))
    core.report(report("replaced", order_id="o2", venue_order_id="v2"))
    core.report(fill("o1", "1"))
    core.report(report("fill", venue_order_id="v2", quantity=1, price=100))
    record = core.engine.orders.find(ORDER)
    assert (record.order_id, record.order.id, record.filled_quantity) == ("o2", "o2", 3)


def test_ids_chain_and_none_of_them_is_free_again():
    core = arrange("sent")
    core.report(report("replaced", order_id="o1", venue_order_id="v2"))
    core.modify("o2", quantity=20, new_id="o3", sent=True)
    core.report(report("replaced", order_id="o2", venue_order_id="v3"))
    for id in ("o1", "o2", "o3"):
        assert core.engine.orders.known_as("alpha", id).reservation_id == ORDER
        assert core.check(order(id=id)).rejected.code == "DuplicateClientOrderId"
    for named in ("v2", "v3"):
        reply = core.report(report("fill", venue_order_id=named, quantity=1, price=100))
        assert reply.result.order_id == "o3"
    assert core.modify("o3", quantity=21, new_id="o1").failure == "InvalidInput"


def test_a_new_id_that_was_not_sent_can_be_tried_again():
    core = arrange("rolled back")
    assert isinstance(core.modify("o1", quantity=11, new_id="o2"), e.Modified)


def test_what_is_forgotten_leaves_no_id_behind():
    core = Core(closed_kept=1)
    core.working(order(id="o1"))
    core.modify("o1", quantity=12, new_id="o2", sent=True)
    core.report(report("replaced", order_id="o1", venue_order_id="v1"))
    core.modify("o2", quantity=13, new_id="o3", sent=True)
    core.report(report("replaced", order_id="o2", venue_order_id="v2"))
    core.report(report("cancelled", order_id="o3"))
    core.working(order(id="p1"))
    core.report(report("cancelled", order_id="p1"))
    orders = core.engine.orders
    assert set(orders.by_key) == {("alpha", "p1")}
    assert not orders.modified
    assert not orders._by_venue_id


def test_an_order_modified_without_end_keeps_a_bounded_number_of_ids():
    core = Core()
    core.working(order(id="o0"))
    for n in range(1, 100):
        assert isinstance(core.modify(f"o{n - 1}", quantity=10 + n, new_id=f"o{n}", sent=True), e.Modified)
        core.report(report("replaced", order_id=f"o{n}", venue_order_id=f"v{n}"))
    orders = core.engine.orders
    assert len(orders.by_key) == 65
    assert len(orders._by_venue_id) <= 66
    assert core.engine.orders.find(ORDER).order.quantity == 109
    core.again("snapshot")


# ---------------------------------------------------------------------------------------------- reports


def test_a_venue_may_replace_an_order_by_itself():
    core = Core()
    core.working(order(id="o1"))
    reply = core.report(report("replaced", order_id="o1", quantity=8, price=101))
    assert reply.result.flags == ("replaced_otherwise",)
    assert (core.held(), core.state(ORDER)) == (808, "working")


def test_a_venue_may_replace_an_order_by_other_terms_than_were_asked_for():
    core = arrange("working")
    reply = core.report(report("replaced", order_id="o2", price=108))
    assert reply.result.flags == ("replaced_otherwise",)
    assert (core.held(), core.engine.orders.find(ORDER).order.price) == (1296, 108)


def test_a_replacement_that_nobody_asked_for_must_say_its_terms():
    core = Core()
    core.working(order(id="o1"))
    assert core.report(report("replaced", order_id="o1")).failure == "InvalidInput"


def test_a_venue_may_give_an_order_it_has_replaced_another_id():
    core = Core()
    id = core.check(order(id="o1")).reservation_id
    core.commit(id, "v1")
    core.report(report("replaced", order_id="x9", venue_order_id="v1", quantity=8))
    assert core.engine.orders.known_as("alpha", "x9").order_id == "x9"
    assert core.engine.orders.known_as("alpha", "o1").order_id == "x9"


def test_the_same_replacement_again_is_applied_once():
    core = arrange("sent")
    replaced = report("replaced", order_id="o1", report_id="x1")
    core.report(replaced)
    assert core.report(replaced).result.already_applied
    assert core.report(report("replaced", order_id="o2")).result.flags == ()
    assert core.held() == NEW


def test_a_replacement_to_no_more_than_has_traded_ends_the_order():
    core = Core()
    core.working(order(id="o1"))
    core.report(fill("o1", "4"))
    core.report(report("replaced", order_id="o1", quantity=4))
    assert (core.state(ORDER), core.held()) == ("closed", 0)


def test_a_replacement_of_an_order_that_has_ended_changes_nothing():
    core = Core()
    core.working(order(id="o1"))
    core.report(report("cancelled", order_id="o1"))
    reply = core.report(report("replaced", order_id="o1", quantity=20))
    assert (reply.result.flags, core.held()) == (("after_close",), 0)


def test_a_refused_cancel_says_nothing_of_the_order():
    core = Core()
    core.working(order(id="o1"))
    reply = core.report(report("cancel_rejected", order_id="o1"))
    assert (reply.result.state, reply.result.flags, core.held()) == ("working", (), 1000)


def test_a_commit_may_say_what_the_venue_will_call_it():
    core = arrange("sent")
    core.commit(MODIFY, "v2")
    core.report(report("replaced", order_id="o1"))
    assert core.engine.orders.find(ORDER).venue_order_id == "v2"


@pytest.mark.parametrize("kind", ["market", "volume", "inverse"])
def test_orders_of_every_kind_are_modified_and_given_back(kind):
    settings = '[instruments.XBT]\nsettlement = "BTC"\nkind = "inverse"\nmultiplier = "100"\n[limits]\n'
    settings += 'open = { control = "open_order_notional", each = "settlement", max_notional = "100000" }\n'
    core = Core(settings)
    core.quote(mark="100")
    wanted = {
        "market": order(id="o1", price=None),
        "volume": order(id="o1", instrument=BTC, volume="1000", price="50"),
        "inverse": order(id="o1", instrument="XBT", quantity=10, price=50),
    }[kind]
    scope = {"market": "settlement USD", "volume": "settlement USDT", "inverse": "settlement BTC"}[kind]

    core.working(wanted)
    core.report(fill("o1", "4", price="50"))
    left_old, left_new = {"market": (600, 800), "volume": (800, 1300), "inverse": (12, 16)}[kind]
    assert core.held(scope, "open") == left_old
    terms = {"volume": 1500} if kind == "volume" else {"quantity": 12}
    modify = core.modify("o1", **terms, sent=True)
    assert core.held(scope, "open") == left_new
    core.rollback(modify.modify_id)
    assert core.held(scope, "open") == left_old
    core.modify("o1", **terms, sent=True)
    core.report(report("replaced", order_id="o1"))
    core.report(report("cancelled", order_id="o1"))
    assert core.held(scope, "open") == 0


def test_what_is_open_goes_by_new_limits_while_it_is_modified():
    core = arrange("sent")
    core.reload(OPEN_USD.replace("open_usd", "open_all").replace('each = "account"', 'over = "firm"'))
    assert core.held("firm", "open_all") == NEW
    core.report(report("replace_rejected", order_id="o1"))
    assert core.held("firm", "open_all") == OLD
    core.report(report("cancelled", order_id="o1"))
    assert core.held("firm", "open_all") == 0


def test_a_pause_gives_a_modifys_lease_one_more_length():
    core = arrange("sent")
    core.advance(4)
    core.resume(4)
    core.advance(3)
    core.end_leases()
    assert modify_of(core).state == SENT
    core.advance(2)
    core.end_leases()
    assert modify_of(core).state == QUARANTINED


def test_a_reducing_modify_passes_what_a_larger_one_would_not():
    core = Core('[limits]\nbig = { control = "order_size_limit", each = "account", max_quantity = 5 }')
    core.report(report("fill", order_id="x", quantity=20, price=100, instrument=AAPL, side="buy"))
    core.working(order(id="o1", side="sell", quantity=10))
    assert isinstance(core.modify("o1", quantity=20, sent=True), e.Modified)
    assert core.check(order(side="sell", quantity=6)).rejected.code == pit.RejectCode.ORDER_QTY_EXCEEDS_LIMIT


def test_a_fill_of_an_amount_that_comes_before_the_word_on_its_modify_leaves_what_is_left_of_the_new_one():
    core = Core(OPEN_USD)
    id = core.working(order(id="o1", volume="1000", price="100"))
    core.modify("o1", volume=2000, sent=True)
    core.report(fill("o1", "15", price="100"))
    core.report(report("replaced", order_id="o1"))
    assert core.engine.orders.find(id).open_quantity == core.held() == 500


def test_an_order_that_was_filled_counts_as_turnover_whatever_modify_of_it_was_not_sent():
    flow = 'flow = { control = "turnover_limit", over = "firm", settlement = "USD", max_notional=1000, window = "9s" }'
    core = Core(f"[limits]\n{flow}\n")
    core.working(order(id="o1", quantity="5"))
    core.modify("o1", quantity=6)
    core.report(fill("o1", "5"))
    assert core.check(order(quantity="6")).rejected.used == 500


@pytest.mark.parametrize("ends", ["as asked", "otherwise", "unasked", "settled", "shrunk by both"])
def test_an_order_of_which_its_new_terms_leave_nothing_counts_on_as_turnover(ends):
    flow = 'flow = { control = "turnover_limit", over = "firm", settlement = "USD", max_notional=1000, window = "9s" }'
    core = Core(f"{OPEN_USD}{flow}\n")
    core.working(order(id="o1", quantity="5"))
    core.report(fill("o1", "3"))
    if ends != "unasked":
        core.modify("o1", quantity=4, sent=True)
    if ends in ("as asked", "settled"):
        core.report(fill("o1", "1"))
    if ends == "settled":
        core.command(e.SettleModify("alpha", "o1", True, "the venue says so"), "ops")
    elif ends == "shrunk by both":
        core.report(fill("o1", "2"))
    else:
        core.report(report("replaced", order_id="o1", **({} if ends == "as asked" else {"quantity": 3})))
    assert core.held() == 0
    assert core.check(order(quantity="6")).rejected.used == 500


def test_terms_of_which_nothing_was_left_hold_again_once_a_fill_is_undone():
    core = arrange("sent")
    core.report(fill("o1", "10", report_id="f1"))
    assert core.held() == 220
    core.report(report("bust", order_id="o1", fill_id="f1"))
    assert core.held() == NEW
    core.report(report("replace_rejected", order_id="o1"))
    assert core.held() == OLD


def test_more_than_the_new_terms_allow_is_not_forgotten_when_fills_are_told_anew():
    core = Core()
    core.working(order(id="o1"))
    core.report(fill("o1", "5", report_id="f1"))
    core.modify("o1", quantity=6, sent=True)
    core.report(fill("o1", "3", report_id="f2"))
    core.report(report("correct", order_id="o1", fill_id="f1", quantity=1))
    core.report(report("replaced", order_id="o1"))
    assert (core.held(), core.engine.orders.find(ORDER).open_quantity) == (200, 2)
