"""A progress bar over the points of a sweep, or the images of trainings."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


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
