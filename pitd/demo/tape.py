"""The demo with a tape: recorded orders go through the gate; an independent book says whether the sums are right."""

from __future__ import annotations

import argparse
import csv
import itertools
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

import pit
from pitd.clock import ManualClock
from pitd.errors import ConfigError, PitdError
from pitd.local import LocalEngine
from pitd.policies.open_order_notional import OpenNotional, OpenOrderNotional

from . import show, words
from .endings import attempt, conclude
from .processes import Child, Part, Stage
from .run import PYTHON_M, demo_tables

LIMITS = """
[clients."*"]
roles = ["trade", "report", "quote"]
[clients.operator]
roles = ["trade", "report", "operate"]
[instruments.ES]
settlement = "USD"
kind = "linear"
multiplier = "50"
tick = "0.25"
[limits]
fat_finger = { control = "order_size_limit", each = "account", settlement = "USD", max_quantity = "1000000000" }
msg_rate   = { control = "rate_limit", each = "account", max_orders = 1000000000, window = "1s" }
day_loss   = { control = "pnl_kill_switch", each = "account", settlement = "USD", max_loss = "1000000000000" }
open_usd   = { control = "open_order_notional", each = "account", settlement = "USD", max_notional = "1000000000000" }
"""

ACCOUNT = "tape"
COLUMNS = ["time_ns", "action", "order_id", "side", "price", "quantity"]
ACTIONS = ("new", "modify", "fill", "cancel")


class TapeDamaged(PitdError):
    """The tape can't be meant. The message names file, line and column. Nothing was started."""

    exit_code = 65


class Line(NamedTuple):
    number: int
    time_ns: int
    action: str
    order_id: str
    side: pit.Side
    price: Decimal
    quantity: int


def play(options: argparse.Namespace) -> int:
    """Plays the tape through a daemon, or an engine in this process. 0 when the sums are right."""
    lines = read(options.tape)
    tables = _with_instrument(demo_tables(options.config, LIMITS))
    where = "an engine in this process" if options.local else "a daemon"
    title = f"pitd demo: {len(lines):,} events of {options.tape} through {where}, {options.strategies} strategies"
    shown = show.make(title, plain_to=sys.stderr if options.json else None)
    where_to_play = _play_here if options.local else _play_through_daemon
    began_s = time.monotonic()
    results = attempt(shown, lambda: where_to_play(options, tables, lines, shown))
    if isinstance(results, int):
        return results
    took_s = time.monotonic() - began_s
    shown.event(f"{len(lines):,} events in {took_s:.1f} s, {len(lines) / took_s:,.0f} a second")
    return conclude(shown, [_closing_table(results)], _checks(results, len(lines)), as_json=options.json)


# ---------------------------------------------------------------------------------------------- reading


def read(path: str) -> list[Line]:
    """Every line of a tape, checked: its form, and that each belongs to an order that is open. Raises TapeDamaged."""
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            rows = csv.reader(file)
            header = next(rows, [])
            if header != COLUMNS:
                _fail(path, 1, "header", f"{','.join(COLUMNS)} is wanted, not {','.join(header)[:80]!r}")
            return list(_checked(path, rows))
    except OSError as trouble:
        raise TapeDamaged(f"{path}: cannot be read: {trouble.strerror}") from trouble
    except (UnicodeDecodeError, csv.Error) as trouble:
        raise TapeDamaged(f"{path}: is not a CSV file in UTF-8: {trouble}") from trouble


def _checked(path: str, rows: Iterator[list[str]]) -> Iterator[Line]:
    open_lots: dict[str, int] = {}
    before_ns = 0
    for number, row in enumerate(rows, start=2):
        if len(row) != len(COLUMNS):
            at = COLUMNS[min(len(row), len(COLUMNS) - 1)]
            _fail(path, number, at, f"{len(COLUMNS)} columns are wanted, not {len(row)}")
        line = _line(path, number, row)
        if line.time_ns < before_ns:
            _fail(path, number, "time_ns", f"time goes back, from {before_ns} to {line.time_ns}")
        before_ns = line.time_ns
        left = open_lots.get(line.order_id)
        if line.action == "new":
            if left is not None:
                _fail(path, number, "order_id", f"order {line.order_id} was opened before")
            left = 0
        elif not left:
            _fail(path, number, "order_id", f"a {line.action} of order {line.order_id}, which is not open here")
        assert left is not None
        if line.action == "fill" and line.quantity > left:
            _fail(path, number, "quantity", f"{line.quantity} filled, and {left} are open")
        match line.action:
            case "fill":
                open_lots[line.order_id] = left - line.quantity
            case "cancel":
                open_lots[line.order_id] = 0
            case _:
                open_lots[line.order_id] = line.quantity
        yield line


