"""The engine: takes one entry at a time, decides it, carries the effects out, and answers.

Everything that changes state goes through `_carry_out`, one effect at a time; everything above it decides. What an
entry did is therefore a list of values, which the journal keeps and recovery carries out again without deciding.
"""

from __future__ import annotations

import decimal
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple, assert_never

import msgspec

from pit.types import (
    Block,
    Order,
    Reject,
    RejectCode,
    Rejected,
    TradingState,
)

from . import (
    adjustments,
    balances,
    cancels,
    corrections,
    day_orders,
    drop_copies,
    failing,
    kills,
    many,
    named,
    overrides,
    pnl,
    revaluing,
    shadows,
    statuses,
    trading,
)
from . import entry as e
from .accounts import Accounts, reject_of, unknown
from .by_hand import ByHand
from .currency import Currency
from .days import Day, Days
from .entry import EndedBy, Failed, Failure, Hold
from .instruments import Instruments, Listed
from .kills import Cancels
from .limit_changes import LimitChanges
from .modifies import Modifies
from .numbers import EXACT, ZERO
from .orders import (
    CLOSED,
    ENDED,
    HELD,
    LEASED,
    ROLLED_BACK,
    SENT,
    SHARED_VENUE_ID,
    WORKING,
    Event,
    Leases,
    OrderRecord,
    Orders,
    Request,
    step,
    why_not,
)
from .pipeline import Pipeline
from .policy import Asks, Attempt, Policy, Unvalued, whole_quantity
from .positions import Positions
from .prices import Quote
from .reports import Reports
from .sessions import Session, Sessions
from .valuation import Valuation

_SKIPPED_MOST = 256
"""So many settled leases are let go of at once, at the most, while somebody asks for the first that runs."""


_COMMIT, _COMMIT_LATE, _ROLLBACK, _OWNER = Event.COMMIT, Event.COMMIT_LATE, Event.ROLLBACK, EndedBy.OWNER
"""Bound once: to look a member up in its enum costs more than to compare it."""

NEW_RISK = frozenset({e.StartOrder, e.CheckOrder, e.CheckMany, e.ExecuteRequest, e.ModifyOrder})
"""The commands that may add to what is counted. Everything else settles, tells or takes back."""

MORE_TO_SETTLE = NEW_RISK | {e.TakeOrder}
"""The commands that may add to what a session has to settle."""


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can pile up, and how far it may. Times are in nanoseconds."""

    lease_ns: int = 5_000_000_000
    lease_least_ns: int = 200_000_000
    lease_most_ns: int = 60_000_000_000
    unsettled_per_session: int = 10_000
    open_per_client: int = 200_000
    window: int = 64
    sessions_ended_kept: int = 1_000
    requests_ended_kept: int = 10_000
    reports_per_order: int = 10_000
    closed_kept: int = 50_000
    closed_kept_ns: int = 3_600_000_000_000
    leases_per_entry: int = 1_000
    restarts_in_a_row: int = 3
    epochs_kept: int = 1_000
    quote_ns: int = 5_000_000_000
    """A quote that is older is not used."""
    restrictions: int = 10_000
    adjustments_kept: int = 10_000
    overrides: int = 1_000
    cancel_ns: int = 2_000_000_000
    """How long the owner of an order that is to be cancelled has, before others are asked."""
    trips_cancel: bool = True
    """Whether a limit that stops somebody also wants their open orders cancelled."""
    busts_reopen: bool = True
    """Whether an order that was filled may trade again what is undone of it."""


class Setup(NamedTuple):
    """What a configuration makes of an engine."""

    policies: Callable[[overrides.Numbers], Sequence[Policy]]
    """The policies, with those numbers in the place of their limits' own."""
    terms: overrides.Terms
    limit_order: Sequence[str] = ()
    """The limits' names, in the order in which rejects are returned."""
    bounds: Bounds = Bounds()
    own_days: frozenset[str] = frozenset()
    """The accounts whose day has a rule of its own."""
    currency: Currency | None = None
    markets: frozenset[str] = frozenset()
    """The limits that name the hours of a market."""
    declared: frozenset[str] | None = None
    """The only accounts that may trade; None for any."""
    requires_positions: frozenset[str] = frozenset()
    """The accounts that must not trade before their positions have been imported for the day."""
    shadows: Callable[[overrides.Numbers], frozenset[str]] = lambda numbers: frozenset()
    """The limits that refuse nothing, with those numbers in the place of their own."""
    reactions: Mapping[str, TradingState] = {}
    """By a fill's flag: the trading state that its account gets."""
    pnl_sources: pnl.Sources = pnl.Sources()
    currencies: Mapping[str, str] = {}
    """The assets that accounts are kept in, by account."""
    clients: frozenset[str] | None = None
    """The only clients that may connect; None for any."""


class Judgement(NamedTuple):
    """What the pipeline says to an order: start-stage effects, what the main stage would hold, and the rejects."""

    effects: Sequence[e.Effect]
    holds: tuple[Hold, ...]
    rejects: tuple[Reject, ...]
    shadow_rejects: tuple[Reject, ...] = ()


class Result(msgspec.Struct, frozen=True, gc=False):
    """What one entry came to."""

    effects: tuple[e.Effect, ...]
    reply: e.Reply


class CarryOutFailed(Exception):
    """An effect could not be carried out: state may be half changed, and the process must not go on."""

    def __init__(self, message: str, account: str | None = None, reservation_id: int = 0) -> None:
        super().__init__(message)
        self.account = account
        """Whose order it was, where that can be told."""
        self.reservation_id = reservation_id
        """Which order it was, if it is open; 0 else."""


