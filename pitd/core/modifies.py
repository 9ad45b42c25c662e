"""Modifies: a working order is to have other terms. What is counted until the venue answers, and what becomes of it."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from pit.types import ExecutionReport, Order, OrderState, Reject, Rejected, TradingState

from . import entry as e
from . import shadows, trading
from .accounts import reject_of
from .entry import EndedBy, Failed, Failure, Hold
from .numbers import ZERO
from .orders import (
    CLOSED,
    ENDED,
    HELD,
    LEASED,
    QUARANTINED,
    ROLLED_BACK,
    SENT,
    WORKING,
    Event,
    Modify,
    OrderRecord,
    modify_step,
)
from .policy import Attempt, whole_quantity
from .sessions import Session

if TYPE_CHECKING:
    from .engine import Engine

OTHERWISE = "replaced_otherwise"
"""Flags an order that the venue has replaced by other terms than were asked for, or without being asked."""


class Shrunk(NamedTuple):
    """What a fill leaves of an order that is being modified."""

    holds: tuple[Hold, ...]
    effect: e.ModifyHolds


class Replacement(NamedTuple):
    """The terms that a venue's report comes to."""

    order: Order
    open_quantity: Decimal
    holds: tuple[Hold, ...]
    flags: tuple[str, ...]


class Modifies:
    """The commands, reports and ends of leases that are about modifies, for the engine whose part it is."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    # ------------------------------------------------------------------------------------------ commands

    def modify(self, command: e.ModifyOrder, session: Session) -> e.Reply:
        """Both stages for the order as it is to be. Start-stage effects are carried out in any case."""
        engine = self._engine
        record = engine.orders.known_as(command.account, command.order_id)
        if record is None or record.order is None or record.listed is None:
            why = f"no order {command.order_id} of account {command.account} is known, or it closed long ago"
            return Failed(Failure.UNKNOWN_ID, why)
        if record.client != session.client:
            return Failed(Failure.NOT_AUTHORIZED, f"order {record.order_id} belongs to another client")
        engine.lapse_if_due(record)
        self._lapse_if_due(record)
        order = _changed(record, record.order, command)
        if isinstance(order, Failed):
            return order
        pending = record.pending
        if pending is not None and pending.order == order and pending.client == session.client:
            return self._again(record, pending, command.sent)
        problem = self._why_not(record, order, command)
        if problem is not None:
            return problem
        open_quantity = whole_quantity(order) - _traded(record, record.order)
        effects, holds, rejects, shadow_rejects = self.judge(record, order, open_quantity)
        for effect in effects:
            engine.emit(effect)
        if not rejects:  # the start stage itself may have tripped a switch
            rejects = self._stops(record, order, open_quantity)
        if rejects:
            return e.Refused(Rejected(order_id=record.order_id, rejects=rejects, shadow_rejects=shadow_rejects))
        lease_ns = engine.granted_ns(command.lease_ns)
        end_ns = engine.now_ns + lease_ns
        modify_id = engine.seq
        worse = engine.pipeline.worse(record.holds, holds)
        state = SENT if command.sent else HELD
        engine.emit(
            e.ModifyOpened(
                record.reservation_id,
                modify_id,
                order,
                session.client,
                session.id,
                state,
                lease_ns,
                end_ns,
                open_quantity,
                holds,
                worse,
            )
        )
        return e.Modified(modify_id, order, state, end_ns, False, shadow_rejects)

    def judge(
        self, record: OrderRecord, order: Order, open_quantity: Decimal
    ) -> tuple[Sequence[e.Effect], tuple[Hold, ...], tuple[Reject, ...], tuple[Reject, ...]]:
        """What both stages say to an order that is to have these terms, as if it held nothing by its old ones: effects
        of the start stage, what the main stage would hold, the rejects, and those of shadows. In the end nothing has
        changed.
        """
        engine = self._engine
        stops = self._stops(record, order, open_quantity)
        self._take_back(record)
        attempt = self._attempt(record, order, open_quantity, record.holds)
        before = self._attempt(record, record.order, record.open_quantity, record.holds)
        if engine.accounts.shadowed:
            shadows.note_blocks(engine.accounts, attempt)
        effects, rejects = engine.pipeline.start_of_modify(attempt, before, True)
        if stops:
            rejects = engine.pipeline.in_order([*stops, *rejects])
        if not rejects:
            tripped = (effect.block for effect in effects if type(effect) is e.Blocked)
            halting = (block for block in tripped if block.state is not TradingState.REDUCING or not attempt.reduces)
            rejects = tuple(map(reject_of, halting))
        holds: tuple[Hold, ...] = ()
        if not rejects:
            holds, rejects = engine.pipeline.main_of_modify(attempt, before)
        self._put_back(record)
        return effects, holds, rejects, attempt.shadow_rejects

    def _why_not(self, record: OrderRecord, order: Order, command: e.ModifyOrder) -> Failed | None:
        """Why an order can't be modified so, or None."""
        who = f"order {record.order_id}"
        if record.state in ENDED:
            return Failed(Failure.ALREADY_FINALIZED, f"modify of {who}: it has ended ({record.ended_by})")
        if record.state is not WORKING:
            hint = {
                HELD: "it was not sent: roll it back and ask for the order as it is to be",
                SENT: "it is not known to be at the venue yet: commit it first, or wait for its first report",
                QUARANTINED: "nobody knows whether it is at the venue: commit it, or have it settled, first",
            }[record.state]
            return Failed(Failure.INVALID_INPUT, f"modify of {who}, which is {record.state}: {hint}")
        pending = record.pending
        if pending is not None:
            why = (
                f"modify of {who}: modify {pending.modify_id} of it is {pending.state} and not answered; wait for the "
                "venue's answer, or roll it back if it was not sent"
            )
            return Failed(Failure.INVALID_INPUT, why)
        assert record.order is not None
        if msgspec.structs.replace(order, id=record.order.id) == record.order:
            return Failed(Failure.INVALID_INPUT, f"modify of {who}: these are the terms that it has already")
        traded = _traded(record, record.order)
        if whole_quantity(order) <= traded:
            why = f"modify of {who}: {traded:f} of it have traded; a quantity above that is wanted, or cancel the rest"
            return Failed(Failure.INVALID_INPUT, why)
        if command.new_id is not None and order.id != record.order_id:
            holder = self._engine.orders.known_as(record.account, order.id)
            was_tried = record.modify is not None and record.modify.order.id == order.id
            if holder is not None and not (holder is record and was_tried):
                return Failed(
                    Failure.INVALID_INPUT, f"modify of {who}: the id {order.id} has been used; give a new one"
                )
        return None

    def _again(self, record: OrderRecord, modify: Modify, sent: bool) -> e.Reply:
        """The same modify is asked for again while it is under way."""
        if sent and modify.state is HELD:
            stops = self._stops(record, modify.order, modify.open_quantity)
            if stops:
                return e.Refused(Rejected(order_id=record.order_id, rejects=stops))
            self._engine.emit(e.ModifyMoved(record.reservation_id, modify.modify_id, SENT))
        return e.Modified(modify.modify_id, modify.order, modify.state, modify.lease_end_ns, True)

    def on_reservation(
        self, modify_id: int, session: Session, event: Event, ended_by: EndedBy | None, reason: str, guarded: bool
    ) -> e.Reply | None:
        """What an event on its reservation does to a modify; None where no modify has that id."""
        engine = self._engine
        record = engine.orders.modified.get(modify_id)
        modify = None if record is None else record.modify
        if record is None or modify is None:
            return None
        if modify.client != session.client and event is not Event.COMMIT_LATE:
            return Failed(Failure.NOT_AUTHORIZED, f"modify {modify_id} belongs to another client")
        self._lapse_if_due(record)
        does = modify_step(event, modify)
        if does.refuse is not None:
            return Failed(does.refuse, _no_more(event, record, modify))
        if guarded and not (event is Event.MARK_SENT and modify.state is SENT):
            stops = self._stops(record, modify.order, modify.open_quantity)
            if stops:
                return e.Refused(Rejected(order_id=record.order_id, rejects=stops))
        if does.to is not None and does.to is not modify.state:
            if modify.state in ENDED and not self._revive(record, modify):
                return Failed(Failure.ALREADY_FINALIZED, _no_more(event, record, modify))
            self._move(record, modify, does.to, ended_by if does.to in ENDED else None, reason)
            if does.flag:
                self._flag(record, does.flag)
        return e.Stands(modify.state, modify.lease_end_ns if modify.state in LEASED else 0)

    def renewed(self, modify_id: int, lease_ns: int, lease_end_ns: int) -> None:
        self._engine.emit(e.ModifyLeaseSet(modify_id, lease_ns, lease_end_ns))

    def learn_name(self, modify_id: int, venue_order_id: str) -> None:
        """What the venue calls the order by its new terms."""
        record = self._engine.orders.modified[modify_id]
        assert record.modify is not None
        if record.modify.state in ENDED:
            if record.modify.ended_by is EndedBy.REPLACED and record.venue_order_id != venue_order_id:
                self._engine.emit(e.OrderNamed(record.reservation_id, venue_order_id))
        elif record.modify.venue_order_id != venue_order_id:
            self._engine.emit(e.ModifyNamed(record.reservation_id, modify_id, venue_order_id))

    def settle(self, command: e.SettleModify, session: Session) -> e.Reply:
        """A person's word on what became of a modify."""
        engine = self._engine
        if not command.reason.strip():
            return Failed(Failure.INVALID_INPUT, "a reason is wanted: it is recorded with your name")
        record = engine.orders.known_as(command.account, command.order_id)
        modify = None if record is None else record.modify
        if record is None or modify is None:
            why = f"no modify of an order {command.order_id} of account {command.account} is known"
            return Failed(Failure.UNKNOWN_ID, why)
        self._lapse_if_due(record)
        event = Event.SETTLE_WORKING if command.replaced else Event.SETTLE_NOT_SENT
        does = modify_step(event, modify)
        if does.refuse is not None:
            return Failed(does.refuse, _no_more(event, record, modify))
        assert does.to is not None
        reason = f"{session.client}: {command.reason}"
        open_quantity = modify.open_quantity
        holds = modify.new  # where nothing is left as well: its end says what is given back
        self._move(record, modify, does.to, EndedBy.OPERATOR, reason, is_replaced=command.replaced)
        if command.replaced:
            self._replace(record, modify.order, open_quantity, holds, modify.venue_order_id)
        return e.Stands(record.state)

    # ------------------------------------------------------------------------------------------ ends

    def runs(self, end_ns: int, id: int) -> bool:
        """Whether a lease with that end is still the one of that modify."""
        record = self._engine.orders.modified.get(id)
        modify = None if record is None else record.modify
        return modify is not None and modify.state in LEASED and modify.lease_end_ns == end_ns

    def live_leases(self) -> list[tuple[int, int]]:
        modifies = [record.modify for record in self._engine.orders.modified.values()]
        return [(each.lease_end_ns, each.modify_id) for each in modifies if each is not None and each.state in LEASED]

    def drop(self, modify_id: int, session: Session) -> bool:
        """Ends a modify that its client let go of. False where there is nothing left to do."""
        record = self._engine.orders.modified.get(modify_id)
        modify = None if record is None else record.modify
        if record is None or modify is None or modify.client != session.client or modify.state not in LEASED:
            return False
        self.lapse(modify_id, EndedBy.DROPPED)
        return True

    def lapse(self, modify_id: int, ended_by: EndedBy) -> None:
        """Its lease, or its client, has ended."""
        record = self._engine.orders.modified[modify_id]
        assert record.modify is not None
        to = modify_step(Event.LAPSE, record.modify).to
        assert to is not None
        self._move(record, record.modify, to, ended_by, "" if to in ENDED else str(ended_by))

    def order_ends(self, record: OrderRecord) -> None:
        """The order is over, and so is what was to become of it."""
        moved = over_with(record)
        if moved is not None:
            self._engine.emit(moved)

    # ------------------------------------------------------------------------------------------ reports

    def fill(self, record: OrderRecord, traded: Decimal, left: Decimal) -> Shrunk | None:
        """What a fill leaves of the old and of the new terms. None when a policy failed."""
        engine, modify = self._engine, record.pending
        assert modify is not None and record.order is not None and record.listed is not None
        new_left = modify.open_quantity - traded
        if modify.order.volume is None:  # by the whole count: more may have traded than the new terms allow
            new_left = whole_quantity(modify.order) - record.filled_quantity - traded
        new_left = max(new_left, ZERO)
        pipeline, listed = engine.pipeline, record.listed
        # terms of which nothing is left keep what they held last: where a fill is undone, they hold again
        old = pipeline.shrink(modify.old, record.order, listed, left) if left else modify.old
        new = pipeline.shrink(modify.new, modify.order, listed, new_left) if new_left else modify.new
        if old is None or new is None:
            return None
        worse = pipeline.worse(old if left else (), new if new_left else ())
        return Shrunk(worse, e.ModifyHolds(modify.modify_id, new_left, old, new))

    @staticmethod
    def may_go_on(record: OrderRecord) -> bool:
        """Whether an order that is filled by its old terms may trade on by new ones that may be at the venue."""
        modify = record.pending
        return modify is not None and modify.state is not HELD and modify.open_quantity > 0

    def replacement(self, report: ExecutionReport, record: OrderRecord) -> Replacement | Failed:
        """The terms by which the venue goes after it has replaced an order, as far as is known here and as it says."""
        order, modify = record.order, record.modify
        assert order is not None
        asked = modify if modify is not None and modify.ended_by is not EndedBy.REPLACED else None
        if asked is not None and asked.state is CLOSED:
            asked = None
        if asked is None and report.quantity is None and report.price is None:
            if modify is not None and modify.ended_by is EndedBy.REPLACED:
                return Replacement(order, record.open_quantity, record.holds, ())
            why = (
                f"report {report.report_id}: no modify of order {record.order_id} is under way; give the quantity and "
                "the price that it has now"
            )
            return Failed(Failure.INVALID_INPUT, why)
        terms = order if asked is None else asked.order
        if report.order_id is not None and report.order_id not in (record.order_id, *record.ids_before):
            terms = msgspec.structs.replace(terms, id=report.order_id)
        if report.price is not None:
            terms = msgspec.structs.replace(terms, price=report.price)
        if report.quantity is not None:
            told = {"quantity": report.quantity} if order.volume is None else {"volume": report.quantity}
            terms = msgspec.structs.replace(terms, **told)
        left = max(whole_quantity(terms) - _traded(record, order), ZERO)
        pending = record.pending
        stays = record.holds if pending is None else pending.old
        if not left and record.state in ENDED:
            stays = ()
        if terms == order:
            return Replacement(order, left, stays, ())
        flags = () if asked is not None and terms == asked.order else (OTHERWISE,)
        if not left:  # its end says what is given back: what was in the market may count on
            return Replacement(terms, left, stays if pending is None or flags else pending.new, flags)
        if pending is not None and not flags:
            return Replacement(terms, left, pending.new, flags)
        return Replacement(terms, left, self._hold(record, terms, left), flags)

    def replaced(self, record: OrderRecord, told: Replacement, venue_order_id: str | None) -> None:
        """The venue goes by the new terms."""
        modify = record.modify
        if modify is not None:
            does = modify_step(Event.REPLACED, modify)
            if does.to is not None:
                venue_order_id = venue_order_id or modify.venue_order_id
                self._emit_moved(record, modify, does.to, EndedBy.REPLACED, "")
                if does.flag:
                    self._flag(record, does.flag)
        self._replace(record, told.order, told.open_quantity, told.holds, venue_order_id)

    def replace_rejected(self, record: OrderRecord) -> None:
        """The venue stays with the old terms."""
        modify = record.pending
        if modify is not None:
            to = modify_step(Event.REPLACE_REJECTED, modify).to
            assert to is not None
            self._move(record, modify, to, EndedBy.REPLACE_REJECTED, "")

    def hold_again(self, record: OrderRecord, open_quantity: Decimal) -> tuple[Hold, ...]:
        """What an order that had ended holds once so much of it may trade again. What counts on after an end, such as
        a turnover, has never stopped: it is held as it was, so that a modify adds to it what it adds to that alone.
        """
        attempt = self._attempt(record, record.order, open_quantity, ())
        pipeline = self._engine.pipeline
        anew = (hold for hold in pipeline.hold_replaced(attempt) if hold.policy not in pipeline.counts_on)
        return (*anew, *(hold for hold in record.holds if hold.policy in pipeline.counts_on))

    def hold_anew(self, record: OrderRecord) -> bool:
        """Counts an order that is being modified by the limits in force now. True where that makes a difference."""
        modify = record.pending
        assert modify is not None and record.order is not None
        pipeline = self._engine.pipeline
        old_attempt = self._attempt(record, record.order, record.open_quantity, None)
        new_attempt = self._attempt(record, modify.order, modify.open_quantity, None)
        is_old, is_new = bool(record.open_quantity), bool(modify.open_quantity)
        old = pipeline.rehold(modify.old, old_attempt, record.open_quantity) if is_old else modify.old
        new = pipeline.rehold(modify.new, new_attempt, modify.open_quantity) if is_new else modify.new
        if old == modify.old and new == modify.new:
            return False
        self._engine.emit(e.ModifyHolds(modify.modify_id, modify.open_quantity, old, new))
        worse = pipeline.worse(old if is_old else (), new if is_new else ())
        self._engine.emit(e.HoldsReplaced(record.reservation_id, worse))
        return True

    # ------------------------------------------------------------------------------------------ carrying out

    def do_opened(self, effect: e.ModifyOpened) -> None:
        engine = self._engine
        record = engine.orders.open[effect.reservation_id]
        modify = Modify(
            modify_id=effect.modify_id,
            order=effect.order,
            client=effect.client,
            session=effect.session,
            state=effect.state,
            open_quantity=effect.open_quantity,
            old=record.holds,
            new=effect.new,
            lease_ns=effect.lease_ns,
            lease_end_ns=effect.lease_end_ns,
        )
        engine.orders.modifies(record, modify)
        engine.replace_holds(record, effect.holds)
        record.heard_ns = engine.now_ns
        engine.leases.add(effect.lease_end_ns, effect.modify_id)
        engine.own(effect.session, effect.modify_id)

    def do_moved(self, effect: e.ModifyMoved) -> None:
        engine = self._engine
        record = engine.orders.modified[effect.modify_id]
        modify = record.modify
        assert modify is not None
        was = modify.state

        def move() -> None:
            modify.state, modify.ended_by, modify.reason = effect.state, effect.ended_by, effect.reason

        engine.orders.change(record, move)
        record.heard_ns = engine.now_ns
        if was not in ENDED and effect.state in ENDED:
            engine.replace_holds(record, modify.old)  # also of one that is filled: its end says what is given back
            modify.old = modify.new = ()
        if was in LEASED and effect.state not in LEASED:
            modify.lease_end_ns = 0
            engine.sessions.settled(modify.session, modify.modify_id)

    def do_named(self, effect: e.ModifyNamed) -> None:
        modify = self._engine.orders.modified[effect.modify_id].modify
        assert modify is not None
        modify.venue_order_id = effect.venue_order_id

    def do_lease_set(self, effect: e.ModifyLeaseSet) -> None:
        modify = self._engine.orders.modified[effect.modify_id].modify
        assert modify is not None
        modify.lease_ns, modify.lease_end_ns, modify.restarts = effect.lease_ns, effect.lease_end_ns, 0
        self._engine.leases.add(effect.lease_end_ns, effect.modify_id)

    def do_holds(self, effect: e.ModifyHolds) -> None:
        record = self._engine.orders.modified[effect.modify_id]
        modify = record.modify
        assert modify is not None

        def shrink() -> None:
            modify.open_quantity = effect.open_quantity

        self._engine.orders.change(record, shrink)
        modify.old, modify.new = effect.old, effect.new

    def do_replaced(self, effect: e.OrderReplaced) -> None:
        engine = self._engine
        record = engine.orders.find(effect.reservation_id)
        assert record is not None
        engine.orders.change(record, lambda: engine.orders.replace(record, effect.order, effect.open_quantity))
        engine.replace_holds(record, effect.holds)
        record.heard_ns = engine.now_ns

    def do_leases_restarted(self, now_ns: int) -> None:
        for record in self._engine.orders.modified.values():
            modify = record.modify
            assert modify is not None
            if modify.state in LEASED and modify.restarts < self._engine.bounds.restarts_in_a_row:
                modify.restarts += 1
                modify.lease_end_ns = max(modify.lease_end_ns, now_ns + modify.lease_ns)

    # ------------------------------------------------------------------------------------------ within

    def _attempt(
        self,
        record: OrderRecord,
        order: Order | None,
        open_quantity: Decimal,
        before: tuple[Hold, ...] | None,
    ) -> Attempt:
        engine = self._engine
        assert order is not None and record.listed is not None
        return Attempt(
            order,
            record.listed,
            record.asked_by,
            engine.accounts.group_of(record.account),
            engine.now_ns,
            engine.positions,
            engine.quote_of(record.listed.symbol),
            engine.days,
            engine.balances,
            open_quantity,
            before,
            engine.valuation,
        )

    def _hold(self, record: OrderRecord, order: Order, open_quantity: Decimal) -> tuple[Hold, ...]:
        """What an order holds by terms that no limit can refuse any more."""
        pending = record.pending
        self._take_back(record)
        attempt = self._attempt(record, order, open_quantity, record.holds if pending is None else pending.old)
        holds = self._engine.pipeline.hold_replaced(attempt)
        self._put_back(record)
        return holds

    def _stops(self, record: OrderRecord, order: Order, open_quantity: Decimal) -> tuple[Reject, ...]:
        def weigh() -> trading.Weighed:
            return self._weigh(record, order, open_quantity)

        return self._engine.stops_on(order, record.listed, record.asked_by, record.client, weigh=weigh)

    def _weigh(self, record: OrderRecord, order: Order, open_quantity: Decimal) -> trading.Weighed:
        """Whether the order reduces by its new terms, in the place of its old ones. What only takes away of an order
        that is at the venue is no new risk: so much less at the same price passes as well.
        """
        engine, old = self._engine, record.order
        assert old is not None
        engine.orders.expect_no_more(record)
        try:
            weighed = trading.weigh(engine.positions, order, record.listed, open_quantity)
        finally:
            engine.orders.expect(record)
        is_less = order.price == old.price and open_quantity <= record.open_quantity
        return weighed._replace(reduces=weighed.reduces or is_less)

    def _take_back(self, record: OrderRecord) -> None:
        """Until it is put back, an order holds nothing and nothing of it is on its way."""
        engine = self._engine
        if record.state in ENDED:
            return  # nothing of it counts
        try:
            for hold in reversed(record.holds):
                engine.policies[hold.policy].undo(hold.effect)
            engine.orders.expect_no_more(record)
        except Exception as trouble:
            raise engine.broken_off(record, trouble) from trouble

    def _put_back(self, record: OrderRecord) -> None:
        engine = self._engine
        if record.state in ENDED:
            return
        try:
            engine.orders.expect(record)
            for hold in record.holds:
                engine.policies[hold.policy].apply(hold.effect)
        except Exception as trouble:
            raise engine.broken_off(record, trouble) from trouble

    def _lapse_if_due(self, record: OrderRecord) -> None:
        modify = record.pending
        if modify is None or modify.state not in LEASED:
            return
        engine = self._engine
        if modify.lease_end_ns <= engine.now_ns or modify.session in engine.sessions.ending:
            self.lapse(modify.modify_id, engine.lapse_reason(modify.session))

    def _move(
        self,
        record: OrderRecord,
        modify: Modify,
        to: OrderState,
        ended_by: EndedBy | None,
        reason: str,
        *,
        is_replaced: bool = False,
    ) -> None:
        """Moves a modify on. An order that was filled by its old terms, and waited for this alone, is over with it."""
        self._emit_moved(record, modify, to, ended_by, reason)
        if to in ENDED and not is_replaced and record.state is WORKING and not record.open_quantity:
            self._engine.emit(e.OrderMoved(record.reservation_id, CLOSED, EndedBy.FILLED, ""))

    def _emit_moved(
        self, record: OrderRecord, modify: Modify, to: OrderState, ended_by: EndedBy | None, reason: str
    ) -> None:
        self._engine.emit(e.ModifyMoved(record.reservation_id, modify.modify_id, to, ended_by, reason))

    def _revive(self, record: OrderRecord, modify: Modify) -> bool:
        """A modify that was rolled back has gone out all the same: it counts again. False where the order is over."""
        engine = self._engine
        if record.state is not WORKING or record.order is None or record.listed is None:
            return False
        left = max(whole_quantity(modify.order) - _traded(record, record.order), ZERO)
        new = self._hold(record, modify.order, left) if left else ()
        engine.emit(e.ModifyHolds(modify.modify_id, left, record.holds, new))
        engine.emit(e.HoldsReplaced(record.reservation_id, engine.pipeline.worse(record.holds, new)))
        return True

    def _replace(
        self,
        record: OrderRecord,
        order: Order,
        open_quantity: Decimal,
        holds: tuple[Hold, ...],
        venue_order_id: str | None,
    ) -> None:
        engine = self._engine
        if order != record.order or open_quantity != record.open_quantity or holds != record.holds:
            engine.emit(e.OrderReplaced(record.reservation_id, order, open_quantity, holds))
        if venue_order_id is not None and venue_order_id != record.venue_order_id:
            engine.emit(e.OrderNamed(record.reservation_id, venue_order_id))
        if record.state is WORKING and not record.open_quantity:
            engine.emit(e.OrderMoved(record.reservation_id, CLOSED, EndedBy.FILLED, ""))

    def _flag(self, record: OrderRecord, flag: str) -> None:
        if flag not in record.flags:
            self._engine.emit(e.OrderFlagged(record.reservation_id, flag))


