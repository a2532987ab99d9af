"""The table of a study: a sweep into a folder that exists as long as the study runs.

A study that was interrupted resumes where it stopped, because its parts are kept until it
calls :func:`forget`. They are reused only for the same settings and the same code.
"""

import hashlib
import inspect
import shutil
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from nc_jax.sweeps.engine import Build, run_sweep
from nc_jax.sweeps.plan import Block, Plan
from nc_jax.sweeps.store import Store


def tabulate(
    build: Build,
    blocks: Sequence[Block],
    folder: Path,
    settings: Any,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Any:
    """All points of some blocks together with the outputs of a function.

    Args:
        build: makes the function of a block from its choices.
        blocks: the blocks to compute, with their chunk sizes.
        folder: folder of the parts.
        settings: JSON; everything else that the function's numbers depend on.
        seed: seed of the keys of the points.
        progress: called with the numbers of new points and failed chunks.

    Returns:
        A pandas table in the order of the blocks.

    Raises:
        ValueError: the function raised.
        OSError: the folder cannot be written.
    """
    settings = {"settings": settings, "seed": seed, "code": _code(_source(build))}
    store = Store(folder)
    plan = store.prepare(Plan(settings, tuple(blocks)), replace=True)
    outcome = run_sweep(plan, build, store, seed, progress=progress)
    if outcome.failed:
        raise ValueError("; ".join(dict.fromkeys(outcome.failed)))
    return store.to_pandas().drop(columns="point")


def forget(folder: Path) -> None:
    """Removes the parts after the study has stored its results."""
    shutil.rmtree(folder, ignore_errors=True)


def _source(build: Any) -> str | None:
    """The file of a function, or of an object's class."""
    return inspect.getsourcefile(build if inspect.isroutine(build) else type(build))


@cache
def _code(caller: str | None) -> str:
    """A digest of this package's source and of the caller's."""
    package = Path(__file__).parents[1]
    files = sorted(package.rglob("*.py")) + ([Path(caller)] if caller else [])
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
