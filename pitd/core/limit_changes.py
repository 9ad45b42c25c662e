"""Limits changed while running: all that is asked for at once, or nothing of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from . import entry as e
from . import named, overrides
from .entry import Failed, Failure
from .sessions import Session

if TYPE_CHECKING:
    from .engine import Engine


_LONGEST_NS = 3_650 * 86_400_000_000_000
"""Ten years: moments that far away still fit the 64 bits that they travel in."""


class LimitChanges:
    """Numbers of limits that a person sets over those of the configuration, for a while or until they are cleared."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def set_limit(self, command: e.SetLimit, session: Session) -> e.Reply:
        return self._set(((command.limit, command.values),), command, session)

    def set_limits(self, command: e.SetLimits, session: Session) -> e.Reply:
        """All of it, or nothing."""
        if not command.limits:
            return Failed(Failure.INVALID_INPUT, "set which limits? None is named")
        if len({limit for limit, _ in command.limits}) < len(command.limits):
            return Failed(Failure.INVALID_INPUT, "a limit is named twice; say all its numbers at once")
        return self._set(command.limits, command, session)

    def _set(
        self,
        limits: Sequence[tuple[str, tuple[tuple[str, str], ...]]],
        command: e.SetLimit | e.SetLimits,
        session: Session,
    ) -> e.Reply:
        engine = self._engine
        reason, ends = command.reason, (command.lasts_ns, command.until_wall_ns)
        problem = named.bad_reason(reason) or self._bad_end(e.SetLimit("", (), reason, *ends))
        if problem:
            return Failed(Failure.INVALID_INPUT, problem)
        put: tuple[overrides.Override, ...] = ()
        for limit, values in limits:
            more_put = self._overrides_of(e.SetLimit(limit, values, reason, *ends), session.client)
            if isinstance(more_put, Failed):
                return more_put
            put += more_put
        more = sum(engine.overrides.get(each.limit, each.key) is None for each in put)
        if len(engine.overrides) + more > engine.bounds.overrides:
            return Failed(Failure.CAPACITY_EXCEEDED, f"{len(engine.overrides)} numbers are set already; clear some")
        problem = "" if engine.setup is None else engine.overrides.contradiction(engine.setup.terms, put)
        if problem:
            return Failed(Failure.INVALID_INPUT, problem)
        engine.emit(e.Overridden(put))
        engine.settle_shadows()
        return e.LimitSet(put)

    def _overrides_of(self, command: e.SetLimit, author: str) -> tuple[overrides.Override, ...] | Failed:
        """What a command asks for, over what is configured; or why nothing of it can be."""
        engine = self._engine
        limit = command.limit
        terms = None if engine.setup is None else engine.setup.terms
        if terms is not None and limit in terms.names() and not terms.keys(limit):
            return Failed(Failure.INVALID_INPUT, f"{limit} has no number that could be set")
        if terms is None or not terms.keys(limit):
            known = overrides.expected(terms.names() if terms is not None else ())
            return Failed(Failure.UNKNOWN_ID, f"no limit is named {limit[:80]}; configured: {known}")
        if not command.values:
            return Failed(Failure.INVALID_INPUT, f"set what of {limit}? It has {', '.join(terms.keys(limit))}")
        until_wall_ns = command.until_wall_ns
        if command.lasts_ns is not None:
            until_wall_ns = engine.wall_ns + command.lasts_ns
        put = {}
        for key, written in command.values:
            if key not in terms.keys(limit) or key in put:
                why = "is named twice" if key in put else "can't be set at run time"
                can = ", ".join(terms.keys(limit))
                return Failed(Failure.INVALID_INPUT, f"{limit}: {key[:80]} {why}; its numbers: {can}")
            try:
                value = terms.read(limit, key, written)
            except overrides.Unreadable as trouble:
                return Failed(Failure.INVALID_INPUT, str(trouble))
            base = terms.base(limit, key)
            put[key] = overrides.Override(
                limit, key, value, base, value, author, command.reason, engine.wall_ns, until_wall_ns
            )
        return tuple(put.values())

    def _bad_end(self, command: e.SetLimit) -> str:
        """Why an override can't end then, or nothing."""
        if command.lasts_ns is not None and command.until_wall_ns is not None:
            return "say how long it lasts, or until when; not both"
        if command.lasts_ns is not None and not 0 < command.lasts_ns <= _LONGEST_NS:
            return f"it lasts {command.lasts_ns / 1e9:g} s: more than 0 s and at most ten years are wanted"
        if command.until_wall_ns is not None and not 0 < command.until_wall_ns - self._engine.wall_ns <= _LONGEST_NS:
            return "its end is past, or more than ten years away"
        return ""

    def clear_limit(self, command: e.ClearLimit, session: Session) -> e.Reply:
        engine = self._engine
        problem = named.bad_reason(command.reason)
        if problem:
            return Failed(Failure.INVALID_INPUT, problem)
        cleared = tuple(
            (each.limit, each.key)
            for each in engine.overrides.of(command.limit)
            if command.key is None or command.key == each.key
        )
        if not cleared:
            known = overrides.expected([f"{each.limit} {each.key}" for each in engine.overrides.all()])
            limit = " ".join(filter(None, (command.limit[:80], (command.key or "")[:80])))
            return Failed(Failure.UNKNOWN_ID, f"nobody has set {limit}; set now: {known}")
        problem = "" if engine.setup is None else engine.overrides.contradiction(engine.setup.terms, (), cleared)
        if problem:
            return Failed(Failure.INVALID_INPUT, f"{problem}; clear both, or set the other first")
        engine.emit(e.Overridden((), cleared))
        engine.settle_shadows()
        return e.Done(len(cleared))
