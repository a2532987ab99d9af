"""The main entry points: solve one model or a batch with a suitable solver."""

import dataclasses
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from threadpoolctl import threadpool_limits

from nc_jax.checks import is_concrete, require_count
from nc_jax.losses import MeanSquaredError, own_axes
from nc_jax.solvers.convex import convex_solver, relaxation
from nc_jax.solvers.factored import FactoredMultiStart
from nc_jax.solvers.factored_solution import FactoredSolution
from nc_jax.solvers.general import FactoredQuasiNewton
from nc_jax.solvers.multilayer import EliminatedMultiStart, LayerwiseMultiStart
from nc_jax.solvers.multilayer_solution import MultilayerSolution
from nc_jax.solvers.reduced import ReducedInteriorPoint
from nc_jax.solvers.solution import Solution
from nc_jax.surrogates.deep import DeepLayerPeeled
from nc_jax.surrogates.deep_unconstrained import DeepUnconstrainedFeatures
from nc_jax.surrogates.layer_peeled import LayerPeeled
from nc_jax.surrogates.multilayer import LayerInputs, MultilayerUnconstrainedFeatures
from nc_jax.surrogates.unconstrained import UnconstrainedFeatures

TopLayersModel = LayerPeeled | UnconstrainedFeatures | DeepLayerPeeled | DeepUnconstrainedFeatures
Surrogate = TopLayersModel | MultilayerUnconstrainedFeatures
MultilayerSolver = EliminatedMultiStart | LayerwiseMultiStart


class Solver(Protocol):
    """An immutable object that holds settings and solves one model."""

    def __call__(self, model: Any, key: Array | None = None) -> Any:
        """Solves one model; pure, jit- and vmap-able."""
        ...

    def floats_per_lane(self, model: Any) -> int:
        """Rough number of floats that a lane of a batch occupies while it is solved."""
        ...


# Restarts if there are too few dimensions for the convex form, which means many local minima.
SHORT_RESTARTS = 16

# Numbers that a batch holds at a time (one gigabyte in float64), and number of lanes beyond
# which larger chunks bring no gain.
WORKING_FLOATS = 2**27
MAX_LANES = 2**16

# Another core is used if there are lanes for this many times the slots.
LANES_WORTH_A_CORE = 4

# The interior-point solver works through its lanes in small chunks on one core.
LANES_WORTH_A_THREAD = 512

# From this many groups on a CPU solves the lanes of the quasi-Newton solver one by one.
WIDE = 48

# Fields of the models with an axis of their own; all others are single numbers.
VECTORS = ("sizes", "weight_energies")


def choose_solver(model: Surrogate) -> Solver | MultilayerSolver:
    """The solver that :func:`solve` uses: a static choice, by structure and loss.

    Programs convex in the logits are solved over group numbers, with
    a certificate; multilayer models by elimination of the features
    if that is possible; all others, including those with fewer dimensions than the convex
    form needs, by :class:`FactoredMultiStart`.
    """
    _check(model, None)
    if isinstance(model, MultilayerUnconstrainedFeatures):
        squared = isinstance(model.loss, MeanSquaredError)
        return EliminatedMultiStart() if squared else LayerwiseMultiStart()
    return _choose(model)


def _choose(model: TopLayersModel) -> Solver:
    solver = convex_solver(model)
    if solver is not None:
        return solver
    if relaxation(model) is None:
        return FactoredMultiStart()
    return FactoredMultiStart(restarts=SHORT_RESTARTS)


def solve(
    model: Surrogate, solver: Solver | MultilayerSolver | None = None, key: Array | None = None
) -> Any:
    """Solves a surrogate, with a certificate if the program is convex in the logits.

    Pure, jit- and vmap-able. A batched model is passed on to :func:`solve_batch`.

    Args:
        model: the surrogate to solve.
        solver: by default the best one for the model (:func:`choose_solver`).
        key: PRNG key for solvers with random starts; others ignore it.

    Returns:
        A :class:`Solution` with its duality gap, or, from the factored solver, a
        :class:`FactoredSolution` with its residual and restarts. Check ``status``
        (or :func:`nc_jax.phase`) before using the numbers.

    Raises:
        TypeError, ValueError: not a model, or a model that the solver does not accept.
    """
    _check(model, solver)
    if model.batch_shape or isinstance(model, MultilayerUnconstrainedFeatures):
        return solve_batch(model, solver, key)
    return _solve_one(model, solver or _choose(model), key)


