"""A spec and its store: computing what is missing, and what the store holds."""

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import pandas as pd

from nc_jax.specs.reading import Spec
from nc_jax.sweeps import Estimates, Outcome, Plan, Store, aggregate, cells_of, run_sweep
from nc_jax.sweeps.machines import on_ray, require_ray

# Makes the function of the surrogate in a worker, see ``nc_jax.sweeps.machines``.
MAKER = "nc_jax.experiments:experiment_from"
CELLS = 100


class Cluster(NamedTuple):
    """A Ray cluster.

    Attributes:
        address: 'local' for one on this machine, or the address of one to join.
        cpus: CPU cores that each task reserves.
        gpus: GPUs that each task reserves.
    """

    address: str
    cpus: float = 1.0
    gpus: float = 0.0


def compute(
    spec: Spec,
    store: Store,
    share: tuple[int, int] = (0, 1),
    replace: bool = False,
    any_code: bool = False,
    cluster: Cluster | None = None,
    stop: threading.Event | None = None,
    bar: Callable[[int], AbstractContextManager[Callable[[int, int], None]]] | None = None,
) -> Outcome:
    """Computes what the store lacks.

    Args:
        spec: the sweep.
        store: where the table is.
        share: (i, n), to compute only every n-th chunk.
        replace: see :meth:`nc_jax.sweeps.Store.prepare`.
        any_code: see :meth:`nc_jax.sweeps.Store.prepare`.
        cluster: computes the chunks in place of this process.
        stop: an event; if it is set, the run ends after the chunks that are in progress.
        bar: from the number of points to a context, within which it is called with the numbers of
            new points and failed chunks.

    Raises:
        ImportError: Ray is needed and not installed.
        ValueError: the store holds another sweep, or one that was begun by other code.
        OSError: the store cannot be written; all chunks written so far are complete.
    """
    if cluster is not None:
        require_ray()
    measure = Estimates(spec.experiment).chunk
    plan = store.prepare(spec.plan, measure, replace, any_code)
    elsewhere = None if cluster is None else _on_cluster(spec, plan, store, cluster)
    work = plan, spec.experiment, store, spec.seed, share, None, stop
    if bar is None:
        return run_sweep(*work, None, elsewhere)
    with bar(plan.points_of(share)) as progress:
        return run_sweep(*work, progress, elsewhere)


def _on_cluster(spec: Spec, plan: Plan, store: Store, cluster: Cluster) -> Callable[..., None]:
    x64 = spec.experiment.dtype == "float64"
    return on_ray(plan, store, MAKER, spec.plan.code, spec.seed, x64, *cluster)


def other_code(spec: Spec, store: Store) -> list[str]:
    """Lines on a store with rows of several versions of the code, or not of the present one."""
    codes, lines = store.codes(), []
    if len(codes) > 1:
        lines.append(f"{store.address} holds rows of {len(codes)} versions of the code")
    if codes and spec.plan.code not in codes:
        lines.append(
            f"{store.address} was filled by another version of the code: 'run' needs another "
            "--store, --replace True, or --any-code True to continue it"
        )
    return lines


def chosen_axes(spec: Spec, over: Sequence[str]) -> tuple[str, ...]:
    """One or two axes of a sweep; if none are given, its last ones.

    Raises:
        ValueError: an unknown axis, or more than two.
    """
    over = tuple(over) or spec.axes[-2:]
    if set(over) - set(spec.axes) or len(over) not in (1, 2):
        raise ValueError(
            f"--over must be one or two of {', '.join(spec.axes)}, got {' '.join(over)}"
        )
    return over


def coarse_table(
    spec: Spec, store: Store, over: Sequence[str], cells: Sequence[int], outputs: Sequence[str]
) -> pd.DataFrame:
    """Outputs in the cells of one or two axes, see :func:`nc_jax.sweeps.aggregate`.

    Args:
        spec: the sweep.
        store: its table, which may be larger than memory.
        over: see :func:`chosen_axes`.
        cells: number of cells of each axis, or one for all; 100 if it is empty.
        outputs: names of outputs.

    Raises:
        ValueError: an unknown axis, or a number of cells that is not in 1…1000.
        FileNotFoundError: the store is empty.
    """
    names, numbers = chosen_axes(spec, over), tuple(cells) or (CELLS,)
    if len(numbers) not in (1, len(names)) or not all(0 < number <= 1000 for number in numbers):
        raise ValueError(f"--cells must be one number from 1 to 1000, or one for each of {names}")
    each = numbers if len(numbers) == len(names) else numbers * len(names)
    plan = store.plan() or spec.plan
    found = {name: cells_of(plan, name, number) for name, number in zip(names, each, strict=True)}
    return aggregate(store, found, outputs)
