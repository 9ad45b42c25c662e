"""The bytes of every message, kept in golden.txt: a daemon and a client of different releases must understand them.

A change of these bytes is a change of the protocol. Where one is meant, write them anew and look at the difference:

    python tests/wire/test_golden.py

Lines may be added. A line that changes or goes needs a new `wire.PROTOCOL`.
"""

from __future__ import annotations

import sys
import typing
from pathlib import Path

import msgspec
import pytest
from cases import table

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from wire import samples

import pit.wire as pit_wire

GOLDEN = Path(__file__).with_name("golden.txt")


def lines() -> dict[str, bytes]:
    """What is written today, by a name for each."""
    written: dict[str, bytes] = {}
    for body in [*samples.HELLOS, *samples.COMMANDS, *samples.QUERIES, *samples.REPLIES]:
        name = type(body).__name__
        count = sum(1 for each in written if each.partition("-")[0] == name)
        written[f"{name}-{count + 1}"] = pit_wire.encode(body)
    for header in samples.HEADERS:
        written[f"header-{pit_wire.Message(header.message).name}"] = pit_wire.pack_header(*header)
    return written


def golden() -> dict[str, bytes]:
    parts = (line.split() for line in GOLDEN.read_text(encoding="ascii").splitlines())
    return {name: bytes.fromhex(text) for name, text in parts}


@table("name", sorted(lines()))
def test_the_bytes_of_a_message_stay_as_they_are(name: str) -> None:
    kept = golden()
    assert name in kept, f"{name} is new: run `python tests/wire/test_golden.py`"
    assert lines()[name].hex() == kept[name].hex()


def test_no_message_has_gone() -> None:
    assert sorted(golden()) == sorted(lines())


DECODERS = {
    **{type(body): pit_wire.decode_hello for body in samples.HELLOS},
    **{type(body): pit_wire.decode_command for body in samples.COMMANDS},
    **{type(body): pit_wire.decode_query for body in samples.QUERIES},
    **{type(body): pit_wire.decode_reply for body in samples.REPLIES},
}
BODIES = [*samples.HELLOS, *samples.COMMANDS, *samples.QUERIES, *samples.REPLIES]


@table("body", BODIES)
def test_what_is_read_is_what_was_written(body: pit_wire.Body) -> None:
    assert DECODERS[type(body)](pit_wire.encode(body)) == body


@pytest.mark.parametrize("header", samples.HEADERS)
def test_a_header_is_read_as_it_was_written(header: pit_wire.Header) -> None:
    assert pit_wire.unpack_header(pit_wire.pack_header(*header)) == header


@table("body", BODIES)
def test_a_field_appended_by_a_newer_release_is_passed_over(body: pit_wire.Body) -> None:
    """Fields are only ever appended: an older reader takes what it knows and leaves the rest."""
    newer = [*msgspec.msgpack.decode(pit_wire.encode(body)), "a field of tomorrow"]
    assert DECODERS[type(body)](msgspec.msgpack.encode(newer)) == body


@table("body", BODIES)
def test_a_field_left_out_by_an_older_release_has_its_default(body: pit_wire.Body) -> None:
    plain = msgspec.msgpack.decode(pit_wire.encode(body))
    with_default = [field for field in msgspec.structs.fields(body) if not field.required]
    for left_out in range(len(with_default) + 1):
        older = msgspec.msgpack.encode(plain[: len(plain) - left_out])
        read = DECODERS[type(body)](older)
        for field in with_default[len(with_default) - left_out :]:
            assert getattr(read, field.encode_name) == field.default


def test_every_message_has_a_sample() -> None:
    spoken = {pit_wire.Hello}
    for union in (pit_wire.Command, pit_wire.Query, pit_wire.Reply):
        spoken |= set(typing.get_args(union))
    unsampled = spoken - {type(body) for body in BODIES}
    assert not unsampled, "add them to tests/wire/samples.py, then run `python tests/wire/test_golden.py`"


if __name__ == "__main__":
    GOLDEN.write_text("".join(f"{name} {packed.hex()}\n" for name, packed in lines().items()), encoding="ascii")
    print(f"written: {GOLDEN}")
