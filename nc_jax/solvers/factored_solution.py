"""The result of the factored solver: the layers, their residual, and all restarts."""

import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.geometry import gram
from nc_jax.immutable import derived, immutable
from nc_jax.solvers.restarts import RestartedSolution
from nc_jax.surrogates.layers import (
    ACTIVATIONS,
    FactoredProgram,
    TopLayers,
    labels_of,
    logits_of,
)


@immutable()
class FactoredSolution(RestartedSolution):
    """The best of several restarts in terms of the layers themselves.

    Attributes:
        model: the model that was solved.
        layers: features [..., S, p], weights and biases of the best restart.
    """

    model: FactoredProgram
    layers: TopLayers

    @property
    def labels(self) -> np.ndarray:
        """The class [S] of each free feature."""
        return labels_of(self.model.samples)

    @property
    def sample_features(self) -> Array:
        """Free features [..., S, p], before any layer."""
        return self.layers.features

    @derived
    def features(self) -> Array:
        """Class means [..., K, p] of the free features."""
        return self._class_means(self.layers.features)

    @property
    def classifiers(self) -> Array:
        """The last weight matrix [..., K, d]; the class means for a loss of features."""
        return self.layers.weights[-1] if self.layers.weights else self.features

    @derived
    def classifier_gram(self) -> Array:
        """W Wᵀ [..., K, K]."""
        return gram(self.classifiers)

    @property
    def bias(self) -> Array | None:
        """The bias of the last layer [..., K]; None for a model without bias."""
        return self.layers.biases[-1] if self.layers.biases else None

    @derived
    def sample_logits(self) -> Array:
        """Output of the last layer [..., S, K]."""
        return logits_of(self.layers, self.model.activation)

    @derived
    def logits(self) -> Array:
        """Class means [..., K, K] of the last layer's output."""
        return self._class_means(self.sample_logits)

    def hidden_features(self) -> list[Array]:
        """Inputs [..., S, d] of each layer, after the activation; the first are the features."""
        inputs = [self.layers.features]
        for count in range(1, len(self.layers.weights)):
            biases = self.layers.biases[:count]
            below = TopLayers(self.layers.features, self.layers.weights[:count], biases)
            out = logits_of(below, self.model.activation)
            inputs.append(ACTIVATIONS[self.model.activation](out))
        return inputs

    def _class_means(self, values: Array) -> Array:
        samples = self.model.samples
        share = np.zeros((len(samples), len(self.labels)))
        share[self.labels, np.arange(len(self.labels))] = 1 / np.asarray(samples)[self.labels]
        return jnp.matmul(jnp.asarray(share, values.dtype), values, precision="highest")
