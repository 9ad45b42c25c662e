"""A seeded simulator: real sequencer, core, journal and client sessions in one process, in weather drawn from a seed.

`world.py` holds the virtual clock and puts a run together; `network.py`, `disk.py`, `power.py` and `daemon.py` fail,
`clients.py` and `venue.py` are who trades; `model.py` is what must be true, with `orders.py` (what an order, and a
modify of it, counts for), `cancels.py` (what is to be cancelled, and who hears of it) and `limits.py` (what limits
count, added up anew); `shrink.py` makes a failing run small.
"""
