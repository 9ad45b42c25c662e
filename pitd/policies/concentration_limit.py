"""concentration_limit: how much of a book may be in one instrument?"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import ClassVar, Literal

from pit.types import Reject, RejectCode
from pitd.core.books import (
    BookLimit,
    View,
    books_of,
    in_money,
    largest_part,
    sums_now,
    view,
    worth_by_account,
)
from pitd.core.instruments import Listed
from pitd.core.limits import LimitSet
from pitd.core.numbers import ZERO, canonical, divided_up, text
from pitd.core.policy import PASS, Asks, Attempt, Counter, Look, Policy, Unvalued, Verdict


class Concentration(BookLimit, frozen=True, kw_only=True, tag_field="control", tag="concentration_limit"):
    """At most `max_percent` of a book's gross exposure in one instrument, or, by = "underlying", in all instruments of
    one underlying, as soon as the book's gross is above `min_gross`.
    """

    max_percent: Decimal
    min_gross: Decimal
    by: Literal["instrument", "underlying"] = "instrument"


class ConcentrationLimit(Policy):
    """Refuses with ConcentrationLimitExceeded an order after which its instrument (or underlying) would be more than
    `max_percent` of the gross exposure of the book: of an account, a strategy (each = "client"), a group or the firm.
    Gross is that of exposure_limit: everything at its mark, at the worst of what may come of open orders; the order
    counts in both the part and the whole.

    A book whose gross is at most `min_gross` with the order is not looked at: the first order of a day is all of it.
    The share is compared by multiplying, part × 100 against max_percent × whole: nothing is rounded. Only what an order
    makes larger is refused: where the others have shrunk, or a mark has moved, an order that adds nothing to the part
    passes, and one that reduces a position always does.

    Of everything in the book a mark is wanted that is not older than `max_age` (left out: [gate] max_quote_age), else
    MarkPriceUnavailable; with currency = "firm" a rate, else ReferenceDataUnavailable.

    Example, max_percent 50, min_gross 1000, marks 100: buy 10 AAPL passes, as the whole is 1000; buy 1 more is refused
    (100 percent). Buy 10 MSFT passes: 1000 of 2000 is 50 percent; buy 1 more is refused, as it would be 1100 of 2100.
    """

    id: ClassVar[str] = "concentration_limit"

    def __init__(self, limits: Sequence[Concentration]) -> None:
        self._limits = LimitSet(self.id, limits, cover=False)
        self.limit_names = self._limits.names
        self.is_idle = not limits
        self.asks_for_quotes = Asks.ALWAYS
        self.asks_for_books = frozenset(limit.kind for limit in limits)
        if any(limit.by == "underlying" for limit in limits):
            self.asks_for_books |= {"underlying"}
        self.asks_for_rates = any(limit.currency is not None for limit in limits)

    def main(self, attempt: Attempt) -> Verdict:
        limits = self._limits.matching(attempt)
        if not limits or attempt.reduces:
            return PASS
        rejects = [reject for limit in limits if (reject := self._judge(limit, attempt)) is not None]
        return Verdict(rejects=tuple(rejects)) if rejects else PASS

    def counters(self, limit: str, look: Look) -> list[Counter]:
        bound = self._limits.by_name[limit]
        if look.valuation is None:
            return []
        (bare,), rates, shown = self.bounds(limit), look.valuation.rates, []
        for scope, book in books_of(bound, look.valuation.exposures, look):
            sums, used = sums_now(bound, book, rates, look.now_ns), None
            if sums is not None:
                part = largest_part(bound, book, rates, look.now_ns, by_underlying=bound.by == "underlying")
                used = canonical(_percent(part, sums.gross))
            shown.append(Counter(scope=scope, what=bare.what, bound=bare.bound, used=used))
        return shown

    def bounds(self, limit: str) -> list[Counter]:
        bound = self._limits.by_name[limit]
        what = f"percent of gross in one {bound.by}"
        return [Counter(scope=bound.subject, what=what, bound=canonical(bound.max_percent))]

    def uses(self, limit: str, scope: str, attempt: Attempt, look: Look) -> list[Counter]:
        """The share of what the order is about, whatever else has most of the book."""
        seen, (bare,) = self._view(limit, attempt), self.bounds(limit)
        used = None if seen is None else canonical(_percent(seen.part_before, seen.before.gross))
        return [Counter(scope=scope, what=bare.what, bound=bare.bound, used=used)]

    def holders(self, limit: str, scope: str, attempt: Attempt, look: Look) -> list[tuple[str, Decimal]]:
        """What each account's positions in the order's instrument (or underlying) are worth at the mark, in percent of
        the book's gross. A client's book is its own, whatever accounts it is in.
        """
        bound, seen = self._limits.by_name[limit], self._view(limit, attempt)
        if seen is None or not seen.before.gross:
            return []

        def counted(listed: Listed, units: Decimal, worth: Decimal) -> Decimal:
            return worth if _is_part(bound, listed, attempt.listed) else ZERO

        held = worth_by_account(bound, scope, look, counted)
        return [(account, _percent(worth, seen.before.gross)) for account, worth in held]

    def waiting(
        self, limit: str, scope: str, order: Attempt, open_quantity: Decimal, attempt: Attempt, look: Look
    ) -> Decimal | None:
        """What an open order of the same instrument (or underlying) may add at the mark, in percent of that gross."""
        bound, seen = self._limits.by_name[limit], self._view(limit, attempt)
        if seen is None or not seen.before.gross or look.valuation is None:
            return None
        if not _is_part(bound, order.listed, attempt.listed):
            return None
        worth = look.valuation.worth_of_open(order.order, order.listed, open_quantity)
        return _percent(in_money(bound, order.listed.settlement, worth, look), seen.before.gross)

    def _view(self, limit: str, attempt: Attempt) -> View | None:
        """The book and the part that the order is about; None where nobody knows."""
        bound = self._limits.by_name[limit]
        try:
            return view(bound, attempt, by_underlying=bound.by == "underlying")
        except Unvalued:
            return None

    def _judge(self, limit: Concentration, attempt: Attempt) -> Reject | None:
        try:
            seen = view(limit, attempt, by_underlying=limit.by == "underlying")
        except Unvalued as trouble:
            why = f"what {limit.scope_of(attempt)} is exposed to cannot be told: {trouble}"
            return self._limits.reject(limit, attempt, trouble.code, why)
        part, whole = seen.part_after, seen.after.gross
        if whole <= limit.min_gross or part <= seen.part_before or part * 100 <= limit.max_percent * whole:
            return None
        what = attempt.listed.symbol if limit.by == "instrument" else attempt.listed.underlying
        asset = attempt.asset(limit.currency)
        share, was = _percent(part, whole), _percent(seen.part_before, seen.before.gross)
        why = (
            f"{attempt.content}: {what} would be {text(part)} of {text(whole)} {asset} gross, "
            f"{text(share)} percent, limit {text(limit.max_percent)}"
        )
        code = RejectCode.CONCENTRATION_LIMIT_EXCEEDED
        return self._limits.reject(limit, attempt, code, why, limit.max_percent, share - was, used=was)


def _is_part(limit: Concentration, one: Listed, other: Listed) -> bool:
    """Whether both are the same to the limit."""
    return one.symbol == other.symbol if limit.by == "instrument" else one.underlying == other.underlying


def _percent(part: Decimal, whole: Decimal) -> Decimal:
    """For people: rounded up to nine decimals."""
    return divided_up(part * 100, whole) if whole else ZERO
