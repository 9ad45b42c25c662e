"""The conversation with a daemon, without the socket: numbering, matching, settling, giving up.

It is told what was received and says what to send. One reply answers one number; a number is used by one command
for ever; a command given up on is settled (its stored answer, or void) before the next one is sent.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable
from typing import Any, NoReturn

import msgspec

from . import _calls, wire
from ._calls import error_of
from .errors import CapacityExceeded, InvalidInput, NotAuthorized, OutcomeUnknown, PitError, ProtocolError
from .types import CancelRequest

Frames = tuple[bytes, bytes]

_HELLO, _COMMAND, _POSTED = int(wire.Message.HELLO), int(wire.Message.COMMAND), int(wire.Message.POSTED)
_QUERY, _SETTLE = int(wire.Message.QUERY), int(wire.Message.SETTLE)
_REFUSAL, _CONFIRMED = int(wire.Message.REFUSAL), int(wire.Message.CONFIRMED)
"""As plain numbers, since they are asked for at every message: to look a member up in its enum, or to compare it, costs
as much as a look into a dictionary.
"""

_ANSWERS = (_COMMAND, _CONFIRMED)

_CLAIMS_KEPT = 256

_AGAIN = wire.Start | wire.Check | wire.CheckMany | wire.Take | wire.Modify
"""What asks for an order by its id, so that it may be asked for again."""


class Flight(msgspec.Struct, eq=False):
    """One command or question between its first sending and its answer. Who has sent it knows it by this."""

    number: int
    asked: Any
    """The command or question itself."""
    body: bytes
    is_first: bool
    """Whether no other command can have been said under its number. Else an answer is its own only if it carries its
    mark: it may be about the one that had the number and was refused.
    """
    posted_for: str | None = None
    """The order that it is about, when nobody waits for its answer but a failure must be told."""
    reply: wire.Reply | None = None
    """The answer, once it is here."""
    copies: int = 0
    """How often it has been said under this number."""
    is_quiet: bool = False
    """Said once, with the wish that a yes be told by the answer to a later command alone."""
    was_sent: bool = False
    is_settling: bool = False
    is_given_up: bool = False
    is_abandoned: bool = False
    """Given up for good: what it is given after all is to be taken back."""
    refusal: wire.Failed | None = None
    woken: Any = None
    """Who waits for it, where its transport wakes somebody, and since when and until when."""
    began: float = 0.0
    deadline: float = 0.0
    trouble: PitError | None = None

    @property
    def mark(self) -> int:
        """What an answer to it is told by."""
        return wire.mark_of(wire.digest_of(self.body))


class Session:
    """The state of one conversation. Not thread-safe: its transport does the locking."""

    def __init__(self, client: str, token: bytes, *, read_only: bool = False) -> None:
        self.client = client
        self.read_only = read_only
        self.over: PitError | None = None
        """Why this session can't go on, once it can't."""
        self.outbox: list[Frames] = []
        """What is to be sent, in order. The transport empties it, and calls `sent()` for each message that left, or
        `all_sent()`.
        """
        self._leaving: deque[Flight] = deque()
        """The commands among it."""
        self._token = token
        self._protocol = wire.PROTOCOL
        self._session = 0
        self._is_open = False
        self._next_number = 1
        self._next_question = 1
        self._acked = 0
        self._window = wire.WINDOW
        self._answered: set[int] = set()
        self._seen_seq = 0
        self._epoch = b""
        """The daemon's start that `_seen_seq` was told in."""
        self._told_from = 0
        """What is told beside each sequence number of that start."""
        self._flights: dict[int, Flight] = {}
        self._queries: dict[int, Flight] = {}
        self._claimed: dict[int, None] = {}
        """Reservations that somebody got by asking again, the latest: an older answer may name them, too."""
        self._to_undo: deque[wire.Command] = deque()
        self._posted: dict[Flight, None] = {}
        """Of what is in flight, that for which nobody waits but a failure must be told."""
        self._quiet: dict[int, Flight] = {}
        """Of that, by number and in their order, what is answered by the answer to a later command."""
        self.failures: list[tuple[str, PitError]] = []
        """What was posted and has failed, until somebody takes it."""
        self._highest = 0
        """The highest number that a command has had."""
        self.notices: list[CancelRequest] = []
        """Orders to be cancelled that nobody has taken out yet: whichever call was waiting when they came."""
        self._place = (0, 0)
        self._watch: Flight | None = None
        """The question that waits at the daemon, once somebody has asked to hear."""

    @property
    def is_open(self) -> bool:
        """Whether the daemon has welcomed this session on the present connection."""
        return self._is_open

    @property
    def is_older(self) -> bool:
        """Whether the daemon is one of the release before this one."""
        return self._protocol < wire.PROTOCOL

    @property
    def in_flight(self) -> int:
        return len(self._flights)

    @property
    def has_room(self) -> bool:
        """Whether the daemon would take one more number before the oldest that waits has been answered or settled."""
        return self._next_number - self._acked <= self._window

    def greet(self) -> None:
        """Says hello: the first time, or again after a connection was lost."""
        self._is_open = False
        seen = (0, b"") if self.read_only else (self._seen_seq, self._epoch)  # each question stands for itself
        hello = wire.Hello(self._protocol, self.client, self._token, self._session, *seen, self.read_only)
        self.outbox = [(wire.pack_header(_HELLO, self._session, 0, 0), wire.encode(hello))]
        self._leaving.clear()

    def submit(self, command: wire.Command, posted_for: str | None = None) -> Flight:
        """Takes a command on its way; its answer is told by what this gives. `posted_for`: see `post`.

        Raises CapacityExceeded while there is no room, and what ended the session once it is over; NotAuthorized where
        it may only ask.
        """
        number = self._next_number
        if self.over is not None or self.read_only or number - self._acked > self._window:
            self._raise_why_not()
        body = wire.encode(command)
        if len(body) > wire.MAX_MESSAGE_BYTES:
            _raise_too_long(command, body)
        flight = Flight(number, command, body, number > self._highest, posted_for)
        self._flights[number] = flight
        self._next_number = number + 1
        if posted_for is not None:
            self._posted[flight] = None
            if self._is_open and flight.is_first and len(self._quiet) < self._window // 2 and self._protocol >= 2:
                flight.is_quiet = True  # else it is time for an answer, or a stray copy of another may have its number
                self._quiet[number] = flight
        if number > self._highest:
            self._highest = number
        if self._is_open:
            self._put_command(flight)
        return flight

    def post(self, command: wire.Command, order_id: str) -> None:
        """Takes on its way what nobody waits for. It is said again until it is known what became of it: see `posted`.

        Raises as `submit`.
        """
        self.submit(command, order_id)

    @property
    def posted(self) -> int:
        """How many posted commands have not been confirmed yet."""
        return len(self._posted)

    def confirm_posted(self) -> None:
        """Asks what became of everything that has been posted."""
        if self._quiet and self._is_open:
            self._put_command(self._quiet[max(self._quiet)])  # its answer is theirs as well

    def take_failures(self, *, is_over: bool = False) -> list[tuple[str, PitError]]:
        """The posted commands that have failed, each once, with its order's id. `is_over`: no more will be heard."""
        if is_over:
            lost = [flight.posted_for or "" for flight in self._posted]
            self.failures += [(order_id, OutcomeUnknown("it was never confirmed", order_id)) for order_id in lost]
            self._posted.clear()
            self._quiet.clear()
        failures, self.failures = self.failures, []
        return failures

    def ask(self, query: wire.Query) -> Flight:
        """Takes a question on its way. Questions are not numbered by the daemon and may be asked again freely."""
        if self.over is not None:
            raise self.over
        body = wire.encode(query)
        if len(body) > wire.MAX_MESSAGE_BYTES:
            _raise_too_long(query, body)
        self._next_question += 1
        flight = self._queries[self._next_question] = Flight(self._next_question, query, body, True)
        if self._is_open:
            self._put_query(flight)
        return flight

    @property
    def under_way(self) -> Iterable[Flight]:
        """Commands and questions that have not been answered."""
        return [*self._flights.values(), *self._queries.values()]

    def watch(self, wait_ns: int) -> None:
        """Leaves a question at the daemon that is answered once there is something to cancel; one at a time."""
        if self._watch is None and self.over is None:
            self._watch = self.ask(wire.AskCancels(*self._place, wait_ns))

    def hear_first(self, reply: wire.CancelsFor) -> None:
        """Takes in the answer to a question that did not wait."""
        self._noticed(reply)

    def watch_again(self) -> None:
        """Says that question once more: it may have been lost."""
        if self._watch is not None and self._is_open:
            self._put_query(self._watch)

    @property
    def is_watching(self) -> bool:
        """Whether the question is there, and not answered."""
        return self._watch is not None

    def take_notices(self) -> list[CancelRequest]:
        notices, self.notices = self.notices, []
        return notices

    def _noticed(self, reply: wire.Reply) -> None:
        self._watch = None
        if isinstance(reply, wire.CancelsFor):
            self.notices += reply.cancels
            self._place = (reply.seq, reply.reservation_id)

    def again(self) -> None:
        """Says everything once more that has not been answered: retries are known by their numbers."""
        if not self._is_open:
            self.greet()
            return
        self.outbox.clear()
        self._leaving.clear()
        self._put_all()

    def sent(self, frames: Frames) -> None:
        """Notes that a message has left: from here on its outcome can be unknown."""
        header = frames[0]
        if header[0] == _COMMAND or header[0] == _POSTED:
            flight = self._flights.get(wire.number_in(header))
            if flight is not None:
                flight.was_sent = True
                if self._leaving and self._leaving[0] is flight:
                    self._leaving.popleft()

    def all_sent(self) -> None:
        """Notes that everything has left that was to be sent."""
        self.outbox = []
        for flight in self._leaving:
            flight.was_sent = True
        self._leaving.clear()

    def give_up(self, flight: Flight) -> bool:
        """Stops waiting for a command or query. False when it never left, so that nothing can have happened."""
        if self._queries.get(flight.number) is flight:
            del self._queries[flight.number]
            return False
        if self._flights.get(flight.number) is not flight:
            return False
        if not flight.was_sent:
            self._free(flight.number)
            return False
        flight.is_given_up = True
        self._settle(flight)
        return True

    def abandon(self, flight: Flight) -> None:
        """Nobody waits any more, nor will ask what became of it: its task was cancelled.

        A command that asks for something is given up, and undone should it have happened. One that tells what is so
        stays on its way: its answer is passed over.
        """
        is_command = self._flights.get(flight.number) is flight
        if is_command and not isinstance(flight.asked, _calls.ASKING):
            return
        if self.give_up(flight):
            flight.is_abandoned = True

    def undo(self, reply: wire.Reply) -> None:
        """Takes back what an answer has given that nobody got; unless the same order was asked for again."""
        if isinstance(reply, wire.ManyChecked):
            for answer in reply.answers:
                self.undo(answer)
            return
        command = _calls.undo_of(reply)
        if command is None or self.over is not None:
            return
        if isinstance(reply, wire.Accepted | wire.Taken | wire.Modified):
            order_id = reply.order_id if isinstance(reply, wire.Accepted) else reply.order.id
            asked = (flight.asked for flight in self._flights.values() if not flight.is_given_up)
            ids = [id for each in asked if isinstance(each, _AGAIN) for id in _ids_of(each)]
            if reply.reservation_id in self._claimed or order_id in ids:
                return
        self._to_undo.append(command)
        self._undo_what_is_due()

    def received(self, header_frame: bytes, body: bytes) -> Flight | None:
        """Takes what came in. What is answered by that, with its reply, where somebody waits for it.

        Raises ProtocolError.
        """
        try:
            message, mark, number, told = _unpack(header_frame)
        except struct.error:
            wire.unpack_header(header_frame)  # says what is wrong
            raise
        try:
            reply = wire.decode_reply(body)
        except ValueError as trouble:
            raise ProtocolError(f"the daemon's message cannot be read: {trouble}") from trouble
        if self._seen_seq < told - self._told_from <= wire.MAX_SEQ:  # else it is older, or of another start
            self._seen_seq = told - self._told_from
        if message in _ANSWERS:
            flight = self._flights.get(number)
            if flight is None or (mark and not flight.is_first and mark != flight.mark):
                return None
            if self._quiet and type(reply) is not wire.Voided:
                self._look_at_posted(number, message == _CONFIRMED)
            return self._answered_with(flight, reply)
        if message == _QUERY:
            flight = self._queries.pop(number, None)
            if flight is None:
                return None
            if flight is self._watch:
                self._noticed(reply)
                return None
            flight.reply = reply
            return flight
        flight = self._flights.get(number)
        is_meant = flight is None or not mark or flight.is_first or mark == flight.mark
        if message == _HELLO:
            self._greeted(reply, told)
        elif message == _SETTLE:
            if flight is not None and flight.is_settling and not self._is_still_open(mark, reply):
                return self._answered_with(flight, reply if is_meant else wire.Voided())
        elif message == _REFUSAL and isinstance(reply, wire.Failed):
            if is_meant:
                return self._refused(number, reply)
        else:
            raise ProtocolError(f"a message of kind {message} makes no sense here")
        return None

    # ------------------------------------------------------------------------------------------ within

    def _raise_why_not(self) -> NoReturn:
        if self.over is not None:
            raise self.over
        if self.read_only:
            raise NotAuthorized("this engine was connected with read_only=True: it asks, and gives no commands")
        raise CapacityExceeded(f"{self._window} commands wait for their answers; nothing was sent")

    def _greeted(self, reply: wire.Reply, told: int) -> None:
        if isinstance(reply, wire.Welcome):
            if (seq := wire.heard(told, reply.epoch)) >= self._seen_seq:
                self._seen_seq, self._epoch = seq, reply.epoch
                self._told_from = wire.told(0, reply.epoch)
            if self._is_open:
                return  # the answer to a hello that was said twice
            self._session = reply.session
            self._window = reply.window
            self._is_open = True
            self._put_all()
        elif not isinstance(reply, wire.Failed):
            raise ProtocolError(f"{type(reply).__name__} is no answer to a hello")
        elif reply.code is wire.FailureCode.PROTOCOL and self._protocol - 1 in wire.SPOKEN:
            self._protocol -= 1  # a daemon of the release before this one
            self.greet()
        else:
            self.over = error_of(reply)

    def _is_still_open(self, mark: int, reply: wire.Reply) -> bool:
        """Whether a settle was refused, so that the number is not used up: it is asked again. What the command itself
        was answered carries its mark; protocol 1 has no marks, and there only the words tell.
        """
        if not isinstance(reply, wire.Failed) or reply.code is not wire.FailureCode.INVALID_INPUT:
            return False
        if self._protocol >= 2:
            return not mark
        return any(words in reply.message for words in _REFUSED_SETTLES)

    def _answered_with(self, flight: Flight, reply: wire.Reply) -> Flight | None:
        number = flight.number
        del self._flights[number]
        if number == self._acked + 1 and not self._answered and not self._to_undo:
            self._acked = number  # as `_acknowledge` does, for the usual case: the oldest one is answered
        else:
            self._acknowledge(number)
        if flight.is_given_up:
            if flight.is_abandoned:
                self.undo(reply)
            return None
        if type(reply) in _HELD and reply.replayed:  # type: ignore[union-attr]
            self._claim(reply.reservation_id)  # type: ignore[union-attr]
        if type(reply) is not wire.Voided:
            if flight.posted_for is not None:
                return self._answer(flight, reply)
            flight.reply = reply
            return flight
        if flight.refusal is not None:
            return self._answer(flight, flight.refusal)
        self._renumber(flight, self._next_number)  # voided together with a later one: it goes on under a new number
        self._next_number += 1
        return None

    def _refused(self, number: int, failed: wire.Failed) -> Flight | None:
        code = failed.code
        if code is wire.FailureCode.NO_SESSION:
            if self._is_open:
                self.greet()  # the daemon does not know this connection
            return None
        if code is wire.FailureCode.FENCED:
            self.over = error_of(failed)
            return None
        if code is wire.FailureCode.WRONG_NUMBER:
            return None  # something before it was lost; `again` says both once more
        question, flight = self._queries.pop(number, None), self._flights.get(number)
        if flight is None:
            if question is not None:
                question.reply = failed
            return question
        if code is wire.FailureCode.ANSWER_GONE:
            return self._answered_with(flight, failed)
        if flight.is_settling:
            return None  # of a copy said before; the settle itself is answered as such
        if failed.number > number:
            return self._answered_with(flight, wire.Voided())  # a stray copy of another one has used the number
        if flight.copies > 1 or self._may_be_void(number):
            flight.refusal = failed  # the number isn't free: another copy may fare better, or a settle behind voids it
            self._settle(flight)
            return None
        self._free(number)
        return self._answer(flight, failed)

    def _answer(self, flight: Flight, reply: wire.Reply) -> Flight | None:
        """Tells who waits for it. Of what was posted, a failure is kept until somebody asks."""
        if flight.posted_for is None:
            flight.reply = reply
            return flight
        if flight in self._posted:
            self._forget_posted(flight)
            if not isinstance(reply, wire.Settled):
                self.failures.append((flight.posted_for, _calls.failure_of(reply)))
        return None

    def _forget_posted(self, flight: Flight) -> None:
        del self._posted[flight]
        if flight.is_quiet:
            self._quiet.pop(flight.number, None)

    def _look_at_posted(self, number: int, is_confirmed: bool) -> None:
        """A command behind quiet ones was answered: they were carried out before it, and as told, if it says so."""
        for flight in tuple(self._quiet.values()):
            if flight.number >= number:
                return
            if is_confirmed:
                self._forget_posted(flight)
                del self._flights[flight.number]
                if flight.number == self._acked + 1 and not self._answered and not self._to_undo:
                    self._acked += 1
                else:
                    self._acknowledge(flight.number)
            else:
                self._put_command(flight)  # a no is under way, or was lost

    def _may_be_void(self, number: int) -> bool:
        """Whether one behind it has been answered or is being settled: either way this one can't be used again."""
        is_settling = any(each.is_settling for each in self._flights.values() if each.number > number)
        return is_settling or any(answered > number for answered in self._answered)

    def _free(self, number: int) -> None:
        """The number was not used: the commands behind it move up, and are said again under their new numbers."""
        del self._flights[number]
        self.outbox[:] = [frames for frames in self.outbox if not _is_command_from(number, frames[0])]
        self._leaving = deque(flight for flight in self._leaving if flight.number < number)
        behind = sorted(each for each in self._flights if each > number)
        for each in behind:
            self._renumber(self._flights.pop(each), each - 1)
        self._next_number -= 1

    def _renumber(self, flight: Flight, number: int) -> None:
        self._speak_up(flight)
        flight.number = number
        flight.copies = 0
        flight.is_first = number > self._highest
        self._flights[number] = flight
        self._highest = max(self._highest, number)
        if self._is_open:
            self._put_command(flight)

    def _settle(self, flight: Flight) -> None:
        """Asks what became of its number, so that it is used up either way: its stored answer, or void.

        Copies of the command that have not left stay here: nobody waits for it any more. What is voided with it is told
        to who asks: so nothing before it stays quiet.
        """
        flight.is_settling = True
        self.outbox[:] = [frames for frames in self.outbox if not _is_command(flight.number, frames[0])]
        self._leaving = deque(each for each in self._leaving if each is not flight)
        for each in tuple(self._quiet.values()):
            if each.number < flight.number and self._is_open:
                self._put_command(each)
        if self._is_open:
            self._put_command(flight)

    def _claim(self, reservation_id: int) -> None:
        self._claimed[reservation_id] = None
        if len(self._claimed) > _CLAIMS_KEPT:
            del self._claimed[next(iter(self._claimed))]

    def _undo_what_is_due(self) -> None:
        while self._to_undo and self.has_room and self.over is None:
            self.submit(self._to_undo.popleft())

    def _acknowledge(self, number: int) -> None:
        self._answered.add(number)
        while self._acked + 1 in self._answered:
            self._acked += 1
            self._answered.remove(self._acked)
        if self._to_undo:
            self._undo_what_is_due()

    def _put_all(self) -> None:
        for number in sorted(self._flights):
            self._put_command(self._flights[number])
        for question in self._queries.values():
            self._put_query(question)

    def _put_command(self, flight: Flight) -> None:
        if flight.is_settling:
            self.outbox.append((_pack(_SETTLE, self._session, flight.number, self._acked), b""))
            return
        if flight.copies:
            self._speak_up(flight)
        kind = _POSTED if flight.is_quiet else _COMMAND
        self.outbox.append((_pack(kind, self._session, flight.number, self._acked), flight.body))
        self._leaving.append(flight)
        flight.copies += 1

    def _speak_up(self, flight: Flight) -> None:
        """From here on it is answered by itself."""
        if flight.is_quiet:
            flight.is_quiet = False
            self._quiet.pop(flight.number, None)

    def _put_query(self, question: Flight) -> None:
        self.outbox.append((_pack(_QUERY, self._session, question.number, 0), question.body))


