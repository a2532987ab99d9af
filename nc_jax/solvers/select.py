"""The front door: picks a solver, for one model or for a batch."""

import math
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from nc_jax.checks import require_count
from nc_jax.losses import CrossEntropy
from nc_jax.solvers.general import FactoredQuasiNewton
from nc_jax.solvers.reduced import ReducedInteriorPoint
from nc_jax.solvers.solution import Solution
from nc_jax.solvers.two_groups import TwoGroupRoot
from nc_jax.surrogates.grouped import GroupedProgram
from nc_jax.surrogates.layer_peeled import LayerPeeled
from nc_jax.surrogates.unconstrained import UnconstrainedFeatures


class Solver(Protocol):
    """An immutable object that holds settings and solves one model."""

    def __call__(self, model: GroupedProgram, key: Array | None = None) -> Solution:
        """Solves one model; pure, jit- and vmap-able."""
        ...

    def floats_per_lane(self, model: GroupedProgram) -> int:
        """Roughly how many numbers a lane of a batch holds while it is solved."""
        ...


# Beyond this many groups the dense Newton system of the reduced program costs
# more than matrix products over all classes (benchmarks/layer_peeled.py).
MAX_REDUCED_GROUPS = 16

# Numbers held at a time by a batch (one gigabyte in float64), and lanes beyond
# which larger chunks stop paying.
WORKING_FLOATS = 2**27
MAX_LANES = 2**16


def choose_solver(model: GroupedProgram) -> Solver:
    """The solver that :func:`solve` uses: a static choice, by structure and loss.

    Raises:
        ValueError: the loss is not convex in the logits, so that no solver here
            could certify an answer.
    """
    groups = model.sizes.num_groups
    two_groups = isinstance(model, LayerPeeled) and groups == 2
    if two_groups and isinstance(model.loss, CrossEntropy):
        return TwoGroupRoot()
    if groups <= MAX_REDUCED_GROUPS:
        return ReducedInteriorPoint()
    return FactoredQuasiNewton()


def solve(
    model: GroupedProgram, solver: Solver | None = None, key: Array | None = None
) -> Solution:
    """Solves a Layer-Peeled or an unconstrained feature model to certified optimality.

    Pure, jit- and vmap-able. A batched model is handed to :func:`solve_batch`.

    Args:
        model: what to solve.
        solver: by default the best for the model (:func:`choose_solver`).
        key: PRNG key of solvers that start at random; others ignore it.

    Returns:
        The solution with its duality gap; read ``status`` (or
        :func:`nc_jax.phase`) before its numbers.

    Raises:
        TypeError, ValueError: not a model, or one that the solver does not take.
    """
    _check(model, solver)
    if model.batch_shape:
        return solve_batch(model, solver, key)
    return _solve_one(model, solver or choose_solver(model), key)


def solve_batch(
    model: GroupedProgram,
    solver: Solver | None = None,
    key: Array | None = None,
    batch_size: int | None = None,
) -> Solution:
    """Solves every lane of a batched model; a bad lane spoils no other.

    Args:
        model: leading axes of sizes and energies broadcast to the batch [...].
        solver: as in :func:`solve`.
        key: split over the lanes.
        batch_size: lanes worked on at a time, which bounds memory; by default
            as many as hold about a gigabyte.

    Returns:
        A solution whose leaves lead with the batch axes; ``status`` per lane.
    """
    _check(model, solver)
    shape = model.batch_shape
    solver = solver or choose_solver(model)
    if batch_size is None:
        batch_size = min(MAX_LANES, max(1, WORKING_FLOATS // solver.floats_per_lane(model)))
    require_count("batch_size", batch_size, 1)
    lanes = math.prod(shape)
    keys = None if key is None else jax.random.split(key, lanes)

    def flatten(path: tuple, leaf: Array) -> Array:
        # Group sizes carry an axis of their own; all other leaves are numbers.
        own = leaf.shape[-1:] if path[0].name == "sizes" else ()
        return jnp.broadcast_to(leaf, shape + own).reshape((lanes, *own))

    lane_models = jax.tree_util.tree_map_with_path(flatten, model)
    solved = _solve_lanes(lane_models, solver, keys, min(batch_size, lanes))
    return jax.tree.map(lambda leaf: leaf.reshape(shape + leaf.shape[1:]), solved)


@jax.jit
def _solve_one(model: GroupedProgram, solver: Solver, key: Array | None) -> Solution:
    return solver(model, key=key)


@partial(jax.jit, static_argnames="batch_size")
def _solve_lanes(
    models: GroupedProgram, solver: Solver, keys: Array | None, batch_size: int
) -> Solution:
    def lane(model_and_key: tuple[GroupedProgram, Array | None]) -> Solution:
        return solver(model_and_key[0], key=model_and_key[1])

    return jax.lax.map(lane, (models, keys), batch_size=batch_size)


def _check(model: Any, solver: Any) -> None:
    """Raises TypeError unless the arguments are a model and a solver (or None)."""
    if not isinstance(model, LayerPeeled | UnconstrainedFeatures):
        raise TypeError(
            "model must be a LayerPeeled or an UnconstrainedFeatures model, "
            f"got {type(model).__name__}"
        )
    if solver is not None and not callable(solver):
        raise TypeError(f"solver must be a solver such as ReducedInteriorPoint(), got {solver!r}")
