"""An orderly stop of a long sweep on a signal."""

import signal
import sys
import threading
from typing import Any


def stop_on_signals() -> threading.Event:
    """An event that the first SIGINT or SIGTERM sets; the second one stops the process at once."""
    stop = threading.Event()

    def ask(number: int, _: Any) -> None:
        if stop.is_set():
            sys.exit(128 + number)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask)
    return stop
