"""message_rate: cancels and modifies are counted as they go out, and a cancel is never kept from bringing risk down."""

from __future__ import annotations

from typing import Any

import pytest
from builders import Core, order, report

from pitd.core import entry as e

TWO = '[limits]\nmsgs = { control = "message_rate", each = "account", max_messages = 2, window = "1s" }\n'


def core_with(settings: str = TWO, orders: int = 4) -> Core:
    core = Core(settings)
    for n in range(orders):
        core.working(order(id=f"o{n}"))
    return core


def cancel(core: Core, id: str = "o0") -> Any:
    return core.command(e.CancelOrder("alpha", id), "mm1")


def test_the_example_of_its_docstring():
    core = core_with()
    assert isinstance(cancel(core), e.CancelCleared)
    core.advance(0.1)
    assert isinstance(cancel(core), e.CancelCleared)
    core.advance(0.1)
    refused = core.modify("o1", quantity=12)
    assert (refused.rejected.code, refused.rejected.limit, refused.rejected.used) == ("RateLimitExceeded", "msgs", 2)
    core.halt("account alpha")
    core.advance(0.1)
    assert isinstance(cancel(core), e.CancelCleared)
    core.let_go("account alpha")
    core.advance(0.7)
    refused = cancel(core)
    assert refused.rejected.retry_after_s == pytest.approx(0.3)
    core.advance(0.4)
    assert isinstance(cancel(core), e.CancelCleared)


def test_exactly_at_the_limit_passes_and_one_more_does_not():
    core = core_with()
    assert isinstance(core.modify("o0", quantity=12), e.Modified)
    assert isinstance(core.modify("o1", quantity=12), e.Modified)
    assert isinstance(core.modify("o2", quantity=12), e.Refused)


def test_new_orders_are_not_counted_unless_it_says_so():
    assert isinstance(core_with().check(order()), e.Accepted)
    core = core_with(TWO.replace("window", "orders = true, window"), orders=2)
    assert core.check(order()).rejected.limit == "msgs"
    assert isinstance(cancel(core), e.Refused)


def test_rate_limit_does_not_count_modifies():
    core = core_with('[limits]\npace = { control = "rate_limit", each = "account", max_orders = 1, window = "1s" }', 1)
    for _ in range(3):
        modify = core.modify("o0", quantity=12)
        core.rollback(modify.modify_id)


@pytest.mark.parametrize(
    "stop",
    [
        lambda core: core.halt("firm"),
        lambda core: core.halt("instrument AAPL/USD"),
        lambda core: core.block("account alpha"),
        lambda core: core.block("client mm1"),
    ],
)
def test_a_cancel_is_never_refused_while_new_risk_is_stopped(stop):
    core = core_with()
    stop(core)
    for n in (0, 1, 2, 3, 0):
        assert isinstance(cancel(core, f"o{n}"), e.CancelCleared)


def test_cancels_may_be_counted_alone():
    core = core_with(TWO.replace("window", 'cancels = "count", window'))
    for n in (0, 1, 2):
        assert isinstance(cancel(core, f"o{n}"), e.CancelCleared)
    assert isinstance(core.modify("o3", quantity=12), e.Refused)


def test_a_cancel_of_what_is_not_there_is_not_counted():
    core = core_with(orders=1)
    core.check(order(id="held"))
    assert cancel(core, "never").failure == "UnknownId"
    assert cancel(core, "held").failure == "InvalidInput"
    core.report(report("cancelled", order_id="o0"))
    assert cancel(core, "o0").failure == "AlreadyFinalized"
    core.working(order(id="o9"))
    assert isinstance(cancel(core, "o9"), e.CancelCleared)
    assert isinstance(cancel(core, "o9"), e.CancelCleared)


def test_a_cancel_is_noted_until_the_venue_refuses_it():
    core = core_with(orders=1)
    cancel(core)
    record = core.engine.orders.known_as("alpha", "o0")
    assert (record.cancel_asked_by, record.cancel_asked_ns) == ("mm1", core.now_ns)
    for way in ("rows", "snapshot"):
        assert core.again(way).engine.orders.known_as("alpha", "o0").cancel_asked_by == "mm1"
    core.report(report("cancel_rejected", order_id="o0"))
    assert (record.cancel_asked_by, record.cancel_asked_ns, record.state) == ("", 0, "working")


@pytest.mark.parametrize("way", ["rows", "snapshot"])
def test_what_was_counted_is_counted_after_a_restart(way):
    core = core_with()
    cancel(core)
    cancel(core, "o1")
    other = core.again(way)
    assert isinstance(cancel(other, "o2"), e.Refused)


def test_its_number_is_set_at_run_time():
    core = core_with()
    core.set_limit("msgs", {"max_messages": "1"})
    cancel(core)
    assert isinstance(cancel(core), e.Refused)
