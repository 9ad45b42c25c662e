"""The demo's processes: each is started with its part, watched, and ended by its own id, whatever happens."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

import msgspec
import zmq

import pit

from . import words

_LONGEST_FOLDER = 60
"""A socket's path has 107 bytes at the most."""


class Trouble(Exception):
    """The demo can't go on: a process of it failed, or something did not happen in time."""


class Terminated(BaseException):
    """SIGTERM asked the demo to end."""


class Child:
    """One process of the demo. Its standard input is its leash: it ends when that is closed."""

    def __init__(self, name: str, command: Sequence[str], folder: Path) -> None:
        self.name = name
        self.may_end = False
        self._log = folder / f"{name}.log"
        with self._log.open("ab") as log:
            # a process group of its own: Ctrl-C reaches the demo, which then ends its children in good order
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, process_group=0, text=True
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it is gone, which `check` says better

    def check(self) -> None:
        """Raises Trouble, with what it last said, when it has ended without being asked to."""
        code = self._process.poll()
        if code is None or (self.may_end and code == 0):
            return
        last = self.said().strip().splitlines()[-12:]
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        raise Trouble("\n".join([f"{self.name} {how} unexpectedly:", *(f"    {line}" for line in last)]))

    def kill(self) -> None:
        """SIGKILL, by its id: no goodbye, no tidying."""
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._close_stdin()

    def let_go(self) -> None:
        self._close_stdin()
        if self._process.poll() is None:
            self._process.terminate()

    def wait(self, deadline: float) -> None:
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _close_stdin(self) -> None:
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()


class Stage:
    """A temporary directory with a daemon and whoever speaks to it; all gone at the end."""

    def __init__(self) -> None:
        place = tempfile.gettempdir()
        place = place if len(place) <= _LONGEST_FOLDER else "/tmp"
        self._folder = tempfile.TemporaryDirectory(prefix="pitd-demo-", dir=place)
        self.folder = Path(self._folder.name)
        self.endpoint = f"ipc://{self.folder}/pitd.sock"
        self.venue_at = f"ipc://{self.folder}/venue.sock"
        self.news_at = f"ipc://{self.folder}/news.sock"
        self.children: list[Child] = []
        """The daemon first."""
        self._engines: list[pit.Engine] = []
        self._context = zmq.Context()
        self._news: zmq.Socket[bytes] = self._context.socket(zmq.PULL)
        self._news.setsockopt(zmq.RCVHWM, 0)
        self._news.bind(self.news_at)

    def start_daemon(self, tables: Mapping[str, Any]) -> Child:
        """A real `pitd run`, at this stage's own endpoint."""
        path = self.folder / "pitd.toml"
        own = {
            "daemon": {**tables.get("daemon", {}), "endpoint": self.endpoint},
            "journal": {**tables.get("journal", {}), "directory": str(self.folder / "journal")},
        }
        path.write_text(as_toml({**tables, **own}))
        return self._start("daemon", [sys.executable, "-m", "pitd.cli", "run", "--config", str(path)])

    def start(self, name: str, command: Sequence[str], part: Mapping[str, Any]) -> Child:
        """A process that reads its part from the first line of its standard input."""
        child = self._start(name, command)
        child.tell(json.dumps({**part, "name": name, "venue_at": self.venue_at, "news_at": self.news_at,
                               "endpoint": self.endpoint}))  # fmt: skip
        return child

    def _start(self, name: str, command: Sequence[str]) -> Child:
        child = Child(name, command, self.folder)
        self.children.append(child)
        return child

    def connect(self, name: str) -> pit.Engine:
        """A client's engine, once the daemon is up; closed with the stage."""
        deadline = time.monotonic() + 20
        while "daemon.ready" not in self.children[0].said():
            self.check()
            if time.monotonic() > deadline:
                raise Trouble("waited in vain until the daemon is ready")
            time.sleep(0.01)
        engine = pit.connect(name, self.endpoint, timeout_s=10.0)
        self._engines.append(engine)
        return engine

    def news(self, timeout_s: float) -> list[words.News]:
        """What has come in, waiting for something to come at most so long."""
        heard: list[words.News] = []
        if self._news.poll(max(0, int(timeout_s * 1e3))):
            while len(heard) < 500:
                try:
                    heard.append(words.decode_news(self._news.recv(zmq.NOBLOCK)))
                except zmq.Again:
                    break
        return heard

    def check(self) -> None:
        for child in self.children:
            child.check()

    def __enter__(self) -> Stage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            for engine in self._engines:
                engine.close()
            for child in reversed(self.children):
                child.let_go()
            deadline = time.monotonic() + 3
            for child in reversed(self.children):
                child.wait(deadline)
            self._news.close(linger=0)
            self._context.term()
            self._folder.cleanup()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Part:
    """A child's side: what it was told to be, a way to tell the demo things, and the leash it hangs on."""

    def __init__(self) -> None:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # at once: what it leaves is the daemon's to end
        self._heard = b""
        self.spec: dict[str, Any] = json.loads(self._line())
        self.name: str = self.spec["name"]
        self.context = zmq.Context()
        self._news: zmq.Socket[bytes] = self.context.socket(zmq.PUSH)
        self._news.setsockopt(zmq.SNDHWM, 0)
        self._news.setsockopt(zmq.LINGER, 3_000)
        self._news.connect(self.spec["news_at"])

    def tell(self, news: words.News) -> None:
        self._news.send(words.encode(news))

    def say(self, text: str) -> None:
        self.tell(words.Said(self.name, text))

    def told(self) -> str:
        """The next thing that the demo says."""
        return self._line()

    def wait_for(self, word: str) -> None:
        while self._line() != word:
            pass

    def hears(self, word: str) -> bool:
        """Whether the demo has said this since the last time it was asked."""
        is_there = b"\n" in self._heard or bool(select.select([0], [], [], 0)[0])
        return is_there and self._line() == word

    def close(self) -> None:
        self._news.close()
        self.context.term()

    def _line(self) -> str:
        while b"\n" not in self._heard:
            piece = os.read(0, 65536)
            if not piece:
                os._exit(0)  # the demo is gone
            self._heard += piece
        line, _, self._heard = self._heard.partition(b"\n")
        return line.decode()


def as_toml(tables: Mapping[str, Any]) -> str:
    """Configuration tables as TOML text."""
    return "".join(f"{_toml_key(name)} = {_toml_value(value)}\n" for name, value in tables.items())


def _toml_value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_toml_key(name)} = {_toml_value(each)}" for name, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    return msgspec.json.encode(value).decode()


def _toml_key(name: str) -> str:
    return msgspec.json.encode(name).decode()


def raise_on_sigterm() -> None:
    def end(*_: object) -> NoReturn:
        raise Terminated

    signal.signal(signal.SIGTERM, end)
