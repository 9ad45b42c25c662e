"""What instruments cost now, as far as anybody has said: quotes come with the entries that use them."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from pit.types import Side


class Quote(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What was said of an instrument's price: mark, bid and ask, each if it was told; `at_ns` is engine time."""

    symbol: str
    mark: Decimal | None
    bid: Decimal | None
    ask: Decimal | None
    at_ns: int

    def taken_by(self, side: Side) -> Decimal | None:
        """What an order without a price would trade at: a buy at the ask, a sell at the bid, else at the mark."""
        price = self.ask if side is Side.BUY else self.bid
        return self.mark if price is None else price
