"""The live screen `pitctl top`: what matters most of a running daemon, once a second, and a key to halt a scope."""

from __future__ import annotations

import codecs
import contextlib
import itertools
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

import pit
from pit import wire

from .halting import Halting, Wanted
from .screen import nearest_first
from .top_screen import Picture, View, drawn

_SEEN_MOST = 200
"""So many lines of each kind are asked for: a screen holds no more."""

_SAID_FOR_S = 8.0
"""How long it is told what came of a halt."""

_PIPE_SIZE = (160, 60)

Connect = Callable[[], pit.Engine]
R = TypeVar("R")


def look(engine: pit.Engine) -> Picture:
    """One page of everything, the most urgent first. Raises what pit raises."""
    status = _answer(engine, wire.AskStatus(), wire.StatusIs)
    limits = _answer(engine, wire.ListLimits(most=_SEEN_MOST), wire.LimitsAre).limits
    accounts = _answer(engine, wire.ListAccounts(most=_SEEN_MOST), wire.AccountsAre).accounts
    lost = _answer(engine, wire.ListOrders(wire.Which.QUARANTINED, most=_SEEN_MOST), wire.OrdersAre).orders
    leased = _answer(engine, wire.ListOrders(wire.Which.LEASED, most=_SEEN_MOST), wire.OrdersAre).orders
    orders = _answer(engine, wire.ListOrders(most=_SEEN_MOST), wire.OrdersAre).orders
    sessions = _answer(engine, wire.ListSessions(most=_SEEN_MOST), wire.SessionsAre).sessions
    restrictions = _answer(engine, wire.ListRestrictions(most=_SEEN_MOST), wire.RestrictionsAre).restrictions
    blocks = _answer(engine, wire.ListAllBlocks(most=_SEEN_MOST), wire.BlocksAre).blocks
    try:
        metrics = _answer(engine, wire.AskMetrics(), wire.MetricsAre)
    except pit.UnknownId:
        metrics = None
    return Picture(
        at_s=time.monotonic(),
        status=status,
        stops=(*restrictions, *blocks),
        limits=sorted(limits, key=nearest_first),
        accounts=sorted(
            accounts, key=lambda each: (not (each.blocks or each.restrictions), -each.open_orders, each.account)
        ),
        orders=_urgent_first(lost, leased, orders),
        sessions=sorted(sessions, key=lambda each: (-each.unsettled, each.client)),
        metrics=metrics,
    )


def _urgent_first(
    lost: Sequence[wire.OrderSeen], leased: Sequence[wire.OrderSeen], rest: Sequence[wire.OrderSeen]
) -> list[wire.OrderSeen]:
    """By turns the oldest in quarantine and the one whose lease ends first, so that few lines show both; the rest."""
    ending = sorted(leased, key=lambda each: each.lease_left_s or 0.0)
    turns = (each for pair in itertools.zip_longest(lost, ending) for each in pair if each is not None)
    return list({each.reservation_id: each for each in (*turns, *rest)}.values())


def _answer(engine: pit.Engine, query: wire.Query, wanted: type[R]) -> R:
    reply = engine.ask(query)
    assert isinstance(reply, wanted)
    return reply


def print_once(connect: Connect) -> None:
    """One look, as large as the terminal, or as a page where there is none."""
    with connect() as engine:
        picture = look(engine)
    console = Console(highlight=False)
    width, height = console.size if sys.stdout.isatty() else _PIPE_SIZE
    console = Console(highlight=False, width=width)
    lines = drawn(picture, None, View(), width, height)[:-1]
    console.print(Group(*lines), no_wrap=True)


def run(connect: Connect, act: Connect, every_s: float, endpoint: str) -> int:
    """Shows it until `q` or Ctrl-C, with or without a daemon: it waits for one. `h` halts a scope, and `r` has it take
    only what reduces, in a session that `act` opens. Raises NotAuthorized where this client may not look.
    """
    console = Console(highlight=False)
    with _keys() as next_key, Live(console=console, screen=True, auto_refresh=False) as live:
        Top(connect, act, endpoint).show(every_s, next_key, lambda top: live.update(_page(top, console), refresh=True))
    return 0


