"""The demo without a tape: who comes on, what happens to them, and when it ends."""

from __future__ import annotations

import argparse
import sys
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

import pit
from pitd import config

from . import adds_up, show, words
from .adds_up import Evidence
from .endings import attempt, conclude
from .processes import Child, Stage, Trouble

LIMITS = """
[gate]
lease = "5s"
keep_closed = 10000000
keep_closed_for = "1d"
[clients."*"]
[clients.operator]
roles = ["trade", "report", "operate"]
[limits]
fat_finger = { control = "order_size_limit", each = "account", settlement = "USD", max_quantity = "500" }
msg_rate   = { control = "rate_limit", each = "account", max_orders = 30, window = "1s" }
day_loss   = { control = "pnl_kill_switch", each = "account", settlement = "USD", max_loss = "1500" }
open_usd   = { control = "open_order_notional", each = "account", settlement = "USD", max_notional = "60000" }
"""

CAST = ("hasty", "lost", "doomed", "steady")
LEAST = 3
GRACE_S = 30
"""How long it goes on past its time for what must happen; on a busy machine everything is late."""

PYTHON_M = (sys.executable, "-m")


def play_market(options: argparse.Namespace, venue: Sequence[str] = (*PYTHON_M, "pitd.demo.venue")) -> int:
    """Plays it. `venue` is the command of the venue's process, for a test that wants another one."""
    tables = demo_tables(options.config, LIMITS)
    title = f"pitd demo: a daemon, {options.strategies} strategies and a venue"
    shown = show.make(title, plain_to=sys.stderr if options.json else None)

    def play() -> Evidence:
        with Stage() as stage:
            return Market(options, stage, shown, tables, venue).play()

    evidence = attempt(shown, play)
    if isinstance(evidence, int):
        return evidence
    return conclude(shown, adds_up.closing_tables(evidence), adds_up.checks(evidence), as_json=options.json)


def demo_tables(path: str | None, own: str) -> dict[str, Any]:
    """The limits to play with: a file's, checked, or the demo's own. Raises ConfigError."""
    if path is None:
        return tomllib.loads(own)
    config.load(path)
    tables = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    clients = {"*": {"roles": ["trade", "report", "quote"]}, "operator": {"roles": ["trade", "report", "operate"]}}
    accounts = {
        name: {key: value for key, value in account.items() if key != "reports_from"}
        for name, account in tables.get("accounts", {}).items()
    }
    return {**tables, "clients": clients, "accounts": accounts}  # the cast plays under names of its own


