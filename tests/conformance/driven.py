"""An asyncio engine behind the blocking API, one run of its loop a call: the conformance suite's way to drive it."""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pit


class Driver:
    """An event loop that runs while somebody waits for something, and stands still in between."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._lock = threading.Lock()

    def run(self, waits: Coroutine[Any, Any, Any]) -> Any:
        with self._lock:
            return self.loop.run_until_complete(waits)

    def engine(self, connecting: Any) -> pit.Engine:
        async def connected() -> pit.AsyncEngine:
            return await connecting

        return DrivenEngine(self, self.run(connected()))

    def close(self) -> None:
        self.loop.close()


class _Driven:
    """Everything is the asyncio object's own; what it would wait for is waited for here."""

    def __init__(self, driver: Driver, inner: Any) -> None:
        object.__setattr__(self, "_driver", driver)
        object.__setattr__(self, "_inner", inner)

    def __getattribute__(self, name: str) -> Any:
        if name in ("__class__", "_drive", "_wrapped", "__enter__", "__exit__"):
            return object.__getattribute__(self, name)
        value = getattr(object.__getattribute__(self, "_inner"), name)
        if name == "__dict__":  # as a blocking handle would have it
            return {key: self._wrapped(each) for key, each in value.items()}
        return functools.partial(self._drive, value) if inspect.ismethod(value) else value

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(object.__getattribute__(self, "_inner"), name, value)

    def _drive(self, call: Callable[..., Any], *args: Any, **words: Any) -> Any:
        came = call(*args, **words)
        if inspect.iscoroutine(came):
            came = object.__getattribute__(self, "_driver").run(came)
        return self if came is object.__getattribute__(self, "_inner") else self._wrapped(came)

    def _wrapped(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._wrapped(each) for each in value]
        kind = {
            pit.AsyncEngine: DrivenEngine,
            pit.AsyncReservation: DrivenReservation,
            pit.AsyncDeferredRequest: DrivenRequest,
        }.get(type(value))
        return value if kind is None else kind(object.__getattribute__(self, "_driver"), value)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *how: Any) -> None:
        self._drive(object.__getattribute__(self, "_inner").__aexit__, *how)

    def __del__(self) -> None:
        """What is let go is told by the asyncio object that goes with it."""

    def __repr__(self) -> str:
        return repr(object.__getattribute__(self, "_inner"))


class DrivenEngine(_Driven, pit.Engine):
    pass


class DrivenRequest(_Driven, pit.DeferredRequest):
    pass


class DrivenReservation(_Driven, pit.Reservation):
    pass
