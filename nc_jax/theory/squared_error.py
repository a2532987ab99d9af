"""Unconstrained features under the squared error: soft-thresholded singular values.

The loss is (1/2N) Σ ‖W h + b − y‖² with weight decay (λ/2)‖·‖². Sources: Tirer and
Bruna (ICML 2022); Zhou et al. (ICML 2022) for the bias; the forms below are
derived for this project.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from nc_jax.checks import common_dtype, float_array, require_count, require_positive
from nc_jax.theory.regularised import positive_arrays


class SquaredErrorOptimum(NamedTuple):
    """The global optimum of an unconstrained feature model under squared error.

    Attributes:
        objective: [...] optimal value, including penalties.
        logits: [..., K, K] Z of the class means, without the bias.
        bias: [..., K]; zeros for a model without bias.
    """

    objective: Array
    logits: Array
    bias: Array


def squared_error_optimum(class_sizes: Any, lambda_w: Any, lambda_h: Any) -> SquaredErrorOptimum:
    """Optimum without a bias, for any class sizes: orthogonal classes.

    Mode k of D^½ Z has singular value (√n_k − N λ_Z)₊: a class is learned if and only
    if √n_k > N λ_Z, independently of the other classes.

    Args:
        class_sizes: [..., K] absolute class sizes, K ≥ 2.
        lambda_w: λ_W > 0 [...].
        lambda_h: λ_H > 0 [...].

    Raises:
        TypeError, ValueError: naming the invalid argument.
    """
    dtype = common_dtype(class_sizes, lambda_w, lambda_h)
    sizes = float_array("class_sizes", class_sizes, dtype)
    if sizes.ndim == 0 or sizes.shape[-1] < 2:
        raise ValueError(f"class_sizes must be [..., K] with K ≥ 2, got shape {sizes.shape}")
    require_positive("class_sizes", sizes, lanes=sizes.ndim > 1)
    in_w, in_h = positive_arrays(lambda_w=lambda_w, lambda_h=lambda_h)
    price = (jnp.sqrt(in_w) * jnp.sqrt(in_h))[..., None].astype(dtype)
    samples = jnp.sum(sizes, axis=-1, keepdims=True)
    own = jnp.maximum(1 - samples * price / jnp.sqrt(sizes), 0)
    losses = sizes / samples * 0.5 * (1 - own) ** 2 + price * jnp.sqrt(sizes) * own
    logits = own[..., None] * jnp.eye(sizes.shape[-1], dtype=own.dtype)
    return SquaredErrorOptimum(jnp.sum(losses, axis=-1), logits, jnp.zeros_like(own))


def balanced_squared_error_optimum(
    num_classes: int, samples: Any, lambda_w: Any, lambda_h: Any, lambda_b: Any
) -> SquaredErrorOptimum:
    """Optimum with a bias, for equal class sizes.

    With c = K √n λ_Z the zero-sum modes of Z shrink to (1 − c)₊, a simplex ETF. The bias
    fits the mean of the targets, unless its own decay is strong,
    λ_b > c/(1 − c); then the features contribute the part (1 − c − c/λ_b)₊ of it.

    Args:
        num_classes: K ≥ 2.
        samples: n > 0, the number of samples of each class.
        lambda_w: λ_W > 0.
        lambda_h: λ_H > 0.
        lambda_b: λ_b ≥ 0; 0 for an unregularised bias. All broadcast to [...].

    Raises:
        TypeError, ValueError: naming the invalid argument.
    """
    size = require_count("num_classes", num_classes, 2)
    decay = float_array("lambda_b", lambda_b, common_dtype(lambda_b, lambda_w, lambda_h, samples))
    require_positive("lambda_b", decay, lanes=decay.ndim > 0, or_zero=True)
    n, in_w, in_h = positive_arrays(samples=samples, lambda_w=lambda_w, lambda_h=lambda_h)
    c = size * jnp.sqrt(n) * jnp.sqrt(in_w) * jnp.sqrt(in_h)
    c, decay = jnp.broadcast_arrays(c, decay)
    spread = jnp.maximum(1 - c, 0)
    mean = jnp.maximum(1 - c - c / jnp.where(decay > 0, decay, jnp.inf), 0)
    mean = jnp.where(decay > 0, mean, 0)
    bias = (1 - mean) / (size * (1 + decay))
    contrast = 0.5 * (1 - spread) ** 2 + c * spread
    average = 0.5 * ((mean - 1) / size + bias) ** 2 * size + c * mean / size
    objective = (size - 1) / size * contrast + average + 0.5 * decay * size * bias**2
    eye, ones = jnp.eye(size, dtype=c.dtype), jnp.full((size, size), 1 / size, c.dtype)
    logits = spread[..., None, None] * (eye - ones) + mean[..., None, None] * ones
    return SquaredErrorOptimum(
        objective, logits, jnp.broadcast_to(bias[..., None], (*bias.shape, size))
    )
