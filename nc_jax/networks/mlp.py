"""Dense networks: a multilayer perceptron, and a residual network of constant width."""

from collections.abc import Sequence

import jax
from flax import nnx
from jax import Array

from nc_jax.networks.layers import BatchNorm, Dense, keys_of


class MLP(nnx.Module):
    """Dense layers with ReLU between; without biases it is homogeneous.

    Args:
        inputs: number of pixels of an image.
        widths: widths of the hidden layers.
        num_classes: K.
        key: PRNG key of the initial weights.
        bias: whether the hidden layers have biases.
        head_bias: whether the classifier has a bias; by default the same as ``bias``.
        normalise: whether there is a batch normalisation after every hidden layer.
        rectify_last: whether the last hidden layer also has a ReLU; otherwise the features
            are the output of the batch normalisation.
    """

    def __init__(
        self,
        inputs: int,
        widths: Sequence[int],
        num_classes: int,
        key: Array,
        bias: bool = True,
        head_bias: bool | None = None,
        normalise: bool = False,
        rectify_last: bool = True,
    ):
        keys = keys_of(key)
        layers = []
        for width in widths:
            layers.append(Dense(inputs, width, next(keys), bias))
            inputs = width
        self.layers = nnx.List(layers)
        self.norms = nnx.List([BatchNorm(width) for width in widths] if normalise else [])
        own = bias if head_bias is None else head_bias
        self.classifier = Dense(inputs, num_classes, next(keys), own)
        self.rectify_last = rectify_last

    def __call__(
        self, x: Array, train: bool = False, weights: Array | None = None
    ) -> tuple[Array, dict[str, Array]]:
        """Logits [B, K], and features by name: each hidden layer, after ReLU if it has one.

        Args:
            x: images [B, …], flattened here.
            train: whether to use the batch's own statistics.
            weights: of the samples [B]; sum to one.
        """
        features = {}
        x = x.reshape(x.shape[0], -1)
        for place, layer in enumerate(self.layers):
            x = layer(x)
            if len(self.norms):
                x = self.norms[place](x, train, weights)
            rectified = self.rectify_last or place + 1 < len(self.layers)
            x = features[f"layer{place + 1}"] = jax.nn.relu(x) if rectified else x
        return self.classifier(x), features


class DenseResNet(nnx.Module):
    """A residual network of constant width (Wang, Gai, Zhang 2024, on MNIST).

    A dense layer with batch normalisation and ReLU; blocks of two dense layers with
    batch normalisation and a shortcut, each followed by ReLU; a classifier.

    Args:
        inputs: number of pixels of an image.
        width: width of every layer.
        blocks: number of blocks.
        num_classes: K.
        key: PRNG key of the initial weights.
    """

    def __init__(self, inputs: int, width: int, blocks: int, num_classes: int, key: Array):
        keys = keys_of(key)
        self.stem = Dense(inputs, width, next(keys))
        self.stem_norm = BatchNorm(width)
        self.layers = nnx.List([Dense(width, width, next(keys)) for _ in range(2 * blocks)])
        self.norms = nnx.List([BatchNorm(width) for _ in range(2 * blocks)])
        self.classifier = Dense(width, num_classes, next(keys))

    def __call__(
        self, x: Array, train: bool = False, weights: Array | None = None
    ) -> tuple[Array, dict[str, Array]]:
        """Logits [B, K], and features by name: the stem and each block.

        Args:
            x: images [B, …], flattened here.
            train: whether to use the batch's own statistics.
            weights: of the samples [B]; sum to one.
        """
        x = x.reshape(x.shape[0], -1)
        x = jax.nn.relu(self.stem_norm(self.stem(x), train, weights))
        features = {"stem": x}
        for place in range(0, len(self.layers), 2):
            y = self.norms[place](self.layers[place](x), train, weights)
            y = self.layers[place + 1](jax.nn.relu(y))
            x = jax.nn.relu(x + self.norms[place + 1](y, train, weights))
            features[f"block{place // 2 + 1}"] = x
        return self.classifier(x), features
