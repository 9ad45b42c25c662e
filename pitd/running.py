"""What a running daemon goes by: its configuration, as it tells an operator."""

from __future__ import annotations

import getpass
import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pit

    from .config import Config


def settings_of(engine: pit.Engine) -> Config:
    """The configuration in force, without what persons have set over it. Needs the role "observe"."""
    import pit
    from pit import wire

    from .config import from_settings

    pieces: list[str] = []
    mark = b""
    while True:
        answer = engine.ask(wire.AskSettings(sum(map(len, pieces))))
        if not isinstance(answer, wire.SettingsAre):
            raise pit.ProtocolError(f"SettingsAre was expected, not {type(answer).__name__}")
        if pieces and answer.mark != mark:  # another one came into force between two pieces
            pieces, mark = [], b""
            continue
        mark = answer.mark
        pieces.append(answer.piece)
        if not answer.more:
            return from_settings("".join(pieces))


def own_name() -> str:
    """Who acts, when nobody says: the user's name, as far as a client may be called so."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"pitctl-{re.sub(r'[^A-Za-z0-9._-]', '_', user)}"[:64]
