"""`pitd replay`: a journal decided again answers the same, and other limits are judged against what really was."""

from __future__ import annotations

import decimal
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from builders import AAPL, fill, money, order, report

import pit
from pit import wire
from pitd import bootstrap, cli, config, recovery, replay
from pitd.calendar import Calendar
from pitd.clock import ManualClock
from pitd.core import entry as e
from pitd.core.engine import exact_context
from pitd.errors import JournalDamaged
from pitd.journal import SegmentJournal, segments
from pitd.sequencer import Sequencer

LIMITS = """
[limits]
size = { control = "order_size_limit", each = "account", settlement = "USD", max_quantity = "10" }
rate = { control = "rate_limit", each = "account", max_orders = 5, window = "1s" }
loss = { control = "pnl_kill_switch", each = "account", settlement = "USD", max_loss = "100" }
open = { control = "open_order_notional", each = "account", settlement = "USD", max_notional = "3000" }
"""


class Desk:
    """A sequencer with a journal, one client, and a clock that goes a second with each command unless told."""

    def __init__(self, directory: Path, limits: str, **settings: Any) -> None:
        self.config = config.parse(f'journal.directory = "{directory}"\n{limits}', "test.toml")
        kept = msgspec.structs.replace(self.config.journal, **settings)
        self.clock = ManualClock(1)
        found = recovery.recover(directory, bootstrap.blank_engine)
        self.journal = SegmentJournal(kept, b"j" * 16, found.head, snapshot_seq=found.snapshot_seq)
        self.clock.set_ns(max(1, found.engine.now_ns))
        self.sequencer = Sequencer(found.engine, self.clock, self.journal)
        self.sequencer.calendar = Calendar(self.config)
        self.sequencer.configure(bootstrap.configured(self.config, "test", "test"))
        session = found.engine.sessions.get(self.sequencer.open_session("mm1", b"t" * 16))
        assert session is not None
        self.session = session

    def say(self, command: e.Command, *, after_s: float = 1) -> Any:
        self.clock.advance(after_s)
        self.sequencer.turn_days()
        number = self.session.next_number
        known = self.sequencer.command(self.session, number, number - 1, b"", command)
        self.sequencer.release()
        return known.reply

    def check(self, wanted: pit.Order, *, after_s: float = 1) -> Any:
        return self.say(e.CheckOrder(wanted, True, None), after_s=after_s)

    def working(self, wanted: pit.Order) -> pit.Order:
        self.say(e.Commit(self.check(wanted).reservation_id, None, False))
        return wanted


@contextmanager
def desk(directory: Path, limits: str = LIMITS, **settings: Any) -> Iterator[Desk]:
    directory.mkdir(exist_ok=True)
    with decimal.localcontext(exact_context()):
        made = Desk(directory, limits, **settings)
        yield made
        made.sequencer.release()
        made.journal.close(made.sequencer.engine)


def trade_at_random(desk: Desk, seed: int, count: int) -> None:
    chance = random.Random(seed)
    alive: list[tuple[pit.Order, int]] = []
    for n in range(count):
        after_s = chance.choice([0, 0.05, 0.5, 6])
        wanted = order(account=chance.choice("ab"), id=f"o{seed}-{n}", quantity=chance.randint(1, 12))
        if not alive or chance.random() < 0.5:
            answer = desk.check(wanted, after_s=after_s)
            if isinstance(answer, e.Accepted):
                alive.append((wanted, answer.reservation_id))
            continue
        known, id = chance.choice(alive)
        about: dict[str, Any] = {"account": known.account, "order_id": known.id}
        about |= {"report_id": f"{seed}-{n}", "pnl": chance.randint(-9, 6)}
        said = chance.choice(
            [
                e.Commit(id, f"v{id}", chance.random() < 0.3),
                e.Rollback(id, "no"),
                e.ApplyReport(fill(quantity=chance.randint(1, 5), **about)),
                e.ApplyReport(report("cancelled", **about)),
                e.Renew(id, None),
            ]
        )
        desk.say(said, after_s=after_s)


