"""`pitctl exporter`: a process of its own that asks the daemon at every scrape, and serves what it hears to Prometheus.

The daemon counts; this only translates. While no daemon answers, `pitd_up` is 0 and there is nothing else. It is the
well-kept library that speaks Prometheus' language.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from typing import NamedTuple

from prometheus_client import start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

import pit
from pit import wire
from pit.types import OrderState

from .core.orders import ENDED
from .errors import EndpointBusy
from .journal_tools.words import printable

_OPEN = [state for state in OrderState if state not in ENDED]

_PNL = "pnl_kill_switch"

ACCOUNTS_MOST = 200
"""So many accounts have series of their own."""

OTHERS = "(others)"
"""What stands for all accounts that have none."""

Series = Iterable[tuple[tuple[str, ...], float]]
"""The values of one metric with the values of their labels."""


PAGES_MOST = 8
"""A scrape reads so many pages of limits and accounts at the most. Each is a moment of the daemon's loop: ten thousand
accounts under three limits make a hundred pages of 5 to 50 ms.
"""


class _Walk(NamedTuple):
    """All limits and accounts, read page by page, and when that began."""

    limits: list[wire.LimitSeen]
    accounts: list[wire.AccountSeen]
    began_s: float


class DaemonCollector(Collector):
    """Every metric of one daemon. `connect` is called whenever there is no conversation that goes on.

    Where there are more limits and accounts than a scrape may read, the next scrapes read on, and what is told of them
    is that of the last time that all were read: `pitd_limits_age_seconds` says how old that is.
    """

    def __init__(
        self,
        connect: Callable[[], pit.Engine],
        *,
        pages_most: int = PAGES_MOST,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connect = connect
        self._pages_most = pages_most
        self._now_s = now_s
        self._walk = _Walk([], [], 0)
        """What is being read."""
        self._pages: Iterator[None] | None = None
        self._whole: _Walk | None = None
        self._engine: pit.Engine | None = None
        self._turn = threading.Lock()
        self.trouble = ""
        """Why the daemon was not heard the last time, or nothing."""

    def collect(self) -> Iterable[Metric]:
        with self._turn:
            found = self._ask()
        yield _gauge("pitd_up", "Whether the daemon has answered this scrape.", _of(found is not None))
        if found is None:
            return
        metrics, whole = found
        yield from _state(metrics.status)
        yield from _counted(metrics)
        if whole is not None:
            yield from _of_limits(whole, max(0.0, self._now_s() - whole.began_s))

    def describe(self) -> Iterable[Metric]:
        return []  # else the daemon would be asked before anybody scrapes

    def close(self) -> None:
        engine, self._engine = self._engine, None
        self._pages = self._whole = None
        if engine is not None:
            with contextlib.suppress(pit.PitError):
                engine.close()

    def _ask(self) -> tuple[wire.MetricsAre, _Walk | None] | None:
        try:
            if self._engine is None:
                self._engine = self._connect()
            metrics = self._engine.ask(wire.AskMetrics())
            assert isinstance(metrics, wire.MetricsAre)
            self._read_on(self._engine)
        except pit.PitError as trouble:
            self._say(str(trouble))
            self.close()
            return None
        self._say("")
        return metrics, self._whole

    def _read_on(self, engine: pit.Engine) -> None:
        """Reads as many pages as a scrape may, from where the last one stopped."""
        for _ in range(self._pages_most):
            if self._pages is None:
                self._walk = _Walk([], [], self._now_s())
                self._pages = _read(engine, self._walk)
            if next(self._pages, self) is self:
                self._whole, self._pages = self._walk, None
                return

    def _say(self, trouble: str) -> None:
        """Once for each change: a daemon that is away is scraped all the time."""
        if bool(trouble) != bool(self.trouble):
            told = f"the daemon is not heard: {trouble}" if trouble else "the daemon is heard again"
            print(f"pitctl exporter: {printable(told)}", file=sys.stderr, flush=True)
        self.trouble = trouble


def serve(connect: Callable[[], pit.Engine], host: str, port: int) -> int:
    """Serves http://HOST:PORT/metrics until SIGTERM or SIGINT. Raises EndpointBusy where somebody else listens."""
    collector = DaemonCollector(connect)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as trouble:
        raise EndpointBusy(f"{host}:{port}: cannot listen there: {trouble.strerror or trouble}") from trouble
    print(f"pitctl exporter: serving http://{host}:{server.server_port}/metrics", file=sys.stderr, flush=True)
    ended.wait()
    server.shutdown()
    server.server_close()
    thread.join()
    collector.close()
    return 0


def _read(engine: pit.Engine, into: _Walk) -> Iterator[None]:
    """Reads every limit's counters, then every account, a page at a time, however many there are."""
    position, after = 0, ""
    while position >= 0:
        limits = engine.ask(wire.ListLimits(position, after))
        assert isinstance(limits, wire.LimitsAre)
        into.limits.extend(limits.limits)
        position, after = limits.position, limits.after
        yield
    after, more = "", True
    while more:
        accounts = engine.ask(wire.ListAccounts(after))
        assert isinstance(accounts, wire.AccountsAre)
        into.accounts.extend(accounts.accounts)
        more = accounts.more and bool(accounts.accounts)
        if more:
            after = accounts.accounts[-1].account
            yield


