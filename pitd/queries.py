"""Answers questions about the engine, which change nothing and are not journaled."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import TypeVar

import msgspec

from pit import wire
from pit.types import Block, OpenModify, OpenOrder, OrderState, Outcome, TradingState

from . import __version__, calendar_seen, cancel_watch, holdings, log, translate
from .core.accounts import FIRM, account_scope, client_scope, group_scope
from .core.asking import look_at
from .core.engine import Engine
from .core.numbers import ZERO, canonical
from .core.orders import ENDED, LEASED, OrderRecord
from .core.policy import Counter
from .house import House
from .in_currency import OwnCurrency

T = TypeVar("T")

PAGE = 1_000

_SEEN_MOST = 300
"""So many lines fit into one answer to an operator, with the longest names and reasons there can be."""

_PIECE = 100_000
"""So many characters of the configuration fit into one answer, whatever they are."""

_LOOKED_MOST = 2_000
"""So many orders are looked at for one answer, whether they are meant or not."""


def is_remembered(engine: Engine, query: wire.AskOutcome) -> bool:
    """Whether the engine itself can say what became of that order."""
    return (query.account, query.order_id) in engine.orders.by_key


def answer(
    engine: Engine,
    client: str,
    query: wire.Query,
    now_ns: int,
    *,
    sees_all: bool,
    accounts: frozenset[str] | None = None,
    house: House | None = None,
) -> wire.Reply:
    """The answer to a client's question; `sees_all` for operators and observers, others see what is their own, of the
    `accounts` that they may touch. `house` is needed for what goes beyond that: how the daemon is, and what is
    everybody's.
    """
    match query:
        case wire.AskCancels():
            return cancel_watch.page(engine, client, query, now_ns, house).reply
        case wire.Ping():
            return wire.Pong(now_ns, __version__)
        case wire.ListOpenOrders():
            return _open_orders(engine, client, query, now_ns)
        case wire.AskOutcome():
            return _outcome(engine, client, query, sees_all)
        case wire.ListBlocks():
            return wire.Blocks(_blocks(engine, client, accounts))
        case wire.ListRestrictions():
            found = [each for each in engine.trading.restrictions() if each.scope > query.after]
            page = tuple(found[: _most(query.most)])
            return wire.RestrictionsAre(engine.seq, page, more=len(found) > len(page))
        case wire.ListPositions():
            seen = None if sees_all else accounts
            if house is None:
                return holdings.page_of(engine, query, accounts=seen)
            own = OwnCurrency(engine, house.newest_quote, now_ns, house.wall_ns())
            return holdings.page_of(engine, query, accounts=seen, newest=house.newest_quote, now_ns=now_ns, own=own)
        case wire.ListBalances():
            known = None if house is None else OwnCurrency(engine, house.newest_quote, now_ns, house.wall_ns())
            return holdings.balances_of(engine, query, accounts=None if sees_all else accounts, own=known)
    assert house is not None
    if isinstance(query, wire.AskStatus):
        return _status(engine, house)
    if isinstance(query, wire.ListCalendar):
        return calendar_seen.page_of(engine, house, query, None if sees_all else accounts)
    if not sees_all:
        return wire.Failed(wire.FailureCode.NOT_AUTHORIZED, _only_operators(client, query, house))
    match query:
        case wire.ListCancels():
            return cancel_watch.listed(engine, query, now_ns)
        case wire.ListSessions():
            return _sessions(engine, query, house)
        case wire.ListAccounts():
            return _accounts(engine, query, now_ns, house)
        case wire.ListOrders():
            return _orders(engine, query, now_ns)
        case wire.ListLimits():
            return _limits(engine, query, now_ns, house)
        case wire.ListAllBlocks():
            blocks = engine.accounts.blocks()
            upto = query.skip + _most(query.most)
            return wire.BlocksAre(engine.seq, blocks[max(0, query.skip) : upto], more=upto < len(blocks))
        case wire.AskMetrics():
            return house.metrics.told(_status(engine, house))
        case wire.AskEvents():
            return house.recent.answer(query)
        case wire.ListOverrides():
            return _overrides(engine, query)
        case wire.AskSettings():
            return _settings(engine, query)
        case wire.PushQuote() | wire.DryRun() | wire.Explain() | wire.AskReload():
            raise AssertionError("whoever has the sequencer answers these")
        case wire.AskDecision():
            why = f"how order {query.order_id} was decided is not known: this daemon keeps no journal"
            return wire.Failed(wire.FailureCode.UNKNOWN_ID, why)


def _blocks(engine: Engine, client: str, accounts: frozenset[str] | None) -> tuple[Block, ...]:
    """Every block, or those that keep one of these accounts, or the client that asks, from trading."""
    if accounts is None:
        return engine.accounts.blocks()
    scopes = {FIRM, client_scope(client), *map(account_scope, accounts)}
    scopes |= {group_scope(group) for group in map(engine.accounts.group_of, accounts) if group is not None}
    return tuple(block for block in engine.accounts.blocks() if block.scope in scopes)


def _open_orders(engine: Engine, client: str, query: wire.ListOpenOrders, now_ns: int) -> wire.Reply:
    most = max(1, min(query.most, PAGE))
    mine = sorted(id for id in engine.orders.by_client.get(client, ()) if id > query.after)
    page: list[OpenOrder] = []
    for at, id in enumerate(mine):
        if len(page) == most:
            return wire.OpenOrders(tuple(page), more=at < len(mine))
        record = engine.orders.open[id]
        if query.account is None or record.account == query.account:
            page.append(_open_order(record, now_ns))
    return wire.OpenOrders(tuple(page), more=False)


def _open_order(record: OrderRecord, now_ns: int) -> OpenOrder:
    assert record.order is not None
    left_s = max(0, record.lease_end_ns - now_ns) / 1e9 if record.state in LEASED else None
    return OpenOrder(
        reservation_id=record.reservation_id,
        order=record.order,
        state=record.state,
        open_quantity=canonical(record.open_quantity),
        venue_order_id=record.venue_order_id,
        lease_left_s=left_s,
        flags=record.flags,
        modify=_open_modify(record, now_ns),
    )


def _open_modify(record: OrderRecord, now_ns: int) -> OpenModify | None:
    modify = record.pending
    if modify is None:
        return None
    left_s = max(0, modify.lease_end_ns - now_ns) / 1e9 if modify.state in LEASED else None
    return OpenModify(reservation_id=modify.modify_id, order=modify.order, state=modify.state, lease_left_s=left_s)


def _outcome(engine: Engine, client: str, query: wire.AskOutcome, sees_all: bool) -> wire.Reply:
    record = engine.orders.known_as(query.account, query.order_id)
    if record is None or not (sees_all or not record.client or client in (record.client, record.taken_from)):
        what = f"no order {query.order_id} of {account_scope(query.account)} is known for client {client}"
        return wire.Failed(wire.FailureCode.UNKNOWN_ID, f"{what}: rejected, never received, or closed long ago")
    return wire.OutcomeIs(
        Outcome(
            account=record.account,
            order_id=record.order_id,
            state=record.state,
            ended_by=None if record.ended_by is None else str(record.ended_by),
            reason=record.reason,
            filled_quantity=canonical(record.filled_quantity),
            open_quantity=ZERO if record.state in ENDED else canonical(record.open_quantity),
            venue_order_id=record.venue_order_id,
            flags=record.flags,
        )
    )


# ---------------------------------------------------------------------------------------------- for operators


def _only_operators(client: str, query: wire.Query, house: House) -> str:
    has = ", ".join(sorted(house.config.roles_of(client)))
    return (
        f"client {client} has the roles {has}; {type(query).__name__} shows what is everybody's and needs "
        f'"observe": {house.config.how_to_grant(client, "observe")}'
    )


def _status(engine: Engine, house: House) -> wire.StatusIs:
    states, refusals = house.states(), house.refusals()
    journal = house.config.journal
    return wire.StatusIs(
        seq=engine.seq,
        version=__version__,
        endpoint=house.config.daemon.endpoint,
        pid=house.pid,
        up_ns=house.up_ns(),
        epoch=house.epoch,
        why_refusing=house.why_refusing(),
        disputed_seq=engine.disputed_seq,
        durability=str(journal.durability),
        journal=journal.directory if journal.is_kept else "",
        journal_seq=house.seq if journal.is_kept else 0,
        journal_low=house.journal_low,
        sessions=len(engine.sessions),
        open_orders=len(engine.orders.open),
        states=tuple(sorted(states.items())),
        quarantined=states.get(OrderState.QUARANTINED, 0),
        requests=len(engine.requests),
        blocks=len(engine.accounts.blocks()),
        limits=sum(len(policy.limit_names) for policy in engine.policies.values()),
        settings_from=house.config.source,
        restrictions=len(engine.trading),
        not_authorized=refusals.not_authorized + house.keys_refused(),
        malformed=refusals.malformed,
        overrides=len(engine.overrides),
        **cancel_watch.counted(engine),
        failing=engine.failing.policies(),
        reducing=sum(each.state is TradingState.REDUCING for each in engine.trading.restrictions()),
    )


def _sessions(engine: Engine, query: wire.ListSessions, house: House) -> wire.Reply:
    found = sorted((each for each in engine.sessions.going() if each.id > query.after), key=lambda each: each.id)
    most = _most(query.most)
    tallied = [(each, house.tally_of(each)) for each in found[:most]]
    page = tuple(
        wire.SessionSeen(
            session=each.id,
            client=each.client,
            roles=tuple(sorted(house.config.roles_of(each.client))),
            in_flight=len(each.answers),
            unsettled=len(each.unsettled),
            commands=each.next_number - 1,
            noticed_by=house.how_noticed(each),
            messages=tally.messages,
            per_s=round(tally.per_s),
            refused=tally.refused,
            over_share=tally.over_share,
        )
        for each, tally in tallied
    )
    return wire.SessionsAre(engine.seq, page, more=len(found) > most)


def _accounts(engine: Engine, query: wire.ListAccounts, now_ns: int, house: House) -> wire.Reply:
    most = _most(query.most)
    look = look_at(engine, now_ns, query.after, most + 1)
    money: dict[str, list[wire.MoneySeen]] = {}
    for policy in engine.policies.values():
        for each in _told(policy.money, look):
            seen = wire.MoneySeen(
                settlement=each.settlement,
                pnl=each.pnl,
                floor=each.floor,
                ceiling=each.ceiling,
                tripped=each.tripped,
            )
            money.setdefault(each.account, []).append(seen)
    open_orders = house.open_by_account()
    blocked = (block.scope.partition(" ") for block in engine.accounts.blocks())
    halted = (each.scope.partition(" ") for each in engine.trading.restrictions())
    known = {
        *money,
        *open_orders,
        *engine.positions.accounts(),
        *house.config.accounts,
        *(name for kind, _, name in blocked if kind == "account"),
        *(name for kind, _, name in halted if kind == "account"),
    }
    names = look.page(known)
    own = OwnCurrency(engine, house.newest_quote, now_ns, house.wall_ns())
    page = tuple(
        wire.AccountSeen(
            account=name,
            group=engine.accounts.group_of(name),
            open_orders=open_orders[name],
            money=_valued(money.get(name, ()), own.unrealised_of(name)),
            blocks=engine.accounts.blocks_on(name),
            restrictions=engine.trading.over(name, engine.accounts.group_of(name)),
            currency=own.of(name),
            made=own.worth(name, [(each.settlement, each.pnl) for each in money.get(name, ())]),
            unrealised=own.unrealised(name),
            is_declared=name in house.config.accounts,
        )
        for name in names[:most]
    )
    return wire.AccountsAre(engine.seq, page, more=len(names) > most)


def _valued(money: Sequence[wire.MoneySeen], unrealised: Mapping[str, Decimal | None]) -> tuple[wire.MoneySeen, ...]:
    """An account's P&L by asset, with what it holds there; also where nothing has been realised yet."""
    realised = {each.settlement: each for each in money}
    nothing = [wire.MoneySeen(settlement=asset, pnl=ZERO) for asset in unrealised if asset not in realised]
    return tuple(
        msgspec.structs.replace(each, unrealised=unrealised.get(each.settlement, ZERO))
        for each in sorted((*money, *nothing), key=lambda each: each.settlement)
    )


