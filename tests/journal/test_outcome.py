"""What became of an order, once the engine has forgotten it: the journal tells, as the engine would have."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import builders
import pytest
from daemon import Daemon, folder, running, until
from journal.histories import Kept
from journal.houses import House, Talker, failure

import pit
from pit import wire
from pit.types import Outcome
from pitd import queries
from pitd.archive import Answered, Question
from pitd.conversations import Conversations
from pitd.core import entry as e
from pitd.journal import prune, read_snapshot, segments, snapshots
from pitd.journal_tools import archive, fate
from pitd.journal_tools.archive import JournalArchive
from pitd.journal_tools.pages import Pages

FORGETFUL = """
[gate]
keep_closed = 1

[clients."*"]
roles = ["trade", "report"]

[clients.ops]
roles = ["trade", "report", "operate"]

[limits.size]
control = "order_size_limit"
each = "account"
settlement = "USD"
max_quantity = "1000"
"""
"""The engine remembers one order that has ended, and lets go of the others."""


def engine_says(history: Kept, account: str, order_id: str) -> Outcome | None:
    reply = queries.answer(history.engine, "ops", wire.AskOutcome(account, order_id), 0, sees_all=True)
    return reply.outcome if isinstance(reply, wire.OutcomeIs) else None


def journal_says(directory: Path, account: str, order_id: str) -> Outcome | None:
    found = fate.newest(Pages(directory), account, order_id)
    return None if found is None else found.outcome()


# ---------------------------------------------------------------------------------------------- the same answer


@pytest.mark.parametrize("seed", range(4))
def test_the_journal_tells_of_every_order_what_the_engine_says(tmp_path: Path, seed: int) -> None:
    history = Kept(tmp_path / "journal", seed, segment_rows=150)
    history.trade(500)
    history.finish_snapshot()
    records = [*history.engine.orders.open.values(), *history.engine.orders.closed.values()]
    names = [(each.account, id) for each in records for id in (each.order_id, *each.ids_before)]
    assert len(names) > 15
    told = {name: journal_says(history.directory, *name) for name in names}
    history.close()
    assert told == {name: engine_says(history, *name) for name in names}


def test_what_is_found_page_by_page_is_what_is_found_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = Kept(tmp_path / "journal", 3, segment_rows=150)
    history.trade(400)
    history.close()
    records = [*history.engine.orders.open.values(), *history.engine.orders.closed.values()]
    names = [(each.account, each.order_id) for each in records]
    at_once = [journal_says(history.directory, *name) for name in names]
    monkeypatch.setattr("pitd.journal_tools.pages.PAGE", 7)
    assert [journal_says(history.directory, *name) for name in names] == at_once


def test_an_order_whose_first_rows_were_pruned_is_told_from_the_snapshot_behind_them(tmp_path: Path) -> None:
    history = Kept(tmp_path / "journal", 5, segment_rows=100)
    history.enter(e.SessionOpened("mm1", b"t" * 16))
    session = history.engine.sessions.live("mm1")
    assert session is not None

    def command(body: e.Command) -> e.Reply:
        reply = history.enter(e.Commanded(session.id, session.next_number, session.next_number - 1, b"d" * 8, body))
        history.keep()
        return reply

    accepted = command(e.CheckOrder(builders.order(id="old", account="gamma", quantity="3"), True, None))
    assert isinstance(accepted, e.Accepted)
    command(e.Commit(accepted.reservation_id, "V1", False))
    history.trade(300)
    history.finish_snapshot()
    history.trade(150)
    history.finish_snapshot()
    expected = engine_says(history, "gamma", "old")
    history.close()
    gone = prune(history.directory, 1 << 62)
    assert any(path.suffix == ".segment" for path in gone)
    assert Pages(history.directory).first_seq > accepted.reservation_id
    assert expected is not None and journal_says(history.directory, "gamma", "old") == expected


def test_an_outline_reads_the_orders_of_a_snapshot_as_it_is_written_today(tmp_path: Path) -> None:
    """It names the first fields of a snapshot once more, so it must follow them."""
    history = Kept(tmp_path / "journal", 5)
    history.trade(120)
    history.close()
    _, body = read_snapshot(snapshots(history.directory)[-1])
    outline = fate._outline(body)
    assert len(outline.open) == len(history.engine.orders.open) > 0
    assert len(outline.closed) == len(history.engine.orders.closed) > 0
    known = {fate._record(raw).order_id for raw in (*outline.open, *outline.closed)}
    assert known == {order_id for _, order_id in history.engine.orders.by_key}


# ---------------------------------------------------------------------------------------------- a live daemon


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running(FORGETFUL) as daemon:
        yield daemon


def closed_order(engine: pit.Engine, id: str) -> None:
    held = engine.execute_pre_trade(builders.order(id=id, quantity="10"), sent=True)
    assert isinstance(held, pit.Reservation), str(held)
    held.commit(venue_order_id=f"V-{id}")
    engine.apply_execution_report(builders.fill(id, 10))


def test_an_order_that_closed_long_ago_has_its_outcome(daemon: Daemon) -> None:
    with daemon.connect("mm1") as engine:
        for id in ("a1", "a2", "a3", "a4"):
            closed_order(engine, id)
        outcome = engine.outcome("alpha", "a1")
    assert (outcome.state, outcome.ended_by, outcome.filled_quantity) == (pit.OrderState.CLOSED, "filled", 10)
    assert outcome.venue_order_id == "V-a1"


def test_another_client_learns_nothing_of_it_and_an_operator_does(daemon: Daemon) -> None:
    with daemon.connect("mm1") as engine:
        for id in ("b1", "b2", "b3", "b4"):
            closed_order(engine, id)
    with daemon.connect("mm2") as other, pytest.raises(pit.UnknownId, match="never received"):
        other.outcome("alpha", "b1")
    with daemon.connect("ops") as operator:
        assert operator.outcome("alpha", "b1").state is pit.OrderState.CLOSED


def test_of_an_order_that_was_refused_it_is_said_by_which_limit(daemon: Daemon) -> None:
    with daemon.connect("mm1") as engine:
        assert not engine.execute_pre_trade(builders.order(id="too-big", quantity="1001"))
        with pytest.raises(pit.UnknownId, match=r"was refused: size \(OrderQtyExceedsLimit\)") as raised:
            engine.outcome("alpha", "too-big")
    assert "quantity 1001 of AAPL/USD, limit 1000" in str(raised.value)
    with daemon.connect("mm2") as other, pytest.raises(pit.UnknownId, match="never received"):
        other.outcome("alpha", "too-big")


def test_an_id_that_was_refused_and_then_accepted_has_the_outcome_of_the_accepted_order(daemon: Daemon) -> None:
    with daemon.connect("mm1") as engine:
        assert not engine.execute_pre_trade(builders.order(id="twice", quantity="1001"))
        for id in ("twice", "c1", "c2", "c3"):
            closed_order(engine, id)
        assert engine.outcome("alpha", "twice").filled_quantity == 10


def test_who_asks_again_hears_what_happened_meanwhile(daemon: Daemon) -> None:
    with daemon.connect("mm1") as engine:
        with pytest.raises(pit.UnknownId, match="never received"):
            engine.outcome("alpha", "later")
        assert not engine.execute_pre_trade(builders.order(id="later", quantity="1001"))
        with pytest.raises(pit.UnknownId, match="was refused"):
            engine.outcome("alpha", "later")
        for id in ("later", "d1", "d2", "d3"):
            closed_order(engine, id)
        assert engine.outcome("alpha", "later").state is pit.OrderState.CLOSED


def test_it_is_answered_after_a_restart_too() -> None:
    with folder() as home:
        daemon = Daemon(home, FORGETFUL).start()
        try:
            with daemon.connect("mm1") as engine:
                for id in ("e1", "e2", "e3", "e4"):
                    closed_order(engine, id)
            daemon.kill()
            daemon.start()
            with daemon.connect("mm1") as engine:
                assert engine.outcome("alpha", "e1").filled_quantity == 10
        finally:
            daemon.kill()


# ---------------------------------------------------------------------------------------------- the archive itself


class Asked:
    """An archive over a small journal, and the answers that it has given."""

    def __init__(self, directory: Path) -> None:
        self.answers: list[Answered] = []
        self.woken = threading.Event()
        self.archive = JournalArchive(directory, self.woken.set)

    def ask(self, order_id: str = "nobody's", *, number: int = 1, client: str = "mm1") -> str:
        return self.archive.ask(Question(b"here", number, client, False, "alpha", order_id))

    def heard(self, count: int) -> list[Answered]:
        def is_all() -> bool:
            self.answers += self.archive.answers()
            return len(self.answers) >= count

        until(is_all, f"{count} answers")
        return self.answers


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Asked]:
    history = Kept(tmp_path / "journal", 1)
    history.trade(60)
    history.close()
    made = Asked(history.directory)
    yield made
    made.archive.close()


@pytest.fixture
def held_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Every search waits for this."""
    go_on = threading.Event()
    search = fate.newest

    def slow(*words: object, **named: object) -> fate.Fate | None:
        assert go_on.wait(20)
        return search(*words, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(fate, "newest", slow)
    yield go_on
    go_on.set()


def test_its_caller_never_waits_for_a_search(asked: Asked, held_up: threading.Event) -> None:
    assert asked.ask() == ""
    assert asked.archive.answers() == []
    assert not asked.woken.is_set()
    held_up.set()
    assert asked.woken.wait(20)
    assert len(asked.heard(1)) == 1


def test_a_question_said_again_while_it_waits_is_answered_once(asked: Asked, held_up: threading.Event) -> None:
    for _ in range(3):
        assert asked.ask() == ""
    assert asked.ask(number=2) == ""
    held_up.set()
    asked.ask("another", number=3)
    assert [each.question.number for each in asked.heard(3)] == [1, 2, 3]


def test_at_the_bound_it_says_so_and_takes_questions_again_later(asked: Asked, held_up: threading.Event) -> None:
    for number in range(archive.WAITING_MOST):
        assert asked.ask(f"order-{number}", number=number) == ""
    assert "ask again later" in asked.ask("one too many", number=9_999)
    held_up.set()
    asked.heard(archive.WAITING_MOST)
    assert asked.ask("one too many", number=9_999) == ""


def test_a_journal_that_cannot_be_read_is_told_to_who_asked(asked: Asked, tmp_path: Path) -> None:
    for path in segments(tmp_path / "journal"):
        path.write_bytes(b"no database" * 1_000)
    asked.ask()
    (_, reply), *_ = asked.heard(1)
    assert isinstance(reply, wire.Failed)
    assert reply.code is wire.FailureCode.SYSTEM_UNAVAILABLE and "cannot be read" in reply.message


def test_it_ends_in_the_middle_of_a_search(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    is_searching = threading.Event()

    def endless(pages: Pages, account: str, order_id: str, told: Callable[[int], object], **_: object) -> None:
        while True:
            told(1)
            is_searching.set()

    monkeypatch.setattr(fate, "newest", endless)
    asked.ask()
    assert is_searching.wait(20)
    asked.archive.close()
    assert asked.archive.answers() == []


# ---------------------------------------------------------------------------------------------- conversations


class Notes:
    """An archive that notes what it is asked and answers when it is told to."""

    def __init__(self, why_not: str = "") -> None:
        self.asked: list[Question] = []
        self.ready: list[Answered] = []
        self.why_not = why_not

    def ask(self, question: Question) -> str:
        self.asked.append(question)
        return self.why_not

    def answers(self) -> list[Answered]:
        ready, self.ready = self.ready, []
        return ready


class Spoken:
    """A client that has connected to a daemon with such an archive, on real files and without a socket."""

    def __init__(self, directory: Path, notes: Notes) -> None:
        self.notes = notes
        self.house = House(directory)
        self.house.conversations = Conversations(self.house.sequencer, self.house.config, notes)
        self.talker = Talker(self.house)

    def ask(self, order_id: str) -> list[tuple[int, wire.Reply]]:
        self.talker.session.ask(wire.AskOutcome("alpha", order_id))
        return self.talker._exchange()

    def find(self, reply: wire.Reply) -> list[tuple[bytes, wire.Reply]]:
        """What is sent, and whom to, once the archive has found that for the last question."""
        self.notes.ready = [Answered(self.notes.asked[-1], reply)]
        self.house.conversations.found()
        out, self.house.conversations.out = self.house.conversations.out, []
        return [(identity, wire.decode_reply(body)) for identity, _, body in out]


@pytest.fixture
def spoken(tmp_path: Path) -> Iterator[Spoken]:
    made = Spoken(tmp_path / "journal", Notes())
    yield made
    made.house.close()


def test_a_question_about_a_forgotten_order_is_answered_when_it_is_found(spoken: Spoken) -> None:
    assert spoken.ask("old") == []
    question = spoken.notes.asked[0]
    assert (question.client, question.sees_all, question.order_id) == ("mm1", False, "old")
    assert spoken.find(wire.Done()) == [(question.identity, wire.Done())]


def test_nothing_is_sent_to_who_has_gone_meanwhile(spoken: Spoken) -> None:
    spoken.ask("old")
    spoken.house.conversations.lost(spoken.notes.asked[0].identity)
    assert spoken.find(wire.Done()) == []


def test_what_the_engine_remembers_is_answered_at_once(spoken: Spoken) -> None:
    spoken.talker.hold(id="new")
    ((_, reply),) = spoken.ask("new")
    assert isinstance(reply, wire.OutcomeIs)
    assert spoken.notes.asked == []


def test_at_the_archive_s_bound_the_client_is_told_to_come_again(spoken: Spoken) -> None:
    spoken.notes.why_not = "too many wait"
    ((_, reply),) = spoken.ask("old")
    assert failure(reply) is wire.FailureCode.CAPACITY_EXCEEDED
