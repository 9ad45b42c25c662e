"""position_limit: how far long or short may a position get?"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import ClassVar

from pit.types import Reject, RejectCode, Side
from pitd.core.limits import Group, Limit, LimitSet
from pitd.core.numbers import ZERO, canonical, text
from pitd.core.policy import PASS, Attempt, Counter, Look, Policy, Pool, Unvalued, Verdict, Whose


class PositionBound(Limit, frozen=True, kw_only=True, tag_field="control", tag="position_limit"):
    """In units: `max_long` and `max_short`, and `max_quantity` for both sides; of two for one side the smaller holds.

    It counts one instrument at a time: of each account, or together those of a group or of the firm.
    """

    max_quantity: Decimal | None = None
    max_long: Decimal | None = None
    max_short: Decimal | None = None

    def most(self, side: Side) -> Decimal | None:
        """How far orders of that side may take a position."""
        given = (self.max_quantity, self.max_long if side is Side.BUY else self.max_short)
        return min((each for each in given if each is not None), default=None)

    def whose(self, account: str) -> Whose:
        """Whose position it is about, for an order of that account."""
        if "account" in self.each:
            return account
        return Pool(self.over.group) if isinstance(self.over, Group) else Pool()


class PositionLimit(Policy):
    """Refuses with PositionLimitExceeded an order after which a position might be further on the order's side than the
    bound, once all open orders of that side are filled too. Open orders of the other side don't count: they may never
    be filled. With `each = "instrument"` it is the firm's net over all accounts, over a group the group's.

    An order that reduces its account's position always passes, even where the firm's net grows by it. A volume order
    counts with the units that it comes to at its own price; one without a price is refused (MarkPriceUnavailable), and
    so is what comes to more units than can be counted (OrderValueCalculationFailed). While an open order may trade
    nobody knows how many units, as a volume order may that was taken before there was a limit, nothing more of its side
    passes.

    It keeps nothing of its own: positions are the engine's, from fills alone.

    Example, max_quantity 10: buy 6 passes; buy 5 is refused (11), buy 4 passes (10). The 6 fill, the 4 are cancelled:
    buy 4 passes. Long 6: sell 16 passes (10 short), one more unit doesn't. `max_short = 0` allows no short sale.
    """

    id: ClassVar[str] = "position_limit"

    def __init__(self, limits: Sequence[PositionBound], *, cover: bool = True) -> None:
        self._limits = LimitSet(self.id, limits, cover=cover)
        self.limit_names = self._limits.names
        self.is_idle = not limits
        self._most = {(limit.name, side): limit.most(side) for limit in limits for side in Side}

    def main(self, attempt: Attempt) -> Verdict:
        limits = self._limits.matching(attempt)
        if not limits:
            uncovered = self._limits.uncovered(attempt)
            return Verdict(rejects=uncovered) if uncovered else PASS
        rejects: list[Reject] | None = None
        for limit in limits:
            reject = self._judge(limit, attempt)
            if reject is not None and not attempt.reduces:
                rejects = rejects or []
                rejects.append(reject)
        return PASS if rejects is None else Verdict(rejects=tuple(rejects))

    def counters(self, limit: str, look: Look) -> list[Counter]:
        bound = self._limits.by_name[limit]
        if look.positions is None:
            return []
        found = {}
        for whose, symbol in look.positions.touched():
            if _is_meant(bound, whose, symbol, look):
                found[bound.scope(str(whose), "", symbol, "")] = (whose, symbol)
        shown = []
        for scope in look.page(found):
            whose, symbol = found[scope]
            held = look.positions.quantity(whose, symbol)
            for bare, side in zip(self.bounds(limit), _sides(bound), strict=True):
                waiting = look.positions.on_the_way(whose, symbol, side)
                used = None if waiting is None else canonical(max(_towards(side, held) + waiting, ZERO))
                shown.append(Counter(scope=scope, what=bare.what, bound=bare.bound, used=used))
        return shown

    def uses(self, limit: str, scope: str, attempt: Attempt, look: Look) -> Sequence[Counter]:
        """Of the order's own side."""
        word = _word(attempt.order.side)
        return [each for each in super().uses(limit, scope, attempt, look) if each.what.endswith(word)]

    def holders(self, limit: str, scope: str, attempt: Attempt, look: Look) -> list[tuple[str, Decimal]]:
        """Each account's position on the order's side; one on the other side takes from the sum."""
        bound, positions = self._limits.by_name[limit], look.positions
        if positions is None:
            return []
        listed, side = attempt.listed, attempt.order.side
        return [
            (account, _towards(side, quantity))
            for account in positions.accounts()
            if (quantity := positions.quantity(account, listed.symbol))
            and bound.matches(account, None, look.group_of(account), listed.symbol, listed.settlement)
            and bound.scope(account, "", listed.symbol, listed.settlement) == scope
        ]

    def waiting(
        self, limit: str, scope: str, order: Attempt, open_quantity: Decimal, attempt: Attempt, look: Look
    ) -> Decimal | None:
        if order.listed.symbol != attempt.listed.symbol or order.order.side is not attempt.order.side:
            return None
        return open_quantity

    def bounds(self, limit: str) -> list[Counter]:
        bound = self._limits.by_name[limit]
        return [
            Counter(scope=bound.subject, what=f"units {_word(side)}", bound=canonical(most))
            for side in _sides(bound)
            if (most := bound.most(side)) is not None
        ]

    def _judge(self, limit: PositionBound, attempt: Attempt) -> Reject | None:
        side = attempt.order.side
        most = self._most[limit.name, side]
        if most is None:
            return None
        whose = limit.whose(attempt.order.account)
        try:
            units = attempt.units()
        except Unvalued as trouble:
            why = f"{trouble}, so {limit.name} cannot be checked"
            return self._limits.reject(limit, attempt, trouble.code, why, most)
        held, waiting = attempt.held(whose), attempt.waiting(whose)
        symbol = attempt.listed.symbol
        if waiting is None:
            why = f"an open {side} order in {symbol} may trade any number of units; cancel it or wait for its end"
            return self._limits.reject(limit, attempt, RejectCode.POSITION_LIMIT_EXCEEDED, why, most, units)
        used = _towards(side, held) + waiting
        if used + units <= most:
            return None
        why = (
            f"{side} {text(units)} {symbol}: {text(held)} held, {text(waiting)} more in open {side} orders, this would "
            f"make up to {text(used + units)} {_word(side)}, limit {text(most)}"
        )
        return self._limits.reject(limit, attempt, RejectCode.POSITION_LIMIT_EXCEEDED, why, most, units, used=used)


def _is_meant(limit: PositionBound, whose: Whose, symbol: str, look: Look) -> bool:
    """Whether the limit is about what they hold of that."""
    is_pool = isinstance(whose, Pool)
    if is_pool != ("account" not in limit.each) or (is_pool and whose != limit.whose("")):
        return False
    account, group = ("", whose.group) if isinstance(whose, Pool) else (str(whose), look.group_of(str(whose)))
    return limit.matches(account, None, group, symbol, look.settlement_of(symbol))


def _sides(limit: PositionBound) -> list[Side]:
    return [side for side in Side if limit.most(side) is not None]


def _towards(side: Side, held: Decimal) -> Decimal:
    """How far a position is on that side."""
    return held if side is Side.BUY else -held


def _word(side: Side) -> str:
    return "long" if side is Side.BUY else "short"
