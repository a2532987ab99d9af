"""Two closed forms of a loss, for solvers that write out derivatives and for lower bounds.

A loss that is a weighted cross-entropy of scaled and shifted logits with soft targets, or a
weighted squared error, declares its ``family``, 'softmax' or 'squared', and its ``numbers``:

    L(z, k) = ω_k (log Σ_j exp(v_j) − (1 − ε) v_k − (ε/K) Σ_j v_j),
    L(z, k) = (ω_k/2) Σ_j (z_j + c − [j=k])²,

with v_j = Δ_j z_j + ι_j − m_j [j=k].
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from nc_jax.losses.base import Loss, at_classes


class LossNumbers(NamedTuple):
    """The numbers of a loss for chosen classes [C]; None where a loss has none.

    Attributes:
        weights: ω [C].
        scales: Δ [C].
        offsets: ι [C].
        margins: m [C], nonnegative.
        smoothing: ε, a scalar.
        centring: c, a scalar.
    """

    weights: Array | None = None
    scales: Array | None = None
    offsets: Array | None = None
    margins: Array | None = None
    smoothing: Array | None = None
    centring: Array | None = None


def family_of(loss: Loss) -> str | None:
    """'softmax', 'squared', or None for a loss of neither form."""
    return getattr(loss, "family", None)


def numbers_of_loss(loss: Any, num_classes: Any, dtype: Any, classes: Any = None) -> LossNumbers:
    """The numbers of a loss that has a family, for all classes or for integers [C]."""
    chosen: Any = loss if classes is None else at_classes(loss, classes)
    return chosen.numbers(num_classes, dtype)


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


def floor_of(loss: Loss, num_classes: Any, dtype: Any) -> Floor | None:
    """The lower bound of a loss, in the order of its own classes; None if it has no family."""
    if family_of(loss) is None:
        return None
    own = numbers_of_loss(loss, num_classes, dtype)
    one, zero = jnp.ones((), dtype), jnp.zeros((), dtype)
    slope = one if own.weights is None else own.weights
    if own.smoothing is not None:
        slope = slope * (1 - own.smoothing)
    slack = zero if own.offsets is None else jnp.max(own.offsets) - jnp.min(own.offsets)
    slack = slack if own.weights is None else own.weights * slack
    scale = one if own.scales is None else own.scales
    return Floor(slope, slack, scale, family_of(loss) == "squared")


def has_minimum(loss: Loss) -> bool:
    """Whether the loss has a minimiser at finite logits, as far as it declares it."""
    if family_of(loss) == "softmax":
        return numbers_of_loss(loss, 2, jnp.result_type(float)).smoothing is not None
    return not loss.shift_invariant


def bias_is_free(loss: Loss) -> bool:
    """Whether some shift of a bias without decay leaves every loss unchanged."""
    family = family_of(loss)
    return loss.shift_invariant if family is None else family == "softmax"
