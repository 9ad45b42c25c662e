"""What a command costs the daemon, by stage: `python tests/bench/count_daemon.py`.

Lets the daemon's own loop serve one client in this process: checks and rollbacks in batches of 1, 8 and 32, over a real
socket, with the founding controls and a journal. Counts the interpreter's steps (bytecodes) and the calls of Python
functions, which are the same in every run on any machine; and beside them the thread's time, for a quarter of the
batches no more than that. `--functions` names those with the most steps. For instructions, run it with `--batches` of
two lengths under `valgrind --tool=cachegrind` and take the difference.
"""

from __future__ import annotations

import argparse
import decimal
import gc
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from check_controls import FOUNDING

import pit
from pit import wire, zmtp
from pitd import bootstrap, config
from pitd import server as server_module
from pitd.core.engine import exact_context
from pitd.server import Server

STAGES = {
    "the wire": ("pipes.py", "zmtp.py", "server.py", "_look_out.py"),
    "bodies and orders": ("types.py", "wire.py", "translate.py"),
    "the conversation": ("conversations.py", "tally.py", "living.py", "watchers.py", "cancel_watch.py"),
    "the sequencer": ("sequencer.py", "clock.py"),
    "the journal": ("journal.py", "tail.py", "records.py", "reading.py"),
    "told to the world": ("metrics.py", "events.py"),
}
"""Which files make a stage. All others, but the core's and its policies', are named apart."""


class House:
    """A daemon without a process of its own, and the one client that it serves."""

    def __init__(self, home: Path) -> None:
        limits = "\n".join(
            f'[limits.{name}]\ncontrol = "{name}"\n' + keys.replace(", ", "\n") for name, keys in FOUNDING.items()
        )
        settings = config.parse(
            f'daemon.endpoint = "ipc://{home}/s"\njournal.directory = "{home}/journal"\n'
            f'[gate]\nunknown_accounts = "allow"\nlease = "60s"\n{limits}'
        )
        (home / "journal").mkdir()
        self.sequencer, self._journal = bootstrap.build_daemon(settings)
        self.sequencer._away_ns = None  # counting takes long, and is no stall
        self.server = Server(self.sequencer, settings, self._journal)
        self.server.bind()
        self._client = socket.socket(socket.AF_UNIX)
        self._client.connect(f"{home}/s")
        self._client.sendall(zmtp.opening(b"DEALER"))
        self._come = zmtp.Splitter(wire.MAX_MESSAGE_BYTES)
        hello = wire.Hello(client="mm1", token=bytes(16), protocol=wire.PROTOCOL)
        self._client.sendall(zmtp.framed(wire.pack_header(wire.Message.HELLO, 0, 0, 0), wire.encode(hello)))
        while not self._come.come:
            self.server._door.wait(100)
            self.server._one_batch()
            self._client.setblocking(False)
            try:
                self._come.feed(self._client.recv(1 << 16))
            except BlockingIOError:
                continue
        welcome = wire.decode_reply(self._come.come.popleft()[1])
        assert isinstance(welcome, wire.Welcome), welcome
        self._session, self._number = welcome.session, welcome.next_number - 1

    def say(self, commands: list[wire.Command]) -> None:
        acked = self._number
        said = []
        for command in commands:
            self._number += 1
            header = wire.pack_header(wire.Message.COMMAND, self._session, self._number, acked)
            said.append(zmtp.framed(header, wire.encode(command)))
        self._client.sendall(b"".join(said))

    def serve(self) -> None:
        """As the loop does until nobody has more to say."""
        server = self.server
        while server._door.is_spoken_to():
            server._one_batch()

    def replies(self) -> list[wire.Reply]:
        self._come.feed(self._client.recv(1 << 20))
        told = [wire.decode_reply(body) for _, body in self._come.come]
        self._come.come.clear()
        return told

    def close(self) -> None:
        self._client.close()
        self.server.close()
        assert self._journal is not None
        self._journal.close()


