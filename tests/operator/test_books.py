"""`pitctl positions` and `balances`: import and reconcile with files, and what is said of files that can't be meant."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from builders import AAPL, INSTRUMENTS, Local, order

import pit
from pitd import operator

SETTINGS = f"""
{INSTRUMENTS}
[accounts.alpha]
requires_positions = true
"""

FILE = """account,instrument,quantity,cost,average_price
# from the custodian
alpha,AAPL/USD,100,18450.50,
alpha,ESZ6,-2,,4800.25

beta,AAPL/USD,7,700,
"""


class Desk:
    """A local engine, and pitctl before it."""

    def __init__(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        self.local = Local(SETTINGS)
        self._capsys, self._tmp_path = capsys, tmp_path

    def ctl(self, *words: str) -> tuple[int, str, str]:
        def connect(name: str, endpoint: str, timeout_s: float, read_only: bool) -> pit.Engine:
            return self.local.house.connect(name, read_only=read_only)

        code = operator.main([*words, "--name", "ops"], connect)
        said = self._capsys.readouterr()
        return code, said.out, said.err

    def file(self, text: str, name: str = "book.csv") -> str:
        path = self._tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    def held(self, account: str = "alpha") -> dict[str, tuple[Decimal, Decimal]]:
        return {each.instrument: (each.quantity, each.cost) for each in self.local.engine.positions(account)}

    def trade(self, quantity: int, account: str = "alpha") -> None:
        self.local.engine.apply_execution_report(
            pit.ExecutionReport(
                account=account,
                kind="fill",
                report_id=f"r{self.local.core.seq}",
                order_id=f"g{self.local.core.seq}",
                quantity=quantity,
                price=100,
                side="buy",
                instrument=AAPL,
            )
        )


@pytest.fixture
def desk(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Desk:
    return Desk(capsys, tmp_path)


YES = ("--yes", "--reason", "start of day")


def test_an_import_shows_what_changes_asks_and_lets_the_account_trade(desk: Desk, monkeypatch: Any) -> None:
    assert not desk.local.engine.execute_pre_trade(order())
    path = desk.file(FILE)
    monkeypatch.setattr("builtins.input", lambda: "n")
    code, out, err = desk.ctl("positions", "import", path, "--reason", "start of day")
    assert code == 1 and "18450.5" in out and "nothing was changed" in err and desk.held() == {}
    monkeypatch.setattr("builtins.input", lambda: "y")
    code, out, _ = desk.ctl("positions", "import", path, "--reason", "start of day")
    assert code == 0 and "3 positions of alpha, beta set as the file says (by ops: start of day)" in out
    assert desk.held() == {"AAPL/USD": (100, Decimal("18450.5")), "ESZ6": (-2, -480025)}
    assert desk.local.engine.execute_pre_trade(order())


def test_what_a_file_does_not_name_is_nothing_unless_it_is_partial(desk: Desk) -> None:
    desk.trade(5)
    path = desk.file("account,instrument,quantity,cost\nalpha,ESZ6,1,240000\n")
    assert desk.ctl("positions", "import", path, "--partial", *YES)[0] == 0
    assert set(desk.held()) == {"AAPL/USD", "ESZ6"}
    assert desk.ctl("positions", "import", path, *YES)[0] == 0
    assert set(desk.held()) == {"ESZ6"}


def test_an_account_that_holds_nothing_is_named_by_hand(desk: Desk) -> None:
    path = desk.file("account,instrument,quantity\n")
    code, _, err = desk.ctl("positions", "import", path, *YES)
    assert code == 1 and "--account NAME" in err
    assert desk.ctl("positions", "import", path, "--account", "alpha", *YES)[0] == 0
    assert desk.local.engine.execute_pre_trade(order())


def test_reconcile_tells_differences_by_its_exit_code_and_changes_nothing(desk: Desk) -> None:
    desk.trade(5)
    path = desk.file("account,instrument,quantity\nalpha,AAPL/USD,5\n")
    code, out, _ = desk.ctl("positions", "reconcile", path)
    assert code == 0 and "one position of alpha is what the daemon knows" in out
    desk.trade(2)
    before = desk.local.core.seq
    code, out, _ = desk.ctl("positions", "reconcile", path)
    assert code == 1 and "-2" in out and desk.local.core.seq == before
    code, out, _ = desk.ctl("positions", "reconcile", path, "--json")
    told = json.loads(out)
    assert code == 1 and told["is_applied"] is False
    [one] = told["differences"]
    assert (one["what"], one["held"], one["told"], one["difference"]) == ("AAPL/USD", "7", "5", "-2")


def test_reconcile_applies_when_told_to_with_a_reason(desk: Desk) -> None:
    desk.trade(7)
    path = desk.file("account,instrument,quantity,average_price\nalpha,AAPL/USD,5,99\n")
    with pytest.raises(SystemExit):
        desk.ctl("positions", "reconcile", path, "--apply")
    code, out, _ = desk.ctl("positions", "reconcile", path, "--apply", "--json", *YES)
    assert code == 0 and json.loads(out)["changed"] == 1 and desk.held() == {"AAPL/USD": (5, 495)}
    told = desk.ctl("positions", "reconcile", path)
    print(told, out)
    assert told[0] == 0
    assert not desk.local.engine.execute_pre_trade(order()), "reconciling is no import"


def test_where_something_trades_meanwhile_nothing_is_applied(desk: Desk, monkeypatch: Any) -> None:
    path = desk.file(FILE)

    def agree() -> str:
        desk.trade(1, "beta")
        return "y"

    monkeypatch.setattr("builtins.input", agree)
    code, _, err = desk.ctl("positions", "import", path, "--reason", "start of day")
    assert code == 1 and "account beta holds 1 AAPL/USD, and not 0 any more" in err and desk.held() == {}


def test_a_difference_can_not_be_applied_where_nothing_says_what_it_cost(desk: Desk) -> None:
    path = desk.file("account,instrument,quantity\nbeta,ESZ6,0\nalpha,AAPL/USD,5\n")
    code, _, err = desk.ctl("positions", "import", path, *YES)
    assert code == 1 and f"{path}:3: AAPL/USD of account alpha is to be 5" in err and "average_price" in err


def test_what_pitctl_prints_as_json_can_be_imported_again(desk: Desk) -> None:
    desk.ctl("positions", "import", desk.file(FILE), *YES)
    _, out, _ = desk.ctl("positions", "--json")
    path = desk.file(out, "book.json")
    told = desk.ctl("positions", "reconcile", path)
    assert told[0] == 0, (told, out)
    desk.trade(3)
    assert desk.ctl("positions", "import", path, *YES)[0] == 0
    assert desk.held()["AAPL/USD"] == (100, Decimal("18450.5"))


def test_balances_go_the_same_way(desk: Desk) -> None:
    path = desk.file("account,asset,total\nalpha,USD,1000.000000000000000001\nalpha,BTC,-0.5\n")
    code, out, _ = desk.ctl("balances", "import", path, *YES)
    assert code == 0 and "2 balances of alpha" in out
    assert [each.total for each in desk.local.engine.balances("alpha")] == [
        Decimal("-0.5"),
        Decimal("1000.000000000000000001"),
    ]
    _, out, _ = desk.ctl("balances", "--json")
    assert desk.ctl("balances", "reconcile", desk.file(out, "book.json"))[0] == 0
    path = desk.file('[{"account": "alpha", "asset": "USD", "total": 7}]', "book.json")
    code, out, _ = desk.ctl("balances", "reconcile", path)
    assert code == 1 and "2 of the balances of alpha differ from the file" in out
    assert desk.ctl("balances", "reconcile", path, "--apply", *YES)[0] == 0
    [left] = desk.local.engine.balances("alpha")
    assert (left.asset, left.total) == ("USD", 7)
    assert "7" in desk.ctl("balances")[1]


def test_a_person_adjusts_one_account_by_hand(desk: Desk) -> None:
    parts = ("USD=5000", "BTC+=-0.5", "position:AAPL/USD=100@184.50", "pnl:USD+=-12.5")
    code, out, _ = desk.ctl("adjust", "beta", *parts, "--id", "d1", *YES)
    assert code == 0 and "USD is 5000; BTC moves by -0.5; position AAPL/USD is 100 at 184.50" in out
    assert desk.held("beta") == {"AAPL/USD": (100, 18450)}
    assert [each.total for each in desk.local.engine.balances("beta")] == [Decimal("-0.5"), 5000]
    code, out, _ = desk.ctl("adjust", "beta", *parts, "--id", "d1", *YES)
    assert code == 0 and "nothing changed now" in out
    code, _, err = desk.ctl("adjust", "beta", "USD=lots", *YES)
    assert code == 1 and "not a number: 'lots'" in err


@pytest.mark.parametrize("typed", ["USD", "USD=", "=5", "USD=5@3", "shares:USD=5", "USD==5"])
def test_a_part_that_can_not_be_meant_is_refused_with_an_example(desk: Desk, typed: str, capsys: Any) -> None:
    with pytest.raises(SystemExit):
        desk.ctl("adjust", "beta", typed, *YES)
    assert "position:AAPL/USD=100@184.50" in capsys.readouterr().err


HEAD = "account,instrument,quantity,cost\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is empty; a header is wanted: account,instrument,quantity"),
        ("account,instrument\n", ":1: quantity missing"),
        ("account,instrument,quantity,colour\n", ":1: 'colour' is not known"),
        ("account,instrument,quantity,account\n", ":1: 'account' is named twice"),
        (HEAD + "alpha,AAPL/USD,ten,1\n", ":2: quantity: not a number: 'ten'"),
        (HEAD + "alpha,AAPL/USD,NaN,1\n", ":2: quantity: a finite number is wanted"),
        (HEAD + "alpha,AAPL/USD,1e99,1\n", ":2: quantity: at most 36 digits"),
        (HEAD + "\n\nalpha,AAPL/USD,1\n", ":4: 3 fields, and the header names 4"),
        (HEAD + "alpha,,1,1\n", ":2: instrument is missing"),
        (HEAD + "alpha,X,1,1\nalpha,X,2,1\n", ":3: X of account alpha stands at"),
        (HEAD + "alpha,NONE,1,1\n", "NONE is not declared"),
        (HEAD + 'alpha,"X,1,1\n', "unexpected end of data"),
        ('[{"account": "alpha",\n "instrument": }]', ":2: it is no JSON"),
        ('{"orders": []}', 'a list of objects is wanted, or {"positions": [...]}'),
        ('{"positions": [\n {"account": "a", "instrument": "X", "quantity": 1, "cost": 1},\n 5]}', ":3: entry 2 is no"),
        ('[\n {"account": "a", "instrument": "X", "quantity": [1]}]', ":2: quantity: text or a number is wanted"),
    ],
)
def test_a_file_that_can_not_be_meant_is_refused_with_its_line_and_nothing_is_done(
    desk: Desk, text: str, why: str
) -> None:
    before = desk.local.core.balances.save()
    code, _, err = desk.ctl("positions", "import", desk.file(text), *YES)
    assert code == 1 and why in err, err
    assert desk.held() == {} and desk.local.core.balances.save() == before


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: path.unlink(), "No such file"),
        (lambda path: path.write_bytes(b"account\xff,"), "it is no text in UTF-8"),
        (lambda path: path.write_bytes(b"a" * ((16 << 20) + 1)), "more than 16 MiB"),
    ],
)
def test_a_file_that_can_not_be_read_is_told(desk: Desk, make: Callable[[Path], Any], why: str) -> None:
    path = desk.file(FILE)
    make(Path(path))
    code, _, err = desk.ctl("positions", "reconcile", path)
    assert code == 1 and path in err and why in err
