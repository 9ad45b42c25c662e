"""What a row of the journal tells those who watch, in the client's language; and the latest rows, kept for them."""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from pit import events as ev
from pit import wire

from . import log
from .core import entry as e
from .core.engine import Engine
from .journal_tools.words import adjustment

KEPT_ROWS = 4_096
KEPT_EFFECTS = 40_000
"""So much of the latest history is kept at hand; what is older is read from the journal."""

_REQUESTS_KEPT = 10_000

PAGE = 100
"""So many events make one answer at the most: about half a millisecond of the loop."""

_LOOKED_MOST = 500
"""So many rows are looked at for one answer, whether they tell anything or not."""


class Whose(NamedTuple):
    """An order, as a person knows it."""

    account: str
    order_id: str
    client: str


NOBODY = Whose("", "", "")
"""Of what is no longer known."""


class Names(Protocol):
    """Tells by its number what a row is about."""

    def order(self, reservation_id: int) -> Whose: ...

    def request(self, request_id: int) -> Whose: ...

    def client(self, session: int) -> str: ...


class Recent:
    """The latest rows, as events. A row costs next to nothing until somebody asks for it, and is told but once."""

    def __init__(self, engine: Engine) -> None:
        self._names = _Names(engine)
        self._rows: deque[e.Row] = deque()
        self._told: dict[int, tuple[ev.AnyEvent, ...]] = {}
        self._effects = 0
        self.head = engine.seq
        """The last row that may be told: it has been journaled."""

    @property
    def first_row(self) -> int:
        return self.head + 1 - len(self._rows)

    def take(self, rows: Sequence[e.Row]) -> None:
        """Keeps rows that have been journaled, each the next one."""
        kept, effects, deferred = self._rows, self._effects, e.Deferred
        kept.extend(rows)
        for row in rows:
            effects += len(row.effects)
            if type(row.reply) is deferred:
                self._names.note(row)
        self.head = rows[-1].entry.seq
        left = len(kept)
        while left > KEPT_ROWS or effects > KEPT_EFFECTS:
            first = kept.popleft()
            left -= 1
            effects -= len(first.effects)
            if self._told:
                self._told.pop(first.entry.seq, None)
        self._effects = effects

    def page(self, row: int, skip: int, most: int) -> wire.EventsAre:
        """What is kept from there on, as far as one answer goes."""
        begin = row if row >= self.first_row else self.first_row
        return collect(begin, skip if begin == row else 0, self.head, max(1, min(most, PAGE)), self._events)

    def answer(self, query: wire.AskEvents) -> wire.Reply:
        """The same, as the answer to a question that does not wait."""
        return self.at_once(query.row) or self.page(query.row, query.skip, query.most)

    def at_once(self, row: int) -> wire.Reply | None:
        """The answer to who asks where "from now on" begins, or for what this history does not reach to; None else."""
        if row < 0:
            return wire.EventsAre(self.head + 1, (), self.head + 1)
        if row <= self.head + 1:
            return None
        why = f"row {row} is wanted and this history ends with {self.head}: begin anew from what there is"
        return wire.Failed(wire.FailureCode.JOURNAL_BEHIND, why)

    def _events(self, seq: int) -> tuple[ev.AnyEvent, ...]:
        told = self._told.get(seq)
        if told is None:
            try:
                told = events_of(self._rows[seq - self.first_row], self._names)
            except Exception as trouble:  # who watches must not take the daemon along
                log.error("event.untold", seq=seq, why=repr(trouble))
                told = ()
            self._told[seq] = told
        return told


def collect(
    begin: int, skip: int, last: int, most: int, events: Callable[[int], tuple[ev.AnyEvent, ...]]
) -> wire.EventsAre:
    """One page: the events of rows up to the last one, as many as go into one answer."""
    page: list[ev.AnyEvent] = []
    row, looked = begin, 0
    while row <= last and looked < _LOOKED_MOST:
        found = events(row)[skip:]
        room = most - len(page)
        page += found[:room]
        if len(found) > room:
            return wire.EventsAre(begin, tuple(page), row, skip + room)
        row, skip, looked = row + 1, 0, looked + 1
    return wire.EventsAre(begin, tuple(page), row)


