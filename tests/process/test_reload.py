"""A running daemon takes up a changed configuration: all or nothing, without losing a counter or a client."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import fill, money, order
from daemon import PATIENCE_S, Daemon, running, until
from manager import managed
from process.test_systemd import Trader

import pit
from pit import wire


def limits(quantity: int = 500, orders: int = 1_000, notional: int = 100_000) -> str:
    return f"""
[clients."*"]
roles = ["trade", "report"]

[clients.ops]
roles = ["operate"]
[limits]
size = {{ control = "order_size_limit", each = "account", settlement = "USD", max_quantity = "{quantity}" }}
rate = {{ control = "rate_limit", each = "account", max_orders = {orders}, window = "1h" }}
open_usd = {{ control = "open_order_notional", each = "account", settlement = "USD", max_notional = "{notional}" }}
loss = {{ control = "pnl_kill_switch", each = "account", settlement = "USD", max_loss = "1000" }}
"""


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with running(limits()) as one:
        yield one


def rewrite(daemon: Daemon, text: str) -> None:
    """Leaves the lines that say where the daemon is and where its journal is."""
    head = "\n".join(daemon.config.read_text(encoding="utf-8").splitlines()[:2])
    daemon.config.write_text(f"{head}\n{text}", encoding="utf-8")


def hang_up(daemon: Daemon, *, until_said: str = "config.reloaded") -> str:
    """Has it read its files again by the signal: what it logged since."""
    before = len(daemon.log())
    os.kill(daemon.pid, signal.SIGHUP)
    until(lambda: until_said in daemon.log()[before:], until_said)
    return daemon.log()[before:]


def counters(ops: pit.Engine) -> dict[str, str]:
    page = ops.ask(wire.ListLimits())
    assert isinstance(page, wire.LimitsAre)
    return {f"{each.limit} {each.scope}": f"{each.used} of {each.bound}" for each in page.limits}


def is_taken(engine: pit.Engine, quantity: int) -> bool:
    return bool(engine.execute_pre_trade(order(quantity=quantity, price=1)))


# ---------------------------------------------------------------------------------------------- by the signal


def test_a_hang_up_puts_changed_limits_into_force_and_keeps_what_was_counted(daemon: Daemon) -> None:
    with daemon.connect("mm1") as engine, daemon.connect("ops") as ops:
        held = engine.execute_pre_trade(order(id="o1", quantity=100, price=10), sent=True)
        assert isinstance(held, pit.Reservation)
        held.commit()
        engine.apply_execution_report(fill("o1", 40))
        engine.apply_execution_report(money("o1", pnl="-60"))
        rewrite(daemon, limits(quantity=300, orders=7, notional=5_000))
        said = hang_up(daemon)
        assert "limits.size.max_quantity: 500, now 300" in said
        found = counters(ops)
        assert found["rate account alpha"] == "1 of 7"
        assert found["open_usd account alpha"] == "600 of 5000"
        assert found["loss account alpha"] == "60 of 1000"
        assert not is_taken(engine, 301) and is_taken(engine, 300)


def test_a_configuration_that_cannot_be_meant_leaves_everything_as_it_was(daemon: Daemon) -> None:
    with daemon.connect("mm1") as engine:
        rewrite(daemon, limits(quantity=300).replace('"1h"', "'1 h'"))
        said = hang_up(daemon, until_said="config.refused")
        assert f"{daemon.config}:" in said and "limits.rate.window" in said and "duration with its unit" in said
        assert is_taken(engine, 500)
        rewrite(daemon, limits(quantity=300))
        hang_up(daemon)
        assert not is_taken(engine, 500)


def test_what_cannot_change_while_it_runs_waits_and_the_rest_goes_on(daemon: Daemon) -> None:
    before = daemon.endpoint
    text = daemon.config.read_text(encoding="utf-8").replace("pitd.sock", "other.sock")
    daemon.config.write_text(text, encoding="utf-8")
    rewrite(daemon, "journal.keep = '5d'\n" + limits(quantity=300))
    said = hang_up(daemon)
    assert "daemon.endpoint" in said and "journal.keep" in said and "with the next start" in said
    assert daemon.endpoint == before
    with daemon.connect("mm1") as engine:
        assert not is_taken(engine, 500)


def test_a_drop_in_that_appears_is_read_too(daemon: Daemon) -> None:
    drop_in = Path(f"{daemon.config}.d", "50-tight.toml")
    drop_in.parent.mkdir()
    drop_in.write_text('[limits.size]\nmax_quantity = "5"\n', encoding="utf-8")
    hang_up(daemon)
    with daemon.connect("mm1") as engine:
        assert not is_taken(engine, 6)


def test_a_pipe_among_the_drop_ins_stops_nobody(daemon: Daemon) -> None:
    drop_in = Path(f"{daemon.config}.d", "50.toml")
    drop_in.parent.mkdir()
    os.mkfifo(drop_in)
    assert "is no plain file" in hang_up(daemon, until_said="config.refused")
    with daemon.connect("mm1") as engine:
        assert is_taken(engine, 500)


def test_roles_change_for_those_who_are_there(daemon: Daemon) -> None:
    with daemon.connect("mm1") as engine, daemon.connect("ops") as ops:
        rewrite(daemon, limits() + '[clients.mm1]\nroles = ["report"]\n')
        hang_up(daemon)
        with pytest.raises(pit.NotAuthorized, match='"trade"'):
            is_taken(engine, 1)
        assert "mm1" in str(ops.ask(wire.ListSessions()))


def test_a_reload_is_in_force_after_a_crash(daemon: Daemon) -> None:
    with daemon.connect("mm1") as engine:
        assert is_taken(engine, 500)
        rewrite(daemon, limits(quantity=300))
        hang_up(daemon)
        daemon.kill()
        daemon.start()
        assert not is_taken(engine, 500)


# ---------------------------------------------------------------------------------------------- by a person


def test_a_reload_by_a_person_answers_what_is_different_and_what_waits(daemon: Daemon) -> None:
    with daemon.connect("ops") as ops:
        assert ops.reload(reason="nothing new") == pit.ReloadResult()
        rewrite(daemon, "journal.keep = '5d'\n" + limits(quantity=300))
        told = ops.reload(reason="the new book")
    assert told.changes == ("limits.size.max_quantity: 500, now 300",)
    assert told.waiting == ("journal.keep: 2592000s, now 432000s, with the next start",)


def test_whom_a_tighter_bound_stops_at_once_is_told_before_and_with_it_and_in_the_log(daemon: Daemon) -> None:
    past = "loss trips as soon as it holds where the loss in USD is past 50: account alpha stands at 60"
    with daemon.connect("ops") as ops, daemon.connect("mm1") as mm1:
        mm1.apply_execution_report(money("x", "-60"))
        rewrite(daemon, limits().replace('"1000"', '"50"'))
        assert ops.reload_dry_run().past == (past,) and mm1.execute_pre_trade(order())
        assert past in hang_up(daemon, until_said="limits.past")
        assert not mm1.execute_pre_trade(order())


def test_a_refused_reload_answers_file_line_and_key_and_the_session_goes_on(daemon: Daemon) -> None:
    with daemon.connect("ops") as ops:
        rewrite(daemon, limits(quantity=-5))
        for _ in range(3):
            with pytest.raises(
                pit.InvalidInput, match=r"pitd\.toml:\d+: limits\.size\.max_quantity: write it as a pos"
            ):
                ops.reload(reason="a slip")
        rewrite(daemon, limits(quantity=5))
        assert len(ops.reload(reason="mended").changes) == 1
        with pytest.raises(pit.InvalidInput, match="reason"):
            ops.reload(reason=" ")


def test_what_was_set_by_hand_outlives_reloads_and_a_crash_until_it_is_cleared(daemon: Daemon) -> None:
    with daemon.connect("mm1") as engine, daemon.connect("ops") as ops:
        ops.set_limit("size", {"max_quantity": 900}, reason="the roll")
        ops.set_limit("rate", {"max_orders": 2_000}, reason="the roll", lasts_s=3_600)
        rewrite(daemon, limits(orders=1_500))
        (told,) = ops.reload(reason="more orders").disagreements
        assert "1500 is configured by now" in told and "holds: 1500" in told
        assert is_taken(engine, 900)
        daemon.kill()
        daemon.start()
        assert "limits.disagree" in daemon.log()
        assert is_taken(engine, 900)
        assert [(each.key, each.in_force) for each in ops.limit_overrides()] == [
            ("max_orders", "1500"),
            ("max_quantity", "900"),
        ]
        ops.clear_limit("size", reason="the roll is over")
        assert not is_taken(engine, 900)


def test_what_was_set_for_a_while_is_over_when_the_daemon_was_away_meanwhile(daemon: Daemon) -> None:
    with daemon.connect("mm1") as engine, daemon.connect("ops") as ops:
        ops.set_limit("size", {"max_quantity": 900}, reason="for a moment", lasts_s=0.5)
        daemon.kill()
        threading.Event().wait(0.6)
        daemon.start()
        assert not is_taken(engine, 900)
        assert "limits.override_ended" in daemon.log()


def check_config(daemon: Daemon, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pitd.cli", "check-config", "--config", str(daemon.config), "--diff", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_check_config_says_what_a_reload_would_change(daemon: Daemon) -> None:
    with daemon.connect("ops") as ops:
        ops.set_limit("size", {"max_quantity": 400}, reason="a quiet day")
        done = check_config(daemon, "--name", "ops")
        assert (done.returncode, done.stderr) == (0, "") and "nothing is different" in done.stdout
        rewrite(daemon, "journal.keep = '5d'\n" + limits(quantity=300))
        done = check_config(daemon, "--name", "ops")
        assert done.returncode == 1
        assert "limits.size.max_quantity: 500, now 300" in done.stdout
        assert "journal.keep: 2592000s, now 432000s, with the next start" in done.stdout
        assert "set by hand: size max_quantity: 300 is configured by now" in done.stdout
        assert [each.base for each in ops.limit_overrides()] == ["500"], "it only looks"
        done = check_config(daemon, "--name", "nobody")
        assert done.returncode == 78 and "[clients.nobody] roles" in done.stderr


# ---------------------------------------------------------------------------------------------- the manager, and load


def test_the_manager_hears_of_a_reload_and_that_it_is_over_whether_it_was_good_or_not() -> None:
    with managed(limits(), is_held=False) as one:
        one.start()
        for text, said in ((limits(quantity=3), "config.reloaded"), ("[lim", "config.refused")):
            rewrite(one, text)
            one.told.forget()
            hang_up(one, until_said=said)
            until(lambda: "READY=1" in one.told.heard(), "READY=1")
            heard = one.told.heard()
            assert heard[0] == "RELOADING=1" and heard[1].startswith("MONOTONIC_USEC=")
            assert heard.index("READY=1") > heard.index("STATUS=reloading")


def test_a_manager_that_does_not_read_keeps_no_client_waiting() -> None:
    """Its queue is full after some words; what does not fit is lost, and told in the log."""
    with managed(limits(), is_held=False) as one:
        one.start()
        with one.connect("ops") as ops:
            began = time.monotonic()
            for _ in range(100):
                ops.reload(reason="again")
            taken_s = time.monotonic() - began
        assert "systemd.notify_failed" in one.log()
        assert taken_s < 100, "it waited a second for every word"


def test_traders_notice_nothing_of_reloads() -> None:
    with managed(limits(quantity=500, orders=1_000_000, notional=10_000_000)) as one:
        one.start()
        traders = [Trader(one, f"mm{at}") for at in range(4)]
        for trader in traders:
            trader.start()
        try:
            for at in range(10):
                seen = [trader.calls for trader in traders]
                rewrite(one, limits(quantity=500 - at, orders=1_000_000 - at, notional=10_000_000))
                hang_up(one)
                one.told.forget()
                rewrite(one, "[limits\n")
                hang_up(one, until_said="config.refused")
                until(
                    lambda seen=seen: all(  # type: ignore[misc]
                        trader.troubles or trader.calls > before + 10
                        for trader, before in zip(traders, seen, strict=True)
                    ),
                    "everybody to trade",
                )
        finally:
            for trader in traders:
                trader.should_end.set()
            for trader in traders:
                trader.join(PATIENCE_S * 2)
        assert [trader.troubles for trader in traders] == [[]] * 4
        for trader in traders:
            with one.connect(trader.name) as engine:
                working = sorted(each.order.id for each in engine.open_orders())
            assert working == sorted(trader.committed), "no order lost, none doubled"
        rewrite(one, limits(quantity=481, orders=1_000_000, notional=10_000_000))
        with one.connect("ops") as ops:
            found = counters(ops)
            calls = sum(len(trader.committed) for trader in traders)
            used = sum(int(each.split()[0]) for name, each in found.items() if name.startswith("open_usd"))
            assert used == calls, "each of them is one at one, and every reload has kept its count"
