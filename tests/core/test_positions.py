"""What an account holds, what it cost and what it made: from fills alone, exact, and known again after a restart."""

from __future__ import annotations

import decimal
from decimal import Decimal
from typing import Any

import pytest
from builders import AAPL, Core, fill, order, report
from hypothesis import given
from hypothesis import strategies as st

import pit
from pitd.core import entry as e
from pitd.core import snapshot
from pitd.core.engine import exact_context
from pitd.core.instruments import Listed
from pitd.core.positions import FLAT, Position, Positions, filled
from pitd.core.reading import Reader, encode

STOCK = Listed(symbol="AAPL/USD", underlying="AAPL", settlement="USD")
FUTURE = Listed(symbol="ESZ6", underlying="ES", settlement="USD", kind=pit.Kind.LINEAR, multiplier=Decimal(50))
SWAP = Listed(symbol="BTCUSD", underlying="BTC", settlement="BTC", kind=pit.Kind.INVERSE, multiplier=Decimal(100))
BUY, SELL = pit.Side.BUY, pit.Side.SELL


def traded(listed: Listed, *fills: tuple[pit.Side, str, str | None]) -> Position:
    """A position after those fills: side, quantity, price."""
    held = Positions()
    with decimal.localcontext(exact_context()):
        for side, quantity, price in fills:
            before = held.of("alpha", listed.symbol)
            number = None if price is None else Decimal(price)
            held.change("alpha", listed.symbol, filled(before, listed, side, Decimal(quantity), number), Decimal(0))
    return held.of("alpha", listed.symbol)


def position(quantity: str, cost: str, realised: str = "0") -> Position:
    return Position(Decimal(quantity), Decimal(cost), Decimal(realised))


@pytest.mark.parametrize(
    ("listed", "fills", "wanted"),
    [
        (STOCK, [(BUY, "10", "100")], position("10", "1000")),
        (STOCK, [(BUY, "10", "100"), (BUY, "5", "90")], position("15", "1450")),
        (STOCK, [(BUY, "10", "100"), (SELL, "4", "110")], position("6", "600", "40")),
        (STOCK, [(BUY, "10", "100"), (SELL, "10", "95")], position("0", "0", "-50")),
        (STOCK, [(BUY, "10", "100"), (SELL, "15", "110")], position("-5", "-550", "100")),
        (STOCK, [(SELL, "5", "100"), (BUY, "3", "90")], position("-2", "-200", "30")),
        (STOCK, [(SELL, "5", "100"), (BUY, "8", "90")], position("3", "270", "50")),
        (STOCK, [(BUY, "3", "100"), (BUY, "4", "101"), (SELL, "7", "100")], position("0", "0", "-4")),
        (FUTURE, [(BUY, "2", "4800"), (SELL, "1", "4810.25")], position("1", "240000", "512.5")),
        (SWAP, [(BUY, "100", "50000"), (SELL, "100", "40000")], position("0", "0", "-0.05")),
        (SWAP, [(SELL, "100", "50000"), (BUY, "100", "40000")], position("0", "0", "0.05")),
        (STOCK, [(BUY, "10", None)], position("10", "0")),
        (STOCK, [(BUY, "10", "100"), (SELL, "4", None)], position("6", "600")),
    ],
)
def test_fills_come_to(listed: Listed, fills: list[Any], wanted: Position) -> None:
    assert traded(listed, *fills) == wanted


def test_a_share_that_never_ends_is_rounded_and_nothing_of_it_stays_behind() -> None:
    third = traded(STOCK, (BUY, "3", "33.333333333"), (BUY, "4", "1"), (SELL, "1", "10"))
    assert third.cost == Decimal("103.999999999") - Decimal("14.857142857000000000")
    flat = traded(STOCK, (BUY, "3", "33.333333333"), (BUY, "4", "1"), (SELL, "1", "10"), (SELL, "6", "10"))
    assert (flat.quantity, flat.cost) == (0, 0)
    assert flat.realised == 70 - Decimal("103.999999999"), "all that came in, less all that went out"


