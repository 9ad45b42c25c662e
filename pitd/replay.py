"""Decides a journal again: is every answer the same? And which orders would other limits have answered otherwise?"""

from __future__ import annotations

import decimal
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from pit.types import Order, PnlAdjustment, Reject, RejectCode

from . import history
from .calendar import Calendar
from .core import adjustments, day_orders, failing, reading, snapshot
from .core import entry as e
from .core.accounts import OPERATOR, POISONED
from .core.engine import CarryOutFailed, Engine, Judgement, exact_context
from .core.many import ALL_OR_NONE
from .core.orders import CLOSED
from .core.policy import Reported
from .core.reading import Reader
from .errors import JournalFailed
from .recovery import carry_on, newest_state

_OF_PERSONS = (OPERATOR, POISONED)
_KEEP_COUNTING = ("rate_limit", "pnl_kill_switch", "duplicate_order", "repeated_execution", "turnover_limit")
"""The controls that go on from what a pruned part of the history left them: it does not stand in open orders."""
_KEEP_HOLDS = ("turnover_limit",)
"""Of those, which have counted what open orders hold, too: each keeps what it has been counted by."""
_NOT_OF_LIMITS = (RejectCode.DUPLICATE_CLIENT_ORDER_ID, RejectCode.SYSTEM_UNAVAILABLE)

Blank = Callable[[], Engine]
"""Gives an engine without settings: a journal's entries bring them."""

Progress = Callable[[int], None]
"""Told the sequence number now and then."""


class Difference(msgspec.Struct, frozen=True):
    """One row that is decided otherwise today."""

    seq: int
    what: str
    was: str
    now: str


class Again(msgspec.Struct):
    """What deciding a journal again came to."""

    first_seq: int
    last_seq: int = 0
    decided: int = 0
    differences: list[Difference] = []
    different: int = 0
    """How many there are; only so many are kept."""


def decide_again(
    directory: Path,
    blank: Blank,
    *,
    first_seq: int = 1,
    last_seq: int | None = None,
    keep: int = 100,
    progress: Progress = lambda _: None,
) -> Again:
    """Decides each row of a journal again, from the state that its history left, and compares effects and reply.

    Begins at the newest snapshot before `first_seq`, or at the beginning. Raises JournalDamaged.
    """
    with decimal.localcontext(exact_context()):
        found, recorded = _state_before(directory, blank, first_seq)
        again = Again(first_seq=recorded.seq + 1)
        deciding = _twin(recorded, blank)
        reader = Reader(recorded.policies)
        for row in _rows(found, recorded, last_seq, reader):
            recorded.carry_out(e.deed_of(row))
            decided = _decided(deciding, row)
            again.decided += 1
            if reading.encode(decided) != reading.encode(row):
                again.different += 1
                if len(again.differences) < keep:
                    again.differences.append(_difference(row, decided))
                deciding = _twin(recorded, blank)
            again.last_seq = row.entry.seq
            if not row.entry.seq % 4096:
                progress(row.entry.seq)
    return again


class Change(msgspec.Struct):
    """Orders that one limit would have answered otherwise."""

    would_be: str
    """"refused", "let through", or "told in shadow": what a shadow limit says no to, of orders that would be taken."""
    limit: str
    code: RejectCode
    orders: int = 0
    notional: dict[str, Decimal] = {}
    """By settlement asset, where an order has a price."""
    first_order: str = ""
    first_seq: int = 0
    reason: str = ""
    order_ids: list[str] = []


class WhatIf(msgspec.Struct):
    """What other limits would have said to each order of a history that went on as it did."""

    first_seq: int
    last_seq: int = 0
    orders: int = 0
    accepted_as_before: int = 0
    refused_as_before: int = 0
    would_be_refused: int = 0
    would_be_let_through: int = 0
    told_in_shadow: int = 0
    """Orders that would be taken, and that shadow limits would have refused."""
    changes: list[Change] = []


