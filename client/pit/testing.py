"""For the tests of people who use pit: an engine without a daemon, which says what the test wants to hear.

`Script` says yes to every order and keeps its life, its lease included, as a daemon would: `mark_sent`, `commit`,
`rollback` and reports lead where they would lead. It knows no limits. What is to happen otherwise is said beforehand::

    script = pit.testing.Script()
    script.reject("RiskLimitExceeded", limit="open_usd", reason="needs 1850 USD, 1200 free")
    with script.engine() as engine:
        assert my_strategy(engine, venue) == "gave up"
    assert script.words == ["execute_pre_trade", "close"]

Each thing said beforehand happens once, to the next call that it is for, in the order said. `script.async_engine()` is
the same for asyncio. Where limits matter, take the real engine in your own process: `pitd.local.connect`.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from . import _calls, wire
from .aio import AsyncEngine
from .engine import Engine
from .errors import Closed, OutcomeUnknown, PitError
from .explained import DryRun, Explanation
from .types import (
    AdjustmentResult,
    Block,
    CancelRequest,
    ClearedCancel,
    DropCopyResult,
    ExecutionReport,
    Number,
    OpenModify,
    OpenOrder,
    Order,
    OrderState,
    OrderStatus,
    Outcome,
    Reject,
    RejectCode,
    Rejected,
    ReportKind,
    ReportResult,
    TimeInForce,
    VenueState,
    exact,
)

HELD, SENT, QUARANTINED = OrderState.HELD, OrderState.SENT, OrderState.QUARANTINED
WORKING, ROLLED_BACK, CLOSED = OrderState.WORKING, OrderState.ROLLED_BACK, OrderState.CLOSED

WORDS: dict[type, str] = {
    wire.Start: "start_pre_trade",
    wire.Check: "execute_pre_trade",
    wire.CheckMany: "execute_pre_trade_many",
    wire.DropCopy: "apply_drop_copy",
    wire.Execute: "execute",
    wire.MarkSent: "mark_sent",
    wire.Renew: "renew",
    wire.Commit: "commit",
    wire.Rollback: "rollback",
    wire.Quarantine: "quarantine",
    wire.Drop: "drop",
    wire.Modify: "modify_pre_trade",
    wire.Cancel: "cancel_pre_trade",
    wire.Status: "apply_order_status",
    wire.Report: "apply_execution_report",
    wire.Goodbye: "close",
    wire.ListOpenOrders: "open_orders",
    wire.AskOutcome: "outcome",
    wire.ListBlocks: "blocks",
    wire.Ping: "ping",
    wire.DryRun: "execute_pre_trade_dry_run",
    wire.Explain: "explain",
}
"""What a call is named by, here and in `Script.said`: the method's own name. Others go by their command's type."""

_CAN_SAY_NO = (
    *("start_pre_trade", "execute_pre_trade", "execute_pre_trade_many", "execute", "mark_sent", "renew"),
    *("modify_pre_trade", "cancel_pre_trade"),
)
"""What the next no is for. A dry run takes none away; `on="execute_pre_trade_dry_run"` is for either of them."""


class Said(NamedTuple):
    """One call that reached the engine: its name, the order it was about, where there was one, and its command."""

    word: str
    order_id: str | None
    command: wire.Command | wire.Query


class Script:
    """What an engine has been told, and what it is to say. One script serves any number of engines of one client."""

    def __init__(self, *, lease_s: float = 5.0) -> None:
        self.said: list[Said] = []
        self.blocks: list[Block] = []
        """What `engine.blocks()` finds."""
        self._lease_ns = round(lease_s * 1e9)
        self._now_ns = 1_000_000_000
        self._planned: deque[_Planned] = deque()
        self._orders: dict[int, _Life] = {}
        self._modifies: dict[int, _Change] = {}
        self._requests: dict[int, tuple[Order, int, str]] = {}
        """An order, until when it may be executed, and how it is over."""
        self._adjusted: dict[str, None] = {}
        self._to_cancel: list[CancelRequest] = []
        self._wanted: dict[int, tuple[str, str, str]] = {}
        """By reservation: why an order is to be cancelled, until it has ended."""
        self._bells: list[_Bell] = []
        self._last_id = 0

    def engine(self, name: str = "test", *, timeout_s: float = 1.0) -> Engine:
        """An engine that speaks to this script."""
        return Engine(_Line(self), name, timeout_s=timeout_s)

    def async_engine(self, name: str = "test", *, timeout_s: float = 1.0) -> AsyncEngine:
        """The same for asyncio. Every call lets other tasks run before it is answered."""
        return AsyncEngine(_AsyncLine(self), name, timeout_s=timeout_s)

    # ------------------------------------------------------------------------------------------ what is to happen

    def reject(
        self,
        code: RejectCode | str = RejectCode.RISK_LIMIT_EXCEEDED,
        *,
        limit: str = "scripted",
        reason: str = "the test says no",
        on: str | None = None,
        bound: Number | None = None,
        used: Number | None = None,
        requested: Number | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        """The next order is refused so: by whichever call can say no, or the one named by `on`, such as "mark_sent"."""
        reject = Reject(
            code=RejectCode(code),
            policy="scripted",
            limit=limit,
            scope="test",
            reason=reason,
            bound=None if bound is None else exact(bound, "bound"),
            used=None if used is None else exact(used, "used"),
            requested=None if requested is None else exact(requested, "requested"),
            retry_after_s=retry_after_s,
        )
        self._planned.append(_Planned(_CAN_SAY_NO if on is None else (_word(on),), reject))

    def fail(self, error: PitError, *, on: str | None = None) -> None:
        """The next call, or the next one of the name `on`, raises this and changes nothing."""
        self._planned.append(_Planned(None if on is None else (_word(on),), error))

    def lose_answer(self, *, on: str | None = None) -> None:
        """The next command, or the next one of the name `on`, is carried out, and the caller gets OutcomeUnknown."""
        self._planned.append(_Planned(None if on is None else (_word(on),), None))

    def answer(self, result: ReportResult | Outcome, *, on: str | None = None) -> None:
        """The next report comes to this result, or the next `outcome()` to this one."""
        word = "outcome" if isinstance(result, Outcome) else "apply_execution_report"
        self._planned.append(_Planned((word if on is None else _word(on),), result))

    def want_cancelled(self, order_id: str, *, scope: str = "firm", limit: str = "operator", reason: str = "") -> None:
        """Has `poll()` ask for the cancel of an order that is open here."""
        life = next(each for each in self._orders.values() if each.order.id == order_id and each.is_open)
        self._wanted[life.id] = scope, limit, reason
        self._ask_to_cancel(life)

    def _ask_to_cancel(self, life: _Life) -> None:
        scope, limit, reason = self._wanted[life.id]
        seen = life.seen(self._now_ns)
        self._to_cancel.append(
            CancelRequest(
                order=seen.order,
                reservation_id=seen.reservation_id,
                client="test",
                is_own=True,
                state=seen.state,
                open_quantity=seen.open_quantity,
                scope=scope,
                limit=limit,
                author="script",
                reason=reason,
                asked_s=0.0,
                venue_order_id=seen.venue_order_id,
            )
        )
        self._ring()

    def _ring(self) -> None:
        for bell in self._bells:
            bell.ring(bool(self._to_cancel))

    def pass_time(self, seconds: float) -> None:
        """Lets time go by, which only goes when told: leases run out."""
        self._now_ns += round(seconds * 1e9)
        for life in self._orders.values():
            if life.state in (HELD, SENT) and life.ends_ns <= self._now_ns:
                life.lapse("lease")
        for change in self._modifies.values():
            if change.state in (HELD, SENT) and change.ends_ns <= self._now_ns:
                change.lapse("lease")

    # ------------------------------------------------------------------------------------------ what has happened

    @property
    def words(self) -> list[str]:
        """The calls that reached the engine, by name, in order."""
        return [said.word for said in self.said]

    @property
    def states(self) -> dict[str, OrderState]:
        """Where each order stands that was let through, by order id."""
        return {life.order.id: life.state for life in self._orders.values()}

    @property
    def pending(self) -> int:
        """How much of what was said beforehand has not happened yet: 0 at the end of a good test."""
        return len(self._planned)

    # ------------------------------------------------------------------------------------------ within

    def _say(self, said: wire.Command | wire.Query) -> wire.Reply:
        word = WORDS.get(type(said), type(said).__name__)
        self.said.append(Said(word, self._order_id_of(said), said))
        planned = next(
            (each for each in self._planned if each.is_for(word, is_query=isinstance(said, wire.Query))), None
        )
        if planned is None:
            return self._reply(said)
        self._planned.remove(planned)
        match planned.what:
            case Reject() as no:
                return wire.Refused(Rejected(order_id=self._order_id_of(said) or "", rejects=(no,)))
            case PitError() as error:
                raise error
            case ReportResult() as result:
                return wire.Applied(result)
            case Outcome() as outcome:
                return wire.OutcomeIs(outcome)
            case None:
                order_id = self._order_id_of(said)
                self._reply(said)
                raise OutcomeUnknown(f"{word} was sent and not answered: the test has lost the answer", order_id)

    def _hear_goodbye(self) -> None:
        """A close succeeds, whatever is to happen to calls."""
        self.said.append(Said(WORDS[wire.Goodbye], None, wire.Goodbye()))
        self._reply(wire.Goodbye())

    def _reply(self, said: wire.Command | wire.Query) -> wire.Reply:
        match said:
            case wire.Start(order):
                known = self._find(order.account, order.id, None)
                if known is not None and (no := _duplicate(known, order)):
                    return no
                id = self._next_id()
                self._requests[id] = (order, self._now_ns + self._lease_ns, "")
                return wire.Deferred(id, order.id, self._lease_ns)
            case wire.Check(order):
                return self._accept(order, said)
            case wire.CheckMany():
                alone = (wire.Check(order, said.sent, said.lease_ns) for order in said.orders)
                answers = [self._accept(each.order, each) for each in alone]
                told = (each for each in answers if isinstance(each, wire.Accepted | wire.Refused))
                return wire.ManyChecked(tuple(told))
            case wire.Execute():
                return self._execute(said)
            case wire.MarkSent() | wire.Renew() | wire.Commit() | wire.Rollback() | wire.Quarantine():
                change = self._modifies.get(said.reservation_id)
                return self._settle(said) if change is None else self._settle_modify(change, said)
            case wire.Modify():
                return self._modify(said)
            case wire.SettleModify():
                return self._settled_modify_by_hand(said)
            case wire.Cancel():
                return self._cancel(said)
            case wire.Drop():
                for id in said.reservation_ids:
                    (self._modifies.get(id) or self._orders[id]).lapse("dropped")
                for id in said.request_ids:
                    self._requests[id] = (*self._requests[id][:2], "dropped")
                return wire.Done(len(said.reservation_ids) + len(said.request_ids))
            case wire.DropCopy(order):
                return wire.DropCopied(self._dropped_copy(order, said.venue_order_id))
            case wire.Report(report):
                return wire.Applied(self._booked(report))
            case wire.Status(status):
                return wire.Applied(self._counted(status))
            case wire.ListOpenOrders():
                mine = [life.seen(self._now_ns) for life in self._orders.values() if life.is_open]
                return wire.OpenOrders(
                    tuple(each for each in mine if said.account in (None, each.order.account)), False
                )
            case wire.AskOutcome():
                life = self._find(said.account, said.order_id, None)
                if life is None:
                    return wire.Failed(wire.FailureCode.UNKNOWN_ID, f"order {said.order_id} was never let through")
                return wire.OutcomeIs(life.outcome())
            case wire.ListBlocks():
                return wire.Blocks(tuple(self.blocks))
            case wire.Ping():
                return wire.Pong(self._now_ns, "scripted")
            case wire.Goodbye():
                for life in self._orders.values():
                    life.lapse("client_gone")
                for change in self._modifies.values():
                    change.lapse("client_gone")
                return wire.Done()
            case wire.SettleOrder() | wire.CloseOrder():
                return self._settled_by_hand(said)
            case wire.ListCalendar():
                return wire.CalendarIs(0, (), (), more=False)
            case wire.ListRestrictions():
                return wire.RestrictionsAre(0, (), more=False)
            case wire.DryRun(order):
                known = self._find(order.account, order.id, None)
                if known is not None and (no := _duplicate(known, order)):
                    return no
                return wire.WouldPass(DryRun(order_id=order.id, replayed=known is not None))
            case wire.Explain(order):
                return wire.Explained(
                    Explanation(
                        order_id=order.id,
                        rejects=(),
                        shadow_rejects=(),
                        limits=(),
                        largest=None,
                        unit=str(order.instrument),
                        looked_at=0,
                        open_orders=sum(life.is_open for life in self._orders.values()),
                    )
                )
            case wire.ListPositions():
                return wire.PositionsAre(0, (), more=False)
            case wire.ListBalances():
                return wire.BalancesAre(0, (), more=False)
            case wire.Adjust():
                is_known = said.id in self._adjusted
                self._adjusted[said.id] = None
                changed = len(said.adjustments)
                return wire.Adjusted(AdjustmentResult(changed=changed, already_applied=is_known))
            case _:
                return wire.Done()

    def _accept(self, order: Order, asked: wire.Check | wire.Execute) -> wire.Reply:
        known = self._find(order.account, order.id, None)
        if known is not None:
            if no := _duplicate(known, order):
                return no
            known.state = SENT if asked.sent and known.state is HELD else known.state
            return wire.Accepted(known.id, order.id, known.state, known.left_ns(self._now_ns), replayed=True)
        lease_ns = asked.lease_ns or self._lease_ns
        life = _Life(self._next_id(), order, SENT if asked.sent else HELD, self._now_ns + lease_ns)
        self._orders[life.id] = life
        return wire.Accepted(life.id, order.id, life.state, lease_ns)

    def _execute(self, asked: wire.Execute) -> wire.Reply:
        found = self._requests.get(asked.request_id)
        if found is None:
            return wire.Failed(wire.FailureCode.UNKNOWN_ID, f"request {asked.request_id} is not known")
        order, ends_ns, over = found
        if over == "executed":
            why = f"request {asked.request_id} has been executed before"
            return wire.Failed(wire.FailureCode.ALREADY_FINALIZED, why)
        if over or self._now_ns >= ends_ns:
            return wire.Failed(
                wire.FailureCode.LEASE_EXPIRED, f"request {asked.request_id} is over ({over or 'lease'})"
            )
        self._requests[asked.request_id] = (order, ends_ns, "executed")
        return self._accept(order, asked)

    def _settle(self, said: wire.MarkSent | wire.Renew | wire.Commit | wire.Rollback | wire.Quarantine) -> wire.Reply:
        life = self._orders.get(said.reservation_id)
        if life is None:
            return wire.Failed(wire.FailureCode.UNKNOWN_ID, f"reservation {said.reservation_id} is not known")
        why_not = life.refuses(said)
        if why_not is not None:
            return wire.Failed(why_not, f"order {life.order.id} is {life.state} ({life.ended_by or 'not ended'})")
        match said:
            case wire.Commit() if life.is_open or (said.late and life.state is ROLLED_BACK and not life.is_final):
                if not life.is_open:
                    life.flags = (*life.flags, "late_commit")
                life.state, life.ended_by = WORKING, None
                life.venue_order_id = said.venue_order_id or life.venue_order_id
            case wire.Rollback() if life.is_open:
                life.end(ROLLED_BACK, "owner", said.reason)
            case wire.Quarantine():
                life.state = QUARANTINED
            case wire.MarkSent():
                life.state = SENT
            case wire.Renew():
                life.ends_ns = self._now_ns + (said.lease_ns or self._lease_ns)
        return wire.Settled(life.state, life.left_ns(self._now_ns))

    def _modify(self, asked: wire.Modify) -> wire.Reply:
        life, failed = self._find(asked.account, asked.order_id, None), wire.FailureCode
        if life is None:
            return wire.Failed(failed.UNKNOWN_ID, f"order {asked.order_id} is not known")
        old = life.order
        order = msgspec.structs.replace(
            old,
            id=asked.new_id or old.id,
            quantity=old.quantity if asked.quantity is None else asked.quantity,
            volume=old.volume if asked.volume is None else asked.volume,
            price=old.price if asked.price is None else asked.price,
        )
        pending = life.pending
        if pending is not None and pending.order == order:
            pending.state = SENT if asked.sent and pending.state is HELD else pending.state
            return wire.Modified(pending.id, order, pending.state, pending.left_ns(self._now_ns), replayed=True)
        if not life.is_open:
            return wire.Failed(failed.ALREADY_FINALIZED, f"order {old.id} has ended ({life.ended_by})")
        if life.state is not WORKING or pending is not None:
            why = f"order {old.id} is {life.state}" if pending is None else f"modify {pending.id} of it is under way"
            return wire.Failed(failed.INVALID_INPUT, f"modify of order {old.id}: {why}")
        if msgspec.structs.replace(order, id=old.id) == old:
            return wire.Failed(failed.INVALID_INPUT, f"modify of order {old.id}: it has these terms already")
        if _size(order) <= life.traded:
            return wire.Failed(failed.INVALID_INPUT, f"modify of order {old.id}: {life.traded} of it have traded")
        lease_ns = asked.lease_ns or self._lease_ns
        change = _Change(self._next_id(), life, order, SENT if asked.sent else HELD, self._now_ns + lease_ns)
        if life.change is not None:
            del self._modifies[life.change.id]
        self._modifies[change.id] = life.change = change
        life.ids.add(order.id)
        return wire.Modified(change.id, order, change.state, lease_ns)

    def _settle_modify(
        self, change: _Change, said: wire.MarkSent | wire.Renew | wire.Commit | wire.Rollback | wire.Quarantine
    ) -> wire.Reply:
        why_not = change.refuses(said)
        if why_not is not None:
            return wire.Failed(why_not, f"modify {change.id} is {change.state} ({change.ended_by or 'not ended'})")
        match said:
            case wire.Commit() if change.is_open or (said.late and change.state is ROLLED_BACK):
                change.state, change.ended_by = WORKING, None
                change.venue_order_id = said.venue_order_id
            case wire.Rollback() if change.is_open:
                change.end(ROLLED_BACK, "owner")
                change.life._close_if_filled()
            case wire.Quarantine() if change.is_open:
                change.state = QUARANTINED
            case wire.MarkSent():
                change.state = SENT
            case wire.Renew():
                change.ends_ns = self._now_ns + (said.lease_ns or self._lease_ns)
        return wire.Settled(change.state, change.left_ns(self._now_ns))

    def _settled_modify_by_hand(self, said: wire.SettleModify) -> wire.Reply:
        life = self._find(said.account, said.order_id, None)
        if life is None or life.pending is None:
            return wire.Failed(wire.FailureCode.UNKNOWN_ID, f"no modify of order {said.order_id} is under way")
        if said.replaced:
            life.replaced(None)
        else:
            life.pending.end(ROLLED_BACK, "operator")
        return wire.Settled(life.state)

    def _cancel(self, said: wire.Cancel) -> wire.Reply:
        life = self._find(said.account, said.order_id, None)
        if life is None:
            return wire.Failed(wire.FailureCode.UNKNOWN_ID, f"order {said.order_id} is not known")
        if not life.is_open:
            why = f"order {said.order_id} was {life.state} before ({life.ended_by})"
            return wire.Failed(wire.FailureCode.ALREADY_FINALIZED, why)
        if life.state is HELD:
            why = f"order {said.order_id} is held and was not sent; roll it back"
            return wire.Failed(wire.FailureCode.INVALID_INPUT, why)
        return wire.CancelCleared(
            ClearedCancel(
                account=life.order.account,
                order_id=life.order.id,
                venue_order_id=life.venue_order_id,
                state=life.state,
                open_quantity=life.open_quantity,
            )
        )

    def _settled_by_hand(self, said: wire.SettleOrder | wire.CloseOrder) -> wire.Reply:
        life = self._find(said.account, said.order_id, None)
        if life is None:
            return wire.Failed(wire.FailureCode.UNKNOWN_ID, f"order {said.order_id} is not known")
        if not life.is_open:
            return wire.Failed(wire.FailureCode.ALREADY_FINALIZED, f"order {said.order_id} is {life.state}")
        if isinstance(said, wire.CloseOrder):
            life.end(CLOSED, "operator", said.reason)
        elif said.working:
            life.state = WORKING
        else:
            life.end(ROLLED_BACK, "operator", said.reason)
        return wire.Settled(life.state)

    def _dropped_copy(self, order: Order, venue_order_id: str | None) -> DropCopyResult:
        life = self._find(order.account, order.id, None)
        is_known = life is not None
        if life is None:
            life = self._orders[self._last_id + 1] = _Life(self._next_id(), order, WORKING, 0)
            life.flags = ("drop_copy",)
        elif life.is_open:
            life.state = WORKING
        life.venue_order_id = venue_order_id or life.venue_order_id
        return DropCopyResult(
            order_id=order.id,
            reservation_id=life.id,
            state=life.state,
            open_quantity=life.open_quantity if life.is_open else Decimal(0),
            was_known=is_known,
            flags=() if is_known else life.flags,
        )

    def _booked(self, report: ExecutionReport) -> ReportResult:
        life = self._find(report.account, report.order_id, report.venue_order_id)
        if life is None:
            return ReportResult(order_id=report.order_id, state=None, open_quantity=None, flags=("unknown_order",))
        is_old = report.report_id in life.reports
        flags = () if is_old else life.report(report)
        if report.kind is ReportKind.CANCEL_REJECTED and not is_old and life.is_open and life.id in self._wanted:
            self._ask_to_cancel(life)
        left = life.open_quantity if life.is_open else Decimal(0)
        return ReportResult(
            order_id=life.order.id, state=life.state, open_quantity=left, already_applied=is_old, flags=flags
        )

    def _counted(self, status: OrderStatus) -> ReportResult:
        """Books what is missing, as a fill; then what became of the order."""
        life = self._find(status.account, status.order_id, status.venue_order_id)
        if life is None:
            return ReportResult(order_id=status.order_id, state=None, open_quantity=None, flags=("unknown_order",))
        missing = status.cum_quantity - life.filled_quantity
        flags: tuple[str, ...] = ()
        told = ExecutionReport(account=status.account, kind=ReportKind.ACCEPTED, report_id="status", order_id="status")
        if missing > 0:
            flags = life.report(msgspec.structs.replace(told, kind=ReportKind.FILL, quantity=missing))
        if missing >= 0 and status.status not in (VenueState.WORKING, VenueState.FILLED) and life.is_open:
            flags += life.report(msgspec.structs.replace(told, kind=ReportKind(status.status.value)))
        left = life.open_quantity if life.is_open else Decimal(0)
        return ReportResult(
            order_id=life.order.id, state=life.state, open_quantity=left, already_applied=missing < 0, flags=flags
        )

    def _find(self, account: str, order_id: str | None, venue_order_id: str | None) -> _Life | None:
        for life in reversed(self._orders.values()):
            is_named = order_id in life.ids or (order_id is None and life.venue_order_id == venue_order_id)
            if is_named and life.order.account == account:
                return life
        return None

    def _order_id_of(self, said: wire.Command | wire.Query) -> str | None:
        match said:
            case wire.Execute():
                found = self._requests.get(said.request_id)
                return None if found is None else found[0].id
            case wire.MarkSent() | wire.Renew() | wire.Commit() | wire.Rollback() | wire.Quarantine():
                change = self._modifies.get(said.reservation_id)
                if change is not None:
                    return change.order.id
                life = self._orders.get(said.reservation_id)
                return None if life is None else life.order.id
            case wire.AskOutcome() | wire.SettleOrder() | wire.CloseOrder() | wire.SettleModify():
                return said.order_id
            case _:
                return _calls.order_id_of(said)  # type: ignore[arg-type]

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id


class _Planned(NamedTuple):
    """What is to happen to the next call of these names; to the next call of any where none is named."""

    words: tuple[str, ...] | None
    what: Reject | PitError | ReportResult | Outcome | None
    """None: the answer is lost."""

    def is_for(self, word: str, *, is_query: bool) -> bool:
        if self.words is None:
            return not (is_query and self.what is None)
        return word in self.words


class _Life:
    """One order that was let through, and where it stands."""

    def __init__(self, id: int, order: Order, state: OrderState, ends_ns: int) -> None:
        self.id = id
        self.order = order
        self.state = state
        self.ends_ns = ends_ns
        self.open_quantity = order.quantity if order.quantity is not None else order.volume or Decimal(0)
        self.filled_quantity = Decimal(0)
        self.reports: set[str] = set()
        self.is_final = False
        """Whether the venue has said its last word of it."""
        self.venue_order_id: str | None = None
        self.ended_by: str | None = None
        self.reason = ""
        self.flags: tuple[str, ...] = ()
        self.ids = {order.id}
        """Every id of its own that it goes, or went, by."""
        self.change: _Change | None = None
        self.fills: dict[str | None, Decimal] = {}

    @property
    def pending(self) -> _Change | None:
        """The modify of it that is under way."""
        return self.change if self.change is not None and self.change.is_open else None

    @property
    def traded(self) -> Decimal:
        return _size(self.order) - self.open_quantity

    def told_anew(self, report: ExecutionReport) -> tuple[str, ...]:
        """The venue undoes a fill, or tells it anew: the flags that it raises. What had been filled may trade again."""
        more = (report.quantity or Decimal(0)) - self.fills.get(report.fill_id, Decimal(0))
        self.fills[report.fill_id] = report.quantity or Decimal(0)
        self.filled_quantity += more
        self.open_quantity = max(Decimal(0), self.open_quantity - more)
        flags: tuple[str, ...] = ("bust" if report.kind is ReportKind.BUST else "corrected",)
        rests = self.order.price is not None and self.order.time_in_force not in (TimeInForce.IOC, TimeInForce.FOK)
        if more < 0 and rests and self.state is CLOSED and self.ended_by == "filled":
            self.state, self.ended_by, self.is_final = WORKING, None, False
            flags += ("reopened",)
        self.flags = (*self.flags, *flags)
        return flags

    def replaced(self, report: ExecutionReport | None) -> None:
        """The venue goes by the terms of the modify that is under way, or by those that it tells."""
        change = self.pending
        order = self.order if change is None else change.order
        if report is not None and report.quantity is not None:
            told = {"quantity": report.quantity} if order.volume is None else {"volume": report.quantity}
            order = msgspec.structs.replace(order, **told)
        if report is not None and report.price is not None:
            order = msgspec.structs.replace(order, price=report.price)
        if change is not None:
            change.end(CLOSED, "replaced")
            self.venue_order_id = change.venue_order_id or self.venue_order_id
        self.open_quantity = max(Decimal(0), _size(order) - self.traded)
        self.order = order
        self._close_if_filled()

    def _close_if_filled(self) -> None:
        """Ends it once all has traded, by its old terms and by new ones that may be at the venue."""
        pending = self.pending
        if self.open_quantity or (pending and pending.state is not HELD and _size(pending.order) > self.traded):
            return
        self.is_final = True
        if self.is_open:
            self.end(CLOSED, "filled")

    @property
    def is_open(self) -> bool:
        return self.state not in (ROLLED_BACK, CLOSED)

    def left_ns(self, now_ns: int) -> int:
        return max(0, self.ends_ns - now_ns) if self.state in (HELD, SENT) else 0

    def end(self, state: OrderState, ended_by: str, reason: str = "") -> None:
        self.state, self.ended_by, self.reason = state, ended_by, reason

    def lapse(self, why: str) -> None:
        if self.state is HELD:
            self.end(ROLLED_BACK, why)
        elif self.state is SENT:
            self.state = QUARANTINED

    def refuses(self, said: wire.MarkSent | wire.Renew | wire.Commit | wire.Rollback | wire.Quarantine) -> Any:
        """Why this can't be done where the order stands, or None: the lifecycle of orders, as a daemon keeps it."""
        ended = wire.FailureCode.LEASE_EXPIRED if self.ended_by == "lease" else wire.FailureCode.ALREADY_FINALIZED
        match said:
            case wire.Rollback():
                return wire.FailureCode.ALREADY_FINALIZED if self.state is WORKING else None
            case wire.Commit():
                return None if self.is_open or said.late else ended
            case _ if not self.is_open:
                return ended
            case _ if self.state is WORKING:
                return wire.FailureCode.ALREADY_FINALIZED
            case wire.Quarantine():
                return None
            case _:
                return wire.FailureCode.LEASE_EXPIRED if self.state is QUARANTINED else None

    def report(self, report: ExecutionReport) -> tuple[str, ...]:
        """Takes in what the venue says: the flags that it raises."""
        self.reports.add(report.report_id)
        self.venue_order_id = report.venue_order_id or self.venue_order_id
        was, flags = self.state, []
        if report.kind in (ReportKind.ACCEPTED, ReportKind.FILL):
            if was is CLOSED or self.is_final:
                flags.append("after_close")
            else:
                flags += ["after_rollback"] if was is ROLLED_BACK else []
                self.state, self.ended_by = WORKING, None
        elif report.kind is ReportKind.REPLACED:
            if self.is_open:
                self.state = WORKING
                self.replaced(report)
            else:
                flags.append("after_close")
        elif report.kind is ReportKind.REPLACE_REJECTED:
            if self.pending is not None:
                self.pending.end(CLOSED, "replace_rejected")
                self._close_if_filled()
        elif report.kind is ReportKind.BUST or report.kind is ReportKind.CORRECT:
            return self.told_anew(report)
        elif report.kind is not ReportKind.CANCEL_REJECTED:
            self.is_final = True
            if self.is_open:
                self.end(CLOSED, str(report.kind))
        if report.kind is ReportKind.FILL and report.quantity is not None:
            self.filled_quantity += report.quantity
            self.fills[report.report_id] = report.quantity
            if report.quantity > self.open_quantity and self.state is not CLOSED:
                flags.append("overfill")
            self.open_quantity = max(Decimal(0), self.open_quantity - report.quantity)
            self._close_if_filled()
        self.flags = (*self.flags, *flags)
        return tuple(flags)

    def seen(self, now_ns: int) -> OpenOrder:
        return OpenOrder(
            reservation_id=self.id,
            order=self.order,
            state=self.state,
            open_quantity=self.open_quantity,
            venue_order_id=self.venue_order_id,
            lease_left_s=self.left_ns(now_ns) / 1e9 if self.state in (HELD, SENT) else None,
            flags=self.flags,
            modify=None if self.pending is None else self.pending.seen(now_ns),
        )

    def outcome(self) -> Outcome:
        return Outcome(
            account=self.order.account,
            order_id=self.order.id,
            state=self.state,
            ended_by=self.ended_by,
            reason=self.reason,
            filled_quantity=self.filled_quantity,
            open_quantity=self.open_quantity if self.is_open else Decimal(0),
            venue_order_id=self.venue_order_id,
            flags=self.flags,
        )


