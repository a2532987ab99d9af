"""Homogeneous networks under square loss and weight decay (Rangamani, Banburski-Fahey 2022).

The loss is (1/NC) Σ ½‖y − f‖² + (λ/2) Σ_l ‖W_l‖² over N samples in each of C classes.
A network is at symmetric quasi-interpolation if its output is 1 − ε for the correct
class and ε/(C − 1) for the others.
"""

from typing import Any

import jax.numpy as jnp
from jax import Array

from nc_jax.checks import float_array, require_count, require_positive


def collapsed_loss(num_classes: int, alpha: Any) -> Array:
    """Square loss of a simplex frame without a bias (Lemma 1).

    W M = (αC/(C − 1)) (I − 11ᵀ/C) for classifiers W and class means M gives
    ½((1 − α)² + α²/(C − 1)). This is at least 1/(2C), attained at α = (C − 1)/C: such a network
    does not interpolate.

    Args:
        num_classes: C ≥ 2.
        alpha: α [...], the output for the correct class.

    Raises:
        TypeError, ValueError: naming the invalid argument.
    """
    size = require_count("num_classes", num_classes, 2)
    alpha = float_array("alpha", alpha)
    return 0.5 * ((1 - alpha) ** 2 + alpha**2 / (size - 1))


def quasi_interpolation_norm(num_classes: int, weight_decay: Any, epsilon: Any) -> Array:
    """‖w_c‖² = (ε − C ε²/(C − 1))/(C λ) of classifiers at symmetric quasi-interpolation.

    Exact at a stationary point with an unregularised bias or with targets centred by
    1/C; without either of them, no stationary point with λ > 0 has the symmetry.

    Args:
        num_classes: C ≥ 2.
        weight_decay: λ > 0 [...].
        epsilon: ε [...], at most (C − 1)/C.

    Raises:
        TypeError, ValueError: naming the invalid argument.
    """
    size = require_count("num_classes", num_classes, 2)
    weight_decay, epsilon = float_array("weight_decay", weight_decay), jnp.asarray(epsilon)
    require_positive("weight_decay", weight_decay)
    return (epsilon - size / (size - 1) * epsilon**2) / (size * weight_decay)
