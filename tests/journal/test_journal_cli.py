"""`pitd journal`: what it says of good, damaged, live and stopped journals, and that it only looks."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import builders
import msgspec
import pytest
from daemon import Daemon, folder, until
from journal.files import change, holding, rewrite, rows_in, without, without_last
from journal.histories import Kept

import pit
from pitd import cli
from pitd.core import entry as e
from pitd.core import reading
from pitd.journal import GENESIS, chained, segment_start, segments, snapshots
from pitd.journal_tools import words
from pitd.journal_tools.pages import Pages

ROWS = 320


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """A journal of three segments with their snapshots, left tidily."""
    history = Kept(tmp_path_factory.mktemp("made") / "journal", 11, segment_rows=120, snapshot_rows=100)
    while history.seq < ROWS:
        history.trade(20)
        history.finish_snapshot()
    history.close()
    return history


@pytest.fixture
def directory(made: Kept, tmp_path: Path) -> Path:
    """A copy of it to do anything to."""
    return Path(shutil.copytree(made.directory, tmp_path / "journal"))


class Said(NamedTuple):
    code: int
    out: str
    err: str


class Tool:
    """Runs `pitd journal` in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: object) -> Said:
        self._capsys.readouterr()
        try:
            code = cli.main(["journal", *map(str, words)])
        except SystemExit as left:
            code = int(left.code or 0)
        return Said(code, *self._capsys.readouterr())

    def damages(self, directory: Path) -> list[str]:
        """What verify finds, without the names of the files; and that its exit code says so."""
        said = self("verify", directory, "--json")
        found = json.loads(said.out)
        assert said.code == (65 if found["damages"] else 0), said
        return [each.replace(f"{directory}/", "") for each in found["damages"]]


@pytest.fixture
def tool(capsys: pytest.CaptureFixture[str]) -> Tool:
    return Tool(capsys)


def row_of(directory: Path, seq: int) -> bytes:
    return Pages(directory).line(seq).row


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


# ---------------------------------------------------------------------------------------------- verify


def test_of_a_good_journal_it_says_what_there_is(tool: Tool, directory: Path, made: Kept) -> None:
    said = tool("verify", directory)
    assert (said.code, said.err) == (0, "")
    assert f"good: {made.seq} rows, 1 to {made.seq}, from 1970-01-01 00:00:01.000Z to 1970-01-01" in said.out
    assert f"{len(segments(directory))} segments, {len(snapshots(directory))} good snapshots" in said.out


def test_it_says_the_same_to_programs(tool: Tool, directory: Path, made: Kept) -> None:
    said = tool("verify", directory, "--json")
    found = json.loads(said.out)
    assert (found["rows"], found["first_seq"], found["last_seq"], found["damages"]) == (made.seq, 1, made.seq, [])


