"""Between the client's language and the engine's own, so that the protocol and the journal can age apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from pit import wire
from pit.types import MAX_REASON_LENGTH, LimitOverride, ReloadResult

from .core import entry as e
from .core.overrides import Override

COMMANDS: dict[type, Callable[[Any], e.Command]] = {
    wire.Start: lambda c: e.StartOrder(c.order),
    wire.Execute: lambda c: e.ExecuteRequest(c.request_id, c.sent, c.lease_ns),
    wire.Check: lambda c: e.CheckOrder(c.order, c.sent, c.lease_ns),
    wire.DropCopy: lambda c: e.DropCopy(c.order, c.venue_order_id, c.client),
    wire.CheckMany: lambda c: e.CheckMany(c.orders, c.sent, c.lease_ns, c.all_or_none),
    wire.MarkSent: lambda c: e.MarkSent(c.reservation_id),
    wire.Commit: lambda c: e.Commit(c.reservation_id, c.venue_order_id, c.late),
    wire.Rollback: lambda c: e.Rollback(c.reservation_id, _cut(c.reason)),
    wire.Quarantine: lambda c: e.Quarantine(c.reservation_id, _cut(c.reason)),
    wire.Renew: lambda c: e.Renew(c.reservation_id, c.lease_ns),
    wire.Drop: lambda c: e.Drop(c.reservation_ids, c.request_ids),
    wire.Report: lambda c: e.ApplyReport(c.report),
    wire.Goodbye: lambda c: e.EndOwnSession(),
    wire.BlockScope: lambda c: e.BlockScope(c.scope, _cut(c.reason), c.cancel),
    wire.CancelAll: lambda c: e.CancelAll(c.scope, _cut(c.reason)),
    wire.UnblockScope: lambda c: e.UnblockScope(c.scope, _cut(c.reason)),
    wire.Rearm: lambda c: e.Rearm(c.limit, c.scope, c.room, _cut(c.reason)),
    wire.SettleOrder: lambda c: e.SettleOrder(c.account, c.order_id, c.working, _cut(c.reason)),
    wire.AcceptHistory: lambda c: e.AcceptHistory(_cut(c.reason)),
    wire.Take: lambda c: e.TakeOrder(c.account, c.order_id, c.lease_ns),
    wire.Modify: lambda c: e.ModifyOrder(
        c.account, c.order_id, c.quantity, c.price, c.volume, c.new_id, c.sent, c.lease_ns
    ),
    wire.SettleModify: lambda c: e.SettleModify(c.account, c.order_id, c.replaced, _cut(c.reason)),
    wire.Status: lambda c: e.ApplyStatus(c.status),
    wire.Cancel: lambda c: e.CancelOrder(c.account, c.order_id),
    wire.CloseOrder: lambda c: e.CloseOrder(c.account, c.order_id, _cut(c.reason)),
    wire.ShutDown: lambda c: e.ShutDown(_cut(c.reason)),
    wire.SetTradingState: lambda c: e.SetTradingState(c.scope, c.state, _cut(c.reason), c.cancel),
    wire.SetLimit: lambda c: e.SetLimit(c.limit, c.values, _cut(c.reason), c.lasts_ns, c.until_wall_ns),
    wire.Adjust: lambda c: e.AdjustAccounts(c.id, c.adjustments, _cut(c.reason), c.imported),
    wire.SetLimits: lambda c: e.SetLimits(c.limits, _cut(c.reason), c.lasts_ns, c.until_wall_ns),
    wire.ClearLimit: lambda c: e.ClearLimit(c.limit, c.key, _cut(c.reason)),
}
"""How each kind of command is said to the engine."""

REPLIES: dict[type, Callable[[Any, int], wire.Reply]] = {
    e.Deferred: lambda r, now_ns: wire.Deferred(
        r.request_id, r.order_id, _left(r.lease_end_ns, now_ns), r.shadow_rejects
    ),
    e.Accepted: lambda r, now_ns: wire.Accepted(
        r.reservation_id, r.order_id, r.state, _left(r.lease_end_ns, now_ns), r.replayed, r.shadow_rejects
    ),
    e.Taken: lambda r, now_ns: wire.Taken(
        r.reservation_id, r.order, r.state, _left(r.lease_end_ns, now_ns), r.replayed
    ),
    e.Modified: lambda r, now_ns: wire.Modified(
        r.modify_id, r.order, r.state, _left(r.lease_end_ns, now_ns), r.replayed, r.shadow_rejects
    ),
    e.CancelCleared: lambda r, now_ns: wire.CancelCleared(r.cleared),
    e.Refused: lambda r, now_ns: wire.Refused(r.rejected),
    e.DropCopied: lambda r, now_ns: wire.DropCopied(
        msgspec.structs.replace(r.result, breaches=r.breaches, blocks=r.blocks)
    ),
    e.ManyChecked: lambda r, now_ns: wire.ManyChecked(tuple(_answer_of(each, now_ns) for each in r.answers)),
    e.Stands: lambda r, now_ns: wire.Settled(r.state, _left(r.lease_end_ns, now_ns)),
    e.Applied: lambda r, now_ns: wire.Applied(r.result),
    e.Done: lambda r, now_ns: wire.Done(r.count),
    e.Failed: lambda r, now_ns: wire.Failed(wire.FailureCode(r.failure.value), r.message, r.number),
    e.Adjusted: lambda r, now_ns: wire.Adjusted(r.result),
    e.LimitSet: lambda r, now_ns: wire.LimitSet(tuple(override_of(each, each.base) for each in r.overrides)),
    e.Reloaded: lambda r, now_ns: wire.Reloaded(
        ReloadResult(changes=r.changes, waiting=r.waiting, disagreements=r.disagreements, past=r.past)
    ),
    e.Void: lambda r, now_ns: wire.Voided(),
}

"""How each kind of answer is told to a client, at that moment of engine time."""


def command_of(command: wire.Command) -> e.Command:
    return COMMANDS[type(command)](command)


def reply_of(reply: e.Reply, now_ns: int) -> wire.Reply:
    """The reply as the client reads it: leases are told as what is left of them now."""
    return REPLIES[type(reply)](reply, now_ns)


def override_of(override: Override, base: str | None) -> LimitOverride:
    """An override as the client reads it; `base` is what is configured now."""
    return LimitOverride(
        limit=override.limit,
        key=override.key,
        value=override.value,
        set_over=override.base,
        base=base,
        in_force=override.in_force,
        author=override.author,
        reason=override.reason,
        since_wall_ns=override.since_wall_ns,
        until_wall_ns=override.until_wall_ns,
    )


def _answer_of(answer: e.Accepted | e.Refused, now_ns: int) -> wire.Accepted | wire.Refused:
    reply = reply_of(answer, now_ns)
    assert isinstance(reply, wire.Accepted | wire.Refused)
    return reply


def _cut(reason: str) -> str:
    """A reason is kept as long as its order is: pit cuts it, and not every client need be pit."""
    return reason[:MAX_REASON_LENGTH]


def _left(end_ns: int, now_ns: int) -> int:
    return end_ns - now_ns if end_ns > now_ns else 0
