"""One of every message, with every field said and with every optional one left out: what the golden bytes are of."""

from __future__ import annotations

from decimal import Decimal

from pit import events as ev
from pit import wire
from pit.explained import DryRun, Explanation, LimitExplained, LimitUse, LimitUser
from pit.types import (
    AccountBalance,
    AccountPosition,
    AdjustmentResult,
    BalanceAdjustment,
    Block,
    CalendarDay,
    CancelRequest,
    ClearedCancel,
    DropCopyResult,
    ExecutionReport,
    Instrument,
    LimitOverride,
    MarketHours,
    OpenOrder,
    Order,
    OrderState,
    OrderStatus,
    Outcome,
    PnlAdjustment,
    PositionAdjustment,
    Reject,
    RejectCode,
    Rejected,
    ReloadResult,
    ReportKind,
    ReportResult,
    Restriction,
    Side,
    TradingState,
    VenueState,
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
GOOD_TILL = Order(
    account="alpha",
    instrument="ESZ6",
    side=Side.BUY,
    quantity=Decimal(1),
    id="o3",
    good_till="2026-11-30",
    venue="XCME",
)
ORDER_STATUS = OrderStatus(
    account="alpha",
    cum_quantity=Decimal(40),
    average_price=Decimal("184.99"),
    status=VenueState.CANCELLED,
    order_id="o1",
    venue_order_id="V1",
    instrument="ESZ6",
    side=Side.BUY,
)
CORRECT = ExecutionReport(
    account="alpha", kind=ReportKind.CORRECT, report_id="r10", order_id="o1", fill_id="r1", price=Decimal("185.5")
)
BUST = ExecutionReport(account="alpha", kind=ReportKind.BUST, report_id="r9", order_id="o1", fill_id="r1")
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
HALT = Restriction(scope="instrument AAPL/USD", state=TradingState.HALTED, author="ops", reason="no prices")
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
LIMIT_EXPLAINED = LimitExplained(
    limit="open_usd",
    control="open_order_notional",
    scope="account alpha",
    is_shadow=True,
    rejects=(REJECT,),
    uses=(LimitUse(what="USD open", bound=Decimal(1000), used=Decimal(600), remaining=Decimal(400)),),
    requested=Decimal("500"),
    largest=Decimal(4),
    users=(LimitUser(client="mm1", account="alpha", orders=2, amount=Decimal(600), order_ids=("o1",)),),
)
EXPLANATION = Explanation(
    order_id="o1",
    rejects=(REJECT,),
    shadow_rejects=(REJECT,),
    limits=(LIMIT_EXPLAINED, LimitExplained(limit="size", control="order_size_limit", scope="account alpha")),
    largest=Decimal(4),
    unit="AAPL/USD",
    looked_at=2,
    open_orders=3,
)
BARE_EXPLANATION = Explanation(
    order_id="o1",
    rejects=(),
    shadow_rejects=(),
    limits=(),
    largest=None,
    unit="AAPL/USD",
    looked_at=0,
    open_orders=0,
)
APPLIED = ReportResult(
    order_id="o1",
    state=OrderState.WORKING,
    open_quantity=Decimal(60),
    already_applied=True,
    flags=("after_rollback",),
    blocks=(BLOCK,),
)

STATUS = wire.StatusIs(
    seq=4711,
    version="0.1.0",
    endpoint="ipc:///run/pitd/pitd.sock",
    pid=42,
    up_ns=1_000_000_000,
    epoch=bytes(range(8)),
    why_refusing="",
    disputed_seq=0,
    durability="process",
    journal="/var/lib/pitd/journal",
    journal_seq=4711,
    journal_low="",
    sessions=3,
    open_orders=2,
    states=((OrderState.HELD, 1), (OrderState.QUARANTINED, 1)),
    quarantined=1,
    requests=0,
    blocks=1,
    limits=2,
    settings_from="/etc/pitd/pitd.toml",
    restrictions=1,
    not_authorized=3,
    malformed=2,
    failing=("own_policy",),
)
SESSION = wire.SessionSeen(
    session=42,
    client="mm1",
    roles=("report", "trade"),
    in_flight=1,
    unsettled=2,
    commands=9,
    noticed_by="kernel",
    messages=12,
    per_s=4,
    refused=3,
    over_share=1,
)
MONEY = wire.MoneySeen(
    settlement="USD", pnl=Decimal("-60.5"), floor=Decimal(-100), ceiling=Decimal(500), tripped=("day_loss",)
)
ACCOUNT = wire.AccountSeen(
    account="alpha",
    group="us",
    open_orders=2,
    money=(MONEY,),
    blocks=(BLOCK,),
    restrictions=(HALT,),
    currency="EUR",
    made=Decimal("-48.4"),
    unrealised=Decimal(3),
)
BARE_ACCOUNT = wire.AccountSeen(
    account="beta", group=None, open_orders=0, money=(wire.MoneySeen(settlement="USD", pnl=Decimal(0)),), blocks=()
)
ORDER_SEEN = wire.OrderSeen(
    reservation_id=7,
    account="alpha",
    order_id="o1",
    client="mm1",
    is_client_here=True,
    state=OrderState.SENT,
    order=ORDER,
    open_quantity=Decimal(60),
    filled_quantity=Decimal(40),
    venue_order_id="V1",
    lease_left_s=4.5,
    ended_by=None,
    reason="",
    flags=("late_commit",),
    quiet_s=0.5,
)
STRANGER_SEEN = wire.OrderSeen(
    reservation_id=8,
    account="alpha",
    order_id="o2",
    client="",
    is_client_here=False,
    state=OrderState.CLOSED,
    order=None,
    open_quantity=Decimal(0),
    filled_quantity=Decimal(0),
)
LIMIT_SEEN = wire.LimitSeen(
    limit="day_loss",
    control="pnl_kill_switch",
    scope="account alpha",
    what="loss in USD",
    bound=Decimal(100),
    used=Decimal("60.5"),
    is_tripped=True,
)
HELD = AccountPosition(
    account="alpha",
    instrument="AAPL/USD",
    settlement="USD",
    quantity=Decimal(-5),
    cost=Decimal("-550.25"),
    average_price=Decimal("110.05"),
    realised=Decimal(100),
    fees=Decimal("0.5"),
    currency="EUR",
    made=Decimal("79.6"),
    unrealised_in_currency=Decimal("-8.25"),
)
FLAT = AccountPosition(
    account="alpha",
    instrument="ESZ6",
    settlement="USD",
    quantity=Decimal(0),
    cost=Decimal(0),
    average_price=None,
    realised=Decimal(-100),
    fees=Decimal(0),
)
BALANCE = AccountBalance(
    account="alpha",
    asset="USD",
    total=Decimal("1000.5"),
    held=Decimal(185),
    incoming=Decimal("0.25"),
    currency="EUR",
    worth=Decimal("800.4"),
)
BARE_BALANCE = AccountBalance(account="alpha", asset="BTC", total=Decimal("-0.5"))
ADJUSTMENTS = (
    BalanceAdjustment(account="alpha", asset="USD", set_to=Decimal("1000.5"), expected=Decimal(1000)),
    BalanceAdjustment(account="alpha", asset="BTC", move_by=Decimal("-0.5")),
    PositionAdjustment(
        account="alpha", instrument=Instrument("AAPL", "USD"), set_to=Decimal(5), cost=Decimal(500), expected=Decimal(4)
    ),
    PositionAdjustment(account="alpha", instrument="ESZ6", move_by=Decimal(-1), price=Decimal("4800.25")),
    PnlAdjustment(account="alpha", settlement="USD", set_to=Decimal(-60)),
    PnlAdjustment(account="beta", settlement="USD", move_by=Decimal("12.5")),
)
BARE_LIMIT_SEEN = wire.LimitSeen(
    limit="fat_finger", control="order_size_limit", scope="each account", what="quantity", bound=Decimal(500)
)
REFUSED_DECISION = wire.DecisionIs(
    seq=4711,
    account="alpha",
    order_id="o1",
    client="mm1",
    decided_seq=4000,
    wall_ns=1_700_000_000_000_000_000,
    is_accepted=False,
    rejects=(REJECT,),
    row="4000 …",
)
ACCEPTED_DECISION = wire.DecisionIs(
    seq=4711,
    account="alpha",
    order_id="o1",
    client="mm1",
    decided_seq=4000,
    wall_ns=1_700_000_000_000_000_000,
    is_accepted=True,
    holds=(("open_order_notional", '["NotionalHeld","18500",[["open_usd","firm"]]]'),),
    row="4000 …",
    outcome=OUTCOME,
)

METRICS = wire.MetricsAre(
    status=STATUS,
    entries=4711,
    commands=(("CheckOrder", 9), ("Commit", 2)),
    accepted=8,
    rejects=(wire.RejectsSeen(control="rate_limit", code="RateLimitExceeded", count=1),),
    failed=(("UnknownId", 1),),
    refused=(("NotAuthorized", 3),),
    malformed=2,
    unsendable=1,
    lapses=(("client_gone", 1), ("lease", 2)),
    ends=(("filled", 4),),
    command_s=wire.Histogram((0.001, 0.1), (9, 1, 1), 0.75),
    journal_s=wire.Histogram((0.001, 0.1), (9, 1, 0), 0.5),
    logged=(("warning", "snapshot.failed", 1),),
    watchers=2,
)

CLEARED = ClearedCancel(
    account="alpha", order_id="o1", venue_order_id="V1", state=OrderState.WORKING, open_quantity=Decimal(60)
)

DAY = CalendarDay(
    scope="firm",
    day="2026-11-24",
    began_wall_ns=1_795_471_200_000_000_000,
    is_over=False,
    ends_wall_ns=1_795_554_900_000_000_000,
    next_day="2026-11-25",
    begins_wall_ns=1_795_557_600_000_000_000,
    zone="America/New_York",
)
HOURS = MarketHours(limit="nyse", is_open=True, until_wall_ns=1_795_554_000_000_000_000, zone="America/New_York")
HEAD = (4711, 0, 1_700_000_000_000_000_000, "mm1")
OF_ORDER = (*HEAD, "alpha", "o1", "mm1", 7)
EVENTS: tuple[ev.AnyEvent, ...] = (
    ev.Decided(*HEAD, ev.Verdict.REFUSED, "check", "alpha", "o1", ORDER, None, (REJECT,)),
    ev.Decided(*HEAD, ev.Verdict.ACCEPTED, "execute", "alpha", "o1", ORDER, OrderState.SENT, (), True),
    ev.Decided(*HEAD, ev.Verdict.DEFERRED, "start", "alpha", "o1"),
    ev.OrderMoved(*OF_ORDER, OrderState.QUARANTINED, "lease", "lease"),
    ev.OrderMoved(*OF_ORDER, OrderState.SENT),
    ev.OrderTaken(*OF_ORDER),
    ev.ModifyMoved(*OF_ORDER, 9, OrderState.CLOSED, "replaced", ""),
    ev.OrderReplaced(*OF_ORDER, ORDER, Decimal(60)),
    ev.CancelAsked(*OF_ORDER),
    ev.CancelRefused(*OF_ORDER),
    ev.FillChanged(*OF_ORDER, "r1", Decimal(0), Decimal("184.99")),
    ev.AccountsAdjusted(*HEAD, "day-1", ("alpha",), "alpha USD = 1000.5", "start of day"),
    ev.OrderFilled(*OF_ORDER, Decimal(40), Decimal(60)),
    ev.OrderNamed(*OF_ORDER, "V1"),
    ev.OrderFlagged(*OF_ORDER, "unknown_order", "V1"),
    ev.OrderFlagged(*OF_ORDER, "overfill"),
    ev.LeaseRenewed(*OF_ORDER, 5.0),
    ev.RequestEnded(*HEAD, "alpha", "o1", "mm1", 5, "dropped"),
    ev.LeasesRestarted(*HEAD, 0.25),
    ev.ScopeBlocked(*HEAD, BLOCK),
    ev.ScopeUnblocked(*HEAD, "firm", "operator", "go on"),
    ev.ShadowBlocked(*HEAD, BLOCK),
    ev.ShadowUnblocked(*HEAD, "firm", "day_loss"),
    ev.CancelsRequested(*HEAD, "firm", "day_loss", "at -1000", 30, (("alpha", "o1"),)),
    ev.CancelsConfirmed(*HEAD, 30),
    ev.LimitRearmed(*HEAD, "day_loss", "firm", Decimal("50.5"), "talked to the desk"),
    ev.LimitsChanged(*HEAD, "configuration", "start with /etc/pitd/pitd.toml"),
    ev.SessionStarted(*HEAD, "mm1", 42),
    ev.SessionEnded(*HEAD, "mm1", 42, "client_gone", "its process has died"),
    ev.DaemonStarted(*HEAD, bytes(range(8))),
    ev.CommandFailed(*HEAD, "commit", "LeaseExpired", "too late"),
    ev.TradingStateChanged(*HEAD, HALT),
    ev.DayBegan(*HEAD, ("firm", "account alpha"), "2026-11-24", 1_795_471_200_000_000_000),
    ev.DayEnded(*HEAD, ("firm",), 1_795_471_200_000_000_000),
    ev.HoursChanged(*HEAD, "nyse", True, "Tue 2026-11-24 16:00 EST"),
    ev.Alarmed(*HEAD, "poisoned", "CheckOrder could not be carried out"),
)

HELLOS: list[wire.Body] = [
    wire.Hello(1, "mm1", bytes(range(16)), 42, 4711),
    wire.Hello(1, "mm1", bytes(range(16))),
    wire.Hello(2, "ops", bytes(range(16)), 0, 0, bytes(range(8)), True),
]
OVERRIDE = LimitOverride(
    limit="size",
    key="max_quantity",
    value="5",
    set_over="500",
    base="3",
    in_force="3",
    author="ops",
    reason="the desk asked",
    since_wall_ns=1_790_000_000_000_000_000,
    until_wall_ns=1_800_000_000_000_000_000,
)
BARE_OVERRIDE = LimitOverride(
    limit="size",
    key="max_notional",
    value="5",
    set_over=None,
    base=None,
    in_force=None,
    author="ops",
    reason="the desk asked",
    since_wall_ns=1_790_000_000_000_000_000,
)
COMMANDS: list[wire.Body] = [
    wire.Start(ORDER),
    wire.Start(BY_VOLUME),
    wire.Execute(5, True, 5_000_000_000),
    wire.Execute(5),
    wire.Check(ORDER, True, 5_000_000_000),
    wire.Check(BY_VOLUME),
    wire.Check(GOOD_TILL),
    wire.CheckMany((ORDER, BY_VOLUME), True, 2_000_000_000, True),
    wire.CheckMany((ORDER,)),
    wire.DropCopy(ORDER, "V1", "mm1"),
    wire.DropCopy(BY_VOLUME),
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
    wire.SetLimits(
        (("size", (("max_quantity", "5"),)), ("rate", (("max_orders", "5"),))), "asked", 7_200_000_000_000, 1
    ),
    wire.SetLimits((("size", (("max_quantity", "5"),)),), "the desk asked"),
    wire.SetLimit("size", (("max_quantity", "5"),), "the desk asked", 7_200_000_000_000, 1_800_000_000_000_000_000),
    wire.SetLimit("rate", (("max_orders", "5"), ("window", "2s")), "the desk asked"),
    wire.ClearLimit("size", "max_quantity", "over"),
    wire.Reload("new limits"),
    wire.SetTradingState("firm", TradingState.HALTED, "fire drill"),
    wire.SetTradingState("firm", TradingState.HALTED, "fire drill", cancel=False),
    wire.CancelAll("client mm1", "a drill"),
    wire.ShutDown("an upgrade"),
    wire.Take("alpha", "o1", 5_000_000_000),
    wire.Take("alpha", "o1"),
    wire.Adjust("day-1", ADJUSTMENTS, "start of day", ("alpha",)),
    wire.Adjust("day-1", (), "nothing is held", ("alpha",)),
    wire.Modify("alpha", "o1", Decimal("12"), Decimal("110"), None, "o2", True, 5_000_000_000),
    wire.Modify("alpha", "o1", volume=Decimal("1000")),
    wire.SettleModify("alpha", "o1", True, "asked the venue"),
    wire.Cancel("alpha", "o1"),
    wire.Status(ORDER_STATUS),
    wire.Report(BUST),
    wire.Report(CORRECT),
]
TO_CANCEL = CancelRequest(
    order=ORDER,
    reservation_id=7,
    client="mm1",
    is_own=True,
    state=OrderState.WORKING,
    open_quantity=Decimal("60"),
    scope="account alpha",
    limit="day_loss",
    author="pnl_kill_switch",
    reason="at -1000",
    asked_s=1.5,
    venue_order_id="V1",
)
QUERIES: list[wire.Body] = [
    wire.Ping(),
    wire.ListOpenOrders(7, "alpha", 100),
    wire.ListOpenOrders(),
    wire.AskOutcome("alpha", "o1"),
    wire.ListBlocks(),
    wire.AskStatus(),
    wire.ListSessions(7, 100),
    wire.ListSessions(),
    wire.ListAccounts("alpha", 100),
    wire.ListAccounts(),
    wire.ListOrders(wire.Which.STALE, 7, "alpha", "mm1", "o1", 100, 600_000_000_000),
    wire.ListOrders(),
    wire.ListLimits(2, "account alpha", 100),
    wire.ListLimits(),
    wire.ListAllBlocks(500, 100),
    wire.ListAllBlocks(),
    wire.AskDecision("alpha", "o1"),
    wire.AskMetrics(),
    wire.AskCancels(4711, 7, 9_000_000_000, 100),
    wire.AskCancels(),
    wire.ListCancels(7, 100),
    wire.ListCancels(),
    wire.ListOverrides(300, 100),
    wire.ListOverrides(),
    wire.AskSettings(100_000),
    wire.AskSettings(),
    wire.ListRestrictions("firm", 100),
    wire.ListRestrictions(),
    wire.ListCalendar("account alpha", 100),
    wire.ListCalendar(),
    wire.AskReload(),
    wire.AskEvents(4711, 2, 500_000_000, 50),
    wire.AskEvents(),
    wire.PushQuote(Instrument("AAPL", "USD"), Decimal("185.00"), Decimal("184.99"), Decimal("185.01"), 1_000_000),
    wire.PushQuote("ESZ6", mark=Decimal("4797.5")),
    wire.ListPositions("alpha", "alpha", "AAPL/USD", 100),
    wire.ListPositions(),
    wire.ListBalances("alpha", "alpha", "USD", 100),
    wire.ListBalances(),
    wire.DryRun(ORDER, True, "mm1"),
    wire.DryRun(BY_VOLUME),
    wire.Explain(ORDER, "mm1"),
    wire.Explain(BY_VOLUME),
]
REPLIES: list[wire.Body] = [
    wire.Welcome(1, 42, 1, 64, 5_000_000_000),
    wire.Deferred(5, "o1", 5_000_000_000),
    wire.Deferred(5, "o1", 5_000_000_000, (REJECT,)),
    wire.Accepted(7, "o1", OrderState.HELD, 5_000_000_000, True),
    wire.Accepted(7, "o1", OrderState.SENT, 5_000_000_000),
    wire.Accepted(7, "o1", OrderState.HELD, 5_000_000_000, False, (REJECT,)),
    wire.Refused(Rejected(order_id="o1", rejects=(REJECT, BARE_REJECT))),
    wire.ManyChecked(
        (
            wire.Accepted(7, "o1", OrderState.HELD, 5_000_000_000),
            wire.Refused(Rejected(order_id="o2", rejects=(REJECT,))),
        )
    ),
    wire.DropCopied(
        DropCopyResult(
            order_id="o1",
            reservation_id=7,
            state=OrderState.WORKING,
            open_quantity=Decimal(60),
            was_known=True,
            flags=("over_limit",),
            breaches=(REJECT,),
            blocks=(BLOCK,),
        )
    ),
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
    STATUS,
    wire.SessionsAre(4711, (SESSION,), True),
    wire.AccountsAre(4711, (ACCOUNT, BARE_ACCOUNT), True),
    wire.OrdersAre(4711, (ORDER_SEEN, STRANGER_SEEN), 7),
    wire.LimitsAre(4711, (LIMIT_SEEN, BARE_LIMIT_SEEN), -1, ""),
    wire.BlocksAre(4711, (BLOCK,), False),
    REFUSED_DECISION,
    ACCEPTED_DECISION,
    METRICS,
    wire.LimitSet((OVERRIDE, BARE_OVERRIDE)),
    wire.OverridesAre(4711, (OVERRIDE,), True),
    wire.Reloaded(
        ReloadResult(
            changes=("limits.size.max_quantity: 500, now 300",), waiting=("daemon.endpoint",), disagreements=("size",)
        )
    ),
    wire.Reloaded(ReloadResult(past=("loss trips",))),
    wire.SettingsAre(4711, b"digest..", '{"limits":[]}', False),
    wire.RestrictionsAre(4711, (HALT,), True),
    wire.CalendarIs(4711, (DAY,), (HOURS,), True),
    wire.EventsAre(4700, EVENTS, 4711, 1),
    wire.EventsAre(4711, (), 4712),
    wire.Taken(7, ORDER, OrderState.SENT, 5_000_000_000, True),
    wire.Taken(7, ORDER, OrderState.SENT, 5_000_000_000),
    wire.PositionsAre(4711, (HELD, FLAT), True),
    wire.CancelsFor((TO_CANCEL,), 4711, 7),
    wire.CancelsFor((), 0, 0),
    wire.CancelsAre(4711, (wire.CancelSeen(request=TO_CANCEL, is_late=True, told=(("mm1", 1.25),)),), True),
    wire.Adjusted(AdjustmentResult(changed=3, already_applied=True, blocks=(BLOCK,))),
    wire.Adjusted(AdjustmentResult(changed=0)),
    wire.BalancesAre(4711, (BALANCE, BARE_BALANCE), True),
    wire.WouldPass(DryRun(order_id="o1", replayed=True, shadow_rejects=(REJECT,))),
    wire.WouldPass(DryRun(order_id="o1")),
    wire.Explained(EXPLANATION),
    wire.Explained(BARE_EXPLANATION),
    wire.Modified(9, ORDER, OrderState.SENT, 5_000_000_000, True),
    wire.Modified(9, ORDER, OrderState.SENT, 5_000_000_000, False, (REJECT,)),
    wire.CancelCleared(CLEARED),
]
HEADERS: list[wire.Header] = [
    wire.Header(wire.Message.HELLO, 0, 0, 0),
    wire.Header(wire.Message.COMMAND, 42, 3, 2),
    wire.Header(wire.Message.QUERY, 42, 9, 0),
    wire.Header(wire.Message.SETTLE, 42, 3, 2),
    wire.Header(wire.Message.REFUSAL, 0, 2**64 - 1, 2**63),
]
