"""One client that floods a daemon, and honest ones beside it: what the test and the measurement are made of.

python -m flooding ENDPOINT NAME honest SECONDS   prints its round trips in microseconds, or its error
python -m flooding ENDPOINT NAME KIND             floods until it is ended
"""

from __future__ import annotations

import json
import os
import sys
import time

import zmq

import pit
from pit import wire

ORDER = {"account": "alpha", "instrument": pit.Instrument("AAPL", "USD"), "side": "buy", "quantity": 1, "price": 1}

KINDS = ("window", "junk", "large", "questions")


def trade(endpoint: str, name: str, seconds: float) -> list[float]:
    """Asks and gives back, about 300 times a second: each check's microseconds."""
    took = []
    with pit.connect(name, endpoint, timeout_s=20) as engine:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            began = time.perf_counter()
            held = engine.execute_pre_trade(pit.Order(**ORDER))
            took.append((time.perf_counter() - began) * 1e6)
            assert isinstance(held, pit.Reservation), str(held)
            held.rollback()
            time.sleep(0.003)
    return took


def flood(endpoint: str, name: str, kind: str) -> None:
    """Says the same for ever, as fast as it can, and reads no answer."""
    sock = zmq.Context.instance().socket(zmq.DEALER)
    sock.setsockopt(zmq.LINGER, 0)
    sock.connect(endpoint)
    sock.send_multipart(
        [
            wire.pack_header(wire.Message.HELLO, 0, 0, 0),
            wire.encode(wire.Hello(wire.PROTOCOL, name, os.urandom(16))),
        ]
    )
    welcome = wire.decode_reply(sock.recv_multipart()[1])
    assert isinstance(welcome, wire.Welcome), welcome
    body = wire.encode(wire.Check(pit.Order(**ORDER)))
    frames = {
        "window": [wire.pack_header(wire.Message.COMMAND, welcome.session, 500, 0), body],
        "junk": [wire.pack_header(wire.Message.COMMAND, welcome.session, 1, 0), os.urandom(64)],
        "large": [wire.pack_header(wire.Message.COMMAND, welcome.session, 1, 0), os.urandom(500_000)],
        "questions": [wire.pack_header(wire.Message.QUERY, welcome.session, 1, 0), wire.encode(wire.ListOpenOrders())],
    }[kind]
    print("floods", flush=True)
    while True:
        sock.send_multipart(frames)


if __name__ == "__main__":
    endpoint, name, kind, *seconds = sys.argv[1:]
    if kind == "honest":
        print(json.dumps(trade(endpoint, name, float(seconds[0]))))
    else:
        flood(endpoint, name, kind)
