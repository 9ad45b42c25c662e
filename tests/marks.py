"""Marks, rates and positions for tests of what looks at whole books."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from builders import AAPL, Core, fill

import pit
from pitd.core.prices import Quote

MSFT = pit.Instrument("MSFT", "USD")
SAP = pit.Instrument("SAP", "EUR")
MARKS = {"AAPL/USD": "100", "MSFT/USD": "50", "SAP/EUR": "200", "EUR/USD": "1.10", "ESZ6": "4000", "XBT": "20000"}
EUR = '[currency]\nfirm = "USD"\n[currency.rates]\nEUR = { quote = "EUR/USD", haircut_percent = "10" }\n'


def marked(core: Core, **other: str | None) -> Core:
    """Every entry from now on knows these marks, as they are told at this moment; None for none."""
    marks: dict[str, Any] = MARKS | {symbol.replace("_", "/"): price for symbol, price in other.items()}
    core.quotes = tuple(
        Quote(symbol, Decimal(price), None, None, core.now_ns) for symbol, price in marks.items() if price is not None
    )
    return core


def holds(core: Core, quantity: int, instrument: Any = AAPL, account: str = "alpha") -> None:
    """Gives an account a position, past every limit."""
    side = "buy" if quantity > 0 else "sell"
    core.report(fill(f"ghost-{core.engine.seq}", abs(quantity), instrument=instrument, side=side, account=account))
