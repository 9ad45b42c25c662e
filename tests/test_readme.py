"""The README is true: its examples run against a real daemon, its tables name what is there, its commands exist."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import msgspec
import pytest
from daemon import Daemon, running

import pit
from pitd import cli, config, errors, local, operator

README = Path(__file__).resolve().parent.parent / "README.md"
TEXT = README.read_text(encoding="utf-8")


class Block(NamedTuple):
    """One fenced block: its language, what stands in it, and where it begins."""

    language: str
    text: str
    line: int


def blocks_of(text: str) -> list[Block]:
    found = re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(each[1], each[2], text.count("\n", 0, each.start(2)) + 1) for each in found]


BLOCKS = blocks_of(TEXT)
PYTHON = [at for at, block in enumerate(BLOCKS) if block.language == "python"]
TOML = [block for block in BLOCKS if block.language == "toml"]


def table(first_cell: str) -> list[list[str]]:
    """The rows of the table whose head begins with that cell, each a list of its cells."""
    lines = TEXT.splitlines()
    heads = [at for at, line in enumerate(lines) if line.startswith(f"| {first_cell} |")]
    assert len(heads) == 1, f"one table that begins with {first_cell!r} is wanted, not {len(heads)}"
    rows = []
    for line in lines[heads[0] + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    assert rows
    return rows


def words_in(cell: str) -> list[str]:
    """What is set in `code` in a cell."""
    return re.findall(r"`([^`]+)`", cell)


# ---------------------------------------------------------------------------------------------- the examples


class Venue:
    """A venue that does what a test wants of the next order: takes it, refuses it, stays silent, or takes us along."""

    class Refused(Exception):
        pass

    class Timeout(Exception):
        pass

    def __init__(self) -> None:
        self.trouble: BaseException | None = None
        self.seen: dict[str, SimpleNamespace] = {}

    def send(self, order: pit.Order) -> SimpleNamespace:
        trouble, self.trouble = self.trouble, None
        if trouble is not None:
            raise trouble
        self.seen[order.id] = SimpleNamespace(id=f"venue-{order.id}")
        return self.seen[order.id]

    def cancel(self, order: pit.Order, venue_order_id: str | None) -> None:
        assert order.id in self.seen
        self.seen[order.id].is_cancelled = True

    def find(self, order_id: str) -> SimpleNamespace | None:
        return self.seen.get(order_id)

    def surely_never_saw(self, order_id: str) -> bool:
        return order_id not in self.seen


class Reader:
    """Someone who types in the examples from the top, as far as they have come."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.venue = Venue()
        self.names: dict[str, Any] = {"venue": self.venue, "__name__": "readme"}
        self.printed: dict[int, str] = {}
        self._next = 0

    def read_to(self, last: int) -> None:
        """Runs every example up to this block that has not run yet."""
        for at in PYTHON:
            if self._next <= at <= last:
                self._next = at + 1
                self._run(at)

    def _run(self, at: int) -> None:
        lines: list[str] = []
        self.names["print"] = lambda *values: lines.append(" ".join(map(str, values)))
        source = "\n" * (BLOCKS[at].line - 1) + BLOCKS[at].text
        exec(compile(source, str(README), "exec"), self.names)
        self.printed[at] = "".join(f"{line}\n" for line in lines)


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    """Beside a daemon with the README's own configuration, found by $PITD_ENDPOINT, and with more patience than 1 s."""
    with pytest.MonkeyPatch.context() as patch, running(TOML[0].text) as daemon:
        patch.setenv("PITD_ENDPOINT", daemon.endpoint)
        for connect in (pit.connect, pit.connect_async):
            patch.setattr(connect, "__kwdefaults__", {**connect.__kwdefaults__, "timeout_s": 30.0})
        yield Reader(daemon)


def test_there_are_examples() -> None:
    assert len(PYTHON) >= 8 and len(TOML) == 1
    assert TEXT.count("```python") == len(PYTHON), "a fence that is not closed"


@pytest.mark.parametrize("at", PYTHON, ids=lambda at: f"line{BLOCKS[at].line}")
def test_an_example_runs_and_prints_what_stands_below_it(reader: Reader, at: int) -> None:
    reader.read_to(at)
    below = BLOCKS[at + 1] if at + 1 < len(BLOCKS) else None
    assert reader.printed[at] == (below.text if below is not None and below.language == "text" else "")