def _line(path: str, number: int, row: list[str]) -> Line:
    time_ns, action, order_id, side, price, quantity = row
    if not (time_ns.isascii() and time_ns.isdigit() and len(time_ns) < 20):
        _fail(path, number, "time_ns", f"nanoseconds are wanted, not {time_ns[:40]!r}")
    if action not in ACTIONS:
        _fail(path, number, "action", f"one of {', '.join(ACTIONS)} is wanted, not {action[:40]!r}")
    if not (order_id.isascii() and order_id.isdigit() and len(order_id) <= 32):
        _fail(path, number, "order_id", f"a number is wanted, not {order_id[:40]!r}")
    if side not in tuple(pit.Side):
        _fail(path, number, "side", f"buy or sell is wanted, not {side[:40]!r}")
    try:
        exact = Decimal(price)
    except InvalidOperation:
        exact = Decimal("NaN")
    if not exact.is_finite() or len(price) > 18:
        _fail(path, number, "price", f"a number is wanted, not {price[:40]!r}")
    if not (quantity.isascii() and quantity.isdigit() and 0 < len(quantity) < 10 and int(quantity) > 0):
        _fail(path, number, "quantity", f"a whole number above zero is wanted, not {quantity[:40]!r}")
    return Line(number, int(time_ns), action, order_id, pit.Side(side), exact, int(quantity))


def _fail(path: str, number: int, column: str, why: str) -> None:
    raise TapeDamaged(f"{path}: line {number}, column {column}: {why}")


# ---------------------------------------------------------------------------------------------- one share of it


class Result(msgspec.Struct):
    """What one strategy's share of the tape came to. Notionals are text, so that they are exact on the way too."""

    events: int = 0
    accepted: int = 0
    rejected: dict[str, int] = {}
    filled: int = 0
    cancelled: int = 0
    modified: int = 0
    skipped: int = 0
    open_orders: int = 0
    open_lots: int = 0
    open_notional: str = "0"
    book_orders: int = 0
    book_lots: int = 0
    book_notional: str = "0"
    differ: int = 0
    """Orders that the engine and the book do not say the same of."""
    counted: str | None = None
    """What the open-notional control counts, where it could be asked."""
    decisions: str = ""
    """A digest of what was said to each order and modify, in the tape's order."""


