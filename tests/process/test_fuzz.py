"""Broken messages over the real socket: the daemon serves on, and whoever speaks honestly notices nothing."""

from __future__ import annotations

import os
from itertools import islice

from daemon import Daemon
from process.raw import Raw
from wire import broken

import pit
import pitd

COUNT = 200_000 if os.environ.get("PITD_LONG") else 30_000


def test_an_honest_client_is_served_while_another_talks_rubbish(own_daemon: Daemon) -> None:
    with own_daemon.connect("honest") as honest, Raw(own_daemon.endpoint) as liar:
        welcome = liar.hello("liar")
        working = [_hold(honest, n) for n in range(3)]
        seq = liar.seq()
        for n, frames in enumerate(islice(broken.messages(11, liar.session), COUNT)):
            liar.send(*frames)
            if n % 500 == 0:  # what is answered is read, so that nothing piles up
                while liar.socket.poll(0):
                    liar.socket.recv_multipart()
                assert honest.ping() == pitd.__version__
        assert welcome is not None
        assert [order.order.id for order in honest.open_orders()] == [held.order.id for held in working]
        for held in working:
            held.rollback()
        with Raw(own_daemon.endpoint) as sober:
            sober.hello("sober")
            assert sober.seq() == seq + len(working) + 1, "three rollbacks and a session, and nothing else"


def _hold(engine: pit.Engine, n: int) -> pit.Reservation:
    order = pit.Order(
        account="alpha", instrument=pit.Instrument("AAPL", "USD"), side="buy", quantity=1, price=100, id=f"o{n}"
    )
    held = engine.execute_pre_trade(order, lease_s=60)
    assert held
    return held