def _orders(engine: Engine, query: wire.ListOrders, now_ns: int) -> wire.Reply:
    orders = engine.orders
    among = orders.closed if query.which is wire.Which.CLOSED else orders.open
    if query.order_id is not None and query.account is not None:
        record = orders.known_as(query.account, query.order_id)
        ids = [] if record is None or record.reservation_id not in among else [record.reservation_id]
    elif query.client is not None and among is orders.open:
        ids = sorted(orders.by_client.get(query.client, ()))
    else:
        ids = sorted(among)
    ids = ids[bisect_right(ids, query.after) :]
    most = _most(query.most)
    page: list[wire.OrderSeen] = []
    for id in ids[:_LOOKED_MOST]:
        record = among[id]
        if _is_meant(engine, query, record, now_ns):
            page.append(_order_seen(engine, record, now_ns))
            if len(page) == most:
                return wire.OrdersAre(engine.seq, tuple(page), id if id != ids[-1] else 0)
    return wire.OrdersAre(engine.seq, tuple(page), ids[_LOOKED_MOST - 1] if len(ids) > _LOOKED_MOST else 0)


def _is_meant(engine: Engine, query: wire.ListOrders, record: OrderRecord, now_ns: int) -> bool:
    if query.account not in (None, record.account) or query.client not in (None, record.client):
        return False
    if query.order_id not in (None, record.order_id):
        return False
    if query.which is wire.Which.QUARANTINED:
        return record.state is OrderState.QUARANTINED
    if query.which is wire.Which.STALE:
        return record.state is not OrderState.HELD and now_ns - record.heard_ns >= query.quiet_ns
    if query.which is wire.Which.LEASED:
        return record.state in LEASED
    return query.which is not wire.Which.ABANDONED or engine.sessions.live(record.client) is None