def solve_batch(
    model: Surrogate,
    solver: Solver | MultilayerSolver | None = None,
    key: Array | None = None,
    batch_size: int | None = None,
) -> Any:
    """Solves every lane of a batched model; a bad lane does not affect the others.

    Args:
        model: leading axes of sizes and energies broadcast to the batch [...].
        solver: as in :func:`solve`.
        key: one key, split over the lanes, or one for each lane [...].
        batch_size: number of lanes processed at a time, which bounds memory; by default
            as many as need about a gigabyte (solvers with restarts have ``slots``).

    Returns:
        A solution whose leaves have the batch axes in front; ``status`` for each lane.
    """
    _check(model, solver)
    if isinstance(model, MultilayerUnconstrainedFeatures):
        return _solve_multilayer(model, solver or choose_solver(model), key)
    shape = model.batch_shape
    solver = solver or _choose(model)
    if isinstance(solver, MultilayerSolver):
        raise TypeError(f"solver must be one for a {type(model).__name__} model, got {solver!r}")
    if batch_size is not None:
        require_count("batch_size", batch_size, 1)
    lanes = math.prod(shape)
    if lanes == 0:
        raise ValueError(f"model must have at least one lane, got batch shape {shape}")
    keys = None if key is None else _lane_keys(key, shape)

    def flatten(path: tuple, leaf: Array) -> Array:
        axes = own_axes(path) if path[0].name == "loss" else int(path[0].name in VECTORS)
        own = leaf.shape[leaf.ndim - axes :]
        return jnp.broadcast_to(leaf, shape + own).reshape((lanes, *own))

    lane_models = jax.tree_util.tree_map_with_path(flatten, model)
    if isinstance(solver, FactoredMultiStart):
        keys = jax.random.split(jax.random.key(0), lanes) if keys is None else keys
        solved = _solve_queues(lane_models, solver, keys)
    elif batch_size is None and isinstance(solver, ReducedInteriorPoint):
        grouped: Any = model
        # Two programs that call LAPACK for a batch may wait for each other in XLA's threads.
        alone = lanes < LANES_WORTH_A_THREAD or solver.calls_lapack(grouped)
        cores = 1 if alone else min(os.cpu_count() or 1, lanes // LANES_WORTH_A_THREAD)
        size = min(MAX_LANES, max(1, WORKING_FLOATS // solver.floats_per_lane(grouped)))
        solved = _in_parts(
            lambda own, key: _solve_lanes(own, solver, key, min(size, -(-lanes // cores))),
            lane_models,
            keys,
            cores,
        )
    elif batch_size is None and _one_by_one(model, solver):
        # Solved one by one, lanes that need more steps do not hold up the others.
        cores = min(os.cpu_count() or 1, lanes)
        solved = _in_parts(
            lambda own, key: _solve_lanes(own, solver, key, None), lane_models, keys, cores
        )
    else:
        single: Any = model
        if batch_size is None:
            batch_size = min(MAX_LANES, max(1, WORKING_FLOATS // solver.floats_per_lane(single)))
        solved = _solve_lanes(lane_models, solver, keys, min(batch_size, lanes))
    return jax.tree.map(lambda leaf: leaf.reshape(shape + leaf.shape[1:]), solved)


def _lane_keys(key: Array, shape: tuple[int, ...]) -> Array:
    """A key for each lane, in the order of the flattened batch."""
    if key.ndim == 0 or not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        return jax.random.split(key, math.prod(shape))
    if key.shape != shape:
        raise ValueError(f"key must be a single key or have shape {shape}, got {key.shape}")
    return key.reshape(-1)


@jax.jit
def _solve_one(model: Surrogate, solver: Any, key: Array | None) -> Any:
    return solver(model, key=key)


@jax.jit
def _solve_queue(
    models: TopLayersModel, solver: FactoredMultiStart, keys: Array
) -> FactoredSolution:
    return solver.solve_lanes(models, keys)


def _solve_queues(
    models: TopLayersModel, solver: FactoredMultiStart, keys: Array
) -> FactoredSolution:
    """One queue per core: on a CPU, XLA runs programs of this size on a single core."""
    lanes = keys.shape[0]
    cores = os.cpu_count() or 1
    queues = min(cores, lanes * solver.restarts // (LANES_WORTH_A_CORE * solver.slots))
    return _in_parts(lambda own, key: _solve_queue(own, solver, key), models, keys, queues)


def _one_by_one(model: TopLayersModel, solver: Solver) -> bool:
    """Whether each lane is large enough to use a core alone; GPUs solve lanes together."""
    wide = isinstance(solver, FactoredQuasiNewton) and model.sizes.num_groups >= WIDE
    return wide and jax.default_backend() == "cpu"


def _in_parts(solved_by: Callable[..., Any], models: Any, keys: Any, parts: int) -> Any:
    """Lanes in equal parts, one per core, if possible: on a CPU, for concrete numbers."""
    leaves = jax.tree.leaves((models, keys))
    lanes = leaves[0].shape[0]
    concrete = all(is_concrete(leaf) for leaf in leaves)
    if parts < 2 or not concrete or jax.default_backend() != "cpu":
        return solved_by(models, keys)
    # Equal parts share one compiled program; copies of the last lane fill the last part.
    size = -(-lanes // parts)
    shares = []
    for first in range(0, lanes, size):
        index = np.minimum(np.arange(first, first + size), lanes - 1)
        shares.append(jax.tree.map(lambda leaf, index=index: leaf[index], (models, keys)))

    def solve_part(part: tuple[Any, Any]) -> Any:
        return jax.block_until_ready(solved_by(*part))

    # LAPACK's own threads wait actively and would take the cores from each other.
    with threadpool_limits(1), ThreadPoolExecutor(parts) as pool:
        solved = list(pool.map(solve_part, shares))
    return jax.tree.map(lambda *own: jnp.concatenate(own)[:lanes], *solved)


def _solve_multilayer(
    model: MultilayerUnconstrainedFeatures, solver: Any, key: Array | None
) -> MultilayerSolution:
    """If the features are eliminated, the samples are not passed to the compiled program."""
    if not isinstance(solver, EliminatedMultiStart | LayerwiseMultiStart):
        raise TypeError(
            "a MultilayerUnconstrainedFeatures model needs EliminatedMultiStart or "
            f"LayerwiseMultiStart, got {type(solver).__name__}"
        )
    if math.prod(model.batch_shape) == 0:
        raise ValueError(f"model must have at least one lane, got batch shape {model.batch_shape}")
    if key is not None and jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.ndim:
        key = _lane_keys(key, model.batch_shape)
    given = model
    if not solver.needs_samples:
        lean = LayerInputs(model.data.moments, None, None)
        given = model.with_data(lean)
    solution = _solve_one(given, solver, key)
    return dataclasses.replace(solution, model=model)


@partial(jax.jit, static_argnames="batch_size")
def _solve_lanes(
    models: TopLayersModel, solver: Solver, keys: Array | None, batch_size: int | None
) -> Solution:
    def lane(model_and_key: tuple[TopLayersModel, Array | None]) -> Solution:
        return solver(model_and_key[0], key=model_and_key[1])

    return jax.lax.map(lane, (models, keys), batch_size=batch_size)


def _check(model: Any, solver: Any) -> None:
    """Raises TypeError unless the arguments are a model and a solver (or None)."""
    if not isinstance(model, Surrogate):
        raise TypeError(
            "model must be a LayerPeeled, UnconstrainedFeatures, DeepLayerPeeled, "
            "DeepUnconstrainedFeatures or MultilayerUnconstrainedFeatures model, "
            f"got {type(model).__name__}"
        )
    if solver is not None and not callable(solver):
        raise TypeError(f"solver must be a solver such as ReducedInteriorPoint(), got {solver!r}")
