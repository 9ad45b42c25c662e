"""spot_funds: what an order would pay with is there, held, and settled to the last digit, through its whole life."""

from __future__ import annotations

import random
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from builders import AAPL, INSTRUMENTS, Core, fill, order, report
from cases import amounts

import pit
from pitd.core import entry as e

FUNDS = """
[limits]
funds = { control = "spot_funds" }
"""


def funds(words: str = "", more: str = "") -> Core:
    return Core(f'{INSTRUMENTS}\n{more}\n[limits]\nfunds = {{ control = "spot_funds"{words} }}')


def code(reply: Any) -> str:
    """The code of the first no, or "" for a yes."""
    return "" if isinstance(reply, e.Accepted) else str(reply.rejected.code)


def held(core: Core, asset: str = "USD", account: str = "alpha") -> Decimal:
    return core.engine.policies["spot_funds"].held(account, asset)  # type: ignore[attr-defined]


def incoming(core: Core, asset: str, account: str = "alpha") -> Decimal:
    return core.engine.policies["spot_funds"].funds()[account, asset].incoming


def has(core: Core, asset: str = "USD", account: str = "alpha") -> Decimal:
    return core.engine.balances.of(account, asset)


@pytest.fixture
def core() -> Core:
    """Alpha has 1000 USD and 10 AAPL."""
    core = Core(FUNDS)
    core.fund(USD="1000", AAPL="10")
    return core


def test_the_example_of_the_rule() -> None:
    core = Core(FUNDS)
    core.fund(USD="1000")
    bought = core.check(order(id="o1", quantity=6))
    assert held(core) == 600 and incoming(core, "AAPL") == 6
    no = core.check(order(quantity=5)).rejected.rejects[0]
    assert (no.code, no.bound, no.used, no.requested) == ("InsufficientFunds", 1000, 600, 500)
    assert "needs 500 USD, 400 available" in no.reason
    core.report(fill("o1", 2, 99))
    assert (held(core), has(core), has(core, "AAPL")) == (400, 802, 2)
    core.report(report("cancelled", order_id="o1"))
    assert (held(core), has(core)) == (0, 802) and core.state(bought.reservation_id) == "closed"
    assert not code(core.check(order(side="sell", quantity=2)))
    assert code(core.check(order(side="sell", quantity="0.000000001"))) == "InsufficientPosition"


def test_what_is_there_passes_to_the_last_digit_and_one_more_does_not(core: Core) -> None:
    assert code(core.check(order(quantity=10, price="100.000000001"))) == "InsufficientFunds"
    assert not code(core.check(order(quantity=10)))
    assert code(core.check(order(quantity="0.000000001", price="0.000000001"))) == "InsufficientFunds"
    assert not code(core.check(order(side="sell", quantity=10)))


Act = Callable[[Core, int], Any]


def _act(what: str) -> Act:
    acts: dict[str, Act] = {
        "held": lambda core, id: None,
        "sent": lambda core, id: core.mark_sent(id),
        "working": lambda core, id: core.commit(id),
        "quarantined": lambda core, id: core.quarantine(id),
        "rolled_back": lambda core, id: core.rollback(id),
        "lease_over": lambda core, id: (core.advance(60), core.end_leases()),
        "part_filled": lambda core, id: core.report(fill("o1", 4, 90, fee="0.01")),
        "filled": lambda core, id: core.report(fill("o1", 10, 100)),
        "same_report_thrice": lambda core, id: [
            core.report(fill("o1", 4, 90, report_id="r1", fee="0.01")) for _ in range(3)
        ],
        "overfilled": lambda core, id: core.report(fill("o1", 12, 100)),
        "cancelled": lambda core, id: core.report(report("cancelled", order_id="o1")),
        "part_filled_then_expired": lambda core, id: (
            core.report(fill("o1", 4, 90, fee="0.01")),
            core.report(report("expired", order_id="o1")),
        ),
        "refused_by_the_venue": lambda core, id: core.report(report("rejected", order_id="o1", fee="0.01")),
        "closed_by_hand": lambda core, id: core.close_order("o1"),
        "closed_by_hand_and_alive": lambda core, id: (core.close_order("o1"), core.commit(id, late=True)),
        "filled_after_a_rollback": lambda core, id: (core.rollback(id), core.report(fill("o1", 4, 90, fee="0.01"))),
    }
    return acts[what]


