"""A daemon for the tests of a file to share, and directories for those that need one of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import daemon as daemons
import pytest

LIMITS = """
[gate]
min_lease = "200ms"

[clients."*"]
roles = ["trade", "report"]

[clients.ops]
roles = ["trade", "report", "operate"]

[limits.size]
control = "order_size_limit"
each = "account"
settlement = "USD"
max_quantity = "1000"

[limits.open_usd]
control = "open_order_notional"
each = "account"
settlement = "USD"
max_notional = "100000"
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[daemons.Daemon]:
    """A daemon that the tests of one file share."""
    with daemons.running(LIMITS) as running:
        yield running


@pytest.fixture
def own_daemon() -> Iterator[daemons.Daemon]:
    """A daemon that a test may stop, freeze and kill."""
    with daemons.running(LIMITS) as running:
        yield running


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory whose path is short enough for a socket."""
    with daemons.folder() as folder:
        yield folder
