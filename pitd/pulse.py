"""Every few seconds, from the loop: looks after the daemon, and tells the service manager that it is alive."""

from __future__ import annotations

import time
from collections.abc import Callable

from . import log
from .health import Health
from .journal import SegmentJournal
from .sequencer import Sequencer
from .systemd import Manager

_EVERY_S = 5.0
"""Where the manager wants no sign of life more often."""


class Pulse:
    """Called between two batches. A loop that is stuck gives no sign of life, nor does one that is not sound."""

    def __init__(
        self,
        manager: Manager,
        sequencer: Sequencer,
        journal: SegmentJournal | None = None,
        *,
        endpoint: str,
        tend: Callable[[], None] = lambda: None,
    ) -> None:
        """`tend` sees to it that the endpoint can be found."""
        self._manager = manager
        self._sequencer = sequencer
        self._journal = journal
        self._endpoint = endpoint
        self._tend = tend
        self._health = Health(sequencer.engine, journal)
        self._every_s = min(_EVERY_S, manager.beat_every_s or _EVERY_S)
        self._next_at = time.monotonic()

    def __call__(self) -> int:
        """In how many milliseconds it wants to be called again. Raises Unsound when the daemon must not go on."""
        now = time.monotonic()
        if now >= self._next_at:
            self._health.check(self._sequencer.now_ns)
            self._tend()
            self._manager.alive(self.status())
            log.flush()
            self._next_at = now + self._every_s
        return int((self._next_at - now) * 1_000)

    def status(self) -> str:
        """The daemon's state in one line, as `systemctl status` shows it."""
        engine = self._sequencer.engine
        if engine.disputed_seq:
            doing = f"refusing new orders (a client has seen entry {engine.disputed_seq}, the journal has not)"
        elif self._journal is not None and self._journal.why_low:
            doing = f"refusing new orders ({self._journal.why_low})"
        else:
            doing = "serving"
        return (
            f"{doing} at {self._endpoint}: {len(engine.sessions)} sessions, {len(engine.orders.open)} open orders, "
            f"entry {engine.seq}"
        )