@pytest.mark.parametrize("seed", range(5))
def test_a_journal_decided_again_gives_the_same_answers(tmp_path: Path, seed: int) -> None:
    with desk(tmp_path, segment_rows=100) as made:
        trade_at_random(made, seed, 400)
    again = replay.decide_again(tmp_path, bootstrap.blank_engine)
    assert (again.first_seq, again.last_seq) == (1, made.sequencer.seq)
    assert again.decided == made.sequencer.seq > 400
    assert again.differences == []


def test_a_part_is_decided_from_the_state_before_it(tmp_path: Path) -> None:
    with desk(tmp_path) as made:
        trade_at_random(made, 7, 300)
    again = replay.decide_again(tmp_path, bootstrap.blank_engine, first_seq=150, last_seq=200)
    assert (again.first_seq, again.last_seq, again.decided, again.different) == (150, 200, 51, 0)


def test_limits_that_changed_on_the_way_are_those_that_were_in_force(tmp_path: Path) -> None:
    with desk(tmp_path) as made:
        assert isinstance(made.check(order(quantity=11)), e.Refused)
    with desk(tmp_path, LIMITS.replace('max_quantity = "10"', 'max_quantity = "20"')) as made:
        assert isinstance(made.check(order(quantity=11)), e.Accepted)
    assert replay.decide_again(tmp_path, bootstrap.blank_engine).different == 0


def test_every_answer_that_comes_out_otherwise_is_shown_and_the_rest_is_judged_by_what_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with desk(tmp_path) as made:
        made.check(order(id="small", quantity=10))
        made.check(order(id="big", quantity=11))
        made.check(order(id="next", quantity=10))  # with the big one open there would be no room for it
    kept = bootstrap.build_policies

    def laxer(settings: config.Config, *running: object) -> Any:
        limits = [
            msgspec.structs.replace(limit, max_quantity=decimal.Decimal(11)) if limit.name == "size" else limit
            for limit in settings.limits
        ]
        return kept(msgspec.structs.replace(settings, limits=tuple(limits)))

    monkeypatch.setattr(bootstrap, "build_policies", laxer)
    again = replay.decide_again(tmp_path, bootstrap.blank_engine)
    assert again.different == 1
    found = again.differences[0]
    assert found.what == "CheckOrder" and "size (OrderQtyExceedsLimit)" in found.was and "Accepted" in found.now


def test_a_poisoned_entry_is_taken_over_as_it_stands(tmp_path: Path) -> None:
    with desk(tmp_path) as made:
        sequencer = made.sequencer
        body = e.Poisoned("CheckOrder", "account alpha", "it broke")
        block = pit.Block(
            scope="account alpha",
            code=pit.RejectCode.SYSTEM_UNAVAILABLE,
            limit="poisoned",
            reason="it broke",
            author="pitd",
        )
        row = e.Row(e.Entry(sequencer.seq + 1, sequencer.now_ns, 0, body), (e.Blocked(block),), e.Done())
        sequencer.release()
        made.journal.append([row])
        sequencer.engine.carry_out(e.deed_of(row))
        assert isinstance(made.check(order()), e.Refused)
    assert replay.decide_again(tmp_path, bootstrap.blank_engine).different == 0


# ---------------------------------------------------------------------------------------------- what if


def judged(directory: Path, limits: str) -> replay.WhatIf:
    other = config.parse(limits, "other.toml")
    return replay.what_if(directory, bootstrap.blank_engine, bootstrap.build_engine(other), Calendar(other))


def test_the_same_limits_change_nothing(tmp_path: Path) -> None:
    with desk(tmp_path) as made:
        trade_at_random(made, 3, 400)
    found = judged(tmp_path, LIMITS)
    assert found.orders > 150 and found.refused_as_before > 20 and found.accepted_as_before > 20
    assert (found.would_be_refused, found.would_be_let_through, found.changes) == (0, 0, [])


