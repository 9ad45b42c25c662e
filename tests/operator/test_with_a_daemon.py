"""pitctl beside a real daemon: roles, the journal's answers, exit codes, and pages over a socket."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from builders import order
from daemon import Daemon, running, until
from process.raw import Raw

import pit
from pit import wire

LIMITS = """
[clients."*"]
roles = ["trade", "report"]

[clients.ops]
roles = ["operate"]
[limits]
size = { control = "order_size_limit", each = "account", settlement = "USD", max_quantity = "500" }
open_usd = { control = "open_order_notional", each = "account", settlement = "USD", max_notional = "50000" }
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running(LIMITS) as one:
        yield one


def pitctl(daemon: Daemon, *words: str, name: str = "ops") -> subprocess.CompletedProcess[str]:
    where = ["--endpoint", daemon.endpoint, "--name", name, "--timeout", "20"]
    return subprocess.run(
        [sys.executable, "-m", "pitd.operator", *words, *where],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )


def read(daemon: Daemon, *words: str) -> Any:
    done = pitctl(daemon, *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_client_without_the_role_is_told_the_mend_and_changes_nothing(daemon: Daemon) -> None:
    for role, words in (("observe", ["sessions"]), ("operate", ["block", "firm", "--reason", "stop", "--yes"])):
        done = pitctl(daemon, *words, name="nobody")
        assert done.returncode == 77
        assert f'[clients.nobody] roles = [..., "{role}"]' in done.stderr
    assert read(daemon, "blocks")["blocks"] == []


def test_anybody_may_ask_whether_it_is_ready_and_how_it_is(daemon: Daemon) -> None:
    for command in ("ping", "isready", "status"):
        assert pitctl(daemon, command, name="nobody").returncode == 0


def test_the_kernel_tells_of_the_death_of_a_client_of_this_machine(daemon: Daemon) -> None:
    with daemon.connect("mm1"):
        found = {each["client"]: each for each in read(daemon, "sessions")["sessions"]}
    assert found["mm1"]["noticed_by"] == "kernel" and found["mm1"]["roles"] == ["report", "trade"]


def test_why_shows_the_numbers_of_a_refusal(daemon: Daemon) -> None:
    with daemon.connect("mm1") as engine:
        assert not engine.execute_pre_trade(order(id="big", quantity="501"))
    told = read(daemon, "why", "big", "--account", "alpha")
    (reject,) = told["rejects"]
    assert not told["is_accepted"] and told["client"] == "mm1" and told["outcome"] is None
    assert (reject["limit"], reject["requested"], reject["bound"]) == ("size", "501", "500")
    shown = pitctl(daemon, "why", "big", "--account", "alpha").stdout
    assert "refused" in shown and "501" in shown and "500" in shown


def test_why_shows_what_was_counted_for_an_accepted_order_and_what_became_of_it(daemon: Daemon) -> None:
    with daemon.connect("mm1") as engine:
        held = engine.execute_pre_trade(order(id="good"), sent=True)
        assert isinstance(held, pit.Reservation)
        held.rollback(reason="venue refused")
    told = read(daemon, "why", "good", "--account", "alpha")
    assert told["is_accepted"] and told["outcome"]["reason"] == "venue refused"
    (hold,) = told["holds"]
    assert hold["control"] == "open_order_notional" and "1000" in hold["effect"]


def test_why_of_an_order_that_never_came_says_so(daemon: Daemon) -> None:
    done = pitctl(daemon, "why", "never", "--account", "alpha")
    assert done.returncode == 1 and "never" in done.stderr


def test_a_change_is_journaled_with_who_and_why(daemon: Daemon) -> None:
    assert pitctl(daemon, "block", "account", "gamma", "--reason", "lost its way").returncode == 0
    (block,) = read(daemon, "blocks")["blocks"]
    assert (block["author"], block["reason"]) == ("ops", "lost its way")
    assert pitctl(daemon, "unblock", "account", "gamma", "--reason", "found it again", "--yes").returncode == 0
    rows = subprocess.run(
        [sys.executable, "-m", "pitd.cli", "journal", "tail", "--config", str(daemon.config)],
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout
    assert "lost its way" in rows and "found it again" in rows


def test_what_is_dangerous_is_not_done_where_nobody_can_be_asked(daemon: Daemon) -> None:
    done = pitctl(daemon, "block", "firm", "--reason", "all stop")
    assert done.returncode == 1 and "--yes" in done.stderr
    assert read(daemon, "blocks")["blocks"] == []


def test_an_operator_gets_through_when_the_table_of_sessions_is_full() -> None:
    with running("daemon.max_sessions = 1\n" + LIMITS) as full, full.connect("mm1"):
        with pytest.raises(pit.CapacityExceeded):
            full.connect("mm2")
        assert {each["client"] for each in read(full, "sessions")["sessions"]} == {"mm1"}
        assert pitctl(full, "halt", "firm", "--reason", "full", "--yes").returncode == 0
        with full.connect("ops"):
            assert {each["client"] for each in read(full, "sessions")["sessions"]} == {"mm1", "ops"}


def test_isready_tells_a_daemon_that_is_gone_from_one_that_refuses(daemon: Daemon) -> None:
    with running(LIMITS) as other:
        assert pitctl(other, "isready").returncode == 0
        other.stop()
        until(other.has_ended)
        done = subprocess.run(
            [sys.executable, "-m", "pitd.operator", "isready", "--endpoint", other.endpoint, "--timeout", "0.2"],
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 2 and "no answer" in done.stdout


def test_isready_says_by_its_own_exit_codes_that_this_client_is_not_answered() -> None:
    with running('[clients.ops]\nroles = ["operate"]\n') as other:
        assert pitctl(other, "isready").returncode == 0
        done = pitctl(other, "isready", name="who")
        assert done.returncode == 2
        assert "no client is named who" in done.stdout and "give --name of a client that is listed" in done.stdout
        told = pitctl(other, "isready", "--json", name="who")
        assert told.returncode == 2 and json.loads(told.stdout)["is_ready"] is False
        assert pitctl(other, "status", name="who").returncode == 77


def test_shutdown_ends_the_daemon_tidily_and_says_who_and_why() -> None:
    with running(LIMITS) as other:
        with other.connect("mm1") as engine:
            held = engine.execute_pre_trade(order(id="kept"), sent=True)
            assert isinstance(held, pit.Reservation)
            held.commit()
        assert pitctl(other, "shutdown", "--reason", "an upgrade").returncode == 1, "nobody could be asked"
        told = read(other, "shutdown", "--reason", "an upgrade", "--yes")
        assert (told["actor"], told["reason"], told["pid"]) == ("ops", "an upgrade", other.pid)
        until(other.has_ended)
        assert other.stop() == 0
        assert "daemon.shutdown" in other.log() and "reason='an upgrade'" in other.log().replace('"', "'")
        other.start()
        assert [each["order_id"] for each in read(other, "orders")["orders"]] == ["kept"]
        rows = subprocess.run(
            [sys.executable, "-m", "pitd.cli", "journal", "tail", "--config", str(other.config)],
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout
        assert "ops" in rows and "shutdown (an upgrade)" in rows


def test_shutdown_asked_again_under_the_same_number_does_not_end_the_next_daemon() -> None:
    with running(LIMITS) as other, Raw(other.endpoint) as raw:
        token = b"t" * 16
        assert isinstance(raw.hello("ops", token=token), wire.Welcome)
        command = wire.ShutDown("an upgrade")
        assert isinstance(raw.command(command), wire.Done)
        until(other.has_ended)
        other.start()
        with Raw(other.endpoint) as again:
            assert isinstance(again.hello("ops", token=token, session=raw.session), wire.Welcome)
            assert isinstance(again.command(command, number=1), wire.Done)
            assert again.seq() and not other.has_ended()


def test_nobody_but_an_operator_shuts_a_daemon_down(daemon: Daemon) -> None:
    assert pitctl(daemon, "shutdown", "--reason", "mischief", "--yes", name="nobody").returncode == 77
    assert pitctl(daemon, "ping").returncode == 0
