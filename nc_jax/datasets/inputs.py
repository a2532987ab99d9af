"""Input features for models that start from data: pixels, and Gaussian classes."""

import numpy as np

from nc_jax.checks import require_count
from nc_jax.datasets.images import ImageData


def balanced_features(
    data: ImageData, num_classes: int, per_class: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels as features: the same number of images from each of the first K classes.

    Args:
        data: the images to choose from.
        num_classes: K from 2 to 10.
        per_class: number of images of each class, chosen at random without repetition.
        seed: seed of the choice.

    Returns:
        Features [K·n, pixels], float64, scaled to a mean square length of one, and
        labels [K·n], class 0 first.

    Raises:
        ValueError: more classes or images than there are in the data.
    """
    num_classes = require_count("num_classes", num_classes, 2)
    per_class = require_count("per_class", per_class, 1)
    rng = np.random.default_rng(seed)
    rows = []
    for label in range(num_classes):
        own = np.flatnonzero(data.labels == label)
        if len(own) < per_class:
            raise ValueError(f"per_class must be at most {len(own)} for class {label}")
        rows.append(rng.choice(own, per_class, replace=False))
    chosen = np.concatenate(rows)
    features = data.images[chosen].reshape(len(chosen), -1).astype(np.float64)
    length = np.sqrt(np.mean(np.sum(features**2, axis=1)))
    return features / length, np.repeat(np.arange(num_classes), per_class)


def gaussian_classes(
    num_classes: int, per_class: int, dimension: int, sigma: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian classes x ~ N(μ_k, σ² I) with means chosen at random on the unit sphere.

    Returns:
        Features [K·n, d], float64, and labels [K·n], class 0 first.

    Raises:
        TypeError, ValueError: a count that is too small, or a σ that is not ≥ 0.
    """
    num_classes = require_count("num_classes", num_classes, 2)
    per_class = require_count("per_class", per_class, 1)
    dimension = require_count("dimension", dimension, 1)
    if not 0 <= sigma < float("inf"):
        raise ValueError(f"sigma must be zero or positive and finite, got {sigma}")
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(num_classes, dimension))
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    labels = np.repeat(np.arange(num_classes), per_class)
    return means[labels] + sigma * rng.normal(size=(len(labels), dimension)), labels
