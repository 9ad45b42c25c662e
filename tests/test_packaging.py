"""What is built and what it needs: two distributions, every package in its wheel, nothing more than it has to have."""

from __future__ import annotations

import ast
import importlib.metadata
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import pitd

ROOT = Path(__file__).resolve().parent.parent


def project(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))


DAEMON, CLIENT = project(ROOT), project(ROOT / "client")
BOTH = [pytest.param(ROOT, DAEMON, id="pitd"), pytest.param(ROOT / "client", CLIENT, id="pit-client")]


def needed(read: dict[str, Any]) -> set[str]:
    """The names of what a distribution depends on."""
    return {each.replace("=", ">").partition(">")[0] for each in read["project"]["dependencies"]}


@pytest.mark.parametrize(("folder", "read"), BOTH)
def test_every_package_is_in_its_wheel(folder: Path, read: dict[str, Any]) -> None:
    tops = {name.partition(".")[0] for name in read["tool"]["setuptools"]["packages"]}
    there = {
        ".".join(file.parent.relative_to(folder).parts) for top in tops for file in (folder / top).rglob("__init__.py")
    }
    assert there == set(read["tool"]["setuptools"]["packages"])


@pytest.mark.parametrize(("folder", "read"), BOTH)
def test_every_file_that_is_no_module_is_in_its_wheel(folder: Path, read: dict[str, Any]) -> None:
    kept = {
        file
        for package, patterns in read["tool"]["setuptools"]["package-data"].items()
        for pattern in patterns
        for file in folder.joinpath(*package.split(".")).glob(pattern)
    }
    there = {
        file
        for package in read["tool"]["setuptools"]["packages"]
        for file in folder.joinpath(*package.split(".")).iterdir()
        if file.is_file() and file.suffix not in (".py", ".pyc", ".so")
    }
    assert there == kept
    assert folder / read["tool"]["setuptools"]["packages"][0] / "py.typed" in there


def test_the_two_distributions_go_together() -> None:
    version = DAEMON["project"]["version"]
    assert CLIENT["project"]["version"] == version == pitd.__version__
    assert f"pit-client=={version}" in DAEMON["project"]["dependencies"]
    assert DAEMON["project"]["requires-python"] == CLIENT["project"]["requires-python"]


def test_the_client_needs_msgspec_and_pyzmq_and_nothing_else() -> None:
    assert needed(CLIENT) == {"msgspec", "pyzmq"}


def test_what_the_daemon_imports_it_asks_for() -> None:
    imported = set()
    for path in (ROOT / "pitd").rglob("*.py"):
        if path.name == "laws.py":  # for authors of policies: the extra "check" brings what it needs
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add((node.module or "").partition(".")[0])
    names = {"pit": "pit-client", "zmq": "pyzmq"}
    for_types = {"typing_extensions"}  # read by the type checker alone
    outside = {names.get(top, top) for top in imported - sys.stdlib_module_names - {"pitd"} - for_types}
    assert outside <= needed(DAEMON)


def test_the_command_is_there() -> None:
    entry = importlib.metadata.EntryPoint("pitd", DAEMON["project"]["scripts"]["pitd"], "console_scripts")
    assert callable(entry.load())


def test_the_changelog_speaks_of_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## {pitd.__version__}" in text