def what_if(
    directory: Path,
    blank: Blank,
    other: Engine,
    calendar: Calendar,
    *,
    first_seq: int = 1,
    last_seq: int | None = None,
    keep: int = 1_000,
    progress: Progress = lambda _: None,
) -> WhatIf:
    """Judges each past order under the limits of `other` (a fresh engine), against the state that really was.

    Days begin and end, and markets open and close, by `calendar`, at the moments that the rows tell, and not as they
    did: what was recorded of them says nothing of another zone, another time of day, or hours that are new.

    What happened stays: an order that other limits would have refused is still open and filled as it was, and one
    that they would have let through is not. So each answer is about that order alone. Raises JournalDamaged.
    """
    with decimal.localcontext(exact_context()):
        found = _segments(directory)
        start = history.beginning(found)
        following = _Other(other, calendar)
        recorded, _ = newest_state(directory, found, blank, upto=start.seq)
        if start.seq:
            following.take_up(recorded)
        result = WhatIf(first_seq=max(first_seq, start.seq + 1))
        changes: dict[tuple[str, str, RejectCode], Change] = {}
        reader = Reader(recorded.policies)
        for row in _rows(found, recorded, last_seq, reader):
            recorded.carry_out(e.deed_of(row))
            for judged in following.follow(row):
                if row.entry.seq >= first_seq:
                    _count(result, changes, judged, keep)
            result.last_seq = row.entry.seq
            if not row.entry.seq % 4096:
                progress(row.entry.seq)
        result.changes = sorted(changes.values(), key=lambda change: (change.would_be, -change.orders, change.limit))
    return result


class _Judged(NamedTuple):
    seq: int
    order: Order
    was: tuple[Reject, ...]
    now: tuple[Reject, ...]
    settlement: str
    notional: Decimal | None
    shadow: tuple[Reject, ...] = ()


