"""Does it all add up? What strategies, venue and daemon each say of a run, put side by side."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

import msgspec

import pit

from . import words
from .show import Check, Table

KILL_SWITCH = pit.RejectCode.PNL_KILL_SWITCH_TRIGGERED
RATE_LIMIT = pit.RejectCode.RATE_LIMIT_EXCEEDED


class Copied(msgspec.Struct):
    """What the drop copy told of one account."""

    filled: int = 0
    pnl_cents: int = 0


class Evidence(msgspec.Struct, kw_only=True):
    """Everything that was said and asked."""

    accounts: dict[str, str]
    """Client to account."""
    victim: str
    own_limits: bool
    done: dict[str, words.Done] = {}
    holding: words.Holding | None = None
    took_over: words.TookOver | None = None
    others_meanwhile: int = 0
    """What the others had accepted between the kill and the end of the victim's leases."""
    after_kill: dict[str, pit.Outcome] = {}
    blocks: tuple[pit.Block, ...] = ()
    ledger: words.Ledger | None = None
    copied: dict[str, Copied] = {}
    """By account."""
    copied_first: int = 0
    copied_again: int = 0
    outcomes: dict[str, pit.Outcome | None] = {}
    """The daemon's answer for each order that a strategy had accepted or the venue has seen."""

    def tallies(self) -> dict[str, words.Tally]:
        """By strategy; the killed one's by its lives, and between them what only the drop copy saw."""
        tallies = {}
        for who in self.accounts:
            if who not in self.done:
                continue
            tally = self.done[who].tally
            if who != self.victim or self.holding is None:
                tallies[who] = tally
                continue
            first, copied = self.holding.tally, self.copied.get(self.accounts[who], Copied())
            tallies[f"{who}, until it was killed"] = first
            tallies[f"{who}, while nobody was there"] = words.Tally(
                filled=copied.filled - first.filled - tally.filled,
                pnl_cents=copied.pnl_cents - first.pnl_cents - tally.pnl_cents,
            )
            tallies[f"{who}, its successor"] = tally
        return tallies

    def accepted(self) -> dict[str, tuple[str, words.Mine]]:
        """Every accepted order: whose, and how its strategy saw it last."""
        known = {}
        if self.holding is not None:
            known = {id: (self.victim, mine) for id, mine in self.holding.orders.items()}
        for who, done in self.done.items():
            known.update({id: (who, mine) for id, mine in done.orders.items()})
        return known


def closing_tables(evidence: Evidence) -> list[Table]:
    tallies = evidence.tallies()
    codes = sorted({code for tally in tallies.values() for code in tally.rejected})
    rows = [
        (
            who,
            *(f"{n:,}" for n in (tally.checks, tally.accepted, sum(tally.rejected.values()))),
            f"{tally.filled:,}",
            f"{words.dollars(tally.pnl_cents):,}",
        )
        for who, tally in tallies.items()
    ]
    total = [sum(column) for column in zip(*map(_figures, tallies.values()), strict=True)] or [0] * 5
    rows.append(("all", *(f"{n:,}" for n in total[:4]), f"{words.dollars(total[4]):,}"))
    rejected: Counter[str] = Counter()
    for tally in tallies.values():
        rejected.update(tally.rejected)
    endings: Counter[tuple[str, str]] = Counter()
    for order_id in evidence.accepted():
        endings[_ending(evidence.outcomes.get(order_id))] += 1
    return [
        Table("What the strategies did", ("strategy", "checks", "accepted", "rejected", "filled", "P&L USD"), rows),
        Table("Rejected, by code", ("code", "orders"), [(code, f"{rejected[code]:,}") for code in codes]),
        Table(
            "What became of the accepted, and why",
            ("ending", "why", "orders"),
            [(how, why, f"{count:,}") for (how, why), count in sorted(endings.items())],
        ),
    ]


