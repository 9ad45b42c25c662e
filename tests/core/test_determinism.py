"""The same entries give the same state and the same replies: live, carried out from rows, and under any hash seed."""

from __future__ import annotations

import decimal
import hashlib
import os
import random
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from builders import AAPL, INSTRUMENTS, Core, order, report, saved

import pit
from pitd.core import entry as e
from pitd.core.engine import exact_context
from pitd.core.prices import Quote
from pitd.core.reading import Reader, encode

SETTINGS = f"""
{INSTRUMENTS}
[accounts.alpha]
group = "eq"
[accounts.beta]
group = "eq"
start_of_day = "17:00"
[reports]
overfill = "reduce"
[limits]
calls = {{ control = "message_rate", each = "account", max_messages = 5, window = "1s" }}
day_loss = {{ control = "pnl_kill_switch", each = "account", settlement = "USD", max_loss = "500", initial_pnl = "-1" }}
eq_loss = {{ control = "pnl_kill_switch", over = {{ group = "eq" }}, settlement = "USD", max_loss = "600" }}
msg_rate = {{ control = "rate_limit", each = "account", max_orders = 4, window = "1s" }}
firm_rate = {{ control = "rate_limit", over = "firm", max_orders = 8, window = "1s" }}
fat_finger = {{ control = "order_size_limit", each = "account", settlement = "USD", max_notional = "100000" }}
open_usd = {{ control = "open_order_notional", each = "account", settlement = "USD", max_notional = "12000" }}
open_firm = {{ control = "open_order_notional", over = "firm", settlement = "USD", max_notional = "20000" }}
again = {{ control = "duplicate_order", over = "firm", max_repeats = 0, window = "20s" }}
loop = {{ control = "repeated_execution", max_executions = 2, window = "90s" }}
own = {{ control = "self_trade", over = "firm" }}
rule = {{ control = "instrument_rules", max_price = 1500, short_sale = "reject", accounts = ["beta"] }}
book = {{ control = "concentration_limit", each = "client", clients = ["mm3"], settlement = "USD", max_percent = 95, \
min_gross = 9000 }}
near = {{ control = "price_collar", max_percent = 10, instruments = ["SPREAD"] }}
"""

ACCOUNTS = ("alpha", "beta", "gamma")
CLIENTS = ("mm1", "mm2", "mm3")


