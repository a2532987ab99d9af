"""Losses for imbalanced classes: weights, offsets, temperatures, margins; focal loss.

All but the focal loss are convex in the logits. None depends on the number of samples of a
class; the small constructors at the end compute their numbers from class sizes.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.checks import float_array, is_concrete, require_positive
from nc_jax.classes import ClassNumbers, class_numbers
from nc_jax.geometry import class_sizes
from nc_jax.immutable import immutable, set_fields
from nc_jax.losses.base import Loss, acts_on, own_and_others, require_loss
from nc_jax.losses.forms import LossNumbers, family_of, numbers_of_loss
from nc_jax.losses.standard import CrossEntropy


def _positive(name: str, numbers: Any, or_zero: bool = False) -> ClassNumbers:
    made = class_numbers(name, numbers)
    require_positive(name, made.group_values, lanes=made.group_values.ndim > 1, or_zero=or_zero)
    return made


def _of_label(numbers: ClassNumbers, own: Array, dtype: Any) -> Array:
    """The label's number [...], by its one-hot mask [..., K]."""
    return jnp.sum(jnp.where(own, numbers.values.astype(dtype), 0), axis=-1)


@immutable()
class VectorScaling:
    """Cross-entropy of Δ∘z + ι: class-dependent temperatures and offsets.

    L(z, k) = log Σ_j exp(Δ_j z_j + ι_j − Δ_k z_k − ι_k) (Kini et al. 2021). Offsets
    ι = τ log π alone are logit adjustment (Menon et al. 2020), scales alone
    class-dependent temperatures (Ye et al. 2020).

    Attributes:
        offsets: ι, one finite number for each class; None for zeros.
        scales: Δ > 0, one number for each class; None for ones.
    """

    offsets: ClassNumbers | None
    scales: ClassNumbers | None

    convex = True
    family = "softmax"

    def __init__(self, offsets: Any = None, scales: Any = None):
        if offsets is None and scales is None:
            raise ValueError("offsets or scales must be given; use CrossEntropy for neither")
        made = None if offsets is None else class_numbers("offsets", offsets)
        scaled = None if scales is None else _positive("scales", scales)
        if made is not None and scaled is not None and made.num_classes != scaled.num_classes:
            raise ValueError(
                "offsets and scales must be for the same number of classes, got "
                f"{made.num_classes} and {scaled.num_classes}"
            )
        set_fields(self, offsets=made, scales=scaled)

    @property
    def shift_invariant(self) -> bool:
        """True if there are no scales; unequal scales break the invariance."""
        return self.scales is None

    def __call__(self, logits: Array, label: Any, multiplicity: Any = None) -> Array:
        """See :class:`Loss`."""
        if self.scales is not None:
            logits = self.scales.values.astype(logits.dtype) * logits
        if self.offsets is not None:
            logits = logits + self.offsets.values.astype(logits.dtype)
        return CrossEntropy()(logits, label, multiplicity)

    def at_slope(self, slopes: Array, label: Any, multiplicity: Any = None) -> Array:
        """See :class:`Loss`."""
        scales = None if self.scales is None else self.scales.values.astype(slopes.dtype)
        slopes = slopes if scales is None else slopes / scales
        logits = CrossEntropy().at_slope(slopes, label, multiplicity)
        if self.offsets is not None:
            logits = logits - self.offsets.values.astype(logits.dtype)
        return logits if scales is None else logits / scales

    def numbers(self, num_classes: Any, dtype: Any) -> LossNumbers:
        """See :mod:`nc_jax.losses.forms`."""
        scales = None if self.scales is None else self.scales.values.astype(dtype)
        offsets = None if self.offsets is None else self.offsets.values.astype(dtype)
        return LossNumbers(scales=scales, offsets=offsets)


@immutable()
class LabelMargins:
    """Cross-entropy with a margin on the label's logit, log(1 + Σ_j≠k exp(z_j − z_k + m_k)).

    The loss of Cao et al. 2019 (LDAM), without its rescaling of features and logits.

    Attributes:
        margins: m ≥ 0, one number for each class.
    """

    margins: ClassNumbers

    convex = True
    shift_invariant = True
    family = "softmax"

    def __init__(self, margins: Any):
        set_fields(self, margins=_positive("margins", margins, or_zero=True))

    def __call__(self, logits: Array, label: Any, multiplicity: Any = None) -> Array:
        """See :class:`Loss`."""
        _, own, _ = own_and_others(logits, label, multiplicity)
        lowered = logits - jnp.where(own, self.margins.values.astype(logits.dtype), 0)
        return CrossEntropy()(lowered, label, multiplicity)

    def at_slope(self, slopes: Array, label: Any, multiplicity: Any = None) -> Array:
        """See :class:`Loss`."""
        _, own, _ = own_and_others(slopes, label, multiplicity)
        logits = CrossEntropy().at_slope(slopes, label, multiplicity)
        return logits + jnp.where(own, self.margins.values.astype(logits.dtype), 0)

    def numbers(self, num_classes: Any, dtype: Any) -> LossNumbers:
        """See :mod:`nc_jax.losses.forms`."""
        return LossNumbers(margins=self.margins.values.astype(dtype))


