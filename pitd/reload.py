"""Has a running daemon take up a changed configuration: all of it that can change while it runs, or nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from pit import wire
from pit.types import MAX_REASON_LENGTH, ReloadResult

from . import log
from .calendar import Calendar
from .config import Config
from .config_diff import differences, runs_on
from .core import entry as e
from .core import past_bounds
from .core.engine import Engine
from .core.overrides import numbers_of
from .core.sessions import Known, Session
from .errors import ConfigError
from .limit_terms import LimitTerms
from .own_policies import still_in_use
from .sequencer import Sequencer

BY_SIGNAL = "SIGHUP"
"""Who stands as the author where the service manager, or somebody at the machine, has asked."""

NO_FILE = "there is nothing to read again: this engine was not made from a file"

_TOLD_MOST = 200
"""So many differences are told one by one."""

_LONGEST = 300

Written = Callable[[], Config]
"""Reads the files again. Raises ConfigError."""


class Entry(Protocol):
    """Makes the entry that puts a configuration into force."""

    def __call__(self, config: Config, author: str, reason: str, changes: tuple[str, ...]) -> e.Configured: ...


class Fresh(NamedTuple):
    """A configuration that has been read and found good."""

    config: Config
    command: e.Reload


class Reloader:
    """Reads the configuration again for one daemon, or one engine of a process of its own."""

    def __init__(self, running: Config, written: Written, entry: Entry) -> None:
        self.running = running
        self.adopted: list[Callable[[Config], None]] = []
        """Who has to know of a configuration that has come into force."""
        self.announced: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
        """Tells the service manager that this goes on, while it does."""
        self._written = written
        self._entry = entry

    def read(self, author: str, reason: str, engine: Engine) -> Fresh:
        """What would come into force. Changes nothing; raises ConfigError, which names file, line and key."""
        try:
            fresh, waits = runs_on(self.running, self._written())
            in_use = still_in_use(engine, fresh.policies)
            if in_use:
                raise ConfigError(f"{fresh.source}: {in_use}")
            terms = LimitTerms(fresh.limits)
            problem = terms.contradiction(numbers_of(engine.overrides.anew(terms)))
            if problem:
                raise ConfigError(f"{fresh.source}: {problem}: a person has set one of them; pitctl limits --overrides")
        except ConfigError as trouble:
            log.error("config.refused", by=author, reason=reason, why=trouble)
            raise
        changes = _told([str(each) for each in differences(self.running, fresh)])
        waiting = _told([f"{each}, with the next start" for each in waits])
        configured = self._entry(fresh, author, reason, changes)
        past = _told(past_bounds.brought_by(engine, configured)) if changes else ()
        return Fresh(fresh, e.Reload(configured, waiting, past))

    def answer(self, asked_by: str, engine: Engine) -> wire.Reply:
        """The answer to who asks what a reload would come to."""
        try:
            command = self.read(asked_by, "only asked", engine).command
        except ConfigError as trouble:
            return wire.Failed(wire.FailureCode.INVALID_INPUT, str(trouble))
        result = ReloadResult(changes=command.configured.changes, waiting=command.waiting, past=command.past)
        return wire.Reloaded(result)

    def adopt(self, fresh: Fresh, disagreements: Sequence[str]) -> None:
        """It has come into force: everybody goes by it."""
        self.running = fresh.config
        for adopt in self.adopted:
            adopt(fresh.config)
        configured = fresh.command.configured
        log.info("config.reloaded", by=configured.author, reason=configured.reason, source=fresh.config.source)
        for change in configured.changes:
            log.info("config.changed", what=change)
        for waits in fresh.command.waiting:
            log.warning("config.waits", what=waits)
        for disagreement in disagreements:
            log.warning("limits.disagree", what=disagreement)
        for past in fresh.command.past:
            log.warning("limits.past", what=past)

    def by_signal(self, sequencer: Sequencer) -> None:
        """Nobody waits for an answer: the log says what has come of it."""
        with contextlib.suppress(ConfigError):
            fresh = self.read(BY_SIGNAL, "asked by SIGHUP", sequencer.engine)
            sequencer.configure(fresh.command.configured)
            sequencer.go_by(Calendar(fresh.config))
            self.adopt(fresh, sequencer.engine.disagreements())

    def by_command(
        self, sequencer: Sequencer, session: Session, number: int, acked: int, digest: bytes, reason: str
    ) -> Known:
        """The answer to a person's command: what is different by now, or why everything is as it was."""
        reason = reason[:MAX_REASON_LENGTH]
        known = sequencer.known(session, number, acked, digest)
        if known is not None:
            return known
        with self.announced():
            try:
                fresh = self.read(session.client, reason, sequencer.engine)
            except ConfigError as trouble:
                return Known(e.Failed(e.Failure.INVALID_INPUT, str(trouble)), True)
            known = sequencer.command(session, number, acked, digest, fresh.command)
            if isinstance(known.reply, e.Reloaded):
                sequencer.go_by(Calendar(fresh.config))
                self.adopt(fresh, known.reply.disagreements)
            return known


def tell_disagreements(disagreements: Sequence[str]) -> None:
    """At a start, where a person's numbers outlive a configuration that has changed meanwhile."""
    for each in disagreements:
        log.warning("limits.disagree", what=each)


def _told(lines: Sequence[str]) -> tuple[str, ...]:
    """As many as an answer has room for."""
    told = [line[:_LONGEST] for line in lines[:_TOLD_MOST]]
    more = [f"and {len(lines) - len(told)} more"] if len(lines) > len(told) else []
    return (*told, *more)


@contextlib.contextmanager
def announcing(begins: Callable[[], None], ends: Callable[[], None]) -> Iterator[None]:
    """Says that a reload begins, and in any case that it is over."""
    begins()
    try:
        yield
    finally:
        ends()
