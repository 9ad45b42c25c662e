"""What the limits of the strict configuration count: added up anew, over fills and open orders, for every order."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

import pit

from . import settings
from .orders import NOTHING, Kept, asset_of, whole_of, worth

if TYPE_CHECKING:
    from .model import Model

MARK_MOST_NS = 5_000_000_000
MARKED: dict[str, tuple[pit.Instrument | str, Decimal]] = {
    str(instrument): (instrument, times) for instrument, times in settings.MULTIPLIERS.items() if instrument != "XBT"
}


class Mark(NamedTuple):
    price: Decimal
    at_ns: int


class Unmarked(Exception):
    """What is held, or on its way, has no mark that may be used."""


def used(model: Model, order: pit.Order) -> dict[str, Decimal]:
    """What each limit over an order has counted by now. Raises Unmarked."""
    account, is_buy = order.account, order.side is pit.Side.BUY
    long, short = _reach(model, (account,))
    marks = {symbol: _mark(model, symbol) for symbol in MARKED if long[symbol] or short[symbol]}
    gross = sum((max(abs(long[each]), abs(short[each])) * mark for each, mark in marks.items()), NOTHING)
    side = long if is_buy else {each: -many for each, many in short.items()}
    recent = [each for each in model.by_id.values() if _is_recent(model, each, account)]
    return {
        "gross": gross,
        "net": sum((side[each] * mark for each, mark in marks.items()), NOTHING),
        "pos": side.get(str(order.instrument), NOTHING),
        "turn": sum((worth(each.first, whole_of(each.first)) for each in recent if each.first is not None), NOTHING),
        "few": Decimal(sum(each.is_open and each.account == account for each in model.by_id.values())),
    }


def share(model: Model, order: pit.Order) -> tuple[Decimal, Decimal]:
    """What the firm is exposed to in the order's instrument, and in all. Raises Unmarked."""
    parts: dict[str, Decimal] = {}
    for account in settings.ACCOUNTS:
        long, short = _reach(model, (account,))
        for symbol in MARKED:
            if long.get(symbol) or short.get(symbol):
                most = max(abs(long[symbol]), abs(short[symbol])) * _mark(model, symbol)
                parts[symbol] = parts.get(symbol, NOTHING) + most
    return parts.get(str(order.instrument), NOTHING), sum(parts.values(), NOTHING)


def _reach(model: Model, accounts: Iterable[str]) -> tuple[dict[str, Decimal], dict[str, Decimal]]:
    """How far the positions of these may get, long and short: in units, by symbol."""
    long: dict[str, Decimal] = {}
    short: dict[str, Decimal] = {}
    waiting = model.waiting()
    for account in accounts:
        for symbol in MARKED:
            held = model.positions.get((account, symbol), NOTHING)
            buys = waiting.get((account, symbol, pit.Side.BUY), NOTHING)
            sells = waiting.get((account, symbol, pit.Side.SELL), NOTHING)
            long[symbol] = long.get(symbol, NOTHING) + held + buys
            short[symbol] = short.get(symbol, NOTHING) + held - sells
    return long, short


def _mark(model: Model, symbol: str) -> Decimal:
    mark = model.marks.get(symbol)
    if mark is None or model.now_ns - mark.at_ns > MARK_MOST_NS:
        raise Unmarked(f"{symbol} is in the book, and its mark is {mark}")
    return mark.price * MARKED[symbol][1]


def _is_recent(model: Model, kept: Kept, account: str) -> bool:
    """Whether an order was in the market, or may get there, and was taken within the window."""
    first = kept.first
    if first is None or kept.account != account or kept.state == "rolled_back" or asset_of(first.instrument) != "USD":
        return False
    return kept.opened_ns > max(model.now_ns - settings.TURN_NS, model.strict_ns)
