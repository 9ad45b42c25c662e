"""What must be true: the design's promises in plain code, fed with the journal's rows as they are kept.

It takes each entry and its answer, says what that comes to by its own small account of orders, and raises `Broken`
where the daemon says, counts or forgets otherwise. It reads effects only to see which leases were ended, and when.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

import pit
from pit import wire
from pitd import translate
from pitd.core import entry as e
from pitd.core.engine import Engine
from pitd.core.orders import SHARED_VENUE_ID

from . import limits, settings
from .cancels import Cancels, Stop
from .orders import (
    ENDED,
    LEASED,
    MODIFY_TABLE,
    NOTHING,
    TABLE,
    Booked,
    Change,
    Kept,
    Said,
    asset_of,
    changed,
    rounded,
    units,
    whole_of,
    worth,
    worth_by_quantity,
)

if TYPE_CHECKING:
    from .venue import Venue


class Broken(AssertionError):
    """A promise was not kept."""


NEW_RISK = (e.CheckOrder, e.CheckMany, e.StartOrder, e.ExecuteRequest, e.ModifyOrder)
ALIVE = (pit.ReportKind.ACCEPTED, pit.ReportKind.FILL, pit.ReportKind.REPLACED)
FINAL = (pit.ReportKind.CANCELLED, pit.ReportKind.EXPIRED, pit.ReportKind.REJECTED)
ANEW = (pit.ReportKind.BUST, pit.ReportKind.CORRECT)
FLAKY = ("firm", "failed:flaky")
"""The block of the policy that fails at times."""
LAPSED = ("lease", "client_gone", "fenced", "dropped")


class Put(NamedTuple):
    """What a person has set, over what was configured; until a moment of wall time, or for good."""

    value: Decimal
    base: Decimal
    until_ns: int | None


class Conversation(msgspec.Struct, kw_only=True):
    """One session, as the model keeps it."""

    client: str
    next_number: int = 1
    is_over: bool = False


class Model:
    """The promises, and what is known so far."""

    def __init__(self) -> None:
        self.orders: dict[tuple[str, str], Kept] = {}
        """By account and by every id that each went by, or might have."""
        self.by_id: dict[int, Kept] = {}
        self.changes: dict[int, Kept] = {}
        """By the reservation of the modify that each has, or had last."""
        self.cancels = Cancels()
        self.restrictions: dict[str, pit.TradingState] = {}
        self.put: dict[str, Put] = {}
        """What a person has set in the place of what a cap is configured with."""
        self.has_day, self.day_ended = False, 0
        """Whether a day has begun, and the row that the one before it ended with."""
        self.name = ""
        """The configuration in force."""
        self.strict_ns = 0
        """Since when it is the strict one."""
        self.marks: dict[str, limits.Mark] = {}
        self.adjusted: dict[tuple[str, str], e.AdjustAccounts] = {}
        self.told_pnl: dict[tuple[str, str], Decimal] = {}
        """What a person has said that accounts made."""
        self._came: list[int] = []
        """The orders that came to be at the venue with the row in hand."""
        self.sessions: dict[int, Conversation] = {}
        self.answers: dict[tuple[int, int], e.Reply] = {}
        self.requests: dict[int, tuple[pit.Order, str]] = {}
        self.blocks: set[tuple[str, str]] = set()
        self.reducing: set[tuple[str, str]] = set()
        """Those of them that let pass what reduces a position."""
        self.pnl: dict[tuple[str, str], Decimal] = {}
        """By account and asset."""
        self.sums: dict[tuple[str, str], Decimal] = {}
        """What each limit over many accounts has counted, by limit and scope."""
        self.floor: dict[tuple[str, str], Decimal] = {}
        """Where a limit trips next, once it was rearmed."""
        self.tripped: set[tuple[str, str]] = set()
        self.positions: dict[tuple[str, str], Decimal] = {}
        """In units, by account and instrument: what fills of known orders have come to."""
        self.balances: dict[str, dict[str, Decimal]] = {}
        """Of the accounts that keep any, by asset."""
        self.counts_funds = False
        self.attempts: dict[tuple[str, str], list[int]] = {}
        self.caps: tuple[settings.Cap, ...] = ()
        self.losses: tuple[settings.Cap, ...] = ()
        self.disputed = False
        self.may_be_disputed = False
        """Whether history was lost: then some client may know of it."""
        self.voided: set[tuple[int, int]] = set()
        self.now_ns = 0
        self._wall_ns = 0
        self.seq = 0
        self.accepted: dict[tuple[str, str], int] = {}
        self.committed: set[int] = set()
        """Reservations with a commit that was carried out."""
        """What clients were told: order to reservation."""
        self.touched: set[int] = set()
        self.resumed: set[int] = set()
        self._to_resume: set[int] = set()

    # ------------------------------------------------------------------------------------------ one row

    def row(self, row: e.Row) -> None:
        """Takes in a row that the journal has kept."""
        entry = row.entry
        _must(entry.seq == self.seq + 1, f"row {entry.seq} follows {self.seq}")
        _must(entry.now_ns >= self.now_ns, "time goes back")
        self.seq, self.now_ns = entry.seq, entry.now_ns
        if entry.seq in self._to_resume:
            _must(isinstance(entry.body, e.Resumed), f"the loop was away, and row {entry.seq} is {entry.body}")
        self._came.clear()
        if self.name == "strict":
            for quote in entry.quotes:
                known = self.marks.get(quote.symbol)
                if quote.mark is not None and (known is None or quote.at_ns >= known.at_ns):
                    self.marks[quote.symbol] = limits.Mark(quote.mark, quote.at_ns)
        self._answers_again(row)
        lapses = self._lapses(row)
        late = [put for put in self.put.values() if put.until_ns is not None and put.until_ns <= entry.wall_ns]
        match entry.body:
            case e.Commanded():
                _must(not late, f"{late} are over, and row {entry.seq} still went by them")
                self._wall_ns = entry.wall_ns
                self._commanded(entry.body, row.reply, lapses)
            case e.Poisoned():
                self._poisoned(entry.body, row.reply)
            case e.SessionOpened(client):
                for said in self.sessions.values():
                    if said.client == client:
                        said.is_over = True
                self.sessions[entry.seq] = Conversation(client=client)
            case e.SessionEnded(session):
                self.sessions[session].is_over = True
            case e.NumberVoided(session, number):
                said = self.sessions[session]
                for each in range(said.next_number, number + 1):
                    self.answers[session, each] = e.Void()
                    self.voided.add((session, each))
                said.next_number = max(said.next_number, number + 1)
            case e.Resumed(_, epoch):
                self._resumed()
                if epoch:
                    self.marks.clear()  # who serves from now on knows none
                self.resumed.add(entry.seq)
            case e.Configured():
                _must(entry.seq == 1 or entry.seq - 1 in self.resumed, "a start has given no lease another length")
                self._configured(msgspec.json.decode(entry.body.settings)["source"])
            case e.LeasesDue():
                for each in lapses:
                    self._lapse(each)
            case e.DayOrdersDue():
                self._day_over(row)
            case e.DayDue():
                self.day_ended, self.has_day = entry.seq if self.has_day else 0, True
            case e.OverridesDue(wall_ns):
                over = [
                    limit for limit, put in self.put.items() if put.until_ns is not None and put.until_ns <= wall_ns
                ]
                _must(row.reply == e.Done(len(over)), f"{over} are over, and {row.reply} were ended")
                for limit in over:
                    del self.put[limit]
                if entry.seq - 1 in self.resumed:
                    self.resumed.add(entry.seq)  # a start goes on
            case e.CancelsDue():
                self.cancels.pass_on(self.now_ns)
            case e.CancelsRead(client, ids):
                self._told_to_cancel(client, ids)
            case e.HistoryDisputed() if self.may_be_disputed:
                self.disputed = True
            case e.HistoryDisputed():
                raise Broken(f"client {entry.body.client} knows entry {entry.body.seen_seq}: history was lost")
        if any(isinstance(effect, e.PolicyFailed) for effect in row.effects):
            _must(settings.is_out_of_order(self.now_ns), "a policy that works is taken for one that fails")
            self.blocks.add(FLAKY)
            self.reducing.add(FLAKY)
        if not isinstance(entry.body, e.Poisoned):  # nothing is decided there
            self.cancels.follow_up(self.by_id, self._came, self.now_ns, self._has_session)

    def _answers_again(self, row: e.Row) -> None:
        """A policy that failed is asked with every entry, and stops nobody any more once it can answer."""
        is_over = any(isinstance(effect, e.PolicyRecovered) for effect in row.effects)
        is_asked = FLAKY in self.blocks and not isinstance(row.entry.body, e.Poisoned)
        meant = is_asked and not settings.is_out_of_order(self.now_ns)
        _must(is_over is meant, f"row {row.entry.seq} ends the trouble of a policy: {is_over}, and not {meant}")
        if is_over:
            self.blocks.discard(FLAKY)

    def _configured(self, name: str) -> None:
        """Other limits: those over many accounts begin with what their accounts have made, unless they were there."""
        self.counts_funds = name in settings.FUNDS
        if name != self.name:
            self.strict_ns = self.now_ns
            self.marks.clear()
        self.name = name
        self.caps, self.losses = settings.OPEN[name], settings.LOSS[name]
        shared = {cap.name: cap for cap in self.losses if cap.of != "account"}
        self.sums = {key: amount for key, amount in self.sums.items() if key[0] in shared}
        for cap in shared.values():
            for (account, asset), amount in self.pnl.items():
                scope = cap.scope(account)
                if scope is not None and asset == cap.asset and (cap.name, scope) not in self.sums:
                    known = [self.pnl.get((each, asset), NOTHING) for each in settings.ACCOUNTS if cap.scope(each)]
                    self.sums[cap.name, scope] = sum(known, NOTHING)
                    assert amount == self.pnl[account, asset]

    def _lapses(self, row: e.Row) -> list[Kept | Change]:
        """What leases this row has ended: of orders, and of modifies. Raises Broken for one that was still running."""
        by_command = row.entry.body.command if isinstance(row.entry.body, e.Commanded) else None
        dropped = by_command.reservation_ids if isinstance(by_command, e.Drop) else ()
        ended: list[Kept | Change] = []
        for effect in row.effects:
            leased: Kept | Change | None = None
            match effect:
                case e.OrderMoved(id, "rolled_back" | "quarantined") if not isinstance(by_command, _SETTLING):
                    leased = self.by_id[id]
                case e.ModifyMoved(_, id, "rolled_back" | "quarantined", ended_by, why) if (ended_by or why) in LAPSED:
                    leased = self.changes[id].change
            if leased is None or leased.state not in LEASED or leased.id in dropped:
                continue
            _must(self._is_due(leased), f"the lease of {leased.id} was ended too early")
            ended.append(leased)
        return ended

    def _day_over(self, row: e.Row) -> None:
        """Orders that were good for a day which is over."""
        for effect in row.effects:
            if isinstance(effect, e.OrderMoved):
                kept = self.by_id[effect.reservation_id]
                is_daily = kept.order is not None and kept.order.time_in_force is pit.TimeInForce.DAY
                _must(is_daily and kept.state == "working", f"the end of a day closed order {kept.id}: {kept}")
                self._move(kept, TABLE["day_end", kept.state])

    def _is_due(self, leased: Kept | Change) -> bool:
        is_over = leased.lease_end_ns <= self.now_ns or self.sessions[leased.session].is_over
        return leased.state in LEASED and is_over

    def _lapse(self, leased: Kept | Change, *, is_lost: bool = True) -> None:
        if isinstance(leased, Kept):
            self._move(leased, TABLE["lapse", leased.state])
        else:
            self._move_change(self.changes[leased.id], MODIFY_TABLE["lapse", leased.state])
        leased.lost_by_lease = is_lost

    def _resumed(self) -> None:
        changes = (kept.change for kept in self.by_id.values() if kept.change is not None)
        for leased in (*self.by_id.values(), *changes):
            if leased.state in LEASED and leased.restarts < 3:
                leased.restarts += 1
                leased.lease_end_ns = max(leased.lease_end_ns, self.now_ns + leased.lease_ns)

    def _has_session(self, client: str) -> bool:
        return any(said.client == client and not said.is_over for said in self.sessions.values())

    def _told_to_cancel(self, client: str, ids: tuple[int, ...]) -> None:
        for id in ids:
            _must(id in self.cancels.asked, f"{client} is told to cancel order {id}, which nobody wants")
            is_own, is_late = self.by_id[id].client == client, id in self.cancels.late
            _must(
                is_own or (is_late and client == settings.KILLER), f"{client} is told to cancel order {id} of another"
            )

    # ------------------------------------------------------------------------------------------ commands

    def _commanded(self, body: e.Commanded, reply: e.Reply, lapses: list[Kept | Change]) -> None:
        said = self.sessions[body.session]
        _must(not said.is_over, f"session {body.session} is over and was served")
        self._number(body.session, body.number, reply)
        for each in lapses:
            self._lapse(each)
        command = body.command
        _must(not (self.disputed and type(command) in NEW_RISK), f"history is disputed, and {command} was executed")
        match command:
            case e.CheckOrder(order):
                self._meet(self.orders.get((order.account, order.id)))
                if not (isinstance(reply, e.Accepted) and reply.replayed):
                    self._attempted(order, reply)
                self._opened(order, command.sent, said.client, body.session, reply)
            case e.SetLimits():
                self._set_limits(command, reply)
            case e.ClearLimit(limit):
                _must(isinstance(reply, e.Done) is (limit in self.put), f"{command} was answered {reply}")
                self.put.pop(limit, None)
            case e.DropCopy():
                self._drop_copied(command, said.client, body.session, reply)
            case e.ApplyStatus():
                self._status(command.status, reply)
            case e.AdjustAccounts():
                self._adjust(command, said.client, reply)
            case e.CheckMany():
                self._checked_many(command, said.client, body.session, reply)
            case e.ModifyOrder():
                self._modify(command, said.client, body.session, reply)
            case e.CancelOrder():
                self._cancel(command, reply)
            case e.SetTradingState():
                self._set_state(command, reply)
            case e.CancelAll(scope):
                _must(isinstance(reply, e.Done), f"{command} was answered {reply}")
                self.cancels.begin(Stop(scope, "cancel_all"), self.seq, is_lasting=False)
            case e.StartOrder(order):
                self._meet(self.orders.get((order.account, order.id)))
                self._attempted(order, reply)
                if isinstance(reply, e.Deferred):
                    self._is_allowed(order, whole_of(order))
                    self.requests[reply.request_id] = (order, said.client)
            case e.ExecuteRequest(request_id):
                if not isinstance(reply, e.Failed):
                    order, client = self.requests.pop(request_id)
                    _must(client == said.client, "another's request was executed")
                    self._meet(self.orders.get((order.account, order.id)))
                    self._opened(order, command.sent, said.client, body.session, reply)
            case e.MarkSent(id):
                self._settles("mark_sent", id, said.client, reply)
            case e.Commit(id, venue_id):
                if isinstance(reply, e.Stands):
                    self.committed.add(id)
                self._settles("commit_late" if command.late else "commit", id, said.client, reply)
                if venue_id is not None and isinstance(reply, e.Stands):
                    self._called(id, venue_id)
            case e.Rollback(id):
                self._settles("rollback", id, said.client, reply)
            case e.Quarantine(id):
                self._settles("quarantine", id, said.client, reply)
            case e.Renew(id):
                leased = self._settles("renew", id, said.client, reply)
                if leased is not None and isinstance(reply, e.Stands):
                    leased.lease_end_ns, leased.restarts = reply.lease_end_ns, 0
                    leased.lease_ns = reply.lease_end_ns - self.now_ns
            case e.Drop(ids):
                for id in ids:
                    dropped = self._leased(id)
                    if dropped is not None and dropped.state in LEASED and dropped.client == said.client:
                        self._lapse(dropped, is_lost=False)
            case e.EndOwnSession():
                said.is_over = True
            case e.ApplyReport(report):
                self._reported(report, reply)
            case e.SettleOrder() | e.CloseOrder():
                self._by_person(command, reply)
            case e.SettleModify():
                self._settle_modify(command, reply)
            case e.BlockScope(scope):
                _must(reply == e.Done(1), f"{command} was answered {reply}")
                self.blocks.add((scope, "operator"))
                if command.cancel:
                    self.cancels.begin(Stop(scope, "operator"), self.seq)
            case e.UnblockScope(scope):
                if isinstance(reply, e.Done):
                    here = {limit for of, limit in self.blocks if of == scope}
                    lifted = here - {cap.name for cap in self.losses} - {FLAKY[1]}
                    _must(reply.count == len(lifted) > 0, f"{command} lifted {reply.count}, not {lifted}")
                    for limit in lifted:
                        self.blocks.discard((scope, limit))
                        self.cancels.lift(scope, limit)
                        self.tripped.discard((limit, scope))
                        self.floor.pop((limit, scope), None)
            case e.Rearm(limit, scope, room):
                key = (limit, scope)
                _must(
                    isinstance(reply, e.Done) is (key in self.tripped and self._is_loss(limit)), f"{command}: {reply}"
                )
                if isinstance(reply, e.Done):
                    self.tripped.discard(key)
                    self.floor[key] = self._made(key) - room
                    self.blocks.discard((scope, limit))
                    self.cancels.lift(scope, limit)
            case e.AcceptHistory():
                _must(isinstance(reply, e.Done) is self.disputed, f"{command} was answered {reply}")
                self.disputed = False

    def _is_loss(self, limit: str) -> bool:
        return any(cap.name == limit for cap in self.losses)

    def _made(self, key: tuple[str, str]) -> Decimal:
        """The P&L that a limit looks at, by limit and scope."""
        limit, scope = key
        cap = next(cap for cap in self.losses if cap.name == limit)
        if cap.of != "account":
            return self.sums.get(key, NOTHING)
        return self.pnl.get((scope.removeprefix("account "), cap.asset), NOTHING)

    def _number(self, session: int, number: int, reply: e.Reply) -> None:
        said = self.sessions[session]
        was_void = (session, number) in self.voided
        _must(not was_void, f"session {session}: number {number} was given up and void, and is executed")
        wanted = said.next_number
        _must(number == wanted, f"session {session}: number {number} was executed, {wanted} was next")
        said.next_number += 1
        self.answers[session, number] = reply

    def _poisoned(self, body: e.Poisoned, reply: e.Reply) -> None:
        self.blocks.add((body.scope, "poisoned"))
        if body.session:
            self._number(body.session, body.number, reply)

    def _meet(self, leased: Kept | Change | None) -> None:
        """A command that meets a lease past its end finds it ended."""
        if leased is not None and self._is_due(leased):
            self._lapse(leased)

    def _attempted(self, order: pit.Order, reply: e.Reply) -> None:
        """An attempt trips what stands past its bound. One that passes keeps the rate, whatever the counters say."""
        self._trip(order.account, asset_of(order.instrument))
        if not isinstance(reply, (e.Accepted, e.Deferred)):
            return
        for name, of, most in settings.RATE:
            key = (name, order.account if of == "account" else of)
            inside = [at for at in self.attempts.get(key, ()) if self.now_ns - at < settings.WINDOW_NS]
            self.attempts[key] = [*inside, self.now_ns]
            _must(len(inside) < most, f"{len(inside) + 1} orders of {key} in one window")

    def _checked_many(self, command: e.CheckMany, client: str, session: int, reply: e.Reply) -> None:
        """Each order counts for those after it; or all are taken, or none."""
        if not isinstance(reply, e.ManyChecked):
            raise Broken(f"{command} was answered {reply}")
        is_taken = [isinstance(answer, e.Accepted) for answer in reply.answers]
        _must(len(is_taken) == len(command.orders), f"{command} was answered {reply}")
        if command.all_or_none:
            _must(all(is_taken) or not any(is_taken), f"some of {command} were taken: {reply}")
        for order, answer in zip(command.orders, reply.answers, strict=True):
            self._meet(self.orders.get((order.account, order.id)))
            if not (isinstance(answer, e.Accepted) and answer.replayed):
                self._attempted(order, answer)
            if isinstance(answer, e.Accepted) and not answer.replayed:
                _must(e.row_of(answer.reservation_id) == self.seq, f"order {order.id} is reserved as {answer}")
            if isinstance(answer, e.Accepted) or not command.all_or_none:
                self._opened(order, command.sent, client, session, answer)

    def _is_allowed(self, order: pit.Order, left: Decimal, *, but: Kept | None = None, is_less: bool = False) -> None:
        found = self._stops(order, left, but=but, is_less=is_less)
        _must(not found, f"order {order.id} went on, and {found} are in force")

    def _stops(
        self, order: pit.Order, left: Decimal, *, but: Kept | None = None, is_less: bool = False
    ) -> list[tuple[str, str]]:
        """What keeps that much of an order from going out; `but` is that order, where it is open already."""
        scopes, reduces = scopes_of(order.account), is_less or self._reduces(order, left, but=but)
        stopping = self.blocks - self.reducing if reduces else self.blocks
        found = sorted(block for block in stopping if block[0] in scopes)
        for scope in (*scopes, f"instrument {order.instrument}"):
            state = self.restrictions.get(scope)
            is_passed = state is pit.TradingState.REDUCING and reduces
            if state is not None and not is_passed:
                found.append((scope, state))
        return found

    def _opened(self, order: pit.Order, sent: bool, client: str, session: int, reply: e.Reply) -> None:
        known = self.orders.get((order.account, order.id))
        if isinstance(reply, e.Accepted) and reply.replayed:
            _must(known is not None, f"order {order.id} is said to be known")
            assert known is not None
            same = known.order == order and known.client == client and known.is_open
            _must(same and known.id == reply.reservation_id, f"order {order.id} was accepted again: {known}")
            if sent and known.state == "held":
                self._is_allowed(order, known.left, but=known)
                self._move(known, "sent")
            _must(reply.state == known.state, f"order {order.id} is {known.state}, not {reply.state}")
        elif isinstance(reply, e.Accepted):
            _must(known is None, f"order id {order.id} was used twice")
            whole = whole_of(order)
            self._is_allowed(order, whole)
            reduces = self._reduces(order, whole)
            before = self._used(order)
            kept = Kept(
                id=reply.reservation_id,
                account=order.account,
                order=order,
                client=client,
                session=session,
                state="sent" if sent else "held",
                left=whole,
                lease_ns=reply.lease_end_ns - self.now_ns,
                lease_end_ns=reply.lease_end_ns,
                first=order,
                opened_ns=self.now_ns,
            )
            _must(reply.state == kept.state, f"order {order.id} is {reply.state}")
            self.orders[order.account, order.id] = self.by_id[kept.id] = kept
            self.touched.add(kept.id)
            totals = self.totals()
            for cap in self._caps_on(order) if not reduces else ():
                total = totals.get((cap.name, cap.scope(order.account, client)), NOTHING)
                _must(total <= self.most(cap), f"{total} are open by {cap}, with order {order.id}")
            self._keeps_the_strict(order, before, reduces)
        elif isinstance(reply, e.Refused):
            self._refused(order, client, reply)

    def _refused(self, order: pit.Order, client: str, reply: e.Refused) -> None:
        """A no of the caps names every one that would be passed, with the numbers; and what reduces a position is not
        kept from where that alone may pass.
        """
        trapped = [no for no in reply.rejected.rejects if (no.scope, no.limit) in self.reducing]
        _must(not (trapped and self._reduces(order, whole_of(order))), f"order {order.id} reduces: {trapped}")
        codes = set(reply.rejected.codes)
        if codes != {pit.RejectCode.RISK_LIMIT_EXCEEDED}:
            return
        whole = whole_of(order)
        totals, amount = self.totals(), worth(order, whole)
        wanted = []
        for cap in self._caps_on(order) if not self._reduces(order, whole) else ():
            scope, more = cap.scope(order.account, client), amount * cap.counts(asset_of(order.instrument))
            total = totals.get((cap.name, scope), NOTHING)
            if total + more > self.most(cap):
                wanted.append((cap.name, scope, self.most(cap), total, more))
        rejects = [no for no in reply.rejected.rejects if no.policy == "open_order_notional"]
        said = [(no.limit, no.scope, no.bound, no.used, no.requested) for no in rejects]
        _must(said == wanted, f"order {order.id} was refused by {said}, and would pass {wanted}")

    def _reduces(self, order: pit.Order, left: Decimal, *, but: Kept | None = None) -> bool:
        """Whether the position only gets smaller, once so much of it and every open order of its side are filled."""
        held = self.positions.get((order.account, str(order.instrument)), NOTHING)
        is_against = held < 0 if order.side is pit.Side.BUY else held > 0
        waiting = self.waiting(but).get((order.account, str(order.instrument), order.side), NOTHING)
        more = units(order, left)
        return is_against and more > 0 and waiting + more <= abs(held)

    def waiting(self, but: Kept | None = None) -> dict[tuple[str, str, pit.Side], Decimal]:
        """The units that open orders may still trade, by account, instrument and side; all of them but one."""
        found: dict[tuple[str, str, pit.Side], Decimal] = {}
        for kept in self.by_id.values():
            if kept.order is not None and kept.is_open and kept is not but:
                key = (kept.account, str(kept.order.instrument), kept.order.side)
                found[key] = found.get(key, NOTHING) + kept.may_trade
        return found

    def _caps_on(self, order: pit.Order) -> list[settings.Cap]:
        asset = asset_of(order.instrument)
        return [cap for cap in self.caps if cap.counts(asset) and cap.scope(order.account) is not None]

    def _leased(self, id: int) -> Kept | Change | None:
        """The order, or the modify, that a reservation is of."""
        kept = self.changes.get(id)
        return self.by_id.get(id) if kept is None else kept.change

    def most(self, cap: settings.Cap) -> Decimal:
        """What a cap allows now: what a person has set, as long as nobody has configured anything tighter since."""
        put = self.put.get(cap.name)
        if put is None:
            return cap.most
        return put.value if put.base == cap.most else min(put.value, cap.most)

    def _used(self, order: pit.Order) -> tuple[dict[str, Decimal], tuple[Decimal, Decimal], dict[Any, Decimal]]:
        """What is counted before an order by the limits that are checked after it."""
        if self.name != "strict":
            return {}, (NOTHING, NOTHING), {}
        try:
            return limits.used(self, order), limits.share(self, order), self.funds()
        except limits.Unmarked:
            return {}, (NOTHING, NOTHING), self.funds()  # then it must be there after it, or nothing passes

    def _keeps_the_strict(
        self,
        order: pit.Order,
        before: tuple[dict[str, Decimal], tuple[Decimal, Decimal], dict[Any, Decimal]],
        reduces: bool,
    ) -> None:
        """An order, or a modify, that was taken keeps every limit, or leaves what it counts no worse than it was."""
        if self.name != "strict":
            return
        had, (part_before, _), held_before = before
        for key, held in self.funds().items():
            has = self.balances.get(key[0], {}).get(key[1], NOTHING)
            _must(held <= max(has, held_before.get(key, NOTHING)) or key[0] != order.account, f"{key}: {held} of {has}")
        if reduces or asset_of(order.instrument) != "USD":
            return
        try:
            used, (part, whole) = limits.used(self, order), limits.share(self, order)
        except limits.Unmarked as trouble:
            raise Broken(f"order {order.id} was taken: {trouble}") from None
        for name, count in used.items():
            most = max(Decimal(settings.STRICT[name]), had.get(name, NOTHING))
            _must(count <= most, f"{count} are counted by {name}, with order {order.id}; {had} were")
        is_within = whole <= settings.SHARE_LEAST or part * 100 <= settings.SHARE_PERCENT * whole
        _must(is_within or part <= part_before, f"{part} of {whole} are in one instrument, with order {order.id}")

    def _set_limits(self, command: e.SetLimits, reply: e.Reply) -> None:
        """All of it, or nothing."""
        named = {cap.name: cap.most for cap in self.caps}
        is_meant = all(limit in named for limit, _ in command.limits)
        _must(isinstance(reply, e.LimitSet) is is_meant, f"{command} was answered {reply}")
        until_ns = None if command.lasts_ns is None else self._wall_ns + command.lasts_ns
        for limit, values in command.limits if is_meant else ():
            self.put[limit] = Put(Decimal(dict(values)["max_notional"]), named[limit], until_ns)

    def _adjust(self, command: e.AdjustAccounts, client: str, reply: e.Reply) -> None:
        """All of it, and once."""
        if not isinstance(reply, e.Adjusted):
            raise Broken(f"{command} was answered {reply}")
        before = self.adjusted.setdefault((client, command.id), command)
        _must(reply.result.already_applied is (before is not command), f"{command} was answered {reply}")
        if before is not command:
            _must(before == command, f"{command} was made before: {before}")
            return
        for each in command.adjustments:
            if isinstance(each, pit.BalanceAdjustment):
                kept = self.balances.setdefault(each.account, {})
                has = kept.get(each.asset, NOTHING)
                kept[each.asset] = each.set_to if each.set_to is not None else has + (each.move_by or NOTHING)
            elif isinstance(each, pit.PositionAdjustment):
                where = (each.account, str(each.instrument))
                self.positions[where] = self.positions.get(where, NOTHING) + (each.move_by or NOTHING)
            else:
                key, amount = (each.account, each.settlement), each.move_by or NOTHING
                self.told_pnl[key] = self.told_pnl.get(key, NOTHING) + amount
                self._realise(*key, amount)

    def _settles(self, event: str, id: int, client: str, reply: e.Reply) -> Kept | Change | None:
        leased = self._leased(id)
        if leased is None:
            _must(_failure(reply) is e.Failure.UNKNOWN_ID, f"reservation {id} was never given: {reply}")
            return None
        if leased.client != client and event != "commit_late":
            _must(_failure(reply) is e.Failure.NOT_AUTHORIZED, f"{client} may not touch order {id}")
            return None
        self._meet(leased)
        if isinstance(leased, Kept):
            self._happens(event, leased, reply)
        else:
            self._happens_to_change(event, self.changes[id], leased, reply)
        return leased

    def _happens(self, event: str, kept: Kept, reply: e.Reply) -> None:
        state = "closed" if kept.is_final and kept.state == "rolled_back" else kept.state
        cell = TABLE[event, state]
        if event == "commit_late" and kept.state in ENDED and kept.by_operator and not kept.is_final:
            cell = "working"
        if cell == "ended":
            cell = "LeaseExpired" if kept.lost_by_lease else "Finalized"
        if cell == "LeaseExpired" or cell == "Finalized":
            wanted = e.Failure.LEASE_EXPIRED if cell == "LeaseExpired" else e.Failure.ALREADY_FINALIZED
            _must(_failure(reply) is wanted, f"{event} of a {kept.state} order {kept.id} was answered {reply}")
            return
        if isinstance(reply, e.Refused):
            stops = () if kept.order is None else self._stops(kept.order, kept.left, but=kept)
            is_guarded = event in ("mark_sent", "renew")
            _must(is_guarded and bool(stops), f"{event} of order {kept.id} was answered {reply}")
            return
        if (event == "mark_sent" and kept.state == "held") or event == "renew":
            assert kept.order is not None
            self._is_allowed(kept.order, kept.left, but=kept)
        if cell == "closed" and kept.state == "rolled_back":
            cell = "rolled_back"
        was, by_operator = kept.state, event in ("settle_not_sent", "close")
        self._move(kept, cell)
        if was != cell:
            kept.lost_by_lease, kept.by_operator = False, by_operator
        if not isinstance(reply, e.Applied):
            stands = isinstance(reply, e.Stands) and reply.state == kept.state
            _must(stands, f"{event} of a {was} order {kept.id} was answered {reply}")

    def _by_person(self, command: e.SettleOrder | e.CloseOrder, reply: e.Reply) -> None:
        kept = self.orders.get((command.account, command.order_id))
        if kept is None:
            _must(_failure(reply) is e.Failure.UNKNOWN_ID, f"{command} was answered {reply}")
            return
        self._meet(kept)
        event = "close"
        if isinstance(command, e.SettleOrder):
            event = "settle_working" if command.working else "settle_not_sent"
        self._happens(event, kept, reply)

    # ------------------------------------------------------------------------------------------ modifies, cancels

    def _modify(self, command: e.ModifyOrder, client: str, session: int, reply: e.Reply) -> None:
        kept = self.orders.get((command.account, command.order_id))
        if kept is None or kept.order is None:
            _must(_failure(reply) is e.Failure.UNKNOWN_ID, f"{command} was answered {reply}")
            return
        if kept.client != client:
            _must(_failure(reply) is e.Failure.NOT_AUTHORIZED, f"{command} by {client} was answered {reply}")
            return
        self._meet(kept)
        self._meet(kept.pending)
        order, pending = changed(kept.order, command), kept.pending
        if pending is not None and pending.order == order:
            self._modified_again(kept, pending, command.sent, reply)
            return
        failure = self._why_not(kept, order, command)
        _must(_failure(reply) is failure, f"{command} was answered {reply}, and {failure} was meant, of {kept}")
        if failure is not None:
            return
        self._trip(kept.account, asset_of(order.instrument))
        left = whole_of(order) - kept.traded
        is_less = order.price == kept.order.price and left <= kept.left
        if not isinstance(reply, e.Modified):
            _must(isinstance(reply, e.Refused), f"{command} was answered {reply}")
            return
        self._is_allowed(order, left, but=kept, is_less=is_less)
        before, reduces = self.totals(), self._reduces(order, left, but=kept)
        used = self._used(order)
        state = "sent" if command.sent else "held"
        _must((reply.order, reply.state, reply.replayed) == (order, state, False), f"{command} was answered {reply}")
        self.changes.pop(0 if kept.change is None else kept.change.id, None)
        lease_ns = reply.lease_end_ns - self.now_ns
        kept.change = Change(
            id=reply.modify_id,
            order=order,
            client=client,
            session=session,
            state=state,
            left=left,
            lease_ns=lease_ns,
            lease_end_ns=reply.lease_end_ns,
        )
        _must(reply.modify_id == self.seq, f"{command} is reserved as {reply.modify_id}")
        self.changes[reply.modify_id] = self.orders[kept.account, order.id] = kept
        self.touched.add(kept.id)
        totals = self.totals()
        for cap in self._caps_on(order) if not reduces else ():
            key = (cap.name, cap.scope(kept.account, kept.client))
            total, was = totals.get(key, NOTHING), before.get(key, NOTHING)
            _must(total <= max(self.most(cap), was), f"{total} are open by {cap}, with a modify of {order.id}: {was}")
        self._keeps_the_strict(order, used, reduces)

    def _modified_again(self, kept: Kept, pending: Change, sent: bool, reply: e.Reply) -> None:
        """The very same modify, while it is under way."""
        if sent and pending.state == "held":
            assert kept.order is not None
            is_less = pending.order.price == kept.order.price and pending.left <= kept.left
            stops = self._stops(pending.order, pending.left, but=kept, is_less=is_less)
            if stops:
                _must(isinstance(reply, e.Refused), f"a modify went on, and {stops} are in force: {reply}")
                return
            self._set_change(kept, "sent")
        lease_end_ns = pending.lease_end_ns if pending.state in LEASED else 0
        meant = e.Modified(pending.id, pending.order, pit.OrderState(pending.state), lease_end_ns, True)
        _must(reply == meant, f"the same modify again was answered {reply}, not {meant}")

    def _why_not(self, kept: Kept, order: pit.Order, command: e.ModifyOrder) -> e.Failure | None:
        """Why an order can't be modified so."""
        assert kept.order is not None
        if (command.volume is None) is (kept.order.volume is not None) and command.quantity != command.volume:
            return e.Failure.INVALID_INPUT
        if kept.state in ENDED:
            return e.Failure.ALREADY_FINALIZED
        is_the_same = changed(order, e.ModifyOrder("", "", None, None, None, kept.order.id, False, None)) == kept.order
        if kept.state != "working" or kept.pending is not None or is_the_same or whole_of(order) <= kept.traded:
            return e.Failure.INVALID_INPUT
        if order.id != kept.order.id:
            holder = self.orders.get((kept.account, order.id))
            was_tried = kept.change is not None and kept.change.order.id == order.id
            if holder is not None and not (holder is kept and was_tried):
                return e.Failure.INVALID_INPUT
        return None

    def _happens_to_change(self, event: str, kept: Kept, change: Change, reply: e.Reply) -> None:
        cell, who = MODIFY_TABLE[event, change.state], f"{event} of modify {change.id}, {change.state},"
        if event == "commit_late" and change.state == "rolled_back" and kept.state != "working":
            cell = "Finalized"
        if cell == "ended" and event == "rollback" and change.ended_by not in ("replaced", "operator"):
            cell = change.state
        if cell == "ended":
            cell = "LeaseExpired" if change.lost_by_lease else "Finalized"
        if cell in ("LeaseExpired", "Finalized"):
            wanted = e.Failure.LEASE_EXPIRED if cell == "LeaseExpired" else e.Failure.ALREADY_FINALIZED
            _must(_failure(reply) is wanted, f"{who} was answered {reply}")
            return
        assert kept.order is not None
        is_guarded = event == "renew" or (event == "mark_sent" and change.state == "held")
        is_less = change.order.price == kept.order.price and change.left <= kept.left
        stops = self._stops(change.order, change.left, but=kept, is_less=is_less) if is_guarded else []
        if stops:
            _must(isinstance(reply, e.Refused), f"{who} went on, and {stops} are in force: {reply}")
            return
        if change.state == "rolled_back" and cell == "working":  # it went out all the same, and counts again
            change.left = max(whole_of(change.order) - kept.traded, NOTHING)
        if change.state != cell:
            change.lost_by_lease = False
        self._move_change(kept, cell)
        stands = isinstance(reply, e.Stands) and reply.state == cell
        _must(stands, f"{who} was answered {reply}")

    def _settle_modify(self, command: e.SettleModify, reply: e.Reply) -> None:
        kept = self.orders.get((command.account, command.order_id))
        change = None if kept is None else kept.change
        if kept is None or change is None:
            _must(_failure(reply) is e.Failure.UNKNOWN_ID, f"{command} was answered {reply}")
            return
        self._meet(change)
        cell = MODIFY_TABLE["settle_working" if command.replaced else "settle_not_sent", change.state]
        if cell == "ended":
            wanted = e.Failure.LEASE_EXPIRED if change.lost_by_lease else e.Failure.ALREADY_FINALIZED
            _must(_failure(reply) is wanted, f"{command} was answered {reply}")
            return
        change.ended_by = "operator"
        if command.replaced:
            self._set_change(kept, cell)
            self._goes_by(kept, change.order, change.left, change.venue_id)
        else:
            self._move_change(kept, cell)
        _must(isinstance(reply, e.Stands) and reply.state == kept.state, f"{command} was answered {reply}")

    def _goes_by(self, kept: Kept, order: pit.Order, left: Decimal, venue_id: str | None) -> None:
        """The venue goes by these terms from here on."""
        kept.order, kept.left = order, left
        self.orders[kept.account, order.id] = kept
        self.touched.add(kept.id)
        if venue_id is not None:
            kept.venue_id = venue_id
            kept.venue_ids.add(venue_id)
        if not left and kept.state == "working":
            self._move(kept, "closed")
            kept.is_filled = True

    def _called(self, id: int, venue_id: str) -> None:
        """A commit has told what the venue calls an order, or will call it by its new terms."""
        kept = self.changes.get(id)
        if kept is None:
            self._named(self.by_id[id], venue_id)
            return
        change = kept.change
        assert change is not None
        if change.state not in ENDED:
            change.venue_id = venue_id
        elif change.ended_by == "replaced":
            kept.venue_id = venue_id
            kept.venue_ids.add(venue_id)
            self.touched.add(kept.id)

    def _move_change(self, kept: Kept, state: str) -> None:
        """A modify goes on, or ends: an order that is filled by its old terms, and waited for this alone, with it."""
        self._set_change(kept, state)
        if state in ENDED and kept.state == "working" and not kept.left:
            self._move(kept, "closed")
            kept.is_filled = True

    def _set_change(self, kept: Kept, state: str) -> None:
        assert kept.change is not None
        kept.change.state = state
        if state in ("working", "closed"):
            kept.change.lost_by_lease = False
        self.touched.add(kept.id)

    def _cancel(self, command: e.CancelOrder, reply: e.Reply) -> None:
        kept = self.orders.get((command.account, command.order_id))
        if kept is not None and kept.order is not None:
            self._meet(kept)
        if kept is None or kept.order is None:
            failure = e.Failure.UNKNOWN_ID
        elif kept.state in ENDED:
            failure = e.Failure.ALREADY_FINALIZED
        elif kept.state == "held":
            failure = e.Failure.INVALID_INPUT
        else:
            _must(isinstance(reply, e.CancelCleared), f"{command} was answered {reply}")
            kept.is_cancel_out = True
            self.touched.add(kept.id)
            return
        _must(_failure(reply) is failure, f"{command} was answered {reply}")

    def _set_state(self, command: e.SetTradingState, reply: e.Reply) -> None:
        scope, state = command.scope, command.state
        if state is pit.TradingState.ACTIVE:
            is_known = self.restrictions.pop(scope, None) is not None
            _must(isinstance(reply, e.Done) is is_known, f"{command} was answered {reply}")
            if is_known:
                self.cancels.lift(scope, "trading_state")
            return
        _must(isinstance(reply, e.Done), f"{command} was answered {reply}")
        self.restrictions[scope] = state
        self.cancels.lift(scope, "trading_state")
        if state is pit.TradingState.HALTED and command.cancel:
            self.cancels.begin(Stop(scope, "trading_state"), self.seq)

    # ------------------------------------------------------------------------------------------ reports

    def _reported(self, report: pit.ExecutionReport, reply: e.Reply) -> None:
        said: Said = (report.kind, report.quantity, report.price, report.pnl, report.fee, report.fill_id)
        kept: Kept | None
        is_refused = _failure(reply) is e.Failure.INVALID_INPUT
        if report.order_id is None:
            fits = self._behind(report, said)
            if len(fits) != 1:
                _must(is_refused, f"{report} fits {fits} and was answered {reply}")
                return
            [kept] = fits
            key = (report.account, kept.order.id if kept.order is not None else "")
        else:
            key = (report.account, report.order_id)
            kept = self.orders.get(key)
            if kept is None and report.venue_order_id is not None and self._behind(report, said):
                _must(is_refused, f"{report} contradicts itself and was answered {reply}")
                return
        if kept is not None and self._is_called_otherwise(kept, report):
            _must(is_refused, f"{report} calls order {kept.id} what nobody does, and was answered {reply}")
            return
        if report.kind in ANEW and (kept is None or not self._may_undo(kept, report)):
            _must(is_refused, f"{report} is about no fill that is known, and was answered {reply}")
            return
        if not isinstance(reply, e.Applied):
            raise Broken(f"{report} was answered {reply}")
        if kept is None:
            if report.kind is not pit.ReportKind.FILL and not report.pnl and not report.fee:
                return  # the end of an order that was never here changes nothing
            kept = Kept(
                id=self.seq, account=report.account, order=None, client="", session=0, state="closed", left=NOTHING
            )
            self.orders[key] = self.by_id[kept.id] = kept
        is_known = report.report_id in kept.reports
        _must(reply.result.already_applied is is_known, f"report {report.report_id} of order {key}: {reply.result}")
        if not is_known:
            self._apply(kept, report, reply)
            kept.reports[report.report_id] = said
            self.touched.add(kept.id)
        if kept.order is not None:
            _must(reply.result.order_id == kept.order.id, f"{report} was taken for {reply.result}")

    def _apply(self, kept: Kept, report: pit.ExecutionReport, reply: e.Applied) -> None:
        self._meet(kept)
        if report.kind is pit.ReportKind.FILL and kept.ahead:
            assert report.quantity is not None
            before = min(report.quantity, kept.ahead)  # so much a status has counted: its money counts in any case
            kept.ahead -= before
            if before == report.quantity:
                if report.venue_order_id is not None:
                    self._named(kept, report.venue_order_id)
                bare = msgspec.structs.replace(report, kind=pit.ReportKind.ACCEPTED, quantity=None)
                self._pay(kept.account, self._moves(bare, kept.order))
                kept.is_final = kept.is_final or not (kept.left or kept.goes_on)
                self._realise(kept.account, asset_of(report.instrument), report.pnl - report.fee)
                return
            report = msgspec.structs.replace(report, quantity=report.quantity - before)
        if report.kind in ANEW:
            self._tell_anew(kept, report)
            return
        if report.kind in (*ALIVE, *FINAL):
            self._happens("alive" if report.kind in ALIVE else "final", kept, reply)
        if report.venue_order_id is not None:
            self._named(kept, report.venue_order_id)
        if report.kind is pit.ReportKind.REPLACED and kept.order is not None and kept.state != "closed":
            self._replaced(kept, report)
        elif report.kind is pit.ReportKind.REPLACE_REJECTED and kept.pending is not None:
            self._move_change(kept, MODIFY_TABLE["replace_rejected", kept.pending.state])
        elif report.kind is pit.ReportKind.CANCEL_REJECTED:
            kept.is_cancel_out = False
        side = report.side if kept.order is None else kept.order.side
        moves = self._moves(report, kept.order, side=side)
        if report.kind is pit.ReportKind.FILL:
            assert report.quantity is not None and report.price is not None
            symbol = str(report.instrument)
            booked = Booked(report.quantity, report.price, report.pnl, report.fee, symbol, side, moves)
            kept.fills[report.report_id] = booked
            kept.known_worth += report.quantity * report.price
            self._fill(kept, report.quantity, report.price, symbol, side)
        self._pay(kept.account, moves)
        if kept.order is not None:
            kept.is_final = kept.is_final or report.kind in FINAL or not (kept.left or kept.goes_on)
        self._realise(kept.account, asset_of(report.instrument), report.pnl - report.fee)

    def _status(self, status: pit.OrderStatus, reply: e.Reply) -> None:
        """What is missing is booked at the price that is missing; and what became of the order."""
        kept = self.orders[status.account, status.order_id or ""]
        assert kept.order is not None and isinstance(reply, e.Applied), f"{status} was answered {reply}"
        self._meet(kept)
        missing, state, is_news = status.cum_quantity - kept.filled, status.status, False
        if missing > 0:
            price = self._missing_price(kept, status, missing)
            self._happens("alive", kept, reply)
            side, symbol = kept.order.side, str(kept.order.instrument)
            fill = pit.ExecutionReport(
                account=kept.account, kind="fill", report_id="-", order_id="-", quantity=missing, price=price
            )
            self._pay(kept.account, self._moves(fill, kept.order, side=side))
            self._fill(kept, missing, price, symbol, side)
            kept.ahead, kept.known_worth = kept.ahead + missing, kept.known_worth + missing * price
            is_news = True
        if missing >= 0 and kept.is_open:
            if state.value in FINAL:
                self._happens("final", kept, reply)
                is_news = True
            elif state is pit.VenueState.WORKING and kept.state != "working":
                self._happens("alive", kept, reply)
                is_news = True
            elif state is pit.VenueState.FILLED and not kept.goes_on:
                self._move(kept, "closed")
                kept.is_filled = True
                is_news = True
        is_over = missing >= 0 and kept.state == "closed" and state is not pit.VenueState.WORKING
        kept.is_final = kept.is_final or is_over
        self.touched.add(kept.id)
        _must(reply.result.already_applied is not is_news, f"{status} was answered {reply}")

    def _missing_price(self, kept: Kept, status: pit.OrderStatus, missing: Decimal) -> Decimal:
        """The price that brings the average to what the status says, to nine decimals; or the average itself."""
        assert status.average_price is not None
        worth_of_it = status.cum_quantity * status.average_price - kept.known_worth
        price = rounded(Fraction(rounded(Fraction(worth_of_it) / Fraction(missing), 18)), 9).normalize()
        is_one = price > 0 and len(price.as_tuple().digits) <= 18
        return price if is_one else status.average_price

    def _drop_copied(self, command: e.DropCopy, client: str, session: int, reply: e.Reply) -> None:
        """An order is at the venue: it is counted from here on, whatever the limits say."""
        if not isinstance(reply, e.DropCopied):
            raise Broken(f"{command} was answered {reply}")
        order, owner = command.order, command.client or client
        kept = self.orders.get((order.account, order.id))
        self._meet(kept)
        _must(reply.result.was_known is (kept is not None and kept.order is not None), f"{command}: {reply}")
        if kept is None:
            kept = Kept(
                id=self.seq, account=order.account, order=None, client="", session=0, state="closed", left=NOTHING
            )
            self.orders[order.account, order.id] = self.by_id[kept.id] = kept
        if kept.order is not None:
            self._happens("alive", kept, e.Applied(pit.ReportResult(order_id="", state=None, open_quantity=None)))
        else:
            self._trip(kept.account, asset_of(order.instrument))
            traded = kept.filled if order.volume is None else worth_by_quantity(order, kept.filled)
            kept.order, kept.client, kept.session = order, owner, session
            kept.left = max(whole_of(order) - traded, NOTHING)
            kept.is_final = kept.is_filled = not kept.left
            if kept.left:
                self._move(kept, "working")
        if command.venue_order_id is not None:
            self._named(kept, command.venue_order_id)
        self.touched.add(kept.id)
        _must(reply.result.state == kept.state, f"{command} was answered {reply}, and not {kept}")

    def _is_called_otherwise(self, kept: Kept, report: pit.ExecutionReport) -> bool:
        """Whether a report calls an order at the venue by what nobody has called it before."""
        named = report.venue_order_id
        if named is None or kept.venue_id is None or report.kind is pit.ReportKind.REPLACED:
            return False
        return kept.pending is None and named not in kept.venue_ids

    def _may_undo(self, kept: Kept, report: pit.ExecutionReport) -> bool:
        """Whether a fill is there that may be undone, or told anew; or was so by this very report."""
        fill = kept.fills.get(report.fill_id or "")
        return report.report_id in kept.reports or (fill is not None and not fill.is_undone)

    def _hold(self, account: str, symbol: str, side: pit.Side | None, quantity: Decimal) -> None:
        """A position has moved, where anybody knows which way."""
        if side is not None:
            more = quantity if side is pit.Side.BUY else -quantity
            self.positions[account, symbol] = self.positions.get((account, symbol), NOTHING) + more

    def _fill(self, kept: Kept, quantity: Decimal, price: Decimal, symbol: str, side: pit.Side | None) -> None:
        """So much of an order has traded."""
        kept.filled += quantity
        used = quantity
        self._hold(kept.account, symbol, side, quantity)
        if kept.order is not None and kept.order.volume is not None:
            used *= price * settings.MULTIPLIERS[kept.order.instrument]
        pending = kept.pending
        kept.left = max(NOTHING, kept.left - used)
        if pending is not None:
            is_by_volume = pending.order.volume is not None
            pending.left = max(NOTHING, pending.left - used if is_by_volume else whole_of(pending.order) - kept.filled)
        if not kept.left and kept.state == "working" and not kept.goes_on:
            self._move(kept, "closed")
            kept.is_filled = True

    def _replaced(self, kept: Kept, report: pit.ExecutionReport) -> None:
        """The venue has replaced an order: by the terms that were asked for, or those that it says."""
        change, order = kept.change, kept.order
        assert order is not None
        is_asked = change is not None and change.state != "closed"
        terms = change.order if change is not None and is_asked else order
        told = {"price": report.price, "quantity" if order.volume is None else "volume": report.quantity}
        terms = msgspec.structs.replace(terms, **{name: value for name, value in told.items() if value is not None})
        left = max(whole_of(terms) - kept.traded, NOTHING)
        named = report.venue_order_id
        if change is not None and is_asked:
            named = named or change.venue_id
            change.ended_by = "replaced"
            self._set_change(kept, "closed")
        self._goes_by(kept, terms, left, named)

    def _tell_anew(self, kept: Kept, report: pit.ExecutionReport) -> None:
        """A fill never was, or was another one: it is taken back, and told anew."""
        fill = kept.fills[report.fill_id or ""]
        is_bust = report.kind is pit.ReportKind.BUST
        price = fill.price if report.price is None else report.price
        quantity = NOTHING if is_bust or report.quantity is None else report.quantity
        side = fill.side if kept.order is None else kept.order.side
        if not is_bust:  # what it leaves out is as it was
            quantity = fill.quantity if report.quantity is None else quantity
            pnl, fee = (was if told is None else told for told, was in ((report.pnl, fill.pnl), (report.fee, fill.fee)))
            report = msgspec.structs.replace(report, quantity=quantity, price=price, pnl=pnl, fee=fee)
        moves = self._moves(report, kept.order, price=price, side=side)
        again = Booked(quantity, price, report.pnl, report.fee, fill.symbol, fill.side, moves, is_bust)
        kept.fills[report.fill_id or ""] = again
        self._refill(kept, fill, again)
        self._pay(kept.account, tuple((asset, -amount) for asset, amount in fill.moves))
        self._pay(kept.account, moves)
        net = (report.pnl - report.fee) - (fill.pnl - fill.fee)
        self._realise(kept.account, asset_of(report.instrument), net)

    def _refill(self, kept: Kept, fill: Booked, again: Booked) -> None:
        more = again.quantity - fill.quantity
        kept.filled += more
        self._hold(kept.account, fill.symbol, fill.side, more)
        if kept.order is None:
            return
        by = (again.price, fill.price) if kept.order.volume is not None else (1, 1)
        is_less = again.quantity * by[0] < fill.quantity * by[1]
        if kept.state != "working" and not (is_less and self._may_reopen(kept)):
            return  # what is over stays over
        if kept.state != "working":
            kept.is_filled = kept.is_final = False
            self._move(kept, "working")
        whole, pending = whole_of(kept.order), kept.pending
        if kept.order.volume is not None:
            times = settings.MULTIPLIERS[kept.order.instrument]
            more = (again.quantity * again.price - fill.quantity * fill.price) * times
            kept.left = min(max(NOTHING, kept.left - more), whole)
        else:
            kept.left = min(max(NOTHING, whole - kept.filled), whole)
        if pending is not None:
            is_by_volume = pending.order.volume is not None
            pending.left = max(NOTHING, pending.left - more if is_by_volume else whole_of(pending.order) - kept.filled)
        if not kept.left and not kept.goes_on:
            self._move(kept, "closed")
            kept.is_filled = True

    def _may_reopen(self, kept: Kept) -> bool:
        """Whether an order that is filled no more may be open at the venue."""
        order = kept.order
        if order is None or order.price is None or not (kept.state == "closed" and kept.is_filled):
            return False
        if order.time_in_force in (pit.TimeInForce.IOC, pit.TimeInForce.FOK):
            return False
        return order.time_in_force is not pit.TimeInForce.DAY or e.row_of(kept.id) > self.day_ended

    def _moves(
        self,
        report: pit.ExecutionReport,
        order: pit.Order | None,
        *,
        price: Decimal | None = None,
        side: pit.Side | None = None,
    ) -> tuple[tuple[str, Decimal], ...]:
        """What a report moves of what its account has, where that is kept: a spot fill one asset for the other, of any
        other instrument its P&L, and always its fee.
        """
        if not self.counts_funds and report.account not in self.balances:
            return ()
        instrument = report.instrument if order is None else order.instrument
        money, moves = asset_of(instrument), [(asset_of(instrument), -report.fee)]
        if instrument != settings.PAIR:
            moves.append((money, report.pnl))
        elif report.kind in (pit.ReportKind.FILL, pit.ReportKind.CORRECT) and side is not None:
            price = report.price if report.price is not None else price
            assert report.quantity is not None and price is not None
            bought = report.quantity if side is pit.Side.BUY else -report.quantity
            moves += [("AAPL", bought), (money, -bought * price)]
        return tuple((asset, amount) for asset, amount in moves if amount)

    def _pay(self, account: str, moves: tuple[tuple[str, Decimal], ...]) -> None:
        if moves:
            kept = self.balances.setdefault(account, {})
            for asset, amount in moves:
                kept[asset] = kept.get(asset, NOTHING) + amount

    def funds(self) -> dict[tuple[str, str], Decimal]:
        """What open orders of the pair would pay with, by account and asset."""
        found: dict[tuple[str, str], Decimal] = {}
        for kept in self.by_id.values():
            order = kept.order
            if order is None or order.instrument != settings.PAIR or not kept.is_open:
                continue
            is_buy = order.side is pit.Side.BUY
            key = (kept.account, "USD" if is_buy else "AAPL")
            found[key] = found.get(key, NOTHING) + (kept.counted if is_buy else kept.may_trade)
        return {key: amount for key, amount in found.items() if amount}

    def _behind(self, report: pit.ExecutionReport, said: Said) -> list[Kept]:
        """The orders that a report can be about which gives the venue's id alone."""
        same = [
            kept
            for kept in self.by_id.values()
            if kept.account == report.account and report.venue_order_id in kept.venue_ids
        ]
        ended = [kept for kept in same if kept.state in ENDED]
        opened = [kept for kept in same if kept.state not in ENDED]
        return opened + [kept for kept in ended if kept.reports.get(report.report_id) == said] or ended

    def _named(self, kept: Kept, venue_id: str) -> None:
        """An order's id at the venue; open orders of one account that have the same are flagged."""
        if kept.venue_id is not None:
            return
        kept.venue_id = venue_id
        kept.venue_ids.add(venue_id)
        self.touched.add(kept.id)
        if kept.state in ENDED or kept.order is None:
            return
        same = [
            other
            for other in self.by_id.values()
            if other.account == kept.account and other is not kept and other.venue_id == venue_id and other.is_open
        ]
        for each in (*same, kept) if same else ():
            each.is_namesake = True
            self.touched.add(each.id)

    def _realise(self, account: str, asset: str, amount: Decimal) -> None:
        if not amount:
            return
        self.pnl[account, asset] = self.pnl.get((account, asset), NOTHING) + amount
        for cap in self.losses:
            scope = cap.scope(account)
            if cap.of != "account" and scope is not None and cap.asset == asset:
                self.sums[cap.name, scope] = self.sums.get((cap.name, scope), NOTHING) + amount
        self._trip(account, asset)

    def _trip(self, account: str, asset: str) -> None:
        for cap in self.losses:
            scope = cap.scope(account)
            if scope is None or cap.asset != asset or (cap.name, scope) in self.tripped:
                continue
            key = (cap.name, scope)
            if self._made(key) <= self.floor.get(key, -cap.most):
                self.tripped.add(key)
                self.blocks.add((scope, cap.name))
                self.reducing.discard((scope, cap.name))
                if cap.then == "reduce":
                    self.reducing.add((scope, cap.name))
                else:
                    self.cancels.begin(Stop(scope, cap.name), self.seq)

    def _move(self, kept: Kept, state: str) -> None:
        if state in ENDED and kept.pending is not None:
            kept.pending.ended_by = "order"
            self._set_change(kept, MODIFY_TABLE["order_ended", kept.pending.state])
        if state != kept.state and state in ("working", "quarantined"):
            self._came.append(kept.id)
        kept.state = state
        self.touched.add(kept.id)

    # ------------------------------------------------------------------------------------------ looking

    def totals(self) -> dict[tuple[str, str | None], Decimal]:
        """What is open, by limit and scope."""
        found: dict[tuple[str, str | None], Decimal] = {}
        for kept in self.by_id.values():
            if kept.order is None or not kept.is_open:
                continue
            counted, asset = kept.counted, asset_of(kept.order.instrument)
            for cap in self._caps_on(kept.order):
                key = (cap.name, cap.scope(kept.account, kept.client))
                found[key] = found.get(key, NOTHING) + counted * cap.counts(asset)
        return found

    def told_accepted(self, order: pit.Order, held: wire.Accepted) -> None:
        """A client has been told that its order counts."""
        _must(held.order_id == order.id, f"order {order.id} was answered {held}")
        key = (order.account, order.id)
        before = self.accepted.setdefault(key, held.reservation_id)
        _must(before == held.reservation_id, f"order {order.id} was accepted as {before} and as {held.reservation_id}")

    def told_committed(self, reservation_id: int) -> None:
        """A client takes a commit for carried out that it has not waited for."""
        _must(reservation_id in self.committed, f"reservation {reservation_id} was confirmed, and never committed")

    def heard(self, client: str, session: int, header_frame: bytes, body: bytes) -> None:
        """A client has had this message: what it acknowledges must be in the journal, as it says."""
        header = wire.unpack_header(header_frame)
        seen = wire.heard(header.acked)
        _must(seen <= self.seq, f"client {client} has seen entry {seen}, the journal has {self.seq}")
        reply = wire.decode_reply(body)
        if isinstance(reply, wire.Failed) and reply.code is wire.FailureCode.JOURNAL_BEHIND:
            raise Broken(f"client {client}: {reply.message}")
        answers = (wire.Message.COMMAND, wire.Message.CONFIRMED, wire.Message.SETTLE)
        if header.message not in answers or isinstance(reply, wire.Failed):
            return
        kept = self.answers.get((session, header.number))
        _must(kept is not None, f"client {client} was answered {reply}, and number {header.number} is in no row")
        assert kept is not None
        _must(
            _without_lease(translate.reply_of(kept, self.now_ns)) == _without_lease(reply),
            f"client {client} was answered {reply}, and the journal says {kept}",
        )

    def must_resume(self) -> None:
        """The loop has come back much later than it meant to: the next row gives leases another length."""
        self._to_resume = {self.seq + 1}

    def compare(self, engine: Engine, *, whole: bool = False) -> None:
        """The engine knows what the model knows: what was touched since the last time, or everything."""
        _must(engine.seq == self.seq, f"the engine stands at {engine.seq}, the journal at {self.seq}")
        for id in sorted(self.by_id if whole else self.touched):
            kept = self.by_id[id]
            record = engine.orders.find(id)
            _must(record is not None, f"order {id} is forgotten")
            assert record is not None
            has = (str(record.state), record.open_quantity, record.filled_quantity, record.final_seen)
            is_final = kept.is_final if kept.order is not None else record.final_seen
            wanted = (kept.state, kept.left, kept.filled, is_final)
            goes_by = (record.order, bool(record.cancel_asked_ns))
            _must(goes_by == (kept.order, kept.is_cancel_out), f"order {id} is {goes_by}, and not {kept}")
            pending = record.pending
            on_its_way = pending and (pending.modify_id, pending.order, str(pending.state), pending.open_quantity)
            change = kept.pending
            meant = change and (change.id, change.order, change.state, change.left)
            _must(on_its_way == meant, f"order {id} is being modified to {on_its_way}, and not {meant}")
            named = (record.venue_order_id, SHARED_VENUE_ID in record.flags)
            _must(named == (kept.venue_id, kept.is_namesake), f"order {id} is {named} at the venue, not {kept}")
            _must(has == wanted, f"order {id}: the engine has {has}, the model {wanted}")
        self.touched.clear()
        going = {session.id for session in engine.sessions.going()}
        wanted_going = {id for id, said in self.sessions.items() if not said.is_over}
        _must(going == wanted_going, f"the sessions {going} go on, not {wanted_going}")
        notional, switch = engine.policies["open_order_notional"], engine.policies["pnl_kill_switch"]
        held = {(limit, scope): Decimal(amount) for limit, scope, amount in notional.save()}
        totals = {key: total for key, total in self.totals().items() if total}
        _must(held == totals, f"{held} are counted, and {totals} are open")
        for where, position in self.positions.items():
            known = engine.positions.of(*where).quantity
            _must(known == position, f"{known} units are held on {where}, and fills came to {position}")
        for (account, symbol, side), waiting in self.waiting().items():
            known_waiting = engine.positions.on_the_way(account, symbol, side)
            _must(known_waiting == waiting, f"{known_waiting} of {symbol} may still trade for {account}, not {waiting}")
        for (account, asset), made in self.pnl.items():
            pnl = switch.pnl(account, asset)  # type: ignore[attr-defined]
            _must(pnl == made, f"the P&L of {account} is {pnl} {asset}, and reports said {made}")
        sums = {key: amount for key, amount in switch._shared.items() if amount}  # type: ignore[attr-defined]
        wanted_sums = {key: amount for key, amount in self.sums.items() if amount}
        _must(sums == wanted_sums, f"limits have counted {sums} of P&L, and reports said {wanted_sums}")
        wanted_funds = self.funds() if self.counts_funds else {}
        funds = {key: each.held for key, each in engine.policies["spot_funds"].funds().items() if each.held}
        _must(funds == wanted_funds, f"{funds} are held to pay with, and open orders need {wanted_funds}")
        have = {account: dict(engine.balances.of_account(account)) for account in engine.balances.accounts()}
        wanted_have = {of: {asset: n for asset, n in kept.items() if n} for of, kept in self.balances.items()}
        _must(have == wanted_have, f"the balances are {have}, and reports came to {wanted_have}")
        _must(not (why := self.cancels.compare(engine)), why)
        put = {each.limit: Decimal(each.value) for each in engine.overrides.all()}
        _must(put == {limit: each.value for limit, each in self.put.items()}, f"{put} are set, and not {self.put}")
        restrictions = {each.scope: each.state for each in engine.trading.restrictions()}
        _must(restrictions == self.restrictions, f"restricted are {restrictions}, and not {self.restrictions}")
        blocks = {(block.scope, block.limit) for block in engine.accounts.blocks()}
        _must(blocks == self.blocks, f"the blocks are {sorted(blocks)}, not {sorted(self.blocks)}")

    def compare_with_venue(self, venue: Venue, *, is_over: bool = False) -> None:
        """What the venue may still trade is counted; in the end (`is_over`) both agree, order by order."""
        for key, placed in venue.orders.items():
            kept = self.orders.get(key)
            if not is_over:
                if placed.is_promised and not placed.is_over and placed.left:
                    state = None if kept is None else kept.state
                    _must(state in ("sent", "quarantined", "working"), f"order {key} is at the venue, and {state} here")
                    assert kept is not None
                    may, there = kept.may_trade, placed.left
                    _must(may >= there or placed.is_undoing, f"of order {key} {there} may trade, and {may} are counted")
                continue
            filled = Decimal(0) if kept is None else kept.filled
            _must(filled == placed.filled, f"order {key}: the venue filled {placed.filled}, {filled} is known here")
            if kept is not None:
                state = kept.state
                _must(state in ENDED, f"order {key} is {state} in the end")
                is_closed = state == "closed" or kept.is_final  # its last word may have come before its fills
                _must(is_closed or not filled, f"order {key} has traded and is {state}")
        if is_over:
            for key, id in self.accepted.items():
                kept = self.orders.get(key)
                _must(kept is not None and kept.id == id, f"order {key} was accepted and is forgotten")
            made: dict[tuple[str, str], Decimal] = {}
            for (account, _), placed in venue.orders.items():
                key = (account, asset_of(placed.order.instrument))
                made[key] = made.get(key, NOTHING) + placed.made
            for key, amount in self.told_pnl.items():
                made[key] = made.get(key, NOTHING) + amount
            for key in made.keys() | self.pnl.keys():
                here, there = self.pnl.get(key, NOTHING), made.get(key, NOTHING)
                _must(here == there, f"{key} made {there}, and {here} is known here")


_SETTLING = (e.Rollback, e.Quarantine, e.SettleOrder)


def scopes_of(account: str) -> tuple[str, ...]:
    """Where a block stops an account."""
    return ("firm", f"account {account}", *(("group desk",) if account in settings.DESK else ()))


def _failure(reply: Any) -> e.Failure | None:
    return reply.failure if isinstance(reply, e.Failed) else None


def _without_lease(reply: wire.Reply) -> wire.Reply:
    if isinstance(reply, wire.ManyChecked):
        answers = tuple(_without_lease(answer) for answer in reply.answers)
        return msgspec.structs.replace(reply, answers=answers)
    if isinstance(reply, (wire.Accepted, wire.Modified, wire.Settled, wire.Deferred)):
        return msgspec.structs.replace(reply, lease_ns=0)
    return reply


def _must(is_true: bool, why: str) -> None:
    if not is_true:
        raise Broken(why)
