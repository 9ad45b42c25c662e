"""pnl_kill_switch in an account's own currency, and in the firm's: each sentence of its rule, and a model."""

from __future__ import annotations

import decimal
import random
import sys
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from builders import AAPL, Core, Local, fill, money, order, report
from restarts import WAYS, come_back

import pit
from pitd import bootstrap, config
from pitd.core import entry as e
from pitd.core.engine import exact_context
from pitd.core.prices import Quote
from pitd.core.reading import Reader, encode
from pitd.errors import ConfigError

S = 10**9
SAP = pit.Instrument("SAP", "EUR")
SONY = pit.Instrument("SONY", "JPY")
BNB = "BNB"

WORLD = """
[calendar]
start_of_day = "00:00"
[gate]
uncovered = "allow"
pnl = "computed"
[currency]
firm = "USD"
max_age = "10s"
[currency.rates]
EUR = { quote = "EUR/USD" }
JPY = { quote = "USD/JPY", haircut_percent = "5" }
BNB = "500"
[accounts.alpha]
currency = "EUR"
[accounts.beta]
currency = "USD"
"""


def limited(limit: str, more: str = "") -> str:
    return f'{WORLD}{more}\n[limits]\nloss = {{ control = "pnl_kill_switch", {limit} }}'


OWN = limited('each = "account", currency = "account", max_loss = "100"')
FIRM = limited('over = "firm", currency = "firm", max_loss = "100", on = "both", then = "reduce"')


def told(core: Core, **prices: str) -> None:
    """Quotes have moved: EURUSD="1.25"; nobody asked for an order."""
    core.quotes = tuple(
        Quote(f"{pair[:-3]}/{pair[-3:]}", Decimal(price), None, None, core.now_ns) for pair, price in prices.items()
    )
    core.enter(e.QuotesMoved())
    core.quotes = ()


def started(settings: str = OWN, **prices: str) -> Core:
    core = Core(settings)
    core.now_ns = 1_000 * S
    told(core, **(prices or {"EURUSD": "1.25"}))
    return core


def codes(core: Core, **fields: Any) -> tuple[str, ...]:
    reply = core.check(order(**{"quantity": 1, "price": 1, "instrument": SAP} | fields))
    return reply.rejected.codes if isinstance(reply, e.Refused) else ()


def lost(core: Core, amount: str, asset: str = "EUR", account: str = "alpha") -> Any:
    """So much of that asset is gone, as a fee."""
    return core.report(money("x", fee=amount, fee_asset=asset, instrument=SAP, account=account)).result.blocks


TRIPPED = ("PnlKillSwitchTriggered",)
UNKNOWN = ("ReferenceDataUnavailable",)


def test_what_was_made_of_every_asset_counts_in_the_accounts_currency() -> None:
    core = started()
    assert lost(core, "50") == lost(core, "62.4", "USD") == ()
    assert codes(core) == (), "-99.92 EUR"
    (block,) = lost(core, "0.1", "USD")
    assert block.scope == "account alpha" and "P&L -100 EUR has reached the floor -100" in block.reason
    assert codes(core) == TRIPPED


def test_a_fee_in_a_third_asset_counts_by_way_of_the_firms_currency() -> None:
    core = started()
    assert lost(core, "0.249999999", BNB) == ()
    assert lost(core, "0.000000001", BNB), "0.25 × 500 / 1.25 is 100"


def test_a_rate_that_moves_trips_it_though_nothing_trades() -> None:
    core = started()
    lost(core, "50")
    lost(core, "62.4", "USD")
    told(core, EURUSD="1.24801")
    assert codes(core) == ()
    told(core, EURUSD="1.248")
    assert codes(core) == TRIPPED


def test_a_profit_counts_at_the_lower_rate_and_a_loss_at_the_higher_one() -> None:
    core = started(EURUSD="1", USDJPY="100")
    made = core.engine.valuation.rates.converted
    assert made(Decimal(10_000), "JPY", "EUR", core.now_ns) == 95
    assert made(Decimal(-10_000), "JPY", "EUR", core.now_ns) == -105
    core.quotes = (Quote("EUR/USD", None, Decimal(1), Decimal("1.25"), core.now_ns),)
    core.enter(e.QuotesMoved())
    assert made(Decimal(100), "USD", "EUR", core.now_ns) == 80
    assert made(Decimal(-100), "USD", "EUR", core.now_ns) == -100
    assert made(Decimal(-1), "USD", "EUR", core.now_ns) == made(Decimal("-1.0"), "USD", "EUR", core.now_ns)


