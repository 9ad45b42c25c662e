"""The demo's strategies: processes that know `pit.connect` and the venue, and nothing else of the daemon."""

from __future__ import annotations

import contextlib
import random
import time
from decimal import Decimal

import pit

from . import words
from .processes import Part
from .venue_client import NoAnswer, Refused, VenueClient

ACME = pit.Instrument("ACME", "USD")
NOBODYS = pit.Instrument("NOBODYS", "USD")
"""Nobody holds any of it: an order in it reduces no position, and so it meets every limit."""

OVER = frozenset({"filled", "cancelled", "rolled back"})

WIND_DOWN_S = 15


class Steady:
    """Bids and offers around the market at an even pace, and takes back what rests too long."""

    pace_s = 0.08

    def __init__(self, part: Part, engine: pit.Engine, venue: VenueClient) -> None:
        self.part = part
        self.engine = engine
        self.venue = venue
        self.account: str = part.spec["account"]
        self.tally = words.Tally()
        self.orders: dict[str, words.Mine] = {}
        self.open: dict[str, pit.Reservation] = {}
        self.unsure: dict[str, float] = {}
        """Orders whose fate at the venue is not known, and when to ask it."""
        self.state = "trading"
        self.random = random.Random(f"{part.spec['seed']} {part.name}")
        self._next_s = 0.0
        self._told_s = 0.0

    def run(self) -> None:
        self.venue.log_on()
        self.part.tell(words.Ready(self.part.name))
        self.part.wait_for("go")
        self.began_s = time.monotonic()
        self.trade_until_told()
        self.wind_down()

    def trade_until_told(self) -> None:
        while not self.part.hears("finish"):
            if time.monotonic() >= self._next_s:
                self._next_s = time.monotonic() + self.pace_s
                self.act()
            self.look(min(0.02, self.pace_s))
            self.ask_about_unsure()
            self.cancel_older_than(0.8)

    def act(self) -> None:
        side = self.random.choice((pit.Side.BUY, pit.Side.SELL))
        behind = self.random.randint(0, 8) * (-1 if side is pit.Side.BUY else 1)
        self.send(side, self.random.randint(5, 25), self.venue.cents + behind)

    # ------------------------------------------------------------------------------------------ an order's way

    def send(self, side: pit.Side, quantity: int, cents: int) -> pit.Rejected | None:
        """Past the gate, to the venue, and settled by what the venue says: the four endings of a send."""
        held = self.check(side, quantity, cents, sent=True)
        if not held:
            return held
        order_id = held.order.id
        new = words.NewOrder(self.account, order_id, side, quantity, cents)
        try:
            ack = self.venue.send(new)
        except Refused as no:
            self.tally.refused_by_venue += 1
            self.roll_back(order_id, str(no))
        except NoAnswer as silence:
            self.tally.unanswered += 1
            self.quarantine(order_id, str(silence))
        else:
            self.commit(order_id, ack.venue_order_id)
        return None

    def check(
        self, side: pit.Side, quantity: int, cents: int, *, sent: bool, lease_s: float | None = None
    ) -> pit.Reservation | pit.Rejected:
        order = pit.Order(
            account=self.account, instrument=ACME, side=side, quantity=quantity, price=words.dollars(cents)
        )
        held = self.engine.execute_pre_trade(order, sent=sent, lease_s=lease_s)
        self.tally.checks += 1
        if not held:
            self.tally.refused(held.code)
            return held
        self.tally.accepted += 1
        state = "sent" if sent else "held"
        self.orders[order.id] = words.Mine(quantity, cents, side, state, born_s=time.monotonic())
        self.open[order.id] = held
        return held

    def commit(self, order_id: str, venue_order_id: str) -> None:
        with contextlib.suppress(pit.AlreadyFinalized):  # its last fill, on the drop copy, was faster
            self.open[order_id].commit(venue_order_id=venue_order_id)
        self.unsure.pop(order_id, None)
        if self.orders[order_id].state not in OVER:
            self.orders[order_id].state = "working"

    def roll_back(self, order_id: str, reason: str) -> None:
        self.open[order_id].rollback(reason=reason)
        self.unsure.pop(order_id, None)
        self._end(order_id, "rolled back")

    def quarantine(self, order_id: str, reason: str) -> None:
        try:
            self.open[order_id].quarantine(reason=reason)
            self.tally.quarantined += 1
        except (pit.AlreadyFinalized, pit.LeaseExpired):
            pass  # a report has settled it meanwhile, or its lease quarantined it
        self.orders[order_id].state = "unsure"
        self.unsure[order_id] = time.monotonic() + 0.4

    def ask_about_unsure(self) -> None:
        for order_id, ask_s in list(self.unsure.items()):
            if time.monotonic() < ask_s:
                continue
            self.unsure[order_id] = time.monotonic() + 0.4
            with contextlib.suppress(NoAnswer):
                self.settle_by(self.venue.ask_status(order_id))

    def settle_by(self, status: words.Status) -> str:
        """Settles an order by the venue's own word."""
        if status.venue_order_id is None:
            self.roll_back(status.order_id, "the venue has never seen it")
            return "rolled back: the venue has never seen it"
        self.commit(status.order_id, status.venue_order_id)
        return f"committed: it works as {status.venue_order_id}"

    def look(self, timeout_s: float) -> None:
        """Takes in what the venue has sent."""
        self.venue.look(timeout_s)
        while self.venue.inbox:
            word = self.venue.inbox.popleft()
            match word:
                case words.Execution():
                    self.take(word)
                case words.Ack() if word.order_id in self.unsure:
                    self.commit(word.order_id, word.venue_order_id)
                case words.Refusal() if word.order_id in self.unsure:
                    self.roll_back(word.order_id, word.reason)
        if time.monotonic() - self._told_s > 0.2:
            self._told_s = time.monotonic()
            self.part.tell(words.Progress(self.part.name, self.state, self.tally))

    def take(self, execution: words.Execution) -> None:
        result = self.engine.apply_execution_report(words.report_of(execution))
        if result.already_applied:
            self.tally.reports_again += 1
        else:
            self.tally.reports_first += 1
        self.unsure.pop(execution.order_id, None)
        mine = self.orders[execution.order_id]
        if execution.kind is pit.ReportKind.CANCELLED:
            self._end(execution.order_id, "cancelled")
            return
        mine.filled += execution.quantity
        mine.state = "working"
        self.tally.filled += execution.quantity
        self.tally.pnl_cents += execution.pnl_cents - execution.fee_cents
        if mine.filled >= mine.quantity:
            self._end(execution.order_id, "filled")

    def cancel_older_than(self, age_s: float, *, again_s: float = 5) -> None:
        now_s = time.monotonic()
        for order_id in self.open:
            mine = self.orders[order_id]
            is_old = mine.state == "working" and now_s - mine.born_s > age_s
            if is_old and (mine.cancel_sent_s is None or now_s - mine.cancel_sent_s > again_s):
                mine.cancel_sent_s = now_s
                self.venue.cancel(order_id)

    def _end(self, order_id: str, state: str) -> None:
        self.orders[order_id].state = state
        self.open.pop(order_id, None)

    # ------------------------------------------------------------------------------------------ the end of the day

    def wind_down(self) -> None:
        """Sends nothing new, takes everything back, and says what it is left with: nothing."""
        self.state = "closing"
        deadline = time.monotonic() + WIND_DOWN_S
        while self.open and time.monotonic() < deadline:
            self.cancel_older_than(0, again_s=1)
            self.look(0.05)
            self.ask_about_unsure()
        self.state = "done"
        self.part.tell(
            words.Done(self.part.name, self.tally, self.orders, len(self.engine.open_orders()), self.counted())
        )

    def counted(self) -> Decimal | None:
        """What the open-notional limit counts for this account: an order far above it is refused, with the numbers."""
        if not self.part.spec["probe"]:
            return None
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            probe = pit.Order(
                account=self.account, instrument=NOBODYS, side=pit.Side.BUY, quantity=100, price=1_000_000
            )
            answer = self.engine.execute_pre_trade(probe)
            if answer or answer.code is not pit.RejectCode.RATE_LIMIT_EXCEEDED:
                return None if answer else answer.used
            time.sleep(min(1.0, answer.retry_after_s or 0.2))
        return None


