"""What each account holds of each instrument and what that cost, from fills alone; and what is on its way there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple, Protocol

import msgspec

from pit.types import MAX_DIGITS, Order, Side

from .instruments import INVERSE, Listed
from .numbers import ZERO, NotRepresentable, canonical, divided_even, divided_up
from .pnl import Amounts, fees_with


class Position(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one account holds of one instrument. Cost and quantity are kept, not their quotient.

    `quantity` is in units, below zero when short. `cost` is what that quantity was bought for (sold for: below zero) in
    the settlement asset; of an inverse instrument it is -quantity × multiplier / price, so that the same sums hold.
    `realised` is the P&L of what was closed at average cost, before `fees`; `other_fees` are those in other assets.

    `realised` less `cost` is all the money that fills have moved, to the last digit: what closing at average cost has
    to round (`filled`) is taken from the one and left in the other.
    """

    quantity: Decimal = ZERO
    cost: Decimal = ZERO
    realised: Decimal = ZERO
    fees: Decimal = ZERO
    other_fees: Amounts = ()


FLAT = Position()
BUY = Side.BUY


_MOST_UNITS = Decimal(10) ** MAX_DIGITS


class Change(NamedTuple):
    """What a fill does to a position, as differences."""

    quantity: Decimal
    cost: Decimal
    realised: Decimal


class Changed(Protocol):
    """Whatever says so: a change, or the effect that it was recorded as."""

    @property
    def quantity(self) -> Decimal: ...
    @property
    def cost(self) -> Decimal: ...
    @property
    def realised(self) -> Decimal: ...


def filled(position: Position, listed: Listed, side: Side, quantity: Decimal, price: Decimal | None) -> Change:
    """What that many units traded at that price do. Of a fill through zero the first part closes, the rest opens.

    Closing gives back its share of the cost, cost × closed / held, rounded half-even to 18 decimals; the last part
    gives back all that is left, so that nothing stays behind. Without a price nothing is realised, and what is opened
    costs nothing. Of an inverse instrument each fill is worth quantity × multiplier / price, rounded half-even to 18
    decimals once: of one through zero the part that closes is rounded so, and the rest opens. Example: long 10 for
    1000, 4 sold at 110: quantity -4, cost -400, realised 40.
    """
    signed = quantity if side is BUY else -quantity
    held = position.quantity
    if not held or (held > 0) == (signed > 0):
        return Change(signed, _worth(listed, signed, price), ZERO)
    if abs(signed) < abs(held):
        share = divided_even(position.cost * -signed, held)
        realised = ZERO if price is None else -_worth(listed, signed, price) - share
        return Change(signed, -share, realised)
    closed = _worth(listed, held, price)
    realised = ZERO if price is None else closed - position.cost
    return Change(signed, _worth(listed, signed, price) + closed - position.cost, realised)


def _worth(listed: Listed, signed: Decimal, price: Decimal | None) -> Decimal:
    """What a signed quantity is worth in the settlement asset; it grows with the price, whatever the kind."""
    if price is None or not signed:
        return ZERO
    if listed.kind is INVERSE:
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
        if listed.kind is INVERSE:
            units = divided_up(open_quantity * abs(order.price), listed.multiplier)
        else:
            units = divided_up(open_quantity, abs(order.price) * listed.multiplier)
    except NotRepresentable:
        return None
    return units if units < _MOST_UNITS else None


class Pool(NamedTuple):
    """All accounts of a group, or of the firm: what they hold together."""

    group: str | None = None


FIRM = Pool()


class Strategy(NamedTuple):
    """One client: what the orders that it asked for have come to, in whatever accounts."""

    client: str
    kind: str = "client"
    """Tells it from the pool of a group that is called alike."""


Whose = str | Pool | Strategy
"""An account, several together, or a client."""


class Watcher(Protocol):
    """Who wants to know that something else is held or on its way."""

    def touch(self, account: str, symbol: str) -> None: ...
    def touch_client(self, whose: Strategy, symbol: str) -> None: ...
    def restart(self) -> None:
        """Everything may be otherwise."""