@pytest.mark.parametrize(
    ("what", "holds", "usd", "units"),
    [
        ("held", 1000, "1000", 10),
        ("sent", 1000, "1000", 10),
        ("working", 1000, "1000", 10),
        ("quarantined", 1000, "1000", 10),
        ("rolled_back", 0, "1000", 10),
        ("lease_over", 0, "1000", 10),
        ("part_filled", 600, "639.99", 14),
        ("filled", 0, "0", 20),
        ("same_report_thrice", 600, "639.99", 14),
        ("overfilled", 0, "-200", 22),
        ("cancelled", 0, "1000", 10),
        ("part_filled_then_expired", 0, "639.99", 14),
        ("refused_by_the_venue", 0, "999.99", 10),
        ("closed_by_hand", 0, "1000", 10),
        ("closed_by_hand_and_alive", 1000, "1000", 10),
        ("filled_after_a_rollback", 600, "639.99", 14),
    ],
)
def test_it_is_held_while_the_order_is_open_and_settled_at_what_was_paid(
    core: Core, what: str, holds: int, usd: str, units: int
) -> None:
    """And it is so after a restart, whichever way."""
    _act(what)(core, core.check(order(id="o1")).reservation_id)
    for each in (core, core.again("rows"), core.again("snapshot")):
        assert (held(each), has(each), has(each, "AAPL")) == (holds, Decimal(usd), units)
        assert held(each, "AAPL") == 0


@pytest.mark.parametrize(
    ("words", "gives", "asset"),
    [
        ({"quantity": 5}, "500", "USD"),
        ({"quantity": 5, "side": "sell"}, "5", "AAPL"),
        ({"volume": 500}, "500", "USD"),
        ({"volume": 500, "side": "sell", "price": 300}, "1.666666667", "AAPL"),
        ({"quantity": 5, "price": None}, "510", "USD"),
        ({"quantity": 5, "price": None, "side": "sell"}, "5", "AAPL"),
        ({"volume": 500, "price": None}, "500", "USD"),
        ({"volume": 490, "price": None, "side": "sell"}, "5", "AAPL"),
    ],
)
def test_each_form_of_an_order_holds_what_it_would_pay_with(
    core: Core, words: dict[str, Any], gives: str, asset: str
) -> None:
    """A market order buys at the ask and sells at the bid."""
    core.quote(bid="98", ask="102")
    assert not code(core.check(order(**words)))
    assert held(core, asset) == Decimal(gives)


def test_slippage_and_fees_are_held_on_top() -> None:
    core = funds(', slippage_percent = "2.5", fee_percent = "0.1"')
    core.fund(USD="102.60251", AAPL="1")
    core.quote(bid="90", ask="100")
    assert code(core.check(order(quantity=1, price="102.500010001"))) == "InsufficientFunds"
    bought = core.check(order(id="o1", quantity=1, price=None))
    assert held(core) == Decimal("102.6025") and not code(bought)  # 100 × 1.025 × 1.001
    core.quote()
    core.report(fill("o1", "0.5", "110"))
    assert held(core) == Decimal("51.30125")  # still by the quote that it was taken at
    core.rollback(bought.reservation_id)
    core.report(report("cancelled", order_id="o1"))
    assert held(core) == 0
    core.quote(bid="90")
    assert not code(core.check(order(side="sell", volume="80", price=None, quantity=None)))
    assert held(core, "AAPL") == Decimal("0.911680912")  # 80 / (90 × 0.975)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({"quantity": 1}, "MarkPriceUnavailable"),
        ({"quantity": 1, "side": "sell"}, ""),
        ({"volume": 100}, ""),
        ({"volume": 100, "side": "sell"}, "MarkPriceUnavailable"),
    ],
)
def test_a_market_order_without_a_quote_passes_only_where_no_price_is_needed(
    core: Core, words: dict[str, Any], expected: str
) -> None:
    assert code(core.check(order(price=None, **({"quantity": None} | words)))) == expected


