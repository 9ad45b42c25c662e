"""Blocks: who may not trade, since when and why, and what lifts it."""

from __future__ import annotations

import pytest
from builders import AAPL, Core, Local, fill, money, order

import pit
from pit.types import Block
from pitd.core import entry as e

GROUPS = '[accounts.alpha]\ngroup = "eq"\n[accounts.beta]\ngroup = "eq"\n[accounts.gamma]\ngroup = "fx"\n'
LOSS_100 = """
[limits]
day_loss = { control = "pnl_kill_switch", each = "account", settlement = "USD", max_loss = "100" }
"""


def may_trade(core: Core) -> set[str]:
    accounts = ("alpha", "beta", "gamma", "outsider")
    return {account for account in accounts if isinstance(core.check(order(account=account)), e.Accepted)}


@pytest.mark.parametrize(
    ("scope", "still"),
    [
        ("account alpha", {"beta", "gamma", "outsider"}),
        ("group eq", {"gamma", "outsider"}),
        ("firm", set()),
        ("account nobody", {"alpha", "beta", "gamma", "outsider"}),
    ],
)
def test_a_block_stops_its_scope_and_nobody_else(scope, still):
    core = Core(GROUPS)
    assert core.block(scope) == e.Done(1)
    assert may_trade(core) == still


@pytest.mark.parametrize("scope", ["group equ", "group  eq", "account " + "a" * 65])
def test_a_block_that_would_stop_nobody_is_refused(scope):
    core = Core(GROUPS)
    assert core.block(scope).failure == "InvalidInput"
    assert core.engine.accounts.blocks() == ()


@pytest.mark.parametrize("scope", ["account alpha", "group eq", "firm"])
def test_an_unblock_lifts_it(scope):
    core = Core(GROUPS)
    core.block(scope)
    assert core.unblock(scope) == e.Done(1)
    assert may_trade(core) == {"alpha", "beta", "gamma", "outsider"}


def test_the_reject_names_the_scope_and_the_reason():
    core = Core(GROUPS)
    core.block("group eq", "the desk is moving")
    no = core.check(order()).rejected
    assert (no.code, no.scope, no.limit) == ("AccountBlocked", "group eq", "operator")
    assert "the desk is moving" in no.reason


def test_every_block_on_an_account_is_told():
    core = Core(GROUPS)
    for scope in ("account alpha", "group eq", "firm"):
        core.block(scope)
    assert {reject.scope for reject in core.check(order()).rejected.rejects} == {"account alpha", "group eq", "firm"}


def test_lifting_one_leaves_the_others():
    core = Core(GROUPS)
    core.block("account alpha")
    core.block("firm")
    core.unblock("firm")
    assert core.check(order()).rejected.scope == "account alpha"


def test_a_second_block_of_the_same_scope_takes_the_newer_reason():
    core = Core(GROUPS)
    core.block("firm", "first")
    core.block("firm", "second")
    assert [block.reason for block in core.engine.accounts.blocks()] == ["second"]
    core.unblock("firm")
    assert "alpha" in may_trade(core)


def test_lifting_what_nobody_blocked_is_refused():
    assert Core(GROUPS).unblock("firm").failure == "UnknownId"


@pytest.mark.parametrize("scope", ["", "alpha", "account", "account ", "group", "desk alpha", "FIRM", "firm "])
def test_a_scope_that_cannot_be_meant_is_refused(scope):
    core = Core(GROUPS)
    for no in (core.block(scope), core.unblock(scope)):
        assert no.failure == "InvalidInput"
    assert core.engine.accounts.blocks() == ()


@pytest.mark.parametrize("reason", ["", "   "])
def test_a_reason_is_wanted(reason):
    core = Core(GROUPS)
    assert core.block("firm", reason).failure == "InvalidInput"
    core.block("firm")
    assert core.unblock("firm", reason).failure == "InvalidInput"


def test_the_block_remembers_who_set_it():
    core = Core(GROUPS)
    core.block("firm", client="head_of_desk")
    assert core.engine.accounts.blocks()[0].author == "head_of_desk"


def test_a_persons_block_and_a_trip_are_two_things():
    core = Core(LOSS_100)
    core.report(money("x1", pnl="-100"))
    core.block("account alpha")
    assert len(core.engine.accounts.blocks()) == 2
    core.unblock("account alpha")
    assert core.check(order()).rejected.codes == ("PnlKillSwitchTriggered",)


def test_a_block_stops_the_start_stage():
    core = Core(GROUPS)
    core.block("firm")
    assert core.start(order()).rejected.code == "AccountBlocked"


def test_what_was_open_stays_as_it_is():
    core = Core()
    held = core.check(order())
    core.block("firm")
    assert (core.state(held.reservation_id), core.held()) == ("held", 1000)


def test_blocks_are_listed_in_one_order():
    one, other = Core(GROUPS), Core(GROUPS)
    for scope in ("firm", "account b", "account a"):
        one.block(scope)
    for scope in ("account a", "firm", "account b"):
        other.block(scope)
    assert one.engine.accounts.save() == other.engine.accounts.save()


