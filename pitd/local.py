"""An engine in this process behind pit's port: for embedding, tests, and backtests with a clock of their own."""

from __future__ import annotations

import contextlib
import decimal
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pit
from pit import _calls, _process, wire
from pit.aio import Connecting
from pit.errors import Closed, Forked, NotAuthorized, PitError, Unavailable
from pit.transport import Transport

from . import asking, bootstrap, cancel_watch, config, queries, translate
from .clock import Clock, SystemClock
from .core.engine import exact_context
from .core.policy import Policy
from .core.sessions import Session
from .errors import ConfigError
from .house import House
from .reload import NO_FILE, Reloader
from .sequencer import Journal, Sequencer


class LocalEngine:
    """The engine that one or many local clients share: `connect` again under another name for a second strategy."""

    def __init__(
        self,
        settings: config.Config | Mapping[str, Any] | str | Path,
        *,
        clock: Clock | None = None,
        policies: Sequence[Policy] = (),
        journal: Journal | None = None,
    ) -> None:
        self._door = _Door()
        self._context = exact_context()
        self.config = _read(settings)
        with decimal.localcontext(self._context):
            self.sequencer = bootstrap.build_sequencer(self.config, clock or SystemClock(), journal, policies)
        self.house = House(self.sequencer, self.config)
        self._reloader = Reloader(self.config, lambda: _read_again(settings, self.config), bootstrap.configured)
        self._reloader.adopted.append(self._go_by)

    def connect(self, name: str, *, timeout_s: float = 1.0, read_only: bool = False) -> pit.Engine:
        """A client's engine. A second one of the same name fences the first; one that is `read_only` fences nobody."""
        return pit.Engine(self.transport(name, read_only=read_only), name, timeout_s=timeout_s)

    def connect_async(self, name: str, *, timeout_s: float = 1.0, read_only: bool = False) -> Connecting:
        """The same for asyncio: await it, or enter it. Calls are answered at once: none lets other tasks run."""

        async def make() -> pit.AsyncEngine:
            transport = _AsyncLocalTransport(self.transport(name, read_only=read_only))
            return pit.AsyncEngine(transport, name, timeout_s=timeout_s)

        return Connecting(make)

    def transport(self, name: str, *, read_only: bool = False) -> Transport:
        problem = config.bad_client(name)
        if problem:
            raise pit.InvalidInput(problem)
        if read_only:
            reader = Session(id=0, client=name, token=b"", answers={}, unsettled={})
            return _LocalTransport(self.sequencer, reader, self._door, self._context, self.house, self._reloader)
        with self._door.lock, decimal.localcontext(self._context):
            session_id = self.sequencer.open_session(name, os.urandom(16))
            self.sequencer.release()
            session = self.sequencer.engine.sessions.get(session_id)
        assert session is not None
        return _LocalTransport(self.sequencer, session, self._door, self._context, self.house, self._reloader)

    def _go_by(self, settings: config.Config) -> None:
        self.config = self.house.config = settings


def connect(
    settings: config.Config | Mapping[str, Any] | str | Path,
    name: str = "local",
    *,
    clock: Clock | None = None,
    policies: Sequence[Policy] = (),
    timeout_s: float = 1.0,
) -> pit.Engine:
    """An engine of this process's own, configured by a file's path, TOML text, tables, or a Config.

    `clock` defaults to the machine's; `pitd.clock.ManualClock` goes only when told. `policies` are added after the
    configured ones. Raises ConfigError when the configuration can't be meant.
    """
    return LocalEngine(settings, clock=clock, policies=policies).connect(name, timeout_s=timeout_s)


def connect_async(
    settings: config.Config | Mapping[str, Any] | str | Path,
    name: str = "local",
    *,
    clock: Clock | None = None,
    policies: Sequence[Policy] = (),
    timeout_s: float = 1.0,
) -> Connecting:
    """The same for asyncio: await it for a `pit.AsyncEngine`, or enter it. Raises what `connect` raises, at once.

    Calls are answered at once, within this process: none lets other tasks run.
    """
    return LocalEngine(settings, clock=clock, policies=policies).connect_async(name, timeout_s=timeout_s)


