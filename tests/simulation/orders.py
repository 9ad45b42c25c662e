"""What the model keeps of an order and of a modify of it: where they stand, what they count for, what may follow."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from math import ceil
from typing import Any, NamedTuple

import msgspec

import pit

from . import settings

LIFE = """
                 held         sent         quarantined  working      rolled_back  closed
mark_sent        sent         sent         LeaseExpired Finalized    ended        ended
commit           working      working      working      working      ended        ended
commit_late      working      working      working      working      working      closed
rollback         rolled_back  rolled_back  rolled_back  Finalized    rolled_back  closed
quarantine       quarantined  quarantined  quarantined  Finalized    ended        ended
renew            held         sent         LeaseExpired Finalized    ended        ended
lapse            rolled_back  quarantined  quarantined  working      rolled_back  closed
alive            working      working      working      working      working      closed
final            closed       closed       closed       closed       rolled_back  closed
settle_working   working      working      working      working      ended        ended
settle_not_sent  rolled_back  rolled_back  rolled_back  rolled_back  ended        ended
close            closed       closed       closed       closed       ended        ended
day_end          held         sent         quarantined  closed       rolled_back  closed
"""

LIFE_OF_MODIFY = """
                 held         sent         quarantined  working      rolled_back  closed
mark_sent        sent         sent         LeaseExpired Finalized    ended        ended
commit           working      working      working      working      ended        closed
commit_late      working      working      working      working      working      closed
rollback         rolled_back  rolled_back  rolled_back  Finalized    rolled_back  ended
quarantine       quarantined  quarantined  quarantined  Finalized    ended        closed
renew            held         sent         LeaseExpired Finalized    ended        ended
lapse            rolled_back  quarantined  quarantined  working      rolled_back  closed
replaced         closed       closed       closed       closed       closed       closed
replace_rejected closed       closed       closed       closed       rolled_back  closed
order_ended      rolled_back  closed       closed       closed       rolled_back  closed
settle_working   closed       closed       closed       closed       ended        ended
settle_not_sent  rolled_back  rolled_back  rolled_back  rolled_back  ended        ended
"""


def _read(life: str) -> dict[tuple[str, str], str]:
    head, *rows = [line.split() for line in life.strip().splitlines()]
    return {(row[0], state): cell for row in rows for state, cell in zip(head, row[1:], strict=True)}


TABLE, MODIFY_TABLE = _read(LIFE), _read(LIFE_OF_MODIFY)

NOTHING = Decimal(0)
Said = tuple[Any, ...]
"""What a report says: kind, quantity, price, P&L, fee, and about which fill."""

LEASED = ("held", "sent")
COUNTED = ("held", "sent", "quarantined", "working")
ENDED = ("rolled_back", "closed")


class Booked(NamedTuple):
    """What a fill is by now: as it was told, or told anew, and what that has moved of its account's balances."""

    quantity: Decimal
    price: Decimal
    pnl: Decimal
    fee: Decimal
    symbol: str
    side: pit.Side | None
    """None where nobody knew it then: no position was moved."""
    moves: tuple[tuple[str, Decimal], ...] = ()
    is_undone: bool = False


class Change(msgspec.Struct, kw_only=True):
    """A modify of an order: the one under way, or else the last one."""

    id: int
    order: pit.Order
    client: str
    session: int
    state: str
    left: Decimal
    lease_ns: int
    lease_end_ns: int
    restarts: int = 0
    venue_id: str | None = None
    lost_by_lease: bool = False
    ended_by: str = ""


