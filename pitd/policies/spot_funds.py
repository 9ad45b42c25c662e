"""spot_funds: is there what an order would pay with?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar, Literal

import msgspec

from pit.types import Kind, Order, Reject, RejectCode, Side
from pitd.core.instruments import Listed
from pitd.core.limits import Limit, LimitSet
from pitd.core.numbers import ZERO, canonical, divided_up, text, with_percent_up
from pitd.core.policy import (
    PASS,
    Asks,
    Attempt,
    Counter,
    Funds,
    Look,
    Policy,
    Unvalued,
    Verdict,
    order_notional,
)

Amounts = tuple[tuple[str, Decimal], ...]
"""By asset."""


class SpotFunds(Limit, frozen=True, kw_only=True, tag_field="control", tag="spot_funds"):
    """`enforce` refuses what can't be paid for, `track` only counts. `slippage_percent` of its worth is held on top for
    a market order, `fee_percent` for any that pays with money.
    """

    mode: Literal["enforce", "track"] = "enforce"
    slippage_percent: Decimal = ZERO
    fee_percent: Decimal = ZERO


class FundsHeld(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """What one open order may need of its account's assets (`gives`), and what it may bring (`gets`)."""

    account: str
    gives: Amounts
    gets: Amounts
    percents: tuple[Decimal, Decimal]
    """For slippage and for fees."""
    price: Decimal | None = None
    """What a market order was valued at when it was taken."""


