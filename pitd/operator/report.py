"""The command `pitctl report day`: tables for a person, CSV for another program."""

from __future__ import annotations

import argparse
import csv
import datetime
import os
import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import IO, Any
from zoneinfo import ZoneInfo

from rich.console import Group, RenderableType
from rich.text import Text

import pit

from ..core.numbers import text
from ..journal_tools import day, objects
from ..journal_tools.day import Change, Day, Line
from ..journal_tools.pages import Pages
from ..journal_tools.progress import Progress
from ..journal_tools.words import exact_moment, printable
from .asking import connected, status_of
from .codes import Misused
from .output import put
from .screen import Screen, add_row, table_of

_OF_ACCOUNTS = (
    "date",
    "zone",
    "account",
    "settlement",
    "orders",
    "accepted",
    "rejected",
    "rejects",
    "fills",
    "quantity",
    "notional",
    "unpriced",
    "pnl",
    "fees",
    "shadow_rejects",
)
_OF_CHANGES = ("date", "zone", "seq", "wall", "author", "what", "reason")
"""The columns. New ones are only ever appended."""


def report_day(options: argparse.Namespace) -> int:
    from .. import bootstrap

    if options.changes and not options.csv:
        raise Misused("report day --changes: it goes with --csv; the others show both")
    zone: ZoneInfo = options.zone
    wanted = options.date or datetime.datetime.now(zone).date()
    directory = _journal_of(options)
    with Progress("report", options, lambda: Pages(directory).last_seq()) as progress:
        told = day.report(directory, bootstrap.blank_engine, wanted, zone, progress.at)
    if options.json:
        put(objects.plain(told))
    elif options.csv:
        put_csv(told, sys.stdout, changes=options.changes)
    else:
        Screen().put(shown(told))
    return 0


def _journal_of(options: argparse.Namespace) -> Path:
    """The journal's directory: as given, else where the daemon keeps it."""
    if options.directory is not None:
        return Path(options.directory)
    try:
        with connected(options) as engine:
            kept = status_of(engine).journal
    except pit.Unavailable as trouble:
        raise pit.Unavailable(f"{trouble}; without a daemon, name the journal: pitctl report day DIR") from trouble
    if not kept:
        raise pit.InvalidInput(f"the daemon at {options.endpoint} keeps no journal")
    if not os.access(kept, os.R_OK | os.X_OK):
        raise pit.NotAuthorized(
            f"the journal in {kept} cannot be read by this user: its files are for their group (on Debian pitd-audit)"
        )
    return Path(kept)


def shown(day: Day) -> RenderableType:
    rows = f"rows {day.first_seq} to {day.last_seq}" if day.last_seq else "the journal has no rows of that day"
    parts: list[RenderableType] = [Text(f"{day.date} in {day.zone}: {rows}", style="bold")]
    if day.missing:
        parts.append(Text(day.missing, style="bold red"))
    if day.accounts:
        parts.append(_accounts(day.accounts))
    if any(line.rejects for line in day.accounts):
        parts += [Text("rejected, by code", style="bold"), _rejects(day.accounts)]
    if any(line.shadow_rejects for line in day.accounts):
        parts += [Text("in shadow, by code", style="bold"), _rejects(day.accounts, in_shadow=True)]
    if day.changes:
        parts += [Text("changes", style="bold"), _changes(day.changes, ZoneInfo(day.zone))]
    return Group(*parts)


def put_csv(day: Day, file: IO[str], *, changes: bool) -> None:
    """A heading, then a line for each account and asset, or for each change."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_OF_CHANGES if changes else _OF_ACCOUNTS)
    for each in day.changes if changes else day.accounts:
        cells = _change_cells(each) if isinstance(each, Change) else _account_cells(each)
        writer.writerow([day.date, day.zone, *map(_plain, cells)])


def _account_cells(line: Line) -> Sequence[Any]:
    rejects = " ".join(f"{code}={count}" for code, count in line.rejects.items())
    counts = (line.orders, line.accepted, line.rejected, rejects, line.fills)
    shadow = " ".join(f"{code}={count}" for code, count in line.shadow_rejects.items())
    money = (line.quantity, line.notional, line.unpriced, line.pnl, line.fees)
    return (line.account, line.settlement, *counts, *money, shadow)


def _change_cells(change: Change) -> Sequence[Any]:
    return (change.seq, exact_moment(change.wall_ns), change.author, change.what, change.reason)


def _plain(value: Any) -> str:
    return text(value) if isinstance(value, Decimal) else printable(str(value))


def _accounts(lines: Sequence[Line]) -> RenderableType:
    table = table_of(
        "account", "in", ">orders", ">accepted", ">rejected", ">fills", ">filled", ">notional", ">P&L", ">fees", ">net"
    )
    for line in lines:
        notional = f"{text(line.notional)}{f' and {line.unpriced} without a price' if line.unpriced else ''}"
        counts = (line.orders, line.accepted, line.rejected, line.fills, line.quantity, notional)
        add_row(table, line.account, line.settlement or "-", *counts, line.pnl, line.fees, line.pnl - line.fees)
    return table


def _rejects(lines: Sequence[Line], *, in_shadow: bool = False) -> RenderableType:
    table = table_of("account", "in", "code", ">orders")
    for line in lines:
        for code, count in (line.shadow_rejects if in_shadow else line.rejects).items():
            add_row(table, line.account, line.settlement or "-", code, count)
    return table


def _changes(changes: Sequence[Change], zone: ZoneInfo) -> RenderableType:
    table = table_of(">row", "at", "by", "what", "why")
    for change in changes:
        at = datetime.datetime.fromtimestamp(change.wall_ns / 1e9, zone)
        add_row(table, change.seq, f"{at:%H:%M:%S}", change.author, change.what, change.reason)
    return table
