"""What every test run has: hypothesis without a clock of its own, bytecode, and the mark of what takes long."""

from __future__ import annotations

import gc
import os
import sys

import hypothesis
import pytest

EXAMPLES = {"quick": 20, "whole": 100}
"""How many hypothesis draws for each test: the quick suite leaves the rest to the slow part, which has them all."""

for _name, _examples in EXAMPLES.items():
    hypothesis.settings.register_profile(
        _name,
        max_examples=_examples,
        deadline=None,  # a busy machine changes no verdict
        database=None,
        print_blob=True,
        suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.differing_executors],
    )


def is_quick(config: pytest.Config) -> bool:
    return "not slow" in config.option.markexpr


SLOW = (
    "tests/core/test_asking.py::test_the_largest_size_passes_and_the_next_one_does_not",
    "tests/deploy/",
    "tests/journal/test_damage.py",
    "tests/journal/test_journal_cli.py::test_a_first_start_verifies_nothing_and_a_stop_ends_what_still_verifies",
    "tests/journal/test_journal_cli.py::test_after_a_start_the_history_before_the_snapshot_is_verified_behind_it",
    "tests/journal/test_journal_cli.py::test_damage_in_old_history_is_an_error_in_the_log_of_a_daemon_that_serves",
    "tests/journal/test_journal_cli.py::test_old_segments_are_pruned_beside_a_running_daemon_that_then_starts_again",
    "tests/journal/test_outcome.py",
    "tests/journal/test_segments.py",
    "tests/journal/test_tail.py",
    "tests/journal/test_trouble.py",
    "tests/operator/test_bench.py",
    "tests/operator/test_with_a_daemon.py",
    "tests/policies/test_exposure_model.py",
    "tests/policies/test_own_policies.py::test_check_policy_shows_the_smallest_example_that_breaks_a_law",
    "tests/policies/test_reducing.py::test_every_decision_is_that_of_a_model_and_what_reduces_passes",
    "tests/process/test_cancels.py",
    "tests/process/test_clients.py",
    "tests/process/test_demo.py",
    "tests/process/test_events.py",
    "tests/process/test_flooding.py",
    "tests/process/test_keys.py",
    "tests/process/test_kills.py",
    "tests/process/test_own_policies.py",
    "tests/process/test_posted.py",
    "tests/process/test_reload.py",
    "tests/process/test_restart.py",
    "tests/process/test_shared_limit.py",
    "tests/process/test_systemd.py",
    "tests/process/test_tape.py",
    "tests/simulation/test_simulation.py::test_the_",
)
"""What starts many processes or fills disks: `.ci/run` has it all, the README's command leaves it out."""


def pytest_configure(config: pytest.Config) -> None:
    hypothesis.settings.load_profile("quick" if is_quick(config) else "whole")
    _keep_bytecode(config)


def _keep_bytecode(config: pytest.Config) -> None:
    """Where no bytecode may be written beside the sources, it goes into pytest's own cache: tests start hundreds of
    processes, and each would compile all that it imports, which takes longer than all else that a start does.
    """
    if sys.dont_write_bytecode and config.cache is not None:
        sys.pycache_prefix = os.environ["PYTHONPYCACHEPREFIX"] = str(config.cache.mkdir("bytecode"))
        sys.dont_write_bytecode = False
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        is_drawn = isinstance(item, pytest.Function) and hypothesis.is_hypothesis_test(item.obj)
        is_in_both = is_drawn and not is_quick(config)
        if is_in_both or item.nodeid.startswith(SLOW) or item.get_closest_marker("simulation"):
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """What the tests are made of is no garbage: to look through it again and again took an eighth of all the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(3_000, 10, 10)
