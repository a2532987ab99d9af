"""Upper bounds on the distance of a point's objective from the optimum of a convex program.

For f convex in X (and b), G = ∇f at a point X with ‖X‖_* ≤ τ, and any X' with
‖X'‖_* ≤ τ, f(X') ≥ f(X) + ⟨G, X' − X⟩. Minimising the right-hand side plus λ‖X'‖_*
over that ball gives a lower bound on the optimum, hence

    F(X) − F* ≤ ⟨G, X⟩ + λ‖X‖_* + τ max(0, ‖G‖_op − λ).

With λ = 0 this is the gap of the Layer-Peeled Model, ⟨G, Z⟩ + τ‖G‖_op. It holds at any
point, whichever solver found it, and vanishes only at an optimum.

A bias adds the amount that it could gain under the same linear bound: ‖λ_b b + g‖²/(2λ_b),
or, if it is unregularised, ⟨g, b⟩ + Σ β_k |g_k|, with β_k a bound on the optimal
|b_k| that follows from π_k L_k ≤ F(0).
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.losses.base import at_classes
from nc_jax.losses.forms import floor_of
from nc_jax.solvers.singular import singular_values
from nc_jax.surrogates.grouped import (
    GroupedProgram,
    GroupLogits,
    bias_cost,
    block_sizes,
    value_and_gradient,
)


class Certificate(NamedTuple):
    """A point's objective and what its gradient proves about the optimum.

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


def within_slopes(counts: np.ndarray | Array, gradient: GroupLogits) -> Array:
    """Singular value [G] of the gradient in each within-group block."""
    multiplicity, _ = block_sizes(jnp.maximum(counts, 2), gradient.within.dtype)
    slopes = jnp.abs(gradient.within) / multiplicity
    return jnp.where(jnp.asarray(counts > 1), slopes, 0)


def nuclear_norm(counts: np.ndarray | Array, point: GroupLogits) -> Array:
    """‖X‖_* of the matrix that the group numbers represent."""
    multiplicity, _ = block_sizes(counts, point.within.dtype)
    singular = singular_values(point.between)
    return jnp.sum(multiplicity * jnp.abs(point.within)) + jnp.sum(singular)


def certify(model: GroupedProgram, point: GroupLogits) -> Certificate:
    """Certificate of group numbers whose nuclear norm is at most τ."""
    found = value_and_gradient(model, point)
    operator_norm = jnp.max(singular_values(found[1].between))
    norm = nuclear_norm(model.sizes.counts, point)
    return certify_with(model, point, found, operator_norm, norm)


def certify_with(
    model: GroupedProgram,
    point: GroupLogits,
    found: tuple[Array, GroupLogits],
    between_norm: Array,
    norm: Array,
) -> Certificate:
    """Certificate of a point about which much is already known.

    Args:
        model: the model.
        point: its group numbers.
        found: :func:`.value_and_gradient` there.
        between_norm: ‖∇_M f‖_op.
        norm: ‖X‖_*, or an upper bound on it.
    """
    counts = model.sizes.counts
    value, gradient = found
    inner = jnp.sum(gradient.within * point.within) + jnp.sum(gradient.between * point.between)
    slope = jnp.maximum(jnp.max(within_slopes(counts, gradient)), between_norm)
    penalised = model.penalty * norm
    objective = value + penalised + bias_cost(model, point)
    # Losses are nonnegative, so the penalty of the optimum's norm is at most this objective.
    priced = objective / jnp.where(model.penalty > 0, model.penalty, 1)
    radius = jnp.where(
        model.penalty > 0, jnp.minimum(model.nuclear_radius, priced), model.nuclear_radius
    )
    excess = radius * jnp.maximum(slope - model.penalty, 0)
    gap = inner + penalised + excess + bias_gap(model, point, gradient)
    # Rounding can make the sum of nearly opposite terms negative.
    return Certificate(objective, jnp.maximum(gap, 0), jnp.maximum(slope, model.penalty), norm)


def bias_gap(model: GroupedProgram, point: GroupLogits, gradient: GroupLogits) -> Array:
    """Upper bound on what the bias could still gain under the linear bound."""
    penalty, bias, slope = model.bias_penalty, point.bias, gradient.bias
    if penalty is None or bias is None or slope is None:
        return jnp.zeros((), point.within.dtype)
    counts = jnp.asarray(model.sizes.counts, bias.dtype)
    positive = jnp.where(penalty > 0, penalty, 1)
    regularised = jnp.sum((penalty * counts * bias + slope) ** 2 / (2 * positive * counts))
    free = _free_bias_gap(model, bias, slope)
    return jnp.where(penalty > 0, regularised, free)


def _free_bias_gap(model: GroupedProgram, bias: Array, slope: Array) -> Array:
    """The same for a bias without decay, from a bound β [G] on the optimal one."""
    counts = jnp.asarray(model.sizes.counts, bias.dtype)
    shares = model.sizes.group_weights / counts
    loss = at_classes(model.loss, model.sizes.representatives)
    floor = floor_of(loss, model.sizes.num_classes, bias.dtype)
    if floor is None:
        return jnp.full((), jnp.inf, bias.dtype)
    # At zero logits the objective is λτ (the definition of τ where λ > 0), and
    # no entry of Z exceeds τ/√n. Each row's loss is at most λτ/π_k.
    start = model.penalty * model.nuclear_radius
    entries = model.nuclear_radius * model.row_scale
    heaviest = jnp.argmax(shares * floor.slope)
    if floor.squared:
        # (a/2) (|b_j + z_kj| − 1)² ≤ L_k in the row of the heaviest class.
        weight = (shares * floor.slope)[heaviest]
        bound = 1 + jnp.sqrt(2 * start / weight) + entries[heaviest]
        return jnp.sum(slope * bias + jnp.abs(slope) * bound)
    # L_k ≥ a_k (Δ_j (z_kj + b_j) − Δ_k (z_kk + b_k)) − c_k in the rows of both classes; adding
    # a constant to Δ b leaves this unchanged.
    scale = jnp.broadcast_to(floor.scale, shares.shape)
    rows = (start / shares + floor.slack) / floor.slope + 2 * jnp.max(scale) * entries
    bound = (rows + rows[heaviest]) / scale
    relative = bias - bias[heaviest] * scale[heaviest] / scale
    return jnp.sum(slope * relative + jnp.abs(slope) * bound)
