"""The words of pitctl about orders that are to be cancelled: who asked for it, who was told, and what is still open."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType

from pit import wire

from .screen import add_row, span, table_of, terms_of


def table(lines: Sequence[wire.CancelSeen]) -> RenderableType:
    """One order a line, the oldest first."""
    told = table_of("account", "order", "client", "state", "what", ">open", "at the venue", "for", "told", "why")
    for each in lines:
        one = each.request
        who = ", ".join(f"{client} {span(int(ago_s * 1e9))} ago" for client, ago_s in each.told) or "nobody yet"
        why = f"{one.limit} ({one.scope}): {one.reason}"
        cells = (one.order.account, one.order.id, one.client, str(one.state), f"{one.order.side} {terms_of(one.order)}")
        since = span(int(one.asked_s * 1e9))
        style = "bold red" if each.is_late else ""
        add_row(told, *cells, one.open_quantity, one.venue_order_id or "", since, who, why, style=style)
    return told
