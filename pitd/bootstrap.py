"""The one place where the parts are put together."""

from __future__ import annotations

import decimal
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from . import config as config_module
from . import own_policies
from .calendar import Calendar
from .clock import Clock, SystemClock
from .config import CONTROLS, Config
from .core.engine import Engine, Setup, exact_context
from .core.entry import Configured
from .core.overrides import Numbers
from .core.policy import Policy
from .errors import ConfigError
from .journal import SegmentJournal
from .limit_terms import LimitTerms, with_numbers
from .policies.concentration_limit import Concentration, ConcentrationLimit
from .policies.duplicate_order import DuplicateOrder, Duplicates
from .policies.exposure_limit import ExposureBound, ExposureLimit
from .policies.instrument_rules import InstrumentRules, Rules
from .policies.message_rate import MessageRate, Messages
from .policies.open_order_limit import OpenOrderLimit, OpenOrders
from .policies.open_order_notional import OpenNotional, OpenOrderNotional
from .policies.order_size_limit import OrderSize, OrderSizeLimit
from .policies.order_validation import OrderValidation
from .policies.pnl_kill_switch import PnlBound, PnlKillSwitch
from .policies.position_limit import PositionBound, PositionLimit
from .policies.price_collar import Collar, PriceCollar
from .policies.rate_limit import Rate, RateLimit
from .policies.repeated_execution import RepeatedExecution, Repeats
from .policies.self_trade import SelfTrade, SelfTrades
from .policies.spot_funds import SpotFunds, SpotFundsPolicy
from .policies.turnover_limit import Turnover, TurnoverLimit
from .recovery import Progress, recover
from .sequencer import AWAY_NS, Journal, Sequencer


def build_policies(config: Config, running: Config | None = None) -> list[Policy]:
    """Validation first, then every control: one without limits is idle, and keeps what its history left behind. At the
    end those that are not pitd's own; for `running`, see `own_policies.made_for`.
    """
    cover = config.gate.uncovered == "reject"
    pnl = [limit for limit in config.limits if isinstance(limit, PnlBound)]
    rates = [limit for limit in config.limits if isinstance(limit, Rate)]
    sizes = [limit for limit in config.limits if isinstance(limit, OrderSize)]
    notionals = [limit for limit in config.limits if isinstance(limit, OpenNotional)]
    held = [limit for limit in config.limits if isinstance(limit, PositionBound)]
    counts = [limit for limit in config.limits if isinstance(limit, OpenOrders)]
    return [
        OrderValidation(),
        PnlKillSwitch(pnl, cover=cover),
        RateLimit(rates),
        OrderSizeLimit(sizes, cover=cover),
        OpenOrderNotional(notionals, cover=cover),
        PriceCollar([limit for limit in config.limits if isinstance(limit, Collar)]),
        DuplicateOrder([limit for limit in config.limits if isinstance(limit, Duplicates)]),
        RepeatedExecution([limit for limit in config.limits if isinstance(limit, Repeats)]),
        InstrumentRules([limit for limit in config.limits if isinstance(limit, Rules)]),
        SelfTrade([limit for limit in config.limits if isinstance(limit, SelfTrades)]),
        PositionLimit(held, cover=cover),
        OpenOrderLimit(counts),
        ExposureLimit([limit for limit in config.limits if isinstance(limit, ExposureBound)]),
        ConcentrationLimit([limit for limit in config.limits if isinstance(limit, Concentration)]),
        TurnoverLimit([limit for limit in config.limits if isinstance(limit, Turnover)], cover=cover),
        SpotFundsPolicy([limit for limit in config.limits if isinstance(limit, SpotFunds)], cover=cover),
        MessageRate([limit for limit in config.limits if isinstance(limit, Messages)]),
        *own_policies.made_for(
            config.policies, config.limits, cover=cover, instead=None if running is None else running.policies
        ),
    ]


def build_engine(config: Config, policies: Sequence[Policy] = ()) -> Engine:
    """An engine with the configured policies, then the given ones."""
    engine = blank_engine(policies)
    engine.configure(settings_text(config), tuple(config.instruments.values()), config.groups)
    return engine


