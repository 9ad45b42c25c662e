"""A journal that was cut or changed: recovered to a state that was, or refused with the place named. Never another one.

A state that ends early is one that was, too: a client that has seen more brings the news (test_trouble.py).
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from journal.files import batched, change, put, renumber, rewrite, rows_in, without
from journal.histories import Kept, brought_back, contents, copied, digest, kept

from pitd import bootstrap
from pitd.errors import JournalDamaged
from pitd.journal import segments, snapshots

ROWS = 280
TIMES = 2_000 if os.environ.get("PITD_LONG") else 60
"""How many random places are tried in each kind of file."""

Damage = Callable[[bytearray], None]


class Journal(NamedTuple):
    """A journal's files as they were left, and what the state was after each of its rows."""

    directory: Path
    digests: dict[int, str]
    seq: int

    @property
    def wal(self) -> Path:
        segment = segments(self.directory)[-1]
        return segment.with_name(segment.name + "-wal")


def made(at: Path, *, is_tidy: bool, has_snapshots: bool) -> Journal:
    history = Kept(at / "live", seed=7, segment_rows=150, snapshot_rows=50)
    while history.seq < ROWS:
        history.trade(20)
        history.finish_snapshot()
    dead = at / "dead"
    if is_tidy:
        history.close()
        batched(segments(history.directory)[0], 40)  # as under load; the other segment has them small
        shutil.copytree(history.directory, dead)
    else:
        history.die(dead)
        history.journal.close()
    if not has_snapshots:
        for path in snapshots(dead):
            path.unlink()
    return Journal(dead, history.digests | {0: digest(bootstrap.blank_engine())}, history.seq)


@pytest.fixture(scope="module")
def tidy(tmp_path_factory: pytest.TempPathFactory) -> Journal:
    """Everything in the main files, and no snapshot: every row matters."""
    return made(tmp_path_factory.mktemp("tidy"), is_tidy=True, has_snapshots=False)


@pytest.fixture(scope="module")
def hot(tmp_path_factory: pytest.TempPathFactory) -> Journal:
    """What a killed daemon leaves: the last segment's rows are all in its WAL. No snapshot."""
    return made(tmp_path_factory.mktemp("hot"), is_tidy=False, has_snapshots=False)


@pytest.fixture(scope="module")
def snapshotted(tmp_path_factory: pytest.TempPathFactory) -> Journal:
    return made(tmp_path_factory.mktemp("snapshotted"), is_tidy=False, has_snapshots=True)


