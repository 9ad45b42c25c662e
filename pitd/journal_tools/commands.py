"""The command `pitd journal`: checks a journal, explains it, follows it, hands it on, and deletes what is old."""

from __future__ import annotations

import argparse
import contextlib
import csv
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import msgspec

from pit.types import OrderState

from .. import config, journal
from ..core.numbers import text
from ..core.orders import ENDED
from ..core.policy import Policy
from ..core.reading import Reader
from ..errors import EXIT_DAMAGED, EXIT_IO, EXIT_NOT_FOUND, EXIT_USAGE, ConfigError, JournalDamaged, JournalFailed
from . import fate, objects, verify, words
from .pages import Clients, Pages, read
from .progress import Progress

_FOLLOW_S = 0.25

_REST = 3.0
"""How much longer a pause is than the work before it, where no low priority can be had."""


def run(options: argparse.Namespace, policies: Sequence[Policy]) -> int:
    """Does what was asked for (`parser.add_parser`). The effects of those policies are shown by name."""
    action = _ACTIONS[options.action]
    try:
        return action(options, _directory(options), Reader({policy.id: policy for policy in policies}, is_lenient=True))
    except KeyboardInterrupt:
        return 130


def _directory(options: argparse.Namespace) -> Path:
    return Path(_settings(options).directory if options.directory is None else options.directory)


def _settings(options: argparse.Namespace) -> config.Journal:
    source = options.config or (options.default_config if Path(options.default_config).exists() else None)
    return config.load(source).journal if source else config.from_tables({}).journal


# ---------------------------------------------------------------------------------------------- verify


def _verify(options: argparse.Namespace, directory: Path, reader: Reader) -> int:
    with Progress("verify", options, lambda: verify.row_count(directory)) as progress:
        told = _stepping_back(progress.at) if options.quiet else progress.at
        found = verify.verify(directory, reader, told if options.beside is None else _while_there(options.beside, told))
    if options.json:
        print(msgspec.json.encode(found).decode())
    elif not (options.quiet and found.is_good):
        for trouble in (*found.damages, *found.unreadable):
            print(f"{'damaged' if trouble in found.damages else 'unreadable'}: {words.printable(trouble)}")
        if found.damage_count > len(found.damages):
            print(f"damaged: and {found.damage_count - len(found.damages)} more")
        for note in found.notes:
            print(f"note: {note}")
        print(_summary(found))
    if found.damage_count:
        return EXIT_DAMAGED
    return EXIT_IO if found.unreadable else 0


def _while_there(parent: int, told: Callable[[int], object]) -> Callable[[int], object]:
    """Ends where the process that began this one is no more: nobody would read the answer."""

    def told_if_there(rows: int) -> None:
        if os.getppid() != parent:
            raise KeyboardInterrupt
        told(rows)

    return told_if_there


def _stepping_back(told: Callable[[int], object]) -> Callable[[int], object]:
    """Lets others have the processor: by a low priority or, where a hardened service may not, by pauses."""
    try:
        os.nice(19)
    except OSError:
        return _pausing(told)
    return told


def _pausing(told: Callable[[int], object]) -> Callable[[int], object]:
    rested_at = time.monotonic()

    def told_and_rested(rows: int) -> None:
        nonlocal rested_at
        told(rows)
        time.sleep(_REST * (time.monotonic() - rested_at))
        rested_at = time.monotonic()

    return told_and_rested


def _summary(found: verify.Verdict) -> str:
    how = "good" if found.is_good else f"{found.damage_count} damaged" if found.damage_count else "not all readable"
    rows = "no rows"
    if found.rows:
        since, until = words.moment(found.first_wall_ns), words.moment(found.last_wall_ns)
        rows = f"{found.rows:,} rows, {found.first_seq} to {found.last_seq}, from {since} to {until}"
    files = f"{_counted(found.segments, 'segment')}, {_counted(found.snapshots, 'good snapshot')}"
    pruned = f"; rows before {found.pruned_before} were pruned" if found.pruned_before else ""
    return f"{found.directory}: {how}: {rows}; {files}{pruned}; {found.took_s:.1f} s"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


# ---------------------------------------------------------------------------------------------- tail and show


