"""Numbers that a person has set over the configured ones: what holds when, and that nothing counted is lost."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest
from builders import Core, fill, money, order, parsed, saved

from pitd import bootstrap, config, limit_terms
from pitd.core import entry as e
from pitd.core import snapshot
from pitd.core.overrides import Override
from pitd.core.reading import Reader, encode
from pitd.errors import ConfigError
from pitd.own_policies import OwnLimit
from pitd.reload import Reloader

SECOND = 1_000_000_000


def limits(quantity: str = "500", orders: int = 4, open_usd: str = "10000", loss: str = "100") -> str:
    return f"""
[limits]
size = {{ control = "order_size_limit", each = "account", settlement = "USD", max_quantity = "{quantity}" }}
rate = {{ control = "rate_limit", each = "account", max_orders = {orders}, window = "10s" }}
open_usd = {{ control = "open_order_notional", each = "account", settlement = "USD", max_notional = "{open_usd}" }}
loss = {{ control = "pnl_kill_switch", each = "account", settlement = "USD", max_loss = "{loss}" }}
"""


@pytest.fixture
def core() -> Core:
    made = Core(limits())
    made.configure(limits())
    return made


def put(core: Core, limit: str, reason: str = "a test", **values: str) -> Any:
    return core.set_limit(limit, values, reason=reason)


def failure(reply: Any) -> e.Failure:
    assert isinstance(reply, e.Failed), reply
    return reply.failure


def override(core: Core, limit: str, key: str) -> Override:
    found = core.engine.overrides.get(limit, key)
    assert found is not None
    return found


def is_taken(core: Core, **fields: Any) -> bool:
    return isinstance(core.check(order(**fields)), e.Accepted)


# ---------------------------------------------------------------------------------------------- setting and clearing


def test_what_is_set_holds_in_the_place_of_what_is_configured(core: Core) -> None:
    assert isinstance(put(core, "size", max_quantity="5"), e.LimitSet)
    assert not is_taken(core, quantity=6, price=1)
    put(core, "size", max_quantity="900")
    assert is_taken(core, quantity=600, price=1)


def test_what_is_cleared_is_as_configured_again(core: Core) -> None:
    put(core, "size", max_quantity="5", max_notional="10")
    assert core.clear_limit("size", "max_quantity") == e.Done(1)
    assert not is_taken(core, quantity=6, price=2) and is_taken(core, quantity=6, price=1)
    assert core.clear_limit("size") == e.Done(1)
    assert is_taken(core, quantity=6, price=2)
    assert len(core.engine.overrides) == 0


def test_a_bound_that_is_configured_as_open_may_be_set(core: Core) -> None:
    put(core, "size", max_notional="100")
    assert not is_taken(core, quantity=10, price=11)
    assert override(core, "size", "max_notional").base is None


def test_who_set_it_why_and_until_when_is_remembered(core: Core) -> None:
    core.set_limit("size", {"max_quantity": "5"}, reason="the desk asked", lasts_s=60)
    kept = override(core, "size", "max_quantity")
    assert (kept.author, kept.reason, kept.base) == ("ops", "the desk asked", "500")
    assert kept.until_wall_ns == kept.since_wall_ns + 60 * SECOND


@pytest.mark.parametrize(
    ("limit", "values", "why"),
    [
        ("siz", {"max_quantity": "5"}, "no limit is named siz; configured: size, rate"),
        ("size", {}, "set what of size? It has max_quantity, max_notional"),
        ("size", {"max_loss": "5"}, "size: max_loss can't be set at run time"),
        ("size", {"each": "client"}, "each can't be set"),
        ("loss", {"initial_pnl": "5"}, "initial_pnl can't be set"),
        ("size", {"max_quantity": "-5"}, 'max_quantity = "5"'),
        ("size", {"max_quantity": "many"}, "not a number"),
        ("size", {"max_quantity": "NaN"}, "finite"),
        ("size", {"max_quantity": "1" * 19}, "18 digits"),
        ("loss", {"max_loss": "0"}, "above zero"),
        ("rate", {"max_orders": "1.5"}, "a whole number from 0"),
        ("rate", {"max_orders": "-1"}, "a whole number from 0"),
        ("rate", {"max_orders": "²"}, "a whole number from 0"),
        ("rate", {"window": "10"}, "a duration with its unit"),
        ("rate", {"max_orders": "5", "window": "0s"}, "above zero"),
    ],
)
def test_what_cannot_be_meant_is_refused_whole(core: Core, limit: str, values: dict[str, str], why: str) -> None:
    before = saved(core.engine)["policies"]
    no = core.set_limit(limit, values)
    assert isinstance(no, e.Failed) and why in no.message
    assert len(core.engine.overrides) == 0 and saved(core.engine)["policies"] == before


def test_a_reason_is_wanted(core: Core) -> None:
    assert failure(put(core, "size", reason=" ", max_quantity="5")) is e.Failure.INVALID_INPUT
    put(core, "size", max_quantity="5")
    assert failure(core.clear_limit("size", reason="")) is e.Failure.INVALID_INPUT
    assert len(core.engine.overrides) == 1


def test_what_nobody_has_set_cannot_be_cleared(core: Core) -> None:
    put(core, "rate", max_orders="5")
    for limit, key in (("size", None), ("rate", "window"), ("nothing", None)):
        no = core.clear_limit(limit, key)
        assert failure(no) is e.Failure.UNKNOWN_ID and "set now: rate max_orders" in no.message


def test_there_is_a_bound_to_what_may_be_set(core: Core) -> None:
    core.engine.bounds = core.engine.bounds.__class__(overrides=2)
    put(core, "size", max_quantity="5", max_notional="5")
    assert failure(put(core, "rate", max_orders="1")) is e.Failure.CAPACITY_EXCEEDED
    assert isinstance(put(core, "size", max_quantity="6"), e.LimitSet), "the same one again is no more"


# ---------------------------------------------------------------------------------------------- its end


def test_it_ends_when_its_time_has_come_and_not_before(core: Core) -> None:
    core.set_limit("size", {"max_quantity": "5"}, lasts_s=60)
    core.set_limit("rate", {"max_orders": "9"})
    end_ns = override(core, "size", "max_quantity").until_wall_ns
    assert end_ns is not None and core.engine.overrides.first_end_ns == end_ns
    assert core.enter(e.OverridesDue(end_ns - 1)) == e.Done(0)
    assert not is_taken(core, quantity=6, price=1)
    assert core.enter(e.OverridesDue(end_ns)) == e.Done(1)
    assert is_taken(core, quantity=6, price=1)
    assert core.engine.overrides.first_end_ns is None and len(core.engine.overrides) == 1


@pytest.mark.parametrize(
    "end",
    [
        {"lasts_s": -1},
        {"lasts_s": 1e9},
        {"until_wall_ns": 1},
        {"until_wall_ns": 2**62},
        {"lasts_s": 1, "until_wall_ns": 5},
    ],
)
def test_an_end_that_cannot_be_meant_is_refused(core: Core, end: dict[str, Any]) -> None:
    assert failure(core.set_limit("size", {"max_quantity": "5"}, **end)) is e.Failure.INVALID_INPUT


# ---------------------------------------------------------------------------------------- what is configured changes


def test_it_outlives_a_reload_that_leaves_its_number_alone(core: Core) -> None:
    put(core, "size", max_quantity="900")
    core.configure(limits(orders=9))
    assert core.engine.disagreements() == ()
    assert is_taken(core, quantity=600, price=1)


@pytest.mark.parametrize(
    ("configured", "holds"), [("300", "300"), ("700", "700"), ("2000", "900"), ("900", "900"), ("500", "900")]
)
def test_where_what_is_configured_changes_the_tighter_one_holds(core: Core, configured: str, holds: str) -> None:
    put(core, "size", max_quantity="900")
    core.configure(limits(quantity=configured))
    assert override(core, "size", "max_quantity").in_force == holds
    assert is_taken(core, quantity=holds, price=1)
    assert not is_taken(core, quantity=f"{holds}.1", price=1)


def test_a_disagreement_is_told_with_both_numbers_and_their_author(core: Core) -> None:
    put(core, "size", "for the roll", max_quantity="900")
    core.configure(limits(quantity="300"))
    (told,) = core.engine.disagreements()
    for word in ("size max_quantity", "300 is configured", "ops had set 900", "for the roll", "over 500", "holds: 300"):
        assert word in told


def test_of_two_windows_the_longer_one_is_tighter(core: Core) -> None:
    put(core, "rate", window="20s")
    core.configure(limits().replace('"10s"', '"5s"'))
    assert override(core, "rate", "window").in_force == "20s"
    core.configure(limits().replace('"10s"', '"1m"'))
    assert override(core, "rate", "window").in_force == "60s"


def test_set_anew_over_what_is_configured_by_now_it_holds_again(core: Core) -> None:
    put(core, "size", max_quantity="900")
    core.configure(limits(quantity="300"))
    put(core, "size", max_quantity="900")
    assert core.engine.disagreements() == () and is_taken(core, quantity=800, price=1)


def test_it_waits_while_its_limit_is_not_configured(core: Core) -> None:
    put(core, "size", max_quantity="5")
    core.configure("")
    assert override(core, "size", "max_quantity").in_force is None
    assert "not configured any more" in core.engine.disagreements()[0]
    assert is_taken(core, quantity=600, price=1)
    core.configure(limits())
    assert not is_taken(core, quantity=6, price=1)
    core.configure('[limits]\nsize = { control = "rate_limit", each = "account", max_orders = 9, window = "1s" }')
    assert override(core, "size", "max_quantity").in_force is None and is_taken(core, quantity=6, price=1)


def test_a_reload_by_a_person_answers_what_is_different_and_where_they_disagree(core: Core) -> None:
    put(core, "size", max_quantity="900")
    reply = core.reload(limits(quantity="300"), changes=("limits.size.max_quantity: 500, now 300",), waiting=("x",))
    assert isinstance(reply, e.Reloaded)
    assert reply.changes == ("limits.size.max_quantity: 500, now 300",) and reply.waiting == ("x",)
    assert len(reply.disagreements) == 1


def test_a_reload_wants_a_reason(core: Core) -> None:
    before = core.engine.settings
    assert failure(core.reload(limits(quantity="1"), reason=" ")) is e.Failure.INVALID_INPUT
    assert core.engine.settings == before


# ---------------------------------------------------------------------------------------------- what was counted


def test_nothing_that_was_counted_is_lost(core: Core) -> None:
    for id in ("a", "b"):
        assert is_taken(core, id=id, quantity=10, price=100)
    core.report(fill("a", 4))
    core.report(money("a", pnl="-60"))
    before = saved(core.engine)["policies"]
    for change in (
        lambda: put(core, "rate", max_orders="2", window="30s"),
        lambda: put(core, "open_usd", max_notional="100"),
        lambda: put(core, "loss", max_loss="5000"),
        lambda: core.configure(limits(orders=3, open_usd="50", loss="7000")),
        lambda: core.clear_limit("rate"),
        lambda: core.reload(limits()),
        lambda: core.enter(e.OverridesDue(2**62)),
    ):
        change()
        assert saved(core.engine)["policies"] == before


def test_a_rate_that_is_lowered_and_raised_again_has_forgotten_no_order(core: Core) -> None:
    for _ in range(4):
        assert is_taken(core, price=1)
    put(core, "rate", max_orders="1")
    assert not is_taken(core, price=1)
    put(core, "rate", max_orders="6")
    assert [is_taken(core, price=1) for _ in range(4)] == [True, True, False, False], "six in the window, and no more"
    core.advance(10)
    assert is_taken(core, price=1)


def test_what_a_lowered_rate_remembers_does_not_grow(core: Core) -> None:
    for _ in range(4):
        is_taken(core, price=1)
    put(core, "rate", max_orders="1")
    for _ in range(50):
        is_taken(core, price=1)
    ((_, times),) = saved(core.engine)["policies"]["rate_limit"]["rate"]
    assert len(times) == 4
    core.advance(10)
    is_taken(core, price=1)
    ((_, times),) = saved(core.engine)["policies"]["rate_limit"]["rate"]
    assert len(times) == 1


def test_a_loss_past_the_bound_that_is_set_stops_the_account_at_its_next_order(core: Core) -> None:
    core.report(money("x", pnl="-60"))
    assert is_taken(core, price=1)
    put(core, "loss", max_loss="50")
    assert not is_taken(core, price=1)
    assert [block.limit for block in core.engine.accounts.blocks()] == ["loss"]


# ---------------------------------------------------------------------------------------------- carried out, and kept


def busy(core: Core) -> None:
    is_taken(core)
    core.set_limit("size", {"max_quantity": "900"}, lasts_s=60)
    put(core, "rate", max_orders="9", window="30s")
    put(core, "loss", max_loss="5")
    is_taken(core, quantity=600, price=1)
    core.reload(limits(quantity="300", orders=2))
    is_taken(core, quantity=400, price=1)
    core.clear_limit("loss")
    core.enter(e.OverridesDue(2**62))


def test_it_is_carried_out_from_its_rows(core: Core) -> None:
    busy(core)
    again = Core(limits())
    reader = Reader(again.engine.policies)
    for row in core.rows:
        again.engine.carry_out(reader.deed(encode(row)))
    assert again.engine.overrides.all() == core.engine.overrides.all()
    assert saved(again.engine) == saved(core.engine)


def test_it_is_in_a_snapshot_and_goes_on_from_there(core: Core) -> None:
    put(core, "size", max_quantity="900")
    core.configure(limits(quantity="700"))
    again = Core(limits())
    snapshot.load(again.engine, snapshot.decode(snapshot.encode(snapshot.take(core.engine))))
    assert again.engine.overrides.all() == core.engine.overrides.all()
    again.now_ns = core.now_ns
    assert is_taken(again, quantity=700, price=1) and not is_taken(again, quantity=701, price=1)
    again.clear_limit("size")
    assert not is_taken(again, quantity=701, price=1) and again.engine.disagreements() == ()


def test_a_snapshot_of_a_release_before_there_were_any_is_read(core: Core) -> None:
    older = msgspec.msgpack.decode(snapshot.encode(snapshot.take(core.engine)))
    fields = list(snapshot.Image.__struct_fields__)
    del older[fields.index("overrides") :]
    assert snapshot.decode(msgspec.msgpack.encode(older)).overrides == ()


SEVERAL = """[limits]
size = { control = "order_size_limit", each = "account", max_quantity = 10 }
few = { control = "open_order_limit", each = "account", max_orders = 5 }
"""


def test_numbers_of_several_limits_are_set_together():
    core = Core(SEVERAL)
    core.command(e.SetLimits((("size", (("max_quantity", "5"),)), ("few", (("max_orders", "0"),))), "a test"), "ops")
    assert core.check(order(quantity="6")).rejected.limit == "size"
    assert core.check(order(quantity="5")).rejected.limit == "few"
    core.again("rows")
    core.again("snapshot")


@pytest.mark.parametrize(
    "wrong", [("few", (("max_orders", "-1"),)), ("none", (("max_orders", "1"),)), ("size", (("max_quantity", "1"),))]
)
def test_where_one_of_several_cannot_be_set_none_is(wrong):
    core = Core(SEVERAL)
    reply = core.command(e.SetLimits((("size", (("max_quantity", "5"),)), wrong), "a test"), "ops")
    assert isinstance(reply, e.Failed)
    assert not core.engine.overrides.all() and isinstance(core.check(order(quantity="6")), e.Accepted)


def test_every_number_of_every_control_can_be_set_or_is_none():
    """So that a control that is new does not forget its own."""
    assert set(limit_terms._KEYS) >= {each for each in get_args(config.AnyLimit) if each is not OwnLimit}


# ---------------------------------------------------------------------------------------------- bounds in order

RULES = '[limits]\nrule = {{ control = "instrument_rules", min_quantity = {}, max_quantity = {}, max_price = 200 }}\n'


def ruled(least: int = 5, most: int = 10) -> Core:
    core = Core(RULES.format(least, most))
    core.configure(RULES.format(least, most))
    return core


def test_a_least_above_the_most_is_refused_and_both_are_named() -> None:
    core = ruled()
    for values in ({"min_quantity": "11"}, {"max_quantity": "4.5"}, {"min_quantity": "8", "max_quantity": "7"}):
        refused = core.set_limit("rule", values)
        assert failure(refused) == "InvalidInput"
        assert "min_quantity" in refused.message and "max_quantity" in refused.message
    assert "min_price 201 would be above max_price 200" in core.set_limit("rule", {"min_price": "201"}).message
    assert not core.engine.overrides.all()
    assert isinstance(core.set_limit("rule", {"min_quantity": "11", "max_quantity": "11"}), e.LimitSet)
    assert is_taken(core, quantity=11) and not is_taken(core, quantity=10)


def test_what_is_set_is_weighed_beside_what_was_set_before() -> None:
    core = ruled()
    core.set_limit("rule", {"max_quantity": "20"})
    assert isinstance(core.set_limit("rule", {"min_quantity": "15"}), e.LimitSet)
    refused = core.clear_limit("rule", "max_quantity")
    assert failure(refused) == "InvalidInput" and "clear both" in refused.message
    assert core.clear_limit("rule") == e.Done(2)


def test_one_of_both_must_not_end_before_the_other_where_what_is_left_contradicts() -> None:
    core = ruled()
    core.set_limit("rule", {"max_quantity": "20"}, lasts_s=60)
    refused = core.set_limit("rule", {"min_quantity": "15"}, lasts_s=61)
    assert failure(refused) == "InvalidInput" and "ends first" in refused.message
    assert isinstance(core.set_limit("rule", {"min_quantity": "15"}, lasts_s=60), e.LimitSet)


def test_a_reload_that_would_contradict_a_persons_number_is_refused() -> None:
    core = ruled()
    core.set_limit("rule", {"min_quantity": "9"})
    fresh = parsed(RULES.format(5, 8))
    reloader = Reloader(parsed(RULES.format(5, 10)), lambda: fresh, bootstrap.configured)
    with pytest.raises(ConfigError, match=r"min_quantity 9 would be above max_quantity 8.*limits --overrides"):
        reloader.read("ops", "a test", core.engine)
