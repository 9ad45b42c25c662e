"""The daemon's side of every conversation, without the socket: who speaks, what is answered, and to whom."""

from __future__ import annotations

import struct

import msgspec

from pit import wire

from . import asking, log, peers, queries, translate
from .archive import Archive, Question
from .cancel_watch import CancelWatch
from .config import Config, bad_client
from .core import entry as e
from .core.sessions import Known, Session, over
from .house import House, Refusals
from .peers import Proof
from .reload import NO_FILE, Reloader
from .sequencer import Sequencer
from .tally import Pace, Seldom, Tally
from .watchers import Past, Told, Watchers

_HELLO, _COMMAND, _POSTED = map(int, (wire.Message.HELLO, wire.Message.COMMAND, wire.Message.POSTED))
_QUERY, _SETTLE = map(int, (wire.Message.QUERY, wire.Message.SETTLE))
_REFUSAL, _CONFIRMED = map(int, (wire.Message.REFUSAL, wire.Message.CONFIRMED))
"""As plain numbers, as they stand in a header."""

_COMMANDS = frozenset({_COMMAND, _POSTED})

_decode_command, _digest_of, _encode = wire.decode_command, wire.digest_of, wire.encode
_Reload, _ShutDown, _Failed = wire.Reload, wire.ShutDown, wire.Failed
_unpack_fields, _pack_answer = wire.unpack_fields, wire.pack_answer
_core_command, _client_reply = translate.COMMANDS, translate.REPLIES

_NOT_AUTHORIZED = wire.FailureCode.NOT_AUTHORIZED
"""A member that is asked for at every message: to look one up in its enum costs a quarter of a microsecond."""

Frames = tuple[bytes, bytes, bytes]
"""Whom it is for (a connection's identity), header, body."""


class _Posted:
    """The highest numbers of a session whose answers were not waited for, and which of them was not a yes."""

    __slots__ = ("last", "last_no")

    def __init__(self) -> None:
        self.last = 0
        self.last_no = 0

    def kind_of_answer(self, message: int, number: int, acked: int, reply: wire.Reply) -> int:
        """How an answer is told: with or without a word on what was posted before it; POSTED: not at all."""
        if message == _POSTED:
            self.last = max(self.last, number)
            if type(reply) is wire.Settled:
                return _POSTED
            self.last_no = max(self.last_no, number)
        return _COMMAND if self.last <= acked or self.last_no > acked else _CONFIRMED


class _Talk:
    """A connection that has been welcomed, and all that its messages ask for: found once for each of them."""

    __slots__ = ("is_marked", "is_reader", "may", "posted", "proof", "session", "tally", "told_from")

    def __init__(self, session: Session, tally: Tally, posted: _Posted, *, is_reader: bool) -> None:
        self.session = session
        self.tally = tally
        self.posted = posted
        self.is_reader = is_reader
        """Whether it only asks."""
        self.is_marked = True
        """Whether its answers carry a mark; not those of one that speaks protocol 1."""
        self.told_from = 0
        """What sequence numbers are told with: which start of the daemon tells them. Nothing by protocol 1."""
        self.proof: Proof | None = None
        """What it has shown when it was welcomed."""
        self.may: frozenset[type[wire.Command]] = frozenset()
        """The commands that its client may give whatever they are about."""


