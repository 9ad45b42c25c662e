"""Bad input, each with its own clear error, and nothing changed by it."""

from __future__ import annotations

import itertools
import os
import random
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq
from daemon import PATIENCE_S, Daemon, until
from process.raw import Raw, altered

import pit
from pit import OrderState, wire

AAPL = pit.Instrument("AAPL", "USD")

_numbers = itertools.count(1)


def new_name(word: str) -> str:
    return f"{word}-{next(_numbers)}"


def an_order(**words: Any) -> pit.Order:
    good = {"account": new_name("acct"), "instrument": AAPL, "side": "buy", "quantity": "10", "price": "100"}
    return pit.Order(**(good | words))


class Witness:
    """A client with an order in every open state, who can tell whether anything has changed."""

    def __init__(self, daemon: Daemon) -> None:
        self.engine = daemon.connect(new_name("witness"))
        self.account = new_name("acct")
        self.kept = [self.reserve(sent=sent) for sent in (False, True, True, True)]
        self.kept[2].quarantine()
        self.kept[3].commit(venue_order_id="V1")
        self.before = self.picture()

    def reserve(self, *, sent: bool = False) -> pit.Reservation:
        held = self.engine.execute_pre_trade(an_order(account=self.account), sent=sent, lease_s=60)
        assert isinstance(held, pit.Reservation), str(held)
        return held

    def picture(self) -> object:
        """All that this client can see, apart from the time."""
        orders = [msgspec.structs.replace(each, lease_left_s=None) for each in self.engine.open_orders()]
        return orders, self.engine.blocks()

    def sees_no_change(self) -> None:
        """Nothing has changed, and the next order is served."""
        assert self.picture() == self.before
        self.reserve().rollback()
        assert self.picture() == self.before


@pytest.fixture
def witness(daemon: Daemon) -> Iterator[Witness]:
    witness = Witness(daemon)
    with witness.engine:
        yield witness
        witness.sees_no_change()


@pytest.fixture
def raw(daemon: Daemon) -> Iterator[Raw]:
    """A connection that has said hello."""
    with Raw(daemon.endpoint) as raw:
        assert isinstance(raw.hello(new_name("raw")), wire.Welcome)
        yield raw


# ---------------------------------------------------------------------------------------------- bad values

BAD_ORDERS: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown side": ({"side": "hold"}, "order.side: one of buy, sell is wanted"),
    "an empty account": ({"account": ""}, "order.account: 1 to 64 printable characters"),
    "a blank account": ({"account": "  "}, "order.account: 1 to 64 printable characters"),
    "an account that is too long": ({"account": "a" * 65}, "order.account: 1 to 64 printable characters"),
    "an account with a line feed": ({"account": "a\nb"}, "order.account: 1 to 64 printable characters"),
    "an empty symbol": ({"instrument": ""}, "order.instrument: 1 to 64 printable characters"),
    "an id that is too long": ({"id": "a" * 65}, "order.id: 1 to 64 printable characters"),
    "a quantity that is no number": ({"quantity": "NaN"}, "order.quantity: a finite number is wanted"),
    "a float that is no number": ({"quantity": float("nan")}, "order.quantity: a finite number is wanted"),
    "an infinite quantity": ({"quantity": "Infinity"}, "order.quantity: a finite number is wanted"),
    "an infinite price": ({"price": float("-inf")}, "order.price: a finite number is wanted"),
    "a signalling price": ({"price": "sNaN"}, "order.price: a finite number is wanted"),
    "30 digits": ({"quantity": "1" * 30}, "order.quantity: at most 18 digits"),
    "10 places after the point": ({"price": "0.0000000001"}, "order.price: at most 18 digits"),
    "a huge exponent": ({"price": "1e999999"}, "order.price: at most 18 digits"),
    "text for a number": ({"price": "12,5"}, "order.price: not a number"),
    "true for a number": ({"quantity": True}, "order.quantity: a number is wanted"),
    "neither quantity nor volume": ({"quantity": None}, "order: give quantity"),
    "both quantity and volume": ({"volume": 1}, "not both"),
}


@pytest.mark.parametrize("what", BAD_ORDERS)
def test_an_order_that_cannot_be_meant_is_refused_where_it_is_made(what: str) -> None:
    words, message = BAD_ORDERS[what]
    with pytest.raises(pit.InvalidInput, match=message):
        an_order(**words)


