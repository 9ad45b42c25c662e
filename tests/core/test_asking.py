"""Dry runs and explanations: what would be said is what is said, sizes are exact, and nothing is changed by asking."""

from __future__ import annotations

import decimal
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from builders import AAPL, BTC, INSTRUMENTS, Core, fill, money, order, report, saved
from hypothesis import given
from hypothesis import strategies as st
from marks import EUR, MSFT, SAP, holds, marked

import pit
from pitd.core import asking
from pitd.core import entry as e
from pitd.core.engine import exact_context
from pitd.core.policy import whole_quantity
from pitd.core.sizes import Ladder, largest

ALL_CONTROLS = (
    INSTRUMENTS
    + """
[accounts.alpha]
group = "eq"
[accounts.beta]
group = "eq"
[limits]
own = { control = "pnl_kill_switch", each = "account", max_loss = "100", settlement = "USD" }
coin = { control = "pnl_kill_switch", each = "account", max_loss = "100", settlement = "USDT" }
btc = { control = "pnl_kill_switch", each = "account", max_loss = "100", settlement = "BTC" }
all = { control = "pnl_kill_switch", over = "firm", settlement = "USD", max_loss = "150" }
fast = { control = "rate_limit", each = "account", max_orders = 6, window = "5s" }
size = { control = "order_size_limit", each = "account", settlement = "USD", max_quantity = 300, max_notional = 90000 }
other = { control = "order_size_limit", each = "settlement", max_notional = "500000" }
mine = { control = "open_order_notional", each = "account", settlement = "USD", max_notional = "100000" }
both = { control = "open_order_notional", each = "settlement", max_notional = "150000" }
near = { control = "price_collar", max_percent = "50", settlement = "USD", side = "both", clients = ["mm2"] }
again = { control = "duplicate_order", max_repeats = 1, window = "3s" }
loop = { control = "repeated_execution", max_executions = 4, window = "5s" }
house = { control = "self_trade", each = "account" }
rule = { control = "instrument_rules", min_quantity = 3, max_quantity = 400, min_price = 1, settlement = "USD" }
short = { control = "instrument_rules", instruments = ["BTC/USDT"], short_sale = "reject" }
net = { control = "position_limit", each = "instrument", max_quantity = "350" }
long = { control = "position_limit", each = "account+instrument", max_long = "200", max_short = 40 }
few = { control = "open_order_limit", each = "account", max_orders = 5 }
flow = { control = "turnover_limit", each = "settlement", max_notional = "200000", window = "2s" }
units = { control = "turnover_limit", each = "account+instrument", max_quantity = "300", window = "1s" }
funds = { control = "spot_funds", accounts = ["gamma"] }
seen = { control = "spot_funds", mode = "track" }
words = { control = "message_rate", each = "account", max_messages = 100, window = "1s" }
"""
)


def asked(core: Core, wanted: pit.Order, client: str = "mm1", *, sees_all: bool = True) -> asking.Question:
    return asking.Question(wanted, client, core.now_ns, core.quotes, sees_all)


def dry_run(core: Core, wanted: pit.Order, client: str = "mm1", *, start_only: bool = False) -> Any:
    with decimal.localcontext(exact_context()):
        return asking.dry_run(core.engine, asked(core, wanted, client), start_only=start_only)


def explain(core: Core, wanted: pit.Order, client: str = "mm1", *, sees_all: bool = True) -> pit.Explanation:
    with decimal.localcontext(exact_context()):
        return asking.explain(core.engine, asked(core, wanted, client, sees_all=sees_all))


def of(explanation: pit.Explanation, limit: str) -> pit.LimitExplained:
    (found,) = (each for each in explanation.limits if each.limit == limit)
    return found


def whole(core: Core) -> Any:
    """Everything that a policy may remember, also what it does not save."""
    return saved(core.engine), {id: repr(vars(policy)) for id, policy in core.engine.policies.items()}


# ---------------------------------------------------------------------------------------------- laws

