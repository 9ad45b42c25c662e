"""Commands of pitctl that go on until they are ended: the live screen, the events, the exporter, the benchmark."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

import pit

from ..bench import options as bench_options
from .asking import acting, connected
from .codes import SAID_NO, USAGE
from .output import complain, is_agreed, line_object, plain, put, status_object

if TYPE_CHECKING:
    from .top_screen import Picture


def top(options: argparse.Namespace) -> int:
    from . import top as live

    def connect() -> pit.Engine:
        return connected(options)

    if options.json:
        with connect() as engine:
            _put_picture(live.look(engine))
            while not options.once:
                time.sleep(options.every)
                _put_picture(live.look(engine))
    elif options.once:
        live.print_once(connect)
    else:
        return live.run(connect, lambda: acting(options), options.every, options.endpoint)
    return 0


def _put_picture(picture: Picture) -> None:
    """One look as one object on a line of its own."""
    told = {
        name: [line_object(line) for line in getattr(picture, name)]
        for name in ("stops", "limits", "accounts", "orders", "sessions")
    }
    metrics = None if picture.metrics is None else plain(picture.metrics)
    put({"seq": picture.status.seq, "status": status_object(picture.status), **told, "metrics": metrics})
    sys.stdout.flush()


def monitor(options: argparse.Namespace) -> int:
    from .monitor import Filter, run

    wanted = Filter(options.account, options.client, options.code, options.rejects)
    return run(lambda: connected(options), options.since, wanted, as_json=options.json, most=options.most)


def exporter(options: argparse.Namespace) -> int:
    from ..exporter import serve

    return serve(lambda: connected(options), *options.listen)


def bench(options: argparse.Namespace) -> int:
    from ..bench.run import run

    options.name = options.said_name or "bench"
    options.daemon_at = options.daemon_at or options.said_endpoint  # given before the command's name
    trouble = bench_options.problem(options)
    if trouble:
        return complain(trouble, USAGE)
    risk = bench_options.risk(options)
    if risk and options.yes:
        print(f"pitctl: {risk}", file=sys.stderr)
    return run(options) if is_agreed(options, f"{risk} Sure?" if risk else "") else SAID_NO
