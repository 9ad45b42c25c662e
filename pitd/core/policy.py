"""What a policy is: it reads state and returns a verdict; the engine carries the verdict out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from enum import IntEnum
from heapq import nsmallest
from itertools import islice
from typing import Any, ClassVar, NamedTuple

import msgspec

from pit.types import Block, ExecutionReport, Order, Reject, RejectCode

from . import pnl
from .balances import Balances
from .currency import PAR, Factor, Rates
from .days import Days, IsNew
from .entry import Hold
from .exposures import Outlook
from .instruments import Listed
from .numbers import ZERO, NotRepresentable
from .pnl import Amounts
from .positions import Pool, Positions, Strategy, Whose, units_of
from .prices import Quote
from .unrealised import Several, Unknown, Unrealised
from .unvalued import Unvalued
from .valuation import Valuation

Subject = tuple[str, str, str | None, str, str]
"""By what limits tell orders apart: account, client, group, symbol and settlement asset."""

NO_DAYS = Days()
"""Where no calendar is known."""


class Attempt:
    """An order on its way through a stage, with what policies may want to know of it.

    It may also be a modify of a working order: then `order` is the order as it is to be, of which `open_quantity` may
    still trade, and nothing of the order as it is counts anywhere while policies are asked (see `Policy`).
    """

    __slots__ = (
        "_balances",
        "_before",
        "_content",
        "_in_firm",
        "_notional",
        "_open_quantity",
        "_outlooks",
        "_positions",
        "_reduces",
        "_valuation",
        "client",
        "days",
        "group",
        "is_modify",
        "listed",
        "now_ns",
        "order",
        "quote",
        "shadow_rejects",
        "subject",
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
        open_quantity: Decimal | None = None,
        before: tuple[Hold, ...] | None = None,
        valuation: Valuation | None = None,
    ) -> None:
        """`before` is what the order holds that this modifies; None for a new one."""
        self.order = order
        self.listed = listed
        self.client = client
        self.group = group
        self.now_ns = now_ns
        self.quote = quote
        """The newest quote, where a policy asks for it (`Policy.asks_for_quotes`) and it is fresh enough."""
        self.days = NO_DAYS if days is None else days
        """Which day it is."""
        self.shadow_rejects: tuple[Reject, ...] = ()
        """What shadow limits would have refused it for, as far as it has come."""
        self._positions = positions
        self._balances = balances
        self._open_quantity = open_quantity
        self._before = before
        self.is_modify = before is not None
        """Whether it changes an order that is working, and is no new one."""
        self._valuation = valuation
        self._outlooks: dict[Whose, Outlook] | None = None
        self._in_firm: Decimal | None = None
        self.subject: Subject = (order.account, client, group, listed.symbol, listed.settlement)
        self._content: str | None = None
        self._notional: Decimal | None = None
        self._reduces: bool | None = None

    @property
    def open_quantity(self) -> Decimal:
        """What may trade: units, or an amount of the settlement asset for a volume order. Of a modified order the part
        that has not traded.
        """
        return whole_quantity(self.order) if self._open_quantity is None else self._open_quantity

    def held_before(self, policy: str) -> tuple[Any, ...]:
        """What the order that this modifies holds by that policy; nothing for a new one."""
        return () if self._before is None else tuple(hold.effect for hold in self._before if hold.policy == policy)

    @property
    def reduces(self) -> bool:
        """Whether it makes a position smaller and not through zero, with all open orders of its side filled as well.

        No size, exposure or position limit may refuse such an order: it would trap a desk in its position.
        """
        if self._reduces is None:
            positions = self._positions
            self._reduces = positions is not None and positions.reduces(self.order, self.listed, self._open_quantity)
        return self._reduces

    def units(self, *, whole: bool = False) -> Decimal:
        """How many units may trade; `whole`: with what has traded of a modified order. Raises Unvalued for a volume
        order where that can't be told.
        """
        quantity = whole_quantity(self.order) if whole else self.open_quantity
        if self.order.quantity is not None:
            return quantity
        units = units_of(self.order, self.listed, quantity)
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
            self._content = content_of(self.order, self.listed.symbol)
        return self._content

    def notional(self, *, whole: bool = False) -> Decimal:
        """The order's worth at `price`, in the settlement asset; `whole`: with what has traded of a modified order.
        Raises Unvalued where that can't be told.
        """
        known = self._notional
        if whole and self._open_quantity is not None:
            return order_notional(self.order, self.listed, whole_quantity(self.order), self.price)
        if known is None:
            order, quantity = self.order, self._open_quantity
            if quantity is None:
                quantity = order.quantity if order.quantity is not None else order.volume
                assert quantity is not None
            price = order.price if order.price is not None else self.price
            known = self._notional = order_notional(order, self.listed, quantity, price)
        return known

    @property
    def firm_currency(self) -> str:
        """The firm's currency; empty where none is configured."""
        return "" if self._valuation is None else self._valuation.rates.firm

    def rate_of(self, asset: str) -> Factor:
        """What a unit of an asset counts in the firm's currency now. Raises Unvalued (ReferenceDataUnavailable)."""
        if self._valuation is None:
            raise Unvalued(RejectCode.REFERENCE_DATA_UNAVAILABLE, f"no rate of {asset} is known")
        return self._valuation.rates.of(asset, self.now_ns)

    def in_firm(self, *, whole: bool = False) -> Decimal:
        """The order's worth in the firm's currency; `whole` as in `notional`. Raises Unvalued."""
        if whole and self._open_quantity is not None:
            return at_rate(self.notional(whole=True), self.rate)
        if self._in_firm is None:
            self._in_firm = at_rate(self.notional(), self.rate)
        return self._in_firm

    @property
    def rate(self) -> Decimal | None:
        """What a unit of the settlement asset counts in the firm's currency; None where it is that. Raises Unvalued."""
        factor = self.rate_of(self.listed.settlement)
        return None if factor is PAR else factor.up

    def worth(self, currency: str | None, *, whole: bool = False) -> Decimal:
        """The order's worth in what a limit counts in: the firm's currency, or (None) the settlement asset."""
        if currency is None and self._open_quantity is None and self._notional is not None:
            return self._notional
        return self.notional(whole=whole) if currency is None else self.in_firm(whole=whole)

    def asset(self, currency: str | None) -> str:
        return self.listed.settlement if currency is None else self.firm_currency

    def outlook(self, whose: Whose) -> Outlook:
        """What the order would make of what they are exposed to. Raises Unvalued where that can't be told."""
        if self._outlooks is None:
            self._outlooks = {}
        known = self._outlooks.get(whose)
        if known is None:
            if self._valuation is None:
                why = f"no mark of {self.listed.symbol} is known"
                raise Unvalued(RejectCode.MARK_PRICE_UNAVAILABLE, why)
            known = self._valuation.exposures.outlook(whose, self.order, self.listed, self.open_quantity)
            self._outlooks[whose] = known
        return known

    @property
    def price(self) -> Decimal | None:
        """The order's own price; for one without, what it would trade at by the quote; None where nobody knows."""
        if self.order.price is not None or self.quote is None:
            return self.order.price
        return self.quote.taken_by(self.order.side)


