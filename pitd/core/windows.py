"""How often the same order was fired of late: moments by scope and by what the orders ask for, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from typing import Any

MOST_KEPT = 10_000
"""So many different orders are remembered for one limit; beyond that the one untouched for longest is forgotten."""

Key = tuple[str, str]
"""A scope, and what an order in it asks for (`Attempt.content`)."""


class Fired:
    """The newest moments of each order. What was touched last stands last, so stale ones are found in front, and at
    once: a plain dict would look through the gaps that those before them left.
    """

    def __init__(self) -> None:
        self._times: OrderedDict[Key, deque[int]] = OrderedDict()

    def __repr__(self) -> str:
        return f"Fired({self._times!r})"

    def times(self, key: Key) -> Sequence[int]:
        """Its moments, newest last: of those inside the window as many as were to be kept."""
        return self._times.get(key, ())

    def is_full(self, key: Key, now_ns: int, window_ns: int, most: int) -> bool:
        """Whether one more is too many: the most-th newest is still inside the window."""
        times = self._times.get(key)
        return times is not None and len(times) >= most and now_ns - times[-most] < window_ns

    def inside(self, key: Key, now_ns: int, window_ns: int) -> int:
        return sum(now_ns - at < window_ns for at in self._times.get(key, ()))

    def scopes(self) -> Iterator[str]:
        for scope, _ in self._times:
            yield scope

    def busiest(self, scope: str, now_ns: int, window_ns: int) -> int:
        """How often the order that was fired most often inside the window was. Looks at every order of the limit."""
        return max((self.inside(key, now_ns, window_ns) for key in self._times if key[0] == scope), default=0)

    # ------------------------------------------------------------------------------------------ carrying out

    def add(self, key: Key, at_ns: int, window_ns: int, keep: int) -> None:
        """Notes a moment, and lets go what has left the window: all of it for this order, two orders at most else."""
        times = self._times.get(key)
        if times is None:
            times = self._times[key] = deque()
        else:
            self._times.move_to_end(key)
        horizon_ns = at_ns - window_ns
        had = len(times)
        while times and times[0] <= horizon_ns:
            times.popleft()
        times.append(at_ns)
        if len(times) > max(keep, had):  # a lowered limit forgets nothing: it may be raised again
            times.popleft()
        for _ in range(2):
            first = next(iter(self._times))
            if len(self._times) <= MOST_KEPT and self._times[first][-1] > horizon_ns:
                return
            if len(self._times) == 1:
                return
            del self._times[first]

    def forget(self, scope: str) -> None:
        for key in [key for key in self._times if key[0] == scope]:
            del self._times[key]

    def save(self) -> list[Any]:
        return [[*key, list(times)] for key, times in self._times.items()]

    def load(self, saved: Sequence[Any]) -> None:
        self._times = OrderedDict(((scope, content), deque(times)) for scope, content, times in saved)
