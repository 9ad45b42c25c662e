"""Policies of an author's own: the complete example of the documentation, from its file to a restart."""

from __future__ import annotations

import json
import re
import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest
from builders import Core, fill, order, report, saved
from journal.houses import House, Talker

import pit
from pit import wire
from pitd import bootstrap, cli, config, laws, local, own_policies
from pitd.config_diff import runs_on
from pitd.errors import ConfigError

EXAMPLE = (Path(__file__).parents[2] / "docs" / "order_slots.py").read_text(encoding="utf-8")
LIMIT = 'control = "order_slots", each = "account", max_slots = 5'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The example, where nobody else may write."""
    tmp_path.chmod(0o700)
    path = tmp_path / "order_slots.py"
    path.write_text(EXAMPLE, encoding="utf-8")
    path.chmod(0o600)
    return path


def desk(file: Path, *, settings: str = 'large = "100", large_takes = 3', limit: str = LIMIT) -> str:
    own = f'[policies.order_slots]\nfile = "{file}"\nsettings = {{ {settings} }}\n'
    return f"{own}[limits]\nslots = {{ {limit} }}\n"


def written(file: Path, text: str) -> Path:
    """A configuration beside the policy's file."""
    path = file.with_name("desk.toml")
    path.write_text(text, encoding="utf-8")
    return path


def refused(file: Path, text: str) -> str:
    with pytest.raises(ConfigError) as no:
        config.load(written(file, text))
    return str(no.value).replace(str(file.parent), "")


def test_the_table_of_the_example_holds(file: Path) -> None:
    core = Core(desk(file))
    assert core.check(order(id="a", quantity=10))
    big = core.check(order(id="b", quantity=100))
    core.commit(big.reservation_id)
    no = core.check(order(id="c", side="sell", quantity=200)).rejected
    assert (no.code, no.limit, no.bound, no.used, no.requested) == ("RiskLimitExceeded", "slots", 5, 4, 3)
    core.report(fill("b", "50"))
    assert core.check(order(id="c", side="sell", quantity=200)).state == "held"


@pytest.mark.parametrize("way", ["rows", "snapshot"])
def test_it_is_saved_and_restored_like_the_built_in_ones(file: Path, way: str) -> None:
    core = Core(desk(file))
    first = core.check(order(id="a", quantity=200))
    core.check(order(id="b", quantity=1))
    again = core.again(way)
    assert again.engine.policies["order_slots"].save() == [["slots", "account alpha", 4]]
    assert again.check(order(id="c", quantity=200)).rejected.limit == "slots"
    again.rollback(first.reservation_id)
    assert again.check(order(id="c", quantity=200))


def test_its_numbers_are_overridden_like_those_of_pitd_s_own_limits(file: Path) -> None:
    core = Core(desk(file))
    assert core.set_limit("slots", {"max_slots": "1"}).overrides[0].in_force == "1"
    core.check(order(id="a"))
    assert core.check(order(id="b")).rejected.bound == 1
    assert "whole number" in core.set_limit("slots", {"max_slots": "1.5"}).message
    core.clear_limit("slots")
    assert core.check(order(id="b")).state == "held"


def test_a_number_that_its_author_refuses_is_refused_when_a_person_sets_it(file: Path) -> None:
    at = "    max_slots: int\n"
    more = "    def __post_init__(self):\n        if self.max_slots < 1:\n            raise ValueError('too few')\n"
    file.write_text(EXAMPLE.replace(at, f"{at}\n{more}"), encoding="utf-8")
    core = Core(desk(file))
    refused = core.set_limit("slots", {"max_slots": "-1"})
    assert refused.failure == "InvalidInput" and "too few" in refused.message
    assert core.check(order(id="a")).state == "held"


def test_other_settings_and_limits_come_with_a_reload_and_what_was_counted_stays(file: Path) -> None:
    core = Core(desk(file))
    core.check(order(id="a", quantity=100))
    core.reload(desk(file, settings='large = "500"', limit=LIMIT.replace("5", "4")))
    assert core.check(order(id="b", quantity=100)).state == "held"
    assert core.check(order(id="c", quantity=1)).rejected.used == 4