def test_a_tighter_size_names_limit_code_orders_and_notional(tmp_path: Path) -> None:
    with desk(tmp_path) as made:
        for n, quantity in enumerate([5, 8, 9]):
            made.check(order(id=f"o{n}", quantity=quantity))
    found = judged(tmp_path, LIMITS.replace('max_quantity = "10"', 'max_quantity = "7"'))
    assert (found.orders, found.accepted_as_before, found.would_be_refused) == (3, 1, 2)
    change = found.changes[0]
    assert (change.would_be, change.limit, change.code, change.orders) == ("refused", "size", "OrderQtyExceedsLimit", 2)
    assert change.notional == {"USD": 1700} and change.order_ids == ["o1", "o2"] and change.first_order == "o1"


def test_a_laxer_rate_says_what_it_would_have_let_through(tmp_path: Path) -> None:
    with desk(tmp_path) as made:
        for n in range(8):
            made.check(order(id=f"o{n}", quantity=1), after_s=0.01)
    found = judged(tmp_path, LIMITS.replace("max_orders = 5", "max_orders = 7"))
    assert (found.accepted_as_before, found.would_be_let_through, found.refused_as_before) == (5, 2, 1)
    assert [(c.would_be, c.limit, c.order_ids) for c in found.changes] == [("let through", "rate", ["o5", "o6"])]


def test_what_is_open_counts_as_it_really_was(tmp_path: Path) -> None:
    """An order that tighter limits would have refused was open all the same, and takes its room."""
    with desk(tmp_path) as made:
        first = made.working(order(id="first", quantity=9))
        made.check(order(id="second", quantity=9))
        made.say(e.ApplyReport(fill(first.id, 9)))
        made.check(order(id="third", quantity=9))
    found = judged(tmp_path, LIMITS.replace('max_notional = "3000"', 'max_notional = "1000"'))
    assert [change.order_ids for change in found.changes] == [["second", "third"]]
    assert "1800" not in found.changes[0].reason and "on top of 900 open" in found.changes[0].reason


def test_another_loss_limit_trips_at_its_own_place(tmp_path: Path) -> None:
    with desk(tmp_path) as made:
        for n in range(4):
            lost = made.working(order(id=f"o{n}", quantity=1))
            made.say(e.ApplyReport(fill(lost.id, 1, pnl=-20)))
    found = judged(tmp_path, LIMITS.replace('max_loss = "100"', 'max_loss = "40"'))
    assert [(c.limit, c.code, c.order_ids) for c in found.changes] == [("loss", "PnlKillSwitchTriggered", ["o2", "o3"])]


def test_both_stages_of_a_two_stage_order_are_judged(tmp_path: Path) -> None:
    with desk(tmp_path) as made:
        request = made.say(e.StartOrder(order(id="staged", quantity=9)))
        made.say(e.ExecuteRequest(request.request_id, False, None))
    found = judged(tmp_path, LIMITS.replace('max_notional = "3000"', 'max_notional = "100"'))
    assert found.would_be_refused >= 1 and found.changes[0].limit == "open"


def test_a_two_stage_order_is_no_repeat_of_itself(tmp_path: Path) -> None:
    once = '\nagain = { control = "duplicate_order", max_repeats = 0, window = "9s" }\n'
    with desk(tmp_path, LIMITS + once) as made:
        for id in ("first", "again"):
            request = made.say(e.StartOrder(order(id=id, quantity=9)))
            if isinstance(request, e.Deferred):
                made.say(e.ExecuteRequest(request.request_id, False, None))
    assert judged(tmp_path, LIMITS + once).changes == []
    found = judged(tmp_path, LIMITS)
    assert [(each.would_be, each.limit, each.order_ids) for each in found.changes] == [
        ("let through", "again", ["again"])
    ]


