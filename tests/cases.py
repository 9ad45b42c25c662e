"""How often a test looks: whole tables in one test, and weather that is short in the quick suite, long in the slow."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest


def table(names: str | Sequence[str], rows: Iterable[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """One test of a whole table: every row is looked at, and those that fail are told with what stands in them.

    As `pytest.mark.parametrize`, for tables so long that to set up each row as a test takes longer than to look at it.
    What fixtures give is shared by the rows.
    """
    columns = [names] if isinstance(names, str) else list(names)
    cases = [dict(zip(columns, (row,) if isinstance(names, str) else row, strict=True)) for row in rows]
    assert cases, "a table without rows promises nothing"

    def of_all(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def every_row(**fixtures: Any) -> None:
            broken: list[BaseException] = []
            for case in cases:
                try:
                    test(**case, **fixtures)
                except (Exception, pytest.fail.Exception) as trouble:
                    trouble.add_note("in the row " + ", ".join(f"{name}={value!r}" for name, value in case.items()))
                    broken.append(trouble)
            if len(broken) == 1:
                raise broken[0]
            if broken:
                raise BaseExceptionGroup(f"{len(broken)} of {len(cases)} rows", broken)

        wanted = inspect.signature(test).parameters.values()
        assert {each.name for each in wanted} >= set(columns)
        every_row.__signature__ = inspect.Signature([each for each in wanted if each.name not in columns])  # type: ignore[attr-defined]
        del every_row.__wrapped__
        return every_row

    return of_all


def seeds(whole: int, *, quick: int) -> list[Any]:
    """The seeds up to `whole`, for `parametrize`: the first ones in every run, the others in the slow part."""
    return [*range(quick), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(quick, whole))]


def amounts(whole: int, *, quick: int) -> list[Any]:
    """How much to do, for `parametrize`: little in the quick suite, all of it in the slow part."""
    return [quick, pytest.param(whole, marks=pytest.mark.slow)]
