"""What the journal costs when many checks are in flight: `python tests/bench/check_in_flight.py`.

One client keeps 32 checks under way and rolls each back when it is answered, against two daemons in turns: one that
keeps a journal and one that keeps none. Prints commands a second of both and the ratio inside each round.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import zmq
from check_latency import CONFIG, order

from pit import wire
from pit._session import Session

IN_FLIGHT = 32


class Client:
    """A session that never waits for one answer alone."""

    def __init__(self, endpoint: str) -> None:
        self._socket = zmq.Context.instance().socket(zmq.DEALER)
        self._socket.setsockopt(zmq.IMMEDIATE, 1)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.connect(endpoint)
        self._session = Session("bench", os.urandom(16))
        deadline = time.monotonic() + 20
        while not self._session.is_open:
            assert time.monotonic() < deadline, "no daemon"
            self._session.greet()
            with contextlib.suppress(zmq.Again):
                self._send()
            if self._socket.poll(200):
                self._receive()

    def run(self, checks: int) -> float:
        """Commands a second."""
        began = time.perf_counter()
        started = done = 0
        while done < 2 * checks:
            while started < checks and self._session.in_flight < IN_FLIGHT:
                self._session.submit(wire.Check(order()))
                started += 1
            self._send()
            self._socket.poll(5_000)
            while self._socket.getsockopt(zmq.EVENTS) & zmq.POLLIN:
                reply = self._receive()
                if reply is not None:
                    done += 1
                    if isinstance(reply, wire.Accepted):
                        self._session.submit(wire.Rollback(reply.reservation_id))
        return done / (time.perf_counter() - began)

    def _send(self) -> None:
        outbox = self._session.outbox
        while outbox:
            self._socket.send(outbox[0][0], zmq.SNDMORE | zmq.NOBLOCK)
            self._socket.send(outbox[0][1])
            self._session.sent(outbox.pop(0))

    def _receive(self) -> wire.Reply | None:
        answer = self._session.received(self._socket.recv(), self._socket.recv())
        return None if answer is None else answer.reply


@contextlib.contextmanager
def daemon(durability: str) -> Iterator[Client]:
    with tempfile.TemporaryDirectory(prefix="pitd-bench-") as folder:
        endpoint = f"ipc://{folder}/pitd.sock"
        config = Path(folder, "pitd.toml")
        config.write_text(CONFIG.format(endpoint=endpoint, folder=folder, durability=durability))
        command = [sys.executable, "-m", "pitd.cli", "run", "--config", str(config), "--log-level", "error"]
        process = subprocess.Popen(command)
        try:
            yield Client(endpoint)
        finally:
            process.terminate()
            process.wait(10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--checks", type=int, default=10_000, help="checks a round")
    options = parser.parse_args()
    with daemon("none") as without, daemon("process") as kept:
        for client in (without, kept):
            client.run(2_000)
        rates: dict[str, list[float]] = {"none": [], "process": []}
        for n in range(options.rounds):
            for name, client in sorted({"none": without, "process": kept}.items(), reverse=bool(n % 2)):
                rates[name].append(client.run(options.checks))
    for name, found in rates.items():
        print(f"journal {name:<8} {statistics.median(found):9,.0f} commands/s ({min(found):,.0f} to {max(found):,.0f})")
    costs = [one / other - 1 for one, other in zip(rates["none"], rates["process"], strict=True)]
    print(f"the journal adds {statistics.median(costs):.0%} ({min(costs):.0%} to {max(costs):.0%}); aim: at most 15 %")


if __name__ == "__main__":
    main()
