"""What tests build with: orders, reports, an engine of this process, and a core that is fed entry by entry."""

from __future__ import annotations

import decimal
import functools
import itertools
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Union

import msgspec

import pit
from pit.types import Number
from pitd import bootstrap, config
from pitd.clock import ManualClock
from pitd.core import entry as e
from pitd.core import snapshot
from pitd.core.engine import Bounds, Engine, exact_context
from pitd.core.instruments import Listed
from pitd.core.policy import Attempt, Policy, Reported
from pitd.core.prices import Quote
from pitd.core.sessions import Known, Session
from pitd.local import LocalEngine

AAPL = pit.Instrument("AAPL", "USD")
BTC = pit.Instrument("BTC", "USDT")

OPEN_USD = """
[limits]
open_usd = { control = "open_order_notional", each = "account", settlement = "USD", max_notional = "1000000" }
"""
"""A configuration whose only use is that what is open gets counted: by `Core.held()`."""

INSTRUMENTS = """
[instruments.ESZ6]
underlying = "ES"
settlement = "USD"
kind = "linear"
multiplier = "50"
tick = "0.25"
lot = "1"

[instruments.XBT]
settlement = "BTC"
kind = "inverse"
multiplier = "100"

[instruments.SPREAD]
settlement = "USD"
kind = "linear"
signed_price = true
"""

_ids = itertools.count(1)


@functools.cache
def parsed(settings: str) -> config.Config:
    """Settings, read once: thousands of tests have the same ones. The accounts that they declare are not the only ones
    that trade, unless they say so.
    """
    read = config.parse(settings, "test.toml")
    if "unknown_accounts" in settings:
        return read
    return msgspec.structs.replace(read, gate=msgspec.structs.replace(read.gate, unknown_accounts="allow"))


def order(**fields: Any) -> pit.Order:
    """Buy 10 AAPL at 100 for account alpha, unless said otherwise. `quantity=None` or `price=None` leaves it out."""
    known: dict[str, Any] = {"account": "alpha", "instrument": AAPL, "side": "buy", "price": "100", "quantity": "10"}
    if fields.get("volume") is not None:
        known["quantity"] = None
    return pit.Order(**(known | fields))


def report(kind: str = "accepted", **fields: Any) -> pit.ExecutionReport:
    """A report for account alpha under a report id of its own, unless one is given. Name the order it is about."""
    known: dict[str, Any] = {"account": "alpha", "kind": kind, "report_id": f"r{next(_ids)}"}
    return pit.ExecutionReport(**(known | fields))


def fill(order_id: str, quantity: Number = "1", price: Number | None = "100", **fields: Any) -> pit.ExecutionReport:
    """So much of that order has traded."""
    return report("fill", order_id=order_id, quantity=quantity, price=price, **fields)


def money(order_id: str, pnl: Number = 0, fee: Number = 0, **fields: Any) -> pit.ExecutionReport:
    """A report that brings realised P&L or a cost to an account, for an order that nobody needs to know."""
    return report("accepted", order_id=order_id, pnl=pnl, fee=fee, **({"instrument": AAPL} | fields))


def attempt(
    wanted: pit.Order | None = None,
    *,
    listed: Listed | None = None,
    client: str = "mm1",
    group: str | None = None,
    now_s: float = 0,
) -> Attempt:
    """An order on its way through a stage, for a policy that is tested alone."""
    wanted = wanted or order()
    if listed is None:
        pair = wanted.instrument
        assert isinstance(pair, pit.Instrument), "say what a symbol means: listed="
        listed = Listed(symbol=str(pair), underlying=pair.underlying, settlement=pair.settlement)
    return Attempt(wanted, listed, client, group, round(now_s * 1e9))


def reported(wanted: pit.ExecutionReport, *, settlement: str = "USD", group: str | None = None) -> Reported:
    return Reported(wanted, group, settlement, 0)


class Local:
    """An engine of this process behind pit's own API, and the clock that moves it."""

    def __init__(self, settings: str = "", *, policies: Sequence[Policy] = (), client: str = "mm1") -> None:
        self.clock = ManualClock(1_000_000_000)
        self.house = LocalEngine(parsed(settings), clock=self.clock, policies=policies)
        self.engine = self.house.connect(client)

    @property
    def core(self) -> Engine:
        return self.house.sequencer.engine

    def connect(self, client: str) -> pit.Engine:
        return self.house.connect(client)

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)


