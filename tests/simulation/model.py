"""What must be true: the design's promises in plain code, fed with the journal's rows as they are kept.

It takes each entry and its answer, says what that comes to by its own small account of orders, and raises `Broken`
where the daemon says, counts or forgets otherwise. It reads effects only to see which leases were ended, and when.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

import pit
from pit import wire
from pitd import translate
from pitd.core import entry as e
from pitd.core.engine import Engine

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
"""
_HEAD, *_ROWS = [line.split() for line in LIFE.strip().splitlines()]
TABLE = {(row[0], state): cell for row in _ROWS for state, cell in zip(_HEAD, row[1:], strict=True)}

LEASED = ("held", "sent")
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
    reports: set[str] = msgspec.field(default_factory=set)
    lost_by_lease: bool = False
    by_operator: bool = False
    is_final: bool = False

    @property
    def counted(self) -> Decimal:
        if self.order is None or self.state not in COUNTED:
            return Decimal(0)
        assert self.order.price is not None
        return self.order.price * self.left


class Said(msgspec.Struct, kw_only=True):
    """One session, as the model keeps it."""

    client: str
    next_number: int = 1
    is_over: bool = False


class Model:
    """The promises, and what is known so far."""

    def __init__(self) -> None:
        self.orders: dict[tuple[str, str], Kept] = {}
        self.by_id: dict[int, Kept] = {}
        self.sessions: dict[int, Said] = {}
        self.answers: dict[tuple[int, int], e.Reply] = {}
        self.requests: dict[int, tuple[pit.Order, str]] = {}
        self.blocks: set[tuple[str, str]] = set()
        self.pnl: dict[str, Decimal] = dict.fromkeys(settings.ACCOUNTS, Decimal(0))
        self.floor: dict[str, Decimal] = dict.fromkeys(settings.ACCOUNTS, -settings.MAX_LOSS)
        self.tripped: set[str] = set()
        self.attempts: dict[str, list[int]] = {account: [] for account in settings.ACCOUNTS}
        self.max_open = Decimal(0)
        self.now_ns = 0
        self.seq = 0
        self.accepted: dict[tuple[str, str], int] = {}
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
                self.sessions[entry.seq] = Said(client=client)
            case e.SessionEnded(session):
                self.sessions[session].is_over = True
            case e.NumberVoided(session, number):
                said = self.sessions[session]
                for each in range(said.next_number, number + 1):
                    self.answers[session, each] = e.Void()
                said.next_number = max(said.next_number, number + 1)
            case e.Resumed():
                self._resumed()
                self.resumed.add(entry.seq)
            case e.Configured():
                _must(entry.seq == 1 or entry.seq - 1 in self.resumed, "a start has given no lease another length")
                read = msgspec.json.decode(entry.body.settings)
                self.max_open = settings.MAX_OPEN[read["source"]]
            case e.LeasesDue():
                for id in lapses:
                    self._lapse(self.by_id[id])
            case e.HistoryDisputed():
                raise Broken(f"client {entry.body.client} knows entry {entry.body.seen_seq}: history was lost")

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
            case e.Commit(id):
                self._settles("commit_late" if command.late else "commit", id, said.client, reply)
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
                self.blocks.add((scope, "operator"))
            case e.UnblockScope(scope):
                if isinstance(reply, e.Done):
                    self.blocks -= {(scope, "operator"), (scope, "poisoned")}
            case e.Rearm(_, scope, room):
                if isinstance(reply, e.Done):
                    account = scope.removeprefix("account ")
                    _must(account in self.tripped, f"{scope} was rearmed and had not tripped")
                    self.tripped.discard(account)
                    self.floor[account] = self.pnl[account] - room
                    self.blocks.discard((scope, "day_loss"))

    def _number(self, session: int, number: int, reply: e.Reply) -> None:
        said = self.sessions[session]
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
        """An attempt that passed keeps the rate, whatever the policy's own counters say."""
        passed = isinstance(reply, (e.Accepted, e.Deferred))
        inside = [at for at in self.attempts[order.account] if self.now_ns - at < settings.WINDOW_NS]
        if passed:
            inside.append(self.now_ns)
            _must(len(inside) <= settings.MAX_ORDERS, f"{len(inside)} orders of {order.account} in one window")
        self.attempts[order.account] = inside

    def _is_allowed(self, order: pit.Order) -> None:
        scopes = ("firm", f"account {order.account}")
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
            assert order.quantity is not None
            kept = Kept(
                id=reply.reservation_id,
                order=order,
                client=client,
                session=session,
                state="sent" if sent else "held",
                left=order.quantity,
                lease_ns=reply.lease_end_ns - self.now_ns,
                lease_end_ns=reply.lease_end_ns,
            )
            _must(reply.state == kept.state, f"order {order.id} is {reply.state}")
            self.orders[order.account, order.id] = self.by_id[kept.id] = kept
            self.touched.add(kept.id)
            total = self.counted(order.account)
            _must(total <= self.max_open, f"{total} are open for {order.account}, the limit is {self.max_open}")
        elif isinstance(reply, e.Refused):
            codes = reply.rejected.codes
            if codes == (pit.RejectCode.RISK_LIMIT_EXCEEDED,):
                assert order.quantity is not None and order.price is not None
                total = self.counted(order.account) + order.quantity * order.price
                _must(total > self.max_open, f"order {order.id} was refused: only {total} would be open")

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
            scopes = ("firm", f"account {kept.order.account if kept.order else ''}")
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
        _must(isinstance(reply, e.Applied), f"{report} was answered {reply}")
        assert isinstance(reply, e.Applied) and report.order_id is not None
        key = (report.account, report.order_id)
        kept = self.orders.get(key)
        if kept is None:
            if report.kind is not pit.ReportKind.FILL and not report.pnl and not report.fee:
                return  # the end of an order that was never here changes nothing
            kept = Kept(id=self.seq, order=None, client="", session=0, state="closed", left=Decimal(0))
            self.orders[key] = self.by_id[kept.id] = kept
        _must(
            reply.result.already_applied is (report.report_id in kept.reports),
            f"report {report.report_id} of order {report.order_id}: {reply.result}",
        )
        if report.report_id in kept.reports:
            return
        kept.reports.add(report.report_id)
        self._meet(kept)
        is_alive = report.kind in (pit.ReportKind.ACCEPTED, pit.ReportKind.FILL)
        self._happens("alive" if is_alive else "final", kept, reply)
        if report.kind is pit.ReportKind.FILL:
            assert report.quantity is not None
            kept.filled += report.quantity
            kept.left = max(Decimal(0), kept.left - report.quantity)
            if not kept.left and kept.state == "working":
                self._move(kept, "closed")
        if kept.order is not None:
            kept.is_final = kept.is_final or not is_alive or not kept.left
        self.touched.add(kept.id)
        self._realise(report)

    def _realise(self, report: pit.ExecutionReport) -> None:
        account = report.account
        if not report.pnl and not report.fee:
            return
        self.pnl[account] += report.pnl - report.fee
        if account not in self.tripped and self.pnl[account] <= self.floor[account]:
            self.tripped.add(account)
            self.blocks.add((f"account {account}", "day_loss"))

    def _move(self, kept: Kept, state: str) -> None:
        kept.state = state
        self.touched.add(kept.id)

    # ------------------------------------------------------------------------------------------ looking

    def counted(self, account: str) -> Decimal:
        """The notional of everything open for an account."""
        return sum((kept.counted for (of, _), kept in self.orders.items() if of == account), Decimal(0))

    def told_accepted(self, order: pit.Order, held: wire.Accepted) -> None:
        """A client has been told that its order counts."""
        _must(held.order_id == order.id, f"order {order.id} was answered {held}")
        key = (order.account, order.id)
        before = self.accepted.setdefault(key, held.reservation_id)
        _must(before == held.reservation_id, f"order {order.id} was accepted as {before} and as {held.reservation_id}")

    def heard(self, client: str, session: int, header_frame: bytes, body: bytes) -> None:
        """A client has had this message: what it acknowledges must be in the journal, as it says."""
        header = wire.unpack_header(header_frame)
        seen = wire.heard(header.acked)
        _must(seen <= self.seq, f"client {client} has seen entry {seen}, the journal has {self.seq}")
        reply = wire.decode_reply(body)
        if isinstance(reply, wire.Failed) and reply.code is wire.FailureCode.JOURNAL_BEHIND:
            raise Broken(f"client {client}: {reply.message}")
        if header.message not in (wire.Message.COMMAND, wire.Message.SETTLE) or isinstance(reply, wire.Failed):
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
            _must(has == wanted, f"order {id}: the engine has {has}, the model {wanted}")
        self.touched.clear()
        going = {session.id for session in engine.sessions.going()}
        wanted_going = {id for id, said in self.sessions.items() if not said.is_over}
        _must(going == wanted_going, f"the sessions {going} go on, not {wanted_going}")
        notional = engine.policies["open_order_notional"]
        for account in settings.ACCOUNTS:
            held = notional.held("open_usd", f"account {account}")  # type: ignore[attr-defined]
            total = self.counted(account)
            _must(held == total, f"{held} are counted for {account}, and {total} are open")
            pnl = engine.policies["pnl_kill_switch"].pnl(account, "USD")  # type: ignore[attr-defined]
            _must(pnl == self.pnl[account], f"the P&L of {account} is {pnl}, and reports said {self.pnl[account]}")
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
            for account in settings.ACCOUNTS:
                told = [r for key, p in venue.orders.items() if key[0] == account for r in p.reports]
                total = sum((r.pnl - r.fee for r in told), Decimal(0))
                _must(total == self.pnl[account], f"{account} made {total}, and {self.pnl[account]} is known here")


def _failure(reply: Any) -> e.Failure | None:
    return reply.failure if isinstance(reply, e.Failed) else None


def _without_lease(reply: wire.Reply) -> wire.Reply:
    if isinstance(reply, (wire.Accepted, wire.Settled, wire.Deferred)):
        return msgspec.structs.replace(reply, lease_ns=0)
    return reply


def _must(is_true: bool, why: str) -> None:
    if not is_true:
        raise Broken(why)