def test_nobody_said_what_there_is_means_that_there_is_nothing() -> None:
    core = Core(FUNDS)
    assert code(core.check(order(quantity="0.000000001", price="0.000000001"))) == "InsufficientFunds"
    assert code(core.check(order(side="sell", quantity="0.000000001"))) == "InsufficientPosition"


def test_what_comes_in_is_told_and_can_not_be_spent_before_it_is_there(core: Core) -> None:
    core.check(order(id="o1", side="sell", quantity=10))
    assert incoming(core, "USD") == 1000
    assert code(core.check(order(quantity=11))) == "InsufficientFunds"
    core.report(fill("o1", 1, 100))
    assert not code(core.check(order(quantity=11)))


def test_where_fees_took_more_than_there_was_nothing_more_passes_until_it_is_made_up(core: Core) -> None:
    core.check(order(id="o1"))
    core.report(fill("o1", 10, 100, fee="0.5"))
    assert has(core) == Decimal("-0.5")
    assert code(core.check(order(quantity="0.000000001", price="0.000000001"))) == "InsufficientFunds"
    core.fund(USD="0.5")
    assert not code(core.check(order(quantity=1, price="0.5")))


def test_tracking_counts_the_same_and_refuses_nothing() -> None:
    core = funds(', mode = "track"')
    assert not code(core.check(order(id="o1", quantity=6)))
    assert not code(core.check(order(side="sell", quantity=3)))
    assert not code(core.check(order(price=None)))
    assert (held(core), held(core, "AAPL"), has(core)) == (600, 3, 0)
    core.report(fill("o1", 2, 99))
    assert (held(core), has(core), has(core, "AAPL")) == (400, -198, 2)


def test_below_zero_the_seller_pays() -> None:
    core = funds(more='[instruments.PWR]\nsettlement = "EUR"\nsigned_price = true')
    core.fund(EUR="50", PWR="10")
    assert code(core.check(order(instrument="PWR", side="sell", quantity=10, price="-5.1"))) == "InsufficientFunds"
    core.check(order(id="o1", instrument="PWR", side="sell", quantity=10, price="-5"))
    assert (held(core, "EUR"), held(core, "PWR")) == (50, 10)
    core.report(fill("o1", 4, "-5"))
    assert (held(core, "EUR"), held(core, "PWR"), has(core, "EUR"), has(core, "PWR")) == (30, 6, 30, 6)
    core.check(order(id="o2", instrument="PWR", quantity=3, price="-1"))
    assert held(core, "EUR") == 30 and incoming(core, "EUR") == 3
    core.report(fill("o2", 3, "-1"))
    assert has(core, "EUR") == 33


def test_of_several_limits_one_that_enforces_is_enough_and_the_larger_share_is_held() -> None:
    core = Core("""
        [limits]
        all = { control = "spot_funds", mode = "track", fee_percent = "1" }
        coins = { control = "spot_funds", settlement = "USDT" }
        """)
    core.fund(USDT="100")
    coin = pit.Instrument("BTC", "USDT")
    assert not code(core.check(order(quantity=1)))
    no = core.check(order(instrument=coin, quantity=1)).rejected
    assert [each.limit for each in no.rejects] == ["coins"] and no.requested == 101
    assert not code(core.check(order(instrument=coin, quantity="0.5")))
    assert held(core, "USDT") == Decimal("50.5")


def test_an_account_that_no_limit_is_for_is_refused_and_a_future_needs_no_funds() -> None:
    core = funds(', accounts = ["alpha"]')
    assert code(core.check(order(account="beta"))) == "RiskConfigurationMissing"
    assert not code(core.check(order(account="beta", instrument="ESZ6")))
    assert not code(core.check(order(instrument="ESZ6", quantity=100)))


def test_a_sell_of_what_is_owned_passes_and_a_position_alone_proves_nothing() -> None:
    core = Core(FUNDS)
    euros = pit.Instrument("AAPL", "EUR")
    core.fund(USD="1000")
    core.check(order(id="o1"))
    core.report(fill("o1", 10, 100))
    core.check(order(id="o2", side="sell", instrument=euros))
    core.report(fill("o2", 10, 90))
    assert core.engine.positions.of("alpha", "AAPL/USD").quantity == 10
    assert code(core.check(order(side="sell", quantity=10))) == "InsufficientPosition"


