"""self_trade: would this order meet one of our own?"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar

import msgspec

from pit.types import Order, Reject, RejectCode, Side
from pitd.core.instruments import Listed
from pitd.core.limits import Limit, LimitSet
from pitd.core.numbers import ZERO, canonical, text
from pitd.core.policy import PASS, Attempt, Counter, Policy, Verdict


class SelfTrades(Limit, frozen=True, kw_only=True, tag_field="control", tag="self_trade"):
    """Whose orders may not meet one another, `each` and `over` say."""


class Resting(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """An open order at its price (None: at any) and venue (None: at any), in these books: (limit, scope) pairs."""

    symbol: str
    is_buy: bool
    price: Decimal | None
    books: tuple[tuple[str, str], ...]
    venue: str | None = None


class SelfTrade(Policy):
    """Refuses an order that would meet an open one of the other side in the same instrument: a buy at or above our own
    lowest sell, a sell at or below our own highest buy. A market order meets whatever is there, and an open market
    order is met by whatever comes. Open is what is held, sent, quarantined or working, of every process.

    Whose orders these are, the limit says: over "firm" or { group = … } they are all of one house, and the code is
    SelfMatchPrevention; with each = "account" both sides are one owner's, who would trade with himself:
    WashTradePrevention, as for a pair that begins with account. Orders at different venues do not meet; one that
    names no `venue` may be at any. An order that reduces a position is refused like any other: cancel the one in its
    way. What is open when a configuration brings the limit is not touched, and counts from then on. Until the venue has
    answered a modify, the order may be met at its old price and at its new one.

    The best price of either side is found without a look at the others, however many orders are open.

    Example, over = "firm": mm1 sells 10 @ 101; mm2 buys 5 @ 100 and passes, 5 @ 101 and is refused, 5 at market and is
    refused; mm1's order is cancelled, then both pass.
    """

    id: ClassVar[str] = "self_trade"
    state_version: ClassVar[int] = 2
    effect_types = (Resting,)

    def __init__(self, limits: Sequence[SelfTrades]) -> None:
        self._limits = LimitSet(self.id, limits, cover=False)
        self.limit_names = self._limits.names
        self.is_idle = not limits
        self._books: dict[_BookKey, dict[str | None, _Prices]] = {}
        """By venue, for each."""

    def main(self, attempt: Attempt) -> Verdict:
        limits = self._limits.matching(attempt)
        if not limits:
            return PASS
        resting = _resting(limits, attempt)
        rejects = []
        for limit, (name, scope) in zip(limits, resting.books, strict=True):
            venues = self._books.get((name, scope, resting.symbol, not resting.is_buy))
            opposite = None if venues is None else _met(venues, resting)
            if opposite is not None:
                rejects.append(self._reject(limit, scope, attempt, opposite))
        return Verdict((resting,), tuple(rejects))

    def rehold(self, held: tuple[Any, ...], attempt: Attempt, open_quantity: Decimal) -> tuple[Any, ...]:
        limits = self._limits.matching(attempt)
        return (_resting(limits, attempt),) if limits else ()

    def holds_as(self, before: Policy) -> bool:
        if not isinstance(before, SelfTrade):
            return False
        mine, others = (
            [msgspec.structs.replace(each, position=0) for each in limits] for limits in (self._limits, before._limits)
        )
        return mine == others

    def shrink(self, hold: Any, order: Order, listed: Listed, open_quantity: Decimal) -> Any:
        return hold

    def worse(self, old: tuple[Any, ...], new: tuple[Any, ...]) -> tuple[Any, ...]:
        return (*old, *(each for each in new if each not in old))

    def bounds(self, limit: str) -> list[Counter]:
        subject = self._limits.by_name[limit].subject
        return [Counter(scope=subject, what="own orders that an order may meet", bound=ZERO)]

    def apply(self, effect: Any) -> None:
        for name, scope in effect.books:
            key = (name, scope, effect.symbol, effect.is_buy)
            venues = self._books.get(key)
            if venues is None:
                venues = self._books[key] = {}
            prices = venues.get(effect.venue)
            if prices is None:
                prices = venues[effect.venue] = _Prices(effect.is_buy)
            prices.add(effect.price)

    def undo(self, effect: Any) -> None:
        for name, scope in effect.books:
            key = (name, scope, effect.symbol, effect.is_buy)
            venues = self._books[key]
            prices = venues[effect.venue]
            prices.remove(effect.price)
            if prices.is_empty:
                del venues[effect.venue]
                if not venues:
                    del self._books[key]

    def save(self) -> Any:
        return [
            [*key, venue, self._books[key][venue].save()]
            for key in sorted(self._books)
            for venue in sorted(self._books[key], key=lambda venue: venue or "")
        ]

    def load(self, saved: Any) -> None:
        self._books = {}
        for name, scope, symbol, is_buy, venue, prices in saved:
            book = self._books.setdefault((name, scope, symbol, is_buy), {})[venue] = _Prices(is_buy)
            for price, count in prices:
                for _ in range(count):
                    book.add(None if price is None else Decimal(price))

    def _reject(self, limit: SelfTrades, scope: str, attempt: Attempt, opposite: _Prices) -> Reject:
        order = attempt.order
        best = opposite.best()
        theirs = "at market" if opposite.unpriced else f"at {text(best)}" if best is not None else ""
        other = "sell" if order.side is Side.BUY else "buy"
        mine = "at market" if order.price is None else f"at {text(order.price)}"
        is_one_owner = not limit.is_shared and "account" in limit.each
        return Reject(
            code=RejectCode.WASH_TRADE_PREVENTION if is_one_owner else RejectCode.SELF_MATCH_PREVENTION,
            policy=self.id,
            limit=limit.name,
            scope=scope,
            reason=f"{scope}: {order.side} {attempt.listed.symbol} {mine} would meet an own {other} {theirs}",
            bound=None if opposite.unpriced or best is None else canonical(best),
            requested=None if order.price is None else canonical(order.price),
        )


_BookKey = tuple[str, str, str, bool]
"""Limit, scope, symbol, and whether it buys."""


class _Prices:
    """How many orders of one side are open at each price, and the price that is met first.

    The heap keeps prices that are gone until they come to its top, and is made anew before they are the most of it.
    """

    def __init__(self, is_buy: bool) -> None:
        self._is_buy = is_buy
        self._counts: dict[Decimal, int] = {}
        self._heap: list[Decimal] = []
        self.unpriced = 0

    def __repr__(self) -> str:
        return f"_Prices({self._counts!r}, {self._heap!r}, {self.unpriced})"

    @property
    def is_empty(self) -> bool:
        return not self._counts and not self.unpriced

    def best(self) -> Decimal | None:
        """The highest buy, the lowest sell; None where nothing has a price."""
        if not self._heap:
            return None
        return self._heap[0].copy_negate() if self._is_buy else self._heap[0]

    def meets(self, price: Decimal | None) -> bool:
        """Whether an order of the other side at that price would meet one of these."""
        if price is None or self.unpriced:
            return True
        best = self.best()
        return best is not None and (price <= best if self._is_buy else price >= best)

    def add(self, price: Decimal | None) -> None:
        if price is None:
            self.unpriced += 1
            return
        if price not in self._counts:
            heapq.heappush(self._heap, self._ranked(price))
        self._counts[price] = self._counts.get(price, 0) + 1
        self._tidy()

    def remove(self, price: Decimal | None) -> None:
        if price is None:
            assert self.unpriced
            self.unpriced -= 1
            return
        if self._counts[price] > 1:
            self._counts[price] -= 1
            return
        del self._counts[price]
        self._tidy()

    def save(self) -> list[Any]:
        priced: list[Any] = [[text(price), self._counts[price]] for price in sorted(self._counts)]
        return [*priced, [None, self.unpriced]] if self.unpriced else priced

    def _ranked(self, price: Decimal) -> Decimal:
        return price.copy_negate() if self._is_buy else price

    def _tidy(self) -> None:
        if len(self._heap) > 2 * len(self._counts) + 16:
            self._heap = [self._ranked(price) for price in self._counts]
            heapq.heapify(self._heap)
        while self._heap and (self._heap[0].copy_negate() if self._is_buy else self._heap[0]) not in self._counts:
            heapq.heappop(self._heap)


def _resting(limits: Sequence[SelfTrades], attempt: Attempt) -> Resting:
    order = attempt.order
    books = tuple((limit.name, limit.scope_of(attempt)) for limit in limits)
    return Resting(attempt.listed.symbol, order.side is Side.BUY, order.price, books, order.venue)


def _met(venues: Mapping[str | None, _Prices], resting: Resting) -> _Prices | None:
    """The orders of the other side that an order would meet, at its own venue or at one that nobody has named."""
    if resting.venue is None:
        return next((prices for prices in venues.values() if prices.meets(resting.price)), None)
    for venue in (resting.venue, None):
        prices = venues.get(venue)
        if prices is not None and prices.meets(resting.price):
            return prices
    return None
