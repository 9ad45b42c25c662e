"""What goes wrong in a run: how much happens, and which faults come how often."""

from __future__ import annotations

import random

import msgspec

KINDS = (
    *("network", "crashes", "power", "disk", "pauses", "deaths", "poison", "operator", "rogues", "restarts"),
    *("settings", "namesakes", "old clients", "modifies", "cancels", "undoing", "halts", "limits"),
    "adjustments",
    "copies",
    "statuses",
)
"""The kinds of fault that can be left out one by one."""


MILDER = ("lose", "cut", "crash", "io_error", "full", "pause", "death", "restart", "delay_ms")


class Weather(msgspec.Struct, frozen=True, kw_only=True):
    """One run's weather. Rates are chances: a message's, a loop's, a client's each second."""

    intents: int
    """How many orders the strategies start before the calm."""
    strategies: int
    blocking: int
    """How many more strategies use `pit.Engine`, whose calls block."""
    pace_ms: int
    """The mean time between two orders of one strategy."""
    delay_ms: float
    lose: float
    double: float
    cut: float
    """How often a connection is cut, each second."""
    crash: float
    io_error: float
    full: float
    power: bool
    """Whether the journal is kept through power cuts."""
    power_cut: float
    """How many of the crashes are power cuts, which end the whole machine."""
    pause: float
    death: float
    poison: float
    meddle: float
    rogue: float
    restart: float
    settings: float
    namesakes: float
    """How often the venue gives an order an id that another one of the account has, or had."""
    old: bool
    """Whether there are clients of the release before this one."""
    modify: float
    """How often the owner of a working order has it modified, and again."""
    cancel: float
    """How often it cancels one."""
    undo: float
    """How often the venue undoes a fill, or tells it anew."""
    halt: float
    """How often the operator halts something, or lets it only reduce; each second."""
    put: float
    """How often the operator sets limits, each time that it looks."""
    adjust: float
    """How often it says what accounts have."""
    copy: float
    """How many of the orders that nobody had asked for a drop copy tells of, and a fifth as many of the others."""
    status: float
    """How many orders have owners whose source knows sums alone."""
    venue_ms: float
    """The mean time between two things that the venue does with an order."""
    linger_s: float
    """How long the faults go on after the last order."""
    many: float
    """How many of the checks are of several orders at once."""
    without: tuple[str, ...] = ()


def draw(
    seed: int, *, without: tuple[str, ...] = (), intents: int | None = None, strategies: int | None = None
) -> Weather:
    """The weather of a seed, less what is left out. Leaving a kind out changes no other kind's numbers."""
    random_ = random.Random(f"{seed}/weather")

    def rate(kind: str, *choices: float) -> float:
        drawn = random_.choice(choices)
        return 0 if kind in without else drawn

    drawn = Weather(
        intents=random_.choice((20, 40, 60, 100)),
        strategies=random_.choice((1, 2, 2, 3)),
        blocking=random_.choice((0, 1, 1)),
        pace_ms=random_.choice((5, 30, 100, 200)),
        delay_ms=rate("network", 0.1, 1, 5, 40) or 0.1,
        lose=rate("network", 0, 0, 0.01, 0.05, 0.2),
        double=rate("network", 0, 0.02, 0.1),
        cut=rate("network", 0, 0, 0.1, 0.5),
        crash=rate("crashes", 0, 0.01, 0.03, 0.08),
        io_error=rate("disk", 0, 0, 0.01, 0.03),
        full=rate("disk", 0, 0, 0, 0.01, 0.03),
        power=random_.random() < 0.3,
        pause=rate("pauses", 0, 0, 0.05, 0.2),
        death=rate("deaths", 0, 0.05, 0.2),
        poison=rate("poison", 0, 0, 0, 0.02),
        meddle=rate("operator", 0, 0.1, 0.5),
        rogue=rate("rogues", 0, 0, 0.05),
        restart=rate("restarts", 0, 0.1, 0.3, 0.6),
        settings=rate("settings", 0, 0.3, 0.8),
        power_cut=rate("power", 0, 0, 0.2, 0.6),
        namesakes=rate("namesakes", 0, 0, 0.1, 0.5),
        old=bool(rate("old clients", 0, 0, 1)),
        modify=rate("modifies", 0, 0.5, 0.9, 0.9),
        cancel=rate("cancels", 0, 0.1, 0.4),
        undo=rate("undoing", 0, 0.02, 0.2),
        halt=rate("halts", 0, 0, 0.2, 0.6),
        put=rate("limits", 0, 0.1, 0.4),
        adjust=rate("adjustments", 0.1, 0.4, 0.8),
        copy=rate("copies", 0, 0.5, 1),
        status=rate("statuses", 0, 0.2, 0.6),
        venue_ms=random_.choice((300, 1_000, 2_500)),
        linger_s=random_.choice((0, 0.5, 1, 3)),
        many=random_.choice((0, 0.1, 0.4)),
        without=without,
    )
    if random_.random() < 0.6:  # mild: what is broken off all the time comes to nothing
        scaled = {name: getattr(drawn, name) * 0.2 for name in MILDER}
        drawn = msgspec.structs.replace(drawn, **scaled)
    changes = {"intents": intents, "strategies": strategies}
    return msgspec.structs.replace(drawn, **{name: value for name, value in changes.items() if value is not None})