@immutable()
class LabelSmoothing:
    """Cross-entropy with targets (1 − ε) e_k + ε/K (Szegedy et al. 2016).

    Its minimum is attained at finite logits and equals the entropy of the targets, not zero.

    Attributes:
        epsilon: 0 ≤ ε < 1, a traced number.
    """

    epsilon: Array

    convex = True
    shift_invariant = True
    family = "softmax"

    def __init__(self, epsilon: Any = 0.1):
        epsilon = float_array("epsilon", epsilon)
        if is_concrete(epsilon) and not _within_unit(epsilon):
            raise ValueError(f"epsilon must be from 0 to below 1, got {epsilon}")
        set_fields(self, epsilon=epsilon)

    def __call__(self, logits: Array, label: Any, multiplicity: Any = None) -> Array:
        """See :class:`Loss`."""
        own_logit, _, others = own_and_others(logits, label, multiplicity)
        others = jnp.broadcast_to(others, logits.shape)
        share = self.epsilon.astype(logits.dtype) / (1 + jnp.sum(others, axis=-1))
        pull = jnp.sum(jnp.where(others > 0, others * (own_logit - logits), 0), axis=-1)
        return CrossEntropy()(logits, label, multiplicity) + share * pull

    def at_slope(self, slopes: Array, label: Any, multiplicity: Any = None) -> Array:
        """See :class:`Loss`."""
        _, own, others = own_and_others(slopes, label, multiplicity)
        epsilon = self.epsilon.astype(slopes.dtype)
        total = 1 + jnp.sum(jnp.broadcast_to(others, slopes.shape), axis=-1, keepdims=True)
        shifted = slopes + epsilon / total - jnp.where(own, epsilon, 0)
        return CrossEntropy().at_slope(shifted, label, multiplicity)

    def numbers(self, num_classes: Any, dtype: Any) -> LossNumbers:
        """See :mod:`nc_jax.losses.forms`."""
        return LossNumbers(smoothing=self.epsilon.astype(dtype))


def _within_unit(number: Array) -> bool:
    value = np.asarray(number)
    return bool(np.all((value >= 0) & (value < 1)))


@immutable()
class Focal:
    """Focal loss −(1 − S_k)^γ log S_k of the softmax probability S_k (Lin et al. 2017).

    Its slope is bounded where the class is far from learnt, so it is not convex for γ > 0.

    Attributes:
        gamma: γ ≥ 0, a traced number.
    """

    gamma: Array

    convex = False
    shift_invariant = True

    def __init__(self, gamma: Any = 2.0):
        gamma = float_array("gamma", gamma)
        require_positive("gamma", gamma, lanes=gamma.ndim > 0, or_zero=True)
        set_fields(self, gamma=gamma)

    def __call__(self, logits: Array, label: Any, multiplicity: Any = None) -> Array:
        """See :class:`Loss`."""
        loss = CrossEntropy()(logits, label, multiplicity)
        # Slightly above zero, so that the slope of a power below one is finite.
        missing = jnp.maximum(-jnp.expm1(-loss), jnp.finfo(logits.dtype).tiny)
        return missing ** self.gamma.astype(logits.dtype) * loss


@immutable()
class ClassWeights:
    """Another loss times the weight of the label's class, ω_k L(z, k).

    Weights are not normalised: the objective is Σ_k ω_k (n_k/N) L, so multiplying all
    weights by c multiplies the loss by c relative to weight decay.

    Attributes:
        weights: ω > 0, one number for each class.
        loss: of logits and label.
    """

    weights: ClassNumbers
    loss: Loss

    def __init__(self, weights: Any, loss: Loss | None = None):
        loss = require_loss(CrossEntropy() if loss is None else loss)
        if acts_on(loss) != "logits":
            raise ValueError(
                f"class weights need a loss of logits and label, got {type(loss).__name__}"
            )
        set_fields(self, weights=_positive("class_weights", weights), loss=loss)

    @property
    def convex(self) -> bool:
        """Same as for the weighted loss."""
        return self.loss.convex

    @property
    def shift_invariant(self) -> bool:
        """Same as for the weighted loss."""
        return self.loss.shift_invariant

    def __call__(self, logits: Array, label: Any, multiplicity: Any = None) -> Array:
        """See :class:`Loss`."""
        _, own, _ = own_and_others(logits, label, multiplicity)
        return _of_label(self.weights, own, logits.dtype) * self.loss(logits, label, multiplicity)

    def at_slope(self, slopes: Array, label: Any, multiplicity: Any = None) -> Array:
        """See :class:`Loss`; available only if the weighted loss has it."""
        _, own, _ = own_and_others(slopes, label, multiplicity)
        slopes = slopes / _of_label(self.weights, own, slopes.dtype)[..., None]
        loss: Any = self.loss
        return loss.at_slope(slopes, label, multiplicity)

    @property
    def family(self) -> str | None:
        """Same as for the weighted loss."""
        return family_of(self.loss)

    def numbers(self, num_classes: Any, dtype: Any) -> LossNumbers:
        """Those of the weighted loss with its weights; available only if it has them."""
        weights = self.weights.values.astype(dtype)
        return numbers_of_loss(self.loss, num_classes, dtype)._replace(weights=weights)


