"""The table of a study: a sweep into a folder that exists as long as the study runs.

A study that was interrupted resumes where it stopped, because its parts are kept until it
calls :func:`forget`. They are reused only for the same settings and the same code.
"""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nc_jax.source import warn_of_other_code
from nc_jax.sweeps.engine import Build, code_of, run_sweep
from nc_jax.sweeps.plan import CODE, Block, Plan
from nc_jax.sweeps.store import MANIFEST, Store


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
        build: makes the function of a block from its choices; it is defined in a file, because
            parts are reused only for the same code.
        blocks: the blocks to compute, with their chunk sizes.
        folder: folder of the parts.
        settings: JSON; everything else that the function's numbers depend on.
        seed: seed of the keys of the points.
        progress: called with the numbers of new points and failed chunks.

    Returns:
        A pandas table in the order of the blocks.

    Raises:
        ValueError: the function raised, or is not defined in a file.
        OSError: the folder cannot be written.
    """
    settings = {"settings": settings, "seed": seed, CODE: code_of(build)}
    store, plan = Store(folder), Plan(settings, tuple(blocks))
    before = _plan_in(store)
    if before is not None and before.code != plan.code:
        warn_of_other_code(folder, "points")
    plan = store.prepare(plan, replace=True)
    outcome = run_sweep(plan, build, store, seed, progress=progress)
    if outcome.failed:
        raise ValueError("; ".join(dict.fromkeys(outcome.failed)))
    return store.to_pandas().drop(columns="point")


def forget(folder: Path) -> None:
    """Removes the parts below a folder after the study has stored its results.

    Parts of other settings or other code are left there.
    """
    for manifest in list(folder.rglob(MANIFEST)):
        plan = _plan_in(Store(manifest.parent))
        for fingerprint in () if plan is None else plan.fingerprints:
            for part in manifest.parent.glob(f"parts/{fingerprint}-*"):
                part.unlink()
        shutil.rmtree(manifest.parent / "failures", ignore_errors=True)
        manifest.unlink()
    for place in [*sorted(folder.rglob("*"), reverse=True), folder]:
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()


def _plan_in(store: Store) -> Plan | None:
    """The plan of a store; None if there is none, or none that can be read."""
    try:
        return store.plan()
    except ValueError:
        return None
