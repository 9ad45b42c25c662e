"""A person's word on what accounts have, hold and have made: what it comes to, and which of them were heard before."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from decimal import Decimal
from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec

from pit.types import (
    AdjustmentResult,
    BalanceAdjustment,
    Block,
    PnlAdjustment,
    PositionAdjustment,
    Reject,
    RejectCode,
    Side,
)

from . import entry as e
from . import positions
from .days import IsNew
from .entry import Failed, Failure
from .numbers import ZERO, NotRepresentable, canonical, text

if TYPE_CHECKING:
    from .engine import Engine

MOST = 5_000
"""So many things are adjusted at once."""


class Adjustments:
    """The adjustments that were carried out lately, by their client and id, and what has been imported."""

    def __init__(self) -> None:
        self._noted: OrderedDict[tuple[str, str], e.AdjustmentNoted] = OrderedDict()
        self._imported: dict[str, None] = {}

    def find(self, client: str, id: str) -> e.AdjustmentNoted | None:
        return self._noted.get((client, id))

    def note(self, effect: e.AdjustmentNoted, most: int) -> None:
        """Remembers it, and forgets the oldest where that makes one too many."""
        self._imported.update(dict.fromkeys(effect.imported))
        self._noted[effect.client, effect.id] = effect
        while len(self._noted) > most:
            self._noted.popitem(last=False)

    def is_imported(self, account: str) -> bool:
        """Whether the positions that the account begins its day with have been imported."""
        return account in self._imported

    def imported(self) -> list[str]:
        return sorted(self._imported)

    def begin_day(self, is_new: IsNew) -> None:
        """Where a day begins, positions are to be imported anew."""
        for account in [each for each in self._imported if is_new(each)]:
            del self._imported[account]

    def save(self) -> list[e.AdjustmentNoted]:
        return list(self._noted.values())

    def load(self, saved: Sequence[e.AdjustmentNoted], imported: Sequence[str]) -> None:
        self._imported = dict.fromkeys(imported)
        for effect in saved:
            self._noted[effect.client, effect.id] = effect


def awaits_import(account: str, day: str) -> Reject:
    """What an order is answered whose account must not trade before its positions are imported."""
    return Reject(
        code=RejectCode.REFERENCE_DATA_UNAVAILABLE,
        policy="engine",
        limit="requires_positions",
        scope=f"account {account}",
        reason=f"the positions of account {account} have not been imported{f' for {day}' if day else ''}: "
        f"pitctl positions import FILE, or --account {account} where it holds nothing",
    )


class _Refused(Exception):
    """Why an adjustment can't be carried out."""


def adjust(engine: Engine, command: e.AdjustAccounts, client: str, emit: Callable[[e.Effect], None]) -> e.Reply:
    """Carries an adjustment out: all of it, or nothing; and what is answered."""
    refused = _refused(command)
    if refused is not None:
        return refused
    fingerprint = _fingerprint(command)
    before = engine.adjustments.find(client, command.id)
    if before is not None:
        if before.fingerprint != fingerprint:
            why = f"adjustment {command.id} was made before with other content; this one changes nothing: use a new id"
            return Failed(Failure.INVALID_INPUT, why)
        return e.Adjusted(AdjustmentResult(changed=before.changed, already_applied=True))
    try:
        effects, changed = _effects(engine, command)
    except _Refused as trouble:
        return Failed(Failure.INVALID_INPUT, f"adjustment {command.id}: {trouble}; nothing was changed")
    except NotRepresentable:
        why = f"adjustment {command.id}: a sum would be too large to be exact; nothing was changed"
        return Failed(Failure.INVALID_INPUT, why)
    except Exception as trouble:
        why = f"adjustment {command.id}: a policy failed ({type(trouble).__name__}); nothing was changed"
        return Failed(Failure.SYSTEM_UNAVAILABLE, why)
    for effect in effects:
        emit(effect)
    blocks: dict[Block, None] = {}
    for each in command.adjustments:  # one after the other: a limit over several accounts trips where they add up
        if isinstance(each, PnlAdjustment):
            engine.valuation.unrealised.note(each.account)
            for effect in pnl_effects(engine, each):
                emit(effect)
                if isinstance(effect, e.Blocked):
                    blocks[effect.block] = None
    emit(e.AdjustmentNoted(client, command.id, fingerprint, changed, command.imported))
    return e.Adjusted(AdjustmentResult(changed=changed, blocks=tuple(blocks)))