class Core:
    """A core that is fed by hand: every call is one entry at `now_ns`, and `rows` keeps what each of them did.

    No lease ends by itself and nothing is read from a clock: time goes by `advance`, leases end by `end_leases`.
    """

    def __init__(self, settings: str = OPEN_USD, *, policies: Sequence[Policy] = (), **bounds: int) -> None:
        read = parsed(settings)
        gate = msgspec.structs.replace(read.gate, bounds=msgspec.structs.replace(read.gate.bounds, **bounds))
        self._context = exact_context()
        self._made_of = (settings, policies, bounds)
        self.quotes: tuple[Quote, ...] = ()
        """What every entry from now on knows of prices."""
        self.engine = bootstrap.build_engine(msgspec.structs.replace(read, gate=gate), policies)
        self.now_ns = 1_000_000_000
        self.rows: list[e.Row] = []

    @property
    def bounds(self) -> Bounds:
        return self.engine.bounds

    def advance(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)

    def enter(self, body: e.Body) -> e.Reply:
        entry = e.Entry(self.engine.seq + 1, self.now_ns, self.now_ns, body, self.quotes)
        with decimal.localcontext(self._context):
            result = self.engine.apply(entry)
        self.rows.append(e.Row(entry, result.effects, result.reply))
        return result.reply

    def quote(
        self, *, mark: str | None = None, bid: str | None = None, ask: str | None = None, symbol: str = str(AAPL)
    ) -> None:
        """Tells every entry from now on what that instrument costs at this moment."""
        prices = (None if price is None else Decimal(price) for price in (mark, bid, ask))
        self.quotes = (Quote(symbol, *prices, self.now_ns),)

    def again(self, way: str) -> Core:
        """Another core that comes to where this one is: by carrying out its "rows", or from its "snapshot"."""
        settings, policies, bounds = self._made_of
        other = Core(settings, policies=policies, **bounds)
        with decimal.localcontext(self._context):
            if way == "snapshot":
                snapshot.load(other.engine, snapshot.decode(snapshot.encode(snapshot.take(self.engine))))
            else:
                for row in self.rows:
                    other.engine.carry_out(e.deed_of(row))
        assert saved(other.engine) == saved(self.engine)
        other.now_ns, other.quotes, other.rows = self.now_ns, self.quotes, list(self.rows)
        return other

    # ------------------------------------------------------------------------------------------ sessions

    def open_session(self, client: str = "mm1") -> int:
        reply = self.enter(e.SessionOpened(client, b"token"))
        assert isinstance(reply, e.Opened)
        return reply.session

    def session(self, client: str = "mm1") -> Session:
        """The client's live session; opened when there is none."""
        live = self.engine.sessions.live(client)
        if live is None:
            live = self.engine.sessions.get(self.open_session(client))
        assert live is not None
        return live

    def end_session(self, client: str = "mm1") -> e.Reply:
        return self.enter(e.SessionEnded(self.session(client).id, "gone"))

    def send(
        self, command: e.Command, *, session: Session, number: int, acked: int | None = None, digest: bytes = b""
    ) -> Known:
        """A numbered command as the sequencer takes it: known from before, refused, or executed now."""
        acked = session.acked if acked is None else acked
        known = self.engine.sessions.judge(session, number, acked, digest)
        if known is not None:
            return known
        return Known(self.enter(e.Commanded(session.id, number, acked, digest, command)), False)

    def command(self, command: e.Command, client: str = "mm1") -> e.Reply:
        session = self.session(client)
        number = session.next_number
        return self.enter(e.Commanded(session.id, number, number - 1, b"", command))

    # ------------------------------------------------------------------------------------------ commands

    def check(self, wanted: pit.Order, *, sent: bool = False, lease_s: float | None = None, client: str = "mm1") -> Any:
        return self.command(e.CheckOrder(wanted, sent, _ns(lease_s)), client)

    def start(self, wanted: pit.Order, client: str = "mm1") -> Any:
        return self.command(e.StartOrder(wanted), client)

    def execute(self, id: int, *, sent: bool = False, lease_s: float | None = None, client: str = "mm1") -> Any:
        return self.command(e.ExecuteRequest(id, sent, _ns(lease_s)), client)

    def mark_sent(self, id: int, client: str = "mm1") -> Any:
        return self.command(e.MarkSent(id), client)

    def commit(self, id: int, venue_id: str | None = None, *, late: bool = False, client: str = "mm1") -> Any:
        return self.command(e.Commit(id, venue_id, late), client)

    def rollback(self, id: int, reason: str = "", client: str = "mm1") -> Any:
        return self.command(e.Rollback(id, reason), client)

    def quarantine(self, id: int, reason: str = "", client: str = "mm1") -> Any:
        return self.command(e.Quarantine(id, reason), client)

    def renew(self, id: int, lease_s: float | None = None, client: str = "mm1") -> Any:
        return self.command(e.Renew(id, _ns(lease_s)), client)

    def drop(self, *ids: int, requests: Sequence[int] = (), client: str = "mm1") -> Any:
        return self.command(e.Drop(ids, tuple(requests)), client)

    def report(self, wanted: pit.ExecutionReport, client: str = "mm1") -> Any:
        return self.command(e.ApplyReport(wanted), client)

    def status(self, order_id: str, cum_quantity: Number, price: Number | None = None, **fields: Any) -> Any:
        """So much of that order has traded by now, at that average price."""
        known: dict[str, Any] = {"account": "alpha", "order_id": order_id} | fields
        told = pit.OrderStatus(cum_quantity=cum_quantity, average_price=price, **known)
        return self.command(e.ApplyStatus(told), "mm1")

    def goodbye(self, client: str = "mm1") -> Any:
        return self.command(e.EndOwnSession(), client)

    def block(self, scope: str, reason: str = "a test", client: str = "ops") -> Any:
        return self.command(e.BlockScope(scope, reason), client)

    def unblock(self, scope: str, reason: str = "a test", client: str = "ops") -> Any:
        return self.command(e.UnblockScope(scope, reason), client)

    def halt(self, scope: str, reason: str = "a test", client: str = "ops") -> Any:
        return self.command(e.SetTradingState(scope, pit.TradingState.HALTED, reason), client)

    def reduce(self, scope: str, reason: str = "a test", client: str = "ops") -> Any:
        return self.command(e.SetTradingState(scope, pit.TradingState.REDUCING, reason), client)

    def let_go(self, scope: str, reason: str = "a test", client: str = "ops") -> Any:
        """Ends a halt (`resume` is what a daemon does after it was away)."""
        return self.command(e.SetTradingState(scope, pit.TradingState.ACTIVE, reason), client)

    def rearm(self, limit: str, scope: str, room: str, client: str = "ops") -> Any:
        return self.command(e.Rearm(limit, scope, Decimal(room), "a test"), client)

    def settle(self, order_id: str, *, working: bool, reason: str = "a test", account: str = "alpha") -> Any:
        return self.command(e.SettleOrder(account, order_id, working, reason), "ops")

    def close_order(self, order_id: str, *, reason: str = "a test", account: str = "alpha") -> Any:
        return self.command(e.CloseOrder(account, order_id, reason), "ops")

    def set_limit(
        self,
        limit: str,
        values: Mapping[str, str],
        *,
        reason: str = "a test",
        lasts_s: float | None = None,
        until_wall_ns: int | None = None,
    ) -> Any:
        return self.command(e.SetLimit(limit, tuple(values.items()), reason, _ns(lasts_s), until_wall_ns), "ops")

    def adjust(
        self,
        *adjustments: Any,
        id: str = "",
        reason: str = "a test",
        imported: tuple[str, ...] = (),
        client: str = "ops",
    ) -> Any:
        """A person's word on what accounts have, hold and have made; under an id of its own, unless one is given."""
        return self.command(e.AdjustAccounts(id or f"adj{next(_ids)}", adjustments, reason, imported), client)

    def fund(self, account: str = "alpha", **amounts: str) -> None:
        """Sets what the account has, by asset."""
        parts = [pit.BalanceAdjustment(account=account, asset=each, set_to=amount) for each, amount in amounts.items()]
        assert isinstance(self.adjust(*parts), e.Adjusted)

    def clear_limit(self, limit: str, key: str | None = None, *, reason: str = "a test") -> Any:
        return self.command(e.ClearLimit(limit, key, reason), "ops")

    def reload(
        self, settings: str, *, reason: str = "a test", changes: tuple[str, ...] = (), waiting: tuple[str, ...] = ()
    ) -> Any:
        """Goes on under another configuration, as a person asks."""
        configured = bootstrap.configured(parsed(settings), "ops", reason)
        return self.command(e.Reload(msgspec.structs.replace(configured, changes=changes), waiting), "ops")

    def take(self, order_id: str, *, lease_s: float | None = None, client: str = "fix", account: str = "alpha") -> Any:
        return self.command(e.TakeOrder(account, order_id, _ns(lease_s)), client)

    def modify(
        self,
        order_id: str,
        *,
        quantity: Number | None = None,
        price: Number | None = None,
        volume: Number | None = None,
        new_id: str | None = None,
        sent: bool = False,
        lease_s: float | None = None,
        client: str = "mm1",
        account: str = "alpha",
    ) -> Any:
        terms = (None if each is None else Decimal(str(each)) for each in (quantity, price, volume))
        return self.command(e.ModifyOrder(account, order_id, *terms, new_id, sent, _ns(lease_s)), client)

    def settle_modify(self, order_id: str, *, replaced: bool, reason: str = "a test", account: str = "alpha") -> Any:
        return self.command(e.SettleModify(account, order_id, replaced, reason), "ops")

    def working(self, wanted: pit.Order | None = None, client: str = "mm1") -> int:
        """An order that is at the venue: its reservation."""
        id = self.check(wanted or order(id="o1"), client=client).reservation_id
        self.commit(id, client=client)
        return int(id)

    def end_leases(self, most: int = 1_000) -> int:
        """Ends at most so many of the leases that are due: the number ended."""
        reply = self.enter(e.LeasesDue(most))
        assert isinstance(reply, e.Done)
        return reply.count

    def configure(self, settings: str) -> e.Reply:
        """Goes on under another configuration, as a daemon that was started again with it."""
        return self.enter(bootstrap.configured(parsed(settings), "test", "test"))

    def begin_day(self, day: str, *scopes: str, at_wall_ns: int | None = None) -> e.Reply:
        """As the calendar has it begun; for the firm, unless said otherwise."""
        return self.enter(e.DayDue(scopes or ("firm",), day, self.now_ns if at_wall_ns is None else at_wall_ns))

    def close_day_orders(self, most: int = 1_000) -> int:
        reply = self.enter(e.DayOrdersDue(most))
        assert isinstance(reply, e.Done)
        return reply.count

    def end_day(self, *scopes: str) -> e.Reply:
        return self.enter(e.DayEndDue(scopes or ("firm",), self.now_ns))

    def resume(self, away_s: float = 0) -> e.Reply:
        return self.enter(e.Resumed(round(away_s * 1e9)))

    # ------------------------------------------------------------------------------------------ what is there

    def state(self, id: int) -> pit.OrderState:
        record = self.engine.orders.find(id)
        assert record is not None
        return record.state

    def ended_by(self, id: int) -> e.EndedBy | None:
        record = self.engine.orders.find(id)
        assert record is not None
        return record.ended_by

    def flags(self, id: int) -> tuple[str, ...]:
        record = self.engine.orders.find(id)
        assert record is not None
        return record.flags

    def held(self, scope: str = "account alpha", limit: str = "open_usd") -> Decimal:
        """What open_order_notional counts as open."""
        return self.engine.policies["open_order_notional"].held(limit, scope)  # type: ignore[attr-defined]