def test_quietly_it_says_nothing_of_a_good_journal(directory: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pitd.cli", "journal", "verify", str(directory), "--quiet"],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_on_request_it_tells_how_far_it_is(tool: Tool, directory: Path) -> None:
    assert " rows/s" in tool("verify", directory, "--progress").err
    assert tool("verify", directory).err == ""


@pytest.mark.parametrize("seq", [1, 50, 121, ROWS])
def test_a_changed_row_is_named_alone(tool: Tool, directory: Path, seq: int) -> None:
    rewrite(holding(directory, seq), seq, row=flipped(row_of(directory, seq)))
    told = tool.damages(directory)
    breaks = f"{holding(directory, seq).name}: row {seq} is not what was written: the chain breaks there"
    assert told[0] == breaks
    assert all(f"row {seq} " in each for each in told)


@pytest.mark.parametrize("seq", [1, 50, 130])
def test_a_changed_chain_value_is_named_alone(tool: Tool, directory: Path, seq: int) -> None:
    path = holding(directory, seq)
    rewrite(path, seq, chain=bytes(16))
    assert tool.damages(directory) == [f"{path.name}: row {seq} is not what was written: the chain breaks there"]


def test_it_goes_on_behind_a_damage(tool: Tool, directory: Path) -> None:
    for seq in (20, 21, 200):
        rewrite(holding(directory, seq), seq, chain=bytes([seq]) * 16)
    newest = snapshots(directory)[-1]
    newest.write_bytes(flipped(newest.read_bytes()))
    told = tool.damages(directory)
    assert [each.split(": ")[1].split(" is ")[0] for each in told[:-1]] == ["row 20", "row 21", "row 200"]
    assert told[-1] == f"{newest.name}: is damaged: its checksum is another"


def test_missing_rows_are_named(tool: Tool, directory: Path) -> None:
    path = holding(directory, 30)
    without(path, {30, 31, 40})
    assert tool.damages(directory) == [
        f"{path.name}: rows 30 to 31 are missing",
        f"{path.name}: row 40 is missing",
    ]


def test_a_missing_segment_is_named_with_its_rows(tool: Tool, directory: Path) -> None:
    _, second, third, *_ = segments(directory)
    second.unlink()
    told = tool.damages(directory)
    rows = f"rows {segment_start(second)} to {segment_start(third) - 1}"
    assert f"{third.name}: {rows} before it are missing" in told


def test_a_cut_end_is_known_by_a_snapshot_that_knows_more(tool: Tool, directory: Path, made: Kept) -> None:
    without_last(segments(directory)[-1], 5)
    (told,) = tool.damages(directory)
    assert f"knows row {made.seq}, and the journal ends with row {made.seq - 5}: its end is missing" in told


def test_a_row_that_is_whole_and_makes_no_sense_is_named(tool: Tool, directory: Path) -> None:
    """As a faulty writer would leave it: hashed and chained, and no row."""
    chain, first = GENESIS, segments(directory)[0]
    for seq, row, _ in rows_in(first):
        row = b"\x93no row" if seq == 10 else row
        chain = chained(chain, row)
        rewrite(first, seq, row=row, chain=chain)
    told = tool.damages(directory)
    assert told[0].startswith(f"{segments(directory)[0].name}: row 10 cannot be understood")


def test_pages_that_cannot_be_read_are_named_by_their_rows_and_the_rest_is_read(tool: Tool, directory: Path) -> None:
    first = segments(directory)[0]
    data = bytearray(first.read_bytes())
    at = len(data) // 2 // 4096 * 4096
    data[at : at + 4096] = b"\xff" * 4096
    first.write_bytes(data)
    said = tool("verify", directory, "--json")
    found = json.loads(said.out)
    assert said.code == 65
    assert any("cannot be read" in each and "row" in each for each in found["damages"]), found["damages"]
    assert found["rows"] > ROWS // 2, "what can be read has been read"


def test_a_heading_that_belongs_elsewhere_is_named(tool: Tool, directory: Path) -> None:
    second = segments(directory)[1]
    change(second, "UPDATE meta SET value = ? WHERE name = 'journal'", b"another's own id")
    assert f"{second.name}: belongs to another journal than the segments before it" in tool.damages(directory)


def test_a_snapshot_of_another_history_is_named(tool: Tool, directory: Path, tmp_path: Path) -> None:
    other = Kept(tmp_path / "other", 12)
    other.trade(ROWS - other.seq)
    other.close()
    foreign = snapshots(other.directory)[-1]
    here = directory / f"{other.seq:016d}.snapshot"
    shutil.copy(foreign, here)
    assert tool.damages(directory) == [f"{here.name}: row {other.seq} was another when it was taken"]


def test_many_damages_are_counted_and_not_all_named(tool: Tool, directory: Path) -> None:
    for path in segments(directory):
        for seq, _, _ in rows_in(path):
            rewrite(path, seq, chain=bytes(16))
    said = tool("verify", directory)
    assert said.code == 65
    assert "damaged: and " in said.out
    assert len(said.out.splitlines()) < 110


def test_where_no_journal_is_it_says_so_with_74(tool: Tool, tmp_path: Path) -> None:
    for action in ("verify", "tail", "prune"):
        said = tool(action, tmp_path / "nothing")
        assert (said.code, said.out) == (74, "")
        assert "holds no journal" in said.err


@pytest.mark.parametrize("words", [(), ("bless",), ("show", "x"), ("tail", "-n", "-1"), ("export",)])
def test_what_cannot_be_meant_is_a_usage_error(tool: Tool, directory: Path, words: tuple[str, ...]) -> None:
    assert tool(*words, *([directory] if words[:1] == ("tail",) else [])).code == 64


def test_looking_changes_no_file(tool: Tool, directory: Path) -> None:
    def contents() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (*segments(directory), *snapshots(directory))}

    before = contents()
    tool("verify", directory)
    tool("tail", directory)
    tool("show", 5, directory)
    tool("outcome", "nobody's", directory)
    tool("export", "--format", "csv", directory)
    assert contents() == before


