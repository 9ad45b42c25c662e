"""Rows as bytes and back. A policy's effects are known to that policy alone, and an order is not written twice."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Generic, Union

import msgspec

from pit.types import Order, OrderState

from .entry import (
    Body,
    CheckOrder,
    Commanded,
    Deed,
    Effect,
    Entry,
    H,
    Hold,
    HoldsReplaced,
    ModifyHolds,
    ModifyOpened,
    OrderFilled,
    OrderOpened,
    OrderReplaced,
    Poisoned,
    PolicyChanged,
    Reconfigured,
    Record,
    Reply,
    Row,
)
from .policy import Policy


class OpenedHere(Record, Generic[H], frozen=True):
    """How `OrderOpened` is written where the order stands in the entry itself."""

    reservation_id: int
    client: str
    session: int
    state: OrderState
    lease_ns: int
    lease_end_ns: int
    holds: tuple[H, ...]


class _Written(msgspec.Struct, frozen=True, array_like=True, gc=False):
    entry: Entry
    effects: tuple[Effect | OpenedHere, ...]
    reply: Reply


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Written).decode


def _with(original: type[msgspec.Struct], **types: Any) -> Any:
    """The same as it stands in the file, with some of its fields of another type."""
    fields: list[Any] = []
    for field in msgspec.structs.fields(original):
        type_ = types.get(field.name, field.type)
        fields.append((field.name, type_) if field.required else (field.name, type_, field.default))
    settings = original.__struct_config__
    return msgspec.defstruct(original.__name__, fields, tag=settings.tag, array_like=True, frozen=True, gc=False)


def _among(union: Any, *others: Any, absent: tuple[Any, ...] = ()) -> Any:
    """The same choice, with those in the place of the ones that are written under the same name."""
    names = {_name(each) for each in (*others, *absent)}
    return Union[tuple([each for each in union.__args__ if each.__name__ not in names] + list(others))]  # noqa: UP007


def _name(of: Any) -> str:
    return str(getattr(of, "__origin__", of).__name__)


# What only a policy understands is left as bytes, and read once its policy is known.
_hold: Any = _with(Hold, effect=msgspec.Raw)
_PolicyChanged = _with(PolicyChanged, effect=msgspec.Raw)
_OpenedHere = _with(OpenedHere, holds=tuple[_hold, ...])
_OrderOpened = _with(OrderOpened, holds=tuple[_hold, ...])
_OrderFilled = _with(OrderFilled, holds=tuple[_hold, ...])
_HoldsReplaced = _with(HoldsReplaced, holds=tuple[_hold, ...])
_ModifyOpened = _with(ModifyOpened, new=tuple[_hold, ...], holds=tuple[_hold, ...])
_ModifyHolds = _with(ModifyHolds, old=tuple[_hold, ...], new=tuple[_hold, ...])
_OrderReplaced = _with(OrderReplaced, holds=tuple[_hold, ...])
_effect: Any = _among(
    Effect,
    _PolicyChanged,
    _OpenedHere,
    _OrderOpened,
    _OrderFilled,
    _HoldsReplaced,
    _ModifyOpened,
    _ModifyHolds,
    _OrderReplaced,
)
# What is carried out needs no command, unless an order stands in it.
_Commanded = _with(Commanded, command=msgspec.Raw)
_Stamped = _with(Entry, body=_among(Body, _Commanded))

_OPENED_HERE = frozenset({OpenedHere, _OpenedHere})

_decode_row = msgspec.msgpack.Decoder(_with(_Written, effects=tuple[_effect, ...])).decode
_decode_deed = msgspec.msgpack.Decoder(_with(_Written, entry=_Stamped, effects=tuple[_effect, ...])).decode
_decode_check = msgspec.msgpack.Decoder(CheckOrder).decode


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
            _opened(effect, _checked(entry), effect.holds) if isinstance(effect, OpenedHere) else effect
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


def _opened(here: Any, order: Order | None, holds: tuple[Hold, ...]) -> OrderOpened:
    if order is None:
        raise msgspec.ValidationError("it opens an order that its entry does not bring")
    return OrderOpened(
        here.reservation_id, order, here.client, here.session, here.state, here.lease_ns, here.lease_end_ns, holds
    )


def _decoder(policies: Mapping[str, Policy]) -> Callable[[bytes], Any]:
    """Reads a row in one go, where its policies' effects can be told by their tags alone. Raises
    msgspec.ValidationError for every other row.
    """
    types: Any = dict.fromkeys(each for policy in policies.values() for each in policy.effect_types if each is not Any)
    tags = Counter(each.__struct_config__.tag for each in types)
    clear: Any = tuple(each for each in types if tags[each.__struct_config__.tag] == 1 and each.__struct_config__.tag)
    return _decoder_of(clear) if clear else _decode_deed


@functools.lru_cache(maxsize=8)
def _decoder_of(clear: Any) -> Callable[[bytes], Any]:
    """Kept: to make one takes a millisecond, and a process that reads several journals has the same policies."""
    hold: Any = Hold[Union[clear]]  # noqa: UP007 - made of a tuple
    known = (PolicyChanged[Union[clear]], OpenedHere[hold], OrderOpened[hold], OrderFilled[hold])  # noqa: UP007
    effect: Any = _among(Effect, *known, absent=(HoldsReplaced, ModifyOpened, ModifyHolds, OrderReplaced))
    return msgspec.msgpack.Decoder(_with(_Written, entry=_Stamped, effects=tuple[effect, ...])).decode


class Reader:
    """Reads rows and holds that these policies wrote; the mapping may change while it reads.

    Raises msgspec.ValidationError for what none of them can mean.
    """

    def __init__(self, policies: Mapping[str, Policy], *, is_lenient: bool = False) -> None:
        """A lenient one leaves the effects of a policy that is not among them plain: for those who only look."""
        self._policies = policies
        self._is_lenient = is_lenient
        self._read: dict[str, Callable[[Any], Any]] = {}
        self._decode_known: Callable[[bytes], Any] | None = None
        """Reads in one go what these policies wrote, where the tag alone tells what it is; made when it is wanted."""
        self._made_of: dict[type, Callable[[Any, Order | None], Effect]] = {
            _PolicyChanged: lambda raw, _: PolicyChanged(raw.policy, self._reading(raw.policy)(raw.effect)),
            _OpenedHere: lambda raw, order: _opened(raw, order, self._holds(raw.holds)),
            _OrderOpened: lambda raw, _: _opened(raw, raw.order, self._holds(raw.holds)),
            _OrderFilled: lambda raw, _: OrderFilled(
                raw.reservation_id, raw.quantity, raw.open_quantity, self._holds(raw.holds)
            ),
            _HoldsReplaced: lambda raw, _: HoldsReplaced(raw.reservation_id, self._holds(raw.holds)),
            _ModifyOpened: self._modify_opened,
            _ModifyHolds: lambda raw, _: ModifyHolds(
                raw.modify_id, raw.open_quantity, self._holds(raw.old), self._holds(raw.new)
            ),
            _OrderReplaced: lambda raw, _: OrderReplaced(
                raw.reservation_id, raw.order, raw.open_quantity, self._holds(raw.holds)
            ),
        }

    def row(self, encoded: bytes) -> Row:
        """All of a row."""
        written = _decode_row(encoded)
        entry = written.entry
        return Row(entry, self._effects(written.effects, _checked(entry)), written.reply)

    def deed(self, encoded: bytes) -> Deed:
        """What carrying a row out needs. Its command is left unread, but for an order that it opens."""
        decode = self._decode_known
        if decode is None:
            decode = self._decode_known = _decoder(self._policies)
        try:
            written, is_plain = decode(encoded), decode is _decode_deed
        except msgspec.ValidationError:
            written, is_plain = _decode_deed(encoded), True
        entry, effects = written.entry, written.effects
        body = entry.body
        if effects:
            last = effects[-1]
            if type(last) in _OPENED_HERE and type(body) is _Commanded:
                order = _decode_check(body.command).order
                holds = self._holds(last.holds) if is_plain else last.holds
                effects = (*effects[:-1], _opened(last, order, holds))
            elif type(effects[0]) is Reconfigured:
                self._decode_known = None
            if is_plain:
                effects = self._effects(effects, None)
        if type(body) is _Commanded or type(body) is Poisoned:
            return Deed(
                entry.seq, entry.now_ns, body.session, body.number, body.acked, body.digest, effects, written.reply
            )
        return Deed(entry.seq, entry.now_ns, 0, 0, 0, b"", effects, written.reply)

    def hold(self, plain: Hold) -> Hold:
        """A hold that was read without its policy."""
        return Hold(plain.policy, msgspec.convert(plain.effect, self._types_of(plain.policy)))

    def _modify_opened(self, raw: Any, _: Order | None) -> ModifyOpened:
        return ModifyOpened(
            raw.reservation_id,
            raw.modify_id,
            raw.order,
            raw.client,
            raw.session,
            raw.state,
            raw.lease_ns,
            raw.lease_end_ns,
            raw.open_quantity,
            self._holds(raw.new),
            self._holds(raw.holds),
        )

    def _effects(self, written: tuple[Any, ...], order: Order | None) -> tuple[Effect, ...]:
        how = self._made_of.get
        return tuple([raw if (make := how(type(raw))) is None else make(raw, order) for raw in written])

    def _holds(self, raw: tuple[Any, ...]) -> tuple[Hold, ...]:
        return tuple([Hold(hold.policy, self._reading(hold.policy)(hold.effect)) for hold in raw])

    def _reading(self, policy: str) -> Callable[[Any], Any]:
        known = self._read.get(policy)
        if known is None:
            known = msgspec.msgpack.Decoder(self._types_of(policy)).decode
            if policy in self._policies:
                self._read[policy] = known
        return known

    def _types_of(self, id: str) -> Any:
        policy = self._policies.get(id)
        if policy is None or not policy.effect_types:
            if self._is_lenient:
                return Any
            raise msgspec.ValidationError(
                f"there are effects of the policy {id}, which is not here: it can't be taken away while they last"
            )
        return Union[policy.effect_types]  # noqa: UP007 - made of a tuple
