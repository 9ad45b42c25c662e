"""What the venue takes back or tells anew, what cumulative sources say, and what is done about fills that ought not to
be: nothing counts twice, and what is undone leaves no trace.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from builders import AAPL, BTC, INSTRUMENTS, OPEN_USD, Core, fill, order, report, saved

import pit
from pitd.core import entry as e
from pitd.core.policy import Attempt, Look, Policy, Verdict, whole_quantity

LOSS = OPEN_USD + 'day_loss = { control = "pnl_kill_switch", each = "account", settlement = "USD", max_loss = "100" }\n'
ORDER = 2


def bust(fill_id: str, order_id: str = "o1", **words: Any) -> pit.ExecutionReport:
    return report("bust", order_id=order_id, fill_id=fill_id, **words)


def correct(fill_id: str, quantity: str, price: str | None = None, **words: Any) -> pit.ExecutionReport:
    return report("correct", order_id="o1", fill_id=fill_id, quantity=quantity, price=price, **words)


def held(core: Core) -> tuple[Decimal, Decimal, Decimal, Decimal]:
    position = core.engine.positions.of("alpha", str(AAPL))
    return position.quantity, position.cost, position.realised, position.fees


def without_identity(core: Core) -> dict[str, Any]:
    """All but which reports there were, and when it was heard of."""
    state = dict(saved(core.engine))
    return {key: state[key] for key in ("policies", "positions", "balances", "on the way", "blocks")}


def arrange(settings: str = LOSS, **words: Any) -> Core:
    core = Core(settings)
    assert core.working(order(id="o1", **words)) == ORDER
    return core


# ---------------------------------------------------------------------------------------------- bust and correct


@pytest.mark.parametrize("instrument", [AAPL, BTC])
def test_a_fill_of_an_order_that_nobody_had_asked_for_can_be_undone(instrument):
    core = Core(INSTRUMENTS)
    core.report(fill("stranger", "4", instrument=instrument, side="buy"))
    assert core.report(bust(core.rows[-1].entry.body.command.report.report_id, "stranger")).result.flags == ("bust",)
    assert core.engine.positions.of("alpha", str(instrument)).quantity == 0


@pytest.mark.parametrize("side", ["buy", "sell"])
@pytest.mark.parametrize("quantity", ["4", "9.5"])
def test_a_fill_undone_leaves_no_trace(side, quantity):
    core = arrange(side=side)
    core.report(report("fill", order_id="s", quantity=3, price=90, instrument=AAPL, side="buy", pnl=1))
    before = without_identity(core)
    core.report(fill("o1", quantity, "101", report_id="f1", pnl="-7", fee="0.3"))
    assert without_identity(core) != before
    assert core.report(bust("f1")).result.flags == ("bust",)
    assert without_identity(core) == before
    record = core.engine.orders.find(ORDER)
    assert (record.state, record.open_quantity, record.filled_quantity) == ("working", 10, 0)
    for way in ("rows", "snapshot"):
        core.again(way)


def test_a_fill_told_anew_is_as_if_it_had_been_told_so_at_once():
    other, core = arrange(), arrange()
    other.report(fill("o1", "5", "102", pnl="3", fee="0.5"))
    core.report(fill("o1", "4", "101", report_id="f1", pnl="-7", fee="0.3"))
    assert core.report(correct("f1", "5", "102", pnl="3", fee="0.5")).result.flags == ("corrected",)
    assert without_identity(core) == without_identity(other)
    assert core.held() == 500


@pytest.mark.parametrize(
    ("given", "whole"),
    [
        ({"price": "102"}, {"quantity": "4", "price": "102", "pnl": "-7", "fee": "0.3"}),
        ({"quantity": "5"}, {"quantity": "5", "price": "101", "pnl": "-7", "fee": "0.3"}),
        ({"pnl": "3"}, {"quantity": "4", "price": "101", "pnl": "3", "fee": "0.3"}),
        ({"fee": "0"}, {"quantity": "4", "price": "101", "pnl": "-7", "fee": "0"}),
        ({"fee": "0.1", "pnl": 0}, {"quantity": "4", "price": "101", "pnl": "0", "fee": "0.1"}),
    ],
)
@pytest.mark.parametrize("settings", [LOSS, f'[gate]\npnl = "computed"\n{LOSS}'])
def test_only_what_a_correction_gives_is_corrected_and_the_rest_stays(settings, given, whole):
    other, core = arrange(settings), arrange(settings)
    for each in (other, core):
        each.report(report("fill", order_id="s", quantity=3, price=90, instrument=AAPL, side="sell"))
    other.report(fill("o1", whole["quantity"], whole["price"], pnl=whole["pnl"], fee=whole["fee"]))
    core.report(fill("o1", "4", "101", report_id="f1", pnl="-7", fee="0.3"))
    core.report(report("correct", order_id="o1", fill_id="f1", **given))
    assert without_identity(core) == without_identity(other)
    for way in ("rows", "snapshot"):
        core.again(way)


def test_a_fee_may_be_told_late_in_whatever_asset_it_was() -> None:
    core = arrange()
    core.report(fill("o1", "4", report_id="f1"))
    core.report(report("correct", order_id="o1", fill_id="f1", fee="0.01", fee_asset="BNB"))
    assert core.engine.positions.of("alpha", str(AAPL)).other_fees == (("BNB", Decimal("0.01")),)
    refused = core.report(report("correct", order_id="o1", fill_id="f1", fee="1", fee_asset="USD"))
    assert "its fee was in BNB" in refused.message
    core.report(bust("f1"))
    assert core.engine.positions.of("alpha", str(AAPL)).other_fees == ()


def test_a_correction_that_gives_nothing_raises_at_its_sender() -> None:
    with pytest.raises(pit.InvalidInput, match="changes nothing; give quantity, price, pnl or fee"):
        report("correct", order_id="o1", fill_id="f1")


def test_undoing_goes_by_differences_where_other_fills_came_between():
    core = arrange()
    core.report(fill("o1", "4", "100", report_id="f1"))
    core.report(fill("o1", "4", "200", report_id="f2"))
    core.report(report("fill", order_id="x", quantity=4, price=200, instrument=AAPL, side="sell"))
    assert held(core) == (4, 600, 200, 0)
    core.report(bust("f1"))
    assert held(core) == (0, 0, 0, 0)


def test_a_bust_and_a_correct_move_the_kill_switch_as_they_should():
    core = arrange()
    core.report(fill("o1", "1", report_id="f1", pnl="-90"))
    core.report(bust("f1"))
    core.report(fill("o1", "1", report_id="f2", pnl="-60"))
    assert not core.engine.accounts.blocks()
    assert core.report(correct("f2", "1", pnl="-100")).result.blocks


@pytest.mark.parametrize("kind", ["bust", "correct"])
def test_the_same_again_is_answered_as_already_applied(kind):
    core = arrange()
    core.report(fill("o1", "4", report_id="f1"))
    again = bust("f1", report_id="b1") if kind == "bust" else correct("f1", "3", report_id="b1")
    core.report(again)
    before = without_identity(core)
    assert core.report(again).result.already_applied
    assert without_identity(core) == before


def test_a_fill_that_nobody_knows_cannot_be_undone():
    core = arrange()
    core.report(fill("o1", "4", report_id="f1"))
    refused = core.report(bust("f9"))
    assert (refused.failure, "f9 of order o1 is not known here" in refused.message) == ("InvalidInput", True)
    assert core.report(bust("f1", order_id="nobody")).failure == "InvalidInput"
    core.report(bust("f1"))
    assert "undone before" in core.report(bust("f1")).message
    assert "undone before" in core.report(correct("f1", "4")).message


@pytest.mark.parametrize("last", ["cancelled", "expired"])
def test_an_order_that_the_venue_had_ended_stays_over(last):
    core = arrange()
    core.report(fill("o1", "4", report_id="f1"))
    core.report(report(last, order_id="o1"))
    result = core.report(bust("f1")).result
    assert (result.state, result.flags, core.held(), held(core)) == ("closed", ("bust",), 0, (0, 0, 0, 0))


def test_one_that_a_person_had_closed_stays_over():
    core = arrange()
    core.report(fill("o1", "4", report_id="f1"))
    core.close_order("o1")
    assert core.report(bust("f1")).result.state == "closed"


# ---------------------------------------------------------------------------------------------- filled no more

FEW = 'few = { control = "open_order_limit", each = "account", max_orders = 1 }\n'
TURNOVER = (
    'flow = { control = "turnover_limit", each = "account", settlement = "USD", max_notional = 1200, window = "60s" }\n'
)


def filled(settings: str = LOSS, **words: Any) -> Core:
    """An order that two fills have filled: f1 of 4, f2 of 6."""
    core = arrange(settings, **words)
    core.report(fill("o1", "4", report_id="f1"))
    assert core.report(fill("o1", "6", report_id="f2")).result.state == "closed"
    return core


def test_an_order_that_is_filled_no_more_may_trade_again_and_counts_until_somebody_settles_it():
    core = filled(LOSS + FEW)
    result = core.report(bust("f2")).result
    assert (result.state, result.open_quantity, result.flags) == ("working", 6, ("bust", "reopened"))
    assert (core.held(), held(core)[0]) == (600, 4)
    assert core.engine.positions.on_the_way("alpha", str(AAPL), pit.Side.BUY) == 6
    assert core.check(order()).rejected.limit == "few"
    for way in ("rows", "snapshot"):
        again = core.again(way)
        assert again.report(report("cancelled", order_id="o1")).result.state == "closed"
        assert (again.held(), held(again)[0]) == (0, 4)
        assert isinstance(again.check(order()), e.Accepted)


def test_a_fill_told_anew_with_less_opens_the_difference():
    core = filled()
    assert core.report(correct("f2", "5")).result.open_quantity == 1
    assert core.held() == 100
    assert core.report(correct("f1", "4", "99")).result.flags == ("corrected",)
    assert core.held() == 100


def test_a_correction_of_the_price_alone_opens_nothing():
    core = filled()
    result = core.report(correct("f2", "6", "99")).result
    assert (result.state, result.flags, core.held()) == ("closed", ("corrected",), 0)


@pytest.mark.parametrize(
    "settles",
    [
        lambda core: core.report(report("expired", order_id="o1")),
        lambda core: core.report(fill("o1", "6", report_id="f3")),
        lambda core: core.report(correct("f1", "10")),
        lambda core: core.status("o1", 4, "100", status="cancelled"),
        lambda core: core.status("o1", 4, "100", status="filled"),
        lambda core: core.close_order("o1"),
    ],
)
def test_what_was_opened_again_is_settled_by_what_settles_any_order(settles):
    core = filled()
    core.report(bust("f2"))
    settles(core)
    assert (core.state(ORDER), core.held()) == ("closed", 0)
    assert core.engine.positions.on_the_way("alpha", str(AAPL), pit.Side.BUY) == 0
    core.again("rows")
    core.again("snapshot")


def test_all_of_it_undone_leaves_the_whole_order_open_and_no_trace():
    core = arrange()
    core.report(report("accepted", order_id="o1", pnl=1))
    before = without_identity(core)
    core.report(fill("o1", "10", report_id="f1", fee="0.3"))
    core.report(bust("f1"))
    assert without_identity(core) == before
    assert isinstance(core.modify("o1", quantity=12), e.Modified)


def test_a_turnover_is_not_counted_twice():
    core = filled(LOSS + TURNOVER)
    core.report(bust("f2"))
    assert core.check(order(quantity="2.01")).rejected.limit == "flow"
    assert isinstance(core.check(order(quantity="2")), e.Accepted)


@pytest.mark.parametrize("way", ["as it is", "rows", "snapshot"])
def test_a_modify_of_what_was_opened_again_adds_to_a_turnover_what_it_adds_to_the_order_alone(way):
    core = filled(LOSS + TURNOVER)
    core = core if way == "as it is" else core.again(way)
    core.report(bust("f2"))
    core = core if way == "as it is" else core.again(way)
    assert core.modify("o1", quantity="12.01").rejected.limit == "flow"
    modify = core.modify("o1", quantity=12, sent=True)
    assert turned_over(core) == 1200
    core.rollback(modify.modify_id)
    assert turned_over(core) == 1000
    core.modify("o1", quantity=11, price=101, sent=True)
    core.report(report("replaced", order_id="o1"))
    core.report(report("cancelled", order_id="o1"))
    assert turned_over(core) == 1111


def test_a_modify_of_what_was_opened_again_in_another_window_adds_the_difference_alone():
    core = filled(LOSS + TURNOVER)
    core.advance(61)
    core.report(bust("f2"))
    core.modify("o1", quantity=12, sent=True)
    assert turned_over(core) == 200
    assert core.check(order(quantity="10.01")).rejected.limit == "flow"


def test_an_order_that_is_filled_counts_its_turnover_once_under_other_limits_too():
    core = filled(LOSS + TURNOVER)
    core.reload(LOSS + TURNOVER.replace("1200", "1300"))
    core.report(bust("f2"))
    core.modify("o1", quantity=13, sent=True)
    assert turned_over(core) == 1300
    assert saved(core.again("rows").engine) == saved(core.again("snapshot").engine)


class Bought(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    open: Decimal


class OpenAndOver(Policy):
    """A control of the firm's own that counts on what was open of an order when it ended."""

    id = "own"
    effect_types = (Bought,)

    def __init__(self) -> None:
        self.open = self.over = Decimal(0)

    def main(self, attempt: Attempt) -> Verdict:
        return Verdict((Bought(whole_quantity(attempt.order)),))

    def shrink(self, hold: Bought, order: pit.Order, listed: Any, open_quantity: Decimal) -> Bought:
        return Bought(open_quantity)

    def apply(self, effect: Bought) -> None:
        self.open += effect.open

    def undo(self, effect: Bought) -> None:
        self.open -= effect.open

    def close(self, effect: Bought) -> None:
        self.open, self.over = self.open - effect.open, self.over + effect.open

    def reopen(self, effect: Bought) -> None:
        self.open, self.over = self.open + effect.open, self.over - effect.open

    def save(self) -> Any:
        return [str(self.open), str(self.over)]

    def load(self, saved: Any) -> None:
        self.open, self.over = map(Decimal, saved)


