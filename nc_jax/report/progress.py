"""A progress bar over the points of a sweep."""

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
def points_bar(total: int) -> Iterator[Callable[[int, int], None]]:
    """Shows points done, points/s, failures and time left.

    Args:
        total: points in all.

    Yields:
        What to call with further points and failed chunks; its first call tells
        what was done before, which does not count for the speed.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]} points/s, {task.fields[failed]} chunks failed"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as bar:
        task = bar.add_task("points", total=total, speed="–", failed=0)
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
