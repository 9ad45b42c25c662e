"""pitd: a deterministic pre-trade risk sidecar. Strategies use the package `pit`; this one is the daemon's."""

__version__ = "0.1.0"
