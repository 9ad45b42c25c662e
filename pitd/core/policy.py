"""What a policy is: it reads state and returns a verdict; the engine carries the verdict out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from enum import IntEnum
from heapq import nsmallest
from typing import Any, ClassVar, NamedTuple

import msgspec

from pit.types import Block, ExecutionReport, Order, Reject, RejectCode

from .balances import Balances
from .days import Days, IsNew
from .instruments import Listed
from .numbers import ZERO, NotRepresentable
from .positions import Pool, Positions, Whose, units_of
from .prices import Quote


class Unvalued(Exception):
    """What an order is worth cannot be told; `code` and the message say why. The engine turns it into a reject."""

    def __init__(self, code: RejectCode, message: str) -> None:
        super().__init__(message)
        self.code = code


NO_DAYS = Days()
"""Where no calendar is known."""


class Attempt:
    """An order on its way through a stage, with what policies may want to know of it."""

    __slots__ = (
        "_balances",
        "_content",
        "_notional",
        "_positions",
        "_reduces",
        "client",
        "days",
        "group",
        "listed",
        "now_ns",
        "order",
        "quote",
    )

    def __init__(
        self,
        order: Order,
        listed: Listed,
        client: str,
        group: str | None,
        now_ns: int,
        positions: Positions | None = None,
        quote: Quote | None = None,
        days: Days | None = None,
        balances: Balances | None = None,
    ) -> None:
        self.order = order
        self.listed = listed
        self.client = client
        self.group = group
        self.now_ns = now_ns
        self.quote = quote
        """The newest quote, where a policy asks for it (`Policy.asks_for_quotes`) and it is fresh enough."""
        self.days = NO_DAYS if days is None else days
        """Which day it is."""
        self._positions = positions
        self._balances = balances
        self._content: str | None = None
        self._notional: Decimal | None = None
        self._reduces: bool | None = None

    @property
    def open_quantity(self) -> Decimal:
        """What may trade: units, or an amount of the settlement asset for a volume order."""
        return whole_quantity(self.order)

    @property
    def reduces(self) -> bool:
        """Whether it makes a position smaller and not through zero, with all open orders of its side filled as well.

        No size, exposure or position limit may refuse such an order: it would trap a desk in its position.
        """
        if self._reduces is None:
            self._reduces = self._positions is not None and self._positions.reduces(self.order, self.listed)
        return self._reduces

    def units(self) -> Decimal:
        """How many units may trade. Raises Unvalued for a volume order where that can't be told."""
        if self.order.quantity is not None:
            return self.order.quantity
        units = units_of(self.order, self.listed, whole_quantity(self.order))
        if units is not None:
            return units
        if not self.order.price:
            why = f"a volume order in {self.listed.symbol} without a price may trade any number of units"
            raise Unvalued(RejectCode.MARK_PRICE_UNAVAILABLE, why)
        why = f"{self.order.volume} {self.listed.settlement} at {self.order.price} is more units than can be counted"
        raise Unvalued(RejectCode.ORDER_VALUE_CALCULATION_FAILED, why)

    def held(self, whose: Whose) -> Decimal:
        """What that account, group or firm holds of the order's instrument, in units; below zero when short."""
        return ZERO if self._positions is None else self._positions.quantity(whose, self.listed.symbol)

    def waiting(self, whose: Whose) -> Decimal | None:
        """The units that their open orders of this order's side may still trade; None where nobody knows."""
        if self._positions is None:
            return ZERO
        return self._positions.on_the_way(whose, self.listed.symbol, self.order.side)

    def balance(self, asset: str) -> Decimal:
        """What the order's account has of an asset."""
        return ZERO if self._balances is None else self._balances.of(self.order.account, asset)

    @property
    def content(self) -> str:
        """What it asks for, in words: "buy 10 AAPL/USD at 100". The same whatever its id, and however its numbers are
        written.
        """
        if self._content is None:
            order = self.order
            price = "market" if order.price is None else _plain(order.price)
            size = _plain(whole_quantity(order))
            what = self.listed.symbol if order.volume is None else f"worth of {self.listed.symbol}"
            self._content = f"{order.side.value} {size} {what} at {price}"
        return self._content

    def notional(self) -> Decimal:
        """The order's worth at `price`, in the settlement asset. Raises Unvalued where that can't be told."""
        if self._notional is None:
            self._notional = order_notional(self.order, self.listed, whole_quantity(self.order), self.price)
        return self._notional

    @property
    def price(self) -> Decimal | None:
        """The order's own price; for one without, what it would trade at by the quote; None where nobody knows."""
        if self.order.price is not None or self.quote is None:
            return self.order.price
        return self.quote.taken_by(self.order.side)


