"""The words that pitctl understands: its commands, their options, and what each is for."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple, NoReturn

from .. import __version__, completion
from ..bench import options as bench_options
from ..running import own_name
from ..typed import seconds
from . import typed
from .codes import USAGE

Add = Callable[..., argparse.ArgumentParser]
"""Makes a command: its name, where its function is, what it is for, and among whose acts it is one."""

_STALE_NS = 600_000_000_000
"""A working order of which nothing has been heard for so long is looked at, unless it is said how long."""

WHICH = {
    "open": "held, sent, quarantined or working (the default)",
    "abandoned": "open, and their client has no session now",
    "leased": "held or sent, under a lease",
    "quarantined": "perhaps at the venue: counted until a report or a person settles them",
    "closed": "closed lately",
}
"""Words of `wire.Which`, which is not loaded for a `--help`."""


class Later(NamedTuple):
    """A command's function, imported when it is run."""

    place: str

    def __call__(self, options: argparse.Namespace) -> object:
        return self.found()(options)

    def found(self) -> Callable[[argparse.Namespace], object]:
        module, _, name = self.place.partition(".")
        function: Callable[[argparse.Namespace], object] = getattr(import_module(f".{module}", __package__), name)
        return function


@functools.cache
def parser() -> argparse.ArgumentParser:
    """All of it; made once, since it has hundreds of parts."""
    whole = _Parser(
        prog="pitctl",
        description="Looks into a running pitd, and lets a person act: halt, reduce, block, rearm, settle. What is "
        "changed is journaled with who did it (--name) and why (--reason). All but ping, isready and status needs a "
        'role, "observe" to look and "operate" to act: [clients.NAME] roles = ["operate"].',
        epilog="exit codes: 0 done (isready: takes new orders), 1 it said no (isready: refuses new orders), "
        "2 no answer, 64 usage, 77 not allowed, 130 interrupted",
    )
    whole.add_argument("--version", action="version", version=f"pitctl {__version__}")
    commands = whole.add_subparsers(metavar="COMMAND", required=True)

    _add_everywhere(whole, is_default=True)

    def add(name: str, place: str, help: str, among: Any = None) -> argparse.ArgumentParser:
        one: argparse.ArgumentParser = (among or commands).add_parser(
            name, help=help, description=help[0].upper() + help[1:] + "."
        )
        _add_everywhere(one, is_default=False)
        one.set_defaults(run=Later(place))
        return one

    for commands_of in (_looks, _books, _lists_of_orders, _limits, _lasting, _one_order, _stops, _daemon):
        commands_of(add)
    bench = commands.add_parser(
        "bench", help="measure what a check costs, beside the bare wire, in a daemon of its own"
    )
    bench_options.add_arguments(bench)
    bench.set_defaults(run=Later("lasting.bench"))
    completion.add_parser(commands, whole)
    return whole


def _looks(add: Add) -> None:
    """Whether a daemon is there, and what there is."""
    add("ping", "looking.ping", "say whether a daemon answers")
    one = add(
        "isready", "looking.isready", "say by the exit code whether new orders are taken: 0 yes, 1 no, 2 no answer"
    )
    one.add_argument("--quiet", action="store_true", help="say nothing")
    add(
        "status",
        "looking.status",
        "show how the daemon is: what it does, its journal, orders by state, quarantined ones",
    )
    add("calendar", "looking.calendar", "show which day it is, which markets are open, and when that changes")
    add(
        "sessions",
        "looking.sessions",
        "show every session: in flight, unsettled, and how its client's death would be noticed",
    )
    add("accounts", "looking.accounts", "show every account: realised P&L against its bounds, open orders, blocks")
    add(
        "cancels",
        "looking.cancels",
        "show the orders that are to be cancelled and have not ended: who was told, since when",
    )
    add("blocks", "looking.blocks", "show every scope that is blocked or halted, by whom, and why")


