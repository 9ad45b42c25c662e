"""Commands of pitctl that show what there is: the daemon, its sessions, accounts, books, orders, limits and stops."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pit
from pit import wire

from ..journal_tools.words import printable
from . import cancels as cancelled
from .asking import connected, pages, pages_of_orders, status_of
from .codes import NO_ANSWER, NOT_READY, READY
from .output import line_object, plain, put, shown, status_object
from .screen import Screen

Q = TypeVar("Q", bound=wire.Query)
P = TypeVar("P")


def ping(options: argparse.Namespace) -> int:
    with connected(options) as engine:
        version = engine.ping()
    if options.json:
        put({"version": version, "endpoint": options.endpoint})
    else:
        print(f"pitd {version} answers at {options.endpoint}")
    return 0


def isready(options: argparse.Namespace) -> int:
    try:
        with connected(options) as engine:
            status = status_of(engine)
    except (pit.Unavailable, pit.OutcomeUnknown, pit.Closed) as trouble:
        return _told_ready(options, NO_ANSWER, "no answer", str(trouble), None)
    except pit.NotAuthorized as trouble:
        why = f"{trouble}; or give --name of a client that is listed"
        return _told_ready(options, NO_ANSWER, "it does not answer this client", why, None)
    if status.why_refusing:
        return _told_ready(options, NOT_READY, "refuses new orders", status.why_refusing, status.seq)
    return _told_ready(options, READY, "takes new orders", "", status.seq)


def _told_ready(options: argparse.Namespace, code: int, answer: str, why: str, seq: int | None) -> int:
    if options.json:
        put({"seq": seq, "is_ready": code == READY, "answer": answer, "why": why})
    elif not options.quiet:
        print(f"{options.endpoint}: {answer}{f': {printable(why)}' if why else ''}")
    return code


def status(options: argparse.Namespace) -> int:
    with connected(options) as engine:
        told = status_of(engine)
    if options.json:
        put(status_object(told))
    else:
        Screen().status(told)
    return 0


def sessions(options: argparse.Namespace) -> int:
    def following(_: wire.ListSessions, page: wire.SessionsAre) -> wire.ListSessions | None:
        return wire.ListSessions(page.sessions[-1].session) if page.more else None

    return _shown_pages(options, wire.ListSessions(), wire.SessionsAre, following, "sessions", Screen.sessions)


def accounts(options: argparse.Namespace) -> int:
    def following(_: wire.ListAccounts, page: wire.AccountsAre) -> wire.ListAccounts | None:
        return wire.ListAccounts(page.accounts[-1].account) if page.more else None

    return _shown_pages(options, wire.ListAccounts(), wire.AccountsAre, following, "accounts", Screen.accounts)


def calendar(options: argparse.Namespace) -> int:
    def following(_: wire.ListCalendar, page: wire.CalendarIs) -> wire.ListCalendar | None:
        return wire.ListCalendar(page.days[-1].scope) if page.more else None

    with connected(options) as engine:
        found = list(pages(engine, wire.ListCalendar(), wire.CalendarIs, following))
    days = [day for page in found for day in page.days]
    hours, seq = found[0].hours, found[-1].seq
    if options.json:
        put({"seq": seq, "days": [*map(plain, days)], "hours": [*map(plain, hours)]})
    else:
        screen = Screen()
        screen.calendar(days, hours)
        screen.read_at(found[0].seq, seq)
    return 0


def positions(options: argparse.Namespace) -> int:
    def following(_: wire.ListPositions, page: wire.PositionsAre) -> wire.ListPositions | None:
        last = page.positions[-1] if page.more else None
        return None if last is None else wire.ListPositions(options.account, last.account, last.instrument)

    query = wire.ListPositions(options.account)
    return _shown_pages(options, query, wire.PositionsAre, following, "positions", Screen.positions)


def balances(options: argparse.Namespace) -> int:
    def following(_: wire.ListBalances, page: wire.BalancesAre) -> wire.ListBalances | None:
        last = page.balances[-1] if page.more else None
        return None if last is None else wire.ListBalances(options.account, last.account, last.asset)

    query = wire.ListBalances(options.account)
    return _shown_pages(options, query, wire.BalancesAre, following, "balances", Screen.balances)


def orders(options: argparse.Namespace) -> int:
    which = wire.Which(options.which) if options.stale is None else wire.Which.STALE
    query = wire.ListOrders(which, 0, options.account, options.client, options.order, quiet_ns=options.stale or 0)
    with connected(options) as engine:
        found = list(pages_of_orders(engine, query))
    return shown(options, found, "orders", Screen.orders)


def limits(options: argparse.Namespace) -> int:
    def following(_: wire.ListLimits, page: wire.LimitsAre) -> wire.ListLimits | None:
        return wire.ListLimits(page.position, page.after) if page.position >= 0 else None

    with connected(options) as engine:
        found = list(pages(engine, wire.ListLimits(), wire.LimitsAre, following))
        overrides = engine.limit_overrides()
    lines = [line for page in found for line in page.limits]
    if options.json:
        told: dict[str, Any] = {"seq": found[0].seq, "until_seq": found[-1].seq}
        told |= {} if options.overrides else {"limits": list(map(line_object, lines))}
        put(told | {"overrides": list(map(plain, overrides))})
        return 0
    screen = Screen()
    if not options.overrides:
        screen.limits(lines)
    if overrides or options.overrides:
        screen.overrides(overrides)
    screen.read_at(found[0].seq, found[-1].seq)
    return 0


def blocks(options: argparse.Namespace) -> int:
    def following(asked: wire.ListAllBlocks, page: wire.BlocksAre) -> wire.ListAllBlocks | None:
        return wire.ListAllBlocks(asked.skip + len(page.blocks)) if page.more else None

    with connected(options) as engine:
        found = list(pages(engine, wire.ListAllBlocks(), wire.BlocksAre, following))
        halts = engine.restrictions()
    blocks = [block for page in found for block in page.blocks]
    if options.json:
        told = {"seq": found[0].seq, "until_seq": found[-1].seq}
        put(told | {"blocks": list(map(plain, blocks)), "restrictions": list(map(plain, halts))})
        return 0
    screen = Screen()
    screen.blocks(blocks)
    screen.restrictions(halts)
    screen.read_at(found[0].seq, found[-1].seq)
    return 0


def cancels(options: argparse.Namespace) -> int:
    def following(_: wire.ListCancels, page: wire.CancelsAre) -> wire.ListCancels | None:
        return wire.ListCancels(page.cancels[-1].request.reservation_id) if page.more else None

    def show(screen: Screen, lines: Sequence[wire.CancelSeen]) -> None:
        screen.put(cancelled.table(lines))

    return _shown_pages(options, wire.ListCancels(), wire.CancelsAre, following, "cancels", show)


def _shown_pages(
    options: argparse.Namespace,
    query: Q,
    wanted: type[P],
    following: Callable[[Q, P], Q | None],
    name: str,
    show: Callable[[Screen, list[Any]], None],
) -> int:
    with connected(options) as engine:
        found = list(pages(engine, query, wanted, following))
    return shown(options, found, name, show)