class _Other:
    """An engine under other limits that follows what really happened, and says what it would have answered."""

    def __init__(self, engine: Engine, calendar: Calendar) -> None:
        self._engine = engine
        self._calendar = calendar

    def take_up(self, recorded: Engine) -> None:
        """Begins with the state of a history whose first part has been pruned: its orders count by these limits."""
        image = snapshot.decode(snapshot.encode(snapshot.take(recorded)))
        image = snapshot.spell_out(image)  # by the instruments that were in force, before others are put in their place
        bare = [msgspec.structs.replace(record, holds=tuple(filter(_is_kept, record.holds))) for record in image.open]
        blocks = [block for block in image.blocks if block.limit in _OF_PERSONS]
        policies = {id: state for id, state in image.policies.items() if id in _KEEP_COUNTING}
        own = {
            "settings": self._engine.settings,
            "instruments": self._engine.instruments.declared(),
            "groups": self._engine.accounts.groups(),
            "overrides": (),
        }
        snapshot.load(
            self._engine,
            msgspec.structs.replace(image, **own, open=bare, blocks=blocks, shadow_blocks=(), failing=(), policies={}),
        )
        for id, state in policies.items():
            self._engine.policies[id].load(state.saved)
        for policy in self._engine.policies.values():
            for effect in policy.reconfigured(self._engine.accounts.group_of).effects:
                policy.apply(effect)
        for record in self._engine.orders.open.values():
            if record.order is not None:
                held = self._engine.hold(record.order, record.asked_by)
                anew = [hold for hold in held if not _is_kept(hold)]
                record.holds = (*anew, *record.holds)
                for hold in anew:
                    self._engine.policies[hold.policy].apply(hold.effect)
                if record.listed is not None and record.filled_quantity:
                    self._reshape(record.reservation_id, record.open_quantity)

    def follow(self, row: e.Row) -> list[_Judged]:
        """Carries out what a row did, with what these limits would have held for it. A judgement for each order."""
        engine, body = self._engine, row.entry.body
        self._turn_days(row.entry)
        engine.stand_at(row.entry.seq - 1, row.entry.now_ns, row.entry.quotes, row.entry.wall_ns)
        for failure in engine.failing.all():
            for effect in failing.day_again(engine, failure):
                engine.carry_out_alone(effect)
        failing.move_all(engine)
        self._revalue(())
        judged: list[_Judged] = []
        effects: list[e.Effect] = []
        holds: dict[tuple[str, str], tuple[e.Hold, ...]] = {}
        if type(body) is e.Commanded:
            order = self._order_of(body.command)
            if order is not None and not _is_again(row.reply):
                session = engine.sessions.get(body.session)
                client = session.client if session is not None else ""
                is_started = isinstance(body.command, e.ExecuteRequest)
                judgement = engine.judge(order, client, is_started=is_started)
                effects.extend(judgement.effects)
                was = row.reply.rejected.rejects if isinstance(row.reply, e.Refused) else ()
                if not any(reject.code in _NOT_OF_LIMITS for reject in was):
                    judged.append(self._judged(row.entry.seq, order, client, was, judgement))
                holds[order.account, order.id] = engine.hold(order, client)
            elif isinstance(body.command, e.CheckMany) and isinstance(row.reply, e.ManyChecked):
                judged = self._each_judged(body, body.command, row.reply, row, holds)
            elif isinstance(body.command, e.DropCopy) and isinstance(row.reply, e.DropCopied):
                if not row.reply.result.was_known:
                    session = engine.sessions.get(body.session)
                    who = body.command.client or (session.client if session is not None else "")
                    effects.extend(engine.judge(body.command.order, who).effects)
                    key = (body.command.order.account, body.command.order.id)
                    holds[key] = engine.hold(body.command.order, who)
            elif isinstance(body.command, e.ApplyReport) and isinstance(row.reply, e.Applied):
                effects.extend(self._reported(body.command, row))
            elif isinstance(body.command, e.Rearm) and isinstance(row.reply, e.Done):
                wanted = engine.by_hand.rearm_effects(body.command.limit, body.command.scope, body.command.room)
                effects.extend(() if isinstance(wanted, e.Failed) else wanted)
            elif isinstance(body.command, e.AdjustAccounts) and isinstance(row.reply, e.Adjusted):
                if not row.reply.result.already_applied:
                    effects.extend(self._adjusted(body.command))
            elif isinstance(body.command, e.UnblockScope) and isinstance(row.reply, e.Done):
                lifted = engine.by_hand.unblock_effects(
                    body.command.scope
                )  # a person's own block is lifted as recorded
                effects.extend(each for each in lifted if getattr(each, "limit", None) not in _OF_PERSONS)
        for effect in row.effects:
            translated = self._translated(effect, holds)
            if translated is not None:
                effects.append(translated)
            if type(effect) is e.OrderAdopted and effect.open_quantity:
                effects.append(self._adopted(effect, holds[effect.order.account, effect.order.id]))
        engine.carry_out(e.deed_of(e.Row(row.entry, tuple(effects), row.reply)))
        told = (
            [body.command.report.account] if type(body) is e.Commanded and type(body.command) is e.ApplyReport else []
        )
        self._revalue((*told, *(each.account for each in row.effects if type(each) is e.PositionChanged)))
        return judged

    def _turn_days(self, entry: e.Entry) -> None:
        """Begins and ends the days, opens and closes the markets whose moment has come."""
        engine, calendar = self._engine, self._calendar
        while not calendar.rests(entry.wall_ns):
            engine.stand_at(entry.seq, entry.now_ns, entry.quotes, entry.wall_ns)  # a day goes by its row's number
            for body in calendar.due(entry.wall_ns, engine.days):
                for effect in day_orders.decided(engine, body).effects:
                    engine.carry_out_alone(effect)

    def _revalue(self, accounts: Iterable[str]) -> None:
        """Has these limits look at marks that have moved, and at what those accounts hold by now."""
        engine, unrealised = self._engine, self._engine.valuation.unrealised
        for account in accounts:
            unrealised.note(account)
        unrealised.call_due()
        if unrealised.has_moved:
            for effect in failing.revalued(engine, tuple(unrealised.moved)):
                engine.carry_out_alone(effect)
            unrealised.looked_at()

    def _each_judged(
        self,
        body: e.Commanded,
        many: e.CheckMany,
        reply: e.ManyChecked,
        row: e.Row,
        holds: dict[tuple[str, str], tuple[e.Hold, ...]],
    ) -> list[_Judged]:
        """The judgements of several orders; each that was taken counts for those after it, by what it would hold."""
        engine, judged = self._engine, []
        session = engine.sessions.get(body.session)
        client = session.client if session is not None else ""
        for order, answer in zip(many.orders, reply.answers, strict=True):
            if _is_again(answer):
                continue
            judgement = engine.judge(order, client)
            for effect in judgement.effects:  # an attempt counts for the next one, whatever comes of it
                engine.carry_out_alone(effect)
            was = answer.rejected.rejects if isinstance(answer, e.Refused) else ()
            if not any(reject.code in _NOT_OF_LIMITS or reject.limit == ALL_OR_NONE for reject in was):
                judged.append(self._judged(row.entry.seq, order, client, was, judgement))
            if isinstance(answer, e.Accepted):
                held = holds[order.account, order.id] = engine.hold(order, client)
                for hold in held:
                    engine.policies[hold.policy].apply(hold.effect)
        for held in reversed(holds.values()):
            for hold in reversed(held):
                engine.policies[hold.policy].undo(hold.effect)
        return judged

    def _adjusted(self, command: e.AdjustAccounts) -> list[e.Effect]:
        """What these limits make of a word on P&L."""
        parts = [each for each in command.adjustments if isinstance(each, PnlAdjustment)]
        return [effect for part in parts for effect in adjustments.pnl_effects(self._engine, part)]

    def _order_of(self, command: e.Command) -> Order | None:
        match command:
            case e.CheckOrder() | e.StartOrder():
                return command.order
            case e.ExecuteRequest():
                request = self._engine.requests.get(command.request_id)
                return None if request is None else request.order
            case _:
                return None

    def _judged(self, seq: int, order: Order, client: str, was: tuple[Reject, ...], now: Judgement) -> _Judged:
        settlement, notional = self._engine.worth(order, client)
        return _Judged(seq, order, was, now.rejects, settlement, notional, now.shadow_rejects)

    def _reported(self, command: e.ApplyReport, row: e.Row) -> list[e.Effect]:
        """What these limits' policies do about a report that was applied."""
        assert isinstance(row.reply, e.Applied)
        if row.reply.result.already_applied:
            return []
        report = command.report
        record = self._engine.orders.known_as(report.account, row.reply.result.order_id or "")
        listed = record.listed if record is not None else None
        if listed is None and report.instrument is not None:
            listed = self._engine.instruments.find(report.instrument)
        if listed is None:
            return []
        group = self._engine.accounts.group_of(report.account)
        realised = sum((each.realised for each in row.effects if isinstance(each, e.PositionChanged)), Decimal(0))
        made = self._engine.reports.made_by(report, listed.settlement, realised)
        reported = Reported(report, group, listed.settlement, row.entry.now_ns, self._engine.days, made)
        return list(self._engine.pipeline.report(reported) or ())

    def _translated(self, effect: e.Effect, holds: Mapping[tuple[str, str], tuple[e.Hold, ...]]) -> e.Effect | None:
        """A recorded effect as it would have been: the same, but for what the limits themselves did."""
        match effect:
            case e.PolicyChanged() | e.Reconfigured() | e.Overridden() | e.HoldsReplaced():
                return None
            case e.ShadowBlocked() | e.ShadowUnblocked() | e.PolicyFailed() | e.PolicyRecovered():
                return None
            case e.DayBegan() | e.DayEnded() | e.HoursChanged():
                return None
            case e.Blocked():
                return effect if effect.block.limit in _OF_PERSONS else None
            case e.Unblocked():
                return effect if effect.limit in _OF_PERSONS else None
            case e.OrderOpened():
                return msgspec.structs.replace(effect, holds=holds[effect.order.account, effect.order.id])
            case e.OrderFilled():
                if self._engine.orders.find(effect.reservation_id) is None:
                    return msgspec.structs.replace(effect, holds=())  # a stranger that this very row brings
                return msgspec.structs.replace(effect, holds=self._shrunk(effect.reservation_id, effect.open_quantity))
            case _:
                return effect

    def _adopted(self, effect: e.OrderAdopted, holds: tuple[e.Hold, ...]) -> e.Effect:
        """What is left of an order holds, of which reports came first."""
        listed = self._engine.instruments.find(effect.order.instrument)
        assert listed is not None
        shrunk = self._engine.pipeline.shrink(holds, effect.order, listed, effect.open_quantity)
        return e.HoldsReplaced(effect.reservation_id, holds if shrunk is None else shrunk)

    def _shrunk(self, reservation_id: int, left: Decimal) -> tuple[e.Hold, ...]:
        record = self._engine.orders.find(reservation_id)
        assert record is not None
        if not left or record.order is None or record.listed is None:
            return record.holds
        if (
            record.state is CLOSED and record.ended_by is e.EndedBy.FILLED
        ):  # a fill of it was undone, and it is open again
            return self._engine.modifies.hold_again(record, left)
        shrunk = self._engine.pipeline.shrink(record.holds, record.order, record.listed, left)
        return record.holds if shrunk is None else shrunk

    def _reshape(self, reservation_id: int, left: Decimal) -> None:
        record = self._engine.orders.open[reservation_id]
        shrunk = self._shrunk(reservation_id, left)
        for hold in reversed(record.holds):
            self._engine.policies[hold.policy].undo(hold.effect)
        for hold in shrunk:
            self._engine.policies[hold.policy].apply(hold.effect)
        record.holds = shrunk


