"""Shadow limits decide and count like the others, refuse nothing, and say what they would have done."""

from __future__ import annotations

import re
from decimal import Decimal

import msgspec
import pytest
from builders import Core, money, order, report
from core.test_asking import ALL_CONTROLS, dry_run, explain, moves, of, orders, played
from hypothesis import assume, given
from hypothesis import strategies as st

from pit.events import Decided
from pit.types import RejectCode
from pitd.core import entry as e
from pitd.core.policy import whole_quantity
from pitd.events import _Names as NamesOf
from pitd.events import events_of
from pitd.journal_tools.words import answered
from pitd.metrics import Metrics

OPEN = 'open_usd = {{ control = "open_order_notional", each = "account", max_notional = 1000, settlement = "USD"{} }}'
SIZE = 'size = {{ control = "order_size_limit", each = "account", max_quantity = 5{} }}'
LOSS = 'loss = {{ control = "pnl_kill_switch", each = "account", settlement = "USD", max_loss = 100{} }}'
LOOP = 'loop = {{ control = "repeated_execution", max_executions = 1, window = "1h"{} }}'
WORDS = 'words = {{ control = "message_rate", each = "account", max_messages = 1, window = "1s"{} }}'
SHADOW = ", shadow = true"


def limits(*lines: str, shadow: bool = True) -> str:
    return "[limits]\n" + "\n".join(line.format(SHADOW if shadow else "") for line in lines)


def codes(reply: e.Reply) -> list[str]:
    return [reject.code for reject in e.shadow_rejects_of(reply)]


# ---------------------------------------------------------------------------------------------- laws

ALL_IN_SHADOW = re.sub(r" }$", ", shadow = true }", ALL_CONTROLS, flags=re.MULTILINE)


@given(moves, orders, st.sampled_from(("mm1", "mm2")))
def test_they_say_what_they_would_say_live_in_the_same_state_and_refuse_nothing(history, wanted, client):
    core = played(history, ALL_IN_SHADOW)
    told = dry_run(core, wanted, client)
    explained = explain(core, wanted, client)
    assert {reject.policy for reject in getattr(told, "rejects", ())} <= {"order_validation", "engine", "ops"}
    before = {id: policy.save() for id, policy in core.engine.policies.items()}
    core.configure(ALL_CONTROLS)
    assert {id: policy.save() for id, policy in core.engine.policies.items()} == before
    live = explain(core, wanted, client)
    own = ("order_validation", "engine", "ops")
    assert {(reject.limit, reject.code, reject.scope) for reject in explained.shadow_rejects} == {
        (reject.limit, reject.code, reject.scope) for reject in live.rejects if reject.policy not in own
    }
    core.configure(ALL_IN_SHADOW)
    assert explain(core, wanted, client).shadow_rejects == explained.shadow_rejects


@given(moves)
def test_a_history_in_shadow_replays_alike(history):
    core = played(history, ALL_IN_SHADOW)
    core.again("rows")
    core.again("snapshot")


times = st.sampled_from([Decimal(each) for each in ("0.5", "1", "1.5", "4", "40")])


@given(moves, orders, times, times)
def test_to_a_modify_they_say_what_they_would_say_live_and_refuse_nothing(history, wanted, more, dearer):
    core = played(history, ALL_IN_SHADOW)
    wanted = msgspec.structs.replace(wanted, id="last", price=wanted.price or Decimal(100))
    held = core.check(wanted)
    assume(isinstance(held, e.Accepted) and more * dearer != 1)
    core.commit(held.reservation_id)
    core.advance(6)
    size = "quantity" if wanted.volume is None else "volume"
    terms = {size: whole_quantity(wanted) * more, "price": wanted.price * dearer}
    live = core.again("rows")
    live.configure(ALL_CONTROLS)
    told, said = core.modify("last", **terms), live.modify("last", **terms)
    assert {reject.policy for reject in getattr(getattr(told, "rejected", None), "rejects", ())} <= _NO_LIMITS
    noted = {(reject.limit, reject.code, reject.scope) for reject in e.shadow_rejects_of(told)}
    noes = said.rejected.rejects if isinstance(said, e.Refused) else ()
    refused = {(reject.limit, reject.code, reject.scope) for reject in noes if reject.policy not in _NO_LIMITS}
    assert refused <= noted and bool(refused) == bool(noted)


_NO_LIMITS = {"order_validation", "engine", "ops"}


# ---------------------------------------------------------------------------------------------- examples