class _Change:
    """A modify of an order, and where it stands."""

    def __init__(self, id: int, life: _Life, order: Order, state: OrderState, ends_ns: int) -> None:
        self.id = id
        self.life = life
        self.order = order
        self.state = state
        self.ends_ns = ends_ns
        self.venue_order_id: str | None = None
        self.ended_by: str | None = None

    @property
    def is_open(self) -> bool:
        return self.state not in (ROLLED_BACK, CLOSED) and self.life.is_open

    def left_ns(self, now_ns: int) -> int:
        return max(0, self.ends_ns - now_ns) if self.state in (HELD, SENT) else 0

    def end(self, state: OrderState, ended_by: str) -> None:
        self.state, self.ended_by = state, ended_by

    def lapse(self, why: str) -> None:
        if self.state is HELD:
            self.end(ROLLED_BACK, why)
        elif self.state is SENT:
            self.state = QUARANTINED

    def refuses(self, said: wire.MarkSent | wire.Renew | wire.Commit | wire.Rollback | wire.Quarantine) -> Any:
        """Why this can't be done where the modify stands, or None: the lifecycle of modifies, as a daemon keeps it."""
        over = wire.FailureCode.ALREADY_FINALIZED
        ended = wire.FailureCode.LEASE_EXPIRED if self.ended_by == "lease" else over
        is_answered = not self.is_open and self.state is not ROLLED_BACK
        match said:
            case wire.Rollback():
                return over if self.state is WORKING or self.ended_by == "replaced" else None
            case wire.Commit():
                return None if self.is_open or said.late or is_answered else ended
            case wire.Quarantine() if is_answered:
                return None
            case _ if not self.is_open:
                return ended
            case _ if self.state is WORKING:
                return over
            case wire.Quarantine():
                return None
            case _:
                return wire.FailureCode.LEASE_EXPIRED if self.state is QUARANTINED else None

    def seen(self, now_ns: int) -> OpenModify:
        left_s = self.left_ns(now_ns) / 1e9 if self.state in (HELD, SENT) else None
        return OpenModify(reservation_id=self.id, order=self.order, state=self.state, lease_left_s=left_s)


