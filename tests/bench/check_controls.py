"""What a check costs with the controls on: `python tests/bench/check_controls.py`.

Times a check and its rollback through the sequencer of an engine in this process (decided, carried out, encoded as a
row of the journal), in turns: no limit, the founding controls, these with one more control at a time, and all of them.
Prints microseconds of each, what it adds to the founding ones, and the ratio of all to founding. With --book so many
instruments are held, each with a mark that moves now and then. With --whole a daemon with its journal is asked over ipc
instead, under the founding controls and under all: the aim is at most 3 times the founding ones.
"""

from __future__ import annotations

import argparse
import decimal
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pit
from pit import wire
from pitd import bootstrap, config
from pitd.clock import ManualClock
from pitd.core import entry as e
from pitd.core.engine import exact_context
from pitd.core.reading import encode

FOUNDING = {
    "pnl_kill_switch": 'each = "account", settlement = "USD", max_loss = "1000000000"',
    "rate_limit": 'each = "account", max_orders = 1000000, window = "1s"',
    "order_size_limit": 'each = "account", settlement = "USD", max_quantity = "100000", max_notional = "1000000000"',
    "open_order_notional": 'each = "account", settlement = "USD", max_notional = "1000000000"',
}
MORE = {
    "price_collar": 'max_percent = "90"',
    "duplicate_order": 'max_repeats = 1000000, window = "1s"',
    "repeated_execution": 'max_executions = 1000000, window = "1s"',
    "self_trade": 'over = "firm"',
    "instrument_rules": 'deny = ["GME/USD"], max_quantity = "100000"',
    "position_limit": 'each = "account+instrument", max_quantity = "10000000"',
    "open_order_limit": 'each = "account", max_orders = 1000000',
    "turnover_limit": 'over = "firm", settlement = "USD", max_notional = "100000000000000", window = "1s"',
    "exposure_limit": 'over = "firm", settlement = "USD", max_gross = "100000000000", max_net = "100000000000"',
    "concentration_limit": 'each = "account", settlement = "USD", max_percent = "100", min_gross = "1"',
    "spot_funds": 'each = "account", mode = "track"',
    "message_rate": 'each = "account", max_messages = 1000000, window = "1s"',
}
FIRM = '[currency]\nfirm = "USD"\nrates = { EUR = "1.1" }\n'
SAME_IN_FIRM = {
    "order_size_limit (firm)": (
        'control = "order_size_limit", each = "account", currency = "firm", max_notional = "1000000000"'
    ),
    "open_order_notional (firm)": (
        'control = "open_order_notional", over = "firm", currency = "firm", max_notional = "1000000000"'
    ),
}
SIDES = (pit.Side.BUY, pit.Side.SELL)


class House:
    """An engine under so many controls, and a client that checks and rolls back."""

    def __init__(self, limits: dict[str, str], book: int) -> None:
        lines = [f"x{place} = {{ {self._written(name, keys)} }}" for place, (name, keys) in enumerate(limits.items())]
        settings = f'{FIRM}[gate]\nmax_quote_age = "1h"\n[limits]\n' + "\n".join(lines)
        self.clock = ManualClock(10**12)
        self.sequencer = bootstrap.build_sequencer(config.parse(settings, "bench.toml"), self.clock)
        id = self.sequencer.open_session("bench", b"token")
        session = self.sequencer.engine.sessions.get(id)
        assert session is not None
        self.session = session
        self._orders = itertools.count(1)
        self.symbols = [pit.Instrument(f"S{number}", "USD") for number in range(max(1, book))]
        for number, pair in enumerate(self.symbols):
            self.push(number, 100)
            if book:
                fill = pit.ExecutionReport(
                    account="alpha",
                    kind="fill",
                    report_id=f"r{number}",
                    order_id=f"ghost{number}",
                    instrument=pair,
                    side="buy",
                    quantity=100,
                    price=100,
                )
                self._send(e.ApplyReport(fill))

    @staticmethod
    def _written(name: str, keys: str) -> str:
        return keys if keys.startswith("control") else f'control = "{name}", {keys}'

    def push(self, number: int, mark: int) -> None:
        pair = self.symbols[number % len(self.symbols)]
        quote = wire.PushQuote(pair, mark=Decimal(mark))
        self.sequencer.quotes.push(self.sequencer.engine, quote, self.sequencer.read_clock_ns())

    def run(self, checks: int) -> float:
        """Microseconds a check with its rollback, and its rows written."""
        orders = [self._order(number) for number in range(checks)]
        began = time.perf_counter()
        for number, order in enumerate(orders):
            self.clock.advance(0.0001)
            if not number % 4:
                self.push(number, 90 + number % 20)
            accepted = self._send(e.CheckOrder(order, False, None))
            assert isinstance(accepted, e.Accepted), accepted
            self._send(e.Rollback(accepted.reservation_id, ""))
            self._write()
        return (time.perf_counter() - began) / checks * 1e6

    def _order(self, number: int) -> pit.Order:
        pair = self.symbols[number % len(self.symbols)]
        return pit.Order(
            account="alpha",
            instrument=pair,
            side=SIDES[number % 2],
            quantity=1 + number % 7,
            price=100,
            id=f"o{next(self._orders)}",
        )

    def _send(self, command: e.Command) -> e.Reply:
        number = self.session.next_number
        return self.sequencer.command(self.session, number, number - 1, b"", command).reply

    def _write(self) -> None:
        for row in self.sequencer._rows:
            encode(row)
        self.sequencer._rows.clear()