class _Names:
    """What the engine still remembers: nearly everything that the latest rows are about."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._requests: OrderedDict[int, Whose] = OrderedDict()

    def order(self, reservation_id: int) -> Whose:
        record = self._engine.orders.find(reservation_id)
        return NOBODY if record is None else Whose(record.account, record.began_as, record.asked_by)

    def request(self, request_id: int) -> Whose:
        return self._requests.get(request_id, NOBODY)

    def client(self, session: int) -> str:
        found = self._engine.sessions.get(session)
        return "" if found is None else found.client

    def note(self, row: e.Row) -> None:
        """A request is forgotten once it has ended: who asked what is noted when it begins."""
        for effect in row.effects:
            if type(effect) is e.RequestOpened:
                order = effect.order
                self._requests[effect.request_id] = Whose(order.account, order.id, self.client(effect.session))
        if len(self._requests) > _REQUESTS_KEPT:
            self._requests.popitem(last=False)


# ---------------------------------------------------------------------------------------------- a row's events


def events_of(row: e.Row, names: Names) -> tuple[ev.AnyEvent, ...]:
    """A row's events, in order: first what was decided, then what it did. The same ones at any time."""
    entry = row.entry
    told: list[ev.AnyEvent] = []
    actor = _actor(entry.body, names)
    body = entry.body
    head = _Head(entry.seq, 0, entry.wall_ns, actor)
    if type(body) is e.Commanded:
        if type(body.command) is e.CheckMany and type(row.reply) is e.ManyChecked:
            told += _each_decided(row, body.command, names, head, row.reply.answers)
        elif (first := _answered(row, body.command, names, head)) is not None:
            told.append(first)
    elif type(body) is e.Poisoned:
        why = f"{body.what} could not be carried out, {body.scope} is blocked: {body.why}"
        told.append(ev.Alarmed(*head, what="poisoned", message=why))
    for effect in row.effects:
        tell = _TELLERS.get(type(effect))
        if tell is not None:
            event = tell(effect, row, names, _Head(entry.seq, len(told), entry.wall_ns, actor))
            if event is not None:
                told.append(event)
    return tuple(told)


_WHAT_MOST = 1_000
"""So many characters of what is different are told; the journal has the rest."""


class _Head(NamedTuple):
    seq: int
    place: int
    wall_ns: int
    actor: str


def _actor(body: e.Body, names: Names) -> str:
    match body:
        case e.Commanded() | e.SessionEnded() | e.NumberVoided():
            return names.client(body.session)
        case e.SessionOpened() | e.HistoryDisputed():
            return body.client
        case e.Configured():
            return body.author
        case e.Poisoned() if body.session:
            return names.client(body.session)
        case _:
            return "pitd"


_ASKED = {
    e.CheckOrder: "check",
    e.CheckMany: "check_many",
    e.StartOrder: "start",
    e.ExecuteRequest: "execute",
    e.ApplyReport: "report",
    e.ApplyStatus: "status",
    e.EndOwnSession: "goodbye",
    e.BlockScope: "block",
    e.UnblockScope: "unblock",
    e.SettleOrder: "settle",
    e.ModifyOrder: "modify",
    e.CancelOrder: "cancel",
}


def asked(command: type[e.Command]) -> str:
    """A command's name as people say it."""
    return _ASKED.get(command) or re.sub(r"(?<!^)(?=[A-Z])", "_", command.__name__).lower()


def _answered(row: e.Row, command: e.Command, names: Names, head: _Head) -> ev.AnyEvent | None:
    """What the answer to a command tells, beside its effects."""
    reply = row.reply
    match reply:
        case e.Accepted() | e.Modified():
            return _decided(row, command, names, head, ev.Verdict.ACCEPTED)
        case e.Deferred():
            return _decided(row, command, names, head, ev.Verdict.DEFERRED)
        case e.Refused():
            return _decided(row, command, names, head, ev.Verdict.REFUSED)
        case e.Failed():
            code, name = str(reply.failure), asked(type(command))
            return ev.CommandFailed(*head, asked=name, code=code, message=reply.message)
        case e.CancelCleared() if reply.cleared.shadow_rejects:
            return _decided(row, command, names, head, ev.Verdict.ACCEPTED)
        case e.Done() if isinstance(command, e.Rearm):
            limit, scope, room, reason = command.limit, command.scope, command.room, command.reason
            return ev.LimitRearmed(*head, limit=limit, scope=scope, room=room, reason=reason)
        case _:
            return None