@pytest.mark.parametrize(("underlying", "settlement"), [("", "USD"), ("AAPL", ""), ("AAPL", " ")])
def test_an_empty_asset_is_refused_where_it_is_made(underlying: str, settlement: str) -> None:
    with pytest.raises(pit.InvalidInput, match=r"instrument\.\w+: 1 to 64 printable characters"):
        pit.Instrument(underlying, settlement)


ACCOUNT, INSTRUMENT, SIDE, QUANTITY, PRICE, VOLUME, ID = range(7)

BAD_ON_THE_WIRE: dict[str, tuple[tuple[int, ...], Any, str]] = {
    "an unknown side": ((1, SIDE), "hold", "hold"),
    "an empty account": ((1, ACCOUNT), "", "order.account"),
    "an empty asset": ((1, INSTRUMENT, 1), "", "instrument.settlement"),
    "NaN": ((1, QUANTITY), "NaN", "order.quantity: a finite number"),
    "infinity": ((1, PRICE), "Infinity", "order.price: a finite number"),
    "30 digits": ((1, QUANTITY), "1" * 30, "order.quantity: at most 18 digits"),
    "both amounts": ((1, VOLUME), "1", "not both"),
    "an id that is too long": ((1, ID), "x" * 65, "order.id"),
    "a number for a name": ((1, ACCOUNT), 5, "Expected `str`"),
    "a lease that is text": ((3,), "long", "Expected `int"),
    "an unknown command": ((0,), "Chekc", "Chekc"),
}


@pytest.mark.parametrize("what", BAD_ON_THE_WIRE)
def test_what_a_client_should_have_refused_the_daemon_refuses(witness: Witness, raw: Raw, what: str) -> None:
    """Before the engine: no entry is made, and the command's number stays free."""
    path, value, message = BAD_ON_THE_WIRE[what]
    before = raw.seq()
    reply = raw.command(altered(wire.Check(an_order()), *path, to=value))
    assert isinstance(reply, wire.Failed) and reply.code is wire.FailureCode.INVALID_INPUT
    assert message in reply.message
    assert raw.seq() == before
    assert isinstance(raw.command(wire.Check(an_order())), wire.Accepted)


@pytest.mark.parametrize("quantity", ["0", "-1"])
def test_a_quantity_not_above_zero_is_rejected(witness: Witness, quantity: str) -> None:
    no = witness.engine.execute_pre_trade(an_order(account=witness.account, quantity=quantity))
    assert isinstance(no, pit.Rejected)
    assert no.code is pit.RejectCode.INVALID_FIELD_VALUE
    assert "quantity" in no.reason


def test_an_undeclared_symbol_is_rejected(witness: Witness) -> None:
    no = witness.engine.execute_pre_trade(an_order(account=witness.account, instrument="NQZ6"))
    assert isinstance(no, pit.Rejected)
    assert no.code is pit.RejectCode.UNKNOWN_INSTRUMENT
    assert "NQZ6 is not declared; add [instruments.NQZ6]" in no.reason


# ---------------------------------------------------------------------------------------------- bad reports


def test_a_report_that_names_nothing_is_refused_where_it_is_made() -> None:
    with pytest.raises(pit.InvalidInput, match="it names no order; give order_id or venue_order_id"):
        pit.ExecutionReport(account="alpha", kind="cancelled", report_id="r1")


def test_a_report_that_names_nothing_is_refused_by_the_daemon(witness: Witness, raw: Raw) -> None:
    report = pit.ExecutionReport(account=witness.account, kind="cancelled", report_id="r1", order_id="x")
    reply = raw.command(altered(wire.Report(report), 1, 3, to=None))
    assert isinstance(reply, wire.Failed) and "it names no order" in reply.message


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"kind": "fill"}, "a fill needs a quantity above zero"),
        ({"kind": "fill", "quantity": 0}, "a fill needs a quantity above zero"),
        ({"kind": "fill", "quantity": -1}, "a fill needs a quantity above zero"),
        ({"kind": "cancelled", "quantity": 1}, "cancelled carries no quantity"),
        ({"kind": "gone"}, "report.kind: one of accepted, fill"),
        ({"kind": "fill", "quantity": 1, "pnl": "NaN"}, "report.pnl: a finite number"),
        ({"kind": "accepted", "report_id": ""}, "report.report_id: 1 to 64"),
    ],
)
def test_a_report_that_cannot_be_meant_is_refused_where_it_is_made(words: dict[str, Any], message: str) -> None:
    with pytest.raises(pit.InvalidInput, match=message):
        pit.ExecutionReport(**({"account": "alpha", "report_id": "r1", "order_id": "o"} | words))


