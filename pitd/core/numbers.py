"""The exact arithmetic that every step of the engine runs under."""

from __future__ import annotations

from decimal import (
    ROUND_CEILING,
    ROUND_FLOOR,
    ROUND_HALF_EVEN,
    Context,
    Decimal,
    DecimalException,
    DivisionByZero,
    FloatOperation,
    Inexact,
    InvalidOperation,
    Overflow,
)

DIGITS = 38
"""What a result may have: the width of an SQL DECIMAL(38)."""

EXACT = Context(
    prec=DIGITS,
    rounding=ROUND_HALF_EVEN,
    Emin=-999_999,
    Emax=999_999,
    traps=[Inexact, InvalidOperation, Overflow, DivisionByZero, FloatOperation],
)
"""Refuses what it cannot represent: a sum or a product is right to the last digit, or raises."""

NotRepresentable = DecimalException

ZERO = Decimal(0)
_ONE = Decimal(1)
_NANO = Decimal("1e-9")
_ATTO = Decimal("1e-18")
_EVEN = Context(prec=2 * DIGITS, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, Overflow, DivisionByZero])
_UP = Context(prec=2 * DIGITS, rounding=ROUND_CEILING, traps=[InvalidOperation, Overflow, DivisionByZero])
_DOWN = Context(prec=2 * DIGITS, rounding=ROUND_FLOOR, traps=[InvalidOperation, Overflow, DivisionByZero])


def divided_up(dividend: Decimal, divisor: Decimal) -> Decimal:
    """The quotient, rounded up to nine decimals: where a limit counts money, a rounding is never in its favour."""
    return EXACT.plus(_UP.quantize(_UP.divide(dividend, divisor), _NANO))


def added_widely(one: Decimal, other: Decimal) -> Decimal:
    """The sum, exact also where it has more digits than a result may have: for sums of many that must not fail."""
    return _EVEN.add(one, other)


def converted_down(amount: Decimal, times: Decimal, divisor: Decimal) -> Decimal:
    """amount × times / divisor, rounded down to nine decimals: a profit is smaller by that, and a loss larger."""
    return EXACT.plus(_DOWN.quantize(_DOWN.divide(_DOWN.multiply(amount, times), divisor), _NANO))


def divided_even(dividend: Decimal, divisor: Decimal) -> Decimal:
    """The quotient, rounded half-even to 18 decimals: for money that is shared out, where no side is to be favoured."""
    return EXACT.plus(_EVEN.quantize(_EVEN.divide(dividend, divisor), _ATTO))


def rounded_even(number: Decimal) -> Decimal:
    """The number, rounded half-even to nine decimals: as finely as prices and quantities are told."""
    return EXACT.plus(_EVEN.quantize(number, _NANO))


def coarsened_up(number: Decimal) -> Decimal:
    """The number, rounded up to 18 decimals: finer ones could not be added to large sums within 38 digits."""
    return EXACT.plus(_UP.quantize(number, _ATTO))


def with_percent_up(number: Decimal, percent: Decimal) -> Decimal:
    """The number and so many percent of it, rounded up to 18 decimals; itself for none."""
    if not percent:
        return number
    return canonical(_UP.quantize(_UP.multiply(number, _ONE + percent.scaleb(-2)), _ATTO))


def factor_up(number: Decimal, times: Decimal, divisor: Decimal) -> Decimal:
    """number × times / divisor, rounded up to 18 decimals."""
    return EXACT.plus(_UP.quantize(_UP.divide(_UP.multiply(number, times), divisor), _ATTO))


def factor_down(number: Decimal, times: Decimal, divisor: Decimal) -> Decimal:
    """number × times / divisor, rounded down to 18 decimals."""
    return EXACT.plus(_DOWN.quantize(_DOWN.divide(_DOWN.multiply(number, times), divisor), _ATTO))


def times_up(amount: Decimal, factor: Decimal) -> Decimal:
    """The product, rounded up to nine decimals; below zero that is towards zero."""
    return EXACT.plus(_UP.quantize(_UP.multiply(amount, factor), _NANO))


def canonical(number: Decimal) -> Decimal:
    """The one form of a value: no trailing zeros, no exponent, one zero."""
    if not number:
        return ZERO
    stripped = number.normalize(EXACT)
    if "E+" in str(stripped):  # as_tuple() takes four times as long
        return stripped.quantize(_ONE, context=EXACT)
    return stripped


def text(number: Decimal) -> str:
    """A number as people read it, the same for every form of one value."""
    return f"{canonical(number):f}"
