"""What a strategy holds: the engine, a request that waits for its heavy checks, and a reservation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from types import TracebackType

from . import _calls, wire
from ._handles import EngineBase, RequestBase, ReservationBase, left_behind
from .errors import InvalidInput, OutcomeUnknown, PitError, PostedFailed, Unavailable
from .explained import DryRun, Explanation
from .transport import Transport
from .types import (
    AccountBalance,
    AccountPosition,
    Adjustment,
    AdjustmentResult,
    Block,
    Calendar,
    CancelRequest,
    ClearedCancel,
    DropCopyResult,
    ExecutionReport,
    Instrument,
    LimitOverride,
    Number,
    OpenOrder,
    Order,
    OrderState,
    OrderStatus,
    Outcome,
    Rejected,
    ReloadResult,
    ReportResult,
    Restriction,
    TradingState,
    exact,
)

_WORKING = OrderState.WORKING

_NO_NAME = (None, None)
"""An order's name at the venue that is not known yet, and why it can't be kept."""


class Engine(EngineBase):
    """The gate, as one client sees it. May be used from any thread; not after a fork.

    Every call ends within `timeout_s`. Risk's no is the returned value `Rejected`; trouble is raised, see `pit.errors`.
    As a context manager it is closed at the end, and what it still held goes back.
    """

    def __init__(self, transport: Transport, name: str, *, timeout_s: float = 1.0) -> None:
        super().__init__(name, timeout_s, transport.monotonic_ns)
        self._transport = transport

    def start_pre_trade(self, order: Order) -> DeferredRequest | Rejected:
        """Runs the start stage. A `DeferredRequest` to execute, or the rejects of every policy that said no."""
        sent_ns = self._monotonic_ns()
        answer = _calls.expect_or_no(self._ask(wire.Start(order)), wire.Deferred)
        if isinstance(answer, Rejected):
            return answer
        return DeferredRequest(self, order, answer, sent_ns)

    def execute_pre_trade(
        self, order: Order, *, sent: bool = False, lease_s: float | None = None
    ) -> Reservation | Rejected:
        """Both stages in one round trip. `sent=True` counts it as sent from here on, as by `mark_sent()`.

        Raises OutcomeUnknown, with the order's id, when no answer came in time.
        """
        sent_ns = self._monotonic_ns()
        reply = self._ask(wire.Check(order, sent, None if lease_s is None else _calls.lease_ns(lease_s)))
        return self._reservation_or_no(order, reply, sent_ns)

    def execute_pre_trade_many(
        self, orders: Iterable[Order], *, all_or_none: bool = False, sent: bool = False, lease_s: float | None = None
    ) -> list[Reservation | Rejected]:
        """Both stages for up to 100 orders in one round trip: an answer for each, in their order. Each counts for those
        after it, as if they had been asked for one by one.

        `all_or_none=True`, for the legs of a spread: a `Reservation` for every one, or a `Rejected` for every one
        and nothing is held; of an order that would pass by itself the reject says which other one is refused. So
        `all(answers)` tells. Each has a lease of its own and is settled by itself, as each goes to the venue by itself.
        The same orders again are answered as before. Raises InvalidInput for none, too many, or an id given twice.
        """
        wanted, sent_ns = tuple(orders), self._monotonic_ns()
        command = wire.CheckMany(wanted, sent, _calls.lease_ns(lease_s), all_or_none)
        answers = _calls.expect_each(self._ask(command), wanted)
        return [self._reservation_or_no(order, answer, sent_ns) for order, answer in zip(wanted, answers, strict=True)]

    def start_pre_trade_dry_run(self, order: Order, *, client: str = "") -> DryRun | Rejected:
        """What the start stage would say to the order now. Nothing is held or counted, rates neither. `client` is who
        would send it, where that is another: for the roles "operate" and "observe".
        """
        reply = self._query(wire.DryRun(order, True, client))
        answer = _calls.expect_or_no(reply, wire.WouldPass)
        return answer if isinstance(answer, Rejected) else answer.dry_run

    def execute_pre_trade_dry_run(self, order: Order, *, client: str = "") -> DryRun | Rejected:
        """What both stages would say to the order now: the same rejects, and nothing is held or counted.

        It is a question: it has no number and is not journaled, and by the time an order is sent it may be otherwise.
        `client` is who would send it, where that is another: for the roles "operate" and "observe".
        Raises CapacityExceeded, JournalBehind or Unavailable where the order itself could not be asked for.
        """
        answer = _calls.expect_or_no(self._query(wire.DryRun(order, False, client)), wire.WouldPass)
        return answer if isinstance(answer, Rejected) else answer.dry_run

    def explain(self, order: Order, *, client: str = "") -> Explanation:
        """What each limit would say to the order now: what is used of it and by whom, what is left, and the largest
        size that it would let pass; and the largest that all of them would. Nothing is held or counted.

        Orders of other clients are named for the roles "operate" and "observe" alone, who may also ask for another
        `client`.
        """
        return _calls.expect(self._query(wire.Explain(order, client)), wire.Explained).explanation

    def take(self, account: str, order_id: str, *, lease_s: float | None = None) -> Reservation | Rejected:
        """For a gateway about to send an order that a strategy holds: it counts as sent from here on, and is this
        client's to settle, under a lease of its own. Compare `reservation.order` with what is to be sent: that is what
        was checked. `replayed` says that this client had taken it before. `Rejected` if it is blocked by now, and then
        it is still the strategy's. Needs the role "gateway".

        Raises UnknownId, LeaseExpired or AlreadyFinalized when it is not there to be taken any more: then don't send;
        NotAuthorized when another gateway has it.
        """
        sent_ns = self._monotonic_ns()
        taken = _calls.expect_or_no(self._command(wire.Take(account, order_id, _calls.lease_ns(lease_s))), wire.Taken)
        if isinstance(taken, Rejected):
            return taken
        return Reservation(self, taken.order, _calls.accepted(taken), sent_ns)

    def modify_pre_trade(
        self,
        account: str,
        order_id: str,
        *,
        quantity: Number | None = None,
        price: Number | None = None,
        volume: Number | None = None,
        new_id: str | None = None,
        sent: bool = False,
        lease_s: float | None = None,
    ) -> Reservation | Rejected:
        """Both stages for a working order of this client as it is to be: what is left out stays as it is. `quantity` is
        the whole order's, what has traded included; `new_id` is the order's id from here on, beside the old one.

        The reservation is settled as an order's is: `commit()` once the venue has the modify, `rollback()` if it surely
        has not, `quarantine()` if nobody knows. Until the venue's report (`replaced`, `replace_rejected`) or the end of
        the order, limit by limit the worse of old and new counts.

        Raises InvalidInput for an order that is not working, for what has traded already or changes nothing, and while
        another modify of it is under way; AlreadyFinalized for one that has ended, UnknownId.
        """
        sent_ns = self._monotonic_ns()
        command = _calls.modify(account, order_id, quantity, price, volume, new_id, sent, lease_s)
        modified = _calls.expect_or_no(self._ask(command), wire.Modified)
        if isinstance(modified, Rejected):
            return modified
        return Reservation(self, modified.order, _calls.accepted(modified), sent_ns)

    def cancel_pre_trade(self, account: str, order_id: str) -> ClearedCancel | Rejected:
        """Tells that a cancel of that order is about to be sent. `Rejected` if it would break a message_rate: send it
        later. Under a block, a halt or a reducing state it is never refused. The order stays counted until the venue
        says that it is cancelled. It may be another client's order of an account that this one may touch.

        Raises AlreadyFinalized when there is nothing left to cancel, InvalidInput for an order that was not sent.
        """
        reply = self._ask(wire.Cancel(account, order_id))
        cleared = _calls.expect_or_no(reply, wire.CancelCleared)
        return cleared if isinstance(cleared, Rejected) else cleared.cleared

    def apply_execution_report(self, report: ExecutionReport) -> ReportResult:
        """Tells what the venue said. The same report twice is applied once.

        Raises InvalidInput when it can't be booked: other content under the same report id, no known asset.
        """
        return _calls.expect(self._command(wire.Report(report)), wire.Applied).result

    def apply_order_status(self, status: OrderStatus) -> ReportResult:
        """Tells how an order stands at the venue, for sources that know sums only: what is missing here is booked as a
        fill. It never counts twice beside reports of fills, and one that is older than what is known changes nothing.
        """
        return _calls.expect(self._command(wire.Status(status)), wire.Applied).result

    def apply_drop_copy(
        self, order: Order, *, venue_order_id: str | int | None = None, client: str = ""
    ) -> DropCopyResult:
        """Tells that an order is at the venue, though it may never have passed the gate: it is never refused, counts in
        every control as working, and what limits would have refused it for is told and flagged. Its fills and its end
        come as reports, before or after. One that the gate knows is at the venue from here on; the same again changes
        nothing. `client` is who sent it, where that is another: it is its, and limits count it for it. Role "report".

        Raises InvalidInput when nothing could be counted of it: no quantity, an instrument that is not declared.
        """
        venue_id, problem = _calls.venue_id(venue_order_id, order)
        if problem is not None:
            raise problem
        return _calls.expect(self._command(wire.DropCopy(order, venue_id, client)), wire.DropCopied).result

    def open_orders(self, account: str | None = None) -> list[OpenOrder]:
        """What this client has held, sent, quarantined or working, oldest first."""
        orders: list[OpenOrder] = []
        while True:
            after = orders[-1].reservation_id if orders else 0
            reply = self._query(wire.ListOpenOrders(after, account))
            page = _calls.expect(reply, wire.OpenOrders)
            orders.extend(page.orders)
            if not page.more:
                return orders

    def reservation(self, open_order: OpenOrder, *, modify: bool = False) -> Reservation:
        """The handle of an open order, or of the modify of it that is under way, to settle what an earlier process of
        this client left behind.
        """
        found = open_order if not modify else open_order.modify
        if found is None:
            raise InvalidInput(f"no modify of order {open_order.order.id} is under way")
        return Reservation(self, found.order, left_behind(found), self._monotonic_ns())

    def outcome(self, account: str, order_id: str) -> Outcome:
        """What became of an order id, as long as the daemon's journal goes back.

        Raises UnknownId when it was never received, or refused: then the message says by which limit. Unavailable when
        looking it up takes too long: ask again, it goes on meanwhile.
        """
        return _calls.expect(self._query(wire.AskOutcome(account, order_id)), wire.OutcomeIs).outcome

    def blocks(self) -> tuple[Block, ...]:
        """Every scope that may not trade now, and why."""
        return _calls.expect(self._query(wire.ListBlocks()), wire.Blocks).blocks

    def restrictions(self) -> tuple[Restriction, ...]:
        """Every scope (firm, group, account or instrument) that is halted now, by whom and why."""
        found: tuple[Restriction, ...] = ()
        while True:
            after = found[-1].scope if found else ""
            page = _calls.expect(self._query(wire.ListRestrictions(after)), wire.RestrictionsAre)
            found += page.restrictions
            if not page.more:
                return found

    def push_quote(
        self,
        instrument: Instrument | str,
        *,
        mark: Number | None = None,
        bid: Number | None = None,
        ask: Number | None = None,
        age_s: float = 0,
    ) -> bool:
        """Tells the newest price of an instrument, so old by now. False when a newer one was there. Role "quote".

        Limits value market orders by it while it is fresh ([gate] max_quote_age). It is gone with the daemon's process:
        push it again after a restart. Raises InvalidInput for what no price can be.
        """
        pushed = _calls.quote(instrument, mark, bid, ask, age_s)
        return _calls.expect(self._query(pushed), wire.Done).count > 0

    def ping(self) -> str:
        """The daemon's version: it is there and answers."""
        return _calls.expect(self._query(wire.Ping()), wire.Pong).version

    def ask(self, query: wire.Query) -> wire.Reply:
        """The answer to any question of `pit.wire`, for tools. Raises what a failure stands for."""
        reply = self._query(query)
        if isinstance(reply, wire.Failed):
            raise _calls.error_of(reply)
        return reply

    # ------------------------------------------------------------------------------------------ for operators

    def block(self, scope: str, reason: str, *, cancel: bool = True) -> None:
        """Stops "account NAME", "client NAME", "group NAME" or "firm", and asks for the cancel of what is open of it
        (not with `cancel=False`). Needs the role "operate", as all below.
        """
        _calls.expect(self._command(wire.BlockScope(scope, _calls.reason_text(reason), cancel)), wire.Done)

    def cancel_all(self, scope: str, reason: str) -> int:
        """Asks for the cancel of every open order of "firm", "group NAME", "account NAME", "client NAME" or "instrument
        NAME", and stops nothing: how many a first look of at most a thousand orders has found.
        """
        command = wire.CancelAll(scope, _calls.reason_text(reason))
        return _calls.expect(self._command(command), wire.Done).count

    def unblock(self, scope: str, reason: str) -> None:
        """Lifts an operator's block, and what a repeated_execution limit has stopped. A tripped P&L limit is not lifted
        so: `rearm` it.
        """
        _calls.expect(self._command(wire.UnblockScope(scope, _calls.reason_text(reason))), wire.Done)

    def halt(self, scope: str, reason: str, *, cancel: bool = True) -> None:
        """Halts trading of "firm", "group NAME", "account NAME" or "instrument NAME" (a symbol, or AAPL/USD).

        New orders under it are rejected. What is open is to be cancelled (not with `cancel=False`), and goes on to be
        settled, reported and rolled back.
        """
        self._set_trading_state(scope, TradingState.HALTED, reason, cancel)

    def reduce(self, scope: str, reason: str) -> None:
        """Has such a scope take no orders but those that reduce a position: smaller, and not through zero, once all
        open orders of that side are filled too. Of all states over an order the strictest wins; of one scope the last.
        """
        self._set_trading_state(scope, TradingState.REDUCING, reason)

    def resume(self, scope: str, reason: str) -> None:
        """Has that very scope take all orders again. Blocks and tripped limits stay. Raises UnknownId when it does."""
        self._set_trading_state(scope, TradingState.ACTIVE, reason)

    def shut_down(self, reason: str) -> None:
        """Ends the daemon once the batch in hand is done. Clients get no answers until it is started again."""
        _calls.expect(self._command(wire.ShutDown(_calls.reason_text(reason))), wire.Done)

    def rearm(self, limit: str, scope: str, room: Number, reason: str) -> None:
        """Grants a tripped P&L limit new room from where the P&L stands, in the limit's settlement asset."""
        command = wire.Rearm(limit, scope, exact(room, "room"), _calls.reason_text(reason))
        _calls.expect(self._command(command), wire.Done)

    def set_limit(
        self,
        limit: str,
        values: Mapping[str, Number | bool],
        *,
        reason: str,
        lasts_s: float | None = None,
        until: datetime | None = None,
    ) -> tuple[LimitOverride, ...]:
        """Numbers of a limit in the place of the configured ones, all of them or none: what holds from here on.

        They outlive restarts and reloads, until `clear_limit`, or for `lasts_s` seconds, or `until` a moment. A window
        is text: {"max_orders": 5, "window": "2s"}. Raises UnknownId for a limit that is not configured, InvalidInput.
        """
        lasts_ns, until_ns = _calls.lasts_ns(lasts_s), _calls.wall_ns(until)
        command = wire.SetLimit(limit, _calls.limit_values(values), _calls.reason_text(reason), lasts_ns, until_ns)
        return _calls.expect(self._command(command), wire.LimitSet).overrides

    def set_limits(
        self,
        limits: Mapping[str, Mapping[str, Number | bool]],
        *,
        reason: str,
        lasts_s: float | None = None,
        until: datetime | None = None,
    ) -> tuple[LimitOverride, ...]:
        """The same for several limits at once, by their names: all of it comes into force, or nothing."""
        values = tuple((limit, _calls.limit_values(numbers)) for limit, numbers in limits.items())
        ends = (_calls.lasts_ns(lasts_s), _calls.wall_ns(until))
        command = wire.SetLimits(values, _calls.reason_text(reason), *ends)
        return _calls.expect(self._command(command), wire.LimitSet).overrides

    def limits(self) -> tuple[wire.LimitSeen, ...]:
        """Every limit with what it has counted, scope by scope, in the order of the configuration."""
        found: list[wire.LimitSeen] = []
        query = wire.ListLimits()
        while True:
            page = _calls.expect(self._query(query), wire.LimitsAre)
            found += page.limits
            if page.position < 0:
                return tuple(found)
            query = wire.ListLimits(page.position, page.after)

    def clear_limit(self, limit: str, key: str | None = None, *, reason: str) -> int:
        """Lets the configured number hold again; without a key all of that limit. How many were cleared.

        Raises UnknownId when nobody has set it.
        """
        command = wire.ClearLimit(limit, key, _calls.reason_text(reason))
        return _calls.expect(self._command(command), wire.Done).count

    def positions(self, account: str | None = None) -> tuple[AccountPosition, ...]:
        """What the account holds of each instrument; without one, the positions of every account that the client may
        touch (of all accounts with the role "operate" or "observe"). From reported fills alone.

        Raises NotAuthorized where the account is another's.
        """
        found: list[AccountPosition] = []
        query = wire.ListPositions(account)
        while True:
            page = _calls.expect(self._query(query), wire.PositionsAre)
            found += page.positions
            if not page.more:
                return tuple(found)
            query = wire.ListPositions(account, found[-1].account, found[-1].instrument)

    def calendar(self) -> Calendar:
        """Which day it is for the firm and for accounts that have one of their own, which markets are open, and when
        that changes.
        """
        page = _calls.expect(self._query(wire.ListCalendar()), wire.CalendarIs)
        days, hours = list(page.days), page.hours
        while page.more:
            page = _calls.expect(self._query(wire.ListCalendar(days[-1].scope)), wire.CalendarIs)
            days += page.days
        return Calendar(days=tuple(days), hours=hours)

    def balances(self, account: str | None = None) -> tuple[AccountBalance, ...]:
        """What the account has of each asset, what its open orders hold of it and what they may bring; without one, of
        every account that the client may touch (of all with the role "operate" or "observe").

        An account has balances from the first that is said of it. Raises NotAuthorized where it is another's.
        """
        found: list[AccountBalance] = []
        query = wire.ListBalances(account)
        while True:
            page = _calls.expect(self._query(query), wire.BalancesAre)
            found += page.balances
            if not page.more:
                return tuple(found)
            query = wire.ListBalances(account, found[-1].account, found[-1].asset)

    def apply_account_adjustment(
        self, *adjustments: Adjustment, id: str, reason: str, imported: Iterable[str] = ()
    ) -> AdjustmentResult:
        """Sets or moves what accounts have, hold and have made: all of it, or nothing. What it came to, with the blocks
        of P&L limits that it has tripped. Needs the role "adjust" or "operate".

        The same `id` again from the same client changes nothing and is answered as already applied; the last 10,000
        are remembered. `imported` names accounts whose positions are complete with it, for those that must not trade
        before. Raises InvalidInput for what can't be meant, and for the same id with other content.
        """
        command = _calls.adjustment(adjustments, id, reason, imported)
        return _calls.expect(self._command(command), wire.Adjusted).result

    def limit_overrides(self) -> tuple[LimitOverride, ...]:
        """Every number of a limit that a person has set, by whom, why and until when."""
        found: tuple[LimitOverride, ...] = ()
        while True:
            page = _calls.expect(self._query(wire.ListOverrides(len(found))), wire.OverridesAre)
            found += page.overrides
            if not page.more:
                return found

    def reload(self, *, reason: str) -> ReloadResult:
        """Has the configuration read again: what is different from here on. Nothing that was counted is lost.

        Raises InvalidInput, with file, line and key, where it can't be meant: then everything is as it was.
        """
        return _calls.expect(self._command(wire.Reload(_calls.reason_text(reason))), wire.Reloaded).result

    def reload_dry_run(self) -> ReloadResult:
        """What `reload` would come to, and who would be stopped by it at once (`past`); nothing is changed.

        Raises InvalidInput, with file, line and key, where the configuration can't be meant.
        """
        return _calls.expect(self._query(wire.AskReload()), wire.Reloaded).result

    def settle(self, account: str, order_id: str, *, working: bool, reason: str) -> OrderState:
        """A person's word on an open order: it is working at the venue (True), or it was never sent (False)."""
        command = wire.SettleOrder(account, order_id, working, _calls.reason_text(reason))
        return _calls.expect(self._command(command), wire.Settled).state

    def settle_modify(self, account: str, order_id: str, *, replaced: bool, reason: str) -> OrderState:
        """A person's word on a modify that the venue has not answered: it goes by the new terms (True), or stays with
        the old ones (False). How the order stands after it.
        """
        command = wire.SettleModify(account, order_id, replaced, _calls.reason_text(reason))
        return _calls.expect(self._command(command), wire.Settled).state

    def close_order(self, account: str, order_id: str, *, reason: str) -> OrderState:
        """A person's word that nothing of an open order is left at the venue."""
        command = wire.CloseOrder(account, order_id, _calls.reason_text(reason))
        return _calls.expect(self._command(command), wire.Settled).state

    def accept_history(self, *, reason: str) -> None:
        """A person's word that trading may go on after JournalBehind: what is missing from the journal is accepted."""
        _calls.expect(self._command(wire.AcceptHistory(_calls.reason_text(reason))), wire.Done)

    # ------------------------------------------------------------------------------------------ life

    def poll(self, wait_s: float = 0) -> list[CancelRequest]:
        """The orders that are to be cancelled and were not told before: this client's own, because of a stop or a
        person, and with the role "cancel" those of others who did not confirm in time. Waits up to `wait_s` for some.

        Cancel each at the venue and report what it says: until then it is asked for, also after a reconnect. Call it
        about once a second, or whenever `fileno()` is readable. Raises what every call does.
        """
        return self._transport.notices(wait_s, self.timeout_s)

    def fileno(self) -> int:
        """A descriptor that is readable when `poll()` may have something to tell: for select, epoll and the like."""
        return self._transport.fileno()

    def flush(self) -> None:
        """Returns once every commit that nobody waited for has been confirmed.

        Raises PostedFailed for those that have failed; OutcomeUnknown when they are not confirmed in time: then they
        stay on their way, and are said again.
        """
        self._transport.flush(self.timeout_s)
        self._tell_failures()

    def close(self) -> None:
        """Ends the session: what it held is rolled back, what was sent and not settled is quarantined.

        Raises PostedFailed, once it is closed, for commits that have failed or were never confirmed.
        """
        self._transport.close()
        self._tell_failures()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<pit.Engine {self.name}>"

    def _set_trading_state(self, scope: str, state: TradingState, reason: str, cancel: bool = False) -> None:
        command = wire.SetTradingState(scope, state, _calls.reason_text(reason), cancel)
        _calls.expect(self._command(command), wire.Done)

    def _command(self, command: wire.Command) -> wire.Reply:
        if self._dropped_reservations or self._dropped_requests:
            return self._command_after_drop(command)
        return self._transport.command(command, self.timeout_s)

    def _command_after_drop(self, command: wire.Command) -> wire.Reply:
        return self._transport.command(command, self._time_left_s())

    def _ask(self, command: wire.Command) -> wire.Reply:
        """As `_command`, for what asks for something: not before it is told which commits have failed."""
        failures = self._transport.take_failures()
        if failures:
            raise PostedFailed(failures)
        return self._command(command)

    def _post(self, command: wire.Command, order_id: str) -> None:
        return self._transport.post(command, order_id, self.timeout_s)

    def _tell_failures(self) -> None:
        failures = self._transport.take_failures()
        if failures:
            raise PostedFailed(failures)

    def _query(self, query: wire.Query) -> wire.Reply:
        has_dropped = self._dropped_reservations or self._dropped_requests
        return self._transport.query(query, self._time_left_s() if has_dropped else self.timeout_s)

    def _time_left_s(self) -> float:
        """What is left of a call's time once what was let go before it has been given back."""
        began_ns = self._monotonic_ns()
        try:
            self._send_dropped()
        except OutcomeUnknown as trouble:  # of the drop alone: what the caller asks for has not left
            raise Unavailable(f"nothing was sent: {trouble}") from trouble
        return max(0.0, self.timeout_s - (self._monotonic_ns() - began_ns) / 1e9)

    def _send_dropped(self) -> bool:
        """Gives back what was let go unsettled; whether all of it was still to be. What can't be told now ends by its
        lease.
        """
        drop = self._take_dropped()
        done = _calls.expect(self._transport.command(drop, self.timeout_s), wire.Done)
        return done.count == len(drop.reservation_ids) + len(drop.request_ids)

    def _drop_now(self, reservation_id: int) -> bool:
        """Whether it surely was still leased, and is no more."""
        self._dropped_reservations.append(reservation_id)
        try:
            return self._send_dropped()
        except PitError:
            return False  # nothing is lost by silence: its lease ends it

    def _reservation_or_no(self, order: Order, reply: wire.Reply, sent_ns: int) -> Reservation | Rejected:
        if type(reply) is wire.Accepted:
            return Reservation(self, order, reply, sent_ns)
        return _calls.no(reply, wire.Accepted)


