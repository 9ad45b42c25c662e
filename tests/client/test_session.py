"""The conversation without the socket: scripted replies first, then the daemon's own side of it in bad weather."""

from __future__ import annotations

import decimal
import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pytest
from cases import table

import pit
from pit import wire
from pit._session import Flight, Session
from pitd import bootstrap, config
from pitd.clock import ManualClock
from pitd.conversations import Conversations
from pitd.core import entry as e
from pitd.core.engine import exact_context

TOKEN = bytes(range(16))
AAPL = pit.Instrument("AAPL", "USD")


def check(id: str, quantity: int = 1) -> wire.Check:
    order = pit.Order(account="alpha", instrument=AAPL, side=pit.Side.BUY, quantity=quantity, price=1, id=id)
    return wire.Check(order)


# ---------------------------------------------------------------------------------------------- a scripted far end


class Answer(NamedTuple):
    """What came of one command or question."""

    ticket: Flight
    reply: wire.Reply


def answer_of(flight: Flight | None) -> Answer | None:
    if flight is None:
        return None
    assert flight.reply is not None
    return Answer(flight, flight.reply)


class Script:
    """A session, what it has said since we last listened, and answers put into its mouth."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.session = Session("mm1", TOKEN)
        self.session.greet()
        if is_open:
            self.listen()
            self.welcome()

    def welcome(self) -> None:
        self.answer(wire.Message.HELLO, 0, wire.Welcome(wire.PROTOCOL, 42, 1, 64, 5_000_000_000))

    def listen(self) -> list[tuple[str, int, int]]:
        """What has been said since: kind, number, and up to where answers have been received."""
        said = []
        for frames in list(self.session.outbox):
            self.session.sent(frames)
            header = wire.unpack_header(frames[0])
            said.append((wire.Message(header.message).name, header.number, header.acked))
        self.session.outbox.clear()
        return said

    def answer(
        self, kind: int, number: int, reply: wire.Reply, *, seq: int = 0, to: wire.Command | None = None
    ) -> Answer | None:
        """`to`: the command that is answered, where the far end says so."""
        mark = 0 if to is None else wire.mark_of(wire.digest_of(wire.encode(to)))
        return answer_of(self.session.received(wire.pack_header(kind, mark, number, seq), wire.encode(reply)))

    def done(self, number: int, count: int = 0) -> Answer | None:
        return self.answer(wire.Message.COMMAND, number, wire.Done(count))

    def refuse(self, number: int, code: wire.FailureCode = wire.FailureCode.NOT_AUTHORIZED) -> Answer | None:
        return self.answer(wire.Message.REFUSAL, number, wire.Failed(code, "no"))


@pytest.fixture
def script() -> Script:
    return Script()


def test_nothing_is_said_before_the_welcome_but_hello() -> None:
    script = Script(is_open=False)
    script.session.submit(check("a"))
    assert script.listen() == [("HELLO", 0, 0)]
    script.welcome()
    assert script.listen() == [("COMMAND", 1, 0)]


def test_commands_are_numbered_without_gaps_and_tell_what_was_received(script: Script) -> None:
    for number in (1, 2, 3):
        ticket = script.session.submit(check(f"o{number}"))
        assert script.listen() == [("COMMAND", number, number - 1)]
        assert script.done(number) == Answer(ticket, wire.Done())


def test_answers_out_of_order_are_acknowledged_up_to_the_gap(script: Script) -> None:
    tickets = [script.session.submit(check(f"o{at}")) for at in range(3)]
    script.listen()
    assert script.done(3) == Answer(tickets[2], wire.Done())
    assert script.done(1) == Answer(tickets[0], wire.Done())
    script.session.submit(check("o3"))
    assert script.listen() == [("COMMAND", 4, 1)]
    script.done(2)
    script.session.submit(check("o4"))
    assert script.listen() == [("COMMAND", 5, 3)]


def test_a_second_answer_to_a_retry_is_passed_over(script: Script) -> None:
    script.session.submit(check("a"))
    script.session.again()
    script.listen()
    assert script.done(1) is not None
    assert script.done(1) is None


def test_again_says_everything_that_is_not_answered(script: Script) -> None:
    script.session.submit(check("a"))
    script.session.ask(wire.Ping())
    said = script.listen()
    script.session.again()
    assert script.listen() == said


def test_a_refused_number_is_free_and_the_commands_behind_it_move_up(script: Script) -> None:
    first, second = script.session.submit(check("a")), script.session.submit(check("b"))
    script.listen()
    assert script.refuse(1) == Answer(first, wire.Failed(wire.FailureCode.NOT_AUTHORIZED, "no"))
    assert script.refuse(2, wire.FailureCode.WRONG_NUMBER) is None
    assert script.listen() == [("COMMAND", 1, 0)]
    assert script.done(1) == Answer(second, wire.Done())


def test_the_refusal_of_a_command_said_twice_is_settled_before_its_number_is_used_again(script: Script) -> None:
    """Its second copy is on the way: it may be executed after all, and its refusal must not hit another command."""
    refused = script.session.submit(check("a"))
    script.listen()
    script.session.again()
    script.listen()
    assert script.refuse(1) is None
    assert script.listen() == [("SETTLE", 1, 0)]
    other = script.session.submit(check("b"))
    assert script.refuse(1) is None, "of the second copy"
    no = wire.Failed(wire.FailureCode.NOT_AUTHORIZED, "no")
    assert script.answer(wire.Message.SETTLE, 1, wire.Voided()) == Answer(refused, no)
    assert script.listen() == [("COMMAND", 2, 0)]
    assert script.done(2) == Answer(other, wire.Done())


def test_a_second_copy_that_was_executed_after_a_refusal_is_the_answer(script: Script) -> None:
    ticket = script.session.submit(check("a"))
    script.listen()
    script.session.again()
    script.listen()
    assert script.refuse(1, wire.FailureCode.CAPACITY_EXCEEDED) is None
    assert script.done(1, 7) == Answer(ticket, wire.Done(7))
    assert script.answer(wire.Message.SETTLE, 1, wire.Done(7)) is None


def test_an_answer_to_what_was_refused_under_a_number_is_not_taken_for_the_next_command_of_that_number() -> None:
    script, late, meant = Script(), check("a"), check("b")
    script.session.submit(late)
    script.listen()
    script.refuse(1, wire.FailureCode.SYSTEM_UNAVAILABLE)
    ticket = script.session.submit(meant)
    script.listen()
    assert script.answer(wire.Message.COMMAND, 1, wire.Done(7), to=late) is None
    refused = wire.Failed(wire.FailureCode.SYSTEM_UNAVAILABLE, "no")
    assert script.answer(wire.Message.REFUSAL, 1, refused, to=late) is None
    assert script.answer(wire.Message.COMMAND, 1, wire.Done(8), to=meant) == Answer(ticket, wire.Done(8))


def test_a_command_whose_number_a_late_copy_of_another_has_used_goes_on_under_the_next(script: Script) -> None:
    script.session.submit(check("a"))
    script.listen()
    script.refuse(1, wire.FailureCode.SYSTEM_UNAVAILABLE)
    meant = check("b")
    ticket = script.session.submit(meant)
    script.listen()
    used = wire.Failed(wire.FailureCode.INVALID_INPUT, "number 1 has been used for another command", 2)
    assert script.answer(wire.Message.REFUSAL, 1, used, to=meant) is None
    assert script.listen() == [("COMMAND", 2, 1)]
    assert script.answer(wire.Message.COMMAND, 2, wire.Done(), to=meant) == Answer(ticket, wire.Done())


def test_a_settle_that_finds_another_command_under_the_number_is_void(script: Script) -> None:
    script.session.submit(check("a"))
    script.listen()
    script.refuse(1, wire.FailureCode.SYSTEM_UNAVAILABLE)
    ticket = script.session.submit(check("b"))
    script.listen()
    script.session.give_up(ticket)
    script.listen()
    assert script.answer(wire.Message.SETTLE, 1, wire.Done(7), to=check("a")) is None
    script.session.submit(check("c"))
    assert script.listen() == [("COMMAND", 2, 1)]


def test_a_command_given_up_is_settled_before_the_next_one(script: Script) -> None:
    lost = script.session.submit(check("a"))
    script.listen()
    assert script.session.give_up(lost), "it may have happened"
    ticket = script.session.submit(check("b"))
    assert script.listen() == [("SETTLE", 1, 0), ("COMMAND", 2, 0)]
    assert script.answer(wire.Message.SETTLE, 1, wire.Voided()) is None
    assert script.done(2) == Answer(ticket, wire.Done())


def test_a_copy_of_a_command_given_up_that_has_not_left_never_does(script: Script) -> None:
    lost = script.session.submit(check("a"))
    script.listen()
    script.session.again()
    script.session.submit(check("b"))
    assert script.session.give_up(lost), "the first copy has left"
    assert script.listen() == [("COMMAND", 2, 0), ("SETTLE", 1, 0)]


def test_a_late_answer_to_a_command_given_up_is_passed_over(script: Script) -> None:
    lost = script.session.submit(check("a"))
    script.listen()
    script.session.give_up(lost)
    assert script.done(1) is None
    assert script.session.in_flight == 0


def test_a_refusal_that_comes_after_a_number_behind_was_voided_frees_nothing(script: Script) -> None:
    """Else numbers would be missing in what was received, and the window never move on."""
    script.session.submit(check("a"))
    lost = script.session.submit(check("b"))
    script.listen()
    script.session.give_up(lost)
    script.listen()
    script.answer(wire.Message.SETTLE, 2, wire.Voided())
    assert script.refuse(1) is None
    assert script.listen() == [("SETTLE", 1, 0)]
    refused = script.answer(wire.Message.SETTLE, 1, wire.Voided())
    assert refused is not None and isinstance(refused.reply, wire.Failed)
    script.session.submit(check("c"))
    assert script.listen() == [("COMMAND", 3, 2)]


@pytest.mark.parametrize("protocol", wire.SPOKEN)
def test_a_settle_that_is_refused_leaves_the_number_open(script: Script, protocol: int) -> None:
    """Else the session would go on behind a number that the daemon still waits for, and never be served again."""
    script.session._protocol = protocol
    lost = script.session.submit(check("a"))
    script.listen()
    script.session.give_up(lost)
    script.listen()
    no = wire.Failed(wire.FailureCode.INVALID_INPUT, "number 1 is beyond the window")
    assert script.answer(wire.Message.SETTLE, 1, no) is None
    script.session.again()
    assert script.listen() == [("SETTLE", 1, 0)]


@pytest.mark.parametrize("protocol", wire.SPOKEN)
def test_a_settle_that_finds_a_command_that_could_not_be_done_is_answered(script: Script, protocol: int) -> None:
    """Its answer is the daemon's no to the command, and not to the settle."""
    script.session._protocol = protocol
    lost = script.session.submit(check("a"))
    script.listen()
    script.session.give_up(lost)
    script.listen()
    no = wire.Failed(wire.FailureCode.INVALID_INPUT, "modify of order o1: wait for the venue's answer")
    assert script.answer(wire.Message.SETTLE, 1, no, to=check("a") if protocol >= 2 else None) is None
    assert script.session.in_flight == 0
    script.session.submit(check("b"))
    assert script.listen() == [("COMMAND", 2, 1)]


