"""The daemon's process: started from its journal, its loop round by round, and its many deaths."""

from __future__ import annotations

import decimal
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from pitd import bootstrap
from pitd.calendar import Calendar
from pitd.conversations import Conversations
from pitd.core import snapshot
from pitd.core.engine import CarryOutFailed, Engine
from pitd.errors import JournalFailed
from pitd.recovery import recover
from pitd.sequencer import AWAY_NS, Sequencer
from pitd.server import LOOKED_AFTER

from . import settings
from .disk import Disk, Killed, SimulatedJournal
from .network import MS

if TYPE_CHECKING:
    from .clients import Line
    from .world import World

IDLE_NS = 1_000 * MS

DEATHS = (
    *("before the rows", "inside the rows", "after the rows", "between replies", "after the replies"),
    *("a new segment begun", "a snapshot begun", "a segment unborn"),
)
"""Where the process may die. A death that has been drawn is waited for: some places are seldom passed."""


class Clock:
    """Engine time: a base, and the virtual time since this process began."""

    def __init__(self, world: World, base_ns: int) -> None:
        self._world = world
        self._offset_ns = base_ns - world.now_ns

    def now_ns(self) -> int:
        return self._world.now_ns + self._offset_ns

    def wall_ns(self) -> int:
        return self._world.now_ns * settings.WALL


