"""Many random starts of every model of a batch, in one queue; the best one, and its status."""

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from nc_jax.batches import Lanes
from nc_jax.checks import require_count
from nc_jax.immutable import derived, immutable
from nc_jax.solvers.quasi_newton import Minima, Settings, minimise_lanes
from nc_jax.solvers.solution import Status, default_tolerance

# Up to this many numbers, programs with fewer optimisations save one to three seconds of
# compilation and take tenths of a second longer at most: 0.05 s with 20,000 numbers, 0.4 s with
# 38,000. With ten times as many they take seconds longer.
BRIEF_FLOATS = 2**15

# Settings that are fixed when a program is compiled.
SETTINGS = ("restarts", "max_iterations", "memory", "slots")


@immutable(static=SETTINGS)
class MultiStart:
    """What the solvers with random starts have in common: counts, accuracy, settings.

    Attributes:
        tolerance: duality gap up to which a lane counts as converged; by
            default 1e−9 in float64 and 1e−5 in float32.
        stationarity: without a certificate a lane counts as stationary at
            residual ≤ stationarity·(|objective| + 1e−3). Restarts aim at a thousandth of it.
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

    # Stationarity by default, in float64 and float32.
    default_stationarity = (1e-9, 1e-3)

    def brief(self, model: Any) -> bool:
        """Whether the restarts take far less time than compiling, judged by their memory."""
        return self.floats_per_lane(model) * math.prod(model.batch_shape) <= BRIEF_FLOATS

    @abstractmethod
    def floats_per_lane(self, model: Any) -> int:
        """The points and results of all restarts."""

    def settings(self, dtype: Any) -> Settings:
        """How long and how precisely to minimise."""
        aim = 1e-3 * self._stationarity(dtype)
        return Settings(aim, 1e-3 * aim, self.max_iterations, self.memory, self.slots)

    def _stationarity(self, dtype: Any) -> Array:
        default = self.default_stationarity[0 if dtype == jnp.float64 else 1]
        return jnp.asarray(default if self.stationarity is None else self.stationarity, dtype)

    def conclude(
        self, restarts: Minima, best: Minima, objective: Array, bound: Array, valid: Array
    ) -> "Ending":
        """Certificate and status of one model from all its restarts.

        Args:
            restarts: leaves [restarts, ...].
            best: the chosen one of them.
            objective: [] at the best point, from the definition of the model.
            bound: [] a lower bound on the optimum; minus infinity if there is none.
            valid: [] whether the numbers of the model are valid.
        """
        gap = jnp.maximum(objective - bound, 0)
        tolerance = default_tolerance(self.tolerance, objective.dtype)
        limit = self._stationarity(objective.dtype) * (jnp.abs(objective) + 1e-3)
        rest = jnp.where(best.residual <= limit, Status.STATIONARY, Status.NOT_CONVERGED)
        status = jnp.where(gap <= tolerance, Status.CONVERGED, rest)
        good = valid & jnp.isfinite(objective)

        def mask(x: Array) -> Array:
            return jnp.where(good, x, jnp.nan)

        return Ending(
            good,
            {
                "objective": mask(objective),
                "gap": mask(gap),
                "residual": mask(best.residual),
                "status": jnp.where(valid, status, Status.INVALID).astype(jnp.int32),
                "iterations": best.iterations,
                "restart_objectives": mask(restarts.value),
                "restart_evaluations": restarts.evaluations,
            },
        )


class Ending(NamedTuple):
    """How the restarts of one model ended.

    Attributes:
        good: [] whether there is a result; all numbers are NaN otherwise.
        fields: those of :class:`RestartedSolution`, by name.
    """

    good: Array
    fields: dict[str, Array]

    def masked(self, values: Any) -> Any:
        """A pytree of arrays, NaN if there is no result."""
        return jax.tree.map(lambda x: jnp.where(self.good, x, jnp.nan), values)


@immutable()
class RestartedSolution:
    """What the solutions from random starts have in common.

    Attributes:
        objective: [...] the objective of the best restart.
        gap: [...] upper bound on objective − optimum; infinity without a certificate.
        residual: [...] ‖gradient‖·‖parameters‖, the first-order change of the
            objective for a relative change of the solver's parameters.
        status: [...] integers, see :class:`nc_jax.Status`.
        iterations: [...] integers, number of steps of the best restart.
        restart_objectives: [..., restarts], unordered.
        restart_evaluations: [..., restarts] integers.
    """

    objective: Array
    gap: Array
    residual: Array
    status: Array
    iterations: Array
    restart_objectives: Array
    restart_evaluations: Array

    @derived
    def spread(self) -> Array:
        """Largest minus smallest objective of the restarts [...]."""
        return jnp.max(self.restart_objectives, -1) - jnp.min(self.restart_objectives, -1)

    def restarts_within(self, tolerance: float) -> Array:
        """How many restarts [...] reached the best up to a relative tolerance."""
        best = self.objective[..., None]
        return jnp.sum(self.restart_objectives <= best + tolerance * jnp.abs(best), axis=-1)


def checked_counts(**counts: Any) -> dict[str, int]:
    """The counts of a solver by name; ValueError or TypeError unless all are at least 1."""
    return {name: require_count(name, value, 1) for name, value in counts.items()}


def minimise_restarts(
    lanes: Lanes,
    objective: Callable[[Any, Array], Array],
    start: Callable[[Any, Array], Array],
    key: Array,
    restarts: int,
    settings: Settings,
) -> Minima:
    """Minimises every lane from ``restarts`` starts; leaves have leading axes [L, restarts].

    Args:
        lanes: the models.
        objective: of a single model and a point [d].
        start: a point [d] of a single model and a key.
        key: one key, split over lanes and restarts, or one for each lane [L].
        restarts: number of starts of each lane.
        settings: see :class:`Settings`.
    """
    count = lanes.numbers[0].shape[0]
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.ndim:
        keys = jax.vmap(lambda own: jax.random.split(own, restarts))(key).reshape(-1)
    else:
        keys = jax.random.split(key, count * restarts)
    repeated = [jnp.repeat(leaf, restarts, axis=0) for leaf in lanes.numbers]
    minima = minimise_lanes(
        lambda numbers, point: objective(lanes.rebuild(numbers), point),
        lambda numbers, key: start(lanes.rebuild(numbers), key),
        repeated,
        keys,
        settings,
    )
    return jax.tree.map(lambda leaf: leaf.reshape(count, restarts, *leaf.shape[1:]), minima)


def best_of(restarts: Minima) -> Minima:
    """The restart of one lane with the lowest value; NaN is never the lowest."""
    values = jnp.where(jnp.isfinite(restarts.value), restarts.value, jnp.inf)
    return jax.tree.map(lambda leaf: leaf[jnp.argmin(values)], restarts)