class Player:
    """Works a share of the tape through one engine, and keeps a book of its own with plain arithmetic."""

    def __init__(self, engine: pit.Engine, symbol: str, multiplier: Decimal) -> None:
        self._engine = engine
        self._symbol = symbol
        self._multiplier = multiplier
        self._result = Result()
        self._traded: Counter[str] = Counter()
        self._book: dict[str, tuple[Decimal, int]] = {}
        """Price and open lots by the tape's order id."""
        self._decisions = blake2b(digest_size=8)

    def play(self, line: Line) -> None:
        if not self._result.events:
            self._engine.push_quote(self._symbol, mark=line.price)
        self._result.events += 1
        if line.action == "new":
            self._check(line)
        elif line.order_id not in self._book:
            self._result.skipped += 1  # it was rejected
        elif line.action == "fill":
            self._fill(line)
        elif line.action == "modify":
            self._modify(line)
        else:
            self._cancel(line)
            self._result.cancelled += 1

    def _check(self, line: Line) -> None:
        order = pit.Order(
            account=ACCOUNT,
            instrument=self._symbol,
            side=line.side,
            quantity=line.quantity,
            price=line.price,
            id=line.order_id,
        )
        held = self._engine.execute_pre_trade(order, sent=True)
        if self._is_allowed(line, held):
            self._result.accepted += 1
            self._book[line.order_id] = (line.price, line.quantity)

    def _modify(self, line: Line) -> None:
        """New terms for an order; where they are refused it is taken back: the tape goes on with what was not let."""
        self._result.modified += 1
        if self._book[line.order_id] == (line.price, line.quantity):
            return
        quantity = self._traded[line.order_id] + line.quantity
        held = self._engine.modify_pre_trade(ACCOUNT, line.order_id, quantity=quantity, price=line.price, sent=True)
        if not self._is_allowed(line, held):
            self._cancel(line)
            return
        self._report(line, pit.ReportKind.REPLACED)
        self._book[line.order_id] = (line.price, line.quantity)

    def _is_allowed(self, line: Line, held: pit.Reservation | pit.Rejected) -> bool:
        if held:
            held.commit()
            self._decisions.update(f"{line.number}\n".encode())
            return True
        self._result.rejected[held.code] = self._result.rejected.get(held.code, 0) + 1
        codes = " ".join(f"{reject.limit}:{reject.code}" for reject in held.rejects)
        self._decisions.update(f"{line.number} {codes}\n".encode())
        return False

    def _cancel(self, line: Line) -> None:
        self._report(line, pit.ReportKind.CANCELLED)
        del self._book[line.order_id]

    def _fill(self, line: Line) -> None:
        self._report(line, pit.ReportKind.FILL)
        self._engine.push_quote(self._symbol, mark=line.price)
        self._result.filled += line.quantity
        self._traded[line.order_id] += line.quantity
        price, lots = self._book[line.order_id]
        if lots == line.quantity:
            del self._book[line.order_id]
        else:
            self._book[line.order_id] = (price, lots - line.quantity)

    def _report(self, line: Line, kind: pit.ReportKind) -> None:
        is_fill = kind is pit.ReportKind.FILL
        report = pit.ExecutionReport(
            account=ACCOUNT,
            kind=kind,
            report_id=str(line.number),
            order_id=line.order_id,
            quantity=line.quantity if is_fill else None,
            price=line.price if is_fill else None,
        )
        self._engine.apply_execution_report(report)

    def result(self) -> Result:
        """The counts, what the engine says is open, and what the book says."""
        result = self._result
        engine = {
            one.order.id: (one.order.price or Decimal(0), int(one.open_quantity)) for one in self._engine.open_orders()
        }
        book = self._book
        result.decisions = self._decisions.hexdigest()
        result.differ = sum(engine.get(id) != book.get(id) for id in {*engine, *book})
        result.open_orders, result.open_lots, result.open_notional = self._sum(engine)
        result.book_orders, result.book_lots, result.book_notional = self._sum(book)
        return result

    def _sum(self, orders: Mapping[str, tuple[Decimal, int]]) -> tuple[int, int, str]:
        notional = sum((abs(price) * lots for price, lots in orders.values()), Decimal(0)) * self._multiplier
        return len(orders), sum(lots for _, lots in orders.values()), f"{notional:.2f}"

    def ask_counted(self) -> str | None:
        """What the limit counts: an order far above it is refused, with the numbers."""
        probe = pit.Order(
            account=ACCOUNT, instrument=self._symbol, side=pit.Side.BUY, quantity=1_000_000_000, price=1_000_000
        )
        answer = self._engine.execute_pre_trade(probe)
        if answer or answer.code is not pit.RejectCode.RISK_LIMIT_EXCEEDED:
            return None
        return f"{answer.used:.2f}"


def share_of(order_id: str, shares: int) -> int:
    """Whose order it is: the same on every machine."""
    return zlib.crc32(order_id.encode()) % shares


# ---------------------------------------------------------------------------------------------- the two places


def _play_here(
    options: argparse.Namespace, tables: Mapping[str, Any], lines: Sequence[Line], shown: show.Show
) -> list[Result]:
    """One engine in this process, whose clock is the tape's."""
    clock = ManualClock(lines[0].time_ns if lines else 0)
    local = LocalEngine(tables, clock=clock)
    symbol, multiplier = _instrument(tables)
    engines = [local.connect(f"tape{n + 1}") for n in range(options.strategies)]
    players = [Player(engine, symbol, multiplier) for engine in engines]
    for done, line in enumerate(lines):
        clock.set_ns(line.time_ns)
        players[share_of(line.order_id, len(players))].play(line)
        if done % 256 == 0:
            shown.progress(_standing({"tape": (done, len(lines))}))
    results = [player.result() for player in players]
    results[0].counted = _counted_by(local)
    for engine in engines:
        engine.close()
    return results