def test_another_collar_is_judged_by_the_prices_that_were_known(tmp_path: Path) -> None:
    near = '\nnear = { control = "price_collar", max_percent = 5 }\n'
    with desk(tmp_path, LIMITS + near) as made:
        engine = made.sequencer.engine
        quote = wire.PushQuote(AAPL, mark=decimal.Decimal(100))
        assert made.sequencer.quotes.push(engine, quote, 0) == wire.Done(1)
        for price in (102, 104, 106):
            made.check(order(id=f"o{price}", price=price, quantity=1))
    assert judged(tmp_path, LIMITS + near).changes == []
    found = judged(tmp_path, LIMITS + near.replace("5", "3"))
    assert [(each.would_be, each.limit, each.order_ids) for each in found.changes] == [("refused", "near", ["o104"])]


def test_a_strategy_that_was_let_go_is_judged_as_let_go(tmp_path: Path) -> None:
    loop = '\nloop = { control = "repeated_execution", max_executions = 2, window = "60s" }\n'
    with desk(tmp_path, LIMITS + loop) as made:
        for n in range(4):
            made.check(order(id=f"o{n}", quantity=1))
        made.say(e.UnblockScope("client mm1", "a test"))
        made.check(order(id="after", quantity=1))
    assert replay.decide_again(tmp_path, bootstrap.blank_engine).different == 0
    assert judged(tmp_path, LIMITS + loop).changes == []
    found = judged(tmp_path, LIMITS + loop.replace("= 2", "= 3"))
    assert [(each.would_be, each.order_ids) for each in found.changes] == [("let through", ["o2"])]


def test_a_pruned_journal_is_judged_from_its_first_snapshot(tmp_path: Path) -> None:
    with desk(tmp_path, segment_rows=100) as made:
        made.working(order(id="old", quantity=9))
        for n in range(300):
            made.say(e.ApplyReport(report("accepted", order_id="old", report_id=f"r{n}")))
            made.journal.maintain(made.sequencer.engine)
            if made.journal._snapshot_pid:
                made.journal._reap(wait=True)
        made.check(order(id="new", quantity=9))
    found = segments(tmp_path)
    assert len(found) > 2
    snapshot_of_second = tmp_path / f"{int(found[1].stem) - 1:016d}.snapshot"
    assert snapshot_of_second.exists()
    found[0].unlink()
    assert replay.decide_again(tmp_path, bootstrap.blank_engine).different == 0
    other = judged(tmp_path, LIMITS.replace('max_notional = "3000"', 'max_notional = "1000"'))
    assert [(change.order_ids, change.limit) for change in other.changes] == [(["new"], "open")]


def set_size(desk: Desk, quantity: str, lasts_ns: int | None = None) -> None:
    set_now = desk.say(e.SetLimit("size", (("max_quantity", quantity),), "a test", lasts_ns))
    assert isinstance(set_now, e.LimitSet)


def overridden_history(directory: Path) -> None:
    """Orders of 15 while 10 is configured: refused, taken under an override, refused once it has ended."""
    with desk(directory) as made:
        made.check(order(id="before", quantity=15))
        set_size(made, "20", lasts_ns=3_600_000_000_000)
        made.check(order(id="under", quantity=15))
        made.check(order(id="after", quantity=15), after_s=3_600)


def test_what_persons_set_is_decided_again_as_it_was(tmp_path: Path) -> None:
    overridden_history(tmp_path)
    with desk(tmp_path, LIMITS.replace('max_quantity = "10"', 'max_quantity = "8"')) as made:
        set_size(made, "30")
        trade_at_random(made, 11, 50)
    with desk(tmp_path, LIMITS.replace('max_quantity = "10"', 'max_quantity = "6"')) as made:
        assert made.sequencer.engine.disagreements()
        trade_at_random(made, 12, 50)
        made.say(e.ClearLimit("size", None, "a test"))
        trade_at_random(made, 13, 50)
    assert replay.decide_again(tmp_path, bootstrap.blank_engine).differences == []
    again = replay.decide_again(tmp_path, bootstrap.blank_engine, first_seq=60)
    assert again.different == 0 and again.decided > 50


