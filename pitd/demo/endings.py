"""How the demo ends: well, not adding up, in trouble, or stopped; each with its last words and exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

import pit

from .processes import Terminated, Trouble, raise_on_sigterm
from .show import Check, Show, Table

T = TypeVar("T")

STOPPED = 130
TERMINATED = 143


def attempt(shown: Show, play: Callable[[], T]) -> T | int:
    """What the play came to; or the exit code, when it could not be played to its end."""
    raise_on_sigterm()
    try:
        return play()
    except (Trouble, pit.PitError) as trouble:
        shown.close()
        print(f"pitd demo: {trouble}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, Terminated) as end:
        shown.close()
        print("pitd demo: stopped; all its processes have ended", file=sys.stderr)
        return STOPPED if isinstance(end, KeyboardInterrupt) else TERMINATED
    except BaseException:
        shown.close()
        raise


def conclude(shown: Show, tables: Sequence[Table], checks: Sequence[Check], *, as_json: bool) -> int:
    """Shows what it all came to; 0 if every check is good, else 1."""
    shown.closing(tables, checks)
    shown.close()
    failed = sum(not check.ok for check in checks)
    if as_json:
        print(json.dumps(_summary(tables, checks), indent=1))
    else:
        print(f"{failed} of {len(checks)} checks FAILED" if failed else "everything adds up")
    return 1 if failed else 0


def _summary(tables: Sequence[Table], checks: Sequence[Check]) -> dict[str, object]:
    return {
        "adds_up": all(check.ok for check in checks),
        "tables": {table.title: [dict(zip(table.header, row, strict=True)) for row in table.rows] for table in tables},
        "checks": [{"text": check.text, "ok": check.ok} for check in checks],
    }