def _counted_by(local: LocalEngine) -> str | None:
    """The control's own counter, where there is one for all that the tape brings."""
    limits = [limit for limit in local.config.limits if isinstance(limit, OpenNotional) and limit.each == ("account",)]
    policy = local.sequencer.engine.policies.get("open_order_notional")
    if not limits or not isinstance(policy, OpenOrderNotional):
        return None
    return f"{policy.held(limits[0].name, f'account {ACCOUNT}'):.2f}"


def _play_through_daemon(
    options: argparse.Namespace, tables: Mapping[str, Any], lines: Sequence[Line], shown: show.Show
) -> list[Result]:
    """A real daemon, and a process for each share; each works its own in the tape's order."""
    symbol, multiplier = _instrument(tables)
    names = [f"tape{n + 1}" for n in range(options.strategies)]
    shares = Counter(share_of(line.order_id, len(names)) for line in lines)
    standing = {name: (0, shares[share]) for share, name in enumerate(names)}
    results: dict[str, Result] = {}
    with Stage() as stage:
        stage.start_daemon(tables)
        children = []
        for share, name in enumerate(names):
            part = {
                "tape": str(Path(options.tape).resolve()),
                "share": share,
                "shares": len(names),
                "symbol": symbol,
                "multiplier": str(multiplier),
                "in_turn": options.in_turn,
            }
            children.append(stage.start(name, (*PYTHON_M, "pitd.demo.tape"), part))
        operator = stage.connect("operator")
        turns = _turns(lines, len(names)) if options.in_turn else iter(())
        waits_for = _give(turns, children, Counter())
        while len(results) < len(names):
            for news in stage.news(0.05):
                match news:
                    case words.TapeProgress():
                        standing[news.who] = (news.done, news.total)
                        if waits_for == (news.who, news.done):
                            waits_for = _give(
                                turns, children, Counter({who: did for who, (did, _) in standing.items()})
                            )
                    case words.TapeDone():
                        results[news.who] = msgspec.convert(news.result, Result)
                    case _:
                        raise AssertionError(news)
            stage.check()
            shown.progress(_standing(standing))
        for child in children:
            child.may_end = True
            child.tell("finish")
        if options.config is None:
            results[names[0]].counted = Player(operator, symbol, multiplier).ask_counted()
    return [results[name] for name in names]


def _turns(lines: Sequence[Line], shares: int) -> Iterator[tuple[int, int]]:
    """Which share has the next lines of the tape, and how many in a row."""
    for share, some in itertools.groupby(lines, lambda line: share_of(line.order_id, shares)):
        yield share, sum(1 for _ in some)


def _give(
    turns: Iterator[tuple[int, int]], children: Sequence[Child], done: Mapping[str, int]
) -> tuple[str, int] | None:
    """Tells a strategy that it is its turn; and when that will be over: who will have worked how many lines."""
    turn = next(turns, None)
    if turn is None:
        return None
    child = children[turn[0]]
    child.tell(str(turn[1]))
    return child.name, done[child.name] + turn[1]


def work_share() -> None:
    """A strategy process: connects, works its share, and tells what it came to."""
    part = Part()
    spec = part.spec
    lines = [line for line in read(spec["tape"]) if share_of(line.order_id, spec["shares"]) == spec["share"]]
    with pit.connect(part.name, spec["endpoint"], timeout_s=20) as engine:
        player = Player(engine, spec["symbol"], Decimal(spec["multiplier"]))
        told_s = 0.0
        turn = 0
        for done, line in enumerate(lines):
            if spec["in_turn"] and not turn:
                if done:
                    part.tell(words.TapeProgress(part.name, done, len(lines)))
                turn = int(part.told())
            turn -= 1
            player.play(line)
            if not spec["in_turn"] and done % 64 == 0 and time.monotonic() - told_s > 0.2:
                told_s = time.monotonic()
                part.tell(words.TapeProgress(part.name, done, len(lines)))
        part.tell(words.TapeProgress(part.name, len(lines), len(lines)))
        part.tell(words.TapeDone(part.name, msgspec.to_builtins(player.result())))
        part.wait_for("finish")
    part.close()


