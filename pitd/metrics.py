"""Counts what the daemon does, for whoever watches it. What is counted of rows is counted after their replies left."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence

from pit import wire
from pit.types import Reject

from . import log
from .core import entry as e
from .core.entry import EndedBy

COMMAND_UPTO_S = (25e-6, 50e-6, 100e-6, 200e-6, 400e-6, 800e-6, 1.6e-3, 3.2e-3, 6.4e-3, 12.8e-3, 25e-3, 50e-3, 0.1, 1.0)
JOURNAL_UPTO_S = (10e-6, 20e-6, 40e-6, 80e-6, 160e-6, 320e-6, 640e-6, 1.28e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 0.1, 1.0)
"""Where the buckets of the histograms end, in seconds. Fixed: whoever compares two days must find the same ones."""

_LAPSES = frozenset({EndedBy.LEASE, EndedBy.CLIENT_GONE, EndedBy.FENCED, EndedBy.DROPPED})
"""The ends that nobody asked for by a settling command."""

_ENDING = frozenset({e.OrderMoved, e.RequestEnded})
_SILENT = frozenset({e.Stands, e.Done})
"""Answers of which nothing is counted: most of all."""


class Histogram:
    """How many took how long."""

    __slots__ = ("counts", "sum_s", "upto_s")

    def __init__(self, upto_s: Sequence[float]) -> None:
        self.upto_s = tuple(upto_s)
        self.counts = [0] * (len(upto_s) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float, count: int = 1) -> None:
        self.counts[bisect_left(self.upto_s, seconds)] += count
        self.sum_s += seconds * count

    def told(self) -> wire.Histogram:
        return wire.Histogram(self.upto_s, tuple(self.counts), self.sum_s)


class Metrics:
    """The counters of one daemon since it began to serve. Their names are few and fixed: no client, no account."""

    def __init__(self) -> None:
        self.command_s = Histogram(COMMAND_UPTO_S)
        """From the first message of a batch until its answers were let go, for each command in it."""
        self.journal_s = Histogram(JOURNAL_UPTO_S)
        """What keeping one batch took."""
        self.refused: Counter[str] = Counter()
        """What was refused before the engine saw it, by its code."""
        self.malformed = 0
        self.count_watchers: Callable[[], int] = lambda: 0
        """How many wait for events now. Whoever serves them says so."""
        self.unsendable = 0
        self._commands: Counter[type] = Counter()
        self._accepted = 0
        self._rejects: Counter[tuple[str, str]] = Counter()
        self._shadow_rejects: Counter[tuple[str, str]] = Counter()
        self._failed: Counter[str] = Counter()
        self._lapses: Counter[str] = Counter()
        self._ends: Counter[str] = Counter()
        self._entries = 0

    def count(self, rows: Sequence[e.Row]) -> None:
        """Takes in what has been journaled."""
        self._entries += len(rows)
        commands, commanded, ending, silent = self._commands, e.Commanded, _ENDING, _SILENT
        for row in rows:
            body = row.entry.body
            if type(body) is commanded:
                commands[type(body.command)] += 1
                if type(row.reply) not in silent:
                    self._count_reply(row.reply)
            for effect in row.effects:
                if type(effect) in ending and effect.ended_by is not None:  # type: ignore[union-attr]
                    self._end(effect.ended_by)  # type: ignore[union-attr]

    def _count_reply(self, reply: e.Reply) -> None:
        match reply:
            case e.Accepted():
                self._accepted += 1
                if reply.shadow_rejects:
                    self._count_shadows(reply.shadow_rejects)
            case e.Refused():
                self._count_refused(reply)
            case e.Deferred() | e.Modified() | e.CancelCleared():
                self._count_shadows(e.shadow_rejects_of(reply))
            case e.ManyChecked():
                self._count_each(reply)
            case e.Failed():
                self._failed[reply.failure] += 1

    def _count_refused(self, reply: e.Refused) -> None:
        for reject in reply.rejected.rejects:
            self._rejects[reject.policy, reject.code] += 1
        self._count_shadows(reply.rejected.shadow_rejects)

    def _count_each(self, reply: e.ManyChecked) -> None:
        for answer in reply.answers:
            if isinstance(answer, e.Refused):
                self._count_refused(answer)
            else:
                self._accepted += 1
                self._count_shadows(answer.shadow_rejects)

    def _count_shadows(self, rejects: Sequence[Reject]) -> None:
        for reject in rejects:
            self._shadow_rejects[reject.policy, reject.code] += 1

    def _end(self, ended_by: EndedBy) -> None:
        if ended_by in _LAPSES:
            self._lapses[ended_by] += 1
        elif ended_by is not EndedBy.EXECUTED:
            self._ends[ended_by] += 1

    def told(self, status: wire.StatusIs) -> wire.MetricsAre:
        """Everything that has been counted, beside how the daemon is now."""
        return wire.MetricsAre(
            status=status,
            entries=self._entries,
            commands=_pairs({each.__name__: count for each, count in self._commands.items()}),
            accepted=self._accepted,
            rejects=_seen(self._rejects),
            shadow_rejects=_seen(self._shadow_rejects),
            failed=_pairs(self._failed),
            refused=_pairs(self.refused),
            malformed=self.malformed,
            unsendable=self.unsendable,
            lapses=_pairs(self._lapses),
            ends=_pairs(self._ends),
            command_s=self.command_s.told(),
            journal_s=self.journal_s.told(),
            logged=tuple((level, event, count) for (level, event), count in sorted(log.counts.items())),
            watchers=self.count_watchers(),
        )


def _seen(rejects: Counter[tuple[str, str]]) -> tuple[wire.RejectsSeen, ...]:
    return tuple(
        wire.RejectsSeen(control=control, code=str(code), count=count)
        for (control, code), count in sorted(rejects.items())
    )


def _pairs(counts: dict[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple((str(name), count) for name, count in sorted(counts.items()))
