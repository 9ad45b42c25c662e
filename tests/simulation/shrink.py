"""Makes a failing run small: fewer kinds of fault, fewer strategies, fewer orders, as long as it still fails."""

from __future__ import annotations

from . import weather, world
from .weather import Weather


def shrink(seed: int, failing: Weather) -> tuple[Weather, world.Told]:
    """The smallest weather found in which this seed fails, and how it fails there."""
    small, told = failing, world.run(seed, failing)

    def still_fails(without: tuple[str, ...], intents: int, strategies: int) -> bool:
        nonlocal small, told
        tried = weather.draw(seed, without=without, intents=intents, strategies=strategies)
        found = world.run(seed, tried)
        if found.trouble:
            small, told = tried, found
        return bool(found.trouble)

    for kind in weather.KINDS:
        if kind not in small.without:
            still_fails((*small.without, kind), small.intents, small.strategies)
    while small.strategies > 0 and still_fails(small.without, small.intents, small.strategies - 1):
        pass
    step = small.intents // 2
    while step:
        if not (small.intents > step and still_fails(small.without, small.intents - step, small.strategies)):
            step //= 2
    return small, told


def command_of(seed: int, small: Weather) -> str:
    """The command line that runs it alone."""
    without = f" --without {','.join(small.without)}" if small.without else ""
    return f"python -m simulation --seed {seed} --intents {small.intents} --strategies {small.strategies}{without}"