def _with_instrument(tables: dict[str, Any]) -> dict[str, Any]:
    """The tables, with ES declared where nothing is."""
    if tables.get("instruments"):
        return tables
    return {**tables, "instruments": demo_tables(None, LIMITS)["instruments"]}


def _instrument(tables: Mapping[str, Any]) -> tuple[str, Decimal]:
    """Which declared instrument the tape is about, and its multiplier: ES, or the only one."""
    declared = tables["instruments"]
    if "ES" not in declared and len(declared) > 1:
        raise ConfigError(f"a tape is about one instrument: declare [instruments.ES], or one of {', '.join(declared)}")
    symbol = "ES" if "ES" in declared else next(iter(declared))
    return symbol, Decimal(declared[symbol].get("multiplier", "1"))


# ---------------------------------------------------------------------------------------------- showing it


def _standing(standing: Mapping[str, tuple[int, int]]) -> Callable[[], tuple[str, show.Table]]:
    def now() -> tuple[str, show.Table]:
        done, total = (sum(column) for column in zip(*standing.values(), strict=True))
        share = f" ({100 * done // total} %)" if total else ""
        rows = [(name, f"{did:,}", f"{of:,}") for name, (did, of) in standing.items()]
        return f"{done:,} of {total:,} events{share}", show.Table("", ("strategy", "events", "of"), rows)

    return now


def _closing_table(results: Sequence[Result]) -> show.Table:
    rejected: Counter[str] = Counter()
    for result in results:
        rejected.update(result.rejected)
    notional = sum((Decimal(result.open_notional) for result in results), Decimal(0))
    rows = [
        ("accepted", f"{sum(result.accepted for result in results):,}"),
        ("rejected", f"{sum(rejected.values()):,}"),
        *((f"  {code}", f"{count:,}") for code, count in sorted(rejected.items())),
        ("filled lots", f"{sum(result.filled for result in results):,}"),
        ("cancelled", f"{sum(result.cancelled for result in results):,}"),
        ("modified", f"{sum(result.modified for result in results):,}"),
        ("skipped, of rejected orders", f"{sum(result.skipped for result in results):,}"),
        ("open orders", f"{sum(result.open_orders for result in results):,}"),
        ("open lots", f"{sum(result.open_lots for result in results):,}"),
        ("open notional", f"{notional:,}"),
        ("decisions", " ".join(result.decisions for result in results)),
    ]
    return show.Table("What the tape came to", ("what", "count"), rows)


def _checks(results: Sequence[Result], total: int) -> list[show.Check]:
    engine = [_total(result.open_orders, result.open_lots, result.open_notional) for result in results]
    book = [_total(result.book_orders, result.book_lots, result.book_notional) for result in results]
    engine_sum, book_sum = _added(engine), _added(book)
    events = sum(result.events for result in results)
    differ = sum(result.differ for result in results)
    checks = [
        show.Check(f"every event was worked: {events:,} of {total:,}", events == total),
        show.Check(
            f"the engine says {engine_sum[0]:,} orders, {engine_sum[1]:,} lots, {engine_sum[2]:,} open; "
            f"the tape's own book {book_sum[0]:,}, {book_sum[1]:,}, {book_sum[2]:,}",
            engine_sum == book_sum,
        ),
        show.Check(f"they say the same of each order ({differ} differ)", differ == 0),
    ]
    counted = results[0].counted
    if counted is not None:
        checks.append(
            show.Check(f"the open-notional limit counts {Decimal(counted):,}", Decimal(counted) == book_sum[2])
        )
    return checks


def _total(orders: int, lots: int, notional: str) -> tuple[int, int, Decimal]:
    return orders, lots, Decimal(notional)


def _added(totals: Sequence[tuple[int, int, Decimal]]) -> tuple[int, int, Decimal]:
    return sum(one[0] for one in totals), sum(one[1] for one in totals), sum((one[2] for one in totals), Decimal(0))


if __name__ == "__main__":
    work_share()
