"""Times of day and IANA zones as people write them."""

from __future__ import annotations

import re
import zoneinfo
from datetime import time


def is_known(zone: str) -> bool:
    """Whether there are rules for that zone on this machine, or in the tzdata package."""
    try:
        zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def all_names() -> list[str]:
    return sorted(zoneinfo.available_timezones())


def time_of_day(written: str) -> time:
    """ "17:00" or "17:00:30". Raises ValueError."""
    if not re.fullmatch(r"\d\d:\d\d(:\d\d)?", written, re.ASCII):
        raise ValueError(written)
    return time.fromisoformat(written)
