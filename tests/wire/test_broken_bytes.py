"""Whatever bytes come in: a value, or a ValueError; never anything else."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire import samples

import pit
from pit import wire

DECODERS: dict[str, tuple[Callable[[bytes], object], list[wire.Body]]] = {
    "hello": (wire.decode_hello, samples.HELLOS),
    "command": (wire.decode_command, samples.COMMANDS),
    "query": (wire.decode_query, samples.QUERIES),
    "reply": (wire.decode_reply, samples.REPLIES),
}


def read(decode: Callable[[bytes], object], data: bytes) -> None:
    """Reads, or is told that it can't be read; another exception goes on to the test."""
    try:
        decode(data)
    except (ValueError, pit.ProtocolError):
        return


@pytest.mark.parametrize("kind", DECODERS)
@given(data=st.binary(max_size=200))
def test_random_bytes_raise_nothing_but_value_errors(kind: str, data: bytes) -> None:
    read(DECODERS[kind][0], data)


@pytest.mark.parametrize("kind", DECODERS)
@pytest.mark.parametrize("seed", range(5))
def test_mutated_messages_raise_nothing_but_value_errors(kind: str, seed: int) -> None:
    decode, bodies = DECODERS[kind]
    dice = random.Random(seed)
    for body in bodies * 40:
        data = bytearray(wire.encode(body))
        for _ in range(dice.choice([1, 1, 2, 5])):
            way, place = dice.randrange(4), dice.randrange(len(data)) if data else 0
            if way == 0 and data:
                data[place] = dice.randrange(256)
            elif way == 1 and data:
                del data[place : place + dice.randrange(4)]
            elif way == 2:
                data[place:place] = dice.randbytes(dice.randrange(4))
            else:
                data[place:] = data[: place // 2]
        read(decode, bytes(data))


@pytest.mark.parametrize("kind", DECODERS)
def test_a_truncated_message_is_never_read(kind: str) -> None:
    decode, bodies = DECODERS[kind]
    for body in bodies:
        data = wire.encode(body)
        for length in range(len(data)):
            with pytest.raises(ValueError):
                decode(data[:length])


@pytest.mark.parametrize("depth", [100, 10_000, 500_000])
def test_deep_nesting_is_refused(depth: int) -> None:
    """Bytes that open a list in a list in a list ... must not exhaust the stack."""
    for decode, _ in DECODERS.values():
        with pytest.raises((ValueError, RecursionError)):
            decode(b"\x91" * depth)


def test_bytes_that_promise_more_than_they_hold_are_refused() -> None:
    for decode, _ in DECODERS.values():
        for prefix in (
            b"\xdd\xff\xff\xff\xff",
            b"\xdf\xff\xff\xff\xff",
            b"\xdb\xff\xff\xff\xff",
            b"\xc6\xff\xff\xff\xff",
        ):
            with pytest.raises(ValueError):
                decode(prefix + b"\x00" * 20)


@pytest.mark.parametrize("text", ["NaN", "sNaN", "Infinity", "-Infinity", "1e400", "1" * 30, "", "x", "0.0000000001"])
def test_a_number_that_cannot_be_meant_is_never_read(text: str) -> None:
    """msgspec alone would take "NaN" for a Decimal."""
    plain = msgspec.msgpack.decode(wire.encode(wire.Check(samples.ORDER)))
    for field in (3, 4):
        changed = [plain[0], [*plain[1]], *plain[2:]]
        changed[1][field] = text
        with pytest.raises(ValueError):
            wire.decode_command(msgspec.msgpack.encode(changed))


@given(data=st.binary(max_size=60))
def test_a_header_is_25_bytes_or_a_protocol_error(data: bytes) -> None:
    if len(data) == 25:
        assert wire.pack_header(*wire.unpack_header(data)) == data
        return
    with pytest.raises(pit.ProtocolError, match="a header of 25 bytes is wanted"):
        wire.unpack_header(data)


def test_every_number_that_a_header_can_carry_comes_back() -> None:
    for number in (0, 1, 2**32, 2**64 - 1):
        assert wire.unpack_header(wire.pack_header(255, number, number, number)) == (255, number, number, number)
