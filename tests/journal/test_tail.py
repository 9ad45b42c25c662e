"""The tail file: rows are kept before SQLite has them, and whatever is cut off or changed there is noticed."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from journal.histories import Kept, brought_back, digest

from pitd import history, tail
from pitd.errors import JournalDamaged, PitdError
from pitd.journal import START
from pitd.journal_tools.pages import Pages
from pitd.records import Row, pack
from pitd.tail import Tail

MODE = 0o640


def rows(first: int, count: int, size: int = 20) -> list[Row]:
    return [(seq, os.urandom(size), bytes([seq % 256]) * 16) for seq in range(first, first + count)]


def test_what_was_added_is_read_back_until_it_begins_anew(tmp_path: Path) -> None:
    one = Tail(tmp_path / tail.NAME, MODE)
    first, second = rows(1, 3), rows(4, 1)
    one.add(pack(first))
    one.add(pack(second))
    assert tail.read(tmp_path) == first + second
    one.reset()
    assert tail.read(tmp_path) == []
    later = rows(5, 1, size=5)
    one.add(pack(later))
    assert tail.read(tmp_path) == later, "what was there before is not part of it"
    one.close()


def test_no_more_fits_than_there_is_room_for(tmp_path: Path) -> None:
    one = Tail(tmp_path / tail.NAME, MODE)
    big = rows(1, 1, size=tail.SIZE - 32)
    assert not one.add(pack(rows(1, 1, size=tail.SIZE))) and not one.add(pack(rows(1, 1, size=tail.SIZE - 31)))
    assert one.add(pack(big))
    assert not one.add(pack(rows(2, 1))) and tail.read(tmp_path) == big
    one.close()


def test_a_directory_without_one_has_nothing_waiting(tmp_path: Path) -> None:
    assert tail.read(tmp_path) == []


@pytest.mark.parametrize("moment", ["before", "after"])
def test_what_leaves_it_while_a_page_is_read_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    live = Kept(tmp_path / "live")
    live.trade(40)
    live.journal.maintain = lambda engine, is_quiet=True: None  # type: ignore[method-assign]  # no quiet moment comes
    live.trade(8)
    assert live.journal.is_waiting
    pages, page = Pages(tmp_path / "live"), history.page

    def brought_into_sqlite(*which: Any) -> list[history.Line]:
        if moment == "before":
            live.journal.catch_up()
        found = page(*which)
        live.journal.catch_up()
        return found

    monkeypatch.setattr(history, "page", brought_into_sqlite)
    assert [line.seq for line in pages.rows(0)] == list(range(1, live.seq + 1))
    live.close()


@pytest.fixture
def crashed(tmp_path: Path) -> tuple[Path, Kept]:
    """A journal as a crash leaves it, with rows that only the tail has."""
    live = Kept(tmp_path / "live")
    live.trade(60)
    live.journal.catch_up()
    live.journal.maintain = lambda engine, is_quiet=True: None  # type: ignore[method-assign]  # no quiet moment comes
    while len(tail.read(tmp_path / "live")) < 4:
        live.trade(1)
    assert live.journal.is_waiting
    image = tmp_path / "image"
    shutil.copytree(tmp_path / "live", image)
    return image, live


def test_a_crash_loses_nothing_that_only_the_tail_has(crashed: tuple[Path, Kept]) -> None:
    image, live = crashed
    waiting = tail.read(image)
    assert waiting and waiting[-1][0] == live.journal.head.seq
    found = brought_back(image)
    assert (found.head, digest(found.engine)) == (live.journal.head, digest(live.engine))
    assert Pages(image).last_seq() == found.head.seq
    assert [line.seq for line in Pages(image).rows(found.head.seq - 10)][-1] == found.head.seq
    live.close()


def test_the_next_start_brings_it_into_sqlite(crashed: tuple[Path, Kept]) -> None:
    image, live = crashed
    head = live.journal.head
    live.close()
    again = Kept(image, found=brought_back(image))
    assert history.last_seq(history.read_segments(image)[-1].path) >= head.seq
    again.close()
    assert brought_back(image).head.seq >= head.seq


def test_every_changed_byte_of_it_is_noticed_or_harmless(crashed: tuple[Path, Kept]) -> None:
    """Refused with the place named, or an earlier state: then those who were told more will say so."""
    image, live = crashed
    path = image / tail.NAME
    good = path.read_bytes()
    used = len(pack(tail.read(image))) + 4
    states = {}
    dice = random.Random(5)
    refused = 0
    for at in range(used):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1 << dice.randrange(8)]) + good[at + 1 :])
        try:
            found = list(history.lines(history.read_segments(image), START))
        except JournalDamaged as trouble:
            assert str(path) in str(trouble)
            refused += 1
            continue
        states[found[-1].seq] = found[-1].chain
    path.write_bytes(good)
    true = {line.seq: line.chain for line in history.lines(history.read_segments(image), START)}
    assert refused and all(true[seq] == chain for seq, chain in states.items())
    live.close()


def test_a_tail_that_does_not_go_on_from_sqlite_is_refused(crashed: tuple[Path, Kept]) -> None:
    image, live = crashed
    first, *others = tail.read(image)
    assert others
    Tail(image / tail.NAME, MODE).add(pack(others))
    with pytest.raises(PitdError, match=f"row {first[0]} is missing"):
        brought_back(image)
    live.close()
