"""A strategy's line to the venue: send and wait for the answer; what else comes in waits in the inbox."""

from __future__ import annotations

import time
from collections import deque

import zmq

from . import words

ANSWER_S = 0.3


class Refused(Exception):
    """The venue said no: it surely has nothing."""


class NoAnswer(Exception):
    """The venue said nothing in time: it may have the order."""


class VenueClient:
    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, client: str) -> None:
        self.cents = 0
        """The middle of the market, as last heard."""
        self.inbox: deque[words.Ack | words.Refusal | words.Execution] = deque()
        self._client = client
        self._socket = context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.connect(endpoint)

    def log_on(self, order_ids: tuple[str, ...] = ()) -> dict[str, words.Status]:
        """Executions come here from now on; and how these orders stand at that very moment."""
        self._socket.send(words.encode(words.Logon(self._client, order_ids)))
        deadline = time.monotonic() + 10
        while True:
            word = self._receive(deadline)
            if word is None:
                raise NoAnswer("the venue does not answer a logon")
            if isinstance(word, words.LoggedOn):
                self.cents = word.cents
                return {status.order_id: status for status in word.statuses}

    def send(self, order: words.NewOrder) -> words.Ack:
        """The venue's acknowledgement. Raises Refused, or NoAnswer."""
        self._socket.send(words.encode(order))
        deadline = time.monotonic() + ANSWER_S
        while True:
            word = self._receive(deadline)
            match word:
                case None:
                    raise NoAnswer("no answer from the venue")
                case words.Ack(order_id=order.order_id):
                    return word
                case words.Refusal(order_id=order.order_id):
                    raise Refused(word.reason)
                case _:
                    self._keep(word)

    def ask_status(self, order_id: str) -> words.Status:
        """How an order stands. The line keeps its order, so "never seen" is the last word. Raises NoAnswer."""
        self._socket.send(words.encode(words.AskStatus(order_id)))
        deadline = time.monotonic() + 1
        while True:
            word = self._receive(deadline)
            if word is None:
                raise NoAnswer("no status from the venue")
            if isinstance(word, words.Status) and word.order_id == order_id:
                return word
            self._keep(word)

    def cancel(self, order_id: str) -> None:
        """Asks for it; the answer is an execution."""
        self._socket.send(words.encode(words.CancelOrder(order_id)))

    def look(self, timeout_s: float) -> None:
        """Fills the inbox with what has come, waiting for something at most so long."""
        word = self._receive(time.monotonic() + timeout_s)
        while word is not None:
            self._keep(word)
            word = self._receive(0)

    def close(self) -> None:
        self._socket.close()

    def _receive(self, deadline: float) -> words.FromVenue | None:
        if not self._socket.poll(max(0, int((deadline - time.monotonic()) * 1e3))):
            return None
        word: words.FromVenue = words.decode_from_venue(self._socket.recv())
        return word

    def _keep(self, word: words.FromVenue) -> None:
        match word:
            case words.Quote():
                self.cents = word.cents
            case words.Ack() | words.Refusal() | words.Execution():
                self.inbox.append(word)
            case words.Status() | words.LoggedOn():
                pass  # the late answer to a question that was asked again
