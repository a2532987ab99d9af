"""VGG with batch normalisation for images of 32×32 (Simonyan and Zisserman 2015).

As in the public code of Fang et al. 2021: 3×3 convolutions with bias, batch
normalisation and ReLU, two dense layers of 4096 with batch normalisation instead
of dropout, and a classifier with bias.
"""

import jax
from flax import nnx
from jax import Array

from nc_jax.networks.layers import BatchNorm, Convolution, Dense, keys_of, scaled
from nc_jax.networks.pooling import max_pool

# Convolutions of each of the five stages; each stage ends with a pooling by two.
STAGES = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
CHANNELS = (64, 128, 256, 512, 512)
DENSE = 4096


class _Normalised(nnx.Module):
    """A layer, batch normalisation, ReLU."""

    def __init__(self, layer: nnx.Module, channels: int):
        self.layer = layer
        self.norm = BatchNorm(channels)

    def __call__(self, x: Array, train: bool, weights: Array | None) -> Array:
        return jax.nn.relu(self.norm(self.layer(x), train, weights))


class VGG(nnx.Module):
    """VGG11, 13, 16 or 19.

    Args:
        depth: 11, 13, 16 or 19.
        channels: number of channels of the images.
        num_classes: K.
        key: PRNG key of the initial weights.
        width: factor on all numbers of channels; 1 gives the published network.

    Raises:
        ValueError: an unknown depth.
    """

    def __init__(self, depth: int, channels: int, num_classes: int, key: Array, width: float = 1.0):
        if depth not in STAGES:
            raise ValueError(f"depth must be one of {', '.join(map(str, STAGES))}, got {depth}")
        keys = keys_of(key)
        stages = []
        for number, outputs in zip(STAGES[depth], CHANNELS, strict=True):
            stage, outputs = [], scaled(outputs, width)
            for _ in range(number):
                stage.append(_Normalised(Convolution(channels, outputs, next(keys)), outputs))
                channels = outputs
            stages.append(nnx.List(stage))
        self.stages = nnx.List(stages)
        dense, inputs = scaled(DENSE, width), channels
        blocks = []
        for _ in range(2):
            blocks.append(_Normalised(Dense(inputs, dense, next(keys)), dense))
            inputs = dense
        self.dense = nnx.List(blocks)
        self.classifier = Dense(inputs, num_classes, next(keys))

    def __call__(
        self, x: Array, train: bool = False, weights: Array | None = None
    ) -> tuple[Array, dict[str, Array]]:
        """Logits [B, K], and features by name: each stage, each dense layer.

        Args:
            x: images [B, 32, 32, channels].
            train: whether to use the batch's own statistics.
            weights: of the samples [B]; sum to one.
        """
        features = {}
        for place, stage in enumerate(self.stages, 1):
            for block in stage:
                x = block(x, train, weights)
            x = features[f"stage{place}"] = max_pool(x)
        x = x.reshape(x.shape[0], -1)
        for place, block in enumerate(self.dense, 1):
            x = features[f"dense{place}"] = block(x, train, weights)
        return self.classifier(x), features
