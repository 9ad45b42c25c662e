"""pnl_kill_switch by the newest marks: when it trips, when nobody can say, and what passes then; and a model."""

from __future__ import annotations

import random
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from builders import AAPL, Core, Local, fill, money, order, saved
from cases import amounts
from restarts import WAYS, come_back

import pit
from pitd.core import entry as e
from pitd.core.prices import Quote

CALENDAR = '[calendar]\nstart_of_day = "00:00"\n[gate]\nuncovered = "allow"\npnl = "computed"\n'
S = 10**9


def limited(limit: str, more: str = "") -> str:
    return f'{CALENDAR}{more}\n[limits]\nloss = {{ control = "pnl_kill_switch", settlement = "USD", {limit} }}'


BOTH = limited('each = "account", max_loss = "100", on = "both"')
FIRM = limited('over = "firm", max_loss = "100", on = "both", then = "reduce"')


def codes(core: Core, **fields: Any) -> tuple[str, ...]:
    reply = core.check(order(**fields))
    return reply.rejected.codes if isinstance(reply, e.Refused) else ()


def marks(core: Core, *told: tuple[str, str], age_s: float = 0) -> None:
    """Quotes of what is held have moved; nobody asked for an order."""
    at_ns = core.now_ns - round(age_s * S)
    core.quotes = tuple(Quote(symbol, Decimal(mark), None, None, at_ns) for symbol, mark in told)
    core.enter(e.QuotesMoved())
    core.quotes = ()


def trade(core: Core, side: str, quantity: str, price: str, **fields: Any) -> pit.ReportResult:
    return core.report(fill("ghost", quantity, price=price, side=side, instrument=AAPL, **fields)).result


def started(settings: str = BOTH) -> Core:
    core = Core(settings)
    core.now_ns = 1_000 * S
    return core


def long_ten(settings: str = BOTH) -> Core:
    core = started(settings)
    marks(core, ("AAPL/USD", "100"))
    trade(core, "buy", "10", "100")
    marks(core, ("AAPL/USD", "100"))
    return core


def test_a_mark_trips_it_at_exactly_the_bound_though_nobody_asks_for_an_order() -> None:
    core = long_ten()
    marks(core, ("AAPL/USD", "90.01"))
    assert core.engine.accounts.blocks() == ()
    marks(core, ("AAPL/USD", "90"))
    (block,) = core.engine.accounts.blocks()
    assert "P&L -100 USD has reached the floor -100" in block.reason


def test_both_counts_what_was_realised_beside_what_is_not() -> None:
    core = long_ten()
    core.report(money("x", fee="60"))
    marks(core, ("AAPL/USD", "96.01"))
    assert not codes(core, quantity=1)
    marks(core, ("AAPL/USD", "96"))
    assert codes(core, quantity=1) == ("PnlKillSwitchTriggered",)


def test_unrealised_alone_leaves_out_what_was_realised() -> None:
    core = long_ten(limited('each = "account", max_loss = "100", on = "unrealised"'))
    core.report(money("x", fee="600"))
    assert not codes(core, quantity=1)
    marks(core, ("AAPL/USD", "90"))
    assert codes(core, quantity=1) == ("PnlKillSwitchTriggered",)


def test_the_fill_that_brings_it_past_the_bound_names_the_block() -> None:
    core = long_ten()
    (block,) = trade(core, "buy", "10", "110").blocks
    assert block.scope == "account alpha"


def test_the_order_that_brings_the_mark_is_refused_by_it() -> None:
    core = long_ten()
    core.quotes = (Quote("AAPL/USD", Decimal(90), None, None, core.now_ns),)
    assert codes(core, quantity=1) == ("PnlKillSwitchTriggered",)


def test_later_marks_do_not_lift_it_and_it_is_rearmed_from_where_it_stands() -> None:
    core = long_ten()
    marks(core, ("AAPL/USD", "90"))
    marks(core, ("AAPL/USD", "95"))
    assert codes(core, quantity=1) == ("PnlKillSwitchTriggered",)
    assert core.rearm("loss", "account alpha", "20") == e.Done(1)
    marks(core, ("AAPL/USD", "93.01"))
    assert not codes(core, quantity=1)
    marks(core, ("AAPL/USD", "93"))
    assert codes(core, quantity=1) == ("PnlKillSwitchTriggered",)


# ---------------------------------------------------------------------------------------------- nobody can say