def test_a_settle_is_repeated_until_it_is_answered(script: Script) -> None:
    lost = script.session.submit(check("a"))
    script.listen()
    script.session.give_up(lost)
    script.listen()
    assert script.refuse(1) is None, "of the command: the number is open still"
    script.session.again()
    assert script.listen() == [("SETTLE", 1, 0)]
    script.answer(wire.Message.SETTLE, 1, wire.Voided())
    script.session.again()
    assert script.listen() == []


def test_a_command_that_never_left_did_not_happen_and_never_leaves(script: Script) -> None:
    ticket = script.session.submit(check("a"))
    assert not script.session.give_up(ticket)
    assert script.listen() == []
    script.session.submit(check("b"))
    assert script.listen() == [("COMMAND", 1, 0)]


def test_a_command_that_never_left_makes_room_for_those_behind_it(script: Script) -> None:
    first, second = script.session.submit(check("a")), script.session.submit(check("b"))
    assert not script.session.give_up(first)
    assert [number for _, number, _ in script.listen()] == [1]
    assert script.done(1) == Answer(second, wire.Done())


def test_an_unknown_connection_says_hello_once_more_and_goes_on(script: Script) -> None:
    ticket = script.session.submit(check("a"))
    query = script.session.ask(wire.Ping())
    script.listen()
    script.refuse(1, wire.FailureCode.NO_SESSION)
    assert script.listen() == [("HELLO", 0, 0)]
    script.welcome()
    assert [kind for kind, _, _ in script.listen()] == ["COMMAND", "QUERY"]
    assert script.done(1) == Answer(ticket, wire.Done())
    pong = wire.Pong(1, "0")
    assert script.answer(wire.Message.QUERY, query.number, pong) == Answer(query, pong)


