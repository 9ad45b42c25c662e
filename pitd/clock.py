"""What time it is: engine time that never goes back, and wall time for people."""

from __future__ import annotations

import time
from typing import Protocol

_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Clock(Protocol):
    def now_ns(self) -> int:
        """Engine time: goes on while the machine sleeps, never back, and does not jump with the wall clock."""

    def wall_ns(self) -> int:
        """Wall time since 1970, for people and calendars."""


class SystemClock:
    """Engine time is a base plus the time since boot."""

    def __init__(self, base_ns: int = 0) -> None:
        self._offset_ns = base_ns - time.clock_gettime_ns(_BOOT)

    def now_ns(self) -> int:
        return time.clock_gettime_ns(_BOOT) + self._offset_ns

    def wall_ns(self) -> int:
        return time.time_ns()


class ManualClock:
    """A clock that goes only when told: for tests, and for backtests that bring the tape's own time."""

    def __init__(self, start_ns: int = 0) -> None:
        self._now_ns = start_ns

    def now_ns(self) -> int:
        return self._now_ns

    def wall_ns(self) -> int:
        return self._now_ns

    def advance(self, seconds: float) -> None:
        """Goes forward; raises ValueError for a step back."""
        self.advance_ns(round(seconds * 1e9))

    def advance_ns(self, step_ns: int) -> None:
        if step_ns < 0:
            raise ValueError(f"time does not go back ({step_ns} ns)")
        self._now_ns += step_ns

    def set_ns(self, now_ns: int) -> None:
        self.advance_ns(now_ns - self._now_ns)
