"""Which trading day it is, for the firm and for accounts whose day is another one; and which markets are open."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from pit.types import Order, TimeInForce

from .accounts import FIRM, account_scope
from .entry import row_of

IsNew = Callable[[str | None], bool]
"""Whether a day has just begun for that account; for None: for the firm."""


class Day(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One scope's day. `number` is the row that it began with: no two days share one, and a later one is greater."""

    number: int
    name: str
    """The date that it goes by: "2026-11-24"."""
    began_wall_ns: int
    """When it was to begin, by the calendar."""
    is_over: bool = False
    """Whether its end has come, and the next one has not begun."""
    ended_with: int = 0
    """The row that it ended with, once it is over."""
    follows: int = 0
    """The row that the day before it ended with: what was accepted up to that was good for that day."""


class Closing(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The orders that were good for a day that is over are to be closed: those up to that row."""

    day: str
    upto: int


class Days:
    """The day of each scope that has one, as entries have brought it: the core itself knows no calendar.

    An account without a rule of its own goes by the firm's day.
    """

    def __init__(self) -> None:
        self._by_scope: dict[str, Day] = {}
        self.own: frozenset[str] = frozenset()
        self._hours: dict[str, tuple[bool, str]] = {}
        self.closing: dict[str, Closing] = {}
        """By scope, until no order of its last day is left to close."""
        self.came: dict[int, int] = {}
        """The orders that came to be at the venue meanwhile, and with which row: they are good for the day to come."""

    @property
    def firm(self) -> Day | None:
        return self._by_scope.get(FIRM)

    def of(self, account: str) -> Day | None:
        """The day that an account is in; None where no calendar is configured for it."""
        return self._by_scope.get(self.scope_of(account))

    def at(self, scope: str) -> Day | None:
        """The day of the firm, or of an account with a rule of its own."""
        return self._by_scope.get(scope)

    def scope_of(self, account: str) -> str:
        """By whose day an account goes."""
        return account_scope(account) if account in self.own else FIRM

    def all(self) -> list[tuple[str, Day]]:
        return sorted(self._by_scope.items())

    def hours_of(self, limit: str) -> tuple[bool, str] | None:
        """Whether the market is open whose hours a limit names, and until when in words; None while nobody knows."""
        return self._hours.get(limit)

    def hours(self) -> list[tuple[str, bool, str]]:
        return [(limit, *self._hours[limit]) for limit in sorted(self._hours)]

    def known(self, scopes: Iterable[str]) -> tuple[str, ...]:
        """Those of these scopes that can have a day."""
        own = {account_scope(account) for account in self.own} if self.own else set()
        return tuple(scope for scope in scopes if scope == FIRM or scope in own)

    def is_new(self, scopes: Sequence[str]) -> IsNew:
        """Says whose day begins where these scopes' does."""
        begun = set(scopes)
        return lambda account: (FIRM if account is None else self.scope_of(account)) in begun

    def is_past(self, account: str, order: Order, row: int) -> bool:
        """Whether an order that was accepted in that row was good for a day that is over."""
        day = self.of(account)
        if day is None:
            return False
        if order.good_till is not None:
            return order.good_till < day.name or (day.is_over and order.good_till == day.name)
        return order.time_in_force is TimeInForce.DAY and row <= max(day.follows, day.ended_with)

    # ------------------------------------------------------------------------------------------ carrying out

    def begin(self, scopes: Sequence[str], day: Day) -> None:
        for scope in scopes:
            before = self._by_scope.get(scope)
            follows = 0 if before is None else before.ended_with if before.is_over else day.number
            self._by_scope[scope] = msgspec.structs.replace(day, follows=follows)

    def close_orders(self, scopes: Sequence[str], upto: int) -> None:
        """The day that these scopes are in is over, where it was not so before."""
        for scope in scopes:
            day = self._by_scope.get(scope)
            if day is not None and not day.is_over:
                self.closing[scope] = Closing(day.name, upto)

    def orders_closed(self) -> None:
        self.closing.clear()
        self.came.clear()

    def is_closing(self, account: str, reservation_id: int) -> Closing | None:
        """What closes an order that is good for a day; None where that is not over, or is another one."""
        closing = self.closing.get(self.scope_of(account))
        if closing is None or max(row_of(reservation_id), self.came.get(reservation_id, 0)) > closing.upto:
            return None
        return closing

    def end(self, scopes: Sequence[str], row: int) -> None:
        for scope in scopes:
            day = self._by_scope[scope]
            if not day.is_over:
                self._by_scope[scope] = msgspec.structs.replace(day, is_over=True, ended_with=row)

    def open_or_close(self, limit: str, is_open: bool, until: str) -> None:
        self._hours[limit] = (is_open, until)

    def go_by(self, own: frozenset[str], markets: frozenset[str]) -> None:
        """These accounts have rules of their own; what went by one that is no more goes by the firm's day. These limits
        name the hours of a market.
        """
        self._hours = {limit: state for limit, state in self._hours.items() if limit in markets}
        for account in self.own - own:
            self._by_scope.pop(account_scope(account), None)
            self.closing.pop(account_scope(account), None)
        self.own = own

    def load(
        self,
        days: Iterable[tuple[str, Day]],
        closing: Mapping[str, Closing],
        hours: Iterable[tuple[str, bool, str]],
        came: Iterable[tuple[int, int]] = (),
    ) -> None:
        self._by_scope = dict(days)
        self.closing = dict(closing)
        self.came = dict(came)
        self._hours = {limit: (is_open, until) for limit, is_open, until in hours}
