"""A small simulated venue: a process of its own that takes orders, fills them in pieces, and is sometimes rude."""

from __future__ import annotations

import heapq
import itertools
import random
import time
from collections import deque

import zmq

import pit

from . import words
from .processes import Part

FAR = 0.015
"""An order this far from the middle of the market: behind it, it rests; through it, it fills at once and in full."""

SLICE_S = 0.05


class Venue:
    """Its rudeness goes by the number of the order, so that every run has its share: one order in 23 is refused, and
    of 40 one is taken and one is lost without an answer."""

    def __init__(self, part: Part) -> None:
        self._part = part
        self._random = random.Random(part.spec["seed"])
        self._socket: zmq.Socket[bytes] = part.context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.bind(part.spec["venue_at"])
        self._orders: dict[str, words.VenueOrder] = {}
        self._who: dict[bytes, str] = {}
        self._where: dict[str, bytes] = {}
        self._due: list[tuple[float, int, str, int]] = []
        """When, a number that breaks ties, which order, how many pieces are still to come."""
        self._ties = itertools.count()
        self._cents = 10_000
        self._numbered = 0
        self._taken = 0
        self._reports = 0
        self._refused = 0
        self._silent = 0
        self._clearing: dict[str, Clearing] = {}

    def run(self) -> None:
        self._part.tell(words.Ready(self._part.name))
        quoted_s = 0.0
        while not self._part.hears("finish"):
            if self._socket.poll(max(1, int(self._next_s() * 1e3))):
                self._read_some()
            now_s = time.monotonic()
            while self._due and self._due[0][0] <= now_s:
                _, _, order_id, pieces = heapq.heappop(self._due)
                self._fill(order_id, pieces)
            if now_s - quoted_s >= 0.1:
                quoted_s = now_s
                self._cents += self._random.randint(-5, 5)
                for client in self._where:
                    self._send(client, words.Quote(self._cents))
        self._part.tell(self.ledger())

    def ledger(self) -> words.Ledger:
        """Its own books, at the end."""
        return words.Ledger(self._orders, self._reports, self._refused, self._silent)

    def _next_s(self) -> float:
        return min(SLICE_S, max(0.0, self._due[0][0] - time.monotonic())) if self._due else SLICE_S

    def _read_some(self) -> None:
        for _ in range(100):
            try:
                identity, body = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            word = words.decode_to_venue(body)
            match word:
                case words.Logon():
                    self._who[identity] = word.client
                    self._where[word.client] = identity
                    self._send(word.client, words.LoggedOn(self._cents, tuple(map(self._status, word.order_ids))))
                case words.NewOrder():
                    self._new(self._who[identity], word)
                case words.CancelOrder():
                    self._cancel(word.order_id)
                case words.AskStatus():
                    self._send(self._who[identity], self._status(word.order_id))

    def _new(self, client: str, new: words.NewOrder) -> None:
        through = (new.cents - self._cents) / self._cents * (1 if new.side is pit.Side.BUY else -1)
        is_near = through > -FAR
        if is_near:
            self._taken += 1
            if self._taken % 23 == 9:
                self._refused += 1
                self._send(client, words.Refusal(new.order_id, "the venue: no such trader at this hour"))
                return
            if self._taken % 40 == 30:
                self._silent += 1  # lost on its way: the venue never knows of it
                return
        self._numbered += 1
        order = words.VenueOrder(new.account, client, new.side, new.quantity, new.cents, f"V{self._numbered:06}")
        self._orders[new.order_id] = order
        is_silent = is_near and self._taken % 40 == 15
        if is_silent:
            self._silent += 1
        else:
            self._send(client, words.Ack(new.order_id, order.venue_order_id))
        if through > FAR:
            self._plan(new.order_id, pieces=2, within_s=(0.01, 0.08))
        elif is_silent:
            self._plan(new.order_id, pieces=2, within_s=(0.6, 1.0))
        elif is_near and self._random.random() < 0.75:
            self._plan(new.order_id, pieces=self._random.randint(1, 4), within_s=(0.03, 0.3))

    def _plan(self, order_id: str, *, pieces: int, within_s: tuple[float, float]) -> None:
        when_s = time.monotonic() + self._random.uniform(*within_s)
        heapq.heappush(self._due, (when_s, next(self._ties), order_id, pieces))

    def _fill(self, order_id: str, pieces: int) -> None:
        order = self._orders[order_id]
        if not order.is_open:
            return
        left = order.quantity - order.filled
        quantity = left if pieces <= 1 else max(1, left // pieces)
        better = self._random.randint(0, 2) * (-1 if order.side is pit.Side.BUY else 1)
        cents = order.cents + better
        order.filled += quantity
        order.is_open = order.filled < order.quantity
        book = self._clearing.setdefault(order.account, Clearing())
        pnl_cents = book.trade(quantity if order.side is pit.Side.BUY else -quantity, cents)
        self._report(order_id, pit.ReportKind.FILL, quantity, cents, pnl_cents, fee_cents=quantity)
        if order.is_open and not (pieces == 2 and self._random.random() < 0.15):  # some stay partly filled
            self._plan(order_id, pieces=max(1, pieces - 1), within_s=(0.02, 0.15))

    def _cancel(self, order_id: str) -> None:
        order = self._orders.get(order_id)
        if order is not None and order.is_open:  # else its fill or cancel is on its way
            order.is_open = False
            self._report(order_id, pit.ReportKind.CANCELLED)

    def _report(
        self,
        order_id: str,
        kind: pit.ReportKind,
        quantity: int = 0,
        cents: int = 0,
        pnl_cents: int = 0,
        fee_cents: int = 0,
    ) -> None:
        order = self._orders[order_id]
        self._reports += 1
        execution = words.Execution(
            order.account, order_id, order.venue_order_id, f"E{self._reports:06}", kind,
            quantity, cents, pnl_cents, fee_cents,
        )  # fmt: skip
        self._send(order.client, execution)
        self._part.tell(execution)  # a second time, on the drop copy, which outlives the strategy

    def _status(self, order_id: str) -> words.Status:
        order = self._orders.get(order_id)
        if order is None:
            return words.Status(order_id, None, 0, False)
        return words.Status(order_id, order.venue_order_id, order.filled, order.is_open)

    def _send(self, client: str, word: words.FromVenue) -> None:
        """To who is logged on as that client. A router drops what is for nobody."""
        self._socket.send_multipart([self._where[client], words.encode(word)])

    def close(self) -> None:
        self._socket.close()


class Clearing:
    """Realised profit of one account, first in, first out; exact, in cents."""

    def __init__(self) -> None:
        self._lots: deque[tuple[int, int]] = deque()

    def trade(self, quantity: int, cents: int) -> int:
        """What this trade realises. `quantity` is negative for a sale."""
        pnl_cents = 0
        while quantity and self._lots and self._lots[0][0] * quantity < 0:
            held, paid = self._lots[0]
            closed = min(abs(held), abs(quantity))
            sign = 1 if held > 0 else -1
            pnl_cents += closed * (cents - paid) * sign
            quantity += closed * sign
            if closed == abs(held):
                self._lots.popleft()
            else:
                self._lots[0] = (held - closed * sign, paid)
        if quantity:
            self._lots.append((quantity, cents))
        return pnl_cents


def main(kind: type[Venue] = Venue) -> None:
    part = Part()
    venue = kind(part)
    venue.run()
    venue.close()
    part.close()


if __name__ == "__main__":
    main()
