"""Any surrogate with any loss: direct optimisation of the layers from many random starts."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from nc_jax.checks import require_count
from nc_jax.immutable import immutable, set_fields
from nc_jax.solvers.bounds import lower_bound
from nc_jax.solvers.convex import convex_solver, relaxation
from nc_jax.solvers.factored_solution import FactoredSolution
from nc_jax.solvers.quasi_newton import Minima, Settings, minimise_lanes
from nc_jax.solvers.solution import Status, default_tolerance
from nc_jax.surrogates.layers import FactoredProgram

# A relaxed program without its own solver has no spurious minima; the second start is a reserve.
RELAXED_RESTARTS = 2


@immutable(static=("restarts", "max_iterations", "memory", "slots"))
class FactoredMultiStart:
    """L-BFGS on weights, features and biases, restarted from random points.

    Constraints hold by construction (balls are projections of spheres), and penalties
    are part of the cost. All restarts of all models go through one queue, in
    which no lane waits for another (:mod:`nc_jax.solvers.quasi_newton`).

    Attributes:
        tolerance: duality gap up to which a lane counts as converged; by
            default 1e−9 in float64 and 1e−5 in float32.
        stationarity: without a certificate a lane counts as stationary at
            residual ≤ stationarity·(|objective| + 1e−3); by default 1e−7 in float64
            and 1e−2 in float32. Restarts aim at a thousandth of it.
        restarts: number of random starts for each model.
        max_iterations: largest number of steps of a restart.
        memory: number of L-BFGS pairs.
        slots: number of restarts processed at a time.
    """

    tolerance: Any
    stationarity: Any
    restarts: int
    max_iterations: int
    memory: int
    slots: int

    def __init__(
        self,
        tolerance: Any = None,
        stationarity: Any = None,
        restarts: int = 8,
        max_iterations: int = 5000,
        memory: int = 6,
        slots: int = 128,
    ):
        counts = {
            "restarts": restarts,
            "max_iterations": max_iterations,
            "memory": memory,
            "slots": slots,
        }
        for name, value in counts.items():
            require_count(name, value, 1)
        set_fields(self, tolerance=tolerance, stationarity=stationarity, **counts)

    def floats_per_lane(self, model: FactoredProgram) -> int:
        """The points and results of all restarts; the memory of the slots is not included."""
        shape = jax.eval_shape(lambda: model.start(jax.random.key(0)))
        return 4 * self.restarts * sum(leaf.size for leaf in jax.tree.leaves(shape))

    def __call__(self, model: FactoredProgram, key: Array | None = None) -> FactoredSolution:
        """Solves one model; use :func:`nc_jax.solve_batch` for many.

        Args:
            model: any surrogate.
            key: PRNG key of the random starts; a fixed one by default.
        """
        key = jax.random.key(0) if key is None else key
        models = jax.tree.map(lambda leaf: leaf[None], model)
        solved = self.solve_lanes(models, key[None])
        return jax.tree.map(lambda leaf: leaf[0], solved)

    def solve_lanes(self, models: FactoredProgram, keys: Array) -> FactoredSolution:
        """Solves L models, all leaves with leading axis [L], with one key for each."""
        lanes = keys.shape[0]
        single = jax.tree.map(lambda leaf: leaf[0], models)
        template = jax.eval_shape(lambda: single.start(keys[0]))
        _, unravel = ravel_pytree(jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), template))
        dtype = single.sizes.group_sizes.dtype

        def objective(model: FactoredProgram, point: Array) -> Array:
            return model.cost(model.layers(unravel(point)))

        def start(model: FactoredProgram, key: Array) -> Array:
            return ravel_pytree(model.start(key))[0]

        repeated = jax.tree.map(lambda leaf: jnp.repeat(leaf, self.restarts, axis=0), models)
        split = jax.vmap(lambda key: jax.random.split(key, self.restarts))(keys)
        aim = 1e-3 * self._stationarity(dtype)
        settings = Settings(aim, 1e-3 * aim, self.max_iterations, self.memory, self.slots)
        bounds = self._relaxed_bounds(models, keys)
        minima = minimise_lanes(objective, start, repeated, split.reshape(-1), settings)

        def conclude(args: tuple[FactoredProgram, Minima, Array]) -> FactoredSolution:
            return self._conclude(*args, unravel)

        grouped = jax.tree.map(
            lambda leaf: leaf.reshape(lanes, self.restarts, *leaf.shape[1:]), minima
        )
        return jax.lax.map(conclude, (models, grouped, bounds), batch_size=min(lanes, 1024))

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
            solved = jax.lax.map(solver, relaxed, batch_size=min(keys.shape[0], 1024))
        bounds = solved.objective - solved.gap
        return jnp.where(jnp.isnan(bounds), -jnp.inf, bounds)

    def _stationarity(self, dtype: Any) -> Array:
        default = 1e-7 if dtype == jnp.float64 else 1e-2
        return jnp.asarray(default if self.stationarity is None else self.stationarity, dtype)

    def _conclude(
        self, model: FactoredProgram, restarts: Minima, bound: Array, unravel: Any
    ) -> FactoredSolution:
        """The best restart of one model, with a certificate if that is possible."""
        values = jnp.where(jnp.isfinite(restarts.value), restarts.value, jnp.inf)
        best = jax.tree.map(lambda leaf: leaf[jnp.argmin(values)], restarts)
        layers = model.layers(unravel(best.point))
        objective = model.cost(layers)
        bound = jnp.fmax(bound, lower_bound(model, layers))
        gap = jnp.maximum(objective - bound, 0)
        tolerance = default_tolerance(self.tolerance, objective.dtype)
        limit = self._stationarity(objective.dtype) * (jnp.abs(objective) + 1e-3)
        rest = jnp.where(best.residual <= limit, Status.STATIONARY, Status.NOT_CONVERGED)
        status = jnp.where(gap <= tolerance, Status.CONVERGED, rest)
        valid = model.valid & jnp.isfinite(objective)
        status = jnp.where(model.valid, status, Status.INVALID).astype(jnp.int32)

        def mask(x: Array) -> Array:
            return jnp.where(valid, x, jnp.nan)

        return FactoredSolution(
            model=model,
            layers=jax.tree.map(mask, layers),
            objective=mask(objective),
            gap=mask(gap),
            residual=mask(best.residual),
            status=status,
            iterations=best.iterations,
            restart_objectives=mask(restarts.value),
            restart_evaluations=restarts.evaluations,
        )
