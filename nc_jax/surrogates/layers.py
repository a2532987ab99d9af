"""Features, weights and biases of the top layers, and their mean loss.

A surrogate in factored form optimises these directly. Its S = Σ s_k free features
represent all N samples: each of the s_k features of class k represents n_k/s_k of them.
Whether the features of a class coincide is therefore a result, not an assumption.
"""

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.checks import require_count
from nc_jax.geometry import ClassSizes
from nc_jax.losses import Loss, SupervisedContrastive

ACTIVATIONS = {"relu": jax.nn.relu, "identity": lambda x: x}


class TopLayers(NamedTuple):
    """The layers of a network from its free features to its logits.

    Attributes:
        features: [S, p], samples of class 0 first.
        weights: W_1 [d_1, p] … W_m [K, d_{m−1}]; empty for a loss on features.
        biases: one [d_l] for each layer, or empty.
    """

    features: Array
    weights: tuple[Array, ...]
    biases: tuple[Array, ...] = ()


class FactoredProgram(Protocol):
    """What a surrogate must provide to be solved over its layers."""

    @property
    def sizes(self) -> ClassSizes:
        """Class sizes; G groups over K classes."""
        ...

    @property
    def loss(self) -> Loss:
        """The loss, on logits or on features."""
        ...

    @property
    def samples(self) -> tuple[int, ...]:
        """Free features of each class, s_k, static."""
        ...

    @property
    def activation(self) -> str:
        """The activation between the layers; 'identity' if there is only one layer."""
        ...

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The leading axes; () for a single model."""
        ...

    @property
    def valid(self) -> Array:
        """[...] whether all numbers of a lane are valid."""
        ...

    def start(self, key: Array) -> Any:
        """Random parameters of :meth:`layers`, a pytree of arrays."""
        ...

    def layers(self, parameters: Any) -> TopLayers:
        """Layers that satisfy every constraint for any parameters."""
        ...

    def parameters(self, layers: TopLayers) -> Any:
        """Parameters of given feasible layers: an inverse of :meth:`layers`."""
        ...

    def cost(self, layers: TopLayers) -> Array:
        """The objective of a single model, from its definition."""
        ...


def sample_counts(samples: Any, num_classes: int) -> tuple[int, ...]:
    """Free features of each class as K integers; errors name ``samples``."""
    if isinstance(samples, int | np.integer) and not isinstance(samples, bool):
        return (require_count("samples", samples, 1),) * num_classes
    counts = tuple(samples) if isinstance(samples, tuple | list | np.ndarray) else None
    if counts is None or len(counts) != num_classes:
        raise ValueError(
            f"samples must be a count, or one for each of the {num_classes} classes; got {samples}"
        )
    return tuple(require_count("samples", count, 1) for count in counts)


def labels_of(samples: tuple[int, ...]) -> np.ndarray:
    """The class [S] of each free feature."""
    return np.repeat(np.arange(len(samples)), samples)


def copies_of(sizes: ClassSizes, samples: tuple[int, ...]) -> Array:
    """How many samples each free feature represents, n_k/s_k [S]."""
    labels = labels_of(samples)
    counts = jnp.asarray(np.asarray(samples)[labels], sizes.group_sizes.dtype)
    return sizes.class_sizes[labels] / counts


def logits_of(layers: TopLayers, activation: str) -> Array:
    """The output of the last layer [..., S, K] (or the features, if there are no weights)."""
    out = layers.features
    for place, weight in enumerate(layers.weights):
        if place:
            out = ACTIVATIONS[activation](out)
        out = jnp.matmul(out, jnp.swapaxes(weight, -1, -2), precision="highest")
        if layers.biases:
            out = out + layers.biases[place][..., None, :]
    return out


def mean_loss(model: FactoredProgram, layers: TopLayers) -> Array:
    """(1/N) Σ_k Σ_i L over all samples that the free features represent."""
    labels = labels_of(model.samples)
    if isinstance(model.loss, SupervisedContrastive):
        copies = copies_of(model.sizes, model.samples)
        losses = model.loss(layers.features, labels, copies)
    else:
        losses = model.loss(logits_of(layers, model.activation), labels)
    counts = jnp.asarray(np.asarray(model.samples)[labels], losses.dtype)
    return jnp.sum(model.sizes.class_weights[labels] / counts * losses)


def into_ball(value: Array, slack: Array, radius: Array) -> Array:
    """A point of the ball ‖x‖ ≤ radius: the projection of a sphere with one more dimension."""
    return value * (radius / jnp.sqrt(jnp.sum(value**2) + slack**2))


def from_ball(inside: Array, radius: Array) -> tuple[Array, Array]:
    """Value and slack of a point of the ball, on the unit sphere: an inverse of into_ball."""
    value = inside / radius
    return value, jnp.sqrt(jnp.maximum(1 - jnp.sum(value**2), 0))


def maybe_mirrored(key: Array, matrices: tuple[Array, ...]) -> tuple[Array, ...]:
    """With probability one half, replaces the second half of the rows by minus the first.

    With many classes and few dimensions, plain random starts mostly end in local minima,
    while the best known codes are often antipodal (24-cell, 600-cell, E8 roots). With an
    odd number of rows the last one is kept.
    """

    def mirrored(matrix: Array) -> Array:
        half = len(matrix) // 2
        return jnp.concatenate([matrix[:half], -matrix[:half], matrix[2 * half :]])

    chosen = jax.random.bernoulli(key)
    return tuple(jnp.where(chosen, mirrored(matrix), matrix) for matrix in matrices)


def random_matrices(key: Array, shapes: list[tuple[int, int]], dtype: Any) -> tuple[Array, ...]:
    """Standard normal matrices, each divided by the square root of its width."""
    keys = jax.random.split(key, len(shapes))
    return tuple(
        jax.random.normal(k, shape, dtype) / shape[1] ** 0.5
        for k, shape in zip(keys, shapes, strict=True)
    )
