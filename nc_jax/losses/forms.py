"""The convex losses of this package as numbers, for solvers that write out derivatives.

All of them are a weighted cross-entropy of scaled and shifted logits with soft targets, or a
weighted squared error:

    L(z, k) = ω_k (log Σ_j exp(v_j) − (1 − ε) v_k − (ε/K) Σ_j v_j),
    L(z, k) = (ω_k/2) Σ_j (z_j + c − [j=k])²,

with v_j = Δ_j z_j + ι_j − m_j [j=k].
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from nc_jax.losses.base import Loss, at_classes
from nc_jax.losses.imbalance import ClassWeights, LabelMargins, LabelSmoothing, VectorScaling
from nc_jax.losses.standard import CentredSquaredError, CrossEntropy, MeanSquaredError


class LossNumbers(NamedTuple):
    """The numbers of a loss for chosen classes [C]; None where a loss has none.

    Attributes:
        weights: ω [C].
        scales: Δ [C].
        offsets: ι [C].
        margins: m [C].
        smoothing: ε, a scalar.
        centring: c, a scalar.
    """

    weights: Array | None = None
    scales: Array | None = None
    offsets: Array | None = None
    margins: Array | None = None
    smoothing: Array | None = None
    centring: Array | None = None


def is_softmax(loss: Loss) -> bool | None:
    """Whether a loss has the first form; False for the second, None for neither."""
    if isinstance(loss, ClassWeights):
        return is_softmax(loss.loss)
    if isinstance(loss, CrossEntropy | VectorScaling | LabelMargins | LabelSmoothing):
        return True
    return False if isinstance(loss, MeanSquaredError | CentredSquaredError) else None


def loss_numbers(loss: Loss, classes: Any, num_classes: int, dtype: Any) -> LossNumbers:
    """The numbers of a single loss that :func:`is_softmax` knows, for integers [C]."""
    return _numbers(at_classes(loss, classes), num_classes, dtype)


def _numbers(loss: Loss, num_classes: int, dtype: Any) -> LossNumbers:
    if isinstance(loss, ClassWeights):
        weights = loss.weights.values.astype(dtype)
        return _numbers(loss.loss, num_classes, dtype)._replace(weights=weights)
    if isinstance(loss, VectorScaling):
        scales = None if loss.scales is None else loss.scales.values.astype(dtype)
        offsets = None if loss.offsets is None else loss.offsets.values.astype(dtype)
        return LossNumbers(scales=scales, offsets=offsets)
    if isinstance(loss, LabelMargins):
        return LossNumbers(margins=loss.margins.values.astype(dtype))
    if isinstance(loss, LabelSmoothing):
        return LossNumbers(smoothing=loss.epsilon.astype(dtype))
    if isinstance(loss, CentredSquaredError):
        return LossNumbers(centring=jnp.asarray(1 / num_classes, dtype))
    return LossNumbers()
