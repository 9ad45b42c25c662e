"""What pit raises.

A risk decision is never raised: a *no* is the returned value `pit.Rejected`. What is raised is named for what the
caller can do next::

    PitError
    ├── InvalidInput          the value cannot be meant; mend it (also a ValueError)
    ├── UnknownId             no such reservation, request or order is known here
    ├── AlreadyFinalized      it has been settled before; nothing is left to do
    ├── LeaseExpired          a lease ended it; start over (or `commit(late=True)` if it did reach the venue)
    ├── NotAuthorized         this client may not touch that
    ├── CapacityExceeded      a stated bound is reached; settle something, or slow down
    ├── Fenced                a newer session of the same client name has taken over
    ├── AnswerGone            the answer to that command is no longer kept; it will never be executed again
    ├── JournalBehind         the daemon knows less than this client; an operator must look
    ├── Forked                this engine belongs to the parent process; connect anew in the child
    ├── Closed                this engine has been closed
    ├── Unavailable           nothing was sent: no daemon by the deadline; nothing happened
    ├── PostedFailed          commits that nobody waited for were refused, or never confirmed; look at each
    ├── OutcomeUnknown        it was sent and no answer came in time; it may have happened
    └── ProtocolError         the other end does not speak this protocol
"""

from __future__ import annotations

from collections.abc import Sequence


class PitError(Exception):
    """Everything that pit raises."""


class InvalidInput(PitError, ValueError):
    """The value cannot be meant: not finite, too many digits, an empty name, an unknown side. Nothing was changed."""


class UnknownId(PitError):
    """No reservation, request or order of that id is known: never issued, or closed so long ago that it was let go."""


class AlreadyFinalized(PitError):
    """The order or request has been settled, executed or closed before."""


class LeaseExpired(PitError):
    """A lease ended it. What was held has been given back; what was sent is quarantined."""


class NotAuthorized(PitError):
    """It belongs to another client, or needs a role that this client does not have."""


class CapacityExceeded(PitError):
    """A stated bound is reached. Nothing was changed."""


class Fenced(PitError):
    """A newer session of the same client name has taken over; this one is over."""


class AnswerGone(PitError):
    """The answer to that command is no longer kept. The command is never executed again."""


class JournalBehind(PitError):
    """The daemon's history ends before what this client has seen from it: it must not be trusted unasked."""


class Forked(PitError):
    """The engine was made in another process. Connect anew after a fork."""


class Closed(PitError):
    """The engine has been closed."""


class Unavailable(PitError):
    """Nothing was sent, so nothing happened: there was no daemon to talk to by the deadline."""


class OutcomeUnknown(PitError):
    """It was sent, and no answer came in time: it may have happened.

    `order_id` names the order concerned, where there is one; `engine.outcome(account, order_id)` tells what became of
    it.
    """

    def __init__(self, message: str, order_id: str | None = None) -> None:
        super().__init__(message)
        self.order_id = order_id


class PostedFailed(PitError):
    """Commits of `commit(wait=False)` have failed. What the call that raises this was to do has not been sent.

    `failures` holds the order's id and its error for each: `OutcomeUnknown` where it was never confirmed. An order at
    the venue whose commit was refused may not be counted: commit it again, or tell its report.
    """

    def __init__(self, failures: Sequence[tuple[str, PitError]]) -> None:
        told = "; ".join(f"order {order_id}: {type(error).__name__}: {error}" for order_id, error in failures)
        super().__init__(f"commits that nobody waited for have failed: {told}")
        self.failures = tuple(failures)


class ProtocolError(PitError):
    """The other end does not speak this protocol, or another version of it."""
