"""What a check through the daemon costs beside the bare wire: `python tests/bench/check_latency.py`.

Starts a daemon and a bare pyzmq ROUTER/DEALER echo of the same bytes, both over ipc, and measures them in turns, so
that a machine that drifts slows both. Prints the medians, their spread, and the ratio inside each round.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import zmq

import pit
from pit import wire

CONFIG = """
[daemon]
endpoint = "{endpoint}"
[journal]
directory = "{folder}/journal"
durability = "{durability}"
[limits]
fat_finger = {{ control = "order_size_limit", each = "account", max_quantity = "500", max_notional = "100000" }}
msg_rate   = {{ control = "rate_limit", each = "account", max_orders = 1000000, window = "1s" }}
venue_rate = {{ control = "rate_limit", over = "firm", max_orders = 1000000, window = "1s" }}
day_loss   = {{ control = "pnl_kill_switch", each = "account", settlement = "USD", max_loss = "1000" }}
open_usd   = {{ control = "open_order_notional", each = "account", settlement = "USD", max_notional = "900000000000" }}
"""


def order() -> pit.Order:
    return pit.Order(
        account="alpha", instrument=pit.Instrument("AAPL", "USD"), side=pit.Side.BUY, quantity="100", price="185.00"
    )


def echo_server(endpoint: str, reply: bytes) -> None:
    """Answers each message with a header of the same size and the bytes of an acceptance."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    sock = zmq.Context().socket(zmq.ROUTER)
    sock.bind(endpoint)
    while True:
        identity, header, _ = sock.recv_multipart()
        sock.send_multipart([identity, header, reply])


def time_echo(sock: zmq.Socket[bytes], body: bytes, count: int) -> list[float]:
    header = wire.pack_header(wire.Message.COMMAND, 1, 1, 0)
    times = []
    for _ in range(count):
        began = time.perf_counter()
        sock.send_multipart([header, body])
        sock.recv_multipart()
        times.append(time.perf_counter() - began)
    return times


def time_checks(engine: pit.Engine, count: int) -> list[float]:
    """The check alone is timed; the rollback that keeps the books small is not."""
    times = []
    for _ in range(count):
        each = order()
        began = time.perf_counter()
        held = engine.execute_pre_trade(each)
        times.append(time.perf_counter() - began)
        assert held, held
        held.rollback()
    return times


def p(times: list[float], at: float) -> float:
    return sorted(times)[min(len(times) - 1, int(len(times) * at))] * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--count", type=int, default=2_000, help="round trips of each kind a round")
    parser.add_argument("--durability", choices=("none", "process", "power"), default="none", help="the journal's")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pitd-bench-") as folder:
        daemon_at, echo_at = f"ipc://{folder}/pitd.sock", f"ipc://{folder}/echo.sock"
        config = Path(folder, "pitd.toml")
        config.write_text(CONFIG.format(endpoint=daemon_at, folder=folder, durability=options.durability))
        command = [sys.executable, "-m", "pitd.cli", "run", "--config", str(config), "--log-level", "error"]
        daemon = subprocess.Popen(command)
        body = wire.encode(wire.Check(order(), False, None))
        reply = wire.encode(wire.Accepted(1, order().id, pit.OrderState.HELD, 5_000_000_000))
        echo = multiprocessing.get_context("spawn").Process(target=echo_server, args=(echo_at, reply), daemon=True)
        echo.start()
        try:
            engine = pit.connect("bench", daemon_at, timeout_s=10)
            sock = zmq.Context.instance().socket(zmq.DEALER)
            sock.connect(echo_at)
            time_echo(sock, body, 500)
            time_checks(engine, 500)
            rounds = []
            for number in range(options.rounds):
                both = {
                    "echo": lambda: time_echo(sock, body, options.count),
                    "check": lambda: time_checks(engine, options.count),
                }
                names = ["echo", "check"] if number % 2 else ["check", "echo"]
                rounds.append({name: both[name]() for name in names})
            engine.close()
            sock.close(linger=0)
        finally:
            daemon.terminate()
            daemon.wait(5)
            echo.terminate()
            echo.join(5)
    ratios = [p(each["check"], 0.5) / p(each["echo"], 0.5) for each in rounds]
    if options.json:
        print(json.dumps({"ratio": statistics.median(ratios), "ratios": ratios}))
        return
    for name in ("echo", "check"):
        medians = [p(each[name], 0.5) for each in rounds]
        tails = [p(each[name], 0.99) for each in rounds]
        spread = f"({min(medians):.1f} to {max(medians):.1f})"
        print(f"{name:<6} p50 {statistics.median(medians):7.1f} us {spread}   p99 {statistics.median(tails):7.1f} us")
    spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
    print(f"check / echo, median of {len(ratios)} rounds: {statistics.median(ratios):.2f} {spread}; aim: below 1.4")


if __name__ == "__main__":
    main()
