"""A strategy that trades through any number of deaths of the daemon. Run by test_kills.py.

Every answer goes into its own record the moment it has it: one JSON line an order's step. The record and the journal
must agree in the end, order by order. It ends when told so on standard input.
"""

from __future__ import annotations

import contextlib
import json
import random
import select
import sys
from pathlib import Path
from typing import Any

import pit

AAPL = pit.Instrument("AAPL", "USD")


class Trader:
    def __init__(self, endpoint: str, name: str, seed: int, record: Path) -> None:
        self._name = name
        self._dice = random.Random(seed)
        self._record = record.open("w", encoding="utf-8")
        self._engine = pit.connect(name, endpoint, timeout_s=30)
        self._held: list[pit.Reservation] = []
        self._ids = 0

    def trade_until_told(self) -> None:
        while not select.select([sys.stdin], [], [], 0)[0]:
            self._engine.timeout_s = self._dice.choice((0.05, 0.5, 30.0))
            if len(self._held) < 5 or self._dice.random() < 0.5:
                self._check()
            else:
                self._settle(self._held.pop(self._dice.randrange(len(self._held))))
        self._engine.timeout_s = 30
        for held in self._held:
            self._settle(held)
        self._engine.ping()

    def _check(self) -> None:
        self._ids += 1
        id = f"{self._name}-{self._ids}"
        order = pit.Order(account=self._name, instrument=AAPL, side=pit.Side.BUY, quantity=1, price=100, id=id)
        self._note("check", id, "asked")
        held = self._try("check", id, lambda: self._engine.execute_pre_trade(order, sent=True, lease_s=60))
        if isinstance(held, pit.Reservation):
            self._note("check", id, "accepted", held.id)
            self._held.append(held)
        elif isinstance(held, pit.Rejected):
            self._note("check", id, "rejected")

    def _settle(self, held: pit.Reservation) -> None:
        id = held.order.id
        way = self._dice.random()
        if way < 0.3:
            self._step("rollback", id, held.rollback)
        elif way < 0.4:
            if self._step("quarantine", id, held.quarantine) and self._dice.random() < 0.9:
                self._step("rollback", id, held.rollback)
        elif self._step("commit", id, lambda: held.commit(venue_order_id=f"V{id}")):
            report = pit.ExecutionReport(
                account=self._name, order_id=id, kind="fill", report_id="f", quantity=1, price=100, pnl="0.5"
            )
            self._step("fill", id, lambda: self._engine.apply_execution_report(report))

    def _step(self, what: str, id: str, act: Any) -> bool:
        self._note(what, id, "asked")
        done = self._try(what, id, lambda: (act(), True)[1])
        if done:
            self._note(what, id, "done")
        return bool(done)

    def _try(self, what: str, id: str, act: Any) -> Any:
        try:
            return act()
        except pit.OutcomeUnknown:
            self._note(what, id, "unknown")
        except pit.Unavailable:
            self._note(what, id, "nothing")
        except (pit.AlreadyFinalized, pit.LeaseExpired) as no:
            self._note(what, id, type(no).__name__)
        return None

    def _note(self, *words: object) -> None:
        print(json.dumps(words), file=self._record, flush=True)


def main() -> None:
    endpoint, name, seed, record = sys.argv[1:]
    trader = Trader(endpoint, name, int(seed), Path(record))
    print("ready", flush=True)
    trader.trade_until_told()
    print("done", flush=True)
    with contextlib.suppress(pit.PitError):
        trader._engine.close()


if __name__ == "__main__":
    main()
