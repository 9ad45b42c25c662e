"""What a server needs of its connections, whatever they are made of: router.py over tcp, pipes.py over ipc."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from .peers import Origin, Proof

Message = tuple[bytes, bytes, bytes]
"""Who speaks (a connection's identity), header, body. One that can't be meant has no header, and as its body why."""

Frames = tuple[bytes, bytes, bytes]
"""Whom it is for, header, body."""


class Speaker(NamedTuple):
    """What is known of who sent a message: nothing of it comes from the one who speaks."""

    proof: Proof
    origin: Origin | None
    source_fd: int
    address: str
    """As the kernel has it; empty where connections can't be mistaken for each other."""


class Door(Protocol):
    """The connections of one endpoint. One thread uses it."""

    endpoint: str
    """Where it is open."""

    names_connections: bool
    """Whether an identity is one connection's for ever. Else a connection may choose one that was another's."""
    has_begun: bool
    """Whether somebody has begun to speak in the last wait, and had not ended."""

    def bind(self, held_fd: int | None) -> None:
        """Opens the endpoint, or takes over the listening socket that someone holds for it. Raises EndpointBusy,
        EndpointFailed.
        """

    def watch_also(self, fd: int) -> None:
        """Waits for that descriptor as well."""

    def wait(self, most_ms: int) -> bool:
        """Returns when somebody speaks, or after so long. Whether there is something else to look at."""

    def is_spoken_to(self) -> bool:
        """Whether somebody has spoken; at once, and cheaply."""

    def next(self, taken: int = 0) -> Message | None:
        """The next message, from each connection in turn; None where there is none. `taken`: so many of this batch have
        been taken before it.
        """

    def speaker(self, identity: bytes) -> Speaker:
        """Who has sent the message that was just given."""

    def place(self, identity: bytes) -> tuple[int, str]:
        """Of that one the descriptor and address alone."""

    def send(self, out: Sequence[Frames], lost: Callable[[bytes], None]) -> int:
        """Lets answers go. Who does not read loses them, and can ask for them again; nobody is waited for. Tells whose
        connection is gone. How many could not be sent.
        """

    def ended(self, tell: Callable[[int], None]) -> None:
        """Tells by which descriptors connections have ended, after all that came over them has been given."""

    def tend(self) -> None:
        """Sees to it that the endpoint can be found; every few seconds."""

    def let_in(self) -> None:
        """Answers those who show their keys."""

    @property
    def keys_refused(self) -> int:
        """How many keys were not known here."""

    def close(self) -> None:
        """Lets the last answers leave and gives the endpoint up."""
