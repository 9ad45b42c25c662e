"""pnl_kill_switch: the table of CONTROLS.md, and each sentence of its rule."""

from __future__ import annotations

from decimal import Decimal

import pytest
from builders import AAPL, BTC, Core, fill, money, order, saved

import pit
from pitd.core import entry as e
from pitd.core.reading import Reader, encode

LOSS_100 = """
[limits]
day_loss = { control = "pnl_kill_switch", each = "account", settlement = "USD", max_loss = "100" }
"""


def switch(limit: str, more: str = "") -> Core:
    return Core(f'{more}\n[limits]\nday_loss = {{ control = "pnl_kill_switch", settlement = "USD", {limit} }}')


def passes(core: Core, **fields: object) -> bool:
    return isinstance(core.check(order(**fields)), e.Accepted)


def pnl(core: Core, account: str = "alpha", asset: str = "USD") -> Decimal:
    return core.engine.policies["pnl_kill_switch"].pnl(account, asset)


def tripped_at_minus_100() -> Core:
    core = Core(LOSS_100)
    core.report(money("x1", pnl="-60"))
    core.report(money("x2", pnl=0, fee="39.99"))
    core.report(money("x3", fee="0.01"))
    return core


# ---------------------------------------------------------------------------------------------- the table


def test_a_loss_just_short_of_the_bound_leaves_it_open():
    core = Core(LOSS_100)
    core.report(money("x1", pnl="-60"))
    core.report(money("x2", pnl=0, fee="39.99"))
    assert pnl(core) == Decimal("-99.99")
    assert passes(core)


def test_reaching_the_bound_trips_it():
    core = tripped_at_minus_100()
    assert pnl(core) == -100
    assert core.check(order()).rejected.code == "PnlKillSwitchTriggered"


def test_later_profit_does_not_lift_it():
    core = tripped_at_minus_100()
    core.report(money("x4", pnl="500"))
    assert pnl(core) == 400
    assert core.check(order()).rejected.code == "PnlKillSwitchTriggered"


def test_rearmed_it_is_open_and_trips_again_where_the_room_ends():
    core = tripped_at_minus_100()
    core.report(money("x4", pnl="500"))
    assert core.rearm("day_loss", "account alpha", "50") == e.Done(1)
    assert passes(core)
    core.report(money("x5", pnl="-49.99"))
    assert passes(core)
    core.report(money("x6", fee="0.01"))
    assert pnl(core) == 350
    assert core.check(order()).rejected.code == "PnlKillSwitchTriggered"


def test_what_an_account_brings_along_can_trip_it_at_its_first_order():
    core = switch('each = "account", max_loss = "100", initial_pnl = "-100"')
    assert core.check(order()).rejected.code == "PnlKillSwitchTriggered"


# ---------------------------------------------------------------------------------------------- its sentences


def test_initial_pnl_counts_once():
    core = switch('each = "account", max_loss = "100", initial_pnl = "-60"')
    assert passes(core)
    assert passes(core)
    assert pnl(core) == -60


def test_initial_pnl_counts_at_the_first_sight_also_when_that_is_a_report():
    core = switch('each = "account", max_loss = "100", initial_pnl = "-60"')
    result = core.report(money("x1", pnl="-40")).result
    assert pnl(core) == -100
    assert [block.scope for block in result.blocks] == ["account alpha"]


def test_initial_pnl_is_each_accounts_own():
    core = switch('each = "account", max_loss = "100", initial_pnl = "-60"')
    core.report(money("x1", pnl="-40"))
    assert passes(core, account="beta")
    assert pnl(core, "beta") == -60


def test_pnl_minus_fee_is_what_counts():
    core = Core(LOSS_100)
    core.report(money("x1", pnl="10.5", fee="0.25"))
    core.report(money("x2", pnl="-3", fee="-0.75"))
    assert pnl(core) == 8


def test_the_tripping_report_is_applied_and_names_the_block():
    core = Core(LOSS_100)
    held = core.check(order(id="o1", quantity="10"))
    result = core.report(fill("o1", "4", pnl="-250")).result
    assert (result.open_quantity, result.state) == (6, pit.OrderState.WORKING)
    assert pnl(core) == -250
    [block] = result.blocks
    assert (block.scope, block.limit, block.code) == ("account alpha", "day_loss", "PnlKillSwitchTriggered")
    assert "-250 USD" in block.reason
    assert core.state(held.reservation_id) == "working"


