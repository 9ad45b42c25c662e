"""What an amount of one asset is worth in the firm's currency."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

import msgspec

from pit.types import RejectCode

from .numbers import NotRepresentable, converted_down, factor_down, factor_up, times_up
from .prices import Quote, Quoted
from .unvalued import Unvalued

_ONE = Decimal(1)
_HUNDRED = Decimal(100)


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """Where the rate of one asset comes from: `fixed`, or the quotes of a pair. A quote that is older than `max_age_ns`
    is none, and so is a fixed rate from `until_wall_ns` on.
    """

    haircut_percent: Decimal = Decimal(0)
    fixed: Decimal | None = None
    until_wall_ns: int | None = None
    symbol: str = ""
    is_inverted: bool = False
    """The pair is quoted the other way round: the firm's currency in the asset, as USD/JPY is for JPY in USD."""
    max_age_ns: int = 0


class Currency(msgspec.Struct, frozen=True, kw_only=True):
    """The firm's currency, and the rates of other assets in it. There are no cross rates: each asset has its own."""

    firm: str
    rates: dict[str, Rate] = {}


class Factor(NamedTuple):
    """What one unit of an asset counts in the firm's currency: where it adds to what is limited, and where it is set
    off against that. Between the two lie the spread and twice the haircut, always against the firm.
    """

    up: Decimal
    down: Decimal

    def counted(self, amount: Decimal) -> Decimal:
        """An amount in the firm's currency, rounded up to nine decimals; one below zero is set off, and rounds up too.
        Raises NotRepresentable.
        """
        return times_up(amount, self.up if amount >= 0 else self.down)


PAR = Factor(_ONE, _ONE)
"""The firm's own currency: nothing is rounded."""


class Rates:
    """The rates now. A missing or stale one is never guessed: Unvalued, with ReferenceDataUnavailable.

    With rate r (of a quote: the highest price told where an amount adds, the lowest where it is set off) and a haircut
    of h percent, a unit counts r × (1 + h/100) where it adds, rounded up to 18 decimals, and r × (1 - h/100) where it
    is set off, rounded down. An amount is multiplied by that and rounded up to nine decimals.

    Example, firm USD, EUR 1.10 with a haircut of 2 percent: an order over 1000 EUR counts 1122 USD; in a net, a short
    position of 1000 EUR takes 1078 USD off the long ones.
    """

    def __init__(self, marks: Quoted) -> None:
        self.currency: Currency | None = None
        self.wall_ns = 0
        """The wall time of the entry in hand."""
        self._marks = marks
        self._made: dict[str, tuple[Quote, Factor]] = {}
        """Factors by asset, with the quote that each was made of: a memory of what can be made again."""
        self._fixed: dict[str, Factor] = {}

    def use(self, currency: Currency | None) -> None:
        self.currency = currency
        self._made.clear()
        rates: Mapping[str, Rate] = {} if currency is None else currency.rates
        self._fixed = {
            asset: _factor(rate, rate.fixed, rate.fixed) for asset, rate in rates.items() if rate.fixed is not None
        }

    @property
    def symbols(self) -> frozenset[str]:
        """The pairs that rates are read from."""
        return frozenset(rate.symbol for rate in (self.currency.rates if self.currency else {}).values() if rate.symbol)

    @property
    def firm(self) -> str:
        """The firm's currency; empty where none is configured."""
        return "" if self.currency is None else self.currency.firm

    def of(self, asset: str, now_ns: int) -> Factor:
        """What a unit of that asset counts now. Raises Unvalued."""
        currency = self.currency
        if currency is None:
            raise _unknown("no [currency] firm is configured")
        if asset == currency.firm:
            return PAR
        rate = currency.rates.get(asset)
        if rate is None:
            raise _unknown(f"no rate of {asset} in {currency.firm} is configured: [currency.rates] {asset} = …")
        if rate.fixed is not None:
            if rate.until_wall_ns is not None and self.wall_ns >= rate.until_wall_ns:
                raise _unknown(f"the rate of {asset} in {currency.firm} that is configured is too old")
            return self._fixed[asset]
        quote = self._marks.find(rate.symbol)
        if quote is None or now_ns - quote.at_ns > rate.max_age_ns:
            old = "has been told" if quote is None else f"is younger than {rate.max_age_ns / 1e9:g} s"
            raise _unknown(f"no rate of {asset} in {currency.firm} {old}: no quote of {rate.symbol}")
        made = self._made.get(asset)
        if made is not None and made[0] is quote:
            return made[1]
        told = [price for price in (quote.mark, quote.bid, quote.ask) if price is not None and price > 0]
        if not told:
            raise _unknown(f"the quote of {rate.symbol} is no rate")
        factor = _factor(rate, max(told), min(told))
        self._made[asset] = (quote, factor)
        return factor

    def converted(self, amount: Decimal, asset: str, into: str, now_ns: int) -> Decimal:
        """What was made of one asset (below zero: lost) in another one, by way of the firm's currency: a profit at the
        lower rates, a loss at the higher ones, rounded down to nine decimals either way. Its own asset, and nothing at
        all, need no rate. Raises Unvalued.

        Example, firm USD, EUR 1.10 and GBP 1.25, each with a haircut of 2 percent, into EUR: 100 GBP made are
        100 × 1.225 / 1.122 = 109.180035650 EUR, 100 GBP lost are 100 × 1.275 / 1.078 = 118.274582561 EUR.
        """
        if not amount or asset == into:
            return amount
        of, per = self.of(asset, now_ns), self.of(into, now_ns)
        try:
            if amount > 0:
                return converted_down(amount, of.down, per.up)
            return converted_down(amount, of.up, per.down)
        except NotRepresentable:
            raise _unknown(f"{amount} {asset} in {into} cannot be represented") from None


def _factor(rate: Rate, highest: Decimal, lowest: Decimal) -> Factor:
    more, less = _HUNDRED + rate.haircut_percent, _HUNDRED - rate.haircut_percent
    try:
        if rate.is_inverted:
            return Factor(factor_up(_ONE, more, lowest * 100), factor_down(_ONE, less, highest * 100))
        return Factor(factor_up(highest, more, _HUNDRED), factor_down(lowest, less, _HUNDRED))
    except NotRepresentable:
        raise _unknown("its rate cannot be represented") from None


def _unknown(why: str) -> Unvalued:
    return Unvalued(RejectCode.REFERENCE_DATA_UNAVAILABLE, why)
