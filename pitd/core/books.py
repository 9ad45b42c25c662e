"""Which book a limit looks at, and what an order makes of it in the money that the limit counts in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Literal, NamedTuple

from pit.types import RejectCode

from .currency import Rates
from .exposures import NOTHING, Book, Exposures, Worth
from .instruments import Listed
from .limits import Group, Limit
from .numbers import ZERO, canonical
from .policy import Attempt, Look, Pool, Strategy, Unvalued, Whose, in_currency


class BookLimit(Limit, frozen=True, kw_only=True):
    """A limit over what an account, a client, a group or the firm is exposed to: in the settlement asset that it names,
    or, with `currency`, in the firm's currency over all of them. No mark in it may be older than `max_age_ns`.
    """

    currency: Literal["firm"] | None = None
    max_age_ns: int = 5_000_000_000

    @property
    def kind(self) -> str:
        """Which books it asks for (`Policy.asks_for_books`)."""
        return "pool" if self.over is not None else self.each[0]

    def whose(self, attempt: Attempt) -> Whose:
        if self.over is not None:
            return Pool(self.over.group) if isinstance(self.over, Group) else Pool()
        return attempt.order.account if self.each == ("account",) else Strategy(attempt.client)

    def scope_in_words(self, whose: Whose) -> str:
        name = whose.client if isinstance(whose, Strategy) else str(whose)
        return self.scope(name, name, "", "")

    def is_for(self, whose: Whose, look: Look) -> bool:
        """Whether the limit looks at that book."""
        if isinstance(whose, Pool):
            return self.over is not None and whose == (
                Pool(self.over.group) if isinstance(self.over, Group) else Pool()
            )
        asset = self.only.settlement or ""
        if isinstance(whose, Strategy):
            return self.each == ("client",) and self.matches("", whose.client, None, None, asset)
        return self.each == ("account",) and self.matches(whose, None, look.group_of(whose), None, asset)


class Sums(NamedTuple):
    """What a book comes to in a limit's money: gross, and net if all that may be bought or sold is."""

    gross: Decimal
    long: Decimal
    short: Decimal
    """Above zero when short."""

    @property
    def net(self) -> Decimal:
        """The worse side."""
        return max(self.long, self.short, ZERO)


class View(NamedTuple):
    """A book before and after an order, and the part of its gross that the order is about."""

    before: Sums
    after: Sums
    part_before: Decimal
    part_after: Decimal


def view(limit: BookLimit, attempt: Attempt, *, by_underlying: bool = False) -> View:
    """What an order makes of the limit's book. Raises Unvalued: MarkPriceUnavailable, or ReferenceDataUnavailable where
    a rate is missing.
    """
    outlook = attempt.outlook(limit.whose(attempt))
    why = outlook.why_unknown(attempt.now_ns, limit.max_age_ns, limit.only.settlement)
    if why:
        raise Unvalued(RejectCode.MARK_PRICE_UNAVAILABLE, why)
    book, own = outlook.book, outlook.listed
    asset, before, after = own.settlement, outlook.before, outlook.after
    if limit.currency is None:
        part = book.by_underlying.get((own.underlying, asset), ZERO) if by_underlying else before.gross
        total = book.totals.get(asset, NOTHING)
        then = _changed(total, before, after)
        return View(
            Sums(total.gross, total.long, -total.short),
            Sums(then.gross, then.long, -then.short),
            part,
            part - before.gross + after.gross,
        )
    totals = dict(_totals(limit, book))
    changed = {**totals, asset: _changed(totals.get(asset, NOTHING), before, after)}
    parts = {asset: before.gross}
    if by_underlying:
        parts = {each: gross for (name, each), gross in book.by_underlying.items() if name == own.underlying}
        parts = {each: gross for each, gross in parts.items() if limit.only.settlement in (None, each)}
    parts_after = {**parts, asset: parts.get(asset, ZERO) - before.gross + after.gross}
    rates = {each: attempt.rate_of(each) for each in changed}

    def gross(of: dict[str, Decimal]) -> Decimal:
        return sum((in_currency(amount, rates[asset]) for asset, amount in of.items()), ZERO)

    def sums(of: dict[str, Worth]) -> Sums:
        each = [(rates[asset], worth) for asset, worth in of.items()]
        return Sums(
            sum((in_currency(worth.gross, rate) for rate, worth in each), ZERO),
            sum((in_currency(worth.long, rate) for rate, worth in each), ZERO),
            sum((in_currency(-worth.short, rate) for rate, worth in each), ZERO),
        )

    return View(sums(totals), sums(changed), gross(parts), gross(parts_after))