def test_a_report_that_comes_twice_counts_once():
    core = Core(LOSS_100)
    core.check(order(id="o1"))
    loss = fill("o1", "1", pnl="-60")
    core.report(loss)
    assert core.report(loss).result.already_applied
    assert pnl(core) == -60


def test_reports_of_a_tripped_account_still_count_and_block_no_second_time():
    core = tripped_at_minus_100()
    assert core.report(money("x4", pnl="-1")).result.blocks == ()
    assert pnl(core) == -101


def test_another_account_trades_on():
    assert passes(tripped_at_minus_100(), account="beta")


def test_another_asset_has_pnl_of_its_own():
    core = Core(
        """
        [limits]
        usd = { control = "pnl_kill_switch", each = "account", settlement = "USD", max_loss = "100" }
        usdt = { control = "pnl_kill_switch", each = "account", settlement = "USDT", max_loss = "100" }
        """
    )
    core.report(money("x1", pnl="-60", instrument=AAPL))
    core.report(money("x2", pnl="-60", instrument=BTC))
    assert (pnl(core), pnl(core, asset="USDT")) == (-60, -60)
    assert passes(core)


def test_max_profit_trips_when_it_is_reached():
    core = switch('each = "account", max_profit = "100"')
    core.report(money("x1", pnl="99.99"))
    assert passes(core)
    core.report(money("x2", pnl="0.01"))
    assert core.check(order()).rejected.code == "PnlKillSwitchTriggered"


def test_a_profit_bound_says_nothing_of_losses():
    core = switch('each = "account", max_profit = "100"')
    core.report(money("x1", pnl="-100000"))
    assert passes(core)


def test_two_bounds_in_one_limit_each_trip():
    for amount in ("-100", "50"):
        core = switch('each = "account", max_loss = "100", max_profit = "50"')
        core.report(money("x1", pnl=amount))
        assert not passes(core), amount


def test_an_account_that_a_person_blocked_is_told_so_and_not_that_it_tripped():
    core = Core(LOSS_100)
    core.block("account alpha", "on leave")
    no = core.check(order()).rejected
    assert no.codes == ("AccountBlocked",)
    assert "on leave" in no.reason


def test_both_reasons_are_told_when_there_are_two():
    core = tripped_at_minus_100()
    core.block("account alpha", "on leave")
    assert core.check(order()).rejected.codes == ("AccountBlocked", "PnlKillSwitchTriggered")


def test_an_operators_unblock_does_not_lift_a_trip_and_says_what_does():
    core = tripped_at_minus_100()
    no = core.unblock("account alpha")
    assert no.failure == "UnknownId"
    assert "rearm" in no.message
    assert not passes(core)


def test_a_rearm_does_not_lift_a_persons_block():
    core = tripped_at_minus_100()
    core.block("account alpha")
    core.rearm("day_loss", "account alpha", "50")
    assert core.check(order()).rejected.codes == ("AccountBlocked",)


def test_a_rearm_leaves_the_pnl_true():
    core = tripped_at_minus_100()
    core.rearm("day_loss", "account alpha", "50")
    assert pnl(core) == -100


@pytest.mark.parametrize(
    ("limit", "scope", "room", "said"),
    [
        ("day_loss", "account alpha", "0", "above zero"),
        ("day_loss", "account alpha", "-1", "above zero"),
        ("day_loss", "account alpha", "Infinity", "above zero"),
        ("day_loss", "account beta", "50", "has not tripped"),
        ("no_such", "account alpha", "50", "no limit is named no_such"),
        ("day_loss", "nonsense", "50", "a scope is"),
    ],
)
def test_a_rearm_that_cannot_be_meant_changes_nothing(limit, scope, room, said):
    core = tripped_at_minus_100()
    no = core.rearm(limit, scope, room)
    assert isinstance(no, e.Failed)
    assert said in no.message
    assert not passes(core)


def test_a_rearm_with_the_reason_left_out_is_refused():
    core = tripped_at_minus_100()
    no = core.command(e.Rearm("day_loss", "account alpha", Decimal(50), "  "), "ops")
    assert no.failure == "InvalidInput"
    assert not passes(core)


def test_a_firm_limit_adds_up_all_accounts_and_blocks_every_one():
    core = switch('over = "firm", max_loss = "100"')
    core.report(money("x1", pnl="-60", account="alpha"))
    result = core.report(money("x2", pnl="-40", account="beta")).result
    assert [block.scope for block in result.blocks] == ["firm"]
    assert core.check(order(account="gamma")).rejected.code == "PnlKillSwitchTriggered"


