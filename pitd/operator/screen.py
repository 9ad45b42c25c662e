"""How pitctl shows what it has been told: tables for a person at a terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from pit import wire
from pit.types import (
    AccountBalance,
    AccountPosition,
    Block,
    CalendarDay,
    LimitOverride,
    MarketHours,
    Order,
    OrderState,
    Restriction,
    TradingState,
)

from ..core.numbers import text
from ..journal_tools.words import moment, printable

_PIPE_WIDTH = 200
"""Where no terminal says how wide it is, so that nothing is cut that another program reads."""

ALARMING = 0.8
"""From this share of a bound on, a limit is shown in yellow."""


class Screen:
    """Writes to standard output. Whatever names and reasons hold is shown as text, never obeyed."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False)

    def put(self, what: RenderableType) -> None:
        self._console.print(what)

    def read_at(self, first_seq: int, last_seq: int) -> None:
        """At which row of the journal the daemon stood."""
        at = f"at row {last_seq}" if first_seq == last_seq else f"over rows {first_seq} to {last_seq}"
        self.put(Text(f"read {at}", style="dim"))

    def status(self, status: wire.StatusIs) -> None:
        self.put(status_of(status))

    def sessions(self, lines: Sequence[wire.SessionSeen]) -> None:
        self.put(sessions_of(lines))

    def accounts(self, lines: Sequence[wire.AccountSeen]) -> None:
        self.put(accounts_of(lines))

    def orders(self, lines: Sequence[wire.OrderSeen]) -> None:
        self.put(orders_of(lines))

    def calendar(self, days: Sequence[CalendarDay], hours: Sequence[MarketHours]) -> None:
        self.put(calendar_of(days, hours))

    def positions(self, lines: Sequence[AccountPosition]) -> None:
        self.put(positions_of(lines))

    def balances(self, lines: Sequence[AccountBalance]) -> None:
        self.put(balances_of(lines))

    def limits(self, lines: Sequence[wire.LimitSeen]) -> None:
        self.put(limits_of(lines))

    def blocks(self, lines: Sequence[Block]) -> None:
        self.put(blocks_of(lines))

    def restrictions(self, lines: Sequence[Restriction]) -> None:
        self.put(restrictions_of(lines))

    def overrides(self, lines: Sequence[LimitOverride]) -> None:
        self.put(overrides_of(lines))

    def decision(self, decision: wire.DecisionIs) -> None:
        self.put(decision_of(decision))


def status_of(status: wire.StatusIs) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    if status.why_refusing:
        doing = Text(f"refuses new orders: {printable(status.why_refusing)}", style="bold red")
    else:
        doing = Text("takes new orders", style="green")
    states = ", ".join(f"{count} {state}" for state, count in status.states)
    kept = f"{status.journal}, durability {status.durability}, row {status.journal_seq}"
    journal = Text(kept if status.journal else "none: a restart forgets everything")
    if status.journal_low:
        journal.append(f" - {status.journal_low}", style="bold red")
    elif status.journal:
        journal.append(" - good")
    lines: list[tuple[str, str | Text]] = [
        ("pitd", Text.assemble(f"{status.version} at {status.endpoint}, ", doing)),
        ("up", f"{span(status.up_ns)}, process {status.pid}, row {status.seq}, epoch {status.epoch.hex() or 'none'}"),
        ("settings", status.settings_from),
        ("journal", journal),
        ("sessions", str(status.sessions)),
        ("open orders", f"{status.open_orders}{f' ({states})' if states else ''}, and {status.requests} requests"),
    ]
    if status.quarantined:
        alarm = f"{status.quarantined}: perhaps at the venue, and counted; see pitctl orders --quarantined"
        lines.append(("QUARANTINED", Text(alarm, style="bold red")))
    if status.failing:
        alarm = f"{', '.join(map(printable, status.failing))}: new risk is refused until they answer; see pitctl blocks"
        lines.append(("POLICIES FAIL", Text(alarm, style="bold red")))
    if status.cancels:
        late = f", {status.cancels_late} of them late" if status.cancels_late else ""
        alarm = f"{status.cancels}{late}, the oldest for {status.oldest_cancel_s:.0f} s; see pitctl cancels"
        lines.append(("TO BE CANCELLED", Text(alarm, style="bold red")))
    lines.append(("blocks", Text(str(status.blocks), style="red" if status.blocks else "")))
    halted, reducing = status.restrictions - status.reducing, status.reducing
    shown = f"{halted}{f', and {reducing} reducing only' if reducing else ''}"
    lines.append(("halts", Text(shown, style="red" if status.restrictions else "")))
    by_hand = f", {status.overrides} of their numbers set by hand: see pitctl limits" if status.overrides else ""
    lines.append(("limits", Text(f"{status.limits}{by_hand}", style="yellow" if by_hand else "")))
    if status.not_authorized or status.malformed:
        lines.append(("refused", f"{status.not_authorized} not authorized, {status.malformed} malformed"))
    for name, value in lines:
        table.add_row(Text(name, style="dim"), value if isinstance(value, Text) else Text(printable(value)))
    return table


