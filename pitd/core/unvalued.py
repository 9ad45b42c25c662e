"""What is raised where the worth of something cannot be told."""

from __future__ import annotations

from pit.types import RejectCode


class Unvalued(Exception):
    """What an order is worth cannot be told; `code` and the message say why. The engine turns it into a reject."""

    def __init__(self, code: RejectCode, message: str) -> None:
        super().__init__(message)
        self.code = code