def test_an_amount_that_does_not_come_out_even_is_rounded_against_the_account() -> None:
    core = started(EURUSD="3")
    made = core.engine.valuation.rates.converted
    assert made(Decimal(1), "USD", "EUR", core.now_ns) == Decimal("0.333333333")
    assert made(Decimal(-1), "USD", "EUR", core.now_ns) == Decimal("-0.333333334")


# ---------------------------------------------------------------------------------------------- no rate


def test_while_a_rate_is_missing_nothing_new_passes_and_what_reduces_does() -> None:
    core = started()
    core.report(fill("ghost", 10, instrument=SAP, side="buy", price=1))
    lost(core, "1", "JPY")
    assert codes(core) == UNKNOWN
    reply = core.check(order(instrument=SAP, quantity=1, price=1))
    assert "no rate of JPY in USD" in reply.rejected.rejects[0].reason
    assert "loss can't tell the P&L of account alpha" in reply.rejected.rejects[0].reason
    assert codes(core, side="sell", quantity=10) == ()
    told(core, USDJPY="150")
    assert codes(core) == ()


def test_while_a_rate_is_stale_nothing_new_passes_and_nothing_trips() -> None:
    core = started()
    lost(core, "1", "USD")
    core.advance(10)
    assert codes(core) == (), "exactly as old as it may be"
    core.now_ns += 1
    assert codes(core) == UNKNOWN
    assert lost(core, "1000", "USD") == ()
    told(core, EURUSD="1.25")
    assert codes(core) == TRIPPED


def test_an_order_in_an_asset_without_a_rate_is_refused_before_it_can_make_anything() -> None:
    core = started()
    assert codes(core, instrument=SONY) == UNKNOWN
    assert codes(core, instrument=pit.Instrument("X", "CHF")) == UNKNOWN
    assert codes(core, instrument=AAPL) == ()


def test_its_own_asset_needs_no_rate_nor_does_an_asset_of_which_nothing_is_left() -> None:
    core = Core(OWN)
    assert codes(core) == ()
    lost(core, "5")
    lost(core, "2", "JPY")
    assert codes(core) == UNKNOWN
    lost(core, "-2", "JPY")
    assert codes(core) == ()


def test_an_account_without_a_currency_of_its_own_is_told_to_have_one() -> None:
    core = started()
    reply = core.check(order(account="stranger"))
    assert reply.rejected.codes == UNKNOWN
    assert '[accounts.stranger] currency = "…"' in reply.rejected.reason


def test_it_cannot_be_rearmed_while_nobody_can_say() -> None:
    core = started()
    assert lost(core, "100")
    lost(core, "1", "JPY")
    no = core.rearm("loss", "account alpha", "20")
    assert no.failure == "InvalidInput" and "can't be told" in no.message
    told(core, USDJPY="150", EURUSD="1.25")
    assert core.rearm("loss", "account alpha", "20") == e.Done(1)
    assert codes(core) == ()
    assert lost(core, "20")


# ---------------------------------------------------------------------------------------------- what undoes


def test_a_busted_fill_leaves_nothing_behind_whatever_the_rate_is_by_then() -> None:
    core = started()
    for side, price, id in (("buy", "100", "f1"), ("sell", "50", "f2")):
        core.working(order(id=id, side=side, quantity=1, price=price))
        core.report(fill(id, 1, price=price, report_id=id))
    assert _pnl(core) == -40
    told(core, EURUSD="2")
    core.report(report("bust", order_id="f2", fill_id="f2"))
    assert _pnl(core) == 0


def test_a_person_says_that_a_profit_was_exchanged() -> None:
    core = started()
    lost(core, "-125", "USD")
    core.adjust(
        pit.PnlAdjustment(account="alpha", settlement="USD", move_by="-125"),
        pit.PnlAdjustment(account="alpha", settlement="EUR", move_by="99"),
    )
    told(core, EURUSD="9")
    assert _pnl(core) == 99


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("settings", [OWN, FIRM])
def test_after_a_restart_it_goes_on_where_it_was(settings: str, way: str) -> None:
    core = started(settings)
    lost(core, "40")
    lost(core, "25", "USD")
    again = come_back(core, settings, way)
    again.session("mm1")
    left = Decimal(40) if settings is OWN else Decimal(20)
    assert lost(again, str(left - Decimal("0.01"))) == ()
    assert lost(again, "0.01")


# ---------------------------------------------------------------------------------------------- by the day, the peak


