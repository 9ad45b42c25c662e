"""open_order_notional: how much may be open at once?"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, ClassVar

import msgspec

from pit.types import Order, RejectCode
from pitd.core.instruments import Listed
from pitd.core.limits import Limit, LimitSet, shown
from pitd.core.numbers import ZERO, canonical, text
from pitd.core.policy import PASS, Asks, Attempt, Counter, Look, Policy, Unvalued, Verdict, order_notional


class OpenNotional(Limit, frozen=True, kw_only=True, tag_field="control", tag="open_order_notional"):
    """At most `max_notional` of the settlement asset in open orders."""

    max_notional: Decimal


class NotionalHeld(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """What one open order is worth, on these counters: (limit, scope) pairs."""

    amount: Decimal
    counters: tuple[tuple[str, str], ...]
    price: Decimal | None = None
    """What a market order was valued at when it was taken."""


class OpenOrderNotional(Policy):
    """Keeps the notional of all open orders (held, sent, quarantined, working) at their own prices. Refuses with
    RiskLimitExceeded an order that would take it above `max_notional`. A fill releases its share, a close the rest.

    After a change of limits what is open counts by the new ones, above them if need be: then nothing passes until it is
    below. A market order that was taken while no limit asked for its price is not counted.

    An order that reduces a position passes, and is counted like any other as far as its worth is known.

    Example, limit 1000: 6 @ 100 passes (600), 5 @ 100 is refused (1100); 2 of the 6 fill (400), 6 @ 100 passes (1000).
    """

    id: ClassVar[str] = "open_order_notional"
    effect_types = (NotionalHeld,)

    def __init__(self, limits: Sequence[OpenNotional], *, cover: bool = True) -> None:
        self._limits = LimitSet(self.id, limits, cover=cover)
        self.limit_names = self._limits.names
        self.is_idle = not limits
        self.asks_for_quotes = Asks.WITHOUT_PRICE
        self._held: dict[tuple[str, str], Decimal] = {}

    def main(self, attempt: Attempt) -> Verdict:
        limits = self._limits.matching(attempt)
        if not limits:
            uncovered = self._limits.uncovered(attempt)
            return Verdict(rejects=uncovered) if uncovered else PASS
        try:
            notional = attempt.notional()
        except Unvalued as trouble:
            if attempt.reduces:
                return PASS
            return Verdict(
                rejects=tuple(
                    self._limits.reject(limit, attempt, trouble.code, str(trouble), limit.max_notional)
                    for limit in limits
                )
            )
        counters = []
        rejects = []
        for limit in limits:
            counter = (limit.name, limit.scope_of(attempt))
            counters.append(counter)
            used = self._held.get(counter, ZERO)
            if used + notional > limit.max_notional and not attempt.reduces:
                asset = attempt.listed.settlement
                why = (
                    f"{shown(attempt.order, attempt.listed)} = {text(notional)} {asset} on top of {text(used)} open, "
                    f"limit {text(limit.max_notional)}"
                )
                rejects.append(
                    self._limits.reject(
                        limit, attempt, RejectCode.RISK_LIMIT_EXCEEDED, why, limit.max_notional, notional, used=used
                    )
                )
        taken_at = attempt.price if attempt.order.price is None else None
        return Verdict((NotionalHeld(notional, tuple(counters), taken_at),), tuple(rejects))

    def shrink(self, hold: Any, order: Order, listed: Listed, open_quantity: Decimal) -> Any:
        price = order.price if hold.price is None else hold.price
        return NotionalHeld(order_notional(order, listed, open_quantity, price), hold.counters, hold.price)

    def rehold(self, held: tuple[Any, ...], attempt: Attempt, open_quantity: Decimal) -> tuple[Any, ...]:
        limits = self._limits.matching(attempt)
        if not limits:
            return ()
        taken_at = held[0].price if held else None
        price = attempt.price if taken_at is None else taken_at
        amount = order_notional(attempt.order, attempt.listed, open_quantity, price)
        return (NotionalHeld(amount, tuple((limit.name, limit.scope_of(attempt)) for limit in limits), taken_at),)

    def holds_as(self, before: Policy) -> bool:
        return isinstance(before, OpenOrderNotional) and _scopes(self._limits) == _scopes(before._limits)

    def held(self, limit: str, scope: str) -> Decimal:
        """What is open on that counter."""
        return self._held.get((limit, scope), ZERO)

    def counters(self, limit: str, look: Look) -> list[Counter]:
        (bare,) = self.bounds(limit)
        scopes = look.page(scope for name, scope in self._held if name == limit)
        return [
            Counter(scope=scope, what=bare.what, bound=bare.bound, used=canonical(self.held(limit, scope)))
            for scope in scopes
        ]

    def bounds(self, limit: str) -> list[Counter]:
        bound = self._limits.by_name[limit]
        what = f"{bound.only.settlement or 'notional'} open"
        return [Counter(scope=bound.subject, what=what, bound=canonical(bound.max_notional))]

    def apply(self, effect: Any) -> None:
        for counter in effect.counters:
            self._held[counter] = self._held.get(counter, ZERO) + effect.amount

    def undo(self, effect: Any) -> None:
        for counter in effect.counters:
            left = self._held[counter] - effect.amount
            assert left >= 0, (counter, left)
            if left:
                self._held[counter] = left
            else:
                del self._held[counter]

    def save(self) -> Any:
        return [[*counter, text(self._held[counter])] for counter in sorted(self._held) if self._held[counter]]

    def load(self, saved: Any) -> None:
        self._held = {(limit, scope): Decimal(amount) for limit, scope, amount in saved}


def _scopes(limits: LimitSet[OpenNotional]) -> list[OpenNotional]:
    """What the limits count, and for whom: all but how much they allow, and where they stand."""
    return [msgspec.structs.replace(limit, max_notional=ZERO, position=0) for limit in limits]
