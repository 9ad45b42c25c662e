"""What measured times come to: rates, percentiles, and ratios that a drifting machine does not bend."""

from __future__ import annotations

import statistics
from array import array
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

PERCENTILES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99_9", 0.999))


class Measured(NamedTuple):
    """One kind of work in one round: the seconds that each took, and how many a second there were."""

    times: array[float]
    rate: float


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """How many were measured, how many a second there were, and how long they took, in microseconds."""

    count: int
    per_s: float
    p50_us: float
    p90_us: float
    p99_us: float
    p99_9_us: float
    max_us: float


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """The median of what rounds came to, and their range: the range says how far the machine may be believed."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.least:.2f} to {self.most:.2f})"


def percentile(times: Sequence[float], at: float) -> float:
    """The time that this share of them did not exceed; of none, 0."""
    return sorted(times)[min(len(times) - 1, int(len(times) * at))] if len(times) else 0.0


def figures(rounds: Sequence[Measured]) -> Figures:
    """All rounds together; the rate is their median."""
    times = sorted(time for each in rounds for time in each.times)
    found = {f"{name}_us": round(_at(times, share) * 1e6, 1) for name, share in PERCENTILES}
    rate = statistics.median([each.rate for each in rounds]) if rounds else 0.0
    return Figures(count=len(times), per_s=round(rate, 1), max_us=round(_at(times, 1) * 1e6, 1), **found)


def ratio(pairs: Iterable[tuple[float, float]]) -> Ratio | None:
    """Of pairs measured in the same round, the first by the second. None where nothing was measured."""
    found = [one / other for one, other in pairs if one and other]
    if not found:
        return None
    return Ratio(median=statistics.median(found), least=min(found), most=max(found))


def table(rows: Sequence[tuple[str, Figures]]) -> str:
    """Figures as people read them."""
    width = max(len(name) for name, _ in rows)
    lines = [f"{'':<{width}}  {'a second':>10}  {'p50':>9}  {'p90':>9}  {'p99':>9}  {'p99.9':>9}  {'max':>9}"]
    for name, each in rows:
        times = (each.p50_us, each.p90_us, each.p99_us, each.p99_9_us, each.max_us)
        lines.append(f"{name:<{width}}  {each.per_s:>10,.0f}  " + "  ".join(f"{_shown(us):>9}" for us in times))
    return "\n".join(lines)


def _at(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def _shown(us: float) -> str:
    return f"{us:.0f} us" if us < 10_000 else f"{us / 1e3:.1f} ms"
