"""Tells what accounts have and hold, page by page."""

from __future__ import annotations

import contextlib
from bisect import bisect_left
from collections.abc import Callable, Iterator
from decimal import ROUND_HALF_EVEN, Context, Decimal, DivisionByZero, InvalidOperation, Overflow

from pit import wire
from pit.types import AccountBalance, AccountPosition, Kind

from .core.engine import Engine
from .core.instruments import ONE, Listed
from .core.numbers import DIGITS, NotRepresentable, canonical
from .core.policy import Funds
from .core.positions import Position
from .core.prices import Quote
from .core.unrealised import unrealised_of
from .in_currency import OwnCurrency

_NANO = Decimal("1e-9")
_ROUNDING = Context(prec=2 * DIGITS, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, Overflow, DivisionByZero])

MOST = 300
"""So many fit into one answer, with the longest names and numbers there can be."""


def page_of(
    engine: Engine,
    query: wire.ListPositions,
    *,
    accounts: frozenset[str] | None,
    newest: Callable[[str], Quote | None] = lambda symbol: None,
    now_ns: int = 0,
    own: OwnCurrency | None = None,
) -> wire.Reply:
    """The positions asked for, of these accounts (None: of all), by the newest quotes that anybody knows."""
    if accounts is not None and query.account is not None and query.account not in accounts:
        return wire.Failed(wire.FailureCode.NOT_AUTHORIZED, f"account {query.account} is none of this client's")
    most = max(1, min(query.most, MOST))
    page: list[AccountPosition] = []
    for account, symbol, held in _after(engine, query, accounts):
        if len(page) == most:
            return wire.PositionsAre(engine.seq, tuple(page), more=True)
        page.append(position_of(engine, account, symbol, held, newest(symbol), now_ns, own))
    return wire.PositionsAre(engine.seq, tuple(page), more=False)


def balances_of(
    engine: Engine, query: wire.ListBalances, *, accounts: frozenset[str] | None, own: OwnCurrency | None = None
) -> wire.Reply:
    """The balances asked for, of these accounts (None: of all), with what open orders hold and may bring."""
    if accounts is not None and query.account is not None and query.account not in accounts:
        return wire.Failed(wire.FailureCode.NOT_AUTHORIZED, f"account {query.account} is none of this client's")
    after = (query.after_account, query.after_asset)
    funds: dict[tuple[str, str], Funds] = {}
    for policy in engine.policies.values():
        funds.update(policy.funds())
    kept = engine.balances
    names = set(kept.accounts()) if query.account is None else {query.account}
    known = {(account, asset) for account in names for asset, _ in kept.of_account(account)}
    known |= {key for key in funds if query.account in (None, key[0])}
    meant = sorted(key for key in known if key > after and (accounts is None or key[0] in accounts))
    most = max(1, min(query.most, MOST))
    page = [
        AccountBalance(
            account=account,
            asset=asset,
            total=kept.of(account, asset),
            held=funds.get((account, asset), _NOTHING).held,
            incoming=funds.get((account, asset), _NOTHING).incoming,
            currency=None if own is None else own.of(account),
            worth=None if own is None else own.worth(account, [(asset, kept.of(account, asset))]),
        )
        for account, asset in meant[:most]
    ]
    return wire.BalancesAre(engine.seq, tuple(page), more=len(meant) > most)


_NOTHING = Funds()


def position_of(
    engine: Engine,
    account: str,
    symbol: str,
    held: Position,
    quote: Quote | None = None,
    now_ns: int = 0,
    own: OwnCurrency | None = None,
) -> AccountPosition:
    """A position as people read it."""
    listed = engine.instruments.find(symbol)
    mark = None if quote is None else quote.reference
    unrealised = None
    named = engine.instruments.named(symbol)
    if mark is not None and named is not None:
        with contextlib.suppress(NotRepresentable):
            unrealised = canonical(unrealised_of(held, named, mark))
    settlement = symbol.rpartition("/")[2] if listed is None else listed.settlement
    currency = made = unrealised_in_currency = None
    if own is not None:
        currency = own.of(account)
        paid = [(asset, -fee) for asset, fee in held.other_fees]
        made = own.worth(account, [(settlement, held.realised), (settlement, -held.fees), *paid])
        if unrealised is not None:
            unrealised_in_currency = own.worth(account, [(settlement, unrealised)])
    return AccountPosition(
        account=account,
        instrument=symbol,
        settlement=settlement,
        quantity=canonical(held.quantity),
        cost=canonical(held.cost),
        average_price=_average(held, listed),
        realised=canonical(held.realised),
        fees=canonical(held.fees),
        other_fees=held.other_fees,
        mark=None if mark is None else canonical(mark),
        unrealised=unrealised,
        mark_age_s=None if quote is None or mark is None else (now_ns - quote.at_ns) / 1e9,
        currency=currency,
        made=made,
        unrealised_in_currency=unrealised_in_currency,
    )


def _average(held: Position, listed: Listed | None) -> Decimal | None:
    if not held.quantity or not held.cost:
        return None
    units = _ROUNDING.multiply(held.quantity, ONE if listed is None else listed.multiplier)
    try:
        if listed is not None and listed.kind is Kind.INVERSE:
            return canonical(_quotient(_ROUNDING.minus(units), held.cost))
        return canonical(_quotient(held.cost, units))
    except NotRepresentable:
        return None


def _quotient(dividend: Decimal, divisor: Decimal) -> Decimal:
    """For people: what is kept are the two numbers."""
    return _ROUNDING.quantize(_ROUNDING.divide(dividend, divisor), _NANO)


def _after(
    engine: Engine, query: wire.ListPositions, accounts: frozenset[str] | None
) -> Iterator[tuple[str, str, Position]]:
    positions = engine.positions
    names = positions.accounts() if query.account is None else [query.account]
    for account in names[bisect_left(names, query.after_account) :]:
        if accounts is not None and account not in accounts:
            continue
        for symbol, held in positions.of_account(account):
            if (account, symbol) > (query.after_account, query.after_instrument):
                yield account, symbol, held
