"""The conversations with clients: numbers without gaps, and the answers that are kept for retries."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from .entry import EndedBy, Failed, Failure, Reply, Void


class Session(msgspec.Struct, kw_only=True, array_like=True):
    """One connection of a client: what it said, what it was answered, and what it has not settled yet."""

    id: int
    client: str
    token: bytes
    next_number: int = 1
    acked: int = 0
    answers: dict[int, tuple[bytes, Reply]]
    unsettled: dict[int, None]
    """Reservations whose lease this session keeps, and requests not yet executed."""
    ended_by: EndedBy | None = None


class Known(msgspec.Struct, frozen=True, gc=False):
    """An answer that needs no entry: the stored one, or a refusal (which leaves the number free)."""

    reply: Reply
    is_refusal: bool


class Sessions:
    """The sessions of every client: at most one live one a client name, and the last fenced ones for a clear answer."""

    def __init__(self, *, window: int, ended_kept: int) -> None:
        self.window = window
        self.by_id: dict[int, Session] = {}
        """The live ones."""
        self._live: dict[str, Session] = {}
        self._ended: OrderedDict[int, Session] = OrderedDict()
        self._ended_kept = ended_kept
        self.ending: dict[int, Session] = {}
        """Ended sessions that still have something to give back."""

    def bound(self, window: int, ended_kept: int) -> None:
        """How many commands may be in flight, and how many ended sessions are remembered."""
        self.window, self._ended_kept = window, ended_kept

    def get(self, id: int) -> Session | None:
        return self.by_id.get(id) or self._ended.get(id)

    def live(self, client: str) -> Session | None:
        return self._live.get(client)

    def __len__(self) -> int:
        return len(self.by_id)

    def judge(self, session: Session, number: int, acked: int, digest: bytes) -> Known | None:
        """None for a fresh command; else what it gets without being executed."""
        if session.ended_by is not None:
            return Known(over(session), True)
        if number == session.next_number:
            if acked >= number:
                why = f"answers up to {acked} cannot have been received before command {number}"
                return Known(Failed(Failure.INVALID_INPUT, why), True)
            if acked < session.acked:
                acked = session.acked  # a late copy was first said when less had been received
            if number - acked > self.window:
                why = f"{number - acked} commands without an acknowledged answer; the window is {self.window}"
                return Known(Failed(Failure.CAPACITY_EXCEEDED, why), True)
            return None
        if number > session.next_number:
            expected = session.next_number
            why = f"number {expected} is expected, not {number}"
            return Known(Failed(Failure.WRONG_NUMBER, why, expected), True)
        stored = session.answers.get(number)
        if stored is None:
            return Known(Failed(Failure.ANSWER_GONE, f"the answer to command {number} is no longer kept"), True)
        if digest != stored[0] and not isinstance(stored[1], Void):
            why = f"number {number} has been used for another command"
            return Known(Failed(Failure.INVALID_INPUT, why, session.next_number), True)
        return Known(stored[1], False)

    def judge_settle(self, session: Session, number: int, acked: int) -> Known | None:
        """None where the number must be voided by an entry; else what settling it answers."""
        if session.ended_by is not None:
            return Known(over(session), True)
        if number < session.next_number:
            stored = session.answers.get(number)
            if stored is None:
                return Known(Failed(Failure.ANSWER_GONE, f"the answer to command {number} is no longer kept"), True)
            return Known(stored[1], False)
        if acked >= session.next_number:
            why = f"answers up to {acked} cannot have been received: the last number was {session.next_number - 1}"
            return Known(Failed(Failure.INVALID_INPUT, why), True)
        if number - max(acked, session.acked) > self.window:
            return Known(Failed(Failure.INVALID_INPUT, f"number {number} is beyond the window"), True)
        return None

    def going(self) -> list[Session]:
        return list(self.by_id.values())

    def over(self) -> list[Session]:
        """The ended ones that are still remembered, oldest first."""
        return list(self._ended.values())

    def load(self, going: Sequence[Session], ended: Sequence[Session]) -> None:
        for session in going:
            self.by_id[session.id] = session
            self._live[session.client] = session
        for session in ended:
            self._ended[session.id] = session
            if session.unsettled:
                self.ending[session.id] = session

    # ------------------------------------------------------------------------------------------ carrying out

    def start(self, id: int, client: str, token: bytes) -> None:
        session = Session(id=id, client=client, token=token, answers={}, unsettled={})
        self.by_id[id] = session
        self._live[client] = session

    def finish(self, session: Session, ended_by: EndedBy) -> None:
        session.ended_by = ended_by
        session.answers.clear()
        del self.by_id[session.id]
        if self._live.get(session.client) is session:
            del self._live[session.client]
        self._ended[session.id] = session
        if session.unsettled:
            self.ending[session.id] = session
        while len(self._ended) > self._ended_kept:
            oldest = next(iter(self._ended))
            if oldest in self.ending:
                break  # it still has something to give back; the next end tries again
            del self._ended[oldest]

    def answered(self, session: Session, number: int, acked: int, digest: bytes, reply: Reply) -> None:
        session.next_number = number + 1
        if session.acked + 1 == acked:  # as from a client that waits for each answer
            session.answers.pop(acked, None)
            session.acked = acked
        elif session.acked < acked:
            self.acknowledge(session, acked)
        if session.ended_by is None:
            session.answers[number] = (digest, reply)

    def acknowledge(self, session: Session, acked: int) -> None:
        answers = session.answers
        for number in range(session.acked + 1, acked + 1):
            answers.pop(number, None)
        session.acked = max(session.acked, acked)

    def void(self, session: Session, number: int, acked: int) -> None:
        for each in range(session.next_number, number + 1):
            session.answers[each] = (b"", Void())
        session.next_number = max(session.next_number, number + 1)
        self.acknowledge(session, acked)  # else a session that gives up often would seem to have no room any more

    def settled(self, session_id: int, id: int) -> None:
        """A reservation or request that the session no longer has to settle."""
        session = self.by_id.get(session_id)
        if session is not None:
            session.unsettled.pop(id, None)
            return
        session = self._ended.get(session_id)
        if session is not None:
            session.unsettled.pop(id, None)
            if not session.unsettled:
                self.ending.pop(session_id, None)


def over(session: Session) -> Failed:
    if session.ended_by is EndedBy.FENCED:
        return Failed(Failure.FENCED, f"a newer session of client {session.client} has taken over")
    return Failed(Failure.NO_SESSION, f"session {session.id} is over ({session.ended_by})")
