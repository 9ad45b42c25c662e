"""What the daemon tells those who watch: a frozen value for each thing that happened, numbered as the journal is."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

import msgspec

from .types import Block, Order, OrderState, Reject, Restriction


class EventNumber(NamedTuple):
    """The row of the journal that an event comes from, and its place among that row's events, from 0.

    The same after every restart, growing, and not without gaps: many rows tell nothing.
    """

    seq: int
    place: int


class Event(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """What all events have: the journal's row, the place in it, when (wall time), and who sent the entry ("pitd" for
    the daemon itself, "" where the journal no longer tells).
    """

    seq: int
    place: int
    wall_ns: int
    actor: str

    @property
    def number(self) -> EventNumber:
        return EventNumber(self.seq, self.place)


class Verdict(StrEnum):
    """What the risk pipeline said. Deferred: the start stage let it pass, the heavy checks have not run."""

    ACCEPTED = "accepted"
    DEFERRED = "deferred"
    REFUSED = "refused"


class Decided(Event, frozen=True):
    """An order was accepted, deferred or refused. `asked` is the command: check, start, execute, mark_sent or renew.

    `order` is None where the command names it by its reservation. `state` is the order's after it (None unless
    accepted), `rejects` are every policy's. `is_repeated`: the same answer as before, to the same order again.
    `shadow_rejects`: what shadow limits, which refuse nothing, would have refused it for.
    """

    verdict: Verdict
    asked: str
    account: str
    order_id: str
    order: Order | None = None
    state: OrderState | None = None
    rejects: tuple[Reject, ...] = ()
    is_repeated: bool = False
    shadow_rejects: tuple[Reject, ...] = ()


class OfOrder(Event, frozen=True):
    """What events of one order have. `client` is whose it is; `order_id` the id that it was accepted under, whatever
    modifies have made of it since; `reservation_id` the row that accepted it.
    """

    account: str
    order_id: str
    client: str
    reservation_id: int


class OrderMoved(OfOrder, frozen=True):
    """An order is in another state. `ended_by` says what ended it, or its lease, and is empty for other moves."""

    state: OrderState
    ended_by: str = ""
    reason: str = ""

    @property
    def is_lease_end(self) -> bool:
        """Whether its lease has ended: nobody had settled it."""
        return self.ended_by in LEASE_ENDS


class OrderTaken(OfOrder, frozen=True):
    """A gateway, the `actor`, has taken an order that a strategy held: it is about to send it, and settles it."""


class OrderFilled(OfOrder, frozen=True):
    quantity: Decimal
    open_quantity: Decimal


class OrderNamed(OfOrder, frozen=True):
    """The venue's id of an order has become known."""

    venue_order_id: str


class OrderFlagged(OfOrder, frozen=True):
    """An operator should look at an order: "unknown_order", "after_close", "after_rollback", "overfill", "late_commit",
    "reopened". An unknown one has been heard of from the venue only.
    """

    flag: str
    venue_order_id: str | None = None


class ModifyMoved(OfOrder, frozen=True):
    """A modify of an order stands elsewhere: working (the venue has it), closed (answered, or the order is over), or
    rolled_back (the old terms stand). `ended_by` says what ended it: "replaced", "replace_rejected", a lease.
    """

    modify_id: int
    state: OrderState
    ended_by: str = ""
    reason: str = ""


class OrderReplaced(OfOrder, frozen=True):
    """The venue goes by these terms of an order; `order_id` is the id that it has now."""

    order: Order
    open_quantity: Decimal


class FillChanged(OfOrder, frozen=True):
    """The venue has undone a fill of an order (`quantity` is 0), or told it anew."""

    fill_id: str
    quantity: Decimal
    price: Decimal | None = None


class CancelAsked(OfOrder, frozen=True):
    """The `actor` is about to send a cancel of an order."""


class CancelRefused(OfOrder, frozen=True):
    """The venue has refused a cancel."""


class LeaseRenewed(OfOrder, frozen=True):
    lease_s: float


class RequestEnded(Event, frozen=True):
    """A deferred request is over without having been executed."""

    account: str
    order_id: str
    client: str
    request_id: int
    ended_by: str


class LeasesRestarted(Event, frozen=True):
    """The daemon was away so long (0: it was started), and every lease that ran got one more length."""

    away_s: float


