"""Who asks for how much and is refused how often: what a flooding client is told by, and now and then logged for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from . import log

_TOLD_EVERY_S = 10.0
"""So often, at the most, the same is logged of the same client."""

_TOLD_MOST = 1_000
"""So many things are told apart at once; beyond them nothing more is logged until some are old."""


class Tally:
    """What one session, or all that have none, have asked for."""

    __slots__ = ("_before", "malformed", "messages", "not_authorized", "over_share", "per_s", "refused")

    def __init__(self) -> None:
        self.messages = 0
        self.refused = 0
        """Without an entry, for whatever reason."""
        self.not_authorized = 0
        self.malformed = 0
        self.over_share = 0
        """How often it had more to say than its share of a batch."""
        self.per_s = 0.0
        """Messages a second, of late."""
        self._before = 0

    def look(self, after_s: float) -> None:
        """Takes in how many messages there were since the last look."""
        self.per_s = (self.messages - self._before) / after_s
        self._before = self.messages


class Pace:
    """Looks at tallies about once a second."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._looked_at = now()

    def look(self, tallies: Callable[[], Iterable[Tally]]) -> None:
        after_s = self._now() - self._looked_at
        if after_s < 1:
            return
        self._looked_at += after_s
        for tally in tallies():
            tally.look(after_s)


class Seldom:
    """Logs the same thing about the same client once in a while, with how often it happened since."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._told: dict[tuple[str, str], tuple[float, int]] = {}

    def warning(self, event: str, who: str, **facts: object) -> None:
        self._tell(log.warning, event, who, **facts)

    def error(self, event: str, who: str, **facts: object) -> None:
        self._tell(log.error, event, who, **facts)

    def _tell(self, say: Callable[..., None], event: str, who: str, **facts: object) -> None:
        now = self._now()
        told_at, since = self._told.get((event, who), (None, 0))
        if told_at is not None and now - told_at < _TOLD_EVERY_S:
            self._told[event, who] = (told_at, since + 1)
            return
        if told_at is None and len(self._told) >= _TOLD_MOST:
            self._told = {key: each for key, each in self._told.items() if now - each[0] < _TOLD_EVERY_S}
            if len(self._told) >= _TOLD_MOST:
                return
        self._told[event, who] = (now, 0)
        more = {"since_the_last_line": since} if since else {}
        say(event, **facts, **more)