class Steps:
    """Counts bytecodes and calls while it is on."""

    def __init__(self) -> None:
        self.steps: Counter[CodeType] = Counter()
        self.calls: Counter[CodeType] = Counter()

    def _step(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "opcode":
            self.steps[frame.f_code] += 1
        return self._step

    def _call(self, frame: FrameType, event: str, _: Any) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        self.calls[frame.f_code] += 1
        return self._step

    def count(self, act: Callable[[], None]) -> None:
        sys.settrace(self._call)
        try:
            act()
        finally:
            sys.settrace(None)


def traffic(house: House, batches: int, size: int, serve: Callable[[Callable[[], None]], None]) -> None:
    """Batches of checks, each followed by one of their rollbacks."""
    instrument = pit.Instrument("AAPL", "USD")
    for _ in range(batches // 2):
        orders = [
            pit.Order(account="alpha", instrument=instrument, side=pit.Side.BUY, quantity="100", price="185.00")
            for _ in range(size)
        ]
        house.say([wire.Check(order, False, None) for order in orders])
        serve(house.serve)
        held = house.replies()
        house.say([wire.Rollback(each.reservation_id, "") for each in held if isinstance(each, wire.Accepted)])
        serve(house.serve)
        assert len(held) == len(house.replies()) == size


def stage_of(code: CodeType) -> str:
    path = Path(code.co_filename)
    for stage, files in STAGES.items():
        if path.name in files and path.parent.name != "policies":
            return stage
    return "the core" if path.parent.name in ("core", "policies") else "else"


def counted(size: int, batches: int) -> tuple[Steps, list[int]]:
    with tempfile.TemporaryDirectory(prefix="pitd-count-") as home, decimal.localcontext(exact_context()):
        house = House(Path(home))
        try:
            traffic(house, 64, size, lambda act: act())
            gc.collect()
            took: list[int] = []

            def timed(act: Callable[[], None]) -> None:
                began = time.thread_time_ns()
                act()
                took.append(time.thread_time_ns() - began)

            traffic(house, batches, size, timed)
            steps = Steps()
            traffic(house, 64, size, steps.count)
            return steps, took
        finally:
            house.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", default="1,8,32", metavar="N,N", help="commands a batch (default: %(default)s)")
    parser.add_argument("--batches", type=int, default=400, metavar="N", help="timed batches (default: %(default)s)")
    server_module._SHARE_S = 10.0  # counting takes long: a batch is to stay whole
    parser.add_argument("--functions", type=int, default=0, metavar="N", help="name those with the most steps")
    options = parser.parse_args()
    sizes = [int(each) for each in options.sizes.split(",")]
    found = {size: counted(size, options.batches) for size in sizes}
    print("| steps (calls) a command, in batches of | " + " | ".join(map(str, sizes)) + " |")
    print("|---|" + "---|" * len(sizes))
    for stage in (*STAGES, "else", "the core", "all"):
        cells = []
        for size in sizes:
            steps, _ = found[size]
            meant = [code for code in steps.steps if stage in ("all", stage_of(code))]
            commands = 64 * size
            most = sum(steps.steps[code] for code in meant) / commands
            cells.append(f"{most:.0f} ({sum(steps.calls[code] for code in meant) / commands:.1f})")
        print(f"| {stage} | " + " | ".join(cells) + " |")
    quartiles = [sorted(took)[len(took) // 4] / 1e3 / size for size, (_, took) in found.items()]
    print("| us of thread time, quartile | " + " | ".join(f"{each:.1f}" for each in quartiles) + " |")
    for size in sizes if options.functions else ():
        print(f"\nin batches of {size}")
        for code, count in found[size][0].steps.most_common(options.functions):
            calls = found[size][0].calls[code]
            where = f"{Path(code.co_filename).name}:{code.co_firstlineno} {code.co_name}"
            print(f"{count / 64 / size:8.1f} steps {calls / 64 / size:6.2f} calls  {where}")


if __name__ == "__main__":
    main()
