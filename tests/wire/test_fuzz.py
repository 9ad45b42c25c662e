"""A hundred thousand broken messages (a million with PITD_LONG=1): none harms the daemon or changes its state."""

from __future__ import annotations

import decimal
import os
from itertools import islice

import pytest
from wire import broken

import pit
from pit import wire
from pitd import bootstrap, config
from pitd.clock import ManualClock
from pitd.conversations import Conversations
from pitd.core import snapshot
from pitd.core.engine import exact_context

COUNT = 1_000_000 if os.environ.get("PITD_LONG") else 100_000
SETTINGS = """
[journal]
durability = "none"
[limits]
open_usd = { control = "open_order_notional", each = "account", settlement = "USD", max_notional = "100000" }
rate = { control = "rate_limit", each = "account", max_orders = 10, window = "1s" }
"""


class Side:
    """The daemon's side of the conversation, and what it says back."""

    def __init__(self) -> None:
        settings = config.parse(SETTINGS)
        self.sequencer = bootstrap.build_sequencer(settings, ManualClock(1))
        self.talk = Conversations(self.sequencer, settings)

    def say(self, identity: bytes, *frames: bytes) -> list[tuple[wire.Header, wire.Reply]]:
        if len(frames) == 2:
            self.talk.take(identity, *frames)
        else:
            self.talk.refuse_malformed(identity, "a message is a header and a body")  # as the socket's loop has it
        said, self.talk.out = self.talk.out, []
        return [(wire.unpack_header(header), wire.decode_reply(body)) for to, header, body in said if to == identity]

    def hello(self, identity: bytes, client: str) -> wire.Welcome:
        body = wire.encode(wire.Hello(wire.PROTOCOL, client, client.encode().ljust(16)))
        ((_, welcome),) = self.say(identity, wire.pack_header(wire.Message.HELLO, 0, 0, 0), body)
        assert isinstance(welcome, wire.Welcome)
        return welcome

    def state(self) -> bytes:
        return snapshot.encode(snapshot.take(self.sequencer.engine))


@pytest.fixture
def side() -> Side:
    with decimal.localcontext(exact_context()):
        return Side()


def an_order(id: str) -> pit.Order:
    return pit.Order(account="a", instrument=pit.Instrument("X", "USD"), side="buy", quantity=1, price=1, id=id)


@pytest.mark.parametrize("seed", range(4))
def test_broken_messages_change_nothing_and_are_answered_with_a_refusal(side: Side, seed: int) -> None:
    with decimal.localcontext(exact_context()):
        honest, liar = side.hello(b"honest", "honest"), side.hello(b"liar", "liar")
        checked = wire.encode(wire.Check(an_order("o1")))
        ((_, held),) = side.say(b"honest", wire.pack_header(wire.Message.COMMAND, honest.session, 1, 0), checked)
        assert isinstance(held, wire.Accepted)
        before, was = side.sequencer.seq, side.state()
        for frames in islice(broken.messages(seed, liar.session), COUNT // 4):
            for header, reply in side.say(b"liar", *frames):
                assert header.message == wire.Message.QUERY or isinstance(reply, wire.Failed), (frames, reply)
        assert (side.sequencer.seq, side.state()) == (before, was)
        commit = wire.encode(wire.Commit(held.reservation_id))
        ((_, kept),) = side.say(b"honest", wire.pack_header(wire.Message.COMMAND, honest.session, 2, 1), commit)
        assert kept == wire.Settled(pit.OrderState.WORKING)
