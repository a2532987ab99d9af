"""Progress bars: over the points of a sweep, the images of trainings, or a list."""

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def points_bar(
    total: int, unit: str = "points", failures: str = "chunks failed"
) -> Iterator[Callable[[int, int], None]]:
    """Shows points done, points/s, failures and time left.

    Args:
        total: points in all.
        unit: what is counted.
        failures: what may fail, and how.

    Yields:
        What to call with further points and failures; its first call tells
        what was done before, which does not count for the speed.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{{task.fields[speed]}} {unit}/s, {{task.fields[failed]}} {failures}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as bar:
        task = bar.add_task(unit, total=total, speed="–", failed=0)
        begin = time.perf_counter()
        done, broken, before = 0, 0, True

        def progress(points: int, failed: int) -> None:
            nonlocal done, broken, before
            done += 0 if before else points
            broken += failed
            before = False
            speed = f"{done / (time.perf_counter() - begin):,.0f}"
            bar.update(task, advance=points, speed=speed, failed=broken)

        yield progress


def map_with_bar(
    function: Callable[[Item], Result], items: Collection[Item], unit: str
) -> list[Result]:
    """Results of a function for every item, under a bar that counts them.

    Rich's own ``track`` is a generator: an exception in its loop leaves it to
    the garbage collector, which can run in the bar's thread and wait for itself.

    Args:
        function: what to do with an item.
        items: what to go through.
        unit: what is counted.
    """
    with Progress() as bar:
        task = bar.add_task(unit, total=len(items))
        results = []
        for item in items:
            results.append(function(item))
            bar.advance(task)
        return results
