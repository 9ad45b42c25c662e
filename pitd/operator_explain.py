"""What pitctl tells of what would be said to an order: `pitctl explain`."""

from __future__ import annotations

import argparse
from decimal import Decimal
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

import pit
from pit.explained import LimitExplained, LimitUser

from .journal_tools import objects
from .journal_tools.words import printable
from .operator_screen import add_row, plain_cell, table_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """An order, as a person types it."""
    parser.add_argument("account", metavar="ACCOUNT")
    parser.add_argument("instrument", type=instrument, metavar="INSTRUMENT", help="a symbol, or a pair: AAPL/USD")
    parser.add_argument("side", choices=("buy", "sell"), metavar="SIDE", help="buy or sell")
    parser.add_argument("quantity", metavar="QTY", help="in units")
    parser.add_argument("price", nargs="?", metavar="PRICE", help="its limit (default: a market order)")
    parser.add_argument("--volume", action="store_true", help="QTY is an amount of the settlement asset")
    parser.add_argument("--client", default="", metavar="C", help="who would send it (default: --name)")


def instrument(text: str) -> pit.Instrument | str:
    """A symbol or a pair, as typed."""
    underlying, stroke, settlement = text.rpartition("/")
    return pit.Instrument(underlying, settlement) if stroke and underlying and settlement else text


def order_of(options: argparse.Namespace) -> pit.Order:
    """The order that is meant. Raises InvalidInput."""
    size: dict[str, Any] = {"volume" if options.volume else "quantity": options.quantity}
    return pit.Order(
        account=options.account, instrument=options.instrument, side=options.side, price=options.price, **size
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
        first = (limit.limit, says, limit.scope) if not n else ("", "", "")
        wanted: Decimal | None = limit.requested if not n else None
        what = f"{use.what}{' (tripped)' if use.is_tripped else ''}"
        add_row(table, *first, what, use.used, wanted, use.bound, use.remaining, "" if n else largest, style=style)


def _user_cells(user: LimitUser) -> tuple[Any, ...]:
    if not user.account:
        return ("all others", "", user.orders, user.amount, "")
    ids = ", ".join(user.order_ids) + (", ..." if user.orders > len(user.order_ids) else "")
    return (user.account, user.client or "-", user.orders or None, user.amount, ids)
