"""Each operation once: the command it sends, and how its reply is read. What waits stands in engine.py and aio.py."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TypeVar

from . import errors, wire
from .errors import PitError, ProtocolError
from .types import MAX_REASON_LENGTH, Adjustment, Instrument, Number, Order, Rejected, check_name, exact

T = TypeVar("T")

_ERRORS: dict[wire.FailureCode, type[PitError]] = {
    wire.FailureCode.INVALID_INPUT: errors.InvalidInput,
    wire.FailureCode.UNKNOWN_ID: errors.UnknownId,
    wire.FailureCode.ALREADY_FINALIZED: errors.AlreadyFinalized,
    wire.FailureCode.LEASE_EXPIRED: errors.LeaseExpired,
    wire.FailureCode.NOT_AUTHORIZED: errors.NotAuthorized,
    wire.FailureCode.CAPACITY_EXCEEDED: errors.CapacityExceeded,
    wire.FailureCode.FENCED: errors.Fenced,
    wire.FailureCode.ANSWER_GONE: errors.AnswerGone,
    wire.FailureCode.JOURNAL_BEHIND: errors.JournalBehind,
    wire.FailureCode.PROTOCOL: errors.ProtocolError,
    wire.FailureCode.NO_SESSION: errors.Closed,
    wire.FailureCode.WRONG_NUMBER: errors.ProtocolError,
    wire.FailureCode.SYSTEM_UNAVAILABLE: errors.Unavailable,
}


def quote(
    instrument: Instrument | str, mark: Number | None, bid: Number | None, ask: Number | None, age_s: float
) -> wire.PushQuote:
    """A quote as it goes out."""
    return wire.PushQuote(instrument, _price(mark, "mark"), _price(bid, "bid"), _price(ask, "ask"), round(age_s * 1e9))


def _price(price: Number | None, name: str) -> Decimal | None:
    return None if price is None else exact(price, f"quote.{name}")


def adjustment(adjustments: Sequence[Adjustment], id: str, reason: str, imported: Iterable[str]) -> wire.Adjust:
    """An adjustment as it goes out. Raises InvalidInput for accounts that are one text."""
    if isinstance(imported, str):
        raise errors.InvalidInput(f"imported: names of accounts are wanted, such as [{imported!r}], not {imported!r}")
    return wire.Adjust(id, tuple(adjustments), reason_text(reason), tuple(imported))


def error_of(failed: wire.Failed) -> PitError:
    """The error that a daemon's failure stands for."""
    return _ERRORS[failed.code](failed.message)


def failure_of(reply: wire.Reply) -> PitError:
    """What a reply to a command stands for that was to be carried out, and was not."""
    if isinstance(reply, wire.Failed):
        return error_of(reply)
    return ProtocolError(f"Settled was expected, not {type(reply).__name__}")


def expect(reply: wire.Reply, wanted: type[T]) -> T:
    """The reply, when it is of the wanted kind. Raises what a failure stands for."""
    if type(reply) is wanted:
        return reply
    if isinstance(reply, wire.Failed):
        raise error_of(reply)
    raise ProtocolError(f"{wanted.__name__} was expected, not {type(reply).__name__}")


def expect_or_no(reply: wire.Reply, wanted: type[T]) -> T | Rejected:
    """The same where risk may also say no."""
    return reply if type(reply) is wanted else no(reply, wanted)


def no(reply: wire.Reply, wanted: type[object]) -> Rejected:
    """Risk's no, of a reply that is not of the wanted kind. Raises what a failure stands for."""
    if isinstance(reply, wire.Refused):
        return reply.rejected
    if isinstance(reply, wire.Failed):
        raise error_of(reply)
    raise ProtocolError(f"{wanted.__name__} was expected, not {type(reply).__name__}")


def expect_each(reply: wire.Reply, orders: Sequence[Order]) -> Sequence[wire.Accepted | wire.Refused]:
    """An answer for each of these orders. Raises what a failure stands for."""
    if isinstance(reply, wire.Refused):  # scripted for all of them
        return [wire.Refused(Rejected(order_id=order.id, rejects=reply.rejected.rejects)) for order in orders]
    return expect(reply, wire.ManyChecked).answers


def lease_ns(lease_s: float | None) -> int | None:
    """A wish for a lease, in nanoseconds. Raises InvalidInput unless it is a number above zero."""
    return None if lease_s is None else _seconds_ns("lease_s", lease_s)


def lasts_ns(lasts_s: float | None) -> int | None:
    """How long something is to last, in nanoseconds. Raises InvalidInput unless it is a number above zero."""
    return _seconds_ns("lasts_s", lasts_s)


