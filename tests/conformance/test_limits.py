"""Numbers of limits that an operator sets at run time: what holds, who sees it, and who may."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from conformance.gates import Gate
from daemon import until

import pit


@pytest.fixture
def ops(gate: Gate) -> Iterator[pit.Engine]:
    """An operator, whose settings are taken back: the limits are everybody's."""
    ops = gate.connect("ops")
    yield ops
    for each in ops.limit_overrides():
        ops.clear_limit(each.limit, each.key, reason="the test is over")


def is_taken(engine: pit.Engine, gate: Gate, quantity: int) -> bool:
    return bool(engine.execute_pre_trade(gate.order(quantity=quantity, price="1")))


def test_what_is_set_holds_from_the_next_order_on(engine: pit.Engine, gate: Gate, ops: pit.Engine) -> None:
    assert is_taken(engine, gate, 600)
    (set_now,) = ops.set_limit("size", {"max_quantity": 500}, reason="a quiet day")
    assert (set_now.limit, set_now.key, set_now.in_force, set_now.base) == ("size", "max_quantity", "500", "1000")
    assert (set_now.author, set_now.reason, set_now.until_wall_ns) == ("ops", "a quiet day", None)
    assert not is_taken(engine, gate, 600)
    assert ops.clear_limit("size", reason="a day like others") == 1
    assert is_taken(engine, gate, 600)


def test_everything_that_is_set_is_listed(ops: pit.Engine) -> None:
    ops.set_limit("open_usd", {"max_notional": "5000.50"}, reason="one")
    ops.set_limit("size", {"max_quantity": 5, "max_notional": 900}, reason="two")
    found = {(each.limit, each.key): each.value for each in ops.limit_overrides()}
    assert found == {
        ("open_usd", "max_notional"): "5000.5",
        ("size", "max_quantity"): "5",
        ("size", "max_notional"): "900",
    }


def test_it_ends_by_itself(engine: pit.Engine, gate: Gate, ops: pit.Engine) -> None:
    (set_now,) = ops.set_limit("size", {"max_quantity": 5}, reason="a short while", lasts_s=0.3)
    assert set_now.until_wall_ns == set_now.since_wall_ns + 300_000_000
    gate.pass_time(0.4)
    until(lambda: is_taken(engine, gate, 600), "the configured limit to hold again")
    assert ops.limit_overrides() == ()


def test_an_end_may_be_a_moment_and_wants_its_time_zone(gate: Gate, ops: pit.Engine) -> None:
    (now,) = ops.set_limit("size", {"max_quantity": 5}, reason="what time is it?")
    moment = datetime.fromtimestamp(now.since_wall_ns / 1e9, UTC) + timedelta(hours=2)
    (set_now,) = ops.set_limit("size", {"max_quantity": 5}, reason="until then", until=moment)
    assert set_now.until_wall_ns == round(moment.timestamp() * 1e6) * 1_000
    with pytest.raises(pit.InvalidInput, match="time zone"):
        ops.set_limit("size", {"max_quantity": 5}, reason="until then", until=moment.replace(tzinfo=None))


@pytest.mark.parametrize(
    ("act", "trouble", "why"),
    [
        (lambda ops: ops.set_limit("siz", {"max_quantity": 5}, reason="x"), pit.UnknownId, "no limit is named siz"),
        (lambda ops: ops.set_limit("size", {"each": "client"}, reason="x"), pit.InvalidInput, "each can't be set"),
        (lambda ops: ops.set_limit("size", {"max_quantity": -5}, reason="x"), pit.InvalidInput, "positive"),
        (lambda ops: ops.set_limit("size", {"max_quantity": 5}, reason=" "), pit.InvalidInput, "reason"),
        (lambda ops: ops.set_limit("size", {"max_quantity": 5}, reason="x", lasts_s=0), pit.InvalidInput, "lasts_s"),
        (lambda ops: ops.clear_limit("size", reason="x"), pit.UnknownId, "nobody has set size"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_sets_nothing(
    ops: pit.Engine, act: Callable[[pit.Engine], object], trouble: type[pit.PitError], why: str
) -> None:
    with pytest.raises(trouble, match=why):
        act(ops)
    assert ops.limit_overrides() == ()


@pytest.mark.parametrize(
    "act",
    [
        lambda engine: engine.set_limit("size", {"max_quantity": 5}, reason="x"),
        lambda engine: engine.clear_limit("size", reason="x"),
        lambda engine: engine.limit_overrides(),
        lambda engine: engine.reload(reason="x"),
        lambda engine: engine.reload_dry_run(),
    ],
)
def test_only_an_operator_sets_limits(gate: Gate, act: Callable[[pit.Engine], object]) -> None:
    if not gate.checks_roles:
        pytest.skip("who runs the engine in its own process may do everything with it")
    with pytest.raises(pit.NotAuthorized, match=r'"(operate|observe)"'):
        act(gate.connect("mm1"))


def test_numbers_of_several_limits_are_set_together_or_not_at_all(gate: Gate) -> None:
    ops = gate.connect("ops")
    with pytest.raises(pit.UnknownId, match="nobody_has"):
        ops.set_limits({"trial": {"max_quantity": 7}, "nobody_has": {"max_orders": 1}}, reason="a test")
    assert not [each for each in ops.limit_overrides() if each.limit == "trial"]
    try:
        put = ops.set_limits({"trial": {"max_quantity": 7, "shadow": True}, "pace": {"max_orders": 3}}, reason="a test")
        assert {(each.limit, each.key, each.in_force) for each in put} == {
            ("trial", "max_quantity", "7"),
            ("trial", "shadow", "true"),
            ("pace", "max_orders", "3"),
        }
        assert [each.bound for each in ops.limits() if each.limit == "trial"] == [7]
    finally:
        for name in ("trial", "pace"):
            ops.clear_limit(name, reason="a test")
