"""The one place where the parts are put together."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from .clock import Clock
from .config import CONTROLS, Config
from .core.engine import Engine
from .core.instruments import Instruments
from .core.policy import Policy
from .policies.open_order_notional import OpenNotional, OpenOrderNotional
from .policies.order_size_limit import OrderSize, OrderSizeLimit
from .policies.order_validation import OrderValidation
from .policies.pnl_kill_switch import PnlBound, PnlKillSwitch
from .policies.rate_limit import Rate, RateLimit
from .sequencer import Journal, Sequencer


def build_policies(config: Config) -> list[Policy]:
    """The policies that a configuration asks for: validation first, then each control that has a limit."""
    cover = config.gate.uncovered == "reject"
    pnl = [limit for limit in config.limits if isinstance(limit, PnlBound)]
    rates = [limit for limit in config.limits if isinstance(limit, Rate)]
    sizes = [limit for limit in config.limits if isinstance(limit, OrderSize)]
    notionals = [limit for limit in config.limits if isinstance(limit, OpenNotional)]
    policies: list[Policy] = [OrderValidation()]
    if pnl:
        policies.append(PnlKillSwitch(pnl, cover=cover))
    if rates:
        policies.append(RateLimit(rates))
    if sizes:
        policies.append(OrderSizeLimit(sizes, cover=cover))
    if notionals:
        policies.append(OpenOrderNotional(notionals, cover=cover))
    return policies


def build_engine(config: Config, policies: Sequence[Policy] = ()) -> Engine:
    """An engine with the configured policies, then the given ones."""
    engine = Engine(
        policies=[*build_policies(config), *policies],
        instruments=Instruments(config.instruments),
        groups=config.groups,
        bounds=config.gate.bounds,
    )
    engine.pipeline.rank_limits([limit.name for limit in config.limits])
    return engine


def build_sequencer(
    config: Config,
    clock: Clock,
    journal: Journal | None = None,
    policies: Sequence[Policy] = (),
    *,
    away_ns: int | None = None,
) -> Sequencer:
    """An engine behind its sequencer, with the effective configuration as its first entry."""
    sequencer = Sequencer(build_engine(config, policies), clock, journal, away_ns=away_ns)
    sequencer.configure(settings_text(config), "pitd", f"start with {config.source}")
    return sequencer


def settings_text(config: Config) -> str:
    """The effective configuration as JSON, the same for the same configuration."""
    return msgspec.json.encode(msgspec.to_builtins(config, order="deterministic"), order="deterministic").decode()


__all__ = ["CONTROLS", "build_engine", "build_policies", "build_sequencer", "settings_text"]