def _order_seen(engine: Engine, record: OrderRecord, now_ns: int) -> wire.OrderSeen:
    left_s = max(0, record.lease_end_ns - now_ns) / 1e9 if record.state in LEASED else None
    return wire.OrderSeen(
        reservation_id=record.reservation_id,
        account=record.account,
        order_id=record.order_id,
        client=record.client,
        is_client_here=engine.sessions.live(record.client) is not None,
        state=record.state,
        order=record.order,
        open_quantity=ZERO if record.state in ENDED else canonical(record.open_quantity),
        filled_quantity=canonical(record.filled_quantity),
        venue_order_id=record.venue_order_id,
        lease_left_s=left_s,
        ended_by=None if record.ended_by is None else str(record.ended_by),
        reason=record.reason,
        flags=record.flags,
        quiet_s=max(0, now_ns - record.heard_ns) / 1e9,
        modify=_open_modify(record, now_ns),
        cancel_asked=bool(record.cancel_asked_ns) and record.state not in ENDED,
    )


def _limits(engine: Engine, query: wire.ListLimits, now_ns: int, house: House) -> wire.Reply:
    """In the order of the configuration; each limit as it is configured, then what it has counted by scope."""
    owner = {name: policy for policy in engine.policies.values() for name in policy.limit_names}
    configured = [limit.name for limit in house.config.limits if limit.name in owner]
    ordered = [*configured, *(name for name in owner if name not in configured)]
    page: list[wire.LimitSeen] = []
    position, after = max(0, query.position), query.after
    left = _most(query.most)
    for at, name in enumerate(ordered[position:], position):
        policy = owner[name]
        look = look_at(engine, now_ns, after, left)
        counters = _told(policy.counters, name, look)
        if not counters and not after:
            counters = _told(policy.bounds, name)
        is_shadow = name in engine.pipeline.shadows
        page += [_limit_seen(name, policy.id, each, is_shadow=is_shadow) for each in counters]
        scopes = len({each.scope for each in counters})
        left -= scopes
        if left <= 0:
            return wire.LimitsAre(engine.seq, tuple(page), at, counters[-1].scope)
        after = ""
    return wire.LimitsAre(engine.seq, tuple(page), -1, "")