def test_reading_a_journal_of_a_stopped_daemon_leaves_no_file_beside_it(directory: Path, tool: Tool) -> None:
    for path in (*directory.glob("*-wal"), *directory.glob("*-shm")):
        path.unlink()
    before = {path.name: path.stat().st_mtime_ns for path in directory.iterdir()}
    for asked in (("verify",), ("tail",), ("show", 5), ("outcome", "nobody's"), ("export", "--format", "csv")):
        tool(*asked, directory)
        assert {path.name: path.stat().st_mtime_ns for path in directory.iterdir()} == before, asked


def test_a_journal_that_may_only_be_read_can_be_read(directory: Path, made: Kept) -> None:
    """Once its daemon has stopped there is no WAL, and nobody else may make one."""
    if os.getuid() != 0:
        pytest.skip("only root can become somebody who may not write there")
    script = (
        "import os, sys\n"
        "from pitd.journal_tools.pages import Pages\n"
        "from pathlib import Path\n"
        "os.setuid(65534)\n"
        "pages = Pages(Path(sys.argv[1])); print(pages.last_seq(), len(list(pages.rows(0))))"
    )
    for path in (directory, *directory.iterdir()):
        path.chmod(0o755 if path.is_dir() else 0o644)
    for above in directory.parents:
        if above == Path("/tmp"):
            break
        above.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", script, str(directory)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.split() == [str(made.seq), str(made.seq)], done.stderr


# ---------------------------------------------------------------------------------------------- tail and show


class Scene:
    """A few orders with known ids, on files."""

    def __init__(self, directory: Path) -> None:
        self.history = Kept(directory, 1)
        self.history.enter(e.SessionOpened("mm1", b"t" * 16))
        self.directory = directory

    def command(self, command: e.Command) -> e.Reply:
        session = self.history.engine.sessions.live("mm1")
        assert session is not None
        number = session.next_number
        reply = self.history.enter(e.Commanded(session.id, number, number - 1, b"digest..", command))
        self.history.keep()
        return reply

    def accepted(self, id: str, **fields: object) -> int:
        reply = self.command(e.CheckOrder(builders.order(id=id, **fields), True, None))
        assert isinstance(reply, e.Accepted), reply
        return reply.reservation_id


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path / "scene")
    yield made
    made.history.close()


def test_a_line_says_who_what_and_what_came_of_it(tool: Tool, scene: Scene) -> None:
    id = scene.accepted("o1", quantity="12.50", price="99.5")
    scene.command(e.Rollback(id, "the venue said no"))
    first, second = tool("tail", "-n", 2, scene.directory).out.splitlines()
    assert first.split("  mm1 ")[0].split() == [str(id), "1970-01-01", "00:00:01.000Z"]
    assert first.endswith(f"check o1 alpha buy 12.5 AAPL/USD @ 99.5, sent → reservation {id} sent → accepted, sent")
    assert f"rollback {id} (the venue said no) → {id} rolled_back (owner: the venue said no) → rolled_back" in second


