"""The command `pitctl`: what an operator sees of a running daemon, and what a person may do to it."""

from __future__ import annotations

import argparse
import datetime
import difflib
import os
import re
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

import pit
from pit import wire
from pit.places import default_endpoint
from pit.types import AccountBalance, Outcome, RejectCode

from . import (
    __version__,
    completion,
    operator_books,
    operator_cancels,
    operator_explain,
    operator_limits,
    operator_report,
)
from .bench import options as bench_options
from .core.orders import ENDED
from .errors import PitdError
from .journal_tools import day, objects
from .journal_tools.pages import Pages
from .journal_tools.progress import Progress
from .journal_tools.words import printable
from .operator_screen import Screen
from .operator_top_screen import Picture
from .running import own_name

READY, NOT_READY, NO_ANSWER = 0, 1, 2
"""What `isready` says by its exit code. Every other command ends with 2, too, where no daemon answers."""

_STALE_NS = 600_000_000_000
"""A working order of which nothing has been heard for so long is looked at, unless it is said how long."""

_SAID_NO = 1
_USAGE = 64
_NOT_ALLOWED = 77
_INTERRUPTED = 130

Connect = Callable[[str, str, float, bool], pit.Engine]
"""Name, endpoint, how long to wait for an answer, and whether it only asks."""

R = TypeVar("R")


