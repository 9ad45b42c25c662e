"""The command `pitctl`: what an operator sees of a running daemon, and what a person may do to it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .arguments import parser
from .codes import INTERRUPTED, NO_ANSWER, NOT_ALLOWED, SAID_NO, Misused

if TYPE_CHECKING:
    from .asking import Connect


def main(argv: Sequence[str] | None = None, connect: Connect | None = None) -> int:
    """Runs one command; the exit code says how it ended. `connect` gives the engine to speak to, where it is no daemon
    at an endpoint.
    """
    words = parser()
    options = words.parse_args(argv)
    import pit

    from ..errors import PitdError
    from ..running import own_name
    from . import asking
    from .output import complain

    options.connect = connect or asking.connect
    options.said_name, options.said_endpoint = options.name, options.endpoint
    options.name = options.name or own_name()
    options.endpoint = options.endpoint or pit.default_endpoint()
    try:
        code = options.run(options)
    except Misused as why:
        words.error(str(why))
    except (pit.Unavailable, pit.OutcomeUnknown) as trouble:
        unknown = "; it may have happened: look before you try again" if isinstance(trouble, pit.OutcomeUnknown) else ""
        return complain(f"{trouble}{unknown}", NO_ANSWER)
    except pit.NotAuthorized as trouble:
        return complain(f"{trouble}; or give --name of a client that has it", NOT_ALLOWED)
    except pit.Fenced as trouble:
        fenced = f"{trouble}: somebody else changed something under the same name at this moment"
        return complain(f"{fenced}; look whether this was done, then try again", SAID_NO)
    except pit.PitError as trouble:
        return complain(str(trouble), SAID_NO)
    except PitdError as trouble:
        return complain(str(trouble), trouble.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left to flush to
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED
    assert isinstance(code, int)
    return code
