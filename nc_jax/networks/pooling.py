"""Maximum pooling by two."""

import jax.numpy as jnp
from jax import Array


def max_pool(x: Array) -> Array:
    """[B, h, w, c] to [B, h/2, w/2, c], the largest of each square of four; h and w even.

    The gradient goes to exactly one of the four. That of ``jnp.max`` compares each with the
    maximum; if a compiler recomputes both with different rounding, none of them is equal.
    """
    batch, height, width, channels = x.shape
    columns = x.reshape(batch, height, width // 2, 2, channels)
    x = _larger(columns[:, :, :, 0], columns[:, :, :, 1])
    rows = x.reshape(batch, height // 2, 2, width // 2, channels)
    return _larger(rows[:, :, 0], rows[:, :, 1])


def _larger(one: Array, other: Array) -> Array:
    return jnp.where(one < other, other, one)
