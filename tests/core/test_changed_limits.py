"""What is open counts by the limits in force, however often they change: a new name or scope opens no second room."""

from __future__ import annotations

from decimal import Decimal

import pytest
from builders import Core, fill, order, saved

from pitd import bootstrap, config
from pitd.core import entry as e
from pitd.core import snapshot
from pitd.core.pipeline import Pipeline


def limits(text: str) -> str:
    return f"[limits]\n{text}\n"


def cap(name: str, most: int, by: str = 'each = "account"') -> str:
    return f'{name} = {{ control = "open_order_notional", {by}, settlement = "USD", max_notional = "{most}" }}'


def configure(core: Core, text: str) -> e.Reply:
    read = config.parse(text, "test.toml")
    return core.enter(bootstrap.configured(read, "risk", "other limits"))


def under(text: str) -> Core:
    core = Core(text)
    configure(core, text)
    return core


@pytest.mark.parametrize(
    ("after", "scope", "name"),
    [
        (cap("other", 1_000), "account alpha", "other"),
        (cap("open_usd", 1_000, 'over = "firm"'), "firm", "open_usd"),
        (cap("open_usd", 1_000, 'each = "account+instrument"'), None, "open_usd"),
    ],
)
def test_a_renamed_or_rescoped_limit_counts_what_is_open(after: str, scope: str | None, name: str) -> None:
    core = under(limits(cap("open_usd", 1_000)))
    held = core.check(order(quantity=10, price=100))
    assert isinstance(held, e.Accepted)
    assert configure(core, limits(after)) == e.Done(1)
    if scope is not None:
        assert core.held(scope, name) == 1_000
    assert isinstance(core.check(order(quantity=1, price=1)), e.Refused)
    core.rollback(held.reservation_id)
    assert isinstance(core.check(order(quantity=10, price=100)), e.Accepted)


def test_a_new_limit_counts_what_is_left_of_an_order_that_was_taken_before_there_was_one() -> None:
    core = under("")
    held = core.check(order(id="o1", quantity=10, price=100))
    core.commit(held.reservation_id)
    core.report(fill("o1", 4))
    configure(core, limits(cap("open_usd", 700)))
    assert core.held() == 600
    assert isinstance(core.check(order(quantity=2, price=100)), e.Refused)
    core.report(fill("o1", 6))
    assert core.held() == 0


def test_a_limit_that_is_taken_away_counts_nothing_any_more() -> None:
    core = under(limits(cap("open_usd", 1_000)))
    held = core.check(order())
    configure(core, "")
    assert saved(core.engine)["policies"]["open_order_notional"] == []
    core.rollback(held.reservation_id)
    configure(core, limits(cap("open_usd", 1_000)))
    assert core.held() == 0


def test_a_late_commit_after_a_change_counts_by_the_new_limit() -> None:
    core = under(limits(cap("open_usd", 1_000)))
    held = core.check(order(quantity=5, price=100))
    core.rollback(held.reservation_id)
    configure(core, limits(cap("other", 1_000)))
    core.commit(held.reservation_id, late=True)
    assert (core.held(limit="other"), core.held()) == (500, 0)


def test_a_changed_bound_looks_at_no_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """There may be a hundred thousand of them, and everybody waits meanwhile."""
    core = under(limits(cap("open_usd", 1_000)))
    core.check(order())
    monkeypatch.setattr(Pipeline, "rehold", None)
    size = 'size = { control = "order_size_limit", each = "account", max_quantity = 5 }'
    assert configure(core, limits(cap("open_usd", 2_000)) + size) == e.Done(0)
    with pytest.raises(TypeError):
        configure(core, limits(cap("open_eur", 2_000)))


def test_an_account_that_changes_its_group_is_counted_there() -> None:
    before = '[accounts.beta]\ngroup = "us"\n' + limits(cap("open_us", 9_000, 'over = { group = "us" }'))
    core = under(before)
    core.check(order(account="beta", quantity=10, price=100))
    assert core.held("group us", "open_us") == 1_000
    configure(core, before.replace('"us"\n[limits]', '"eu"\n[accounts.gamma]\ngroup = "us"\n[limits]'))
    assert core.held("group us", "open_us") == 0


def test_the_same_limits_again_change_nothing() -> None:
    core = under(limits(cap("open_usd", 1_000)))
    core.check(order())
    before = saved(core.engine)["policies"]
    assert configure(core, limits(cap("open_usd", 1_000))) == e.Done(0)
    assert saved(core.engine)["policies"] == before


def test_the_change_is_carried_out_from_its_effects() -> None:
    core = under(limits(cap("open_usd", 1_000)))
    core.check(order(quantity=5, price=100))
    configure(core, limits(cap("other", 1_000)))
    again = Core(limits(cap("open_usd", 1_000)))
    for row in core.rows:
        again.engine.carry_out(e.deed_of(row))
    assert again.held(limit="other") == Decimal(500)
    assert saved(again.engine) == saved(core.engine)


def test_a_snapshot_keeps_what_an_instrument_meant_to_an_order_that_was_taken_before_it_was_changed() -> None:
    declared = '[instruments.ESZ6]\nsettlement = "USD"\nkind = "linear"\nmultiplier = "{}"\n'
    core = under(declared.format(50))
    core.check(order(id="before", instrument="ESZ6"))
    configure(core, declared.format(20))
    core.check(order(id="after", instrument="ESZ6"))
    core.check(order(id="pair"))
    again = bootstrap.blank_engine()
    snapshot.load(again, snapshot.decode(snapshot.encode(snapshot.take(core.engine))))
    assert [record.listed.multiplier for record in again.orders.open.values()] == [50, 20, 1]
    assert list(again.orders.open.values()) == list(core.engine.orders.open.values())
