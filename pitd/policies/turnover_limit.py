"""turnover_limit: how much may be ordered in a sliding window, or in a day?"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any, ClassVar, Literal, NamedTuple

import msgspec

from pit.types import Reject, RejectCode
from pitd.core.limits import Limit, LimitSet, asset_of
from pitd.core.numbers import ZERO, canonical, text
from pitd.core.policy import PASS, Asks, Attempt, Counter, Days, Look, Policy, Unvalued, Verdict

_Pair = tuple[Decimal, Decimal]
"""A notional and a quantity."""

SLICES = 1_000
"""A window is counted in so many slices: that bounds what is kept of it."""

_SLICES_A_STEP = 2
"""So many old slices are let go with one order; each order adds at most one."""


class Turnover(Limit, frozen=True, kw_only=True, tag_field="control", tag="turnover_limit"):
    """At most `max_notional` of the settlement asset, or with `currency` of the firm's currency, and `max_quantity`
    units, in any window of `window_ns`, or in a day of the calendar.
    """

    max_notional: Decimal | None = None
    max_quantity: Decimal | None = None
    window_ns: int = 0
    """0 for a day."""
    currency: Literal["firm"] | None = None

    @property
    def is_daily(self) -> bool:
        return not self.window_ns


class Ordered(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one order adds to one counter, in the slice that ends at `end_ns`, or in the day of that number (by the
    calendar of `whose`).
    """

    limit: str
    scope: str
    end_ns: int
    notional: Decimal
    quantity: Decimal
    whose: str = ""


