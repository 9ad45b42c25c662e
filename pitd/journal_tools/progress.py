"""How far long work is, on standard error."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable


class Progress:
    """Says on standard error how far long work is: on a terminal, or where it is asked for."""

    def __init__(self, what: str, options: argparse.Namespace, total: Callable[[], int]) -> None:
        self._what = what
        self._is_terminal = sys.stderr.isatty()
        self._is_shown = options.progress or (self._is_terminal and not getattr(options, "quiet", False))
        self._total = total() if self._is_shown else 0
        self._began = time.monotonic()
        self._next = self._began + (0.5 if self._is_terminal else 0.0)
        self._width = 0

    def __enter__(self) -> Progress:
        return self

    def at(self, done: int) -> None:
        now = time.monotonic()
        if not self._is_shown or now < self._next:
            return
        self._next = now + (0.2 if self._is_terminal else 1.0)
        share = f"{min(100, 100 * done // self._total)} %, " if self._total else ""
        told = f"{self._what}: {share}{done:,} rows, {done / (now - self._began):,.0f} rows/s"
        if self._is_terminal:
            print(f"\r{told:<{self._width}}", end="", file=sys.stderr, flush=True)
            self._width = len(told)
        else:
            print(told, file=sys.stderr, flush=True)

    def __exit__(self, *trouble: object) -> None:
        if self._width:
            print(f"\r{'':<{self._width}}\r", end="", file=sys.stderr, flush=True)
