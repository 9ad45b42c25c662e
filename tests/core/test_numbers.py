"""Numbers: exact or refused, and one form for one value."""

from __future__ import annotations

import decimal
from decimal import Decimal

import pytest
from builders import Core, fill, order
from hypothesis import given
from hypothesis import strategies as st

from pit.types import Kind
from pitd.core.instruments import Listed
from pitd.core.numbers import EXACT, NotRepresentable, canonical, divided_up, text

numbers = st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-(10**9), max_value=10**9)


@given(numbers)
def test_the_one_form_is_the_same_number(number):
    with decimal.localcontext(EXACT):
        assert canonical(number) == number
        assert canonical(canonical(number)).as_tuple() == canonical(number).as_tuple()


@given(numbers, st.integers(0, 5))
def test_zeros_at_the_end_make_no_other_form(number, zeros):
    with decimal.localcontext(EXACT):
        longer = Decimal(f"{number:f}" + ("." if "." not in f"{number:f}" else "") + "0" * zeros + "0")
        assert canonical(longer).as_tuple() == canonical(number).as_tuple()
        assert text(longer) == text(number)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        ("1.00", "1"),
        ("100", "100"),
        ("1E+3", "1000"),
        ("0.00", "0"),
        ("-0", "0"),
        ("-0.500", "-0.5"),
        ("1E-9", "0.000000001"),
    ],
)
def test_a_number_is_said_in_one_way(number, said):
    assert text(Decimal(number)) == said


@pytest.mark.parametrize(
    "sum_",
    [
        lambda: Decimal("9" * 38) + Decimal("0.1"),
        lambda: Decimal("9" * 30) * Decimal("9" * 30),
        lambda: Decimal(1) / Decimal(3),
        lambda: Decimal(1) / Decimal(0),
        lambda: Decimal(1) < 0.1,
    ],
    ids=["sum", "product", "third", "by zero", "float compared"],
)
def test_what_is_not_exact_raises(sum_):
    with decimal.localcontext(EXACT), pytest.raises(NotRepresentable):
        sum_()


@given(numbers.filter(lambda n: n > 0), numbers.filter(lambda n: n > 0))
def test_a_quotient_is_rounded_up_by_less_than_a_billionth(dividend, divisor):
    up = divided_up(dividend, divisor)
    with decimal.localcontext(decimal.Context(prec=200)):
        assert 0 <= up * divisor - dividend < divisor * Decimal("1e-9")


@given(st.integers(1, 10**9), st.integers(1, 10**9), st.sampled_from(list(Kind)))
def test_notional_is_never_negative_whatever_the_prices_sign(price, quantity, kind):
    listed = Listed(symbol="X", underlying="X", settlement="USD", kind=kind, multiplier=Decimal(5))
    with decimal.localcontext(EXACT):
        up, down = (listed.notional(Decimal(sign * price), Decimal(quantity)) for sign in (1, -1))
        assert up == down > 0


def test_adding_and_taking_back_leaves_no_trace_of_zeros():
    core = Core()
    held = core.check(order(quantity="1.00", price="1.00"))
    core.rollback(held.reservation_id)
    assert core.engine.policies["open_order_notional"]._held == {}  # type: ignore[attr-defined]


def test_the_state_is_the_same_however_the_numbers_were_written():
    states = []
    for quantity, price in (("10", "100"), ("10.00", "1E+2"), ("1e1", "100.000")):
        core = Core()
        core.check(order(id="o1", quantity=quantity, price=price))
        core.report(fill("o1", "4.0", report_id="f1"))
        states.append(core.engine.policies["open_order_notional"].save())
    assert states[0] == states[1] == states[2]


def test_the_answer_does_not_depend_on_the_callers_decimal_context():
    answers = []
    for context in (decimal.Context(prec=3), decimal.Context(prec=80, rounding=decimal.ROUND_UP)):
        with decimal.localcontext(context):
            core = Core()
            core.check(order(id="o1", quantity="1.23456789", price="98765.4321"))
            answers.append(core.held())
    assert answers == [Decimal("121932.631112635269")] * 2
