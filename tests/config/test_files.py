"""A configuration in several files: which are read, how they become one, and where each key was written."""

from __future__ import annotations

import os
import re
import threading
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from policies.test_laws import SETTINGS

from pitd import bootstrap, cli, config, config_files
from pitd.config_diff import differences
from pitd.errors import ConfigError
from pitd.policies.order_size_limit import OrderSize
from pitd.policies.rate_limit import Rate
from pitd.toml_lines import lines_of

SIZE = """
[limits.size]
control = "order_size_limit"
each = "account"
settlement = "USD"
max_quantity = "500"
max_notional = "250000"
"""


class Files:
    """A configuration file in a directory of its own, and its drop-ins."""

    def __init__(self, folder: Path, text: str) -> None:
        self.path = folder / "desk.toml"
        self.path.write_text(text, encoding="utf-8")

    def add(self, name: str, text: str) -> Path:
        path = self.path.with_name("desk.toml.d") / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def load(self) -> config.Config:
        return config.load(self.path)

    def refused(self) -> str:
        with pytest.raises(ConfigError) as no:
            self.load()
        return str(no.value)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path, SIZE)


def size_of(read: config.Config) -> OrderSize:
    (limit,) = read.limits
    assert isinstance(limit, OrderSize)
    return limit


def test_a_drop_in_changes_the_keys_that_it_names_and_no_others(files: Files) -> None:
    files.add("10-tight.toml", '[limits.size]\nmax_quantity = "100"\n')
    size = size_of(files.load())
    assert (size.max_quantity, size.max_notional) == (100, 250_000)


def test_a_drop_in_may_bring_limits_clients_and_groups_of_its_own(files: Files) -> None:
    files.add(
        "10-desk.toml",
        '[accounts.alpha]\ngroup = "eq"\n[clients.ops]\nroles = ["operate"]\n'
        '[limits]\nrate = { control = "rate_limit", over = { group = "eq" }, max_orders = 5, window = "1s" }\n',
    )
    read = files.load()
    assert [limit.name for limit in read.limits] == ["size", "rate"]
    assert isinstance(read.limits[1], Rate)
    assert read.groups == {"alpha": "eq"} and read.roles_of("ops") == {"operate"}


def test_of_a_key_that_several_drop_ins_name_the_last_by_name_holds(files: Files) -> None:
    files.add("90-z.toml", '[limits.size]\nmax_quantity = "3"\n')
    files.add("10-a.toml", '[limits.size]\nmax_quantity = "1"\n')
    files.add("50-m.toml", '[limits.size]\nmax_quantity = "2"\n')
    assert size_of(files.load()).max_quantity == 3


def test_a_list_is_replaced_and_not_added_to(files: Files) -> None:
    files.path.write_text(SIZE + 'accounts = ["a", "b"]\n', encoding="utf-8")
    files.add("10.toml", '[limits.size]\naccounts = ["c"]\n')
    assert size_of(files.load()).only.accounts == {"c"}


def test_a_limit_that_two_files_define_is_refused_and_both_places_are_named(files: Files) -> None:
    files.add("10.toml", '[limits.size]\nmax_quantity = "1"\n')
    second = files.add("20.toml", "\n" + SIZE)
    said = files.refused()
    assert said.startswith(f"{second}:4: limits.size.control: ") and f"{files.path}:3" in said
    assert "another name" in said


def test_a_mistake_in_a_drop_in_names_that_drop_in_and_its_line(files: Files) -> None:
    path = files.add("10.toml", '# mistaken\n[limits.size]\nmax_quantity = "-1"\n')
    assert files.refused().startswith(f"{path}:3: limits.size.max_quantity: ")


def test_a_key_that_is_missing_is_looked_for_where_its_table_is(files: Files) -> None:
    path = files.add("10.toml", '\n[limits.rate]\ncontrol = "rate_limit"\neach = "account"\n')
    assert files.refused().startswith(f"{path}:2: limits.rate.max_orders: is missing")


def test_a_contradiction_between_two_files_names_the_one_that_speaks_last(files: Files) -> None:
    path = files.add("10.toml", '[gate]\nlease = "90s"\n')
    assert files.refused().startswith(f"{path}:2: gate.lease: ")


def test_a_drop_in_that_is_no_toml_is_named_with_its_line(files: Files) -> None:
    path = files.add("10.toml", "[gate]\nlease = 5s\n")
    said = files.refused()
    assert said.startswith(f"{path}:2: is not TOML: ") and said.endswith("lease = 5s")


def test_the_source_names_every_file_that_was_read(files: Files) -> None:
    files.add("20-b.toml", "")
    files.add("10-a.toml", "")
    assert files.load().source == f"{files.path} + desk.toml.d/10-a.toml + desk.toml.d/20-b.toml"


