"""`pitd demo`: a daemon, strategy processes and a small venue, or a recorded order tape; does everything add up?"""

from __future__ import annotations

import argparse


def run_demo(options: argparse.Namespace) -> int:
    """Plays the demo or a tape. 0 when everything adds up, 1 when something does not, 130 after Ctrl-C."""
    if options.tape is not None:
        from .tape import play

        return play(options)
    from .run import play_market

    return play_market(options)