@pytest.fixture
def try_out(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Damages a copy of one file of a journal and starts from it: "refused", "behind" or "whole"."""
    came: Counter[str] = Counter()

    def try_out(journal: Journal, victim: str, damage: Damage, what: object) -> str:
        place = tmp_path / "case"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(journal.directory, place)
        content = bytearray((place / victim).read_bytes())
        damage(content)
        (place / victim).write_bytes(content)
        before = contents(place)
        try:
            found = brought_back(place)
        except JournalDamaged as refused:
            assert str(place) in str(refused), (what, str(refused))
            assert f"`pitd journal verify {place}` shows more" in str(refused), (what, str(refused))
            came["refused"] += 1
            result = "refused"
        else:
            assert digest(found.engine) == journal.digests[found.head.seq], what
            assert found.engine.seq == found.head.seq <= journal.seq
            result = "whole" if found.head.seq == journal.seq else "behind"
            came[result] += 1
        assert contents(place) == before, what
        return result

    yield try_out
    print(f"\n{dict(came)}")


def cut(at: int) -> Damage:
    def do(content: bytearray) -> None:
        del content[at:]

    return do


def flip(at: int, bit: int = 0) -> Damage:
    def do(content: bytearray) -> None:
        content[at] ^= 1 << bit

    return do


def zero(begin: int, end: int) -> Damage:
    def do(content: bytearray) -> None:
        content[begin:end] = bytes(end - begin)

    return do


def size_of_page(segment: Path) -> int:
    return int.from_bytes(segment.read_bytes()[16:18], "big")


# ---------------------------------------------------------------------------------------------- cut


def test_the_journals_are_good_before_they_are_damaged(
    tidy: Journal, hot: Journal, snapshotted: Journal, try_out: Callable[..., str]
) -> None:
    for journal in (tidy, hot, snapshotted):
        assert try_out(journal, segments(journal.directory)[-1].name, lambda _: None, "nothing") == "whole"
    assert not tidy.wal.exists()
    assert hot.wal.stat().st_size > 40 * 4096
    assert len(snapshots(snapshotted.directory)) >= 2


def test_a_main_file_cut_at_every_page_is_refused(tidy: Journal, try_out: Callable[..., str]) -> None:
    for segment in segments(tidy.directory):
        size = size_of_page(segment)
        assert segment.stat().st_size > 5 * size
        for at in range(0, segment.stat().st_size, size):
            assert try_out(tidy, segment.name, cut(at), (segment.name, at)) == "refused"


def test_a_wal_cut_at_every_frame_gives_what_was_kept_before(hot: Journal, try_out: Callable[..., str]) -> None:
    size = size_of_page(segments(hot.directory)[-1]) + 24
    came = [try_out(hot, hot.wal.name, cut(at), at) for at in range(32, hot.wal.stat().st_size, size)]
    assert set(came) == {"behind"}
    assert try_out(hot, hot.wal.name, cut(0), 0) == "behind"


def put_aside(said: str) -> None:
    """Does what the message says, in a shell."""
    command = said[said.index("mkdir ") : said.index("; who has seen them")]
    subprocess.run(["bash", "-ec", command], check=True, timeout=60)


@pytest.mark.parametrize("damage", [zero(0, 32), flip(2), flip(26)], ids=["zeroes", "a bit", "its checksum"])
@pytest.mark.parametrize("kind", ["hot", "snapshotted"])
def test_a_wal_that_holds_rows_under_a_damaged_heading_is_refused_and_put_aside_as_the_message_says(
    kind: str, damage: Damage, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    journal: Journal = request.getfixturevalue(kind)
    place = copied(journal.directory, tmp_path / "it's here")
    wal = place / journal.wal.name
    content = bytearray(wal.read_bytes())
    damage(content)
    wal.write_bytes(content)
    with pytest.raises(JournalDamaged, match="its heading is damaged, and it holds what") as refused:
        brought_back(place)
    last = int(re.findall(r"what follows row (\d+)", str(refused.value))[0])
    assert last < journal.seq
    put_aside(str(refused.value))
    found = brought_back(place)
    assert found.head.seq == last and digest(found.engine) == journal.digests[last]
    assert (place / "damaged" / wal.name).read_bytes() == content


@pytest.mark.parametrize("damage", [zero(0, 32), flip(2)], ids=["zeroes", "a bit"])
@pytest.mark.parametrize("left", ["heading alone", "half a frame", "all frames"])
def test_a_torn_heading_of_a_wal_whose_rows_the_segment_has_is_passed_over(
    hot: Journal, damage: Damage, left: str, tmp_path: Path
) -> None:
    """What a power cut may leave: nothing behind the heading, or what was checkpointed before it was begun anew."""
    place = copied(hot.directory, tmp_path / "case")
    segment = segments(place)[-1]
    wal = place / hot.wal.name
    with contextlib.closing(sqlite3.connect(segment, isolation_level=None)) as connection:
        connection.execute("PRAGMA wal_checkpoint(FULL)")
        content = bytearray(wal.read_bytes())
    assert len(content) > 40 * 4096
    damage(content)
    wal.write_bytes(content[: {"heading alone": 32, "half a frame": 2_000, "all frames": len(content)}[left]])
    before = contents(place)
    found = brought_back(place)
    assert found.head.seq == hot.seq and digest(found.engine) == hot.digests[hot.seq]
    assert contents(place) == before
    with kept(place, seed=3, found=found) as goes_on:
        goes_on.trade(5)
        seq = goes_on.seq
    assert brought_back(place).head.seq == seq


def test_files_cut_at_random_bytes(tidy: Journal, hot: Journal, try_out: Callable[..., str]) -> None:
    dice = random.Random(1)
    for _ in range(TIMES):
        segment = dice.choice(segments(tidy.directory))
        at = dice.randrange(segment.stat().st_size)
        assert try_out(tidy, segment.name, cut(at), (segment.name, at)) == "refused"
        at = dice.randrange(hot.wal.stat().st_size)
        assert try_out(hot, hot.wal.name, cut(at), (hot.wal.name, at)) == "behind"


def test_a_main_file_whose_wal_is_hot_cut_at_every_page(hot: Journal, try_out: Callable[..., str]) -> None:
    for segment in segments(hot.directory):
        size = size_of_page(segment)
        for at in range(0, segment.stat().st_size, size):
            came = try_out(hot, segment.name, cut(at), (segment.name, at))
            assert came == ("refused" if at == 0 else came)


def test_a_file_that_is_gone(tidy: Journal, tmp_path: Path) -> None:
    for at, name in enumerate(path.name for path in segments(tidy.directory)):
        shutil.copytree(tidy.directory, tmp_path / name)
        (tmp_path / name / name).unlink()
        if at == 0:
            with pytest.raises(JournalDamaged, match=r"rows before 1[0-9][0-9] were pruned, and no snapshot is left"):
                brought_back(tmp_path / name)
        else:
            found = brought_back(tmp_path / name)
            assert digest(found.engine) == tidy.digests[found.head.seq]


# ---------------------------------------------------------------------------------------------- flipped


def test_a_bit_flipped_in_any_row_is_refused_and_the_row_is_named(
    tidy: Journal, try_out: Callable[..., str], tmp_path: Path
) -> None:
    dice = random.Random(2)
    flipped = 0
    for segment in segments(tidy.directory):
        content = segment.read_bytes()
        for _, row, chain in rows_in(segment):
            for part in (row, chain):
                begin = content.find(part)
                if begin < 0:
                    continue  # it spills over to another page
                at, bit = begin + dice.randrange(len(part)), dice.randrange(8)
                assert try_out(tidy, segment.name, flip(at, bit), (segment.name, at, bit)) == "refused"
                flipped += 1
    assert flipped > tidy.seq


def test_the_row_that_was_changed_is_named(tidy: Journal, tmp_path: Path) -> None:
    place = tmp_path / "case"
    shutil.copytree(tidy.directory, place)
    segment = segments(place)[1]
    seq, row, _ = rows_in(segment)[20]
    content = bytearray(segment.read_bytes())
    content[content.find(row) + len(row) // 2] ^= 4
    segment.write_bytes(content)
    with pytest.raises(JournalDamaged, match=f"{segment}: row {seq} is not what was written: the chain breaks there"):
        brought_back(place)


def test_a_row_written_by_another_hand_is_refused(tidy: Journal, tmp_path: Path) -> None:
    """An edit through SQLite, which leaves a perfect file."""

    def with_meta(statement: str) -> Callable[[Path], None]:
        return lambda path: change(path, statement)

    damages: list[Callable[[Path], None]] = [
        lambda path: without(path, {20}),
        lambda path: rewrite(path, 20, row=rows_in(path)[20][1]),
        lambda path: rewrite(path, 20, row=b""),
        lambda path: rewrite(path, 20, chain=bytes(16)),
        lambda path: renumber(path, 20, 21),
        lambda path: renumber(path, 20, (1 << 64) - 1),
        lambda path: put(path, [(1020, *rows_in(path)[19][1:])]),
        with_meta("DELETE FROM meta WHERE name = 'chain'"),
        with_meta("UPDATE meta SET value = 'text' WHERE name = 'chain'"),
        with_meta("UPDATE meta SET value = zeroblob(15) WHERE name = 'chain'"),
        with_meta("UPDATE meta SET value = 5 WHERE name = 'first_seq'"),
        with_meta("UPDATE meta SET value = zeroblob(16) WHERE name = 'journal'"),
        with_meta("DELETE FROM meta"),
        with_meta("DROP TABLE meta"),
        with_meta("DROP TABLE batches"),
    ]
    for at, damage in enumerate(damages):
        place = tmp_path / str(at)
        shutil.copytree(tidy.directory, place)
        damage(segments(place)[0])
        with pytest.raises(JournalDamaged) as refused:
            brought_back(place)
        assert str(place) in str(refused.value), at


# ---------------------------------------------------------------------------------------------- snapshots


def test_a_snapshot_damaged_in_any_region_is_passed_over(snapshotted: Journal, try_out: Callable[..., str]) -> None:
    newest = snapshots(snapshotted.directory)[-1]
    size = newest.stat().st_size
    for at in (*range(100), *range(100, size, size // TIMES)):
        assert try_out(snapshotted, newest.name, flip(at, at % 8), at) == "whole"
        assert try_out(snapshotted, newest.name, cut(at), at) == "whole"


def test_without_any_good_snapshot_it_begins_at_the_beginning(snapshotted: Journal, tmp_path: Path) -> None:
    place = tmp_path / "case"
    shutil.copytree(snapshotted.directory, place)
    for path in snapshots(place):
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    found = brought_back(place)
    assert found.snapshot_seq == 0
    assert digest(found.engine) == snapshotted.digests[snapshotted.seq]


def test_a_damaged_older_row_does_not_keep_the_newest_snapshot_from_serving(
    snapshotted: Journal, tmp_path: Path
) -> None:
    """READY comes first; `pitd journal verify` finds it, and says so."""
    place = tmp_path / "case"
    shutil.copytree(snapshotted.directory, place)
    rewrite(segments(place)[0], 20, chain=bytes(16))
    found = brought_back(place)
    assert found.snapshot_seq > 20
    assert digest(found.engine) == snapshotted.digests[snapshotted.seq]
