"""Reads what a person types to more than one command."""

from __future__ import annotations

import argparse


def seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds <= 3_600:
        raise argparse.ArgumentTypeError(f"seconds above zero, at most 3600, are wanted, not {text!r}")
    return seconds
