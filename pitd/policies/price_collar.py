"""price_collar: how far from the market may an order's price be?"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import ClassVar, Literal

from pit.types import Reject, RejectCode, Side
from pitd.core.limits import Limit, LimitSet
from pitd.core.numbers import canonical, text
from pitd.core.policy import PASS, Asks, Attempt, Counter, Policy, Verdict


class Collar(Limit, frozen=True, kw_only=True, tag_field="control", tag="price_collar"):
    """How far from the reference a price may be: in the instrument's ticks, in percent of the reference, in the price's
    own units; at least one of them, and each of those that are given must hold.
    """

    max_ticks: int | None = None
    max_percent: Decimal | None = None
    max_absolute: Decimal | None = None
    side: Literal["aggressive", "both"] = "aggressive"
    market: Literal["pass", "reject"] = "pass"


class PriceCollar(Policy):
    """Refuses with RiskLimitExceeded an order whose price is further from the reference than a bound; exactly at the
    bound passes. The reference is the newest mark, and without one the middle of bid and ask. One that is missing or
    older than `[gate] max_quote_age` is never guessed: ReferenceDataUnavailable, as for ticks of an instrument that
    declares none.

    `side = "aggressive"` (the default) looks at what would pay up: a buy above the reference, a sell below it. What is
    further away on the other side only rests in the book, and passes. `side = "both"` refuses that too. An order
    without a price has nothing to compare: `market = "pass"` (the default) or "reject" (UnsupportedOrderType).

    Percent is compared by multiplying, never by dividing: nothing is rounded. Of a reference of zero, which a spread
    may have, every percentage is zero. An order that reduces a position is held to the collar as well: it says how
    much, and a slipped digit is as dear on the way out.

    Example, max_percent 5, mark 100: a buy at 105 passes, at 105.01 it is refused; a buy at 50 passes, with
    side = "both" it is refused; a sell at 94.99 is refused.
    """

    id: ClassVar[str] = "price_collar"

    def __init__(self, limits: Sequence[Collar]) -> None:
        self._limits = LimitSet(self.id, limits, cover=False)
        self.limit_names = self._limits.names
        self.is_idle = not limits
        self.asks_for_quotes = Asks.ALWAYS

    def start(self, attempt: Attempt) -> Verdict:
        rejects = [
            reject
            for limit in self._limits.limits
            if limit.matches_attempt(attempt) and (reject := self._judge(limit, attempt)) is not None
        ]
        return Verdict(rejects=tuple(rejects)) if rejects else PASS

    def is_step_down(self, reject: Reject, other: Reject, attempt: Attempt, before: Attempt) -> bool:
        """By the distance from the reference: of a sell the lower price is the worse one."""
        reference = None if attempt.quote is None else attempt.quote.reference
        price, as_it_is = attempt.order.price, before.order.price
        if reference is None or price is None or as_it_is is None:
            return False
        return abs(price - reference) <= abs(as_it_is - reference)

    def bounds(self, limit: str) -> list[Counter]:
        bound = self._limits.by_name[limit]
        ticks = None if bound.max_ticks is None else Decimal(bound.max_ticks)
        each = (("ticks", ticks), ("percent", bound.max_percent), ("in price", bound.max_absolute))
        where = "above or below" if bound.side == "both" else "beyond"
        return [
            Counter(scope=bound.subject, what=f"{what} {where} the reference", bound=canonical(most))
            for what, most in each
            if most is not None
        ]

    def _judge(self, limit: Collar, attempt: Attempt) -> Reject | None:
        order, listed, price = attempt.order, attempt.listed, attempt.order.price
        if price is None:
            if limit.market == "pass":
                return None
            why = f'a market order has no price to compare, and {limit.name} says market = "reject"'
            return self._limits.reject(limit, attempt, RejectCode.UNSUPPORTED_ORDER_TYPE, why)
        reference = None if attempt.quote is None else attempt.quote.reference
        if reference is None:
            why = f"no fresh mark of {listed.symbol} is known, nor a bid and an ask, so {limit.name} cannot be checked"
            return self._limits.reject(limit, attempt, RejectCode.REFERENCE_DATA_UNAVAILABLE, why)
        distance = price - reference
        if limit.side == "aggressive" and (distance < 0) == (order.side is Side.BUY):
            return None
        distance = abs(distance)
        most: list[tuple[Decimal, str]] = []
        if limit.max_ticks is not None:
            if listed.tick is None:
                why = f"{listed.symbol} declares no tick, so max_ticks of {limit.name} cannot be checked"
                return self._limits.reject(limit, attempt, RejectCode.REFERENCE_DATA_UNAVAILABLE, why)
            if distance > limit.max_ticks * listed.tick:
                most.append((Decimal(limit.max_ticks), f"{limit.max_ticks} ticks of {text(listed.tick)}"))
        if limit.max_percent is not None and distance * 100 > limit.max_percent * abs(reference):
            most.append((limit.max_percent, f"{text(limit.max_percent)} percent"))
        if limit.max_absolute is not None and distance > limit.max_absolute:
            most.append((limit.max_absolute, text(limit.max_absolute)))
        if not most:
            return None
        why = (
            f"{order.side} {listed.symbol} at {text(price)}: {text(distance)} from the reference {text(reference)}, "
            f"limit {' and '.join(words for _, words in most)}"
        )
        return self._limits.reject(limit, attempt, RejectCode.RISK_LIMIT_EXCEEDED, why, most[0][0], price)