def test_tail_shows_so_many_rows_across_segments(tool: Tool, directory: Path, made: Kept) -> None:
    lines = tool("tail", "-n", 250, directory).out.splitlines()
    assert [int(line.split()[0]) for line in lines] == list(range(made.seq - 249, made.seq + 1))


def test_nothing_that_a_client_wrote_reaches_the_terminal_as_a_command(tool: Tool, scene: Scene) -> None:
    scene.command(e.Rollback(scene.accepted("o1"), "\x1b[2Jgone\nand a line of its own"))
    said = tool("tail", "-n", 2, scene.directory).out + tool("outcome", "o1", scene.directory).out
    assert "\x1b" not in said and "\nand a line" not in said


def test_show_explains_a_reject_with_its_numbers(tool: Tool, scene: Scene) -> None:
    scene.accepted("o1", quantity="90", price="200")
    assert isinstance(scene.command(e.CheckOrder(builders.order(id="o2", quantity="90"), True, None)), e.Refused)
    said = tool("show", scene.history.seq, scene.directory)
    assert said.code == 0
    assert "of open_order_notional, for account alpha" in said.out
    assert "limit 20000, used 18000, requested 9000" in said.out
    assert "client mm1, session 2, number 2" in said.out


def test_a_row_that_is_not_there_is_not_found(tool: Tool, directory: Path, made: Kept) -> None:
    said = tool("show", made.seq + 1, directory)
    assert said.code == 1
    assert f"its rows go from 1 to {made.seq}" in said.err


def test_effects_of_a_policy_that_is_not_here_are_shown_as_they_are(tool: Tool, scene: Scene) -> None:
    scene.accepted("o1")
    kept = scene.history
    entry = e.Entry(kept.seq + 1, kept.now_ns, kept.now_ns, e.LeasesDue(5))
    kept.journal.append([e.Row(entry, (e.PolicyChanged("own_policy", ["Counted", 42]),), e.Done())])
    try:
        assert tool("verify", scene.directory).code == 0
        assert "leases due" in tool("tail", "-n", 1, scene.directory).out
        shown = tool("show", entry.seq, scene.directory).out
        assert "own_policy" in shown and "Counted, 42" in shown
    finally:
        kept.engine.stand_at(entry.seq, kept.now_ns)


# ---------------------------------------------------------------------------------------------- outcome


def test_outcome_shows_every_row_of_the_order_and_where_it_stands(tool: Tool, scene: Scene) -> None:
    scene.command(e.CheckOrder(builders.order(id="o1", quantity="95"), True, None))
    other = scene.accepted("o10")
    id = scene.accepted("o1", quantity="20")
    scene.command(e.Commit(other, "V10", False))
    scene.command(e.Commit(id, "V1", False))
    scene.command(e.ApplyReport(builders.fill("o1", "5")))
    scene.command(e.ApplyReport(builders.report("fill", venue_order_id="V1", quantity="2", price="100")))
    said = tool("outcome", "o1", scene.directory)
    rows, _, told = said.out.partition("\n\n")
    assert said.code == 0
    assert [int(row.split()[0]) for row in rows.splitlines()] == [id - 2, id, id + 2, id + 3, id + 4]
    assert "order o1 of account alpha: working\n  filled 7, open 13\n" in told
    assert f"reservation {id}, client mm1\n  at the venue: V1" in told


def test_outcome_tells_of_a_refused_order_by_which_limit(tool: Tool, scene: Scene) -> None:
    scene.command(e.CheckOrder(builders.order(id="big", quantity="95"), True, None))
    said = tool("outcome", "big", scene.directory)
    assert said.code == 0
    assert "order big of account alpha: refused, and never counted" in said.out
    assert "size (OrderQtyExceedsLimit): quantity 95 of AAPL/USD, limit 90" in said.out


