"""Progressive feedforward collapse: neural collapse layer by layer.

PFC1–PFC3 of Wang, Gai, Zhang (2024) for the features of several layers, the first of
which may be the data: PFC1 = tr Σ_W/tr Σ_B, PFC2 = distance of the centred class
means from a simplex ETF, PFC3 = accuracy of the nearest class centre.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.metrics.moments import ClassMoments, checked, class_moments, fold_rows, row_batches
from nc_jax.metrics.neural_collapse import (
    centred_means,
    etf_distance,
    nearest_centre,
    within_between_quotient,
)


class FeedforwardMetrics(NamedTuple):
    """One number for each layer, all [layers].

    Attributes:
        pfc1: tr Σ_W / tr Σ_B.
        pfc2: ‖G/‖G‖ − (I − 11ᵀ/K)/√(K−1)‖ for the Gram matrix G of the centred
            class means; at most √(2 − 2/√(K−1)), when all lie on a line.
        pfc3: share of samples whose nearest class mean is their own.
    """

    pfc1: Array
    pfc2: Array
    pfc3: Array


def feedforward_metrics(
    layers: Sequence[Any], labels: Any, num_classes: int, weighting: str = "class"
) -> FeedforwardMetrics:
    """PFC1, PFC2 and PFC3 of every layer.

    Args:
        layers: features [N, p_l] of each layer; widths may differ.
        labels: [N] integers 0…K−1.
        num_classes: K ≥ 2.
        weighting: 'class' or 'sample', see :func:`nc_jax.metrics.class_moments`.

    Raises:
        TypeError, ValueError: naming the problem with layers or labels.
    """
    if not len(layers):
        raise ValueError("layers must hold the features of at least one layer")
    rows = []
    for features in layers:
        moments = class_moments(features, labels, num_classes, weighting)
        accuracy = nearest_centre_accuracy(features, labels, moments.means)
        rows.append((*moment_metrics(moments, weighting), accuracy))
    return FeedforwardMetrics(*(jnp.stack(column) for column in zip(*rows, strict=True)))


def moment_metrics(moments: ClassMoments, weighting: str = "class") -> tuple[Array, Array]:
    """PFC1 and PFC2 [] of one layer; they need only its moments."""
    distance = etf_distance(centred_means(moments, weighting))
    return within_between_quotient(moments, weighting), distance


def nearest_centre_accuracy(features: Any, labels: Any, means: Array) -> Array:
    """PFC3 []: share of samples [N, p] nearest to the mean [K, p] of their own class."""
    features, labels = checked(features, labels, means.shape[0])

    def add(total: Array, rows: Array, own: Array) -> Array:
        return total + jnp.sum(nearest_centre(rows, means) == own, dtype=jnp.int32)

    zero = jnp.zeros((), jnp.int32)
    right = sum(fold_rows(add, zero, *pair) for pair in row_batches(features, labels))
    return jnp.asarray(right).astype(means.dtype) / features.shape[0]


def layer_positions(layers: Sequence[Any]) -> Array:
    """Position of each layer on [0, 1]: its share of the path ‖H¹ − H⁰‖ + ‖H² − H¹‖ + ….

    Args:
        layers: features [N, p] of at least two layers of equal width.

    Returns:
        [layers], from 0 to 1; NaN if all layers are equal.

    Raises:
        ValueError: fewer than two layers, or shapes that differ.
    """
    if len({np.shape(features) for features in layers}) != 1 or len(layers) < 2:
        shapes = [np.shape(features) for features in layers]
        raise ValueError(f"layers must be at least two of equal shape, got {shapes}")
    pairs = zip(layers[1:], layers[:-1], strict=True)
    steps = jnp.stack([jnp.linalg.norm(jnp.asarray(b) - jnp.asarray(a)) for b, a in pairs])
    way = jnp.concatenate([jnp.zeros(1, steps.dtype), jnp.cumsum(steps)])
    return way / jnp.where(way[-1] > 0, way[-1], jnp.nan)


def decreases(values: Array, tolerance: float = 0.0) -> Array:
    """[...] whether each number of [..., layers] is below the previous one.

    Args:
        values: one measure over the layers.
        tolerance: an increase by up to this share of the largest magnitude is accepted.
    """
    slack = tolerance * jnp.max(jnp.abs(values), axis=-1, keepdims=True)
    return jnp.all(values[..., 1:] <= values[..., :-1] + slack, axis=-1)


def effective_depth(accuracies: Any, tolerance: float) -> Array:
    """The smallest layer l from which on 1 − PFC3 stays at most ε (He and Su, PNAS 2023).

    Args:
        accuracies: PFC3 [..., layers].
        tolerance: ε in [0, 1].

    Returns:
        Integers [...], the index of the layer; the number of layers if 1 − PFC3 of the last
        layer is above ε.

    Raises:
        ValueError: a tolerance outside [0, 1].
    """
    if not 0 <= tolerance <= 1:
        raise ValueError(f"tolerance must be in [0, 1], got {tolerance}")
    # Rounding of 1 − 0.9 must not move a layer across the threshold ε.
    bad = 1 - jnp.asarray(accuracies) > tolerance + 1e-6
    last = bad.shape[-1] - jnp.argmax(bad[..., ::-1], axis=-1)
    return jnp.where(jnp.any(bad, axis=-1), last, 0)
