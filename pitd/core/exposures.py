"""What accounts, groups, clients and the firm are exposed to: what they hold, with what may come, at the newest marks.

Nothing here is state of its own: it follows from positions, open orders and the marks that entries brought, and is
made anew from them. It is kept, as adding up a firm's book for every order would take too long: what has changed since
somebody last looked is valued again, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, NamedTuple

from pit.types import Order, RejectCode, Side

from .instruments import Listed
from .numbers import ZERO
from .positions import Pool, Positions, Strategy, Whose, units_of
from .prices import Marks, Quote
from .unvalued import Unvalued


class Units(NamedTuple):
    """Units of one instrument in a book, and amounts that open volume orders of unknown units are for."""

    gross: Decimal
    """The largest position that may come of it, account by account, long or short; added up over the accounts."""
    long: Decimal
    """What is held, and all that may be bought."""
    short: Decimal
    """What is held, less all that may be sold."""
    buying: Decimal
    selling: Decimal

    @property
    def is_nothing(self) -> bool:
        return not (self.gross or self.long or self.short or self.buying or self.selling)


class Worth(NamedTuple):
    """The same in the settlement asset."""

    gross: Decimal
    long: Decimal
    short: Decimal


NOTHING = Worth(ZERO, ZERO, ZERO)


class _Cell(NamedTuple):
    listed: Listed
    worth: Worth
    at_ns: int
    """How old the mark is that it was valued by."""
    units: Units
    quote: Quote


class Book:
    """What one account, client, group or the firm is exposed to, by settlement asset."""

    __slots__ = ("by_underlying", "cells", "changed", "keeps_underlyings", "oldest_ns", "totals", "unvalued")

    def __init__(self, keeps_underlyings: bool = False) -> None:
        self.keeps_underlyings = keeps_underlyings
        self.cells: dict[str, _Cell] = {}
        self.totals: dict[str, Worth] = {}
        self.by_underlying: dict[tuple[str, str], Decimal] = {}
        """Gross, by underlying and settlement asset."""
        self.unvalued: dict[str, tuple[str | None, str]] = {}
        """By symbol its settlement asset, where that is known, and why it has no worth."""
        self.changed: dict[str, None] = {}
        self.oldest_ns: dict[str, int] = {}
        """By settlement asset: no mark there is older than that."""

    def put(self, symbol: str, cell: _Cell | None) -> None:
        before = self.cells.get(symbol)
        if before is not None and (cell is None or cell.listed is not before.listed):
            self._add(before.listed, before.worth, NOTHING)
            before = None
        if cell is None:
            self.cells.pop(symbol, None)
            return
        asset = cell.listed.settlement
        if asset not in self.oldest_ns or cell.at_ns < self.oldest_ns[asset]:
            self.oldest_ns[asset] = cell.at_ns
        self.cells[symbol] = cell
        self._add(cell.listed, NOTHING if before is None else before.worth, cell.worth)

    def _add(self, listed: Listed, before: Worth, after: Worth) -> None:
        asset = listed.settlement
        total = self.totals.get(asset, NOTHING)
        total = Worth(
            total.gross - before.gross + after.gross,
            total.long - before.long + after.long,
            total.short - before.short + after.short,
        )
        _put(self.totals, asset, total, total != NOTHING)
        if self.keeps_underlyings:
            key = (listed.underlying, asset)
            of = self.by_underlying.get(key, ZERO) - before.gross + after.gross
            _put(self.by_underlying, key, of, bool(of))

    def why_unknown(self, now_ns: int, max_age_ns: int, asset: str | None = None) -> str:
        """Why nobody can say what it is worth, or what of it is settled in that asset; or nothing."""
        for symbol, (settlement, why) in self.unvalued.items():
            if asset is None or settlement is None or settlement == asset:
                return f"{symbol}: {why}"
        for settlement in tuple(self.oldest_ns) if asset is None else (asset,):
            oldest_ns = self.oldest_ns.get(settlement)
            if oldest_ns is None or now_ns - oldest_ns <= max_age_ns:
                continue
            ages = {symbol: cell.at_ns for symbol, cell in self.cells.items() if cell.listed.settlement == settlement}
            if not ages:
                del self.oldest_ns[settlement]
                continue
            stale = min(ages, key=ages.__getitem__)
            self.oldest_ns[settlement] = ages[stale]  # it was of a mark that is no more
            if now_ns - ages[stale] > max_age_ns:
                return f"{stale}: its mark is {(now_ns - ages[stale]) / 1e9:.3f} s old"
        return ""


class Outlook(NamedTuple):
    """A book as it is, and what of it an order would change."""

    book: Book
    listed: Listed
    before: Worth
    """The worth of the order's own instrument now."""
    after: Worth
    at_ns: int
    """How old its mark is."""

    def why_unknown(self, now_ns: int, max_age_ns: int, asset: str | None = None) -> str:
        """Why nobody can say what the book would be worth, or nothing; `asset` as in `Book.why_unknown`."""
        if now_ns - self.at_ns > max_age_ns:
            return f"{self.listed.symbol}: its mark is {(now_ns - self.at_ns) / 1e9:.3f} s old"
        return self.book.why_unknown(now_ns, max_age_ns, asset)