def test_other_limits_are_judged_as_they_are_written_whatever_was_set_over_those_in_force(tmp_path: Path) -> None:
    overridden_history(tmp_path)
    found = judged(tmp_path, LIMITS)
    assert [(each.would_be, each.order_ids) for each in found.changes] == [("refused", ["under"])]
    found = judged(tmp_path, LIMITS.replace('max_quantity = "10"', 'max_quantity = "15"'))
    assert [(each.would_be, each.order_ids) for each in found.changes] == [("let through", ["before", "after"])]


def test_a_pruned_journal_with_overrides_is_judged_as_written(tmp_path: Path) -> None:
    with desk(tmp_path, segment_rows=100) as made:
        set_size(made, "20")
        for n in range(300):
            made.say(e.ApplyReport(report("accepted", order_id=f"x{n}", report_id=f"r{n}")))
            made.journal.maintain(made.sequencer.engine)
            if made.journal._snapshot_pid:
                made.journal._reap(wait=True)
        made.check(order(id="new", quantity=15))
    segments(tmp_path)[0].unlink()
    assert [each.order_ids for each in judged(tmp_path, LIMITS).changes] == [["new"]]


# ---------------------------------------------------------------------------------------------- other days and hours


CALENDAR = '[calendar]\nstart_of_day = "00:00"\n'
TUESDAY = datetime(2026, 11, 24, tzinfo=UTC)


def at(made: Desk, moment: str, *ids: str, **fields: Any) -> list[Any]:
    """Orders of 10 @ 100 for account alpha, unless said otherwise, at "tue 14:30": by a clock in London."""
    day, _, time = moment.partition(" ")
    hour, minute = map(int, time.split(":"))
    when = TUESDAY + timedelta(days=("tue", "wed", "thu").index(day), hours=hour, minutes=minute)
    made.clock.set_ns(round(when.timestamp()) * 10**9)
    return [made.check(order(id=id, **fields), after_s=0) for id in ids]


def told(found: replay.WhatIf) -> dict[tuple[str, pit.RejectCode], list[str]]:
    return {(each.would_be, each.code): each.order_ids for each in found.changes}


def test_hours_that_are_new_are_those_of_each_past_moment(tmp_path: Path) -> None:
    with desk(tmp_path, "") as made:
        at(made, "tue 14:29", "early")
        at(made, "tue 14:30", "first")
        at(made, "tue 20:59", "last")
        at(made, "tue 21:00", "late")
        at(made, "wed 15:00", "next")
        at(made, "thu 15:00", "holiday")
    hours = 'hours = ["mon-fri 09:30-16:00"], zone = "America/New_York", holidays = ["2026-11-26"]'
    found = judged(tmp_path, f'[limits]\nnyse = {{ control = "instrument_rules", {hours} }}')
    assert told(found) == {("refused", pit.RejectCode.EXCHANGE_CLOSED): ["early", "late", "holiday"]}
    assert found.accepted_as_before == 3


def test_other_hours_take_the_place_of_those_that_were_recorded(tmp_path: Path) -> None:
    def limits(session: str) -> str:
        return f'[limits]\nmarket = {{ control = "instrument_rules", hours = ["{session}"] }}'

    with desk(tmp_path, limits("10:00-12:00")) as made:
        at(made, "tue 09:30", "early")
        at(made, "tue 10:30", "between")
        at(made, "tue 11:30", "late")
    found = judged(tmp_path, limits("09:00-11:00"))
    assert told(found) == {
        ("let through", pit.RejectCode.EXCHANGE_CLOSED): ["early"],
        ("refused", pit.RejectCode.EXCHANGE_CLOSED): ["late"],
    }
    assert judged(tmp_path, limits("10:00-12:00")).changes == []