class Reported:
    """A report on its way to the policies, with the account's group and the asset its money is in."""

    __slots__ = ("days", "group", "made", "now_ns", "report", "settlement")

    def __init__(
        self,
        report: ExecutionReport,
        group: str | None,
        settlement: str,
        now_ns: int,
        days: Days = NO_DAYS,
        made: Amounts | None = None,
    ) -> None:
        self.report = report
        self.group = group
        self.settlement = settlement
        self.now_ns = now_ns
        self.days = days
        self.made = pnl.made(report, settlement, ZERO, is_computed=False) if made is None else made
        """The P&L of it less its fee, by asset: what the account's rule makes of it, told or computed."""


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """What a policy wants: effects to carry out (its own, or a `Block`), and rejects."""

    effects: tuple[Any, ...] = ()
    rejects: tuple[Reject, ...] = ()


class Lift(msgspec.Struct, frozen=True, gc=False):
    """A block of its own that a control takes off: an effect, beside `Block`."""

    scope: str
    limit: str


_ACCOUNT = "account "


class Look(msgspec.Struct, frozen=True, gc=False):
    """What someone wants to see of a control now: so many scopes (or accounts) by name, after the one given."""

    now_ns: int
    after: str
    most: int
    group_of: Callable[[str], str | None]
    positions: Positions | None = None
    settlement_of: Callable[[str], str] = lambda symbol: symbol.rpartition("/")[2]
    """What an instrument is settled in, by its symbol."""
    valuation: Valuation | None = None

    only: str | None = None
    """The one scope that is meant, where it is one."""
    balances: Balances | None = None
    days: Days = NO_DAYS

    def page(self, names: Iterable[str]) -> list[str]:
        """The names that are meant, in order."""
        if self.only is not None:
            return [self.only] if self.only in names else []
        return nsmallest(self.most, {name for name in names if name > self.after})

    def page_of_accounts(self, names: Iterable[str], is_meant: Callable[[str], bool]) -> list[str]:
        """The scopes of accounts by name, in order, of those that are meant: no more are asked about than are told."""
        if self.only is not None:
            name = self.only.removeprefix(_ACCOUNT)
            return [self.only] if name in names and is_meant(name) else []
        after = self.after.removeprefix(_ACCOUNT)
        meant = (name for name in sorted(name for name in names if name > after) if is_meant(name))
        return [f"{_ACCOUNT}{name}" for name in islice(meant, self.most)]

    def at(self, scope: str) -> Look:
        """The same look, at that scope alone."""
        return msgspec.structs.replace(self, only=scope)


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

    What a main-stage effect (a hold) is made of has one shape: text, flags and the like say for whom and what, and
    numbers say how much, of which the one further from zero is worse. By that shape policies take part in modifies
    without a word about them:

    - To judge a modify, the engine takes back what the order holds and what it may still trade, asks `start` and `main`
      about the order as it is to be (`Attempt.open_quantity` is what has not traded of it), and puts everything back.
      So `main` counts what others hold and adds this order, as ever. A limit's no is passed over when the order as it
      is would be refused by the same limit for as much or more: a limit that was tightened refuses no step down.
    - From then on the order holds `worse(old, new)`: limit by limit the worse of the two. Fills shrink old and new each
      by its own terms. When the venue has replaced the order it holds what is left of the new, when the venue refused,
      or nothing was sent, what is left of the old.

    Example, open_order_notional: buy 10 @ 100 holds 1000. A modify to 12 @ 90 (1080) counts 1080 until the venue
    answers; 4 fill: old 600, new 720, 720 counts; the venue refuses: 600 counts.
    """

    id: ClassVar[str]
    """Stable: it stands in rejects and in the journal."""
    state_version: ClassVar[int] = 1
    effect_types: ClassVar[tuple[type, ...]] = ()
    needs_instrument: ClassVar[bool] = True
    """False for a policy that can judge an order whose symbol is not declared."""
    settings_type: ClassVar[type[msgspec.Struct] | None] = None
    """What [policies.NAME.settings] is read into, for an author's own: it is made with `settings=`."""
    limit_type: ClassVar[type[Any] | None] = None
    """The `Limit` of an author's own control: it is made with `limits=`, a `LimitSet` of those under [limits]."""
    needs_cover: ClassVar[bool] = False
    """Whether an order that none of these limits is for is to be refused, where there are any."""
    is_own: ClassVar[bool] = False
    """Whether it is an author's own, and not pitd's."""

    asks_for_quotes: Asks = Asks.NEVER
    """What it asks for comes with the order's entry, as `Attempt.quote`; what nobody asks for costs nothing."""
    asks_for_balances: bool = False
    """Whether fills are to move balances, also of accounts of which nobody has said what they have."""
    asks_for_books: frozenset[str] = frozenset()
    """Whose exposure it looks at: "account", "pool" (groups and the firm), "client"; "underlying" to have them
    kept by that too. For `Attempt.outlook`.
    """
    asks_for_rates: bool = False
    """Whether it converts into the firm's currency. For `Attempt.rate_of` and `Attempt.in_firm`."""
    asks_for_unrealised: bool = False
    """Whether it goes by what positions would make at the newest marks: then it gets `unrealised`, and is asked by
    `revalued`.
    """
    asks_by_account: bool = True
    """Whether it asks `unrealised` for single accounts."""
    several: Mapping[str, Callable[[str], bool]] = {}
    """Its limits that ask for what several accounts would make together, each with whether an account is one of those.
    """
    unrealised: Unrealised | None = None
    groups_of: Callable[[str], str | None] | None = None
    """The group of an account, where `unrealised` is asked for."""
    rates: Rates | None = None
    """What amounts are worth in another asset, where `unrealised` is asked for."""
    currency_of: Callable[[str], str | None] | None = None
    """The asset that an account is kept in, alike."""
    limit_names: Sequence[str] = ()
    """The limits it carries, in the order of the configuration."""
    lifts_by_hand: ClassVar[bool] = False
    """True for a control whose blocks a person lifts by `unblock`, as one's own: it has no room to grant."""
    is_idle: bool = False
    """True for a control without limits: it judges no order. Reports still reach it, so that it knows what happened."""

    def start(self, attempt: Attempt) -> Verdict:
        """The start stage, which sees every order. Its effects are applied even when the order is rejected."""
        return PASS

    def cancel(self, attempt: Attempt) -> Verdict:
        """A cancel of an order that is about to be sent; `attempt` is that order. Its effects are applied in any case,
        its rejects looked at only while nothing stops new risk: then a cancel always goes out.
        """
        return PASS

    def main(self, attempt: Attempt) -> Verdict:
        """The main stage. Its effects are what the order holds: all policies' together, or none."""
        return PASS

    def report(self, reported: Reported) -> Verdict:
        """What a report does. It is truth: rejects are not looked at."""
        return PASS

    def is_step_down(self, reject: Reject, other: Reject, attempt: Attempt, before: Attempt) -> bool:
        """Whether a modify that one of its limits refuses (`reject`) asks that limit for no more than the order as it
        is, which the same limit would refuse too (`other`). As it stands: by `requested`. Override it where that is no
        amount, or one of several.
        """
        if reject.requested is None or other.requested is None:
            return False
        return reject.requested <= other.requested

    def shrink(self, hold: Any, order: Order, listed: Listed, open_quantity: Decimal) -> Any:
        """What a hold comes to once `open_quantity` of the order may still trade. Above zero always. It goes by that
        quantity, not by what it was before: where a fill is undone, more may trade again.
        """
        return hold

    def worse(self, old: tuple[Any, ...], new: tuple[Any, ...]) -> tuple[Any, ...]:
        """What an order holds while a modify of it is not answered: limit by limit the worse of what it holds by its
        old terms and by its new ones. As it stands: of effects that are alike but for their numbers each number that is
        further from zero; what has no like counts by itself. Override it where a number is no amount.
        """
        return worse_of(old, new)

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
        why = f"{limit} ({self.id}) has no latch: there is nothing to rearm"
        return Verdict(rejects=(Reject(code=RejectCode.OTHER, policy=self.id, limit=limit, scope=scope, reason=why),))

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

    def revalued(self, now_ns: int, group_of: Callable[[str], str | None]) -> Verdict:
        """What it does now that marks, rates, positions or P&L are others: those that `unrealised` says have moved."""
        return PASS

    def accounts_with_pnl(self) -> Iterable[str]:
        """Where it asks for `unrealised` and for rates: the accounts that it has anything of, whatever they hold. When
        rates move, `unrealised.moved` names them too, some with each entry.
        """
        return ()

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

    def scope_for(self, limit: str, attempt: Attempt) -> str | None:
        """Whom one of its limits counts an order for; None where it is not for that order. Asked when a person wants to
        know, and never while deciding; as are `uses` and `share`.
        """
        known = getattr(getattr(self, "_limits", None), "by_name", {}).get(limit)
        if known is None:
            return f"account {attempt.order.account}"
        return known.scope_of(attempt) if known.matches_attempt(attempt) else None

    def uses(self, limit: str, scope: str, attempt: Attempt, look: Look) -> Sequence[Counter]:
        """What one of its limits has counted for that scope, beside its bounds."""
        found = self.counters(limit, look.at(scope))
        if found:
            return [each for each in found if each.scope == scope]
        used = None if type(self).counters is Policy.counters else ZERO
        return [msgspec.structs.replace(each, scope=scope, used=used) for each in self.bounds(limit)]

    def share(self, effect: Any, limit: str, scope: str) -> Decimal | None:
        """How much of what a limit counts for a scope an order's hold makes up; None where it is not counted there."""
        if (limit, scope) not in getattr(effect, "counters", ()):
            return None
        amount = getattr(effect, "amount", None)
        return amount if isinstance(amount, Decimal) else Decimal(1)

    def share_of(self, effect: Any, limit: str, scope: str, attempt: Attempt) -> Decimal | None:
        """The same where it depends on the order that a person asks about: a limit may count several things at once."""
        return self.share(effect, limit, scope)

    def waiting(
        self, limit: str, scope: str, order: Attempt, open_quantity: Decimal, attempt: Attempt, look: Look
    ) -> Decimal | None:
        """How much an open order, of which so much may trade, makes up of what a limit counts that holds nothing for
        it; None where it is not counted. `attempt` is the order that a person asks about.
        """
        return None

    def holders(self, limit: str, scope: str, attempt: Attempt, look: Look) -> Sequence[tuple[str, Decimal]]:
        """The accounts that use of a limit what no open order holds, such as positions and losses, and how much."""
        return ()

    def save(self) -> Any:
        """The state as plain values (maps, lists, numbers, text), the same for the same state."""
        return None

    def load(self, saved: Any) -> None:
        """Takes up a saved state."""


