"""The words of the command `pitd journal`: its actions, and what each of them takes."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from ..core.policy import Policy

MakePolicies = Callable[[], Sequence[Policy]]


def add_parser(commands: Any, make_policies: MakePolicies, default_config: str) -> None:
    """Adds `journal` to pitd's commands. `make_policies` gives those whose effects are shown by name."""
    parser = commands.add_parser(
        "journal",
        help="check, explain, export and prune the journal of a running or stopped daemon",
        description="Looks into a journal's files, of a running daemon or a stopped one. Only prune changes anything.",
        epilog="exit codes: 0 good, 1 not found, 64 usage, 65 damaged, 74 cannot be read",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)

    def add(name: str, help: str, *first: str) -> Any:
        one = actions.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
        for each in first:
            one.add_argument(each.lower(), metavar=each, type=int if each == "SEQ" else str)
        one.add_argument(
            "directory", nargs="?", metavar="DIR", help="the journal's directory (default: the configured one)"
        )
        one.add_argument(
            "--config", metavar="FILE", help=f"the TOML file that names the directory (default: {default_config})"
        )

        def start(options: argparse.Namespace) -> int:
            from . import commands  # a daemon that only starts needs none of them

            return commands.run(options, make_policies())

        one.set_defaults(run=start, action=name, default_config=default_config)
        return one

    one = add("verify", "read everything: headings, the chain of every row, snapshots, the WAL's tail")
    _add_json(one)
    _add_progress(one)
    one.add_argument(
        "--quiet", action="store_true", help="at low priority and without a word when it is good (with --json: as JSON)"
    )

    one.add_argument("--beside", type=int, metavar="PID", help=argparse.SUPPRESS)  # ends with the daemon that began it

    one = add("tail", "show the last rows, one a line")
    one.add_argument("-n", type=int, default=20, metavar="N", dest="count", help="how many rows (default: 20)")
    one.add_argument("-f", "--follow", action="store_true", help="go on with what comes in, until Ctrl-C")
    _add_json(one)

    one = add("show", "show everything about one row", "SEQ")
    _add_json(one)

    told = "tell what became of an order: every row that concerns it, and where it stands"
    one = add("outcome", told, "ORDER")
    one.add_argument("--account", metavar="A", help="in this account only (default: in every one)")
    _add_json(one)
    _add_progress(one)

    one = add("export", "write rows for other programs")
    one.add_argument("--format", choices=("jsonl", "csv"), required=True, help="one object a row, or flat records")
    one.add_argument("--output", metavar="FILE", help="a file that is not there yet (default: standard output)")
    one.add_argument("--first", type=int, default=1, metavar="SEQ", help="begin with this row")
    one.add_argument("--last", type=int, metavar="SEQ", help="end with this row")
    _add_progress(one)

    one = add("prune", "delete closed segments that are old and that no recovery needs")
    one.add_argument("--older-than", metavar="AGE", help='such as "7d" (default: [journal] keep of the configuration)')
    one.add_argument("--yes", action="store_true", help="don't ask")


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as JSON; decimals and nanoseconds are text")


def _add_progress(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--progress", action="store_true", help="tell how far it is, also where no terminal is")