def _size(order: Order) -> Decimal:
    return order.quantity if order.quantity is not None else order.volume or Decimal(0)


def _duplicate(known: _Life, order: Order) -> wire.Refused | None:
    """The no to an id that has been used; None when this very order is open still: that is the same answer again."""
    if known.is_open and known.order == order:
        return None
    no = Reject(
        code=RejectCode.DUPLICATE_CLIENT_ORDER_ID,
        policy="engine",
        limit="order_id",
        scope=f"account {order.account}",
        reason=f"order id {order.id} has been used: that order is {known.state}; use a new id",
    )
    return wire.Refused(Rejected(order_id=order.id, rejects=(no,)))


class _Line:
    """One engine's way to the script."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._is_closed = False
        self._failures: list[tuple[str, PitError]] = []
        self._bell: _Bell | None = None

    def command(self, command: wire.Command, timeout_s: float) -> wire.Reply:
        return self._say(command)

    def query(self, query: wire.Query, timeout_s: float) -> wire.Reply:
        return self._say(query)

    def post(self, command: wire.Command, order_id: str, timeout_s: float) -> None:
        try:
            reply = self._say(command)
        except Closed:
            raise
        except PitError as trouble:
            self._failures.append((order_id, trouble))
            return
        if not isinstance(reply, wire.Settled):
            self._failures.append((order_id, _calls.failure_of(reply)))

    def flush(self, timeout_s: float) -> None:
        """Everything has been answered at once."""

    def take_failures(self) -> Sequence[tuple[str, PitError]]:
        failures, self._failures = self._failures, []
        return failures

    def monotonic_ns(self) -> int:
        return self._script._now_ns

    def notices(self, wait_s: float, timeout_s: float) -> list[CancelRequest]:
        if self._is_closed:
            raise Closed("this engine has been closed")
        found, self._script._to_cancel = self._script._to_cancel, []
        self._script._ring()
        return found

    def fileno(self) -> int:
        """Readable while `poll()` has something to tell, as an engine's is."""
        if self._is_closed:
            raise Closed("this engine has been closed")
        if self._bell is None:
            self._bell = _Bell()
            self._script._bells.append(self._bell)
            self._script._ring()
        return self._bell.fileno()

    def close(self) -> None:
        if not self._is_closed:
            self._script._hear_goodbye()
            self._is_closed = True
        if self._bell is not None:
            self._script._bells.remove(self._bell)
            self._bell.close()
            self._bell = None

    def _say(self, said: wire.Command | wire.Query) -> wire.Reply:
        if self._is_closed:
            raise Closed("this engine has been closed")
        return self._script._say(said)


