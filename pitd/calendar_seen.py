"""What a client is told of days and trading hours: which day it is, what is open, and when that changes."""

from __future__ import annotations

from pit import wire
from pit.types import CalendarDay, MarketHours

from .core.accounts import FIRM, account_scope
from .core.engine import Engine
from .house import House

_MOST = 300


def page_of(engine: Engine, house: House, query: wire.ListCalendar, accounts: frozenset[str] | None) -> wire.Reply:
    """The firm's day, and those of the accounts that have one of their own: of these accounts, or of all. The hours of
    markets come with the first page.
    """
    wall_ns, days = house.wall_ns(), engine.days
    may_see = None if accounts is None else {FIRM, *map(account_scope, accounts)}
    found = sorted(
        (each for each in house.calendar.coming(wall_ns, days) if may_see is None or each.scope in may_see),
        key=lambda each: "" if each.scope == FIRM else each.scope,
    )
    after = "" if query.after in ("", FIRM) else query.after
    found = [each for each in found if not query.after or (each.scope != FIRM and each.scope > after)]
    most = max(1, min(query.most, _MOST))
    told = []
    for each in found[:most]:
        day = days.at(each.scope)
        told.append(
            CalendarDay(
                scope=each.scope,
                day="" if day is None else day.name,
                began_wall_ns=0 if day is None else day.began_wall_ns,
                is_over=day is not None and day.is_over,
                ends_wall_ns=each.ends_ns,
                next_day=each.next_day,
                begins_wall_ns=each.begins_ns,
                zone=each.zone,
            )
        )
    hours = (
        ()
        if query.after
        else tuple(
            MarketHours(
                limit=limit,
                is_open=now.is_open,
                until_wall_ns=now.until_ns if now.until else None,
                zone=zone,
            )
            for limit, zone, now in house.calendar.markets(wall_ns)
        )
    )
    return wire.CalendarIs(engine.seq, tuple(told), hours, more=len(found) > most)
