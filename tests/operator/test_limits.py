"""pitctl and the numbers of limits: setting, clearing and showing them, and having the configuration read again."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from builders import Local, money, order, saved
from daemon import folder

import pit
from pitd import cli, operator
from pitd.clock import ManualClock
from pitd.local import LocalEngine
from pitd.operator import typed

LIMITS = """
[limits]
size = { control = "order_size_limit", each = "account", settlement = "USD", max_quantity = "500" }
rate = { control = "rate_limit", each = "account", max_orders = 40, window = "10s" }
day = { control = "pnl_kill_switch", each = "account", settlement = "USD", max_loss = "500" }
fall = { control = "pnl_kill_switch", over = "firm", settlement = "USD", max_drawdown = "500" }
"""


class Desk:
    """An operator's terminal beside an engine that was made from a file."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.path = path
        self.path.write_text(LIMITS, encoding="utf-8")
        self.house = LocalEngine(path, clock=ManualClock(1_790_000_000_000_000_000))
        self.trader = self.house.connect("mm1")
        self._capsys = capsys

    def run(self, *words: str) -> int:
        def connect(name: str, endpoint: str, timeout_s: float, read_only: bool) -> pit.Engine:
            assert endpoint == "ipc:///where", "what was said before an act holds for it"
            return self.house.connect(name, read_only=read_only)

        try:
            return operator.main([words[0], "--name", "ops", "--endpoint", "ipc:///where", *words[1:]], connect)
        except SystemExit as ended:
            assert isinstance(ended.code, int)
            return ended.code

    def said(self) -> str:
        return self._capsys.readouterr().out

    def complained(self) -> str:
        return self._capsys.readouterr().err

    def overrides(self) -> list[dict[str, Any]]:
        self.said()
        assert self.run("limits", "--overrides", "--json") == 0
        found: list[dict[str, Any]] = json.loads(self.said())["overrides"]
        return found

    def is_taken(self, quantity: int) -> bool:
        return bool(self.trader.execute_pre_trade(order(quantity=quantity, price=1)))


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path / "desk.toml", capsys)


def test_a_tighter_number_is_set_at_once_and_shown_beside_the_configured_one(desk: Desk) -> None:
    assert desk.run("limits", "set", "size", "max_quantity=5", "max_notional=900", "--reason", "a quiet day") == 0
    assert "max_quantity is 5 (configured: 500)" in desk.said() and not desk.is_taken(6)
    notional, quantity = desk.overrides()
    assert (quantity["key"], quantity["value"], quantity["base"]) == ("max_quantity", "5", "500")
    assert quantity["author"] == "ops"
    assert (notional["key"], notional["base"], notional["reason"]) == ("max_notional", None, "a quiet day")
    assert desk.run("limits") == 0
    said = desk.said()
    assert "a quiet day" in said and "set by hand" in said and "each account" in said
    assert desk.run("status") == 0 and "2 of their numbers set by hand" in desk.said()


def test_a_looser_number_asks_first(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda: "n")
    assert desk.run("limits", "set", "size", "max_quantity=900", "--reason", "the roll") == 1
    assert "500 now, and 900 lets more through" in desk.complained() and desk.overrides() == []
    assert desk.run("limits", "set", "rate", "window=5s", "--reason", "the roll") == 1
    monkeypatch.setattr("builtins.input", lambda: "y")
    assert desk.run("limits", "set", "size", "max_quantity=900", "--reason", "the roll") == 0
    assert desk.is_taken(900)


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        (
            ["max_loss=60"],
            "day max_loss=60 trips as soon as it holds where the loss is past it: account alpha stands at 60 USD",
        ),
        (["max_loss=61"], ""),
        (["max_profit=40"], "account beta stands at 40 USD"),
        (["max_profit=41"], ""),
        (["max_drawdown=1"], ""),
        (["fall.max_drawdown=20"], "the drawdown is past it: firm stands at 60 USD"),
        (["max_loss=nothing"], ""),
    ],
)
def test_a_bound_that_the_pnl_is_past_already_asks_first(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, numbers: list[str], told: str
) -> None:
    for account, pnl in (("beta", "40"), ("alpha", "-60"), ("alpha", "40"), ("alpha", "-40")):
        desk.trader.apply_execution_report(money("x", pnl, account=account))
    monkeypatch.setattr("builtins.input", lambda: "n")
    is_set = desk.run("limits", "set", "day", *numbers, "--reason", "x") == 0
    said = desk.complained()
    assert told in said if told else "trips as soon as" not in said
    assert is_set == (not told and "nothing" not in numbers[0])


def test_a_bound_that_is_past_trips_once_a_person_has_agreed(desk: Desk) -> None:
    desk.trader.apply_execution_report(money("x", "-60"))
    assert desk.run("limits", "set", "day", "max_loss=50", "--reason", "x", "--yes") == 0
    assert desk.trader.execute_pre_trade(order(quantity=1, price=1)).code == "PnlKillSwitchTriggered"


