"""Those who speak to the daemon: strategies, a drop copy, an operator, each over a real session of `pit`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

import pit
from pit import _calls, wire
from pit._session import Flight, Frames, Session
from pit.errors import CapacityExceeded, OutcomeUnknown, PitError, Unavailable

from . import limits, settings
from .model import Broken
from .network import MS

if TYPE_CHECKING:
    from .venue import Placed
    from .world import World

AGAIN_NS = 250 * MS
"""As in `pit._zmq`: after so long without an answer everything is said again."""


class NothingSent:
    """No answer came, and nothing had left: `pit.Unavailable`."""


class Unknown:
    """No answer came in time: `pit.OutcomeUnknown`."""


NOTHING_SENT, UNKNOWN = NothingSent(), Unknown()

Flow = Generator[Any, Any, None]
"""What a client does in steps: it yields seconds to wait, or a command or query, and gets the reply."""


class Line:
    """A session's end of its connection: what `pit._zmq` does, with events in place of waiting."""

    def __init__(self, world: World, name: str, token: bytes, protocol: int = wire.PROTOCOL) -> None:
        self.session = Session(name, token)
        self.session._protocol = self.protocol = protocol
        self.identity = b""
        self.is_closed = False
        self._world = world
        self._then: dict[Flight, Callable[[Any], None]] = {}
        self._is_connected = False
        self._connections = 0
        self.paused_until_ns = 0
        self._connect()
        self.session.greet()
        self._flush()
        self._again()

    def ask(self, said: Any, timeout_s: float, then: Callable[[Any], None]) -> None:
        """Sends a command or query; `then` gets its reply, NOTHING_SENT, UNKNOWN, or the error that ended it all."""
        try:
            put = self.session.ask if isinstance(said, wire.Query) else self.session.submit
            ticket = put(said)  # type: ignore[operator]
        except CapacityExceeded:
            self._world.after(0, lambda: then(NOTHING_SENT))
            return
        except PitError as over:
            self._world.after(0, lambda over=over: then(over))  # type: ignore[misc]
            return
        self._then[ticket] = then
        self._flush()
        self._world.after(int(timeout_s * 1e9), lambda: self._too_late(ticket))

    def post(self, said: wire.Commit, order_id: str) -> None:
        """Sends a commit that nobody waits for. Without room for it, it is forgotten, as by a strategy that dies."""
        try:
            self.session.post(said, order_id)
        except PitError:
            return
        self._flush()

    def deliver(self, identity: bytes, header: bytes, body: bytes) -> None:
        """A message from the daemon has come in."""
        if self.is_closed or identity != self.identity:
            return
        if self._world.now_ns < self.paused_until_ns:
            self._world.at(self.paused_until_ns, lambda: self.deliver(identity, header, body))
            return
        self._world.heard(self.session, header, body)
        posted = dict(self.session._posted)
        answer = self.session.received(header, body)
        self._hear_of_posted(posted)
        self._flush()
        if answer is not None:
            then = self._then.pop(answer, None)
            if then is not None:
                then(answer.reply)
        self._look_over()

    def _hear_of_posted(self, before: dict[Flight, None]) -> None:
        """Every posted commit that is over by now has been carried out, unless it is said to have failed."""
        over = [flight for flight in before if flight not in self.session._posted]
        if not over:
            return
        failed = {order_id for order_id, _ in self.session.failures}
        for flight in over:
            if flight.posted_for not in failed:
                self._world.model.told_committed(flight.asked.reservation_id)

    def hung_up(self) -> None:
        """The connection is lost. libzmq makes another one by itself."""
        if self._is_connected:
            self._is_connected = False
            self._world.after(int(self._world.draw.uniform(0.02, 0.3) * 1e9), self._connect)

    def close(self) -> None:
        self.is_closed = True
        self._is_connected = False
        if self._world.daemon is not None:
            self._world.daemon.disconnected(self.identity)

    # ------------------------------------------------------------------------------------------ within

    def _connect(self) -> None:
        if self.is_closed or self._is_connected:
            return
        daemon = self._world.daemon
        if daemon is None:
            self._world.after(100 * MS, self._connect)
            return
        self._connections += 1
        self.identity = f"{self.session.client}-{self.session._token.hex()[:6]}-{self._connections}".encode()
        self._is_connected = True
        daemon.connected(self)
        self._flush()

    def _flush(self) -> None:
        session = self.session
        while session.outbox and self._is_connected and not self.is_closed:
            frames = session.outbox[0]
            self._send(frames)
            session.sent(frames)
            del session.outbox[0]

    def _send(self, frames: Frames) -> None:
        world, identity = self._world, self.identity
        header = wire.unpack_header(frames[0])
        flight = self.session._flights.get(header.number)
        if header.message == wire.Message.COMMAND and flight is not None and flight.is_given_up:
            raise Broken(f"{self.session.client} says command {header.number} again, which it has given up")

        def arrive() -> None:
            if world.daemon is not None:
                world.daemon.deliver(identity, *frames)

        world.network.carry(arrive)

    def _again(self) -> None:
        if self.is_closed:
            return
        self._world.after(AGAIN_NS, self._again)
        if self._world.now_ns < self.paused_until_ns:
            return
        if self.session.over is None and (self._then or self.session.in_flight or not self.session.is_open):
            self.session.again()
            self._flush()

    def _too_late(self, ticket: Flight) -> None:
        if self.is_closed:
            return
        if self._world.now_ns < self.paused_until_ns:
            self._world.at(self.paused_until_ns + 1, lambda: self._too_late(ticket))
            return
        then = self._then.pop(ticket, None)
        if then is None:
            return
        was_sent = self.session.give_up(ticket)
        self._flush()
        then(UNKNOWN if was_sent else NOTHING_SENT)

    def _look_over(self) -> None:
        if self.session.over is None or self.is_closed:
            return
        over, then = self.session.over, list(self._then.values())
        self._then.clear()
        self.close()
        for each in then:
            each(over)
        self._world.session_over(self, over)


