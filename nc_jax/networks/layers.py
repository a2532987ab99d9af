"""Dense, convolution and batch normalisation with PyTorch's initialisation and statistics.

Parameters are float32; a layer computes in the dtype of its inputs, and batch
normalisation computes its statistics in float32, or in float64 for float64 inputs.
``weights`` [B] of the samples, if given, sum to one over a batch: padding has
weight zero and affects neither statistics nor gradients.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

try:
    from flax import nnx
except ImportError as error:
    raise ImportError(
        "nc_jax.networks needs the packages of its extra: pip install 'nc-jax[train]'"
    ) from error

from nc_jax.networks.convolution import convolve

# PyTorch's defaults: weight of the new batch in the running statistics, and ε.
MOMENTUM = 0.1
EPSILON = 1e-5


def _uniform(key: Array, shape: tuple[int, ...], fan_in: int) -> Array:
    """PyTorch's default: uniform on ±1/√fan_in."""
    bound = 1 / math.sqrt(fan_in)
    return jax.random.uniform(key, shape, jnp.float32, -bound, bound)


class Dense(nnx.Module):
    """x W + b; the kernel W is [in, out]."""

    def __init__(self, inputs: int, outputs: int, key: Array, bias: bool = True):
        weight_key, bias_key = jax.random.split(key)
        self.kernel = nnx.Param(_uniform(weight_key, (inputs, outputs), inputs))
        self.bias = nnx.Param(_uniform(bias_key, (outputs,), inputs)) if bias else None

    def __call__(self, x: Array) -> Array:
        """[B, in] to [B, out]."""
        y = x @ self.kernel[...].astype(x.dtype)
        return y if self.bias is None else y + self.bias[...].astype(x.dtype)


class Convolution(nnx.Module):
    """A square convolution, padded to keep the size at stride 1; the kernel is [k, k, in, out]."""

    def __init__(
        self, inputs: int, outputs: int, key: Array, size: int = 3, stride: int = 1, bias=True
    ):
        weight_key, bias_key = jax.random.split(key)
        fan_in = inputs * size * size
        self.kernel = nnx.Param(_uniform(weight_key, (size, size, inputs, outputs), fan_in))
        self.bias = nnx.Param(_uniform(bias_key, (outputs,), fan_in)) if bias else None
        self.stride = stride

    def __call__(self, x: Array) -> Array:
        """[B, h, w, in] to [B, h/stride, w/stride, out]."""
        y = convolve(x, self.kernel[...].astype(x.dtype), self.stride)
        return y if self.bias is None else y + self.bias[...].astype(x.dtype)


class BatchNorm(nnx.Module):
    """Batch normalisation over all axes but the last, with running statistics."""

    def __init__(self, channels: int):
        self.scale = nnx.Param(jnp.ones(channels, jnp.float32))
        self.offset = nnx.Param(jnp.zeros(channels, jnp.float32))
        self.mean = nnx.BatchStat(jnp.zeros(channels, jnp.float32))
        self.variance = nnx.BatchStat(jnp.ones(channels, jnp.float32))

    def __call__(self, x: Array, train: bool, weights: Array | None = None) -> Array:
        """In training uses the batch's own statistics, and updates the running ones."""
        if train:
            mean, variance = self._statistics(x, weights)
        else:
            mean, variance = self.mean[...], self.variance[...]
        wide = _wide(x)
        mean, variance = mean.astype(wide), variance.astype(wide)
        factor = self.scale[...].astype(wide) * jax.lax.rsqrt(variance + EPSILON)
        shift = self.offset[...].astype(wide) - mean * factor
        return (x.astype(wide) * factor + shift).astype(x.dtype)

    def _statistics(self, x: Array, weights: Array | None) -> tuple[Array, Array]:
        """Mean and biased variance; the running variance is updated with the unbiased one."""
        batch, wide = x.shape[0], _wide(x)
        weights = jnp.full(batch, 1 / batch) if weights is None else weights
        weights = weights.astype(wide)
        places = x[0, ..., 0].size
        inner = tuple(range(1, x.ndim - 1))
        values = x.astype(wide)
        mean = weights @ jnp.mean(values, axis=inner)
        variance = weights @ jnp.mean((values - mean) ** 2, axis=inner)
        count = places * jnp.sum(weights > 0, dtype=wide)
        unbiased = variance * count / jnp.maximum(count - 1, 1)
        for running, own in ((self.mean, mean), (self.variance, unbiased)):
            own = jax.lax.stop_gradient(own).astype(running[...].dtype)
            running[...] = (1 - MOMENTUM) * running[...] + MOMENTUM * own
        return mean, variance


def _wide(x: Array) -> Any:
    """The dtype in which statistics are computed."""
    return jnp.float64 if x.dtype == jnp.float64 else jnp.float32


def scaled(channels: int, width: float) -> int:
    """Number of channels after applying the width factor, at least one."""
    return max(1, round(channels * width))


def keys_of(key: Array) -> Any:
    """An infinite iterator of keys."""
    while True:
        key, own = jax.random.split(key)
        yield own
