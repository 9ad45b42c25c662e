"""Orders that have ended come out of a snapshot unread, and nobody who asks for one can tell."""

from __future__ import annotations

import msgspec
import pytest
from builders import AAPL, Core, fill, order, report, saved

from pitd import bootstrap, config
from pitd.core import snapshot
from pitd.core.orders import OrderRecord

ESZ6 = '[instruments.ESZ6]\nsettlement = "USD"\nkind = "linear"\nmultiplier = "{}"\n'


def with_ended_orders() -> Core:
    """One that was filled, one that the venue cancelled, one that was rolled back, and one that only the venue knew."""
    core = Core()
    ids = [core.check(order(id=f"o{n}", quantity=5)).reservation_id for n in range(3)]
    core.commit(ids[0], "v0")
    core.report(fill("o0", 5, report_id="r0"))
    core.commit(ids[1], "v1")
    core.report(report("cancelled", order_id="o1"))
    core.rollback(ids[2])
    core.report(fill("stranger", 1, instrument=AAPL, side="buy"))
    return core


def written(core: Core) -> bytes:
    return snapshot.encode(snapshot.take(core.engine))


def started_from(core: Core) -> Core:
    """Another core that has taken up a snapshot, and whose orders nobody has asked for."""
    other = Core()
    snapshot.load(other.engine, snapshot.decode(written(core)))
    other.now_ns = core.now_ns
    return other


def unread(core: Core) -> int:
    return sum(not isinstance(each, OrderRecord) for each in core.engine.orders.closed.kept.values())


def test_an_order_that_has_ended_is_left_unread_until_somebody_asks_for_it() -> None:
    core = with_ended_orders()
    other = started_from(core)
    assert unread(other) == 3  # the one that was rolled back may come again, and knows what it held
    assert written(other) == written(core)
    assert other.engine.orders.known_as("alpha", "o0") == core.engine.orders.known_as("alpha", "o0")
    assert unread(other) == 2
    assert written(other) == written(core)
    assert saved(other.engine) == saved(core.engine)


def test_a_report_about_an_unread_order_is_answered_as_about_any_other() -> None:
    core = with_ended_orders()
    other = started_from(core)
    for late in (
        fill("o0", 5, report_id="r0"),
        fill("o0", 4, report_id="r0"),
        fill("o1", 2, report_id="r9"),
        report("fill", venue_order_id="v1", quantity="1", price="100"),
        report("cancelled", order_id="o0"),
        fill("stranger", 1, instrument=AAPL, side="buy"),
        report("bust", order_id="o0", fill_id="r0"),
    ):
        assert other.report(late) == core.report(late)
        assert other.report(late) == core.report(late)
    assert other.check(order(id="o1", quantity=5)) == core.check(order(id="o1", quantity=5))
    assert written(other) == written(core)


def test_an_unread_order_that_is_forgotten_gives_its_ids_free() -> None:
    other = started_from(with_ended_orders())
    assert unread(other)
    other.engine.orders.keep_closed(0, 0)
    for _ in range(2):  # two at a time
        other.resume()
    orders = other.engine.orders
    assert not (len(orders.closed) or orders.by_key or orders._by_venue_id)


def test_a_snapshot_from_before_in_which_every_order_can_be_read_is_taken_up() -> None:
    core = with_ended_orders()
    image = snapshot.spell_out(snapshot.decode(written(core)))
    assert all(isinstance(each, OrderRecord) for each in image.closed)
    other = Core()
    snapshot.load(other.engine, snapshot.decode(msgspec.msgpack.encode(image)))
    assert saved(other.engine) == saved(core.engine)


def test_orders_that_this_release_cannot_read_are_found_out_when_the_snapshot_is_taken_up() -> None:
    image = snapshot.decode(written(with_ended_orders()))
    record = [1, "alpha", "o1", None, 2, msgspec.msgpack.encode(["of another release"])]
    strange = msgspec.structs.replace(image, closed=[*image.closed, msgspec.msgpack.encode(record)])
    with pytest.raises(msgspec.ValidationError):
        snapshot.load(Core().engine, strange)


def test_an_unread_order_keeps_what_its_instrument_meant_when_it_was_traded() -> None:
    def configure(core: Core, multiplier: int) -> None:
        read = config.parse(ESZ6.format(multiplier), "test.toml")
        core.enter(bootstrap.configured(read, "risk", "other terms"))

    core = Core()
    configure(core, 50)
    core.commit(core.check(order(id="o1", instrument="ESZ6")).reservation_id)
    core.report(report("cancelled", order_id="o1"))
    other = started_from(core)
    assert unread(other) == 1
    for each in (core, other):
        configure(each, 20)
    for each in (started_from(other), other, core):
        record = each.engine.orders.known_as("alpha", "o1")
        assert record is not None and record.listed is not None and record.listed.multiplier == 50
