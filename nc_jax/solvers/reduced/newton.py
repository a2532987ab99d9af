"""The Newton system of the reduced program: assembled, factored and solved in all lanes.

The unknowns are α of the groups with several classes [W], the change of M in its singular
basis [G²], and the bias [G] if there is one. The matrix is the curvature of the loss plus the
stiffness of the cones.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.scipy.linalg import cho_solve

from nc_jax.solvers.alignment import Basis
from nc_jax.solvers.kernels import stored
from nc_jax.solvers.lanes import at_groups, is_diagonal, total, transpose
from nc_jax.solvers.reduced.rows import Chain, Curvature

# Up to this many unknowns the factorisation is written out; beyond it is left to LAPACK, because
# its compilation takes long.
MAX_UNROLLED = 16

# A pivot of the written factorisation that is smaller than this many units of rounding of the
# diagonal is one of rounding, and is replaced: it could be negative.
PIVOT = 64

# Iterative refinements by LAPACK in a program that is solved alone; in a batch, where they would
# cost a third of the speed, there is one.
REFINEMENTS_ALONE = 3

# [n, M, L] right-hand sides to their solutions.
Solve = Callable[[Array], Array]


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


def factored(matrix: NewtonMatrix, unrolled: bool) -> Solve:
    """Solves systems with a matrix by its Cholesky factor; NaN if it is not positive definite."""
    if unrolled:
        return _unrolled(_columns(matrix))
    full = jnp.moveaxis(_full(matrix), -1, 0)
    scaling = lax.rsqrt(jnp.diagonal(full, axis1=1, axis2=2))
    scaled = full * scaling[:, :, None] * scaling[:, None, :]
    size = full.shape[-1]
    lower = jnp.linalg.cholesky(
        scaled + 16 * jnp.finfo(full.dtype).eps * jnp.eye(size, dtype=full.dtype)
    )

    def rough(right: Array) -> Array:
        return cho_solve((lower, True), right * scaling[:, :, None]) * scaling[:, :, None]

    def solve(right: Array) -> Array:
        right = jnp.moveaxis(right, -1, 0)
        found = rough(right)
        # Near an optimum the matrix is so badly conditioned that half of the digits are lost.
        for _ in range(REFINEMENTS_ALONE if len(full) == 1 else 1):
            missed = right - jnp.matmul(full, found, precision="highest")
            found = found + rough(missed)
        return jnp.moveaxis(found, 0, -1)

    return solve


@stored
def _full(matrix: NewtonMatrix) -> Array:
    """[n, n, L]."""
    within = jnp.where(is_diagonal(len(matrix.within)), matrix.within[:, None], 0)
    rows = [[within, matrix.across], [transpose(matrix.across), matrix.between]]
    if matrix.bias is not None and matrix.between_bias is not None:
        sides = [matrix.within_bias, matrix.between_bias]
        rows = [[*row, side] for row, side in zip(rows, sides, strict=True)]
        rows.append([transpose(side) for side in sides if side is not None] + [matrix.bias])
    return jnp.concatenate([jnp.concatenate(row, axis=1) for row in rows], axis=0)


@stored
def _columns(matrix: NewtonMatrix) -> list[Array]:
    """The columns [n − j, L] of the lower triangle."""
    several, columns = len(matrix.within), []
    sides = matrix.within_bias, matrix.between_bias
    for k in range(several):
        zeros = [jnp.zeros_like(matrix.within[k + 1 :])]
        parts = [matrix.within[k, None], *zeros, matrix.across[k]]
        columns.append(parts if sides[0] is None else [*parts, sides[0][k]])
    for k in range(len(matrix.between)):
        parts = [matrix.between[k:, k]]
        columns.append(parts if sides[1] is None else [*parts, sides[1][k]])
    if matrix.bias is not None:
        columns += [[matrix.bias[k:, k]] for k in range(len(matrix.bias))]
    return [jnp.concatenate(parts) for parts in columns]


def _unrolled(columns: list[Array]) -> Solve:
    """The factorisation, column by column."""
    factor: list[Array] = []
    inverse: list[Array] = []
    size = len(columns)
    for k in range(size):
        own, column = _factor_column(columns[k], [factor[j][k - j :] for j in range(k)])
        inverse.append(own)
        factor.append(column)

    def solve(right: Array) -> Array:
        forward = []
        for k in range(size):
            first, right = _forward(right, factor[k], inverse[k])
            forward.append(first)
        result: list[Array] = []
        for k in reversed(range(size)):
            result.insert(0, _backward(forward[k], factor[k], inverse[k], result))
        return jnp.stack(result)

    return solve


@stored
def _factor_column(column: Array, before: list[Array]) -> tuple[Array, Array]:
    """The inverse of a pivot, and its column; ``before`` are the same rows of those before it."""
    diagonal = column[0]
    for other in before:
        column = column - other * other[0]
    rounding = PIVOT * jnp.finfo(column.dtype).eps
    own = stored(lax.rsqrt)(jnp.maximum(column[0] * (1 + rounding), rounding * diagonal))
    return own, column * own


@stored
def _forward(right: Array, column: Array, inverse: Array) -> tuple[Array, Array]:
    """An entry [M, L] of the solution with the lower factor, and what is left for the others."""
    first = right[0] * inverse
    return first, right[1:] - column[1:, None] * first


@stored
def _backward(value: Array, column: Array, inverse: Array, later: list[Array]) -> Array:
    """An entry [M, L] of the solution with the upper factor."""
    for entry, other in zip(column[1:], later, strict=True):
        value = value - entry * other
    return value * inverse