def _tail(options: argparse.Namespace, directory: Path, reader: Reader) -> int:
    if options.count < 0:
        return _usage(f"tail -n: 0 or more is wanted, not {options.count}")
    pages = Pages(directory)
    clients = Clients(pages)
    seq = pages.last_seq()
    after = max(pages.first_seq - 1, seq - options.count)
    while True:
        for line in pages.rows(after, seq):
            after = line.seq
            row = read(reader, line)
            if row is None:
                print(f"{line.seq:>8}  cannot be understood; `pitd journal verify` shows more")
            elif options.json:
                client = clients.name_of(row.entry)
                print(msgspec.json.encode(objects.row_object(row, client, line.chain)).decode())
            else:
                print(words.line(row, clients.name_of(row.entry)))
        after = max(after, seq)
        if not options.follow:
            return 0
        sys.stdout.flush()
        while (seq := pages.last_seq()) <= after:
            time.sleep(_FOLLOW_S)
            pages.look_again()


def _show(options: argparse.Namespace, directory: Path, reader: Reader) -> int:
    pages = Pages(directory)
    line = pages.line(options.seq)
    row = read(reader, line)
    if row is None:
        raise JournalDamaged(f"{directory}: row {line.seq} cannot be understood; `pitd journal verify` shows more")
    client = Clients(pages).name_of(row.entry)
    if options.json:
        print(msgspec.json.encode(objects.row_object(row, client, line.chain)).decode())
    else:
        print("\n".join(words.whole(row, client, line.chain)))
    return 0


# ---------------------------------------------------------------------------------------------- outcome


def _outcome(options: argparse.Namespace, directory: Path, reader: Reader) -> int:
    pages = Pages(directory)
    clients = Clients(pages)
    tale = fate.Tale(options.order, options.account)
    remembered = fate.find_pruned(pages, options.order, options.account)
    for record in remembered:
        tale.remember(record)
    with Progress("outcome", options, pages.last_seq) as progress:
        rows = list(fate.rows_of(pages, tale, told=progress.at))
    fates = [tale.fates[account] for account in sorted(tale.fates)]
    if options.json:
        told = [
            {
                "account": each.account,
                "order_id": each.order_id,
                "client": each.client or None,
                "outcome": objects.plain(each.outcome()),
                "refused": None if each.refusal is None else objects.plain(each.refusal.rejected),
            }
            for each in fates
        ]
        shown = [objects.row_object(row, clients.name_of(row.entry), pages.line(row.entry.seq).chain) for row in rows]
        print(msgspec.json.encode({"orders": told, "rows": shown}).decode())
        return 0 if fates else EXIT_NOT_FOUND
    if not fates:
        where = f" of account {options.account}" if options.account else ""
        back = f"; rows before {pages.first_seq} were pruned" if pages.first_seq > 1 else ""
        print(f"order {options.order}{where}: no row of {directory} names it{back}")
        return EXIT_NOT_FOUND
    if remembered:
        print(f"rows before {pages.first_seq} were pruned; a snapshot remembers how it stood by then")
    for row in rows:
        print(words.line(row, clients.name_of(row.entry)))
    for each in fates:
        print()
        print("\n".join(map(words.printable, _told(each, clients))))
    return 0


def _told(found: fate.Fate, clients: Clients) -> Iterator[str]:
    """Where an order stands and why, in sentences."""
    who = f"order {found.order_id} of account {found.account}"
    outcome = found.outcome()
    if outcome is not None:
        by = f", ended by {outcome.ended_by}" if outcome.ended_by else ""
        why = f" ({outcome.reason})" if outcome.reason else ""
        yield f"{who}: {outcome.state}{by}{why}"
        left = "" if outcome.state in ENDED else f", open {text(outcome.open_quantity)}"
        yield f"  filled {text(outcome.filled_quantity)}{left}"
        yield f"  reservation {found.reservation_id}, client {found.client or 'none: only the venue spoke of it'}"
        if outcome.venue_order_id:
            yield f"  at the venue: {outcome.venue_order_id}"
        if outcome.flags:
            yield f"  flags: {', '.join(outcome.flags)}"
        if outcome.state is OrderState.QUARANTINED:
            yield "  it stays counted until a report or a person settles it"
    elif found.refusal is not None:
        refusal = found.refusal
        when, client = words.moment(refusal.wall_ns), clients.of(refusal.session) or "unknown"
        yield f"{who}: refused, and never counted (row {refusal.seq}, {when}, client {client})"
        for reject in refusal.rejected.rejects:
            yield f"  {reject}"
    elif found.request is not None:
        ended = f"ended by {found.request_ended_by}" if found.request_ended_by else "still waits"
        yield f"{who}: passed the start stage and was not executed; its request {found.request.request_id} {ended}"
    else:
        yield f"{who}: named by a report or a person, and never accepted here"


