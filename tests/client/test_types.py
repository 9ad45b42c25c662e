"""The door: what may go in, exactly as meant, and what is refused before anything else happens."""

from __future__ import annotations

import copy
import datetime
import os
import pickle
import re
import threading
from decimal import Decimal

import msgspec
import pytest
from builders import AAPL, fill, order, report
from cases import table
from hypothesis import given
from hypothesis import strategies as st

import pit
from pit import types

# ---------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("given_", "kept"),
    [
        ("185.00", "185.00"),
        ("0.1", "0.1"),
        (100, "100"),
        (10**17, "100000000000000000"),
        (0.1, "0.1"),
        (1e-9, "0.000000001"),
        (1e17, "100000000000000000"),
        (185.25, "185.25"),
        (0.1 + 0.2, None),  # 0.30000000000000004 has more digits than are taken
        (Decimal("185.00"), "185.00"),
        (Decimal("1E+5"), "100000"),
        ("1e3", "1000"),
        ("-2.5", "-2.5"),
        ("+2.5", "2.5"),
        ("1.5000000000000000000000", "1.5"),
        ("0.0000000000000000000000", "0"),
        ("999999999.999999999", "999999999.999999999"),
        ("0000000000000000000000001", "1"),
        ("0e-30", "0"),
    ],
)
def test_a_number_goes_in_and_is_exact_from_there_on(given_, kept):
    if kept is None:
        with pytest.raises(pit.InvalidInput, match=r"order\.price"):
            order(price=given_)
        return
    price = order(price=given_).price
    assert type(price) is Decimal
    assert (price, f"{price:f}") == (Decimal(kept), kept)


@pytest.mark.parametrize("field", ["quantity", "price", "volume"])
@table(
    "nonsense",
    [
        "NaN",
        "nan",
        "sNaN",
        "Infinity",
        "-inf",
        float("nan"),
        float("inf"),
        Decimal("NaN"),
        Decimal("Infinity"),
        "9" * 30,
        10**30,
        "1234567890123456789",
        "0.0000000001",
        "1234567890.123456789",
        "1e99999999",
        "1e-99999999",
        "",
        "ten",
        "1,000",
        "0x10",
        b"1",
        True,
        [1],
        1j,
    ],
)
def test_a_number_that_cannot_be_meant_names_its_field(field, nonsense):
    with pytest.raises(pit.InvalidInput) as no:
        order(**{field: nonsense})
    assert str(no.value).startswith(f"order.{field}: ")


def test_a_huge_number_makes_a_short_message():
    with pytest.raises(pit.InvalidInput) as no:
        order(price="9" * 100_000)
    assert len(str(no.value)) < 200


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9) + 1, max_value=10**9 - 1, places=9))
def test_text_decimal_and_back_is_the_same_number(number):
    for form in (number, str(number), f"{number:f}"):
        assert order(price=form).price == number


@given(st.floats(min_value=-1e8, max_value=1e8).map(lambda value: round(value, 6)))
def test_a_float_is_its_shortest_text(value):
    assert order(price=value).price == Decimal(repr(value))


@given(st.decimals(allow_nan=True, allow_infinity=True) | st.text(max_size=40) | st.floats() | st.integers())
def test_whatever_is_given_it_is_exact_within_bounds_or_refused(value):
    try:
        price = order(price=value).price
    except pit.InvalidInput:
        return
    _, digits, exponent = price.as_tuple()
    assert isinstance(exponent, int)
    assert -types.MAX_SCALE <= exponent <= 0
    assert len(digits) <= types.MAX_DIGITS
    assert price == (Decimal(repr(value)) if isinstance(value, float) else Decimal(value))


# ---------------------------------------------------------------------------------------------- names and choices


