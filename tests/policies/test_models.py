"""Random order flow through the controls of pace, of size, of what is open and of what may meet, against a model of
them all that keeps a list of every order and every attempt and looks through all of it whenever it is asked.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from builders import AAPL, INSTRUMENTS, Core, fill, order, report

import pit
from pitd.core import entry as e
from pitd.core.policy import Look
from pitd.core.prices import Quote

STEPS = 10_000
GROUPS = {"alpha": "eq", "beta": "eq", "gamma": None}
CLIENTS = ("mm1", "mm2")
MSFT = pit.Instrument("MSFT", "USD")
INSTRUMENT = {"AAPL/USD": AAPL, "MSFT/USD": MSFT, "ESZ6": "ESZ6", "XBT": "XBT"}
SETTLED = {"AAPL/USD": "USD", "MSFT/USD": "USD", "ESZ6": "USD", "XBT": "BTC"}
MULTIPLIER = {"AAPL/USD": 1, "MSFT/USD": 1, "ESZ6": 2, "XBT": 100}
S = 10**9
SETTINGS = f"""{INSTRUMENTS.replace("50", "2")}
[accounts.alpha]
group = "eq"
[accounts.beta]
group = "eq"
[gate]
uncovered = "allow"
max_quote_age = "2100ms"
[limits]
pace = {{ control = "rate_limit", each = "account+client", max_orders = 3, window = "300ms" }}
pace_all = {{ control = "rate_limit", over = "firm", max_orders = 12, window = "600ms" }}
calls = {{ control = "message_rate", each = "account", max_messages = 3, window = "900ms" }}
calls_all = {{ control = "message_rate", over = "firm", orders = true, max_messages = 14, window = "750ms" }}
size = {{ control = "order_size_limit", each = "account", settlement = "USD", max_quantity = 40, max_notional = 4500 }}
open = {{ control = "open_order_notional", each = "account", settlement = "USD", max_notional = 8000 }}
open_all = {{ control = "open_order_notional", over = "firm", settlement = "USD", max_notional = 14000 }}
open_btc = {{ control = "open_order_notional", over = "firm", settlement = "BTC", max_notional = 60 }}
few = {{ control = "open_order_limit", each = "account", max_orders = 9 }}
few_eq = {{ control = "open_order_limit", over = {{ group = "eq" }}, max_orders = 12 }}
own = {{ control = "position_limit", each = "account+instrument", max_long = 90, max_short = 60 }}
net = {{ control = "position_limit", each = "instrument", max_quantity = 120 }}
flow = {{ control = "turnover_limit", each = "account", settlement = "USD", max_notional = 5000, window = "6s" }}
flow_in = {{ control = "turnover_limit", each = "instrument", max_quantity = 50, window = "3s" }}
near = {{ control = "price_collar", max_percent = 5, instruments = ["AAPL/USD", "MSFT/USD", "XBT"] }}
near_es = {{ control = "price_collar", max_ticks = 20, side = "both", market = "reject", instruments = ["ESZ6"] }}
again = {{ control = "duplicate_order", max_repeats = 1, window = "3s" }}
again_all = {{ control = "duplicate_order", over = "firm", max_repeats = 2, window = "2100ms" }}
loop = {{ control = "repeated_execution", max_executions = 3, window = "4500ms" }}
house = {{ control = "self_trade", over = "firm" }}
wash = {{ control = "self_trade", each = "account" }}
bounds = {{ control = "instrument_rules", min_quantity = 2, max_quantity = 44, min_price = 90, max_price = 112 }}
list = {{ control = "instrument_rules", deny = ["MSFT/USD"], accounts = ["gamma"] }}
long = {{ control = "instrument_rules", each = "instrument", accounts = ["beta"], short_sale = "reject" }}
"""
OF_AMOUNTS = {
    *("OrderQtyExceedsLimit", "OrderNotionalExceedsLimit", "OrderExceedsLimit", "RiskLimitExceeded"),
    "PositionLimitExceeded",
}


def ceil9(number: Fraction) -> Fraction:
    return Fraction(-(-number * S // 1), S)


@dataclass(frozen=True)
class Terms:
    account: str
    client: str
    symbol: str
    side: str
    price: Fraction | None
    quantity: Fraction
    """Units; an amount of money where it is a volume."""
    is_volume: bool = False
    venue: str | None = None

    def units(self, left: Fraction) -> Fraction:
        if not self.is_volume:
            return left
        assert self.price is not None
        return ceil9(left / self.price)

    @property
    def content(self) -> tuple[Any, ...]:
        return self.symbol, self.side, self.price, self.quantity, self.is_volume, self.venue

    @property
    def group(self) -> str | None:
        return GROUPS[self.account]


@dataclass
class Told:
    """One order, as the model knows it."""

    name: str
    id: int
    terms: Terms
    state: str
    lease_end_ns: int
    price: Fraction | None
    """What it is valued at."""
    filled: Fraction = Fraction(0)
    """Units, or money where it is a volume."""
    is_to_be_cancelled: bool = False
    """Because its client was stopped while it may have been at the venue."""
    ordered: list[tuple[int, Fraction, Fraction]] = field(default_factory=list)
    """When it asked for how much: notional and units."""

    @property
    def is_open(self) -> bool:
        return self.state in ("held", "sent", "quarantined", "working")

    @property
    def left(self) -> Fraction:
        return max(self.terms.quantity - self.filled, Fraction(0))


@dataclass
class Tried:
    """One attempt: an order, a modify or a cancel."""

    at_ns: int
    kind: str
    account: str
    client: str
    content: Any
    counted: set[str]
    """The limits on which it counts."""


Refusal = tuple[str, str, "Fraction | None"]
"""Limit, code, and how much was asked for."""


class Model:
    def __init__(self) -> None:
        self.now_ns = 0
        self.orders: list[Told] = []
        self.tried: list[Tried] = []
        self.held: dict[tuple[str, str], Fraction] = {}
        self.quotes: dict[str, tuple[Fraction, int]] = {}
        self.stopped: dict[str, Terms] = {}
        """By client the order that was one too many."""
        self.let_go: dict[str, int] = {}
        """Of a client the number of attempts that there were when a person let it go on."""

    # ------------------------------------------------------------------------------------------ what there is

    def open(self, but: Told | None = None) -> list[Told]:
        return [each for each in self.orders if each.is_open and each is not but]

    def mark(self, symbol: str) -> Fraction | None:
        told = self.quotes.get(symbol)
        return None if told is None or self.now_ns - told[1] > S * 21 // 10 else told[0]

    def priced(self, terms: Terms) -> Fraction | None:
        return self.mark(terms.symbol) if terms.price is None else terms.price

    def worth(self, terms: Terms, left: Fraction, price: Fraction | None) -> Fraction:
        assert price is not None
        if terms.is_volume:
            return left
        if terms.symbol == "XBT":
            return ceil9(left * 100 / price)
        return left * price * MULTIPLIER[terms.symbol]

    def waiting(self, among: list[Told], accounts: Any, symbol: str, side: str) -> Fraction:
        mine = (each for each in among if each.terms.account in accounts and each.terms.symbol == symbol)
        return sum((each.terms.units(each.left) for each in mine if each.terms.side == side), Fraction(0))

    def quantity(self, accounts: Any, symbol: str) -> Fraction:
        return sum((self.held.get((account, symbol), Fraction(0)) for account in accounts), Fraction(0))

    def reduces(self, terms: Terms, left: Fraction, others: list[Told]) -> bool:
        held = self.quantity([terms.account], terms.symbol)
        is_against = held > 0 if terms.side == "sell" else held < 0
        waiting = self.waiting(others, [terms.account], terms.symbol, terms.side)
        return is_against and waiting + terms.units(left) <= abs(held)

    def lately(self, limit: str, window_ns: int) -> Iterator[tuple[int, Tried]]:
        for number in range(len(self.tried) - 1, -1, -1):
            if self.now_ns - self.tried[number].at_ns >= window_ns:
                return
            if limit in self.tried[number].counted:
                yield number, self.tried[number]

    # ------------------------------------------------------------------------------------------ pace

    def rates(self, kind: str, account: str, client: str) -> tuple[list[Refusal], set[str]]:
        """What the limits of pace say to an attempt, and on which of them it counts."""
        told: list[Refusal] = []
        counted: set[str] = set()
        is_new = kind == "order"
        for narrow, wide in (("pace", "pace_all"), ("calls", "calls_all")):
            applies_narrow = is_new if narrow == "pace" else not is_new
            applies_wide = is_new if narrow == "pace" else True
            most, ns = {"pace": (3, S * 3 // 10), "calls": (3, S * 9 // 10)}[narrow]
            most_wide, ns_wide = {"pace_all": (12, S * 6 // 10), "calls_all": (14, S * 3 // 4)}[wide]
            is_refused = False
            if applies_narrow:
                counted.add(narrow)
                mine = [
                    each
                    for _, each in self.lately(narrow, ns)
                    if each.account == account and (narrow == "calls" or each.client == client)
                ]
                if len(mine) >= most:
                    is_refused = True
                    told.append((narrow, "RateLimitExceeded", None))
            if applies_wide:
                if not is_refused:
                    counted.add(wide)
                if len(list(self.lately(wide, ns_wide))) >= most_wide:
                    told.append((wide, "RateLimitExceeded", None))
        return told, counted

    def repeats(self, terms: Terms) -> tuple[list[Refusal], set[str]]:
        told: list[Refusal] = []
        counted = {"again", "again_all"}
        same = [each for _, each in self.lately("again_all", S * 21 // 10) if each.content == terms.content]
        mine = [
            each
            for _, each in self.lately("again", 3 * S)
            if (each.account, each.client, each.content) == (terms.account, terms.client, terms.content)
        ]
        if len(mine) > 1:
            told.append(("again", "RateLimitExceeded", None))
        if len(same) > 2:
            told.append(("again_all", "RateLimitExceeded", None))
        if terms.client not in self.stopped:
            counted.add("loop")
            fired = [
                each
                for number, each in self.lately("loop", S * 9 // 2)
                if each.client == terms.client
                and each.content == terms.content
                and number >= self.let_go.get(terms.client, 0)
            ]
            if len(fired) >= 3:
                self.stopped[terms.client] = terms
                told.append(("loop", "AccountBlocked", None))
        else:
            told.append(("loop", "AccountBlocked", None))
        return told, counted

    # ------------------------------------------------------------------------------------------ the stages

    def at_start(self, terms: Terms, left: Fraction, others: list[Told]) -> list[Refusal]:
        """What is refused by the order alone, and by what reduces."""
        told: list[Refusal] = []
        price, reduces = self.priced(terms), self.reduces(terms, left, others)
        if SETTLED[terms.symbol] == "USD" and not reduces:
            if price is None:
                told.append(("size", "MarkPriceUnavailable", None))
            else:
                notional = self.worth(terms, terms.quantity, price)
                over = (self.exact_units(terms) > 40, notional > 4500)
                asked = None if terms.is_volume else terms.quantity
                if all(over):
                    told.append(("size", "OrderExceedsLimit", notional))
                elif over[0]:
                    told.append(("size", "OrderQtyExceedsLimit", asked))
                elif over[1]:
                    told.append(("size", "OrderNotionalExceedsLimit", notional))
        told += self.far(terms)
        if not reduces and self.exact_units(terms) > 44:
            told.append(("bounds", "OrderQtyExceedsLimit", None if terms.is_volume else terms.quantity))
        elif not reduces and self.exact_units(terms) < 2:
            told.append(("bounds", "InvalidFieldValue", None))
        if terms.price is not None and not 90 <= terms.price <= 112:
            told.append(("bounds", "InvalidFieldValue", None))
        if terms.account == "gamma" and terms.symbol == "MSFT/USD" and not reduces:
            told.append(("list", "InstrumentRestricted", None))
        return told

    @staticmethod
    def exact_units(terms: Terms) -> Fraction:
        """What a size is compared by: nothing is rounded."""
        if not terms.is_volume:
            return terms.quantity
        assert terms.price is not None
        return terms.quantity / terms.price

    def far(self, terms: Terms) -> list[Refusal]:
        """What the collars say; asked for is how far away it is."""
        name, mark = ("near_es" if terms.symbol == "ESZ6" else "near"), self.mark(terms.symbol)
        if terms.price is None:
            return [(name, "UnsupportedOrderType", None)] if name == "near_es" else []
        if mark is None:
            return [(name, "ReferenceDataUnavailable", None)]
        distance = terms.price - mark
        if name == "near":
            towards = distance if terms.side == "buy" else -distance
            return [(name, "RiskLimitExceeded", towards)] if towards * 100 > 5 * mark else []
        return [(name, "RiskLimitExceeded", abs(distance))] if abs(distance) > 5 else []

    def at_main(self, terms: Terms, left: Fraction, others: list[Told], told_before: Told | None) -> list[Refusal]:
        """What is refused beside all that is open. `told_before` is the order that this modifies."""
        reduces = self.reduces(terms, left, others)
        if reduces:
            return [*self.counted_open(terms, others), *self.meets(terms, others)]
        told: list[Refusal] = []
        price, sign = self.priced(terms), 1 if terms.side == "buy" else -1
        money, units = SETTLED[terms.symbol], terms.units(left)
        for name, asset, most in (("open", "USD", 8000), ("open_all", "USD", 14000), ("open_btc", "BTC", 60)):
            if money != asset:
                continue
            if price is None:
                told.append((name, "MarkPriceUnavailable", None))
                continue
            wanted = self.worth(terms, left, price)
            if self.open_worth(name, others, terms.account) + wanted > most:
                told.append((name, "RiskLimitExceeded", wanted))
        told += self.counted_open(terms, others)
        for name, accounts, most in (
            ("own", (terms.account,), 90 if sign > 0 else 60),
            ("net", tuple(GROUPS), 120),
        ):
            held = sign * self.quantity(accounts, terms.symbol)
            if held + self.waiting(others, accounts, terms.symbol, terms.side) + units > most:
                told.append((name, "PositionLimitExceeded", units))
        told += self.turned(terms, price, told_before)
        told += self.meets(terms, others)
        if terms.account == "beta" and terms.side == "sell":
            told.append(("long", "ShortSaleRestriction", None))
        return told

    def open_worth(self, limit: str, among: list[Told], account: str) -> Fraction:
        asset = "BTC" if limit == "open_btc" else "USD"
        mine = (each for each in among if SETTLED[each.terms.symbol] == asset)
        if limit == "open":
            mine = (each for each in mine if each.terms.account == account)
        return sum((self.worth(each.terms, each.left, each.price) for each in mine if each.price), Fraction(0))

    def counted_open(self, terms: Terms, others: list[Told]) -> list[Refusal]:
        told: list[Refusal] = []
        if sum(each.terms.account == terms.account for each in others) >= 9:
            told.append(("few", "RiskLimitExceeded", Fraction(1)))
        if terms.group == "eq" and sum(each.terms.group == "eq" for each in others) >= 12:
            told.append(("few_eq", "RiskLimitExceeded", Fraction(1)))
        return told

    def ordered(self, limit: str, whose: str) -> Fraction:
        """What has been ordered inside the window: rolled back is as if it never was."""
        window_ns, place = (6 * S, 1) if limit == "flow" else (3 * S, 2)
        total = Fraction(0)
        for each in self.orders:
            if each.state == "rolled_back" or whose != (each.terms.account if limit == "flow" else each.terms.symbol):
                continue
            if limit == "flow" and SETTLED[each.terms.symbol] != "USD":
                continue
            for part in each.ordered:
                if self.now_ns - part[0] < window_ns:
                    total += part[place]
        return total

    def adds(self, terms: Terms, price: Fraction | None, before: Told | None) -> tuple[Fraction, Fraction]:
        """What an order adds to what has been ordered: of a modify what it is more than ever before."""
        had = [] if before is None else before.ordered
        notional = Fraction(0)
        if price is not None:
            notional = self.worth(terms, terms.quantity, price) - sum((part[1] for part in had), Fraction(0))
        units = terms.units(terms.quantity) - sum((part[2] for part in had), Fraction(0))
        return max(notional, Fraction(0)), max(units, Fraction(0))

    def turned(self, terms: Terms, price: Fraction | None, before: Told | None) -> list[Refusal]:
        told: list[Refusal] = []
        notional, units = self.adds(terms, price, before)
        if SETTLED[terms.symbol] == "USD":
            if price is None:
                told.append(("flow", "MarkPriceUnavailable", None))
            elif notional and self.ordered("flow", terms.account) + notional > 5000:
                told.append(("flow", "RiskLimitExceeded", notional))
        if units and self.ordered("flow_in", terms.symbol) + units > 50:
            told.append(("flow_in", "RiskLimitExceeded", units))
        return told

    def meets(self, terms: Terms, others: list[Told]) -> list[Refusal]:
        found = [each for each in others if self.would_meet(terms, each.terms)]
        told: list[Refusal] = [("house", "SelfMatchPrevention", None)] if found else []
        if any(each.terms.account == terms.account for each in found):
            told.append(("wash", "WashTradePrevention", None))
        return told

    @staticmethod
    def would_meet(one: Terms, other: Terms) -> bool:
        if one.symbol != other.symbol or one.side == other.side:
            return False
        if one.venue and other.venue and one.venue != other.venue:
            return False
        if one.price is None or other.price is None:
            return True
        return one.price >= other.price if one.side == "buy" else one.price <= other.price

    # ------------------------------------------------------------------------------------------ what is asked

    def check(self, terms: Terms) -> list[Refusal]:
        paced, counted = self.rates("order", terms.account, terms.client)
        repeated, also = self.repeats(terms)
        self.tried.append(Tried(self.now_ns, "order", terms.account, terms.client, terms.content, counted | also))
        open = self.open()
        refusals = [*paced, *repeated, *self.at_start(terms, terms.quantity, open)]
        return refusals or self.at_main(terms, terms.quantity, open, None)

    def modify(self, told: Told, terms: Terms) -> list[Refusal]:
        paced, counted = self.rates("modify", terms.account, terms.client)
        self.tried.append(Tried(self.now_ns, "modify", terms.account, terms.client, None, counted))
        others, left = self.open(told), terms.quantity - told.filled
        refusals = [*paced]
        if terms.client in self.stopped:
            refusals.append(("loop", "AccountBlocked", None))
        before = self.at_start(told.terms, told.left, others)
        now = self.at_start(terms, left, others)
        refusals += no_step_down(self.smaller(now, before, terms, told), before)
        if refusals:
            return refusals
        before = self.at_main(told.terms, told.left, others, told)
        return no_step_down(self.at_main(terms, left, others, told), before)

    def smaller(self, refusals: list[Refusal], before: list[Refusal], terms: Terms, told: Told) -> list[Refusal]:
        """Without what is too large, as the order has been, where it is no larger in any way that is too large."""
        if not any(name == "size" and code in OF_AMOUNTS for name, code, _ in before):
            return refusals
        more_units = terms.units(terms.quantity) > told.terms.units(told.terms.quantity)
        price, old_price = self.priced(terms), self.priced(told.terms)
        more_worth = self.worth(terms, terms.quantity, price) > self.worth(told.terms, told.terms.quantity, old_price)
        is_more = {
            "OrderQtyExceedsLimit": more_units,
            "OrderNotionalExceedsLimit": more_worth,
            "OrderExceedsLimit": more_units or more_worth,
        }
        return [(name, code, asked) for name, code, asked in refusals if name != "size" or is_more.get(code, True)]

    def cancel(self, told: Told, client: str) -> list[Refusal]:
        paced, counted = self.rates("cancel", told.terms.account, client)
        self.tried.append(Tried(self.now_ns, "cancel", told.terms.account, client, None, counted))
        return [] if told.terms.client in self.stopped or told.is_to_be_cancelled else paced

    def want_cancels(self) -> None:
        for each in self.open():
            if each.terms.client in self.stopped and each.state != "held":
                each.is_to_be_cancelled = True

    def end_leases(self) -> int:
        ended = 0
        for each in self.orders:
            if each.state in ("held", "sent") and each.lease_end_ns <= self.now_ns:
                each.state = "rolled_back" if each.state == "held" else "quarantined"
                ended += 1
        return ended

    def trade(self, told: Told, units: Fraction, price: Fraction) -> None:
        key = (told.terms.account, told.terms.symbol)
        self.held[key] = self.held.get(key, Fraction(0)) + (units if told.terms.side == "buy" else -units)
        told.filled += units * price if told.terms.is_volume else units
        told.state = "working" if told.left else "closed"


def no_step_down(refusals: list[Refusal], before: list[Refusal]) -> list[Refusal]:
    """Without those of a limit that would refuse the order as it is for as much or more."""
    was = {name: asked for name, code, asked in before if code in OF_AMOUNTS and asked is not None and name != "size"}
    return [
        (name, code, asked)
        for name, code, asked in refusals
        if code not in OF_AMOUNTS or asked is None or name not in was or asked > was[name]
    ]


def limits_for(what: str, terms: Terms) -> set[str]:
    """The limits that look at it."""
    is_usd = SETTLED[terms.symbol] == "USD"
    if what == "cancel":
        return {"calls", "calls_all"}
    found = {"calls_all", "few", "own", "net", "flow_in", "bounds", "house", "wash", "loop"}
    found |= {"calls"} if what == "modify" else {"pace", "pace_all", "again", "again_all"}
    found |= {"size", "open", "open_all", "flow"} if is_usd else {"open_btc"}
    found.add("near_es" if terms.symbol == "ESZ6" else "near")
    for name, is_for in (
        ("few_eq", terms.group == "eq"),
        ("list", terms.account == "gamma"),
        ("long", terms.account == "beta" and terms.side == "sell"),
    ):
        if is_for:
            found.add(name)
    return found


class Flow:
    """Drives a core and the model by one seed."""

    def __init__(self, seed: int) -> None:
        self.draw, self.core, self.model = random.Random(seed), Core(SETTINGS), Model()
        self.core.now_ns = 10**12 + 5 * 10**6
        self.core.now_ns -= self.core.now_ns % (30 * 10**6)
        self.number = 0
        self.refused: Counter[tuple[str, str, str]] = Counter()
        self.passed: Counter[str] = Counter()
        """Of each limit the orders, modifies and cancels that it was for and let pass."""
        self.done: Counter[str] = Counter()

    def step(self) -> None:
        draw, core, model = self.draw, self.core, self.model
        self.number += 1
        parts = draw.choice((0, 0, 1, 1) if self.number % 1000 < 250 else (5, 10, 20, 30))
        core.now_ns += parts * 30 * 10**6
        model.now_ns = core.now_ns
        ended = model.end_leases()
        assert core.end_leases() == ended
        self.done["lapse"] += ended
        model.want_cancels()
        if draw.random() < 0.5:
            self.quote()
        what = draw.choices(
            ("check", "again", "modify", "cancel", "commit", "rollback", "fill", "close", "repeat", "unblock"),
            (48, 3, 11, 7, 8, 3, 12, 5, 2, 3),
        )[0]
        getattr(self, what)()
        model.want_cancels()

    def quote(self) -> None:
        for symbol in self.draw.sample(tuple(INSTRUMENT), 2):
            self.model.quotes[symbol] = (Fraction(self.draw.randint(95, 107)), self.core.now_ns)
        self.core.quotes = tuple(
            Quote(each, Decimal(int(mark)), None, None, at_ns) for each, (mark, at_ns) in self.model.quotes.items()
        )

    def one(self, *states: str) -> Told | None:
        found = [each for each in self.model.open() if each.state in (states or ("held", "sent", "working"))]
        return self.draw.choice(found) if found else None

    # ------------------------------------------------------------------------------------------ steps

    def terms(self) -> Terms:
        draw = self.draw
        account, symbol = draw.choice(tuple(GROUPS)), draw.choice(("AAPL/USD", "AAPL/USD", *INSTRUMENT))
        held = self.model.quantity([account], symbol)
        amounts = [2, 3, 4, 5, 12, draw.randint(1, 48), draw.randint(1, 25)]
        if held:
            amounts += [min(int(abs(held)), 200), min(int(abs(held)) + 1, 200)]
        side = draw.choice(("buy", "sell"))
        if symbol == "ESZ6":
            amounts = [1, 2, 3, 5, 12, 20, 23]
        price: Fraction | None = Fraction(draw.randint(97, 106) if draw.random() < 0.9 else draw.randint(86, 116))
        if draw.random() < 0.6:
            price = Fraction(draw.randint(90, 99) if side == "buy" else draw.randint(104, 112))
        quantity, is_volume = Fraction(draw.choice([each for each in amounts if each] or [1])), False
        if draw.random() < 0.05:
            price = None
        elif symbol in ("AAPL/USD", "MSFT/USD") and draw.random() < 0.15:
            quantity, is_volume = quantity * price + draw.choice((0, 0, 1)), True
        venue = draw.choice((None, None, "X", "Y"))
        return Terms(account, draw.choice(CLIENTS), symbol, side, price, quantity, is_volume, venue)

    def check(self) -> None:
        before = self.model.tried[-1:]
        terms = self.terms()
        if before and before[0].content and self.draw.random() < 0.25:  # the same order again, by who sent it or not
            symbol, side, price, quantity, is_volume, venue = before[0].content
            account, client = (before[0].account, before[0].client) if self.draw.random() < 0.7 else (None, None)
            terms = Terms(
                *(account or terms.account, client or terms.client, symbol, side, price, quantity, is_volume, venue)
            )
        self.ask(terms)

    def ask(self, terms: Terms) -> None:
        size = {"quantity": str(terms.quantity)} if not terms.is_volume else {"volume": str(terms.quantity)}
        wanted = order(
            id=f"o{self.number}",
            account=terms.account,
            instrument=INSTRUMENT[terms.symbol],
            side=terms.side,
            price=None if terms.price is None else str(terms.price),
            venue=terms.venue,
            **size,
        )
        sent = self.draw.random() < 0.7
        expected = self.model.check(terms)
        reply = self.core.check(wanted, sent=sent, lease_s=2.7, client=terms.client)
        self.judge("check", reply, expected, terms)
        if isinstance(reply, e.Accepted):
            price = self.model.priced(terms)
            told = Told(wanted.id, reply.reservation_id, terms, "held", self.core.now_ns + 27 * S // 10, price)
            told.state = "sent" if sent else "held"
            told.ordered.append((self.core.now_ns, *self.model.adds(terms, price, None)))
            self.model.orders.append(told)

    def judge(self, what: str, reply: Any, expected: list[Refusal], terms: Terms) -> None:
        self.done[what] += 1
        found = (
            [(each.limit, str(each.code)) for each in reply.rejected.rejects] if isinstance(reply, e.Refused) else []
        )
        assert not isinstance(reply, e.Failed), (self.number, reply)
        assert sorted(found) == sorted((name, code) for name, code, _ in expected), (self.number, what, terms)
        self.refused.update((what, name, code) for name, code in found)
        if not found:
            self.done[f"{what} passed"] += 1
            self.passed.update(limits_for(what, terms))

    def again(self) -> None:
        """The same order under the same id gets its first answer, and counts nowhere."""
        told = self.one("held", "sent", "working")
        if told is None or told.terms.client in self.model.stopped:
            return
        record: Any = self.core.engine.orders.find(told.id)
        if record.order.id == told.name and not record.ids_before:
            reply = self.core.check(record.order, client=told.terms.client)
            assert isinstance(reply, e.Accepted)
            assert reply.replayed and reply.reservation_id == told.id
            self.done["again"] += 1

    def modify(self) -> None:
        told, draw = self.one("working"), self.draw
        if told is None or told.terms.price is None:
            return
        old = told.terms
        assert old.price is not None
        price = old.price + draw.choice((-6, -1, 0, 0, 1, 6))
        quantity = old.quantity + draw.choice((-8, -1, 0, 1, 6, 30)) * (100 if old.is_volume else 1)
        terms = replace(old, price=price, quantity=quantity)
        if terms == old or quantity <= told.filled:
            return
        expected = self.model.modify(told, terms)
        size = {"volume" if old.is_volume else "quantity": str(Decimal(quantity.numerator) / quantity.denominator)}
        reply = self.core.modify(told.name, account=old.account, price=str(price), client=old.client, sent=True, **size)
        self.judge("modify", reply, expected, terms)
        if isinstance(reply, e.Refused):
            return
        answer = draw.choice(("replaced", "replaced", "replace_rejected"))
        self.core.report(report(answer, order_id=told.name, account=old.account))
        self.done[answer] += 1
        if answer == "replaced":
            notional, units = self.model.adds(terms, price, told)
            told.ordered.append((self.core.now_ns, notional, units))
            told.terms, told.price = terms, price

    def cancel(self) -> None:
        told = self.one("sent", "working", "quarantined")
        if told is None:
            return
        client = self.draw.choice(CLIENTS)
        expected = self.model.cancel(told, client)
        reply = self.core.command(e.CancelOrder(told.terms.account, told.name), client)
        self.judge("cancel", reply, expected, told.terms)

    def commit(self) -> None:
        told = self.one("held", "sent", "quarantined")
        if told is not None and told.terms.client not in self.model.stopped:
            assert isinstance(self.core.commit(told.id, client=told.terms.client), e.Stands)
            told.state = "working"
            self.done["commit"] += 1

    def rollback(self) -> None:
        told = self.one("held", "sent")
        if told is not None:
            assert isinstance(self.core.rollback(told.id, client=told.terms.client), e.Stands)
            told.state = "rolled_back"
            self.done["rollback"] += 1

    def fill(self) -> None:
        told = self.one("held", "sent", "quarantined", "working")
        if told is None:
            return
        price = told.terms.price or Fraction(100)
        most = told.left // price if told.terms.is_volume else told.left
        units = self.draw.choice((most, most, Fraction(1), most // 2))
        if not 0 < units <= most:
            return
        self.last = fill(told.name, str(units), str(price), account=told.terms.account)
        self.core.report(self.last)
        self.model.trade(told, units, price)
        self.done["fill" if told.left else "whole fill"] += 1

    def repeat(self) -> None:
        """A report that comes twice changes nothing."""
        if self.done["fill"]:
            self.core.report(self.last)
            self.done["repeat"] += 1

    def close(self) -> None:
        told = self.one("sent", "quarantined", "working")
        if told is not None:
            kind = self.draw.choice(("cancelled", "cancelled", "rejected")) if not told.filled else "cancelled"
            self.core.report(report(kind, order_id=told.name, account=told.terms.account))
            told.state = "closed"
            self.done["close"] += 1

    def unblock(self) -> None:
        for client in sorted(self.model.stopped):
            self.core.unblock(f"client {client}")
            terms = self.model.stopped.pop(client)
            self.model.let_go[client] = len(self.model.tried)
            self.done["unblock"] += 1
            self.ask(terms)
            self.number += 1

    # ------------------------------------------------------------------------------------------ what is counted

    def compare(self) -> None:
        core, model = self.core, self.model
        open = model.open()
        assert {record.reservation_id for record in core.engine.orders.open.values()} == {each.id for each in open}
        assert {each.id: str(core.state(each.id)) for each in open} == {each.id: each.state for each in open}
        for account in GROUPS:
            assert Fraction(core.held(f"account {account}", "open")) == model.open_worth("open", open, account)
            for symbol in INSTRUMENT:
                assert Fraction(core.engine.positions.of(account, symbol).quantity) == model.quantity([account], symbol)
                for side in pit.Side:
                    waiting = core.engine.positions.on_the_way(account, symbol, side)
                    assert waiting is not None and waiting >= 0
                    assert Fraction(waiting) == model.waiting(open, [account], symbol, str(side))
            assert self.used("open_order_limit", "few", f"account {account}") == sum(
                each.terms.account == account for each in open
            )
            assert self.used("turnover_limit", "flow", f"account {account}") == model.ordered("flow", account)
        for limit in ("open_all", "open_btc"):
            assert Fraction(core.held("firm", limit)) == model.open_worth(limit, open, "")
        assert self.used("open_order_limit", "few_eq", "group eq") == sum(each.terms.group == "eq" for each in open)
        for symbol in INSTRUMENT:
            assert self.used("turnover_limit", "flow_in", f"instrument {symbol}") == model.ordered("flow_in", symbol)

    def used(self, control: str, limit: str, scope: str) -> Fraction:
        look = Look(self.core.now_ns, "", 10, GROUPS.get)
        found = [each.used for each in self.core.engine.policies[control].counters(limit, look) if each.scope == scope]
        return Fraction(found[0]) if found and found[0] is not None else Fraction(0)


def follow(seed: int, steps: int) -> Flow:
    flow = Flow(seed)
    try:
        for number in range(steps):
            flow.step()
            if number % 20 == 0:
                flow.compare()
            if number % 1_000 == 999:
                flow.core = flow.core.again("snapshot")
            if number % 5_000 == 4_999:
                flow.core = flow.core.again("rows")
    except Exception as trouble:
        trouble.add_note(f"seed {seed}, step {flow.number}")
        raise
    flow.core.again("rows")
    return flow


def assert_all_were_busy(flow: Flow, steps: int) -> None:
    """No limit has said yes all the time, nor no; and all that can happen has happened."""
    refused = Counter(name for _, name, _ in flow.refused.elements())
    assert refused.keys() == flow.passed.keys() == set(flow.core.engine.pipeline._owner) - {"order_validation"}
    assert min(refused.values()) >= steps // 1_500, refused
    assert min(flow.passed.values()) >= steps // 200, flow.passed
    assert {"again", "commit", "rollback", "fill", "whole fill", "repeat", "close", "unblock", "lapse"} < set(flow.done)
    assert {"modify", "modify passed", "replaced", "replace_rejected", "cancel", "cancel passed"} < set(flow.done)


def test_every_refusal_and_every_sum_is_that_of_the_model() -> None:
    assert_all_were_busy(follow(1, 2_000), 2_000)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3, 4])
def test_it_holds_for_ten_thousand_steps(seed: int) -> None:
    assert_all_were_busy(follow(seed, STEPS), STEPS)
