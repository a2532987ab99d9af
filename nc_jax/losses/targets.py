"""Cross-entropy with a distribution over classes instead of a label."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from nc_jax.checks import float_array, is_concrete
from nc_jax.immutable import immutable, set_fields


@immutable(axes={"targets": 2})
class SoftTargets:
    """Cross-entropy −Σ_k y_jk log softmax(z)_k of J kinds of samples, each with its own target.

    For distillation, label noise and next-token distributions. The label of a sample is
    its row j of ``targets``; a model's ``sizes`` are then the sizes of the J rows, and its
    logits are J×K. J and K need not be equal.

    Attributes:
        targets: y [..., J, K], traced; rows sum to one.
    """

    targets: Array

    acts_on = "targets"
    convex = True
    shift_invariant = True

    def __init__(self, targets: Any):
        targets = float_array("targets", targets)
        if targets.ndim < 2 or min(targets.shape[-2:]) < 2:
            raise ValueError(f"targets must be [J, K] with J, K ≥ 2, got shape {targets.shape}")
        if is_concrete(targets) and targets.ndim == 2:
            values = np.asarray(targets)
            off = np.abs(values.sum(axis=1) - 1)
            if not ((values >= 0).all() and (off < 1e-4).all()):
                raise ValueError("targets must be rows of probabilities that sum to one")
        set_fields(self, targets=targets)

    def __call__(self, logits: Array, label: Any, multiplicity: Any = None) -> Array:
        """Loss [...] of logits [..., K] and rows [...] (integers 0…J−1).

        Raises:
            ValueError: a multiplicity was given, which soft targets do not support.
        """
        if multiplicity is not None:
            raise ValueError("multiplicity must be None: every class has its own target")
        rows = jax.nn.one_hot(jnp.asarray(label), self.targets.shape[-2], dtype=logits.dtype)
        targets = self.targets.astype(logits.dtype)
        own = jnp.einsum("...j,...jk->...k", rows, targets, precision="highest")
        peak = lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
        below = logits - peak
        # Multiplying by the rows' sums, one up to rounding, keeps the loss shift-invariant.
        total = jnp.sum(own, axis=-1) * jnp.log(jnp.sum(jnp.exp(below), axis=-1))
        return total - jnp.sum(own * below, axis=-1)
