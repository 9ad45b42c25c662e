"""The trading state of every scope: of the firm, of groups, of accounts and of instruments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import NamedTuple

from pit.types import MAX_ID_LENGTH, Block, Order, Reject, RejectCode, Restriction, TradingState

from .accounts import FIRM, account_scope, group_scope
from .instruments import Listed
from .numbers import ZERO, text
from .policy import content_of
from .positions import Positions

LIMIT = "trading_state"
"""What stands for the limit, and for the control, in a reject."""


def instrument_scope(symbol: str) -> str:
    return f"instrument {symbol}"


def bad_scope(scope: str) -> str:
    """Why that is no scope that has a trading state, or nothing."""
    kind, _, name = scope.partition(" ")
    longest = 2 * MAX_ID_LENGTH + 1 if kind == "instrument" else MAX_ID_LENGTH  # a pair is two names and a stroke
    is_named = kind in ("account", "group", "instrument") and bool(name.strip()) and len(name) <= longest
    if scope == FIRM or (is_named and name.isprintable()):
        return ""
    return f'a scope is "firm", "group NAME", "account NAME" or "instrument NAME", not {scope[:80]!r}'


class Trading:
    """What is not ACTIVE, by scope. A halt is a state of trading: it says nothing of anybody's conduct, as a block
    does, covers instruments too, and leaves limits and their latches alone. One state a scope; of those over an order
    the strictest wins, which is to say that each of them may refuse it: HALTED every order, REDUCING all but those that
    reduce a position.
    """

    def __init__(self) -> None:
        self.restricted: dict[str, Restriction] = {}

    def __len__(self) -> int:
        return len(self.restricted)

    def restrictions(self) -> tuple[Restriction, ...]:
        """Every scope that is not ACTIVE, by name."""
        return tuple(self.restricted[scope] for scope in sorted(self.restricted))

    def of(self, scope: str) -> Restriction | None:
        return self.restricted.get(scope)

    def over(self, account: str, group: str | None, symbol: str | None = None) -> tuple[Restriction, ...]:
        """What is not ACTIVE of the firm, the group, the account and the instrument, in this order."""
        if not self.restricted:
            return ()
        scopes = [FIRM, account_scope(account)] if group is None else [FIRM, group_scope(group), account_scope(account)]
        if symbol is not None:
            scopes.append(instrument_scope(symbol))
        return tuple(self.restricted[scope] for scope in scopes if scope in self.restricted)

    def apply(self, restriction: Restriction) -> None:
        if restriction.state is TradingState.ACTIVE:
            self.restricted.pop(restriction.scope, None)
        else:
            self.restricted[restriction.scope] = restriction

    def load(self, restrictions: Sequence[Restriction]) -> None:
        for restriction in restrictions:
            self.apply(restriction)


class Weighed(NamedTuple):
    """What is known of an order where only those pass that reduce a position, in units."""

    content: str
    held: Decimal
    waiting: Decimal | None
    """What other open orders of its side may still trade; None where nobody knows."""
    reduces: bool

    def __str__(self) -> str:
        waiting = "nobody knows how many" if self.waiting is None else text(self.waiting)
        return (
            f"{self.content} does not reduce: {text(self.held)} held, {waiting} more in other open orders of its side"
        )


def weigh(positions: Positions, order: Order, listed: Listed | None, open_quantity: Decimal | None = None) -> Weighed:
    """Looks whether an order reduces that is not on its way yet, or so much of it."""
    content = content_of(order, str(order.instrument) if listed is None else listed.symbol)
    if listed is None:
        return Weighed(content, ZERO, ZERO, False)
    held = positions.of(order.account, listed.symbol).quantity
    waiting = positions.on_the_way(order.account, listed.symbol, order.side)
    return Weighed(content, held, waiting, positions.reduces(order, listed, open_quantity))


def stops(stop: Restriction | Block, weigh: Callable[[], Weighed]) -> bool:
    """Whether that keeps an order from going out."""
    return stop.state is not TradingState.REDUCING or not weigh().reduces


def reject_of(restriction: Restriction, weigh: Callable[[], Weighed]) -> Reject:
    """What an order under it is answered: InstrumentRestricted for an instrument's state, AccountBlocked for the
    others, since it is the account that may not trade.
    """
    is_instrument = restriction.scope.startswith("instrument ")
    return Reject(
        code=RejectCode.INSTRUMENT_RESTRICTED if is_instrument else RejectCode.ACCOUNT_BLOCKED,
        policy=LIMIT,
        limit=LIMIT,
        scope=restriction.scope,
        reason=f"{restriction}; {weigh()}" if restriction.state is TradingState.REDUCING else str(restriction),
    )