class Market:
    """The script, and what it needs to follow it."""

    def __init__(
        self,
        options: argparse.Namespace,
        stage: Stage,
        shown: show.Show,
        tables: Mapping[str, Any],
        venue: Sequence[str],
    ) -> None:
        self._stage = stage
        self._shown = shown
        self._tables = tables
        self._venue_command = venue
        self._seconds: float = options.seconds
        self._seed: int = options.seed
        names = [*CAST, *(f"steady{n}" for n in range(2, options.strategies))][: options.strategies]
        self._evidence = Evidence(
            accounts={name: f"{name}-book" for name in names}, victim="doomed", own_limits=options.config is not None
        )
        self._children: dict[str, Child] = {}
        self._ready: set[str] = set()
        self._latest: dict[str, words.Progress] = {}
        self._killed: words.Tally = words.Tally()
        self._phase = "starting"
        self._began_s = time.monotonic()

    def play(self) -> Evidence:
        evidence = self._evidence
        self._raise_the_curtain()
        self._began_s = time.monotonic()
        self._phase = "trading"
        for name in evidence.accounts:
            self._children[name].tell("go")

        self._until(lambda: evidence.holding is not None, "the strategy to kill holds reservations")
        assert evidence.holding is not None
        self._kill_and_watch(evidence.holding)
        self._start_strategy(evidence.victim, "successor")
        self._until(lambda: evidence.took_over is not None, "the successor has taken over")
        assert evidence.took_over is not None
        for order_id in evidence.holding.sent:
            self._shown.event(f"successor: {order_id} {evidence.took_over.settled.get(order_id, 'is gone')}")

        self._until(lambda: time.monotonic() - self._began_s > self._seconds, "time to close")
        if not evidence.own_limits:
            self._until(self._has_all_happened, "the rate limit has bitten and the kill switch has tripped", must=False)
        self._close_the_day()
        evidence.outcomes = self._ask_outcomes()
        return evidence

    # ------------------------------------------------------------------------------------------ the scenes

    def _raise_the_curtain(self) -> None:
        self._stage.start_daemon(self._tables)
        self._children["venue"] = self._stage.start("venue", self._venue_command, {"seed": self._seed})
        for name in self._evidence.accounts:
            self._start_strategy(name, name.rstrip("0123456789"))
        self._operator = self._stage.connect("operator")
        self._dropcopy = self._stage.connect("dropcopy")
        wanted = {"venue", *self._evidence.accounts}
        self._until(lambda: wanted <= self._ready, "everybody is there")
        self._shown.event(f"everybody is there: a daemon, a venue, {', '.join(self._evidence.accounts)}")

    def _start_strategy(self, name: str, kind: str) -> None:
        part = {
            "kind": kind,
            "account": self._evidence.accounts[name],
            "seconds": self._seconds,
            "seed": self._seed,
            "probe": not self._evidence.own_limits,
        }
        self._children[name] = self._stage.start(name, (*PYTHON_M, "pitd.demo.strategies"), part)

    def _kill_and_watch(self, holding: words.Holding) -> None:
        """SIGKILL; then the daemon alone ends what was held, and keeps what was sent."""
        child = self._children[holding.who]
        child.may_end = True
        self._stage.children.remove(child)
        child.kill()
        self._shown.event(
            f"{holding.who} (process {child.pid}) is killed with SIGKILL, holding {len(holding.held)} reservations "
            f"and {len(holding.sent)} sent"
        )
        before = self._others_accepted()
        ids = (*holding.held, *holding.sent)
        account = self._evidence.accounts[holding.who]

        def has_ended() -> bool:
            now = {id: self._operator.outcome(account, id) for id in ids}
            self._evidence.after_kill = now
            return not any(one.state in (pit.OrderState.HELD, pit.OrderState.SENT) for one in now.values())

        self._until(has_ended, "the daemon has ended what the killed strategy held", must=False)
        self._until(lambda: self._others_accepted() > before, "the others trade on", must=False)
        self._evidence.others_meanwhile = self._others_accepted() - before
        for id, one in self._evidence.after_kill.items():
            why = one.ended_by or one.reason
            self._shown.event(f"daemon: {id} of {holding.who} is {one.state} ({why})")

    def _close_the_day(self) -> None:
        """The operator lets the stopped one close its books; everybody takes back what is open; the venue says all."""
        evidence = self._evidence
        self._phase = "closing"
        evidence.blocks = self._operator.blocks()
        if not evidence.own_limits:
            for block in evidence.blocks:
                self._operator.rearm(block.limit, block.scope, 100_000, "the day is over: let it close its books")
                self._shown.event(f"operator: {block.scope} may close its books ({block.limit} rearmed)")
        for name in evidence.accounts:
            self._children[name].may_end = True
            self._children[name].tell("finish")
        self._until(lambda: len(evidence.done) == len(evidence.accounts), "everybody has closed its books")
        self._children["venue"].may_end = True
        self._children["venue"].tell("finish")
        self._until(lambda: evidence.ledger is not None, "the venue has closed its books")

    def _ask_outcomes(self) -> dict[str, pit.Outcome | None]:
        evidence = self._evidence
        accounts = {id: evidence.accounts[who] for id, (who, _) in evidence.accepted().items()}
        if evidence.ledger is not None:
            accounts.update({id: order.account for id, order in evidence.ledger.orders.items()})
        return {id: self._outcome(account, id) for id, account in accounts.items()}

    def _outcome(self, account: str, order_id: str) -> pit.Outcome | None:
        try:
            return self._operator.outcome(account, order_id)
        except pit.UnknownId:
            return None

    # ------------------------------------------------------------------------------------------ following it

    def _until(self, is_so: Callable[[], bool], what: str, *, must: bool = True) -> None:
        """Follows the play until it is so. Raises Trouble when it never is, unless it will be checked anyway."""
        deadline = time.monotonic() + self._seconds + GRACE_S
        while not is_so():
            if time.monotonic() > deadline:
                if not must:
                    return
                raise Trouble(f"waited in vain until {what}")
            for news in self._stage.news(0.05):
                self._hear(news)
            self._stage.check()
            self._shown.progress(self._standing)

    def _hear(self, news: words.News) -> None:
        evidence = self._evidence
        match news:
            case words.Ready():
                self._ready.add(news.who)
            case words.Said():
                self._shown.event(f"{news.who}: {news.text}")
            case words.Progress():
                self._latest[news.who] = news
            case words.Execution():
                self._copy(news)
            case words.Holding():
                evidence.holding = news
                self._killed = news.tally
                self._latest.pop(news.who, None)
            case words.TookOver():
                evidence.took_over = news
            case words.Done():
                evidence.done[news.who] = news
                self._latest[news.who] = words.Progress(news.who, "done", news.tally)
            case words.Ledger():
                evidence.ledger = news
            case _:
                raise AssertionError(news)

    def _copy(self, execution: words.Execution) -> None:
        """The drop copy: every execution goes to the daemon here too, and counts once."""
        result = self._dropcopy.apply_execution_report(words.report_of(execution))
        if result.already_applied:
            self._evidence.copied_again += 1
        else:
            self._evidence.copied_first += 1
        copied = self._evidence.copied.setdefault(execution.account, adds_up.Copied())
        copied.filled += execution.quantity
        copied.pnl_cents += execution.pnl_cents - execution.fee_cents

    def _others_accepted(self) -> int:
        return sum(one.tally.accepted for who, one in self._latest.items() if who != self._evidence.victim)

    def _has_all_happened(self) -> bool:
        seen = {code for one in self._latest.values() for code in one.tally.rejected}
        return {adds_up.RATE_LIMIT, adds_up.KILL_SWITCH} <= seen

    def _standing(self) -> tuple[str, show.Table]:
        rows = []
        totals = [0, 0, 0, 0]
        for name in self._evidence.accounts:
            latest = self._latest.get(name)
            tally = latest.tally if latest is not None else words.Tally()
            state = latest.state if latest is not None else self._phase
            if name == self._evidence.victim and self._evidence.holding is not None:
                tally = _sum(self._killed, tally)
                state = f"successor: {state}" if latest is not None else "killed"
            figures = [tally.checks, tally.accepted, sum(tally.rejected.values()), tally.filled]
            totals = [a + b for a, b in zip(totals, figures, strict=True)]
            rows.append((name, *(f"{n:,}" for n in figures), f"{words.dollars(tally.pnl_cents):,}", state))
        seconds = time.monotonic() - self._began_s
        sentence = (
            f"{self._phase}: {totals[0]:,} checks, {totals[1]:,} accepted, {totals[2]:,} rejected, {totals[3]:,} filled"
        )
        if self._phase == "trading":
            sentence += f" ({min(seconds, self._seconds):.0f} of {self._seconds:g} s)"
        header = ("strategy", "checks", "accepted", "rejected", "filled", "P&L USD", "state")
        return sentence, show.Table("", header, rows)


def _sum(one: words.Tally, other: words.Tally) -> words.Tally:
    return msgspec.structs.replace(
        other,
        checks=one.checks + other.checks,
        accepted=one.accepted + other.accepted,
        filled=one.filled + other.filled,
        pnl_cents=one.pnl_cents + other.pnl_cents,
        rejected={"": sum(one.rejected.values()) + sum(other.rejected.values())},
    )