def sessions_of(lines: Sequence[wire.SessionSeen]) -> RenderableType:
    table = table_of(
        "client",
        ">session",
        "roles",
        ">in flight",
        ">unsettled",
        ">commands",
        ">msg/s",
        ">refused",
        ">over share",
        "death noticed by",
    )
    for each in lines:
        add_row(
            table,
            each.client,
            each.session,
            ", ".join(each.roles),
            each.in_flight,
            each.unsettled,
            each.commands,
            each.per_s,
            each.refused,
            each.over_share,
            each.noticed_by,
        )
    return table


def accounts_of(lines: Sequence[wire.AccountSeen]) -> RenderableType:
    table = table_of("account", "group", ">open orders", ">P&L", "in", ">trips at", ">or at", "stopped by")
    for each in lines:
        halts = [f"{one.state} ({one.scope})" for one in each.restrictions]
        stopped = "; ".join([*halts, *(_stop(block) for block in each.blocks)])
        money: Sequence[wire.MoneySeen | None] = each.money or (None,)
        for at, one in enumerate(money):
            first = (each.account, each.group or "", each.open_orders) if not at else ("", "", "")
            pnl = ("", "", "", "") if one is None else (one.pnl, one.settlement, one.floor, one.ceiling)
            add_row(table, *first, *pnl, "" if at else stopped, style="red" if stopped else "")
        if each.currency is not None:
            told = f"{each.currency}, all of it"
            if each.unrealised is not None and each.unrealised:
                told += f"; {text(each.unrealised)} unrealised"
            add_row(table, "", "", "", "not known" if each.made is None else each.made, told, "", "", "")
    return table


def orders_of(lines: Sequence[wire.OrderSeen]) -> RenderableType:
    table = table_of(
        "account", "order", "client", "state", "what", ">filled", ">open", ">lease left", ">quiet", "venue id", "why"
    )
    for each in lines:
        here = each.client if each.is_client_here else f"{each.client or 'nobody'} (not here)"
        lease = "" if each.lease_left_s is None else f"{each.lease_left_s:.1f} s"
        why = "; ".join(filter(None, (each.ended_by, each.reason, *each.flags)))
        style = "red" if each.state is OrderState.QUARANTINED else ""
        add_row(
            table,
            each.account,
            each.order_id,
            here,
            str(each.state),
            what_of(each),
            each.filled_quantity,
            each.open_quantity,
            lease,
            "" if each.quiet_s is None else span(round(each.quiet_s * 1e9)),
            each.venue_order_id or "",
            why,
            style=style,
        )
    return table


def positions_of(lines: Sequence[AccountPosition]) -> RenderableType:
    heads = (">quantity", ">average price", ">cost", ">mark", ">unrealised", ">realised", ">fees", "in", "other fees")
    own = (">made", ">unrealised", "in its currency") if any(each.currency for each in lines) else ()
    table = table_of("account", "instrument", *heads, *own)
    for each in lines:
        numbers = (each.quantity, each.average_price, each.cost, each.mark, each.unrealised, each.realised, each.fees)
        others = ", ".join(f"{text(fee)} {asset}" for asset, fee in each.other_fees)
        worth = (each.made, each.unrealised_in_currency, each.currency or "") if own else ()
        add_row(table, each.account, each.instrument, *numbers, each.settlement, others, *worth)
    return table


def balances_of(lines: Sequence[AccountBalance]) -> RenderableType:
    own = (">worth", "in its currency") if any(each.currency for each in lines) else ()
    table = table_of("account", "asset", ">available", ">held", ">total", ">incoming", *own)
    for each in lines:
        style = "bold red" if each.available < 0 else ""
        numbers = (each.available, each.held, each.total, each.incoming)
        worth = (each.worth, each.currency or "") if own else ()
        add_row(table, each.account, each.asset, *numbers, *worth, style=style)
    return table