def logit_adjustment(sizes: Any, tau: Any = 1.0) -> VectorScaling:
    """Offsets ι_k = τ log π_k, π_k = n_k/N (Menon et al. 2020).

    Args:
        sizes: a :class:`nc_jax.ClassSizes` or an array [K]; batch axes [...] may lead.
        tau: τ, a number or [...].
    """
    sizes = class_sizes(sizes)
    shares = sizes.group_weights / jnp.asarray(sizes.counts, sizes.group_sizes.dtype)
    strength = float_array("tau", tau, shares.dtype)[..., None]
    offsets = class_numbers("tau", ClassNumbers(strength * jnp.log(shares), sizes.membership))
    return VectorScaling(offsets)


def class_temperatures(sizes: Any, gamma: Any = 0.2) -> VectorScaling:
    """Scales Δ_k = (n_k/n_max)^γ (Ye et al. 2020, whose temperature is 1/Δ_k).

    Args:
        sizes: a :class:`nc_jax.ClassSizes` or an array [K]; batch axes [...] may lead.
        gamma: γ, a number or [...].
    """
    sizes = class_sizes(sizes)
    values = sizes.group_sizes
    relative = jnp.log(values) - jnp.log(jnp.max(values, axis=-1, keepdims=True))
    power = float_array("gamma", gamma, relative.dtype)[..., None]
    return VectorScaling(scales=ClassNumbers(jnp.exp(power * relative), sizes.membership))


# The scale exponent γ of Kini et al. 2021 that goes with τ = 1 of the offsets.
SCALES_SHARE = 0.2


def vector_scaling(sizes: Any, strength: Any = 1.0) -> VectorScaling:
    """Offsets s log π_k together with scales (n_k/n_max)^(s/5) (Kini et al. 2021).

    Args:
        sizes: a :class:`nc_jax.ClassSizes` or an array [K]; batch axes [...] may lead.
        strength: s, a number or [...].
    """
    offsets = logit_adjustment(sizes, strength).offsets
    power = SCALES_SHARE * float_array("strength", strength)
    return VectorScaling(offsets, class_temperatures(sizes, power).scales)


def size_margins(sizes: Any, largest: Any = 0.5) -> LabelMargins:
    """Margins m_k = m (n_min/n_k)^¼ (Cao et al. 2019).

    Args:
        sizes: a :class:`nc_jax.ClassSizes` or an array [K]; batch axes [...] may lead.
        largest: m ≥ 0, the margin of the smallest class, a number or [...].
    """
    sizes = class_sizes(sizes)
    values = sizes.group_sizes
    relative = jnp.log(jnp.min(values, axis=-1, keepdims=True)) - jnp.log(values)
    margin = float_array("largest", largest, relative.dtype)[..., None]
    return LabelMargins(ClassNumbers(margin * jnp.exp(relative / 4), sizes.membership))


def size_weights(sizes: Any, power: Any = 1.0) -> ClassNumbers:
    """Weights ω_k ∝ n_k^(−power), scaled so that Σ_k (n_k/N) ω_k = 1.

    Power 1 gives all classes the same total weight, as oversampling to equal sizes does.

    Args:
        sizes: a :class:`nc_jax.ClassSizes` or an array [K]; batch axes [...] may lead.
        power: a number or [...].
    """
    sizes = class_sizes(sizes)
    values = sizes.group_sizes
    relative = jnp.log(values) - jnp.log(jnp.max(values, axis=-1, keepdims=True))
    exponent = float_array("power", power, relative.dtype)[..., None]
    weights = jnp.exp(-exponent * relative)
    total = jnp.sum(sizes.group_weights * weights, axis=-1, keepdims=True)
    return ClassNumbers(weights / total, sizes.membership)
