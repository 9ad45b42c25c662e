"""What an operator asks about the daemon beyond its engine: where it serves, since when, and how its journal is."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable

from pit.types import OrderState

from .config import Config
from .core.accounts import FIRM
from .core.sessions import Session
from .sequencer import Sequencer

_COUNTED_MOST = 5_000
"""So many open orders are counted at every question. More of them are counted once a second at the most."""

_KEPT_S = 1.0


class House:
    """One daemon, or one engine of a process of its own, around its sequencer. It reads, and changes nothing."""

    def __init__(self, sequencer: Sequencer, config: Config) -> None:
        self.how_noticed: Callable[[Session], str] = lambda session: "process"
        """How a client's death would be noticed. Whoever watches over the connections says so."""
        self.config = config
        self.pid = os.getpid()
        self._sequencer = sequencer
        self._began_ns = sequencer.now_ns
        self._tally: tuple[Counter[OrderState], Counter[str]] | None = None
        self._counted_at = 0.0

    @property
    def epoch(self) -> bytes:
        return self._sequencer.epoch

    @property
    def seq(self) -> int:
        return self._sequencer.seq

    @property
    def journal_low(self) -> str:
        """Why there may soon be no room in the journal, or nothing."""
        return self._sequencer.journal_low

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
        return "; ".join(str(block) for block in self._sequencer.engine.accounts.blocks() if block.scope == FIRM)

    def tally(self) -> tuple[Counter[OrderState], Counter[str]]:
        """How many orders are open, by state and by account."""
        orders = self._sequencer.engine.orders.open
        now = time.monotonic()
        if self._tally is None or len(orders) <= _COUNTED_MOST or now - self._counted_at > _KEPT_S:
            by_state: Counter[OrderState] = Counter()
            by_account: Counter[str] = Counter()
            for record in orders.values():
                by_state[record.state] += 1
                by_account[record.account] += 1
            self._tally = by_state, by_account
            self._counted_at = time.monotonic()
        return self._tally
