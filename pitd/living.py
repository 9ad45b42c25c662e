"""Which clients are still there: ends the session of one whose process has died, or whose connection stays lost."""

from __future__ import annotations

import time
from collections.abc import Sequence

from .conversations import Conversations
from .core.sessions import Session
from .peers import Origin, Processes

_LAST_WORDS_S = 0.1
"""What a dead process had sent is read first: until its connection has ended, or at most so long."""

_COME_BACK_S = 3.0
"""How long a lost connection may take to come back by a hello, while the process lives or can't be seen (tcp)."""


_RESTART_S = 60.0
"""How long a client may take to come back after a restart of the daemon: as long as the longest lease, by default."""


class _Connection:
    __slots__ = ("address", "ends_at", "is_dead", "is_over", "pid", "session", "source_fd")

    def __init__(self, session: Session, pid: int | None, source_fd: int, address: str = "") -> None:
        self.session = session
        self.pid = pid
        """None where the kernel can't tell of its death: over tcp, by heartbeats."""
        self.source_fd = source_fd
        self.address = address
        """The peer's, as the kernel has it."""
        self.is_dead = False
        self.is_over = False
        self.ends_at: float | None = None


class Living:
    """Keeps watch over the connections that have been welcomed. A stuck client is not its business: leases end that."""

    def __init__(self, conversations: Conversations) -> None:
        self._conversations = conversations
        conversations.house.how_noticed = self.how
        self._processes = Processes()
        self._of_session: dict[int, _Connection] = {}
        self._of_fd: dict[int, _Connection] = {}
        self._dying: dict[int, _Connection] = {}

    @property
    def has_dying(self) -> bool:
        return bool(self._dying)

    def fileno(self) -> int:
        return self._processes.fileno()

    def how(self, session: Session) -> str:
        """How this client's death would be noticed: by the "kernel", by "heartbeats", or by "leases" alone."""
        connection = self._of_session.get(session.id)
        if connection is None:
            return "leases"
        return "heartbeats" if connection.pid is None else "kernel"

    def watch(self, session: Session, origin: Origin | None, source_fd: int, address: str) -> None:
        """Takes in that a session speaks over this connection now."""
        self._forget(session.id)
        before = self._of_fd.get(source_fd)
        if before is not None and before.session.ended_by is not None:
            self._forget(before.session.id)  # by its newer self, over the same connection
        pid = None if origin is None else self._processes.watch(origin.pid, source_fd)
        connection = _Connection(session, pid, source_fd, address)
        self._of_session[session.id] = connection
        self._of_fd[source_fd] = connection

    def is_from(self, session: Session, source_fd: object, address: object) -> bool:
        """Whether that is the connection over which the session was welcomed, and it has not ended since. The address
        is looked at too: a descriptor may be another process's before its end has been heard of.
        """
        connection = self._of_session.get(session.id)
        return (
            connection is not None
            and connection.source_fd == source_fd
            and connection.address == address
            and not connection.is_over
        )

    def hears(self, source_fd: int) -> bool:
        """Whether a session speaks over the connection with that descriptor."""
        return source_fd in self._of_fd

    def expect(self, sessions: Sequence[Session]) -> None:
        """Sessions that a restart has left without a connection: they end unless they come back in time."""
        for session in sessions:
            connection = _Connection(session, None, -1)
            connection.is_over = True
            connection.ends_at = time.monotonic() + _RESTART_S
            self._of_session[session.id] = self._dying[session.id] = connection

    def disconnected(self, source_fd: int) -> None:
        """A connection has ended, after everything that came over it was taken in."""
        connection = self._of_fd.pop(source_fd, None)
        if connection is None:
            return
        if connection.session.ended_by is not None:
            self._forget(connection.session.id)
            return
        connection.is_over = True
        if connection.ends_at is None:
            connection.ends_at = time.monotonic() + _COME_BACK_S
        self._dying[connection.session.id] = connection

    def hear_of_deaths(self) -> None:
        pids = self._processes.dead()
        if not pids:
            return
        ends_at = time.monotonic() + _LAST_WORDS_S
        for connection in list(self._of_session.values()):
            if connection.pid in pids:
                connection.is_dead = True
                connection.ends_at = ends_at
                self._dying[connection.session.id] = connection

    def end_dead(self, *, has_more: bool) -> None:
        """Ends the sessions of the dead; `has_more`: their last words may still be unread."""
        now = time.monotonic()
        for connection in list(self._dying.values()):
            assert connection.ends_at is not None
            if now >= connection.ends_at or (connection.is_dead and connection.is_over and not has_more):
                self._forget(connection.session.id)
                why = "its process has died" if connection.is_dead else "its connection was lost"
                self._conversations.end(connection.session, why)

    def wait_ms(self, most_ms: int) -> int:
        """How long it may wait until something must be ended."""
        if not self._dying:
            return most_ms
        first = min(connection.ends_at or 0.0 for connection in self._dying.values())
        return max(0, min(most_ms, int((first - time.monotonic()) * 1000) + 1))

    def close(self) -> None:
        self._processes.close()

    def _forget(self, session_id: int) -> None:
        connection = self._of_session.pop(session_id, None)
        if connection is None:
            return
        self._dying.pop(session_id, None)
        if self._of_fd.get(connection.source_fd) is connection:
            del self._of_fd[connection.source_fd]
        pid = connection.pid
        if pid is not None and all(each.pid != pid for each in self._of_session.values()):
            self._processes.forget(pid)
