"""What `pitctl bench` can be asked for, and what is said of it before it places orders in somebody's account."""

from __future__ import annotations

import argparse
import re
from decimal import Decimal, InvalidOperation

from ..typed import seconds

ABOUT = """\
Measures what a check costs: client processes place orders as fast as they are answered, or at a pace, beside a bare
ROUTER/DEALER echo of the same bytes over the same transport, in rounds of random order. Without --endpoint a daemon is
started for it in a temporary directory, with the five first controls, and nothing is left of it. The ratios to the echo
are what to go by: the machine's own speed is in both.

Closed loop (no --pace): each client sends when the last answer is in. Open loop (--pace): orders are due at fixed
moments, and each one's time counts from when it was due, however late the one before it was answered."""

EXAMPLES = """\
examples:
  pitctl bench                                            one blocking client, check alone
  pitctl bench --clients 4 --commit posted                four, each with a commit that nobody waits for
  pitctl bench --clients 4 --in-flight 32                 four asyncio clients with 32 orders under way each
  pitctl bench --pace 10ms --duration 10                  a quiet strategy: one order every 10 ms
  pitctl bench --endpoint ipc:///run/pitd/pitd.sock --account test1 --price 0.01 --quantity 1

exit codes: 0 done, 1 it could not be measured, 2 no answer, 64 usage, 130 interrupted (what was measured is told)"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description, parser.epilog = ABOUT, EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    load = parser.add_argument_group("load")
    load.add_argument("-c", "--clients", type=_from_one, default=1, metavar="N", help="client processes (default: 1)")
    load.add_argument(
        "-P", "--in-flight", type=_from_one, default=1, metavar="N",
        help="orders under way at once in each: 1 is the blocking client, more the asyncio one (default: 1)",
    )  # fmt: skip
    load.add_argument(
        "--pace", type=_pace, default=0.0, metavar="PACE",
        help="when each client's orders are due, e.g. 10ms or 500/s (default: as soon as the last is answered)",
    )  # fmt: skip
    load.add_argument("--duration", type=seconds, default=3.0, metavar="S", help="of one measurement (default: 3)")
    load.add_argument("--rounds", type=_from_one, default=3, metavar="N", help="of echo and daemon (default: 3)")
    what = parser.add_argument_group("orders")
    what.add_argument(
        "--steps", type=int, choices=(1, 2), default=1, help="1: both stages in one command; 2: start, then execute"
    )
    what.add_argument(
        "--commit", choices=("none", "posted", "waited"), default="none",
        help="none: checked and rolled back, which is not timed; posted: committed as a fact, not waited for; waited "
        "(default: none)",
    )  # fmt: skip
    what.add_argument("--account", metavar="A", help="the orders' account (needed with --endpoint)")
    what.add_argument("--instrument", default="AAPL/USD", metavar="I", help="a pair, or a symbol (default: AAPL/USD)")
    what.add_argument("--quantity", type=_number, default="100", metavar="Q", help="of each order (default: 100)")
    what.add_argument("--price", type=_number, default="185.00", metavar="P", help="of each order (default: 185.00)")
    where = parser.add_argument_group("against what")
    where.add_argument(
        "--endpoint", dest="daemon_at", metavar="URL",
        help="a daemon that runs: THIS PLACES ORDERS in --account, which count against its limits and are journaled",
    )  # fmt: skip
    where.add_argument(
        "--durability", choices=("none", "process", "power"), default="process",
        help="the journal of the daemon that is started (default: process)",
    )  # fmt: skip
    where.add_argument(
        "--name", default=argparse.SUPPRESS, metavar="NAME", help="the clients are NAME1, NAME2 ... (bench)"
    )
    where.add_argument("--yes", action="store_true", help="don't ask before placing orders at --endpoint")
    parser.add_argument(
        "--json",
        action="store_true",
        default=argparse.SUPPRESS,
        help="as JSON: figures in microseconds, ratios, settings",
    )


def problem(options: argparse.Namespace) -> str:
    """Why that can't be meant, or nothing."""
    if options.daemon_at is not None and not options.account:
        return "bench --endpoint places orders: say in whose account, with --account A"
    return ""


def risk(options: argparse.Namespace) -> str:
    """What a person should agree to first, or nothing."""
    if options.daemon_at is None:
        return ""
    end = "rolled back" if options.commit == "none" else "committed, then closed by reports of a cancel"
    return (
        f"this places as many orders as it can, for {options.rounds * options.duration:g} s, in account "
        f"{options.account} at {options.daemon_at}: {options.quantity} {options.instrument} at {options.price} each, "
        f"{end}. They count against its limits, may trip them for others, and are journaled."
    )


def _from_one(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1_000:
        raise argparse.ArgumentTypeError(f"a whole number from 1 to 1000 is wanted, not {text!r}")
    return int(text)


def _pace(text: str) -> float:
    """Seconds between two orders."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(us|ms|s|/s)", text)
    number = float(found[1]) if found else 0.0
    if found is None or not number:
        raise argparse.ArgumentTypeError(f"an interval or a rate is wanted, such as 10ms, 250us or 500/s, not {text!r}")
    return 1 / number if found[2] == "/s" else number * {"us": 1e-6, "ms": 1e-3, "s": 1.0}[found[2]]


def _number(text: str) -> str:
    try:
        is_fine = Decimal(text).is_finite()
    except InvalidOperation:
        is_fine = False
    if not is_fine:
        raise argparse.ArgumentTypeError(f"a number is wanted, not {text!r}")
    return text
