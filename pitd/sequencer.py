"""Puts commands in one order, gives each its moment, has the engine decide it, and has the batch journaled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from . import log
from .clock import Clock
from .core import entry as e
from .core.engine import Engine
from .core.sessions import Known, Session

AWAY_NS = 100_000_000
"""What a loop takes for having been stopped: half of the shortest lease there is by default."""


class Journal(Protocol):
    """Keeps rows. Nothing is acknowledged before `append` has returned."""

    def append(self, rows: Sequence[e.Row]) -> None: ...


class Unjournaled:
    """Keeps nothing: what the daemon knows ends with its process."""

    def append(self, rows: Sequence[e.Row]) -> None:
        pass


class Sequencer:
    """The one door to an engine. Not thread-safe: its owner sees to it that one call runs at a time.

    The replies of a batch may leave once `release()` has returned. Every call runs under the exact decimal context,
    which the owner sets (`core.engine.exact_context`).
    """

    def __init__(
        self, engine: Engine, clock: Clock, journal: Journal | None = None, *, away_ns: int | None = None
    ) -> None:
        """`away_ns`: a loop that comes back so much later than it meant to was stopped. None for who has no loop."""
        self.engine = engine
        self._clock = clock
        self._journal = journal
        self._away_ns = away_ns
        self._rows: list[e.Row] = []
        self.now_ns = clock.now_ns()

    @property
    def seq(self) -> int:
        return self.engine.seq

    def read_clock_ns(self) -> int:
        return max(self._clock.now_ns(), self.now_ns)

    def configure(self, settings: str, author: str, reason: str) -> None:
        """Records the effective configuration as an entry of its own."""
        self._enter(e.Configured(settings, author, reason))

    def open_session(self, client: str, token: bytes) -> int:
        """A new session's id. An older session of the same client name is fenced."""
        reply = self._enter(e.SessionOpened(client, token))
        assert isinstance(reply, e.Opened)
        return reply.session

    def end_session(self, session_id: int, reason: str) -> None:
        self._enter(e.SessionEnded(session_id, reason))

    def command(self, session: Session, number: int, acked: int, digest: bytes, command: e.Command) -> Known:
        """The answer to a command: executed now, or known from before, or refused without using its number up."""
        known = self.engine.sessions.judge(session, number, acked, digest)
        if known is not None:
            return known
        why = self.engine.over_bound(session, command)
        if why is not None:
            return Known(e.Failed(e.Failure.CAPACITY_EXCEEDED, why), True)
        self.end_due()
        return Known(self._enter(e.Commanded(session.id, number, acked, digest, command), is_fresh=True), False)

    def settle(self, session: Session, number: int) -> Known:
        """The stored answer to a number, or Void: then it will never be executed."""
        known = self.engine.sessions.judge_settle(session, number)
        if known is not None:
            return known
        return Known(self._enter(e.NumberVoided(session.id, number)), False)

    def end_due(self) -> bool:
        """Ends what leases have run out, a bounded number at once. True when some were due."""
        was_ns, self.now_ns = self.now_ns, self.read_clock_ns()
        if self._away_ns is not None and self.now_ns - was_ns > self._away_ns:
            self._resume(self.now_ns - was_ns)  # stopped in the middle of a batch
        first_ns = self.engine.first_lease_end_ns()
        if first_ns is None or first_ns > self.now_ns:
            return False
        self._enter(e.LeasesDue(self.engine.bounds.leases_per_entry), is_fresh=True)
        return True

    def woke(self, back_by_ns: int) -> None:
        """The loop is back from waiting, and meant to be by then. Leases get another length if it was much later."""
        self.now_ns = self.read_clock_ns()
        if self._away_ns is not None and self.now_ns - back_by_ns > self._away_ns:
            self._resume(self.now_ns - back_by_ns)

    def start_again(self) -> None:
        """The first thing after a recovery: nobody was served meanwhile, so every lease gets one more length."""
        self.now_ns = self.read_clock_ns()
        self._resume(0)

    def _resume(self, away_ns: int) -> None:
        self._enter(e.Resumed(away_ns), is_fresh=True)
        log.warning("daemon.resumed", away_ms=away_ns // 1_000_000)

    def release(self) -> None:
        """Has the batch journaled; its replies may leave after that."""
        if self._rows:
            assert self._journal is not None
            self._journal.append(self._rows)
            self._rows = []

    def _enter(self, body: e.Body, *, is_fresh: bool = False) -> e.Reply:
        """Stamps an input and has it applied. `is_fresh`: the moment has just been read."""
        if not is_fresh:
            self.now_ns = self.read_clock_ns()
        entry = e.Entry(self.engine.seq + 1, self.now_ns, self._clock.wall_ns(), body)
        result = self.engine.apply(entry)
        if self._journal is not None:
            self._rows.append(e.Row(entry, result.effects, result.reply))
        return result.reply