class _Door:
    """Lets one call in at a time. Who calls within its own call, as a signal handler may, would wait for itself."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.is_busy = False
        self.listeners: list[Callable[[], None]] = []
        """Called after each command: what is to be cancelled by now?"""


class _Bell:
    """A descriptor that is readable while there is something to be told."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._is_rung = False

    def fileno(self) -> int:
        return self._fd

    def ring(self, is_on: bool) -> None:
        if is_on and not self._is_rung:
            os.eventfd_write(self._fd, 1)
        elif self._is_rung and not is_on:
            os.eventfd_read(self._fd)
        self._is_rung = is_on

    def close(self) -> None:
        os.close(self._fd)


class _LocalTransport:
    """Answers commands by applying them, one at a time."""

    def __init__(
        self,
        sequencer: Sequencer,
        session: Session,
        door: _Door,
        context: decimal.Context,
        house: House,
        reloader: Reloader,
    ) -> None:
        self._house = house
        self._reloader = reloader
        self._sequencer = sequencer
        self._session = session
        self._door = door
        self._context = context
        self._pid = _process.pid
        self._is_closed = False
        self._failures: list[tuple[str, PitError]] = []
        self._place = (0, 0)
        """That of the last cancel that this client was told of."""
        self._bell: _Bell | None = None
        self.monotonic_ns = sequencer.read_clock_ns

    def command(self, command: wire.Command, timeout_s: float) -> wire.Reply:
        session, sequencer, door = self._session, self._sequencer, self._door
        if not session.id:
            raise NotAuthorized("this engine was connected with read_only=True: it asks, and gives no commands")
        if type(command) is wire.ShutDown:
            raise pit.InvalidInput("this engine lives in its own process: there is no daemon to shut down")
        with door.lock:  # as `_turn` does: a generator would cost as much as the whole start stage
            self._check_turn()
            door.is_busy = True
            before = decimal.getcontext()
            try:
                decimal.setcontext(self._context)
                number = session.next_number
                if type(command) is wire.Reload:
                    known = self._reloader.by_command(sequencer, session, number, number - 1, b"", command.reason)
                else:
                    known = sequencer.command(session, number, number - 1, b"", translate.command_of(command))
                sequencer.release()
                for listen in door.listeners:
                    listen()
                return translate.reply_of(known.reply, sequencer.now_ns)
            finally:
                decimal.setcontext(before)
                door.is_busy = False

    def post(self, command: wire.Command, order_id: str, timeout_s: float) -> None:
        reply = self.command(command, timeout_s)
        if not isinstance(reply, wire.Settled):
            self._failures.append((order_id, _calls.failure_of(reply)))

    def flush(self, timeout_s: float) -> None:
        """Everything has been answered at once."""

    def take_failures(self) -> Sequence[tuple[str, PitError]]:
        if not self._failures:
            return ()
        failures, self._failures = self._failures, []
        return failures

    def notices(self, wait_s: float, timeout_s: float) -> list[pit.CancelRequest]:
        """What there is: nothing else can happen in this process meanwhile, so it never waits."""
        with self._turn():
            while self._sequencer.end_due():
                pass
            engine, client = self._sequencer.engine, self._session.client
            query = wire.AskCancels(*self._place)
            found = cancel_watch.page(engine, client, query, self._sequencer.now_ns, self._house)
            if found.fresh and self._session.id:
                self._sequencer.note_read(client, found.fresh)
            self._sequencer.release()
            self._place = (found.reply.seq, found.reply.reservation_id)
        if self._bell is not None:
            self._bell.ring(False)
        return list(found.reply.cancels)

    def fileno(self) -> int:
        if self._bell is None:
            self._bell = _Bell()
            self._door.listeners.append(self._look)
            self._look()
        return self._bell.fileno()

    def _look(self) -> None:
        """Something has been asked for: is it for this client?"""
        query = wire.AskCancels(*self._place)
        now_ns = self._sequencer.now_ns
        found = cancel_watch.page(self._sequencer.engine, self._session.client, query, now_ns, self._house)
        if found.reply.cancels and self._bell is not None:
            self._bell.ring(True)

    def query(self, query: wire.Query, timeout_s: float) -> wire.Reply:
        with self._turn():
            while self._sequencer.end_due():
                pass
            self._sequencer.release()
            self._sequencer.publish()
            now_ns = self._sequencer.now_ns
            if isinstance(query, wire.PushQuote):
                return self._sequencer.quotes.push(self._sequencer.engine, query, self._sequencer.read_clock_ns())
            if isinstance(query, wire.AskReload):
                return self._reloader.answer(self._session.client, self._sequencer.engine)
            if isinstance(query, wire.DryRun | wire.Explain):
                return asking.answer(self._sequencer, self._session, query, sees_all=True)
            return queries.answer(
                self._sequencer.engine, self._session.client, query, now_ns, sees_all=True, house=self._house
            )

    def close(self) -> None:
        if self._is_closed or _process.pid != self._pid:
            return
        with contextlib.suppress(Unavailable):  # broken off or busy: its leases say what it would
            if self._session.id and self._session.ended_by is None:
                self.command(wire.Goodbye(), 0)
                with self._turn():
                    while self._sequencer.end_due():
                        pass
                    self._sequencer.release()
        self._is_closed = True
        if self._bell is not None:
            self._door.listeners.remove(self._look)
            self._bell.close()

    def _check_turn(self) -> None:
        """Whether a call may go on that has the door's lock."""
        if _process.pid != self._pid:
            raise Forked("this engine belongs to the parent process; connect anew in the child")
        if self._is_closed:
            raise Closed("this engine has been closed")
        if self._door.is_busy:
            raise Unavailable("nothing was done: this interrupts a call of the same engine, which must end first")
        if not self._sequencer.engine.is_whole:
            raise Unavailable("a call was broken off in the middle: its sums may be wrong; make a new engine")

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """One call at a time, under the exact context, on an engine that no call was broken off in."""
        with self._door.lock:
            self._check_turn()
            self._door.is_busy = True
            try:
                with decimal.localcontext(self._context):
                    yield
            finally:
                self._door.is_busy = False


