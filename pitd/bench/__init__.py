"""How fast a daemon is as its clients see it, beside the bare wire: what `pitctl bench` runs."""
