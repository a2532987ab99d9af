"""Cholesky factorisation in blocks of symmetric matrices, for many lanes at once on a CPU.

All loops are one kernel, and the innermost ones run over the lanes. They multiply two blocks, of
which a column stays in the registers. The diagonal blocks of the factor are stored inverted, so
that solving consists of products as well. LAPACK, called for one lane after another, takes most of
its time for other things than products if matrices have less than a hundred rows.

A block [B, B, L] holds its columns first, so that a column is contiguous. The blocks of a lower
triangle are numbered row by row.
"""

from functools import partial
from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from nc_jax.solvers.kernels import one_kernel
from nc_jax.solvers.lanes import total

# A pivot that is smaller than this many units of rounding of the diagonal is one of rounding, and
# is replaced: it could be negative.
PIVOT = 64


def block_rows(rows: int) -> int:
    """Rows of a block for a matrix of so many rows, to which few rows must be added."""
    return 3 if rows < 16 else min((6, 5), key=lambda size: -rows % size)


def filled_rows(rows: int) -> int:
    """So many rows, and those that fill the last block."""
    return rows + -rows % block_rows(rows)


def pivot(left: Array, diagonal: Array) -> Array:
    """A pivot, from what is left of an entry of the diagonal; positive."""
    rounding = PIVOT * jnp.finfo(left.dtype).eps
    return jnp.maximum(left * (1 + rounding), rounding * diagonal)


@partial(one_kernel, uses_all=True)
def factored(matrix: Array) -> Array:
    """The blocks [T, B, B, L] of the lower factors, column after column.

    Args:
        matrix: symmetric and positive definite, [n, n, L] for filled rows (:func:`filled_rows`).
    """
    rows, lanes = len(matrix), matrix.shape[-1]
    size = block_rows(rows)
    blocks = rows // size

    def without(row: Any, column: Any, factor: Array) -> tuple[Array, Array]:
        """A block of the matrix, and what is left of it without the products of those before."""
        # The matrix is symmetric.
        start = (column * size, row * size, 0)
        block = lax.dynamic_slice(matrix, start, (size, size, lanes))

        def subtract(k: Any, rest: Array) -> Array:
            return rest - _times(_block(factor, row, k), _block(factor, column, k))

        return block, lax.fori_loop(0, column, subtract, block)

    def add_column(column: Any, factor: Array) -> Array:
        block, rest = without(column, column, factor)
        inverse = _inverse_factor(block, rest)

        def add_block(row: Any, factor: Array) -> Array:
            _, rest = without(row, column, factor)
            return _with_block(factor, row, column, _times(rest, inverse))

        factor = _with_block(factor, column, column, inverse)
        return lax.fori_loop(column + 1, blocks, add_block, factor)

    empty = jnp.zeros((_number(blocks, 0), size, size, lanes), matrix.dtype)
    return lax.fori_loop(0, blocks, add_column, empty)


def solved(factor: Array, right: Array) -> Array:
    """The solutions [n, M, L] for right-hand sides [n, M, L], n without the rows that fill."""
    rows = len(right)
    more = -rows % factor.shape[1]
    return _solved(factor, jnp.pad(right, [(0, more), (0, 0), (0, 0)]))[:rows]


@partial(one_kernel, uses_all=True)
def _solved(factor: Array, right: Array) -> Array:
    """Solves with the lower factors and then with their transposes; all blocks are whole."""
    size, blocks = factor.shape[1], len(right) // factor.shape[1]

    def part(values: Array, k: Any) -> Array:
        return lax.dynamic_slice_in_dim(values, k * size, size)

    def with_part(values: Array, k: Any, own: Array) -> Array:
        return lax.dynamic_update_slice_in_dim(values, own, k * size, 0)

    def forward(row: Any, values: Array) -> Array:
        def subtract(k: Any, rest: Array) -> Array:
            return rest - _applied(_block(factor, row, k), part(values, k))

        rest = lax.fori_loop(0, row, subtract, part(values, row))
        return with_part(values, row, _applied(_block(factor, row, row), rest))

    def backward(step: Any, values: Array) -> Array:
        row = blocks - 1 - step

        def subtract(k: Any, rest: Array) -> Array:
            return rest - _applied(_transposed(_block(factor, k, row)), part(values, k))

        rest = lax.fori_loop(row + 1, blocks, subtract, part(values, row))
        return with_part(values, row, _applied(_transposed(_block(factor, row, row)), rest))

    return lax.fori_loop(0, blocks, backward, lax.fori_loop(0, blocks, forward, right))


def _number(row: Any, column: Any) -> Any:
    """The number of a block in a lower triangle."""
    return row * (row + 1) // 2 + column


def _block(factor: Array, row: Any, column: Any) -> Array:
    return lax.dynamic_index_in_dim(factor, _number(row, column), keepdims=False)


def _with_block(factor: Array, row: Any, column: Any, block: Array) -> Array:
    return lax.dynamic_update_index_in_dim(factor, block, _number(row, column), 0)


def _transposed(block: Array) -> Array:
    return jnp.swapaxes(block, 0, 1)


def _times(left: Array, right: Array) -> Array:
    """The product A Bᵀ of two blocks."""
    return total([own[None] * other[:, None] for own, other in zip(left, right, strict=True)])


def _applied(block: Array, values: Array) -> Array:
    """The product [B, M, L] of a block with [B, M, L]."""
    return total([own[:, None] * value[None] for own, value in zip(block, values, strict=True)])


def _inverse_factor(block: Array, rest: Array) -> Array:
    """The inverse lower factor of a diagonal block without the products of those before."""
    size = len(rest)
    columns: list[Array] = []
    pivots: list[Array] = []
    for k in range(size):
        column = rest[k, k:]
        for j, before in enumerate(columns):
            column = column - before[k - j :] * before[k - j]
        pivots.append(lax.rsqrt(pivot(column[0], block[k, k])))
        columns.append(column * pivots[k])
    inverse = []
    for k in range(size):
        entries = [jnp.zeros_like(pivots[k])] * k + [pivots[k]]
        for row in range(k + 1, size):
            crossed = total([columns[j][row - j] * entries[j] for j in range(k, row)])
            entries.append(-crossed * pivots[row])
        inverse.append(jnp.stack(entries))
    return jnp.stack(inverse)
