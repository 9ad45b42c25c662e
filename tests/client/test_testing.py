"""The scripted engine for other people's tests: it does what was said, and otherwise what the real engine does."""

from __future__ import annotations

import asyncio
import random
import selectors
from typing import Any

import pytest
from builders import Local, fill, order, report
from cases import table

import pit
import pit.testing
from pit import OrderState
from pit.testing import Script


def test_without_a_word_every_order_is_let_through_and_lives_its_life() -> None:
    script = Script()
    with script.engine() as engine:
        wanted = order()
        held = engine.execute_pre_trade(wanted)
        assert held and held.order is wanted
        assert held.mark_sent()
        held.commit(venue_order_id="V1")
        assert script.states == {wanted.id: OrderState.WORKING}
        assert engine.outcome(wanted.account, wanted.id).venue_order_id == "V1"
    assert script.words == ["execute_pre_trade", "mark_sent", "commit", "outcome", "close"]
    assert [said.order_id for said in script.said] == [wanted.id] * 4 + [None]


def test_a_reject_is_what_the_next_order_gets_with_its_numbers() -> None:
    script = Script()
    script.reject("RateLimitExceeded", limit="msg_rate", reason="2 in 1s, limit 2", bound=2, used=2, retry_after_s=0.5)
    engine = script.engine()
    no = engine.execute_pre_trade(order())
    assert isinstance(no, pit.Rejected)
    assert (no.code, no.limit, no.bound, no.retry_after_s) == (pit.RejectCode.RATE_LIMIT_EXCEEDED, "msg_rate", 2, 0.5)
    assert engine.execute_pre_trade(order())
    assert script.pending == 0


def test_a_reject_can_wait_for_a_later_step() -> None:
    script = Script()
    script.reject("AccountBlocked", on="mark_sent")
    held = script.engine().execute_pre_trade(order())
    assert isinstance(held, pit.Reservation)
    assert not held.mark_sent()
    assert held.mark_sent()


def test_a_failure_is_raised_and_changes_nothing() -> None:
    script = Script()
    script.fail(pit.Unavailable("nobody listens"), on="execute_pre_trade")
    engine = script.engine()
    assert engine.ping()
    with pytest.raises(pit.Unavailable, match="nobody listens"):
        engine.execute_pre_trade(order())
    assert script.states == {}


def test_a_lost_answer_is_unknown_to_the_caller_and_has_happened() -> None:
    """So a strategy that asks once more under the same id gets the same reservation."""
    script = Script()
    script.lose_answer()
    engine, wanted = script.engine(), order()
    with pytest.raises(pit.OutcomeUnknown) as told:
        engine.execute_pre_trade(wanted)
    assert told.value.order_id == wanted.id
    held = engine.execute_pre_trade(wanted)
    assert held and held.replayed and len(script.states) == 1


def test_what_is_said_beforehand_happens_in_the_order_said() -> None:
    script = Script()
    script.reject(limit="first")
    script.reject(limit="second")
    engine = script.engine()
    assert [engine.execute_pre_trade(order()).limit for _ in range(2)] == ["first", "second"]  # type: ignore[union-attr]


def test_what_has_not_happened_is_told() -> None:
    script = Script()
    script.fail(pit.LeaseExpired("late"), on="commit")
    script.engine().ping()
    assert script.pending == 1


def test_a_call_that_does_not_exist_is_not_waited_for() -> None:
    with pytest.raises(ValueError, match=r"known here: .*execute_pre_trade"):
        Script().fail(pit.Unavailable("x"), on="executepretrade")


def test_a_lease_runs_out_when_the_test_lets_time_pass() -> None:
    script = Script()
    engine = script.engine()
    held = engine.execute_pre_trade(order(), lease_s=2)
    sent = engine.execute_pre_trade(order(), sent=True, lease_s=2)
    assert isinstance(held, pit.Reservation) and isinstance(sent, pit.Reservation)
    script.pass_time(1.5)
    assert held.lease_left_s == 0.5
    script.pass_time(1)
    with pytest.raises(pit.LeaseExpired):
        held.mark_sent()
    assert script.states == {held.order.id: OrderState.ROLLED_BACK, sent.order.id: OrderState.QUARANTINED}