def measured(houses: dict[str, House], rounds: int, checks: int) -> dict[str, float]:
    """The best round of each: what else the machine does only ever adds."""
    found: dict[str, list[float]] = {name: [] for name in houses}
    for at in range(rounds):
        names = list(houses) if at % 2 else list(reversed(houses))
        for name in names:
            found[name].append(houses[name].run(checks))
    return {name: min(times) for name, times in found.items()}


def whole(limits: dict[str, str], rounds: int, checks: int) -> float:
    """Microseconds a check with its rollback takes of a client of a daemon."""
    with tempfile.TemporaryDirectory(prefix="pitd-bench-") as folder:
        endpoint = f"ipc://{folder}/pitd.sock"
        lines = [f"x{place} = {{ {House._written(name, keys)} }}" for place, (name, keys) in enumerate(limits.items())]
        file = Path(folder, "pitd.toml")
        file.write_text(
            f'[daemon]\nendpoint = "{endpoint}"\n[journal]\ndirectory = "{folder}/journal"\n{FIRM}'
            '[gate]\nmax_quote_age = "1h"\n[clients."*"]\nroles = ["trade", "report", "quote"]\n[limits]\n'
            + "\n".join(lines)
        )
        command = [sys.executable, "-m", "pitd.cli", "run", "--config", str(file), "--log-level", "error"]
        process = subprocess.Popen(command)
        try:
            return min(_asked(endpoint, rounds, checks))
        finally:
            process.terminate()
            process.wait(10)


def _asked(endpoint: str, rounds: int, checks: int) -> Iterator[float]:
    pair = pit.Instrument("S0", "USD")
    with pit.connect("bench", endpoint=endpoint, timeout_s=20) as engine:
        engine.push_quote(pair, mark=100)
        for _ in range(rounds + 1):
            began = time.perf_counter()
            for number in range(checks):
                size = 1 + number % 7
                held = engine.execute_pre_trade(
                    pit.Order(account="alpha", instrument=pair, side="buy", quantity=size, price=100)
                )
                assert isinstance(held, pit.Reservation), held
                held.rollback()
            yield (time.perf_counter() - began) / checks * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--checks", type=int, default=1_000, help="checks a round")
    parser.add_argument("--book", type=int, default=20, help="instruments that are held")
    parser.add_argument("--only", default="", help="all, or the one control to be measured")
    parser.add_argument("--whole", action="store_true", help="ask a daemon, and not an engine in this process")
    options = parser.parse_args()
    if options.whole:
        founding, every = (whole(each, options.rounds, options.checks) for each in (FOUNDING, FOUNDING | MORE))
        print(f"founding {founding:.0f} µs, all {every:.0f} µs: {every / founding:.2f}; aim: at most 3")
        return
    makers: dict[str, Callable[[], dict[str, str]]] = {
        "none": dict,
        "founding": lambda: FOUNDING,
        **{name: lambda name=name, keys=keys: FOUNDING | {name: keys} for name, keys in (MORE | SAME_IN_FIRM).items()},
        "all": lambda: FOUNDING | MORE | SAME_IN_FIRM,
    }
    if options.only:
        makers = {name: makers[name] for name in ("none", "founding", options.only)}
    with decimal.localcontext(exact_context()):
        houses = {name: House(make(), options.book) for name, make in makers.items()}
        for house in houses.values():
            house.run(options.checks)
        best = measured(houses, options.rounds, options.checks)
    founding = best["founding"]
    print(f"{'controls':<28} {'µs':>8} {'adds':>8}")
    for name, cost in best.items():
        print(f"{name:<28} {cost:8.1f} {cost - founding:+8.1f}")
    if "all" in best:
        print(f"all to founding: {best['all'] / founding:.2f} in the core alone")
    alone = [cost - founding for name, cost in best.items() if name not in ("none", "founding", "all")]
    print(f"the median control adds {statistics.median(alone or [best.get('all', founding) - founding]):.1f} µs")


if __name__ == "__main__":
    main()
