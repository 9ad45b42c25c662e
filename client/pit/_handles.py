"""What an engine, a request and a reservation are while nobody waits: the same under engine.py and aio.py."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Literal

from . import _process, wire
from .types import OpenModify, OpenOrder, Order, OrderState, Reject

_LEASED = (OrderState.HELD, OrderState.SENT)


class EngineBase:
    """A client's name, its patience, and what was let go and is to be given back with the next call."""

    def __init__(self, name: str, timeout_s: float, monotonic_ns: Callable[[], int]) -> None:
        self.name = name
        self.timeout_s = timeout_s
        self._monotonic_ns = monotonic_ns
        self._pid = _process.pid
        self._dropped_reservations: deque[int] = deque()
        self._dropped_requests: deque[int] = deque()

    def _take_dropped(self) -> wire.Drop:
        return wire.Drop(_drain(self._dropped_reservations), _drain(self._dropped_requests))


class RequestBase:
    """An order that passed the start stage, and until when it can be executed."""

    def __init__(self, engine: EngineBase, order: Order, answer: wire.Deferred, sent_ns: int) -> None:
        self.id = answer.request_id
        self.order = order
        self.shadow_rejects = answer.shadow_rejects
        """What shadow limits, which refuse nothing, would have refused it for."""
        self._engine = engine
        self._ends_ns = sent_ns + answer.lease_ns
        self._is_over = False

    @property
    def ok(self) -> Literal[True]:
        return True

    @property
    def lease_left_s(self) -> float:
        """Seconds until it can no longer be executed, counted from when it was asked for."""
        return max(0, self._ends_ns - self._engine._monotonic_ns()) / 1e9

    def __bool__(self) -> Literal[True]:
        return True

    def __del__(self) -> None:
        if not getattr(self, "_is_over", True) and self._engine._pid == _process.pid:
            self._engine._dropped_requests.append(self.id)

    def __repr__(self) -> str:
        return f"<pit.{type(self).__name__} {self.id} of order {self.order.id}>"


class ReservationBase:
    """What one accepted order holds, and until when."""

    __slots__ = ("__weakref__", "_answer", "_ends_ns", "_engine", "_is_settled", "_lease_ns", "id", "order", "state")

    _engine: EngineBase

    def __init__(self, engine: EngineBase, order: Order, answer: wire.Accepted, sent_ns: int) -> None:
        self._is_settled = False
        self._answer = answer
        self._engine = engine
        self.id = answer.reservation_id
        self.order = order
        self.state = answer.state
        """As this client has heard last: reports and ends of leases may have moved it on, see `engine.outcome()`."""
        self._lease_ns = lease_ns = answer.lease_ns
        self._ends_ns = sent_ns + lease_ns

    @property
    def ok(self) -> Literal[True]:
        return True

    @property
    def lease_s(self) -> float:
        """How long the lease is that was granted last, in seconds."""
        return self._lease_ns / 1e9

    @property
    def shadow_rejects(self) -> tuple[Reject, ...]:
        """What shadow limits, which refuse nothing, would have refused it for."""
        return self._answer.shadow_rejects

    @property
    def replayed(self) -> bool:
        """Whether this very order had been accepted before, and this is the same answer again."""
        return self._answer.replayed

    @property
    def lease_left_s(self) -> float:
        """Seconds left of the lease, counted from when the command that granted it was sent: never too many."""
        return max(0, self._ends_ns - self._engine._monotonic_ns()) / 1e9

    @property
    def _is_to_drop(self) -> bool:
        """Whether it is still to be settled, as far as is known here."""
        return not self._is_settled and self.state in _LEASED

    def _now_stands(self, command: wire.MarkSent | wire.Renew, stands: wire.Settled, sent_ns: int) -> None:
        self.state = stands.state
        self._ends_ns = sent_ns + stands.lease_ns
        if isinstance(command, wire.Renew):
            self._lease_ns = stands.lease_ns

    def _was_dropped(self) -> None:
        """What a lease's end does: what was held is rolled back, what was sent is quarantined."""
        self.state = OrderState.ROLLED_BACK if self.state is OrderState.HELD else OrderState.QUARANTINED

    def __bool__(self) -> Literal[True]:
        return True

    def __del__(self) -> None:
        if self._is_settled or self._answer.replayed or self._engine._pid != _process.pid:
            return
        self._engine._dropped_reservations.append(self.id)

    def __repr__(self) -> str:
        return f"<pit.{type(self).__name__} {self.id} of order {self.order.id}: {self.state}>"


def left_behind(found: OpenOrder | OpenModify) -> wire.Accepted:
    """The answer that an open order or a modify stands for, whoever got it. Who lets go of it lets nothing go."""
    lease_ns = round((found.lease_left_s or 0) * 1e9)
    return wire.Accepted(found.reservation_id, found.order.id, found.state, lease_ns, replayed=True)


def _drain(ids: deque[int]) -> tuple[int, ...]:
    drained = []
    while ids:
        drained.append(ids.popleft())
    return tuple(drained)
