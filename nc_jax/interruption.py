"""How a command ends when it is interrupted."""

import contextlib
import os
import sys
from typing import NoReturn


def end_interrupted() -> NoReturn:
    """Says "interrupted" on standard error and ends the process at once, with status 130.

    An ordinary exit would take down libraries under a thread of XLA that still compiles, which
    then prints errors of its own; there is no way to stop a compilation.
    """
    with contextlib.suppress(OSError):
        print("interrupted", file=sys.stderr, flush=True)
        sys.stdout.flush()
    os._exit(130)