@pytest.mark.parametrize("busted", ["f1", "f2"])
def test_a_control_that_counts_on_is_told_once_of_an_end_that_was_none(busted):
    own = OpenAndOver()
    core = Core(LOSS, policies=[own])
    core.working(order(id="o1"))
    core.report(fill("o1", "4", report_id="f1"))
    core.report(fill("o1", "6", report_id="f2"))
    assert (own.open, own.over) == (0, 6), "what was held before the last fill"
    left = core.report(bust(busted)).result.open_quantity
    assert (own.open, own.over) == (left, 0)
    core.report(report("cancelled", order_id="o1"))
    assert (own.open, own.over) == (0, left)


def turned_over(core: Core) -> Decimal:
    look = Look(core.now_ns, "", 10, core.engine.accounts.group_of, days=core.engine.days)
    [counter] = core.engine.policies["turnover_limit"].counters("flow", look)
    return counter.used


@pytest.mark.parametrize("words", [{"price": None}, {"time_in_force": "ioc"}, {"time_in_force": "fok"}])
def test_what_could_not_rest_at_the_venue_stays_over(words):
    core = Core("[limits]")
    core.working(order(id="o1", **words))
    core.report(fill("o1", "10", report_id="f1"))
    assert core.report(bust("f1")).result.state == "closed"


