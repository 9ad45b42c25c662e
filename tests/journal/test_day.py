"""A day out of the journal: what each account did, by asset, and who changed what, within a day of some zone."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from builders import fill, money, order, report
from daemon import PATIENCE_S
from hypothesis import given
from hypothesis import strategies as st

import pit
from pitd import bootstrap, config, journal, operator
from pitd.clock import ManualClock
from pitd.core import entry as e
from pitd.errors import JournalFailed
from pitd.journal_tools import day

UTC = ZoneInfo("UTC")
LONDON = ZoneInfo("Europe/London")
DAY = date(2100, 3, 14)
"""A day that no test runs on: the machine's own clock has no say in it."""

LIMITS = """
[accounts]
alpha.group = "eq"
[instruments.ESZ6]
underlying = "ES"
settlement = "USD"
kind = "linear"
multiplier = "50"
[limits]
size = { control = "order_size_limit", each = "account", max_quantity = "500" }
loss = { control = "pnl_kill_switch", each = "account", settlement = "USD", max_loss = "100" }
[gate]
uncovered = "allow"
"""


class Desk:
    """A daemon without its socket: its journal, and two clients, at a wall clock of its own."""

    def __init__(self, directory: Path, clock: ManualClock, more: str = "") -> None:
        text = f'[journal]\ndirectory = "{directory}"\nreserve = "64KiB"\n{more}\n{LIMITS}'
        self.clock = clock
        self.sequencer, kept = bootstrap.build_daemon(config.parse(text, "test.toml"), clock_from=lambda _: clock)
        assert kept is not None
        self.journal = kept
        self._sessions = {name: self.sequencer.open_session(name, b"t" * 16) for name in ("mm1", "ops")}

    def say(self, command: e.Command, client: str = "mm1") -> Any:
        session = self.sequencer.engine.sessions.get(self._sessions[client])
        assert session is not None
        number = session.next_number
        reply = self.sequencer.command(session, number, number - 1, b"", command).reply
        self.sequencer.release()
        self.journal.maintain(self.sequencer.engine)
        self.clock.advance(0.001)
        return reply

    def check(self, **fields: Any) -> Any:
        return self.say(e.CheckOrder(order(**fields), True, None))

    def report(self, wanted: pit.ExecutionReport) -> Any:
        return self.say(e.ApplyReport(wanted))

    def at(self, moment: str, zone: ZoneInfo = UTC) -> Desk:
        """Waits until then, on the day."""
        when = datetime.fromisoformat(f"{DAY.isoformat()}T{moment}").replace(tzinfo=zone)
        self.clock.set_ns(int(when.timestamp() * 1e9))
        return self


@contextmanager
def desk(directory: Path, more: str = "") -> Iterator[Desk]:
    directory.mkdir(exist_ok=True)
    clock = ManualClock(int(datetime(2100, 3, 13, 12, tzinfo=UTC).timestamp()) * 10**9)
    with journal.lock(directory):
        one = Desk(directory, clock, more)
        try:
            yield one
        finally:
            one.journal.close(one.sequencer.engine)


def told(directory: Path, when: date = DAY, zone: ZoneInfo = UTC) -> day.Day:
    return day.report(directory, bootstrap.blank_engine, when, zone)


def line(found: day.Day, account: str = "alpha", settlement: str = "USD") -> day.Line:
    (one,) = (each for each in found.accounts if (each.account, each.settlement) == (account, settlement))
    return one


def test_orders_are_counted_by_what_they_were_answered(tmp_path: Path) -> None:
    with desk(tmp_path / "j") as one:
        one.at("09:00")
        one.check(id="o1")
        one.check(id="o1")
        one.check(quantity="501")
        one.check(quantity="502")
        one.check(instrument="NOPE")
        request = one.say(e.StartOrder(order()))
        one.say(e.ExecuteRequest(request.request_id, False, None))
        one.say(e.StartOrder(order(quantity="503")))
    found = told(tmp_path / "j")
    usd = line(found)
    assert (usd.orders, usd.accepted, usd.rejected) == (5, 2, 3)
    assert usd.rejects == {"OrderQtyExceedsLimit": 3}
    assert line(found, settlement="").rejects == {"UnknownInstrument": 1}


