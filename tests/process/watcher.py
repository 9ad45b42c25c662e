"""A process that watches: prints each event's number, or what it missed, one a line. Arguments: endpoint, since."""

from __future__ import annotations

import sys

import pit


def main() -> None:
    endpoint, since = sys.argv[1], None if sys.argv[2] == "now" else int(sys.argv[2])
    subscription = pit.subscribe(pit.connect("watch", endpoint, timeout_s=10), since)
    said = False
    while True:
        try:
            event = subscription.poll()
        except pit.Unavailable:
            continue
        match event:
            case None:
                if not said:
                    print("watching", flush=True)
                    said = True
            case pit.events.Missed():
                print("missed", event.first_seq, event.last_seq, flush=True)
            case _:
                print(event.seq, event.place, type(event).__name__, flush=True)


if __name__ == "__main__":
    main()