class Daemon:
    """One process of the daemon. What `bootstrap.build_daemon` and `server.Server` do, without socket and threads."""

    def __init__(self, world: World, disk: Disk) -> None:
        self._world = world
        self._disk = disk
        self._random = world.random(f"daemon {world.starts}")
        self._inbox: deque[tuple[bytes, bytes, bytes]] = deque()
        self._lines: dict[bytes, Line] = {}
        self._gone: list[int] = []
        self._turn = 0
        self.stopped_until_ns = 0
        self.is_up = True
        self.config = settings.variant(world.limits_now, durability="power" if world.weather.power else "process")
        kept = msgspec.structs.replace(self.config.journal, directory=str(disk.directory))
        found = recover(disk.directory, self._build)
        world.recovered(found, disk.directory)
        self.journal = SimulatedJournal(
            disk, kept, found.journal or world.journal_id, found.head, snapshot_seq=found.snapshot_seq
        )
        clock = Clock(world, found.engine.now_ns)
        self.sequencer = Sequencer(found.engine, clock, self.journal, away_ns=AWAY_NS)
        self.sequencer.calendar = Calendar(self.config)
        self.conversations = Conversations(self.sequencer, self.config)
        self.conversations.cancels._clock_s = lambda: world.now_ns / 1e9
        self.sequencer.begin(world.draw.randbytes(8))
        self.sequencer.configure(bootstrap.configured(self.config, "pitd", "start"))
        self.sequencer.release()
        self._wake_by(world.now_ns)

    @property
    def engine(self) -> Engine:
        return self.sequencer.engine

    def connected(self, line: Line) -> None:
        self._lines[line.identity] = line

    def disconnected(self, identity: bytes) -> None:
        self._lines.pop(identity, None)

    def deliver(self, identity: bytes, header: bytes, body: bytes) -> None:
        """A message has come in, maybe over a connection that is no more."""
        self._inbox.append((identity, header, body))
        self._wake_by(self._world.now_ns + 20_000)

    def client_gone(self, session_id: int) -> None:
        """The kernel says that the process behind a session has died, or its connection stayed lost."""
        self._gone.append(session_id)
        self._wake_by(self._world.now_ns)

    def leave(self) -> None:
        """Stops tidily, as by SIGTERM."""
        try:
            self.journal.close(self.engine)
        except Killed:
            self.kill()
            return
        self._down()

    def kill(self) -> None:
        self.journal.die()
        self._disk.die()
        self._down()

    # ------------------------------------------------------------------------------------------ the loop

    def _wake_by(self, when_ns: int) -> None:
        self._turn += 1
        turn = self._turn
        self._world.at(when_ns, lambda: self._round(turn))

    def _round(self, turn: int) -> None:
        if not self.is_up or turn != self._turn:
            return
        world = self._world
        if self.stopped_until_ns > world.now_ns:
            self._wake_by(self.stopped_until_ns)
            return
        if world.is_calm:
            self._disk.kill_at, self._disk.is_power_cut = "", False
        elif not self._disk.kill_at and self._random.random() < world.weather.crash:
            self._disk.kill_at = self._random.choice(DEATHS)
            self._disk.is_power_cut = self._random.random() < world.weather.power_cut
        try:
            self._one_batch()
        except Killed as death:
            world.trace(f"daemon: killed {death}")
            self.kill()
        except CarryOutFailed as trouble:
            world.trace(f"daemon: {trouble}")
            self.leave()
        except JournalFailed as trouble:
            world.trace(f"daemon: {trouble}")
            self.leave()
        finally:
            if not self.is_up:
                self._disk.kill_at, self._disk.is_power_cut = "", False

    def _one_batch(self) -> None:
        """What `Server._one_batch` does."""
        sequencer, disk = self.sequencer, self._disk
        sequencer.woke(self._back_by_ns())
        if self._planned_ns is not None and self._world.now_ns - self._planned_ns > AWAY_NS:
            self._world.model.must_resume()
        try:
            taken = 0
            while self._inbox and taken < self.config.daemon.batch:
                if not taken % LOOKED_AFTER:
                    sequencer.begin_turn()
                taken += 1
                self.conversations.take(*self._inbox.popleft())
            for session_id in self._gone:
                session = sequencer.engine.sessions.get(session_id)
                if session is not None:
                    self.conversations.end(session, "gone")
            self._gone.clear()
            if not taken:
                sequencer.end_due()
            self.conversations.tell_cancels()
        finally:
            sequencer.release()
        out, self.conversations.out = self.conversations.out, []
        for identity, header, body in out:
            if disk.kill_at == "between replies" and self._random.random() < 0.5:
                disk.kill("between replies")
            line = self._lines.get(identity)
            if line is None:
                self.conversations.lost(identity)
            else:
                self._world.network.carry(lambda line=line, i=identity, h=header, b=body: line.deliver(i, h, b))
        disk.kill("after the replies")
        self.journal.maintain(sequencer.engine)
        self._world.batch_done()
        self._planned_ns = self._next_ns()
        self._wake_by(self._planned_ns)

    _planned_ns: int | None = None

    def _back_by_ns(self) -> int:
        """When the loop had meant to be back, in engine time."""
        now_ns = self.sequencer.read_clock_ns()
        if self._planned_ns is None:
            return now_ns
        return now_ns - max(0, self._world.now_ns - self._planned_ns)

    def _next_ns(self) -> int:
        if self._inbox:
            return self._world.now_ns
        idle_ns = self.conversations.cancels.wait_ms(IDLE_NS // MS) * MS
        idle_ns = max(0, min(idle_ns, self.sequencer.next_day_ns() // settings.WALL + MS))
        first_ns = self.engine.first_lease_end_ns()
        if first_ns is None:
            return self._world.now_ns + idle_ns
        left_ns = first_ns - self.sequencer.read_clock_ns()
        return self._world.now_ns + max(0, min(idle_ns, left_ns + MS if left_ns > 0 else 0))

    def _down(self) -> None:
        self._disk.abandon()
        self.is_up = False
        lines, self._lines = list(self._lines.values()), {}
        for line in lines:
            line.hung_up()
        self._world.daemon_died()

    def _build(self) -> Engine:
        return settings.build_engine(self.config)


def state_of(engine: Engine) -> bytes:
    """Everything an engine knows, as bytes: equal for equal states."""
    return snapshot.encode(snapshot.take(engine))


__all__ = ["Clock", "Daemon", "decimal", "state_of"]
