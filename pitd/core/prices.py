"""What instruments cost now, as far as anybody has said: quotes come with the entries that use them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Protocol

import msgspec

from pit.types import Side


class Quote(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What was said of an instrument's price: mark, bid and ask, each if it was told; `at_ns` is engine time."""

    symbol: str
    mark: Decimal | None
    bid: Decimal | None
    ask: Decimal | None
    at_ns: int

    def taken_by(self, side: Side) -> Decimal | None:
        """What an order without a price would trade at: a buy at the ask, a sell at the bid, else at the mark."""
        price = self.ask if side is Side.BUY else self.bid
        return self.mark if price is None else price

    @property
    def reference(self) -> Decimal | None:
        """What the instrument is worth: the mark, else the middle of bid and ask; one side alone says nothing."""
        if self.mark is not None:
            return self.mark
        return None if self.bid is None or self.ask is None else (self.bid + self.ask) / 2


class Quoted(Protocol):
    """Who knows quotes."""

    def find(self, symbol: str) -> Quote | None: ...


class Marks:
    """The quotes that entries have brought, each until a newer one comes: what is held is valued by them, and rates are
    read from them.

    An entry brings only those that are new since the last, so that an order costs no more however much is held. Nothing
    is kept while no limit asks (`is_needed`). A process that begins to serve knows none: what was said before it may be
    old by any length.
    """

    def __init__(self) -> None:
        self.is_needed = False
        self.rates: frozenset[str] = frozenset()
        """The symbols that rates are read from."""
        self.is_held: Callable[[str], bool] = lambda symbol: False
        """Whether something is held or on its way in that instrument, by what is to be valued."""
        self.unseen: dict[str, None] = {}
        """Symbols that are looked at since somebody last asked: who keeps quotes may know some already."""
        self.moved: Callable[[str], None] | None = None
        """Told of every symbol whose quote is another one, also for who only asks."""
        self.kept: Callable[[str], None] | None = None
        """Told of every symbol that an entry has brought another quote of."""
        self.forgot: Callable[[], None] | None = None
        """Told that none is known any more."""
        self._newest: dict[str, Quote] = {}
        self.peeked: dict[str, Quote] = {}
        """What holds for who only asks, until the next entry."""

    def watches(self, symbol: str) -> bool:
        """Whether a new quote of that is to come with the next entry that may add risk."""
        return self.is_needed and (symbol in self.rates or self.is_held(symbol))

    def find(self, symbol: str) -> Quote | None:
        if self.peeked and symbol in self.peeked:
            return self.peeked[symbol]
        return self._newest.get(symbol)

    def peek(self, quotes: Iterable[Quote]) -> None:
        """Goes by those, too, as if an entry had brought them; until `unpeek`, and nothing of it stays."""
        peeked = {quote.symbol: quote for quote in self.new_among(quotes)}
        if peeked != self.peeked:
            self.unpeek()
            self.peeked = peeked
            self._tell(peeked)

    def unpeek(self) -> None:
        if self.peeked:
            peeked, self.peeked = self.peeked, {}
            self._tell(peeked)

    def knows(self, quote: Quote) -> bool:
        """Whether an entry has brought it."""
        return self._newest.get(quote.symbol) == quote

    def new_among(self, quotes: Iterable[Quote]) -> tuple[Quote, ...]:
        """Those that say something else than is known, and nothing older."""
        if not self.is_needed:
            return ()
        return tuple([quote for quote in quotes if self._is_new(quote)])

    def _is_new(self, quote: Quote) -> bool:
        known = self._newest.get(quote.symbol)
        if known is None or known is quote:
            return known is None
        return quote.at_ns >= known.at_ns and quote != known

    def keep(self, quotes: Iterable[Quote]) -> None:
        kept = {quote.symbol: quote for quote in quotes}
        self._newest.update(kept)
        self._tell(kept)
        if self.kept is not None:
            for symbol in kept:
                self.kept(symbol)

    def forget(self) -> None:
        forgotten, self._newest = self._newest, {}
        self._tell(forgotten)
        if self.forgot is not None:
            self.forgot()

    def _tell(self, symbols: Iterable[str]) -> None:
        if self.moved is not None:
            for symbol in symbols:
                self.moved(symbol)

    def need(self, is_needed: bool, rates: frozenset[str]) -> None:
        """Says whether any limit asks, and what rates are read from."""
        self.is_needed = is_needed
        if rates != self.rates:
            self.rates = rates
            self.unseen.update(dict.fromkeys(sorted(rates)))
        if not is_needed:
            self._newest.clear()
            self.unseen.clear()

    def save(self) -> tuple[Quote, ...]:
        return tuple(self._newest[symbol] for symbol in sorted(self._newest))
