"""Speaks to the daemon for pitctl: engines to look and to act by, and answers that come page by page."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec

import pit
from pit import wire

Connect = Callable[[str, str, float, bool], pit.Engine]
"""Name, endpoint, how long to wait for an answer, and whether it only asks."""

R = TypeVar("R")
Q = TypeVar("Q", bound=wire.Query)
P = TypeVar("P")


def connect(name: str, endpoint: str, timeout_s: float, read_only: bool) -> pit.Engine:
    return pit.connect(name, endpoint, timeout_s=timeout_s, read_only=read_only)


def connected(options: argparse.Namespace) -> pit.Engine:
    """An engine to ask: it opens no session, so that any number of operators may look under one name."""
    engine = options.connect(options.name, options.endpoint, options.timeout, True)
    assert isinstance(engine, pit.Engine)
    return engine


def acting(options: argparse.Namespace) -> pit.Engine:
    """An engine to change something by: a session, as short as the change."""
    engine = options.connect(options.name, options.endpoint, options.timeout, False)
    assert isinstance(engine, pit.Engine)
    return engine


def status_of(engine: pit.Engine) -> wire.StatusIs:
    return expect(engine, wire.AskStatus(), wire.StatusIs)


def expect(engine: pit.Engine, query: wire.Query, wanted: type[R]) -> R:
    reply = engine.ask(query)
    if not isinstance(reply, wanted):
        raise pit.ProtocolError(f"{wanted.__name__} was expected, not {type(reply).__name__}")
    return reply


def pages(engine: pit.Engine, query: Q, wanted: type[P], following: Callable[[Q, P], Q | None]) -> Iterator[P]:
    """Every page of an answer; `following` says what to ask for the one after this."""
    asked: Q | None = query
    while asked is not None:
        page = expect(engine, asked, wanted)
        yield page
        asked = following(asked, page)


def pages_of_orders(engine: pit.Engine, query: wire.ListOrders) -> Iterator[wire.OrdersAre]:
    """Every page of the orders that are meant."""

    def following(asked: wire.ListOrders, page: wire.OrdersAre) -> wire.ListOrders | None:
        return msgspec.structs.replace(asked, after=page.after) if page.after else None

    return pages(engine, query, wire.OrdersAre, following)


def searched(engine: pit.Engine, options: argparse.Namespace, ask: Callable[[], R]) -> R:
    """An answer for which the daemon may have to look through its journal: however long that takes, as long as it
    answers other questions. Raises what `ask` raises otherwise.
    """
    is_told = False
    while True:
        began_s = time.monotonic()
        try:
            return ask()
        except pit.Unavailable:
            if time.monotonic() - began_s < options.timeout:
                raise  # it was no silence
            engine.ping()
        if not is_told:
            print("pitctl: the journal is being searched; Ctrl-C gives up", file=sys.stderr)
            is_told = True


def account_of(engine: pit.Engine, options: argparse.Namespace, *, is_open: bool = False) -> str:
    """Whose order it is: as given, else of the only one of that id that is open or was closed lately; where an open one
    is meant, it goes before those that are closed. Raises InvalidInput, UnknownId.
    """
    if options.account is not None:
        return str(options.account)
    opened = _accounts_of(engine, wire.Which.OPEN, options.order)
    found = opened if is_open and opened else opened | _accounts_of(engine, wire.Which.CLOSED, options.order)
    if len(found) == 1:
        return found.pop()
    if found:
        raise pit.InvalidInput(
            f"order {options.order} is in the accounts {', '.join(sorted(found))}: say which by --account"
        )
    if is_open:
        raise pit.UnknownId(
            f"no order {options.order} is open, so there is nothing to say of it: pitctl orders shows what is; pitctl "
            f"outcome {options.order} --account A tells what became of one that was"
        )
    raise pit.UnknownId(
        f"no order {options.order} is open or closed lately (a refused one is not remembered): give --account to have "
        "the journal searched"
    )


def _accounts_of(engine: pit.Engine, which: wire.Which, order_id: str) -> set[str]:
    query = wire.ListOrders(which, order_id=order_id)
    return {each.account for page in pages_of_orders(engine, query) for each in page.orders}
