"""Conversations: numbers without gaps, stored answers, numbers given up, and the newer session that takes over."""

from __future__ import annotations

import decimal

import pytest
from builders import Core, order

import pit
from pitd.clock import ManualClock
from pitd.core import entry as e
from pitd.core.engine import exact_context
from pitd.core.sessions import Known
from pitd.sequencer import Sequencer

CHECK = e.CheckOrder(order(id="o1"), False, None)
OTHER = e.CheckOrder(order(id="o2"), False, None)


def conversation(**bounds: int) -> tuple[Core, Sequencer]:
    core = Core(**bounds)
    return core, Sequencer(core.engine, ManualClock(core.now_ns))


def failure_of(known: Known) -> e.Failure:
    assert isinstance(known.reply, e.Failed), known
    return known.reply.failure


def test_numbers_go_up_by_one():
    core = Core()
    session = core.session()
    for number in (1, 2, 3):
        assert not core.send(e.EndOwnSession() if number > 3 else CHECK, session=session, number=number).is_refusal
    assert session.next_number == 4


@pytest.mark.parametrize("number", [2, 3, 50])
def test_a_gap_is_refused_with_the_number_expected(number):
    core = Core()
    refused = core.send(CHECK, session=core.session(), number=number)
    assert (failure_of(refused), refused.reply.number, refused.is_refusal) == ("WrongNumber", 1, True)
    assert core.held() == 0


def test_a_gap_does_not_use_the_number_up():
    core = Core()
    core.send(CHECK, session=core.session(), number=2)
    assert isinstance(core.send(CHECK, session=core.session(), number=1).reply, e.Accepted)


def test_the_same_number_again_is_the_stored_answer_and_no_entry():
    core = Core()
    session = core.session()
    first = core.send(CHECK, session=session, number=1, digest=b"a")
    entries = core.engine.seq
    again = core.send(CHECK, session=session, number=1, digest=b"a")
    assert again.reply is first.reply
    assert not again.is_refusal
    assert core.engine.seq == entries


def test_a_reject_is_a_stored_answer_too():
    core = Core()
    core.block("firm")
    session = core.session()
    first = core.send(CHECK, session=session, number=1)
    core.unblock("firm")
    assert core.send(CHECK, session=session, number=1).reply == first.reply


def test_the_same_number_with_another_command_is_refused():
    core = Core()
    session = core.session()
    core.send(CHECK, session=session, number=1, digest=b"a")
    other = core.send(OTHER, session=session, number=1, digest=b"b")
    assert (failure_of(other), other.is_refusal) == ("InvalidInput", True)
    assert core.held() == 1000


def test_an_answer_that_was_received_is_let_go_and_never_executed_again():
    core = Core()
    session = core.session()
    core.send(CHECK, session=session, number=1)
    core.send(OTHER, session=session, number=2, acked=1)
    gone = core.send(CHECK, session=session, number=1)
    assert (failure_of(gone), gone.is_refusal) == ("AnswerGone", True)
    assert core.held() == 2000


@pytest.mark.parametrize("acked", [1, 2, 99])
def test_what_was_not_answered_cannot_have_been_received(acked):
    core = Core()
    refused = core.send(CHECK, session=core.session(), number=1, acked=acked)
    assert failure_of(refused) == "InvalidInput"


def test_a_late_copy_may_say_less_of_what_was_received_and_takes_nothing_back():
    core = Core()
    session = core.session()
    core.send(CHECK, session=session, number=1)
    core.send(CHECK, session=session, number=2, acked=1)
    late = core.send(CHECK, session=session, number=3, acked=0)  # first said before the answer to 1 was there
    assert isinstance(late.reply, e.Accepted)
    assert (session.acked, sorted(session.answers)) == (1, [2, 3])


def test_a_late_copy_is_not_outside_a_window_that_has_moved_on():
    core = Core(window=2)
    session = core.session()
    core.send(CHECK, session=session, number=1)
    core.send(CHECK, session=session, number=2, acked=1)
    assert isinstance(core.send(CHECK, session=session, number=3, acked=0).reply, e.Accepted)


def test_a_full_window_is_refused_and_the_number_stays_free():
    core = Core(window=3)
    session = core.session()
    for number in (1, 2, 3):
        core.send(CHECK, session=session, number=number, acked=0)
    full = core.send(CHECK, session=session, number=4, acked=0)
    assert (failure_of(full), full.is_refusal) == ("CapacityExceeded", True)
    assert isinstance(core.send(CHECK, session=session, number=4, acked=1).reply, e.Accepted)


def test_answers_kept_are_bounded_by_the_window():
    core = Core(window=4)
    session = core.session()
    for number in range(1, 50):
        core.send(CHECK, session=session, number=number, acked=max(0, number - 4))
    assert len(session.answers) == 4