# ---------------------------------------------------------------------------------------------- the metrics


def _of_limits(whole: _Walk, age_s: float) -> Iterator[Metric]:
    told = "How long ago what is told of limits and accounts was read; more than a moment where there are very many."
    yield _gauge("pitd_limits_age_seconds", told, _of(age_s))
    yield from _limit_use(whole.limits)
    yield from _pnl_limits(whole.limits)
    yield from _pnl(whole.accounts)


def _state(status: wire.StatusIs) -> Iterator[Metric]:
    info = [((status.version, status.durability), 1.0)]
    yield _gauge("pitd_info", "The daemon's version and its journal's durability.", info, "version", "durability")
    yield _gauge("pitd_uptime_seconds", "Since the daemon began to serve.", _of(status.up_ns / 1e9))
    ready = _of(not status.why_refusing)
    yield _gauge("pitd_ready", "Whether new orders are taken at all.", ready)
    orders = dict.fromkeys(_OPEN, 0) | dict(status.states)
    told = "Open orders by state. Quarantined ones wait for a report or a person."
    yield _gauge("pitd_orders", told, _by_name((str(state), count) for state, count in orders.items()), "state")
    yield _gauge("pitd_requests", "Deferred requests that are not executed yet.", _of(status.requests))
    yield _gauge("pitd_sessions", "Clients that are connected.", _of(status.sessions))
    yield _gauge("pitd_blocks", "Scopes that a limit or a person has stopped.", _of(status.blocks))
    failing = _of(len(status.failing))
    yield _gauge(
        "pitd_policies_failing", "Policies that can't say what a new day or other marks mean to them.", failing
    )
    states = (("halted", status.restrictions - status.reducing), ("reducing", status.reducing))
    yield _gauge("pitd_restrictions", "Scopes whose trading state is not active.", _by_name(states), "state")
    cancels = (("late", status.cancels_late), ("waiting", status.cancels - status.cancels_late))
    told = "Orders that are to be cancelled and have not ended. Late: their owner has had its time."
    yield _gauge("pitd_cancels", told, _by_name(cancels), "state")
    oldest = _of(status.oldest_cancel_s)
    yield _gauge("pitd_oldest_cancel_seconds", "How long ago the oldest of them was asked for.", oldest)
    yield _gauge("pitd_limits", "Limits that are configured.", _of(status.limits))
    yield _gauge("pitd_journal_row", "The last row of the journal.", _of(status.journal_seq))
    low = _of(bool(status.journal_low))
    yield _gauge("pitd_journal_low", "Whether the journal's disk is nearly full, so that new orders are refused.", low)
    disputed = _of(bool(status.disputed_seq))
    yield _gauge("pitd_journal_behind", "Whether a client has seen rows that this journal does not have.", disputed)


def _counted(metrics: wire.MetricsAre) -> Iterator[Metric]:
    yield _counter("pitd_entries", "Rows added to the journal.", _of(metrics.entries))
    yield _counter("pitd_commands", "Commands carried out, by kind.", _by_name(metrics.commands), "command")
    yield _counter("pitd_orders_accepted", "Answers that accepted an order.", _of(metrics.accepted))
    rejects = [((each.control, each.code), float(each.count)) for each in metrics.rejects]
    told = "Rejects by control and code; an order may have several."
    yield _counter("pitd_rejects", told, rejects, "control", "code")
    shadow = [((each.control, each.code), float(each.count)) for each in metrics.shadow_rejects]
    told = "What shadow limits would have refused, by control and code."
    yield _counter("pitd_shadow_rejects", told, shadow, "control", "code")
    failed = _by_name(metrics.failed)
    yield _counter("pitd_commands_failed", "Commands that could not be done, by code.", failed, "code")
    refused = _by_name(metrics.refused)
    yield _counter("pitd_messages_refused", "Messages that the engine never saw, by code.", refused, "code")
    malformed = _of(metrics.malformed)
    yield _counter("pitd_messages_malformed", "Messages that could not be read.", malformed)
    unsendable = _of(metrics.unsendable)
    yield _counter("pitd_replies_unsendable", "Replies whose client was gone, or did not read.", unsendable)
    lapses = _by_name(metrics.lapses)
    yield _counter("pitd_lease_ends", "Leases that ended unsettled, by what ended them.", lapses, "reason")
    ends = _by_name(metrics.ends)
    yield _counter("pitd_order_ends", "Orders that ended otherwise, by what ended them.", ends, "reason")
    yield _gauge("pitd_watchers", "Who waits for events.", _of(metrics.watchers))
    logged = [((level, event), float(count)) for level, event, count in metrics.logged]
    yield _counter("pitd_logged", "Warnings and errors in the daemon's log, said or not.", logged, "level", "event")
    told = "From the first message of a batch until its answers were let go, for each message answered."
    yield _histogram("pitd_command_seconds", told, metrics.command_s)
    yield _histogram("pitd_journal_seconds", "What keeping one batch of rows took.", metrics.journal_s)


