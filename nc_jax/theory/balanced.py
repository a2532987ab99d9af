"""Balanced classes: the optimum in closed form."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.checks import common_dtype, float_array, require_count, require_positive
from nc_jax.losses import (
    ClassWeights,
    CrossEntropy,
    Focal,
    LabelMargins,
    LabelSmoothing,
    Loss,
    MeanSquaredError,
    PowerSoftmax,
    SoftmaxBased,
    VectorScaling,
    at_classes,
    class_numbers_of,
)

# Losses whose balanced optimum is the simplex ETF that uses the whole budget.
SIMPLEX = CrossEntropy | SoftmaxBased | PowerSoftmax | Focal | LabelMargins | VectorScaling


class BalancedOptimum(NamedTuple):
    """The global optimum of a balanced Layer-Peeled Model.

    Attributes:
        objective: [...] optimal value.
        own_logit: [...] logit of a class's own classifier, Z_kk.
        other_logit: [...] logit of any other classifier, Z_kl.
        cosine: [...] cosine of any two classifiers (and class means).
    """

    objective: Array
    own_logit: Array
    other_logit: Array
    cosine: Array


def softmax_condition(num_classes: int, budget: Any) -> Array:
    """Whether the budget is large enough for Theorem 4 of Fang et al. 2021.

    E > ((K−1)/K) log(K² E + (2K−1)(K−1)): then the simplex ETF is a global optimum
    for every softmax-based loss with g1 convex nonincreasing and g2 convex
    nondecreasing. Sufficient, not necessary.

    Args:
        num_classes: K ≥ 2.
        budget: E = √(E_W E_H) > 0, a number or an array [...].

    Returns:
        Booleans [...].
    """
    size = require_count("num_classes", num_classes, 2)
    budget = float_array("budget", budget, common_dtype(budget))
    bound = (size - 1) / size * jnp.log(size**2 * budget + (2 * size - 1) * (size - 1))
    return budget > bound


def contrastive_optimum(
    num_classes: int, samples: Any, feature_energy: Any, temperature: Any = 1.0
) -> Array:
    """Optimal value under the supervised contrastive loss (Theorem 3 of Fang et al. 2021).

    log n + log(1 + (K−1) exp(−K E_H/((K−1) τ))), attained by features on a simplex ETF.

    Args:
        num_classes: K ≥ 2.
        samples: n ≥ 1, the number of samples of every class.
        feature_energy: E_H > 0.
        temperature: τ > 0. All broadcast to [...].

    Raises:
        TypeError, ValueError: naming the invalid argument.
    """
    size = require_count("num_classes", num_classes, 2)
    values = {"samples": samples, "feature_energy": feature_energy, "temperature": temperature}
    dtype = common_dtype(*values.values())
    arrays = {name: float_array(name, value, dtype) for name, value in values.items()}
    for name, value in arrays.items():
        require_positive(name, value, lanes=value.ndim > 0)
    gap = size / (size - 1) * arrays["feature_energy"] / arrays["temperature"]
    return jnp.log(arrays["samples"]) + jnp.log1p((size - 1) * jnp.exp(-gap))


def balanced_optimum(num_classes: int, budget: Any, loss: Loss | None = None) -> BalancedOptimum:
    """Optimum of the Layer-Peeled Model with equal class sizes and p ≥ K.

    Cross-entropy: the simplex ETF of Theorem 1 of Fang et al. 2021, value
    log(1 + (K−1) exp(−E K/(K−1))), with Z = (E K/(K−1)) (I − 11ᵀ/K).
    Squared error ½‖z − e_k‖²: the orthogonal frame Z = min(E, 1) I, value
    ½ (1 − E)₊² (a projection onto the nuclear ball). Softmax-based losses: the
    same ETF, value g1(p₁) + (K−1) g2(p₀), which is optimal if :func:`softmax_condition`
    holds (Theorem 4); otherwise it is the value of the ETF. The focal loss is also
    softmax-based: −(1 − p)^γ log p is convex and nonincreasing.

    Losses for imbalance whose numbers are equal for all classes also have the ETF that uses the
    whole budget, by symmetry and convexity: a common margin, offset, temperature or weight
    only changes the value. Label smoothing stops at the logits whose softmax is
    its target, z_k − z_j = log(K(1−ε)/ε + 1).

    Args:
        num_classes: K ≥ 2.
        budget: E = √(E_W E_H) > 0, a number or an array [...].
        loss: :class:`CrossEntropy` by default; :class:`MeanSquaredError`, a softmax-based
            loss, or a loss for imbalance.

    Raises:
        ValueError: another loss, a loss whose classes differ, or an argument out of range.
    """
    loss = CrossEntropy() if loss is None else loss
    num_classes = require_count("num_classes", num_classes, 2)
    budget = float_array("budget", budget, common_dtype(budget))
    require_positive("budget", budget, lanes=budget.ndim > 0)
    for numbers in class_numbers_of(loss):
        if set(numbers.membership) != {0} or numbers.num_classes != num_classes:
            raise ValueError(f"loss must have the same number for each of {num_classes} classes")
    if isinstance(loss, MeanSquaredError):
        reached = jnp.minimum(budget, 1)
        return BalancedOptimum(
            objective=0.5 * (1 - reached) ** 2,
            own_logit=reached,
            other_logit=jnp.zeros_like(budget),
            cosine=jnp.zeros_like(budget),
        )
    reached = jnp.minimum(budget, _farthest(num_classes, loss, budget.dtype))
    logits = jnp.stack([reached, -reached / (num_classes - 1)], axis=-1)
    multiplicity = jnp.asarray([1, num_classes - 1], budget.dtype)
    alike = at_classes(loss, np.zeros(2, int))
    return BalancedOptimum(
        objective=alike(logits, jnp.zeros(budget.shape, int), multiplicity),
        own_logit=reached,
        other_logit=-reached / (num_classes - 1),
        cosine=jnp.full_like(budget, -1 / (num_classes - 1)),
    )


def _farthest(num_classes: int, loss: Loss, dtype: Any) -> Array:
    """Own logit beyond which a longer simplex ETF brings no gain; ValueError for other losses."""
    if isinstance(loss, ClassWeights) and not isinstance(loss.loss, MeanSquaredError):
        return _farthest(num_classes, loss.loss, dtype)
    if isinstance(loss, LabelSmoothing):
        epsilon = loss.epsilon.astype(dtype)
        return (num_classes - 1) / num_classes * jnp.log(num_classes * (1 - epsilon) / epsilon + 1)
    if isinstance(loss, SIMPLEX):
        return jnp.full((), jnp.inf, dtype)
    raise ValueError(f"loss: no closed form is known here for {type(loss).__name__}")
