"""open_order_notional: how much may be open at once?"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, ClassVar, Literal

import msgspec

from pit.types import Order, Reject, RejectCode
from pitd.core.instruments import Listed
from pitd.core.limits import Limit, LimitSet, asset_of, worth
from pitd.core.numbers import ZERO, canonical, text
from pitd.core.policy import PASS, Asks, Attempt, Counter, Look, Policy, Unvalued, Verdict, at_rate, order_notional


class OpenNotional(Limit, frozen=True, kw_only=True, tag_field="control", tag="open_order_notional"):
    """At most `max_notional` of the settlement asset, or with `currency` of the firm's currency, in open orders."""

    max_notional: Decimal
    currency: Literal["firm"] | None = None


class NotionalHeld(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """What one open order is worth, on these counters: (limit, scope) pairs."""

    amount: Decimal
    counters: tuple[tuple[str, str], ...]
    price: Decimal | None = None
    """What a market order was valued at when it was taken."""
    in_firm: Decimal | None = None
    """What it is worth in the firm's currency, at the rate it was taken at, on the counters that count in that."""
    firm_counters: tuple[tuple[str, str], ...] = ()
    rate: Decimal | None = None
    """What a unit of the settlement asset counted then; None where that is the firm's currency."""


class OpenOrderNotional(Policy):
    """Keeps the notional of all open orders (held, sent, quarantined, working) at their own prices. Refuses with
    RiskLimitExceeded an order that would take it above `max_notional`. A fill releases its share, a close the rest.

    After a change of limits what is open counts by the new ones, above them if need be: then nothing passes until it is
    below. A market order that was taken while no limit asked for its price is not counted.

    An order that reduces a position passes, and is counted like any other as far as its worth is known.

    With `currency = "firm"` orders of all settlement assets are added up in the firm's currency, each at the rate it
    was taken at (`core.currency.Rates` says how it is rounded). Without a fresh rate nothing new passes
    (ReferenceDataUnavailable); an order that reduces does, and is not counted there.

    Example, limit 1000: 6 @ 100 passes (600), 5 @ 100 is refused (1100); 2 of the 6 fill (400), 6 @ 100 passes (1000).
    """

    id: ClassVar[str] = "open_order_notional"
    effect_types = (NotionalHeld,)

    def __init__(self, limits: Sequence[OpenNotional], *, cover: bool = True) -> None:
        self._limits = LimitSet(self.id, limits, cover=cover)
        self.limit_names = self._limits.names
        self.is_idle = not limits
        self.asks_for_quotes = Asks.WITHOUT_PRICE
        self.asks_for_rates = any(limit.currency is not None for limit in limits)
        self._held: dict[tuple[str, str], Decimal] = {}

    def main(self, attempt: Attempt) -> Verdict:
        matched = self._limits.matched(attempt)
        scoped = matched.scoped
        if not scoped:
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
                    for limit, _ in scoped
                )
            )
        counters = matched.counters
        if self.asks_for_rates:
            counters = tuple((limit.name, scope) for limit, scope in scoped if limit.currency is None)
        in_firm, rate = None, None
        firm_counters: tuple[tuple[str, str], ...] = ()
        rejects: tuple[Reject, ...] = ()
        for (limit, _), counter in zip(scoped, matched.counters, strict=True):
            if limit.currency is None:
                wanted = notional
            else:
                try:
                    wanted = in_firm = attempt.in_firm()
                except Unvalued as trouble:
                    if not attempt.reduces:
                        why = f"{trouble}, so {limit.name} cannot be checked"
                        rejects += (self._limits.reject(limit, attempt, trouble.code, why, limit.max_notional),)
                    continue
                rate = attempt.rate
                firm_counters += (counter,)
            used = self._held.get(counter, ZERO)
            if used + wanted > limit.max_notional and not attempt.reduces:
                why = f"{worth(attempt, limit.currency)} on top of {text(used)} open, limit {text(limit.max_notional)}"
                code, most = RejectCode.RISK_LIMIT_EXCEEDED, limit.max_notional
                rejects += (self._limits.reject(limit, attempt, code, why, most, wanted, used=used),)
        taken_at = attempt.price if attempt.order.price is None else None
        return Verdict((NotionalHeld(notional, counters, taken_at, in_firm, firm_counters, rate),), rejects)

    def shrink(self, hold: Any, order: Order, listed: Listed, open_quantity: Decimal) -> Any:
        price = order.price if hold.price is None else hold.price
        amount = order_notional(order, listed, open_quantity, price)
        if hold.in_firm is None:
            return NotionalHeld(amount, hold.counters, hold.price)
        in_firm = at_rate(amount, hold.rate)
        return NotionalHeld(amount, hold.counters, hold.price, in_firm, hold.firm_counters, hold.rate)

    def rehold(self, held: tuple[Any, ...], attempt: Attempt, open_quantity: Decimal) -> tuple[Any, ...]:
        limits = self._limits.matching(attempt)
        if not limits:
            return ()
        taken_at = held[0].price if held else None
        price = attempt.price if taken_at is None else taken_at
        amount = order_notional(attempt.order, attempt.listed, open_quantity, price)
        counters = tuple((limit.name, limit.scope_of(attempt)) for limit in limits if limit.currency is None)
        in_firm, rate, firm = None, None, [limit for limit in limits if limit.currency is not None]
        if firm:
            is_known = bool(held) and held[0].in_firm is not None
            try:
                rate = held[0].rate if is_known else attempt.rate
                in_firm = at_rate(amount, rate)
            except Unvalued:
                firm = []
        firm_counters = tuple((limit.name, limit.scope_of(attempt)) for limit in firm)
        return (NotionalHeld(amount, counters, taken_at, in_firm, firm_counters, rate),)

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
        what = f"{asset_of(bound)} open"
        return [Counter(scope=bound.subject, what=what, bound=canonical(bound.max_notional))]

    def apply(self, effect: Any) -> None:
        for counter in effect.counters:
            self._held[counter] = self._held.get(counter, ZERO) + effect.amount
        for counter in effect.firm_counters:
            self._held[counter] = self._held.get(counter, ZERO) + effect.in_firm

    def undo(self, effect: Any) -> None:
        for counter in effect.counters:
            self._give_back(counter, effect.amount)
        for counter in effect.firm_counters:
            self._give_back(counter, effect.in_firm)

    def _give_back(self, counter: tuple[str, str], amount: Decimal) -> None:
        left = self._held[counter] - amount
        assert left >= 0, (counter, left)
        if left:
            self._held[counter] = left
        else:
            del self._held[counter]

    def share(self, effect: Any, limit: str, scope: str) -> Decimal | None:
        if (limit, scope) in getattr(effect, "firm_counters", ()):
            in_firm: Decimal | None = effect.in_firm
            return in_firm
        return super().share(effect, limit, scope)

    def save(self) -> Any:
        return [[*counter, text(self._held[counter])] for counter in sorted(self._held) if self._held[counter]]

    def load(self, saved: Any) -> None:
        self._held = {(limit, scope): Decimal(amount) for limit, scope, amount in saved}


def _scopes(limits: LimitSet[OpenNotional]) -> list[OpenNotional]:
    """What the limits count, and for whom: all but how much they allow, and where they stand."""
    return [msgspec.structs.replace(limit, max_notional=ZERO, position=0) for limit in limits]
