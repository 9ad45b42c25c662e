"""How pitctl top draws what it has seen: lines that fit the terminal, whatever its size; the most urgent ones first."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from pit import wire
from pit.types import Block, OrderState, Restriction

from ..journal_tools.words import printable
from .screen import ALARMING, plain_cell, share_of, span, what_of

_SIDE_BY_SIDE = 150
"""From this width on, there are two columns."""

_LEAST_CELL = 5

_LEASE_ALARM_S = 1.0

_BAD = "bold red"
_NEAR = "yellow"
_HEAD = "bold cyan"


class Picture(NamedTuple):
    """What one look has brought, the most urgent first."""

    at_s: float
    status: wire.StatusIs
    stops: Sequence[Restriction | Block]
    limits: Sequence[wire.LimitSeen]
    accounts: Sequence[wire.AccountSeen]
    orders: Sequence[wire.OrderSeen]
    sessions: Sequence[wire.SessionSeen]
    metrics: wire.MetricsAre | None
    """None where nobody counts: in an engine of this process."""


class View(NamedTuple):
    """What is on the screen beside the picture."""

    trouble: str = ""
    """Why there is no newer picture."""
    dialog: str = ""
    """What is being asked, and what has been typed."""
    said: str = ""
    """What came of the last act."""
    section: int = 0
    """The table that is shown alone, by its number; 0 for all of them."""


def drawn(
    picture: Picture | None, before: Picture | None, view: View, width: int, height: int, endpoint: str = ""
) -> list[Text]:
    """Exactly so many lines of so many cells. `before` is an older picture: what has changed since is told a second."""
    foot = _foot(view, width)
    lines: list[Text] = []
    if view.trouble:
        told = textwrap.wrap(printable(view.trouble), max(20, width), max_lines=3, placeholder=" …")
        lines += [_line(each, "bold white on red") for each in told]
    if picture is None:
        lines.append(
            _line(f"nothing has been seen yet{f' at {endpoint}' if endpoint else ''}: it goes on trying", "dim")
        )
    else:
        if view.trouble:
            lines.append(_line(f"as it was at row {picture.status.seq}:", "dim"))
        lines += _head(picture, before, width)
        lines += _stops(picture, most=max(1, height // 10))
        lines += _body(picture, before, view.section, width, height - len(lines) - 1)
    lines = lines[: height - 1]
    lines += [Text() for _ in range(height - 1 - len(lines))]
    return [_fitted(line, width) for line in (*lines, foot)]


# ---------------------------------------------------------------------------------------------- head and foot


def _head(picture: Picture, before: Picture | None, width: int) -> list[Text]:
    status, metrics = picture.status, picture.metrics
    if status.why_refusing:
        doing = (f" REFUSES NEW ORDERS: {printable(status.why_refusing)} ", "bold white on red")
    else:
        doing = (" takes new orders ", "black on green")
    lines = [Text.assemble(doing, f" pitd {status.version}, up {span(status.up_ns)}, row {status.seq}")]
    counts = ", ".join(f"{count} {state}" for state, count in status.states if state is not OrderState.QUARANTINED)
    orders = Text(f"orders {status.open_orders}{f': {counts}' if counts else ''}")
    if status.quarantined:
        orders.append(f"  {status.quarantined} QUARANTINED", style=_BAD)
    if status.cancels:
        late = f", {status.cancels_late} late" if status.cancels_late else ""
        orders.append(f"  {status.cancels} TO BE CANCELLED{late}", style=_BAD)
    if metrics is not None:
        rejected = _count(metrics.rejects)
        orders.append(f"  accepted {metrics.accepted}{_rate(picture, before, lambda m: m.accepted)}")
        orders.append(f"  limits said no {rejected}{_rate(picture, before, lambda m: _count(m.rejects))}")
    lines.append(orders)
    journal = Text("journal ")
    if not status.journal:
        journal.append("none: a restart forgets everything", style=_NEAR)
    elif status.journal_low:
        journal.append(printable(status.journal_low), style=_BAD)
    else:
        journal.append("good", style="green")
        journal.append(f", durability {status.durability}, row {status.journal_seq}")
    if metrics is not None and any(metrics.journal_s.counts):
        journal.append(f", 99 % within {_quantile(metrics.journal_s, 0.99)}")
    if status.journal and width >= 80:
        journal.append(f", in {printable(status.journal)}", style="dim")
    lines.append(journal)
    return lines


def _rate(picture: Picture, before: Picture | None, count: Callable[[wire.MetricsAre], int]) -> str:
    if before is None or picture.metrics is None or before.metrics is None or picture.at_s <= before.at_s:
        return ""
    if picture.status.epoch != before.status.epoch:
        return ""  # another process: it counts from zero
    return f" ({(count(picture.metrics) - count(before.metrics)) / (picture.at_s - before.at_s):.1f}/s)"


def _count(rejects: Sequence[wire.RejectsSeen]) -> int:
    return sum(each.count for each in rejects)


def _quantile(histogram: wire.Histogram, share: float) -> str:
    wanted, seen = share * sum(histogram.counts), 0
    for upto_s, count in zip(histogram.upto_s, histogram.counts, strict=False):
        seen += count
        if seen >= wanted:
            return f"{upto_s * 1e3:g} ms"
    return f"more than {histogram.upto_s[-1] * 1e3:g} ms"


def _stops(picture: Picture, most: int) -> list[Text]:
    """What is halted or blocked: a line each, so many at the most."""
    shown = [
        Text.assemble((" STOPPED ", "bold white on red"), " ", printable(str(each))) for each in picture.stops[:most]
    ]
    more = len(picture.stops) - len(shown)
    if more > 0:
        shown[-1].append(f"  (and {more} more: pitctl blocks)", style="dim")
    return shown


def _foot(view: View, width: int) -> Text:
    if view.dialog:
        asked = printable(view.dialog)
        return _line(asked if cell_len(asked) <= width else "…" + asked[1 - width :], "bold black on yellow")
    keys = "q leave  h halt  r reduce  1 limits  2 accounts  3 orders  4 rejects  5 sessions  0 all"
    line = Text(keys, style="reverse")
    if view.said:
        line = Text.assemble((f" {printable(view.said)} ", "bold black on yellow"), " ", line)
    return line


# ---------------------------------------------------------------------------------------------- the tables


class Column(NamedTuple):
    name: str
    is_number: bool = False
    from_width: int = 0
    """Left out where its table has less room."""
    is_whole: bool = False
    """Never cut while another column can be."""


class Row(NamedTuple):
    cells: Sequence[Any]
    style: str = ""


class Section(NamedTuple):
    columns: Sequence[Column]
    rows: Sequence[Row]
    total: int
    """How many there are, seen or not."""


def sections(picture: Picture, before: Picture | None) -> list[Section]:
    """Limits, accounts, orders, rejects and sessions."""
    status = picture.status
    return [
        _limits(picture.limits),
        _accounts(picture.accounts),
        _orders(picture.orders, status.open_orders),
        _rejects(picture, before),
        _sessions(picture.sessions, status.sessions),
    ]


def _body(picture: Picture, before: Picture | None, section: int, width: int, height: int) -> list[Text]:
    found = sections(picture, before)
    if section:
        return stacked(found[section - 1 : section], width, height)
    if width < _SIDE_BY_SIDE:
        return stacked(found, width, height)
    left_width = width // 2 - 1
    left, right = stacked(found[:2], left_width, height), stacked(found[2:], width - left_width - 2, height)
    blank = Text()
    lines = []
    for at in range(max(len(left), len(right))):
        line = _fitted(left[at] if at < len(left) else blank, left_width)
        lines.append(Text.assemble(line, "  ", right[at] if at < len(right) else blank))
    return lines


def stacked(found: Sequence[Section], width: int, height: int) -> list[Text]:
    """One below the other: each gets its head and a row, and what is left goes round."""
    given = [min(1, len(each.rows)) for each in found]
    left = height - len(found) - sum(given)
    while left > 0 and any(rows < len(each.rows) for rows, each in zip(given, found, strict=True)):
        for at, each in enumerate(found):
            if left > 0 and given[at] < len(each.rows):
                given[at] += 1
                left -= 1
    lines: list[Text] = []
    for rows, each in zip(given, found, strict=True):
        lines += _table(each, rows, width)
    return lines[: max(0, height)]


def _table(section: Section, shown: int, width: int) -> list[Text]:
    places = [at for at, column in enumerate(section.columns) if column.from_width <= width]
    columns = [section.columns[at] for at in places]
    rows = [[plain_cell(row.cells[at]) for at in places] for row in section.rows[:shown]]
    widths = [
        max(cell_len(text) for text in (column.name, *texts)) for column, *texts in zip(columns, *rows, strict=True)
    ]
    more = section.total - shown
    told = "  none" if not section.total else f"  +{more} more" if more > 0 else ""
    for is_whole in (False, True):
        may_shrink = [at for at, one in enumerate(columns) if one.is_whole is is_whole]
        while may_shrink and sum(widths) + 2 * (len(widths) - 1) + len(told) > width:
            widest = max(may_shrink, key=lambda at: widths[at])
            if widths[widest] <= _LEAST_CELL:
                break
            widths[widest] -= 1
    head = Text(
        "  ".join(_cell(each.name, size, each.is_number) for each, size in zip(columns, widths, strict=True)), _HEAD
    )
    head.append(told, style="dim")
    lines = [head]
    for row, texts in zip(section.rows, rows, strict=False):
        cells = (_cell(text, size, one.is_number) for text, size, one in zip(texts, widths, columns, strict=True))
        lines.append(Text("  ".join(cells), row.style))
    return lines


def _limits(limits: Sequence[wire.LimitSeen]) -> Section:
    columns = (
        Column("LIMIT"),
        Column("FOR"),
        Column("USE", is_whole=True),
        Column("LEFT", is_number=True, is_whole=True),
        Column("BOUND", is_number=True, from_width=66),
        Column("COUNTS", from_width=76),
    )
    rows = []
    for each in limits:
        left = None if each.used is None else each.bound - each.used
        style = _BAD if each.is_tripped else _NEAR if share_of(each) >= ALARMING else ""
        use = "TRIPPED" if each.is_tripped else "" if each.used is None else bar(share_of(each))
        scope = each.scope.removeprefix("account ")
        rows.append(Row((each.limit, scope, use, left, each.bound, each.what), style))
    return Section(columns, rows, len(rows))


def _accounts(accounts: Sequence[wire.AccountSeen]) -> Section:
    """A line for each account and asset: the P&L, and how much of the way to its nearer bound it has gone."""
    columns = (
        Column("ACCOUNT"),
        Column("P&L", is_number=True, is_whole=True),
        Column("IN"),
        Column("TO BOUND", is_whole=True),
        Column("TRIPS AT", is_number=True),
        Column("OR AT", is_number=True, from_width=90),
        Column("OPEN", is_number=True, from_width=60),
        Column("STOPPED BY", from_width=70),
    )
    rows = []
    for each in accounts:
        stops = [f"{one.state} ({one.scope})" for one in each.restrictions]
        stopped = "; ".join([*stops, *(f"{block.limit} ({block.scope})" for block in each.blocks)])
        money: Sequence[wire.MoneySeen | None] = each.money or (None,)
        for one in money:
            worn = 0.0 if one is None else _worn(one)
            style = _BAD if stopped else _NEAR if worn >= ALARMING else ""
            told = ("", "", "", "", "") if one is None else (one.pnl, one.settlement, bar(worn), one.floor, one.ceiling)
            rows.append(Row((each.account, *told, each.open_orders, stopped), style))
    return Section(columns, rows, len(rows))


def _worn(money: wire.MoneySeen) -> float:
    bound = money.floor if money.pnl < 0 else money.ceiling
    if bound is None or not bound or (bound < 0) is not (money.pnl < 0):
        return 0.0
    return min(9.99, float(money.pnl / bound))


def _orders(orders: Sequence[wire.OrderSeen], total: int) -> Section:
    columns = (
        Column("ORDER", is_whole=True),
        Column("ACCOUNT"),
        Column("STATE", is_whole=True),
        Column("LEASE", is_number=True, is_whole=True),
        Column("WHAT"),
        Column("OPEN", is_number=True, from_width=90),
        Column("QUIET", is_number=True, from_width=70, is_whole=True),
        Column("CLIENT", from_width=100),
    )
    rows = []
    for each in orders:
        lease = "" if each.lease_left_s is None else f"{each.lease_left_s:.1f} s"
        is_short = each.lease_left_s is not None and each.lease_left_s < _LEASE_ALARM_S
        style = _BAD if each.state is OrderState.QUARANTINED else _NEAR if is_short else ""
        quiet = "" if each.quiet_s is None else _age(each.quiet_s)
        client = each.client if each.is_client_here else f"{each.client or 'nobody'} (not here)"
        cells = (each.order_id, each.account, str(each.state), lease, what_of(each), each.open_quantity, quiet, client)
        rows.append(Row(cells, style))
    return Section(columns, rows, max(total, len(rows)))


def _rejects(picture: Picture, before: Picture | None) -> Section:
    columns = (
        Column("REJECTS"),
        Column("BY", from_width=50),
        Column("COUNT", is_number=True),
        Column("PER S", is_number=True),
    )
    if picture.metrics is None:
        return Section(columns, (), 0)
    rows = []
    for each in sorted(picture.metrics.rejects, key=lambda one: (-one.count, one.code, one.control)):
        key = (each.control, each.code)
        per_s = _rate(picture, before, lambda m, key=key: _count([e for e in m.rejects if (e.control, e.code) == key]))  # type: ignore[misc]
        rows.append(Row((each.code, each.control, each.count, per_s.strip(" ()/s"))))
    return Section(columns, rows, len(rows))


def _sessions(sessions: Sequence[wire.SessionSeen], total: int) -> Section:
    columns = (
        Column("SESSION"),
        Column("ROLES", from_width=60),
        Column("UNSETTLED", is_number=True),
        Column("COMMANDS", is_number=True),
        Column("IN FLIGHT", is_number=True, from_width=66),
        Column("DEATH BY", from_width=76),
    )
    rows = [
        Row((each.client, ", ".join(each.roles), each.unsettled, each.commands, each.in_flight, each.noticed_by))
        for each in sessions
    ]
    return Section(columns, rows, max(total, len(rows)))


# ---------------------------------------------------------------------------------------------- pieces


def bar(share: float, size: int = 10) -> str:
    """A bar of so many cells, in eighths, and the share in percent."""
    eighths = min(8 * size, round(share * 8 * size))
    if share > 0:
        eighths = max(1, eighths)
    full, part = divmod(eighths, 8)
    drawn = "█" * full + ("", *"▏▎▍▌▋▊▉")[part]
    return f"{drawn:░<{size}} {share:4.0%}"


def _age(seconds: float) -> str:
    """In a few characters: 7s, 4m05s, 3h20m."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{rest:02}s" if minutes else f"{rest}s"


def _cell(text: str, size: int, is_number: bool) -> str:
    """A text in so many cells: cut, with a sign that it was, or filled up."""
    if cell_len(text) > size:
        return set_cell_size(text, size - 1) + "…"
    return set_cell_size(text, size) if not is_number else " " * (size - cell_len(text)) + text


def _line(text: str, style: str) -> Text:
    return Text(printable(text), style=style)


def _fitted(line: Text, width: int) -> Text:
    fitted = line.copy()
    fitted.truncate(width, overflow="ellipsis", pad=True)
    fitted.no_wrap = True
    return fitted
