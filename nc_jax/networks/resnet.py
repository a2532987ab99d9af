"""ResNets in CIFAR form (He et al. 2016): a 3×3 stem of stride 1 and no max-pooling.

As in the public code of Fang et al. 2021: convolutions without bias, 1×1 projection
shortcuts where the shape changes, pooled features, and a classifier with bias.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from nc_jax.networks.layers import BatchNorm, Convolution, Dense, keys_of, scaled

# Numbers of blocks of each stage, and whether they are bottlenecks.
DEPTHS = {18: ((2, 2, 2, 2), False), 34: ((3, 4, 6, 3), False), 50: ((3, 4, 6, 3), True)}
CHANNELS = (64, 128, 256, 512)
EXPANSION = 4


class _Block(nnx.Module):
    """Two 3×3 convolutions, or a 3×3 one between two of 1×1; the input is added."""

    def __init__(self, inputs: int, width: int, stride: int, bottleneck: bool, keys):
        outputs = width * EXPANSION if bottleneck else width
        shapes = (
            [(inputs, width, 1, 1), (width, width, 3, stride), (width, outputs, 1, 1)]
            if bottleneck
            else [(inputs, width, 3, stride), (width, outputs, 3, 1)]
        )
        self.convolutions = nnx.List(
            [Convolution(a, b, next(keys), size, step, bias=False) for a, b, size, step in shapes]
        )
        self.norms = nnx.List([BatchNorm(b) for _, b, _, _ in shapes])
        changes = stride != 1 or inputs != outputs
        self.projection = (
            Convolution(inputs, outputs, next(keys), 1, stride, bias=False) if changes else None
        )
        self.projection_norm = BatchNorm(outputs) if changes else None

    def __call__(self, x: Array, train: bool, weights: Array | None) -> Array:
        shortcut = x
        if self.projection is not None and self.projection_norm is not None:
            shortcut = self.projection_norm(self.projection(x), train, weights)
        last = len(self.norms) - 1
        for place, (layer, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            x = norm(layer(x), train, weights)
            x = x if place == last else jax.nn.relu(x)
        return jax.nn.relu(x + shortcut)


class ResNet(nnx.Module):
    """A residual network of basic blocks or of bottlenecks.

    Args:
        blocks: number in each of up to four stages; ``DEPTHS`` has those of ResNet18, 34, 50.
        channels: number of channels of the images.
        num_classes: K.
        key: PRNG key of the initial weights.
        width: factor on all numbers of channels; 1 gives the published network.
        bottleneck: whether blocks are bottlenecks of three convolutions.

    Raises:
        ValueError: no blocks, or more than four stages.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        channels: int,
        num_classes: int,
        key: Array,
        width: float = 1.0,
        bottleneck: bool = False,
    ):
        if not 1 <= len(blocks) <= len(CHANNELS) or min(blocks) < 1:
            raise ValueError(f"blocks must be one to four positive counts, got {tuple(blocks)}")
        keys = keys_of(key)
        inputs = scaled(CHANNELS[0], width)
        self.stem = Convolution(channels, inputs, next(keys), bias=False)
        self.stem_norm = BatchNorm(inputs)
        stages = []
        for place, (number, base) in enumerate(zip(blocks, CHANNELS, strict=False)):
            stage, base = [], scaled(base, width)
            for block in range(number):
                stride = 2 if place and not block else 1
                stage.append(_Block(inputs, base, stride, bottleneck, keys))
                inputs = base * EXPANSION if bottleneck else base
            stages.append(nnx.List(stage))
        self.stages = nnx.List(stages)
        self.classifier = Dense(inputs, num_classes, next(keys))

    def __call__(
        self, x: Array, train: bool = False, weights: Array | None = None
    ) -> tuple[Array, dict[str, Array]]:
        """Logits [B, K], and features by name: the stem, each block, and ``pooled``.

        Args:
            x: images [B, h, w, channels].
            train: whether to use the batch's own statistics.
            weights: of the samples [B]; sum to one.
        """
        x = jax.nn.relu(self.stem_norm(self.stem(x), train, weights))
        features = {"stem": x}
        for place, stage in enumerate(self.stages, 1):
            for number, block in enumerate(stage, 1):
                x = features[f"stage{place}_block{number}"] = block(x, train, weights)
        x = features["pooled"] = jnp.mean(x, axis=(1, 2))
        return self.classifier(x), features