def _page(top: Top, console: Console) -> Group:
    width, height = console.size
    return Group(*top.drawn(width, height))


class Top:
    """What the screen shows, and what keys do, without the terminal."""

    def __init__(self, connect: Connect, act: Connect, endpoint: str) -> None:
        self._connect = connect
        self._act = act
        self._endpoint = endpoint
        self._engine: pit.Engine | None = None
        self._picture: Picture | None = None
        self._before: Picture | None = None
        self._trouble = ""
        self._said = ""
        self._said_until = 0.0
        self._dialog: Halting | None = None
        self._section = 0
        self.is_over = False

    def show(self, every_s: float, next_key: Callable[[float], str], put: Callable[[Top], None]) -> None:
        """Looks every so many seconds, shows it by `put`, and obeys the keys in between."""
        try:
            while not self.is_over:
                self.look()
                until = time.monotonic() + every_s
                while not self.is_over:
                    put(self)
                    left_s = until - time.monotonic()
                    if left_s <= 0:
                        break
                    key = next_key(left_s)
                    if key:
                        self.key(key)
        finally:
            if self._engine is not None:
                self._engine.close()

    def look(self) -> None:
        """Takes a new picture. Silence is shown, with what was seen before; the next look may do better."""
        try:
            if self._engine is None:
                self._engine = self._connect()
            picture = look(self._engine)
        except pit.NotAuthorized:
            raise
        except pit.PitError as trouble:
            self._trouble = f"no answer at {time.strftime('%H:%M:%S')}: {trouble}"
            if self._engine is not None and not isinstance(trouble, pit.Unavailable):
                self._engine.close()
                self._engine = None
            return
        self._picture, self._before, self._trouble = picture, self._picture, ""

    def key(self, key: str) -> None:
        if self._dialog is not None:
            self._dialog.key(key)
            if self._dialog.is_over:
                wanted, self._dialog = self._dialog.wanted, None
                self._say("nothing was changed" if wanted is None else self._halt(wanted))
        elif key in ("q", "Q"):
            self.is_over = True
        elif key == "h":
            self._dialog = Halting()
        elif key == "r":
            self._dialog = Halting("reduce")
        elif key in "012345":
            self._section = int(key)

    def drawn(self, width: int, height: int) -> Sequence[Text]:
        said = self._said if time.monotonic() < self._said_until else ""
        view = View(self._trouble, self._dialog.shown() if self._dialog is not None else "", said, self._section)
        return drawn(self._picture, self._before, view, width, height, self._endpoint)

    def _halt(self, wanted: Wanted) -> str:
        done = "reducing only" if wanted.verb == "reduce" else "halted"
        try:
            with self._act() as engine:
                stop = engine.reduce if wanted.verb == "reduce" else engine.halt
                stop(wanted.scope, wanted.reason)
        except pit.OutcomeUnknown as silence:
            return f"{wanted.scope} MAY BE {done.upper()}, AND MAY NOT: {silence}"
        except pit.PitError as trouble:
            return f"NOT {done.upper()}: {trouble}"
        self.look()
        return f"{wanted.scope} is {done}; pitctl resume {wanted.scope} --reason TEXT lets it go on"

    def _say(self, what: str) -> None:
        self._said, self._said_until = what, time.monotonic() + _SAID_FOR_S


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
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    waiting: list[str] = []

    def wait(seconds: float) -> str:
        if not waiting:
            ready, _, _ = select.select([fd], [], [], seconds)
            if ready:
                said = os.read(fd, 1024)
                if said.startswith(b"\x1b") and len(said) > 1:
                    return ""  # an arrow or another key that says more than one character, and means nothing here
                waiting.extend(decoder.decode(said))
        return waiting.pop(0) if waiting else ""

    try:
        tty.setcbreak(fd)
        yield wait
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
