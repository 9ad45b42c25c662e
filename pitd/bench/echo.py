"""The bare wire: a ROUTER that answers at once, and a DEALER that speaks to it. What no daemon can be faster than.

As a program it is the ROUTER: `python -m pitd.bench.echo ENDPOINT`, which prints where it listens.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import deque
from collections.abc import Callable
from time import perf_counter

import zmq

from pit import wire
from pit.types import Order, OrderState

from .pacing import Pace, Times

_MORE, _POLLIN = int(zmq.SNDMORE), int(zmq.POLLIN)


def serve(endpoint: str) -> None:
    """Answers each message with a header of the same size and the bytes of an acceptance, until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    accepted = wire.Accepted(123_456, "0" * 18, OrderState.HELD, 5_000_000_000)
    reply = wire.encode(accepted)
    sock = zmq.Context().socket(zmq.ROUTER)
    sock.bind(endpoint)
    print(sock.getsockopt_string(zmq.LAST_ENDPOINT), flush=True)
    while True:
        identity, header, _ = sock.recv(), sock.recv(), sock.recv()
        sock.send(identity, _MORE)
        sock.send(header, _MORE)
        sock.send(reply)


class Echo:
    """A client of it: the bytes of a check, said again and again."""

    def __init__(self, endpoint: str, order: Order) -> None:
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.connect(endpoint)
        self._header = wire.pack_header(wire.Message.COMMAND, 1, 1, 0)
        self._body = wire.encode(wire.Check(order, False, None))

    def run(self, in_flight: int, pace: Pace, is_over: Callable[[], bool]) -> Times:
        """How long each answer took, with so many under way at the most."""
        return self._closed(in_flight, is_over) if pace.is_closed else self._open(in_flight, pace, is_over)

    def _closed(self, in_flight: int, is_over: Callable[[], bool]) -> Times:
        send, recv, header, body = self._socket.send, self._socket.recv, self._header, self._body
        times = Times()
        note = times.from_due.append
        under_way: deque[float] = deque()
        for _ in range(in_flight):
            under_way.append(perf_counter())
            send(header, _MORE)
            send(body)
        while not is_over():
            recv()
            recv()
            now = perf_counter()
            note(now - under_way.popleft())
            under_way.append(perf_counter())
            send(header, _MORE)
            send(body)
        for _ in under_way:
            recv()
            recv()
        return times

    def _open(self, in_flight: int, pace: Pace, is_over: Callable[[], bool]) -> Times:
        sock, look = self._socket, [(self._socket, _POLLIN)]
        times = Times()
        under_way: deque[tuple[float, float]] = deque()
        while not is_over() or under_way:
            if len(under_way) < in_flight and not is_over():
                due = pace.due_by(perf_counter()) if under_way else pace.wait(is_over)
                if due is not None:
                    under_way.append((due, perf_counter()))
                    sock.send(self._header, _MORE)
                    sock.send(self._body)
                    continue
            if under_way and (len(under_way) == in_flight or is_over() or zmq.zmq_poll(look, pace.left_ms())):
                sock.recv()
                sock.recv()
                times.note(*under_way.popleft(), perf_counter())
        return times

    def close(self) -> None:
        self._socket.close(linger=0)


if __name__ == "__main__":
    serve(sys.argv[1])