def _figures(tally: words.Tally) -> tuple[int, int, int, int, int]:
    return tally.checks, tally.accepted, sum(tally.rejected.values()), tally.filled, tally.pnl_cents


def _ending(outcome: pit.Outcome | None) -> tuple[str, str]:
    if outcome is None:
        return "not known to the daemon", ""
    if outcome.state not in (pit.OrderState.CLOSED, pit.OrderState.ROLLED_BACK):
        return f"open ({outcome.state})", outcome.reason
    if outcome.state is pit.OrderState.CLOSED:
        return str(outcome.ended_by), "partly filled before" if _partly(outcome) else ""
    return "rolled back", f"{outcome.ended_by}: {outcome.reason}" if outcome.reason else str(outcome.ended_by)


def _partly(outcome: pit.Outcome) -> bool:
    return outcome.ended_by != "filled" and outcome.filled_quantity > 0


def checks(evidence: Evidence) -> list[Check]:
    """Each thing that must be true, with its numbers."""
    return [*_sums(evidence), *_events(evidence)]


def _sums(evidence: Evidence) -> list[Check]:
    tallies = list(evidence.tallies().values())
    asked = sum(tally.checks for tally in tallies)
    accepted = sum(tally.accepted for tally in tallies)
    rejected = sum(sum(tally.rejected.values()) for tally in tallies)
    orders = evidence.accepted()
    ways = Counter(_way(evidence.outcomes.get(order_id)) for order_id in orders)
    ended = ", ".join(f"{ways[way]} {way}" for way in ("filled", "cancelled", "rolled back"))
    venue = evidence.ledger.orders if evidence.ledger is not None else {}
    agree = sum(_all_agree(evidence, order_id, orders.get(order_id)) for order_id in {*orders, *venue})
    lots = [
        sum(tally.filled for tally in tallies),
        sum(copied.filled for copied in evidence.copied.values()),
        sum(order.filled for order in venue.values()),
        sum(int(outcome.filled_quantity) for outcome in evidence.outcomes.values() if outcome is not None),
    ]
    reports = evidence.ledger.reports if evidence.ledger is not None else -1
    first = evidence.copied_first + sum(tally.reports_first for tally in tallies)
    again = evidence.copied_again + sum(tally.reports_again for tally in tallies)
    left_open = sum(done.left_open for done in evidence.done.values())
    counted = [done.counted for done in evidence.done.values()]
    result = [
        Check(
            f"every check was answered: {asked} = {accepted} accepted + {rejected} rejected",
            asked == accepted + rejected > 0,
        ),
        Check(
            f"every accepted order has ended: {len(orders)} = {ended}",
            accepted == len(orders) == ways["filled"] + ways["cancelled"] + ways["rolled back"],
        ),
        Check(
            f"strategies, venue and daemon agree on {agree} of {len({*orders, *venue})} orders",
            agree == len({*orders, *venue}),
        ),
        Check(
            f"units filled, by strategies, drop copy, venue and daemon: {', '.join(map(str, lots))}",
            len(set(lots)) == 1 and lots[0] > 0,
        ),
        Check(
            f"{reports} reports of the venue were each counted once ({first}), though {again} came a second time",
            reports == first,
        ),
        Check(
            f"nothing is left open: {left_open} orders",
            left_open == 0 and len(evidence.done) == len(evidence.accounts),
        ),
    ]
    if not evidence.own_limits:
        total = sum((each or Decimal(0) for each in counted), Decimal(0))
        result.append(Check(f"nothing is left counted: {total} USD", all(each == 0 for each in counted)))
    return result


def _way(outcome: pit.Outcome | None) -> str:
    if outcome is None:
        return "unknown"
    if outcome.state is pit.OrderState.CLOSED:
        return str(outcome.ended_by)
    return "rolled back" if outcome.state is pit.OrderState.ROLLED_BACK else "open"


