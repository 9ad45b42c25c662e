"""`pitd demo`: it adds up, says so, notices when it does not, and leaves nothing behind."""

from __future__ import annotations

import argparse
import copy
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from daemon import PATIENCE_S, until

import pit
from pitd import cli
from pitd.demo import adds_up, run, show, words
from pitd.demo.adds_up import Evidence
from pitd.demo.processes import Stage
from pitd.demo.venue import Clearing

SHORT = ("demo", "--strategies", "3", "--seconds", "1")
VENUE = (sys.executable, "-m", "pitd.demo.venue")
CROOKED_VENUE = (sys.executable, str(Path(__file__).with_name("crooked_venue.py")))


def pitd_demo(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pitd.cli", *words], capture_output=True, text=True, timeout=4 * PATIENCE_S, check=False
    )


def options(*words: str) -> argparse.Namespace:
    parsed = cli._parser().parse_args([*SHORT, *words])
    assert isinstance(parsed, argparse.Namespace)
    return parsed


@pytest.fixture
def signals() -> Iterator[None]:
    """Puts back the handlers that the demo sets for its process."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


# ---------------------------------------------------------------------------------------------- the whole


@pytest.fixture(scope="module")
def short_demo() -> subprocess.CompletedProcess[str]:
    """A short demo with its summary as JSON: the progress goes to standard error."""
    return pitd_demo(*SHORT, "--json")


def test_it_adds_up(short_demo: subprocess.CompletedProcess[str]) -> None:
    assert short_demo.returncode == 0, short_demo.stderr
    assert "FAILED" not in short_demo.stderr


@pytest.mark.parametrize(
    "line",
    [
        "everybody is there: a daemon, a venue, hasty, lost, doomed",
        "is killed with SIGKILL, holding 2 reservations and 2 sent",
        "of doomed is rolled_back",
        "of doomed is quarantined",
        "successor: ",
        "lost: is stopped: blocked: account lost-book: P&L -",
        "RateLimitExceeded",
        "PnlKillSwitchTriggered",
        "rolled back: the venue has never seen it",
        "nothing is left open: 0 orders",
        "nothing is left counted: 0 USD",
    ],
)
def test_it_shows(short_demo: subprocess.CompletedProcess[str], line: str) -> None:
    assert line in short_demo.stderr


def test_its_summary_is_json_alone(short_demo: subprocess.CompletedProcess[str]) -> None:
    summary = json.loads(short_demo.stdout)
    assert summary["adds_up"] is True
    assert all(check["ok"] for check in summary["checks"])
    (whole,) = (row for row in summary["tables"]["What the strategies did"] if row["strategy"] == "all")
    assert int(whole["checks"]) == int(whole["accepted"]) + int(whole["rejected"])


def test_it_fails_when_a_process_of_it_fails(capfd: pytest.CaptureFixture[str], signals: None) -> None:
    closed = (sys.executable, "-c", "raise SystemExit('no trading today')")
    assert run.play_market(options(), closed) == 1
    said = capfd.readouterr().err
    assert "venue ended with exit code 1 unexpectedly" in said
    assert "no trading today" in said


def test_it_fails_when_the_books_do_not_agree(capfd: pytest.CaptureFixture[str], signals: None) -> None:
    assert run.play_market(options(), CROOKED_VENUE) == 1
    said = capfd.readouterr().out
    assert "FAILED  units filled, by strategies, drop copy, venue and daemon" in said
    assert said.endswith("checks FAILED\n")


def test_limits_that_cannot_be_meant_start_nothing(tmp_path: Path) -> None:
    limits = tmp_path / "limits.toml"
    limits.write_text('[limits.rate]\ncontrol = "rate_limt"\n')
    ended = pitd_demo("demo", "--config", str(limits))
    assert (ended.returncode, ended.stdout) == (78, "")
    assert f"{limits}:2: limits.rate.control" in ended.stderr


def test_own_limits_are_played_with(tmp_path: Path) -> None:
    limits = tmp_path / "limits.toml"
    limits.write_text(
        'limits.size = { control = "order_size_limit", each = "account", settlement = "USD", max_quantity = "20" }\n'
    )
    ended = pitd_demo(*SHORT, "--config", str(limits))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "OrderQtyExceedsLimit" in ended.stdout
    assert "RateLimitExceeded" not in ended.stdout


@pytest.mark.parametrize(
    "wrong", [("--strategies", "2"), ("--strategies", "65"), ("--seconds", "0"), ("--seconds", "nan"), ("--local",)]
)
def test_what_it_cannot_play_is_a_wrong_usage(wrong: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["demo", *wrong])
    assert end.value.code == 64


# ---------------------------------------------------------------------------------------------- its end


def children_of(pid: int) -> set[int]:
    children = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            children.add(int(stat.parent.name))
    return children


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_by_a_signal_it_leaves_nothing_behind(home: Path, number: signal.Signals, code: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "pitd.cli", "demo", "--seconds", "60"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TMPDIR": str(home)},
    ) as demo:
        assert demo.stdout is not None
        while "everybody is there" not in demo.stdout.readline():
            assert demo.poll() is None
        children = children_of(demo.pid)
        assert len(children) >= 6  # a daemon, a venue, four strategies
        assert any(home.iterdir())
        demo.send_signal(number)
        rest = demo.stdout.read()
        assert demo.wait(PATIENCE_S) == code
    assert "stopped" in rest
    assert "Traceback" not in rest
    until(lambda: not any(map(is_there, children)), "its processes to be gone")
    assert not any(home.iterdir())


# ---------------------------------------------------------------------------------------------- the checks


@pytest.fixture(scope="module")
def honest() -> Evidence:
    """What a real run came to."""
    with Stage() as stage:
        market = run.Market(options(), stage, show.Lines("", io.StringIO()), run.demo_tables(None, run.LIMITS), VENUE)
        return market.play()


def failed(evidence: Evidence) -> str:
    return "\n".join(check.text for check in adds_up.checks(evidence) if not check.ok)


def test_an_honest_run_adds_up(honest: Evidence) -> None:
    assert failed(honest) == ""


def forget_an_outcome(evidence: Evidence) -> None:
    evidence.outcomes[next(iter(evidence.outcomes))] = None


def leave_one_open(evidence: Evidence) -> None:
    order_id, outcome = next((id, one) for id, one in evidence.outcomes.items() if one is not None)
    evidence.outcomes[order_id] = msgspec.structs.replace(outcome, state=pit.OrderState.WORKING)


def lose_a_check(evidence: Evidence) -> None:
    evidence.done["hasty"].tally.checks -= 1


def have_the_venue_know_a_strange_order(evidence: Evidence) -> None:
    assert evidence.ledger is not None
    evidence.ledger.orders["strange"] = next(iter(evidence.ledger.orders.values()))


def count_a_report_twice(evidence: Evidence) -> None:
    evidence.copied_first += 1


def copy_one_unit_more(evidence: Evidence) -> None:
    evidence.copied[evidence.accounts["hasty"]].filled += 1


def keep_an_order(evidence: Evidence) -> None:
    evidence.done["hasty"] = msgspec.structs.replace(evidence.done["hasty"], left_open=1)


def keep_a_cent_counted(evidence: Evidence) -> None:
    evidence.done["hasty"] = msgspec.structs.replace(evidence.done["hasty"], counted=Decimal("0.01"))


def forget_a_strategy(evidence: Evidence) -> None:
    del evidence.done["lost"]


def be_polite(evidence: Evidence) -> None:
    for tally in evidence.tallies().values():
        tally.refused_by_venue = 0


def answer_always(evidence: Evidence) -> None:
    for tally in evidence.tallies().values():
        tally.quarantined = 0


def never_trip(evidence: Evidence) -> None:
    evidence.blocks = ()


def never_limit(evidence: Evidence) -> None:
    for tally in evidence.tallies().values():
        limited = tally.rejected.pop(adds_up.RATE_LIMIT, 0)
        tally.checks -= limited


def hold_on_for_ever(evidence: Evidence) -> None:
    assert evidence.holding is not None
    order_id = evidence.holding.held[0]
    evidence.after_kill[order_id] = msgspec.structs.replace(evidence.after_kill[order_id], state=pit.OrderState.HELD)


def forget_what_was_sent(evidence: Evidence) -> None:
    assert evidence.holding is not None
    order_id = evidence.holding.sent[0]
    gone = msgspec.structs.replace(evidence.after_kill[order_id], state=pit.OrderState.ROLLED_BACK)
    evidence.after_kill[order_id] = gone


def settle_nothing(evidence: Evidence) -> None:
    assert evidence.took_over is not None
    evidence.took_over = msgspec.structs.replace(evidence.took_over, settled={})


def count_too_little(evidence: Evidence) -> None:
    assert evidence.took_over is not None
    evidence.took_over = msgspec.structs.replace(evidence.took_over, counted=Decimal(1))


def stand_still(evidence: Evidence) -> None:
    evidence.others_meanwhile = 0


def kill_nobody(evidence: Evidence) -> None:
    evidence.took_over = None


@pytest.mark.parametrize(
    ("lie", "noticed"),
    [
        (forget_an_outcome, "every accepted order has ended"),
        (leave_one_open, "every accepted order has ended"),
        (lose_a_check, "every check was answered"),
        (have_the_venue_know_a_strange_order, "agree on"),
        (count_a_report_twice, "reports of the venue were each counted once"),
        (copy_one_unit_more, "units filled"),
        (keep_an_order, "nothing is left open: 1"),
        (keep_a_cent_counted, "nothing is left counted: 0.01"),
        (forget_a_strategy, "nothing is left open"),
        (be_polite, "the venue was rude"),
        (answer_always, "the venue was rude"),
        (never_trip, "the kill switch"),
        (never_limit, "the rate limit"),
        (hold_on_for_ever, "what it held is rolled back"),
        (forget_what_was_sent, "what it had sent stays counted"),
        (settle_nothing, "its successor settled"),
        (count_too_little, "counted exactly what was open"),
        (stand_still, "the others traded on"),
        (kill_nobody, "a strategy was killed"),
    ],
)
def test_a_lie_is_noticed(honest: Evidence, lie: Callable[[Evidence], None], noticed: str) -> None:
    evidence = copy.deepcopy(honest)
    lie(evidence)
    assert noticed in failed(evidence)


# ---------------------------------------------------------------------------------------------- small parts


def test_the_venue_realises_profit_first_in_first_out() -> None:
    clearing = Clearing()
    assert [clearing.trade(10, 100), clearing.trade(10, 110), clearing.trade(-15, 120)] == [0, 0, 10 * 20 + 5 * 10]
    assert clearing.trade(-10, 100) == 5 * -10  # five close the rest, five are sold short
    assert clearing.trade(5, 90) == 5 * 10


def test_a_plain_table_has_words_to_the_left_and_numbers_to_the_right() -> None:
    table = show.Table("T", ("who", "USD"), [("ann", "1,000.50"), ("b", "-7")])
    assert show.aligned(table) == ["T", "  who       USD", "  ann  1,000.50", "  b          -7"]


def test_the_same_report_is_made_of_an_execution_whoever_sends_it() -> None:
    fill = words.Execution("a", "o", "V1", "E1", pit.ReportKind.FILL, 3, 10_050, -25, 3)
    report = words.report_of(fill)
    assert (report.quantity, report.price, report.pnl, report.fee) == (
        3,
        Decimal("100.50"),
        Decimal("-0.25"),
        Decimal("0.03"),
    )
