"""Halts: who is stopped by which, what goes on, and that they outlive snapshots and replay."""

from __future__ import annotations

import decimal
from typing import Any

import pytest
from builders import AAPL, BTC, INSTRUMENTS, Core, fill, money, order, report, saved
from hypothesis import given
from hypothesis import strategies as st

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
