"""The command `pitd replay`: shows what deciding a journal again came to."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from . import bootstrap, config, history
from .calendar import Calendar
from .core.numbers import text
from .errors import EXIT_DIFFERENT

if TYPE_CHECKING:
    from . import replay


def add_parser(commands: Any) -> None:
    """Adds `replay` to pitd's commands."""
    one = commands.add_parser(
        "replay",
        help="decide a journal again: the same answers? or, with --config, what would other limits have said?",
        description="Without --config: decides every entry again and says whether each answer is the same; exit code 1 "
        "if one is not. With --config: judges each past order under those limits, against the state that really was.",
    )
    one.add_argument("directory", nargs="?", metavar="DIR", help="the journal's directory (default: the usual one)")
    one.add_argument(
        "--config", metavar="FILE", help="other limits: which orders would have been refused, or let through?"
    )
    one.add_argument("--first", type=int, default=1, metavar="SEQ", help="begin with this entry")
    one.add_argument("--last", type=int, metavar="SEQ", help="end with this entry")
    one.add_argument("--json", action="store_true", help="the result as JSON, with order ids")
    one.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from . import replay

    directory = Path(options.directory or config.default_journal())
    progress = _Progress(directory, options)
    if options.config is None:
        again = replay.decide_again(
            directory, bootstrap.blank_engine, first_seq=options.first, last_seq=options.last, progress=progress
        )
        progress.end()
        if options.json:
            print(msgspec.json.encode(again).decode())
        else:
            _show_again(again)
        return EXIT_DIFFERENT if again.different else 0
    wanted = config.load(options.config)
    found = replay.what_if(
        directory,
        bootstrap.blank_engine,
        bootstrap.build_engine(wanted),
        Calendar(wanted),
        first_seq=options.first,
        last_seq=options.last,
        progress=progress,
    )
    progress.end()
    if options.json:
        print(msgspec.json.encode(found).decode())
    else:
        _show_what_if(found, options.config)
    return 0


def _show_again(again: replay.Again) -> None:
    if not again.decided:
        print("the journal has no entries there")
        return
    where = f"entries {again.first_seq} to {again.last_seq}"
    if not again.different:
        print(f"{where}: {again.decided} decided again, every answer is the same")
        return
    print(f"{where}: {again.decided} decided again, {again.different} came out differently")
    for each in again.differences:
        print(f"  {each.seq} {each.what}\n    was: {each.was}\n    now: {each.now}")
    if again.different > len(again.differences):
        print(f"  ... and {again.different - len(again.differences)} more")


def _show_what_if(found: replay.WhatIf, source: str) -> None:
    from rich.console import Console
    from rich.table import Table

    print(f"{found.orders} orders in entries {found.first_seq} to {found.last_seq}, judged under {source}:")
    print(f"  accepted as before   {found.accepted_as_before:>10}")
    print(f"  refused as before    {found.refused_as_before:>10}")
    print(f"  would be refused     {found.would_be_refused:>10}")
    print(f"  would be let through {found.would_be_let_through:>10}")
    if found.told_in_shadow:
        print(f"  told in shadow       {found.told_in_shadow:>10}")
    if not found.changes:
        return
    table = Table("would be", "limit", "code", "orders", "notional", "first: entry, order", "why")
    for each in found.changes:
        notional = ", ".join(f"{text(amount)} {asset}" for asset, amount in sorted(each.notional.items()))
        first = f"{each.first_seq}, {each.first_order}"
        table.add_row(each.would_be, each.limit, each.code, str(each.orders), notional, first, each.reason)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


class _Progress:
    """Says on a terminal how far it has come."""

    def __init__(self, directory: Path, options: argparse.Namespace) -> None:
        self._is_shown = sys.stderr.isatty()
        found = history.read_segments(directory)
        ends = history.last_seq(found[-1].path) if found else 0
        self._last = min(ends, options.last or ends)
        self._began = time.monotonic()
        self._said = 0.0

    def __call__(self, seq: int) -> None:
        now = time.monotonic()
        if self._is_shown and now - self._said > 0.25:
            self._said = now
            print(
                f"\r{seq} of {self._last} entries, {seq / max(now - self._began, 1e-9):,.0f}/s ",
                end="",
                file=sys.stderr,
            )

    def end(self) -> None:
        if self._said:
            print(file=sys.stderr)