_pack, _unpack = wire.pack_header, wire.unpack_fields

_HELD = frozenset((wire.Accepted, wire.Taken, wire.Modified))


def _ids_of(command: wire.Command) -> tuple[str | None, ...]:
    """The orders that a command asks for."""
    if isinstance(command, wire.CheckMany):
        return tuple(order.id for order in command.orders)
    return (_calls.order_id_of(command),)


def _is_command(number: int, header_frame: bytes) -> bool:
    header = wire.unpack_header(header_frame)
    return header.message in (_COMMAND, _POSTED) and header.number == number


_REFUSED_SETTLES = ("is beyond the window", "cannot have been received")
"""What a daemon says of a number that it does not settle, and of no command."""

_NUMBERED = (_COMMAND, _POSTED, _SETTLE)


def _is_command_from(number: int, header_frame: bytes) -> bool:
    """Whether a message that has not left is a command of that number, or of one behind it."""
    header = wire.unpack_header(header_frame)
    return header.message in _NUMBERED and header.number >= number


def _raise_too_long(asked: wire.Command | wire.Query, body: bytes) -> NoReturn:
    """The daemon would drop the connection, and every retry as well."""
    name = type(asked).__name__
    raise InvalidInput(f"{name}: {len(body)} bytes are more than the {wire.MAX_MESSAGE_BYTES} of a message")
