"""order_size_limit: how large may one order be?"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import ClassVar, Literal

from pit.types import Order, Reject, RejectCode
from pitd.core.limits import Limit, LimitSet, asset_of, exceeds, worth
from pitd.core.numbers import ZERO, canonical, text
from pitd.core.policy import PASS, Asks, Attempt, Counter, Policy, Unvalued, Verdict


class OrderSize(Limit, frozen=True, kw_only=True, tag_field="control", tag="order_size_limit"):
    """`max_quantity` in units, `max_notional` in the settlement asset, or with `currency` in the firm's currency; at
    least one of them.
    """

    max_quantity: Decimal | None = None
    max_notional: Decimal | None = None
    currency: Literal["firm"] | None = None


class OrderSizeLimit(Policy):
    """Refuses an order strictly greater than a bound: OrderQtyExceedsLimit, OrderNotionalExceedsLimit, or, when it is
    over both bounds of one limit, one OrderExceedsLimit. Notional is |price| × quantity × multiplier (inverse:
    quantity × multiplier / |price|). What cannot be valued is refused: OrderValueCalculationFailed, and a market order
    under a notional bound MarkPriceUnavailable; under one in the firm's currency, without a rate that is fresh,
    ReferenceDataUnavailable.

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
        self.asks_for_rates = any(limit.currency is not None for limit in limits)

    def start(self, attempt: Attempt) -> Verdict:
        rejects: list[Reject] | None = None
        limits = self._limits.matched(attempt).limits
        for limit in limits:
            reject = self._judge(limit, attempt)
            if reject is not None:
                rejects = rejects or []
                rejects.append(reject)
        if not limits:
            uncovered = self._limits.uncovered(attempt)
            if uncovered:
                return Verdict(rejects=uncovered)
        return PASS if rejects is None else Verdict(rejects=tuple(rejects))

    def is_step_down(self, reject: Reject, other: Reject, attempt: Attempt, before: Attempt) -> bool:
        """By units and by worth, each by itself: one that is over in units is none because it is worth less."""
        limit = self._limits.by_name[reject.limit]
        try:
            if reject.code != RejectCode.ORDER_NOTIONAL_EXCEEDS_LIMIT:
                if attempt.units(whole=True) > before.units(whole=True):
                    return False
                if reject.code == RejectCode.ORDER_QTY_EXCEEDS_LIMIT:
                    return True
            return attempt.worth(limit.currency, whole=True) <= before.worth(limit.currency, whole=True)
        except Unvalued:
            return False

    def bounds(self, limit: str) -> list[Counter]:
        bound = self._limits.by_name[limit]
        asset = asset_of(bound)
        each = (("quantity", bound.max_quantity), (asset, bound.max_notional))
        return [
            Counter(scope=bound.subject, what=f"{what} of one order", bound=canonical(most))
            for what, most in each
            if most is not None
        ]

    def _judge(self, limit: OrderSize, attempt: Attempt) -> Reject | None:
        order, listed = attempt.order, attempt.listed
        most, worth_most, notional, over_quantity = limit.max_quantity, limit.max_notional, ZERO, False
        try:
            if most is not None:
                over_quantity = order.quantity > most if order.quantity is not None else exceeds(attempt, most)
            if worth_most is not None:
                notional = attempt.worth(limit.currency, whole=True)
        except Unvalued as trouble:
            if attempt.reduces:
                return None
            return self._limits.reject(limit, attempt, trouble.code, f"{trouble}, so {limit.name} cannot be checked")
        over_notional = worth_most is not None and notional > worth_most
        if (not over_quantity and not over_notional) or attempt.reduces:
            return None
        if over_quantity and over_notional:
            why = f"{_worth(limit, attempt)}, and quantity {_quantity(order)}, limit {_bound(limit.max_quantity)}"
            code = RejectCode.ORDER_EXCEEDS_LIMIT
            return self._limits.reject(limit, attempt, code, why, limit.max_notional, notional)
        if over_quantity:
            why = f"quantity {_quantity(order)} of {listed.symbol}, limit {_bound(limit.max_quantity)}"
            code = RejectCode.ORDER_QTY_EXCEEDS_LIMIT
            return self._limits.reject(limit, attempt, code, why, limit.max_quantity, order.quantity)
        why, code = _worth(limit, attempt), RejectCode.ORDER_NOTIONAL_EXCEEDS_LIMIT
        return self._limits.reject(limit, attempt, code, why, limit.max_notional, notional)


def _worth(limit: OrderSize, attempt: Attempt) -> str:
    return f"{worth(attempt, limit.currency, whole=True)}, limit {_bound(limit.max_notional)}"


def _quantity(order: Order) -> str:
    return f"{order.quantity}" if order.quantity is not None else f"(volume {order.volume} at {order.price})"


def _bound(bound: Decimal | None) -> str:
    return "none" if bound is None else text(bound)
