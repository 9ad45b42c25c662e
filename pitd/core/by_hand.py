"""What a person decides: each with a reason, which is recorded with the name."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from pit.types import Block, RejectCode, Restriction, TradingState

from . import entry as e
from . import failing, named, shadows, trading
from .accounts import OPERATOR
from .entry import EndedBy, Failed, Failure
from .numbers import NotRepresentable
from .orders import ENDED, Event, step, why_not
from .sessions import Session

if TYPE_CHECKING:
    from .engine import Engine


class ByHand:
    """What operators do: blocks, halts, latches, and orders that only a person can settle."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def block(self, command: e.BlockScope, session: Session) -> e.Reply:
        engine = self._engine
        problem = (
            named.bad_scope(command.scope) or named.nobody_in(engine, command.scope) or named.bad_reason(command.reason)
        )
        if problem:
            return Failed(Failure.INVALID_INPUT, problem)
        block = Block(
            scope=command.scope,
            code=RejectCode.ACCOUNT_BLOCKED,
            limit=OPERATOR,
            reason=command.reason,
            author=session.client,
        )
        engine.emit(e.Blocked(block))
        return e.Done(1)

    def unblock(self, command: e.UnblockScope, session: Session) -> e.Reply:
        engine = self._engine
        problem = named.bad_scope(command.scope) or named.bad_reason(command.reason)
        if problem:
            return Failed(Failure.INVALID_INPUT, problem)
        wanted = self.unblock_effects(command.scope)
        if not wanted:
            others = [block.limit for block in engine.accounts.blocks() if block.scope == command.scope]
            hint = f"; it is held by {', '.join(others)}: {failing.mend(others)}" if others else ""
            return Failed(Failure.UNKNOWN_ID, f"no operator has blocked {command.scope}{hint}")
        for effect in wanted:
            engine.emit(effect)
        return e.Done(sum(type(effect) in (e.Unblocked, e.ShadowUnblocked) for effect in wanted))

    def unblock_effects(self, scope: str) -> list[e.Effect]:
        """What a person lifts by unblocking a scope; nothing where nothing is a person's to lift. Changes nothing."""
        engine = self._engine
        wanted: list[e.Effect] = []
        for block in engine.accounts.blocks():
            owner = engine.pipeline.owner_of(block.limit)  # none for a person's own, and for a limit that is no more
            if block.scope != scope or failing.is_one(block.limit) or not (owner is None or owner.lifts_by_hand):
                continue
            wanted.append(e.Unblocked(scope, block.limit))
            policy = engine.policies.get(block.author)
            if policy is not None:  # else its latch would stay behind, and the limit never trip again if it came back
                wanted += engine.pipeline.as_effects(policy, policy.lift(block.limit, scope).effects)
        return [*wanted, *shadows.unblock_effects(engine, scope)]

    def set_trading_state(self, command: e.SetTradingState, session: Session) -> e.Reply:
        engine = self._engine
        scope, is_stop = command.scope, command.state is not TradingState.ACTIVE
        problem = trading.bad_scope(scope) or named.bad_reason(command.reason)
        if not problem and is_stop:  # what is halted may always be let go, whatever the configuration knows by now
            problem = named.nobody_in(engine, scope) or named.nothing_named(engine, scope)
        if problem:
            return Failed(Failure.INVALID_INPUT, problem)
        before = engine.trading.of(scope)
        if before is None and not is_stop:
            others = ", ".join(each.scope for each in engine.trading.restrictions()[:5])
            return Failed(Failure.UNKNOWN_ID, f"{scope} is not halted or reducing; what is: {others or 'nothing'}")
        if before is None and len(engine.trading) >= engine.bounds.restrictions:
            return Failed(
                Failure.CAPACITY_EXCEEDED,
                f"{len(engine.trading)} scopes are halted or reducing: halt the firm instead",
            )
        restriction = Restriction(scope=scope, state=command.state, author=session.client, reason=command.reason)
        engine.emit(e.TradingStateSet(restriction))
        return e.Done(1)

    def rearm(self, command: e.Rearm, session: Session) -> e.Reply:
        problem = named.bad_scope(command.scope) or named.bad_reason(command.reason)
        if problem:
            return Failed(Failure.INVALID_INPUT, problem)
        wanted = self.rearm_effects(command.limit, command.scope, command.room)
        if isinstance(wanted, Failed):
            return wanted
        for effect in wanted:
            self._engine.emit(effect)
        return e.Done(1)

    def rearm_effects(self, limit: str, scope: str, room: Decimal) -> list[e.Effect] | Failed:
        """What rearming a limit would do, or why it can't be. Changes nothing."""
        engine = self._engine
        policy = engine.pipeline.owner_of(limit)
        if policy is None:
            return Failed(Failure.UNKNOWN_ID, f"no limit is named {limit}")
        try:
            verdict = policy.rearm(limit, scope, room)
        except NotRepresentable:
            return Failed(Failure.INVALID_INPUT, f"rearm {limit}: a sum would be too large to be exact")
        except Exception as trouble:
            why = f"rearm {limit}: {policy.id} failed ({type(trouble).__name__}); nothing changed"
            return Failed(Failure.SYSTEM_UNAVAILABLE, why)
        if verdict.rejects:
            return Failed(Failure.INVALID_INPUT, verdict.rejects[0].reason)
        effects = engine.pipeline.as_effects(policy, verdict.effects)
        if engine.accounts.block(scope, limit) is not None:
            effects.append(e.Unblocked(scope, limit))
        if engine.accounts.shadow_block(scope, limit) is not None:
            effects.append(e.ShadowUnblocked(scope, limit))
        return effects

    def settle_order(self, command: e.SettleOrder, session: Session) -> e.Reply:
        event = Event.SETTLE_WORKING if command.working else Event.SETTLE_NOT_SENT
        return self._by_person(command.account, command.order_id, command.reason, event, session)

    def close_order(self, command: e.CloseOrder, session: Session) -> e.Reply:
        return self._by_person(command.account, command.order_id, command.reason, Event.CLOSE, session)

    def _by_person(self, account: str, order_id: str, reason: str, event: Event, session: Session) -> e.Reply:
        engine = self._engine
        problem = named.bad_reason(reason)
        if problem:
            return Failed(Failure.INVALID_INPUT, problem)
        record = engine.orders.known_as(account, order_id)
        if record is None:
            return Failed(Failure.UNKNOWN_ID, f"no order {order_id} of account {account} is known")
        if event is Event.SETTLE_NOT_SENT and record.filled_quantity:
            traded = f"{record.filled_quantity:f}"
            why = f"order {order_id} has traded {traded}, so it was sent; settle it as working, or close it"
            return Failed(Failure.ALREADY_FINALIZED, why)
        engine.lapse_if_due(record)
        does = step(event, record)
        if does.refuse is not None:
            return Failed(does.refuse, why_not(event, record))
        if does.to is not None and does.to is not record.state:
            ended_by = EndedBy.OPERATOR if does.to in ENDED else None
            if does.to in ENDED:
                engine.modifies.order_ends(record)
            engine.emit(e.OrderMoved(record.reservation_id, does.to, ended_by, f"{session.client}: {reason}"))
        return e.Stands(record.state)

    def accept_history(self, command: e.AcceptHistory, session: Session) -> e.Reply:
        engine = self._engine
        problem = named.bad_reason(command.reason)
        if problem:
            return Failed(Failure.INVALID_INPUT, problem)
        if not engine.disputed_seq:
            return Failed(Failure.UNKNOWN_ID, "no client knows more than this history: there is nothing to accept")
        engine.emit(e.HistoryAccepted(engine.disputed_seq))
        return e.Done(1)