prices = st.integers(1, 10**9).map(lambda n: Decimal(n).scaleb(-4))
fills = st.lists(st.tuples(st.sampled_from([BUY, SELL]), st.integers(1, 10**6).map(Decimal), prices), max_size=30)


@given(fills=fills, listed=st.sampled_from([STOCK, FUTURE]))
def test_what_was_made_and_what_is_held_is_all_the_money_that_moved(fills: list[Any], listed: Listed) -> None:
    held = Position()
    moved = Decimal(0)
    with decimal.localcontext(exact_context()):
        book = Positions()
        for side, quantity, price in fills:
            book.change("a", "x", filled(book.of("a", "x"), listed, side, quantity, price), Decimal(0))
            moved += (-1 if side is BUY else 1) * quantity * price * listed.multiplier
            held = book.of("a", "x")
            assert held.realised - held.cost == moved
            assert (held.quantity == 0) <= (held.cost == 0)
        assert held.quantity == sum((q if side is BUY else -q for side, q, _ in fills), Decimal(0))


# ---------------------------------------------------------------------------------------------- in the engine


def bought(core: Core, quantity: str = "10", price: str = "100") -> None:
    wanted = order(quantity=quantity, price=price)
    held = core.check(wanted)
    assert isinstance(held, e.Accepted)
    core.commit(held.reservation_id)
    core.report(fill(wanted.id, quantity, price=price, fee="0.5"))


def of(core: Core, account: str = "alpha") -> Position:
    return core.engine.positions.of(account, "AAPL/USD")


def test_a_fill_moves_the_position_once_however_often_it_is_told() -> None:
    core = Core("")
    core.check(order(id="o1", quantity=10))
    told = fill("o1", "4", price="100", fee="0.25")
    for _ in range(3):
        core.report(told)
    assert of(core) == Position(Decimal(4), Decimal(400), Decimal(0), Decimal("0.25"))


def test_a_fill_of_an_unknown_order_moves_the_position_of_the_side_it_names() -> None:
    core = Core("")
    core.report(fill("ghost", "3", price="10", instrument=AAPL, side="sell"))
    assert of(core).quantity == -3
    flags = core.report(fill("ghost", "3", price="10", instrument=AAPL, report_id="r9")).result.flags
    assert of(core).quantity == -3 and "unknown_side" in flags


def test_a_fee_without_a_fill_is_a_cost_all_the_same() -> None:
    core = Core("")
    core.check(order(id="o1"))
    core.report(report("cancelled", order_id="o1", fee="1.5"))
    assert of(core) == Position(fees=Decimal("1.5"))


def test_a_fill_without_a_price_is_booked_at_the_orders_own_and_flagged() -> None:
    core = Core("")
    core.check(order(id="o1", quantity=10, price="99"))
    said = core.report(report("fill", order_id="o1", quantity="10")).result
    assert "unpriced_fill" in said.flags
    assert of(core).cost == 990


def test_a_fill_that_can_not_be_booked_exactly_changes_nothing() -> None:
    core = Core("")
    core.check(order(id="o1", quantity="0.000000001", price="0.000000001"))
    core.report(fill("o1", "0.000000001", price="0.000000001"))
    before = core.engine.positions.save(), core.engine.orders.find(1), core.rows[-1].entry.seq
    big = "999999999999999999"
    no = core.report(fill("o1", big, price=big, report_id="r2"))
    assert isinstance(no, e.Failed) and "exact" in no.message
    assert core.rows[-1].effects == ()
    assert (core.engine.positions.save(), core.engine.orders.find(1), core.rows[-1].entry.seq - 1) == before


@pytest.mark.parametrize("way", ["rows", "snapshot"])
def test_positions_and_what_is_on_the_way_come_back(way: str) -> None:
    core = Core("")
    bought(core)
    core.check(order(id="s1", side="sell", quantity=6))
    core.check(order(id="s2", side="sell", volume="100", quantity=None, price=None))
    other = Core("").engine
    with decimal.localcontext(exact_context()):
        if way == "rows":
            reader = Reader(other.policies)
            for row in core.rows:
                other.carry_out(reader.deed(encode(row)))
        else:
            snapshot.load(other, snapshot.decode(snapshot.encode(snapshot.take(core.engine))))
    assert other.positions.save() == core.engine.positions.save() != []
    assert other.positions._on_the_way == core.engine.positions._on_the_way != {}
    assert other.positions._unknown == core.engine.positions._unknown != {}


