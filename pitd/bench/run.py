"""A whole benchmark: rounds of the daemon and the bare wire in turns, and what they come to."""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Any, NoReturn

import msgspec

from .. import __version__
from .figures import Figures, Measured, Ratio, figures, percentile, ratio, table
from .load import Done, Part
from .stage import Client, Stage, all_do

_WARM_S = 0.5
_INTERRUPTED = 130


class Round:
    """What one round has measured."""

    def __init__(self) -> None:
        self.echo: Measured | None = None
        self.check: Measured | None = None
        self.check_sent: Measured | None = None
        self.order: Measured | None = None
        self.commands_per_s = 0.0


class Outcome:
    """All that has been measured so far."""

    def __init__(self) -> None:
        self.rounds: list[Round] = []
        self.refused: Counter[str] = Counter()
        self.left_open = 0
        self.is_whole = False


def run(options: argparse.Namespace) -> int:
    """Measures, and prints it; interrupted, what was measured until then."""
    signal.signal(signal.SIGTERM, _interrupt)
    outcome = Outcome()
    with contextlib.suppress(KeyboardInterrupt), Stage() as stage:
        _measure(options, stage, outcome)
        outcome.is_whole = True
    _tell(options, outcome)
    return 0 if outcome.is_whole else _INTERRUPTED


def _measure(options: argparse.Namespace, stage: Stage, outcome: Outcome) -> None:
    is_own = options.daemon_at is None
    endpoint = stage.start_daemon(durability=options.durability) if is_own else options.daemon_at
    echo_at = stage.start_echo(over_tcp=endpoint.startswith("tcp://"))
    underlying, _, settlement = options.instrument.partition("/")
    clients = [
        Client(
            stage,
            Part(
                name=f"{options.name}{n + 1}",
                endpoint=endpoint,
                echo_at=echo_at,
                account=options.account or "bench",
                underlying=underlying,
                settlement=settlement,
                symbol="" if settlement else options.instrument,
                quantity=options.quantity,
                price=options.price,
                steps=options.steps,
                commit=options.commit,
                in_flight=options.in_flight,
                interval_s=options.pace,
                tidies=not is_own,
            ),
        )
        for n in range(options.clients)
    ]
    if is_own:  # an account of others is not used more than was asked for
        all_do(clients, "echo", _WARM_S, options.pace)
        all_do(clients, "trade", _WARM_S, options.pace)
    for _ in range(options.rounds):
        now = Round()
        kinds = ["echo", "trade"]
        random.shuffle(kinds)
        for kind in kinds:
            dones = all_do(clients, kind, options.duration, options.pace)
            if kind == "echo":
                now.echo = _measured(dones, "check_sent" if options.pace else "check")
                continue
            now.check = _measured(dones, "check")
            now.check_sent = _measured(dones, "check_sent") if options.pace else None
            now.order = _measured(dones, "order") if options.commit != "none" else None
            now.commands_per_s = sum(done.commands / done.took_s for done in dones if done.took_s)
            outcome.left_open = sum(done.left_open for done in dones)
            for done in dones:
                outcome.refused.update(done.refused)
        outcome.rounds.append(now)


def _measured(dones: Sequence[Done], what: str) -> Measured:
    """What all clients have measured together."""
    times: array[float] = array("d")
    rate = 0.0
    for done in dones:
        own: array[float] = array("d")
        own.frombytes(getattr(done, what))
        times.extend(own)
        rate += len(own) / done.took_s if done.took_s else 0.0
    return Measured(times, rate)


# ---------------------------------------------------------------------------------------------- telling it


def _rows(outcome: Outcome) -> dict[str, Figures]:
    """What there is to tell, by name, the bare wire first."""
    found: dict[str, Figures] = {}
    for name in ("echo", "check", "check_sent", "order"):
        measured = [each for each in (getattr(one, name) for one in outcome.rounds) if each is not None]
        if measured and any(len(each.times) for each in measured):
            found[name] = figures(measured)
    return found


