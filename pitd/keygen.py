"""Makes the keys that prove clients to the daemon over tcp, and the daemon to them: `pitd keygen`."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import zmq

from pit import keys
from pit.keys import Pair

from .errors import ConfigError, KeysFailed

_PUBLIC = """# The public key that goes with {secret}. Everybody may have it.
curve
    public-key = "{key}"
"""

_SECRET = """# A secret key. Who can read this file can pass for its owner: give it to nobody, and keep it 0600.
curve
    public-key = "{public}"
    secret-key = "{key}"
"""


def make(name: str) -> tuple[Path, Path]:
    """Writes NAME.key (secret, 0600) and NAME.pub, and says where. Raises KeysFailed when either is there already."""
    secret_file, public_file = Path(f"{name}.key"), Path(f"{name}.pub")
    for path in (secret_file, public_file):
        if path.exists() or path.is_symlink():
            raise KeysFailed(f"{path}: is there already and stays as it is; name another file, or move it away")
    public, secret = (each.decode() for each in zmq.curve_keypair())
    _write(secret_file, _SECRET.format(public=public, key=secret), 0o600)
    try:
        _write(public_file, _PUBLIC.format(secret=secret_file.name, key=public), 0o644)
    except KeysFailed:
        with contextlib.suppress(OSError):
            secret_file.unlink()
        raise
    return secret_file, public_file


def own_pair(key_file: str) -> Pair:
    """The daemon's own keys, from `[daemon] key_file`: a file, or a credential that systemd has handed over.

    Raises ConfigError when they are not there, or can be read by everybody.
    """
    path = Path(key_file)
    if "/" not in key_file:
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        if not folder:
            why = f"there is no credential {key_file!r}: systemd hands it over by LoadCredential={key_file}:FILE"
            raise ConfigError(f"daemon.key_file: {why}; a file is named by its absolute path")
        path = Path(folder, key_file)
    try:
        return keys.read_pair(path)
    except keys.BadKey as trouble:
        raise ConfigError(f"daemon.key_file: {trouble}") from trouble


def _write(path: Path, text: str, mode: int) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w", encoding="ascii") as file:
            os.fchmod(fd, mode)
            file.write(text)
            file.flush()
            os.fsync(fd)
    except OSError as trouble:
        raise KeysFailed(f"{path}: cannot be written: {trouble.strerror}") from trouble