def calendar_of(of_days: Sequence[CalendarDay], of_hours: Sequence[MarketHours]) -> RenderableType:
    """Moments as a clock in the zone of each shows them."""
    days = table_of("scope", "day", "began", "ends", "next", "begins")
    for each in of_days:
        began, begins = (in_zone(at_ns, each.zone) for at_ns in (each.began_wall_ns, each.begins_wall_ns))
        ends_ns = (
            each.begins_wall_ns if each.ends_wall_ns is None else each.ends_wall_ns
        )  # with the next one, or before
        ends = "is over" if each.is_over else in_zone(ends_ns, each.zone)
        add_row(days, each.scope, each.day, began, ends, each.next_day, begins)
    hours = table_of("limit", "market", "until")
    for market in of_hours:
        until = "" if market.until_wall_ns is None else in_zone(market.until_wall_ns, market.zone)
        add_row(hours, market.limit, "open" if market.is_open else "closed", until)
    if not of_days and not of_hours:
        return Text("no calendar is configured: no day begins or ends, and no market has hours")
    return Group(*(table for table, lines in ((days, of_days), (hours, of_hours)) if lines))


def in_zone(wall_ns: int, zone: str) -> str:
    return f"{datetime.fromtimestamp(wall_ns // 10**9, UTC).astimezone(ZoneInfo(zone)):%a %Y-%m-%d %H:%M %Z}"


def limits_of(lines: Sequence[wire.LimitSeen]) -> RenderableType:
    table = table_of("limit", "for", "counts", ">used", ">bound", ">left", "of bound")
    for each in lines:
        left = None if each.used is None else each.bound - each.used
        style = "bold red" if each.is_tripped else "yellow" if share_of(each) >= ALARMING else ""
        name = f"{each.limit} (shadow)" if each.is_shadow else each.limit
        add_row(table, name, each.scope, each.what, each.used, each.bound, left, _bar(each), style=style)
    return table


def blocks_of(lines: Sequence[Block]) -> RenderableType:
    table = table_of("scope", "takes", "code", "limit", "by", "why")
    for each in lines:
        takes = "what reduces" if each.state is TradingState.REDUCING else "nothing"
        add_row(table, each.scope, takes, str(each.code), each.limit, each.author, each.reason)
    return table


def _stop(block: Block) -> str:
    only = "reducing, " if block.state is TradingState.REDUCING else ""
    return f"{only}{block.limit} ({block.scope})"


def restrictions_of(lines: Sequence[Restriction]) -> RenderableType:
    table = table_of("scope", "trading", "by", "why")
    for each in lines:
        add_row(table, each.scope, str(each.state), each.author, each.reason)
    return table


def overrides_of(lines: Sequence[LimitOverride]) -> RenderableType:
    table = table_of("set by hand", "number", ">set to", ">configured", ">in force", "until", "by", "why")
    for each in lines:
        until = "cleared" if each.until_wall_ns is None else local_moment(each.until_wall_ns)
        numbers = (each.value, each.base or "nothing", each.in_force or "nothing")
        style = "" if each.in_force == each.value else "yellow"
        add_row(table, each.limit, each.key, *numbers, until, each.author, each.reason, style=style)
    return table


def decision_of(decision: wire.DecisionIs) -> RenderableType:
    said = Text("accepted", style="green") if decision.is_accepted else Text("refused", style="bold red")
    where = f" in row {decision.decided_seq}, {moment(decision.wall_ns)}, client {decision.client or 'unknown'}"
    head = Text.assemble(f"order {decision.order_id} of account {decision.account}: ", said, where)
    parts: list[RenderableType] = [head]
    for rejects, shadow in ((decision.rejects, ""), (decision.shadow_rejects, " (shadow)")):
        if not rejects:
            continue
        table = table_of(f"limit{shadow}", "code", "for", ">used", ">asked", ">bound", "why")
        for each in rejects:
            numbers = (each.used, each.requested, each.bound)
            add_row(table, each.limit, str(each.code), each.scope, *numbers, each.reason)
        parts.append(table)
    if decision.holds:
        table = table_of("control", "counted for it")
        for control, effect in decision.holds:
            add_row(table, control, plainly(effect))
        parts.append(table)
    parts.append(Text(printable(decision.row), style="dim"))
    return Group(*parts)


# ---------------------------------------------------------------------------------------------- pieces


