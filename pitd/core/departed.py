"""What stands for a policy whose code is no longer there: it keeps nothing, and lets what it had done be read."""

from __future__ import annotations

from typing import Any

from .policy import Policy


class Departed(Policy):
    """Carries an old history's effects out by doing nothing: what that policy knew goes with it. Orders that are still
    open under it are the caller's to look at.
    """

    id = "departed"
    effect_types = (Any,)
    is_own = True
    is_idle = True

    def __init__(self, id: str) -> None:
        self.id = id  # type: ignore[misc]  # one class stands for many

    def apply(self, effect: Any) -> None:
        """Nothing is kept."""

    def undo(self, effect: Any) -> None:
        """Nothing is kept."""

    def load(self, saved: Any) -> None:
        """Nothing is kept."""
