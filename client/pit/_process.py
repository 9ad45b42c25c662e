"""Which process this is, without asking the kernel at every call: a fork is noted as it happens."""

from __future__ import annotations

import os

pid = os.getpid()
"""Read it as `_process.pid`: it is another one in a forked child."""


def _note() -> None:
    global pid
    pid = os.getpid()


os.register_at_fork(after_in_child=_note)
