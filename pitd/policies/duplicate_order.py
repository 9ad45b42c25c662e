"""duplicate_order: is this the same order again?"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, ClassVar

import msgspec

from pit.types import Reject, RejectCode
from pitd.core.limits import Limit, LimitSet
from pitd.core.policy import PASS, Attempt, Counter, Look, Policy, Verdict
from pitd.core.windows import Fired


class Duplicates(Limit, frozen=True, kw_only=True, tag_field="control", tag="duplicate_order"):
    """The same order again at most `max_repeats` times in any window of `window_ns`."""

    max_repeats: int
    window_ns: int


class Seen(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """An order of that content was tried, in the scope of each of these limits: (limit, scope) pairs."""

    at_ns: int
    content: str
    counters: tuple[tuple[str, str], ...]


class DuplicateOrder(Policy):
    """Refuses with RateLimitExceeded an order that is the same again: instrument, side, quantity or volume, and price
    are those of orders inside the window, more than `max_repeats` of them repeats, this one included. Ids are not
    looked at. Whose orders are compared, `each` or `over` says; left out it is each account and client together.

    The code is that of a rate, since the answer to it is the same: `retry_after_s` is when the same order passes if it
    is not tried before. Every attempt that reaches the start stage counts, refused ones too, so that a loop does not
    get through by trying on; one exactly a window old is out. The same order under the same id is no attempt: it gets
    its first answer again, and a modify is no order. Of each limit the 10000 orders tried last are remembered.

    Example, max_repeats 1 in 2 s: buy 10 @ 100 at 0.0 and 0.5 pass; at 1.0 it is refused, buy 11 @ 100 passes; at 2.5
    it passes again: 0.5 is exactly a window old.
    """

    id: ClassVar[str] = "duplicate_order"
    effect_types = (Seen,)
    needs_instrument: ClassVar[bool] = False

    def __init__(self, limits: Sequence[Duplicates]) -> None:
        self._limits = LimitSet(self.id, limits, cover=False)
        self.limit_names = self._limits.names
        self.is_idle = not limits
        self._seen = {limit.name: Fired() for limit in limits}

    def start(self, attempt: Attempt) -> Verdict:
        if attempt.is_modify:
            return PASS
        limits = self._limits.matching(attempt)
        if not limits:
            return PASS
        content = attempt.content
        counters: list[tuple[str, str]] = []
        rejects: list[Reject] = []
        for limit in limits:
            scope = limit.scope_of(attempt)
            counters.append((limit.name, scope))
            reject = self._judge(limit, scope, content, attempt.now_ns)
            if reject is not None:
                rejects.append(reject)
        return Verdict((Seen(attempt.now_ns, content, tuple(counters)),), tuple(rejects))

    def apply(self, effect: Any) -> None:
        for name, scope in effect.counters:
            limit = self._limits.by_name.get(name)
            if limit is not None:  # else the configuration no longer has it
                self._seen[name].add((scope, effect.content), effect.at_ns, limit.window_ns, limit.max_repeats + 1)

    def counters(self, limit: str, look: Look) -> list[Counter]:
        bound, seen = self._limits.by_name[limit], self._seen[limit]
        return [
            Counter(
                scope=scope,
                what=_unit(bound),
                bound=Decimal(bound.max_repeats),
                used=Decimal(max(0, seen.busiest(scope, look.now_ns, bound.window_ns) - 1)),
            )
            for scope in look.page(seen.scopes())
        ]

    def bounds(self, limit: str) -> list[Counter]:
        bound = self._limits.by_name[limit]
        return [Counter(scope=bound.subject, what=_unit(bound), bound=Decimal(bound.max_repeats))]

    def save(self) -> Any:
        return {name: seen.save() for name, seen in self._seen.items()}

    def load(self, saved: Any) -> None:
        for name, seen in self._seen.items():
            seen.load(saved.get(name, ()))

    def _judge(self, limit: Duplicates, scope: str, content: str, now_ns: int) -> Reject | None:
        key = (scope, content)
        seen = self._seen[limit.name]
        if not seen.is_full(key, now_ns, limit.window_ns, limit.max_repeats + 1):
            return None
        # the next one passes once, of those that count then, no more than max_repeats are left: this one is among them
        times = seen.times(key)
        last_ns = times[-limit.max_repeats] if limit.max_repeats else now_ns
        retry_after_s = (last_ns + limit.window_ns - now_ns) / 1e9
        return Reject(
            code=RejectCode.RATE_LIMIT_EXCEEDED,
            policy=self.id,
            limit=limit.name,
            scope=scope,
            reason=f"{scope}: {content} again, limit {limit.max_repeats} repeats in {limit.window_ns / 1e9:g} s; it "
            f"passes in {retry_after_s:.3f} s if it is not tried before",
            bound=Decimal(limit.max_repeats),
            used=Decimal(limit.max_repeats),
            requested=Decimal(1),
            retry_after_s=retry_after_s,
        )


def _unit(limit: Duplicates) -> str:
    return f"repeats of one order in {limit.window_ns / 1e9:g} s"