def test_without_a_mark_nothing_new_passes_and_what_reduces_does() -> None:
    core = started()
    trade(core, "buy", "10", "100")
    assert codes(core, quantity=1) == ("MarkPriceUnavailable",)
    assert not codes(core, side="sell", quantity=10)
    marks(core, ("AAPL/USD", "100"))
    assert not codes(core, quantity=1)


def test_an_old_mark_says_nothing_and_trips_nothing() -> None:
    core = long_ten()
    core.now_ns += 60 * S
    assert not codes(core, quantity=1), "exactly as old as it may be"
    core.now_ns += 1
    assert codes(core, quantity=1) == ("MarkPriceUnavailable",)
    marks(core, ("AAPL/USD", "50"), age_s=60.000000001)
    assert core.engine.accounts.blocks() == ()
    marks(core, ("AAPL/USD", "50"))
    assert codes(core, quantity=1) == ("PnlKillSwitchTriggered",)


def test_one_accounts_missing_mark_stops_all_under_a_firm_limit() -> None:
    core = started(FIRM)
    trade(core, "buy", "1", "100", account="beta")
    assert codes(core, quantity=1) == ("MarkPriceUnavailable",)
    marks(core, ("AAPL/USD", "100"))
    assert not codes(core, quantity=1)


def test_a_process_that_begins_to_serve_knows_no_marks() -> None:
    core = long_ten()
    core.enter(e.Resumed(0, b"another1"))
    assert codes(core, quantity=1) == ("MarkPriceUnavailable",)


def test_it_cannot_be_rearmed_while_nobody_can_say() -> None:
    core = long_ten()
    marks(core, ("AAPL/USD", "90"))
    core.enter(e.Resumed(0, b"another1"))
    no = core.rearm("loss", "account alpha", "20")
    assert no.failure == "InvalidInput" and "can't be told" in no.message


# ---------------------------------------------------------------------------------------------- several, by the day


def test_a_firm_limit_adds_up_its_accounts_and_lets_pass_what_reduces() -> None:
    core = started(FIRM)
    marks(core, ("AAPL/USD", "100"))
    trade(core, "buy", "10", "100")
    trade(core, "sell", "4", "100", account="beta")
    marks(core, ("AAPL/USD", "84"))
    assert not codes(core, quantity=1)
    marks(core, ("AAPL/USD", "83"))
    assert codes(core, quantity=1) == ("PnlKillSwitchTriggered",)
    assert not codes(core, side="sell", quantity=10) and not codes(core, side="buy", quantity=4, account="beta")


def test_a_day_counts_from_the_marks_it_began_with() -> None:
    core = long_ten(limited('each = "account", max_loss = "100", on = "both", per = "day"'))
    marks(core, ("AAPL/USD", "91"))
    core.begin_day("2026-11-24")
    marks(core, ("AAPL/USD", "81.01"))
    assert not codes(core, quantity=1)
    marks(core, ("AAPL/USD", "81"))
    assert codes(core, quantity=1) == ("PnlKillSwitchTriggered",)
    core.begin_day("2026-11-25")
    assert not codes(core, quantity=1)


def test_a_day_that_begins_without_a_mark_counts_from_the_first_that_is_told() -> None:
    core = long_ten(limited('each = "account", max_loss = "100", on = "both", per = "day"'))
    core.enter(e.Resumed(0, b"another1"))
    core.begin_day("2026-11-24")
    marks(core, ("AAPL/USD", "50"))
    assert not codes(core, quantity=1)
    marks(core, ("AAPL/USD", "40"))
    assert codes(core, quantity=1) == ("PnlKillSwitchTriggered",)


@pytest.mark.parametrize("way", WAYS)
def test_what_is_not_realised_is_known_again_after_a_start(way: str) -> None:
    core = long_ten()
    marks(core, ("AAPL/USD", "91"))
    again = come_back(core, BOTH, way)
    again.session("mm1")
    (block,) = again.report(money("x", fee="10")).result.blocks
    assert "P&L -100 USD" in block.reason


# ---------------------------------------------------------------------------------------------- very many accounts


EACH_IN_USD = """
[currency]
firm = "USD"
[currency.rates]
EUR = { quote = "EUR/USD" }
[limits]
loss = { control = "pnl_kill_switch", each = "account", currency = "firm", max_loss = "100", on = "both" }
"""


