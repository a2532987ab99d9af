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
from nc_jax.losses import Loss, acts_on

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


class LayerShapes(NamedTuple):
    """The shapes of a model's :class:`TopLayers`, which are static."""

    features: tuple[int, int]
    weights: tuple[tuple[int, int], ...]
    biases: tuple[int, ...] = ()


class FactoredProgram(Protocol):
    """What a surrogate must provide to be solved over its layers; batch axes lead.

    It may also offer ``convex_form(sizes)``: the same model, without a restriction of its
    dimensions, as a :class:`.GroupedProgram` over groups of classes, if its loss is convex in
    the logits; None if it has no such form. Its optimum is a lower bound, which certifies
    the solutions of the model itself.
    """

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

    @property
    def shapes(self) -> LayerShapes:
        """The shapes of features, weights and biases, static."""
        ...

    @property
    def constraint(self) -> Any:
        """What the layers of a single model must satisfy, see :mod:`.constraints`."""
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
    if acts_on(model.loss) == "features":
        copies = copies_of(model.sizes, model.samples)
        losses = model.loss(layers.features, labels, copies)
    else:
        losses = model.loss(logits_of(layers, model.activation), labels)
    counts = jnp.asarray(np.asarray(model.samples)[labels], losses.dtype)
    return jnp.sum(model.sizes.class_weights[labels] / counts * losses)
