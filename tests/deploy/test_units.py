"""What deploy/ ships: units that systemd takes, closed as far as promised, and an install page that is true."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon import LOAD_ALL, PATIENCE_S, folder, until
from manager import Managed, managed
from process.conftest import LIMITS

import pit
from deploy import sandbox
from pit.places import default_endpoint
from pitd import cli, config, errors, operator

ROOT = Path(__file__).resolve().parent.parent.parent
DEPLOY = ROOT / "deploy"
SERVICE, SOCKET = DEPLOY / "pitd.service", DEPLOY / "pitd.socket"
EXPORTER = DEPLOY / "pitd-exporter.service"
SANDBOX = Path(__file__).with_name("sandbox.py")

needs_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze here (Debian: apt-get install systemd)"
)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may be somebody else")


def one(unit: Path, name: str) -> str:
    """The only value of a setting."""
    (value,) = sandbox.settings(unit, name)
    return value


# ---------------------------------------------------------------------------------------------- the units


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root directory into which the install page's own lines have installed what they install."""
    root = tmp_path_factory.mktemp("root")
    for words in page_commands():
        if words[:2] == ["sudo", "install"]:
            run_within(root, words[1:])
    kill = root / one(SERVICE, "ExecReload").split()[0].lstrip("/")
    kill.parent.mkdir(parents=True, exist_ok=True)
    kill.symlink_to("/bin/true")
    for unit, module in ((SERVICE, "pitd.cli"), (EXPORTER, "pitd.operator")):
        program = root / one(unit, "ExecStart").split()[0].lstrip("/")
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m {module} "$@"\n', encoding="utf-8")
        program.chmod(0o755)
    return root


def run_within(root: Path, words: list[str]) -> None:
    """Runs an install line with its destination below `root`. Groups are not there yet, so they are left out."""
    if "-g" in words:
        at = words.index("-g")
        words = words[:at] + words[at + 2 :]
    destination = root / words[-1].lstrip("/")
    if words[-1].endswith("/"):
        destination.mkdir(parents=True, exist_ok=True)
    subprocess.run([*words[:-1], str(destination)], cwd=ROOT, check=True)


