"""One event a line on standard error, as `name key=value`: journald and people can both read it."""

from __future__ import annotations

import logging
import sys

_log = logging.getLogger("pitd")


def setup(level: str) -> None:
    """Sends events to standard error with a time, or without one where journald stamps them."""
    import os

    stamp = "" if os.environ.get("JOURNAL_STREAM") else "%(asctime)s "
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(stamp + "%(levelname)s %(message)s"))
    _log.handlers = [handler]
    _log.setLevel(level.upper())
    _log.propagate = False


def info(event: str, **facts: object) -> None:
    if _log.isEnabledFor(logging.INFO):
        _log.info(_line(event, facts))


def warning(event: str, **facts: object) -> None:
    _log.warning(_line(event, facts))


def error(event: str, **facts: object) -> None:
    _log.error(_line(event, facts))


def debug(event: str, **facts: object) -> None:
    if _log.isEnabledFor(logging.DEBUG):
        _log.debug(_line(event, facts))


def _line(event: str, facts: dict[str, object]) -> str:
    return " ".join([event, *(f"{name}={_shown(value)}" for name, value in facts.items())])


def _shown(value: object) -> str:
    text = str(value)
    return repr(text) if not text or any(each.isspace() or each in "\"'=" for each in text) else text