# ---------------------------------------------------------------------------------------------- giving up on a number


def test_settling_a_number_that_was_executed_is_its_answer():
    core, sequencer = conversation()
    session = core.session()
    known = core.send(CHECK, session=session, number=1)
    assert sequencer.settle(session, 1, 0) == known


def test_a_number_given_up_is_void_for_ever():
    core, sequencer = conversation()
    session = core.session()
    assert sequencer.settle(session, 1, 0).reply == e.Void()
    assert core.send(CHECK, session=session, number=1).reply == e.Void()
    assert core.held() == 0


def test_a_number_given_up_twice_is_void_twice():
    core, sequencer = conversation()
    session = core.session()
    assert [sequencer.settle(session, 1, 0).reply for _ in range(2)] == [e.Void()] * 2


def test_giving_up_on_a_number_gives_up_on_those_before_it():
    core, sequencer = conversation()
    session = core.session()
    sequencer.settle(session, 3, 0)
    assert [core.send(CHECK, session=session, number=n).reply for n in (1, 2, 3)] == [e.Void()] * 3
    assert isinstance(core.send(CHECK, session=session, number=4, acked=3).reply, e.Accepted)


def test_a_number_beyond_the_window_cannot_be_given_up():
    core, sequencer = conversation(window=3)
    session = core.session()
    assert failure_of(sequencer.settle(session, 4, 0)) == "InvalidInput"
    assert session.next_number == 1


def test_a_session_that_gives_everything_up_has_room_for_more():
    core, sequencer = conversation(window=3)
    session = core.session()
    for number in range(1, 20):
        assert sequencer.settle(session, number, number - 1).reply == e.Void()
        assert len(session.answers) <= 1
    assert isinstance(core.send(CHECK, session=session, number=20, acked=19).reply, e.Accepted)


def test_giving_a_number_up_cannot_acknowledge_what_was_never_answered():
    core, sequencer = conversation(window=3)
    session = core.session()
    assert failure_of(sequencer.settle(session, 1_000_000_000, 999_999_999)) == "InvalidInput"
    assert failure_of(sequencer.settle(session, 2, 1)) == "InvalidInput"
    assert session.next_number == 1


def test_settling_a_number_whose_answer_is_gone():
    core, sequencer = conversation()
    session = core.session()
    core.send(CHECK, session=session, number=1)
    core.send(CHECK, session=session, number=2, acked=1)
    assert failure_of(sequencer.settle(session, 1, 0)) == "AnswerGone"


def test_settling_in_a_session_that_is_over():
    core, sequencer = conversation()
    session = core.session()
    core.open_session("mm1")
    assert failure_of(sequencer.settle(session, 1, 0)) == "Fenced"


# ---------------------------------------------------------------------------------------------- one session a name


def test_a_newer_session_of_the_same_name_fences_the_older_one():
    core = Core()
    older = core.session()
    core.open_session("mm1")
    assert failure_of(core.send(CHECK, session=older, number=1)) == "Fenced"


def test_a_fenced_sessions_answers_are_gone():
    core = Core()
    older = core.session()
    core.send(CHECK, session=older, number=1)
    core.open_session("mm1")
    assert failure_of(core.send(CHECK, session=older, number=1)) == "Fenced"
    assert not older.answers


def test_another_name_fences_nobody():
    core = Core()
    older = core.session()
    core.open_session("mm2")
    assert isinstance(core.send(CHECK, session=older, number=1).reply, e.Accepted)


def test_what_the_fenced_one_held_goes_and_what_it_sent_is_quarantined():
    core = Core()
    held, sent = core.check(order(id="o1")), core.check(order(id="o2"), sent=True)
    request = core.start(order(id="o3"))
    core.open_session("mm1")
    assert core.end_leases() == 3
    assert (core.state(held.reservation_id), core.state(sent.reservation_id)) == ("rolled_back", "quarantined")
    assert core.execute(request.request_id).failure == "LeaseExpired"
    assert core.held() == 1000


def test_it_counts_as_ended_before_an_entry_says_so():
    core = Core()
    held, sent = core.check(order(id="o1")), core.check(order(id="o2"), sent=True)
    request = core.start(order(id="o3"))
    core.open_session("mm1")
    assert core.commit(held.reservation_id).failure == "LeaseExpired"
    assert core.mark_sent(sent.reservation_id).failure == "LeaseExpired"
    assert core.execute(request.request_id).failure == "LeaseExpired"


def test_what_worked_goes_on_working():
    core = Core()
    held = core.check(order(id="o1"))
    core.commit(held.reservation_id)
    core.open_session("mm1")
    core.end_leases()
    assert (core.state(held.reservation_id), core.held()) == ("working", 1000)


