"""Policies that could not say what a new day, or other marks, mean to them: until they can, only what reduces passes.

Nobody asked them about an order, so there is none to refuse: whoever their live limits may be for is blocked instead,
with SystemUnavailable, but for orders that reduce a position. What they were to be asked about is kept, and with every
entry they are asked again; once they have answered, the block goes by itself. Example: a control of the firm's own
follows marks and divides by one that is 0. From that entry on new risk is refused; the next mark is 80, it answers, and
trips or lets go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from pit.types import Block, RejectCode, TradingState

from . import entry as e
from .accounts import FIRM, account_scope, client_scope, group_scope
from .limits import Group, Limit
from .policy import Policy

if TYPE_CHECKING:
    from .engine import Engine

PREFIX = "failed:"
"""With a policy's id behind it, what stands for the limit in such a block."""

_SCOPES_MOST = 100
"""Where a policy's limits name more scopes than these, the firm is blocked."""


class At(StrEnum):
    """What a policy could not be asked about."""

    DAY = "a day began"
    MARKS = "marks or positions moved"


class Failure(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A policy that has failed: `names` are the accounts, or the scopes of a day, that it is yet to be asked about."""

    policy: str
    at: At
    why: str
    names: tuple[str, ...]


class Failing:
    """Those that fail now. Changed by carrying effects out alone."""

    def __init__(self) -> None:
        self.by_key: dict[tuple[str, At], Failure] = {}

    def __len__(self) -> int:
        return len(self.by_key)

    def all(self) -> tuple[Failure, ...]:
        return tuple(self.by_key[key] for key in sorted(self.by_key))

    def policies(self) -> tuple[str, ...]:
        return tuple(sorted({id for id, _ in self.by_key}))

    def of(self, policy: str, at: At) -> Failure | None:
        return self.by_key.get((policy, at))

    def names(self, at: At) -> Iterable[str]:
        """All that some policy is yet to be asked about."""
        return (name for failure in self.all() if failure.at is at for name in failure.names)

    def apply(self, effect: e.PolicyFailed) -> None:
        failure = Failure(effect.policy, At(effect.at), effect.why, effect.names)
        self.by_key[failure.policy, failure.at] = failure

    def over(self, effect: e.PolicyRecovered) -> None:
        del self.by_key[effect.policy, At(effect.at)]

    def load(self, failures: Sequence[Failure]) -> None:
        self.by_key = {(failure.policy, failure.at): failure for failure in failures}


# ---------------------------------------------------------------------------------------------- deciding


def day_began(engine: Engine, scopes: Sequence[str]) -> list[e.Effect]:
    """What the policies do about a new day of these scopes. Changes nothing."""
    asked = engine.pipeline.day_began(engine.days.is_new(scopes))
    return [*_lifting(engine, asked.effects), *_settled(engine, _with(engine, asked.failed, At.DAY, scopes))]


def revalued(engine: Engine, moved: Sequence[str]) -> list[e.Effect]:
    """What the policies do about the accounts that have moved. Changes nothing."""
    pipeline = engine.pipeline
    asked = pipeline.revalued(engine.now_ns, engine.accounts.group_of)
    if not asked.failed and not engine.failing:
        return list(asked.effects)
    after = _with(engine, asked.failed, At.MARKS, moved)
    if engine.valuation.unrealised.is_all_moved:  # who was asked about less than all may have passed over the rest
        for key, failure in list(after.items()):
            if failure.at is At.MARKS and failure.policy not in asked.failed:
                del after[key]
    return [*asked.effects, *_settled(engine, after)]


def ask_again(engine: Engine) -> None:
    """Asks those that have failed once more, and has what they say carried out."""
    for failure in engine.failing.all():
        for effect in day_again(engine, failure):
            engine.emit(effect)
    move_all(engine)
    engine.revalue()


def move_all(engine: Engine) -> None:
    """Has everything looked at again by who looks at marks, where one of them has failed."""
    if any(failure.at is At.MARKS for failure in engine.failing.all()):
        engine.valuation.unrealised.move_all(engine.failing.names(At.MARKS))


def day_again(engine: Engine, failure: Failure) -> list[e.Effect]:
    """What a policy that failed when a day began has to say to it by now. Changes nothing."""
    if failure.at is not At.DAY:
        return []
    asked = engine.pipeline.day_began(engine.days.is_new(failure.names), only=failure.policy)
    if asked.failed:
        return []
    after = {key: each for key, each in _now(engine).items() if each is not failure}
    return [*_lifting(engine, asked.effects), *_settled(engine, after)]


def follow_up(engine: Engine) -> None:
    """Has the blocks be those of the limits in force: settings may have changed, or the policy be gone."""
    after = {key: each for key, each in _now(engine).items() if engine.pipeline.asks(each.policy, each.at is At.DAY)}
    for effect in _settled(engine, after):
        engine.emit(effect)


def mend(limits: Sequence[str]) -> str:
    """What a person does about blocks that are not a person's to lift."""
    if not all(map(is_one, limits)):
        return "rearm that limit"
    return "it goes once the policy answers; to trade on without it, take it out of the configuration"


def is_one(limit: str) -> bool:
    """Whether that stands for the limit in a block of a policy that has failed."""
    return limit.startswith(PREFIX)


_Failures = dict[tuple[str, At], Failure]


def _now(engine: Engine) -> _Failures:
    return {(each.policy, each.at): each for each in engine.failing.all()}


def _with(engine: Engine, failed: Mapping[str, str], at: At, names: Iterable[str]) -> _Failures:
    """Those that fail once these have as well; the first reason stands."""
    after = _now(engine)
    for id, why in failed.items():
        before = after.get((id, at))
        known = () if before is None else before.names
        told = tuple(sorted({*known, *names}))
        after[id, at] = Failure(id, at, why if before is None else before.why, told)
    return after


def _settled(engine: Engine, after: _Failures) -> list[e.Effect]:
    """What has to change for these to be the ones that fail, and for the blocks to be theirs."""
    now, effects = _now(engine), list[e.Effect]()
    if not now and not after:
        return effects
    for key, failure in after.items():
        if now.get(key) != failure:
            effects.append(e.PolicyFailed(failure.policy, failure.at, failure.why, failure.names, key not in now))
    effects += [e.PolicyRecovered(failure.policy, failure.at) for key, failure in now.items() if key not in after]
    live: dict[tuple[str, str], Block] = {}
    shadow: dict[tuple[str, str], Block] = {}
    for failure in after.values():
        of = shadow if failure.policy in engine.pipeline.shadows else live
        for scope in _reach(engine.policies[failure.policy], engine.pipeline.shadows):
            block = _block(failure, scope)
            of.setdefault((scope, block.limit), block)
    there = {(block.scope, block.limit): block for block in engine.accounts.blocks() if is_one(block.limit)}
    told = {(block.scope, block.limit): block for block in engine.accounts.shadow_blocks() if is_one(block.limit)}
    effects += [e.Unblocked(*key) for key in there if key not in live]
    effects += [e.ShadowUnblocked(*key) for key in told if key not in shadow]
    effects += [e.Blocked(block) for key, block in live.items() if there.get(key) != block]
    effects += [e.ShadowBlocked(block) for key, block in shadow.items() if told.get(key) != block]
    return effects


def _lifting(engine: Engine, effects: Iterable[e.Effect]) -> Iterable[e.Effect]:
    """Without what would lift a block that is not there: a limit that is a shadow has blocked nobody."""
    accounts = engine.accounts
    return (
        each for each in effects if type(each) is not e.Unblocked or accounts.block(each.scope, each.limit) is not None
    )


def _block(failure: Failure, scope: str) -> Block:
    why = (
        f"{failure.policy} failed when {failure.at} ({failure.why}): nobody knows whether its limits hold, so only "
        "what reduces a position passes until it answers; it is asked again with every entry"
    )
    return Block(
        scope=scope,
        code=RejectCode.SYSTEM_UNAVAILABLE,
        limit=f"{PREFIX}{failure.policy}",
        reason=why,
        author=failure.policy,
        state=TradingState.REDUCING,
    )


def _reach(policy: Policy, shadows: frozenset[str]) -> tuple[str, ...]:
    """The scopes that hold whoever its live limits may be for: narrow where each of them names some, else the firm."""
    if policy.is_idle:
        return ()
    limits: Sequence[Limit] = getattr(getattr(policy, "_limits", None), "limits", ())
    if not limits:
        return (FIRM,)
    all_are_shadows = policy.id in shadows
    scopes: dict[str, None] = {}
    for limit in limits:
        if all_are_shadows or limit.name not in shadows:
            scopes.update(dict.fromkeys(_scopes_of(limit)))
    return (FIRM,) if FIRM in scopes or len(scopes) > _SCOPES_MOST else tuple(scopes)


def _scopes_of(limit: Limit) -> Iterable[str]:
    only = limit.only
    if only.accounts is not None:
        return map(account_scope, sorted(only.accounts))
    if isinstance(limit.over, Group):
        return (group_scope(limit.over.group),)
    if only.groups is not None:
        return map(group_scope, sorted(only.groups))
    if only.clients is not None:
        return map(client_scope, sorted(only.clients))
    return (FIRM,)


__all__ = [
    "PREFIX",
    "At",
    "Failing",
    "Failure",
    "ask_again",
    "day_again",
    "day_began",
    "follow_up",
    "is_one",
    "mend",
    "revalued",
]
