"""The balanced geometry at large budgets: the code whose largest cosine is smallest.

For balanced classes of equal length whose features are aligned with their classifiers,
w_k = h_k = √E u_k, the loss is about log Σ_{k≠j} exp(E u_k·u_j) for large E. As the budget grows,
the minimiser tends to a code whose largest cosine is as small as possible. The budget is
increased in steps, each started from the end of the last one, from many random starts. Half of
them are antipodal, and a third each begin at the first, second and third budget, because this
decides in which local minimum a path ends. The best few codes are then polished by minimising
the largest cosine itself with a sequence of linear programs over the closest pairs, within a
trust region.

A softmax code (Jiang et al. 2023, arXiv 2310.05351) instead makes the smallest one-vs-rest
margin as large as possible (:func:`nc_jax.metrics.one_vs_rest_margins`). If this margin is one
minus the largest cosine for every class, as in the sharp codes, the two agree.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.checks import require_count
from nc_jax.solvers.parametrisations import maybe_mirrored
from nc_jax.solvers.quasi_newton import Minima, Settings, minimise_lanes
from nc_jax.solvers.solution import Status

# Budgets E of the steps; the last one leaves an error of the order of log(contacts)/E.
BUDGETS = (20.0, 80.0, 320.0)
# Starts processed at a time; so few that no second, smaller stage has to be compiled.
SLOTS = 56
# Quasi-Newton steps at each budget; starts that need more rarely end in the best code.
STEPS = 500
# Number of restarts that are polished, and of linear programs for each of them.
POLISHED = 2
# End points whose cosines differ by less than this count as one code, polished once.
SAME = 1e-5
PROGRAMS = 60
# Up to this K, the numbers of classes between two multiples of SHARING share one compiled program.
SHARED, SHARING = 64, 4
# Trust region of a linear program: its first radius, and the radius at which polishing stops.
FIRST_RADIUS, LAST_RADIUS = 0.01, 1e-9


class SphericalCode(NamedTuple):
    """The best code found.

    Attributes:
        points: [K, p] unit rows.
        cosine: the largest cosine of two of them.
        residual: first-order decrease of the cosine per unit of movement that is still
            possible.
        status: stationary if the residual is within tolerance.
        restart_cosines: [restarts] largest cosines before the polish.
    """

    points: np.ndarray
    cosine: float
    residual: float
    status: Status
    restart_cosines: np.ndarray

    @property
    def spread(self) -> float:
        """Largest minus smallest of the cosines of the restarts."""
        return float(np.ptp(self.restart_cosines))

    def restarts_within(self, tolerance: float) -> int:
        """How many restarts came this close to the best one, before the polish."""
        best = np.min(self.restart_cosines)
        return int(np.sum(self.restart_cosines <= best + tolerance))


def spherical_code(
    num_classes: int,
    dimension: int,
    restarts: int | None = None,
    tolerance: float = 1e-6,
    key: Array | None = None,
) -> SphericalCode:
    """K unit vectors in p dimensions with the smallest largest cosine that was found.

    Args:
        num_classes: K ≥ 2.
        dimension: p ≥ 2.
        restarts: random starts, whose end points differ if K is well above 2p; by default
            64, and 16 beyond K = 64.
        tolerance: largest residual of a stationary code.
        key: PRNG key of the starts; a fixed one by default.

    Raises:
        TypeError, ValueError: naming the invalid argument.
    """
    size = require_count("num_classes", num_classes, 2)
    width = require_count("dimension", dimension, 2)
    restarts = (64 if size <= 64 else 16) if restarts is None else restarts
    require_count("restarts", restarts, 1)
    key = jax.random.key(0) if key is None else key
    starts = _starts(jax.random.split(key, restarts), size, width)
    rows = size if size > SHARED else -(-size // SHARING) * SHARING
    padded = jnp.pad(starts, ((0, 0), (0, rows - size), (0, 0)), constant_values=1)
    ends = np.asarray(_continued(padded, jnp.asarray(size))[:, :size], np.float64)
    cosines = np.array([_largest(points) for points in ends])
    order = np.argsort(cosines)
    fresh = np.diff(cosines[order], prepend=-np.inf) > SAME
    points, residual = _polished(ends[order[0]])
    for place in order[fresh][1:POLISHED]:
        # The last budget leaves an error of about this size, which the polish removes.
        if cosines[place] < _largest(points) + np.log(size) / BUDGETS[-1]:
            other = _polished(ends[place])
            points, residual = min((points, residual), other, key=lambda end: _largest(end[0]))
    status = Status.STATIONARY if residual <= tolerance else Status.NOT_CONVERGED
    return SphericalCode(points, _largest(points), residual, status, cosines)


@partial(jax.jit, static_argnums=(1, 2))
def _starts(keys: Array, size: int, width: int) -> Array:
    """Random points [restarts, K, p], about half of them antipodal."""

    def one(key: Array) -> Array:
        rows = jax.random.normal(key, (size, width), jnp.result_type(float))
        return maybe_mirrored(jax.random.fold_in(key, 1), (rows,))[0]

    return jax.vmap(one)(keys)


@jax.jit
def _continued(starts: Array, size: Array) -> Array:
    """Unit points [restarts, rows, p] at the last budget; rows from K on take no part."""
    count, rows, width = starts.shape
    budgets = jnp.asarray(BUDGETS, starts.dtype)
    least = jnp.tile(budgets, -(-count // len(BUDGETS)))[:count]
    # The residual is relative to a cosine of order one.
    settings = Settings(1e-6, 1e-9, STEPS, 6, min(SLOTS, count))
    absent = jnp.arange(rows) >= size
    left_out = jnp.eye(rows, dtype=bool) | absent[:, None] | absent

    def unit(point: Array) -> Array:
        points = point.reshape(rows, width)
        return points / jnp.linalg.norm(points, axis=1, keepdims=True)

    def objective(data: tuple[Array, Array], point: Array) -> Array:
        points = unit(point)
        inner = jnp.matmul(points, points.T, precision="highest")
        return jax.nn.logsumexp(data[0] * jnp.where(left_out, -jnp.inf, inner)) / data[0]

    def step(points: Array, budget: Array) -> tuple[Array, None]:
        data = jnp.maximum(budget, least), points
        # The starts are given; no random numbers are drawn.
        keys = jax.random.split(jax.random.key(0), count)
        ended: Minima = minimise_lanes(objective, lambda d, _: d[1], data, keys, settings)
        return jax.vmap(unit)(ended.point).reshape(count, -1), None

    points, _ = jax.lax.scan(step, starts.reshape(count, -1), budgets)
    return points.reshape(count, rows, width)


def _largest(points: np.ndarray) -> float:
    return float(np.max((points @ points.T)[np.triu_indices(len(points), 1)]))


def _polished(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Points after a sequence of linear programs, and the residual of the last."""
    radius, residual, largest = FIRST_RADIUS, np.inf, _largest(points)
    for _ in range(PROGRAMS):
        moved, promised = _linear_step(points, largest, radius)
        residual = promised / radius
        gained = largest - _largest(moved)
        if gained > 0:
            points, largest = moved, largest - gained
        if gained <= 0.5 * promised:
            # Outside the region of linearity, whose error is of the order of the squared radius.
            radius = min(radius / 4, max(promised, 0) ** 0.5)
        if radius < LAST_RADIUS or promised < 1e-13:
            break
    return points, residual


