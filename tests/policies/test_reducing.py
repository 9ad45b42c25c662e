"""Orders that reduce a position pass every limit of size, exposure and position, and no set of them goes through zero:
random flow of orders, fills and cancels against a model that adds up everything anew each time.
"""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from builders import Core, fill, order, report
from cases import amounts
from restarts import WAYS, come_back

import pit
from pitd.config import CONTROLS
from pitd.core import entry as e

STEPS = 10_000
ACCOUNTS = ("alpha", "beta", "gamma")
AAPL, MSFT = (pit.Instrument(name, "USD") for name in ("AAPL", "MSFT"))
SCOPES = ("group eq", "account gamma", "instrument AAPL/USD", "instrument MSFT/USD")
GROUPED = '[accounts.alpha]\ngroup = "eq"\n[accounts.beta]\ngroup = "eq"\n'
BOUNDED = f"""{GROUPED}
[gate]
uncovered = "allow"
[limits]
size = {{ control = "order_size_limit", each = "account", settlement = "USD", max_quantity = 40, max_notional = 3500 }}
open = {{ control = "open_order_notional", each = "account", settlement = "USD", max_notional = 9000 }}
own = {{ control = "position_limit", each = "account+instrument", max_long = 90, max_short = 60 }}
net = {{ control = "position_limit", each = "instrument", max_quantity = 120 }}
eq = {{ control = "position_limit", over = {{ group = "eq" }}, instruments = ["AAPL/USD"], max_quantity = 100 }}
flow = {{ control = "turnover_limit", over = "firm", settlement = "USD", max_notional = 60000, window = "10s" }}
"""
SHUT_BY = {
    "order_size_limit": """
size = { control = "order_size_limit", each = "account", settlement = "USD", max_quantity = 0, max_notional = 0 }
""",
    "open_order_notional": """
open = { control = "open_order_notional", each = "account", settlement = "USD", max_notional = 0 }
""",
    "position_limit": """
own = { control = "position_limit", each = "account+instrument", max_quantity = 0 }
net = { control = "position_limit", each = "instrument", max_quantity = 0 }
""",
    "instrument_rules": """
list = { control = "instrument_rules", each = "instrument", deny = ["AAPL/USD", "MSFT/USD"] }
""",
    "turnover_limit": """
flow = { control = "turnover_limit", over = "firm", settlement = "USD", max_notional = 0, window = "10s" }
""",
    "exposure_limit": """
gross = { control = "exposure_limit", over = "firm", settlement = "USD", max_gross = 0, max_net = 0 }
""",
    "concentration_limit": """
share = { control = "concentration_limit", over = "firm", settlement = "USD", max_percent = 1, min_gross = 1 }
""",
}
"""Every control of size, exposure or position, by limits that let nothing pass but what reduces: nobody knows a mark,
so those of exposure refuse whatever adds.
"""
OF_ANOTHER_KIND = {
    *("pnl_kill_switch", "rate_limit", "price_collar", "duplicate_order", "repeated_execution", "self_trade"),
    *("open_order_limit", "message_rate", "spot_funds"),
}
"""Controls of conduct, of pace, of funds and of what may be traded at all: they may refuse what reduces."""
SHUT = f"""{GROUPED}
[limits]
{"".join(SHUT_BY.values())}"""


class Open(msgspec.Struct):
    order: pit.Order
    id: int
    left: Fraction
    """Units, or an amount of money for a volume order."""

    @property
    def key(self) -> tuple[str, str]:
        return self.order.account, str(self.order.instrument)

    def units(self) -> Fraction:
        return units(self.order, self.left)

    def worth(self) -> Fraction:
        return self.left if self.order.volume is not None else self.left * Fraction(self.order.price)


