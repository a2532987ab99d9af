"""The straight line from the features of a first layer to those of the last one.

The geodesic assumption of Wang, Gai, Zhang (2024): the intermediate layers are
H^t = (1 − t) H⁰ + t H¹. With r = t/(1 − t) every trace is a quadratic,

    PFC1(t) = (A₀ + 2 r A₀₁ + r² A₁) / (B₀ + 2 r C + r² B₁),

where A are the within-class and B, C the between-class traces of the two ends and of their
cross terms. Theorem 1 is the case of a collapsed last layer, A₀₁ = A₁ = 0: PFC1 decreases
along the whole line if and only if C ≥ 0; otherwise it increases until r = −C/B₁.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.metrics.feedforward import FeedforwardMetrics, feedforward_metrics
from nc_jax.metrics.moments import checked, class_moments
from nc_jax.metrics.neural_collapse import centred_means


class Geodesic(NamedTuple):
    """Traces [] of the two ends of a line, and their cross terms.

    Attributes:
        within_first: A₀ = tr Σ_W(H⁰).
        within_cross: A₀₁, mean of ⟨h⁰ − its class mean, h¹ − its class mean⟩.
        within_last: A₁ = tr Σ_W(H¹).
        between_first: B₀ = tr Σ_B(H⁰).
        between_cross: C = (1/K) Σ_k ⟨m̄⁰_k, m̄¹_k⟩ of the centred class means.
        between_last: B₁ = tr Σ_B(H¹).
    """

    within_first: Array
    within_cross: Array
    within_last: Array
    between_first: Array
    between_cross: Array
    between_last: Array

    def pfc1(self, position: Any) -> Array:
        """PFC1 on the line at t [...] in [0, 1]."""
        t = jnp.asarray(position, self.within_first.dtype)
        s = 1 - t
        within = s**2 * self.within_first + 2 * s * t * self.within_cross
        between = s**2 * self.between_first + 2 * s * t * self.between_cross
        within = within + t**2 * self.within_last
        between = between + t**2 * self.between_last
        return jnp.where(between > 0, within / jnp.where(between > 0, between, 1), jnp.inf)

    @property
    def decreasing(self) -> Array:
        """Whether PFC1 decreases on all of [0, 1): exact, for any ends.

        The numerator of dPFC1/dr is a quadratic in r; it must not be positive
        for any r ≥ 0. With a collapsed last layer this is C ≥ 0 (Theorem 1).
        """
        constant = self.within_cross * self.between_first - self.within_first * self.between_cross
        linear = self.within_last * self.between_first - self.within_first * self.between_last
        square = self.within_last * self.between_cross - self.within_cross * self.between_last
        # For a collapsed last layer this is zero only up to rounding.
        eps = 64 * jnp.finfo(square.dtype).eps
        noise = eps * jnp.sqrt(self.within_first * self.between_last) * self.between_last
        square = jnp.where(jnp.abs(square) <= noise, 0, square)
        # Its largest value is at r = 0, at infinity, or at a vertex in between.
        concave = (square < 0) & (linear > 0)
        vertex = constant - linear**2 / jnp.where(concave, 4 * square, 1)
        far = (square < 0) | ((square == 0) & (linear <= 0))
        return (constant <= 0) & far & jnp.where(concave, vertex <= 0, True)

    @property
    def peak(self) -> Array:
        """Theorem 1: t at which PFC1 is largest when the last layer is collapsed."""
        r = jnp.maximum(-self.between_cross, 0) / self.between_last
        return r / (1 + r)


def geodesic(first: Any, last: Any, labels: Any, num_classes: int) -> Geodesic:
    """The traces that determine PFC1 along the line, with equal weight for every class.

    Args:
        first: features [N, p] of the first layer.
        last: features [N, p] of the last layer.
        labels: [N] integers 0…K−1.
        num_classes: K ≥ 2.

    Raises:
        TypeError, ValueError: naming the invalid argument.
    """
    first, labels = checked(first, labels, num_classes)
    last, _ = checked(last, labels, num_classes)
    if first.shape != last.shape:
        raise ValueError(f"last must have the shape {first.shape} of first, got {last.shape}")
    ends = [class_moments(x, labels, num_classes) for x in (first, last)]
    means = [centred_means(moments) for moments in ends]
    deviations = [
        jnp.asarray(x) - moments.means[jnp.asarray(labels)]
        for x, moments in zip((first, last), ends, strict=True)
    ]
    share = 1 / (num_classes * ends[0].counts.astype(means[0].dtype))
    across = jnp.sum(deviations[0] * deviations[1], axis=-1)
    return Geodesic(
        within_first=jnp.maximum(jnp.trace(ends[0].scatter), 0),
        within_cross=jnp.sum(share[jnp.asarray(labels)] * across),
        within_last=jnp.maximum(jnp.trace(ends[1].scatter), 0),
        between_first=jnp.sum(means[0] ** 2) / num_classes,
        between_cross=jnp.sum(means[0] * means[1]) / num_classes,
        between_last=jnp.sum(means[1] ** 2) / num_classes,
    )


def geodesic_metrics(
    first: Any, last: Any, labels: Any, num_classes: int, positions: Sequence[float]
) -> FeedforwardMetrics:
    """PFC1–PFC3 predicted at positions t on the line between the features of two layers.

    Raises:
        TypeError, ValueError: naming the invalid argument, including positions outside [0, 1].
    """
    spots = np.asarray(positions, float)
    if spots.ndim != 1 or not spots.size or not np.all((spots >= 0) & (spots <= 1)):
        raise ValueError(f"positions must be numbers in [0, 1], got {positions}")
    first, last = jnp.asarray(first), jnp.asarray(last)
    if first.shape != last.shape:
        raise ValueError(f"last must have the shape {first.shape} of first, got {last.shape}")
    line = [first + float(t) * (last - first) for t in spots]
    return feedforward_metrics(line, labels, num_classes)
