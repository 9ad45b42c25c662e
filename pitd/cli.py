"""The command `pitd`: run the daemon, begin and check a configuration, and see it all work."""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import functools
import gc
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pit

from . import (
    __version__,
    bootstrap,
    check_policy,
    clients,
    completion,
    config,
    config_files,
    journal,
    limit_words,
    log,
    replay_cli,
    systemd,
)
from .config_diff import Difference, differences, runs_on
from .core.engine import CarryOutFailed, Engine
from .core.numbers import text
from .errors import EXIT_DIFFERENT, EXIT_INVARIANT, EXIT_USAGE, ConfigError, PitdError
from .health import Unsound
from .journal_tools import parser as journal_parser
from .journal_tools.background import Verification
from .journal_tools.words import printable
from .limit_terms import would_be
from .pulse import Pulse
from .reload import Reloader, announcing, tell_disagreements
from .running import own_name, settings_of

_DEFAULT_CONFIG = "/etc/pitd/pitd.toml"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; the exit code says how it ended."""
    options = _parser().parse_args(argv)
    try:
        code = options.run(options)
    except PitdError as trouble:
        print(f"pitd: {trouble}", file=sys.stderr)
        return trouble.exit_code
    except BrokenPipeError:
        return 0
    assert isinstance(code, int)
    return code


def run(options: argparse.Namespace) -> int:
    """Serves until SIGTERM or SIGINT, finishes the batch in hand and leaves with 0."""
    from .server import claimed

    path = _config_path(options)
    settings = config.load(path)
    log.setup(options.log_level)
    held_fd = systemd.held_socket(os.environ, settings.daemon.endpoint)
    with contextlib.ExitStack() as held, contextlib.closing(systemd.Manager(os.environ)) as manager:
        if held_fd is None:
            held.enter_context(claimed(settings.daemon.endpoint))
        if settings.journal.is_kept:
            held.enter_context(journal.lock(Path(settings.journal.directory)))
        return _serve(settings, path, manager, held_fd)


def _serve(settings: config.Config, path: str, manager: systemd.Manager, held_fd: int | None) -> int:
    from .server import Server

    faulthandler.enable()  # a watchdog's SIGABRT leaves in the log where the loop was stuck
    hangups: list[int] = []
    signal.signal(signal.SIGHUP, lambda *_: hangups.append(1))  # remembered until somebody can read the files again
    manager.recovering()
    sequencer, kept = bootstrap.build_daemon(settings, progress=manager.recovering)
    tell_disagreements(sequencer.engine.disagreements())
    reloader = Reloader(
        settings, lambda: config.load(path, is_serving=True, running=reloader.running), bootstrap.configured
    )
    server = Server(sequencer, settings, kept, reloader)
    server.bind(held_fd)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.stop())
    signal.signal(signal.SIGHUP, lambda *_: server.reload())
    if hangups:
        server.reload()
    limits = ",".join(limit.name for limit in settings.limits) or "none"
    where = settings.journal.directory if settings.journal.is_kept else "none: a restart forgets everything"
    log.info(
        "daemon.ready", version=__version__, endpoint=server.endpoint, limits=limits, journal=where, pid=os.getpid()
    )
    checked = None
    if kept is not None and kept.began_with_seq:
        checked = Verification(Path(settings.journal.directory))
    gc.collect()
    gc.freeze()  # what is here now stays: no collection needs to look at it again
    gc.set_threshold(50_000, 20, 100)  # orders are no garbage: looking through all that are open took 40 ms of the loop
    server.between = pulse = Pulse(manager, sequencer, kept, endpoint=server.endpoint, tend=server.tend)
    reloader.announced = lambda: announcing(manager.reloading, lambda: manager.reloaded(pulse.status()))
    manager.ready(pulse.status())
    engine: Engine | None = sequencer.engine
    try:
        server.run()
    except (CarryOutFailed, Unsound) as trouble:
        log.error("daemon.invariant_broken", why=trouble)
        engine = None  # nothing of it may be kept
        return EXIT_INVARIANT
    finally:
        manager.stopping()
        if checked is not None:
            checked.end()
        server.close()
        if kept is not None:
            kept.close(engine)
    log.info("daemon.stopped", seq=sequencer.seq, open_orders=len(sequencer.engine.orders.open))
    return 0


def init(options: argparse.Namespace) -> int:
    """Prints a commented configuration, or writes it where none is yet."""
    from importlib import resources

    sample = resources.files("pitd").joinpath("sample.toml").read_text(encoding="utf-8")
    if options.output is None:
        print(sample, end="")
        return 0
    path = Path(options.output)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(sample)
    except FileExistsError:
        raise ConfigError(f"{path}: is there already and stays as it is; name another file") from None
    except OSError as trouble:
        raise ConfigError(f"{path}: cannot be written: {trouble.strerror}") from trouble
    print(f"written: {path}; start with: pitd run --config {path}")
    return 0


def check_config(options: argparse.Namespace) -> int:
    """Says what would run, and starts nothing."""
    written = _written(options)
    settings = config.from_written(written, Path(_config_path(options)).parent)
    if options.json:
        print(bootstrap.settings_text(settings))
        return 0
    if options.diff or options.against is not None:
        return _show_difference(options, settings)
    policies = [policy for policy in bootstrap.build_policies(settings) if not policy.is_idle]
    print(f"{settings.source}: good; it would listen at {settings.daemon.endpoint}")
    kept = f"kept in {settings.journal.directory}, durability {settings.journal.durability}"
    print(f"journal: {kept if settings.journal.is_kept else 'none is kept; a restart forgets everything'}")
    print(f"controls, in order: {', '.join(policy.id for policy in policies)}")
    if settings.gate.uncovered == "allow":
        print('warning: orders that no limit is for pass; [gate] uncovered is "allow"')
    for line in clients.told(settings):
        print(line)
    for symbol, listed in settings.instruments.items():
        extra = "".join(f", {name} {text(n)}" for name, n in (("tick", listed.tick), ("lot", listed.lot)) if n)
        print(f"instrument {symbol}: {listed.kind}, multiplier {text(listed.multiplier)} {listed.settlement}{extra}")
    for limit in settings.limits:
        places = ", ".join(Path(place).name for place in written.places.every(f"limits.{limit.name}"))
        print(f"limit {limit.name}: {limit_words.told(limit)} ({places})")
    for name in written.passed_over:
        print(f"warning: {name} was not read: a drop-in's name ends with {config_files.SUFFIX} and begins with no dot")
    if not settings.limits:
        print("warning: no limits; only the shape of orders is checked")
    return 0


def _show_difference(options: argparse.Namespace, written: config.Config) -> int:
    """What would be different; the exit code says whether anything would: 0 nothing, 1 something, 2 nobody to ask."""
    if options.against is not None:
        return _put_differences(differences(config.load(options.against), written), options.against, ())
    endpoint = options.endpoint or written.daemon.endpoint
    try:
        with pit.connect(options.name, endpoint, timeout_s=2.0, read_only=True) as engine:
            running, overrides = settings_of(engine), engine.limit_overrides()
    except (pit.Unavailable, pit.OutcomeUnknown) as trouble:
        print(f"{written.source}: good; there is nothing to compare it with: {trouble}")
        print("--endpoint URL asks a daemon elsewhere; --against FILE compares with a file")
        return 2
    except pit.PitError as trouble:
        raise ConfigError(f"{endpoint}: {trouble}; or give --name of a client that has it") from trouble
    fresh, waits = runs_on(running, written)
    told = [f"set by hand: {line}" for line in would_be(overrides, fresh.limits)]
    waiting = [f"{each}, with the next start" for each in waits]
    return _put_differences(differences(running, fresh), f"the daemon at {endpoint}", [*waiting, *told])


def _put_differences(found: Sequence[Difference], other: str, more: Sequence[str]) -> int:
    if not found and not more:
        print(f"nothing is different from {other}")
        return 0
    print(f"different from {other}:")
    for line in (*map(str, found), *more):
        print(f"  {printable(line)}")
    return EXIT_DIFFERENT


def keygen(options: argparse.Namespace) -> int:
    """Makes a key and its public half. The secret one is written, and never shown."""
    from .keygen import make

    secret, public = make(options.name)
    print(f"written: {secret} (secret: whoever can read it passes for its owner) and {public}")
    return 0


def demo(options: argparse.Namespace) -> int:
    """Starts a daemon and strategy processes, and shows what the gate does."""
    from .demo import run_demo

    least = 1 if options.tape else 3
    if options.strategies is None:
        options.strategies = 1 if options.tape else 4
    if not least <= options.strategies <= 64:
        _parser().error(f"demo --strategies: from {least} to 64 are wanted, not {options.strategies}")
    if options.local and not options.tape:
        _parser().error("demo --local: only a tape can be played in one process; add --tape FILE")
    if options.in_turn and not options.tape:
        _parser().error("demo --in-turn: only a tape has turns; add --tape FILE")
    if not 0 < options.seconds <= 3_600:
        _parser().error(f"demo --seconds: more than 0, at most 3600 are wanted, not {options.seconds:g}")
    return run_demo(options)


def _written(options: argparse.Namespace) -> config_files.Written:
    return config_files.read(_config_path(options))


def _config_path(options: argparse.Namespace) -> str:
    path = options.config or (_DEFAULT_CONFIG if Path(_DEFAULT_CONFIG).exists() else None)
    if path is None:
        raise ConfigError(
            f"no configuration: give --config FILE (there is no {_DEFAULT_CONFIG}); `pitd init FILE` writes one"
        )
    return str(path)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(EXIT_USAGE, f"{self.prog}: {message}\n")


@functools.cache
def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="pitd",
        description="A deterministic pre-trade risk sidecar: between your strategies and your venues.",
        epilog="exit codes: 0 done, 1 the demo did not add up, 64 usage, 65 damaged journal or tape, 69 endpoint busy, "
        "70 invariant broken, 74 I/O, 78 configuration",
    )
    parser.add_argument("--version", action="version", version=f"pitd {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    one = commands.add_parser("run", help="run the daemon in the foreground")
    _add_config(one)
    one.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    one.set_defaults(run=run)

    one = commands.add_parser("init", help="print a commented configuration, or write it to a new file")
    one.add_argument(
        "output", nargs="?", metavar="FILE", help="a file that is not there yet (default: standard output)"
    )
    one.set_defaults(run=init)

    one = commands.add_parser(
        "keygen",
        help="make a key for tcp: for the daemon, or for a client",
        description="Writes NAME.key, which is secret (0600), and NAME.pub. The daemon's own goes into [daemon] "
        "key_file, a client's public one into [clients.NAME] key_file. Nothing secret is printed.",
    )
    one.add_argument("name", metavar="NAME", help="where, without the ending: /etc/pitd/keys/mm1")
    one.set_defaults(run=keygen)

    one = commands.add_parser("check-config", help="say what would run, and start nothing")
    _add_config(one)
    one.add_argument("--json", action="store_true", help="the effective configuration as JSON")
    one.add_argument("--diff", action="store_true", help="what a reload would change in the running daemon")
    one.add_argument("--against", metavar="FILE", help="what is different from that file, instead")
    one.add_argument("--endpoint", metavar="URL", help="where the daemon is (default: [daemon] endpoint)")
    one.add_argument(
        "--name", default=own_name(), metavar="NAME", help='who asks: needs the role "observe" (default: %(default)s)'
    )
    one.set_defaults(run=check_config)

    check_policy.add_parser(commands)

    replay_cli.add_parser(commands)

    journal_parser.add_parser(commands, lambda: bootstrap.build_policies(config.from_tables({})), _DEFAULT_CONFIG)

    one = commands.add_parser(
        "demo",
        help="a daemon, strategy processes and a small venue: see what the gate does",
        description="Starts a daemon in a temporary directory, strategy processes and a small simulated venue; a rate "
        "limit bites, a strategy that loses its way is stopped, and one is killed while it holds reservations. With "
        "--tape, a recorded order tape goes through the gate instead. Exit code 0 only if everything adds up.",
    )
    one.add_argument("--tape", metavar="FILE", help="drive it with a recorded order tape (CSV)")
    one.add_argument(
        "--strategies", type=int, metavar="N", help="strategy processes (default: 4, at least 3; with --tape: 1)"
    )
    one.add_argument("--seconds", type=float, default=6.0, metavar="S", help="how long to trade (default: 6)")
    one.add_argument("--local", action="store_true", help="with --tape: an engine in this process, in the tape's time")
    one.add_argument(
        "--in-turn",
        action="store_true",
        help="with --tape: each event waits for the one before it, whosever it is (the same decisions every time)",
    )
    one.add_argument("--config", metavar="FILE", help="your own limits (default: ones made for the demo)")
    one.add_argument("--seed", type=int, default=1, metavar="N", help="for the venue's and the strategies' chance")
    one.add_argument("--json", action="store_true", help="the closing summary as JSON; progress goes to standard error")
    one.set_defaults(run=demo)

    completion.add_parser(commands, parser)
    return parser


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", metavar="FILE", help=f"the TOML file, with FILE.d/*.toml (default: {_DEFAULT_CONFIG})"
    )


if __name__ == "__main__":
    sys.exit(main())
