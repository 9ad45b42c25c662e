"""A kill that acts, with real processes: the strategy that hears it cancels; for one that hangs the gateway does."""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import money, order, report
from daemon import PATIENCE_S, Daemon, running, until

import pit
from pitd import operator

SETTINGS = """
[gate]
cancel_within = "500ms"

[clients."*"]
roles = ["trade", "report"]

[clients.fix]
roles = ["cancel", "report"]

[clients.ops]
roles = ["operate", "report"]

[accounts.alpha]
[limits]
loss = { control = "pnl_kill_switch", over = "firm", settlement = "USD", max_loss = "1000" }
"""


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with running(SETTINGS) as one:
        yield one


@contextlib.contextmanager
def hung(daemon: Daemon) -> Iterator[subprocess.Popen[str]]:
    """A process of the client `hung` whose order `hanging` works, and that does nothing any more."""
    script = Path(__file__).with_name("hung_strategy.py")
    with subprocess.Popen([sys.executable, str(script), daemon.endpoint], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "working\n"
            yield process
        finally:
            process.kill()


def working(engine: pit.Engine, id: str) -> None:
    held = engine.execute_pre_trade(order(id=id), sent=True)
    assert isinstance(held, pit.Reservation)
    held.commit(venue_order_id=f"v-{id}")


def heard(engine: pit.Engine) -> list[str]:
    """As a strategy's own loop would hear it: by the descriptor."""
    found: list[str] = []
    while not found and select.select([engine.fileno()], [], [], PATIENCE_S)[0]:
        found = sorted(each.order.id for each in engine.poll())
    return found


def cancels(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> dict[str, bool]:
    """What `pitctl cancels` shows as still to be confirmed: whether it is late, by order."""
    assert operator.main(["cancels", "--json", "--endpoint", daemon.endpoint, "--name", "ops"]) == 0
    told = json.loads(capsys.readouterr().out)["cancels"]
    return {each["request"]["order"]["id"]: each["is_late"] for each in told}


def test_the_one_that_hears_cancels_the_hung_one_is_cancelled_by_the_gateway_and_the_last_one_is_tracked(
    daemon: Daemon, capsys: pytest.CaptureFixture[str]
) -> None:
    with daemon.connect("mm1") as mm1, daemon.connect("fix") as fix, hung(daemon):
        working(mm1, "mine")
        assert mm1.poll() == [] and fix.poll() == []
        mm1.apply_execution_report(money("none", pnl="-1000"))
        assert heard(mm1) == ["mine"]
        mm1.apply_execution_report(report("cancelled", order_id="mine"))
        assert heard(fix) == ["hanging"]
        assert cancels(daemon, capsys) == {"hanging": True}
        fix.apply_execution_report(report("cancelled", venue_order_id="v-hanging"))
        assert cancels(daemon, capsys) == {}
        assert fix.poll() == []


def test_what_is_asked_for_outlives_the_daemon_and_who_waits_hears_it_again(daemon: Daemon) -> None:
    with daemon.connect("mm1") as mm1, daemon.connect("fix") as fix:
        working(mm1, "mine")
        assert fix.poll() == []
        mm1.apply_execution_report(money("none", pnl="-1000"))
        daemon.kill()
        daemon.start()
        assert [each.order.id for each in mm1.poll(wait_s=PATIENCE_S)] == ["mine"]
        assert [each.order.id for each in fix.poll(wait_s=PATIENCE_S)] == ["mine"]
        fix.apply_execution_report(report("cancelled", order_id="mine"))
    with daemon.connect("mm1") as again:
        assert again.poll() == []


def test_the_orders_of_a_dead_client_go_to_the_gateway_at_once(daemon: Daemon) -> None:
    with daemon.connect("fix") as fix, daemon.connect("ops") as ops, hung(daemon) as process:
        process.kill()
        process.wait(PATIENCE_S)
        until(lambda: "session.ended" in daemon.log(), "the death to be noticed")
        assert ops.cancel_all("firm", "a drill") == 1
        [request] = fix.poll(wait_s=PATIENCE_S)
        assert (request.client, request.limit, request.author, request.reason) == (
            *("hung", "cancel_all"),
            *("ops", "a drill"),
        )
        fix.apply_execution_report(report("cancelled", venue_order_id="v-hanging"))


def test_a_person_asks_by_pitctl(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    with daemon.connect("mm1") as mm1:
        working(mm1, "mine")
        words = ["--endpoint", daemon.endpoint, "--name", "ops", "--yes"]
        assert operator.main(["halt", "account", "alpha", "--keep-orders", "--reason", "a look", *words]) == 0
        assert mm1.poll() == []
        assert operator.main(["cancel-all", "account", "alpha", "--reason", "a drill", *words]) == 0
        assert "is to be cancelled" in capsys.readouterr().out
        assert heard(mm1) == ["mine"]
        assert cancels(daemon, capsys) == {"mine": False}
