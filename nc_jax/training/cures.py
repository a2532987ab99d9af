"""Trainings with a cure for imbalance, by the same rules from class sizes as in the models."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from nc_jax.losses import (
    Focal,
    LabelSmoothing,
    Loss,
    logit_adjustment,
    size_margins,
    size_weights,
    vector_scaling,
)
from nc_jax.training.loop import Run

# Cures by name that only change the loss of logits and label: from class sizes and strength.
LOSS_CURES: dict[str, Callable[[np.ndarray, float], Loss]] = {
    "logit-adjustment": logit_adjustment,
    "vector-scaling": vector_scaling,
    "margins": size_margins,
    "label-smoothing": lambda sizes, epsilon: LabelSmoothing(epsilon),
    "focal": lambda sizes, gamma: Focal(gamma),
}
RUN_CURES = ("none", "class-weights", "oversampling", *LOSS_CURES)


def cured_run(run: Run, labels: Any, num_classes: int, cure: str, strength: float) -> Run:
    """A training with a cure.

    Args:
        run: the plain training, with each image once.
        labels: [N] labels of all images that its indices refer to.
        num_classes: K.
        cure: a name in :data:`RUN_CURES`: 'class-weights' n_k^−s, 'oversampling' up to
            n_k (n_max/n_k)^s, 'logit-adjustment' τ, 'vector-scaling'
            (:func:`nc_jax.vector_scaling`), 'margins' of the smallest class,
            'label-smoothing' ε, 'focal' γ.
        strength: zero has no effect.

    Raises:
        ValueError: an unknown cure, or an invalid strength for it; a class without
            images.
    """
    if cure not in RUN_CURES:
        raise ValueError(f"cure must be one of {', '.join(RUN_CURES)}, got {cure!r}")
    if not 0 <= strength < np.inf:
        raise ValueError(f"strength must be zero or positive and finite, got {strength}")
    own = np.asarray(labels)[run.indices]
    sizes = np.bincount(own, minlength=num_classes)
    if sizes.min() < 1:
        raise ValueError(f"indices must have an image of every class, got {sizes.tolist()}")
    if cure == "none":
        return run
    if cure == "class-weights":
        weights = np.asarray(size_weights(sizes.astype(float), strength).values)
        return dataclasses.replace(run, class_weights=weights)
    if cure == "oversampling":
        totals = sizes * (sizes.max() / sizes) ** strength
        return dataclasses.replace(run, indices=repeated_to(run.indices, own, totals))
    loss = LOSS_CURES[cure](sizes.astype(float), strength)
    return dataclasses.replace(run, recipe=dataclasses.replace(run.recipe, loss=loss))


def repeated_to(indices: Any, labels: Any, totals: Any) -> np.ndarray:
    """The list of an epoch in which each class has a given total number of images.

    Each image of class k occurs ⌊t_k/n_k⌋ times and the first ones once more, so that the
    classes have the rounded totals t_k, even if these are not multiples of n_k.

    Args:
        indices: [n] indices of a subset.
        labels: [n] labels of these images.
        totals: [K], each at least the number of images of the class.

    Raises:
        ValueError: a total below the number of images of a class.
    """
    indices, labels = np.asarray(indices), np.asarray(labels)
    totals = np.asarray(np.round(totals), int)
    sizes = np.bincount(labels, minlength=len(totals))
    if len(sizes) > len(totals) or (totals < sizes).any():
        raise ValueError(f"totals must be at least {sizes.tolist()}, got {totals.tolist()}")
    times = np.empty(len(indices), int)
    for label, (size, total) in enumerate(zip(sizes, totals, strict=True)):
        if size:
            times[labels == label] = total // size + (np.arange(size) < total % size)
    return np.repeat(indices, times)
