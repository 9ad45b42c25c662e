"""A core that is put away and comes back: by carrying its rows out again, or from a snapshot."""

from __future__ import annotations

import decimal

from builders import Core

from pitd.core import snapshot
from pitd.core.engine import exact_context
from pitd.core.reading import Reader, encode

WAYS = ("replay", "snapshot")


def come_back(core: Core, settings: str, way: str) -> Core:
    """The same core after a restart, at the same moment; what has been counted must be there."""
    again = Core(settings)
    engine = again.engine
    with decimal.localcontext(exact_context()):
        if way == "replay":
            reader = Reader(engine.policies)
            for row in core.rows:
                engine.carry_out(reader.deed(encode(row)))
        else:
            snapshot.load(engine, snapshot.decode(snapshot.encode(snapshot.take(core.engine))))
    again.now_ns = core.now_ns
    assert {id: policy.save() for id, policy in engine.policies.items()} == {
        id: policy.save() for id, policy in core.engine.policies.items()
    }
    return again