def sums_now(limit: BookLimit, book: Book, rates: Rates, now_ns: int) -> Sums | None:
    """What a book comes to as it is; None where nobody knows. For people."""
    if book.why_unknown(now_ns, limit.max_age_ns, limit.only.settlement):
        return None
    gross = long = short = ZERO
    for asset, worth in _totals(limit, book):
        if limit.currency is None:
            gross, long, short = gross + worth.gross, long + worth.long, short - worth.short
            continue
        try:
            rate = rates.of(asset, now_ns)
            gross += in_currency(worth.gross, rate)
            long += in_currency(worth.long, rate)
            short += in_currency(-worth.short, rate)
        except Unvalued:
            return None
    return Sums(gross, long, short)


def largest_part(limit: BookLimit, book: Book, rates: Rates, now_ns: int, *, by_underlying: bool) -> Decimal:
    """The gross of the instrument, or underlying, that has most of a book. For people, where `sums_now` knows it."""
    each = [(symbol, cell.listed.settlement, cell.worth.gross) for symbol, cell in book.cells.items()]
    if by_underlying:
        each = [(name, asset, gross) for (name, asset), gross in book.by_underlying.items()]
    parts: dict[str, Decimal] = {}
    for name, asset, gross in each:
        if limit.only.settlement in (None, asset):
            worth = gross if limit.currency is None else in_currency(gross, rates.of(asset, now_ns))
            parts[name] = parts.get(name, ZERO) + worth
    return max(parts.values(), default=ZERO)


def books_of(limit: BookLimit, exposures: Exposures, look: Look) -> Iterator[tuple[str, Book]]:
    """The books that a limit looks at, by scope: those that a look is meant for."""
    found = {limit.scope_in_words(whose): whose for whose in exposures.books() if limit.is_for(whose, look)}
    for scope in look.page(found):
        yield scope, exposures.book(found[scope])


def worth_by_account(
    limit: BookLimit, scope: str, look: Look, counted: Callable[[Listed, Decimal, Decimal], Decimal]
) -> list[tuple[str, Decimal]]:
    """What the positions of each account in a book come to in the limit's money: of each its instrument, its units and
    what they are worth at the mark, as `counted` has it. A client's book is its own, whatever accounts it is in: nobody
    is named. For people; raises Unvalued where nobody knows.
    """
    positions, found = look.positions, []
    if positions is None or look.valuation is None or limit.each == ("client",):
        return []
    for account in positions.accounts():
        if limit.scope(account, "", "", "") == scope and (
            limit.matches(account, None, look.group_of(account), None, limit.only.settlement or "")
        ):
            total = ZERO
            for symbol, held in positions.of_account(account):
                if held.quantity:
                    listed, worth = look.valuation.worth_of(symbol, abs(held.quantity))
                    total += in_money(limit, listed.settlement, counted(listed, held.quantity, worth), look)
            if total:
                found.append((account, canonical(total)))
    return found


def in_money(limit: BookLimit, asset: str, amount: Decimal, look: Look) -> Decimal:
    """An amount as the limit counts it; nothing where that asset is not the limit's. Raises Unvalued."""
    if limit.only.settlement not in (None, asset):
        return ZERO
    if limit.currency is None or not amount:
        return amount
    assert look.valuation is not None
    return in_currency(amount, look.valuation.rates.of(asset, look.now_ns))


def _totals(limit: BookLimit, book: Book) -> Iterator[tuple[str, Worth]]:
    """By settlement asset, as far as the limit counts them."""
    for asset, worth in book.totals.items():
        if limit.only.settlement in (None, asset):
            yield asset, worth


def _changed(total: Worth, before: Worth, after: Worth) -> Worth:
    return Worth(
        total.gross - before.gross + after.gross,
        total.long - before.long + after.long,
        total.short - before.short + after.short,
    )