def test_clearing_a_bound_says_whom_the_configured_one_trips(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    assert desk.run("limits", "set", "day", "max_loss=900", "--reason", "x", "--yes") == 0
    desk.trader.apply_execution_report(money("x", "-600"))
    monkeypatch.setattr("builtins.input", lambda: "n")
    assert desk.run("limits", "clear", "day", "--reason", "x") == 1
    assert "account alpha stands at 600 USD" in desk.complained()


def test_looser_is_counted_from_what_holds_now(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda: "n")
    assert desk.run("limits", "set", "size", "max_quantity=5", "--reason", "x") == 0
    assert desk.run("limits", "set", "size", "max_quantity=100", "--reason", "x") == 1
    assert "5 now, and 100" in desk.complained()


def test_what_is_cleared_asks_and_is_as_configured(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.run("limits", "set", "size", "max_quantity=5", "max_notional=900", "--reason", "x")
    monkeypatch.setattr("builtins.input", lambda: "n")
    assert desk.run("limits", "clear", "size", "--reason", "over") == 1 and len(desk.overrides()) == 2
    assert desk.run("limits", "clear", "size", "max_notional", "--reason", "over", "--yes") == 0
    assert [each["key"] for each in desk.overrides()] == ["max_quantity"]
    assert desk.run("limits", "clear", "size", "--reason", "over", "--yes") == 0
    assert desk.is_taken(6) and desk.overrides() == []
    assert desk.run("limits", "clear", "size", "--reason", "over", "--yes") == 1
    assert "nobody has set size" in desk.complained()


def test_an_end_is_a_length_or_a_moment(desk: Desk) -> None:
    assert desk.run("limits", "set", "size", "max_quantity=5", "--for", "2h", "--reason", "x") == 0
    (found,) = desk.overrides()
    assert int(found["until_wall_ns"]) - int(found["since_wall_ns"]) == 7_200 * 10**9
    moment = "2026-10-05T18:00:00+00:00"
    assert desk.run("limits", "set", "size", "max_quantity=5", "--until", moment, "--reason", "x") == 0
    (found,) = desk.overrides()
    assert int(found["until_wall_ns"]) == 1_791_223_200 * 10**9


@pytest.mark.parametrize(
    "words",
    [
        ("set", "size", "--reason", "x"),
        ("set", "size", "max_quantity", "--reason", "x"),
        ("set", "size", "max_quantity=", "--reason", "x"),
        ("set", "size", "max_quantity=1", "max_quantity=2", "--reason", "x"),
        ("set", "size", "max_quantity=1"),
        ("set", "size", "max_quantity=1", "--reason", " "),
        ("set", "size", "max_quantity=1", "--reason", "x", "--for", "2 hours"),
        ("set", "size", "max_quantity=1", "--reason", "x", "--until", "25:00"),
        ("set", "size", "max_quantity=1", "--reason", "x", "--until", "later"),
        ("set", "size", "max_quantity=1", "--reason", "x", "--until", "18:00", "--for", "2h"),
        ("clear", "size"),
        ("lift", "size"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_meant_is_a_matter_of_usage(desk: Desk, words: tuple[str, ...]) -> None:
    assert desk.run("limits", *words) == 64
    assert desk.overrides() == []


def test_the_daemons_no_is_told(desk: Desk) -> None:
    for words, why in ((("siz", "max_quantity=1"), "no limit is named siz"), (("size", "each=1"), "can't be set")):
        assert desk.run("limits", "set", *words, "--reason", "x") == 1
        assert why in desk.complained()


def test_a_time_of_day_is_the_next_one() -> None:
    now = datetime.now(UTC)
    for minutes in (-90, 90):
        meant = now + timedelta(minutes=minutes)
        moment = typed.until(f"{meant.astimezone():%H:%M}")
        assert timedelta() < moment - now <= timedelta(days=1, minutes=1)


# ---------------------------------------------------------------------------------------------- reading it again


def test_a_reload_tells_what_is_different(desk: Desk) -> None:
    assert desk.run("reload", "--reason", "nothing") == 0 and "nothing is different" in desk.said()
    desk.run("limits", "set", "size", "max_quantity=400", "--reason", "x")
    desk.path.write_text(LIMITS.replace('"500"', '"300"') + "[journal]\nkeep = '5d'\n", encoding="utf-8")
    desk.said()
    assert desk.run("reload", "--reason", "the new book") == 0
    said = desk.said()
    assert "limits.size.max_quantity: 500, now 300" in said
    assert "waits: journal.keep" in said and "disagrees: size max_quantity" in said and "holds: 300" in said
    assert desk.run("reload", "--reason", "again", "--json") == 0
    told = json.loads(desk.said())
    assert told["changes"] == [] and len(told["disagreements"]) == 1 and told["actor"] == "ops"


def test_a_reload_that_is_refused_tells_file_line_and_key(desk: Desk) -> None:
    desk.path.write_text(LIMITS.replace('"500"', '"-5"'), encoding="utf-8")
    assert desk.run("reload", "--reason", "a slip") == 1
    assert "desk.toml:3: limits.size.max_quantity" in desk.complained()
    assert desk.is_taken(500)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (('max_loss = "500"', 'max_loss = "60"'), "day trips as soon as it holds where the loss in USD is past 60: "),
        (('max_loss = "500"', 'max_loss = "61"'), ""),
        (('max_loss = "500"', 'max_profit = "40"'), "the profit in USD is past 40: account beta stands at 40"),
        (
            (
                "[limits]\n",
                '[limits]\nall = { control = "pnl_kill_switch", over = "firm", settlement = "USD", max_loss = 20 }\n',
            ),
            "all trips as soon as it holds where the loss in USD is past 20: firm stands at 20",
        ),
        (
            ('max_drawdown = "500"', 'max_drawdown = "60"'),
            "fall trips as soon as it holds where the drawdown in USD is",
        ),
        (
            ('settlement = "USD", max_loss = "500"', 'settlement = "USD", on = "both", max_loss = "50"'),
            "account alpha stands at 60",
        ),
        (('max_quantity = "500"', 'max_quantity = "1"'), ""),
    ],
)
def test_a_reload_that_would_stop_somebody_at_once_asks_first(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str], told: str
) -> None:
    for account, pnl in (("beta", "40"), ("alpha", "-60"), ("alpha", "40"), ("alpha", "-40")):
        desk.trader.apply_execution_report(money("x", pnl, account=account))
    desk.path.write_text(LIMITS.replace(*change), encoding="utf-8")
    monkeypatch.setattr("builtins.input", lambda: "n")
    asks = desk.run("reload", "--reason", "tighter") != 0
    said = desk.complained()
    assert asks == bool(told) and told in said and (not told or "nothing was changed" in said)
    assert desk.run("reload", "--reason", "tighter", "--yes") == 0
    assert told in desk.said()
    assert desk.run("reload", "--reason", "again") == 0, "nobody is told twice"


def test_who_has_tripped_or_was_granted_room_is_not_asked_about(desk: Desk) -> None:
    ops = desk.house.connect("ops")
    for account in ("alpha", "beta"):
        desk.trader.apply_execution_report(money("x", "-500", account=account))
    ops.rearm("day", "account beta", 50, "talked")
    desk.path.write_text(LIMITS.replace('max_loss = "500"', 'max_loss = "60"'), encoding="utf-8")
    assert ops.reload_dry_run().past == ()


def test_a_reload_that_is_only_asked_about_changes_nothing(desk: Desk) -> None:
    ops = desk.house.connect("ops", read_only=True)
    desk.trader.apply_execution_report(money("x", "-60"))
    desk.path.write_text(LIMITS.replace('"500"', '"50"') + "[journal]\nkeep = '5d'\n", encoding="utf-8")
    before = saved(desk.house.sequencer.engine)
    told = ops.reload_dry_run()
    assert len(told.changes) == 3 and len(told.waiting) == 1 and len(told.past) == 2
    assert saved(desk.house.sequencer.engine) == before and desk.is_taken(51)


def test_an_engine_that_was_made_from_text_has_nothing_to_read_again() -> None:
    with pytest.raises(pit.InvalidInput, match="not made from a file"):
        Local(LIMITS).engine.reload(reason="x")
    with pytest.raises(pit.InvalidInput, match="not made from a file"):
        Local(LIMITS).engine.reload_dry_run()


# ---------------------------------------------------------------------------------------------- check-config --diff


def test_a_difference_against_a_file_is_told_key_by_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = tmp_path / "one.toml", tmp_path / "other.toml"
    one.write_text(LIMITS, encoding="utf-8")
    other.write_text(
        LIMITS.replace('"500"', '"300"').replace("rate =", "pace =") + '[clients.ops]\nroles = ["operate"]\n',
        encoding="utf-8",
    )
    assert cli.main(["check-config", "--config", str(other), "--against", str(one)]) == 1
    said = capsys.readouterr().out
    assert "limits.size.max_quantity: 500, now 300" in said
    assert "limits.rate.max_orders: was 40, now gone" in said and "limits.pace.window: now 10s" in said
    assert "clients.ops.roles: now operate" in said
    assert cli.main(["check-config", "--config", str(one), "--against", str(one)]) == 0


def test_where_no_daemon_answers_there_is_nothing_to_compare_with(capsys: pytest.CaptureFixture[str]) -> None:
    with folder() as home:
        path = home / "pitd.toml"
        path.write_text(f'daemon.endpoint = "ipc://{home}/pitd.sock"\n{LIMITS}', encoding="utf-8")
        assert cli.main(["check-config", "--config", str(path), "--diff"]) == 2
    assert "nothing to compare it with" in capsys.readouterr().out


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_: str = "") -> str:
        raise EOFError

    monkeypatch.setattr("builtins.input", nobody)
