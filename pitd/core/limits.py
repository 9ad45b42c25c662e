"""Which limit is for whom, and what it counts by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Generic, Literal, TypeVar

import msgspec

from pit.types import Kind, Order, Reject, RejectCode

from .instruments import Listed
from .numbers import canonical, text
from .policy import Attempt, Subject, Unvalued

Dimension = Literal["account", "client", "instrument", "settlement"]

DIMENSIONS: tuple[Dimension, ...] = ("account", "client", "instrument", "settlement")


class Group(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    group: str


class Selection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom a limit is for, or whom it leaves out. What is left open is for everyone."""

    accounts: frozenset[str] | None = None
    clients: frozenset[str] | None = None
    groups: frozenset[str] | None = None
    instruments: frozenset[str] | None = None
    settlement: str | None = None

    def matches(self, account: str, client: str | None, group: str | None, symbol: str | None, settlement: str) -> bool:
        return (
            (self.accounts is None or account in self.accounts)
            and (self.clients is None or client in self.clients)
            and (self.groups is None or group in self.groups)
            and (self.instruments is None or symbol in self.instruments)
            and (self.settlement is None or settlement == self.settlement)
        )


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """What every limit has: a name, what it counts by (`each`, or `over` one shared counter), and a selection."""

    name: str
    position: int
    """Its place in the configuration: rejects are returned in that order."""
    each: tuple[Dimension, ...] = ()
    over: Literal["firm"] | Group | None = None
    only: Selection = Selection()
    without: Selection | None = None
    shadow: bool = False
    """Whether it decides and counts like any other and refuses nothing: what it would have done is told."""

    @property
    def is_shared(self) -> bool:
        return self.over is not None

    @property
    def breadth(self) -> int:
        """How wide it reaches: a pair of dimensions 0, one dimension 1, a group 2, the firm 3."""
        if self.over == "firm":
            return 3
        if self.over is not None:
            return 2
        return 1 if len(self.each) == 1 else 0

    @property
    def subject(self) -> str:
        """For whom it is, in words, where no one in particular is meant: "each account", "firm"."""
        if self.over is not None:
            return "firm" if self.over == "firm" else f"group {self.over.group}"
        return f"each {' and '.join(self.each)}"

    def matches(self, account: str, client: str | None, group: str | None, symbol: str | None, settlement: str) -> bool:
        if type(self.over) is Group and group != self.over.group:
            return False
        if not self.only.matches(account, client, group, symbol, settlement):
            return False
        return self.without is None or not self.without.matches(account, client, group, symbol, settlement)

    def matches_attempt(self, attempt: Attempt) -> bool:
        listed = attempt.listed
        return self.matches(attempt.order.account, attempt.client, attempt.group, listed.symbol, listed.settlement)

    def scope(self, account: str, client: str, symbol: str, settlement: str) -> str:
        """The counter's key, in words: "account alpha", "account alpha, instrument ESZ6", "group crypto", "firm"."""
        if self.over is not None:
            return "firm" if self.over == "firm" else f"group {self.over.group}"
        if self.each == ("account",):
            return f"account {account}"
        names = {"account": account, "client": client, "instrument": symbol, "settlement": settlement}
        if len(self.each) == 1:
            return f"{self.each[0]} {names[self.each[0]]}"
        return ", ".join(f"{each} {names[each].replace(',', ',,')}" for each in self.each)  # no two pairs read alike

    def day_of(self, attempt: Attempt) -> int:
        """The number of the day that its counter for an order is in: the account's where it counts by account, else the
        firm's. 0 where there is no calendar.
        """
        day = attempt.days.at(self.whose_day(attempt))
        return 0 if day is None else day.number

    def whose_day(self, attempt: Attempt) -> str:
        """The scope whose day that is: "firm", "account alpha"."""
        return attempt.days.scope_of(attempt.order.account) if "account" in self.each else "firm"

    def scope_of(self, attempt: Attempt) -> str:
        listed = attempt.listed
        return self.scope(attempt.order.account, attempt.client, listed.symbol, listed.settlement)


L = TypeVar("L", bound=Limit)


class Matched(msgspec.Struct, Generic[L], frozen=True):
    """The limits that are for an order: as such, each with the scope that it counts it by, and by names alone."""

    limits: tuple[L, ...]
    scoped: tuple[tuple[L, str], ...]
    counters: tuple[tuple[str, str], ...]


_SCOPES_KEPT = 20_000
"""A memory of what can be found again, so emptying it at the bound changes no answer."""


