"""exposure_limit and concentration_limit against a model that adds everything up anew each time, by fractions."""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Any

import pytest
from builders import AAPL, INSTRUMENTS, Core, fill, order, report
from marks import MSFT, SAP
from restarts import come_back

import pit
from pitd.core import entry as e
from pitd.core.exposures import Exposures
from pitd.core.positions import Pool, Strategy
from pitd.core.prices import Quote

STEPS = 10_000
ACCOUNTS, CLIENTS = ("alpha", "beta", "gamma"), ("mm1", "mm2")
ASSETS = {"AAPL/USD": "USD", "MSFT/USD": "USD", "SAP/EUR": "EUR", "XBT": "BTC"}
INSTRUMENT = {"AAPL/USD": AAPL, "MSFT/USD": MSFT, "SAP/EUR": SAP, "XBT": "XBT"}
MAX_AGE_NS = 5 * 10**9
SETTINGS = f"""{INSTRUMENTS}
[accounts.alpha]
group = "eq"
[accounts.beta]
group = "eq"
[gate]
uncovered = "allow"
[currency]
firm = "USD"
max_age = "3s"
[currency.rates]
EUR = {{ quote = "EUR/USD", haircut_percent = "7" }}
BTC = "20000"
[limits]
acct = {{ control = "exposure_limit", each = "account", settlement = "USD", max_gross = 9000, max_net = 5000 }}
desk = {{ control = "exposure_limit", each = "client", currency = "firm", max_gross = 22000 }}
eq = {{ control = "exposure_limit", over = {{ group = "eq" }}, settlement = "USD", max_net = 7000 }}
firm = {{ control = "exposure_limit", over = "firm", currency = "firm", max_gross = 30000, max_net = 12000 }}
share = {{ control = "concentration_limit", each = "account", settlement = "USD", max_percent = 70, min_gross = 4000 }}
all = {{ control = "concentration_limit", over = "firm", currency = "firm", max_percent = 60, min_gross = 9000 }}
"""


