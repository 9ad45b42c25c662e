"""`pitctl monitor`: the live stream of what a daemon decides and does, one line an event."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

import pit
from pit import events as ev

from ..core.numbers import text
from ..journal_tools import objects, words

_AGAIN_S = 0.5
"""How long it waits before it asks a daemon again that does not answer."""


class Filter(NamedTuple):
    """Which events are meant: every condition that is given must hold."""

    account: str | None = None
    client: str | None = None
    code: str | None = None
    only_rejects: bool = False

    def lets_pass(self, event: ev.AnyEvent) -> bool:
        is_refusal = isinstance(event, ev.Decided) and event.verdict is ev.Verdict.REFUSED
        if self.only_rejects and not is_refusal:
            return False
        if self.code is not None and self.code not in _codes(event):
            return False
        accounts = event.accounts if isinstance(event, ev.AccountsAdjusted) else (_account(event),)
        if self.account is not None and self.account not in accounts:
            return False
        return self.client is None or self.client in (event.actor, getattr(event, "client", None))


def run(
    connect: Callable[[], pit.Engine], since: int | None, wanted: Filter, *, as_json: bool, most: int | None = None
) -> int:
    """Prints events until Ctrl-C, or so many. A daemon that does not answer is waited for; what it did meanwhile is
    caught up with. Raises what pit raises otherwise.
    """
    with contextlib.suppress(KeyboardInterrupt), connect() as engine:
        subscription = pit.subscribe(engine, since)
        left = most
        is_silent = False
        while left is None or left > 0:
            try:
                event = subscription.poll()
            except pit.Unavailable as silence:
                if not is_silent:
                    _tell(f"no answer at {time.strftime('%H:%M:%S')}, waiting: {silence}")
                is_silent = True
                time.sleep(_AGAIN_S)
                continue
            except pit.JournalBehind as trouble:
                _tell(f"{trouble}; going on from now")
                subscription = pit.subscribe(engine)
                continue
            if is_silent:
                is_silent = False
                _tell(f"it answers again at {time.strftime('%H:%M:%S')}")
            if event is None:
                sys.stdout.flush()
            elif isinstance(event, ev.Missed):
                _put_missed(event, as_json=as_json)
            elif wanted.lets_pass(event):
                print(_in_json(event) if as_json else line(event), flush=subscription.is_at_end)
                left = None if left is None else left - 1
    return 0


def _tell(what: str) -> None:
    print(f"pitctl: {words.printable(what)}", file=sys.stderr)


def _put_missed(missed: ev.Missed, *, as_json: bool) -> None:
    _tell(f"rows {missed.first_seq} to {missed.last_seq} are no longer kept: their events are missing here")
    if as_json:
        told = {"kind": "Missed", "first_seq": missed.first_seq, "last_seq": missed.last_seq}
        print(msgspec.json.encode(told).decode())


def _in_json(event: ev.AnyEvent) -> str:
    told: dict[str, Any] = objects.plain(event)
    told["wall"] = words.exact_moment(event.wall_ns)
    return msgspec.json.encode(told).decode()


def line(event: ev.AnyEvent) -> str:
    """An event in one line: its number, when, who, what."""
    number = f"{event.seq}.{event.place}"
    return words.printable(f"{number:>10}  {words.moment(event.wall_ns)}  {event.actor or '?':<12}  {said(event)}")


def said(event: ev.AnyEvent) -> str:
    """What has happened, in words."""
    match event:
        case ev.Decided():
            return _decided(event)
        case ev.OrderMoved():
            return f"{_order(event)} {event.state}{_over(event)}"
        case ev.OrderTaken():
            return f"{_order(event)} taken by {event.actor}"
        case ev.ModifyMoved():
            return f"{_order(event)} modify {event.modify_id} {event.state}{_over(event)}"
        case ev.FillChanged():
            now = f"is {text(event.quantity)} now" if event.quantity else "UNDONE"
            return f"{_order(event)} fill {event.fill_id} {now}"
        case ev.CancelAsked():
            return f"{_order(event)} cancel by {event.actor}"
        case ev.CancelRefused():
            return f"{_order(event)} cancel refused by the venue"
        case ev.OrderReplaced():
            return f"{_order(event)} is now {words.order(event.order)}, open {text(event.open_quantity)}"
        case ev.OrderFilled():
            return f"{_order(event)} filled {text(event.quantity)}, open {text(event.open_quantity)}"
        case ev.OrderNamed():
            return f"{_order(event)} is {event.venue_order_id} at the venue"
        case ev.OrderFlagged():
            return f"{_order(event)} FLAGGED {event.flag}"
        case ev.LeaseRenewed():
            return f"{_order(event)} lease renewed, {event.lease_s:g} s"
        case ev.RequestEnded():
            return f"{event.account} {event.order_id} request over ({event.ended_by})"
        case ev.LeasesRestarted():
            return f"every lease restarted{f' after {event.away_s:.3f} s away' if event.away_s else ''}"
        case ev.ScopeBlocked():
            return f"BLOCKED {event.block.scope} by {event.block.author} ({event.block.limit}): {event.block.reason}"
        case ev.ScopeUnblocked():
            return f"unblocked {event.scope} ({event.limit}){_because(event.reason)}"
        case ev.ShadowBlocked():
            return f"would block {event.block.scope} (shadow of {event.block.limit}): {event.block.reason}"
        case ev.ShadowUnblocked():
            return f"would no longer block {event.scope} (shadow of {event.limit})"
        case ev.CancelsRequested():
            named = ", ".join(" ".join(each) for each in event.orders[:5])
            more = f" and {event.count - 5} more" if event.count > 5 else ""
            if event.is_late:
                return f"NOT CANCELLED in time: {named}{more}"
            return f"to be cancelled, {event.scope} ({event.limit}): {named}{more}{_because(event.reason)}"
        case ev.CancelsConfirmed():
            return f"all {event.count} orders that were to be cancelled have ended"
        case ev.TradingStateChanged():
            restriction = event.restriction
            return f"{restriction.scope} is {restriction.state.upper()}{_because(restriction.reason)}"
        case ev.DayBegan():
            return f"day {event.day} began for {', '.join(event.scopes)}"
        case ev.HoursChanged():
            until = f" until {event.until}" if event.until else ""
            return f"{event.limit} is {'open' if event.is_open else 'closed'}{until}"
        case ev.DayEnded():
            return f"the day ended for {', '.join(event.scopes)}"
        case ev.LimitRearmed():
            return f"rearmed {event.limit} of {event.scope} by {text(event.room)}{_because(event.reason)}"
        case ev.AccountsAdjusted():
            return f"adjusted {event.id}: {event.what or ', '.join(event.accounts)}{_because(event.reason)}"
        case ev.LimitsChanged():
            return f"{event.what} in force{_because(event.reason)}"
        case ev.SessionStarted():
            return f"session {event.session} of {event.client} started"
        case ev.SessionEnded():
            return f"session {event.session} of {event.client} ended ({event.ended_by}){_because(event.reason)}"
        case ev.DaemonStarted():
            return "the daemon has started"
        case ev.CommandFailed():
            return f"{event.asked} failed: {event.code}: {event.message}"
        case ev.Alarmed():
            return f"ALARM {event.what}: {event.message}"


def _decided(event: ev.Decided) -> str:
    order = event.order
    what = f"{event.order_id} {event.account}" if order is None else words.order(order)
    stands = "" if event.state is None else f", {event.state}"
    again = " (as before)" if event.is_repeated else ""
    why = "; ".join(str(reject) for reject in event.rejects)
    verdict = event.verdict.upper() if event.verdict is ev.Verdict.REFUSED else event.verdict
    asked = "" if event.asked in ("check", "start") else f" on {event.asked}"
    shadow = "; ".join(str(reject) for reject in event.shadow_rejects)
    noted = f"  in shadow: {shadow}" if shadow else ""
    return f"{verdict}{asked}{stands}{again}  {what}{f'  {why}' if why else ''}{noted}"


def _order(event: ev.OfOrder) -> str:
    return f"{event.account or '?'} {event.order_id or event.reservation_id}"


def _over(event: ev.OrderMoved | ev.ModifyMoved) -> str:
    """What has ended it, and why, as far as that is not the same; nothing while it goes on."""
    why = ": ".join(filter(None, (event.ended_by, event.reason if event.reason != event.ended_by else "")))
    return f" ({why})" if why else ""


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def _codes(event: ev.AnyEvent) -> tuple[str, ...]:
    match event:
        case ev.Decided():
            return tuple(str(reject.code) for reject in (*event.rejects, *event.shadow_rejects))
        case ev.ScopeBlocked() | ev.ShadowBlocked():
            return (str(event.block.code),)
        case ev.CommandFailed():
            return (event.code,)
        case _:
            return ()


def _account(event: ev.AnyEvent) -> str | None:
    """Whose event it is; "account NAME" where it is about a scope."""
    match event:
        case ev.ScopeBlocked() | ev.ShadowBlocked():
            scope = event.block.scope
        case ev.ShadowUnblocked() | ev.ScopeUnblocked() | ev.LimitRearmed() | ev.CancelsRequested():
            scope = event.scope
        case ev.TradingStateChanged():
            scope = event.restriction.scope
        case _:
            return getattr(event, "account", None)
    return scope.removeprefix("account ") if scope.startswith("account ") else None
