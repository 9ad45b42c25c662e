"""The configurations of a run, and a policy that breaks when told: its orders of quantity 13 can't be carried out."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import cache
from typing import Any, ClassVar, Literal, NamedTuple

import msgspec

import pit
from pitd import bootstrap, config
from pitd.core.engine import Engine
from pitd.core.policy import PASS, Attempt, Policy, Verdict

ACCOUNTS = ("alpha", "beta", "gamma")
DESK = ("alpha", "gamma")
"""The accounts of the one group there is."""

KILLER = "killer"
"""The client with the cancel role."""

CANCEL_NS = 700_000_000
"""So long an owner has to confirm a cancel before others are asked."""

LEASE_MOST_NS = 5_000_000_000
UNLUCKY = Decimal(13)
WALL = 20_000
"""So much faster the clock on the wall goes: a day ends every few seconds."""
PAIR = pit.Instrument("AAPL", "USD")
MULTIPLIERS = {PAIR: Decimal(1), "ESZ6": Decimal(5), "XBT": Decimal(100)}
"""What one unit of each instrument stands for. XBT is inverse, and counted in BTC."""


def day_end_ns(now_ns: int) -> int:
    """When the day that it is ends, in the world's own time: at 17:00."""
    day_ns, at_ns = 86_400 * 10**9, 17 * 3600 * 10**9
    return -(-((now_ns * WALL - at_ns) // day_ns * day_ns + day_ns + at_ns) // WALL)


ALL_IN_USD = "all, in USD"
"""What stands for the asset of a limit that counts every asset in the firm's currency."""

IN_USD = {"USD": Decimal(1), "BTC": Decimal(55)}
"""What a unit of each counts there: the rate with its haircut."""


class Cap(NamedTuple):
    """A limit, as the model knows it: each account's, each client's, the desk's or the firm's, in one asset."""

    name: str
    of: str
    asset: str
    most: Decimal
    then: str = "halt"

    def scope(self, account: str, client: str = "") -> str | None:
        """The counter that an account's orders or reports go to; None where the limit is not for it."""
        if self.of == "desk":
            return "group desk" if account in DESK else None
        if self.of == "client":
            return f"client {client}"
        return "firm" if self.of == "firm" else f"account {account}"

    def counts(self, asset: str) -> Decimal:
        """How much of a unit of that asset it counts."""
        return IN_USD[asset] if self.asset == ALL_IN_USD else Decimal(self.asset == asset)


OPEN = {
    "wide": (
        Cap("open_usd", "account", "USD", Decimal(4000)),
        Cap("open_btc", "account", "BTC", Decimal(12)),
        Cap("open_desk", "desk", "USD", Decimal(6000)),
        Cap("open_firm", "firm", "USD", Decimal(8000)),
    ),
    "strict": (
        Cap("open_usd", "account", "USD", Decimal(4000)),
        Cap("open_client", "client", "USD", Decimal(3500)),
        Cap("open_firm", "firm", "USD", Decimal(9000)),
    ),
    "tight": (
        Cap("open_usd", "account", "USD", Decimal(2500)),
        Cap("open_btc", "account", "BTC", Decimal(8)),
        Cap("open_firm", "firm", "USD", Decimal(4500)),
        Cap("open_all", "firm", ALL_IN_USD, Decimal(4600)),
    ),
}
"""What may be open at once, by configuration."""

LOSS = {
    "wide": (Cap("day_loss", "account", "USD", Decimal(150)), Cap("desk_loss", "desk", "USD", Decimal(160), "reduce")),
    "strict": (Cap("day_loss", "account", "USD", Decimal(150)),),
    "tight": (Cap("day_loss", "account", "USD", Decimal(150)), Cap("firm_loss", "firm", "USD", Decimal(400), "reduce")),
}
"""What may be lost, by configuration."""

FUNDS = {"tight": "track", "strict": "enforce"}
"""The configurations that count what orders would pay with, and whether they refuse what can't be paid."""

STRICT = {"gross": 3500, "net": 2500, "pos": 30, "turn": 8000, "few": 5}
"""What the limits allow that only the strict configuration has."""

SHARE_PERCENT, SHARE_LEAST, TURN_NS = 80, 4000, 2_000_000_000

RATE = (("msg_rate", "account", 12), ("firm_rate", "firm", 30))
WINDOW_NS = 1_000_000_000

_STRICT = """
gross = {{ control = "exposure_limit", each = "account", settlement = "USD", max_gross = {gross}, max_net = {net} }}
part = {{ control = "concentration_limit", over = "firm", settlement = "USD", max_percent = {most}, min_gross = {low} }}
pos = {{ control = "position_limit", each = "account+instrument", settlement = "USD", max_quantity = {pos} }}
turn = {{ control = "turnover_limit", each = "account", settlement = "USD", max_notional = {turn}, window = "2s" }}
few = {{ control = "open_order_limit", each = "account", max_orders = {few} }}
""".format(**STRICT, most=SHARE_PERCENT, low=SHARE_LEAST)

_BY = {
    "account": 'each = "account"',
    "client": 'each = "client"',
    "desk": 'over = { group = "desk" }',
    "firm": 'over = "firm"',
}
_TEXT = """
[gate]
lease = "1s"
min_lease = "200ms"
max_lease = "5s"
cancel_within = "700ms"
uncovered = "allow"
unknown_accounts = "allow"
[calendar]
start_of_day = "17:00"
[currency]
firm = "USD"
rates.BTC = {{ rate = "50", haircut_percent = "10" }}
[clients."*"]
roles = ["trade", "report"]

[clients.ops]
roles = ["trade", "operate"]
[clients.feed]
roles = ["quote"]
[clients.drops]
roles = ["trade", "report"]
[clients.killer]
roles = ["trade", "cancel"]
[accounts]
alpha = {{ group = "desk" }}
gamma = {{ group = "desk" }}
[instruments.ESZ6]
underlying = "ES"
settlement = "USD"
kind = "linear"
multiplier = "5"
[instruments.XBT]
settlement = "BTC"
kind = "inverse"
multiplier = "100"
[limits]
size = {{ control = "order_size_limit", each = "account", settlement = "USD", max_notional = "2000" }}
{limits}
"""


def _limits(name: str) -> str:
    lines = [_line(cap, "pnl_kill_switch", "max_loss") for cap in LOSS[name]]
    lines += [_line(cap, "open_order_notional", "max_notional") for cap in OPEN[name]]
    for rate, of, most in RATE:
        lines.append(f'{rate} = {{ control = "rate_limit", {_BY[of]}, max_orders = {most}, window = "1s" }}')
    if name in FUNDS:
        lines.append(f'funds = {{ control = "spot_funds", mode = "{FUNDS[name]}" }}')
    if name == "strict":
        lines.append(_STRICT)
    return "\n".join(lines)


def _line(cap: Cap, control: str, key: str) -> str:
    within = 'currency = "firm"' if cap.asset == ALL_IN_USD else f'settlement = "{cap.asset}"'
    then = f', then = "{cap.then}"' if cap.then != "halt" else ""
    return f'{cap.name} = {{ control = "{control}", {_BY[cap.of]}, {within}, {key} = "{cap.most}"{then} }}'


@cache
def variant(name: str, *, durability: Literal["process", "power"] = "process") -> config.Config:
    """A configuration by name. Its segments are short, its snapshots frequent, and it keeps little history."""
    read = config.parse(_TEXT.format(limits=_limits(name)), name)
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
    return bootstrap.build_engine(read, [Brittle(), Flaky()])


class Touched(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    quantity: Decimal


def is_out_of_order(now_ns: int) -> bool:
    """Whether the flaky policy can say nothing at that moment: one second of seven."""
    return now_ns // 10**9 % 7 == 3


class Flaky(Policy):
    """Looks at marks and positions when they move, and can't at times: then only what reduces a position may pass."""

    id: ClassVar[str] = "flaky"

    def __init__(self) -> None:
        self.asks_for_unrealised = True

    def revalued(self, now_ns: int, group_of: Callable[[str], str | None]) -> Verdict:
        if is_out_of_order(now_ns):
            raise RuntimeError("out of order")
        return PASS


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
