"""Random histories that go through a real journal: what the engine decides is kept, then recovered and compared."""

from __future__ import annotations

import decimal
import random
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

import builders

import pit
from pitd import bootstrap, config
from pitd.core import entry as e
from pitd.core import snapshot
from pitd.core.engine import NEW_RISK, Engine, exact_context
from pitd.journal import START, Head, SegmentJournal
from pitd.recovery import Recovered, recover

SETTINGS = """
[gate]
unknown_accounts = "allow"
[accounts.alpha]
group = "eq"
[accounts.beta]
group = "eq"

[limits.size]
control = "order_size_limit"
each = "account"
settlement = "USD"
max_quantity = "90"

[limits.open_usd]
control = "open_order_notional"
each = "account"
settlement = "USD"
max_notional = "20000"

[limits.rate]
control = "rate_limit"
each = "account"
max_orders = 4
window = "2s"

[limits.loss]
control = "pnl_kill_switch"
each = "account"
settlement = "USD"
max_loss = "500"

[limits.eq_loss]
control = "pnl_kill_switch"
over = { group = "eq" }
groups = ["eq"]
settlement = "USD"
max_loss = "700"
"""

TIGHTER = (
    SETTINGS.replace('max_notional = "20000"', 'max_notional = "9000"')
    .replace("max_orders = 4", "max_orders = 2")
    .replace('max_loss = "500"', 'max_loss = "300"')
)
WITHOUT_RATE = TIGHTER.replace("[limits.rate]", "[limits.pace]")


def settings(directory: Path, **other: Any) -> config.Journal:
    """A journal's settings with a small reserve."""
    return config.Journal(**({"directory": str(directory), "reserve_bytes": 1 << 16} | other))


def parsed(text: str = SETTINGS) -> config.Config:
    return config.parse(text, "test.toml")


def digest(engine: Engine) -> str:
    """The same for the same state, whatever way led there."""
    return blake2b(snapshot.encode(snapshot.take(engine)), digest_size=16).hexdigest()


def inside(engine: Engine) -> dict[str, Any]:
    """Everything an engine remembers, looked up in it rather than asked of what makes its snapshots."""
    orders, sessions = engine.orders, engine.sessions
    return {
        **builders.saved(engine),
        "now": engine.now_ns,
        "settings": engine.settings,
        "instruments": engine.instruments.declared(),
        "groups": engine.accounts.groups(),
        "disputed": (engine.disputed_seq, engine.accepted_seq),
        "ended requests": list(engine.requests_ended.items()),
        "leases": sorted(engine.live_leases()),
        "order of open ones": list(orders.open),
        "by client": {client: list(ids) for client, ids in orders.by_client.items() if ids},
        "by key": dict(orders.by_key),
        "by venue id": {named: _ids_of(alias) for named, alias in orders._by_venue_id.items()},
        "live sessions": {client: session.id for client, session in sessions._live.items()},
        "ending sessions": list(sessions.ending),
        "unsettled": {id: list(session.unsettled) for id, session in sessions.by_id.items()},
        "bounds": engine.bounds,
    }


def _ids_of(alias: Any) -> list[int]:
    """The orders behind a venue's id, those that ended first."""
    return [alias] if isinstance(alias, int) else [*alias.ended, *alias.open]


def brought_back(directory: Path) -> Recovered:
    return recover(directory, bootstrap.blank_engine)


