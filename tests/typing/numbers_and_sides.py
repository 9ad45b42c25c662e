"""What an order and a report take, and what they give back. Not run: the gate checks the types."""

from __future__ import annotations

from decimal import Decimal
from typing import assert_type

import pit

AAPL = pit.Instrument("AAPL", "USD")

as_text = pit.Order(account="alpha", instrument=AAPL, side=pit.Side.BUY, quantity="100", price="185.00")
as_whole = pit.Order(account="alpha", instrument=AAPL, side="sell", quantity=100, price=185)
as_decimal = pit.Order(account="alpha", instrument="ESZ6", side="buy", quantity=Decimal(6), price=Decimal("4797.50"))
as_float = pit.Order(account="alpha", instrument="ESZ6", side="buy", quantity=6.0, price=4797.5)
by_volume = pit.Order(account="alpha", instrument=AAPL, side="buy", volume="18500", id="mine-1")

assert_type(as_float.quantity, Decimal | None)
assert_type(as_text.side, pit.Side)
assert_type(as_text.id, str)

no_such_side = pit.Order(account="alpha", instrument=AAPL, side="long", quantity=1)  # type: ignore[arg-type]
no_such_number = pit.Order(account="alpha", instrument=AAPL, side="buy", quantity=[1])  # type: ignore[arg-type]
no_account = pit.Order(instrument=AAPL, side="buy", quantity=1)  # type: ignore[call-arg]

fill = pit.ExecutionReport(
    account="alpha", kind="fill", report_id="r1", order_id=as_text.id, quantity=40, price="184.99", pnl=-2.5, fee="0.1"
)
assert_type(fill.kind, pit.ReportKind)
assert_type(fill.pnl, Decimal | None)

no_such_kind = pit.ExecutionReport(account="alpha", kind="done", report_id="r2", order_id="o")  # type: ignore[arg-type]


def what_exists_stays_as_it_is(order: pit.Order) -> None:
    order.price = Decimal(1)  # type: ignore[misc]