def test_a_fill_that_cannot_be_booked_is_refused_at_its_sender(witness: Witness) -> None:
    report = pit.ExecutionReport(
        account=witness.account, kind="fill", report_id="r1", order_id="nobody", quantity=1, price=1
    )
    with pytest.raises(pit.InvalidInput, match=r"nobody is not known here; give report\.instrument"):
        witness.engine.apply_execution_report(report)


# ---------------------------------------------------------------------------------------------- misuse


def test_execute_twice_is_refused(witness: Witness) -> None:
    request = witness.engine.start_pre_trade(an_order())
    assert isinstance(request, pit.DeferredRequest)
    held = request.execute()
    assert isinstance(held, pit.Reservation)
    with pytest.raises(pit.AlreadyFinalized, match="executed before"):
        request.execute()
    held.rollback()


def test_rollback_after_commit_is_refused(witness: Witness) -> None:
    with pytest.raises(pit.AlreadyFinalized, match="it is working at the venue"):
        witness.kept[3].rollback()


ACTS: dict[str, Callable[[pit.Reservation], object]] = {
    "commit": lambda held: held.commit(),
    "rollback": lambda held: held.rollback(),
    "quarantine": lambda held: held.quarantine(),
    "mark_sent": lambda held: held.mark_sent(),
    "renew": lambda held: held.renew(),
}


@pytest.mark.parametrize("act", ACTS)
def test_an_unknown_id_is_said_to_be_unknown(witness: Witness, act: str) -> None:
    nobody = pit.OpenOrder(
        reservation_id=10**15, order=an_order(), state=OrderState.SENT, open_quantity=Decimal(1), lease_left_s=1
    )
    with pytest.raises(pit.UnknownId, match=f"no reservation {10**15} is known"):
        ACTS[act](witness.engine.reservation(nobody))


@pytest.mark.parametrize("act", ACTS)
def test_another_clients_order_is_not_touched(witness: Witness, daemon: Daemon, act: str) -> None:
    with daemon.connect(new_name("thief")) as thief:
        for found in witness.engine.open_orders():
            with pytest.raises(pit.NotAuthorized, match="belongs to another client"):
                ACTS[act](thief.reservation(found))


def test_an_id_used_again_for_another_order_is_rejected(witness: Witness, daemon: Daemon) -> None:
    known = witness.kept[0].order
    other = msgspec.structs.replace(known, quantity=Decimal(11))
    with daemon.connect(new_name("mm")) as stranger:
        for engine, order in ((witness.engine, other), (stranger, other), (stranger, known)):
            no = engine.execute_pre_trade(order)
            assert isinstance(no, pit.Rejected)
            assert no.code is pit.RejectCode.DUPLICATE_CLIENT_ORDER_ID
            assert f"order id {known.id} has been used" in no.reason


def test_a_second_client_of_the_same_name_fences_the_first(witness: Witness, daemon: Daemon) -> None:
    name = new_name("mm")
    with daemon.connect(name) as first, daemon.connect(name) as second:
        with pytest.raises(pit.Fenced, match=f"a newer session of client {name} has taken over"):
            first.execute_pre_trade(an_order())
        assert second.open_orders() == []


def test_a_fork_is_told_to_connect_anew(witness: Witness) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            witness.engine.execute_pre_trade(an_order(account=witness.account))
        except pit.Forked:
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


# ---------------------------------------------------------------------------------------------- bad bytes


def test_random_bytes_are_refused(witness: Witness, daemon: Daemon, raw: Raw) -> None:
    seed = 7
    dice = random.Random(seed)
    before = raw.seq()
    for _ in range(300):
        kind, number = dice.choice([0, 1, 2, 3, 4, 5, 6, 99, 255]), dice.choice([0, raw.number, 2**64 - 1])
        header = wire.pack_header(kind, dice.choice([0, raw.session]), number, dice.choice([0, 2**64 - 1]))
        frames = [dice.randbytes(dice.choice([0, 1, 25, 60])), dice.randbytes(dice.choice([0, 1, 25, 300]))]
        if dice.random() < 0.7:
            frames[0] = header
        if kind == wire.Message.SETTLE and frames[0] is header and number == raw.number:
            continue  # that one is meant: it gives the number up
        raw.send(*frames)
        reply = raw.receive()[1]
        assert isinstance(reply, wire.Failed), (seed, frames, reply)
    assert raw.seq() == before


