"""pnl_kill_switch: has an account, a group or the firm lost (or won) so much that it must stop?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple

import msgspec

from pit.types import Block, Reject, RejectCode, TradingState
from pitd.core.limits import Limit, LimitSet
from pitd.core.numbers import ZERO, NotRepresentable, canonical, text
from pitd.core.policy import (
    PASS,
    Attempt,
    Counter,
    IsNew,
    Lift,
    Look,
    Money,
    Policy,
    Reported,
    Several,
    Unknown,
    Unvalued,
    Verdict,
)

MAX_AGE_NS = 60_000_000_000


class PnlBound(Limit, frozen=True, kw_only=True, tag_field="control", tag="pnl_kill_switch"):
    """`max_loss`, `max_profit` and `max_drawdown` are positive amounts of the settlement asset, or of the `currency`
    that everything is converted into; at least one of them.

    `initial_pnl` is what an account brings along: it counts once, at the first sight of the account. `per` "day" counts
    from the beginning of each day, `then` says what a trip leaves: nothing, or what reduces a position.
    """

    max_loss: Decimal | None = None
    max_profit: Decimal | None = None
    initial_pnl: Decimal | None = None
    max_drawdown: Decimal | None = None
    per: Literal["day"] | None = None
    then: Literal["halt", "reduce"] = "halt"
    on: Literal["realised", "unrealised", "both"] = "realised"
    currency: Literal["account", "firm"] | None = None
    """Whose currency it counts in, over all assets; None for the one settlement asset that it names."""
    max_age_ns: int = MAX_AGE_NS
    """How old a mark may be that positions are valued by."""

    @property
    def is_valued(self) -> bool:
        """Whether it goes by more than reports tell: by marks, or by rates."""
        return self.on != "realised" or self.currency is not None

    @property
    def is_followed(self) -> bool:
        """Whether it goes by more than what the P&L is: by what it was at the beginning of the day, or at its peak."""
        return self.per is not None or self.max_drawdown is not None


class Realised(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """P&L that an account made; `counters` are the (limit, scope) pairs it also goes to."""

    account: str
    settlement: str
    amount: Decimal
    counters: tuple[tuple[str, str], ...]


class Tripped(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    limit: str
    scope: str


class Lifted(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """A latch that a person took off while its limit was not configured."""

    limit: str
    scope: str


class Rearmed(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """New bounds for one scope of a limit: the P&L at which it trips next."""

    limit: str
    scope: str
    floor: Decimal | None
    ceiling: Decimal | None


class Begun(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """What a limit over the firm or a group begins its sum with."""

    limit: str
    scope: str
    amount: Decimal
    asset: str = ""
    """Of a limit that converts: what the amount is of."""


class Followed(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """Where one scope of a limit counts from, and the highest P&L since."""

    limit: str
    scope: str
    base: Decimal
    peak: Decimal


class Turned(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """A new day of one scope: it counts from that P&L, and neither its trip nor the room it was granted hold on."""

    limit: str
    scope: str
    base: Decimal | None
    """None: from the first that can be told."""


class Forgotten(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """The sum of a limit that is no longer configured, or counts in something else."""

    limit: str
    scope: str
    is_mixed: bool = False


class _OfMoney(LimitSet[PnlBound]):
    """The limits for what an order may make its account, whichever client asks for it and in whatever instrument."""

    def is_for(self, limit: PnlBound, attempt: Attempt) -> bool:
        return limit.matches(attempt.order.account, None, attempt.group, None, attempt.listed.settlement)


class PnlKillSwitch(Policy):
    """Keeps realised P&L per (account, settlement asset): the sum of `pnl - fee` over reports. Reaching a bound trips:
    the scope is blocked with PnlKillSwitchTriggered, and later profit does not lift it. The tripping report itself is
    always applied. `rearm` grants new room from where the P&L stands; the P&L stays true. A limit over the firm or a
    group keeps a sum of its own, over every account it selects, and blocks them all; where a new configuration brings
    one, it begins with what is known of its accounts. A bound that was moved behind the P&L by a new configuration
    trips at the next order.

    The P&L is what reports tell, or, of an account with `pnl = "computed"`, what its fills have closed at average cost
    (`core.positions`); a fee in another asset is a loss of that asset.

    `max_drawdown` trips where the P&L has fallen by so much from its peak; the peak begins with the P&L at which the
    limit first sees the scope. `rearm` grants at most `max_drawdown` of room, and has it fall by so much from there.

    `per = "day"` counts from what the P&L was when the day began: the account's day with `each`, the firm's with
    `over` ([calendar], [accounts.NAME]). A new day lifts the trip of the one before, and any room that was granted: a
    loss of the day stops the day. An account that is first seen in the middle of a day begins it with nothing, and
    what it brings along counts. A limit that a new configuration brings counts from the P&L at which it first sees a
    scope.

    `on = "unrealised"` goes by what the positions settled in that asset would make at the newest marks (the mark of a
    quote, else the middle of bid and ask), `on = "both"` by that and the realised P&L together. An account's is looked
    at with every order and report of its own, and without one, at most ten times a second, when quotes of what it holds
    move (of more than 250 accounts in turns); that of several accounts with whatever brings a quote. While a position's
    mark is missing or older than `max_age` nobody can say what the P&L is: nothing trips by it, and orders of all
    accounts under the limit are refused with MarkPriceUnavailable, but for those that reduce a position. By the day it
    counts from what the P&L was by the marks known when the day began, whatever their age; where one was not known at
    all, from the first that can be told. Such a limit is rearmed only while its P&L can be told.

    `currency = "account"` goes by all that an account makes, of whatever asset, fees in other assets among it, in the
    account's own currency ([accounts.NAME] currency); `currency = "firm"` by the same in the firm's, of each account or
    over all of them. What was made is kept by asset, to the last digit, and converted whenever it is looked at, at the
    rates of [currency] that are newest then (`core.currency`): a profit at the lower rates, a loss at the higher ones.
    So nothing hangs on the rate of the moment at which something was realised; a bust takes back exactly what was
    booked; and what was made of a foreign asset is worth what that asset is worth, until a person says that it was
    exchanged (`adjust_pnl`). Such a limit is looked at when rates move, too. While a rate that it needs is missing or
    stale, nobody can say what the P&L is: nothing trips by it, and orders under the limit are refused with
    ReferenceDataUnavailable, but for those that reduce a position. The asset that an order is settled in needs a rate
    before anything was made of it. An asset of which nothing is left needs none, nor does the currency itself.

    `then = "reduce"` lets orders pass that reduce a position, as does the trading state of that name.

    Example, max_loss 100: pnl -60, then fee 39.99 leaves it open at -99.99; a fee of 0.01 more trips it at -100.
    pnl +500 brings 400 and no relief; rearmed with room 50 it trips at 350. With max_drawdown 100: pnl +70 and then -99
    leave it open, 99 below its peak; +150 makes a new peak of 121, and it trips at 21. With max_loss 100 per day: -60
    on Monday and -99 on Tuesday leave it open; -1 more on Tuesday trips it until Wednesday. On "both" with max_loss
    100: long 10 for 1000 and 20 realised, a mark of 88.01 leaves it open at -99.90, one of 88 trips it. With `currency
    = "account"`, an account kept in EUR, the firm's currency USD and EUR/USD at 1.25: -50 EUR and -62.4 USD leave it
    open at -99.92 EUR; a fee of 0.1 USD more trips it at -100, and so does EUR/USD at 1.248.
    """

    id: ClassVar[str] = "pnl_kill_switch"
    effect_types = (Realised, Tripped, Rearmed, Lifted, Begun, Forgotten, Followed, Turned)

    def __init__(self, limits: Sequence[PnlBound], *, cover: bool = True) -> None:
        self._limits = LimitSet(self.id, limits, cover=cover)
        self._of_money = _OfMoney(self.id, limits, cover=cover)
        self.limit_names = self._limits.names
        self.is_idle = not limits
        self._pnl: dict[tuple[str, str], Decimal] = {}
        self._of_account: dict[str, dict[str, Decimal]] = {}
        """The same by account, then asset."""
        self._shared: dict[tuple[str, str], Decimal] = {}
        self._mixed: dict[tuple[str, str], dict[str, Decimal]] = {}
        """The sums of limits over several accounts that convert, by asset."""
        self._tripped: dict[tuple[str, str], bool] = {}
        self._rearmed: dict[tuple[str, str], Rearmed] = {}
        self._runs: dict[tuple[str, str], _Run] = {}
        """Of limits that are followed, by limit and scope."""
        self._open: dict[tuple[str, str], bool] = {}
        """Those whose day counts from the first P&L that can be told."""
        self._valued = tuple(limit for limit in limits if limit.is_valued)
        by_marks = [limit for limit in limits if limit.on != "realised"]
        self.asks_for_unrealised = bool(self._valued)
        self.asks_for_rates = any(limit.currency is not None for limit in limits)
        self.asks_by_account = any(not limit.is_shared for limit in by_marks)
        self.several = {limit.name: partial(self._is_one, limit) for limit in by_marks if limit.is_shared}
        self._has_initial = any(limit.initial_pnl for limit in limits)
        self._may_be_past = False
        """Whether P&L may stand past a bound untripped: only what was made under another configuration can."""

    def start(self, attempt: Attempt) -> Verdict:
        if not self._of_money.matched(attempt).limits:
            uncovered = self._limits.uncovered(attempt)
            if uncovered:
                return Verdict(rejects=uncovered)
        verdict = self._start(attempt) if self._has_initial or self._may_be_past else PASS
        if not self._valued or attempt.reduces:
            return verdict
        unknown = self._unknown(attempt)
        return Verdict(verdict.effects, (*verdict.rejects, *unknown)) if unknown else verdict

    def _start(self, attempt: Attempt) -> Verdict:
        """What was brought along, or moved past a bound by a new configuration."""
        order, settlement = attempt.order, attempt.listed.settlement
        if self._has_initial and (order.account, settlement) not in self._pnl:
            effects = self._realise(order.account, attempt.group, settlement, ZERO)
        elif self._may_be_past:
            effects = self._realise(order.account, attempt.group, settlement, ZERO)[1:]
        else:
            return PASS
        rejects = tuple(
            Reject(code=effect.code, policy=self.id, limit=effect.limit, scope=effect.scope, reason=effect.reason)
            for effect in effects
            if isinstance(effect, Block) and not (effect.state is TradingState.REDUCING and attempt.reduces)
        )
        return Verdict(effects, rejects)

    def report(self, reported: Reported) -> Verdict:
        account = reported.report.account
        effects: tuple[Any, ...] = ()
        for asset, amount in reported.made:
            if amount or (self._has_initial and (account, asset) not in self._pnl):
                effects += self._realise(account, reported.group, asset, amount)
        return Verdict(effects) if effects else PASS

    def adjust_pnl(self, account: str, group: str | None, settlement: str, amount: Decimal, *, is_set: bool) -> Verdict:
        if is_set:
            amount -= self._pnl.get((account, settlement), self._initial(account, group, settlement))
        is_new = (account, settlement) not in self._pnl
        return Verdict(self._realise(account, group, settlement, amount)) if amount or is_new else PASS

    def rearm(self, limit: str, scope: str, room: Decimal) -> Verdict:
        bound = self._limits.by_name[limit]
        if not (room.is_finite() and room > 0):
            return self._no_rearm(limit, scope, f"room is an amount above zero, not {room}")
        if (limit, scope) not in self._tripped:
            return self._no_rearm(limit, scope, f"{limit} has not tripped for {scope}: there is nothing to rearm")
        try:
            pnl = self._counted(bound, scope)
        except (Unknown, Unvalued) as trouble:
            return self._no_rearm(limit, scope, f"its P&L can't be told now: {trouble}")
        floor = pnl - room if bound.max_loss is not None else None
        ceiling = pnl + room if bound.max_profit is not None else None
        rearmed = Rearmed(limit, scope, floor, ceiling)
        if bound.max_drawdown is None:
            return Verdict((rearmed,))
        if room > bound.max_drawdown:
            why = f"its max_drawdown is {text(bound.max_drawdown)}: more room than that can't be granted, but set"
            return self._no_rearm(limit, scope, why)
        peak = pnl - room + bound.max_drawdown
        return Verdict((rearmed, Followed(limit, scope, self._base(limit, scope), peak)))

    def lift(self, limit: str, scope: str) -> Verdict:
        return Verdict((Lifted(limit, scope),)) if (limit, scope) in self._tripped else PASS

    def reconfigured(self, group_of: Callable[[str], str | None]) -> Verdict:
        of = self._limits.by_name
        effects: list[Any] = [
            Forgotten(*key) for key in sorted(self._shared) if key[0] not in of or of[key[0]].currency
        ]
        for key in sorted(self._mixed):
            if key[0] not in of or of[key[0]].currency is None:
                effects.append(Forgotten(*key, is_mixed=True))
        for limit in self._limits.limits:
            scope = limit.scope("", "", "", "")
            if not limit.is_shared or (limit.name, scope) in (self._shared if limit.currency is None else self._mixed):
                continue
            amounts: dict[str, Decimal] = {}
            for (account, asset), pnl in self._pnl.items():
                if limit.matches(account, None, group_of(account), None, asset):
                    amounts[asset] = amounts.get(asset, ZERO) + pnl
            for asset in sorted(amounts):
                if amounts[asset]:
                    within = "" if limit.currency is None else asset
                    effects.append(Begun(limit.name, scope, canonical(amounts[asset]), within))
        return Verdict(tuple(effects)) if effects else PASS

    def accounts_with_pnl(self) -> Iterable[str]:
        return self._of_account

    def day_began(self, is_new: IsNew) -> Verdict:
        effects: list[Any] = []
        for limit, scope in sorted(self._runs):
            bound = self._limits.by_name.get(limit)
            if bound is None or bound.per is None:
                continue
            if not is_new(None if bound.is_shared else scope.removeprefix("account ")):
                continue
            try:
                effects.append(Turned(limit, scope, canonical(self._counted(bound, scope))))
            except (Unknown, Unvalued, NotRepresentable):
                effects.append(Turned(limit, scope, None))
            if (limit, scope) in self._tripped:
                effects.append(Lift(scope, limit))
        return Verdict(tuple(effects)) if effects else PASS

    def pnl(self, account: str, settlement: str) -> Decimal:
        """The account's realised P&L in that asset."""
        return self._pnl.get((account, settlement), ZERO)

    def counters(self, limit: str, look: Look) -> list[Counter]:
        bound = self._limits.by_name[limit]
        found: list[Counter] = []
        for scope in self._scopes(bound, look):
            base = self._base(limit, scope)
            try:
                pnl = self._counted(bound, scope, look.now_ns)
            except (Unknown, Unvalued, NotRepresentable):
                pnl = None
            bounds = (None if each is None else each - base for each in self._floor_and_ceiling(bound, scope))
            found += self._sides(bound, scope, None if pnl is None else pnl - base, *bounds)
            found += self._fall(bound, scope, pnl)
        return found

    def holders(self, limit: str, scope: str, attempt: Attempt, look: Look) -> list[tuple[str, Decimal]]:
        """What each account under a shared limit has lost; below zero what it has made."""
        bound = self._limits.by_name[limit]
        if not bound.is_shared:
            return []
        lost: list[tuple[str, Decimal]] = []
        for account, made in sorted(self._of_account.items()):
            try:
                pnl = ZERO
                for asset, amount in made.items():
                    if bound.matches(account, None, look.group_of(account), None, asset):
                        pnl += self._converted(bound, scope, amount, asset, look.now_ns)
            except Unvalued:
                continue  # the limit itself says that nobody knows
            if pnl:
                lost.append((account, canonical(-pnl)))
        return lost

    def bounds(self, limit: str) -> list[Counter]:
        bound = self._limits.by_name[limit]
        floor = None if bound.max_loss is None else -bound.max_loss
        return [
            *self._sides(bound, bound.subject, None, floor, bound.max_profit),
            *self._fall(bound, bound.subject, None),
        ]

    def money(self, look: Look) -> list[Money]:
        accounts = set(look.page(account for account, _ in self._pnl))
        return [self._money(*key, look) for key in sorted(self._pnl) if key[0] in accounts]

    def apply(self, effect: Any) -> None:
        match effect:
            case Realised():
                key = (effect.account, effect.settlement)
                self._put(*key, self._pnl.get(key, ZERO) + effect.amount)
                for counter in effect.counters:
                    limit = self._limits.by_name.get(counter[0])
                    if limit is None or limit.currency is None:
                        self._shared[counter] = self._shared.get(counter, ZERO) + effect.amount
                    else:
                        mixed = self._mixed.setdefault(counter, {})
                        mixed[effect.settlement] = mixed.get(effect.settlement, ZERO) + effect.amount
            case Tripped():
                self._tripped[effect.limit, effect.scope] = True
            case Rearmed():
                self._tripped.pop((effect.limit, effect.scope), None)
                self._rearmed[effect.limit, effect.scope] = effect
            case Lifted():
                self._tripped.pop((effect.limit, effect.scope), None)
                self._rearmed.pop((effect.limit, effect.scope), None)
            case Begun() if effect.asset:
                self._mixed.setdefault((effect.limit, effect.scope), {})[effect.asset] = effect.amount
            case Begun():
                self._shared[effect.limit, effect.scope] = effect.amount
                self._may_be_past = self._may_be_past or self._is_some_past(self._limits.by_name[effect.limit])
            case Followed():
                self._runs[effect.limit, effect.scope] = _Run(effect.base, effect.peak)
                self._open.pop((effect.limit, effect.scope), None)
            case Turned():
                if effect.base is None:
                    self._open[effect.limit, effect.scope] = True
                else:
                    self._runs[effect.limit, effect.scope] = _Run(effect.base, effect.base)
                    self._open.pop((effect.limit, effect.scope), None)
                self._tripped.pop((effect.limit, effect.scope), None)
                self._rearmed.pop((effect.limit, effect.scope), None)
            case Forgotten() if effect.is_mixed:
                del self._mixed[effect.limit, effect.scope]
            case Forgotten():
                del self._shared[effect.limit, effect.scope]
            case _:
                raise TypeError(f"{self.id} has no effect {effect!r}")

    def save(self) -> Any:
        return {
            "pnl": [[*key, text(self._pnl[key])] for key in sorted(self._pnl)],
            "shared": [[*key, text(self._shared[key])] for key in sorted(self._shared)],
            "mixed": [
                [*key, asset, text(amount)] for key in sorted(self._mixed) for asset, amount in self._mixed_of(key)
            ],
            "tripped": sorted(map(list, self._tripped)),
            "rearmed": [
                [*key, _text_or_none(self._rearmed[key].floor), _text_or_none(self._rearmed[key].ceiling)]
                for key in sorted(self._rearmed)
            ],
            "runs": [[*key, text(self._runs[key].base), text(self._runs[key].peak)] for key in sorted(self._runs)],
            "open": sorted(map(list, self._open)),
        }

    def load(self, saved: Any) -> None:
        self._pnl, self._of_account, self._mixed = {}, {}, {}
        for account, asset, amount in saved["pnl"]:
            self._put(account, asset, Decimal(amount))
        for limit, scope, asset, amount in saved.get("mixed", ()):
            self._mixed.setdefault((limit, scope), {})[asset] = Decimal(amount)
        self._shared = {(limit, scope): Decimal(amount) for limit, scope, amount in saved["shared"]}
        self._tripped = dict.fromkeys(((limit, scope) for limit, scope in saved["tripped"]), True)
        self._rearmed = {
            (limit, scope): Rearmed(limit, scope, _number_or_none(floor), _number_or_none(ceiling))
            for limit, scope, floor, ceiling in saved["rearmed"]
        }
        self._runs = {
            (limit, scope): _Run(Decimal(base), Decimal(peak))
            for limit, scope, base, peak in saved.get("runs", ())
            if self._is_followed(limit)
        }
        self._open = dict.fromkeys(
            ((limit, scope) for limit, scope in saved.get("open", ()) if self._is_followed(limit)), True
        )
        self._may_be_past = any(map(self._is_some_past, self._limits.limits))

    def _realise(self, account: str, group: str | None, settlement: str, amount: Decimal) -> tuple[Any, ...]:
        """What an amount does: the sums it goes to, and every limit that it trips."""
        limits = [limit for limit in self._limits.limits if limit.matches(account, None, group, None, settlement)]
        if (account, settlement) not in self._pnl:
            amount += next((limit.initial_pnl for limit in limits if limit.initial_pnl is not None), ZERO)
        before = self._pnl.get((account, settlement), ZERO)
        counters = []
        trips: list[Any] = []
        for limit in limits:
            scope = limit.scope(account, "", "", settlement)
            if limit.is_shared:
                counters.append((limit.name, scope))
                was = self._shared.get((limit.name, scope), ZERO) if limit.currency is None else ZERO
            else:
                was = before
            pnl = was + amount
            run = None
            if limit.is_valued:  # `revalued` looks at it once the position is what it is now
                if limit.is_followed and (limit.name, scope) not in self._runs:
                    trips.append(self._begun(limit, scope, was))
                continue
            if limit.is_followed:
                run, effects = self._follow(limit, scope, was, pnl)
                trips += effects
            why = self._reached(limit, scope, pnl, run)
            if why and (limit.name, scope) not in self._tripped:
                trips.append(Tripped(limit.name, scope))
                trips.append(self._block(limit, scope, pnl, why))
        return (Realised(account, settlement, canonical(amount), tuple(counters)), *trips)

    def revalued(self, now_ns: int, group_of: Callable[[str], str | None]) -> Verdict:
        """Trips what has reached a bound by marks, positions and P&L as they are now."""
        assert self.unrealised is not None
        effects: list[Any] = []
        for limit in self._valued:
            for scope in self._due(limit, group_of):
                effects += self._revalue(limit, scope, now_ns)
        return Verdict(tuple(effects)) if effects else PASS

    def _due(self, limit: PnlBound, group_of: Callable[[str], str | None]) -> Iterable[str]:
        """The scopes of a limit whose P&L may be another one."""
        assert self.unrealised is not None
        unrealised, asset = self.unrealised, limit.only.settlement or ""
        moved: Iterable[str] = unrealised.moved
        are_all = limit.currency is not None and (unrealised.is_all_moved or unrealised.are_rates_moved)
        if limit.is_shared:
            is_due = (
                (
                    (are_all or unrealised.is_all_moved or (limit.currency is not None and unrealised.is_rate_moved))
                    and self._has_any(limit)
                )
                or limit.name in unrealised.moved_together
                or any(limit.matches(name, None, group_of(name), None, asset) for name in moved)
            )
            return (limit.scope("", "", "", ""),) if is_due else ()
        if limit.currency is not None and unrealised.is_all_moved:
            moved = {*moved, *self._of_account, *unrealised.accounts()}
        return [
            limit.scope(name, "", "", "")
            for name in sorted(moved)
            if limit.matches(name, None, group_of(name), None, asset)
        ]

    def _has_any(self, limit: PnlBound) -> bool:
        """Whether a limit over several accounts has seen any P&L, or any of them holds something."""
        key = (limit.name, limit.scope("", "", "", ""))
        if key in self._mixed or key in self._shared:
            return True
        return self.unrealised is not None and bool(self.unrealised.assets(Several(limit.name)))

    def _revalue(self, limit: PnlBound, scope: str, now_ns: int) -> list[Any]:
        key = (limit.name, scope)
        try:
            pnl = self._counted(limit, scope, now_ns, limit.max_age_ns)
            was = self._realised(limit, scope, now_ns) if limit.on != "unrealised" else ZERO
        except (Unknown, Unvalued, NotRepresentable):  # the start stage refuses what does not reduce, for as long
            return []
        if key in self._open:
            return [Followed(limit.name, scope, canonical(pnl), canonical(pnl))]
        effects: list[Any] = []
        run = None
        if limit.is_followed:
            run, effects = self._follow(limit, scope, was, pnl)
        why = self._reached(limit, scope, pnl, run)
        if why and key not in self._tripped:
            effects += [Tripped(limit.name, scope), self._block(limit, scope, pnl, why)]
        return effects

    def _counted(self, limit: PnlBound, scope: str, now_ns: int = 0, max_age_ns: int | None = None) -> Decimal:
        """The P&L that a limit goes by, with marks of at most that age, and with rates that are fresh then (without a
        moment: however old). Raises Unknown, or Unvalued where a rate is missing.
        """
        if limit.currency is None:
            realised = self._scope_pnl(limit, scope) if limit.on != "unrealised" else ZERO
            if limit.on == "realised" or self.unrealised is None:
                return realised
            assert limit.only.settlement is not None
            return realised + self.unrealised.of(_holder(limit, scope), limit.only.settlement, now_ns, max_age_ns)
        amounts = dict(self._made(limit, scope)) if limit.on != "unrealised" else {}
        if limit.on != "realised" and self.unrealised is not None:
            holder = _holder(limit, scope)
            for asset in self.unrealised.assets(holder):
                amounts[asset] = amounts.get(asset, ZERO) + self.unrealised.of(holder, asset, now_ns, max_age_ns)
        return self._all_converted(limit, scope, amounts, now_ns)

    def _realised(self, limit: PnlBound, scope: str, now_ns: int = 0) -> Decimal:
        """The part of it that is realised. Raises Unvalued."""
        if limit.currency is None:
            return self._scope_pnl(limit, scope)
        return self._all_converted(limit, scope, self._made(limit, scope), now_ns)

    def _made(self, limit: PnlBound, scope: str) -> Mapping[str, Decimal]:
        """What was realised, by asset."""
        if limit.is_shared:
            return self._mixed.get((limit.name, scope), {})
        return self._of_account.get(_account(scope), {})

    def _all_converted(self, limit: PnlBound, scope: str, amounts: Mapping[str, Decimal], now_ns: int) -> Decimal:
        return sum((self._converted(limit, scope, amounts[asset], asset, now_ns) for asset in sorted(amounts)), ZERO)

    def _converted(self, limit: PnlBound, scope: str, amount: Decimal, asset: str, now_ns: int) -> Decimal:
        """An amount in what a limit counts in. Raises Unvalued."""
        if limit.currency is None:
            return amount
        if self.rates is None:
            raise Unvalued(RejectCode.REFERENCE_DATA_UNAVAILABLE, f"no rate of {asset} is known")
        return self.rates.converted(amount, asset, self._into(limit, scope), now_ns)

    def _into(self, limit: PnlBound, scope: str) -> str:
        """The asset that a limit converts into. Raises Unvalued."""
        if limit.currency == "firm":
            if self.rates is not None and self.rates.firm:
                return self.rates.firm
            raise Unvalued(RejectCode.REFERENCE_DATA_UNAVAILABLE, "no [currency] firm is configured")
        account = _account(scope)
        found = None if self.currency_of is None else self.currency_of(account)
        if found is None:
            why = f'account {account} has no currency of its own: [accounts.{account}] currency = "…"'
            raise Unvalued(RejectCode.REFERENCE_DATA_UNAVAILABLE, why)
        return found

    def _asset(self, limit: PnlBound, scope: str) -> str:
        """What a limit counts in, in words."""
        if limit.currency is None:
            return limit.only.settlement or ""
        try:
            return self._into(limit, scope)
        except Unvalued:
            return f"{limit.currency}'s currency"

    def _is_one(self, limit: PnlBound, account: str) -> bool:
        """Whether the limit is for that account."""
        return limit.matches(account, None, self._group_of(account), None, limit.only.settlement or "")

    def _is_followed(self, limit: str) -> bool:
        bound = self._limits.by_name.get(limit)
        return bound is not None and bound.is_followed

    def _put(self, account: str, asset: str, amount: Decimal) -> None:
        self._pnl[account, asset] = amount
        self._of_account.setdefault(account, {})[asset] = amount

    def _mixed_of(self, key: tuple[str, str]) -> list[tuple[str, Decimal]]:
        return sorted(self._mixed[key].items())

    def _unknown(self, attempt: Attempt) -> tuple[Reject, ...]:
        """The rejects of limits by whose marks nobody can say what the P&L is."""
        rejects = []
        for limit in self._valued:
            if not limit.matches_attempt(attempt):
                continue
            scope = limit.scope_of(attempt)
            try:
                self._counted(limit, scope, attempt.now_ns, limit.max_age_ns)
                if limit.currency is not None:
                    self._converted(limit, scope, _ONE, attempt.listed.settlement, attempt.now_ns)
            except (Unknown, Unvalued) as trouble:
                why = f"{trouble}, so {limit.name} can't tell the P&L of {scope}"
                code = trouble.code if isinstance(trouble, Unvalued) else RejectCode.MARK_PRICE_UNAVAILABLE
                rejects.append(self._limits.reject(limit, attempt, code, why))
        return tuple(rejects)

    def _group_of(self, account: str) -> str | None:
        return None if self.groups_of is None else self.groups_of(account)

    def _begun(self, limit: PnlBound, scope: str, was: Decimal) -> Followed | Turned:
        """What a limit goes by from the first report that it sees."""
        realised = was if limit.on == "both" else ZERO
        if limit.currency is not None and limit.on != "unrealised":
            try:
                realised = self._realised(limit, scope)
            except Unvalued:
                return Turned(limit.name, scope, None)
        return Followed(limit.name, scope, realised if limit.per is not None else ZERO, realised)

    def _follow(self, limit: PnlBound, scope: str, was: Decimal, pnl: Decimal) -> tuple[_Run, list[Any]]:
        """What a limit goes by once the P&L has moved, and the effects of that."""
        run = self._runs.get((limit.name, scope))
        if run is None:
            run = _Run(was if limit.per is not None else ZERO, was)
            is_new = True
        else:
            is_new = False
        if pnl > run.peak:
            run, is_new = _Run(run.base, pnl), True
        return run, [Followed(limit.name, scope, canonical(run.base), canonical(run.peak))] if is_new else []

    def _block(self, limit: PnlBound, scope: str, pnl: Decimal, why: str) -> Block:
        until = "the next day lifts it, or an operator" if limit.per is not None else "an operator must rearm it"
        return Block(
            scope=scope,
            code=RejectCode.PNL_KILL_SWITCH_TRIGGERED,
            limit=limit.name,
            reason=f"{scope}: P&L {text(pnl)} {self._asset(limit, scope)} has reached {why}; {until}",
            author=self.id,
            state=TradingState.REDUCING if limit.then == "reduce" else TradingState.HALTED,
        )

    def _base(self, limit: str, scope: str) -> Decimal:
        """Where it counts from."""
        run = self._runs.get((limit, scope))
        return ZERO if run is None else run.base

    def _initial(self, account: str, group: str | None, settlement: str) -> Decimal:
        """What an account that has not been seen brings along."""
        limits = (limit for limit in self._limits.limits if limit.matches(account, None, group, None, settlement))
        return next((limit.initial_pnl for limit in limits if limit.initial_pnl is not None), ZERO)

    def _scopes(self, limit: PnlBound, look: Look) -> list[str]:
        """Whom the limit has P&L of: a page of them."""
        if limit.is_shared:
            return look.page([limit.scope("", "", "", "")])
        asset = limit.only.settlement
        names = {account for account, made in self._of_account.items() if asset is None or asset in made}
        if limit.on != "realised" and self.unrealised is not None:
            names.update(self.unrealised.accounts())

        def is_meant(name: str) -> bool:
            if not limit.matches(name, None, look.group_of(name), None, asset or ""):
                return False
            return asset is None or asset in self._of_account.get(name, ()) or self._holds(name, asset)

        return look.page_of_accounts(names, is_meant)

    def _holds(self, account: str, asset: str) -> bool:
        return self.unrealised is not None and asset in self.unrealised.assets(account)

    def _sides(
        self, limit: PnlBound, scope: str, pnl: Decimal | None, floor: Decimal | None, ceiling: Decimal | None
    ) -> list[Counter]:
        """Each side's counter: a loss is counted upwards to where the limit trips."""
        asset, is_tripped = self._asset(limit, scope), (limit.name, scope) in self._tripped
        sides = (("loss", None if floor is None else -floor, None if pnl is None else -pnl), ("profit", ceiling, pnl))
        return [
            Counter(
                scope=scope,
                what=f"{side} in {asset}",
                bound=canonical(bound),
                used=None if used is None else canonical(used),
                is_tripped=is_tripped,
            )
            for side, bound, used in sides
            if bound is not None
        ]

    def _fall(self, limit: PnlBound, scope: str, pnl: Decimal | None) -> list[Counter]:
        """How far the P&L has fallen from its peak."""
        if limit.max_drawdown is None:
            return []
        run = self._runs.get((limit.name, scope))
        fallen = None if pnl is None else ZERO if run is None else run.peak - pnl
        return [
            Counter(
                scope=scope,
                what=f"drawdown in {self._asset(limit, scope)}",
                bound=canonical(limit.max_drawdown),
                used=None if fallen is None else canonical(fallen),
                is_tripped=(limit.name, scope) in self._tripped,
            )
        ]

    def _money(self, account: str, settlement: str, look: Look) -> Money:
        scope, group = f"account {account}", look.group_of(account)
        own = [
            limit
            for limit in self._limits.limits
            if not limit.is_shared and not limit.currency and limit.matches(account, None, group, None, settlement)
        ]
        bounds = [self._floor_and_ceiling(limit, scope) for limit in own]
        for limit in own:
            run = self._runs.get((limit.name, scope))
            if limit.max_drawdown is not None and run is not None:
                bounds.append((run.peak - limit.max_drawdown, None))
        return Money(
            account=account,
            settlement=settlement,
            pnl=canonical(self._pnl[account, settlement]),
            floor=max((floor for floor, _ in bounds if floor is not None), default=None),
            ceiling=min((ceiling for _, ceiling in bounds if ceiling is not None), default=None),
            tripped=tuple(limit.name for limit in own if (limit.name, scope) in self._tripped),
        )

    def _floor_and_ceiling(self, limit: PnlBound, scope: str) -> tuple[Decimal | None, Decimal | None]:
        """At which P&L it trips next."""
        rearmed = self._rearmed.get((limit.name, scope))
        if rearmed is not None:
            return rearmed.floor, rearmed.ceiling
        base = self._base(limit.name, scope)
        floor = base - limit.max_loss if limit.max_loss is not None else None
        return floor, base + limit.max_profit if limit.max_profit is not None else None

    def _is_some_past(self, limit: PnlBound) -> bool:
        """Whether the limit may have to trip though nothing is reported; of more scopes than it is for, if in doubt."""
        if limit.is_shared:
            sums = [(scope, pnl) for (name, scope), pnl in self._shared.items() if name == limit.name]
        else:
            asset = limit.only.settlement
            sums = [(f"account {account}", pnl) for (account, of), pnl in self._pnl.items() if of == asset]
        if limit.is_valued:
            return False
        return any(self._reached(limit, *each) and (limit.name, each[0]) not in self._tripped for each in sums)

    def _reached(self, limit: PnlBound, scope: str, pnl: Decimal, run: _Run | None = None) -> str:
        """The bound that the P&L has reached, in words, or nothing; `run` is what the limit goes by from here on."""
        before = self._runs.get((limit.name, scope))
        floor, ceiling = self._floor_and_ceiling(limit, scope)
        if before is None and run is not None and run.base:  # the first that it sees of the scope
            floor = None if floor is None else floor + run.base
            ceiling = None if ceiling is None else ceiling + run.base
        if floor is not None and pnl <= floor:
            return f"the floor {text(floor)}"
        if ceiling is not None and pnl >= ceiling:
            return f"the ceiling {text(ceiling)}"
        run = run or before
        if limit.max_drawdown is not None and run is not None and run.peak - pnl >= limit.max_drawdown:
            return f"the floor {text(run.peak - limit.max_drawdown)}, {text(limit.max_drawdown)} below its peak"
        return ""

    def _scope_pnl(self, limit: PnlBound, scope: str) -> Decimal:
        if limit.is_shared:
            return self._shared.get((limit.name, scope), ZERO)
        assert limit.only.settlement is not None
        return self.pnl(_account(scope), limit.only.settlement)

    def _no_rearm(self, limit: str, scope: str, reason: str) -> Verdict:
        return Verdict(
            rejects=(Reject(code=RejectCode.OTHER, policy=self.id, limit=limit, scope=scope, reason=reason),)
        )


_ONE = Decimal(1)


def _account(scope: str) -> str:
    return scope.removeprefix("account ")


def _holder(limit: PnlBound, scope: str) -> str | Several:
    """Whose positions a limit looks at."""
    return Several(limit.name) if limit.is_shared else _account(scope)


class _Run(NamedTuple):
    """What a limit that is followed counts from, and the highest P&L since: both as P&L."""

    base: Decimal
    peak: Decimal


def _text_or_none(number: Decimal | None) -> str | None:
    return None if number is None else text(number)


def _number_or_none(saved: str | None) -> Decimal | None:
    return None if saved is None else Decimal(saved)
