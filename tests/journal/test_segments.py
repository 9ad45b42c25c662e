"""Segments: what rolls, what is kept and for how long, and that neither the loop nor a reader is in the way."""

from __future__ import annotations

import itertools
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from daemon import until
from journal.histories import Kept, brought_back, digest, kept, settings

from pitd import history, journal
from pitd.core import entry as e
from pitd.core.reading import encode
from pitd.errors import JournalDamaged, JournalFailed
from pitd.journal import GENESIS, START, Head, SegmentJournal, chained, segment_start, segments, snapshots
from pitd.records import pack


def some_rows(after: int, count: int, size: int = 200) -> list[e.Row]:
    """Rows that mean nothing, for what only looks at files."""
    return [e.Row(e.Entry(after + at, 1, 1, e.SessionEnded(0, "x" * size)), (), e.Done()) for at in range(1, count + 1)]


class Plain:
    """A journal that is written without an engine."""

    def __init__(self, directory: Path, **other: object) -> None:
        directory.mkdir(exist_ok=True)
        self.journal = SegmentJournal(settings(directory, **other), b"journal's own id", START)

    def write(self, transactions: int, rows: int = 1) -> None:
        for _ in range(transactions):
            self.journal.append(some_rows(self.journal.head.seq, rows))

    @property
    def wal(self) -> Path:
        segment = self.journal._segment
        return segment.with_name(segment.name + "-wal")


class NoEngine:
    """Stands for an engine that is never asked for its state."""

    seq = -1


def maintained(plain: Plain) -> None:
    plain.journal.maintain(NoEngine())  # type: ignore[arg-type]


def test_a_segment_rolls_at_its_number_of_rows_and_the_next_goes_on_from_it(tmp_path: Path) -> None:
    with kept(tmp_path / "j", segment_rows=100, snapshot_rows=1_000_000) as live:
        for _ in range(45):
            live.trade(10)
            live.finish_snapshot()  # while one is being written, no segment rolls
        found = history.read_segments(live.directory)
        assert len(found) == 5
        lines = {line.seq: line for line in history.lines(found, START)}
        for segment in found[1:]:
            assert segment.chain == lines[segment.first_seq - 1].chain
            assert segment.first_seq == segment_start(segment.path)
        for one, following in itertools.pairwise(found):
            assert 100 <= following.first_seq - one.first_seq <= 114
        assert digest(brought_back(live.directory).engine) == live.digests[live.seq]


def test_every_segment_but_the_first_begins_with_a_snapshot(tmp_path: Path) -> None:
    with kept(tmp_path / "j", segment_rows=100, snapshot_rows=30) as live:
        for _ in range(25):
            live.trade(20)
            live.finish_snapshot()
        live.finish_behind()
        begins = {segment_start(path) - 1 for path in segments(live.directory)} - {0}
        assert len(begins) >= 3
        assert begins <= {int(path.stem) for path in snapshots(live.directory)}


def test_the_chain_goes_over_every_row_from_the_first(tmp_path: Path) -> None:
    with kept(tmp_path / "j", segment_rows=100) as live:
        live.trade(250)
        chain = GENESIS
        for line in history.lines(history.read_segments(live.directory), START):
            chain = chained(chain, line.row)
            assert line.chain == chain
        assert live.head == Head(live.seq, chain)


def test_rows_are_kept_all_or_none(tmp_path: Path) -> None:
    plain = Plain(tmp_path)
    plain.write(3)
    pages = plain.journal._connection.execute("PRAGMA page_count").fetchone()[0]
    plain.journal._connection.execute(f"PRAGMA max_page_count={pages + 5}")
    with pytest.raises(JournalFailed, match="no space"):
        plain.journal.append(some_rows(3, 1_000))
    assert [line.seq for line in history.lines(history.read_segments(tmp_path), START)] == [1, 2, 3]
    assert plain.journal.head.seq == 3
    plain.journal.close()


