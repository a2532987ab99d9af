"""A plain convolutional network; without biases it is homogeneous."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from nc_jax.networks.layers import Convolution, Dense, keys_of, scaled

# Channels and stride of each layer.
LAYERS = ((64, 1), (128, 2), (256, 2), (256, 1))


class ConvNet(nnx.Module):
    """3×3 convolutions with ReLU, pooled, a classifier; no normalisation.

    Args:
        channels: of the images.
        num_classes: K.
        key: of the initial weights.
        width: multiplies all numbers of channels.
        bias: of the convolutions.
        head_bias: of the classifier; as ``bias`` by default.
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        key: Array,
        width: float = 1.0,
        bias: bool = True,
        head_bias: bool | None = None,
    ):
        keys = keys_of(key)
        layers = []
        for base, stride in LAYERS:
            outputs = scaled(base, width)
            layers.append(Convolution(channels, outputs, next(keys), stride=stride, bias=bias))
            channels = outputs
        self.layers = nnx.List(layers)
        own = bias if head_bias is None else head_bias
        self.classifier = Dense(channels, num_classes, next(keys), own)

    def __call__(
        self, x: Array, train: bool = False, weights: Array | None = None
    ) -> tuple[Array, dict[str, Array]]:
        """Logits [B, K], and features by name: each layer, and ``pooled``.

        Args:
            x: images [B, h, w, channels].
            train: makes no difference here.
            weights: of the samples [B]; make no difference here.
        """
        features = {}
        for place, layer in enumerate(self.layers, 1):
            x = features[f"layer{place}"] = jax.nn.relu(layer(x))
        x = features["pooled"] = jnp.mean(x, axis=(1, 2))
        return self.classifier(x), features
