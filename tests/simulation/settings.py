"""The configurations of a run, and a policy that breaks when told: its orders of quantity 13 can't be carried out."""

from __future__ import annotations

from decimal import Decimal
from functools import cache
from typing import Any, ClassVar, Literal

import msgspec

from pitd import bootstrap, config
from pitd.core.engine import Engine
from pitd.core.policy import PASS, Attempt, Policy, Verdict

ACCOUNTS = ("alpha", "beta")
MAX_LOSS = Decimal(150)
MAX_ORDERS = 8
WINDOW_NS = 1_000_000_000
LEASE_MOST_NS = 5_000_000_000
MAX_OPEN = {"wide": Decimal(4000), "tight": Decimal(2500)}
"""The notional that may be open for each account, by configuration."""
UNLUCKY = Decimal(13)

_TEXT = """
[gate]
lease = "1s"
min_lease = "200ms"
max_lease = "5s"
[clients.ops]
roles = ["operate"]
[clients.drops]
roles = ["report"]
[limits]
day_loss = {{ control = "pnl_kill_switch", each = "account", settlement = "USD", max_loss = "150" }}
msg_rate = {{ control = "rate_limit", each = "account", max_orders = 8, window = "1s" }}
size = {{ control = "order_size_limit", each = "account", settlement = "USD", max_notional = "2000" }}
open_usd = {{ control = "open_order_notional", each = "account", settlement = "USD", max_notional = "{max_open}" }}
"""


@cache
def variant(name: str, *, durability: Literal["process", "power"] = "process") -> config.Config:
    """A configuration by name. Its segments are short, its snapshots frequent, and it keeps little history."""
    read = config.parse(_TEXT.format(max_open=MAX_OPEN[name]), name)
    journal = msgspec.structs.replace(
        read.journal,
        directory="journal",
        durability=durability,
        segment_rows=60,
        snapshot_rows=25,
        keep_ns=0 if name == "tight" else read.journal.keep_ns,
        reserve_bytes=4_096,
    )
    daemon = msgspec.structs.replace(read.daemon, endpoint="ipc:///simulated", batch=8)
    bounds = msgspec.structs.replace(read.gate.bounds, leases_per_entry=2)
    gate = msgspec.structs.replace(read.gate, bounds=bounds)
    return msgspec.structs.replace(read, journal=journal, daemon=daemon, gate=gate)


def build_engine(read: config.Config) -> Engine:
    return bootstrap.build_engine(read, [Brittle()])


class Touched(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    quantity: Decimal


class Brittle(Policy):
    """Accepts every order and breaks in carrying out an unlucky one, when the others' effects are done already."""

    id: ClassVar[str] = "brittle"
    effect_types = (Touched,)

    def main(self, attempt: Attempt) -> Verdict:
        quantity = attempt.order.quantity
        return Verdict((Touched(quantity),)) if quantity == UNLUCKY else PASS

    def apply(self, effect: Any) -> None:
        raise RuntimeError("out of luck")

    def undo(self, effect: Any) -> None:
        raise AssertionError("nothing was ever held here")