instruments = st.sampled_from((AAPL, AAPL, BTC, "ESZ6", "XBT", "NOPE"))
sizes = st.decimals(min_value="0.001", max_value="450", places=3) | st.sampled_from((Decimal(3), Decimal(40)))
prices = st.none() | st.decimals(min_value="0.01", max_value="3000", places=2) | st.sampled_from((Decimal(100),))
orders = st.builds(
    lambda account, instrument, side, form, size, price: order(
        account=account,
        instrument=instrument,
        side=side,
        price=price,
        quantity=None if form == "volume" else size,
        volume=size * 100 if form == "volume" else None,
    ),
    st.sampled_from(("alpha", "alpha", "beta", "gamma")),
    instruments,
    st.sampled_from(("buy", "sell")),
    st.sampled_from(("units", "units", "volume")),
    sizes,
    prices,
)
moves = st.lists(
    st.tuples(
        orders, st.sampled_from(("mm1", "mm2")), st.sampled_from(("", "fill", "fill", "close", "lose", "block", "wait"))
    ),
    max_size=12,
)


def played(history: Any, settings: str = ALL_CONTROLS) -> Core:
    core = Core(settings)
    for n, (wanted, client, then) in enumerate(history):
        core.quote(mark="101", bid="100", ask="102") if n % 3 else core.quote(mark="99", symbol="ESZ6")
        accepted = core.check(wanted, client=client)
        core.advance(0.2)
        if then == "wait":
            core.advance(2)
        elif then == "block":
            core.block("account gamma")
        elif isinstance(accepted, e.Accepted) and then in ("fill", "lose"):
            price = wanted.price or Decimal(100)
            pnl = "-30" if then == "lose" else "0"
            core.report(
                fill(wanted.id, min(whole_quantity(wanted), Decimal(7)), price, account=wanted.account, pnl=pnl)
            )
        elif isinstance(accepted, e.Accepted) and then == "close":
            core.report(report("cancelled", order_id=wanted.id, account=wanted.account))
    return core


@given(moves, orders, st.sampled_from(("mm1", "mm2")))
def test_a_dry_run_says_what_is_said_and_asking_changes_nothing(history, wanted, client):
    core = played(history)
    core.session(client)  # opening one is an entry of its own
    before = whole(core)
    would = dry_run(core, wanted, client)
    starts = dry_run(core, wanted, client, start_only=True)
    explained = explain(core, wanted, client)
    assert whole(core) == before
    assert core.engine.is_whole
    assert explained.passes == bool(would)
    assert not starts or not any(each in would.rejects for each in getattr(starts, "rejects", ()))
    came = core.check(wanted, client=client)
    if isinstance(came, e.Accepted):
        assert would
    else:
        assert came.rejected == would
        assert set(would.rejects) <= set(explained.rejects)


@given(moves, orders, st.sampled_from(("mm1", "mm2")))
def test_the_largest_size_passes_and_the_next_one_does_not(history, wanted, client):
    core = played(history)
    explained = explain(core, wanted, client)
    listed = core.engine.instruments.find(wanted.instrument)
    ladder = Ladder(listed.lot if listed is not None and wanted.volume is None else None)
    with decimal.localcontext(exact_context()):
        checks = [(None, explained.largest), *((each.limit, each.largest) for each in explained.limits)]
        for limit, most in checks:
            rung = ladder.top if most is None else ladder.below(*most.as_integer_ratio())
            assert most is None or (ladder.size(rung) == most if rung else most == 0)
            assert not rung or _passes(core, wanted, client, limit, ladder.size(rung))
            assert most is None or not _passes(core, wanted, client, limit, ladder.size(rung + 1))


def _passes(core: Core, wanted: pit.Order, client: str, limit: str | None, size: Decimal) -> bool:
    field = "quantity" if wanted.volume is None else "volume"
    told = explain(core, msgspec.structs.replace(wanted, **{field: size}), client)
    return told.passes if limit is None else all(each.passes for each in told.limits if each.limit == limit)


# ---------------------------------------------------------------------------------------------- examples


def test_an_explanation_names_who_uses_a_limit_and_what_is_left():
    core = Core(
        '[limits]\nopen_usd = { control = "open_order_notional", over = "firm", settlement = "USD", '
        'max_notional = "1000" }'
    )
    core.check(order(id="a", quantity="2"), client="mm1")
    core.check(order(id="b", quantity="4", account="beta"), client="mm2")
    told = explain(core, order(quantity="5"))
    limit = of(told, "open_usd")
    assert not told.passes
    assert limit.requested == 500
    assert [(use.bound, use.used, use.remaining) for use in limit.uses] == [(1000, 600, 400)]
    assert [(user.client, user.account, user.amount, user.order_ids) for user in limit.users] == [
        ("mm2", "beta", 400, ("b",)),
        ("mm1", "alpha", 200, ("a",)),
    ]
    assert told.largest == limit.largest == 4
    assert "at most 4 AAPL/USD would pass" in str(told)


