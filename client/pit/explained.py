"""What is answered to who asks what would be said to an order, and why."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

from .types import Reject


class DryRun(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """An order would have been taken: truthy, where a `Rejected` is falsy. Nothing was taken, held or counted.

    `replayed`: this very order is open already, and the answer would be the same again. `shadow_rejects` is what shadow
    limits would have refused it for.
    """

    order_id: str
    replayed: bool = False
    shadow_rejects: tuple[Reject, ...] = ()

    def __bool__(self) -> Literal[True]:
        return True

    @property
    def ok(self) -> Literal[True]:
        return True

    def __str__(self) -> str:
        told = f"order {self.order_id} would be taken"
        return told if not self.shadow_rejects else f"{told}; in shadow: {'; '.join(map(str, self.shadow_rejects))}"


class LimitUse(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """One number of a limit: what it counts (`what`), its bound, and what is used and left of it. `used` and
    `remaining` are None where nothing is counted: the bound is for every single order. Below zero, `remaining` says how
    far above its bound it stands.
    """

    what: str
    bound: Decimal
    used: Decimal | None = None
    remaining: Decimal | None = None
    is_tripped: bool = False


class LimitUser(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """What the open orders of a client in an account use of a limit; some of their ids, the largest first.

    `client` and `account` are "" for all others together: those of whom there are too many, or that the one who asks
    may not see.
    """

    client: str
    account: str
    orders: int
    amount: Decimal
    order_ids: tuple[str, ...] = ()


class LimitExplained(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """What one limit says to an order. `scope` is whom it counts the order for; `rejects` are its noes, none where it
    passes.

    `requested` is what the order would add to what is counted, where that is known. `largest` is the largest size in
    the order's own terms (units, or for a volume order an amount of the settlement asset) that this limit would let
    pass: zero for none, None where it sets no bound to it. `users`: whose open orders use what is used, the most first.
    """

    limit: str
    control: str
    scope: str
    is_shadow: bool = False
    rejects: tuple[Reject, ...] = ()
    uses: tuple[LimitUse, ...] = ()
    requested: Decimal | None = None
    largest: Decimal | None = None
    users: tuple[LimitUser, ...] = ()

    @property
    def passes(self) -> bool:
        return not self.rejects


class Explanation(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """What would be said to an order, limit by limit. Nothing was taken, held or counted.

    `rejects` are all of both stages, blocks and halts among them; none: it would be taken. `limits` are those that it
    comes under, in the order of the configuration. `largest` is the largest size that would pass all of them: zero for
    none, None where nothing bounds it. `open_orders` are open altogether, and `looked_at` of them, the latest, were
    looked at for who uses what.
    """

    order_id: str
    rejects: tuple[Reject, ...]
    shadow_rejects: tuple[Reject, ...]
    limits: tuple[LimitExplained, ...]
    largest: Decimal | None
    unit: str
    looked_at: int
    open_orders: int

    @property
    def passes(self) -> bool:
        return not self.rejects

    def __str__(self) -> str:
        if self.passes:
            verdict = f"order {self.order_id} would be taken"
        else:
            verdict = "; ".join([f"order {self.order_id} would be refused", *map(str, self.rejects)])
        most = "any size would pass" if self.largest is None else f"at most {self.largest:f} {self.unit} would pass"
        return f"{verdict}; {most}"


__all__ = ["DryRun", "Explanation", "LimitExplained", "LimitUse", "LimitUser"]