def many_hold(house: Local, count: int) -> list[int]:
    """So many accounts that hold what is marked at 100, and how many of them each entry looks at from here on."""
    push(house, "AAPL/USD", "100")
    push(house, "EUR/USD", "1")
    for n in range(count):
        bought = fill("ghost", 10, "100", side="buy", instrument=AAPL, account=f"a{n:04}", report_id=f"r{n}")
        house.engine.apply_execution_report(bought)
    turn(house, 1_000)
    looked_at: list[int] = []
    switch = house.core.policies["pnl_kill_switch"]
    look = switch._revalue  # type: ignore[attr-defined]

    def counted(limit: Any, scope: str, now_ns: int) -> Any:
        looked_at[-1] += 1
        return look(limit, scope, now_ns)

    asked = switch.revalued

    def each(now_ns: int, group_of: Any) -> Any:
        looked_at.append(0)
        return asked(now_ns, group_of)

    switch._revalue, house.core.pipeline._revalued[0].revalued = counted, each  # type: ignore[attr-defined,method-assign]
    return looked_at


def push(house: Local, symbol: str, mark: str) -> None:
    house.engine.push_quote(pit.Instrument(*symbol.split("/")), mark=mark)


def turn(house: Local, times: int = 1) -> None:
    """Has the loop come by, a moment after the last time."""
    for _ in range(times):
        house.advance(0.1)
        house.house.sequencer.end_due()
        house.house.sequencer.release()
        if house.house.sequencer.next_quotes_ns() is None:
            return


def stopped(house: Local) -> list[str]:
    return [block.scope.removeprefix("account ") for block in house.core.accounts.blocks()]


@pytest.mark.parametrize("moved", ["a mark", "a rate"])
def test_an_entry_looks_at_so_many_accounts_and_the_next_ones_at_the_rest(moved: str) -> None:
    house = Local(EACH_IN_USD)
    looked_at = many_hold(house, 600)
    if moved == "a rate":
        for n in range(600):
            house.engine.apply_execution_report(
                money("x", "-90", account=f"a{n:04}", instrument=pit.Instrument("SAP", "EUR"))
            )
        turn(house, 9)
    looked_at.clear()
    push(house, *(("AAPL/USD", "90") if moved == "a mark" else ("EUR/USD", "1.2")))
    turn(house)
    assert sum(looked_at) == 250 and stopped(house) == [f"a{n:04}" for n in range(250)]
    assert not house.engine.execute_pre_trade(order(account="a0599")), "an order of its own comes after a look at it"
    turn(house, 9)
    assert max(looked_at) == 250 and len(stopped(house)) == 600


def test_quotes_that_move_meanwhile_come_once_more_round_and_let_nobody_wait_for_ever() -> None:
    house = Local(EACH_IN_USD)
    looked_at = many_hold(house, 300)
    push(house, "AAPL/USD", "95")
    turn(house)
    push(house, "AAPL/USD", "90")
    turn(house, 9)
    assert looked_at == [250, 50, 250] and len(stopped(house)) == 300


@pytest.mark.parametrize("way", ["rows", "snapshot"])
def test_who_goes_on_in_the_middle_of_a_round_looks_at_the_same_accounts(way: str) -> None:
    core = Core(EACH_IN_USD)
    core.now_ns = 1_000 * S
    marks(core, ("AAPL/USD", "100"), ("EUR/USD", "1"))
    for n in range(6):
        core.report(fill("ghost", 10, "100", side="buy", instrument=AAPL, account=f"a{n}"))
    marks(core, ("AAPL/USD", "100"))
    core.quotes = (Quote("AAPL/USD", Decimal(90), None, None, core.now_ns),)
    core.enter(e.QuotesMoved("", "a1"))
    core.quotes = ()
    again = core.again(way)
    for one in (core, again):
        one.enter(e.QuotesMoved("a1", "a3"))
        assert [block.scope[-2:] for block in one.engine.accounts.blocks()] == ["a0", "a1", "a2", "a3"]
        one.enter(e.QuotesMoved("a3", ""))
    assert saved(core.engine) == saved(again.engine) and len(core.engine.accounts.blocks()) == 6


# ---------------------------------------------------------------------------------------------- a model


