"""What would be said to an order, and why: questions to the engine that change nothing and stand in no journal.

A dry run is deciding without applying, at the moment of the question. An explanation puts the question to each limit
alone, and to other sizes of the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import islice
from typing import NamedTuple

import msgspec

from pit.explained import DryRun, Explanation, LimitExplained, LimitUse, LimitUser
from pit.types import Order, Reject, Rejected, TradingState

from .accounts import reject_of
from .engine import Engine
from .entry import Blocked, Effect
from .numbers import ZERO, NotRepresentable, canonical
from .orders import ENDED, HELD, OrderRecord
from .pipeline import refusal_of
from .policy import Attempt, Counter, Look, Policy, Unvalued, whole_quantity
from .prices import Quote
from .shadows import note_blocks
from .sizes import Ladder, largest

ORDERS_LOOKED_AT = 1_000
"""So many open orders are looked at, the latest, for who uses what."""

USERS_NAMED = 10
"""So many users of a limit are named; the others are added up."""

IDS_NAMED = 5


class Question(NamedTuple):
    """An order that a client would have checked at a moment, with what is known of prices then."""

    order: Order
    client: str
    now_ns: int
    quotes: tuple[Quote, ...] = ()
    sees_all: bool = True
    """Whether the one who asks may see whose orders use a limit; else only which of them are the client's own."""


def dry_run(engine: Engine, question: Question, *, start_only: bool = False) -> DryRun | Rejected:
    """What the start stage would say to an order, or both stages. Changes nothing."""
    order, attempt = question.order, _attempt(engine, question)
    known = engine.orders.known_as(order.account, order.id)
    if known is not None and _is_again(engine, known, question):
        return DryRun(order_id=order.id, replayed=True)
    effects, rejects = engine.judge_start(attempt, known)
    if not rejects and not start_only:
        rejects = _tripped(effects, attempt)
        if not rejects:
            rejects = engine.pipeline.main(attempt)[1]
    if rejects:
        return Rejected(order_id=order.id, rejects=rejects, shadow_rejects=attempt.shadow_rejects)
    return DryRun(order_id=order.id, shadow_rejects=attempt.shadow_rejects)


def explain(engine: Engine, question: Question) -> Explanation:
    """Each limit's part in what would be said to an order, and the largest size that would pass. Changes nothing."""
    asked = _Asked(engine, question)
    look = look_at(engine, question.now_ns)
    limits = []
    for policy in engine.policies.values():
        for name in () if policy.is_idle else policy.limit_names or (policy.id,):
            scope = policy.scope_for(name, asked.attempt) if policy.limit_names else asked.whose
            if scope is not None:
                limits.append(_Limit(policy, name, scope))
    limits.sort(key=lambda limit: engine.pipeline.rank_of(limit.name))
    users, looked_at = _users(engine, question, limits)
    explained = []
    bounds: list[Decimal | None] = []
    for limit in limits:
        is_shadow = limit.name in engine.pipeline.shadows
        rejects = asked.rejects_of(limit)
        uses = _told(limit, asked.attempt, look)
        most = asked.largest_for(limit, uses)
        if not is_shadow:
            bounds.append(most)
        if not rejects and not uses and most is None:
            continue  # it has nothing to say
        named = [*_held(limit, asked.attempt, look), *users[limit.name]]
        explained.append(
            LimitExplained(
                limit=limit.name,
                control=limit.policy.id,
                scope=limit.scope,
                is_shadow=is_shadow,
                rejects=rejects,
                uses=uses,
                requested=asked.requested_of(limit),
                largest=most,
                users=_shortened(named, question),
            )
        )
    order = question.order
    return Explanation(
        order_id=order.id,
        rejects=asked.rejects,
        shadow_rejects=asked.shadow_rejects,
        limits=tuple(explained),
        largest=asked.largest_of_all(bounds),
        unit=asked.attempt.listed.symbol if order.volume is None else asked.attempt.listed.settlement,
        looked_at=looked_at,
        open_orders=len(engine.orders.open),
    )


