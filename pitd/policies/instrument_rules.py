"""instrument_rules: may this be traded at all, at this hour, in that size, at that price, and sold short?"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import ClassVar, Literal

import msgspec

from pit.types import Reject, RejectCode, Side
from pitd.core.limits import Limit, LimitSet, exceeds, falls_short
from pitd.core.numbers import canonical, text
from pitd.core.policy import PASS, Asks, Attempt, Counter, Policy, Unvalued, Verdict


class Hours(msgspec.Struct, frozen=True, kw_only=True):
    """When a market trades: sessions as they are written ("mon-fri 09:30-16:00"), in a zone, but for holidays, and for
    shortened days ("2026-11-27 09:30-13:00").
    """

    sessions: tuple[str, ...]
    zone: str = "UTC"
    holidays: tuple[str, ...] = ()
    shortened: tuple[str, ...] = ()


class Rules(Limit, frozen=True, kw_only=True, tag_field="control", tag="instrument_rules"):
    """`allow` names the only instruments that may be traded, `deny` those that may not; bounds are for one order."""

    allow: frozenset[str] | None = None
    deny: frozenset[str] | None = None
    min_quantity: Decimal | None = None
    max_quantity: Decimal | None = None
    min_price: Decimal | None = None
    max_price: Decimal | None = None
    short_sale: Literal["allow", "reject"] = "allow"
    reducing: Literal["pass", "reject"] = "pass"
    hours: Hours | None = None


_SIZES = {"min_quantity": "least quantity of one order", "max_quantity": "quantity of one order"}
_PRICES = {"min_price": "least price", "max_price": "price"}


class InstrumentRules(Policy):
    """What may be traded, and how. Each rule that is given is looked at; exactly at a bound passes.

    - `allow`, `deny`: an instrument that is not among the allowed, or among the denied: InstrumentRestricted.
    - `max_quantity`: OrderQtyExceedsLimit. `min_quantity`: InvalidFieldValue, as the venue would say. In units; those
      of a volume order are told by its price, or at market by the quote (else MarkPriceUnavailable).
    - `min_price`, `max_price`: InvalidFieldValue. An order without a price passes them.
    - `short_sale = "reject"`: a sell that would make or enlarge a short position, with all open sells filled as well,
      is refused with ShortSaleRestriction; buys that are open do not count, since they may never fill. It is looked at
      when the order is taken, in the main stage. A sale of an unknown number of units (by volume at market) is refused.

    - `hours`, with `zone`, `holidays` and `shortened`: outside of the sessions every order is refused with
      ExchangeClosed, which says when the next one begins. A session is open from its first moment up to its last, which
      is outside. One that does not end after it begins ends on the next date; its day is the one that it begins on. On
      a date of `holidays` none begins, on one of `shortened` those that stand there and no others: an early close, a
      late opening. That a market opens or closes comes in as an entry, so that a replay has the same hours. What is
      open then stays as it is; a request that has started before is refused on `execute`.

    An order that reduces a position passes `allow`, `deny` and the quantities: a list that a desk could not get out by
    would be a trap. `reducing = "reject"` refuses it too, for lists that compliance keeps. Prices hold for every order.

    Example, position 10, short_sale = "reject": sell 6 passes, sell 5 on top is refused (11 of 10); the 6 are
    cancelled, then sell 10 passes. Example, hours = ["mon-fri 09:30-12:00", "mon-fri 13:00-16:00"]: on a Monday at
    09:30 an order passes, at 12:00 it is refused until 13:00, at 16:00 until Tuesday 09:30. With
    shortened = ["2026-11-27 09:30-13:00"] that Friday's only session ends at 13:00; an overnight market that closes
    early on the 27th shortens the session of the evening before: "2026-11-26 18:00-13:15".
    """

    id: ClassVar[str] = "instrument_rules"

    def __init__(self, limits: Sequence[Rules]) -> None:
        self._limits = LimitSet(self.id, limits, cover=False)
        self.limit_names = self._limits.names
        self.is_idle = not limits
        self._has_hours = any(limit.hours is not None for limit in limits)
        if any(limit.min_quantity is not None or limit.max_quantity is not None for limit in limits):
            self.asks_for_quotes = Asks.WITHOUT_PRICE

    def start(self, attempt: Attempt) -> Verdict:
        rejects: list[Reject] = []
        for limit in self._limits.limits:
            if limit.matches_attempt(attempt):
                rejects += self._by_hours(limit, attempt)
                rejects += self._by_name(limit, attempt)
                rejects += self._by_size(limit, attempt)
                rejects += self._by_price(limit, attempt)
        return Verdict(rejects=tuple(rejects)) if rejects else PASS

    def main(self, attempt: Attempt) -> Verdict:
        if self._has_hours:  # a request may have started when they were other
            closed = [reject for limit in self._limits.matching(attempt) for reject in self._by_hours(limit, attempt)]
            if closed:
                return Verdict(rejects=tuple(closed))
        order, symbol = attempt.order, attempt.listed.symbol
        if order.side is Side.BUY or attempt.reduces:  # a sell that does not reduce a position makes a short one
            return PASS
        why = f"sell {symbol}: with what account {order.account} has open, it would sell more than it holds"
        rejects = tuple(
            self._limits.reject(limit, attempt, RejectCode.SHORT_SALE_RESTRICTION, why)
            for limit in self._limits.limits
            if limit.short_sale == "reject" and limit.matches_attempt(attempt)
        )
        return Verdict(rejects=rejects) if rejects else PASS

    def bounds(self, limit: str) -> list[Counter]:
        rule = self._limits.by_name[limit]
        found = []
        for key, what in (_SIZES | _PRICES).items():
            bound = getattr(rule, key)
            if bound is not None:
                found.append(Counter(scope=rule.subject, what=what, bound=canonical(bound)))
        for what, symbols in (("instruments allowed", rule.allow), ("instruments denied", rule.deny)):
            if symbols is not None:
                found.append(Counter(scope=rule.subject, what=what, bound=Decimal(len(symbols))))
        if rule.short_sale == "reject":
            found.append(Counter(scope=rule.subject, what="units short", bound=Decimal(0)))
        return found

    def _by_hours(self, limit: Rules, attempt: Attempt) -> list[Reject]:
        if limit.hours is None:
            return []
        is_open, until = attempt.days.hours_of(limit.name) or (False, "")
        if is_open:
            return []
        why = f"{attempt.listed.symbol}: closed by the hours of {limit.name}{f' until {until}' if until else ''}"
        return [self._limits.reject(limit, attempt, RejectCode.EXCHANGE_CLOSED, why)]

    def _by_name(self, limit: Rules, attempt: Attempt) -> list[Reject]:
        symbol = attempt.listed.symbol
        is_denied = limit.deny is not None and symbol in limit.deny
        if not is_denied and (limit.allow is None or symbol in limit.allow):
            return []
        if limit.reducing == "pass" and attempt.reduces:
            return []
        why = f"{symbol} is {'denied by' if is_denied else 'not among the instruments allowed by'} {limit.name}"
        return [self._limits.reject(limit, attempt, RejectCode.INSTRUMENT_RESTRICTED, why)]

    def _by_size(self, limit: Rules, attempt: Attempt) -> list[Reject]:
        if limit.min_quantity is None and limit.max_quantity is None:
            return []
        order = attempt.order
        wanted = f"quantity {order.quantity}" if order.quantity is not None else f"volume {order.volume}"
        try:
            if limit.max_quantity is not None and exceeds(attempt, limit.max_quantity):
                code, bound, word = RejectCode.ORDER_QTY_EXCEEDS_LIMIT, limit.max_quantity, "most"
            elif limit.min_quantity is not None and falls_short(attempt, limit.min_quantity):
                code, bound, word = RejectCode.INVALID_FIELD_VALUE, limit.min_quantity, "least"
            else:
                return []
        except Unvalued as trouble:
            code, bound, word = trouble.code, None, ""
        if limit.reducing == "pass" and attempt.reduces:
            return []
        if bound is None:
            why = f"{wanted} of {attempt.listed.symbol}: no price is known, so {limit.name} cannot be checked"
        else:
            why = f"{wanted} of {attempt.listed.symbol}, {text(bound)} at {word}"
        return [self._limits.reject(limit, attempt, code, why, bound, order.quantity)]

    def _by_price(self, limit: Rules, attempt: Attempt) -> list[Reject]:
        price = attempt.order.price
        if price is None:
            return []
        if limit.max_price is not None and price > limit.max_price:
            bound, word = limit.max_price, "most"
        elif limit.min_price is not None and price < limit.min_price:
            bound, word = limit.min_price, "least"
        else:
            return []
        why = f"{attempt.listed.symbol} at {text(price)}, {text(bound)} at {word}"
        return [self._limits.reject(limit, attempt, RejectCode.INVALID_FIELD_VALUE, why, bound, price)]
