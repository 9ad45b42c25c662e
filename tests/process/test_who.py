"""Who may do what, over ipc: what is not theirs is refused, counted, and changes nothing."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from daemon import Daemon, running, until
from process.raw import Raw
from process.zmtp import Impostor

import pit
from pit import wire

ME = os.getuid()

SETTINGS = f"""
[gate]
unknown_accounts = "allow"

[accounts.alpha]
reports_from = ["dropcopy"]

[clients.mm1]
roles = ["trade", "report"]
accounts = ["alpha", "beta"]
user = {ME}

[clients.mm2]
roles = ["trade"]

[clients.fix]
roles = ["gateway", "report"]
accounts = ["alpha"]

[clients.dropcopy]
roles = ["report"]

[clients.othercopy]
roles = ["report"]

[clients.screen]
roles = ["observe"]

[clients.witness]
roles = ["observe"]

[clients.ops]
roles = ["operate"]

[clients.desk]
roles = ["operate"]
accounts = ["alpha"]

[clients.theirs]
roles = ["trade", "report", "operate"]
user = {ME + 1}

[limits.open_usd]
control = "open_order_notional"
each = "account"
settlement = "USD"
max_notional = "100000"
"""


class Picture:
    """All that an observer can see of what is counted and kept, and how often anybody was refused."""

    def __init__(self, daemon: Daemon) -> None:
        self._observer = daemon.connect("witness")
        self.before, self.refused_before, self.seq_before = self.look()

    def look(self) -> tuple[object, int, int]:
        ask = self._observer.ask
        orders, closed = ask(wire.ListOrders()), ask(wire.ListOrders(wire.Which.CLOSED))
        accounts, limits, blocks = ask(wire.ListAccounts()), ask(wire.ListLimits()), ask(wire.ListAllBlocks())
        assert isinstance(orders, wire.OrdersAre)
        assert isinstance(closed, wire.OrdersAre)
        assert isinstance(accounts, wire.AccountsAre)
        assert isinstance(limits, wire.LimitsAre)
        assert isinstance(blocks, wire.BlocksAre)
        open_orders = [msgspec.structs.replace(each, lease_left_s=None) for each in orders.orders]
        status = ask(wire.AskStatus())
        assert isinstance(status, wire.StatusIs)
        seen = (open_orders, closed.orders, accounts.accounts, limits.limits, blocks.blocks)
        return seen, status.not_authorized, status.seq

    def is_the_same(self, refused: int = 1) -> None:
        """Nothing has changed, no entry was made, and so many refusals were counted."""
        now, refused_now, seq = self.look()
        assert now == self.before
        assert seq == self.seq_before
        assert refused_now - self.refused_before == refused

    def close(self) -> None:
        self._observer.close()


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running(SETTINGS) as one:
        yield one


@pytest.fixture
def connect(daemon: Daemon) -> Iterator[Callable[[str], pit.Engine]]:
    engines: list[pit.Engine] = []

    def connected(name: str) -> pit.Engine:
        engines.append(daemon.connect(name))
        return engines[-1]

    yield connected
    for engine in engines:
        engine.close()


@pytest.fixture
def picture(daemon: Daemon, connect: Callable[[str], pit.Engine]) -> Iterator[Callable[[], Picture]]:
    taken: list[Picture] = []

    def take() -> Picture:
        taken.append(Picture(daemon))
        return taken[-1]

    yield take
    for each in taken:
        each.close()


Connect = Callable[[str], pit.Engine]
TakePicture = Callable[[], Picture]


def an_order(**words: Any) -> pit.Order:
    good = {"account": "beta", "instrument": pit.Instrument("AAPL", "USD"), "side": "buy", "quantity": 1, "price": 1}
    return pit.Order(**(good | words))


def a_report(account: str) -> pit.ExecutionReport:
    return pit.ExecutionReport(
        account=account,
        kind="fill",
        report_id="r1",
        order_id="o1",
        quantity=1,
        price=1,
        instrument=pit.Instrument("AAPL", "USD"),
    )


REFUSED: dict[str, tuple[str, Callable[[pit.Engine], object], str]] = {
    "a trade client blocks": ("mm1", lambda engine: engine.block("firm", "x"), '"operate"'),
    "an observer trades": ("screen", lambda engine: engine.execute_pre_trade(an_order()), '"trade"'),
    "an observer blocks": ("screen", lambda engine: engine.block("account alpha", "x"), '"operate"'),
    "an observer reports": ("screen", lambda engine: engine.apply_execution_report(a_report("beta")), '"report"'),
    "an operator trades": ("ops", lambda engine: engine.start_pre_trade(an_order()), '"trade"'),
    "a trade client reports": ("mm2", lambda engine: engine.apply_execution_report(a_report("beta")), '"report"'),
    "a trade client takes": ("mm1", lambda engine: engine.take("beta", "o1"), '"gateway"'),
    "a gateway trades": ("fix", lambda engine: engine.execute_pre_trade(an_order()), '"trade"'),
    "a gateway takes from another account": ("fix", lambda engine: engine.take("beta", "o1"), "account beta"),
    "an account that is not its own": (
        "mm1",
        lambda engine: engine.execute_pre_trade(an_order(account="gamma")),
        "account gamma",
    ),
    "a report that the account does not believe": (
        "mm1",
        lambda engine: engine.apply_execution_report(a_report("alpha")),
        "reports_from",
    ),
    "a status that the account does not believe": (
        "othercopy",
        lambda engine: engine.apply_order_status(
            pit.OrderStatus(account="alpha", order_id="o1", cum_quantity=1, average_price=100)
        ),
        "reports_from",
    ),
    "a drop copy that the account does not believe": (
        "othercopy",
        lambda engine: engine.apply_drop_copy(an_order(account="alpha"), venue_order_id="v1"),
        "reports_from",
    ),
    "a desk's operator blocks another account": ("desk", lambda engine: engine.block("account beta", "x"), "beta"),
    "a desk's operator blocks the firm": ("desk", lambda engine: engine.block("firm", "x"), "every account"),
    "a trade client sees everybody's orders": ("mm1", lambda engine: engine.ask(wire.ListOrders()), '"observe"'),
    "a trade client sees everybody's sessions": ("mm1", lambda engine: engine.ask(wire.ListSessions()), '"observe"'),
    "an outcome of another account": ("mm1", lambda engine: engine.outcome("gamma", "o1"), "account gamma"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_theirs_is_refused_counted_and_changes_nothing(
    connect: Connect, picture: TakePicture, what: str
) -> None:
    name, act, told = REFUSED[what]
    engine = connect(name)
    before = picture()
    with pytest.raises(pit.NotAuthorized, match=told):
        act(engine)
    before.is_the_same()
    assert engine.ping()


@pytest.mark.parametrize("name", ["theirs", "nobody"])
def test_a_name_that_this_user_does_not_prove_is_refused(daemon: Daemon, picture: TakePicture, name: str) -> None:
    before = picture()
    with pytest.raises(pit.NotAuthorized, match=name):
        daemon.connect(name)
    before.is_the_same()


def test_a_process_of_another_user_is_refused_and_one_of_the_right_user_is_not(
    daemon: Daemon, picture: TakePicture
) -> None:
    if ME != 0:
        pytest.skip("only root can become another user")
    daemon.folder.chmod(0o755)
    daemon.socket.chmod(0o666)
    before = picture()
    code = (
        "import os, sys\nimport pit, pit._zmq\n"  # loaded before the sources are out of reach
        "os.setgroups([]); os.setgid(1); os.setuid(1)\n"
        "for name in ('mm1', 'theirs'):\n"
        "    try:\n"
        "        pit.connect(name, sys.argv[1], timeout_s=20).close()\n"
        "        print(name, 'welcome')\n"
        "    except pit.NotAuthorized as no:\n"
        "        print(name, no)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, daemon.endpoint], capture_output=True, text=True, timeout=60, check=True
    )
    mine, theirs = done.stdout.splitlines()
    assert "user 1 does not prove client mm1" in mine
    assert theirs == "theirs welcome"
    seen, refused, _ = before.look()
    assert (seen, refused - before.refused_before) == (before.before, 1)


def test_an_operator_without_a_reason_is_refused_and_nothing_changes(connect: Connect, picture: TakePicture) -> None:
    ops = connect("ops")
    before = picture()
    with pytest.raises(pit.InvalidInput, match="reason"):
        ops.block("firm", " ")
    assert before.look()[0] == before.before


def test_properties_that_a_peer_claims_of_itself_prove_nothing(daemon: Daemon, picture: TakePicture) -> None:
    before = picture()
    claims = {"User-Id": b"theirs", "Peer-Address": f"localhost:{ME + 1}:0:1".encode(), "__fd": b"3"}
    with Impostor(daemon.socket, claims) as impostor:
        reply = impostor.hello("theirs")
        assert isinstance(reply, wire.Failed)
        assert reply.code is wire.FailureCode.NOT_AUTHORIZED
        assert f"user {ME} " in reply.message
    before.is_the_same()


FIRST = """
import os, pathlib, sys
from process.zmtp import Impostor
first = Impostor(pathlib.Path(sys.argv[1]), {"Identity": b"chosen"})
print(first.hello("mm2").session, flush=True)
os._exit(0)
"""


def test_a_connection_that_takes_anothers_identity_does_not_get_its_session(daemon: Daemon) -> None:
    """Nor when it is given the same descriptor before the daemon has heard of the other's end."""
    with subprocess.Popen(
        [sys.executable, "-c", FIRST, str(daemon.socket)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    ) as first:
        assert first.stdout is not None
        session = int(first.stdout.readline())
    header = wire.pack_header(wire.Message.COMMAND, session, 1, 0)
    answers: list[wire.Reply] = []

    def is_answered() -> bool:
        """Until the first one is gone, nobody hears a second of its identity."""
        with Impostor(daemon.socket, {"Identity": b"chosen"}, patience_s=0.5) as second:
            with contextlib.suppress(TimeoutError):
                answers.append(second.say(header, wire.encode(wire.Check(an_order())))[1])
            return bool(answers)

    until(is_answered, "an answer to the second")
    assert isinstance(answers[0], wire.Failed)
    assert answers[0].code is wire.FailureCode.NO_SESSION


def test_who_is_refused_is_named_in_sessions_and_now_and_then_in_the_log(daemon: Daemon, connect: Connect) -> None:
    client, ops = connect("mm2"), connect("ops")
    for _ in range(5):
        with pytest.raises(pit.NotAuthorized):
            client.block("firm", "x")
    page = ops.ask(wire.ListSessions())
    assert isinstance(page, wire.SessionsAre)
    seen = {each.client: each for each in page.sessions}
    assert seen["mm2"].refused == 5
    assert seen["mm2"].messages >= 5
    assert seen["ops"].refused == 0
    lines = [line for line in daemon.log().splitlines() if "not_authorized" in line and "client=mm2" in line]
    assert len(lines) == 1


def test_a_retry_of_what_was_done_gets_its_answer_whatever_has_become_of_the_role(daemon: Daemon) -> None:
    """A refusal would tell the client that nothing had happened."""
    with Raw(daemon.endpoint) as raw:
        raw.hello("mm1")
        body = wire.encode(wire.Check(an_order(id="retried")))
        first = raw.command(body)
        again = raw.command(body, number=raw.number - 1)
        assert isinstance(first, wire.Accepted)
        assert isinstance(again, wire.Accepted)
        assert first.reservation_id == again.reservation_id


def test_blocks_of_other_accounts_are_not_shown(connect: Connect) -> None:
    ops, client = connect("ops"), connect("mm1")
    for account in ("alpha", "gamma"):
        ops.block(f"account {account}", "a test")
    assert [block.scope for block in client.blocks()] == ["account alpha"]
    assert [block.scope for block in ops.blocks()] == ["account alpha", "account gamma"]
    for account in ("alpha", "gamma"):
        ops.unblock(f"account {account}", "a test")


def test_a_late_commit_needs_the_right_to_the_account(connect: Connect) -> None:
    other, client = connect("mm2"), connect("mm1")
    held = other.execute_pre_trade(an_order(account="gamma"))
    assert isinstance(held, pit.Reservation)
    with pytest.raises(pit.NotAuthorized, match="account gamma"):
        client.reservation(other.open_orders()[0]).commit(late=True)
    held.rollback()