class ScopeBlocked(Event, frozen=True):
    """A limit or a person has stopped a scope."""

    block: Block


class ScopeUnblocked(Event, frozen=True):
    """That scope is no longer stopped by that limit ("operator": by a person)."""

    scope: str
    limit: str
    reason: str = ""


class ShadowBlocked(Event, frozen=True):
    """A shadow limit would have blocked a scope: nobody is stopped."""

    block: Block


class ShadowUnblocked(Event, frozen=True):
    """What a shadow limit would have blocked is over: rearmed, or the limit is live or gone."""

    scope: str
    limit: str


class CancelsRequested(Event, frozen=True):
    """So many orders of a scope are to be cancelled: some of them by account and id. `is_late`: their owners did not
    confirm in time, and those with the role "cancel" are asked.
    """

    scope: str
    limit: str
    reason: str
    count: int
    orders: tuple[tuple[str, str], ...] = ()
    is_late: bool = False


class CancelsConfirmed(Event, frozen=True):
    """The last of the orders that were to be cancelled has ended: nothing is left to confirm."""

    count: int


class TradingStateChanged(Event, frozen=True):
    """A person has halted a scope, or lets it trade again (`restriction.state` is ACTIVE)."""

    restriction: Restriction


class DayBegan(Event, frozen=True):
    """By the calendar a day has begun for these scopes: "firm", "account alpha". It was to begin at `at_wall_ns`."""

    scopes: tuple[str, ...]
    day: str
    at_wall_ns: int


class DayEnded(Event, frozen=True):
    """By the calendar the day of these scopes is over, before the next one begins."""

    scopes: tuple[str, ...]
    at_wall_ns: int


class HoursChanged(Event, frozen=True):
    """The market whose hours a limit names has opened, or closed, until then: in words, "" for weeks."""

    limit: str
    is_open: bool
    until: str


class LimitRearmed(Event, frozen=True):
    """A person has granted a tripped limit new room."""

    limit: str
    scope: str
    room: Decimal
    reason: str


class LimitsChanged(Event, frozen=True):
    """Limits and other settings were put into force: by a start, or by a person."""

    what: str
    reason: str


class SessionStarted(Event, frozen=True):
    client: str
    session: int


class SessionEnded(Event, frozen=True):
    client: str
    session: int
    ended_by: str
    reason: str = ""


class DaemonStarted(Event, frozen=True):
    """Another process serves from here on."""

    epoch: bytes


class CommandFailed(Event, frozen=True):
    """A command could not be done, and changed nothing: `code` is the error that its client got."""

    asked: str
    code: str
    message: str


class Alarmed(Event, frozen=True):
    """Somebody must look: history is missing (journal_behind), an entry could not be carried out (poisoned), or a
    policy could not say what a new day or other marks mean to it (policy_failed), and new risk under its limits is
    refused until it has (policy_recovered). history_accepted: a person has.
    """

    what: str
    message: str


class AccountsAdjusted(Event, frozen=True):
    """A person, or a clerk's program, has said what accounts have, hold or have made; `what` is that in words."""

    id: str
    accounts: tuple[str, ...]
    what: str
    reason: str


AnyEvent = (
    Decided
    | OrderMoved
    | OrderFilled
    | OrderNamed
    | OrderFlagged
    | LeaseRenewed
    | RequestEnded
    | LeasesRestarted
    | ScopeBlocked
    | ScopeUnblocked
    | LimitRearmed
    | LimitsChanged
    | SessionStarted
    | SessionEnded
    | DaemonStarted
    | CommandFailed
    | Alarmed
    | TradingStateChanged
    | OrderTaken
    | DayBegan
    | DayEnded
    | HoursChanged
    | AccountsAdjusted
    | ModifyMoved
    | OrderReplaced
    | CancelAsked
    | CancelRefused
    | ShadowBlocked
    | ShadowUnblocked
    | FillChanged
    | CancelsRequested
    | CancelsConfirmed
)
"""Every event that a daemon tells."""

LEASE_ENDS = frozenset({"lease", "client_gone", "fenced", "dropped"})
"""What ends a lease that nobody has settled."""


class Missed(msgspec.Struct, frozen=True, gc=False):
    """Stands where events are missing for good: the rows from `first_seq` to `last_seq` are no longer kept."""

    first_seq: int
    last_seq: int
