"""`pitctl positions`, and who may see whose."""

from __future__ import annotations

import decimal
from typing import Any

import pytest
from builders import AAPL, INSTRUMENTS, Core, Local, fill

import pit
from pit import wire
from pitd import holdings, operator
from pitd.core.engine import exact_context


def ghost(core: Core, account: str, quantity: int, price: Any = 100, instrument: Any = AAPL) -> None:
    side = "buy" if quantity > 0 else "sell"
    name = f"g{core.engine.seq}"
    core.report(fill(name, abs(quantity), price, instrument=instrument, side=side, account=account))


def told(core: Core, query: wire.ListPositions, accounts: frozenset[str] | None = None) -> list[tuple[str, str]]:
    with decimal.localcontext(exact_context()):
        page = holdings.page_of(core.engine, query, accounts=accounts)
    assert isinstance(page, wire.PositionsAre)
    return [(each.account, each.instrument) for each in page.positions]


@pytest.fixture
def core() -> Core:
    core = Core(INSTRUMENTS)
    for account in ("gamma", "alpha", "beta"):
        ghost(core, account, 5)
        ghost(core, account, -5, "500.25", "ESZ6")
    return core


def test_a_client_that_may_touch_some_accounts_sees_theirs(core: Core) -> None:
    some = frozenset({"alpha", "gamma"})
    assert told(core, wire.ListPositions(), some) == [
        (account, symbol) for account in ("alpha", "gamma") for symbol in ("AAPL/USD", "ESZ6")
    ]
    assert told(core, wire.ListPositions("alpha"), some) == [("alpha", "AAPL/USD"), ("alpha", "ESZ6")]


def test_an_account_that_is_anothers_is_refused(core: Core) -> None:
    no = holdings.page_of(core.engine, wire.ListPositions("beta"), accounts=frozenset({"alpha"}))
    assert isinstance(no, wire.Failed) and no.code is wire.FailureCode.NOT_AUTHORIZED and "beta" in no.message


@pytest.mark.parametrize("most", [-1, 0, 1, 2, 3, 5, 100])
def test_pages_of_any_size_tell_each_position_once(core: Core, most: int) -> None:
    seen: list[tuple[str, str]] = []
    query = wire.ListPositions(most=most)
    while page := told(core, query):
        seen += page
        query = wire.ListPositions(None, *page[-1], most)
    assert seen == told(core, wire.ListPositions()) and len(seen) == 6


@pytest.mark.parametrize(
    ("trades", "instrument", "price"),
    [
        ([(3, "33.333333333"), (4, "1")], AAPL, "14.857142857"),
        ([(-2, 100)], AAPL, "100"),
        ([(2, "500.25")], "ESZ6", "500.25"),
        ([(100, 50_000)], "XBT", "50000"),
        ([(-100, 40_000)], "XBT", "40000"),
        ([(5, -2)], "SPREAD", "-2"),
        ([(5, 2), (5, -2)], "SPREAD", None),
    ],
)
def test_the_average_is_the_price_at_which_it_was_had(trades: Any, instrument: Any, price: str | None) -> None:
    core = Core(INSTRUMENTS)
    for quantity, at in trades:
        ghost(core, "alpha", quantity, at, instrument)
    with decimal.localcontext(exact_context()):
        page = holdings.page_of(core.engine, wire.ListPositions(), accounts=None)
    assert isinstance(page, wire.PositionsAre)
    assert page.positions[0].average_price == (None if price is None else decimal.Decimal(price))