class Client:
    """A process that comes back under its own name when it has died. What `done` and its like keep, it has on disk."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.draw = world.random(f"client {name}")
        self.line: Line | None = None
        self.flows: set[Flow] = set()
        self.protocol = wire.PROTOCOL
        self.is_heard = False
        """Whether it has been answered in the calm."""
        self._lives = 0
        self._paused_until_ns = 0

    @property
    def is_alive(self) -> bool:
        return self.line is not None

    @property
    def is_idle(self) -> bool:
        return not self.flows

    def start(self) -> None:
        self._lives += 1
        self.line = Line(self.world, self.name, self.draw.randbytes(16), self.protocol)
        self.world.trace(f"{self.name}: starts")
        self.spawn(self.live())
        self.is_heard = False
        if self.world.is_calm:
            self.spawn(self.make_itself_heard())

    def die(self, why: str) -> None:
        """Ends where it stands. The daemon may hear of it, or not."""
        line = self.line
        if line is None:
            return
        self.world.trace(f"{self.name}: dies ({why})")
        session_id, was_over = line.session._session, line.session.over
        line.close()
        self.line = None
        flows, self.flows = self.flows, set()
        for flow in flows:
            if not flow.gi_running:
                flow.close()
        if session_id and was_over is None and self.draw.random() < 0.7:
            self.world.after(self.draw.choice((1, 100, 3_000)) * MS, lambda: self.world.tell_daemon_gone(session_id))
        self.world.after(int(self.draw.uniform(0.01, 3.0) * 1e9), self._come_back)

    def pause(self, seconds: float) -> None:
        """Stopped, as by SIGSTOP: it neither reads nor acts until then."""
        self._paused_until_ns = self.world.now_ns + int(seconds * 1e9)
        if self.line is not None:
            self.line.paused_until_ns = self._paused_until_ns
        self.world.trace(f"{self.name}: stands still for {seconds:.2f} s")

    def wake(self) -> None:
        self._paused_until_ns = 0
        if self.line is not None:
            self.line.paused_until_ns = 0

    def live(self) -> Flow:
        """What it does first, and goes on doing."""
        return
        yield

    def tell(self, report: pit.ExecutionReport) -> None:
        """The venue has said something to this client."""

    def tell_status(self, status: pit.OrderStatus) -> None:
        """The same by a source that adds up."""

    def heed(self) -> Flow:
        """Has the orders cancelled that this client is told to, as by `engine.poll()`."""
        place = (0, 0)
        while not self.world.is_calm:
            yield self.draw.uniform(0.0, 0.3)
            told = yield wire.AskCancels(*place, wait_ns=self.draw.choice((0, 0, 200 * MS)))
            if not isinstance(told, wire.CancelsFor):
                continue
            place = (told.seq, told.reservation_id)
            for request in told.cancels:
                self.world.trace(f"{self.name}: is to cancel {request.order.id}")
                if self.draw.random() < 0.7:
                    yield from self.cancel(request.order.account, request.order.id)

    def cancel(self, account: str, order_id: str) -> Flow:
        """A cancel goes by the gate, and to the venue."""
        cleared = yield wire.Cancel(account, order_id)
        placed = self.world.venue.find(account, order_id)
        if isinstance(cleared, wire.CancelCleared) and placed is not None:
            self.world.venue.cancel(placed)

    def make_itself_heard(self) -> Flow:
        """In the calm everyone is answered, whatever the session has been through."""
        yield from self.persistently(wire.Drop(()), 1_000)
        self.is_heard = True

    def spawn(self, flow: Flow) -> None:
        self.flows.add(flow)
        self._step(flow, None)

    def _step(self, flow: Flow, value: Any) -> None:
        if flow not in self.flows or self.line is None:
            return
        if self.world.now_ns < self._paused_until_ns:
            self.world.at(self._paused_until_ns + 2, lambda: self._step(flow, value))
            return
        if isinstance(value, PitError):
            self.flows.discard(flow)
            flow.close()
            return
        try:
            wanted = flow.send(value)
        except StopIteration:
            self.flows.discard(flow)
            return
        if isinstance(wanted, (int, float)):
            self.world.after(int(wanted * 1e9), lambda: self._step(flow, None))
        else:
            timeout_s = self.draw.choice((0.3, 1.0, 1.0, 3.0))
            self.world.trace(f"{self.name}: says {wanted}")
            self.line.ask(wanted, timeout_s, lambda reply: self._hear(flow, wanted, reply))

    def _hear(self, flow: Flow, said: Any, reply: Any) -> None:
        self.world.trace(f"{self.name}: {type(said).__name__} → {reply}")
        self._step(flow, reply)

    def _come_back(self) -> None:
        if self.line is None:
            self.start()

    def persistently(self, command: Any, tries: int = 5) -> Flow:
        """Says it until it is answered."""
        reply = None
        for _ in range(tries):
            reply = yield command
            if not isinstance(reply, (Unknown, NothingSent)):
                return reply  # type: ignore[return-value]
            yield 0.05
        return reply  # type: ignore[return-value]


class Strategy(Client):
    """Starts orders, sends some of them to the venue, commits or rolls back: in time, late, or never."""

    def live(self) -> Flow:
        self.spawn(self.heed())
        yield from self.settle_what_was_left()
        while not self.world.is_calm:
            yield self.draw.expovariate(1000 / self.world.weather.pace_ms)
            if not self.world.may_start_another():
                continue
            if self.draw.random() < self.world.weather.many:
                self.spawn(self.trade_many([self.world.new_order(self.draw) for _ in range(self.draw.randint(1, 4))]))
            else:
                self.spawn(self.trade(self.world.new_order(self.draw)))

    def tell(self, report: pit.ExecutionReport) -> None:
        if self.draw.random() < 0.7:
            self.spawn(self._report(report))

    def tell_status(self, status: pit.OrderStatus) -> None:
        if self.draw.random() < 0.7:
            self.spawn(self._status(status))

    def _report(self, report: pit.ExecutionReport) -> Flow:
        yield wire.Report(report)

    def _status(self, status: pit.OrderStatus) -> Flow:
        yield self.draw.choice((0.0, 0.0, 0.2, 1.0))
        yield wire.Status(status)

    def settle_what_was_left(self) -> Flow:
        """What an earlier process of this name left open: the venue knows what is true of it."""
        page = yield from self.persistently(wire.ListOpenOrders())
        if not isinstance(page, wire.OpenOrders):
            return
        for left in page.orders:
            placed = self.world.venue.find(left.order.account, left.order.id)
            if left.modify is not None:
                if placed is not None and left.modify.reservation_id in placed.answers:
                    yield wire.Commit(left.modify.reservation_id, placed.venue_id)
                elif left.modify.state is not pit.OrderState.QUARANTINED:
                    yield wire.Rollback(left.modify.reservation_id, "found after a restart")
            if left.state is pit.OrderState.WORKING:
                if placed is not None:
                    self.spawn(self._see_to(placed))
                continue
            if placed is not None:
                yield wire.Commit(left.reservation_id, placed.venue_id)
            elif left.state is not pit.OrderState.QUARANTINED:
                yield wire.Rollback(left.reservation_id, "found after a restart")

    def trade(self, order: pit.Order) -> Flow:
        """One order, from the first question to its end at the venue."""
        world, draw = self.world, self.draw
        if draw.random() < world.weather.rogue:
            world.venue.place(order, self.name, is_promised=False, is_rogue=True)  # without asking
            return
        is_sent = draw.random() < 0.6
        lease_ns = draw.choice((None, None, 200 * MS, 3_000 * MS))
        asked_ns = world.now_ns
        if draw.random() < 0.3:
            deferred = yield wire.Start(order)
            if not isinstance(deferred, wire.Deferred):
                return
            if draw.random() < 0.3:
                yield draw.uniform(0, 1.5)
            if draw.random() < 0.1:
                yield wire.Drop((), (deferred.request_id,))
                return
            asked_ns = world.now_ns
            held = yield wire.Execute(deferred.request_id, is_sent, lease_ns)
        else:
            held = yield wire.Check(order, is_sent, lease_ns)
        if isinstance(held, Unknown) and draw.random() < 0.7:
            asked_ns = world.now_ns
            held = yield wire.Check(order, is_sent, lease_ns)  # the same order again: the same answer, if it is open
        if not isinstance(held, wire.Accepted) or held.state not in (pit.OrderState.HELD, pit.OrderState.SENT):
            return
        world.model.told_accepted(order, held)
        yield from self._settle(order, held, asked_ns + held.lease_ns)

    def trade_many(self, orders: list[pit.Order]) -> Flow:
        """Several orders in one question."""
        said = wire.CheckMany(tuple(orders), self.draw.random() < 0.6, None, self.draw.random() < 0.5)
        asked_ns = self.world.now_ns
        reply = yield said
        if isinstance(reply, Unknown) and self.draw.random() < 0.7:
            asked_ns = self.world.now_ns
            reply = yield said
        if not isinstance(reply, wire.ManyChecked):
            return
        for order, held in zip(orders, reply.answers, strict=True):
            if isinstance(held, wire.Accepted) and held.state in (pit.OrderState.HELD, pit.OrderState.SENT):
                self.world.model.told_accepted(order, held)
                self.spawn(self._settle(order, held, asked_ns + held.lease_ns))

    def _settle(self, order: pit.Order, held: wire.Accepted, ends_ns: int) -> Flow:
        world, draw, id = self.world, self.draw, held.reservation_id
        is_sent = held.state is pit.OrderState.SENT
        is_reckless = yield from self._goes(held, is_sent, ends_ns, times=5)
        if is_reckless is None:
            return
        placed = world.venue.place(order, self.name, is_promised=not is_reckless)
        if placed is None:
            yield from self.persistently(wire.Rollback(id, "the venue refused"), 3)
            return
        if draw.random() < 0.2:
            yield draw.choice((0.1, 1.0, 4.0))  # its answer took that long
        if draw.random() < 0.1:
            return  # and the commit was forgotten
        if self.line is not None and draw.random() < 0.4:
            self.line.post(wire.Commit(id, placed.venue_id, late=True), order.id)
            yield from self._see_to(placed)
            return
        reply = yield from self.persistently(wire.Commit(id, placed.venue_id), 3)
        if isinstance(reply, wire.Failed) and reply.code is wire.FailureCode.LEASE_EXPIRED:
            reply = yield from self.persistently(wire.Commit(id, placed.venue_id, late=True), 3)
        placed.is_named = placed.is_named or isinstance(reply, wire.Settled)
        yield from self._see_to(placed)

    def _goes(
        self, held: wire.Accepted | wire.Modified, is_sent: bool, ends_ns: int, *, times: int
    ) -> Generator[Any, Any, bool | None]:
        """Whether what is reserved is sent to the venue, and whether without a word to the gate; None where it is not:
        so many times to one of each other thing that may become of it.
        """
        world, draw, id = self.world, self.draw, held.reservation_id
        if draw.random() < 0.2:
            yield draw.choice((0.05, 0.5, 2.0))
        if draw.random() < 0.15:
            asked_ns = world.now_ns
            renewed = yield wire.Renew(id, draw.choice((None, 300 * MS)))
            if isinstance(renewed, wire.Settled):
                ends_ns = asked_ns + renewed.lease_ns
        match draw.choice((*["go"] * times, "rollback", "drop", "quarantine", "forget")):
            case "rollback":
                yield wire.Rollback(id, "changed its mind")
                return None
            case "drop":
                yield wire.Drop((id,))
                return None
            case "quarantine":
                yield wire.Quarantine(id, "not sure")
                return None
            case "forget":
                return None
        is_reckless = not is_sent and draw.random() < 0.15
        if not is_sent and not is_reckless:
            asked_ns = world.now_ns
            marked = yield wire.MarkSent(id)
            if not isinstance(marked, wire.Settled) or marked.state is not pit.OrderState.SENT:
                return None
            ends_ns = asked_ns + marked.lease_ns
        if world.now_ns >= ends_ns and not is_reckless:
            yield wire.Rollback(id, "too late")
            return None
        return is_reckless

    def _see_to(self, placed: Placed) -> Flow:
        """An order is at the venue: it is modified, again and again, or cancelled."""
        weather, draw = self.world.weather, self.draw
        while not self.world.is_calm and not placed.is_over:
            yield draw.expovariate(1 / 0.1)
            if draw.random() < weather.cancel / 2:
                yield from self.cancel(placed.order.account, placed.order.id)
            if draw.random() < weather.modify:
                yield from self._modify(placed)

    def _modify(self, placed: Placed) -> Flow:
        world, draw, order = self.world, self.draw, placed.order
        said = world.new_terms(draw, order)
        asked_ns = world.now_ns
        held = yield said
        if isinstance(held, Unknown) and draw.random() < 0.7:
            asked_ns = world.now_ns
            held = yield said
        if not isinstance(held, wire.Modified) or held.state not in (pit.OrderState.HELD, pit.OrderState.SENT):
            return
        id, is_sent, ends_ns = held.reservation_id, held.state is pit.OrderState.SENT, asked_ns + held.lease_ns
        is_reckless = yield from self._goes(held, is_sent, ends_ns, times=9)
        if is_reckless is None:
            return
        if not world.venue.modify(placed, id, held.order, is_promised=not is_reckless):
            yield from self.persistently(wire.Rollback(id, "the venue refused"), 3)
            return
        if draw.random() < 0.2:
            yield draw.choice((0.1, 1.0, 4.0))
        if draw.random() < 0.1:
            return
        if self.line is not None and draw.random() < 0.3:
            self.line.post(wire.Commit(id, None, late=True), order.id)
            return
        venue_id = placed.venue_id if placed.answers[id] and draw.random() < 0.5 else None
        yield from self.persistently(wire.Commit(id, venue_id, late=draw.random() < 0.3), 3)


class DropCopy(Client):
    """Tells the daemon everything that the venue reports until it is answered: sometimes twice, never in order.

    Some of it by the venue's id alone; where that is refused, because it fits several orders, by the order's own.
    """

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self.due: dict[tuple[str, str, str], pit.ExecutionReport] = {}
        self.copies: dict[tuple[str, str], Placed] = {}
        """The orders that are to be told of, past the stages."""

    @property
    def is_idle(self) -> bool:
        return not self.due and not self.copies

    def has_told(self, placed: Placed) -> bool:
        """Whether everything that was reported of an order has been taken."""
        return placed.key not in self.copies and not any(key[:2] == placed.key for key in self.due)

    def live(self) -> Flow:
        yield 0.0
        for placed in list(self.copies.values()):
            self.spawn(self._copy(placed))
        for key in list(self.due):
            self.spawn(self._tell(key))

    def hear(self, placed: Placed, report: pit.ExecutionReport) -> None:
        if placed.is_copied and len(placed.reports) == 1:
            self.copies[placed.key] = placed
            self.spawn(self._copy(placed))
        key = (*placed.key, report.report_id)
        self.due[key] = report
        self.spawn(self._tell(key))

    def _copy(self, placed: Placed) -> Flow:
        """The order itself is told of, past the stages. Its end waits for that, else nobody would hear of it again."""
        if not self.world.is_calm:
            yield self.draw.choice((0.0, 0.0, 0.01, 0.3, 2.0))
        said = wire.DropCopy(placed.first, placed.venue_id if self.draw.random() < 0.3 else None, placed.owner)
        reply = yield from self.persistently(said, 1_000)
        is_unlucky = placed.first.quantity == settings.UNLUCKY
        assert isinstance(reply, wire.DropCopied) or is_unlucky, f"{said} was answered {reply}"
        if isinstance(reply, wire.DropCopied):
            placed.is_promised = placed.is_promised or placed.is_rogue
        self.copies.pop(placed.key, None)

    def _tell(self, key: tuple[str, str, str]) -> Flow:
        if not self.world.is_calm:
            yield self.draw.choice((0.0, 0.0, 0.01, 0.3, 2.0))
        placed = self.world.venue.orders[key[:2]]
        while placed.key in self.copies and self._is_last(placed, key):
            yield 0.05
        while placed.is_namesake and self._is_last(placed, key) and sum(due[:2] == key[:2] for due in self.due) > 1:
            yield 0.05  # else what it had said before, by the id of both, might come behind this and be the other's
        report = self.due.get(key)
        if report is None:
            return
        for _ in range(2 if self.draw.random() < 0.2 else 1):
            reply = yield from self._until_told(report, placed)
            assert isinstance(reply, wire.Applied), f"{report} was answered {reply}"
        self.due.pop(key, None)

    def _is_last(self, placed: Placed, key: tuple[str, str, str]) -> bool:
        return placed.end_id == key[2]

    def _until_told(self, report: pit.ExecutionReport, placed: Placed) -> Flow:
        is_ambiguous = False
        while True:
            said = report
            if placed.may_go_by_venue_id and not is_ambiguous and self.draw.random() < 0.4:
                said = msgspec.structs.replace(report, order_id=None, venue_order_id=placed.venue_id)
            reply = yield wire.Report(said)
            if isinstance(reply, wire.Failed) and said.fill_id is not None:
                yield 0.05  # the fill itself has not come through, or its order is known by another id as yet
                report = msgspec.structs.replace(report, venue_order_id=None)
            elif isinstance(reply, wire.Failed) and said.venue_order_id is not None:
                is_ambiguous = True  # the model says whether it is
                report = msgspec.structs.replace(report, venue_order_id=None)
            elif not isinstance(reply, (Unknown, NothingSent)):
                return reply  # type: ignore[return-value]
            else:
                yield 0.05


class Killer(Client):
    """Has the cancel role: it is told what owners do not confirm in time."""

    def live(self) -> Flow:
        yield from self.heed()


class Feed(Client):
    """Pushes what instruments cost."""

    def live(self) -> Flow:
        while not self.world.is_calm:
            for instrument, _ in limits.MARKED.values():
                mark = Decimal(self.draw.choice((98, 100, 103)) if instrument == settings.PAIR else 25)
                yield wire.PushQuote(instrument, mark, age_ns=self.draw.choice((0, 0, 300 * MS)))
            yield self.draw.choice((0.1, 0.5, 2.0))


MEDDLED_WITH = ("account alpha", "account beta", "group desk", "firm")
HALTED = (*MEDDLED_WITH, "instrument AAPL/USD", "instrument ESZ6")


class Operator(Client):
    """Lifts blocks, settles what is in quarantine by what the venue says, and meddles a little."""

    _adjustments = 0

    def live(self) -> Flow:
        seen: dict[int, int] = {}
        if not self.world.is_calm and self.draw.random() < self.world.weather.adjust:
            yield from self._endow()
        while True:
            yield 0.5
            if not self.world.is_calm and self.draw.random() < self.world.weather.meddle:
                yield wire.BlockScope(self.draw.choice(MEDDLED_WITH), "to be sure", self.draw.random() < 0.7)
                yield self.draw.uniform(0.1, 1.0)
            if not self.world.is_calm and self.draw.random() < self.world.weather.halt:
                state = self.draw.choice((pit.TradingState.HALTED, pit.TradingState.REDUCING))
                yield wire.SetTradingState(self.draw.choice(HALTED), state, "to be sure", self.draw.random() < 0.7)
                yield self.draw.uniform(0.1, 1.0)
            if not self.world.is_calm and self.draw.random() < self.world.weather.halt / 4:
                yield wire.CancelAll(self.draw.choice(HALTED), "all of it")
            if not self.world.is_calm:
                yield from self._set_limits()
                yield from self._adjust()
            yield from self._lift_blocks()
            yield from self._let_trade()
            yield from self._settle_quarantined(seen)

    def _lift_blocks(self) -> Flow:
        blocks = yield wire.ListBlocks()
        if not isinstance(blocks, wire.Blocks):
            return
        for block in blocks.blocks:
            reply = None
            if block.limit not in ("operator", "poisoned"):
                reply = yield wire.Rearm(block.limit, block.scope, Decimal(self.draw.choice((50, 200))), "go on")
            if reply is None or isinstance(reply, wire.Failed):  # set by a person, or by a limit that is no more
                yield wire.UnblockScope(block.scope, "it is fine")

    def _set_limits(self) -> Flow:
        draw, weather = self.draw, self.world.weather
        if draw.random() < weather.put:
            wanted = draw.sample(
                ("open_usd", "open_firm", "open_btc", "open_desk", "open_client", "open_all"), draw.choice((1, 1, 2))
            )
            some = tuple((limit, (("max_notional", str(draw.choice((5, 1000, 3000, 7000)))),)) for limit in wanted)
            hours = draw.choice((None, 2, 8, 20))
            yield wire.SetLimits(some, "for now", lasts_ns=None if hours is None else hours * 3_600_000 * MS)
        if draw.random() < weather.put / 3:
            yield wire.ClearLimit(
                draw.choice(("open_usd", "open_firm", "open_btc", "open_client", "open_all")), None, "as it was"
            )

    def _endow(self) -> Flow:
        """What accounts begin with."""
        self._adjustments += 1
        told = [
            pit.BalanceAdjustment(account=account, asset=asset, set_to=amount)
            for account in settings.ACCOUNTS
            for asset, amount in (("USD", 6000), ("AAPL", 60))
        ]
        yield from self.persistently(wire.Adjust(f"a{self._adjustments}", tuple(told), "it begins"), 3)

    def _adjust(self) -> Flow:
        """An account has so much, or more or less than was known: said until it is heard, under one id."""
        draw = self.draw
        if draw.random() >= self.world.weather.adjust:
            return
        account, self._adjustments = draw.choice(settings.ACCOUNTS), self._adjustments + 1
        told: list[pit.Adjustment] = [
            pit.BalanceAdjustment(account=account, asset="USD", set_to=draw.choice((500, 3000, 9000))),
            pit.BalanceAdjustment(account=account, asset="AAPL", move_by=draw.choice((-5, 10, 30, 50))),
            pit.PositionAdjustment(
                account=account, instrument=settings.PAIR, move_by=draw.choice((-3, 4)), price=Decimal(100)
            ),
            pit.PnlAdjustment(account=account, settlement="USD", move_by=draw.choice((-20, 15))),
        ]
        some = tuple(draw.sample(told, draw.choice((1, 2, 4))))
        yield from self.persistently(wire.Adjust(f"a{self._adjustments}", some, "counted it"), 3)

    def _let_trade(self) -> Flow:
        found = yield wire.ListRestrictions()
        for each in found.restrictions if isinstance(found, wire.RestrictionsAre) else ():
            yield wire.SetTradingState(each.scope, pit.TradingState.ACTIVE, "it is fine")

    def _settle_quarantined(self, seen: dict[int, int]) -> Flow:
        """Only what has been in quarantine for longer than any lease can last: by then nobody sends it any more."""
        world = self.world
        if world.daemon is None:
            return
        found = [
            (id, record.account, record.order_id)
            for id, record in world.daemon.engine.orders.open.items()
            if record.state is pit.OrderState.QUARANTINED
        ]
        for id, account, order_id in found:
            since_ns = seen.setdefault(id, world.now_ns)
            if world.now_ns - since_ns <= settings.LEASE_MOST_NS + 1_000 * MS:
                continue
            placed = world.venue.find(account, order_id)
            if placed is None:
                if self.draw.random() < 0.5:
                    yield wire.SettleOrder(account, order_id, False, "the venue never had it")
                else:
                    yield wire.CloseOrder(account, order_id, "the venue never had it")
            elif not placed.is_over:
                yield wire.SettleOrder(account, order_id, True, "the venue has it")
        yield from self._settle_modifies(seen)
        yield from self._close_what_was_filled()

    def _close_what_was_filled(self) -> Flow:
        """An order that was filled, and then not quite, is over at the venue; here it may have waited for a modify."""
        world = self.world
        records = () if world.daemon is None else list(world.daemon.engine.orders.open.values())
        for record in records:
            placed = world.venue.find(record.account, record.order_id)
            is_over = placed is not None and placed.is_over and placed.undone and world.drops.has_told(placed)
            if is_over and record.state is pit.OrderState.WORKING and record.pending is None:
                yield wire.CloseOrder(record.account, record.order_id, "the venue has no more of it")

    def _settle_modifies(self, seen: dict[int, int]) -> Flow:
        """The same of modifies, once the venue has answered them."""
        world = self.world
        if world.daemon is None:
            return
        found = [
            (id, record.account, record.order_id)
            for id, record in world.daemon.engine.orders.modified.items()
            if record.modify is not None and record.modify.state is pit.OrderState.QUARANTINED
        ]
        for id, account, order_id in found:
            since_ns = seen.setdefault(id, world.now_ns)
            placed = world.venue.find(account, order_id)
            answer = False if placed is None else placed.answers.get(id, False)
            if world.now_ns - since_ns > settings.LEASE_MOST_NS + 1_000 * MS and answer is not None:
                yield wire.SettleModify(account, order_id, answer, "the venue says so")


class SimulatedTransport:
    """`pit.Transport` whose waiting lets the world go on. One caller at a time."""

    def __init__(self, world: World, line: Line) -> None:
        self._world = world
        self._line = line

    def command(self, command: wire.Command, timeout_s: float) -> wire.Reply:
        reply = self._wait(command, timeout_s)
        if isinstance(reply, Unknown):
            raise OutcomeUnknown("no answer in time", _calls.order_id_of(command))
        return reply

    def query(self, query: wire.Query, timeout_s: float) -> wire.Reply:
        return self._wait(query, timeout_s)

    def post(self, command: wire.Command, order_id: str, timeout_s: float) -> None:
        assert isinstance(command, wire.Commit)
        self._line.post(command, order_id)

    def flush(self, timeout_s: float) -> None:
        raise NotImplementedError

    def take_failures(self) -> list[tuple[str, PitError]]:
        return self._line.session.take_failures()

    def monotonic_ns(self) -> int:
        return self._world.now_ns

    def close(self) -> None:
        pass

    def _wait(self, said: Any, timeout_s: float) -> Any:
        line, box = self._line, deque[Any]()
        if line.is_closed:
            raise Unavailable("this process is dead")
        self._world.trace(f"{line.session.client}: says {said}")
        line.ask(said, timeout_s, box.append)
        while not box and not line.is_closed:
            self._world.step()
        reply = box[0] if box else NOTHING_SENT
        self._world.trace(f"{line.session.client}: {type(said).__name__} → {reply}")
        if isinstance(reply, PitError):
            raise reply
        if isinstance(reply, NothingSent):
            raise Unavailable("nothing was sent")
        return reply


class BlockingStrategy(Client):
    """A strategy written as the README writes one, with `pit.Engine` and its reservations."""

    def live(self) -> Flow:
        assert self.line is not None
        line = self.line
        engine = pit.Engine(SimulatedTransport(self.world, line), self.name)
        yield 0.0
        while not self.world.is_calm:
            yield self.draw.expovariate(1000 / self.world.weather.pace_ms)
            if self.world.may_start_another() and not self.world.is_waiting:
                self.world.is_waiting = True  # one at a time: each waits inside the other's waiting otherwise
                try:
                    self._trade(engine, line, self.world.new_order(self.draw))
                except PitError as trouble:
                    self.world.trace(f"{self.name}: {trouble!r}")
                finally:
                    self.world.is_waiting = False

    def _trade(self, engine: pit.Engine, line: Line, order: pit.Order) -> None:
        world, draw = self.world, self.draw
        if draw.random() < 0.4:
            request = engine.start_pre_trade(order)
            held = request
            if isinstance(request, pit.DeferredRequest):
                held = request.execute(lease_s=draw.choice((None, 0.4)))
        else:
            held = engine.execute_pre_trade(order, sent=draw.random() < 0.5)
        if not isinstance(held, pit.Reservation) or held.replayed:
            return
        with held:
            if draw.random() < 0.2:
                return  # left unsettled: dropped
            if held.state is pit.OrderState.HELD:
                marked = held.mark_sent()
                if not marked:
                    return
            if not held.lease_left_s or line.is_closed:
                return
            placed = world.venue.place(order, self.name, is_promised=True)
            if placed is None:
                held.rollback(reason="the venue refused")
            elif draw.random() < 0.1:
                held.quarantine()
            else:
                is_waited_for = draw.random() < 0.6
                held.commit(venue_order_id=placed.venue_id, wait=is_waited_for)
                placed.is_named = is_waited_for
