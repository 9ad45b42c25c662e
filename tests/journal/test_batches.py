"""Batches of rows that are damaged where SQLite can't tell: refused with file and row, never fewer in silence."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from journal.files import batched, batches_in, change, put, renumber, rows_in
from journal.histories import Kept, brought_back, digest

from pitd import history
from pitd.core.reading import Reader
from pitd.errors import JournalDamaged, PitdError
from pitd.journal import GENESIS, START, Head, segments
from pitd.journal_tools.pages import Pages
from pitd.journal_tools.verify import Verdict, verify
from pitd.records import Row, pack, unpack

ROWS = 200
SIZE = 20
"""Rows in a batch."""

HEAD = 28
"""Bytes before a row: length, number, chain value."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """One segment with whole batches of one size, and no snapshot."""
    live = Kept(tmp_path_factory.mktemp("made") / "journal", 5)
    live.trade(ROWS - live.seq)
    live.journal.close()
    batched(segments(live.directory)[0], SIZE)
    return live


@pytest.fixture
def directory(made: Kept, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made.directory, tmp_path / "journal"))


@pytest.fixture
def path(directory: Path) -> Path:
    return segments(directory)[0]


def verified(directory: Path) -> Verdict:
    return verify(directory, Reader({}, is_lenient=True))


def set_records(path: Path, first_seq: int, data: object) -> None:
    change(path, "UPDATE batches SET records = ? WHERE first_seq = ?", data, first_seq)


def is_refused(directory: Path, what: object = "") -> str:
    """By recovery, with the file and a row named; verify says it too; who only reads raises, or reads every row."""
    name = segments(directory)[0]
    with pytest.raises(JournalDamaged) as refused:
        brought_back(directory)
    assert re.search(rf"^{name}: .*\brows? -?\d+", str(refused.value)), (what, str(refused.value))
    found = verified(directory)
    assert found.damages and all(str(name) in each for each in found.damages), what
    try:
        assert [line.seq for line in Pages(directory).rows(0)] == list(range(1, ROWS + 1)), what
    except PitdError as trouble:
        assert str(name) in str(trouble), what
    return str(refused.value).replace(f"{directory}/", "")


def test_what_is_packed_is_unpacked_and_what_follows_it_is_told() -> None:
    rows: list[Row] = [(seq, bytes([seq]) * seq, bytes([seq]) * 16) for seq in range(5)]
    data = pack(rows)
    assert unpack(data) == (rows, len(data))
    assert unpack(b"") == ([], 0)
    for cut in range(1, len(data)):
        found, at = unpack(data[:cut])
        assert found == rows[: len(found)] and pack(found) == data[:at] and at <= cut


def test_good_batches_are_read_from_any_row_on(made: Kept, directory: Path, path: Path) -> None:
    rows = rows_in(path)
    found = history.read_segments(directory)
    for seq in range(ROWS + 1):
        head = history.head_at(found, seq)
        assert head == Head(seq, rows[seq - 1][2] if seq else GENESIS)
        assert [row for some in history.batches(found, head) for row in some] == rows[seq:]
    assert history.head_at(found, ROWS + 1) is None
    assert verified(directory).is_good
    assert digest(brought_back(directory).engine) == made.digests[ROWS]


def test_a_page_begins_and_ends_inside_a_batch(path: Path) -> None:
    rows = rows_in(path)
    for after in range(0, ROWS, 7):
        for upto in range(after, ROWS + 5, 9):
            assert [tuple(line) for line in history.page(path, after, upto)] == rows[after:upto]


def test_a_page_holds_only_the_rows_that_contain_what_is_looked_for(path: Path) -> None:
    rows = rows_in(path)
    looked_for = (rows[30][1][20:40], rows[77][1][20:40])
    wanted = [row for row in rows[10:150] if any(each in row[1] for each in looked_for)]
    assert wanted
    assert [tuple(line) for line in history.page(path, 10, 150, looked_for)] == wanted
    chain = rows[30][2]
    assert not any(chain in row for _, row, _ in rows), "it stands before a row"
    assert history.page(path, 0, ROWS, (chain,)) == []


@pytest.mark.parametrize("at", range(HEAD))
def test_a_bit_flipped_before_a_row_is_refused(directory: Path, path: Path, at: int) -> None:
    dice = random.Random(at)
    batch = dice.choice(batches_in(path))
    good = pack(batch)
    for row in (0, dice.randrange(1, SIZE - 1), SIZE - 1):
        data = bytearray(good)
        data[len(pack(batch[:row])) + at] ^= 1 << dice.randrange(8)
        set_records(path, batch[0][0], bytes(data))
        said = is_refused(directory, (batch[0][0], row))
        assert re.search(rf"\b{batch[row][0]}\b", said), said
        found = verified(directory)
        assert found.rows >= ROWS - SIZE, "the other batches have been read"
        assert not any("missing" in each for each in found.damages), found.damages


def test_the_row_whose_number_was_changed_is_named(directory: Path, path: Path) -> None:
    renumber(path, 30, 1030)
    assert is_refused(directory).startswith(
        f"{path.name}: rows 30 to 40 cannot be read: the record of row 30 says that it is row 1030. Nothing was changed"
    )
    assert verified(directory).damages == [
        f"{path}: rows 30 to 40 cannot be read: the record of row 30 says that it is row 1030"
    ]


@pytest.mark.parametrize("first_seq", [1, 101, ROWS - SIZE + 1])
def test_a_batch_cut_at_any_byte_is_refused(directory: Path, path: Path, first_seq: int) -> None:
    dice = random.Random(first_seq)
    good = pack(rows_in(path)[first_seq - 1 : first_seq - 1 + SIZE])
    ends = [0, HEAD, *[len(pack(unpack(good)[0][:rows])) for rows in (1, SIZE - 1)]]
    for end in (*ends, *[dice.randrange(len(good)) for _ in range(10)]):
        set_records(path, first_seq, good[:end])
        is_refused(directory, end)


def test_bytes_behind_the_last_record_are_refused(directory: Path, path: Path) -> None:
    good = pack(rows_in(path)[20:40])
    for more in (bytes(1), bytes(4), pack([(41, b"row", bytes(16))])):
        set_records(path, 21, good + more)
        is_refused(directory, more)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "a batch missing": lambda path: change(path, "DELETE FROM batches WHERE first_seq = 41"),
    "a batch doubled": lambda path: change(
        path, "INSERT INTO batches SELECT first_seq + 1000, last_seq + 1000, records FROM batches WHERE first_seq = 41"
    ),
    "rows doubled": lambda path: put(path, rows_in(path)[49:60]),
    "the last rows doubled": lambda path: put(path, rows_in(path)[ROWS - 5 : ROWS]),
    "two batches in each other's place": lambda path: change(
        path,
        "UPDATE batches SET records = (SELECT other.records FROM batches AS other "
        "WHERE other.first_seq = 102 - batches.first_seq) WHERE first_seq IN (41, 61)",
    ),
    "a row missing inside": lambda path: set_records(path, 41, pack([*rows_in(path)[40:50], *rows_in(path)[51:60]])),
    "a row twice inside": lambda path: set_records(path, 41, pack([*rows_in(path)[40:51], *rows_in(path)[50:60]])),
    "a batch that begins later": lambda path: change(path, "UPDATE batches SET first_seq = 45 WHERE first_seq = 41"),
    "a batch that begins earlier": lambda path: change(path, "UPDATE batches SET first_seq = 39 WHERE first_seq = 41"),
    "a batch before all": lambda path: change(path, "UPDATE batches SET first_seq = -3 WHERE first_seq = 41"),
    "the first batch before all": lambda path: change(path, "UPDATE batches SET first_seq = 0 WHERE first_seq = 1"),
    "a batch behind all": lambda path: change(path, "UPDATE batches SET first_seq = 1 << 40 WHERE first_seq = 41"),
    "the last behind all": lambda path: change(path, "UPDATE batches SET first_seq = ~(1 << 63) WHERE first_seq = 181"),
    "an earlier end": lambda path: change(path, "UPDATE batches SET last_seq = 57 WHERE first_seq = 41"),
    "a later end": lambda path: change(path, "UPDATE batches SET last_seq = 61 WHERE first_seq = 41"),
    "an end far off": lambda path: change(path, "UPDATE batches SET last_seq = 1 << 60 WHERE first_seq = 181"),
    "an end before all": lambda path: change(path, "UPDATE batches SET last_seq = 7 WHERE first_seq = 181"),
    "an end in text": lambda path: change(path, "UPDATE batches SET last_seq = 'text' WHERE first_seq = 41"),
    "an end in bytes": lambda path: change(path, "UPDATE batches SET last_seq = zeroblob(9999) WHERE first_seq = 41"),
    "an end in parts": lambda path: change(path, "UPDATE batches SET last_seq = 60.5 WHERE first_seq = 41"),
    "records in text": lambda path: change(path, "UPDATE batches SET records = 'text' WHERE first_seq = 41"),
    "records that are no text": lambda path: change(
        path, "UPDATE batches SET records = CAST(records AS TEXT) WHERE first_seq = 41"
    ),
    "a number for records": lambda path: change(path, "UPDATE batches SET records = 41 WHERE first_seq = 41"),
    "no records": lambda path: change(path, "UPDATE batches SET records = x'' WHERE first_seq = 41"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_batch_that_is_not_what_was_written_is_refused(directory: Path, path: Path, damage: str) -> None:
    DAMAGES[damage](path)
    said = is_refused(directory)
    assert len(said) < 400, said
    assert verified(directory).rows >= ROWS - 2 * SIZE, "what can be read has been read"


def test_a_missing_batch_is_named_with_its_rows(directory: Path, path: Path) -> None:
    DAMAGES["a batch missing"](path)
    assert is_refused(directory).startswith(f"{path.name}: row 41 is missing; 61 follows 40. ")
    assert verified(directory).damages == [f"{path}: rows 41 to 60 are missing"]


def test_rows_that_stand_there_twice_are_named(directory: Path, path: Path) -> None:
    DAMAGES["rows doubled"](path)
    assert is_refused(directory).startswith(f"{path.name}: row 50 follows row 60. ")
    assert verified(directory).damages == [f"{path}: rows 50 to 60 once more behind row 60"]


def test_a_damaged_batch_keeps_nobody_from_the_rows_before_it(directory: Path, path: Path) -> None:
    renumber(path, 130, 131)
    pages = Pages(directory)
    assert [line.seq for line in pages.rows(0, 129)] == list(range(1, 130))
    assert pages.line(129).seq == 129
    with pytest.raises(JournalDamaged, match="rows 130 to 140 cannot be read"):
        pages.line(130)
    came = []
    with pytest.raises(JournalDamaged, match="rows 130 to 140 cannot be read"):
        for line in history.lines(history.read_segments(directory), START):
            came.append(line.seq)
    assert came == list(range(1, 130))
