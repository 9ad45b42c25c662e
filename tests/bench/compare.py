"""pitd beside the bare wire and beside what a user would pick instead: `python tests/bench/compare.py`.

Every figure that pitd is to reach, as a ratio inside each round, in one run: a busy or drifting machine slows both
sides. What is not installed is skipped, with the reason. `--only one,four` runs some parts, `--json` is for programs.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import statistics
import sys
import time
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import rivals

import pit
from pitd import local
from pitd.bench.figures import Ratio, percentile, ratio
from pitd.bench.load import Done, Part
from pitd.bench.stage import LIMITS, Client, Stage, all_do

RIVALS = str(Path(rivals.__file__))
WARM_S = 0.4


class Row(NamedTuple):
    """One line of the table: what was measured by what, what it came to, and what it is to reach."""

    what: str
    against: str
    found: Ratio | None
    aim: str
    why_not: str = ""


class Team(NamedTuple):
    """Clients that do one kind of work together."""

    clients: Sequence[Client]
    what: str = "trade"
    interval_s: float = 0.0


class Seen:
    """What a team has measured, round by round."""

    def __init__(self) -> None:
        self.check: list[list[float]] = []
        self.sent: list[list[float]] = []
        self.order: list[list[float]] = []
        self.orders_per_s: list[float] = []
        self.commands_per_s: list[float] = []

    def take(self, dones: Sequence[Done]) -> None:
        self.check.append(_times(dones, "check"))
        self.sent.append(_times(dones, "check_sent"))
        self.order.append(_times(dones, "order"))
        self.orders_per_s.append(sum(len(each.check) / 8 / each.took_s for each in dones))
        self.commands_per_s.append(sum(each.commands / each.took_s for each in dones))

    def p(self, what: str, share: float) -> list[float]:
        return [percentile(each, share) for each in getattr(self, what)]


def _times(dones: Sequence[Done], what: str) -> list[float]:
    times: array[float] = array("d")
    for each in dones:
        times.frombytes(getattr(each, what))
    return list(times)


def by(one: Sequence[float], other: Sequence[float]) -> Ratio | None:
    return ratio(zip(one, other, strict=True))


class Comparison:
    """All parts of it, each with processes of its own."""

    def __init__(self, rounds: int, seconds: float, scale: int) -> None:
        self._rounds = rounds
        self._seconds = seconds
        self._scale = scale
        self._names = 0

    def one(self) -> list[Row]:
        """One blocking client."""
        with Stage() as stage:
            at, echo_at = stage.start_daemon(), stage.start_echo()
            teams = {
                "echo": Team(self._team(stage, at, echo_at, 1), "echo"),
                "check": Team(self._team(stage, at, echo_at, 1)),
                "posted": Team(self._team(stage, at, echo_at, 1, commit="posted")),
                "waited": Team(self._team(stage, at, echo_at, 1, commit="waited")),
            }
            if not rivals.why_no_redis():
                redis_at = rivals.start_redis(stage, "redis", keeps_log=False)
                teams["redis"] = Team([self._rival(stage, "redis", redis_at)])
            if not rivals.why_no_grpc():
                teams["grpc"] = Team([self._rival(stage, "grpc", rivals.start_grpc(stage))])
            seen = self._play(teams)
        rows = [
            Row(
                "one-step check, one blocking client: p50",
                "bare echo",
                by(seen["check"].p("check", 0.5), seen["echo"].p("check", 0.5)),
                "at most 0.9",
            )
        ]
        for name, aim in (("posted", "2 or more"), ("waited", "more than 1")):
            for rival, called, why_not in (
                ("redis", "Redis + Lua", rivals.why_no_redis()),
                ("grpc", "openpit behind gRPC", rivals.why_no_grpc()),
            ):
                found = by(seen[rival].p("order", 0.5), seen[name].p("order", 0.5)) if rival in seen else None
                what = f"check and commit {name}, one client: times faster at p50"
                rows.append(Row(what, called, found, aim if rival == "redis" else "", why_not))
        return rows

    def four(self) -> list[Row]:
        """Four blocking clients."""
        with Stage() as stage:
            at, echo_at = stage.start_daemon(), stage.start_echo()
            teams = {
                "echo": Team(self._team(stage, at, echo_at, 4), "echo"),
                "check": Team(self._team(stage, at, echo_at, 4)),
                "posted": Team(self._team(stage, at, echo_at, 4, commit="posted")),
            }
            if not rivals.why_no_redis():
                redis_at = rivals.start_redis(stage, "redis", keeps_log=True)
                teams["redis"] = Team([self._rival(stage, "redis", redis_at) for _ in range(4)])
            seen = self._play(teams)
        posted, echo, check = seen["posted"], seen["echo"], seen["check"]
        redis = seen.get("redis")
        spread = by(
            [high / low for high, low in zip(check.p("check", 0.99), check.p("check", 0.5), strict=True)],
            [high / low for high, low in zip(echo.p("check", 0.99), echo.p("check", 0.5), strict=True)],
        )
        return [
            Row(
                "check and posted commit, four clients: throughput",
                "Redis + Lua, log kept every second",
                None if redis is None else by(posted.orders_per_s, redis.orders_per_s),
                "1 or more",
                rivals.why_no_redis(),
            ),
            Row(
                "check and posted commit, four clients: pairs by round trips",
                "bare echo",
                by(posted.orders_per_s, echo.orders_per_s),
                "0.55 or more",
            ),
            Row("one-step check, four clients: p99 by p50", "bare echo's own", spread, "at most 1.5"),
            Row(
                "one-step check, four clients: p50",
                "bare echo",
                by(check.p("check", 0.5), echo.p("check", 0.5)),
                "",
            ),
        ]

    def flight(self) -> list[Row]:
        """Four asyncio clients with 32 under way each."""
        with Stage() as stage:
            kept = stage.start_daemon("kept")
            unkept = stage.start_daemon("unkept", durability="none")
            echo_at = stage.start_echo()
            teams = {
                "echo": Team(self._team(stage, kept, echo_at, 4, in_flight=32), "echo"),
                "kept": Team(self._team(stage, kept, echo_at, 4, in_flight=32)),
                "unkept": Team(self._team(stage, unkept, echo_at, 4, in_flight=32)),
            }
            seen = self._play(teams)
        return [
            Row(
                "commands in flight, four asyncio clients, 32 each: throughput",
                "bare echo, same in flight",
                by(seen["kept"].commands_per_s, seen["echo"].orders_per_s),
                "0.5 or more",
            ),
            Row(
                "journal on, in flight: time a command",
                "journal off",
                by(seen["unkept"].commands_per_s, seen["kept"].commands_per_s),
                "at most 1.15",
            ),
        ]

    def paced(self) -> list[Row]:
        """A quiet strategy."""
        with Stage() as stage:
            at, echo_at = stage.start_daemon(), stage.start_echo()
            teams = {
                "echo": Team(self._team(stage, at, echo_at, 1, interval_s=0.010), "echo", 0.010),
                "check": Team(self._team(stage, at, echo_at, 1, interval_s=0.010), "trade", 0.010),
            }
            seen = self._play(teams)
        found = by(seen["check"].p("sent", 0.5), seen["echo"].p("sent", 0.5))
        return [Row("one order every 10 ms: p50", "bare echo at the same pace", found, "at most 1.5")]

    def embedded(self) -> list[Row]:
        """The engine in this process, beside the published one; thread time, so that others' work counts less."""
        why_not = rivals.why_no_openpit()
        found = None
        if not why_not:
            engine = local.connect(LIMITS)

            def ours() -> None:
                held = engine.execute_pre_trade(
                    pit.Order(
                        account="alpha",
                        instrument=pit.Instrument("AAPL", "USD"),
                        side=pit.Side.BUY,
                        quantity="100",
                        price="185.00",
                    )
                )
                assert held, held
                held.commit()

            theirs = rivals.openpit_pair()
            found = ratio((_cost(ours), _cost(theirs)) for _ in range(max(7, self._rounds)))
        what = "embedded: check and commit, order built each time"
        return [Row(what, "openpit in process", found, "at most 0.8", why_not)]

    def scale(self) -> list[Row]:
        """Many open orders, accounts and sessions, beside hardly any; and what it costs to be there."""
        with Stage() as stage:
            few_at = stage.start_daemon("few", limits=LIMITS)
            few_pid = stage.daemon_pid
            limits = LIMITS.replace("[gate]", '[gate]\nlease = "60s"\nmax_lease = "3600s"')
            many_at = stage.start_daemon("many", limits=limits)
            many_pid = stage.daemon_pid
            echo_at = stage.start_echo()
            crowds = [asyncio.new_event_loop() for _ in range(2)]
            engines = [
                crowds[0].run_until_complete(_crowd(few_at, 1, 10, 10)),
                crowds[1].run_until_complete(_crowd(many_at, 100, self._scale // 10, self._scale)),
            ]
            teams = {
                "few": Team(self._team(stage, few_at, echo_at, 1)),
                "many": Team(self._team(stage, many_at, echo_at, 1)),
            }
            costs: dict[str, list[float]] = {"few": [], "many": []}
            pids = {"few": few_pid, "many": many_pid}
            for team in teams.values():
                all_do(team.clients, team.what, WARM_S)
            for _ in range(max(5, self._rounds)):
                for name in random.sample(list(teams), len(teams)):
                    before = cpu_s(pids[name])
                    dones = all_do(teams[name].clients, "trade", self._seconds)
                    costs[name].append((cpu_s(pids[name]) - before) / max(1, sum(done.commands for done in dones)))
            time.sleep(1)
            before, began = cpu_s(few_pid), time.monotonic()
            time.sleep(5)
            idle = (cpu_s(few_pid) - before) / (time.monotonic() - began)
            for loop, crowd in zip(crowds, engines, strict=True):
                loop.run_until_complete(_leave(crowd))
                loop.close()
        what = f"{self._scale:,} open orders, {self._scale // 10:,} accounts, 100 sessions: CPU a command"
        return [
            Row(what, "10, 10, 1", by(costs["many"], costs["few"]), "at most 1.2"),
            Row(
                "idle daemon after traffic: share of a core",
                "",
                Ratio(median=idle, least=idle, most=idle),
                "nothing measurable",
            ),
        ]

    # -------------------------------------------------------------------------------------- within

    def _team(self, stage: Stage, at: str, echo_at: str, count: int, **how: Any) -> list[Client]:
        clients = []
        for _ in range(count):
            self._names += 1
            clients.append(Client(stage, Part(name=f"c{self._names}", endpoint=at, echo_at=echo_at, **how)))
        return clients

    def _rival(self, stage: Stage, kind: str, at: str) -> Client:
        self._names += 1
        return Client(stage, Part(name=f"c{self._names}", endpoint=at, echo_at=""), (RIVALS, kind))

    def _play(self, teams: dict[str, Team]) -> dict[str, Seen]:
        seen = {name: Seen() for name in teams}
        for team in teams.values():
            all_do(team.clients, team.what, WARM_S, team.interval_s)
        for _ in range(self._rounds):
            for name in random.sample(list(teams), len(teams)):
                team = teams[name]
                seen[name].take(all_do(team.clients, team.what, self._seconds, team.interval_s))
        return seen


def _cost(step: Callable[[], None], count: int = 3_000) -> float:
    began = time.thread_time()
    for _ in range(count):
        step()
    return (time.thread_time() - began) / count


async def _crowd(at: str, sessions: int, accounts: int, orders: int) -> list[pit.AsyncEngine]:
    """So many sessions with so many orders held among them, in so many accounts."""
    engines = [await pit.connect_async(f"crowd{n}", at, timeout_s=30) for n in range(sessions)]
    each = orders // sessions

    async def place(place: int, engine: pit.AsyncEngine) -> None:
        for n in range(place * each, (place + 1) * each):
            order = pit.Order(
                account=f"a{n % accounts}", instrument=pit.Instrument("AAPL", "USD"), side="buy", quantity=1, price=1
            )
            held = await engine.execute_pre_trade(order, sent=True)
            assert held, held
            await held.commit(wait=False)
        await engine.flush()

    await asyncio.gather(*(place(n, engine) for n, engine in enumerate(engines)))
    return engines


async def _leave(engines: Sequence[pit.AsyncEngine]) -> None:
    for engine in engines:
        await engine.close()


def cpu_s(pid: int) -> float:
    """What a process and all its threads have used, in seconds; exact to the nanosecond where the kernel tells."""
    total = 0.0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0]) / 1e9
        except (OSError, IndexError):
            continue
    return total


