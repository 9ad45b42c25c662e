"""Where a daemon is found when nobody says, and by which keys: the same answer on both sides."""

from __future__ import annotations

import os
from pathlib import Path


def default_endpoint() -> str:
    """$PITD_ENDPOINT, else the user's own runtime directory when a daemon could be there, else /run/pitd."""
    named = os.environ.get("PITD_ENDPOINT")
    if named:
        return named
    own = os.environ.get("XDG_RUNTIME_DIR")
    if own and os.getuid() != 0 and not Path("/run/pitd/pitd.sock").exists():
        return f"ipc://{own}/pitd/pitd.sock"
    return "ipc:///run/pitd/pitd.sock"


def default_key_file() -> str | None:
    """$PITD_KEY_FILE: where this client's secret key is, for a daemon that asks for one over tcp."""
    return os.environ.get("PITD_KEY_FILE") or None


def default_server_key() -> str | None:
    """$PITD_SERVER_KEY: the daemon's public key, or the file that it is in."""
    return os.environ.get("PITD_SERVER_KEY") or None