def test_what_was_good_for_a_day_that_is_over_stays_over_and_what_is_good_for_this_one_opens():
    core = Core('[calendar]\nstart_of_day = "17:00"\n[limits]')
    core.working(order(id="before", time_in_force="day"))
    core.begin_day("2026-11-24")
    orders = {"day": {"time_in_force": "day"}, "gtc": {"time_in_force": "gtc"}, "plain": {}}
    orders |= {"today": {"time_in_force": "gtd", "good_till": "2026-11-24"}}
    orders |= {"later": {"time_in_force": "gtd", "good_till": "2026-11-25"}}
    for id, words in orders.items():
        core.working(order(id=id, **words))
    for id in ("before", *orders):
        core.report(fill(id, "10", report_id=f"f{id}"))
    assert core.report(bust("fbefore", "before")).result.state == "working"
    core.end_day()
    core.working(order(id="next", time_in_force="day"))
    core.begin_day("2026-11-25")
    core.report(fill("next", "10", report_id="fnext"))
    core = core.again("snapshot")
    states = {id: core.report(bust(f"f{id}", id)).result.state for id in (*orders, "next")}
    opened = {id for id, state in states.items() if state == "working"}
    assert opened == {"gtc", "plain", "later", "next"}


def test_under_a_kill_what_opens_again_is_to_be_cancelled():
    core = filled()
    core.enter(e.Commanded(core.session("ops").id, 1, 0, b"", e.BlockScope("account alpha", "stop", cancel=True)))
    core.report(bust("f2"))
    assert list(core.engine.cancels.requests) == [ORDER]


