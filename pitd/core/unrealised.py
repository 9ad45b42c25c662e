"""What positions would make if they were closed at the newest marks: by account and settlement asset."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal

from pit.types import Side

from .instruments import Listed
from .numbers import ZERO, NotRepresentable
from .positions import FLAT, Position, Positions, filled
from .prices import Marks


class Unknown(Exception):
    """What something would make can't be told; the message says why."""


def unrealised_of(position: Position, listed: Listed, mark: Decimal) -> Decimal:
    """What closing all of it at that mark would realise. Example: long 10 for 1000, mark 97: -30. Raises
    NotRepresentable.
    """
    if not position.quantity:
        return ZERO
    side = Side.BUY if position.quantity > 0 else Side.SELL
    return filled(FLAT, listed, side, abs(position.quantity), mark).cost - position.cost


class _Book:
    """Of one account and asset: what is known by symbol, with the age of its mark; and why something is not."""

    __slots__ = ("cells", "total", "unknown")

    def __init__(self) -> None:
        self.cells: dict[str, tuple[Decimal, int]] = {}
        self.total = ZERO
        self.unknown: dict[str, str] = {}


class Unrealised:
    """Nothing here is state of its own: it follows from positions and the marks that entries brought. What has changed
    since somebody last looked is valued again, and nothing else.
    """

    def __init__(self, positions: Positions, marks: Marks, find: Callable[[str], Listed | None]) -> None:
        self.is_asked = False
        self.moved: dict[str, None] = {}
        """The accounts whose P&L may be another one since it was last looked at."""
        self._positions = positions
        self._marks = marks
        self._find = find
        self._books: dict[str, dict[str, _Book]] = {}
        self._holders: dict[str, dict[str, None]] = {}
        self._changed: dict[tuple[str, str], None] = {}

    def ask(self, is_asked: bool) -> None:
        """Whether it is kept from here on."""
        self.is_asked = is_asked
        self.restart()

    def restart(self) -> None:
        for kept in (self._books, self._holders, self._changed, self.moved):
            kept.clear()
        if self.is_asked:
            for account, symbol, _ in self._positions.save():
                self.touch(account, symbol)

    def touch(self, account: str, symbol: str) -> None:
        """An account holds something else of that."""
        if not self.is_asked:
            return
        self.moved[account] = None
        self._changed[account, symbol] = None
        holders = self._holders.setdefault(symbol, {})
        if not holders:
            self._marks.unseen[symbol] = None
        if self._positions.of(account, symbol).quantity:
            holders[account] = None
        else:
            holders.pop(account, None)
            if not holders:
                del self._holders[symbol]

    def note(self, account: str) -> None:
        """The P&L of an account is another one, whatever it holds."""
        if self.is_asked:
            self.moved[account] = None

    def marked(self, symbol: str) -> None:
        """Its mark is another one."""
        for account in self._holders.get(symbol, ()):
            self.moved[account] = None
            self._changed[account, symbol] = None

    def is_held(self, symbol: str) -> bool:
        return symbol in self._holders

    def accounts(self, asset: str) -> Iterator[str]:
        """Those that hold something that is settled in that."""
        self._value_all()
        return (account for account, books in self._books.items() if asset in books)

    def of(self, account: str, asset: str, now_ns: int = 0, max_age_ns: int | None = None) -> Decimal:
        """What the account's positions in that asset would make, by marks of at most that age. Raises Unknown."""
        self._value_all()
        book = self._books.get(account, {}).get(asset)
        if book is None:
            return ZERO
        for symbol, why in book.unknown.items():
            raise Unknown(f"{symbol}, which {account} holds: {why}")
        if max_age_ns is not None:
            for symbol, (_, at_ns) in book.cells.items():
                if now_ns - at_ns > max_age_ns:
                    age = (now_ns - at_ns) / 1e9
                    raise Unknown(f"{symbol}, which {account} holds: its mark is {age:.3f} s old")
        return book.total

    def of_position(self, account: str, symbol: str) -> tuple[Decimal, Decimal | None] | None:
        """The mark of what is held, and what closing it there would make; None where no mark is known."""
        quote, listed = self._marks.find(symbol), self._find(symbol)
        mark = None if quote is None else quote.reference
        if mark is None or listed is None:
            return None
        try:
            return mark, unrealised_of(self._positions.of(account, symbol), listed, mark)
        except NotRepresentable:
            return mark, None

    def _value_all(self) -> None:
        if self._changed:
            for account, symbol in self._changed:
                self._value(account, symbol)
            self._changed.clear()

    def _value(self, account: str, symbol: str) -> None:
        listed = self._find(symbol)
        asset = symbol.rpartition("/")[2] if listed is None else listed.settlement
        books = self._books.setdefault(account, {})
        book = books.setdefault(asset, _Book())
        book.unknown.pop(symbol, None)
        before = book.cells.pop(symbol, None)
        if before is not None:
            book.total -= before[0]
        position = self._positions.of(account, symbol)
        if position.quantity:
            quote = self._marks.find(symbol)
            mark = None if quote is None else quote.reference
            if listed is None or quote is None or mark is None:
                book.unknown[symbol] = "no mark of it is known" if listed is not None else "it is not declared any more"
            else:
                try:
                    worth = unrealised_of(position, listed, mark)
                    book.total += worth
                    book.cells[symbol] = (worth, quote.at_ns)
                except NotRepresentable:
                    book.unknown[symbol] = "its worth cannot be represented exactly"
        if not book.cells and not book.unknown:
            del books[asset]
            if not books:
                del self._books[account]