class Trader:
    """Does one thing after another to a core, all of it drawn from one seed: sense, nonsense and rough weather."""

    def __init__(self, seed: int, *, steps: int) -> None:
        self.random = random.Random(seed)
        self.core = Core(SETTINGS, closed_kept=40, reports_per_order=20)
        self._held: list[tuple[int, str]] = []
        self._requests: list[int] = []
        self._orders: list[tuple[str, str]] = [("alpha", "never")]
        for _ in range(steps):
            self.step()

    def step(self) -> e.Reply:
        core, draw = self.core, self.random
        if draw.random() < 0.6:
            core.advance(draw.choice((0, 0.01, 0.05, 0.1, 0.1, 0.3, 2.5)))
        client = draw.choice(CLIENTS)
        held, owner = self.held()
        match draw.choice(_WEIGHTED):
            case "check":
                core.quotes = self.quotes()
                reply = core.check(
                    self.order(), sent=draw.random() < 0.4, lease_s=draw.choice((None, 1, 9)), client=client
                )
                core.quotes = ()
                if isinstance(reply, e.Accepted):
                    self._held.append((reply.reservation_id, client))
                return reply
            case "start":
                reply = core.start(self.order(), client)
                if isinstance(reply, e.Deferred):
                    self._requests.append(reply.request_id)
                return reply
            case "execute":
                reply = core.execute(self.request(), sent=draw.random() < 0.5, client=client)
                if isinstance(reply, e.Accepted):
                    self._held.append((reply.reservation_id, client))
                return reply
            case "report":
                return core.report(self.report(), client)
            case "commit":
                venue_id = draw.choice((None, f"v{draw.randrange(50)}"))
                pending = [each.pending for each in core.engine.orders.open.values() if each.pending is not None]
                if pending and draw.random() < 0.5:
                    held, owner = (modify := draw.choice(pending)).modify_id, modify.client
                return core.commit(held, venue_id, late=draw.random() < 0.3, client=draw.choice((owner, client)))
            case "drop":
                return core.drop(held, self.held()[0], requests=[self.request()], client=owner)
            case "take":
                account, id = draw.choice(self._orders[-8:])
                taken = core.take(id, account=account, client=client)
                if isinstance(taken, e.Taken):
                    self._held.append((taken.reservation_id, client))
                return taken
            case "modify":
                account, id = draw.choice(self._orders[-8:])
                working = [each for each in core.engine.orders.open.values() if each.state is pit.OrderState.WORKING]
                if working and draw.random() < 0.9:
                    record = draw.choice(working)
                    account, id, client = record.account, record.order_id, record.client or client
                reply = core.modify(
                    id,
                    account=account,
                    quantity=draw.choice((None, "1", "2", "9", "150")),
                    price=draw.choice((None, "99.75", "101", "2000")),
                    new_id=draw.choice((None, f"m{len(self._orders)}", f"m{draw.randrange(9)}")),
                    sent=draw.random() < 0.4,
                    lease_s=draw.choice((None, 1, 9)),
                    client=client,
                )
                if isinstance(reply, e.Modified):
                    self._held += [(reply.modify_id, client)] * 3
                    self._orders += [(account, reply.order.id), (account, id)]
                return reply
            case "cancel":
                account, id = draw.choice(self._orders[-8:])
                open = list(core.engine.orders.open.values())
                if open:
                    record = draw.choice(open)
                    account, id = record.account, record.order_id
                return core.command(e.CancelOrder(account, id), client)
            case "status":
                account, id = draw.choice(self._orders[-20:])
                stands = draw.choice(("working", "working", "filled", "cancelled"))
                quantity, price = draw.choice(("0", "1", "3", "7")), draw.choice((None, "99.5", "10"))
                listed = draw.choice((None, "ESZ6"))
                return core.status(id, quantity, price, account=account, status=stands, instrument=listed, side="buy")
            case "settle_modify":
                account, id = draw.choice(self._orders[-8:])
                return core.settle_modify(id, replaced=draw.random() < 0.5, account=account)
            case "leases":
                return core.enter(e.LeasesDue(draw.choice((1, 3, 1000))))
            case "resume":
                return core.resume(1)
            case "connect":
                return core.enter(e.SessionOpened(client, draw.randbytes(16)))
            case "vanish":
                return core.enter(e.SessionEnded(core.session(client).id, "gone"))
            case "void":
                session = core.session(client)
                return core.enter(e.NumberVoided(session.id, session.next_number + draw.randrange(3)))
            case "block":
                return core.block(draw.choice(("account gamma", "account gamma", "group eq", "firm", "nonsense")))
            case "unblock":
                return core.unblock(
                    draw.choice(("account gamma", "group eq", "firm", "client mm1", "client mm2", "client mm3"))
                )
            case "halt":
                return core.halt(draw.choice(("account alpha", "instrument BTC/USDT", "group eq", "nonsense")))
            case "let_go":
                return core.let_go(draw.choice(("account alpha", "instrument BTC/USDT", "group eq")))
            case "set_limit":
                values = {draw.choice(("max_orders", "window", "max_notional")): draw.choice(("1", "5", "20s", "bad"))}
                limit = draw.choice(("msg_rate", "fat_finger", "open_usd", "nothing"))
                return core.set_limit(limit, values, lasts_s=draw.choice((None, 1, 5)))
            case "clear_limit":
                return core.clear_limit(draw.choice(("msg_rate", "fat_finger", "open_usd")))
            case "overrides":
                return core.enter(e.OverridesDue(core.now_ns))
            case "day":
                scope = draw.choice(("firm", "account beta", "account alpha"))
                return core.begin_day(f"2026-11-{draw.randrange(1, 30):02}", scope)
            case "day_orders":
                return core.enter(e.DayOrdersDue(draw.choice((1, 1000))))
            case "day_end":
                return core.end_day(draw.choice(("firm", "account beta")))
            case "reload":
                settings = SETTINGS.replace("100000", draw.choice(("100000", "90000")))
                return core.reload(settings.replace("open_firm", draw.choice(("open_firm", "open_all"))))
            case "rearm":
                scope = draw.choice((*(f"account {account}" for account in ACCOUNTS), "group eq"))
                return core.rearm("eq_loss" if scope == "group eq" else "day_loss", scope, "300")
            case "adjust":
                account = draw.choice(ACCOUNTS)
                return core.adjust(
                    pit.BalanceAdjustment(account=account, asset="USD", move_by=draw.choice((0, "500", "-20.5"))),
                    pit.PositionAdjustment(
                        account=account, instrument="ESZ6", set_to=draw.choice((0, 5)), price=draw.choice((100, 99))
                    ),
                    pit.PnlAdjustment(account=account, settlement="USD", move_by=draw.choice((0, -50, 70))),
                    id=f"a{draw.randrange(30)}",
                )
            case "person":
                account, id = draw.choice(self._orders)
                if draw.random() < 0.5:
                    return core.close_order(id, account=account)
                return core.settle(id, working=draw.random() < 0.5, account=account)
            case plain:
                return getattr(core, plain)(held, client=owner if draw.random() < 0.9 else client)

    def quotes(self) -> tuple[Quote, ...]:
        """What an entry brings of prices: often nothing new."""
        symbols = self.random.choice(((), ("AAPL/USD",), ("AAPL/USD", "ESZ6"), ("AAPL/USD", "ESZ6")))
        mark = Decimal(self.random.choice((90, 100)))
        return tuple(Quote(symbol, mark, None, None, self.core.now_ns) for symbol in symbols)

    def order(self) -> pit.Order:
        draw = self.random
        if draw.random() < 0.1:
            account, id = draw.choice(self._orders)
        else:
            account, id = draw.choice(ACCOUNTS), f"o{len(self._orders)}"
        wanted = order(
            account=account,
            id=id,
            side=draw.choice(("buy", "sell")),
            instrument=draw.choice((AAPL, AAPL, AAPL, AAPL, "ESZ6", "ESZ6", "SPREAD", "ESZ7")),
            quantity=draw.choice(("1", "1", "3", "3", "7", "7.5", "100", "0")),
            price=draw.choice(("10.25", "99.75", "100", "100", "100", "2000", None)),
            time_in_force=draw.choice((None, None, "day", "gtc")),
        )
        self._orders.append((account, id))
        return wanted

    def report(self) -> pit.ExecutionReport:
        draw = self.random
        account, id = draw.choice(self._orders[-30:])
        kinds = ("accepted", "fill", "fill", "fill", "cancelled", "expired", "rejected", "replaced", "replaced")
        kind = draw.choice((*kinds, "replace_rejected", "cancel_rejected", "bust", "correct", "bust", "correct"))
        told = {"fill": ("0.5", "1", "3", "200"), "replaced": (None, None, "2", "9"), "correct": ("1", "4")}
        orders = self.core.engine.orders
        known = [orders.find(id) for id in orders.by_key.values()]
        filled = [each for each in known if each.fills]
        asked = [each for each in known if each.cancel_asked_ns]
        fill_id = f"r{draw.randrange(5)}" if kind in ("bust", "correct") else None
        if fill_id is not None and filled:
            record = draw.choice(filled)
            account, id, fill_id = record.account, record.order_id, draw.choice([*(record.fills or {}), fill_id])
        if kind == "cancel_rejected" and asked:
            record = draw.choice(asked)
            account, id = record.account, record.order_id
        venue_id = f"v{draw.randrange(50)}"
        named = draw.choice(((id, None), (id, None), (id, None), (id, venue_id), (None, venue_id)))
        return report(
            kind,
            account=account,
            order_id=named[0],
            venue_order_id=named[1],
            report_id=f"r{draw.randrange(9)}",
            quantity=draw.choice(told.get(kind, (None,))),
            fill_id=fill_id,
            price=draw.choice(("10", "99.5")) if kind == "fill" else None,
            pnl=draw.choice((0, 0, 0, "-40", "45.5", "-120")),
            fee=draw.choice((0, "0.75")),
            instrument=draw.choice((None, "ESZ6", "ESZ6")),
        )

    def held(self) -> tuple[int, str]:
        return self.random.choice(self._held[-8:]) if self._held else (0, "mm1")

    def request(self) -> int:
        return self.random.choice(self._requests[-8:]) if self._requests else 0