class _Bell:
    """A descriptor that is readable while it is rung."""

    def __init__(self) -> None:
        self._near, self._far = os.pipe()
        self._is_rung = False

    def fileno(self) -> int:
        return self._near

    def ring(self, is_on: bool) -> None:
        if is_on and not self._is_rung:
            os.write(self._far, b"!")
        elif self._is_rung and not is_on:
            os.read(self._near, 1)
        self._is_rung = is_on

    def close(self) -> None:
        os.close(self._near)
        os.close(self._far)


class _AsyncLine:
    """The same for tasks."""

    def __init__(self, script: Script) -> None:
        self._line = _Line(script)
        self.monotonic_ns = self._line.monotonic_ns
        self.take_failures = self._line.take_failures
        self.fileno = self._line.fileno

    async def notices(self, wait_s: float, timeout_s: float) -> list[CancelRequest]:
        await _Turn()
        return self._line.notices(wait_s, timeout_s)

    async def command(self, command: wire.Command, timeout_s: float) -> wire.Reply:
        await _Turn()
        return self._line.command(command, timeout_s)

    async def query(self, query: wire.Query, timeout_s: float) -> wire.Reply:
        await _Turn()
        return self._line.query(query, timeout_s)

    async def post(self, command: wire.Command, order_id: str, timeout_s: float) -> None:
        self._line.post(command, order_id, timeout_s)

    async def flush(self, timeout_s: float) -> None:
        await _Turn()

    async def close(self) -> None:
        self._line.close()


class _Turn:
    """Lets the loop's other tasks run once."""

    def __await__(self) -> Generator[None, None, None]:
        yield


def _word(word: str) -> str:
    known = WORDS.values()
    if word not in known and not hasattr(wire, word):
        raise ValueError(f"on: {word!r} is no call of an engine; known here: {', '.join(sorted(known))}")
    return word


__all__ = ["WORDS", "Said", "Script"]