def test_a_reload_that_brings_it_counts_what_is_open() -> None:
    core = Core("")
    core.check(order(id="o1", quantity=6))
    core.reload(FUNDS)
    assert held(core) == 600
    core.fund(USD="1000")
    assert code(core.check(order(quantity=5))) == "InsufficientFunds"
    core.reload(FUNDS.replace('"spot_funds"', '"spot_funds", fee_percent = "10"'))
    assert held(core) == 660
    core.report(report("cancelled", order_id="o1"))
    assert held(core) == 0


def test_its_shares_can_be_set_at_run_time() -> None:
    core = funds()
    core.fund(USD="100")
    core.set_limit("funds", {"fee_percent": "0.5"})
    assert code(core.check(order(quantity=1))) == "InsufficientFunds"
    core.clear_limit("funds")
    assert not code(core.check(order(quantity=1)))


def test_people_see_what_is_held_of_what_is_there(core: Core) -> None:
    from pitd.core.policy import Look

    core.check(order(quantity=6))
    policy = core.engine.policies["spot_funds"]
    look = Look(0, "", 10, lambda account: None, balances=core.engine.balances)
    shown = [(each.scope, each.what, each.bound, each.used) for each in policy.counters("funds", look)]
    assert shown == [("account alpha", "AAPL held", 10, 0), ("account alpha", "USD held", 1000, 600)]


# ---------------------------------------------------------------------------------------------- modifies


@pytest.mark.parametrize(
    ("answer", "holds"), [("", 840), ("replaced", 840), ("replace_rejected", 600), ("rolled_back", 600)]
)
def test_until_the_venue_answers_a_modify_the_worse_of_old_and_new_is_held(core: Core, answer: str, holds: int) -> None:
    core.working(order(id="o1", quantity=6))
    asked = core.modify("o1", quantity=7, price=120)
    assert held(core) == 840
    if answer == "rolled_back":
        core.rollback(asked.modify_id)
    elif answer:
        core.report(report(answer, order_id="o1"))
    for each in (core, core.again("rows"), core.again("snapshot")):
        assert held(each) == holds
    core.report(report("cancelled", order_id="o1"))
    assert held(core) == 0


def test_a_modify_down_frees_nothing_before_the_venue_says_so(core: Core) -> None:
    core.working(order(id="o1", quantity=10))
    core.modify("o1", price=90, sent=True)
    assert code(core.check(order(quantity=1, price=1))) == "InsufficientFunds"
    core.report(fill("o1", 4, 100))
    assert held(core) == 600
    core.report(report("replaced", order_id="o1"))
    assert held(core) == 540 and not code(core.check(order(quantity=1, price=60)))


def test_a_modify_that_could_not_be_paid_for_is_refused_and_a_step_down_never_is(core: Core) -> None:
    core.working(order(id="o1", quantity=10))
    assert core.modify("o1", price="100.000000001").rejected.code == "InsufficientFunds"
    core.fund(USD="500")
    assert core.modify("o1", price="100.000000001").rejected.code == "InsufficientFunds"
    assert isinstance(core.modify("o1", price=99), e.Modified)


# ---------------------------------------------------------------------------------------------- a volume's dust


@pytest.mark.parametrize(("side", "asset"), [("buy", "USD"), ("sell", "AAPL")])
def test_a_volume_order_whose_rest_buys_nothing_is_done_and_holds_nothing(core: Core, side: str, asset: str) -> None:
    placed = core.check(order(id="o1", side=side, volume=100, price=30))
    core.report(fill("o1", "3.333333333", 30))
    assert core.state(placed.reservation_id) == "closed" and held(core, asset) == 0
    assert core.ended_by(placed.reservation_id) is e.EndedBy.FILLED


def test_with_a_lot_the_rest_of_a_volume_order_is_dust_below_one() -> None:
    core = funds(more='[instruments."AAPL/USD"]\nsettlement = "USD"\nlot = "1"')
    core.fund(USD="1000")
    placed = core.check(order(id="o1", volume=1000, price=300))
    core.report(fill("o1", 2, 300))
    assert held(core) == 400 and core.state(placed.reservation_id) == "working"
    core.report(fill("o1", 1, 300))
    assert (held(core), has(core)) == (0, 100) and core.state(placed.reservation_id) == "closed"


