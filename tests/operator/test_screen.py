"""What a person sees of a table where the terminal is wide, and where it is not."""

from __future__ import annotations

import io

import pytest
from cases import table
from rich.console import Console

from pitd.operator.screen import add_row, plainly, table_of


def shown(width: int) -> str:
    table = table_of("account", "order", ">open", "why")
    add_row(table, "alpha", "0123456789abcdefgh", "100", "client gone; the lease had ended before")
    add_row(table, "alpha", "zyxwvutsrqponmlkji", "7", "")
    screen = io.StringIO()
    Console(file=screen, width=width, highlight=False).print(table)
    return screen.getvalue()


def test_a_table_that_fits_has_a_line_for_each() -> None:
    assert "0123456789abcdefgh" in shown(100)
    assert len([line for line in shown(100).splitlines() if "alpha" in line]) == 2


@pytest.mark.parametrize("width", [30, 34, 40, 60, 100])
def test_no_terminal_is_so_narrow_that_a_name_is_broken(width: int) -> None:
    assert {"0123456789abcdefgh", "zyxwvutsrqponmlkji"} <= set(shown(width).split())
    assert max(map(len, shown(width).splitlines())) <= width


NAMES = (
    "beta-long-account-name-7",
    "us",
    "2026-11-24 18:00:00 UTC",
    "max_quantity",
    "-1000.25",
    "operator",
    "day_loss (firm)",
)


@table("width", range(40, 140))
def test_no_word_is_broken_whatever_has_to_fold(width: int) -> None:
    heads = ("account", "group", "until", "number", ">configured", "by", "stopped by")
    table = table_of(*heads)
    add_row(table, *NAMES)
    screen = io.StringIO()
    Console(file=screen, width=width, highlight=False).print(table)
    words = {word for each in (*NAMES, *heads) for word in each.lstrip(">").split()}
    assert words <= set(screen.getvalue().split())


def test_a_table_without_lines_says_so() -> None:
    screen = io.StringIO()
    Console(file=screen, width=80).print(table_of("scope", "why"))
    assert screen.getvalue().split() == ["scope", "why", screen.getvalue().split()[2], "none"]


def test_where_names_would_be_broken_each_line_becomes_a_block_without_what_is_empty() -> None:
    blocks = shown(30).split("\n\n")
    assert [line.split()[0] for line in blocks[1].splitlines()] == ["account", "order", "open"]


@pytest.mark.parametrize(
    ("effect", "words"),
    [
        ('["NotionalHeld","19700.00",[["open_usd","account alpha"]],null]',
         "NotionalHeld, 19700.00, open_usd for account alpha"),
        ('{"type":"Mine","count":3}', "count 3"),
        ("no json", "no json"),
    ],
)  # fmt: skip
def test_what_a_control_keeps_is_told_without_brackets(effect: str, words: str) -> None:
    assert plainly(effect) == words
