"""The venue: takes orders, fills them in pieces or ends them, and says so in reports. What it knows is the truth."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pit

from . import settings
from .network import MS

if TYPE_CHECKING:
    from .world import World

FINAL_KINDS = ("cancelled", "expired", "rejected")

NAMESAKES_MOST = 4
"""So many orders of an account have one id here, at the most."""


class Placed:
    """One order at the venue."""

    def __init__(self, order: pit.Order, owner: str, venue_id: str, is_promised: bool) -> None:
        self.order = order
        self.owner = owner
        self.venue_id = venue_id
        self.is_promised = is_promised
        """Whether the gate had said that it counts it as sent: then it must never stop counting it unasked."""
        self.is_by_volume = order.quantity is None
        self.left = order.quantity if order.quantity is not None else units_of(order)
        self.filled = Decimal(0)
        self.is_over = False
        self.is_named = False
        """Whether the gate has been told this id, as far as its owner knows."""
        self.is_namesake = False
        self.reports: list[pit.ExecutionReport] = []

    @property
    def may_go_by_venue_id(self) -> bool:
        """Whether a report can do without the order's own id. Once the last one has been said, it may come first: then
        the id here would be another's.
        """
        return self.is_named and not self.is_over


class Venue:
    def __init__(self, world: World) -> None:
        self._world = world
        self._random = world.random("venue")
        self.orders: dict[tuple[str, str], Placed] = {}
        self.is_shut = False
        """Whether nothing more happens here."""

    def place(self, order: pit.Order, owner: str, *, is_promised: bool) -> Placed | None:
        """Takes an order, or refuses it: then it surely has nothing."""
        if self._random.random() < 0.05 or self.is_shut:
            return None
        key = (order.account, order.id)
        assert key not in self.orders, f"order {key} was sent twice"
        placed = Placed(order, owner, f"v{len(self.orders) + 1}", is_promised)
        self._name_like_another(placed)
        self.orders[key] = placed
        what = f"{order.quantity} @ {order.price}"
        self._world.trace(f"venue: {order.id} of {owner} is here as {placed.venue_id}, {what}")
        if self._random.random() < 0.3:
            self._report(placed, "accepted")
        if order.time_in_force is pit.TimeInForce.DAY:
            self._world.at(settings.day_end_ns(self._world.now_ns + 2) - 1, lambda: self._expire(placed))
        self._later(placed)
        return placed

    def _name_like_another(self, placed: Placed) -> None:
        if self._random.random() >= self._world.weather.namesakes:
            return
        of = [
            other
            for (account, _), other in self.orders.items()
            if account == placed.order.account and (not other.is_over or self._world.drops.has_told(other.order))
        ]
        if not of:
            return
        like = self._random.choice(of)
        same = [other for other in of if other.venue_id == like.venue_id]
        if len(same) < NAMESAKES_MOST:
            placed.venue_id = like.venue_id
            for other in (placed, *same):
                other.is_namesake = True

    def finish(self) -> None:
        """Ends what is still going: the calm has come."""
        for placed in self.orders.values():
            if not placed.is_over:
                if placed.left and self._random.random() < 0.5:
                    self._trade(placed, placed.left)
                if not placed.is_over:
                    self._end(placed)

    def _later(self, placed: Placed) -> None:
        self._world.after(int(self._random.expovariate(1 / 400) * MS), lambda: self._act(placed))

    def _expire(self, placed: Placed) -> None:
        """The day is over that it was good for."""
        if not placed.is_over and not self.is_shut:
            self._world.trace(f"venue: the day is over that {placed.order.id} was good for")
            placed.is_over = True
            self._report(placed, "expired")

    def _act(self, placed: Placed) -> None:
        if placed.is_over or self.is_shut:
            return
        draw = self._random
        if draw.random() < 0.25 or not placed.left:
            self._end(placed)
            return
        piece = placed.left if draw.random() < 0.5 else Decimal(draw.randint(1, int(placed.left)))
        self._trade(placed, piece)
        self._later(placed)

    def _trade(self, placed: Placed, quantity: Decimal) -> None:
        placed.left -= quantity
        placed.filled += quantity
        placed.is_over = not placed.left and not placed.is_by_volume
        pnl, fee = self._random.choice((0, 0, "-35.5", "-60", "22.25", "90")), self._random.choice((0, "0.25"))
        price = placed.order.price
        if placed.is_by_volume:  # a better price than its own: what is left of the amount is given back at the end
            assert price is not None
            price -= self._random.choice((0, 0, 1))
        self._report(placed, "fill", quantity=quantity, price=price, pnl=pnl, fee=fee)

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


def units_of(order: pit.Order) -> Decimal:
    """How many units an order for an amount of money buys at its own price."""
    assert order.volume is not None and order.price is not None
    return order.volume // (order.price * settings.MULTIPLIERS[order.instrument])
