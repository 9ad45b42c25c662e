"""One run: a virtual clock, everybody in it, faults and then calm, and the checks after every step."""

from __future__ import annotations

import decimal
import hashlib
import heapq
import itertools
import logging
import os
import random
from collections.abc import Callable, Iterable
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import pit
from pit import wire
from pit._session import Session
from pit.errors import JournalBehind, PitError
from pitd import history, journal
from pitd.core import entry as e
from pitd.core import reading
from pitd.core.engine import Engine, exact_context
from pitd.errors import JournalDamaged, JournalFailed
from pitd.recovery import Recovered

from . import settings
from .clients import BlockingStrategy, Client, DropCopy, Feed, Killer, Line, Operator, Strategy
from .daemon import Daemon, state_of
from .disk import Disk, Killed, scratch
from .model import Broken, Model
from .network import MS, Network
from .venue import Placed, Venue
from .weather import Weather

STORM_MOST_NS = 60_000 * MS
CALM_MOST_NS = 90_000 * MS
STANDSTILL_EVENTS = 20_000
"""So much may happen at one moment; more than that, and somebody goes round in circles."""


class Told(NamedTuple):
    """What a run came to: a digest of every row and answer, and how much happened."""

    digest: str
    rows: int
    starts: int
    trouble: str = ""
    """What was broken; empty for nothing."""