def test_a_volume_order_that_comes_to_more_units_than_any_order_may_have_may_trade_any_number() -> None:
    core = Core("")
    for _ in range(200):
        core.check(order(quantity=None, volume="999999999999999999", price="0.000000001"))
    assert core.engine.positions.on_the_way("alpha", "AAPL/USD", BUY) is None


def test_nothing_is_on_the_way_once_every_order_has_ended() -> None:
    core = Core("")
    held = core.check(order(id="o1", quantity=10))
    core.check(order(id="o2", quantity=5))
    core.check(order(id="o3", quantity=None, volume="100", price=None))
    core.report(fill("o2", "2", price="1"))
    assert core.engine.positions.on_the_way("alpha", "AAPL/USD", BUY) is None, "a volume order without a price is open"
    core.report(report("cancelled", order_id="o3"))
    assert core.engine.positions.on_the_way("alpha", "AAPL/USD", BUY) == 13
    core.rollback(held.reservation_id)
    core.report(fill("o2", "3", price="1"))
    assert core.engine.positions._on_the_way == {} == core.engine.positions._unknown
    assert core.engine.positions.of("nobody", "AAPL/USD") is FLAT


# ---------------------------------------------------------------------------------------------- reducing

TIGHT = """
[limits]
size = { control = "order_size_limit", each = "account", max_quantity = "5", max_notional = "500" }
open = { control = "open_order_notional", each = "account", settlement = "USD", max_notional = "500" }
"""


def long_ten() -> Core:
    """Ten held, though no order of more than five passes."""
    core = Core(TIGHT)
    for _ in range(2):
        bought(core, "5")
    return core


@pytest.mark.parametrize(
    ("fields", "passes"),
    [
        ({"quantity": 10}, True),
        ({"quantity": "10.000000001"}, False),
        ({"quantity": 10, "price": 99_999}, True),
        ({"quantity": 10, "price": None}, True),
        ({"quantity": 10, "side": "buy"}, False),
        ({"quantity": 10, "account": "beta"}, False),
        ({"quantity": 10, "instrument": pit.Instrument("MSFT", "USD")}, False),
        ({"quantity": None, "volume": 1000, "price": 100}, True),
        ({"quantity": None, "volume": "1000.01", "price": 100}, False),
        ({"quantity": None, "volume": 1000, "price": None}, False),
    ],
)
def test_no_size_or_exposure_limit_refuses_an_order_that_reduces(fields: dict[str, Any], passes: bool) -> None:
    core = long_ten()
    answer = core.check(order(**({"side": "sell", "price": 100} | fields)))
    assert isinstance(answer, e.Accepted) == passes


def test_ten_orders_that_would_each_reduce_it_do_not_go_through_zero() -> None:
    core = long_ten()
    answers = [core.check(order(side="sell", quantity=6, price=100)) for _ in range(10)]
    assert [isinstance(each, e.Accepted) for each in answers] == [True] + [False] * 9
    core.rollback(answers[0].reservation_id)
    assert isinstance(core.check(order(side="sell", quantity=10, price=100)), e.Accepted)


def test_an_order_that_reduces_is_counted_like_any_other() -> None:
    core = long_ten()
    core.check(order(side="sell", quantity=10, price=100))
    assert core.held(limit="open") == 1_000
    assert isinstance(core.check(order(quantity=1, price=1)), e.Refused)


def test_a_short_position_is_reduced_by_buying() -> None:
    core = Core(TIGHT)
    core.report(fill("ghost", "20", price="100", instrument=AAPL, side="sell"))
    assert isinstance(core.check(order(side="buy", quantity=20, price=100)), e.Accepted)
    assert isinstance(core.check(order(side="buy", quantity=6, price=100)), e.Refused)
