"""A shadow limit refuses nothing, and what it would have refused is told with every answer."""

from __future__ import annotations

from conformance.gates import TRIED, Gate

import pit


def test_what_a_shadow_would_refuse_is_taken_and_told(engine: pit.Engine, gate: Gate) -> None:
    small, large = gate.order(instrument=TRIED, quantity=5), gate.order(instrument=TRIED, quantity=6)
    held = engine.execute_pre_trade(small)
    assert isinstance(held, pit.Reservation) and held.shadow_rejects == ()
    held = engine.execute_pre_trade(large)
    assert isinstance(held, pit.Reservation)
    assert [(no.limit, no.code) for no in held.shadow_rejects] == [("trial", pit.RejectCode.ORDER_QTY_EXCEEDS_LIMIT)]


def test_a_deferred_request_a_refusal_and_a_dry_run_tell_it_too(engine: pit.Engine, gate: Gate) -> None:
    large = gate.order(instrument=TRIED, quantity=6)
    would = engine.execute_pre_trade_dry_run(large)
    assert isinstance(would, pit.DryRun) and [no.limit for no in would.shadow_rejects] == ["trial"]
    small = gate.order(instrument=TRIED, quantity=5)
    held = engine.execute_pre_trade(small)
    assert isinstance(held, pit.Reservation)
    held.commit()
    would = engine.modify_pre_trade(small.account, small.id, quantity=6)
    assert isinstance(would, pit.Reservation) and [no.limit for no in would.shadow_rejects] == ["trial"]
    request = engine.start_pre_trade(large)
    assert isinstance(request, pit.DeferredRequest) and [no.limit for no in request.shadow_rejects] == ["trial"]
    no = engine.execute_pre_trade(gate.order(instrument=TRIED, quantity=2000))
    assert isinstance(no, pit.Rejected)
    assert ([each.limit for each in no.rejects], [each.limit for each in no.shadow_rejects]) == (["size"], ["trial"])