def test_a_modify_that_a_shadow_would_refuse_is_taken_counted_and_told():
    core = Core(limits(SIZE, OPEN))
    core.working(order(id="o1", quantity="4"))
    assert codes(core.modify("o1", quantity="5", sent=True)) == []
    core.report(report("replaced", order_id="o1"))
    told = core.modify("o1", quantity="12")
    assert isinstance(told, e.Modified)
    assert codes(told) == [RejectCode.ORDER_QTY_EXCEEDS_LIMIT, RejectCode.RISK_LIMIT_EXCEEDED]
    assert core.held() == 1200
    core.rollback(told.modify_id)
    assert codes(core.modify("o1", quantity="3")) == []
    core.again("rows")
    core.again("snapshot")


def test_a_step_down_that_still_exceeds_a_shadow_is_told_as_little_as_a_live_limit_refuses_it():
    core = Core(limits(SIZE, OPEN))
    core.working(order(id="o1", quantity="20"))
    assert codes(core.modify("o1", quantity="19")) == []


def test_a_modify_after_a_shadow_has_tripped_is_told_of_it():
    core = Core(limits(LOSS))
    core.working(order(id="o1"))
    core.report(money("x", pnl="-150"))
    assert codes(core.modify("o1", quantity="11")) == [RejectCode.PNL_KILL_SWITCH_TRIGGERED]


def test_a_refused_modify_tells_the_shadows_noes_as_well():
    live = 'few = { control = "order_size_limit", each = "account", max_quantity = 10 }'
    core = Core(limits(SIZE) + "\n" + live)
    core.working(order(id="o1", quantity="4"))
    no = core.modify("o1", quantity="11")
    assert (no.rejected.limit, codes(no)) == ("few", [RejectCode.ORDER_QTY_EXCEEDS_LIMIT])


def test_a_cancel_that_a_shadow_would_refuse_goes_out_and_is_told():
    core = Core(limits(WORDS))
    core.working(order(id="o1"))
    core.command(e.CancelOrder("alpha", "o1"))
    cleared = core.command(e.CancelOrder("alpha", "o1"))
    assert isinstance(cleared, e.CancelCleared) and codes(cleared) == [RejectCode.RATE_LIMIT_EXCEEDED]
    core.reduce("firm")
    assert codes(core.command(e.CancelOrder("alpha", "o1"))) == []


def test_modifies_and_cancels_are_counted_and_told_as_events():
    core = Core(limits(SIZE))
    core.working(order(id="o1", quantity="4"))
    core.modify("o1", quantity="6")
    metrics, row = Metrics(), core.rows[-1]
    metrics.count([row])
    assert metrics._shadow_rejects == {("order_size_limit", RejectCode.ORDER_QTY_EXCEEDS_LIMIT): 1}
    decided = events_of(row, NamesOf(core.engine))[0]
    assert isinstance(decided, Decided) and decided.asked == "modify"
    assert [reject.limit for reject in decided.shadow_rejects] == ["size"]
    assert "in shadow: " in answered(row.reply)


def test_what_would_be_refused_is_taken_counted_and_told():
    core = Core(limits(OPEN))
    assert codes(core.check(order(quantity="8"))) == []
    taken = core.check(order(quantity="8"))
    assert isinstance(taken, e.Accepted)
    assert codes(taken) == [RejectCode.RISK_LIMIT_EXCEEDED]
    assert core.held() == 1600


def test_the_start_stage_tells_its_own():
    core = Core(limits(SIZE, OPEN))
    deferred = core.start(order(quantity="20"))
    assert codes(deferred) == [RejectCode.ORDER_QTY_EXCEEDS_LIMIT]
    assert codes(core.execute(deferred.request_id)) == [RejectCode.RISK_LIMIT_EXCEEDED]


def test_a_refusal_tells_the_shadows_noes_as_well():
    core = Core(limits(SIZE) + "\n" + 'few = { control = "open_order_limit", each = "account", max_orders = 0 }')
    no = core.check(order(quantity="6"))
    assert no.rejected.codes == (RejectCode.RISK_LIMIT_EXCEEDED,)
    assert codes(no) == [RejectCode.ORDER_QTY_EXCEEDS_LIMIT]


def test_a_shadow_kill_switch_blocks_nobody_until_it_goes_live():
    core = Core(limits(LOSS))
    result = core.report(money("x", pnl="-150")).result
    assert result.blocks == ()
    taken = core.check(order())
    assert isinstance(taken, e.Accepted) and codes(taken) == [RejectCode.PNL_KILL_SWITCH_TRIGGERED]
    core = core.again("snapshot")
    core.set_limit("loss", {"shadow": "false"})
    assert core.check(order()).rejected.codes == (RejectCode.PNL_KILL_SWITCH_TRIGGERED,)
    core.set_limit("loss", {"shadow": "true"})
    assert isinstance(core.check(order()), e.Accepted)
    core.clear_limit("loss")
    assert isinstance(core.check(order()), e.Accepted)


