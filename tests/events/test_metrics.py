"""What the daemon counts of itself: each thing once, under names that are few."""

from __future__ import annotations

from builders import Local, fill, order

import pit
from pit import wire
from pitd.metrics import Histogram

LIMITS = """
[limits]
rate = { control = "rate_limit", each = "account", max_orders = 100, window = "1s" }
size = { control = "order_size_limit", each = "account", settlement = "USD", max_quantity = "500" }
open_usd = { control = "open_order_notional", each = "account", settlement = "USD", max_notional = "50000" }
"""


def told(local: Local) -> wire.MetricsAre:
    reply = local.engine.ask(wire.AskMetrics())
    assert isinstance(reply, wire.MetricsAre)
    return reply


def check(local: Local, **fields: object) -> pit.Reservation:
    held = local.engine.execute_pre_trade(order(**fields))
    assert isinstance(held, pit.Reservation)
    return held


def test_commands_are_counted_by_kind_and_what_the_pipeline_said_by_control_and_code() -> None:
    local = Local(LIMITS)
    check(local, id="o1").commit()
    assert not local.engine.execute_pre_trade(order(quantity="501"))
    assert not local.engine.execute_pre_trade(order(quantity="502"))
    metrics = told(local)
    assert dict(metrics.commands) == {"CheckOrder": 3, "Commit": 1}
    assert metrics.accepted == 1
    rejects = {(each.control, each.code): each.count for each in metrics.rejects}
    assert rejects == {("order_size_limit", "OrderQtyExceedsLimit"): 2}


def test_ends_that_nobody_asked_for_are_counted_apart_from_those_that_somebody_did() -> None:
    local = Local(LIMITS)
    check(local, id="lost")
    local.advance(6)
    check(local, id="filled").commit()
    local.engine.apply_execution_report(fill("filled", "10"))
    check(local, id="taken back").rollback()
    metrics = told(local)
    assert dict(metrics.lapses) == {"lease": 1}
    assert dict(metrics.ends) == {"filled": 1, "owner": 1}


def test_a_request_that_is_executed_is_no_end() -> None:
    local = Local(LIMITS)
    request = local.engine.start_pre_trade(order())
    assert isinstance(request, pit.DeferredRequest)
    held = request.execute()
    assert held
    assert told(local).lapses == told(local).ends == ()


def test_metrics_are_told_beside_the_status_of_the_same_moment() -> None:
    local = Local(LIMITS)
    held = check(local)
    metrics = told(local)
    assert held and metrics.status.open_orders == 1 and metrics.status.seq == metrics.entries


def test_a_bucket_holds_what_took_up_to_its_bound_and_the_last_one_the_rest() -> None:
    histogram = Histogram((0.001, 0.1))
    for seconds in (0.0005, 0.001, 0.05, 7.0):
        histogram.observe(seconds)
    histogram.observe(0.2, 3)
    assert histogram.told().counts == (2, 1, 4)
    assert abs(histogram.told().sum_s - 7.6515) < 1e-9