class _Fitting(Table):
    """A table where it fits; where the terminal would have to break words, each line as a block of its own."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        wide = options.update(max_width=10_000)
        wanted = self.__rich_measure__(console, wide)
        if wanted.minimum <= options.max_width or not self.row_count:
            if wanted.maximum > options.max_width:
                self._share_out(console, wide, options.max_width - wanted.minimum)
            yield from super().__rich_console__(console, options)
            if not self.row_count:
                yield Text(" none", style="dim")
            return
        names = [str(column.header) for column in self.columns]
        cells = [list(column.cells) for column in self.columns]
        for at, row in enumerate(self.rows):
            block = Table.grid(padding=(0, 2))
            block.add_column(style="dim", no_wrap=True)
            block.add_column(overflow="fold", style=row.style or "")
            for name, column in zip(names, cells, strict=True):
                if str(column[at]):
                    block.add_row(name, column[at])
            yield block
            yield Text()

    def _share_out(self, console: Console, wide: ConsoleOptions, left: int) -> None:
        """Gives each column what its longest word needs, and what is left to those that have more to say. Rich takes
        from the widest, and breaks their words.
        """
        least, most = [], []
        for column in self.columns:
            told = [Measurement.get(console, wide, cell) for cell in (Text(str(column.header)), *column.cells)]
            least.append(max(each.minimum for each in told))
            most.append(max(each.maximum for each in told))
        while left > 0:
            short = [at for at, width in enumerate(least) if width < most[at]]
            if not short:
                break
            for at in short[:left]:
                least[at] += 1
            left -= len(short[:left])
        for column, width in zip(self.columns, least, strict=True):
            column.width = width


def table_of(*columns: str) -> Table:
    """A table without frames. A column whose name begins with > holds numbers."""
    table = _Fitting(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name.lstrip(">"), justify="right" if name.startswith(">") else "left", overflow="fold")
    return table


def add_row(table: Table, *cells: Any, style: str = "") -> None:
    table.add_row(*(Text(plain_cell(each)) for each in cells), style=style)


def plain_cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:f}" if isinstance(value, Decimal) else printable(str(value))


def what_of(seen: wire.OrderSeen) -> str:
    order = seen.order
    if order is None:
        return "known from the venue only"
    told = f"{order.side} {terms_of(order)}"
    if seen.modify is not None:
        told += f", modify {seen.modify.state} to {terms_of(seen.modify.order)}"
    return f"{told}, cancel asked for" if seen.cancel_asked else told


def terms_of(order: Order) -> str:
    amount = f"volume {order.volume:f}" if order.volume is not None else f"{order.quantity:f}"
    return f"{amount} {order.instrument} {'at market' if order.price is None else f'@ {order.price:f}'}"


def plainly(effect: str) -> str:
    """What a control keeps for an order, from its JSON, as a person reads it."""
    try:
        told = msgspec.json.decode(effect)
    except msgspec.DecodeError:
        return effect
    return _in_words(told)


def _in_words(told: Any) -> str:
    if isinstance(told, dict):
        return "; ".join(f"{name} {_in_words(value)}" for name, value in told.items() if name != "type")
    if not isinstance(told, list):
        return str(told)
    parts = [part for part in told if part is not None and part != []]
    if len(parts) == 2 and all(isinstance(part, str) for part in parts):
        return " for ".join(parts)  # a limit and its scope
    return ", ".join(map(_in_words, parts))


def share_of(seen: wire.LimitSeen) -> float:
    if seen.used is None or seen.bound <= 0:
        return 0.0
    return max(0.0, min(9.99, float(seen.used) / float(seen.bound)))


def nearest_first(seen: wire.LimitSeen) -> tuple[bool, float]:
    """Sorts limits: what has tripped, then what is nearest to its bound."""
    return not seen.is_tripped, -share_of(seen)


def _bar(seen: wire.LimitSeen) -> str:
    if seen.is_tripped:
        return "TRIPPED"
    if seen.used is None or seen.bound <= 0:
        return ""
    filled = min(10, round(share_of(seen) * 10))
    return f"{'█' * filled}{'░' * (10 - filled)} {share_of(seen):4.0%}"


def span(ns: int) -> str:
    seconds = ns // 1_000_000_000
    days, rest = divmod(seconds, 86_400)
    hours, rest = divmod(rest, 3_600)
    minutes, seconds = divmod(rest, 60)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def local_moment(wall_ns: int) -> str:
    return f"{datetime.fromtimestamp(wall_ns / 1e9).astimezone():%Y-%m-%d %H:%M:%S %Z}"
