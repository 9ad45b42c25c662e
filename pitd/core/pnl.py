"""What a report makes an account: computed from its fills and fees, or as it says itself; never both."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from pit.types import ExecutionReport

from .numbers import ZERO, canonical

IGNORED = "pnl_ignored"
"""Flags an order whose report told of P&L though its account's is computed: that number counted for nothing."""

Amounts = tuple[tuple[str, Decimal], ...]
"""What was made (below zero: lost) of each asset."""


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """Whose P&L is computed; that of all others is what reports say."""

    is_computed: bool = False
    """What holds for an account of which nothing is said."""
    otherwise: frozenset[str] = frozenset()
    """The accounts with which it is the other way round."""

    def computes(self, account: str) -> bool:
        return self.is_computed != (account in self.otherwise)


def made(report: ExecutionReport, settlement: str, realised: Decimal, *, is_computed: bool) -> Amounts:
    """What a report comes to, by asset: the P&L less the fee, or each by itself where they are of two assets.

    `realised` is what its fill has closed, at average cost; with `is_computed` that is the P&L, and what the report
    tells of it counts for nothing. Example: 4 of 10 bought at 100 are sold at 110, fee 0.5 USD: 39.5 USD; with a fee of
    0.001 BNB instead it is 40 USD, and -0.001 BNB.
    """
    pnl, fee = realised if is_computed else report.pnl or ZERO, report.fee or ZERO
    if report.fee_asset in (None, settlement):
        return ((settlement, pnl - fee),)
    assert report.fee_asset is not None
    if not fee:
        return ((settlement, pnl),)
    return ((settlement, pnl), (report.fee_asset, -fee))


def fees_with(fees: Amounts, asset: str, fee: Decimal) -> Amounts:
    """What has been paid of each asset, with another fee; by asset, in order, and nothing that comes to nothing."""
    sums = dict(fees)
    sums[asset] = canonical(sums.get(asset, ZERO) + fee)
    return tuple(sorted((asset, paid) for asset, paid in sums.items() if paid))
