"""A journal that ends before what a client has seen: nothing new is risked until a person has looked."""

from __future__ import annotations

from pathlib import Path

import builders
import pytest
from journal.files import without_last
from journal.histories import copied
from journal.houses import House, Talker, failure

import pit
from pit import wire
from pitd.journal import segments


def cut(directory: Path, rows: int) -> None:
    """Takes the last rows away, as a disk that has forgotten its last writes would."""
    without_last(segments(directory)[-1], rows)


@pytest.mark.parametrize("rows", range(1, 8))
def test_a_client_notices_however_few_rows_are_missing(tmp_path: Path, rows: int) -> None:
    """A restart adds entries of its own; they must not hide that others are missing."""
    before = House(tmp_path)
    client = Talker(before)
    for _ in range(10):
        client.hold()
    before.die()
    cut(tmp_path, rows)
    after = House(tmp_path)
    client.move_to(after)
    assert isinstance(client.session.over, pit.JournalBehind)
    assert after.engine.disputed_seq == client.seen_seq
    after.die()


def test_a_client_that_comes_back_late_notices_too(tmp_path: Path) -> None:
    before = House(tmp_path)
    client = Talker(before)
    client.hold()
    before.die()
    cut(tmp_path, 1)
    after = House(tmp_path)
    other = Talker(after, "mm2")
    for _ in range(50):
        other.hold()
    client.move_to(after)
    assert isinstance(client.session.over, pit.JournalBehind)
    assert failure(other.check()) is wire.FailureCode.JOURNAL_BEHIND
    after.die()


@pytest.mark.parametrize("starts", [2, 3, 6])
def test_later_starts_do_not_cover_what_is_missing(tmp_path: Path, starts: int) -> None:
    """Each start adds entries of its own, and others trade on: it is still another history than the client's."""
    before = House(tmp_path)
    client = Talker(before)
    client.hold()
    before.die()
    cut(tmp_path, 1)
    for _ in range(starts):
        after = House(tmp_path)
        Talker(after, "mm2").hold()
        after.die()
    after = House(tmp_path)
    client.move_to(after)
    assert isinstance(client.session.over, pit.JournalBehind)
    after.die()


def test_a_client_whose_session_was_lost_notices_too(tmp_path: Path) -> None:
    before = House(tmp_path)
    Talker(before, "mm2").hold()
    client = Talker(before)
    before.die()
    cut(tmp_path, 1)
    after = House(tmp_path)
    Talker(after, "mm2").hold()
    client.move_to(after)
    assert isinstance(client.session.over, pit.JournalBehind)
    after.die()


def test_a_whole_history_is_never_disputed(tmp_path: Path) -> None:
    """However often the daemon is restarted and the client comes back, and whatever it has seen of each."""
    house = House(tmp_path)
    client, quiet = Talker(house), Talker(house, "mm2")
    gone = Talker(house, "mm3")
    for _ in range(4):
        client.hold()
        house.die()
        house = House(tmp_path)
        for _ in range(3):
            client.move_to(house)
            client.hold()
        newer = Talker(house, "mm3")
        gone.move_to(house)
        assert isinstance(gone.session.over, pit.Fenced)
        gone = newer
    quiet.move_to(house)
    quiet.hold()
    assert house.engine.disputed_seq == 0
    house.die()


def test_a_client_that_speaks_before_it_says_hello_is_not_told_what_it_has_not_seen(tmp_path: Path) -> None:
    """Its connection came back by itself; what it asks meanwhile is refused, and it says hello."""
    house = House(tmp_path)
    client = Talker(house)
    client.hold()
    house.die()
    house = House(tmp_path)
    client._house = house
    client.hold()
    assert house.engine.disputed_seq == 0
    house.die()


def test_what_is_open_goes_on_while_nothing_new_is_taken(tmp_path: Path) -> None:
    before = House(tmp_path)
    client, other, ops = Talker(before), Talker(before, "mm2"), Talker(before, "ops")
    held, sent, working = other.hold(id="a"), other.hold(id="b", sent=True), other.hold(id="c")
    other.ask(wire.Commit(working.reservation_id, None, False))
    client.hold()
    before.die()
    cut(tmp_path, 1)
    after = House(tmp_path)
    for each in (other, ops):
        each.move_to(after)
    client.move_to(after)

    assert failure(other.check()) is wire.FailureCode.JOURNAL_BEHIND
    assert failure(other.ask(wire.Start(builders.order()))) is wire.FailureCode.JOURNAL_BEHIND
    assert isinstance(other.ask(wire.MarkSent(held.reservation_id)), wire.Settled)
    assert isinstance(other.ask(wire.Commit(held.reservation_id, None, False)), wire.Settled)
    assert isinstance(other.ask(wire.Rollback(sent.reservation_id, "")), wire.Settled)
    assert isinstance(other.ask(wire.Report(builders.fill("c", "10"))), wire.Applied)
    assert isinstance(ops.ask(wire.BlockScope("firm", "look")), wire.Done)
    assert isinstance(ops.ask(wire.UnblockScope("firm", "looked")), wire.Done)

    assert isinstance(ops.ask(wire.AcceptHistory("one order was lost; the venue has it no more")), wire.Done)
    other.hold()
    assert isinstance(Talker(after, "mm1").check(), wire.Accepted)
    after.die()


def test_a_dispute_and_its_acceptance_survive_a_restart(tmp_path: Path) -> None:
    before = House(tmp_path)
    client, ops = Talker(before), Talker(before, "ops")
    client.hold()
    before.die()
    cut(tmp_path, 1)
    after = House(tmp_path)
    client.move_to(after)
    assert isinstance(client.session.over, pit.JournalBehind)
    after.close()  # with a snapshot
    after = House(tmp_path)
    ops.move_to(after)
    assert failure(ops.check()) is wire.FailureCode.JOURNAL_BEHIND
    assert isinstance(ops.ask(wire.AcceptHistory("looked")), wire.Done)
    after.die()
    last = House(tmp_path)
    ops.move_to(last)
    ops.hold()
    last.die()


def test_only_an_operator_accepts(tmp_path: Path) -> None:
    before = House(tmp_path)
    client, other = Talker(before), Talker(before, "mm2")
    client.hold()
    before.die()
    cut(tmp_path, 1)
    after = House(tmp_path)
    other.move_to(after)
    client.move_to(after)
    assert failure(other.ask(wire.AcceptHistory("let me"))) is wire.FailureCode.NOT_AUTHORIZED
    assert after.engine.disputed_seq
    after.die()


def test_a_journal_put_back_from_a_copy_is_noticed(tmp_path: Path) -> None:
    """Old files are perfect files: only the clients know better."""
    before = House(tmp_path / "live")
    client = Talker(before)
    copy = copied(tmp_path / "live", tmp_path / "copy")
    client.hold()
    before.close()
    after = House(copy)
    client.move_to(after)
    assert isinstance(client.session.over, pit.JournalBehind)
    after.die()
