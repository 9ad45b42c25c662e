"""This release and the one before it understand one another, whichever of the two sides is older."""

from __future__ import annotations

import decimal
from collections.abc import Iterator

import pytest

import pit
from pit import wire
from pit._session import Session
from pitd import bootstrap, config
from pitd.clock import ManualClock
from pitd.conversations import Conversations
from pitd.core.engine import exact_context

OLDER, NEWER = wire.SPOKEN
SETTINGS = 'journal.durability = "none"\n'


@pytest.fixture
def talk() -> Iterator[Conversations]:
    settings = config.parse(SETTINGS)
    with decimal.localcontext(exact_context()):
        yield Conversations(bootstrap.build_sequencer(settings, ManualClock(1)), settings)


def said(talk: Conversations, header: bytes, body: bytes) -> tuple[wire.Header, wire.Reply]:
    talk.take(b"me", header, body)
    ((_, back, reply),) = talk.out
    talk.out = []
    return wire.unpack_header(back), wire.decode_reply(reply)


def hello(talk: Conversations, protocol: int) -> wire.Reply:
    body = wire.encode(wire.Hello(protocol, "mm1", bytes(16)))
    return said(talk, wire.pack_header(wire.Message.HELLO, 0, 0, 0), body)[1]


def check(talk: Conversations, session: int) -> tuple[wire.Header, wire.Reply, bytes]:
    order = pit.Order(account="a", instrument=pit.Instrument("X", "USD"), side="buy", quantity=1, price=1)
    body = wire.encode(wire.Check(order))
    header, reply = said(talk, wire.pack_header(wire.Message.COMMAND, session, 1, 0), body)
    return header, reply, body


@pytest.mark.parametrize("protocol", wire.SPOKEN)
def test_a_daemon_answers_in_the_protocol_that_it_is_asked_in(talk: Conversations, protocol: int) -> None:
    welcome = hello(talk, protocol)
    assert isinstance(welcome, wire.Welcome) and welcome.protocol == protocol
    header, reply, body = check(talk, welcome.session)
    assert isinstance(reply, wire.Accepted)
    assert header.session == (0 if protocol == OLDER else wire.mark_of(wire.digest_of(body)))


@pytest.mark.parametrize("protocol", [OLDER - 1, NEWER + 1])
def test_any_other_protocol_is_told_which_ones_are_spoken(talk: Conversations, protocol: int) -> None:
    refused = hello(talk, protocol)
    assert isinstance(refused, wire.Failed) and refused.code == wire.FailureCode.PROTOCOL
    assert f"{OLDER} and {NEWER}" in refused.message


def test_a_client_goes_back_to_the_protocol_of_an_older_daemon_and_takes_answers_without_a_mark() -> None:
    session = Session("mm1", bytes(16))
    session.greet()
    assert _hello_in(session).protocol == NEWER
    too_new = wire.Failed(wire.FailureCode.PROTOCOL, f"this daemon speaks protocol {OLDER}")
    session.received(wire.pack_header(wire.Message.HELLO, 0, 0, 0), wire.encode(too_new))
    assert _hello_in(session).protocol == OLDER
    welcome = wire.Welcome(OLDER, 5, 1, 64, 1)
    session.received(wire.pack_header(wire.Message.HELLO, 0, 0, 0), wire.encode(welcome))
    ticket = session.submit(wire.MarkSent(7))
    answer = session.received(
        wire.pack_header(wire.Message.COMMAND, 0, 1, 1), wire.encode(wire.Settled(pit.OrderState.SENT))
    )
    assert answer is not None and answer is ticket


def test_a_client_that_nobody_understands_says_so_and_does_not_go_on_asking() -> None:
    session = Session("mm1", bytes(16))
    session.greet()
    for _ in wire.SPOKEN:
        refusal = wire.Failed(wire.FailureCode.PROTOCOL, "this daemon speaks protocol 9")
        session.received(wire.pack_header(wire.Message.HELLO, 0, 0, 0), wire.encode(refusal))
    assert isinstance(session.over, pit.ProtocolError)


def _hello_in(session: Session) -> wire.Hello:
    return wire.decode_hello(session.outbox[-1][1])
