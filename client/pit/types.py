"""The trading vocabulary that strategies, the wire and the engine share.

Values are frozen and checked when they are made: what exists is well formed. Numbers go in as `str`, `int`,
`Decimal` or finite `float` (read through its shortest text) and are exact `Decimal` from there on, with at most 18
digits, 9 of them after the point.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from _thread import get_ident
from collections.abc import Callable, Iterator
from datetime import date, datetime
from decimal import Context, Decimal, Inexact, InvalidOperation
from enum import StrEnum
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec
from msgspec.structs import force_setattr

from .errors import InvalidInput

E = TypeVar("E", bound=StrEnum)

MAX_DIGITS = 18
MAX_SCALE = 9
MAX_SUM_DIGITS = 36
MAX_SUM_SCALE = 18
MAX_ID_LENGTH = 64
MAX_REASON_LENGTH = 500

Number = Decimal | int | str | float
"""What is taken where a number is wanted. A float is read through its shortest text: 0.1 is exactly 0.1."""


_read_by: int | None = None
"""The thread that reads what was checked before, if there is one."""


@contextlib.contextmanager
def checked_before() -> Iterator[None]:
    """While it lasts, values that this thread makes are taken as they are: they were checked when they were first made.

    For a reader of its own files, whose every byte has been compared with what was written; one thread at a time.
    """
    global _read_by
    assert _read_by is None, "another thread reads what was checked before"
    _read_by = get_ident()
    try:
        yield
    finally:
        _read_by = None


class Side(StrEnum):
    """Which way an order trades."""

    BUY = "buy"
    SELL = "sell"


class Kind(StrEnum):
    """How an instrument turns price and quantity into money."""

    SPOT = "spot"
    LINEAR = "linear"
    INVERSE = "inverse"


class TimeInForce(StrEnum):
    """How long an order is good at the venue."""

    DAY = "day"
    """Until the end of its account's day."""
    GTC = "gtc"
    """Until it is cancelled."""
    IOC = "ioc"
    """What does not trade at once is cancelled."""
    FOK = "fok"
    """It trades whole and at once, or not at all."""
    GTD = "gtd"
    """Until the end of the day that `good_till` names."""


class ReportKind(StrEnum):
    """What the venue says of an order."""

    ACCEPTED = "accepted"
    FILL = "fill"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    REPLACED = "replaced"
    REPLACE_REJECTED = "replace_rejected"
    CANCEL_REJECTED = "cancel_rejected"
    BUST = "bust"
    CORRECT = "correct"


class VenueState(StrEnum):
    """Where the venue says that an order stands, for sources that tell no single reports."""

    WORKING = "working"
    FILLED = "filled"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REJECTED = "rejected"


class OrderState(StrEnum):
    """Where an order stands. The first four are open and counted against limits."""

    HELD = "held"
    SENT = "sent"
    QUARANTINED = "quarantined"
    WORKING = "working"
    ROLLED_BACK = "rolled_back"
    CLOSED = "closed"


class TradingState(StrEnum):
    """Which new orders a scope takes: any, those that reduce a position, or none. From loose to strict."""

    ACTIVE = "active"
    REDUCING = "reducing"
    HALTED = "halted"


class RejectCode(StrEnum):
    """Why risk said no. The texts are stable: dashboards may count them."""

    INVALID_FIELD_VALUE = "InvalidFieldValue"
    MISSING_REQUIRED_FIELD = "MissingRequiredField"
    RISK_CONFIGURATION_MISSING = "RiskConfigurationMissing"
    ORDER_QTY_EXCEEDS_LIMIT = "OrderQtyExceedsLimit"
    ORDER_NOTIONAL_EXCEEDS_LIMIT = "OrderNotionalExceedsLimit"
    ORDER_EXCEEDS_LIMIT = "OrderExceedsLimit"
    RATE_LIMIT_EXCEEDED = "RateLimitExceeded"
    PNL_KILL_SWITCH_TRIGGERED = "PnlKillSwitchTriggered"
    ACCOUNT_BLOCKED = "AccountBlocked"
    UNKNOWN_ACCOUNT = "UnknownAccount"
    ACCOUNT_NOT_AUTHORIZED = "AccountNotAuthorized"
    INSUFFICIENT_FUNDS = "InsufficientFunds"
    INSUFFICIENT_POSITION = "InsufficientPosition"
    POSITION_LIMIT_EXCEEDED = "PositionLimitExceeded"
    CONCENTRATION_LIMIT_EXCEEDED = "ConcentrationLimitExceeded"
    RISK_LIMIT_EXCEEDED = "RiskLimitExceeded"
    ORDER_VALUE_CALCULATION_FAILED = "OrderValueCalculationFailed"
    MARK_PRICE_UNAVAILABLE = "MarkPriceUnavailable"
    REFERENCE_DATA_UNAVAILABLE = "ReferenceDataUnavailable"
    UNKNOWN_INSTRUMENT = "UnknownInstrument"
    INSTRUMENT_RESTRICTED = "InstrumentRestricted"
    UNSUPPORTED_ORDER_TYPE = "UnsupportedOrderType"
    DUPLICATE_CLIENT_ORDER_ID = "DuplicateClientOrderId"
    WASH_TRADE_PREVENTION = "WashTradePrevention"
    SELF_MATCH_PREVENTION = "SelfMatchPrevention"
    SHORT_SALE_RESTRICTION = "ShortSaleRestriction"
    EXCHANGE_CLOSED = "ExchangeClosed"
    SYSTEM_UNAVAILABLE = "SystemUnavailable"
    ARITHMETIC_OVERFLOW = "ArithmeticOverflow"
    OTHER = "Other"


