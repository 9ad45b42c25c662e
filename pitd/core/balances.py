"""What each account has of each asset: as it was told, and as fills and fees have moved it since."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from pit.types import ExecutionReport, Kind, Order, ReportKind, Side

from .instruments import Listed
from .numbers import ZERO, canonical

Moves = tuple[tuple[str, Decimal], ...]
"""Differences, by asset."""


class Balances:
    """The balances of the accounts that keep any. An account begins to with the first that is said of it: a person's
    word, or a fill where a control asks for balances. What comes to nothing is not kept, but that it was kept is.
    """

    def __init__(self) -> None:
        self._of: dict[str, dict[str, Decimal]] = {}

    def keeps(self, account: str) -> bool:
        return account in self._of

    def of(self, account: str, asset: str) -> Decimal:
        kept = self._of.get(account)
        return ZERO if kept is None else kept.get(asset, ZERO)

    def of_account(self, account: str) -> Iterator[tuple[str, Decimal]]:
        """By asset, in order."""
        yield from sorted(self._of.get(account, {}).items())

    def accounts(self) -> list[str]:
        return sorted(self._of)

    def after(self, account: str, moves: Moves) -> Mapping[str, Decimal]:
        """What the balances that are moved would become. Raises NotRepresentable."""
        would: dict[str, Decimal] = {}
        for asset, amount in moves:
            would[asset] = canonical(would.get(asset, self.of(account, asset)) + amount)
        return would

    def move(self, account: str, moves: Moves) -> None:
        would = self.after(account, moves)
        kept = self._of.setdefault(account, {})
        for asset, amount in would.items():
            if amount:
                kept[asset] = amount
            else:
                kept.pop(asset, None)

    def save(self) -> list[tuple[str, dict[str, Decimal]]]:
        return [(account, dict(self.of_account(account))) for account in self.accounts()]

    def load(self, saved: Sequence[tuple[str, Mapping[str, Decimal]]]) -> None:
        for account, kept in saved:
            self.move(account, tuple(kept.items()))


def exchanged(listed: Listed, side: Side, quantity: Decimal, price: Decimal | None) -> Moves:
    """What that much of a spot instrument, traded at that price, moves: units × multiplier of the underlying against
    units × multiplier × price of the settlement asset (rounded as `Listed.notional` says). Without a price only the
    underlying moves.
    """
    units = quantity * listed.multiplier
    if side is Side.SELL:
        units = -units
    if price is None or not price:
        return ((listed.underlying, units),)
    money = listed.notional(price, quantity)
    if (side is Side.BUY) == (price > 0):
        money = -money
    return ((listed.underlying, units), (listed.settlement, money))


def moved_by(report: ExecutionReport, order: Order | None, listed: Listed, pnl: Decimal) -> Moves:
    """What a report moves. Of a spot instrument a fill exchanges one asset for the other, and `pnl` is no money of its
    own: it lies in the two prices. Of any other kind nothing is exchanged: `pnl`, told or computed, is what is paid. A
    fee always is.
    """
    moves: Moves = ()
    if listed.kind is not Kind.SPOT:
        moves = ((listed.settlement, pnl),) if pnl else ()
    elif report.kind is ReportKind.FILL:
        assert report.quantity is not None
        side = report.side if order is None else order.side
        price = report.price if report.price is not None or order is None else order.price
        if side is not None:
            moves = exchanged(listed, side, report.quantity, price)
    return (*moves, (report.fee_asset or listed.settlement, -report.fee)) if report.fee else moves


def added_up(moves: Moves) -> Moves:
    """The same with one difference for each asset, and none that is nothing."""
    sums: dict[str, Decimal] = {}
    for asset, amount in moves:
        sums[asset] = sums.get(asset, ZERO) + amount
    return tuple((asset, canonical(amount)) for asset, amount in sums.items() if amount)