def _books(add: Add) -> None:
    """What accounts hold and have: shown, compared with a file, put right."""
    for name, show, told, columns in (
        (
            "positions",
            "looking.positions",
            "show what accounts hold, what it cost and what it made; or compare it with a file",
            "account, instrument, quantity, and cost or average_price",
        ),
        (
            "balances",
            "looking.balances",
            "show what accounts have of each asset and what open orders hold of it; or compare it with a file",
            "account, asset, total",
        ),
    ):
        books = add(name, show, told)
        books.add_argument("--account", metavar="A", help="of this account")
        acts = books.add_subparsers(metavar="ACT", title="acts")
        one = add(
            "import", "adjusting.import_books", f"put a file's word in the place of the {name} of its accounts", acts
        )
        _add_books(one, name, columns)
        one.add_argument("--id", metavar="ID", help="the same id again changes nothing (default: a new one each time)")
        _add_change(one)
        one = add(
            "reconcile", "adjusting.reconcile_books", f"compare {name} with a file: exit code 1 where they differ", acts
        )
        _add_books(one, name, columns)
        one.add_argument("--apply", action="store_true", help="put the file's word in the place of what differs")
        one.add_argument("--reason", type=typed.reason, metavar="TEXT", help="with --apply: why: it is journaled")
        one.add_argument("--yes", action="store_true", help="don't ask")
        one.set_defaults(id=None)
    one = add("adjust", "adjusting.adjust", "say what an account has, holds or has made: all of it, or nothing")
    one.add_argument("account", metavar="ACCOUNT")
    one.add_argument(
        "parts",
        nargs="+",
        type=typed.part,
        metavar="PART",
        help="USD=5000, or USD+=-20.5 to move it; position:AAPL/USD=100@184.50 (@ the average price); pnl:USD=-60",
    )
    one.add_argument("--id", metavar="ID", help="the same id again changes nothing (default: a new one each time)")
    _add_change(one)


def _lists_of_orders(add: Add) -> None:
    """Everybody's orders."""
    one = add("orders", "looking.orders", "show everybody's orders")
    which = one.add_mutually_exclusive_group()
    for each, told in WHICH.items():
        which.add_argument(f"--{each}", action="store_const", dest="which", const=each, help=told)
    which.add_argument(
        "--stale",
        nargs="?",
        type=typed.span,
        const=_STALE_NS,
        metavar="AGE",
        help="sent, quarantined or working, and nothing heard of them for so long, e.g. 90s, 10m, 2h (10m if not said)",
    )
    one.set_defaults(which="open")
    one.add_argument("--account", metavar="A", help="of this account")
    one.add_argument("--client", metavar="C", help="of this client")
    one.add_argument("--order", metavar="ID", help="of this id")


def _limits(add: Add) -> None:
    """Limits, and the numbers that persons set."""
    limits = add(
        "limits", "looking.limits", "show every limit with what it has counted; or set and clear numbers of one"
    )
    limits.add_argument("--overrides", action="store_true", help="only the numbers that persons have set")
    acts = limits.add_subparsers(metavar="ACT", title="acts")
    one = add("set", "limits.set_limit", "put numbers of a limit in the place of the configured ones", acts)
    one.add_argument("limit", metavar="LIMIT")
    one.add_argument(
        "values",
        nargs="+",
        type=typed.value,
        metavar="KEY=VALUE",
        help="such as max_orders=5, or OTHER.max_orders=5",
    )
    ends = one.add_mutually_exclusive_group()
    ends.add_argument(
        "--for", dest="lasts_ns", type=typed.span, metavar="AGE", help="for so long, such as 90s, 10m or 2h"
    )
    ends.add_argument("--until", type=typed.until, metavar="MOMENT", help="such as 18:00 (default: cleared)")
    _add_change(one)
    one = add("clear", "limits.clear_limit", "let the configured numbers of a limit hold again", acts)
    one.add_argument("limit", metavar="LIMIT")
    one.add_argument("key", nargs="?", metavar="KEY", help="only this number")
    _add_change(one)
    one = add("rearm", "acting.rearm", "grant a tripped P&L limit new room from where the P&L stands")
    one.add_argument("limit", metavar="LIMIT")
    _add_scope(one)
    one.add_argument("--room", required=True, metavar="AMOUNT", help="in the limit's settlement asset")
    _add_change(one)


