"""Connections that only ask, beside a real daemon: forged commands, too many of them, and a restart."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from daemon import Daemon, running
from process.raw import Raw

import pit
from pit import wire

LIMITS = """
daemon.max_sessions = 3
[clients."*"]
roles = ["trade", "report"]

[clients.ops]
roles = ["operate"]
"""


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with running(LIMITS) as one:
        yield one


def test_a_command_over_such_a_connection_is_refused_and_changes_nothing(daemon: Daemon) -> None:
    with Raw(daemon.endpoint) as raw:
        assert isinstance(raw.hello("ops", read_only=True), wire.Welcome)
        before = raw.seq()
        for message, body in (
            (wire.Message.COMMAND, wire.encode(wire.BlockScope("firm", "stop"))),
            (wire.Message.SETTLE, b""),
        ):
            reply = raw.ask(message, body, number=1)
            assert isinstance(reply, wire.Failed) and reply.code is wire.FailureCode.NOT_AUTHORIZED
        assert raw.seq() == before
    with daemon.connect("ops", read_only=True) as looking:
        assert looking.blocks() == ()


def test_a_connection_is_one_or_the_other(daemon: Daemon) -> None:
    for first in (True, False):
        with Raw(daemon.endpoint) as raw:
            assert isinstance(raw.hello("ops", read_only=first), wire.Welcome)
            reply = raw.hello("ops", read_only=not first)
            assert isinstance(reply, wire.Failed) and reply.code is wire.FailureCode.INVALID_INPUT


def test_more_of_them_than_are_remembered_are_all_answered(daemon: Daemon) -> None:
    looking = [daemon.connect("ops", read_only=True) for _ in range(9)]
    for _ in range(3):
        assert len({each.ping() for each in looking}) == 1
    for each in looking:
        each.close()


def test_they_take_no_traders_place(daemon: Daemon) -> None:
    looking = [daemon.connect("ops", read_only=True) for _ in range(4)]
    traders = [daemon.connect(f"mm{n}") for n in range(3)]
    with pytest.raises(pit.CapacityExceeded):
        daemon.connect("mm9")
    for each in (*looking, *traders):
        each.ping()
        each.close()


def test_one_is_answered_on_after_a_restart(daemon: Daemon) -> None:
    with daemon.connect("ops", read_only=True) as looking:
        assert looking.ping()
        daemon.kill()
        daemon.start()
        assert looking.ping()
