"""What accounts have, hold and have made in the currency that each is kept in, as people read it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from decimal import Decimal

from .core.currency import Rates
from .core.engine import Engine
from .core.numbers import ZERO, NotRepresentable, canonical
from .core.policy import Unvalued
from .core.prices import Quote
from .core.unrealised import unrealised_of

Newest = Callable[[str], Quote | None]


class OwnCurrency:
    """By the newest quotes that anybody has told, whether or not a limit asks for them; with the ages and haircuts of
    [currency], as limits count: a profit at the lower rate, a loss at the higher one. None where nobody knows.
    """

    def __init__(self, engine: Engine, newest: Newest, now_ns: int, wall_ns: int | None = None) -> None:
        self._engine = engine
        self._newest = newest
        self._now_ns = now_ns
        known = engine.valuation.rates
        self._rates = Rates(_Quotes(newest))
        self._rates.use(known.currency)
        self._rates.wall_ns = known.wall_ns if wall_ns is None else wall_ns

    def of(self, account: str) -> str | None:
        """The asset that the account is kept in, where it is said."""
        return self._engine.accounts.currency_of(account)

    def worth(self, account: str, amounts: Iterable[tuple[str, Decimal]]) -> Decimal | None:
        """What amounts of several assets come to."""
        into = self.of(account)
        if into is None:
            return None
        sums: dict[str, Decimal] = {}
        try:
            for asset, amount in amounts:
                sums[asset] = sums.get(asset, ZERO) + amount
            total = sum((self._rates.converted(sums[asset], asset, into, self._now_ns) for asset in sorted(sums)), ZERO)
            return canonical(total)
        except (Unvalued, NotRepresentable):
            return None

    def unrealised(self, account: str) -> Decimal | None:
        """What all that the account holds would make at the newest marks."""
        known: list[tuple[str, Decimal]] = []
        for asset, amount in self.unrealised_of(account).items():
            if amount is None:
                return None
            known.append((asset, amount))
        return self.worth(account, known)

    def unrealised_of(self, account: str) -> dict[str, Decimal | None]:
        """The same by settlement asset; None where one of the marks is not known."""
        sums: dict[str, Decimal | None] = {}
        for symbol, held in self._engine.positions.of_account(account):
            if not held.quantity:
                continue
            listed, quote = self._engine.instruments.named(symbol), self._newest(symbol)
            asset = symbol.rpartition("/")[2] if listed is None else listed.settlement
            mark, before = None if quote is None else quote.reference, sums.get(asset, ZERO)
            sums[asset] = None
            if listed is not None and mark is not None and before is not None:
                with contextlib.suppress(NotRepresentable):
                    sums[asset] = canonical(before + unrealised_of(held, listed, mark))
        return sums


class _Quotes:
    """The newest quotes, as rates are read from them."""

    def __init__(self, newest: Newest) -> None:
        self._newest = newest

    def find(self, symbol: str) -> Quote | None:
        return self._newest(symbol)
