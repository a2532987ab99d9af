"""Cross-entropy and the two squared errors."""

from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from nc_jax.immutable import immutable
from nc_jax.losses.base import own_and_others
from nc_jax.losses.forms import LossNumbers


@immutable()
class CrossEntropy:
    """Softmax cross-entropy, log Σ_j exp(z_j) − z_label.

    Not averaged over classes or samples. Accurate to relative precision even
    for tiny values (a plain log-sum-exp loses everything below 1e−16).
    """

    convex = True
    shift_invariant = True
    family = "softmax"

    def __call__(self, logits: Array, label: Any, multiplicity: Any = None) -> Array:
        """See :class:`Loss`."""
        own_logit, _, others = own_and_others(logits, label, multiplicity)
        margin = jnp.where(others > 0, logits - own_logit, -jnp.inf)
        peak = lax.stop_gradient(jnp.maximum(jnp.max(margin, axis=-1, keepdims=True), 0))
        terms = jnp.sum(others * jnp.exp(margin - peak), axis=-1)
        peak = peak[..., 0]
        return peak + jnp.log1p(jnp.expm1(-peak) + terms)

    def at_slope(self, slopes: Array, label: Any, multiplicity: Any = None) -> Array:
        """See :class:`Loss`: the logarithms of the probabilities that give the slope."""
        _, own, _ = own_and_others(slopes, label, multiplicity)
        return jnp.log(jnp.maximum(slopes + own.astype(slopes.dtype), jnp.finfo(slopes.dtype).tiny))

    def numbers(self, num_classes: Any, dtype: Any) -> LossNumbers:
        """See :mod:`nc_jax.losses.forms`."""
        return LossNumbers()


@immutable()
class MeanSquaredError:
    """Squared distance to the one-hot target, ½‖z − e_label‖².

    Summed over classes, with the factor ½ (not the mean over K).
    """

    convex = True
    shift_invariant = False
    family = "squared"

    def __call__(self, logits: Array, label: Any, multiplicity: Any = None) -> Array:
        """See :class:`Loss`."""
        own_logit, _, others = own_and_others(logits, label, multiplicity)
        residual = jnp.square(own_logit[..., 0] - 1)
        return 0.5 * (residual + jnp.sum(others * jnp.square(logits), axis=-1))

    def at_slope(self, slopes: Array, label: Any, multiplicity: Any = None) -> Array:
        """See :class:`Loss`."""
        _, own, _ = own_and_others(slopes, label, multiplicity)
        return slopes + own.astype(slopes.dtype)

    def numbers(self, num_classes: Any, dtype: Any) -> LossNumbers:
        """See :mod:`nc_jax.losses.forms`."""
        return LossNumbers()


@immutable()
class CentredSquaredError:
    """Squared distance to the centred target, ½‖z − (e_label − 1/K)‖².

    Its optima without a bias are those of :class:`MeanSquaredError` with an
    unregularised bias (Rangamani, Banburski-Fahey 2022, whose theorem needs one or the other).
    """

    convex = True
    shift_invariant = False
    family = "squared"

    def __call__(self, logits: Array, label: Any, multiplicity: Any = None) -> Array:
        """See :class:`Loss`."""
        own_logit, _, others = own_and_others(logits, label, multiplicity)
        shift = 1 / (1 + jnp.sum(others, axis=-1, keepdims=True))
        residual = jnp.square(own_logit - 1 + shift)[..., 0]
        return 0.5 * (residual + jnp.sum(others * jnp.square(logits + shift), axis=-1))

    def at_slope(self, slopes: Array, label: Any, multiplicity: Any = None) -> Array:
        """See :class:`Loss`."""
        _, own, others = own_and_others(slopes, label, multiplicity)
        return slopes + own.astype(slopes.dtype) - 1 / (1 + jnp.sum(others, axis=-1, keepdims=True))

    def numbers(self, num_classes: Any, dtype: Any) -> LossNumbers:
        """See :mod:`nc_jax.losses.forms`."""
        return LossNumbers(centring=jnp.asarray(1 / num_classes, dtype))