def _limit_use(limits: Iterable[wire.LimitSeen]) -> Iterator[Metric]:
    """By limit alone: accounts, clients and instruments may be very many, and `pitctl limits` names them."""
    use: dict[tuple[str, str], float] = {}
    tripped: dict[tuple[str, str], float] = {}
    for each in limits:
        key = (each.limit, each.control)
        share = float(each.used / each.bound) if each.used is not None and each.bound > 0 else 0.0
        use[key] = max(use.get(key, 0.0), share)
        tripped[key] = tripped.get(key, 0.0) + each.is_tripped
    told = "The highest use of a limit among all that it counts for: 1 is at the bound."
    yield _gauge("pitd_limit_use_ratio", told, use.items(), "limit", "control")
    yield _gauge("pitd_limit_tripped", "For how many a limit has tripped.", tripped.items(), "limit", "control")


def _pnl_limits(limits: Iterable[wire.LimitSeen]) -> Iterator[Metric]:
    """By limit, side and asset alone: the account, group or firm that is nearest to its bound counts."""
    used: dict[tuple[str, str, str], float] = {}
    bounds: dict[tuple[str, str, str], float] = {}
    unknown: dict[tuple[str], float] = {}
    for each in limits:
        if each.control != _PNL:
            continue
        side, _, asset = each.what.partition(" in ")
        key, is_someone = (each.limit, side, asset), not each.scope.startswith("each ")
        unknown[each.limit,] = unknown.get((each.limit,), 0.0) + (is_someone and each.used is None)
        bound, now = float(each.bound), None if each.used is None else float(each.used)
        if now is not None and (key not in used or bound - now < bounds[key] - used[key]):
            used[key], bounds[key] = now, bound
    labels = ("limit", "side", "asset")
    told = "What P&L limits count (a loss, a profit, a fall from the peak) where it is nearest to the bound."
    yield _gauge("pitd_pnl_limit_used", told, used.items(), *labels)
    yield _gauge("pitd_pnl_limit_bound", "Where a P&L limit trips, there.", bounds.items(), *labels)
    told = "For how many nobody knows the P&L, as a mark or a rate is missing: only what reduces passes."
    yield _gauge("pitd_pnl_limit_unknown", told, unknown.items(), "limit")


def _pnl(accounts: Iterable[wire.AccountSeen]) -> Iterator[Metric]:
    """By account for those that the configuration names, as many as `ACCOUNTS_MOST`; all others together."""
    realised: dict[tuple[str, ...], float] = {}
    unrealised: dict[tuple[str, ...], float] = {}
    own: dict[tuple[str, ...], float] = {}
    own_unrealised: dict[tuple[str, ...], float] = {}
    named = 0
    for each in accounts:
        is_named = each.is_declared and named < ACCOUNTS_MOST
        named += is_named
        name = each.account if is_named else OTHERS
        for money in each.money:
            _add(realised, (name, money.settlement), money.pnl)
            _add(unrealised, (name, money.settlement), money.unrealised)
        if is_named and each.currency is not None:
            _add(own, (name, each.currency), each.made)
            _add(own_unrealised, (name, each.currency), each.unrealised)
    others = f"that the configuration does not name stand together as {OTHERS}."
    told = f"Realised P&L less fees by asset. Accounts {others}"
    yield _gauge("pitd_account_realised", told, realised.items(), "account", "asset")
    told = f"What is held would make so much at the newest marks, where all are known. Accounts {others}"
    yield _gauge("pitd_account_unrealised", told, unrealised.items(), "account", "asset")
    told = "All realised P&L less fees in the account's own currency, at the newest rates, where they are known."
    yield _gauge("pitd_account_own_realised", told, own.items(), "account", "currency")
    told = "What all that is held would make, alike."
    yield _gauge("pitd_account_own_unrealised", told, own_unrealised.items(), "account", "currency")


def _add(sums: dict[tuple[str, ...], float], key: tuple[str, ...], amount: Decimal | None) -> None:
    if amount is not None:
        sums[key] = sums.get(key, 0.0) + float(amount)


def _gauge(name: str, told: str, series: Series, *labels: str) -> Metric:
    family = GaugeMetricFamily(name, told, labels=labels)
    for values, value in series:
        family.add_metric(values, value)
    return family


def _counter(name: str, told: str, series: Series, *labels: str) -> Metric:
    family = CounterMetricFamily(name, told, labels=labels)
    for values, value in series:
        family.add_metric(values, value)
    return family


def _histogram(name: str, told: str, found: wire.Histogram) -> Metric:
    family = HistogramMetricFamily(name, told)
    upto = [*(f"{bound:g}" for bound in found.upto_s), "+Inf"]
    total, buckets = 0, []
    for bound, count in zip(upto, found.counts, strict=True):
        total += count
        buckets.append((bound, float(total)))
    family.add_metric([], buckets, found.sum_s)
    return family


def _by_name(pairs: Iterable[tuple[str, int]]) -> Series:
    return [((name,), float(count)) for name, count in pairs]


def _of(value: float) -> Series:
    """A metric without labels."""
    return [((), float(value))]
