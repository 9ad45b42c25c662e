"""The conversation with a daemon, without the socket: numbering, matching, settling, giving up.

It is told what was received and says what to send. One reply answers one number; a number is used by one command
for ever; a command given up on is settled (its stored answer, or void) before the next one is sent.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from . import _calls, wire
from ._calls import error_of
from .errors import CapacityExceeded, InvalidInput, NotAuthorized, OutcomeUnknown, PitError, ProtocolError
from .types import CancelRequest

Frames = tuple[bytes, bytes]

_HELLO, _COMMAND, _POSTED = wire.Message.HELLO, wire.Message.COMMAND, wire.Message.POSTED
_QUERY, _SETTLE = wire.Message.QUERY, wire.Message.SETTLE
_REFUSAL, _CONFIRMED = wire.Message.REFUSAL, wire.Message.CONFIRMED
"""Members that are asked for at every message: to look one up in its enum costs a quarter of a microsecond."""

_CLAIMS_KEPT = 256

_AGAIN = wire.Start | wire.Check | wire.CheckMany | wire.Take | wire.Modify
"""What asks for an order by its id, so that it may be asked for again."""


class Answer(NamedTuple):
    """What came of one command or query, by the ticket it was given."""

    ticket: int
    reply: wire.Reply


class _Flight:
    """One command between its first sending and its answer."""

    __slots__ = (
        "body",
        "command",
        "copies",
        "is_abandoned",
        "is_given_up",
        "is_quiet",
        "is_settling",
        "mark",
        "number",
        "posted_for",
        "refusal",
        "ticket",
        "was_sent",
    )

    def __init__(self, ticket: int, number: int, command: wire.Command, body: bytes) -> None:
        self.ticket = ticket
        self.number = number
        self.command = command
        self.body = body
        self.mark = wire.mark_of(wire.digest_of(body))
        self.copies = 0
        """How often it has been said under this number."""
        self.posted_for: str | None = None
        """The order that it is about, when nobody waits for its answer but a failure must be told."""
        self.is_quiet = False
        """Said once, with the wish that a yes be told by the answer to a later command alone."""
        self.was_sent = False
        self.is_settling = False
        self.is_given_up = False
        self.is_abandoned = False
        """Given up for good: what it is given after all is to be taken back."""
        self.refusal: wire.Failed | None = None


class Session:
    """The state of one conversation. Not thread-safe: its transport does the locking."""

    def __init__(self, client: str, token: bytes, *, read_only: bool = False) -> None:
        self.client = client
        self.read_only = read_only
        self.over: PitError | None = None
        """Why this session can't go on, once it can't."""
        self.outbox: list[Frames] = []
        """What is to be sent, in order. The transport empties it, and calls `sent()` for each message that left."""
        self._token = token
        self._protocol = wire.PROTOCOL
        self._session = 0
        self._is_open = False
        self._next_number = 1
        self._next_ticket = 1
        self._acked = 0
        self._window = wire.WINDOW
        self._answered: set[int] = set()
        self._seen_seq = 0
        self._epoch = b""
        """The daemon's start that `_seen_seq` was told in."""
        self._flights: dict[int, _Flight] = {}
        self._queries: dict[int, bytes] = {}
        self._claimed: dict[int, None] = {}
        """Reservations that somebody got by asking again, the latest: an older answer may name them, too."""
        self._to_undo: deque[wire.Command] = deque()
        self._posted: dict[int, _Flight] = {}
        """Of what is in flight, by ticket, that for which nobody waits but a failure must be told."""
        self._failures: list[tuple[str, PitError]] = []
        self._highest = 0
        """The highest number that a command has had."""
        self.notices: list[CancelRequest] = []
        """Orders to be cancelled that nobody has taken out yet: whichever call was waiting when they came."""
        self._place = (0, 0)
        self._watch: int | None = None
        """The ticket of the question that waits at the daemon, once somebody has asked to hear."""

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

    def submit(self, command: wire.Command) -> int:
        """Takes a command on its way. The ticket tells its answer from others.

        Raises CapacityExceeded while there is no room, and what ended the session once it is over; NotAuthorized where
        it may only ask.
        """
        flight = self._board(command)
        if self._is_open:
            self._put_command(flight)
        return flight.ticket

    def post(self, command: wire.Command, order_id: str) -> None:
        """Takes on its way what nobody waits for. It is said again until it is known what became of it: see `posted`.

        Raises as `submit`.
        """
        is_first = self._next_number > self._highest  # no stray copy of another command can stand under its number
        flight = self._board(command)
        is_due = sum(each.is_quiet for each in self._posted.values()) >= self._window // 2  # time for an answer
        flight.posted_for = order_id
        self._posted[flight.ticket] = flight
        if self._is_open:
            flight.is_quiet = is_first and not is_due and self._protocol >= 2
            self._put_command(flight)

    @property
    def posted(self) -> int:
        """How many posted commands have not been confirmed yet."""
        return len(self._posted)

    @property
    def has_failures(self) -> bool:
        """Whether there may be something for `take_failures`."""
        return bool(self._failures or self._posted)

    def confirm_posted(self) -> None:
        """Asks what became of everything that has been posted."""
        quiet = [flight.number for flight in self._posted.values() if flight.is_quiet]
        if quiet and self._is_open:
            self._put_command(self._flights[max(quiet)])  # its answer is theirs as well

    def take_failures(self, *, is_over: bool = False) -> list[tuple[str, PitError]]:
        """The posted commands that have failed, each once, with its order's id. `is_over`: no more will be heard."""
        if is_over:
            lost = [flight.posted_for or "" for flight in self._posted.values()]
            self._failures += [(order_id, OutcomeUnknown("it was never confirmed", order_id)) for order_id in lost]
            self._posted.clear()
        failures, self._failures = self._failures, []
        return failures

    def ask(self, query: wire.Query) -> int:
        """Takes a question on its way. Questions are not numbered by the daemon and may be asked again freely."""
        self._check_going()
        ticket = self._ticket()
        self._queries[ticket] = _packed(query)
        if self._is_open:
            self._put_query(ticket)
        return ticket

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
        self._put_all()

    def sent(self, frames: Frames) -> None:
        """Notes that a message has left: from here on its outcome can be unknown."""
        header = frames[0]
        if header[0] == _COMMAND or header[0] == _POSTED:
            flight = self._flights.get(wire.number_in(header))
            if flight is not None:
                flight.was_sent = True

    def all_sent(self) -> None:
        """Notes that everything has left that was to be sent."""
        outbox, self.outbox = self.outbox, []
        for frames in outbox:
            self.sent(frames)

    def give_up(self, ticket: int) -> bool:
        """Stops waiting for a command or query. False when it never left, so that nothing can have happened."""
        if self._queries.pop(ticket, None) is not None:
            return False
        flight = self._flight(ticket)
        if flight is None:
            return False
        if not flight.was_sent:
            self._free(flight.number)
            return False
        flight.is_given_up = True
        self._settle(flight)
        return True

    def abandon(self, ticket: int) -> None:
        """Nobody waits any more, nor will ask what became of it: its task was cancelled.

        A command that asks for something is given up, and undone should it have happened. One that tells what is so
        stays on its way: its answer is passed over.
        """
        flight = self._flight(ticket)
        if flight is not None and not isinstance(flight.command, _calls.ASKING):
            return
        if self.give_up(ticket):
            assert flight is not None
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
            asked = (flight.command for flight in self._flights.values() if not flight.is_given_up)
            ids = [id for each in asked if isinstance(each, _AGAIN) for id in _ids_of(each)]
            if reply.reservation_id in self._claimed or order_id in ids:
                return
        self._to_undo.append(command)
        self._undo_what_is_due()

    def received(self, header_frame: bytes, body: bytes) -> Answer | None:
        """Takes what came in. An answer, where it answers something that is waited for. Raises ProtocolError."""
        header = wire.unpack_header(header_frame)
        try:
            reply = wire.decode_reply(body)
        except ValueError as trouble:
            raise ProtocolError(f"the daemon's message cannot be read: {trouble}") from trouble
        self._seen_seq = max(self._seen_seq, wire.heard(header.acked, self._epoch))
        message = header.message
        if message in (_COMMAND, _CONFIRMED):
            if self._is_meant(header):
                if self._posted and header.number in self._flights and not isinstance(reply, wire.Voided):
                    self._look_at_posted(header.number, message == _CONFIRMED)
                return self._answered_with(header.number, reply)
        elif message == _QUERY:
            if self._queries.pop(header.number, None) is not None:
                if header.number == self._watch:
                    self._noticed(reply)
                    return None
                return Answer(header.number, reply)
        elif message == _HELLO:
            self._greeted(reply, header.acked)
        elif message == _SETTLE:
            flight = self._flights.get(header.number)
            if flight is not None and flight.is_settling and not self._is_still_open(header, reply):
                return self._answered_with(header.number, reply if self._is_meant(header) else wire.Voided())
        elif message == _REFUSAL and isinstance(reply, wire.Failed):
            if self._is_meant(header):
                return self._refused(header.number, reply)
        else:
            raise ProtocolError(f"a message of kind {message} makes no sense here")
        return None

    # ------------------------------------------------------------------------------------------ within

    def _board(self, command: wire.Command) -> _Flight:
        self._check_going()
        if self.read_only:
            raise NotAuthorized("this engine was connected with read_only=True: it asks, and gives no commands")
        if not self.has_room:
            raise CapacityExceeded(f"{self._window} commands wait for their answers; nothing was sent")
        flight = _Flight(self._ticket(), self._next_number, command, _packed(command))
        self._flights[flight.number] = flight
        self._highest = max(self._highest, flight.number)
        self._next_number += 1
        return flight

    def _greeted(self, reply: wire.Reply, told: int) -> None:
        if isinstance(reply, wire.Welcome):
            if (seq := wire.heard(told, reply.epoch)) >= self._seen_seq:
                self._seen_seq, self._epoch = seq, reply.epoch
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

    def _is_still_open(self, header: wire.Header, reply: wire.Reply) -> bool:
        """Whether a settle was refused, so that the number is not used up: it is asked again. What the command itself
        was answered carries its mark; protocol 1 has no marks, and there only the words tell.
        """
        if not isinstance(reply, wire.Failed) or reply.code is not wire.FailureCode.INVALID_INPUT:
            return False
        if self._protocol >= 2:
            return not header.session
        return any(words in reply.message for words in _REFUSED_SETTLES)

    def _is_meant(self, header: wire.Header) -> bool:
        """Whether this is about the command that has the number now, and not about one that had it and was refused."""
        flight = self._flights.get(header.number)
        return flight is None or not header.session or header.session == flight.mark

    def _answered_with(self, number: int, reply: wire.Reply) -> Answer | None:
        flight = self._flights.pop(number, None)
        if flight is None:
            return None  # a second answer to a retry
        self._acknowledge(number)
        if flight.is_given_up:
            if flight.is_abandoned:
                self.undo(reply)
            return None
        if isinstance(reply, wire.Accepted | wire.Taken | wire.Modified) and reply.replayed:
            self._claim(reply.reservation_id)
        if not isinstance(reply, wire.Voided):
            return self._answer(flight, reply)
        if flight.refusal is not None:
            return self._answer(flight, flight.refusal)
        self._renumber(flight, self._next_number)  # voided together with a later one: it goes on under a new number
        self._next_number += 1
        return None

    def _refused(self, number: int, failed: wire.Failed) -> Answer | None:
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
        if self._queries.pop(number, None) is not None and number not in self._flights:
            return Answer(number, failed)
        flight = self._flights.get(number)
        if flight is None:
            return None
        if code is wire.FailureCode.ANSWER_GONE:
            return self._answered_with(number, failed)
        if flight.is_settling:
            return None  # of a copy said before; the settle itself is answered as such
        if failed.number > number:
            return self._answered_with(number, wire.Voided())  # a stray copy of another one has used the number
        if flight.copies > 1 or self._may_be_void(number):
            flight.refusal = failed  # the number isn't free: another copy may fare better, or a settle behind voids it
            self._settle(flight)
            return None
        self._free(number)
        return self._answer(flight, failed)

    def _answer(self, flight: _Flight, reply: wire.Reply) -> Answer | None:
        """An answer for who waits for it. Of what was posted, a failure is kept until somebody asks."""
        if flight.posted_for is None:
            return Answer(flight.ticket, reply)
        if self._posted.pop(flight.ticket, None) is not None and not isinstance(reply, wire.Settled):
            self._failures.append((flight.posted_for, _calls.failure_of(reply)))
        return None

    def _look_at_posted(self, number: int, is_confirmed: bool) -> None:
        """A command behind quiet ones was answered: they were carried out before it, and as told, if it says so."""
        for flight in [each for each in self._posted.values() if each.is_quiet and each.number < number]:
            if is_confirmed:
                del self._posted[flight.ticket], self._flights[flight.number]
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
        behind = sorted(each for each in self._flights if each > number)
        for each in behind:
            self._renumber(self._flights.pop(each), each - 1)
        self._next_number -= 1

    def _renumber(self, flight: _Flight, number: int) -> None:
        flight.number = number
        flight.copies = 0
        flight.is_quiet = False
        self._flights[number] = flight
        self._highest = max(self._highest, number)
        if self._is_open:
            self._put_command(flight)

    def _settle(self, flight: _Flight) -> None:
        """Asks what became of its number, so that it is used up either way: its stored answer, or void.

        Copies of the command that have not left stay here: nobody waits for it any more. What is voided with it is told
        to who asks: so nothing before it stays quiet.
        """
        flight.is_settling = True
        self.outbox[:] = [frames for frames in self.outbox if not _is_command(flight.number, frames[0])]
        for each in self._posted.values():
            if each.is_quiet and each.number < flight.number and self._is_open:
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
        for ticket in self._queries:
            self._put_query(ticket)

    def _put_command(self, flight: _Flight) -> None:
        if flight.is_settling:
            self.outbox.append((wire.pack_header(_SETTLE, self._session, flight.number, self._acked), b""))
        else:
            flight.is_quiet = flight.is_quiet and not flight.copies
            kind = _POSTED if flight.is_quiet else _COMMAND
            self.outbox.append((wire.pack_header(kind, self._session, flight.number, self._acked), flight.body))
            flight.copies += 1

    def _put_query(self, ticket: int) -> None:
        header = wire.pack_header(_QUERY, self._session, ticket, 0)
        self.outbox.append((header, self._queries[ticket]))

    def _flight(self, ticket: int) -> _Flight | None:
        return next((flight for flight in self._flights.values() if flight.ticket == ticket), None)

    def _ticket(self) -> int:
        self._next_ticket += 1
        return self._next_ticket

    def _check_going(self) -> None:
        if self.over is not None:
            raise self.over


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


def _packed(body: wire.Command | wire.Query) -> bytes:
    packed = wire.encode(body)
    if len(packed) > wire.MAX_MESSAGE_BYTES:  # the daemon would drop the connection, and every retry as well
        name = type(body).__name__
        raise InvalidInput(f"{name}: {len(packed)} bytes are more than the {wire.MAX_MESSAGE_BYTES} of a message")
    return packed