def _setup(config: Config, policies: Sequence[Policy] = (), running: Config | None = None) -> Setup:
    def built(numbers: Numbers) -> list[Policy]:
        limits = with_numbers(config.limits, numbers)
        return [*build_policies(msgspec.structs.replace(config, limits=limits), running), *policies]

    def shadows(numbers: Numbers) -> frozenset[str]:
        return frozenset(limit.name for limit in with_numbers(config.limits, numbers) if limit.shadow)

    names, own_days = [limit.name for limit in config.limits], frozenset(config.day_rules())
    terms, bounds, sources = LimitTerms(config.limits, built), config.gate.bounds, config.pnl_sources()
    awaiting = frozenset(name for name, account in config.accounts.items() if account.requires_positions)
    return Setup(
        policies=built,
        terms=terms,
        limit_order=names,
        bounds=bounds,
        own_days=own_days,
        currency=config.currency,
        markets=frozenset(config.trading_hours()),
        declared=config.declared(),
        requires_positions=awaiting,
        shadows=shadows,
        reactions=config.reactions,
        pnl_sources=sources,
        currencies={name: each.currency for name, each in config.accounts.items() if each.currency is not None},
        clients=config.named_clients(),
    )


def blank_engine(policies: Sequence[Policy] = (), running: Config | None = None) -> Engine:
    """An engine that has no settings yet: a journal's own entries bring them. The code of policies that are not pitd's
    own is that of the configuration that is `running`; without one it is looked for where it was.
    """
    return Engine(setup_of=lambda settings: _setup(config_module.from_settings(settings), policies, running))


def build_sequencer(
    config: Config,
    clock: Clock,
    journal: Journal | None = None,
    policies: Sequence[Policy] = (),
    *,
    away_ns: int | None = None,
    epoch: bytes = b"",
) -> Sequencer:
    """An engine behind its sequencer, with the effective configuration as its first entry, or, where it gets the name
    of an epoch, behind the beginning of that.
    """
    sequencer = Sequencer(build_engine(config, policies), clock, journal, away_ns=away_ns)
    sequencer.calendar = Calendar(config)
    if epoch:
        sequencer.begin(epoch)
    sequencer.configure(configured(config, "pitd", f"start with {config.source}"))
    return sequencer


def build_daemon(
    config: Config,
    policies: Sequence[Policy] = (),
    *,
    clock_from: Callable[[int], Clock] = SystemClock,
    progress: Progress | None = None,
) -> tuple[Sequencer, SegmentJournal | None]:
    """The sequencer of a daemon as its journal left it, and the journal it goes on with (None where none is kept).

    `clock_from` makes a clock that goes on from a moment of engine time; `progress` hears how far recovery is. The
    journal's directory must be locked.
    Raises JournalDamaged, JournalFailed; ConfigError for a policy that can't be taken away yet.
    """
    if not config.journal.is_kept:
        return build_sequencer(config, clock_from(0), policies=policies, away_ns=AWAY_NS, epoch=os.urandom(8)), None
    with decimal.localcontext(exact_context()):
        found = recover(Path(config.journal.directory), lambda: blank_engine(policies, config), progress)
        in_use = own_policies.still_in_use(found.engine, config.policies)
        if in_use:
            raise ConfigError(f"{config.source}: {in_use}")
        journal = SegmentJournal(
            config.journal, found.journal or os.urandom(16), found.head, snapshot_seq=found.snapshot_seq
        )
        clock = clock_from(found.engine.now_ns)
        sequencer = Sequencer(found.engine, clock, journal, away_ns=AWAY_NS)
        sequencer.calendar = Calendar(config)
        sequencer.begin(os.urandom(8))
        sequencer.configure(configured(config, "pitd", f"start with {config.source}"))
        sequencer.release()
        journal.catch_up()
    return sequencer, journal


def configured(config: Config, author: str, reason: str, changes: tuple[str, ...] = ()) -> Configured:
    """The entry that puts a configuration into force; `changes` says in words what is different from before."""
    listed = tuple(config.instruments.values())
    return Configured(settings_text(config), author, reason, listed, config.groups, changes)


def settings_text(config: Config) -> str:
    """The effective configuration as JSON, the same for the same configuration."""
    return msgspec.json.encode(msgspec.to_builtins(config, order="deterministic"), order="deterministic").decode()


__all__ = ["CONTROLS", "build_daemon", "build_engine", "build_policies", "build_sequencer", "settings_text"]
