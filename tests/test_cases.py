"""A table in one test fails where one of its rows does, and says which."""

from __future__ import annotations

import inspect

import pytest
from cases import table


def positive(name: str, number: int, tmp_path: object) -> None:
    assert number > 0 and tmp_path


def test_one_bad_row_fails_as_it_would_alone_and_is_told() -> None:
    with pytest.raises(AssertionError) as broken:
        table(("name", "number"), [("a", 1), ("b", 0), ("c", 2)])(positive)(tmp_path="here")
    assert broken.value.__notes__ == ["in the row name='b', number=0"]


def test_every_bad_row_is_told() -> None:
    def is_one(number: int) -> None:
        if number != 1:
            pytest.fail("it is not")

    with pytest.raises(BaseExceptionGroup, match="2 of 3 rows") as broken:
        table("number", [0, 1, 2])(is_one)()
    assert [each.__notes__ for each in broken.value.exceptions] == [["in the row number=0"], ["in the row number=2"]]


def test_the_rest_of_what_a_test_wants_comes_from_fixtures() -> None:
    assert list(inspect.signature(table(("name", "number"), [("a", 1)])(positive)).parameters) == ["tmp_path"]


@pytest.mark.parametrize(("names", "rows"), [("number", []), ("numbre", [1]), (("number", "name"), [(1,)])])
def test_a_table_that_would_look_at_nothing_is_none(names: object, rows: list[object]) -> None:
    def looks(number: int, name: str = "") -> None: ...

    with pytest.raises((AssertionError, ValueError)):
        table(names, rows)(looks)  # type: ignore[arg-type]
