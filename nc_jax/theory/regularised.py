"""Unconstrained features under cross-entropy: balanced optimum and thresholds.

Weight decay acts on the feature of every sample here, so a class of n samples has weight
√n; the thresholds are polynomial in 1/λ, while those of the Layer-Peeled Model
are exponential in its budget. Penalties are (λ/2)‖·‖²; Hong and Ling
(arXiv 2309.09725) write λ‖·‖². λ_Z = √(λ_W λ_H) throughout.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.checks import common_dtype, float_array, is_concrete, require_count, require_positive
from nc_jax.theory.roots import root_between


class UnconstrainedOptimum(NamedTuple):
    """The global optimum of a balanced unconstrained feature model.

    Attributes:
        objective: [...] optimal value, including penalties.
        logit_gap: [...] a class's own logit minus any other, g ≥ 0.
        weight_norm: [...] ‖w_k‖ of each classifier.
        feature_norm: [...] ‖h_k,i‖ of each feature.
        cosine: [...] cosine of any two classifiers; NaN if they vanish.
    """

    objective: Array
    logit_gap: Array
    weight_norm: Array
    feature_norm: Array
    cosine: Array


def positive_arrays(**values: Any) -> list[Array]:
    """Checked positive numbers of one dtype, broadcast to one shape."""
    dtype = common_dtype(*values.values())
    arrays = []
    for name, value in values.items():
        array = float_array(name, value, dtype)
        require_positive(name, array, lanes=array.ndim > 0)
        arrays.append(array)
    return list(jnp.broadcast_arrays(*arrays))


def unconstrained_optimum(
    num_classes: int, samples: Any, lambda_w: Any, lambda_h: Any
) -> UnconstrainedOptimum:
    """Optimum of the balanced unconstrained feature model under cross-entropy.

    A simplex ETF with logit gap g = log(1/(√n λ_Z) − K + 1), or zero if
    √n λ_Z ≥ 1/K (Zhu et al., NeurIPS 2021; the value in this form is derived
    for this project). With an unregularised bias the optimum is the same, with zero bias.

    Args:
        num_classes: K ≥ 2.
        samples: n > 0, the number of samples of each class, a number or an array.
        lambda_w: λ_W > 0.
        lambda_h: λ_H > 0. All broadcast to [...].

    Raises:
        TypeError, ValueError: naming the invalid argument.
    """
    num_classes = require_count("num_classes", num_classes, 2)
    n, in_w, in_h = positive_arrays(samples=samples, lambda_w=lambda_w, lambda_h=lambda_h)
    price = jnp.sqrt(n) * jnp.sqrt(in_w) * jnp.sqrt(in_h)
    collapsed = price * num_classes >= 1
    safe = jnp.where(collapsed, 1 / num_classes, price)
    gap = jnp.log1p(1 / safe - num_classes)
    # K·½(λ_W‖w‖² + λ_H n‖h‖²) = price·(K−1)·g, equally shared.
    square = (num_classes - 1) / num_classes * gap
    balance = jnp.sqrt(n * in_h / in_w)
    return UnconstrainedOptimum(
        objective=jnp.log1p((num_classes - 1) * jnp.exp(-gap)) + price * (num_classes - 1) * gap,
        logit_gap=gap,
        weight_norm=jnp.sqrt(square * balance),
        feature_norm=jnp.sqrt(square / balance),
        cosine=jnp.where(collapsed, jnp.nan, -1 / (num_classes - 1)),
    )


def unconstrained_collapse_penalty(class_sizes: Any) -> Array:
    """The λ_Z from which the classes of each group coincide, √n_c/N.

    Holds for any number of groups of at least two equal classes, with or
    without a bias (Hong and Ling, arXiv 2309.09725).

    Args:
        class_sizes: [..., K] absolute class sizes.

    Returns:
        [..., K]; without meaning for a class whose size no other class has.
    """
    sizes = float_array("class_sizes", class_sizes)
    if sizes.ndim == 0:
        raise ValueError(f"class_sizes must be a vector [K], got the number {class_sizes}")
    require_positive("class_sizes", sizes, lanes=sizes.ndim > 1)
    return jnp.sqrt(sizes) / jnp.sum(sizes, axis=-1, keepdims=True)


def unconstrained_collapse_ratio(
    majority: Any, minority: Any, majority_size: Any, penalty: Any
) -> Array:
    """R0: minority classifiers coincide if and only if n_A/n_B ≥ R0, with n_A fixed.

    √R0 = (1 + √(1 − 4 g² K_A K_B))/(2 g K_A), g = λ_Z √n_A (derived for this
    project from Hong and Ling's condition). With strong decay they also coincide
    near balance, and the set of separated ratios starts above 1.

    Args:
        majority: K_A ≥ 1; a number or an array.
        minority: K_B ≥ 1.
        majority_size: n_A > 0.
        penalty: λ_Z = √(λ_W λ_H) > 0. All broadcast to [...].

    Returns:
        R0 [...]; infinity if K_B = 1; zero if every ratio collapses.

    Raises:
        TypeError, ValueError: naming the invalid argument, outside of transformations.
    """
    major, minor, size, price = positive_arrays(
        majority=majority, minority=minority, majority_size=majority_size, penalty=penalty
    )
    whole_numbers(majority=major, minority=minor)
    g = price * jnp.sqrt(size)
    radicand = 1 - 4 * g**2 * major * minor
    root = (1 + jnp.sqrt(jnp.where(radicand >= 0, radicand, 0))) / (2 * g * major)
    ratio = jnp.where(radicand >= 0, root**2, 0)
    return jnp.where(minor > 1, ratio, jnp.inf)


def unconstrained_vanish_penalty(
    majority: Any, minority: Any, majority_size: Any, minority_size: Any
) -> Array:
    """The λ_Z from which every minority classifier is exactly zero, without a bias.

    At this λ_Z, n_A K K_B p₃² + n_B K_A/K = (N λ_Z)², with p the softmax of a majority
    row at b = 0 and α from (n_A/N)(K_A p₂ + K_B p₃) = λ_Z √n_A (derived for this
    project, in Hong and Ling's setting).

    Args:
        majority: K_A ≥ 1; a number or an array.
        minority: K_B ≥ 1.
        majority_size: n_A > 0.
        minority_size: n_B > 0; n_A ≥ n_B. All broadcast to [...].

    Raises:
        TypeError, ValueError: naming the invalid argument, outside of transformations.
    """
    arrays = positive_arrays(
        majority=majority,
        minority=minority,
        majority_size=majority_size,
        minority_size=minority_size,
    )
    whole_numbers(majority=arrays[0], minority=arrays[1])
    if is_concrete(arrays[2]) and np.any(np.asarray(arrays[2]) < np.asarray(arrays[3])):
        raise ValueError("majority_size must be at least minority_size")
    return _vanish(*arrays)


def _row(alpha: Array, major: Array, minor: Array) -> tuple[Array, Array]:
    """K_A p₂ + K_B p₃ and p₃ of a majority row whose minority logits are zero."""
    own, other = jnp.exp(-alpha * (major - 1) / major), jnp.exp(-alpha)
    # Relative to the own class: p₂/p₁ = e^{−α}, p₃/p₁ = e^{−α(1 − 1/K_A)}.
    total = 1 + (major - 1) * other + minor * own
    return (major * other + minor * own) / total, own / total


@jax.jit
@jnp.vectorize
def _vanish(major: Array, minor: Array, large: Array, small: Array) -> Array:
    total = major + minor
    share = small / large

    def excess(alpha: Array) -> Array:
        slope, p3 = _row(alpha, major, minor)
        return jnp.log((total * minor * p3**2 + share * major / total) / slope**2)

    # p₃ decreases at least as fast as e^{−α/2}, and slope² ≤ K² e^{−α}.
    upper = 2 * jnp.log(total**3 / share) + 1
    # With classes of equal size the root is zero, which the interval must contain.
    alpha = root_between(excess, -jnp.ones_like(upper), upper)
    samples = major * large + minor * small
    slope, _ = _row(alpha, major, minor)
    alone = jnp.sqrt(large * minor / total + small / total) / samples
    return jnp.where(major > 1, jnp.sqrt(large) * slope / samples, alone)


def whole_numbers(**values: Array) -> None:
    """Raises ValueError unless concrete arrays hold whole numbers."""
    for name, value in values.items():
        if is_concrete(value) and not np.all(np.asarray(value) % 1 == 0):
            raise ValueError(f"{name} must be a whole number of classes, at least 1; got {value}")
