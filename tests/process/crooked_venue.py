"""The demo's venue, but its own books claim one unit more than it ever reported."""

from __future__ import annotations

from pitd.demo import venue, words


class CrookedVenue(venue.Venue):
    def ledger(self) -> words.Ledger:
        ledger = super().ledger()
        next(order for order in ledger.orders.values() if order.filled).filled += 1
        return ledger


if __name__ == "__main__":
    venue.main(CrookedVenue)
