"""Imbalanced subsets of a data set with given class sizes, and the image list of an epoch.

The images of a class are put in a random order that depends only on the seed and the
class; a subset takes the first ones. Subsets of different sizes are therefore nested.
"""

from typing import Any

import numpy as np

from nc_jax.checks import require_count


def step_sizes(num_classes: int, majority: int, size: int, ratio: float) -> np.ndarray:
    """Sizes [K]: n_A for the first K_A classes and n_A // R for the others (Fang et al. 2021).

    Args:
        num_classes: K.
        majority: K_A, from 1 to K − 1.
        size: n_A.
        ratio: R ≥ 1, at most n_A.

    Raises:
        ValueError: naming the invalid argument; a ratio at which a class would be empty.
    """
    num_classes = require_count("num_classes", num_classes, 2)
    majority, size = require_count("majority", majority, 1), require_count("size", size, 1)
    if majority >= num_classes:
        raise ValueError(f"majority must be at most num_classes - 1, got {majority}")
    if not 1 <= ratio <= size:
        raise ValueError(f"ratio must be from 1 to the majority's size {size}, got {ratio}")
    minority = int(size // ratio)
    return np.where(np.arange(num_classes) < majority, size, minority)


def long_tailed_sizes(num_classes: int, size: int, ratio: float) -> np.ndarray:
    """Sizes [K] that decrease geometrically from n to n/R, at least one each.

    Raises:
        ValueError: naming the invalid argument.
    """
    num_classes, size = require_count("num_classes", num_classes, 2), require_count("size", size, 1)
    if not 1 <= ratio < np.inf:
        raise ValueError(f"ratio must be at least 1 and finite, got {ratio}")
    sizes = size * ratio ** -np.linspace(0, 1, num_classes)
    return np.maximum(np.floor(sizes + 1e-9).astype(int), 1)


def choose_subset(labels: Any, sizes: Any, seed: int) -> np.ndarray:
    """Indices of a subset, class 0 first, each class in its own random order.

    Args:
        labels: [N] integers 0…K−1 of the whole data set.
        sizes: [K] number of images of each class, at least one.
        seed: seed of the choice.

    Raises:
        ValueError: a class has no images, or fewer than requested.
    """
    labels, sizes = np.asarray(labels), np.asarray(sizes)
    if sizes.ndim != 1 or sizes.dtype.kind not in "iu" or sizes.min(initial=0) < 0:
        raise ValueError(f"sizes must be an array [K] of integers, got {sizes!r}")
    if not len(sizes) or sizes.min() < 1:
        raise ValueError(f"sizes must be at least one image per class, got {sizes.tolist()}")
    parts = []
    for label, size in enumerate(sizes):
        own = np.flatnonzero(labels == label)
        if len(own) < size:
            raise ValueError(f"sizes: class {label} has {len(own)} images, but {size} are needed")
        parts.append(np.random.default_rng([seed, label]).permutation(own)[:size])
    return np.concatenate(parts)


def oversampled(indices: Any, labels: Any, members: Any, rate: int) -> np.ndarray:
    """The image list of an epoch in which the images of some classes are repeated.

    Args:
        indices: indices of a subset.
        labels: [N] labels of the whole data set.
        members: the classes to repeat.
        rate: w_r ≥ 1, how often each image occurs (Prop. 1 of Fang et al. 2021).

    Raises:
        ValueError: a rate below one.
    """
    rate = require_count("rate", rate, 1)
    indices = np.asarray(indices)
    chosen = np.isin(np.asarray(labels)[indices], np.asarray(members))
    return np.repeat(indices, np.where(chosen, rate, 1))
