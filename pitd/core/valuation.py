"""What policies may ask of worth: marks, the firm's currency, and what everyone is exposed to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal

from pit.types import Order, RejectCode

from .currency import Currency, Rates
from .exposures import Exposures
from .instruments import Listed
from .numbers import ZERO
from .positions import Positions, units_of
from .prices import Marks
from .unrealised import Unrealised
from .unvalued import Unvalued


class Valuation:
    """Made once for an engine. What no limit asks for is not kept."""

    def __init__(self, positions: Positions, find: Callable[[str], Listed | None]) -> None:
        self._find = find
        self.marks = Marks()
        self.rates = Rates(self.marks)
        self.exposures = Exposures(positions, self.marks, find)
        self.unrealised = Unrealised(positions, self.marks, find)
        self.marks.is_held = self._is_held
        self.marks.moved = self.exposures.marked
        self.marks.kept = self._kept
        self.marks.forgot = self.unrealised.nothing_due

    def _is_held(self, symbol: str) -> bool:
        return self.exposures.is_held(symbol) or self.unrealised.is_held(symbol)

    def _kept(self, symbol: str) -> None:
        self.unrealised.marked(symbol)
        if symbol in self.marks.rates:
            self.unrealised.rated()

    def worth_of(self, symbol: str, units: Decimal) -> tuple[Listed, Decimal]:
        """What an instrument means, and what so many units of it are worth at the mark. Raises Unvalued."""
        listed, quote = self._find(symbol), self.marks.find(symbol)
        price = None if quote is None else quote.reference
        if listed is None or price is None:
            raise Unvalued(RejectCode.MARK_PRICE_UNAVAILABLE, f"no mark of {symbol} is known")
        return listed, listed.notional(price, units) if price else ZERO

    def worth_of_open(self, order: Order, listed: Listed, open_quantity: Decimal) -> Decimal:
        """What an order of which so much may trade is worth at the mark; a volume order of unknown units its amount."""
        units = units_of(order, listed, open_quantity)
        return open_quantity if units is None else self.worth_of(listed.symbol, units)[1]

    def ask(
        self,
        currency: Currency | None,
        books: frozenset[str],
        *,
        asks_for_rates: bool,
        asks_for_unrealised: bool,
        by_account: bool = True,
        several: Mapping[str, Callable[[str], bool]] | None = None,
    ) -> None:
        """What is to be kept from here on: the books that limits count in, rates where one converts, and what positions
        would make: by account, and of the accounts that limits look at together.
        """
        self.rates.use(currency)
        rates = self.rates.symbols if asks_for_rates else frozenset()
        self.marks.need(bool(books or rates or asks_for_unrealised), rates)
        self.unrealised.ask(asks_for_unrealised, by_account=by_account, several=several or {})
        self.exposures.ask(books)