def test_a_venue_that_puts_nothing_back_is_taken_at_its_word():
    core = filled('[gate]\non_bust = "close"\n' + LOSS)
    result = core.report(bust("f2")).result
    assert (result.state, result.flags, core.held(), held(core)[0]) == ("closed", ("bust",), 0, 4)


def test_it_is_reacted_to_as_configured():
    core = filled('[reports]\nreopened = "reduce"\n' + LOSS)
    core.report(bust("f2"))
    assert core.engine.trading.of("account alpha").state == "reducing"


def test_a_correction_may_fill_an_order_and_more_than_that():
    core = arrange()
    core.report(fill("o1", "4", report_id="f1"))
    assert core.report(correct("f1", "12")).result.flags == ("corrected", "overfill")
    assert (core.state(ORDER), core.held(), held(core)[0]) == ("closed", 0, 12)


def test_a_corrected_fill_can_be_corrected_and_undone_again():
    core = arrange()
    core.report(report("accepted", order_id="o1", pnl=1))
    before = without_identity(core)
    core.report(fill("o1", "4", "100", report_id="f1", fee=1))
    core.report(correct("f1", "3", "101", fee=2))
    core.report(correct("f1", "5", "99", fee=0))
    assert (core.held(), held(core)) == (500, (5, 495, 0, 0))
    core.report(bust("f1"))
    assert without_identity(core) == before


