"""A person's word on what accounts have, hold and have made: all of it or nothing, once, and as lasting as history."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from builders import AAPL, INSTRUMENTS, Core, fill, order

import pit
from pitd.core import entry as e

SETTINGS = f"""
{INSTRUMENTS}
[accounts.alpha]
group = "eq"
[accounts.beta]
group = "eq"
[limits]
own = {{ control = "pnl_kill_switch", each = "account", settlement = "USD", max_loss = "100", initial_pnl = "-10" }}
eq = {{ control = "pnl_kill_switch", over = {{ group = "eq" }}, settlement = "USD", max_loss = "150" }}
"""


def cash(**words: Any) -> pit.BalanceAdjustment:
    return pit.BalanceAdjustment(**({"account": "alpha", "asset": "USD"} | words))


def units(**words: Any) -> pit.PositionAdjustment:
    return pit.PositionAdjustment(**({"account": "alpha", "instrument": AAPL} | words))


def made(**words: Any) -> pit.PnlAdjustment:
    return pit.PnlAdjustment(**({"account": "alpha", "settlement": "USD"} | words))


def has(core: Core, asset: str = "USD", account: str = "alpha") -> Decimal:
    return core.engine.balances.of(account, asset)


def pnl(core: Core, account: str = "alpha") -> Decimal:
    return core.engine.policies["pnl_kill_switch"].pnl(account, "USD")  # type: ignore[attr-defined]


@pytest.fixture
def core() -> Core:
    return Core(SETTINGS)


def test_everything_is_set_and_moved_at_once(core: Core) -> None:
    core.report(fill("g1", 10, 100, instrument=AAPL, side="buy"))
    reply = core.adjust(
        cash(set_to="1000.50"), cash(asset="BTC", move_by="-0.25"), units(set_to="4", cost="390"), made(set_to="-60")
    )
    assert isinstance(reply, e.Adjusted) and reply.result.changed == 4
    assert (has(core), has(core, "BTC")) == (Decimal("1000.5"), Decimal("-0.25"))
    held = core.engine.positions.of("alpha", "AAPL/USD")
    assert (held.quantity, held.cost, held.realised) == (4, 390, 0)
    assert pnl(core) == -60
    core.adjust(cash(move_by="0.5"), units(move_by="-6", cost="-600"), made(move_by="-1.5"))
    held = core.engine.positions.of("alpha", "AAPL/USD")
    assert (has(core), held.quantity, held.cost, pnl(core)) == (1001, -2, -210, Decimal("-61.5"))


@pytest.mark.parametrize(
    ("instrument", "many", "price", "cost"),
    [("ESZ6", "3", "4800.25", "720037.5"), ("XBT", "-100", "50000", "0.2"), (AAPL, "-2", "10", "-20")],
)
def test_an_average_price_comes_to_the_cost_that_fills_at_it_would_have(
    core: Core, instrument: Any, many: str, price: str, cost: str
) -> None:
    core.adjust(units(instrument=instrument, set_to=many, price=price))
    assert core.engine.positions.of("alpha", str(instrument)).cost == Decimal(cost)


def test_a_position_moved_to_nothing_costs_nothing(core: Core) -> None:
    core.adjust(units(set_to=10, cost="1000.000000001"))
    core.adjust(units(move_by=-10, cost=-1000))
    assert core.engine.positions.of("alpha", "AAPL/USD").cost == 0


@pytest.mark.parametrize(
    ("part", "why"),
    [
        (units(instrument="NONE", set_to=0), "NONE is not declared"),
        (cash(asset="EUR", set_to=1, expected="2"), "has 0 EUR, and not 2"),
        (units(set_to=1, price=1, expected="5"), "holds 0 AAPL/USD, and not 5"),
        (cash(set_to=7), "balance USD of account alpha is named twice"),
    ],
)
def test_where_one_part_can_not_be_nothing_is_done(core: Core, part: Any, why: str) -> None:
    reply = core.adjust(cash(set_to="1000"), units(instrument="ESZ6", set_to=1, price=1), made(set_to=-90), part)
    assert isinstance(reply, e.Failed) and reply.failure is e.Failure.INVALID_INPUT and why in reply.message
    assert core.rows[-1].effects == () and not core.engine.balances.keeps("alpha")


def test_it_needs_a_reason_and_something_to_adjust(core: Core) -> None:
    assert core.adjust(cash(set_to=1), reason=" ").failure is e.Failure.INVALID_INPUT
    assert core.adjust().failure is e.Failure.INVALID_INPUT


def test_the_same_id_of_the_same_client_is_carried_out_once(core: Core) -> None:
    core.adjust(cash(move_by="10"), id="d1")
    again = core.adjust(cash(move_by="10.00"), id="d1", reason="said again")
    assert again.result == pit.AdjustmentResult(changed=1, already_applied=True) and has(core) == 10
    other = core.adjust(cash(move_by="11"), id="d1")
    assert isinstance(other, e.Failed) and "use a new id" in other.message and has(core) == 10
    core.adjust(cash(move_by="10"), id="d1", client="clerk")
    assert has(core) == 20


@pytest.mark.parametrize("way", ["rows", "snapshot"])
def test_a_restart_forgets_nothing_of_it(core: Core, way: str) -> None:
    core.adjust(cash(move_by="10.10"), units(set_to=3, price="9.5"), made(move_by=-5), id="d1")
    core.adjust(cash(asset="EUR", set_to=0, account="beta"))
    later = core.again(way)
    assert later.adjust(cash(move_by="10.1"), units(set_to=3, price="9.5"), made(move_by=-5), id="d1").result
    assert has(later) == Decimal("10.1") and later.engine.balances.keeps("beta") and pnl(later) == -15


def test_only_so_many_ids_are_remembered() -> None:
    core = Core(SETTINGS, adjustments_kept=2)
    for id in ("d1", "d2", "d3"):
        core.adjust(cash(move_by=1), id=id)
    assert core.adjust(cash(move_by=1), id="d2").result.already_applied
    assert not core.adjust(cash(move_by=1), id="d1").result.already_applied


def test_too_many_parts_are_refused_as_a_whole(core: Core) -> None:
    parts = [cash(asset=f"X{n}", set_to=1) for n in range(5_001)]
    assert core.adjust(*parts).failure is e.Failure.CAPACITY_EXCEEDED
    assert core.adjust(*parts[1:]).result.changed == 5_000


def test_a_loss_that_is_told_trips_what_a_reported_one_would(core: Core) -> None:
    """A first P&L brings the account's initial one along, unless it is set."""
    assert core.adjust(made(set_to="-99.99")).result.blocks == ()
    tripped = core.adjust(made(move_by="-0.01")).result.blocks
    assert [block.limit for block in tripped] == ["own"]
    assert core.check(order()).rejected.code is pit.RejectCode.PNL_KILL_SWITCH_TRIGGERED


