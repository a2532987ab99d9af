"""The supervised contrastive loss, a function of features."""

from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from nc_jax.checks import float_array, require_positive
from nc_jax.immutable import immutable, set_fields


@immutable()
class SupervisedContrastive:
    """Supervised contrastive loss of features, without a classifier.

    L(h_i) = (1/n_k) Σ_j −log( exp(h_i·h_j/τ) / Σ_l exp(h_i·h_l/τ) ), with j over the samples
    of the label's class k and l over all samples, both including i itself (Theorem 3
    of Fang et al. 2021). The loss is therefore finite for a class with a single sample.

    Attributes:
        temperature: τ > 0, a traced number.
    """

    temperature: Array

    acts_on = "features"
    # Convex in inner products of features, not in logits.
    convex = False
    shift_invariant = True

    def __init__(self, temperature: Any = 1.0):
        temperature = float_array("temperature", temperature)
        require_positive("temperature", temperature, lanes=temperature.ndim > 0)
        set_fields(self, temperature=temperature)

    def __call__(self, features: Array, label: Any, multiplicity: Any = None) -> Array:
        """Loss [..., N] of each feature.

        Args:
            features: [..., N, p].
            label: integers [..., N]; the classes need not be equally large.
            multiplicity: [..., N] how many samples each feature represents.
        """
        count = jnp.ones((), features.dtype) if multiplicity is None else multiplicity
        count = jnp.broadcast_to(jnp.asarray(count, features.dtype), features.shape[:-1])
        similarity = jnp.matmul(
            features, jnp.swapaxes(features, -1, -2), precision=lax.Precision.HIGHEST
        )
        return self.of_similarity(similarity, label, count)

    def of_similarity(self, similarity: Array, label: Any, multiplicity: Array) -> Array:
        """The same loss [..., N] from inner products [..., N, N], in which it is convex."""
        labels = jnp.asarray(label)
        scaled = similarity / self.temperature.astype(similarity.dtype)
        same = labels[..., :, None] == labels[..., None, :]
        positives = jnp.where(same, multiplicity[..., None, :], 0)
        centre = jnp.sum(positives * scaled, axis=-1) / jnp.sum(positives, axis=-1)
        peak = lax.stop_gradient(jnp.max(scaled, axis=-1, keepdims=True))
        total = jnp.sum(multiplicity[..., None, :] * jnp.exp(scaled - peak), axis=-1)
        return peak[..., 0] + jnp.log(total) - centre
