"""A user's own policy passes a strict type checker. Not run: the gate checks the types."""

from __future__ import annotations

from typing import Any

import pit
import pitd.local
from pitd.clock import ManualClock
from pitd.core.policy import PASS, Attempt, Policy, Verdict


class NoNightTrading(Policy):
    """Nothing goes out in the first hour of engine time."""

    id = "no_night_trading"

    def start(self, attempt: Attempt) -> Verdict:
        if attempt.now_ns >= 3_600_000_000_000:
            return PASS
        why = pit.Reject(
            code=pit.RejectCode.EXCHANGE_CLOSED, policy=self.id, limit=self.id, scope="firm", reason="it is night"
        )
        return Verdict(rejects=(why,))

    def apply(self, effect: Any) -> None:
        raise AssertionError("it has none")


def connect() -> pit.Engine:
    return pitd.local.connect({"limits": {}}, "backtest", clock=ManualClock(), policies=[NoNightTrading()])