class DeferredRequest(RequestBase):
    """An order that passed the start stage. Executing it runs the main stage; letting it go gives nothing away."""

    _engine: Engine

    def execute(self, *, sent: bool = False, lease_s: float | None = None) -> Reservation | Rejected:
        """Runs the main stage: a `Reservation`, or the rejects; then nothing is held.

        Raises AlreadyFinalized the second time, LeaseExpired when it waited too long.
        """
        sent_ns = self._engine._monotonic_ns()
        self._is_over = True
        reply = self._engine._ask(wire.Execute(self.id, sent, _calls.lease_ns(lease_s)))
        return self._engine._reservation_or_no(self.order, reply, sent_ns)


class Reservation(ReservationBase):
    """What one accepted order holds, under a lease until it is settled.

    Leaving it as a context manager unsettled drops it: what was held is rolled back, what was sent is quarantined.
    A reservation that is simply let go is dropped with the engine's next call.
    """

    __slots__ = ()

    _engine: Engine

    def mark_sent(self) -> Reservation | Rejected:
        """Counts it as sent from here on: call it right before the venue. `Rejected` if it is blocked by now.

        Raises LeaseExpired when the lease has ended: then don't send.
        """
        return self._stand(wire.MarkSent(self.id))

    def renew(self, lease_s: float | None = None) -> Reservation | Rejected:
        """A new lease from now. `Rejected` if its account is blocked by now. Raises LeaseExpired when it has ended."""
        return self._stand(wire.Renew(self.id, _calls.lease_ns(lease_s)))

    def commit(self, *, venue_order_id: str | int | None = None, late: bool = False, wait: bool = True) -> None:
        """Keeps it: the order works at the venue. `late=True` says so of one whose lease had ended meanwhile.

        Raises LeaseExpired, or AlreadyFinalized, when it had ended; then it is not counted. AlreadyFinalized also
        when its last report came first: then nothing is left to do. A venue's id that can't be kept (65 characters,
        bytes) raises InvalidInput after the order has been committed without it: the order is at the venue, whatever
        its name; its reports are then to name it by `order_id`.

        `wait=False` says so as a fact and returns at once: counted as late if it must be, confirmed by the answer to a
        later call, by `engine.flush()` or by the close. A failure is raised there: see `PostedFailed`.
        """
        self._is_settled = True
        venue_id, problem = _NO_NAME if venue_order_id is None else _calls.venue_id(venue_order_id, self.order)
        if wait:
            reply = self._engine._command(wire.Commit(self.id, venue_id, late))
            self.state = _calls.expect(reply, wire.Settled).state
        else:
            self._engine._post(wire.Commit(self.id, venue_id, late=True), self.order.id)
            self.state = _WORKING
        if problem is not None:
            raise problem

    def rollback(self, *, reason: str = "") -> None:
        """Cancels it: the venue surely has nothing. Raises AlreadyFinalized once it is committed."""
        reply = self._engine._command(wire.Rollback(self.id, _calls.reason_text(reason)))
        self._is_settled = True
        self.state = _calls.expect(reply, wire.Settled).state

    def quarantine(self, *, reason: str = "") -> None:
        """It is not known whether the venue has it: it stays counted until a report or a person settles it."""
        reply = self._engine._command(wire.Quarantine(self.id, _calls.reason_text(reason)))
        self._is_settled = True
        self.state = _calls.expect(reply, wire.Settled).state

    def _stand(self, command: wire.MarkSent | wire.Renew) -> Reservation | Rejected:
        sent_ns = self._engine._monotonic_ns()
        stands = _calls.expect_or_no(self._engine._ask(command), wire.Settled)
        if isinstance(stands, Rejected):
            return stands
        self._now_stands(command, stands, sent_ns)
        return self

    def __enter__(self) -> Reservation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_to_drop:
            self._is_settled = True
            if self._engine._drop_now(self.id):
                self._was_dropped()