def test_a_scripted_result_and_outcome_are_given() -> None:
    script = Script()
    block = pit.Block(scope="account alpha", code="PnlKillSwitchTriggered", limit="day", reason="lost", author="pitd")  # type: ignore[arg-type]
    result = pit.ReportResult(order_id="o", state=None, open_quantity=None, blocks=(block,))
    script.answer(result)
    script.blocks.append(block)
    engine = script.engine()
    report = pit.ExecutionReport(account="alpha", kind="accepted", report_id="r", order_id="o")
    assert engine.apply_execution_report(report) == result
    assert engine.blocks() == (block,)


def test_a_closed_scripted_engine_says_so_and_a_close_never_fails() -> None:
    script = Script()
    script.fail(pit.Unavailable("gone"))
    engine = script.engine()
    engine.close()
    engine.close()
    with pytest.raises(pit.Closed):
        engine.ping()
    assert script.words == ["close"]


def test_it_serves_asyncio_as_well_and_lets_other_tasks_run() -> None:
    script = Script()
    script.reject(on="execute")

    async def main() -> None:
        async with script.async_engine() as engine:
            request = await engine.start_pre_trade(order())
            assert isinstance(request, pit.AsyncDeferredRequest)
            assert not await request.execute()
            turns: list[str] = []

            async def ask(name: str) -> None:
                for _ in range(2):
                    assert await engine.execute_pre_trade(order())
                    turns.append(name)

            await asyncio.gather(ask("a"), ask("b"))
            assert turns == ["a", "b", "a", "b"]

    asyncio.run(main())


# ---------------------------------------------------------------------------------------------- as the real one


class Pair:
    """The scripted engine and the real one, side by side: whatever is done to both must come to the same."""

    def __init__(self) -> None:
        self.script = Script()
        self.real = Local("[gate]\nuncovered = 'allow'\nmin_lease = '1ms'\nlease = '5s'")
        self.engines = (self.script.engine(), self.real.engine)
        self.held: list[tuple[pit.Reservation, pit.Reservation]] = []
        self.requests: list[tuple[pit.DeferredRequest, pit.DeferredRequest]] = []

    def both(self, act: Any) -> tuple[Any, Any]:
        here, there = (_came(lambda side=side: act(side)) for side in (0, 1))
        assert _gist(here) == _gist(there)
        return here, there

    def keep(self, came: tuple[Any, Any]) -> None:
        if isinstance(came[0], pit.Reservation):
            self.held.append(came)
        if isinstance(came[0], pit.DeferredRequest):
            self.requests.append(came)

    def pass_time(self, seconds: float) -> None:
        self.script.pass_time(seconds)
        self.real.advance(seconds)


def _came(act: Any) -> Any:
    try:
        return act()
    except pit.PitError as trouble:
        return trouble


def _gist(came: Any) -> Any:
    if isinstance(came, pit.PitError):
        return type(came)
    if isinstance(came, pit.Reservation):
        return ("reservation", came.order.id, came.state, came.replayed, round(came.lease_left_s, 6))
    if isinstance(came, pit.Rejected):
        return ("rejected", came.codes)
    if isinstance(came, pit.ReportResult):
        return (came.order_id, came.state, came.already_applied, set(came.flags))
    if isinstance(came, list):
        return [
            (each.order, each.state, each.open_quantity, each.venue_order_id, each.modify and each.modify.state)
            for each in came
        ]
    return type(came)