def test_a_shadow_that_tripped_is_rearmed_like_a_live_one():
    core = Core(limits(LOSS))
    core.report(money("x", pnl="-150"))
    core.rearm("loss", "account alpha", "50")
    assert codes(core.check(order())) == []
    core.report(money("x", pnl="-50"))
    assert codes(core.check(order())) == [RejectCode.PNL_KILL_SWITCH_TRIGGERED]


def test_a_live_switch_that_tripped_lets_go_in_shadow_and_holds_again_live():
    core = Core(limits(LOSS, shadow=False))
    core.report(money("x", pnl="-150"))
    core.reload(limits(LOSS))
    assert codes(core.check(order())) == [RejectCode.PNL_KILL_SWITCH_TRIGGERED]
    core.reload(limits(LOSS, shadow=False))
    assert core.check(order()).rejected.codes == (RejectCode.PNL_KILL_SWITCH_TRIGGERED,)


def test_of_a_shadow_that_is_taken_out_nothing_is_left():
    core = Core(limits(LOOP))
    for _ in range(2):
        core.check(order())
    assert core.engine.accounts.shadow_blocks()
    core.reload("[limits]")
    assert not core.engine.accounts.shadow_blocks() and not core.engine.accounts.blocks()
    core.reload(limits(LOOP, shadow=False))
    assert isinstance(core.check(order(quantity="3")), e.Accepted)


def test_a_loop_in_shadow_goes_on_and_a_person_forgets_it_by_unblocking():
    core = Core(limits(LOOP))
    for _ in range(3):
        assert isinstance(core.check(order()), e.Accepted)
    assert codes(core.check(order(quantity="2"))) == [RejectCode.ACCOUNT_BLOCKED]
    assert core.unblock("client mm1") == e.Done(1)
    assert codes(core.check(order(quantity="3"))) == []


def test_a_narrow_shadow_rate_keeps_no_attempt_from_counting_on_a_wide_live_one():
    core = Core(
        "[limits]\n"
        'mine = { control = "rate_limit", each = "account", max_orders = 1, window = "1s", shadow = true }\n'
        'all = { control = "rate_limit", over = "firm", max_orders = 2, window = "1s" }'
    )
    assert codes(core.check(order())) == []
    assert codes(core.check(order())) == [RejectCode.RATE_LIMIT_EXCEEDED]
    assert core.check(order()).rejected.limit == "all"


def test_a_shadow_covers_nothing_and_asks_for_no_cover():
    only = Core(limits(SIZE.replace("{{", "{{ instruments = ['MSFT/USD'],")))
    assert isinstance(only.check(order()), e.Accepted)
    live = 'other = { control = "order_size_limit", each = "account", max_quantity = 5, accounts = ["beta"] }'
    both = Core(limits(SIZE, OPEN) + "\n" + live)
    assert both.check(order(quantity="1")).rejected.codes == (RejectCode.RISK_CONFIGURATION_MISSING,)
    assert isinstance(both.check(order(quantity="1", account="beta")), e.Accepted)


def test_an_explanation_says_which_limits_are_shadows_and_leaves_them_out_of_the_largest_size():
    core = Core(limits(SIZE) + "\n" + OPEN.format(""))
    told = explain(core, order(quantity="6"))
    assert told.passes and told.largest == 10
    assert of(told, "size").is_shadow and of(told, "size").largest == 5
    assert [reject.limit for reject in told.shadow_rejects] == ["size"]


def test_a_control_of_shadows_alone_that_fails_refuses_nothing():
    core = Core(limits(OPEN))
    huge = order(quantity="999999999999999999", price="999999999999999999")
    assert isinstance(core.check(huge), e.Accepted)
    assert codes(core.check(order(quantity="999999999999999999", price="999999999999999999"))) != []


@pytest.mark.parametrize("value", ["yes", "1", "True"])
def test_a_shadow_is_true_or_false(value):
    no = Core(limits(LOSS)).set_limit("loss", {"shadow": value})
    assert no.failure == "InvalidInput" and "true or false" in no.message


def test_live_is_the_tighter_one_where_the_configuration_says_another_thing():
    core = Core(limits(LOSS, shadow=False))
    core.set_limit("loss", {"shadow": "true"})
    core.report(money("x", pnl="-150"))
    core.reload(limits(LOSS))
    core.reload(limits(LOSS, shadow=False))
    assert isinstance(core.check(order()), e.Accepted)