def _lasting(add: Add) -> None:
    """What goes on until it is ended."""
    one = add("top", "lasting.top", "show it all on a live screen: q leaves, h halts the firm or a part of it")
    one.add_argument("--every", type=seconds, default=1.0, metavar="S", help="seconds between looks (default: 1)")
    one.add_argument("--once", action="store_true", help="look once, and print it")
    one = add("monitor", "lasting.monitor", "show what is decided and done, as it happens, until Ctrl-C")
    one.add_argument("--account", metavar="A", help="of this account")
    one.add_argument("--client", metavar="C", help="of this client's orders, or sent by it")
    one.add_argument(
        "--code", type=typed.code, metavar="CODE", help="with this code: OrderQtyExceedsLimit, LeaseExpired ..."
    )
    one.add_argument("--rejects", action="store_true", help="refused orders only")
    one.add_argument(
        "--since", type=typed.whole, metavar="ROW", help="begin after this row of the journal (0: all that is kept)"
    )
    one.add_argument("--most", type=typed.whole, metavar="N", help="leave after so many")
    one = add(
        "exporter",
        "lasting.exporter",
        "serve metrics to Prometheus until SIGTERM: a process of its own, that only asks",
    )
    one.add_argument(
        "--listen",
        type=typed.host_and_port,
        default=("127.0.0.1", 9464),
        metavar="HOST:PORT",
        help="where (default: 127.0.0.1:9464)",
    )


def _one_order(add: Add) -> None:
    """One order: what became of it, what would be said to it, and what is true of it."""
    for name, run, told in (
        ("outcome", "one_order.outcome", "tell what became of an order, as far as the journal goes back"),
        ("why", "one_order.why", "tell how an order was decided: each limit's numbers"),
    ):
        _add_order(add(name, run, told))
    one = add("explain", "explain.explain", "tell what each limit would say to an order, and the largest that passes")
    _add_new_order(one)
    one = add("settle", "acting.settle", "say what is true of an open order: it works at the venue, or was never sent")
    _add_order(one)
    stands = one.add_mutually_exclusive_group(required=True)
    stands.add_argument("--working", action="store_const", dest="working", const=True, help="it works at the venue")
    stands.add_argument("--not-sent", action="store_const", dest="working", const=False, help="it was never sent")
    _add_change(one)
    one = add("settle-modify", "acting.settle_modify", "say what became of a modify that the venue has not answered")
    _add_order(one)
    stands = one.add_mutually_exclusive_group(required=True)
    stands.add_argument("--replaced", action="store_const", dest="replaced", const=True, help="the new terms hold")
    stands.add_argument("--refused", action="store_const", dest="replaced", const=False, help="the old terms hold")
    _add_change(one)
    one = add("close-order", "acting.close_order", "say that nothing of an open order is left at the venue")
    _add_order(one)
    _add_change(one)


def _stops(add: Add) -> None:
    """What a scope may do."""
    one = add("block", "acting.block", 'stop "account NAME", "client NAME", "group NAME" or "firm"')
    _add_scope(one)
    _add_change(one)
    _add_keep(one)
    one = add("unblock", "acting.unblock", "lift an operator's block, or what a repeated_execution limit has stopped")
    _add_scope(one)
    _add_change(one)
    one = add("halt", "acting.halt", 'stop trading of "account NAME", "group NAME", "instrument NAME" or "firm"')
    _add_scope(one, "account NAME, group NAME, instrument NAME (a symbol, or AAPL/USD) or firm")
    _add_change(one)
    _add_keep(one)
    one = add("cancel-all", "acting.cancel_all", "ask for the cancel of every open order of a scope, and stop nothing")
    _add_scope(one, "account NAME, group NAME, client NAME, instrument NAME or firm")
    _add_change(one)
    one = add("reduce", "acting.reduce", "let such a scope take only orders that reduce a position (a halted one too)")
    _add_scope(one, "account NAME, group NAME, instrument NAME (a symbol, or AAPL/USD) or firm")
    _add_change(one)
    one = add("resume", "acting.resume", "let that very scope take all orders again, after halt or reduce")
    _add_scope(one, "account NAME, group NAME, instrument NAME or firm")
    _add_change(one)