@pytest.mark.parametrize("frames", [1, 3, 4])
def test_a_message_of_another_number_of_frames_is_refused(witness: Witness, raw: Raw, frames: int) -> None:
    header = wire.pack_header(wire.Message.COMMAND, raw.session, raw.number, raw.number - 1)
    body = wire.encode(wire.Check(an_order()))
    before = raw.seq()
    raw.send(*[header, body, body, b""][:frames])
    reply = raw.receive()[1]
    assert isinstance(reply, wire.Failed) and "malformed: a message is" in reply.message
    assert raw.seq() == before


def test_a_truncated_message_is_refused_wherever_it_is_cut(witness: Witness, raw: Raw) -> None:
    body = wire.encode(wire.Check(an_order(account=witness.account)))
    before = raw.seq()
    for length in range(len(body)):
        reply = raw.command(body[:length])
        assert isinstance(reply, wire.Failed) and reply.message.startswith("malformed:"), length
    assert raw.seq() == before


def test_a_truncated_header_is_refused(witness: Witness, raw: Raw) -> None:
    header = wire.pack_header(wire.Message.COMMAND, raw.session, raw.number, raw.number - 1)
    for length in range(len(header)):
        raw.send(header[:length], wire.encode(wire.Check(an_order())))
        reply = raw.receive()[1]
        assert isinstance(reply, wire.Failed) and "a header of 25 bytes is wanted" in reply.message


def test_ten_megabytes_drop_the_sender_only(witness: Witness, daemon: Daemon) -> None:
    with Raw(daemon.endpoint) as big:
        big.hello(new_name("raw"))
        header = wire.pack_header(wire.Message.COMMAND, big.session, big.number, big.number - 1)
        big.send(header, b"\0" * 10_000_000)
        witness.reserve().rollback()
        big.socket.setsockopt(zmq.RCVTIMEO, 200)
        with pytest.raises(zmq.Again):
            big.receive()


def test_a_client_that_would_send_ten_megabytes_is_told_so(witness: Witness) -> None:
    """Retrying it would only lose the connection again and again."""
    with pytest.raises(pit.InvalidInput, match="are more than the 1048576 of a message"):
        witness.engine.outcome(witness.account, "o" * 10_000_000)
    with pytest.raises(pit.InvalidInput, match="more than"):
        witness.engine._command(wire.Drop(tuple(range(2**40, 2**40 + 500_000))))


def test_a_venue_id_that_is_too_long_is_refused(witness: Witness, raw: Raw) -> None:
    reply = raw.command(altered(wire.Commit(witness.kept[0].id), 2, to="V" * 65))
    assert isinstance(reply, wire.Failed) and "venue_order_id: 1 to 64" in reply.message