def _ratios(options: argparse.Namespace, outcome: Outcome) -> dict[str, Ratio]:
    """The daemon beside the bare wire, by what was measured in the same round."""
    service = "check_sent" if options.pace else "check"

    def pairs(what: str, share: float) -> list[tuple[float, float]]:
        found = [(getattr(one, what), one.echo) for one in outcome.rounds]
        return [(percentile(one.times, share), percentile(echo.times, share)) for one, echo in found if one and echo]

    spread = [
        (high / low, echo_high / echo_low)
        for (high, echo_high), (low, echo_low) in zip(pairs(service, 0.99), pairs(service, 0.5), strict=True)
        if low and echo_low
    ]
    found = {
        "check_p50": ratio(pairs(service, 0.5)),
        "check_p99": ratio(pairs(service, 0.99)),
        "check_p99_to_p50": ratio(spread),
    }
    if not options.pace:
        found["commands_per_s"] = ratio((one.commands_per_s, one.echo.rate) for one in outcome.rounds if one.echo)
        found["orders_per_s"] = ratio(
            (one.check.rate, one.echo.rate) for one in outcome.rounds if one.check and one.echo
        )
    return {name: each for name, each in found.items() if each is not None}


_NAMES = {"echo": "bare echo", "check": "check", "check_sent": "check, once sent", "order": "order with commit"}
_RATIOS = {
    "check_p50": "a check's p50",
    "check_p99": "a check's p99",
    "check_p99_to_p50": "its p99 by its p50",
    "commands_per_s": "commands a second",
    "orders_per_s": "orders a second",
}


def _tell(options: argparse.Namespace, outcome: Outcome) -> None:
    rows, ratios = _rows(outcome), _ratios(options, outcome)
    if options.json:
        print(msgspec.json.encode(_object(options, outcome, rows, ratios)).decode())
        return
    print(_headline(options, len(outcome.rounds)))
    if not outcome.is_whole:
        print("interrupted: what was measured until then" if rows else "interrupted before a round was done")
    if rows:
        named = {"check": "check, from due"} if options.pace else {}
        print(table([(named.get(name, _NAMES[name]), each) for name, each in rows.items()]))
        print("beside the echo, median of the rounds:")
        for name, each in ratios.items():
            print(f"  {_RATIOS[name]:<18}  {each}")
    for why, count in outcome.refused.most_common(5):
        print(f"refused {count} orders by {why}", file=sys.stderr)
    if outcome.left_open:
        why = "they are still working: see pitctl close-order"
        print(f"{outcome.left_open} orders of account {options.account} could not be closed; {why}", file=sys.stderr)


def _headline(options: argparse.Namespace, rounds: int) -> str:
    loop = f"open loop, one every {options.pace * 1e3:g} ms each" if options.pace else "closed loop"
    commit = {"none": "no commit (rolled back, not timed)"}.get(options.commit, f"commit {options.commit}")
    where = f'journal "{options.durability}"' if options.daemon_at is None else options.daemon_at
    clients = f"{options.clients} client{'s' if options.clients > 1 else ''}, {options.in_flight} in flight each"
    steps = "one step" if options.steps == 1 else "two steps"
    return f"{clients}, {loop}; {steps}, {commit}; {rounds} rounds of {options.duration:g} s; {where}"


def _object(
    options: argparse.Namespace, outcome: Outcome, rows: dict[str, Figures], ratios: dict[str, Ratio]
) -> dict[str, Any]:
    asked = ("clients", "in_flight", "pace", "steps", "commit", "duration", "durability", "account", "instrument")
    return {
        "version": __version__,
        "endpoint": options.daemon_at,
        "cores": os.cpu_count(),
        "load": list(os.getloadavg()),
        "settings": {name: getattr(options, name) for name in asked},
        "rounds": len(outcome.rounds),
        "is_whole": outcome.is_whole,
        **rows,
        "commands_per_s": [round(one.commands_per_s, 1) for one in outcome.rounds],
        "ratios": ratios,
        "refused": dict(outcome.refused),
        "left_open": outcome.left_open,
    }


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt
