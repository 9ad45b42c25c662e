"""An author's own policy in a real daemon: it counts over a restart, and one that breaks stops what it broke."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import order
from daemon import PATIENCE_S, Daemon

import pit
from pitd import operator
from pitd.errors import EXIT_CONFIG, EXIT_INVARIANT

EXAMPLE = Path(__file__).parents[2] / "docs" / "order_slots.py"

SETTINGS = """
[clients."*"]
roles = ["trade", "report"]
[clients.ops]
roles = ["operate"]

[policies.order_slots]
file = "order_slots.py"
settings = { large = "100" }

[limits]
slots = { control = "order_slots", each = "account", max_slots = 2 }
"""


def with_policy(home: Path, code: str = "", settings: str = SETTINGS) -> Daemon:
    (home / "order_slots.py").write_text(code or EXAMPLE.read_text(encoding="utf-8"), encoding="utf-8")
    (home / "order_slots.py").chmod(0o600)
    return Daemon(home, settings)


def working(engine: pit.Engine, id: str, **fields: object) -> None:
    held = engine.execute_pre_trade(order(id=id, **fields), sent=True)
    assert isinstance(held, pit.Reservation)
    held.commit()


def test_what_it_has_counted_outlives_a_crash_and_its_limit_can_be_changed(home: Path) -> None:
    daemon = with_policy(home).start()
    try:
        with daemon.connect("mm1") as engine:
            working(engine, "a", quantity=100)
        daemon.kill()
        daemon.start()
        with daemon.connect("mm1") as engine, daemon.connect("ops") as ops:
            no = engine.execute_pre_trade(order(id="b"))
            assert isinstance(no, pit.Rejected)
            assert (no.limit, no.used, no.bound) == ("slots", 2, 2)
            ops.set_limit("slots", {"max_slots": 3}, reason="a test")
            assert engine.execute_pre_trade(order(id="c"))
        daemon.config.write_text(daemon.config.read_text().partition("[policies")[0], encoding="utf-8")
        daemon.stop()
        with pytest.raises(AssertionError, match=r"policies\.order_slots: it is not configured any more"):
            daemon.start()
        assert daemon.process is not None and daemon.process.wait(PATIENCE_S) == EXIT_CONFIG
    finally:
        daemon.kill()


def test_one_that_breaks_while_carrying_out_ends_the_daemon_and_its_account_is_stopped_until_a_person_looks(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = EXAMPLE.read_text(encoding="utf-8").replace(
        "        key = (effect.limit, effect.scope)\n        self._taken[key] = self._taken.get",
        "        key = (effect.limit, effect.scope)\n        if 'bad' in effect.scope:\n            1 / 0\n"
        "        self._taken[key] = self._taken.get",
    )
    daemon = with_policy(home, code).start()
    try:
        with daemon.connect("mm1", timeout_s=3) as engine:
            working(engine, "a")
            with pytest.raises(pit.OutcomeUnknown):
                engine.execute_pre_trade(order(id="b", account="bad"))
        assert daemon.process is not None and daemon.process.wait(PATIENCE_S) == EXIT_INVARIANT
        assert "ZeroDivisionError" in daemon.log()
        daemon.start()
        with daemon.connect("mm1") as engine:
            stopped = engine.execute_pre_trade(order(id="c", account="bad"))
            assert isinstance(stopped, pit.Rejected) and stopped.limit == "poisoned"
            assert engine.execute_pre_trade(order(id="d"))
        words = ["unblock", "account", "bad", "--reason", "looked", "--endpoint", daemon.endpoint, "--name", "ops"]
        assert operator.main([*words, "--yes"]) == 0
        assert "may trade" in capsys.readouterr().out
    finally:
        daemon.kill()
