"""Snapshots: written by a child while the loop goes on, and at the end; whole or not at all."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import pytest
from daemon import until
from journal.histories import Kept, brought_back, digest, kept

from pitd.core import snapshot
from pitd.journal import read_snapshot, snapshots


def test_it_holds_the_state_of_its_moment_while_the_loop_goes_on(tmp_path: Path) -> None:
    with kept(tmp_path / "j") as live:
        live.trade(100)
        live.journal.take_snapshot(live.engine)
        at = live.seq
        live.trade(100)
        live.finish_snapshot()
        (path,) = snapshots(live.directory)
        assert int(path.stem) == at
        _, body = read_snapshot(path)
        assert snapshot.decode(body).seq == at
        found = brought_back(live.die(tmp_path / "dead"))
        assert found.snapshot_seq == at
        assert digest(found.engine) == live.digests[live.seq]


def test_they_come_by_themselves(tmp_path: Path) -> None:
    with kept(tmp_path / "j", snapshot_rows=100) as live:
        for _ in range(10):
            live.trade(50)
            live.finish_snapshot()
        live.finish_behind()
        assert len(snapshots(live.directory)) == 2, "the newest two"
        assert live.seq - int(snapshots(live.directory)[-1].stem) < 110


def test_a_close_writes_one_and_the_next_start_has_nothing_to_go_through(tmp_path: Path) -> None:
    live = Kept(tmp_path)
    live.trade(80)
    live.close()
    found = brought_back(tmp_path)
    assert found.snapshot_seq == found.head.seq == live.seq
    assert digest(found.engine) == live.digests[live.seq]


def test_a_close_without_an_engine_writes_none(tmp_path: Path) -> None:
    """After trouble nobody knows what the engine's state is worth."""
    live = Kept(tmp_path)
    live.trade(20)
    live.journal.close()
    assert snapshots(tmp_path) == []


def test_an_engine_that_is_ahead_of_its_journal_is_not_written_down(tmp_path: Path) -> None:
    live = Kept(tmp_path)
    live.trade(20)
    live.step()
    live.journal.take_snapshot(live.engine)
    live.close()
    assert snapshots(tmp_path) == []


def test_a_child_that_dies_half_way_leaves_nothing_that_counts(tmp_path: Path) -> None:
    with kept(tmp_path / "j") as live:
        live.trade(50)
        live.journal.take_snapshot(live.engine)
        os.kill(live.journal._snapshot_pid, signal.SIGKILL)
        until(lambda: (live.keep(), not live.journal._snapshot_pid)[1], "the child to be seen")
        live.trade(50)
        live.journal.take_snapshot(live.engine)
        live.finish_snapshot()
        assert digest(brought_back(live.die(tmp_path / "dead")).engine) == live.digests[live.seq]


def test_a_snapshot_that_cannot_be_written_leaves_no_half_behind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with kept(tmp_path / "j") as live:
        live.trade(50)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, hard))
        try:
            live.journal.take_snapshot(live.engine)
            live.finish_snapshot()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert "snapshot.failed" in caplog.text
        assert snapshots(live.directory) == []
        assert list(live.directory.glob("*.writing")) == []
        live.trade(50)
        live.journal.take_snapshot(live.engine)
        live.finish_snapshot()
        assert len(snapshots(live.directory)) == 1


def test_a_child_keeps_nothing_of_the_daemon_open(tmp_path: Path) -> None:
    """Else a daemon's locks and its socket would outlive it."""
    with kept(tmp_path / "j") as live, (tmp_path / "a lock").open("w"):
        live.trade(20)
        os.mkfifo(live.directory / f"{live.seq:016d}.writing")  # nobody reads: the child waits there
        live.journal.take_snapshot(live.engine)
        fds = Path(f"/proc/{live.journal._snapshot_pid}/fd")
        try:
            until(lambda: {each.name for each in fds.iterdir()} <= {"0", "1", "2"}, "the child to let go")
        finally:
            os.kill(live.journal._snapshot_pid, signal.SIGKILL)
            live.finish_snapshot()