def test_who_may_not_see_all_sees_its_own_orders_and_all_others_as_one():
    core = Core(
        '[limits]\nopen_usd = { control = "open_order_notional", over = "firm", settlement = "USD", '
        'max_notional = "1000" }'
    )
    core.check(order(id="a", quantity="2"), client="mm1")
    core.check(order(id="b", quantity="4", account="beta"), client="mm2")
    users = of(explain(core, order(quantity="5"), sees_all=False), "open_usd").users
    assert [(user.client, user.account, user.orders, user.amount) for user in users] == [
        ("mm1", "alpha", 1, 200),
        ("", "", 1, 400),
    ]


def test_more_users_than_are_named_are_added_up():
    core = Core(
        '[limits]\nfew = { control = "open_order_limit", over = "firm", max_orders = 100 }',
    )
    for n in range(15):
        core.check(order(id=f"o{n}", account=f"a{n:02}"))
    users = of(explain(core, order()), "few").users
    assert len(users) == asking.USERS_NAMED + 1
    assert (users[-1].client, users[-1].orders, users[-1].amount) == ("", 5, 5)


def test_a_position_limit_tells_the_orders_side_positions_and_what_is_on_the_way():
    core = Core('[limits]\nlong = { control = "position_limit", each = "account+instrument", max_quantity = "10" }')
    core.check(order(id="a", quantity="4"), sent=True)
    core.report(fill("a", "3"))
    limit = of(explain(core, order(quantity="2")), "long")
    assert [(use.what, use.used, use.remaining) for use in limit.uses] == [("units long", 4, 6)]
    assert [(user.account, user.amount) for user in limit.users] == [("alpha", 3), ("alpha", 1)]
    assert limit.largest == 6
    assert of(explain(core, order(side="sell", quantity="2")), "long").largest == 13


def test_spot_funds_tell_whose_orders_hold_what_the_order_would_need():
    core = Core('[limits]\nfunds = { control = "spot_funds" }')
    core.fund("alpha", USD="1000", AAPL="20")
    core.fund("beta", USD="500")
    core.check(order(id="a", quantity="2"))
    core.check(order(id="b", quantity="3"), client="mm2")
    core.check(order(id="c", side="sell", quantity="5"))
    core.check(order(id="d", quantity="1", account="beta"))
    limit = of(explain(core, order(quantity="4")), "funds")
    assert [(user.client, user.amount, user.order_ids) for user in limit.users] == [
        ("mm2", 300, ("b",)),
        ("mm1", 200, ("a",)),
    ]
    assert (limit.uses[0].what, limit.uses[0].used, limit.requested) == ("USD held", 500, 400)
    limit = of(explain(core, order(side="sell", quantity="4")), "funds")
    assert [(user.client, user.amount, user.order_ids) for user in limit.users] == [("mm1", 5, ("c",))]
    assert (limit.uses[0].what, limit.requested) == ("AAPL held", 4)


@pytest.mark.parametrize(
    ("bounds", "users"),
    [
        ("max_gross = 5000", [("beta", 500), ("alpha", 484), ("alpha", 300), ("alpha", 100)]),
        ("max_net = 5000", [("beta", 500), ("alpha", 300), ("alpha", -396)]),
    ],
)
def test_an_exposure_limit_tells_whose_positions_and_orders_make_it_up(bounds, users):
    core = marked(
        Core(EUR + f'[limits]\nexposed = {{ control = "exposure_limit", over = "firm", currency = "firm", {bounds} }}')
    )
    holds(core, -2, SAP)
    holds(core, 5, AAPL, "beta")
    core.check(order(id="a", quantity="3", price=1))
    core.check(order(id="s", side="sell", quantity="2", price=1, instrument=MSFT), client="mm2")
    told = of(explain(core, order(quantity="4", price=1)), "exposed").users
    assert [(user.account, user.amount) for user in told] == users