def test_pitctl_shows_them(capsys: pytest.CaptureFixture[str]) -> None:
    local = Local("")
    for account, side in (("alpha", "buy"), ("beta", "sell")):
        report = pit.ExecutionReport(
            account=account,
            kind="fill",
            report_id="r",
            order_id="o",
            quantity=3,
            price="99.5",
            side=side,
            instrument=AAPL,
            fee="0.25",
        )
        local.engine.apply_execution_report(report)

    def connect(name: str, endpoint: str, timeout_s: float, read_only: bool) -> pit.Engine:
        return local.house.connect(name, read_only=read_only)

    assert operator.main(["positions", "--name", "ops"], connect) == 0
    said = capsys.readouterr().out
    assert "alpha" in said and "-298.5" in said and "99.5" in said
    assert operator.main(["positions", "--account", "beta", "--json", "--name", "ops"], connect) == 0
    said = capsys.readouterr().out
    assert '"quantity":"-3"' in said and "alpha" not in said


def test_the_newest_mark_and_what_closing_there_would_make_are_shown() -> None:
    local = Local(INSTRUMENTS)
    for side, quantity, price in (("buy", 10, 100), ("sell", 4, 110)):
        name = f"ghost {side}"
        local.engine.apply_execution_report(fill(name, quantity, price=price, instrument=AAPL, side=side))
    (bare,) = local.engine.positions("alpha")
    assert (bare.mark, bare.unrealised) == (None, None)
    local.engine.push_quote(AAPL, mark="97.5")
    (held,) = local.engine.positions("alpha")
    assert (held.mark, held.unrealised, held.realised) == (97.5, -15, 40)
    assert held.mark_age_s is not None and held.mark_age_s >= 0


IN_EUR = """
[currency]
firm = "USD"
[currency.rates]
EUR = { quote = "EUR/USD", max_age = "10s" }
BNB = "500"
[accounts.alpha]
currency = "EUR"
[gate]
pnl = "computed"
unknown_accounts = "allow"
"""


def test_what_an_account_made_and_has_is_told_in_its_own_currency(capsys: pytest.CaptureFixture[str]) -> None:
    local = Local(IN_EUR + INSTRUMENTS)
    ops = local.connect("ops")
    for side, quantity, price in (("buy", 10, 100), ("sell", 4, 110)):
        told = fill(f"ghost {side}", quantity, price=price, instrument=AAPL, side=side, fee="0.01", fee_asset="BNB")
        ops.apply_execution_report(told)
    there = pit.BalanceAdjustment(account="alpha", asset="USD", set_to="100")
    ops.apply_account_adjustment(there, id="there", reason="a test")
    (bare,) = ops.positions("alpha")
    assert (bare.currency, bare.made, bare.unrealised_in_currency) == ("EUR", None, None)
    ops.push_quote(AAPL, mark="97.5")
    ops.push_quote(pit.Instrument("EUR", "USD"), mark="1.25")
    (held,) = ops.positions("alpha")
    assert (held.made, held.unrealised_in_currency) == (24, -12), "40 USD less 0.02 BNB, and -15 USD"
    assert [(each.asset, each.worth, each.currency) for each in ops.balances("alpha")] == [("USD", 80, "EUR")]
    page = ops.ask(wire.ListAccounts())
    (seen,) = (each for each in page.accounts if each.account == "alpha")
    assert (seen.currency, seen.made, seen.unrealised) == ("EUR", 24, -12)

    def connect(name: str, endpoint: str, timeout_s: float, read_only: bool) -> pit.Engine:
        return local.house.connect(name, read_only=read_only)

    for command, words in (("positions", "24 "), ("balances", " 80 "), ("accounts", "EUR, all of it; -12 unrealised")):
        assert operator.main([command, "--name", "ops"], connect) == 0
        assert words in capsys.readouterr().out
    local.advance(11)
    (stale,) = ops.positions("alpha")
    assert (stale.made, stale.unrealised_in_currency, stale.realised) == (None, None, 40)


def test_an_account_without_a_currency_is_told_by_asset_alone() -> None:
    local = Local(IN_EUR + INSTRUMENTS)
    local.engine.apply_execution_report(fill("ghost", 1, price=1, instrument=AAPL, side="buy", account="beta"))
    (held,) = local.engine.positions("beta")
    assert (held.currency, held.made) == (None, None)
