"""Leases: the daemon owns their end, late is never early, and nothing ended is revived."""

from __future__ import annotations

import pytest
from builders import Core, Local, fill, order, report

import pit
from pitd.core import entry as e

SECOND = 1_000_000_000


def test_the_answer_says_when_the_lease_ends():
    core = Core()
    assert core.check(order(), lease_s=7).lease_end_ns == core.now_ns + 7 * SECOND


def test_without_a_wish_it_is_the_configured_one():
    core = Core(lease_ns=3 * SECOND)
    assert core.check(order()).lease_end_ns == core.now_ns + 3 * SECOND


@pytest.mark.parametrize(("wish_s", "given_s"), [(0.001, 0.2), (0.2, 0.2), (60, 60), (3600, 60)])
def test_a_wish_is_granted_within_the_bounds(wish_s, given_s):
    core = Core()
    assert core.check(order(), lease_s=wish_s).lease_end_ns == core.now_ns + given_s * SECOND
    request = core.start(order())
    assert core.execute(request.request_id, lease_s=wish_s).lease_end_ns == core.now_ns + given_s * SECOND


def test_a_late_commit_loses_even_if_no_timer_fired():
    core = Core()
    held = core.check(order(), lease_s=5)
    core.advance(5)
    assert core.commit(held.reservation_id).failure == "LeaseExpired"
    assert (core.state(held.reservation_id), core.held()) == ("rolled_back", 0)


def test_a_moment_before_its_end_a_commit_still_wins():
    core = Core()
    held = core.check(order(), lease_s=5)
    core.now_ns += 5 * SECOND - 1
    assert core.commit(held.reservation_id) == e.Stands(pit.OrderState.WORKING)


@pytest.mark.parametrize("act", ["mark_sent", "renew", "quarantine", "commit"])
def test_every_command_meets_a_lapsed_lease_as_ended(act):
    core = Core()
    held = core.check(order(), lease_s=5)
    core.advance(6)
    assert getattr(core, act)(held.reservation_id).failure == "LeaseExpired"


def test_a_rollback_of_what_lapsed_is_the_same_answer():
    core = Core()
    held = core.check(order(), lease_s=5)
    core.advance(6)
    assert core.rollback(held.reservation_id) == e.Stands(pit.OrderState.ROLLED_BACK)
    assert core.ended_by(held.reservation_id) == "lease"


def test_what_was_sent_is_quarantined_at_its_end_and_stays_counted():
    core = Core()
    held = core.check(order(), sent=True, lease_s=5)
    core.advance(1000)
    assert core.mark_sent(held.reservation_id).failure == "LeaseExpired"
    assert (core.state(held.reservation_id), core.held()) == ("quarantined", 1000)


def test_what_was_sent_can_be_committed_after_its_end():
    core = Core()
    held = core.check(order(), sent=True, lease_s=5)
    core.advance(1000)
    assert core.commit(held.reservation_id) == e.Stands(pit.OrderState.WORKING)


def test_a_quarantined_order_never_times_out():
    core = Core()
    held = core.check(order(), sent=True)
    core.advance(10)
    core.end_leases()
    core.advance(10_000_000)
    assert core.end_leases() == 0
    assert core.state(held.reservation_id) == "quarantined"


def test_a_report_meets_a_lapsed_lease_as_ended():
    core = Core()
    core.check(order(id="o1"), lease_s=5)
    core.advance(6)
    assert core.report(fill("o1", "4")).result.flags == ("after_rollback",)
    assert core.held() == 600


def test_a_persons_word_meets_a_lapsed_lease_as_ended():
    core = Core()
    core.check(order(id="o1"), lease_s=5)
    core.advance(6)
    assert core.settle("o1", working=True).failure == "LeaseExpired"


def test_the_same_order_again_meets_a_lapsed_lease_as_ended():
    core = Core()
    core.check(order(id="o1"), sent=True, lease_s=5)
    core.advance(6)
    assert core.check(order(id="o1"), sent=True).state == "quarantined"


def test_a_lapsed_lease_is_not_given_back_early():
    core = Core()
    core.check(order(), lease_s=5)
    core.now_ns += 5 * SECOND - 1
    assert core.end_leases() == 0
    assert core.held() == 1000


def test_due_leases_end_in_entries_of_bounded_size():
    core = Core()
    for n in range(25):
        core.check(order(id=f"o{n}", quantity="1"), lease_s=5)
    core.advance(5)
    assert [core.end_leases(most=10) for _ in range(4)] == [10, 10, 5, 0]
    assert core.held() == 0


def test_a_bounded_entry_has_no_more_effects_than_leases():
    core = Core()
    for n in range(25):
        core.check(order(id=f"o{n}"), lease_s=5)
    core.advance(5)
    core.end_leases(most=10)
    assert len(core.rows[-1].effects) == 10


def test_the_capacity_of_what_waits_for_its_entry_comes_back_late_and_never_early():
    core = Core()
    for n in range(3):
        core.check(order(id=f"o{n}"), lease_s=5)
    core.advance(5)
    core.end_leases(most=1)
    assert core.held() == 2000


