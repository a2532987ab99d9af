"""Small matrices of many lanes at once: the lanes are the last axis of every array.

A batched 2×2 program is a few hundred scalar operations a step. With the lanes last each of
them is one operation on contiguous numbers, which a processor does eight at a time; with the
lanes first, or with a call of LAPACK for each lane, most of the time would be overhead.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.solvers.kernels import stored

# Sums over more rows than this are loops where there is a single lane: code that is written out
# takes up to half of the time of a compilation, and nothing is gained by it.
MOST_WRITTEN_OUT = 3


@stored
def product(a: Array, b: Array) -> Array:
    """Matrix product of [I, K, L] and [K, J, L]."""
    if _is_looped(a, axis=1):
        return jnp.matmul(a[..., 0], b[..., 0], precision="highest")[..., None]
    return total([a[:, k, None] * b[None, k] for k in range(a.shape[1])])


def transpose(a: Array) -> Array:
    """The transposes of [I, J, L]."""
    return jnp.swapaxes(a, 0, 1)


def rotated(left: Array, matrix: Array, right: Array) -> Array:
    """Uᵀ A V."""
    return product(transpose(left), product(matrix, right))


def unrotated(left: Array, matrix: Array, right: Array) -> Array:
    """U A Vᵀ, the inverse of :func:`rotated`."""
    return product(left, product(matrix, transpose(right)))


def diagonal(matrix: Array) -> Array:
    """The diagonals [N, ...] of [N, N, ...]."""
    if _is_looped(matrix):
        return jnp.moveaxis(jnp.diagonal(matrix), -1, 0)
    return jnp.stack([matrix[k, k] for k in range(matrix.shape[0])])


def is_diagonal(size: int) -> Array:
    """A mask [N, N, 1]."""
    return jnp.asarray(np.eye(size, dtype=bool)[:, :, None])


def diagonal_matrix(values: Array) -> Array:
    """Diagonal matrices [N, N, L] of [N, L]."""
    return jnp.where(is_diagonal(values.shape[0]), values[:, None], 0)


def at_groups(values: Array, groups: np.ndarray) -> Array:
    """Rows of [G, ...] at some groups, [0, ...] for none."""
    return jnp.stack([values[g] for g in groups]) if len(groups) else values[:0]


def total(terms: Any) -> Array:
    """The sum over the first axis, added in order; in a batch, a reduction would not be fused."""
    if _is_looped(terms):
        return jnp.sum(terms, axis=0)
    result = terms[0]
    for term in terms[1:]:
        result = result + term
    return result


def least(terms: Any) -> Array:
    """The minimum over the first axis."""
    if _is_looped(terms):
        return jnp.min(terms, axis=0)
    result = terms[0]
    for term in terms[1:]:
        result = jnp.minimum(result, term)
    return result


def largest(terms: Any) -> Array:
    """The maximum over the first axis."""
    return -least(-terms if isinstance(terms, Array) else [-term for term in terms])


def _is_looped(terms: Any, axis: int = 0) -> bool:
    """Whether an array [..., L] is summed over an axis by a loop."""
    single = isinstance(terms, Array) and terms.shape[-1] == 1
    return single and terms.shape[axis] > MOST_WRITTEN_OUT
