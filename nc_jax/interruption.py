"""How a command ends when it is interrupted."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any, NoReturn

# Seconds after which an interruption that was swallowed is sent again.
AGAIN = 0.05


@contextlib.contextmanager
def ends_when_interrupted() -> Iterator[None]:
    """Within this context Ctrl-C ends the process (:func:`end_interrupted`), wherever it arrives.

    Python drops what a callback of its garbage collector raises, and such a callback of JAX is
    often the first Python code that runs after a compilation. So the interruption is sent again.
    """
    before = sys.unraisablehook

    def heard(unraisable: Any) -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            before(unraisable)
            return
        main = threading.main_thread().ident
        again = threading.Timer(AGAIN, signal.pthread_kill, (main, signal.SIGINT))
        again.daemon = True
        again.start()

    sys.unraisablehook = heard
    try:
        yield
    except KeyboardInterrupt:
        end_interrupted()
    finally:
        sys.unraisablehook = before


def end_interrupted() -> NoReturn:
    """Says "interrupted" on standard error and ends the process at once, with status 130.

    An ordinary exit would take down libraries under a thread of XLA that still compiles, which
    then prints errors of its own; there is no way to stop a compilation.
    """
    with contextlib.suppress(OSError):
        print("interrupted", file=sys.stderr, flush=True)
        sys.stdout.flush()
    os._exit(130)