def test_a_journal_goes_on_where_it_ended(tmp_path: Path) -> None:
    for _ in range(4):
        found = brought_back(tmp_path)
        live = Kept(tmp_path, seed=found.head.seq, found=found if found.journal else None, segment_rows=100)
        live.first_id = 1_000 * found.head.seq
        live.trade(70)
        live.close()
        assert digest(brought_back(tmp_path).engine) == live.digests[live.seq]
    ids = {segment.journal for segment in history.read_segments(tmp_path)}
    assert ids == {b"journal's own id"}


def test_what_a_killed_daemon_had_only_begun_is_taken_away(tmp_path: Path) -> None:
    with kept(tmp_path / "j", segment_rows=100) as live:
        live.trade(80)
        dead = live.die(tmp_path / "dead")
    for name in ("0000000000000082.beginning", "0000000000000082.beginning-wal", "0000000000000050.writing"):
        (dead / name).write_bytes(b"half of it")
    found = brought_back(dead)
    assert digest(found.engine) == live.digests[live.seq]
    assert len(list(dead.glob("*.beginning*"))) == 2, "recovery changes nothing"
    again = Kept(dead, found=found, segment_rows=100)
    assert list(dead.glob("*.beginning*")) == list(dead.glob("*.writing")) == []
    again.trade(60)
    assert len(segments(dead)) == 2
    again.journal.close()


def test_a_half_written_last_transaction_is_as_if_it_had_not_been(tmp_path: Path) -> None:
    """And what it left behind in the WAL is no damage, also after shorter ones were written over its beginning."""
    with kept(tmp_path / "j") as live:
        live.trade(60)
        dead = live.die(tmp_path / "dead")
        whole = {path.name: path.stat().st_size for path in dead.glob("*-wal")}
        live.journal.append(some_rows(live.seq, 100, size=900))  # more than may wait in the tail
        later = live.die(tmp_path / "later")
    (name, size), *_ = whole.items()
    uncommitted = (later / name).read_bytes()[: -(24 + 4096)]  # without its last frame, which is the commit
    assert len(uncommitted) > size + 8 * (24 + 4096)
    (dead / name).write_bytes(uncommitted)
    found = brought_back(dead)
    assert digest(found.engine) == live.digests[found.head.seq]

    with closing(sqlite3.connect(segments(dead)[0], isolation_level=None)) as next_daemon:
        next_daemon.execute("PRAGMA wal_autocheckpoint=0")
        row = some_rows(found.head.seq, 1)[0]
        encoded = encode(row)
        chain = chained(found.head.chain, encoded)
        seq = row.entry.seq
        next_daemon.execute("INSERT INTO batches VALUES (?, ?, ?)", (seq, seq, pack([(seq, encoded, chain)])))
        content = (dead / name).read_bytes()
        assert len(content) == len(uncommitted), "it was written over the beginning of what was left"
        (tmp_path / "third").mkdir()
        for path in dead.iterdir():
            if not path.name.endswith("-shm"):
                (tmp_path / "third" / path.name).write_bytes(path.read_bytes())
    *_, last = history.lines(history.read_segments(tmp_path / "third"), START)
    assert (last.seq, last.chain) == (row.entry.seq, chain)


# ---------------------------------------------------------------------------------------------- durability, the WAL


@pytest.mark.parametrize(("durability", "synchronous"), [("process", 1), ("power", 2)])
def test_power_syncs_before_every_reply(tmp_path: Path, durability: str, synchronous: int) -> None:
    with kept(tmp_path / "j", durability=durability, segment_rows=100) as live:
        for _ in range(2):
            assert live.journal._connection.execute("PRAGMA synchronous").fetchone() == (synchronous,)
            live.trade(120)  # the next segment as well
        assert digest(brought_back(live.directory).engine) == live.digests[live.seq]


def test_checkpoints_keep_the_wal_small_under_an_unbroken_load(tmp_path: Path) -> None:
    plain = Plain(tmp_path)
    for _ in range(30_000):
        plain.write(1)
        maintained(plain)
    assert plain.wal.stat().st_size < 30_000 * 4096 / 2, "it started over"
    plain.journal.close()


