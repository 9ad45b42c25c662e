"""Commands of pitctl that change what accounts have, hold or have made: from a file, or as typed."""

from __future__ import annotations

import argparse
import uuid

from ..journal_tools import objects
from ..journal_tools.words import printable
from . import books
from .asking import acting, connected
from .codes import SAID_NO, Misused
from .output import changed, is_agreed, plain, put
from .screen import Screen
from .typed import Part


def import_books(options: argparse.Namespace) -> int:
    """Of positions or balances: shows what would change, and puts the file's word in its place."""
    return _apply_books(options, _compared(options), is_import=options.kind == "positions")


def reconcile_books(options: argparse.Namespace) -> int:
    compared = _compared(options)
    if options.apply and compared.differences:
        if options.reason is None:
            raise Misused(f"{options.kind} reconcile --apply: say why by --reason TEXT")
        return _apply_books(options, compared, is_import=False)
    if options.json:
        _put_books(options, compared, 0, is_applied=False)
    else:
        if compared.differences:
            Screen().put(books.table(compared))
        print(printable(books.summary(compared)))
    return SAID_NO if compared.differences else 0


def adjust(options: argparse.Namespace) -> int:
    parts: list[Part] = options.parts
    adjustments = [books.adjustment_of(each, options.account) for each in parts]
    told = "; ".join(map(str, parts))
    if not is_agreed(options, f"account {options.account}: {told}. Sure?"):
        return SAID_NO
    with acting(options) as engine:
        id = options.id or f"pitctl {uuid.uuid4().hex}"
        done = engine.apply_account_adjustment(*adjustments, id=id, reason=options.reason)
        stopped = "".join(f"; {block}" for block in done.blocks)
        again = " (it was before: nothing changed now)" if done.already_applied else ""
        return changed(options, engine, f"account {options.account}: {told}{again}{stopped}")


def _compared(options: argparse.Namespace) -> books.Comparison:
    also = [*options.also, *([] if options.account is None else [options.account])]
    with connected(options) as engine:
        return books.compare(engine, options.kind, options.file, accounts=also, is_partial=options.partial)


def _apply_books(options: argparse.Namespace, compared: books.Comparison, *, is_import: bool) -> int:
    adjustments = compared.adjustments()
    imported = compared.accounts if is_import else ()
    if adjustments and not options.json:
        Screen().put(books.table(compared))
    if adjustments and not is_agreed(options, f"put the file's word in the place of these {len(adjustments)}?"):
        return SAID_NO
    changed = 0
    if adjustments or imported:
        with acting(options) as engine:
            id = options.id or f"pitctl {uuid.uuid4().hex}"
            done = engine.apply_account_adjustment(*adjustments, id=id, reason=options.reason, imported=imported)
            changed = done.changed
    if options.json:
        _put_books(options, compared, changed, is_applied=True)
        return 0
    what = compared.kind if changed != 1 else compared.kind.removesuffix("s")
    told = f"{changed} {what} of {', '.join(compared.accounts)} set as the file says"
    told = told if changed else books.summary(compared)
    print(printable(f"{told} (by {options.name}: {options.reason})"))
    return 0


def _put_books(options: argparse.Namespace, compared: books.Comparison, changed: int, *, is_applied: bool) -> None:
    told = [plain(each) | {"difference": objects.plain(each.by)} for each in compared.differences]
    said = {"accounts": list(compared.accounts), "differences": told, "is_applied": is_applied, "changed": changed}
    put(said | {"actor": options.name, "reason": options.reason})