def test_fills_are_added_up_by_asset_with_their_multiplier(tmp_path: Path) -> None:
    with desk(tmp_path / "j") as one:
        one.at("09:00")
        one.check(id="o1")
        one.check(id="o2", instrument=pit.Instrument("BTC", "USDT"), price="20000.5", quantity="2")
        one.check(id="o3", instrument="ESZ6", price="4800", quantity="2")
        one.report(fill("o1", "4", "99.5", pnl="12.5", fee="0.25"))
        one.report(fill("o2", "1.5", "20000", pnl="-3"))
        one.report(fill("o3", "2", "4797.5"))
        again = fill("o1", "1", "100", fee="1")
        one.report(again)
        one.report(again)
    usd, usdt = line(told(tmp_path / "j")), line(told(tmp_path / "j"), settlement="USDT")
    assert (usd.fills, usd.quantity, usd.notional) == (3, 7, Decimal(398 + 100 + 479750))
    assert (usd.pnl, usd.fees) == (Decimal("12.5"), Decimal("1.25"))
    assert (usdt.fills, usdt.quantity, usdt.notional, usdt.pnl) == (1, Decimal("1.5"), 30000, -3)


def test_a_fill_without_a_price_counts_at_its_orders_and_says_so_when_there_is_none(tmp_path: Path) -> None:
    with desk(tmp_path / "j") as one:
        one.at("09:00")
        one.check(id="o1")
        one.check(id="o2", price=None)
        one.report(fill("o1", "2", None))
        one.report(fill("o2", "3", None))
    usd = line(told(tmp_path / "j"))
    assert (usd.notional, usd.unpriced, usd.fills) == (200, 1, 2)


def test_money_and_fills_of_orders_that_nobody_knows_are_the_accounts_too(tmp_path: Path) -> None:
    with desk(tmp_path / "j") as one:
        one.at("09:00")
        one.report(fill("stranger", "3", "10", instrument=pit.Instrument("AAPL", "USD"), pnl="5"))
        one.report(money("other", pnl="-2", fee="1"))
    usd = line(told(tmp_path / "j"))
    assert (usd.fills, usd.notional, usd.pnl, usd.fees, usd.orders) == (1, 30, 3, 1, 0)


def test_a_fill_that_is_corrected_or_undone_makes_what_it_makes_by_then(tmp_path: Path) -> None:
    with desk(tmp_path / "j") as one:
        one.at("09:00")
        one.check(id="o1")
        one.report(fill("o1", "4", "99.5", pnl="12.5", fee="0.25", report_id="f1"))
        one.report(report("correct", order_id="o1", fill_id="f1", fee="0.5"))
        one.report(fill("o1", "1", "99.5", pnl="-3", fee="0.25", report_id="f2"))
        one.report(report("bust", order_id="o1", fill_id="f2"))
    usd = line(told(tmp_path / "j"))
    assert (usd.pnl, usd.fees) == (Decimal("12.5"), Decimal("0.5"))


def test_a_fee_stands_under_the_asset_that_it_was_paid_in(tmp_path: Path) -> None:
    with desk(tmp_path / "j") as one:
        one.at("09:00")
        one.check(id="o1")
        one.report(fill("o1", "1", pnl="3", fee="0.25", fee_asset="USD", report_id="f1"))
        one.report(fill("o1", "1", fee="0.01", fee_asset="BNB", report_id="f2"))
        one.report(fill("o1", "1", fee="0.02", fee_asset="BNB", report_id="f3"))
        one.report(fill("o1", "1", report_id="f4"))
        one.report(report("correct", order_id="o1", fill_id="f2", fee="0.04"))
        one.report(report("bust", order_id="o1", fill_id="f3"))
        one.report(report("correct", order_id="o1", fill_id="f4", fee="7", fee_asset="USDT"))
    found = told(tmp_path / "j")
    assert [(each.settlement, each.fees, each.pnl, each.fills) for each in found.accounts] == [
        ("BNB", Decimal("0.04"), 0, 0),
        ("USD", Decimal("0.25"), 3, 4),
        ("USDT", 7, 0, 0),
    ]