def _each_decided(
    row: e.Row, many: e.CheckMany, names: Names, head: _Head, answers: tuple[e.Accepted | e.Refused, ...]
) -> list[ev.AnyEvent]:
    """The decisions on several orders, each as if it had been asked for alone."""
    told: list[ev.AnyEvent] = []
    for place, (order, answer) in enumerate(zip(many.orders, answers, strict=True)):
        verdict = ev.Verdict.REFUSED if isinstance(answer, e.Refused) else ev.Verdict.ACCEPTED
        alone = e.CheckOrder(order, many.sent, many.lease_ns)
        own = e.Row(row.entry, (), answer)
        told.append(_decided(own, alone, names, head._replace(place=place), verdict))
    return told


def _decided(row: e.Row, command: e.Command, names: Names, head: _Head, verdict: ev.Verdict) -> ev.Decided:
    reply = row.reply
    order = command.order if isinstance(command, e.CheckOrder | e.StartOrder) else None
    if order is not None:
        whose = Whose(order.account, order.id, head.actor)
    elif isinstance(command, e.ExecuteRequest):
        whose = names.request(command.request_id)
    elif isinstance(command, e.ModifyOrder):
        order = reply.order if isinstance(reply, e.Modified) else None
        whose = Whose(command.account, command.order_id, head.actor)
    elif isinstance(command, e.TakeOrder | e.CancelOrder):
        whose = Whose(command.account, command.order_id, head.actor)
    elif isinstance(command, e.MarkSent | e.Renew):
        whose = names.order(command.reservation_id)
    else:
        whose = NOBODY
    if order is None:
        for effect in row.effects:
            if type(effect) is e.OrderOpened:
                order = effect.order
                whose = Whose(order.account, order.id, effect.client)
    return ev.Decided(
        *head,
        verdict=verdict,
        asked=asked(type(command)),
        account=whose.account,
        order_id=whose.order_id or (reply.rejected.order_id if isinstance(reply, e.Refused) else ""),
        order=order,
        state=reply.state if isinstance(reply, e.Accepted | e.Modified) else None,
        rejects=reply.rejected.rejects if isinstance(reply, e.Refused) else (),
        is_repeated=isinstance(reply, e.Accepted | e.Modified) and reply.replayed,
        shadow_rejects=e.shadow_rejects_of(reply),
    )


def _moved(effect: e.OrderMoved, row: e.Row, names: Names, head: _Head) -> ev.OrderMoved:
    return ev.OrderMoved(
        *head,
        *_order(effect, names),
        state=effect.state,
        ended_by="" if effect.ended_by is None else str(effect.ended_by),
        reason=effect.reason,
    )


def _taken(effect: e.OrderTaken, row: e.Row, names: Names, head: _Head) -> ev.OrderTaken:
    return ev.OrderTaken(*head, *_order(effect, names))


def _modify_moved(effect: e.ModifyMoved, row: e.Row, names: Names, head: _Head) -> ev.ModifyMoved:
    return ev.ModifyMoved(
        *head,
        *_order(effect, names),
        modify_id=effect.modify_id,
        state=effect.state,
        ended_by="" if effect.ended_by is None else str(effect.ended_by),
        reason=effect.reason,
    )


def _replaced(effect: e.OrderReplaced, row: e.Row, names: Names, head: _Head) -> ev.OrderReplaced:
    account, _, client, id = _order(effect, names)
    order = effect.order
    return ev.OrderReplaced(
        *head,
        account=account or order.account,
        order_id=order.id,
        client=client,
        reservation_id=id,
        order=order,
        open_quantity=effect.open_quantity,
    )


def _cancel_asked(effect: e.CancelAsked, row: e.Row, names: Names, head: _Head) -> ev.CancelAsked:
    return ev.CancelAsked(*head, *_order(effect, names))