@pytest.mark.parametrize(
    ("by", "users", "used"),
    [
        ("instrument", [("beta", Decimal("31.25")), ("alpha", Decimal("18.75"))], 50),
        ("underlying", [("beta", Decimal("61.5")), ("alpha", Decimal("18.75"))], Decimal("80.25")),
    ],
)
def test_a_concentration_limit_tells_whose_positions_and_orders_make_it_up(by, users, used):
    limit = f'control = "concentration_limit", over = "firm", currency = "firm", max_percent = 90, by = "{by}"'
    core = marked(Core(EUR + f"[limits]\none = {{ {limit}, min_gross = 10 }}"), AAPL_EUR="100")
    holds(core, 5, AAPL, "beta")
    holds(core, 4, pit.Instrument("AAPL", "EUR"), "beta")
    core.check(order(id="s", side="sell", quantity="6.32", price=1, instrument=MSFT), client="mm2")
    core.check(order(id="a", quantity="3", price=1))
    told = of(explain(core, order(quantity="1", price=1)), "one")
    assert [(user.account, user.amount) for user in told.users] == users
    assert [use.used for use in told.uses] == [used]
    other = of(explain(core, order(quantity="1", price=1, instrument=SAP)), "one")
    assert other.users == () and [use.used for use in other.uses] == [0], "of what an order is about"


def test_what_a_mark_is_missing_for_is_told_of_nobody():
    core = Core('[limits]\nexposed = { control = "exposure_limit", over = "firm", settlement = "USD", max_gross = 9 }')
    holds(core, 5)
    assert of(explain(core, order()), "exposed").users == ()


def test_the_largest_size_is_a_multiple_of_the_lot():
    core = Core(
        INSTRUMENTS + '[limits]\nsize = { control = "order_size_limit", each = "account", settlement = "USD", '
        'max_notional = "1000000" }'
    )
    told = explain(core, order(instrument="ESZ6", quantity="1", price="4797.50"))
    assert told.largest == 4


def test_an_order_that_reduces_may_be_as_large_as_the_position():
    core = Core('[limits]\nsize = { control = "order_size_limit", each = "account", max_quantity = "5" }')
    for n in range(4):
        core.check(order(id=f"o{n}", quantity="5"), sent=True)
        core.report(fill(f"o{n}", "5"))
    assert explain(core, order(side="sell", quantity="1")).largest == 20
    assert explain(core, order(side="buy", quantity="1")).largest == 5


def test_both_stages_and_blocks_are_explained_together():
    core = Core(
        '[limits]\nsize = { control = "order_size_limit", each = "account", max_quantity = "5" }\n'
        'few = { control = "open_order_limit", each = "account", max_orders = 0 }'
    )
    core.block("account alpha")
    told = explain(core, order(quantity="6"))
    assert [reject.limit for reject in told.rejects] == ["operator", "size", "few"]
    assert told.largest == 0
    assert [reject.limit for reject in dry_run(core, order(quantity="6")).rejects] == ["operator", "size"]


def test_a_lease_past_its_end_is_over_for_a_question_as_well():
    core = Core()
    wanted = order(id="a")
    core.check(wanted, lease_s=1)
    assert dry_run(core, wanted).replayed
    core.advance(2)
    assert not dry_run(core, wanted)


def test_sizes_that_the_door_lets_through_stand_on_the_ladder_in_order():
    ladder = Ladder(None)
    with decimal.localcontext(exact_context()):
        for size in ("0.000000001", "999999999.999999999", "1000000000", "1000000000.00000001", "5000000000.5"):
            rung = ladder.below(*Decimal(size).as_integer_ratio())
            assert ladder.size(rung) == Decimal(size)
            assert ladder.size(rung) < ladder.size(rung + 1)
        assert ladder.size(ladder.top) == 10**18 - 1
        assert Ladder(Decimal("0.25")).size(Ladder(Decimal("0.25")).top) == Decimal("9999999999999999.75")


@pytest.mark.parametrize("most", ["0", "0.000000001", "17.5", "12345678901.5", "999999999999999999"])
def test_a_search_without_hints_finds_the_same_as_one_with_them(most):
    ladder, bound = Ladder(None), Decimal(most)
    with decimal.localcontext(exact_context()):
        found = largest(ladder, lambda size: size <= bound, ())
        hinted = largest(ladder, lambda size: size <= bound, [ladder.below(*bound.as_integer_ratio())])
    assert found == hinted == (None if most == "999999999999999999" else bound)


@pytest.mark.parametrize("shadow", ["", ", shadow = true"])
def test_a_limit_that_has_tripped_says_no_by_its_block(shadow):
    core = Core(
        '[limits]\nloss = { control = "pnl_kill_switch", each = "account", settlement = "USD", max_loss = 100'
        + shadow
        + " }"
    )
    core.report(money("x", pnl="-150"))
    told = explain(core, order())
    assert told.passes == bool(shadow)
    limit = of(told, "loss")
    assert [no.code for no in limit.rejects] == ["PnlKillSwitchTriggered"] and limit.largest == 0
    assert told.largest == (None if shadow else 0)
