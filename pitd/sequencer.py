"""Puts commands in one order, gives each its moment, has the engine decide it, and has the batch journaled."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from pit.types import Block, OrderState, RejectCode

from . import log
from .calendar import NO_CALENDAR, Calendar
from .clock import Clock
from .core import entry as e
from .core.accounts import FIRM, POISONED, account_scope
from .core.engine import MORE_TO_SETTLE, NEW_RISK, CarryOutFailed, Engine
from .core.kills import AN_ENTRY
from .core.policy import Asks
from .core.prices import Quote
from .core.sessions import Known, Session
from .metrics import Metrics
from .quotes import Quotes

MARKED_EVERY_NS = 100_000_000
"""Quotes that nobody else brings along are brought that often at the most."""

MARKED_AT_ONCE = 1_000

LOOKED_AT_MOST = 250
"""At the P&L of so many accounts an entry looks at the most (40 us each)."""

LOOKED_AT_EVERY_NS = 20_000_000
"""The next entry looks at the rest: as soon as others have had as long."""

AWAY_NS = 100_000_000
"""What a loop takes for having been stopped: half of the shortest lease there is by default."""


_MOST_UNTOLD = 64
"""So many rows wait to be told to the world, while nobody asks and nobody watches."""

_UNTOLD_BOUND = 4 * _MOST_UNTOLD
"""So many at the most: then they are told before the replies leave."""


_clock_s = time.perf_counter

_NEVER, _WITHOUT_PRICE = Asks.NEVER, Asks.WITHOUT_PRICE

_QUOTED = NEW_RISK | {e.DropCopy}
"""The commands that may need to know what something costs."""


class Journal(Protocol):
    """Keeps rows. Nothing is acknowledged before `append` has returned."""

    why_low: str
    """Why there may soon be no room, or nothing: while it says so, nothing that adds to what is counted is taken."""

    def append(self, rows: Sequence[e.Row]) -> None: ...


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
        self.quotes = Quotes()
        self.calendar = NO_CALENDAR
        self._marked_ns = 0
        """When days begin and end."""
        self.epoch = b""
        """The name of this process among all that have served; empty where nobody comes back to it."""
        self.metrics = Metrics()
        self.watchers: list[Callable[[Sequence[e.Row]], None]] = []
        """They are told of rows once these have been journaled and, in a daemon, their replies have left."""
        self._clock = clock
        self._journal = journal
        self._away_ns = away_ns
        self._failing: set[tuple[str, str]] = set()
        """The policies that are known to fail, and when they did."""
        self._rows: list[e.Row] = []
        self._released: list[e.Row] = []
        self._is_in_turn = False
        self._wall_ns = 0
        self.now_ns = 0
        self._read_clock()

    @property
    def seq(self) -> int:
        return self.engine.seq

    @property
    def journal_low(self) -> str:
        """Why there may soon be no room in the journal, or nothing."""
        return self._journal.why_low if self._journal is not None else ""

    def read_clock_ns(self) -> int:
        read_ns, now_ns = self._clock.now_ns(), self.now_ns
        return read_ns if read_ns > now_ns else now_ns

    def _read_clock(self) -> None:
        """Takes both times as they are now for the moment of what comes next."""
        clock = self._clock
        now_ns = clock.now_ns()
        if now_ns > self.now_ns:
            self.now_ns = now_ns
        self._wall_ns = clock.wall_ns()

    def configure(self, configured: e.Configured) -> None:
        """Records the effective configuration as an entry of its own."""
        self._end_overrides()
        self._enter(configured)
        self.turn_days()

    def open_session(self, client: str, token: bytes) -> int:
        """A new session's id. An older session of the same client name is fenced."""
        reply = self._enter(e.SessionOpened(client, token))
        assert isinstance(reply, e.Opened)
        return reply.session

    def end_session(self, session_id: int, reason: str) -> None:
        self._enter(e.SessionEnded(session_id, reason))

    def known(self, session: Session, number: int, acked: int, digest: bytes) -> Known | None:
        """The answer to a command that need not be executed, or None for a fresh one."""
        return self.engine.sessions.judge(session, number, acked, digest)

    def command(self, session: Session, number: int, acked: int, digest: bytes, command: e.Command) -> Known:
        """The answer to a command: executed now, or known from before, or refused without using its number up."""
        engine = self.engine
        known = engine.sessions.judge(session, number, acked, digest)
        if known is not None:
            return known
        if type(command) in MORE_TO_SETTLE:
            refused = self.no_more(session, command)
            if refused is not None:
                return Known(refused, True)
        if not self._is_in_turn:
            self.end_due()
        quotes = self.quotes_for(command) if type(command) in _QUOTED else ()
        body = e.Commanded(session.id, number, acked, digest, command)
        return Known(self._apply(e.Entry(engine.seq + 1, self.now_ns, self._wall_ns, body, quotes)), False)

    def begin_turn(self) -> None:
        """Until `release()`, commands have this moment, in which what is due has ended. For who takes many at once, and
        begins anew after some: what is later than this moment is not looked at meanwhile.
        """
        self.end_due()
        self._is_in_turn = True

    def dispute(self, client: str, seen_seq: int) -> None:
        """A client has seen an entry that this history does not have: no new risk until a person accepts that."""
        if seen_seq > self.engine.disputed_seq:
            self._enter(e.HistoryDisputed(client, seen_seq))
            log.error("journal.behind", client=client, seen_seq=seen_seq, seq=self.engine.seq)

    def settle(self, session: Session, number: int, acked: int) -> Known:
        """The stored answer to a number, or Void: then it will never be executed."""
        known = self.engine.sessions.judge_settle(session, number, acked)
        if known is not None:
            return known
        return Known(self._enter(e.NumberVoided(session.id, number, acked)), False)

    def end_due(self) -> bool:
        """Ends what leases have run out, a bounded number at once. True when some were due."""
        engine, was_ns = self.engine, self.now_ns
        self._read_clock()
        now_ns = self.now_ns
        if self._away_ns is not None and now_ns - was_ns > self._away_ns:
            self._resume(now_ns - was_ns)  # stopped in the middle of a batch
        if engine.overrides.first_end_ns is not None:
            self._end_overrides()
        if self.calendar.is_used:
            self.turn_days()
        if engine.valuation.unrealised.is_asked:
            self.bring_quotes()
        cancels = engine.cancels
        if (cancels.requests or cancels.sweeps) and cancels.has_due(self.now_ns):
            self._enter(e.CancelsDue(AN_ENTRY), is_fresh=True)
            return True
        is_due = engine.has_due(self.now_ns)
        if is_due:
            self._enter(e.LeasesDue(engine.bounds.leases_per_entry), is_fresh=True)
        if engine.days.closing:
            self._enter(e.DayOrdersDue(engine.bounds.leases_per_entry))
            return True
        return is_due

    def bring_quotes(self) -> None:
        """Has P&L looked at by quotes that moved, though nobody asks for an order: once in so long, so many at once."""
        marks, unrealised = self.engine.valuation.marks, self.engine.valuation.unrealised
        is_due = unrealised.has_due or self.quotes.has_fresh(marks)
        if not is_due or self.now_ns - self._marked_ns < self._marked_every_ns():
            return
        self._marked_ns = self.now_ns
        brought = [quote.symbol for quote in self._to_bring()]
        self._enter(e.QuotesMoved(*unrealised.next_part(LOOKED_AT_MOST, brought)), is_fresh=True)

    def _marked_every_ns(self) -> int:
        return LOOKED_AT_EVERY_NS if self.engine.valuation.unrealised.is_in_round else MARKED_EVERY_NS

    def _to_bring(self) -> tuple[Quote, ...]:
        return tuple(self.quotes.fresh(self.engine.valuation.marks))[:MARKED_AT_ONCE]

    def next_quotes_ns(self) -> int | None:
        """How long until quotes that have come are looked at; None where none have, or nobody asks."""
        unrealised, marks = self.engine.valuation.unrealised, self.engine.valuation.marks
        if not unrealised.is_asked or not (unrealised.has_due or self.quotes.has_fresh(marks)):
            return None
        return max(0, self._marked_ns + self._marked_every_ns() - self.read_clock_ns())

    def go_by(self, calendar: Calendar) -> None:
        """Other rules say from here on when days begin and end."""
        self.calendar = calendar
        self.turn_days()

    def turn_days(self) -> None:
        """Begins and ends the days whose moment has come."""
        wall_ns, calendar = self._clock.wall_ns(), self.calendar
        while not calendar.rests(wall_ns):
            for body in calendar.due(wall_ns, self.engine.days):
                self._enter(body)
                match body:
                    case e.DayDue():
                        log.info("day.began", day=body.day, scopes=_named(body.scopes))
                    case e.DayEndDue():
                        log.info("day.ended", scopes=_named(body.scopes))
                    case e.HoursDue():
                        log.info("hours.open" if body.is_open else "hours.closed", limit=body.limit, until=body.until)

    def wall_ns(self) -> int:
        return self._clock.wall_ns()

    def next_day_ns(self) -> int:
        """How long it is, at least, until a day begins or ends; far away where nothing of the kind is known."""
        return self.calendar.next_ns - self._clock.wall_ns()

    def note_read(self, client: str, reservation_ids: tuple[int, ...]) -> None:
        """Records that a client is being told to cancel these orders: before it is."""
        self._enter(e.CancelsRead(client, reservation_ids))

    def _end_overrides(self) -> None:
        """Ends the overrides whose time is over: the engine itself knows no calendar."""
        wall_ns, overrides = self._clock.wall_ns(), self.engine.overrides
        if overrides.first_end_ns is None or overrides.first_end_ns > wall_ns:
            return
        over = overrides.ended_by(wall_ns)
        self._enter(e.OverridesDue(wall_ns))
        for each in over:
            log.info("limits.override_ended", limit=each.limit, key=each.key, value=each.value, author=each.author)

    def woke(self, back_by_ns: int) -> None:
        """The loop is back from waiting, and meant to be by then. Leases get another length if it was much later."""
        self._read_clock()
        if self._away_ns is not None and self.now_ns - back_by_ns > self._away_ns:
            self._resume(self.now_ns - back_by_ns)

    def begin(self, epoch: bytes) -> None:
        """The first thing that a daemon does: nobody was served meanwhile, so every lease gets one more length.

        `epoch` names this process among all that ever served: drawn at random, by the caller.
        """
        self._enter(e.Resumed(0, epoch))
        self.epoch = epoch

    def _resume(self, away_ns: int) -> None:
        self._enter(e.Resumed(away_ns), is_fresh=True)
        log.warning("daemon.resumed", away_ms=away_ns // 1_000_000)

    def release(self) -> None:
        """Has the batch journaled; its replies may leave after that."""
        self._is_in_turn = False
        rows, released = self._rows, self._released
        if not rows:
            return
        if len(released) >= _UNTOLD_BOUND:
            self.publish()
        if self._journal is not None:
            began = _clock_s()
            self._journal.append(rows)
            self.metrics.journal_s.observe(_clock_s() - began)
        released += rows
        self._rows = []

    def has_much_to_tell(self) -> bool:
        """Whether so many rows wait for `publish` that it is time for it."""
        return len(self._released) >= _MOST_UNTOLD

    def publish(self) -> None:
        """Takes in for the world what has been released: once its replies have left, or later, many rows at once."""
        if self._released:
            self.metrics.count(self._released)
            for tell in self.watchers:
                tell(self._released)
            self._released.clear()

    def no_more(self, session: Session, command: e.Command) -> e.Failed | None:
        """Why nothing may be added to what is counted or has to be settled, before the core is asked."""
        engine = self.engine
        if engine.disputed_seq and type(command) in NEW_RISK:
            why = (
                f"a client has seen entry {engine.disputed_seq}, which this journal does not have: an operator must "
                "look at the open orders and accept its history"
            )
            return e.Failed(e.Failure.JOURNAL_BEHIND, why)
        if self._journal is not None and self._journal.why_low and type(command) in NEW_RISK:
            return e.Failed(e.Failure.SYSTEM_UNAVAILABLE, f"no new orders for now: {self.journal_low}")
        why_over = engine.over_bound(session, command)
        return None if why_over is None else e.Failed(e.Failure.CAPACITY_EXCEEDED, why_over)

    def quotes_for(self, command: e.Command) -> tuple[Quote, ...]:
        """What is known of the prices that a command needs."""
        asked, marks = self.engine.pipeline.asks_for_quotes, self.engine.valuation.marks
        if not marks.is_needed:
            if asked is _NEVER:
                return ()
            if asked is _WITHOUT_PRICE and type(command) is e.CheckOrder and command.order.price is not None:
                return ()
        found = map(self.quotes.newest, self.engine.symbols_to_quote(command))
        quotes = tuple(quote for quote in found if quote is not None)
        if not marks.is_needed:
            return quotes
        return (*quotes, *(quote for quote in self.quotes.fresh(marks) if quote not in quotes))

    def _enter(self, body: e.Body, *, is_fresh: bool = False) -> e.Reply:
        """Stamps an input that is no command and has it applied. `is_fresh`: the moment has just been read."""
        if not is_fresh:
            self._read_clock()
        quotes: tuple[Quote, ...] = ()
        if type(body) is e.QuotesMoved:
            quotes = self._to_bring()
        return self._apply(e.Entry(self.engine.seq + 1, self.now_ns, self._wall_ns, body, quotes))

    def _apply(self, entry: e.Entry) -> e.Reply:
        engine = self.engine
        try:
            result = engine.apply(entry)
        except CarryOutFailed as trouble:
            self._rows.append(poisoned(entry, trouble))
            raise
        if entry.quotes:
            self.quotes.brought(entry.quotes)
        if engine.failing.by_key or self._failing:
            self._tell_failing()
        self._rows.append(e.Row(entry, result.effects, result.reply))
        return result.reply

    def _tell_failing(self) -> None:
        """Logs which policies have begun to fail where nobody asked them about an order, and which answer again."""
        now = {(each.policy, str(each.at)): each for each in self.engine.failing.all()}
        for key in now.keys() - self._failing:
            each = now[key]
            log.error("policy.failed", policy=each.policy, at=str(each.at), why=each.why, names=_named(each.names))
        for policy, at in sorted(self._failing - now.keys()):
            log.info("policy.recovered", policy=policy, at=at)
        self._failing = set(now)


def _named(scopes: Sequence[str]) -> str:
    return ", ".join(scopes[:5]) + (f" and {len(scopes) - 5} more" if len(scopes) > 5 else "")


def poisoned(entry: e.Entry, trouble: CarryOutFailed) -> e.Row:
    """What is journaled for an entry that can't be carried out: nothing of it happened, and its scope is blocked."""
    body = entry.body
    scope = FIRM if trouble.account is None else account_scope(trouble.account)
    why = str(trouble)[:500]
    numbered = (body.session, body.number, body.acked, body.digest) if isinstance(body, e.Commanded) else ()
    what = type(body.command if isinstance(body, e.Commanded) else body).__name__
    block = Block(scope=scope, code=RejectCode.SYSTEM_UNAVAILABLE, limit=POISONED, reason=why, author="pitd")
    told = f"{what} could not be carried out and changed nothing; {scope} is blocked"
    reply = e.Failed(e.Failure.SYSTEM_UNAVAILABLE, told)
    effects: list[e.Effect] = [e.Blocked(block)]
    if not numbered and trouble.reservation_id:  # nobody asked for this end, and it would come again after each start
        effects.append(e.OrderMoved(trouble.reservation_id, OrderState.QUARANTINED, None, POISONED))
    stands_for = e.Entry(entry.seq, entry.now_ns, entry.wall_ns, e.Poisoned(what, scope, why, *numbered))
    return e.Row(stands_for, tuple(effects), reply)
