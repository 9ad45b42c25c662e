"""The largest size of an order that passes: exact, whatever the control that decides."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import NamedTuple

from pit.types import MAX_DIGITS, MAX_SCALE

from .numbers import ZERO, canonical


class Ladder:
    """Every size that an order may have, smallest first: multiples of the lot, or else all that the door lets through
    (18 digits, nine of them after the point). Rung 0 is no size at all.
    """

    def __init__(self, lot: Decimal | None) -> None:
        self._spans = tuple(_spans(lot))
        self.top = self._spans[-1].last

    def size(self, rung: int) -> Decimal:
        """The size that stands on that rung."""
        for span in self._spans:
            if rung <= span.last:
                return canonical((rung - span.before + span.skipped) * span.step)
        raise AssertionError(rung)

    def below(self, numerator: int, denominator: int) -> int:
        """The highest rung whose size is at most that quotient."""
        assert denominator > 0
        if numerator <= 0:
            return 0
        rung = 0
        for span in self._spans:
            up, down = span.step.as_integer_ratio()
            steps = numerator * down // (denominator * up)
            if steps <= span.skipped:
                break
            rung = min(span.before + steps - span.skipped, span.last)
        return rung


class _Span(NamedTuple):
    """Rungs after `before` up to `last`, a step apart; the first `skipped` steps of that length belong to spans before
    it.
    """

    step: Decimal
    before: int
    skipped: int
    last: int


def _spans(lot: Decimal | None) -> Iterable[_Span]:
    if lot is not None:
        exponent = canonical(lot).as_tuple().exponent
        assert isinstance(exponent, int)
        numerator, denominator = lot.as_integer_ratio()
        highest = 10**MAX_DIGITS - 1  # in units of the lot's last digit
        most = highest * denominator // (numerator * 10**-exponent)
        yield _Span(lot, 0, 0, max(1, most))
        return
    before = 0
    for scale in range(MAX_SCALE, -1, -1):
        skipped = 0 if scale == MAX_SCALE else 10 ** (MAX_DIGITS - 1) - 1
        last = before + 10**MAX_DIGITS - 1 - skipped
        yield _Span(Decimal(1).scaleb(-scale), before, skipped, last)
        before = last


def largest(ladder: Ladder, passes: Callable[[Decimal], bool], hints: Iterable[int]) -> Decimal | None:
    """The largest size that passes: zero for none, None where the largest there is does.

    `hints` are rungs where it may be: whatever they say, each is put to the question, and one that proves to be it
    saves a search. What is searched passes up to some size and nothing above it; a bound from below, which limits of
    another kind have, is for a hint to step over.
    """
    known: dict[int, bool] = {0: True}

    def asked(rung: int) -> bool:
        if rung not in known:
            known[rung] = passes(ladder.size(rung))
        return known[rung]

    if asked(ladder.top):
        return None
    for hint in sorted(set(hints), reverse=True):
        for rung in (hint, hint - 1, hint + 1):
            if 0 < rung < ladder.top and asked(rung) and not asked(rung + 1):
                return ladder.size(rung)
    if not asked(1):
        return ZERO
    low, high = 1, ladder.top
    for rung, is_fine in sorted(known.items()):  # what has been asked narrows the search
        if is_fine:
            low = max(low, rung)
    high = min(rung for rung, is_fine in known.items() if not is_fine and rung > low)
    while high - low > 1:
        middle = (low + high) // 2
        if asked(middle):
            low = middle
        else:
            high = middle
    return ladder.size(low)
