"""What an operator asks about the daemon beyond its engine: where it serves, since when, and how its journal is."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

from pit.types import Block, OrderState, Restriction, TradingState

from .calendar import Calendar
from .config import Config
from .core.accounts import FIRM
from .core.orders import ENDED
from .core.prices import Quote
from .core.sessions import Session
from .events import Recent
from .metrics import Metrics
from .sequencer import Sequencer
from .tally import Tally

_COUNTED_MOST = 5_000
"""So many open orders are counted at every question. More of them are counted once a second at the most."""

_KEPT_S = 1.0

_OPEN = [state for state in OrderState if state not in ENDED]


class Refusals(NamedTuple):
    """How often a client was not authorized, and how often what it said was malformed."""

    not_authorized: int
    malformed: int


class House:
    """One daemon, or one engine of a process of its own, around its sequencer. It reads, and changes nothing."""

    def __init__(self, sequencer: Sequencer, config: Config) -> None:
        self.how_noticed: Callable[[Session], str] = lambda session: "process"
        """How a client's death would be noticed. Whoever watches over the connections says so."""
        self.tally_of: Callable[[Session], Tally] = lambda session: Tally()
        self.refusals: Callable[[], Refusals] = lambda: Refusals(0, 0)
        """What clients asked for, and how often they were refused. Whoever holds the conversations says so."""
        self.keys_refused: Callable[[], int] = lambda: 0
        """How often a key was refused before anything could be said. Whoever holds the endpoint says so."""
        self.config = config
        self.pid = os.getpid()
        self.recent = Recent(sequencer.engine)
        """The latest events."""
        sequencer.watchers.append(self.recent.take)
        self._sequencer = sequencer
        self._began_ns = sequencer.now_ns
        self._states: dict[OrderState, int] = {}
        self._by_account: Counter[str] = Counter()
        self._counted_at: dict[str, float] = {}

    @property
    def epoch(self) -> bytes:
        return self._sequencer.epoch

    @property
    def seq(self) -> int:
        return self._sequencer.seq

    @property
    def metrics(self) -> Metrics:
        return self._sequencer.metrics

    @property
    def journal_low(self) -> str:
        """Why there may soon be no room in the journal, or nothing."""
        return self._sequencer.journal_low

    @property
    def calendar(self) -> Calendar:
        return self._sequencer.calendar

    def wall_ns(self) -> int:
        return self._sequencer.wall_ns()

    def newest_quote(self, symbol: str) -> Quote | None:
        return self._sequencer.quotes.newest(symbol)

    def up_ns(self) -> int:
        return self._sequencer.read_clock_ns() - self._began_ns

    def why_refusing(self) -> str:
        """Why no new orders are taken, from anybody, or nothing."""
        disputed = self._sequencer.engine.disputed_seq
        if disputed:
            return (
                f"a client has seen entry {disputed}, which the journal does not have: look at the open orders, then "
                "pitctl accept-history"
            )
        if self.journal_low:
            return self.journal_low
        engine = self._sequencer.engine
        halt = engine.trading.of(FIRM)
        blocks = [block for block in engine.accounts.blocks() if block.scope == FIRM]
        stops: list[Block | Restriction] = [*([] if halt is None else [halt]), *blocks]
        return "; ".join(str(stop) for stop in stops if stop.state is not TradingState.REDUCING)

    def states(self) -> dict[OrderState, int]:
        """How many orders are open, by state."""
        if self._is_due("states"):
            found = [record.state for record in self._sequencer.engine.orders.open.values()]
            counts = (
                (state, found.count(state)) for state in _OPEN
            )  # by identity: a dictionary would hash each in Python
            self._states = {state: count for state, count in counts if count}
        return self._states

    def open_by_account(self) -> Mapping[str, int]:
        """How many orders are open, by account; 0 for every other one."""
        if self._is_due("accounts"):
            self._by_account = Counter([record.account for record in self._sequencer.engine.orders.open.values()])
        return self._by_account

    def _is_due(self, what: str) -> bool:
        """Whether they are to be counted again: always, but of very many only now and then."""
        now = time.monotonic()
        counted_at = self._counted_at.get(what)
        is_large = len(self._sequencer.engine.orders.open) > _COUNTED_MOST
        if counted_at is not None and is_large and now - counted_at < _KEPT_S:
            return False
        self._counted_at[what] = now
        return True