def _is_kept(hold: Any) -> bool:
    """Whether what a control has counted of an order before is what it goes on from."""
    return hold.policy in _KEEP_HOLDS


def _count(result: WhatIf, changes: dict[tuple[str, str, RejectCode], Change], judged: _Judged, keep: int) -> None:
    result.orders += 1
    if judged.shadow and not judged.now:
        result.told_in_shadow += 1
        _add_up(changes, "told in shadow", judged.shadow, judged, keep)
    if bool(judged.was) == bool(judged.now):
        if judged.was:
            result.refused_as_before += 1
        else:
            result.accepted_as_before += 1
        return
    if judged.now:
        result.would_be_refused += 1
    else:
        result.would_be_let_through += 1
    _add_up(changes, "refused" if judged.now else "let through", judged.now or judged.was, judged, keep)


def _add_up(
    changes: dict[tuple[str, str, RejectCode], Change],
    would_be: str,
    rejects: tuple[Reject, ...],
    judged: _Judged,
    keep: int,
) -> None:
    for reject in rejects:
        key = (would_be, reject.limit, reject.code)
        change = changes.get(key)
        if change is None:
            change = changes[key] = Change(
                would_be,
                reject.limit,
                reject.code,
                first_order=judged.order.id,
                first_seq=judged.seq,
                reason=reject.reason,
                notional={},
                order_ids=[],
            )
        change.orders += 1
        if judged.notional is not None:
            change.notional[judged.settlement] = change.notional.get(judged.settlement, Decimal(0)) + judged.notional
        if len(change.order_ids) < keep:
            change.order_ids.append(judged.order.id)


