"""Makes broken messages of good ones, from a seed: what a fuzzing peer would say, and no honest one."""

from __future__ import annotations

import random
from collections.abc import Iterator

from wire import samples

from pit import wire

BEYOND = 0x5A5A_5A5A_5A5A
"""A number so far beyond any window that no flipped bit makes it the next one."""

_GOOD: list[tuple[int, bytes]] = [
    *((wire.Message.COMMAND, wire.encode(body)) for body in samples.COMMANDS),
    *((wire.Message.QUERY, wire.encode(body)) for body in samples.QUERIES),
    *((wire.Message.REFUSAL, wire.encode(body)) for body in samples.REPLIES),
    (wire.Message.SETTLE, b""),
]
_BAD_HELLO = wire.encode(wire.Hello(wire.PROTOCOL, "mm1", b"short"))
"""A hello whose token is too short by eleven bytes, whatever is flipped in it."""


def messages(seed: int, session: int) -> Iterator[list[bytes]]:
    """The frames of one message after another, for ever. None of them can be meant: numbers are far beyond, tokens too
    short, bodies mutated, frames missing, doubled or huge.
    """
    dice = random.Random(seed)
    while True:
        kind, body = dice.choice(_GOOD)
        if dice.random() < 0.1:
            kind, body = wire.Message.HELLO, _BAD_HELLO
        header = wire.pack_header(kind, dice.choice([session, 0, dice.getrandbits(64)]), BEYOND, dice.getrandbits(20))
        frames = [header, body]
        way = dice.randrange(8)
        if way == 0:
            frames = [dice.randbytes(dice.randrange(40)) for _ in range(dice.randrange(1, 5))]
        elif way == 1:
            frames = [header, _mutated(dice, body)]
        elif way == 2:
            frames = [_flipped(dice, header), body]
        elif way == 3:
            frames = [header, body[: dice.randrange(len(body) + 1)]]
        elif way == 4:
            frames = dice.choice(
                [[header], [body], [header, body, header], [b"", header, body], [header, header, body, body]]
            )
        elif way == 5:
            frames = [header, _deep(dice)]
        elif way == 6:
            frames = [header, dice.randbytes(dice.choice([0, 1, 100, 5_000]))]
        yield frames


def _mutated(dice: random.Random, good: bytes) -> bytes:
    data = bytearray(good or b"\x00")
    for _ in range(dice.choice([1, 1, 2, 8])):
        place = dice.randrange(len(data)) if data else 0
        way = dice.randrange(4)
        if way == 0 and data:
            data[place] ^= 1 << dice.randrange(8)
        elif way == 1 and data:
            del data[place : place + dice.randrange(1, 5)]
        elif way == 2:
            data[place:place] = dice.randbytes(dice.randrange(5))
        else:
            data[place : place + 1] = dice.choice(
                [b"\xdd\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xc6\x7f\xff\xff\xff"]
            )
    return bytes(data)


def _flipped(dice: random.Random, header: bytes) -> bytes:
    """One bit of the kind, the session or what was acknowledged is another; the number stays far beyond."""
    data = bytearray(header)
    place = dice.choice([0, *range(1, 9), *range(17, 25)])
    data[place] ^= 1 << dice.randrange(8)
    return bytes(data)


def _deep(dice: random.Random) -> bytes:
    """Arrays in arrays, deeper than any reader should follow."""
    return bytes([0x91 if dice.random() < 0.5 else 0x81]) * dice.choice([10, 1_000, 20_000])