def test_old_and_new_terms_grow_again_while_a_modify_is_under_way():
    core = arrange()
    core.report(fill("o1", "4", report_id="f1"))
    modify = core.modify("o1", quantity=12, price=110, sent=True)
    assert core.held() == 880
    core.report(bust("f1"))
    assert core.held() == 1320
    core.rollback(modify.modify_id)
    assert core.held() == 1000


@pytest.mark.parametrize("kind", ["volume", "inverse"])
def test_orders_of_other_kinds_are_corrected_too(kind):
    limit = 'open = { control = "open_order_notional", each = "settlement", max_notional = 9999 }'
    core = Core(f"{INSTRUMENTS}[limits]\n{limit}\n")
    terms = {"volume": {"instrument": BTC, "volume": 1000}, "inverse": {"instrument": "XBT"}}[kind]
    core.working(order(id="o1", price=50, **terms))
    scope = {"volume": "settlement USDT", "inverse": "settlement BTC"}[kind]
    before, whole = without_identity(core), core.held(scope, "open")
    core.report(fill("o1", "4", "50", report_id="f1"))
    assert core.held(scope, "open") < whole
    core.report(correct("f1", "2", "40"))
    core.report(bust("f1"))
    assert without_identity(core) == before


# ---------------------------------------------------------------------------------------------- cumulative sources


