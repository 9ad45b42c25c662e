"""On which line of a TOML text does each key stand?"""

from __future__ import annotations

import re
import tomllib

Path = tuple[str, ...]

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_STRINGS = (
    re.compile(r'"""(?:\\.|[^\\])*?"{3,5}', re.DOTALL),
    re.compile(r"'''.*?'{3,5}", re.DOTALL),
    re.compile(r'"(?:\\.|[^"\\])*"'),
    re.compile(r"'[^']*'"),
)
_SPACE = re.compile(r"[ \t]*")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SCALAR = re.compile(r"[^,\]}\n#]*")


def lines_of(text: str) -> dict[Path, int]:
    """The line of every table and key, by its path, in a text that tomllib has read: it is not checked again.

    A table that is only implied (`a` in `[a.b]`) has the line where it is implied first. What stands within an array
    has none of its own.
    """
    return _Walk(text).lines()


class _Walk:
    """Goes through a text once, from key to key."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line, self._counted_to = 1, 0
        self._lines: dict[Path, int] = {}

    def lines(self) -> dict[Path, int]:
        table: Path = ()
        while True:
            self._skip(_BLANK)
            if self._at == len(self._text):
                return self._lines
            opening = 2 if self._text.startswith("[[", self._at) else 1 if self._next() == "[" else 0
            if not opening:
                self._pair(table)
                continue
            line = self._line_here()
            self._at += opening
            table = self._key()
            self._skip(_SPACE)
            self._at += opening
            self._note((), table, line)

    def _pair(self, table: Path | None) -> None:
        line, key = self._line_here(), self._key()
        self._skip(_SPACE)
        self._at += 1  # the =
        if table is not None:
            self._note(table, key, line)
        self._value(None if table is None else table + key)

    def _key(self) -> Path:
        parts = []
        while True:
            self._skip(_SPACE)
            if self._next() in "\"'":
                parts.append(tomllib.loads(f"x = {self._string()}")["x"])
            else:
                parts.append(self._skip(_BARE))
            self._skip(_SPACE)
            if self._next() != ".":
                return tuple(parts)
            self._at += 1

    def _value(self, path: Path | None) -> None:
        self._skip(_SPACE)
        match self._next():
            case '"' | "'":
                self._string()
            case "[":
                self._members("]", _BLANK, lambda: self._value(None))
            case "{":
                self._members("}", _SPACE, lambda: self._pair(path))
            case _:
                self._skip(_SCALAR)

    def _members(self, end: str, between: re.Pattern[str], member: object) -> None:
        assert callable(member)
        self._at += 1
        while True:
            self._skip(between)
            if self._next() == end:
                self._at += 1
                return
            member()
            self._skip(between)
            if self._next() == ",":
                self._at += 1

    def _string(self) -> str:
        for kind in _STRINGS:
            if kind.match(self._text, self._at):
                return self._skip(kind)
        raise AssertionError(f"no string at {self._at}: was this text read by tomllib?")

    def _note(self, table: Path, key: Path, line: int) -> None:
        for length in range(1, len(key)):
            self._lines.setdefault(table + key[:length], line)
        self._lines[table + key] = line

    def _line_here(self) -> int:
        self._line += self._text.count("\n", self._counted_to, self._at)
        self._counted_to = self._at
        return self._line

    def _next(self) -> str:
        return self._text[self._at : self._at + 1]

    def _skip(self, what: re.Pattern[str]) -> str:
        found = what.match(self._text, self._at)
        assert found is not None, f"not TOML at {self._at}"
        self._at = found.end()
        return found[0]
