"""Completion scripts for a shell, made from a command's own parser. They are static: a key costs no Python."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TypeVar

SHELLS = ("bash", "zsh", "fish")

P = TypeVar("P", bound=argparse.ArgumentParser)


def add_parser(commands: argparse._SubParsersAction[P], whole: P) -> None:
    """Adds the command `completion` to those of a program."""
    name = whole.prog
    one = commands.add_parser(
        "completion",
        help=f"print the completion script of {name} for a shell",
        description=f"Prints the completion script of {name} for a shell. For this one bash alone: "
        f"source <({name} completion bash). For good: deploy/INSTALL.md says where the file belongs.",
    )
    one.add_argument("shell", choices=SHELLS)
    one.set_defaults(run=lambda options: _print(whole, options.shell))


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script. It completes commands, options and choices, and names of files where one is asked for."""
    import shtab

    for action in _actions(parser):
        if action.metavar in ("FILE", "DIR"):
            action.complete = shtab.FILE if action.metavar == "FILE" else shtab.DIR  # type: ignore[attr-defined]
    return shtab.complete(parser, shell)


def _print(parser: argparse.ArgumentParser, shell: str) -> int:
    print(script(parser, shell))
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                yield from _actions(one)
