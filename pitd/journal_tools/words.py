"""Rows in words: what came in, what it did, what was answered; in short for a line, or whole for one row."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from decimal import Decimal
from enum import Enum
from typing import Any

import msgspec

from pit.types import (
    Adjustment,
    BalanceAdjustment,
    ExecutionReport,
    Instrument,
    Order,
    PnlAdjustment,
    PositionAdjustment,
    Reject,
    TradingState,
)

from ..core import entry as e
from ..core.numbers import text
from ..core.prices import Quote


def moment(wall_ns: int) -> str:
    """A wall time as people read it, in UTC."""
    seconds, ns = divmod(wall_ns, 1_000_000_000)
    at = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return f"{at:%Y-%m-%d %H:%M:%S}.{ns // 1_000_000:03d}Z"


def exact_moment(wall_ns: int) -> str:
    """The same to the nanosecond, as ISO 8601 has it."""
    seconds, ns = divmod(wall_ns, 1_000_000_000)
    return f"{datetime.datetime.fromtimestamp(seconds, datetime.UTC):%Y-%m-%dT%H:%M:%S}.{ns:09d}Z"


# ---------------------------------------------------------------------------------------------- what came in


def came_in(body: e.Body) -> str:
    """An entry in short."""
    match body:
        case e.Commanded():
            return command(body.command)
        case e.Configured():
            return f"configuration: {body.reason}"
        case e.SessionOpened():
            return "session opened"
        case e.SessionEnded():
            return f"session {body.session} ended: {body.reason}"
        case e.LeasesDue():
            return "leases due"
        case e.CancelsDue():
            return "cancels due"
        case e.CancelsRead():
            return f"{body.client} is told of {len(body.reservation_ids)} cancels"
        case e.DayDue():
            return f"day {body.day} begins for {_scopes(body.scopes)}"
        case e.HoursDue():
            return f"hours of {body.limit}: {_open(body.is_open, body.until)}"
        case e.DayOrdersDue():
            return f"close what was good for the day, at most {body.most}"
        case e.DayEndDue():
            return f"the day ends for {_scopes(body.scopes)}"
        case e.QuotesMoved():
            after, upto = (
                f" {word} {name}" if name else "" for word, name in (("after", body.after), ("up to", body.upto))
            )
            return f"quotes of what is held have moved{': accounts' if after or upto else ''}{after}{upto}"
        case e.OverridesDue():
            return f"what was set until {moment(body.wall_ns)} ends"
        case e.Resumed():
            return f"resumed after {body.away_ns / 1e9:.3f} s away" if body.away_ns else "resumed after a start"
        case e.NumberVoided():
            return f"number {body.number} given up"
        case e.HistoryDisputed():
            return f"has seen row {body.seen_seq}, which is not here"
        case e.Poisoned():
            return f"poisoned: {body.what}: {body.why}"


def command(command: e.Command) -> str:
    match command:
        case e.StartOrder():
            return f"start {order(command.order)}"
        case e.ExecuteRequest():
            return f"execute request {command.request_id}{', sent' if command.sent else ''}"
        case e.CheckOrder():
            return f"check {order(command.order)}{', sent' if command.sent else ''}"
        case e.DropCopy():
            of = f" of client {command.client}" if command.client else ""
            return f"drop copy{of}: {order(command.order)}"
        case e.CheckMany():
            all_of = "all or none of " if command.all_or_none else ""
            return f"check {all_of}{len(command.orders)}: {'; '.join(map(order, command.orders))}"
        case e.MarkSent():
            return f"mark_sent {command.reservation_id}"
        case e.Commit():
            named = f" as {command.venue_order_id}" if command.venue_order_id else ""
            return f"commit {command.reservation_id}{named}{', late' if command.late else ''}"
        case e.Rollback():
            return f"rollback {command.reservation_id}{_because(command.reason)}"
        case e.Quarantine():
            return f"quarantine {command.reservation_id}{_because(command.reason)}"
        case e.Renew():
            return f"renew {command.reservation_id}"
        case e.Drop():
            return f"drop {_ids(command.reservation_ids + command.request_ids)}"
        case e.ApplyReport():
            return report(command.report)
        case e.ApplyStatus():
            told = command.status
            at = "" if told.average_price is None else f" @ {text(told.average_price)}"
            which = told.order_id or told.venue_order_id
            return f"status of {told.account} {which}: {told.status}, {text(told.cum_quantity)} traded{at}"
        case e.EndOwnSession():
            return "goodbye"
        case e.BlockScope():
            return f"block {command.scope}{_because(command.reason)}"
        case e.UnblockScope():
            return f"unblock {command.scope}{_because(command.reason)}"
        case e.Rearm():
            return f"rearm {command.limit} {command.scope} by {text(command.room)}{_because(command.reason)}"
        case e.SettleOrder():
            stands = "working" if command.working else "not sent"
            return f"settle {command.account} {command.order_id} as {stands}{_because(command.reason)}"
        case e.CancelAll():
            return f"cancel-all {command.scope}{_because(command.reason)}"
        case e.CloseOrder():
            return f"close-order {command.account} {command.order_id}{_because(command.reason)}"
        case e.TakeOrder():
            return f"take {command.account} {command.order_id}"
        case e.ModifyOrder():
            terms = ((command.quantity, ""), (command.volume, "volume "), (command.price, "@ "))
            words = [f"{what}{text(each)}" for each, what in terms if each is not None]
            named = f" as {command.new_id}" if command.new_id else ""
            to = f"modify {command.account} {command.order_id} to {' '.join(words)}"
            return f"{to}{named}{', sent' if command.sent else ''}"
        case e.CancelOrder():
            return f"cancel {command.account} {command.order_id}"
        case e.SettleModify():
            stands = "replaced" if command.replaced else "not replaced"
            return f"settle-modify {command.account} {command.order_id} as {stands}{_because(command.reason)}"
        case e.AcceptHistory():
            return f"accept-history{_because(command.reason)}"
        case e.ShutDown():
            return f"shutdown{_because(command.reason)}"
        case e.SetTradingState():
            return f"{_TO_STATE[command.state]} {command.scope}{_because(command.reason)}"
        case e.SetLimits():
            each = (
                f"{limit} {' '.join(f'{key}={value}' for key, value in values)}" for limit, values in command.limits
            )
            return f"set {', '.join(each)}{_because(command.reason)}"
        case e.SetLimit():
            values = " ".join(f"{key}={value}" for key, value in command.values)
            return f"set {command.limit} {values}{_because(command.reason)}"
        case e.ClearLimit():
            return f"clear {command.limit}{f' {command.key}' if command.key else ''}{_because(command.reason)}"
        case e.AdjustAccounts():
            parts = "; ".join(map(adjustment, command.adjustments[:3]))
            more = f" and {len(command.adjustments) - 3} more" if len(command.adjustments) > 3 else ""
            return f"adjust {command.id}: {parts}{more}{_because(command.reason)}"
        case e.Reload():
            return f"reload: {command.configured.reason}"


def adjustment(part: Adjustment) -> str:
    """What of an account is set or moved, in short."""
    what: str | Instrument
    match part:
        case BalanceAdjustment():
            what = part.asset
        case PositionAdjustment():
            what = part.instrument
        case PnlAdjustment():
            what = f"P&L {part.settlement}"
    done = f"= {text(part.set_to)}" if part.set_to is not None else f"{part.move_by or Decimal(0):+f}"
    return f"{part.account} {what} {done}"


_TO_STATE = {TradingState.ACTIVE: "resume", TradingState.REDUCING: "reduce", TradingState.HALTED: "halt"}


def order(order: Order) -> str:
    amount = f"volume {text(order.volume)}" if order.volume is not None else text(order.quantity or Decimal(0))
    price = "at market" if order.price is None else f"@ {text(order.price)}"
    return f"{order.id} {order.account} {order.side} {amount} {order.instrument} {price}{_good(order)}"


def _good(order: Order) -> str:
    """Where it goes, and how long it is good, where that was said."""
    where = "" if order.venue is None else f", {order.venue}"
    if order.good_till is not None:
        return f"{where}, good till {order.good_till}"
    return where if order.time_in_force is None else f"{where}, {order.time_in_force}"


def report(report: ExecutionReport) -> str:
    words = [f"report {report.report_id}: {report.kind} of {report.account}", report.order_id or ""]
    words.append(f"({report.venue_order_id})" if report.venue_order_id else "")
    if report.fill_id is not None:
        words.append(f"fill {report.fill_id}")
    if report.quantity is not None:
        words.append(text(report.quantity) + ("" if report.price is None else f" @ {text(report.price)}"))
    words += [f"{name} {text(amount)}" for name, amount in (("pnl", report.pnl), ("fee", report.fee)) if amount]
    return " ".join(filter(None, words))


# ---------------------------------------------------------------------------------------------- what it did


def did(effects: tuple[e.Effect, ...], most: int = 4) -> str:
    """Effects in short: at most so many, and how many more there are. What only keeps the books is left out."""
    shown = [words for words in map(effect, effects) if words]
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return "; ".join(shown[:most]) + more


def _some(ids: tuple[int, ...]) -> str:
    more = f" and {len(ids) - 5} more" if len(ids) > 5 else ""
    return ", ".join(map(str, ids[:5])) + more


def effect(effect: e.Effect) -> str:
    """One effect in short; nothing for what only keeps the books."""
    match effect:
        case e.RequestOpened():
            return f"request {effect.request_id} opened"
        case e.RequestEnded():
            return f"request {effect.request_id} ended ({effect.ended_by})"
        case e.OrderOpened():
            return f"reservation {effect.reservation_id} {effect.state}"
        case e.OrderMoved():
            why = ": ".join(filter(None, (effect.ended_by, effect.reason)))
            return f"{effect.reservation_id} {effect.state}{_because(why)}"
        case e.OrderFilled():
            return f"{effect.reservation_id} filled {text(effect.quantity)}, open {text(effect.open_quantity)}"
        case e.OrderNamed():
            return f"{effect.reservation_id} is {effect.venue_order_id} at the venue"
        case e.OrderTaken():
            return f"{effect.reservation_id} taken by {effect.client}"
        case e.OrderAdopted():
            return f"{effect.reservation_id} is known now, open {text(effect.open_quantity)}"
        case e.OrderFlagged():
            return f"{effect.reservation_id} flagged {effect.flag}"
        case e.StrangerNoted():
            return f"unknown order {effect.account} {effect.order_id} noted as {effect.reservation_id}"
        case e.LeaseSet():
            return f"{effect.reservation_id} lease {effect.lease_ns / 1e9:g} s"
        case e.LeasesRestarted():
            return "every lease restarted"
        case e.CancelsWanted():
            return f"all open orders of {effect.cause.scope} are to be cancelled ({effect.cause.limit})"
        case e.CancelsRequested():
            return f"asked to cancel {_some(effect.reservation_ids)}"
        case e.CancelsEscalated():
            return f"not cancelled in time: {_some(effect.reservation_ids)}"
        case e.CancelsAskedAgain():
            return f"asked again to cancel {_some(effect.reservation_ids)}"
        case e.CancelsTold():
            return f"{effect.client} told to cancel {_some(effect.reservation_ids)}"
        case e.CancelsConfirmed():
            return f"all {effect.count} that were to be cancelled have ended"
        case e.CancelsSwept():
            return ""
        case e.Blocked():
            return f"{effect.block.scope} blocked by {effect.block.author} ({effect.block.limit})"
        case e.PolicyFailed():
            return f"{effect.policy} failed when {effect.at} ({effect.why}): {_scopes(effect.names)} not looked at"
        case e.PolicyRecovered():
            return f"{effect.policy} answers again, or is not asked any more, when {effect.at}"
        case e.Unblocked():
            return f"{effect.scope} unblocked ({effect.limit})"
        case e.ShadowBlocked():
            return f"{effect.block.scope} would be blocked by {effect.block.limit} (shadow)"
        case e.ShadowUnblocked():
            return f"{effect.scope} would be blocked by {effect.limit} no more (shadow)"
        case e.SessionStarted():
            return f"session {effect.session} started"
        case e.SessionFinished():
            return f"session {effect.session} ended ({effect.ended_by})"
        case e.VoidedUpTo():
            return f"numbers up to {effect.number} void"
        case e.Disputed():
            return "history disputed: no new orders"
        case e.HistoryAccepted():
            return "history accepted"
        case e.TradingStateSet():
            return f"{effect.restriction.scope} {effect.restriction.state} by {effect.restriction.author}"
        case e.Overridden():
            put = [f"{each.limit} {each.key} is {each.in_force}, set over {each.base}" for each in effect.put]
            return "; ".join([*put, *(f"{limit} {key} as configured" for limit, key in effect.cleared)])
        case e.HoldsReplaced():
            return f"{effect.reservation_id} counts by other limits"
        case e.DayBegan():
            return f"day {effect.day} began for {_scopes(effect.scopes)}"
        case e.HoursChanged():
            return f"{effect.limit} {_open(effect.is_open, effect.until)}"
        case e.DayEnded():
            return f"the day ended for {_scopes(effect.scopes)}"
        case e.EpochBegan():
            return "another process serves"
        case e.PositionChanged():
            return f"{effect.account} {effect.symbol} {effect.quantity:+f}" if effect.quantity else ""
        case e.BalancesMoved():
            moves = ", ".join(f"{asset} {amount:+f}" for asset, amount in effect.moves)
            return f"{effect.account} {moves or 'keeps balances'}"
        case e.AdjustmentNoted():
            return f"positions imported: {', '.join(effect.imported)}" if effect.imported else ""
        case e.ModifyOpened():
            return f"{effect.reservation_id} modify {effect.modify_id} {effect.state}: to be {order(effect.order)}"
        case e.ModifyMoved():
            why = ": ".join(filter(None, (effect.ended_by, effect.reason)))
            return f"{effect.reservation_id} modify {effect.modify_id} {effect.state}{_because(why)}"
        case e.OrderReplaced():
            return f"{effect.reservation_id} is now {order(effect.order)}, open {text(effect.open_quantity)}"
        case e.CancelAsked():
            return f"{effect.reservation_id} cancel lets go to {effect.client}"
        case e.CancelRefused():
            return f"{effect.reservation_id} cancel refused by the venue"
        case e.ModifyLeaseSet():
            return f"modify {effect.modify_id} lease {effect.lease_ns / 1e9:g} s"
        case e.PolicyChanged() | e.ReportNoted() | e.Reconfigured() | e.DayOrdersClosed() | e.QuotesKept():
            return ""
        case e.FillChanged():
            undone = "undone" if not effect.fill.quantity else f"now {text(effect.fill.quantity)}"
            return f"{effect.reservation_id} fill {effect.fill_id} {undone}"
        case e.ModifyHolds() | e.ModifyNamed() | e.StatusNoted():
            return ""


# ---------------------------------------------------------------------------------------------- what was answered


def answered(reply: e.Reply) -> str:
    match reply:
        case e.Failed():
            return f"{reply.failure}: {reply.message}"
        case e.Deferred():
            return f"request {reply.request_id}{_in_shadow(reply)}"
        case e.Accepted():
            return f"accepted, {reply.state}{' (as before)' if reply.replayed else ''}{_in_shadow(reply)}"
        case e.Taken():
            return f"taken, {reply.state}{' (as before)' if reply.replayed else ''}"
        case e.CancelCleared():
            return f"cancel may go out, open {text(reply.cleared.open_quantity)}{_in_shadow(reply)}"
        case e.Modified():
            return f"modify accepted, {reply.state}{' (as before)' if reply.replayed else ''}{_in_shadow(reply)}"
        case e.Refused():
            return f"{reply.rejected}{_in_shadow(reply)}"
        case e.DropCopied():
            known = ", known" if reply.result.was_known else ""
            flags = "".join(f", {flag}" for flag in reply.result.flags)
            breaches = f": {'; '.join(map(str, reply.breaches))}" if reply.breaches else ""
            return f"{reply.result.state}{known}{flags}{breaches}"
        case e.ManyChecked():
            return "; ".join(map(answered, reply.answers))
        case e.Stands():
            return str(reply.state)
        case e.Applied():
            result = reply.result
            words = ["already applied" if result.already_applied else "applied"]
            words += [str(result.state)] if result.state is not None else []
            words += [f"open {text(result.open_quantity)}"] if result.open_quantity is not None else []
            return ", ".join([*words, *result.flags, *map(str, result.blocks)])
        case e.Done():
            return f"done ({reply.count})" if reply.count else "done"
        case e.Opened():
            return f"session {reply.session}"
        case e.LimitSet():
            ends = {each.until_wall_ns for each in reply.overrides}
            return "set" + "".join(f", until {moment(end)}" for end in ends if end is not None)
        case e.Reloaded():
            told = "; ".join((*reply.changes, *reply.waiting, *reply.disagreements))
            return f"reloaded: {told or 'nothing is different'}"
        case e.Adjusted():
            told = "already applied" if reply.result.already_applied else f"adjusted ({reply.result.changed} changed)"
            return ", ".join([told, *map(str, reply.result.blocks)])
        case e.Void():
            return "void"


def _in_shadow(reply: e.Reply) -> str:
    """What shadow limits would have refused, or nothing."""
    rejects = e.shadow_rejects_of(reply)
    return f"; in shadow: {'; '.join(map(str, rejects))}" if rejects else ""


def line(row: e.Row, client: str | None) -> str:
    """A row in one line: number, when, who, what came in → what it did → what was answered."""
    entry = row.entry
    parts = [came_in(entry.body), did(row.effects), answered(row.reply)]
    told = " → ".join(part for part in parts if part)
    return f"{entry.seq:>8}  {moment(entry.wall_ns)}  {client or '?':<12}  {printable(told)}"


def printable(told: str) -> str:
    """On one line, with nothing in it that a terminal would take for an order to itself."""
    return "".join(each if each.isprintable() else " " for each in told)


# ---------------------------------------------------------------------------------------------- one row, whole


def whole(row: e.Row, client: str | None, chain: bytes) -> Iterator[str]:
    """Everything about one row, explained."""
    entry = row.entry
    yield f"row {entry.seq}"
    yield f"  when      {exact_moment(entry.wall_ns)}, engine time {entry.now_ns / 1e9:.9f} s"
    body = entry.body
    if isinstance(body, e.Commanded):
        yield f"  from      client {client or 'unknown'}, session {body.session}, number {body.number}"
        yield f"            answers up to {body.acked} had been received"
    else:
        yield f"  from      {client or 'unknown'}"
    yield f"  chain     {chain.hex()}"
    yield ""
    yield f"came in: {printable(came_in(body))}"
    yield from _fields(body.command if isinstance(body, e.Commanded) else body)
    for quote in entry.quotes:
        yield f"  quote     {printable(_quote(quote))}, {(entry.now_ns - quote.at_ns) / 1e9:.3f} s old"
    yield ""
    yield "it did:" if row.effects else "it did: nothing"
    for each in row.effects:
        yield f"  {type(each).__name__}: {printable(effect(each) or _about(each))}"
        yield from _fields(each, "    ")
    yield ""
    yield f"answered: {printable(answered(row.reply))}"
    if isinstance(row.reply, e.Refused):
        for reject in row.reply.rejected.rejects:
            yield from map(printable, _reject(reject))
    else:
        yield from _fields(row.reply)
    for reject in e.shadow_rejects_of(row.reply):
        yield "  in shadow, refusing nothing:"
        yield from map(printable, _reject(reject))


def _reject(reject: Reject) -> Iterator[str]:
    yield f"  {reject.limit} ({reject.code}) of {reject.policy}, for {reject.scope}"
    yield f"    {reject.reason}"
    numbers = (("limit", reject.bound), ("used", reject.used), ("requested", reject.requested))
    told = ", ".join(f"{name} {text(number)}" for name, number in numbers if number is not None)
    if told:
        yield f"    {told}"
    if reject.retry_after_s is not None:
        yield f"    trying again can succeed after {reject.retry_after_s:g} s"


def _quote(quote: Quote) -> str:
    """What was known of an instrument's price: "AAPL/USD, mark 100, bid 99.5"."""
    prices = (("mark", quote.mark), ("bid", quote.bid), ("ask", quote.ask))
    return ", ".join([quote.symbol, *(f"{name} {text(price)}" for name, price in prices if price is not None)])


