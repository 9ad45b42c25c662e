"""A strategy that has an order at the venue and then hangs: it hears nothing any more. Run as a process of its own."""

from __future__ import annotations

import sys
import time

import pit


def main(endpoint: str) -> None:
    with pit.connect("hung", endpoint, timeout_s=20) as engine:
        order = pit.Order(
            account="alpha", instrument=pit.Instrument("AAPL", "USD"), side="buy", quantity=10, price=100, id="hanging"
        )
        held = engine.execute_pre_trade(order, sent=True)
        assert isinstance(held, pit.Reservation)
        held.commit(venue_order_id="v-hanging")
        engine.poll()
        print("working", flush=True)
        time.sleep(600)


main(sys.argv[1])
