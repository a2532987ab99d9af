"""Maximum pooling by two."""

import jax.numpy as jnp
from jax import Array


def max_pool(x: Array) -> Array:
    """[B, h, w, c] to [B, h/2, w/2, c], the largest of each square of four; h and w even."""
    batch, height, width, channels = x.shape
    squares = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
    return jnp.max(squares, axis=(2, 4))
