"""The engine's whole state as one value, and back: what recovery begins with."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from pit.types import Block, Restriction

from .days import Closing, Day
from .departed import Departed
from .engine import Engine
from .entry import AdjustmentNoted, EndedBy
from .failing import Failure
from .instruments import Instruments, Listed
from .kills import CancelImage
from .orders import Closed, OrderRecord, Request, brief, spelled_out
from .overrides import Override
from .positions import Position
from .prices import Quote
from .reading import Reader
from .sessions import Session


class PolicyState(msgspec.Struct, frozen=True, array_like=True):
    version: int
    saved: Any


class Image(msgspec.Struct, frozen=True, array_like=True):
    """Everything that an engine knows after entry `seq`. Fields are only ever appended, with defaults."""

    seq: int
    now_ns: int
    settings: str
    instruments: tuple[Listed, ...]
    groups: dict[str, str]
    disputed_seq: int
    accepted_seq: int
    open: Sequence[OrderRecord]
    closed: Sequence[OrderRecord | bytes]
    """Most of them packed."""
    venue_ids: Sequence[tuple[str, str, int]]
    requests: Sequence[Request]
    requests_ended: dict[int, EndedBy]
    sessions: Sequence[Session]
    sessions_ended: Sequence[Session]
    blocks: Sequence[Block]
    policies: dict[str, PolicyState]
    epochs: Sequence[tuple[bytes, int]] = ()
    restrictions: Sequence[Restriction] = ()
    overrides: Sequence[Override] = ()
    positions: Sequence[tuple[str, str, Position]] = ()
    days: Sequence[tuple[str, Day]] = ()
    balances: Sequence[tuple[str, dict[str, Decimal]]] = ()
    adjustments: Sequence[AdjustmentNoted] = ()
    imported: Sequence[str] = ()
    closing: dict[str, Closing] = {}
    quotes: Sequence[Quote] = ()
    """What entries have brought of prices, where somebody values by it."""
    of_clients: Sequence[tuple[str, str, Decimal]] = ()
    """Client, symbol and the units that its orders have come to."""
    shadow_blocks: Sequence[Block] = ()
    hours: Sequence[tuple[str, bool, str]] = ()
    cancels: CancelImage = CancelImage()
    failing: Sequence[Failure] = ()
    came: Sequence[tuple[int, int]] = ()
    """The orders that came to be at the venue while others were closed at the end of a day, and with which row."""


class Mismatch(Exception):
    """A snapshot that these policies can't take up: one is missing, or its state is of another version."""


def take(engine: Engine) -> Image:
    """The state now. It shares the engine's own records: encode it before the engine goes on."""
    orders, sessions = engine.orders, engine.sessions
    return Image(
        seq=engine.seq,
        now_ns=engine.now_ns,
        settings=engine.settings,
        instruments=engine.instruments.declared(),
        groups=engine.accounts.groups(),
        disputed_seq=engine.disputed_seq,
        accepted_seq=engine.accepted_seq,
        open=[brief(record, engine.instruments) for record in orders.open.values()],
        closed=orders.closed.written(engine.instruments),
        venue_ids=orders.venue_ids(),
        requests=list(engine.requests.values()),
        requests_ended=dict(engine.requests_ended),
        sessions=sessions.going(),
        sessions_ended=sessions.over(),
        blocks=engine.accounts.save(),
        epochs=list(engine.epochs.items()),
        restrictions=engine.trading.restrictions(),
        cancels=engine.cancels.image(),
        overrides=engine.overrides.all(),
        positions=engine.positions.save(),
        days=engine.days.all(),
        balances=engine.balances.save(),
        adjustments=engine.adjustments.save(),
        imported=engine.adjustments.imported(),
        closing=dict(engine.days.closing),
        hours=engine.days.hours(),
        came=list(engine.days.came.items()),
        quotes=engine.valuation.marks.save(),
        of_clients=engine.positions.clients(),
        shadow_blocks=engine.accounts.shadow_blocks(),
        failing=engine.failing.all(),
        policies={id: PolicyState(policy.state_version, policy.save()) for id, policy in engine.policies.items()},
    )


def encode(image: Image) -> bytes:
    return msgspec.msgpack.encode(image)


def decode(data: bytes) -> Image:
    """Raises msgspec.ValidationError or msgspec.DecodeError for what is no snapshot."""
    return msgspec.msgpack.decode(data, type=Image)


def spell_out(image: Image) -> Image:
    """The same with every order read, and what its instrument means beside it."""
    instruments = _instruments(image)
    closed = Closed()
    closed.load(image.closed, instruments)
    records = [[spelled_out(record, instruments) for record in some] for some in (closed.values(), image.open)]
    return msgspec.structs.replace(image, closed=records[0], open=records[1])


def _instruments(image: Image) -> Instruments:
    return Instruments({listed.symbol: listed for listed in image.instruments})


def load(engine: Engine, image: Image) -> None:
    """Puts a fresh engine into that state. Raises Mismatch, or msgspec.ValidationError for effects of no policy."""
    assert engine.seq == 0, "a snapshot is loaded into a fresh engine"
    engine.configure(image.settings, image.instruments, image.groups, image.overrides)
    for id, state in image.policies.items():
        policy = engine.policies.get(id)
        if policy is None or isinstance(policy, Departed):
            continue  # its open effects, if there are any, are refused below, or by who knows the configuration
        if policy.state_version != state.version:
            has, wants = state.version, policy.state_version
            raise Mismatch(f"policy {id}: the snapshot has its state in version {has}, this release wants {wants}")
        policy.load(state.saved)
    reader = Reader(engine.policies)
    engine.orders.closed.read_holds = lambda holds: tuple(
        reader.hold(hold) for hold in holds if hold.policy in engine.policies
    )
    engine.positions.load(image.positions)
    engine.balances.load(image.balances)
    engine.adjustments.load(image.adjustments, image.imported)
    engine.days.load(image.days, image.closing, image.hours, image.came)
    engine.positions.load_clients(image.of_clients)
    engine.valuation.marks.keep(image.quotes)
    engine.valuation.unrealised.restart()
    engine.valuation.unrealised.looked_at()
    engine.valuation.unrealised.make_all_due()
    engine.accounts.load(image.blocks)
    for block in image.shadow_blocks:
        engine.accounts.apply_shadow(block)
    engine.trading.load(image.restrictions)
    engine.cancels.load(image.cancels)
    engine.failing.load(image.failing)
    instruments = _instruments(image)
    for record in (*engine.orders.closed.load(image.closed, instruments), *image.open):
        spelled_out(record, instruments)
        if record.holds:
            record.holds = tuple(map(reader.hold, record.holds))
        if record.modify is not None:
            record.modify.old = tuple(map(reader.hold, record.modify.old))
            record.modify.new = tuple(map(reader.hold, record.modify.new))
    engine.orders.load(image.open, image.venue_ids)
    engine.requests.update((request.request_id, request) for request in image.requests)
    engine.requests_ended.update(image.requests_ended)
    engine.sessions.load(image.sessions, image.sessions_ended)
    engine.leases.rebuild(engine.live_leases())
    engine.epochs.update(image.epochs)
    engine.disputed_seq = image.disputed_seq
    engine.accepted_seq = image.accepted_seq
    engine.stand_at(image.seq, image.now_ns)