def test_a_firm_limits_sum_is_its_own_and_leaves_each_accounts_alone():
    core = switch('over = "firm", max_loss = "100"')
    core.report(money("x1", pnl="-60", account="alpha"))
    core.report(money("x2", pnl="-30", account="beta"))
    assert (pnl(core, "alpha"), pnl(core, "beta")) == (-60, -30)


def test_a_firm_limit_is_rearmed_by_its_own_sum():
    core = switch('over = "firm", max_loss = "100"')
    core.report(money("x1", pnl="-60", account="alpha"))
    core.report(money("x2", pnl="-60", account="beta"))
    assert core.rearm("day_loss", "firm", "30") == e.Done(1)
    assert passes(core)
    core.report(money("x3", pnl="-29.99", account="gamma"))
    assert passes(core)
    core.report(money("x4", pnl="-0.01", account="gamma"))
    assert not passes(core)


GROUPS = '[accounts.alpha]\ngroup = "eq"\n[accounts.beta]\ngroup = "eq"\n[gate]\nuncovered = "allow"'


def test_a_group_limit_adds_up_its_group_and_blocks_that_alone():
    core = switch('over = { group = "eq" }, max_loss = "100"', GROUPS)
    core.report(money("x1", pnl="-60", account="alpha"))
    core.report(money("x2", pnl="-500", account="outsider"))
    assert passes(core)
    core.report(money("x3", pnl="-40", account="beta"))
    assert not passes(core, account="alpha")
    assert not passes(core, account="beta")
    assert passes(core, account="outsider")


def test_an_account_and_a_firm_limit_hold_side_by_side():
    core = Core(
        """
        [limits]
        mine = { control = "pnl_kill_switch", each = "account", settlement = "USD", max_loss = "100" }
        all = { control = "pnl_kill_switch", over = "firm", settlement = "USD", max_loss = "150" }
        """
    )
    core.report(money("x1", pnl="-99", account="alpha"))
    result = core.report(money("x2", pnl="-100", account="beta")).result
    assert {block.scope for block in result.blocks} == {"account beta", "firm"}


def test_an_account_that_no_limit_is_for_is_refused():
    core = switch('each = "account", accounts = ["alpha"], max_loss = "100"')
    no = core.check(order(account="beta")).rejected
    assert (no.code, no.policy) == ("RiskConfigurationMissing", "pnl_kill_switch")


def test_another_asset_than_the_limits_is_uncovered():
    assert Core(LOSS_100).check(order(instrument=BTC)).rejected.code == "RiskConfigurationMissing"


def test_uncovered_accounts_pass_where_that_is_said_openly():
    core = switch('each = "account", accounts = ["alpha"], max_loss = "100"', '[gate]\nuncovered = "allow"')
    assert passes(core, account="beta")


def test_except_takes_an_account_out():
    core = switch('each = "account", max_loss = "100", except = { accounts = ["beta"] }', '[gate]\nuncovered = "allow"')
    core.report(money("x1", pnl="-100", account="beta"))
    assert passes(core, account="beta")
    core.report(money("x2", pnl="-100", account="alpha"))
    assert not passes(core, account="alpha")


def test_a_sum_too_large_to_be_exact_is_refused_and_changes_nothing():
    core = Core(LOSS_100)
    core.engine.policies["pnl_kill_switch"].load(
        {"pnl": [["alpha", "USD", "9" * 38]], "shared": [], "tripped": [], "rearmed": []}
    )
    no = core.report(money("x1", pnl="1.5"))
    assert no.failure == "InvalidInput"
    assert pnl(core) == Decimal("9" * 38)


def test_an_account_whose_name_has_a_comma_is_rearmed_like_any_other():
    core = Core(LOSS_100)
    core.report(money("x1", pnl="-100", account="alpha, beta"))
    assert core.rearm("day_loss", "account alpha, beta", "50") == e.Done(1)
    assert passes(core, account="alpha, beta")


# ---------------------------------------------------------------------------------------------- other configurations


@pytest.mark.parametrize("by", ['each = "account"', 'over = "firm"'])
def test_a_bound_that_comes_to_stand_before_the_pnl_trips_at_the_next_order(by):
    core = switch(f'{by}, max_loss = "1000"')
    core.report(money("x1", pnl="-500"))
    core.configure(
        f'[limits]\nday_loss = {{ control = "pnl_kill_switch", settlement = "USD", {by}, max_loss = "100" }}'
    )
    assert core.check(order()).rejected.code == "PnlKillSwitchTriggered"
    assert [block.limit for block in core.engine.accounts.blocks()] == ["day_loss"]