def saved(engine: Engine) -> Mapping[str, Any]:
    """Everything an engine remembers, as plain values: equal for equal states."""
    sessions = engine.sessions
    return {
        "seq": engine.seq,
        "on the way": {repr(key): units for key, units in sorted(engine.positions._on_the_way.items(), key=repr)},
        "policies": {id: policy.save() for id, policy in engine.policies.items()},
        "blocks": msgspec.to_builtins(engine.accounts.save()),
        "shadow blocks": msgspec.to_builtins(engine.accounts.shadow_blocks()),
        "days": msgspec.to_builtins([engine.days.all(), engine.days.closing]),
        "for a day": list(engine.orders.for_a_day),
        "restrictions": msgspec.to_builtins(engine.trading.restrictions()),
        "open": [msgspec.to_builtins(engine.orders.open[id]) for id in sorted(engine.orders.open)],
        "closed": [msgspec.to_builtins(record) for record in engine.orders.closed.values()],
        "positions": msgspec.to_builtins(engine.positions.save()),
        "balances": msgspec.to_builtins(engine.balances.save()),
        "adjustments": msgspec.to_builtins(engine.adjustments.save()),
        "imported": engine.adjustments.imported(),
        "failing": msgspec.to_builtins(engine.failing.all()),
        "overrides": msgspec.to_builtins(engine.overrides.all()),
        "quotes": msgspec.to_builtins(engine.valuation.marks.save()),
        "of clients": msgspec.to_builtins(engine.positions.clients()),
        "requests": [msgspec.to_builtins(engine.requests[id]) for id in sorted(engine.requests)],
        "sessions": [msgspec.to_builtins(sessions.by_id[id]) for id in sorted(sessions.by_id)],
        "ended sessions": [msgspec.to_builtins(session) for session in sessions._ended.values()],
    }


def effect_from(policy: Policy, plain: Any) -> Any:
    """A policy's effect from what its encoding was decoded to."""
    return msgspec.convert(plain, Union[policy.effect_types])  # noqa: UP007 - built from a tuple


def _ns(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1e9)
