"""For how many connections this process has descriptors, beside what it needs itself."""

from __future__ import annotations

import contextlib
import resource

from . import log

_KEPT_BACK = 128
"""For the journal and whatever else is opened meanwhile: without them it could not go on."""

_STRANGERS = 256
"""So many beside those of sessions, and of as many that only ask, may be on their way in or out."""


def room_for(max_sessions: int) -> int:
    """How many connections may be open at once: those of every session, as many that only ask, and some more.

    Each takes two descriptors, its own and that of its process. More are asked for where they are not enough; fewer
    connections it is where they are not given.
    """
    wanted = 2 * max_sessions + _STRANGERS
    needed = 2 * wanted + _KEPT_BACK
    given, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if given < needed and given < most:
        with contextlib.suppress(OSError, ValueError):  # a sandbox may forbid it
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(needed, most), most))
            given = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    room = max(1, min(wanted, (given - _KEPT_BACK) // 2))
    if room < wanted:
        log.warning("daemon.few_descriptors", limit=given, connections=room, wanted=wanted, needed=needed)
    return room
