"""Any surrogate with any loss: direct optimisation of the layers from many random starts."""

import dataclasses
import math
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from nc_jax.batches import Lanes
from nc_jax.checks import offers
from nc_jax.immutable import immutable, set_fields
from nc_jax.solvers.acceptance import Batching, require_accepted
from nc_jax.solvers.bounds import lower_bound
from nc_jax.solvers.convex import convex_solver, relaxation
from nc_jax.solvers.factored_solution import FactoredSolution
from nc_jax.solvers.parametrisations import parametrised
from nc_jax.solvers.quasi_newton import Minima
from nc_jax.solvers.restarts import (
    SETTINGS,
    MultiStart,
    best_of,
    checked_counts,
    minimise_restarts,
)
from nc_jax.surrogates.layers import FactoredProgram

# A relaxed program without its own solver has no spurious minima; the second start is a reserve.
RELAXED_RESTARTS = 2
# Another core is used if there are restarts for this many times the slots.
LANES_WORTH_A_CORE = 4
# Largest number of lanes whose bounds and results are computed at a time.
LANES_AT_A_TIME = 1024


@immutable(static=SETTINGS)
class FactoredMultiStart(MultiStart):
    """L-BFGS on weights, features and biases, restarted from random points.

    Constraints hold by construction (balls are projections of spheres), and penalties
    are part of the cost. All restarts of all models go through one queue, in
    which no lane waits for another (:mod:`nc_jax.solvers.quasi_newton`).

    Attributes:
        tolerance: see :class:`.MultiStart`, as for all others. By default a lane is stationary
            at 1e−7 in float64 and 1e−2 in float32.
    """

    default_stationarity = (1e-7, 1e-2)

    def __init__(
        self,
        tolerance: Any = None,
        stationarity: Any = None,
        restarts: int = 8,
        max_iterations: int = 5000,
        memory: int = 6,
        slots: int = 128,
    ):
        counts = checked_counts(
            restarts=restarts, max_iterations=max_iterations, memory=memory, slots=slots
        )
        set_fields(self, tolerance=tolerance, stationarity=stationarity, **counts)

    def refusal(self, model: Any) -> Exception | None:
        """The error for a model without layers of its own; None for all others."""
        if offers(model, "cost", "shapes", "constraint"):
            return None
        return TypeError(
            "FactoredMultiStart needs a model over its layers, with shapes, a constraint and a "
            f"cost; got {type(model).__name__}"
        )

    def floats_per_lane(self, model: FactoredProgram) -> int:
        """The points and results of all restarts; the memory of the slots is not included."""
        shapes = jax.tree.leaves(model.shapes, is_leaf=_is_shape)
        return 4 * self.restarts * sum(math.prod(shape) for shape in shapes)

    def batching(self, model: FactoredProgram, lanes: int) -> Batching:
        """One queue per core, if there are restarts enough; a queue takes all its lanes."""
        queues = lanes * self.restarts // (LANES_WORTH_A_CORE * self.slots)
        return Batching(min(os.cpu_count() or 1, queues), lanes)

    def __call__(self, model: FactoredProgram, key: Array | None = None) -> FactoredSolution:
        """Solves one model; use :func:`nc_jax.solve_batch` for many.

        Args:
            model: any surrogate.
            key: PRNG key of the random starts; a fixed one by default.

        Raises:
            TypeError: the model has no layers of its own.
        """
        require_accepted(self, model)
        key = jax.random.key(0) if key is None else key
        models = jax.tree.map(lambda leaf: leaf[None], model)
        solved = self.solve_lanes(models, key[None])
        return jax.tree.map(lambda leaf: leaf[0], solved)

    def solve_lanes(self, models: FactoredProgram, keys: Array) -> FactoredSolution:
        """Solves L models, all leaves with leading axis [L], with one key for each."""
        leaves, structure = jax.tree.flatten(models)
        lanes = Lanes(leaves, partial(jax.tree.unflatten, structure), (leaves[0].shape[0],))
        count = lanes.shape[0]
        single = lanes.rebuild([leaf[0] for leaf in leaves])
        dtype = single.sizes.group_sizes.dtype
        unravel = unravelled(single)

        def objective(model: FactoredProgram, point: Array) -> Array:
            return model.cost(parametrised(model).layers(unravel(point)))

        def start(model: FactoredProgram, key: Array) -> Array:
            return ravel_pytree(parametrised(model).start(key))[0]

        bounds = self._relaxed_bounds(models, keys)
        minima = minimise_restarts(
            lanes, objective, start, keys, self.restarts, self.settings(dtype)
        )

        def finish(args: tuple[FactoredProgram, Minima, Array]) -> FactoredSolution:
            model, restarts, bound = args
            best = best_of(restarts)
            layers = parametrised(model).layers(unravel(best.point))
            value = model.cost(layers)
            bound = jnp.fmax(bound, lower_bound(model, layers))
            ending = self.conclude(restarts, best, value, bound, model.valid)
            return FactoredSolution(model=model, layers=ending.masked(layers), **ending.fields)

        return jax.lax.map(finish, (models, minima, bounds), batch_size=_side_by_side(count))

    def _relaxed_bounds(self, models: FactoredProgram, keys: Array) -> Array:
        """Lower bounds from the convex programs without rank constraint, for L models, [L]."""
        relaxed = jax.vmap(relaxation)(models)
        if relaxed is None:
            return jnp.full(keys.shape, -jnp.inf, models.sizes.group_sizes.dtype)
        solver = convex_solver(relaxed)
        if solver is None:
            few = dataclasses.replace(self, restarts=min(self.restarts, RELAXED_RESTARTS))
            solved = few.solve_lanes(relaxed, keys)
        else:
            solved = jax.lax.map(solver, relaxed, batch_size=_side_by_side(len(keys)))
        bounds = solved.objective - solved.gap
        return jnp.where(jnp.isnan(bounds), -jnp.inf, bounds)


def _side_by_side(lanes: int) -> int | None:
    """Lanes at a time; a single one is not made a batch, whose program is larger."""
    return None if lanes == 1 else min(lanes, LANES_AT_A_TIME)


def unravelled(model: FactoredProgram) -> Callable[[Array], Any]:
    """From a flat vector [d] to the parameters of a model."""
    template = jax.eval_shape(lambda: parametrised(model).start(jax.random.key(0)))
    return ravel_pytree(jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), template))[1]


def _is_shape(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and all(isinstance(n, int) for n in value)