def test_a_status_books_what_is_missing_and_never_twice():
    core = arrange()
    assert core.status("o1", 4, "100").result.open_quantity == 6
    assert core.status("o1", 4, "100").result.already_applied
    core.status("o1", 6, "110")
    assert (core.held(), held(core)) == (400, (6, 660, 0, 0))
    for way in ("rows", "snapshot"):
        core.again(way)


def test_an_older_status_changes_nothing_whatever_it_says():
    core = arrange()
    core.status("o1", 6, "100")
    before = saved(core.engine)["open"]
    assert core.status("o1", 4, "100", status="cancelled").result.already_applied
    assert saved(core.engine)["open"] == before


@pytest.mark.parametrize("way", ["as it is", "rows", "snapshot"])
@pytest.mark.parametrize("undoes", [bust("f2"), correct("f2", "1")])
@pytest.mark.parametrize("on_bust", ["reopen", "close"])
def test_a_status_that_may_be_from_before_a_fill_was_undone_books_nothing(way, undoes, on_bust):
    core = filled(f'[gate]\non_bust = "{on_bust}"\n' + LOSS)
    left = core.report(undoes).result.open_quantity
    traded = held(core)[0]
    core = core if way == "as it is" else core.again(way)
    for last in ("working", "filled", "cancelled"):
        result = core.status("o1", 10, "100", status=last).result
        assert (result.flags, result.already_applied, result.open_quantity) == (("unclear_status",), True, left)
    assert (held(core)[0], core.held()) == (traded, (10 - traded) * 100 if on_bust == "reopen" else 0)


def test_what_trades_anew_after_a_bust_is_told_by_reports_and_more_than_was_known_by_statuses_too():
    core = filled()
    core.report(bust("f2"))
    assert core.status("o1", 4, "100").result.flags == ()
    core.report(fill("o1", "5", report_id="f3"))
    assert core.status("o1", 10, "100").result.flags == ("unclear_status",)
    assert core.status("o1", 11, "100").result.flags == ("overfill",)
    assert (core.state(ORDER), held(core)[0]) == ("closed", 11)


def test_reports_of_fills_that_a_status_has_counted_count_nothing_more():
    core = arrange()
    core.status("o1", 5, "102")
    core.report(fill("o1", "2", "99", fee="0.2", pnl="1"))
    core.report(fill("o1", "3", "104"))
    assert (held(core), core.held()) == ((5, 510, 0, Decimal("0.2")), 500)
    core.report(fill("o1", "1", "100"))
    assert (held(core)[0], core.held()) == (6, 400)
    assert core.status("o1", 6, "101").result.already_applied


def test_a_status_after_reports_of_the_same_fills_counts_nothing_more():
    core = arrange()
    core.report(fill("o1", "2", "99"))
    core.status("o1", 5, "102")
    assert held(core) == (5, 510, 0, 0)


def test_a_fill_that_a_status_counted_in_part_counts_for_the_rest():
    core = arrange()
    core.status("o1", 2, "100")
    core.report(fill("o1", "5", "100", report_id="f1"))
    assert held(core) == (5, 500, 0, 0)
    core.report(bust("f1"))
    assert held(core) == (0, 0, 0, 0)


