"""What must be true: the design's promises in plain code, fed with the journal's rows as they are kept.

It takes each entry and its answer, says what that comes to by its own small account of orders, and raises `Broken`
where the daemon says, counts or forgets otherwise. It reads effects only to see which leases were ended, and when.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING, Any

import msgspec

import pit
from pit import wire
from pitd import translate
from pitd.core import entry as e
from pitd.core.engine import SHARED_VENUE_ID, Engine

from . import settings

if TYPE_CHECKING:
    from .venue import Venue


class Broken(AssertionError):
    """A promise was not kept."""


LIFE = """
                 held         sent         quarantined  working      rolled_back  closed
mark_sent        sent         sent         LeaseExpired Finalized    ended        ended
commit           working      working      working      working      ended        ended
commit_late      working      working      working      working      working      closed
rollback         rolled_back  rolled_back  rolled_back  Finalized    rolled_back  closed
quarantine       quarantined  quarantined  quarantined  Finalized    ended        ended
renew            held         sent         LeaseExpired Finalized    ended        ended
lapse            rolled_back  quarantined  quarantined  working      rolled_back  closed
alive            working      working      working      working      working      closed
final            closed       closed       closed       closed       rolled_back  closed
settle_working   working      working      working      working      ended        ended
settle_not_sent  rolled_back  rolled_back  rolled_back  rolled_back  ended        ended
close            closed       closed       closed       closed       ended        ended
day_end          held         sent         quarantined  closed       rolled_back  closed
"""
_HEAD, *_ROWS = [line.split() for line in LIFE.strip().splitlines()]
TABLE = {(row[0], state): cell for row in _ROWS for state, cell in zip(_HEAD, row[1:], strict=True)}

NEW_RISK = (e.CheckOrder, e.StartOrder, e.ExecuteRequest)
LEASED = ("held", "sent")
NOTHING = Decimal(0)
Said = tuple[Any, ...]
"""What a report says: kind, quantity, price, P&L, fee."""

COUNTED = ("held", "sent", "quarantined", "working")
ENDED = ("rolled_back", "closed")


class Kept(msgspec.Struct, kw_only=True):
    """One order, as the model keeps it."""

    id: int
    order: pit.Order | None
    client: str
    session: int
    state: str
    left: Decimal
    lease_ns: int = 0
    lease_end_ns: int = 0
    restarts: int = 0
    filled: Decimal = Decimal(0)
    reports: dict[str, Said] = msgspec.field(default_factory=dict)
    venue_id: str | None = None
    is_namesake: bool = False
    lost_by_lease: bool = False
    by_operator: bool = False
    is_final: bool = False

    @property
    def counted(self) -> Decimal:
        if self.order is None or self.state not in COUNTED:
            return NOTHING
        return worth(self.order, self.left)


def worth(order: pit.Order, left: Decimal) -> Decimal:
    """What that much of an order counts for, in its asset."""
    if order.volume is not None:
        return left
    assert order.price is not None
    times = settings.MULTIPLIERS[order.instrument]
    if order.instrument == "XBT":
        return Decimal(ceil(Fraction(left * times) / Fraction(order.price) * 10**9)).scaleb(-9)
    return order.price * left * times


def units(order: pit.Order, left: Decimal) -> Decimal:
    """How many units that much of an order may still trade."""
    if order.volume is None:
        return left
    assert order.price is not None
    worth_of_one = Fraction(order.price * settings.MULTIPLIERS[order.instrument])
    return Decimal(ceil(Fraction(left) / worth_of_one * 10**9)).scaleb(-9)


def asset_of(instrument: pit.Instrument | str | None) -> str:
    return "BTC" if instrument == "XBT" else "USD"


class Conversation(msgspec.Struct, kw_only=True):
    """One session, as the model keeps it."""

    client: str
    next_number: int = 1
    is_over: bool = False


class Model:
    """The promises, and what is known so far."""

    def __init__(self) -> None:
        self.orders: dict[tuple[str, str], Kept] = {}
        self.by_id: dict[int, Kept] = {}
        self.sessions: dict[int, Conversation] = {}
        self.answers: dict[tuple[int, int], e.Reply] = {}
        self.requests: dict[int, tuple[pit.Order, str]] = {}
        self.blocks: set[tuple[str, str]] = set()
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
        lapses = self._lapses(row)
        match entry.body:
            case e.Commanded():
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
            case e.Resumed():
                self._resumed()
                self.resumed.add(entry.seq)
            case e.Configured():
                _must(entry.seq == 1 or entry.seq - 1 in self.resumed, "a start has given no lease another length")
                self._configured(msgspec.json.decode(entry.body.settings)["source"])
            case e.LeasesDue():
                for id in lapses:
                    self._lapse(self.by_id[id])
            case e.DayOrdersDue():
                self._day_over(row)
            case e.HistoryDisputed() if self.may_be_disputed:
                self.disputed = True
            case e.HistoryDisputed():
                raise Broken(f"client {entry.body.client} knows entry {entry.body.seen_seq}: history was lost")

    def _configured(self, name: str) -> None:
        """Other limits: those over many accounts begin with what their accounts have made, unless they were there."""
        self.counts_funds = name in settings.FUNDS
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

    def _lapses(self, row: e.Row) -> list[int]:
        """The orders whose leases this row has ended. Raises Broken for one that was still running."""
        by_command = row.entry.body.command if isinstance(row.entry.body, e.Commanded) else None
        ended = []
        for effect in row.effects:
            if not isinstance(effect, e.OrderMoved) or effect.state not in ("rolled_back", "quarantined"):
                continue
            kept = self.by_id[effect.reservation_id]
            if kept.state not in LEASED or isinstance(by_command, (e.Rollback, e.Quarantine, e.SettleOrder)):
                continue
            if isinstance(by_command, e.Drop) and kept.id in by_command.reservation_ids:
                continue
            _must(self._is_due(kept), f"the lease of order {kept.id} was ended too early")
            ended.append(kept.id)
        return ended

    def _day_over(self, row: e.Row) -> None:
        """Orders that were good for a day which is over."""
        for effect in row.effects:
            if isinstance(effect, e.OrderMoved):
                kept = self.by_id[effect.reservation_id]
                is_daily = kept.order is not None and kept.order.time_in_force is pit.TimeInForce.DAY
                _must(is_daily and kept.state == "working", f"the end of a day closed order {kept.id}: {kept}")
                self._move(kept, TABLE["day_end", kept.state])

    def _is_due(self, kept: Kept) -> bool:
        return kept.state in LEASED and (kept.lease_end_ns <= self.now_ns or self.sessions[kept.session].is_over)

    def _lapse(self, kept: Kept) -> None:
        self._move(kept, TABLE["lapse", kept.state])
        kept.lost_by_lease = True

    def _resumed(self) -> None:
        for kept in self.by_id.values():
            if kept.state in LEASED and kept.restarts < 3:
                kept.restarts += 1
                kept.lease_end_ns = max(kept.lease_end_ns, self.now_ns + kept.lease_ns)

    # ------------------------------------------------------------------------------------------ commands

    def _commanded(self, body: e.Commanded, reply: e.Reply, lapses: list[int]) -> None:
        said = self.sessions[body.session]
        _must(not said.is_over, f"session {body.session} is over and was served")
        self._number(body.session, body.number, reply)
        for id in lapses:
            self._lapse(self.by_id[id])
        command = body.command
        _must(not (self.disputed and type(command) in NEW_RISK), f"history is disputed, and {command} was executed")
        match command:
            case e.CheckOrder(order):
                self._meet(self.orders.get((order.account, order.id)))
                if not (isinstance(reply, e.Accepted) and reply.replayed):
                    self._attempted(order, reply)
                self._opened(order, command.sent, said.client, body.session, reply)
            case e.StartOrder(order):
                self._meet(self.orders.get((order.account, order.id)))
                self._attempted(order, reply)
                if isinstance(reply, e.Deferred):
                    self._is_allowed(order)
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
                kept = self._settles("commit_late" if command.late else "commit", id, said.client, reply)
                if kept is not None and venue_id is not None and isinstance(reply, e.Stands):
                    self._named(kept, venue_id)
            case e.Rollback(id):
                self._settles("rollback", id, said.client, reply)
            case e.Quarantine(id):
                self._settles("quarantine", id, said.client, reply)
            case e.Renew(id):
                kept = self._settles("renew", id, said.client, reply)
                if kept is not None and isinstance(reply, e.Stands):
                    kept.lease_end_ns, kept.restarts = reply.lease_end_ns, 0
                    kept.lease_ns = reply.lease_end_ns - self.now_ns
            case e.Drop(ids):
                for id in ids:
                    dropped = self.by_id.get(id)
                    if dropped is not None and dropped.state in LEASED and dropped.client == said.client:
                        self._lapse(dropped)
                        dropped.lost_by_lease = False
            case e.EndOwnSession():
                said.is_over = True
            case e.ApplyReport(report):
                self._reported(report, reply)
            case e.SettleOrder() | e.CloseOrder():
                self._by_person(command, reply)
            case e.BlockScope(scope):
                _must(reply == e.Done(1), f"{command} was answered {reply}")
                self.blocks.add((scope, "operator"))
            case e.UnblockScope(scope):
                if isinstance(reply, e.Done):
                    here = {limit for of, limit in self.blocks if of == scope}
                    lifted = here - {cap.name for cap in self.losses}
                    _must(reply.count == len(lifted) > 0, f"{command} lifted {reply.count}, not {lifted}")
                    for limit in lifted:
                        self.blocks.discard((scope, limit))
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

    def _meet(self, kept: Kept | None) -> None:
        """A command that meets a lease past its end finds it ended."""
        if kept is not None and self._is_due(kept):
            self._lapse(kept)

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

    def _is_allowed(self, order: pit.Order) -> None:
        scopes = scopes_of(order.account)
        found = sorted(block for block in self.blocks if block[0] in scopes)
        _must(not found, f"order {order.id} went on, and {found} are in force")

    def _opened(self, order: pit.Order, sent: bool, client: str, session: int, reply: e.Reply) -> None:
        known = self.orders.get((order.account, order.id))
        if isinstance(reply, e.Accepted) and reply.replayed:
            _must(known is not None, f"order {order.id} is said to be known")
            assert known is not None
            same = known.order == order and known.client == client and known.state in COUNTED
            _must(same and known.id == reply.reservation_id, f"order {order.id} was accepted again: {known}")
            if sent and known.state == "held":
                self._is_allowed(order)
                self._move(known, "sent")
            _must(reply.state == known.state, f"order {order.id} is {known.state}, not {reply.state}")
        elif isinstance(reply, e.Accepted):
            _must(known is None, f"order id {order.id} was used twice")
            self._is_allowed(order)
            whole = order.quantity if order.quantity is not None else order.volume
            assert whole is not None
            reduces = self._reduces(order, whole)
            kept = Kept(
                id=reply.reservation_id,
                order=order,
                client=client,
                session=session,
                state="sent" if sent else "held",
                left=whole,
                lease_ns=reply.lease_end_ns - self.now_ns,
                lease_end_ns=reply.lease_end_ns,
            )
            _must(reply.state == kept.state, f"order {order.id} is {reply.state}")
            self.orders[order.account, order.id] = self.by_id[kept.id] = kept
            self.touched.add(kept.id)
            totals = self.totals()
            for cap in self._caps_on(order) if not reduces else ():
                total = totals.get((cap.name, cap.scope(order.account)), NOTHING)
                _must(total <= cap.most, f"{total} are open by {cap}, with order {order.id}")
        elif isinstance(reply, e.Refused):
            self._refused(order, reply)

    def _refused(self, order: pit.Order, reply: e.Refused) -> None:
        """A no of the caps names every one that would be passed, with the numbers."""
        codes = set(reply.rejected.codes)
        if codes != {pit.RejectCode.RISK_LIMIT_EXCEEDED}:
            return
        whole = order.quantity if order.quantity is not None else order.volume
        assert whole is not None
        totals, more = self.totals(), worth(order, whole)
        wanted = []
        for cap in self._caps_on(order) if not self._reduces(order, whole) else ():
            scope = cap.scope(order.account)
            total = totals.get((cap.name, scope), NOTHING)
            if total + more > cap.most:
                wanted.append((cap.name, scope, cap.most, total, more))
        said = [(no.limit, no.scope, no.bound, no.used, no.requested) for no in reply.rejected.rejects]
        _must(said == wanted, f"order {order.id} was refused by {said}, and would pass {wanted}")

    def _reduces(self, order: pit.Order, whole: Decimal) -> bool:
        """Whether the position only gets smaller, once it and every open order of its side are filled."""
        held = self.positions.get((order.account, str(order.instrument)), NOTHING)
        is_against = held < 0 if order.side is pit.Side.BUY else held > 0
        waiting = self.waiting().get((order.account, str(order.instrument), order.side), NOTHING)
        return is_against and waiting + units(order, whole) <= abs(held)

    def waiting(self) -> dict[tuple[str, str, pit.Side], Decimal]:
        """The units that open orders may still trade, by account, instrument and side."""
        found: dict[tuple[str, str, pit.Side], Decimal] = {}
        for (account, _), kept in self.orders.items():
            if kept.order is not None and kept.state in COUNTED:
                key = (account, str(kept.order.instrument), kept.order.side)
                found[key] = found.get(key, NOTHING) + units(kept.order, kept.left)
        return found

    def _caps_on(self, order: pit.Order) -> list[settings.Cap]:
        asset = asset_of(order.instrument)
        return [cap for cap in self.caps if cap.asset == asset and cap.scope(order.account) is not None]

    def _settles(self, event: str, id: int, client: str, reply: e.Reply) -> Kept | None:
        kept = self.by_id.get(id)
        if kept is None:
            _must(_failure(reply) is e.Failure.UNKNOWN_ID, f"reservation {id} was never given: {reply}")
            return None
        if kept.client != client and event != "commit_late":
            _must(_failure(reply) is e.Failure.NOT_AUTHORIZED, f"{client} may not touch order {id}")
            return None
        self._meet(kept)
        self._happens(event, kept, reply)
        return kept

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
            scopes = scopes_of(kept.order.account if kept.order else "")
            is_blocked = any(block[0] in scopes for block in self.blocks)
            _must(event in ("mark_sent", "renew") and is_blocked, f"{event} of order {kept.id} was answered {reply}")
            return
        if (event == "mark_sent" and kept.state == "held") or event == "renew":
            assert kept.order is not None
            self._is_allowed(kept.order)
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

    # ------------------------------------------------------------------------------------------ reports

    def _reported(self, report: pit.ExecutionReport, reply: e.Reply) -> None:
        said: Said = (report.kind, report.quantity, report.price, report.pnl, report.fee)
        kept: Kept | None
        if report.order_id is None:
            fits = self._behind(report, said)
            if len(fits) != 1:
                _must(_failure(reply) is e.Failure.INVALID_INPUT, f"{report} fits {fits} and was answered {reply}")
                return
            [kept] = fits
            key = (report.account, kept.order.id if kept.order is not None else "")
        else:
            key = (report.account, report.order_id)
            kept = self.orders.get(key)
            if kept is None and report.venue_order_id is not None and self._behind(report, said):
                _must(
                    _failure(reply) is e.Failure.INVALID_INPUT, f"{report} contradicts itself and was answered {reply}"
                )
                return
        _must(isinstance(reply, e.Applied), f"{report} was answered {reply}")
        assert isinstance(reply, e.Applied)
        if kept is None:
            if report.kind is not pit.ReportKind.FILL and not report.pnl and not report.fee:
                return  # the end of an order that was never here changes nothing
            kept = Kept(id=self.seq, order=None, client="", session=0, state="closed", left=NOTHING)
            self.orders[key] = self.by_id[kept.id] = kept
        elif kept.order is not None:
            _must(reply.result.order_id == kept.order.id, f"{report} was taken for {reply.result}")
        is_known = report.report_id in kept.reports
        _must(reply.result.already_applied is is_known, f"report {report.report_id} of order {key}: {reply.result}")
        if is_known:
            return
        self._meet(kept)
        is_alive = report.kind in (pit.ReportKind.ACCEPTED, pit.ReportKind.FILL)
        self._happens("alive" if is_alive else "final", kept, reply)
        if report.venue_order_id is not None:
            self._named(kept, report.venue_order_id)
        if report.kind is pit.ReportKind.FILL:
            assert report.quantity is not None and report.price is not None
            kept.filled += report.quantity
            used = report.quantity
            if kept.order is not None:
                where = (report.account, str(kept.order.instrument))
                signed = used if kept.order.side is pit.Side.BUY else -used
                self.positions[where] = self.positions.get(where, NOTHING) + signed
            if kept.order is not None and kept.order.volume is not None:
                used *= report.price * settings.MULTIPLIERS[kept.order.instrument]
            kept.left = max(NOTHING, kept.left - used)
            if not kept.left and kept.state == "working":
                self._move(kept, "closed")
        self._paid(report, kept.order)
        kept.reports[report.report_id] = said
        if kept.order is not None:
            kept.is_final = kept.is_final or not is_alive or not kept.left
        self.touched.add(kept.id)
        self._realise(report)

    def _paid(self, report: pit.ExecutionReport, order: pit.Order | None) -> None:
        """What a report moves of what its account has, where that is kept: a spot fill one asset for the other, of any
        other instrument its P&L, and always its fee.
        """
        if not self.counts_funds and report.account not in self.balances:
            return
        instrument = report.instrument if order is None else order.instrument
        money, moves = asset_of(instrument), [(asset_of(instrument), -report.fee)]
        if instrument != settings.PAIR:
            moves.append((money, report.pnl))
        elif report.kind is pit.ReportKind.FILL and order is not None:
            assert report.quantity is not None and report.price is not None
            units = report.quantity if order.side is pit.Side.BUY else -report.quantity
            moves += [("AAPL", units), (money, -units * report.price)]
        if any(amount for _, amount in moves):
            kept = self.balances.setdefault(report.account, {})
            for asset, amount in moves:
                kept[asset] = kept.get(asset, NOTHING) + amount

    def funds(self) -> dict[tuple[str, str], Decimal]:
        """What open orders of the pair would pay with, by account and asset."""
        found: dict[tuple[str, str], Decimal] = {}
        for (account, _), kept in self.orders.items():
            order = kept.order
            if order is None or order.instrument != settings.PAIR or kept.state not in COUNTED:
                continue
            is_buy = order.side is pit.Side.BUY
            key = (account, "USD" if is_buy else "AAPL")
            found[key] = found.get(key, NOTHING) + (kept.counted if is_buy else units(order, kept.left))
        return found

    def _behind(self, report: pit.ExecutionReport, said: Said) -> list[Kept]:
        """The orders that a report can be about which gives the venue's id alone."""
        same = [
            kept
            for (account, _), kept in self.orders.items()
            if account == report.account and kept.venue_id == report.venue_order_id
        ]
        ended = [kept for kept in same if kept.state in ENDED]
        opened = [kept for kept in same if kept.state not in ENDED]
        return opened + [kept for kept in ended if kept.reports.get(report.report_id) == said] or ended

    def _named(self, kept: Kept, venue_id: str) -> None:
        """An order's id at the venue; open orders of one account that have the same are flagged."""
        if kept.venue_id is not None:
            return
        kept.venue_id = venue_id
        self.touched.add(kept.id)
        if kept.state in ENDED or kept.order is None:
            return
        account = kept.order.account
        same = [
            other
            for (of, _), other in self.orders.items()
            if of == account and other is not kept and other.venue_id == venue_id and other.state not in ENDED
        ]
        for each in (*same, kept) if same else ():
            each.is_namesake = True
            self.touched.add(each.id)

    def _realise(self, report: pit.ExecutionReport) -> None:
        amount = report.pnl - report.fee
        if not amount:
            return
        account, asset = report.account, asset_of(report.instrument)
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

    def _move(self, kept: Kept, state: str) -> None:
        kept.state = state
        self.touched.add(kept.id)

    # ------------------------------------------------------------------------------------------ looking

    def totals(self) -> dict[tuple[str, str | None], Decimal]:
        """What is open, by limit and scope."""
        found: dict[tuple[str, str | None], Decimal] = {}
        for (account, _), kept in self.orders.items():
            if kept.order is None or kept.state not in COUNTED:
                continue
            counted = kept.counted
            for cap in self._caps_on(kept.order):
                key = (cap.name, cap.scope(account))
                found[key] = found.get(key, NOTHING) + counted
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
        blocks = {(block.scope, block.limit) for block in engine.accounts.blocks()}
        _must(blocks == self.blocks, f"the blocks are {sorted(blocks)}, not {sorted(self.blocks)}")

    def compare_with_venue(self, venue: Venue, *, is_over: bool = False) -> None:
        """What the venue may still trade is counted; in the end (`is_over`) both agree, order by order."""
        for key, placed in venue.orders.items():
            kept = self.orders.get(key)
            if not is_over:
                if placed.is_promised and not placed.is_over:
                    state = None if kept is None else kept.state
                    _must(state in ("sent", "quarantined", "working"), f"order {key} is at the venue, and {state} here")
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
                made[key] = sum((told.pnl - told.fee for told in placed.reports), made.get(key, NOTHING))
            for key in made.keys() | self.pnl.keys():
                here, there = self.pnl.get(key, NOTHING), made.get(key, NOTHING)
                _must(here == there, f"{key} made {there}, and {here} is known here")


def scopes_of(account: str) -> tuple[str, ...]:
    """Where a block stops an account."""
    return ("firm", f"account {account}", *(("group desk",) if account in settings.DESK else ()))


def _failure(reply: Any) -> e.Failure | None:
    return reply.failure if isinstance(reply, e.Failed) else None


def _without_lease(reply: wire.Reply) -> wire.Reply:
    if isinstance(reply, (wire.Accepted, wire.Settled, wire.Deferred)):
        return msgspec.structs.replace(reply, lease_ns=0)
    return reply


def _must(is_true: bool, why: str) -> None:
    if not is_true:
        raise Broken(why)