@pytest.mark.parametrize("name", ["", " ", "a" * 65, "a\nb", "a\x00", "\ud800", None, 7, b"alpha"])
def test_a_name_is_1_to_64_printable_characters(name):
    for make in (
        lambda: order(account=name),
        lambda: pit.Instrument(name, "USD"),
        lambda: pit.Instrument("AAPL", name),
        lambda: order(instrument=name),
        lambda: report(account=name, order_id="o1"),
        lambda: report(order_id="o1", report_id=name),
    ):
        with pytest.raises(pit.InvalidInput, match="printable"):
            make()


@pytest.mark.parametrize("name", ["a", "a" * 64, "Käse", "desk 7", "AAPL/USD", "注文"])
def test_any_printable_name_will_do(name):
    wanted = order(account=name, id=name, instrument=pit.Instrument(name, name))
    assert (wanted.account, wanted.id) == (name, name)


@pytest.mark.parametrize("id", [" ", "a" * 65, "a\tb"])
def test_an_order_id_that_is_given_is_a_name_too(id):
    with pytest.raises(pit.InvalidInput, match=r"order\.id"):
        order(id=id)


@pytest.mark.parametrize("side", ["", "BUY", "long", "b", 1, None, "Buy"])
def test_an_unknown_side_is_refused_and_the_known_ones_are_named(side):
    with pytest.raises(pit.InvalidInput, match=r"order\.side: one of buy, sell is wanted"):
        order(side=side)


@pytest.mark.parametrize("side", ["buy", pit.Side.BUY])
def test_a_side_may_be_text(side):
    assert order(side=side).side is pit.Side.BUY


def test_an_unknown_kind_of_report_is_refused():
    with pytest.raises(pit.InvalidInput, match=r"report\.kind: one of accepted, fill"):
        report("filled", order_id="o1")


def test_invalid_input_is_a_value_error_and_a_pit_error():
    assert issubclass(pit.InvalidInput, ValueError)
    assert issubclass(pit.InvalidInput, pit.PitError)


# ---------------------------------------------------------------------------------------------- orders and reports


def test_an_order_needs_quantity_or_volume_and_not_both():
    with pytest.raises(pit.InvalidInput, match="not both"):
        order(quantity="1", volume="1")
    with pytest.raises(pit.InvalidInput, match="give quantity"):
        order(quantity=None)


def test_quantities_below_zero_are_well_formed_and_left_to_the_engine():
    assert order(quantity="-1").quantity == -1


def test_an_order_without_a_price_is_a_market_order():
    assert order(price=None).price is None


def test_an_order_cannot_be_changed():
    with pytest.raises(AttributeError):
        order().quantity = Decimal(1)


def test_a_report_that_names_nothing_is_refused():
    with pytest.raises(pit.InvalidInput, match="names no order"):
        report("cancelled")


@pytest.mark.parametrize("quantity", [None, "0", "-1"])
def test_a_fill_needs_a_quantity_above_zero(quantity):
    with pytest.raises(pit.InvalidInput, match="quantity above zero"):
        fill("o1", quantity)


@pytest.mark.parametrize("kind", ["accepted", "cancelled", "expired", "rejected"])
def test_only_a_fill_carries_a_quantity(kind):
    with pytest.raises(pit.InvalidInput, match="carries no quantity"):
        report(kind, order_id="o1", quantity="1")


@pytest.mark.parametrize("field", ["quantity", "price", "pnl", "fee"])
@pytest.mark.parametrize("nonsense", ["NaN", "inf", "9" * 30, "x"])
def test_a_reports_number_that_cannot_be_meant_names_its_field(field, nonsense):
    with pytest.raises(pit.InvalidInput, match=rf"^report\.{field}: "):
        report("fill", **({"order_id": "o1", "quantity": "1"} | {field: nonsense}))


# ---------------------------------------------------------------------------------------------- ids that are made


def test_an_id_that_is_made_is_18_of_a_to_z_and_0_to_9():
    assert re.fullmatch(r"[a-z0-9]{18}", order().id)


def test_ids_that_are_made_are_all_different():
    assert len({types.make_order_id() for _ in range(50_000)}) == 50_000