def test_changes_name_who_and_why_in_order(tmp_path: Path) -> None:
    with desk(tmp_path / "j") as one:
        one.at("09:00")
        one.check(id="o1")
        for command in (
            e.BlockScope("account alpha", "being looked at"),
            e.SetTradingState("firm", pit.TradingState.HALTED, "fire drill"),
            e.SetTradingState("firm", pit.TradingState.ACTIVE, "drill over"),
            e.SetTradingState("firm", pit.TradingState.ACTIVE, "again"),
            e.SettleOrder("alpha", "o1", True, "asked the venue"),
        ):
            one.say(command, "ops")
        one.report(money("x", pnl="-100"))
        one.say(e.Rearm("loss", "account alpha", Decimal(50), "talked"), "ops")
        one.say(e.Rollback(1, "not a change of rules"))
    changes = told(tmp_path / "j").changes
    assert [(each.author, each.what, each.reason) for each in changes[:5]] == [
        ("ops", "block account alpha", "being looked at"),
        ("ops", "halt firm", "fire drill"),
        ("ops", "resume firm", "drill over"),
        ("ops", "settle alpha o1 as working", "asked the venue"),
        ("pnl_kill_switch", "loss tripped: account alpha is blocked", changes[4].reason),
    ]
    assert (changes[5].author, changes[5].reason) == ("ops", "talked")
    assert [each.seq for each in changes] == sorted(each.seq for each in changes)
    assert len(changes) == 6


def test_a_start_under_other_limits_is_a_change(tmp_path: Path) -> None:
    directory = tmp_path / "j"
    with desk(directory) as one:
        clock = one.at("09:00").clock
    with journal.lock(directory):
        again = Desk(directory, clock, "[daemon]\nbatch = 7\n")
        again.journal.close(again.sequencer.engine)
        same = Desk(directory, clock, "[daemon]\nbatch = 7\n")
        same.journal.close(same.sequencer.engine)
    whats = [each.what for each in told(directory).changes]
    assert whats == ["configured anew", "started"]


def test_only_that_day_counts_in_its_zone(tmp_path: Path) -> None:
    """On 14 March 2100 London is at UTC; on the day that the clocks go forward it has 23 hours."""
    with desk(tmp_path / "j") as one:
        for moment in ("00:00:00", "23:59:59.9"):
            one.at(moment).check()
        one.clock.advance(0.2)
        one.check()
    assert line(told(tmp_path / "j")).orders == 2
    assert line(told(tmp_path / "j", date(2100, 3, 15))).orders == 1
    assert told(tmp_path / "j", date(2100, 3, 13)).accounts == []
    assert line(told(tmp_path / "j", zone=ZoneInfo("Asia/Tokyo"))).orders == 1
    assert line(told(tmp_path / "j", date(2100, 3, 15), ZoneInfo("Asia/Tokyo"))).orders == 2


@pytest.mark.parametrize(("when", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2026, 7, 1), 24)])
def test_a_day_on_which_the_clocks_change_is_as_long_as_it_is(when: date, hours: int) -> None:
    following = date.fromordinal(when.toordinal() + 1)
    assert day._wall_ns(following, LONDON) - day._wall_ns(when, LONDON) == hours * 3_600 * 10**9


def test_an_order_of_the_day_before_is_known_when_it_fills(tmp_path: Path) -> None:
    with desk(tmp_path / "j") as one:
        one.check(id="o1", instrument="ESZ6", price="4800", quantity="1")
        one.at("09:00").report(fill("o1", "1", "4800", pnl="7"))
    usd = line(told(tmp_path / "j"))
    assert (usd.orders, usd.fills, usd.notional, usd.pnl) == (0, 1, 240_000, 7)


