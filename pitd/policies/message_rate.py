"""message_rate: how many cancels and modifies in a sliding window?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pitd.core.limits import LimitSet
from pitd.core.policy import PASS, Attempt, Verdict
from pitd.core.rates import Pace, SlidingRate


class Messages(Pace, frozen=True, kw_only=True, tag_field="control", tag="message_rate"):
    """At most `max_orders` messages in any window of `window_ns`: cancels and modifies, and with `orders` new orders.

    `refuses_cancels` False: they are counted, and never refused.
    """

    orders: bool = False
    refuses_cancels: bool = True


class MessageRate(SlidingRate):
    """Refuses with RateLimitExceeded when the cancels and modifies with an age below the window, this one included,
    exceed `max_messages`; with `orders = true` new orders are counted with them, as a venue's own throttle does. The
    window, the counting of refused attempts and of wider limits are those of rate_limit.

    A cancel is told before it is sent: `engine.cancel_pre_trade(account, order_id)`. While the account, its group, the
    firm, the instrument or the client is blocked, halted or may only reduce, a cancel is counted and never refused: it
    is what brings risk down. `cancels = "count"` never refuses one at all.

    Example, max_messages 2 in 1 s: cancels at 0.0 and 0.1 pass, a modify at 0.2 is refused; the account is halted, and
    a cancel at 0.3 passes; after the halt one at 1.0 is refused (0.1, 0.2 and 0.3 are inside), at 1.4 it passes.
    """

    id: ClassVar[str] = "message_rate"
    unit: ClassVar[str] = "messages"

    def __init__(self, limits: Sequence[Messages]) -> None:
        super().__init__(limits)
        self._orders_too = LimitSet(
            self.id, [limit for limit in self._narrow_first if _counts_orders(limit)], cover=False
        )

    def start(self, attempt: Attempt) -> Verdict:
        if attempt.is_modify:
            return self.judge(attempt, self._narrow_first)
        return self.judge(attempt, self._orders_too) if self._orders_too.limits else PASS

    def cancel(self, attempt: Attempt) -> Verdict:
        verdict = self.judge(attempt, self._narrow_first)
        stays = {limit.name for limit in self._narrow_first if isinstance(limit, Messages) and limit.refuses_cancels}
        return Verdict(verdict.effects, tuple(reject for reject in verdict.rejects if reject.limit in stays))


def _counts_orders(limit: Pace) -> bool:
    return isinstance(limit, Messages) and limit.orders


__all__ = ["MessageRate", "Messages"]
