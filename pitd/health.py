"""Whether what the daemon stands on still holds together: a few cheap looks, from the loop, every few seconds."""

from __future__ import annotations

import itertools

from .core.engine import Engine
from .core.orders import ENDED, LEASED
from .journal import SegmentJournal

_LOOKS = 64
"""How many orders and leases one look takes; the next look takes the following ones."""


class Unsound(Exception):
    """Something is not as it must be: the state can no longer be trusted, and the process must not go on."""


class Health:
    """Looks after an engine and its journal, between two batches. What takes long has its turn piece by piece."""

    def __init__(self, engine: Engine, journal: SegmentJournal | None = None) -> None:
        self._engine = engine
        self._journal = journal
        self._next_order = 0
        self._overdue: tuple[int, int] | None = None

    def check(self, now_ns: int) -> None:
        """Raises Unsound, naming what is wrong. `now_ns` is the engine time up to which leases have been ended."""
        self._check_heads()
        self._check_orders()
        self._check_leases(now_ns)

    def _check_heads(self) -> None:
        if self._journal is not None and self._journal.head.seq != self._engine.seq:
            raise Unsound(
                f"the journal ends with row {self._journal.head.seq}, the engine stands at {self._engine.seq}"
            )

    def _check_orders(self) -> None:
        orders, sessions = self._engine.orders, self._engine.sessions
        owned = sum(map(len, orders.by_client.values()))
        if owned != len(orders.open):
            raise Unsound(f"{len(orders.open)} orders are open, and clients have {owned}")
        if self._next_order >= len(orders.open):
            self._next_order = 0
        for record in itertools.islice(orders.open.values(), self._next_order, self._next_order + _LOOKS):
            name = f"order {record.order_id} of {record.account}"
            if record.state in ENDED:
                raise Unsound(f"{name} is {record.state} and stands among the open ones")
            if orders.known_as(record.account, record.order_id) is not record:
                raise Unsound(f"{name} is not found by its id")
            if record.reservation_id not in orders.by_client.get(record.client, ()):
                raise Unsound(f"{name} is not among those of client {record.client}")
            session = sessions.get(record.session)
            if record.state in LEASED and (session is None or record.reservation_id not in session.unsettled):
                raise Unsound(f"{name} is {record.state}, and no session has it to settle")
        self._next_order += _LOOKS

    def _check_leases(self, now_ns: int) -> None:
        engine = self._engine
        leased = sum(len(session.unsettled) for session in engine.sessions.going())
        if leased > len(engine.leases):
            raise Unsound(
                f"{leased} reservations and requests have a lease, and the ends of {len(engine.leases)} are kept"
            )
        overdue = engine.leases.first()
        if overdue is not None and overdue[0] > now_ns:
            overdue = None
        if overdue is not None and overdue == self._overdue:
            raise Unsound(f"the lease of {overdue[1]} should have ended, and two looks have found it still there")
        self._overdue = overdue
