"""Who may do what, as it is configured: mistakes and their mends, what holds when nothing is said, warnings."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from pitd import clients, config, peers
from pitd.errors import ConfigError
from pitd.peers import Origin, Proof

KEY = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
OTHER_KEY = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"
TCP = "[daemon]\nendpoint = 'tcp://127.0.0.1:7421'\n"
CURVE = TCP + "key_file = 'pitd.key'\n"


@pytest.mark.parametrize(
    ("text", "key", "mend"),
    [
        ("[clients.mm1]\nroles = ['operator']", "clients.mm1.roles", "did you mean operate?"),
        ("[clients.mm1]\nuid = 5", "clients.mm1.uid", "known here: roles, accounts, user, key, key_file"),
        ("[clients.mm1]\nuser = 'no such user here'", "clients.mm1.user", "there is no user"),
        ("[clients.mm1]\nuser = -1", "clients.mm1.user", "name or number"),
        ("[clients.mm1]\nuser = true", "clients.mm1.user", "name or number"),
        ("[clients.mm1]\nkey = 'short'", "clients.mm1.key", "40 characters"),
        ("[clients.mm1]\nkey_file = 'mm1.pub'", "clients.mm1.key_file", "an absolute path"),
        ("[clients.mm1]\nkey_file = '/nowhere/mm1.pub'", "clients.mm1.key_file", "/nowhere/mm1.pub: cannot be read"),
        ("[clients.mm1]\naccounts = 'alpha'", "clients.mm1.accounts", "a list of names"),
        ("[accounts.alpha]\nreports_from = 'd'", "accounts.alpha.reports_from", "a list of names"),
        (
            "[accounts.alpha]\nreports_from = ['dropcopy']\n[clients.dropcpy]\nroles = ['report']",
            "accounts.alpha.reports_from",
            "did you mean dropcpy?",
        ),
        (
            "[accounts.alpha]\nreports_from = ['mm1']\n[clients.mm1]\nroles = ['trade']",
            "accounts.alpha.reports_from",
            'the role "report"',
        ),
        (
            "[accounts.alpha]\nreports_from = ['mm1']\n[clients.mm1]\nroles = ['report']\naccounts = ['beta']",
            "accounts.alpha.reports_from",
            "that account",
        ),
        ("[daemon]\nendpoint = 'tcp://0.0.0.0:7421'", "daemon.endpoint", "pitd keygen"),
        ("[daemon]\nendpoint = 'tcp://*:7421'", "daemon.endpoint", "127.0.0.1"),
        ("[daemon]\nendpoint = 'tcp://eth0:7421'", "daemon.endpoint", "plain tcp"),
        ("[daemon]\nkey_file = 'keys/pitd.key'", "daemon.key_file", "an absolute path is wanted, or a credential"),
    ],
)
def test_a_mistake_is_told_with_its_key_and_mend(text: str, key: str, mend: str) -> None:
    with pytest.raises(ConfigError) as no:
        config.parse(text, "desk.toml")
    assert f": {key}: " in str(no.value)
    assert mend in str(no.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "[::1]"])
def test_plain_tcp_within_the_machine_is_fine(host: str) -> None:
    assert config.parse(f"[daemon]\nendpoint = 'tcp://{host}:7421'").daemon.endpoint


def test_tcp_beyond_the_machine_is_fine_with_a_key() -> None:
    assert config.parse("[daemon]\nendpoint = 'tcp://0.0.0.0:7421'\nkey_file = 'pitd.key'").daemon.key_file


def test_without_clients_any_name_trades_and_reports_and_none_operates() -> None:
    settings = config.parse("")
    assert settings.roles_of("anyone") == {"trade", "report"}
    assert peers.not_proven(settings, "anyone", Proof(origin=Origin(1, 1, 1))) == ""


def test_once_a_client_is_listed_no_other_name_is_let_in_unless_it_is_said_so() -> None:
    listed = "[clients.mm1]\nroles = ['trade']\n"
    settings = config.parse(listed)
    assert 'add [clients.mm2], or [clients."*"]' in peers.not_proven(settings, "mm2", Proof(origin=Origin(1, 1, 1)))
    assert settings.roles_of("mm2") == frozenset()
    opened = config.parse(listed + "[clients.'*']\nroles = ['observe']")
    assert opened.roles_of("mm2") == {"observe"}
    assert peers.not_proven(opened, "mm2", Proof(origin=Origin(1, 1, 1))) == ""


def test_a_user_is_named_or_numbered() -> None:
    me = pwd.getpwuid(os.getuid()).pw_name
    settings = config.parse(f"[clients.a]\nuser = '{me}'\n[clients.b]\nuser = [4711, '{me}']")
    assert settings.clients["a"].users == {os.getuid()}
    assert settings.clients["b"].users == {os.getuid(), 4711}


def test_a_key_is_written_out_or_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "mm1.pub"
    file.write_text(f'# of mm1\ncurve\n    public-key = "{KEY}"\n')
    text = f"[clients.mm1]\nkey_file = '{file}'\n[clients.mm2]\nkey = ['{OTHER_KEY}', '{KEY}']"
    settings = config.parse(text)
    assert settings.clients["mm1"].keys == {KEY}
    assert settings.clients["mm2"].keys == {KEY, OTHER_KEY}


HERE, ELSEWHERE = Proof(origin=Origin(1001, 1001, 7)), Proof(origin=Origin(1002, 1002, 8))

PROVEN = [
    ("user = 1001", HERE, ""),
    ("user = 1001", ELSEWHERE, "user 1002 does not prove"),
    ("user = 1001", Proof(), "plain tcp proves nobody"),
    ("user = 1001", Proof(key=KEY), "this connection's key does not prove"),
    (f"key = '{KEY}'", Proof(key=KEY), ""),
    (f"key = '{KEY}'", Proof(key=OTHER_KEY), "this connection's key does not prove"),
    (f"key = '{KEY}'", Proof(), "plain tcp proves nobody"),
    (f"key = '{KEY}'", HERE, "proven by a key"),
    (f"key = '{KEY}'\nuser = 1001", HERE, ""),
    (f"key = '{KEY}'\nuser = 1001", Proof(key=KEY), ""),
    ("", HERE, ""),
    ("", Proof(), ""),
    ("", Proof(key=KEY), "this connection's key does not prove"),
    ("user = 1001", peers.IN_PROCESS, ""),
]


@pytest.mark.parametrize(("said", "proof", "why"), PROVEN)
def test_a_name_takes_what_proves_it(said: str, proof: Proof | None, why: str) -> None:
    found = peers.not_proven(config.parse(f"[clients.mm1]\n{said}"), "mm1", proof)
    assert found.startswith(why) if not why else why in found
    assert bool(found) == bool(why)


WARNED = [
    ("[clients.a]\nuser = 5\n[clients.b]\nuser = [4, 5]", "user 5 proves several names"),
    (f"[clients.a]\nkey = '{KEY}'\n[clients.b]\nkey = '{KEY}'", f"key {KEY} proves several names"),
    ("[clients.ops]\nroles = ['operate']", "client ops: nothing proves it"),
    (f"[clients.a]\nkey = '{KEY}'", "a key proves nothing over ipc"),
    (TCP, "any process of this machine may connect"),
    (TCP + "[clients.a]\nuser = 5", "client a: plain tcp can't prove it"),
    (CURVE + "[clients.a]\nuser = 5", "client a: no key proves it"),
    ("[daemon]\nkey_file = 'pitd.key'", "daemon.key_file is for tcp"),
]


@pytest.mark.parametrize(("text", "warning"), WARNED)
def test_what_is_perhaps_not_meant_is_warned_of(text: str, warning: str) -> None:
    assert any(warning in line for line in clients.warnings(config.parse(text)))


def test_what_is_meant_well_is_not_warned_of() -> None:
    text = "[clients.a]\nuser = 5\n[clients.b]\nuser = 6\n[clients.c]\nroles = ['report']"
    assert list(clients.warnings(config.parse(text))) == []
    assert list(clients.warnings(config.parse(CURVE + f"[clients.a]\nkey = '{KEY}'"))) == []


def test_check_config_tells_each_clients_roles_accounts_and_proof() -> None:
    text = (
        "[clients.mm1]\nroles = ['trade']\naccounts = ['beta', 'alpha']\nuser = 5\n[clients.'*']\nroles = ['observe']"
    )
    assert list(clients.told(config.parse(text))) == [
        "client mm1: trade; accounts alpha, beta; proven by user 5",
        "every other client: observe; nothing proves it",
    ]


def test_whoever_is_told_to_list_the_first_client_is_told_of_all_others() -> None:
    """Once one is listed, no other name may connect."""
    assert '[clients."*"]' in config.parse("").how_to_grant("pitctl-alice", "observe")
    assert '[clients."*"]' not in config.parse("[clients.mm1]").how_to_grant("pitctl-alice", "observe")
