"""Which files make a configuration, how they become one, and where each of its keys was written."""

from __future__ import annotations

import errno
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .errors import ConfigError
from .toml_lines import lines_of

DROP_INS = ".d"
"""What the name of the directory adds to the file's: /etc/pitd/pitd.toml.d."""

SUFFIX = ".toml"


_LARGEST_BYTES = 4 << 20


class Places:
    """Where each key was written: "desk.toml:12". A key that is missing is looked for where its table is."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._of: dict[str, list[str]] = {}

    def note(self, file: str, lines: Mapping[tuple[str, ...], int]) -> None:
        """Takes in the keys of one more file."""
        for path, line in lines.items():
            self._of.setdefault(".".join(path), []).append(f"{file}:{line}")

    def of(self, key: str) -> str:
        """Where a key was written last: what stands there holds."""
        return self.every(key)[-1]

    def every(self, key: str) -> list[str]:
        """Every place where a key, or something of a table, was written; of each file one."""
        while key:
            if key in self._of:
                return self._of[key]
            key = key.rpartition(".")[0]
        return [self._source]


class Written(NamedTuple):
    """A configuration as it was written: its tables, from which files, and where each key stands."""

    source: str
    tables: dict[str, Any]
    places: Places
    passed_over: tuple[str, ...] = ()
    """Files among the drop-ins that were not read, because of their names."""


def read(path: str | Path, *, is_serving: bool = False) -> Written:
    """A file and its drop-ins, `FILE.d/*.toml` in the order of their names: of a key that stands in several the last
    one holds. Raises ConfigError, also for what a daemon that serves could wait at for ever: a pipe, a device.
    """
    drop_ins, passed_over = _drop_ins(Path(path))
    source = str(path) + "".join(f" + {each.parent.name}/{each.name}" for each in drop_ins)
    written = Written(source, {}, Places(str(path)), tuple(map(str, passed_over)))
    for each in (Path(path), *drop_ins):
        _take_in(written, _text(each, may_wait=not is_serving and each not in drop_ins), str(each))
    return written


def read_text(text: str, source: str) -> Written:
    """The same from text."""
    written = Written(source, {}, Places(source))
    _take_in(written, text, source)
    return written


def _drop_ins(path: Path) -> tuple[list[Path], list[Path]]:
    directory = path.with_name(path.name + DROP_INS)
    try:
        found = sorted(directory.iterdir(), key=lambda each: each.name) if directory.is_dir() else []
    except OSError as trouble:
        raise ConfigError(f"{directory}: cannot be read: {trouble.strerror}") from trouble
    mine = [each for each in found if each.name.endswith(SUFFIX) and not each.name.startswith(".")]
    return mine, [each for each in found if each not in mine]


def _text(path: Path, *, may_wait: bool) -> str:
    try:
        read = _bytes(path, may_wait=may_wait)
        if len(read) > _LARGEST_BYTES:
            raise ConfigError(f"{path}: is larger than {_LARGEST_BYTES >> 20} MiB; that is no configuration")
        return read.decode("utf-8").removeprefix("\ufeff")  # some editors begin a file with that mark
    except OSError as trouble:
        raise ConfigError(f"{path}: cannot be read: {trouble.strerror}") from trouble
    except UnicodeDecodeError as trouble:
        raise ConfigError(f"{path}: is not UTF-8 text: {trouble}") from trouble


def _bytes(path: Path, *, may_wait: bool) -> bytes:
    """What a file holds, as far as a configuration can reach, and one byte more. Raises OSError and ConfigError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | (0 if may_wait else os.O_NONBLOCK))
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not (may_wait or stat.S_ISREG(mode) or path.resolve() == Path(os.devnull)):
            raise ConfigError(f"{path}: is no plain file, and nobody can wait for what it may say")
        read = b""
        while len(read) <= _LARGEST_BYTES and (more := os.read(fd, 1 << 20)):
            read += more
        return read[: _LARGEST_BYTES + 1]
    finally:
        os.close(fd)


def _take_in(written: Written, text: str, file: str) -> None:
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as trouble:
        raise ConfigError(_not_toml(text, file, trouble)) from trouble
    own = Places(file)
    own.note(file, lines_of(text))
    _no_second_limit(written, tables, own)
    _merge(written.tables, tables)
    written.places.note(file, lines_of(text))


def _no_second_limit(written: Written, tables: Mapping[str, Any], own: Places) -> None:
    """A drop-in may change keys of a limit. One that brings a whole limit of the same name means another one: then
    neither may silently take the other's place.
    """
    before, now = written.tables.get("limits"), tables.get("limits")
    if not isinstance(before, dict) or not isinstance(now, dict):
        return
    for name, limit in now.items():
        had = before.get(name)
        if isinstance(limit, dict) and "control" in limit and isinstance(had, dict) and "control" in had:
            key = f"limits.{name}.control"
            raise ConfigError(
                f"{own.of(key)}: {key}: limit {name} is defined at {written.places.of(key)} already; give this one "
                "another name, or leave control out and write the keys that change"
            )


def _merge(into: dict[str, Any], tables: Mapping[str, Any]) -> None:
    """Key by key: a table into a table, anything else in the place of what was there."""
    for name, value in tables.items():
        here = into.get(name)
        if isinstance(here, dict) and isinstance(value, dict):
            _merge(here, value)
        else:
            into[name] = value


def _not_toml(text: str, file: str, trouble: tomllib.TOMLDecodeError) -> str:
    lines = text.rstrip().splitlines()
    found = re.search(r" \(at line (\d+), column \d+\)$", str(trouble))
    line = int(found[1]) if found is not None else len(lines)
    told = f": {lines[line - 1].strip()[:120]}" if 0 < line <= len(lines) else ""
    return f"{file}:{line}: is not TOML: {trouble}{told}"
