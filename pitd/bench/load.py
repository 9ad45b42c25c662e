"""One client process of a benchmark: trades as it is told, or speaks to the echo, and says how long each took.

It reads a task a line from its standard input, and ends when that is closed. SIGINT cuts the task in hand short.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from array import array
from collections.abc import Callable
from typing import Literal, Protocol

import msgspec

import pit

from .echo import Echo
from .pacing import Pace, Times

Commit = Literal["waited", "posted", "none"]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Who this client is, and where everybody is."""

    name: str
    endpoint: str
    echo_at: str
    account: str = "bench"
    underlying: str = "AAPL"
    settlement: str = "USD"
    symbol: str = ""
    """Of an instrument that is declared, in the place of the pair."""
    quantity: str = "100"
    price: str = "185.00"
    steps: int = 1
    commit: Commit = "none"
    in_flight: int = 1
    interval_s: float = 0.0
    tidies: bool = False
    """Whether what it has committed is to be closed again by reports."""
    timeout_s: float = 20.0


class Task(msgspec.Struct, frozen=True):
    what: Literal["echo", "trade"]
    seconds: float
    offset_s: float = 0.0
    """So much after the others its first order is due, where there is a pace."""


class Done(msgspec.Struct, kw_only=True):
    """What a task came to. Times are arrays of doubles, in seconds."""

    took_s: float
    commands: int = 0
    check: bytes = b""
    """Of the check alone, from when it was due; of a two-step order both steps."""
    check_sent: bytes = b""
    """The same, from when it left; empty where that is not told apart."""
    order: bytes = b""
    """Of the whole order, with its commit."""
    refused: dict[str, int] = msgspec.field(default_factory=dict)
    """How many orders were refused, by the limit's name and the code."""
    left_open: int = 0
    """Committed orders that could not be closed again."""
    trouble: str = ""


class Worker:
    """Does tasks. One engine and one socket to the echo serve them all."""

    def __init__(self, part: Part) -> None:
        self._part = part
        self._is_cut_short = False
        self._echo: Echo | None = None
        self._gate: _Blocking | _Asking | None = None

    def cut_short(self, *_: object) -> None:
        self._is_cut_short = True

    def do(self, task: Task) -> Done:
        part = self._part
        end = time.perf_counter() + task.seconds

        def is_over() -> bool:
            return self._is_cut_short or time.perf_counter() >= end

        began = time.perf_counter()
        pace = Pace(part.interval_s, began + task.offset_s)
        if task.what == "echo":
            if self._echo is None:
                self._echo = Echo(part.echo_at, self._order())
            times = self._echo.run(part.in_flight, pace, is_over)
            took = time.perf_counter() - began
            return Done(took_s=took, check=times.from_due.tobytes(), check_sent=times.from_sent.tobytes())
        if self._gate is None:
            self._gate = _Blocking(part) if part.in_flight == 1 else _Asking(part)
            end = time.perf_counter() + task.seconds
            began = time.perf_counter()
            pace = Pace(part.interval_s, began + task.offset_s)
        seen = self._gate.trade(self._order, pace, is_over)
        took = time.perf_counter() - began
        left_open = self._gate.tidy() if part.tidies else 0
        return Done(
            took_s=took,
            commands=seen.commands,
            check=seen.check.from_due.tobytes(),
            check_sent=seen.check.from_sent.tobytes(),
            order=seen.order.tobytes(),
            refused=seen.refused,
            left_open=left_open,
        )

    def close(self) -> None:
        if self._echo is not None:
            self._echo.close()
        if self._gate is not None:
            self._gate.close()

    def _order(self) -> pit.Order:
        part = self._part
        instrument = part.symbol or pit.Instrument(part.underlying, part.settlement)
        return pit.Order(
            account=part.account, instrument=instrument, side=pit.Side.BUY, quantity=part.quantity, price=part.price
        )


class _Seen:
    """What a trading task has seen so far."""

    def __init__(self) -> None:
        self.check = Times()
        self.order: array[float] = array("d")
        self.refused: dict[str, int] = {}
        self.commands = 0

    def refuse(self, no: pit.Rejected) -> None:
        key = f"{no.limit}: {no.code}"
        self.refused[key] = self.refused.get(key, 0) + 1


class _Blocking:
    """One order at a time, through the blocking engine."""

    def __init__(self, part: Part) -> None:
        self._part = part
        self._engine = pit.connect(part.name, part.endpoint, timeout_s=part.timeout_s)
        self._working: list[str] = []

    def trade(self, make: Callable[[], pit.Order], pace: Pace, is_over: Callable[[], bool]) -> _Seen:
        engine, commit, is_sent = self._engine, self._part.commit, self._part.commit != "none"
        is_two_steps = self._part.steps == 2
        clock, seen = time.perf_counter, _Seen()
        while not is_over():
            order = make()
            due = pace.wait(is_over)
            if due is None:
                break
            sent = clock()
            if is_two_steps:
                request = engine.start_pre_trade(order)
                held = request.execute(sent=is_sent) if isinstance(request, pit.DeferredRequest) else request
            else:
                held = engine.execute_pre_trade(order, sent=is_sent)
            checked = clock()
            if pace.is_closed:
                seen.check.from_due.append(checked - sent)
            else:
                seen.check.note(due, sent, checked)
            seen.commands += self._part.steps
            if isinstance(held, pit.Rejected):
                seen.refuse(held)
                continue
            seen.commands += 1
            if commit == "none":
                held.rollback()  # so that the books stay small; it is not timed
                continue
            held.commit(wait=commit == "waited")
            seen.order.append(clock() - (sent if pace.is_closed else due))
            if self._part.tidies:
                self._working.append(order.id)
        engine.flush()
        return seen

    def tidy(self) -> int:
        """Closes what it has committed. How many orders it had to leave open."""
        while self._working:
            try:
                self._engine.apply_execution_report(_closed(self._part, self._working[-1]))
            except pit.PitError:
                return len(self._working)
            self._working.pop()
        return 0

    def close(self) -> None:
        self._engine.close()


