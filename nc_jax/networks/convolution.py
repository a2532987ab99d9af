"""Convolutions in the fastest of three ways: native, with Winograd's tiles, or as patches.

Accelerators use the native one for all kernels: the compiler of GPUs in jaxlib 0.11.2 aborts on
the matrix product of a 1×1 kernel with every second pixel of 28×28 images. On a CPU, XLA's
gradient for the kernel inside a loop is fifty times slower than a matrix product, and so is
every convolution on images of 2×2. There 3×3 kernels at stride 1 use tiles, or the native way
with few channels, with gradients by matrix products; other kernels use patches.
"""

import math

import jax
import jax.numpy as jnp
from jax import Array

from nc_jax.networks.winograd import LARGE, convolve_by_tiles, kernel_gradient

# Up to this image side, or below this number of channels, patches are used.
SMALL_SIDE = 2
FEW_CHANNELS = 8
# Products of numbers of channels from which on tiles are faster, forward and for the kernel's
# gradient (measured on two cores with batches of 128).
MANY_FORWARD = 2**10
MANY_BACKWARD = 2**9
# Number of images processed at a time in the gradient by shifts.
TOGETHER = 8


def convolve(x: Array, kernel: Array, stride: int = 1) -> Array:
    """A convolution, zero-padded so that stride 1 keeps the size.

    Args:
        x: [B, h, w, c].
        kernel: [k, k, c, o], k odd.
        stride: stride along both axes.

    Returns:
        [B, ⌈h/stride⌉, ⌈w/stride⌉, o].
    """
    if jax.default_backend() != "cpu":
        return native(x, kernel, stride)
    if kernel.shape[0] == 1:
        return jnp.matmul(x[:, ::stride, ::stride], kernel[0, 0])
    if stride == 1 and kernel.shape[0] == 3 and _tileable(x):
        return tiled(x, kernel)
    return as_patches(x, kernel, stride)


def native(x: Array, kernel: Array, stride: int = 1) -> Array:
    """XLA's own convolution."""
    side = kernel.shape[0] // 2
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((side, side), (side, side)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def as_patches(x: Array, kernel: Array, stride: int = 1) -> Array:
    """A convolution as a matrix product with shifted copies of the images.

    With large images only a few are processed at a time, and the copies are recomputed for the
    gradient, so that they stay in a processor's cache.
    """
    height, width = (-(-length // stride) for length in x.shape[1:3])

    def of(part: Array) -> Array:
        return _patches(part, kernel.shape[0], stride) @ kernel.reshape(-1, kernel.shape[-1])

    if height * width < LARGE:
        return of(x)
    parts = x.reshape(-1, math.gcd(x.shape[0], TOGETHER), *x.shape[1:])
    y = jax.lax.map(jax.checkpoint(of), parts)
    return y.reshape(x.shape[0], height, width, -1)


def _patches(x: Array, size: int, stride: int) -> Array:
    """[B, h, w, c] to [B, ⌈h/stride⌉, ⌈w/stride⌉, k²c]."""
    batch, _, _, channels = x.shape
    side = size // 2
    padded = jnp.pad(x, ((0, 0), (side, side), (side, side), (0, 0)))
    height, width = (-(-length // stride) for length in x.shape[1:3])

    def shifted(i: int, j: int) -> Array:
        ends = (i + stride * (height - 1) + 1, j + stride * (width - 1) + 1)
        return jax.lax.slice(padded, (0, i, j, 0), (batch, *ends, channels), (1, stride, stride, 1))

    return jnp.concatenate([shifted(i, j) for i in range(size) for j in range(size)], axis=-1)


def _tileable(x: Array) -> bool:
    _, height, width, channels = x.shape
    large = min(height, width) > SMALL_SIDE and channels >= FEW_CHANNELS
    return large and height % 2 == 0 and width % 2 == 0


def _forward(x: Array, kernel: Array) -> Array:
    many = kernel.shape[2] * kernel.shape[3] >= MANY_FORWARD
    return convolve_by_tiles(x, kernel) if many else native(x, kernel)


@jax.custom_vjp
def tiled(x: Array, kernel: Array) -> Array:
    """3×3 at stride 1 on images of even sides; with tiles if there are many channels."""
    return _forward(x, kernel)


def _tiled_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _forward(x, kernel), (x, kernel)


def _tiled_backward(residuals: tuple[Array, Array], slope: Array) -> tuple[Array, Array]:
    """The gradient for the images is a convolution with the rotated kernel."""
    x, kernel = residuals
    turned = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    many = kernel.shape[2] * kernel.shape[3] >= MANY_BACKWARD
    own = kernel_gradient(x, slope) if many else _gradient_by_shifts(x, slope)
    return _forward(slope, turned), own


tiled.defvjp(_tiled_forward, _tiled_backward)


def _gradient_by_shifts(x: Array, slope: Array) -> Array:
    """The gradient [3, 3, c, o] for the kernel as one product of [3c, n] and [n, 3o].

    Rows are shifted in the images and columns in the output's gradient, a few images at a time.
    """
    _, height, width, channels = x.shape
    outputs = slope.shape[-1]

    def of(part: Array, own: Array) -> Array:
        rows = jnp.pad(part, ((0, 0), (1, 1), (0, 0), (0, 0)))
        columns = jnp.pad(own, ((0, 0), (0, 0), (1, 1), (0, 0)))
        left = jnp.concatenate([rows[:, i : i + height] for i in range(3)], -1)
        right = jnp.concatenate([columns[:, :, 2 - j : 2 - j + width] for j in range(3)], -1)
        return left.reshape(-1, 3 * channels).T @ right.reshape(-1, 3 * outputs)

    count = math.gcd(x.shape[0], TOGETHER)
    pair = x.reshape(-1, count, *x.shape[1:]), slope.reshape(-1, count, *slope.shape[1:])
    zero = jnp.zeros((3 * channels, 3 * outputs), x.dtype)
    total, _ = jax.lax.scan(lambda sums, part: (sums + of(*part), None), zero, pair)
    return total.reshape(3, channels, 3, outputs).swapaxes(1, 2)