def over_with(record: OrderRecord) -> e.ModifyMoved | None:
    """What the end of an order does to a modify of it that is under way: before the order itself ends."""
    modify = record.pending
    if modify is None:
        return None
    to = modify_step(Event.ORDER_ENDED, modify).to
    assert to is not None
    return e.ModifyMoved(record.reservation_id, modify.modify_id, to, EndedBy.ORDER_ENDED, "")


def _changed(record: OrderRecord, order: Order, command: e.ModifyOrder) -> Order | Failed:
    """The order as it is to be."""
    if command.volume is not None and order.volume is None:
        why = f"modify of order {record.order_id}: it is for a quantity, and no volume can be given"
        return Failed(Failure.INVALID_INPUT, why)
    if command.quantity is not None and order.volume is not None:
        why = f"modify of order {record.order_id}: it is for a volume, and no quantity can be given"
        return Failed(Failure.INVALID_INPUT, why)
    return msgspec.structs.replace(
        order,
        id=order.id if command.new_id is None else command.new_id,
        quantity=order.quantity if command.quantity is None else command.quantity,
        volume=order.volume if command.volume is None else command.volume,
        price=order.price if command.price is None else command.price,
    )


def _traded(record: OrderRecord, order: Order) -> Decimal:
    """How much of an order has traded, in what it is for: units, or the settlement asset. Of an amount more may have
    traded than the old terms allow, where a fill by the new ones comes before the venue's word on them.
    """
    if order.volume is None:
        return record.filled_quantity
    traded, modify = whole_quantity(order) - record.open_quantity, record.pending
    return traded if modify is None else max(traded, whole_quantity(modify.order) - modify.open_quantity)


def _no_more(event: Event, record: OrderRecord, modify: Modify) -> str:
    who = f"modify {modify.modify_id} of order {record.order_id}"
    if modify.state is WORKING:
        return f"{event} of {who}: it is at the venue; only the venue's answer or an operator ends it"
    if modify.state is QUARANTINED:
        return f"{event} of {who}: its lease ended and it is quarantined; commit it, or roll it back if it was not sent"
    hint = "; if it did reach the venue, commit(late=True)" if modify.state is ROLLED_BACK else ""
    return f"{event} of {who}: it was {modify.state} before ({modify.ended_by}){hint}"


__all__ = ["OTHERWISE", "Modifies", "Replacement", "Shrunk", "over_with"]
