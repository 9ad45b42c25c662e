"""What positions would make if they were closed at the newest marks: by account, and of several together; by settlement
asset.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from itertools import islice
from typing import NamedTuple

from pit.types import Side

from .instruments import Listed
from .numbers import ZERO, NotRepresentable, added_widely
from .positions import FLAT, Position, Positions, filled
from .prices import Marks, Quote


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


class Several(NamedTuple):
    """The accounts that a limit over the firm or a group looks at together, by its name."""

    limit: str


Holder = str | Several
"""An account, or several together."""


class _Book:
    """Of one holder and asset: what is known by symbol, with the age of its mark; and why something is not."""

    __slots__ = ("cells", "oldest_ns", "total", "unknown")

    def __init__(self) -> None:
        self.cells: dict[str, tuple[Decimal, int]] = {}
        self.oldest_ns = 0
        """No mark is older; it may be that of one that is no more."""
        self.total = ZERO
        self.unknown: dict[str, str] = {}


class _Together(NamedTuple):
    """What several accounts hold of one instrument, added up, and how many of them hold any."""

    quantity: Decimal
    cost: Decimal
    accounts: int


class Unrealised:
    """Nothing here is state of its own: it follows from positions and the marks that entries brought. What has changed
    since somebody last looked is valued again, and nothing else.

    A mark or a rate that has moved makes the P&L of every account another one that has some of it. So that an order
    that brings one costs no more however many those are, only the account that an entry is about is looked at with it,
    and what limits over several accounts count; all others are due, and entries that nobody asked for look at them
    (`QuotesMoved`), a moment later: at so many of them each, by name, round and round. Their own orders and reports
    come after a look at them in any case. To look at one of which nothing has moved does nothing: so more may be due
    here than elsewhere, and never less; that is why an entry says from which name to which it looks.

    What several accounts would make together is kept as a sum of what they hold: a fill adds its difference, a mark
    values the sum once, so that neither costs more the more accounts there are. (Of an inverse instrument the worth of
    the sum is rounded once, as if one account held it.)
    """

    def __init__(self, positions: Positions, marks: Marks, find: Callable[[str], Listed | None]) -> None:
        self.is_asked = False
        self.has_moved = False
        """Whether anything has since somebody last looked."""
        self.moved: dict[str, None] = {}
        """The accounts whose P&L may be another one since it was last looked at."""
        self.moved_together: dict[str, None] = {}
        """The limits over several accounts whose P&L may be another one by a mark alone."""
        self.is_all_moved = False
        """Whether everybody's P&L is to be looked at: what is asked for is otherwise."""
        self.is_rate_moved = False
        """Whether what limits over several accounts convert may be worth something else."""
        self.are_rates_moved = False
        """Whether what is converted may be worth something else, for everybody."""
        self._positions = positions
        self._marks = marks
        self._find = find
        self._by_account = False
        self._several: dict[Several, Callable[[str], bool]] = {}
        self._books: dict[Holder, dict[str, _Book]] = {}
        self._holders: dict[str, dict[str, None]] = {}
        """By symbol, the accounts that hold some."""
        self._together: dict[tuple[Several, str], _Together] = {}
        self._seen: dict[tuple[str, str], tuple[Decimal, Decimal]] = {}
        """By account and symbol, the quantity and cost that are in those sums."""
        self._of_account: dict[str, tuple[Several, ...]] = {}
        self._changed: dict[tuple[Holder, str], None] = {}
        self._by_quote: dict[Holder, dict[str, Quote | None]] = {}
        """What each thing that they hold was valued by."""
        self._due: dict[str, None] = {}
        """The symbols whose holders are to be looked at."""
        self._are_rates_due = False
        self._waiting: dict[str, None] = {}
        """The accounts that have been called and are yet to be looked at."""
        self._names: list[str] = []
        """All accounts that ever were, by name: the order of a round."""
        self._named: set[str] = set()
        self._place = ""
        """The name up to which they have been looked at in this round."""
        self.has_due = False
        self.known: Callable[[], Iterable[str]] = tuple
        """The accounts whose P&L rates may move though they hold nothing."""

    def ask(self, is_asked: bool, *, by_account: bool, several: Mapping[str, Callable[[str], bool]]) -> None:
        """What is kept from here on: whether anything is, whether by account, and of which accounts together."""
        self.is_asked = is_asked
        self._by_account = by_account
        self._several = {Several(name): is_one for name, is_one in several.items()}
        self.restart()
        self.is_all_moved = self.has_moved = is_asked

    def restart(self) -> None:
        self._books.clear()
        self._holders.clear()
        self._together.clear()
        self._seen.clear()
        self._of_account.clear()
        self._changed.clear()
        self._by_quote.clear()
        self.nothing_due()
        self.looked_at()
        if self.is_asked:
            for account, symbol, _ in self._positions.save():
                self.touch(account, symbol)

    def looked_at(self) -> None:
        """Everything that had moved has been looked at."""
        self.moved.clear()
        self.moved_together.clear()
        self.is_all_moved = self.is_rate_moved = self.are_rates_moved = self.has_moved = False

    def nothing_due(self) -> None:
        """Nobody's P&L can be told to be another one: no mark is known."""
        self._due.clear()
        self._waiting.clear()
        self._are_rates_due = self.has_due = False

    def make_all_due(self) -> None:
        """Nobody knows who has been looked at."""
        if self.is_asked:
            self._due.update(dict.fromkeys(self._holders if self._by_account else ()))
            self._are_rates_due = bool(self._marks.rates)
            self.has_due = bool(self._due) or self._are_rates_due

    @property
    def is_in_round(self) -> bool:
        """Whether some of those that were due are yet to be looked at."""
        return bool(self._waiting)

    def next_part(self, most: int, symbols: Iterable[str]) -> tuple[str, str]:
        """Between which names the next entry is to look, so that it looks at so many accounts: after the one, up to the
        other ("" for the end). It brings quotes of these symbols.
        """
        due = self._called((*self._due, *symbols))
        due.update(self._waiting)
        after = self._place
        found = self._next_of(due, after, most + 1)
        if not found and after:
            after, found = "", self._next_of(due, "", most + 1)
        return after, found[most - 1] if len(found) > most else ""

    def call_due(self, after: str = "", upto: str = "") -> None:
        """Has those looked at that are due, between these names."""
        if not self.has_due:
            return
        waiting = self._waiting
        waiting.update(self._called(self._due))
        self.are_rates_moved = self.are_rates_moved or self._are_rates_due
        self._due.clear()
        self._are_rates_due = False
        names = self._names
        end = bisect_right(names, upto) if upto else len(names)
        for name in names[bisect_right(names, after) : end]:
            if name in waiting:
                self.moved[name] = None
                del waiting[name]
        self._place = upto
        self.has_moved = True
        self.has_due = bool(waiting)

    def _next_of(self, due: Mapping[str, None], after: str, most: int) -> list[str]:
        """So many of those by name, after that one."""
        names = self._names
        rest = islice(names, bisect_right(names, after), None)
        return list(islice((name for name in rest if name in due), most))

    def _called(self, symbols: Iterable[str]) -> dict[str, None]:
        """The accounts whose P&L these may have moved: of a rate everybody's."""
        found: dict[str, None] = {}
        symbols = dict.fromkeys(symbols)
        if self._are_rates_due or not self._marks.rates.isdisjoint(symbols):
            found.update(dict.fromkeys(self.known()))
            symbols = self._holders
        for symbol in symbols:
            found.update(self._holders.get(symbol, {}))
        if not self._named.issuperset(found):
            self._named.update(found)
            self._names = sorted(self._named)
        return found

    def move_all(self, accounts: Iterable[str]) -> None:
        """Everybody's P&L is to be looked at, that of these accounts by name."""
        self.moved.update(dict.fromkeys(accounts))
        self.is_all_moved = self.has_moved = self.is_asked

    def touch(self, account: str, symbol: str) -> None:
        """An account holds something else of that."""
        if not self.is_asked:
            return
        self.moved[account] = None
        self.has_moved = True
        if not self._by_account and not self._several:
            return
        position = self._positions.of(account, symbol)
        if self._by_account:
            self._changed[account, symbol] = None
        self._add_up(account, symbol, position)
        holders = self._holders.setdefault(symbol, {})
        if not holders:
            self._marks.unseen[symbol] = None
        if position.quantity:
            holders[account] = None
        else:
            holders.pop(account, None)
            if not holders:
                del self._holders[symbol]

    def note(self, account: str) -> None:
        """The P&L of an account is another one, whatever it holds."""
        if self.is_asked:
            self.moved[account] = None
            self.has_moved = True

    def marked(self, symbol: str) -> None:
        """Its mark is another one."""
        if self._by_account and symbol in self._holders:
            self._due[symbol] = None
            self.has_due = True
        for several in self._several:
            if (several, symbol) in self._together:
                self.has_moved = True
                self.moved_together[several.limit] = None

    def rated(self) -> None:
        """A rate is another one."""
        if self.is_asked:
            self.is_rate_moved = self.has_moved = True
            self._are_rates_due = self.has_due = True

    def is_held(self, symbol: str) -> bool:
        return symbol in self._holders

    def accounts(self) -> Iterable[str]:
        """Those that hold something, where it is kept by account."""
        self._value_changed()
        return [holder for holder in self._books if type(holder) is str]

    def assets(self, holder: Holder) -> Iterable[str]:
        """What the things are settled in that they hold."""
        self._value_changed()
        return self._books.get(holder, {})

    def of(self, holder: Holder, asset: str, now_ns: int = 0, max_age_ns: int | None = None) -> Decimal:
        """What their positions in that asset would make, by marks of at most that age. Raises Unknown."""
        self._value_changed()
        self._value_anew(holder)
        book = self._books.get(holder, {}).get(asset)
        if book is None:
            return ZERO
        if book.unknown:
            symbol = min(book.unknown)
            raise Unknown(f"{symbol}, which {_who(holder)}: {book.unknown[symbol]}")
        if max_age_ns is not None and book.cells and now_ns - book.oldest_ns > max_age_ns:
            book.oldest_ns, symbol = min((at_ns, symbol) for symbol, (_, at_ns) in book.cells.items())
            if now_ns - book.oldest_ns > max_age_ns:
                age = (now_ns - book.oldest_ns) / 1e9
                raise Unknown(f"{symbol}, which {_who(holder)}: its mark is {age:.3f} s old")
        return book.total

    def _value_anew(self, holder: Holder) -> None:
        """Values what they hold of whatever is quoted otherwise by now."""
        find = self._marks.find
        moved = [symbol for symbol, quote in self._by_quote.get(holder, {}).items() if find(symbol) is not quote]
        for symbol in moved:
            self._value(holder, symbol)

    def _value_changed(self) -> None:
        if self._changed:
            for holder, symbol in self._changed:
                self._value(holder, symbol)
            self._changed.clear()

    def _value(self, holder: Holder, symbol: str) -> None:
        listed = self._find(symbol)
        asset = symbol.rpartition("/")[2] if listed is None else listed.settlement
        books = self._books.setdefault(holder, {})
        book = books.setdefault(asset, _Book())
        book.unknown.pop(symbol, None)
        before = book.cells.pop(symbol, None)
        if before is not None:
            book.total -= before[0]
        position, is_held = self._position(holder, symbol)
        if not is_held:
            by_quote = self._by_quote.get(holder)
            if by_quote is not None and by_quote.pop(symbol, self) is not self and not by_quote:
                del self._by_quote[holder]
        else:
            quote = self._marks.find(symbol)
            self._by_quote.setdefault(holder, {})[symbol] = quote
            mark = None if quote is None else quote.reference
            if listed is None or quote is None or mark is None:
                book.unknown[symbol] = "no mark of it is known" if listed is not None else "it is not declared any more"
            else:
                try:
                    worth = -position.cost if not position.quantity else unrealised_of(position, listed, mark)
                    book.total += worth
                    book.oldest_ns = min(book.oldest_ns, quote.at_ns) if book.cells else quote.at_ns
                    book.cells[symbol] = (worth, quote.at_ns)
                except NotRepresentable:
                    book.unknown[symbol] = "its worth cannot be represented exactly"
        if not book.cells and not book.unknown:
            del books[asset]
            if not books:
                del self._books[holder]

    def _position(self, holder: Holder, symbol: str) -> tuple[Position, bool]:
        """What they hold, and whether any of them does: long and short ones may come to nothing together."""
        if type(holder) is str:
            position = self._positions.of(holder, symbol)
            return position, bool(position.quantity)
        assert isinstance(holder, Several)
        together = self._together.get((holder, symbol))
        return (FLAT, False) if together is None else (Position(together.quantity, together.cost), True)

    def _add_up(self, account: str, symbol: str, position: Position) -> None:
        """Takes what an account holds by now into the sums that it is in."""
        if not self._several:
            return
        within = self._of_account.get(account)
        if within is None:
            within = tuple(several for several, is_one in self._several.items() if is_one(account))
            self._of_account[account] = within
        if not within:
            return
        quantity, cost = (position.quantity, position.cost) if position.quantity else (ZERO, ZERO)
        had, had_cost = self._seen.pop((account, symbol), (ZERO, ZERO))
        if quantity:
            self._seen[account, symbol] = (quantity, cost)
        for several in within:
            before = self._together.get((several, symbol), _NOBODY)
            accounts = before.accounts + bool(quantity) - bool(had)
            self._changed[several, symbol] = None
            if not accounts:
                self._together.pop((several, symbol), None)
                continue
            both = _Together(_moved(before.quantity, quantity, had), _moved(before.cost, cost, had_cost), accounts)
            self._together[several, symbol] = both


_NOBODY = _Together(ZERO, ZERO, 0)


def _moved(total: Decimal, now: Decimal, before: Decimal) -> Decimal:
    """A sum with one of its parts otherwise. It never fails: what is too large to be exact is found when valued."""
    return total if now == before else added_widely(added_widely(total, now), -before)


def _who(holder: Holder) -> str:
    return f"{holder} holds" if type(holder) is str else "is held"
