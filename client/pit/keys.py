"""CURVE keys in files: what proves a client over tcp, and the daemon to its clients.

A file is text with a line `public-key = "..."` and, where it is secret, a line `secret-key = "..."`, each of 40
characters (Z85): the form that czmq and pyzmq write. `pitd keygen` makes them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

_LINE = re.compile(r"""^\s*(public|secret)-key\s*=\s*(["'])(.*)\2\s*$""", re.MULTILINE)

_KEY = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")


class BadKey(ValueError):
    """A file that is no key file, or can't be read."""


class Pair(NamedTuple):
    """A key and the secret that goes with it. Never printed whole."""

    public: str
    secret: str

    def __repr__(self) -> str:
        return f"<key {self.public}>"


def is_key(text: str) -> bool:
    """Whether this is a key in Z85."""
    return _KEY.fullmatch(text) is not None


def read_public(path: str | Path) -> str:
    """The public key of a file, of either kind. Raises BadKey."""
    return _read(path)["public"]


def read_pair(path: str | Path) -> Pair:
    """Both keys of a secret file. Raises BadKey, also when everybody may read it."""
    found = _read(path)
    if "secret" not in found:
        raise BadKey(f"{path}: it has a public key alone; name the secret file that was made with it")
    try:
        mode = Path(path).stat().st_mode
    except OSError as trouble:
        raise BadKey(f"{path}: cannot be read: {trouble.strerror}") from trouble
    if mode & 0o007:
        raise BadKey(f"{path}: everybody can read it, so it is no secret: chmod 600, and make a new one (pitd keygen)")
    return Pair(found["public"], found["secret"])


def _read(path: str | Path) -> dict[str, str]:
    try:
        with Path(path).open(encoding="utf-8") as file:
            text = file.read(10_000)
    except OSError as trouble:
        raise BadKey(f"{path}: cannot be read: {trouble.strerror}") from trouble
    except UnicodeDecodeError:
        raise BadKey(f"{path}: is no key file; `pitd keygen` makes one") from None
    found = {kind: key for kind, _, key in _LINE.findall(text)}
    if "public" not in found or not all(is_key(key) for key in found.values()):
        raise BadKey(f'{path}: a line `public-key = "..."` with 40 characters is wanted; `pitd keygen` writes one')
    return found
