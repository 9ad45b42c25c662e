"""`pitd demo --tape`: a recorded tape ends with the same figures wherever and however it is played."""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from daemon import PATIENCE_S

import pit
from pitd import cli, config
from pitd.demo import show, tape

ES_ORDERS = Path(__file__).resolve().parents[3] / "shared" / "data" / "es_orders.csv"

needs_tape = pytest.mark.skipif(not ES_ORDERS.exists(), reason="the tape ../shared/data/es_orders.csv is absent")

HEADER = "time_ns,action,order_id,side,price,quantity\n"

TIGHT = """
[limits]
size = { control = "order_size_limit", each = "account", settlement = "USD", max_quantity = "5" }
open = { control = "open_order_notional", each = "account", settlement = "USD", max_notional = "200000000" }
"""

TIMED = 'rate = { control = "rate_limit", each = "account", max_orders = 20, window = "1s" }\n'


def play(file: Path, *words: str) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """The counts of a tape that adds up, and the checks."""
    ended = subprocess.run(
        [sys.executable, "-m", "pitd.cli", "demo", "--tape", str(file), "--json", *words],
        capture_output=True,
        text=True,
        timeout=5 * PATIENCE_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    summary = json.loads(ended.stdout)
    assert summary["adds_up"] is True
    counts = {row["what"].strip(): row["count"] for row in summary["tables"]["What the tape came to"]}
    return counts, summary["checks"]


def write_tape(folder: Path, *lines: str) -> Path:
    file = folder / "tape.csv"
    file.write_text(HEADER + "".join(f"{line}\n" for line in lines))
    return file


def write_limits(folder: Path, limits: str) -> str:
    file = folder / "limits.toml"
    file.write_text(limits)
    return str(file)


# ---------------------------------------------------------------------------------------------- the recorded one


@needs_tape
@pytest.mark.parametrize(
    "how",
    [
        pytest.param(("--local",), id="local"),
        pytest.param(("--local", "--strategies", "4"), id="local, dealt out to 4"),
        pytest.param(("--strategies", "1"), id="daemon"),
        pytest.param(("--strategies", "4"), id="daemon, dealt out to 4"),
    ],
)
def test_it_ends_with_the_figures_of_the_tape(how: tuple[str, ...]) -> None:
    counts, checks = play(ES_ORDERS, *how)
    assert counts["open orders"] == "2,559"
    assert counts["open lots"] == "6,419"
    assert counts["open notional"] == "1,547,083,287.50"
    assert (counts["rejected"], counts["skipped, of rejected orders"]) == ("0", "0")
    assert "every event was worked: 17,802 of 17,802" in [check["text"] for check in checks]
    assert "the open-notional limit counts 1,547,083,287.50" in [check["text"] for check in checks]


@needs_tape
def test_tight_limits_count_the_same_twice_in_the_tapes_own_time(tmp_path: Path) -> None:
    limits = write_limits(tmp_path, TIGHT + TIMED)
    once, _ = play(ES_ORDERS, "--local", "--config", limits)
    assert play(ES_ORDERS, "--local", "--config", limits)[0] == once
    for code in ("OrderQtyExceedsLimit", "RiskLimitExceeded", "RateLimitExceeded", "skipped, of rejected orders"):
        assert int(once[code].replace(",", "")) > 0


@needs_tape
def test_tight_limits_count_the_same_through_a_daemon_as_here(tmp_path: Path) -> None:
    beginning = tmp_path / "beginning.csv"
    with ES_ORDERS.open() as file:
        beginning.write_text("".join(line for _, line in zip(range(1_201), file, strict=False)))
    limits = write_limits(tmp_path, TIGHT.replace("200000000", "10000000"))
    here, _ = play(beginning, "--local", "--config", limits)
    assert here["rejected"] != "0"
    for _ in range(2):
        assert play(beginning, "--config", limits)[0] == here


ALL = Path(__file__).with_name("all_controls.toml")

STRICT = {
    'max_quantity = "1000", max_notional': 'max_quantity = "20", max_notional',
    'max_notional = "5000000000"': 'max_notional = "900000000"',
    'max_percent = "20"': 'max_percent = "0.05"',
    'over = "firm", shadow = true': 'over = "firm"',
    'max_quantity = "100000"': 'max_quantity = "1200"',
    "max_orders = 10000 ": "max_orders = 1800 ",
    'max_notional = "50000000000"': 'max_notional = "3000000000"',
}
"""What makes those limits refuse much of the tape; those of a second are left: seconds here are not the tape's."""


def test_all_controls_are_really_all() -> None:
    assert {limit["control"] for limit in tomllib.loads(ALL.read_text())["limits"].values()} == set(config.CONTROLS)


@needs_tape
def test_with_all_controls_on_four_processes_are_told_what_one_engine_says_and_end_as_the_tape_does() -> None:
    here, _ = play(ES_ORDERS, "--local", "--strategies", "4", "--config", str(ALL))
    assert (here["open orders"], here["open lots"]) == ("2,559", "6,419")
    assert here["open notional"] == "1,547,083,287.50"
    assert here["rejected"] == "0"
    assert play(ES_ORDERS, "--strategies", "4", "--config", str(ALL))[0] == here


@needs_tape
def test_where_all_controls_refuse_much_four_processes_in_turn_are_told_the_same_too(tmp_path: Path) -> None:
    text = ALL.read_text()
    for wide, strict in STRICT.items():
        assert wide in text, wide
        text = text.replace(wide, strict)
    limits = write_limits(tmp_path, text)
    here, _ = play(ES_ORDERS, "--local", "--strategies", "4", "--config", limits)
    codes = ("OrderQtyExceedsLimit", "RiskLimitExceeded", "SelfMatchPrevention", "PositionLimitExceeded")
    assert all(int(here[code].replace(",", "")) for code in codes)
    assert play(ES_ORDERS, "--in-turn", "--strategies", "4", "--config", limits)[0] == here


# ---------------------------------------------------------------------------------------------- small ones


def test_each_action_is_counted_as_what_it_is(tmp_path: Path) -> None:
    file = write_tape(
        tmp_path,
        "1,new,1,buy,100.25,6",
        "2,fill,1,buy,100.00,2",
        "3,modify,1,buy,99.75,3",
        "4,new,2,sell,101,5",
        "5,cancel,2,sell,101,5",
        "6,new,3,sell,102,1",
        "7,fill,3,sell,102,1",
    )
    counts, _ = play(file, "--local")
    assert counts.pop("decisions")
    assert counts == {
        "accepted": "3",
        "rejected": "0",
        "filled lots": "3",
        "cancelled": "1",
        "modified": "1",
        "skipped, of rejected orders": "0",
        "open orders": "1",
        "open lots": "3",
        "open notional": "14,962.50",
    }


def test_what_follows_a_rejected_order_is_skipped_and_counted(tmp_path: Path) -> None:
    file = write_tape(
        tmp_path, "1,new,1,buy,100,6", "2,fill,1,buy,100,2", "3,cancel,1,buy,100,4", "4,new,2,buy,100,5",
        "5,modify,2,buy,100,7", "6,cancel,2,buy,100,7",
    )  # fmt: skip
    counts, _ = play(file, "--local", "--config", write_limits(tmp_path, TIGHT))
    assert (counts["accepted"], counts["OrderQtyExceedsLimit"]) == ("1", "2")
    assert counts["skipped, of rejected orders"] == "3"
    assert (counts["modified"], counts["open orders"]) == ("1", "0")


def test_an_order_off_its_tick_is_rejected(tmp_path: Path) -> None:
    counts, _ = play(write_tape(tmp_path, "1,new,1,buy,100.10,6"), "--local")
    assert counts["InvalidFieldValue"] == "1"


def test_the_only_declared_instrument_is_the_tapes(tmp_path: Path) -> None:
    limits = '[instruments.NQ]\nsettlement = "USD"\nkind = "linear"\nmultiplier = "20"\n' + TIGHT
    counts, _ = play(write_tape(tmp_path, "1,new,1,buy,100,2"), "--local", "--config", write_limits(tmp_path, limits))
    assert counts["open notional"] == "4,000.00"


def test_an_empty_tape_comes_to_nothing(tmp_path: Path) -> None:
    assert play(write_tape(tmp_path), "--local")[0]["open orders"] == "0"


def test_an_order_is_dealt_to_the_same_strategy_on_every_machine() -> None:
    assert [tape.share_of(str(order_id), 4) for order_id in range(8)] == [1, 3, 1, 3, 0, 2, 0, 2]


def test_a_book_that_differs_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The engine is told of one lot less than the tape says: its book and the tape's own no longer agree."""

    class Careless(tape.Player):
        def _report(self, line: tape.Line, kind: pit.ReportKind) -> None:
            super()._report(line._replace(quantity=line.quantity - 1), kind)

    monkeypatch.setattr(tape, "Player", Careless)
    file = write_tape(tmp_path, "1,new,1,buy,100,6", "2,fill,1,buy,100,2")
    options = cli._parser().parse_args(["demo", "--tape", str(file), "--local", "--strategies", "1"])
    assert isinstance(options, argparse.Namespace)
    results = tape._play_here(options, tape.demo_tables(None, tape.LIMITS), tape.read(str(file)), quiet())
    failed = [check.text for check in tape._checks(results, 2) if not check.ok]
    assert len(failed) == 3
    assert "they say the same of each order (1 differ)" in failed


def quiet() -> show.Show:
    return show.Lines("", io.StringIO())


# ---------------------------------------------------------------------------------------------- damaged ones


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["1,new,1,buy,100"], "line 2, column quantity: 6 columns are wanted, not 5"),
        (["1,new,1,buy,100,1,1"], "line 2, column quantity: 6 columns are wanted, not 7"),
        (["soon,new,1,buy,100,1"], "line 2, column time_ns: nanoseconds are wanted, not 'soon'"),
        (["2,new,1,buy,100,1", "1,new,2,buy,100,1"], "line 3, column time_ns: time goes back, from 2 to 1"),
        (["1,replace,1,buy,100,1"], "line 2, column action: one of new, modify, fill, cancel is wanted, not 'replace'"),
        (["1,new,x,buy,100,1"], "line 2, column order_id: a number is wanted, not 'x'"),
        (["1,new,1,bid,100,1"], "line 2, column side: buy or sell is wanted, not 'bid'"),
        (["1,new,1,buy,NaN,1"], "line 2, column price: a number is wanted, not 'NaN'"),
        (["1,new,1,buy,,1"], "line 2, column price: a number is wanted, not ''"),
        (["1,new,1,buy,100,0"], "line 2, column quantity: a whole number above zero is wanted, not '0'"),
        (["1,new,1,buy,100,1.5"], "line 2, column quantity: a whole number above zero is wanted, not '1.5'"),
        (["1,new,1,buy,100,1", "2,new,1,buy,100,1"], "line 3, column order_id: order 1 was opened before"),
        (["1,fill,1,buy,100,1"], "line 2, column order_id: a fill of order 1, which is not open here"),
        (["1,new,1,buy,100,1", "2,fill,1,buy,100,2"], "line 3, column quantity: 2 filled, and 1 are open"),
        (
            ["1,new,1,buy,100,1", "2,cancel,1,buy,100,1", "3,modify,1,buy,100,1"],
            "line 4, column order_id: a modify of order 1, which is not open here",
        ),
    ],
)
def test_a_damaged_tape_names_line_and_column(tmp_path: Path, lines: list[str], says: str) -> None:
    file = write_tape(tmp_path, *lines)
    with pytest.raises(tape.TapeDamaged) as damage:
        tape.read(str(file))
    assert str(damage.value) == f"{file}: {says}"


@pytest.mark.parametrize("content", [b"", b"a,b\n", b"\xff\xfe\x00", HEADER.encode() + b"\xff"])
def test_a_file_that_is_no_tape_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "tape.csv"
    file.write_bytes(content)
    with pytest.raises(tape.TapeDamaged, match=r"tape\.csv"):
        tape.read(str(file))


def test_a_damaged_tape_starts_nothing_and_ends_with_65(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["demo", "--tape", str(tmp_path / "none.csv")]) == 65
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.endswith("none.csv: cannot be read: No such file or directory\n")


def test_prices_are_read_exactly(tmp_path: Path) -> None:
    (line,) = tape.read(str(write_tape(tmp_path, "1,new,1,buy,100.10,6")))
    assert (line.price, line.side, line.quantity) == (Decimal("100.10"), pit.Side.BUY, 6)