def _cancel_refused(effect: e.CancelRefused, row: e.Row, names: Names, head: _Head) -> ev.CancelRefused:
    return ev.CancelRefused(*head, *_order(effect, names))


def _fill_changed(effect: e.FillChanged, row: e.Row, names: Names, head: _Head) -> ev.FillChanged:
    fill = effect.fill
    return ev.FillChanged(
        *head, *_order(effect, names), fill_id=effect.fill_id, quantity=fill.quantity, price=fill.price
    )


def _filled(effect: e.OrderFilled, row: e.Row, names: Names, head: _Head) -> ev.OrderFilled:
    return ev.OrderFilled(
        *head,
        *_order(effect, names),
        quantity=effect.quantity,
        open_quantity=effect.open_quantity,
    )


def _named(effect: e.OrderNamed, row: e.Row, names: Names, head: _Head) -> ev.OrderNamed:
    return ev.OrderNamed(*head, *_order(effect, names), venue_order_id=effect.venue_order_id)


def _flagged(effect: e.OrderFlagged, row: e.Row, names: Names, head: _Head) -> ev.OrderFlagged:
    return ev.OrderFlagged(*head, *_order(effect, names), flag=effect.flag)


def _stranger(effect: e.StrangerNoted, row: e.Row, names: Names, head: _Head) -> ev.OrderFlagged:
    return ev.OrderFlagged(
        *head,
        account=effect.account,
        order_id=effect.order_id,
        client="",
        reservation_id=effect.reservation_id,
        flag="unknown_order",
        venue_order_id=effect.venue_order_id,
    )


def _renewed(effect: e.LeaseSet, row: e.Row, names: Names, head: _Head) -> ev.LeaseRenewed:
    return ev.LeaseRenewed(*head, *_order(effect, names), lease_s=effect.lease_ns / 1e9)


def _request_ended(effect: e.RequestEnded, row: e.Row, names: Names, head: _Head) -> ev.RequestEnded | None:
    if effect.ended_by is e.EndedBy.EXECUTED:
        return None  # what became of it has been told: as a decision
    return ev.RequestEnded(
        *head,
        *names.request(effect.request_id),
        request_id=effect.request_id,
        ended_by=str(effect.ended_by),
    )


def _restarted(effect: e.LeasesRestarted, row: e.Row, names: Names, head: _Head) -> ev.LeasesRestarted:
    body = row.entry.body
    return ev.LeasesRestarted(*head, away_s=body.away_ns / 1e9 if isinstance(body, e.Resumed) else 0.0)


def _blocked(effect: e.Blocked, row: e.Row, names: Names, head: _Head) -> ev.ScopeBlocked:
    return ev.ScopeBlocked(*head, block=effect.block)


def _unblocked(effect: e.Unblocked, row: e.Row, names: Names, head: _Head) -> ev.ScopeUnblocked:
    command = row.entry.body.command if isinstance(row.entry.body, e.Commanded) else None
    reason = getattr(command, "reason", "")
    return ev.ScopeUnblocked(*head, scope=effect.scope, limit=effect.limit, reason=reason)


def _shadow_blocked(effect: e.ShadowBlocked, row: e.Row, names: Names, head: _Head) -> ev.ShadowBlocked:
    return ev.ShadowBlocked(*head, block=effect.block)


def _shadow_unblocked(effect: e.ShadowUnblocked, row: e.Row, names: Names, head: _Head) -> ev.ShadowUnblocked:
    return ev.ShadowUnblocked(*head, scope=effect.scope, limit=effect.limit)


def _trading_state(effect: e.TradingStateSet, row: e.Row, names: Names, head: _Head) -> ev.TradingStateChanged:
    return ev.TradingStateChanged(*head, restriction=effect.restriction)


def _day_began(effect: e.DayBegan, row: e.Row, names: Names, head: _Head) -> ev.DayBegan:
    return ev.DayBegan(*head, scopes=effect.scopes, day=effect.day, at_wall_ns=effect.at_wall_ns)


def _day_ended(effect: e.DayEnded, row: e.Row, names: Names, head: _Head) -> ev.DayEnded:
    return ev.DayEnded(*head, scopes=effect.scopes, at_wall_ns=effect.at_wall_ns)