def test_what_is_not_called_toml_is_passed_over_and_told(files: Files) -> None:
    for name in ("10.toml~", ".hidden.toml", "20.tml", "README"):
        files.add(name, '[limits.size]\nmax_quantity = "1"\n')
    assert size_of(files.load()).max_quantity == 500
    told = config_files.read(files.path).passed_over
    assert [Path(each).name for each in told] == [".hidden.toml", "10.toml~", "20.tml", "README"]


def test_without_drop_ins_nothing_is_different(files: Files) -> None:
    assert files.load() == config.parse(SIZE, str(files.path))


def test_a_drop_in_that_is_a_pipe_is_refused_and_waited_for_by_nobody(files: Files) -> None:
    path = files.add("10.toml", "").with_name("20.toml")
    os.mkfifo(path)
    assert "20.toml: is no plain file" in files.refused()
    path.unlink()
    path.symlink_to("/dev/zero")
    assert "20.toml: is no plain file" in files.refused()


def test_a_drop_in_may_be_masked(files: Files) -> None:
    files.add("10.toml", "").with_name("20.toml").symlink_to("/dev/null")
    assert size_of(files.load()).max_quantity == 500


def test_a_file_that_is_no_configuration_by_its_size_is_refused(files: Files) -> None:
    files.add("10.toml", "# " + "x" * (5 << 20))
    assert "larger than 4 MiB" in files.refused()


def test_only_who_starts_may_wait_for_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "pipe.toml"
    os.mkfifo(path)
    with pytest.raises(ConfigError, match="no plain file"):
        config.load(path, is_serving=True)
    writer = threading.Thread(target=lambda: path.write_text(SIZE, encoding="utf-8"))
    writer.start()
    assert size_of(config.load(path)).max_quantity == 500
    writer.join()


def test_a_drop_in_that_cannot_be_read_stops_everything(files: Files) -> None:
    (files.add("10.toml", "").with_name("20.toml")).mkdir()
    assert "20.toml: cannot be read: Is a directory" in files.refused()


