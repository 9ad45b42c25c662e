"""The log: one event a line, for people or for journald, and never more of one than can be read."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pitd import log


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What the log says, from a limiter that has seen nothing."""
    out = io.StringIO()
    handlers, level, propagate = log._log.handlers, log._log.level, log._log.propagate
    monkeypatch.setattr(sys, "stderr", out)
    monkeypatch.setattr(log, "_limiter", log.Limiter())
    monkeypatch.setattr(log, "counts", {})
    log.setup("info")
    yield out
    log._log.handlers, log._log.propagate = handlers, propagate
    log._log.setLevel(level)


def test_an_event_is_one_line_whatever_its_facts_hold(said: io.StringIO) -> None:
    log.warning("order.odd", why="two\nlines", id="a b", by="", sign="\x1b[2J")
    assert said.getvalue().count("\n") == 1 and "\x1b" not in said.getvalue()
    assert "order.odd why='two\\nlines' id='a b' by='' sign='\\x1b[2J'" in said.getvalue()


def test_what_comes_too_often_is_counted_and_the_count_is_said_with_the_next_one() -> None:
    now = 0.0
    limiter = log.Limiter(lambda: now)
    admitted = [limiter.admit("session.opened") for _ in range(log.BURST + 5)]
    assert admitted == [0] * log.BURST + [None] * 5
    assert limiter.admit("session.closed") == 0
    now = log.EVERY_S
    assert limiter.admit("session.opened") == 5
    assert limiter.admit("session.opened") == 0


def test_what_was_suppressed_is_said_though_it_never_comes_again() -> None:
    now = 0.0
    limiter = log.Limiter(lambda: now)
    for _ in range(log.BURST + 5):
        limiter.admit("session.opened")
    limiter.admit("session.closed")
    assert limiter.over() == []
    now = log.EVERY_S
    assert limiter.over() == [("session.opened", 5)]
    assert limiter.over() == []


def test_a_flood_of_one_event_leaves_the_others_readable(said: io.StringIO) -> None:
    for _ in range(1_000):
        log.warning("message.malformed")
    log.error("journal.low")
    lines = said.getvalue().splitlines()
    assert len(lines) == log.BURST + 1 and "journal.low" in lines[-1]
    assert log.counts == {("warning", "message.malformed"): 1_000, ("error", "journal.low"): 1}


def test_a_line_for_journald_begins_with_its_priority_and_has_no_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    handlers, level, propagate = log._log.handlers, log._log.level, log._log.propagate
    with (tmp_path / "journal").open("w+") as stream:
        found = os.fstat(stream.fileno())
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(log, "_limiter", log.Limiter())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        try:
            log.setup("info")
            log.info("daemon.ready")
            log.error("journal.low", free_bytes=1)
        finally:
            log._log.handlers, log._log.propagate = handlers, propagate
            log._log.setLevel(level)
        assert (tmp_path / "journal").read_text() == "<6>daemon.ready\n<3>journal.low free_bytes=1\n"


def test_a_child_that_writes_elsewhere_does_not_take_itself_for_journalds(
    said: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    monkeypatch.setattr(sys, "stderr", said)
    log.setup("info")
    log.info("daemon.ready")
    assert "INFO daemon.ready" in said.getvalue() and "<6>" not in said.getvalue()
