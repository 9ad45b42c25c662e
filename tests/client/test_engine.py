"""The engine over a scripted transport: what a call comes to when something else has to be said before it."""

from __future__ import annotations

import pytest
from builders import order

import pit
from pit import wire


class Slow:
    """Takes so many seconds for every command, by a clock of its own; says nothing to a drop when told so."""

    def __init__(self, takes_s: float = 0.0, *, is_silent: bool = False) -> None:
        self.asked: list[tuple[str, float]] = []
        self._takes_s = takes_s
        self._is_silent = is_silent
        self._now_ns = 0

    def command(self, command: wire.Command, timeout_s: float) -> wire.Reply:
        self.asked.append((type(command).__name__, timeout_s))
        self._now_ns += round(self._takes_s * 1e9)
        if not isinstance(command, wire.Drop):
            return wire.Accepted(1, "o1", pit.OrderState.HELD, 0, replayed=True)
        if self._is_silent:
            raise pit.OutcomeUnknown("Drop was sent and not answered")
        return wire.Done()

    def query(self, query: wire.Query, timeout_s: float) -> wire.Reply:
        raise NotImplementedError

    def post(self, command: wire.Command, order_id: str, timeout_s: float) -> None:
        raise NotImplementedError

    def flush(self, timeout_s: float) -> None:
        raise NotImplementedError

    def take_failures(self) -> list[tuple[str, pit.PitError]]:
        return []

    def monotonic_ns(self) -> int:
        return self._now_ns

    def close(self) -> None:
        pass


def engine_with_something_dropped(transport: Slow) -> pit.Engine:
    engine = pit.Engine(transport, "mm1", timeout_s=1)
    engine._dropped_reservations.append(7)
    return engine


def test_an_order_that_waits_behind_an_unanswered_drop_surely_did_not_leave() -> None:
    transport = Slow(is_silent=True)
    engine = engine_with_something_dropped(transport)
    with pytest.raises(pit.Unavailable, match="nothing was sent"):
        engine.execute_pre_trade(order())
    assert [name for name, _ in transport.asked] == ["Drop"]


def test_what_is_given_back_first_takes_its_time_from_the_same_call() -> None:
    transport = Slow(takes_s=0.75)
    engine_with_something_dropped(transport).execute_pre_trade(order())
    assert transport.asked == [("Drop", 1), ("Check", 0.25)]