class _Limit(NamedTuple):
    policy: Policy
    name: str
    scope: str


class _Asked:
    """One order in any size, and what is said to it."""

    def __init__(self, engine: Engine, question: Question) -> None:
        self._engine = engine
        self._question = question
        self.attempt = _attempt(engine, question)
        self.whose = f"account {question.order.account}"
        listed = self.attempt.listed
        self._ladder = Ladder(listed.lot if question.order.volume is None else None)
        self._may_be_stopped = bool(engine.accounts.blocks() or engine.accounts.shadowed)
        self.rejects = self._all_rejects(self.attempt)
        self.shadow_rejects = self.attempt.shadow_rejects

    def rejects_of(self, limit: _Limit) -> tuple[Reject, ...]:
        """What that limit says no for, as the order stands."""
        return self._noes(limit, self.attempt)

    def requested_of(self, limit: _Limit) -> Decimal | None:
        """What the order would add to what that limit has counted, where anybody knows."""
        for reject in _rejects(limit, self.attempt):
            if reject.requested is not None:
                return reject.requested
        try:
            effects = limit.policy.main(self.attempt).effects
            shares = [limit.policy.share_of(effect, limit.name, limit.scope, self.attempt) for effect in effects]
        except Exception:  # it cannot be told, as its reject says
            return None
        return next((canonical(share) for share in shares if share is not None), None)

    def largest_for(self, limit: _Limit, uses: Sequence[LimitUse]) -> Decimal | None:
        """The largest size that passes that limit alone."""
        return largest(self._ladder, lambda size: not self._noes(limit, self._sized(size)), self._hints(uses))

    def largest_of_all(self, by_limit: Iterable[Decimal | None]) -> Decimal | None:
        """The largest size that passes everything: both stages, blocks and halts."""
        sizes = {size for size in by_limit if size is not None}
        hints = [self._rung(size) for size in sizes]
        return largest(
            self._ladder,
            lambda size: not self._all_rejects(self._sized(size)),
            [*([min(hints)] if hints else []), *self._reducing()],
        )

    def _noes(self, limit: _Limit, attempt: Attempt) -> tuple[Reject, ...]:
        """What a limit says to an attempt, or has said for good: where it has blocked a scope, that stands for it."""
        rejects = _rejects(limit, attempt)
        if not self._may_be_stopped:
            return rejects
        order, accounts = attempt.order, self._engine.accounts
        stops = self._engine.stops_on(order, attempt.listed, attempt.client)
        probe = _attempt(self._engine, self._question._replace(order=order))
        note_blocks(accounts, probe)
        told = {reject.scope for reject in rejects}
        more = (each for each in (*stops, *probe.shadow_rejects) if each.limit == limit.name)
        return (*rejects, *(each for each in more if each.scope not in told))

    def _all_rejects(self, attempt: Attempt) -> tuple[Reject, ...]:
        engine, order = self._engine, self._question.order
        known = engine.orders.known_as(order.account, order.id)
        if known is not None and _is_again(engine, known, self._question):
            known = None
        effects, rejects = engine.judge_start(attempt, known)
        blocks = _tripped(effects, attempt)
        told = {(reject.limit, reject.scope) for reject in rejects}
        more = [reject for reject in blocks if (reject.limit, reject.scope) not in told]
        if attempt.listed.settlement:
            more += engine.pipeline.main(attempt)[1]
        return engine.pipeline.in_order([*rejects, *more]) if more else rejects

    def _sized(self, size: Decimal) -> Attempt:
        field = "quantity" if self._question.order.volume is None else "volume"
        order = msgspec.structs.replace(self._question.order, **{field: size})
        return _attempt(self._engine, self._question._replace(order=order))

    def _hints(self, uses: Sequence[LimitUse]) -> Iterator[int]:
        """Where the size may be that just passes: what is left is size itself, or worth what the order is worth."""
        size = whole_quantity(self._question.order)
        try:
            notional = self.attempt.notional()
        except (Unvalued, NotRepresentable):
            notional = ZERO
        for use in uses:
            left = use.bound if use.remaining is None else use.remaining
            yield self._rung(left)
            if notional > 0 and size > 0:
                yield self._rung(left, size, notional)
        yield from self._reducing()

    def _reducing(self) -> Iterator[int]:
        """The largest size that only reduces a position."""
        account, order = self._question.order.account, self._question.order
        held, waiting = self.attempt.held(account), self.attempt.waiting(account)
        if held and waiting is not None and (held < 0) == (order.side == "buy"):
            left = abs(held) - waiting
            if order.volume is None:
                yield self._rung(left)
                return
            try:
                yield self._rung(self.attempt.listed.notional(self.attempt.price or ZERO, left))
            except (NotRepresentable, ArithmeticError):
                return

    def _rung(self, size: Decimal, times: Decimal = Decimal(1), per: Decimal = Decimal(1)) -> int:
        """The highest rung up to size × times / per."""
        (a, b), (c, d), (f, g) = (each.as_integer_ratio() for each in (size, times, per))
        return self._ladder.below(a * c * g, b * d * f)