def test_outcome_keeps_to_an_account_where_one_is_named(tool: Tool, scene: Scene) -> None:
    scene.accepted("o1")
    scene.accepted("o1", account="gamma")
    both = json.loads(tool("outcome", "o1", scene.directory, "--json").out)
    assert [each["account"] for each in both["orders"]] == ["alpha", "gamma"]
    one = json.loads(tool("outcome", "o1", scene.directory, "--account", "gamma", "--json").out)
    assert [each["account"] for each in one["orders"]] == ["gamma"]
    assert (len(both["rows"]), len(one["rows"])) == (2, 1)


def test_an_order_that_no_row_names_is_not_found(tool: Tool, scene: Scene) -> None:
    scene.accepted("o1")
    said = tool("outcome", "o", scene.directory)
    assert (said.code, "no row" in said.out) == (1, True)


# ---------------------------------------------------------------------------------------------- export


def test_export_writes_one_object_a_row_with_every_field(tool: Tool, directory: Path, made: Kept) -> None:
    said = tool("export", "--format", "jsonl", directory)
    told = [json.loads(line) for line in said.out.splitlines()]
    assert [each["seq"] for each in told] == list(range(1, made.seq + 1))
    checks = [(each, row) for each, row in zip(told, made.rows, strict=True) if "CheckOrder" in str(row)]
    assert checks
    for each, row in checks:
        body = row.entry.body
        if isinstance(body, e.Commanded) and isinstance(body.command, e.CheckOrder):
            order = each["entry"]["command"]["order"]
            assert Decimal(order["quantity"]) == body.command.order.quantity
            assert [effect["kind"] for effect in each["effects"]] == [type(effect).__name__ for effect in row.effects]


def test_export_to_csv_keeps_numbers_exact_and_names_the_order_of_a_reservation(tool: Tool, scene: Scene) -> None:
    id = scene.accepted("o,1", quantity="12.50", price="99.123456789")
    scene.command(e.Commit(id, "V1", False))
    records = list(csv.DictReader(io.StringIO(tool("export", "--format", "csv", scene.directory).out)))
    check, commit = records[-2:]
    assert (check["kind"], check["order_id"], check["quantity"], check["price"]) == (
        "CheckOrder",
        "o,1",
        "12.50",
        "99.123456789",
    )
    assert (commit["kind"], commit["order_id"], commit["reservation_id"], commit["state"]) == (
        "Commit",
        "o,1",
        str(id),
        "working",
    )


def test_export_keeps_to_the_rows_asked_for(tool: Tool, directory: Path) -> None:
    said = tool("export", "--format", "csv", "--first", 100, "--last", 130, directory)
    assert [int(each["seq"]) for each in csv.DictReader(io.StringIO(said.out))] == list(range(100, 131))