class LimitSet(Generic[L]):
    """The limits of one control, and whether every order must be covered by one of them."""

    def __init__(self, control: str, limits: Sequence[L], *, cover: bool) -> None:
        self.control = control
        self.limits = tuple(limits)
        self.by_name = {limit.name: limit for limit in limits}
        self.names = tuple(self.by_name)
        live = [limit for limit in limits if not limit.shadow]
        self._cover = cover and bool(live)
        self._covers = live[0].name if live else ""
        self._has_shadows = len(live) < len(limits)
        self._matched: dict[Subject, Matched[L]] = {}
        """What has been found before, by whose orders and in what: limits are fixed, so it is the same again."""

    def matching(self, attempt: Attempt) -> Sequence[L]:
        return self.matched(attempt).limits

    def is_for(self, limit: L, attempt: Attempt) -> bool:
        """Whether a limit is for an order: by what its `subject` says, and nothing else."""
        return limit.matches_attempt(attempt)

    def matched(self, attempt: Attempt) -> Matched[L]:
        """The limits that are for this order. A shadow covers nothing: where every order must be covered, and only
        shadows are for this one, there are none.
        """
        found = self._matched.get(attempt.subject)
        if found is None:
            scoped = tuple((limit, limit.scope_of(attempt)) for limit in self.limits if self.is_for(limit, attempt))
            if self._has_shadows and self._cover and all(limit.shadow for limit, _ in scoped):
                scoped = ()
            if len(self._matched) >= _SCOPES_KEPT:
                self._matched.clear()
            found = Matched(
                tuple(limit for limit, _ in scoped), scoped, tuple((limit.name, scope) for limit, scope in scoped)
            )
            self._matched[attempt.subject] = found
        return found

    def uncovered(self, attempt: Attempt) -> tuple[Reject, ...]:
        """The reject for an order that none of these limits is for."""
        if not self._cover:
            return ()
        return (
            Reject(
                code=RejectCode.RISK_CONFIGURATION_MISSING,
                policy=self.control,
                limit=self._covers,
                scope=f"account {attempt.order.account}",
                reason=f"no {self.control} limit covers account {attempt.order.account}, {attempt.listed.symbol} in "
                f'{attempt.listed.settlement}; add one, or open it with [gate] uncovered = "allow"',
            ),
        )

    def reject(
        self,
        limit: L,
        attempt: Attempt,
        code: RejectCode,
        reason: str,
        bound: Decimal | None = None,
        requested: Decimal | None = None,
        *,
        used: Decimal | None = None,
    ) -> Reject:
        """One of these limits' no to an order, with the numbers behind it as they are told."""
        return Reject(
            code=code,
            policy=self.control,
            limit=limit.name,
            scope=limit.scope_of(attempt),
            reason=reason,
            bound=None if bound is None else canonical(bound),
            used=None if used is None else canonical(used),
            requested=None if requested is None else canonical(requested),
        )

    def __iter__(self) -> Iterator[L]:
        return iter(self.limits)


def asset_of(limit: Limit) -> str:
    """What a limit counts money in, in words."""
    if getattr(limit, "currency", None) is not None:
        return "firm's currency"
    return limit.only.settlement or "notional"


def worth(attempt: Attempt, currency: str | None, *, whole: bool = False) -> str:
    """An order's worth, as a sum that a person can check, in the asset that a limit counts in: "10 SAP/EUR × 100 = 1000
    EUR = 1100 USD".
    """
    told = f"{shown(attempt.order, attempt.listed)} = {text(attempt.notional(whole=whole))} {attempt.listed.settlement}"
    if currency is None or attempt.listed.settlement == attempt.firm_currency:
        return told
    return f"{told} = {text(attempt.worth(currency, whole=whole))} {attempt.firm_currency}"


def exceeds(attempt: Attempt, quantity: Decimal) -> bool:
    """Whether the order is for more units than that. Raises Unvalued where a volume order's price is not known."""
    mine, other = _in_units(attempt, quantity)
    return mine > other


def falls_short(attempt: Attempt, quantity: Decimal) -> bool:
    """Whether the order is for fewer units than that. Raises Unvalued where a volume order's price is not known."""
    mine, other = _in_units(attempt, quantity)
    return mine < other


def _in_units(attempt: Attempt, quantity: Decimal) -> tuple[Decimal, Decimal]:
    """Two numbers that compare as the order's units and that quantity do; a volume order's by multiplying, as dividing
    would round.
    """
    order, listed, price = attempt.order, attempt.listed, attempt.price
    if order.quantity is not None:
        return order.quantity, quantity
    assert order.volume is not None
    if not price:
        raise Unvalued(RejectCode.MARK_PRICE_UNAVAILABLE, f"a volume order in {listed.symbol}, and no price is known")
    if listed.kind is Kind.INVERSE:
        return order.volume * abs(price), quantity * listed.multiplier
    return order.volume, listed.notional(price, quantity)


def shown(order: Order, listed: Listed) -> str:
    """An order's worth, as a sum that a person can check: "6 ESZ6 × 4797.50 × 50"."""
    if order.volume is not None:
        return f"{order.volume} {listed.settlement} of {listed.symbol}"
    times = f" × {listed.multiplier:f}" if listed.multiplier != 1 else ""
    price = "market" if order.price is None else f"{order.price}"
    if listed.kind == "inverse":
        return f"{order.quantity} {listed.symbol}{times} / {price}"
    return f"{order.quantity} {listed.symbol} × {price}{times}"