def test_one_whose_effects_are_open_can_t_be_taken_away(file: Path, tmp_path: Path) -> None:
    house = House(tmp_path / "journal", desk(file))
    client = Talker(house)
    client.ask(wire.Commit(client.hold(id="a").reservation_id))
    house.die()
    with pytest.raises(ConfigError, match=r"policies\.order_slots: .*a of account alpha is working; leave it in"):
        House(tmp_path / "journal", "")
    house = House(tmp_path / "journal", desk(file))
    Talker(house).ask(wire.Report(report("cancelled", order_id="a")))
    house.die()
    without = House(tmp_path / "journal", "")
    assert "order_slots" not in without.engine.policies
    without.die()


def test_a_history_can_be_read_when_its_code_is_gone(file: Path, tmp_path: Path) -> None:
    house = House(tmp_path / "journal", desk(file))
    client = Talker(house)
    client.ask(wire.Rollback(client.hold(id="a").reservation_id))
    house.die()
    file.unlink()
    house = House(tmp_path / "journal", "")
    assert Talker(house).hold(id="b")
    house.die()


def test_an_order_that_ended_before_a_policy_went_may_come_back_without_it(file: Path) -> None:
    core = Core(desk(file))
    held = core.check(order(id="a"))
    core.mark_sent(held.reservation_id)
    core.rollback(held.reservation_id)
    core.reload("")
    core.report(report("accepted", order_id="a"))
    assert core.state(held.reservation_id) == "working"
    assert saved(core.again("snapshot").engine) == saved(core.engine)


def test_code_is_never_exchanged_under_a_running_daemon(file: Path) -> None:
    path = written(file, desk(file))
    running = config.load(path)
    file.write_text(EXAMPLE.replace("max_slots: int", "most: int"), encoding="utf-8")
    with pytest.raises(ConfigError, match="max_slots"):
        config.load(path)
    fresh, waits = runs_on(running, config.load(path, running=running))
    assert [each.key for each in waits] == ["policies.order_slots.code"]
    assert type(bootstrap.build_policies(fresh)[-1]) is type(bootstrap.build_policies(running)[-1])


def test_an_engine_of_this_process_loads_it_from_a_file_beside_the_configuration(file: Path) -> None:
    path = written(file, desk(Path("order_slots.py")))
    with local.connect(path, "mm1") as engine:
        held = engine.execute_pre_trade(order(quantity=500))
        assert held
        assert not engine.execute_pre_trade(order(quantity=500))


def test_an_installed_package_brings_one_by_its_entry_point(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(file.parent)
    entry = EntryPoint("order_slots", "order_slots:OrderSlots", own_policies.GROUP)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: EntryPoints([entry]))
    text = desk(file).replace(f'file = "{file}"\n', "")
    assert Core(text).check(order(quantity=100))
    file.chmod(0o666)
    own_policies._loaded.pop(("order_slots", "", ""))
    with pytest.raises(ConfigError, match="others may write to"):
        config.parse(text)
    sys.modules.pop("order_slots")


# ---------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('settings = { large = "0" }', r":3: policies\.order_slots\.settings: large is above zero"),
        ("settings = { large = 1.5 }", r":3: policies\.order_slots\.settings\.large: a float is not exact.*\"1\.5\""),
        ("settings = { }", r":3: policies\.order_slots\.settings\.large: is missing"),
        ('settings = { large = "1", lrage = 2 }', r":3: policies\.order_slots\.settings\.lrage: .* known here: large,"),
        ('settings = { large = "1", large_takes = "x" }', r":3: .*large_takes: Expected `int`, got `str`, not 'x'"),
    ],
)
def test_a_setting_that_can_t_be_meant_is_told_with_file_line_and_key(file: Path, text: str, said: str) -> None:
    own = f'[policies.order_slots]\nfile = "order_slots.py"\n{text}\n'
    told = refused(file, own)
    assert re.match(rf"/desk\.toml{said}", told), told


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ("max_slots = 1.5", r"limits\.slots\.max_slots: Expected `int`, got `float`, not 1\.5"),
        ("max_slot = 1", r"limits\.slots\.max_slot: there is no such key; did you mean max_slots"),
        ("max_slots = 1, accounts = 3", r"limits\.slots\.accounts: a list of names is wanted"),
    ],
)
def test_a_limit_that_can_t_be_meant_is_told_as_those_of_pitd_are(file: Path, limit: str, said: str) -> None:
    told = refused(file, desk(file, limit=f'control = "order_slots", each = "account", {limit}'))
    assert re.match(rf"/desk\.toml:5: {said}", told), told


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def f(:\n", r"can't be loaded: line 1: SyntaxError"),
        ("import pitd.policy\n1 / 0\n", r"can't be loaded: line 2: ZeroDivisionError: division by zero"),
        ("", r"defines no policy with id = 'order_slots', or several; it defines: none"),
        (EXAMPLE.replace("class Taken(msgspec.Struct, frozen=True, ", "class Taken(msgspec.Struct, "), "no frozen"),
        (
            EXAMPLE.replace("self._taken: dict", "raise RuntimeError('no')\n        self._taken: dict"),
            "can't be made: .*no",
        ),
    ],
)
def test_code_that_can_t_be_meant_is_told_with_its_line(file: Path, code: str, said: str) -> None:
    file.write_text(code, encoding="utf-8")
    assert re.search(rf"policies\.order_slots.*{said}", refused(file, desk(Path("order_slots.py"))))