def test_export_writes_to_a_file_and_never_over_one(tool: Tool, directory: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    assert tool("export", "--format", "jsonl", directory, "--output", target).code == 0
    before = target.read_bytes()
    assert len(before.splitlines()) >= ROWS
    assert tool("export", "--format", "jsonl", directory, "--output", target).code != 0
    assert target.read_bytes() == before


# ---------------------------------------------------------------------------------------------- prune


def test_prune_asks_first_and_keeps_everything_when_nobody_agrees(
    tool: Tool, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_times(directory)
    before = segments(directory) + snapshots(directory)
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    said = tool("prune", directory, "--older-than", "1h")
    assert (said.code, "nothing was deleted" in said.out) == (0, True)
    assert segments(directory) + snapshots(directory) == before


def test_prune_deletes_old_segments_and_the_rest_is_a_good_journal(tool: Tool, directory: Path) -> None:
    change_times(directory)
    first, *_, last = segments(directory)
    said = tool("prune", directory, "--older-than", "1h", "--yes")
    assert said.code == 0 and first.name in said.out and " MB" in said.out
    assert not first.exists() and last.exists()
    verified = tool("verify", directory)
    assert verified.code == 0
    assert f"rows before {segment_start(segments(directory)[0])} were pruned" in verified.out


def test_prune_keeps_what_is_younger(tool: Tool, directory: Path) -> None:
    said = tool("prune", directory, "--older-than", "1h", "--yes")
    assert all(path.exists() for path in segments(directory))
    assert segments(directory)[0].stem.endswith("1"), said.out


def test_prune_keeps_what_recovery_needs(tool: Tool, directory: Path) -> None:
    change_times(directory)
    for path in snapshots(directory)[1:]:
        path.unlink()
    before = segments(directory)
    tool("prune", directory, "--older-than", "1h", "--yes")
    assert segments(directory) == before


def test_prune_deletes_nothing_while_recovery_s_snapshot_is_damaged(tool: Tool, directory: Path) -> None:
    change_times(directory)
    newest = snapshots(directory)[-1]
    newest.write_bytes(flipped(newest.read_bytes()))
    before = segments(directory)
    said = tool("prune", directory, "--older-than", "1h", "--yes")
    assert (said.code, newest.name in said.err) == (65, True)
    assert segments(directory) == before


def change_times(directory: Path) -> None:
    """As if every segment had been begun long ago."""
    for path in segments(directory):
        change(path, "UPDATE meta SET value = 1 WHERE name = 'wall_ns'")


# ---------------------------------------------------------------------------------------------- a live daemon

LIVE = """
[gate]
keep_closed = 2
"""


def journal_of(daemon: Daemon) -> Path:
    return daemon.folder / "journal"


def trade(engine: pit.Engine, orders: int) -> None:
    for _ in range(orders):
        held = engine.execute_pre_trade(builders.order(), sent=True)
        assert isinstance(held, pit.Reservation), str(held)
        held.rollback(reason="a test")


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with folder() as home:
        limits = f'[journal]\ndirectory = "{home}/journal"\nsegment_rows = 300\nsnapshot_rows = 200\n{LIVE}'
        daemon = Daemon(home, limits)
        try:
            yield daemon.start()
        finally:
            daemon.kill()


def test_a_live_journal_is_verified_while_it_is_written(tool: Tool, daemon: Daemon) -> None:
    with daemon.connect("mm1") as engine:
        for _ in range(12):
            trade(engine, 60)
            said = tool("verify", journal_of(daemon))
            assert said.code == 0, said.out


def test_the_configuration_says_where_the_journal_is(tool: Tool, daemon: Daemon) -> None:
    with daemon.connect("mm1") as engine:
        trade(engine, 1)
    said = tool("tail", "--config", daemon.config)
    assert "rollback" in said.out and "goodbye" in said.out


def test_tail_follows_what_comes_in_across_segments(daemon: Daemon) -> None:
    with daemon.connect("mm1") as engine:
        follower = subprocess.Popen(
            [sys.executable, "-m", "pitd.cli", "journal", "tail", "-f", "-n", "1000", str(journal_of(daemon))],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert follower.stdout is not None
            assert follower.stdout.readline().split()[0] == "1"
            trade(engine, 250)
            seen = 1
            while seen < 502:
                line = follower.stdout.readline()
                seen += 1
                assert int(line.split()[0]) == seen
            follower.send_signal(signal.SIGINT)
            assert follower.wait(20) == 130
        finally:
            follower.kill()
            follower.wait()
            assert follower.stdout is not None
            follower.stdout.close()


def test_old_segments_are_pruned_beside_a_running_daemon_that_then_starts_again(tool: Tool, daemon: Daemon) -> None:
    with daemon.connect("mm1") as engine:

        def are_enough() -> bool:
            trade(engine, 50)
            return len(snapshots(journal_of(daemon))) >= 3

        until(are_enough, "snapshots")
        first = segments(journal_of(daemon))[0]
        assert tool("prune", journal_of(daemon), "--older-than", "1ms", "--yes").code == 0
        assert not first.exists()
        trade(engine, 10)
    daemon.kill()
    daemon.start()
    assert tool("verify", journal_of(daemon)).code == 0


def test_a_reader_never_keeps_the_wal_from_shrinking(tmp_path: Path) -> None:
    history = Kept(tmp_path / "journal", 1)
    history.trade(50)
    reader = Pages(history.directory).rows(0)
    next(reader)
    with closing(sqlite3.connect(segments(history.directory)[0], isolation_level=None, timeout=0)) as connection:
        is_busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert not is_busy
    assert len(list(reader)) == history.seq - 1
    history.close()


def test_who_reads_while_old_segments_are_pruned_goes_on_with_what_is_left(directory: Path, made: Kept) -> None:
    _, second, third, *_ = segments(directory)
    reader = Pages(directory).rows(0)
    read = [next(reader).seq]
    second.unlink()
    read += [line.seq for line in reader]
    assert read == [*range(1, segment_start(second)), *range(segment_start(third), made.seq + 1)]


def test_after_a_start_the_history_before_the_snapshot_is_verified_behind_it(daemon: Daemon) -> None:
    with daemon.connect("mm1") as engine:
        trade(engine, 200)
    daemon.stop()
    daemon.start()
    until(lambda: "journal.verified" in daemon.log(), "the verdict")
    assert daemon.log().index("daemon.ready") < daemon.log().index("journal.verified")
    assert daemon.stop() == 0


def test_damage_in_old_history_is_an_error_in_the_log_of_a_daemon_that_serves(daemon: Daemon) -> None:
    with daemon.connect("mm1") as engine:
        trade(engine, 200)
    daemon.stop()
    rewrite(holding(journal_of(daemon), 50), 50, row=flipped(row_of(journal_of(daemon), 50)))
    daemon.start()
    until(lambda: "damages=" in daemon.log(), "the verdict")
    assert "ERROR journal.damaged" in daemon.log() and "row 50 is not what was written" in daemon.log()
    with daemon.connect("mm1") as engine:
        trade(engine, 1)


def test_a_first_start_verifies_nothing_and_a_stop_ends_what_still_verifies(daemon: Daemon) -> None:
    with daemon.connect("mm1") as engine:
        trade(engine, 300)
    assert "journal.verified" not in daemon.log()
    daemon.stop()
    daemon.start()
    assert daemon.stop() == 0
    assert "journal.not_verified" not in daemon.log()


# ---------------------------------------------------------------------------------------------- what rows look like


def test_every_row_of_a_rough_history_has_words_and_a_record(tool: Tool, directory: Path, made: Kept) -> None:
    """Every kind of entry, effect and reply that it brings about can be shown."""
    kinds = {type(effect).__name__ for row in made.rows for effect in row.effects}
    assert len(kinds) > 12
    for line in Pages(directory).rows(0):
        reading.decode(line.row)
    for seq in range(1, made.seq + 1, 3):
        assert tool("show", seq, directory).code == 0
    assert len(tool("tail", "-n", 10_000, directory).out.splitlines()) == made.seq
    assert msgspec.json.decode(tool("tail", "-n", 1, directory, "--json").out)["seq"] == made.seq


def test_a_look_that_a_daemon_began_ends_with_it(directory: Path) -> None:
    command = [sys.executable, "-m", "pitd.cli", "journal", "verify", str(directory), "--quiet", "--json", "--beside"]
    for beside, code in ((os.getpid(), 0), (os.getpid() + 1, 130)):
        assert subprocess.run([*command, str(beside)], capture_output=True, check=False).returncode == code


def test_a_row_says_which_quote_it_was_decided_by() -> None:
    core = builders.Core('[limits]\nnear = { control = "price_collar", max_percent = 5 }')
    core.quote(mark="100", bid="99.5")
    core.advance(2)
    core.check(builders.order(price="106"))
    told = "\n".join(words.whole(core.rows[-1], "mm1", b""))
    assert "quote     AAPL/USD, mark 100, bid 99.5, 2.000 s old" in told
