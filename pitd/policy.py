"""What authors of policies of their own import: the interface, the limits it may be configured by, and exact numbers.

Everything here is kept: what is taken away or changed is said in the changelog first. A policy imports nothing else of
pitd, and no clock, no file and no chance: the same entries give the same answers, on any machine.
"""

from __future__ import annotations

from pit.types import Block, ExecutionReport, Instrument, Kind, Order, Reject, RejectCode, ReportKind, Side

from .core.instruments import Listed
from .core.limits import Limit, LimitSet
from .core.numbers import ZERO, NotRepresentable, canonical
from .core.policy import PASS, Asks, Attempt, Counter, Look, Money, Policy, Pool, Reported, Unvalued, Verdict, Whose
from .core.prices import Quote

__all__ = [
    "PASS",
    "ZERO",
    "Asks",
    "Attempt",
    "Block",
    "Counter",
    "ExecutionReport",
    "Instrument",
    "Kind",
    "Limit",
    "LimitSet",
    "Listed",
    "Look",
    "Money",
    "NotRepresentable",
    "Order",
    "Policy",
    "Pool",
    "Quote",
    "Reject",
    "RejectCode",
    "ReportKind",
    "Reported",
    "Side",
    "Unvalued",
    "Verdict",
    "Whose",
    "canonical",
]
