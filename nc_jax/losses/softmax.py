"""Losses of softmax probabilities that are not convex in the logits."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from nc_jax.checks import float_array, is_concrete
from nc_jax.immutable import immutable, set_fields
from nc_jax.losses.base import own_and_others


@immutable(static=("g1", "g2"))
class SoftmaxBased:
    """Loss of the softmax probabilities S, g1(S_label) + Σ_{j≠label} g2(S_j).

    Theorem 4 of Fang et al. 2021 requires g1 convex and nonincreasing, and g2 convex and
    nondecreasing on (0, 1). Probabilities are kept inside the open interval (away from 0
    by the smallest normal number, from 1 by one rounding error), so that a g1
    such as −log stays finite at logits of ±1e4.

    Attributes:
        g1: function of the label's probability [...] -> [...].
        g2: function of another class's probability [...] -> [...].
    """

    g1: Callable[[Array], Array]
    g2: Callable[[Array], Array]

    # Not convex in the logits in general, and convexity of a given pair cannot be checked.
    convex = False
    shift_invariant = True

    def __init__(self, g1: Callable[[Array], Array], g2: Callable[[Array], Array]):
        for name, function in (("g1", g1), ("g2", g2)):
            if not callable(function):
                raise TypeError(f"{name} must be a function of a probability, got {function!r}")
        set_fields(self, g1=g1, g2=g2)

    def __call__(self, logits: Array, label: Any, multiplicity: Any = None) -> Array:
        """See :class:`Loss`."""
        probabilities, others = _softmax(logits, label, multiplicity)
        label = jnp.asarray(label)
        own = jnp.arange(logits.shape[-1], dtype=label.dtype) == label[..., None]
        own_probability = jnp.sum(jnp.where(own, probabilities, 0), axis=-1)
        rest = jnp.where(others > 0, others * self.g2(probabilities), 0)
        return self.g1(own_probability) + jnp.sum(rest, axis=-1)


@immutable()
class PowerSoftmax:
    """Softmax-based loss (1 − S_label)^q + Σ_{j≠label} S_j^q.

    The example that Theorem 4 of Fang et al. 2021 names; bounded and not convex.

    Attributes:
        q: exponent > 1, a traced number.
    """

    q: Array

    convex = False
    shift_invariant = True

    def __init__(self, q: Any = 2.0):
        q = float_array("q", q)
        if is_concrete(q) and not np.all(np.asarray(q) > 1):
            raise ValueError(f"q must be greater than 1, got {q}")
        set_fields(self, q=q)

    def __call__(self, logits: Array, label: Any, multiplicity: Any = None) -> Array:
        """See :class:`Loss`."""
        probabilities, others = _softmax(logits, label, multiplicity)
        q = self.q.astype(logits.dtype)
        # Written as a sum of the others, 1 − S_label keeps its relative precision.
        missing = jnp.sum(others * probabilities, axis=-1)
        return missing**q + jnp.sum(others * probabilities**q, axis=-1)


def _softmax(logits: Array, label: Any, multiplicity: Any) -> tuple[Array, Array]:
    """Softmax over K classes with the given multiplicities, inside (0, 1)."""
    _, own, others = own_and_others(logits, label, multiplicity)
    present = own | (others > 0)
    peak = jnp.max(jnp.where(present, logits, -jnp.inf), axis=-1, keepdims=True)
    weights = jnp.where(present, jnp.exp(logits - lax.stop_gradient(peak)), 0)
    total = jnp.sum(jnp.where(own, 1, others) * weights, axis=-1, keepdims=True)
    info = jnp.finfo(logits.dtype)
    return jnp.clip(weights / total, info.tiny, 1 - info.epsneg), others
