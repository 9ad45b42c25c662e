"""The daemon as a process: how it starts, refuses to start, ends and comes back."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from daemon import LOAD_ALL, PATIENCE_S, Daemon, running, until
from process.conftest import LIMITS

import pit
import pitd
from pitd import cli


def pitd_command(*words: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pitd.cli", *words],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S * 2,
        check=False,
        **options,
    )


class Told(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def pitd_here(capsys: pytest.CaptureFixture[str]) -> Callable[..., Told]:
    """`pitd` in this process, for what ends before it serves anybody: one of its own adds nothing but time."""

    def told(*words: str | Path) -> Told:
        capsys.readouterr()
        try:
            code = cli.main([str(word) for word in words])
        except SystemExit as left:
            code = int(left.code or 0)
        return Told(code, *capsys.readouterr())

    return told


def an_order(**words: Any) -> pit.Order:
    good = {"account": "alpha", "instrument": pit.Instrument("AAPL", "USD"), "side": "buy", "quantity": 1, "price": 1}
    return pit.Order(**(good | words))


def reserve(engine: pit.Engine) -> pit.Reservation:
    held = engine.execute_pre_trade(an_order())
    assert isinstance(held, pit.Reservation), str(held)
    return held


# ---------------------------------------------------------------------------------------------- the end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_0_when_it_is_asked_to(own_daemon: Daemon, number: signal.Signals) -> None:
    with own_daemon.connect("mm1") as engine:
        reserve(engine).commit()
        assert own_daemon.process is not None
        own_daemon.process.send_signal(number)
        assert own_daemon.process.wait(PATIENCE_S) == 0
    assert "daemon.stopped" in own_daemon.log()
    assert "open_orders=1" in own_daemon.log()
    assert not own_daemon.socket.exists()


def test_what_is_being_asked_while_it_ends_is_answered_or_said_to_be_unknown(own_daemon: Daemon) -> None:
    answered: list[object] = []

    def trade(name: str) -> None:
        with own_daemon.connect(name, timeout_s=1) as engine:
            try:
                while True:
                    reserve(engine).commit()
                    answered.append(True)
            except (pit.OutcomeUnknown, pit.Unavailable):
                pass
            except BaseException as trouble:
                answered.append(trouble)

    traders = [threading.Thread(target=trade, args=(f"mm{at}",)) for at in range(3)]
    for trader in traders:
        trader.start()
    until(lambda: len(answered) > 100, "the traders to trade")
    code = own_daemon.stop()
    for trader in traders:
        trader.join(PATIENCE_S)
    assert code == 0
    assert set(answered) == {True}


# ---------------------------------------------------------------------------------------------- the start


def test_a_second_daemon_on_the_endpoint_is_refused_and_the_first_serves_on(daemon: Daemon) -> None:
    with daemon.connect("mm1") as engine:
        done = pitd_command("run", "--config", daemon.config)
        assert done.returncode == 69
        assert f"{daemon.endpoint}: another pitd (process {daemon.pid}) serves it" in done.stderr
        reserve(engine)


def test_a_second_daemon_on_a_tcp_endpoint_is_refused(home: Path) -> None:
    with running(LIMITS, endpoint="tcp://127.0.0.1:*") as first:
        second = Daemon(home, LIMITS, endpoint=first.endpoint)
        done = pitd_command("run", "--config", second.config)
        assert done.returncode == 69
        assert f"{first.endpoint}: another process listens there" in done.stderr


def test_a_tcp_endpoint_serves_when_it_is_asked_for() -> None:
    with running(LIMITS, endpoint="tcp://127.0.0.1:*") as daemon, daemon.connect("mm1") as engine:
        assert daemon.endpoint.startswith("tcp://127.0.0.1:")
        reserve(engine).commit(venue_order_id="V1")
        assert [each.venue_order_id for each in engine.open_orders()] == ["V1"]


def test_the_socket_of_a_killed_daemon_is_taken_over(own_daemon: Daemon) -> None:
    own_daemon.kill()
    assert stat.S_ISSOCK(own_daemon.socket.stat().st_mode), "it left its socket behind"
    own_daemon.start()
    with own_daemon.connect("mm1") as engine:
        reserve(engine)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[limits]\nx = { control = 'rate_limt', each = 'account' }", "limits.x.control"),
        ("[gate]\nlease = 5", "gate.lease"),
        ("[deamon]\n", "did you mean daemon?"),
        ("[gate\n", "is not TOML"),
        ("[gate]\nlease = '1s'\nmin_lease = '2s'", "contradict"),
        ("[daemon]\nendpoint = 'udp://x'", "daemon.endpoint"),
    ],
)
def test_a_bad_configuration_starts_nothing(home: Path, text: str, says: str, pitd_here: Callable[..., Told]) -> None:
    file = home / "bad.toml"
    if "[daemon]" not in text:
        text = f'daemon.endpoint = "ipc://{home}/sub/pitd.sock"\n{text}'
    file.write_text(text, encoding="utf-8")
    for command in ("run", "check-config"):
        done = pitd_here(command, "--config", file)
        assert done.returncode == 78
        assert done.stdout == ""
        assert done.stderr.startswith(f"pitd: {file}:") and says in done.stderr
        assert done.stderr.count("\n") == 1, "one line, no traceback"
    assert list(home.iterdir()) == [file]


def test_a_missing_configuration_is_said_to_be_missing(home: Path) -> None:
    done = pitd_command("run", "--config", home / "none.toml")
    assert done.returncode == 78
    assert f"{home / 'none.toml'}: cannot be read" in done.stderr


def test_an_endpoint_that_cannot_be_opened_is_an_io_error(home: Path) -> None:
    (home / "file").write_text("in the way", encoding="utf-8")
    daemon = Daemon(home, LIMITS, endpoint=f"ipc://{home}/file/pitd.sock")
    done = pitd_command("run", "--config", daemon.config)
    assert done.returncode == 74
    assert "cannot be opened" in done.stderr


AS_A_USER = (
    LOAD_ALL
    + """
