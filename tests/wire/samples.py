"""One of every message, with every field said and with every optional one left out: what the golden bytes are of."""

from __future__ import annotations

from decimal import Decimal

from pit import wire
from pit.types import (
    Block,
    ExecutionReport,
    Instrument,
    OpenOrder,
    Order,
    OrderState,
    Outcome,
    Reject,
    RejectCode,
    Rejected,
    ReportKind,
    ReportResult,
    Side,
)

ORDER = Order(
    account="alpha",
    instrument=Instrument("AAPL", "USD"),
    side=Side.BUY,
    quantity=Decimal("100"),
    price=Decimal("185.00"),
    id="o1",
)
BY_VOLUME = Order(account="alpha", instrument="ESZ6", side=Side.SELL, volume=Decimal("2500.5"), id="o2")
FILL = ExecutionReport(
    account="alpha",
    kind=ReportKind.FILL,
    report_id="r1",
    order_id="o1",
    venue_order_id="V1",
    quantity=Decimal("40"),
    price=Decimal("184.99"),
    pnl=Decimal("-12.5"),
    fee=Decimal("0.4"),
    instrument=Instrument("AAPL", "USD"),
    side=Side.BUY,
)
CANCEL = ExecutionReport(account="alpha", kind=ReportKind.CANCELLED, report_id="r2", venue_order_id="V1")
REJECT = Reject(
    code=RejectCode.RATE_LIMIT_EXCEEDED,
    policy="rate_limit",
    limit="msg_rate",
    scope="account alpha",
    reason="21 in 1 s, limit 20",
    bound=Decimal(20),
    used=Decimal(20),
    requested=Decimal(1),
    retry_after_s=0.25,
)
BARE_REJECT = Reject(
    code=RejectCode.UNKNOWN_INSTRUMENT, policy="engine", limit="instruments", scope="account alpha", reason="unknown"
)
BLOCK = Block(
    scope="firm",
    code=RejectCode.PNL_KILL_SWITCH_TRIGGERED,
    limit="day_loss",
    reason="lost 1000",
    author="pnl_kill_switch",
)
OPEN = OpenOrder(
    reservation_id=7,
    order=ORDER,
    state=OrderState.SENT,
    open_quantity=Decimal("60"),
    venue_order_id="V1",
    lease_left_s=4.5,
    flags=("late_commit",),
)
BARE_OPEN = OpenOrder(reservation_id=8, order=BY_VOLUME, state=OrderState.WORKING, open_quantity=Decimal("2500.5"))
OUTCOME = Outcome(
    account="alpha",
    order_id="o1",
    state=OrderState.CLOSED,
    ended_by="filled",
    reason="",
    filled_quantity=Decimal(100),
    open_quantity=Decimal(0),
    venue_order_id="V1",
    flags=("overfill",),
)
APPLIED = ReportResult(
    order_id="o1",
    state=OrderState.WORKING,
    open_quantity=Decimal(60),
    already_applied=True,
    flags=("after_rollback",),
    blocks=(BLOCK,),
)

HELLOS: list[wire.Body] = [
    wire.Hello(1, "mm1", bytes(range(16)), 42, 4711),
    wire.Hello(1, "mm1", bytes(range(16))),
]
COMMANDS: list[wire.Body] = [
    wire.Start(ORDER),
    wire.Start(BY_VOLUME),
    wire.Execute(5, True, 5_000_000_000),
    wire.Execute(5),
    wire.Check(ORDER, True, 5_000_000_000),
    wire.Check(BY_VOLUME),
    wire.MarkSent(7),
    wire.Commit(7, "V1", True),
    wire.Commit(7),
    wire.Rollback(7, "venue refused"),
    wire.Rollback(7),
    wire.Quarantine(7, "venue timed out"),
    wire.Quarantine(7),
    wire.Renew(7, 5_000_000_000),
    wire.Renew(7),
    wire.Drop((7, 8), (5,)),
    wire.Drop(),
    wire.Report(FILL),
    wire.Report(CANCEL),
    wire.Goodbye(),
    wire.BlockScope("account alpha", "stop"),
    wire.UnblockScope("account alpha", "go on"),
    wire.Rearm("day_loss", "firm", Decimal("50.5"), "talked to the desk"),
    wire.SettleOrder("alpha", "o1", True, "asked the venue"),
    wire.CloseOrder("alpha", "o1", "asked the venue"),
    wire.AcceptHistory("compared with the venue"),
]
QUERIES: list[wire.Body] = [
    wire.Ping(),
    wire.ListOpenOrders(7, "alpha", 100),
    wire.ListOpenOrders(),
    wire.AskOutcome("alpha", "o1"),
    wire.ListBlocks(),
]
REPLIES: list[wire.Body] = [
    wire.Welcome(1, 42, 1, 64, 5_000_000_000),
    wire.Deferred(5, "o1", 5_000_000_000),
    wire.Accepted(7, "o1", OrderState.HELD, 5_000_000_000, True),
    wire.Accepted(7, "o1", OrderState.SENT, 5_000_000_000),
    wire.Refused(Rejected(order_id="o1", rejects=(REJECT, BARE_REJECT))),
    wire.Settled(OrderState.SENT, 4_000_000_000),
    wire.Settled(OrderState.ROLLED_BACK),
    wire.Applied(APPLIED),
    wire.Applied(ReportResult(order_id=None, state=None, open_quantity=None)),
    wire.Done(3),
    wire.Done(),
    wire.Failed(wire.FailureCode.WRONG_NUMBER, "number 4 is expected, not 6", 4),
    wire.Failed(wire.FailureCode.INVALID_INPUT, "malformed"),
    wire.Voided(),
    wire.Pong(1_000_000_000, "0.1.0"),
    wire.OpenOrders((OPEN, BARE_OPEN), True),
    wire.OutcomeIs(OUTCOME),
    wire.Blocks((BLOCK,)),
]
HEADERS: list[wire.Header] = [
    wire.Header(wire.Message.HELLO, 0, 0, 0),
    wire.Header(wire.Message.COMMAND, 42, 3, 2),
    wire.Header(wire.Message.QUERY, 42, 9, 0),
    wire.Header(wire.Message.SETTLE, 42, 3, 2),
    wire.Header(wire.Message.REFUSAL, 0, 2**64 - 1, 2**63),
]
