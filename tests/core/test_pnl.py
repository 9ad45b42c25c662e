"""P&L that is computed from fills: what counts, what is ignored, fees in any asset, and a model of 10,000 reports."""

from __future__ import annotations

import decimal
import random
from collections import defaultdict
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from typing import Any

import pytest
from builders import AAPL, INSTRUMENTS, Core, fill, money, order, report
from cases import amounts
from hypothesis import given
from hypothesis import strategies as st
from restarts import come_back

import pit
from pitd.core import entry as e
from pitd.core.engine import exact_context
from pitd.core.instruments import Listed
from pitd.core.positions import FLAT, Positions, filled

LOSS = """
[limits]
loss = { control = "pnl_kill_switch", each = "account", settlement = "USD", max_loss = "100" }
[gate]
uncovered = "allow"
"""
COMPUTED = f'[accounts.alpha]\npnl = "computed"\n{LOSS}'


def made(core: Core, asset: str = "USD", account: str = "alpha") -> Decimal:
    return core.engine.policies["pnl_kill_switch"].pnl(account, asset)


def trade(core: Core, side: str, quantity: str, price: str, **fields: Any) -> pit.ReportResult:
    return core.report(fill("ghost", quantity, price=price, side=side, instrument=AAPL, **fields)).result


def test_computed_p_and_l_is_what_fills_have_closed_less_their_fees() -> None:
    core = Core(COMPUTED)
    trade(core, "buy", "10", "100", fee="0.5")
    trade(core, "sell", "4", "110", fee="0.25")
    assert made(core) == Decimal("39.25")


def test_computed_p_and_l_trips_the_switch() -> None:
    core = Core(COMPUTED)
    trade(core, "buy", "10", "100")
    (block,) = trade(core, "sell", "10", "90").blocks
    assert block.scope == "account alpha" and not isinstance(core.check(order()), e.Accepted)


def test_what_a_report_tells_of_p_and_l_counts_for_nothing_where_it_is_computed_and_is_flagged() -> None:
    core = Core(COMPUTED)
    held = core.check(order(id="o1", quantity=10, price=100), sent=True)
    said = core.report(fill("o1", "10", price="100", pnl="-500")).result
    assert "pnl_ignored" in said.flags and "pnl_ignored" in core.flags(held.reservation_id)
    assert made(core) == 0
    assert "pnl_ignored" in core.report(money("ghost", pnl="7")).result.flags
    assert made(core) == 0


def test_where_it_is_reported_fills_alone_make_nothing() -> None:
    core = Core(COMPUTED)
    trade(core, "buy", "10", "100", account="beta")
    said = trade(core, "sell", "10", "50", account="beta", pnl="-20")
    assert made(core, account="beta") == -20 and "pnl_ignored" not in said.flags


def test_the_gate_says_it_for_every_account_that_does_not() -> None:
    core = Core(LOSS.replace("[gate]", '[accounts.beta]\npnl = "reported"\n[gate]\npnl = "computed"'))
    for account in ("alpha", "beta"):
        trade(core, "buy", "10", "100", account=account)
        trade(core, "sell", "10", "101", account=account)
    assert (made(core), made(core, account="beta")) == (10, 0)


def test_a_fee_in_another_asset_is_a_loss_of_that_asset_and_stays_beside_the_position() -> None:
    core = Core(COMPUTED)
    trade(core, "buy", "10", "100", fee="0.001", fee_asset="BNB")
    trade(core, "sell", "4", "110", fee="0.002", fee_asset="BNB")
    trade(core, "sell", "1", "110", fee="0.5", fee_asset="USD")
    held = core.engine.positions.of("alpha", "AAPL/USD")
    assert (held.fees, held.other_fees) == (Decimal("0.5"), (("BNB", Decimal("0.003")),))
    assert (made(core), made(core, "BNB")) == (Decimal("49.5"), Decimal("-0.003"))