@pytest.mark.parametrize("steps", amounts(10_000, quick=2_000))
def test_every_trip_and_every_refusal_is_that_of_a_model(steps: int) -> None:
    settings = limited('each = "account", max_loss = "2000", on = "both", max_age = "5s"') + (
        '\nall = { control = "pnl_kill_switch", over = "firm", settlement = "USD", max_drawdown = "3000", on = "both", '
        'max_age = "5s", then = "reduce" }'
    )
    draw, core = random.Random(1), started(settings)
    symbols = ("AAPL/USD", "MSFT/USD")
    accounts = ("alpha", "beta")
    held: dict[tuple[str, str], Fraction] = {}
    money_in: dict[str, Fraction] = {}
    told: dict[str, tuple[Fraction, int]] = {}
    price = dict.fromkeys(symbols, Fraction(100))
    tripped: set[tuple[str, str]] = set()
    floors: dict[str, Fraction] = {}
    peak: Fraction | None = None

    def units(account: str, symbol: str) -> Fraction:
        return held.get((account, symbol), Fraction(0))

    def total(account: str) -> Fraction | None:
        """All that came in less all that went out, with what is held sold at its mark."""
        made = money_in.get(account, Fraction(0))
        for symbol in symbols:
            if units(account, symbol):
                mark = told.get(symbol)
                if mark is None or core.now_ns - mark[1] > 5 * S:
                    return None
                made += units(account, symbol) * mark[0]
        return made

    def look(moved: bool) -> None:
        nonlocal peak
        if not moved:
            return
        worth = {account: total(account) for account in accounts}
        for account, one in worth.items():
            if one is not None and one <= floors.get(account, Fraction(-2_000)):
                tripped.add(("loss", f"account {account}"))
        if None not in worth.values():
            now = sum((one for one in worth.values() if one is not None), Fraction(0))
            peak = max(peak if peak is not None else Fraction(0), now)
            if peak - now >= 3_000:
                tripped.add(("all", "firm"))

    refused = trips = 0
    for number in range(steps):
        core.now_ns += draw.choice((0, S // 10, S, 6 * S) if draw.random() < 0.05 else (0, S // 10))
        what, was = draw.random(), set(tripped)
        if what < 0.45:
            some = draw.sample(symbols, draw.choice((1, 2, 2)))
            for symbol in some:
                price[symbol] = max(Fraction(5), price[symbol] + Fraction(draw.randint(-300, 300), 100))
                told[symbol] = (price[symbol], core.now_ns)
            marks(core, *((symbol, str(float(price[symbol]))) for symbol in some))
            look(any(units(account, symbol) for account in accounts for symbol in some))
        elif what < 0.75:
            account, symbol = draw.choice(accounts), draw.choice(symbols)
            held_now = units(account, symbol)
            side = "sell" if held_now > 60 else "buy" if held_now < -60 else draw.choice(("buy", "sell"))
            many = draw.randint(1, 20)
            pair = pit.Instrument(symbol.partition("/")[0], "USD")
            core.report(
                fill(f"g{number}", many, price=float(price[symbol]), side=side, account=account, instrument=pair)
            )
            signed = Fraction(many if side == "buy" else -many)
            held[account, symbol] = held_now + signed
            money_in[account] = money_in.get(account, Fraction(0)) - signed * price[symbol]
            look(True)
        elif what < 0.97:
            account = draw.choice(accounts)
            got = set(codes(core, account=account, instrument=pit.Instrument("TSLA", "USD"), quantity=1, price=1))
            own_unknown, any_unknown = total(account) is None, any(total(each) is None for each in accounts)
            stopped = ("all", "firm") in tripped or ("loss", f"account {account}") in tripped
            assert ("PnlKillSwitchTriggered" in got) == stopped, (number, got)
            assert ("MarkPriceUnavailable" in got) == (own_unknown or any_unknown), (number, got)
            refused += bool(got)
        else:
            for limit, scope in sorted(tripped):
                now_known = {account: total(account) for account in accounts}
                if None in now_known.values():
                    continue
                assert core.rearm(limit, scope, "1000") == e.Done(1)
                tripped.discard((limit, scope))
                if limit == "loss":
                    account = scope.removeprefix("account ")
                    mine = now_known[account]
                    assert mine is not None
                    floors[account] = mine - 1_000
                else:
                    peak = sum((one for one in now_known.values() if one is not None), Fraction(0)) - 1_000 + 3_000
        trips += len(tripped - was)
        blocked = {(block.limit, block.scope) for block in core.engine.accounts.blocks()}
        assert blocked == tripped, number
        if number % 1_000 == 999:
            core = come_back(core, settings, "snapshot")
    assert trips > steps // 1_000 and refused > steps // 100
