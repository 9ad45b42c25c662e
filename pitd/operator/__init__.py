"""The command `pitctl`: what an operator sees of a running daemon, and what a person may do to it.

`arguments` has the words that it understands; what a command needs is loaded when it is run.
"""

from __future__ import annotations

from .arguments import parser
from .codes import NO_ANSWER, NOT_READY, READY
from .command import main

__all__ = ["NOT_READY", "NO_ANSWER", "READY", "main", "parser"]