def test_a_dead_client_gives_back_alike():
    core = Core()
    held, sent = core.check(order(id="o1")), core.check(order(id="o2"), sent=True)
    core.end_session("mm1")
    core.end_leases()
    assert (core.ended_by(held.reservation_id), core.state(sent.reservation_id)) == ("client_gone", "quarantined")


def test_a_session_that_is_over_takes_no_command():
    core = Core()
    session = core.session()
    core.end_session("mm1")
    assert failure_of(core.send(CHECK, session=session, number=1)) == "NoSession"


def test_ending_a_session_twice_is_fine():
    core = Core()
    session = core.session()
    for _ in range(2):
        assert core.enter(e.SessionEnded(session.id, "gone")) == e.Done()


def test_an_ended_session_asks_for_its_leases_to_be_ended_now():
    core = Core()
    core.check(order(), lease_s=50)
    core.end_session("mm1")
    assert core.engine.first_lease_end_ns() == core.now_ns
    core.end_leases()
    assert core.engine.first_lease_end_ns() != core.now_ns


def test_giving_back_is_done_in_bounded_steps():
    core = Core()
    for n in range(5):
        core.check(order(id=f"o{n}"))
    core.end_session("mm1")
    assert [core.end_leases(most=2) for _ in range(4)] == [2, 2, 1, 0]


def test_a_client_whose_lease_was_renewed_by_its_next_session_keeps_the_older_owner():
    core = Core()
    held = core.check(order(), sent=True)
    core.quarantine(held.reservation_id)
    core.open_session("mm1")
    assert core.rollback(held.reservation_id) == e.Stands(pit.OrderState.ROLLED_BACK)
    assert core.held() == 0


# ---------------------------------------------------------------------------------------------- what may pile up


def test_unsettled_reservations_of_one_session_are_bounded():
    core, sequencer = conversation(unsettled_per_session=2)
    session = core.session()
    core.send(CHECK, session=session, number=1)
    core.send(e.StartOrder(order()), session=session, number=2)
    full = sequencer.command(session, 3, 2, b"", OTHER)
    assert (failure_of(full), full.is_refusal, session.next_number) == ("CapacityExceeded", True, 3)


def test_at_the_bound_a_request_can_still_be_executed_and_a_reservation_settled():
    core, sequencer = conversation(unsettled_per_session=1)
    session = core.session()
    request = core.send(e.StartOrder(order()), session=session, number=1).reply
    held = sequencer.command(session, 2, 1, b"", e.ExecuteRequest(request.request_id, False, None)).reply
    assert isinstance(held, e.Accepted)
    assert isinstance(sequencer.command(session, 3, 2, b"", e.Commit(held.reservation_id, None, False)).reply, e.Stands)
    assert isinstance(sequencer.command(session, 4, 3, b"", OTHER).reply, e.Accepted)


def test_open_orders_of_one_client_are_bounded():
    core, sequencer = conversation(open_per_client=2)
    for n in range(2):
        core.commit(core.check(order(id=f"x{n}")).reservation_id)
    session = core.session()
    full = sequencer.command(session, session.next_number, session.next_number - 1, b"", CHECK)
    assert (failure_of(full), full.is_refusal) == ("CapacityExceeded", True)


def test_another_client_has_room_of_its_own():
    core, sequencer = conversation(open_per_client=1)
    core.check(order(id="x1"))
    session = core.session("mm2")
    assert isinstance(sequencer.command(session, 1, 0, b"", CHECK).reply, e.Accepted)


def test_ended_sessions_are_remembered_in_a_bounded_number():
    core = Core(sessions_ended_kept=3)
    ids = [core.open_session("mm1") for _ in range(10)]
    assert [core.engine.sessions.get(id) is not None for id in ids] == [False] * 6 + [True] * 4


def test_commands_of_one_turn_have_its_moment_and_what_was_due_before_it_has_ended():
    core = Core()
    session, clock = core.session(), ManualClock(core.now_ns)
    sequencer = Sequencer(core.engine, clock)
    number = 0

    def check() -> e.Accepted:
        nonlocal number
        number += 1
        reply = sequencer.command(session, number, number - 1, b"", e.CheckOrder(order(), False, None)).reply
        assert isinstance(reply, e.Accepted)
        return reply

    with decimal.localcontext(exact_context()):
        first = check()
        clock.set_ns(first.lease_end_ns)
        sequencer.begin_turn()
        assert first.reservation_id not in core.engine.orders.open
        clock.advance(1)
        assert check().lease_end_ns == check().lease_end_ns == first.lease_end_ns + core.bounds.lease_ns
        sequencer.release()
        assert check().lease_end_ns == first.lease_end_ns + core.bounds.lease_ns + 1_000_000_000
