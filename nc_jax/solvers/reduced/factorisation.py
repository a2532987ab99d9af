"""The Newton system of the reduced program: factored by Cholesky and solved in all lanes.

Few unknowns are eliminated by code that is written out; all others are left to LAPACK.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.linalg import cho_solve

from nc_jax.solvers.kernels import stored
from nc_jax.solvers.lanes import is_diagonal, transpose
from nc_jax.solvers.lapack import in_turn
from nc_jax.solvers.reduced.newton import NewtonMatrix

# Up to this many unknowns the factorisation is written out; beyond it is left to LAPACK, because
# its compilation takes long. From so many lanes on, a batch earns that back later.
MAX_UNROLLED, MAX_UNROLLED_OF_MANY, MANY_LANES = 16, 24, 2**13
# Up to so few lanes it does for fewer unknowns only.
MAX_UNROLLED_OF_FEW, FEW_LANES = 8, 32

# A pivot of the written factorisation that is smaller than this many units of rounding of the
# diagonal is one of rounding, and is replaced: it could be negative.
PIVOT = 64

# Units of rounding by which the diagonal of a matrix that LAPACK factors is larger. Where
# there are refinements, they correct that.
SHIFT = 16

# Iterative refinements by LAPACK in a program that is solved alone. A batch reaches the same gaps
# without them; one would cost a seventh of its speed.
REFINEMENTS_ALONE = 3

# The solutions [n, 2, L] for another right-hand side [n, L] in place of the first.
Again = Callable[[Array], Array]


def is_unrolled(unknowns: int, lanes: int) -> bool:
    """Whether the factorisation of a batch is written out."""
    most = MAX_UNROLLED
    if jax.default_backend() == "cpu" and lanes <= FEW_LANES:
        most = MAX_UNROLLED_OF_FEW
    elif jax.default_backend() == "cpu" and lanes >= MANY_LANES:
        most = MAX_UNROLLED_OF_MANY
    return lanes > 1 and unknowns <= most


def solved(matrix: NewtonMatrix, rights: Array, unrolled: bool) -> tuple[Array, Again]:
    """Solves systems with a matrix by its Cholesky factor; NaN if it is not positive definite.

    Args:
        matrix: symmetric, [n, n, L].
        rights: two right-hand sides [n, 2, L].
        unrolled: whether the factorisation is written out.

    Returns:
        The solutions [n, 2, L] to a few digits, and a function that solves as accurately as
        it can for another first right-hand side.
    """
    if unrolled:
        return _unrolled(_columns(matrix), rights)
    full = _full(matrix)
    shift = SHIFT * jnp.finfo(full.dtype).eps
    shifted = jnp.moveaxis(jnp.where(is_diagonal(len(full)), 1 + shift, 1) * full, -1, 0)
    factor, found = jax.vmap(_factored)(shifted, jnp.moveaxis(rights, -1, 0))
    refinements = REFINEMENTS_ALONE if len(shifted) == 1 else 0
    refined = in_turn(partial(_refined, refinements=refinements))

    def again(right: Array) -> Array:
        both = jnp.moveaxis(jnp.stack([right, rights[:, 1]], axis=1), -1, 0)
        better = jax.vmap(refined)(shifted, factor, both, found[:, :, 1:])
        return jnp.moveaxis(better, 0, -1)

    return jnp.moveaxis(found, 0, -1), again


@in_turn
def _factored(shifted: Array, rights: Array) -> tuple[Array, Array]:
    """The upper factor of one matrix [n, n], and solutions [n, M]."""
    # LAPACK stores columns, so that transposes need not be copied: that of the matrix, which is
    # equal, and that of its lower factor, which is returned.
    factor = jnp.linalg.cholesky(shifted.T, symmetrize_input=False)
    return factor.T, cho_solve((factor, True), rights)


def _refined(
    shifted: Array, upper: Array, rights: Array, last: Array, *, refinements: int
) -> Array:
    """The solutions [n, 2] for two right-hand sides, of which the last one is solved already."""
    factor = upper.T
    shift = jnp.diagonal(shifted) * (SHIFT * jnp.finfo(shifted.dtype).eps)
    found = jnp.concatenate([cho_solve((factor, True), rights[:, :1]), last], axis=1)
    # Near an optimum the matrix is so badly conditioned that half of the digits are lost.
    for _ in range(refinements):
        # On a CPU two products with a vector take a third of the time of one with two columns.
        reached = [jnp.matmul(shifted, column, precision="highest") for column in found.T]
        missed = rights - jnp.stack(reached, axis=1) + shift[:, None] * found
        found = found + cho_solve((factor, True), missed)
    return found


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


def _unrolled(columns: list[Array], rights: Array) -> tuple[Array, Again]:
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

    found = solve(rights)

    def again(right: Array) -> Array:
        return jnp.concatenate([solve(right[:, None]), found[:, 1:]], axis=1)

    return found, again


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