TURNOVER = (
    'daily = { control = "turnover_limit", each = "account", settlement = "USD", max_notional = 2500, per = "day" }'
)


def test_a_turnover_by_the_day_is_counted_by_the_days_of_the_other_zone(tmp_path: Path) -> None:
    with desk(tmp_path, CALENDAR) as made:
        at(made, "tue 21:00", "one", "two")
        at(made, "tue 22:30", "evening")
        at(made, "wed 01:00", "night", "small hours")
    found = judged(tmp_path, f"{CALENDAR}[limits]\n{TURNOVER}")
    assert told(found) == {("refused", pit.RejectCode.RISK_LIMIT_EXCEEDED): ["evening"]}
    new_york = '[calendar]\nstart_of_day = "17:00"\nzone = "America/New_York"\n'
    found = judged(tmp_path, f"{new_york}[limits]\n{TURNOVER}")
    assert told(found) == {("refused", pit.RejectCode.RISK_LIMIT_EXCEEDED): ["small hours"]}


def test_a_day_that_is_new_goes_by_an_accounts_own_rule(tmp_path: Path) -> None:
    with desk(tmp_path, "") as made:
        at(made, "tue 23:00", "a1", "a2", account="alpha")
        at(made, "tue 23:00", "t1", "t2", account="tokyo")
        at(made, "wed 00:30", "a3", account="alpha")
        at(made, "wed 00:30", "t3", account="tokyo")
    own = '[accounts.alpha]\n[accounts.tokyo]\nstart_of_day = "09:00"\nzone = "Asia/Tokyo"\n'
    found = judged(tmp_path, f"{CALENDAR}{own}[limits]\n{TURNOVER}")
    assert found.changes == []  # midnight in London is 9:00 in Tokyo
    later = own.replace("09:00", "11:00")
    assert told(judged(tmp_path, f"{CALENDAR}{later}[limits]\n{TURNOVER}")) == {
        ("refused", pit.RejectCode.RISK_LIMIT_EXCEEDED): ["t3"]
    }


def test_a_kill_switch_by_the_day_that_is_new_lets_go_on_when_the_next_one_begins(tmp_path: Path) -> None:
    with desk(tmp_path, "") as made:
        at(made, "tue 10:00", "good")
        made.say(e.ApplyReport(money("good", pnl=-120)))
        at(made, "tue 11:00", "stopped")
        at(made, "wed 11:00", "next day")
    loss = 'control = "pnl_kill_switch", each = "account", settlement = "USD", max_loss = 100'
    found = judged(tmp_path, f'{CALENDAR}[limits]\nloss = {{ {loss}, per = "day" }}')
    assert told(found) == {("refused", pit.RejectCode.PNL_KILL_SWITCH_TRIGGERED): ["stopped"]}
    found = judged(tmp_path, f"[limits]\nloss = {{ {loss} }}")
    assert told(found) == {("refused", pit.RejectCode.PNL_KILL_SWITCH_TRIGGERED): ["stopped", "next day"]}


@pytest.mark.parametrize("seed", range(3))
def test_the_same_calendar_changes_nothing(tmp_path: Path, seed: int) -> None:
    limits = (
        f'{CALENDAR}end_of_day = "17:00"\n[accounts.b]\nstart_of_day = "17:00"\nzone = "America/New_York"\n'
        '[accounts.a]\n[limits]\nloss = { control = "pnl_kill_switch", each = "account", settlement = "USD", '
        'max_loss = 20, per = "day" }\n'
        f'{TURNOVER}\nhours = {{ control = "instrument_rules", hours = ["07:00-19:00"] }}'
    )
    with desk(tmp_path, limits, segment_rows=100) as made:
        for n in range(40):
            trade_at_random(made, seed * 100 + n, 10)
            made.clock.advance(random.Random(n).choice([600, 7_200, 30_000]))
    assert made.sequencer.engine.days.all()
    assert replay.decide_again(tmp_path, bootstrap.blank_engine).different == 0
    found = judged(tmp_path, limits)
    assert found.accepted_as_before > 20 and found.refused_as_before > 20
    assert found.changes == []


