"""Rows as bytes and back. A policy's effects are known to that policy alone, and an order is not written twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Union

import msgspec

from pit.types import Order, OrderState

from .entry import (
    CheckOrder,
    Commanded,
    Effect,
    Entry,
    Hold,
    HoldsReplaced,
    OrderFilled,
    OrderOpened,
    PolicyChanged,
    Record,
    Reply,
    Row,
)
from .policy import Policy


class OpenedHere(Record, frozen=True):
    """How `OrderOpened` is written where the order stands in the entry itself."""

    reservation_id: int
    client: str
    session: int
    state: OrderState
    lease_ns: int
    lease_end_ns: int
    holds: tuple[Hold, ...]


class _Written(msgspec.Struct, frozen=True, array_like=True, gc=False):
    entry: Entry
    effects: tuple[Effect | OpenedHere, ...]
    reply: Reply


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Written).decode


def encode(row: Row) -> bytes:
    """The bytes of a row."""
    entry, effects = row.entry, row.effects
    if effects:
        last = effects[-1]
        if type(last) is OrderOpened and last.order is _checked(entry):
            here = OpenedHere(
                last.reservation_id,
                last.client,
                last.session,
                last.state,
                last.lease_ns,
                last.lease_end_ns,
                last.holds,
            )
            return _encode((entry, (*effects[:-1], here), row.reply))
    return _encode(row)


def decode(encoded: bytes) -> Row:
    """A row from its bytes, with policies' effects as plain values: what needs no policy to be understood."""
    written = _decode(encoded)
    entry = written.entry
    return Row(
        entry,
        tuple(
            _opened(effect, entry, effect.holds) if isinstance(effect, OpenedHere) else effect
            for effect in written.effects
        ),
        written.reply,
    )


def _checked(entry: Entry) -> Order | None:
    """The order that the entry's own command brings."""
    body = entry.body
    if type(body) is Commanded and type(body.command) is CheckOrder:
        return body.command.order
    return None


def _opened(here: OpenedHere, entry: Entry, holds: tuple[Hold, ...]) -> OrderOpened:
    order = _checked(entry)
    if order is None:
        raise msgspec.ValidationError("it opens an order that its entry does not bring")
    return OrderOpened(
        here.reservation_id, order, here.client, here.session, here.state, here.lease_ns, here.lease_end_ns, holds
    )


class Reader:
    """Reads rows and holds that these policies wrote; the mapping may change while it reads.

    Raises msgspec.ValidationError for what none of them can mean.
    """

    def __init__(self, policies: Mapping[str, Policy], *, is_lenient: bool = False) -> None:
        """A lenient one leaves the effects of a policy that is not among them plain: for those who only look."""
        self._policies = policies
        self._is_lenient = is_lenient
        self._types: dict[str, Any] = {}

    def row(self, encoded: bytes) -> Row:
        written = _decode(encoded)
        entry = written.entry
        effects: list[Effect] = []
        for effect in written.effects:
            if type(effect) is PolicyChanged:
                effects.append(PolicyChanged(effect.policy, self._convert(effect.policy, effect.effect)))
            elif type(effect) is OpenedHere:
                effects.append(_opened(effect, entry, self._holds(effect.holds)))
            elif type(effect) is OrderOpened or type(effect) is OrderFilled or type(effect) is HoldsReplaced:
                effects.append(msgspec.structs.replace(effect, holds=self._holds(effect.holds)))
            else:
                effects.append(effect)  # type: ignore[arg-type]  # nothing of the written form is left here
        return Row(entry, tuple(effects), written.reply)

    def hold(self, plain: Hold) -> Hold:
        return Hold(plain.policy, self._convert(plain.policy, plain.effect))

    def _holds(self, plain: tuple[Hold, ...]) -> tuple[Hold, ...]:
        return tuple([Hold(hold.policy, self._convert(hold.policy, hold.effect)) for hold in plain])

    def _convert(self, policy: str, plain: Any) -> Any:
        wanted = self._types.get(policy)
        if wanted is None:
            wanted = self._types_of(policy)
        return msgspec.convert(plain, wanted)

    def _types_of(self, id: str) -> Any:
        policy = self._policies.get(id)
        if policy is None or not policy.effect_types:
            if self._is_lenient:
                return Any
            raise msgspec.ValidationError(
                f"there are effects of the policy {id}, which is not here: it can't be taken away while they last"
            )
        types = self._types[id] = Union[policy.effect_types]  # noqa: UP007 - made of a tuple
        return types
