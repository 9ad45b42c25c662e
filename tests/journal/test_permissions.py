"""Who may read a journal: its group, and nobody else, whatever the umask of who starts the daemon."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from journal.histories import kept

from pitd import journal


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_a_journal_is_for_its_group_to_read_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    directory = tmp_path / "j"
    with umask(mask), journal.lock(directory), kept(directory, segment_rows=50, snapshot_rows=20) as live:
        for _ in range(12):
            live.trade(10)
            live.finish_snapshot()
        live.finish_behind()
        modes = {path.name: path.stat().st_mode & 0o777 for path in directory.iterdir() if path.name != "reserve"}
    kinds = {name.partition(".")[2] for name in modes}
    assert {"segment", "segment-wal", "segment-shm", "snapshot"} <= kinds
    others = {name: oct(mode) for name, mode in modes.items() if mode & 0o007 and name != "lock"}
    unread = {name: oct(mode) for name, mode in modes.items() if mode & 0o640 != 0o640 and name != "lock"}
    assert (others, unread) == ({}, {})
    assert directory.stat().st_mode & 0o777 == 0o750
