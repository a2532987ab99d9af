"""Optimal values of balanced surrogates under any loss for which a theorem gives one."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.losses import CrossEntropy, MeanSquaredError, SupervisedContrastive
from nc_jax.theory.balanced import balanced_optimum, contrastive_optimum
from nc_jax.theory.regularised import unconstrained_optimum
from nc_jax.theory.squared_error import squared_error_optimum


def balanced_objective(num_classes: int, samples: int, budget: Any, loss: Any) -> Array:
    """The optimal value of the balanced Layer-Peeled Model.

    Args:
        num_classes: K.
        samples: n, the number of samples in each class.
        budget: E = √(E_W E_H); of the contrastive loss, which has no classifiers, E_H.
        loss: a loss.

    Raises:
        TypeError, ValueError: see :func:`balanced_optimum` and :func:`contrastive_optimum`.
    """
    if isinstance(loss, SupervisedContrastive):
        return contrastive_optimum(num_classes, samples, budget, loss.temperature)
    return balanced_optimum(num_classes, budget, loss).objective


def unconstrained_objective(num_classes: int, samples: int, penalty: Any, loss: Any) -> Array:
    """The optimal value of balanced unconstrained features; NaN if no theorem gives one.

    Args:
        num_classes: K.
        samples: n, the number of samples in each class.
        penalty: λ_W = λ_H.
        loss: cross-entropy and squared error have closed forms.

    Raises:
        TypeError, ValueError: see :func:`unconstrained_optimum`.
    """
    if isinstance(loss, CrossEntropy):
        return unconstrained_optimum(num_classes, samples, penalty, penalty).objective
    if isinstance(loss, MeanSquaredError):
        sizes = np.full(num_classes, float(samples))
        return squared_error_optimum(sizes, penalty, penalty).objective
    return jnp.full(jnp.shape(penalty), jnp.nan)
