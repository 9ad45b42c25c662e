"""Halts: who is stopped by which, what goes on, and that they outlive snapshots and replay."""

from __future__ import annotations

import decimal
from typing import Any

import pytest
from builders import AAPL, BTC, INSTRUMENTS, Core, fill, money, order, report, saved
from hypothesis import given
from hypothesis import strategies as st
from restarts import WAYS, come_back

import pit
from pitd import bootstrap
from pitd.core import entry as e
from pitd.core import snapshot
from pitd.core.engine import exact_context
from pitd.core.reading import Reader, encode

SETTINGS = (
    INSTRUMENTS
    + """
[accounts]
alpha.group = "eq"
beta.group = "eq"
[limits]
loss = { control = "pnl_kill_switch", each = "account", settlement = "USD", max_loss = "100" }
pace = { control = "rate_limit", each = "account", max_orders = 100, window = "1s" }
open_usd = { control = "open_order_notional", each = "account", settlement = "USD", max_notional = "1000000000" }
[gate]
uncovered = "allow"
"""
)

ORDERS = [
    order(account=account, instrument=instrument, price=price)
    for account in ("alpha", "beta", "gamma")
    for instrument, price in ((AAPL, "100"), (BTC, "100"), ("ESZ6", "4800"))
]


def codes(reply: Any) -> tuple[str, ...]:
    """Why an order was refused; nothing when it was not."""
    return reply.rejected.codes if isinstance(reply, e.Refused) else ()


@pytest.mark.parametrize(
    ("scope", "accounts", "code"),
    [
        ("firm", {"alpha", "beta", "gamma"}, "AccountBlocked"),
        ("group eq", {"alpha", "beta"}, "AccountBlocked"),
        ("account beta", {"beta"}, "AccountBlocked"),
    ],
)
def test_a_halt_stops_the_accounts_of_its_scope_and_no_other(scope: str, accounts: set[str], code: str) -> None:
    core = Core(SETTINGS)
    core.halt(scope)
    for wanted in ORDERS:
        assert codes(core.check(wanted)) == ((code,) if wanted.account in accounts else ())


@pytest.mark.parametrize(("name", "halted"), [("AAPL/USD", AAPL), ("ESZ6", "ESZ6")])
def test_a_halted_instrument_stops_every_account_and_nothing_else(name: str, halted: object) -> None:
    core = Core(SETTINGS)
    core.halt(f"instrument {name}")
    for wanted in ORDERS:
        assert codes(core.check(wanted)) == (("InstrumentRestricted",) if wanted.instrument == halted else ())


def test_the_reject_names_the_scope_the_author_and_the_reason() -> None:
    core = Core(SETTINGS)
    core.halt("account alpha", "fire drill", client="head_of_desk")
    no = core.check(order()).rejected
    assert (no.policy, no.limit, no.scope) == ("trading_state", "trading_state", "account alpha")
    assert no.reason == "account alpha is halted by head_of_desk: fire drill"


def test_every_scope_that_is_halted_says_so() -> None:
    core = Core(SETTINGS)
    for scope in ("instrument AAPL/USD", "account alpha", "group eq", "firm"):
        core.halt(scope)
    rejects = core.check(order()).rejected.rejects
    assert [each.scope for each in rejects] == ["firm", "group eq", "account alpha", "instrument AAPL/USD"]


def test_letting_one_scope_go_leaves_the_others_halted() -> None:
    core = Core(SETTINGS)
    core.halt("firm")
    core.halt("account alpha")
    core.let_go("firm")
    assert codes(core.check(order())) == ("AccountBlocked",)
    assert codes(core.check(order(account="gamma"))) == ()


def test_a_halt_and_a_block_are_two_things() -> None:
    core = Core(SETTINGS)
    core.halt("account alpha")
    core.block("account alpha")
    core.let_go("account alpha")
    assert core.check(order()).rejected.limit == "operator"
    core.halt("account alpha")
    core.unblock("account alpha")
    assert core.check(order()).rejected.limit == "trading_state"


def test_letting_go_rearms_no_limit() -> None:
    core = Core(SETTINGS)
    core.report(money("x1", pnl="-100"))
    core.halt("account alpha")
    core.let_go("account alpha")
    assert codes(core.check(order())) == ("PnlKillSwitchTriggered",)


