"""Which orders are to be cancelled, and who may be told: as the design says it, looked up anew with each row."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from pitd.core import entry as e
from pitd.core.engine import Engine

from . import settings
from .orders import Kept


class Asked(NamedTuple):
    """An order that is to be cancelled: by which stop, and when others than its owner are asked."""

    scope: str
    limit: str
    due_ns: int


class Stop(NamedTuple):
    scope: str
    limit: str


class Cancels:
    """What is to be cancelled, order by order, until the last of each."""

    def __init__(self) -> None:
        self.stops: dict[Stop, None] = {}
        """Those in force that want cancels."""
        self.asked: dict[int, Asked] = {}
        self.late: set[int] = set()
        """Of which those with the cancel role hear as well."""
        self._looks: list[tuple[Stop, int]] = []
        """Stops that are to be looked at yet, over the orders up to that row: one with each row."""

    def begin(self, stop: Stop, seq: int, *, is_lasting: bool = True) -> None:
        if is_lasting:
            self.stops.setdefault(stop)
        self._looks.append((stop, seq))

    def lift(self, scope: str, limit: str) -> None:
        self.stops.pop(Stop(scope, limit), None)

    def pass_on(self, now_ns: int) -> None:
        self.late |= {id for id, each in self.asked.items() if each.due_ns <= now_ns}

    def follow_up(self, orders: dict[int, Kept], came: list[int], now_ns: int, is_there: Callable[[str], bool]) -> None:
        """After a row: what has ended is confirmed, and what a stop is over is asked for. `came` are the orders that
        have come to be at the venue with it.
        """
        for id in [id for id in self.asked if not orders[id].is_open]:
            del self.asked[id]
            self.late.discard(id)

        def ask(stop: Stop, kept: Kept) -> None:
            if kept.is_open and kept.state != "held" and kept.id not in self.asked and covers(stop.scope, kept):
                within_ns = settings.CANCEL_NS if is_there(kept.client) else 0
                self.asked[kept.id] = Asked(*stop, now_ns + within_ns)

        for id in came:
            for stop in self.stops:
                ask(stop, orders[id])
        if self._looks:
            stop, upto = self._looks.pop(0)
            for id, kept in orders.items():
                if e.row_of(id) <= upto:
                    ask(stop, kept)

    def compare(self, engine: Engine) -> str:
        """What is otherwise in the engine, or nothing."""
        requests = engine.cancels.requests
        known = {id: Asked(each.cause.scope, each.cause.limit, each.due_ns) for id, each in requests.items()}
        if known != self.asked:
            return f"to be cancelled are {known}, and not {self.asked}"
        late = {id for id, each in requests.items() if each.escalated_seq}
        if late != self.late:
            return f"{late} are passed on, and not {self.late}"
        stops = set(engine.cancels.kills)
        return "" if stops == set(self.stops) else f"{stops} want cancels, and not {set(self.stops)}"


def covers(scope: str, kept: Kept) -> bool:
    kind, _, name = scope.partition(" ")
    match kind:
        case "firm":
            return True
        case "account":
            return kept.account == name
        case "group":
            return kept.account in settings.DESK
        case _:
            return kept.order is not None and str(kept.order.instrument) == name
