"""One event a line on standard error, as `name key=value`: journald and people can both read it.

Each event may be said so often in so long; what is too much is counted, and said as a number with the next line of its
name, or by `flush()`. What a client sends can therefore not fill a disk, nor keep the loop busy.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable

BURST = 20
"""So many lines of one event ..."""

EVERY_S = 10.0
"""... in so long, at the most."""

_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}
"""What journald calls them."""

_log = logging.getLogger("pitd")


class Limiter:
    """Says whether an event may be said once more, and how often it was not."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._windows: dict[str, tuple[float, int]] = {}
        """By event: when its window began, and how many have come since."""

    def admit(self, event: str) -> int | None:
        """How many were suppressed before this one, or None when it is one of these."""
        now = self._clock_s()
        began, count = self._windows.get(event, (now, 0))
        if now - began >= EVERY_S:
            self._windows[event] = (now, 1)
            return max(0, count - BURST)
        self._windows[event] = (began, count + 1)
        return 0 if count < BURST else None

    def over(self) -> list[tuple[str, int]]:
        """The events whose window is over, and how many of each were suppressed, where any were."""
        now = self._clock_s()
        ended = [(event, count) for event, (began, count) in self._windows.items() if now - began >= EVERY_S]
        for event, _ in ended:
            del self._windows[event]
        return [(event, count - BURST) for event, count in ended if count > BURST]


_limiter = Limiter()

counts: dict[tuple[str, str], int] = {}
"""How often each warning and error has come, said or not, by level and event. Their names stand in the code: few."""


def setup(level: str) -> None:
    """Sends events to standard error with a time; with a priority instead where journald reads it, and stamps it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _ForJournald() if _is_journald() else logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    )
    _log.handlers = [handler]
    _log.setLevel(level.upper())
    _log.propagate = False


def info(event: str, **facts: object) -> None:
    if _log.isEnabledFor(logging.INFO):
        _say(logging.INFO, event, facts)


def warning(event: str, **facts: object) -> None:
    counts["warning", event] = counts.get(("warning", event), 0) + 1
    _say(logging.WARNING, event, facts)


def error(event: str, **facts: object) -> None:
    counts["error", event] = counts.get(("error", event), 0) + 1
    _say(logging.ERROR, event, facts)


def debug(event: str, **facts: object) -> None:
    if _log.isEnabledFor(logging.DEBUG):
        _say(logging.DEBUG, event, facts)


def flush() -> None:
    """Says how much was suppressed of what has not come again. Now and then, from the loop."""
    for event, count in _limiter.over():
        _log.warning(_line("log.suppressed", {"event": event, "count": count}))


def _say(level: int, event: str, facts: dict[str, object]) -> None:
    suppressed = _limiter.admit(event)
    if suppressed is None:
        return
    if suppressed:
        facts["suppressed"] = suppressed
    _log.log(level, _line(event, facts))


class _ForJournald(logging.Formatter):
    """A priority before each line; the rest of a line that has several would get another one's."""

    def format(self, record: logging.LogRecord) -> str:
        return f"<{_PRIORITIES.get(record.levelno, 6)}>{record.getMessage()}"


def _is_journald() -> bool:
    """Whether standard error itself is journald's: a child that writes elsewhere inherits the variable as well."""
    try:
        device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
        found = os.fstat(sys.stderr.fileno())
        return (found.st_dev, found.st_ino) == (int(device), int(inode))
    except (OSError, ValueError):
        return False


def _line(event: str, facts: dict[str, object]) -> str:
    return " ".join([event, *(f"{name}={_shown(value)}" for name, value in facts.items())])


def _shown(value: object) -> str:
    text = str(value)
    if not text or any(each.isspace() or each in "\"'=" or not each.isprintable() for each in text):
        return repr(text)
    return text
