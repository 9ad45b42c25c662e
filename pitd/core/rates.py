"""Rates in sliding windows: what the policies that count attempts share."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, ClassVar

import msgspec

from pit.types import Reject, RejectCode

from .limits import Limit, LimitSet, Matched
from .policy import PASS, Attempt, Counter, Look, Policy, Verdict


class Pace(Limit, frozen=True, kw_only=True):
    """At most `max_orders` attempts in any window of `window_ns`."""

    max_orders: int
    window_ns: int


class Attempted(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """An attempt that counts on these counters: (limit, scope) pairs."""

    at_ns: int
    counters: tuple[tuple[str, str], ...]


class SlidingRate(Policy):
    """Counts attempts in windows, exactly for every key; a control says by `judge` which attempts count for which
    limits. Memory is bounded by what the limits allow, and a key whose newest attempt has left the window is let go.
    """

    effect_types = (Attempted,)
    needs_instrument: ClassVar[bool] = False
    unit: ClassVar[str] = "orders"
    """What is counted."""

    def __init__(self, limits: Sequence[Pace]) -> None:
        self._limits = LimitSet(self.id, limits, cover=False)
        self._narrow_first = LimitSet(self.id, sorted(limits, key=lambda limit: limit.breadth), cover=False)
        self.limit_names = self._limits.names
        self.is_idle = not limits
        self._counters: dict[str, OrderedDict[str, deque[int]]] = {limit.name: OrderedDict() for limit in limits}
        """By limit, then scope: the attempts inside the window, newest last. The scope touched last stands last, so
        stale ones are found in front."""

    def judge(self, attempt: Attempt, limits: LimitSet[Pace]) -> Verdict:
        """Whether an attempt is one too many for those limits, the narrow ones first; and what counts it."""
        now_ns, matched, counters = attempt.now_ns, limits.matched(attempt), self._counters
        for limit, scope in matched.scoped:
            times, most = counters[limit.name].get(scope), limit.max_orders
            if not most or (times is not None and len(times) >= most and now_ns - times[-most] < limit.window_ns):
                return self._refuse(matched, now_ns)
        return Verdict((Attempted(now_ns, matched.counters),)) if matched.counters else PASS

    def _refuse(self, matched: Matched[Pace], now_ns: int) -> Verdict:
        """The same where one of them says no: their max_orders-th newest attempt is still inside the window."""
        counted: list[tuple[str, str]] = []
        rejects: list[Reject] = []
        refused_at: int | None = None  # the breadth of the narrowest limit that refuses; a shadow refuses nothing
        for limit, scope in matched.scoped:
            times = self._counters[limit.name].get(scope)
            counts = refused_at is None or not limit.is_shared or refused_at >= limit.breadth
            if counts:
                counted.append((limit.name, scope))
            if _is_full(times, limit, now_ns):
                rejects.append(self._reject(limit, scope, times, now_ns, counts))
                if refused_at is None and not limit.shadow:
                    refused_at = limit.breadth
        return Verdict((Attempted(now_ns, tuple(counted)),) if counted else (), tuple(rejects))

    def apply(self, effect: Any) -> None:
        at_ns, by_name = effect.at_ns, self._limits.by_name
        for name, scope in effect.counters:
            limit = by_name.get(name)
            if limit is None or not limit.max_orders:
                continue  # a limit that the configuration no longer has, or one that lets nothing pass: nothing to keep
            counters, horizon_ns = self._counters[name], at_ns - limit.window_ns
            times = counters.get(scope)
            if times is None:
                times = counters[scope] = deque()
            elif times and times[0] <= horizon_ns:
                while times and times[0] <= horizon_ns:
                    times.popleft()
            elif len(times) >= limit.max_orders:  # a lowered one forgets nothing: it may be raised again
                times.popleft()
            times.append(at_ns)
            if len(counters) > 1:
                counters.move_to_end(scope)
                _drop_stale(counters, horizon_ns)

    def counters(self, limit: str, look: Look) -> list[Counter]:
        of = self._counters[limit]
        return [self._counter(self._limits.by_name[limit], scope, of[scope], look.now_ns) for scope in look.page(of)]

    def bounds(self, limit: str) -> list[Counter]:
        bound = self._limits.by_name[limit]
        return [Counter(scope=bound.subject, what=self._unit(bound), bound=Decimal(bound.max_orders))]

    def _unit(self, limit: Pace) -> str:
        return f"{self.unit} in {limit.window_ns / 1e9:g} s"

    def _counter(self, limit: Pace, scope: str, times: deque[int], now_ns: int) -> Counter:
        inside = sum(1 for at in times if now_ns - at < limit.window_ns)
        return Counter(scope=scope, what=self._unit(limit), bound=Decimal(limit.max_orders), used=Decimal(inside))

    def save(self) -> Any:
        return {name: [[scope, list(times)] for scope, times in of.items()] for name, of in self._counters.items()}

    def load(self, saved: Any) -> None:
        for name in self._counters:
            self._counters[name] = OrderedDict((scope, deque(times)) for scope, times in saved.get(name, ()))

    def _reject(self, limit: Pace, scope: str, times: deque[int] | None, now_ns: int, counts: bool) -> Reject:
        inside = [at for at in times or () if now_ns - at < limit.window_ns]
        retry_after_s = None
        if limit.max_orders:
            after = [*inside, now_ns] if counts else inside
            oldest_that_matters = after[-limit.max_orders :][0]
            retry_after_s = (oldest_that_matters + limit.window_ns - now_ns) / 1e9
        later = "" if retry_after_s is None else f"; the next passes in {retry_after_s:.3f} s if none comes before it"
        return Reject(
            code=RejectCode.RATE_LIMIT_EXCEEDED,
            policy=self.id,
            limit=limit.name,
            scope=scope,
            reason=f"{scope}: limit {limit.max_orders} {self._unit(limit)} is used up{later}",
            bound=Decimal(limit.max_orders),
            used=Decimal(len(inside)),
            requested=Decimal(1),
            retry_after_s=retry_after_s,
        )


def _drop_stale(counters: OrderedDict[str, deque[int]], horizon_ns: int) -> None:
    """Looks at the two scopes untouched for longest; each attempt adds at most one."""
    for _ in range(2):
        scope = next(iter(counters))
        times = counters[scope]
        if len(counters) == 1 or (times and times[-1] > horizon_ns):
            return
        del counters[scope]


def _is_full(times: deque[int] | None, limit: Pace, now_ns: int) -> bool:
    """Whether one more is too many: the max_orders-th newest attempt is still inside the window."""
    most = limit.max_orders
    if not most:
        return True
    return times is not None and len(times) >= most and now_ns - times[-most] < limit.window_ns


__all__ = ["Attempted", "Pace", "SlidingRate"]
