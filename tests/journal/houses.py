"""A daemon of this process on real files: journal, sequencer and conversations; only socket and loop are missing."""

from __future__ import annotations

import decimal
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import builders

import pit
from pit import wire
from pit._session import Flight, Session
from pitd import bootstrap, config
from pitd.clock import Clock, SystemClock
from pitd.conversations import Conversations
from pitd.core.engine import exact_context
from pitd.core.policy import Policy

SETTINGS = """
[clients."*"]
roles = ["trade", "report"]

[clients.ops]
roles = ["trade", "report", "operate"]

[limits.open_usd]
control = "open_order_notional"
each = "account"
settlement = "USD"
max_notional = "1000000"
"""


class House:
    """Begins where the directory's journal ends. Every message is a batch of its own."""

    def __init__(
        self,
        directory: Path,
        text: str = SETTINGS,
        *,
        policies: Sequence[Policy] = (),
        clock_from: Callable[[int], Clock] = SystemClock,
        journal: str = 'reserve = "64KiB"',
    ) -> None:
        self.config = config.parse(f'[journal]\ndirectory = "{directory}"\n{journal}\n{text}', "test.toml")
        directory.mkdir(exist_ok=True)
        self.sequencer, kept = bootstrap.build_daemon(self.config, policies, clock_from=clock_from)
        assert kept is not None
        self.journal = kept
        self.engine = self.sequencer.engine
        self.conversations = Conversations(self.sequencer, self.config)

    def take(self, identity: bytes, frames: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
        with decimal.localcontext(exact_context()):
            try:
                self.conversations.take(identity, *frames)
                self.sequencer.end_due()
            finally:
                self.sequencer.release()
        out, self.conversations.out = self.conversations.out, []
        self.journal.maintain(self.engine)
        return [(header, body) for to, header, body in out if to == identity]

    def close(self) -> None:
        self.journal.close(self.engine)

    def die(self) -> None:
        """Ends as a crash would: without a last snapshot."""
        self.journal.close()


class Talker:
    """A client of a house, and of the one that comes after it; it remembers what it was told."""

    def __init__(self, house: House, name: str = "mm1") -> None:
        self.session = Session(name, os.urandom(16))
        self.move_to(house)

    def move_to(self, house: House) -> None:
        """Connects anew, as an engine does by itself."""
        self._house = house
        self._identity = os.urandom(5)
        self.session.greet()
        self._exchange()

    def ask(self, command: wire.Command) -> wire.Reply:
        """The answer to a command. Raises what the session was ended with."""
        ticket = self.session.submit(command)
        answers = dict(self._exchange())
        if self.session.over is not None:
            raise self.session.over
        return answers[ticket]

    def check(self, *, sent: bool = False, **fields: object) -> wire.Reply:
        return self.ask(wire.Check(builders.order(**fields), sent, None))

    def hold(self, *, sent: bool = False, **fields: object) -> wire.Accepted:
        reply = self.check(sent=sent, **fields)
        assert isinstance(reply, wire.Accepted), reply
        return reply

    @property
    def seen_seq(self) -> int:
        return self.session._seen_seq

    def _exchange(self) -> list[tuple[Flight, wire.Reply]]:
        answers = []
        while self.session.outbox:
            frames = self.session.outbox.pop(0)
            self.session.sent(frames)
            for header, body in self._house.take(self._identity, frames):
                answer = self.session.received(header, body)
                if answer is not None:
                    assert answer.reply is not None
                    answers.append((answer, answer.reply))
        return answers


def failure(reply: wire.Reply) -> wire.FailureCode:
    assert isinstance(reply, wire.Failed), reply
    return reply.code


__all__ = ["House", "Talker", "failure", "pit"]