def _seconds_ns(name: str, seconds: float | None) -> int | None:
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds < 1e9:
        raise errors.InvalidInput(f"{name}: seconds above zero are wanted, not {seconds!r}")
    return round(seconds * 1e9)


def limit_values(values: Mapping[str, Number | bool]) -> tuple[tuple[str, str], ...]:
    """Numbers of a limit as text; a window as it is written, such as "10s", and yes or no. Raises InvalidInput."""
    return tuple((key, _limit_value(key, value)) for key, value in values.items())


def _limit_value(key: str, value: Number | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else f"{exact(value, key):f}"


def wall_ns(moment: datetime | None) -> int | None:
    """A moment as nanoseconds of wall time. Raises InvalidInput for one that does not say its time zone."""
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise errors.InvalidInput("until: a moment with its time zone is wanted, such as datetime.now(UTC) + ...")
    return round(moment.timestamp() * 1e6) * 1_000


ASKING = (
    wire.Start,
    wire.Execute,
    wire.Check,
    wire.CheckMany,
    wire.MarkSent,
    wire.Renew,
    wire.Take,
    wire.Modify,
    wire.Cancel,
)
"""Commands that ask for something: not to be carried out any more once nobody waits. All others tell what is so."""


def undo_of(reply: wire.Reply) -> wire.Command | None:
    """What takes back what an answer has given, when nobody got it: the venue surely has nothing of it."""
    match reply:
        case wire.Accepted(replayed=False) | wire.Taken(replayed=False) | wire.Modified(replayed=False):
            return wire.Rollback(reply.reservation_id, "its task was cancelled before the answer came")
        case wire.Deferred():
            return wire.Drop((), (reply.request_id,))
        case _:
            return None


def unknown(command: wire.Command, place: str, timeout_s: float) -> errors.OutcomeUnknown:
    """What is raised when a command was sent and not answered."""
    order_id = order_id_of(command)
    what = f"{type(command).__name__} of order {order_id}" if order_id else type(command).__name__
    why = f"{what} was sent to {place} and not answered within {timeout_s:g} s: it may have happened"
    return errors.OutcomeUnknown(f"{why}; ask engine.outcome()", order_id)


def accepted(taken: wire.Taken | wire.Modified) -> wire.Accepted:
    """What was taken, or modified, as if it had been accepted for this client in the first place."""
    noted = taken.shadow_rejects if isinstance(taken, wire.Modified) else ()
    return wire.Accepted(taken.reservation_id, taken.order.id, taken.state, taken.lease_ns, taken.replayed, noted)


def unconfirmed(count: int) -> errors.OutcomeUnknown:
    """What is raised when a flush is not answered."""
    return errors.OutcomeUnknown(
        f"{count} posted commits are not confirmed yet: they stay on their way, and are said again"
    )


def order_id_of(command: wire.Command) -> str | None:
    """The order that a command is about, where it carries one."""
    if isinstance(command, (wire.Start, wire.Check)):
        return command.order.id
    if isinstance(command, wire.Report):
        return command.report.order_id
    if isinstance(command, wire.Status):
        return command.status.order_id
    if isinstance(command, wire.Modify):
        return command.new_id or command.order_id
    if isinstance(command, wire.Take | wire.Cancel | wire.SettleModify):
        return command.order_id
    return None


def modify(
    account: str,
    order_id: str,
    quantity: Number | None,
    price: Number | None,
    volume: Number | None,
    new_id: str | None,
    sent: bool,
    lease_s: float | None,
) -> wire.Modify:
    """A modify as it goes out. Raises InvalidInput when it changes nothing, or a value cannot be meant."""
    if quantity is None and price is None and volume is None:
        raise errors.InvalidInput(f"modify of order {order_id}: it changes nothing; give quantity, price or volume")

    def term(value: Number | None, name: str) -> Decimal | None:
        return None if value is None else exact(value, f"modify.{name}")

    terms = (term(quantity, "quantity"), term(price, "price"), term(volume, "volume"))
    return wire.Modify(account, order_id, *terms, new_id, sent, lease_ns(lease_s))


def venue_id(given: object, order: Order) -> tuple[str | None, errors.InvalidInput | None]:
    """The venue's id as it is kept, a number as its text; or None, and what to raise once the commit is through."""
    if given is None:
        return None, None
    try:
        text = str(given) if type(given) is int else given
        check_name(text, "venue_order_id")
    except errors.InvalidInput as problem:
        return None, errors.InvalidInput(f"{problem}; order {order.id} is committed without it")
    assert isinstance(text, str)
    return text, None


def reason_text(reason: str) -> str:
    """A reason as it is recorded: cut at `MAX_REASON_LENGTH` characters."""
    return str(reason)[:MAX_REASON_LENGTH]