@pytest.fixture
def loop(reader: Reader) -> Callable[..., Any]:
    """`trade` of the README, as client mm1 and with an order of its own: `trade(trouble)` returns the order's id."""
    reader.read_to(PYTHON[-1])

    def trade(engine: pit.Engine, trouble: BaseException | None = None, **fields: Any) -> str:
        known: dict[str, Any] = {"account": "beta", "instrument": pit.Instrument("AAPL", "USD"), "price": 185}
        order = pit.Order(**(known | {"side": "buy", "quantity": 10} | fields))
        reader.venue.trouble = trouble
        reader.names["trade"](engine, reader.venue, order)
        return order.id

    return trade


def outcome(engine: pit.Engine, order_id: str) -> pit.Outcome:
    return engine.outcome("beta", order_id)


def test_the_table_of_endings_names_the_calls_and_states_in_order() -> None:
    rows = table("the send was")
    assert [row[0] for row in rows] == ["accepted", "refused", "unknown", "crashed"]
    assert [words_in(row[2]) for row in rows] == [["working"], ["rolled_back"], ["quarantined"], ["quarantined"]]


def test_an_order_that_the_venue_accepted_is_working(loop: Callable[..., Any]) -> None:
    with pit.connect("mm1") as engine:
        after = outcome(engine, loop(engine))
    assert after.state == "working" and after.venue_order_id == f"venue-{after.order_id}"


def test_an_order_that_the_venue_refused_is_rolled_back_with_its_reason(loop: Callable[..., Any]) -> None:
    with pit.connect("mm1") as engine:
        after = outcome(engine, loop(engine, Venue.Refused("no such symbol")))
    assert after.state == "rolled_back" and after.reason == "no such symbol"


def test_an_order_that_the_venue_did_not_answer_stays_counted_until_a_report_settles_it(
    loop: Callable[..., Any],
) -> None:
    with pit.connect("mm1") as engine:
        order_id = loop(engine, Venue.Timeout())
        assert outcome(engine, order_id).state == "quarantined"
        assert order_id in [each.order.id for each in engine.open_orders("beta")]
        engine.apply_execution_report(
            pit.ExecutionReport(account="beta", kind="cancelled", report_id="c1", order_id=order_id)
        )
        assert outcome(engine, order_id).state == "closed"


def test_a_refused_order_never_reaches_the_venue(loop: Callable[..., Any], reader: Reader) -> None:
    with pit.connect("mm1") as engine:
        order_id = loop(engine, quantity=501)
        assert order_id not in reader.venue.seen
        with pytest.raises(pit.UnknownId):
            outcome(engine, order_id)


def test_what_a_crashed_strategy_had_sent_is_found_and_settled_by_its_next_process(
    loop: Callable[..., Any], reader: Reader
) -> None:
    """The example under "After a crash" does the settling: it runs again, with something to find."""
    crashed = pit.connect("mm1")
    with pytest.raises(KeyboardInterrupt):
        loop(crashed, KeyboardInterrupt(), id="arrived")
    with pytest.raises(KeyboardInterrupt):
        loop(crashed, KeyboardInterrupt(), id="never-left")
    reader.venue.seen["arrived"] = SimpleNamespace(id="venue-arrived")
    with pit.connect("mm1") as engine:  # the crashed one is fenced, and has said nothing
        left = {each.order.id: each.state for each in engine.open_orders("beta")}
        assert left["arrived"] == left["never-left"] == "quarantined"
    settling = [block for block in BLOCKS if "left_behind" in block.text]
    exec(settling[0].text, reader.names)
    with pit.connect("mm1") as engine:
        assert outcome(engine, "arrived").state == "working"
        assert outcome(engine, "never-left").state == "rolled_back"
    with pytest.raises(pit.Fenced):
        crashed.open_orders()
    crashed.close()