def _hours_changed(effect: e.HoursChanged, row: e.Row, names: Names, head: _Head) -> ev.HoursChanged:
    return ev.HoursChanged(*head, limit=effect.limit, is_open=effect.is_open, until=effect.until)


def _session_started(effect: e.SessionStarted, row: e.Row, names: Names, head: _Head) -> ev.SessionStarted:
    return ev.SessionStarted(*head, client=effect.client, session=effect.session)


def _session_ended(effect: e.SessionFinished, row: e.Row, names: Names, head: _Head) -> ev.SessionEnded:
    body = row.entry.body
    return ev.SessionEnded(
        *head,
        client=names.client(effect.session),
        session=effect.session,
        ended_by=str(effect.ended_by),
        reason=body.reason if isinstance(body, e.SessionEnded) else "",
    )


def _reconfigured(effect: e.Reconfigured, row: e.Row, names: Names, head: _Head) -> ev.LimitsChanged:
    body = row.entry.body
    if isinstance(body, e.Commanded) and isinstance(body.command, e.Reload):
        body = body.command.configured
    if not isinstance(body, e.Configured):
        return ev.LimitsChanged(*head, what="configuration", reason="")
    what = "; ".join(("configuration", *body.changes))[:_WHAT_MOST]
    return ev.LimitsChanged(*head, what=what, reason=body.reason)


def _overridden(effect: e.Overridden, row: e.Row, names: Names, head: _Head) -> ev.LimitsChanged:
    command = row.entry.body.command if isinstance(row.entry.body, e.Commanded) else None
    reason = getattr(command, "reason", "its time is over")
    what = [f"{each.limit} {each.key} is {each.in_force}" for each in effect.put]
    what += [f"{limit} {key} is as configured" for limit, key in effect.cleared]
    return ev.LimitsChanged(*head, what="; ".join(what)[:_WHAT_MOST], reason=reason)


def _epoch(effect: e.EpochBegan, row: e.Row, names: Names, head: _Head) -> ev.DaemonStarted:
    return ev.DaemonStarted(*head, epoch=effect.epoch)


def _disputed(effect: e.Disputed, row: e.Row, names: Names, head: _Head) -> ev.Alarmed:
    why = f"a client has seen row {effect.seen_seq}, which is not here: no new orders until a person accepts that"
    return ev.Alarmed(*head, what="journal_behind", message=why)


def _policy_failed(effect: e.PolicyFailed, row: e.Row, names: Names, head: _Head) -> ev.Alarmed | None:
    if not effect.is_news:
        return None
    why = (
        f"{effect.policy} failed when {effect.at} ({effect.why}): new risk under its limits is refused until it answers"
    )
    return ev.Alarmed(*head, what="policy_failed", message=why)


def _policy_recovered(effect: e.PolicyRecovered, row: e.Row, names: Names, head: _Head) -> ev.Alarmed:
    why = f"{effect.policy}, which had failed when {effect.at}, answers again, or is not asked any more"
    return ev.Alarmed(*head, what="policy_recovered", message=why)


def _accepted(effect: e.HistoryAccepted, row: e.Row, names: Names, head: _Head) -> ev.Alarmed:
    command = row.entry.body.command if isinstance(row.entry.body, e.Commanded) else None
    return ev.Alarmed(*head, what="history_accepted", message=getattr(command, "reason", ""))


def _adjusted(effect: e.AdjustmentNoted, row: e.Row, names: Names, head: _Head) -> ev.AccountsAdjusted:
    command = row.entry.body.command if isinstance(row.entry.body, e.Commanded) else None
    assert isinstance(command, e.AdjustAccounts)
    accounts = sorted({each.account for each in command.adjustments} | set(command.imported))
    what = "; ".join(map(adjustment, command.adjustments[:50]))
    told, reason = what[:_WHAT_MOST], command.reason
    return ev.AccountsAdjusted(*head, id=command.id, accounts=tuple(accounts[:50]), what=told, reason=reason)


def _order(effect: Any, names: Names) -> tuple[str, str, str, int]:
    id = effect.reservation_id
    return (*names.order(id), id)


