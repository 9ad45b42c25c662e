"""What a report is answered: where its order stands now."""

from __future__ import annotations

from pit.types import Block, ReportResult

from .numbers import ZERO, canonical
from .orders import ENDED, OrderRecord


def result_of(
    record: OrderRecord, flags: tuple[str, ...], blocks: tuple[Block, ...], *, already_applied: bool = False
) -> ReportResult:
    return ReportResult(
        order_id=record.order_id,
        state=record.state,
        open_quantity=ZERO if record.state in ENDED else canonical(record.open_quantity),
        already_applied=already_applied,
        flags=flags,
        blocks=blocks,
    )


__all__ = ["result_of"]