def test_check_config_says_where_each_limit_was_written_and_what_was_passed_over(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    files.add("10.toml", '\n[limits.size]\nmax_quantity = "1"\n')
    files.add("20.tml", "")
    assert cli.main(["check-config", "--config", str(files.path)]) == 0
    said = capsys.readouterr().out
    assert "limit size: order_size_limit; for each account; max_quantity 1; max_notional 250000; " in said
    assert "(desk.toml:2, 10.toml:2)" in said
    assert "20.tml was not read" in said


HOURS = """
[limits.nyse]
control = "instrument_rules"
zone = "UTC"
hours = ["mon-fri 09:30-16:00"]
holidays = ["2026-12-25"]
"""


def test_check_config_tells_limits_of_every_control(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    files.path.write_text(SETTINGS + HOURS, encoding="utf-8")
    assert cli.main(["check-config", "--config", str(files.path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    told = {line.split(":")[0].removeprefix("limit "): line for line in lines if line.startswith("limit ")}
    assert set(told) == {limit.name for limit in config.parse(SETTINGS + HOURS, "all.toml").limits}
    assert "hours mon-fri 09:30-16:00 (UTC), except on 2026-12-25" in told["nyse"]
    assert "max_notional 95000; per day; only settlement USD" in told["daily"] and "window 2 s" in told["flow"]
    assert "max_messages 3; window 5 s; orders; cancels refuse" in told["msgs"] and "deny BTC/USDT" in told["rule"]


# ---------------------------------------------------------------------------------------------- lines


def paths_of(tables: Mapping[str, Any], above: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    found = set()
    for name, value in tables.items():
        found.add((*above, name))
        if isinstance(value, dict):
            found |= paths_of(value, (*above, name))
    return found


def test_every_key_of_the_sample_is_found() -> None:
    text = resources.files("pitd").joinpath("sample.toml").read_text(encoding="utf-8")
    assert set(lines_of(text)) == paths_of(tomllib.loads(text))


CROOKED = '''
# [a] "x" = 1
daemon.endpoint = "ipc:///a"  # = b
[ "quoted \\u0041.key" . 'b' ]   # [c]
multi = """
[not.a.table]
fake = "x"
a \\""" b"""
raw = \'\'\'
y = 1
\'\'\'
list = [ 1, # one ]
  "two, ]", { inner = 1 },
  [ "[x]", """
  z = 1
  """ ]
]
empty = {}
inline = { one = "}", two = { three = [1, 2], "fo ur" = 1979-05-27 07:32:00 } }
x = 1.5e3
[[many]]
k = 1
[[many]]
k = 2
[many.sub]
[deep.er]
'''


def test_the_lines_of_a_crooked_text_are_found() -> None:
    found = lines_of(CROOKED)
    lines = CROOKED.split("\n")
    want = {
        ("daemon", "endpoint"): "daemon.endpoint",
        ("quoted A.key", "b"): "[ ",
        ("quoted A.key", "b", "multi"): "multi",
        ("quoted A.key", "b", "raw"): "raw",
        ("quoted A.key", "b", "list"): "list",
        ("quoted A.key", "b", "inline", "two", "fo ur"): "inline",
        ("quoted A.key", "b", "x"): "x",
        ("many", "sub"): "[many.sub]",
        ("deep",): "[deep.er]",
    }
    for path, begins in want.items():
        assert lines[found[path] - 1].startswith(begins), path
    assert not {path for path in found if {"fake", "y", "z", "inner", "not"} & set(path)}


KEYS = some.one_of(some.from_regex(r"[A-Za-z0-9_-]{1,3}", fullmatch=True), some.text(max_size=3))
TEXTS = some.text(max_size=6)


def quoted(text: str) -> str:
    return '"' + "".join(f"\\U{ord(each):08X}" if not each.isalnum() else each for each in text) + '"'


def written(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{quoted(key)} = {written(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list):
        return "[\n" + ",\n# ]\n".join(map(written, value)) + "\n]"
    return quoted(value) if isinstance(value, str) else str(value)


VALUES = some.recursive(
    some.one_of(TEXTS, some.integers(0, 99)),
    lambda inner: some.one_of(some.lists(inner, max_size=3), some.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=6,
)


@given(some.dictionaries(KEYS, some.dictionaries(KEYS, VALUES, max_size=3), max_size=3))
def test_the_keys_found_are_those_that_are_read(tables: dict[str, dict[str, Any]]) -> None:
    parts = []
    for name, table in tables.items():
        parts += [f"# {quoted(name)} = 1", f"[{quoted(name)}]"]
        parts += [f"  {quoted(key)}={written(value)} # x = 1" for key, value in table.items()]
    text = "\n".join(parts)
    assert tomllib.loads(text) == tables
    found = lines_of(text)
    assert set(found) == paths_of(tables)
    for path, line in found.items():
        if len(path) == 2:
            assert text.split("\n")[line - 1].startswith(f"  {quoted(path[1])}=")


# ---------------------------------------------------------------------------------------------- nowhere else

READS_ENVIRONMENT = {
    "client/pit/places.py",
    "pitd/cli.py",
    "pitd/config.py",
    "pitd/demo/show.py",
    "pitd/journal_tools/background.py",
    "pitd/journal_tools/past.py",
    "pitd/keygen.py",
    "pitd/log.py",
}
"""Where the daemon and its state are, what the service manager says and hands over, what a child is given."""


def test_limits_never_come_from_the_environment(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    before = bootstrap.settings_text(files.load())
    for prefix in ("", "PITD_", "PITD_LIMITS_", "PITD_LIMITS_SIZE_", "LIMITS_", "limits.size."):
        for key in ("MAX_QUANTITY", "max_quantity", "LIMITS", "CONFIG", "UNCOVERED", "LEASE"):
            monkeypatch.setenv(prefix + key, "1")
    assert bootstrap.settings_text(files.load()) == before


def test_nothing_that_decides_reads_the_environment() -> None:
    root = Path(__file__).parent.parent.parent
    sources = [*root.glob("pitd/**/*.py"), *root.glob("client/pit/**/*.py")]
    assert len(sources) > 50
    readers = {
        path.relative_to(root).as_posix()
        for path in sources
        if re.search(r"os\.(environ|getenv)", path.read_text(encoding="utf-8"))
    }
    assert readers <= READS_ENVIRONMENT, "say in READS_ENVIRONMENT why, if it is no limit"


def test_limits_never_come_from_flags(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["run", "--help"])
    assert set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) == {"--help", "--config", "--log-level"}


# ---------------------------------------------------------------------------------------------- differences

ROOT = Path(__file__).parents[2]

TELLING = {
    "daemon": "daemon.batch = 9",
    "journal": "journal.keep = '9d'",
    "gate": "gate.max_open = 9",
    "instruments": "instruments.ES.settlement = 'USD'",
    "groups": "accounts.alpha.group = 'eq'",
    "accounts": "accounts.alpha.start_of_day = '17:00'",
    "currency": "currency.firm = 'USD'\ncurrency.rates.EUR = '1.1'",
    "calendar": "calendar.start_of_day = '17:00'",
    "reports_from": "accounts.alpha.reports_from = ['x']\nclients.x.roles = ['report']",
    "clients": "clients.x.roles = ['report']",
    "limits": "limits.x = { control = 'rate_limit', each = 'client', max_orders = 1, window = '1s' }",
    "reactions": "reports.overfill = 'halt'",
    "policies": f"policies.order_slots = {{ file = '{ROOT}/docs/order_slots.py', settings = {{ large = 1 }} }}",
}


def test_every_part_of_a_configuration_has_its_differences_told() -> None:
    assert set(TELLING) == set(config.Config.__struct_fields__) - {"source"}
    plain = config.parse("")
    for part, text in TELLING.items():
        told = [each.key for each in differences(plain, config.parse(text))]
        assert any(key.startswith(tuple(re.findall(r"^[a-z]+", text, re.M))) for key in told), part
        assert differences(config.parse(text), config.parse(text)) == []
