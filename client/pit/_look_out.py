"""Looking out for something for a moment before sleeping: to be woken costs more than it takes to come."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

_SLICE_S = 1e-3
_CROWDED_FOR_S = 0.1
_CROWDED_MOST_S = 1.6


class LookOut:
    """Looks out only while a processor is free for it, which yields tell: who yields to somebody that wants to compute
    gives up the rest of a slice, in which ten round trips might be made. After a yield that took a millisecond nothing
    is looked out for during 100 ms, and for twice as long where the next try meets the same. Shorter ones say little:
    also a quiet machine has some of 50 us in each second.
    """

    def __init__(self) -> None:
        self._alone_from = 0.0
        """From then on there may be a processor for it."""
        self._crowded_for_s = _CROWDED_FOR_S

    @property
    def is_crowded(self) -> bool:
        """Whether somebody else has wanted the processor of late."""
        return time.perf_counter() < self._alone_from

    def sees(self, is_there: Callable[[], object], most_s: float) -> bool:
        """Whether it is there, now or within so many seconds."""
        clock = time.perf_counter
        began = before = clock()
        if before < self._alone_from:
            return bool(is_there())
        until = before + most_s
        while not is_there():
            os.sched_yield()
            now = clock()
            if now - before > _SLICE_S:
                self._alone_from = now + self._crowded_for_s
                self._crowded_for_s = min(2 * self._crowded_for_s, _CROWDED_MOST_S)
                return False
            before = now
            if now > until:
                break
        if before > began:  # it has yielded, and come back soon
            self._crowded_for_s = _CROWDED_FOR_S
        return before <= until