class Positions:
    """Every position, and the units that open orders of each side may still trade: by account, and of all together.

    The sums over groups and the firm are kept, so that looking at one costs the same however many accounts there are.
    """

    def __init__(self) -> None:
        self._held: dict[str, dict[str, Position]] = {}
        self._net: dict[tuple[Pool, str], Decimal] = {}
        self._on_the_way: dict[tuple[Whose, str, bool], Decimal] = {}
        """By whose they are, symbol, and whether they buy."""
        self._unknown: dict[tuple[Whose, str, bool], int] = {}
        """How many open orders there may trade nobody knows how much."""
        self._amounts: dict[tuple[Whose, str, bool], Decimal] = {}
        """What those are for, in the settlement asset: each is a volume order."""
        self._of_clients: dict[tuple[Strategy, str], Decimal] = {}
        self._pools: dict[str, tuple[Pool, ...]] = {}
        """Of accounts in a group; every other one is of the firm alone."""
        self.watcher: Watcher | None = None
        self.counts_clients = False
        """Whether what is on its way is added up by client too. What was filled always is."""

    def of(self, account: str, symbol: str) -> Position:
        held = self._held.get(account)
        return FLAT if held is None else held.get(symbol, FLAT)

    def of_account(self, account: str) -> Iterator[tuple[str, Position]]:
        """By symbol, in order."""
        yield from sorted(self._held.get(account, {}).items())

    def accounts(self) -> list[str]:
        return sorted(self._held)

    def quantity(self, whose: Whose, symbol: str) -> Decimal:
        """The units held: long ones less short ones."""
        if type(whose) is str:
            held = self._held.get(whose)
            position = None if held is None else held.get(symbol)
            return ZERO if position is None else position.quantity
        if type(whose) is Pool:
            return self._net.get((whose, symbol), ZERO)
        assert isinstance(whose, Strategy)
        return self._of_clients.get((whose, symbol), ZERO)

    def touched(self) -> Iterator[tuple[Whose, str]]:
        """Where something is held or on the way: account or pool, and symbol; some of them twice."""
        for account, held in self._held.items():
            yield from ((account, symbol) for symbol in held)
        yield from self._net
        for whose, symbol, _ in (*self._on_the_way, *self._unknown):
            if type(whose) is not Strategy:
                yield whose, symbol

    def on_the_way(self, whose: Whose, symbol: str, side: Side) -> Decimal | None:
        """The units that open orders of that side may still trade; None where one of them may trade any number."""
        key = (whose, symbol, side is BUY)
        return None if key in self._unknown else self._on_the_way.get(key, ZERO)

    def reach(self, whose: Whose, symbol: str) -> tuple[Decimal, Decimal]:
        """The units held with all that open orders may buy, and less all that they may sell; as far as it is known."""
        held, on_the_way = self.quantity(whose, symbol), self._on_the_way
        long = on_the_way.get((whose, symbol, True))
        short = on_the_way.get((whose, symbol, False))
        return held if long is None else held + long, held if short is None else held - short

    def amounts(self, whose: Whose, symbol: str) -> tuple[Decimal, Decimal]:
        """What open orders there may buy and sell of which nobody knows how many units: in the settlement asset."""
        if not self._amounts:
            return ZERO, ZERO
        return self._amounts.get((whose, symbol, True), ZERO), self._amounts.get((whose, symbol, False), ZERO)

    def pools_of(self, account: str) -> tuple[Pool, ...]:
        """The firm, and the account's group."""
        return self._pools.get(account, _FIRM_ALONE)

    def all_symbols(self) -> Iterator[tuple[str, str]]:
        """Account and symbol of everything that is held or on its way; some of them twice."""
        for account, held in self._held.items():
            yield from ((account, symbol) for symbol in held)
        for whose, symbol, _ in (*self._on_the_way, *self._unknown):
            if type(whose) is str:
                yield whose, symbol

    def all_of_clients(self) -> Iterator[tuple[Strategy, str]]:
        """The same by client."""
        yield from self._of_clients
        for whose, symbol, _ in (*self._on_the_way, *self._unknown):
            if type(whose) is Strategy:
                yield whose, symbol

    def reduces(self, order: Order, listed: Listed, open_quantity: Decimal | None = None) -> bool:
        """Whether the position is smaller, and not through zero, once it and all open ones of its side are filled.

        Ten orders that would each reduce it do not all: what is on the way counts (CONTROLS, "Reducing").
        """
        held = self.of(order.account, listed.symbol).quantity
        if not held or (held > 0) == (order.side is BUY):
            return False
        quantity = open_quantity
        if quantity is None:
            quantity = order.quantity if order.quantity is not None else order.volume
        assert quantity is not None
        units = units_of(order, listed, quantity)
        waiting = self.on_the_way(order.account, listed.symbol, order.side)
        return units is not None and waiting is not None and units > 0 and waiting + units <= abs(held)

    def after(self, account: str, symbol: str, change: Changed, fee: Decimal, fee_asset: str = "") -> Position:
        """What a position would become; without an asset the fee is in the settlement's. Raises NotRepresentable."""
        before = self.of(account, symbol)
        realised, fees, other_fees = before.realised, before.fees, before.other_fees
        if change.realised:
            realised = canonical(realised + change.realised)
        if fee and fee_asset:
            other_fees = fees_with(other_fees, fee_asset, fee)
        elif fee:
            fees = canonical(fees + fee)
        return Position(
            canonical(before.quantity + change.quantity),
            canonical(before.cost + change.cost),
            realised,
            fees,
            other_fees,
        )

    # ------------------------------------------------------------------------------------------ carrying out

    def change(self, account: str, symbol: str, change: Changed, fee: Decimal, fee_asset: str = "") -> None:
        self.put(account, symbol, self.after(account, symbol, change, fee, fee_asset))

    def put(self, account: str, symbol: str, position: Position) -> None:
        """Holds that from now on; nothing at all where it is flat and never made anything."""
        held = self._held.get(account)
        if held is None:
            held = self._held[account] = {}
        moved = position.quantity - held.get(symbol, FLAT).quantity
        if moved:
            for pool in self.pools_of(account):
                _add(self._net, (pool, symbol), moved)
        if position != FLAT:
            held[symbol] = position
        else:
            held.pop(symbol, None)
            if not held:
                del self._held[account]
        if moved and self.watcher is not None:
            self.watcher.touch(account, symbol)

    def move_client(self, client: str, symbol: str, units: Decimal) -> None:
        """So many units more have been traded by orders of that client."""
        whose = Strategy(client)
        _add(self._of_clients, (whose, symbol), units)
        if self.watcher is not None:
            self.watcher.touch_client(whose, symbol)

    def expect(self, order: Order, listed: Listed, open_quantity: Decimal, client: str = "") -> None:
        """Counts what an open order of that client may still trade."""
        units = open_quantity if order.volume is None else units_of(order, listed, open_quantity)
        symbol, buys, on_the_way = listed.symbol, order.side is BUY, self._on_the_way
        for whose in self._whose(order.account, client):
            key = (whose, symbol, buys)
            if units is None:
                _add(self._unknown, key, 1)
                _add(self._amounts, key, open_quantity)
            elif units:
                before = on_the_way.get(key)
                on_the_way[key] = units if before is None else before + units
        if self.watcher is not None:
            self._tell(order.account, listed.symbol, client)

    def expect_no_more(self, order: Order, listed: Listed, open_quantity: Decimal, client: str = "") -> None:
        """Takes back what `expect` has counted for that much of the order."""
        units = open_quantity if order.volume is None else units_of(order, listed, open_quantity)
        symbol, buys, on_the_way = listed.symbol, order.side is BUY, self._on_the_way
        for whose in self._whose(order.account, client):
            key = (whose, symbol, buys)
            if units is None:
                assert key in self._unknown, key
                _add(self._unknown, key, -1)
                _add(self._amounts, key, -open_quantity)
            elif units:
                left = on_the_way[key] - units
                assert left >= ZERO, key
                if left:
                    on_the_way[key] = left
                else:
                    del on_the_way[key]
        if self.watcher is not None:
            self._tell(order.account, listed.symbol, client)

    def _tell(self, account: str, symbol: str, client: str) -> None:
        assert self.watcher is not None
        self.watcher.touch(account, symbol)
        if client and self.counts_clients:
            self.watcher.touch_client(Strategy(client), symbol)

    def regroup(self, groups: Mapping[str, str]) -> None:
        """Adds up anew by account to group, where that has changed."""
        pools: dict[str, tuple[Pool, ...]] = {account: (FIRM, Pool(group)) for account, group in groups.items()}
        if pools == self._pools:
            return
        self._pools = pools
        self._net.clear()
        for account, held in self._held.items():
            for symbol, position in held.items():
                self._pool(self._net, account, (symbol,), position.quantity)
        each: tuple[dict[Any, Any], ...] = (self._on_the_way, self._unknown, self._amounts)
        for sums in each:
            own = {key: many for key, many in sums.items() if type(key[0]) is not Pool}
            sums.clear()
            sums.update(own)
            for (whose, *rest), many in own.items():
                if type(whose) is str:
                    self._pool(sums, whose, rest, many)

    def _whose(self, account: str, client: str = "") -> tuple[Whose, ...]:
        if client and self.counts_clients:
            return (account, *self.pools_of(account), Strategy(client))
        return (account, *self._pools.get(account, _FIRM_ALONE))

    def _pool(self, sums: dict[Any, Any], account: str, rest: Iterable[Any], many: Any) -> None:
        for pool in self.pools_of(account):
            _add(sums, (pool, *rest), many)

    def expect_nothing(self) -> None:
        self._on_the_way.clear()
        self._unknown.clear()
        self._amounts.clear()
        if self.watcher is not None:
            self.watcher.restart()

    def save(self) -> list[tuple[str, str, Position]]:
        return [(account, symbol, each) for account in self.accounts() for symbol, each in self.of_account(account)]

    def clients(self) -> list[tuple[str, str, Decimal]]:
        """Client, symbol and units of all that orders of clients have come to."""
        return [(whose.client, symbol, units) for (whose, symbol), units in sorted(self._of_clients.items())]

    def load_clients(self, saved: Sequence[tuple[str, str, Decimal]]) -> None:
        for client, symbol, units in saved:
            self.move_client(client, symbol, units)

    def load(self, saved: Sequence[tuple[str, str, Position]]) -> None:
        for account, symbol, position in saved:
            self.put(account, symbol, position)


_FIRM_ALONE = (FIRM,)


def _add(sums: dict[Any, Any], key: Any, more: Any) -> None:
    """Adds to a sum; one that comes to nothing is not kept."""
    total = sums.get(key, 0) + more
    if total:
        sums[key] = total
    else:
        sums.pop(key, None)
