"""What an order's instrument means, and what an order in it is worth."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from pit.types import Instrument, Kind

from .numbers import coarsened_up, divided_up

ONE = Decimal(1)
INVERSE = Kind.INVERSE
"""Bound once: to look a member up in its enum costs more than to compare it."""


class Listed(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An instrument as the engine knows it: declared under a symbol, or a plain pair (spot, multiplier 1)."""

    symbol: str
    underlying: str
    settlement: str
    kind: Kind = Kind.SPOT
    multiplier: Decimal = ONE
    tick: Decimal | None = None
    lot: Decimal | None = None
    signed_price: bool = False
    """Whether a price of zero or below is allowed, as for spreads."""

    def notional(self, price: Decimal, quantity: Decimal) -> Decimal:
        """|price| × quantity × multiplier, rounded up to 18 decimals, which only a multiplier with decimals can reach;
        inverse: quantity × multiplier / |price|, rounded up to nine decimals.
        """
        if self.kind is INVERSE:
            return divided_up(quantity * self.multiplier, abs(price))
        worth = abs(price) * quantity * self.multiplier
        return coarsened_up(worth) if self.multiplier % 1 else worth


class Instruments:
    """The declared instruments. A pair may be declared too, under a symbol such as "AAPL/USD"; else it is spot."""

    def __init__(self, declared: Mapping[str, Listed]) -> None:
        self._declared = dict(declared)
        self._by_pair: dict[Instrument, Listed] = {}

    def declared(self) -> tuple[Listed, ...]:
        return tuple(self._declared.values())

    def find(self, instrument: Instrument | str) -> Listed | None:
        """The listed instrument, or None for a symbol that is not declared."""
        if type(instrument) is str:
            return self._declared.get(instrument)
        assert isinstance(instrument, Instrument)
        listed = self._by_pair.get(instrument)
        if listed is None:
            symbol, underlying, settlement = str(instrument), instrument.underlying, instrument.settlement
            listed = self._declared.get(symbol)
            if listed is None or (listed.underlying, listed.settlement) != (underlying, settlement):
                listed = Listed(symbol=symbol, underlying=underlying, settlement=settlement)
            if len(self._by_pair) >= _PAIRS_KEPT:
                self._by_pair.clear()
            self._by_pair[instrument] = listed
        return listed

    def named(self, symbol: str) -> Listed | None:
        """The same by its symbol, as positions and quotes have it: that of a pair too."""
        listed = self._declared.get(symbol)
        if listed is not None:
            return listed
        underlying, _, settlement = symbol.rpartition("/")
        return self.find(Instrument(underlying, settlement)) if underlying and settlement else None


_PAIRS_KEPT = 10_000
"""A memory of what can be made again, so emptying it at the bound changes no answer."""
