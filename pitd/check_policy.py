"""The command `pitd check-policy`: puts a policy through the laws that pitd's own are tested by."""

from __future__ import annotations

import argparse
import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import config, own_policies
from .core.policy import Policy
from .errors import EXIT_BROKEN_LAW, ConfigError
from .own_policies import OwnLimit, OwnPolicy, Unusable

if TYPE_CHECKING:
    from .laws import Broken, Law, Subject


def add_parser(commands: Any) -> None:
    """Adds `check-policy` to pitd's commands."""
    one = commands.add_parser(
        "check-policy",
        help="put a policy of your own through the laws that every policy keeps",
        description="Drives the policy with made-up orders and reports, law by law, and shows the smallest example "
        "that breaks one. Exit code 0: every law is kept; 1: one is broken; 78: it can't be loaded or made. Needs "
        'hypothesis: pip install "pitd[check]".',
    )
    one.add_argument("policy", metavar="FILE|NAME", help="a file that defines it, or the name of an installed one")
    one.add_argument("--id", metavar="ID", help="which, where the file defines several")
    one.add_argument("--settings", default="", metavar="TOML", help="""its settings: 'most = 3; wait = "2s"' """)
    one.add_argument(
        "--limit",
        action="append",
        default=[],
        metavar="TOML",
        help="a limit of it: 'each = \"account\"; max_open = 3'; as often as you like",
    )
    one.add_argument("--config", metavar="FILE", help="settings and limits as that configuration has them")
    one.add_argument("--examples", type=int, default=200, metavar="N", help="so many a law (default: %(default)s)")
    one.add_argument("--seed", type=int, default=1, metavar="N", help="for other examples (default: %(default)s)")
    one.add_argument("--json", action="store_true", help="the result as JSON")
    one.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    try:
        from . import laws
    except ModuleNotFoundError as trouble:
        raise ConfigError(f'check-policy: {trouble.name} is not installed: pip install "pitd[check]"') from trouble
    own, policy, limits = _subject(options)

    def make() -> Policy:
        return own_policies.make(own, policy, limits, cover=True)

    subject = laws.Subject(own.name, make)
    broken: list[Broken] = []
    lines: list[dict[str, str]] = []
    for law in laws.LAWS:
        found = laws.broken_by(law, subject, examples=options.examples, seed=options.seed)
        broken += [] if found is None else [found]
        lines.append({"law": law.says, "result": "kept" if found is None else "broken", "example": str(found or "")})
        if not options.json:
            _show(law, found, laws)
    idle = _never_spoke(subject, laws)
    if options.json:
        print(json.dumps({"policy": own.name, "code": own.code, "laws": lines, "silent": idle}, indent=1))
    else:
        verdict = f"{len(broken)} of {len(laws.LAWS)} laws are broken" if broken else "every law is kept"
        print(f"{own.name} ({own.file or own.code}): {verdict}")
        if idle:
            print(f"warning: {idle}")
    return EXIT_BROKEN_LAW if broken else 0


def _show(law: Law, found: Broken | None, laws: Any) -> None:
    print(f"{'kept  ' if found is None else 'BROKEN'}  {law.says}")
    if found is not None:
        print("\n".join(f"        {line}" for line in str(found).splitlines()[0:]))


def _never_spoke(subject: Subject, laws: Any) -> str:
    """A policy that says nothing keeps every law: better told than trusted."""
    with laws.exactly():
        driven = laws.Driven(subject.make())
        said = [
            driven.act(laws.act(what, account)) for what in ("start", "main", "report") for account in ("alpha",) * 50
        ]
    if any(verdict is not None and (verdict.effects or verdict.rejects) for verdict in said):
        return ""
    return "it said nothing to 150 usual orders and reports; do its settings, or a --limit, make it say something?"


def _subject(options: argparse.Namespace) -> tuple[OwnPolicy, type[Policy], Sequence[OwnLimit]]:
    """What is to be checked, read as a configuration is. Raises ConfigError."""
    is_file = "/" in options.policy or options.policy.endswith(".py")
    if options.config is not None:
        read = config.load(options.config)
        if options.policy not in read.policies:
            raise ConfigError(f"{read.source}: policies.{options.policy}: is not configured there")
    else:
        name = _id_of(Path(options.policy), options.id) if is_file else options.policy
        own: dict[str, Any] = {"settings": _toml("--settings", options.settings)}
        if is_file:
            own["file"] = str(Path(options.policy).absolute())
        limits = {f"limit_{n}": {"control": name} | _toml("--limit", each) for n, each in enumerate(options.limit, 1)}
        accounts = {account: {"group": "eq"} for account in ("alpha", "beta")}
        tables = {"accounts": accounts, "policies": {name: own}, "limits": limits}
        read = config.from_tables(tables, "check-policy")
        options.policy = name
    found = read.policies[options.policy]
    policy = own_policies.known(found)
    assert policy is not None
    return found, policy, [limit for limit in read.limits if isinstance(limit, OwnLimit)]


def _id_of(path: Path, id: str | None) -> str:
    try:
        ids = own_policies.ids_in(path.absolute())
    except Unusable as trouble:
        raise ConfigError(f"check-policy: {trouble}") from trouble
    if id is not None and id in ids:
        return id
    if id is not None or len(ids) != 1:
        raise ConfigError(f"check-policy: {path} defines the policies {', '.join(ids) or '(none)'}; choose by --id")
    return ids[0]


def _toml(option: str, text: str) -> dict[str, Any]:
    """What is given on the command line: keys of TOML, one a line, or with `;` or `,` between."""
    try:
        return tomllib.loads(f"x = {{ {text.replace(';', ',').strip().rstrip(',')} }}")["x"]  # type: ignore[no-any-return]
    except tomllib.TOMLDecodeError as trouble:
        raise ConfigError(f"check-policy: {option}: is not TOML: {trouble}: {text}") from trouble
