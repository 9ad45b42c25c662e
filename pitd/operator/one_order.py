"""Commands of pitctl about one order: what became of it, and how it was decided."""

from __future__ import annotations

import argparse

import msgspec

from pit import wire
from pit.types import Outcome

from ..core.orders import ENDED
from ..journal_tools.words import printable
from .asking import account_of, connected, expect, searched, status_of
from .output import plain, put
from .screen import Screen


def outcome(options: argparse.Namespace) -> int:
    with connected(options) as engine:
        account = account_of(engine, options)
        outcome = searched(engine, options, lambda: engine.outcome(account, options.order))
        seq = status_of(engine).seq
    if options.json:
        put({"seq": seq, "outcome": plain(outcome)})
    else:
        _say_outcome(outcome)
        Screen().read_at(seq, seq)
    return 0


def _say_outcome(outcome: Outcome) -> None:
    by = f", ended by {outcome.ended_by}" if outcome.ended_by else ""
    because = f" ({printable(outcome.reason)})" if outcome.reason else ""
    print(f"order {outcome.order_id} of account {outcome.account}: {outcome.state}{by}{because}")
    left = "" if outcome.state in ENDED else f", open {outcome.open_quantity:f}"
    print(f"  filled {outcome.filled_quantity:f}{left}")
    if outcome.venue_order_id:
        print(f"  at the venue: {outcome.venue_order_id}")
    if outcome.flags:
        print(f"  flags: {', '.join(outcome.flags)}")


def why(options: argparse.Namespace) -> int:
    with connected(options) as engine:
        query = wire.AskDecision(account_of(engine, options), options.order)
        decision = searched(engine, options, lambda: expect(engine, query, wire.DecisionIs))
    if options.json:
        put(
            plain(decision)
            | {"holds": [{"control": one, "effect": msgspec.json.decode(what)} for one, what in decision.holds]}
        )
        return 0
    Screen().decision(decision)
    if decision.outcome is not None:
        _say_outcome(decision.outcome)
    Screen().read_at(decision.seq, decision.seq)
    return 0
