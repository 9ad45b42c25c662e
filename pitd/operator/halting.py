"""The dialog by which pitctl top halts a scope, or has it reduce: what, why, sure? Key by key, without a terminal."""

from __future__ import annotations

from typing import NamedTuple

_ESCAPE, _ENTER, _BACK, _ALL_BACK = "\x1b", ("\r", "\n"), ("\x7f", "\b"), "\x15"

_LONGEST = 200


class Wanted(NamedTuple):
    """What a person has asked for and agreed to."""

    scope: str
    reason: str
    verb: str = "halt"


class Halting:
    """Three questions, one after the other. Escape, or nothing at all as an answer, ends it."""

    def __init__(self, verb: str = "halt") -> None:
        """`verb`: halt or reduce."""
        self._verb = verb
        self.is_over = False
        self.wanted: Wanted | None = None
        """What is to be done, once it is over and agreed to."""
        self._answers: list[str] = []
        self._typed = ""

    def shown(self) -> str:
        """The question, and what has been typed."""
        asked = (
            f"{self._verb} what? firm | group G | account A | instrument I (Esc: nothing)",
            f"{self._verb} {self._scope()}: why?",
            f"{self._verb} {self._scope()}? y/n",
        )
        return f" {asked[len(self._answers)]} > {self._typed}_"

    def key(self, key: str) -> None:
        """Takes one key."""
        if key == _ESCAPE:
            self.is_over = True
        elif len(self._answers) == 2:
            self.is_over = True
            if key in ("y", "Y"):
                self.wanted = Wanted(self._answers[0], self._answers[1], self._verb)
        elif key in _ENTER:
            answer = " ".join(self._typed.split())
            if answer:
                self._answers.append(answer)
                self._typed = ""
            else:
                self.is_over = True
        elif key in _BACK:
            self._typed = self._typed[:-1]
        elif key == _ALL_BACK:
            self._typed = ""
        elif key.isprintable() and len(self._typed) < _LONGEST:
            self._typed += key

    def _scope(self) -> str:
        return self._answers[0] if self._answers else ""