def _no_room(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_reader_left_open_is_noticed_and_nothing_else_breaks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pitd.journal.Tail", _no_room)  # each row is a transaction of SQLite's then, and its WAL grows
    plain = Plain(tmp_path)
    assert "journal.no_tail" in caplog.text
    plain.write(10)
    with closing(sqlite3.connect(f"file:{segments(tmp_path)[0]}?mode=ro", uri=True, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT max(last_seq) FROM batches").fetchone() == (10,)

        def has_been_noticed() -> bool:
            plain.write(500)
            maintained(plain)
            return "journal.reader_in_the_way" in caplog.text

        until(has_been_noticed, "the reader to be noticed", 60)
        assert reader.execute("SELECT max(last_seq) FROM batches").fetchone() == (10,), "it sees what it saw"
    seq = plain.journal.head.seq
    assert sum(1 for _ in history.lines(history.read_segments(tmp_path), START)) == seq
    is_long = plain.wal.stat().st_size
    for _ in range(20):
        plain.write(500)
        maintained(plain)
    assert plain.wal.stat().st_size <= is_long * 1.5, "without the reader it starts over"
    plain.journal.close()


def test_a_live_journal_can_be_read_all_the_time(tmp_path: Path) -> None:
    """While rows are written, segments roll and the WAL starts over, a reader never takes that for damage."""
    with kept(tmp_path / "j", segment_rows=300, snapshot_rows=100) as live:
        for _ in range(40):
            live.trade(25)
            found = history.read_segments(live.directory)
            assert [line.seq for line in history.lines(found, START)] == list(range(1, live.seq + 1))


# ---------------------------------------------------------------------------------------------- retention


def snapshotted(live: Kept, times: int) -> None:
    for _ in range(times):
        live.trade(25)
        live.finish_snapshot()
        live.finish_behind()


def test_pruning_deletes_only_what_recovery_does_not_need(tmp_path: Path) -> None:
    with kept(tmp_path / "j", segment_rows=100, snapshot_rows=50) as live:
        snapshotted(live, 24)
        assert len(segments(live.directory)) >= 5, "everything is younger than a month"
        gone = journal.prune(live.directory, time.time_ns())
        left = segments(live.directory)
        assert len(left) < 5 and any(path.suffix == ".segment" for path in gone)
        assert segment_start(left[0]) > 1
        taken = snapshots(live.directory)
        assert len(taken) >= 2
        while taken:
            found = brought_back(live.directory)
            assert digest(found.engine) == live.digests[live.seq]
            assert found.head == live.head
            taken[-1].unlink()
            taken = [path for path in snapshots(live.directory) if int(path.stem) >= segment_start(left[0]) - 1]
        with pytest.raises(JournalDamaged, match=r"rows before \d+ were pruned, and no snapshot is left"):
            brought_back(live.directory)


def test_what_is_open_is_carried_over_a_pruned_beginning(tmp_path: Path) -> None:
    with kept(tmp_path / "j", seed=2, segment_rows=100, snapshot_rows=50) as live:
        snapshotted(live, 24)
        opened = {id: record.order_id for id, record in live.engine.orders.open.items()}
        journal.prune(live.directory, time.time_ns())
        first = segment_start(segments(live.directory)[0])
        found = brought_back(live.directory)
        assert {id: record.order_id for id, record in found.engine.orders.open.items()} == opened
        assert min(opened) < first, "some of it was opened in a segment that is gone"


def test_a_running_journal_prunes_by_itself(tmp_path: Path) -> None:
    with kept(tmp_path / "j", segment_rows=100, snapshot_rows=50, keep_ns=1) as live:
        snapshotted(live, 24)
        assert segment_start(segments(live.directory)[0]) > 1
        assert len(segments(live.directory)) <= 3
        assert digest(brought_back(live.directory).engine) == live.digests[live.seq]


def test_nothing_is_pruned_while_there_is_only_one_snapshot(tmp_path: Path) -> None:
    with kept(tmp_path / "j", segment_rows=100, snapshot_rows=1_000_000) as live:
        live.trade(90)
        live.finish_snapshot()
        live.trade(20)
        live.finish_snapshot()
        assert len(segments(live.directory)) == 2
        assert journal.prune(live.directory, time.time_ns()) == []