def main(argv: Sequence[str] | None = None, connect: Connect | None = None) -> int:
    """Runs one command; the exit code says how it ended. `connect` gives the engine to speak to, where it is no daemon
    at an endpoint.
    """
    options = _parser().parse_args(argv)
    options.connect = connect or _connect
    options.endpoint = getattr(options, "endpoint", None) or default_endpoint()
    try:
        code = options.run(options)
    except (pit.Unavailable, pit.OutcomeUnknown) as trouble:
        unknown = "; it may have happened: look before you try again" if isinstance(trouble, pit.OutcomeUnknown) else ""
        return _complain(f"{trouble}{unknown}", NO_ANSWER)
    except pit.NotAuthorized as trouble:
        return _complain(f"{trouble}; or give --name of a client that has it", _NOT_ALLOWED)
    except pit.Fenced as trouble:
        why = f"{trouble}: somebody else changed something under the same name at this moment"
        return _complain(f"{why}; look whether this was done, then try again", _SAID_NO)
    except pit.PitError as trouble:
        return _complain(str(trouble), _SAID_NO)
    except PitdError as trouble:
        return _complain(str(trouble), trouble.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left to flush to
        return 0
    except KeyboardInterrupt:
        return _INTERRUPTED
    assert isinstance(code, int)
    return code


# ---------------------------------------------------------------------------------------------- is it there?


def _ping(options: argparse.Namespace) -> int:
    with _connected(options) as engine:
        version = engine.ping()
    if options.json:
        _put({"version": version, "endpoint": options.endpoint})
    else:
        print(f"pitd {version} answers at {options.endpoint}")
    return 0


def _isready(options: argparse.Namespace) -> int:
    try:
        with _connected(options) as engine:
            status = _status_of(engine)
    except (pit.Unavailable, pit.OutcomeUnknown, pit.Closed) as trouble:
        return _told_ready(options, NO_ANSWER, "no answer", str(trouble), None)
    if status.why_refusing:
        return _told_ready(options, NOT_READY, "refuses new orders", status.why_refusing, status.seq)
    return _told_ready(options, READY, "takes new orders", "", status.seq)


def _told_ready(options: argparse.Namespace, code: int, answer: str, why: str, seq: int | None) -> int:
    if options.json:
        _put({"seq": seq, "is_ready": code == READY, "answer": answer, "why": why})
    elif not options.quiet:
        print(f"{options.endpoint}: {answer}{f': {printable(why)}' if why else ''}")
    return code


def _status(options: argparse.Namespace) -> int:
    with _connected(options) as engine:
        status = _status_of(engine)
    if options.json:
        _put(_status_object(status))
    else:
        Screen().status(status)
    return 0


def _status_object(status: wire.StatusIs) -> dict[str, Any]:
    told = _plain(status)
    told["up_s"] = round(status.up_ns / 1e9, 3)
    told["states"] = {str(state): count for state, count in status.states}
    told["is_ready"] = not status.why_refusing
    del told["up_ns"]
    return told


# ---------------------------------------------------------------------------------------------- what there is


def _sessions(options: argparse.Namespace) -> int:
    with _connected(options) as engine:
        pages = list(_session_pages(engine))
    return _shown(options, pages, "sessions", lambda screen, lines: screen.sessions(lines))


def _session_pages(engine: pit.Engine) -> Iterator[wire.SessionsAre]:
    page = _expect(engine, wire.ListSessions(), wire.SessionsAre)
    yield page
    while page.more:
        page = _expect(engine, wire.ListSessions(page.sessions[-1].session), wire.SessionsAre)
        yield page


def _accounts(options: argparse.Namespace) -> int:
    with _connected(options) as engine:
        page = _expect(engine, wire.ListAccounts(), wire.AccountsAre)
        pages = [page]
        while page.more:
            page = _expect(engine, wire.ListAccounts(page.accounts[-1].account), wire.AccountsAre)
            pages.append(page)
    return _shown(options, pages, "accounts", lambda screen, lines: screen.accounts(lines))


def _calendar(options: argparse.Namespace) -> int:
    with _connected(options) as engine:
        page = _expect(engine, wire.ListCalendar(), wire.CalendarIs)
        days, hours, first_seq = [*page.days], page.hours, page.seq
        while page.more:
            page = _expect(engine, wire.ListCalendar(days[-1].scope), wire.CalendarIs)
            days += page.days
    if options.json:
        _put({"seq": page.seq, "days": [*map(_plain, days)], "hours": [*map(_plain, hours)]})
    else:
        screen = Screen()
        screen.calendar(days, hours)
        screen.read_at(first_seq, page.seq)
    return 0


def _positions(options: argparse.Namespace) -> int:
    with _connected(options) as engine:
        pages = list(_position_pages(engine, options.account))
    return _shown(options, pages, "positions", lambda screen, lines: screen.positions(lines))


def _position_pages(engine: pit.Engine, account: str | None) -> Iterator[wire.PositionsAre]:
    page = _expect(engine, wire.ListPositions(account), wire.PositionsAre)
    yield page
    while page.more:
        last = page.positions[-1]
        page = _expect(engine, wire.ListPositions(account, last.account, last.instrument), wire.PositionsAre)
        yield page


def _balances(options: argparse.Namespace) -> int:
    with _connected(options) as engine:
        pages = list(_balance_pages(engine, options.account))
    return _shown(options, pages, "balances", lambda screen, lines: screen.balances(lines))


def _balance_pages(engine: pit.Engine, account: str | None) -> Iterator[wire.BalancesAre]:
    page = _expect(engine, wire.ListBalances(account), wire.BalancesAre)
    yield page
    while page.more:
        last = page.balances[-1]
        page = _expect(engine, wire.ListBalances(account, last.account, last.asset), wire.BalancesAre)
        yield page


def _import_books(options: argparse.Namespace) -> int:
    """Of positions or balances: shows what would change, and puts the file's word in its place."""
    return _apply_books(options, _compared(options), is_import=options.kind == "positions")


def _reconcile_books(options: argparse.Namespace) -> int:
    compared = _compared(options)
    if options.apply and compared.differences:
        if options.reason is None:
            _parser().error(f"{options.kind} reconcile --apply: say why by --reason TEXT")
        return _apply_books(options, compared, is_import=False)
    if options.json:
        _put_books(options, compared, 0, is_applied=False)
    else:
        if compared.differences:
            Screen().put(operator_books.table(compared))
        print(printable(operator_books.summary(compared)))
    return _SAID_NO if compared.differences else 0


def _adjust(options: argparse.Namespace) -> int:
    parts: list[operator_books.Part] = options.parts
    adjustments = [each.adjustment(options.account) for each in parts]
    told = "; ".join(map(str, parts))
    if not _is_agreed(options, f"account {options.account}: {told}. Sure?"):
        return _SAID_NO
    with _acting(options) as engine:
        id = options.id or f"pitctl {uuid.uuid4().hex}"
        done = engine.apply_account_adjustment(*adjustments, id=id, reason=options.reason)
        stopped = "".join(f"; {block}" for block in done.blocks)
        again = " (it was before: nothing changed now)" if done.already_applied else ""
        return _changed(options, engine, f"account {options.account}: {told}{again}{stopped}")


def _compared(options: argparse.Namespace) -> operator_books.Comparison:
    also = [*options.also, *([] if options.account is None else [options.account])]
    with _connected(options) as engine:
        return operator_books.compare(engine, options.kind, options.file, accounts=also, is_partial=options.partial)


def _apply_books(options: argparse.Namespace, compared: operator_books.Comparison, *, is_import: bool) -> int:
    adjustments = compared.adjustments()
    imported = compared.accounts if is_import else ()
    if adjustments and not options.json:
        Screen().put(operator_books.table(compared))
    if adjustments and not _is_agreed(options, f"put the file's word in the place of these {len(adjustments)}?"):
        return _SAID_NO
    changed = 0
    if adjustments or imported:
        with _acting(options) as engine:
            id = options.id or f"pitctl {uuid.uuid4().hex}"
            done = engine.apply_account_adjustment(*adjustments, id=id, reason=options.reason, imported=imported)
            changed = done.changed
    if options.json:
        _put_books(options, compared, changed, is_applied=True)
        return 0
    what = compared.kind if changed != 1 else compared.kind.removesuffix("s")
    told = f"{changed} {what} of {', '.join(compared.accounts)} set as the file says"
    told = told if changed else operator_books.summary(compared)
    print(printable(f"{told} (by {options.name}: {options.reason})"))
    return 0


def _put_books(
    options: argparse.Namespace, compared: operator_books.Comparison, changed: int, *, is_applied: bool
) -> None:
    told = [_plain(each) | {"difference": objects.plain(each.by)} for each in compared.differences]
    said = {"accounts": list(compared.accounts), "differences": told, "is_applied": is_applied, "changed": changed}
    _put(said | {"actor": options.name, "reason": options.reason})


def _orders(options: argparse.Namespace) -> int:
    with _connected(options) as engine:
        which = options.which if options.stale is None else wire.Which.STALE
        quiet_ns = options.stale or 0
        pages = list(_order_pages(engine, which, options.account, options.client, options.order, quiet_ns))
    return _shown(options, pages, "orders", lambda screen, lines: screen.orders(lines))


def _order_pages(
    engine: pit.Engine,
    which: wire.Which,
    account: str | None,
    client: str | None,
    order_id: str | None,
    quiet_ns: int = 0,
) -> Iterator[wire.OrdersAre]:
    after = 0
    while True:
        query = wire.ListOrders(which, after, account, client, order_id, quiet_ns=quiet_ns)
        page = _expect(engine, query, wire.OrdersAre)
        yield page
        after = page.after
        if not after:
            return


def _limits(options: argparse.Namespace) -> int:
    with _connected(options) as engine:
        page = _expect(engine, wire.ListLimits(), wire.LimitsAre)
        pages = [page]
        while page.position >= 0:
            page = _expect(engine, wire.ListLimits(page.position, page.after), wire.LimitsAre)
            pages.append(page)
        overrides = engine.limit_overrides()
    lines = [line for page in pages for line in page.limits]
    if options.json:
        told: dict[str, Any] = {"seq": pages[0].seq, "until_seq": pages[-1].seq}
        told |= {} if options.overrides else {"limits": list(map(_line_object, lines))}
        _put(told | {"overrides": list(map(_plain, overrides))})
        return 0
    screen = Screen()
    if not options.overrides:
        screen.limits(lines)
    if overrides or options.overrides:
        screen.overrides(overrides)
    screen.read_at(pages[0].seq, pages[-1].seq)
    return 0


def _blocks(options: argparse.Namespace) -> int:
    with _connected(options) as engine:
        page = _expect(engine, wire.ListAllBlocks(), wire.BlocksAre)
        pages, had = [page], len(page.blocks)
        while page.more:
            page = _expect(engine, wire.ListAllBlocks(had), wire.BlocksAre)
            had += len(page.blocks)
            pages.append(page)
        halts = engine.restrictions()
    blocks = [block for page in pages for block in page.blocks]
    if options.json:
        told = {"seq": pages[0].seq, "until_seq": pages[-1].seq}
        _put(told | {"blocks": list(map(_plain, blocks)), "restrictions": list(map(_plain, halts))})
        return 0
    screen = Screen()
    screen.blocks(blocks)
    screen.restrictions(halts)
    screen.read_at(pages[0].seq, pages[-1].seq)
    return 0


def _shown(
    options: argparse.Namespace, pages: Sequence[Any], name: str, show: Callable[[Screen, list[Any]], None]
) -> int:
    """What pages hold, as one table or one object, with the rows that they were read at."""
    lines = [line for page in pages for line in getattr(page, name)]
    if options.json:
        _put({"seq": pages[0].seq, "until_seq": pages[-1].seq, name: [_line_object(line) for line in lines]})
        return 0
    screen = Screen()
    show(screen, lines)
    screen.read_at(pages[0].seq, pages[-1].seq)
    return 0


def _line_object(line: Any) -> dict[str, Any]:
    told = _plain(line)
    if isinstance(line, AccountBalance):
        told["available"] = objects.plain(line.available)
    if isinstance(line, wire.LimitSeen):
        told["distance"] = None if line.used is None else objects.plain(line.bound - line.used)
    return told


def _top(options: argparse.Namespace) -> int:
    from . import operator_top as top

    def connect() -> pit.Engine:
        return _connected(options)

    if options.json:
        with connect() as engine:
            _put_picture(top.look(engine))
            while not options.once:
                time.sleep(options.every)
                _put_picture(top.look(engine))
    elif options.once:
        top.print_once(connect)
    else:
        return top.run(connect, lambda: _acting(options), options.every, options.endpoint)
    return 0


def _put_picture(picture: Picture) -> None:
    """One look as one object on a line of its own."""
    told = {
        name: [_line_object(line) for line in getattr(picture, name)]
        for name in ("stops", "limits", "accounts", "orders", "sessions")
    }
    metrics = None if picture.metrics is None else _plain(picture.metrics)
    _put({"seq": picture.status.seq, "status": _status_object(picture.status), **told, "metrics": metrics})
    sys.stdout.flush()


def _monitor(options: argparse.Namespace) -> int:
    from .operator_monitor import Filter, run

    wanted = Filter(options.account, options.client, options.code, options.rejects)
    return run(lambda: _connected(options), options.since, wanted, as_json=options.json, most=options.most)


def _exporter(options: argparse.Namespace) -> int:
    from .exporter import serve

    return serve(lambda: _connected(options), *options.listen)


def _bench(options: argparse.Namespace) -> int:
    from .bench.run import run

    trouble = bench_options.problem(options)
    if trouble:
        return _complain(trouble, _USAGE)
    risk = bench_options.risk(options)
    if risk and options.yes:
        print(f"pitctl: {risk}", file=sys.stderr)
    return run(options) if _is_agreed(options, f"{risk} Sure?" if risk else "") else _SAID_NO


# ---------------------------------------------------------------------------------------------- one order


def _outcome(options: argparse.Namespace) -> int:
    with _connected(options) as engine:
        account = _account(engine, options)
        outcome = engine.outcome(account, options.order)
        seq = _status_of(engine).seq
    if options.json:
        _put({"seq": seq, "outcome": _plain(outcome)})
    else:
        _say_outcome(outcome)
        Screen().read_at(seq, seq)
    return 0


def _say_outcome(outcome: Outcome) -> None:
    by = f", ended by {outcome.ended_by}" if outcome.ended_by else ""
    because = f" ({printable(outcome.reason)})" if outcome.reason else ""
    print(f"order {outcome.order_id} of account {outcome.account}: {outcome.state}{by}{because}")
    left = "" if outcome.state in ENDED else f", open {outcome.open_quantity:f}"
    print(f"  filled {outcome.filled_quantity:f}{left}")
    if outcome.venue_order_id:
        print(f"  at the venue: {outcome.venue_order_id}")
    if outcome.flags:
        print(f"  flags: {', '.join(outcome.flags)}")


def _why(options: argparse.Namespace) -> int:
    with _connected(options) as engine:
        decision = _expect(engine, wire.AskDecision(_account(engine, options), options.order), wire.DecisionIs)
    if options.json:
        _put(
            _plain(decision)
            | {"holds": [{"control": one, "effect": msgspec.json.decode(what)} for one, what in decision.holds]}
        )
        return 0
    Screen().decision(decision)
    if decision.outcome is not None:
        _say_outcome(decision.outcome)
    Screen().read_at(decision.seq, decision.seq)
    return 0


def _explain(options: argparse.Namespace) -> int:
    order = operator_explain.order_of(options)
    with _connected(options) as engine:
        told = engine.explain(order, client=options.client)
        seq = _status_of(engine).seq
    if options.json:
        _put({"seq": seq} | operator_explain.as_object(told))
        return 0
    screen = Screen()
    screen.put(operator_explain.shown(told))
    screen.read_at(seq, seq)
    return 0


def _account(engine: pit.Engine, options: argparse.Namespace) -> str:
    """Whose order it is: as given, else of the only open or lately closed one of that id. Raises InvalidInput."""
    if options.account is not None:
        return str(options.account)
    found: set[str] = set()
    for which in (wire.Which.OPEN, wire.Which.CLOSED):
        for page in _order_pages(engine, which, None, None, options.order):
            found.update(each.account for each in page.orders)
    if len(found) == 1:
        return found.pop()
    if found:
        raise pit.InvalidInput(
            f"order {options.order} is in the accounts {', '.join(sorted(found))}: say which by --account"
        )
    raise pit.UnknownId(
        f"no order {options.order} is open or closed lately (a refused one is not remembered): give --account to have "
        "the journal searched"
    )


# ---------------------------------------------------------------------------------------------- a day


def _report_day(options: argparse.Namespace) -> int:
    from . import bootstrap

    if options.changes and not options.csv:
        _parser().error("report day --changes: it goes with --csv; the others show both")
    zone: ZoneInfo = options.zone
    wanted = options.date or datetime.datetime.now(zone).date()
    directory = _journal_of(options)
    with Progress("report", options, lambda: Pages(directory).last_seq()) as progress:
        told = day.report(directory, bootstrap.blank_engine, wanted, zone, progress.at)
    if options.json:
        _put(objects.plain(told))
    elif options.csv:
        operator_report.put_csv(told, sys.stdout, changes=options.changes)
    else:
        Screen().put(operator_report.shown(told))
    return 0


def _journal_of(options: argparse.Namespace) -> Path:
    """The journal's directory: as given, else where the daemon keeps it."""
    if options.directory is not None:
        return Path(options.directory)
    try:
        with _connected(options) as engine:
            kept = _status_of(engine).journal
    except pit.Unavailable as trouble:
        raise pit.Unavailable(f"{trouble}; without a daemon, name the journal: pitctl report day DIR") from trouble
    if not kept:
        raise pit.InvalidInput(f"the daemon at {options.endpoint} keeps no journal")
    if not os.access(kept, os.R_OK | os.X_OK):
        raise pit.NotAuthorized(
            f"the journal in {kept} cannot be read by this user: its files are for their group (on Debian pitd-audit)"
        )
    return Path(kept)


# ---------------------------------------------------------------------------------------------- what a person does


def _block(options: argparse.Namespace) -> int:
    scope = " ".join(options.scope)
    risk = "nobody at all may trade any more: block firm?" if scope == "firm" else ""
    return _change(
        options,
        risk,
        lambda engine: engine.block(scope, options.reason, cancel=not options.keep_orders),
        f"{scope} is blocked{'' if options.keep_orders else _AND_CANCELS}",
    )


def _unblock(options: argparse.Namespace) -> int:
    scope = " ".join(options.scope)
    if not _is_agreed(options, f"let {scope} trade again?"):
        return _SAID_NO
    with _acting(options) as engine:
        engine.unblock(scope, options.reason)
        still = ", ".join(block.limit for block in engine.blocks() if block.scope == scope)
        told = (
            f"{scope} may trade" if not still else f"the operator's block of {scope} is lifted; {still} still stops it"
        )
        return _changed(options, engine, told)


def _halt(options: argparse.Namespace) -> int:
    scope = " ".join(options.scope)
    risk = "trading stops everywhere: halt firm?" if scope == "firm" else ""
    cancel = not options.keep_orders
    told = f"{scope} is halted{_AND_CANCELS if cancel else ''}"
    return _change(options, risk, lambda engine: engine.halt(scope, options.reason, cancel=cancel), told)


_AND_CANCELS = ", and what is open of it is to be cancelled (pitctl cancels)"


def _cancel_all(options: argparse.Namespace) -> int:
    scope = " ".join(options.scope)
    risk = "every open order of everybody is to be cancelled: cancel-all firm?" if scope == "firm" else ""
    told = f"what is open of {scope} is to be cancelled (pitctl cancels); it may go on trading"
    return _change(options, risk, lambda engine: engine.cancel_all(scope, options.reason), told)


def _cancels(options: argparse.Namespace) -> int:
    with _connected(options) as engine:
        page = _expect(engine, wire.ListCancels(), wire.CancelsAre)
        pages = [page]
        while page.more:
            after = page.cancels[-1].request.reservation_id
            page = _expect(engine, wire.ListCancels(after), wire.CancelsAre)
            pages.append(page)
    return _shown(options, pages, "cancels", lambda screen, lines: screen.put(operator_cancels.table(lines)))


def _reduce(options: argparse.Namespace) -> int:
    scope = " ".join(options.scope)
    risk = "only what reduces a position is taken, everywhere: reduce firm?" if scope == "firm" else ""
    told = f"{scope} takes only orders that reduce a position"
    return _change(options, risk, lambda engine: engine.reduce(scope, options.reason), told)


def _resume(options: argparse.Namespace) -> int:
    scope = " ".join(options.scope)
    risk = f"let {scope} take all orders again?"
    return _change(options, risk, lambda engine: engine.resume(scope, options.reason), f"{scope} is active again")


def _rearm(options: argparse.Namespace) -> int:
    scope = " ".join(options.scope)
    return _change(
        options,
        f"grant {options.limit} for {scope} another {options.room} from where the P&L stands?",
        lambda engine: engine.rearm(options.limit, scope, options.room, options.reason),
        f"{options.limit} for {scope} has {options.room} of room",
    )


def _settle(options: argparse.Namespace) -> int:
    stands = "works at the venue" if options.working else "was never sent: nothing of it is counted any more"
    return _change_order(
        options,
        stands,
        lambda engine, account: engine.settle(account, options.order, working=options.working, reason=options.reason),
    )


def _settle_modify(options: argparse.Namespace) -> int:
    stands = "goes by the new terms of its modify" if options.replaced else "keeps its old terms: no modify is left"
    return _change_order(
        options,
        stands,
        lambda engine, account: engine.settle_modify(
            account, options.order, replaced=options.replaced, reason=options.reason
        ),
    )


def _close_order(options: argparse.Namespace) -> int:
    return _change_order(
        options,
        "has nothing left at the venue: nothing of it is counted any more",
        lambda engine, account: engine.close_order(account, options.order, reason=options.reason),
    )


def _set_limit(options: argparse.Namespace) -> int:
    limits = operator_limits.by_limit(options.limit, options.values)
    if sum(map(len, limits.values())) < len(options.values):
        _parser().error("limits set: a number is named twice")
    with _connected(options) as engine:
        more = [told for limit, values in limits.items() for told in operator_limits.loosened(engine, limit, values)]
    if not _is_agreed(options, f"{'; '.join(more)}. Sure?" if more else ""):
        return _SAID_NO
    with _acting(options) as engine:
        lasts_s = None if options.lasts_ns is None else options.lasts_ns / 1e9
        overrides = engine.set_limits(limits, reason=options.reason, lasts_s=lasts_s, until=options.until)
        return _changed(options, engine, operator_limits.told_set(overrides))


def _clear_limit(options: argparse.Namespace) -> int:
    with _connected(options) as engine:
        set_now = [
            each for each in engine.limit_overrides() if each.limit == options.limit and options.key in (None, each.key)
        ]
    back = ", ".join(f"{each.key} {each.base or 'nothing'} (was {each.in_force})" for each in set_now)
    risk = f"{options.limit} is as configured again: {back}. Sure?" if set_now else ""
    return _change(
        options,
        risk,
        lambda engine: engine.clear_limit(options.limit, options.key, reason=options.reason),
        f"{options.limit} is as configured again: {back}",
    )


def _reload(options: argparse.Namespace) -> int:
    with _acting(options) as engine:
        told = engine.reload(reason=options.reason)
        seq = _status_of(engine).seq
    if options.json:
        _put({"seq": seq, "actor": options.name, "reason": options.reason} | _plain(told))
        return 0
    print(f"reloaded (by {options.name}: {printable(options.reason)})")
    for line in told.changes or ("nothing is different",):
        print(f"  {printable(line)}")
    for line in told.waiting:
        print(f"  waits: {printable(line)}")
    for line in told.disagreements:
        print(f"  disagrees: {printable(line)}")
    return 0


def _shutdown(options: argparse.Namespace) -> int:
    with _connected(options) as engine:
        status = _status_of(engine)
    risk = (
        f"nobody gets a new order through until it is started again; {status.open_orders} open orders stay counted. "
        f"Where systemd holds the socket, the next client starts it. End the daemon at {options.endpoint}?"
    )
    if not _is_agreed(options, risk):
        return _SAID_NO
    with _acting(options) as engine:
        engine.shut_down(options.reason)
    told = f"the daemon at {options.endpoint} ends"
    if options.json:
        _put({"seq": status.seq, "done": told, "pid": status.pid, "actor": options.name, "reason": options.reason})
    else:
        print(f"{told} (by {options.name}: {printable(options.reason)})")
    return 0


def _accept_history(options: argparse.Namespace) -> int:
    return _change(
        options,
        "entries that a client has seen are missing for good. Have the open orders been compared with the venue?",
        lambda engine: engine.accept_history(reason=options.reason),
        "history is accepted; new orders are taken",
    )


def _change(options: argparse.Namespace, risk: str, change: Callable[[pit.Engine], object], told: str) -> int:
    if not _is_agreed(options, risk):
        return _SAID_NO
    with _acting(options) as engine:
        change(engine)
        return _changed(options, engine, told)


def _change_order(options: argparse.Namespace, said: str, change: Callable[[pit.Engine, str], pit.OrderState]) -> int:
    with _acting(options) as engine:
        account = _account(engine, options)
        if not _is_agreed(options, f"order {options.order} of account {account} {said}. Sure?"):
            return _SAID_NO
        state = change(engine, account)
        return _changed(options, engine, f"order {options.order} of account {account} is {state}")


def _changed(options: argparse.Namespace, engine: pit.Engine, told: str) -> int:
    if options.json:
        seq = _status_of(engine).seq
        _put({"seq": seq, "done": told, "actor": options.name, "reason": options.reason})
    else:
        print(f"{told} (by {options.name}: {printable(options.reason)})")
    return 0


def _is_agreed(options: argparse.Namespace, risk: str) -> bool:
    if options.yes or not risk:
        return True
    print(f"{printable(risk)} [y/N] ", end="", file=sys.stderr, flush=True)
    try:
        agreed = input().strip().lower() in ("y", "yes")
    except EOFError:
        print(file=sys.stderr)
        agreed = False
    if not agreed:
        print("nothing was changed (--yes does not ask)", file=sys.stderr)
    return agreed


# ---------------------------------------------------------------------------------------------- within


def _connect(name: str, endpoint: str, timeout_s: float, read_only: bool) -> pit.Engine:
    return pit.connect(name, endpoint, timeout_s=timeout_s, read_only=read_only)


def _connected(options: argparse.Namespace) -> pit.Engine:
    """An engine to ask: it opens no session, so that any number of operators may look under one name."""
    engine = options.connect(options.name, options.endpoint, options.timeout, True)
    assert isinstance(engine, pit.Engine)
    return engine


def _acting(options: argparse.Namespace) -> pit.Engine:
    """An engine to change something by: a session, as short as the change."""
    engine = options.connect(options.name, options.endpoint, options.timeout, False)
    assert isinstance(engine, pit.Engine)
    return engine


def _status_of(engine: pit.Engine) -> wire.StatusIs:
    return _expect(engine, wire.AskStatus(), wire.StatusIs)


def _expect(engine: pit.Engine, query: wire.Query, wanted: type[R]) -> R:
    reply = engine.ask(query)
    if not isinstance(reply, wanted):
        raise pit.ProtocolError(f"{wanted.__name__} was expected, not {type(reply).__name__}")
    return reply


def _plain(value: msgspec.Struct) -> dict[str, Any]:
    told: dict[str, Any] = objects.plain(value)
    told.pop("kind", None)
    return told


def _put(value: Any) -> None:
    print(msgspec.json.encode(value).decode())


def _complain(why: str, code: int) -> int:
    print(f"pitctl: {printable(why)}", file=sys.stderr)
    return code


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(_USAGE, f"{self.prog}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="pitctl",
        description="Looks into a running pitd, and lets a person act: halt, reduce, block, rearm, settle. What is "
        "changed is journaled with who did it (--name) and why (--reason). All but ping, isready and status needs the "
        'role "operate": [clients.NAME] roles = ["operate"].',
        epilog="exit codes: 0 done (isready: takes new orders), 1 it said no (isready: refuses new orders), "
        "2 no answer, 64 usage, 77 not allowed",
    )
    parser.add_argument("--version", action="version", version=f"pitctl {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(
        name: str, run: Callable[[argparse.Namespace], int], help: str, among: Any = None
    ) -> argparse.ArgumentParser:
        one: argparse.ArgumentParser = (among or commands).add_parser(
            name, help=help, description=help[0].upper() + help[1:] + "."
        )
        again: dict[str, Any] = (
            {} if among is None else {"default": argparse.SUPPRESS}
        )  # else what stood before is lost
        one.add_argument(
            "--endpoint",
            metavar="URL",
            help="where the daemon is (default: $PITD_ENDPOINT, else its usual place)",
            **again,
        )
        one.add_argument(
            "--timeout",
            type=_seconds,
            metavar="S",
            help="seconds to wait for an answer (default: 2)",
            **({"default": 2.0} | again),
        )
        one.add_argument(
            "--name",
            metavar="NAME",
            help=f"the client to act as (default: {own_name()})",
            **({"default": own_name()} | again),
        )
        one.add_argument("--json", action="store_true", help="as JSON; decimals are text", **again)
        one.set_defaults(run=run)
        return one

    add("ping", _ping, "say whether a daemon answers")
    one = add("isready", _isready, "say by the exit code whether new orders are taken: 0 yes, 1 no, 2 no answer")
    one.add_argument("--quiet", action="store_true", help="say nothing")
    add("status", _status, "show how the daemon is: what it does, its journal, orders by state, quarantined ones")
    add("calendar", _calendar, "show which day it is, which markets are open, and when that changes")
    add("sessions", _sessions, "show every session: in flight, unsettled, and how its client's death would be noticed")
    add("accounts", _accounts, "show every account: realised P&L against its bounds, open orders, blocks")

    for name, show, told, columns in (
        (
            "positions",
            _positions,
            "show what accounts hold, what it cost and what it made; or compare it with a file",
            "account, instrument, quantity, and cost or average_price",
        ),
        (
            "balances",
            _balances,
            "show what accounts have of each asset and what open orders hold of it; or compare it with a file",
            "account, asset, total",
        ),
    ):
        books = add(name, show, told)
        books.add_argument("--account", metavar="A", help="of this account")
        acts = books.add_subparsers(metavar="ACT", title="acts")
        one = add("import", _import_books, f"put a file's word in the place of the {name} of its accounts", acts)
        _add_books(one, name, columns)
        one.add_argument("--id", metavar="ID", help="the same id again changes nothing (default: a new one each time)")
        _add_change(one)
        one = add("reconcile", _reconcile_books, f"compare {name} with a file: exit code 1 where they differ", acts)
        _add_books(one, name, columns)
        one.add_argument("--apply", action="store_true", help="put the file's word in the place of what differs")
        one.add_argument("--reason", type=_reason, metavar="TEXT", help="with --apply: why: it is journaled")
        one.add_argument("--yes", action="store_true", help="don't ask")
        one.set_defaults(id=None)

    one = add("orders", _orders, "show everybody's orders")
    which = one.add_mutually_exclusive_group()
    for each, told in (
        (wire.Which.OPEN, "held, sent, quarantined or working (the default)"),
        (wire.Which.ABANDONED, "open, and their client has no session now"),
        (wire.Which.LEASED, "held or sent, under a lease"),
        (wire.Which.QUARANTINED, "perhaps at the venue: counted until a report or a person settles them"),
        (wire.Which.CLOSED, "closed lately"),
    ):
        which.add_argument(f"--{each}", action="store_const", dest="which", const=each, help=told)
    which.add_argument(
        "--stale",
        nargs="?",
        type=_span,
        const=_STALE_NS,
        metavar="AGE",
        help="sent, quarantined or working, and nothing heard of them for so long, e.g. 90s, 10m, 2h (10m if not said)",
    )
    one.set_defaults(which=wire.Which.OPEN)
    one.add_argument("--account", metavar="A", help="of this account")
    one.add_argument("--client", metavar="C", help="of this client")
    one.add_argument("--order", metavar="ID", help="of this id")

    limits = add("limits", _limits, "show every limit with what it has counted; or set and clear numbers of one")
    limits.add_argument("--overrides", action="store_true", help="only the numbers that persons have set")
    acts = limits.add_subparsers(metavar="ACT", title="acts")
    one = add("set", _set_limit, "put numbers of a limit in the place of the configured ones", acts)
    one.add_argument("limit", metavar="LIMIT")
    one.add_argument(
        "values",
        nargs="+",
        type=operator_limits.value,
        metavar="KEY=VALUE",
        help="such as max_orders=5, or OTHER.max_orders=5",
    )
    ends = one.add_mutually_exclusive_group()
    ends.add_argument("--for", dest="lasts_ns", type=_span, metavar="AGE", help="for so long, such as 90s, 10m or 2h")
    ends.add_argument("--until", type=operator_limits.until, metavar="MOMENT", help="such as 18:00 (default: cleared)")
    _add_change(one)
    one = add("clear", _clear_limit, "let the configured numbers of a limit hold again", acts)
    one.add_argument("limit", metavar="LIMIT")
    one.add_argument("key", nargs="?", metavar="KEY", help="only this number")
    _add_change(one)
    one = add("adjust", _adjust, "say what an account has, holds or has made: all of it, or nothing")
    one.add_argument("account", metavar="ACCOUNT")
    one.add_argument(
        "parts",
        nargs="+",
        type=operator_books.part,
        metavar="PART",
        help="USD=5000, or USD+=-20.5 to move it; position:AAPL/USD=100@184.50 (@ the average price); pnl:USD=-60",
    )
    one.add_argument("--id", metavar="ID", help="the same id again changes nothing (default: a new one each time)")
    _add_change(one)
    one = add("reload", _reload, "have the daemon read its configuration again: all of it comes into force, or nothing")
    one.add_argument("--reason", required=True, type=_reason, metavar="TEXT", help="why: it is journaled")
    one = add("top", _top, "show it all on a live screen: q leaves, h halts the firm or a part of it")
    one.add_argument("--every", type=_seconds, default=1.0, metavar="S", help="seconds between looks (default: 1)")
    one.add_argument("--once", action="store_true", help="look once, and print it")
    one = add("monitor", _monitor, "show what is decided and done, as it happens, until Ctrl-C")
    one.add_argument("--account", metavar="A", help="of this account")
    one.add_argument("--client", metavar="C", help="of this client's orders, or sent by it")
    one.add_argument(
        "--code", type=_code, metavar="CODE", help="with this code: OrderQtyExceedsLimit, LeaseExpired ..."
    )
    one.add_argument("--rejects", action="store_true", help="refused orders only")
    one.add_argument(
        "--since", type=_whole, metavar="ROW", help="begin after this row of the journal (0: all that is kept)"
    )
    one.add_argument("--most", type=_whole, metavar="N", help="leave after so many")
    one = add("exporter", _exporter, "serve metrics to Prometheus until SIGTERM: a process of its own, that only asks")
    one.add_argument(
        "--listen",
        type=_host_and_port,
        default=("127.0.0.1", 9464),
        metavar="HOST:PORT",
        help="where (default: 127.0.0.1:9464)",
    )
    add("cancels", _cancels, "show the orders that are to be cancelled and have not ended: who was told, since when")
    add("blocks", _blocks, "show every scope that is blocked or halted, by whom, and why")

    for name, run, told in (
        ("outcome", _outcome, "tell what became of an order, as far as the journal goes back"),
        ("why", _why, "tell how an order was decided: each limit's numbers"),
    ):
        _add_order(add(name, run, told))

    one = add("explain", _explain, "tell what each limit would say to an order, and the largest that passes")
    operator_explain.add_arguments(one)

    one = add("block", _block, 'stop "account NAME", "client NAME", "group NAME" or "firm"')
    _add_scope(one)
    _add_change(one)
    _add_keep(one)
    one = add("unblock", _unblock, "lift an operator's block, or what a repeated_execution limit has stopped")
    _add_scope(one)
    _add_change(one)
    one = add("halt", _halt, 'stop trading of "account NAME", "group NAME", "instrument NAME" or "firm"')
    _add_scope(one, "account NAME, group NAME, instrument NAME (a symbol, or AAPL/USD) or firm")
    _add_change(one)
    _add_keep(one)
    one = add("cancel-all", _cancel_all, "ask for the cancel of every open order of a scope, and stop nothing")
    _add_scope(one, "account NAME, group NAME, client NAME, instrument NAME or firm")
    _add_change(one)
    one = add("reduce", _reduce, "let such a scope take only orders that reduce a position (a halted one too)")
    _add_scope(one, "account NAME, group NAME, instrument NAME (a symbol, or AAPL/USD) or firm")
    _add_change(one)
    one = add("resume", _resume, "let that very scope take all orders again, after halt or reduce")
    _add_scope(one, "account NAME, group NAME, instrument NAME or firm")
    _add_change(one)
    one = add("rearm", _rearm, "grant a tripped P&L limit new room from where the P&L stands")
    one.add_argument("limit", metavar="LIMIT")
    _add_scope(one)
    one.add_argument("--room", required=True, metavar="AMOUNT", help="in the limit's settlement asset")
    _add_change(one)
    one = add("settle", _settle, "say what is true of an open order: it works at the venue, or was never sent")
    _add_order(one)
    stands = one.add_mutually_exclusive_group(required=True)
    stands.add_argument("--working", action="store_const", dest="working", const=True, help="it works at the venue")
    stands.add_argument("--not-sent", action="store_const", dest="working", const=False, help="it was never sent")
    _add_change(one)
    one = add("settle-modify", _settle_modify, "say what became of a modify that the venue has not answered")
    _add_order(one)
    stands = one.add_mutually_exclusive_group(required=True)
    stands.add_argument("--replaced", action="store_const", dest="replaced", const=True, help="the new terms hold")
    stands.add_argument("--refused", action="store_const", dest="replaced", const=False, help="the old terms hold")
    _add_change(one)
    one = add("close-order", _close_order, "say that nothing of an open order is left at the venue")
    _add_order(one)
    _add_change(one)
    one = add("shutdown", _shutdown, "end the daemon tidily: the batch in hand, a last snapshot, exit code 0")
    _add_change(one)
    one = add("accept-history", _accept_history, "let trading go on although the end of the journal is missing")
    _add_change(one)
    one = add("report", _report_day, "tell what a day came to, from the journal's files, also without a daemon")
    one.add_argument("what", choices=("day",), help="orders, rejects by code, fills and P&L of each account; changes")
    one.add_argument("directory", nargs="?", metavar="DIR", help="the journal's directory (default: the daemon's own)")
    one.add_argument("--date", type=_date, metavar="YYYY-MM-DD", help="which day (default: today)")
    one.add_argument(
        "--zone", type=_zone, default="UTC", metavar="ZONE", help="where that day is, e.g. Europe/London (default: UTC)"
    )
    one.add_argument("--progress", action="store_true", help="tell how far it is, also where no terminal is")
    one.add_argument("--csv", action="store_true", help="as CSV: a line for each account and settlement asset")
    one.add_argument("--changes", action="store_true", help="with --csv: a line for each change instead")
    bench = commands.add_parser(
        "bench", help="measure what a check costs, beside the bare wire, in a daemon of its own"
    )
    bench_options.add_arguments(bench)
    bench.set_defaults(run=_bench)
    completion.add_parser(commands, parser)
    return parser


def _add_keep(one: argparse.ArgumentParser) -> None:
    one.add_argument("--keep-orders", action="store_true", help="leave open orders at the venue (default: cancel them)")


def _add_scope(parser: argparse.ArgumentParser, help: str = "account NAME, client NAME, group NAME or firm") -> None:
    parser.add_argument("scope", nargs="+", metavar="SCOPE", help=help)


def _add_order(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("order", metavar="ORDER", help="its id")
    parser.add_argument("--account", metavar="A", help="in this account (needed unless the id is open in one only)")


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
    parser.add_argument("--reason", required=True, type=_reason, metavar="TEXT", help="why: it is journaled")
    parser.add_argument("--yes", action="store_true", help="don't ask")


def _reason(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("say why, in a few words")
    return text


def _date(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a date such as 2026-03-31 is wanted, not {text!r}") from None


def _zone(text: str) -> ZoneInfo:
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise argparse.ArgumentTypeError(f"no time zone {text!r} is known here; e.g. UTC or Europe/London") from None


def _span(text: str) -> int:
    found = re.fullmatch(r"([1-9]\d{0,5})(s|m|h|d)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"an age with its unit is wanted, such as 90s, 10m or 2h, not {text!r}")
    return int(found[1]) * {"s": 1, "m": 60, "h": 3_600, "d": 86_400}[found[2]] * 1_000_000_000


def _host_and_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise argparse.ArgumentTypeError(f"HOST:PORT is wanted, as in 127.0.0.1:9464, not {text!r}")
    return host.strip("[]"), int(port)


def _code(text: str) -> str:
    known = [*map(str, RejectCode), *map(str, wire.FailureCode)]
    for each in known:
        if text.lower() == each.lower():
            return each
    near = difflib.get_close_matches(text, known, 3, 0.4)
    raise argparse.ArgumentTypeError(f"no code is named {text!r}; near to it: {', '.join(near) or ', '.join(known)}")


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"a whole number, 0 or above, is wanted, not {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds <= 3_600:
        raise argparse.ArgumentTypeError(f"seconds above zero, at most 3600, are wanted, not {text!r}")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
