"""The gates that the conformance suite runs over. A new transport is one more entry in `GATES`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from conformance.gates import SETTINGS, AsyncLocalGate, AsyncZmqGate, Gate, LocalGate, ZmqGate
from daemon import Daemon, running

import pit

GATES = ("local", "async local", "zmq", "async zmq")


@pytest.fixture(scope="session")
def shared_daemon() -> Iterator[Daemon]:
    with running(SETTINGS) as daemon:
        yield daemon


@pytest.fixture(params=GATES)
def gate(request: pytest.FixtureRequest) -> Iterator[Gate]:
    made: Gate
    match request.param:
        case "local":
            made = LocalGate()
        case "async local":
            made = AsyncLocalGate()
        case "zmq":
            made = ZmqGate(request.getfixturevalue("shared_daemon"))
        case _:
            made = AsyncZmqGate(request.getfixturevalue("shared_daemon"))
    yield made
    made.close()


@pytest.fixture
def engine(gate: Gate) -> pit.Engine:
    return gate.connect("mm1")
