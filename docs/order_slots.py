"""order_slots: how many places an account's open orders take. A large order takes several.

    [policies.order_slots]
    file = "order_slots.py"
    settings = { large = "100", large_takes = 3 }

    [limits]
    slots = { control = "order_slots", each = "account", max_slots = 5 }

| max_slots 5, large 100, large_takes 3 | slots | result |
|---|---|---|
| buy 10, then buy 100 | 1, then 3 more | pass, pass |
| then sell 200 | 3 more would be 7 | RiskLimitExceeded |
| 50 of the 100 fill | 50 are small: 1 | 2 are taken |
| then sell 200 | 3 more are 5 | pass |
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from pitd.policy import Attempt, Counter, Limit, LimitSet, Listed, Look, Order, Policy, RejectCode, Verdict


class Settings(msgspec.Struct, frozen=True):
    """[policies.order_slots.settings]"""

    large: Decimal
    """An order for so many units, or more, is large."""
    large_takes: int = 2

    def __post_init__(self) -> None:
        if self.large <= 0 or self.large_takes < 1:
            raise ValueError("large is above zero, and large_takes one or more")


class Slots(Limit, frozen=True, kw_only=True):
    """A limit under [limits], beside what every limit has: a name, each or over, and whom it is for."""

    max_slots: int


class Taken(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The slots of one open order: of which limit, for which scope."""

    limit: str
    scope: str
    slots: int


class OrderSlots(Policy):
    """Refuses the order for which there are too few slots left."""

    id = "order_slots"
    settings_type = Settings
    limit_type = Slots
    effect_types = (Taken,)

    def __init__(self, settings: Settings, limits: LimitSet[Slots]) -> None:
        self._settings = settings
        self._limits = limits
        self._taken: dict[tuple[str, str], int] = {}

    def main(self, attempt: Attempt) -> Verdict:
        effects, rejects = [], []
        slots = self._slots(attempt.units())  # raises Unvalued where nobody knows how many: the engine says no
        for limit in self._limits.matching(attempt):
            scope = limit.scope_of(attempt)
            taken = self._taken.get((limit.name, scope), 0)  # never reads an entry into existence
            if taken + slots > limit.max_slots and not attempt.reduces:
                why = f"it takes {slots} slots, {taken} of {limit.max_slots} are taken"
                code, most, used, wanted = RejectCode.RISK_LIMIT_EXCEEDED, limit.max_slots, taken, slots
                no = self._limits.reject(limit, attempt, code, why, Decimal(most), Decimal(wanted), used=Decimal(used))
                rejects.append(no)
            effects.append(Taken(limit.name, scope, slots))
        return Verdict(tuple(effects), tuple(rejects))

    def shrink(self, hold: Any, order: Order, listed: Listed, open_quantity: Decimal) -> Any:
        if order.quantity is None:
            return hold  # a volume order keeps its slots until it ends
        return Taken(hold.limit, hold.scope, self._slots(open_quantity))

    def apply(self, effect: Taken) -> None:
        key = (effect.limit, effect.scope)
        self._taken[key] = self._taken.get(key, 0) + effect.slots

    def undo(self, effect: Taken) -> None:
        key = (effect.limit, effect.scope)
        left = self._taken.pop(key) - effect.slots  # by the same delta, never back to a remembered number
        if left:
            self._taken[key] = left  # no zero entries: one form for each state

    def save(self) -> Any:
        return [[*key, slots] for key, slots in sorted(self._taken.items())]

    def load(self, saved: Any) -> None:
        self._taken = {(limit, scope): slots for limit, scope, slots in saved}

    def counters(self, limit: str, look: Look) -> Sequence[Counter]:
        """What `pitctl limits` shows."""
        bound = Decimal(self._limits.by_name[limit].max_slots)
        taken = {scope: slots for (name, scope), slots in self._taken.items() if name == limit}
        return [
            Counter(scope=scope, what="slots", bound=bound, used=Decimal(taken[scope])) for scope in look.page(taken)
        ]

    def _slots(self, quantity: Decimal) -> int:
        return self._settings.large_takes if quantity >= self._settings.large else 1
