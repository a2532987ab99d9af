"""3×3 convolutions of stride 1 by Winograd's F(2×2, 3×3) (Lavin and Gray 2016).

Tiles of 4×4 pixels and kernels are transformed, V = Bᵀ x B and U = G k Gᵀ; each of
the 16 positions is a matrix product M = V U over channels, and Aᵀ M A gives 2×2 pixels:
16 products per tile, while the direct sum needs 36. The gradient for the kernel is the
adjoint, Gᵀ [Vᵀ (A g Aᵀ)] G. Heights and widths must be even.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

# Bᵀ, G and Aᵀ for two outputs and a kernel of three.
B = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]], np.float32)
G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float32)
A = np.array([[1, 1, 1, 0], [0, 1, -1, -1]], np.float32)

# Size in bytes of the transformed tiles of large images that fits into a processor's cache.
CACHED = 2**23
# From this number of pixels on an image is large.
LARGE = 256


def convolve_by_tiles(x: Array, kernel: Array) -> Array:
    """[B, h, w, c] and [3, 3, c, o] to [B, h, w, o], zero-padded by one."""
    channels = kernel.shape[-1]
    places = _transformed_kernel(kernel)

    def of(part: Array) -> Array:
        tiles = _tiles(part)
        products = [[tiles[i][j] @ places[i][j] for j in range(4)] for i in range(4)]
        return _assembled(products, (*part.shape[:3], channels))

    count = _images(x.shape)
    parts = x.reshape(-1, count, *x.shape[1:])
    if len(parts) == 1:
        return of(x)
    return jax.lax.map(of, parts).reshape(*x.shape[:3], channels)


def kernel_gradient(x: Array, slope: Array) -> Array:
    """The gradient [3, 3, c, o] for the kernel from that [B, h, w, o] for the output."""

    def of(part: Array, own: Array) -> Array:
        tiles, spread = _tiles(part), _spread(own)
        return jnp.stack([tiles[i][j].T @ spread[i][j] for i in range(4) for j in range(4)])

    count = _images(x.shape)
    pair = x.reshape(-1, count, *x.shape[1:]), slope.reshape(-1, count, *slope.shape[1:])
    if len(pair[0]) == 1:
        total = of(x, slope)
    else:
        zero = jnp.zeros((16, x.shape[-1], slope.shape[-1]), x.dtype)
        total, _ = jax.lax.scan(lambda sums, part: (sums + of(*part), None), zero, pair)
    rows = [
        [_combined(G.T, lambda a, b: total[4 * a + b], i, j) for j in range(3)] for i in range(3)
    ]
    return jnp.stack([jnp.stack(row) for row in rows])


def _images(shape: tuple[int, ...]) -> int:
    """Number of images processed at a time, a divisor of the batch; all if they are small."""
    batch, height, width, channels = shape
    if height * width < LARGE:
        return batch
    fits = max(CACHED // (16 * height * width * channels), 1)
    return math.gcd(batch, 2 ** int(math.log2(fits)))


def _transformed_kernel(kernel: Array) -> list[list[Array]]:
    """U: [c, o] for each of the 4×4 positions."""
    return [[_combined(G, lambda k, m: kernel[k, m], i, j) for j in range(4)] for i in range(4)]


def _combined(weights: np.ndarray, pick: Callable[[int, int], Array], i: int, j: int) -> Array:
    """Σ_{k,l} w_ik w_jl pick(k, l), without the terms that are zero."""
    terms = [
        float(weights[i, k] * weights[j, m]) * pick(k, m)
        for k in range(weights.shape[1])
        for m in range(weights.shape[1])
        if weights[i, k] and weights[j, m]
    ]
    return sum(terms[1:], terms[0])


def _tiles(x: Array) -> list[list[Array]]:
    """V: [tiles, c] for each of the 4×4 positions, with tiles overlapping by two pixels."""
    batch, height, width, channels = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))

    def pick(i: int, j: int) -> Array:
        ends = (batch, i + height - 1, j + width - 1, channels)
        return jax.lax.slice(padded, (0, i, j, 0), ends, (1, 2, 2, 1))

    return [[_combined(B, pick, i, j).reshape(-1, channels) for j in range(4)] for i in range(4)]


def _assembled(products: list[list[Array]], shape: tuple[int, ...]) -> Array:
    """Aᵀ M A, arranged as pixels."""
    batch, height, width, channels = shape
    rows = []
    for i in range(2):
        pair = [_combined(A, lambda k, m: products[k][m], i, j) for j in range(2)]
        tiles = (batch, height // 2, width // 2, channels)
        rows.append(jnp.stack([part.reshape(tiles) for part in pair], axis=3))
    return jnp.stack(rows, axis=2).reshape(shape)


def _spread(slope: Array) -> list[list[Array]]:
    """A g Aᵀ: [tiles, o] for each of the 4×4 positions."""
    batch, height, width, channels = slope.shape

    def pick(i: int, j: int) -> Array:
        ends = (batch, height - 1 + i, width - 1 + j, channels)
        return jax.lax.slice(slope, (0, i, j, 0), ends, (1, 2, 2, 1))

    spread = A.T
    return [
        [_combined(spread, pick, i, j).reshape(-1, channels) for j in range(4)] for i in range(4)
    ]