_WEIGHTED = (
    *("check",) * 24,
    *("report",) * 20,
    *("start", "execute") * 6,
    *("commit", "mark_sent", "rollback", "quarantine", "renew", "drop", "take") * 4,
    *("modify",) * 30,
    *("status", "status", "status", "cancel", "cancel", "settle_modify"),
    *("leases", "unblock", "rearm", "let_go") * 6,
    *("resume", "connect", "vanish", "void", "block", "person", "halt", "adjust", "adjust"),
    *(
        "set_limit",
        "clear_limit",
        "clear_limit",
        "overrides",
        "overrides",
        "reload",
        "day",
        "day_orders",
        "day_orders",
        "day_end",
    ),
)


CAUSED_BY_TRADING = {
    *(e.RequestOpened, e.RequestEnded, e.OrderOpened, e.OrderMoved, e.OrderFilled, e.OrderNamed, e.OrderFlagged),
    *(e.StrangerNoted, e.ReportNoted, e.LeaseSet, e.LeasesRestarted, e.PolicyChanged, e.Blocked, e.Unblocked),
    *(e.SessionStarted, e.SessionFinished, e.VoidedUpTo, e.TradingStateSet, e.OrderTaken),
    *(e.PositionChanged, e.BalancesMoved, e.AdjustmentNoted),
    *(e.Overridden, e.Reconfigured, e.HoldsReplaced, e.DayBegan, e.DayEnded, e.QuotesKept, e.DayOrdersClosed),
    *(e.ModifyOpened, e.ModifyMoved, e.ModifyNamed, e.ModifyLeaseSet, e.ModifyHolds, e.OrderReplaced),
    *(e.CancelAsked, e.CancelRefused, e.FillChanged, e.StatusNoted),
}


