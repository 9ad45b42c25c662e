"""What the calendar's entries do: a day begins or ends, and with it the orders that were good for it alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from . import entry as e
from . import failing
from .modifies import over_with
from .orders import CLOSED, Event, step

if TYPE_CHECKING:
    from .engine import Engine


class Decided(NamedTuple):
    """What an entry is to do, and how many scopes or orders that is about."""

    effects: list[e.Effect]
    done: int


def decided(engine: Engine, body: e.DayDue | e.DayEndDue | e.DayOrdersDue | e.HoursDue) -> Decided:
    """What an entry of the calendar does. Changes nothing."""
    match body:
        case e.DayDue():
            scopes = engine.days.known(body.scopes)
            began = e.DayBegan(scopes, body.day, body.at_wall_ns)
            return Decided([began, *failing.day_began(engine, scopes)], len(scopes))
        case e.DayEndDue():
            scopes = tuple(scope for scope in body.scopes if engine.days.at(scope) is not None)
            return Decided([e.DayEnded(scopes, body.at_wall_ns)], len(scopes))
        case e.HoursDue():
            return Decided([e.HoursChanged(body.limit, body.is_open, body.until)], 1)
        case e.DayOrdersDue():
            return _closed(engine, body.most)


def _closed(engine: Engine, most: int) -> Decided:
    """Closes so many of the orders that a day's end closes; after the last of them nothing is left to close.

    Only what works at the venue is closed. What is held or sent goes by its lease: it may yet reach the venue, for the
    day to come, and is not closed once it has, though others still are. What is quarantined stays counted until it is
    settled, as ever, and is flagged.
    """
    effects: list[e.Effect] = []
    count = 0
    for id in engine.orders.for_a_day:
        record = engine.orders.open[id]
        closing = engine.days.is_closing(record.account, id)
        if closing is None or record.order is None:
            continue
        if record.order.good_till is not None and record.order.good_till > closing.day:
            continue
        does = step(Event.DAY_END, record)
        if does.to is CLOSED:
            modify = over_with(record)
            if modify is not None:
                effects.append(modify)
            effects.append(e.OrderMoved(id, CLOSED, e.EndedBy.DAY_END, f"day {closing.day} is over"))
            count += 1
        elif does.flag and does.flag not in record.flags:
            effects.append(e.OrderFlagged(id, does.flag))
        if len(effects) >= most:
            return Decided(effects, count)
    return Decided([*effects, e.DayOrdersClosed()], count)