class Engine:
    """The deterministic core. Same entries, same effects, replies and state, on any machine.

    Every call runs under the exact decimal context: the caller sets it once for many (`numbers.EXACT`).
    """

    def __init__(
        self,
        *,
        policies: Sequence[Policy] = (),
        instruments: Instruments | None = None,
        groups: Mapping[str, str] | None = None,
        bounds: Bounds | None = None,
        setup_of: Callable[[str], Setup] | None = None,
    ) -> None:
        """What it is given holds until a `Configured` entry, whose settings `setup_of` makes a setup of."""
        self.bounds = bounds or Bounds()
        self.settings = ""
        self.policies = {policy.id: policy for policy in policies}
        assert len(self.policies) == len(policies), "two policies share an id"
        self.accounts = Accounts(groups or {})
        self.trading = trading.Trading()
        self.overrides = overrides.Overrides()
        self.days = Days()
        self.pnl_sources = pnl.Sources()
        self.instruments = instruments or Instruments({})
        self.pipeline = Pipeline(policies)
        self._setup_of = setup_of
        self.setup: Setup | None = None
        self.positions = Positions()
        self.positions.regroup(groups or {})
        self.valuation = Valuation(self.positions, lambda symbol: self.instruments.named(symbol))
        self._marks, self._rates = self.valuation.marks, self.valuation.rates
        self._unrealised = self.valuation.unrealised
        self.orders = Orders(
            self.positions, closed_kept=self.bounds.closed_kept, closed_kept_ns=self.bounds.closed_kept_ns
        )
        self.balances = balances.Balances()
        self.adjustments = adjustments.Adjustments()
        self._requires_positions: frozenset[str] = frozenset()
        self.clients: frozenset[str] | None = None
        self.requests: dict[int, Request] = {}
        self.requests_ended: OrderedDict[int, EndedBy] = OrderedDict()
        self.sessions = Sessions(window=self.bounds.window, ended_kept=self.bounds.sessions_ended_kept)
        self.leases = Leases()
        self.modifies = Modifies(self)
        self.reports = Reports(self)
        self.by_hand = ByHand(self)
        self.limit_changes = LimitChanges(self)
        self.reactions: Mapping[str, TradingState] = {}
        self.cancels = Cancels()
        self.orders.to_cancel = self.cancels.requests
        self.failing = failing.Failing()
        self._stopped: list[e.Blocked | e.TradingStateSet] = []
        """What the entry in hand has stopped."""
        self.disputed_seq = 0
        """The highest entry that a client has seen and this history does not have; 0 while nobody knows more."""
        self.accepted_seq = 0
        self.epochs: dict[bytes, int] = {}
        """The processes that have served, by the last entry of each; 0 for the one that serves."""
        """Up to which entry a person has accepted that history was lost."""
        self.is_whole = True
        """False inside a step, and for ever after one that was broken off: the state may be half changed."""
        self._quotes: tuple[Quote, ...] = ()
        """What the entry in hand knows of prices."""
        self._now_ns = 0
        self._seq = 0
        self._effects: list[e.Effect] = []
        self._on_command: dict[type, Callable[[Any, Session], e.Reply]] = {
            e.CheckOrder: self.check_leg,
            e.DropCopy: lambda command, session: drop_copies.apply(self, command, session),
            e.CheckMany: lambda command, session: many.check_many(self, command, session),
            e.StartOrder: self._start,
            e.ExecuteRequest: self._execute,
            e.MarkSent: self._mark_sent,
            e.Commit: self._commit,
            e.Rollback: self._rollback,
            e.Quarantine: self._quarantine,
            e.Renew: self._renew,
            e.Drop: self._drop,
            e.ApplyReport: self.reports.report,
            e.EndOwnSession: self._end_own_session,
            e.BlockScope: self.by_hand.block,
            e.UnblockScope: self.by_hand.unblock,
            e.Rearm: self.by_hand.rearm,
            e.SettleOrder: self.by_hand.settle_order,
            e.CloseOrder: self.by_hand.close_order,
            e.AcceptHistory: self.by_hand.accept_history,
            e.SetTradingState: self.by_hand.set_trading_state,
            e.ShutDown: self._shut_down,
            e.SetLimit: self.limit_changes.set_limit,
            e.SetLimits: self.limit_changes.set_limits,
            e.ClearLimit: self.limit_changes.clear_limit,
            e.Reload: self._reload,
            e.TakeOrder: self._take,
            e.AdjustAccounts: self._adjust,
            e.ModifyOrder: self.modifies.modify,
            e.SettleModify: self.modifies.settle,
            e.ApplyStatus: lambda command, session: statuses.apply(self, command, session),
            e.CancelOrder: lambda command, session: cancels.cancel(self, command, session),
            e.CancelAll: self._cancel_all,
        }
        self._on_effect: dict[type, Callable[[Any], None]] = {
            e.RequestOpened: self._do_request_opened,
            e.RequestEnded: self._do_request_ended,
            e.OrderOpened: self._do_order_opened,
            e.OrderMoved: self._do_order_moved,
            e.OrderFilled: self._do_order_filled,
            e.OrderNamed: self._do_order_named,
            e.OrderFlagged: self._do_order_flagged,
            e.OrderAdopted: self._do_order_adopted,
            e.StrangerNoted: self._do_stranger_noted,
            e.ReportNoted: self._do_report_noted,
            e.LeaseSet: self._do_lease_set,
            e.LeasesRestarted: self._do_leases_restarted,
            e.PositionChanged: self._do_position_changed,
            e.DayBegan: self._do_day_began,
            e.DayEnded: self._do_day_ended,
            e.DayOrdersClosed: self._do_day_orders_closed,
            e.HoursChanged: lambda effect: self.days.open_or_close(effect.limit, effect.is_open, effect.until),
            e.PolicyChanged: self._do_policy_changed,
            e.Blocked: self._do_blocked,
            e.Unblocked: self._do_unblocked,
            e.ShadowBlocked: lambda effect: self.accounts.apply_shadow(effect.block),
            e.ShadowUnblocked: lambda effect: self.accounts.lift_shadow(effect.scope, effect.limit),
            e.SessionStarted: self._do_session_started,
            e.SessionFinished: self._do_session_finished,
            e.VoidedUpTo: self._do_voided,
            e.Reconfigured: self._do_reconfigured,
            e.Overridden: self._do_overridden,
            e.HoldsReplaced: self._do_holds_replaced,
            e.EpochBegan: self._do_epoch_began,
            e.Disputed: self._do_disputed,
            e.HistoryAccepted: self._do_history_accepted,
            e.TradingStateSet: self._do_trading_state_set,
            e.OrderTaken: self._do_order_taken,
            e.BalancesMoved: lambda effect: self.balances.move(effect.account, effect.moves),
            e.AdjustmentNoted: lambda effect: self.adjustments.note(effect, self.bounds.adjustments_kept),
            e.ModifyOpened: self.modifies.do_opened,
            e.ModifyMoved: self.modifies.do_moved,
            e.ModifyNamed: self.modifies.do_named,
            e.ModifyLeaseSet: self.modifies.do_lease_set,
            e.ModifyHolds: self.modifies.do_holds,
            e.OrderReplaced: self.modifies.do_replaced,
            e.QuotesKept: self._do_quotes_kept,
            e.CancelAsked: lambda effect: cancels.do_asked(self, effect),
            e.FillChanged: self._do_fill_changed,
            e.StatusNoted: self._do_status_noted,
            e.CancelRefused: lambda effect: cancels.do_refused(self, effect),
            e.CancelsWanted: lambda effect: self.cancels.begin(effect, self._seq),
            e.CancelsRequested: lambda effect: self.cancels.ask(effect, self._seq, self._now_ns),
            e.CancelsSwept: lambda effect: self.cancels.swept(effect.after),
            e.CancelsAskedAgain: lambda effect: self.cancels.ask_again(effect.reservation_ids, self._seq, self._now_ns),
            e.CancelsEscalated: lambda effect: self.cancels.escalate(effect.reservation_ids, self._seq),
            e.CancelsTold: lambda effect: self.cancels.tell(effect.client, effect.reservation_ids, self._now_ns),
            e.CancelsConfirmed: lambda _: self.cancels.over(),
            e.PolicyFailed: self.failing.apply,
            e.PolicyRecovered: self.failing.over,
        }

    @property
    def seq(self) -> int:
        """The sequence number of the last entry applied."""
        return self._seq

    @property
    def now_ns(self) -> int:
        """The moment of the last entry applied."""
        return self._now_ns

    @property
    def wall_ns(self) -> int:
        """The wall time of the last entry applied."""
        return self._rates.wall_ns

    def stand_at(self, seq: int, now_ns: int, quotes: tuple[Quote, ...] = (), wall_ns: int = 0) -> None:
        """Where a state that was loaded from a snapshot goes on from; and what the entry in hand knows of prices, for a
        judgement.
        """
        self._seq, self._now_ns, self._quotes = seq, now_ns, quotes
        self._rates.wall_ns = wall_ns
        self.valuation.marks.keep(self.valuation.marks.new_among(quotes))

    def apply(self, entry: e.Entry) -> Result:
        """Decides an entry, carries it out and answers it. Raises CarryOutFailed when state may be half changed."""
        now_ns, quotes, body = entry.now_ns, entry.quotes, entry.body
        unrealised, failures, cancels = self._unrealised, self.failing, self.cancels
        self._begin(entry.seq, now_ns)
        self._rates.wall_ns = entry.wall_ns
        self._quotes = quotes
        if quotes:
            new = self.valuation.marks.new_among(quotes)
            if new:
                self.emit(e.QuotesKept(new))
                self.revalue()
        if failures.by_key:
            failing.ask_again(self)
        if type(body) is e.Commanded:
            command = body.command
            session = self.sessions.by_id.get(body.session)
            assert session is not None and session.next_number == body.number
            if unrealised.has_due:
                revaluing.look_before(self, command)
            reply = self._on_command[type(command)](command, session)
            self.sessions.answered(session, body.number, body.acked, body.digest, reply)
        else:
            reply = self._apply_other(body)
        if unrealised.has_moved:
            self.revalue()
        if failures.by_key:
            failing.follow_up(self)
        if self._stopped or cancels.kills or cancels.sweeps or cancels.asked:
            kills.follow_up(self, body, self._effects, self._stopped)
        if now_ns >= self.orders.forget_at_ns:
            self.orders.forget(now_ns)
        effects = tuple(self._effects)
        self._effects = []
        self.is_whole = True
        return Result(effects, reply)

    def carry_out(self, deed: e.Deed) -> None:
        """Takes up what an entry did, from its recorded effects and reply, without deciding it again."""
        now_ns, sessions, orders = deed.now_ns, self.sessions, self.orders
        self._begin(deed.seq, now_ns)
        on_effect = self._on_effect
        effect: e.Effect | None = None
        try:
            for effect in deed.effects:
                on_effect[type(effect)](effect)
        except Exception as trouble:
            assert effect is not None
            raise self._failed(effect, trouble) from trouble
        if deed.session:
            session = sessions.by_id.get(deed.session) or sessions.get(deed.session)
            assert session is not None
            sessions.answered(session, deed.number, deed.acked, deed.digest, deed.reply)
        if self._unrealised.has_moved:
            self._unrealised.looked_at()
        if now_ns >= orders.forget_at_ns:
            orders.forget(now_ns)
        self.is_whole = True

    def revalue(self) -> tuple[Block, ...]:
        """Has policies look at marks, positions and P&L that are others by now, and tells what that has tripped."""
        unrealised = self.valuation.unrealised
        if not unrealised.has_moved:
            return ()
        effects = failing.revalued(self, tuple(unrealised.moved))
        unrealised.looked_at()
        return self.emit_wanted(effects)

    def emit_wanted(self, wanted: Sequence[e.Effect]) -> tuple[Block, ...]:
        """Carries out what policies want: the blocks among it."""
        for effect in wanted:
            self.emit(effect)
        return tuple(effect.block for effect in wanted if type(effect) is e.Blocked)

    def has_due(self, now_ns: int) -> bool:
        """Whether there is something to give back by then.

        Leases that were settled before their end surface here and are let go of: they change nothing, so no entry has
        to say it, and every second row of a busy journal would.
        """
        if self.sessions.ending:
            return True
        leases = self.leases
        while (first := leases.first()) is not None and first[0] <= now_ns:
            if self._runs(*first):
                return True
            leases.skip()
        return False

    def first_lease_end_ns(self) -> int | None:
        """When the next lease may end; now, while an ended session or day still has something to give back."""
        if self.sessions.ending or self.days.closing:
            return self._now_ns
        for _ in range(_SKIPPED_MOST):  # else a quiet daemon wakes at the end of every lease that was settled long ago
            first = self.leases.first()
            if first is None or self._runs(*first):
                break
            self.leases.skip()
        first_ns = self.leases.first_ns()
        if not self.cancels.requests and not self.cancels.sweeps:
            return first_ns
        due_ns = self.cancels.first_due_ns()
        return min((each for each in (first_ns, due_ns) if each is not None), default=None)

    def over_bound(self, session: Session, command: e.Command) -> str | None:
        """Why a session may not pile up any more, or None."""
        bounds, more = self.bounds, 0
        if type(command) not in MORE_TO_SETTLE:
            return None
        if type(command) is e.CheckMany:
            more = len(command.orders) - 1
        elif type(command) is e.TakeOrder:
            record = self.orders.known_as(command.account, command.order_id)
            if record is None or record.client == session.client:
                return None  # nothing would be added
        if type(command) is not e.ExecuteRequest and len(session.unsettled) + more >= bounds.unsettled_per_session:
            return f"session {session.id} has {bounds.unsettled_per_session} reservations and requests to settle first"
        mine = self.orders.by_client.get(session.client)
        if mine is not None and len(mine) + more >= bounds.open_per_client:
            return f"client {session.client} has {bounds.open_per_client} open orders"
        return None

    def _begin(self, seq: int, now_ns: int) -> None:
        assert seq == self._seq + 1 and now_ns >= self._now_ns, (seq, self._seq)
        self._seq = seq
        self._now_ns = now_ns
        if self._marks.peeked:
            self._marks.unpeek()
        if self._unrealised.has_moved:
            self._unrealised.looked_at()  # what has moved by who only asked
        self.is_whole = False
        if self._stopped:
            self._stopped = []

    def _apply_other(self, body: e.Body) -> e.Reply:
        match body:
            case e.LeasesDue():
                return e.Done(self._end_leases(body.most))
            case e.SessionOpened():
                fenced = self.sessions.live(body.client)
                if fenced is not None:
                    self.emit(e.SessionFinished(fenced.id, EndedBy.FENCED))
                self.emit(e.SessionStarted(self._seq, body.client, body.token))
                return e.Opened(self._seq)
            case e.SessionEnded():
                session = self.sessions.get(body.session)
                if session is not None and session.ended_by is None:
                    self.emit(e.SessionFinished(session.id, EndedBy.CLIENT_GONE))
                return e.Done()
            case e.NumberVoided():
                self.emit(e.VoidedUpTo(body.session, body.number, body.acked))
                return e.Void()
            case e.QuotesMoved():
                self.valuation.unrealised.call_due(body.after, body.upto)
                return e.Done(len(self._quotes))  # they have been taken up, as with any entry
            case e.Resumed():
                if body.epoch:
                    self.emit(e.EpochBegan(body.epoch))
                self.emit(e.LeasesRestarted(self._now_ns))
                return e.Done()
            case e.Configured():
                return e.Done(self._reconfigure(body))
            case e.OverridesDue():
                over = self.overrides.ended_by(body.wall_ns)
                if over:
                    self.emit(e.Overridden((), tuple((each.limit, each.key) for each in over)))
                    self.settle_shadows()
                return e.Done(len(over))
            case e.DayDue() | e.DayEndDue() | e.DayOrdersDue() | e.HoursDue():
                wanted = day_orders.decided(self, body)
                for effect in wanted.effects:
                    self.emit(effect)
                return e.Done(wanted.done)
            case e.HistoryDisputed():
                self.emit(e.Disputed(max(body.seen_seq, self.disputed_seq)))
                return e.Done()
            case e.CancelsDue():
                return e.Done(kills.escalate(self, body.most))
            case e.CancelsRead():
                self.emit(e.CancelsTold(body.client, body.reservation_ids))
                return e.Done(len(body.reservation_ids))
            case e.Poisoned():
                raise AssertionError("a poisoned entry is only ever carried out")
            case e.Commanded():
                raise AssertionError("commands are applied by apply()")
            case _:
                assert_never(body)

    # ------------------------------------------------------------------------------------------ the two stages

    def check_leg(self, command: e.CheckOrder, session: Session, leg: int = 0) -> e.Reply:
        """Both stages for the order at that place of the entry."""
        order = command.order
        known = None
        if (order.account, order.id) in self.orders.by_key:
            known = self.known(order)
            if known is not None and self.is_retry(known, order, session):
                return self.accepted_again(known, command.sent)
        attempt = self.attempt_of(order, session.client)
        rejects = self.start_stage(attempt, known)
        if rejects:
            return _refused(order, rejects, attempt)
        return self._main_stage(attempt, session, command.sent, command.lease_ns, leg)

    def _start(self, command: e.StartOrder, session: Session) -> e.Reply:
        order = command.order
        known = self.known(order)
        shadow_rejects: tuple[Reject, ...] = ()
        if known is None or not self.is_retry(known, order, session):
            attempt = self.attempt_of(order, session.client)
            rejects = self.start_stage(attempt, known)
            if rejects:
                return _refused(order, rejects, attempt)
            shadow_rejects = attempt.shadow_rejects
        lease_end_ns = self._now_ns + self.bounds.lease_ns
        self.emit(e.RequestOpened(self._seq, order, session.id, lease_end_ns))
        return e.Deferred(self._seq, order.id, lease_end_ns, shadow_rejects)

    def _execute(self, command: e.ExecuteRequest, session: Session) -> e.Reply:
        request = self.requests.get(command.request_id)
        if request is None:
            return self._no_request(command.request_id)
        if request.session != session.id:
            owner = self.sessions.get(request.session)
            if owner is None or owner.client != session.client:
                return Failed(Failure.NOT_AUTHORIZED, f"request {request.request_id} belongs to another client")
        if request.lease_end_ns <= self._now_ns or request.session in self.sessions.ending:
            self.emit(e.RequestEnded(request.request_id, self.lapse_reason(request.session)))
            return self._no_request(command.request_id)
        order = request.order
        self.emit(e.RequestEnded(request.request_id, EndedBy.EXECUTED))
        known = self.known(order)
        if known is not None:
            if self.is_retry(known, order, session):
                return self.accepted_again(known, command.sent)
            return _refused(order, (self._duplicate(known),))
        stops = self.stops_on(order, self.instruments.find(order.instrument), session.client)
        if stops:
            return _refused(order, stops)
        return self._main_stage(self.attempt_of(order, session.client), session, command.sent, command.lease_ns)

    def judge(self, order: Order, client: str, *, is_started: bool = False) -> Judgement:
        """What both stages would say to an order now, whatever orders of that id there were; of one that has started,
        what the main stage would. Changes nothing.
        """
        attempt = self.attempt_of(order, client)
        effects: Sequence[e.Effect] = ()
        if is_started:
            rejects = self.stops_on(order, attempt.listed, client)
        else:
            effects, rejects = self.judge_start(attempt, None)
        if not rejects:
            tripped = (effect.block for effect in effects if type(effect) is e.Blocked)
            halting = (block for block in tripped if block.state is not TradingState.REDUCING or not attempt.reduces)
            rejects = tuple(map(reject_of, halting))
        if rejects:
            return Judgement(effects, (), rejects, attempt.shadow_rejects)
        holds, rejects = self.pipeline.main(attempt)
        return Judgement(effects, holds, rejects, attempt.shadow_rejects)

    def hold(self, order: Order, client: str) -> tuple[Hold, ...]:
        """What the main stage would hold for an order, whether or not it would take it. Changes nothing."""
        return self.pipeline.main(self.attempt_of(order, client))[0]

    def worth(self, order: Order, client: str) -> tuple[str, Decimal | None]:
        """An order's settlement asset, and its notional where that can be told."""
        attempt = self.attempt_of(order, client)
        try:
            return attempt.listed.settlement, attempt.notional() if attempt.listed.settlement else None
        except Unvalued:
            return attempt.listed.settlement, None

    def attempt_of(self, order: Order, client: str) -> Attempt:
        """An order on its way through a stage now."""
        listed = self.instruments.find(order.instrument)
        if listed is None:
            listed = Listed(symbol=str(order.instrument), underlying=str(order.instrument), settlement="")
        return Attempt(
            order,
            listed,
            client,
            self.accounts.group_of(order.account),
            self._now_ns,
            self.positions,
            self.quote_of(listed.symbol) if self._quotes else None,
            self.days,
            self.balances,
            None,
            None,
            self.valuation,
        )

    def attempt_at(self, order: Order, client: str, now_ns: int, quotes: tuple[Quote, ...] = ()) -> Attempt:
        """An order on its way through a stage at that moment, with what is known of prices then: for who only asks."""
        kept = self._now_ns, self._quotes
        self._now_ns, self._quotes = now_ns, quotes
        if quotes:
            self.valuation.marks.peek(quotes)
        try:
            return self.attempt_of(order, client)
        finally:
            self._now_ns, self._quotes = kept

    def quote_of(self, symbol: str) -> Quote | None:
        """What the entry in hand knows of an instrument's price, unless that is too old to be used."""
        for quote in self._quotes:
            if quote.symbol == symbol and self._now_ns - quote.at_ns <= self.bounds.quote_ns:
                return quote
        return None

    def symbols_to_quote(self, command: e.Command) -> tuple[str, ...]:
        """The instruments whose quotes a command is to bring along, because a policy asks for them."""
        asked = self.pipeline.asks_for_quotes
        if asked is Asks.NEVER:
            return ()
        if isinstance(command, e.DropCopy):
            command = e.CheckOrder(command.order, False, None)
        if isinstance(command, e.CheckMany):
            each = (self.symbols_to_quote(e.CheckOrder(order, False, None)) for order in command.orders)
            return tuple(dict.fromkeys(symbol for symbols in each for symbol in symbols))
        if isinstance(command, e.ExecuteRequest):
            request = self.requests.get(command.request_id)
            order = None if request is None else request.order
        elif isinstance(command, e.ModifyOrder):
            record = self.orders.known_as(command.account, command.order_id)
            order = None if record is None else record.order
        else:
            order = command.order if isinstance(command, e.CheckOrder | e.StartOrder) else None
        if order is None or (asked is Asks.WITHOUT_PRICE and order.price is not None):
            return ()
        listed = self.instruments.find(order.instrument)
        return () if listed is None else (listed.symbol,)

    def start_stage(self, attempt: Attempt, known: OrderRecord | None) -> tuple[Reject, ...]:
        effects, rejects = self.judge_start(attempt, known)
        for effect in effects:
            self.emit(effect)
        return rejects

    def judge_start(self, attempt: Attempt, known: OrderRecord | None) -> tuple[Sequence[e.Effect], tuple[Reject, ...]]:
        """What the start stage would do and say, where `known` is an order of that id. Changes nothing."""
        ahead: list[Reject] = []
        is_listed = attempt.listed.settlement != ""
        if not is_listed:
            ahead.append(_engine_reject(RejectCode.UNKNOWN_INSTRUMENT, attempt.order, _undeclared(attempt.listed)))
        if known is not None:
            ahead.append(self._duplicate(known))
        stops = self.stops_on(attempt.order, attempt.listed, attempt.client)
        if self.accounts.shadowed:
            shadows.note_blocks(self.accounts, attempt)
        effects, rejects = self.pipeline.start(attempt, is_listed)
        if stops:
            rejects = self.pipeline.in_order([*stops, *rejects])
        return effects, (*ahead, *rejects) if ahead else rejects

    def stops_on(
        self, order: Order, listed: Listed | None, *clients: str, weigh: Callable[[], trading.Weighed] | None = None
    ) -> tuple[Reject, ...]:
        """Every block and every trading state that keeps an order of these clients (who asked for it, and who is to
        send it) from going out: looked at again wherever it may go on. `weigh` says whether it reduces, of one that is
        on its way already.
        """
        accounts, requires = self.accounts, self._requires_positions
        if not accounts.blocked and accounts.declared is None and not self.trading.restricted and not requires:
            return ()
        blocks = accounts.blocks_on(order.account, *clients)
        is_declared = accounts.may_trade(order.account)
        awaits = order.account in requires and not self.adjustments.is_imported(order.account)
        if is_declared and not blocks and not self.trading.restricted and not awaits:
            return ()
        group, symbol = self.accounts.group_of(order.account), None if listed is None else listed.symbol
        restrictions = self.trading.over(order.account, group, symbol)
        weigh = weigh or (lambda: trading.weigh(self.positions, order, listed))
        strange = () if is_declared else (unknown(order.account),)
        return (
            *strange,
            *(trading.reject_of(each, weigh) for each in restrictions if trading.stops(each, weigh)),
            *(reject_of(each) for each in blocks if trading.stops(each, weigh)),
            *([self._awaits_import(order.account)] if awaits else ()),
        )

    def _awaits_import(self, account: str) -> Reject:
        day = self.days.of(account)
        return adjustments.awaits_import(account, "" if day is None else day.name)

    def stops_on_open(self, record: OrderRecord, sender: str | None = None) -> tuple[Reject, ...]:
        """What keeps an order that is open, and counted, from going on: sent by that client, or by its own."""
        assert record.order is not None
        clients = record.asked_by, sender or record.client
        return self.stops_on(record.order, record.listed, *clients, weigh=lambda: self._weigh_open(record))

    def _weigh_open(self, record: OrderRecord) -> trading.Weighed:
        """Whether an open order reduces, beside all others that are on their way."""
        assert record.order is not None
        self.orders.expect_no_more(record)
        try:
            return trading.weigh(self.positions, record.order, record.listed, record.may_trade)
        finally:
            self.orders.expect(record)

    def _main_stage(
        self, attempt: Attempt, session: Session, sent: bool, lease_ns: int | None, leg: int = 0
    ) -> e.Reply:
        order = attempt.order
        if self._stopped:  # the start stage itself may have tripped a switch
            stops = self.stops_on(order, attempt.listed, attempt.client)
            if stops:
                return _refused(order, stops, attempt)
        holds, rejects = self.pipeline.main(attempt)
        if rejects:
            return _refused(order, rejects, attempt)
        return self.open_leg(leg, attempt, session, sent, lease_ns, holds)

    def open_leg(
        self, leg: int, attempt: Attempt, session: Session, sent: bool, lease_ns: int | None, holds: tuple[Hold, ...]
    ) -> e.Reply:
        """Takes an order that both stages have let pass: the one at that place of the entry."""
        order = attempt.order
        state = SENT if sent else HELD
        lease_ns = self.bounds.lease_ns if lease_ns is None else self.granted_ns(lease_ns)
        lease_end_ns = self._now_ns + lease_ns
        id = e.leg_id(self._seq, leg) if leg else self._seq
        self.emit(e.OrderOpened(id, order, session.client, session.id, state, lease_ns, lease_end_ns, holds))
        return e.Accepted(id, order.id, state, lease_end_ns, False, attempt.shadow_rejects)

    def known(self, order: Order) -> OrderRecord | None:
        """The order that has this id already, where it stands by now."""
        known = self.orders.known_as(order.account, order.id)
        if known is not None:
            self.lapse_if_due(known)
        return known

    def is_retry(self, known: OrderRecord, order: Order, session: Session) -> bool:
        """The same order from the same client while it is open. One that has ended must not look accepted again."""
        return known.order == order and known.client == session.client and known.state not in ENDED

    def accepted_again(self, known: OrderRecord, sent: bool) -> e.Reply:
        if sent and known.state is HELD:
            assert known.order is not None
            stops = self.stops_on_open(known)
            if stops:
                return _refused(known.order, stops)
            self.emit(e.OrderMoved(known.reservation_id, SENT))
        return e.Accepted(known.reservation_id, known.order_id, known.state, known.lease_end_ns, True)

    def _duplicate(self, known: OrderRecord) -> Reject:
        now = f"has ended ({known.state}, {known.ended_by})" if known.state in ENDED else f"is open ({known.state})"
        return Reject(
            code=RejectCode.DUPLICATE_CLIENT_ORDER_ID,
            policy="engine",
            limit="order_id",
            scope=f"account {known.account}",
            reason=f"order id {known.order_id} has been used: that order {now}; use a new id",
        )

    def granted_ns(self, wish_ns: int | None) -> int:
        """How long a lease is given, whatever was wished for."""
        bounds = self.bounds
        if wish_ns is None:
            return bounds.lease_ns
        return min(max(wish_ns, bounds.lease_least_ns), bounds.lease_most_ns)

    def _no_request(self, request_id: int) -> Failed:
        ended_by = self.requests_ended.get(request_id)
        if ended_by is None:
            return Failed(Failure.UNKNOWN_ID, f"no request {request_id} is known")
        if ended_by is EndedBy.EXECUTED:
            return Failed(Failure.ALREADY_FINALIZED, f"request {request_id} has been executed before")
        return Failed(Failure.LEASE_EXPIRED, f"request {request_id} is over ({ended_by}); start the order again")

    # ------------------------------------------------------------------------------------------ reservations

    def _mark_sent(self, command: e.MarkSent, session: Session) -> e.Reply:
        return self._on_reservation(command.reservation_id, session, Event.MARK_SENT, guarded=True)

    def _take(self, command: e.TakeOrder, session: Session) -> e.Reply:
        """Also of an order that is marked as sent already: by a strategy that gives it to a gateway as to a venue."""
        record = self.orders.known_as(command.account, command.order_id)
        if record is None or record.order is None:
            why = f"no order {command.order_id} of account {command.account} is known, or it closed long ago"
            return Failed(Failure.UNKNOWN_ID, why)
        is_mine = record.client == session.client
        if record.taken_from and not is_mine:
            why = f"order {record.order_id} has been taken by the gateway {record.client}, and is its to settle"
            return Failed(Failure.NOT_AUTHORIZED, why)
        self.lapse_if_due(record)
        does = step(Event.TAKE, record)
        if does.refuse is not None:
            return Failed(does.refuse, why_not(Event.TAKE, record))
        if is_mine and record.state is SENT:
            return e.Taken(record.reservation_id, record.order, SENT, record.lease_end_ns, True)
        stops = self.stops_on_open(record, session.client)
        if stops:
            return _refused(record.order, stops)
        lease_ns = self.granted_ns(command.lease_ns)
        end_ns = self._now_ns + lease_ns
        self.emit(e.OrderTaken(record.reservation_id, session.client, session.id, lease_ns, end_ns))
        if record.state is not SENT:
            self.emit(e.OrderMoved(record.reservation_id, SENT))
        return e.Taken(record.reservation_id, record.order, SENT, end_ns)

    def _commit(self, command: e.Commit, session: Session) -> e.Reply:
        event = _COMMIT_LATE if command.late else _COMMIT
        reply = self._on_reservation(command.reservation_id, session, event)
        if type(reply) is e.Stands and command.venue_order_id is not None:
            record = self.orders.find(command.reservation_id)
            if record is None:
                self.modifies.learn_name(command.reservation_id, command.venue_order_id)
            else:
                self.learn_name(record, command.venue_order_id)
        return reply

    def _rollback(self, command: e.Rollback, session: Session) -> e.Reply:
        return self._on_reservation(command.reservation_id, session, _ROLLBACK, _OWNER, command.reason)

    def _quarantine(self, command: e.Quarantine, session: Session) -> e.Reply:
        return self._on_reservation(command.reservation_id, session, Event.QUARANTINE, None, command.reason)

    def _renew(self, command: e.Renew, session: Session) -> e.Reply:
        reply = self._on_reservation(command.reservation_id, session, Event.RENEW, guarded=True)
        if type(reply) is not e.Stands:
            return reply
        lease_ns = self.granted_ns(command.lease_ns)
        lease_end_ns = self._now_ns + lease_ns
        if command.reservation_id in self.orders.modified:
            self.emit(e.ModifyLeaseSet(command.reservation_id, lease_ns, lease_end_ns))
        else:
            self.emit(e.LeaseSet(command.reservation_id, lease_ns, lease_end_ns))
        return e.Stands(reply.state, lease_end_ns)

    def _on_reservation(
        self,
        reservation_id: int,
        session: Session,
        event: Event,
        ended_by: EndedBy | None = None,
        reason: str = "",
        *,
        guarded: bool = False,
    ) -> e.Reply:
        record = self.orders.open.get(reservation_id) or self.orders.closed.get(reservation_id)
        if record is None:
            reply = self.modifies.on_reservation(reservation_id, session, event, ended_by, reason, guarded)
            if reply is not None:
                return reply
            return Failed(Failure.UNKNOWN_ID, f"no reservation {reservation_id} is known, or it closed long ago")
        if record.client != session.client and event is not _COMMIT_LATE:
            return Failed(Failure.NOT_AUTHORIZED, _whose(record, session))
        if record.lease_end_ns <= self._now_ns or self.sessions.ending:
            self.lapse_if_due(record)
        does = step(event, record)
        if does.refuse is not None:
            return Failed(does.refuse, why_not(event, record))
        if guarded and record.order is not None and not (event is Event.MARK_SENT and record.state is SENT):
            stops = self.stops_on_open(record)
            if stops:
                return _refused(record.order, stops)
        to = does.to
        if to is not None and to is not record.state:
            self.emit(e.OrderMoved(reservation_id, to, ended_by if to in ENDED else None, reason))
            if does.flag:
                self.emit(e.OrderFlagged(reservation_id, does.flag))
        return e.Stands(record.state, record.lease_end_ns if record.state in LEASED else 0)

    def _drop(self, command: e.Drop, session: Session) -> e.Reply:
        """Ends what a client let go of. What is settled, unknown or another's is passed over: nothing is left to do."""
        count = 0
        for request_id in command.request_ids:
            request = self.requests.get(request_id)
            if request is not None and request.session == session.id:
                self.emit(e.RequestEnded(request_id, EndedBy.DROPPED))
                count += 1
        for reservation_id in command.reservation_ids:
            record = self.orders.open.get(reservation_id)
            if record is not None and record.client == session.client and record.state in LEASED:
                self._lapse(record, EndedBy.DROPPED)
                count += 1
            elif record is None and self.modifies.drop(reservation_id, session):
                count += 1
        return e.Done(count)

    # ------------------------------------------------------------------------------------------ ends of leases

    def _end_leases(self, most: int) -> int:
        """Gives back what ended sessions held and what leases have run out, at most so many."""
        count = 0
        for session in list(self.sessions.ending.values()):
            for id in list(session.unsettled):
                if count >= most:
                    return count
                self._end_one(id, session.ended_by or EndedBy.CLIENT_GONE)
                count += 1
        self._sweep_leases()
        while count < most:
            due = next(self.leases.due(self._now_ns), None)
            if due is None:
                break
            if self._runs(*due):
                self._end_one(due[1], EndedBy.LEASE)
                count += 1
        return count

    def _runs(self, end_ns: int, id: int) -> bool:
        """Whether a lease with that end is still the one of that reservation or request."""
        record = self.orders.open.get(id)
        if record is not None:
            return record.state in LEASED and record.lease_end_ns == end_ns
        request = self.requests.get(id)
        if request is None:
            return self.modifies.runs(end_ns, id)
        return request.lease_end_ns == end_ns

    def _sweep_leases(self) -> None:
        """Lets go of leases that were settled, where they are most of what is kept."""
        if len(self.leases) > 1_000 + 2 * (len(self.orders.open) + len(self.requests)):
            self.leases.rebuild(self.live_leases())

    def live_leases(self) -> list[tuple[int, int]]:
        """End and id of every lease that runs."""
        live = [(record.lease_end_ns, id) for id, record in self.orders.open.items() if record.state in LEASED]
        live += [(request.lease_end_ns, id) for id, request in self.requests.items()]
        return live + self.modifies.live_leases()

    def _end_one(self, id: int, ended_by: EndedBy) -> None:
        if id in self.requests:
            self.emit(e.RequestEnded(id, ended_by))
        elif id in self.orders.modified:
            self.modifies.lapse(id, ended_by)
        else:
            self._lapse(self.orders.open[id], ended_by)

    def lapse_if_due(self, record: OrderRecord) -> None:
        """A command that meets a lease past its end finds it ended, whether or not an entry has said so yet."""
        if record.state in LEASED and self._has_lapsed(record):
            self._lapse(record, self.lapse_reason(record.session))

    def _has_lapsed(self, record: OrderRecord) -> bool:
        return record.lease_end_ns <= self._now_ns or record.session in self.sessions.ending

    def lapse_reason(self, session_id: int) -> EndedBy:
        """What has ended a lease of that session."""
        ending = self.sessions.ending.get(session_id)
        return ending.ended_by if ending is not None and ending.ended_by is not None else EndedBy.LEASE

    def _lapse(self, record: OrderRecord, ended_by: EndedBy) -> None:
        does = step(Event.LAPSE, record)
        assert does.to is not None
        self.emit(e.OrderMoved(record.reservation_id, does.to, ended_by, "" if does.to in ENDED else str(ended_by)))

    def _end_own_session(self, command: e.EndOwnSession, session: Session) -> e.Reply:
        self.emit(e.SessionFinished(session.id, EndedBy.DROPPED))
        return e.Done()

    # ------------------------------------------------------------------------------------------ reports

    def learn_name(self, record: OrderRecord, venue_order_id: str) -> bool:
        """Notes what the venue calls an order. True when another open one goes by that id: both are flagged."""
        if record.venue_order_id is not None:
            return False
        namesakes = () if record.state in ENDED else self.orders.namesakes(record, venue_order_id)
        self.emit(e.OrderNamed(record.reservation_id, venue_order_id))
        if not namesakes:
            return False
        for each in (*namesakes, record):
            if SHARED_VENUE_ID not in each.flags:
                self.emit(e.OrderFlagged(each.reservation_id, SHARED_VENUE_ID))
        return True

    # ------------------------------------------------------------------------------------------ operators

    def _cancel_all(self, command: e.CancelAll, session: Session) -> e.Reply:
        return kills.cancel_all(self, command, session.client)

    def _adjust(self, command: e.AdjustAccounts, session: Session) -> e.Reply:
        return adjustments.adjust(self, command, session.client, self.emit)

    def _shut_down(self, command: e.ShutDown, session: Session) -> e.Reply:
        problem = named.bad_reason(command.reason)
        return Failed(Failure.INVALID_INPUT, problem) if problem else e.Done(1)

    # ------------------------------------------------------------------------------------------ carrying out

    def emit(self, effect: e.Effect) -> None:
        """Notes an effect for the journal and carries it out: the one place where anything changes."""
        self._effects.append(effect)
        try:
            self._on_effect[type(effect)](effect)
        except Exception as trouble:
            raise self._failed(effect, trouble) from trouble

    def carry_out_alone(self, effect: e.Effect) -> None:
        """Carries one effect out, for who follows a history under other limits."""
        self._on_effect[type(effect)](effect)

    def broken_off(self, record: OrderRecord, trouble: Exception, what: str = "modify") -> CarryOutFailed:
        """What is raised where an order's holds could not be taken back, or put where they are, only to judge by it."""
        told = f"entry {self._seq}: {what} of order {record.order_id}: {trouble!r}"
        return CarryOutFailed(told, record.account, record.reservation_id)

    def _failed(self, effect: e.Effect, trouble: Exception) -> CarryOutFailed:
        id = getattr(effect, "reservation_id", 0)
        told = f"entry {self._seq}: {effect}: {trouble!r}"
        return CarryOutFailed(told, self._account_of(effect), id if id in self.orders.open else 0)

    def _account_of(self, effect: e.Effect) -> str | None:
        order = getattr(effect, "order", None)
        if order is not None:
            return str(order.account)
        record = self.orders.find(getattr(effect, "reservation_id", 0))
        return None if record is None else record.account

    def _do_request_opened(self, effect: e.RequestOpened) -> None:
        self.requests[effect.request_id] = Request(
            request_id=effect.request_id, order=effect.order, session=effect.session, lease_end_ns=effect.lease_end_ns
        )
        self.leases.add(effect.lease_end_ns, effect.request_id)
        self.own(effect.session, effect.request_id)

    def _do_request_ended(self, effect: e.RequestEnded) -> None:
        request = self.requests.pop(effect.request_id)
        self.sessions.settled(request.session, effect.request_id)
        self.requests_ended[effect.request_id] = effect.ended_by
        if len(self.requests_ended) > self.bounds.requests_ended_kept:
            self.requests_ended.popitem(last=False)

    def _do_order_opened(self, effect: e.OrderOpened) -> None:
        order, id, holds, state = effect.order, effect.reservation_id, effect.holds, effect.state
        record = OrderRecord(
            reservation_id=id,
            account=order.account,
            order_id=order.id,
            order=order,
            listed=self.instruments.find(order.instrument),
            client=effect.client,
            session=effect.session,
            state=state,
            open_quantity=whole_quantity(order),
            lease_ns=effect.lease_ns,
            lease_end_ns=effect.lease_end_ns,
            holds=holds,
            heard_ns=self._now_ns,
        )
        policies = self.policies
        for hold in holds:
            policies[hold.policy].apply(hold.effect)
        self.orders.begin(record)
        if state is HELD or state is SENT:
            self.leases.add(effect.lease_end_ns, id)
            self.own(effect.session, id)

    def _do_order_adopted(self, effect: e.OrderAdopted) -> None:
        record = self.orders.find(effect.reservation_id)
        assert record is not None and record.order is None
        record.order, record.listed = effect.order, self.instruments.find(effect.order.instrument)
        record.client, record.session, record.open_quantity = effect.client, effect.session, effect.open_quantity
        record.heard_ns = self._now_ns
        if effect.open_quantity:
            record.state, record.ended_by, record.final_seen = (
                WORKING,
                None,
                False,
            )  # strangers end with their last fill
            self.orders.revive(record)
            if self.days.closing:
                self.days.came[effect.reservation_id] = self._seq
        else:
            record.ended_by, record.final_seen = EndedBy.FILLED, True

    def _do_order_moved(self, effect: e.OrderMoved) -> None:
        id, state, orders = effect.reservation_id, effect.state, self.orders
        record = orders.open.get(id) or orders.closed[id]
        was, record.state = record.state, state
        record.heard_ns = self._now_ns
        record.reason = effect.reason
        if effect.state is WORKING and self.days.closing:
            self.days.came[effect.reservation_id] = self._seq
        if was is ROLLED_BACK or was is CLOSED:
            for hold in record.holds:
                policy = self.policies[hold.policy]
                policy.reopen(hold.effect) if was is CLOSED else policy.apply(hold.effect)
            record.ended_by, record.final_seen = None, False
            orders.revive(record)
        elif state is CLOSED or state is ROLLED_BACK:
            for hold in reversed(record.holds):
                policy = self.policies[hold.policy]
                policy.close(hold.effect) if state is CLOSED else policy.undo(hold.effect)
            record.ended_by = effect.ended_by
            if state is CLOSED and effect.ended_by is not EndedBy.OPERATOR:
                record.holds = corrections.kept(self, record) if self.pipeline.counts_on else ()
            orders.end(record, self._now_ns)
        if (was is SENT or was is HELD) and state is not SENT and state is not HELD:
            record.lease_end_ns = 0
            self.sessions.settled(record.session, id)

    def _do_order_filled(self, effect: e.OrderFilled) -> None:
        id, orders, holds = effect.reservation_id, self.orders, effect.holds
        record = orders.open.get(id) or orders.closed[id]
        orders.filled(record, effect.quantity, effect.open_quantity)
        record.heard_ns = self._now_ns
        if holds is not record.holds and holds != record.holds:
            self.replace_holds(record, holds)

    def _do_order_named(self, effect: e.OrderNamed) -> None:
        record = self.orders.find(effect.reservation_id)
        assert record is not None
        self.orders.name(record, effect.venue_order_id)

    def _do_order_flagged(self, effect: e.OrderFlagged) -> None:
        record = self.orders.find(effect.reservation_id)
        assert record is not None
        record.flags = (*record.flags, effect.flag)

    def _do_stranger_noted(self, effect: e.StrangerNoted) -> None:
        record = OrderRecord(
            reservation_id=effect.reservation_id,
            account=effect.account,
            order_id=effect.order_id,
            order=None,
            listed=None,
            client="",
            session=0,
            state=CLOSED,
            open_quantity=ZERO,
            ended_by=EndedBy.NEVER_KNOWN,
            ended_ns=self._now_ns,
            flags=("unknown_order",),
        )
        self.orders.add(record)
        if effect.venue_order_id is not None:
            self.orders.name(record, effect.venue_order_id)

    def _do_report_noted(self, effect: e.ReportNoted) -> None:
        record = self.orders.find(effect.reservation_id)
        assert record is not None
        if record.reports is None:
            record.reports = {}
        record.reports[effect.report_id] = effect.fingerprint
        if effect.fill is not None:
            if record.fills is None:
                record.fills = {}
            record.fills[effect.report_id] = effect.fill
        record.heard_ns = self._now_ns
        record.final_seen = record.final_seen or effect.is_final

    def _do_fill_changed(self, effect: e.FillChanged) -> None:
        record = self.orders.find(effect.reservation_id)
        assert record is not None and record.fills is not None
        less = record.fills[effect.fill_id].quantity - effect.fill.quantity
        if less > 0:  # it has been taken off what has traded already
            record.peak = max(record.peak, record.filled_quantity + less)
        record.fills[effect.fill_id] = effect.fill

    def _do_status_noted(self, effect: e.StatusNoted) -> None:
        record = self.orders.find(effect.reservation_id)
        assert record is not None
        record.ahead, record.ahead_worth, record.heard_ns = effect.ahead, effect.ahead_worth, self._now_ns
        record.final_seen = record.final_seen or effect.is_final

    def _do_lease_set(self, effect: e.LeaseSet) -> None:
        record = self.orders.open[effect.reservation_id]
        record.lease_ns = effect.lease_ns
        record.lease_end_ns = effect.lease_end_ns
        record.restarts = 0
        self.leases.add(effect.lease_end_ns, effect.reservation_id)

    def _do_leases_restarted(self, effect: e.LeasesRestarted) -> None:
        for record in self.orders.open.values():
            if record.state in LEASED and record.restarts < self.bounds.restarts_in_a_row:
                record.restarts += 1
                record.lease_end_ns = max(record.lease_end_ns, effect.now_ns + record.lease_ns)
        for id, request in self.requests.items():
            if request.restarts < self.bounds.restarts_in_a_row:
                end_ns = max(request.lease_end_ns, effect.now_ns + self.bounds.lease_ns)
                self.requests[id] = msgspec.structs.replace(request, lease_end_ns=end_ns, restarts=request.restarts + 1)
        self.modifies.do_leases_restarted(effect.now_ns)
        self.leases.rebuild(self.live_leases())

    def _do_order_taken(self, effect: e.OrderTaken) -> None:
        record = self.orders.open[effect.reservation_id]
        self.sessions.settled(record.session, record.reservation_id)
        if record.client != effect.client:
            self.orders.hand_over(record, effect.client)
        record.session, record.restarts = effect.session, 0
        record.lease_ns, record.lease_end_ns = effect.lease_ns, effect.lease_end_ns
        self.leases.add(effect.lease_end_ns, effect.reservation_id)
        self.own(effect.session, effect.reservation_id)
        self.cancels.handed_over(effect.reservation_id, self._seq)

    def _do_position_changed(self, effect: e.PositionChanged) -> None:
        account, symbol = effect.account, effect.symbol
        self.positions.change(account, symbol, effect, effect.fee, effect.fee_asset)
        unrealised = self.valuation.unrealised
        if unrealised.is_asked:
            unrealised.touch(account, symbol)
        if effect.client and effect.quantity:
            self.positions.move_client(effect.client, symbol, effect.quantity)

    def _do_quotes_kept(self, effect: e.QuotesKept) -> None:
        self.valuation.marks.keep(effect.quotes)

    def _do_policy_changed(self, effect: e.PolicyChanged) -> None:
        self.policies[effect.policy].apply(effect.effect)

    def _do_blocked(self, effect: e.Blocked) -> None:
        self.accounts.apply(effect.block)
        self._stopped.append(effect)

    def _do_unblocked(self, effect: e.Unblocked) -> None:
        self.accounts.lift(effect.scope, effect.limit)
        self.cancels.lift(effect.scope, effect.limit)

    def _reload(self, command: e.Reload, session: Session) -> e.Reply:
        problem = named.bad_reason(command.configured.reason)
        if problem:
            return Failed(Failure.INVALID_INPUT, problem)
        self._reconfigure(command.configured)
        return e.Reloaded(command.configured.changes, command.waiting, self.disagreements(), command.past)

    def settle_shadows(self) -> None:
        for effect in shadows.settled(self):
            self.emit(effect)

    def disagreements(self) -> tuple[str, ...]:
        """Where the configuration is not what an override was set over, and what holds there, in words."""
        if self.setup is None:
            return ()
        terms = self.setup.terms
        return tuple(filter(None, (overrides.disagreement(each, terms) for each in self.overrides.all())))

    def base_of(self, override: overrides.Override) -> str | None:
        """What is configured now where a person has set another number; None for nothing."""
        terms = None if self.setup is None else self.setup.terms
        if terms is None or override.key not in terms.keys(override.limit):
            return None
        return terms.base(override.limit, override.key)

    def setup_of(self, settings: str) -> Setup | None:
        """What settings make of it; None where there are none, or it is what it was made with."""
        return None if self._setup_of is None or not settings else self._setup_of(settings)

    def _reconfigure(self, configured: e.Configured) -> int:
        """Puts other settings into force: the number of open orders that are counted otherwise by them."""
        is_other = bool(self.settings) and configured.settings != self.settings
        setup = self.setup_of(configured.settings)
        kept = self.overrides.all() if setup is None else self.overrides.anew(setup.terms)
        policies, groups = dict(self.policies), self.accounts.groups()
        self.emit(e.Reconfigured(configured.settings, configured.instruments, configured.groups, kept))
        self._begin_limits()
        self.settle_shadows()
        holds_the_same = groups == self.accounts.groups() and all(
            id in policies and policy.holds_as(policies[id]) for id, policy in self.policies.items()
        )
        return self._hold_anew() if is_other and not holds_the_same else 0

    def _do_day_began(self, effect: e.DayBegan) -> None:
        if self.orders.for_a_day:
            self.days.close_orders(effect.scopes, self._seq)
        self.adjustments.begin_day(self.days.is_new(effect.scopes))
        self.days.begin(effect.scopes, Day(self._seq, effect.day, effect.at_wall_ns))

    def _do_day_ended(self, effect: e.DayEnded) -> None:
        if self.orders.for_a_day:
            self.days.close_orders(effect.scopes, self._seq)
        self.days.end(effect.scopes, self._seq)

    def _do_day_orders_closed(self, effect: e.DayOrdersClosed) -> None:
        self.days.orders_closed()

    def _do_trading_state_set(self, effect: e.TradingStateSet) -> None:
        self.trading.apply(effect.restriction)
        self.cancels.lift(effect.restriction.scope, trading.LIMIT)
        self._stopped.append(effect)

    def _do_session_started(self, effect: e.SessionStarted) -> None:
        self.sessions.start(effect.session, effect.client, effect.token)

    def _do_session_finished(self, effect: e.SessionFinished) -> None:
        session = self.sessions.get(effect.session)
        assert session is not None
        self.sessions.finish(session, effect.ended_by)

    def _do_voided(self, effect: e.VoidedUpTo) -> None:
        session = self.sessions.get(effect.session)
        assert session is not None
        self.sessions.void(session, effect.number, effect.acked)

    def _do_reconfigured(self, effect: e.Reconfigured) -> None:
        self.configure(effect.settings, effect.instruments, effect.groups, effect.overrides)

    def _do_overridden(self, effect: e.Overridden) -> None:
        self.overrides.put(effect.put, effect.cleared)
        assert self.setup is not None
        self._take_policies(self.setup)

    def configure(
        self,
        settings: str,
        instruments: Sequence[Listed],
        groups: Mapping[str, str],
        put: Sequence[overrides.Override] = (),
    ) -> None:
        """Goes on under other settings, with those overrides. What policies know is carried over; open effects keep
        their policy.
        """
        self.instruments = Instruments({listed.symbol: listed for listed in instruments})
        self.accounts.regroup(groups)
        self.positions.regroup(groups)
        self.settings = settings
        self.overrides.replace(put)
        setup = self.setup_of(settings)
        if setup is None:
            return
        self._take_policies(setup)
        self.setup = setup
        self.bounds = setup.bounds
        self.reactions = setup.reactions
        self.days.go_by(setup.own_days, setup.markets)
        self.accounts.declared = setup.declared
        self.accounts.currencies = setup.currencies
        self._requires_positions = setup.requires_positions
        self.pnl_sources = setup.pnl_sources
        self.clients = setup.clients
        self.orders.keep_closed(self.bounds.closed_kept, self.bounds.closed_kept_ns)
        self.sessions.bound(self.bounds.window, self.bounds.sessions_ended_kept)

    def _take_policies(self, setup: Setup) -> None:
        """Has the policies of a setup, under the overrides there are, go on with what those before them know."""
        policies = setup.policies(self.overrides.numbers())
        missing = self.policies.keys() - {policy.id for policy in policies}
        in_use = missing & {hold.policy for record in self.orders.open.values() for hold in record.holds}
        assert not in_use, f"policies with open effects can't be taken away: {sorted(in_use)}"
        for policy in policies:
            before = self.policies.get(policy.id)
            if before is not None and before is not policy:
                policy.load(before.save())
        if missing:
            for record in self.orders.closed.holding():  # one that comes back is no longer counted by them
                if any(hold.policy in missing for hold in record.holds):
                    record.holds = tuple(hold for hold in record.holds if hold.policy not in missing)
        self.policies.clear()
        self.policies.update((policy.id, policy) for policy in policies)
        self.pipeline = Pipeline(policies)
        self.pipeline.rank_limits(setup.limit_order)
        self.pipeline.shadow(setup.shadows(self.overrides.numbers()))
        self._value_for(setup.currency)

    def _value_for(self, currency: Currency | None) -> None:
        """Has kept what the policies ask for, and adds it up by the instruments, groups and clients there are."""
        books = self.pipeline.asks_for_books
        if ("client" in books) != self.positions.counts_clients:
            self.positions.counts_clients = "client" in books
            self.orders.count_now()
        self.valuation.unrealised.known = self.pipeline.rated_accounts
        for policy in self.policies.values():
            if policy.asks_for_unrealised:
                policy.unrealised, policy.groups_of = self.valuation.unrealised, self.accounts.group_of
                policy.rates, policy.currency_of = self.valuation.rates, self.accounts.currency_of
        self.valuation.ask(
            currency,
            books,
            asks_for_rates=self.pipeline.asks_for_rates,
            asks_for_unrealised=self.pipeline.asks_for_unrealised,
            by_account=self.pipeline.asks_by_account,
            several=self.pipeline.several,
        )

    def _begin_limits(self) -> None:
        """Has each policy take up what its new limits must know of what happened before them."""
        for policy in self.policies.values():
            for effect in self.pipeline.as_effects(policy, policy.reconfigured(self.accounts.group_of).effects):
                self.emit(effect)

    def _hold_anew(self) -> int:
        """Counts what is open by the limits that are in force now: the number of orders that hold something else."""
        count = 0
        for record in (*self.orders.open.values(), *self.orders.closed.holding()):
            if record.order is None or record.listed is None:
                continue
            if record.ended_by is EndedBy.FILLED:
                continue  # it holds nothing, and remembers only what counts on
            group = self.accounts.group_of(record.account)
            if record.pending is not None:
                count += self.modifies.hold_anew(record)
                continue
            attempt = Attempt(
                record.order,
                record.listed,
                record.asked_by,
                group,
                self._now_ns,
                self.positions,
                days=self.days,
                valuation=self.valuation,
            )
            holds = self.pipeline.rehold(record.holds, attempt, record.open_quantity)
            if holds != record.holds:
                self.emit(e.HoldsReplaced(record.reservation_id, holds))
                count += 1
        return count

    def _do_holds_replaced(self, effect: e.HoldsReplaced) -> None:
        record = self.orders.find(effect.reservation_id)
        assert record is not None
        self.replace_holds(record, effect.holds)

    def replace_holds(self, record: OrderRecord, holds: tuple[Hold, ...]) -> None:
        """Takes back what the order held and applies what it holds now; one that has ended only remembers it."""
        if record.state not in ENDED:
            for hold in reversed(record.holds):
                self.policies[hold.policy].undo(hold.effect)
            for hold in holds:
                self.policies[hold.policy].apply(hold.effect)
        record.holds = holds

    def _do_epoch_began(self, effect: e.EpochBegan) -> None:
        self.valuation.marks.forget()
        if self.epochs:
            self.epochs[next(reversed(self.epochs))] = self._seq - 1
        self.epochs[effect.epoch] = 0
        if len(self.epochs) > self.bounds.epochs_kept:
            del self.epochs[next(iter(self.epochs))]

    def last_seq_of(self, epoch: bytes) -> int:
        """The highest entry that anyone can have been told in that epoch; 0 for one that this history does not know."""
        end = self.epochs.get(epoch)
        return 0 if end is None else end or self._seq

    def _do_disputed(self, effect: e.Disputed) -> None:
        self.disputed_seq = effect.seen_seq

    def _do_history_accepted(self, effect: e.HistoryAccepted) -> None:
        self.disputed_seq = 0
        self.accepted_seq = effect.seen_seq

    def own(self, session_id: int, id: int) -> None:
        """Has a session settle that reservation or request."""
        session = self.sessions.by_id.get(session_id) or self.sessions.get(session_id)
        assert session is not None
        session.unsettled[id] = None


def exact_context() -> decimal.Context:
    """A copy of the context that every step runs under, for the caller to set."""
    return EXACT.copy()


def _refused(order: Order, rejects: tuple[Reject, ...], attempt: Attempt | None = None) -> e.Refused:
    noted = () if attempt is None else attempt.shadow_rejects
    return e.Refused(Rejected(order_id=order.id, rejects=rejects, shadow_rejects=noted))


def _engine_reject(code: RejectCode, order: Order, reason: str) -> Reject:
    return Reject(code=code, policy="engine", limit="instruments", scope=f"account {order.account}", reason=reason)


def _undeclared(listed: Listed) -> str:
    underlying, slash, settlement = listed.symbol.rpartition("/")
    if slash:
        return f'symbol {listed.symbol} is not declared; the pair is pit.Instrument("{underlying}", "{settlement}")'
    return f"{listed.symbol} is not declared; add [instruments.{listed.symbol}] to the configuration"


def _whose(record: OrderRecord, session: Session) -> str:
    if record.taken_from == session.client:
        return f"order {record.order_id} has been taken by the gateway {record.client}, which settles it from here on"
    return f"order {record.order_id} belongs to another client"


__all__ = ["Bounds", "CarryOutFailed", "Engine", "Result", "exact_context"]
