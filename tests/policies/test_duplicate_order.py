"""duplicate_order: what counts as the same, for how long, and how little is remembered."""

from __future__ import annotations

from typing import Any

import pytest
from builders import BTC, Core, fill, order, report

from pitd.core import entry as e
from pitd.core import windows

ONCE_MORE = "max_repeats = 1"


def gate(limit: str = ONCE_MORE, more: str = "") -> Core:
    return Core(f'{more}\n[limits]\nagain = {{ control = "duplicate_order", window = "2s", {limit} }}')


def passes_at(core: Core, now_s: float, client: str = "mm1", **fields: Any) -> bool:
    core.now_ns = 10**12 + round(now_s * 1e9)
    return isinstance(core.check(order(**fields), client=client), e.Accepted)


@pytest.mark.parametrize(
    ("limit", "at", "passes"),
    [
        (ONCE_MORE, (0.0, 0.5, 1.0), (True, True, False)),
        (ONCE_MORE, (0.0, 0.5, 1.0, 2.5), (True, True, False, True)),
        (ONCE_MORE, (0.0, 0.5, 1.0, 2.499999999), (True, True, False, False)),
        (ONCE_MORE, (0.0, 0.0, 2.0), (True, True, True)),
        (ONCE_MORE, (0.0, 0.0, 1.999999999), (True, True, False)),
        ("max_repeats = 0", (0.0, 1.0, 2.0, 4.0), (True, False, False, True)),
        ("max_repeats = 3", (0.0, 0.1, 0.2, 0.3, 0.4), (True, True, True, True, False)),
    ],
)
def test_the_table(limit: str, at: tuple[float, ...], passes: tuple[bool, ...]) -> None:
    core = gate(limit)
    assert tuple(passes_at(core, now_s) for now_s in at) == passes


@pytest.mark.parametrize(
    "other",
    [
        {"quantity": "11"},
        {"price": "100.01"},
        {"price": None},
        {"side": "sell"},
        {"instrument": BTC},
        {"volume": "10"},
        {"account": "beta"},
        {"client": "mm2"},
    ],
    ids=str,
)
def test_another_content_is_another_order(other: dict[str, Any]) -> None:
    core = gate("max_repeats = 0")
    assert passes_at(core, 0)
    assert not passes_at(core, 0)
    assert passes_at(core, 0, **other)


@pytest.mark.parametrize("same", [{"id": "other"}, {"quantity": "10.00"}, {"price": "100.0"}], ids=str)
def test_another_id_or_another_zero_is_the_same_order(same: dict[str, Any]) -> None:
    core = gate("max_repeats = 0")
    assert passes_at(core, 0)
    assert not passes_at(core, 0, **same)


def test_the_same_order_under_the_same_id_gets_its_first_answer_and_counts_once() -> None:
    core = gate("max_repeats = 0")
    assert [passes_at(core, 0, id="o1") for _ in range(3)] == [True] * 3


@pytest.mark.parametrize(
    ("counts_by", "first", "second", "passes"),
    [
        ('each = "account"', {"client": "mm1"}, {"client": "mm2"}, False),
        ('each = "client"', {"account": "alpha"}, {"account": "beta"}, False),
        ('over = "firm"', {"account": "alpha", "client": "mm1"}, {"account": "beta", "client": "mm2"}, False),
        ('each = "account"', {"account": "alpha"}, {"account": "beta"}, True),
    ],
)
def test_whose_orders_are_compared_the_limit_says(
    counts_by: str, first: dict[str, Any], second: dict[str, Any], passes: bool
) -> None:
    core = gate(f"max_repeats = 0, {counts_by}")
    assert passes_at(core, 0, **first)
    assert passes_at(core, 0, **second) is passes


def end(core: Core, how: str, id: int) -> None:
    match how:
        case "rollback":
            core.rollback(id)
        case "fill":
            core.report(fill("o1", 10))
        case "cancel":
            core.report(report("cancelled", order_id="o1"))
        case "expiry":
            core.advance(1.5)
            core.end_leases()


@pytest.mark.parametrize("how", ["rollback", "fill", "cancel", "expiry"])
def test_it_stays_the_same_order_whatever_became_of_the_first(how: str) -> None:
    core = gate("max_repeats = 0")
    held = core.check(order(id="o1"), lease_s=1)
    end(core, how, held.reservation_id)
    assert core.state(held.reservation_id) in ("rolled_back", "closed")
    assert core.check(order()).rejected.code == "RateLimitExceeded"


@pytest.mark.parametrize("at", [(0.0, 0.5, 1.0), (0.0, 0.5, 1.0, 1.9), (0.0, 0.0, 0.0), (0.0, 1.9, 1.9)])
@pytest.mark.parametrize("most", [0, 1, 2])
def test_retry_after_s_is_when_it_passes_and_not_a_moment_earlier(at: tuple[float, ...], most: int) -> None:
    for shift_ns, passes in ((-1, False), (0, True)):
        core = gate(f"max_repeats = {most}")
        for now_s in (*at, at[-1]):
            core.now_ns = 10**12 + round(now_s * 1e9)
            reply = core.check(order())
        core.now_ns += round(reply.rejected.retry_after_s * 1e9) + shift_ns
        assert isinstance(core.check(order()), e.Accepted) is passes


def test_the_reject_carries_its_numbers() -> None:
    core = gate()
    for _ in range(2):
        core.check(order())
    no = core.check(order()).rejected
    assert (no.code, no.policy, no.limit, no.scope) == (
        "RateLimitExceeded",
        "duplicate_order",
        "again",
        "account alpha, client mm1",
    )
    assert (no.bound, no.used, no.requested, no.retry_after_s) == (1, 1, 1, 2)
    assert "buy 10 AAPL/USD at 100 again, limit 1 repeats in 2 s" in no.reason


def test_a_loop_does_not_get_through_by_trying_on() -> None:
    core = gate()
    assert [passes_at(core, n / 4) for n in range(40)] == [True, True] + [False] * 38


def test_what_has_left_the_window_is_forgotten() -> None:
    core = gate()
    for n in range(20):
        assert passes_at(core, n, price=f"{n + 1}")
    assert len(core.engine.policies["duplicate_order"].save()["again"]) <= 3


def test_a_flood_of_different_orders_is_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "MOST_KEPT", 10)
    core = gate("max_repeats = 0")
    for n in range(50):
        assert passes_at(core, 0, price=f"{n + 1}")
    assert len(core.engine.policies["duplicate_order"].save()["again"]) == 10
    assert not passes_at(core, 0, price="41")
    assert passes_at(core, 0, price="40")


@pytest.mark.parametrize("way", ["rows", "snapshot"])
def test_it_goes_on_counting_after_a_restart(way: str) -> None:
    core = gate()
    assert passes_at(core, 0) and passes_at(core, 0.5)
    again = core.again(way)
    assert not passes_at(again, 1)
    assert passes_at(again, 2.5)


def test_a_changed_number_keeps_what_was_counted() -> None:
    core = gate()
    core.check(order())
    core.set_limit("again", {"max_repeats": "0"})
    assert core.check(order()).rejected.bound == 0
