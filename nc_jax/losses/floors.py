"""What a loss is at least, as far as a bias without decay needs it to be bounded."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from nc_jax.losses.base import Loss
from nc_jax.losses.imbalance import ClassWeights, LabelMargins, LabelSmoothing, VectorScaling
from nc_jax.losses.standard import CentredSquaredError, CrossEntropy, MeanSquaredError


class Floor(NamedTuple):
    """Numbers with which a loss of class k is at least something simple.

    Of the softmax family L(z, k) ≥ a_k (Δ_j z_j − Δ_k z_k) − c_k for every j ≠ k; of the squared
    errors L(z, k) ≥ (a_k/2) (|z_j| − 1)² where |z_j| ≥ 1, for every j.

    Attributes:
        slope: a, scalar or one a class.
        slack: c.
        scale: Δ.
        squared: whether it is of the second kind.
    """

    slope: Array
    slack: Array
    scale: Array
    squared: bool


def has_minimum(loss: Loss) -> bool:
    """Whether finite logits minimise the loss, as far as its kind tells."""
    if isinstance(loss, ClassWeights):
        return has_minimum(loss.loss)
    return isinstance(loss, LabelSmoothing) or not (
        loss.shift_invariant or isinstance(loss, VectorScaling)
    )


def bias_is_free(loss: Loss) -> bool:
    """Whether some shift of a bias without decay changes no loss."""
    floor = floor_of(loss, jnp.result_type(float))
    return loss.shift_invariant if floor is None else not floor.squared


def floor_of(loss: Loss, dtype: Any) -> Floor | None:
    """The floor of a loss, in the order of its own classes; None where none is known."""
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