class Instrument(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is traded, as the pair (underlying, settlement asset): spot, multiplier 1.

    Futures, swaps and anything with a tick, lot or multiplier are declared in the daemon's configuration under a
    symbol; an order then names the symbol instead of the pair. Raises InvalidInput for an empty or unprintable name.
    """

    underlying: str
    settlement: str

    def __post_init__(self) -> None:
        if _read_by is not None and _read_by == get_ident():
            return
        if type(self.underlying) is not str or self.underlying not in _names:
            _check_again(self.underlying, "instrument.underlying")
        if type(self.settlement) is not str or self.settlement not in _names:
            _check_again(self.settlement, "instrument.settlement")

    def __str__(self) -> str:
        return f"{self.underlying}/{self.settlement}"


class Order(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """What a strategy wants to send.

    `quantity` is in units (lots, shares, coins); `volume`, instead of it, is an amount of the settlement asset.
    Exactly one of them is given. `price` is per unit; an order without one is a market order. `id` is the strategy's
    own client order id, unique per account; it is made (18 characters of a-z and 0-9) when left out.

    `time_in_force` says how long it is good at the venue; `good_till`, a date such as "2026-11-24", goes with GTD and
    may be given alone. By the daemon's calendar the end of the account's day closes what works of DAY orders, of GTD
    orders whose day has come, and of IOC and FOK orders whose last report was lost. Without a time in force, as with
    GTC, an order counts until its last report. `venue` says where it goes, for controls that tell venues apart.

    Raises InvalidInput when a value cannot be meant. Whether a well-formed order may go out (a quantity above zero, a
    known symbol, a limit kept) is decided by the engine and answered with `Rejected`.
    """

    account: str
    instrument: Instrument | str
    side: Side
    quantity: Decimal | None = None
    price: Decimal | None = None
    volume: Decimal | None = None
    id: str = ""
    time_in_force: TimeInForce | None = None
    good_till: str | None = None
    venue: str | None = None

    if TYPE_CHECKING:  # what may go in is wider than what is kept

        def __init__(
            self,
            *,
            account: str,
            instrument: Instrument | str,
            side: Side | Literal["buy", "sell"],
            quantity: Number | None = None,
            price: Number | None = None,
            volume: Number | None = None,
            id: str = "",
            time_in_force: TimeInForce | Literal["day", "gtc", "ioc", "fok", "gtd"] | None = None,
            good_till: date | str | None = None,
            venue: str | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        if _read_by is not None and _read_by == get_ident():
            return
        if type(self.account) is not str or self.account not in _names:
            _check_again(self.account, "order.account")
        if not self.id:
            force_setattr(self, "id", _next_id())
        else:
            check_name(self.id, "order.id")
        if type(self.instrument) is not Instrument:
            _check_again(self.instrument, "order.instrument")
        if type(self.side) is not Side:
            force_setattr(self, "side", _choice(Side, self.side, "order.side"))
        quantity: Any = self.quantity
        if quantity is not None:
            number = (type(quantity) is str and _numbers.get(quantity)) or exact(quantity, "order.quantity")
            if number is not quantity:
                force_setattr(self, "quantity", number)
            if self.volume is not None:
                raise InvalidInput("order: give quantity or volume, not both")
        elif (volume := self.volume) is None:
            raise InvalidInput("order: give quantity (units) or volume (an amount of the settlement asset)")
        elif (number := exact(volume, "order.volume")) is not volume:
            force_setattr(self, "volume", number)
        price: Any = self.price
        if price is not None:
            number = (type(price) is str and _numbers.get(price)) or exact(price, "order.price")
            if number is not price:
                force_setattr(self, "price", number)
        if self.time_in_force is not None or self.good_till is not None:
            self._check_time_in_force()
        if self.venue is not None:
            check_name(self.venue, "order.venue")

    def _check_time_in_force(self) -> None:
        if self.good_till is not None:
            force_setattr(self, "good_till", _date(self.good_till, "order.good_till"))
            if self.time_in_force is None:
                force_setattr(self, "time_in_force", TimeInForce.GTD)
        if type(self.time_in_force) is not TimeInForce:
            force_setattr(self, "time_in_force", _choice(TimeInForce, self.time_in_force, "order.time_in_force"))
        if (self.time_in_force is TimeInForce.GTD) is (self.good_till is None):
            raise InvalidInput('order: good_till is a date, such as "2026-11-24", for time_in_force="gtd" and no other')


_NOTHING = Decimal(0)


class ExecutionReport(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """What the venue said of an order.

    The order is named by `order_id`, by `venue_order_id`, or both. `report_id` is the venue's id of this report: the
    same (account, order, report id) is applied once. A fill says `quantity` (units traded now) and `price`; `replaced`
    the whole quantity (volume) and the price that the order has from now on, which may be left out where a modify of it
    is under way. `pnl` is
    the realised profit (negative: loss) and `fee` the cost (positive) in the settlement asset; `pnl - fee` goes to the
    account's realised P&L; where the daemon computes that from fills (`pnl = "computed"`), `pnl` counts for nothing and
    is flagged. A fee in another asset names it: `fee_asset`. `instrument` is needed only where the order may be unknown
    to the daemon.

    A `bust` undoes the fill whose report id is `fill_id`; a `correct` tells it anew: what it gives of `quantity`,
    `price`, `pnl` and `fee` is the fill's from then on, whole and not as a difference, and what it leaves out stays.
    Example: of a fill of 4 at 100 with a fee of 1, `correct` with `price="101"` makes one of 4 at 101 with a fee of 1;
    `fee=0` takes the fee back. Of every other report a `pnl` or a `fee` that is left out is 0. An order that had been
    filled counts as open again for what is undone, until somebody says otherwise.

    Raises InvalidInput when it names no order, or a value cannot be meant.
    """

    account: str
    kind: ReportKind
    report_id: str
    order_id: str | None = None
    venue_order_id: str | None = None
    quantity: Decimal | None = None
    price: Decimal | None = None
    pnl: Decimal | None = None
    fee: Decimal | None = None
    instrument: Instrument | str | None = None
    side: Side | None = None
    fill_id: str | None = None
    fee_asset: str | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            account: str,
            kind: ReportKind
            | Literal[
                "accepted",
                "fill",
                "cancelled",
                "expired",
                "rejected",
                "replaced",
                "replace_rejected",
                "cancel_rejected",
                "bust",
                "correct",
            ],
            report_id: str,
            order_id: str | None = None,
            venue_order_id: str | None = None,
            quantity: Number | None = None,
            price: Number | None = None,
            pnl: Number | None = None,
            fee: Number | None = None,
            instrument: Instrument | str | None = None,
            side: Side | Literal["buy", "sell"] | None = None,
            fill_id: str | None = None,
            fee_asset: str | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        if _read_by is not None and _read_by == get_ident():
            return
        check_name(self.account, "report.account")
        check_name(self.report_id, "report.report_id")
        if type(self.kind) is not ReportKind:
            force_setattr(self, "kind", _choice(ReportKind, self.kind, "report.kind"))
        if self.order_id is None and self.venue_order_id is None:
            raise InvalidInput("report: it names no order; give order_id or venue_order_id")
        if self.order_id is not None:
            check_name(self.order_id, "report.order_id")
        if self.venue_order_id is not None:
            check_name(self.venue_order_id, "report.venue_order_id")
        if self.instrument is not None and type(self.instrument) is not Instrument:
            check_name(self.instrument, "report.instrument")
        if self.side is not None and type(self.side) is not Side:
            force_setattr(self, "side", _choice(Side, self.side, "report.side"))
        if self.fee_asset is not None:
            check_name(self.fee_asset, "report.fee_asset")
        for name in ("quantity", "price", "pnl", "fee"):
            value = getattr(self, name)
            if value is not None:
                force_setattr(self, name, exact(value, f"report.{name}"))
        if self.kind is not ReportKind.CORRECT:
            if self.pnl is None:
                force_setattr(self, "pnl", _NOTHING)
            if self.fee is None:
                force_setattr(self, "fee", _NOTHING)
        if self.fill_id is not None:
            check_name(self.fill_id, "report.fill_id")
        if self.kind is ReportKind.BUST or self.kind is ReportKind.CORRECT:
            if self.fill_id is None:
                raise InvalidInput(f"report: {self.kind} of which fill? give its report id as fill_id")
        elif self.fill_id is not None:
            raise InvalidInput(f"report: {self.kind} is about no other report; only bust and correct carry a fill_id")
        if self.kind is ReportKind.FILL:
            if self.quantity is None or self.quantity <= 0:
                raise InvalidInput("report: a fill needs a quantity above zero")
        elif self.kind is ReportKind.CORRECT:
            if self.quantity is not None and self.quantity <= 0:
                raise InvalidInput("report: the quantity that a fill is corrected to is above zero; a bust undoes it")
            if self.quantity is None and self.price is None and self.pnl is None and self.fee is None:
                raise InvalidInput("report: a correct changes nothing; give quantity, price, pnl or fee")
        elif self.kind is ReportKind.REPLACED:
            if self.quantity is not None and self.quantity <= 0:
                raise InvalidInput("report: the quantity that an order was replaced by is above zero")
        elif self.quantity is not None:
            raise InvalidInput(f"report: {self.kind} carries no quantity; only fill, correct and replaced do")


class OrderStatus(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """How an order stands at the venue, for sources that know sums only: so much of it has traded (`cum_quantity`,
    units), at that average price. What is missing against the daemon's own count is booked; reports of the same fills
    count nothing more, whichever comes first, and an older status changes nothing. Nor does one that says no more than
    was known before a fill was busted, or corrected to less (flag "unclear_status"): it may be from before that. What
    has traded anew since is to be told by a report.

    The order is named by `order_id`, by `venue_order_id`, or both; `instrument` and `side` are needed only where it may
    be unknown to the daemon. Raises InvalidInput when it names no order, or a value cannot be meant.
    """

    account: str
    cum_quantity: Decimal
    average_price: Decimal | None = None
    status: VenueState = VenueState.WORKING
    order_id: str | None = None
    venue_order_id: str | None = None
    instrument: Instrument | str | None = None
    side: Side | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            account: str,
            cum_quantity: Number,
            average_price: Number | None = None,
            status: VenueState | Literal["working", "filled", "cancelled", "expired", "rejected"] = VenueState.WORKING,
            order_id: str | None = None,
            venue_order_id: str | None = None,
            instrument: Instrument | str | None = None,
            side: Side | Literal["buy", "sell"] | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        if _read_by is not None and _read_by == get_ident():
            return
        check_name(self.account, "status.account")
        if self.order_id is None and self.venue_order_id is None:
            raise InvalidInput("status: it names no order; give order_id or venue_order_id")
        if self.order_id is not None:
            check_name(self.order_id, "status.order_id")
        if self.venue_order_id is not None:
            check_name(self.venue_order_id, "status.venue_order_id")
        if self.instrument is not None and type(self.instrument) is not Instrument:
            check_name(self.instrument, "status.instrument")
        if type(self.status) is not VenueState:
            force_setattr(self, "status", _choice(VenueState, self.status, "status.status"))
        if self.side is not None and type(self.side) is not Side:
            force_setattr(self, "side", _choice(Side, self.side, "status.side"))
        force_setattr(self, "cum_quantity", exact(self.cum_quantity, "status.cum_quantity"))
        if self.cum_quantity < 0:
            raise InvalidInput("status: a cum_quantity of zero or more is wanted")
        if self.average_price is not None:
            force_setattr(self, "average_price", exact(self.average_price, "status.average_price"))


class Reject(msgspec.Struct, frozen=True, array_like=True, kw_only=True, omit_defaults=True, gc=False):
    """One policy's no: a stable code, who says it, for which scope, a sentence, and the numbers behind it.

    `policy` is the control, `limit` the name of the limit in the configuration (or the control's own name), `scope`
    what it counts by, such as "account alpha". `bound` is the configured number, `used` what was counted before,
    `requested` what this order would add; `retry_after_s` is when trying again can succeed, in seconds.
    """

    code: RejectCode
    policy: str
    limit: str
    scope: str
    reason: str
    bound: Decimal | None = None
    used: Decimal | None = None
    requested: Decimal | None = None
    retry_after_s: float | None = None

    def __str__(self) -> str:
        return f"{self.limit} ({self.code}): {self.reason}"


class Rejected(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """The engine's no: falsy, printable, with nothing to execute or commit.

    `rejects` holds every reject of the stage in the order of the configuration; the attributes `code`, `policy`,
    `limit`, `scope`, `reason`, `bound`, `used`, `requested` and `retry_after_s` are the first one's.
    `shadow_rejects` is what shadow limits, which refuse nothing, would have said as well.
    """

    order_id: str
    rejects: tuple[Reject, ...]
    shadow_rejects: tuple[Reject, ...] = ()

    def __bool__(self) -> Literal[False]:
        return False

    @property
    def ok(self) -> Literal[False]:
        return False

    @property
    def code(self) -> RejectCode:
        return self.rejects[0].code

    @property
    def codes(self) -> tuple[RejectCode, ...]:
        return tuple(reject.code for reject in self.rejects)

    @property
    def policy(self) -> str:
        return self.rejects[0].policy

    @property
    def limit(self) -> str:
        return self.rejects[0].limit

    @property
    def scope(self) -> str:
        return self.rejects[0].scope

    @property
    def reason(self) -> str:
        return self.rejects[0].reason

    @property
    def bound(self) -> Decimal | None:
        return self.rejects[0].bound

    @property
    def used(self) -> Decimal | None:
        return self.rejects[0].used

    @property
    def requested(self) -> Decimal | None:
        return self.rejects[0].requested

    @property
    def retry_after_s(self) -> float | None:
        return self.rejects[0].retry_after_s

    def __str__(self) -> str:
        return "refused: " + "; ".join(str(reject) for reject in self.rejects)


class Block(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """A scope that may not trade: "account alpha", "client mm1", "group crypto" or "firm"; since which limit or person,
    and why. Where `state` is REDUCING, orders that reduce a position pass.
    """

    scope: str
    code: RejectCode
    limit: str
    reason: str
    author: str
    state: TradingState = TradingState.HALTED

    def __str__(self) -> str:
        only = " but for what reduces" if self.state is TradingState.REDUCING else ""
        return f"{self.scope} blocked{only} by {self.author}: {self.reason}"


class Restriction(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """The trading state of a scope ("firm", "group us", "account alpha", "instrument AAPL/USD"), by whom, and why."""

    scope: str
    state: TradingState
    author: str
    reason: str

    def __str__(self) -> str:
        only = " only, set" if self.state is TradingState.REDUCING else ""
        return f"{self.scope} is {self.state}{only} by {self.author}: {self.reason}"


class CancelRequest(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """An open order that is to be cancelled at the venue, because of a stop or because a person wants it.

    Cancel it there, and report what the venue says: the order's end is the confirmation. `scope`, `limit`, `author` and
    `reason` say what wants it ("cancel_all": a person, without a stop), `asked_s` how long ago. `client` sends the
    order; where `is_own` is False that is another, who did not confirm in time.
    """

    order: Order
    reservation_id: int
    client: str
    is_own: bool
    state: OrderState
    open_quantity: Decimal
    scope: str
    limit: str
    author: str
    reason: str
    asked_s: float
    venue_order_id: str | None = None


class AccountPosition(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """What an account holds of an instrument and what it has made of it, from the fills and fees that were reported.

    `quantity` is in units, below zero when short; `cost` is what it was bought for (below zero: sold for) in
    `settlement`. `average_price` is for people: their quotient, rounded half-even to nine decimals, and None where
    nothing is held or nobody told a price. `realised` is the P&L of what was closed, at average cost and before `fees`;
    `other_fees` are those in other assets, as (asset, amount). `mark` is what the instrument cost when that was last
    told, `mark_age_s` ago, and `unrealised` what closing all of it there would make; None where nobody has told.

    Of an account that is kept in a `currency` of its own, `made` is what was realised less all fees in that, whatever
    they were of, and `unrealised_in_currency` says itself; as limits count it, at the rates that are newest now, and
    None where one is missing or stale.
    """

    account: str
    instrument: str
    settlement: str
    quantity: Decimal
    cost: Decimal
    average_price: Decimal | None
    realised: Decimal
    fees: Decimal
    other_fees: tuple[tuple[str, Decimal], ...] = ()
    mark: Decimal | None = None
    unrealised: Decimal | None = None
    mark_age_s: float | None = None
    currency: str | None = None
    made: Decimal | None = None
    unrealised_in_currency: Decimal | None = None


class AccountBalance(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """What an account has of an asset: `total`, as it was told and as fills and fees have moved it since.

    `held` is what its open orders may need of it, `incoming` what they may bring, both as far as a spot_funds limit
    counts them. `available` is `total - held`: below zero where fills, fees or a person took more than there was.
    `worth` is what the total is worth in the `currency` that the account is kept in, as limits count it; None where a
    rate is missing or stale.
    """

    account: str
    asset: str
    total: Decimal
    held: Decimal = Decimal(0)
    incoming: Decimal = Decimal(0)
    currency: str | None = None
    worth: Decimal | None = None

    @property
    def available(self) -> Decimal:
        return exactly_less(self.total, self.held)


class BalanceAdjustment(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag=True, gc=False):
    """What an account has of an asset: `set_to` an amount, or `move_by` a difference. Raises InvalidInput.

    `expected` is what it is taken to be now: where it is another, nothing of the whole adjustment is done.
    """

    account: str
    asset: str
    set_to: Decimal | None = None
    move_by: Decimal | None = None
    expected: Decimal | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            account: str,
            asset: str,
            set_to: Number | None = None,
            move_by: Number | None = None,
            expected: Number | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        if _read_by is not None and _read_by == get_ident():
            return
        check_name(self.account, "adjustment.account")
        check_name(self.asset, "adjustment.asset")
        _set_or_moved(self, "set_to", "move_by", "expected")


class PositionAdjustment(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag=True, gc=False):
    """What an account holds of an instrument and what that cost: `set_to` so many units, or `move_by` a difference.

    Units below zero are short. `cost` is what they were bought for in the settlement asset (sold for: below zero), or,
    instead of it, `price` is the average price; of a difference both are of the units moved. Neither is needed for
    nothing at all. Of an inverse instrument cost is -quantity × multiplier / price. Realised P&L and fees stay.
    `expected` is how many units are taken to be held now: where it is another number, nothing of the whole adjustment
    is done. Raises InvalidInput.
    """

    account: str
    instrument: Instrument | str
    set_to: Decimal | None = None
    move_by: Decimal | None = None
    cost: Decimal | None = None
    price: Decimal | None = None
    expected: Decimal | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            account: str,
            instrument: Instrument | str,
            set_to: Number | None = None,
            move_by: Number | None = None,
            cost: Number | None = None,
            price: Number | None = None,
            expected: Number | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        if _read_by is not None and _read_by == get_ident():
            return
        check_name(self.account, "adjustment.account")
        if type(self.instrument) is not Instrument:
            check_name(self.instrument, "adjustment.instrument")
        _set_or_moved(self, "set_to", "move_by", "cost", "price", "expected")
        if self.cost is not None and self.price is not None:
            raise InvalidInput("adjustment: give cost or price, not both")
        if self.cost is None and self.price is None and (self.set_to or self.move_by):
            raise InvalidInput("adjustment: say what the units cost: cost, or price for the average price")
        if self.cost and not (self.set_to if self.set_to is not None else True):
            raise InvalidInput(f"adjustment.cost: nothing held costs nothing, not {self.cost}")


class PnlAdjustment(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag=True, gc=False):
    """An account's realised P&L in a settlement asset, as P&L limits count it: `set_to` an amount, or `move_by` a
    difference. It may trip them, as a report may. Raises InvalidInput.
    """

    account: str
    settlement: str
    set_to: Decimal | None = None
    move_by: Decimal | None = None

    if TYPE_CHECKING:

        def __init__(
            self, *, account: str, settlement: str, set_to: Number | None = None, move_by: Number | None = None
        ) -> None: ...

    def __post_init__(self) -> None:
        if _read_by is not None and _read_by == get_ident():
            return
        check_name(self.account, "adjustment.account")
        check_name(self.settlement, "adjustment.settlement")
        _set_or_moved(self, "set_to", "move_by")


Adjustment = BalanceAdjustment | PositionAdjustment | PnlAdjustment
"""One thing of an account that is set or moved."""


def _set_or_moved(adjustment: Adjustment, *names: str) -> None:
    """Reads an adjustment's numbers; exactly one of the first two is wanted."""
    for name in names:
        value = getattr(adjustment, name)
        if value is not None:
            force_setattr(adjustment, name, exact_sum(value, f"adjustment.{name}"))
    if (adjustment.set_to is None) == (adjustment.move_by is None):
        raise InvalidInput("adjustment: give set_to or move_by, one of them")


class AdjustmentResult(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """What an adjustment came to: how many of its parts changed something, and the blocks that it has tripped.

    `already_applied` says that this very adjustment, by its id, was here before, and changed nothing now.
    """

    changed: int
    already_applied: bool = False
    blocks: tuple[Block, ...] = ()


class CalendarDay(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """The day of a scope ("firm", "account alpha"), by the date that it goes by, and when the next one begins.

    `ends_wall_ns` is when it ends, where that is before the next one begins and has not come yet (`is_over`). Moments
    are of wall time, in nanoseconds since 1970.
    """

    scope: str
    day: str
    began_wall_ns: int
    is_over: bool
    ends_wall_ns: int | None
    next_day: str
    begins_wall_ns: int
    zone: str


class MarketHours(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """Whether the market is open whose hours a limit names, and until when; None: not within the next days."""

    limit: str
    is_open: bool
    until_wall_ns: int | None
    zone: str


class Calendar(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """Which day it is, what is open, and when that changes."""

    days: tuple[CalendarDay, ...]
    hours: tuple[MarketHours, ...]


class LimitOverride(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """A number of a limit that a person has set at run time, in the place of the configured one.

    `value` was asked for, `set_over` was configured then and `base` is configured now; `in_force` is what holds. While
    `base` is what it was, the value holds; once it is another, the tighter of the two. None: no such number.
    """

    limit: str
    key: str
    value: str
    set_over: str | None
    base: str | None
    in_force: str | None
    author: str
    reason: str
    since_wall_ns: int
    until_wall_ns: int | None = None

    def __str__(self) -> str:
        holds = "" if self.in_force == self.value else f", in force {self.in_force or 'nothing'}"
        configured = f"configured {self.base or 'nothing'}"
        return f"{self.limit} {self.key} = {self.value}{holds} ({configured}) by {self.author}: {self.reason}"


class ReloadResult(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """What a reload came to, or would, in words: what is different from here on, what waits for the next start, where
    the configuration has changed under a number that a person had set, and which limits trip at once, as somebody is
    past a new bound already.
    """

    changes: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    disagreements: tuple[str, ...] = ()
    past: tuple[str, ...] = ()


class ReportResult(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """What a report came to.

    `already_applied` says that this very report was here before. `state` and `open_quantity` are the order's after it
    (None when the order is unknown). `flags` names what an operator should look at: "unknown_order", "after_close",
    "after_rollback", "overfill", "reopened" (a fill of it was undone), "shared_venue_id", "unknown_account" (it is not
    declared), "pnl_ignored". `blocks` names those that this report has tripped.
    """

    order_id: str | None
    state: OrderState | None
    open_quantity: Decimal | None
    already_applied: bool = False
    flags: tuple[str, ...] = ()
    blocks: tuple[Block, ...] = ()

    @property
    def ok(self) -> Literal[True]:
        return True


class OpenModify(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """A modify of an open order that the venue has not answered: the order as it is to be, and where the modify stands.
    `engine.reservation(open_order, modify=True)` is its handle.
    """

    reservation_id: int
    order: Order
    state: OrderState
    lease_left_s: float | None = None


class ClearedCancel(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """A cancel that may go out now: of which order, by what id at the venue, and how much of it may still trade.
    `shadow_rejects`: what shadow limits would have refused it for.
    """

    account: str
    order_id: str
    venue_order_id: str | None
    state: OrderState
    open_quantity: Decimal
    shadow_rejects: tuple[Reject, ...] = ()

    @property
    def ok(self) -> Literal[True]:
        return True

    def __bool__(self) -> Literal[True]:
        return True


class DropCopyResult(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """What a drop copy of an order came to: it is counted, whatever limits say. Truthy.

    `was_known`: the gate knows the order, and nothing is counted anew. `flags`: "drop_copy" of one that never passed
    the gate, "over_limit" where limits would have refused it, "terms_differ" where other terms are known here.
    `breaches` are what they would have refused it for, `blocks` what it has tripped.
    """

    order_id: str
    reservation_id: int
    state: OrderState
    open_quantity: Decimal
    was_known: bool = False
    flags: tuple[str, ...] = ()
    breaches: tuple[Reject, ...] = ()
    blocks: tuple[Block, ...] = ()

    @property
    def ok(self) -> Literal[True]:
        return True


class OpenOrder(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """One open order as the daemon counts it: how a restarted strategy finds its own.

    `open_quantity` is what may still trade (an amount of the settlement asset for volume orders). `lease_left_s` is
    None once no lease runs (quarantined and working orders). `modify` is one that is under way.
    """

    reservation_id: int
    order: Order
    state: OrderState
    open_quantity: Decimal
    venue_order_id: str | None = None
    lease_left_s: float | None = None
    flags: tuple[str, ...] = ()
    modify: OpenModify | None = None


class Outcome(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """What became of an order id: its state, why it ended (None while it is open), and what was filled."""

    account: str
    order_id: str
    state: OrderState
    ended_by: str | None
    reason: str
    filled_quantity: Decimal
    open_quantity: Decimal
    venue_order_id: str | None = None
    flags: tuple[str, ...] = ()


def exact(value: Number, name: str) -> Decimal:
    """The exact decimal behind a number, as text would give it. Raises InvalidInput naming the field."""
    if type(value) is Decimal:
        text = str(value)
        if len(text) <= MAX_SCALE + 1 and "E" not in text and value.is_finite():
            return value  # few enough digits, wherever the point stands: by far the usual case
        return _checked(value, name)
    if type(value) is str:
        known = _numbers.get(value)
        if known is None:
            known = _checked(_decimal(value, name), name)
            if len(value) <= _LONGEST_KEPT:
                if len(_numbers) >= _NUMBERS_KEPT:
                    _numbers.clear()
                _numbers[value] = known
        return known
    return _checked(_decimal(value, name), name)


_numbers: dict[str, Decimal] = {}
"""Prices and sizes as they were written lately: a strategy writes the same ones again and again."""

_NUMBERS_KEPT, _LONGEST_KEPT = 4_096, 40


def _checked(value: Decimal, name: str) -> Decimal:
    _, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        raise InvalidInput(f"{name}: a finite number is wanted, not {value}")
    if -MAX_SCALE <= exponent <= 0 and len(digits) <= MAX_DIGITS:
        return value
    return _squeezed(value, name)


def exact_sum(value: Number, name: str) -> Decimal:
    """The same for what has been added up: with up to 36 digits, 18 of them after the point. Raises InvalidInput."""
    number = value if type(value) is Decimal else _decimal(value, name)
    if not number.is_finite():
        raise InvalidInput(f"{name}: a finite number is wanted, not {number}")
    if not number:
        return Decimal(0)
    if number.adjusted() < MAX_SUM_DIGITS - MAX_SUM_SCALE and len(number.as_tuple().digits) <= 2 * MAX_SUM_DIGITS:
        stripped = number.normalize(_WIDE)
        exponent = stripped.as_tuple().exponent
        if isinstance(exponent, int) and exponent >= -MAX_SUM_SCALE:
            return stripped if exponent <= 0 else stripped.quantize(Decimal(1), context=_WIDE)
    raise InvalidInput(
        f"{name}: at most {MAX_SUM_DIGITS} digits, {MAX_SUM_SCALE} of them after the point, not {str(number)[:60]}"
    )


def _decimal(value: Number, name: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, (str, int, float, Decimal)):
        raise InvalidInput(f"{name}: a number is wanted (str, int, Decimal or float), not {value!r}")
    try:
        return Decimal(repr(value) if isinstance(value, float) else value)
    except (InvalidOperation, ValueError):
        raise InvalidInput(f"{name}: not a number: {str(value)[:80]!r}") from None


def _squeezed(value: Decimal, name: str) -> Decimal:
    """The same number in few enough digits, once trailing zeros and exponents are written out."""
    significant = "".join(map(str, value.as_tuple().digits)).strip("0") or "0"
    if not value:
        return Decimal(0)
    if len(significant) <= MAX_DIGITS and -MAX_SCALE <= value.adjusted() < MAX_DIGITS:
        text = f"{value:f}"
        plain = Decimal(text.rstrip("0").rstrip(".") if "." in text else text)
        _, digits, exponent = plain.as_tuple()
        if isinstance(exponent, int) and exponent >= -MAX_SCALE and len(digits) <= MAX_DIGITS:
            return plain
    shown = str(value)
    raise InvalidInput(
        f"{name}: at most {MAX_DIGITS} digits, {MAX_SCALE} of them after the point, not {shown[:40]}"
        + ("…" if len(shown) > 40 else "")
    )


def exactly_less(one: Decimal, other: Decimal) -> Decimal:
    """The difference of two sums, exact whatever context the caller has."""
    return _WIDE.subtract(one, other)


_WIDE = Context(prec=80, traps=[Inexact, InvalidOperation])


def check_name(value: object, field: str) -> None:
    """Raises InvalidInput unless the value is 1 to 64 printable characters."""
    if type(value) is str and value.isalnum() and len(value) <= MAX_ID_LENGTH:
        return  # letters and digits can be printed: by far the usual case
    if type(value) is not str or not 0 < len(value) <= MAX_ID_LENGTH or not value.isprintable() or value.isspace():
        shown = repr(value[:80]) if isinstance(value, str) else f"a value of type {type(value).__name__}"
        raise InvalidInput(f"{field}: 1 to {MAX_ID_LENGTH} printable characters are wanted, not {shown}")


_names: set[str] = set()
"""Names of accounts and instruments that have been found good lately: each order names the same few again."""


def _check_again(value: object, field: str) -> None:
    """The same for what is said again and again."""
    check_name(value, field)
    if len(_names) >= _NAMES_KEPT:
        _names.clear()
    _names.add(value)  # type: ignore[arg-type]


_NAMES_KEPT = 4_096


def _choice(choices: type[E], value: object, field: str) -> E:
    try:
        return choices(value)  # type: ignore[arg-type]
    except ValueError:
        raise InvalidInput(f"{field}: one of {', '.join(choices)} is wanted, not {value!r}") from None


def _date(value: object, field: str) -> str:
    with contextlib.suppress(ValueError):
        if isinstance(value, date) and not isinstance(value, datetime):
            return value.isoformat()
        if isinstance(value, str) and len(value) == 10:
            return date.fromisoformat(value).isoformat()
    raise InvalidInput(f'{field}: a date is wanted, such as "2026-11-24", not {str(value)[:80]!r}')


_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]


def make_order_id() -> str:
    """18 characters of a-z and 0-9: nine drawn at random for this process, nine that count."""
    return _next_id()


def _drawn() -> Callable[[], str]:
    """Gives one id after the other. No line of Python runs for one, so threads need no lock, and it is cheap."""
    drawn = int.from_bytes(os.urandom(8))
    prefix = "".join(_ALPHABET[drawn // 36**at % 36] for at in range(9))
    begins = map(prefix.__add__, map("".join, itertools.product(_ALPHABET, repeat=7)))
    rounds = map(map, map(attrgetter("__add__"), begins), itertools.repeat(_PAIRS))  # each of 1,296 ids
    return itertools.chain.from_iterable(rounds).__next__


_next_id = _drawn()


def _draw_anew() -> None:
    global _next_id
    _next_id = _drawn()


os.register_at_fork(after_in_child=_draw_anew)