def test_a_hello_brings_the_session_and_the_highest_seen_entry_back(script: Script) -> None:
    script.session.submit(check("a"))
    script.answer(wire.Message.COMMAND, 1, wire.Done(), seq=4711)
    script.answer(wire.Message.QUERY, 9, wire.Pong(1, "0"), seq=4700)
    script.session.greet()
    hello = wire.decode_hello(script.session.outbox[0][1])
    assert hello == wire.Hello(wire.PROTOCOL, "mm1", TOKEN, 42, 4711)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (wire.FailureCode.FENCED, pit.Fenced),
        (wire.FailureCode.JOURNAL_BEHIND, pit.JournalBehind),
        (wire.FailureCode.CAPACITY_EXCEEDED, pit.CapacityExceeded),
    ],
)
def test_a_hello_that_is_turned_away_ends_the_session(
    script: Script, code: wire.FailureCode, error: type[pit.PitError]
) -> None:
    script.session.greet()
    script.answer(wire.Message.HELLO, 0, wire.Failed(code, "no"))
    with pytest.raises(error):
        script.session.submit(check("a"))
    with pytest.raises(error):
        script.session.ask(wire.Ping())


def test_an_answer_that_is_gone_is_told_and_never_asked_for_again(script: Script) -> None:
    ticket = script.session.submit(check("a"))
    script.listen()
    gone = script.refuse(1, wire.FailureCode.ANSWER_GONE)
    assert gone is not None and gone.ticket == ticket
    script.session.again()
    assert script.listen() == []


