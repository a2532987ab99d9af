"""Lower bounds of losses, which bound a bias without decay."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from nc_jax.losses.base import Loss
from nc_jax.losses.imbalance import ClassWeights, LabelMargins, LabelSmoothing, VectorScaling
from nc_jax.losses.standard import CentredSquaredError, CrossEntropy, MeanSquaredError


class Floor(NamedTuple):
    """Numbers of a simple lower bound on the loss of class k.

    For the softmax family L(z, k) ≥ a_k (Δ_j z_j − Δ_k z_k) − c_k for every j ≠ k; for the squared
    errors L(z, k) ≥ (a_k/2) (|z_j| − 1)² if |z_j| ≥ 1, for every j.

    Attributes:
        slope: a, a scalar or one number for each class.
        slack: c.
        scale: Δ.
        squared: whether the bound has the second form.
    """

    slope: Array
    slack: Array
    scale: Array
    squared: bool


def has_minimum(loss: Loss) -> bool:
    """Whether the loss has a minimiser at finite logits, as far as its type tells."""
    if isinstance(loss, ClassWeights):
        return has_minimum(loss.loss)
    return isinstance(loss, LabelSmoothing) or not (
        loss.shift_invariant or isinstance(loss, VectorScaling)
    )


def bias_is_free(loss: Loss) -> bool:
    """Whether some shift of a bias without decay leaves every loss unchanged."""
    floor = floor_of(loss, jnp.result_type(float))
    return loss.shift_invariant if floor is None else not floor.squared


def floor_of(loss: Loss, dtype: Any) -> Floor | None:
    """The lower bound of a loss, in the order of its own classes; None if none is known."""
    one, zero = jnp.ones((), dtype), jnp.zeros((), dtype)
    if isinstance(loss, CrossEntropy | LabelMargins):
        return Floor(one, zero, one, False)
    if isinstance(loss, MeanSquaredError | CentredSquaredError):
        return Floor(one, zero, one, True)
    if isinstance(loss, LabelSmoothing):
        return Floor(1 - loss.epsilon.astype(dtype), zero, one, False)
    if isinstance(loss, VectorScaling):
        scale = one if loss.scales is None else loss.scales.values.astype(dtype)
        offsets = zero[None] if loss.offsets is None else loss.offsets.values.astype(dtype)
        return Floor(one, jnp.max(offsets) - jnp.min(offsets), scale, False)
    if isinstance(loss, ClassWeights):
        inner = floor_of(loss.loss, dtype)
        if inner is None:
            return None
        weights = loss.weights.values.astype(dtype)
        return inner._replace(slope=weights * inner.slope, slack=weights * inner.slack)
    return None
