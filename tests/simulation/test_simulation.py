"""The simulator's seeds: 9 in every run of the tests, 500 by `-m simulation`."""

from __future__ import annotations

import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from pit.types import OrderState
from pitd.core import corrections, failing, statuses, trading
from pitd.core.adjustments import Adjustments
from pitd.core.currency import PAR
from pitd.core.kills import Cancels
from pitd.core.limits import Limit
from pitd.core.orders import LIFECYCLE, MODIFY_LIFECYCLE
from pitd.core.pipeline import Pipeline
from pitd.core.policy import Attempt
from simulation import shrink, weather, world
from simulation.daemon import DEATHS, Daemon
from simulation.model import Broken, Model
from simulation.orders import MODIFY_TABLE, TABLE

TESTS = Path(__file__).parent.parent


def check(seed: int) -> world.Told:
    """Runs a seed. A failure says how to see it alone, made as small as it gets."""
    sky = weather.draw(seed)
    told = world.run(seed, sky)
    if told.trouble:
        small, less = shrink.shrink(seed, sky)
        pytest.fail(f"{told.trouble}\n\nfrom the tests folder: {shrink.command_of(seed, small)}\nthere: {less.trouble}")
    return told


@pytest.mark.parametrize("first", range(0, 9, 3))
def test_in_any_weather_nothing_is_lost_and_nothing_counted_twice(first):
    for seed in range(first, first + 3):
        check(seed)


@pytest.mark.simulation
@pytest.mark.parametrize("first", range(0, 500, 50))
def test_five_hundred_seeds(first):
    for seed in range(first, first + 50):
        check(seed)


ROUGH = """
killed|I/O error|disk: full|stands still|dies (by chance)|late=True|quarantined|poison
power cut: rows|is torn|was never there|other limits|Rearm(limit='desk_loss'|volume=
the day is over|all_or_none=True|venue: replaced|venue: replace_rejected|venue: cancel_rejected|venue: bust
venue: correct|SettleModify|is to cancel|killer: is to cancel|CancelAll|state=<TradingState.REDUCING|CloseOrder
Adjusted(|LimitSet(|ClearLimit(|DropCopied(|says Status(|InsufficientFunds|InsufficientPosition|Renew(
ConcentrationLimitExceeded|policy='exposure_limit'|policy='position_limit'|policy='spot_funds'
policy='open_order_limit'|MarkPriceUnavailable|other limits, strict
limit='open_client'|limit='open_all'|limit='desk_loss'|limit='failed:flaky'|told in part
"""
SEEN = tuple(what for line in ROUGH.strip().splitlines() for what in line.split("|"))


def test_the_weather_is_bad_enough():
    """What the other promises are worth hangs on what they have seen."""
    seen = dict.fromkeys((*SEEN, *DEATHS), 0)
    for seed in range(500):
        lines: list[str] = []
        world.run(seed, weather.draw(seed), out=lines.append)
        for what in seen:
            seen[what] += sum(what in line for line in lines)
        if seed >= 60 and all(seen.values()):
            break
    assert all(seen.values()), seen


def test_the_same_rows_and_answers_come_of_a_seed_under_any_hash_seed():
    digests = {_digests("1"), _digests("4242")}
    assert len(digests) == 1
    assert len(digests.pop().splitlines()) == 12


def _digests(hash_seed: str) -> str:
    command = [sys.executable, "-m", "simulation", "--first", "100", "--seeds", "12", "--digests"]
    path = os.pathsep.join((str(TESTS), str(TESTS.parent), *filter(None, sys.path)))
    env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": path}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=100, check=True).stdout


def test_the_model_and_the_engine_have_the_same_states():
    assert {state for _, state in TABLE} == set(OrderState)
    assert {event for event, _ in TABLE} == {
        {"alive_report": "alive", "final_report": "final"}.get(event, event) for event in LIFECYCLE if event != "take"
    }, "no gateway is simulated"
    assert {state for _, state in MODIFY_TABLE} == set(OrderState)
    assert {event for event, _ in MODIFY_TABLE} == set(MODIFY_LIFECYCLE)


def test_a_failing_seed_is_shrunk_to_what_still_fails(monkeypatch):
    real = Model.row

    def forgets_fills(model, row):
        real(model, row)
        if any(kept.filled for kept in model.by_id.values()):
            raise Broken("a fill")

    monkeypatch.setattr(Model, "row", forgets_fills)
    sky = weather.draw(3)
    assert "a fill" in world.run(3, sky).trouble
    small, told = shrink.shrink(3, sky)
    assert "a fill" in told.trouble
    assert set(small.without) == set(weather.KINDS)
    assert small.intents < sky.intents
    assert world.run(3, small).trouble == told.trouble


def test_a_reply_that_leaves_before_its_row_is_kept_is_found_out(monkeypatch):
    """The simulator fails where the daemon does: the kernel of its worth."""

    def kept_too_late(daemon):
        release = daemon.sequencer.release
        daemon.sequencer.release = lambda: None
        try:
            real(daemon)
        finally:
            daemon.sequencer.release = release
        if daemon.is_up:
            daemon._world.after(3_000_000, release)

    real = Daemon._one_batch
    monkeypatch.setattr(Daemon, "_one_batch", kept_too_late)
    assert any(world.run(seed, weather.draw(seed)).trouble for seed in range(3))


MISTAKES = {
    "a modify counts by its new terms alone": (Pipeline, "worse", lambda pipeline, old, new: new),
    "a restart forgets what is to be cancelled": (Cancels, "load", lambda cancels, image: None),
    "an adjustment is not known again": (Adjustments, "find", lambda adjustments, client, id: None),
    "a correction that leaves something out has none of it": (corrections, "_whole", lambda report, fill: report),
    "an order counts in the firm's currency what it is in its own": (Attempt, "rate_of", lambda attempt, asset: PAR),
    "a limit by client counts all for one": (Limit, "scope", lambda limit, *names: limit.subject),
    "a switch that lets pass what reduces stops everything": (trading, "stops", lambda stop, weigh: True),
    "a control that fails is passed over": (failing, "_reach", lambda policy, shadows: ()),
    "a status counts beside its fills": (statuses, "absorbed", lambda record, report: Decimal(0)),
}


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_of_the_daemon_is_found_out(monkeypatch, mistake):
    monkeypatch.setattr(*MISTAKES[mistake])
    assert any(world.run(seed, weather.draw(seed)).trouble for seed in range(60))