def test_a_strategy_sees_blocks_and_trips_where_they_come_from():
    local = Local(LOSS_100)
    operator = local.connect("ops")
    operator.block("firm", "lunch")
    result = local.engine.apply_execution_report(money("x1", pnl="-100"))
    blocks = local.engine.blocks()
    assert [(block.scope, block.author) for block in blocks] == [("account alpha", "pnl_kill_switch"), ("firm", "ops")]
    assert blocks[0] == result.blocks[0]
    assert isinstance(blocks[1], Block)
    assert not local.engine.execute_pre_trade(order())


def test_rearming_a_limit_that_has_no_latch_is_refused():
    local = Local('[limits]\nr = { control = "rate_limit", each = "account", max_orders = 0, window = "1s" }')
    with pytest.raises(pit.InvalidInput, match="no latch"):
        local.engine.rearm("r", "account alpha", "5", "a test")


# ---------------------------------------------------------------------------------------------- declared, or not

STRICT = '[gate]\nunknown_accounts = "reject"\n'
BETA = '[accounts.beta]\ncurrency = "USD"\n'


def unknown(core: Core, account: str, **fields: object) -> bool:
    reply = core.check(order(account=account, **fields))
    return isinstance(reply, e.Refused) and reply.rejected.codes == ("UnknownAccount",)


def test_once_an_account_is_declared_only_those_that_are_may_trade() -> None:
    core = Core(STRICT + BETA)
    assert may_trade(core) == {"beta"}
    reject = core.check(order(account="alhpa")).rejected.rejects[0]
    assert (reject.limit, reject.scope) == ("accounts", "account alhpa")
    assert "[accounts.alhpa]" in reject.reason and 'unknown_accounts = "allow"' in reject.reason


def test_while_none_is_declared_or_the_gate_is_open_any_account_may() -> None:
    assert unknown(Core(STRICT), "alpha") is False
    assert unknown(Core(STRICT.replace("reject", "allow") + BETA), "alpha") is False


def test_what_an_account_has_open_when_it_is_no_longer_declared_goes_on_and_nothing_new_goes_out() -> None:
    core = Core(STRICT + BETA + "[accounts.alpha]")
    working = core.check(order(id="o1"), sent=True).reservation_id
    held = core.check(order(id="o2")).reservation_id
    deferred = core.start(order(id="o3")).request_id
    core.reload(STRICT + BETA)
    assert core.commit(working).state == "working"
    assert core.mark_sent(held).rejected.code == "UnknownAccount"
    assert core.execute(deferred).rejected.code == "UnknownAccount"
    assert core.rollback(held).state == "rolled_back"
    assert core.report(fill("o1", "10")).result.state == "closed"
    core.reload(STRICT + BETA + "[accounts.alpha]")
    assert not unknown(core, "alpha")


def test_what_the_venue_says_of_an_account_that_is_not_declared_is_truth_and_flagged() -> None:
    core = Core(STRICT + BETA)
    result = core.report(fill("theirs", "3", instrument=AAPL, side="buy")).result
    assert result.flags == ("unknown_order", "unknown_account")
    assert core.engine.positions.of("alpha", "AAPL/USD").quantity == 3


@pytest.mark.parametrize("way", ["rows", "snapshot"])
def test_which_accounts_are_declared_comes_back(way: str) -> None:
    core = Core(STRICT + BETA)
    core.reload(STRICT + BETA + "[accounts.alpha]")
    again = core.again(way)
    assert not unknown(again, "alpha", id="o1") and unknown(again, "gamma", id="o2")


LISTED = '[clients.mm1]\n[clients.mm2]\n[clients.ops]\nroles = ["operate"]\n'


STOPS = {"block": lambda scope: e.BlockScope(scope, "a test"), "cancel-all": lambda scope: e.CancelAll(scope, "a test")}


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize(
    ("scope", "known"),
    [("client mn1", "known: mm1, mm2, ops"), ("account alhpa", "known: beta"), ("group eq", "known: none")],
)
def test_stopping_a_name_that_nobody_has_is_refused_and_the_known_are_named(stop: str, scope: str, known: str) -> None:
    core = Core(STRICT + BETA + "\n" + LISTED)
    no = core.command(STOPS[stop](scope), "mm1")
    assert no.failure == "InvalidInput" and known in no.message
    assert not core.engine.accounts.blocks() and not core.engine.cancels.sweeps


@pytest.mark.parametrize("settings", ["", '[clients.ops]\nroles = ["operate"]\n[clients."*"]\nroles = ["trade"]\n'])
def test_where_any_client_may_turn_up_any_can_be_stopped(settings: str) -> None:
    assert Core(settings).block("client newcomer") == e.Done(1)


def test_who_is_no_longer_listed_and_has_orders_open_can_be_stopped() -> None:
    core = Core(STRICT + BETA + "[accounts.alpha]\n" + LISTED)
    core.check(order(id="o1"), client="mm2")
    core.reload(STRICT + BETA + "\n" + LISTED.replace("[clients.mm2]\n", ""))
    assert core.block("client mm2") == e.Done(1)
    assert core.block("account alpha") == e.Done(1)