_NAMED_MOST = 20
"""So many orders are named in one event."""


def _cancels_requested(effect: e.CancelsRequested, row: e.Row, names: Names, head: _Head) -> ev.CancelsRequested:
    cause, ids = effect.cause, effect.reservation_ids
    return ev.CancelsRequested(
        *head, scope=cause.scope, limit=cause.limit, reason=cause.reason, count=len(ids), orders=_named_few(ids, names)
    )


def _cancels_again(effect: e.CancelsAskedAgain, row: e.Row, names: Names, head: _Head) -> ev.CancelsRequested:
    ids, why = effect.reservation_ids, "asked again: the venue had refused the cancel"
    few = _named_few(ids, names)
    return ev.CancelsRequested(*head, scope="", limit="", reason=why, count=len(ids), orders=few)


def _cancels_late(effect: e.CancelsEscalated, row: e.Row, names: Names, head: _Head) -> ev.CancelsRequested:
    ids, why = effect.reservation_ids, "not confirmed in time"
    few = _named_few(ids, names)
    return ev.CancelsRequested(*head, scope="", limit="", reason=why, count=len(ids), orders=few, is_late=True)


def _cancels_confirmed(effect: e.CancelsConfirmed, row: e.Row, names: Names, head: _Head) -> ev.CancelsConfirmed:
    return ev.CancelsConfirmed(*head, count=effect.count)


def _named_few(ids: Sequence[int], names: Names) -> tuple[tuple[str, str], ...]:
    return tuple((whose.account, whose.order_id) for whose in map(names.order, ids[:_NAMED_MOST]))


_TELLERS: dict[type, Callable[[Any, e.Row, Names, _Head], ev.AnyEvent | None]] = {
    e.OrderMoved: _moved,
    e.OrderTaken: _taken,
    e.OrderFilled: _filled,
    e.OrderNamed: _named,
    e.OrderFlagged: _flagged,
    e.StrangerNoted: _stranger,
    e.LeaseSet: _renewed,
    e.RequestEnded: _request_ended,
    e.LeasesRestarted: _restarted,
    e.Blocked: _blocked,
    e.Unblocked: _unblocked,
    e.ShadowBlocked: _shadow_blocked,
    e.ShadowUnblocked: _shadow_unblocked,
    e.SessionStarted: _session_started,
    e.SessionFinished: _session_ended,
    e.Reconfigured: _reconfigured,
    e.Overridden: _overridden,
    e.EpochBegan: _epoch,
    e.Disputed: _disputed,
    e.HistoryAccepted: _accepted,
    e.PolicyFailed: _policy_failed,
    e.PolicyRecovered: _policy_recovered,
    e.TradingStateSet: _trading_state,
    e.DayBegan: _day_began,
    e.DayEnded: _day_ended,
    e.HoursChanged: _hours_changed,
    e.AdjustmentNoted: _adjusted,
    e.ModifyMoved: _modify_moved,
    e.OrderReplaced: _replaced,
    e.CancelAsked: _cancel_asked,
    e.CancelRefused: _cancel_refused,
    e.FillChanged: _fill_changed,
    e.CancelsRequested: _cancels_requested,
    e.CancelsEscalated: _cancels_late,
    e.CancelsAskedAgain: _cancels_again,
    e.CancelsConfirmed: _cancels_confirmed,
}

UNTOLD = frozenset(
    {
        e.OrderOpened,  # the decision tells it
        e.RequestOpened,  # so does this
        e.ReportNoted,
        e.PolicyChanged,
        e.PositionChanged,
        e.BalancesMoved,
        e.QuotesKept,
        e.VoidedUpTo,
        e.HoldsReplaced,
        e.DayOrdersClosed,
        e.ModifyOpened,  # the decision tells it
        e.ModifyHolds,
        e.StatusNoted,
        e.ModifyNamed,
        e.ModifyLeaseSet,
        e.OrderAdopted,  # its flag tells it
        e.CancelsWanted,  # the stop tells it
        e.CancelsSwept,
        e.CancelsTold,
    }
)
"""The effects that only keep the books, or that the decision has told."""