def test_a_day_counts_from_what_everything_was_worth_when_it_began() -> None:
    core = started(limited('each = "account", currency = "account", max_loss = "100", per = "day"'))
    lost(core, "99")
    told(core, EURUSD="1.25")
    core.begin_day("2026-11-24")
    assert lost(core, "99") == () and codes(core) == ()
    assert lost(core, "1.25", "USD")
    core.begin_day("2026-11-25")
    assert codes(core) == ()


def test_a_day_that_begins_without_a_rate_counts_from_the_first_that_is_told() -> None:
    core = started(limited('each = "account", currency = "account", max_loss = "100", per = "day"'))
    lost(core, "500", "JPY")
    core.begin_day("2026-11-24")
    told(core, EURUSD="1", USDJPY="1")
    assert codes(core) == (), "it was 525 EUR, and began the day"
    assert lost(core, "99.99") == () and lost(core, "0.01")


def test_a_drawdown_is_taken_in_the_currency() -> None:
    core = started(limited('each = "account", currency = "account", max_drawdown = "100"'))
    lost(core, "-250", "USD")
    told(core, EURUSD="1.2500001")
    assert codes(core) == ()
    told(core, EURUSD="2.5")
    assert codes(core) == TRIPPED, "200 EUR are 100 by now"


# ---------------------------------------------------------------------------------------------- several accounts


def test_a_firm_limit_adds_up_accounts_of_several_currencies_with_what_they_hold() -> None:
    core = started(FIRM, EURUSD="1.25", SAPEUR="100", AAPLUSD="100")
    core.report(fill("g1", 10, price=100, side="buy", instrument=SAP))
    core.report(fill("g2", 4, price=100, side="sell", instrument=AAPL, account="beta"))
    told(core, EURUSD="1.25", SAPEUR="100", AAPLUSD="100")
    told(core, SAPEUR="93")
    assert codes(core) == (), "-87.5 USD"
    told(core, AAPLUSD="103.12")
    assert codes(core) == ()
    told(core, AAPLUSD="103.125")
    assert codes(core) == TRIPPED
    assert codes(core, instrument=AAPL, side="buy", account="beta") == (), "it reduces"


def test_one_that_comes_later_begins_with_what_was_made_and_one_that_counts_otherwise_begins_anew() -> None:
    core = started(limited('over = "firm", settlement = "USD", max_loss = "1000"'))
    lost(core, "30")
    lost(core, "30", "USD", account="beta")
    core.configure(FIRM)
    told(core, EURUSD="1.25")
    assert _pnl(core, "firm") == Decimal("-67.5")
    core.configure(limited('over = "firm", settlement = "USD", max_loss = "31"'))
    assert _pnl(core, "firm") == -30
    assert core.report(money("x", fee=1)).result.blocks


@pytest.mark.parametrize("per", ["", ', per = "day"'])
def test_the_first_configuration_of_a_journal_does_nothing_that_only_its_own_policies_could_read(per: str) -> None:
    settings = limited(f'over = "firm", currency = "firm", max_drawdown = "50", on = "both"{per}')
    settings += (
        f'\nown = {{ control = "pnl_kill_switch", each = "account", currency = "account", max_drawdown = "9"{per} }}'
    )
    settings += (
        '\nusd = { control = "pnl_kill_switch", over = "firm", settlement = "USD", max_drawdown = "9", on = "both" }'
    )
    blank = bootstrap.blank_engine()
    body = bootstrap.configured(config.parse(settings), "test", "test")
    with decimal.localcontext(exact_context()):
        entry = e.Entry(1, 0, 0, body)
        result = blank.apply(entry)
        row = encode(e.Row(entry, result.effects, result.reply))
        deed = Reader(bootstrap.blank_engine().policies).deed(row)
    assert deed.effects


def test_a_bound_that_a_configuration_moves_behind_the_pnl_trips_at_once() -> None:
    core = Core(OWN.replace('"100"', '"1000"'))
    lost(core, "100")
    core.configure(OWN)
    (block,) = core.engine.accounts.blocks()
    assert block.scope == "account alpha"


@pytest.mark.parametrize("whose", ['over = "firm", currency = "firm"', 'each = "account", currency = "firm"'])
def test_an_order_costs_no_more_however_many_accounts_hold_what_has_moved(whose: str) -> None:
    assert _calls_of_a_command(whose, 5) == _calls_of_a_command(whose, 200)