def _state_before(directory: Path, blank: Blank, first_seq: int) -> tuple[list[history.Segment], Engine]:
    found = _segments(directory)
    upto = max(first_seq - 1, history.beginning(found).seq)
    engine, head = newest_state(directory, found, blank, upto=upto)
    carry_on(engine, found, head, upto=upto)
    return found, engine


def _segments(directory: Path) -> list[history.Segment]:
    found = history.read_segments(directory)
    if not found:
        raise JournalFailed(f"{directory}: there is no journal")
    return found


def _rows(found: list[history.Segment], engine: Engine, last_seq: int | None, reader: Reader) -> Iterator[e.Row]:
    """The rows after the engine's last one."""
    head = history.head_at(found, engine.seq) or history.beginning(found)
    for line in history.lines(found, head):
        if last_seq is not None and line.seq > last_seq:
            return
        yield reader.row(line.row)


def _twin(engine: Engine, blank: Blank) -> Engine:
    """Another engine in the same state."""
    image = snapshot.decode(snapshot.encode(snapshot.take(engine)))
    twin = blank()
    snapshot.load(twin, image)
    return twin


def _decided(engine: Engine, row: e.Row) -> e.Row:
    """The row as it is decided now. A poisoned one is taken over: nobody decided it."""
    if isinstance(row.entry.body, e.Poisoned):
        engine.carry_out(e.deed_of(row))
        return row
    try:
        result = engine.apply(row.entry)
    except CarryOutFailed as trouble:
        return e.Row(row.entry, (), e.Failed(e.Failure.SYSTEM_UNAVAILABLE, str(trouble)))
    except AssertionError:
        return e.Row(row.entry, (), e.Failed(e.Failure.SYSTEM_UNAVAILABLE, "it cannot follow what is recorded before"))
    return e.Row(row.entry, result.effects, result.reply)


def _difference(was: e.Row, now: e.Row) -> Difference:
    body = was.entry.body
    what = type(body.command if isinstance(body, e.Commanded) else body).__name__
    if was.reply != now.reply:
        return Difference(was.entry.seq, what, _shown(was.reply), _shown(now.reply))
    for one, other in zip(was.effects, now.effects, strict=False):
        if one != other:
            return Difference(was.entry.seq, what, str(one), str(other))
    return Difference(was.entry.seq, what, f"{len(was.effects)} effects", f"{len(now.effects)} effects")


def _shown(reply: e.Reply) -> str:
    return str(reply.rejected) if isinstance(reply, e.Refused) else str(reply)


def _is_again(reply: e.Reply) -> bool:
    """Whether an order was answered as one known from before, or could not be taken at all."""
    return isinstance(reply, e.Failed) or (isinstance(reply, e.Accepted) and reply.replayed)
