"""Disks that fill up or fail, clocks that jump, policies that break half-way: each with its documented answer."""

from __future__ import annotations

import contextlib
import decimal
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import builders
import msgspec
import pytest
from daemon import PATIENCE_S, Daemon, folder, running, until
from journal.files import change, rewrite
from journal.histories import brought_back, contents, digest, kept
from journal.houses import House, Talker, failure

import pit
from pit import wire
from pitd import history
from pitd.clock import ManualClock
from pitd.core import entry as e
from pitd.core.accounts import POISONED
from pitd.core.engine import CarryOutFailed, exact_context
from pitd.core.policy import Attempt, Policy, Verdict
from pitd.core.reading import Reader
from pitd.errors import JournalBusy, JournalFailed
from pitd.journal import START, free_bytes, lock, segments, snapshots

# ---------------------------------------------------------------------------------------------- disks


@contextlib.contextmanager
def mounted(at: Path, options: str) -> Iterator[Path]:
    at.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(at)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("a small disk can be mounted by root alone")
    try:
        yield at
    finally:
        subprocess.run(["umount", "-l", str(at)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", "size=2m") as disk:
        yield disk


class Ballast:
    """What else lies on a disk."""

    def __init__(self, disk: Path) -> None:
        self._path = disk / "ballast"

    def leave(self, free: int) -> None:
        taken = self._path.stat().st_size if self._path.exists() else 0
        more = free_bytes(self._path.parent) - free
        with self._path.open("ab") as file:
            os.posix_fallocate(file.fileno(), taken, more)

    def clear(self) -> None:
        self._path.unlink()


def is_low(house: House) -> bool:
    house.journal.maintain(house.engine)
    return bool(house.journal.why_low)


def test_nearly_full_refuses_new_orders_and_nothing_else(small_disk: Path) -> None:
    house = House(small_disk / "journal")
    client, other, ops = Talker(house), Talker(house, "mm2"), Talker(house, "ops")
    held, sent, working, given_back = (client.hold(id=id) for id in ("h", "s", "w", "g"))
    client.ask(wire.Commit(working.reservation_id, None, False))
    request = client.ask(wire.Start(builders.order()))
    assert isinstance(request, wire.Deferred)
    ballast = Ballast(small_disk)
    ballast.leave(20_000)
    until(lambda: is_low(house), "the journal to notice")

    for refused in (
        other.check(),
        other.ask(wire.Start(builders.order())),
        client.ask(wire.Execute(request.request_id, False, None)),
    ):
        assert isinstance(refused, wire.Failed)
        assert refused.code is wire.FailureCode.SYSTEM_UNAVAILABLE
        assert "nearly full" in refused.message
        assert "goes on by itself once there is room" in refused.message
    assert isinstance(client.ask(wire.MarkSent(sent.reservation_id)), wire.Settled)
    assert isinstance(client.ask(wire.Commit(held.reservation_id, "V1", False)), wire.Settled)
    assert isinstance(client.ask(wire.Rollback(given_back.reservation_id, "")), wire.Settled)
    assert isinstance(client.ask(wire.Report(builders.fill("w", "10"))), wire.Applied)
    assert isinstance(ops.ask(wire.BlockScope("firm", "look")), wire.Done)
    assert isinstance(ops.ask(wire.UnblockScope("firm", "looked")), wire.Done)
    assert isinstance(Talker(house, "mm3").session.is_open, bool)

    ballast.clear()
    until(lambda: not is_low(house), "the journal to go on by itself")
    other.hold()
    house.die()


def test_leases_end_while_the_disk_is_nearly_full(small_disk: Path) -> None:
    clock = ManualClock()
    house = House(small_disk / "journal", clock_from=lambda _: clock, journal='reserve = "512KiB"')
    client = Talker(house)
    held = client.hold()
    Ballast(small_disk).leave(400_000)
    until(lambda: is_low(house), "the journal to notice")
    for _ in range(60):
        clock.advance(0.09)  # in small steps: a leap would be taken for a stall
        client.ask(wire.Drop((), ()))
    record = house.engine.orders.find(held.reservation_id)
    assert record is not None and record.state is pit.OrderState.ROLLED_BACK
    house.die()


def test_a_full_disk_loses_nothing_and_repeats_nothing(small_disk: Path) -> None:
    house = House(small_disk / "journal", journal='reserve = "256KiB"')
    client = Talker(house)
    held = [client.hold() for _ in range(5)]
    ballast = Ballast(small_disk)
    ballast.leave(0)
    assert (small_disk / "journal/reserve").exists()

    answers = [client.ask(wire.Commit(each.reservation_id, "V" * 60, False)) for each in held]
    assert all(isinstance(each, wire.Settled) for each in answers)
    assert not (small_disk / "journal/reserve").exists(), "its room was given up"
    assert failure(client.check()) is wire.FailureCode.SYSTEM_UNAVAILABLE
    state, seq = digest(house.engine), house.engine.seq
    found = brought_back(small_disk / "journal")
    assert (found.head.seq, digest(found.engine)) == (seq, state)

    ballast.clear()
    until(lambda: not is_low(house), "the journal to go on by itself")
    client.hold()
    assert (small_disk / "journal/reserve").stat().st_size == 256 << 10
    house.die()


def test_a_disk_with_no_room_at_all_ends_the_daemon_and_keeps_what_was_answered(small_disk: Path) -> None:
    house = House(small_disk / "journal", journal='reserve = "16KiB"')
    client = Talker(house)
    held = [client.hold() for _ in range(60)]
    Ballast(small_disk).leave(0)
    committed = []
    with pytest.raises(JournalFailed, match="no space, even without the reserve"):
        for each in held:
            client.ask(wire.Commit(each.reservation_id, "V" * 60, False))
            committed.append(each.reservation_id)
    house.die()
    found = brought_back(small_disk / "journal")
    working = {id for id, each in found.engine.orders.open.items() if each.state is pit.OrderState.WORKING}
    asked = {each.reservation_id for each in held[: len(committed) + 1]}
    assert set(committed) <= working <= asked, "the last one may have reached the tail"


def test_a_full_disk_puts_a_new_segment_and_snapshots_off(small_disk: Path) -> None:
    with kept(small_disk / "journal", segment_rows=100, snapshot_rows=100, reserve_bytes=1 << 18) as live:
        live.trade(40)
        ballast = Ballast(small_disk)
        ballast.leave(250_000)
        until(lambda: (live.keep(), live.journal.why_low)[1], "the journal to notice")
        while live.seq < 105:
            live.trade(1)
        assert len(segments(live.directory)) == 1
        assert snapshots(live.directory) == []
        ballast.clear()
        until(lambda: (live.keep(), not live.journal.why_low)[1], "the journal to go on")
        live.trade(4)
        live.finish_snapshot()
        assert len(segments(live.directory)) == 2
        assert len(snapshots(live.directory)) == 1
        assert digest(brought_back(live.directory).engine) == live.digests[live.seq]


def test_a_full_small_disk_under_a_real_daemon(small_disk: Path) -> None:
    text = f'[journal]\ndirectory = "{small_disk}/journal"\nreserve = "256KiB"\n{SETTINGS_OF_THE_DAEMON}'
    with running(text) as daemon, daemon.connect("mm1") as engine:
        held = [hold(engine) for _ in range(5)]
        ballast = Ballast(small_disk)
        ballast.leave(0)
        for each in held:
            each.commit()
        with pytest.raises(pit.Unavailable, match="nearly full"):
            until(lambda: not hold(engine), "it to refuse")
        ballast.clear()
        until(lambda: takes_orders(engine), "it to go on by itself")
        daemon.kill()
        daemon.start()
        states = [each.state for each in engine.open_orders()]
        assert states.count(pit.OrderState.WORKING) == 5


def test_a_read_only_directory_ends_the_start_with_74(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "ro,size=1m") as disk, folder() as home:
        daemon = Daemon(home, f'[journal]\ndirectory = "{disk}/journal"\n')
        code, said = ended(daemon)
        assert code == 74
        assert f"{disk}/journal: the journal cannot be kept there: Read-only file system" in said


def test_a_directory_that_turned_read_only_ends_the_start_with_74(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=2m") as disk, folder() as home:
        daemon = Daemon(home, f'[journal]\ndirectory = "{disk}/journal"\nreserve = "16KiB"\n{SETTINGS_OF_THE_DAEMON}')
        daemon.start()
        assert daemon.stop() == 0
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        code, said = ended(daemon)
        assert code == 74
        assert "the journal cannot be kept there: Read-only file system" in said


def test_an_io_error_ends_with_74_and_loses_nothing_that_was_answered() -> None:
    with running(SETTINGS_OF_THE_DAEMON) as daemon, daemon.connect("mm1", timeout_s=3) as engine:
        held = [hold(engine) for _ in range(5)]
        wal = next((daemon.folder / "journal").glob("*-wal"))
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (wal.stat().st_size, wal.stat().st_size))
        held[0].commit()  # the tail takes it; SQLite can't follow
        until(daemon.has_ended, "it to end")
        assert daemon.process is not None and daemon.process.returncode == 74
        assert "cannot be written: disk I/O error" in daemon.log()
        daemon.start()
        assert len(engine.open_orders()) == 5
        held[1].commit()
        assert engine.outcome("alpha", held[0].order.id).state is pit.OrderState.WORKING


# ---------------------------------------------------------------------------------------------- what can't be read


@pytest.mark.parametrize(
    ("format", "why"), [(7, "written by a newer pitd"), (1, "written by an older pitd that was never released")]
)
def test_a_segment_of_another_format_is_refused(format: int, why: str) -> None:
    with folder() as home:
        daemon = Daemon(home, SETTINGS_OF_THE_DAEMON).start()
        assert daemon.stop() == 0
        change(segments(home / "journal")[0], "UPDATE meta SET value = ? WHERE name = 'format'", format)
        before = rows_in(home)
        code, said = ended(daemon)
        assert code == 65
        assert f"is of format {format}, {why}; this one reads format 2" in said
        assert rows_in(home) == before


def test_a_damaged_row_ends_the_start_with_65_and_the_command_that_shows_more() -> None:
    with folder() as home:
        daemon = Daemon(home, SETTINGS_OF_THE_DAEMON).start()
        daemon.kill()
        rewrite(segments(home / "journal")[0], 1, row=bytes(20))
        before = rows_in(home)
        code, said = ended(daemon)
        assert code == 65
        assert "0000000000000001.segment: row 1 is not what was written" in said
        assert f"Nothing was changed; `pitd journal verify {home}/journal` shows more" in said
        assert rows_in(home) == before


def test_a_snapshot_that_does_not_load_is_passed_over() -> None:
    with folder() as home:
        daemon = Daemon(home, SETTINGS_OF_THE_DAEMON).start()
        with daemon.connect("mm1") as engine:
            hold(engine).commit()
            assert daemon.stop() == 0
            taken = snapshots(home / "journal")
            assert taken
            for path in taken:
                path.write_bytes(path.read_bytes()[:-1])
            daemon.start()
            assert "snapshot.unusable" in daemon.log()
            assert [each.state for each in engine.open_orders()] == [pit.OrderState.WORKING]
            daemon.kill()


def test_a_second_daemon_on_the_directory_is_refused_with_69() -> None:
    with running(SETTINGS_OF_THE_DAEMON) as first, folder() as home:
        second = Daemon(home, f'[journal]\ndirectory = "{first.folder}/journal"\n')
        code, said = ended(second)
        assert code == 69
        assert f"another pitd (process {first.pid}) keeps its journal there" in said
        with first.connect("mm1") as engine:
            hold(engine)


def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    with lock(tmp_path), pytest.raises(JournalBusy), lock(tmp_path):
        pass
    with lock(tmp_path):
        pass


# ---------------------------------------------------------------------------------------------- time


class CrookedClock(ManualClock):
    """Its wall jumps about; its engine time does not."""

    wall = 0

    def wall_ns(self) -> int:
        return self.wall


def test_a_wall_clock_that_jumps_moves_no_lease(tmp_path: Path) -> None:
    clock = CrookedClock(1_000_000_000)
    house = House(tmp_path, clock_from=lambda _: clock)
    client = Talker(house)
    held = client.hold()
    for wall in (10**18, 5, 2 * 10**18, -(10**18)):
        clock.wall = wall
        clock.advance(1)
        client.ask(wire.Drop((), ()))
        record = house.engine.orders.find(held.reservation_id)
        assert record is not None and record.state is pit.OrderState.HELD
    rows = list(history.lines(history.read_segments(tmp_path), START))
    moments = [Reader(house.engine.policies).row(line.row).entry.now_ns for line in rows]
    assert moments == sorted(moments)
    house.die()


def test_a_clock_that_goes_back_is_not_followed(tmp_path: Path) -> None:
    clock = ManualClock(50_000_000_000)
    house = House(tmp_path, clock_from=lambda _: clock)
    client = Talker(house)
    client.hold()
    clock._now_ns = 10_000_000_000
    client.hold()
    assert house.engine.now_ns == 50_000_000_000
    house.die()


def test_engine_time_goes_on_over_restarts_and_never_back(tmp_path: Path) -> None:
    last = 0
    for _ in range(4):
        house = House(tmp_path)
        assert last <= house.engine.now_ns < last + 60_000_000_000
        Talker(house).hold()
        last = house.engine.now_ns
        house.die()


def test_after_a_stall_leases_get_one_more_length_at_most_three_times_in_a_row() -> None:
    with running(SETTINGS_OF_THE_DAEMON) as daemon, daemon.connect("mm1") as engine:
        held = engine.execute_pre_trade(builders.order(), lease_s=1.0)
        assert isinstance(held, pit.Reservation)
        for times in range(1, 4):
            daemon.freeze()
            until(lambda: stopped(daemon), "it to stop")
            time_goes_by(1.3)
            daemon.thaw()
            until(lambda times=times: daemon.log().count("daemon.resumed") >= times, "it to resume")
            assert [each.state for each in engine.open_orders()] == [pit.OrderState.HELD]
        daemon.freeze()
        time_goes_by(1.3)
        daemon.thaw()
        until(lambda: not engine.open_orders(), "the lease to end")


# ---------------------------------------------------------------------------------------------- a poisoned entry


class Brittle(Policy):
    """Breaks when it carries out an order of more than 50."""

    id = "brittle"

    class Took(msgspec.Struct, frozen=True, array_like=True, tag=True):
        quantity: int

    effect_types = (Took,)

    def __init__(self) -> None:
        self.total = 0

    def main(self, attempt: Attempt) -> Verdict:
        assert attempt.order.quantity is not None
        return Verdict((self.Took(int(attempt.order.quantity)),))

    def apply(self, effect: Took) -> None:
        self.total += effect.quantity
        if effect.quantity > 50:
            raise RuntimeError("it broke half-way")

    def undo(self, effect: Took) -> None:
        self.total -= effect.quantity

    def save(self) -> int:
        return self.total

    def load(self, saved: int) -> None:
        self.total = saved


class BreaksAtTheEnd(Brittle):
    """Can't take back an order of more than 50."""

    id = "breaks_at_the_end"

    def apply(self, effect: Brittle.Took) -> None:
        self.total += effect.quantity

    def undo(self, effect: Brittle.Took) -> None:
        if effect.quantity > 50:
            raise RuntimeError("it broke half-way")
        self.total -= effect.quantity


def _let_leases_end(house: House, clock: ManualClock) -> None:
    """In steps too small to pass for a stall."""
    with decimal.localcontext(exact_context()):
        for _ in range(200):
            clock.advance(0.05)
            house.sequencer.end_due()


def test_a_lease_whose_end_cannot_be_carried_out_is_quarantined_and_does_not_come_again(tmp_path: Path) -> None:
    clock = ManualClock(1)
    before = House(tmp_path, policies=[BreaksAtTheEnd()], clock_from=lambda _: clock)
    client = Talker(before)
    client.hold(quantity=60, id="big")
    client.hold(quantity=40, id="small")
    with pytest.raises(CarryOutFailed, match="it broke half-way"):
        _let_leases_end(before, clock)
    before.sequencer.release()
    before.die()
    after = House(tmp_path, policies=[BreaksAtTheEnd()], clock_from=lambda _: clock)
    _let_leases_end(after, clock)
    orders = after.engine.orders
    states = {record.order_id: record.state for record in (*orders.open.values(), *orders.closed.values())}
    assert states == {"big": pit.OrderState.QUARANTINED, "small": pit.OrderState.ROLLED_BACK}
    assert [block.scope for block in after.engine.accounts.blocks()] == ["account alpha"]
    after.die()


def test_a_poisoned_entry_changes_nothing_is_answered_and_blocks_its_scope(tmp_path: Path) -> None:
    before = House(tmp_path, policies=[Brittle()])
    client, ops = Talker(before), Talker(before, "ops")
    client.hold(quantity=40)
    ticket = client.session.submit(wire.Check(builders.order(quantity=60, id="big"), False, None))
    frames = client.session.outbox.pop(0)
    client.session.sent(frames)
    with pytest.raises(CarryOutFailed, match="it broke half-way"):
        before.take(client._identity, frames)
    before.close()
    assert snapshots(tmp_path) == [], "half of an entry is in this engine: no start may begin with it"

    after = House(tmp_path, policies=[Brittle()])
    assert [each.limit for each in after.engine.accounts.blocks_on("alpha")] == [POISONED]
    brittle = after.engine.policies["brittle"]
    assert isinstance(brittle, Brittle) and brittle.total == 40
    client._house = after
    client.session.greet()
    answers = dict(client._exchange())
    assert failure(answers[ticket]) is wire.FailureCode.SYSTEM_UNAVAILABLE
    ops.move_to(after)

    assert isinstance(client.check(quantity=1), wire.Refused)
    client.hold(account="beta", quantity=1)
    assert isinstance(ops.ask(wire.UnblockScope("account alpha", "looked")), wire.Done)
    client.hold(quantity=1)
    after.close()
    rows = [
        Reader(after.engine.policies).row(line.row) for line in history.lines(history.read_segments(tmp_path), START)
    ]
    assert [type(row.entry.body) for row in rows].count(e.Poisoned) == 1


def test_a_poisoned_entry_keeps_the_good_part_of_its_batch(tmp_path: Path) -> None:
    before = House(tmp_path, policies=[Brittle()])
    client = Talker(before)
    for id, quantity in (("good", 1), ("bad", 60)):
        client.session.submit(wire.Check(builders.order(quantity=quantity, id=id), False, None))
    (one, two), client.session.outbox = client.session.outbox, []
    before.conversations.take(client._identity, *one)
    with pytest.raises(CarryOutFailed):
        before.take(client._identity, two)
    before.close()
    after = House(tmp_path, policies=[Brittle()])
    assert [each.order_id for each in after.engine.orders.open.values()] == ["good"]
    after.close()


def test_a_poisoned_entry_ends_a_real_daemon_with_70_and_it_comes_back(tmp_path: Path) -> None:
    script = tmp_path / "brittle_daemon.py"
    script.write_text(BRITTLE_DAEMON, encoding="utf-8")
    with folder() as home:
        daemon = Daemon(home, SETTINGS_OF_THE_DAEMON)
        command = [sys.executable, str(script), str(Path(__file__).parents[1]), str(daemon.config)]

        def start() -> subprocess.Popen[bytes]:
            log = daemon._log.open("wb")
            with log:
                daemon.process = subprocess.Popen(command, stdout=log, stderr=log)
            until(lambda: "daemon.ready" in daemon.log() or daemon.has_ended(), "the daemon to listen")
            return daemon.process

        process = start()
        try:
            with daemon.connect("mm1", timeout_s=PATIENCE_S) as engine, daemon.connect("ops") as ops:
                hold(engine)
                with pytest.raises(pit.OutcomeUnknown):
                    engine.timeout_s = 1
                    engine.execute_pre_trade(builders.order(quantity=60))
                assert process.wait(PATIENCE_S) == 70
                assert "daemon.invariant_broken" in daemon.log()
                process = start()
                assert not engine.execute_pre_trade(builders.order(quantity=1))
                ops.unblock("account alpha", "looked")
                hold(engine)
        finally:
            process.kill()
            process.wait()


BRITTLE_DAEMON = """
import functools, sys
sys.path.insert(0, sys.argv[1])
from journal.test_trouble import Brittle
from pitd import bootstrap, cli
bootstrap.build_daemon = functools.partial(bootstrap.build_daemon, policies=[Brittle()])
sys.exit(cli.main(["run", "--config", sys.argv[2]]))
"""

# ---------------------------------------------------------------------------------------------- helpers

SETTINGS_OF_THE_DAEMON = """
[clients."*"]
roles = ["trade", "report"]

[clients.ops]
roles = ["trade", "report", "operate"]

[limits.open_usd]
control = "open_order_notional"
each = "account"
settlement = "USD"
max_notional = "1000000"
"""


def hold(engine: pit.Engine) -> pit.Reservation:
    held = engine.execute_pre_trade(builders.order(), lease_s=60)
    assert isinstance(held, pit.Reservation), str(held)
    _held.append(held)
    return held


_held: list[pit.Reservation] = []
"""A reservation that nobody keeps is given back with the next call."""


def takes_orders(engine: pit.Engine) -> bool:
    try:
        return bool(hold(engine))
    except pit.Unavailable:
        return False


def ended(daemon: Daemon) -> tuple[int, str]:
    """How a start ended, and what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "pitd.cli", "run", "--config", str(daemon.config)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S * 2,
        check=False,
    )
    return done.returncode, done.stderr


def rows_in(home: Path) -> dict[str, bytes]:
    """The journal's files, apart from the lock that says who tried to start."""
    return {name: content for name, content in contents(home / "journal").items() if name != "lock"}


def stopped(daemon: Daemon) -> bool:
    return "T (stopped)" in Path(f"/proc/{daemon.pid}/status").read_text(encoding="ascii")


def time_goes_by(seconds: float) -> None:
    import time

    time.sleep(seconds)