def ceil9(number: Fraction) -> Fraction:
    return Fraction(-(-number * 10**9 // 1), 10**9)


class Unknown(Exception):
    pass


class Model:
    """All that is held, by account and client, what is open, and the marks that were told."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, str], Fraction] = {}
        self.by_client: dict[tuple[str, str], Fraction] = {}
        self.open: list[dict[str, Any]] = []
        self.marks: dict[str, tuple[Fraction, int]] = {}

    def lines(self, book: Any, extra: dict[str, Any] | None) -> dict[tuple[str, str], tuple[Fraction, Fraction]]:
        """Long and short units that may come, by owner and symbol."""
        found: dict[tuple[str, str], list[Fraction]] = {}
        own = self.by_client if isinstance(book, Strategy) else self.held
        for (owner, symbol), units in own.items():
            if self.is_in(owner, book):
                found[owner, symbol] = [units, units]
        for each in (*self.open, *([extra] if extra else [])):
            owner = each["client"] if isinstance(book, Strategy) else each["account"]
            if self.is_in(owner, book):
                line = found.setdefault((owner, each["symbol"]), [Fraction(0), Fraction(0)])
                line[0 if each["side"] == "buy" else 1] += each["left"] * (1 if each["side"] == "buy" else -1)
        return {key: (long, short) for key, (long, short) in found.items() if long or short}

    @staticmethod
    def is_in(owner: str, book: Any) -> bool:
        if isinstance(book, Pool):
            return book.group is None or owner in ("alpha", "beta")
        return owner == (book.client if isinstance(book, Strategy) else book)

    def worth(self, symbol: str, units: Fraction) -> Fraction:
        mark = self.marks[symbol][0]
        if symbol != "XBT":
            return units * mark
        coins = ceil9(abs(units) * 100 / mark)
        return coins if units > 0 else -coins

    def sums(self, book: Any, asset: str | None, now_ns: int, extra: dict[str, Any] | None) -> tuple[Any, ...]:
        """Gross, long, short (above zero when short), gross by symbol: in the asset or (None) the firm's currency."""
        lines = self.lines(book, extra)
        by_symbol: dict[str, list[Fraction]] = {}
        for (_, symbol), (long, short) in lines.items():
            line = by_symbol.setdefault(symbol, [Fraction(0)] * 3)
            line[0] += max(long, -short)
            line[1] += long
            line[2] += short
        totals: dict[str, list[Fraction]] = {}
        parts = {}
        for symbol, units in by_symbol.items():
            if asset not in (None, ASSETS[symbol]):
                continue
            if symbol not in self.marks or now_ns - self.marks[symbol][1] > MAX_AGE_NS:
                raise Unknown("MarkPriceUnavailable")
            line = [self.worth(symbol, each) for each in units]
            total = totals.setdefault(ASSETS[symbol], [Fraction(0)] * 3)
            for place in range(3):
                total[place] += line[place]
            parts[symbol] = line[0]
        if asset is not None:
            gross, long, short = totals.get(asset, [Fraction(0)] * 3)
            return gross, long, -short, parts
        gross = long = short = Fraction(0)
        for name, (each_gross, each_long, each_short) in totals.items():
            up, down = self.rate(name, now_ns)
            gross += ceil9(each_gross * up)
            long += ceil9(each_long * (up if each_long >= 0 else down))
            short += ceil9(-each_short * (up if each_short <= 0 else down))
        return (
            gross,
            long,
            short,
            {symbol: ceil9(part * self.rate(ASSETS[symbol], now_ns)[0]) for symbol, part in parts.items()},
        )

    def rate(self, asset: str, now_ns: int) -> tuple[Fraction, Fraction]:
        if asset == "USD":
            return Fraction(1), Fraction(1)
        if asset == "BTC":
            return Fraction(20000), Fraction(20000)
        if "EUR/USD" not in self.marks or now_ns - self.marks["EUR/USD"][1] > 3 * 10**9:
            raise Unknown("ReferenceDataUnavailable")
        mark = self.marks["EUR/USD"][0]
        return mark * Fraction(107, 100), mark * Fraction(93, 100)

    def reduces(self, wanted: dict[str, Any]) -> bool:
        held = self.held.get((wanted["account"], wanted["symbol"]), Fraction(0))
        mine = [each for each in self.open if all(each[k] == wanted[k] for k in ("account", "symbol", "side"))]
        is_against = held > 0 if wanted["side"] == "sell" else held < 0
        return is_against and sum((each["left"] for each in mine), wanted["left"]) <= abs(held)

    def refusals(self, wanted: dict[str, Any], now_ns: int) -> list[tuple[str, str]]:
        """Limit and code of every no, in the order of the configuration."""
        if self.reduces(wanted):
            return []
        told: list[tuple[str, str]] = []
        asset, group = ASSETS[wanted["symbol"]], Pool("eq")
        is_grouped = wanted["account"] != "gamma"
        for name, applies, book, money, most_gross, most_net in (
            ("acct", asset == "USD", wanted["account"], "USD", 9000, 5000),
            ("desk", True, Strategy(wanted["client"]), None, 22000, None),
            ("eq", asset == "USD" and is_grouped, group, "USD", None, 7000),
            ("firm", True, Pool(), None, 30000, 12000),
        ):
            if not applies:
                continue
            try:
                before, after = self.both(book, money, now_ns, wanted)
            except Unknown as why:
                told.append((name, str(why)))
                continue
            if most_gross is not None and after[0] > most_gross and after[0] > before[0]:
                told.append((name, "RiskLimitExceeded"))
            side = 1 if wanted["side"] == "buy" else 2
            if most_net is not None and after[side] > most_net and after[side] > before[side]:
                told.append((name, "RiskLimitExceeded"))
        for name, applies, book, money, percent, floor in (
            ("share", asset == "USD", wanted["account"], "USD", 70, 4000),
            ("all", True, Pool(), None, 60, 9000),
        ):
            if not applies:
                continue
            try:
                before, after = self.both(book, money, now_ns, wanted)
            except Unknown as why:
                told.append((name, str(why)))
                continue
            was, part = before[3].get(wanted["symbol"], 0), after[3].get(wanted["symbol"], 0)
            if after[0] > floor and part > was and part * 100 > percent * after[0]:
                told.append((name, "ConcentrationLimitExceeded"))
        return told

    def both(self, book: Any, money: str | None, now_ns: int, wanted: dict[str, Any]) -> tuple[Any, Any]:
        after = self.sums(book, money, now_ns, wanted)  # it wants the mark of the order's own instrument, too
        return self.sums(book, money, now_ns, None), after

    def trade(self, chosen: dict[str, Any], units: Fraction) -> None:
        signed = units if chosen["side"] == "buy" else -units
        for sums, owner in ((self.held, chosen["account"]), (self.by_client, chosen["client"])):
            key = (owner, chosen["symbol"])
            sums[key] = sums.get(key, Fraction(0)) + signed
        chosen["left"] -= units
        self.open = [each for each in self.open if each["left"]]


def compare(core: Core, model: Model) -> None:
    """Every book that the engine keeps is what the model adds up, in every asset."""
    exposures: Exposures = core.engine.valuation.exposures
    for book in (*ACCOUNTS, *map(Strategy, CLIENTS), Pool("eq"), Pool()):
        kept = exposures.book(book)
        lines = model.lines(book, None)
        assert {symbol for _, symbol in lines} == set(kept.cells) | set(kept.unvalued), book
        for asset in {ASSETS[symbol] for symbol in kept.cells}:
            if any(ASSETS[symbol] == asset for symbol in kept.unvalued):
                continue
            gross, long, short, _ = model.sums(book, asset, 0, None)
            worth = kept.totals[asset]
            told = tuple(map(Fraction, (worth.gross, worth.long, -worth.short)))
            assert told == (gross, long, short), (book, asset)


@pytest.mark.parametrize("seed", [1])
def test_every_decision_and_every_book_is_the_models(seed: int) -> None:
    draw, core, model = random.Random(seed), Core(SETTINGS), Model()
    core.now_ns = 10**12
    passed, seen = 0, set()
    prices = {"AAPL/USD": (80, 120), "MSFT/USD": (30, 70), "SAP/EUR": (100, 200), "XBT": (15000, 25000)}
    for number in range(STEPS):
        core.now_ns += draw.choice((0, 1, 20, 100, 100, 900)) * 10**6
        what = draw.random()
        if what < 0.6:
            symbol = draw.choice(tuple(ASSETS))
            wanted = {
                "account": draw.choice(ACCOUNTS),
                "client": draw.choice(CLIENTS),
                "symbol": symbol,
                "side": draw.choice(("buy", "sell")),
                "left": Fraction(draw.randint(1, 40) if symbol != "XBT" else draw.randint(1, 90)),
            }
            told = {symbol} if draw.random() < 0.9 else set()
            told |= {each for each in (*ASSETS, "EUR/USD") if draw.random() < 0.15}
            quotes = []
            for each in sorted(told):
                mark = draw.randint(*prices[each]) if each != "EUR/USD" else Fraction(draw.randint(90, 130), 100)
                model.marks[each] = (Fraction(mark), core.now_ns)
                exact = pit.types.exact(str(float(mark)), "mark")
                quotes.append(Quote(each, exact, None, None, core.now_ns))
            core.quotes = tuple(quotes)
            refusals = model.refusals(wanted, core.now_ns)
            made = order(
                id=f"o{number}",
                account=wanted["account"],
                instrument=INSTRUMENT[symbol],
                side=wanted["side"],
                quantity=int(wanted["left"]),
                price=1,
            )
            answer = core.check(made, sent=True, lease_s=60, client=wanted["client"])
            core.quotes = ()
            if isinstance(answer, e.Accepted):
                assert not refusals, (seed, number, wanted)
                core.commit(answer.reservation_id, client=wanted["client"])
                model.open.append(wanted | {"id": made.id})
                passed += 1
            else:
                found = [(each.limit, str(each.code)) for each in answer.rejected.rejects]
                assert found == refusals, (seed, number, wanted)
                seen.update(found)
        elif model.open:
            chosen = draw.choice(model.open)
            if what < 0.75:
                core.report(report("cancelled", order_id=chosen["id"], account=chosen["account"]))
                model.open.remove(chosen)
            else:
                units = Fraction(draw.randint(1, int(chosen["left"])))
                told_fill = fill(chosen["id"], int(units), 1, account=chosen["account"])
                for _ in range(draw.choice((1, 1, 2))):
                    core.report(told_fill)
                model.trade(chosen, units)
        if number % 100 == 0:
            compare(core, model)
        if number % 2_500 == 2_499:
            core = come_back(core, SETTINGS, "replay" if number < 2_500 else "snapshot")
    assert passed > 500
    assert {name for name, _ in seen} == {"acct", "desk", "eq", "firm", "share", "all"}
    assert {code for _, code in seen} > {"MarkPriceUnavailable", "ReferenceDataUnavailable", "RiskLimitExceeded"}
