"""The Newton system of the reduced program: factored by Cholesky and solved in all lanes."""

from collections.abc import Callable
from enum import Enum, auto
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.scipy.linalg import cho_solve

from nc_jax.solvers.kernels import stored
from nc_jax.solvers.lanes import is_diagonal, transpose
from nc_jax.solvers.lapack import in_turn
from nc_jax.solvers.reduced import blocks
from nc_jax.solvers.reduced.newton import NewtonMatrix

# The factorisation of up to this many unknowns is written out, on a CPU and elsewhere.
MOST_WRITTEN_OUT, MOST_WRITTEN_OUT_ELSEWHERE = 8, 16
# Up to so few lanes are solved in less time than the factorisation in blocks takes to compile.
FEW_LANES = 32
# Matrices of more unknowns leave the cache, and LAPACK takes most of its time for products.
MOST_IN_BLOCKS = 300

# Units of rounding by which the diagonal of a matrix that LAPACK factors is larger. Where
# there are refinements, they correct that.
SHIFT = 16

# Iterative refinements by LAPACK in a program that is solved alone. A batch reaches the same gaps
# without them; one would cost a seventh of its speed.
REFINEMENTS_ALONE = 3

# The solutions [n, 2, L] for another right-hand side [n, L] in place of the first.
Again = Callable[[Array], Array]


class Factorisation(Enum):
    """How the matrices of all lanes are factored."""

    WRITTEN_OUT = auto()
    """By code for each column. On an accelerator a loop would start kernels for each of them."""
    BLOCKS = auto()
    """By loops over blocks in one kernel of a CPU."""
    LAPACK = auto()
    """By calls of a library."""


def factorisation_of(unknowns: int, lanes: int) -> Factorisation:
    """The fastest factorisation for a program of so many lanes."""
    if lanes == 1:
        return Factorisation.LAPACK
    on_cpu = jax.default_backend() == "cpu"
    if unknowns <= (MOST_WRITTEN_OUT if on_cpu else MOST_WRITTEN_OUT_ELSEWHERE):
        return Factorisation.WRITTEN_OUT
    blocked = on_cpu and lanes > FEW_LANES and unknowns <= MOST_IN_BLOCKS
    return Factorisation.BLOCKS if blocked else Factorisation.LAPACK


def solved(matrix: NewtonMatrix, rights: Array, how: Factorisation) -> tuple[Array, Again]:
    """Solves systems with a matrix by its Cholesky factor.

    Args:
        matrix: symmetric, [n, n, L]. If it is not positive definite, LAPACK's solutions are NaN;
            otherwise tiny pivots are replaced.
        rights: two right-hand sides [n, 2, L].
        how: how it is factored.

    Returns:
        The solutions [n, 2, L] to a few digits, and a function that solves as accurately as
        it can for another first right-hand side.
    """
    if how is Factorisation.WRITTEN_OUT:
        found, again = _written_out(_columns(matrix), rights)
    elif how is Factorisation.BLOCKS:
        found, again = _in_blocks(_full(matrix, blocks.filled_rows(len(rights))), rights)
    else:
        return _by_lapack(_full(matrix, len(rights)), rights)

    def with_last(right: Array) -> Array:
        return jnp.concatenate([again(right[:, None]), found[:, 1:]], axis=1)

    return found, with_last


def _in_blocks(full: Array, rights: Array) -> tuple[Array, Again]:
    """The solutions [n, 2, L], and a function of further right-hand sides [n, M, L]."""
    factor = blocks.factored(full)
    return blocks.solved(factor, rights), partial(blocks.solved, factor)


def _by_lapack(full: Array, rights: Array) -> tuple[Array, Again]:
    """One lane after another."""
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
def _full(matrix: NewtonMatrix, rows: int) -> Array:
    """[rows, rows, L] with rows of the identity after those of the matrix."""
    several, pairs, lanes = matrix.across.shape
    within = jnp.where(is_diagonal(several), matrix.within[:, None], 0)
    places = [(0, 0, within), (several, several, matrix.between)]
    sides, size = [(0, several, matrix.across)], several + pairs
    if matrix.bias is not None and matrix.within_bias is not None:
        sides += [(0, size, matrix.within_bias), (several, size, matrix.between_bias)]
        places.append((size, size, matrix.bias))
        size += len(matrix.bias)
    for row, column, side in sides:
        places += [(row, column, side), (column, row, transpose(side))]
    added = np.diag(np.arange(rows) >= size)[:, :, None]
    full = jnp.broadcast_to(jnp.asarray(added, matrix.between.dtype), (rows, rows, lanes))
    # Written one after another in place: XLA would divide a longer loop between threads.
    for row, column, block in places:
        full = lax.dynamic_update_slice(full, block, (row, column, 0))
    return full


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


def _written_out(columns: list[Array], rights: Array) -> tuple[Array, Again]:
    """The solutions [n, 2, L], and a function of further right-hand sides [n, M, L]."""
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

    return solve(rights), solve


@stored
def _factor_column(column: Array, before: list[Array]) -> tuple[Array, Array]:
    """The inverse of a pivot, and its column; ``before`` are the same rows of those before it."""
    diagonal = column[0]
    for other in before:
        column = column - other * other[0]
    own = stored(lax.rsqrt)(blocks.pivot(column[0], diagonal))
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