class Kept(msgspec.Struct, kw_only=True):
    """One order."""

    id: int
    account: str
    order: pit.Order | None
    client: str
    session: int
    state: str
    left: Decimal
    lease_ns: int = 0
    lease_end_ns: int = 0
    restarts: int = 0
    filled: Decimal = NOTHING
    reports: dict[str, Said] = msgspec.field(default_factory=dict)
    fills: dict[str, Booked] = msgspec.field(default_factory=dict)
    """By the report that told each."""
    venue_id: str | None = None
    venue_ids: set[str] = msgspec.field(default_factory=set)
    is_namesake: bool = False
    lost_by_lease: bool = False
    by_operator: bool = False
    is_final: bool = False
    ahead: Decimal = NOTHING
    """What statuses have counted of it that no report of a fill has told yet."""
    known_worth: Decimal = NOTHING
    """What all that is counted of it comes to, at the prices that it was counted at."""
    is_cancel_out: bool = False
    """Whether a cancel of it was let go out that the venue has not refused."""
    change: Change | None = None
    first: pit.Order | None = None
    """As it was taken; None for one that only the venue spoke of first."""
    opened_ns: int = 0
    is_filled: bool = False
    """Whether that nothing was left is what ended it."""

    @property
    def pending(self) -> Change | None:
        """The modify that the venue has not answered."""
        return self.change if self.change is not None and self.change.state in COUNTED else None

    @property
    def is_open(self) -> bool:
        return self.state in COUNTED

    @property
    def goes_on(self) -> bool:
        """Whether it may trade on by new terms, when it is filled by its old ones."""
        return self.pending is not None and self.pending.state != "held" and bool(self.pending.left)

    @property
    def counted(self) -> Decimal:
        """What it counts for in its asset: by the worse of its old terms and those on their way."""
        if self.order is None or not self.is_open:
            return NOTHING
        old = worth(self.order, self.left)
        return old if self.pending is None else max(old, worth(self.pending.order, self.pending.left))

    @property
    def may_trade(self) -> Decimal:
        """How many units it may still trade, by whichever terms are more."""
        if self.order is None or not self.is_open:
            return NOTHING
        old = units(self.order, self.left)
        return old if self.pending is None else max(old, units(self.pending.order, self.pending.left))

    @property
    def traded(self) -> Decimal:
        """How much of it has traded, in what it is for: units, or an amount."""
        assert self.order is not None
        if self.order.volume is None:
            return self.filled
        traded, pending = whole_of(self.order) - self.left, self.pending
        return traded if pending is None else max(traded, whole_of(pending.order) - pending.left)


def whole_of(order: pit.Order) -> Decimal:
    whole = order.quantity if order.quantity is not None else order.volume
    assert whole is not None
    return whole


def worth(order: pit.Order, left: Decimal) -> Decimal:
    """What that much of an order counts for, in its asset."""
    if order.volume is not None:
        return left
    assert order.price is not None
    times = settings.MULTIPLIERS[order.instrument]
    if order.instrument == "XBT":
        return Decimal(ceil(Fraction(left * times) / Fraction(order.price) * 10**9)).scaleb(-9)
    return order.price * left * times


def worth_by_quantity(order: pit.Order, quantity: Decimal) -> Decimal:
    """What so many units of a volume order come to, at its own price."""
    assert order.price is not None
    return order.price * quantity * settings.MULTIPLIERS[order.instrument]


def units(order: pit.Order, left: Decimal) -> Decimal:
    """How many units that much of an order may still trade."""
    if order.volume is None:
        return left
    assert order.price is not None
    worth_of_one = Fraction(order.price * settings.MULTIPLIERS[order.instrument])
    return Decimal(ceil(Fraction(left) / worth_of_one * 10**9)).scaleb(-9)


def rounded(number: Fraction, places: int) -> Decimal:
    """To so many decimals, half to even."""
    return Decimal(round(number * 10**places)).scaleb(-places)


def asset_of(instrument: pit.Instrument | str | None) -> str:
    return "BTC" if instrument == "XBT" else "USD"


def changed(order: pit.Order, told: Any) -> pit.Order:
    """An order with the terms that a modify gives it."""
    said = {"id": told.new_id, "quantity": told.quantity, "volume": told.volume, "price": told.price}
    return msgspec.structs.replace(order, **{name: value for name, value in said.items() if value is not None})
