"""The engine of this process alone: nobody brings it back when a call breaks off in it, or waits for itself."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from builders import order

import pit
import pitd.local
from pitd.core.policy import PASS, Attempt, Policy, Verdict


class Mark(msgspec.Struct, frozen=True, array_like=True, tag=True):
    account: str


class Interrupted(Policy):
    """Ctrl-C comes while its effect is carried out."""

    id = "interrupted"
    effect_types = (Mark,)

    def main(self, attempt: Attempt) -> Verdict:
        return Verdict(effects=(Mark(attempt.order.account),))

    def apply(self, effect: Any) -> None:
        raise KeyboardInterrupt


class AsksBack(Policy):
    """Uses the engine in the middle of its own call, as a signal handler might."""

    id = "asks_back"
    said: str = ""
    engine: pit.Engine

    def main(self, attempt: Attempt) -> Verdict:
        try:
            self.engine.ping()
        except pit.PitError as trouble:
            self.said = repr(trouble)
        return PASS


def test_an_engine_that_a_signal_broke_off_in_the_middle_answers_no_more() -> None:
    engine = pitd.local.connect({}, policies=[Interrupted()])
    with pytest.raises(KeyboardInterrupt):
        engine.execute_pre_trade(order())
    with pytest.raises(pit.Unavailable, match="broken off"):
        engine.execute_pre_trade(order())
    with pytest.raises(pit.Unavailable, match="broken off"):
        engine.open_orders()
    engine.close()


def test_a_call_within_a_call_is_refused_and_waits_for_nobody() -> None:
    policy = AsksBack()
    with pitd.local.connect({}, policies=[policy]) as engine:
        policy.engine = engine
        assert engine.execute_pre_trade(order())
        assert "interrupts a call" in policy.said
        assert engine.ping()
