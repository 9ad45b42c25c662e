"""What each account holds of each instrument and what that cost, from fills alone; and what is on its way there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import NamedTuple

import msgspec

from pit.types import MAX_DIGITS, Kind, Order, Side

from .instruments import Listed
from .numbers import ZERO, NotRepresentable, canonical, divided_even, divided_up


class Position(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one account holds of one instrument. Cost and quantity are kept, not their quotient.

    `quantity` is in units, below zero when short. `cost` is what that quantity was bought for (sold for: below zero) in
    the settlement asset; of an inverse instrument it is -quantity × multiplier / price, so that the same sums hold.
    `realised` is the P&L of what was closed at average cost, before `fees`.
    """

    quantity: Decimal = ZERO
    cost: Decimal = ZERO
    realised: Decimal = ZERO
    fees: Decimal = ZERO


FLAT = Position()


_MOST_UNITS = Decimal(10) ** MAX_DIGITS


class Change(NamedTuple):
    """What a fill does to a position, as differences."""

    quantity: Decimal
    cost: Decimal
    realised: Decimal


def filled(position: Position, listed: Listed, side: Side, quantity: Decimal, price: Decimal | None) -> Change:
    """What that many units traded at that price do. Of a fill through zero the first part closes, the rest opens.

    Closing gives back its share of the cost, cost × closed / held, rounded half-even to 18 decimals; the last part
    gives back all that is left, so that nothing stays behind. Without a price nothing is realised, and what is opened
    costs nothing. Example: long 10 for 1000, 4 sold at 110: quantity -4, cost -400, realised 40.
    """
    signed = quantity if side is Side.BUY else -quantity
    held = position.quantity
    if not held or (held > 0) == (signed > 0):
        return Change(signed, _worth(listed, signed, price), ZERO)
    if abs(signed) < abs(held):
        share = divided_even(position.cost * -signed, held)
        realised = ZERO if price is None else -_worth(listed, signed, price) - share
        return Change(signed, -share, realised)
    realised = ZERO if price is None else _worth(listed, held, price) - position.cost
    opened = signed + held
    return Change(signed, _worth(listed, opened, price) - position.cost, realised)


def _worth(listed: Listed, signed: Decimal, price: Decimal | None) -> Decimal:
    """What a signed quantity is worth in the settlement asset; it grows with the price, whatever the kind."""
    if price is None or not signed:
        return ZERO
    if listed.kind is Kind.INVERSE:
        return divided_even(-signed * listed.multiplier, price) if price else ZERO
    return signed * price * listed.multiplier


def units_of(order: Order, listed: Listed, open_quantity: Decimal) -> Decimal | None:
    """How many units that much of an order may still trade. None where nobody knows: for a volume order without a
    price, or with one that comes to more units than any order may have.
    """
    if order.volume is None:
        return open_quantity
    if not order.price:
        return None
    try:
        if listed.kind is Kind.INVERSE:
            units = divided_up(open_quantity * abs(order.price), listed.multiplier)
        else:
            units = divided_up(open_quantity, abs(order.price) * listed.multiplier)
    except NotRepresentable:
        return None
    return units if units < _MOST_UNITS else None


class Positions:
    """Every position, and the units that open orders of each side may still trade."""

    def __init__(self) -> None:
        self._held: dict[str, dict[str, Position]] = {}
        self._on_the_way: dict[tuple[str, str, bool], Decimal] = {}
        """By account, symbol, and whether it buys."""
        self._unknown: dict[tuple[str, str, bool], int] = {}
        """How many open orders there may trade nobody knows how much."""

    def of(self, account: str, symbol: str) -> Position:
        held = self._held.get(account)
        return FLAT if held is None else held.get(symbol, FLAT)

    def of_account(self, account: str) -> Iterator[tuple[str, Position]]:
        """By symbol, in order."""
        yield from sorted(self._held.get(account, {}).items())

    def accounts(self) -> list[str]:
        return sorted(self._held)

    def on_the_way(self, account: str, symbol: str, side: Side) -> Decimal | None:
        """The units that open orders of that side may still trade; None where one of them may trade any number."""
        key = (account, symbol, side is Side.BUY)
        return None if key in self._unknown else self._on_the_way.get(key, ZERO)

    def reduces(self, order: Order, listed: Listed) -> bool:
        """Whether the position is smaller, and not through zero, once it and all open ones of its side are filled.

        Ten orders that would each reduce it do not all: what is on the way counts (CONTROLS, "Reducing").
        """
        held = self.of(order.account, listed.symbol).quantity
        if not held or (held > 0) == (order.side is Side.BUY):
            return False
        quantity = order.quantity if order.quantity is not None else order.volume
        assert quantity is not None
        units = units_of(order, listed, quantity)
        waiting = self.on_the_way(order.account, listed.symbol, order.side)
        return units is not None and waiting is not None and units > 0 and waiting + units <= abs(held)

    def after(self, account: str, symbol: str, change: Change, fee: Decimal) -> Position:
        """What a position would become. Raises NotRepresentable."""
        before = self.of(account, symbol)
        return Position(
            canonical(before.quantity + change.quantity),
            canonical(before.cost + change.cost),
            canonical(before.realised + change.realised),
            canonical(before.fees + fee),
        )

    # ------------------------------------------------------------------------------------------ carrying out

    def change(self, account: str, symbol: str, change: Change, fee: Decimal) -> None:
        self.put(account, symbol, self.after(account, symbol, change, fee))

    def put(self, account: str, symbol: str, position: Position) -> None:
        """Holds that from now on; nothing at all where it is flat and never made anything."""
        held = self._held.setdefault(account, {})
        if position != FLAT:
            held[symbol] = position
            return
        held.pop(symbol, None)
        if not held:
            del self._held[account]

    def expect(self, order: Order, listed: Listed, open_quantity: Decimal) -> None:
        """Counts what an open order may still trade."""
        key = (order.account, listed.symbol, order.side is Side.BUY)
        units = units_of(order, listed, open_quantity)
        if units is None:
            self._unknown[key] = self._unknown.get(key, 0) + 1
        elif units:
            self._on_the_way[key] = self._on_the_way.get(key, ZERO) + units

    def expect_no_more(self, order: Order, listed: Listed, open_quantity: Decimal) -> None:
        """Takes back what `expect` has counted for that much of the order."""
        key = (order.account, listed.symbol, order.side is Side.BUY)
        units = units_of(order, listed, open_quantity)
        if units is None:
            self._unknown[key] -= 1
            if not self._unknown[key]:
                del self._unknown[key]
            return
        if not units:
            return
        left = self._on_the_way[key] - units
        assert left >= 0, (key, left)
        if left:
            self._on_the_way[key] = left
        else:
            del self._on_the_way[key]

    def save(self) -> list[tuple[str, str, Position]]:
        return [(account, symbol, each) for account in self.accounts() for symbol, each in self.of_account(account)]

    def load(self, saved: Sequence[tuple[str, str, Position]]) -> None:
        for account, symbol, position in saved:
            self.put(account, symbol, position)
