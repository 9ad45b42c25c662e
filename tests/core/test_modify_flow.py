"""Random order flow with modifies, fills that are undone and sums alone, against an account of it that is slow and
obvious: what is counted is the sum over open orders of the worse of old and new, whatever has happened.
"""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import pytest
from builders import AAPL, Core, fill, order, report

import pit
from pitd.core import entry as e

SETTINGS = """
[limits]
open_usd = { control = "open_order_notional", each = "account", settlement = "USD", max_notional = "60000" }
few = { control = "open_order_limit", each = "account", max_orders = 12 }
net = { control = "position_limit", each = "account+instrument", max_quantity = "900" }
calls = { control = "message_rate", each = "account", max_messages = 40, window = "1s" }
"""

OPEN = ("held", "sent", "quarantined", "working")


class Told:
    """One order, as the obvious account keeps it."""

    def __init__(self, id: int, wanted: pit.Order) -> None:
        self.id = id
        self.side = wanted.side
        self.quantity, self.price = wanted.quantity, wanted.price
        self.names = [wanted.id]
        self.fills: dict[str, tuple[Decimal, Decimal]] = {}
        self.is_over = False
        self.change: tuple[int, Decimal, Decimal, str] | None = None
        """Reservation, quantity, price and id of the modify that is under way."""

    @property
    def filled(self) -> Decimal:
        return sum((quantity for quantity, _ in self.fills.values()), Decimal(0))

    def left(self, quantity: Decimal | None) -> Decimal:
        assert quantity is not None
        return max(quantity - self.filled, Decimal(0))

    def counted(self) -> Decimal:
        assert self.price is not None
        old = self.left(self.quantity) * self.price
        return old if self.change is None else max(old, self.left(self.change[1]) * self.change[2])

    def units(self) -> Decimal:
        old = self.left(self.quantity)
        return old if self.change is None else max(old, self.left(self.change[1]))


