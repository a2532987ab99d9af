"""A lower bound on the optimum whose error is quadratic in the error of the point.

The gradient G at a point X bounds the optimum from below, but the error of the bound of
:mod:`nc_jax.solvers.certificates` is as large as that of G. Here G is first made
feasible: its singular values are cut at μ. A loss can provide the logits X̃ at which it has
a given slope, and the tangent at X̃ also gives a bound, for any X̃:

    F* ≥ f(X̃) − ⟨∇f(X̃), X̃⟩ − τ max(0, ‖∇f(X̃)‖_op − λ).

Both X and the cut gradient are close to the optimal pair, at which primal and dual
objectives are stationary, so the gap is quadratic in the error. For a
constrained model the best of several μ is used; for a penalised one μ = λ.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.losses.base import has_slope
from nc_jax.solvers.certificates import bias_gap, certify_with, within_slopes
from nc_jax.solvers.merging import at_slopes, merging_cost, sample_slopes
from nc_jax.surrogates.grouped import (
    GroupedProgram,
    GroupLogits,
    bias_cost,
    block_sizes,
    value_and_gradient,
)

# Trial cuts, relative to the best one so far.
TRIALS = (0.1, 0.3, 1.0, 3.0, 10.0)
FIRST_CUT = 1e-2
LEAST_CUT, LARGEST_CUT = 1e-9, 1e-1
# Number of searches for the best cut if no solver provides one.
LOOKS = 6
# Relative excess over a norm at which it is tested, in units of rounding.
EXCESSES = (1e2, 1e4, 1e7)


class DualBound(NamedTuple):
    """What a cut gradient proves about the optimum.

    Attributes:
        value: a lower bound on the optimum; minus infinity if there is none.
        cut: 1 − μ/‖G‖_op of the best trial.
    """

    value: Array
    cut: Array


def has_dual(model: GroupedProgram) -> bool:
    """Whether the loss can provide the logits at which it has a given slope."""
    return has_slope(model.loss)


def merged_bound(model: GroupedProgram, point: GroupLogits, norm: Array) -> Array:
    """The best bound on the optimum of the original classes, some of which were merged.

    Args:
        model: whose class sizes store the smallest and the largest of each group.
        point: group numbers, near the optimum of the merged program.
        norm: ‖X‖_* or an upper bound on it.
    """
    first = jnp.full((), FIRST_CUT, norm.dtype), jnp.full((), -jnp.inf, norm.dtype)

    def look(_: Array, found: tuple[Array, Array]) -> tuple[Array, Array]:
        cut, value = found
        _, bound = dual_bound(model, point, norm, cut, as_they_are=True)
        return bound.cut, jnp.maximum(value, bound.value)

    return jax.lax.fori_loop(0, LOOKS, look, first)[1]


def dual_bound(
    model: GroupedProgram, point: GroupLogits, norm: Array, cut: Array, as_they_are: bool = False
) -> tuple[Array, DualBound]:
    """The objective at a point of a single model, and the best bound from that point.

    Args:
        model: any; only the plain bound is used if the loss has no ``at_slope``.
        point: group numbers.
        norm: ‖X‖_* or an upper bound on it, at most τ.
        cut: 1 − μ/‖G‖_op around which to search.
        as_they_are: whether to bound the program of the original classes, before merging.
    """
    counts = model.sizes.counts
    found = value_and_gradient(model, point)
    gradient = found[1]
    square = jnp.matmul(gradient.between, gradient.between.T, precision="highest")
    values, basis = jnp.linalg.eigh(square)
    singular = jnp.sqrt(jnp.maximum(values, 0))
    steepest = jnp.max(singular)
    plain = certify_with(model, point, found, steepest, norm)
    bound = plain.objective - plain.gap
    if as_they_are:
        bound = jnp.full_like(bound, -jnp.inf)
    if not has_dual(model):
        return plain.objective, DualBound(bound, cut)
    largest = jnp.maximum(steepest, jnp.max(within_slopes(counts, gradient)))
    inner = jnp.matmul(basis.T, gradient.between, precision="highest")
    copies, _ = block_sizes(np.maximum(counts, 2), point.within.dtype)

    def cut_at(share: Array) -> _Tangent:
        limit = jnp.where(model.penalty > 0, model.penalty, largest * (1 - share))
        part = jnp.minimum(1, limit / jnp.where(singular > 0, singular, 1))
        between = jnp.matmul(basis * part, inner, precision="highest")
        dual = GroupLogits(jnp.clip(gradient.within / copies, -limit, limit), between)
        return _tangent(model, dual, point.bias, limit, as_they_are)

    shares = jnp.minimum(cut * jnp.asarray(TRIALS, cut.dtype), 0.5)
    trials = jax.lax.map(cut_at, shares)
    best = jnp.argmax(jnp.where(jnp.isnan(trials.value), -jnp.inf, trials.value))
    chosen = jax.tree.map(lambda leaf: leaf[best], trials)
    own = jnp.max(within_slopes(counts, chosen.slope))
    norm_of_slope = jnp.maximum(_norm_bound(chosen.slope.between, chosen.limit), own)
    priced = plain.objective / jnp.where(model.penalty > 0, model.penalty, 1)
    radius = jnp.where(
        model.penalty > 0, jnp.minimum(model.nuclear_radius, priced), model.nuclear_radius
    )
    value = chosen.value - radius * jnp.maximum(norm_of_slope - chosen.limit, 0)
    value = jnp.where(jnp.isnan(value), -jnp.inf, value)
    return plain.objective, DualBound(
        jnp.maximum(bound, value), jnp.clip(shares[best], LEAST_CUT, LARGEST_CUT)
    )


class _Tangent(NamedTuple):
    """A bound that holds if no slope exceeds the limit, and the slopes."""

    value: Array
    slope: GroupLogits
    limit: Array


def _tangent(
    model: GroupedProgram,
    dual: GroupLogits,
    bias: Array | None,
    limit: Array,
    as_they_are: bool,
) -> _Tangent:
    point = _tangent_point(model, dual, bias)
    value, slope = value_and_gradient(model, point)
    if as_they_are:
        value = value - merging_cost(model, point, slope)
    inner = jnp.sum(slope.within * point.within) + jnp.sum(slope.between * point.between)
    paid = jnp.where(model.penalty > 0, 0, model.nuclear_radius * limit)
    value = value + bias_cost(model, point) - inner - paid - bias_gap(model, point, slope)
    return _Tangent(value, slope, limit)


def _tangent_point(model: GroupedProgram, dual: GroupLogits, bias: Array | None) -> GroupLogits:
    """Group numbers at which the gradient is the given one, or as close as the loss allows."""
    counts = model.sizes.counts
    logits = at_slopes(model, sample_slopes(model, dual))
    own, others = logits[:, 0], logits[:, 1:]
    if bias is not None:
        own, others = own - bias, others - bias
    own, others = own / model.row_scale, others / model.row_scale[:, None]
    count = jnp.asarray(counts, own.dtype)
    root = jnp.sqrt(count)
    aside = jnp.where(count > 1, jnp.diagonal(others), own)
    diagonal = own + (count - 1) * aside
    eye = jnp.eye(len(counts), dtype=bool)
    between = jnp.where(eye, diagonal[:, None], others * root[:, None] * root)
    return GroupLogits(own - aside, between, bias)


def _norm_bound(matrix: Array, guess: Array) -> Array:
    """An upper bound on ‖M‖_op: the smallest tested excess over a guess that exceeds it.

    g² I − M Mᵀ has a Cholesky factor if and only if ‖M‖_op < g; infinity if no test succeeds.
    """
    size = matrix.shape[0]
    square = jnp.matmul(matrix, matrix.T, precision="highest")
    eps = jnp.finfo(matrix.dtype).eps
    scale = jnp.where(guess > 0, guess, 1) ** 2

    def tested(excess: Array) -> Array:
        limit = scale * (1 + excess * eps)
        factor = jnp.linalg.cholesky(limit * jnp.eye(size, dtype=matrix.dtype) - square)
        # Allows for rounding of the product and of the factor.
        holds = jnp.sqrt(limit + 4 * size * eps * scale)
        return jnp.where(jnp.all(jnp.isfinite(factor)), holds, jnp.inf)

    return jnp.min(jax.lax.map(tested, jnp.asarray(EXCESSES, matrix.dtype)))
