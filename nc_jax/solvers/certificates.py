"""How far a point can be from the optimum of a convex program.

For f convex in X (and b), G = ∇f at a point X with ‖X‖_* ≤ τ, and any X' with
‖X'‖_* ≤ τ, f(X') ≥ f(X) + ⟨G, X' − X⟩. Minimising the right side plus λ‖X'‖_*
over that ball bounds the optimum from below, hence

    F(X) − F* ≤ ⟨G, X⟩ + λ‖X‖_* + τ max(0, ‖G‖_op − λ).

With λ = 0 this is the gap of the Layer-Peeled Model, ⟨G, Z⟩ + τ‖G‖_op. It holds at any
point, whatever solver found it, and vanishes at an optimum only.

A bias adds what the same linear bound allows it to gain: ‖λ_b b + g‖²/(2λ_b), or
where it is unregularised ⟨g, b⟩ + Σ β_k |g_k|, with β_k a bound on the optimal
|b_k| that follows from π_k L_k ≤ F(0).
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.surrogates.grouped import (
    GroupedProgram,
    GroupLogits,
    bias_cost,
    block_sizes,
    value_and_gradient,
)


class Certificate(NamedTuple):
    """A point's objective and what its gradient proves.

    Attributes:
        objective: F(X), with the penalties.
        gap: upper bound on F(X) − F*.
        multiplier: max(‖∇f‖_op, λ), the dual variable of ‖X‖_*.
        nuclear_norm: ‖X‖_*.
    """

    objective: Array
    gap: Array
    multiplier: Array
    nuclear_norm: Array


def within_slopes(counts: np.ndarray, gradient: GroupLogits) -> Array:
    """Singular value [G] of the gradient in each within-group block."""
    multiplicity, _ = block_sizes(np.maximum(counts, 2), gradient.within.dtype)
    slopes = jnp.abs(gradient.within) / multiplicity
    return jnp.where(jnp.asarray(counts > 1), slopes, 0)


def nuclear_norm(counts: np.ndarray, point: GroupLogits) -> Array:
    """‖X‖_* of the matrix that the group numbers stand for."""
    multiplicity, _ = block_sizes(counts, point.within.dtype)
    singular = jnp.linalg.svd(point.between, compute_uv=False)
    return jnp.sum(multiplicity * jnp.abs(point.within)) + jnp.sum(singular)


def certify(model: GroupedProgram, point: GroupLogits) -> Certificate:
    """Certificate of group numbers whose nuclear norm is at most τ."""
    _, gradient = value_and_gradient(model, point)
    operator_norm = jnp.max(jnp.linalg.svd(gradient.between, compute_uv=False))
    return certify_with(model, point, operator_norm, nuclear_norm(model.sizes.counts, point))


def certify_with(
    model: GroupedProgram, point: GroupLogits, between_norm: Array, norm: Array
) -> Certificate:
    """Certificate where ‖∇_M f‖_op and ‖X‖_* (or an upper bound) are known."""
    counts = model.sizes.counts
    value, gradient = value_and_gradient(model, point)
    inner = jnp.sum(gradient.within * point.within) + jnp.sum(gradient.between * point.between)
    slope = jnp.maximum(jnp.max(within_slopes(counts, gradient)), between_norm)
    penalised = model.penalty * norm
    objective = value + penalised + bias_cost(model, point)
    # Losses are not negative, so the optimum pays no more for its norm than this point.
    priced = objective / jnp.where(model.penalty > 0, model.penalty, 1)
    radius = jnp.where(
        model.penalty > 0, jnp.minimum(model.nuclear_radius, priced), model.nuclear_radius
    )
    excess = radius * jnp.maximum(slope - model.penalty, 0)
    gap = inner + penalised + excess + _bias_gap(model, point, gradient)
    # Rounding can make the sum of nearly opposite terms negative.
    return Certificate(objective, jnp.maximum(gap, 0), jnp.maximum(slope, model.penalty), norm)


def _bias_gap(model: GroupedProgram, point: GroupLogits, gradient: GroupLogits) -> Array:
    """What the bias could still gain under the linear bound."""
    penalty, bias, slope = model.bias_penalty, point.bias, gradient.bias
    if penalty is None or bias is None or slope is None:
        return jnp.zeros((), point.within.dtype)
    counts = jnp.asarray(model.sizes.counts, bias.dtype)
    positive = jnp.where(penalty > 0, penalty, 1)
    regularised = jnp.sum((penalty * counts * bias + slope) ** 2 / (2 * positive * counts))
    shares = model.sizes.group_weights / counts
    largest = jnp.argmax(shares)
    # Only differences of the bias matter to a shift-invariant loss.
    relative = bias - bias[largest] if model.loss.shift_invariant else bias
    bound = _bias_bound(model, shares, largest)
    free = jnp.sum(slope * relative + jnp.abs(slope) * bound)
    return jnp.where(penalty > 0, regularised, free)


def _bias_bound(model: GroupedProgram, shares: Array, largest: Array) -> Array:
    """β [G]: bound on an optimal unregularised bias of cross-entropy or squared error."""
    # At zero logits the objective is λτ (the definition of τ where λ > 0), and
    # no entry of Z exceeds τ/√n. Each row's loss is at most λτ/π_k.
    start = model.penalty * model.nuclear_radius
    entries = model.nuclear_radius * model.row_scale
    if model.loss.shift_invariant:
        # L_k ≥ b_j − b_k + z_kj − z_kk, in the rows of both classes.
        rows = start / shares + 2 * entries
        return rows + rows[largest]
    # ½ (b_j + z_kj − y_kj)² ≤ L_k in the row of the largest class.
    return 1 + jnp.sqrt(2 * start / shares[largest]) + entries[largest]