def test_a_pruned_journal_goes_on_from_what_was_turned_over_that_day(tmp_path: Path) -> None:
    limits = f"{CALENDAR}[limits]\n{TURNOVER}"
    with desk(tmp_path, limits, segment_rows=100) as made:
        at(made, "tue 10:00", "closed", "open")
        made.say(e.ApplyReport(fill("closed", 10)))
        for n in range(300):
            made.say(e.ApplyReport(report("accepted", order_id="open", report_id=f"r{n}")))
            made.journal.maintain(made.sequencer.engine)
            if made.journal._snapshot_pid:
                made.journal._reap(wait=True)
        at(made, "tue 11:00", "third")
        at(made, "wed 11:00", "next day")
    segments(tmp_path)[0].unlink()
    assert judged(tmp_path, limits).changes == []
    found = judged(tmp_path, limits.replace("2500", "3500"))
    assert told(found) == {("let through", pit.RejectCode.RISK_LIMIT_EXCEEDED): ["third"]}


# ---------------------------------------------------------------------------------------------- the command


def test_the_command_says_that_all_is_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with desk(tmp_path) as made:
        made.check(order())
    assert cli.main(["replay", str(tmp_path)]) == 0
    assert "every answer is the same" in capsys.readouterr().out


def test_the_command_shows_a_table_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with desk(tmp_path) as made:
        made.check(order(id="o1", quantity=9))
    other = tmp_path / "other.toml"
    other.write_text(LIMITS.replace('max_quantity = "10"', 'max_quantity = "7"'))
    assert cli.main(["replay", str(tmp_path), "--config", str(other)]) == 0
    shown = capsys.readouterr().out
    assert "would be refused" in shown and "OrderQtyExceedsLimit" in shown and "900 USD" in shown
    assert cli.main(["replay", str(tmp_path), "--config", str(other), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["changes"][0]["order_ids"] == ["o1"]


def test_a_directory_without_a_journal_and_a_damaged_one_are_told(tmp_path: Path) -> None:
    assert cli.main(["replay", str(tmp_path / "nowhere")]) in (65, 74)
    with desk(tmp_path) as made:
        made.check(order())
    segments(tmp_path)[0].write_bytes(b"no database" * 1000)
    assert cli.main(["replay", str(tmp_path)]) == 65
    with pytest.raises(JournalDamaged, match="segment"):
        replay.decide_again(tmp_path, bootstrap.blank_engine)


def test_several_orders_in_one_row_are_judged_one_after_the_other(tmp_path: Path) -> None:
    with desk(tmp_path) as made:
        made.say(
            e.CheckMany((order(id="a", quantity=9), order(id="b", quantity=9), order(id="c", quantity=1)), True, None)
        )
    found = judged(tmp_path, LIMITS.replace('max_notional = "3000"', 'max_notional = "950"'))
    assert (found.orders, found.would_be_refused) == (3, 2)
    assert [change.order_ids for change in found.changes] == [["b", "c"]]


def test_what_shadows_would_refuse_is_told_beside_what_would_be_refused(tmp_path: Path) -> None:
    with desk(tmp_path) as made:
        made.check(order(id="a", quantity=8))
        made.check(order(id="b", quantity=4))
    found = judged(tmp_path, LIMITS.replace('max_quantity = "10"', 'max_quantity = "5", shadow = true'))
    assert (found.would_be_refused, found.told_in_shadow) == (0, 1)
    assert [(each.would_be, each.limit, each.order_ids) for each in found.changes] == [
        ("told in shadow", "size", ["a"])
    ]
