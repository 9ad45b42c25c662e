"""order_validation: every kind of order that cannot be meant, and those that can."""

from __future__ import annotations

import pytest
from builders import AAPL, INSTRUMENTS, Core, order

from pitd.core import entry as e


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"quantity": "0"}, "quantity 0 is not above zero"),
        ({"quantity": "-1"}, "quantity -1 is not above zero"),
        ({"volume": "0"}, "volume 0 is not above zero"),
        ({"volume": "-5"}, "volume -5 is not above zero"),
        ({"price": "0"}, "price 0 is not above zero"),
        ({"price": "-0.01"}, "price -0.01 is not above zero"),
        ({"instrument": "XBT", "price": "0"}, "price 0 is not above zero"),
        ({"instrument": "ESZ6", "price": "4797.60"}, "price 4797.60 is not a multiple of the tick 0.25"),
        ({"instrument": "ESZ6", "quantity": "1.5"}, "quantity 1.5 is not a multiple of the lot 1"),
        ({"instrument": "SPREAD", "quantity": "-1"}, "quantity -1 is not above zero"),
    ],
)
def test_an_order_that_cannot_be_meant_is_refused_and_told_why(fields, said):
    no = Core(INSTRUMENTS).check(order(**fields)).rejected
    assert (no.code, no.policy) == ("InvalidFieldValue", "order_validation")
    assert said in no.reason


@pytest.mark.parametrize(
    "fields",
    [
        {"quantity": "0.000000001", "price": "0.000000001"},
        {"price": None},
        {"volume": "250.50"},
        {"instrument": "ESZ6", "price": "4797.75", "quantity": "3.0"},
        {"instrument": "XBT", "price": "64123.5", "quantity": "7"},
        {"instrument": "SPREAD", "price": "0"},
        {"instrument": "SPREAD", "price": "-2.5"},
    ],
)
def test_a_well_formed_order_passes(fields):
    assert isinstance(Core(INSTRUMENTS).check(order(**fields)), e.Accepted)


def test_everything_that_is_wrong_is_told_at_once():
    no = Core(INSTRUMENTS).check(order(instrument="ESZ6", price="-0.1", quantity="0.5")).rejected
    assert len(no.rejects) == 3
    assert {reject.code for reject in no.rejects} == {"InvalidFieldValue"}


def test_an_undeclared_symbol_is_unknown_and_the_mend_is_told():
    no = Core(INSTRUMENTS).check(order(instrument="ESZ7")).rejected
    assert no.code == "UnknownInstrument"
    assert "[instruments.ESZ7]" in no.reason


def test_validation_stands_first_among_the_rejects():
    core = Core('[limits]\nsize = { control = "order_size_limit", each = "account", max_quantity = "1" }')
    no = core.check(order(quantity="5", price="-1")).rejected
    assert no.codes == ("InvalidFieldValue", "OrderQtyExceedsLimit")


@pytest.mark.parametrize("instrument", [AAPL, "AAPL/USD"])
def test_a_pair_that_is_declared_is_what_it_was_declared_to_be(instrument):
    core = Core('[instruments."AAPL/USD"]\nsettlement = "USD"\nlot = "100"')
    assert "not a multiple of the lot 100" in core.check(order(instrument=instrument, quantity="10")).rejected.reason


def test_a_pair_that_is_written_as_a_symbol_is_told_how_to_say_it():
    assert 'pit.Instrument("AAPL", "USD")' in Core().check(order(instrument="AAPL/USD")).rejected.reason