def _calls_of_a_command(whose: str, accounts: int) -> tuple[int, int]:
    """How many functions run for an order that brings a mark and a rate of what all of them hold, and for a fill."""
    core = started(limited(f'{whose}, on = "both", max_loss = "1000000"'))
    for number in range(accounts):
        core.report(fill(f"g{number}", 1, price=100, side="buy", instrument=SAP, account=f"a{number}"))
    told(core, EURUSD="1.25", SAPEUR="100")
    counts = []
    core.quotes = tuple(Quote(*each, None, None, core.now_ns) for each in _MOVED)
    for what in (order(instrument=SAP), fill("last", 1, price=100, side="sell", instrument=SAP, account="a1")):
        calls = 0

        def count(frame: Any, event: str, _: Any) -> None:
            nonlocal calls
            calls += event == "call" and str(frame.f_globals.get("__name__")).startswith("pitd.")

        sys.setprofile(count)
        try:
            if isinstance(what, pit.Order):
                core.check(what)
            else:
                core.report(what)
        finally:
            sys.setprofile(None)
        counts.append(calls)
    return counts[0], counts[1]


_MOVED = (("SAP/EUR", Decimal(101)), ("EUR/USD", Decimal("1.26")))


def test_an_account_is_stopped_by_a_mark_that_anothers_order_brought_before_it_can_do_anything() -> None:
    def brought() -> Core:
        core = started(limited('each = "account", currency = "firm", on = "both", max_loss = "100"'))
        for account in ("alpha", "beta"):
            core.report(fill(f"g {account}", 10, price=100, side="buy", instrument=SAP, account=account))
        told(core, EURUSD="1.25", SAPEUR="100")
        core.quotes = (Quote("SAP/EUR", Decimal(92), None, None, core.now_ns),)
        assert codes(core, account="beta") == TRIPPED
        core.quotes = ()
        return core

    assert codes(brought()) == TRIPPED
    core = brought()
    core.enter(e.QuotesMoved())
    assert {block.scope for block in core.engine.accounts.blocks()} == {"account alpha", "account beta"}
    core = brought()
    for way in WAYS:
        again = come_back(core, limited('each = "account", currency = "firm", on = "both", max_loss = "100"'), way)
        again.enter(e.QuotesMoved())
        assert {block.scope for block in again.engine.accounts.blocks()} == {"account alpha", "account beta"}


def test_those_that_are_due_are_looked_at_though_nobody_asks_and_a_question_makes_nobody_due() -> None:
    local = Local(limited('each = "account", currency = "firm", on = "both", max_loss = "100"'))
    rows: list[e.Row] = []
    local.house.sequencer.watchers.append(lambda released: rows.extend(released))
    eur = pit.Instrument("EUR", "USD")
    for account in ("alpha", "beta"):
        local.engine.apply_execution_report(
            fill(f"g {account}", 10, price=100, side="buy", instrument=SAP, account=account)
        )
    for pair, mark in ((eur, "1.25"), (SAP, "100")):
        local.engine.push_quote(pair, mark=mark)
    assert local.engine.execute_pre_trade(order(account="beta", instrument=SAP, quantity=1))
    local.advance(1)
    local.house.sequencer.end_due()
    local.engine.push_quote(SAP, mark="92")
    for _ in range(2):
        local.engine.execute_pre_trade_dry_run(order(account="beta", instrument=SAP, quantity=1))
    assert not local.core.valuation.unrealised.has_due
    assert not local.engine.execute_pre_trade(order(account="beta", instrument=SAP, quantity=1))
    assert len(local.core.accounts.blocks()) == 1
    local.advance(1)
    local.house.sequencer.end_due()
    assert len(local.core.accounts.blocks()) == 2
    count = local.core.seq
    local.advance(1)
    local.house.sequencer.end_due()
    assert local.core.seq == count, "nothing is due any more"


