"""Singular bases of small matrices, followed from one step of a solver to the next.

Jacobi's method for singular values (Kogbetliantz 1955): each rotation of two rows and two
columns makes a 2×2 block diagonal. A matrix that has changed a little since its basis
was found needs one or two sweeps over all pairs; disjoint pairs are rotated at once.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from nc_jax.solvers.kernels import MOST_GROUPS, one_kernel, stored
from nc_jax.solvers.lanes import diagonal, rotated


class Basis(NamedTuple):
    """Orthogonal left and right factors [G, G, L]; their columns are the singular vectors."""

    left: Array
    right: Array


class _Aligned(NamedTuple):
    """A matrix in its basis, and positive weights [G, L] of the basis vectors."""

    matrix: Array
    basis: Basis
    weights: Array


def aligned(matrix: Array, basis: Basis, weights: Array, sweeps: int) -> tuple[Basis, Array]:
    """Turns a basis towards the singular basis of a matrix.

    Args:
        matrix: [G, G, L].
        basis: where to start.
        weights: [G, L] numbers of the basis vectors. If vectors are mixed, so are these:
            they are the diagonal of a matrix that is diagonal in the old basis.
        sweeps: how often all pairs are rotated. Two dimensions need one sweep.

    Returns:
        The basis, whose signed singular values have no order, and the weights.
    """
    groups = matrix.shape[0]
    if groups == 1:
        return basis, weights
    state = _Aligned(rotated(basis.left, matrix, basis.right), basis, weights)
    if groups == 2:
        state = _rotate(state)
    else:
        rounds = sweeps * (groups - 1 + groups % 2)

        def turned(state: _Aligned) -> _Aligned:
            return jax.lax.fori_loop(0, rounds, lambda _, old: _permuted(_rotate(old)), state)

        # Of fewer groups all that surrounds it is one kernel. A single lane gains less than the
        # kernel takes to compile.
        alone = groups <= MOST_GROUPS or matrix.shape[-1] == 1
        state = (turned if alone else one_kernel(turned))(state)
    return state.basis, state.weights


def _rotate(state: _Aligned) -> _Aligned:
    """Diagonalises the blocks of rows and columns k and h + k, for all k < h = ⌊G/2⌋."""
    half = state.matrix.shape[0] // 2
    top, bottom = slice(0, half), slice(half, 2 * half)
    left, right = _angles(
        diagonal(state.matrix[top, top]),
        diagonal(state.matrix[top, bottom]),
        diagonal(state.matrix[bottom, top]),
        diagonal(state.matrix[bottom, bottom]),
    )
    matrix = _columns(state.matrix, right)
    matrix = jnp.swapaxes(_columns(jnp.swapaxes(matrix, 0, 1), left), 0, 1)
    basis = Basis(_columns(state.basis.left, left), _columns(state.basis.right, right))
    mixing = 0.5 * (left[1] ** 2 + right[1] ** 2)
    first, second = state.weights[top], state.weights[bottom]
    mixed = [first + mixing * (second - first), second + mixing * (first - second)]
    weights = jnp.concatenate([*mixed, state.weights[2 * half :]])
    return _Aligned(matrix, basis, weights)


@stored
def _angles(
    p: Array, q: Array, r: Array, t: Array
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Cosine and sine of the left and right rotations that make [[p, q], [r, t]] diagonal."""
    cos_of_sum, sin_of_sum = _direction(p - t, r + q)
    cos_of_difference, sin_of_difference = _direction(p + t, r - q)
    both = cos_of_sum * cos_of_difference, sin_of_sum * sin_of_difference
    cross = sin_of_difference * cos_of_sum, cos_of_difference * sin_of_sum
    left = _half_angle(both[0] - both[1], cross[1] + cross[0])
    right = _half_angle(both[0] + both[1], cross[1] - cross[0])
    return left, right


@stored
def _direction(x: Array, y: Array) -> tuple[Array, Array]:
    """Cosine ≥ 0 and sine of the angle of (x, y) or (−x, −y); angle zero if both vanish.

    Of the rotations that make a block diagonal these are the smallest, with signed singular
    values in any order. Those that sort them do not converge.
    """
    square = x * x + y * y
    # Squares below the normal numbers lose their digits, or are flushed to zero as XLA does on a
    # CPU. Next to them the factors would not be a cosine and a sine.
    limits = jnp.finfo(square.dtype)
    known = square >= limits.tiny / limits.eps
    length = jnp.sqrt(jnp.where(known, square, 1))
    inverse = 1 / length
    sine = jnp.where(x < 0, -y, y) * inverse
    return jnp.where(known, jnp.abs(x) * inverse, 1), jnp.where(known, sine, 0)


@stored
def _half_angle(cosine: Array, sine: Array) -> tuple[Array, Array]:
    """Cosine and sine of half an angle from −π to π, without cancellation."""
    larger = jnp.sqrt(0.5 * (1 + jnp.abs(cosine)))
    smaller = 0.5 * jnp.abs(sine) / larger
    acute = cosine >= 0
    half_sine = jnp.where(acute, smaller, larger)
    return jnp.where(acute, larger, smaller), jnp.where(sine < 0, -half_sine, half_sine)


@stored
def _columns(matrix: Array, rotation: tuple[Array, Array]) -> Array:
    """Rotates columns k and h + k by angle k."""
    cosine, sine = rotation
    half = cosine.shape[0]
    first, second = matrix[:, :half], matrix[:, half : 2 * half]
    turned = [first * cosine + second * sine, second * cosine - first * sine]
    return jnp.concatenate([*turned, matrix[:, 2 * half :]], axis=1)


def _permuted(state: _Aligned) -> _Aligned:
    """Other pairs of rows and columns; after all rounds every pair has met once."""
    groups = state.matrix.shape[0]
    half = groups // 2
    top, bottom = list(range(half)), list(range(half, 2 * half))
    if groups % 2:
        order = [groups - 1, *top[:-1], *bottom[1:], top[-1], bottom[0]]
    else:
        order = [top[0], bottom[0], *top[1:-1], *bottom[1:], top[-1]]

    def columns(matrix: Array) -> Array:
        return jnp.stack([matrix[:, k] for k in order], axis=1)

    matrix = jnp.stack([columns(state.matrix)[k] for k in order])
    basis = Basis(columns(state.basis.left), columns(state.basis.right))
    return _Aligned(matrix, basis, jnp.stack([state.weights[k] for k in order]))