def test_a_refused_query_is_answered_and_disturbs_no_command(script: Script) -> None:
    script.session.submit(check("a"))
    query = script.session.ask(wire.Ping())
    script.listen()
    assert query.number != 1
    answer = script.refuse(query.number, wire.FailureCode.INVALID_INPUT)
    assert answer is not None and answer.ticket == query
    assert script.done(1) is not None


def test_no_more_commands_wait_than_the_daemon_would_take(script: Script) -> None:
    """Given up ones count: each keeps its number until it is settled."""
    for at in range(wire.WINDOW):
        ticket = script.session.submit(check(f"o{at}"))
        script.listen()
        script.session.give_up(ticket)
    assert not script.session.has_room
    with pytest.raises(pit.CapacityExceeded, match="64 commands wait for their answers; nothing was sent"):
        script.session.submit(check("one too many"))
    script.answer(wire.Message.SETTLE, 1, wire.Voided())
    assert script.session.has_room
    script.session.submit(check("now"))


@pytest.mark.parametrize("header", [b"", b"x" * 24, b"x" * 26])
def test_a_header_that_cannot_be_read_is_a_protocol_error(script: Script, header: bytes) -> None:
    with pytest.raises(pit.ProtocolError):
        script.session.received(header, wire.encode(wire.Done()))


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x91\xa3Foo", b"{}"])
def test_a_body_that_cannot_be_read_is_a_protocol_error(script: Script, body: bytes) -> None:
    with pytest.raises(pit.ProtocolError, match="cannot be read"):
        script.session.received(wire.pack_header(wire.Message.COMMAND, 0, 1, 0), body)


def test_a_reply_of_an_unknown_kind_is_a_protocol_error(script: Script) -> None:
    with pytest.raises(pit.ProtocolError, match="kind 99"):
        script.answer(99, 1, wire.Done())


# ---------------------------------------------------------------------------------------------- nobody waits any more


def accepted(id: str, reservation_id: int = 7, *, replayed: bool = False) -> wire.Accepted:
    return wire.Accepted(reservation_id, id, pit.OrderState.HELD, 5_000_000_000, replayed)


def said_bodies(script: Script) -> list[wire.Command]:
    """The commands that have been said since we last listened."""
    frames = [each for each in script.session.outbox if each[0][0] == wire.Message.COMMAND]
    script.listen()
    return [wire.decode_command(body) for _, body in frames]


