"""exposure_limit: how much may a book be exposed to, gross and net?"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import ClassVar

from pit.types import Reject, RejectCode, Side
from pitd.core.books import BookLimit, books_of, in_money, sums_now, view, worth_by_account
from pitd.core.instruments import Listed
from pitd.core.limits import LimitSet, asset_of
from pitd.core.numbers import canonical, text
from pitd.core.policy import PASS, Asks, Attempt, Counter, Look, Policy, Unvalued, Verdict


class ExposureBound(BookLimit, frozen=True, kw_only=True, tag_field="control", tag="exposure_limit"):
    """In the settlement asset or the firm's currency: `max_gross` over long and short, `max_net` for what is left when
    short is set off against long; at least one of them.
    """

    max_gross: Decimal | None = None
    max_net: Decimal | None = None


class ExposureLimit(Policy):
    """Refuses with RiskLimitExceeded an order that would take what a book is exposed to above a bound, at the worst of
    what may come of its open orders (held, sent, quarantined, working) and of this one. A book is an account
    (each = "account"), a strategy (each = "client": what the orders that a client asked for came to, whoever sent
    them), a group or the firm.

    Everything counts at the instrument's mark (or the middle of bid and ask), whatever the order's price: units × mark
    × multiplier, inverse units × multiplier / mark, rounded up as an order's notional is.
    - Gross: of each account and instrument the larger of the position it may get long and the one it may get short,
      added up. Accounts are not set off against one another, nor are instruments. Of a client's book the same by
      instrument.
    - Net: of the whole book, long less short. A buy is looked at as if every open buy were filled and no sale, a sale
      the other way round: what could come.

    A volume order without a price counts with its amount. Only what an order makes worse is refused: over a bound that
    a mark has moved past, an order that leaves gross as it is passes, and of net one to the other side. An order that
    reduces its account's position always passes.

    Of everything in the book a mark is wanted that is not older than `max_age` (left out: [gate] max_quote_age):
    MarkPriceUnavailable. In the firm's currency each asset counts at its rate (`core.currency.Rates`): what adds with
    the haircut, what is set off in a net less the haircut; without a rate ReferenceDataUnavailable. An order that no
    such limit is for needs neither.

    It keeps nothing of its own: positions and open orders are the engine's, so an order counts, is modified and is
    given back as it does in position_limit.

    Example, AAPL at 100, MSFT at 50, max_gross 3000, max_net 2000. Buy 15 AAPL passes: gross 1500, net 1500 long. Sell
    25 is refused by max_net: 2500 short, if nothing is bought. Sell 20 passes: gross 2000, as it may be 15 long or 20
    short and not both. Sell 21 MSFT is refused by both: gross 3050, net 3050 short. Buy 10 MSFT passes: gross 2500, net
    2000 long.
    """

    id: ClassVar[str] = "exposure_limit"

    def __init__(self, limits: Sequence[ExposureBound]) -> None:
        self._limits = LimitSet(self.id, limits, cover=False)
        self.limit_names = self._limits.names
        self.is_idle = not limits
        self.asks_for_quotes = Asks.ALWAYS
        self.asks_for_books = frozenset(limit.kind for limit in limits)
        self.asks_for_rates = any(limit.currency is not None for limit in limits)

    def main(self, attempt: Attempt) -> Verdict:
        limits = self._limits.matching(attempt)
        if not limits or attempt.reduces:
            return PASS
        rejects: list[Reject] | None = None
        for limit in limits:
            for reject in self._judge(limit, attempt):
                rejects = rejects or []
                rejects.append(reject)
        return PASS if rejects is None else Verdict(rejects=tuple(rejects))

    def counters(self, limit: str, look: Look) -> list[Counter]:
        bound = self._limits.by_name[limit]
        if look.valuation is None:
            return []
        shown = []
        for scope, book in books_of(bound, look.valuation.exposures, look):
            sums = sums_now(bound, book, look.valuation.rates, look.now_ns)
            used = [] if sums is None else [sums.gross, sums.net]
            given = [most is not None for most in (bound.max_gross, bound.max_net)]
            used = [each for each, is_given in zip(used, given, strict=False) if is_given]
            for place, bare in enumerate(self.bounds(limit)):
                many = canonical(used[place]) if used else None
                shown.append(Counter(scope=scope, what=bare.what, bound=bare.bound, used=many))
        return shown

    def bounds(self, limit: str) -> list[Counter]:
        bound = self._limits.by_name[limit]
        return [
            Counter(scope=bound.subject, what=f"{asset_of(bound)} {word}", bound=canonical(most))
            for word, most in (("gross", bound.max_gross), ("net", bound.max_net))
            if most is not None
        ]

    def holders(self, limit: str, scope: str, attempt: Attempt, look: Look) -> list[tuple[str, Decimal]]:
        """What each account's positions are worth at their marks: added up for a gross, for a net alone those on the
        order's side less those on the other one. A client's book is its own, whatever accounts it is in.
        """
        bound, is_buy = self._limits.by_name[limit], attempt.order.side is Side.BUY

        def counted(listed: Listed, units: Decimal, worth: Decimal) -> Decimal:
            return worth if bound.max_gross is not None or (units > 0) == is_buy else -worth

        return worth_by_account(bound, scope, look, counted)

    def waiting(
        self, limit: str, scope: str, order: Attempt, open_quantity: Decimal, attempt: Attempt, look: Look
    ) -> Decimal | None:
        """What an open order may add at the mark: to a gross, or to the order's own side of a net."""
        bound = self._limits.by_name[limit]
        if bound.max_gross is None and order.order.side is not attempt.order.side:
            return None
        if look.valuation is None:
            return None
        worth = look.valuation.worth_of_open(order.order, order.listed, open_quantity)
        return in_money(bound, order.listed.settlement, worth, look)

    def _judge(self, limit: ExposureBound, attempt: Attempt) -> list[Reject]:
        try:
            seen = view(limit, attempt)
        except Unvalued as trouble:
            why = f"what {limit.scope_of(attempt)} is exposed to cannot be told: {trouble}"
            return [self._limits.reject(limit, attempt, trouble.code, why)]
        rejects = []
        before, after = seen.before, seen.after
        if limit.max_gross is not None and after.gross > limit.max_gross and after.gross > before.gross:
            rejects.append(self._no(limit, attempt, "gross", before.gross, after.gross, limit.max_gross))
        if limit.max_net is not None:
            is_buy = attempt.order.side is Side.BUY
            was, net = (before.long, after.long) if is_buy else (before.short, after.short)
            if net > limit.max_net and net > was:
                rejects.append(self._no(limit, attempt, "net long" if is_buy else "net short", was, net, limit.max_net))
        return rejects

    def _no(
        self, limit: ExposureBound, attempt: Attempt, what: str, was: Decimal, after: Decimal, most: Decimal
    ) -> Reject:
        asset = attempt.asset(limit.currency)
        why = (
            f"{attempt.content}: {text(after - was)} {asset} at the mark on top of {text(was)} {what} would make "
            f"{text(after)}, limit {text(most)}"
        )
        return self._limits.reject(limit, attempt, RejectCode.RISK_LIMIT_EXCEEDED, why, most, after - was, used=was)
