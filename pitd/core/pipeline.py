"""The two stages: asks every policy of a stage, gathers what they want, and turns a policy's trouble into a no."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from pit.types import Block, Order, Reject, RejectCode

from .days import IsNew
from .entry import Blocked, Effect, Hold, PolicyChanged, ShadowBlocked, Unblocked
from .instruments import Listed
from .numbers import NotRepresentable
from .policy import PASS, Asks, Attempt, Lift, Policy, Reported, Unvalued, Verdict


class Asked(NamedTuple):
    """What policies want that nobody asks about an order, and those that failed: why, by their ids."""

    effects: tuple[Effect, ...]
    failed: dict[str, str]


class Pipeline:
    """The policies, sorted once by what they take part in."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        awake = [policy for policy in policies if not policy.is_idle]
        self._start = [(policy, policy.start) for policy in awake if type(policy).start is not Policy.start]
        self._start_unlisted = [(policy, start) for policy, start in self._start if not policy.needs_instrument]
        self._main = [(policy, policy.main) for policy in awake if type(policy).main is not Policy.main]
        self._cancel = [policy for policy in awake if type(policy).cancel is not Policy.cancel]
        self._report = [policy for policy in policies if type(policy).report is not Policy.report]
        self._day = [policy for policy in policies if type(policy).day_began is not Policy.day_began]
        self.asks_for_quotes = max((policy.asks_for_quotes for policy in awake), default=Asks.NEVER)
        self.asks_for_balances = any(policy.asks_for_balances for policy in awake)
        self.asks_for_books = frozenset[str]().union(*(policy.asks_for_books for policy in awake))
        self._revalued = [policy for policy in awake if policy.asks_for_unrealised]
        self.asks_by_account = any(policy.asks_by_account for policy in self._revalued)
        self.several = {limit: is_one for policy in self._revalued for limit, is_one in policy.several.items()}
        self.asks_for_rates = any(policy.asks_for_rates for policy in awake)
        self.counts_on = frozenset(policy.id for policy in policies if type(policy).close is not Policy.close)
        """The policies for which an order that was in the market may count on when it is over."""
        self._by_id = {policy.id: policy for policy in policies}
        self._owner = {limit: policy for policy in policies for limit in policy.limit_names}
        names = [name for policy in policies for name in (*policy.limit_names, policy.id)]
        self._rank = {name: place for place, name in enumerate(names)}
        self.shadows: frozenset[str] = frozenset()
        """The limits that refuse nothing, and the controls that have no others."""

    def rank_limits(self, names: Sequence[str]) -> None:
        """Takes the order in which rejects are returned: that of the limits in the configuration."""
        known = len(self._rank)
        for place, name in enumerate(names):
            self._rank[name] = known + place

    def shadow(self, limits: frozenset[str]) -> None:
        """Takes those limits for shadows: what they refuse is told, and stops nobody."""
        of = {id: policy.limit_names for id, policy in self._by_id.items()}
        self.shadows = limits.union(id for id, names in of.items() if names and limits.issuperset(names))

    def rank_of(self, limit: str) -> int:
        """Where its rejects stand among all."""
        return self._rank.get(limit, -1)

    def owner_of(self, limit: str) -> Policy | None:
        return self._owner.get(limit)

    def start(self, attempt: Attempt, is_listed: bool) -> tuple[Sequence[Effect], tuple[Reject, ...]]:
        """The effects of the start stage (to be carried out even when there are rejects) and its rejects."""
        effects: list[Effect] | None = None
        rejects: list[Reject] | None = None
        for policy, start in self._start if is_listed else self._start_unlisted:
            try:
                verdict = start(attempt)
            except Exception as trouble:
                verdict = _no(policy, attempt, trouble)
            if verdict is PASS:
                continue
            if verdict.effects:
                wanted = [self._as_effect(policy, effect) for effect in verdict.effects]
                effects = wanted if effects is None else effects + wanted
            if verdict.rejects:
                rejects = [*verdict.rejects] if rejects is None else [*rejects, *verdict.rejects]
        if rejects and self.shadows:
            rejects = self._without_shadows(rejects, attempt)
        return effects or (), self.in_order(rejects) if rejects else ()

    def main(self, attempt: Attempt) -> tuple[tuple[Hold, ...], tuple[Reject, ...]]:
        """What the order would hold, and the rejects: where there is one, nothing is held."""
        holds: list[Hold] = []
        rejects: list[Reject] = []
        for policy, main in self._main:
            try:
                verdict = main(attempt)
            except Exception as trouble:
                verdict = _no(policy, attempt, trouble)
            if verdict.rejects:
                rejects.extend(verdict.rejects)
            for effect in verdict.effects:
                holds.append(Hold(policy.id, effect))
        if rejects and self.shadows:
            rejects = self._without_shadows(rejects, attempt)
        return tuple(holds), self.in_order(rejects) if rejects else ()

    def main_of_modify(self, attempt: Attempt, before: Attempt) -> tuple[tuple[Hold, ...], tuple[Reject, ...]]:
        """What a modified order would hold, and the rejects; `before` is the order as it is. A limit that would refuse
        that for as much or more refuses nothing.
        """
        holds: list[Hold] = []
        rejects: list[Reject] = []
        for policy, main in self._main:
            verdict = _asked(policy, main, attempt)
            effects = verdict.effects
            if verdict.rejects:
                stand = self._no_step_down(verdict.rejects, _asked(policy, main, before).rejects, attempt, before)
                rejects.extend(stand)
                if not effects and self.shadows.issuperset(reject.limit for reject in stand):
                    effects = attempt.held_before(policy.id)
            holds.extend(Hold(policy.id, effect) for effect in effects)
        if rejects and self.shadows:
            rejects = self._without_shadows(rejects, attempt)
        return tuple(holds), self.in_order(rejects)

    def start_of_modify(
        self, attempt: Attempt, before: Attempt, is_listed: bool
    ) -> tuple[Sequence[Effect], tuple[Reject, ...]]:
        """The start stage of a modify: its effects, and the rejects that are no step down."""
        effects, rejects = self.start(attempt, is_listed)
        noted = attempt.shadow_rejects
        if any(reject.code in _OF_AMOUNTS for reject in (*rejects, *noted)):
            rejects_before = self.start(before, is_listed)[1]
            rejects = self._no_step_down(rejects, rejects_before, attempt, before)
            attempt.shadow_rejects = self._no_step_down(noted, before.shadow_rejects, attempt, before)
        return effects, rejects

    def _no_step_down(
        self, rejects: Sequence[Reject], rejects_before: Sequence[Reject], attempt: Attempt, before: Attempt
    ) -> tuple[Reject, ...]:
        """The rejects of a modify without those of a limit that would refuse the order as it is for as much or more."""
        was = {(each.limit, each.scope): each for each in rejects_before if each.code in _OF_AMOUNTS}
        stand: list[Reject] = []
        for reject in rejects:
            other = was.get((reject.limit, reject.scope)) if reject.code in _OF_AMOUNTS else None
            policy = self._by_id.get(reject.policy)
            if other is None or policy is None or not policy.is_step_down(reject, other, attempt, before):
                stand.append(reject)
        return tuple(stand)

    def cancel(self, attempt: Attempt) -> tuple[Sequence[Effect], tuple[Reject, ...]]:
        """What policies say to a cancel: effects to be carried out in any case, and rejects."""
        effects: list[Effect] = []
        rejects: list[Reject] = []
        for policy in self._cancel:
            verdict = _asked(policy, policy.cancel, attempt)
            effects.extend(self.as_effects(policy, verdict.effects))
            rejects.extend(verdict.rejects)
        if rejects and self.shadows:
            rejects = self._without_shadows(rejects, attempt)
        return effects, self.in_order(rejects)

    def hold_replaced(self, attempt: Attempt) -> tuple[Hold, ...]:
        """What an order holds that the venue has replaced by itself: no limit can refuse it any more."""
        holds: list[Hold] = []
        for policy, main in self._main:
            effects = _asked(policy, main, attempt).effects or attempt.held_before(policy.id)
            holds.extend(Hold(policy.id, effect) for effect in effects)
        return tuple(holds)

    def worse(self, old: tuple[Hold, ...], new: tuple[Hold, ...]) -> tuple[Hold, ...]:
        """What an order holds by each policy while a modify of it is not answered."""
        holds: list[Hold] = []
        for id in dict.fromkeys(hold.policy for hold in (*old, *new)):
            held, wanted = (tuple(hold.effect for hold in side if hold.policy == id) for side in (old, new))
            holds.extend(Hold(id, effect) for effect in self._by_id[id].worse(held, wanted))
        return tuple(holds)

    def shrink(
        self, holds: tuple[Hold, ...], order: Order, listed: Listed, open_quantity: Decimal
    ) -> tuple[Hold, ...] | None:
        """What the holds come down to; None when a policy failed. Raises where a sum is not exact."""
        try:
            return tuple(
                Hold(hold.policy, self._by_id[hold.policy].shrink(hold.effect, order, listed, open_quantity))
                for hold in holds
            )
        except (NotRepresentable, Unvalued):
            raise
        except Exception:
            return None

    def shrink_what_counts_on(
        self, holds: tuple[Hold, ...], order: Order, listed: Listed, open_quantity: Decimal
    ) -> tuple[Hold, ...] | None:
        """The same of those alone that were kept as they were when the order ended."""
        kept = self.shrink(tuple(hold for hold in holds if hold.policy in self.counts_on), order, listed, open_quantity)
        if kept is None:
            return None
        return (*(hold for hold in holds if hold.policy not in self.counts_on), *kept)

    def rehold(self, holds: tuple[Hold, ...], attempt: Attempt, open_quantity: Decimal) -> tuple[Hold, ...]:
        """What an open order holds under the limits in force now. A policy that can't say keeps what it holds."""
        anew: list[Hold] = []
        for policy in self._by_id.values():
            own = tuple(hold.effect for hold in holds if hold.policy == policy.id)
            try:
                own = policy.rehold(own, attempt, open_quantity)
            except Exception as trouble:
                if not isinstance(trouble, (NotRepresentable, Unvalued)):
                    raise
            anew.extend(Hold(policy.id, effect) for effect in own)
        return tuple(anew)

    def report(self, reported: Reported) -> tuple[Effect, ...] | None:
        """What the policies do about a report; None when one of them failed. Raises where a sum is not exact."""
        wanted: list[Effect] = []
        for policy in self._report:
            try:
                verdict = policy.report(reported)
            except NotRepresentable:
                raise
            except Exception:
                return None
            wanted.extend(self.as_effects(policy, verdict.effects))
        return tuple(wanted)

    def day_began(self, is_new: IsNew, only: str | None = None) -> Asked:
        """What the policies, or only that one, do about a new day."""
        asked = [policy for policy in self._day if only is None or policy.id == only]
        return self._told(asked, lambda policy: policy.day_began(is_new))

    def _without_shadows(self, rejects: Sequence[Reject], attempt: Attempt) -> list[Reject]:
        """The rejects that stand; what shadows say is noted on the attempt."""
        noted = [reject for reject in rejects if reject.limit in self.shadows]
        if noted:
            attempt.shadow_rejects += self.in_order(noted)
        return [reject for reject in rejects if reject.limit not in self.shadows]

    @property
    def asks_for_unrealised(self) -> bool:
        return bool(self._revalued)

    def revalued(self, now_ns: int, group_of: Callable[[str], str | None]) -> Asked:
        """What the policies do about other marks or positions."""
        return self._told(self._revalued, lambda policy: policy.revalued(now_ns, group_of))

    def rated_accounts(self) -> Iterable[str]:
        """The accounts whose P&L rates may move, beside those that hold something."""
        return (name for policy in self._revalued if policy.asks_for_rates for name in policy.accounts_with_pnl())

    def asks(self, id: str, about_days: bool) -> bool:
        """Whether that policy is still asked about new days, or else about marks."""
        return any(policy.id == id for policy in (self._day if about_days else self._revalued))

    def _told(self, policies: Sequence[Policy], ask: Callable[[Policy], Verdict]) -> Asked:
        wanted: list[Effect] = []
        failed: dict[str, str] = {}
        for policy in policies:
            try:
                wanted.extend(self.as_effects(policy, ask(policy).effects))
            except Exception as trouble:
                failed[policy.id] = type(trouble).__name__
        return Asked(tuple(wanted), failed)

    def as_effects(self, policy: Policy, effects: Iterable[Any]) -> list[Effect]:
        return [self._as_effect(policy, effect) for effect in effects]

    def _as_effect(self, policy: Policy, effect: Any) -> Effect:
        if type(effect) is Block:
            return ShadowBlocked(effect) if effect.limit in self.shadows else Blocked(effect)
        if type(effect) is Lift:
            return Unblocked(effect.scope, effect.limit)
        return PolicyChanged(policy.id, effect)

    def in_order(self, rejects: Sequence[Reject]) -> tuple[Reject, ...]:
        """Rejects in the order of the configuration; a person's block stands first."""
        if len(rejects) < 2:
            return tuple(rejects)
        return tuple(sorted(rejects, key=lambda reject: self.rank_of(reject.limit)))


