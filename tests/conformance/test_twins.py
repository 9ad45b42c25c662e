"""The blocking and the asyncio API are twins: every name, parameter and word of the one is the other's."""

from __future__ import annotations

import inspect
import re

import pytest
from cases import table

import pit
import pitd.local

TWINS = [
    (pit.Engine, pit.AsyncEngine),
    (pit.DeferredRequest, pit.AsyncDeferredRequest),
    (pit.Reservation, pit.AsyncReservation),
]
AT_ONCE = {"reservation", "_reservation_or_no", "_tell_failures", "fileno", "ok", "lease_left_s"}
"""What waits for nobody in either."""
HANDED_ON = {"_command", "_ask", "_post"}
"""What gives the awaitable of another call: a coroutine around it would cost each command as much as its encoding."""


def said(text: str) -> str:
    """The words of the blocking one for the same."""
    text = re.sub(r"\bAsync(?=[A-Z])", "", text)
    text = re.sub(r"-> 'Awaitable\[(.*)\]'", r"-> '\1'", text)
    for there, here in (("__aenter", "__enter"), ("__aexit", "__exit"), ("An `", "A `"), ("an `", "a `")):
        text = text.replace(there, here)
    return text


@pytest.mark.parametrize(("one", "other"), TWINS)
def test_twins_have_the_same_names(one: type, other: type) -> None:
    assert {said(name) for name in vars(other)} == set(vars(one))


@table(
    ("one", "other", "name"),
    [
        (one, other, name)
        for one, other in TWINS
        for name, member in vars(one).items()
        if inspect.isfunction(member) and not name.startswith("__")
    ],
)
def test_a_call_takes_and_gives_the_same_in_both(one: type, other: type, name: str) -> None:
    here, there = getattr(one, name), getattr(other, name)
    assert str(inspect.signature(here)) == said(str(inspect.signature(there)))
    assert inspect.iscoroutinefunction(there) == (name not in AT_ONCE | HANDED_ON)
    assert here.__doc__ == (there.__doc__ and said(there.__doc__))


@pytest.mark.parametrize(
    ("here", "there"),
    [
        (pit.connect, pit.connect_async),
        (pitd.local.connect, pitd.local.connect_async),
        (pitd.local.LocalEngine.connect, pitd.local.LocalEngine.connect_async),
    ],
)
def test_connecting_takes_the_same_in_both(here: object, there: object) -> None:
    assert inspect.signature(here).parameters == inspect.signature(there).parameters  # type: ignore[arg-type]
