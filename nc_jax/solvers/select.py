"""The front door: picks a solver, for one model or for a batch."""

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
        """Roughly how many numbers a lane of a batch holds while it is solved."""
        ...


# Restarts where the dimensions are too few for the convex form, and local minima abound.
SHORT_RESTARTS = 16

# Numbers held at a time by a batch (one gigabyte in float64), and lanes beyond
# which larger chunks stop paying.
WORKING_FLOATS = 2**27
MAX_LANES = 2**16

# Slots' worth of lanes that keep a further core busy.
LANES_WORTH_A_CORE = 4

# Groups from which on lanes of the quasi-Newton solver are solved one by one on a CPU.
WIDE = 48

# Fields of the models that carry an axis of their own; all others are numbers.
VECTORS = ("sizes", "weight_energies")


def choose_solver(model: Surrogate) -> Solver | MultilayerSolver:
    """The solver that :func:`solve` uses: a static choice, by structure and loss.

    Programs convex in the logits go to a solver over group numbers, which
    certifies its answer; multilayer models to one that eliminates the features
    where it can; all others, among them those of fewer dimensions than the convex
    form needs, to :class:`FactoredMultiStart`.
    """
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
    """Solves a surrogate; certified wherever the program is convex in the logits.

    Pure, jit- and vmap-able. A batched model is handed to :func:`solve_batch`.

    Args:
        model: what to solve.
        solver: by default the best for the model (:func:`choose_solver`).
        key: PRNG key of solvers that start at random; others ignore it.

    Returns:
        A :class:`Solution` with its duality gap, or of the factored solver a
        :class:`FactoredSolution` with its residual and restarts; read ``status``
        (or :func:`nc_jax.phase`) before its numbers.

    Raises:
        TypeError, ValueError: not a model, or one that the solver does not take.
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
    """Solves every lane of a batched model; a bad lane spoils no other.

    Args:
        model: leading axes of sizes and energies broadcast to the batch [...].
        solver: as in :func:`solve`.
        key: one, split over the lanes, or one for each lane [...].
        batch_size: lanes worked on at a time, which bounds memory; by default
            as many as hold about a gigabyte (solvers with restarts have ``slots``).

    Returns:
        A solution whose leaves lead with the batch axes; ``status`` per lane.
    """
    _check(model, solver)
    if isinstance(model, MultilayerUnconstrainedFeatures):
        return _solve_multilayer(model, solver or choose_solver(model), key)
    shape = model.batch_shape
    solver = solver or _choose(model)
    if isinstance(solver, MultilayerSolver):
        raise TypeError(f"solver must suit a {type(model).__name__} model, got {solver!r}")
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
    elif batch_size is None and _one_by_one(model, solver):
        # Lanes that need different numbers of steps do not wait for each other one by one.
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
        raise ValueError(f"key must be one, or one for each lane {shape}, got {key.shape}")
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
    """One queue a core: on a CPU, XLA runs programs as small as these on a single one."""
    lanes = keys.shape[0]
    cores = os.cpu_count() or 1
    queues = min(cores, lanes * solver.restarts // (LANES_WORTH_A_CORE * solver.slots))
    return _in_parts(lambda own, key: _solve_queue(own, solver, key), models, keys, queues)


def _one_by_one(model: TopLayersModel, solver: Solver) -> bool:
    """Whether lanes are wide enough to fill a core each; other backends want them together."""
    wide = isinstance(solver, FactoredQuasiNewton) and model.sizes.num_groups >= WIDE
    return wide and jax.default_backend() == "cpu"


def _in_parts(solved_by: Callable[..., Any], models: Any, keys: Any, parts: int) -> Any:
    """Lanes in equal parts, one a core, where that is possible: on a CPU, for known numbers."""
    leaves = jax.tree.leaves((models, keys))
    lanes = leaves[0].shape[0]
    concrete = all(is_concrete(leaf) for leaf in leaves)
    if parts < 2 or not concrete or jax.default_backend() != "cpu":
        return solved_by(models, keys)
    # Equal parts share one compiled program; the last lane fills the last part.
    size = -(-lanes // parts)
    shares = []
    for first in range(0, lanes, size):
        index = np.minimum(np.arange(first, first + size), lanes - 1)
        shares.append(jax.tree.map(lambda leaf, index=index: leaf[index], (models, keys)))

    def solve_part(part: tuple[Any, Any]) -> Any:
        return jax.block_until_ready(solved_by(*part))

    # LAPACK's own threads, which wait by spinning, would take the cores from each other.
    with threadpool_limits(1), ThreadPoolExecutor(parts) as pool:
        solved = list(pool.map(solve_part, shares))
    return jax.tree.map(lambda *own: jnp.concatenate(own)[:lanes], *solved)


def _solve_multilayer(
    model: MultilayerUnconstrainedFeatures, solver: Any, key: Array | None
) -> MultilayerSolution:
    """Where the features are eliminated, the samples stay out of the compiled program."""
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