def test_leases_end_soonest_first():
    core = Core()
    late = core.check(order(), lease_s=9)
    soon = core.check(order(), lease_s=3)
    core.advance(10)
    core.end_leases(most=1)
    assert (core.state(soon.reservation_id), core.state(late.reservation_id)) == ("rolled_back", "held")


def test_the_engine_says_when_the_first_lease_ends():
    core = Core()
    assert core.engine.first_lease_end_ns() is None
    core.check(order(), lease_s=9)
    core.check(order(), lease_s=3)
    assert core.engine.first_lease_end_ns() == core.now_ns + 3 * SECOND


def test_a_settled_order_is_passed_over_when_its_lease_would_have_ended():
    core = Core()
    held = core.check(order(), lease_s=5)
    core.commit(held.reservation_id)
    core.advance(6)
    assert core.end_leases() == 0
    assert core.state(held.reservation_id) == "working"


def test_a_renewal_extends_from_now():
    core = Core()
    held = core.check(order(), lease_s=5)
    core.advance(4)
    stands = core.renew(held.reservation_id, 5)
    assert stands.lease_end_ns == core.now_ns + 5 * SECOND
    core.advance(4)
    assert core.end_leases() == 0
    assert core.commit(held.reservation_id) == e.Stands(pit.OrderState.WORKING)


def test_a_renewal_for_less_shortens_it():
    core = Core()
    held = core.check(order(), lease_s=50)
    core.renew(held.reservation_id, 1)
    core.advance(1)
    assert core.end_leases() == 1


def test_a_renewal_does_not_revive():
    core = Core()
    held = core.check(order(), lease_s=5)
    core.advance(5)
    assert core.renew(held.reservation_id).failure == "LeaseExpired"
    assert core.state(held.reservation_id) == "rolled_back"


def test_a_sent_order_can_be_renewed():
    core = Core()
    held = core.check(order(), sent=True, lease_s=5)
    core.advance(4)
    assert core.renew(held.reservation_id, 5).state == "sent"


def test_a_request_ends_by_its_lease():
    core = Core(lease_ns=5 * SECOND)
    request = core.start(order())
    assert request.lease_end_ns == core.now_ns + 5 * SECOND
    core.advance(5)
    assert core.execute(request.request_id).failure == "LeaseExpired"
    assert core.held() == 0


def test_a_request_that_an_entry_ended_is_answered_alike():
    core = Core()
    request = core.start(order())
    core.advance(5)
    assert core.end_leases() == 1
    assert core.execute(request.request_id).failure == "LeaseExpired"


def test_memory_of_ended_requests_is_bounded():
    core = Core(requests_ended_kept=2)
    requests = [core.start(order()) for _ in range(4)]
    core.drop(requests=[request.request_id for request in requests])
    failures = [core.execute(request.request_id).failure for request in requests]
    assert failures == ["UnknownId", "UnknownId", "LeaseExpired", "LeaseExpired"]


# ---------------------------------------------------------------------------------------------- after a pause


def test_after_a_pause_every_lease_gets_one_more_full_length():
    core = Core()
    held = core.check(order(), lease_s=5)
    core.advance(1000)
    core.resume(1000)
    core.now_ns += 5 * SECOND - 1
    assert core.end_leases() == 0
    assert core.commit(held.reservation_id) == e.Stands(pit.OrderState.WORKING)


def test_the_one_more_length_ends_as_well():
    core = Core()
    held = core.check(order(), lease_s=5)
    core.advance(1000)
    core.resume(1000)
    core.advance(5)
    assert core.commit(held.reservation_id).failure == "LeaseExpired"


def test_one_more_length_is_given_a_few_times_in_a_row_at_most():
    core = Core(restarts_in_a_row=3)
    held = core.check(order(), lease_s=5)
    for _ in range(4):
        core.advance(5)
        core.resume(5)
    assert core.commit(held.reservation_id).failure == "LeaseExpired"


def test_up_to_that_bound_it_stands():
    core = Core(restarts_in_a_row=3)
    held = core.check(order(), lease_s=5)
    for _ in range(3):
        core.advance(5)
        core.resume(5)
    assert core.commit(held.reservation_id) == e.Stands(pit.OrderState.WORKING)


def test_a_renewal_begins_the_row_anew():
    core = Core(restarts_in_a_row=1)
    held = core.check(order(), lease_s=5)
    core.advance(5)
    core.resume(5)
    core.renew(held.reservation_id, 5)
    core.advance(5)
    core.resume(5)
    assert core.commit(held.reservation_id) == e.Stands(pit.OrderState.WORKING)


def test_a_request_gets_one_more_length_a_few_times_in_a_row_as_well():
    core = Core(restarts_in_a_row=2)
    for pauses, is_open in ((2, True), (3, False)):
        request = core.start(order())
        for _ in range(pauses):
            core.advance(5)
            core.resume(5)
        assert isinstance(core.execute(request.request_id), e.Accepted) is is_open


def test_a_pause_shortens_no_lease():
    core = Core()
    held = core.check(order(), lease_s=50)
    end_ns = held.lease_end_ns
    core.renew(held.reservation_id, 50)
    core.advance(1)
    core.resume(1)
    core.now_ns = end_ns - 1
    assert core.end_leases() == 0