class Tape:
    """Every row that was ever kept, decided again by a second engine as it comes and taken in by the model."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.encoded: list[bytes] = []
        self.heads = [journal.START]
        """Where the journal ended before the first row, and after each."""
        self.head = journal.START
        self.shadow = settings.build_engine(settings.variant("wide"))
        self.hash = hashlib.blake2b(digest_size=16)

    def extend(self, rows: Iterable[e.Row]) -> None:
        for row in rows:
            encoded = reading.encode(row)
            self.encoded.append(encoded)
            self.hash.update(encoded)
            self.head = journal.Head(row.entry.seq, journal.chained(self.head.chain, encoded))
            self.heads.append(self.head)
            self._decide_again(row, encoded)
            self._world.model.row(row)

    def _decide_again(self, row: e.Row, encoded: bytes) -> None:
        if isinstance(row.entry.body, e.Poisoned):
            self.shadow.carry_out(e.deed_of(row))
            return
        result = self.shadow.apply(row.entry)
        if reading.encode(e.Row(row.entry, result.effects, result.reply)) != encoded:
            raise Broken(f"row {row.entry.seq} decided again comes to {result}, and was {row}")


class World:
    """The virtual clock, and everybody who lives by it."""

    def __init__(self, seed: int, weather: Weather, home: Path, *, out: Callable[[str], None] | None = None) -> None:
        self.seed = seed
        self.weather = weather
        self.is_calm = False
        self.now_ns = 1_000 * MS
        self.starts = 0
        self.is_waiting = False
        self.draw = self.random("world")
        self.limits_now = self.random("limits").choice(("wide", "strict", "tight"))
        self.loss: Loss | None = None
        """What a power cut has taken from a journal that is kept through the death of the process alone."""
        self.is_refused = False
        """Whether the daemon has refused what a power cut left."""
        self.draw = self.random("world")
        self.journal_id = self.draw.randbytes(16)
        self._out = out
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self._at_once = 0
        self._orders_started = self._terms = 0
        self._told = hashlib.blake2b(digest_size=16)
        self.model = Model()
        self.tape = Tape(self)
        self.network = Network(self)
        self.disk = Disk(self, home)
        self.venue = Venue(self)
        self.daemon: Daemon | None = None
        self.drops = DropCopy(self, "drops")
        self.operator = Operator(self, "ops")
        self.strategies: list[Client] = [Strategy(self, f"mm{n}") for n in range(1, weather.strategies + 1)]
        self.strategies += [BlockingStrategy(self, f"bs{n}") for n in range(1, weather.blocking + 1)]
        self.killer = Killer(self, settings.KILLER)
        others = (self.drops, self.operator, *self.strategies, self.killer, Feed(self, "feed"))
        self.clients = {client.name: client for client in others}
        for at, client in enumerate(self.strategies):
            client.protocol = wire.SPOKEN[0] if weather.old and not at % 2 else wire.PROTOCOL

    # ------------------------------------------------------------------------------------------ the clock

    def random(self, name: str) -> random.Random:
        """Chance of its own for each concern, so that leaving one out changes no other's."""
        return random.Random(f"{self.seed}/{name}")

    def at(self, when_ns: int, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (max(when_ns, self.now_ns), next(self._count), act))

    def after(self, delay_ns: int, act: Callable[[], None]) -> None:
        self.at(self.now_ns + delay_ns, act)

    def step(self) -> None:
        """The next thing happens."""
        was_ns = self.now_ns
        self.now_ns, _, act = heapq.heappop(self._events)
        self._at_once = 0 if self.now_ns - was_ns > 1_000 else self._at_once + 1
        _must(self._at_once < STANDSTILL_EVENTS, "time stands still")
        act()

    def trace(self, what: str) -> None:
        if self._out is not None:
            self._out(f"{self.now_ns / 1e9:9.4f} {what}")

    # ------------------------------------------------------------------------------------------ a run

    def run(self) -> Told:
        """Faults, then calm. Raises Broken."""
        self._start_daemon()
        for client in self.clients.values():
            client.start()
        self._weather()
        while self._orders_started < self.weather.intents and self.now_ns < STORM_MOST_NS:
            self.step()
            if self.is_refused or self.loss is not None:
                return self._after_the_loss()
        end_ns = self.now_ns + int(self.weather.linger_s * 1e9)
        while self.now_ns < end_ns:
            self.step()
            if self.is_refused or self.loss is not None:
                return self._after_the_loss()
        self._calm_down()
        end_ns = self.now_ns + CALM_MOST_NS
        look_ns = self.now_ns
        while True:
            self.step()
            if self.is_refused or self.loss is not None:
                return self._after_the_loss()
            if self.now_ns >= look_ns:
                unsettled = self._unsettled()
                if not unsettled:
                    break
                if self.now_ns > end_ns:
                    raise Broken(f"not settled after {CALM_MOST_NS // 10**9} s of calm: {unsettled}")
                look_ns = self.now_ns + 250 * MS
        self._check_the_end()
        return self._good()

    def _good(self) -> Told:
        told = self._told.hexdigest() + self.tape.hash.hexdigest()
        return Told(told, len(self.tape.encoded), self.starts)

    def _calm_down(self, *, is_lost: bool = False) -> None:
        self.trace("--- calm")
        self.is_calm = True
        self.disk.is_full = False
        if self.daemon is not None:
            self.daemon.stopped_until_ns = 0
        for client in self.clients.values():
            client.wake()
            if client.is_alive:
                client.spawn(client.make_itself_heard())
        if not is_lost:
            self.venue.finish()

    def _unsettled(self) -> str:
        """What is not at rest yet, or nothing."""
        if self.daemon is None:
            return "the daemon is down"
        engine = self.daemon.engine
        for client in self.clients.values():
            if not client.is_alive:
                return f"client {client.name} is dead"
            if not client.is_heard:
                return f"client {client.name} is not heard"
            assert client.line is not None
            if client.line.session.in_flight and client is not self.operator:
                if client.is_idle:  # what is posted last is confirmed by nothing but another command
                    client.spawn(client.persistently(wire.Drop(()), 3))
                return f"client {client.name} waits for {client.line.session._flights}"
        for client in (self.drops, *self.strategies):
            if not client.is_idle:
                return f"client {client.name} is busy"
        if engine.orders.open:
            return f"open orders: {list(engine.orders.open.values())}"
        if engine.requests or engine.sessions.ending:
            return f"requests {engine.requests}, sessions ending {engine.sessions.ending}"
        if engine.accounts.blocks() or len(engine.trading):
            return f"blocks {engine.accounts.blocks()}, halts {engine.trading.restrictions()}"
        return ""

    def _check_the_end(self) -> None:
        assert self.daemon is not None
        engine = self.daemon.engine
        self.model.compare(engine, whole=True)
        self.model.compare_with_venue(self.venue, is_over=True)
        self._numbers_agree(engine)
        left = engine.policies["open_order_notional"].save()
        _must(not left, f"nothing is open, and {left} is counted")
        first_ns = engine.first_lease_end_ns()
        live = engine.live_leases()
        _must(not live, f"no order is held, and leases run: {live}, first {first_ns}")
        asked = engine.cancels.requests, engine.cancels.sweeps, engine.cancels.asked
        _must(not any(asked), f"nothing is open, and {asked} are to be cancelled")
        sessions = [session.unsettled for session in engine.sessions.going() if session.unsettled]
        _must(not sessions, f"sessions have something to settle: {sessions}")
        self._from_the_beginning()
        for leave in (self.daemon.kill, self.daemon.leave):
            if self.daemon is None:
                self._start_daemon()
            leave()
            self._start_daemon()
        self.daemon.leave()

    def _numbers_agree(self, engine: Engine) -> None:
        """Whatever was given up is settled: at both ends of each session, the same number is the next one."""
        for client in (self.drops, *self.strategies):
            assert client.line is not None
            session = client.line.session
            kept = engine.sessions.get(session._session)
            _must(kept is not None and kept.ended_by is None, f"the session of {client.name} is over")
            assert kept is not None
            here, there = session._next_number, kept.next_number
            _must(here == there, f"{client.name} goes on with number {here}, and the daemon with {there}")

    def _from_the_beginning(self) -> None:
        """Every row carried out by an engine of its own comes to the same state."""
        engine = settings.build_engine(settings.variant("wide"))
        reader = reading.Reader(engine.policies)
        for encoded in self.tape.encoded:
            engine.carry_out(reader.deed(encoded))
        self._same(state_of(engine), "carried out from the beginning")

    # ------------------------------------------------------------------------------------------ power cuts

    def power_failed(self) -> None:
        """The daemon's machine has lost its power, and some clients with it."""
        self.trace("power cut")
        for client in self.clients.values():
            if client.line is not None:
                client.line.identity = b""  # nothing that the daemon had said is on its way any more
                if self.draw.random() < 0.4:
                    client.die("power cut")

    def _rewind(self, found: Recovered) -> None:
        """The end of the journal is lost: what is left must be what was written, and it goes on from there."""
        seq = found.head.seq
        kept = self.tape
        _must(self.disk.cuts > 0 and not self.weather.power, f"row {kept.head.seq} was kept, and {seq} are left")
        _must(kept.heads[seq] == found.head, f"a power cut left {found.head}, and row {seq} was {kept.heads[seq]}")
        self.trace(f"power cut: rows {seq + 1} to {kept.head.seq} are lost")
        self.model = Model()
        self.tape = Tape(self)
        for encoded in kept.encoded[:seq]:
            self.tape.extend([reading.Reader(self.tape.shadow.policies).row(encoded)])
        self.model.may_be_disputed = True
        lines = [client.line for client in self.clients.values() if client.line is not None]
        self.loss = Loss(seq, {line: line.session._seen_seq for line in lines if line.session._seen_seq > seq}, set())
        for client in self.clients.values():
            client.flows = set()
        self.drops.due.clear()
        self.venue.is_shut = True
        self.is_calm = True
        self.disk.kill_at, self.disk.is_power_cut = "", False

    def _after_the_loss(self) -> Told:
        """Who knows more than the journal is told so, and no new order is taken until an operator has looked."""
        self._calm_down(is_lost=True)
        if self.is_refused:
            return self._good()
        assert self.loss is not None
        self._until(self._everyone_is_told, "everyone who knows more to be told")
        self._until(lambda: self.daemon is not None and self.operator.is_heard, "the operator to be heard")
        assert self.daemon is not None
        probe = Client(self, "probe")
        self.clients[probe.name] = probe
        probe.start()
        if self.loss.told:
            _must(self.daemon.engine.disputed_seq > self.loss.seq, "history was lost, and nobody disputes it")
        if self.daemon.engine.disputed_seq:
            refused = self._say(probe, wire.Check(self._lucky_order(), False, None))
            is_behind = isinstance(refused, wire.Failed) and refused.code is wire.FailureCode.JOURNAL_BEHIND
            _must(is_behind, f"history is disputed, and a new order was answered {refused}")
            accepted = self._say(self.operator, wire.AcceptHistory("looked at it"))
            _must(accepted == wire.Done(1), f"history was accepted, and that was answered {accepted}")
        reply = self._say(probe, wire.Check(self._lucky_order(), False, None))
        _must(isinstance(reply, (wire.Accepted, wire.Refused)), f"a new order was answered {reply}")
        self.daemon.leave()
        self._start_daemon()
        _must(self.daemon is not None, "the daemon does not start after a tidy stop")
        self.daemon.leave()
        return self._good()

    def _lucky_order(self) -> pit.Order:
        orders = (self.new_order(self.draw) for _ in itertools.count())
        return next(order for order in orders if order.quantity != settings.UNLUCKY)

    def _everyone_is_told(self) -> bool:
        """Those of the release before this one can't all tell: they do not say by which start they were told."""
        assert self.loss is not None
        alive = {client.line for client in self.clients.values()}
        wait = [line for line in self.loss.knew if line in alive and line.protocol == wire.PROTOCOL]
        return not [line for line in wait if line not in self.loss.told]

    def _say(self, client: Client, said: wire.Command) -> object:
        """Says it until it is answered."""
        while True:
            self._until(lambda: client.is_alive and self.daemon is not None, f"{client.name} to live")
            box: list[object] = []
            assert client.line is not None
            client.line.ask(said, 3.0, box.append)
            self._until(lambda box=box: bool(box), f"{client.name} to be answered")  # type: ignore[misc]
            if isinstance(box[0], (wire.Body, PitError)):
                return box[0]

    def _until(self, is_so: Callable[[], bool], what: str) -> None:
        end_ns = self.now_ns + CALM_MOST_NS
        while not is_so():
            assert not self.is_refused
            _must(self.now_ns < end_ns, f"waited {CALM_MOST_NS // 10**9} s for {what}")
            self.step()

    # ------------------------------------------------------------------------------------------ weather

    def _weather(self) -> None:
        """Ten times a second something may go wrong."""
        if self.is_calm:
            return
        self.after(100 * MS, self._weather)
        weather, draw = self.weather, self.draw
        for client in self.clients.values():
            rate = draw.random() * 10
            if not client.is_alive:
                continue
            assert client.line is not None
            if rate < weather.death:
                client.die("by chance")
            elif rate < weather.death + weather.pause:
                client.pause(draw.choice((0.2, 0.6, 2.0, 6.0)))
            elif rate < weather.death + weather.pause + weather.cut:
                if self.daemon is not None:
                    self.daemon.disconnected(client.line.identity)
                client.line.hung_up()
        if draw.random() * 10 < weather.undo * 10:
            self.venue.undo_some()
        if self.daemon is None:
            return
        rate = draw.random() * 10
        if rate < weather.restart:
            if draw.random() < weather.settings:
                self.limits_now = draw.choice([name for name in settings.OPEN if name != self.limits_now])
                self.trace(f"operator: other limits, {self.limits_now}")
            self.trace("daemon: stops tidily")
            self.daemon.leave()
        elif rate < weather.restart + weather.pause:
            self.daemon.stopped_until_ns = self.now_ns + draw.choice((50, 150, 800, 3_000)) * MS
            self.trace("daemon: stands still")
        elif draw.random() < weather.full * 10 and not self.disk.is_full:
            self.disk.fill()
            self.trace("disk: full")
            self.after(draw.choice((100, 1_000, 3_000)) * MS, self._room_again)

    def _room_again(self) -> None:
        self.disk.is_full = False
        self.trace("disk: room again")

    # ------------------------------------------------------------------------------------------ the daemon's life

    def _start_daemon(self) -> None:
        if self.daemon is not None:
            return
        self.starts += 1
        if self.is_calm:
            self.disk.kill_at = ""
        try:
            self.daemon = Daemon(self, self.disk)
        except Killed as death:
            self.trace(f"daemon: killed {death}, just begun")
            self.disk.die()
            self.after(100 * MS, self._start_daemon)
            return
        except JournalDamaged as trouble:
            _must(self.disk.cuts > 0 and not self.weather.power, f"nothing was lost, and it is refused: {trouble}")
            _must(str(self.disk.directory) in str(trouble), f"it is refused, and no place is named: {trouble}")
            _must("a snapshot knows" not in str(trouble), f"a snapshot was on the disk before its rows: {trouble}")
            self.trace(f"daemon: refuses what the power cut left: {trouble}")
            self.is_refused = True
            return
        except JournalFailed as trouble:
            self.trace(f"daemon: does not start: {trouble}")
            self.disk.abandon()
            self.after(500 * MS, self._start_daemon)
            return
        finally:
            self.disk.kill_at = ""
        self.trace(f"daemon: up at {self.daemon.sequencer.seq}")

    def daemon_died(self) -> None:
        self.daemon = None
        self.after(int(self.draw.uniform(0.01, 1.5) * 1e9), self._start_daemon)

    def recovered(self, found: Recovered, directory: Path) -> None:
        """A daemon has come back: everything that was kept is there, and its state is that of the rows."""
        if found.head.seq < self.tape.head.seq:
            self._rewind(found)
        tape = self.tape
        if found.head.seq > tape.head.seq:  # kept, and the process died before it knew
            segments = history.read_segments(directory)
            reader = reading.Reader(tape.shadow.policies)
            tape.extend([reader.row(line.row) for line in history.lines(segments, tape.head)])
        _must(found.head == tape.head, f"the journal ends with {found.head}, and {tape.head} was written")
        if found.head.seq:
            self._same(state_of(found.engine), f"recovered from snapshot {found.snapshot_seq}")
            self.model.compare(found.engine, whole=True)

    def _same(self, state: bytes, what: str) -> None:
        wanted = state_of(self.tape.shadow)
        if state != wanted:
            raise Broken(f"at row {self.tape.head.seq}: {what} it is another state:\n{state!r}\nand not\n{wanted!r}")

    def batch_done(self) -> None:
        assert self.daemon is not None
        self.model.compare(self.daemon.engine)
        if self.loss is None:
            self.model.compare_with_venue(self.venue)

    # ------------------------------------------------------------------------------------------ what clients need

    def may_start_another(self) -> bool:
        return not self.is_calm and self._orders_started < self.weather.intents

    def new_order(self, draw: random.Random) -> pit.Order:
        self._orders_started += 1
        is_unlucky = draw.random() < self.weather.poison
        instrument = draw.choice((settings.PAIR, settings.PAIR, settings.PAIR, "ESZ6", "XBT"))
        given = Decimal(draw.choice((1, 2, 3, 4, 5, 8, 12, 25)))
        price = Decimal(
            draw.choice(
                {settings.PAIR: ("99.75", "100", "101.5"), "ESZ6": ("20", "31.25"), "XBT": ("70", "300")}[instrument]
            )
        )
        is_by_volume = instrument != "XBT" and not is_unlucky and draw.random() < 0.2
        amount = {"volume": given * 101} if is_by_volume else {"quantity": settings.UNLUCKY if is_unlucky else given}
        return pit.Order(
            account=draw.choice(settings.ACCOUNTS),
            instrument=instrument,
            side=draw.choice((pit.Side.BUY, pit.Side.SELL)),
            price=price,
            id=f"o{self._orders_started}",
            **amount,
            time_in_force="day" if draw.random() < 0.3 else None,
        )

    def new_terms(self, draw: random.Random, order: pit.Order) -> wire.Modify:
        """What an order might be changed to."""
        self._terms += 1
        is_unlucky = draw.random() < self.weather.poison
        whole = order.quantity if order.quantity is not None else order.volume
        assert whole is not None and order.price is not None
        more = (whole * Decimal(draw.choice(("0.5", "1.5", "2", "3")))).to_integral_value() or Decimal(1)
        price = draw.choice((None, order.price - 1, order.price + 1))
        size = draw.choice((None, more)) if price is not None else more
        if is_unlucky and order.volume is None:
            size = settings.UNLUCKY
        return wire.Modify(
            order.account,
            order.id,
            quantity=size if order.volume is None else None,
            volume=size if order.volume is not None else None,
            price=price,
            new_id=f"{order.id.partition('.')[0]}.{self._terms}" if draw.random() < 0.5 else None,
            sent=draw.random() < 0.6,
            lease_ns=draw.choice((None, None, 200 * MS, 3_000 * MS)),
        )

    def reported(self, placed: Placed, report: pit.ExecutionReport) -> None:
        """The venue has said something: to the drop copy surely, to its owner if that lives."""
        self.drops.hear(placed, report)
        client = self.clients.get(placed.owner)
        if client is None or not client.is_alive or placed.is_namesake or (placed.is_rogue and placed.is_copied):
            return
        if placed.by_status:  # its word may overtake what the drop copy said
            client.tell_status(placed.status())
        else:
            client.tell(report)

    def session_over(self, line: Line, over: pit.PitError) -> None:
        if self.loss is not None and line in self.loss.knew and isinstance(over, JournalBehind):
            self.loss.told.add(line)
        client = self.clients[line.session.client]
        self._told.update(f"{client.name} {over}".encode())
        if client.line is line:
            client.die(str(over))

    def tell_daemon_gone(self, session_id: int) -> None:
        if self.daemon is not None:
            self.daemon.client_gone(session_id)

    def heard(self, session: Session, header: bytes, body: bytes) -> None:
        """A client has had a message."""
        is_marked = wire.unpack_header(header).session > 0
        _must(not (is_marked and session._protocol < 2), f"{session.client} speaks protocol 1 and was sent a mark")
        if self.loss is not None and self._is_about_the_loss(self.loss, session, header, body):
            return
        self._told.update(header + body.replace(bytes(self.disk.home), b"home"))
        self.model.heard(session.client, session._session, header, body)

    def _is_about_the_loss(self, loss: Loss, session: Session, header: bytes, body: bytes) -> bool:
        """Whether a message says that history was lost: to those who know, and to new orders while it is disputed."""
        reply = wire.decode_reply(body)
        knows = session._seen_seq > loss.seq or session._session > loss.seq
        is_current = any(line.session is session and line.protocol == wire.PROTOCOL for line in loss.knew)
        is_hello = wire.unpack_header(header).message == wire.Message.HELLO
        is_welcome = is_hello and isinstance(reply, wire.Welcome)
        _must(not (is_welcome and is_current), f"{session.client} knew more than the journal, and was welcomed")
        if not isinstance(reply, wire.Failed) or reply.code is not wire.FailureCode.JOURNAL_BEHIND:
            return False
        _must(knows if is_hello else self.model.disputed, f"{session.client} was told: {reply.message}")
        return True


class Loss(NamedTuple):
    """A journal that ends earlier than it had: after that row. Who knew more, and who of them has been told so."""

    seq: int
    knew: dict[Line, int]
    told: set[Line]


def run(seed: int, weather: Weather, *, out: Callable[[str], None] | None = None) -> Told:
    """One run. What was broken is told, not raised: `trouble` says what, in its first line."""
    log = logging.getLogger("pitd")
    was_disabled, log.disabled = log.disabled, True
    try:
        with scratch() as home, decimal.localcontext(exact_context()):
            world = World(seed, weather, home, out=out)
            with (
                mock.patch.object(journal, "free_bytes", world.disk.free_bytes),
                mock.patch.object(os, "fsync", world.disk.fsync),
            ):
                try:
                    return world.run()
                except Exception as trouble:
                    if out is not None:
                        raise
                    return Told("", world.tape.head.seq, world.starts, f"{type(trouble).__name__}: {trouble}")
                finally:
                    world.disk.abandon()
    finally:
        log.disabled = was_disabled


def _must(is_true: bool, why: str) -> None:
    if not is_true:
        raise Broken(why)