def test_what_an_abandoned_check_was_given_is_taken_back(script: Script) -> None:
    ticket = script.session.submit(check("a"))
    script.listen()
    script.session.abandon(ticket)
    assert script.listen() == [("SETTLE", 1, 0)]
    assert script.answer(wire.Message.COMMAND, 1, accepted("a")) is None
    (undo,) = said_bodies(script)
    assert isinstance(undo, wire.Rollback) and undo.reservation_id == 7


def test_what_an_abandoned_start_was_given_is_taken_back(script: Script) -> None:
    ticket = script.session.submit(wire.Start(check("a").order))
    script.listen()
    script.session.abandon(ticket)
    script.listen()
    script.answer(wire.Message.COMMAND, 1, wire.Deferred(9, "a", 1))
    assert said_bodies(script) == [wire.Drop((), (9,))]


@pytest.mark.parametrize("reply", [wire.Voided(), accepted("a", replayed=True)], ids=["void", "replayed"])
def test_an_abandoned_check_that_was_given_nothing_of_its_own_takes_nothing_back(
    script: Script, reply: wire.Reply
) -> None:
    ticket = script.session.submit(check("a"))
    script.listen()
    script.session.abandon(ticket)
    script.listen()
    script.answer(wire.Message.SETTLE, 1, reply)
    assert said_bodies(script) == []
    assert script.session.in_flight == 0


def test_what_an_abandoned_check_was_given_is_kept_when_its_order_is_asked_for_again(script: Script) -> None:
    script.session.abandon(script.session.submit(check("z")))  # never left
    script.listen()
    ticket = script.session.submit(check("a"))
    script.listen()
    script.session.abandon(ticket)
    again = script.session.submit(check("a"))
    script.listen()
    assert script.answer(wire.Message.COMMAND, 1, accepted("a")) is None
    assert script.answer(wire.Message.COMMAND, 2, accepted("a", replayed=True)) == Answer(
        again, accepted("a", replayed=True)
    )
    assert said_bodies(script) == []


def test_what_somebody_has_got_already_is_not_taken_back_for_an_older_answer_that_comes_late(script: Script) -> None:
    ticket = script.session.submit(check("a"))
    script.listen()
    script.session.abandon(ticket)
    script.session.submit(check("a"))
    script.listen()
    assert script.answer(wire.Message.COMMAND, 2, accepted("a", replayed=True)) is not None
    assert script.answer(wire.Message.SETTLE, 1, accepted("a")) is None
    assert said_bodies(script) == []


def test_an_abandoned_fact_stays_on_its_way(script: Script) -> None:
    script.session.abandon(script.session.submit(wire.Commit(7)))
    assert script.listen() == [("COMMAND", 1, 0)]
    script.session.again()
    assert script.listen() == [("COMMAND", 1, 0)]


def test_what_is_to_be_taken_back_waits_for_room(script: Script) -> None:
    first = script.session.submit(check("a"))
    for at in range(wire.WINDOW - 1):
        script.session.submit(check(f"o{at}"))
    script.listen()
    script.session.abandon(first)
    script.listen()
    script.session.undo(accepted("b", 8))
    assert said_bodies(script) == []
    script.answer(wire.Message.SETTLE, 1, wire.Voided())
    assert [type(each) for each in said_bodies(script)] == [wire.Rollback]


# ---------------------------------------------------------------------------------------------- posted


def post(script: Script, reservation_id: int) -> None:
    script.session.post(wire.Commit(reservation_id, late=True), f"o{reservation_id}")


def confirm(script: Script, number: int) -> Answer | None:
    return script.answer(wire.Message.CONFIRMED, number, wire.Done())


def test_what_is_posted_is_confirmed_by_the_answer_to_a_later_command(script: Script) -> None:
    post(script, 1)
    post(script, 2)
    ticket = script.session.submit(check("a"))
    assert script.listen() == [("POSTED", 1, 0), ("POSTED", 2, 0), ("COMMAND", 3, 0)]
    assert confirm(script, 3) == Answer(ticket, wire.Done())
    assert (script.session.posted, script.session.in_flight, script.session.take_failures()) == (0, 0, [])
    script.session.submit(check("b"))
    assert script.listen() == [("COMMAND", 4, 3)]


def test_a_posted_command_that_failed_is_told_once_and_by_its_order(script: Script) -> None:
    post(script, 1)
    script.listen()
    script.answer(wire.Message.COMMAND, 1, wire.Failed(wire.FailureCode.UNKNOWN_ID, "no such"))
    ((order_id, error),) = script.session.take_failures()
    assert (order_id, type(error), str(error)) == ("o1", pit.UnknownId, "no such")
    assert script.session.take_failures() == []


