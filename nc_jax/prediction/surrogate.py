"""The surrogate of a network, from what is known before training.

Weight decay of a batch normalisation is a penalty on its output: with
h_i = γ∘â_i + β and â of mean zero and variance one over the N samples,
Σ_i ‖h_i‖² = N(‖γ‖² + ‖β‖²). A network that ends in a batch normalisation is an unconstrained
features model with λ_W = λ, λ_H = λ/N, λ_b = λ. README.md of this folder has the derivation,
and the cases of a ReLU, of residual branches, and of networks without normalisation.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from nc_jax.geometry import ClassSizes, class_sizes
from nc_jax.losses import ClassWeights, Loss
from nc_jax.networks import NETWORKS, Head
from nc_jax.surrogates import DeepUnconstrainedFeatures, UnconstrainedFeatures
from nc_jax.training.recipe import Recipe


class Penalties(NamedTuple):
    """The weight decay of a surrogate; numbers, or arrays of one shape.

    Attributes:
        lambda_w: λ_W of the classifiers (and of every further layer).
        lambda_h: λ_H of every sample's features.
        lambda_b: λ_b of the bias, or None if there is no bias.
    """

    lambda_w: Any
    lambda_h: Any
    lambda_b: Any


def penalties_of(
    head: Head, weight_decay: Any, samples: Any, constant: Any = 1.0, input_energy: Any = None
) -> Penalties:
    """The penalties of a network's surrogate.

    Args:
        head: the properties of the network's last layers.
        weight_decay: λ > 0 [...], as in the gradient of the recipe: (λ/2)‖p‖².
        samples: N [...], the number in an epoch, counting repetitions.
        constant: κ > 0, a factor on λ_H; one if nothing is fitted.
        input_energy: E > 0 [...], mean squared length of the inputs of the first layer,
            for a network without normalisation.

    Returns:
        λ_W = λ, λ_b = λ, and λ_H = κλ/(cN) for c normalised branches, or κλ/E: the
        decay of the first layer W_0 for orthogonal inputs, ‖W_0‖² = Σ ‖h_i‖²/E.

    Raises:
        ValueError: a network without normalisation, and no ``input_energy``.
    """
    decay = np.asarray(weight_decay, float)
    if head.branches:
        scale = head.branches * np.asarray(samples, float)
    elif input_energy is None:
        raise ValueError("input_energy must be given for a network without normalisation")
    else:
        scale = np.asarray(input_energy, float)
    return Penalties(decay, constant * decay / scale, decay if head.bias else None)


def surrogate_of(
    network: str,
    sizes: Any,
    recipe: Recipe,
    oversampling: Any = 1,
    class_weights: Any = None,
    constant: float = 1.0,
    decayed_bias: bool = True,
    input_energy: float | None = None,
) -> UnconstrainedFeatures | DeepUnconstrainedFeatures:
    """The surrogate of a network's last layers; none of its numbers are fitted.

    Args:
        network: a name in :data:`nc_jax.networks.NETWORKS`.
        sizes: a :class:`ClassSizes` or [K], number of training samples of each class.
        recipe: provides the loss, the weight decay and the decayed parameters.
        oversampling: w_r ≥ 1, how often each sample occurs in an epoch: a number or [K].
        class_weights: [K] positive factors of the loss, as ``Run.class_weights``; only their
            ratios matter, because a step divides by their sum over its samples.
        constant: κ, a factor on λ_H: N c ‖W‖²/Σ‖h‖² of balanced runs, or one.
        decayed_bias: False for λ_b = 0.
        input_energy: that of the first layer's inputs, for a network without normalisation.

    Returns:
        Unconstrained features, constrained to be nonnegative if the last layer ends in a
        ReLU; for a head of several layers :class:`DeepUnconstrainedFeatures`.

    Raises:
        ValueError: naming the invalid argument; no weight decay, or one that does not act on
            the features (``decayed='kernels'``): then the surrogate has no minimum.
    """
    if network not in NETWORKS:
        raise ValueError(f"network must be one of {', '.join(NETWORKS)}, got {network!r}")
    head = NETWORKS[network].head
    if not recipe.weight_decay > 0:
        raise ValueError(f"recipe must have weight decay, got {recipe.weight_decay}")
    if recipe.decayed == "kernels" and head.branches:
        raise ValueError(
            "recipe: decayed='kernels' does not decay batch normalisation, so the length of the "
            "features has no penalty and the surrogate has no minimum"
        )
    if not 0 < constant < math.inf:
        raise ValueError(f"constant must be positive and finite, got {constant}")
    counted = _repeated(class_sizes(sizes), oversampling)
    loss = _weighted(recipe.loss, class_weights, counted)
    total = float(np.sum(np.asarray(counted.class_sizes)))
    penalties = penalties_of(head, recipe.weight_decay, total, constant, input_energy)
    if recipe.decayed == "kernels" and penalties.lambda_b is not None:
        penalties = penalties._replace(lambda_b=0.0)
    if not decayed_bias and penalties.lambda_b is not None:
        penalties = penalties._replace(lambda_b=0.0)
    return model_of(head, counted, penalties, loss)


def model_of(
    head: Head, sizes: ClassSizes, penalties: Penalties, loss: Loss | None = None
) -> UnconstrainedFeatures | DeepUnconstrainedFeatures:
    """The surrogate of a head at given penalties; a single model or a batch."""
    if head.layers == 1:
        return UnconstrainedFeatures(sizes, *penalties, loss, nonnegative=head.rectified)
    return DeepUnconstrainedFeatures(
        sizes, head.layers, *penalties, loss, nonnegative=head.rectified
    )


def _repeated(sizes: ClassSizes, oversampling: Any) -> ClassSizes:
    """Class sizes as counted in an epoch."""
    rates = np.asarray(oversampling, float)
    if rates.shape not in ((), (sizes.num_classes,)) or not (rates >= 1).all():
        raise ValueError(
            f"oversampling must be a rate of at least 1, or {sizes.num_classes} rates; "
            f"got {oversampling}"
        )
    if rates.ndim == 0:
        return ClassSizes(sizes.group_sizes * float(rates), sizes.membership)
    return class_sizes(np.asarray(sizes.class_sizes) * rates)


def _weighted(loss: Loss, class_weights: Any, sizes: ClassSizes) -> Loss:
    """The loss with weights of mean one over the samples, because a step divides by their sum."""
    if class_weights is None:
        return loss
    weights = np.asarray(class_weights, float)
    if weights.shape != (sizes.num_classes,) or not ((weights > 0) & np.isfinite(weights)).all():
        raise ValueError(
            f"class_weights must be {sizes.num_classes} positive factors, got {class_weights}"
        )
    return ClassWeights(weights / float(np.asarray(sizes.class_weights) @ weights), loss)
