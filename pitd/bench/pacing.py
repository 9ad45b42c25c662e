"""When the next order is due: at once when the last is done, or by a plan that a slow answer does not shift."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from time import perf_counter, sleep

_LONGEST_S = 0.1
"""So long it sleeps at once: whoever interrupts it does not wait for a slow pace."""


class Pace:
    """The moments at which one client's orders are due. Without an interval: whenever it is asked.

    With one, an order that could not leave in time is late from the moment it was due: what waits behind a slow answer
    is counted as waiting (no coordinated omission).
    """

    def __init__(self, interval_s: float, begin: float) -> None:
        self._interval_s = interval_s
        self._next = begin

    @property
    def is_closed(self) -> bool:
        """Whether the next is due as soon as the last is done."""
        return not self._interval_s

    def due_by(self, now: float) -> float | None:
        """The moment of the next order, if it is due, and takes it; None where it is not yet."""
        if not self._interval_s:
            return now
        if self._next > now:
            return None
        due, self._next = self._next, self._next + self._interval_s
        return due

    def left_s(self) -> float:
        """How long until the next is due."""
        return max(0.0, self._next - perf_counter()) if self._interval_s else 0.0

    def left_ms(self) -> int:
        return int(self.left_s() * 1e3)

    def wait(self, is_over: Callable[[], bool]) -> float | None:
        """Sleeps until the next is due, and takes it. None once it is over."""
        while (due := self.due_by(perf_counter())) is None:
            if is_over():
                return None
            sleep(min(self.left_s(), _LONGEST_S))
        return due


class Times:
    """How long each took: from when it was due, and, where that is not the same, from when it left."""

    def __init__(self) -> None:
        self.from_due: array[float] = array("d")
        self.from_sent: array[float] = array("d")

    def note(self, due: float, sent: float, done: float) -> None:
        self.from_due.append(done - due)
        self.from_sent.append(done - sent)
