"""repeated_execution: is a strategy firing the same order over and over?"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, ClassVar

import msgspec

from pit.types import Block, Reject, RejectCode
from pitd.core.limits import Limit, LimitSet
from pitd.core.policy import PASS, Attempt, Counter, Look, Policy, Verdict
from pitd.core.windows import Fired


class Repeats(Limit, frozen=True, kw_only=True, tag_field="control", tag="repeated_execution"):
    """The same order at most `max_executions` times in any window of `window_ns`."""

    max_executions: int
    window_ns: int


class Executed(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """An order of that content was fired, in the scope of each of these limits: (limit, scope) pairs."""

    at_ns: int
    content: str
    counters: tuple[tuple[str, str], ...]


class Stopped(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    limit: str
    scope: str


class LetGo(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """A person lets a scope go on: what was counted of it begins anew."""

    limit: str
    scope: str


class RepeatedExecution(Policy):
    """Stops a strategy that fires the same order (instrument, side, quantity or volume, price; ids are not looked at)
    more than `max_executions` times inside the window. The order that is too many is refused with AccountBlocked, and
    so is every one after it: the scope is blocked until a person lets it go on, by `unblock` with author and reason.
    No lapse of time lifts it. What is open stays as it is, and can be settled, reported on and cancelled.

    What is stopped is what the limit counts by: each "client" (left out it is that: one client is one strategy) or
    "account", or over a group or the firm. Orders that a stopped client has handed to a gateway do not leave either.
    Every attempt that reaches the start stage counts, refused ones too: a loop is a loop; a modify is no execution. Of
    each limit the 10000 orders tried last are remembered. Where the limit is taken out of the configuration, its blocks
    stay until a person lifts them.

    Example, max_executions 3 in 10 s: mm1 sends buy 1 @ 100 at 0, 1 and 2; at 3 it is refused and client mm1 blocked,
    whatever it sends, also at 1000; `pitctl unblock client mm1 --reason "fixed the loop"`; then three more pass.
    """

    id: ClassVar[str] = "repeated_execution"
    effect_types = (Executed, Stopped, LetGo)
    needs_instrument: ClassVar[bool] = False
    lifts_by_hand: ClassVar[bool] = True

    def __init__(self, limits: Sequence[Repeats]) -> None:
        self._limits = LimitSet(self.id, limits, cover=False)
        self.limit_names = self._limits.names
        self.is_idle = not limits
        self._fired = {limit.name: Fired() for limit in limits}
        self._stopped: dict[tuple[str, str], bool] = {}

    def start(self, attempt: Attempt) -> Verdict:
        if attempt.is_modify:
            return PASS
        limits = self._limits.matching(attempt)
        if not limits:
            return PASS
        content = attempt.content
        counters: list[tuple[str, str]] = []
        stops: list[Any] = []
        rejects: list[Reject] = []
        for limit in limits:
            scope = limit.scope_of(attempt)
            if (limit.name, scope) in self._stopped:
                continue  # the block answers
            counters.append((limit.name, scope))
            key, most = (scope, content), limit.max_executions
            if not self._fired[limit.name].is_full(key, attempt.now_ns, limit.window_ns, most):
                continue
            why = (
                f"{content} was fired {most + 1} times in {limit.window_ns / 1e9:g} s, limit {most}; "
                "a person must look at it and unblock it"
            )
            block = Block(
                scope=scope, code=RejectCode.ACCOUNT_BLOCKED, limit=limit.name, reason=f"{scope}: {why}", author=self.id
            )
            stops += [Stopped(limit.name, scope), block]
            rejects.append(
                Reject(
                    code=block.code,
                    policy=self.id,
                    limit=limit.name,
                    scope=scope,
                    reason=block.reason,
                    bound=Decimal(most),
                    used=Decimal(most),
                    requested=Decimal(1),
                )
            )
        if not counters:
            return PASS
        return Verdict((Executed(attempt.now_ns, content, tuple(counters)), *stops), tuple(rejects))

    def lift(self, limit: str, scope: str) -> Verdict:
        return Verdict((LetGo(limit, scope),)) if (limit, scope) in self._stopped else PASS

    def rearm(self, limit: str, scope: str, room: Decimal) -> Verdict:
        why = f"{limit} grants no room; to let {scope} go on: pitctl unblock {scope} --reason TEXT"
        return Verdict(
            rejects=(Reject(code=RejectCode.OTHER, policy=self.id, limit=limit, scope=scope, reason=why),),
        )

    def apply(self, effect: Any) -> None:
        match effect:
            case Executed():
                for name, scope in effect.counters:
                    limit = self._limits.by_name.get(name)
                    if limit is not None:  # else the configuration no longer has it
                        key = (scope, effect.content)
                        self._fired[name].add(key, effect.at_ns, limit.window_ns, limit.max_executions)
            case Stopped():
                self._stopped[effect.limit, effect.scope] = True
            case LetGo():
                self._stopped.pop((effect.limit, effect.scope), None)
                if effect.limit in self._fired:
                    self._fired[effect.limit].forget(effect.scope)
            case _:
                raise TypeError(f"{self.id} has no effect {effect!r}")

    def counters(self, limit: str, look: Look) -> list[Counter]:
        bound, fired = self._limits.by_name[limit], self._fired[limit]
        stopped = [scope for name, scope in self._stopped if name == limit]
        return [
            Counter(
                scope=scope,
                what=_unit(bound),
                bound=Decimal(bound.max_executions),
                used=Decimal(fired.busiest(scope, look.now_ns, bound.window_ns)),
                is_tripped=(limit, scope) in self._stopped,
            )
            for scope in look.page([*fired.scopes(), *stopped])
        ]

    def bounds(self, limit: str) -> list[Counter]:
        bound = self._limits.by_name[limit]
        return [Counter(scope=bound.subject, what=_unit(bound), bound=Decimal(bound.max_executions))]

    def save(self) -> Any:
        return {
            "fired": {name: fired.save() for name, fired in self._fired.items()},
            "stopped": sorted(map(list, self._stopped)),
        }

    def load(self, saved: Any) -> None:
        for name, fired in self._fired.items():
            fired.load(saved["fired"].get(name, ()))
        self._stopped = dict.fromkeys(((limit, scope) for limit, scope in saved["stopped"]), True)


def _unit(limit: Repeats) -> str:
    return f"times the same order in {limit.window_ns / 1e9:g} s"
