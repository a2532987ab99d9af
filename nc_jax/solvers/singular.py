"""Singular values and eigenvalues of the matrices of many lanes.

For a batch of matrices of at most three rows a call of LAPACK per lane is mostly overhead.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_batching import custom_vmap

from nc_jax.solvers.alignment import Basis, aligned
from nc_jax.solvers.lanes import diagonal, is_diagonal, rotated
from nc_jax.solvers.lapack import in_turn

# Up to this many rows Jacobi's method is used; beyond it LAPACK is.
SMALL = 3
# Sweeps of Jacobi's method for three rows; two need one.
SWEEPS = 8


def singular_triples(matrix: Array) -> tuple[Array, Array, Array]:
    """U [G, G], σ [G] ≥ 0 and Vᵀ [G, G] with A = U diag(σ) Vᵀ, in any order; no derivative."""
    return _triples(matrix) if len(matrix) > SMALL else _small_triples(matrix)


@in_turn
def _triples(matrix: Array) -> tuple[Array, Array, Array]:
    return tuple(jnp.linalg.svd(matrix))  # pyright: ignore[reportReturnType]


@in_turn
def symmetric_eigenvalues(matrix: Array) -> Array:
    """The eigenvalues [K] of a symmetric matrix [K, K]; no reverse-mode derivative."""
    return jnp.linalg.eigvalsh(matrix)


@jax.custom_jvp
def singular_values(matrix: Array) -> Array:
    """σ [G] of a matrix [G, G], in any order."""
    return singular_triples(matrix)[1]


@singular_values.defjvp
def _singular_values_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    left, singular, right = singular_triples(primals[0])
    change = jnp.matmul(tangents[0], right.T, precision="highest")
    return singular, jnp.sum(left * change, axis=0)


@custom_vmap
def _small_triples(matrix: Array) -> tuple[Array, Array, Array]:
    # A call takes far less time to compile than Jacobi's method.
    return _triples(matrix)


@_small_triples.def_vmap
def _small_triples_of_lanes(lanes: int, batched: Any, matrices: Array) -> Any:
    del lanes, batched
    found = _of_lanes(jnp.moveaxis(matrices, 0, -1))
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, -1, 0), found), (True, True, True)


def _of_lanes(matrix: Array) -> tuple[Array, Array, Array]:
    """The same for [G, G, L]."""
    groups, _, lanes = matrix.shape
    eye = jnp.broadcast_to(jnp.where(is_diagonal(groups), 1, 0).astype(matrix.dtype), matrix.shape)
    zero = jnp.zeros((groups, lanes), matrix.dtype)
    entry = jnp.max(jnp.abs(matrix), axis=(0, 1))
    entry = jnp.where(entry > 0, entry, 1)
    matrix = matrix / entry
    basis, _ = aligned(matrix, Basis(eye, eye), zero, SWEEPS)
    values = diagonal(rotated(basis.left, matrix, basis.right)) * entry
    left = jnp.where(values < 0, -basis.left, basis.left)
    return left, jnp.abs(values), jnp.swapaxes(basis.right, 0, 1)