def test_the_readme_policy_keeps_the_laws_of_policies(reader: Reader) -> None:
    """Deciding changes nothing; apply then undo is identity; effects and state survive being written down."""
    reader.read_to(PYTHON[-1])
    make = reader.names["MaxOpenOrders"]
    policy, order = make(1), pit.Order(account="a", instrument="X", side="buy", quantity=1)
    attempt = SimpleNamespace(order=order)
    (slot,) = policy.main(attempt).effects
    assert policy.main(attempt).effects == (slot,) and policy.save() == []
    policy.apply(slot)
    assert policy.main(attempt).rejects and policy.save() == [("a", 1)]
    again = make(1)
    again.load(msgspec.json.decode(msgspec.json.encode(policy.save())))
    assert again.main(attempt) == policy.main(attempt)
    assert msgspec.json.decode(msgspec.json.encode(slot), type=type(slot)) == slot
    policy.undo(slot)
    assert policy.save() == []


def test_a_slot_of_the_readme_policy_is_free_again_when_its_order_closes(reader: Reader) -> None:
    reader.read_to(PYTHON[-1])
    aapl = pit.Instrument("AAPL", "USD")
    with local.connect({}, policies=[reader.names["MaxOpenOrders"](1)]) as engine:

        def ask(order_id: str) -> pit.Reservation | pit.Rejected:
            order = pit.Order(account="a", instrument=aapl, side="buy", quantity=2, price=1, id=order_id)
            return engine.execute_pre_trade(order, sent=True)

        def fill(order_id: str, report_id: str) -> None:
            engine.apply_execution_report(
                pit.ExecutionReport(
                    account="a", kind="fill", report_id=report_id, order_id=order_id, quantity=1, price=1
                )
            )

        assert ask("one")
        fill("one", "f1")
        assert not ask("two"), "one is half filled, and open"
        fill("one", "f2")
        assert ask("two")


# ---------------------------------------------------------------------------------------------- configuration


def test_the_readme_configuration_is_good_and_uses_every_control() -> None:
    controls = {each["control"] for each in tomllib.loads(TOML[0].text)["limits"].values()}
    assert config.parse(TOML[0].text, "README.md").limits and controls == set(config.CONTROLS)


def test_the_table_of_controls_names_every_key_that_a_limit_takes() -> None:
    listed = {words_in(row[0])[0]: set(words_in(row[1])) for row in table("control")}
    assert set(listed) == set(config.CONTROLS)
    common = {"control", "each", "over", "accounts", "clients", "groups", "instruments", "settlement", "except"}
    common |= {"shadow"}
    for control, keys in listed.items():
        with pytest.raises(config.ConfigError) as told:
            config.from_tables({"limits": {"x": {"control": control, "?": 1}}})
        assert set(str(told.value).partition("known here: ")[2].split(", ")) == common | keys
    assert not [key for key in common - {"control"} if f"`{key}`" not in TEXT]


def test_every_reject_code_in_the_readme_exists() -> None:
    rows = table("control")
    codes = {code for row in rows for code in words_in(row[2])}
    section = TEXT.partition("## Configuration")[2].partition("\n## ")[0]
    codes |= set(re.findall(r"`([A-Z][a-z]+(?:[A-Z][a-z]+)+)`", section))
    assert len(codes) > 6
    assert codes <= {str(code) for code in pit.RejectCode}


@pytest.mark.parametrize("word", sorted(set(re.findall(r"`((?:engine|held|pit)\.[a-z_]+)[(`]", TEXT))))
def test_every_call_named_in_the_text_exists(word: str) -> None:
    owner, _, name = word.partition(".")
    assert hasattr({"engine": pit.Engine, "held": pit.Reservation, "pit": pit}[owner], name)


@pytest.mark.parametrize("word", sorted(set(re.findall(r"`([a-z_]+)\(", TEXT))))
def test_every_bare_call_named_in_the_text_exists(word: str) -> None:
    places = [pit, pit.Engine, pit.Reservation, pit.DeferredRequest, local.LocalEngine]
    assert any(hasattr(place, word) for place in places)


# ---------------------------------------------------------------------------------------------- trouble


def test_the_failure_table_names_everything_that_is_raised_and_nothing_else() -> None:
    named = {word for row in table("what happened") for word in words_in(row[1]) if word[0].isupper()} - {"Rejected"}
    raised = {
        name
        for name in pit.__all__
        if isinstance(each := getattr(pit, name), type) and issubclass(each, pit.PitError) and each is not pit.PitError
    }
    assert named == raised