class Kept:
    """Traders on a core whose every entry is journaled. `digests` says what the state was after each row."""

    def __init__(
        self, directory: Path, seed: int = 1, *, found: Recovered | None = None, text: str = SETTINGS, **other: Any
    ) -> None:
        directory.mkdir(exist_ok=True)
        self.directory = directory
        self.settings = settings(directory, **other)
        self.dice = random.Random(seed)
        self.rows: list[e.Row] = []
        self._batch: list[e.Row] = []
        self.first_id = 0
        if found is None:
            self.engine = bootstrap.build_engine(parsed(text))
            self.now_ns = 1_000_000_000
            self.digests: dict[int, str] = {}
            self.journal = SegmentJournal(self.settings, b"journal's own id", START)
        else:
            self.engine = found.engine
            self.now_ns = found.engine.now_ns
            self.digests = {found.head.seq: digest(found.engine)}
            assert found.journal is not None
            self.journal = SegmentJournal(self.settings, found.journal, found.head, snapshot_seq=found.snapshot_seq)
        self.configure(text)

    @property
    def seq(self) -> int:
        return self.engine.seq

    @property
    def head(self) -> Head:
        return self.journal.head

    def configure(self, text: str) -> None:
        self.enter(bootstrap.configured(parsed(text), "pitd", "a test"))
        self.keep()

    def enter(self, body: e.Body) -> e.Reply:
        entry = e.Entry(self.engine.seq + 1, self.now_ns, self.now_ns, body)
        with decimal.localcontext(exact_context()):
            result = self.engine.apply(entry)
        self._batch.append(e.Row(entry, result.effects, result.reply))
        self.digests[entry.seq] = digest(self.engine)
        return result.reply

    def keep(self) -> None:
        if self._batch:
            self.journal.append(self._batch)
            self.rows += self._batch
            self._batch = []
        self.journal.maintain(self.engine)

    def trade(self, entries: int) -> None:
        """So many more entries, in batches of one to four."""
        upto = self.engine.seq + entries
        while self.engine.seq < upto:
            for _ in range(self.dice.randint(1, min(4, upto - self.engine.seq))):
                self.step()
            self.keep()

    def step(self) -> None:
        dice = self.dice
        self.now_ns += dice.choice((0, 1_000_000, 300_000_000, 1_500_000_000))
        client = dice.choice(("mm1", "mm2", "mm3"))
        what = dice.random()
        is_due = self.engine.sessions.ending or min(self.engine.live_leases(), default=(1 << 62, 0))[0] <= self.now_ns
        if is_due and what < 0.7:
            self.enter(e.LeasesDue(dice.choice((1, 2, 1_000))))
        elif what < 0.02:
            self.enter(e.Resumed(0))
        elif what < 0.025:
            self.enter(e.HistoryDisputed(client, self.engine.seq + dice.randrange(50)))
        elif what < 0.05 or self.engine.sessions.live(client) is None:
            self.enter(e.SessionOpened(client, dice.randbytes(16)))
        elif what < 0.07:
            live = self.engine.sessions.live(client)
            assert live is not None
            self.enter(e.SessionEnded(live.id, "a test"))
        else:
            self._command(client)

    def _command(self, client: str) -> None:
        session = self.engine.sessions.live(client)
        assert session is not None
        number = session.next_number
        if self.dice.random() < 0.03:
            self.enter(e.NumberVoided(session.id, number))
            return
        command = self._any_command()
        if type(command) in NEW_RISK and self.engine.over_bound(session, command):
            return
        acked = self.dice.randint(max(session.acked, number - 5), number - 1)
        self.enter(e.Commanded(session.id, number, acked, self.dice.randbytes(8), command))

    def _any_command(self) -> e.Command:
        dice, engine = self.dice, self.engine
        some_id = self._pick([*engine.orders.open, *list(engine.orders.closed)[-5:]])
        if dice.random() < 0.12:
            return self._about_a_modify(some_id)
        what = dice.random()
        if what < 0.3:
            return e.CheckOrder(self._order(), dice.random() < 0.5, dice.choice((None, 200_000_000, 10_000_000_000)))
        if what < 0.36:
            return e.StartOrder(self._order())
        if what < 0.42:
            return e.ExecuteRequest(self._pick(list(engine.requests)), dice.random() < 0.5, None)
        if what < 0.47:
            return e.MarkSent(some_id)
        if what < 0.57:
            return e.Commit(some_id, dice.choice((None, f"V{some_id}")), dice.random() < 0.3)
        if what < 0.63:
            return e.Rollback(some_id, "a test")
        if what < 0.66:
            return e.Quarantine(some_id, "a test")
        if what < 0.7:
            return e.Renew(some_id, None)
        if what < 0.72:
            return e.Drop((some_id,), tuple(engine.requests)[:1])
        if what < 0.9:
            return e.ApplyReport(self._report(some_id))
        scope = dice.choice(("account alpha", "group eq", "firm"))
        if what < 0.905:
            return e.AcceptHistory("a test")
        if what < 0.91:
            state = dice.choice((*pit.TradingState, *3 * (pit.TradingState.ACTIVE,)))
            return e.SetTradingState(dice.choice((scope, "instrument AAPL/USD")), state, "a test")
        if what < 0.915:
            return e.BlockScope(scope, "a test")
        if what < 0.945:
            return e.UnblockScope(scope, "a test")
        if what < 0.965:
            return e.Rearm(dice.choice(("loss", "eq_loss")), scope, decimal.Decimal(100), "a test")
        record = engine.orders.find(some_id)
        account, order_id = (record.account, record.order_id) if record else ("alpha", "nobody's")
        if what < 0.98:
            return e.SettleOrder(account, order_id, dice.random() < 0.5, "a test")
        return e.CloseOrder(account, order_id, "a test")

    def _about_a_modify(self, some_id: int) -> e.Command:
        dice, engine = self.dice, self.engine
        working = [each for each in engine.orders.open.values() if each.state is pit.OrderState.WORKING]
        if not working:
            return e.Commit(some_id, None, False)
        record = dice.choice(working)
        account, order_id = record.account, record.order_id
        if record.pending is not None:
            kind = dice.choice(("replaced", "replaced", "replace_rejected"))
            told = pit.ExecutionReport(
                kind=kind, account=account, order_id=order_id, report_id=f"m{dice.randrange(40)}"
            )
            return dice.choice(
                (
                    e.ApplyReport(told),
                    e.ApplyReport(told),
                    e.SettleModify(account, order_id, dice.random() < 0.5, "a test"),
                    e.Commit(record.pending.modify_id, None, False),
                )
            )
        quantity = decimal.Decimal(dice.choice((2, 11, 40)))
        new_id = dice.choice((None, f"m{dice.randrange(1 << 16)}-{self.first_id}"))
        return dice.choice(
            (
                e.ModifyOrder(account, order_id, quantity, None, None, new_id, True, None),
                e.ModifyOrder(account, order_id, quantity, None, None, new_id, True, None),
                e.CancelOrder(account, order_id),
                e.ApplyStatus(pit.OrderStatus(account=account, order_id=order_id, cum_quantity=1, average_price=99)),
            )
        )

    def _order(self) -> pit.Order:
        self.first_id += self.dice.random() < 0.95
        return builders.order(
            id=f"o{self.dice.randrange(1 << 16)}-{self.first_id}",
            account=self.dice.choice(("alpha", "beta", "gamma")),
            quantity=self.dice.choice(("1", "10", "33.5", "95")),
            price=self.dice.choice(("99.5", "100", "120.25")),
        )

    def _report(self, id: int) -> pit.ExecutionReport:
        dice = self.dice
        record = self.engine.orders.find(id)
        account, order_id = (record.account, record.order_id) if record else ("alpha", f"stranger{dice.randrange(9)}")
        kind = dice.choice(("accepted", "fill", "fill", "cancelled", "rejected"))
        fields: dict[str, Any] = {"account": account, "order_id": order_id, "report_id": f"r{dice.randrange(40)}"}
        if kind == "fill":
            fields |= {"quantity": dice.choice(("0.5", "1", "10")), "price": "100", "pnl": dice.randint(-90, 60)}
        if record is None or dice.random() < 0.2:
            fields["instrument"] = builders.AAPL
        return pit.ExecutionReport(kind=kind, **fields)

    def _pick(self, ids: list[int]) -> int:
        return self.dice.choice(ids) if ids and self.dice.random() < 0.97 else 999_999

    # ------------------------------------------------------------------------------------------ ends

    def close(self) -> None:
        self.journal.close(self.engine)

    def die(self, at: Path) -> Path:
        """The files as they are now, where nobody has tidied them up: what a killed daemon would leave."""
        self.finish_snapshot()
        self.finish_behind()
        return copied(self.directory, at)

    def finish_snapshot(self) -> None:
        if self.journal._snapshot_pid:
            self.journal._reap(wait=True)

    def finish_behind(self) -> None:
        """Waits for what the journal's own thread has been asked to do."""
        is_done = threading.Event()
        self.journal._behind._tasks.put(is_done.set)
        assert is_done.wait(60)


@contextmanager
def kept(directory: Path, seed: int = 1, **other: Any) -> Iterator[Kept]:
    history = Kept(directory, seed, **other)
    try:
        yield history
    finally:
        history.journal.close()


def copied(directory: Path, at: Path) -> Path:
    """Without -shm: it holds nothing, and is made again."""
    shutil.copytree(directory, at, ignore=shutil.ignore_patterns("*-shm"))
    return at


def contents(directory: Path) -> dict[str, bytes]:
    """What stands in a journal's files. SQLite makes -shm and an empty -wal for who only reads: they hold nothing."""
    found = {path.name: path.read_bytes() for path in sorted(directory.iterdir()) if not path.name.endswith("-shm")}
    return {name: content for name, content in found.items() if content or not name.endswith("-wal")}
