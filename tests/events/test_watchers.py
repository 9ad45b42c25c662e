"""Who waits for events: when each is told, from memory or the journal, and what is never done for them."""

from __future__ import annotations

import pytest
from builders import Core, order

from pit import wire
from pitd import events, watchers
from pitd.watchers import Asked, Told, Watchers

ALICE, BOB = b"alice", b"bob"


class FakePast:
    """A journal whose answers come when the test says so."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.done: list[Told] = []

    def ask(self, asked: Asked) -> None:
        self.asked.append(asked)

    def answers(self) -> list[Told]:
        done, self.done = self.done, []
        return done


class Room:
    """Watchers, a core whose rows they are told, and a clock that the test moves."""

    def __init__(self) -> None:
        self.core = Core()
        self.core.session()
        self.recent = events.Recent(self.core.engine)
        self.past = FakePast()
        self.now = 100.0
        self.watchers = Watchers(self.recent, self.past, clock_s=lambda: self.now)
        self.core.rows.clear()

    def decide(self, count: int = 1) -> None:
        """So many decisions, journaled and published."""
        for _ in range(count):
            self.core.check(order())
        self.publish()

    def publish(self) -> None:
        self.recent.take(self.core.rows)
        self.core.rows = []

    def ask(self, row: int, *, who: bytes = ALICE, number: int = 1, wait_s: float = 1.0) -> wire.Reply | None:
        return self.watchers.ask(who, number, "watch", wire.AskEvents(row, 0, int(wait_s * 1e9)))

    def due(self) -> dict[bytes, wire.EventsAre]:
        found = {}
        for asked, reply in self.watchers.due():
            assert isinstance(reply, wire.EventsAre)
            found[asked.identity] = reply
        return found

    @property
    def next_row(self) -> int:
        return self.recent.head + 1


@pytest.fixture
def room() -> Room:
    return Room()


def test_a_watcher_waits_until_something_happens(room: Room) -> None:
    assert room.ask(room.next_row) is None
    assert room.due() == {}
    room.decide()
    assert len(room.due()[ALICE].events) == 1
    assert room.due() == {}


def test_a_watcher_is_answered_when_its_time_is_up_though_nothing_has_happened(room: Room) -> None:
    room.ask(room.next_row, wait_s=0.5)
    assert room.watchers.wait_ms(1_000) <= 501
    room.now += 0.6
    assert room.watchers.wait_ms(1_000) == 0
    assert room.due()[ALICE] == wire.EventsAre(room.next_row, (), room.next_row)


def test_nothing_is_told_of_rows_that_are_not_journaled_yet(room: Room) -> None:
    room.ask(room.next_row)
    room.core.check(order())
    assert room.due() == {}
    room.publish()
    assert ALICE in room.due()


def test_events_that_come_one_by_one_are_gathered(room: Room) -> None:
    room.ask(room.next_row)
    room.decide()
    first = room.due()[ALICE]
    room.ask(first.next_row, number=2)
    room.decide()
    assert room.due() == {}
    room.decide()
    room.now += 0.02
    assert len(room.due()[ALICE].events) == 2


def test_a_watcher_that_is_far_behind_is_not_kept_waiting_and_gets_a_page_at_a_time(room: Room) -> None:
    begun = room.next_row
    room.decide(250)
    had = 0
    while begun < room.next_row:
        room.ask(begun, number=had + 1)
        page = room.due()[ALICE]
        assert 0 < len(page.events) <= events.PAGE
        had, begun = had + len(page.events), page.next_row
        if had == 200:
            room.now += 0.02  # less than a page is left: that is gathered
    assert had == 250


def test_all_watchers_together_get_no_more_than_a_page_in_one_turn(room: Room) -> None:
    begun = room.next_row
    room.decide(150)
    room.ask(begun, who=ALICE)
    room.ask(begun, who=BOB)
    assert set(room.due()) == {ALICE}
    room.ask(begun + 100, who=ALICE, number=2)
    assert set(room.due()) == {BOB}


def test_rows_that_tell_nothing_wake_nobody_and_are_no_gap(room: Room) -> None:
    begun = room.next_row
    room.ask(begun)
    room.core.end_leases()
    room.publish()
    assert room.due() == {}
    room.decide()
    room.now += 0.02
    page = room.due()[ALICE]
    assert page.first_row == begun and len(page.events) == 1


def test_what_is_no_longer_in_memory_is_asked_of_the_journal_and_answered_when_it_is_found(room: Room) -> None:
    assert room.ask(1) is None and room.due() == {}
    (asked,) = room.past.asked
    room.past.done.append(Told(asked, b"a page"))
    assert room.watchers.found() == [Told(asked, b"a page")]


def test_who_asks_the_journal_anew_gets_what_is_being_read_under_the_new_number(room: Room) -> None:
    room.ask(1, number=1)
    room.ask(1, number=2)
    (asked,) = room.past.asked
    room.past.done.append(Told(asked, b"a page"))
    ((told, _),) = room.watchers.found()
    assert told.number == 2


def test_what_was_read_for_one_who_is_gone_or_wants_something_else_is_thrown_away(room: Room) -> None:
    room.ask(1, who=ALICE)
    room.ask(1, who=BOB)
    room.watchers.forget(ALICE)
    room.ask(room.next_row, who=BOB, number=2)
    room.past.done = [Told(asked, b"a page") for asked in room.past.asked]
    assert room.watchers.found() == []


def test_a_watcher_whose_rows_fell_out_of_memory_while_it_waited_gets_them_from_the_journal(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.ask(room.next_row)
    monkeypatch.setattr(events, "KEPT_ROWS", 3)
    room.decide(5)
    assert room.due() == {} and len(room.past.asked) == 1


def test_the_same_question_said_again_is_answered_once(room: Room) -> None:
    room.ask(room.next_row, number=7)
    room.ask(room.next_row, number=7)
    room.decide()
    assert len(room.watchers.due()) == 1


def test_the_number_of_watchers_has_a_bound(room: Room) -> None:
    for at in range(watchers._WATCHERS_MOST):
        assert room.ask(room.next_row, who=b"%d" % at) is None
    reply = room.ask(room.next_row, who=b"one more")
    assert isinstance(reply, wire.Failed) and reply.code is wire.FailureCode.CAPACITY_EXCEEDED
    assert room.ask(room.next_row, who=b"0", number=2) is None


def test_without_a_journal_what_fell_out_of_memory_is_told_to_be_gone(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "KEPT_ROWS", 3)
    room.watchers = Watchers(room.recent, None)
    begun = room.next_row
    room.decide(5)
    room.ask(begun)
    assert room.due()[ALICE].first_row == begun + 2
