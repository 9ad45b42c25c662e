"""`python -m simulation`, from the tests folder: runs many seeds, or shows one. What fails is shrunk and printed."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator

from . import shrink, weather, world


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=500, help="so many seeds, one after another (500)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (0)")
    parser.add_argument("--seconds", type=float, help="as many seeds as there is time for")
    parser.add_argument("--seed", type=int, help="this one alone, with everything that happens in it")
    parser.add_argument("--digests", action="store_true", help="print what every seed comes to")
    parser.add_argument("--intents", type=int, help="so many orders before the calm")
    parser.add_argument("--strategies", type=int, help="so many strategies")
    parser.add_argument("--without", default="", help=f"leave faults out, by kind: {','.join(weather.KINDS)}")
    options = parser.parse_args()
    without = tuple(filter(None, options.without.split(",")))
    unknown = sorted(set(without) - set(weather.KINDS))
    if unknown:
        parser.error(f"--without: there is no kind {', '.join(unknown)}")
    if options.seed is not None:
        return _show(options.seed, options.intents, options.strategies, without)
    began = time.monotonic()
    failed = rows = starts = ran = 0
    for seed in _seeds(options.first, options.seeds, options.seconds):
        sky = weather.draw(seed, without=without, intents=options.intents, strategies=options.strategies)
        told = world.run(seed, sky)
        ran, rows, starts = ran + 1, rows + told.rows, starts + told.starts
        if options.digests:
            print(seed, told.digest)
        if told.trouble:
            failed += 1
            _say(seed, told)
            small, told = shrink.shrink(seed, sky)
            print(
                f"  shrunk: {shrink.command_of(seed, small)}\n  there: {told.trouble.splitlines()[0][:500]}", flush=True
            )
    taken_s = time.monotonic() - began
    summary = f"{ran} seeds, {rows} entries, {starts} starts of the daemon in {taken_s:.1f} s: {failed} failed"
    print(summary, file=sys.stderr if options.digests else sys.stdout)
    return 1 if failed else 0


def _show(seed: int, intents: int | None, strategies: int | None, without: tuple[str, ...]) -> int:
    sky = weather.draw(seed, without=without, intents=intents, strategies=strategies)
    print(sky)
    told = world.run(seed, sky, out=print)
    if told.trouble:
        _say(seed, told)
        return 1
    print(f"seed {seed} is good: {told.rows} entries, {told.starts} starts of the daemon")
    return 0


def _say(seed: int, told: world.Told) -> None:
    print(f"seed {seed} FAILED at row {told.rows}: {told.trouble[:2_000]}", flush=True)


def _seeds(first: int, count: int, seconds: float | None) -> Iterator[int]:
    if seconds is None:
        yield from range(first, first + count)
        return
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield first
        first += 1


if __name__ == "__main__":
    sys.exit(main())