class Hasty(Steady):
    """Now and then sends far too many, or one far too large."""

    pace_s = 0.12
    _burst_s = 0.6

    def act(self) -> None:
        super().act()
        if time.monotonic() - self.began_s < self._burst_s:
            return
        self._burst_s = time.monotonic() - self.began_s + 1.6
        self.send(pit.Side.BUY, 5_000, self.venue.cents)
        refused = [no for no in (self._send_small() for _ in range(40)) if no is not None]
        limited = [no for no in refused if no.code is pit.RejectCode.RATE_LIMIT_EXCEEDED]
        if limited:
            self.part.say(f"a burst of 40: {len(limited)} refused; the first: {limited[0].reason}")

    def _send_small(self) -> pit.Rejected | None:
        return self.send(pit.Side.BUY if self.random.random() < 0.5 else pit.Side.SELL, 1, self.venue.cents)


class Lost(Steady):
    """Trades well for a while; then buys high and sells low, and does not notice."""

    _is_wrong = False
    _refused = 0

    def act(self) -> None:
        if self._refused >= 5:
            self.state = "stopped"
            return
        if not self._is_wrong and time.monotonic() - self.began_s > 0.25 * self.part.spec["seconds"]:
            self._is_wrong = True
            self.state = "losing"
            self.part.say("loses its way: it buys high and sells low from here on")
        if not self._is_wrong:
            super().act()
            return
        side = pit.Side.BUY if self.tally.checks % 2 else pit.Side.SELL
        wrong = 3 if side is pit.Side.BUY else -3
        no = self.send(side, 30, self.venue.cents * (100 + wrong) // 100)
        if no is not None and no.code is pit.RejectCode.PNL_KILL_SWITCH_TRIGGERED:
            self._refused += 1
            if self._refused == 1:
                self.part.say(f"is stopped: {no.reason}")


class Doomed(Steady):
    """Trades until it holds reservations of both kinds, says so, and waits for what it does not know is coming."""

    def act(self) -> None:
        if time.monotonic() - self.began_s < 0.35 * self.part.spec["seconds"]:
            super().act()
            return
        self.pace_s = 0.5  # until there is room for all four
        price = self.venue.cents * 95 // 100  # far from the market: what the venue gets of this will rest
        # The one at the venue comes first: it is acknowledged, and the end comes before the commit.
        at_venue = self.check(pit.Side.BUY, 10, price, sent=True, lease_s=1)
        if not at_venue:
            return
        with contextlib.suppress(NoAnswer):
            self.venue.send(words.NewOrder(self.account, at_venue.order.id, pit.Side.BUY, 10, price))
        on_its_way = self.check(pit.Side.BUY, 10, price, sent=True, lease_s=1)
        held = [self.check(pit.Side.BUY, 10, price, sent=False, lease_s=1) for _ in range(2)]
        if not (on_its_way and all(held)):
            return
        self.look(0)
        self.part.tell(
            words.Holding(
                self.part.name,
                self.tally,
                self.orders,
                held=tuple(one.order.id for one in held if one),
                sent=(at_venue.order.id, on_its_way.order.id),
            )
        )
        time.sleep(30)
        raise SystemExit("nobody came")


class Successor(Steady):
    """A new process under a killed one's name: finds what that one left, asks the venue, settles it, and goes on."""

    def run(self) -> None:
        found, counted = self._look_around()
        open_cents = sum(int(one.open_quantity * (one.order.price or 0) * 100) for one in found)
        statuses = self.venue.log_on(tuple(one.order.id for one in found))
        settled = {one.order.id: self._adopt(one, statuses[one.order.id]) for one in found}
        states = {one.order.id: str(one.state) for one in found}
        self.part.tell(words.TookOver(self.part.name, states, settled, open_cents, counted))
        self.part.tell(words.Ready(self.part.name))
        self.began_s = time.monotonic()
        self.trade_until_told()
        self.wind_down()

    def _look_around(self) -> tuple[list[pit.OpenOrder], Decimal | None]:
        """What is open, and what is counted for it at the same moment: reports go on coming in by the drop copy."""
        while True:
            before = self.engine.open_orders()
            counted = self.counted()
            if self.engine.open_orders() == before:
                return before, counted

    def _adopt(self, one: pit.OpenOrder, status: words.Status) -> str:
        order = one.order
        assert order.quantity is not None and order.price is not None
        self.orders[order.id] = words.Mine(
            int(order.quantity), int(order.price * 100), order.side, "working", status.filled, time.monotonic()
        )
        self.open[order.id] = self.engine.reservation(one)
        if status.venue_order_id is not None and not status.is_open:
            self._end(order.id, "filled" if status.filled == order.quantity else "cancelled")
            return "over at the venue; the drop copy says so"
        if one.state is pit.OrderState.WORKING:
            return "working: taken over"
        return self.settle_by(status)


KINDS: dict[str, type[Steady]] = {
    "steady": Steady,
    "hasty": Hasty,
    "lost": Lost,
    "doomed": Doomed,
    "successor": Successor,
}


def main() -> None:
    part = Part()
    venue = VenueClient(part.context, part.spec["venue_at"], part.name)
    try:
        with pit.connect(part.name, part.spec["endpoint"], timeout_s=10) as engine:
            KINDS[part.spec["kind"]](part, engine, venue).run()
    finally:
        venue.close()
        part.close()


if __name__ == "__main__":
    main()