def _overrides(engine: Engine, query: wire.ListOverrides) -> wire.Reply:
    found, skip = engine.overrides.all(), max(0, query.skip)
    upto = skip + _most(query.most)
    page = tuple(translate.override_of(each, engine.base_of(each)) for each in found[skip:upto])
    return wire.OverridesAre(engine.seq, page, more=upto < len(found))


def _settings(engine: Engine, query: wire.AskSettings) -> wire.Reply:
    text, begin = engine.settings, max(0, query.begin)
    piece = text[begin : begin + _PIECE]
    return wire.SettingsAre(engine.seq, wire.digest_of(text.encode()), piece, more=begin + _PIECE < len(text))


def _told(ask: Callable[..., Sequence[T]], *about: object) -> Sequence[T]:
    """What a control says of itself; nothing when it fails: whoever wrote it, it must not take the daemon along."""
    try:
        return ask(*about)
    except Exception as trouble:
        log.error("policy.silent", asked=getattr(ask, "__qualname__", ask), why=repr(trouble))
        return ()


def _limit_seen(name: str, control: str, counter: Counter, *, is_shadow: bool) -> wire.LimitSeen:
    return wire.LimitSeen(
        limit=name,
        control=control,
        scope=counter.scope,
        what=counter.what,
        bound=counter.bound,
        used=counter.used,
        is_tripped=counter.is_tripped,
        is_shadow=is_shadow,
    )


def _most(wanted: int) -> int:
    return max(1, min(wanted, _SEEN_MOST))
