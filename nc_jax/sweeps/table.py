"""The table of a study: a sweep into a folder that lives as long as the study runs.

A study that was killed goes on where it was, for its parts stay until it calls
:func:`forget`. They serve again only for the same settings and the same code.
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
    """All points of some blocks, and what a function makes of them.

    Args:
        build: makes a block's function from its choices.
        blocks: what to compute, with the chunks they are to be computed in.
        folder: of the parts.
        settings: JSON; whatever else the function's numbers depend on.
        seed: of the points' keys.
        progress: called with points and failed chunks as they come.

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
    """Removes the parts, once what was made of them is stored."""
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