def _linear_step(points: np.ndarray, largest: float, radius: float) -> tuple[np.ndarray, float]:
    """Minimises the linearised largest cosine over tangent moves of length at most ``radius``.

    Returns the moved points and the decrease that the linear model predicts. The program is
    in units of the radius, because the tolerances of its solver are absolute.
    """
    # Imported here, because no other solver needs it and it takes as long as importing JAX.
    from scipy.optimize import linprog
    from scipy.sparse import coo_array, csr_array, hstack

    size, width = points.shape
    tangents = np.linalg.svd(points[:, None, :])[2][:, 1:, :]
    first, second = np.triu_indices(size, 1)
    inner = np.sum(points[first] * points[second], axis=1)
    # No pair farther apart than this can become the closest within the trust region.
    near = inner >= largest - 4 * radius * np.sqrt(width - 1)
    first, second, inner = first[near], second[near], inner[near]
    slopes = [
        np.einsum("qij,qj->qi", tangents[a], points[b])
        for a, b in ((first, second), (second, first))
    ]
    pairs = np.repeat(np.arange(len(first)), width - 1)
    columns = [
        (place[:, None] * (width - 1) + np.arange(width - 1)).reshape(-1)
        for place in (first, second)
    ]
    shape = (len(first), size * (width - 1))
    moves = sum(
        (
            coo_array((slope.reshape(-1), (pairs, column)), shape=shape).tocsr()
            for slope, column in zip(slopes, columns, strict=True)
        ),
        start=csr_array(shape),
    )
    cost = np.zeros(shape[1] + 1)
    cost[-1] = 1
    system = hstack([moves, -np.ones((len(first), 1))]).tocsr()
    bounds = [(-1, 1)] * shape[1] + [(None, None)]
    solved = linprog(
        cost, A_ub=system, b_ub=(largest - inner) / radius, bounds=bounds, method="highs-ds"
    )
    if solved.x is None:
        return points, 0.0
    steps = solved.x[:-1].reshape(size, width - 1)
    moved = points + radius * np.einsum("ki,kij->kj", steps, tangents)
    return moved / np.linalg.norm(moved, axis=1, keepdims=True), -radius * solved.x[-1]
