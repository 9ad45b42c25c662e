"""A daemon that dies and comes back: what it knew is there again, and its clients go on by themselves."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import builders
import pytest
from daemon import PATIENCE_S, Daemon, running, until

import pit

SETTINGS = """
[gate]
unknown_accounts = "allow"
min_lease = "200ms"

[clients."*"]
roles = ["trade", "report"]

[clients.ops]
roles = ["trade", "report", "operate"]

[accounts.alpha]
group = "eq"

[limits.open_usd]
control = "open_order_notional"
each = "account"
settlement = "USD"
max_notional = "10000"

[limits.pace]
control = "rate_limit"
each = "account"
accounts = ["paced"]
max_orders = 4
window = "1h"

[limits.loss]
control = "pnl_kill_switch"
each = "account"
settlement = "USD"
max_loss = "100"
"""


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with running(SETTINGS) as running_one:
        yield running_one


def restarted(daemon: Daemon, settings: str | None = None) -> None:
    daemon.kill()
    if settings is not None:
        own = f'daemon.endpoint = "{daemon.endpoint}"\njournal.directory = "{daemon.folder}/journal"\n'
        daemon.config.write_text(own + settings, encoding="utf-8")
    daemon.start()


def hold(engine: pit.Engine, *, sent: bool = False, lease_s: float = 60, **fields: Any) -> pit.Reservation:
    held = engine.execute_pre_trade(builders.order(**fields), sent=sent, lease_s=lease_s)
    assert isinstance(held, pit.Reservation), str(held)
    _held.append(held)
    return held


_held: list[pit.Reservation] = []
"""A reservation that nobody keeps is given back with the next call."""


def refused(engine: pit.Engine, **fields: Any) -> pit.Rejected:
    answer = engine.execute_pre_trade(builders.order(**fields))
    assert isinstance(answer, pit.Rejected), answer
    return answer


# ---------------------------------------------------------------------------------------------- what comes back


def test_orders_come_back_as_they_were(daemon: Daemon) -> None:
    with daemon.connect("mm1") as engine:
        hold(engine, id="held")
        hold(engine, id="sent", sent=True)
        hold(engine, id="quarantined", sent=True).quarantine()
        hold(engine, id="working", quantity=3).commit(venue_order_id="V1")
        engine.apply_execution_report(builders.fill("working", "1"))
        before = [(each.order, each.state, each.open_quantity, each.venue_order_id) for each in engine.open_orders()]
        restarted(daemon)
        after = [(each.order, each.state, each.open_quantity, each.venue_order_id) for each in engine.open_orders()]
        assert after == before
        assert len(after) == 4


def test_a_clean_restart_is_no_different(daemon: Daemon) -> None:
    with daemon.connect("mm1") as engine:
        hold(engine, id="working").commit()
        assert daemon.stop() == 0
        daemon.start()
        assert "rows=0" in daemon.log(), "it began with a snapshot"
        assert [each.order.id for each in engine.open_orders()] == ["working"]


def test_what_is_counted_comes_back(daemon: Daemon) -> None:
    with daemon.connect("mm1") as engine:
        hold(engine, quantity=60).commit()
        restarted(daemon)
        no = refused(engine, quantity=60)
        assert no.limit == "open_usd"
        assert str(no.used) == "6000"
        hold(engine, quantity=40)


def test_rate_windows_come_back(daemon: Daemon) -> None:
    with daemon.connect("mm1") as engine:
        for _ in range(3):
            hold(engine, account="paced", quantity=1)
        restarted(daemon)
        hold(engine, account="paced", quantity=1)
        assert refused(engine, account="paced", quantity=1).code is pit.RejectCode.RATE_LIMIT_EXCEEDED


def test_latches_blocks_and_pnl_come_back(daemon: Daemon) -> None:
    with daemon.connect("mm1") as engine, daemon.connect("ops") as ops:
        engine.apply_execution_report(builders.money("x", -60, account="alpha"))
        engine.apply_execution_report(builders.money("y", -100, account="beta"))
        ops.block("account gamma", "a look")
        restarted(daemon)
        assert refused(engine, account="beta").code is pit.RejectCode.PNL_KILL_SWITCH_TRIGGERED
        assert refused(engine, account="gamma").code is pit.RejectCode.ACCOUNT_BLOCKED
        hold(engine, account="alpha", quantity=1)
        engine.apply_execution_report(builders.money("z", -40, account="alpha"))
        assert refused(engine, account="alpha").code is pit.RejectCode.PNL_KILL_SWITCH_TRIGGERED
        ops.rearm("loss", "account beta", 50, "looked")
        ops.unblock("account gamma", "looked")
        hold(engine, account="beta", quantity=1)
        hold(engine, account="gamma", quantity=1)


def test_what_was_held_is_still_held_and_its_lease_gets_one_more_length(daemon: Daemon) -> None:
    with daemon.connect("mm1") as engine:
        held = hold(engine, lease_s=3)
        daemon.kill()
        time.sleep(3.2)
        daemon.start()
        assert [each.state for each in engine.open_orders()] == [pit.OrderState.HELD]
        held.commit()
        assert [each.state for each in engine.open_orders()] == [pit.OrderState.WORKING]


def test_a_lease_that_nobody_keeps_ends_after_a_restart_too(daemon: Daemon) -> None:
    with daemon.connect("mm1") as engine:
        hold(engine, lease_s=0.5)
        hold(engine, lease_s=0.5, sent=True)
        restarted(daemon)
        until(lambda: [each.state for each in engine.open_orders()] == [pit.OrderState.QUARANTINED], "them to end")


# ---------------------------------------------------------------------------------------------- clients


def test_the_same_engine_goes_on_over_many_restarts(daemon: Daemon) -> None:
    with daemon.connect("mm1") as engine:
        for at in range(5):
            hold(engine, quantity=1, id=f"o{at}").commit()
            restarted(daemon)
        assert [each.order.id for each in engine.open_orders()] == [f"o{at}" for at in range(5)]


def test_a_command_sent_during_the_gap_is_answered_once_the_daemon_is_back(daemon: Daemon) -> None:
    with daemon.connect("mm1", timeout_s=PATIENCE_S) as engine:
        hold(engine, quantity=1)
        daemon.kill()
        later = threading.Timer(0.7, daemon.start)
        later.start()
        try:
            hold(engine, quantity=1)
        finally:
            later.join()
        assert len(engine.open_orders()) == 2


def test_a_command_during_a_long_gap_ends_in_unavailable_at_its_deadline(daemon: Daemon) -> None:
    with daemon.connect("mm1", timeout_s=0.5) as engine:
        hold(engine, quantity=1)
        daemon.kill()
        until(lambda: not answers(engine), "it to see that nobody is there")
        with pytest.raises(pit.Unavailable, match="nothing was sent"):
            hold(engine, quantity=1)
        daemon.start()
        engine.timeout_s = PATIENCE_S
        hold(engine, quantity=1)
        assert len(engine.open_orders()) == 2, "what could not be sent never happened"


def test_a_command_cut_off_by_the_death_is_unknown_and_then_known(daemon: Daemon) -> None:
    with daemon.connect("mm1", timeout_s=0.5) as engine:
        hold(engine, quantity=1)
        daemon.freeze()
        with pytest.raises(pit.OutcomeUnknown) as unknown:
            hold(engine, quantity=1, id="cut off")
        assert unknown.value.order_id == "cut off"
        daemon.kill()
        daemon.start()
        engine.timeout_s = PATIENCE_S
        with contextlib.suppress(pit.UnknownId):
            assert engine.outcome("alpha", "cut off").state is pit.OrderState.HELD
        hold(engine, quantity=1)
        assert len(engine.open_orders()) in (2, 3)


def test_a_client_that_died_during_the_gap_loses_what_it_held(daemon: Daemon) -> None:
    script = (
        "import sys, time, builders, pit\n"
        "engine = pit.connect('mm1', sys.argv[1], timeout_s=20)\n"
        "held = engine.execute_pre_trade(builders.order(id='held'), lease_s=2)\n"
        "sent = engine.execute_pre_trade(builders.order(id='sent'), sent=True, lease_s=2)\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(Path(builders.__file__).parent), *path()))}
    client = subprocess.Popen([sys.executable, "-c", script, daemon.endpoint], stdout=subprocess.PIPE, env=environment)
    with client:
        assert client.stdout is not None and client.stdout.readline() == b"ready\n"
        daemon.kill()
        client.send_signal(signal.SIGKILL)
    daemon.start()
    with daemon.connect("ops") as ops:

        def states() -> list[pit.OrderState]:
            return [ops.outcome("alpha", id).state for id in ("held", "sent")]

        until(lambda: states() == [pit.OrderState.ROLLED_BACK, pit.OrderState.QUARANTINED], "its leases to end")


@pytest.mark.slow
def test_a_session_whose_client_died_during_the_gap_is_ended(daemon: Daemon) -> None:
    script = "import sys, pit, os, signal\npit.connect('mm1', sys.argv[1])\nos.kill(os.getpid(), signal.SIGKILL)\n"
    daemon.freeze()
    waiter = threading.Timer(0.5, daemon.thaw)
    waiter.start()
    subprocess.run([sys.executable, "-c", script, daemon.endpoint], check=False)
    waiter.join()
    daemon.kill()
    daemon.start()
    if "session.opened" in daemon.log():
        until(lambda: "session.ended client=mm1" in daemon.log(), "the session to end", 90)


def test_a_newer_session_fences_one_from_before_the_restart(daemon: Daemon) -> None:
    with daemon.connect("mm1") as old:
        hold(old, id="held")
        restarted(daemon)
        with daemon.connect("mm1") as new:
            until(lambda: new.outcome("alpha", "held").state is pit.OrderState.ROLLED_BACK, "it to be given back")
            with pytest.raises(pit.Fenced):
                hold(old)


# ---------------------------------------------------------------------------------------------- other settings


def test_changed_limits_hold_and_the_state_stays(daemon: Daemon) -> None:
    with daemon.connect("mm1") as engine:
        hold(engine, quantity=60).commit()
        for _ in range(3):
            hold(engine, account="paced", quantity=1)
        restarted(daemon, SETTINGS.replace('"10000"', '"7000"').replace("max_orders = 4", "max_orders = 2"))
        assert len(engine.open_orders()) == 4
        no = refused(engine, quantity=20)
        assert (str(no.used), str(no.bound)) == ("6000", "7000")
        hold(engine, quantity=10)
        no = refused(engine, account="paced", quantity=1)
        assert no.code is pit.RejectCode.RATE_LIMIT_EXCEEDED
        assert str(no.bound) == "2"


def test_a_lowered_rate_holds_after_a_clean_stop_as_well(daemon: Daemon) -> None:
    """The state comes from a snapshot then, with more attempts in it than the new limit counts."""
    with daemon.connect("mm1") as engine:
        for _ in range(4):
            hold(engine, account="paced", quantity=1)
        assert daemon.stop() == 0
        restarted(daemon, SETTINGS.replace("max_orders = 4", "max_orders = 2"))
        assert refused(engine, account="paced", quantity=1).code is pit.RejectCode.RATE_LIMIT_EXCEEDED


def test_a_limit_taken_away_binds_no_more_and_what_it_latched_can_be_lifted(daemon: Daemon) -> None:
    with daemon.connect("mm1") as engine, daemon.connect("ops") as ops:
        hold(engine, quantity=90).commit()
        engine.apply_execution_report(builders.money("x", -100, account="beta"))
        without = SETTINGS[: SETTINGS.index("[limits.open_usd]")] + SETTINGS[SETTINGS.index("[limits.pace]") :]
        without = without[: without.index("[limits.loss]")] + "[gate.x]\n"
        restarted(daemon, without.replace("[gate.x]\n", "").replace("[gate]", '[gate]\nuncovered = "allow"'))
        hold(engine, quantity=1_000)
        assert refused(engine, account="beta").code is pit.RejectCode.PNL_KILL_SWITCH_TRIGGERED
        ops.unblock("account beta", "its limit is gone")
        hold(engine, account="beta", quantity=1)


def test_an_instrument_that_changes_leaves_open_orders_alone(daemon: Daemon) -> None:
    declared = '[instruments.F]\nsettlement = "USD"\nkind = "linear"\nmultiplier = "{}"\n'
    restarted(daemon, SETTINGS + declared.format(10))
    with daemon.connect("mm1") as engine:
        hold(engine, instrument="F", quantity=5, id="old").commit()
        restarted(daemon, SETTINGS + declared.format(20))
        no = refused(engine, instrument="F", quantity=5)
        assert (str(no.used), str(no.requested)) == ("5000", "10000")
        engine.apply_execution_report(builders.fill("old", "5"))
        hold(engine, instrument="F", quantity=5)


def test_exit_codes(daemon: Daemon) -> None:
    assert daemon.kill() == -signal.SIGKILL
    daemon.start()
    assert daemon.stop() == 0
    daemon.config.write_text(f'daemon.endpoint = "{daemon.endpoint}"\nlimits.x = 1\n', encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pitd.cli", "run", "--config", str(daemon.config)], capture_output=True, check=False
    )
    assert done.returncode == 78


def answers(engine: pit.Engine) -> bool:
    try:
        engine.ping()
    except pit.Unavailable:
        return False
    return True


def path() -> list[str]:
    return [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