def test_a_pause_revives_nothing_that_had_ended():
    core = Core()
    held = core.check(order(), lease_s=5)
    core.advance(5)
    core.end_leases()
    core.resume(5)
    assert core.state(held.reservation_id) == "rolled_back"


def test_a_pause_gives_nothing_to_what_a_fenced_session_held():
    core = Core()
    held = core.check(order(), lease_s=5)
    core.open_session("mm1")
    core.resume(1)
    assert core.commit(held.reservation_id).failure == "LeaseExpired"


# ---------------------------------------------------------------------------------------------- blocks and leases


@pytest.mark.parametrize("scope", ["account alpha", "group eq", "firm"])
def test_a_block_is_checked_at_execute_mark_sent_and_renew(scope):
    core = Core('[accounts.alpha]\ngroup = "eq"')
    request = core.start(order())
    held = core.check(order())
    core.block(scope)
    for reply in (
        core.execute(request.request_id),
        core.mark_sent(held.reservation_id),
        core.renew(held.reservation_id),
    ):
        assert reply.rejected.code == "AccountBlocked"
    assert core.state(held.reservation_id) == "held"


def test_a_refused_renewal_leaves_the_lease_as_it_was():
    core = Core()
    held = core.check(order(), lease_s=5)
    core.advance(4)
    core.block("firm")
    core.renew(held.reservation_id, 50)
    core.advance(1)
    assert core.end_leases() == 1


@pytest.mark.parametrize("act", ["commit", "rollback", "quarantine"])
@pytest.mark.parametrize("sent", [False, True])
def test_a_block_is_never_checked_when_an_order_is_settled(act, sent):
    core = Core()
    held = core.check(order(), sent=sent)
    core.block("firm")
    assert isinstance(getattr(core, act)(held.reservation_id), e.Stands)


def test_a_late_commit_of_a_blocked_account_counts():
    core = Core()
    held = core.check(order(), lease_s=5)
    core.advance(5)
    core.block("firm")
    assert core.commit(held.reservation_id, late=True) == e.Stands(pit.OrderState.WORKING)
    assert core.held() == 1000


def test_marking_again_what_was_sent_before_the_block_is_no_news():
    core = Core()
    held = core.check(order(), sent=True)
    core.block("firm")
    assert core.mark_sent(held.reservation_id).state == "sent"


def test_the_same_order_again_does_not_slip_out_through_a_block():
    core = Core()
    held = core.check(order(id="o1"))
    core.block("firm")
    assert core.check(order(id="o1"), sent=True).rejected.code == "AccountBlocked"
    assert core.state(held.reservation_id) == "held"


def test_a_report_of_a_blocked_account_is_applied():
    core = Core()
    core.check(order(id="o1"), sent=True)
    core.block("firm")
    core.report(report("cancelled", order_id="o1"))
    assert core.held() == 0


# ---------------------------------------------------------------------------------------------- as a strategy sees it


def test_lease_left_s_counts_down_to_nothing():
    local = Local()
    held = local.engine.execute_pre_trade(order(), lease_s=5)
    assert held.lease_left_s == 5
    local.advance(3.5)
    assert held.lease_left_s == 1.5
    local.advance(100)
    assert held.lease_left_s == 0


def test_a_renewal_is_told_to_the_one_who_holds_it():
    local = Local()
    held = local.engine.execute_pre_trade(order(), lease_s=5)
    local.advance(4)
    held.renew(10)
    assert (held.lease_s, held.lease_left_s) == (10, 10)


def test_leaving_it_unsettled_drops_it():
    local = Local()
    with local.engine.execute_pre_trade(order(id="o1")):
        pass
    assert local.engine.outcome("alpha", "o1").ended_by == "dropped"


def test_what_was_settled_before_its_lease_ended_wakes_nobody_at_that_moment() -> None:
    core = Core()
    settled = [core.check(order(), lease_s=3) for _ in range(600)]
    last = core.check(order(), lease_s=7)
    for held in settled:
        core.commit(held.reservation_id)
    asked = [core.engine.first_lease_end_ns() for _ in range(4)]
    assert asked[-1] == last.lease_end_ns, "some at a time, so that nobody waits for it"


def test_what_was_settled_before_its_lease_ended_leaves_no_entry() -> None:
    gate = Local()
    rows: list[e.Row] = []
    gate.house.sequencer.watchers.append(rows.extend)
    settled = [gate.engine.execute_pre_trade(order()) for _ in range(5)]
    for held in settled[:-1]:
        held.commit()
    settled[-1].renew(lease_s=20)
    gate.clock.advance(10)
    assert gate.engine.execute_pre_trade(order())
    gate.house.sequencer.publish()
    assert not [row for row in rows if isinstance(row.entry.body, e.LeasesDue)]
    gate.clock.advance(30)
    assert gate.engine.execute_pre_trade(order())
    gate.house.sequencer.publish()
    assert len([row for row in rows if isinstance(row.entry.body, e.LeasesDue)]) == 1