def test_an_answer_that_confirms_nothing_has_what_was_posted_said_again_aloud(script: Script) -> None:
    """The no to one of them was lost on its way."""
    post(script, 1)
    script.session.submit(check("a"))
    script.listen()
    assert script.done(2) is not None
    assert script.listen() == [("COMMAND", 1, 0)]
    assert script.session.posted == 1
    script.answer(wire.Message.COMMAND, 1, wire.Settled(pit.OrderState.WORKING))
    assert script.session.posted == 0


def test_what_is_posted_is_said_aloud_when_it_is_said_again(script: Script) -> None:
    post(script, 1)
    script.listen()
    script.session.again()
    assert script.listen() == [("COMMAND", 1, 0)]
    script.session.greet()
    script.welcome()
    assert script.listen() == [("HELLO", 0, 0)] or script.session.posted == 1


def test_what_is_posted_before_the_welcome_is_said_aloud() -> None:
    script = Script(is_open=False)
    post(script, 1)
    script.listen()
    script.welcome()
    assert script.listen() == [("COMMAND", 1, 0)]


def test_asking_for_all_that_was_posted_takes_one_answer(script: Script) -> None:
    for id in (1, 2, 3):
        post(script, id)
    script.listen()
    script.session.confirm_posted()
    assert script.listen() == [("COMMAND", 3, 0)]
    script.answer(wire.Message.CONFIRMED, 3, wire.Settled(pit.OrderState.WORKING))
    assert script.session.posted == 0


