"""Commands of pitctl by which a person acts: stops and lets go on, settles orders, reloads, ends the daemon."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import pit

from ..journal_tools.words import printable
from .asking import account_of, acting, connected, status_of
from .codes import SAID_NO
from .output import changed, is_agreed, plain, put

_AND_CANCELS = ", and what is open of it is to be cancelled (pitctl cancels)"


def block(options: argparse.Namespace) -> int:
    scope = " ".join(options.scope)
    risk = "nobody at all may trade any more: block firm?" if scope == "firm" else ""
    return change(
        options,
        risk,
        lambda engine: engine.block(scope, options.reason, cancel=not options.keep_orders),
        f"{scope} is blocked{'' if options.keep_orders else _AND_CANCELS}",
    )


def unblock(options: argparse.Namespace) -> int:
    scope = " ".join(options.scope)
    if not is_agreed(options, f"let {scope} trade again?"):
        return SAID_NO
    with acting(options) as engine:
        engine.unblock(scope, options.reason)
        still = ", ".join(block.limit for block in engine.blocks() if block.scope == scope)
        told = (
            f"{scope} may trade" if not still else f"the operator's block of {scope} is lifted; {still} still stops it"
        )
        return changed(options, engine, told)


def halt(options: argparse.Namespace) -> int:
    scope = " ".join(options.scope)
    risk = "trading stops everywhere: halt firm?" if scope == "firm" else ""
    cancel = not options.keep_orders
    told = f"{scope} is halted{_AND_CANCELS if cancel else ''}"
    return change(options, risk, lambda engine: engine.halt(scope, options.reason, cancel=cancel), told)


def cancel_all(options: argparse.Namespace) -> int:
    scope = " ".join(options.scope)
    risk = "every open order of everybody is to be cancelled: cancel-all firm?" if scope == "firm" else ""
    told = f"what is open of {scope} is to be cancelled (pitctl cancels); it may go on trading"
    return change(options, risk, lambda engine: engine.cancel_all(scope, options.reason), told)


def reduce(options: argparse.Namespace) -> int:
    scope = " ".join(options.scope)
    risk = "only what reduces a position is taken, everywhere: reduce firm?" if scope == "firm" else ""
    told = f"{scope} takes only orders that reduce a position"
    return change(options, risk, lambda engine: engine.reduce(scope, options.reason), told)


def resume(options: argparse.Namespace) -> int:
    scope = " ".join(options.scope)
    risk = f"let {scope} take all orders again?"
    return change(options, risk, lambda engine: engine.resume(scope, options.reason), f"{scope} is active again")


def rearm(options: argparse.Namespace) -> int:
    scope = " ".join(options.scope)
    return change(
        options,
        f"grant {options.limit} for {scope} another {options.room} from where the P&L stands?",
        lambda engine: engine.rearm(options.limit, scope, options.room, options.reason),
        f"{options.limit} for {scope} has {options.room} of room",
    )


def settle(options: argparse.Namespace) -> int:
    stands = "works at the venue" if options.working else "was never sent: nothing of it is counted any more"
    return _change_order(
        options,
        stands,
        lambda engine, account: engine.settle(account, options.order, working=options.working, reason=options.reason),
    )


def settle_modify(options: argparse.Namespace) -> int:
    stands = "goes by the new terms of its modify" if options.replaced else "keeps its old terms: no modify is left"
    return _change_order(
        options,
        stands,
        lambda engine, account: engine.settle_modify(
            account, options.order, replaced=options.replaced, reason=options.reason
        ),
    )


def close_order(options: argparse.Namespace) -> int:
    return _change_order(
        options,
        "has nothing left at the venue: nothing of it is counted any more",
        lambda engine, account: engine.close_order(account, options.order, reason=options.reason),
    )


def reload(options: argparse.Namespace) -> int:
    if not options.yes:
        with connected(options) as engine:
            past = engine.reload_dry_run().past
        if not is_agreed(options, f"{'; '.join(past)}. Reload?" if past else ""):
            return SAID_NO
    with acting(options) as engine:
        told = engine.reload(reason=options.reason)
        seq = status_of(engine).seq
    if options.json:
        put({"seq": seq, "actor": options.name, "reason": options.reason} | plain(told))
        return 0
    print(f"reloaded (by {options.name}: {printable(options.reason)})")
    for line in told.changes or ("nothing is different",):
        print(f"  {printable(line)}")
    for line in told.waiting:
        print(f"  waits: {printable(line)}")
    for line in told.disagreements:
        print(f"  disagrees: {printable(line)}")
    for line in told.past:
        print(f"  trips: {printable(line)}")
    return 0


def shutdown(options: argparse.Namespace) -> int:
    with connected(options) as engine:
        status = status_of(engine)
    risk = (
        f"nobody gets a new order through until it is started again; {status.open_orders} open orders stay counted. "
        f"Where systemd holds the socket, the next client starts it. End the daemon at {options.endpoint}?"
    )
    if not is_agreed(options, risk):
        return SAID_NO
    with acting(options) as engine:
        engine.shut_down(options.reason)
    told = f"the daemon at {options.endpoint} ends"
    if options.json:
        put({"seq": status.seq, "done": told, "pid": status.pid, "actor": options.name, "reason": options.reason})
    else:
        print(f"{told} (by {options.name}: {printable(options.reason)})")
    return 0


def accept_history(options: argparse.Namespace) -> int:
    return change(
        options,
        "entries that a client has seen are missing for good. Have the open orders been compared with the venue?",
        lambda engine: engine.accept_history(reason=options.reason),
        "history is accepted; new orders are taken",
    )


def change(options: argparse.Namespace, risk: str, change: Callable[[pit.Engine], object], told: str) -> int:
    if not is_agreed(options, risk):
        return SAID_NO
    with acting(options) as engine:
        change(engine)
        return changed(options, engine, told)


def _change_order(options: argparse.Namespace, said: str, change: Callable[[pit.Engine, str], pit.OrderState]) -> int:
    with acting(options) as engine:
        account = account_of(engine, options, is_open=True)
        if not is_agreed(options, f"order {options.order} of account {account} {said}. Sure?"):
            return SAID_NO
        state = change(engine, account)
        return changed(options, engine, f"order {options.order} of account {account} is {state}")
