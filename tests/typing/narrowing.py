"""Answers narrow under a strict type checker. Not run: the gate checks the types, and an unused ignore is an error."""

from __future__ import annotations

from decimal import Decimal
from typing import assert_type

import pit


def by_truth(engine: pit.Engine, order: pit.Order) -> None:
    request = engine.start_pre_trade(order)
    assert_type(request, pit.DeferredRequest | pit.Rejected)
    if not request:
        assert_type(request, pit.Rejected)
        return
    assert_type(request, pit.DeferredRequest)
    held = request.execute(lease_s=5)
    assert_type(held, pit.Reservation | pit.Rejected)
    if held:
        assert_type(held, pit.Reservation)
        held.commit(venue_order_id="v1")
    else:
        assert_type(held, pit.Rejected)
        assert_type(held.code, pit.RejectCode)
        assert_type(held.retry_after_s, float | None)


def by_ok(engine: pit.Engine, order: pit.Order) -> None:
    request = engine.start_pre_trade(order)
    if not request.ok:
        assert_type(request, pit.Rejected)
        return
    assert_type(request, pit.DeferredRequest)


def a_reservation_by_ok(engine: pit.Engine, order: pit.Order) -> None:
    held = engine.execute_pre_trade(order, sent=True)
    if held.ok:
        assert_type(held, pit.Reservation)
        return
    assert_type(held, pit.Rejected)
    assert_type(held.reason, str)


def a_last_check_before_the_venue(held: pit.Reservation) -> None:
    stands = held.mark_sent()
    if not stands:
        assert_type(stands, pit.Rejected)
        return
    assert_type(stands, pit.Reservation)


def a_forgotten_check_does_not_pass(engine: pit.Engine, order: pit.Order) -> None:
    engine.execute_pre_trade(order).commit()  # type: ignore[union-attr]
    engine.start_pre_trade(order).execute()  # type: ignore[union-attr]


def a_no_has_nothing_to_settle(no: pit.Rejected) -> None:
    no.commit()  # type: ignore[attr-defined]
    no.execute()  # type: ignore[attr-defined]
    no.rollback()  # type: ignore[attr-defined]


def a_report_is_applied_or_raises(engine: pit.Engine, report: pit.ExecutionReport) -> None:
    result = engine.apply_execution_report(report)
    assert_type(result, pit.ReportResult)
    assert_type(result.open_quantity, Decimal | None)
    assert_type(result.blocks, tuple[pit.Block, ...])
