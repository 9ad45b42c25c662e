"""Looking out before sleeping: only while nobody else wants the processor."""

from __future__ import annotations

import os
import time

import pytest

from pit._look_out import LookOut


class Machine:
    """A clock, and how long it takes until one that yields has the processor again."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.yield_s = 1e-6
        self.yields = 0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(os, "sched_yield", self._yield)

    def _yield(self) -> None:
        self.yields += 1
        self.now += self.yield_s


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def test_what_comes_meanwhile_is_seen(machine: Machine) -> None:
    comes_at = machine.now + 50e-6
    assert LookOut().sees(lambda: machine.now >= comes_at, 100e-6)


def test_what_does_not_come_in_time_is_not_waited_for(machine: Machine) -> None:
    assert not LookOut().sees(lambda: False, 100e-6)
    assert machine.now < 100.0 + 200e-6


def test_a_slow_yield_of_a_quiet_machine_changes_nothing(machine: Machine) -> None:
    look_out = LookOut()
    machine.yield_s = 60e-6
    assert not look_out.sees(lambda: False, 100e-6)
    yields = machine.yields
    look_out.sees(lambda: False, 100e-6)
    assert machine.yields > yields


def test_on_a_crowded_machine_it_looks_once_and_goes_to_sleep_and_tries_again_later(machine: Machine) -> None:
    look_out = LookOut()
    machine.yield_s = 3e-3
    assert not look_out.sees(lambda: False, 1.0)
    assert machine.yields == 1
    machine.now += 50e-3
    assert not look_out.sees(lambda: False, 1.0)
    assert look_out.sees(lambda: True, 1.0), "what is there already is seen at any time"
    assert machine.yields == 1
    machine.now += 60e-3
    look_out.sees(lambda: False, 1.0)
    assert machine.yields == 2


def test_where_it_stays_crowded_it_tries_again_ever_later_and_soon_once_it_was_not(machine: Machine) -> None:
    look_out = LookOut()

    def crowded_after_s() -> float:
        """How long it takes until it looks out again, and meets somebody else."""
        machine.yield_s = 3e-3
        began, yields = machine.now, machine.yields
        while machine.yields == yields:
            machine.now += 10e-3
            look_out.sees(lambda: False, 1.0)
        return round(machine.now - began, 1)

    crowded_after_s()
    assert [crowded_after_s() for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.6, 1.6]
    machine.now += 2
    machine.yield_s = 1e-6
    look_out.sees(lambda: False, 100e-6)
    crowded_after_s()
    assert crowded_after_s() == 0.1