def _rejects(limit: _Limit, attempt: Attempt) -> tuple[Reject, ...]:
    """What one limit says to an attempt, in either stage; a control that cannot decide says no for each of its own."""
    policy, found = limit.policy, []
    stages: list[Callable[[Attempt], object]] = []
    if attempt.listed.settlement or not policy.needs_instrument:
        stages.append(policy.start)
    if attempt.listed.settlement:
        stages.append(policy.main)
    for stage in stages:
        try:
            verdict = stage(attempt)
        except Exception as trouble:
            found.append(refusal_of(policy, attempt, trouble))
        else:
            found += [each for each in verdict.rejects if each.limit == limit.name]  # type: ignore[attr-defined]
    return tuple(found)


def _told(limit: _Limit, attempt: Attempt, look: Look) -> tuple[LimitUse, ...]:
    """What a limit has counted; nothing where its control fails, as it must not take the daemon along."""
    try:
        counters = limit.policy.uses(limit.name, limit.scope, attempt, look) if limit.policy.limit_names else ()
    except Exception:
        return ()
    return tuple(map(_use, counters))


def _held(limit: _Limit, attempt: Attempt, look: Look) -> list[LimitUser]:
    try:
        holders = limit.policy.holders(limit.name, limit.scope, attempt, look)
    except Exception:
        return []
    return [LimitUser(client="", account=account, orders=0, amount=amount) for account, amount in holders]


def _use(counter: Counter) -> LimitUse:
    return LimitUse(
        what=counter.what,
        bound=counter.bound,
        used=counter.used,
        remaining=None if counter.used is None else canonical(counter.bound - counter.used),
        is_tripped=counter.is_tripped,
    )


def _users(engine: Engine, question: Question, limits: Sequence[_Limit]) -> tuple[dict[str, list[LimitUser]], int]:
    """Whose open orders use each limit, and how many orders were looked at for that."""
    found: dict[str, dict[tuple[str, str], list[tuple[Decimal, str]]]] = {limit.name: {} for limit in limits}
    holding: dict[str, list[_Limit]] = {}
    reading = []
    for limit in limits:
        if limit.policy.effect_types:
            holding.setdefault(limit.policy.id, []).append(limit)
        elif type(limit.policy).holders is not Policy.holders:
            reading.append(limit)
    looked_at, attempt, look = 0, _attempt(engine, question), look_at(engine, question.now_ns)
    for record in islice(reversed(engine.orders.open.values()), ORDERS_LOOKED_AT):
        looked_at += 1
        shares = [*_shares(holding, record, attempt)]
        if reading:
            shares += _on_the_way(engine, reading, record, attempt, look)
        for name, amount in shares:
            found[name].setdefault((record.asked_by, record.account), []).append((amount, record.order_id))
    return {name: [_user(who, shares) for who, shares in of.items()] for name, of in found.items()}, looked_at