def test_ids_made_by_several_threads_are_all_different():
    made: list[list[str]] = [[] for _ in range(4)]
    threads = [
        threading.Thread(target=lambda ids=ids: ids.extend(types.make_order_id() for _ in range(5_000))) for ids in made
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id for ids in made for id in ids}) == 20_000


def test_ids_made_after_a_fork_are_different_from_the_parents():
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write_end, types.make_order_id().encode())
        os._exit(0)
    os.waitpid(child, 0)
    childs = os.read(read_end, 100).decode()
    os.close(read_end)
    os.close(write_end)
    mine = types.make_order_id()
    assert len(childs) == len(mine) == 18
    assert childs[:9] != mine[:9]


# ---------------------------------------------------------------------------------------------- round trips


def _no() -> pit.Rejected:
    reject = pit.Reject(
        code=pit.RejectCode.RATE_LIMIT_EXCEEDED,
        policy="rate_limit",
        limit="msg_rate",
        scope="account alpha",
        reason="too fast",
        bound=Decimal(2),
        retry_after_s=0.5,
    )
    other = pit.Reject(code=pit.RejectCode.OTHER, policy="p", limit="l", scope="firm", reason="no")
    return pit.Rejected(order_id="o1", rejects=(reject, other))


VALUES = [
    pit.Instrument("AAPL", "USD"),
    order(id="o1", quantity="1.50", price="185.00"),
    order(id="o2", instrument="ESZ6", price=None),
    order(id="o3", volume="250"),
    fill("o1", "3", "99.5", pnl="-1.25", fee="0.10", instrument=AAPL, side="sell", report_id="f1"),
    report("cancelled", venue_order_id="v1", report_id="c1", instrument="ESZ6"),
    _no(),
    pit.Block(scope="firm", code=pit.RejectCode.ACCOUNT_BLOCKED, limit="operator", reason="lunch", author="ops"),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_value_is_the_same_after_a_round_trip(value):
    codecs = (
        lambda it: pickle.loads(pickle.dumps(it)),
        lambda it: msgspec.msgpack.decode(msgspec.msgpack.encode(it), type=type(it)),
        lambda it: msgspec.json.decode(msgspec.json.encode(it), type=type(it)),
        copy.deepcopy,
        copy.copy,
    )
    for there_and_back in codecs:
        back = there_and_back(value)
        assert back == value
        assert repr(back) == repr(value)
        assert hash(back) == hash(value)


@pytest.mark.parametrize("place", [3, 4])
@pytest.mark.parametrize("number", ["NaN", "Infinity", "9" * 30, "1e-10"])
def test_bytes_go_through_the_same_door(place, number):
    plain = msgspec.to_builtins(order(id="o1"))
    fields = list(plain)
    fields[place] = number
    with pytest.raises((msgspec.ValidationError, pit.InvalidInput)):
        msgspec.msgpack.decode(msgspec.msgpack.encode(fields), type=pit.Order)


def test_bytes_of_an_empty_account_do_not_become_an_order():
    fields = list(msgspec.to_builtins(order(id="o1")))
    fields[0] = ""
    with pytest.raises((msgspec.ValidationError, pit.InvalidInput)):
        msgspec.msgpack.decode(msgspec.msgpack.encode(fields), type=pit.Order)


# ---------------------------------------------------------------------------------------------- the no


def test_a_rejected_is_falsy_not_ok_and_has_nothing_to_commit():
    no = _no()
    assert not no
    assert no.ok is False
    assert not hasattr(no, "commit")
    assert not hasattr(no, "execute")


def test_a_rejected_prints_every_reason_with_its_limit_and_code():
    assert str(_no()) == "refused: msg_rate (RateLimitExceeded): too fast; l (Other): no"


def test_a_rejected_speaks_with_its_first_reject():
    no = _no()
    first = no.rejects[0]
    assert (no.code, no.policy, no.limit, no.scope, no.reason) == (
        first.code,
        first.policy,
        first.limit,
        first.scope,
        first.reason,
    )
    assert (no.bound, no.used, no.requested, no.retry_after_s) == (Decimal(2), None, None, 0.5)
    assert no.codes == ("RateLimitExceeded", "Other")


def test_the_reject_codes_are_the_fields_own_texts():
    codes = (
        "InvalidFieldValue MissingRequiredField RiskConfigurationMissing OrderQtyExceedsLimit "
        "OrderNotionalExceedsLimit OrderExceedsLimit RateLimitExceeded PnlKillSwitchTriggered AccountBlocked "
        "UnknownAccount AccountNotAuthorized InsufficientFunds InsufficientPosition PositionLimitExceeded "
        "ConcentrationLimitExceeded RiskLimitExceeded OrderValueCalculationFailed MarkPriceUnavailable "
        "ReferenceDataUnavailable UnknownInstrument InstrumentRestricted UnsupportedOrderType "
        "DuplicateClientOrderId WashTradePrevention SelfMatchPrevention ShortSaleRestriction ExchangeClosed "
        "SystemUnavailable ArithmeticOverflow Other"
    )
    assert [str(code) for code in pit.RejectCode] == codes.split()


def test_a_name_that_is_a_huge_number_is_told_without_writing_it_out():
    with pytest.raises(pit.InvalidInput, match="a value of type int"):
        pit.Instrument("AAPL", 10**5000)  # type: ignore[arg-type]


def test_what_was_checked_before_is_taken_as_it_is_by_the_thread_that_says_so():
    with types.checked_before():
        long_ago = pit.Instrument("", "")
    assert long_ago.underlying == ""
    with pytest.raises(pit.InvalidInput):
        pit.Instrument("", "")


def test_while_one_thread_reads_what_was_checked_before_every_other_checks():
    refused: list[Exception] = []

    def make() -> None:
        for wrong in ({"account": ""}, {"quantity": "nan"}, {"instrument": ""}):
            try:
                order(**wrong)
            except pit.InvalidInput as trouble:
                refused.append(trouble)

    with types.checked_before():
        other = threading.Thread(target=make)
        other.start()
        other.join()
    assert len(refused) == 3


def test_after_trouble_everything_is_checked_again():
    with pytest.raises(KeyError), types.checked_before():
        raise KeyError
    with pytest.raises(pit.InvalidInput):
        order(account="")


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ({"time_in_force": "day"}, (pit.TimeInForce.DAY, None)),
        ({"time_in_force": pit.TimeInForce.FOK}, (pit.TimeInForce.FOK, None)),
        ({"good_till": "2026-11-24"}, (pit.TimeInForce.GTD, "2026-11-24")),
        ({"good_till": datetime.date(2026, 11, 24), "time_in_force": "gtd"}, (pit.TimeInForce.GTD, "2026-11-24")),
        ({}, (None, None)),
    ],
)
def test_how_long_an_order_is_good_is_kept_in_one_form(said, kept):
    order = pit.Order(account="a", instrument="ESZ6", side="buy", quantity=1, **said)
    assert (order.time_in_force, order.good_till) == kept
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(order), type=pit.Order) == order


@pytest.mark.parametrize(
    "said",
    [
        {"time_in_force": "gtx"},
        {"time_in_force": "gtd"},
        {"time_in_force": "day", "good_till": "2026-11-24"},
        {"good_till": "24/11/2026"},
        {"good_till": "2026-02-30"},
        {"good_till": datetime.datetime(2026, 11, 24, tzinfo=datetime.UTC)},
    ],
)
def test_what_can_not_be_meant_of_how_long_an_order_is_good_is_refused(said):
    with pytest.raises(pit.InvalidInput, match=r"order\.time_in_force|order\.good_till|good_till"):
        pit.Order(account="a", instrument="ESZ6", side="buy", quantity=1, **said)