class _Asking:
    """Many orders under way on one session, through the asyncio engine."""

    def __init__(self, part: Part) -> None:
        self._part = part
        self._loop = asyncio.new_event_loop()
        self._engine: pit.AsyncEngine = self._loop.run_until_complete(self._connected())
        self._working: list[str] = []

    async def _connected(self) -> pit.AsyncEngine:
        return await pit.connect_async(self._part.name, self._part.endpoint, timeout_s=self._part.timeout_s)

    def trade(self, make: Callable[[], pit.Order], pace: Pace, is_over: Callable[[], bool]) -> _Seen:
        return self._loop.run_until_complete(self._trade(make, pace, is_over))

    async def _trade(self, make: Callable[[], pit.Order], pace: Pace, is_over: Callable[[], bool]) -> _Seen:
        seen = _Seen()

        async def closed() -> None:
            while not is_over():
                order = make()
                await self._one(order, time.perf_counter(), seen, is_closed=True)

        async def opened() -> None:
            while not is_over():
                due = pace.due_by(time.perf_counter())
                if due is None:
                    await asyncio.sleep(min(pace.left_s(), 0.1))
                else:
                    await self._one(make(), due, seen, is_closed=False)

        task = closed if pace.is_closed else opened
        await asyncio.gather(*(task() for _ in range(self._part.in_flight)))
        await self._engine.flush()
        return seen

    async def _one(self, order: pit.Order, due: float, seen: _Seen, *, is_closed: bool) -> None:
        engine, part, clock = self._engine, self._part, time.perf_counter
        is_sent = part.commit != "none"
        sent = clock()
        if part.steps == 2:
            request = await engine.start_pre_trade(order)
            if isinstance(request, pit.Rejected):
                held: pit.AsyncReservation | pit.Rejected = request
            else:
                held = await request.execute(sent=is_sent)
        else:
            held = await engine.execute_pre_trade(order, sent=is_sent)
        checked = clock()
        if is_closed:
            seen.check.from_due.append(checked - due)
        else:
            seen.check.note(due, sent, checked)
        seen.commands += part.steps
        if isinstance(held, pit.Rejected):
            seen.refuse(held)
            return
        seen.commands += 1
        if not is_sent:
            await held.rollback()
            return
        await held.commit(wait=part.commit == "waited")
        seen.order.append(clock() - due)
        if part.tidies:
            self._working.append(order.id)

    def tidy(self) -> int:
        """Closes what it has committed. How many orders it had to leave open."""
        return self._loop.run_until_complete(self._tidy())

    async def _tidy(self) -> int:
        while self._working:
            batch = self._working[-self._part.in_flight :]
            reports = (self._engine.apply_execution_report(_closed(self._part, id)) for id in batch)
            if any(isinstance(each, BaseException) for each in await asyncio.gather(*reports, return_exceptions=True)):
                return len(self._working)
            del self._working[-self._part.in_flight :]
        return 0

    def close(self) -> None:
        self._loop.run_until_complete(self._engine.close())
        self._loop.close()


def _closed(part: Part, order_id: str) -> pit.ExecutionReport:
    return pit.ExecutionReport(account=part.account, kind="cancelled", report_id="bench", order_id=order_id)


class Doing(Protocol):
    """What a client process does, for `serve`: trading here, other things in other programs."""

    def do(self, task: Task) -> Done: ...

    def cut_short(self, *_: object) -> None: ...

    def close(self) -> None: ...


def serve(worker_of: Callable[[Part], Doing]) -> None:
    """Does one task after another, until standard input is closed."""
    lines = sys.stdin.buffer
    worker = worker_of(msgspec.json.decode(lines.readline(), type=Part))
    signal.signal(signal.SIGINT, worker.cut_short)
    signal.signal(signal.SIGTERM, worker.cut_short)
    try:
        while line := lines.readline():
            try:
                done = worker.do(msgspec.json.decode(line, type=Task))
            except pit.PitError as trouble:
                done = Done(took_s=0.0, trouble=f"{type(trouble).__name__}: {trouble}")
            sys.stdout.buffer.write(msgspec.json.encode(done) + b"\n")
            sys.stdout.buffer.flush()
    finally:
        worker.close()


if __name__ == "__main__":
    serve(Worker)
