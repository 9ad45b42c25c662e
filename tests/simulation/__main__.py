"""`python -m simulation` from the tests folder: runs seeds, shows one, shrinks what fails."""
from __future__ import annotations
import sys, time
from . import weather, world
t=time.time()
n=int(sys.argv[1])
if len(sys.argv)>2:
    print(weather.draw(n))
    world.run(n, weather.draw(n), out=print)
else:
    bad=0; rows=0; starts=0
    for seed in range(n):
        told=world.run(seed, weather.draw(seed))
        rows+=told.rows; starts+=told.starts
        if told.trouble:
            bad+=1; print(seed, told.trouble[:200])
    print(bad,"bad",rows,"rows",starts,"starts",time.time()-t)