class SpotFundsPolicy(Policy):
    """Keeps what open orders of spot instruments may need of what their account has: of each asset, `available` is the
    balance less what is held. A buy holds money: its notional at its limit price, without one at the quote and
    `slippage_percent` more, and `fee_percent` more of that; a volume order its volume. A sell holds units of the
    underlying; one by volume as many as the volume comes to at its price, rounded up to nine decimals. What it may
    bring is told as `incoming` and can't be spent before it is there. Where not enough is available:
    InsufficientFunds for money, InsufficientPosition for the underlying; of a market order without a fresh quote
    MarkPriceUnavailable, unless it gives what needs no price. With `mode = "track"` nothing is refused, and what
    can't be valued is not held. Of several limits over an order the larger percentages count, and one that enforces
    is enough. Orders in futures, swaps and the like need no funds here.

    A fill releases its share at the price it was held at, and moves the balances at the real one, fees included: the
    difference is available at once. A cancel or a rollback releases the rest to the last digit. Balances are the
    engine's (`apply_account_adjustment`): nobody has told them means there is nothing. What fills and fees take beyond
    what was held is truth: then less than nothing is available, and nothing more passes until it is made up.

    An order that reduces a position is judged like any other. This is no limit of size, exposure or position but a
    question of what can be delivered: a sell of what the account owns is covered by that very asset, and so never
    refused; positions prove no ownership, since they are kept by instrument and assets are not: who is long 1 BTC/USD
    and has sold the coin as BTC/EUR has none to sell. To buy back what was sold short takes money as any buy does.

    Example, 1000 USD and no fee: buy 6 @ 100 holds 600; buy 5 @ 100 is refused (needs 500, 400 available); 2 of the 6
    fill at 99: 400 are held, 802 there, 402 available; the rest is cancelled: 802 available, and 2 units to sell.
    """

    id: ClassVar[str] = "spot_funds"
    effect_types = (FundsHeld,)

    def __init__(self, limits: Sequence[SpotFunds], *, cover: bool = True) -> None:
        self._limits = LimitSet(self.id, limits, cover=cover)
        self.limit_names = self._limits.names
        self.is_idle = not limits
        self.asks_for_quotes = Asks.WITHOUT_PRICE
        self.asks_for_balances = bool(limits)
        self._held: dict[tuple[str, str], Decimal] = {}
        self._incoming: dict[tuple[str, str], Decimal] = {}

    def main(self, attempt: Attempt) -> Verdict:
        if attempt.listed.kind is not Kind.SPOT:
            return PASS
        limits = self._limits.matching(attempt)
        if not limits:
            uncovered = self._limits.uncovered(attempt)
            return Verdict(rejects=uncovered) if uncovered else PASS
        order, percents = attempt.order, _percents(_counting(limits))
        enforcing = [limit for limit in limits if limit.mode == "enforce"]
        try:
            if order.price is not None and order.price > 0 and order.volume is None:
                held = _plainly(attempt, percents)
            else:
                taken_at = attempt.price if order.price is None else None
                held = _held(order, attempt.listed, attempt.open_quantity, percents, taken_at)
        except Unvalued as trouble:
            if not enforcing:
                return PASS
            no = [self._limits.reject(limit, attempt, trouble.code, str(trouble)) for limit in enforcing]
            return Verdict(rejects=tuple(no))
        rejects: list[Reject] = []
        for asset, amount in held.gives if enforcing else ():
            total, used = attempt.balance(asset), self._held.get((order.account, asset), ZERO)
            if amount > total - used:
                rejects += (self._short_of(limit, attempt, asset, amount, total, used) for limit in enforcing)
        return Verdict((held,), tuple(rejects))

    def shrink(self, hold: Any, order: Order, listed: Listed, open_quantity: Decimal) -> Any:
        return _held(order, listed, open_quantity, hold.percents, hold.price)

    def rehold(self, held: tuple[Any, ...], attempt: Attempt, open_quantity: Decimal) -> tuple[Any, ...]:
        limits = self._limits.matching(attempt)
        if not limits or attempt.listed.kind is not Kind.SPOT:
            return ()
        taken_at = attempt.price if attempt.order.price is None else None
        if held and held[0].price is not None:
            taken_at = held[0].price
        return (_held(attempt.order, attempt.listed, open_quantity, _percents(_counting(limits)), taken_at),)

    def holds_as(self, before: Policy) -> bool:
        return isinstance(before, SpotFundsPolicy) and _scopes(self._limits) == _scopes(before._limits)

    def held(self, account: str, asset: str) -> Decimal:
        """What open orders may need of it."""
        return self._held.get((account, asset), ZERO)

    def funds(self) -> Mapping[tuple[str, str], Funds]:
        keys = self._held.keys() | self._incoming.keys()
        return {
            key: Funds(canonical(self._held.get(key, ZERO)), canonical(self._incoming.get(key, ZERO))) for key in keys
        }

    def counters(self, limit: str, look: Look) -> list[Counter]:
        """What is held, against what is there: of the accounts that the limit is for."""
        bound = self._limits.by_name[limit]
        if look.balances is None:
            return []
        known = {account for account, _ in self._held} | set(look.balances.accounts())
        names = {f"account {each}": each for each in known if _is_for(bound, each, look.group_of(each))}
        shown = []
        for scope in look.page(names):
            account = names[scope]
            there = dict(look.balances.of_account(account))
            for asset in sorted(there.keys() | {asset for of, asset in self._held if of == account}):
                bare = Counter(scope=scope, what=f"{asset} held", bound=there.get(asset, ZERO))
                shown.append(msgspec.structs.replace(bare, used=canonical(self.held(account, asset))))
        return shown

    def share_of(self, effect: Any, limit: str, scope: str, attempt: Attempt) -> Decimal | None:
        """How much an open order of that account holds of what this one would need: money for a buy, else the asset."""
        if scope != f"account {effect.account}" or attempt.listed.kind is not Kind.SPOT:
            return None
        needed = attempt.listed.settlement if attempt.order.side is Side.BUY else attempt.listed.underlying
        return next((amount for asset, amount in effect.gives if asset == needed), None)

    def uses(self, limit: str, scope: str, attempt: Attempt, look: Look) -> Sequence[Counter]:
        """What is held of what the order would need first, then of all else."""
        is_buy = attempt.order.side is Side.BUY
        needed = f"{attempt.listed.settlement if is_buy else attempt.listed.underlying} held"
        return sorted(super().uses(limit, scope, attempt, look), key=lambda each: each.what != needed)

    def bounds(self, limit: str) -> list[Counter]:
        return [Counter(scope=self._limits.by_name[limit].subject, what="held of what is there", bound=ZERO)]

    def apply(self, effect: Any) -> None:
        for sums, amounts in ((self._held, effect.gives), (self._incoming, effect.gets)):
            for asset, amount in amounts:
                key = (effect.account, asset)
                sums[key] = sums[key] + amount if key in sums else amount

    def undo(self, effect: Any) -> None:
        for sums, amounts in ((self._held, effect.gives), (self._incoming, effect.gets)):
            for asset, amount in amounts:
                key = (effect.account, asset)
                left = sums[key] - amount
                assert left >= 0, (key, left)
                if left:
                    sums[key] = left
                else:
                    del sums[key]

    def save(self) -> Any:
        return [
            [[*key, text(sums[key])] for key in sorted(sums)] for sums in (self._held, self._incoming)
        ]  # fmt: skip

    def load(self, saved: Any) -> None:
        self._held, self._incoming = (
            {(account, asset): Decimal(amount) for account, asset, amount in sums} for sums in saved
        )

    def _short_of(
        self, limit: SpotFunds, attempt: Attempt, asset: str, amount: Decimal, total: Decimal, used: Decimal
    ) -> Reject:
        is_money = asset == attempt.listed.settlement
        code = RejectCode.INSUFFICIENT_FUNDS if is_money else RejectCode.INSUFFICIENT_POSITION
        more = _told_percents(limit, attempt.order) if is_money else ""
        why = (
            f"{attempt.content} needs {text(amount)} {asset}{more}, {text(total - used)} available: "
            f"{text(total)} there, {text(used)} held by open orders"
        )
        return self._limits.reject(limit, attempt, code, why, total, amount, used=used)