def test_the_same_report_with_a_fee_in_another_asset_is_another_report() -> None:
    core = Core(COMPUTED)
    core.check(order(id="o1", quantity=10, price=100), sent=True)
    for asset, is_taken in ((None, True), (None, True), ("BNB", False)):
        said = core.report(fill("o1", "1", fee="0.1", fee_asset=asset, report_id="r1"))
        assert isinstance(said, e.Applied) == is_taken


def test_a_balance_that_is_kept_pays_the_fee_of_its_asset() -> None:
    core = Core(COMPUTED)
    core.adjust(pit.BalanceAdjustment(account="alpha", asset="BNB", set_to="1"))
    trade(core, "buy", "10", "100", fee="0.25", fee_asset="BNB")
    assert core.engine.balances.of("alpha", "BNB") == Decimal("0.75")


# ---------------------------------------------------------------------------------------------- taken back

STOCK = Listed(symbol="AAPL/USD", underlying="AAPL", settlement="USD")
SWAP = Listed(symbol="BTCUSD", underlying="BTC", settlement="BTC", kind=pit.Kind.INVERSE, multiplier=Decimal(100))
trades = st.lists(
    st.tuples(st.sampled_from(list(pit.Side)), st.integers(1, 10**6).map(Decimal), st.integers(1, 10**9).map(Decimal)),
    min_size=1,
    max_size=12,
)


def test_a_fill_that_the_venue_takes_back_takes_back_what_it_made_and_its_fee() -> None:
    core = Core(COMPUTED)
    trade(core, "buy", "10", "100")
    core.commit(core.check(order(id="o1", side="sell", quantity=4, price=110), sent=True).reservation_id)
    core.report(fill("o1", "4", price="110", fee="0.001", fee_asset="BNB", report_id="f1"))
    assert (made(core), made(core, "BNB")) == (40, Decimal("-0.001"))
    core.report(report("bust", order_id="o1", fill_id="f1"))
    held = core.engine.positions.of("alpha", "AAPL/USD")
    assert (held.quantity, held.cost, held.realised, held.other_fees) == (10, 1000, 0, ())
    assert (made(core), made(core, "BNB")) == (0, 0)


def test_a_fill_that_is_corrected_counts_as_it_is_told_now() -> None:
    core = Core(COMPUTED)
    trade(core, "buy", "10", "100")
    core.commit(core.check(order(id="o1", side="sell", quantity=4, price=110), sent=True).reservation_id)
    core.report(fill("o1", "4", price="110", report_id="f1"))
    core.report(report("correct", order_id="o1", fill_id="f1", quantity="4", price="105"))
    assert made(core) == 20


@given(trades=trades, listed=st.sampled_from([STOCK, SWAP]))
def test_realised_less_cost_is_the_money_moved_however_an_inverse_one_rounds(trades: list[Any], listed: Listed) -> None:
    with decimal.localcontext(exact_context()):
        book, moved = Positions(), Decimal(0)
        for side, quantity, price in trades:
            book.change("a", "x", filled(book.of("a", "x"), listed, side, quantity, price), Decimal(0))
            moved -= filled(FLAT, listed, side, quantity, price).cost
            held = book.of("a", "x")
            assert held.realised - held.cost == moved
            assert held.quantity or not held.cost


# ---------------------------------------------------------------------------------------------- a model

MODELLED = (
    INSTRUMENTS
    + """
[accounts.alpha]
pnl = "computed"
[accounts.beta]
pnl = "computed"
[gate]
uncovered = "allow"
[limits]
loss = { control = "pnl_kill_switch", over = "firm", settlement = "USD", max_loss = "1000000000" }
"""
)
TERMS = {AAPL: (1, False, "USD"), "ESZ6": (50, False, "USD"), "XBT": (1, True, "BTC")}


def rounded(number: Fraction) -> Fraction:
    """Half-even, to 18 decimals: the one rounding there is."""
    with decimal.localcontext(decimal.Context(prec=80)):
        quotient = (Decimal(number.numerator) / Decimal(number.denominator)).quantize(Decimal("1e-18"), ROUND_HALF_EVEN)
    return Fraction(quotient)


