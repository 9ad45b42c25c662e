"""What ends the daemon, and with which exit code."""

from __future__ import annotations

EXIT_NOT_FOUND = 1
EXIT_DIFFERENT = 1
"""The demo did not add up, or a replay came out differently."""
EXIT_BROKEN_LAW = 1
EXIT_USAGE = 64
EXIT_DAMAGED = 65
EXIT_ENDPOINT_BUSY = 69
EXIT_INVARIANT = 70
EXIT_IO = 74
EXIT_CONFIG = 78


class PitdError(Exception):
    """Something that ends the daemon before or while it runs; `exit_code` says which kind."""

    exit_code = EXIT_IO


class ConfigError(PitdError):
    """The configuration can't be meant. The message names file, key and mend. Nothing was started."""

    exit_code = EXIT_CONFIG


class JournalDamaged(PitdError):
    """The journal can't be what was written: where, and what shows more. Nothing was changed."""

    exit_code = EXIT_DAMAGED


class JournalBusy(PitdError):
    """Another daemon keeps this journal."""

    exit_code = EXIT_ENDPOINT_BUSY


class JournalFailed(PitdError):
    """The journal can't be written or read: a full, broken or read-only disk, or no permission."""

    exit_code = EXIT_IO


class KeysFailed(PitdError):
    """Key files can't be written, or are there already."""

    exit_code = EXIT_IO


class EndpointBusy(PitdError):
    """Another daemon serves this endpoint."""

    exit_code = EXIT_ENDPOINT_BUSY


class EndpointFailed(PitdError):
    """The endpoint cannot be opened: no such directory, no permission, not an address."""

    exit_code = EXIT_IO


class NotFound(PitdError):
    """What was asked for is not in the journal."""

    exit_code = EXIT_NOT_FOUND
