"""self_trade: own orders never meet, whoever sent them, at no cost that grows with how many are open."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import pytest
from builders import BTC, Core, fill, order, report
from hypothesis import given
from hypothesis import strategies as st

from pitd.core import entry as e
from pitd.policies.self_trade import Resting, SelfTrade, SelfTrades

FIRM = '[limits]\nown = { control = "self_trade", over = "firm" }\n'
DESKS = '[accounts.alpha]\ngroup = "eq"\n[accounts.beta]\ngroup = "eq"\n'


def passes(core: Core, client: str = "mm2", **fields: Any) -> bool:
    return isinstance(core.check(order(**fields), client=client), e.Accepted)


def resting(settings: str = FIRM, **fields: Any) -> Core:
    """A core in which mm1 sells 10 AAPL at 101, unless said otherwise."""
    core = Core(settings)
    assert passes(core, "mm1", **({"id": "o1", "side": "sell", "price": "101"} | fields))
    return core


@pytest.mark.parametrize(
    ("first", "second", "meets"),
    [
        ({}, {"price": "101"}, True),
        ({}, {"price": "100.999999999"}, False),
        ({}, {"price": "150"}, True),
        ({}, {"price": None}, True),
        ({}, {"price": None, "volume": "50"}, True),
        ({}, {"price": "101", "volume": "50"}, True),
        ({}, {"side": "sell", "price": "50"}, False),
        ({}, {"side": "sell", "price": None}, False),
        ({}, {"instrument": BTC, "price": "500"}, False),
        ({}, {"account": "gamma", "price": "101"}, True),
        ({"price": None}, {"price": "1"}, True),
        ({"price": None}, {"side": "sell", "price": "1"}, False),
        ({"side": "buy", "price": "99"}, {"side": "sell", "price": "99"}, True),
        ({"side": "buy", "price": "99"}, {"side": "sell", "price": "99.000000001"}, False),
        ({"side": "buy", "price": "99"}, {"side": "sell", "price": None}, True),
        ({"venue": "XNAS"}, {"price": "101", "venue": "XNAS"}, True),
        ({"venue": "XNAS"}, {"price": "101", "venue": "BATS"}, False),
        ({"venue": "XNAS"}, {"price": None, "venue": "BATS"}, False),
        ({"venue": "XNAS"}, {"price": "101"}, True),
        ({}, {"price": "101", "venue": "BATS"}, True),
    ],
)
def test_the_table(first: dict[str, Any], second: dict[str, Any], meets: bool) -> None:
    assert passes(resting(**first), **second) is not meets


def test_the_reject_names_both_prices() -> None:
    no = resting().check(order(price="105")).rejected
    assert (no.codes, no.policy, no.limit, no.scope) == (("SelfMatchPrevention",), "self_trade", "own", "firm")
    assert (no.bound, no.requested) == (101, 105)
    assert "buy AAPL/USD at 105 would meet an own sell at 101" in no.reason


@pytest.mark.parametrize(
    ("limit", "account", "client", "code"),
    [
        ('over = "firm"', "gamma", "mm2", "SelfMatchPrevention"),
        ('over = { group = "eq" }', "beta", "mm2", "SelfMatchPrevention"),
        ('over = { group = "eq" }', "gamma", "mm2", None),
        ('each = "account"', "alpha", "mm2", "WashTradePrevention"),
        ('each = "account"', "beta", "mm2", None),
        ('each = "account+client"', "alpha", "mm2", None),
        ('each = "client"', "beta", "mm1", "SelfMatchPrevention"),
        ('over = "firm", except = { clients = ["mm2"] }', "alpha", "mm2", None),
    ],
)
def test_whose_orders_may_not_meet_the_limit_says(limit: str, account: str, client: str, code: str | None) -> None:
    core = resting(f'{DESKS}[limits]\nown = {{ control = "self_trade", {limit} }}')
    reply = core.check(order(account=account, price="101"), client=client)
    assert (reply.rejected.code if isinstance(reply, e.Refused) else None) == code


def end(core: Core, how: str) -> None:
    id = next(iter(core.engine.orders.open))
    match how:
        case "rollback":
            core.rollback(id)
        case "expiry":
            core.advance(10)
            core.end_leases()
        case "fill":
            core.report(fill("o1", 10))
        case "cancel":
            core.report(report("cancelled", order_id="o1"))
        case "reject":
            core.report(report("rejected", order_id="o1"))


@pytest.mark.parametrize("how", ["rollback", "expiry", "fill", "cancel", "reject"])
def test_what_is_no_longer_open_is_met_by_nobody(how: str) -> None:
    core = resting()
    end(core, how)
    assert passes(core, price="101")


def test_what_is_filled_in_part_is_still_met() -> None:
    core = resting()
    core.report(fill("o1", "9.999999999"))
    assert not passes(core, price="101")


def test_what_is_held_sent_quarantined_or_working_is_open() -> None:
    core = Core(FIRM)
    held = core.check(order(side="sell"), lease_s=1)
    for advance in (
        lambda: core.mark_sent(held.reservation_id),
        lambda: core.quarantine(held.reservation_id),
        lambda: core.commit(held.reservation_id),
    ):
        assert not passes(core)
        assert isinstance(advance(), e.Stands)
    assert not passes(core)


def test_a_late_commit_brings_it_back_to_be_met() -> None:
    core = Core(FIRM)
    held = core.check(order(side="sell"))
    core.rollback(held.reservation_id)
    core.commit(held.reservation_id, late=True)
    assert not passes(core)


def test_a_refused_order_is_not_in_the_way_of_the_next() -> None:
    core = resting()
    assert not passes(core, price="101")
    assert passes(core, side="sell", price="101")


def test_of_many_the_best_is_met_and_when_it_is_gone_the_next() -> None:
    core = resting()
    assert passes(core, "mm1", id="o2", side="sell", price="103")
    assert passes(core, "mm1", id="o3", side="sell", price="101")
    core.report(report("cancelled", order_id="o1"))
    assert not passes(core, price="101")
    core.report(report("cancelled", order_id="o3"))
    assert passes(core, price="102.99")
    assert not passes(core, price="103")


@pytest.mark.parametrize("way", ["rows", "snapshot"])
def test_it_is_met_after_a_restart_too(way: str) -> None:
    again = resting().again(way)
    assert not passes(again, price="101")
    again.report(report("cancelled", order_id="o1"))
    assert passes(again, price="101")


def test_a_configuration_that_brings_the_limit_counts_what_is_open() -> None:
    core = resting("")
    core.configure(FIRM)
    assert not passes(core, price="101")
    core.report(report("cancelled", order_id="o1"))
    assert passes(core, price="101")


def test_a_configuration_that_takes_the_limit_away_leaves_nothing_behind() -> None:
    core = resting()
    core.configure("")
    assert passes(core, price="101")
    assert core.engine.policies["self_trade"].save() == []


def test_it_has_no_number_that_could_be_set() -> None:
    no = resting().set_limit("own", {"max_orders": "5"})
    assert no.failure == "InvalidInput" and "its numbers: shadow" in no.message


prices = st.none() | st.integers(1, 4).map(Decimal)


@given(st.lists(st.tuples(st.booleans(), st.booleans(), prices, st.integers(0, 99)), max_size=80))
def test_it_agrees_with_a_look_at_every_open_order(moves: list[tuple[bool, bool, Decimal | None, int]]) -> None:
    policy = SelfTrade([SelfTrades(name="own", position=0, over="firm")])
    there: list[Resting] = []
    for is_new, is_buy, price, pick in moves:
        meets = any(
            each.is_buy is not is_buy
            and (price is None or each.price is None or (price >= each.price if is_buy else price <= each.price))
            for each in there
        )
        opposite = policy._books.get(("own", "firm", "A", not is_buy), {}).get(None)
        assert (opposite is not None and opposite.meets(price)) is meets
        if is_new or not there:
            there.append(Resting("A", is_buy, price, (("own", "firm"),)))
            policy.apply(there[-1])
        else:
            policy.undo(there.pop(pick % len(there)))


def test_what_it_remembers_is_bounded_by_what_is_open() -> None:
    policy = SelfTrade([SelfTrades(name="own", position=0, over="firm")])
    dice = random.Random(1)
    books = (("own", "firm"),)
    policy.apply(Resting("A", True, Decimal(10_000), books))
    for _ in range(5_000):
        below = Resting("A", True, Decimal(dice.randint(1, 9_999)), books)
        policy.apply(below)
        policy.undo(below)
    ((book,),) = (venues.values() for venues in policy._books.values())
    assert len(book._heap) < 40
