"""The asyncio socket: many calls at once, cancelled ones, a daemon that hangs, two loops, an end with calls pending."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
import zmq
from daemon import PATIENCE_S, Daemon, folder, running

import pit
from pit import OrderState, wire

SETTINGS = """
[gate]
uncovered = "allow"
min_lease = "100ms"
max_lease = "60s"
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running(SETTINGS) as daemon:
        yield daemon


@pytest.fixture
def endpoint() -> Iterator[str]:
    with folder() as home:
        yield f"ipc://{home}/far.sock"


_names = iter(f"mm{n}" for n in range(10_000))


@contextlib.asynccontextmanager
async def engine_of(daemon: Daemon, *, timeout_s: float = PATIENCE_S) -> AsyncIterator[pit.AsyncEngine]:
    async with pit.connect_async(next(_names), daemon.endpoint, timeout_s=timeout_s) as engine:
        yield engine


def an_order(**words: Any) -> pit.Order:
    good: dict[str, Any] = {"account": "alpha", "instrument": pit.Instrument("AAPL", "USD"), "side": "buy"}
    return pit.Order(**(good | {"quantity": 1, "price": 1} | words))


async def until(is_so: Callable[[], Awaitable[object]], what: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await is_so():
            await asyncio.sleep(0.01)
    assert what


async def gone(task: asyncio.Task[Any]) -> None:
    with contextlib.suppress(asyncio.CancelledError, pit.PitError):
        await task


# ---------------------------------------------------------------------------------------------- many in flight


def test_many_calls_at_once_get_each_its_own_answer(daemon: Daemon) -> None:
    """More than the window holds: the rest waits for room."""

    async def trade(engine: pit.AsyncEngine, n: int) -> None:
        order = an_order(id=f"many-{n}")
        held = await engine.execute_pre_trade(order, sent=bool(n % 2))
        assert isinstance(held, pit.AsyncReservation) and held.order is order
        if n % 4 < 2:
            await held.commit(venue_order_id=order.id)
        else:
            await held.rollback()

    async def main() -> list[pit.OpenOrder]:
        async with engine_of(daemon) as engine:
            await asyncio.gather(*(trade(engine, n) for n in range(5 * wire.WINDOW)))
            return await engine.open_orders()

    left = asyncio.run(main())
    assert sorted(each.order.id for each in left) == sorted(f"many-{n}" for n in range(5 * wire.WINDOW) if n % 4 < 2)
    assert all(each.venue_order_id == each.order.id for each in left)


def test_who_waits_for_room_is_let_in_first_come_first_served(daemon: Daemon) -> None:
    async def main() -> list[int]:
        async with engine_of(daemon) as engine:
            done: list[int] = []

            async def one(n: int) -> None:
                held = await engine.execute_pre_trade(an_order())
                assert held
                done.append(held.id)

            await asyncio.gather(*(one(n) for n in range(4 * wire.WINDOW)))
            return done

    reservations = asyncio.run(main())
    assert reservations == sorted(reservations)


def test_a_call_that_finds_no_room_in_time_was_surely_not_sent() -> None:
    async def main(daemon: Daemon) -> None:
        async with engine_of(daemon, timeout_s=PATIENCE_S) as engine:
            daemon.freeze()
            engine.timeout_s = 0.3
            came = await asyncio.gather(
                *(engine.execute_pre_trade(an_order()) for _ in range(wire.WINDOW + 10)), return_exceptions=True
            )
            daemon.thaw()
            unknown = [each for each in came if isinstance(each, pit.OutcomeUnknown)]
            unsent = [each for each in came if isinstance(each, pit.Unavailable)]
            assert (len(unknown), len(unsent)) == (wire.WINDOW, 10)
            assert "64 commands wait for their answers" in str(unsent[0])
            engine.timeout_s = PATIENCE_S
            held = await engine.execute_pre_trade(an_order())
            assert held and held.order.id in [each.order.id for each in await engine.open_orders()]

    with running(SETTINGS) as daemon:
        asyncio.run(main(daemon))


def test_a_task_goes_on_in_its_own_context(daemon: Daemon) -> None:
    who: contextvars.ContextVar[int] = contextvars.ContextVar("who")

    async def trade(engine: pit.AsyncEngine, n: int) -> None:
        who.set(n)
        for _ in range(3):
            held = await engine.execute_pre_trade(an_order())
            assert who.get() == n and isinstance(held, pit.AsyncReservation)
            await held.rollback()

    async def main() -> None:
        async with engine_of(daemon) as engine:
            await asyncio.gather(*(trade(engine, n) for n in range(20)))

    asyncio.run(main())


def test_when_one_task_ends_the_program_those_answered_with_it_still_have_their_answers(daemon: Daemon) -> None:
    async def trade(engine: pit.AsyncEngine, n: int) -> pit.AsyncReservation | pit.Rejected:
        held = await engine.execute_pre_trade(an_order())
        if n == 3:
            raise SystemExit("enough")
        return held

    with asyncio.Runner() as runner:
        engine = runner.run(_connected(daemon))

        async def start() -> list[asyncio.Task[pit.AsyncReservation | pit.Rejected]]:
            return [asyncio.create_task(trade(engine, n)) for n in range(20)]

        tasks = runner.run(start())
        with pytest.raises(SystemExit, match="enough"):
            runner.get_loop().run_until_complete(asyncio.wait(tasks))
        runner.run(_all_over(tasks))
        assert all(task.result() for n, task in enumerate(tasks) if n != 3)
        with pytest.raises(SystemExit):
            tasks[3].result()
        runner.run(engine.close())


async def _connected(daemon: Daemon) -> pit.AsyncEngine:
    return await pit.connect_async(next(_names), daemon.endpoint, timeout_s=PATIENCE_S)


async def _all_over(tasks: list[asyncio.Task[Any]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.wait(tasks)


# ---------------------------------------------------------------------------------------------- cancelled


def test_a_task_that_is_cancelled_by_another_one_answered_with_it_holds_nothing(daemon: Daemon) -> None:
    tasks: list[asyncio.Task[object]] = []

    async def trade(engine: pit.AsyncEngine) -> object:
        held = await engine.execute_pre_trade(an_order())
        for other in tasks:
            if other is not asyncio.current_task():
                other.cancel()
        return held

    async def main() -> None:
        async with engine_of(daemon) as engine:
            tasks.extend(asyncio.create_task(trade(engine)) for _ in range(20))
            came = await asyncio.gather(*tasks, return_exceptions=True)
            (won,) = [each for each in came if isinstance(each, pit.AsyncReservation)]
            assert sum(isinstance(each, asyncio.CancelledError) for each in came) == 19

            async def is_even() -> bool:
                return [each.reservation_id for each in await engine.open_orders()] == [won.id]

            await until(is_even, "what nobody got to be given back")

    asyncio.run(main())


@pytest.mark.parametrize("sent", [False, True])
def test_what_a_cancelled_check_reserved_is_taken_back_once_its_answer_comes(daemon: Daemon, sent: bool) -> None:
    """Also when it was counted as sent: nobody got the reservation, so nobody sent the order."""

    async def main() -> None:
        async with engine_of(daemon) as engine:
            order = an_order()
            task = asyncio.create_task(engine.execute_pre_trade(order, sent=sent, lease_s=60))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

            async def is_over() -> bool:
                with contextlib.suppress(pit.UnknownId):  # it was voided before it was executed
                    return (await engine.outcome(order.account, order.id)).state is OrderState.ROLLED_BACK
                return True

            await until(is_over, "the reservation to be taken back")
            assert await engine.open_orders() == []

    asyncio.run(main())


def test_an_order_that_is_asked_for_again_after_a_cancelled_check_is_kept(daemon: Daemon) -> None:
    """As by `asyncio.wait_for` and a second try under the same id."""

    async def main() -> None:
        async with engine_of(daemon) as engine:
            for _ in range(20):
                order = an_order()
                task = asyncio.create_task(engine.execute_pre_trade(order, lease_s=60))
                await asyncio.sleep(0)
                task.cancel()
                held = await engine.execute_pre_trade(order, lease_s=60)
                assert isinstance(held, pit.AsyncReservation)
                await gone(task)
                await engine.ping()
                assert (await engine.outcome(order.account, order.id)).state is OrderState.HELD
                await held.commit()

    asyncio.run(main())


def test_a_cancelled_commit_stays_told(daemon: Daemon) -> None:
    async def main() -> None:
        async with engine_of(daemon) as engine:
            held = await engine.execute_pre_trade(an_order(), sent=True)
            assert held
            task = asyncio.create_task(held.commit(venue_order_id="V1"))
            await asyncio.sleep(0)
            task.cancel()
            await gone(task)
            assert (await engine.outcome(held.order.account, held.order.id)).state is OrderState.WORKING

    asyncio.run(main())


def test_a_call_that_is_cancelled_while_it_waits_for_room_never_happens(daemon: Daemon) -> None:
    async def main() -> None:
        async with engine_of(daemon) as engine:
            tasks = [asyncio.create_task(engine.execute_pre_trade(an_order())) for _ in range(wire.WINDOW)]
            late = an_order()
            task = asyncio.create_task(engine.execute_pre_trade(late))
            await asyncio.sleep(0)
            task.cancel()
            await gone(task)
            assert all(await asyncio.gather(*tasks))
            with pytest.raises(pit.UnknownId):
                await engine.outcome(late.account, late.id)

    asyncio.run(main())


@pytest.mark.parametrize("seed", range(5))
def test_cancelled_tasks_mix_up_no_replies_and_leave_nothing_behind(daemon: Daemon, seed: int) -> None:
    """Tasks are cancelled wherever they stand; whoever is not gets its own answer, and the books come out even."""
    dice = random.Random(seed)

    async def trade(engine: pit.AsyncEngine, kept: set[str]) -> None:
        order = an_order()
        if dice.random() < 0.3:
            request = await engine.start_pre_trade(order)
            assert isinstance(request, pit.AsyncDeferredRequest) and request.order is order
            held = await request.execute(lease_s=60)
        else:
            held = await engine.execute_pre_trade(order, lease_s=60, sent=dice.random() < 0.5)
        assert isinstance(held, pit.AsyncReservation) and held.order is order
        if dice.random() < 0.5:
            await held.rollback()
        else:
            kept.add(order.id)
            await held.commit(venue_order_id=order.id)

    async def main() -> None:
        async with engine_of(daemon) as engine:
            kept: set[str] = set()
            tasks = [asyncio.create_task(trade(engine, kept)) for _ in range(300)]
            for task in tasks:
                if dice.random() < 0.4:
                    task.cancel()
                if dice.random() < 0.3:
                    await asyncio.sleep(dice.choice((0, 0, 0.001)))
            came = await asyncio.gather(*tasks, return_exceptions=True)
            assert not [each for each in came if each and not isinstance(each, asyncio.CancelledError)]
            del tasks, came

            async def is_even() -> bool:
                left = {each.order.id: each for each in await engine.open_orders()}
                assert all(each.venue_order_id in (None, order_id) for order_id, each in left.items())
                return set(left) == kept

            await until(is_even, "the books to come out even")

    asyncio.run(main())


def test_a_timeout_around_a_call_ends_it_in_time_and_the_engine_goes_on(daemon: Daemon) -> None:
    async def main() -> None:
        async with engine_of(daemon) as engine:
            for _ in range(50):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.0001):
                        await engine.execute_pre_trade(an_order())
            held = await engine.execute_pre_trade(an_order())
            assert held

            async def is_even() -> bool:
                return [each.order.id for each in await engine.open_orders()] == [held.order.id]

            await until(is_even, "what was cancelled to be given back")

    asyncio.run(main())


# ---------------------------------------------------------------------------------------------- trouble


def test_no_daemon_is_unavailable_and_says_what_was_found(endpoint: str) -> None:
    async def main() -> None:
        with pytest.raises(pit.Unavailable, match="there is no socket at"):
            await pit.connect_async("mm1", endpoint, timeout_s=0.2)

    asyncio.run(main())


@pytest.mark.parametrize("endpoint", ["http://x", "tcp://nowhere", "ipc://" + "x" * 200])
def test_an_endpoint_that_cannot_be_meant_is_refused(endpoint: str) -> None:
    async def main() -> None:
        with pytest.raises(pit.InvalidInput, match="endpoint"):
            await pit.connect_async("mm1", endpoint, timeout_s=0.2)

    asyncio.run(main())


def test_a_call_without_an_answer_ends_in_time_and_others_go_on_after_it() -> None:
    async def main(daemon: Daemon) -> None:
        async with engine_of(daemon) as engine:
            await engine.ping()
            daemon.freeze()
            engine.timeout_s = 0.3
            order = an_order()
            with pytest.raises(pit.OutcomeUnknown, match=f"Check of order {order.id}") as told:
                await engine.execute_pre_trade(order)
            assert told.value.order_id == order.id
            with pytest.raises(pit.Unavailable, match="does not answer"):
                await engine.ping()
            daemon.thaw()
            engine.timeout_s = PATIENCE_S
            assert await engine.execute_pre_trade(an_order())

    with running(SETTINGS) as daemon:
        asyncio.run(main(daemon))


def test_calls_under_way_are_answered_across_a_restart() -> None:
    async def main(daemon: Daemon) -> None:
        async with engine_of(daemon) as engine:
            held = await engine.execute_pre_trade(an_order(), lease_s=60)
            assert held
            daemon.kill()
            tasks = [asyncio.create_task(engine.execute_pre_trade(an_order(), lease_s=60)) for _ in range(100)]
            await asyncio.sleep(0.05)
            await asyncio.to_thread(daemon.start)
            assert all(await asyncio.gather(*tasks))
            await held.commit()
            assert len(await engine.open_orders()) == 101

    with running(SETTINGS) as daemon:
        asyncio.run(main(daemon))


def test_a_fenced_engine_tells_every_task(daemon: Daemon) -> None:
    async def main() -> None:
        name = next(_names)
        older = await pit.connect_async(name, daemon.endpoint, timeout_s=PATIENCE_S)
        async with pit.connect_async(name, daemon.endpoint, timeout_s=PATIENCE_S) as newer:
            came = await asyncio.gather(
                *(older.execute_pre_trade(an_order()) for _ in range(90)), return_exceptions=True
            )
            assert {type(each) for each in came} == {pit.Fenced}
            assert await newer.ping()
        await older.close()

    asyncio.run(main())


def test_a_far_end_that_speaks_something_else_is_a_protocol_error(endpoint: str) -> None:
    async def main() -> None:
        with zmq.Context() as context, context.socket(zmq.ROUTER) as far:
            far.bind(endpoint)
            connecting = asyncio.ensure_future(pit.connect_async("mm1", endpoint, timeout_s=PATIENCE_S))
            while not far.poll(0):
                await asyncio.sleep(0.01)
            identity = far.recv_multipart()[0]
            far.send_multipart([identity, b"short", b"x"])
            with pytest.raises(pit.ProtocolError):
                await connecting

    asyncio.run(main())


# ---------------------------------------------------------------------------------------------- loops and the end


def test_two_loops_have_an_engine_each_and_share_none(daemon: Daemon) -> None:
    async def use(engine: pit.AsyncEngine) -> bool:
        return bool(await engine.execute_pre_trade(an_order()))

    one, two = asyncio.new_event_loop(), asyncio.new_event_loop()
    try:

        async def connected() -> pit.AsyncEngine:
            return await pit.connect_async(next(_names), daemon.endpoint, timeout_s=PATIENCE_S)

        first, second = one.run_until_complete(connected()), two.run_until_complete(connected())
        for _ in range(3):
            assert one.run_until_complete(use(first)) and two.run_until_complete(use(second))
        with pytest.raises(pit.Closed, match="another event loop"):
            two.run_until_complete(use(first))
        with pytest.raises(pit.Closed, match="close it there"):
            two.run_until_complete(first.close())
        one.run_until_complete(first.close())
        two.run_until_complete(second.close())
    finally:
        one.close()
        two.close()


def test_an_engine_whose_loop_is_over_can_still_be_closed(daemon: Daemon) -> None:
    async def connected() -> pit.AsyncEngine:
        return await pit.connect_async(next(_names), daemon.endpoint, timeout_s=PATIENCE_S)

    engine = asyncio.run(connected())
    with pytest.raises(pit.Closed, match="connect anew in this one"):
        asyncio.run(engine.ping())
    asyncio.run(engine.close())
    with pytest.raises(pit.Closed, match="has been closed"):
        asyncio.run(engine.ping())


def test_calls_pending_at_the_close_end_as_well(daemon: Daemon) -> None:
    """Those on their way are answered; those that wait for room have surely not happened."""

    async def main() -> None:
        engine = await pit.connect_async(next(_names), daemon.endpoint, timeout_s=PATIENCE_S)
        tasks = [asyncio.create_task(engine.execute_pre_trade(an_order())) for _ in range(wire.WINDOW + 20)]
        await asyncio.sleep(0)
        await engine.close()
        came = await asyncio.gather(*tasks, return_exceptions=True)
        assert len(came) == wire.WINDOW + 20
        for each in came:
            assert isinstance(each, pit.AsyncReservation | pit.Closed | pit.OutcomeUnknown), each
        assert any(isinstance(each, pit.Closed) and "nothing was sent" in str(each) for each in came)
        del came, each
        with pytest.raises(pit.Closed):
            await engine.ping()

    asyncio.run(main())


def test_closing_does_not_wait_long_for_a_daemon_that_hangs() -> None:
    async def main(daemon: Daemon) -> None:
        engine = await pit.connect_async("mm1", daemon.endpoint, timeout_s=PATIENCE_S)
        daemon.freeze()
        task = asyncio.create_task(engine.execute_pre_trade(an_order()))
        await asyncio.sleep(0)
        await asyncio.wait_for(engine.close(), PATIENCE_S / 2)
        with pytest.raises(pit.OutcomeUnknown):
            await task

    with running(SETTINGS) as daemon:
        asyncio.run(main(daemon))


def test_an_idle_engine_wakes_nobody(daemon: Daemon) -> None:
    """No timer is left once everything is answered: an idle strategy costs nothing."""

    async def main() -> None:
        async with engine_of(daemon) as engine:
            assert await engine.execute_pre_trade(an_order())
            transport: Any = engine._transport
            async with asyncio.timeout(PATIENCE_S):
                while transport._timer is not None:
                    await asyncio.sleep(0.05)

    asyncio.run(main())


def test_an_answer_whose_notice_a_send_has_taken_is_found_at_once(daemon: Daemon) -> None:
    """Without the second look such an answer would wait for the timer, a quarter of a second."""

    async def main() -> float:
        async with engine_of(daemon) as engine:
            loop = asyncio.get_running_loop()
            slowest = []

            async def one() -> None:
                began = loop.time()
                held = await engine.execute_pre_trade(an_order())
                assert held
                await held.rollback()
                slowest.append(loop.time() - began)

            for _ in range(100):
                await asyncio.gather(*(one() for _ in range(4)))
            return sorted(slowest)[len(slowest) // 2]

    assert asyncio.run(main()) < 0.1