class Conversations:
    """Takes messages, one at a time, and puts what is answered into `out`. Its owner sends that after `release()`.

    A connection is whatever `identity` names; a hello binds it to a session, and the last hello wins.
    """

    def __init__(
        self,
        sequencer: Sequencer,
        config: Config,
        archive: Archive | None = None,
        past: Past | None = None,
        reloader: Reloader | None = None,
    ) -> None:
        """`archive` knows what the engine has forgotten, `past` the events of old; None where no journal is kept.
        `reloader` reads the configuration again; None where nobody may have it read.
        """
        self.out: list[Frames] = []
        self.house = House(sequencer, config)
        self.watchers = Watchers(self.house.recent, past)
        self.cancels = CancelWatch(sequencer, self.house)
        self.house.metrics.count_watchers = self.watchers.__len__
        self.house.tally_of = self.tally_of
        self.house.refusals = self.refusals
        self._sequencer = sequencer
        self._config = config
        self._archive = archive
        self._reloader = reloader
        if reloader is not None:
            reloader.adopted.append(self.go_by)
        self._talks: dict[bytes, _Talk] = {}
        self._identity_of: dict[int, bytes] = {}
        self._posted: dict[int, _Posted] = {}
        """By session. A restart forgets it: then the client says again what it had posted, and is answered."""
        self.is_shut_down = False
        """Whether somebody who may has asked this daemon to end."""
        self._readers: dict[bytes, None] = {}
        """Connections that only ask, oldest first. Who is one too many is forgotten, and says hello again."""
        self._tallies: dict[int, Tally] = {}
        """By session, and one for all that only ask; those of sessions that are over are added to `_over`."""
        self._over = Tally()
        self._strangers = Tally()
        """Of connections that have not been welcomed."""
        self._pace = Pace()
        self._seldom = Seldom()

    def session_of(self, identity: bytes) -> Session | None:
        """The session that speaks over a connection, once it has been welcomed; none for one that only asks."""
        talk = self._talks.get(identity)
        return None if talk is None or talk.is_reader else talk.session

    def is_known(self, identity: bytes) -> bool:
        """Whether that connection has been welcomed, and not been forgotten since."""
        return identity in self._talks

    def go_by(self, config: Config) -> None:
        """Another configuration is in force: roles and bounds are its own from the next message on."""
        self._config = self.house.config = config
        for identity, talk in list(self._talks.items()):
            client = talk.session.client
            talk.may = peers.freely_allowed(config, client)
            if talk.proof is not None and peers.not_proven(config, client, talk.proof):
                self.lost(identity)  # its next word is answered: say hello; and that hello tells why not

    def tally_of(self, session: Session) -> Tally:
        """What that session has asked for, since it was first heard of here."""
        tally = self._tallies.get(session.id)
        if tally is None:
            tally = self._tallies[session.id] = Tally()
        return tally

    def tally(self, identity: bytes) -> Tally:
        """The same by connection; what has not been welcomed shares one."""
        talk = self._talks.get(identity)
        return self._strangers if talk is None else talk.tally

    def refusals(self) -> Refusals:
        """How often anybody was refused, since this process began to serve."""
        tallies = [self._over, self._strangers, *self._tallies.values()]
        return Refusals(sum(each.not_authorized for each in tallies), sum(each.malformed for each in tallies))

    def pace(self) -> None:
        """Takes in, about once a second, who asks how much."""
        self._pace.look(lambda: (self._strangers, *self._tallies.values()))

    def take(self, identity: bytes, header_frame: bytes, body: bytes, proof: Proof | None = peers.IN_PROCESS) -> None:
        """Takes one message: whatever it is, it is answered and harms nobody else. `proof` is needed for a hello: what
        the connection shows of who speaks.
        """
        talk = self._talks.get(identity)
        tally = self._strangers if talk is None else talk.tally
        tally.messages += 1
        try:
            message, session, number, acked = _unpack_fields(header_frame)
        except struct.error:
            self.refuse_malformed(identity, wire.no_header(header_frame))
            return
        try:
            if talk is None or talk.session.id != session or message == _HELLO:
                self._greet(identity, message, number, body, proof)
            elif message in _COMMANDS and not talk.is_reader:
                self._command(identity, talk, message, number, acked, body)
            else:
                self._ask(identity, talk, message, number, acked, body)
        except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as trouble:
            self.refuse_malformed(identity, str(trouble)[:300], number, _digest(message, body))

    def refuse_malformed(self, identity: bytes, why: str, number: int = 0, digest: bytes = b"") -> None:
        self.house.metrics.malformed += 1
        tally = self.tally(identity)
        tally.malformed += 1
        tally.refused += 1
        self._refuse(identity, number, wire.FailureCode.INVALID_INPUT, f"malformed: {why}", digest)

    def found(self) -> None:
        """Answers what has been found in the archive, to those who are still there."""
        for question, reply in self._archive.answers() if self._archive is not None else ():
            if self._speaks(question.identity, question.client):
                self._reply(question.identity, _QUERY, question.number, reply)
        self._tell(self.watchers.found())

    def tell_cancels(self) -> None:
        """Answers those who wait to hear what is to be cancelled."""
        if not self.cancels.waiting:
            return
        for asked, reply in self.cancels.due():
            if self._speaks(asked.identity, asked.client):
                self._reply(asked.identity, _QUERY, asked.number, reply)

    def tell_watchers(self) -> None:
        """Answers those who wait for events, as many as have their turn."""
        self._tell(self.watchers.due())

    def lost(self, identity: bytes) -> None:
        """Nothing can be sent over that connection any more. Its session goes on, and may come back by a hello."""
        session = self._unbind(identity)
        if session is not None and self._identity_of.get(session.id) == identity:
            del self._identity_of[session.id]

    def end(self, session: Session, reason: str) -> None:
        """Ends a session whose client is no more."""
        if session.ended_by is None:
            self._sequencer.end_session(session.id, reason)
            log.info("session.ended", client=session.client, session=session.id, reason=reason)
        self._forget(session)

    # ------------------------------------------------------------------------------------------ within

    def _speaks(self, identity: bytes, client: str) -> bool:
        """Whether that connection is still there, and that client's."""
        talk = self._talks.get(identity)
        return talk is not None and talk.session.client == client

    def _tell(self, told: list[Told]) -> None:
        for asked, reply in told:
            if self._speaks(asked.identity, asked.client):
                self._reply(asked.identity, _QUERY, asked.number, reply)

    def _greet(self, identity: bytes, message: int, number: int, body: bytes, proof: Proof | None) -> None:
        """Takes a hello; whatever else comes from who is not that session is refused."""
        if message == _HELLO:
            self._hello(identity, wire.decode_hello(body), proof)
            return
        why = "this connection has no such session; say hello first"
        self._refuse(identity, number, wire.FailureCode.NO_SESSION, why)

    def _ask(self, identity: bytes, talk: _Talk, message: int, number: int, acked: int, body: bytes) -> None:
        """Takes what is no command; from one that only asks, a query and nothing else."""
        session = talk.session
        if talk.is_reader and message != _QUERY:
            why = f"client {session.client} has said hello as read_only: it may ask, and nothing else"
            self._note_not_authorized(talk.tally, session.client, why)
            self._refuse(identity, number, _NOT_AUTHORIZED, why, _digest(message, body))
        elif message == _QUERY:
            self._query(identity, session, number, wire.decode_query(body), is_reader=talk.is_reader)
        elif message == _SETTLE:
            known = self._sequencer.settle(session, number, acked)
            reply = translate.reply_of(known.reply, self._sequencer.now_ns)
            stored = session.answers.get(number)
            self._answer(identity, talk, _SETTLE, number, reply, b"" if stored is None else stored[0])
        else:
            self.refuse_malformed(identity, f"there is no message of kind {message}", number)

    def _command(self, identity: bytes, talk: _Talk, message: int, number: int, acked: int, body: bytes) -> None:
        session, sequencer = talk.session, self._sequencer
        command = _decode_command(body)
        what = type(command)
        is_fresh = number == session.next_number
        if what not in talk.may and is_fresh:
            # a command of another number has its answer, or it is not its turn
            why = peers.not_allowed(self._config, session.client, command, sequencer.engine)
            if why:
                self._note_not_authorized(talk.tally, session.client, why)
                self._refuse(identity, number, _NOT_AUTHORIZED, why, _digest(message, body))
                return
        digest = _digest_of(body)
        if type(command) is _Reload:
            known = self._reload(session, number, acked, digest, command)
        else:
            known = sequencer.command(session, number, acked, digest, _core_command[what](command))
        reply = _client_reply[type(known.reply)](known.reply, sequencer.now_ns)
        kind = _REFUSAL if known.is_refusal else talk.posted.kind_of_answer(message, number, acked, reply)
        if type(reply) is _Failed:
            self._note_failed(talk, reply, is_refusal=known.is_refusal)
        if kind != _POSTED:
            self._answer(identity, talk, kind, number, reply, digest)
        if type(command) is _ShutDown and isinstance(reply, wire.Done) and is_fresh:
            self.is_shut_down = True  # a retry may meet the daemon that was started after it
            log.warning("daemon.shutdown", client=session.client, reason=command.reason)
        if session.ended_by is not None:
            self._forget(session)
            log.info("session.closed", client=session.client, session=session.id)

    def _note_failed(self, talk: _Talk, failed: wire.Failed, *, is_refusal: bool) -> None:
        if is_refusal:
            talk.tally.refused += 1
            self.house.metrics.refused[failed.code] += 1
        if failed.code is _NOT_AUTHORIZED:
            self._note_not_authorized(talk.tally, talk.session.client, failed.message)

    def _reload(self, session: Session, number: int, acked: int, digest: bytes, command: wire.Reload) -> Known:
        if self._reloader is None:
            return Known(e.Failed(e.Failure.INVALID_INPUT, NO_FILE), True)
        return self._reloader.by_command(self._sequencer, session, number, acked, digest, command.reason)

    def _query(self, identity: bytes, session: Session, number: int, query: wire.Query, *, is_reader: bool) -> None:
        self._sequencer.publish()  # whoever asks sees all that has been released
        engine = self._sequencer.engine
        client = self._config.client(session.client)
        sees_all = client is not None and client.sees_all
        accounts = None if sees_all or client is None else client.accounts
        reply: wire.Reply
        if type(query) is wire.AskEvents and sees_all:
            at_once = self.watchers.ask(identity, number, session.client, query)
            if at_once is not None:
                self._reply(identity, _QUERY, number, at_once)
            return
        if type(query) is wire.AskCancels:
            told = self.cancels.ask(identity, number, session.client, query, is_counted=not is_reader)
            if told is not None:
                self._reply(identity, _QUERY, number, told)
            return
        if isinstance(query, peers.Guarded):
            self._reply(identity, _QUERY, number, self._guarded(session, query, sees_all=sees_all))
            return
        is_decision = type(query) is wire.AskDecision and sees_all
        is_old = type(query) is wire.AskOutcome and not queries.is_remembered(engine, query)
        if type(query) is wire.AskOutcome and accounts is not None and query.account not in accounts:
            why = peers.not_its_account(session.client, query.account)
            reply = wire.Failed(_NOT_AUTHORIZED, why)
        elif self._archive is None or not (is_decision or is_old):
            now_ns = self._sequencer.read_clock_ns()
            reply = queries.answer(
                engine, session.client, query, now_ns, sees_all=sees_all, accounts=accounts, house=self.house
            )
        else:
            assert isinstance(query, wire.AskOutcome | wire.AskDecision)
            why_not = self._archive.ask(
                Question(identity, number, session.client, sees_all, query.account, query.order_id, is_decision)
            )
            if not why_not:
                return  # it is answered once it is found
            reply = wire.Failed(wire.FailureCode.CAPACITY_EXCEEDED, why_not)
        if type(reply) is wire.Failed and reply.code is _NOT_AUTHORIZED:
            self._note_not_authorized(self.tally_of(session), session.client, reply.message)
        self._reply(identity, _QUERY, number, reply)

    def _guarded(self, session: Session, query: peers.Guarded, *, sees_all: bool) -> wire.Reply:
        engine = self._sequencer.engine
        why = peers.not_allowed(self._config, session.client, query, engine)
        if why:
            self._note_not_authorized(self.tally_of(session), session.client, why)
            return wire.Failed(_NOT_AUTHORIZED, why)
        if isinstance(query, wire.AskReload):
            if self._reloader is None:
                return wire.Failed(wire.FailureCode.INVALID_INPUT, NO_FILE)
            return self._reloader.answer(session.client, engine)
        if not isinstance(query, wire.PushQuote):
            return asking.answer(self._sequencer, session, query, sees_all=sees_all)
        return self._sequencer.quotes.push(engine, query, self._sequencer.read_clock_ns())

    def _hello(self, identity: bytes, hello: wire.Hello, proof: Proof | None) -> None:
        problem = self._welcome_problem(identity, hello, proof)
        if problem is not None:
            if problem.code is _NOT_AUTHORIZED:
                self._note_not_authorized(self.tally(identity), hello.client, problem.message)
            self._reply(identity, _HELLO, 0, problem)
            return
        engine = self._sequencer.engine
        if hello.read_only:
            self._read_only(identity, hello, proof)
            return
        session = engine.sessions.live(hello.client)
        if session is None or session.token != hello.token:
            id = self._sequencer.open_session(hello.client, hello.token)
            if session is not None:
                self._forget(session)  # its next word is answered: say hello; and that hello: fenced
            session = engine.sessions.get(id)
            assert session is not None
            log.info("session.opened", client=hello.client, session=id)
        before = self._identity_of.get(session.id)
        if before is not None:
            self._unbind(before)
        posted = self._posted.setdefault(session.id, _Posted())
        talk = self._welcome(identity, session, posted, proof, is_reader=False)
        if hello.protocol < 2:
            talk.is_marked, talk.told_from = False, 0
        self._identity_of[session.id] = identity
        welcome = wire.Welcome(
            hello.protocol,
            session.id,
            session.next_number,
            engine.bounds.window,
            engine.bounds.lease_ns,
            self._sequencer.epoch,
        )
        self._reply(identity, _HELLO, 0, welcome)

    def _read_only(self, identity: bytes, hello: wire.Hello, proof: Proof | None) -> None:
        """Welcomes one that only asks: nothing is journaled, so it gets through when nothing else does."""
        if identity not in self._readers and len(self._readers) >= self._config.daemon.max_sessions:
            self._unbind(next(iter(self._readers)))
        self._readers[identity] = None
        session = Session(id=0, client=hello.client, token=hello.token, answers={}, unsettled={})
        self._welcome(identity, session, _Posted(), proof, is_reader=True)
        bounds = self._sequencer.engine.bounds
        epoch = self._sequencer.epoch
        welcome = wire.Welcome(hello.protocol, 0, 1, bounds.window, bounds.lease_ns, epoch)
        self._reply(identity, _HELLO, 0, welcome)

    def _welcome(
        self, identity: bytes, session: Session, posted: _Posted, proof: Proof | None, *, is_reader: bool
    ) -> _Talk:
        """From here on the session speaks over that connection."""
        talk = self._talks[identity] = _Talk(session, self.tally_of(session), posted, is_reader=is_reader)
        talk.proof = proof
        talk.told_from = wire.told(0, self._sequencer.epoch)
        talk.may = peers.freely_allowed(self._config, session.client)
        return talk

    def _welcome_problem(self, identity: bytes, hello: wire.Hello, proof: Proof | None) -> wire.Failed | None:
        """Why a hello is turned away, or None."""
        failed = wire.Failed
        if hello.protocol not in wire.SPOKEN:
            spoken = " and ".join(map(str, wire.SPOKEN))
            why = f"this daemon speaks protocol {spoken}, not {hello.protocol}; install the matching pit-client"
            return failed(wire.FailureCode.PROTOCOL, why)
        problem = bad_client(hello.client)
        if problem or len(hello.token) != 16:
            return failed(wire.FailureCode.INVALID_INPUT, problem or "a token is 16 bytes")
        why = peers.not_proven(self._config, hello.client, proof)
        if why:  # before anything is told of that name's sessions
            return failed(_NOT_AUTHORIZED, why)
        bound = self._talks.get(identity)
        if bound is not None and bound.session.client != hello.client:
            return failed(wire.FailureCode.INVALID_INPUT, f"this connection is client {bound.session.client} already")
        if bound is not None and hello.read_only is not bound.is_reader:
            return failed(wire.FailureCode.INVALID_INPUT, "this connection has said hello otherwise; open another one")
        if hello.read_only:
            return None
        if hello.seen_seq > max(self._could_see(hello), self._sequencer.engine.accepted_seq):
            return failed(wire.FailureCode.JOURNAL_BEHIND, self._behind(hello))
        live = self._sequencer.engine.sessions.live(hello.client)
        if hello.session and (live is None or live.token != hello.token):
            before = self._sequencer.engine.sessions.get(hello.session)
            if before is not None and before.token == hello.token and before.ended_by is not None:
                over_reply = over(before)
                return failed(wire.FailureCode(over_reply.failure.value), over_reply.message)
            if live is not None:
                return failed(wire.FailureCode.FENCED, f"a newer session of client {hello.client} has taken over")
            why = (
                f"session {hello.session} of client {hello.client} is not known here: the daemon was restarted without "
                "its history, or that session ended long ago. Look at your open orders, then connect anew"
            )
            return failed(wire.FailureCode.JOURNAL_BEHIND, why)
        if live is not None and live.token != hello.token and self._is_of_before(hello):
            return failed(wire.FailureCode.FENCED, f"a newer session of client {hello.client} has taken over")
        is_operator = "operate" in self._config.roles_of(hello.client)  # gets through: one session a configured name
        is_full = len(self._sequencer.engine.sessions) >= self._config.daemon.max_sessions
        if live is None and is_full and not is_operator:
            why = f"{self._config.daemon.max_sessions} sessions are open; raise [daemon] max_sessions, or close some"
            return failed(wire.FailureCode.CAPACITY_EXCEEDED, why)
        return None

    def _is_of_before(self, hello: wire.Hello) -> bool:
        """Whether a first hello comes late, or again, from one whose session has ended: it takes over from nobody."""
        ended = self._sequencer.engine.sessions.over()
        return any(each.token == hello.token and each.client == hello.client for each in ended)

    def _could_see(self, hello: wire.Hello) -> int:
        """The highest entry that a client can know of, if this history is the one it was told.

        By the daemon's start that told it: else the entries of later starts would hide that old ones are missing. A
        client of protocol 1 does not say by which.
        """
        return self._sequencer.engine.last_seq_of(hello.epoch) if hello.epoch else self._sequencer.seq

    def _behind(self, hello: wire.Hello) -> str:
        why = f"client {hello.client} has seen entry {hello.seen_seq} and this daemon knows {self._sequencer.seq}: "
        if not self._config.journal.is_kept:
            return why + "it keeps no journal and was restarted. Look at your open orders, then connect anew"
        self._sequencer.dispute(hello.client, hello.seen_seq)
        return why + "the end of its journal is missing. An operator must look and accept_history(); then connect anew"

    def _note_not_authorized(self, tally: Tally, client: str, why: str) -> None:
        tally.not_authorized += 1
        tally.refused += 1
        self._seldom.warning("client.not_authorized", client, client=client, why=why)

    def _forget(self, session: Session) -> None:
        tally = self._tallies.pop(session.id, None)
        if tally is not None:
            self._over.not_authorized += tally.not_authorized
            self._over.malformed += tally.malformed
        self._posted.pop(session.id, None)
        identity = self._identity_of.pop(session.id, None)
        if identity is not None:
            self._unbind(identity)

    def _unbind(self, identity: bytes) -> Session | None:
        self._readers.pop(identity, None)
        self.watchers.forget(identity)
        self.cancels.forget(identity)
        talk = self._talks.pop(identity, None)
        return None if talk is None else talk.session

    def _refuse(self, identity: bytes, number: int, code: wire.FailureCode, why: str, digest: bytes = b"") -> None:
        self.house.metrics.refused[code] += 1
        self._reply(identity, _REFUSAL, number, wire.Failed(code, why), digest)

    def _reply(self, identity: bytes, kind: int, number: int, reply: wire.Reply | bytes, digest: bytes = b"") -> None:
        """Answers whoever is there, also who has not been welcomed."""
        talk = self._talks.get(identity)
        if talk is not None:
            self._answer(identity, talk, kind, number, reply, digest)
        else:  # a stranger has seen nothing here
            self.out.append((identity, _pack_answer(kind, digest, number, 0), _encode(reply)))

    def _answer(
        self, identity: bytes, talk: _Talk, kind: int, number: int, reply: wire.Reply | bytes, digest: bytes
    ) -> None:
        seq = self._sequencer.engine.seq
        header = _pack_answer(kind, digest if talk.is_marked else b"", number, seq + talk.told_from)
        self.out.append((identity, header, reply if type(reply) is bytes else _encode(reply)))


def _digest(message: int, body: bytes) -> bytes:
    return _digest_of(body) if message in _COMMANDS else b""