class Held:
    """A position as one would keep it on paper: what is held, and what it cost."""

    def __init__(self) -> None:
        self.units = self.cost = self.realised = self.moved = Fraction(0)

    def trade(self, signed: Fraction, price: Fraction, times: int, *, is_inverse: bool) -> Fraction:
        """What it makes."""

        def worth(units: Fraction) -> Fraction:
            return rounded(-units * times / price) if is_inverse else units * price * times

        self.moved -= worth(signed)
        if self.units * signed >= 0:
            self.cost += worth(signed)
            made = Fraction(0)
        elif abs(signed) < abs(self.units):
            share = rounded(self.cost * -signed / self.units)
            made = -worth(signed) - share
            self.cost -= share
        else:
            made = worth(self.units) - self.cost
            self.cost = worth(signed) + worth(self.units)
        self.units += signed
        self.realised += made
        return made


@pytest.mark.parametrize("count", amounts(10_000, quick=2_000))
def test_many_reports_come_to_what_a_model_on_paper_does(count: int) -> None:
    draw, core = random.Random(1), Core(MODELLED)
    multipliers = {listed.symbol: listed for listed in core.engine.instruments.declared()}
    held: dict[tuple[str, str], Held] = defaultdict(Held)
    pnl: dict[tuple[str, str], Fraction] = defaultdict(Fraction)
    fees: dict[tuple[str, str, str], Fraction] = defaultdict(Fraction)
    through_zero = 0
    for number in range(count):
        account, instrument = draw.choice(("alpha", "beta", "gamma")), draw.choice(list(TERMS))
        symbol = str(instrument)
        listed = multipliers.get(symbol)
        times = 1 if listed is None else int(listed.multiplier)
        is_inverse = listed is not None and listed.kind is pit.Kind.INVERSE
        asset = "USD" if listed is None else listed.settlement
        side = draw.choice(("buy", "sell"))
        quantity, price = draw.randint(1, 9), Decimal(draw.randint(1, 10**6)).scaleb(-2)
        fee, fee_asset = Decimal(draw.randint(-50, 200)).scaleb(-4), draw.choice((None, None, asset, "BNB"))
        told = Decimal(draw.choice((0, 0, draw.randint(-99, 99))))
        told_so = fill(
            f"g{number}",
            quantity,
            price=price,
            account=account,
            instrument=instrument,
            side=side,
            pnl=told,
            fee=fee,
            fee_asset=fee_asset,
        )
        for _ in range(draw.choice((1, 1, 1, 2))):  # told twice now and then
            assert isinstance(core.report(told_so), e.Applied)
        one = held[account, symbol]
        signed = Fraction(quantity if side == "buy" else -quantity)
        through_zero += one.units * (one.units + signed) < 0
        realised = one.trade(signed, Fraction(price), times, is_inverse=is_inverse)
        pnl[account, asset] += Fraction(told) if account == "gamma" else realised
        pnl[account, fee_asset or asset] -= Fraction(fee)
        fees[account, symbol, fee_asset or asset] += Fraction(fee)
        if number % 1_000 == 999:
            core = come_back(core, MODELLED, "snapshot")
            for (account, symbol), paper in held.items():
                kept = core.engine.positions.of(account, symbol)
                assert list(map(Fraction, (kept.quantity, kept.cost, kept.realised))) == [
                    paper.units,
                    paper.cost,
                    paper.realised,
                ]
                assert paper.realised - paper.cost == paper.moved
                asset = "USD" if symbol not in multipliers else multipliers[symbol].settlement
                assert Fraction(kept.fees) == fees[account, symbol, asset]
                assert Fraction(dict(kept.other_fees).get("BNB", 0)) == fees[account, symbol, "BNB"]
            for (account, asset), total in pnl.items():
                assert Fraction(made(core, asset, account)) == total
    assert through_zero > count // 100