def test_an_attempt_under_a_halt_still_counts_for_the_rate() -> None:
    core = Core(SETTINGS)
    core.halt("firm")
    before = core.engine.policies["rate_limit"].save()
    core.check(order())
    assert core.engine.policies["rate_limit"].save() != before


@pytest.mark.parametrize("scope", ["firm", "group eq", "account alpha", "instrument AAPL/USD"])
def test_a_halt_is_looked_at_again_before_an_order_goes_on(scope: str) -> None:
    core = Core(SETTINGS)
    request, held = core.start(order()), core.check(order(id="held"))
    core.halt(scope)
    assert codes(core.execute(request.request_id))
    assert codes(core.mark_sent(held.reservation_id))
    assert codes(core.renew(held.reservation_id))
    assert codes(core.check(order(id="held"), sent=True))
    assert core.state(held.reservation_id) == "held"


@pytest.mark.parametrize("scope", ["firm", "instrument AAPL/USD"])
def test_what_has_happened_is_taken_under_a_halt(scope: str) -> None:
    core = Core(SETTINGS)
    one, two, three, four = (core.check(order(id=f"o{n}"), sent=True).reservation_id for n in range(4))
    core.halt(scope)
    assert core.commit(one).state == "working"
    assert core.rollback(two).state == "rolled_back"
    assert core.quarantine(three).state == "quarantined"
    assert core.mark_sent(four).state == "sent"
    assert core.report(fill("o0", "4")).result.open_quantity == 6
    assert core.report(report("cancelled", order_id="o3")).result.state == "closed"
    assert core.settle("o2", working=False).state == "rolled_back"


def test_a_late_commit_is_taken_under_a_halt() -> None:
    core = Core(SETTINGS)
    held = core.check(order())
    core.rollback(held.reservation_id)
    core.halt("firm")
    assert core.commit(held.reservation_id, late=True).state == "working"


@given(st.sampled_from(["AAPL/USD", "BTC/USDT", "ESZ6", "XBT"]), st.lists(st.integers(0, len(ORDERS) - 1), max_size=12))
def test_halting_and_letting_go_of_an_instrument_changes_nothing_else(name: str, picks: list[int]) -> None:
    """The law: under a halt every account is refused there; before and after it nothing differs from never."""
    plain, core = Core(SETTINGS), Core(SETTINGS)
    for one in (plain, core):
        one.session("mm1")
        one.session("ops")
    core.halt(f"instrument {name}")
    core.let_go(f"instrument {name}")
    for _ in range(2):
        plain.command(e.Drop((), ()), "ops")  # so that both stand at the same row
    for at, pick in enumerate(picks):
        fields = {"id": f"o{at}", "account": ORDERS[pick].account, "instrument": ORDERS[pick].instrument}
        assert core.check(order(**fields, price=ORDERS[pick].price)) == plain.check(
            order(**fields, price=ORDERS[pick].price)
        )
    differing = {"sessions"}
    one, other = saved(core.engine), saved(plain.engine)
    assert {key for key in one if one[key] != other[key]} <= differing


def test_deciding_under_a_halt_is_no_different_for_other_instruments() -> None:
    halted, plain = Core(SETTINGS), Core(SETTINGS)
    for core, scope in ((halted, "instrument AAPL/USD"), (plain, "instrument XBT")):
        core.halt(scope)
    for wanted in ORDERS:
        one, other = halted.check(wanted), plain.check(wanted)
        assert (one == other) is (wanted.instrument != AAPL)


@pytest.mark.parametrize(
    "scope", ["", "firms", "account ", "instrument ", "symbol AAPL", f"account {'a' * 65}", f"instrument {'a' * 130}"]
)
def test_a_scope_that_cannot_be_meant_is_refused(scope: str) -> None:
    core = Core(SETTINGS)
    assert core.halt(scope).failure == "InvalidInput"
    assert core.engine.trading.restrictions() == ()


