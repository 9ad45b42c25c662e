"""Many checks in flight by asyncio clients beside the bare wire: `python tests/bench/check_asyncio.py`.

Four asyncio clients, each a process with 32 calls under way on one session, against four blocking DEALERs that keep as
many messages under way to a bare ROUTER echo of the same bytes. Measured in turns, so that a slow moment slows all.
Prints commands a second of each, and the ratios inside each round.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import zmq
from check_latency import CONFIG, echo_server, order

import pit
from pit import wire

CLIENTS = 4
IN_FLIGHT = 32
KINDS = ("echo", "check and rollback", "check and posted commit")


class Worker:
    """One client: an asyncio engine of the daemon, and a socket to the echo."""

    def __init__(self, name: str, daemon_at: str, echo_at: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._engine: pit.AsyncEngine = self._loop.run_until_complete(self._connected(name, daemon_at))
        self._socket = zmq.Context.instance().socket(zmq.DEALER)
        self._socket.connect(echo_at)
        self._header = wire.pack_header(wire.Message.COMMAND, 1, 1, 0)
        self._body = wire.encode(wire.Check(order(), False, None))

    async def _connected(self, name: str, daemon_at: str) -> pit.AsyncEngine:
        return await pit.connect_async(name, daemon_at, timeout_s=20)

    def run(self, kind: str, commands: int) -> float:
        """How long so many commands, or messages, take."""
        if kind == "echo":
            return self._echo(commands)
        return self._loop.run_until_complete(self._trade(kind, commands))

    def _echo(self, messages: int) -> float:
        sock, header, body = self._socket, self._header, self._body
        began = time.perf_counter()
        for _ in range(IN_FLIGHT):
            sock.send(header, zmq.SNDMORE)
            sock.send(body)
        for received in range(messages):
            sock.recv()
            sock.recv()
            if received < messages - IN_FLIGHT:
                sock.send(header, zmq.SNDMORE)
                sock.send(body)
        return time.perf_counter() - began

    async def _trade(self, kind: str, commands: int) -> float:
        is_posted = kind == KINDS[2]
        left = commands // 2
        placed: list[pit.AsyncReservation] = []

        async def task() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                held = await self._engine.execute_pre_trade(order(), sent=is_posted)
                assert held, held
                if is_posted:
                    await held.commit(wait=False)
                    placed.append(held)
                else:
                    await held.rollback()

        began = time.perf_counter()
        await asyncio.gather(*(task() for _ in range(IN_FLIGHT)))
        await self._engine.flush()
        took = time.perf_counter() - began
        for first in range(0, len(placed), 500):  # the books stay small; this is not timed
            reports = (
                pit.ExecutionReport(account="alpha", kind="cancelled", report_id="c", order_id=held.order.id)
                for held in placed[first : first + 500]
            )
            await asyncio.gather(*(self._engine.apply_execution_report(each) for each in reports))
        return took


def serve(ear: Connection, name: str, daemon_at: str, echo_at: str) -> None:
    worker = Worker(name, daemon_at, echo_at)
    ear.send("ready")
    while (asked := ear.recv()) is not None:
        ear.send(worker.run(*asked))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--commands", type=int, default=8_000, help="of each client, each kind and round")
    parser.add_argument("--durability", choices=("none", "process", "power"), default="process", help="the journal's")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="pitd-bench-") as folder:
        daemon_at, echo_at = f"ipc://{folder}/pitd.sock", f"ipc://{folder}/echo.sock"
        config = Path(folder, "pitd.toml")
        config.write_text(CONFIG.format(endpoint=daemon_at, folder=folder, durability=options.durability))
        command = [sys.executable, "-m", "pitd.cli", "run", "--config", str(config), "--log-level", "error"]
        daemon = subprocess.Popen(command)
        reply = wire.encode(wire.Accepted(1, order().id, pit.OrderState.HELD, 5_000_000_000))
        echo = spawn.Process(target=echo_server, args=(echo_at, reply), daemon=True)
        echo.start()
        try:
            rates = measure(spawn, daemon_at, echo_at, options.rounds, options.commands)
        finally:
            daemon.terminate()
            daemon.wait(10)
            echo.terminate()
            echo.join(5)
    ratios = {kind: [a / b for a, b in zip(rates[kind], rates["echo"], strict=True)] for kind in KINDS[1:]}
    if options.json:
        print(json.dumps({"rates": rates, "ratios": {kind: statistics.median(each) for kind, each in ratios.items()}}))
        return
    for kind in KINDS:
        print(
            f"{kind:<24} {statistics.median(rates[kind]):9,.0f}/s ({min(rates[kind]):,.0f} to {max(rates[kind]):,.0f})"
        )
    for kind, each in ratios.items():
        spread = f"({min(each):.2f} to {max(each):.2f})"
        print(f"{kind} / echo, median of {len(each)} rounds: {statistics.median(each):.2f} {spread}; aim: 0.5 or more")


def measure(spawn: Any, daemon_at: str, echo_at: str, rounds: int, commands: int) -> dict[str, list[float]]:
    ears, workers = [], []
    for n in range(CLIENTS):
        ear, mouth = spawn.Pipe()
        worker = spawn.Process(target=serve, args=(mouth, f"bench{n}", daemon_at, echo_at), daemon=True)
        worker.start()
        ears.append(ear)
        workers.append(worker)
    for ear in ears:
        assert ear.recv() == "ready"

    def rate(kind: str, count: int) -> float:
        for ear in ears:
            ear.send((kind, count))
        return CLIENTS * count / max(ear.recv() for ear in ears)

    for kind in KINDS:
        rate(kind, 2_000)
    rates: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for at in range(rounds):
        for kind in KINDS if at % 2 else reversed(KINDS):
            rates[kind].append(rate(kind, commands))
    for ear, worker in zip(ears, workers, strict=True):
        ear.send(None)
        worker.join(10)
    return rates


if __name__ == "__main__":
    main()
