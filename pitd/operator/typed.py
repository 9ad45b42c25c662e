"""Reads what a person types to pitctl: spans, moments, numbers of limits, parts of an adjustment."""

from __future__ import annotations

import argparse
import datetime
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo


def reason(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("say why, in a few words")
    return text


def date(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a date such as 2026-03-31 is wanted, not {text!r}") from None


def zone(text: str) -> ZoneInfo:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise argparse.ArgumentTypeError(f"no time zone {text!r} is known here; e.g. UTC or Europe/London") from None


def span(text: str) -> int:
    found = re.fullmatch(r"([1-9]\d{0,5})(s|m|h|d)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"an age with its unit is wanted, such as 90s, 10m or 2h, not {text!r}")
    return int(found[1]) * {"s": 1, "m": 60, "h": 3_600, "d": 86_400}[found[2]] * 1_000_000_000


def host_and_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise argparse.ArgumentTypeError(f"HOST:PORT is wanted, as in 127.0.0.1:9464, not {text!r}")
    return host.strip("[]"), int(port)


def code(text: str) -> str:
    import difflib

    from pit.types import RejectCode
    from pit.wire import FailureCode

    known = [*map(str, RejectCode), *map(str, FailureCode)]
    for each in known:
        if text.lower() == each.lower():
            return each
    near = difflib.get_close_matches(text, known, 3, 0.4)
    raise argparse.ArgumentTypeError(f"no code is named {text!r}; near to it: {', '.join(near) or ', '.join(known)}")


def whole(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"a whole number, 0 or above, is wanted, not {text!r}")
    return int(text)


def value(text: str) -> tuple[str, str]:
    """KEY=VALUE, as typed."""
    key, sign, written = text.partition("=")
    if not (key and sign and written):
        raise argparse.ArgumentTypeError(f"KEY=VALUE is wanted, such as max_quantity=500, not {text!r}")
    return key, written


def until(text: str) -> datetime.datetime:
    """A moment, as typed: a date and a time, in local time unless it says its zone; or a time, when it comes next."""
    now = datetime.datetime.now().astimezone()
    if re.fullmatch(r"\d{1,2}:\d\d", text):
        hour, minute = map(int, text.split(":"))
        if hour > 23 or minute > 59:
            raise argparse.ArgumentTypeError(f"there is no such time: {text!r}")
        moment = now.replace(hour=hour, minute=minute, second=0, microsecond=0, tzinfo=None)
        day = datetime.timedelta(days=0 if moment.astimezone() > now else 1)
        return (moment + day).astimezone()
    try:
        return datetime.datetime.fromisoformat(text).astimezone()
    except ValueError:
        why = f'a moment is wanted, such as 18:00 or "2026-11-24 18:00", not {text!r}'
        raise argparse.ArgumentTypeError(why) from None


class Part(NamedTuple):
    """One thing to be set or moved, as typed."""

    kind: str
    name: str
    is_move: bool
    number: str
    price: str | None

    def __str__(self) -> str:
        at = f" at {self.price}" if self.price else ""
        kind = "" if self.kind == "balance" else f"{self.kind} "
        return f"{kind}{self.name} {'moves by' if self.is_move else 'is'} {self.number}{at}"


def part(text: str) -> Part:
    """USD=5000, BTC+=-0.5, position:AAPL/USD=100@184.50 or pnl:USD=-60, as typed."""
    found = re.fullmatch(r"(?:(balance|position|pnl):)?([^=]+?)(\+?=)([^@=]+)(?:@([^@]+))?", text)
    if found is None or (found[5] and found[1] != "position") or (not found[1] and ":" in found[2]):
        raise argparse.ArgumentTypeError(
            "USD=5000 or USD+=-20.5 is wanted (a balance), position:AAPL/USD=100@184.50 or pnl:USD=-60, not "
            f"{text[:80]!r}"
        )
    return Part(found[1] or "balance", found[2], found[3] == "+=", found[4], found[5])
