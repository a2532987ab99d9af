"""Progress bars: over the points of a sweep, the images of trainings, or a list."""

import os
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
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
    """Shows finished points, points per second, failures and the remaining time.

    Args:
        total: total number of points.
        unit: name of what is counted.
        failures: text after the number of failures.

    Yields:
        A function to call with the number of new points and failures; its first call
        reports earlier work, which does not count for the speed.
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
    """Results of a function for every item, with a progress bar.

    Rich's own ``track`` is a generator: if its loop raises, the garbage collector closes
    it, possibly in the thread of the bar, which then waits for itself.

    Args:
        function: applied to each item.
        items: the items to process.
        unit: name of what is counted.
    """
    with Progress() as bar:
        task = bar.add_task(unit, total=len(items))
        results = []
        for item in items:
            results.append(function(item))
            bar.advance(task)
        return results


def map_in_threads(
    function: Callable[[Item], Result],
    items: Collection[Item],
    unit: str,
    most: int | None = None,
) -> list[Result]:
    """The same with as many items at a time as there are cores; the results are in order.

    Args:
        function: applied to each item.
        items: the items to process.
        unit: name of what is counted.
        most: largest number of items at a time.
    """
    cores = os.cpu_count() or 1
    with ThreadPoolExecutor(cores if most is None else min(most, cores)) as pool:
        started = [pool.submit(function, item) for item in items]
        return map_with_bar(lambda future: future.result(), started, unit)
