"""repeated_execution: a strategy in a loop is stopped, stays stopped, and goes on when a person says so."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from builders import Core, Local, effect_from, order

import pit
from pitd.core import entry as e

LOOP = '[limits]\nloop = { control = "repeated_execution", max_executions = 3, window = "10s" }\n'


def gate(limit: str = "", more: str = "") -> Core:
    return Core(
        f'{more}\n[limits]\nloop = {{ control = "repeated_execution", max_executions = 3, window = "10s"{limit} }}'
    )


def passes_at(core: Core, now_s: float, client: str = "mm1", **fields: Any) -> bool:
    core.now_ns = 10**12 + round(now_s * 1e9)
    return isinstance(core.check(order(**fields), client=client), e.Accepted)


def stopped(core: Core, client: str = "mm1") -> Core:
    assert [passes_at(core, n, client) for n in range(4)] == [True, True, True, False]
    return core


@pytest.mark.parametrize(
    ("at", "passes"),
    [
        ((0, 1, 2, 3), (True, True, True, False)),
        ((0, 1, 2, 10), (True, True, True, True)),
        ((0, 1, 2, 9.999999999), (True, True, True, False)),
        ((0, 1, 2, 3, 1000), (True, True, True, False, False)),
    ],
)
def test_the_table(at: tuple[float, ...], passes: tuple[bool, ...]) -> None:
    core = gate()
    assert tuple(passes_at(core, now_s) for now_s in at) == passes


def test_the_order_that_is_too_many_is_told_why_and_the_client_is_blocked() -> None:
    core = gate()
    for n in range(3):
        passes_at(core, n)
    no = core.check(order()).rejected
    assert (no.codes, no.policy, no.limit, no.scope) == (
        ("AccountBlocked",),
        "repeated_execution",
        "loop",
        "client mm1",
    )
    assert (no.bound, no.used, no.requested) == (3, 3, 1)
    (block,) = core.engine.accounts.blocks()
    assert (block.scope, block.limit, block.author) == ("client mm1", "loop", "repeated_execution")
    assert "buy 10 AAPL/USD at 100 was fired 4 times in 10 s" in block.reason


def test_a_stopped_client_sends_nothing_else_either_and_others_go_on() -> None:
    core = stopped(gate())
    assert not passes_at(core, 4, account="beta", side="sell")
    assert passes_at(core, 4, client="mm2")


def test_different_orders_are_no_loop() -> None:
    core = gate()
    assert all(passes_at(core, 0, price=f"{n + 1}") for n in range(20))


def test_a_loop_that_is_refused_each_time_is_stopped_too() -> None:
    core = gate(more='[limits.size]\ncontrol = "order_size_limit"\neach = "account"\nmax_quantity = 5')
    assert not any(passes_at(core, 0) for _ in range(4))
    assert [block.scope for block in core.engine.accounts.blocks()] == ["client mm1"]


def test_a_loop_in_what_is_not_even_declared_is_stopped_too() -> None:
    core = gate()
    assert not any(passes_at(core, 0, instrument="NOPE") for _ in range(4))
    assert [block.scope for block in core.engine.accounts.blocks()] == ["client mm1"]


def test_a_person_lets_it_go_on_and_the_count_begins_anew() -> None:
    core = stopped(gate())
    assert core.unblock("client mm1", "fixed the loop") == e.Done(1)
    assert core.engine.accounts.blocks() == ()
    assert [passes_at(core, 4 + n) for n in range(4)] == [True, True, True, False]


def test_letting_go_wants_a_reason_and_the_right_scope() -> None:
    core = stopped(gate())
    assert core.unblock("client mm1", " ").failure == "InvalidInput"
    assert core.unblock("client mm2").failure == "UnknownId"
    assert core.unblock("account alpha").failure == "UnknownId"
    assert not passes_at(core, 5)


def test_a_rearm_names_what_does_let_it_go_on() -> None:
    core = stopped(gate())
    no = core.rearm("loop", "client mm1", "5")
    assert no.failure == "InvalidInput" and "pitctl unblock client mm1" in no.message
    assert not passes_at(core, 5)


def test_a_persons_own_block_of_the_client_is_lifted_with_it_and_told() -> None:
    core = stopped(gate())
    core.block("client mm1", "looking at it")
    assert core.unblock("client mm1") == e.Done(2)
    assert passes_at(core, 5)


@pytest.mark.parametrize(
    ("counts_by", "scope", "other"),
    [
        (', each = "account"', "account alpha", {"account": "beta"}),
        (', over = "firm"', "firm", None),
        (', over = { group = "eq" }', "group eq", {"account": "gamma"}),
    ],
)
def test_what_it_counts_by_is_what_is_stopped(counts_by: str, scope: str, other: dict[str, str] | None) -> None:
    core = stopped(gate(counts_by, '[accounts.alpha]\ngroup = "eq"'))
    assert [block.scope for block in core.engine.accounts.blocks()] == [scope]
    assert not passes_at(core, 4, client="mm2", price="1")
    assert other is None or passes_at(core, 4, client="mm2", price="2", **other)


def test_what_a_stopped_client_holds_does_not_go_out_and_can_be_given_back() -> None:
    core = gate()
    core.now_ns = 10**12
    held = core.check(order())
    for n in range(3):
        passes_at(core, n / 10)
    assert core.mark_sent(held.reservation_id).rejected.scope == "client mm1"
    assert core.take(core.engine.orders.find(held.reservation_id).order_id, client="fix").rejected.scope == "client mm1"
    assert isinstance(core.rollback(held.reservation_id), e.Stands)


def test_what_a_gateway_had_taken_before_is_the_gateways_to_settle() -> None:
    core = gate()
    held = core.check(order(id="o1"))
    core.take("o1")
    stopped(core, "mm2")
    assert isinstance(core.commit(held.reservation_id, client="fix"), e.Stands)


def test_a_request_that_was_started_before_is_not_executed() -> None:
    core = gate()
    core.now_ns = 10**12
    request = core.start(order(price="7"))
    stopped(core)
    assert core.execute(request.request_id).rejected.scope == "client mm1"


@pytest.mark.parametrize("way", ["rows", "snapshot"])
def test_it_stays_stopped_over_a_restart_and_is_let_go_after_it(way: str) -> None:
    again = stopped(gate()).again(way)
    assert not passes_at(again, 5)
    again.unblock("client mm1")
    assert again.again(way).engine.accounts.blocks() == ()
    assert [passes_at(again, 6 + n) for n in range(4)] == [True, True, True, False]


@pytest.mark.parametrize("way", ["rows", "snapshot"])
def test_it_goes_on_counting_after_a_restart(way: str) -> None:
    core = gate()
    assert passes_at(core, 0) and passes_at(core, 1)
    assert [passes_at(core.again(way), 2 + n) for n in range(1)] == [True]
    again = core.again(way)
    assert [passes_at(again, 2 + n) for n in range(2)] == [True, False]


def test_a_limit_that_is_taken_away_leaves_its_block_to_a_person_and_no_latch_behind() -> None:
    core = stopped(gate())
    core.configure("")
    assert not passes_at(core, 5)
    assert core.unblock("client mm1") == e.Done(1)
    core.configure(LOOP)
    assert [passes_at(core, 20 + n) for n in range(4)] == [True, True, True, False]


def test_its_effects_survive_encoding() -> None:
    core = stopped(gate())
    core.unblock("client mm1")
    policy = core.engine.policies["repeated_execution"]
    seen = [each.effect for row in core.rows for each in row.effects if isinstance(each, e.PolicyChanged)]
    assert {type(each).__name__ for each in seen} == {"Executed", "Stopped", "LetGo"}
    for effect in seen:
        assert effect_from(policy, msgspec.msgpack.decode(msgspec.msgpack.encode(effect))) == effect


def test_the_strategy_sees_that_it_is_stopped_and_an_operator_lets_it_go_on() -> None:
    gate = Local(f'[clients.mm1]\naccounts = ["alpha"]\n[clients.ops]\nroles = ["operate"]\n{LOOP}')
    replies = [gate.engine.execute_pre_trade(order()) for _ in range(4)]
    assert [bool(reply) for reply in replies] == [True, True, True, False]
    (block,) = gate.engine.blocks()
    assert isinstance(block, pit.Block) and block.scope == "client mm1"
    gate.connect("ops").unblock("client mm1", "fixed the loop")
    assert gate.engine.execute_pre_trade(order())


def test_a_gateway_that_is_blocked_takes_nothing_and_renews_nothing() -> None:
    core = Core("")
    core.check(order(id="o1"))
    taken = core.check(order(id="o2"))
    core.take("o2")
    core.block("client fix", "the line is bad")
    assert core.take("o1").rejected.scope == "client fix"
    assert core.renew(taken.reservation_id, client="fix").rejected.scope == "client fix"
    assert isinstance(core.commit(taken.reservation_id, client="fix"), e.Stands)


@pytest.mark.parametrize("scope", ["client mm1", "client nobody"])
def test_an_operator_may_block_a_client_by_hand(scope: str) -> None:
    core = Core("")
    core.block(scope, "odd fills")
    assert passes_at(core, 0) is (scope == "client nobody")
    assert passes_at(core, 0, client="mm2")
    assert core.unblock(scope) == e.Done(1)
    assert passes_at(core, 1)
