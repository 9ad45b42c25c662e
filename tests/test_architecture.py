"""Which way the arrows point: who may import whom, read from the source; and that every module says what it is for."""

from __future__ import annotations

import ast
import functools
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
from cases import table

import pit
import pitd

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted([*(ROOT / "client" / "pit").rglob("*.py"), *(ROOT / "pitd").rglob("*.py")])

CORE_STDLIB = {
    "__future__",
    "abc",
    "bisect",
    "collections",
    "dataclasses",
    "decimal",
    "enum",
    "functools",
    "hashlib",
    "heapq",
    "itertools",
    "math",
    "operator",
    "typing",
}
"""What computes and nothing else: no clock, files, sockets, chance, threads or log lines."""

ENTRY_POINTS = {"pitd.cli", "pitd.local", "pitd.operator.report", "pitd.replay_cli"}
"""Who may ask for the parts to be put together. The demo goes through one of them, or starts `pitd run`."""

ZEROMQ = {
    "pitd.router",
    "pitd.keygen",
    "pitd.bench.echo",
    "pitd.demo.processes",
    "pitd.demo.venue",
    "pitd.demo.venue_client",
}


class Import(NamedTuple):
    """One imported module, in absolute words. `from pit import wire` counts as both `pit` and `pit.wire`."""

    module: str
    line: int


def module_name(path: Path) -> str:
    base = ROOT / "client" if (ROOT / "client") in path.parents else ROOT
    parts = path.relative_to(base).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_in(path: Path, text: str | None = None) -> Iterator[Import]:
    """Every import of a file, wherever in it: also those inside functions and under TYPE_CHECKING."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8") if text is None else text)):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield Import(name.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            if source not in ("pit", "pitd", "pitd.core", "pitd.policies"):
                yield Import(source, node.lineno)
                continue
            for name in node.names:
                inner = f"{source}.{name.name}"
                yield Import(inner if inner in MODULES else source, node.lineno)


MODULES = {module_name(path) for path in SOURCES}


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


@functools.cache
def imports_of(path: Path) -> tuple[Import, ...]:
    return tuple(imports_in(path))


def strays(package: str, is_fine: object) -> list[str]:
    """The imports of a package's files that are not fine, as a person can find them."""
    assert callable(is_fine)
    found = []
    for path in SOURCES:
        name = module_name(path)
        if within(name, package):
            for each in imports_of(path):
                if not is_fine(name, each.module):
                    found.append(f"{path.relative_to(ROOT)}:{each.line} imports {each.module}")
    return found


def test_the_sources_are_found() -> None:
    """Every rule below holds for an empty list."""
    assert {"pit.engine", "pitd.core.engine", "pitd.policies.rate_limit", "pitd.server"} <= MODULES


def test_an_import_is_seen_in_each_of_its_forms() -> None:
    text = """
import pitd.config
from pitd import sequencer
from . import pipeline, entry as e
from .entry import Hold
from ..clock import Clock
def later():
    import socket
    from pit import wire
"""
    seen = {each.module for each in imports_in(ROOT / "pitd" / "core" / "engine.py", text)}
    assert seen == {
        "pitd.config",
        "pitd.sequencer",
        "pitd.core.pipeline",
        "pitd.core.entry",
        "pitd.clock",
        "socket",
        "pit.wire",
    }


def test_the_client_knows_nothing_of_the_daemon() -> None:
    assert not strays("pit", lambda _, module: not within(module, "pitd"))


def test_the_client_needs_msgspec_pyzmq_and_the_standard_library_only() -> None:
    def is_fine(_: str, module: str) -> bool:
        top = module.partition(".")[0]
        return top in {"pit", "msgspec", "zmq"} or top in sys.stdlib_module_names

    assert not strays("pit", is_fine)


def test_the_vocabulary_knows_nobody() -> None:
    """types and errors stand below everything else of pit."""

    def is_fine(name: str, module: str) -> bool:
        return name not in ("pit.types", "pit.errors") or not within(module, "pit") or module == "pit.errors"

    assert not strays("pit", is_fine)


def test_the_core_knows_the_vocabulary_and_itself() -> None:
    def is_fine(_: str, module: str) -> bool:
        if within(module, "pit"):
            return module in ("pit.types", "pit.errors", "pit.explained")
        return within(module, "pitd.core") or not within(module, "pitd")

    assert not strays("pitd.core", is_fine)


