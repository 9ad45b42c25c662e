"""What a benchmark runs against: a daemon of its own in a temporary directory, an echo, and the client processes."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import msgspec

import pit

from ..errors import PitdError
from .load import Done, Part, Task

_LONGEST_FOLDER = 60
"""A socket's path has 107 bytes at the most."""

_START_S = 20.0
_PATIENCE_S = 60.0
"""How long a client may take beyond its task's time, on a busy machine."""

LIMITS = """
[gate]
max_unsettled = 1000000
max_open = 5000000
[limits]
fat_finger = { control = "order_size_limit", each = "account", max_quantity = "500", max_notional = "100000" }
msg_rate   = { control = "rate_limit", each = "account", max_orders = 1000000, window = "1s" }
venue_rate = { control = "rate_limit", over = "firm", max_orders = 1000000, window = "1s" }
day_loss   = { control = "pnl_kill_switch", each = "account", settlement = "USD", max_loss = "1000" }
open_usd   = { control = "open_order_notional", each = "account", settlement = "USD", max_notional = "900000000000000" }
"""
"""The five first controls (the checks of an order's own fields need no limit), none of which says no here."""


_UNANSWERED = ("Unavailable", "OutcomeUnknown")


class BenchFailed(PitdError):
    """The benchmark can't go on: a process of it failed, or did not answer in time."""

    exit_code = 1


class Stage:
    """A temporary directory and the processes that were started in it; all gone at the end."""

    def __init__(self) -> None:
        place = tempfile.gettempdir()
        place = place if len(place) <= _LONGEST_FOLDER else "/tmp"
        self._folder = tempfile.TemporaryDirectory(prefix="pitd-bench-", dir=place, ignore_cleanup_errors=True)
        self.folder = Path(self._folder.name)
        self._processes: list[subprocess.Popen[bytes]] = []

    def start_daemon(self, name: str = "pitd", *, durability: str = "process", limits: str = LIMITS) -> str:
        """A real `pitd run` of its own. Where it serves, once it does."""
        endpoint = f"ipc://{self.folder}/{name}.sock"
        path, log = self.folder / f"{name}.toml", self.folder / f"{name}.log"
        own = f'[daemon]\nendpoint = "{endpoint}"\nmax_sessions = 5000\n'
        own += f'[journal]\ndirectory = "{self.folder}/{name}-journal"\ndurability = "{durability}"\n'
        path.write_text(own + limits, encoding="utf-8")
        with log.open("wb") as said:
            daemon = self.start([sys.executable, "-m", "pitd.cli", "run", "--config", str(path)], stderr=said)
        deadline = time.monotonic() + _START_S
        while b"daemon.ready" not in log.read_bytes():
            if daemon.poll() is not None or time.monotonic() > deadline:
                last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:]
                raise BenchFailed("\n".join(["the daemon to measure did not start:", *last]))
            time.sleep(0.01)
        self.daemon_pid = daemon.pid
        return endpoint

    def start_echo(self, *, over_tcp: bool = False) -> str:
        """The bare wire's other end. Where it listens."""
        endpoint = "tcp://127.0.0.1:*" if over_tcp else f"ipc://{self.folder}/echo.sock"
        echo = self.start([sys.executable, "-m", "pitd.bench.echo", endpoint], stdout=subprocess.PIPE)
        assert echo.stdout is not None
        if not select.select([echo.stdout], [], [], _START_S)[0]:
            raise BenchFailed("the echo did not start")
        return echo.stdout.readline().decode().strip()

    def start(self, command: Sequence[str], **how: object) -> subprocess.Popen[bytes]:
        """A process in a group of its own: Ctrl-C reaches the benchmark, which then ends all of them in good order."""
        started = subprocess.Popen(command, process_group=0, **how)  # type: ignore[call-overload]
        assert isinstance(started, subprocess.Popen)
        self._processes.append(started)
        return started

    def __enter__(self) -> Stage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with unshaken():
            for process in reversed(self._processes):
                if process.stdin is not None:
                    with contextlib.suppress(BrokenPipeError):
                        process.stdin.close()
                elif process.poll() is None:
                    process.terminate()
            deadline = time.monotonic() + 5
            for process in reversed(self._processes):
                try:
                    process.wait(max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                if process.stdout is not None:
                    process.stdout.close()
            self._folder.cleanup()


class Client:
    """A client process, which does one task after another."""

    def __init__(self, stage: Stage, part: Part, program: Sequence[str] = ("-m", "pitd.bench.load")) -> None:
        self.name = part.name
        self._process = stage.start([sys.executable, *program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._said = b""
        self._tell(msgspec.json.encode(part))

    def begin(self, task: Task) -> None:
        self._tell(msgspec.json.encode(task))

    def done(self, within_s: float) -> Done:
        """What became of the task in hand. Raises BenchFailed, or Unavailable where no daemon answered it."""
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        pieces = [self._said]
        deadline = time.monotonic() + within_s + _PATIENCE_S
        while b"\n" not in pieces[-1]:
            if not select.select([fd], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise BenchFailed(f"client {self.name} did not end in time")
            piece = os.read(fd, 1 << 20)
            if not piece:
                raise BenchFailed(f"client {self.name} ended with exit code {self._process.wait()}")
            pieces.append(piece)
        line, _, self._said = b"".join(pieces).partition(b"\n")
        done = msgspec.json.decode(line, type=Done)
        if done.trouble.startswith(_UNANSWERED):
            raise pit.Unavailable(f"client {self.name}: {done.trouble}")
        if done.trouble:
            raise BenchFailed(f"client {self.name}: {done.trouble}")
        return done

    def cut_short(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)

    def _tell(self, line: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise BenchFailed(f"client {self.name} has ended") from None


def all_do(clients: Sequence[Client], what: str, seconds: float, interval_s: float = 0.0) -> list[Done]:
    """Has all of them do the same at once. Where there is a pace, they take turns within its interval.

    Interrupted, it has them end, waits for that, and goes on as interrupted.
    """
    for place, client in enumerate(clients):
        client.begin(Task(what, seconds, interval_s * place / len(clients)))  # type: ignore[arg-type]
    try:
        return [client.done(seconds) for client in clients]
    except KeyboardInterrupt:
        with unshaken():
            for client in clients:
                client.cut_short()
            for client in clients:
                with contextlib.suppress(BenchFailed, pit.PitError):
                    client.done(0)
        raise


@contextlib.contextmanager
def unshaken() -> Iterator[None]:
    """While it lasts, signals to end are passed over: it is ending."""
    before: Mapping[signal.Signals, object] = {
        each: signal.signal(each, signal.SIG_IGN) for each in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)  # type: ignore[arg-type]
