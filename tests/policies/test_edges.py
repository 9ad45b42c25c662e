"""One table over all controls: what still passes, to the last unit, after each thing that may happen to an order.

Every control stands alone in a configuration whose limit is easily reckoned with. Order o1 comes, one event befalls it,
and then exactly as much as the table says passes and one unit more is refused: in the core that saw it happen, in one
that carried out its rows, and in one that came from its snapshot. The numbers are reckoned by hand from the docstrings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import pytest
from builders import Core, fill, money, order, report
from cases import table
from marks import MSFT, holds, marked
from restarts import WAYS, come_back

from pitd import config
from pitd.core import entry as e

# ---------------------------------------------------------------------------------------------- what happens to o1


def _check(core: Core, row: Row) -> int:
    id = core.check(order(id="o1", **row.first), lease_s=5).reservation_id
    assert id
    return int(id)


def _working(core: Core, row: Row) -> None:
    core.commit(_check(core, row))


def _later(core: Core, row: Row) -> None:
    _working(core, row)
    core.advance(61)  # the window is a minute; a turnover is counted in slices and leaves it up to 0.06 s late


def _lease_over(core: Core, row: Row) -> None:
    _check(core, row)
    core.advance(5)
    assert core.end_leases() == 1


def _told(*reports: tuple[str, str], times: int = 1) -> Callable[[Core, Row], None]:
    """Reports of the venue on the working order: "fill 2", or a kind, each under an id of its own, so often."""

    def happens(core: Core, row: Row) -> None:
        _working(core, row)
        for id, what in reports * times:
            kind, _, quantity = what.partition(" ")
            said = (
                fill("o1", quantity, report_id=id, **row.fills_with)
                if kind == "fill"
                else report(kind, order_id="o1", report_id=id)
            )
            assert not isinstance(core.report(said), e.Failed)

    return happens


def _modified(way: str, then: str = "", times: int = 1) -> Callable[[Core, Row], None]:
    """The working order asked to be another, and what the venue (or whoever asked) has to say to that."""

    def happens(core: Core, row: Row) -> None:
        _working(core, row)
        asked = core.modify("o1", **(row.up if way == "up" else row.down))
        assert isinstance(asked, e.Modified), asked
        if then == "rolled_back":
            core.rollback(asked.modify_id)
            return
        core.mark_sent(asked.modify_id)
        for _ in range(times if then else 0):
            assert not isinstance(core.report(report(then, order_id="o1", report_id="m")), e.Failed)

    return happens


def _fill(core: Core, row: Row) -> None:
    assert not isinstance(core.report(fill("o1", 2, **row.fills_with)), e.Failed)


def _quarantined(core: Core, row: Row) -> int:
    id = _check(core, row)
    core.quarantine(id)
    return id


def _undone(*before: tuple[str, str], fill_id: str = "f", to: int = 0) -> Callable[[Core, Row], None]:
    """A fill of those is busted, or told anew with that quantity."""

    def happens(core: Core, row: Row) -> None:
        _told(*before)(core, row)
        words = {"quantity": to, **row.fills_with} if to else {}
        said = report("correct" if to else "bust", order_id="o1", fill_id=fill_id, report_id="u", **words)
        assert not isinstance(core.report(said), e.Failed)

    return happens


def _status(traded: int, venue_state: str | None = None) -> Callable[[Core, Row], None]:
    """A source that knows only how much has traded, and what became of the order."""

    def happens(core: Core, row: Row) -> None:
        _working(core, row)
        words = {} if venue_state is None else {"status": venue_state}
        assert not isinstance(core.status("o1", traded, "100", **words), e.Failed)

    return happens


EVENTS: dict[str, Callable[[Core, Row], Any]] = {
    "fresh": lambda core, row: None,
    "held": _check,
    "working": _working,
    "later": _later,
    "rolled_back": lambda core, row: core.rollback(_check(core, row)),
    "lease_over": _lease_over,
    "part_filled": _told(("f", "fill 2")),
    "part_filled_told_twice": _told(("f", "fill 2"), times=2),
    "filled": _told(("f", "fill 2"), ("g", "fill 4")),
    "cancelled": _told(("c", "cancelled")),
    "cancelled_told_twice": _told(("c", "cancelled"), times=2),
    "part_filled_and_cancelled": _told(("f", "fill 2"), ("c", "cancelled")),
    "quarantined": _quarantined,
    "quarantined_rolled_back": lambda core, row: core.rollback(_quarantined(core, row)),
    "busted": _undone(("f", "fill 2")),
    "filled_busted": _undone(("f", "fill 2"), ("g", "fill 4"), fill_id="g"),
    "corrected": _undone(("f", "fill 2"), to=3),
    "status_part_filled": _status(2),
    "status_filled": _status(6, "filled"),
    "status_cancelled": _status(2, "cancelled"),
    "up_asked": _modified("up"),
    "up_asked_part_filled": lambda core, row: (EVENTS["up_asked"](core, row), _fill(core, row)),
    "up_rolled_back": _modified("up", "rolled_back"),
    "up_refused": _modified("up", "replace_rejected"),
    "up_replaced": _modified("up", "replaced"),
    "up_replaced_told_twice": _modified("up", "replaced", times=2),
    "down_asked": _modified("down"),
    "down_refused": _modified("down", "replace_rejected"),
    "down_replaced": _modified("down", "replaced"),
}
MODIFIES = tuple(event for event in EVENTS if event.startswith(("up_", "down_")))

# ---------------------------------------------------------------------------------------------- what passes then

Probe = Callable[[Core, "Row", Any], None]


def asks(core: Core, row: Row, **fields: Any) -> str:
    """The code an order is refused with, or "" where it passes."""
    answer = core.check(order(**(dict(row.probe_with) | fields)))
    return "" if isinstance(answer, e.Accepted) else str(answer.rejected.code)


def by(what: str, unit: str) -> Probe:
    """An order of that quantity (or at that price) passes, and one unit further does not; None: however far."""

    def probe(core: Core, row: Row, free: str | None) -> None:
        if free is not None:
            assert asks(core, row, **{what: Decimal(free) + Decimal(unit)}) == row.code
        assert asks(core, row, **{what: free or "1000000"}) == ""

    return probe


def count(core: Core, row: Row, free: int) -> None:
    """So many orders pass, and the next does not."""
    assert [asks(core, row) for _ in range(free + 1)] == [""] * free + [row.code]


def loss(core: Core, row: Row, free: str) -> None:
    """A cent less may be lost; with the last cent it trips."""
    core.report(money("elsewhere", pnl=-(Decimal(free) - Decimal("0.01"))))
    assert asks(core, row) == ""
    core.report(money("elsewhere", pnl="-0.01"))
    assert asks(core, row) == row.code


units = by("quantity", "0.000000001")
price = by("price", "0.01")


@dataclass(frozen=True)
class Row:
    """A control: its limit, what stands before o1 comes, how much is free after each event, and how far o1 may go."""

    settings: str
    code: str
    probe: Probe
    free: Mapping[str, Any]
    modify: tuple[Mapping[str, str], Mapping[str, str]] | str
    """Terms of o1 that just pass and terms that do not; or why a modify comes to no limit of this control."""
    first: Mapping[str, Any] = field(default_factory=lambda: {"quantity": 6})
    probe_with: Mapping[str, Any] = field(default_factory=dict)
    fills_with: Mapping[str, Any] = field(default_factory=dict)
    up: Mapping[str, Any] = field(default_factory=lambda: {"quantity": 8})
    down: Mapping[str, Any] = field(default_factory=lambda: {"quantity": 3})
    before: Callable[[Core], Any] = lambda core: None


ALIKE = {
    "quarantined": "working",
    "quarantined_rolled_back": "rolled_back",
    "busted": "working",
    "filled_busted": "part_filled",
    "status_part_filled": "part_filled",
    "status_filled": "filled",
    "status_cancelled": "part_filled_and_cancelled",
}
"""What nobody knows counts as what works; what is undone, as what never was; what is told in a sum, as its parts."""


def free(**cells: Any) -> dict[str, Any]:
    """So much passes after each of these, and after each that comes to the same."""
    return cells | {event: cells[other] for event, other in ALIKE.items() if other in cells and event not in cells}


def always(much: Any, why: str, **but: Any) -> dict[str, Any]:
    """The same after every event, since `why`, but for those named."""
    assert why and set(but) <= set(EVENTS)
    return dict.fromkeys(EVENTS, much) | but


TO_TEN = ({"quantity": "10"}, {"quantity": "10.000000001"})
ASKED = dict.fromkeys(MODIFIES, 1)

# o1 is 6 @ 100 unless said otherwise, 2 of it fill (then 4), up is to 8, down is to 3.
OF_TEN = (
    free(fresh=10, held=4, working=4, later=4, rolled_back=10, lease_over=10)
    | free(part_filled=4, part_filled_told_twice=4, filled=4, corrected=4)
    | free(cancelled=10, cancelled_told_twice=10, part_filled_and_cancelled=8)
    | free(up_asked=2, up_rolled_back=4, up_refused=4, up_replaced=2, up_replaced_told_twice=2)
    | free(up_asked_part_filled=2)
    | free(down_asked=4, down_refused=4, down_replaced=7)
)
"""What is left of ten where an order counts while it is open, and what it has traded goes on counting."""

TABLE: dict[str, Row] = {
    # 1000 USD may be open
    "open_order_notional": Row(
        'each = "account", settlement = "USD", max_notional = 1000',
        "RiskLimitExceeded",
        units,
        OF_TEN
        | free(part_filled=6, part_filled_told_twice=6, filled=10, corrected=7)
        | free(part_filled_and_cancelled=10, up_asked_part_filled=4),
        TO_TEN,
    ),
    # 10 units long, what has filled included
    "position_limit": Row(
        'each = "account+instrument", max_quantity = 10',
        "PositionLimitExceeded",
        units,
        OF_TEN,
        TO_TEN,
    ),
    # 1000 USD gross at a mark of 100, what has filled included
    "exposure_limit": Row(
        'each = "account", settlement = "USD", max_gross = 1000',
        "RiskLimitExceeded",
        units,
        OF_TEN,
        TO_TEN,
    ),
    # beside 1000 USD of MSFT, 1000 USD of AAPL are half of the book
    "concentration_limit": Row(
        'each = "account", settlement = "USD", max_percent = 50, min_gross = 1',
        "ConcentrationLimitExceeded",
        units,
        OF_TEN,
        TO_TEN,
        before=lambda core: holds(core, 20, MSFT),
    ),
    # 1000 USD are there; what is bought is paid
    "spot_funds": Row(
        'each = "account"',
        "InsufficientFunds",
        units,
        OF_TEN,
        TO_TEN,
        before=lambda core: core.fund(USD="1000"),
    ),
    # 1000 USD a minute: what was at the venue counts until the minute is over, and the most that it was
    "turnover_limit": Row(
        'each = "account", settlement = "USD", max_notional = 1000, window = "60s"',
        "RiskLimitExceeded",
        units,
        OF_TEN | free(later=10, cancelled=4, cancelled_told_twice=4, part_filled_and_cancelled=4, down_replaced=4),
        TO_TEN,
    ),
    # 10 units are there to sell, and no more
    "instrument_rules": Row(
        'short_sale = "reject"',
        "ShortSaleRestriction",
        units,
        OF_TEN,
        TO_TEN,
        first={"side": "sell", "quantity": 6},
        probe_with={"side": "sell"},
        before=lambda core: holds(core, 10),
    ),
    "order_size_limit": Row(
        'each = "account", max_quantity = 10',
        "OrderQtyExceedsLimit",
        units,
        always(10, why="each order is looked at alone, and nothing is kept of it"),
        TO_TEN,
    ),
    "price_collar": Row(
        "max_absolute = 5",
        "RiskLimitExceeded",
        price,
        always("105", why="each price is compared with the mark of 100, and nothing is kept of it"),
        ({"price": "105"}, {"price": "105.01"}),
    ),
    # 3 orders may be open
    "open_order_limit": Row(
        'each = "account", max_orders = 3',
        "RiskLimitExceeded",
        count,
        free(fresh=3, held=2, working=2, later=2, rolled_back=3, lease_over=3)
        | free(part_filled=2, part_filled_told_twice=2, filled=3, corrected=2)
        | free(cancelled=3, cancelled_told_twice=3, part_filled_and_cancelled=3)
        | dict.fromkeys(MODIFIES, 2),
        "a modified order is still one order",
    ),
    "rate_limit": Row(
        'each = "account", max_orders = 3, window = "60s"',
        "RateLimitExceeded",
        count,
        always(2, why="an attempt counts whatever became of it, and a modify is none", fresh=3, later=3),
        "modifies are counted by message_rate",
    ),
    "message_rate": Row(
        'each = "account", max_messages = 3, window = "60s", orders = true',
        "RateLimitExceeded",
        count,
        always(2, why="a message counts whatever became of it; a modify is one more", fresh=3, later=3) | ASKED,
        "what a modify asks for is not looked at, and as a message it counts: up_asked",
    ),
    # 3 of the same, o1 included, which is the same as what is asked for: buy 6 @ 100
    "duplicate_order": Row(
        'each = "account", max_repeats = 2, window = "60s"',
        "RateLimitExceeded",
        count,
        always(2, why="an attempt counts whatever became of it, and a modify is no order", fresh=3, later=3),
        "a modify is no order",
        probe_with={"quantity": 6},
    ),
    "repeated_execution": Row(
        'each = "client", max_executions = 3, window = "60s"',
        "AccountBlocked",
        count,
        always(2, why="an attempt counts whatever became of it, and a modify is no execution", fresh=3, later=3),
        "a modify is no execution",
        probe_with={"quantity": 6},
    ),
    # our own sell @ 101 (up to 102, down to 100) and buy @ 90: a buy passes at the highest price that is below the sell
    "self_trade": Row(
        'each = "account"',
        "WashTradePrevention",
        price,
        free(fresh=None, held="100.99", working="100.99", later="100.99", rolled_back=None, lease_over=None)
        | free(part_filled="100.99", part_filled_told_twice="100.99", filled=None, corrected="100.99")
        | free(cancelled=None, cancelled_told_twice=None, part_filled_and_cancelled=None)
        | free(up_asked="100.99", up_asked_part_filled="100.99", up_rolled_back="100.99", up_refused="100.99")
        | free(up_replaced="101.99", up_replaced_told_twice="101.99")
        | free(down_asked="99.99", down_refused="100.99", down_replaced="99.99"),
        ({"price": "90.01"}, {"price": "90"}),
        first={"side": "sell", "price": 101, "quantity": 6},
        up={"price": 102},
        down={"price": 100},
        before=lambda core: core.working(order(id="bid", price=90)),
    ),
    # 100 USD may be lost; each fill of o1 brings a loss of 40
    "pnl_kill_switch": Row(
        'each = "account", settlement = "USD", max_loss = 100',
        "PnlKillSwitchTriggered",
        loss,
        always(
            "100",
            why="an order that has not traded has lost nothing, and a status tells of no P&L",
            part_filled="60",
            part_filled_told_twice="60",
            up_asked_part_filled="60",
            filled="20",
            part_filled_and_cancelled="60",
            filled_busted="60",
            corrected="60",
        ),
        "a modify loses nothing",
        fills_with={"pnl": "-40"},
    ),
}


def settings_of(control: str) -> str:
    return f'[limits]\nit = {{ control = "{control}", {TABLE[control].settings} }}\n'


def arranged(control: str, event: str) -> Core:
    core = marked(Core(settings_of(control)))
    core.session()
    TABLE[control].before(core)
    EVENTS[event](core, TABLE[control])
    return core


def test_no_control_and_no_event_is_missing() -> None:
    assert set(TABLE) == set(config.CONTROLS)
    for control, row in TABLE.items():
        assert set(row.free) == set(EVENTS), control


@pytest.mark.parametrize("control", TABLE)
@table("event", EVENTS)
def test_exactly_what_is_free_passes_and_one_unit_more_is_refused_also_after_a_restart(
    control: str, event: str
) -> None:
    row = TABLE[control]
    core = arranged(control, event)
    for each in (*(come_back(core, settings_of(control), way) for way in WAYS), core):
        marked(each)
        row.probe(each, row, row.free[event])


def _id(core: Core) -> int:
    return core.engine.orders.known_as("alpha", "o1").reservation_id


GOES_ON: tuple[tuple[str, Callable[[Core, Row], Any], str], ...] = (
    ("held", lambda core, row: core.rollback(_id(core)), "rolled_back"),
    ("held", lambda core, row: (core.advance(5), core.end_leases()), "lease_over"),
    ("working", _fill, "part_filled"),
    ("working", lambda core, row: core.report(report("cancelled", order_id="o1")), "cancelled"),
    ("part_filled", lambda core, row: core.report(report("cancelled", order_id="o1")), "part_filled_and_cancelled"),
    ("part_filled", lambda core, row: core.report(fill("o1", 2, report_id="f", **row.fills_with)), "part_filled"),
    ("up_asked", _fill, "up_asked_part_filled"),
    ("up_asked", lambda core, row: core.report(report("replaced", order_id="o1")), "up_replaced"),
    ("up_asked", lambda core, row: core.report(report("replace_rejected", order_id="o1")), "up_refused"),
    ("down_asked", lambda core, row: core.report(report("replaced", order_id="o1")), "down_replaced"),
    ("quarantined", lambda core, row: core.rollback(_id(core)), "rolled_back"),
    ("quarantined", lambda core, row: core.commit(_id(core)), "working"),
    ("part_filled", lambda core, row: core.report(report("bust", order_id="o1", fill_id="f")), "busted"),
    ("filled", lambda core, row: core.report(report("bust", order_id="o1", fill_id="g")), "filled_busted"),
    ("filled_busted", lambda core, row: core.report(report("cancelled", order_id="o1")), "part_filled_and_cancelled"),
    ("working", lambda core, row: core.status("o1", 2, "100", status="cancelled"), "status_cancelled"),
    ("part_filled", lambda core, row: core.status("o1", 2, "100"), "part_filled"),
)
"""What o1 was before a restart, what befalls it afterwards, and the cell that then holds."""


@pytest.mark.parametrize("control", TABLE)
def test_what_was_open_at_a_restart_is_given_back_after_it_as_without_it(control: str) -> None:
    row = TABLE[control]
    for before, happens, event in GOES_ON:
        for way in WAYS:
            core = marked(come_back(arranged(control, before), settings_of(control), way))
            happens(core, row)
            row.probe(marked(core), row, row.free[event])


@pytest.mark.parametrize("control", [control for control, row in TABLE.items() if not isinstance(row.modify, str)])
def test_an_order_is_modified_to_exactly_the_limit_and_not_one_unit_further(control: str) -> None:
    row = TABLE[control]
    at, over = row.modify
    core = arranged(control, "working")
    for each in (*(come_back(core, settings_of(control), way) for way in WAYS), core):
        marked(each)
        refused = each.modify("o1", **over)  # type: ignore[arg-type]
        assert str(refused.rejected.code) == row.code
        assert isinstance(each.modify("o1", **at), e.Modified)  # type: ignore[arg-type]


@pytest.mark.parametrize("control", [control for control, row in TABLE.items() if isinstance(row.modify, str)])
def test_where_a_modify_has_no_limit_of_its_own_it_passes_however_large(control: str) -> None:
    assert TABLE[control].modify
    core = arranged(control, "working")
    assert isinstance(core.modify("o1", quantity=1_000_000), e.Modified)


OTHER_BOUNDS: tuple[tuple[str, str, dict[str, Any], dict[str, Any], str], ...] = (
    ("exposure_limit", 'each = "account", settlement = "USD", max_net = 1000', {}, {}, "RiskLimitExceeded"),
    ("position_limit", 'each = "account+instrument", max_long = 10', {}, {}, "PositionLimitExceeded"),
    (
        *("position_limit", 'each = "account+instrument", max_short = 10'),
        *({"side": "sell"}, {"side": "sell"}, "PositionLimitExceeded"),
    ),
    (
        *("order_size_limit", 'each = "account", settlement = "USD", max_notional = 1000'),
        *({}, {"price": "100.01", "quantity": 10}, "OrderNotionalExceedsLimit"),
    ),
    (
        *("order_size_limit", 'each = "account", settlement = "USD", max_quantity = 10, max_notional = 1000'),
        *({}, {}, "OrderExceedsLimit"),
    ),
    ("turnover_limit", 'each = "account+instrument", max_quantity = 10, window = "60s"', {}, {}, "RiskLimitExceeded"),
    (
        *("concentration_limit", 'each = "account", settlement = "USD", max_percent = 50, min_gross = 1000'),
        *({}, {}, "ConcentrationLimitExceeded"),
    ),
    ("price_collar", "max_percent = 5", {"price": "105"}, {"price": "105.01"}, "RiskLimitExceeded"),
    (
        *("price_collar", 'max_percent = 5, side = "both"'),
        *({"price": "95"}, {"price": "94.99"}, "RiskLimitExceeded"),
    ),
    ("instrument_rules", "max_quantity = 10", {}, {}, "OrderQtyExceedsLimit"),
    ("instrument_rules", "min_quantity = 10", {}, {"quantity": "9.999999999"}, "InvalidFieldValue"),
    ("instrument_rules", "max_price = 100", {}, {"price": "100.01"}, "InvalidFieldValue"),
    ("instrument_rules", "min_price = 100", {}, {"price": "99.99"}, "InvalidFieldValue"),
)
"""What a control may bound besides: an order exactly at it (10 @ 100, unless told), one a unit over, and its code."""


@pytest.mark.parametrize(("control", "settings", "at", "over", "code"), OTHER_BOUNDS)
def test_at_every_other_bound_an_order_passes_and_one_unit_further_it_does_not(
    control: str, settings: str, at: dict[str, Any], over: dict[str, Any], code: str
) -> None:
    core = marked(Core(f'[limits]\nit = {{ control = "{control}", {settings} }}\n'))
    refused = core.check(order(**({"quantity": "10.000000001"} | over)))
    assert str(refused.rejected.code) == code
    assert isinstance(core.check(order(**at)), e.Accepted)


# ---------------------------------------------------------------------------------------------- firm and group

GROUPED = '[gate]\nunknown_accounts = "allow"\nuncovered = "allow"\n' + "".join(
    f'[accounts.{name}]\ngroup = "eq"\n' for name in ("alpha", "beta")
)
OVER = {"firm": 'over = "firm"', "group": 'over = { group = "eq" }'}

ALONE = {
    "spot_funds": "what an account has is its own",
    "order_size_limit": "it looks at each order alone",
    "price_collar": "it looks at each order alone",
    "instrument_rules": "it looks at each order, and at what its own account holds",
}
"""The controls that count nothing over several accounts, and why."""

CODES_OVER = {"self_trade": "SelfMatchPrevention"}
"""Where one account is refused for another's sake under a code of its own."""


@pytest.mark.parametrize("over", OVER)
@pytest.mark.parametrize("control", [control for control in TABLE if control not in ALONE])
def test_over_the_firm_or_a_group_one_account_has_what_another_has_left_it(control: str, over: str) -> None:
    row = TABLE[control]
    shared = re.sub(r'each = "[^"]*"', OVER[over], row.settings)
    assert shared != row.settings
    if "instrument" in row.settings:  # units of one instrument alone can be added up
        shared += ', instruments = ["AAPL/USD"]'
    settings = f'{GROUPED}[limits]\nit = {{ control = "{control}", {shared} }}\n'
    code = CODES_OVER.get(control, row.code)
    of_beta = replace(row, code=code, probe_with=dict(row.probe_with) | {"account": "beta"})
    for event in EVENTS:
        core = marked(Core(settings))
        core.session()
        row.before(core)
        EVENTS[event](core, row)
        for each in (come_back(core, settings, "replay"), core):
            marked(each)
            of_beta.probe(each, of_beta, row.free[event])
    if over == "group":
        core = marked(Core(settings))
        core.session()
        row.before(core)
        EVENTS["filled"](core, row)
        assert asks(core, row, account="gamma", quantity=1_000_000) == "", "it is in no group"