def _daemon(add: Add) -> None:
    """The daemon and its history."""
    one = add(
        "reload",
        "acting.reload",
        "have the daemon read its configuration again: all of it comes into force, or nothing",
    )
    _add_change(one)
    one = add("shutdown", "acting.shutdown", "end the daemon tidily: the batch in hand, a last snapshot, exit code 0")
    _add_change(one)
    one = add("accept-history", "acting.accept_history", "let trading go on although the end of the journal is missing")
    _add_change(one)
    one = add("report", "report.report_day", "tell what a day came to, from the journal's files, also without a daemon")
    one.add_argument("what", choices=("day",), help="orders, rejects by code, fills and P&L of each account; changes")
    one.add_argument("directory", nargs="?", metavar="DIR", help="the journal's directory (default: the daemon's own)")
    one.add_argument("--date", type=typed.date, metavar="YYYY-MM-DD", help="which day (default: today)")
    one.add_argument(
        "--zone",
        type=typed.zone,
        default="UTC",
        metavar="ZONE",
        help="where that day is, e.g. Europe/London (default: UTC)",
    )
    one.add_argument("--progress", action="store_true", help="tell how far it is, also where no terminal is")
    one.add_argument("--csv", action="store_true", help="as CSV: a line for each account and settlement asset")
    one.add_argument("--changes", action="store_true", help="with --csv: a line for each change instead")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"{self.prog}: {message}\n")


def _add_everywhere(one: argparse.ArgumentParser, *, is_default: bool) -> None:
    """What may stand before the command's name as well as after it."""

    def add(name: str, default: object, help: str, **how: Any) -> None:
        one.add_argument(name, default=default if is_default else argparse.SUPPRESS, help=help, **how)

    add("--endpoint", None, "where the daemon is (default: $PITD_ENDPOINT, else its usual place)", metavar="URL")
    add("--timeout", 2.0, "seconds to wait for an answer (default: 2)", type=seconds, metavar="S")
    add("--name", None, f"the client to act as (default: {own_name()})", metavar="NAME")
    add("--json", False, "as JSON; decimals are text", action="store_true")


def _add_keep(one: argparse.ArgumentParser) -> None:
    one.add_argument("--keep-orders", action="store_true", help="leave open orders at the venue (default: cancel them)")


def _add_scope(parser: argparse.ArgumentParser, help: str = "account NAME, client NAME, group NAME or firm") -> None:
    parser.add_argument("scope", nargs="+", metavar="SCOPE", help=help)


def _add_order(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("order", metavar="ORDER", help="its id")
    parser.add_argument("--account", metavar="A", help="in this account (needed unless the id is open in one only)")


def _add_new_order(parser: argparse.ArgumentParser) -> None:
    """An order, as a person types it."""
    parser.add_argument("account", metavar="ACCOUNT")
    parser.add_argument("instrument", metavar="INSTRUMENT", help="a symbol, or a pair: AAPL/USD")
    parser.add_argument("side", choices=("buy", "sell"), metavar="SIDE", help="buy or sell")
    parser.add_argument("quantity", metavar="QTY", help="in units")
    parser.add_argument("price", nargs="?", metavar="PRICE", help="its limit (default: a market order)")
    parser.add_argument("--volume", action="store_true", help="QTY is an amount of the settlement asset")
    parser.add_argument("--client", default="", metavar="C", help="who would send it (default: --name)")


def _add_books(parser: argparse.ArgumentParser, kind: str, columns: str) -> None:
    parser.set_defaults(kind=kind)
    parser.add_argument("file", metavar="FILE", help=f"CSV with a header, or JSON as --json prints it: {columns}")
    parser.add_argument(
        "--account",
        action="append",
        dest="also",
        metavar="A",
        default=[],
        help="also this account, of which the file names nothing (again for more)",
    )
    parser.add_argument("--partial", action="store_true", help="leave alone what the file does not name")


def _add_change(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reason", required=True, type=typed.reason, metavar="TEXT", help="why: it is journaled")
    parser.add_argument("--yes", action="store_true", help="don't ask")