def test_what_two_accounts_lost_adds_up_where_a_limit_is_over_both(core: Core) -> None:
    reply = core.adjust(made(set_to=-80), made(account="beta", set_to=-75))
    assert [block.limit for block in reply.result.blocks] == ["eq"]


def test_fills_and_fees_move_what_an_account_has_to_the_last_digit(core: Core) -> None:
    core.fund(USD="1000", BTC="1")
    core.report(fill("g1", "3", "33.333333333", fee="0.000000001", instrument=AAPL, side="buy"))
    assert (has(core), has(core, "AAPL")) == (Decimal("900"), 3)
    core.report(fill("g2", "2.5", "40", fee="0.5", instrument=AAPL, side="sell"))
    assert (has(core), has(core, "AAPL")) == (Decimal("999.5"), Decimal("0.5"))
    core.report(fill("g2", "2.5", "40", fee="0.5", instrument=AAPL, side="sell", report_id="r-again"))
    core.report(fill("g2", "2.5", "40", fee="0.5", instrument=AAPL, side="sell", report_id="r-again"))
    assert has(core) == Decimal("1099") and has(core, "AAPL") == -2


def test_of_a_future_nothing_is_exchanged_but_its_profit_and_its_fees(core: Core) -> None:
    core.fund(USD="1000")
    core.report(fill("g1", "1", "4800", fee="2.5", instrument="ESZ6", side="buy"))
    core.report(fill("g2", "1", "4801", pnl="50", fee="2.5", instrument="ESZ6", side="sell"))
    assert has(core) == 1045 and has(core, "ES") == 0


def test_of_an_account_that_keeps_no_balances_fills_move_none(core: Core) -> None:
    core.fund("beta", USD="1")
    core.report(fill("g1", "1", "4800", fee="2.5", instrument=AAPL, side="buy"))
    assert core.engine.balances.accounts() == ["beta"]
    assert not any(isinstance(effect, e.BalancesMoved) for effect in core.rows[-1].effects)


# ---------------------------------------------------------------------------------------------- required imports

AWAITING = """
[calendar]
start_of_day = "17:00"
[accounts.alpha]
requires_positions = true
[accounts.beta]
requires_positions = true
start_of_day = "08:00"
"""


def test_an_account_that_requires_its_positions_trades_once_they_are_imported() -> None:
    core = Core(AWAITING)
    no = core.check(order()).rejected.rejects[0]
    assert (no.code, no.limit) == ("ReferenceDataUnavailable", "requires_positions")
    assert "pitctl positions import" in no.reason
    assert isinstance(core.check(order(account="gamma")), e.Accepted)
    core.adjust(units(set_to=0))
    assert isinstance(core.check(order()), e.Refused)
    core.adjust(imported=("alpha",))
    assert isinstance(core.check(order()), e.Accepted)
    assert isinstance(core.check(order(account="beta")), e.Refused)


def test_a_new_day_of_the_account_wants_them_again_and_another_ones_does_not() -> None:
    core = Core(AWAITING)
    core.adjust(imported=("alpha", "beta"))
    core.begin_day("2026-11-24", "account beta")
    assert "for 2026-11-24" in core.check(order(account="beta")).rejected.reason
    held = core.check(order())
    core.begin_day("2026-11-24")
    for each in (core, core.again("rows"), core.again("snapshot")):
        assert isinstance(each.mark_sent(held.reservation_id), e.Refused)
        assert isinstance(each.rollback(held.reservation_id), e.Stands)
