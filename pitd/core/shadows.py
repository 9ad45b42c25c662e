"""Shadow limits: what they would have stopped is remembered, and comes into force when they go live."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pit.types import TradingState

from . import entry as e
from .accounts import Accounts, reject_of
from .failing import is_one
from .policy import Attempt

if TYPE_CHECKING:
    from .engine import Engine


def note_blocks(accounts: Accounts, attempt: Attempt) -> None:
    """Notes on an attempt what shadow limits that have tripped before would refuse it for."""
    for block in accounts.shadow_blocks_on(attempt.order.account, attempt.client):
        if block.state is not TradingState.REDUCING or not attempt.reduces:
            attempt.shadow_rejects += (reject_of(block),)


def settled(engine: Engine) -> list[e.Effect]:
    """What becomes of blocks once limits have gone into shadow or out of it. Changes nothing.

    What a limit has blocked is lifted when it becomes a shadow, and remembered; when it goes live again the block comes
    into force, as the limit had tripped. Of a limit that is no longer configured nothing is left of what it would have
    done.
    """
    accounts, pipeline = engine.accounts, engine.pipeline
    effects: list[e.Effect] = []
    for block in accounts.blocks():
        if block.limit in pipeline.shadows and pipeline.owner_of(block.limit) is not None:
            effects += [e.Unblocked(block.scope, block.limit), e.ShadowBlocked(block)]
    for block in accounts.shadow_blocks():
        if block.limit in pipeline.shadows or is_one(block.limit):
            continue
        effects.append(e.ShadowUnblocked(block.scope, block.limit))
        policy = engine.policies.get(block.author)
        if pipeline.owner_of(block.limit) is not None:
            effects.append(e.Blocked(block))
        elif policy is not None:
            effects += pipeline.as_effects(policy, policy.lift(block.limit, block.scope).effects)
    return effects


def unblock_effects(engine: Engine, scope: str) -> list[e.Effect]:
    """What a person forgets of shadows by unblocking a scope: what is lifted by hand once it is live."""
    effects: list[e.Effect] = []
    for block in engine.accounts.shadow_blocks():
        policy = engine.pipeline.owner_of(block.limit)
        if block.scope == scope and policy is not None and policy.lifts_by_hand:
            effects.append(e.ShadowUnblocked(scope, block.limit))
            effects += engine.pipeline.as_effects(policy, policy.lift(block.limit, scope).effects)
    return effects