def pnl_effects(engine: Engine, each: PnlAdjustment) -> list[e.Effect]:
    """What the policies make of a word on P&L. Raises NotRepresentable. Changes nothing."""
    is_set = each.set_to is not None
    amount = each.set_to if each.set_to is not None else each.move_by
    assert amount is not None
    group = engine.accounts.group_of(each.account)
    effects: list[e.Effect] = []
    for policy in engine.policies.values():
        verdict = policy.adjust_pnl(each.account, group, each.settlement, amount, is_set=is_set)
        effects += engine.pipeline.as_effects(policy, verdict.effects)
    return effects


def _refused(command: e.AdjustAccounts) -> Failed | None:
    """Why nobody has to look at what it says."""
    if not command.reason.strip():
        return Failed(Failure.INVALID_INPUT, "a reason is wanted: it is recorded with your name")
    if not command.adjustments and not command.imported:
        return Failed(Failure.INVALID_INPUT, f"adjustment {command.id}: it adjusts nothing")
    if len(command.adjustments) > MOST:
        why = f"adjustment {command.id}: {len(command.adjustments)} parts, and at most {MOST} go together"
        return Failed(Failure.CAPACITY_EXCEEDED, why)
    return None


def _effects(engine: Engine, command: e.AdjustAccounts) -> tuple[list[e.Effect], int]:
    """What it does but for P&L, and how many of its parts change something."""
    effects: list[e.Effect] = []
    funds: dict[str, list[tuple[str, Decimal]]] = {}
    seen: set[tuple[str, str, str]] = set()
    changed = 0
    for each in command.adjustments:
        match each:
            case BalanceAdjustment():
                what = ("balance", each.account, each.asset)
                amount = _balance(engine, each)
                moves = funds.setdefault(each.account, [])
                if amount:
                    moves.append((each.asset, amount))
                    changed += 1
            case PositionAdjustment():
                effect = _position(engine, each)
                what = ("position", each.account, effect.symbol)
                if effect.quantity or effect.cost:
                    effects.append(effect)
                    changed += 1
            case PnlAdjustment():
                what = ("P&L", each.account, each.settlement)
                changed += bool(pnl_effects(engine, each))
        if what in seen:
            raise _Refused(f"{what[0]} {what[2]} of account {what[1]} is named twice")
        seen.add(what)
    for account, moves in funds.items():
        if moves or not engine.balances.keeps(account):
            effects.append(e.BalancesMoved(account, tuple(moves)))
    return effects, changed


def _balance(engine: Engine, each: BalanceAdjustment) -> Decimal:
    """By how much it moves."""
    now = engine.balances.of(each.account, each.asset)
    if each.expected is not None and each.expected != now:
        raise _Refused(f"account {each.account} has {text(now)} {each.asset}, and not {text(each.expected)} any more")
    amount = each.move_by if each.set_to is None else each.set_to - now
    assert amount is not None
    engine.balances.after(each.account, ((each.asset, amount),))  # raises now rather than when it is done
    return canonical(amount)


def _position(engine: Engine, each: PositionAdjustment) -> e.PositionChanged:
    """By how much it moves, and what it costs."""
    listed = engine.instruments.find(each.instrument)
    if listed is None:
        raise _Refused(f"{each.instrument} is not declared; add [instruments.{each.instrument}] to the configuration")
    held = engine.positions.of(each.account, listed.symbol)
    if each.expected is not None and each.expected != held.quantity:
        now, then = text(held.quantity), text(each.expected)
        raise _Refused(f"account {each.account} holds {now} {listed.symbol}, and not {then} any more")
    units = each.move_by if each.set_to is None else each.set_to
    assert units is not None
    if each.price is not None and units:
        side = Side.BUY if units > 0 else Side.SELL
        cost = positions.filled(positions.FLAT, listed, side, abs(units), each.price).cost
    else:
        cost = each.cost or ZERO
    if each.set_to is not None:
        units, cost = units - held.quantity, cost - held.cost
    elif not held.quantity + units:
        cost = -held.cost  # nothing held costs nothing
    change = positions.Change(canonical(units), canonical(cost), ZERO)
    engine.positions.after(each.account, listed.symbol, change, ZERO)
    return e.PositionChanged(each.account, listed.symbol, *change, ZERO)


def _fingerprint(command: e.AdjustAccounts) -> bytes:
    """What it says, whatever zeros its numbers carry; why does not count."""
    said = [msgspec.to_builtins(each, builtin_types=(Decimal,)) for each in command.adjustments]
    plain = [[str(canonical(part)) if isinstance(part, Decimal) else part for part in each] for each in said]
    return blake2b(msgspec.msgpack.encode((plain, command.imported)), digest_size=8).digest()
