"""An engine in this process behind pit's port: for embedding, tests, and backtests with a clock of their own."""

from __future__ import annotations

import decimal
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pit
from pit import wire
from pit.errors import Closed, Forked
from pit.transport import Transport

from . import bootstrap, config, peers, queries, translate
from .clock import Clock, SystemClock
from .core.engine import exact_context
from .core.policy import Policy
from .core.sessions import Session
from .errors import ConfigError
from .house import House
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
        self._lock = threading.Lock()
        self._context = exact_context()
        self.config = _read(settings)
        with decimal.localcontext(self._context):
            self.sequencer = bootstrap.build_sequencer(self.config, clock or SystemClock(), journal, policies)
        self.house = House(self.sequencer, self.config)

    def connect(self, name: str, *, timeout_s: float = 1.0) -> pit.Engine:
        """A client's engine. A second one of the same name fences the first."""
        return pit.Engine(self.transport(name), name, timeout_s=timeout_s)

    def transport(self, name: str) -> Transport:
        problem = peers.bad_name(name)
        if problem:
            raise pit.InvalidInput(problem)
        with self._lock, decimal.localcontext(self._context):
            session_id = self.sequencer.open_session(name, os.urandom(16))
            self.sequencer.release()
            session = self.sequencer.engine.sessions.get(session_id)
        assert session is not None
        return _LocalTransport(self.sequencer, session, self._lock, self._context, self.house)


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


class _LocalTransport:
    """Answers commands by applying them, one at a time."""

    def __init__(
        self,
        sequencer: Sequencer,
        session: Session,
        lock: threading.Lock,
        context: decimal.Context,
        house: House,
    ) -> None:
        self._house = house
        self._sequencer = sequencer
        self._session = session
        self._lock = lock
        self._context = context
        self._pid = os.getpid()
        self._is_closed = False

    def command(self, command: wire.Command, timeout_s: float) -> wire.Reply:
        self._check_usable()
        with self._lock, decimal.localcontext(self._context):
            session, sequencer = self._session, self._sequencer
            number = session.next_number
            known = sequencer.command(session, number, number - 1, b"", translate.command_of(command))
            sequencer.release()
            return translate.reply_of(known.reply, sequencer.now_ns)

    def query(self, query: wire.Query, timeout_s: float) -> wire.Reply:
        self._check_usable()
        with self._lock, decimal.localcontext(self._context):
            while self._sequencer.end_due():
                pass
            self._sequencer.release()
            now_ns = self._sequencer.now_ns
            return queries.answer(
                self._sequencer.engine, self._session.client, query, now_ns, sees_all=True, house=self._house
            )

    def monotonic_ns(self) -> int:
        return self._sequencer.read_clock_ns()

    def close(self) -> None:
        if self._is_closed or os.getpid() != self._pid:
            return
        if self._session.ended_by is None:
            self.command(wire.Goodbye(), 0)
            with self._lock, decimal.localcontext(self._context):
                while self._sequencer.end_due():
                    pass
                self._sequencer.release()
        self._is_closed = True

    def _check_usable(self) -> None:
        if os.getpid() != self._pid:
            raise Forked("this engine belongs to the parent process; connect anew in the child")
        if self._is_closed:
            raise Closed("this engine has been closed")


def _read(settings: config.Config | Mapping[str, Any] | str | Path) -> config.Config:
    if isinstance(settings, config.Config):
        return settings
    if isinstance(settings, Mapping):
        return config.from_tables(settings)
    if isinstance(settings, str) and ("\n" in settings or "=" in settings or not settings.strip()):
        return config.parse(settings)
    return config.load(settings)


__all__ = ["ConfigError", "LocalEngine", "connect"]