def units(wanted: pit.Order, left: Fraction) -> Fraction:
    """Rounded up to nine decimals, as a volume may come to a quotient that never ends."""
    if wanted.volume is None:
        return left
    return Fraction(-(-left * 10**9 // Fraction(wanted.price)), 10**9)


class Book:
    """All that is held and open, added up whenever it is asked for."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, str], Fraction] = {}
        self.open: list[Open] = []
        self.accepted: list[tuple[int, Fraction, int]] = []

    def quantity(self, accounts: Any, symbol: str) -> Fraction:
        return sum((self.held.get((account, symbol), Fraction(0)) for account in accounts), Fraction(0))

    def waiting(self, accounts: Any, symbol: str, side: pit.Side) -> Fraction:
        mine = (each for each in self.open if each.key[0] in accounts and each.key[1] == symbol)
        return sum((each.units() for each in mine if each.order.side is side), Fraction(0))

    def reduces(self, wanted: Open) -> bool:
        account, symbol = wanted.key
        held = self.quantity([account], symbol)
        is_against = held > 0 if wanted.order.side is pit.Side.SELL else held < 0
        return is_against and self.waiting([account], symbol, wanted.order.side) + wanted.units() <= abs(held)

    def within(self, wanted: Open, now_ns: int) -> bool:
        """Whether it keeps every bound of BOUNDED."""
        account, symbol = wanted.key
        sign, side = (1 if wanted.order.side is pit.Side.BUY else -1), wanted.order.side

        def after(accounts: Any) -> Fraction:
            return sign * self.quantity(accounts, symbol) + self.waiting(accounts, symbol, side) + wanted.units()

        # a volume order's units are compared by cross-multiplication in order_size_limit: not rounded
        size = wanted.left if wanted.order.volume is None else wanted.left / Fraction(wanted.order.price)
        mine = sum((each.worth() for each in self.open if each.order.account == account), Fraction(0))
        lately = sum((worth for at_ns, worth, _ in self.accepted if now_ns - at_ns < 10 * 10**9), Fraction(0))
        return (
            size <= 40
            and wanted.worth() <= 3500
            and mine + wanted.worth() <= 9000
            and after([account]) <= (90 if sign > 0 else 60)
            and after(ACCOUNTS) <= 120
            and (symbol != "AAPL/USD" or account == "gamma" or after(["alpha", "beta"]) <= 100)
            and lately + wanted.worth() <= 60000
        )

    def fill(self, chosen: Open, quantity: Fraction, price: Fraction) -> None:
        self.held[chosen.key] = self.held.get(chosen.key, Fraction(0)) + (
            quantity if chosen.order.side is pit.Side.BUY else -quantity
        )
        chosen.left = max(chosen.left - (quantity if chosen.order.volume is None else quantity * price), Fraction(0))
        self.open = [each for each in self.open if each.left]


class Flow:
    """Drives a core and the book by one seed."""

    def __init__(self, settings: str, seed: int) -> None:
        self.settings, self.random = settings, random.Random(seed)
        self.core, self.book = Core(settings), Book()
        self.core.now_ns = 10**12
        self.passed = self.passed_reducing = self.refused = 0

    def wanted(self, number: int) -> Open:
        draw = self.random
        account, instrument = draw.choice(ACCOUNTS), draw.choice((AAPL, AAPL, MSFT))
        held = self.book.held.get((account, str(instrument)), Fraction(0))
        amounts: list[int] = [draw.randint(1, 45)]
        if held:
            amounts += [max(1, abs(int(held))), max(1, abs(int(held)) + 1), max(1, abs(int(held)) // 2)]
        quantity, price = draw.choice(amounts), draw.randint(1, 120)
        side = draw.choice(("buy", "sell"))
        size: dict[str, Any] = {"quantity": quantity}
        if draw.random() < 0.2:
            size = {"volume": quantity * price + draw.choice((0, 0, 1)), "quantity": None}
        made = order(account=account, instrument=instrument, side=side, price=price, id=f"o{number}", **size)
        return Open(made, 0, Fraction(made.quantity if made.quantity is not None else made.volume))

    def ask(self, number: int) -> tuple[Open, bool]:
        """An order, and whether it passed; one that reduces must."""
        wanted = self.wanted(number)
        reduces = self.book.reduces(wanted)
        answer = self.core.check(wanted.order, sent=True, lease_s=60)
        passed = isinstance(answer, e.Accepted)
        assert passed or not reduces, (number, wanted, answer)
        if passed:
            self.core.commit(answer.reservation_id)
            wanted.id = answer.reservation_id
        self.passed += passed
        self.passed_reducing += passed and reduces
        self.refused += not passed
        return wanted, passed

    def trade_or_end(self) -> None:
        if not self.book.open:
            return
        chosen, draw = self.random.choice(self.book.open), self.random
        account, name = chosen.order.account, chosen.order.id
        if draw.random() < 0.3:
            self.core.report(report("cancelled", order_id=name, account=account))
            self.book.open.remove(chosen)
            return
        price = Fraction(chosen.order.price)
        most = chosen.left if chosen.order.volume is None else chosen.left // price
        quantity = Fraction(draw.choice((most, max(1, int(most) // 2))))
        if not 0 < quantity <= most:
            return
        told = fill(name, int(quantity), int(price), account=account)
        for _ in range(draw.choice((1, 1, 2))):
            self.core.report(told)
        self.book.fill(chosen, quantity, price)

    def compare(self) -> None:
        positions = self.core.engine.positions
        for account in ACCOUNTS:
            for symbol in ("AAPL/USD", "MSFT/USD"):
                assert Fraction(positions.of(account, symbol).quantity) == self.book.quantity([account], symbol)
                for side in pit.Side:
                    waiting = positions.on_the_way(account, symbol, side)
                    assert waiting is not None and Fraction(waiting) == self.book.waiting([account], symbol, side)


@pytest.mark.parametrize("seed", [1])
def test_every_decision_is_that_of_a_model_and_what_reduces_passes(seed: int) -> None:
    flow = Flow(BOUNDED, seed)
    book = flow.book
    for number in range(STEPS):
        flow.core.now_ns += flow.random.choice((0, 10, 50, 400)) * 10**7
        if flow.random.random() < 0.5:
            state = flow.random.getstate()
            preview = flow.wanted(number)
            flow.random.setstate(state)
            within = book.within(preview, flow.core.now_ns) or book.reduces(preview)
            wanted, passed = flow.ask(number)
            assert passed == within, (seed, number, wanted)
            if passed:
                book.open.append(wanted)
                book.accepted.append((flow.core.now_ns, wanted.worth(), wanted.id))
                book.accepted = book.accepted[-400:]
        else:
            flow.trade_or_end()
        if number % 500 == 499:
            flow.compare()
            flow.core = come_back(flow.core, BOUNDED, "snapshot")
    assert flow.passed > 500 and flow.passed_reducing > 100 and flow.refused > 300


def test_every_control_there_is_either_lets_pass_what_reduces_or_is_of_another_kind() -> None:
    known = SHUT_BY.keys() | OF_ANOTHER_KIND
    assert set(CONTROLS) == known, "put it into SHUT_BY, with a limit that lets nothing else pass, or OF_ANOTHER_KIND"


@pytest.mark.parametrize("control", SHUT_BY)
def test_each_control_by_itself_lets_pass_what_reduces_and_nothing_else(control: str) -> None:
    follow(Flow(f"{GROUPED}[limits]{SHUT_BY[control]}", 5), 300)


@pytest.mark.parametrize(("scopes", "steps"), [(("firm",), 3_000), (SCOPES, 500)], ids=["firm", "each scope"])
def test_while_reducing_what_reduces_passes_and_nothing_else(scopes: tuple[str, ...], steps: int) -> None:
    flow = Flow(GROUPED, 7)
    for scope in scopes:
        flow.core.reduce(scope)
    follow(flow, steps)
    for way in WAYS:
        come_back(flow.core, GROUPED, way)


@pytest.mark.parametrize("steps", amounts(STEPS, quick=2_000))
def test_where_nothing_else_passes_no_set_of_reducing_orders_goes_through_zero(steps: int) -> None:
    flow = Flow(SHUT, 3)
    flow.core.reduce("firm")
    follow(flow, steps)
    assert flow.passed > steps // 10
    for way in WAYS:
        come_back(flow.core, SHUT, way)


def follow(flow: Flow, steps: int) -> None:
    """Has orders asked for, some of them sent only later, filled and cancelled, while nothing but what reduces passes;
    and positions that grow by what happens elsewhere.
    """
    book = flow.book
    for number in range(steps):
        flow.core.now_ns += 10**7
        what = flow.random.random()
        if what < 0.1:  # the position grows, by fills that no order here is behind
            account, symbol = flow.random.choice(ACCOUNTS), flow.random.choice(("AAPL/USD", "MSFT/USD"))
            held = book.quantity([account], symbol)
            side = "buy" if held > 0 or (not held and flow.random.random() < 0.5) else "sell"
            many = flow.random.randint(1, 50)
            pair = AAPL if symbol == "AAPL/USD" else MSFT
            flow.core.report(fill(f"ghost{number}", many, 100, account=account, instrument=pair, side=side))
            book.held[account, symbol] = held + (many if side == "buy" else -many)
        elif what < 0.6:
            wanted, passed = flow.ask(number)
            assert passed == book.reduces(wanted), (number, wanted)
            if passed:
                book.open.append(wanted)
        else:
            before = dict(book.held)
            flow.trade_or_end()
            for key, held in book.held.items():
                assert held * before.get(key, held) >= 0 and abs(held) <= abs(before.get(key, held)), (number, key)
        for account in ACCOUNTS:
            for symbol in ("AAPL/USD", "MSFT/USD"):
                held = book.quantity([account], symbol)
                selling, buying = (book.waiting([account], symbol, side) for side in (pit.Side.SELL, pit.Side.BUY))
                assert selling <= max(held, 0) and buying <= max(-held, 0), (number, account, symbol)
        if number % 1000 == 999:
            flow.compare()
    assert flow.passed == flow.passed_reducing > steps // 20