def _about(effect: e.Effect) -> str:
    """What an effect that only keeps the books is about."""
    match effect:
        case e.PolicyChanged():
            return f"{effect.policy} counts"
        case e.ReportNoted():
            return f"report {effect.report_id} of {effect.reservation_id} is remembered"
        case e.AdjustmentNoted():
            return f"adjustment {effect.id} of {effect.client} is remembered"
        case e.DayOrdersClosed():
            return "no order of a day that is over is left"
        case e.Reconfigured():
            return "instruments and groups as configured"
        case _:
            return ""


def _fields(value: object, indent: str = "  ") -> Iterator[str]:
    """A struct's fields, one a line; those within it further in."""
    if isinstance(value, msgspec.Struct):
        named: dict[str, Any] = {name: getattr(value, name) for name in value.__struct_fields__}
    elif isinstance(value, dict):
        named = {str(name): each for name, each in value.items()}
    else:
        yield f"{indent}{_value(value)}"
        return
    for name, each in named.items():
        if isinstance(each, msgspec.Struct) and not _is_short(each):
            yield f"{indent}{name}"
            yield from _fields(each, indent + "  ")
        elif isinstance(each, (tuple, list)) and any(isinstance(one, msgspec.Struct) for one in each):
            for one in each:
                yield f"{indent}{name} {type(one).__name__}"
                yield from _fields(one, indent + "  ")
        elif name.endswith("_ns") and isinstance(each, int):
            yield f"{indent}{name.removesuffix('_ns')} {each / 1e9:.9f} s"
        else:
            yield f"{indent}{name} {_value(each)}"


def _is_short(value: msgspec.Struct) -> bool:
    """Whether a struct has a text of its own that says it all."""
    return type(value).__str__ is not object.__str__ and not isinstance(value, Order | ExecutionReport)


def _value(value: object) -> str:
    match value:
        case None:
            return "-"
        case Decimal():
            return text(value)
        case bytes():
            return value.hex() or "-"
        case Enum():
            return str(value.value)
        case tuple() | list():
            return printable(", ".join(map(_value, value))) or "-"
        case _:
            return printable(str(value)) or "-"


def _scopes(scopes: tuple[str, ...]) -> str:
    return ", ".join(scopes[:5]) + (f" and {len(scopes) - 5} more" if len(scopes) > 5 else "")


def _open(is_open: bool, until: str) -> str:
    return f"{'open' if is_open else 'closed'}{f' until {until}' if until else ''}"


def _because(reason: str) -> str:
    return f" ({reason})" if reason else ""


def _ids(ids: tuple[int, ...]) -> str:
    shown = ", ".join(map(str, ids[:5]))
    return shown + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")
