"""Balanced classes: the optimum in closed form."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from nc_jax.checks import common_dtype, float_array, require_count, require_positive
from nc_jax.losses import CrossEntropy, Loss, MeanSquaredError


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


def balanced_optimum(num_classes: int, budget: Any, loss: Loss | None = None) -> BalancedOptimum:
    """Optimum of the Layer-Peeled Model with equal class sizes and p ≥ K.

    Cross-entropy: the simplex ETF of Theorem 1 of Fang et al. 2021, value
    log(1 + (K−1) exp(−E K/(K−1))), with Z = (E K/(K−1)) (I − 11ᵀ/K).
    Squared error ½‖z − e_k‖²: the orthogonal frame Z = min(E, 1) I, value
    ½ (1 − E)₊² (a projection onto the nuclear ball).

    Args:
        num_classes: K ≥ 2.
        budget: E = √(E_W E_H) > 0, a number or an array [...].
        loss: :class:`CrossEntropy` (default) or :class:`MeanSquaredError`.

    Raises:
        ValueError: another loss, or an argument out of range.
    """
    loss = CrossEntropy() if loss is None else loss
    num_classes = require_count("num_classes", num_classes, 2)
    budget = float_array("budget", budget, common_dtype(budget))
    require_positive("budget", budget, lanes=budget.ndim > 0)
    if isinstance(loss, CrossEntropy):
        gap = budget * (num_classes / (num_classes - 1))
        return BalancedOptimum(
            objective=jnp.log1p((num_classes - 1) * jnp.exp(-gap)),
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
        f"loss must be CrossEntropy or MeanSquaredError, got {type(loss).__name__}: "
        "no closed form is known here"
    )
