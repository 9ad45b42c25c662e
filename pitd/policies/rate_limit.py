"""rate_limit: how many orders in a sliding window?"""

from __future__ import annotations

from typing import ClassVar

from pitd.core.policy import PASS, Attempt, Verdict
from pitd.core.rates import Attempted, Pace, SlidingRate


class Rate(Pace, frozen=True, kw_only=True, tag_field="control", tag="rate_limit"):
    """At most `max_orders` attempts in any window of `window_ns`."""


class RateLimit(SlidingRate):
    """Refuses with RateLimitExceeded when the attempts with an age below the window, this one included, exceed
    `max_orders`. One exactly a window old is out. Every attempt that reaches the start stage counts, also a rejected
    one, so a flood does not recover until it slows down; only an attempt that a narrower rate limit refuses does not
    count on wider shared ones. `retry_after_s` is when the next attempt passes if there is none before it. Modifies and
    cancels are not counted: that is what message_rate is for.

    Example, 2 in 1 s: attempts at 0.0, 0.1 pass, 0.2 is refused; at 1.0 refused (0.1 and 0.2 are inside); 1.2 passes.
    """

    id: ClassVar[str] = "rate_limit"

    def start(self, attempt: Attempt) -> Verdict:
        return PASS if attempt.is_modify else self.judge(attempt, self._narrow_first)


__all__ = ["Attempted", "Rate", "RateLimit"]
