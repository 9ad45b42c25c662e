"""`pitctl explain`: a verdict, a line for each limit, who uses it, and the largest size that passes."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from builders import Local, order
from rich.console import Console

from pitd import operator
from pitd.operator.explain import shown

SETTINGS = """
[limits]
size = { control = "order_size_limit", each = "account", settlement = "USD", max_quantity = "500" }
open_usd = { control = "open_order_notional", over = "firm", settlement = "USD", max_notional = "10000" }
"""


def explain(local: Local, *words: str) -> int:
    return operator.main(["explain", *words], connect=lambda name, *_: local.connect(name))


@pytest.fixture
def local() -> Local:
    local = Local(SETTINGS)
    local.held = local.engine.execute_pre_trade(order(id="a1", quantity="60"))  # type: ignore[attr-defined]
    return local


def test_it_shows_the_verdict_the_limits_and_who_uses_them(local: Local, capsys: Any) -> None:
    assert explain(local, "alpha", "AAPL/USD", "buy", "50", "100") == 0
    said = capsys.readouterr().out
    for words in ("would be refused", "RiskLimitExceeded", "largest size that would pass: 40 AAPL/USD", "a1", "mm1"):
        assert words in said, said


def test_as_json_it_is_one_object(local: Local, capsys: Any) -> None:
    assert explain(local, "alpha", "AAPL/USD", "buy", "5", "100", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["passes"] is True and told["largest"] == "40"
    (limit,) = (each for each in told["limits"] if each["limit"] == "open_usd")
    assert limit["uses"][0]["remaining"] == "4000" and limit["users"][0]["order_ids"] == ["a1"]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_every_line_names_the_limit_that_it_is_about_however_narrow_the_terminal(width: int) -> None:
    both = SETTINGS.replace("size =", "fat_finger =").replace('"500"', '"500", max_notional = "100000"')
    local = Local(both)
    screen = io.StringIO()
    told = shown(local.engine.explain(order(quantity="5")))
    Console(file=screen, width=width, highlight=False).print(told)
    assert screen.getvalue().split().count("fat_finger") == 2


def test_what_no_order_can_be_is_said(local: Local, capsys: Any) -> None:
    assert explain(local, "alpha", "AAPL/USD", "buy", "many") == 1
    assert "order.quantity" in capsys.readouterr().err
