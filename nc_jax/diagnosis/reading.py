"""Reading overlapped with computing."""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Part = TypeVar("Part")


def read_ahead(parts: Generator[Part]) -> Iterator[Part]:
    """The same parts, where a thread reads the next one while the present one is used.

    At most two parts are in memory. The generator is run in the thread and closed at the end;
    what it raises is raised here, in place of the part that it could not give.
    """
    with ThreadPoolExecutor(1) as reader:
        try:
            waiting = reader.submit(next, parts, None)
            while (part := waiting.result()) is not None:
                waiting = reader.submit(next, parts, None)
                yield part
        finally:
            reader.submit(parts.close)