def test_a_name_of_pitd_s_own_is_refused(file: Path) -> None:
    assert "a name of pitd's own" in refused(file, "[policies.rate_limit]\n")


def test_one_that_nobody_brings_is_told_so(file: Path) -> None:
    assert re.search(r":1: policies\.nobody: no installed package brings it", refused(file, "[policies.nobody]\n"))


@pytest.mark.parametrize("place", ["the file", "its folder"])
def test_code_that_somebody_else_may_write_is_not_run(file: Path, place: str) -> None:
    (file if place == "the file" else file.parent).chmod(0o777)
    told = refused(file, desk(file))
    assert "others may write to" in told
    assert "chmod go-w" in told


# ---------------------------------------------------------------------------------------------- check-policy


def check(*words: str, examples: int = 5) -> int:
    return cli.main(["check-policy", "--examples", str(examples), *words])


def test_check_policy_finds_that_the_example_keeps_every_law(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(str(file), "--settings", "large = 100", "--limit", 'each = "account"; max_slots = 5', examples=15) == 0
    told = capsys.readouterr().out
    assert told.count("kept ") == len(laws.LAWS)
    assert "warning" not in told


BROKEN = {
    "deciding changes nothing": ("taken = self._taken.get(", "taken = self._taken.setdefault("),
    "state saved and loaded decides alike": ("self._taken = {(limit", "_ = {(limit"),
}


@pytest.mark.parametrize("law", BROKEN)
def test_check_policy_shows_the_smallest_example_that_breaks_a_law(
    file: Path, capsys: pytest.CaptureFixture[str], law: str
) -> None:
    good, bad = BROKEN[law]
    assert good in EXAMPLE
    file.write_text(EXAMPLE.replace(good, bad), encoding="utf-8")
    words = (str(file), "--settings", "large = 100", "--limit", 'each = "account"; max_slots = 5', "--json")
    assert check(*words, examples=20) == 1
    told = json.loads(capsys.readouterr().out)
    found = {each["law"]: each["example"] for each in told["laws"] if each["result"] == "broken"}
    example = next(text for name, text in found.items() if name.startswith(law))
    assert "stage: buy" in example
    assert len(example.splitlines()) < 12, example


def test_check_policy_warns_of_one_that_says_nothing(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(str(file), "--settings", "large = 100") == 0
    assert "warning: it said nothing" in capsys.readouterr().out


def test_check_policy_reads_a_configuration_as_the_daemon_does(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check("order_slots", "--config", str(written(file, desk(file)))) == 0
    assert check("nobody", "--config", str(written(file, desk(file)))) == 78
    assert "is not configured there" in capsys.readouterr().err


def test_check_config_shows_it_with_its_limits(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check-config", "--config", str(written(file, desk(file)))]) == 0
    told = capsys.readouterr().out
    assert "order_validation, order_slots" in told
    assert "limit slots: order_slots; for each account; max_slots 5 (desk.toml:5)" in told


def test_a_reject_of_it_is_told_like_every_other(file: Path) -> None:
    with local.connect(desk(file, limit=LIMIT.replace("5", "0")), "mm1") as engine:
        no = engine.execute_pre_trade(order(id="a"))
    assert isinstance(no, pit.Rejected)
    assert str(no) == "refused: slots (RiskLimitExceeded): it takes 1 slots, 0 of 0 are taken"


def test_replay_decides_again_with_its_code(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    house = House(tmp_path / "journal", desk(file))
    client = Talker(house)
    for id in "abcdef":
        client.check(id=id)
    house.die()
    assert cli.main(["replay", str(tmp_path / "journal")]) == 0
    assert "every answer is the same" in capsys.readouterr().out