def _shares(
    holding: Mapping[str, Sequence[_Limit]], record: OrderRecord, attempt: Attempt
) -> Iterator[tuple[str, Decimal]]:
    """What an open order makes up of what limits have counted."""
    for hold in record.holds:
        for limit in holding.get(hold.policy, ()):
            try:
                share = limit.policy.share_of(hold.effect, limit.name, limit.scope, attempt)
            except Exception:  # whoever wrote it, it must not take the daemon along
                continue
            if share is not None:
                yield limit.name, share


def _on_the_way(
    engine: Engine, reading: Sequence[_Limit], record: OrderRecord, asked: Attempt, look: Look
) -> Iterator[tuple[str, Decimal]]:
    """The same for controls that read positions and hold nothing: what is on its way there the engine counts."""
    if record.order is None or record.listed is None:
        return
    order = engine.attempt_at(record.order, record.asked_by, look.now_ns)
    for limit in reading:
        try:
            if limit.policy.scope_for(limit.name, order) == limit.scope:
                many = limit.policy.waiting(limit.name, limit.scope, order, record.open_quantity, asked, look)
                if many:
                    yield limit.name, canonical(many)
        except Exception:  # whoever wrote it, it must not take the daemon along; or nobody can tell
            continue


def _user(who: tuple[str, str], shares: list[tuple[Decimal, str]]) -> LimitUser:
    shares.sort(key=lambda share: -share[0])
    return LimitUser(
        client=who[0],
        account=who[1],
        orders=len(shares),
        amount=canonical(sum((amount for amount, _ in shares), ZERO)),
        order_ids=tuple(order_id for _, order_id in shares[:IDS_NAMED]),
    )


def _shortened(users: Sequence[LimitUser], question: Question) -> tuple[LimitUser, ...]:
    """Those that may be named, the most first, and all others together."""
    own, account = question.client, question.order.account
    mine = [
        user
        for user in users
        if question.sees_all or user.client == own or (not user.client and user.account == account)
    ]
    mine.sort(key=lambda user: (-user.amount, user.account, user.client))
    named = mine[:USERS_NAMED]
    others = [*mine[USERS_NAMED:], *(user for user in users if user not in mine)]
    if not others:
        return tuple(named)
    orders = sum(user.orders for user in others)
    amount = canonical(sum((user.amount for user in others), ZERO))
    return (*named, LimitUser(client="", account="", orders=orders, amount=amount))


def look_at(engine: Engine, now_ns: int, after: str = "", most: int = 1) -> Look:
    """A look at so many scopes of a control, after the one given."""

    def settlement_of(symbol: str) -> str:
        listed = engine.instruments.find(symbol)
        return symbol.rpartition("/")[2] if listed is None else listed.settlement

    return Look(
        now_ns,
        after,
        most,
        engine.accounts.group_of,
        engine.positions,
        settlement_of,
        balances=engine.balances,
        valuation=engine.valuation,
        days=engine.days,
    )


def _attempt(engine: Engine, question: Question) -> Attempt:
    return engine.attempt_at(question.order, question.client, question.now_ns, question.quotes)


def _tripped(effects: Sequence[Effect], attempt: Attempt) -> tuple[Reject, ...]:
    """What a switch that the order itself trips would stop it for."""
    blocks = (effect.block for effect in effects if type(effect) is Blocked)
    return tuple(
        reject_of(block) for block in blocks if block.state is not TradingState.REDUCING or not attempt.reduces
    )


def _is_again(engine: Engine, record: OrderRecord, question: Question) -> bool:
    """Whether a command would find that very order open, of the same client: its lease past its end is over, whether or
    not an entry has said so.
    """
    if record.order != question.order or record.client != question.client or record.state in ENDED:
        return False
    is_over = record.lease_end_ns <= question.now_ns or record.session in engine.sessions.ending
    return not (record.state is HELD and is_over)
