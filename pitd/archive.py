"""The port to what the daemon no longer remembers: questions that are answered later, from its journal's files."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from pit import wire


class Question(NamedTuple):
    """What became of an order? And who wants to know it, over which connection, under which number."""

    identity: bytes
    number: int
    client: str
    sees_all: bool
    account: str
    order_id: str
    is_decision: bool = False
    """Whether it is asked how the order was decided, not what became of it."""


class Answered(NamedTuple):
    question: Question
    reply: wire.Reply


class Archive(Protocol):
    """Never keeps its caller waiting."""

    def ask(self, question: Question) -> str:
        """Takes a question, to be answered by `answers()`. Or why it can't be taken now."""

    def answers(self) -> list[Answered]:
        """What has been found since the last call."""
