"""Gives what was decoded from a journal its types back: a policy's effects are known to that policy alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Union

import msgspec

from .entry import Effect, Hold, OrderFilled, OrderOpened, PolicyChanged, Row
from .policy import Policy

decode = msgspec.msgpack.Decoder(Row).decode
"""A row from its bytes, with policies' effects as plain values: what needs no policy to be understood."""

encode = msgspec.msgpack.Encoder().encode
"""The bytes of a row."""


class Reader:
    """Reads rows and holds that these policies wrote; the mapping may change while it reads.

    Raises msgspec.ValidationError for what none of them can mean.
    """

    def __init__(self, policies: Mapping[str, Policy], *, is_lenient: bool = False) -> None:
        """A lenient one leaves the effects of a policy that is not among them plain: for those who only look."""
        self._policies = policies
        self._is_lenient = is_lenient
        self._types: dict[str, Any] = {}
        self._typed: dict[type, Callable[[Any], Effect]] = {
            PolicyChanged: self._policy_changed,
            OrderOpened: self._order_opened,
            OrderFilled: self._order_filled,
        }

    def row(self, encoded: bytes) -> Row:
        row = decode(encoded)
        for effect in row.effects:
            if type(effect) in self._typed:
                return Row(row.entry, tuple(map(self._effect, row.effects)), row.reply)
        return row

    def hold(self, plain: Hold) -> Hold:
        return Hold(plain.policy, self._convert(plain.policy, plain.effect))

    def _effect(self, effect: Effect) -> Effect:
        typed = self._typed.get(type(effect))
        return effect if typed is None else typed(effect)

    def _policy_changed(self, effect: PolicyChanged) -> Effect:
        return PolicyChanged(effect.policy, self._convert(effect.policy, effect.effect))

    def _order_opened(self, effect: OrderOpened) -> Effect:
        if not effect.holds:
            return effect
        return msgspec.structs.replace(effect, holds=tuple(map(self.hold, effect.holds)))

    def _order_filled(self, effect: OrderFilled) -> Effect:
        if not effect.holds:
            return effect
        return msgspec.structs.replace(effect, holds=tuple(map(self.hold, effect.holds)))

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
