"""Looks up old orders in the journal's files, in a thread of its own, one at a time, so that the loop never waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from pit import wire

from .. import log
from ..archive import Answered, Question
from ..core import entry as e
from ..core.accounts import account_scope
from ..errors import PitdError
from . import fate, objects, words
from .pages import Clients, Pages

WAITING_MOST = 256
"""So many questions may wait; further ones are told to come again."""

_KEPT = 256
"""What was found last stays at hand: who asked may have given up waiting, and asks again."""

Key = tuple[str, str]


class _Found(NamedTuple):
    """What there is to say about an order id: the same for everybody, until it is said to one."""

    fate: fate.Fate | None
    refused_client: str | None
    first_seq: int
    trouble: str
    decided_by: str | None
    """The client of the row that decided it."""
    upto_seq: int
    """Rows up to there have been looked at."""


class _Ending(Exception):
    pass


class JournalArchive:
    """The archive of one journal. `wake` is called from its thread whenever there is an answer to fetch."""

    def __init__(self, directory: Path, wake: Callable[[], object]) -> None:
        self._directory = directory
        self._wake = wake
        self._changed = threading.Condition()
        self._waiting: dict[Key, list[Question]] = {}
        self._done: list[Answered] = []
        self._found: dict[Key, _Found] = {}
        self._is_ending = False
        self._thread: threading.Thread | None = None

    def ask(self, question: Question) -> str:
        key = (question.account, question.order_id)
        with self._changed:
            asked = self._waiting.get(key, ())
            if any((each.identity, each.number) == (question.identity, question.number) for each in asked):
                return ""  # said again by a client that still waits
            if sum(map(len, self._waiting.values())) >= WAITING_MOST:
                return f"{WAITING_MOST} questions about old orders wait to be looked up in the journal; ask again later"
            self._waiting.setdefault(key, []).append(question)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="archive", daemon=True)
                self._thread.start()
            self._changed.notify()
        return ""

    def answers(self) -> list[Answered]:
        with self._changed:
            done, self._done = self._done, []
        return done

    def close(self) -> None:
        """Lets the search in hand end at its next page, and answers nothing any more."""
        with self._changed:
            self._is_ending = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    # ------------------------------------------------------------------------------------------ in the thread

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._is_ending:
                    self._changed.wait()
                if self._is_ending:
                    return
                key = next(iter(self._waiting))
            try:
                found = self._look_up(*key)
            except _Ending:
                return
            with self._changed:
                self._done += [Answered(each, _reply(found, each)) for each in self._waiting.pop(key)]
                self._found.pop(key, None)
                self._found[key] = found
                if len(self._found) > _KEPT:
                    del self._found[next(iter(self._found))]
            self._wake()

    def _look_up(self, account: str, order_id: str) -> _Found:
        began = time.monotonic()
        try:
            return self._search(account, order_id)
        except _Ending:
            raise
        except Exception as trouble:  # whatever a damaged file brings about: who asked is told, others are served on
            if not isinstance(trouble, PitdError | OSError):
                log.error("archive.failed", order=order_id, why=repr(trouble))
            return _Found(None, None, 0, str(trouble) or repr(trouble), None, 0)
        finally:
            log.debug("archive.searched", order=order_id, ms=int((time.monotonic() - began) * 1e3))

    def _search(self, account: str, order_id: str) -> _Found:
        pages = Pages(self._directory)
        upto_seq = pages.last_seq()
        before = self._found.get((account, order_id))
        since_seq = 0 if before is None else before.upto_seq
        found = fate.newest(pages, account, order_id, self._check_going, since_seq=since_seq)
        if found is None and before is not None and since_seq:
            return before._replace(upto_seq=upto_seq)
        refusal = None if found is None else found.refusal
        clients = Clients(pages)
        client = None if refusal is None else clients.of(refusal.session)
        decided = None if found is None or found.decided is None else clients.name_of(found.decided.entry)
        return _Found(found, client, pages.first_seq, "", decided, upto_seq)

    def _check_going(self, _: int) -> None:
        if self._is_ending:
            raise _Ending


def _reply(found: _Found, question: Question) -> wire.Reply:
    """What this client may hear of it."""
    who = f"order {question.order_id} of {account_scope(question.account)}"
    if found.trouble:
        return wire.Failed(wire.FailureCode.SYSTEM_UNAVAILABLE, f"{who}: the journal cannot be read: {found.trouble}")
    known = found.fate
    if question.is_decision:
        return _decision(found, question, who)
    if known is not None:
        outcome = known.outcome()
        if outcome is not None and _may_hear(question, known):
            return wire.OutcomeIs(outcome)
        if known.refusal is not None and (question.sees_all or found.refused_client == question.client):
            when = words.moment(known.refusal.wall_ns)
            why = f"{who} was {known.refusal.rejected} (row {known.refusal.seq}, {when}); nothing of it is counted"
            return wire.Failed(wire.FailureCode.UNKNOWN_ID, why)
    why = f"no {who} is known for client {question.client}: never received{_pruned(found)}"
    return wire.Failed(wire.FailureCode.UNKNOWN_ID, why)


def _may_hear(question: Question, known: fate.Fate) -> bool:
    """Whose order it is, whose it was before a gateway took it, and who sees everybody's."""
    return question.sees_all or not known.client or question.client in (known.client, known.taken_from)


def _decision(found: _Found, question: Question, who: str) -> wire.Reply:
    """How it was decided, with the numbers that stand in that row."""
    known = found.fate
    if known is None or known.decided is None:
        why = f"no row that decides {who} is in the journal{_pruned(found)}"
        return wire.Failed(wire.FailureCode.UNKNOWN_ID, why)
    row = known.decided
    client = found.decided_by or ""
    opened = next((each for each in row.effects if isinstance(each, e.OrderOpened)), None)
    holds: list[tuple[str, str]] = []
    if opened is not None:
        holds += [(each.policy, _in_json(each.effect)) for each in row.effects if isinstance(each, e.PolicyChanged)]
        holds += [(each.policy, _in_json(each.effect)) for each in opened.holds]
    return wire.DecisionIs(
        seq=found.upto_seq,
        account=question.account,
        order_id=question.order_id,
        client=client,
        decided_seq=row.entry.seq,
        wall_ns=row.entry.wall_ns,
        is_accepted=opened is not None,
        rejects=row.reply.rejected.rejects if isinstance(row.reply, e.Refused) else (),
        holds=tuple(holds),
        row=words.line(row, client),
        outcome=known.outcome(),
        shadow_rejects=e.shadow_rejects_of(row.reply),
    )


def _in_json(effect: object) -> str:
    return msgspec.json.encode(objects.plain(effect)).decode()


def _pruned(found: _Found) -> str:
    return f", or in rows before {found.first_seq}, which were pruned" if found.first_seq > 1 else ""
