"""Losses of a logit vector and its label.

A loss is a small immutable object; calling it is pure. Besides logits and
label it takes ``multiplicity``: how many identical copies each logit stands
for. That is what lets a program over K classes be written over a few groups.
"""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from nc_jax.checks import float_array, is_concrete, require_positive
from nc_jax.immutable import immutable, set_fields


@runtime_checkable
class Loss(Protocol):
    """What every loss offers; its values are not negative, which certificates use."""

    @property
    def convex(self) -> bool:
        """Whether the loss is convex in the logits."""
        ...

    @property
    def shift_invariant(self) -> bool:
        """Whether adding a constant to all logits changes nothing."""
        ...

    def __call__(self, logits: Array, label: Any, multiplicity: Any = None) -> Array:
        """Loss [...] of logits [..., K] and labels [...] (integers 0…K−1).

        ``multiplicity`` [..., K] gives how many classes share each logit; the
        entry at the label counts the labelled class itself and must be 1.
        """
        ...


def require_loss(loss: Any) -> Loss:
    """The loss itself; TypeError if it is none."""
    if not isinstance(loss, Loss):
        raise TypeError(f"loss must be an nc_jax loss such as CrossEntropy(), got {loss!r}")
    if not all(hasattr(leaf, "dtype") for leaf in jax.tree.leaves(loss)):
        raise TypeError(
            "loss must be a pytree whose leaves are arrays (decorate its class with "
            f"nc_jax.immutable.immutable()), got {loss!r}"
        )
    return loss


def loss_shapes(loss: Loss) -> list[tuple[int, ...]]:
    """Shapes of a loss's own numbers: a q or τ with leading axes makes a batch too."""
    return [leaf.shape for leaf in jax.tree.leaves(loss)]


def _split(logits: Array, label: Any, multiplicity: Any) -> tuple[Array, Array, Array]:
    """The label's logit [..., 1], its one-hot mask, multiplicity off the label."""
    classes = jnp.arange(logits.shape[-1], dtype=jnp.asarray(label).dtype)
    own = classes == jnp.asarray(label)[..., None]
    count = jnp.ones((), logits.dtype) if multiplicity is None else multiplicity
    others = jnp.where(own, 0, jnp.asarray(count, logits.dtype))
    return jnp.sum(jnp.where(own, logits, 0), axis=-1, keepdims=True), own, others


@immutable()
class CrossEntropy:
    """Softmax cross-entropy, log Σ_j exp(z_j) − z_label.

    Not averaged over classes or samples. Exact to relative precision also
    where it is tiny (a plain log-sum-exp loses everything below 1e−16).
    """

    convex = True
    shift_invariant = True

    def __call__(self, logits: Array, label: Any, multiplicity: Any = None) -> Array:
        """See :class:`Loss`."""
        own_logit, _, others = _split(logits, label, multiplicity)
        margin = jnp.where(others > 0, logits - own_logit, -jnp.inf)
        peak = lax.stop_gradient(jnp.maximum(jnp.max(margin, axis=-1, keepdims=True), 0))
        terms = jnp.sum(others * jnp.exp(margin - peak), axis=-1)
        peak = peak[..., 0]
        return peak + jnp.log1p(jnp.expm1(-peak) + terms)


@immutable()
class MeanSquaredError:
    """Squared distance to the one-hot target, ½‖z − e_label‖².

    Summed over classes, with the factor ½ (not the mean over K).
    """

    convex = True
    shift_invariant = False

    def __call__(self, logits: Array, label: Any, multiplicity: Any = None) -> Array:
        """See :class:`Loss`."""
        own_logit, _, others = _split(logits, label, multiplicity)
        residual = jnp.square(own_logit[..., 0] - 1)
        return 0.5 * (residual + jnp.sum(others * jnp.square(logits), axis=-1))


@immutable()
class CentredSquaredError:
    """Squared distance to the target less its mean, ½‖z − (e_label − 1/K)‖².

    Without a bias its optima are those of :class:`MeanSquaredError` with an
    unregularised one (Rangamani, Banburski-Fahey 2022, whose theorem needs either).
    """

    convex = True
    shift_invariant = False

    def __call__(self, logits: Array, label: Any, multiplicity: Any = None) -> Array:
        """See :class:`Loss`."""
        own_logit, _, others = _split(logits, label, multiplicity)
        shift = 1 / (1 + jnp.sum(others, axis=-1, keepdims=True))
        residual = jnp.square(own_logit - 1 + shift)[..., 0]
        return 0.5 * (residual + jnp.sum(others * jnp.square(logits + shift), axis=-1))


