"""Numbers of limits that a person has set at run time, in the place of those that are configured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

Numbers = Mapping[str, Mapping[str, str]]
"""By limit and key, what holds in the place of the configured number."""


class Override(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One number of one limit. Numbers are canonical text, as `Terms.read` gives them."""

    limit: str
    key: str
    value: str
    base: str | None
    """What was configured when a person set it; None where nothing was."""
    in_force: str | None
    """What holds now; None while no such number of that limit is configured."""
    author: str
    reason: str
    since_wall_ns: int
    until_wall_ns: int | None = None


class Unreadable(Exception):
    """No such number can be meant; the message says what is wanted."""


class Terms(Protocol):
    """The limits of a configuration, as far as a person may set their numbers. Whoever reads settings brings it."""

    def names(self) -> Sequence[str]:
        """The limits, in their order."""

    def keys(self, limit: str) -> Sequence[str]:
        """The numbers of a limit that may be set; none for a limit that is not configured."""

    def base(self, limit: str, key: str) -> str | None:
        """The number that is configured; None where that bound is left open."""

    def read(self, limit: str, key: str, value: str) -> str:
        """A number as canonical text. Raises Unreadable."""

    def tighter(self, key: str, one: str, other: str) -> str:
        """The one of two numbers that lets less through."""

    def contradiction(self, numbers: Numbers) -> str:
        """Why limits can't have those numbers in the place of their own, naming all that contradict one another; or
        nothing.
        """


class Overrides:
    """What is set now, by limit and key."""

    def __init__(self) -> None:
        self._set: dict[tuple[str, str], Override] = {}
        self.first_end_ns: int | None = None
        """The wall time at which the first of them ends; None while none does."""

    def __len__(self) -> int:
        return len(self._set)

    def all(self) -> tuple[Override, ...]:
        return tuple(self._set[key] for key in sorted(self._set))

    def of(self, limit: str) -> tuple[Override, ...]:
        return tuple(each for each in self.all() if each.limit == limit)

    def get(self, limit: str, key: str) -> Override | None:
        return self._set.get((limit, key))

    def ended_by(self, wall_ns: int) -> tuple[Override, ...]:
        """Those that are over at that moment."""
        return tuple(each for each in self.all() if each.until_wall_ns is not None and each.until_wall_ns <= wall_ns)

    def anew(self, terms: Terms) -> tuple[Override, ...]:
        """The same under another configuration: what each of them comes to there."""
        return tuple(msgspec.structs.replace(each, in_force=in_force(each, terms)) for each in self.all())

    def numbers(self) -> dict[str, dict[str, str]]:
        """What holds in the place of configured numbers."""
        return numbers_of(self.all())

    def contradiction(self, terms: Terms, put: Sequence[Override], cleared: Sequence[tuple[str, str]] = ()) -> str:
        """Why these can't be put into force, or cleared: what then holds contradicts itself, at once or when one of
        them ends before another. Nothing where it does not.
        """
        after = {key: each for key, each in self._set.items() if key not in cleared}
        after |= {(each.limit, each.key): each for each in put}
        touched = {each.limit for each in put} | {limit for limit, _ in cleared}
        of = [each for each in after.values() if each.limit in touched]
        problem = terms.contradiction(numbers_of(of))
        if problem:
            return problem
        for end_ns in sorted({each.until_wall_ns for each in of if each.until_wall_ns is not None}):
            left = [each for each in of if each.until_wall_ns is None or each.until_wall_ns > end_ns]
            problem = terms.contradiction(numbers_of(left))
            if problem:
                return f"{problem}, once what ends first has ended: let both end at one time"
        return ""

    # ------------------------------------------------------------------------------------------ carrying out

    def put(self, overrides: Sequence[Override], cleared: Sequence[tuple[str, str]] = ()) -> None:
        for key in cleared:
            del self._set[key]
        self._set.update(((each.limit, each.key), each) for each in overrides)
        self.first_end_ns = min(
            (each.until_wall_ns for each in self._set.values() if each.until_wall_ns is not None), default=None
        )

    def replace(self, overrides: Sequence[Override]) -> None:
        self._set.clear()
        self.put(overrides)


def numbers_of(overrides: Sequence[Override]) -> dict[str, dict[str, str]]:
    """What these put in the place of configured numbers."""
    found: dict[str, dict[str, str]] = {}
    for each in overrides:
        if each.in_force is not None:
            found.setdefault(each.limit, {})[each.key] = each.in_force
    return found


def in_force(override: Override, terms: Terms) -> str | None:
    """What an override comes to under a configuration.

    While the configured number is the one that it was set over, it holds, looser or tighter: a person said so, knowing
    that number. Where the configuration says another by now, nobody has weighed the two: the tighter one holds.
    """
    if override.key not in terms.keys(override.limit):
        return None
    base = terms.base(override.limit, override.key)
    if base is None or base == override.base:
        return override.value
    return terms.tighter(override.key, override.value, base)


def disagreement(override: Override, terms: Terms) -> str:
    """Where the configuration has changed under an override: what holds now, in words. Nothing where they agree."""
    named = f"{override.limit} {override.key}"
    by = f"{override.author} had set {override.value} ({override.reason})"
    if override.key not in terms.keys(override.limit):
        return f"{named}: it is not configured any more, and {by}, which waits until it is or is cleared"
    base = terms.base(override.limit, override.key)
    if base in (override.base, override.value, None):
        return ""
    over = "where nothing was configured" if override.base is None else f"over {override.base}"
    return f"{named}: {base} is configured by now, and {by} {over}; the tighter one holds: {override.in_force}"


def expected(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "") or "none"
