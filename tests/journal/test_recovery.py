"""Recovery gives the very state that was: from the beginning and from every snapshot, under whatever settings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cases import seeds
from journal.histories import (
    SETTINGS,
    TIGHTER,
    WITHOUT_RATE,
    Kept,
    brought_back,
    contents,
    copied,
    digest,
    inside,
    kept,
)

from pitd import bootstrap, history
from pitd.core.reading import Reader, encode
from pitd.errors import JournalDamaged
from pitd.journal import START, snapshots
from pitd.recovery import recover

SEEDS = seeds(200 if os.environ.get("PITD_LONG") else 12, quick=3)


def test_its_progress_counts_what_waits_in_the_tail(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    with kept(tmp_path / "live", 3, segment_rows=10_000, snapshot_rows=10_000) as live:
        live.trade(60)
        live.journal.maintain = lambda engine, is_quiet=True: None  # type: ignore[method-assign]  # no quiet moment comes
        live.trade(8)
        dead = live.die(tmp_path / "dead")
        assert history.tail_lines(dead, 0), "something waits there"
        recover(dead, bootstrap.blank_engine, lambda done, rows: told.append((done, rows)))
        assert {rows for _, rows in told} == {live.seq}
        assert told[-1][0] == live.seq


def take_snapshot(history_: Kept) -> None:
    history_.journal.take_snapshot(history_.engine)
    history_.finish_snapshot()


@pytest.mark.parametrize("seed", SEEDS)
def test_the_state_is_the_same_from_the_beginning_and_from_every_snapshot(tmp_path: Path, seed: int) -> None:
    aside = {}
    with kept(tmp_path / "live", seed, segment_rows=100, snapshot_rows=10_000) as live:
        for text in (SETTINGS, TIGHTER, SETTINGS, WITHOUT_RATE):
            live.trade(60)
            take_snapshot(live)
            aside[snapshots(live.directory)[-1].name] = snapshots(live.directory)[-1].read_bytes()
            live.configure(text)
            live.trade(20)
        dead = live.die(tmp_path / "dead")
        for name, content in aside.items():  # older ones are taken away, since recovery needs only the newest
            (dead / name).write_bytes(content)
        taken = snapshots(dead)
        assert len(taken) >= 4
        while True:
            found = brought_back(dead)
            assert found.head == live.head
            assert found.snapshot_seq == (int(taken[-1].stem) if taken else 0)
            assert digest(found.engine) == live.digests[live.seq]
            assert inside(found.engine) == inside(live.engine)
            if not taken:
                break
            taken.pop().unlink()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_recovered_engine_goes_on_as_the_live_one_does(tmp_path: Path, seed: int) -> None:
    with kept(tmp_path / "live", seed) as live:
        live.trade(150)
        if seed % 2:
            take_snapshot(live)
        dead = live.die(tmp_path / "dead")
        again = Kept(dead, found=brought_back(dead))
        live.configure(SETTINGS)
        assert digest(again.engine) == live.digests[live.seq]
        now_ns = live.now_ns
        for history_ in (live, again):
            history_.dice.seed(seed + 1)
            history_.now_ns = now_ns
            history_.first_id = 1_000
            history_.trade(150)
        assert again.rows[1:] == live.rows[-150:]
        assert digest(again.engine) == digest(live.engine)
        assert again.head == live.head
        again.close()


def test_what_comes_out_is_what_went_in(tmp_path: Path) -> None:
    with kept(tmp_path / "live", segment_rows=100) as live:
        live.trade(250)
        found = history.read_segments(live.directory)
        reader = Reader(live.engine.policies)
        lines = list(history.lines(found, START))
        assert [line.row for line in lines] == [encode(row) for row in live.rows]
        assert [reader.row(line.row) for line in lines] == live.rows
        assert [line.seq for line in lines] == list(range(1, live.seq + 1))


def test_recovery_changes_no_file(tmp_path: Path) -> None:
    with kept(tmp_path / "live", segment_rows=100) as live:
        live.trade(250)
        dead = live.die(tmp_path / "dead")
    before = contents(dead)
    brought_back(dead)
    assert contents(dead) == before


def test_engine_time_goes_on_where_it_was(tmp_path: Path) -> None:
    with kept(tmp_path / "live") as live:
        live.trade(50)
        assert brought_back(live.die(tmp_path / "dead")).engine.now_ns == live.engine.now_ns


def test_an_empty_directory_is_a_beginning(tmp_path: Path) -> None:
    found = brought_back(tmp_path)
    assert found.journal is None
    assert found.head == START
    assert found.engine.seq == 0


def test_snapshots_without_segments_are_no_beginning(tmp_path: Path) -> None:
    with kept(tmp_path / "live") as live:
        live.trade(20)
        take_snapshot(live)
        dead = live.die(tmp_path / "dead")
    for path in dead.glob("*.segment*"):
        path.unlink()
    with pytest.raises(JournalDamaged, match="there are snapshots and no segments"):
        brought_back(dead)


def test_a_snapshot_that_knows_more_than_the_rows_stops_the_start(tmp_path: Path) -> None:
    with kept(tmp_path / "live") as live:
        live.trade(20)
        early = copied(live.directory, tmp_path / "early")
        live.trade(20)
        take_snapshot(live)
        newest = snapshots(live.directory)[-1]
        (early / newest.name).write_bytes(newest.read_bytes())
    with pytest.raises(JournalDamaged, match=f"ends with row 21, and a snapshot knows row {live.seq}"):
        brought_back(early)


def test_a_snapshot_of_another_journal_is_passed_over(tmp_path: Path) -> None:
    with kept(tmp_path / "one", 1) as one, kept(tmp_path / "other", 2) as other:
        for each in (one, other):
            each.trade(30)
            take_snapshot(each)
        strange = snapshots(other.directory)[-1]
        (one.directory / strange.name).write_bytes(strange.read_bytes())
        found = brought_back(one.die(tmp_path / "dead"))
        assert digest(found.engine) == one.digests[one.seq]
        assert found.snapshot_seq == 0
