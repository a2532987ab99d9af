"""A plain convolutional network; without biases it is homogeneous."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from nc_jax.networks.layers import BatchNorm, Convolution, Dense, keys_of, scaled

# Numbers of channels of the layers, each of which halves the height and width of the image.
CHANNELS = (64, 128, 256)
# Numbers of units of the dense layers that follow.
DENSE = (512, 512)


class ConvNet(nnx.Module):
    """3×3 convolutions of stride 2, dense layers, each with ReLU, and a classifier.

    Args:
        shape: [height, width, channels] of the images.
        num_classes: K.
        key: PRNG key of the initial weights.
        width: factor on all numbers of channels.
        bias: whether the layers have biases, except for the classifier.
        head_bias: whether the classifier has a bias; by default the same as ``bias``.
        normalise: whether there is a batch normalisation before every ReLU.
        pooled: use the mean over positions instead of the dense layers.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        num_classes: int,
        key: Array,
        width: float = 1.0,
        bias: bool = True,
        head_bias: bool | None = None,
        normalise: bool = False,
        pooled: bool = False,
    ):
        keys = keys_of(key)
        height, breadth, channels = shape
        convolutions, layers, norms = [], [], []
        for base in CHANNELS:
            outputs = scaled(base, width)
            convolutions.append(Convolution(channels, outputs, next(keys), stride=2, bias=bias))
            height, breadth, channels = (height + 1) // 2, (breadth + 1) // 2, outputs
            norms.append(BatchNorm(outputs))
        self.convolutions = nnx.List(convolutions)
        inputs = channels if pooled else height * breadth * channels
        for base in () if pooled else DENSE:
            layers.append(Dense(inputs, scaled(base, width), next(keys), bias))
            inputs = scaled(base, width)
            norms.append(BatchNorm(inputs))
        self.layers = nnx.List(layers)
        self.norms = nnx.List(norms if normalise else [])
        own = bias if head_bias is None else head_bias
        self.classifier = Dense(inputs, num_classes, next(keys), own)
        self.pooled = pooled

    def __call__(
        self, x: Array, train: bool = False, weights: Array | None = None
    ) -> tuple[Array, dict[str, Array]]:
        """Logits [B, K], and features by name: each convolution and dense layer, or ``pooled``.

        Args:
            x: images [B, h, w, channels].
            train: whether to use the batch's own statistics.
            weights: of the samples [B]; sum to one.
        """
        features, norms = {}, iter(self.norms)

        def rectified(x: Array) -> Array:
            norm = next(norms, None)
            return jax.nn.relu(x if norm is None else norm(x, train, weights))

        for place, layer in enumerate(self.convolutions, 1):
            x = features[f"convolution{place}"] = rectified(layer(x))
        if self.pooled:
            x = features["pooled"] = jnp.mean(x, axis=(1, 2))
        x = jnp.reshape(x, (x.shape[0], -1))
        for place, layer in enumerate(self.layers, 1):
            x = features[f"layer{place}"] = rectified(layer(x))
        return self.classifier(x), features
