"""Interior point on the symmetry-reduced program: any groups, any convex loss.

Follows the central path of :mod:`nc_jax.solvers.spectral` from its known
start (ε large, Z near zero) in a fixed number of Newton steps, so that in a
batch no lane waits for another. Each step factors one dense system of
G + G² unknowns (plus G for a bias), tries several reductions of ε along the path's
tangent, and takes the largest one that stays close to the path; if there is none, it takes
the best damped step at the same ε.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.linalg import cho_solve, solve_triangular

from nc_jax.immutable import immutable, set_fields
from nc_jax.losses.floors import bias_is_free
from nc_jax.solvers.certificates import Certificate, certify, within_slopes
from nc_jax.solvers.finishing import finish
from nc_jax.solvers.solution import Solution, default_tolerance, require_convex
from nc_jax.solvers.spectral import PathPoint, PathSystem, barrier_degree, path_system
from nc_jax.surrogates.grouped import (
    GroupedProgram,
    GroupLogits,
    block_sizes,
    row_hessians,
    start_bias,
    value_and_gradient,
)

# Factors by which a step may reduce ε, smallest factor first; then the lengths of damped
# steps at the same ε.
REDUCTIONS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.35, 0.5, 0.7, 0.85, 1.0)
DAMPINGS = (1.0, 0.5, 0.25, 0.1, 0.03)
# Squared Newton decrement, in units of ε, up to which a point counts as close to
# the path. Larger values save a few steps but make some lanes fail.
NEARNESS = 0.3


class _Factored(NamedTuple):
    """The Newton system at a point: Cholesky factor, scaling, drift, three solutions."""

    cholesky: Array
    scaling: Array
    drift: Array
    to_residual: Array
    to_weight: Array
    to_drift: Array
    schur: Array


@immutable(static=("steps",))
class ReducedInteriorPoint:
    """Interior-point solver of a grouped Layer-Peeled or unconstrained feature model.

    Attributes:
        tolerance: duality gap up to which a lane counts as converged; by default
            1e−9 in float64 and 1e−5 in float32.
        steps: number of Newton steps, the same for every lane.
    """

    tolerance: Any
    steps: int

    def __init__(self, tolerance: Any = None, steps: int = 60):
        set_fields(self, tolerance=tolerance, steps=steps)

    def floats_per_lane(self, model: GroupedProgram) -> int:
        """The Newton matrix, its factor and some temporaries; the trial points."""
        groups = model.sizes.num_groups
        return 6 * (groups + groups**2) ** 2 + 120 * (groups + groups**2)

    def __call__(self, model: GroupedProgram, key: Array | None = None) -> Solution:
        """Solves one model; use vmap or :func:`nc_jax.solve_batch` for many.

        Args:
            model: any groups; work grows as G⁶, so best for G up to about 16.
            key: unused; the method has no randomness.

        Raises:
            ValueError: the loss is not convex in the logits.
        """
        require_convex(model, type(self).__name__)
        given, model = model, jax.lax.stop_gradient(model)
        tolerance = default_tolerance(self.tolerance, model.sizes.group_sizes.dtype)
        start = _start(model)
        best = _Best(start.logits, certify(model, start.logits).gap, jnp.zeros((), jnp.int32))

        def body(_: Array, state: tuple[PathPoint, _Best]) -> tuple[PathPoint, _Best]:
            return _advance(model, *state)

        _, best = jax.lax.fori_loop(0, self.steps, body, (start, best))
        return finish(given, best.logits, tolerance, best.steps)


class _Best(NamedTuple):
    """The point with the smallest gap so far, and the number of steps that led to it."""

    logits: GroupLogits
    gap: Array
    steps: Array


def _start(model: GroupedProgram) -> PathPoint:
    """A point on the path at large ε, where X = −(2/(η μ)) ∇f(0) to first order."""
    counts = model.sizes.counts
    dtype = model.sizes.group_sizes.dtype
    groups = len(counts)
    zero = GroupLogits(
        jnp.zeros(groups, dtype), jnp.zeros((groups, groups), dtype), start_bias(model)
    )
    _, gradient = value_and_gradient(model, zero)
    slope = _operator_norm(counts, gradient)
    several = jnp.asarray(counts > 1)
    multiplicity, _ = block_sizes(np.maximum(counts, 2), dtype)
    towards = jnp.where(several, -gradient.within / multiplicity**2, 0), -gradient.between

    def at(multiplier: Array) -> PathPoint:
        excess = multiplier - model.penalty
        unit = model.nuclear_radius / (barrier_degree(counts) - 1 + multiplier / excess)
        factor = 2 * unit / multiplier
        point = GroupLogits(factor * towards[0], factor * towards[1], zero.bias)
        return PathPoint(point, excess, multiplier * unit)

    multiplier = 2 * jnp.maximum(slope, model.penalty)
    first = at(multiplier).logits
    # If the ball is so large that the loss would be saturated, start farther inside.
    largest = jnp.maximum(jnp.abs(first.within), jnp.max(jnp.abs(first.between), axis=1))
    return at(multiplier * jnp.maximum(jnp.max(model.row_scale * largest) / 10, 1))


def _operator_norm(counts: np.ndarray, gradient: GroupLogits) -> Array:
    between = jnp.linalg.svd(gradient.between, compute_uv=False)
    return jnp.maximum(jnp.max(within_slopes(counts, gradient)), jnp.max(between))


def _advance(model: GroupedProgram, point: PathPoint, best: _Best) -> tuple[PathPoint, _Best]:
    """One Newton step along the path."""
    objective, gradient = value_and_gradient(model, point.logits)
    system = path_system(model, gradient, point)
    residual = _flat(system.within, system.between, _bias_slope(model, point.logits, gradient))
    factored = _factor(model, point, system, residual)

    reductions = jnp.asarray(REDUCTIONS + (1.0,) * len(DAMPINGS[1:]), objective.dtype)
    dampings = jnp.asarray((1.0,) * len(REDUCTIONS) + DAMPINGS[1:], objective.dtype)

    def attempt(reduction: Array, damping: Array) -> tuple[PathPoint, Array]:
        trial = _move(point, system, factored, reduction, damping)
        return trial, _distance(model, trial, system, factored)

    trials, distances = jax.vmap(attempt)(reductions, dampings)
    distances = jnp.where(jnp.isfinite(distances), distances, jnp.inf)
    near = distances[: len(REDUCTIONS)] < NEARNESS
    damped = len(REDUCTIONS) - 1 + jnp.argmin(distances[len(REDUCTIONS) - 1 :])
    chosen = jnp.where(jnp.any(near), jnp.argmax(near), damped)
    # Once rounding dominates, steps are meaningless: stay at the current point.
    moves = jnp.isfinite(distances[chosen]) & (best.gap > _rounding(objective))
    following = jax.tree.map(lambda a, b: jnp.where(moves, a[chosen], b), trials, point)
    return following, _better(model, following, best)


def _bias_slope(model: GroupedProgram, point: GroupLogits, gradient: GroupLogits) -> Array:
    """Slope of the objective in the bias, [G] or [0] without one."""
    if model.bias_penalty is None or point.bias is None or gradient.bias is None:
        return jnp.zeros(0, point.within.dtype)
    counts = jnp.asarray(model.sizes.counts, point.bias.dtype)
    return gradient.bias + model.bias_penalty * counts * point.bias


def _rounding(objective: Array) -> Array:
    """A gap that cannot be improved in this dtype."""
    return 4 * jnp.finfo(objective.dtype).eps * objective


def _better(model: GroupedProgram, point: PathPoint, best: _Best) -> _Best:
    """The point with the smaller certified gap: the best so far or the new one."""
    certificate: Certificate = certify(model, point.logits)
    feasible = certificate.nuclear_norm <= model.nuclear_radius
    improved = feasible & (certificate.gap < best.gap)
    candidate = _Best(point.logits, certificate.gap, best.steps + 1)
    return jax.tree.map(lambda a, b: jnp.where(improved, a, b), candidate, best)


def _factor(
    model: GroupedProgram, point: PathPoint, system: PathSystem, residual: Array
) -> _Factored:
    """Assembles and factors the Newton matrix in the singular basis of M."""
    counts = model.sizes.counts
    groups = len(counts)
    several = jnp.asarray(counts > 1)
    left, right = system.left, system.right
    rows = row_hessians(model, point.logits)
    within = rows[:, 0, 0] + system.within_curvature
    means, bias = slice(1, 1 + groups), slice(1 + groups, None)
    mixed = jnp.einsum("gi,ik->gk", rows[:, 0, means], right, precision="highest")
    inner = jnp.einsum("ik,gij,jl->gkl", right, rows[:, means, means], right, precision="highest")
    between = jnp.einsum("ga,gc,gbd->abcd", left, left, inner, precision="highest")
    across = jnp.einsum("ga,gb->gab", left, mixed, precision="highest")

    half_sum = 0.5 * (system.symmetric + system.antisymmetric)
    half_difference = 0.5 * (system.symmetric - system.antisymmetric)
    eye = np.eye(groups, dtype=bool)
    diagonal = jnp.where(eye, system.symmetric, half_sum).reshape(-1)
    exchange = jnp.where(eye, 0, half_difference).reshape(-1)
    index = np.arange(groups**2)
    transposed = index.reshape(groups, groups).T.reshape(-1)
    between = between.reshape(groups**2, groups**2)
    between = between.at[index, index].add(diagonal).at[index, transposed].add(exchange)
    across = jnp.where(several[:, None], across.reshape(groups, -1), 0)
    within = jnp.where(several, within, 1)
    matrix = jnp.block([[jnp.diag(within), across], [across.T, between]])
    if model.bias_penalty is not None:
        to_within = jnp.where(several[:, None], rows[:, 0, bias], 0)
        to_between = jnp.einsum(
            "ga,ib,gic->abc", left, right, rows[:, means, bias], precision="highest"
        )
        cross = jnp.concatenate([to_within, to_between.reshape(groups**2, groups)])
        own = _bias_curvature(model, model.bias_penalty, jnp.sum(rows[:, bias, bias], axis=0))
        matrix = jnp.block([[matrix, cross], [cross.T, own]])

    scaling = 1 / jnp.sqrt(jnp.diag(matrix))
    cholesky = jnp.linalg.cholesky(matrix * scaling[:, None] * scaling)
    no_bias = jnp.zeros(len(residual) - groups - groups**2, residual.dtype)
    drift = _flat(system.drift[0], jnp.diag(system.drift[1]), no_bias)
    weight_drift = _flat(system.weight_drift[0], jnp.diag(system.weight_drift[1]), no_bias)
    right_hand = jnp.stack([residual, weight_drift, drift], axis=1)
    solved = cho_solve((cholesky, True), right_hand * scaling[:, None]) * scaling[:, None]
    schur = jnp.dot(drift, solved[:, 2], precision="highest") + system.budget_curvature
    return _Factored(cholesky, scaling, drift, solved[:, 0], solved[:, 1], solved[:, 2], schur)


def _bias_curvature(model: GroupedProgram, penalty: Array, curvature: Array) -> Array:
    """Hessian [G, G] in the bias, including its penalty."""
    counts = jnp.asarray(model.sizes.counts, curvature.dtype)
    if bias_is_free(model.loss):
        # Fixes the constant that an unregularised bias leaves open; no gradient points there.
        largest = jnp.max(jnp.diag(curvature))
        gauge = jnp.where(largest > 0, largest, 1)
        curvature = curvature + jnp.where(penalty > 0, 0, gauge)
    return curvature + jnp.diag(penalty * counts)


def _flat(within: Array, between: Array, bias: Array) -> Array:
    """All unknowns as one vector [G + G² (+ G)]."""
    return jnp.concatenate([within, between.reshape(-1), bias])


def _move(
    point: PathPoint, system: PathSystem, factored: _Factored, reduction: Array, damping: Array
) -> PathPoint:
    """The Newton step towards ε·reduction, from the tangent at ε."""
    shift = reduction - 1
    towards = factored.to_residual + shift * factored.to_weight
    budget = system.budget + shift * system.weight_budget
    in_multiplier = (
        budget - jnp.dot(factored.drift, towards, precision="highest")
    ) / factored.schur
    step = -damping * (towards + factored.to_drift * in_multiplier)
    groups = len(system.within)
    change = step[groups : groups + groups**2].reshape(groups, groups)
    change = jnp.matmul(
        jnp.matmul(system.left, change, precision="highest"), system.right.T, precision="highest"
    )
    old = point.logits
    bias = None if old.bias is None else old.bias + step[groups + groups**2 :]
    logits = GroupLogits(old.within + step[:groups], old.between + change, bias)
    multiplier = jnp.maximum(point.multiplier + damping * in_multiplier, 1e-3 * point.multiplier)
    return PathPoint(logits, multiplier, point.weight * reduction)


def _distance(
    model: GroupedProgram, trial: PathPoint, system: PathSystem, factored: _Factored
) -> Array:
    """Squared Newton decrement of a trial in units of its ε, in the current metric."""
    _, gradient = value_and_gradient(model, trial.logits)
    new = path_system(model, gradient, trial)
    residual = jnp.matmul(system.left.T, gradient.between + new.pull, precision="highest")
    residual = jnp.matmul(residual, system.right, precision="highest")
    flat = _flat(new.within, residual, _bias_slope(model, trial.logits, gradient))
    whitened = solve_triangular(factored.cholesky, flat * factored.scaling, lower=True)
    budget = new.budget - jnp.dot(factored.to_drift, flat, precision="highest")
    return (jnp.sum(whitened**2) + budget**2 / factored.schur) / trial.weight
