"""What policies may ask of worth: marks, the firm's currency, and what everyone is exposed to."""

from __future__ import annotations

from collections.abc import Callable

from .currency import Currency, Rates
from .exposures import Exposures
from .instruments import Listed
from .positions import Positions
from .prices import Marks


class Valuation:
    """Made once for an engine. What no limit asks for is not kept."""

    def __init__(self, positions: Positions, find: Callable[[str], Listed | None]) -> None:
        self.marks = Marks()
        self.rates = Rates(self.marks)
        self.exposures = Exposures(positions, self.marks, find)
        self.marks.is_held = self.exposures.is_held
        self.marks.moved = self.exposures.marked

    def ask(self, currency: Currency | None, books: frozenset[str], *, asks_for_rates: bool) -> None:
        """What is to be kept from here on: the books that limits count in, and rates where one converts."""
        self.rates.use(currency)
        rates = self.rates.symbols if asks_for_rates else frozenset()
        self.marks.need(bool(books or rates), rates)
        self.exposures.ask(books)