class DayTurned(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """A counter begins with nothing: it is another day."""

    limit: str
    scope: str
    whose: str
    day: int


class TurnedOver(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """What one order adds to all its counters."""

    added: tuple[Ordered, ...]


class Slid(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """The slices of a limit that end by then have left its window."""

    limit: str
    upto_ns: int


class Forgotten(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """A limit that is no longer configured counts nothing any more."""

    limit: str


class TurnoverLimit(Policy):
    """Adds up the accepted orders of a sliding window (`window`) or of a day (`per = "day"`), each whole and once, at
    its own price (a market order at the quote), and refuses with RiskLimitExceeded one that would take the sum above
    `max_notional` or `max_quantity`. `retry_after_s` is when the order would pass if none does before; where it is too
    large by itself, it never will, and when the next day begins, only the calendar knows.

    What is filled, cancelled, rejected by the venue or closed was in the market and counts on until its window, or its
    day, is over. What is rolled back, or held until its lease ends, never was, and is given back. A volume order
    without a price has no known quantity and is refused by a `max_quantity` (MarkPriceUnavailable).

    An order that reduces a position passes, and is counted as far as its worth is known.

    Of a modified order the most that it ever was is counted: a modify up adds the difference when it is asked for, and
    gives it back when the venue refuses it; a modify down gives nothing back, as the order was in the market.

    With `currency = "firm"` the notional of all settlement assets is added up in the firm's currency, each order at the
    rate of its moment (`core.currency.Rates` says how it is rounded); without a fresh rate: ReferenceDataUnavailable.

    A window is counted in a thousand slices, so that no more than these are kept of it however many orders there are:
    an order leaves up to a thousandth of the window late, never early. Restarts forget nothing. A bound or a limit that
    a new configuration brings begins with nothing.

    A day begins and ends by the calendar: what counts by account goes by the account's day, all else by the firm's. An
    order is of the day in which its reservation was made (`execute` of a request, not `start`), whenever it is filled:
    what is in flight when a day ends counts in the day that is over, also where it is given back or modified, of which
    only an increase counts in the new one. One counter is kept for each scope that ever ordered.

    Example, max_notional 1000 in 60 s: at 0 s 6 @ 100 passes and is filled; at 30 s 5 @ 100 is refused (1100, retry
    after 30 s), 4 @ 100 passes (1000); at 60 s the 600 are out, 6 @ 100 passes. Example, max_notional 1000 per day that
    begins at 17:00: at 16:59 6 @ 100 passes, at 16:59:59 5 @ 100 is refused, at 17:00 10 @ 100 passes.
    """

    id: ClassVar[str] = "turnover_limit"
    effect_types = (TurnedOver, Slid, Forgotten, DayTurned)

    def __init__(self, limits: Sequence[Turnover], *, cover: bool = True) -> None:
        self._limits = LimitSet(self.id, limits, cover=cover)
        self.limit_names = self._limits.names
        self.is_idle = not limits
        if any(limit.max_notional is not None for limit in limits):
            self.asks_for_quotes = Asks.WITHOUT_PRICE
        self.asks_for_rates = any(limit.currency is not None for limit in limits)
        self._windows: dict[str, _Window | _Days] = {
            limit.name: _Days() if limit.is_daily else _Window() for limit in limits
        }

    def start(self, attempt: Attempt) -> Verdict:
        effects: list[Slid | DayTurned] | None = None
        for limit in self._limits.limits:
            window = self._windows[limit.name]
            effect: Slid | DayTurned | None = None
            if isinstance(window, _Days):
                if limit.matches_attempt(attempt):
                    effect = window.turned(limit, attempt)
            else:
                upto_ns = window.last_out(attempt.now_ns - limit.window_ns)
                effect = None if upto_ns is None else Slid(limit.name, upto_ns)
            if effect is not None:
                effects = effects or []
                effects.append(effect)
        return PASS if effects is None else Verdict(tuple(effects))

    def main(self, attempt: Attempt) -> Verdict:
        limits = self._limits.matching(attempt)
        if not limits:
            uncovered = self._limits.uncovered(attempt)
            return Verdict(rejects=uncovered) if uncovered else PASS
        added: list[Ordered] = []
        rejects: list[Reject] = []
        for limit in limits:
            scope = limit.scope_of(attempt)
            before = _ordered(attempt, limit.name, scope)
            added += before
            try:
                notional = ZERO if limit.max_notional is None else attempt.worth(limit.currency, whole=True)
                quantity = ZERO if limit.max_quantity is None else attempt.units(whole=True)
            except Unvalued as trouble:
                if not attempt.reduces:
                    why = f"{trouble}, so {limit.name} cannot be checked"
                    rejects.append(self._reject(limit, scope, trouble.code, why))
                continue
            window, whose = self._windows[limit.name], ""
            if isinstance(window, _Days):
                end_ns, whose = window.number_of(scope, limit.day_of(attempt)), limit.whose_day(attempt)
                horizon_ns = end_ns - 1
            else:
                end_ns, horizon_ns = window.end_of(attempt.now_ns, limit), attempt.now_ns - limit.window_ns
            if before:
                notional = max(ZERO, notional - sum((each.notional for each in before), ZERO))
                quantity = max(ZERO, quantity - sum((each.quantity for each in before), ZERO))
                if not notional and not quantity:
                    continue
            added.append(Ordered(limit.name, scope, end_ns, notional, quantity, whose))
            used = window.used(scope, horizon_ns, notional, quantity)
            for each in before:  # taken back while it is asked
                if each.end_ns > horizon_ns:
                    used = (used[0] + each.notional, used[1] + each.quantity)
            if _is_over(limit, used, notional, quantity) and not attempt.reduces:
                rejects += self._rejects(limit, scope, attempt, used, (notional, quantity))
        effects = (TurnedOver(tuple(added)),) if added else ()
        return Verdict(effects, tuple(rejects))

    def worse(self, old: tuple[Any, ...], new: tuple[Any, ...]) -> tuple[Any, ...]:
        """What is counted by the new terms has what was counted before in it."""
        return new or old

    def apply(self, effect: Any) -> None:
        match effect:
            case TurnedOver():
                for each in effect.added:
                    if each.limit in self._windows:
                        self._windows[each.limit].add(each, 1)
            case Slid() | DayTurned():
                self._windows[effect.limit].turn(effect)
            case Forgotten():
                self._windows[effect.limit].forget()
            case _:
                raise TypeError(f"{self.id} has no effect {effect!r}")

    def undo(self, effect: Any) -> None:
        for each in effect.added:
            if each.limit in self._windows:
                self._windows[each.limit].add(each, -1)

    def close(self, effect: Any) -> None:
        """It was in the market, and counts on."""

    def reopen(self, effect: Any) -> None:
        """It has counted all the time."""

    def reconfigured(self, group_of: Callable[[str], str | None]) -> Verdict:
        gone = [name for name, window in self._windows.items() if name not in self._limits.by_name and window.counts]
        return Verdict(tuple(Forgotten(name) for name in sorted(gone))) if gone else PASS

    def counters(self, limit: str, look: Look) -> list[Counter]:
        bound, window = self._limits.by_name[limit], self._windows[limit]
        shown = []
        for scope in look.page(window.totals):
            if isinstance(window, _Days):
                used = window.used(scope, window.day_before(scope, look.days))
            else:
                used = window.used(scope, look.now_ns - bound.window_ns)
            sums = [each for most, each in zip(_bounds(bound), used, strict=True) if most is not None]
            shown += [
                Counter(scope=scope, what=bare.what, bound=bare.bound, used=canonical(each))
                for bare, each in zip(self.bounds(limit), sums, strict=True)
            ]
        return shown

    def bounds(self, limit: str) -> list[Counter]:
        bound = self._limits.by_name[limit]
        words = (asset_of(bound), "units")
        return [
            Counter(scope=bound.subject, what=f"{word} {_in(bound)}", bound=canonical(most))
            for word, most in zip(words, _bounds(bound), strict=True)
            if most is not None
        ]

    def share(self, effect: Any, limit: str, scope: str) -> Decimal | None:
        for each in getattr(effect, "added", ()):
            if (each.limit, each.scope) == (limit, scope):
                added: Decimal = each.quantity if self._limits.by_name[limit].max_notional is None else each.notional
                return added
        return None

    def save(self) -> Any:
        return {name: self._windows[name].save() for name in sorted(self._windows) if self._windows[name].is_used}

    def load(self, saved: Any) -> None:
        for name, of in saved.items():
            kept = _Days.of(of) if of[0] == _DAYS else _Window.of(of)
            if type(kept) is type(self._windows.get(name, kept)):  # else a window has become a day, and begins anew
                self._windows[name] = kept

    def _rejects(self, limit: Turnover, scope: str, attempt: Attempt, used: _Pair, wanted: _Pair) -> Iterator[Reject]:
        for place, (most, more) in enumerate(zip(_bounds(limit), wanted, strict=True)):
            if most is None or used[place] + more <= most:
                continue
            unit = attempt.asset(limit.currency) if place == 0 else f"units of {attempt.listed.symbol}"
            window, retry_after_s, later = self._windows[limit.name], None, "it is too much by itself"
            if isinstance(window, _Days):
                if more <= most:
                    later = "it passes when the next day has begun"
            else:
                free_ns = window.free_at(scope, place, used[place] + more - most, limit, attempt.now_ns)
                if free_ns is not None:
                    retry_after_s = (free_ns - attempt.now_ns) / 1e9
                    later = f"it passes in {retry_after_s:.3f} s if nothing does before"
            why = (
                f"{scope}: {text(more)} {unit} on top of {text(used[place])} ordered {_in(limit)}, limit "
                f"{text(most)}; {later}"
            )
            code = RejectCode.RISK_LIMIT_EXCEEDED
            yield self._reject(limit, scope, code, why, most, used[place], more, retry_after_s)

    def _reject(
        self,
        limit: Turnover,
        scope: str,
        code: RejectCode,
        reason: str,
        bound: Decimal | None = None,
        used: Decimal | None = None,
        requested: Decimal | None = None,
        retry_after_s: float | None = None,
    ) -> Reject:
        return Reject(
            code=code,
            policy=self.id,
            limit=limit.name,
            scope=scope,
            reason=reason,
            bound=None if bound is None else canonical(bound),
            used=None if used is None else canonical(used),
            requested=None if requested is None else canonical(requested),
            retry_after_s=retry_after_s,
        )


def _ordered(attempt: Attempt, limit: str, scope: str) -> list[Ordered]:
    """What the order that this modifies has added to that counter."""
    if not attempt.is_modify:
        return []
    held = (each for effect in attempt.held_before(TurnoverLimit.id) for each in effect.added)
    return [each for each in held if each.limit == limit and each.scope == scope]


def _is_over(limit: Turnover, used: _Pair, notional: Decimal, quantity: Decimal) -> bool:
    if limit.max_notional is not None and used[0] + notional > limit.max_notional:
        return True
    return limit.max_quantity is not None and used[1] + quantity > limit.max_quantity


def _bounds(limit: Turnover) -> tuple[Decimal | None, Decimal | None]:
    return limit.max_notional, limit.max_quantity


def _in(limit: Turnover) -> str:
    return "in the day" if limit.is_daily else f"in {limit.window_ns / 1e9:g} s"


class _Sums(NamedTuple):
    """What so many orders come to."""

    orders: int
    notional: Decimal
    quantity: Decimal


_NONE = _Sums(0, ZERO, ZERO)


class _Window:
    """What a limit has counted: by slice and scope, and of each scope all together."""

    def __init__(self) -> None:
        self.slices: dict[int, dict[str, _Sums]] = {}
        self.totals: dict[str, _Sums] = {}
        self._ends: list[int] = []
        """The ends of the slices, in order."""
        self._gone_ns = 0
        """What belongs to a slice that ended by then is no longer counted, nor given back."""

    @property
    def is_used(self) -> bool:
        return bool(self._gone_ns or self.slices)

    @property
    def counts(self) -> bool:
        return bool(self.slices)

    def end_of(self, now_ns: int, limit: Turnover) -> int:
        """The end of the slice that a moment is in: that of a forgotten one is not used again."""
        slice_ns = max(1, limit.window_ns // SLICES)
        return max(-(-now_ns // slice_ns) * slice_ns, self._gone_ns + 1)

    def last_out(self, horizon_ns: int) -> int | None:
        """The end of the last slice to be let go now, where one has left the window."""
        if not self._ends or self._ends[0] > horizon_ns:
            return None
        return max(end_ns for end_ns in self._ends[:_SLICES_A_STEP] if end_ns <= horizon_ns)

    def used(self, scope: str, horizon_ns: int, more_notional: Decimal = ZERO, more_quantity: Decimal = ZERO) -> _Pair:
        """Notional and quantity of what is inside the window. Raises NotRepresentable where more can't be added."""
        _, notional, quantity = self.totals.get(scope, _NONE)
        if not self._ends or self._ends[0] > horizon_ns:
            return notional, quantity
        _ = notional + more_notional, quantity + more_quantity  # what has left the window is in the sums still
        for end_ns in self._ends:
            if end_ns > horizon_ns:
                break
            of = self.slices[end_ns].get(scope, _NONE)
            notional -= of.notional
            quantity -= of.quantity
        return notional, quantity

    def free_at(self, scope: str, place: int, needed: Decimal, limit: Turnover, now_ns: int) -> int | None:
        """When that much has left the window; None where there isn't so much."""
        for end_ns in self._ends[bisect_left(self._ends, now_ns - limit.window_ns + 1) :]:
            needed -= self.slices[end_ns].get(scope, _NONE)[place + 1]
            if needed <= 0:
                return end_ns + limit.window_ns
        return None

    def add(self, ordered: Ordered, orders: int) -> None:
        """Counts an order, or, with -1, gives it back; not what another configuration counted by days."""
        if ordered.whose or ordered.end_ns <= self._gone_ns:
            return
        of = self.slices.get(ordered.end_ns)
        if of is None:
            assert orders > 0, ordered
            of = self.slices[ordered.end_ns] = {}
            insort(self._ends, ordered.end_ns)
        _add(of, ordered.scope, orders, ordered.notional, ordered.quantity)
        _add(self.totals, ordered.scope, orders, ordered.notional, ordered.quantity)
        if not of:
            self._drop(ordered.end_ns)

    def turn(self, effect: Slid | DayTurned) -> None:
        assert isinstance(effect, Slid)
        self._slide(effect.upto_ns)

    def _slide(self, upto_ns: int) -> None:
        while self._ends and self._ends[0] <= upto_ns:
            for scope, sums in self.slices[self._ends[0]].items():
                _add(self.totals, scope, -sums.orders, sums.notional, sums.quantity)
            self._drop(self._ends[0])
        self._gone_ns = max(self._gone_ns, upto_ns)

    def forget(self) -> None:
        self._slide(self._ends[-1] if self._ends else 0)

    def save(self) -> Any:
        return [
            self._gone_ns,
            [
                [end_ns, [[scope, *_written(self.slices[end_ns][scope])] for scope in sorted(self.slices[end_ns])]]
                for end_ns in self._ends
            ],
        ]

    @classmethod
    def of(cls, saved: Any) -> _Window:
        window = cls()
        window._gone_ns, slices = saved
        for end_ns, of in slices:
            window._ends.append(end_ns)
            window.slices[end_ns] = {scope: _Sums(n, Decimal(worth), Decimal(units)) for scope, n, worth, units in of}
            for scope, sums in window.slices[end_ns].items():
                _add(window.totals, scope, *sums)
        return window

    def _drop(self, end_ns: int) -> None:
        del self.slices[end_ns]
        del self._ends[bisect_left(self._ends, end_ns)]


class _Count(NamedTuple):
    """What a scope has ordered in a day, by whose calendar that is one."""

    whose: str
    day: int
    sums: _Sums


_NO_DAY = _Count("", 0, _NONE)

_DAYS = "days"


class _Days:
    """What a limit has counted in the day of each scope: of a day that is over nothing is counted, nor given back.

    Another day comes by an effect of the start stage, so that what an order holds is given back exactly. A request of
    the day before brings it by its hold, and leaves a counter of nothing behind where it is rolled back.
    """

    def __init__(self) -> None:
        self.totals: dict[str, _Count] = {}
        self._gone = 0
        """Days up to that number are over for every scope, since a configuration has left the limit out."""

    @property
    def is_used(self) -> bool:
        return bool(self._gone or self.totals)

    @property
    def counts(self) -> bool:
        return bool(self.totals)

    def number_of(self, scope: str, day: int) -> int:
        """The number by which a day is counted: none that is over comes again, whatever becomes of the calendar."""
        return max(day, self._gone + 1, self.totals.get(scope, _NO_DAY).day)

    def day_before(self, scope: str, days: Days) -> int:
        """The number of the day before the one that a scope is in now."""
        day = days.at(self.totals[scope].whose) if scope in self.totals else None
        return self.number_of(scope, 0 if day is None else day.number) - 1

    def turned(self, limit: Turnover, attempt: Attempt) -> DayTurned | None:
        """What begins the counter of an order's scope anew, where it is of a day that is over."""
        scope = limit.scope_of(attempt)
        count, day = self.totals.get(scope), self.number_of(scope, limit.day_of(attempt))
        if count is None or count.day == day:
            return None
        return DayTurned(limit.name, scope, limit.whose_day(attempt), day)

    def used(self, scope: str, horizon: int, more_notional: Decimal = ZERO, more_quantity: Decimal = ZERO) -> _Pair:
        count = self.totals.get(scope, _NO_DAY)
        return count.sums[1:] if count.day > horizon else (ZERO, ZERO)

    def add(self, ordered: Ordered, orders: int) -> None:
        """Counts an order, or, with -1, gives it back; not what another configuration counted in a window."""
        day, count = ordered.end_ns, self.totals.get(ordered.scope, _NO_DAY)
        if not ordered.whose or day <= self._gone or day < count.day:
            return
        sums = count.sums if day == count.day else _NONE
        assert orders > 0 or sums.orders, (ordered, count)
        kept: dict[str, _Sums] = {ordered.scope: sums} if sums.orders else {}
        _add(kept, ordered.scope, orders, ordered.notional, ordered.quantity)
        left = kept.get(ordered.scope)
        if left is None and day <= 1:  # no calendar: there is no other day that it could be told from
            del self.totals[ordered.scope]
        else:
            self.totals[ordered.scope] = _Count(ordered.whose, day, left or _NONE)

    def turn(self, effect: Slid | DayTurned) -> None:
        assert isinstance(effect, DayTurned)
        self.totals[effect.scope] = _Count(effect.whose, effect.day, _NONE)

    def forget(self) -> None:
        self._gone = max((count.day for count in self.totals.values()), default=self._gone)
        self.totals.clear()

    def save(self) -> Any:
        return [_DAYS, self._gone, [[scope, *self._written(scope)] for scope in sorted(self.totals)]]

    def _written(self, scope: str) -> tuple[Any, ...]:
        count = self.totals[scope]
        return count.whose, count.day, *_written(count.sums)

    @classmethod
    def of(cls, saved: Any) -> _Days:
        days = cls()
        _, days._gone, counts = saved
        for scope, whose, day, orders, worth, units in counts:
            days.totals[scope] = _Count(whose, day, _Sums(orders, Decimal(worth), Decimal(units)))
        return days


def _add(sums: dict[str, _Sums], scope: str, orders: int, notional: Decimal, quantity: Decimal) -> None:
    """Adds so many orders of that worth altogether; where there are less than none, takes them back."""
    had = sums.get(scope, _NONE)
    count = had.orders + orders
    assert count >= 0, (scope, had)
    if not count:
        del sums[scope]
    elif orders > 0:
        sums[scope] = _Sums(count, had.notional + notional, had.quantity + quantity)
    else:
        sums[scope] = _Sums(count, had.notional - notional, had.quantity - quantity)


def _written(sums: _Sums) -> tuple[int, str, str]:
    return sums.orders, text(sums.notional), text(sums.quantity)