class Exposures:
    """The books that limits ask for, each valued when it is looked at."""

    def __init__(self, positions: Positions, marks: Marks, find: Callable[[str], Listed | None]) -> None:
        """`find` says what a symbol means, as positions have it: declared, or a pair."""
        self._positions = positions
        self._marks = marks
        self._find = find
        self._books: dict[Whose, Book] = {}
        self._where: dict[str, dict[Whose, None]] = {}
        """The books that may have something of a symbol."""
        self._worst: dict[tuple[str, str], Decimal] = {}
        self._gross: dict[tuple[Pool, str], Decimal] = {}
        """The units of `Units.gross` of groups and the firm, and of each account in them."""
        self._asked: frozenset[str] = frozenset()

    def ask(self, kinds: frozenset[str]) -> None:
        """What is asked for: books of each "account", of "pool"s (groups and the firm), of each "client"; and in them
        what is of one "underlying".
        """
        self._asked = kinds
        self._positions.watcher = self if kinds else None
        self.restart()

    def restart(self) -> None:
        for sums in (self._books, self._where, self._worst, self._gross):
            sums.clear()
        if not self._asked:
            return
        for account, symbol in self._positions.all_symbols():
            self.touch(account, symbol)
        for whose, symbol in self._positions.all_of_clients():
            self.touch_client(whose, symbol)

    def touch(self, account: str, symbol: str) -> None:
        """An account holds something else of that, or something else is on its way."""
        if "account" in self._asked:
            self._changed(account, symbol)
        if "pool" not in self._asked:
            return
        pools, key = self._positions.pools_of(account), (account, symbol)
        long, short = self._positions.reach(account, symbol)
        was, worst = self._worst.get(key, ZERO), max(long, -short)
        if worst != was:
            _put(self._worst, key, worst, bool(worst))
            for pool in pools:
                total = self._gross.get((pool, symbol), ZERO) + worst - was
                _put(self._gross, (pool, symbol), total, bool(total))
        for pool in pools:
            self._changed(pool, symbol)

    def touch_client(self, whose: Strategy, symbol: str) -> None:
        if "client" in self._asked:
            self._changed(whose, symbol)

    def marked(self, symbol: str) -> None:
        """Its mark is another one."""
        for whose in self._where.get(symbol, ()):
            self._books[whose].changed[symbol] = None

    def is_held(self, symbol: str) -> bool:
        return symbol in self._where

    def books(self) -> Iterator[Whose]:
        yield from self._books

    def book(self, whose: Whose) -> Book:
        """That book, as it is now."""
        book = self._books.get(whose)
        if book is None:
            return Book()
        if book.changed:
            for symbol in book.changed:
                self._value(whose, book, symbol)
            book.changed.clear()
        return book

    def outlook(self, whose: Whose, order: Order, listed: Listed, open_quantity: Decimal) -> Outlook:
        """What an order of which so much may trade would make of a book. Raises Unvalued."""
        units = self._units(whose, listed.symbol)
        price, at_ns = self._price(listed)
        book = self.book(whose)
        cell = book.cells.get(listed.symbol)
        before = _worth(listed, units, price) if cell is None else cell.worth
        after = _worth(listed, self._with(units, whose, order, listed, open_quantity), price)
        return Outlook(book, listed, before, after, at_ns)

    def _with(self, units: Units, whose: Whose, order: Order, listed: Listed, open_quantity: Decimal) -> Units:
        gross, long, short, buying, selling = units
        more = units_of(order, listed, open_quantity)
        is_buy = order.side is Side.BUY
        if more is None:
            if is_buy:
                return Units(gross, long, short, buying + open_quantity, selling)
            return Units(gross, long, short, buying, selling + open_quantity)
        if is_buy:
            long += more
        else:
            short -= more
        if type(whose) is Pool:
            own_long, own_short = self._positions.reach(order.account, listed.symbol)
            worst = max(own_long, -own_short)
            gross += max(worst, own_long + more if is_buy else more - own_short) - worst
        else:
            gross = max(long, -short)
        return Units(gross, long, short, buying, selling)

    def _units(self, whose: Whose, symbol: str) -> Units:
        long, short = self._positions.reach(whose, symbol)
        gross = self._gross.get((whose, symbol), ZERO) if type(whose) is Pool else max(long, -short)
        return Units(gross, long, short, *self._positions.amounts(whose, symbol))

    def _value(self, whose: Whose, book: Book, symbol: str) -> None:
        units, quote = self._units(whose, symbol), self._marks.find(symbol)
        cell = book.cells.get(symbol)
        if cell is not None and cell.quote is quote and cell.units == units:
            return  # what was asked for has been taken back
        book.unvalued.pop(symbol, None)
        if units.is_nothing:
            book.put(symbol, None)
            self._forget(whose, symbol)
            return
        listed = self._find(symbol) if cell is None else cell.listed
        price = None if quote is None else quote.reference
        if listed is None or quote is None or price is None:
            book.put(symbol, None)
            settlement = None if listed is None else listed.settlement
            why = "it is not declared any more" if listed is None else "no mark of it is known"
            book.unvalued[symbol] = (settlement, why)
            return
        try:
            book.put(symbol, _Cell(listed, _worth(listed, units, price), quote.at_ns, units, quote))
        except Unvalued as trouble:
            book.put(symbol, None)
            book.unvalued[symbol] = (listed.settlement, str(trouble))

    def _price(self, listed: Listed) -> tuple[Decimal, int]:
        quote = self._marks.find(listed.symbol)
        price = None if quote is None else quote.reference
        if quote is None or price is None:
            raise Unvalued(RejectCode.MARK_PRICE_UNAVAILABLE, f"no mark of {listed.symbol} is known")
        return price, quote.at_ns

    def _changed(self, whose: Whose, symbol: str) -> None:
        book = self._books.get(whose)
        if book is None:
            book = self._books[whose] = Book("underlying" in self._asked)
        book.changed[symbol] = None
        where = self._where.get(symbol)
        if where is None:
            self._where[symbol] = {whose: None}
            self._marks.unseen[symbol] = None
        else:
            where[whose] = None

    def _forget(self, whose: Whose, symbol: str) -> None:
        where = self._where.get(symbol)
        if where is not None:
            where.pop(whose, None)
            if not where:
                del self._where[symbol]


def _worth(listed: Listed, units: Units, price: Decimal) -> Worth:
    """Units at a price, each rounded up as an order's notional is. Raises Unvalued."""
    try:
        gross = _at(listed, units.gross, price)
        long = gross if units.long == units.gross else _at(listed, units.long, price)
        short = -gross if units.short == -units.gross else _at(listed, units.short, price)
        if not (units.buying or units.selling):
            return Worth(gross, long, short)
        return Worth(gross + units.buying + units.selling, long + units.buying, short - units.selling)
    except ArithmeticError:
        why = f"{listed.symbol} at {price} cannot be represented exactly"
        raise Unvalued(RejectCode.ORDER_VALUE_CALCULATION_FAILED, why) from None


def _at(listed: Listed, units: Decimal, price: Decimal) -> Decimal:
    if not units or not price:
        return ZERO
    return listed.notional(price, units) if units > 0 else -listed.notional(price, -units)


def _put(sums: dict[Any, Any], key: Any, total: Any, is_something: bool) -> None:
    """Keeps a sum, unless it has come to nothing."""
    if is_something:
        sums[key] = total
    else:
        sums.pop(key, None)


__all__ = ["NOTHING", "Book", "Exposures", "Outlook", "Worth"]
