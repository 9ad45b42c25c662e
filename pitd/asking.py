"""Answers who asks what would be said to an order: with the moment, the prices and the bounds that it would meet."""

from __future__ import annotations

from pit import wire
from pit.types import Rejected

from .core import asking
from .core import entry as e
from .core.sessions import Session
from .sequencer import Sequencer
from .translate import reply_of


def answer(sequencer: Sequencer, session: Session, query: wire.DryRun | wire.Explain, *, sees_all: bool) -> wire.Reply:
    """The answer, which nobody journals. What leases have run out is ended first, as before a command."""
    client = query.client or session.client
    if client != session.client and not sees_all:
        why = f'client {session.client} may not ask for {client[:80]}: that needs the role "operate" or "observe"'
        return wire.Failed(wire.FailureCode.NOT_AUTHORIZED, why)
    sequencer.end_due()
    as_command = e.CheckOrder(query.order, False, None)
    quotes = sequencer.quotes_for(as_command)
    question = asking.Question(query.order, client, sequencer.now_ns, quotes, sees_all)
    if isinstance(query, wire.Explain):
        return wire.Explained(asking.explain(sequencer.engine, question))
    refused = sequencer.no_more(session, as_command)
    if refused is not None:
        return reply_of(refused, sequencer.now_ns)
    told = asking.dry_run(sequencer.engine, question, start_only=query.start_only)
    return wire.Refused(told) if isinstance(told, Rejected) else wire.WouldPass(told)
