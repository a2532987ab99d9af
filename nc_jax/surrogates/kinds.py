"""What all surrogates over class sizes share, and those with a single linear layer."""

from typing import cast

import jax.numpy as jnp
from jax import Array

from nc_jax.batches import batch_shape
from nc_jax.checks import is_positive
from nc_jax.geometry import ClassSizes
from nc_jax.losses import Loss
from nc_jax.surrogates.arguments import full_dimension, num_outputs
from nc_jax.surrogates.constraints import WeightDecay
from nc_jax.surrogates.layers import FactoredProgram, TopLayers, copies_of, mean_loss


class ClassModel:
    """A model of classes of given sizes; batch axes lead."""

    sizes: ClassSizes
    loss: Loss

    @property
    def num_classes(self) -> int:
        """K."""
        return self.sizes.num_classes

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The leading axes; () for a single model."""
        return batch_shape(self)


class SingleLayer(ClassModel):
    """A model with classifiers on free features."""

    activation = "identity"

    @property
    def num_outputs(self) -> int:
        """Number of logits: K, or the number of columns of soft targets."""
        return num_outputs(self.loss, self.num_classes)

    @property
    def full_dimension(self) -> int:
        """The smallest p at which the program is convex in the logits, if the loss is."""
        return full_dimension(self.loss, self.num_classes)


class Decayed(ClassModel):
    """A model under weight decay: of the weights, of every sample's features, of the biases."""

    lambda_w: Array
    lambda_h: Array
    lambda_b: Array | None
    samples: tuple[int, ...]
    activation: str
    nonnegative: bool

    @property
    def valid(self) -> Array:
        """[...] whether the sizes and penalties of a lane are valid."""
        good = jnp.all(is_positive(self.sizes.group_sizes), axis=-1)
        good = good & is_positive(self.lambda_w) & is_positive(self.lambda_h)
        if self.lambda_b is None:
            return good
        return good & jnp.isfinite(self.lambda_b) & (self.lambda_b >= 0)

    @property
    def constraint(self) -> WeightDecay:
        """The penalties of a single model."""
        copies = copies_of(self.sizes, self.samples)
        return WeightDecay(self.lambda_w, self.lambda_h, copies, self.nonnegative)

    def cost(self, layers: TopLayers) -> Array:
        """Mean loss and weight decay, from the definition."""
        copies = copies_of(self.sizes, self.samples)
        decay = self.lambda_h * jnp.sum(copies * jnp.sum(layers.features**2, axis=-1))
        for weight in layers.weights:
            decay = decay + self.lambda_w * jnp.sum(weight**2)
        if self.lambda_b is not None:
            for bias in layers.biases:
                decay = decay + self.lambda_b * jnp.sum(bias**2)
        program = cast(FactoredProgram, self)
        return mean_loss(program, layers) + 0.5 * decay
