"""The deterministic engine: entries in, effects and replies out. No clock, files, sockets, chance or logging."""