import os, sys
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
"""
)
SERVE = AS_A_USER + "sys.exit(pitd.cli.main(['run', '--config', sys.argv[1]]))"
CALL = AS_A_USER + "print(pit.connect('mm1', timeout_s=20).ping(), pit.default_endpoint())"


@pytest.mark.skipif(Path("/run/pitd/pitd.sock").exists(), reason="a daemon of this machine has the usual place")
def test_a_user_finds_an_own_daemon_without_naming_an_endpoint(home: Path) -> None:
    """Both sides take $XDG_RUNTIME_DIR when nobody says anything else."""
    config = home / "pitd.toml"
    config.write_text(LIMITS, encoding="utf-8")
    if os.getuid() == 0:
        os.chown(home, 65534, 65534)
    where = {key: value for key, value in os.environ.items() if key != "PITD_ENDPOINT"} | {
        "XDG_RUNTIME_DIR": str(home),
        "XDG_STATE_HOME": str(home),
    }
    server = subprocess.Popen([sys.executable, "-c", SERVE, config], env=where, stderr=subprocess.DEVNULL)
    try:
        until(lambda: (home / "pitd" / "pitd.sock").exists(), "the daemon to listen")
        done = subprocess.run(
            [sys.executable, "-c", CALL], env=where, capture_output=True, text=True, check=True, timeout=60
        )
        assert done.stdout.split() == [pitd.__version__, f"ipc://{home}/pitd/pitd.sock"]
    finally:
        server.terminate()
        assert server.wait(PATIENCE_S) == 0


# ---------------------------------------------------------------------------------------------- a restart


def test_an_engine_that_knows_more_than_a_restarted_daemon_does_not_trust_it(tmp_path: Path) -> None:
    """A daemon without a journal forgets everything: who is new to it trades, who has seen more is told so."""
    with running('journal.durability = "none"') as own_daemon, own_daemon.connect("mm1") as engine:
        for _ in range(5):
            reserve(engine).commit()
        own_daemon.kill()
        own_daemon.start()
        with own_daemon.connect("mm2") as anew:
            assert anew.open_orders() == []
            reserve(anew)
        with pytest.raises(pit.JournalBehind, match="has seen entry"):
            until(lambda: _calls_through(engine), "the connection to come back")
        with pytest.raises(pit.JournalBehind):
            engine.execute_pre_trade(an_order())


def _calls_through(engine: pit.Engine) -> bool:
    """Whether a call is answered; raises what is not a matter of waiting."""
    try:
        return bool(engine.execute_pre_trade(an_order()))
    except (pit.Unavailable, pit.OutcomeUnknown):
        return False


def test_a_fenced_engine_is_not_told_that_the_journal_is_behind(own_daemon: Daemon) -> None:
    with own_daemon.connect("mm1") as engine, own_daemon.connect("mm1"), pytest.raises(pit.Fenced):
        engine.execute_pre_trade(an_order())


# ---------------------------------------------------------------------------------------------- the command line


def test_init_prints_a_configuration_that_check_config_takes(home: Path, pitd_here: Callable[..., Told]) -> None:
    sample = pitd_here("init")
    assert sample.returncode == 0
    file = home / "pitd.toml"
    file.write_text(sample.stdout, encoding="utf-8")
    checked = pitd_here("check-config", "--config", file)
    assert checked.returncode == 0, checked.stderr
    assert f"{file}: good; it would listen at " in checked.stdout
    assert "controls, in order: order_validation, pnl_kill_switch, rate_limit" in checked.stdout
    assert "limit fat_finger: order_size_limit; for each account; max_quantity 500" in checked.stdout
    assert "journal: kept in " in checked.stdout


def test_check_config_warns_of_what_a_configuration_leaves_open(home: Path, pitd_here: Callable[..., Told]) -> None:
    file = home / "pitd.toml"
    file.write_text('[gate]\nuncovered = "allow"\n[journal]\ndurability = "none"\n', encoding="utf-8")
    said = pitd_here("check-config", "--config", file).stdout
    assert "warning: orders that no limit is for pass" in said
    assert "a restart forgets everything" in said
    assert "warning: no limits" in said


def test_init_writes_a_new_file_and_never_over_an_old_one(home: Path, pitd_here: Callable[..., Told]) -> None:
    file = home / "sub" / "pitd.toml"
    written = pitd_here("init", file)
    assert (written.returncode, written.stdout) == (0, f"written: {file}; start with: pitd run --config {file}\n")
    before = file.read_bytes()
    again = pitd_here("init", file)
    assert again.returncode == 78
    assert "is there already and stays as it is" in again.stderr
    assert file.read_bytes() == before


def test_check_config_says_when_nothing_would_be_limited(home: Path, pitd_here: Callable[..., Told]) -> None:
    file = home / "pitd.toml"
    file.write_text("", encoding="utf-8")
    assert "warning: no limits" in pitd_here("check-config", "--config", file).stdout


def test_help_names_every_command_and_exit_code(pitd_here: Callable[..., Told]) -> None:
    done = pitd_here("--help")
    assert done.returncode == 0
    for word in ("run", "init", "check-config", "demo", "64 usage", "69 endpoint busy", "78 configuration"):
        assert word in " ".join(done.stdout.split())


@pytest.mark.parametrize("words", [[], ["rum"], ["run", "--confg", "x"]])
def test_a_command_that_cannot_be_meant_is_a_usage_error(words: list[str], pitd_here: Callable[..., Told]) -> None:
    done = pitd_here(*words)
    assert done.returncode == 64
    assert done.stderr.startswith("usage: pitd")


def test_the_version_is_told() -> None:
    assert pitd_command("--version").stdout == f"pitd {pitd.__version__}\n"
