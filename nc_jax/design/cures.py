"""Cures for imbalance as families of models with one strength each; zero has no effect.

Each function turns a model and a strength into the model of the training with the cure. All
use class sizes through the published rules, so only one number remains to be chosen.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from nc_jax.checks import float_array, require_array
from nc_jax.geometry import ClassSizes
from nc_jax.losses import (
    ClassWeights,
    CrossEntropy,
    LabelSmoothing,
    Loss,
    class_temperatures,
    logit_adjustment,
    size_margins,
    size_weights,
    vector_scaling,
)
from nc_jax.surrogates import LayerPeeled, UnconstrainedFeatures

Curable = LayerPeeled | UnconstrainedFeatures


def with_changes(model: Curable, loss: Loss | None = None, sizes: Any = None) -> Curable:
    """The same model with another loss or other class sizes."""
    loss, sizes = model.loss if loss is None else loss, model.sizes if sizes is None else sizes
    return dataclasses.replace(model, loss=loss, sizes=sizes)


def _oversampled(model: Curable, strength: Any) -> Curable:
    """Repeats samples of a class (n_max/n_k)^s times; the penalty of features is repeated too.

    A surrogate of a network with batch normalisation has λ_H = λ/N, in which N also grows.
    """
    sizes = model.sizes
    relative = jnp.log(jnp.max(sizes.group_sizes)) - jnp.log(sizes.group_sizes)
    power = float_array("strength", strength, relative.dtype)
    repeated = ClassSizes(sizes.group_sizes * jnp.exp(power * relative), sizes.membership)
    cured = with_changes(model, sizes=repeated)
    if isinstance(cured, LayerPeeled):
        return cured
    counts = jnp.asarray(sizes.counts, relative.dtype)
    growth = jnp.sum(counts * repeated.group_sizes) / jnp.sum(counts * sizes.group_sizes)
    return dataclasses.replace(cured, lambda_h=cured.lambda_h / growth)


# By name: the cure, and the largest strength that is reasonable.
CURES: dict[str, tuple[Callable[[Curable, Any], Curable], float]] = {
    "class-weights": (
        lambda model, power: with_changes(
            model, ClassWeights(size_weights(model.sizes, power), model.loss)
        ),
        1.5,
    ),
    "oversampling": (_oversampled, 1.5),
    "logit-adjustment": (
        lambda model, tau: with_changes(model, logit_adjustment(model.sizes, tau)),
        3.0,
    ),
    "vector-scaling": (
        lambda model, strength: with_changes(model, vector_scaling(model.sizes, strength)),
        3.0,
    ),
    "temperatures": (
        lambda model, gamma: with_changes(model, class_temperatures(model.sizes, gamma)),
        1.0,
    ),
    "margins": (
        lambda model, largest: with_changes(model, size_margins(model.sizes, largest)),
        10.0,
    ),
    "label-smoothing": (
        lambda model, epsilon: with_changes(model, LabelSmoothing(epsilon)),
        0.9,
    ),
}


def cured(model: Curable, cure: str, strength: Any) -> Curable:
    """The model of a training with a cure.

    Args:
        model: the model of the plain training, under cross-entropy.
        cure: a name in :data:`CURES`: 'class-weights' n_k^−s, 'oversampling' (n_max/n_k)^s times,
            'logit-adjustment' τ, 'vector-scaling'
            (:func:`nc_jax.vector_scaling`), 'temperatures' γ, 'margins' of the smallest class,
            'label-smoothing' ε.
        strength: a number; traced. A loss with scales needs dimension ≥ K.

    Raises:
        TypeError, ValueError: another model or loss, or an unknown cure.
    """
    if not isinstance(model, Curable):
        raise TypeError(
            f"model must be LayerPeeled or UnconstrainedFeatures, got {type(model).__name__}"
        )
    if not isinstance(model.loss, CrossEntropy):
        raise ValueError(f"model must have CrossEntropy to be cured, got {type(model.loss)}")
    if cure not in CURES:
        raise ValueError(f"cure must be one of {', '.join(CURES)}, got {cure!r}")
    return require_full_dimension(CURES[cure][0](model, strength))


def require_full_dimension(model: Curable) -> Curable:
    """The model itself; ValueError if it has too few dimensions for a certified optimum."""
    if model.dimension < model.full_dimension:
        raise ValueError(
            f"model must have dimension ≥ {model.full_dimension} for a certified optimum under "
            f"{type(model.loss).__name__}, got {model.dimension}"
        )
    return model


def margins_of(logits: Array) -> Array:
    """z_kk − max_j≠k z_kj [..., K] of logits [..., K, K] as used after training."""
    require_array("logits", logits, "[..., K, K]")
    return _margins(logits)


@jax.jit
def _margins(logits: Array) -> Array:
    own = jnp.diagonal(logits, axis1=-2, axis2=-1)
    eye = jnp.eye(logits.shape[-1], dtype=bool)
    return own - jnp.max(jnp.where(eye, -jnp.inf, logits), axis=-1)