PARTS = ("one", "four", "flight", "paced", "embedded", "scale")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="of each part (default: 5)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement (default: 1)")
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument("--scale", type=int, default=100_000, help="open orders in the part scale (default: 100000)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    comparison = Comparison(options.rounds, options.seconds, options.scale)
    rows: list[Row] = []
    try:
        for part in options.only.split(","):
            found: list[Row] = getattr(comparison, part)()
            rows += found
            if not options.json:
                for row in found:
                    print(shown(row), flush=True)
    except KeyboardInterrupt:
        return 130
    load = os.getloadavg()
    if options.json:
        print(
            msgspec.json.encode({"load": load, "cores": os.cpu_count(), "rows": [r._asdict() for r in rows]}).decode()
        )
    else:
        least = statistics.median([row.found.most / row.found.least for row in rows if row.found and row.found.least])
        print(f"load {load[0]:.1f} on {os.cpu_count()} cores; within a row the rounds differ by {least:.1f} times")
    return 0


def shown(row: Row) -> str:
    told = f"skipped: {row.why_not}" if row.found is None else str(row.found)
    aim = f"; aim: {row.aim}" if row.aim else ""
    return f"{row.what}\n    beside {row.against}: {told}{aim}" if row.against else f"{row.what}\n    {told}{aim}"


if __name__ == "__main__":
    sys.exit(main())