def test_who_only_posts_is_answered_now_and_then(script: Script) -> None:
    """Else the window would fill with what nobody confirms."""
    for id in range(wire.WINDOW // 2 + 1):
        post(script, id)
    assert [kind for kind, _, _ in script.listen()] == ["POSTED"] * (wire.WINDOW // 2) + ["COMMAND"]


def test_nothing_that_was_posted_stays_quiet_before_a_settle(script: Script) -> None:
    """It may be voided along with what is settled, and the answer to the settle would not say so."""
    post(script, 1)
    lost = script.session.submit(check("a"))
    script.listen()
    script.session.give_up(lost)
    assert script.listen() == [("COMMAND", 1, 0), ("SETTLE", 2, 0)]
    script.answer(wire.Message.SETTLE, 2, wire.Voided())
    script.answer(wire.Message.COMMAND, 1, wire.Voided())
    assert script.listen() == [("COMMAND", 3, 2)], "it goes on under a new number"


def test_under_a_number_that_another_command_has_had_nothing_is_posted_quietly(script: Script) -> None:
    script.session.submit(check("a"))
    script.listen()
    script.refuse(1)
    post(script, 1)
    assert script.listen() == [("COMMAND", 1, 0)]


def test_a_daemon_of_protocol_1_is_told_aloud() -> None:
    script = Script(is_open=False)
    script.answer(wire.Message.HELLO, 0, wire.Failed(wire.FailureCode.PROTOCOL, "I speak 1"))
    script.listen()
    script.welcome()
    post(script, 1)
    assert script.listen() == [("COMMAND", 1, 0)]


def test_what_was_never_confirmed_is_told_at_the_end(script: Script) -> None:
    post(script, 1)
    ((order_id, error),) = script.session.take_failures(is_over=True)
    assert order_id == "o1" and isinstance(error, pit.OutcomeUnknown)


# ---------------------------------------------------------------------------------------------- bad weather

SETTINGS = """
[gate]
max_unsettled = {bound}
[limits.open_usd]
control = "open_order_notional"
each = "account"
settlement = "USD"
max_notional = "20"
"""


class Tape:
    """Keeps what was executed, as a journal would."""

    why_low = ""

    def __init__(self) -> None:
        self.executed: list[tuple[e.Command, e.Reply]] = []

    def append(self, rows: Sequence[e.Row]) -> None:
        self.executed += [
            (row.entry.body.command, row.reply) for row in rows if isinstance(row.entry.body, e.Commanded)
        ]


class Weather:
    """One session and the daemon's side of it, with a network between that loses connections.

    Within a connection nothing is lost or overtaken: that is what a socket does. When one is lost, all that is under
    way on it is lost as well, and nobody is told. With `is_wild`, messages are also lost, doubled and overtaken.
    """

    def __init__(self, seed: int, *, is_wild: bool = False) -> None:
        self.dice = random.Random(seed)
        self.tape = Tape()
        # a refusal that does not last is no match for the wild: its copies would be executed whenever they come
        settings = config.parse(SETTINGS.format(bound=1_000 if is_wild else 4))
        self.sequencer = bootstrap.build_sequencer(settings, ManualClock(1), self.tape)
        self.house = Conversations(self.sequencer, settings)
        self.session = Session("mm1", self.dice.randbytes(16))
        self.session.greet()
        self.connection = self.confirmed = 0
        self.there: list[tuple[bytes, bytes]] = []
        self.back: list[tuple[bytes, bytes]] = []
        self.is_wild = is_wild
        self.waiting: dict[Flight, str] = {}
        self.answers: dict[str, wire.Reply] = {}
        self.given_up: dict[str, bool] = {}
        self.abandoned: set[str] = set()
        self.posted: set[str] = set()
        self.reservations: list[int] = []
        self.count = 0

    def run(self, steps: int) -> None:
        acts = [self.say] * 3 + [self.carry_there] * 6 + [self.carry_back] * 6 + [self.send] * 6
        acts *= self.dice.choice((1, 5))  # some days are milder
        acts += [self.session.again, self.give_up, self.abandon, self.break_connection]
        for _ in range(steps):
            self.dice.choice(acts)()

    def say(self) -> None:
        """A new command: a check, the rollback of something held, or what this client may not do."""
        if len(self.waiting) >= 6:
            return
        self.count += 1
        mark = f"c{self.count}"
        way = self.dice.random()
        if (way < 0.03 or (way < 0.4 and self.reservations)) and self.session.has_room:
            id = self.reservations.pop() if self.reservations else 999_999  # an unknown one fails
            self.posted.add(mark)
            self.session.post(wire.Commit(id, mark, late=True), mark)
            return
        if self.reservations and way < 0.6:
            command: wire.Command = wire.Rollback(self.reservations.pop(), mark)
        elif 0.4 < way < 0.5 and not self.is_wild:
            command = wire.BlockScope("firm", mark)
        else:
            command = check(mark, self.dice.choice((1, 1, 3)))
        self.waiting[self.session.submit(command)] = mark

    def send(self) -> None:
        if self.session.outbox:
            frames = self.session.outbox.pop(0)
            self.session.sent(frames)
            self.there.append(frames)

    def carry_there(self) -> None:
        frames = self._take(self.there)
        if frames is None:
            return
        self.house.take(b"%d" % self.connection, *frames)
        self.sequencer.release()
        for identity, header, body in self.house.out:
            if identity == b"%d" % self.connection:
                self.back.append((header, body))
        self.house.out = []

    def carry_back(self) -> None:
        frames = self._take(self.back)
        if frames is not None:
            self.confirmed += frames[0][0] == wire.Message.CONFIRMED
        answer = None if frames is None else answer_of(self.session.received(*frames))
        if answer is None:
            return
        mark = self.waiting.pop(answer.ticket, None)
        if mark is None:
            return  # nobody waits for it: what was abandoned is taken back
        assert mark not in self.answers, f"{mark} was answered twice"
        self.answers[mark] = answer.reply
        if isinstance(answer.reply, wire.Accepted):
            self.reservations.append(answer.reply.reservation_id)

    def give_up(self) -> None:
        if self.waiting and self.dice.random() < 0.3:
            ticket = self.dice.choice(list(self.waiting))
            self.given_up[self.waiting.pop(ticket)] = self.session.give_up(ticket)

    def abandon(self) -> None:
        if self.waiting and self.dice.random() < 0.3:
            ticket = self.dice.choice(list(self.waiting))
            self.abandoned.add(self.waiting.pop(ticket))
            self.session.abandon(ticket)

    def break_connection(self) -> None:
        if self.dice.random() < 0.3:
            self.connection += 1
            self.there.clear()
            self.back.clear()

    def clear_up(self) -> None:
        """The weather is fine from here on: everything that waits gets its answer."""
        self.is_wild = False
        for _ in range(60):
            self.session.again()
            while self.session.outbox or self.there or self.back:
                self.send()
                self.carry_there()
                self.carry_back()
            if not self.session.in_flight:
                return
        raise AssertionError(f"the session is stuck: {self.session.in_flight} in flight, {self.waiting}")

    def executions(self, mark: str) -> list[e.Reply]:
        """How the command of that mark was answered, each time that it was executed."""
        return [reply for command, reply in self.tape.executed if mark in _marks(command)]

    def _take(self, queue: list[tuple[bytes, bytes]]) -> tuple[bytes, bytes] | None:
        if not queue:
            return None
        if not self.is_wild:
            return queue.pop(0)
        way = self.dice.random()
        place = 0 if way < 0.6 else self.dice.randrange(len(queue))
        if way > 0.95:
            return queue[place]  # and once more later
        frames = queue.pop(place)
        return None if way > 0.9 else frames


def _marks(command: e.Command) -> tuple[str, ...]:
    match command:
        case e.CheckOrder():
            return (command.order.id,)
        case e.Rollback() | e.BlockScope():
            return (command.reason,)
        case e.Commit(_, str(mark)):
            return (mark,)
        case _:
            return ()


SEEDS = range(150)


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    with decimal.localcontext(exact_context()):
        yield


@pytest.mark.parametrize("is_wild", [False, True], ids=["broken", "wild"])
@table("seed", SEEDS)
def test_in_any_weather_every_command_is_executed_at_most_once_and_answered_truly(seed: int, is_wild: bool) -> None:
    weather = Weather(seed, is_wild=is_wild)
    weather.run(400)
    weather.clear_up()
    assert weather.waiting == {}, "every ticket gets its answer"
    for mark, reply in weather.answers.items():
        executions = weather.executions(mark)
        if isinstance(reply, wire.Failed) and reply.code in _BEFORE_THE_ENGINE:
            assert executions == [], f"{mark} was refused and then executed"
        else:
            assert len(executions) == 1, mark
            assert type(executions[0]).__name__ == {"Settled": "Stands"}.get(type(reply).__name__, type(reply).__name__)
    for mark, may_have_happened in weather.given_up.items():
        assert len(weather.executions(mark)) <= int(may_have_happened), mark
    failed = dict(weather.session.take_failures())
    assert weather.session.posted == 0 and set(failed) <= weather.posted
    for mark in weather.posted:
        executions = weather.executions(mark)
        assert len(executions) == 1, f"{mark} was posted"
        assert isinstance(executions[0], e.Failed) == (mark in failed), "a yes is confirmed and a no is told"
    open_ids = {record.order_id for record in weather.sequencer.engine.orders.open.values()}
    for mark in weather.abandoned:
        assert len(weather.executions(mark)) <= 1, mark
    assert not weather.abandoned & open_ids, "what nobody got is taken back"
    weather.waiting[weather.session.submit(check("the last one"))] = "the last one"
    weather.clear_up()
    assert "the last one" in weather.answers, "the session goes on"


_BEFORE_THE_ENGINE = (
    wire.FailureCode.NOT_AUTHORIZED,
    wire.FailureCode.CAPACITY_EXCEEDED,
    wire.FailureCode.INVALID_INPUT,
)


def test_the_weather_is_bad_enough_to_show_every_ending() -> None:
    """Else the test above would promise nothing."""
    seen = set()
    for seed in SEEDS[:40]:
        weather = Weather(seed)
        weather.run(400)
        weather.clear_up()
        seen |= {reply.code if isinstance(reply, wire.Failed) else type(reply) for reply in weather.answers.values()}
        seen |= {("given up", happened) for happened in weather.given_up.values()}
        seen |= {"broken"} if weather.connection else set()
        undone = [each for each, _ in weather.tape.executed if isinstance(each, e.Rollback) and "task" in each.reason]
        seen |= {"taken back"} if undone else set()
        failed = {order_id for order_id, _ in weather.session.take_failures()}
        seen |= {("posted", mark in failed) for mark in weather.posted}
        seen |= {"confirmed by another"} if weather.confirmed else set()
    wanted = {wire.Accepted, wire.Refused, wire.Settled, wire.FailureCode.NOT_AUTHORIZED, "broken", "taken back"}
    wanted |= {("posted", True), ("posted", False), "confirmed by another"}
    wanted |= {wire.FailureCode.CAPACITY_EXCEEDED, ("given up", True), ("given up", False)}
    assert seen >= wanted