@pytest.mark.parametrize(
    ("scope", "mend"), [("group no", "known: eq"), ("instrument AAPL", "declared: ESZ6"), ("instrument /USD", "ESZ6")]
)
def test_a_halt_that_would_stop_nothing_is_refused_with_the_mend(scope: str, mend: str) -> None:
    no = Core(SETTINGS).halt(scope)
    assert no.failure == "InvalidInput" and mend in no.message


def test_a_halt_needs_a_reason_and_so_does_its_end() -> None:
    core = Core(SETTINGS)
    assert core.halt("firm", " ").failure == "InvalidInput"
    core.halt("firm")
    assert core.let_go("firm", "").failure == "InvalidInput"
    assert codes(core.check(order()))


def test_letting_go_of_what_is_not_halted_says_what_is() -> None:
    core = Core(SETTINGS)
    core.halt("group eq")
    no = core.let_go("account alpha")
    assert no.failure == "UnknownId" and "group eq" in no.message


def test_an_instrument_that_is_no_longer_declared_can_be_let_go() -> None:
    core = Core(SETTINGS)
    core.halt("instrument ESZ6")
    core.configure(SETTINGS.replace("ESZ6", "ESH7"))
    assert core.let_go("instrument ESZ6") == e.Done(1)


def test_a_halt_outlives_another_configuration() -> None:
    core = Core(SETTINGS)
    core.halt("account alpha")
    core.configure(SETTINGS.replace("1000000000", "2000000000"))
    assert codes(core.check(order())) == ("AccountBlocked",)


def test_the_last_word_on_a_scope_counts() -> None:
    core = Core(SETTINGS)
    core.halt("firm", "first", client="one")
    core.halt("firm", "second", client="two")
    (left,) = core.engine.trading.restrictions()
    assert (left.author, left.reason, left.state) == ("two", "second", pit.TradingState.HALTED)


def test_halts_are_bounded() -> None:
    core = Core(SETTINGS, restrictions=2)
    core.halt("account a")
    core.halt("account b")
    assert core.halt("account c").failure == "CapacityExceeded"
    assert core.halt("account b", "again") == e.Done(1)
    core.let_go("account a")
    assert core.halt("account c") == e.Done(1)


def test_a_halt_is_in_a_snapshot() -> None:
    core = Core(SETTINGS)
    core.halt("instrument AAPL/USD", "no prices")
    image = snapshot.decode(snapshot.encode(snapshot.take(core.engine)))
    other = bootstrap.blank_engine()
    with decimal.localcontext(exact_context()):
        snapshot.load(other, image)
    assert other.trading.restrictions() == core.engine.trading.restrictions() != ()


def test_a_halt_comes_back_from_recorded_rows() -> None:
    core, other = Core(SETTINGS), Core(SETTINGS)
    core.halt("firm")
    core.halt("account alpha")
    core.let_go("firm")
    with decimal.localcontext(exact_context()):
        for row in core.rows:
            other.engine.carry_out(Reader(other.engine.policies).deed(encode(row)))
    assert other.engine.trading.restrictions() == core.engine.trading.restrictions() != ()


# ---------------------------------------------------------------------------------------------- reducing


def long(core: Core, quantity: str = "10", account: str = "alpha") -> None:
    core.report(fill("ghost", quantity, account=account, instrument=AAPL, side="buy"))


@pytest.mark.parametrize(
    ("scope", "code"),
    [
        ("firm", "AccountBlocked"),
        ("group eq", "AccountBlocked"),
        ("account alpha", "AccountBlocked"),
        ("instrument AAPL/USD", "InstrumentRestricted"),
    ],
)
def test_while_reducing_only_what_reduces_passes(scope: str, code: str) -> None:
    core = Core(SETTINGS)
    long(core)
    core.reduce(scope)
    assert codes(core.check(order(side="buy", quantity="1"))) == (code,)
    assert codes(core.check(order(side="sell", quantity="11"))) == (code,)
    assert codes(core.check(order(side="sell", quantity="10"))) == ()
    assert codes(core.check(order(side="sell", quantity="1"))) == (code,), "with the open one it goes through zero"


