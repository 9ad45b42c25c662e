"""The program as it is installed: wheels built from the sources, a fresh virtual environment, started by the unit's own
words under a service manager of the test's own. Step 1 of the install page is run line by line.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from daemon import PATIENCE_S, Daemon, folder, until
from manager import Managed
from process.test_systemd import Trader

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"

STEP_TIMEOUT_S = 600

pytestmark = pytest.mark.timeout(900)  # whoever comes first builds and installs

ROOM = """
[limits]
msg_rate.max_orders = 1000000
venue_rate.max_orders = 1000000
"""


def lines_of_step_1() -> list[str]:
    page = (DEPLOY / "INSTALL.md").read_text(encoding="utf-8")
    step = page[page.index("## 1. ") : page.index("## 2. ")]
    (block,) = re.findall(r"```sh\n(.*?)```", step, re.DOTALL)
    return [line for line in block.splitlines() if "apt-get" not in line]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `/opt/pitd` and `/usr/local/bin` are, below another root, after step 1 of the page."""
    home = tmp_path_factory.mktemp("installed")
    clone, root = home / "clone", home / "root"
    ignored = shutil.ignore_patterns(".git", ".venv", "build", "dist", "*.egg-info", "__pycache__", "tests")
    shutil.copytree(ROOT, clone, ignore=ignored)
    (root / "usr/local/bin").mkdir(parents=True)
    (root / "opt").mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment["PATH"] = f"{root}/usr/local/bin:{environment['PATH']}"
    for line in lines_of_step_1():
        words = shlex.split(line.removeprefix("sudo "))
        below = [str(root / word[1:]) if word.startswith(("/opt/", "/usr/local/")) else word for word in words]
        if below[0] == "python3":
            below[0] = sys.executable
        done = subprocess.run(below, cwd=clone, env=environment, capture_output=True, text=True, timeout=STEP_TIMEOUT_S)
        assert done.returncode == 0, f"{line}: {done.stderr}"
    return root


@pytest.fixture
def daemon(root: Path) -> Iterator[Managed]:
    """A held socket and a notify socket, and the unit's own `ExecStart` below that root; not started yet."""
    with folder() as home:
        managed = Managed(home)
        text = (DEPLOY / "pitd.toml").read_text(encoding="utf-8")
        managed.config = home / "pitd.toml"
        managed.config.write_text(
            text.replace('# endpoint = "ipc:///run/pitd/pitd.sock"', f'endpoint = "{managed.endpoint}"'), "utf-8"
        )
        drop_ins = home / "pitd.toml.d"
        drop_ins.mkdir()
        (drop_ins / "room.toml").write_text(ROOM, encoding="utf-8")
        (line,) = re.findall(r"^ExecStart=(.*)$", (DEPLOY / "pitd.service").read_text(encoding="utf-8"), re.MULTILINE)
        places = {"/etc/pitd/pitd.toml": str(managed.config)}
        managed.command = [
            places.get(word, str(root / word[1:]) if word.startswith("/") else word) for word in shlex.split(line)
        ]
        assert managed.command[0] == str(root / "opt/pitd/bin/pitd") and str(managed.config) in managed.command
        yield managed
        managed.close()


def environment_of(daemon: Managed) -> dict[str, str]:
    return {"STATE_DIRECTORY": str(daemon.folder / "state"), "WATCHDOG_USEC": "400000"}


def reload(daemon: Managed) -> None:
    """As `systemctl reload` does, by the signal, and waits for it as the manager would."""
    daemon.told.forget()
    os.kill(daemon.pid, signal.SIGHUP)
    until(lambda: daemon.told.count("READY=1"), "the reload to be over")


def pitctl(root: Path, daemon: Managed, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(root / "usr/local/bin/pitctl"), *words, "--endpoint", daemon.endpoint, "--timeout", "20"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )


def test_what_is_installed_is_what_was_built(root: Path) -> None:
    asked = "import pit, pitd; print(pit.__file__, pitd.__file__)"
    done = subprocess.run([str(root / "opt/pitd/bin/python"), "-I", "-c", asked], capture_output=True, text=True)
    for place in done.stdout.split():
        assert str(root / "opt/pitd/lib") in place, done
    check = subprocess.run([str(root / "opt/pitd/bin/pip"), "check"], capture_output=True, text=True)
    assert check.returncode == 0, check.stdout


def test_it_is_ready_beats_reloads_and_stops_as_the_unit_wants_it(root: Path, daemon: Managed) -> None:
    assert pitctl(root, daemon, "isready", "--timeout", "0.2").returncode == 2
    daemon.start(environment=environment_of(daemon))
    assert pitctl(root, daemon, "isready").returncode == 0
    until(lambda: daemon.told.count("WATCHDOG=1") >= 3, "three signs of life")
    reload(daemon)
    heard = daemon.told.heard()
    assert heard.index("RELOADING=1") < heard.index("READY=1")
    assert any(word.startswith("MONOTONIC_USEC=") for word in heard)
    assert pitctl(root, daemon, "isready").returncode == 0
    daemon.told.forget()
    until(lambda: daemon.told.count("WATCHDOG=1") >= 2, "signs of life after the reload")
    assert daemon.stop() == 0
    assert daemon.told.heard()[-2:] == ["STOPPING=1", "STATUS=stopping"]
    assert list((daemon.folder / "state/journal").glob("*.segment"))


def test_a_configuration_that_cannot_be_meant_is_not_taken_up_and_it_serves_on(root: Path, daemon: Managed) -> None:
    daemon.start(environment=environment_of(daemon))
    daemon.config.write_text(daemon.config.read_text(encoding="utf-8") + "\n[nonsense]\n", encoding="utf-8")
    reload(daemon)
    assert "nonsense" in daemon.log()
    assert pitctl(root, daemon, "isready").returncode == 0
    assert daemon.stop() == 0


@pytest.mark.parametrize("end", [Daemon.stop, Daemon.kill], ids=["stopped", "killed"])
def test_restarts_and_reloads_give_four_trading_clients_no_error(daemon: Managed, end: Callable[[Daemon], int]) -> None:
    daemon.start(environment=environment_of(daemon))
    traders = [Trader(daemon, f"mm{at}") for at in range(4)]
    for trader in traders:
        trader.start()
    try:
        for step in (reload, end, reload, end):
            seen = [trader.calls for trader in traders]
            until(
                lambda seen=seen: all(  # type: ignore[misc]
                    trader.troubles or trader.calls > before + 20 for trader, before in zip(traders, seen, strict=True)
                ),
                "everybody to trade",
            )
            step(daemon)
            if step is end:
                time.sleep(0.3)  # with nobody there: they wait in the socket's queue
                daemon.start(environment=environment_of(daemon))
    finally:
        for trader in traders:
            trader.should_end.set()
        for trader in traders:
            trader.join(PATIENCE_S * 2)
    assert [trader.troubles for trader in traders] == [[]] * 4
    for trader in traders:
        with daemon.connect(trader.name) as engine:
            working = sorted(each.order.id for each in engine.open_orders())
        assert trader.committed and working == sorted(trader.committed), "no order lost, none doubled"
