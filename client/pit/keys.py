"""CURVE keys in files: what proves a client over tcp, and the daemon to its clients.

A file is text with a line `public-key = "..."` and, where it is secret, a line `secret-key = "..."`, each of 40
characters (Z85): the form that czmq and pyzmq write. `pitd keygen` makes them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from .errors import InvalidInput
from .places import default_key_file, default_server_key

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


class Curve(NamedTuple):
    """What a client needs to speak to a daemon that asks for a key: its own pair, and the daemon's public key."""

    own: Pair
    server: str


def curve(endpoint: str, key_file: str | Path | None, server_key: str | Path | None) -> Curve | None:
    """The keys for an endpoint: as given, else by $PITD_KEY_FILE and $PITD_SERVER_KEY, over tcp. None for none.

    `server_key` is the key itself or the file that it is in. Raises InvalidInput for one without the other, for a file
    that is no key file, or for a secret that everybody can read.
    """
    is_told = key_file is not None or server_key is not None
    if not endpoint.startswith("tcp://"):
        if is_told:
            raise InvalidInput("key_file and server_key are for tcp; over ipc the kernel tells the daemon who connects")
        return None
    if not is_told:
        key_file, server_key = default_key_file(), default_server_key()
    if key_file is None and server_key is None:
        return None
    if key_file is None or server_key is None:
        missing = "key_file (this client's secret key)" if key_file is None else "server_key (the daemon's public key)"
        raise InvalidInput(f"the one is of no use without the other: {missing} is missing")
    try:
        pair = read_pair(key_file)
        is_file = not is_key(str(server_key)) or Path(server_key).exists()
        return Curve(pair, read_public(server_key) if is_file else str(server_key))
    except BadKey as trouble:
        raise InvalidInput(str(trouble)) from trouble


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
