"""What pitctl tells of what would be said to an order: `pitctl explain`."""

from __future__ import annotations

import argparse
from decimal import Decimal
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

import pit
from pit.explained import LimitExplained, LimitUser

from ..journal_tools import objects
from ..journal_tools.words import printable
from .asking import connected, status_of
from .books import instrument_of
from .output import put
from .screen import Screen, add_row, plain_cell, table_of


def explain(options: argparse.Namespace) -> int:
    order = order_of(options)
    with connected(options) as engine:
        told = engine.explain(order, client=options.client)
        seq = status_of(engine).seq
    if options.json:
        put({"seq": seq} | as_object(told))
        return 0
    screen = Screen()
    screen.put(shown(told))
    screen.read_at(seq, seq)
    return 0


def order_of(options: argparse.Namespace) -> pit.Order:
    """The order that is meant. Raises InvalidInput."""
    size: dict[str, Any] = {"volume" if options.volume else "quantity": options.quantity}
    return pit.Order(
        account=options.account,
        instrument=instrument_of(options.instrument),
        side=options.side,
        price=options.price,
        **size,
    )


def as_object(told: pit.Explanation) -> dict[str, Any]:
    """The same for programs."""
    plain: dict[str, Any] = objects.plain(told)
    plain["passes"] = told.passes
    for each, limit in zip(plain["limits"], told.limits, strict=True):
        each["passes"] = limit.passes
    del plain["order_id"]  # made up for the question
    return plain


def shown(told: pit.Explanation) -> RenderableType:
    """The verdict, a line for each limit, and who uses what."""
    if told.passes:
        verdict = Text("it would be taken", style="green")
    else:
        verdict = Text("it would be refused", style="bold red")
        for reject in told.rejects:
            verdict.append(f"\n  {printable(str(reject))}", style="red")
    for reject in told.shadow_rejects:
        verdict.append(f"\n  in shadow: {printable(str(reject))}", style="yellow")
    most = (
        "any size would pass" if told.largest is None else f"largest size that would pass: {told.largest:f} {told.unit}"
    )
    parts: list[RenderableType] = [verdict, Text(printable(most), style="bold")]
    table = table_of("limit", "says", "for", "what", ">used", ">this order", ">limit", ">left", ">largest")
    for limit in told.limits:
        _add_limit(table, limit)
    parts.append(table)
    users = [(limit, user) for limit in told.limits for user in limit.users]
    if users:
        by = table_of("used of", "by account", "client", ">orders", ">amount", "order ids")
        for limit, user in users:
            add_row(by, limit.limit, *_user_cells(user))
        parts.append(by)
    if told.looked_at < told.open_orders:
        why = f"of {told.open_orders} open orders the latest {told.looked_at} were looked at for who uses what"
        parts.append(Text(why, style="dim"))
    return Group(*parts)


def _add_limit(table: Any, limit: LimitExplained) -> None:
    says = "passes" if limit.passes else limit.rejects[0].code.value
    if limit.is_shadow:
        says += " (shadow)"
    style = "" if limit.passes else "yellow" if limit.is_shadow else "red"
    largest = "any" if limit.largest is None else plain_cell(limit.largest)
    if not limit.uses:
        add_row(table, limit.limit, says, limit.scope, "", None, limit.requested, None, None, largest, style=style)
    for n, use in enumerate(limit.uses):
        first = (limit.limit, "" if n else says, limit.scope)  # each line may stand as a block of its own
        wanted: Decimal | None = limit.requested if not n else None
        what = f"{use.what}{' (tripped)' if use.is_tripped else ''}"
        add_row(table, *first, what, use.used, wanted, use.bound, use.remaining, "" if n else largest, style=style)


def _user_cells(user: LimitUser) -> tuple[Any, ...]:
    if not user.account:
        return ("all others", "", user.orders, user.amount, "")
    ids = ", ".join(user.order_ids) + (", ..." if user.orders > len(user.order_ids) else "")
    return (user.account, user.client or "-", user.orders or None, user.amount, ids)