def test_a_day_is_the_same_read_from_any_segment(tmp_path: Path) -> None:
    """Many small files: the same day as from one."""
    days = []
    for name, more, least in (("one", "", 1), ("many", "segment_rows = 100\nsnapshot_rows = 100", 3)):
        with desk(tmp_path / name, more) as each:
            for at in range(200):
                each.check(id=f"before-{at}")
            deadline = time.monotonic() + PATIENCE_S
            while len(journal.segments(tmp_path / name)) < least:  # a new file begins when its snapshot is ready
                assert time.monotonic() < deadline
                each.check()
            each.at("09:00")
            for at in range(200):
                each.report(fill(f"before-{at}", "1", "100", pnl="0.5", report_id=f"r{at}"))
        days.append(told(tmp_path / name))
    assert days[0].accounts == days[1].accounts
    journal.segments(tmp_path / "many")[0].unlink()
    assert told(tmp_path / "many").accounts == days[0].accounts, "what was pruned lies before that day"


@given(
    st.lists(st.tuples(st.sampled_from(["alpha", "beta"]), st.integers(1, 600), st.integers(1, 9)), max_size=30),
)
def test_the_lines_add_up_to_what_was_said(tmp_path_factory: pytest.TempPathFactory, said: list[Any]) -> None:
    directory = tmp_path_factory.mktemp("j")
    taken: dict[str, int] = {}
    with desk(directory) as one:
        one.at("09:00")
        for at, (account, quantity, filled) in enumerate(said):
            reply = one.check(id=f"o{at}", account=account, quantity=str(quantity))
            if isinstance(reply, e.Accepted):
                taken[account] = taken.get(account, 0) + filled
                one.report(fill(f"o{at}", str(filled), "1", account=account, report_id=f"r{at}"))
    found = told(directory)
    assert sum(each.orders for each in found.accounts) == len(said)
    assert all(each.orders == each.accepted + each.rejected for each in found.accounts)
    assert {each.account: each.quantity for each in found.accounts if each.quantity} == taken


def test_a_folder_without_a_journal_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(JournalFailed, match="no journal"):
        told(tmp_path)


# ---------------------------------------------------------------------------------------------- pitctl report


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    with desk(tmp_path / "j") as one:
        one.at("09:00")
        one.check(id="o1")
        one.check(quantity="501")
        one.report(fill("o1", "4", "99.5", pnl="12.5", fee="0.25"))
        one.say(e.BlockScope("account alpha", "=being, looked \x1b[2J at"), "ops")
    return tmp_path / "j"


def say(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert operator.main(["report", "day", *words]) == 0
    return capsys.readouterr().out


def test_a_day_is_shown_without_a_daemon(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = say(capsys, str(directory), "--date", DAY.isoformat(), "--zone", "Europe/London")
    for word in ("2100-03-14 in Europe/London", "alpha", "OrderQtyExceedsLimit", "398", "12.5", "block account alpha"):
        assert word in said
    assert "\x1b" not in said


def test_a_day_as_csv_and_its_changes(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = csv.DictReader(io.StringIO(say(capsys, str(directory), "--date", DAY.isoformat(), "--csv")))
    assert (row["account"], row["orders"], row["rejects"], row["pnl"]) == (
        "alpha",
        "2",
        "OrderQtyExceedsLimit=1",
        "12.5",
    )
    (change,) = csv.DictReader(
        io.StringIO(say(capsys, str(directory), "--date", DAY.isoformat(), "--csv", "--changes"))
    )
    assert (change["author"], change["what"]) == ("ops", "block account alpha")
    assert change["wall"].startswith("2100-03-14T09:00:00")


def test_a_day_as_json_is_exact(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(say(capsys, str(directory), "--date", DAY.isoformat(), "--json"))
    (account,) = found["accounts"]
    assert (account["notional"], account["fees"], account["rejects"]) == ("398", "0.25", {"OrderQtyExceedsLimit": 1})
    assert found["changes"][0]["author"] == "ops" and found["missing"] == ""


@pytest.mark.parametrize("words", [("--date", "yesterday"), ("--zone", "Mars/Base"), ("--changes",)])
def test_what_cannot_be_meant_is_refused(directory: Path, words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        operator.main(["report", "day", str(directory), *words])
    assert ended.value.code == 64
