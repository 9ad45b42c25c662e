"""One of many strategy processes that want the same limit. Run by test_shared_limit.py; says how it went as JSON.

It keeps an audit of what it surely held: from when it was told so until just before it begins to give it back. Both
ends lie inside the time for which the daemon counts it, so the audits of all takers must fit under the limit together.
"""

from __future__ import annotations

import json
import random
import sys
import time
from array import array
from decimal import Decimal

import pit

INSTRUMENT = pit.Instrument("AAPL", "USD")


class Taker:
    def __init__(self, endpoint: str, name: str, seed: int) -> None:
        self._engine = pit.connect(name, endpoint, timeout_s=30)
        self._dice = random.Random(seed)
        self._name = name
        self._held: list[tuple[int, int, pit.Reservation]] = []
        self.audit = array("q")
        self.accepted = self.rejected = 0
        self.problems: list[str] = []

    def attempt(self, units: int) -> bool:
        order = pit.Order(account=self._name, instrument=INSTRUMENT, side=pit.Side.BUY, quantity=units, price=100)
        answer = self._engine.execute_pre_trade(order, sent=self._dice.random() < 0.5)
        if isinstance(answer, pit.Rejected):
            self.rejected += 1
            self._check(answer)
            return False
        self.accepted += 1
        self._held.append((time.monotonic_ns(), units, answer))
        return True

    def give_back(self) -> None:
        """One of what is held, in one of the ways in which that happens."""
        since_ns, units, held = self._held.pop(self._dice.randrange(len(self._held)))
        self.audit.extend((since_ns, time.monotonic_ns(), units))
        way = self._dice.random()
        if way < 0.4:
            held.rollback()
        elif way < 0.7:
            held.commit()
            fill = {"kind": "fill", "report_id": "f", "quantity": units, "price": 100}
            self._engine.apply_execution_report(
                pit.ExecutionReport(account=self._name, order_id=held.order.id, **fill)  # type: ignore[arg-type]
            )
        elif held.state is pit.OrderState.HELD:
            del held  # let go: dropped with the next call
        else:
            held.quarantine()
            held.rollback()

    def trade(self, attempts: int) -> None:
        for _ in range(attempts):
            if self.attempt(self._dice.choice((1, 1, 2, 3))):
                continue
            if self._held and self._dice.random() < 0.4:
                self.give_back()

    def fill_up(self) -> None:
        """Takes one unit at a time until there is no more."""
        while self.attempt(1):
            pass

    def close(self) -> None:
        now_ns = time.monotonic_ns()
        for since_ns, units, _ in self._held:
            self.audit.extend((since_ns, now_ns, units))
        self._held.clear()
        self._engine.close()

    def open_units(self) -> int:
        return int(sum((each.open_quantity for each in self._engine.open_orders()), Decimal(0)))

    def _check(self, no: pit.Rejected) -> None:
        """A no must be meant: the limit was kept, and there was no room for this order."""
        assert no.bound is not None and no.used is not None and no.requested is not None
        if not (no.code is pit.RejectCode.RISK_LIMIT_EXCEEDED and no.used <= no.bound < no.used + no.requested):
            self.problems.append(str(no))


def main() -> None:
    endpoint, name, seed, attempts, audit_file = sys.argv[1:]
    taker = Taker(endpoint, name, int(seed))
    print("ready", flush=True)
    sys.stdin.readline()
    taker.trade(int(attempts))
    print("traded", flush=True)
    sys.stdin.readline()
    taker.fill_up()
    print(taker.open_units(), flush=True)
    sys.stdin.readline()
    taker.close()
    with open(audit_file, "wb") as file:  # noqa: PTH123
        taker.audit.tofile(file)
    print(json.dumps([taker.accepted, taker.rejected, taker.problems[:5]]), flush=True)


if __name__ == "__main__":
    main()
