"""The live screen `pitctl top`: what matters most of a running daemon, once a second, and a key to stop everything."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

import pit
from pit import wire
from pit.types import OrderState

from .journal_tools.words import printable
from .operator_screen import accounts_of, limits_of, nearest_first, orders_of, sessions_of, status_of

_SEEN_MOST = 200
"""So many lines of each kind are asked for: a screen holds no more."""

_TABLE_LINES = 5
"""What a table takes beside its rows: its name, its head, and how many more there are."""

_URGENT = (OrderState.QUARANTINED, OrderState.SENT, OrderState.HELD, OrderState.WORKING)


class Picture(NamedTuple):
    """What one look has brought."""

    status: wire.StatusIs
    limits: Sequence[wire.LimitSeen]
    accounts: Sequence[wire.AccountSeen]
    orders: Sequence[wire.OrderSeen]
    sessions: Sequence[wire.SessionSeen]


def look(engine: pit.Engine) -> Picture:
    """One page of everything, the most urgent first. Raises what pit raises."""
    status = engine.ask(wire.AskStatus())
    limits = engine.ask(wire.ListLimits(most=_SEEN_MOST))
    accounts = engine.ask(wire.ListAccounts(most=_SEEN_MOST))
    lost = engine.ask(wire.ListOrders(wire.Which.QUARANTINED, most=_SEEN_MOST))
    orders = engine.ask(wire.ListOrders(most=_SEEN_MOST))
    sessions = engine.ask(wire.ListSessions(most=_SEEN_MOST))
    assert isinstance(status, wire.StatusIs) and isinstance(limits, wire.LimitsAre)
    assert isinstance(accounts, wire.AccountsAre) and isinstance(sessions, wire.SessionsAre)
    assert isinstance(orders, wire.OrdersAre) and isinstance(lost, wire.OrdersAre)
    open_orders = {each.reservation_id: each for each in (*lost.orders, *orders.orders)}
    return Picture(
        status,
        sorted(limits.limits, key=nearest_first),
        sorted(accounts.accounts, key=lambda each: (not each.blocks, -each.open_orders, each.account)),
        sorted(open_orders.values(), key=lambda each: (_URGENT.index(each.state), each.reservation_id)),
        sorted(sessions.sessions, key=lambda each: (-each.unsettled, each.client)),
    )


def drawn(picture: Picture | None, trouble: str, height: int) -> RenderableType:
    """The picture, in so many lines; where there is trouble, it stands on top, and the last picture below it."""
    parts: list[RenderableType] = []
    if trouble:
        parts.append(Text(printable(trouble), style="bold white on red"))
    if picture is None:
        return Group(*parts, Text("nothing has been seen yet", style="dim"))
    if trouble:
        parts.append(Text("what was seen last:", style="dim"))
    parts.append(status_of(picture.status))
    status = picture.status
    tables: list[tuple[str, int, int, Callable[[int], RenderableType]]] = [
        ("limits, the nearest first", status.limits, len(picture.limits), lambda n: limits_of(picture.limits[:n])),
        ("accounts", 0, len(picture.accounts), lambda n: accounts_of(picture.accounts[:n])),
        ("open orders", status.open_orders, len(picture.orders), lambda n: orders_of(picture.orders[:n])),
        ("sessions", status.sessions, len(picture.sessions), lambda n: sessions_of(picture.sessions[:n])),
    ]
    left = height - 12
    for at, (name, total, seen, show) in enumerate(tables):
        shown = min(seen, max(1, left // (len(tables) - at) - _TABLE_LINES))
        left -= shown + _TABLE_LINES
        more = max(total, seen) - shown
        parts.append(Text(f"{name}{f' (and {more} more)' if more > 0 else ''}", style="bold"))
        parts.append(show(shown))
    return Group(*parts)


def run(connect: Callable[[], pit.Engine], every_s: float, *, once: bool) -> int:
    """Shows it until `q` or Ctrl-C. `h` asks for a reason and blocks the whole firm."""
    console = Console(highlight=False)
    if once:
        with connect() as engine:
            console.print(drawn(look(engine), "", 10_000))
        return 0
    engine = connect()
    picture: Picture | None = None
    trouble = ""
    try:
        with _keys() as wait_for_key:
            while True:
                with Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop") as live:
                    key = ""
                    while key not in ("q", "h"):
                        try:
                            picture, trouble = look(engine), ""
                        except (pit.Unavailable, pit.OutcomeUnknown) as silence:
                            trouble = f"no answer at {time.strftime('%H:%M:%S')}: {silence}"
                        help_line = Text("q: leave   h: halt, block the whole firm", style="reverse")
                        live.update(Group(help_line, drawn(picture, trouble, console.height - 1)), refresh=True)
                        key = wait_for_key(every_s)
                if key == "q":
                    return 0
                _halt(engine, console)
    finally:
        with contextlib.suppress(pit.PitError):
            engine.close()


def _halt(engine: pit.Engine, console: Console) -> None:
    reason = console.input(Text("block the whole firm: why? (nothing: don't) ", style="bold red")).strip()
    if not reason:
        return
    try:
        engine.block("firm", reason)
        console.print(Text("firm is blocked; pitctl unblock firm lets it trade again", style="bold"))
    except pit.OutcomeUnknown as silence:
        console.print(Text(printable(f"it may be blocked, and may not: {silence}"), style="bold white on red"))
    except pit.PitError as trouble:
        console.print(Text(printable(f"NOT blocked: {trouble}"), style="bold white on red"))
    time.sleep(1.5)  # long enough to be read before the screen comes back


def _no_key(seconds: float) -> str:
    time.sleep(seconds)
    return ""


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """Waits for one key, or so many seconds. Without a terminal there are no keys."""
    if not sys.stdin.isatty():
        yield _no_key
        return
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)

    def wait(seconds: float) -> str:
        tty.setcbreak(fd)
        try:
            ready, _, _ = select.select([fd], [], [], seconds)
            return os.read(fd, 1).decode(errors="replace") if ready else ""
        finally:
            termios.tcsetattr(fd, termios.TCSADRAIN, before)

    try:
        yield wait
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