def test_the_table_of_exit_codes_names_every_code_and_no_other() -> None:
    named = {int(row[0]) for row in table("exit code")}
    in_code = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    assert named == in_code | {0, 1}
    in_help = re.search(r"exit codes: (.*)", " ".join(cli._parser().format_help().split()))
    assert in_help and {int(code) for code in re.findall(r"\b\d+\b", in_help[1])} == named


def test_a_daemon_that_was_restarted_and_has_forgotten_tells_those_from_before_it() -> None:
    """As the table says: by what they have seen of it, or, once others have traded on, by their session."""
    row = next(row for row in table("what happened") if "forgotten" in row[0])
    told = tuple(getattr(pit, name) for name in words_in(row[1]))
    assert told == (pit.JournalBehind,)

    def order() -> pit.Order:
        return pit.Order(account="alpha", instrument=pit.Instrument("AAPL", "USD"), side="buy", quantity=1, price=1)

    with running('journal.durability = "none"\n' + TOML[0].text) as daemon:
        much, little = daemon.connect("much"), daemon.connect("little")
        for _ in range(5):
            much.execute_pre_trade(order(), sent=True)
        daemon.kill()
        daemon.start()
        with pytest.raises(pit.JournalBehind):
            much.execute_pre_trade(order())
        with daemon.connect("newcomer") as newcomer:
            for _ in range(10):
                newcomer.execute_pre_trade(order())
        with pytest.raises(told):
            little.execute_pre_trade(order())
        with daemon.connect("much") as anew:
            assert anew.open_orders() == []
        much.close()
        little.close()


# ---------------------------------------------------------------------------------------------- commands


PARSERS = {"pitd": cli._parser, "pitctl": operator.parser}


def commands() -> list[list[str]]:
    """Every `pitd …` and `pitctl …` that stands in a block of commands, word by word."""
    lines = [line for block in BLOCKS if block.language == "sh" for line in block.text.splitlines()]
    parts = [part.strip() for line in lines for part in line.partition("#")[0].split("&&")]
    split = [shlex.split(part) for part in parts]
    return [words for words in split if words and words[0].rpartition("/")[2] in PARSERS]


@pytest.mark.parametrize("words", commands(), ids=lambda words: " ".join(words))
def test_a_command_in_the_readme_exists_as_written(words: list[str]) -> None:
    assert PARSERS[words[0].rpartition("/")[2]]().parse_args(words[1:])


def test_the_commands_in_the_text_exist() -> None:
    for program, parser in PARSERS.items():
        named = set(re.findall(rf"`{program} ([a-z-]+)", TEXT))
        assert named or program == "pitctl"
        for name in named:
            with pytest.raises(SystemExit) as ended:
                parser().parse_args([name, "--help"])
            assert ended.value.code == 0


def test_the_exit_codes_of_isready_are_those_in_the_readme() -> None:
    (line,) = [line for block in BLOCKS for line in block.text.splitlines() if line.startswith("pitctl isready")]
    assert list(map(int, re.findall(r"\b\d\b", line))) == [operator.READY, operator.NOT_READY, operator.NO_ANSWER]


def test_the_quick_start_begins_with_a_configuration_that_would_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PITD_ENDPOINT", "ipc:///tmp/pitd.sock")
    ran = [words for words in commands() if words[1] in ("init", "check-config")]
    assert [cli.main(words[1:]) for words in ran] == [0, 0]
    assert "pitd.toml: good; it would listen at ipc:///tmp/pitd.sock" in capsys.readouterr().out


def test_both_commands_do_their_own_setup() -> None:
    """One line each: a virtual environment, the installation, and what was promised. The gate runs them."""
    lines = [block.text for block in BLOCKS if block.language == "sh" and "-m venv" in block.text]
    assert len(lines) == 2
    assert all(
        re.fullmatch(r"python3 -m venv \.venv && \.venv/bin/pip install \S.* && \.venv/bin/.*\n", each)
        for each in lines
    )
    assert lines[0].endswith("pitd demo\n") and "-m pytest" in lines[1]