_OF_AMOUNTS = frozenset(
    {
        RejectCode.ORDER_QTY_EXCEEDS_LIMIT,
        RejectCode.ORDER_NOTIONAL_EXCEEDS_LIMIT,
        RejectCode.ORDER_EXCEEDS_LIMIT,
        RejectCode.RISK_LIMIT_EXCEEDED,
        RejectCode.POSITION_LIMIT_EXCEEDED,
        RejectCode.CONCENTRATION_LIMIT_EXCEEDED,
        RejectCode.INSUFFICIENT_FUNDS,
        RejectCode.INSUFFICIENT_POSITION,
    }
)
"""Rejects whose `requested` says how much the order would add."""


def _asked(policy: Policy, decide: Callable[[Attempt], Verdict], attempt: Attempt) -> Verdict:
    try:
        return decide(attempt)
    except Exception as trouble:
        return _no(policy, attempt, trouble)


def _no(policy: Policy, attempt: Attempt, trouble: Exception) -> Verdict:
    """A policy that cannot decide says no."""
    return Verdict(rejects=(refusal_of(policy, attempt, trouble),))


def refusal_of(policy: Policy, attempt: Attempt, trouble: Exception) -> Reject:
    """What an order is refused with, that a policy cannot decide on."""
    if isinstance(trouble, Unvalued):
        code, reason = trouble.code, str(trouble)
    elif isinstance(trouble, NotRepresentable):
        code, reason = RejectCode.ARITHMETIC_OVERFLOW, "a sum would be too large to be exact"
    else:
        code, reason = RejectCode.SYSTEM_UNAVAILABLE, f"{policy.id} failed ({type(trouble).__name__})"
    scope = f"account {attempt.order.account}"
    return Reject(code=code, policy=policy.id, limit=policy.id, scope=scope, reason=reason)
