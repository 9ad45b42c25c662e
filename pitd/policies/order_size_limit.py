"""order_size_limit: how large may one order be?"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import ClassVar

from pit.types import Order, Reject, RejectCode
from pitd.core.limits import Limit, LimitSet, exceeds, shown
from pitd.core.numbers import ZERO, canonical, text
from pitd.core.policy import PASS, Asks, Attempt, Counter, Policy, Unvalued, Verdict


class OrderSize(Limit, frozen=True, kw_only=True, tag_field="control", tag="order_size_limit"):
    """`max_quantity` in units, `max_notional` in the settlement asset; at least one of them."""

    max_quantity: Decimal | None = None
    max_notional: Decimal | None = None


class OrderSizeLimit(Policy):
    """Refuses an order strictly greater than a bound: OrderQtyExceedsLimit, OrderNotionalExceedsLimit, or, when it is
    over both bounds of one limit, one OrderExceedsLimit. Notional is |price| × quantity × multiplier (inverse:
    quantity × multiplier / |price|). What cannot be valued is refused: OrderValueCalculationFailed, and a market order
    under a notional bound MarkPriceUnavailable.

    An order that reduces a position passes whatever its size.

    Example, limit 10 / 1000: 10 @ 100 passes; 11 @ 1, 10 @ 100.01 and 11 @ 100 are refused with the three codes.
    """

    id: ClassVar[str] = "order_size_limit"

    def __init__(self, limits: Sequence[OrderSize], *, cover: bool = True) -> None:
        self._limits = LimitSet(self.id, limits, cover=cover)
        self.limit_names = self._limits.names
        self.is_idle = not limits
        if any(limit.max_notional is not None for limit in limits):
            self.asks_for_quotes = Asks.WITHOUT_PRICE

    def start(self, attempt: Attempt) -> Verdict:
        rejects: list[Reject] | None = None
        is_covered = False
        for limit in self._limits.limits:
            if not limit.matches_attempt(attempt):
                continue
            is_covered = True
            reject = self._judge(limit, attempt)
            if reject is not None:
                rejects = rejects or []
                rejects.append(reject)
        if not is_covered:
            uncovered = self._limits.uncovered(attempt)
            return Verdict(rejects=uncovered) if uncovered else PASS
        return PASS if rejects is None else Verdict(rejects=tuple(rejects))

    def bounds(self, limit: str) -> list[Counter]:
        bound = self._limits.by_name[limit]
        asset = bound.only.settlement or "notional"
        each = (("quantity", bound.max_quantity), (asset, bound.max_notional))
        return [
            Counter(scope=bound.subject, what=f"{what} of one order", bound=canonical(most))
            for what, most in each
            if most is not None
        ]

    def _judge(self, limit: OrderSize, attempt: Attempt) -> Reject | None:
        order, listed = attempt.order, attempt.listed
        try:
            over_quantity = limit.max_quantity is not None and exceeds(attempt, limit.max_quantity)
            notional = attempt.notional(whole=True) if limit.max_notional is not None else ZERO
        except Unvalued as trouble:
            if attempt.reduces:
                return None
            return self._limits.reject(limit, attempt, trouble.code, f"{trouble}, so {limit.name} cannot be checked")
        over_notional = limit.max_notional is not None and notional > limit.max_notional
        if (not over_quantity and not over_notional) or attempt.reduces:
            return None
        worth = f"{shown(order, listed)} = {text(notional)} {listed.settlement}, limit {_bound(limit.max_notional)}"
        if over_quantity and over_notional:
            why = f"{worth}, and quantity {_quantity(order)}, limit {_bound(limit.max_quantity)}"
            code = RejectCode.ORDER_EXCEEDS_LIMIT
            return self._limits.reject(limit, attempt, code, why, limit.max_notional, notional)
        if over_quantity:
            why = f"quantity {_quantity(order)} of {listed.symbol}, limit {_bound(limit.max_quantity)}"
            code = RejectCode.ORDER_QTY_EXCEEDS_LIMIT
            return self._limits.reject(limit, attempt, code, why, limit.max_quantity, order.quantity)
        return self._limits.reject(
            limit, attempt, RejectCode.ORDER_NOTIONAL_EXCEEDS_LIMIT, worth, limit.max_notional, notional
        )


def _quantity(order: Order) -> str:
    return f"{order.quantity}" if order.quantity is not None else f"(volume {order.volume} at {order.price})"


def _bound(bound: Decimal | None) -> str:
    return "none" if bound is None else text(bound)