@needs_analyze
@pytest.mark.parametrize("with_tcp", [False, True])
def test_systemd_takes_the_units_without_a_complaint(installed: Path, with_tcp: bool, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(installed, root)
    if not with_tcp:
        shutil.rmtree(root / "etc/systemd/system/pitd.socket.d")
    targets = Path("/usr/lib/systemd/system")
    if not targets.is_dir():
        pytest.skip("systemd's own units are not here")
    own = root / "usr/lib/systemd/system"
    own.mkdir(parents=True)
    for target in targets.glob("*.target"):
        shutil.copy(target, own, follow_symlinks=True)
    done = subprocess.run(
        ["systemd-analyze", "verify", f"--root={root}", "--man=no", "pitd.service", "pitd.socket", EXPORTER.name],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_analyze
def test_the_service_is_closed_as_far_as_promised() -> None:
    """Exposure 0.4 of 10 at the most. tcp opens the socket unit alone, so it holds with the drop-in too."""
    done = subprocess.run(
        ["systemd-analyze", "--no-pager", "security", "--offline=true", "--threshold=4", str(SERVICE)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"Overall exposure level for pitd\.service: 0\.[0-4] ", done.stdout), done.stdout


@needs_analyze
def test_the_exporters_service_is_closed_as_far_as_promised() -> None:
    """Exposure 0.9 of 10: it needs a port."""
    done = subprocess.run(
        ["systemd-analyze", "--no-pager", "security", "--offline=true", "--threshold=9", str(EXPORTER)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"Overall exposure level for pitd-exporter\.service: 0\.[0-9] ", done.stdout), done.stdout


@needs_analyze
def test_what_keeps_it_from_being_closed_further_is_known() -> None:
    done = subprocess.run(
        ["systemd-analyze", "--no-pager", "security", "--offline=true", "--json=short", str(SERVICE)],
        capture_output=True,
        text=True,
        check=False,
    )
    open_still = {each["json_field"] for each in json.loads(done.stdout) if each.get("exposure")}
    assert open_still <= {"RootDirectoryOrRootImage", "RestrictAddressFamilies_AF_UNIX", "PrivateUsers", "DeviceAllow"}


def test_the_drop_in_for_tcp_is_for_the_socket_and_stays_on_loopback() -> None:
    text = (DEPLOY / "10-tcp.conf").read_text(encoding="utf-8")
    assert re.findall(r"^\[(\w+)\]$", text, re.MULTILINE) == ["Socket"]
    assert sandbox.settings(DEPLOY / "10-tcp.conf", "ListenStream") == ["", "127.0.0.1:7421"]
    assert 'endpoint = "tcp://127.0.0.1:7421"' in text


def test_every_exit_code_is_explained_and_those_that_only_a_person_can_mend_end_it() -> None:
    codes = {value for name, value in vars(errors).items() if name.startswith("EXIT_") and value >= 64}
    comment = SERVICE.read_text(encoding="utf-8").partition("# Exit codes")[2].partition("Restart=")[0]
    explained = {int(code): words for code, words in re.findall(r"^#   (\d+) (.*)$", comment, re.MULTILINE)}
    assert set(explained) == codes
    stays_down = {code for code, words in explained.items() if "stays down" in words}
    assert {int(code) for code in one(SERVICE, "RestartPreventExitStatus").split()} == stays_down
    assert stays_down == {errors.EXIT_USAGE, errors.EXIT_DAMAGED, errors.EXIT_CONFIG}
    page = (DEPLOY / "INSTALL.md").read_text(encoding="utf-8")
    told = {int(code): "stays down" in then for code, then in re.findall(r"^\| (\d\d) \| (.*) \|$", page, re.MULTILINE)}
    assert told == {code: code in stays_down for code in codes}


def test_the_endpoint_of_the_socket_unit_is_the_one_that_the_daemon_and_its_clients_take_by_themselves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("PITD_ENDPOINT", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    assert "ipc://" + one(SOCKET, "ListenStream") == default_endpoint()
    assert (one(SOCKET, "SocketGroup"), one(SOCKET, "SocketMode")) == ("pitd-client", "0660")


def test_the_state_directory_is_where_the_daemon_keeps_its_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", f"/var/lib/{one(SERVICE, 'StateDirectory')}")
    assert config.default_journal() == "/var/lib/pitd/journal"
    assert one(SERVICE, "StateDirectoryMode") == "0750"


def test_a_stop_of_the_service_leaves_the_sockets_folder_alone() -> None:
    """RuntimeDirectory= would take the folder away with every stop, and the held socket's file with it."""
    assert sandbox.settings(SERVICE, "RuntimeDirectory") == []
    assert f"d {Path(one(SOCKET, 'ListenStream')).parent} " in (DEPLOY / "tmpfiles.d/pitd.conf").read_text()


def test_every_descriptor_of_the_daemon_is_closed_in_a_snapshots_child() -> None:
    assert int(one(SERVICE, "LimitNOFILE")) <= 65_536


def test_the_kernel_tells_who_a_client_is() -> None:
    """Under PrivateUsers=yes every client would be 65534."""
    assert sandbox.settings(SERVICE, "PrivateUsers") == []


def test_the_sample_is_the_one_that_pitd_init_writes() -> None:
    assert (DEPLOY / "pitd.toml").read_bytes() == (ROOT / "pitd" / "sample.toml").read_bytes()


# ---------------------------------------------------------------------------------------------- the daemon in its unit


@pytest.fixture
def home() -> Iterator[Path]:
    with folder() as path:
        if sandbox.is_for_nobody(sys.executable):
            os.chown(path, sandbox.NOBODY, sandbox.NOBODY)
        yield path


def test_the_units_command_starts_the_daemon(installed: Path, home: Path) -> None:
    """As the unit does: its own words, its state directory, its socket; all of it below another root."""
    managed_one = Managed(home)
    words = one(SERVICE, "ExecStart").split()
    managed_one.command = [str(installed / word.lstrip("/")) if word.startswith("/") else word for word in words]
    shipped = installed / "etc/pitd/pitd.toml"
    text = shipped.read_text(encoding="utf-8")
    shipped.write_text(
        text.replace('# endpoint = "ipc:///run/pitd/pitd.sock"', f'endpoint = "{managed_one.endpoint}"'), "utf-8"
    )
    try:
        managed_one.start(environment={"STATE_DIRECTORY": str(home / "state")})
        with managed_one.connect("mm1") as engine:
            order = pit.Order(
                account="alpha", instrument=pit.Instrument("AAPL", "USD"), side="buy", quantity=1, price=1
            )
            assert engine.execute_pre_trade(order)
        assert managed_one.stop() == 0
        assert list((home / "state/journal").glob("*.segment"))
    finally:
        managed_one.close()
        shipped.write_text(text, encoding="utf-8")


CLOSED_IN = [sys.executable, str(SANDBOX), str(SERVICE)]


def start_closed_in(daemon: Managed) -> None:
    daemon.launch(wrapped=CLOSED_IN)
    until(lambda: "READY=1" in daemon.told.heard() or daemon.has_ended(), "READY=1")
    if daemon.has_ended() and daemon.process is not None and daemon.process.returncode == sandbox.CANNOT:
        pytest.skip(f"the unit's rules can't be had here: {daemon.log()}")
    assert "READY=1" in daemon.told.heard(), daemon.log()


@needs_analyze
def test_the_exporter_serves_under_its_units_rules(home: Path) -> None:
    limits = '[clients.exporter]\nroles = ["observe"]\n[clients."*"]\nroles = ["trade"]\n'
    daemon = Managed(home, limits)
    words = shlex.split(one(EXPORTER, "ExecStart"))[1:]
    words[words.index("--listen") + 1] = "127.0.0.1:0"
    command = [sys.executable, str(SANDBOX), str(EXPORTER), sys.executable, "-m", "pitd.operator", *words]
    said = home / "exporter"
    with said.open("wb") as out:
        exporter = subprocess.Popen([*command, "--endpoint", daemon.endpoint], stderr=out)
    try:
        until(lambda: "/metrics" in said.read_text() or exporter.poll() is not None, "the exporter to listen")
        if exporter.poll() == sandbox.CANNOT:
            pytest.skip(f"the unit's rules can't be had here: {said.read_text()}")
        found = re.search(r"http://\S+", said.read_text())
        assert found is not None, said.read_text()
        assert "pitd_up 0.0" in scraped(found[0])
        daemon.start()
        daemon.socket.chmod(0o777)
        until(lambda: "pitd_up 1.0" in scraped(found[0]), "the daemon to be heard")
        exporter.terminate()
        assert exporter.wait(PATIENCE_S) == 0
    finally:
        exporter.kill()
        exporter.wait()
        daemon.close()


def scraped(url: str) -> str:
    with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
        told = answer.read().decode()
    assert isinstance(told, str)
    return told


def trade(daemon: Managed, name: str) -> None:
    with daemon.connect(name) as engine:
        for _ in range(60):
            order = pit.Order(
                account="alpha", instrument=pit.Instrument("AAPL", "USD"), side="buy", quantity=1, price=1
            )
            held = engine.execute_pre_trade(order, sent=True)
            assert isinstance(held, pit.Reservation), str(held)
            held.commit()


@needs_analyze
def test_the_daemon_works_under_the_units_rules(home: Path) -> None:
    """System calls, address families, memory, network: with what it does beside it: snapshots, verification, events."""
    limits = f'journal.directory = "{home}/j"\njournal.snapshot_rows = 100\njournal.segment_rows = 100\n{LIMITS}'
    daemon = Managed(home, limits)
    os.chmod(daemon.told.path, 0o777)  # noqa: PTH101
    try:
        start_closed_in(daemon)
        trade(daemon, "mm1")
        until(lambda: "snapshot.written" in daemon.log(), "a snapshot")
        assert daemon.stop() == 0
        start_closed_in(daemon)
        until(lambda: "journal.verified" in daemon.log(), "the old rows to be verified")
        with pit.connect("ops", daemon.endpoint, timeout_s=PATIENCE_S, read_only=True) as engine:
            assert isinstance(next(pit.subscribe(engine, since=0)), pit.events.DaemonStarted)
        trade(daemon, "mm2")
        assert daemon.stop() == 0
        for word in ("Traceback", "ERROR", "not_verified", "_failed"):
            assert word not in daemon.log(), daemon.log()
    finally:
        daemon.close()


@needs_analyze
def test_tcp_is_served_under_the_units_rules_by_the_socket_that_is_handed_over(home: Path) -> None:
    """It needs no network of its own: the port is the service manager's."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        daemon = Managed(home, LIMITS, is_held=False, endpoint=f"tcp://127.0.0.1:{held.getsockname()[1]}")
        os.chmod(daemon.told.path, 0o777)  # noqa: PTH101
        daemon.held = held
        try:
            for name in ("mm1", "mm2"):
                start_closed_in(daemon)
                trade(daemon, name)
                assert daemon.stop() == 0
        finally:
            daemon.close()


AUDITOR = (
    LOAD_ALL
    + """
import os, sys
group = int(sys.argv[1])
os.setgroups([]); os.setresgid(group, group, group); os.setresuid(54321, 54321, 54321)
sys.exit(pitd.cli.main(["journal", "verify", sys.argv[2]]))
"""
)
AUDIT_GROUP = 54322


def audit(directory: Path, group: int) -> int:
    return subprocess.run(
        [sys.executable, "-c", AUDITOR, str(group), str(directory)],
        capture_output=True,
        timeout=PATIENCE_S * 2,
        check=False,
    ).returncode


@needs_root
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="there is no setpriv here")
def test_the_audit_group_reads_the_journal_of_a_running_and_of_a_stopped_daemon_and_nobody_else_does() -> None:
    with managed(LIMITS) as daemon:
        daemon.folder.chmod(0o711)
        os.chown(daemon.folder, 0, AUDIT_GROUP)
        daemon.launch({"umask": "077"}, wrapped=["setpriv", "--regid", str(AUDIT_GROUP), "--clear-groups"])
        until(lambda: "READY=1" in daemon.told.heard() or daemon.has_ended(), "READY=1")
        trade(daemon, "mm1")
        journal = daemon.folder / "journal"
        assert audit(journal, AUDIT_GROUP) == 0
        assert audit(journal, 54323) != 0
        assert daemon.stop() == 0
        assert audit(journal, AUDIT_GROUP) == 0
        assert audit(journal, 54323) != 0


# ---------------------------------------------------------------------------------------------- users and folders


@needs_root
@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="there is no systemd-sysusers here")
def test_users_groups_and_folders_are_made_as_the_unit_wants_them(installed: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(installed, root)
    subprocess.run(["systemd-sysusers", f"--root={root}", "pitd.conf"], check=True, capture_output=True)
    users = {line.split(":")[0]: line.split(":") for line in (root / "etc/passwd").read_text().splitlines()}
    groups = {line.split(":")[0]: int(line.split(":")[2]) for line in (root / "etc/group").read_text().splitlines()}
    user = users[one(SERVICE, "User")]
    assert int(user[3]) == groups[one(SERVICE, "Group")]
    assert one(SOCKET, "SocketGroup") in groups
    subprocess.run(["systemd-tmpfiles", f"--root={root}", "--create", "pitd.conf"], check=True, capture_output=True)
    config_file = (root / "etc/pitd/pitd.toml").stat()
    assert (config_file.st_mode & 0o777, config_file.st_uid, config_file.st_gid) == (0o640, 0, groups["pitd-audit"])
    assert (root / "run/pitd").stat().st_mode & 0o777 == 0o755


# ---------------------------------------------------------------------------------------------- the install page


def page_commands() -> list[list[str]]:
    """Every command of the install page, as a shell would take it apart."""
    text = (DEPLOY / "INSTALL.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = [line.removesuffix(" >/dev/null") for block in blocks for line in block.splitlines() if line]
    return [shlex.split(command) for line in lines for command in line.split(" | ")]


PROGRAMS = {
    "apt-get",
    "curl",
    "install",
    "journalctl",
    "ln",
    "newgrp",
    "python3",
    "rm",
    "pitctl",
    "sudoedit",
    "systemctl",
    "systemd-analyze",
    "systemd-sysusers",
    "systemd-tmpfiles",
    "tee",
    "usermod",
}


@pytest.mark.parametrize("words", page_commands(), ids=" ".join)
def test_a_line_of_the_install_page_can_be_meant(words: list[str]) -> None:
    if "|" in words:
        words = words[: words.index("|")]
    assert words[0] == "sudo" or words[0] in PROGRAMS | {"pitd", "pitctl"} or "/" in words[0]
    program, *given = words[1:] if words[0] == "sudo" else words
    for word in given:
        if word.startswith("deploy/"):
            assert (ROOT / word).is_file(), word
        if re.fullmatch(r"pitd(-exporter)?\.(service|socket)", word):
            assert (DEPLOY / word).is_file(), word
        if word.endswith(".whl"):
            assert word in wheels(), word
    if program in ("pitd", "/opt/pitd/bin/pitd"):
        parses(given)
    elif program == "pitctl":
        assert operator.parser().parse_args(given) is not None
    elif program == "/opt/pitd/bin/python":
        assert given[0] == "-c"
        compile(given[1], "INSTALL.md", "exec")
    else:
        assert program in PROGRAMS or program in ("build-venv/bin/pip", "/opt/pitd/bin/pip"), program


def parses(given: list[str]) -> None:
    if given == ["--version"]:
        return
    assert cli._parser().parse_args(given) is not None


def wheels() -> set[str]:
    found = set()
    for file in (ROOT / "pyproject.toml", ROOT / "client" / "pyproject.toml"):
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        found.add(f"dist/{project['name'].replace('-', '_')}-{project['version']}-py3-none-any.whl")
    return found


def test_the_units_command_is_one_that_pitd_takes() -> None:
    program, *given = one(SERVICE, "ExecStart").split()
    parses(given)
    page = (DEPLOY / "INSTALL.md").read_text(encoding="utf-8")
    assert f"python3 -m venv {Path(program).parent.parent}\n" in page
    assert f" {given[-1]}\n" in page


def test_the_exporters_command_is_one_that_pitctl_takes_and_may_listen_where_it_says() -> None:
    program, *given = one(EXPORTER, "ExecStart").split()
    options = operator.parser().parse_args(given)
    assert Path(program).name == "pitctl" and options.listen == ("127.0.0.1", 9464)
    assert one(EXPORTER, "SocketBindAllow") == f"tcp:{options.listen[1]}"
    sample = (DEPLOY / "INSTALL.md").read_text(encoding="utf-8")
    assert f'[clients.{options.name}]\nroles = ["observe"]\nuser = "{one(EXPORTER, "User")}"\n' in sample
    assert one(EXPORTER, "Group") == one(SOCKET, "SocketGroup")


def test_everything_that_is_shipped_is_installed() -> None:
    shipped = {str(path.relative_to(ROOT)) for path in DEPLOY.rglob("*") if path.is_file()}
    installed = {word for words in page_commands() if "install" in words for word in words}
    assert shipped <= installed