def _all_agree(evidence: Evidence, order_id: str, known: tuple[str, words.Mine] | None) -> bool:
    """Strategy, venue and daemon say the same of one order: how it ended, and how much was filled."""
    outcome = evidence.outcomes.get(order_id)
    venue = None if evidence.ledger is None else evidence.ledger.orders.get(order_id)
    if outcome is None or known is None or evidence.ledger is None:
        return False
    who, mine = known
    way = _way(outcome)
    is_over_here = mine.state in ("filled", "cancelled", "rolled back")
    if is_over_here and not (mine.state == way and mine.filled == outcome.filled_quantity):
        return False
    if not is_over_here and (who != evidence.victim or order_id in evidence.done[who].orders):
        return False  # only what a killed strategy left may be open in its last words
    if venue is None:
        return way == "rolled back" and not outcome.filled_quantity
    if venue.is_open or way == "rolled back" or venue.filled != outcome.filled_quantity:
        return False
    return (way == "filled") == (venue.filled == venue.quantity)


def _events(evidence: Evidence) -> list[Check]:
    tallies = list(evidence.tallies().values())
    if evidence.own_limits:  # nobody knows what they let happen
        return _kill(evidence)
    refused = sum(tally.refused_by_venue for tally in tallies)
    quarantined = sum(tally.quarantined for tally in tallies)
    limited = sum(tally.rejected.get(RATE_LIMIT, 0) for tally in tallies)
    return [
        Check(
            f"the venue was rude: {refused} refused, and {quarantined} unanswered, quarantined until more was known",
            refused > 0 and quarantined > 0,
        ),
        Check(f"the rate limit has bitten: {limited} orders refused", limited > 0),
        _kill_switch(evidence),
        *_kill(evidence),
    ]


def _kill_switch(evidence: Evidence) -> Check:
    stopped = sum(tally.rejected.get(KILL_SWITCH, 0) for tally in evidence.tallies().values())
    blocks = "; ".join(block.reason for block in evidence.blocks) or "no block"
    scope = f"account {evidence.accounts['lost']}"
    is_blocked = any(block.scope == scope and block.code is KILL_SWITCH for block in evidence.blocks)
    return Check(
        f"the kill switch has stopped the lost one; {stopped} orders refused; {blocks}", is_blocked and stopped > 0
    )


def _kill(evidence: Evidence) -> list[Check]:
    holding, took_over = evidence.holding, evidence.took_over
    if holding is None or took_over is None:
        return [Check("a strategy was killed and had a successor", False)]
    after = evidence.after_kill
    held = [after[id] for id in holding.held]
    sent = [after[id] for id in holding.sent]
    held_by = ", ".join(sorted({str(one.ended_by) for one in held}))
    sent_by = ", ".join(sorted({one.reason for one in sent}))
    settled = "; ".join(took_over.settled.get(id, "not") for id in holding.sent)
    counted = took_over.counted
    result = [
        Check(
            f"killed: what it held is rolled back ({len(held)} orders, by {held_by})",
            len(held) > 0 and all(one.state is pit.OrderState.ROLLED_BACK for one in held),
        ),
        Check(
            f"killed: what it had sent stays counted, quarantined ({len(sent)} orders, by {sent_by})",
            len(sent) > 0
            and all(one.state is pit.OrderState.QUARANTINED and one.open_quantity > 0 for one in sent)
            and all(took_over.found.get(id) == "quarantined" for id in holding.sent)
            and not any(id in took_over.found for id in holding.held),
        ),
        Check(
            f"the others traded on meanwhile: {evidence.others_meanwhile} orders accepted",
            evidence.others_meanwhile > 0,
        ),
        Check(
            f"its successor settled what it had sent: {settled}",
            all(id in took_over.settled for id in holding.sent),
        ),
    ]
    if not evidence.own_limits:
        open_usd = words.dollars(took_over.open_cents)
        text = f"the limit counted exactly what was open of it: {counted} USD of {open_usd} USD"
        result.insert(2, Check(text, counted == open_usd > 0))
    return result


__all__ = ["Evidence", "checks", "closing_tables"]