# ---------------------------------------------------------------------------------------------- a slow model

ACCOUNTS = ("alpha", "beta")
PAIRS = tuple(pit.Instrument(*pair.split("/")) for pair in ("AAPL/USD", "BTC/USD", "BTC/EUR"))
RULES = """
[limits]
funds = { control = "spot_funds", slippage_percent = "2", fee_percent = "0.25" }
"""


class Placed(msgspec.Struct):
    order: pit.Order
    id: int
    left: Fraction
    at: Fraction | None
    """The price that it is valued at."""


def up(number: Fraction, digits: int) -> Fraction:
    return Fraction(-(-number * 10**digits // 1), 10**digits)


def need(placed: Placed) -> tuple[str, Fraction] | None:
    """What an order may give, from nothing but itself; None where nobody can say."""
    wanted, left, at = placed.order, placed.left, placed.at
    pair = wanted.instrument
    assert isinstance(pair, pit.Instrument)
    slips = Fraction(2, 100) if wanted.price is None else Fraction(0)
    if wanted.side is pit.Side.BUY:
        if wanted.volume is not None:
            return pair.settlement, up(left * Fraction(10025, 10000), 18)
        if at is None:
            return None
        return pair.settlement, up(up(left * at * (1 + slips), 18) * Fraction(10025, 10000), 18)
    if wanted.volume is None:
        return pair.underlying, left
    return None if at is None else (pair.underlying, up(left / (at * (1 - slips)), 9))


class Books:
    """Everything that accounts have, and every open order: added up anew whenever it is asked for."""

    def __init__(self) -> None:
        self.have: dict[tuple[str, str], Fraction] = {}
        self.open: dict[int, Placed] = {}

    def held(self, account: str, asset: str) -> Fraction:
        mine = (need(each) for each in self.open.values() if each.order.account == account)
        return sum((amount for each in mine if each and each[0] == asset for amount in each[1:]), Fraction(0))

    def move(self, account: str, asset: str, amount: Fraction) -> None:
        self.have[account, asset] = self.have.get((account, asset), Fraction(0)) + amount

    def allows(self, placed: Placed) -> bool:
        wanted = need(placed)
        if wanted is None:
            return False
        asset, amount = wanted
        account = placed.order.account
        return amount <= self.have.get((account, asset), Fraction(0)) - self.held(account, asset)

    def fill(self, placed: Placed, quantity: Fraction, price: Fraction, fee: Fraction) -> None:
        wanted, pair = placed.order, placed.order.instrument
        assert isinstance(pair, pit.Instrument)
        sign = 1 if wanted.side is pit.Side.BUY else -1
        self.move(wanted.account, pair.underlying, sign * quantity)
        self.move(wanted.account, pair.settlement, -sign * quantity * price - fee)
        placed.left -= quantity if wanted.volume is None else quantity * price
        is_dust = wanted.volume is not None and placed.left < price / 10**9
        if placed.left <= 0 or is_dust:
            self.open.pop(placed.id, None)


class Traders:
    """Drives a core and the books by one seed."""

    def __init__(self, seed: int) -> None:
        self.draw, self.core, self.books = random.Random(seed), Core(RULES), Books()
        self.told: list[pit.ExecutionReport] = []
        self.passed = self.refused = self.fills = self.modified = 0

    def amount(self, most: int) -> Decimal:
        digits = self.draw.choice((0, 2, 9))
        return Decimal(self.draw.randint(1, most * 10**digits)).scaleb(-digits)

    def step(self, number: int) -> None:
        self.core.now_ns += 10**7
        what = self.draw.random()
        if what < 0.08:
            self.adjust()
        elif what < 0.5:
            self.place(number)
        elif self.books.open:
            self.move_on(self.books.open[self.draw.choice(list(self.books.open))], self.draw.random())

    def adjust(self) -> None:
        account, asset = self.draw.choice(ACCOUNTS), self.draw.choice(("USD", "EUR", "AAPL", "BTC"))
        amount = self.amount(1_000) * self.draw.choice((1, 1, 1, -1))
        if self.draw.random() < 0.3:
            part = pit.BalanceAdjustment(account=account, asset=asset, set_to=amount)
            self.books.have[account, asset] = Fraction(amount)
        else:
            part = pit.BalanceAdjustment(account=account, asset=asset, move_by=amount)
            self.books.move(account, asset, Fraction(amount))
        self.core.adjust(part)

    def place(self, number: int) -> None:
        draw = self.draw
        pair = draw.choice(PAIRS)
        bid = self.amount(40)
        self.core.quotes = ()
        if draw.random() < 0.7:
            self.core.quote(bid=str(bid), ask=str(bid + 1), symbol=str(pair))
        size: dict[str, Any] = {"quantity": self.amount(20)}
        if draw.random() < 0.4:
            size = {"volume": self.amount(400), "quantity": None}
        side, price = draw.choice(("buy", "sell")), draw.choice((self.amount(40), self.amount(40), None))
        account = draw.choice(ACCOUNTS)
        wanted = order(account=account, instrument=pair, side=side, price=price, id=f"o{number}", **size)
        at = price
        if price is None and self.core.quotes:
            at = bid if side == "sell" else bid + 1
        whole = wanted.quantity if wanted.quantity is not None else wanted.volume
        assert whole is not None
        placed = Placed(wanted, 0, Fraction(whole), None if at is None else Fraction(at))
        allowed = self.books.allows(placed)
        reply = self.core.check(wanted, sent=True, lease_s=60)
        assert isinstance(reply, e.Accepted) == allowed, (number, wanted, reply)
        self.core.quotes = ()
        self.passed, self.refused = self.passed + allowed, self.refused + (not allowed)
        if allowed:
            placed.id = reply.reservation_id
            self.books.open[placed.id] = placed

    def move_on(self, placed: Placed, what: float) -> None:
        core, draw, wanted = self.core, self.draw, placed.order
        is_simple = wanted.volume is None and wanted.price is not None
        if what < 0.3 and is_simple and core.state(placed.id) == "working":
            self.modify(placed)
        elif what < 0.1:
            core.rollback(placed.id)  # refused once it works
            if core.state(placed.id) == "rolled_back":
                del self.books.open[placed.id]
        elif what < 0.2:
            core.commit(placed.id)
        elif what < 0.4:
            kind = draw.choice(("cancelled", "expired", "rejected"))
            core.report(report(kind, order_id=wanted.id, account=wanted.account))
            del self.books.open[placed.id]
        elif what < 0.45 and self.told:
            core.report(draw.choice(self.told))
        else:
            self.trade(placed)

    def modify(self, placed: Placed) -> None:
        """Asks for other terms; some of the order may trade before the venue says yes or no."""
        core, draw, old = self.core, self.draw, placed.order
        assert old.quantity is not None
        traded = Fraction(old.quantity) - placed.left
        price, quantity = self.amount(40), Decimal(int(traded)) + self.amount(20) + 1
        new = msgspec.structs.replace(old, quantity=quantity, price=price)
        if new == old:
            return
        after = Placed(new, placed.id, Fraction(quantity) - traded, Fraction(price))
        before, wanted = need(placed), need(after)
        assert before is not None and wanted is not None
        free = self.books.have.get((old.account, wanted[0]), Fraction(0)) - self.books.held(old.account, wanted[0])
        free += before[1]
        allowed = wanted[1] <= free or (before[1] > free and wanted[1] <= before[1])
        reply = core.modify(old.id, quantity=quantity, price=price, sent=True, lease_s=60, account=old.account)
        assert isinstance(reply, e.Modified) == allowed, (new, reply)
        if not allowed:
            return
        policy = core.engine.policies["spot_funds"]
        others = self.books.held(old.account, wanted[0]) - before[1]
        assert Fraction(policy.held(old.account, wanted[0])) == others + max(before[1], wanted[1])  # type: ignore[attr-defined]
        some = min(placed.left, after.left) / 2
        if draw.random() < 0.5 and int(some * 10**9):
            core.commit(reply.modify_id)
            quantity = Decimal(int(some * 10**9)).scaleb(-9)
            core.report(fill(old.id, quantity, 7, account=old.account))
            self.books.fill(placed, Fraction(quantity), Fraction(7), Fraction(0))
            after.left -= Fraction(quantity)
        is_replaced = draw.random() < 0.7
        said = "replaced" if is_replaced else "replace_rejected"
        core.report(report(said, order_id=old.id, account=old.account))
        if is_replaced:
            self.books.open[placed.id] = after
        self.modified += 1

    def trade(self, placed: Placed) -> None:
        wanted, draw = placed.order, self.draw
        price = wanted.price if wanted.price is not None and draw.random() < 0.5 else self.amount(45)
        most = placed.left if wanted.volume is None else placed.left / Fraction(price)
        nanos = int(most * 10**9)
        if not 0 < nanos < 10**17:
            return
        quantity = Decimal(draw.choice((nanos, nanos, max(1, nanos // 3)))).scaleb(-9)
        if draw.random() < 0.05:
            quantity += 1  # the venue may say what it likes
        fee = draw.choice((Decimal(0), self.amount(1)))
        told = fill(wanted.id, quantity, price, account=wanted.account, fee=fee)
        reply = self.core.report(told)
        assert isinstance(reply, e.Applied), reply
        self.books.fill(placed, Fraction(quantity), Fraction(price), Fraction(fee))
        self.told = [*self.told[-30:], told]
        self.fills += 1

    def compare(self, number: int) -> None:
        policy, balances = self.core.engine.policies["spot_funds"], self.core.engine.balances
        for account in ACCOUNTS:
            for asset in ("USD", "EUR", "AAPL", "BTC"):
                key = (account, asset)
                assert Fraction(balances.of(*key)) == self.books.have.get(key, Fraction(0)), (number, key)
                kept = policy.held(account, asset)  # type: ignore[attr-defined]
                assert Fraction(kept) == self.books.held(*key) >= 0, (number, key)
        assert self.core.engine.orders.open.keys() == self.books.open.keys()


@pytest.mark.parametrize("steps", amounts(10_000, quick=2_000))
def test_every_decision_and_every_balance_is_that_of_a_model(steps: int) -> None:
    """And a restart in between, by rows or from a snapshot, changes nothing."""
    traders = Traders(seed=1)
    for number in range(steps):
        traders.step(number)
        if number % 25 == 24:
            traders.compare(number)
        if number % 1_000 == 999:
            traders.core = traders.core.again("snapshot")
    traders.core = traders.core.again("rows")
    traders.compare(steps)
    least = steps // 100
    assert traders.passed > 8 * least and traders.refused > 8 * least
    assert traders.fills > 15 * least and traders.modified > least


def test_nothing_is_left_of_any_asset_that_nobody_put_there() -> None:
    """What one account pays another gets: over a venue that matches the two, and without fees, all sums stay."""
    core, draw = Core(FUNDS), random.Random(7)
    for account in ACCOUNTS:
        core.fund(account, USD="5000", AAPL="50")
    for number in range(600):
        price, quantity = draw.randint(1, 4_000_000_000), draw.randint(1, 3_000_000_000)
        sides = draw.sample(("buy", "sell"), 2)
        words = {"quantity": Decimal(quantity).scaleb(-9), "price": Decimal(price).scaleb(-7)}
        asked = [
            core.check(order(account=account, side=side, id=f"o{number}", **words))
            for account, side in zip(ACCOUNTS, sides, strict=True)
        ]
        for account, reply in zip(ACCOUNTS, asked, strict=True):
            if all(isinstance(each, e.Accepted) for each in asked):
                core.report(fill(f"o{number}", words["quantity"], words["price"], account=account))
            elif isinstance(reply, e.Accepted):
                core.rollback(reply.reservation_id)
        assert sum(has(core, "USD", account) for account in ACCOUNTS) == 10_000
        assert sum(has(core, "AAPL", account) for account in ACCOUNTS) == 100
        assert all(
            has(core, asset, account) >= 0 == held(core, asset, account)
            for account in ACCOUNTS
            for asset in ("USD", "AAPL")
        )
    assert AAPL.underlying == "AAPL"
