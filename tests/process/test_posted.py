"""Posted commits and the end of things: a process that ends, a daemon that hangs or dies, a session that is fenced."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from daemon import PATIENCE_S, Daemon, running, until

import pit
from pit import OrderState

SETTINGS = """
[gate]
uncovered = "allow"
[clients."*"]
[clients.ops]
roles = ["operate"]
"""

ENDS = """
import asyncio, sys, pit
order = pit.Order(account="alpha", instrument=pit.Instrument("AAPL", "USD"), side="buy", quantity=1, price=1, id="it")

def about_to():
    if len(sys.argv) > 3:
        print("about to", flush=True)
        sys.stdin.readline()

def blocking():
    held = engine.execute_pre_trade(order, sent=True, lease_s=60)
    about_to()
    held.commit(wait=False)

async def tasks():
    global engine
    engine = await pit.connect_async("mm1", sys.argv[2], timeout_s=20)
    held = await engine.execute_pre_trade(order, sent=True, lease_s=60)
    about_to()
    await held.commit(wait=False)

if sys.argv[1] == "blocking":
    engine = pit.connect("mm1", sys.argv[2], timeout_s=20)
    blocking()
else:
    asyncio.run(tasks())
"""
"""Posts a commit as its last word. With one more argument it says that it is about to, and waits for a line."""


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with running(SETTINGS) as daemon:
        yield daemon


def an_order() -> pit.Order:
    return pit.Order(account="alpha", instrument=pit.Instrument("AAPL", "USD"), side="buy", quantity=1, price=1)


def posted(engine: pit.Engine) -> pit.Reservation:
    held = engine.execute_pre_trade(an_order(), sent=True)
    assert isinstance(held, pit.Reservation)
    held.commit(wait=False)
    return held


@pytest.mark.parametrize("way", ["blocking", "asyncio"])
def test_a_process_that_ends_without_a_close_has_seen_its_last_commit_through(daemon: Daemon, way: str) -> None:
    ran = subprocess.run([sys.executable, "-c", ENDS, way, daemon.endpoint], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")
    with daemon.connect("ops") as ops:
        assert ops.outcome("alpha", "it").state is OrderState.WORKING


@pytest.mark.parametrize("way", ["blocking", "asyncio"])
def test_a_process_that_ends_while_the_daemon_hangs_says_what_it_does_not_know(daemon: Daemon, way: str) -> None:
    command = [sys.executable, "-c", ENDS, way, daemon.endpoint, "wait"]
    with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout is not None and process.stdin is not None
        assert process.stdout.readline() == "about to\n"
        daemon.freeze()
        began = time.monotonic()
        _, said = process.communicate("\n", timeout=PATIENCE_S)
        assert time.monotonic() - began < PATIENCE_S / 2
    assert "PostedFailed" in said and "order it: OutcomeUnknown" in said, said


def test_a_posted_commit_is_carried_out_once_across_a_restart(daemon: Daemon) -> None:
    with daemon.connect("mm1") as engine:
        engine.ping()
        held = [posted(engine) for _ in range(20)]
        daemon.kill()
        daemon.start()
        engine.flush()
        found = {each.order.id: each.state for each in engine.open_orders()}
        assert found == {each.order.id: OrderState.WORKING for each in held}


def test_a_commit_posted_while_the_daemon_is_down_is_told_once_it_is_back(daemon: Daemon) -> None:
    with daemon.connect("mm1") as engine:
        held = engine.execute_pre_trade(an_order(), sent=True)
        assert isinstance(held, pit.Reservation)
        daemon.kill()
        held.commit(wait=False)
        starter = threading.Thread(target=daemon.start)
        starter.start()
        engine.flush()
        starter.join(PATIENCE_S)
        assert engine.outcome("alpha", held.order.id).state is OrderState.WORKING


def test_a_flush_that_is_not_answered_ends_in_time_and_the_commit_stays_on_its_way(daemon: Daemon) -> None:
    with daemon.connect("mm1") as engine:
        held = engine.execute_pre_trade(an_order(), sent=True)
        assert isinstance(held, pit.Reservation)
        daemon.freeze()
        held.commit(wait=False)
        engine.timeout_s = 0.3
        with pytest.raises(pit.OutcomeUnknown, match="1 posted commits are not confirmed"):
            engine.flush()
        daemon.thaw()
        engine.timeout_s = PATIENCE_S
        engine.flush()
        assert engine.outcome("alpha", held.order.id).state is OrderState.WORKING


def test_what_a_fenced_engine_had_posted_unheard_is_told_by_its_close(daemon: Daemon) -> None:
    older = daemon.connect("mm1")
    held = posted(older)
    with daemon.connect("mm1") as newer:
        with pytest.raises(pit.PostedFailed, match=f"order {held.order.id}: OutcomeUnknown"):
            older.close()
        until(lambda: newer.outcome("alpha", held.order.id).state is OrderState.WORKING)


def test_an_idle_asyncio_engine_hears_by_itself_what_became_of_what_it_posted(daemon: Daemon) -> None:
    async def main() -> None:
        async with pit.connect_async("mm1", daemon.endpoint, timeout_s=PATIENCE_S) as engine:
            held = await engine.execute_pre_trade(an_order(), sent=True)
            assert isinstance(held, pit.AsyncReservation)
            await held.commit(wait=False)
            transport = engine._transport
            async with asyncio.timeout(PATIENCE_S):
                while transport._session.posted:  # type: ignore[attr-defined]
                    await asyncio.sleep(0.05)

    asyncio.run(main())