def test_a_wrong_protocol_number_is_told_which_one_is_spoken(
    witness: Witness, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as newer:
        newer.setattr(wire, "PROTOCOL", 99)
        with pytest.raises(pit.ProtocolError, match="speaks protocol 1 and 2, not 99; install the matching pit-client"):
            daemon.connect(new_name("mm"))


def test_a_header_with_another_clients_session_number_is_refused(witness: Witness, daemon: Daemon, raw: Raw) -> None:
    with Raw(daemon.endpoint) as victim:
        victim.hello(new_name("victim"))
        body = wire.encode(wire.Check(an_order()))
        for kind in (wire.Message.COMMAND, wire.Message.QUERY, wire.Message.SETTLE):
            reply = raw.ask(kind, body, session=victim.session, number=1)
            assert isinstance(reply, wire.Failed) and reply.code is wire.FailureCode.NO_SESSION
        assert isinstance(victim.command(wire.Check(an_order())), wire.Accepted), "its number is still free"


def test_a_stranger_without_a_hello_is_told_to_say_it(witness: Witness, daemon: Daemon) -> None:
    with Raw(daemon.endpoint) as stranger:
        reply = stranger.ask(wire.Message.COMMAND, wire.encode(wire.Check(an_order())), session=1, number=1)
    assert isinstance(reply, wire.Failed) and reply.code is wire.FailureCode.NO_SESSION
    assert "say hello first" in reply.message


def test_a_session_is_not_taken_up_with_another_token(witness: Witness, daemon: Daemon) -> None:
    name = new_name("victim")
    with Raw(daemon.endpoint) as victim, Raw(daemon.endpoint) as thief:
        victim.hello(name)
        reply = thief.hello(name, session=victim.session)
        assert isinstance(reply, wire.Failed) and reply.code is wire.FailureCode.FENCED
        assert isinstance(victim.command(wire.Check(an_order())), wire.Accepted)


def test_a_client_that_never_reads_keeps_nobody_from_being_served(witness: Witness, daemon: Daemon) -> None:
    with Raw(daemon.endpoint, receive_bound=1) as deaf:
        deaf.hello(new_name("deaf"))
        header, body = wire.pack_header(wire.Message.QUERY, deaf.session, 1, 0), wire.encode(wire.ListBlocks())
        for _ in range(20_000):
            try:
                deaf.socket.send_multipart((header, body), zmq.NOBLOCK)
            except zmq.Again:
                break
        for _ in range(50):
            witness.reserve().rollback()


@pytest.mark.parametrize("endpoint", [None, "tcp://127.0.0.1:*"])
def test_connections_that_say_nothing_leave_descriptors_for_the_journal_and_for_who_is_meant(
    home: Path, endpoint: str | None
) -> None:
    settings = f'[journal]\ndirectory = "{home}/journal"\nsegment_rows = 1000\n[clients."*"]\n'
    daemon = Daemon(home, settings, endpoint=endpoint)
    daemon.start(under=["sh", "-c", 'ulimit -n 256 && exec "$0" "$@"'])
    strangers = []
    try:
        for _ in range(300):
            strangers.append(socket.socket(socket.AF_INET if endpoint else socket.AF_UNIX))
            strangers[-1].setblocking(False)
            port = daemon.endpoint.rpartition(":")[2]
            strangers[-1].connect_ex(("127.0.0.1", int(port)) if endpoint else str(daemon.socket))
        with daemon.connect("mm1") as engine:
            for _ in range(600):
                held = engine.execute_pre_trade(an_order())
                assert isinstance(held, pit.Reservation)
                held.rollback()
        assert "journal.segment" in daemon.log()
        assert "daemon.few_descriptors limit=256" in daemon.log()
    finally:
        daemon.kill()
        for each in strangers:
            each.close()


# ---------------------------------------------------------------------------------------------- no daemon


def test_no_daemon_means_that_nothing_was_sent(home: Path) -> None:
    with pytest.raises(pit.Unavailable, match=r"there is no socket at .* is pitd running"):
        pit.connect("mm1", f"ipc://{home}/pitd.sock", timeout_s=0.3)
    with pytest.raises(pit.Unavailable, match=f"not even {home}/nowhere"):
        pit.connect("mm1", f"ipc://{home}/nowhere/pitd.sock", timeout_s=0.3)


def test_a_process_without_a_descriptor_left_is_told_so(daemon: Daemon) -> None:
    code = textwrap.dedent(f"""
        import os, resource
        import pit, pit._zmq
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        while True:
            try:
                os.dup(0)
            except OSError:
                break
        try:
            pit.connect("mm1", {daemon.endpoint!r}, timeout_s=0.3)
        except pit.Unavailable as told:
            print(told)
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "EMFILE" in done.stdout, done.stderr


def test_a_socket_that_nobody_listens_at_is_told_apart(home: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(home / "pitd.sock"))
    with pytest.raises(pit.Unavailable, match="nobody listens"):
        pit.connect("mm1", f"ipc://{home}/pitd.sock", timeout_s=0.3)


@pytest.mark.parametrize("endpoint", ["pitd.sock", "http://localhost", "tcp://", "tcp://localhost:port", ""])
def test_an_endpoint_that_cannot_be_meant_is_refused(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not endpoint:
        monkeypatch.setenv("PITD_ENDPOINT", "nonsense")
    with pytest.raises(pit.InvalidInput, match="endpoint"):
        pit.connect("mm1", endpoint or None, timeout_s=0.3)


def test_no_permission_is_told_apart(witness: Witness, own_daemon: Daemon) -> None:
    """As another user where this one may do everything, else without the right to the socket."""
    code = textwrap.dedent(f"""
        import os, pit, pit._zmq
        if os.getuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        try:
            pit.connect("mm1", {own_daemon.endpoint!r}, timeout_s=0.5)
        except pit.Unavailable as told:
            print(told)
    """)
    own_daemon.socket.chmod(0o600 if os.getuid() == 0 else 0o000)
    own_daemon.folder.chmod(0o755)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "no permission to reach" in done.stdout
    assert "group" in done.stdout


# ---------------------------------------------------------------------------------------------- gone in mid-call


def test_a_daemon_that_stops_answering_leaves_the_outcome_unknown(own_daemon: Daemon) -> None:
    """It may have happened: the error names the order, and the daemon tells what became of it once it is back."""
    order = an_order()
    with own_daemon.connect("mm1", timeout_s=0.5) as engine:
        engine.ping()
        own_daemon.freeze()
        with pytest.raises(pit.OutcomeUnknown, match=order.id) as told:
            engine.execute_pre_trade(order, sent=True)
        own_daemon.thaw()
        assert told.value.order_id == order.id
        engine.timeout_s = PATIENCE_S
        assert engine.outcome(order.account, order.id).state in (OrderState.SENT, OrderState.QUARANTINED)
        assert [each.order for each in engine.open_orders()] == [order]


def test_a_signal_handler_that_calls_the_engine_in_mid_call_is_told_so_at_once(own_daemon: Daemon) -> None:
    """It would wait for the very call that waits for it."""
    told = []
    with own_daemon.connect("mm1", timeout_s=PATIENCE_S) as engine:

        def handler(number: int, frame: object) -> None:
            began = time.monotonic()
            try:
                engine.ping()
            except pit.Unavailable as trouble:
                told.append((str(trouble), time.monotonic() - began))
            own_daemon.thaw()

        before = signal.signal(signal.SIGALRM, handler)
        try:
            own_daemon.freeze()
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            assert engine.ping()
        finally:
            signal.signal(signal.SIGALRM, before)
    (why, took_s) = told[0]
    assert "a signal handler called this engine in mid-call" in why
    assert took_s < PATIENCE_S / 2


def test_a_command_given_up_is_never_executed_later(own_daemon: Daemon) -> None:
    """The daemon was away from before it was sent: once it is back, the number is settled before the next command."""
    with own_daemon.connect("mm1", timeout_s=0.5) as engine:
        held = engine.execute_pre_trade(an_order(), lease_s=60)
        assert isinstance(held, pit.Reservation)
        own_daemon.freeze()
        with pytest.raises(pit.OutcomeUnknown):
            held.commit()
        own_daemon.thaw()
        engine.timeout_s = PATIENCE_S
        held.rollback() if engine.open_orders()[0].state is OrderState.HELD else held.commit()
        assert held.state in (OrderState.ROLLED_BACK, OrderState.WORKING)


def test_a_first_hello_that_comes_again_after_its_session_was_fenced_takes_over_from_nobody(own_daemon: Daemon) -> None:
    token = os.urandom(16)
    with Raw(own_daemon.endpoint) as older, Raw(own_daemon.endpoint) as newer:
        assert isinstance(older.hello("mm1", token=token), wire.Welcome)
        assert isinstance(newer.hello("mm1"), wire.Welcome)
        again = older.hello("mm1", token=token)
        assert isinstance(again, wire.Failed) and again.code is wire.FailureCode.FENCED
        assert isinstance(newer.command(wire.Drop(())), wire.Done)


def test_a_query_without_an_answer_says_that_nothing_happened(own_daemon: Daemon) -> None:
    with own_daemon.connect("mm1", timeout_s=0.4) as engine:
        own_daemon.freeze()
        with pytest.raises(pit.Unavailable, match="does not"):
            engine.ping()
        own_daemon.thaw()
        engine.timeout_s = PATIENCE_S
        assert engine.ping()


def test_a_daemon_killed_in_mid_call_never_counts_as_yes(own_daemon: Daemon) -> None:
    order = an_order()
    with own_daemon.connect("mm1", timeout_s=2.0) as engine:
        engine.ping()
        own_daemon.freeze()
        killer = threading.Timer(0.3, own_daemon.kill)
        killer.start()
        with pytest.raises((pit.OutcomeUnknown, pit.Unavailable)) as told:
            engine.execute_pre_trade(order)
        killer.join()
        assert getattr(told.value, "order_id", order.id) == order.id


def test_a_daemon_that_was_gone_before_the_call_means_that_nothing_was_sent(own_daemon: Daemon) -> None:
    with own_daemon.connect("mm1", timeout_s=1.0) as engine:
        engine.ping()
        own_daemon.kill()
        until(lambda: _is_unavailable(engine), "the client to notice that its connection is gone")
        with pytest.raises(pit.Unavailable, match="nobody listens"):
            engine.execute_pre_trade(an_order())


def _is_unavailable(engine: pit.Engine) -> bool:
    try:
        engine.ping()
    except pit.Unavailable:
        return True
    return False
