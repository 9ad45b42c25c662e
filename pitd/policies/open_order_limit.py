"""open_order_limit: how many orders may be open at once?"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, ClassVar

import msgspec

from pit.types import Reject, RejectCode
from pitd.core.limits import Limit, LimitSet
from pitd.core.policy import PASS, Attempt, Counter, Look, Policy, Verdict


class OpenOrders(Limit, frozen=True, kw_only=True, tag_field="control", tag="open_order_limit"):
    """At most `max_orders` open orders."""

    max_orders: int


class OrderHeld(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """One open order, on these counters: (limit, scope) pairs."""

    counters: tuple[tuple[str, str], ...]


class OpenOrderLimit(Policy):
    """Counts the open orders (held, sent, quarantined, working), and refuses with RiskLimitExceeded one that would be
    more than `max_orders`; 0 lets none pass. An order is open until it is filled to the last unit, cancelled, rejected,
    expired or rolled back; a partial fill frees nothing.

    It is a count and no size, so it may refuse an order that reduces a position as well; the way out is to cancel one.
    After a change of limits what is open counts by the new ones, above them if need be. It needs no cover: an order
    that no such limit is for passes.

    Example, max_orders 2: two orders pass, a third is refused; one of them is half filled, and it still is; one is
    cancelled, and it passes.
    """

    id: ClassVar[str] = "open_order_limit"
    effect_types = (OrderHeld,)

    def __init__(self, limits: Sequence[OpenOrders]) -> None:
        self._limits = LimitSet(self.id, limits, cover=False)
        self.limit_names = self._limits.names
        self.is_idle = not limits
        self._open: dict[tuple[str, str], int] = {}

    def main(self, attempt: Attempt) -> Verdict:
        limits = self._limits.matching(attempt)
        if not limits:
            return PASS
        counters: list[tuple[str, str]] = []
        rejects: list[Reject] = []
        for limit in limits:
            counter = (limit.name, limit.scope_of(attempt))
            counters.append(counter)
            used = self._open.get(counter, 0)
            if used >= limit.max_orders:
                rejects.append(self._reject(limit, counter[1], used))
        return Verdict((OrderHeld(tuple(counters)),), tuple(rejects))

    def rehold(self, held: tuple[Any, ...], attempt: Attempt, open_quantity: Decimal) -> tuple[Any, ...]:
        limits = self._limits.matching(attempt)
        counters = tuple((limit.name, limit.scope_of(attempt)) for limit in limits)
        return (OrderHeld(counters),) if limits else ()

    def holds_as(self, before: Policy) -> bool:
        return isinstance(before, OpenOrderLimit) and _scopes(self._limits) == _scopes(before._limits)

    def counters(self, limit: str, look: Look) -> list[Counter]:
        (bare,) = self.bounds(limit)
        scopes = look.page(scope for name, scope in self._open if name == limit)
        return [
            Counter(scope=scope, what=bare.what, bound=bare.bound, used=Decimal(self._open[limit, scope]))
            for scope in scopes
        ]

    def bounds(self, limit: str) -> list[Counter]:
        bound = self._limits.by_name[limit]
        return [Counter(scope=bound.subject, what="open orders", bound=Decimal(bound.max_orders))]

    def apply(self, effect: Any) -> None:
        for counter in effect.counters:
            self._open[counter] = self._open.get(counter, 0) + 1

    def undo(self, effect: Any) -> None:
        for counter in effect.counters:
            left = self._open[counter] - 1
            if left:
                self._open[counter] = left
            else:
                del self._open[counter]

    def save(self) -> Any:
        return [[*counter, self._open[counter]] for counter in sorted(self._open)]

    def load(self, saved: Any) -> None:
        self._open = {(limit, scope): count for limit, scope, count in saved}

    def _reject(self, limit: OpenOrders, scope: str, used: int) -> Reject:
        return Reject(
            code=RejectCode.RISK_LIMIT_EXCEEDED,
            policy=self.id,
            limit=limit.name,
            scope=scope,
            reason=f"{scope}: {used} orders are open, limit {limit.max_orders}; cancel one, or wait until one ends",
            bound=Decimal(limit.max_orders),
            used=Decimal(used),
            requested=Decimal(1),
        )


def _scopes(limits: LimitSet[OpenOrders]) -> list[OpenOrders]:
    """What the limits count, and for whom: all but how many they allow, and where they stand."""
    return [msgspec.structs.replace(limit, max_orders=0, position=0) for limit in limits]