class _AsyncLocalTransport:
    """The same for tasks: there is nothing to wait for."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.monotonic_ns = transport.monotonic_ns
        self.take_failures = transport.take_failures
        self.fileno = transport.fileno

    async def notices(self, wait_s: float, timeout_s: float) -> list[pit.CancelRequest]:
        return self._transport.notices(wait_s, timeout_s)

    async def post(self, command: wire.Command, order_id: str, timeout_s: float) -> None:
        self._transport.post(command, order_id, timeout_s)

    async def flush(self, timeout_s: float) -> None:
        self._transport.flush(timeout_s)

    async def command(self, command: wire.Command, timeout_s: float) -> wire.Reply:
        return self._transport.command(command, timeout_s)

    async def query(self, query: wire.Query, timeout_s: float) -> wire.Reply:
        return self._transport.query(query, timeout_s)

    async def close(self) -> None:
        self._transport.close()


def _read_again(settings: config.Config | Mapping[str, Any] | str | Path, running: config.Config) -> config.Config:
    """The file that it was read from, as it is by now. Raises ConfigError."""
    if isinstance(settings, (config.Config, Mapping)) or (isinstance(settings, str) and _is_text(settings)):
        raise ConfigError(NO_FILE)
    return config.load(settings, is_serving=True, running=running)


def _is_text(settings: str) -> bool:
    """Whether it is TOML, and no path."""
    return "\n" in settings or "=" in settings or not settings.strip()


def _read(settings: config.Config | Mapping[str, Any] | str | Path) -> config.Config:
    if isinstance(settings, config.Config):
        return settings
    if isinstance(settings, Mapping):
        return config.from_tables(settings)
    if isinstance(settings, str) and _is_text(settings):
        return config.parse(settings)
    return config.load(settings)


__all__ = ["ConfigError", "LocalEngine", "connect", "connect_async"]