def _plainly(attempt: Attempt, percents: tuple[Decimal, Decimal]) -> FundsHeld:
    """What `_held` comes to for nearly every order there is, with half the work: so much, at a price of its own."""
    order, listed, units = attempt.order, attempt.listed, attempt.open_quantity
    if listed.multiplier != 1:
        units = units * listed.multiplier
    if order.side is Side.BUY:
        money = with_percent_up(attempt.notional(), percents[1])
        return FundsHeld(order.account, ((listed.settlement, money),), ((listed.underlying, units),), percents)
    money = attempt.notional()
    return FundsHeld(order.account, ((listed.underlying, units),), ((listed.settlement, money),), percents)


def _held(
    order: Order, listed: Listed, open_quantity: Decimal, percents: tuple[Decimal, Decimal], taken_at: Decimal | None
) -> FundsHeld:
    """What that much of an order may need and bring; a market order valued at what it was taken at. Raises Unvalued for
    what it needs and nobody knows.
    """
    price = order.price if order.price is not None else taken_at
    slippage, fee = percents
    is_market, is_buy = order.price is None, order.side is Side.BUY
    gives: list[tuple[str, Decimal]] = []
    gets: list[tuple[str, Decimal]] = []
    units = _units(order, listed, open_quantity, price, slippage if is_market else ZERO)
    if units is not None:
        (gets if is_buy else gives).append((listed.underlying, units * listed.multiplier))
    elif not is_buy:
        why = f"a volume order in {listed.symbol}, and no price of it is known"
        raise Unvalued(RejectCode.MARK_PRICE_UNAVAILABLE, why)
    is_paying = is_buy if price is None else is_buy == (price >= 0)
    if is_paying:
        worth = order_notional(order, listed, open_quantity, price)
        if is_market and order.volume is None:
            worth = with_percent_up(worth, slippage)
        gives.append((listed.settlement, with_percent_up(worth, fee)))
    elif price is not None:
        gets.append((listed.settlement, order_notional(order, listed, open_quantity, price)))
    return FundsHeld(order.account, _merged(gives), _merged(gets), percents, taken_at if is_market else None)


def _units(
    order: Order, listed: Listed, open_quantity: Decimal, price: Decimal | None, slippage: Decimal
) -> Decimal | None:
    """How many units may trade; of a volume order those that it comes to, once the price has slipped away."""
    if order.volume is None:
        return open_quantity
    if not price or slippage >= _HUNDRED:
        return None
    if not slippage:
        return divided_up(open_quantity, abs(price) * listed.multiplier)
    return divided_up(open_quantity * _HUNDRED, abs(price) * listed.multiplier * (_HUNDRED - slippage))


_HUNDRED = Decimal(100)


def _merged(amounts: Sequence[tuple[str, Decimal]]) -> Amounts:
    """One amount an asset, and none that is nothing."""
    sums: dict[str, Decimal] = {}
    for asset, amount in amounts:
        sums[asset] = sums.get(asset, ZERO) + amount
    return tuple((asset, amount) for asset, amount in sums.items() if amount)


def _is_for(limit: SpotFunds, account: str, group: str | None) -> bool:
    """Whether the limit is for orders of that account, in some instruments at least."""
    only = msgspec.structs.replace(limit.only, instruments=None, settlement=None)
    if not only.matches(account, None, group, None, ""):
        return False
    without = limit.without
    if without is None or without.instruments is not None or without.settlement is not None:
        return True
    return not without.matches(account, None, group, None, "")


def _counting(limits: Sequence[SpotFunds]) -> Sequence[SpotFunds]:
    """Whose percentages count: a shadow's never beside those of live limits, which it must not tighten."""
    return [limit for limit in limits if not limit.shadow] or limits


def _percents(limits: Sequence[SpotFunds]) -> tuple[Decimal, Decimal]:
    if len(limits) == 1:
        return limits[0].slippage_percent, limits[0].fee_percent
    return max(limit.slippage_percent for limit in limits), max(limit.fee_percent for limit in limits)


def _told_percents(limit: SpotFunds, order: Order) -> str:
    told = [("slippage", limit.slippage_percent)] if order.price is None and order.volume is None else []
    shown = [f"{text(percent)}% {what}" for what, percent in (*told, ("fee", limit.fee_percent)) if percent]
    return f" (with {' and '.join(shown)})" if shown else ""


def _scopes(limits: LimitSet[SpotFunds]) -> list[SpotFunds]:
    """Whom the limits are for, and how much they hold: all but whether they refuse, and where they stand."""
    return [msgspec.structs.replace(limit, name="", mode="track", position=0) for limit in limits]