# ---------------------------------------------------------------------------------------------- the configuration


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        ('each = "account", currency = "EUR"', '"account" or "firm" is wanted'),
        ('over = "firm", currency = "account"', "several accounts have no one currency"),
        ('each = "account", currency = "account", settlement = "USD"', "leave one of them out"),
        ('each = "account", currency = "firm", initial_pnl = "1"', "initial_pnl"),
    ],
)
def test_a_limit_that_can_not_be_meant_is_refused_with_a_mend(limit: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        config.parse(limited(f'{limit}, max_loss = "100"'))


def test_an_account_whose_currency_nobody_says_is_named() -> None:
    with pytest.raises(ConfigError, match=r"add it to \[accounts.gamma\]"):
        config.parse(OWN.replace("[limits]", "[accounts.gamma]\n[limits]"))


# ---------------------------------------------------------------------------------------------- a model


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1])
def test_every_trip_and_every_refusal_is_that_of_a_model(seed: int) -> None:
    settings = limited('each = "account", currency = "account", max_loss = "300", on = "both", max_age = "10s"') + (
        '\nall = { control = "pnl_kill_switch", over = "firm", currency = "firm", max_loss = "500", on = "both", '
        'max_age = "10s" }\nkept = { control = "pnl_kill_switch", each = "account", currency = "firm", '
        'max_profit = "300" }'
    )
    draw, core = random.Random(seed), started(settings)
    own = {"alpha": "EUR", "beta": "USD"}
    symbols = {"AAPL/USD": "USD", "SAP/EUR": "EUR", "SONY/JPY": "JPY"}
    price = {"AAPL/USD": Fraction(100), "SAP/EUR": Fraction(100), "SONY/JPY": Fraction(10_000)}
    price |= {"EUR/USD": Fraction(5, 4), "USD/JPY": Fraction(128)}
    seen: dict[str, tuple[Fraction, int]] = {"EUR/USD": (Fraction(5, 4), core.now_ns)}
    realised: dict[tuple[str, str], Fraction] = {}
    open_: dict[tuple[str, str], tuple[Fraction, Fraction]] = {}
    tripped: set[tuple[str, str]] = set()

    def fresh(symbol: str) -> Fraction | None:
        known = seen.get(symbol)
        return None if known is None or core.now_ns - known[1] > 10 * S else known[0]

    def usd(asset: str, adds: bool) -> Fraction | None:
        """What a unit counts: the higher rate where it adds."""
        if asset == "USD":
            return Fraction(1)
        if asset == "BNB":
            return Fraction(500)
        pair = fresh("EUR/USD" if asset == "EUR" else "USD/JPY")
        if pair is None:
            return None
        if asset == "EUR":
            return pair
        exact = Fraction(105 if adds else 95, 100) / pair
        scaled = exact * 10**18
        return Fraction(-(-scaled.numerator // scaled.denominator) if adds else int(scaled), 10**18)

    def worth(amounts: dict[str, Fraction], into: str) -> Fraction | None:
        total = Fraction(0)
        for asset, amount in amounts.items():
            if not amount or asset == into:
                total += amount
                continue
            of, per = usd(asset, amount < 0), usd(into, amount > 0)
            if of is None or per is None:
                return None
            exact = amount * of / per * 10**9
            total += Fraction(exact.numerator // exact.denominator, 10**9)
        return total

    def made(accounts: list[str], *, with_marks: bool) -> dict[str, Fraction] | None:
        amounts: dict[str, Fraction] = {}
        for (account, asset), amount in realised.items():
            if account in accounts:
                amounts[asset] = amounts.get(asset, Fraction(0)) + amount
        for (account, symbol), (units, cost) in open_.items():
            if with_marks and units and account in accounts:
                mark = fresh(symbol)
                if mark is None:
                    return None
                asset = symbols[symbol]
                amounts[asset] = amounts.get(asset, Fraction(0)) + units * mark - cost
        return amounts

    def sums() -> dict[tuple[str, str], Fraction | None]:
        found: dict[tuple[str, str], Fraction | None] = {}
        for account, into in own.items():
            mine = made([account], with_marks=True)
            found["loss", f"account {account}"] = None if mine is None else worth(mine, into)
            banked = made([account], with_marks=False)
            assert banked is not None
            found["kept", f"account {account}"] = worth(banked, "USD")
        both = made(list(own), with_marks=True)
        found["all", "firm"] = None if both is None else worth(both, "USD")
        return found

    def look(keys: set[tuple[str, str]]) -> None:
        for key, total in sums().items():
            if key not in keys or total is None:
                continue
            floor, ceiling = bounds[key]
            if (floor is not None and total <= floor) or (ceiling is not None and total >= ceiling):
                tripped.add(key)

    every = {("all", "firm")} | {(limit, f"account {each}") for limit in ("loss", "kept") for each in own}
    bounds: dict[tuple[str, str], tuple[Fraction | None, Fraction | None]] = {
        key: (None, Fraction(300)) if key[0] == "kept" else (Fraction(-500 if key[0] == "all" else -300), None)
        for key in every
    }
    refused = trips = 0
    for number in range(10_000):
        core.now_ns += draw.choice((0, S // 10, S, 11 * S) if draw.random() < 0.03 else (0, S // 10))
        what, was = draw.random(), set(tripped)
        if what < 0.4:
            some = draw.sample(sorted(price), draw.choice((1, 3, 5)))
            before = {symbol: seen.get(symbol) for symbol in some}
            for symbol in some:
                step = price[symbol] * Fraction(draw.randint(-30, 30), 1000)
                price[symbol] = Fraction(round(max(price[symbol] + step, Fraction(1, 2)), 4))
                seen[symbol] = (price[symbol], core.now_ns)
            core.quotes = tuple(
                Quote(symbol, Decimal(price[symbol].numerator) / price[symbol].denominator, None, None, core.now_ns)
                for symbol in some
            )
            core.enter(e.QuotesMoved())
            core.quotes = ()
            moved = {symbol for symbol in some if seen[symbol] != before[symbol]}
            keys: set[tuple[str, str]] = set()
            if moved & {"EUR/USD", "USD/JPY"}:
                keys = every
            for (account, symbol), (units, _) in open_.items():
                if symbol in moved and units:
                    keys |= {("all", "firm"), ("loss", f"account {account}"), ("kept", f"account {account}")}
            look(keys)
        elif what < 0.7:
            account, symbol = draw.choice(sorted(own)), draw.choice(sorted(symbols))
            units, cost = open_.get((account, symbol), (Fraction(0), Fraction(0)))
            side = "sell" if units > 32 else "buy" if units < -32 else draw.choice(("buy", "sell"))
            many = Fraction(abs(units)) if units and (units > 0) == (side == "sell") else Fraction(draw.choice((1, 8)))
            at = price[symbol]
            fee, asset = Fraction(draw.randint(0, 20), 1000), draw.choice(("BNB", symbols[symbol], "USD"))
            underlying, _, settlement = symbol.partition("/")
            core.report(
                fill(
                    *(f"g{number}", str(float(many)), str(float(at))),
                    side=side,
                    account=account,
                    instrument=pit.Instrument(underlying, settlement),
                    fee=str(float(fee)),
                    fee_asset=asset,
                )
            )
            signed = many if side == "buy" else -many
            if units and (units > 0) != (signed > 0):  # all of it is closed
                assert units == -signed
                key = (account, settlement)
                realised[key] = realised.get(key, Fraction(0)) - signed * at - cost
                open_[account, symbol] = (Fraction(0), Fraction(0))
            else:
                open_[account, symbol] = (units + signed, cost + signed * at)
            realised[account, asset] = realised.get((account, asset), Fraction(0)) - fee
            look({("all", "firm"), ("loss", f"account {account}"), ("kept", f"account {account}")})
        elif what < 0.97:
            account, asset = draw.choice(sorted(own)), draw.choice(("USD", "EUR", "JPY"))
            got = set(codes(core, account=account, instrument=pit.Instrument("OTHER", asset)))
            totals, mine = sums(), {("all", "firm"), ("loss", f"account {account}"), ("kept", f"account {account}")}
            needs = {"all": "USD", "kept": "USD", "loss": own[account]}
            no_rate = any(
                asset != needs[limit] and (usd(asset, True) is None or usd(needs[limit], True) is None)
                for limit, _ in mine
            )
            unknown = no_rate or any(totals[key] is None for key in mine)
            assert ("PnlKillSwitchTriggered" in got) == bool(mine & tripped), (number, got)
            assert bool(got & {"MarkPriceUnavailable", "ReferenceDataUnavailable"}) == unknown, (number, got)
            refused += bool(got)
        else:
            for key in sorted(tripped):
                total = sums()[key]
                if total is None:
                    continue
                assert core.rearm(*key, "50") == e.Done(1)
                tripped.discard(key)
                bounds[key] = (None, total + 50) if key[0] == "kept" else (total - 50, None)
        trips += len(tripped - was)
        blocked = {(block.limit, block.scope) for block in core.engine.accounts.blocks()}
        assert blocked == tripped, (seed, number)
        if number % 2_000 == 1_999:
            core = come_back(core, settings, "snapshot")
    assert trips > 20 and refused > 100


def _pnl(core: Core, scope: str = "account alpha", limit: str = "loss") -> Decimal:
    """What a limit has counted for that scope, as people read it."""
    from pitd.core.asking import look_at

    (counter, *_) = core.engine.policies["pnl_kill_switch"].counters(limit, look_at(core.engine, core.now_ns, most=9))
    assert counter.scope == scope and counter.used is not None
    return -counter.used
