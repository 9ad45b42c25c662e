"""Who may connect over tcp: a key proves a name, and the daemon's own key proves the daemon."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from daemon import Daemon, folder

import pit
from pit import keys, wire
from pitd import keygen
from pitd.errors import KeysFailed


class House(NamedTuple):
    """A daemon on tcp that asks for keys, and where they are."""

    daemon: Daemon
    home: Path

    def key(self, name: str) -> Path:
        return self.home / f"{name}.key"

    @property
    def server_key(self) -> Path:
        return self.home / "pitd.pub"

    def connect(self, name: str, key: str, *, timeout_s: float = 10) -> pit.Engine:
        return pit.connect(
            name, self.daemon.endpoint, timeout_s=timeout_s, key_file=self.key(key), server_key=self.server_key
        )

    def refused(self) -> int:
        with self.connect("ops", "ops") as ops:
            status = ops.ask(wire.AskStatus())
        assert isinstance(status, wire.StatusIs)
        return status.not_authorized


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with folder() as home:
        for name in ("pitd", "mm1", "mm2", "ops", "stranger"):
            keygen.make(str(home / name))
        settings = f'daemon.key_file = "{home}/pitd.key"\n'
        for name, role in (("mm1", "trade"), ("mm2", "trade"), ("ops", "operate")):
            settings += f'[clients.{name}]\nroles = ["{role}"]\nkey_file = "{home}/{name}.pub"\n'
        settings += '[clients.unproven]\nroles = ["trade", "operate"]\n'
        daemon = Daemon(home, settings, endpoint="tcp://127.0.0.1:*")
        try:
            yield House(daemon.start(), home)
        finally:
            daemon.kill()


def an_order() -> pit.Order:
    return pit.Order(account="alpha", instrument=pit.Instrument("AAPL", "USD"), side="buy", quantity=1, price=1)


def test_the_right_key_lets_its_client_trade(house: House) -> None:
    with house.connect("mm1", "mm1") as engine:
        assert engine.ping()
        engine.execute_pre_trade(an_order())


def test_it_does_so_for_asyncio_too(house: House) -> None:
    async def ping() -> str:
        async with pit.connect_async(
            "mm1",
            house.daemon.endpoint,
            timeout_s=10,
            key_file=house.key("mm1"),
            server_key=keys.read_public(house.server_key),
        ) as engine:
            return await engine.ping()

    assert asyncio.run(ping())


def test_the_right_key_for_another_name_is_refused_and_counted(house: House) -> None:
    before = house.refused()
    for name in ("mm1", "ops", "unproven"):
        with pytest.raises(pit.NotAuthorized, match=f"key does not prove client {name}"):
            house.connect(name, "mm2")
    assert house.refused() == before + 3


def test_a_key_that_nobody_has_is_refused_and_counted(house: House) -> None:
    before = house.refused()
    with pytest.raises(pit.NotAuthorized, match="does not know this client's key"):
        house.connect("mm1", "stranger", timeout_s=2)
    assert house.refused() > before
    lines = [line for line in house.daemon.log().splitlines() if "client.key_refused" in line]
    assert lines
    assert "address=127.0.0.1" in lines[0]


def test_asyncio_is_told_so_too(house: House) -> None:
    async def connect() -> None:
        await pit.connect_async(
            "mm1",
            house.daemon.endpoint,
            timeout_s=2,
            key_file=house.key("stranger"),
            server_key=house.server_key,
        )

    with pytest.raises(pit.NotAuthorized, match="does not know this client's key"):
        asyncio.run(connect())


def test_who_brings_no_key_is_not_heard(house: House) -> None:
    with pytest.raises(pit.Unavailable):
        pit.connect("mm1", house.daemon.endpoint, timeout_s=1)


def test_a_daemon_with_another_key_is_not_spoken_to(house: House) -> None:
    with pytest.raises(pit.Unavailable, match="server_key"):
        pit.connect(
            "mm1",
            house.daemon.endpoint,
            timeout_s=2,
            key_file=house.key("mm1"),
            server_key=house.home / "stranger.pub",
        )


def test_pitctl_finds_its_key_by_the_environment(house: House) -> None:
    environment = {"PITD_KEY_FILE": str(house.key("ops")), "PITD_SERVER_KEY": str(house.server_key)}
    done = subprocess.run(
        [sys.executable, "-m", "pitd.operator", "sessions", "--endpoint", house.daemon.endpoint, "--name", "ops"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_nothing_secret_is_logged(house: House) -> None:
    secrets = [keys.read_pair(house.key(name)).secret for name in ("pitd", "mm1", "stranger")]
    assert not any(secret in house.daemon.log() for secret in secrets)
    assert secrets[0] not in repr(keys.read_pair(house.key("pitd")))


def test_a_key_file_is_made_for_its_owner_alone_and_never_over_another(tmp_path: Path) -> None:
    secret, public = keygen.make(str(tmp_path / "mm1"))
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert keys.read_pair(secret).public == keys.read_public(public)
    before = secret.read_text()
    with pytest.raises(KeysFailed, match="is there already"):
        keygen.make(str(tmp_path / "mm1"))
    assert secret.read_text() == before
    assert "secret" not in public.read_text().partition("curve")[2]


def test_keygen_shows_nothing_secret(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pitd.cli", "keygen", str(tmp_path / "mm1")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert keys.read_pair(tmp_path / "mm1.key").secret not in done.stdout + done.stderr
    assert str(tmp_path / "mm1.pub") in done.stdout


def test_a_secret_that_everybody_can_read_is_none(tmp_path: Path) -> None:
    secret, public = keygen.make(str(tmp_path / "mm1"))
    secret.chmod(0o644)
    with pytest.raises(pit.InvalidInput, match="no secret"):
        pit.connect("mm1", "tcp://127.0.0.1:1", key_file=secret, server_key=public)


@pytest.mark.parametrize(("given", "missing"), [({"key_file": "x"}, "server_key"), ({"server_key": "x"}, "key_file")])
def test_one_key_without_the_other_is_refused(given: dict[str, str], missing: str) -> None:
    with pytest.raises(pit.InvalidInput, match=f"{missing}.* is missing"):
        pit.connect("mm1", "tcp://127.0.0.1:1", **given)  # type: ignore[arg-type]


def test_the_daemons_key_comes_as_a_credential(tmp_path: Path) -> None:
    with folder() as home:
        secret, _ = keygen.make(str(home / "pitd"))
        credentials = home / "credentials"
        credentials.mkdir()
        secret.rename(credentials / "pitd.key")
        keygen.make(str(home / "mm1"))
        settings = f'daemon.key_file = "pitd.key"\n[clients.mm1]\nkey_file = "{home}/mm1.pub"\n'
        daemon = Daemon(home, settings, endpoint="tcp://127.0.0.1:*")
        try:
            daemon.start(environment={"CREDENTIALS_DIRECTORY": str(credentials)})
            with House(daemon, home).connect("mm1", "mm1") as engine:
                assert engine.ping()
        finally:
            daemon.kill()


def test_without_its_key_the_daemon_stays_down_and_says_how_to_give_it() -> None:
    with folder() as home:
        daemon = Daemon(home, 'daemon.key_file = "pitd.key"\n', endpoint="tcp://127.0.0.1:*")
        with pytest.raises(AssertionError, match=r"LoadCredential=pitd\.key"):
            daemon.start(environment={"CREDENTIALS_DIRECTORY": ""})
        assert daemon.process is not None
        assert daemon.process.wait(20) == 78


def test_a_key_that_is_taken_away_by_a_reload_ends_what_it_had_opened() -> None:
    with folder() as home:
        for name in ("pitd", "mm1", "other", "ops"):
            keygen.make(str(home / name))
        settings = (
            f'daemon.key_file = "{home}/pitd.key"\n[clients.ops]\nroles = ["operate"]\nkey_file = "{home}/ops.pub"\n'
            f'[clients.mm1]\nkey_file = "{home}/mm1.pub"\n'
        )
        daemon = Daemon(home, settings, endpoint="tcp://127.0.0.1:*")
        try:
            house = House(daemon.start(), home)
            engine = house.connect("mm1", "mm1")
            text = daemon.config.read_text().replace(f"{home}/mm1.pub", f"{home}/other.pub")
            daemon.config.write_text(text)
            with house.connect("ops", "ops") as ops:
                ops.reload(reason="mm1 has a new key")
            with pytest.raises(pit.NotAuthorized, match="key does not prove client mm1"):
                engine.execute_pre_trade(an_order())
            with house.connect("mm1", "other") as again:
                assert again.ping()
            engine.close()
        finally:
            daemon.kill()
