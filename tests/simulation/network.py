"""A network that loses, doubles, delays and reorders messages, and cuts connections."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .world import World

MS = 1_000_000


class Network:
    """Carries what is given to it, some of it badly."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._random = world.random("network")
        self.lost = self.doubled = self.carried = 0

    def carry(self, deliver: Callable[[], None]) -> None:
        """Has a message delivered: late, twice, out of order, or never."""
        world, draw = self._world, self._random
        self.carried += 1
        if world.is_calm:
            world.after(MS // 10, deliver)
            return
        weather = world.weather
        if draw.random() < weather.lose:
            self.lost += 1
            return
        world.after(self._delay_ns(), deliver)
        if draw.random() < weather.double:
            self.doubled += 1
            world.after(self._delay_ns() * draw.choice((1, 3, 30)), deliver)

    def _delay_ns(self) -> int:
        return int(self._random.expovariate(1 / self._world.weather.delay_ms) * MS) + 1_000