class Reported:
    """A report on its way to the policies, with the account's group and the asset its money is in."""

    __slots__ = ("days", "group", "now_ns", "report", "settlement")

    def __init__(
        self, report: ExecutionReport, group: str | None, settlement: str, now_ns: int, days: Days = NO_DAYS
    ) -> None:
        self.report = report
        self.group = group
        self.settlement = settlement
        self.now_ns = now_ns
        self.days = days


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """What a policy wants: effects to carry out (its own, or a `Block`), and rejects."""

    effects: tuple[Any, ...] = ()
    rejects: tuple[Reject, ...] = ()


class Look(msgspec.Struct, frozen=True, gc=False):
    """What someone wants to see of a control now: so many scopes (or accounts) by name, after the one given."""

    now_ns: int
    after: str
    most: int
    group_of: Callable[[str], str | None]
    positions: Positions | None = None
    settlement_of: Callable[[str], str] = lambda symbol: symbol.rpartition("/")[2]
    """What an instrument is settled in, by its symbol."""

    def page(self, names: Iterable[str]) -> list[str]:
        """The names that are meant, in order."""
        return nsmallest(self.most, {name for name in names if name > self.after})


class Counter(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a limit has counted for one scope, in `what`. `used` is None where it counts nothing."""

    scope: str
    what: str
    bound: Decimal
    used: Decimal | None = None
    is_tripped: bool = False


class Money(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An account's realised P&L in one asset, between the nearest bounds of its own."""

    account: str
    settlement: str
    pnl: Decimal
    floor: Decimal | None = None
    ceiling: Decimal | None = None
    tripped: tuple[str, ...] = ()


class Funds(NamedTuple):
    """What open orders of an account may need of an asset, and what they may bring of it."""

    held: Decimal = ZERO
    incoming: Decimal = ZERO


PASS = Verdict()
"""Nothing to say: one shared value, so that the common case costs nothing."""


class Asks(IntEnum):
    """When a policy asks for the quote of an order's instrument."""

    NEVER = 0
    WITHOUT_PRICE = 1
    """For market orders."""
    ALWAYS = 2


class Policy:
    """One control. Override what you need; what you leave alone costs nothing.

    Deciding (`start`, `main`, `report`, `shrink`, `rearm`, `lift`, `reconfigured`, `day_began`) reads state and changes
    nothing. `apply` and `undo` carry out. Effects are frozen structs of the types in `effect_types`; undoing is by the
    delta that applying used.
    """

    id: ClassVar[str]
    """Stable: it stands in rejects and in the journal."""
    state_version: ClassVar[int] = 1
    effect_types: ClassVar[tuple[type, ...]] = ()
    needs_instrument: ClassVar[bool] = True
    """False for a policy that can judge an order whose symbol is not declared."""

    asks_for_quotes: Asks = Asks.NEVER
    """What it asks for comes with the order's entry, as `Attempt.quote`; what nobody asks for costs nothing."""
    asks_for_balances: bool = False
    """Whether fills are to move balances, also of accounts of which nobody has said what they have."""
    limit_names: Sequence[str] = ()
    """The limits it carries, in the order of the configuration."""
    lifts_by_hand: ClassVar[bool] = False
    """True for a control whose blocks a person lifts by `unblock`, as one's own: it has no room to grant."""
    is_idle: bool = False
    """True for a control without limits: it judges no order. Reports still reach it, so that it knows what happened."""

    def start(self, attempt: Attempt) -> Verdict:
        """The start stage, which sees every order. Its effects are applied even when the order is rejected."""
        return PASS

    def main(self, attempt: Attempt) -> Verdict:
        """The main stage. Its effects are what the order holds: all policies' together, or none."""
        return PASS

    def report(self, reported: Reported) -> Verdict:
        """What a report does. It is truth: rejects are not looked at."""
        return PASS

    def shrink(self, hold: Any, order: Order, listed: Listed, open_quantity: Decimal) -> Any:
        """What remains of a hold once only `open_quantity` of the order may still trade. Above zero always."""
        return hold

    def rehold(self, held: tuple[Any, ...], attempt: Attempt, open_quantity: Decimal) -> tuple[Any, ...]:
        """What an open order holds once limits have changed: `held` is what it held by the old ones. It is open, so no
        limit can refuse it any more.
        """
        return held

    def holds_as(self, before: Policy) -> bool:
        """Whether open orders hold under these limits what they hold under those before: only bounds are otherwise.
        Saying no costs a look at every order.
        """
        return type(self).rehold is Policy.rehold

    def rearm(self, limit: str, scope: str, room: Decimal) -> Verdict:
        """New room for a tripped limit, by an operator. A reject says why there is none."""
        return Verdict(
            rejects=(
                Reject(
                    code=RejectCode.OTHER, policy=self.id, limit=limit, scope=scope, reason="this control has no latch"
                ),
            )
        )

    def adjust_pnl(self, account: str, group: str | None, settlement: str, amount: Decimal, *, is_set: bool) -> Verdict:
        """What a person's word on an account's realised P&L does: it is that amount (`is_set`), or moves by it. It is
        truth, as a report is: rejects are not looked at.
        """
        return PASS

    def funds(self) -> Mapping[tuple[str, str], Funds]:
        """What open orders hold, and what they may bring, by account and asset, where this control keeps it."""
        return {}

    def reconfigured(self, group_of: Callable[[str], str | None]) -> Verdict:
        """What its limits begin with, or leave behind, when a configuration has brought other ones."""
        return PASS

    def day_began(self, is_new: IsNew) -> Verdict:
        """A day has begun for the firm, for accounts, or both. What counts by account goes by the account's day, all
        else by the firm's. Only for what must happen at that moment: a counter that keeps the number of its day
        (`Attempt.days`) needs nothing of the kind.
        """
        return PASS

    def lift(self, limit: str, scope: str) -> Verdict:
        """A person lifts a block of this control, or of a limit that is no longer configured: what is to be forgotten
        of its latch.
        """
        return PASS

    def apply(self, effect: Any) -> None:
        """Carries an effect out."""
        raise NotImplementedError(f"{self.id} has effects and does not say how to apply them")

    def undo(self, effect: Any) -> None:
        """Takes a main-stage effect back."""
        raise NotImplementedError(f"{self.id} holds state and does not say how to give it back")

    def close(self, effect: Any) -> None:
        """What becomes of a main-stage effect when its order ends after it was in the market: filled, cancelled,
        rejected by the venue, or closed by a person. `undo`, unless it is to count on.
        """
        self.undo(effect)

    def reopen(self, effect: Any) -> None:
        """What becomes of an effect that was closed, when the order proves to be open all the same."""
        self.apply(effect)

    def counters(self, limit: str, look: Look) -> Sequence[Counter]:
        """What one of its limits has counted, scope by scope: at most `look.most` scopes. For people, and never asked
        while deciding; what a limit is for although nothing has been counted, `bounds` says.
        """
        return ()

    def bounds(self, limit: str) -> Sequence[Counter]:
        """The bounds of one of its limits as they are configured, without what was counted."""
        return ()

    def money(self, look: Look) -> Sequence[Money]:
        """The realised P&L of at most `look.most` accounts by name, where this control keeps it. For people."""
        return ()

    def save(self) -> Any:
        """The state as plain values (maps, lists, numbers, text), the same for the same state."""
        return None

    def load(self, saved: Any) -> None:
        """Takes up a saved state."""


def whole_quantity(order: Order) -> Decimal:
    quantity = order.quantity if order.quantity is not None else order.volume
    assert quantity is not None
    return quantity


def _plain(number: Decimal) -> str:
    """As `numbers.text` gives it, for the numbers that an order may have; in half the time."""
    written = f"{number:f}"
    return written.rstrip("0").rstrip(".") if "." in written else written


def order_notional(order: Order, listed: Listed, open_quantity: Decimal, price: Decimal | None) -> Decimal:
    """What that much of an order is worth at that price. Raises Unvalued where that can't be told."""
    if order.volume is not None:
        return open_quantity
    if price is None:
        why = f"a market order in {listed.symbol}, and no fresh quote of it is known"
        raise Unvalued(RejectCode.MARK_PRICE_UNAVAILABLE, why)
    if not price and not listed.signed_price:
        return ZERO  # order_validation refuses it; an inverse one could not be divided
    try:
        return listed.notional(price, open_quantity)
    except NotRepresentable:
        raise Unvalued(
            RejectCode.ORDER_VALUE_CALCULATION_FAILED,
            f"{open_quantity} {listed.symbol} × {price} cannot be represented exactly",
        ) from None


__all__ = [
    "PASS",
    "Asks",
    "Attempt",
    "Block",
    "Counter",
    "Funds",
    "Look",
    "Money",
    "Policy",
    "Pool",
    "Reported",
    "Unvalued",
    "Verdict",
    "Whose",
    "order_notional",
    "whole_quantity",
]