def test_a_new_configuration_with_the_same_bounds_trips_nobody():
    core = Core(LOSS_100)
    core.report(money("x1", pnl="-99.99"))
    core.configure(LOSS_100)
    assert passes(core)


def test_a_rearmed_scope_keeps_its_room_under_a_new_configuration():
    core = tripped_at_minus_100()
    core.rearm("day_loss", "account alpha", "50")
    core.configure(LOSS_100)
    assert passes(core)


def test_a_limit_that_comes_back_trips_again_although_its_block_was_lifted_meanwhile():
    core = tripped_at_minus_100()
    core.configure("[limits]")
    assert core.unblock("account alpha") == e.Done(1)
    assert passes(core)
    core.configure(LOSS_100)
    assert core.check(order()).rejected.code == "PnlKillSwitchTriggered"


def test_a_limit_that_comes_back_with_its_block_in_force_is_rearmed_as_before():
    core = tripped_at_minus_100()
    core.configure("[limits]")
    core.configure(LOSS_100)
    assert not passes(core)
    assert core.rearm("day_loss", "account alpha", "50") == e.Done(1)
    assert passes(core)


# ---------------------------------------------------------------------------------------------- limits that come later


FIRM = 'all = { control = "pnl_kill_switch", over = "firm", settlement = "USD", max_loss = "150" }'


def shared(core: Core, limit: str = "all", scope: str = "firm") -> Decimal | None:
    """What a limit over many accounts has counted."""
    return core.engine.policies["pnl_kill_switch"]._shared.get((limit, scope))


def test_a_firm_limit_that_comes_later_begins_with_what_its_accounts_have_made():
    core = Core(LOSS_100)
    core.report(money("x1", pnl="-60", account="alpha"))
    core.report(money("x2", pnl="-70", account="beta"))
    core.report(money("x3", pnl="-70", account="beta", instrument=pit.Instrument("BTC", "EUR")))
    core.configure(f"{LOSS_100}{FIRM}")
    assert shared(core) == -130
    assert passes(core, account="gamma")
    result = core.report(money("x4", pnl="-20", account="gamma")).result
    assert [block.scope for block in result.blocks] == ["firm"]


def test_a_group_limit_that_comes_later_begins_with_its_group():
    core = Core(f"{GROUPS}\n{LOSS_100}")
    for account, pnl_ in (("alpha", "-60"), ("beta", "-5"), ("outsider", "-70")):
        core.report(money(f"of {account}", pnl=pnl_, account=account))
    of_the_group = FIRM.replace('"firm"', '{ group = "eq" }')
    core.configure(f"{GROUPS}\n{LOSS_100}{of_the_group}")
    assert shared(core, scope="group eq") == -65


def test_one_that_is_past_its_bound_from_the_beginning_trips_at_the_next_order():
    core = Core(LOSS_100)
    core.report(money("x1", pnl="-90", account="alpha"))
    core.report(money("x2", pnl="-90", account="beta"))
    core.configure(f"{LOSS_100}{FIRM}")
    assert core.check(order(account="gamma")).rejected.code == "PnlKillSwitchTriggered"
    assert core.rearm("all", "firm", "20") == e.Done(1)
    assert passes(core, account="gamma")


def test_the_same_limit_in_another_configuration_goes_on_counting_where_it_was():
    core = switch('over = "firm", max_loss = "100"')
    core.report(money("x1", pnl="-60"))
    core.configure(f"{LOSS_100}".replace('each = "account"', 'over = "firm"').replace('"100"', '"500"'))
    assert shared(core, "day_loss") == -60


def test_one_that_goes_and_comes_back_has_missed_nothing():
    core = Core(f"{LOSS_100}{FIRM}")
    core.report(money("x1", pnl="-60"))
    core.configure(LOSS_100)
    assert shared(core) is None
    core.report(money("x2", pnl="-30"))
    core.configure(f"{LOSS_100}{FIRM}")
    assert shared(core) == -90


def test_what_it_begins_with_is_carried_out_from_the_rows():
    core = Core(LOSS_100)
    core.report(money("x1", pnl="-60"))
    core.configure(f"{LOSS_100}{FIRM}")
    core.configure(LOSS_100)
    core.configure(f"{LOSS_100}{FIRM}")
    again = Core(LOSS_100)
    reader = Reader(again.engine.policies)
    for row in core.rows:
        again.engine.carry_out(reader.deed(encode(row)))
    assert saved(again.engine) == saved(core.engine)
    assert shared(again) == -60
