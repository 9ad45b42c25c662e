"""Says what a command of pitctl has read or done: an object for programs, words for people; and asks a person back."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

import pit
from pit import wire
from pit.types import AccountBalance

from ..journal_tools import objects
from ..journal_tools.words import printable
from .asking import status_of
from .screen import Screen


def put(value: Any) -> None:
    print(msgspec.json.encode(value).decode())


def plain(value: msgspec.Struct) -> dict[str, Any]:
    told: dict[str, Any] = objects.plain(value)
    told.pop("kind", None)
    return told


def line_object(line: Any) -> dict[str, Any]:
    told = plain(line)
    if isinstance(line, AccountBalance):
        told["available"] = objects.plain(line.available)
    if isinstance(line, wire.LimitSeen):
        told["distance"] = None if line.used is None else objects.plain(line.bound - line.used)
    return told


def shown(
    options: argparse.Namespace, pages: Sequence[Any], name: str, show: Callable[[Screen, list[Any]], None]
) -> int:
    """What pages hold, as one table or one object, with the rows that they were read at."""
    lines = [line for page in pages for line in getattr(page, name)]
    if options.json:
        put({"seq": pages[0].seq, "until_seq": pages[-1].seq, name: [line_object(line) for line in lines]})
        return 0
    screen = Screen()
    show(screen, lines)
    screen.read_at(pages[0].seq, pages[-1].seq)
    return 0


def status_object(status: wire.StatusIs) -> dict[str, Any]:
    told = plain(status)
    told["up_s"] = round(status.up_ns / 1e9, 3)
    told["states"] = {str(state): count for state, count in status.states}
    told["is_ready"] = not status.why_refusing
    del told["up_ns"]
    return told


def complain(why: str, code: int) -> int:
    print(f"pitctl: {printable(why)}", file=sys.stderr)
    return code


def is_agreed(options: argparse.Namespace, risk: str) -> bool:
    if options.yes or not risk:
        return True
    print(f"{printable(risk)} [y/N] ", end="", file=sys.stderr, flush=True)
    try:
        agreed = input().strip().lower() in ("y", "yes")
    except EOFError:
        print(file=sys.stderr)
        agreed = False
    if not agreed:
        print("nothing was changed (--yes does not ask)", file=sys.stderr)
    return agreed


def changed(options: argparse.Namespace, engine: pit.Engine, told: str) -> int:
    if options.json:
        seq = status_of(engine).seq
        put({"seq": seq, "done": told, "actor": options.name, "reason": options.reason})
    else:
        print(f"{told} (by {options.name}: {printable(options.reason)})")
    return 0