# ---------------------------------------------------------------------------------------------- export


def _export(options: argparse.Namespace, directory: Path, reader: Reader) -> int:
    pages = Pages(directory)
    clients = Clients(pages)
    last = pages.last_seq() if options.last is None else min(options.last, pages.last_seq())
    skipped = 0
    with _written(options.output) as file, Progress("export", options, lambda: last) as progress:
        put = _csv(file) if options.format == "csv" else _jsonl(file)
        for page in pages.pages(options.first - 1, last):
            for line in page:
                row = read(reader, line)
                if row is None:
                    skipped += 1
                else:
                    put(row, clients.name_of(row.entry), line.chain)
            progress.at(page[-1].seq if page else 0)
    if skipped:
        why = f"{_counted(skipped, 'row')} cannot be understood and left out; `pitd journal verify` shows more"
        print(f"pitd: {why}", file=sys.stderr)
        return EXIT_DAMAGED
    return 0


Put = Callable[[Any, str | None, bytes], object]


def _jsonl(file: IO[str]) -> Put:
    encode = msgspec.json.encode
    return lambda row, client, chain: file.write(encode(objects.row_object(row, client, chain)).decode() + "\n")


def _csv(file: IO[str]) -> Put:
    writer = csv.DictWriter(file, objects.COLUMNS, lineterminator="\n")
    writer.writeheader()
    flat = objects.Flat()
    return lambda row, client, chain: writer.writerow(flat.record(row, client))


@contextlib.contextmanager
def _written(output: str | None) -> Iterator[IO[str]]:
    if output is None:
        yield sys.stdout
        return
    try:
        with Path(output).open("x", encoding="utf-8", newline="") as file:
            yield file
    except FileExistsError:
        raise ConfigError(f"{output}: is there already and stays as it is; name another file") from None
    except OSError as trouble:
        raise JournalFailed(f"{output}: cannot be written: {trouble.strerror}") from trouble


# ---------------------------------------------------------------------------------------------- prune


def _prune(options: argparse.Namespace, directory: Path, reader: Reader) -> int:
    if not journal.segments(directory):
        raise JournalFailed(f"{directory}: holds no journal")
    age = options.older_than
    if age is not None:
        try:
            keep_ns = config.from_tables({"journal": {"keep": age}}).journal.keep_ns
        except ConfigError:
            return _usage(f'prune --older-than: a duration with its unit is wanted, such as "12h" or "7d", not {age!r}')
    else:
        keep_ns = _settings(options).keep_ns
    oldest_ns = time.time_ns() - keep_ns
    for path in journal.snapshots(directory)[-2:]:
        journal.read_snapshot(path)  # deleting rows would make recovery rely on it: a damaged one is told of instead
    going = journal.prunable(directory, oldest_ns)
    if not going:
        kept = _counted(len(journal.segments(directory)), "segment")
        print(f"nothing to delete: {kept}, all younger than {words.moment(oldest_ns)} or needed for recovery")
        return 0
    sizes = {path: _size(path) for path in going}
    for path in going:
        print(f"{path.name}  {sizes[path] / 1e6:.1f} MB")
    if not options.yes and not _agreed(f"delete {_counted(len(going), 'file')} of {directory}? [y/N] "):
        print("nothing was deleted")
        return 0
    gone = journal.prune(directory, oldest_ns)
    freed = sum(sizes.get(path, 0) for path in gone)
    first = journal.segment_start(journal.segments(directory)[0])
    print(f"deleted {_counted(len(gone), 'file')}, {freed / 1e6:.1f} MB; the journal begins with row {first}")
    return 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _agreed(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        print()
        return False


# ---------------------------------------------------------------------------------------------- progress


def _usage(problem: str) -> int:
    print(f"pitd journal {problem}", file=sys.stderr)
    return EXIT_USAGE


_ACTIONS: dict[str, Callable[[argparse.Namespace, Path, Reader], int]] = {
    "verify": _verify,
    "tail": _tail,
    "show": _show,
    "outcome": _outcome,
    "export": _export,
    "prune": _prune,
}