class Flow:
    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.core = Core(SETTINGS)
        self.orders: list[Told] = []
        self.traded = Decimal(0)
        """Units held: long less short."""
        self.number = 0
        self.seen: dict[str, int] = {}

    def step(self) -> None:
        draw, core = self.draw, self.core
        core.advance(draw.choice((0, 0.01, 0.1)))
        self.number += 1
        open = [each for each in self.orders if not each.is_over]
        if not open or draw.random() < 0.25:
            self.ask()
            return
        told = draw.choice(open)
        name = draw.choice(told.names)
        what = draw.choice(("modify", "modify", "answer", "answer", "answer", "fill", "fill", "bust", "correct", "end"))
        getattr(self, what)(told, name)

    def ask(self) -> None:
        wanted = order(
            id=f"o{self.number}",
            side=self.draw.choice(("buy", "sell")),
            quantity=self.draw.choice(("3", "10", "40")),
            price=self.draw.choice(("99.5", "100", "120.25")),
        )
        reply = self.core.check(wanted)
        if isinstance(reply, e.Accepted):
            self.core.commit(reply.reservation_id)
            self.orders.append(Told(reply.reservation_id, wanted))
            self.note("accepted")
        else:
            self.note("refused")

    def modify(self, told: Told, name: str) -> None:
        draw = self.draw
        quantity, price = Decimal(draw.choice((2, 8, 30, 90))), Decimal(draw.choice(("98", "100", "130.5")))
        new = draw.choice((None, f"m{self.number}"))
        assert told.quantity is not None
        reply = self.core.modify(name, quantity=quantity, price=price, new_id=new, sent=True)
        if isinstance(reply, e.Modified) and not reply.replayed:
            assert told.change is None
            assert quantity > told.filled
            told.change = (reply.modify_id, quantity, price, reply.order.id)
            if reply.order.id not in told.names:
                told.names.append(reply.order.id)
            self.note("modified")
        else:
            self.note("not modified")

    def answer(self, told: Told, name: str) -> None:
        if told.change is None:
            return
        id, quantity, price, _ = told.change
        what = self.draw.choice(("replaced", "replaced", "replace_rejected", "rollback", "quarantine", "commit"))
        if what == "rollback":
            if isinstance(self.core.rollback(id), e.Failed):
                return
            told.change = None
        elif what == "quarantine":
            self.core.quarantine(id)
            return
        elif what == "commit":
            self.core.commit(id)
            return
        else:
            self.core.report(report(what, order_id=name, report_id=f"a{self.number}"))
            if what == "replaced":
                told.quantity, told.price = quantity, price
            told.change = None
        self.note(what)
        self.may_be_over(told)

    def fill(self, told: Told, name: str) -> None:
        most = told.units()
        quantity = min(Decimal(self.draw.choice(("0.5", "2", "25"))), most)
        price = Decimal(self.draw.choice((99, 101)))
        if self.draw.random() < 0.3:  # by its sum alone, and the report of the same fill after it
            value = sum((units * at for units, at in told.fills.values()), quantity * price)
            average = value / (told.filled + quantity)
            if average == average.quantize(Decimal("1e-9")):
                self.core.status(name, told.filled + quantity, average)
                self.note("status")
        self.core.report(fill(name, quantity, price, report_id=f"f{self.number}"))
        told.fills[f"f{self.number}"] = (quantity, price)
        self.moved(told, quantity)

    def bust(self, told: Told, name: str) -> None:
        if told.fills:
            fill_id = self.draw.choice(list(told.fills))
            self.core.report(report("bust", order_id=name, fill_id=fill_id, report_id=f"b{self.number}"))
            quantity, _ = told.fills.pop(fill_id)
            self.moved(told, -quantity)
            self.note("bust")

    def correct(self, told: Told, name: str) -> None:
        if told.fills:
            fill_id = self.draw.choice(list(told.fills))
            quantity, price = told.fills[fill_id]
            now = min(Decimal(self.draw.choice((1, 3))), told.units() + quantity)
            self.core.report(
                report("correct", order_id=name, fill_id=fill_id, quantity=now, report_id=f"c{self.number}")
            )
            told.fills[fill_id] = (now, price)
            self.moved(told, now - quantity)
            self.note("correct")

    def end(self, told: Told, name: str) -> None:
        if self.draw.random() < 0.3:
            self.core.report(report("cancelled", order_id=name, report_id=f"e{self.number}"))
            told.is_over, told.change = True, None

    def moved(self, told: Told, quantity: Decimal) -> None:
        self.traded += quantity if told.side is pit.Side.BUY else -quantity
        self.may_be_over(told)

    def may_be_over(self, told: Told) -> None:
        if not told.left(told.quantity) and (told.change is None or not told.left(told.change[1])):
            told.is_over, told.change = True, None

    def note(self, what: str) -> None:
        self.seen[what] = self.seen.get(what, 0) + 1

    def compare(self) -> None:
        core, open = self.core, [each for each in self.orders if not each.is_over]
        assert core.held() == sum((each.counted() for each in open), Decimal(0))
        for side in pit.Side:
            waiting = sum((each.units() for each in open if each.side is side), Decimal(0))
            assert core.engine.positions.on_the_way("alpha", str(AAPL), side) == waiting
        assert core.engine.positions.of("alpha", str(AAPL)).quantity == self.traded
        assert {record.reservation_id for record in core.engine.orders.open.values()} == {each.id for each in open}
        for each in self.orders[-40:]:
            record: Any = core.engine.orders.find(each.id)
            assert record.filled_quantity == each.filled
            assert (record.state in OPEN) is not each.is_over


def follow(seed: int, steps: int) -> Flow:
    flow = Flow(seed)
    for number in range(steps):
        flow.step()
        flow.compare()
        if number % 500 == 499:
            flow.core = flow.core.again("snapshot")
    flow.core.again("rows")
    return flow


@pytest.mark.parametrize("seed", [1, 2])
def test_what_is_counted_is_the_worse_of_both_whatever_has_happened(seed: int) -> None:
    seen = follow(seed, 700).seen
    assert {"modified", "not modified", "refused", "replaced", "replace_rejected", "status", "bust", "correct"} <= set(
        seen
    )


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3, 6))
def test_it_holds_for_ten_thousand_steps(seed: int) -> None:
    follow(seed, 10_000)
