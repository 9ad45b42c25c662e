"""What the demo shows: a live screen on a terminal, plain lines elsewhere, the same words in both."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, TextIO

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table as RichTable

_EVENTS_SHOWN = 14


class Check(NamedTuple):
    """One thing that must be true at the end."""

    text: str
    ok: bool


class Table(NamedTuple):
    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


class Show(Protocol):
    def event(self, text: str) -> None:
        """Something happened."""

    def progress(self, now: Callable[[], tuple[str, Table]]) -> None:
        """How it stands: a sentence and a table, asked for only when it is time to show them."""

    def closing(self, tables: Sequence[Table], checks: Sequence[Check]) -> None:
        """What it all came to."""

    def close(self) -> None:
        """Leaves the terminal as it was."""


def make(title: str, *, plain_to: TextIO | None = None) -> Show:
    """A live screen where standard output is a terminal, else lines."""
    if plain_to is None and sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        return Screen(title)
    return Lines(title, plain_to or sys.stdout)


class Lines:
    """A line for each event, and one a second for how it stands."""

    def __init__(self, title: str, to: TextIO) -> None:
        self._to = to
        self._began_s = self._shown_s = time.monotonic()
        self._print(title)

    def event(self, text: str) -> None:
        self._print(f"[{time.monotonic() - self._began_s:5.1f} s] {text}")

    def progress(self, now: Callable[[], tuple[str, Table]]) -> None:
        if time.monotonic() - self._shown_s < 1:
            return
        self._shown_s = time.monotonic()
        self.event(now()[0])

    def closing(self, tables: Sequence[Table], checks: Sequence[Check]) -> None:
        for table in tables:
            self._print("")
            for line in aligned(table):
                self._print(line)
        self._print("")
        for check in checks:
            self._print(f"{'ok    ' if check.ok else 'FAILED'}  {check.text}")

    def close(self) -> None:
        pass

    def _print(self, line: str) -> None:
        print(line, file=self._to, flush=True)


class Screen:
    """A table that is drawn anew a few times a second above the latest events."""

    def __init__(self, title: str) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console: Console = Console(highlight=False)
        self._title = title
        self._began_s = time.monotonic()
        self._shown_s = 0.0
        self._events: deque[str] = deque(maxlen=_EVENTS_SHOWN)
        self._now: tuple[str, Table] = ("starting", Table("", (), ()))
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._live.start()

    def event(self, text: str) -> None:
        self._events.append(f"[{time.monotonic() - self._began_s:5.1f} s] {text}")
        self._draw()

    def progress(self, now: Callable[[], tuple[str, Table]]) -> None:
        if time.monotonic() - self._shown_s < 0.2:
            return
        self._shown_s = time.monotonic()
        self._now = now()
        self._draw()

    def closing(self, tables: Sequence[Table], checks: Sequence[Check]) -> None:
        from rich.text import Text

        self._live.stop()
        for line in self._events:
            self._console.print(Text(line, style="dim"))
        for table in tables:
            self._console.print(_rich(table))
        for check in checks:
            mark = Text("ok    ", style="green") if check.ok else Text("FAILED", style="bold red")
            self._console.print(Text.assemble(mark, "  ", check.text))

    def close(self) -> None:
        self._live.stop()

    def _draw(self) -> None:
        from rich.console import Group
        from rich.text import Text

        sentence, table = self._now
        parts: list[RenderableType] = [Text.assemble((self._title, "bold"), f"\n{sentence}")]
        if table.header:
            parts.append(_rich(table))
        room = max(3, self._console.height - len(table.rows) - 9)
        parts += [Text(line, no_wrap=True, overflow="ellipsis") for line in list(self._events)[-room:]]
        self._live.update(Group(*parts), refresh=True)


def aligned(table: Table) -> list[str]:
    """A table as lines of text: words to the left, numbers to the right."""
    rows = [table.header, *table.rows]
    widths = [max(len(row[at]) for row in rows) for at in range(len(table.header))]
    numeric = _numeric(table)
    lines = [table.title] if table.title else []
    for row in rows:
        cells = [cell.rjust(width) if right else cell.ljust(width)
                 for cell, width, right in zip(row, widths, numeric, strict=True)]  # fmt: skip
        lines.append("  " + "  ".join(cells).rstrip())
    return lines


def _rich(table: Table) -> RichTable:
    from rich import box
    from rich.table import Table as Drawn
    from rich.text import Text

    drawn = Drawn(title=table.title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name, right in zip(table.header, _numeric(table), strict=True):
        drawn.add_column(name, justify="right" if right else "left")
    for row in table.rows:
        drawn.add_row(*(Text(cell) for cell in row))
    return drawn


def _numeric(table: Table) -> list[bool]:
    def is_number(cell: str) -> bool:
        return cell.strip("+-").replace(",", "").replace(".", "", 1).isdigit() or not cell

    return [all(is_number(row[at]) for row in table.rows) and bool(table.rows) for at in range(len(table.header))]
