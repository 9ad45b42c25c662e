"""Messages are taken out of a connection's bytes, however these come, and what is none of ours is not taken for one."""

from __future__ import annotations

import itertools
import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pit import wire, zmtp

OPENING = zmtp.opening(b"DEALER")
HEADER = wire.pack_header(wire.Message.COMMAND, 1, 2, 3)


def fed(data: bytes, cuts: list[int], most_bytes: int = 1 << 20) -> zmtp.Splitter:
    splitter = zmtp.Splitter(most_bytes)
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for begin, end in itertools.pairwise(places):
        splitter.feed(data[begin:end])
    return splitter


def frame(flags: int, body: bytes, *, is_long: bool = False) -> bytes:
    if is_long or len(body) > 255:
        return struct.pack(">BQ", flags | 2, len(body)) + body
    return bytes((flags, len(body))) + body


@given(
    bodies=st.lists(st.sampled_from([b"", b"x", b"y" * 255, b"z" * 256, b"w" * 3_000, b"v" * 9_000]), max_size=6),
    cuts=st.lists(st.integers(0, 20_000), max_size=12),
)
def test_messages_come_out_as_they_were_whatever_pieces_they_come_in(bodies: list[bytes], cuts: list[int]) -> None:
    data = OPENING + b"".join(zmtp.framed(HEADER, body) for body in bodies)
    assert list(fed(data, cuts).come) == [(HEADER, body) for body in bodies]


@given(cuts=st.lists(st.integers(0, 400), max_size=8), is_long=st.booleans())
def test_a_frame_may_say_its_length_either_way(cuts: list[int], is_long: bool) -> None:
    data = OPENING + frame(1, HEADER, is_long=is_long) + frame(0, b"body", is_long=not is_long)
    assert list(fed(data, cuts).come) == [(HEADER, b"body")]


def test_a_heartbeat_is_answered_between_the_messages() -> None:
    ping = frame(4, b"\x04PING\x00\x32context")
    splitter = fed(OPENING + zmtp.framed(HEADER, b"a") + ping + zmtp.framed(HEADER, b"b"), [])
    assert [body for _, body in splitter.come] == [b"a", b"b"]
    assert splitter.to_answer == frame(4, b"\x04PONGcontext")


@pytest.mark.parametrize(
    ("frames", "why"),
    [
        ([HEADER], "a header and a body"),
        ([HEADER, b"body", b"more"], "two frames, no more"),
        ([b"", HEADER, b"body"], "two frames, no more"),
        ([HEADER, *[b"x" * 200] * 50], "two frames, no more"),
        ([b"", b"body"], "a header of 25 bytes is wanted"),
    ],
)
def test_another_number_of_frames_is_no_message_and_harms_none_behind_it(frames: list[bytes], why: str) -> None:
    data = b"".join(frame(at < len(frames) - 1, each) for at, each in enumerate(frames))
    wrong, right = fed(OPENING + data + zmtp.framed(HEADER, b"body"), []).come
    assert wrong[0] == b"" and why in wrong[1].decode()
    assert right == (HEADER, b"body")


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: here\r\nAccept: */*\r\nUser-Agent: somebody who is lost\r\n\r\n",
        OPENING[:10] + b"\x02" + OPENING[11:],
        OPENING.replace(b"NULL", b"CURV", 1),
        zmtp.GREETING + zmtp.framed(HEADER, b"body"),
        zmtp.GREETING + frame(0, b"not ready yet"),
        OPENING + frame(4, b"\x05ERROR\x03no!"),
        OPENING + frame(1, b"x" * 101),
        OPENING + struct.pack(">BQ", 3, 1 << 63),
    ],
)
def test_what_is_not_meant_ends_the_connection(data: bytes) -> None:
    with pytest.raises(zmtp.NotSpoken):
        fed(data, [], most_bytes=100)


@pytest.mark.parametrize(
    "odd",
    [frame(4, b"\x04PING\0\0"), frame(4, b"\x01x"), frame(1, b""), frame(0, b""), frame(1, b"") + frame(0, b"")],
)
def test_what_is_no_message_is_not_listened_to_for_long(odd: bytes) -> None:
    """It has no turn: who says nothing else would keep everybody waiting."""
    splitter = zmtp.Splitter(1 << 20)
    splitter.feed(OPENING + zmtp.framed(HEADER, b"said before"))
    with pytest.raises(zmtp.NotSpoken, match="too many frames"):
        splitter.feed(odd * ((1 << 14) // len(odd)))
    assert splitter.come[0] == (HEADER, b"said before")
    assert len(splitter.come) < 500


def test_a_large_frame_is_not_copied_with_each_piece_of_it() -> None:
    """Who sends it byte by byte would keep everybody waiting."""
    size = 1 << 20
    data = OPENING + zmtp.framed(HEADER, bytes(size)) + zmtp.framed(HEADER, b"behind it")
    took_s = []
    for begin in (10_000, size - 20_000):
        splitter = zmtp.Splitter(size)
        splitter.feed(data[:begin])
        began = time.process_time()
        for at in range(begin, begin + 10_000):
            splitter.feed(data[at : at + 1])
        took_s.append(time.process_time() - began)
    splitter.feed(data[begin + 10_000 :])
    assert [(header, len(body)) for header, body in splitter.come] == [(HEADER, size), (HEADER, 9)]
    assert took_s[1] < 10 * took_s[0]


@pytest.mark.parametrize("size", [0, 255, 256, 1_000])
def test_messages_are_taken_however_many_come_at_once(size: int) -> None:
    data = zmtp.framed(HEADER, bytes(size)) * 2_000
    splitter = zmtp.Splitter(1 << 20)
    splitter.feed(OPENING + data)
    assert len(splitter.come) == 2_000


@given(data=st.binary(max_size=300), cuts=st.lists(st.integers(0, 300), max_size=4))
def test_random_bytes_are_messages_or_the_end_and_nothing_else(data: bytes, cuts: list[int]) -> None:
    try:
        come = fed(OPENING + data, [64 + cut for cut in cuts]).come
    except zmtp.NotSpoken:
        return
    assert all(isinstance(header, bytes) and isinstance(body, bytes) for header, body in come)
