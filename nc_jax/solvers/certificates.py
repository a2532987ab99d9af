"""How far a feasible point can be from the optimum.

For f convex, Z with ‖Z‖_* ≤ τ and G = ∇f(Z), every feasible Z' has
f(Z') ≥ f(Z) + ⟨G, Z' − Z⟩ ≥ f(Z) − ⟨G, Z⟩ − τ‖G‖_op, hence

    f(Z) − f* ≤ ⟨G, Z⟩ + τ‖G‖_op.

τ is √(E_W E_H) K. The bound holds at any feasible point, whatever solver found
it, and vanishes at an optimum only.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.surrogates.grouped import GroupLogits, block_sizes, value_and_gradient
from nc_jax.surrogates.layer_peeled import LayerPeeled


class Certificate(NamedTuple):
    """A point's objective and what its gradient proves.

    Attributes:
        objective: f(Z).
        gap: upper bound on f(Z) − f*.
        multiplier: ‖∇f(Z)‖_op, the dual variable of ‖Z‖_* ≤ τ.
        nuclear_norm: ‖Z‖_*.
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
    """‖Z‖_* of the logits that the group numbers stand for."""
    multiplicity, _ = block_sizes(counts, point.within.dtype)
    singular = jnp.linalg.svd(point.between, compute_uv=False)
    return jnp.sum(multiplicity * jnp.abs(point.within)) + jnp.sum(singular)


def certify(model: LayerPeeled, point: GroupLogits) -> Certificate:
    """Certificate of group numbers that satisfy the nuclear-norm bound."""
    counts = model.sizes.counts
    objective, gradient = value_and_gradient(model, point)
    inner = jnp.sum(gradient.within * point.within) + jnp.sum(gradient.between * point.between)
    multiplier = jnp.maximum(
        jnp.max(within_slopes(counts, gradient)),
        jnp.max(jnp.linalg.svd(gradient.between, compute_uv=False)),
    )
    # Rounding can make the sum of two nearly opposite terms negative.
    gap = jnp.maximum(inner + model.nuclear_radius * multiplier, 0)
    return Certificate(objective, gap, multiplier, nuclear_norm(counts, point))
