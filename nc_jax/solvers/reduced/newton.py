"""The matrix of a Newton step of the reduced program, in all lanes.

The unknowns are α of the groups with several classes [W], the change of M in its singular
basis [G²], and the bias [G] if there is one. The matrix is the curvature of the loss plus the
stiffness of the cones.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.solvers.alignment import Basis
from nc_jax.solvers.kernels import stored
from nc_jax.solvers.lanes import at_groups, is_diagonal, total
from nc_jax.solvers.reduced.rows import Chain, Curvature


class NewtonMatrix(NamedTuple):
    """The blocks of a symmetric matrix [n, n, L].

    Attributes:
        within: [W, L], the diagonal of the block of α.
        across: [W, G², L].
        between: [G², G², L].
        within_bias, between_bias, bias: [W, G, L], [G², G, L], [G, G, L]; None without a bias.
    """

    within: Array
    across: Array
    between: Array
    within_bias: Array | None
    between_bias: Array | None
    bias: Array | None


@stored
def newton_matrix(
    chain: Chain,
    curvature: Curvature,
    basis: Basis,
    several: np.ndarray,
    stiffness: tuple[Array, Array, Array],
    bias_curvature: Array | None,
) -> NewtonMatrix:
    """Assembles the matrix.

    Args:
        chain: slopes of the logits.
        curvature: of the rows.
        basis: of M.
        several: indices [W] of the groups with several classes.
        stiffness: [W, L] of α; [G, G, L] of the symmetric and of the antisymmetric part.
        bias_curvature: [G, G, L] curvature of the bias besides that of the loss, or None.
    """
    left, right = basis
    groups = len(left)
    lanes = left.shape[-1]
    of_within, symmetric, antisymmetric = stiffness
    means = curvature.means * chain.means[:, :, None]
    # Per group, the curvature in the right basis: Vᵀ H V.
    half = _times(curvature.means * chain.means[:, None], right)
    inner = _times(jnp.swapaxes(half * chain.means[:, :, None], 1, 2), right)
    pairs = left[:, :, None] * left[:, None]
    between = _between(pairs, inner) + _of_pairs(symmetric, antisymmetric)
    between = between.reshape(groups**2, groups**2, lanes)
    mixed = total([_row(curvature.mixed * chain.means, k) * right[k] for k in range(groups)])
    across = (left[:, :, None] * mixed[:, None]).reshape(groups, groups**2, lanes)
    within = at_groups(curvature.within, several) + of_within
    matrix = NewtonMatrix(within, at_groups(across, several), between, None, None, None)
    if bias_curvature is not None:
        to_bias = _times(jnp.swapaxes(means, 1, 2), right)
        to_bias = total(
            [left[g, :, None, None] * jnp.swapaxes(to_bias[g], 0, 1)[None] for g in range(groups)]
        )
        matrix = matrix._replace(
            within_bias=at_groups(curvature.mixed, several),
            between_bias=to_bias.reshape(groups**2, groups, lanes),
            bias=total(curvature.means) + bias_curvature,
        )
    return matrix


@stored
def _between(pairs: Array, inner: Array) -> Array:
    """[G, G, G, G, L] the curvature of M, of products of left vectors and those of the groups."""
    groups = range(len(pairs))
    return total([pairs[g][:, None, :, None] * inner[g][None, :, None] for g in groups])


def _row(matrices: Array, k: int) -> Array:
    """[G, 1, L] column k of each row of [G, G, L]."""
    return matrices[:, k, None]


@stored
def _times(matrices: Array, right: Array) -> Array:
    """[G, I, K, L] times [K, J, L]."""
    return total([matrices[:, :, k, None] * right[k] for k in range(len(right))])


@stored
def _of_pairs(symmetric: Array, antisymmetric: Array) -> Array:
    """[G, G, G, G, L] the stiffness as a matrix that acts on all pairs (i, j)."""
    groups = len(symmetric)
    eye = np.eye(groups)
    same = np.einsum("ik,jl->ijkl", eye, eye).astype(bool)
    crossed = np.einsum("il,jk->ijkl", eye, eye).astype(bool)
    on_diagonal = is_diagonal(groups)
    own = jnp.where(on_diagonal, symmetric, 0.5 * (symmetric + antisymmetric))
    other = jnp.where(on_diagonal, 0, 0.5 * (symmetric - antisymmetric))
    result = jnp.where(jnp.asarray(same)[..., None], own[:, :, None, None], 0)
    return result + jnp.where(jnp.asarray(crossed)[..., None], other[:, :, None, None], 0)
