"""How a command of pitctl ends: its exit codes."""

from __future__ import annotations

READY, NOT_READY, NO_ANSWER = 0, 1, 2
"""What `isready` says by its exit code. Every other command ends with 2, too, where no daemon answers."""

SAID_NO = 1
USAGE = 64
NOT_ALLOWED = 77
INTERRUPTED = 130


class Misused(Exception):
    """Options that are fine one by one, and can't be meant together."""