def test_the_core_is_a_calculator() -> None:
    """No clock, files, sockets, chance, threads or logging: of the standard library, what computes."""

    def is_fine(_: str, module: str) -> bool:
        top = module.partition(".")[0]
        is_for_types = module == "typing_extensions"  # pitd doesn't install it: a real import of it would fail
        return top in {"pit", "pitd", "msgspec"} or top in CORE_STDLIB or is_for_types

    assert not strays("pitd.core", is_fine)


def test_the_core_opens_and_prints_nothing() -> None:
    """What needs no import to reach the world."""
    found = []
    for path in SOURCES:
        if within(module_name(path), "pitd.core") or within(module_name(path), "pitd.policies"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                called = node.func if isinstance(node, ast.Call) else None
                if isinstance(called, ast.Name) and called.id in {"open", "print", "input", "id", "hash", "__import__"}:
                    found.append(f"{path.relative_to(ROOT)}:{called.lineno} calls {called.id}()")
    assert not found


def test_the_core_does_not_know_the_policies() -> None:
    assert not strays("pitd.core", lambda _, module: not within(module, "pitd.policies"))


def test_a_policy_knows_the_core_and_no_other_policy() -> None:
    def is_fine(name: str, module: str) -> bool:
        if within(module, "pitd"):
            return within(module, "pitd.core") or module == name
        if within(module, "pit"):
            return module in ("pit.types", "pit.errors", "pit.explained")
        return module.partition(".")[0] in CORE_STDLIB | {"msgspec"}

    assert not strays("pitd.policies", is_fine)


def test_a_policy_sees_only_what_it_may_decide_by() -> None:
    """The policy interface, limits, instruments and numbers: not the engine, its entries or its orders."""
    names = ("books", "policy", "limits", "instruments", "numbers", "windows", "rates")
    interface = {f"pitd.core.{name}" for name in names}
    assert not strays("pitd.policies", lambda _, module: not within(module, "pitd.core") or module in interface)


def test_only_the_sockets_know_zeromq() -> None:
    """The demo's venue has sockets of its own, as a real venue would: it is no part of the daemon."""

    def is_fine(name: str, module: str) -> bool:
        return not within(module, "zmq") or name.startswith("pit._zmq") or name in ZEROMQ

    assert not strays("pit", is_fine) + strays("pitd", is_fine)


def test_nobody_knows_the_demo_but_the_command_line() -> None:
    def is_fine(name: str, module: str) -> bool:
        return not within(module, "pitd.demo") or within(name, "pitd.demo") or name == "pitd.cli"

    assert not strays("pit", is_fine) + strays("pitd", is_fine)


def test_nobody_knows_the_benchmark_but_the_command_line() -> None:
    def is_fine(name: str, module: str) -> bool:
        return not within(module, "pitd.bench") or within(name, "pitd.bench") or within(name, "pitd.operator")

    assert not strays("pit", is_fine) + strays("pitd", is_fine)


def test_bootstrap_is_known_by_entry_points_only() -> None:
    assert not strays("pitd", lambda name, module: module != "pitd.bootstrap" or name in ENTRY_POINTS)


def test_nobody_knows_the_command_line() -> None:
    def is_fine(name: str, module: str) -> bool:
        return module != "pitd.cli" and (not within(module, "pitd.operator") or within(name, "pitd.operator"))

    assert not strays("pitd", is_fine)


def test_pitctl_loads_what_a_command_needs_when_it_is_run() -> None:
    """Its words alone are understood at once: help, completion and a wrong word cost no vocabulary and no tables."""
    loaded = loaded_by("import pitd.operator; pitd.operator.parser()")
    assert "pitd.operator.arguments" in loaded
    assert not {"pit.types", "pitd.config", "rich", "zmq"} & loaded


def test_the_engine_below_the_sequencer_is_reached_through_it() -> None:
    """The server and the local engine read the core's state, and change it by the sequencer alone."""
    for name in ("server", "local"):
        text = (ROOT / "pitd" / f"{name}.py").read_text(encoding="utf-8")
        assert "engine.apply(" not in text and "engine.carry_out(" not in text, name


def loaded_by(statement: str) -> set[str]:
    """What a fresh interpreter has loaded once it has run a statement. Without `site`, which may load anything."""
    places = {str(Path(module.__file__).parent.parent) for module in (pit, pitd, msgspec)}
    script = f"import sys\nsys.path[:0] = {sorted(places)}\n{statement}\nprint(*sys.modules)"
    ran = subprocess.run([sys.executable, "-S", "-c", script], capture_output=True, text=True, timeout=60, check=True)
    return set(ran.stdout.split())


NOT_FOR_A_START = {
    *("asyncio", "csv", "difflib", "importlib.metadata", "importlib.resources", "tempfile", "zoneinfo"),
    *("hypothesis", "prometheus_client", "rich", "shtab"),
    *("pit._zmq", "pit._zmq_asyncio", "pit.testing"),
    *("pitd.bench", "pitd.demo", "pitd.exporter", "pitd.laws", "pitd.local", "pitd.operator", "pitd.replay"),
    *("pitd.journal_tools.commands", "pitd.journal_tools.day", "pitd.journal_tools.verify"),
}
"""What a daemon without a calendar and without policies of others can serve without: each would keep it from READY."""


def test_a_daemon_that_starts_loads_only_what_it_serves_with(tmp_path: Path) -> None:
    config = tmp_path / "pitd.toml"
    config.write_text(
        f"""
daemon.endpoint = "ipc://{tmp_path}/sock"
journal.directory = "{tmp_path}/journal"
[limits]
size = {{ control = "order_size_limit", each = "account", settlement = "USD", max_quantity = "500" }}
"""
    )
    start = f"pitd.cli.main(['run', '--config', {str(config)!r}])"
    loaded = loaded_by(f"import pitd.cli, pitd.server; pitd.server.Server.run = lambda server: None; {start}")
    assert "pitd.journal" in loaded
    assert not {name for name in loaded if any(within(name, each) for each in NOT_FOR_A_START)}


SOCKETS = {"zmq", "pit._zmq", "pit._zmq_asyncio", "socket", "_socket", "asyncio", "select", "selectors"}


def test_importing_the_client_loads_no_socket() -> None:
    """Beyond what msgspec itself may load, by way of typing_extensions."""
    loaded = loaded_by("import pit")
    assert "pit.engine" in loaded
    assert not SOCKETS & (loaded - loaded_by("import msgspec"))


def test_in_the_client_only_the_sockets_know_sockets() -> None:
    def is_fine(name: str, module: str) -> bool:
        return module not in SOCKETS or name.startswith("pit._zmq") or (name == "pit" and module.startswith("pit._zmq"))

    assert not strays("pit", is_fine)


def test_importing_the_core_and_the_policies_loads_no_socket() -> None:
    inside = sorted(name for name in MODULES if within(name, "pitd.core") or within(name, "pitd.policies"))
    loaded = loaded_by("import " + ", ".join(inside))
    assert set(inside) <= loaded
    assert not (SOCKETS | {"threading", "logging", "sqlite3"}) & (loaded - loaded_by("import msgspec"))


def test_an_engine_of_this_process_needs_no_zeromq() -> None:
    assert "zmq" not in loaded_by("import pitd.local")


@table("path", SOURCES)
def test_a_module_says_what_it_is_for(path: Path) -> None:
    said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert said and said.splitlines()[0].strip()


def test_all_public_names_of_pit_are_there() -> None:
    assert sorted(pit.__all__) == sorted(set(pit.__all__))
    assert not [name for name in pit.__all__ if not hasattr(pit, name)]


@table("name", sorted(pit.__all__))
def test_a_public_name_says_what_the_caller_gets(name: str) -> None:
    value = getattr(pit, name)
    assert own_doc(value), f"pit.{name} has no docstring"


@table("name", sorted(each for each in pit.__all__ if inspect.isclass(getattr(pit, each))))
def test_a_public_method_says_what_the_caller_gets(name: str) -> None:
    value = getattr(pit, name)
    silent = [
        attribute
        for attribute, member in vars(value).items()
        if inspect.isfunction(member) and not attribute.startswith("_") and not member.__doc__
    ]
    assert not silent, f"pit.{name}: {', '.join(silent)} without a docstring"


def own_doc(value: object) -> str | None:
    """What is written at the thing itself: a class inherits no words, and a made-up signature is none."""
    said = vars(value).get("__doc__") if inspect.isclass(value) else getattr(value, "__doc__", None)
    return said if isinstance(said, str) and said.strip() else None
