"""The ways to reach an engine that the conformance suite runs over, with the names and orders its tests use."""

from __future__ import annotations

import itertools
import time
from typing import Any

from conformance.driven import Driver
from daemon import PATIENCE_S, Daemon, until

import pit
from pitd import config
from pitd.clock import ManualClock
from pitd.local import LocalEngine

SETTINGS = """
[gate]
lease = "3s"
min_lease = "200ms"
max_lease = "60s"
cancel_within = "500ms"

[clients."*"]
roles = ["trade", "report"]

[clients.ops]
roles = ["trade", "report", "operate"]

[clients.clerk]
roles = ["report"]

[clients.quoter]
roles = ["quote"]

[clients.canceller]
roles = ["cancel"]

[clients.fix]
roles = ["gateway", "report"]

[calendar]
zone = "America/New_York"
start_of_day = "17:00"

[instruments.ESZ6]
underlying = "ES"
settlement = "USD"
kind = "linear"
multiplier = "50"
tick = "0.25"
lot = "1"

[limits.size]
control = "order_size_limit"
each = "account"
settlement = "USD"
max_quantity = "1000"

[limits.day_loss]
control = "pnl_kill_switch"
each = "account"
settlement = "USD"
max_loss = "1000"

[limits.pace]
control = "rate_limit"
each = "account"
instruments = ["PACED/USD"]
max_orders = 2
window = "1h"

[limits.trial]
control = "order_size_limit"
each = "account"
instruments = ["TRIED/USD"]
max_quantity = "5"
shadow = true

[limits.always]
control = "instrument_rules"
hours = ["00:00-00:00"]
zone = "Asia/Tokyo"

[limits.open_usd]
control = "open_order_notional"
each = "account"
settlement = "USD"
max_notional = "100000"
"""

READ = config.parse(SETTINGS)

_numbers = itertools.count(1)


AAPL = pit.Instrument("AAPL", "USD")
PACED = pit.Instrument("PACED", "USD")
TRIED = pit.Instrument("TRIED", "USD")
"""Under a shadow limit of 5 an order."""


class Gate:
    """One way to reach an engine. Names that a test uses are its own, so that tests can share a daemon."""

    checks_roles = True

    def __init__(self) -> None:
        self._mark = next(_numbers)
        self._engines: list[pit.Engine] = []

    def connect(self, name: str = "mm1") -> pit.Engine:
        """A client of that name; `ops` operates, `clerk` only reports, `fix` is a gateway, `quoter` quotes,
        `canceller` cancels for others, who trade and report.
        """
        engine = self._connect(name if name in ("ops", "clerk", "fix", "quoter", "canceller") else self.name(name))
        self._engines.append(engine)
        return engine

    def connect_read_only(self, name: str) -> pit.Engine:
        """One of that name that only asks."""
        engine = self._connect(name if name in ("ops", "clerk") else self.name(name), read_only=True)
        self._engines.append(engine)
        return engine

    def name(self, word: str) -> str:
        """A name that no other test uses."""
        return f"{word}-{self._mark}"

    def order(self, **words: Any) -> pit.Order:
        """A good order of this test's account; `words` say what is special about it."""
        good = {"account": self.name("alpha"), "instrument": AAPL, "side": "buy", "quantity": "10", "price": "100"}
        return pit.Order(**(good | words))

    def close(self) -> None:
        for engine in self._engines:
            engine.close()

    def pass_time(self, seconds: float) -> None:
        """Lets at least so much time go by for the engine."""
        raise NotImplementedError

    def _connect(self, name: str, *, read_only: bool = False) -> pit.Engine:
        raise NotImplementedError


class LocalGate(Gate):
    checks_roles = False  # who runs the engine in its own process may do everything with it

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock(1_000_000_000)
        self._local = LocalEngine(READ, clock=self.clock)

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def _connect(self, name: str, *, read_only: bool = False) -> pit.Engine:
        return self._local.connect(name, read_only=read_only)


class ZmqGate(Gate):
    def __init__(self, daemon: Daemon) -> None:
        super().__init__()
        self._daemon = daemon

    def pass_time(self, seconds: float) -> None:
        time.sleep(seconds)

    def _connect(self, name: str, *, read_only: bool = False) -> pit.Engine:
        return self._daemon.connect(name, read_only=read_only)


class AsyncLocalGate(LocalGate):
    def __init__(self) -> None:
        super().__init__()
        self._driver = Driver()

    def close(self) -> None:
        super().close()
        self._driver.close()

    def _connect(self, name: str, *, read_only: bool = False) -> pit.Engine:
        return self._driver.engine(self._local.connect_async(name, read_only=read_only))


class AsyncZmqGate(ZmqGate):
    def __init__(self, daemon: Daemon) -> None:
        super().__init__(daemon)
        self._driver = Driver()

    def close(self) -> None:
        super().close()
        self._driver.close()

    def _connect(self, name: str, *, read_only: bool = False) -> pit.Engine:
        connecting = pit.connect_async(name, self._daemon.endpoint, timeout_s=PATIENCE_S, read_only=read_only)
        return self._driver.engine(connecting)


def report_on(order: pit.Order, kind: str, **words: Any) -> pit.ExecutionReport:
    """What the venue says of an order; `words` say what is special about it."""
    said: dict[str, Any] = {"account": order.account, "kind": kind, "report_id": f"r-{kind}", "order_id": order.id}
    return pit.ExecutionReport(**(said | words))


def state_of(engine: pit.Engine, order: pit.Order) -> pit.OrderState:
    return engine.outcome(order.account, order.id).state


def until_state(engine: pit.Engine, order: pit.Order, state: pit.OrderState) -> None:
    until(lambda: state_of(engine, order) is state, f"order {order.id} to be {state}")


def open_ids(engine: pit.Engine) -> list[str]:
    return [each.order.id for each in engine.open_orders()]
