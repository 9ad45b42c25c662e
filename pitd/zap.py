"""Whose key may connect at all: ZeroMQ's authentication protocol (RFC 27), asked before a peer is heard.

The answer for a peer that is let in carries its key as the user id: from then on libzmq tells it with every message,
and nothing that the peer says of itself can replace it.
"""

from __future__ import annotations

from collections.abc import Sequence

from .config import Config
from .tally import Seldom

ENDPOINT = "inproc://zeromq.zap.01"

DOMAIN = b"pitd"

_Z85 = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"


class Gatekeeper:
    """Answers one request after the other."""

    def __init__(self) -> None:
        self.refused = 0
        self._seldom = Seldom()

    def answer(self, config: Config, frames: Sequence[bytes]) -> list[bytes] | None:
        """The reply to a request, or None for what is none. `frames` begin with who asks, and an empty one."""
        if len(frames) < 8 or frames[1]:
            return None
        asker, _, version, request, domain, address, _, mechanism, *credentials = frames
        head = [asker, b"", b"1.0", request]
        if version != b"1.0" or domain != DOMAIN:
            return [*head, b"500", b"not a request of this daemon", b"", b""]
        if mechanism != b"CURVE" or len(credentials) != 1 or len(credentials[0]) != 32:
            return self._refused(head, address, "it brings no key")
        key = _text_of(credentials[0])
        if not any(key in client.keys for client in config.clients.values()):
            return self._refused(head, address, f"no client has the key {key}")
        return [*head, b"200", b"", key.encode(), b""]

    def _refused(self, head: list[bytes], address: bytes, why: str) -> list[bytes]:
        self.refused += 1
        where = address.decode(errors="replace")
        self._seldom.warning("client.key_refused", where, address=where, why=why)
        return [*head, b"400", b"not authorized", b"", b""]


def _text_of(key: bytes) -> str:
    """A key in Z85 (RFC 32)."""
    text = bytearray()
    for at in range(0, len(key), 4):
        number = int.from_bytes(key[at : at + 4], "big")
        text += bytes(_Z85[number // 85**place % 85] for place in (4, 3, 2, 1, 0))
    return text.decode()