@table("seed", range(60))
def test_the_life_of_an_order_is_the_real_engines(seed: int) -> None:
    dice, pair = random.Random(seed), Pair()
    orders: list[pit.Order] = []
    for step in range(60):
        match dice.choice(
            (
                *("check", "check", "start", "execute", "settle", "settle", "settle", "report", "time", "look"),
                *("modify", "modify", "answer", "cancel"),
            )
        ):
            case "check" | "start" as way:
                wanted = dice.choice(orders) if orders and dice.random() < 0.2 else order(id=f"o{step}")
                orders.append(wanted)
                sent = dice.random() < 0.4
                if way == "check":
                    act: Any = lambda n, w=wanted, s=sent: pair.engines[n].execute_pre_trade(w, sent=s, lease_s=2)  # noqa: E731
                else:
                    act = lambda n, w=wanted: pair.engines[n].start_pre_trade(w)  # noqa: E731
                pair.keep(pair.both(act))
            case "execute" if pair.requests:
                request = dice.choice(pair.requests)
                pair.keep(pair.both(lambda n, r=request: r[n].execute(lease_s=2)))
            case "settle" if pair.held:
                held, word = (
                    dice.choice(pair.held),
                    dice.choice(("mark_sent", "commit", "rollback", "quarantine", "renew")),
                )
                words = {"late": dice.random() < 0.5} if word == "commit" else {}
                pair.both(lambda n, h=held, w=word, k=words: getattr(h[n], w)(**k))
                assert held[0].state == held[1].state
            case "report" if pair.held:
                told = dice.choice(pair.held)[0].order
                kind = dice.choice(("accepted", "fill", "cancelled", "expired", "rejected"))
                more: dict[str, Any] = {"quantity": 5, "price": 1} if kind == "fill" else {}
                report = pit.ExecutionReport(
                    account="alpha",
                    kind=kind,
                    report_id=f"r{dice.randrange(step + 1)}-{kind}",
                    order_id=told.id,
                    **more,
                )
                pair.both(lambda n, r=report: pair.engines[n].apply_execution_report(r))
            case "modify" | "cancel" as way if orders:
                id = dice.choice(orders[-4:]).id
                if way == "cancel":
                    pair.both(lambda n, i=id: pair.engines[n].cancel_pre_trade("alpha", i))
                    continue
                words = {
                    "quantity": dice.choice((4, 12)),
                    "price": dice.choice((None, 101)),
                    "sent": dice.random() < 0.5,
                }
                words["new_id"] = dice.choice((None, f"m{step}"))
                pair.keep(
                    pair.both(lambda n, i=id, w=words: pair.engines[n].modify_pre_trade("alpha", i, **w, lease_s=2))
                )
            case "answer":
                pending = [mine for mine in pair.engines[0].open_orders() if mine.modify is not None]
                if pending:
                    kind, told = dice.choice(("replaced", "replace_rejected")), dice.choice(pending).order
                    report = pit.ExecutionReport(
                        account="alpha", kind=kind, report_id=f"r{step}-{kind}", order_id=told.id
                    )
                    pair.both(lambda n, r=report: pair.engines[n].apply_execution_report(r))
            case "time":
                pair.pass_time(dice.choice((0.1, 1, 3)))
            case "look":
                pair.both(lambda n: sorted(pair.engines[n].open_orders(), key=lambda one: one.reservation_id))
    for engine in pair.engines:
        engine.close()


def test_a_script_asks_for_cancels() -> None:
    script = Script()
    with script.engine() as engine:
        wanted = order()
        held = engine.execute_pre_trade(wanted, sent=True)
        assert held
        held.commit()
        with selectors.DefaultSelector() as selector:
            selector.register(engine, selectors.EVENT_READ)
            assert not selector.select(0)
            script.want_cancelled(wanted.id, limit="day_loss")
            assert selector.select(0)
            [request] = engine.poll()
            assert not selector.select(0)
        assert (request.order, request.limit, request.is_own) == (wanted, "day_loss", True)
        assert engine.poll() == []
        engine.apply_execution_report(report("cancel_rejected", order_id=wanted.id))
        assert engine.poll() == [request]


def test_a_script_opens_a_filled_order_again_when_a_fill_of_it_is_busted() -> None:
    with Script().engine() as engine:
        wanted = order()
        held = engine.execute_pre_trade(wanted, sent=True)
        assert held
        engine.apply_execution_report(fill(wanted.id, "10", report_id="f1"))
        result = engine.apply_execution_report(report("bust", order_id=wanted.id, fill_id="f1"))
        assert (result.state, result.open_quantity, result.flags) == ("working", 10, ("bust", "reopened"))
