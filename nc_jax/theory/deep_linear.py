"""Deep linear heads on free features under the squared error (Dang et al. 2023).

Minimise (1/2N) Σ_k Σ_i ‖W_M ⋯ W_1 h_{k,i} − e_k‖² + (λ_W/2) Σ_l ‖W_l‖² + (λ_H/2) Σ ‖h_{k,i}‖²
without a bias. The problem decouples into the classes, each with one mode. With M weight
matrices (arXiv 2301.00437, Theorems 3.1 and 4.1, in our normalisation; the threshold is
derived for this project), b_k = M N (N λ_W^M λ_H)^{1/M}/n_k and x_k the largest root of

    M x^{M−1}/(x^M + 1)² = b_k,

class k is learned if and only if b_k < (M−1)^{(M−1)/M}/M (b_k < 1 for M = 1). Between
that threshold and the largest b_k with a root the zero solution is better.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from nc_jax.checks import common_dtype, float_array, require_count, require_positive
from nc_jax.theory.roots import root_between


class DeepLinearOptimum(NamedTuple):
    """The global optimum of a deep linear head on free features.

    Attributes:
        objective: [...] optimal value, including penalties.
        learned: [..., K] booleans, whether a class has a non-zero mode.
        logits: [..., K] the own logit of each class's features; the others are 0.
        singular_values: [..., K] s_k, the same for every W_l.
        feature_norms: [..., K] ‖h_{k,i}‖.
    """

    objective: Array
    learned: Array
    logits: Array
    singular_values: Array
    feature_norms: Array


def deep_linear_optimum(
    class_sizes: Any, num_layers: int, lambda_w: Any, lambda_h: Any
) -> DeepLinearOptimum:
    """Optimum for any class sizes; the widths must be at least K.

    Args:
        class_sizes: [..., K] absolute class sizes, K ≥ 2.
        num_layers: M ≥ 1, the number of weight matrices after the features.
        lambda_w: λ_W > 0, the weight decay of each matrix, [...].
        lambda_h: λ_H > 0 [...].

    Raises:
        TypeError, ValueError: naming the invalid argument.
    """
    layers = require_count("num_layers", num_layers, 1)
    dtype = common_dtype(class_sizes, lambda_w, lambda_h)
    sizes = float_array("class_sizes", class_sizes, dtype)
    if sizes.ndim == 0 or sizes.shape[-1] < 2:
        raise ValueError(f"class_sizes must be [..., K] with K ≥ 2, got shape {sizes.shape}")
    require_positive("class_sizes", sizes, lanes=sizes.ndim > 1)
    decays = []
    for name, value in (("lambda_w", lambda_w), ("lambda_h", lambda_h)):
        decays.append(float_array(name, value, dtype))
        require_positive(name, decays[-1], lanes=decays[-1].ndim > 0)
    in_w, in_h = (decay[..., None] for decay in decays)
    samples = jnp.sum(sizes, axis=-1, keepdims=True)

    price = layers * samples * in_w * (samples * in_h) ** (1 / layers) / sizes
    threshold = (layers - 1) ** ((layers - 1) / layers) / layers if layers > 1 else 1.0
    learned = price < threshold
    root = _largest_root(layers, jnp.where(learned, price, 0.5 * threshold))
    power = jnp.where(learned, root**layers, 0)
    own = power / (power + 1)
    singular = (samples * in_h * power) ** (1 / (2 * layers))
    norms = jnp.where(learned, own / jnp.where(learned, singular, 1) ** layers, 0)
    losses = sizes / (2 * samples) * (1 - own) ** 2
    losses = losses + 0.5 * layers * in_w * singular**2 + 0.5 * in_h * sizes * norms**2
    return DeepLinearOptimum(jnp.sum(losses, axis=-1), learned, own, singular, norms)


class DeepLinearLines(NamedTuple):
    """Values of b_k at which a class of a deep linear head changes its state.

    Attributes:
        existence: the learnt stationary point exists up to this value.
        equality: it is the global optimum up to this value; for M ≥ 2 the unlearnt one is a
            local minimum on both sides of the line.
    """

    existence: float
    equality: float


def deep_linear_lines(num_layers: int) -> DeepLinearLines:
    """The two lines of M weight matrices on free features, in b = M N (N λ_W^M λ_H)^{1/M}/n_k.

    Existence: the maximum of M x^{M−1}/(x^M + 1)², at x^M = (M − 1)/(M + 1). Equality:
    (M − 1)^{(M−1)/M}/M (Dang et al. 2023, Theorem 4.1, threshold derived for this
    project). Both are 1 for M = 1, where the transition is continuous.

    Args:
        num_layers: M ≥ 1.
    """
    layers = require_count("num_layers", num_layers, 1)
    if layers == 1:
        return DeepLinearLines(1.0, 1.0)
    power = (layers - 1) / (layers + 1)
    existence = layers * power ** ((layers - 1) / layers) / (power + 1) ** 2
    return DeepLinearLines(existence, (layers - 1) ** ((layers - 1) / layers) / layers)


def deep_linear_ratio(
    num_layers: int, price: float, majority: int, minority: int, weight_decay: Any
) -> Array:
    """R at which the small classes after a batch normalisation have the value b.

    With λ_W = λ and λ_H = λ/N a small class has b = M λ^{1+1/M} N/n_B, and
    N/n_B = K_A R + K_B for any n_B.

    Args:
        num_layers: M ≥ 1.
        price: the value b, one of :func:`deep_linear_lines`.
        majority: K_A ≥ 1.
        minority: K_B ≥ 1.
        weight_decay: λ > 0 [...].

    Returns:
        [...] the ratio; below 1 if b is exceeded even for balanced classes.
    """
    layers = require_count("num_layers", num_layers, 1)
    majority = require_count("majority", majority, 1)
    minority = require_count("minority", minority, 1)
    decay = float_array("weight_decay", weight_decay)
    require_positive("weight_decay", decay, lanes=decay.ndim > 0)
    return (price / (layers * decay ** (1 + 1 / layers)) - minority) / majority


@partial(jax.jit, static_argnums=0)
def _largest_root(layers: int, price: Array) -> Array:
    """Largest x with M x^{M−1}/(x^M + 1)² = b, in logarithms."""
    if layers == 1:
        return 1 / jnp.sqrt(price) - 1

    @jnp.vectorize
    def solve(b: Array) -> Array:
        def excess(t: Array) -> Array:
            left = jnp.log(layers) + (layers - 1) * t
            return left - 2 * jax.nn.softplus(layers * t) - jnp.log(b)

        # It decreases from its maximum at x^M = (M−1)/(M+1) on, at least as fast as M x^{−M−1}.
        lower = jnp.full_like(b, jnp.log((layers - 1) / (layers + 1)) / layers)
        upper = jnp.maximum((jnp.log(layers) - jnp.log(b)) / (layers + 1), lower) + 1
        return jnp.exp(root_between(excess, lower, upper))

    return solve(price)
