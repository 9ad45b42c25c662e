"""The venue: takes orders, fills them in pieces or ends them, and says so in reports. What it knows is the truth."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

import pit

from . import settings
from .network import MS
from .orders import NOTHING, rounded

if TYPE_CHECKING:
    from .world import World

FINAL_KINDS = ("cancelled", "expired", "rejected")

NAMESAKES_MOST = 4
"""So many orders of an account have one id here, at the most."""


class Placed:
    """One order at the venue."""

    def __init__(self, order: pit.Order, owner: str, venue_id: str, is_promised: bool, is_rogue: bool) -> None:
        self.order = order
        self.owner = owner
        self.venue_id = venue_id
        self.is_promised = is_promised
        """Whether the gate had said that it counts it as sent: then it must never stop counting it unasked."""
        self.is_rogue = is_rogue
        """Whether nobody had asked the gate for it."""
        self.by_status = False
        """Whether its owner's source knows sums alone."""
        self.is_copied = False
        """Whether the gate is to be told of the order itself, past its stages."""
        self.is_by_volume = order.quantity is None
        self.left = order.quantity if order.quantity is not None else units_of(order)
        self.filled = Decimal(0)
        self.is_over = False
        self.is_named = False
        """Whether the gate has been told this id, as far as its owner knows."""
        self.is_namesake = False
        self.reports: list[pit.ExecutionReport] = []
        self.spent = NOTHING
        """What its fills come to, at their own prices."""
        self.answers: dict[int, bool | None] = {}
        """What became of each modify that has come here, by its reservation; None while that is open."""
        self.asked: dict[int, pit.Order] = {}
        """The terms that each of them wanted."""
        self.is_undoing = False
        """Whether a fill was undone, and not everybody may have heard of it: nothing trades before that."""
        self.first = order
        self.key = (order.account, order.id)
        """The id that it came under; modifies may give it others."""
        self.end_id = ""
        """The report that was the last of its life; a fill may still be undone after it."""
        self.undone: set[str] = set()
        """The fills that were undone, or told anew."""

    @property
    def made(self) -> Decimal:
        """The P&L of all that is true of it by now."""
        amounts: dict[str, tuple[Decimal, Decimal]] = {}
        for told in self.reports:
            pnl, fee = amounts.get(told.fill_id or told.report_id, (NOTHING, NOTHING))
            pnl, fee = pnl if told.pnl is None else told.pnl, fee if told.fee is None else told.fee
            amounts[told.fill_id or told.report_id] = (pnl, fee)
        return sum((pnl - fee for pnl, fee in amounts.values()), NOTHING)

    def status(self) -> pit.OrderStatus:
        """What a source knows that adds up."""
        times = settings.MULTIPLIERS[self.order.instrument]
        last = self.reports[-1].kind
        state = "working" if not self.is_over else "filled" if last == "fill" else last
        return pit.OrderStatus(
            account=self.order.account,
            cum_quantity=self.filled,
            average_price=rounded(Fraction(self.spent) / Fraction(times * self.filled), 9) if self.filled else None,
            status=state if state in ("working", "filled", *FINAL_KINDS) else "working",  # type: ignore[arg-type]
            order_id=self.order.id,
            instrument=self.order.instrument,
        )

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
        """By the id that each came under."""
        self._named: dict[tuple[str, str], Placed] = {}
        self.is_shut = False
        """Whether nothing more happens here."""

    def place(self, order: pit.Order, owner: str, *, is_promised: bool, is_rogue: bool = False) -> Placed | None:
        """Takes an order, or refuses it: then it surely has nothing."""
        if self._random.random() < 0.05 or self.is_shut:
            return None
        key = (order.account, order.id)
        assert key not in self.orders, f"order {key} was sent twice"
        placed = Placed(order, owner, f"v{len(self.orders) + 1}", is_promised, is_rogue)
        self._name_like_another(placed)
        weather, is_plain = self._world.weather, not placed.is_by_volume and order.instrument != "XBT"
        placed.by_status = is_plain and not is_rogue and self._random.random() < weather.status
        placed.is_copied = self._random.random() < (weather.copy if is_rogue else weather.copy / 5)
        self.orders[key] = self._named[key] = placed
        what = f"{order.quantity} @ {order.price}"
        self._world.trace(f"venue: {order.id} of {owner} is here as {placed.venue_id}, {what}")
        if self._random.random() < 0.3:
            self._report(placed, "accepted")
        if order.time_in_force is pit.TimeInForce.DAY:
            self._world.at(settings.day_end_ns(self._world.now_ns + 2) - 1, lambda: self._expire(placed))
        self._later(placed)
        return placed

    def find(self, account: str, order_id: str) -> Placed | None:
        """The order, by any id that it ever was to have."""
        return self._named.get((account, order_id))

    def _name_like_another(self, placed: Placed) -> None:
        if self._random.random() >= self._world.weather.namesakes:
            return
        of = [
            other
            for (account, _), other in self.orders.items()
            if account == placed.order.account and (not other.is_over or self._world.drops.has_told(other))
        ]
        if not of:
            return
        like = self._random.choice(of)
        same = [other for other in of if other.venue_id == like.venue_id]
        if len(same) < NAMESAKES_MOST:
            placed.venue_id = like.venue_id
            for other in (placed, *same):
                other.is_namesake = True

    def undo_some(self) -> None:
        """Fills of orders that are over are undone, too: some time later."""
        told = [each for each in self.orders.values() if each.is_over and self._world.drops.has_told(each)]
        if told and not self.is_shut:
            self.undo(self._random.choice(told))

    def finish(self) -> None:
        """Ends what is still going: the calm has come."""
        for placed in self.orders.values():
            for modify_id, order in list(placed.asked.items()):
                self._replace(placed, modify_id, order)
            if not placed.is_over:
                if placed.left and not placed.is_undoing and self._random.random() < 0.5:
                    self._trade(placed, placed.left)
                if not placed.is_over:
                    self._end(placed)

    # ------------------------------------------------------------------------------------------ what clients send

    def modify(self, placed: Placed, modify_id: int, order: pit.Order, *, is_promised: bool) -> bool:
        """Takes a modify, to be answered a little later; or refuses it: then it surely has nothing."""
        if self.is_shut or self._random.random() < 0.05:
            return False
        placed.answers[modify_id] = None
        placed.asked[modify_id] = order
        self._named[order.account, order.id] = placed
        placed.is_promised = placed.is_promised and is_promised
        self._world.trace(f"venue: modify {modify_id} of {placed.order.id} is here: {order.quantity} @ {order.price}")
        self._soon(lambda: self._replace(placed, modify_id, order))
        return True

    def _replace(self, placed: Placed, modify_id: int, order: pit.Order) -> None:
        if self.is_shut or placed.answers[modify_id] is not None:
            return
        left = units_of(order, placed.spent) if placed.is_by_volume else (order.quantity or NOTHING) - placed.filled
        if placed.is_over or placed.is_undoing or left <= 0 or self._random.random() < 0.2:
            placed.answers[modify_id] = False
            self._report(placed, "replace_rejected")
            return
        placed.answers[modify_id] = True
        placed.order, placed.left = order, left
        if not self._world.weather.namesakes and self._random.random() < 0.3:
            placed.venue_id, placed.is_named = f"{placed.venue_id}'", False
        told: dict[str, object] = {"quantity": order.volume if placed.is_by_volume else order.quantity}
        told["price"] = order.price
        if placed.is_promised and self._random.random() < 0.3:  # then the gate surely knows what was asked for
            del told[self._random.choice(("quantity", "price"))]
        self._report(placed, "replaced", **told)

    def cancel(self, placed: Placed) -> None:
        """Takes a cancel, and acts on it a little later, if it can."""
        self._soon(lambda: self._cancel(placed))

    def _cancel(self, placed: Placed) -> None:
        if self.is_shut:
            return
        if placed.is_over or self._random.random() < 0.3:
            self._report(placed, "cancel_rejected")
            return
        placed.is_over = True
        self._report(placed, "cancelled")

    def undo(self, placed: Placed) -> None:
        """A fill never was, or was another one: told later than everything else that was told of the order."""
        if placed.by_status:
            return
        fills = [told for told in placed.reports if told.kind == "fill" and told.report_id not in placed.undone]
        if not fills:
            return
        fill = self._random.choice(fills)
        assert fill.quantity is not None and fill.price is not None
        placed.undone.add(fill.report_id)
        placed.is_undoing = True
        is_bust = self._random.random() < 0.5
        left_out = (
            () if is_bust else self._random.sample(("quantity", "price", "pnl", "fee"), self._random.choice((0, 1, 3)))
        )
        quantity = NOTHING if is_bust else Decimal(self._random.randint(1, int(fill.quantity)))
        price = fill.price - self._random.choice((0, 1))
        quantity = fill.quantity if "quantity" in left_out else quantity
        price = fill.price if "price" in left_out else price
        less = fill.quantity - quantity
        placed.filled -= less
        placed.spent += (quantity * price - fill.quantity * fill.price) * settings.MULTIPLIERS[placed.order.instrument]
        if not placed.is_over:
            placed.left = units_of(placed.order, placed.spent) if placed.is_by_volume else placed.left + less
        told = {"pnl": self._random.choice((0, 0, "-20", "15.5")), "fee": self._random.choice((0, "0.5"))}
        if not is_bust:
            told |= {"quantity": quantity, "price": price}
        told = {name: value for name, value in told.items() if name not in left_out}
        if left_out:
            self._world.trace(f"venue: fill {fill.report_id} is told in part, without {', '.join(left_out)}")
        self._report(placed, "bust" if is_bust else "correct", fill_id=fill.report_id, **told)

    def _soon(self, act: Callable[[], None]) -> None:
        self._world.after(int(self._random.expovariate(1 / 60) * MS), act)

    # ------------------------------------------------------------------------------------------ what it does itself

    def _later(self, placed: Placed) -> None:
        self._world.after(
            int(self._random.expovariate(1 / self._world.weather.venue_ms) * MS), lambda: self._act(placed)
        )

    def _expire(self, placed: Placed) -> None:
        """The day is over that it was good for."""
        if not placed.is_over and not self.is_shut:
            self._world.trace(f"venue: the day is over that {placed.order.id} was good for")
            placed.is_over = True
            self._report(placed, "expired")

    def _act(self, placed: Placed) -> None:
        if self.is_shut:
            return
        draw = self._random
        is_told = self._world.drops.has_told(placed)
        placed.is_undoing = placed.is_undoing and not is_told
        if is_told and placed.filled and draw.random() < self._world.weather.undo:
            self.undo(placed)
        if placed.is_over:
            return
        if placed.is_undoing:
            self._later(placed)
            return
        if draw.random() < 0.15 or not placed.left:
            self._end(placed)
            return
        piece = placed.left if draw.random() < 0.4 else Decimal(draw.randint(1, int(placed.left)))
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
        assert price is not None
        placed.spent += quantity * price * settings.MULTIPLIERS[placed.order.instrument]
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
            side=order.side if placed.is_rogue else None,
            **numbers,  # type: ignore[arg-type]
        )
        placed.reports.append(report)
        if placed.is_over and not placed.end_id:
            placed.end_id = report.report_id
        self._world.trace(f"venue: {kind} {report.report_id} of {order.id} {numbers.get('quantity', '')}")
        self._world.reported(placed, report)


def units_of(order: pit.Order, spent: Decimal = NOTHING) -> Decimal:
    """How many units an order for an amount of money, of which so much is spent, still buys at its own price."""
    assert order.volume is not None and order.price is not None
    return max(order.volume - spent, NOTHING) // (order.price * settings.MULTIPLIERS[order.instrument])
