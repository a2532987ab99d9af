"""Balanced classes: the optimum in closed form."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from nc_jax.checks import common_dtype, float_array, require_count, require_positive
from nc_jax.losses import CrossEntropy, Loss, MeanSquaredError, PowerSoftmax, SoftmaxBased


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

    log n + log(1 + (K−1) exp(−K E_H/((K−1) τ))), reached by features on a simplex ETF.

    Args:
        num_classes: K ≥ 2.
        samples: n ≥ 1 of every class.
        feature_energy: E_H > 0.
        temperature: τ > 0. All broadcast to [...].

    Raises:
        TypeError, ValueError: naming the argument.
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
    same ETF, value g1(p₁) + (K−1) g2(p₀), optimal where :func:`softmax_condition`
    holds (Theorem 4); elsewhere the value of the ETF.

    Args:
        num_classes: K ≥ 2.
        budget: E = √(E_W E_H) > 0, a number or an array [...].
        loss: :class:`CrossEntropy` (default), :class:`MeanSquaredError`,
            :class:`SoftmaxBased` or :class:`PowerSoftmax`.

    Raises:
        ValueError: another loss, or an argument out of range.
    """
    loss = CrossEntropy() if loss is None else loss
    num_classes = require_count("num_classes", num_classes, 2)
    budget = float_array("budget", budget, common_dtype(budget))
    require_positive("budget", budget, lanes=budget.ndim > 0)
    if isinstance(loss, CrossEntropy | SoftmaxBased | PowerSoftmax):
        logits = jnp.stack([budget, -budget / (num_classes - 1)], axis=-1)
        multiplicity = jnp.asarray([1, num_classes - 1], budget.dtype)
        return BalancedOptimum(
            objective=loss(logits, jnp.zeros(budget.shape, int), multiplicity),
            own_logit=budget,
            other_logit=-budget / (num_classes - 1),
            cosine=jnp.full_like(budget, -1 / (num_classes - 1)),
        )
    if isinstance(loss, MeanSquaredError):
        reached = jnp.minimum(budget, 1)
        return BalancedOptimum(
            objective=0.5 * (1 - reached) ** 2,
            own_logit=reached,
            other_logit=jnp.zeros_like(budget),
            cosine=jnp.zeros_like(budget),
        )
    raise ValueError(
        "loss must be CrossEntropy, MeanSquaredError, SoftmaxBased or PowerSoftmax, got "
        f"{type(loss).__name__}: no closed form is known here"
    )