def content_of(order: Order, symbol: str) -> str:
    """What an order asks for, in words."""
    price = "market" if order.price is None else _plain(order.price)
    what = symbol if order.volume is None else f"worth of {symbol}"
    where = "" if order.venue is None else f", {order.venue}"
    return f"{order.side.value} {_plain(whole_quantity(order))} {what} at {price}{where}"


def whole_quantity(order: Order) -> Decimal:
    quantity = order.quantity if order.quantity is not None else order.volume
    assert quantity is not None
    return quantity


def worse_of(old: tuple[Any, ...], new: tuple[Any, ...]) -> tuple[Any, ...]:
    """Effects that count, number by number, what is worse of both."""
    worse = list(old)
    for effect in new:
        for place, other in enumerate(worse[: len(old)]):
            both = _worse(other, effect)
            if both is not None:
                worse[place] = both
                break
        else:
            worse.append(effect)
    return tuple(worse)


def _worse(one: Any, other: Any) -> Any | None:
    """What is alike in both, with the greater numbers; None where they are not alike."""
    if one == other:
        return one
    if one is None or other is None:
        return other if one is None else one
    if type(one) is not type(other):
        return None
    if isinstance(one, Decimal | int) and not isinstance(one, bool):
        return max(one, other, key=abs)
    if isinstance(one, msgspec.Struct):
        parts = _worse(msgspec.structs.astuple(one), msgspec.structs.astuple(other))
        return None if parts is None else type(one)(*parts)
    if not isinstance(one, tuple) or len(one) != len(other):
        return None
    parts = []
    for mine, theirs in zip(one, other, strict=True):
        part = mine if mine == theirs else _worse(mine, theirs)
        if part is None and mine != theirs:
            return None
        parts.append(part)
    return type(one)(*parts) if hasattr(one, "_fields") else tuple(parts)


def at_rate(amount: Decimal, rate: Decimal | None) -> Decimal:
    """What an order's worth counts at that rate (`Attempt.rate`). Raises Unvalued where it can't be represented."""
    return amount if rate is None else in_currency(amount, Factor(rate, rate))


def in_currency(amount: Decimal, factor: Factor) -> Decimal:
    """An amount converted by that factor. Raises Unvalued where it can't be represented."""
    if factor is PAR:
        return amount
    try:
        return factor.counted(amount)
    except NotRepresentable:
        why = f"{amount} × {factor.up} cannot be represented"
        raise Unvalued(RejectCode.ORDER_VALUE_CALCULATION_FAILED, why) from None


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
    "Days",
    "Funds",
    "IsNew",
    "Lift",
    "Look",
    "Money",
    "Policy",
    "Pool",
    "Reported",
    "Several",
    "Strategy",
    "Unknown",
    "Unrealised",
    "Unvalued",
    "Verdict",
    "Whose",
    "at_rate",
    "in_currency",
    "order_notional",
    "whole_quantity",
    "worse_of",
]
