"""The port between an engine and whatever answers its commands: a daemon over a socket, or an engine in process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from . import wire
from .errors import PitError
from .types import CancelRequest


class Transport(Protocol):
    """Something that answers commands, one caller at a time or many: it does its own locking."""

    def command(self, command: wire.Command, timeout_s: float) -> wire.Reply:
        """The answer to a command, which is executed at most once.

        Raises Unavailable when nothing was sent by the deadline, OutcomeUnknown when it was sent and not answered.
        """

    def query(self, query: wire.Query, timeout_s: float) -> wire.Reply:
        """The answer to a question, which changes nothing. Raises Unavailable when there is none by the deadline."""

    def post(self, command: wire.Command, order_id: str, timeout_s: float) -> None:
        """Takes a command on its way, to be executed once, and does not wait. Raises Unavailable when there is no room.

        What becomes of it is told by `take_failures`, under the id of the order that it is about.
        """

    def flush(self, timeout_s: float) -> None:
        """Returns once everything posted has been answered. Raises OutcomeUnknown when it is not in time."""

    def take_failures(self) -> Sequence[tuple[str, PitError]]:
        """What was posted and is known to have failed, each once. After a close also what was never confirmed."""

    def notices(self, wait_s: float, timeout_s: float) -> list[CancelRequest]:
        """The orders to be cancelled that nobody has been told of yet; waits so long for some. The first time it asks
        the daemon, and raises Unavailable when that does not answer by the deadline.
        """

    def fileno(self) -> int:
        """A descriptor that is readable while `notices` may have something to give, or has to be called to go on."""

    def monotonic_ns(self) -> int:
        """The clock that leases are counted down by on this side."""

    def close(self) -> None:
        """Ends the session. What was held goes back. Never raises; closing twice is fine."""


class AsyncTransport(Protocol):
    """The same for tasks of one event loop, any number of which may wait at once.

    A task that is cancelled while it waits gets no answer, and what it had asked for is undone.
    """

    async def command(self, command: wire.Command, timeout_s: float) -> wire.Reply:
        """The answer to a command, which is executed at most once.

        Raises Unavailable when nothing was sent by the deadline, OutcomeUnknown when it was sent and not answered.
        """

    async def query(self, query: wire.Query, timeout_s: float) -> wire.Reply:
        """The answer to a question, which changes nothing. Raises Unavailable when there is none by the deadline."""

    async def post(self, command: wire.Command, order_id: str, timeout_s: float) -> None:
        """Takes a command on its way, to be executed once, and does not wait. Raises Unavailable when there is no room.

        What becomes of it is told by `take_failures`, under the id of the order that it is about.
        """

    async def flush(self, timeout_s: float) -> None:
        """Returns once everything posted has been answered. Raises OutcomeUnknown when it is not in time."""

    def take_failures(self) -> Sequence[tuple[str, PitError]]:
        """What was posted and is known to have failed, each once. After a close also what was never confirmed."""

    async def notices(self, wait_s: float, timeout_s: float) -> list[CancelRequest]:
        """The orders to be cancelled that nobody has been told of yet; waits so long for some. The first time it asks
        the daemon, and raises Unavailable when that does not answer by the deadline.
        """

    def fileno(self) -> int:
        """A descriptor that is readable while `notices` has something to give."""

    def monotonic_ns(self) -> int:
        """The clock that leases are counted down by on this side."""

    async def close(self) -> None:
        """Ends the session. What was held goes back. Closing twice is fine."""
