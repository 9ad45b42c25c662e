"""The venue: takes orders, fills them in pieces or ends them, and says so in reports. What it knows is the truth."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pit

from .network import MS

if TYPE_CHECKING:
    from .world import World

FINAL_KINDS = ("cancelled", "expired", "rejected")


class Placed:
    """One order at the venue."""

    def __init__(self, order: pit.Order, owner: str, venue_id: str, is_promised: bool) -> None:
        assert order.quantity is not None
        self.order = order
        self.owner = owner
        self.venue_id = venue_id
        self.is_promised = is_promised
        """Whether the gate had said that it counts it as sent: then it must never stop counting it unasked."""
        self.left = order.quantity
        self.filled = Decimal(0)
        self.is_over = False
        self.reports: list[pit.ExecutionReport] = []


class Venue:
    def __init__(self, world: World) -> None:
        self._world = world
        self._random = world.random("venue")
        self.orders: dict[tuple[str, str], Placed] = {}

    def place(self, order: pit.Order, owner: str, *, is_promised: bool) -> Placed | None:
        """Takes an order, or refuses it: then it surely has nothing."""
        if self._random.random() < 0.05:
            return None
        key = (order.account, order.id)
        assert key not in self.orders, f"order {key} was sent twice"
        placed = Placed(order, owner, f"v{len(self.orders) + 1}", is_promised)
        self.orders[key] = placed
        what = f"{order.quantity} @ {order.price}"
        self._world.trace(f"venue: {order.id} of {owner} is here as {placed.venue_id}, {what}")
        if self._random.random() < 0.3:
            self._report(placed, "accepted")
        self._later(placed)
        return placed

    def finish(self) -> None:
        """Ends what is still going: the calm has come."""
        for placed in self.orders.values():
            if not placed.is_over:
                self._trade(placed, placed.left) if self._random.random() < 0.5 else self._end(placed)

    def _later(self, placed: Placed) -> None:
        self._world.after(int(self._random.expovariate(1 / 400) * MS), lambda: self._act(placed))

    def _act(self, placed: Placed) -> None:
        if placed.is_over:
            return
        draw = self._random
        if draw.random() < 0.25:
            self._end(placed)
            return
        piece = placed.left if draw.random() < 0.5 else Decimal(draw.randint(1, int(placed.left)))
        self._trade(placed, piece)
        self._later(placed)

    def _trade(self, placed: Placed, quantity: Decimal) -> None:
        placed.left -= quantity
        placed.filled += quantity
        placed.is_over = not placed.left
        pnl, fee = self._random.choice((0, 0, "-35.5", "-60", "22.25", "90")), self._random.choice((0, "0.25"))
        self._report(placed, "fill", quantity=quantity, price=placed.order.price, pnl=pnl, fee=fee)

    def _end(self, placed: Placed) -> None:
        placed.is_over = True
        self._report(placed, self._random.choice(FINAL_KINDS))

    def _report(self, placed: Placed, kind: str, **numbers: object) -> None:
        order = placed.order
        report = pit.ExecutionReport(
            account=order.account,
            kind=kind,  # type: ignore[arg-type]
            report_id=f"{placed.venue_id}-{len(placed.reports) + 1}",
            order_id=order.id,
            venue_order_id=placed.venue_id if self._random.random() < 0.5 else None,
            instrument=order.instrument,
            **numbers,  # type: ignore[arg-type]
        )
        placed.reports.append(report)
        self._world.trace(f"venue: {kind} {report.report_id} of {order.id} {numbers.get('quantity', '')}")
        self._world.reported(placed.owner, report)
