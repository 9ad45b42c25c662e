"""The newest quote of every instrument, beside the clock: the entry that uses one carries it into the core."""

from __future__ import annotations

from collections.abc import Iterable

from pit import wire

from .core.engine import Engine
from .core.numbers import text
from .core.prices import Marks, Quote

MOST = 20_000
"""So many instruments are quoted at the most."""


class Quotes:
    """Kept in memory alone: after a start there is none until one is pushed, and a price is never guessed."""

    def __init__(self) -> None:
        self._newest: dict[str, Quote] = {}
        self._fresh: dict[str, Quote] = {}
        """Quotes of what the core values by that it has not been brought yet."""

    def newest(self, symbol: str) -> Quote | None:
        return self._newest.get(symbol)

    def fresh(self, marks: Marks) -> Iterable[Quote]:
        """The quotes that the core is to be brought with the next entry that may add risk."""
        if marks.unseen:
            for symbol in marks.unseen:
                known = self._newest.get(symbol)
                if known is not None and not marks.knows(known):
                    self._fresh[symbol] = known
            marks.unseen.clear()
        return self._fresh.values()

    def has_fresh(self, marks: Marks) -> bool:
        """Whether there is any that the core has not been brought."""
        return bool(self._fresh) or (bool(marks.unseen) and bool(self.fresh(marks)))

    def brought(self, quotes: Iterable[Quote]) -> None:
        """An entry has brought these to the core."""
        for quote in quotes:
            if self._fresh.get(quote.symbol) is quote:
                del self._fresh[quote.symbol]

    def push(self, engine: Engine, pushed: wire.PushQuote, now_ns: int) -> wire.Reply:
        """Takes a quote up, unless a newer one is there (Done 0)."""
        listed = engine.instruments.find(pushed.instrument)
        if listed is None:
            why = f"quote: {pushed.instrument} is not declared; declare [instruments.{pushed.instrument}]"
            return wire.Failed(wire.FailureCode.INVALID_INPUT, why)
        given = [price for price in (pushed.mark, pushed.bid, pushed.ask) if price is not None]
        if not given:
            return wire.Failed(wire.FailureCode.INVALID_INPUT, "quote: give mark, bid or ask")
        if not listed.signed_price and min(given) <= 0:
            why = f"quote of {listed.symbol}: a price above zero is wanted, not {text(min(given))}"
            return wire.Failed(wire.FailureCode.INVALID_INPUT, why)
        if pushed.bid is not None and pushed.ask is not None and pushed.bid > pushed.ask:
            why = f"quote of {listed.symbol}: bid {text(pushed.bid)} is above ask {text(pushed.ask)}"
            return wire.Failed(wire.FailureCode.INVALID_INPUT, why)
        before = self._newest.get(listed.symbol)
        at_ns = now_ns - pushed.age_ns
        if before is not None and before.at_ns > at_ns:
            return wire.Done(0)
        if before is None and len(self._newest) >= MOST:
            return wire.Failed(wire.FailureCode.CAPACITY_EXCEEDED, f"{MOST} instruments are quoted already")
        quote = Quote(listed.symbol, pushed.mark, pushed.bid, pushed.ask, at_ns)
        self._newest[listed.symbol] = quote
        if engine.valuation.marks.watches(listed.symbol):
            self._fresh[listed.symbol] = quote
        return wire.Done(1)