def carried_out(rows: list[e.Row]) -> Core:
    """A core that took up recorded rows, by way of their bytes."""
    other = Core(SETTINGS, closed_kept=40, reports_per_order=20)
    with decimal.localcontext(exact_context()):
        reader = Reader(other.engine.policies)
        for row in rows:
            deed = reader.deed(encode(row))
            assert reader.row(encode(row)) == row, "read whole"
            assert deed == e.deed_of(row), "read for what it did"
            other.engine.carry_out(deed)
    return other


def digest_of(seed: int, steps: int) -> str:
    rows = Trader(seed, steps=steps).core.rows
    return hashlib.blake2b(b"".join(map(encode, rows))).hexdigest()


def test_the_history_is_a_rough_one():
    """What the other promises are worth hangs on what they have seen."""
    rows = [row for seed in range(4) for row in Trader(seed, steps=1200).core.rows]
    effects = {type(effect) for row in rows for effect in row.effects}
    assert effects >= CAUSED_BY_TRADING
    assert {type(row.reply) for row in rows} >= {
        e.Failed,
        e.Deferred,
        e.Accepted,
        e.Refused,
        e.Stands,
        e.Applied,
        e.Void,
        e.Taken,
        e.Adjusted,
        e.Modified,
        e.CancelCleared,
    }
    codes = {code for row in rows if isinstance(row.reply, e.Refused) for code in row.reply.rejected.codes}
    assert len(codes) >= 9


@pytest.mark.parametrize("seed", range(4))
def test_rows_carried_out_come_to_the_same_state(seed):
    core = Trader(seed, steps=800).core
    assert saved(carried_out(core.rows).engine) == saved(core.engine)


@pytest.mark.parametrize("seed", range(3))
def test_after_that_the_same_entries_get_the_same_replies(seed):
    trader = Trader(seed, steps=600)
    core, other = trader.core, carried_out(trader.core.rows)
    for _ in range(600):
        before = len(core.rows)
        trader.step()
        for row in core.rows[before:]:
            other.now_ns, other.quotes = row.entry.now_ns, row.entry.quotes
            assert other.enter(row.entry.body) == row.reply
            assert other.rows[-1].effects == row.effects
    assert saved(other.engine) == saved(core.engine)


@pytest.mark.parametrize("cut", [0, 1, 57, 199])
def test_it_holds_wherever_the_rows_are_cut(cut):
    rows = Trader(9, steps=200).core.rows
    other = carried_out(rows[:cut])
    for row in rows[cut:]:
        other.now_ns, other.quotes = row.entry.now_ns, row.entry.quotes
        assert other.enter(row.entry.body) == row.reply


def test_the_same_entries_are_decided_alike():
    core = Trader(5, steps=800).core
    other = Core(SETTINGS, closed_kept=40, reports_per_order=20)
    for row in core.rows:
        other.now_ns, other.quotes = row.entry.now_ns, row.entry.quotes
        other.enter(row.entry.body)
    assert [encode(row) for row in other.rows] == [encode(row) for row in core.rows]


def test_rows_survive_their_encoding():
    core = Trader(6, steps=600).core
    for row in core.rows:
        assert Reader(core.engine.policies).row(encode(row)) == row


def test_nothing_hangs_on_the_hash_seed():
    tests, code = str(Path(__file__).parent), "import test_determinism as t; print(t.digest_of(7, 600))"
    path = os.pathsep.join((tests, str(Path(tests).parent), *filter(None, sys.path)))
    digests = set()
    for seed in ("1", "4242"):
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path}
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60, check=True
        )
        digests.add(done.stdout)
    assert digests == {digest_of(7, 600) + "\n"}