@immutable(static=("g1", "g2"))
class SoftmaxBased:
    """Loss of the softmax probabilities S, g1(S_label) + Σ_{j≠label} g2(S_j).

    Theorem 4 of Fang et al. 2021 takes g1 convex nonincreasing and g2 convex
    nondecreasing on (0, 1). Probabilities are kept inside the open interval
    (by the smallest normal number and by one rounding error), so that a g1
    such as −log stays finite at logits of ±1e4.

    Attributes:
        g1: function of the label's probability [...] -> [...].
        g2: function of another class's probability [...] -> [...].
    """

    g1: Callable[[Array], Array]
    g2: Callable[[Array], Array]

    # Not convex in the logits in general; nothing here can tell.
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

    The named member of Theorem 4 of Fang et al. 2021; bounded, not convex.

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
        # 1 − S_label as a sum of the others keeps its relative precision.
        missing = jnp.sum(others * probabilities, axis=-1)
        return missing**q + jnp.sum(others * probabilities**q, axis=-1)


@immutable()
class SupervisedContrastive:
    """Supervised contrastive loss of features, without a classifier.

    L(h_i) = (1/n_k) Σ_j −log( exp(h_i·h_j/τ) / Σ_l exp(h_i·h_l/τ) ), j over the samples
    of the label's class k and l over all samples, i itself among both (Theorem 3
    of Fang et al. 2021). So it is finite where a class has a single sample.

    Attributes:
        temperature: τ > 0, a traced number.
    """

    temperature: Array

    # A function of inner products of features, not of logits.
    convex = False
    shift_invariant = True

    def __init__(self, temperature: Any = 1.0):
        temperature = float_array("temperature", temperature)
        require_positive("temperature", temperature, lanes=temperature.ndim > 0)
        set_fields(self, temperature=temperature)

    def __call__(self, features: Array, label: Any, multiplicity: Any = None) -> Array:
        """Loss [..., N] of every feature.

        Args:
            features: [..., N, p].
            label: integers [..., N]; the classes need not be equally large.
            multiplicity: [..., N] how many samples each feature stands for.
        """
        count = jnp.ones((), features.dtype) if multiplicity is None else multiplicity
        count = jnp.broadcast_to(jnp.asarray(count, features.dtype), features.shape[:-1])
        similarity = jnp.matmul(
            features, jnp.swapaxes(features, -1, -2), precision=lax.Precision.HIGHEST
        )
        return self.of_similarity(similarity, label, count)

    def of_similarity(self, similarity: Array, label: Any, multiplicity: Array) -> Array:
        """The same [..., N], of inner products [..., N, N], in which it is convex."""
        labels = jnp.asarray(label)
        scaled = similarity / self.temperature.astype(similarity.dtype)
        same = labels[..., :, None] == labels[..., None, :]
        positives = jnp.where(same, multiplicity[..., None, :], 0)
        centre = jnp.sum(positives * scaled, axis=-1) / jnp.sum(positives, axis=-1)
        peak = lax.stop_gradient(jnp.max(scaled, axis=-1, keepdims=True))
        total = jnp.sum(multiplicity[..., None, :] * jnp.exp(scaled - peak), axis=-1)
        return peak[..., 0] + jnp.log(total) - centre


def _softmax(logits: Array, label: Any, multiplicity: Any) -> tuple[Array, Array]:
    """Softmax over K classes given by their multiplicity, inside (0, 1)."""
    _, own, others = _split(logits, label, multiplicity)
    present = own | (others > 0)
    peak = jnp.max(jnp.where(present, logits, -jnp.inf), axis=-1, keepdims=True)
    weights = jnp.where(present, jnp.exp(logits - lax.stop_gradient(peak)), 0)
    total = jnp.sum(jnp.where(own, 1, others) * weights, axis=-1, keepdims=True)
    info = jnp.finfo(logits.dtype)
    return jnp.clip(weights / total, info.tiny, 1 - info.epsneg), others