def test_the_reject_says_what_is_held_and_on_its_way() -> None:
    core = Core(SETTINGS)
    long(core)
    core.check(order(side="sell", quantity="6"))
    core.reduce("account alpha", "earnings", client="head_of_desk")
    assert core.check(order(side="sell", quantity="5")).rejected.reason == (
        "account alpha is reducing only, set by head_of_desk: earnings; sell 5 AAPL/USD at 100 does not reduce: "
        "10 held, 6 more in other open orders of its side"
    )


def test_reducing_is_looked_at_again_before_an_order_goes_on() -> None:
    core = Core(SETTINGS)
    long(core)
    requests = [core.start(order(side=side, id=f"r{side}", quantity="4")) for side in ("buy", "sell")]
    buying, selling = (core.check(order(side=side, id=side, quantity="6")) for side in ("buy", "sell"))
    core.reduce("firm")
    assert codes(core.execute(requests[0].request_id))
    assert codes(core.mark_sent(buying.reservation_id)) and codes(core.renew(buying.reservation_id))
    assert codes(core.check(order(id="buy", side="buy", quantity="6"), sent=True))
    assert not codes(core.execute(requests[1].request_id)), "4 and the 6 that are held are all there is"
    assert core.renew(selling.reservation_id).state == "held"
    assert core.mark_sent(selling.reservation_id).state == "sent"


def test_a_held_order_that_reduces_no_more_is_not_sent() -> None:
    core = Core(SETTINGS)
    long(core)
    selling = core.check(order(side="sell", quantity="6"))
    core.reduce("firm")
    core.report(fill("other", "5", side="sell", instrument=AAPL))
    assert codes(core.mark_sent(selling.reservation_id)) == ("AccountBlocked",)


def test_orders_that_would_only_together_go_through_zero_wait_for_each_other() -> None:
    core = Core(SETTINGS)
    long(core)
    one, two = (core.check(order(side="sell", id=id, quantity="6")).reservation_id for id in ("one", "two"))
    core.reduce("firm")
    assert codes(core.mark_sent(one)) and codes(core.mark_sent(two))
    core.rollback(one)
    assert core.mark_sent(two).state == "sent"


def test_the_strictest_of_all_states_wins_and_of_one_scope_the_last_word() -> None:
    core = Core(SETTINGS)
    long(core)
    core.reduce("group eq")
    core.halt("account alpha")
    assert [each.scope for each in core.check(order(side="sell", quantity="1")).rejected.rejects] == ["account alpha"]
    core.reduce("account alpha")
    assert codes(core.check(order(side="sell", quantity="1"))) == ()
    core.let_go("account alpha")
    assert codes(core.check(order(side="buy", quantity="1"))) == ("AccountBlocked",), "the group's state stands"
    core.let_go("group eq")
    assert codes(core.check(order(side="buy", quantity="1"))) == ()


def test_a_market_order_reduces_by_its_units_and_a_volume_without_a_price_never_does() -> None:
    core = Core(SETTINGS)
    long(core)
    core.reduce("firm")
    assert codes(core.check(order(side="sell", quantity="3", price=None))) == ()
    assert codes(core.check(order(side="sell", quantity=None, volume="100", price=None))) == ("AccountBlocked",)


@pytest.mark.parametrize("way", WAYS)
def test_reducing_outlives_a_start(way: str) -> None:
    core = Core(SETTINGS)
    long(core)
    core.check(order(id="first", side="sell", quantity="4"))
    core.reduce("firm")
    other = come_back(core, SETTINGS, way)
    assert codes(other.check(order(side="sell", quantity="7"))) and not codes(
        other.check(order(side="sell", quantity="6"))
    )


def test_a_modify_under_reducing_passes_where_it_reduces_or_only_takes_away() -> None:
    core = Core(SETTINGS)
    long(core)
    for id, side in (("buy", "buy"), ("sell", "sell")):
        core.commit(core.check(order(id=id, side=side, quantity="8"), sent=True).reservation_id)
    core.reduce("firm")
    assert codes(core.modify("buy", quantity="9")) and codes(core.modify("buy", price="101"))
    assert codes(core.modify("sell", quantity="11"))
    assert not codes(core.modify("sell", quantity="10", price="99")), "in the place of the old 8, not beside them"
    assert not codes(core.modify("buy", quantity="7"))
