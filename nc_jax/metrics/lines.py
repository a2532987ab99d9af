"""Straight lines from features to random last layers, measured at many positions."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.metrics.feedforward import decreases, feedforward_metrics
from nc_jax.metrics.geodesic import geodesic
from nc_jax.metrics.moments import class_moments


def random_last_layer(
    key: Array,
    inputs: Array,
    labels: np.ndarray,
    num_classes: int,
    lengths: tuple[float, float],
    within: float = 0.0,
) -> Array:
    """A random last layer [N, d] whose class means are a simplex ETF.

    The frame is turned at random, from aligned with the class means of the inputs to opposed to
    them.

    Args:
        key: of the random numbers.
        inputs: [N, d], d ≥ K − 1.
        labels: [N].
        num_classes: K.
        lengths: range of the length of the class means, relative to those of the inputs.
        within: share of the within-class deviations of the inputs that it keeps; none in full
            collapse.
    """
    keys = jax.random.split(key, 4)
    moments = class_moments(inputs, labels, num_classes)
    middle = jnp.mean(moments.means, axis=0)
    centred = moments.means - middle
    along = _nearest_frame(centred)
    noise = jax.random.normal(keys[0], centred.shape, centred.dtype)
    other = _nearest_frame(noise - jnp.mean(noise, axis=0))
    # Goes from the inputs' class means over a random frame to the opposite of the means.
    angle = jnp.pi * jax.random.uniform(keys[1], (), centred.dtype)
    turned = _nearest_frame(jnp.cos(angle) * along + jnp.sin(angle) * other)
    low, high = np.log(lengths)
    length = jnp.exp(jax.random.uniform(keys[2], (), centred.dtype, low, high))
    length = length * jnp.sqrt(jnp.mean(jnp.sum(centred**2, axis=-1)))
    moved = middle * jax.random.uniform(keys[3], (), centred.dtype)
    deviations = inputs - moments.means[labels]
    return moved + length * turned[labels] + within * deviations


def _nearest_frame(matrix: Array) -> Array:
    """The simplex ETF [K, d], of mean square row length one, closest to K centred rows."""
    size = matrix.shape[0]
    left, _, right = jnp.linalg.svd(matrix, full_matrices=False)
    keep = size - 1
    return jnp.matmul(left[:, :keep], right[:keep]) * (size / keep) ** 0.5


def measure_line(
    first: Array, last: Array, labels: np.ndarray, num_classes: int, positions: Any
) -> tuple[dict[str, Array], Array]:
    """Measures of the features on the line, beside what :func:`geodesic` predicts for PFC1.

    Args:
        first: [N, d] features at t = 0.
        last: [N, d] features at t = 1.
        labels: [N].
        num_classes: K.
        positions: [T] increasing, from 0 to 1.

    Returns:
        Numbers [] by name: transport cost per sample and relative to ‖H‖² + ‖X‖²; C, and
        the cosine of all centred class means of both ends; for PFC1 whether it decreases on
        the line, its peak, and the largest error of the prediction relative to its start; for
        PFC2 and PFC3 whether they improve at every step, and from which position on. And
        curves [T, 4]: predicted PFC1, PFC1, PFC2, PFC3.
    """
    line = geodesic(first, last, labels, num_classes)

    def at(t: Array) -> tuple[Array, ...]:
        measured = feedforward_metrics([first + t * (last - first)], labels, num_classes)
        return tuple(value[0] for value in measured)

    pfc1, pfc2, pfc3 = jax.vmap(at)(jnp.asarray(positions))
    predicted = line.pfc1(positions)
    squares = jnp.sum(first**2) + jnp.sum(last**2)
    cost = jnp.sum((last - first) ** 2)
    row = {
        "transport_cost": cost / len(labels),
        "relative_cost": cost / squares,
        "C": line.between_cross,
        "means_alignment": line.between_cross / jnp.sqrt(line.between_first * line.between_last),
        "predicted_falling": line.decreasing,
        "pfc1_falling": decreases(pfc1),
        "predicted_peak": line.peak,
        "pfc1_peak": jnp.asarray(positions)[jnp.argmax(pfc1)],
        "prediction_error": jnp.max(jnp.abs(predicted - pfc1)) / pfc1[0],
        "pfc2_falling": decreases(pfc2),
        "pfc2_falls_from": decreases_from(pfc2, positions),
        "pfc3_rising": decreases(1 - pfc3),
        "pfc3_rises_from": decreases_from(1 - pfc3, positions),
    }
    return row, jnp.stack([predicted, pfc1, pfc2, pfc3], axis=-1)


def decreases_from(values: Array, positions: Any) -> Array:
    """The smallest position [] from which on values [T] decrease at every step."""
    rises = values[1:] > values[:-1]
    last = rises.shape[0] - jnp.argmax(rises[::-1])
    return jnp.asarray(positions)[jnp.where(jnp.any(rises), last, 0)]