@pytest.mark.parametrize("last", ["cancelled", "expired", "rejected"])
def test_a_last_status_closes_the_order_with_what_has_traded(last):
    core = arrange()
    result = core.status("o1", 4, "100", status=last).result
    assert (result.state, core.held(), held(core)[0], core.ended_by(ORDER)) == ("closed", 0, 4, last)
    assert core.report(fill("o1", "4", "100")).result.flags == ()
    assert held(core)[0] == 4


def test_a_status_may_tell_of_an_order_whose_commit_was_lost():
    core = Core()
    core.check(order(id="o1"), sent=True)
    assert core.status("o1", 0).result.state == "working"


def test_filled_with_less_than_it_was_for_is_over_and_flagged():
    core = arrange()
    assert core.status("o1", 8, "100", status="filled").result.flags == ("filled_short",)
    assert (core.state(ORDER), core.held()) == ("closed", 0)


def test_a_status_of_an_unknown_order_is_taken_as_truth_once():
    core = Core()
    assert core.status("x", 0).result.flags == ("unknown_order",)
    assert core.status("x", 4, "100").failure == "InvalidInput"
    core.status("x", 4, "100", instrument=AAPL, side="buy")
    core.status("x", 4, "100", instrument=AAPL, side="buy")
    core.report(report("fill", order_id="x", quantity=4, price=100, instrument=AAPL, side="buy"))
    core.status("x", 6, "110", instrument=AAPL, side="buy")
    assert held(core) == (6, 660, 0, 0)


def test_what_rounding_takes_the_next_status_gives():
    core = arrange()
    core.status("o1", 3, "100.333333333")
    core.status("o1", 6, "100.1")
    core.status("o1", 9, "100.2")
    assert held(core)[:2] == (9, Decimal("901.8"))


def test_too_much_traded_is_flagged_for_a_status_as_well():
    core = arrange()
    assert core.status("o1", 12, "100").result.flags == ("overfill",)


# ---------------------------------------------------------------------------------------------- reactions


def overfill(core: Core) -> Any:
    return core.report(fill("o1", "11"))


def after_close(core: Core) -> Any:
    core.report(report("cancelled", order_id="o1"))
    return core.report(fill("o1", "1"))


def after_rollback(core: Core) -> Any:
    core.rollback(core.check(order(id="o2")).reservation_id)
    return core.report(fill("o2", "1"))


def unknown_order(core: Core) -> Any:
    return core.report(fill("nobody", "1", instrument=AAPL, side="buy"))


WAYS = [overfill, after_close, after_rollback, unknown_order]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("reaction", "state"), [("flag", None), ("reduce", "reducing"), ("halt", "halted")])
def test_a_fill_that_ought_not_to_be_is_truth_and_flagged_and_reacted_to(way, reaction, state):
    core = arrange(f'[reports]\n{way.__name__} = "{reaction}"\n{LOSS}')
    result = way(core).result
    assert way.__name__ in result.flags
    found = core.engine.trading.of("account alpha")
    assert (None if found is None else found.state) == state
    if found is not None:
        assert found.author == "reports"
        assert way.__name__ in found.reason
        assert isinstance(core.check(order(id="next", quantity=100)), e.Refused)
    for other in ("rows", "snapshot"):
        core.again(other)


def test_a_reaction_never_loosens():
    core = arrange(f'[reports]\noverfill = "reduce"\n{LOSS}')
    core.halt("account alpha")
    overfill(core)
    assert core.engine.trading.of("account alpha").state == "halted"


def test_a_late_accept_is_no_fill():
    core = arrange(f'[reports]\nafter_close = "halt"\n{LOSS}')
    core.report(report("cancelled", order_id="o1"))
    assert core.report(report("accepted", order_id="o1")).result.flags == ("after_close",)
    assert core.engine.trading.of("account alpha") is None
